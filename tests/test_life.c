// What happens to an index in its life, drawn at random, against a plain list of what it should hold: with recall 1 every
// search finds exactly what comparing with all of the list finds. KPD_LIFE_OPERATIONS=1000000 runs so many instead of some
// thousands.
#define KPD_THREADS
#include "test.h"
#include "tiny_model.h"
#include "values.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DIM = 20, IDS = 700, MOST_K = 64, BATCH = 40, PART = 3 };     // PART: the partition of the index

static kpd_error error;

typedef struct entry { bool there; float v[DIM]; uint32_t text; int32_t part; } entry;
typedef struct life {
    kpd_index *x;
    kpd_session *s;
    entry at[IDS];                      // by number; see id_of
    uint32_t state;
    kpd_metric metric;
    kpd_dtype storage;
    kpd_index_kind kind;
} life;

static uint32_t below(life *l, uint32_t n) { return tiny_random(&l->state) % n; }

// Ids in no order, negative ones and the ends of their range among them.
static int64_t id_of(size_t i) {
    static const int64_t extreme[] = {INT64_MIN, INT64_MAX, -1, 0, 1};
    return i < 5 ? extreme[i] : ((int64_t)i * 7919 % 10007 - 5000) * 3000000007;
}

// Text number n: any bytes, zeros among them; 0 is none.
static kpd_text text_of(uint32_t n, char bytes[64]) {
    kpd_text t;
    uint32_t state = n;
    t.size = n % 64;
    t.data = bytes;
    for (size_t i = 0; i < t.size; i++) bytes[i] = (char)(uint8_t)tiny_random(&state);
    return t;
}

// ---- operations ----------------------------------------------------------------------------------------------------

static size_t draw(life *l, size_t which[BATCH], int64_t ids[BATCH]) {
    size_t n = 1 + below(l, BATCH), from = below(l, IDS), step = below(l, 2) ? 1 + below(l, 9) : 0;
    for (size_t i = 0; i < n; i++) {
        which[i] = step ? (from + i * step) % IDS : below(l, IDS);
        ids[i] = id_of(which[i]);
    }
    return n;
}

static void draw_vectors(life *l, const size_t *which, size_t n, float *v) {
    for (size_t i = 0; i < n; i++) {
        uint32_t centre = (uint32_t)which[i] % 17 + 1;                  // vectors in some clusters
        entry *e = &l->at[which[i]];
        for (size_t d = 0; d < DIM; d++) e->v[d] = v[i * DIM + d] = tiny_uniform(&centre) + tiny_uniform(&l->state) * 0.4f;
        e->there = true;
    }
}

static int32_t part_of(const kpd_index *x, int64_t id) {
    int32_t part = -1;
    CHECK_OK(kpd_index_partition(x, id, &part, &error));
    return part;
}

static void upsert(life *l) {
    size_t which[BATCH], n;
    int64_t ids[BATCH];
    float v[BATCH * DIM];
    n = draw(l, which, ids);
    draw_vectors(l, which, n, v);
    CHECK_OK(kpd_index_upsert(l->x, ids, v, n, &error));
}

static void forget(life *l, size_t i) {
    l->at[i].there = false;
    l->at[i].text = 0;
    l->at[i].part = PART;
}

static void drop(life *l) {
    size_t which[BATCH], n, removed = 0, there = 0;
    int64_t ids[BATCH];
    n = draw(l, which, ids);
    for (size_t i = 0; i < n; i++) {
        there += l->at[which[i]].there;
        forget(l, which[i]);
    }
    CHECK_OK(kpd_index_remove(l->x, ids, n, &removed, &error));
    CHECK_INT(removed, there);
}

static void set_texts(life *l) {
    static char bytes[BATCH][64];
    kpd_text texts[BATCH];
    size_t which[BATCH], n, kept = 0;
    int64_t ids[BATCH];
    n = draw(l, which, ids);
    for (size_t i = 0; i < n; i++) {
        entry *e = &l->at[which[i]];
        if (!e->there) continue;
        e->text = below(l, 5) ? tiny_random(&l->state) : 0;
        texts[kept] = text_of(e->text, bytes[kept]);
        ids[kept++] = ids[i];
    }
    CHECK_OK(kpd_index_set_text(l->x, ids, texts, kept, &error));
}

static kpd_index *reopen(const kpd_index *x, bool copy) {
    const char *path = test_tmp("life.kpi");
    kpd_index *y = NULL;
    kpd_open_desc d;
    memset(&d, 0, sizeof d);
    d.copy = copy;
    CHECK_OK(kpd_index_save(x, path, &error));
    CHECK_OK(kpd_index_open(path, &d, &y, &error));
    return y;
}

static void set_partitions(life *l) {
    int32_t parts[BATCH];
    size_t which[BATCH], n, kept = 0;
    int64_t ids[BATCH];
    n = draw(l, which, ids);
    for (size_t i = 0; i < n; i++) {
        entry *e = &l->at[which[i]];
        if (!e->there) continue;
        parts[kept] = e->part = (int32_t)below(l, 4) * (below(l, 9) ? 1 : -500000000);
        ids[kept++] = ids[i];
    }
    CHECK_OK(kpd_index_set_partition(l->x, ids, parts, kept, &error));
}

static void reserve(life *l) { CHECK_OK(kpd_index_reserve(l->x, below(l, IDS), &error)); }

static void drop_all(life *l) {
    int64_t ids[IDS];
    for (size_t i = 0; i < IDS; i++) {
        ids[i] = id_of(i);
        forget(l, i);
    }
    CHECK_OK(kpd_index_remove(l->x, ids, IDS, NULL, &error));
    CHECK_INT(info_of(l->x).count, 0);
}

static void save_and_open(life *l) {
    kpd_index *y = reopen(l->x, true);
    kpd_index_destroy(l->x);
    l->x = y;
}

static void compact(life *l) {
    CHECK_OK(kpd_index_compact(l->x, NULL, NULL, &error));
    CHECK_THAT(info_of(l->x).text_bytes <= 64 * info_of(l->x).count, "texts have gaps");
}

