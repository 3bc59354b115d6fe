// A tree's recall and speed on one core: queries a second against the share of the true k best that they find.
//
//     bench_index [BASE.npy QUERIES.npy [K [LISTS [STORAGES [LEVEL]]]]]
//
// Without files, 60,000 made-up vectors of 64 dimensions around 600 centres and 500 queries. K is 10, LISTS what the build
// takes by itself (0), STORAGES f32,int16,int8. Under cosine; each storage is built, measured against the true best of a flat
// index, and searched. Prints, with TABs between them: kpd, storage, k, recall, queries a second one a call and all in one,
// gamma (of a flat index: all), seconds of the build, bytes a vector, level.
// A tree's last lines are by what kpd_index_tune finds for a recall of .90, .95 and .99 with these queries: gamma, breadth,
// candidates, and its work to that of gamma alone.
// Times are processor time, the best of 3 passes, so that other work on the machine shows less.
#define _XOPEN_SOURCE 700
#define KPD_STATIC
#define KPD_IMPLEMENTATION
#include "../kpd.h"
#include "../tools/npy.h"
#include <math.h>
#include <stdlib.h>
#include <time.h>

typedef struct matrix { float *v; size_t rows; int32_t dim; } matrix;
typedef struct run { kpd_session *s; const kpd_index *x; matrix base, q; kpd_hit *want, *hits; int32_t *counts, k; } run;

static uint32_t state = 1;
static float draw(void) { return (float)(int32_t)((state = state * 1664525u + 1013904223u) >> 8) * (1.0f / (1 << 23)) - 1.0f; }

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void *need(void *p) {
    if (!p) exit((fprintf(stderr, "bench_index: out of memory\n"), 1));
    return p;
}

static void must(kpd_status s, const kpd_error *e) {
    if (s) exit((fprintf(stderr, "bench_index: %s\n", e->message), 1));
}

static matrix read_matrix(const char *path) {
    char why[256];
    npy_reader r;
    matrix m;
    if (!npy_open(&r, path, why, sizeof why)) exit((fprintf(stderr, "bench_index: %s: %s\n", path, why), 1));
    m.rows = (size_t)r.rows; m.dim = r.cols;
    m.v = (float *)need(malloc((m.rows + 1) * (size_t)m.dim * sizeof(float)));
    if (!npy_read(&r, m.v, m.rows, &m.rows)) exit((fprintf(stderr, "bench_index: %s: cut short\n", path), 1));
    npy_close(&r);
    return m;
}

static matrix make_matrix(size_t rows, const float *centres, size_t n_centres) {
    matrix m;
    m.rows = rows; m.dim = 64;
    m.v = (float *)need(malloc(rows * 64 * sizeof(float)));
    for (size_t i = 0; i < rows; i++) {
        const float *c = centres + (size_t)((draw() + 1) * 0.4999f * (float)n_centres) * 64;
        for (size_t d = 0; d < 64; d++) m.v[i * 64 + d] = c[d] + 1.5f * (draw() + draw());
    }
    return m;
}

static void made_up(matrix *base, matrix *q) {
    float *centres = (float *)need(malloc(600 * 64 * sizeof(float)));
    for (size_t i = 0; i < 600 * 64; i++) centres[i] = draw() + draw();
    *base = make_matrix(60000, centres, 600);
    *q = make_matrix(500, centres, 600);
    free(centres);
}

// Seconds of all queries, `together` a call: the best of 3 passes.
static double seconds_of(const run *r, const kpd_search_desc *d, size_t together) {
    double best = 1e9;
    for (int pass = 0; pass < 3; pass++) {
        double begin = now();
        kpd_error e;
        for (size_t i = 0; i < r->q.rows; i += together) {
            size_t n = r->q.rows - i < together ? r->q.rows - i : together;
            must(kpd_index_search(r->s, r->x, r->q.v + i * (size_t)r->q.dim, n, d, r->hits + i * (size_t)r->k, r->counts + i,
                                  &e), &e);
        }
        begin = now() - begin;
        best = begin < best ? begin : best;
    }
    return best;
}

// A hit counts where its vector is as good as the k-th best; stored scores may be rounded.
static double recall_of(const run *r) {
    size_t found = 0, all = 0, k = (size_t)r->k, dim = (size_t)r->q.dim;
    for (size_t i = 0; i < r->q.rows; i++, all += k)
        for (int32_t j = 0; j < r->counts[i]; j++) {
            const float *q = r->q.v + i * dim, *v = r->base.v + (size_t)r->hits[i * k + (size_t)j].id * dim;
            double dot = 0, qq = 0, vv = 0;
            for (size_t d = 0; d < dim; d++) {
                dot += (double)q[d] * (double)v[d]; qq += (double)q[d] * (double)q[d]; vv += (double)v[d] * (double)v[d];
            }
            found += dot / sqrt(qq * vv) >= (double)r->want[i * k + k - 1].score - 1e-6;
        }
    return (double)found / (double)all;
}

