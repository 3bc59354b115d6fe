// Trees against a flat index of what they hold: with recall 1 no difference at all, below it what the dial promises.
#define KPD_THREADS
#include "test.h"
#include "tiny_model.h"
#include "values.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 6000, MOST_DIM = 100, MOST_K = 300, QUERIES = 40 };

static float vectors[MOST * MOST_DIM], queries[QUERIES * MOST_DIM], row[MOST_DIM];
static int64_t ids[MOST];
static kpd_hit hits[QUERIES * MOST_K], want[QUERIES * MOST_K];
static int32_t counts[QUERIES], want_counts[QUERIES];
static kpd_error error;

// Vectors around n / 40 centres, queries near vectors; ids in no order.
static void fill(size_t n, size_t dim, uint32_t seed) {
    uint32_t state = seed;
    size_t centres = n / 40 + 1;
    for (size_t i = 0; i < n; i++) ids[i] = ((int64_t)i * 7919 % 10007 - 5000) * 3000000007;
    for (size_t i = 0; i < n; i++)
        for (size_t d = 0; d < dim; d++)
            vectors[i * dim + d] = tiny_uniform(&state) * (i < centres ? 1 : 0.4f) +
                                   (i < centres ? 0 : vectors[i * 31 % centres * dim + d]);
    for (size_t i = 0; i < QUERIES; i++)
        for (size_t d = 0; d < dim; d++)
            queries[i * dim + d] = vectors[(i * 97 + 5) % n * dim + d] + tiny_uniform(&state) * 0.3f;
}

static kpd_index_desc tree_desc(size_t dim, kpd_metric metric, kpd_dtype storage) {
    kpd_index_desc d;
    memset(&d, 0, sizeof d);
    d.dim = (int32_t)dim; d.metric = metric; d.storage = storage; d.kind = KPD_TREE;
    return d;
}

static kpd_index *build(size_t n, kpd_index_desc d) {
    kpd_index *x = NULL;
    CHECK_OK(kpd_index_build(&d, NULL, ids, vectors, n, &x, &error));
    return x;
}

static kpd_session *open_session(kpd_simd level) {
    kpd_session_desc d;
    kpd_session *s = NULL;
    memset(&d, 0, sizeof d);
    d.max_dim = MOST_DIM; d.max_k = MOST_K; d.simd = level;
    CHECK_OK(kpd_session_create(&d, &s, &error));
    return s;
}

static kpd_search_desc dial(int32_t k, float recall) {
    kpd_search_desc d;
    memset(&d, 0, sizeof d);
    d.k = k; d.recall = recall;
    return d;
}

// A flat index of what a tree holds. Vectors under cosine are of unit length there already, but for rounding: as dot.
static kpd_index *flat_of(const kpd_index *tree) {
    kpd_index_info info = info_of(tree);
    kpd_index_desc d;
    kpd_index *x = NULL;
    memset(&d, 0, sizeof d);
    d.dim = info.dim; d.metric = info.metric == KPD_COSINE ? KPD_DOT : info.metric;
    CHECK_OK(kpd_index_create(&d, &x, &error));
    for (int64_t i = 0, id; i < info.slots; i++) {
        if (!kpd_index_id(tree, i, &id)) continue;
        CHECK_OK(kpd_index_get(tree, id, row, &error));
        CHECK_OK(kpd_index_upsert(x, &id, row, 1, &error));
    }
    CHECK_INT(kpd_index_count(x), info.count);
    return x;
}

static void search(kpd_session *s, const kpd_index *x, kpd_search_desc d, kpd_hit *out, int32_t *n) {
    memset(out, 0x5A, sizeof hits);
    CHECK_OK(kpd_index_search(s, x, queries, QUERIES, &d, out, n, &error));
}

// Queries of unit length where the tree makes them so.
static void unit_queries(kpd_metric metric, size_t dim) {
    if (metric != KPD_COSINE) return;
    for (size_t i = 0; i < QUERIES; i++) {
        double square = 0;
        for (size_t d = 0; d < dim; d++) square += (double)queries[i * dim + d] * (double)queries[i * dim + d];
        for (size_t d = 0; d < dim; d++) queries[i * dim + d] = (float)((double)queries[i * dim + d] / sqrt(square));
    }
}

// The share of what was found that is as good as the k-th best.
static double recall_of(int32_t k, float slack) {
    int found = 0, all = 0;
    for (int q = 0; q < QUERIES; q++) {
        all += want_counts[q];
        for (int j = 0; j < counts[q] && want_counts[q]; j++)
            found += hits[q * k + j].score >= want[q * k + want_counts[q] - 1].score - slack;
    }
    return all ? (double)found / all : 1;
}

// Ids equal, but where scores of neighbours are within `slack`; scores within it.
static bool same_hits(int32_t k, float slack) {
    for (int q = 0; q < QUERIES; q++) {
        if (counts[q] != want_counts[q]) return false;
        for (int i = 0; i < counts[q]; i++) {
            const kpd_hit *a = &hits[q * k + i], *b = &want[q * k + i];
            if (fabsf(a->score - b->score) > slack || (slack == 0 && a->id != b->id)) return false;
        }
    }
    return true;
}

static void one_shape(kpd_session *s, size_t n, size_t dim, kpd_metric metric, kpd_dtype storage) {
    kpd_index *tree, *flat;
    double found;
    fill(n, dim, (uint32_t)(n + dim));
    for (size_t i = 0; metric == KPD_L2 && i < n * dim; i++) vectors[i] *= (float)(1 + i / dim % 3);      // lengths matter
    for (size_t i = 0; metric == KPD_L2 && i < QUERIES * dim; i++) queries[i] *= (float)(1 + i / dim % 3);
    tree = build(n, tree_desc(dim, metric, storage));
    flat = flat_of(tree);
    search(s, tree, dial(10, 1), hits, counts);
    search(s, flat, dial(10, 0), want, want_counts);
    if (metric != KPD_COSINE) CHECK_THAT(same_hits(10, 0), "n %zu dim %zu metric %d storage %d", n, dim, metric, storage);
    unit_queries(metric, dim);
    search(s, tree, dial(10, 1), hits, counts);
    search(s, flat, dial(10, 0), want, want_counts);
    CHECK_THAT(same_hits(10, metric == KPD_COSINE ? 1e-6f : 0), "n %zu dim %zu metric %d storage %d", n, dim, metric, storage);
    search(s, tree, dial(10, 0.95f), hits, counts);
    found = recall_of(10, 1e-6f);
    CHECK_THAT(found >= 0.9, "n %zu dim %zu metric %d storage %d: recall %g", n, dim, metric, storage, found);
    kpd_index_destroy(flat);
    kpd_index_destroy(tree);
}

