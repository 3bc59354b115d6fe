// KPD_CBLAS: the gradients of matrices by a BLAS are those of the default, to rounding; `make cblas`. Ends with
// "N passed, N failed".
#include <cblas.h>
#include <stdatomic.h>

// The library's calls, counted.
static atomic_int calls;
static void counted_sgemm(CBLAS_ORDER order, CBLAS_TRANSPOSE ta, CBLAS_TRANSPOSE tb, int m, int n, int k, float alpha,
                          const float *a, int lda, const float *b, int ldb, float beta, float *c, int ldc) {
    atomic_fetch_add(&calls, 1);
    cblas_sgemm(order, ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}
#define cblas_sgemm counted_sgemm
#define KPD_STATIC
#define KPD_THREADS
#define KPD_CBLAS
#define KPD_IMPLEMENTATION
#define KPD_TRAIN_IMPLEMENTATION
#include "../../kpd_train.h"

static int passed, failed;

static float *floats(size_t n, uint64_t seed) {
    float *x = (float *)malloc(n * sizeof *x);
    if (!x) abort();
    for (size_t i = 0; i < n; i++) x[i] = (float)kpdt__random_below(seed, i, 20001) * 1e-4f - 1;
    return x;
}

// dW [n, k] over t tokens, rows of dy and x being longer than n and k, onto what dW holds; tasks 1 and 3.
static void compare(size_t tokens, size_t n, size_t k, int32_t tasks, int from_blas) {
    size_t ldy = n + 16, ldx = k + 32, groups = (n + KPDT__GROUP - 1) / KPDT__GROUP;
    float *dy = floats(tokens * ldy, 1), *x = floats(tokens * ldx, 2), *dw = floats(n * k, 3), *want = floats(n * k, 3),
          *pack = (float *)malloc((size_t)tasks * KPDT__PACK * sizeof *pack);
    double largest = 0, off = 0;
    kpdt__scratch scratch[3];
    kpdt__tape t;
    kpdt__sums s;
    kpd_parallel parallel;
    kpd_pool *pool;
    bool ok;
    if (!pack || kpd_pool_create(tasks, NULL, &pool, NULL)) abort();
    parallel = *kpd_pool_parallel(pool);
    memset(&t, 0, sizeof t);
    memset(&s, 0, sizeof s);
    memset(scratch, 0, sizeof scratch);
    for (int32_t i = 0; i < tasks; i++) scratch[i].pack = pack + (size_t)i * KPDT__PACK;
    t.train = &kpd__scalar_train_ops; t.scratch = scratch; t.n_tasks = tasks;
    s.t = &t; s.n = 1; s.rows = tokens;
    s.sum[0].dy = dy; s.sum[0].x = x; s.sum[0].ldy = ldy; s.sum[0].ldx = ldx; s.sum[0].n = n; s.sum[0].k = k; s.sum[0].dw = dw;
    atomic_store(&calls, 0);
    kpd__run(&parallel, tasks, kpdt__sums_task, &s);
    for (size_t at = 0; at < n; at += KPDT__GROUP)
        t.train->weight_gradient(dy + at, ldy, x, ldx, tokens, kpd__min(KPDT__GROUP, n - at), k, want + at * k, pack);
    for (size_t i = 0; i < n * k; i++) {
        largest = kpdt__abs((double)want[i]) > largest ? kpdt__abs((double)want[i]) : largest;
        off = kpdt__abs((double)dw[i] - (double)want[i]) > off ? kpdt__abs((double)dw[i] - (double)want[i]) : off;
    }
    ok = off <= 1e-5 * largest && atomic_load(&calls) == (from_blas < 0 ? (int)groups : from_blas);
    if (ok) passed++; else failed++;
    printf("%s cblas.dw_%zux%zu_over_%zu_tokens_by_%d: %.2g of the largest, %d calls\n", ok ? "ok  " : "FAIL", n, k, tokens,
           (int)tasks, off / largest, atomic_load(&calls));
    kpd_pool_destroy(pool);
    free(dy); free(x); free(dw); free(want); free(pack);
}

int main(void) {
    for (int32_t tasks = 1; tasks <= 3; tasks += 2) {
        compare(300, 384, 384, tasks, -1);
        compare(257, 100, 401, tasks, 2);                   // 84 outputs and 16: both large
        compare(64, 85, 130, tasks, 1);                     // the one output that is left is not
        compare(5, 84, 16, tasks, 0);
    }
    printf("%d passed, %d failed\n", passed, failed);
    return failed != 0;
}
