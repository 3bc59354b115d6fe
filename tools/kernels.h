// The kernels of this machine, for `kpd bench`: what its instructions can do at most, how near the matrix products of an encoder
// come to that, by type and rows, and what the rest of a layer costs beside them. All this lies inside kpd.h, so the code here
// belongs into the file that has the implementation.

// Prints them for a level and an encoder's width, feed-forward width and heads. Takes some seconds, on one thread.
void bench_kernels(kpd_simd level, size_t width, size_t inner, size_t heads, double (*now)(void));

#ifdef KPD_IMPLEMENTATION

// n numbers, on a line's border as an arena has them: tile loads across lines take twice as long. To be freed by give_back.
static float *floats(size_t n) {
    char *all = (char *)malloc(n * sizeof(float) + 64 + sizeof all);
    float *p = (float *)(void *)(all + sizeof all + (64 - (uintptr_t)(all + sizeof all) % 64) % 64);
    uint32_t state = 1;
    if (!all) { fprintf(stderr, "kpd: out of memory\n"); exit(1); }
    memcpy((char *)p - sizeof all, &all, sizeof all);
    for (size_t i = 0; i < n; i++)
        p[i] = (float)(int32_t)((state = state * 1664525u + 1013904223u) >> 8) * 1.1920929e-7f - 1.0f;
    return p;
}

static void give_back(void *p) {
    char *all;
    memcpy(&all, (char *)p - sizeof all, sizeof all);
    free(all);
}

// Seconds of one call, the best of 60 windows of about .3 ms: what else runs on a machine only makes them longer, and a window
// this short has a chance to pass between two interruptions.
#define TIME(result, call)                                  \
    do {                                                    \
        double s_ = now();                                  \
        int n_ = 0;                                         \
        do { call; n_++; } while (now() - s_ < 3e-4);       \
        result = HUGE_VAL;                                  \
        for (int r_ = 0; r_ < 60; r_++) {                   \
            s_ = now();                                     \
            for (int i_ = 0; i_ < n_; i_++) { call; }       \
            result = fmin(result, (now() - s_) / n_);       \
        }                                                   \
    } while (0)

enum { F32, BF16, INT8, TYPES };
static const char *const types[TYPES] = {"f32", "bf16", "int8"};

// Peaks: n times chains of an instruction, enough of them to cover its latency, on registers of zeros. In assembly, since
// compilers put such sums into memory. \\r is the register of a chain; registers 0 and 1 are the factors.
#ifdef KPD__X86
#define X86(name, instructions)                                                                                                \
    static void name(size_t n) {                                                                                               \
        __asm__ volatile(".irp r,0,1,2,3,4,5,6,7,8,9,10,11,12,13\n vpxor %%xmm\\r, %%xmm\\r, %%xmm\\r\n .endr\n"               \
                         "1:\n .irp r,2,3,4,5,6,7,8,9,10,11,12,13\n" instructions "\n .endr\n dec %0\n jne 1b\n vzeroupper"    \
                         : "+r"(n) : : "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9",   \
                           "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");                                              \
    }
X86(fma_256, "vfmadd231ps %%ymm0, %%ymm1, %%ymm\\r")
X86(fma_512, "vfmadd231ps %%zmm0, %%zmm1, %%zmm\\r")
X86(half_512, "vdpbf16ps %%zmm0, %%zmm1, %%zmm\\r")
X86(madd_256, "vpmaddwd %%ymm0, %%ymm1, %%ymm14\n vpaddd %%ymm14, %%ymm\\r, %%ymm\\r")
X86(madd_512, "vpmaddwd %%zmm0, %%zmm1, %%zmm14\n vpaddd %%zmm14, %%zmm\\r, %%zmm\\r")
X86(dot_256, "%{vex%} vpdpbusd %%ymm0, %%ymm1, %%ymm\\r")
X86(dot_512, "vpdpbusd %%zmm0, %%zmm1, %%zmm\\r")

#define TILES(name, instruction)                                                                                               \
    static void name(size_t n) {                                                                                               \
        kpd__amx_tiles(true);                                                                                                  \
        __asm__ volatile(".irp r,0,1,2,3,4,5,6,7\n tilezero %%tmm\\r\n .endr\n"                                                \
                         "1:\n .irp r,2,3,4,5,6,7\n" instruction " %%tmm1, %%tmm0, %%tmm\\r\n .endr\n"                         \
                         "dec %0\n jne 1b\n tilerelease" : "+r"(n) : : "cc");                                                  \
    }
