// The index against references written here: scores by the documented chain and in double, order, and a plain list of
// (id, vector) for what upsert and remove do.
#define KPD_THREADS
#include "test.h"
#include "tiny_model.h"
#include "values.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 3000, MOST_DIM = 384, MOST_K = 4096, QUERIES = 53 };      // 53: more than share one walk over the index

static float vectors[MOST * MOST_DIM], queries[QUERIES * MOST_DIM];
static int64_t ids[MOST];
static kpd_hit hits[QUERIES * MOST_K], hits2[QUERIES * MOST_K], want[MOST];
static int32_t counts[QUERIES], counts2[QUERIES];
static kpd_error error;

// The same n hits to the bit. Not memcmp of the whole, since a struct may have any bytes behind its float.
static bool same_hits(const kpd_hit *a, const kpd_hit *b, int32_t n) {
    for (int32_t i = 0; i < n; i++)
        if (a[i].id != b[i].id || memcmp(&a[i].score, &b[i].score, sizeof a->score)) return false;
    return true;
}

static kpd_index *create_of(int32_t dim, kpd_metric metric, kpd_dtype storage) {
    kpd_index_desc d;
    kpd_index *x = NULL;
    memset(&d, 0, sizeof d);
    d.dim = dim; d.metric = metric; d.storage = storage;
    CHECK_OK(kpd_index_create(&d, &x, &error));
    return x;
}

static kpd_index *create(int32_t dim, kpd_metric metric) { return create_of(dim, metric, KPD_F32); }

static kpd_session *open_session(kpd_simd level, kpd_parallel p) {
    kpd_session_desc d;
    kpd_session *s = NULL;
    memset(&d, 0, sizeof d);
    d.max_dim = MOST_DIM; d.max_k = MOST_K; d.simd = level; d.parallel = p;
    CHECK_OK(kpd_session_create(&d, &s, &error));
    return s;
}

static kpd_session *plain_session(void) {
    kpd_parallel none;
    memset(&none, 0, sizeof none);
    return open_session(KPD_SIMD_AUTO, none);
}

static kpd_search_desc best(int32_t k) {
    kpd_search_desc d;
    memset(&d, 0, sizeof d);
    d.k = k;
    return d;
}

// Ids in no order, negative ones among them.
static void fill(size_t n, size_t dim, uint32_t seed) {
    uint32_t state = seed;
    for (size_t i = 0; i < n; i++) ids[i] = ((int64_t)i * 7919 % 10007 - 5000) * 3000000007;
    for (size_t i = 0; i < n * dim; i++) vectors[i] = tiny_uniform(&state);
    for (size_t i = 0; i < QUERIES * dim; i++) queries[i] = tiny_uniform(&state);
}

static void spoil_outputs(void) {
    memset(hits, 0x5A, sizeof hits);
    memset(counts, 0x5A, sizeof counts);
}

// ---- exactness -----------------------------------------------------------------------------------------------------

// A chain over the dimensions: one fused multiply-add after the other, from +0.
static float chain_score(kpd_metric metric, const float *q, const float *v, size_t dim) {
    float sum = 0;
    for (size_t d = 0; d < dim; d++) sum = metric == KPD_L2 ? fused(q[d] - v[d], q[d] - v[d], sum) : fused(q[d], v[d], sum);
    return metric == KPD_L2 ? 0 - sum : sum;
}

static double double_score(kpd_metric metric, const float *q, const float *v, size_t dim) {
    double dot = 0, qq = 0, vv = 0, far = 0;
    for (size_t d = 0; d < dim; d++) {
        double a = (double)q[d], b = (double)v[d];
        dot += a * b; qq += a * a; vv += b * b; far += (a - b) * (a - b);
    }
    return metric == KPD_COSINE ? dot / sqrt(qq * vv) : metric == KPD_DOT ? dot : -far;
}

static int order(const void *a, const void *b) {
    const kpd_hit *x = (const kpd_hit *)a, *y = (const kpd_hit *)b;
    if (x->score < y->score || x->score > y->score) return x->score > y->score ? -1 : 1;
    return x->id < y->id ? -1 : x->id > y->id;
}

// Unit vectors as the index makes them: by storing the vector in one and reading it back.
static void unit(const float *v, int32_t dim, float *out) {
    kpd_index *x = create(dim, KPD_COSINE);
    const int64_t id = 1;
    if (x && CHECK_OK(kpd_index_upsert(x, &id, v, 1, NULL))) CHECK_OK(kpd_index_get(x, 1, out, NULL));
    kpd_index_destroy(x);
}

static bool check_row(const kpd_index *x, const float *q, size_t n, int32_t k, const kpd_hit *row, int32_t count) {
    kpd_index_info info = info_of(x);
    size_t dim = (size_t)info.dim, expected = n < (size_t)k ? n : (size_t)k;
    float length_one[MOST_DIM], v[MOST_DIM];
    if (info.metric == KPD_COSINE) unit(q, info.dim, length_one);
    else memcpy(length_one, q, dim * sizeof *q);
    for (size_t i = 0; i < n; i++) {
        CHECK_OK(kpd_index_get(x, ids[i], v, NULL));
        want[i].id = ids[i];
        want[i].score = chain_score(info.metric, length_one, v, dim);
        if (!CHECK_NEAR(want[i].score, double_score(info.metric, q, vectors + i * dim, dim), 1e-6 * (double)(dim + 4)))
            return false;
    }
    qsort(want, n, sizeof *want, order);
    if (!CHECK_INT(count, expected)) return false;
    for (size_t i = 0; i < expected; i++)
        if (!CHECK_THAT(row[i].id == want[i].id && !memcmp(&row[i].score, &want[i].score, 4),
                        "dim %zu, %zu vectors, k %d, metric %d, hit %zu: id %lld score %.9g, expected %lld %.9g", dim, n,
                        (int)k, (int)info.metric, i, (long long)row[i].id, (double)row[i].score, (long long)want[i].id,
                        (double)want[i].score))
            return false;
    return true;
}

static bool check_exact(kpd_session *s, kpd_metric metric, size_t dim, size_t n, int32_t k) {
    kpd_index *x = create((int32_t)dim, metric);
    kpd_search_desc d = best(k);
    bool ok = x != NULL;
    fill(n, dim, (uint32_t)(n * 31 + dim));
    spoil_outputs();
    ok = ok && CHECK_OK(kpd_index_upsert(x, ids, vectors, n, &error)) && CHECK_INT(kpd_index_count(x), n) &&
         CHECK_OK(kpd_index_search(s, x, queries, QUERIES, &d, hits, counts, &error));
    for (size_t i = 0; ok && i < QUERIES; i += 14) ok = check_row(x, queries + i * dim, n, k, hits + i * (size_t)k, counts[i]);
    kpd_index_destroy(x);
    return ok;
}

