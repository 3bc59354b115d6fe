// A tree of millions of vectors: time and memory of its build, its file, and what a search finds at which speed, with its lists
// found by groups and without, by gamma; then by the recall that is asked for.
//
//     bench_large [ROWS [LISTS [FILE [STORAGE]]]]     200000 0 build/large.kpi int8; 0 lists: as many as the build takes
//
// Vectors are made up: 64 dimensions, around a centre for each 100 of them, the d-th dimension d^-1/2 as wide, noise .7 of that.
// Under cosine; 1,000 queries of the same kind, k 10, one a call, on one core; recall by an exact search of all in f32, and
// the most that it can be, an exact search of what the index keeps for 60 of the queries. Speeds are of processor time, the best
// of 3 passes, the two kinds of search in turn. Needs 350 bytes of memory a vector.
#define _GNU_SOURCE
#define KPD_STATIC
#define KPD_THREADS
#define KPD_IMPLEMENTATION
#include "../kpd.h"
#include "../tools/cpus.h"
#include <math.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

enum { DIM = 64, QUERIES = 1000, EXACT = 60, K = 10, CHUNK = 1 << 20, PER_CENTRE = 100 };

typedef struct best { kpd_hit hit[QUERIES * K]; int32_t n[QUERIES]; } best;

static uint64_t state = 1;
static float draw(void) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (float)(int32_t)(uint32_t)(state >> 33) * (1.0f / (1 << 30)) - 1.0f;
}