// What an upsert draws, and texts and partitions for all of it, into another index, of either kind.
static void fill_other(life *l, kpd_index *y) {
    size_t which[BATCH], n;
    int64_t ids[BATCH];
    float v[BATCH * DIM];
    n = draw(l, which, ids);
    draw_vectors(l, which, n, v);
    CHECK_OK(kpd_index_upsert(y, ids, v, n, &error));
    for (size_t i = 0; i < n; i++) {
        entry *e = &l->at[which[i]];
        char bytes[64];
        kpd_text text;
        e->text = below(l, 2) ? tiny_random(&l->state) : 0;
        text = text_of(e->text, bytes);
        CHECK_OK(kpd_index_set_text(y, ids + i, &text, 1, &error));
        e->part = below(l, 2) ? 1 : PART + 1;                           // that of the other index
        if (e->part == 1) CHECK_OK(kpd_index_set_partition(y, ids + i, &e->part, 1, &error));
        else e->part = part_of(y, ids[i]);
    }
}

static void merge(life *l) {
    kpd_index *other[2] = {NULL, NULL}, *mapped;
    for (int i = 0; i < 2; i++) {
        kpd_index_desc d;
        memset(&d, 0, sizeof d);
        d.dim = DIM; d.metric = l->metric; d.kind = below(l, 2) ? KPD_FLAT : KPD_TREE; d.partition = PART + 1;
        CHECK_OK(kpd_index_create(&d, &other[i], &error));
        fill_other(l, other[i]);
    }
    mapped = reopen(other[1], false);
    kpd_index_destroy(other[1]);
    other[1] = mapped;
    CHECK_OK(kpd_index_merge(l->x, (const kpd_index *const *)other, 2, NULL, NULL, &error));
    kpd_index_destroy(other[0]);
    kpd_index_destroy(other[1]);
}

// ---- what must hold ------------------------------------------------------------------------------------------------

static bool check_entry(const life *l, const kpd_index *x, size_t i) {
    const entry *e = &l->at[i];
    float row[DIM];
    char bytes[64];
    kpd_text text, want = text_of(e->text, bytes);
    int32_t part;
    CHECK(kpd_index_contains(x, id_of(i)) == e->there);
    if (!e->there)
        return CHECK_STATUS(kpd_index_get(x, id_of(i), row, NULL), KPD_ERR_NOT_FOUND) &&
               CHECK_STATUS(kpd_index_text(x, id_of(i), &text, NULL), KPD_ERR_NOT_FOUND);
    return CHECK_OK(kpd_index_get(x, id_of(i), row, &error)) &&
           CHECK(l->metric == KPD_COSINE || l->storage != KPD_F32 || !memcmp(row, e->v, sizeof row)) &&
           CHECK_OK(kpd_index_text(x, id_of(i), &text, &error)) &&
           CHECK_OK(kpd_index_partition(x, id_of(i), &part, &error)) && CHECK_INT(part, e->part) &&
           CHECK_THAT(text.size == want.size && !memcmp(text.data, want.data, want.size), "id %lld: another text",
                      (long long)id_of(i));
}

static bool check_entries(const life *l, const kpd_index *x) {
    int64_t n = 0, slots = 0;
    bool ok = true;
    for (int64_t i = 0, id; i < info_of(x).slots; i++) slots += kpd_index_id(x, i, &id) && kpd_index_contains(x, id);
    for (size_t i = 0; ok && i < IDS; i++) {
        n += l->at[i].there;
        ok = check_entry(l, x, i);
    }
    return ok && CHECK_INT(kpd_index_count(x), n) && CHECK_INT(slots, n);
}

static int order(const void *a, const void *b) {
    const kpd_hit *x = (const kpd_hit *)a, *y = (const kpd_hit *)b;
    if (x->score < y->score || x->score > y->score) return x->score > y->score ? -1 : 1;
    return x->id < y->id ? -1 : x->id > y->id;
}

// Filters, drawn at random, and what they let pass.
typedef struct filters {
    kpd_search_desc d;
    int64_t ids[2 * IDS]; uint64_t bits[IDS / 64 + 2]; int32_t parts[8];
} filters;

static bool odd(void *user, int64_t id) {
    (void)user;
    return id & 1;
}

