// A host's allocator that counts, checks and refuses: what is taken is given back, a refusal is reported and changes
// nothing, and the calls that promise to allocate nothing do not.
#define KPD_THREADS
#include "test.h"
#include "tiny_model.h"
#include "values.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_BLOCKS = 64, NEVER = 1 << 30 };

typedef struct block { void *p; size_t size; } block;
typedef struct host {
    block blocks[MOST_BLOCKS];
    int calls, fail_at, live, mistakes;
    kpd_error *e;                       // what the operation passes on
} host;

// Of no bytes it gives NULL, as malloc may.
static void *host_alloc(void *user, size_t size) {
    host *h = (host *)user;
    if (h->calls++ == h->fail_at || !size) return NULL;
    for (int i = 0; i < MOST_BLOCKS; i++) {
        block *b = &h->blocks[i];
        if (b->p) continue;
        b->p = malloc(size);
        if (!b->p) return NULL;
        memset(b->p, 0xA5, size);
        b->size = size;
        h->live++;
        return b->p;
    }
    h->mistakes++;                      // more blocks than anything here should need
    return NULL;
}

static void host_free(void *user, void *p, size_t size) {
    host *h = (host *)user;
    for (int i = 0; i < MOST_BLOCKS; i++) {
        block *b = &h->blocks[i];
        if (!p || b->p != p) continue;
        if (b->size != size) h->mistakes++;
        free(p);
        b->p = NULL;
        h->live--;
        return;
    }
    h->mistakes++;                      // NULL, or not ours, or given back before
}

static kpd_allocator allocator(host *h) {
    kpd_allocator a;
    a.alloc = host_alloc; a.free = host_free; a.user = h;
    return a;
}

// An operation makes something with the host's memory and frees it; it says what the making returned.
typedef kpd_status operation(host *h);

static bool fails_cleanly(host *h, operation *op, const char *what, kpd_status *status) {
    kpd_error e;
    memset(&e, 0, sizeof e);
    if (h->e) h->e = &e;
    *status = op(h);
    if (*status && h->e) CHECK_THAT(e.status == *status && e.message[0], "%s: status %d without a message", what, (int)*status);
    return CHECK_THAT(!h->live, "%s: refusal of allocation %d left %d blocks", what, h->fail_at, h->live) &&
           CHECK_THAT(!h->mistakes, "%s: refusal of allocation %d: %d wrong frees", what, h->fail_at, h->mistakes);
}

// Refuses the first allocation, then only the second, and so on until none is refused.
static void check_each_refusal(operation *op, int least, const char *what) {
    static kpd_error e;
    for (int with_error = 0; with_error < 2; with_error++) {
        kpd_status s = KPD_ERR_MEMORY;
        int n = 0;
        for (; s && n < 40; n++) {
            host h;
            memset(&h, 0, sizeof h);
            h.fail_at = n;
            h.e = with_error ? &e : NULL;
            if (!fails_cleanly(&h, op, what, &s)) return;
            if (s && !CHECK_STATUS(s, KPD_ERR_MEMORY)) return;
            if (!s) CHECK_THAT(h.calls == n, "%s: succeeded with allocation %d refused", what, n);
        }
        CHECK_THAT(!s && n > least, "%s: status %d after refusing %d allocations", what, (int)s, n);
    }
}

// ---- operations ----------------------------------------------------------------------------------------------------

static char untouched_object;
#define UNTOUCHED(type) ((type *)(void *)&untouched_object)

static kpd_status make_tokenizer(host *h) {
    kpd_tokenizer_desc d = tiny_tokenizer_desc();
    kpd_tokenizer *t = UNTOUCHED(kpd_tokenizer);
    kpd_status s;
    d.allocator = allocator(h);
    s = kpd_tokenizer_create(&d, &t, h->e);
    if (s) CHECK(t == UNTOUCHED(kpd_tokenizer));
    else kpd_tokenizer_destroy(t);
    return s;
}