TILES(tiles_half, "tdpbf16ps")
TILES(tiles_int8, "tdpbusd")
#endif

#ifdef KPD__ARM
#define ARM(name, instruction)                                                                                                 \
    static void name(size_t n) {                                                                                               \
        __asm__ volatile(".irp r,0,1,2,3,4,5,6,7,16,17,18,19,20,21,22,23,24,25\n movi v\\r\\().4s, #0\n .endr\n"              \
                         "1:\n .irp r,2,3,4,5,6,7,16,17,18,19,20,21,22,23,24,25\n" instruction "\n .endr\n"                    \
                         "subs %0, %0, #1\n b.ne 1b"                                                                           \
                         : "+r"(n) : : "cc", "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v16", "v17", "v18", "v19",       \
                           "v20", "v21", "v22", "v23", "v24", "v25");                                                          \
    }
ARM(fma_128, "fmla v\\r\\().4s, v0.4s, v1.4s")
ARM(madd_128, "smlal v\\r\\().4s, v0.4h, v1.4h")
#ifdef KPD__ARM_DOT
#ifdef __clang__
__attribute__((target("dotprod")))
#else
__attribute__((target("arch=armv8.2-a+dotprod")))
#endif
ARM(dot_128, "sdot v\\r\\().4s, v0.16b, v1.16b")
#endif
#ifdef KPD__ARM_I8MM
#ifdef __clang__
#define MATRIX __attribute__((target("i8mm,bf16")))
#else
#define MATRIX __attribute__((target("arch=armv8.2-a+i8mm+bf16")))
#endif
MATRIX ARM(matrix_int8, "usmmla v\\r\\().4s, v0.16b, v1.16b")
MATRIX ARM(matrix_half, "bfmmla v\\r\\().4s, v0.8h, v1.8h")
#endif
#endif

#define L(level) (1u << KPD_SIMD_##level)
#define L512 (L(AVX512) | L(AVX512VNNI) | L(AVX512BF16) | L(AMX))
static const struct {
    const char *name;
    double flops;               // of run(1)
    void (*run)(size_t n);
    unsigned levels[TYPES];     // that multiply the type with it
} peaks[] = {
#ifdef KPD__X86
    {"VFMADD, 256 bits", 12 * 16, fma_256, {L(AVX2) | L(AVXVNNI), L(AVX2) | L(AVXVNNI), 0}},
    {"VPMADDWD + VPADDD, 256 bits", 12 * 32, madd_256, {0, 0, L(AVX2)}},
    {"VPDPBUSD, 256 bits", 12 * 64, dot_256, {0, 0, L(AVXVNNI)}},
    {"VFMADD, 512 bits", 12 * 32, fma_512, {L512, L(AVX512) | L(AVX512VNNI), 0}},
    {"VDPBF16PS, 512 bits", 12 * 64, half_512, {0, L(AVX512BF16), 0}},
    {"VPMADDWD + VPADDD, 512 bits", 12 * 64, madd_512, {0, 0, L(AVX512)}},
    {"VPDPBUSD, 512 bits", 12 * 128, dot_512, {0, 0, L(AVX512VNNI) | L(AVX512BF16)}},
    {"TDPBF16PS", 6 * 16384, tiles_half, {0, L(AMX), 0}},
    {"TDPBUSD", 6 * 32768, tiles_int8, {0, 0, L(AMX)}},
#endif
#ifdef KPD__ARM
    {"FMLA", 16 * 8, fma_128, {L(NEON) | L(NEONDOT) | L(NEONI8MM), L(NEON) | L(NEONDOT), 0}},
    {"SMLAL", 16 * 8, madd_128, {0, 0, L(NEON)}},
#endif
#ifdef KPD__ARM_DOT
    {"SDOT", 16 * 32, dot_128, {0, 0, L(NEONDOT)}},
#endif
#ifdef KPD__ARM_I8MM
    {"BFMMLA", 16 * 32, matrix_half, {0, L(NEONI8MM), 0}},
    {"USMMLA", 16 * 64, matrix_int8, {0, 0, L(NEONI8MM)}},
#endif
    {NULL, 0, NULL, {0, 0, 0}}};

static bool has_one_of(unsigned levels) {
    for (int l = 0; l < KPD_SIMD_COUNT; l++)
        if (levels >> l & 1 && kpd__usable((kpd_simd)l)) return true;
    return false;
}