static void exact(void) {
    static const size_t dims[] = {1, 3, 16, 17, 64, 384}, sizes[] = {0, 1, 15, 16, 17, 300, 3000};
    kpd_session *s = plain_session();
    for (size_t i = 0; s && i < 6; i++)
        for (size_t j = 0; j < 7; j++) {
            check_exact(s, KPD_COSINE, dims[i], sizes[j], 10);
            check_exact(s, KPD_DOT, dims[i], sizes[j], j % 2 ? 1 : 33);
            check_exact(s, KPD_L2, dims[i], sizes[j], (int32_t)sizes[j] + 1);
        }
    kpd_session_destroy(s);
}

// Many equal vectors: by id, whatever the order in which they came.
static void ties(void) {
    kpd_session *s = plain_session();
    kpd_index *x = create(2, KPD_L2);
    kpd_search_desc d = best(500);
    const float q[2] = {1, 1};
    for (size_t i = 0; i < 1000; i++) {
        ids[i] = (int64_t)(i * 389 % 1000) - 500;
        vectors[2 * i] = (float)(i % 2); vectors[2 * i + 1] = 1;
    }
    if (s && x && CHECK_OK(kpd_index_upsert(x, ids, vectors, 1000, NULL)) &&
        CHECK_OK(kpd_index_search(s, x, q, 1, &d, hits, counts, NULL))) {
        CHECK_INT(counts[0], 500);
        for (int32_t i = 0; i < counts[0]; i++) {
            CHECK_NEAR(hits[i].score, 0, 0);
            if (i && !CHECK(hits[i - 1].id < hits[i].id)) break;
        }
        d.k = 7;                                                        // and when most of them do not fit
        CHECK_OK(kpd_index_search(s, x, q, 1, &d, hits2, counts2, NULL));
        CHECK(counts2[0] == 7 && same_hits(hits, hits2, 7));
    }
    kpd_index_destroy(x);
    kpd_session_destroy(s);
}

static void k_is_10_by_default(void) {
    kpd_session *s = plain_session();
    kpd_index *x = create(3, KPD_DOT);
    fill(40, 3, 5);
    if (s && x && CHECK_OK(kpd_index_upsert(x, ids, vectors, 40, NULL))) {
        CHECK_OK(kpd_index_search(s, x, queries, 2, NULL, hits, counts, NULL));
        CHECK_INT(counts[0], 10);
        check_row(x, queries + 3, 40, 10, hits + 10, counts[1]);
    }
    kpd_index_destroy(x);
    kpd_session_destroy(s);
}

// ---- what is stored ------------------------------------------------------------------------------------------------

// The reference: a list.
enum { REFERENCE = 400, RDIM = 5 };
typedef struct entry { int64_t id; float v[RDIM]; } entry;
typedef struct reference { entry at[REFERENCE]; size_t n; } reference;

static entry *find(reference *r, int64_t id) {
    for (size_t i = 0; i < r->n; i++)
        if (r->at[i].id == id) return &r->at[i];
    return NULL;
}

static void reference_upsert(reference *r, int64_t id, const float *v) {
    entry *e = find(r, id);
    if (!e) e = &r->at[r->n++];
    e->id = id;
    memcpy(e->v, v, sizeof e->v);
}

static size_t reference_remove(reference *r, int64_t id) {
    entry *e = find(r, id);
    if (!e) return 0;
    *e = r->at[--r->n];
    return 1;
}

static bool check_same(const kpd_index *x, reference *r) {
    float v[RDIM];
    int64_t id = 0;
    if (!CHECK_INT(kpd_index_count(x), r->n)) return false;
    for (size_t i = 0; i < r->n; i++) {
        if (!CHECK_OK(kpd_index_get(x, r->at[i].id, v, &error)) || !CHECK(!memcmp(v, r->at[i].v, sizeof v))) return false;
        if (!CHECK(kpd_index_id(x, (int64_t)i, &id) && find(r, id) != NULL) || !CHECK(kpd_index_contains(x, id))) return false;
    }
    return CHECK(!kpd_index_id(x, (int64_t)r->n, &id) && !kpd_index_id(x, -1, &id) && !kpd_index_id(x, INT64_MIN, &id));
}

static bool check_same_search(kpd_session *s, const kpd_index *x, const reference *r) {
    kpd_search_desc d = best(MOST_K);
    const float q[RDIM] = {1, -2, 3, -4, 5};
    if (!CHECK_OK(kpd_index_search(s, x, q, 1, &d, hits, counts, NULL)) || !CHECK_INT(counts[0], r->n)) return false;
    for (size_t i = 0; i < r->n; i++) {
        want[i].id = r->at[i].id;
        want[i].score = chain_score(KPD_DOT, q, r->at[i].v, RDIM);
    }
    qsort(want, r->n, sizeof *want, order);
    for (size_t i = 0; i < r->n; i++)
        if (!CHECK(hits[i].id == want[i].id && !memcmp(&hits[i].score, &want[i].score, 4))) return false;
    return true;
}

// Few ids, so that they collide, and some at the ends of their range.
static int64_t some_id(uint32_t *state) {
    static const int64_t extremes[] = {INT64_MIN, INT64_MAX, -1, 0, 1, INT64_MIN + 1};
    uint32_t r = tiny_random(state);
    if (r % 16 == 0) return extremes[r / 16 % 6];
    return (int64_t)(r / 16 % 300) * (r / 8192 % 2 ? 1 : INT64_C(0x100000001));
}

static void some_upserts(kpd_index *x, reference *r, uint32_t *state, size_t n) {
    int64_t some[8];
    float v[8 * RDIM];
    for (size_t i = 0; i < n; i++) some[i] = i && tiny_random(state) % 4 == 0 ? some[i - 1] : some_id(state);
    for (size_t i = 0; i < n * RDIM; i++) v[i] = tiny_uniform(state);
    for (size_t i = 0; i < n; i++) reference_upsert(r, some[i], v + i * RDIM);
    CHECK_OK(kpd_index_upsert(x, some, v, n, &error));
}