static void holds_and_finds(void) {
    static const size_t n[] = {1, 2, 15, 16, 17, 300, 1000, 4000}, dim[] = {1, 3, 8, 64, 100};
    kpd_session *s = open_session(KPD_SIMD_AUTO);
    for (size_t i = 0; i < sizeof n / sizeof *n; i++)
        for (size_t j = 0; j < sizeof dim / sizeof *dim; j++) one_shape(s, n[i], dim[j], KPD_COSINE, KPD_F32);
    kpd_session_destroy(s);
}

static void every_metric_and_storage(void) {
    static const kpd_dtype storage[] = {KPD_F32, KPD_INT16, KPD_INT8, KPD_INT4};
    kpd_session *s = open_session(KPD_SIMD_AUTO);
    for (int m = KPD_COSINE; m <= KPD_L2; m++)
        for (int i = 0; i < 4; i++) one_shape(s, 3000, 32, (kpd_metric)m, storage[i]);
    kpd_session_destroy(s);
}

// ---- the same bits ---------------------------------------------------------------------------------------------------

static kpd_pool *pool_of(int32_t threads) {
    kpd_pool *p = NULL;
    CHECK_OK(kpd_pool_create(threads, NULL, &p, &error));
    return p;
}

static kpd_index *build_with(size_t n, kpd_index_desc d, int32_t threads) {
    kpd_pool *pool = pool_of(threads);
    kpd_parallel p = *kpd_pool_parallel(pool);
    kpd_index *x = NULL;
    CHECK_OK(kpd_index_build(&d, &p, ids, vectors, n, &x, &error));
    kpd_pool_destroy(pool);
    return x;
}

static void search_with(const kpd_index *x, kpd_simd level, int32_t threads, kpd_search_desc d) {
    kpd_pool *pool = pool_of(threads);
    kpd_session_desc sd;
    kpd_session *s = NULL;
    memset(&sd, 0, sizeof sd);
    sd.max_dim = MOST_DIM; sd.max_k = MOST_K; sd.simd = level; sd.parallel = *kpd_pool_parallel(pool);
    CHECK_OK(kpd_session_create(&sd, &s, &error));
    search(s, x, d, hits, counts);
    kpd_session_destroy(s);
    kpd_pool_destroy(pool);
}

static bool hash_bytes(void *user, const void *data, size_t size) {     // FNV-1a
    uint64_t *h = (uint64_t *)user;
    for (size_t i = 0; i < size; i++) *h = (*h ^ ((const uint8_t *)data)[i]) * UINT64_C(0x100000001B3);
    return true;
}

static uint64_t hash_of(const kpd_index *x) {
    uint64_t h = UINT64_C(0xCBF29CE484222325);
    CHECK_OK(kpd_index_write(x, hash_bytes, &h, &error));
    return h;
}

static void levels_and_threads_agree(void) {
    uint64_t made = 0;
    for (int m = KPD_COSINE; m <= KPD_L2; m++)
        for (int l = KPD_SIMD_SCALAR; l < KPD_SIMD_COUNT; l++)
            for (int32_t threads = 1; threads <= 3; threads += 2) {
                kpd_index_desc d = tree_desc(70, (kpd_metric)m, KPD_INT16);
                kpd_index *x;
                if (!kpd_simd_available((kpd_simd)l)) continue;
                d.simd = (kpd_simd)l;
                d.lists = 40;           // three panels of centroids, of which the last is half empty
                fill(2000, 70, 5);
                x = build_with(2000, d, threads);
                search_with(x, (kpd_simd)l, threads, dial(20, 0.9f));
                if (l == KPD_SIMD_SCALAR && threads == 1) {
                    made = hash_of(x);
                    memcpy(want, hits, sizeof want);
                    memcpy(want_counts, counts, sizeof want_counts);
                }
                CHECK_THAT(same_hits(20, 0), "metric %d, %s, %d threads", m, kpd_simd_name((kpd_simd)l), (int)threads);
                CHECK_THAT(hash_of(x) == made, "metric %d, %s, %d threads", m, kpd_simd_name((kpd_simd)l), (int)threads);
                kpd_index_destroy(x);
            }
}

// ---- files -----------------------------------------------------------------------------------------------------------

static kpd_index *open_index(const char *path, bool copy, bool verify) {
    kpd_open_desc d;
    kpd_index *x = NULL;
    memset(&d, 0, sizeof d);
    d.copy = copy; d.verify = verify;
    CHECK_OK(kpd_index_open(path, &d, &x, &error));
    return x;
}

static void opened_is_the_same(kpd_session *s, kpd_index *x) {
    kpd_index_info i = info_of(x);
    CHECK_INT(i.kind, KPD_TREE);
    CHECK_INT(i.count, 1500);
    CHECK(i.fingerprint == UINT64_C(0xFEDCBA9876543210) && i.partition == 7 && fabsf(i.recall - 0.8f) < 1e-6f);
    search(s, x, dial(30, 0), hits, counts);
    CHECK(same_hits(30, 0));
    kpd_index_destroy(x);
}

static void saves_and_opens(void) {
    static const kpd_dtype storage[] = {KPD_F32, KPD_INT16, KPD_INT8, KPD_INT4};
    kpd_session *s = open_session(KPD_SIMD_AUTO);
    char path[256];
    snprintf(path, sizeof path, "%s", test_tmp("tree.kpi"));
    for (int i = 0; i < 12; i++) {
        kpd_index_desc d = tree_desc(33, (kpd_metric)(i / 4), storage[i % 4]);
        kpd_index *x;
        d.fingerprint = UINT64_C(0xFEDCBA9876543210); d.partition = 7; d.recall = 0.8f;
        fill(1500, 33, 3);
        x = build(1500, d);
        search(s, x, dial(30, 0), want, want_counts);
        CHECK_OK(kpd_index_save(x, path, &error));
        kpd_index_destroy(x);
        opened_is_the_same(s, open_index(path, false, false));
        opened_is_the_same(s, open_index(path, false, true));
        opened_is_the_same(s, open_index(path, true, false));
    }
    kpd_session_destroy(s);
}