static kpd_status make_model_of(host *h, kpd_kind kind, bool separate) {
    kpd_tokenizer *tokenizer = tiny_tokenizer();
    kpd_allocator a = allocator(h);
    tiny_options o;
    kpd_model_desc d;
    kpd_model *m = UNTOUCHED(kpd_model);
    kpd_status s;
    memset(&o, 0, sizeof o);
    o.kind = kind; o.n_layers = 2;
    d = tiny_desc(&o, tokenizer);
    d.separate_towers = separate;
    d.allocator = a;
    s = kpd_model_create(&d, &m, h->e);
    kpd_tokenizer_destroy(tokenizer);
    if (s) CHECK(m == UNTOUCHED(kpd_model));
    else kpd_model_destroy(m);
    return s;
}

static kpd_status convert_student(host *h) {
    tiny_options o;
    kpd_convert_desc d;
    kpd_model *m, *to = UNTOUCHED(kpd_model);
    kpd_status s;
    memset(&o, 0, sizeof o);
    memset(&d, 0, sizeof d);
    m = tiny_model(&o);
    d.dtype = KPD_INT8; d.allocator = allocator(h);
    s = kpd_model_convert(m, &d, &to, h->e);
    kpd_model_destroy(m);
    if (s) CHECK(to == UNTOUCHED(kpd_model));
    else kpd_model_destroy(to);
    return s;
}

static kpd_status make_student(host *h) { return make_model_of(h, KPD_BI_ENCODER, true); }
static kpd_status make_assistant(host *h) { return make_model_of(h, KPD_CROSS_ENCODER, false); }

static char model_path[256], index_path[256], empty_path[256];

static kpd_status open_model(host *h, bool copy) {
    kpd_open_desc d;
    kpd_model *m = UNTOUCHED(kpd_model);
    kpd_status s;
    memset(&d, 0, sizeof d);
    d.copy = copy; d.allocator = allocator(h);
    s = kpd_model_open(model_path, &d, &m, h->e);
    if (s) CHECK(m == UNTOUCHED(kpd_model));
    else kpd_model_destroy(m);
    return s;
}

static kpd_status map_model(host *h) { return open_model(h, false); }
static kpd_status copy_model(host *h) { return open_model(h, true); }

static kpd_status open_index(host *h, const char *path, bool copy) {
    kpd_open_desc d;
    kpd_index *x = UNTOUCHED(kpd_index);
    kpd_status s;
    memset(&d, 0, sizeof d);
    d.copy = copy; d.allocator = allocator(h);
    s = kpd_index_open(path, &d, &x, h->e);
    if (s) CHECK(x == UNTOUCHED(kpd_index));
    else kpd_index_destroy(x);
    return s;
}

static kpd_status map_index(host *h) { return open_index(h, index_path, false); }
static kpd_status copy_index(host *h) { return open_index(h, index_path, true); }
static kpd_status copy_empty_index(host *h) { return open_index(h, empty_path, true); }

static kpd_status make_session(host *h) {
    kpd_session_desc d;
    kpd_session *s = UNTOUCHED(kpd_session);
    kpd_status status;
    tiny_options o;
    kpd_model *m;
    memset(&o, 0, sizeof o);
    memset(&d, 0, sizeof d);
    m = tiny_model(&o);
    d.student = m; d.max_tokens = 64; d.max_k = 8; d.allocator = allocator(h);
    status = kpd_session_create(&d, &s, h->e);
    if (status) CHECK(s == UNTOUCHED(kpd_session));
    else kpd_session_destroy(s);
    kpd_model_destroy(m);
    return status;
}

static kpd_status make_pool(host *h) {
    kpd_allocator a = allocator(h);
    kpd_pool *p = UNTOUCHED(kpd_pool);
    kpd_status s = kpd_pool_create(3, &a, &p, h->e);
    if (s) CHECK(p == UNTOUCHED(kpd_pool));
    else kpd_pool_destroy(p);
    return s;
}

static kpd_index *create_index(const kpd_allocator *a, kpd_status *s, kpd_error *e) {
    kpd_index_desc d;
    kpd_index *x = UNTOUCHED(kpd_index);
    memset(&d, 0, sizeof d);
    d.dim = 3; d.metric = KPD_DOT;
    if (a) d.allocator = *a;
    *s = kpd_index_create(&d, &x, e);
    if (*s) CHECK(x == UNTOUCHED(kpd_index));
    return *s ? NULL : x;
}