static void some_removals(kpd_index *x, reference *r, uint32_t *state, size_t n) {
    int64_t some[8];
    size_t expected = 0, removed = 99;
    for (size_t i = 0; i < n; i++) {
        some[i] = some_id(state);
        expected += reference_remove(r, some[i]);
    }
    CHECK_OK(kpd_index_remove(x, some, n, &removed, &error));
    CHECK_INT(removed, expected);
}

static void random_operations(void) {
    static reference r;
    kpd_session *s = plain_session();
    for (uint32_t seed = 1; s && seed <= 6; seed++) {
        kpd_index *x = create(RDIM, KPD_DOT);
        uint32_t state = seed;
        bool ok = x != NULL;
        r.n = 0;
        for (int i = 0; ok && i < 600; i++) {
            bool growing = i / 100 % 2 == 0, upsert = r.n < REFERENCE - 8 && tiny_random(&state) % 4 < (growing ? 3u : 1u);
            if (upsert) some_upserts(x, &r, &state, 1 + tiny_random(&state) % 8);
            else some_removals(x, &r, &state, tiny_random(&state) % 9);
            ok = check_same(x, &r) && (i % 20 || check_same_search(s, x, &r));
        }
        kpd_index_destroy(x);
    }
    kpd_session_destroy(s);
}

static void last_of_equal_ids_wins(void) {
    kpd_index *x = create(1, KPD_DOT);
    const int64_t some[5] = {7, 8, 7, 7, 8};
    const float v[5] = {1, 2, 3, 4, 5}, other = 6;
    float got = 0;
    if (x && CHECK_OK(kpd_index_upsert(x, some, v, 5, NULL))) {
        CHECK_INT(kpd_index_count(x), 2);
        CHECK_OK(kpd_index_get(x, 7, &got, NULL));
        CHECK_NEAR(got, 4, 0);
        CHECK_OK(kpd_index_get(x, 8, &got, NULL));
        CHECK_NEAR(got, 5, 0);
        CHECK_OK(kpd_index_upsert(x, &some[1], &other, 1, NULL));
        CHECK_OK(kpd_index_get(x, 8, &got, NULL));
        CHECK_NEAR(got, 6, 0);
        CHECK_INT(kpd_index_count(x), 2);
    }
    kpd_index_destroy(x);
}

static void remove_all(void) {
    kpd_session *s = plain_session();
    kpd_index *x = create(3, KPD_L2);
    size_t removed = 0;
    fill(100, 3, 9);
    for (int round = 0; s && x && round < 3; round++) {
        CHECK_OK(kpd_index_upsert(x, ids, vectors, 100, NULL));
        CHECK_INT(kpd_index_count(x), 100);
        CHECK_OK(kpd_index_remove(x, ids, 100, round ? &removed : NULL, NULL));
        CHECK_INT(removed, round ? 100 : 0);
        CHECK_INT(kpd_index_count(x), 0);
        CHECK_OK(kpd_index_remove(x, ids, 100, &removed, NULL));
        CHECK_INT(removed, 0);
        CHECK_STATUS(kpd_index_get(x, ids[5], vectors, NULL), KPD_ERR_NOT_FOUND);
        CHECK_OK(kpd_index_search(s, x, queries, 2, NULL, hits, counts, NULL));
        CHECK(counts[0] == 0 && counts[1] == 0);
    }
    kpd_index_destroy(x);
    kpd_session_destroy(s);
}

static void empty(void) {
    kpd_session *s = plain_session();
    kpd_index *x = create(4, KPD_COSINE);
    const float q[8] = {1, 0, 0, 0, 0, 1, 0, 0};
    const int64_t id = 1;
    int64_t other = 77;
    size_t removed = 9;
    float v[4];
    memset(counts, 0x5A, sizeof counts);
    if (s && x) {
        CHECK_OK(kpd_index_search(s, x, q, 2, NULL, hits, counts, &error));
        CHECK(counts[0] == 0 && counts[1] == 0);
        CHECK_OK(kpd_index_upsert(x, NULL, NULL, 0, &error));
        CHECK_OK(kpd_index_remove(x, &id, 1, &removed, &error));
        CHECK_INT(removed, 0);
        CHECK_STATUS(kpd_index_get(x, 1, v, &error), KPD_ERR_NOT_FOUND);
        CHECK(!kpd_index_contains(x, 1) && !kpd_index_id(x, 0, &other) && other == 77);
        CHECK_OK(kpd_index_search(s, x, q, 0, NULL, hits, counts, &error));
    }
    kpd_index_destroy(x);
    kpd_session_destroy(s);
}

// ---- what is refused -----------------------------------------------------------------------------------------------

// The call changes nothing: not the vectors whose ids it names, nor the count.
static void check_upsert_refused(kpd_metric metric, const float *bad, int64_t row) {
    kpd_index *x = create(2, metric);
    const int64_t some[3] = {1, 2, 3};
    const float good[4] = {3, 4, 6, 8};
    float before[2], after[2];
    if (x && CHECK_OK(kpd_index_upsert(x, some, good, 2, NULL))) {
        CHECK_OK(kpd_index_get(x, 1, before, NULL));
        CHECK_STATUS(kpd_index_upsert(x, some, bad, 3, &error), KPD_ERR_INPUT);
        CHECK_INT(error.where, row);
        CHECK(error.message[0] != 0);
        CHECK_INT(kpd_index_count(x), 2);
        CHECK_OK(kpd_index_get(x, 1, after, NULL));
        CHECK(!memcmp(before, after, sizeof before));
        CHECK_STATUS(kpd_index_get(x, 3, after, NULL), KPD_ERR_NOT_FOUND);
    }
    kpd_index_destroy(x);
}

static void bad_vectors(void) {
    const float nan_last[6] = {1, 2, 3, 4, 5, NAN}, inf[6] = {1, 2, INFINITY, 4, 5, 6}, minus[6] = {-INFINITY, 2, 3, 4, 5, 6};
    const float zero[6] = {1, 2, 0, 0, 3, 4}, minus_zero[6] = {1, 2, 3, 4, -0.0f, 0};
    for (int m = KPD_COSINE; m <= KPD_L2; m++) {
        check_upsert_refused((kpd_metric)m, nan_last, 2);
        check_upsert_refused((kpd_metric)m, inf, 1);
        check_upsert_refused((kpd_metric)m, minus, 0);
    }
    check_upsert_refused(KPD_COSINE, zero, 1);
    check_upsert_refused(KPD_COSINE, minus_zero, 2);
    for (int m = KPD_DOT; m <= KPD_L2; m++) {
        kpd_index *x = create(2, (kpd_metric)m);
        const int64_t some[3] = {1, 2, 3};
        if (x) CHECK_OK(kpd_index_upsert(x, some, zero, 3, NULL));
        kpd_index_destroy(x);
    }
}