// Where more lists are wanted than there are, none beyond the last, which a file has otherwise than memory, counts as one.
static void fewer_lists_than_wanted(void) {
    static const int32_t k[] = {1, 10, 20, 50, 80, 100};        // which want 32 to 48 lists
    kpd_session *s = open_session(KPD_SIMD_AUTO);
    char path[256];
    snprintf(path, sizeof path, "%s", test_tmp("few.kpi"));
    for (int32_t lists = 33; lists < 48; lists += 7) {
        kpd_index_desc d = tree_desc(48, KPD_COSINE, KPD_F32);
        kpd_index *x, *mapped;
        fill(5000, 48, 11);
        d.lists = lists;
        x = build(5000, d);
        CHECK_OK(kpd_index_save(x, path, &error));
        mapped = open_index(path, false, false);
        for (size_t i = 0; i < sizeof k / sizeof *k; i++) {
            search(s, x, dial(k[i], 0.9f), want, want_counts);
            search(s, mapped, dial(k[i], 0.9f), hits, counts);
            CHECK_THAT(same_hits(k[i], 0), "%d lists, k %d", (int)info_of(x).lists, (int)k[i]);
        }
        kpd_index_destroy(mapped);
        kpd_index_destroy(x);
    }
    kpd_session_destroy(s);
}

// From 2,049 lists on these are found by groups of 16: the same on every level and with any threads, and little less than all;
// and so after half of the vectors moved and the file was written and read.
static void many_lists(void) {
    kpd_session *s = open_session(KPD_SIMD_AUTO);
    for (int m = KPD_COSINE; m <= KPD_L2; m++) {
        kpd_index_desc d = tree_desc(24, (kpd_metric)m, KPD_F32);
        kpd_index *x;
        d.lists = 2100;
        fill(6000, 24, 21);
        x = build(6000, d);
        CHECK(info_of(x).lists > 2048);
        for (int round = 0; round < 2; round++) {
            search(s, x, dial(10, 1), want, want_counts);
            search(s, x, dial(10, 0.95f), hits, counts);
            CHECK_THAT(recall_of(10, 0) > 0.92, "metric %d, round %d: recall %g", m, round, recall_of(10, 0));
            search_with(x, KPD_SIMD_SCALAR, 1, dial(10, 0.95f));
            memcpy(want, hits, sizeof want); memcpy(want_counts, counts, sizeof want_counts);
            for (int l = KPD_SIMD_SCALAR; l < KPD_SIMD_COUNT; l++) {
                if (!kpd_simd_available((kpd_simd)l)) continue;
                search_with(x, (kpd_simd)l, 3, dial(10, 0.95f));
                CHECK_THAT(same_hits(10, 0), "metric %d, round %d, %s", m, round, kpd_simd_name((kpd_simd)l));
            }
            if (round) break;
            for (size_t i = 0; i < 3000; i++) memcpy(vectors + i * 24, vectors + (5999 - i) * 24, 20 * sizeof *vectors);
            CHECK_OK(kpd_index_upsert(x, ids, vectors, 3000, &error));
            CHECK_OK(kpd_index_remove(x, ids + 3000, 500, NULL, &error));
            CHECK_OK(kpd_index_save(x, test_tmp("tree_groups.kpi"), &error));
            kpd_index_destroy(x);
            x = open_index(test_tmp("tree_groups.kpi"), m != KPD_DOT, true);
        }
        kpd_index_destroy(x);
    }
    kpd_session_destroy(s);
}

// Bytes of a mapped file that lie: searching and getting stay within it, and end. Verify finds every one.
static void payload_lies(void) {
    kpd_session *s = open_session(KPD_SIMD_AUTO);
    char path[256];
    snprintf(path, sizeof path, "%s", test_tmp("tree_lies.kpi"));
    for (int m = 0; m < 3; m++)
        for (int i = 0; i < 4; i++) {
            static const kpd_dtype storage[] = {KPD_F32, KPD_INT16, KPD_INT8, KPD_INT4};
            kpd_index *x;
            tiny_bytes whole, b;
            uint32_t state = 3;
            fill(500, 20, 8);
            x = build(500, tree_desc(20, (kpd_metric)m, storage[i]));
            CHECK_OK(kpd_index_save(x, path, &error));
            kpd_index_destroy(x);
            whole = tiny_bytes_read(path);
            b = tiny_bytes_make(whole.size);
            for (int trial = 0; trial < 60; trial++) {
                size_t begin = 2048, n = (size_t)1 << trial % 12;     // behind header, table and config
                kpd_open_desc d;
                memcpy(b.data, whole.data, whole.size);
                for (size_t j = 0; j < n; j++) {
                    size_t at = begin + tiny_random(&state) % (b.size - begin);
                    b.data[at] ^= (uint8_t)(trial % 3 ? 0xFF : 1 + tiny_random(&state) % 255);
                }
                memset(&d, 0, sizeof d);
                d.data = b.data; d.size = b.size;
                if (kpd_index_open(NULL, &d, &x, &error)) continue;
                for (int r = 0; r < 3; r++) {
                    kpd_search_desc sd = dial(20, r ? 1 : 0.9f);
                    sd.gamma = r == 2 ? 3.0f : 0;
                    CHECK_OK(kpd_index_search(s, x, queries, 4, &sd, hits, counts, &error));
                }
                for (int64_t j = -1, id; j <= info_of(x).slots; j++)
                    if (kpd_index_id(x, j, &id)) (void)kpd_index_get(x, id, row, NULL);
                kpd_index_destroy(x);
                d.verify = true;
                if (memcmp(b.data, whole.data, b.size)) CHECK(kpd_index_open(NULL, &d, &x, &error) != KPD_OK);
            }
            tiny_bytes_free(&b);
            tiny_bytes_free(&whole);
        }
    kpd_session_destroy(s);
}

// ---- search ----------------------------------------------------------------------------------------------------------

static bool one_in_fifty(void *user, int64_t id) { (void)user; return id % 50 == 0; }
static bool none(void *user, int64_t id) { (void)user; (void)id; return false; }