// Prints every peak of this machine, the best of .1 s, and which types `level` multiplies so; of[type]: that peak, 0 = none.
static void bench_peaks(kpd_simd level, double (*now)(void), double of[TYPES]) {
    for (int i = 0; peaks[i].name; i++) {
        const unsigned *levels = peaks[i].levels;
        double peak = 0, begun = now();
        if (!has_one_of(levels[F32] | levels[BF16] | levels[INT8])) continue;
        do {
            double t = now();
            peaks[i].run(100000);
            peak = fmax(peak, 1e-4 * peaks[i].flops / (now() - t));
        } while (now() - begun < .1);
        printf("peak         %-28s %7.1f GFLOP/s ", peaks[i].name, peak);
        for (int type = 0; type < TYPES; type++)
            if (levels[type] >> level & 1) { of[type] = peak; printf(" %s", types[type]); }
        printf("\n");
    }
}

// A matrix of a type, of numbers that mean nothing.
static kpd__matrix bench_matrix(int type, size_t n, size_t k, const float *w, const float *bias) {
    kpd__matrix m;
    memset(&m, 0, sizeof m);
    if (type == F32) m.panels = w;
    if (type == BF16) m.half = (const uint16_t *)(const void *)w;
    if (type == INT8) {
        m.bytes = (const int8_t *)(const void *)w;
        m.scale = bias;
        m.colsum = (const int32_t *)(const void *)w;
    }
    m.bias = bias; m.n = n; m.k = k; m.activation = KPD_IDENTITY;
    return m;
}

enum { SHAPES = 5 };

// The matrices of a layer of an encoder as it has them, the fourth once more with GELU: N x K of shapes[i].
static void bench_layer(int type, const size_t shapes[SHAPES][2], const float *w, const float *bias, kpd__matrix m[SHAPES]) {
    for (int s = 0; s < SHAPES; s++) {
        m[s] = bench_matrix(type, shapes[s][0], shapes[s][1], w, bias);
        if (s == 3) m[s].activation = type == F32 ? KPD_GELU : KPD__SHORT_GELU;
        if (s == 4) m[s].rounding = KPD__OFFSET;
    }
}

static size_t bench_bytes(int type, const kpd__matrix *m) {
    return type == F32 ? m->n * m->k * 4 : kpd__round_up(m->n, 16) * kpd__depth(m);
}

// The rows of a product, of halves where the encoder has them so: between the matrix that goes up and the one that goes down.
static kpd__strip bench_rows(const kpd__ops *ops, const kpd__matrix *m, const float *x, size_t ld, bool between) {
    return between && m->half && ops->half_dots ? kpd__halves((float *)(uintptr_t)x) : kpd__floats(x, ld);
}

// The products of a layer, one after another over many layers, so that weights come from behind L2: us, and GB/s of weights.
static void bench_cold(const kpd__ops *ops, int type, const kpd__matrix layer[SHAPES], size_t tokens, const float *x, float *y,
                       void *scratch, double (*now)(void)) {
    enum { LAYERS = 24 };
    static const int which[] = {0, 1, 3, 4};
    size_t bytes = 0;
    double best = HUGE_VAL;
    char *w, *at;
    for (int i = 0; i < 4; i++) bytes += bench_bytes(type, &layer[which[i]]);
    at = w = (char *)floats(LAYERS * bytes / sizeof(float) + 1);
    for (int round = 0; round < 5; round++) {
        double s = now();
        at = w;
        for (int i = 0; i < 4 * LAYERS; i++) {
            kpd__matrix m = layer[which[i % 4]];
            if (type == F32) m.panels = (const float *)(void *)at;
            if (type == BF16) m.half = (const uint16_t *)(void *)at;
            if (type == INT8) m.bytes = (const int8_t *)at;
            at += bench_bytes(type, &m);
            kpd__product(ops, &m, bench_rows(ops, &m, x, m.k, i % 4 == 3), tokens, bench_rows(ops, &m, y, m.n, i % 4 == 2),
                         scratch);
        }
        best = fmin(best, (now() - s) / (double)LAYERS);
    }
    printf("a layer of %d tokens, weights from behind L2: %.1f us, %.1f GB/s of weights\n", (int)tokens, 1e6 * best,
           1e-9 * (double)bytes / best);
    give_back(w);
}