static void check_search_refused(kpd_session *s, const kpd_index *x, const float *q, const kpd_search_desc *d,
                                 kpd_status status, int64_t row) {
    memset(hits, 0x5A, sizeof hits[0] * 100);
    memset(counts, 0x5A, sizeof counts);
    CHECK_STATUS(kpd_index_search(s, x, q, 2, d, hits, counts, &error), status);
    CHECK_INT(error.status, status);
    CHECK_INT(error.where, row);
    CHECK(error.message[0] != 0);
    CHECK(((const unsigned char *)hits)[0] == 0x5A && counts[0] == 0x5A5A5A5A && counts[1] == 0x5A5A5A5A);
}

static void bad_searches(void) {
    kpd_session *s = plain_session();
    kpd_index *x = create(3, KPD_COSINE), *wide = create(MOST_DIM + 1, KPD_DOT);
    float q[6] = {1, 2, 3, 4, 5, 6};
    kpd_search_desc d = best(5);
    const int64_t id = 4;
    if (s && x && wide && CHECK_OK(kpd_index_upsert(x, &id, q, 1, NULL))) {
        d.k = -1;
        check_search_refused(s, x, q, &d, KPD_ERR_ARGUMENT, -1);
        d.k = MOST_K + 1;
        check_search_refused(s, x, q, &d, KPD_ERR_LIMIT, -1);
        d.k = 5;
        check_search_refused(s, wide, vectors, &d, KPD_ERR_LIMIT, -1);
        d.threshold = true; d.min_score = NAN;
        check_search_refused(s, x, q, &d, KPD_ERR_ARGUMENT, -1);
        d.threshold = false;                                            // then min_score is not looked at
        CHECK_OK(kpd_index_search(s, x, q, 2, &d, hits, counts, &error));
        q[4] = NAN;
        check_search_refused(s, x, q, &d, KPD_ERR_INPUT, 1);
        q[4] = INFINITY;
        check_search_refused(s, x, q, &d, KPD_ERR_INPUT, 1);
        q[0] = NAN;
        check_search_refused(s, x, q, &d, KPD_ERR_INPUT, 0);
    }
    kpd_index_destroy(x);
    kpd_index_destroy(wide);
    kpd_session_destroy(s);
}

static void bad_descs(void) {
    kpd_index_desc d;
    kpd_index *x = NULL;
    kpd_session_desc sd;
    kpd_session *s = NULL;
    memset(&d, 0, sizeof d);
    memset(&sd, 0, sizeof sd);
    CHECK_STATUS(kpd_index_create(&d, &x, &error), KPD_ERR_ARGUMENT);
    d.dim = KPD_MAX_WIDTH + 1;
    CHECK_STATUS(kpd_index_create(&d, &x, &error), KPD_ERR_ARGUMENT);
    d.dim = 4; d.metric = (kpd_metric)3;
    CHECK_STATUS(kpd_index_create(&d, &x, &error), KPD_ERR_ARGUMENT);
    d.metric = KPD_L2; d.storage = KPD_INT16;
    CHECK_STATUS(kpd_index_create(&d, &x, &error), KPD_ERR_UNSUPPORTED);
    CHECK(x == NULL);
    sd.max_k = KPD_MAX_K + 1;
    CHECK_STATUS(kpd_session_create(&sd, &s, &error), KPD_ERR_ARGUMENT);
    sd.max_k = 0; sd.max_dim = -1;
    CHECK_STATUS(kpd_session_create(&sd, &s, &error), KPD_ERR_ARGUMENT);
    sd.max_dim = 0; sd.parallel.n_threads = -1;
    CHECK_STATUS(kpd_session_create(&sd, &s, &error), KPD_ERR_ARGUMENT);
    CHECK(s == NULL);
}

// ---- threshold and filter ------------------------------------------------------------------------------------------

static void threshold(void) {
    kpd_session *s = plain_session();
    kpd_index *x = create(16, KPD_DOT);
    kpd_search_desc d = best(600);
    fill(600, 16, 21);
    if (s && x && CHECK_OK(kpd_index_upsert(x, ids, vectors, 600, NULL)) &&
        CHECK_OK(kpd_index_search(s, x, queries, 1, &d, hits, counts, NULL)) && CHECK_INT(counts[0], 600)) {
        for (int32_t at = 0; at < 600; at += 59) {                      // a score equal to the threshold stays
            d.threshold = true; d.min_score = hits[at].score;
            CHECK_OK(kpd_index_search(s, x, queries, 1, &d, hits2, counts2, NULL));
            CHECK_INT(counts2[0], at + 1);
            CHECK(same_hits(hits, hits2, at + 1));
        }
        d.k = 3; d.min_score = -INFINITY;
        CHECK_OK(kpd_index_search(s, x, queries, 1, &d, hits2, counts2, NULL));
        CHECK(counts2[0] == 3 && same_hits(hits, hits2, 3));
        d.min_score = INFINITY;
        CHECK_OK(kpd_index_search(s, x, queries, 1, &d, hits2, counts2, NULL));
        CHECK_INT(counts2[0], 0);
    }
    kpd_index_destroy(x);
    kpd_session_destroy(s);
}

static bool even(void *user, int64_t id) {
    (void)user;
    return id % 2 == 0;
}

static bool only(void *user, int64_t id) { return id == *(const int64_t *)user; }