// k when k exist, whatever the filter; nothing below the threshold.
static void filters_and_thresholds(void) {
    kpd_session *s = open_session(KPD_SIMD_AUTO);
    kpd_search_desc d = dial(20, 0.9f);
    kpd_index *x;
    fill(4000, 32, 12);
    for (int64_t i = 0; i < 4000; i++) ids[i] = i;
    x = build(4000, tree_desc(32, KPD_DOT, KPD_F32));
    d.filter = one_in_fifty;
    search(s, x, d, hits, counts);
    d.recall = 1;
    search(s, x, d, want, want_counts);
    for (int q = 0; q < QUERIES; q++) CHECK(counts[q] == 20 && want_counts[q] == 20);
    for (int q = 0; q < QUERIES; q++)
        for (int i = 0; i < 20; i++) CHECK(hits[q * 20 + i].id % 50 == 0);
    CHECK_THAT(recall_of(20, 0) > 0.9, "recall %g", recall_of(20, 0));
    d.filter = none; d.recall = 0.9f;
    search(s, x, d, hits, counts);
    for (int q = 0; q < QUERIES; q++) CHECK_INT(counts[q], 0);
    d = dial(20, 0.95f);
    d.threshold = true; d.min_score = want[10].score;
    search(s, x, d, hits, counts);
    d.recall = 1;
    search(s, x, d, want, want_counts);
    for (int q = 0; q < QUERIES; q++)
        for (int i = 0; i < counts[q]; i++) CHECK(hits[q * 20 + i].score >= d.min_score);
    CHECK_THAT(recall_of(20, 0) > 0.9, "recall %g", recall_of(20, 0));
    kpd_index_destroy(x);
    kpd_session_destroy(s);
}

// More hits than vectors, and equal vectors: by id.
static void ties_and_large_k(void) {
    kpd_session *s = open_session(KPD_SIMD_AUTO);
    kpd_index *x;
    fill(200, 16, 4);
    for (size_t i = 0; i < 200; i++) {
        ids[i] = (int64_t)(199 - i);
        memcpy(vectors + i * 16, vectors, 16 * sizeof *vectors);
    }
    x = build(200, tree_desc(16, KPD_COSINE, KPD_INT8));
    search(s, x, dial(300, 0.9f), hits, counts);
    for (int q = 0; q < QUERIES; q++) CHECK_INT(counts[q], 200);
    for (int i = 0; i < 200; i++) CHECK_INT(hits[i].id, i);
    kpd_index_destroy(x);
    kpd_session_destroy(s);
}

typedef struct stop { int left; int64_t done, of; } stop;

static bool stop_after(void *user, int64_t done, int64_t of) {
    stop *x = (stop *)user;
    CHECK(done <= of && done > x->done && (!x->of || of == x->of));
    x->done = done; x->of = of;
    return x->left-- > 0;
}

// At every call of its progress a build, and k-means, can be stopped; what goes on is as without.
static void builds_can_be_cancelled(void) {
    stop stopped = {0, 0, 0};
    kpd_index_desc d = tree_desc(16, KPD_DOT, KPD_F32);
    kpd_kmeans_desc m;
    kpd_status s = KPD_ERR_CANCELLED;
    int calls = 0;
    static float centroids[10 * MOST_DIM];
    memset(&m, 0, sizeof m);
    m.k = 10;
    fill(300, 16, 4);
    m.progress.report = d.progress.report = stop_after;
    m.progress.user = d.progress.user = &stopped;
    for (int kind = 0; kind < 3; kind++, s = KPD_ERR_CANCELLED) {
        for (calls = 0; s && calls < 100; calls++) {
            kpd_index *x = NULL;
            stopped.left = calls; stopped.done = stopped.of = 0;
            d.kind = kind ? KPD_TREE : KPD_FLAT;
            s = kind < 2 ? kpd_index_build(&d, NULL, ids, vectors, 300, &x, &error) :
                           kpd_kmeans(&m, vectors, 300, 16, centroids, NULL, &error);
            if (s) CHECK_STATUS(s, KPD_ERR_CANCELLED);
            CHECK((x != NULL) == (!s && kind < 2));
            kpd_index_destroy(x);
        }
        CHECK_THAT(calls == (kind == 0 ? 2 : kind == 1 ? 15 : 12) && stopped.done == stopped.of, "%d calls", calls);
    }
}

static void bad_arguments(void) {
    kpd_session *s = open_session(KPD_SIMD_AUTO);
    static const float recall[] = {-0.1f, 1.5f, NAN}, gamma[] = {-1, INFINITY, NAN};
    kpd_index_desc d = tree_desc(16, KPD_COSINE, KPD_F32);
    kpd_index *x = NULL;
    fill(100, 16, 4);
    d.storage = KPD_BF16;
    CHECK_STATUS(kpd_index_create(&d, &x, &error), KPD_ERR_UNSUPPORTED);
    CHECK_STATUS(kpd_index_build(&d, NULL, ids, vectors, 100, &x, &error), KPD_ERR_UNSUPPORTED);
    d.storage = KPD_INT4; d.kind = KPD_FLAT;
    CHECK_STATUS(kpd_index_build(&d, NULL, ids, vectors, 100, &x, &error), KPD_ERR_UNSUPPORTED);
    d.kind = KPD_TREE; d.lists = -1;
    CHECK_STATUS(kpd_index_build(&d, NULL, ids, vectors, 100, &x, &error), KPD_ERR_ARGUMENT);
    d.lists = 1000;                     // more than vectors
    CHECK_STATUS(kpd_index_create(&d, &x, &error), KPD_ERR_ARGUMENT);
    vectors[33] = NAN;
    CHECK_STATUS(kpd_index_build(&d, NULL, ids, vectors, 100, &x, &error), KPD_ERR_INPUT);
    CHECK_INT(error.where, 2);
    memset(vectors + 32, 0, 16 * sizeof *vectors);
    CHECK_STATUS(kpd_index_build(&d, NULL, ids, vectors, 100, &x, &error), KPD_ERR_INPUT);
    d.metric = KPD_DOT;
    vectors[33] = 1e16f;                // which would leave a radius that no file may have
    CHECK_STATUS(kpd_index_build(&d, NULL, ids, vectors, 100, &x, &error), KPD_ERR_INPUT);
    CHECK_INT(error.where, 2);
    d.metric = KPD_COSINE;
    CHECK(!x);
    ids[2] = ids[3];
    vectors[33] = 1;
    CHECK_OK(kpd_index_build(&d, NULL, ids, vectors, 100, &x, &error));
    CHECK_INT(kpd_index_count(x), 99);
    for (int i = 0; i < 3; i++) {
        kpd_search_desc sd = dial(5, recall[i]);
        CHECK_STATUS(kpd_index_search(s, x, queries, 1, &sd, hits, counts, &error), KPD_ERR_ARGUMENT);
        sd.recall = 0; sd.gamma = gamma[i];
        CHECK_STATUS(kpd_index_search(s, x, queries, 1, &sd, hits, counts, &error), KPD_ERR_ARGUMENT);
    }
    kpd_index_destroy(x);
    CHECK_OK(kpd_index_build(&d, NULL, ids, vectors, 0, &x, &error));   // of nothing
    search(s, x, dial(5, 0), hits, counts);
    CHECK_INT(counts[0], 0);
    CHECK_OK(kpd_index_upsert(x, ids, vectors, 1, &error));
    search(s, x, dial(5, 0), hits, counts);
    CHECK_INT(counts[0], 1);
    kpd_index_destroy(x);
    kpd_session_destroy(s);
}