// One upsert after the other, past several growths; the index must hold just what was accepted.
static kpd_status fill_index(host *h) {
    kpd_allocator a = allocator(h);
    kpd_status s;
    kpd_index *x = create_index(&a, &s, h->e);
    float v[3] = {1, 2, 3}, got[3];
    int64_t id = 0;
    for (; !s && id < 100; id++) {
        v[0] = (float)id;
        s = kpd_index_upsert(x, &id, v, 1, h->e);
        if (s) break;
    }
    for (int64_t i = 0; x && i < id; i++) CHECK(!kpd_index_get(x, i, got, NULL) && got[0] >= (float)i && got[0] <= (float)i);
    if (x) CHECK_INT(kpd_index_count(x), id);
    kpd_index_destroy(x);
    return s;
}

// Vectors, then texts, one after the other: what is there when one is refused stays as it was. kind: of the index.
static kpd_status fill_texts_of(host *h, kpd_index_kind kind) {
    kpd_index_desc d;
    kpd_index *x = UNTOUCHED(kpd_index);
    kpd_status s;
    float v[8] = {1, 2, 3};
    int64_t id = 0, n = 0;
    kpd_text t = {"some text", 9}, got;
    memset(&d, 0, sizeof d);
    d.dim = 8; d.metric = KPD_DOT; d.kind = kind; d.allocator = allocator(h);
    s = kpd_index_build(&d, NULL, &id, v, 1, &x, h->e);
    if (s) return s;
    for (; !s && n < 20; n += !s) {
        s = kpd_index_upsert(x, &n, v, 1, h->e);
        if (!s) s = kpd_index_set_text(x, &n, &t, 1, h->e);
    }
    for (int64_t i = 0; i < n; i++) CHECK(!kpd_index_text(x, i, &got, NULL) && got.size == 9 && !memcmp(got.data, t.data, 9));
    kpd_index_destroy(x);
    return s;
}

// Compacting, and taking in another with texts and partitions: refused, it leaves the index as it was.
static kpd_status merge_of(host *h, kpd_index_kind kind) {
    kpd_index_desc d;
    kpd_index *x = UNTOUCHED(kpd_index), *y = NULL;
    kpd_status s;
    float v[2 * 8] = {1, 2, 3};
    const int64_t ids[2] = {1, 2};
    const int32_t part = 5;
    const kpd_text t = {"some text", 9};
    memset(&d, 0, sizeof d);
    d.dim = 8; d.metric = KPD_DOT;
    CHECK_OK(kpd_index_build(&d, NULL, ids, v, 2, &y, NULL));
    CHECK_OK(kpd_index_set_text(y, ids, &t, 1, NULL));
    CHECK_OK(kpd_index_set_partition(y, ids, &part, 1, NULL));
    d.kind = kind; d.allocator = allocator(h);
    s = kpd_index_build(&d, NULL, ids, v, 1, &x, h->e);
    if (!s) {
        s = kpd_index_merge(x, (const kpd_index *const *)&y, 1, NULL, NULL, h->e);
        CHECK_INT(info_of(x).count, s ? 1 : 2);
        if (!s) s = kpd_index_compact(x, NULL, NULL, h->e);
        kpd_index_destroy(x);
    }
    kpd_index_destroy(y);
    return s;
}

static kpd_status merge_flat(host *h) { return merge_of(h, KPD_FLAT); }
static kpd_status merge_tree(host *h) { return merge_of(h, KPD_TREE); }

static kpd_status fill_texts(host *h) { return fill_texts_of(h, KPD_FLAT); }
static kpd_status fill_tree_texts(host *h) { return fill_texts_of(h, KPD_TREE); }

static kpd_status save_model(host *h) {
    const char *path = test_tmp("memory_saved.kpd");
    tiny_options o;
    kpd_model *m;
    kpd_status s;
    int fail_at = h->fail_at;
    memset(&o, 0, sizeof o);
    o.allocator = allocator(h);
    h->fail_at = NEVER;
    m = tiny_model(&o);
    if (!m) return KPD_ERR_ARGUMENT;
    h->calls = 0; h->fail_at = fail_at;
    s = kpd_model_save(m, path, h->e);
    kpd_model_destroy(m);
    return s;
}