static void filter(void) {
    kpd_session *s = plain_session();
    kpd_index *x = create(16, KPD_L2);
    kpd_search_desc d = best(MOST);
    fill(700, 16, 22);
    if (s && x && CHECK_OK(kpd_index_upsert(x, ids, vectors, 700, NULL)) &&
        CHECK_OK(kpd_index_search(s, x, queries, 1, &d, hits, counts, NULL))) {
        int32_t n = 0;
        for (int32_t i = 0; i < counts[0]; i++)
            if (even(NULL, hits[i].id)) hits[n++] = hits[i];
        CHECK_THAT(n > 200 && n < 500, "%d of the ids are even", (int)n);
        d.filter = even;
        CHECK_OK(kpd_index_search(s, x, queries, 1, &d, hits2, counts2, NULL));
        CHECK(counts2[0] == n && same_hits(hits, hits2, n));
        d.k = 5;                                                        // the filter comes before the cut to k
        CHECK_OK(kpd_index_search(s, x, queries, 1, &d, hits2, counts2, NULL));
        CHECK(counts2[0] == 5 && same_hits(hits, hits2, 5));
        d.filter = only; d.filter_user = &ids[3];
        CHECK_OK(kpd_index_search(s, x, queries, 1, &d, hits2, counts2, NULL));
        CHECK(counts2[0] == 1 && hits2[0].id == ids[3]);
    }
    kpd_index_destroy(x);
    kpd_session_destroy(s);
}

// ---- threads and levels --------------------------------------------------------------------------------------------

// Tasks in the wrong order, all on this thread.
static void backwards(void *user, int32_t n, kpd_task_t *task, void *arg) {
    ++*(int *)user;
    while (n-- > 0) task(arg, n);
}

static bool check_equal_search(const kpd_index *x, kpd_simd level, kpd_parallel p, const kpd_search_desc *d) {
    kpd_session *s = open_session(level, p);
    bool ok = s && CHECK_OK(kpd_index_search(s, x, queries, QUERIES, d, hits2, counts2, &error));
    ok = ok && CHECK_THAT(!memcmp(counts, counts2, sizeof counts), "level %s, %d tasks: other counts", kpd_simd_name(level),
                          (int)p.n_threads);
    for (size_t i = 0; ok && i < QUERIES; i++)
        ok = CHECK_THAT(same_hits(hits + i * (size_t)d->k, hits2 + i * (size_t)d->k, counts[i]),
                        "level %s, %d tasks: other hits of query %zu", kpd_simd_name(level), (int)p.n_threads, i);
    kpd_session_destroy(s);
    return ok;
}

static void check_threads(const kpd_index *x, const kpd_search_desc *d) {
    static const int32_t n_threads[] = {1, 2, 5};
    for (int level = KPD_SIMD_AUTO; level < KPD_SIMD_COUNT; level++)
        for (size_t i = 0; i < 3; i++) {
            kpd_pool *pool = NULL;
            kpd_parallel p;
            int calls = 0;
            if (!kpd_simd_available((kpd_simd)level)) continue;
            p.run = backwards; p.user = &calls; p.n_threads = n_threads[i];
            check_equal_search(x, (kpd_simd)level, p, d);
            CHECK(calls > 0 || n_threads[i] == 1);
            if (!CHECK_OK(kpd_pool_create(n_threads[i], NULL, &pool, NULL))) continue;
            check_equal_search(x, (kpd_simd)level, *kpd_pool_parallel(pool), d);
            kpd_pool_destroy(pool);
        }
}

// Rounded numbers in few dimensions: many ties, which must not depend on who saw them first.
static void threads_and_levels_agree(void) {
    kpd_session *s = plain_session();
    for (int m = KPD_COSINE; s && m <= KPD_L2; m++) {
        size_t dim = m == KPD_DOT ? 3 : 65;
        kpd_index *x = create((int32_t)dim, (kpd_metric)m);
        kpd_search_desc d = best(m == KPD_L2 ? 100 : 17);
        fill(MOST, dim, 40 + (uint32_t)m);
        for (size_t i = 0; dim == 3 && i < MOST * dim; i++) vectors[i] = 1 + (float)(int)(vectors[i] * 3);
        d.filter = m == KPD_L2 ? even : NULL;
        if (x && CHECK_OK(kpd_index_upsert(x, ids, vectors, MOST, NULL)) &&
            CHECK_OK(kpd_index_search(s, x, queries, QUERIES, &d, hits, counts, NULL)))
            check_threads(x, &d);
        kpd_index_destroy(x);
    }
    kpd_session_destroy(s);
}

// ---- files ---------------------------------------------------------------------------------------------------------

static void check_same_search_as_saved(kpd_session *s, const kpd_index *x) {
    CHECK_OK(kpd_index_search(s, x, queries, QUERIES, NULL, hits2, counts2, NULL));
    CHECK(same_hits(hits, hits2, 10 * QUERIES) && !memcmp(counts, counts2, sizeof counts));
}

static void check_read_only(const kpd_index *saved, kpd_index *x) {
    float v[17];
    size_t removed = 99;
    kpd_index_info info = info_of(x), of_saved = info_of(saved);
    CHECK(info.read_only && info.count == of_saved.count && info.dim == of_saved.dim && info.metric == of_saved.metric);
    CHECK_STATUS(kpd_index_upsert(x, ids, vectors, 1, &error), KPD_ERR_ARGUMENT);
    CHECK(error.message[0] != 0);
    CHECK_STATUS(kpd_index_remove(x, ids, 1, &removed, &error), KPD_ERR_ARGUMENT);
    CHECK_INT(removed, 99);
    CHECK_OK(kpd_index_get(x, ids[0], v, &error));
}

static void check_writable(kpd_index *x, size_t n) {
    const int64_t more = 123456789;
    float v[17], before[17];
    size_t removed = 0;
    CHECK(!info_of(x).read_only);
    CHECK_OK(kpd_index_get(x, ids[1], before, NULL));
    CHECK_OK(kpd_index_remove(x, ids, 1, &removed, NULL));
    CHECK_INT(removed, n ? 1 : 0);
    CHECK_OK(kpd_index_upsert(x, &more, queries, 1, NULL));
    CHECK_INT(kpd_index_count(x), n);
    CHECK_OK(kpd_index_get(x, more, v, NULL));
    CHECK_OK(kpd_index_get(x, ids[1], v, NULL));
    CHECK(!memcmp(v, before, sizeof v));
    CHECK_STATUS(kpd_index_get(x, ids[0], v, NULL), KPD_ERR_NOT_FOUND);
}