// A search with what was found, in place of the recall that it was found for.
static kpd_search_desc by_hand(int32_t k, const kpd_tuning *t) {
    kpd_search_desc d = dial(k, 0);
    d.gamma = t->gamma; d.breadth = t->breadth; d.candidates = t->candidates;
    return d;
}

// What was tuned keeps its recall, is kept by the file, and is taken by searches.
static void tuned(void) {
    kpd_session *s = open_session(KPD_SIMD_AUTO);
    char path[256];
    kpd_search_desc d = dial(20, 0.9f);
    kpd_tuning t[2];
    kpd_index *x;
    fill(5000, 48, 6);
    for (uint32_t i = 0, state = 1; i < 5000 * 48; i++) vectors[i] = 0.3f * vectors[i] + tiny_uniform(&state);
    x = build(5000, tree_desc(48, KPD_COSINE, KPD_F32));
    CHECK_OK(kpd_index_tune(s, x, queries, QUERIES, 20, 0.9f, &t[0], &error));
    CHECK_OK(kpd_index_tune(s, x, queries, QUERIES, 20, 0.99f, &t[1], &error));
    CHECK_THAT(t[0].recall >= 0.9f && t[1].recall >= 0.99f && t[1].gamma < 1, "recall %g at %g, %g at %g", (double)t[0].recall,
               (double)t[0].gamma, (double)t[1].recall, (double)t[1].gamma);
    CHECK(t[0].work < t[1].work && t[0].work <= t[0].plain && t[1].work <= t[1].plain);
    CHECK_INT(info_of(x).tuned, 2);
    snprintf(path, sizeof path, "%s", test_tmp("tree_tuned.kpi"));
    CHECK_OK(kpd_index_save(x, path, &error));
    kpd_index_destroy(x);
    x = open_index(path, false, true);
    CHECK_INT(info_of(x).tuned, 2);
    for (int i = 0; i < 2; i++) {
        d.recall = i ? 0.99f : 0.9f;
        search(s, x, d, hits, counts);
        search(s, x, by_hand(20, &t[i]), want, want_counts);
        CHECK(same_hits(20, 0));
        d.recall = 1;
        search(s, x, d, want, want_counts);
        CHECK_NEAR(recall_of(20, 0), t[i].recall, 1e-6);
    }
    CHECK_OK(kpd_index_tune(s, x, queries, QUERIES, 5, 0.9f, &t[0], &error));       // read-only: only told
    CHECK_INT(info_of(x).tuned, 2);
    CHECK_STATUS(kpd_index_tune(s, x, queries, 0, 20, 0.9f, NULL, &error), KPD_ERR_ARGUMENT);
    CHECK_STATUS(kpd_index_tune(s, x, queries, 1, 20, 1.0f, NULL, &error), KPD_ERR_ARGUMENT);
    CHECK_STATUS(kpd_index_tune(s, x, queries, 1, -1, 0.9f, NULL, &error), KPD_ERR_ARGUMENT);
    kpd_index_destroy(x);
    kpd_session_destroy(s);
}

// Vectors that codes tell apart badly, and queries like them: more gamma and more candidates are needed than titles need.
static void fill_hard(void) {
    uint32_t state = 1;
    fill(6000, 64, 1);
    for (size_t i = 0; i < 6000 * 64; i++)
        vectors[i] = tiny_uniform(&state) / (float)(1 + i % 64) + (i < 300 * 64 ? 0 : vectors[i % (300 * 64)]);
    for (size_t i = 0; i < QUERIES * 64; i++) queries[i] = tiny_uniform(&state) / (float)(1 + i % 64) + vectors[i];
}

static double found_of(kpd_session *s, const kpd_index *x, float recall) {
    search(s, x, dial(10, 1), want, want_counts);
    search(s, x, dial(10, recall), hits, counts);
    return recall_of(10, 0);
}

// A tree that was built knows what a recall takes, and so does its file.
static void recall_without_tuning(void) {
    static const float asked[] = {0.9f, 0.95f, 0.99f};
    kpd_session *s = open_session(KPD_SIMD_AUTO);
    kpd_index *x, *opened;
    fill_hard();
    x = build(6000, tree_desc(64, KPD_COSINE, KPD_F32));
    CHECK_OK(kpd_index_save(x, test_tmp("tree_dial.kpi"), &error));
    opened = open_index(test_tmp("tree_dial.kpi"), false, true);
    for (int i = 0; i < 3; i++) {
        double found = found_of(s, x, asked[i]);
        CHECK_THAT(found > (double)asked[i] - 0.025, "asked %g, found %g", (double)asked[i], found);
        search(s, opened, dial(10, asked[i]), want, want_counts);
        CHECK(same_hits(10, 0));
    }
    kpd_index_destroy(x);
    kpd_index_destroy(opened);
    kpd_session_destroy(s);
}

// The candidates that a tree takes for a recall, in times as many as is the rule: number `at` of those that its file names.
static double dial_candidates(const kpd_index *x, size_t at) {
    FILE *f;
    char entry[128];
    float candidates = -1;
    CHECK_OK(kpd_index_save(x, test_tmp("tree_gamma.kpi"), &error));
    f = fopen(test_tmp("tree_gamma.kpi"), "rb");
    if (!CHECK(f && !fseek(f, 64, SEEK_SET))) return -1;
    while (fread(entry, 128, 1, f) == 1 && *entry) {
        uint64_t offset;
        if (strcmp(entry, "dial")) continue;
        memcpy(&offset, entry + 96, 8);
        CHECK(!fseek(f, (long)(offset + at * 8 + 4), SEEK_SET) && fread(&candidates, 4, 1, f) == 1);
        break;
    }
    fclose(f);
    return (double)candidates;
}

