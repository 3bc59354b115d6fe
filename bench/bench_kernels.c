// The kernels of this machine: GFLOP/s of the matrix product at MiniLM's shapes, by type and rows, and what the rest of a layer
// costs beside it. Pin it to one core. usage: bench_kernels [LEVEL]
#define _POSIX_C_SOURCE 199309L
#define KPD_STATIC
#define KPD_IMPLEMENTATION
#include "../kpd.h"
#include <time.h>

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static float *floats(size_t n) {
    float *p = (float *)malloc(n * sizeof *p);
    uint32_t state = 1;
    if (!p) exit(1);
    for (size_t i = 0; i < n; i++)
        p[i] = (float)(int32_t)((state = state * 1664525u + 1013904223u) >> 8) * 1.1920929e-7f - 1.0f;
    return p;
}

// Median seconds of one call, of 7 times of about 50 ms each.
#define TIME(result, call)                                                              \
    do {                                                                                \
        double t_[7], s_ = now();                                                       \
        int n_ = 0;                                                                     \
        do { call; n_++; } while (now() - s_ < .05);                                    \
        for (int r_ = 0; r_ < 7; r_++) {                                                \
            s_ = now();                                                                 \
            for (int i_ = 0; i_ < n_; i_++) { call; }                                   \
            t_[r_] = (now() - s_) / n_;                                                 \
        }                                                                               \
        for (int i_ = 1; i_ < 7; i_++)                                                  \
            for (int j_ = i_; j_ && t_[j_ - 1] > t_[j_]; j_--) { s_ = t_[j_]; t_[j_] = t_[j_ - 1]; t_[j_ - 1] = s_; } \
        result = t_[3];                                                                 \
    } while (0)

static const char *const types[] = {"f32", "bf16", "int8"};

static void products(const kpd__ops *ops, int type) {
    static const size_t shapes[4][2] = {{1152, 384}, {384, 384}, {1536, 384}, {384, 1536}}, rows[] = {1, 7, 24, 42, 256};
    float *w = floats(1536 * 384), *x = floats(256 * 1536), *y = floats(256 * 1536), *bias = floats(1536);
    void *scratch = floats(kpd__product_scratch(1536) / sizeof(float));
    printf("gemm %-4s, GFLOP/s  rows:", types[type]);
    for (size_t r = 0; r < 5; r++) printf(" %7d", (int)rows[r]);
    printf("\n");
    for (size_t s = 0; s < 4; s++)
        for (int gelu = 0; gelu <= (s == 2); gelu++) {
            kpd__matrix m;
            memset(&m, 0, sizeof m);
            if (type == 0) m.panels = w;
            if (type == 1) m.half = (const uint16_t *)(const void *)w;
            if (type == 2) { m.bytes = (const int8_t *)(const void *)w; m.scale = bias; m.colsum = (const int32_t *)(const void *)w; }
            m.bias = bias; m.n = shapes[s][0]; m.k = shapes[s][1]; m.activation = gelu ? KPD_GELU : KPD_IDENTITY;
            printf("  %4d x %4d %-10s     ", (int)m.n, (int)m.k, gelu ? "+ gelu" : "");
            for (size_t r = 0; r < 5; r++) {
                double t;
                TIME(t, kpd__product(ops, &m, x, m.k, rows[r], y, m.n, scratch));
                printf(" %7.1f", 2e-9 * (double)(m.n * m.k * rows[r]) / t);
            }
            printf("\n");
        }
    free(w); free(x); free(y); free(bias); free(scratch);
}

static void others(const kpd__ops *ops) {
    static const size_t tokens[] = {8, 24, 128, 512};
    float *qkv = floats(512 * 1152), *out = floats(512 * 384), *scratch = floats(kpd__attention_scratch(512, 384, 12)),
          *x = floats(512 * 384);
    kpd__norm n;
    double t;
    n.gamma = x; n.beta = x + 384; n.eps = 1e-12f;
    for (size_t i = 0; i < 4; i++) {
        TIME(t, ops->attention(qkv, tokens[i], 0, tokens[i], 384, 12, scratch, out));
        printf("attention, %3d tokens, 12 heads of 32: %8.1f us (x 6 layers: %.0f)\n", (int)tokens[i], t * 1e6, 6e6 * t);
    }
    TIME(t, ops->add_norm(&n, x, 256, 384, out));
    printf("residual + layer norm of 384: %.0f ns a token\n", t / 256 * 1e9);
    free(qkv); free(out); free(scratch); free(x);
}

int main(int argc, char **argv) {
    kpd_simd level = kpd__best_level();
    for (int l = KPD_SIMD_SCALAR; argc > 1 && l < KPD_SIMD_COUNT; l++)
        if (!strcmp(argv[1], kpd_simd_name((kpd_simd)l))) level = (kpd_simd)l;
    if (!kpd_simd_available(level)) return fprintf(stderr, "this machine has no %s\n", kpd_simd_name(level)), 1;
    printf("level %s\n", kpd_simd_name(level));
    for (int type = 0; type < 3; type++) products(kpd__ops_of(level), type);
    others(kpd__ops_of(level));
    return 0;
}