static void mapped_and_copied(void) {
    const char *path = test_tmp("index.kpi");
    kpd_session *s = plain_session();
    kpd_index *x = create(17, KPD_COSINE), *y = NULL, *z = NULL;
    kpd_open_desc d;
    memset(&d, 0, sizeof d);
    d.copy = true;
    fill(333, 17, 60);
    if (s && x && CHECK_OK(kpd_index_upsert(x, ids, vectors, 333, NULL)) && CHECK_OK(kpd_index_save(x, path, &error)) &&
        CHECK_OK(kpd_index_search(s, x, queries, QUERIES, NULL, hits, counts, NULL))) {
        if (CHECK_OK(kpd_index_open(path, NULL, &y, &error))) {
            check_same_search_as_saved(s, y);
            check_read_only(x, y);
        }
        if (CHECK_OK(kpd_index_open(path, &d, &z, &error))) {
            check_same_search_as_saved(s, z);
            check_writable(z, 333);
            CHECK_OK(kpd_index_save(z, path, &error));                  // over the file that y has mapped
        }
        if (y) check_same_search_as_saved(s, y);
    }
    kpd_index_destroy(x);
    kpd_index_destroy(y);
    kpd_index_destroy(z);
    kpd_session_destroy(s);
}

static void borrowed(void) {
    const char *path = test_tmp("borrowed.kpi");
    kpd_index *x = create(17, KPD_DOT), *y = NULL, *z = NULL;
    tiny_bytes b;
    kpd_open_desc d;
    memset(&d, 0, sizeof d);
    fill(50, 17, 61);
    if (x) CHECK_OK(kpd_index_upsert(x, ids, vectors, 50, NULL));
    if (x) CHECK_OK(kpd_index_save(x, path, NULL));
    b = tiny_bytes_read(path);
    d.data = b.data; d.size = b.size;
    if (x && CHECK_OK(kpd_index_open(NULL, &d, &y, &error))) check_read_only(x, y);
    d.copy = true;
    if (CHECK_OK(kpd_index_open(NULL, &d, &z, &error))) {
        memset(b.data, 0xFF, b.size);                                   // the copy no longer needs it
        check_writable(z, 50);
    }
    kpd_index_destroy(x);
    kpd_index_destroy(y);
    kpd_index_destroy(z);
    tiny_bytes_free(&b);
}

// An index of nothing is a file too, and a copy of it can grow.
static void empty_file(void) {
    const char *path = test_tmp("empty.kpi");
    kpd_session *s = plain_session();
    for (int copy = 0; s && copy < 2; copy++) {
        kpd_index *x = create(3, KPD_L2), *y = NULL;
        kpd_open_desc d;
        const int64_t id = 5;
        float v[3] = {1, 2, 3};
        memset(&d, 0, sizeof d);
        d.copy = copy; d.verify = true;
        if (x && CHECK_OK(kpd_index_save(x, path, &error)) && CHECK_OK(kpd_index_open(path, &d, &y, &error))) {
            CHECK_OK(kpd_index_search(s, y, v, 1, NULL, hits, counts, &error));
            CHECK_INT(counts[0], 0);
            CHECK_STATUS(kpd_index_get(y, 5, v, &error), KPD_ERR_NOT_FOUND);
            CHECK_STATUS(kpd_index_upsert(y, &id, v, 1, &error), copy ? KPD_OK : KPD_ERR_ARGUMENT);
            CHECK_INT(kpd_index_count(y), copy);
        }
        kpd_index_destroy(x);
        kpd_index_destroy(y);
    }
    kpd_session_destroy(s);
}

// k = 0 is 10, not what a small session can do: rows of out would lie elsewhere.
static void default_k_needs_room(void) {
    kpd_session_desc d;
    kpd_index_desc x;
    kpd_session *s = NULL;
    kpd_index *index = NULL;
    kpd_hit found[10];
    int32_t count;
    float q[2] = {1, 0};
    memset(&d, 0, sizeof d);
    memset(&x, 0, sizeof x);
    x.dim = d.max_dim = 2;
    d.max_k = 3;
    CHECK_OK(kpd_index_create(&x, &index, NULL));
    CHECK_OK(kpd_session_create(&d, &s, NULL));
    CHECK_STATUS(kpd_index_search(s, index, q, 1, NULL, found, &count, NULL), KPD_ERR_LIMIT);
    kpd_session_destroy(s);
    kpd_index_destroy(index);
}

// Ids that all begin at place 0 make a table that takes quadratic time to check: refused, not waited for.
static void colliding_file_is_refused(void) {
    enum { N = 4000 };
    static int64_t many[N];
    static float v[N];
    uint64_t inverse = 1;
    kpd_index_desc x;
    kpd_open_desc o;
    kpd_index *index = NULL, *opened = NULL;
    const char *path = test_tmp("colliding.kpi");
    memset(&x, 0, sizeof x);
    memset(&o, 0, sizeof o);
    for (int i = 0; i < 6; i++) inverse *= 2 - UINT64_C(0x9E3779B97F4A7C15) * inverse;
    for (uint64_t i = 0; i < N; i++) { many[i] = (int64_t)(i * inverse); v[i] = 1; }
    x.dim = 1; x.metric = KPD_DOT;
    CHECK_OK(kpd_index_create(&x, &index, NULL));
    CHECK_OK(kpd_index_upsert(index, many, v, N, NULL));
    CHECK_OK(kpd_index_save(index, path, NULL));
    o.verify = true;
    CHECK_STATUS(kpd_index_open(path, &o, &opened, NULL), KPD_ERR_FORMAT);
    CHECK_OK(kpd_index_open(path, NULL, &opened, NULL));
    kpd_index_destroy(opened);
    kpd_index_destroy(index);
}

// ---- int8 codes ----------------------------------------------------------------------------------------------------

static bool not_by_seven(void *user, int64_t id) {
    (void)user;
    return id % 7 != 0;
}

// Both indexes find the same, to the bit, whatever is asked.
static void same_answers(kpd_session *s, const kpd_index *a, const kpd_index *b, size_t n_queries) {
    for (int how = 0; how < 5; how++) {
        kpd_search_desc d = best(how == 1 ? 1 : how == 2 ? 300 : 10);
        if (how == 3) d.filter = not_by_seven;
        d.threshold = how == 4;
        CHECK_OK(kpd_index_search(s, a, queries, n_queries, &d, hits, counts, &error));
        d.min_score = counts[0] > 5 ? hits[5].score : 0;
        if (how == 4) CHECK_OK(kpd_index_search(s, a, queries, n_queries, &d, hits, counts, &error));
        CHECK_OK(kpd_index_search(s, b, queries, n_queries, &d, hits2, counts2, &error));
        for (size_t i = 0; i < n_queries; i++) {
            if (!CHECK_INT(counts2[i], counts[i])) return;
            if (!CHECK(same_hits(hits + i * (size_t)d.k, hits2 + i * (size_t)d.k, counts[i]))) return;
        }
    }
}