// So does one that was filled, and one whose vectors became others, by upserts that a file may come between.
static void recall_after_upserts(void) {
    kpd_session *s = open_session(KPD_SIMD_AUTO);
    kpd_index_desc d = tree_desc(64, KPD_COSINE, KPD_F32);
    kpd_index *filled = NULL, *x;
    kpd_tuning t;
    double hard, easy;
    fill(6000, 64, 2);
    x = build(6000, d);
    fill_hard();
    CHECK_OK(kpd_index_create(&d, &filled, &error));
    for (size_t i = 0; i < 6000; i += 500) {
        CHECK_OK(kpd_index_upsert(filled, ids + i, vectors + i * 64, 500, &error));
        CHECK_OK(kpd_index_upsert(x, ids + i, vectors + i * 64, 500, &error));
        CHECK_OK(kpd_index_save(x, test_tmp("tree_arrived.kpi"), &error));
        kpd_index_destroy(x);
        x = open_index(test_tmp("tree_arrived.kpi"), true, false);
    }
    CHECK_THAT(found_of(s, filled, 0.95f) > 0.925, "found %g", found_of(s, filled, 0.95f));
    CHECK_THAT(found_of(s, x, 0.95f) > 0.925, "found %g", found_of(s, x, 0.95f));
    CHECK_OK(kpd_index_tune(s, filled, queries, QUERIES, 10, 0.99f, &t, &error));
    CHECK_THAT(t.recall >= 0.99f && t.candidates > 1.5f, "%g with %g", (double)t.recall, (double)t.candidates);
    fill(6000, 64, 2);                  // and back: what these take, and no more
    hard = dial_candidates(x, 4);
    for (size_t i = 0; i < 6000; i += 500) CHECK_OK(kpd_index_upsert(x, ids + i, vectors + i * 64, 500, &error));
    easy = dial_candidates(x, 4);
    CHECK_OK(kpd_index_compact(x, NULL, NULL, &error));
    CHECK_THAT(hard > easy && easy <= dial_candidates(x, 4), "%g, %g, compact %g", hard, easy, dial_candidates(x, 4));
    kpd_index_destroy(x);
    kpd_index_destroy(filled);
    kpd_session_destroy(s);
}

// A file of all sections that there are.
static void every_section(void) {
    kpd_session *s = open_session(KPD_SIMD_AUTO);
    kpd_index_desc d = tree_desc(24, KPD_L2, KPD_F32);
    kpd_text text = {"a text", 6}, got;
    int32_t part;
    kpd_index *x;
    d.lists = 2100;
    fill(6000, 24, 21);
    x = build(6000, d);
    CHECK(info_of(x).lists > 2048);
    CHECK_OK(kpd_index_tune(s, x, queries, QUERIES, 10, 0.9f, NULL, &error));
    CHECK_OK(kpd_index_upsert(x, ids, vectors, 1, &error));
    CHECK_OK(kpd_index_set_text(x, ids, &text, 1, &error));
    part = 4;
    CHECK_OK(kpd_index_set_partition(x, ids, &part, 1, &error));
    CHECK_OK(kpd_index_save(x, test_tmp("tree_all.kpi"), &error));
    search(s, x, dial(10, 0.95f), want, want_counts);
    kpd_index_destroy(x);
    x = open_index(test_tmp("tree_all.kpi"), false, true);
    search(s, x, dial(10, 0.95f), hits, counts);
    CHECK(same_hits(10, 0));
    CHECK_INT(info_of(x).tuned, 1);
    CHECK_OK(kpd_index_partition(x, ids[0], &part, &error));
    CHECK_INT(part, 4);
    CHECK_OK(kpd_index_text(x, ids[0], &got, &error));
    CHECK(got.size == 6 && !memcmp(got.data, "a text", 6));
    kpd_index_destroy(x);
    kpd_session_destroy(s);
}

// The longest vectors that a tree takes leave nothing in it that a file may not have, and no score twice; what is wrong with a
// query of many is told of that one.
static void numbers_at_the_limit(void) {
    kpd_session *s = open_session(KPD_SIMD_AUTO);
    kpd_index_desc d = tree_desc(32, KPD_DOT, KPD_INT8);
    const kpd_index *from;
    kpd_index *x, *y;
    for (int metric = KPD_DOT; metric <= KPD_L2; metric++) {
        d.metric = (kpd_metric)metric;
        fill(500, 32, 3);
        for (size_t i = 0; i < 500; i += 3) vectors[i * 32] = 9.9e14f;
        x = build(500, d);
        CHECK_INT(info_of(x).count, 500);
        CHECK_OK(kpd_index_save(x, test_tmp("long.kpi"), &error));
        kpd_index_destroy(x);
        x = open_index(test_tmp("long.kpi"), false, true);
        search(s, x, dial(10, 0.95f), hits, counts);
        for (int32_t i = 0; i < counts[0]; i++)
            for (int32_t j = 0; j < i; j++) CHECK(hits[i].id != hits[j].id);
        from = x;                               // goes into another tree, though rounding may have made some longer
        CHECK_OK(kpd_index_create(&d, &y, &error));
        CHECK_OK(kpd_index_merge(y, &from, 1, NULL, NULL, &error));
        CHECK_INT(info_of(y).count, 500);
        kpd_index_destroy(y);
        kpd_index_destroy(x);
    }
    d.metric = KPD_DOT;
    fill(1000, 32, 3);
    x = build(1000, d);
    vectors[700 * 32 + 5] = NAN;
    CHECK_STATUS(kpd_index_tune(s, x, vectors, 1000, 10, 0.9f, NULL, &error), KPD_ERR_INPUT);
    CHECK_INT(error.where, 700);
    CHECK_THAT(strstr(error.message, "query 700: value 5"), "%s", error.message);
    CHECK(kpd_index_tune(s, x, vectors, 1000, 10, 0.9f, NULL, NULL) == KPD_ERR_INPUT);
    kpd_index_destroy(x);
    kpd_session_destroy(s);
}

// Stopped at any of its calls it keeps nothing, and what it has done never decreases.
static void tuning_can_be_cancelled(void) {
    stop stopped = {0, 0, 0};
    kpd_session_desc d;
    kpd_session *s = NULL;
    kpd_status status = KPD_ERR_CANCELLED;
    kpd_index *x;
    int calls = 0;
    memset(&d, 0, sizeof d);
    d.max_dim = MOST_DIM;
    d.progress.report = stop_after; d.progress.user = &stopped;
    CHECK_OK(kpd_session_create(&d, &s, &error));
    fill(300, 16, 4);
    x = build(300, tree_desc(16, KPD_DOT, KPD_F32));
    for (; status && calls < 100; calls++) {
        stopped.left = calls; stopped.done = stopped.of = 0;
        status = kpd_index_tune(s, x, queries, QUERIES, 20, 0.9f, NULL, &error);
        if (status) CHECK_STATUS(status, KPD_ERR_CANCELLED);
        CHECK_INT(info_of(x).tuned, status ? 0 : 1);
    }
    CHECK_THAT(calls > 7 * 7 && calls < 100 && stopped.done == stopped.of, "%d calls, %d of %d", calls, (int)stopped.done,
               (int)stopped.of);
    kpd_index_destroy(x);
    kpd_session_destroy(s);
}