static kpd_status save_index(host *h) {
    kpd_allocator a = allocator(h);
    kpd_status s;
    kpd_index *x = create_index(&a, &s, h->e);
    const float v[3] = {1, 2, 3};
    const int64_t id = 4;
    if (!s) s = kpd_index_upsert(x, &id, v, 1, h->e);
    if (!s) s = kpd_index_save(x, test_tmp("memory_saved.kpi"), h->e);
    kpd_index_destroy(x);
    return s;
}

// ---- tests ---------------------------------------------------------------------------------------------------------

static void make_files(void) {
    tiny_options o;
    kpd_model *m;
    kpd_status s;
    kpd_index *x = create_index(NULL, &s, NULL);
    const float v[6] = {1, 2, 3, 4, 5, 6};
    const int64_t ids[2] = {1, 2};
    const kpd_text text = {"one", 3};
    memset(&o, 0, sizeof o);
    m = tiny_model(&o);
    snprintf(model_path, sizeof model_path, "%s", test_tmp("memory.kpd"));
    snprintf(index_path, sizeof index_path, "%s", test_tmp("memory.kpi"));
    snprintf(empty_path, sizeof empty_path, "%s", test_tmp("memory_empty.kpi"));
    if (m) CHECK_OK(kpd_model_save(m, model_path, NULL));
    if (x) {
        CHECK_OK(kpd_index_save(x, empty_path, NULL));
        CHECK_OK(kpd_index_upsert(x, ids, v, 2, NULL));
        CHECK_OK(kpd_index_set_text(x, ids, &text, 1, NULL));
        CHECK_OK(kpd_index_save(x, index_path, NULL));
    }
    kpd_index_destroy(x);
    kpd_model_destroy(m);
}

static void each_refusal(void) {
    check_each_refusal(make_tokenizer, 1, "kpd_tokenizer_create");
    check_each_refusal(make_student, 4, "kpd_model_create, student");
    check_each_refusal(convert_student, 6, "kpd_model_convert");
    check_each_refusal(make_assistant, 4, "kpd_model_create, assistant");
    check_each_refusal(map_model, 2, "kpd_model_open, mapped");
    check_each_refusal(copy_model, 3, "kpd_model_open, copied");
    check_each_refusal(save_model, 1, "kpd_model_save");
    check_each_refusal(map_index, 1, "kpd_index_open, mapped");
    check_each_refusal(copy_index, 6, "kpd_index_open, copied");
    check_each_refusal(copy_empty_index, 2, "kpd_index_open, empty and copied");
    check_each_refusal(fill_index, 7, "kpd_index_create and _upsert");
    check_each_refusal(merge_flat, 12, "kpd_index_merge");
    check_each_refusal(merge_tree, 8, "kpd_index_merge of a tree");
    check_each_refusal(fill_texts, 8, "kpd_index_set_text");
    check_each_refusal(fill_tree_texts, 8, "kpd_index_set_text of a tree");
    check_each_refusal(save_index, 3, "kpd_index_save");
    check_each_refusal(make_session, 1, "kpd_session_create");
    check_each_refusal(make_pool, 1, "kpd_pool_create");
}

static bool lookup(void *user, int64_t id, kpd_text *out) {
    (void)user;
    out->data = id % 2 ? "red lamp" : "blue case for phone";
    out->size = strlen(out->data);
    return true;
}

static void use_all(kpd_session *s, kpd_model *student, kpd_model *assistant, kpd_index *x) {
    kpd_input item[40];
    static float out[40 * 16];
    static kpd_hit hits[40 * 10];
    static kpd_recommendation r[40 * 10];
    int32_t counts[40];
    kpd_recommend_desc d;
    memset(&d, 0, sizeof d);
    for (size_t i = 0; i < 40; i++) item[i] = kpd_input_str("blue case", i % 2 ? "phone" : NULL, NULL);
    CHECK_OK(kpd_embed(s, student, KPD_ITEM, item, 40, 3, out, NULL));
    CHECK_OK(kpd_score(s, assistant, item, 40, out, NULL));
    CHECK_OK(kpd_index_search(s, x, out, 10, NULL, hits, counts, NULL));
    d.student = student; d.assistant = assistant; d.index = x; d.lookup = lookup;
    CHECK_OK(kpd_recommend(s, &d, item, 40, r, counts, NULL));
}