// n vectors of lengths from nothing to 3, a tenth of them alike, one query without length; some replaced, some removed.
static void fill_uneven(size_t n, size_t dim, kpd_metric metric, float scale) {
    fill(n, dim, (uint32_t)(n + dim));
    for (size_t i = 0; i < n; i++)
        for (size_t d = 0; d < dim; d++) {
            if (i % 10 == 3) vectors[i * dim + d] = vectors[3 * dim + d];
            if (metric != KPD_COSINE && i % 16 < 15) vectors[i * dim + d] *= i % 50 == 7 ? 0 : (float)(i % 7) * 0.5f;
            vectors[i * dim + d] *= scale;
        }
    if (metric != KPD_COSINE) memset(queries + dim, 0, dim * sizeof *queries);
}

static void change(kpd_index *x, size_t n, size_t dim, int step) {
    const size_t part = n / 3;
    if (step < 3) CHECK_OK(kpd_index_upsert(x, ids + (size_t)step * part, vectors + (size_t)step * part * dim,
                                            step == 2 ? n - 2 * part : part, &error));
    if (step == 3) CHECK_OK(kpd_index_upsert(x, ids + n / 2, vectors, n / 5 + 1, &error));
    if (step == 4) CHECK_OK(kpd_index_remove(x, ids + n / 4, n / 2, NULL, &error));
    if (step == 5) CHECK_OK(kpd_index_upsert(x, ids + n - 1, vectors, 1, &error));
}

// And where its bounds must be taken with care: queries much longer than the vectors, whose squares round more of l2 than the
// codes do, and vectors or queries so small that squares vanish. Values that the codes hold exactly leave the bounds no slack.
static void coded_at_all_scales(void) {
    static const float scale[][2] = {{1, 1e3f}, {1, 1e4f}, {1, 1e5f}, {1e-24f, 1}, {1, 1e-23f}, {1e-38f, 1e-3f}};
    const size_t dim = 200, n = 1200;
    kpd_parallel none;
    kpd_session *s;
    memset(&none, 0, sizeof none);
    s = open_session(KPD_SIMD_AUTO, none);
    for (int i = 0; i < 2 * 6; i++) {
        kpd_metric metric = i % 2 ? KPD_L2 : KPD_DOT;
        kpd_index *plain = create((int32_t)dim, metric), *coded = create_of((int32_t)dim, metric, KPD_INT8);
        fill(n, dim, 77);
        for (size_t k = 0; k < n * dim; k++)
            vectors[k] = (k % dim ? rintf(vectors[k] * 100) : 127) * 0.01f * scale[i / 2][0];
        for (size_t k = 0; k < QUERIES * dim; k++)
            queries[k] = (k % dim ? rintf(queries[k] * 100) : 127) * 0.01f * scale[i / 2][1];
        CHECK_OK(kpd_index_upsert(plain, ids, vectors, n, &error));
        CHECK_OK(kpd_index_upsert(coded, ids, vectors, n, &error));
        same_answers(s, plain, coded, QUERIES);
        kpd_index_destroy(plain);
        kpd_index_destroy(coded);
    }
    kpd_session_destroy(s);
}

// An index of int8 gives what one of f32 gives, after any changes and on any level.
static void coded_is_exact(void) {
    static const size_t dims[] = {1, 5, 16, 64, 70, 200}, sizes[] = {1, 17, 400};
    for (size_t i = 0; i < 6 * 3 * 3; i++) {
        size_t dim = dims[i % 6], n = sizes[i / 6 % 3];
        kpd_metric metric = (kpd_metric)(i / 18);
        kpd_index *plain = create(dim ? (int32_t)dim : 1, metric), *coded = create_of((int32_t)dim, metric, KPD_INT8);
        fill_uneven(n, dim, metric, i % 4 == 3 && metric != KPD_COSINE ? 1e10f : 1);
        for (int step = 0; step < 6; step++) {
            change(plain, n, dim, step);
            change(coded, n, dim, step);
            for (int l = KPD_SIMD_SCALAR; l < KPD_SIMD_COUNT; l++) {
                kpd_parallel none;
                kpd_session *s;
                if (!kpd_simd_available((kpd_simd)l) || (step < 5 && l != KPD_SIMD_AVX2 && l != KPD_SIMD_SCALAR)) continue;
                memset(&none, 0, sizeof none);
                s = open_session((kpd_simd)l, none);
                same_answers(s, plain, coded, l == KPD_SIMD_SCALAR ? 3 : QUERIES);
                kpd_session_destroy(s);
            }
        }
        kpd_index_destroy(plain);
        kpd_index_destroy(coded);
    }
}

static void coded_threads_agree(void) {
    kpd_index *plain = create(24, KPD_COSINE), *coded = create_of(24, KPD_COSINE, KPD_INT8);
    fill_uneven(MOST, 24, KPD_COSINE, 1);
    CHECK_OK(kpd_index_upsert(plain, ids, vectors, MOST, &error));
    CHECK_OK(kpd_index_upsert(coded, ids, vectors, MOST, &error));
    for (int32_t threads = 1; threads < 5; threads++) {
        kpd_pool *pool = NULL;
        kpd_session *s;
        CHECK_OK(kpd_pool_create(threads, NULL, &pool, &error));
        s = open_session(KPD_SIMD_AUTO, *kpd_pool_parallel(pool));
        same_answers(s, plain, coded, QUERIES);
        kpd_session_destroy(s);
        kpd_pool_destroy(pool);
    }
    kpd_index_destroy(plain);
    kpd_index_destroy(coded);
}

static bool hash_of_bytes(void *user, const void *data, size_t size) {      // FNV-1a
    uint64_t *h = (uint64_t *)user;
    for (size_t i = 0; i < size; i++) *h = (*h ^ ((const uint8_t *)data)[i]) * UINT64_C(0x100000001B3);
    return true;
}