static bool same_tuning(const kpd_tuning *a, const kpd_tuning *b) {
    return a->work == b->work && a->plain == b->plain && !memcmp(&a->gamma, &b->gamma, 4) &&
           !memcmp(&a->breadth, &b->breadth, 4) && !memcmp(&a->candidates, &b->candidates, 4) &&
           !memcmp(&a->recall, &b->recall, 4);
}

// Of tight clusters a narrow first phase finds the same with less work; the count of it is the same on every level and for any
// number of threads, and so are the hits, of one query a call too.
static void tuned_on_any_machine(void) {
    kpd_tuning first, t;
    kpd_index *x;
    fill(6000, 48, 6);
    x = build(6000, tree_desc(48, KPD_COSINE, KPD_INT16));
    for (int l = KPD_SIMD_SCALAR; l < KPD_SIMD_COUNT; l++)
        for (int32_t threads = 1; threads <= 3; threads += 2) {
            kpd_session_desc sd;
            kpd_session *s;
            kpd_pool *pool = pool_of(threads);
            bool begins = l == KPD_SIMD_SCALAR && threads == 1;
            if (!kpd_simd_available((kpd_simd)l)) { kpd_pool_destroy(pool); continue; }
            memset(&sd, 0, sizeof sd);
            sd.max_dim = MOST_DIM; sd.max_k = 10 * threads; sd.simd = (kpd_simd)l; sd.parallel = *kpd_pool_parallel(pool);
            CHECK_OK(kpd_session_create(&sd, &s, &error));
            CHECK_OK(kpd_index_tune(s, x, queries, QUERIES, 10, 0.9f, begins ? &first : &t, &error));
            if (begins) search(s, x, by_hand(10, &first), want, want_counts);
            else CHECK_THAT(same_tuning(&first, &t), "%s, %d threads", kpd_simd_name((kpd_simd)l), (int)threads);
            for (size_t q = 0; q < QUERIES; q++) {
                kpd_search_desc d = dial(10, 0.9f);
                CHECK_OK(kpd_index_search(s, x, queries + q * 48, 1, &d, hits + q * 10, counts + q, &error));
            }
            CHECK_THAT(same_hits(10, 0), "%s, %d threads", kpd_simd_name((kpd_simd)l), (int)threads);
            kpd_session_destroy(s);
            kpd_pool_destroy(pool);
        }
    CHECK_THAT(first.recall >= 0.9f && first.breadth < 1 && 4 * first.work < 3 * first.plain, "recall %g, breadth %g, %lld of %lld",
               (double)first.recall, (double)first.breadth, (long long)first.work, (long long)first.plain);
    kpd_index_destroy(x);
}

// Any breadth and candidates there may be find what recall they find within the room there is; others are refused.
static void breadths(void) {
    static const float wrong[][2] = {{0.2f, 1}, {2.1f, 1}, {-1, 1}, {NAN, 1}, {INFINITY, 0}, {1, 0.4f}, {1, 8.1f}, {0, NAN}};
    kpd_session *s = open_session(KPD_SIMD_AUTO);
    kpd_search_desc d = dial(MOST_K, 1);
    kpd_index *x;
    fill(4000, 32, 4);
    x = build(4000, tree_desc(32, KPD_DOT, KPD_F32));
    search(s, x, d, want, want_counts);
    d.recall = 0;
    for (int i = 0; i < 9; i++) {
        static const float breadth[] = {0.25f, 1, 2}, candidates[] = {0.5f, 0, 8};
        d.gamma = 1; d.breadth = breadth[i / 3]; d.candidates = candidates[i % 3];
        search(s, x, d, hits, counts);
        for (int q = 0; q < QUERIES; q++) CHECK_INT(counts[q], MOST_K);
        CHECK_THAT(recall_of(MOST_K, 0) > 0.9, "recall %g", recall_of(MOST_K, 0));
    }
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        d.breadth = wrong[i][0]; d.candidates = wrong[i][1];
        CHECK_STATUS(kpd_index_search(s, x, queries, 1, &d, hits, counts, &error), KPD_ERR_ARGUMENT);
    }
    d.gamma = 0; d.breadth = d.candidates = 1;      // without a gamma
    CHECK_STATUS(kpd_index_search(s, x, queries, 1, &d, hits, counts, &error), KPD_ERR_ARGUMENT);
    kpd_index_destroy(x);
    kpd_session_destroy(s);
}

// Centroids are the means of what is nearest to them, whatever the threads; no centroid is empty.
static void kmeans(void) {
    static float c[2][40 * 24];
    static int32_t nearest[2][2000];
    kpd_kmeans_desc d;
    memset(&d, 0, sizeof d);
    d.k = 40; d.metric = KPD_L2; d.rounds = 30; d.samples = 1000; d.seed = 5;
    fill(2000, 24, 2);
    for (int i = 0; i < 2; i++) {
        kpd_pool *p = pool_of(1 + 2 * i);
        d.parallel = *kpd_pool_parallel(p);
        CHECK_OK(kpd_kmeans(&d, vectors, 2000, 24, c[i], nearest[i], &error));
        kpd_pool_destroy(p);
    }
    memset(&d.parallel, 0, sizeof d.parallel);          // its pools are gone
    CHECK(!memcmp(c[0], c[1], sizeof c[0]) && !memcmp(nearest[0], nearest[1], sizeof nearest[0]));
    for (int j = 0; j < 40; j++) {
        double mean[24] = {0};
        int n = 0;
        for (int i = 0; i < 2000; i++) {
            if (nearest[0][i] != j) continue;
            n++;
            for (int k = 0; k < 24; k++) mean[k] += (double)vectors[i * 24 + k];
        }
        CHECK_THAT(n > 0, "centroid %d is empty", j);
        for (int k = 0; n && k < 24; k++) CHECK_NEAR(mean[k] / n, c[0][j * 24 + k], 0.05);
    }
    for (int i = 0; i < 2000; i++) {
        int best = 0;
        double least = 1e9, own = 0;
        for (int j = 0; j < 40; j++) {
            double far = 0;
            for (int k = 0; k < 24; k++) {
                double part = (double)vectors[i * 24 + k] - (double)c[0][j * 24 + k];
                far += part * part;
            }
            if (j == nearest[0][i]) own = far;
            if (far < least) { least = far; best = j; }
        }
        CHECK_THAT(own <= least + 1e-5, "vector %d is of centroid %d, not %d", i, nearest[0][i], best);
    }
    for (int i = 40; i < 2000; i++) memcpy(vectors + i * 24, vectors + i % 40 * 24, 24 * sizeof *vectors);   // 50 of each
    CHECK_OK(kpd_kmeans(&d, vectors, 2000, 24, c[0], nearest[0], &error));
    for (int i = 0, seen; i < 40; i++) {                // two of the first centroids are often the same
        for (int j = seen = 0; j < 2000; j++) seen += nearest[0][j] == i;
        CHECK_THAT(seen == 50, "centroid %d has %d of 50 equal vectors", i, seen);
    }
    d.k = 2001;
    CHECK_STATUS(kpd_kmeans(&d, vectors, 2000, 24, c[0], NULL, &error), KPD_ERR_ARGUMENT);
    CHECK_STATUS(kpd_kmeans(NULL, vectors, 2000, 24, c[0], NULL, &error), KPD_ERR_ARGUMENT);
    for (int i = 0; i < 100; i++) memcpy(vectors + i * 24, vectors, 24 * sizeof *vectors);
    d.k = 30; d.metric = KPD_COSINE;
    CHECK_OK(kpd_kmeans(&d, vectors, 100, 24, c[0], nearest[0], &error));     // all the same
}