static int by_id(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

static void draw_filters(life *l, filters *f) {
    uint32_t which = below(l, 3) ? below(l, 16) : 0, sparse = 1 + below(l, 40);
    memset(f, 0, sizeof *f);
    f->d.filter = which & 1 ? odd : NULL;
    f->d.only_ids = which >> 1 & 1; f->d.only_bits = which >> 2 & 1; f->d.only_partitions = which >> 3 & 1;
    f->d.ids = f->ids; f->d.bits = f->bits; f->d.partitions = f->parts;
    for (size_t i = 0; i < IDS; i++)                                    // some of them twice, some that the index has not
        for (uint32_t j = below(l, sparse) ? 0 : 1 + below(l, 2); j--;) f->ids[f->d.n_ids++] = id_of(i) - (i && !below(l, 9));
    qsort(f->ids, f->d.n_ids, sizeof *f->ids, by_id);
    f->d.first_bit = below(l, 3) ? -1 : id_of(1 + below(l, IDS - 1)) - 3;      // but for the least number of all
    f->d.n_bits = below(l, IDS);
    for (size_t i = 0; i < f->d.n_bits; i++) f->bits[i / 64] |= (uint64_t)(below(l, sparse) == 0) << i % 64;
    for (int32_t i = -1; i < 4; i++)
        if (below(l, 2)) f->parts[f->d.n_partitions++] = i < 0 ? -1000000000 : i;
}

static bool pass(const filters *f, int64_t id, int32_t part) {
    uint64_t bit = (uint64_t)id - (uint64_t)f->d.first_bit;
    bool found = false;
    if (f->d.filter && !odd(NULL, id)) return false;
    if (f->d.only_ids && !bsearch(&id, f->ids, f->d.n_ids, sizeof id, by_id)) return false;
    if (f->d.only_bits && (id < f->d.first_bit || bit >= f->d.n_bits || !(f->bits[bit / 64] >> bit % 64 & 1))) return false;
    for (size_t i = 0; i < f->d.n_partitions; i++) found |= f->parts[i] == part;
    return !f->d.only_partitions || found;
}

// What the library finds of the rows it keeps, by the documented chain.
static size_t find_all(const life *l, const kpd_index *x, const float *q, const filters *f, kpd_hit *want) {
    float row[DIM];
    size_t n = 0;
    for (size_t i = 0; i < IDS; i++) {
        float sum = 0;
        if (!l->at[i].there || !pass(f, id_of(i), l->at[i].part)) continue;
        CHECK_OK(kpd_index_get(x, id_of(i), row, NULL));
        for (size_t d = 0; d < DIM; d++)
            sum = l->metric == KPD_L2 ? fused(q[d] - row[d], q[d] - row[d], sum) : fused(q[d], row[d], sum);
        want[n].id = id_of(i);
        want[n++].score = l->metric == KPD_L2 ? 0 - sum : sum;
    }
    qsort(want, n, sizeof *want, order);
    return n;
}

// A query; under cosine one whose length is 1 without rounding.
static void make_query(life *l, float q[DIM]) {
    for (size_t d = 0; d < DIM; d++) q[d] = l->metric == KPD_COSINE ? 0 : tiny_uniform(&l->state) * 2;
    for (uint32_t i = 0; l->metric == KPD_COSINE && i < 4; i++) q[below(l, DIM / 4) * 4 + i] = below(l, 2) ? 0.5f : -0.5f;
}

static bool is_in(const kpd_hit *hits, size_t n, int64_t id) {
    for (size_t i = 0; i < n; i++)
        if (hits[i].id == id) return true;
    return false;
}

// With recall 1 no difference at all; below it as many, which pass.
static bool check_search(life *l, const kpd_index *x) {
    static kpd_hit want[IDS], hits[MOST_K];
    float q[DIM];
    filters f;
    size_t n, expected;
    int32_t count = -1;
    draw_filters(l, &f);
    f.d.k = 1 + (int32_t)below(l, MOST_K); f.d.recall = 0.8f;
    make_query(l, q);
    n = find_all(l, x, q, &f, want);
    expected = n < (size_t)f.d.k ? n : (size_t)f.d.k;
    if (!CHECK_OK(kpd_index_search(l->s, x, q, 1, &f.d, hits, &count, &error)) || !CHECK_INT(count, expected)) return false;
    for (size_t i = 0; i < expected; i++)
        if (!CHECK(hits[i].score <= want[i].score && is_in(want, n, hits[i].id))) return false;
    f.d.recall = 1;
    if (!CHECK_OK(kpd_index_search(l->s, x, q, 1, &f.d, hits, &count, &error)) || !CHECK_INT(count, expected)) return false;
    for (size_t i = 0; i < expected; i++)
        if (!CHECK_THAT(hits[i].id == want[i].id && !memcmp(&hits[i].score, &want[i].score, 4),
                        "hit %zu of %zu: id %lld %.9g, expected %lld %.9g", i, expected, (long long)hits[i].id,
                        (double)hits[i].score, (long long)want[i].id, (double)want[i].score))
            return false;
    return true;
}

static bool check_mapped(life *l) {
    kpd_index *y = reopen(l->x, false);
    bool ok = check_entries(l, y) && check_search(l, y);
    kpd_index_destroy(y);
    return ok;
}

// ---- lives ---------------------------------------------------------------------------------------------------------

static bool begin(life *l, kpd_index_kind kind, kpd_metric metric, kpd_dtype storage, uint32_t seed) {
    kpd_index_desc d;
    kpd_session_desc sd;
    memset(l, 0, sizeof *l);
    memset(&d, 0, sizeof d);
    memset(&sd, 0, sizeof sd);
    for (size_t i = 0; i < IDS; i++) l->at[i].part = d.partition = PART;
    l->kind = kind; l->metric = metric; l->storage = storage; l->state = seed;
    d.dim = sd.max_dim = DIM; d.metric = metric; d.kind = kind; d.storage = storage; sd.max_k = MOST_K;
    return CHECK_OK(kpd_session_create(&sd, &l->s, &error)) && CHECK_OK(kpd_index_create(&d, &l->x, &error));
}

static void end(life *l) {
    kpd_index_destroy(l->x);
    kpd_session_destroy(l->s);
}

// Times of growing and of shrinking take turns.
static bool step(life *l, long i) {
    uint32_t what = below(l, 100), growing = i / 150 % 2 ? 20 : 50;
    if (what < growing) upsert(l);
    else if (what < 70) drop(l);
    else if (what < 80) set_texts(l);
    else if (what < 85) set_partitions(l);
    else if (what < 88) save_and_open(l);
    else if (what < 90) reserve(l);
    else if (what < 91 && !below(l, 3)) drop_all(l);
    else if (what < 93) compact(l);
    else if (what < 95) merge(l);
    return l->x && (below(l, 4) || check_search(l, l->x)) && (i % 50 || check_entries(l, l->x)) && (i % 200 || check_mapped(l));
}

static void live(kpd_index_kind kind, kpd_metric metric, kpd_dtype storage, long operations) {
    static life l;
    bool ok = begin(&l, kind, metric, storage, 1 + (uint32_t)(kind * 100 + metric * 10 + storage));
    long i = 0;
    while (ok && i < operations) ok = step(&l, i++);
    ok = ok && check_entries(&l, l.x) && check_search(&l, l.x) && check_mapped(&l);
    CHECK_THAT(ok, "%s, %s, %s: operation %ld", kpd_index_kind_name(kind), kpd_metric_name(metric), kpd_dtype_name(storage), i);
    end(&l);
}

static void random_lives(void) {
    static const kpd_dtype storage[] = {KPD_F32, KPD_INT16, KPD_INT8, KPD_INT4};
    const char *asked = getenv("KPD_LIFE_OPERATIONS");
    long each = (asked ? atol(asked) : 4500) / 18;
    for (int m = KPD_COSINE; m <= KPD_L2; m++) {
        live(KPD_FLAT, (kpd_metric)m, KPD_F32, each);
        live(KPD_FLAT, (kpd_metric)m, KPD_INT8, each);
        for (int i = 0; i < 4; i++) live(KPD_TREE, (kpd_metric)m, storage[i], each);
    }
}

// ---- room ----------------------------------------------------------------------------------------------------------

typedef struct host { size_t n, most; bool refuse; int calls; } host;

static void *host_alloc(void *user, size_t size) {
    host *h = (host *)user;
    h->calls++;
    if (h->refuse && h->calls > 1) return NULL;         // but for what an upsert works in
    h->n += size;
    if (h->n > h->most) h->most = h->n;
    return malloc(size);
}

static void host_free(void *user, void *p, size_t size) {
    host *h = (host *)user;
    h->n -= size;
    free(p);
}

enum { MANY = 6000 };
static float many[MANY * DIM], other[MANY * DIM];
static int64_t many_ids[MANY];

static void fill_many(uint32_t seed) {
    for (int64_t i = 0; i < MANY; i++) many_ids[i] = i;
    for (size_t i = 0; i < MANY * DIM; i++) {
        uint32_t centre = (uint32_t)(i / DIM % 61 * 100 + i % DIM);
        many[i] = tiny_uniform(&centre) + tiny_uniform(&seed) * 0.5f;
        other[i] = tiny_uniform(&seed);
    }
}

static kpd_index *tree_of(size_t n, kpd_allocator a) {
    kpd_index_desc d;
    kpd_index *x = NULL;
    memset(&d, 0, sizeof d);
    d.dim = DIM; d.metric = KPD_DOT; d.kind = KPD_TREE; d.allocator = a;
    CHECK_OK(kpd_index_build(&d, NULL, many_ids, many, n, &x, &error));
    return x;
}

static void check_rows(const kpd_index *x, const float *v, size_t n) {
    float row[DIM];
    size_t same = 0;
    for (size_t i = 0; i < n; i++)
        same += !kpd_index_get(x, many_ids[i], row, NULL) && !memcmp(row, v + i * DIM, sizeof row);
    CHECK_INT(same, n);
    CHECK_INT(info_of(x).count, n);
}

// Vectors that only replace others are replaced even when there is no memory, whatever they are.
static void replacing_in_a_tree_needs_no_room(void) {
    host h;
    kpd_allocator a;
    kpd_index *x;
    size_t before;
    memset(&h, 0, sizeof h);
    a.alloc = host_alloc; a.free = host_free; a.user = &h;
    fill_many(3);
    x = tree_of(MANY, a);
    before = h.n;
    for (int round = 0; round < 3; round++) {                           // entirely other vectors
        for (size_t i = 0; i < MANY * DIM; i++) other[i] = -other[i] + many[(i + 31 * DIM) % (MANY * DIM)];
        h.refuse = true; h.calls = 0;
        CHECK_OK(kpd_index_upsert(x, many_ids, other, MANY, &error));
        CHECK_INT(h.n, before);
        check_rows(x, other, MANY);
    }
    for (size_t i = 0; i < MANY; i++) many_ids[i] += 10;                // ten that are new, and do not fit, change nothing
    for (int64_t i = 10; i < 1000; i++) many_ids[i - 10] = MANY + i;
    h.calls = 0;
    CHECK_STATUS(kpd_index_upsert(x, many_ids, many, MANY, &error), KPD_ERR_MEMORY);
    for (int64_t i = 0; i < MANY; i++) many_ids[i] = i;
    h.calls = 1;
    CHECK_STATUS(kpd_index_reserve(x, 2 * MANY, &error), KPD_ERR_MEMORY);
    check_rows(x, other, MANY);
    h.refuse = false;
    CHECK_OK(kpd_index_upsert(x, many_ids, many, MANY, &error));
    check_rows(x, many, MANY);
    kpd_index_destroy(x);
    CHECK_INT(h.n, 0);
}

// With room for all, adding copies nothing: no more memory is taken than an upsert, and measuring recalls, work in.
static void reserved_room_is_enough(void) {
    for (int kind = KPD_FLAT; kind <= KPD_TREE; kind++) {
        host h;
        kpd_index_desc d;
        kpd_index *x = NULL;
        size_t before;
        memset(&h, 0, sizeof h);
        memset(&d, 0, sizeof d);
        fill_many(5);
        d.dim = DIM; d.metric = KPD_DOT; d.kind = (kpd_index_kind)kind;
        d.allocator.alloc = host_alloc; d.allocator.free = host_free; d.allocator.user = &h;
        CHECK_OK(kpd_index_create(&d, &x, &error));
        CHECK_OK(kpd_index_upsert(x, many_ids, many, 100, &error));
        CHECK_OK(kpd_index_reserve(x, MANY, &error));
        before = h.n;
        h.most = 0;
        for (size_t i = 100; i < MANY; i += 100) CHECK_OK(kpd_index_upsert(x, many_ids + i, many + i * DIM, 100, &error));
        CHECK_INT(h.n, before);
        CHECK_THAT(h.most < before + (kind == KPD_TREE ? 800000 : 200000), "%zu bytes beside %zu", h.most - before, before);
        check_rows(x, many, MANY);
        kpd_index_destroy(x);
        CHECK_INT(h.n, 0);
    }
}

static kpd_index *of_two(kpd_index_kind kind) {
    const int64_t ids[2] = {7, -1};
    const float v[2 * DIM] = {1};
    kpd_index_desc d;
    kpd_index *x = NULL;
    memset(&d, 0, sizeof d);
    d.dim = DIM; d.metric = KPD_DOT; d.kind = kind;
    CHECK_OK(kpd_index_build(&d, NULL, ids, v, 2, &x, &error));
    return x;
}

// ---- filters -------------------------------------------------------------------------------------------------------

enum { QUERIES = 30, MORE = 300, K = 10 };
static kpd_hit found[MORE * K], wanted[MORE * K];
static int32_t n_found[MORE], n_wanted[MORE];

// A tree of 6000 whose vector i is of partition i mod 100; queries near vectors.
static kpd_index *partitioned(float *q) {
    static int32_t parts[MANY];
    kpd_allocator none;
    kpd_index *x;
    uint32_t state = 4;
    memset(&none, 0, sizeof none);
    fill_many(8);
    x = tree_of(MANY, none);
    for (int32_t i = 0; i < MANY; i++) parts[i] = i % 100;
    CHECK_OK(kpd_index_set_partition(x, many_ids, parts, MANY, &error));
    for (size_t i = 0; i < QUERIES * DIM; i++) q[i] = many[i / DIM * 97 * DIM + i % DIM] + tiny_uniform(&state) * 0.3f;
    return x;
}

static kpd_session *session_of(kpd_simd level, kpd_pool *pool) {
    kpd_session_desc d;
    kpd_session *s = NULL;
    memset(&d, 0, sizeof d);
    d.max_dim = DIM; d.max_k = 64; d.simd = level;
    if (pool) d.parallel = *kpd_pool_parallel(pool);
    CHECK_OK(kpd_session_create(&d, &s, &error));
    return s;
}

// The share of the true best that is found does not fall under the dial, whatever passes: from all to one in a hundred, by
// partitions, bits, ids and callback; the same by all of them.
static void filters_keep_the_recall(void) {
    static float q[QUERIES * DIM];
    static int64_t ids[MANY];
    static uint64_t bits[MANY / 64 + 1];
    static const int32_t share[] = {100, 50, 10, 3, 1};
    kpd_session *s = session_of(KPD_SIMD_AUTO, NULL);
    kpd_index *x = partitioned(q);
    for (int i = 0; i < 5; i++)
        for (int way = 0; way < 3; way++) {
            int32_t parts[100];
            int good = 0, all = 0;
            kpd_search_desc d;
            memset(&d, 0, sizeof d);
            memset(bits, 0, sizeof bits);
            d.k = K; d.ids = ids; d.bits = bits; d.n_bits = MANY; d.partitions = parts; d.n_partitions = (size_t)share[i];
            for (int32_t j = 0; j < share[i]; j++) parts[j] = j;
            for (int64_t j = 0; j < MANY; j++) {
                if (j % 100 >= share[i]) continue;
                ids[d.n_ids++] = j;
                bits[j / 64] |= UINT64_C(1) << j % 64;
            }
            d.only_ids = way == 0; d.only_bits = way == 1; d.only_partitions = way == 2;
            d.recall = 1;
            CHECK_OK(kpd_index_search(s, x, q, QUERIES, &d, wanted, n_wanted, &error));
            d.recall = 0.9f;
            CHECK_OK(kpd_index_search(s, x, q, QUERIES, &d, found, n_found, &error));
            for (int j = 0; j < QUERIES; j++) {
                CHECK_INT(n_found[j], K);
                for (int k = 0; k < K; k++) {
                    CHECK(found[j * K + k].id % 100 < share[i]);
                    good += found[j * K + k].score >= wanted[j * K + K - 1].score;
                    all++;
                }
            }
            CHECK_THAT(good >= 0.88 * all, "%d%% pass by %d: %d of %d", (int)share[i], way, good, all);
        }
    kpd_index_destroy(x);
    kpd_session_destroy(s);
}

static bool same_found(void) {
    for (int i = 0; i < QUERIES; i++) {
        if (n_found[i] != n_wanted[i]) return false;
        for (int j = i * K; j < i * K + n_found[i]; j++)
            if (found[j].id != wanted[j].id || memcmp(&found[j].score, &wanted[j].score, 4)) return false;
    }
    return true;
}

// The same bits whatever the level, the threads and the batch, where little passes and where much does.
static void filters_agree(void) {
    static float q[QUERIES * DIM];
    int32_t parts[30];
    kpd_index *x = partitioned(q), *mapped = reopen(x, false);
    for (int32_t i = 0; i < 30; i++) parts[i] = i;
    for (size_t n = 1; n <= 30; n += 29) {
        kpd_search_desc d;
        memset(&d, 0, sizeof d);
        d.k = K; d.recall = 0.9f; d.only_partitions = true; d.partitions = parts; d.n_partitions = n;
        for (int l = KPD_SIMD_SCALAR; l < KPD_SIMD_COUNT; l++)
            for (int32_t threads = 1; threads <= 3 && kpd_simd_available((kpd_simd)l); threads += 2) {
                kpd_pool *pool = NULL;
                kpd_session *s;
                CHECK_OK(kpd_pool_create(threads, NULL, &pool, &error));
                s = session_of((kpd_simd)l, pool);
                if (l == KPD_SIMD_SCALAR && threads == 1)
                    CHECK_OK(kpd_index_search(s, x, q, QUERIES, &d, wanted, n_wanted, &error));
                CHECK_OK(kpd_index_search(s, mapped, q, QUERIES, &d, found, n_found, &error));
                CHECK_THAT(same_found(), "%s, %d threads", kpd_simd_name((kpd_simd)l), (int)threads);
                for (size_t i = 0; i < QUERIES; i++)
                    CHECK_OK(kpd_index_search(s, x, q + i * DIM, 1, &d, found + i * K, n_found + i, &error));
                CHECK_THAT(same_found(), "%s, %d threads, one by one", kpd_simd_name((kpd_simd)l), (int)threads);
                kpd_session_destroy(s);
                kpd_pool_destroy(pool);
            }
    }
    kpd_index_destroy(mapped);
    kpd_index_destroy(x);
}

static void filters_refused(void) {
    for (int kind = KPD_FLAT; kind <= KPD_TREE; kind++) {
        const int64_t ids[4] = {-1, 7, 9, 8};
        const int32_t parts[3] = {5, 6, 2};
        const float q[DIM] = {1};
        kpd_session *s = session_of(KPD_SIMD_AUTO, NULL);
        kpd_index *x = of_two((kpd_index_kind)kind);
        kpd_search_desc d;
        int32_t part = 1;
        memset(&d, 0, sizeof d);
        d.k = K; d.only_ids = true; d.ids = ids; d.n_ids = 4;
        CHECK_STATUS(kpd_index_search(s, x, q, 1, &d, found, n_found, &error), KPD_ERR_ARGUMENT);
        CHECK_INT(error.where, 3);
        d.ids = NULL;
        CHECK_STATUS(kpd_index_search(s, x, q, 1, &d, found, n_found, &error), KPD_ERR_ARGUMENT);
        d.n_ids = 0;                                                    // none: not all
        CHECK_OK(kpd_index_search(s, x, q, 1, &d, found, n_found, &error));
        CHECK_INT(n_found[0], 0);
        d.only_ids = false; d.only_partitions = true; d.partitions = parts; d.n_partitions = 3;
        CHECK_STATUS(kpd_index_search(s, x, q, 1, &d, found, n_found, &error), KPD_ERR_ARGUMENT);
        CHECK_INT(error.where, 2);
        d.n_partitions = 2;
        CHECK_OK(kpd_index_search(s, x, q, 1, &d, found, n_found, &error));
        CHECK_INT(n_found[0], 0);
        CHECK_OK(kpd_index_set_partition(x, ids + 1, parts, 1, &error));
        CHECK_STATUS(kpd_index_set_partition(x, ids, parts, 3, &error), KPD_ERR_NOT_FOUND);
        CHECK_INT(error.where, 2);
        CHECK_OK(kpd_index_search(s, x, q, 1, &d, found, n_found, &error));
        CHECK(n_found[0] == 1 && found[0].id == 7);
        CHECK_OK(kpd_index_partition(x, -1, &part, &error));
        CHECK_INT(part, 0);
        CHECK_STATUS(kpd_index_partition(x, 1, &part, &error), KPD_ERR_NOT_FOUND);
        d.only_partitions = false; d.only_bits = true; d.n_bits = 1;
        CHECK_STATUS(kpd_index_search(s, x, q, 1, &d, found, n_found, &error), KPD_ERR_ARGUMENT);
        kpd_index_destroy(x);
        kpd_session_destroy(s);
    }
}

// ---- compact and merge ---------------------------------------------------------------------------------------------

// How many of the best that flat search finds a tree finds with one and the same gamma.
static int good_hits(kpd_session *s, const kpd_index *x, const float *q) {
    kpd_search_desc d;
    int good = 0;
    memset(&d, 0, sizeof d);
    d.k = K; d.recall = 1;
    CHECK_OK(kpd_index_search(s, x, q, MORE, &d, wanted, n_wanted, &error));
    d.recall = 0;
    d.gamma = 0.6f;
    CHECK_OK(kpd_index_search(s, x, q, MORE, &d, found, n_found, &error));
    for (int i = 0; i < MORE * K; i++) good += found[i].score >= wanted[i / K * K + K - 1].score;
    return good;
}

static bool same_files(const kpd_index *x, const kpd_index *y) {
    tiny_bytes a, b;
    bool same;
    CHECK_OK(kpd_index_save(x, test_tmp("life_x.kpi"), &error));
    CHECK_OK(kpd_index_save(y, test_tmp("life_y.kpi"), &error));
    a = tiny_bytes_read(test_tmp("life_x.kpi"));
    b = tiny_bytes_read(test_tmp("life_y.kpi"));
    same = a.size == b.size && !memcmp(a.data, b.data, a.size);
    tiny_bytes_free(&a);
    tiny_bytes_free(&b);
    return same;
}

// A tree of which half was appended, a few at a time, finds within a hundredth what a fresh one finds; compacted it is that one
// to the bit, whatever the threads, and so is what is merged of its halves.
static void appended_and_compacted(void) {
    static float q[MORE * DIM];
    for (int metric = KPD_COSINE; metric <= KPD_L2; metric++) {
        kpd_session *s = session_of(KPD_SIMD_AUTO, NULL);
        kpd_index_desc d;
        kpd_index *fresh = NULL, *x = NULL, *half = NULL;
        kpd_pool *pool = NULL;
        kpd_parallel p;
        uint32_t state = 4;
        int good, all;
        memset(&d, 0, sizeof d);
        fill_many(8);
        d.dim = DIM; d.metric = (kpd_metric)metric; d.kind = KPD_TREE;
        for (size_t i = 0; i < MORE * DIM; i++) q[i] = many[i / DIM * 19 % MANY * DIM + i % DIM] + tiny_uniform(&state) * 0.3f;
        CHECK_OK(kpd_index_build(&d, NULL, many_ids, many, MANY, &fresh, &error));
        CHECK_OK(kpd_index_build(&d, NULL, many_ids, many, MANY / 2, &x, &error));
        CHECK_OK(kpd_index_build(&d, NULL, many_ids + MANY / 2, many + MANY / 2 * DIM, MANY / 2, &half, &error));
        for (size_t i = MANY / 2; i < MANY; i += 7)
            CHECK_OK(kpd_index_upsert(x, many_ids + i, many + i * DIM, MANY - i < 7 ? MANY - i : 7, &error));
        all = good_hits(s, fresh, q);
        good = good_hits(s, x, q);
        CHECK_THAT(good >= all - MORE * K / 100, "%s: %d of %d, fresh %d", kpd_metric_name(d.metric), good, MORE * K, all);
        CHECK_OK(kpd_pool_create(3, NULL, &pool, &error));
        p = *kpd_pool_parallel(pool);
        CHECK(!same_files(x, fresh));
        CHECK_OK(kpd_index_compact(x, &p, NULL, &error));
        CHECK(same_files(x, fresh));
        CHECK_OK(kpd_index_remove(x, many_ids + MANY / 2, MANY / 2, NULL, &error));
        CHECK_OK(kpd_index_merge(x, (const kpd_index *const *)&half, 1, &p, NULL, &error));
        CHECK(same_files(x, fresh));
        kpd_pool_destroy(pool);
        kpd_index_destroy(fresh);
        kpd_index_destroy(x);
        kpd_index_destroy(half);
        kpd_session_destroy(s);
    }
}

static bool go_on(void *user, int64_t done, int64_t of) { return done <= of && (*(int *)user)--; }

// Stopped at any call of the host's, compact and merge change nothing.
static void compact_and_merge_can_be_cancelled(void) {
    for (int kind = KPD_FLAT; kind <= KPD_TREE; kind++)
        for (int merges = 0; merges < 2; merges++) {
            kpd_index_desc d;
            kpd_index *x = NULL, *y = NULL, *before;
            kpd_status s = KPD_ERR_CANCELLED;
            kpd_progress p;
            int left, calls = 0;
            memset(&d, 0, sizeof d);
            fill_many(8);
            d.dim = DIM; d.kind = (kpd_index_kind)kind;
            CHECK_OK(kpd_index_build(&d, NULL, many_ids, many, 300, &x, &error));
            CHECK_OK(kpd_index_build(&d, NULL, many_ids + 300, many + 300 * DIM, 100, &y, &error));
            before = reopen(x, true);
            p.report = go_on; p.user = &left;
            for (; s && calls < 100; calls++) {
                left = calls;
                s = merges ? kpd_index_merge(x, (const kpd_index *const *)&y, 1, NULL, &p, &error) :
                             kpd_index_compact(x, NULL, &p, &error);
                if (s) CHECK_STATUS(s, KPD_ERR_CANCELLED);
                CHECK(!s || same_files(x, before));
            }
            CHECK_INT(calls, kind == KPD_TREE ? 15 : 2);
            CHECK_INT(info_of(x).count, merges ? 400 : 300);
            kpd_index_destroy(before);
            kpd_index_destroy(x);
            kpd_index_destroy(y);
        }
}

static void check_merge_refused(kpd_index *x, const kpd_index *y, const char *named) {
    const kpd_index *others[2];
    const kpd_index *before;
    others[0] = x; others[1] = y;
    before = reopen(x, true);
    CHECK_STATUS(kpd_index_merge(x, others, 2, NULL, NULL, &error), KPD_ERR_ARGUMENT);
    CHECK_INT(error.where, 1);
    CHECK_THAT(strstr(error.message, named), "%s", error.message);
    CHECK(same_files(x, before));
    kpd_index_destroy((kpd_index *)(uintptr_t)before);
}

// A flat index keeps vectors of any length; a tree, which adds up squares, does not.
static void a_tree_takes_no_vector_that_is_too_long(void) {
    kpd_index_desc d;
    kpd_index *tree = NULL, *flat = NULL;
    float v[DIM] = {1, -2e15f};
    int64_t id = 3;
    for (int metric = KPD_DOT; metric <= KPD_L2; metric++) {
        memset(&d, 0, sizeof d);
        d.dim = DIM; d.metric = (kpd_metric)metric;
        CHECK_OK(kpd_index_create(&d, &flat, &error));
        CHECK_OK(kpd_index_upsert(flat, &id, v, 1, &error));
        d.kind = KPD_TREE;
        CHECK_OK(kpd_index_create(&d, &tree, &error));
        CHECK_STATUS(kpd_index_upsert(tree, &id, v, 1, &error), KPD_ERR_INPUT);
        CHECK_STATUS(kpd_index_merge(tree, (const kpd_index *const *)&flat, 1, NULL, NULL, &error), KPD_ERR_INPUT);
        CHECK_THAT(strstr(error.message, "id 3") != NULL, "%s", error.message);
        CHECK_INT(info_of(tree).count, 0);
        kpd_index_destroy(flat);
        kpd_index_destroy(tree);
    }
}

static void merge_refused(void) {
    kpd_index_desc d;
    kpd_index *x = NULL, *y = NULL;
    float v[DIM + 1] = {1};
    int64_t id = 3;
    memset(&d, 0, sizeof d);
    d.dim = DIM; d.metric = KPD_DOT; d.fingerprint = 0xABC;
    CHECK_OK(kpd_index_create(&d, &x, &error));
    CHECK_OK(kpd_index_upsert(x, &id, v, 1, &error));
    d.dim = DIM + 1;
    CHECK_OK(kpd_index_create(&d, &y, &error));
    check_merge_refused(x, y, "dim 21");
    kpd_index_destroy(y);
    d.dim = DIM; d.metric = KPD_L2;
    CHECK_OK(kpd_index_create(&d, &y, &error));
    check_merge_refused(x, y, "metric l2");
    kpd_index_destroy(y);
    d.metric = KPD_DOT; d.fingerprint = 0xABCD;
    CHECK_OK(kpd_index_create(&d, &y, &error));
    check_merge_refused(x, y, "000000000000abcd");
    kpd_index_destroy(y);
    d.fingerprint = 0;                                                  // nothing is known
    CHECK_OK(kpd_index_create(&d, &y, &error));
    CHECK_OK(kpd_index_merge(x, (const kpd_index *const *)&y, 1, NULL, NULL, &error));
    CHECK_INT(info_of(x).count, 1);
    kpd_index_destroy(y);
    y = reopen(x, false);
    CHECK_STATUS(kpd_index_compact(y, NULL, NULL, &error), KPD_ERR_ARGUMENT);        // read-only
    kpd_index_destroy(y);
    kpd_index_destroy(x);
}

// ---- texts ---------------------------------------------------------------------------------------------------------

static kpd_text text(const char *data, size_t size) {
    kpd_text t;
    t.data = data; t.size = size;
    return t;
}

static void check_text(const kpd_index *x, int64_t id, const char *want) {
    kpd_text t;
    CHECK_OK(kpd_index_text(x, id, &t, &error));
    CHECK_THAT(t.data && t.size == strlen(want) && !memcmp(t.data, want, t.size), "id %lld has another text than \"%s\"",
               (long long)id, want);
}

// What is refused changes nothing, and says which text.
static void texts_refused(void) {
    for (int kind = KPD_FLAT; kind <= KPD_TREE; kind++) {
        const int64_t ids[3] = {7, -1, 8};
        kpd_text texts[3], t = {NULL, 99};
        kpd_index *x = of_two((kpd_index_kind)kind), *y;
        check_text(x, 7, "");
        CHECK_INT(info_of(x).text_bytes, 0);
        texts[0] = text("new", 3); texts[1] = text("seven", 5); texts[2] = text("eight", 5);
        CHECK_STATUS(kpd_index_set_text(x, ids, texts, 3, &error), KPD_ERR_NOT_FOUND);
        CHECK_INT(error.where, 2);
        check_text(x, 7, "");
        CHECK_OK(kpd_index_set_text(x, ids, texts + 1, 1, &error));
        texts[1].size = KPD_MAX_TEXT + (size_t)1;
        CHECK_STATUS(kpd_index_set_text(x, ids, texts, 2, &error), KPD_ERR_LIMIT);
        CHECK_INT(error.where, 1);
        texts[1] = text(NULL, 1);
        CHECK_STATUS(kpd_index_set_text(x, ids, texts, 2, &error), KPD_ERR_INPUT);
        CHECK_INT(error.where, 1);
        CHECK_STATUS(kpd_index_text(x, 8, &t, &error), KPD_ERR_NOT_FOUND);
        CHECK(!t.data && t.size == 99);
        check_text(x, 7, "seven");
        y = reopen(x, false);
        check_text(y, 7, "seven");
        check_text(y, -1, "");
        CHECK_STATUS(kpd_index_set_text(y, ids, texts, 1, &error), KPD_ERR_ARGUMENT);       // read-only
        CHECK_OK(kpd_index_set_text(x, NULL, NULL, 0, &error));
        kpd_index_destroy(y);
        kpd_index_destroy(x);
    }
}

// The longest text there may be, and texts given again and again: the room that they take does not grow without end.
static void texts_take_room(void) {
    static char big[KPD_MAX_TEXT];
    const int64_t ids[2] = {7, -1};
    kpd_text t;
    kpd_index *x = of_two(KPD_FLAT);
    memset(big, 'x', sizeof big);
    t = text(big, sizeof big);
    CHECK_OK(kpd_index_set_text(x, ids, &t, 1, &error));
    CHECK_OK(kpd_index_text(x, 7, &t, &error));
    CHECK(t.size == sizeof big && !memcmp(t.data, big, sizeof big));
    t = text("short", 5);
    CHECK_OK(kpd_index_set_text(x, ids, &t, 1, &error));
    for (int i = 0; i < 1000; i++) {
        t = text(big, 20000);
        CHECK_OK(kpd_index_set_text(x, ids + 1, &t, 1, &error));
    }
    check_text(x, 7, "short");
    CHECK_THAT(info_of(x).text_bytes < 60000 || info_of(x).text_bytes > (int64_t)sizeof big, "%lld bytes",
               (long long)info_of(x).text_bytes);
    for (int i = 0; i < 2000; i++) CHECK_OK(kpd_index_set_text(x, ids + 1, &t, 1, &error));
    CHECK_THAT(info_of(x).text_bytes < 60000, "%lld bytes of texts", (long long)info_of(x).text_bytes);
    kpd_index_destroy(x);
}

// A text may be one that the index keeps already.
static void a_text_of_its_own(void) {
    const int64_t ids[2] = {7, -1};
    kpd_index *x = of_two(KPD_FLAT);
    kpd_text t = text("hello", 5);
    CHECK_OK(kpd_index_set_text(x, ids, &t, 1, &error));
    for (int i = 0; i < 20; i++) {
        CHECK_OK(kpd_index_text(x, ids[i % 2], &t, &error));
        CHECK_OK(kpd_index_set_text(x, ids + (i + 1) % 2, &t, 1, &error));
    }
    check_text(x, 7, "hello");
    check_text(x, -1, "hello");
    kpd_index_destroy(x);
}

// Merged from rounded vectors, a flat index has unit length under cosine as any.
static void merged_of_rounded_vectors(void) {
    kpd_index_desc d;
    kpd_index *from = NULL, *x = NULL;
    float v[40 * DIM], got[DIM];
    int64_t id[40];
    memset(&d, 0, sizeof d);
    for (int i = 0; i < 40 * DIM; i++) v[i] = (float)(i * 37 % 101) - 50;
    for (int i = 0; i < 40; i++) id[i] = i;
    d.dim = DIM; d.kind = KPD_TREE; d.storage = KPD_INT4;
    CHECK_OK(kpd_index_build(&d, NULL, id, v, 40, &from, &error));
    d.kind = KPD_FLAT; d.storage = KPD_F32;
    CHECK_OK(kpd_index_create(&d, &x, &error));
    CHECK_OK(kpd_index_merge(x, (const kpd_index *const *)&from, 1, NULL, NULL, &error));
    for (int i = 0; i < 40; i++) {
        double square = 0;
        CHECK_OK(kpd_index_get(x, i, got, &error));
        for (int k = 0; k < DIM; k++) square += (double)got[k] * (double)got[k];
        CHECK_NEAR(square, 1, 1e-5);
    }
    kpd_index_destroy(from);
    kpd_index_destroy(x);
}

// Where a text lies is a number of the file: one that leads outside is refused by whoever follows it, and by verify.
static void texts_lie(void) {
    for (int kind = KPD_FLAT; kind <= KPD_TREE; kind++) {
        static const uint64_t lies[] = {UINT64_MAX, 11, UINT64_C(12) << 24, (UINT64_C(7) << 24) + 5, UINT64_C(1) << 63};
        const int64_t ids[2] = {7, -1};
        kpd_text texts[2];
        kpd_index *x = of_two((kpd_index_kind)kind), *y;
        tiny_bytes b;
        const uint8_t *place = NULL;
        kpd_open_desc d;
        texts[0] = text("six by", 6); texts[1] = text("five", 4);
        CHECK_OK(kpd_index_set_text(x, ids, texts, 2, &error));
        CHECK_OK(kpd_index_save(x, test_tmp("lie.kpi"), &error));
        kpd_index_destroy(x);
        b = tiny_bytes_read(test_tmp("lie.kpi"));
        for (size_t i = 0; i + 8 < b.size; i += 8) {                    // the second text's begin and size
            const uint64_t at = (UINT64_C(6) << 24) + 4;
            if (!memcmp(b.data + i, &at, 8)) place = b.data + i;
        }
        CHECK(place != NULL);
        memset(&d, 0, sizeof d);
        d.data = b.data; d.size = b.size;
        for (size_t i = 0; place && i < sizeof lies / sizeof *lies; i++) {
            memcpy(b.data + (place - b.data), &lies[i], 8);
            d.verify = false;
            if (CHECK_OK(kpd_index_open(NULL, &d, &y, &error))) {
                CHECK_STATUS(kpd_index_text(y, -1, &texts[0], &error), KPD_ERR_FORMAT);
                check_text(y, 7, "six by");
                kpd_index_destroy(y);
            }
            d.verify = true;
            CHECK_STATUS(kpd_index_open(NULL, &d, &y, &error), KPD_ERR_FORMAT);
        }
        tiny_bytes_free(&b);
    }
}

SUITE(life) {
    RUN(life, random_lives);
    RUN(life, replacing_in_a_tree_needs_no_room);
    RUN(life, reserved_room_is_enough);
    RUN(life, filters_keep_the_recall);
    RUN(life, filters_agree);
    RUN(life, filters_refused);
    RUN(life, appended_and_compacted);
    RUN(life, a_tree_takes_no_vector_that_is_too_long);
    RUN(life, merge_refused);
    RUN(life, compact_and_merge_can_be_cancelled);
    RUN(life, texts_refused);
    RUN(life, texts_take_room);
    RUN(life, a_text_of_its_own);
    RUN(life, merged_of_rounded_vectors);
    RUN(life, texts_lie);
}