// The codes are those of the vectors, whether many are removed in a call, more than 64 panels of them, or one at a time.
static void coded_after_removing(void) {
    static int64_t odd[MOST];
    size_t n_odd = 0, removed;
    kpd_index *once = create_of(8, KPD_DOT, KPD_INT8), *each = create_of(8, KPD_DOT, KPD_INT8);
    uint64_t hash[2] = {1, 1};
    fill(MOST, 8, 31);
    CHECK_OK(kpd_index_upsert(once, ids, vectors, MOST, &error));
    CHECK_OK(kpd_index_upsert(each, ids, vectors, MOST, &error));
    for (size_t i = 1; i < MOST; i += 2) odd[n_odd++] = ids[i];
    CHECK(n_odd > 65 * 16);
    CHECK_OK(kpd_index_remove(once, odd, n_odd, &removed, &error));
    CHECK_INT(removed, n_odd);
    for (size_t i = 0; i < n_odd; i++) CHECK_OK(kpd_index_remove(each, odd + i, 1, NULL, &error));
    CHECK_OK(kpd_index_write(once, hash_of_bytes, &hash[0], &error));
    CHECK_OK(kpd_index_write(each, hash_of_bytes, &hash[1], &error));
    CHECK(hash[0] == hash[1]);
    CHECK_OK(kpd_index_save(once, test_tmp("removed.kpi"), &error));
    kpd_index_destroy(once);
    kpd_index_destroy(each);
    {
        kpd_open_desc d = {0};
        d.verify = true;                // which compares codes with vectors
        CHECK_OK(kpd_index_open(test_tmp("removed.kpi"), &d, &once, &error));
        kpd_index_destroy(once);
    }
}

// More equal vectors than what is kept at a time has room for.
static void coded_many_equal(void) {
    kpd_session *s = plain_session();
    kpd_index *plain = create(8, KPD_DOT), *coded = create_of(8, KPD_DOT, KPD_INT8);
    for (size_t i = 0; i < MOST; i++) {
        ids[i] = (int64_t)((i * 7919) % MOST);
        for (size_t d = 0; d < 8; d++) vectors[i * 8 + d] = (float)d + 1;
    }
    for (size_t i = 0; i < 5 * 8; i++) queries[i] = 1;
    CHECK_OK(kpd_index_upsert(plain, ids, vectors, MOST, &error));
    CHECK_OK(kpd_index_upsert(coded, ids, vectors, MOST, &error));
    same_answers(s, plain, coded, 5);
    kpd_index_destroy(plain);
    kpd_index_destroy(coded);
    kpd_session_destroy(s);
}

// A file keeps the codes, and what is opened from it can be changed.
static void coded_file(void) {
    static const char path[] = "build/tmp/coded.kpi";
    kpd_session *s = plain_session();
    kpd_open_desc o;
    kpd_index_info info;
    kpd_index *x = create_of(20, KPD_COSINE, KPD_INT8), *mapped = NULL, *copied = NULL;
    memset(&o, 0, sizeof o);
    o.copy = true;
    fill(500, 20, 6);
    CHECK_OK(kpd_index_upsert(x, ids, vectors, 500, &error));
    CHECK_OK(kpd_index_save(x, path, &error));
    CHECK_OK(kpd_index_open(path, NULL, &mapped, &error));
    CHECK_OK(kpd_index_open(path, &o, &copied, &error));
    if (mapped && copied) {
        same_answers(s, x, mapped, QUERIES);
        kpd_index_get_info(copied, &info);
        CHECK_INT(info.storage, KPD_INT8);
        CHECK_OK(kpd_index_remove(x, ids + 5, 200, NULL, &error));
        CHECK_OK(kpd_index_remove(copied, ids + 5, 200, NULL, &error));
        CHECK_OK(kpd_index_upsert(copied, ids + 100, vectors, 300, &error));
        CHECK_OK(kpd_index_upsert(x, ids + 100, vectors, 300, &error));
        same_answers(s, x, copied, QUERIES);
    }
    kpd_index_destroy(mapped);
    kpd_index_destroy(copied);
    kpd_index_destroy(x);
    kpd_session_destroy(s);
}

static size_t n_allocated, most_allocated;

static void *counting_alloc(void *user, size_t size) {
    (void)user;
    n_allocated += size;
    if (n_allocated > most_allocated) most_allocated = n_allocated;
    return malloc(size);
}

static void counting_free(void *user, void *p, size_t size) {
    (void)user;
    n_allocated -= size;
    free(p);
}

// Vectors that only replace others need no room, so many may be replaced where there is no more; a new one among them does.
static void replacing_needs_no_room(void) {
    enum { N = 2000, WIDE = 8 };
    static int64_t own[N];
    static float v[N * WIDE];
    kpd_index_desc d;
    kpd_index *x = NULL;
    size_t before;
    memset(&d, 0, sizeof d);
    d.dim = WIDE; d.metric = KPD_DOT; d.allocator.alloc = counting_alloc; d.allocator.free = counting_free;
    for (int i = 0; i < N; i++) own[i] = i;
    for (int i = 0; i < N * WIDE; i++) v[i] = (float)i;
    if (!CHECK_OK(kpd_index_create(&d, &x, NULL))) return;
    CHECK_OK(kpd_index_upsert(x, own, v, N, NULL));
    before = n_allocated;
    most_allocated = 0;
    for (int i = 0; i < N * WIDE; i++) v[i] = -(float)i;
    CHECK_OK(kpd_index_upsert(x, own, v, N, NULL));
    CHECK_INT(n_allocated, before);
    CHECK_INT(most_allocated, 0);
    CHECK_INT(kpd_index_count(x), N);
    own[0] = N;                                                         // 0 stays, N is new
    CHECK_OK(kpd_index_upsert(x, own, v, N, NULL));
    CHECK_INT(kpd_index_count(x), N + 1);
    kpd_index_destroy(x);
    CHECK_INT(n_allocated, 0);
}

SUITE(index) {
    RUN(index, default_k_needs_room);
    RUN(index, colliding_file_is_refused);
    RUN(index, exact);
    RUN(index, ties);
    RUN(index, k_is_10_by_default);
    RUN(index, random_operations);
    RUN(index, last_of_equal_ids_wins);
    RUN(index, replacing_needs_no_room);
    RUN(index, remove_all);
    RUN(index, empty);
    RUN(index, bad_vectors);
    RUN(index, bad_searches);
    RUN(index, bad_descs);
    RUN(index, threshold);
    RUN(index, filter);
    RUN(index, threads_and_levels_agree);
    RUN(index, mapped_and_copied);
    RUN(index, borrowed);
    RUN(index, empty_file);
    RUN(index, coded_is_exact);
    RUN(index, coded_at_all_scales);
    RUN(index, coded_threads_agree);
    RUN(index, coded_many_equal);
    RUN(index, coded_after_removing);
    RUN(index, coded_file);
}