// ---- change ----------------------------------------------------------------------------------------------------------

enum { MODEL_DIM = 24, IDS = 900 };
static struct { bool there; float v[MODEL_DIM]; } model[IDS];    // what an index should hold, by id

static void model_check(kpd_session *s, kpd_index *x) {
    kpd_index *flat = flat_of(x);
    int64_t n = 0;
    for (int64_t i = 0; i < IDS; i++) {
        n += model[i].there;
        CHECK_STATUS(kpd_index_get(x, i, row, &error), model[i].there ? KPD_OK : KPD_ERR_NOT_FOUND);
        if (model[i].there) CHECK(!memcmp(row, model[i].v, sizeof model[i].v));
    }
    CHECK_INT(kpd_index_count(x), n);
    search(s, x, dial(12, 1), hits, counts);
    search(s, flat, dial(12, 0), want, want_counts);
    CHECK(same_hits(12, 0));
    search(s, x, dial(12, 0.99f), hits, counts);
    CHECK_THAT(recall_of(12, 0) > 0.9, "recall %g", recall_of(12, 0));
    kpd_index_destroy(flat);
}

static kpd_index *model_begin(kpd_metric metric) {
    fill(IDS, MODEL_DIM, 77);
    for (int64_t i = 0; i < IDS; i++) {
        ids[i] = i;
        model[i].there = i < 200;
        memcpy(model[i].v, vectors + i * MODEL_DIM, sizeof model[i].v);
    }
    return build(200, tree_desc(MODEL_DIM, metric, KPD_F32));
}

static void model_upsert(kpd_index *x, uint32_t *state) {
    static float v[60 * MODEL_DIM];
    int64_t id[60];
    size_t n = 1 + (size_t)((tiny_uniform(state) + 1) * 29);
    size_t at = (size_t)((tiny_uniform(state) + 1) * (IDS - 1) / 2), step = tiny_uniform(state) < 0 ? 0 : 7;
    for (size_t i = 0; i < n; i++) {
        float shift = tiny_uniform(state) * 0.2f;
        id[i] = (int64_t)((at + i * step) % IDS);
        for (size_t d = 0; d < MODEL_DIM; d++)
            v[i * MODEL_DIM + d] = model[id[i]].v[d] = vectors[(size_t)id[i] * MODEL_DIM + d] * (1 + shift) + shift;
        model[id[i]].there = true;
    }
    CHECK_OK(kpd_index_upsert(x, id, v, n, &error));
}

static void model_remove(kpd_index *x, uint32_t *state) {
    int64_t id[40];
    size_t removed, there = 0;
    for (size_t i = 0; i < 40; i++) {
        id[i] = (int64_t)((tiny_uniform(state) + 1) * (IDS - 1) / 2);
        there += model[id[i]].there;
        model[id[i]].there = false;
    }
    CHECK_OK(kpd_index_remove(x, id, 40, &removed, &error));
    CHECK_INT(removed, there);
}

static kpd_index *model_reopen(kpd_index *x) {
    char path[256];
    snprintf(path, sizeof path, "%s", test_tmp("tree_model.kpi"));
    CHECK_OK(kpd_index_save(x, path, &error));
    kpd_index_destroy(x);
    return open_index(path, true, true);
}

static void random_changes(void) {
    kpd_session *s = open_session(KPD_SIMD_AUTO);
    for (int m = KPD_DOT; m <= KPD_L2; m++) {
        kpd_index *x = model_begin((kpd_metric)m);
        uint32_t state = 9;
        for (int round = 0; round < 120; round++) {
            float what = tiny_uniform(&state);
            if (what < 0.3f) model_upsert(x, &state);
            else if (what < 0.9f) model_remove(x, &state);
            else x = model_reopen(x);
            if (round % 8 == 0) model_check(s, x);
        }
        for (int round = 0; round < 40; round++) model_upsert(x, &state);
        model_check(s, x);
        x = model_reopen(x);
        model_check(s, x);
        kpd_index_destroy(x);
    }
    kpd_session_destroy(s);
}

SUITE(tree) {
    RUN(tree, holds_and_finds);
    RUN(tree, every_metric_and_storage);
    RUN(tree, levels_and_threads_agree);
    RUN(tree, many_lists);
    RUN(tree, saves_and_opens);
    RUN(tree, fewer_lists_than_wanted);
    RUN(tree, payload_lies);
    RUN(tree, filters_and_thresholds);
    RUN(tree, ties_and_large_k);
    RUN(tree, bad_arguments);
    RUN(tree, tuned);
    RUN(tree, tuned_on_any_machine);
    RUN(tree, breadths);
    RUN(tree, kmeans);
    RUN(tree, builds_can_be_cancelled);
    RUN(tree, tuning_can_be_cancelled);
    RUN(tree, recall_without_tuning);
    RUN(tree, recall_after_upserts);
    RUN(tree, every_section);
    RUN(tree, numbers_at_the_limit);
    RUN(tree, random_changes);
}