// N x K by rows, each in GFLOP/s and of the peak; then a query's layer cold.
static void bench_products(const kpd__ops *ops, int type, size_t width, size_t inner, double (*now)(void), double peak) {
    static const size_t rows[] = {1, 7, 24, 42, 128, 256};
    enum { ROWS = sizeof rows / sizeof *rows };
    const size_t wide = kpd__round_up(width, 16), most = kpd__round_up(kpd__max(3 * wide, inner), 64);
    const size_t shapes[SHAPES][2] = {{3 * wide, width}, {width, width}, {inner, width}, {inner, width}, {width, inner}};
    float *w = floats(most * kpd__round_up(width, 64)), *x = floats(256 * most), *y = floats(256 * most), *bias = floats(most);
    void *scratch = floats(kpd__product_scratch(ops->operand, most) / sizeof(float));
    kpd__matrix layer[SHAPES];
    bench_layer(type, shapes, w, bias, layer);
    printf("\n%-4s GFLOP/s, rows ", types[type]);
    for (size_t r = 0; r < ROWS; r++) printf(" %7d %4s", (int)rows[r], peak > 0 ? "peak" : "");
    for (int s = 0; s < SHAPES; s++) {
        const kpd__matrix *m = &layer[s];
        printf("\n%5d x%5d %-6s", (int)m->n, (int)m->k, s == 3 ? "+ gelu" : "");
        for (size_t r = 0; r < ROWS; r++) {
            double t;
            TIME(t, kpd__product(ops, m, bench_rows(ops, m, x, m->k, s == 4), rows[r], bench_rows(ops, m, y, m->n, s == 3),
                                 scratch));
            t = 2e-9 * (double)(m->n * m->k * rows[r]) / t;
            printf(peak > 0 ? " %7.1f %3.0f%%" : " %7.1f     ", t, 100 * t / peak);
        }
    }
    printf("\n");
    bench_cold(ops, type, layer, 7, x, y, scratch, now);
    give_back(w); give_back(x); give_back(y); give_back(bias); give_back(scratch);
}

static void bench_attention(const kpd__ops *ops, size_t width, size_t heads, double (*now)(void)) {
    static const size_t tokens[] = {8, 24, 128, 512};
    const size_t ld = 3 * kpd__round_up(width, 16);
    float *qkv = floats(512 * ld), *out = floats(512 * width),
          *scratch = floats(kpd__max(kpd__half_attention_scratch(512, width, heads),
                                     kpd__int8_attention_scratch(512, width, heads)));
    printf("\nattention of a layer, us; tokens");
    for (int i = 0; i < 4; i++) printf(" %8d", (int)tokens[i]);
    for (int type = 0; type < TYPES; type++) {
        kpd__matrix m = bench_matrix(type, ld, width, qkv, NULL);
        printf("\n  %-30s", types[type]);
        for (int i = 0; i < 4; i++) {
            double t;
            TIME(t, kpd__attend(ops, &m, qkv, tokens[i], 0, tokens[i], width, heads, scratch, out));
            printf(" %8.1f", 1e6 * t);
        }
    }
    printf("\n");
    give_back(qkv); give_back(out); give_back(scratch);
}

static void bench_norm(const kpd__ops *ops, size_t width, double (*now)(void)) {
    float *x = floats(256 * width), *y = floats(256 * width), *of = floats(2 * width);
    kpd__norm n;
    double t;
    memset(&n, 0, sizeof n);
    n.gamma = of; n.beta = of + width; n.eps = 1e-12f;
    TIME(t, ops->add_norm(&n, y, 256, width, x));
    printf("residual and layer norm of %d, ns a token: %.0f\n", (int)width, t / 256 * 1e9);
    give_back(x); give_back(y); give_back(of);
}

void bench_kernels(kpd_simd level, size_t width, size_t inner, size_t heads, double (*now)(void)) {
    const kpd__ops *ops;
    double peak[TYPES] = {0, 0, 0};
    if (kpd__choose_level(level, &ops, NULL)) return;
    level = ops->level;
    printf("level        %s\n", kpd_simd_name(level));
    bench_peaks(level, now, peak);
    for (int type = 0; type < TYPES; type++) bench_products(ops, type, width, inner, now, peak[type]);
    bench_attention(ops, width, heads, now);
    bench_norm(ops, width, now);
}
#endif // KPD_IMPLEMENTATION