static double seconds_by(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void *need(void *p) {
    if (!p) exit((fprintf(stderr, "bench_large: out of memory\n"), 1));
    return p;
}

static void must(kpd_status s, const kpd_error *e) {
    if (s) exit((fprintf(stderr, "bench_large: %s\n", e->message), 1));
}

// Nearly normal, the d-th dimension (d + 1)^-1/2 as wide, times `wide`, added.
static void add_noise(float *v, float wide) {
    for (int d = 0; d < DIM; d++) v[d] += (draw() + draw() + draw()) * wide / sqrtf((float)(d + 1));
}

static float *make(size_t n, const float *centres, size_t n_centres) {
    float *v = (float *)need(malloc(n * DIM * sizeof(float)));
    for (size_t i = 0; i < n; i++) {
        size_t c = (size_t)((draw() + 1) * 0.49999f * (float)n_centres);
        memcpy(v + i * DIM, centres + c * DIM, DIM * sizeof(float));
        add_noise(v + i * DIM, 0.7f);
    }
    return v;
}

// The exact K best, chunk after chunk.
static void search_all(kpd_session *s, const float *base, size_t rows, const float *q, best *out) {
    kpd_index_desc d;
    kpd_search_desc search;
    kpd_error e;
    kpd_hit *hits = (kpd_hit *)need(malloc(QUERIES * K * sizeof(kpd_hit)));
    int64_t *ids = (int64_t *)need(malloc(CHUNK * sizeof(int64_t)));
    int32_t *counts = (int32_t *)need(malloc(QUERIES * sizeof(int32_t)));
    memset(out->n, 0, sizeof out->n);
    for (size_t from = 0; from < rows; from += CHUNK) {
        size_t n = rows - from < CHUNK ? rows - from : CHUNK;
        kpd_index *x;
        memset(&d, 0, sizeof d); memset(&search, 0, sizeof search);
        d.dim = DIM; search.k = K;
        for (size_t i = 0; i < n; i++) ids[i] = (int64_t)(from + i);
        must(kpd_index_create(&d, &x, &e), &e);
        must(kpd_index_upsert(x, ids, base + from * DIM, n, &e), &e);
        must(kpd_index_search(s, x, q, QUERIES, &search, hits, counts, &e), &e);
        kpd_index_destroy(x);
        for (size_t i = 0; i < QUERIES * K; i++) {      // into the list so far, by falling score
            kpd_hit *list = out->hit + i / K * K;
            int32_t *count = &out->n[i / K], at = *count;
            if ((int32_t)(i % K) >= counts[i / K]) continue;
            while (at > 0 && list[at - 1].score < hits[i].score) at--;
            if (at == K) continue;
            *count += *count < K;
            memmove(list + at + 1, list + at, (size_t)(*count - 1 - at) * sizeof *list);
            list[at] = hits[i];
        }
    }
    free(hits); free(ids); free(counts);
}

// Share of the true K best that a search finds, by their ids, and its queries a second. Once where it is exact.
static double search_tree(kpd_session *s, const kpd_index *x, const float *q, const best *want, float gamma, float recall,
                          double *speed) {
    kpd_search_desc d;
    kpd_error e;
    kpd_hit hits[K];
    size_t found = 0, all = 0, n = recall < 1 ? QUERIES : EXACT;
    memset(&d, 0, sizeof d);
    d.k = K; d.gamma = gamma; d.recall = recall;
    *speed = 0;
    for (int pass = 0; pass < (recall < 1 ? 3 : 1); pass++) {
        double begin = seconds_by(CLOCK_PROCESS_CPUTIME_ID);
        for (size_t i = 0; i < n; i++) {
            int32_t count;
            must(kpd_index_search(s, x, q + i * DIM, 1, &d, hits, &count, &e), &e);
            for (int32_t j = 0; !pass && j < count; j++)
                for (int32_t w = 0; w < want->n[i]; w++) found += want->hit[i * K + (size_t)w].id == hits[j].id;
            if (!pass) all += (size_t)want->n[i];
        }
        begin = (double)n / (seconds_by(CLOCK_PROCESS_CPUTIME_ID) - begin);
        if (begin > *speed) *speed = begin;
    }
    return (double)found / (double)all;
}

static kpd_index *build(const float *base, size_t rows, int32_t lists, kpd_dtype storage) {
    kpd_index_desc d;
    kpd_index_info info;
    kpd_pool *pool;
    kpd_index *x;
    kpd_error e;
    struct rusage used;
    double begin = seconds_by(CLOCK_MONOTONIC), work = seconds_by(CLOCK_PROCESS_CPUTIME_ID);
    int64_t *ids = (int64_t *)need(malloc(rows * sizeof *ids));
    for (size_t i = 0; i < rows; i++) ids[i] = (int64_t)i;
    memset(&d, 0, sizeof d);
    d.dim = DIM; d.kind = KPD_TREE; d.storage = storage; d.lists = lists;
    must(kpd_pool_create(cpus_allowed(64), NULL, &pool, &e), &e);
    must(kpd_index_build(&d, kpd_pool_parallel(pool), ids, base, rows, &x, &e), &e);
    kpd_pool_destroy(pool);
    free(ids);
    kpd_index_get_info(x, &info);
    getrusage(RUSAGE_SELF, &used);
    printf("built\t%.1f s, %.1f s of %d processors\t%.1f bytes a vector\tpeak memory %.2f GB\n",
           seconds_by(CLOCK_MONOTONIC) - begin, seconds_by(CLOCK_PROCESS_CPUTIME_ID) - work, (int)cpus_allowed(64),
           (double)info.bytes / (double)info.count, (double)used.ru_maxrss / (1 << 20));
    fflush(stdout);
    return x;
}

// Saved, opened by mapping and checked.
static kpd_index *through_file(kpd_index *x, const char *path) {
    kpd_error e;
    double begin = seconds_by(CLOCK_MONOTONIC), saved, opened;
    must(kpd_index_save(x, path, &e), &e);
    kpd_index_destroy(x);
    saved = seconds_by(CLOCK_MONOTONIC);
    must(kpd_index_open(path, NULL, &x, &e), &e);
    opened = seconds_by(CLOCK_MONOTONIC);
    printf("saved\t%.1f s\topened\t%.4f s\n", saved - begin, opened - saved);
    return x;
}

int main(int argc, char **argv) {
    size_t rows = argc > 1 ? strtoul(argv[1], NULL, 10) : 200000, n_centres = rows / PER_CENTRE;
    kpd_session_desc d;
    kpd_session *s;
    kpd_error e;
    kpd_index *x;
    const uint8_t *groups;
    kpd_dtype storage = KPD_INT8;
    best *want = (best *)need(malloc(sizeof *want));
    float *centres, *base, *q;
    if (rows < CHUNK / 16) return fprintf(stderr, "bench_large: %s rows, expected %d or more\n", argv[1], CHUNK / 16), 1;
    if (argc > 4 && !kpd_dtype_from_name(argv[4], &storage)) return fprintf(stderr, "bench_large: no storage %s\n", argv[4]), 1;
    centres = (float *)need(calloc(n_centres * DIM, sizeof(float)));
    for (size_t i = 0; i < n_centres; i++) add_noise(centres + i * DIM, 1);
    base = make(rows, centres, n_centres);
    q = make(QUERIES, centres, n_centres);
    memset(&d, 0, sizeof d);
    d.max_dim = DIM; d.max_k = K;
    must(kpd_session_create(&d, &s, &e), &e);
    x = through_file(build(base, rows, argc > 2 ? atoi(argv[2]) : 0, storage), argc > 3 ? argv[3] : "build/large.kpi");
    search_all(s, base, rows, q, want);
    free(base);
    printf("level\t%s\nlists\t%u\ngamma\trecall\tq/s\tall lists: recall\tq/s\n", kpd_simd_name(kpd_session_simd(s)),
           (unsigned)x->t.n_lists);
    groups = x->t.groups;
    for (int step = 4; step <= 16; step += 2) {
        double speed, other_speed, recall = search_tree(s, x, q, want, 0.05f * (float)step, 0, &speed), other;
        x->t.groups = NULL;
        other = search_tree(s, x, q, want, 0.05f * (float)step, 0, &other_speed);
        x->t.groups = groups;
        printf("%.2f\t%.4f\t%.0f\t%.4f\t%.0f\n", 0.05 * step, recall, speed, other, other_speed);
        fflush(stdout);
    }
    printf("asked\trecall\tq/s\n");
    for (int i = 0; i < 5; i++) {
        static const float asked[] = {0.8f, 0.9f, 0.95f, 0.99f, 1};
        double speed, recall = search_tree(s, x, q, want, 0, asked[i], &speed);
        printf("%.2f\t%.4f\t%.0f\n", (double)asked[i], recall, speed);
        fflush(stdout);
    }
    kpd_index_destroy(x);
    kpd_session_destroy(s);
    free(want); free(centres); free(q);
    return 0;
}