static void line(const run *r, const kpd_search_desc *d, const char *how, double build) {
    const double rows = (double)r->q.rows, batch = seconds_of(r, d, r->q.rows), one = seconds_of(r, d, 1);
    kpd_index_info info;
    kpd_index_get_info(r->x, &info);
    printf("kpd\t%s%s\t%d\t%.4f\t%.0f\t%.0f\t%s\t%.2f\t%.1f\t%s\n", info.kind == KPD_FLAT ? "flat " : "",
           kpd_dtype_name(info.storage), (int)r->k, recall_of(r), rows / one, rows / batch, how, build,
           (double)info.bytes / (double)info.count, kpd_simd_name(kpd_session_simd(r->s)));
    fflush(stdout);
}

static void flat(run *r, const matrix *base, const int64_t *ids, kpd_dtype storage) {
    kpd_index_desc d;
    kpd_search_desc search;
    kpd_index *x;
    kpd_error e;
    double begin = now(), build;
    memset(&d, 0, sizeof d); memset(&search, 0, sizeof search);
    d.dim = base->dim; d.storage = storage; search.k = r->k;
    must(kpd_index_create(&d, &x, &e), &e);
    must(kpd_index_upsert(x, ids, base->v, base->rows, &e), &e);
    build = now() - begin;
    r->x = x;
    if (storage == KPD_F32)
        must(kpd_index_search(r->s, x, r->q.v, r->q.rows, &search, r->want, r->counts, &e), &e);
    line(r, &search, "all", build);
    kpd_index_destroy(x);
}

static void tuned(const run *r, kpd_index *x, float recall, double build) {
    kpd_search_desc search;
    kpd_tuning t;
    kpd_error e;
    char how[80];
    memset(&search, 0, sizeof search);
    must(kpd_index_tune(r->s, x, r->q.v, r->q.rows, r->k, recall, &t, &e), &e);
    search.k = r->k; search.recall = recall;
    snprintf(how, sizeof how, "tuned %.2f: %.3f %g %g, work %.2f", (double)recall, (double)t.gamma, (double)t.breadth,
             (double)t.candidates, (double)t.work / (double)(t.plain + !t.plain));
    line(r, &search, how, build);
}

static void tree(run *r, const matrix *base, const int64_t *ids, kpd_dtype storage, int32_t lists) {
    kpd_index_desc d;
    kpd_search_desc search;
    kpd_index *x;
    kpd_error e;
    double begin = now(), build;
    memset(&d, 0, sizeof d); memset(&search, 0, sizeof search);
    d.dim = base->dim; d.kind = KPD_TREE; d.storage = storage; d.lists = lists; search.k = r->k;
    must(kpd_index_build(&d, NULL, ids, base->v, base->rows, &x, &e), &e);
    build = now() - begin;
    r->x = x;
    for (int step = 4; step <= 17; step++) {
        char gamma[16];
        search.gamma = 0.05f * (float)step;
        snprintf(gamma, sizeof gamma, "%.2f", (double)search.gamma);
        line(r, &search, gamma, build);
    }
    for (int i = 0; i < 3; i++) tuned(r, x, i ? i == 1 ? 0.95f : 0.99f : 0.9f, build);
    kpd_index_destroy(x);
}

int main(int argc, char **argv) {
    static const kpd_dtype storage[] = {KPD_F32, KPD_INT16, KPD_INT8};
    kpd_session_desc d;
    kpd_error e;
    matrix base;
    int64_t *ids;
    run r;
    memset(&d, 0, sizeof d);
    (void)npy_write_header;             // of npy.h, not needed here
    if (argc > 2) { base = read_matrix(argv[1]); r.q = read_matrix(argv[2]); }
    else made_up(&base, &r.q);
    r.base = base;
    r.k = argc > 3 ? atoi(argv[3]) : 10;
    if (r.q.dim != base.dim || r.k < 1 || (size_t)r.k > base.rows)
        return fprintf(stderr, "bench_index: queries of dim %d, base of %d; k %d\n", (int)r.q.dim, (int)base.dim, (int)r.k), 1;
    ids = (int64_t *)need(malloc(base.rows * sizeof *ids));
    for (size_t i = 0; i < base.rows; i++) ids[i] = (int64_t)i;
    r.want = (kpd_hit *)need(calloc(r.q.rows * (size_t)r.k, sizeof(kpd_hit)));
    r.hits = (kpd_hit *)need(calloc(r.q.rows * (size_t)r.k, sizeof(kpd_hit)));
    r.counts = (int32_t *)need(calloc(r.q.rows, sizeof(int32_t)));
    d.max_dim = base.dim; d.max_k = r.k;
    if (argc > 6 && !kpd_simd_from_name(argv[6], &d.simd)) return fprintf(stderr, "bench_index: no level %s\n", argv[6]), 1;
    must(kpd_session_create(&d, &r.s, &e), &e);
    flat(&r, &base, ids, KPD_F32);
    flat(&r, &base, ids, KPD_INT8);
    for (int i = 0; i < 3; i++)
        if (argc < 6 || strstr(argv[5], kpd_dtype_name(storage[i])))
            tree(&r, &base, ids, storage[i], argc > 4 ? atoi(argv[4]) : 0);
    kpd_session_destroy(r.s);
    free(base.v); free(r.q.v); free(ids); free(r.want); free(r.hits); free(r.counts);
    return 0;
}