static void work_allocates_nothing(void) {
    host h;
    kpd_allocator a = allocator(&h);
    tiny_options o;
    kpd_session_desc d;
    kpd_session *session = NULL;
    kpd_model *student, *assistant;
    kpd_index *x;
    kpd_status s;
    const float v[6] = {1, 2, 3, 4, 5, 6};
    const int64_t ids[2] = {1, 2};
    memset(&h, 0, sizeof h);
    memset(&o, 0, sizeof o);
    memset(&d, 0, sizeof d);
    h.fail_at = NEVER;
    o.allocator = a;
    student = tiny_model(&o);
    o.kind = KPD_CROSS_ENCODER;
    assistant = tiny_model(&o);
    x = create_index(&a, &s, NULL);
    d.student = student; d.assistant = assistant; d.allocator = a; d.max_tokens = 64;
    if (student && assistant && x && CHECK_OK(kpd_index_upsert(x, ids, v, 2, NULL)) &&
        CHECK_OK(kpd_session_create(&d, &session, NULL))) {
        int calls = h.calls;
        h.fail_at = calls;                                              // the next one would be refused
        use_all(session, student, assistant, x);
        CHECK_INT(h.calls, calls);
        CHECK(kpd_session_tokens(session) > 0);
    }
    kpd_session_destroy(session);
    kpd_index_destroy(x);
    kpd_model_destroy(assistant);
    kpd_model_destroy(student);
    CHECK_INT(h.live, 0);
    CHECK_INT(h.mistakes, 0);
}

static void null_is_destroyed(void) {
    kpd_tokenizer_destroy(NULL);
    kpd_model_destroy(NULL);
    kpd_index_destroy(NULL);
    kpd_session_destroy(NULL);
    kpd_pool_destroy(NULL);
}

static void check_one_sided(kpd_allocator a) {
    kpd_tokenizer_desc td = tiny_tokenizer_desc();
    kpd_open_desc od;
    kpd_index_desc xd;
    kpd_session_desc sd;
    kpd_model_desc md;
    tiny_options o;
    kpd_tokenizer *t = NULL, *good = tiny_tokenizer();
    kpd_model *m = NULL;
    kpd_index *x = NULL;
    kpd_session *s = NULL;
    kpd_pool *p = NULL;
    memset(&od, 0, sizeof od); memset(&xd, 0, sizeof xd); memset(&sd, 0, sizeof sd); memset(&o, 0, sizeof o);
    td.allocator = od.allocator = xd.allocator = sd.allocator = a;
    xd.dim = 3;
    md = tiny_desc(&o, good);
    md.allocator = a;
    CHECK_STATUS(kpd_tokenizer_create(&td, &t, NULL), KPD_ERR_ARGUMENT);
    CHECK_STATUS(kpd_model_create(&md, &m, NULL), KPD_ERR_ARGUMENT);
    CHECK_STATUS(kpd_model_open(model_path, &od, &m, NULL), KPD_ERR_ARGUMENT);
    CHECK_STATUS(kpd_index_open(index_path, &od, &x, NULL), KPD_ERR_ARGUMENT);
    CHECK_STATUS(kpd_index_create(&xd, &x, NULL), KPD_ERR_ARGUMENT);
    CHECK_STATUS(kpd_session_create(&sd, &s, NULL), KPD_ERR_ARGUMENT);
    CHECK_STATUS(kpd_pool_create(2, &a, &p, NULL), KPD_ERR_ARGUMENT);
    CHECK(!t && !m && !x && !s && !p);
    kpd_tokenizer_destroy(good);
}

static void one_sided_allocator(void) {
    host h;
    kpd_allocator a = allocator(&h);
    memset(&h, 0, sizeof h);
    h.fail_at = NEVER;
    a.free = NULL;
    check_one_sided(a);
    a = allocator(&h);
    a.alloc = NULL;
    check_one_sided(a);
    CHECK_INT(h.calls, 0);
}

SUITE(memory) {
    make_files();
    RUN(memory, each_refusal);
    RUN(memory, work_allocates_nothing);
    RUN(memory, null_is_destroyed);
    RUN(memory, one_sided_allocator);
}
