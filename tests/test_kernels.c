// The levels against the scalar one, bit for bit; the scalar one against double precision. Includes its own static copy of
// the implementation, to reach the kernels.
#define KPD_STATIC
#define KPD_THREADS
#define KPD_IMPLEMENTATION
#include "../kpd.h"
#include "test.h"

#ifdef KPD__EMULATED
enum { is_emulated = 1 };
#else
enum { is_emulated = 0 };
#endif
enum { MOST = 16000 };
static float a[MOST], b[MOST], c[MOST], want[MOST], got[MOST];
static uint32_t state;

static float number(float scale) {
    state = state * 1664525u + 1013904223u;
    return ((float)(int32_t)(state >> 8) * 1.1920929e-7f - 1.0f) * scale;
}

static void numbers(float *v, size_t n, float scale) {
    for (size_t i = 0; i < n; i++) v[i] = number(scale);
}

static bool same_bits(const float *x, const float *y, size_t n, const char *what, kpd_simd level, size_t size) {
    bool equal = !memcmp(x, y, n * sizeof *x);
    return CHECK_THAT(equal, "%s: level %s differs from scalar at size %d", what, kpd_simd_name(level), (int)size);
}

static void all_of(void (*test)(const kpd__ops *ops, size_t n), const kpd__ops *ops, const size_t *sizes, size_t n_sizes) {
    state = 0;                          // the same numbers whatever levels a machine has, here and in what comes behind
    for (size_t i = 0; i < n_sizes; i++) test(ops, sizes[i]);
}

// Calls test(ops, size) for every level beside scalar and every size; the test compares with scalar. Also for what a level is on
// processors of another kind than this one.
static void each_level(void (*test)(const kpd__ops *ops, size_t n), const size_t *sizes, size_t n_sizes) {
    for (int l = KPD_SIMD_SCALAR + 1; l < KPD_SIMD_COUNT; l++)
        if (kpd__usable((kpd_simd)l)) all_of(test, kpd__ops_of((kpd_simd)l), sizes, n_sizes);
#ifdef KPD__X86
    if (kpd__usable(KPD_SIMD_AVX512))
        all_of(test, kpd__two_multiply_adds() ? &kpd__avx512_ops : &kpd__avx512_pairs_ops, sizes, n_sizes);
#endif
}

static void all_sizes(void (*test)(const kpd__ops *ops, size_t n)) {   // 1..67 and a few larger
    size_t sizes[72];
    for (size_t i = 0; i < 67; i++) sizes[i] = i + 1;
    sizes[67] = 96; sizes[68] = 127; sizes[69] = 128; sizes[70] = 200; sizes[71] = 384;
    each_level(test, sizes, 72);
}

static void dot_and_normalize(const kpd__ops *ops, size_t n) {
    for (size_t offset = 0; offset < 3; offset++) {   // unaligned too
        float x, y;
        numbers(a, n + offset, 2);
        numbers(b, n + offset, 2);
        x = kpd__scalar_ops.dot(a + offset, b + offset, n);
        y = ops->dot(a + offset, b + offset, n);
        same_bits(&x, &y, 1, "dot", ops->level, n);
        kpd__scalar_ops.normalize(a + offset, n, want);
        ops->normalize(a + offset, n, got);
        same_bits(want, got, n, "normalize", ops->level, n);
    }
}

static void norms(const kpd__ops *ops, size_t n) {
    kpd__norm p;
    numbers(a, n, 1);
    numbers(b, n, 1);
    p.gamma = a; p.beta = b; p.eps = 1e-12f;
    numbers(c, 3 * n, 3);
    numbers(want, 3 * n, 3);
    memcpy(got, want, 3 * n * sizeof *got);
    kpd__scalar_ops.add_norm(&p, c, 3, n, want);
    ops->add_norm(&p, c, 3, n, got);
    same_bits(want, got, 3 * n, "add_norm", ops->level, n);
}

static void pools(const kpd__ops *ops, size_t n) {
    for (int kind = 0; kind <= KPD_POOL_LAST; kind++)
        for (size_t tokens = 1; tokens < 20; tokens += 6) {
            numbers(a, tokens * n, 3);
            kpd__scalar_ops.pool((kpd_pooling)kind, a, tokens, n, want);
            ops->pool((kpd_pooling)kind, a, tokens, n, got);
            same_bits(want, got, n, "pool", ops->level, n);
        }
}

// y must be written in its n columns only.
static void products(const kpd__ops *ops, size_t n) {
    for (size_t rows = 1; rows < 30; rows = n % 16 ? rows * 2 + 1 : rows + 1)   // tiles of all heights where panels are whole
        for (int f = 0; f <= KPD__SHORT_GELU; f++) {
            kpd__matrix w;
            size_t k = (n * 7 + rows) % 50 + 1, ld = n + 3;
            memset(&w, 0, sizeof w);
            w.panels = a; w.bias = f % 2 ? b : NULL; w.n = n; w.k = k; w.activation = f;
            if (kpd__round_up(n, 16) * k > MOST || rows * ld > MOST) continue;
            numbers(a, kpd__round_up(n, 16) * k, 1);
            numbers(b, kpd__round_up(n, 16), 1);
            numbers(c, rows * k, 2);
            for (size_t i = 0; i < rows * ld; i++) want[i] = got[i] = -77;
            kpd__scalar_ops.gemm(&w, c, k, rows, want, ld);
            ops->gemm(&w, c, k, rows, got, ld);
            same_bits(want, got, rows * ld, "gemm", ops->level, n);
        }
}

// A matrix of int8 or bf16 weights [n, k] with all that belongs to it; its numbers stand here.
static int8_t bytes[96 * 256];
static uint16_t half[96 * 256];
static float scale[96], inscale[256], bias[96], *const no_scale = NULL;
static int32_t colsum[96];
static uint8_t scratch[600000];

static kpd__matrix quantised(size_t n, size_t k, kpd__rounding rounding, kpd_activation f) {
    kpd__matrix w;
    size_t padded = kpd__round_up(k, 64);
    memset(&w, 0, sizeof w);
    memset(bytes, 0, sizeof bytes);
    memset(colsum, 0, sizeof colsum);
    w.n = n; w.k = k; w.bytes = bytes; w.scale = scale; w.colsum = colsum; w.rounding = rounding; w.activation = (int)f;
    w.bias = n % 3 ? bias : NULL; w.inscale = k % 3 ? inscale : no_scale;
    numbers(scale, 96, .01f);
    numbers(bias, 96, 1);
    for (size_t i = 0; i < 256; i++) inscale[i] = .5f + number(.4f);
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < k; j++) {
            int q = (int)(number(127.4f));
            bytes[i / 16 * 16 * padded + (j / 4 * 16 + i % 16) * 4 + j % 4] = (int8_t)q;
            colsum[i] += q;
        }
    return w;
}

// y after the words of >>format, with none of the header's kernels; NULL activation.
static float int8_spec(const kpd__matrix *w, const float *x, size_t n) {
    float t[256], least = 0, most = 0, range, step, zero, factor;
    int64_t sum = 0;
    size_t padded = kpd__round_up(w->k, 64);
    for (size_t k = 0; k < w->k; k++) {
        volatile float product = x[k] * (w->inscale ? w->inscale[k] : 1);
        t[k] = product;
        least = t[k] < least ? t[k] : least;
        most = t[k] > most ? t[k] : most;
    }
    range = w->rounding == KPD__OFFSET ? most - least : most > -least ? most : -least;
    factor = w->rounding == KPD__OFFSET ? 255 : w->rounding == KPD__SIGNED ? 127 : 32767;
    step = range < ldexpf(1, -100) ? 0 : range / factor;
    factor = range < ldexpf(1, -100) ? 0 : factor / range;
    zero = w->rounding == KPD__OFFSET ? nearbyintf(-least * factor) : w->rounding == KPD__SIGNED ? 128 : 32768;
    for (size_t k = 0; k < w->k; k++) {
        float u = (float)nearbyint((double)t[k] * (double)factor + (double)zero), top = w->rounding == KPD__SIGNED_16 ? 65535 : 255;
        u = u < 0 ? 0 : u > top ? top : u;
        sum += (int64_t)(u - zero) * w->bytes[n / 16 * 16 * padded + (k / 4 * 16 + n % 16) * 4 + k % 4];
    }
    step = step * w->scale[n];
    return kpd__fma((float)sum, step, w->bias ? w->bias[n] : 0);
}

static void int8_products(const kpd__ops *ops, size_t n) {
    for (size_t rows = 1; rows < 64; rows = rows * 2 + 1)
        for (int rounding = KPD__SIGNED; rounding <= KPD__SIGNED_16; rounding++) {
            size_t k = (n * 7 + rows * 31) % 250 + 1, ld = n + 3;
            kpd__matrix w;
            if (n > 67) return;
            if (n % 4 == 0 && rows < 32) k = kpd__round_up(k, 64);   // without a rest
            w = quantised(n, k, (kpd__rounding)rounding, rows % 2 ? KPD_IDENTITY : KPD_GELU);
            numbers(c, rows * k, 2);
            if (rounding == KPD__OFFSET) for (size_t i = 0; i < rows * k; i++) c[i] = c[i] < -.17f ? -.17f : c[i];
            if (rows > 2) memset(c + k, 0, k * sizeof *c);   // a row of zeros
            for (size_t i = 0; i < rows * ld; i++) want[i] = got[i] = -77;
            kpd__product(&kpd__scalar_ops, &w, kpd__floats(c, k), rows, kpd__floats(want, ld), scratch);
            kpd__product(ops, &w, kpd__floats(c, k), rows, kpd__floats(got, ld), scratch);
            same_bits(want, got, rows * ld, "int8 gemm", ops->level, n);
        }
}

// Sums of rows below 64, the largest that there are among them, as the scalar level has them.
static void narrow_sums(const kpd__ops *ops, size_t n) {
    static uint8_t rows[32 * 192];
    static int8_t panels[3 * 16 * 192];
    static int32_t sums[2][3 * 32 * 16];
    const size_t depth = 64 * (1 + n % 3), n_rows = n % 32 + 1;
    if (!ops->narrow_dots || n > 67) return;
    for (size_t i = 0; i < sizeof rows; i++) rows[i] = (uint8_t)(n % 2 ? 63 : (int)(number(32) + 32) & 63);
    for (size_t i = 0; i < sizeof panels; i++) panels[i] = (int8_t)(n % 2 ? (n % 4 == 1 ? 127 : -127) : (int)number(127));
    kpd__scalar_ops.int8_dots(rows, n_rows, depth, panels, 3, NULL, sums[0]);
    memset(sums[1], -1, sizeof sums[1]);
    ops->narrow_dots(rows, n_rows, depth, panels, 3, NULL, sums[1]);
    for (size_t p = 0; p < 3; p++)
        for (size_t i = 0, at = p * kpd__round_up(n_rows, 16) * 16; i < n_rows * 16; i++)
            CHECK_THAT(sums[0][at + i] == sums[1][at + i], "level %s, depth %zu, panel %zu, row %zu: %d, expected %d",
                       kpd_simd_name(ops->level), depth, p, i / 16, (int)sums[1][at + i], (int)sums[0][at + i]);
}

// bf16 products are those of the same weights in f32, but where the level has an instruction for them.
static void half_products(const kpd__ops *ops, size_t n) {
    for (size_t rows = 1; rows < 64; rows = rows * 2 + 1) {
        size_t k = (n * 7 + rows * 31) % 250 + 1, ld = n + 3, padded = kpd__round_up(k, 32);
        kpd__matrix w;
        if (n > 67 || kpd__round_up(n, 16) * k > MOST) return;
        memset(&w, 0, sizeof w);
        memset(half, 0, sizeof half);
        memset(a, 0, sizeof a);
        w.n = n; w.k = k; w.activation = KPD_RELU; w.bias = n % 3 ? bias : NULL;
        numbers(bias, 96, 1);
        for (size_t i = 0; i < n; i++)
            for (size_t j = 0; j < k; j++) {
                uint16_t h = kpd__bf16(number(1));
                half[i / 16 * 16 * padded + (j / 2 * 16 + i % 16) * 2 + j % 2] = h;
                a[(i / 16 * k + j) * 16 + i % 16] = kpd__from_bits((uint32_t)h << 16);
            }
        numbers(c, rows * k, 2);
        for (size_t i = 0; i < rows * ld; i++) want[i] = got[i] = -77;
        w.panels = a;
        kpd__scalar_ops.gemm(&w, c, k, rows, want, ld);
        w.half = half;
        kpd__product(ops, &w, kpd__floats(c, k), rows, kpd__floats(got, ld), scratch);
        if (!ops->half_dots) same_bits(want, got, rows * ld, "half gemm", ops->level, n);
        for (size_t i = 0; i < rows * ld; i++) CHECK_NEAR(got[i], want[i], .01 * sqrt((double)k));
    }
}

// n columns of k bf16 weights each, at random.
static kpd__matrix half_matrix(uint16_t *panels, size_t n, size_t k, int activation) {
    kpd__matrix w;
    size_t padded = kpd__round_up(k, 32);
    memset(&w, 0, sizeof w);
    memset(panels, 0, kpd__round_up(n, 16) * padded * sizeof *panels);
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < k; j++) panels[i / 16 * 16 * padded + (j / 2 * 16 + i % 16) * 2 + j % 2] = kpd__bf16(number(1));
    w.half = panels; w.n = n; w.k = k; w.activation = activation;
    return w;
}

// Two products, one after the other: the same whether what lies between is f32 or bf16 already.
static void half_pairs(const kpd__ops *ops, size_t n) {
    static uint16_t panels[2][80 * 96];
    for (size_t rows = 1; rows < 64 && n <= 67 && ops->half_dots; rows = rows * 2 + 1) {
        kpd__matrix up = half_matrix(panels[0], n, 40, KPD__SHORT_GELU), down = half_matrix(panels[1], 21, n, KPD_IDENTITY);
        memset(bias, 0, sizeof bias);
        numbers(bias, n, 1);
        up.bias = n % 3 ? bias : NULL;
        numbers(c, rows * 40, 2);
        kpd__product(ops, &up, kpd__floats(c, 40), rows, kpd__floats(a, n), scratch);
        kpd__product(ops, &down, kpd__floats(a, n), rows, kpd__floats(want, 21), scratch);
        memset(b, 0xFF, sizeof b);   // NaN
        kpd__product(ops, &up, kpd__floats(c, 40), rows, kpd__halves(b), scratch);
        kpd__product(ops, &down, kpd__halves(b), rows, kpd__floats(got, 21), scratch);
        same_bits(want, got, rows * 21, "a pair of bf16 products", ops->level, n);
    }
}

// A norm that rounds its rows for the next product: what the two give one after the other.
static void norms_round(const kpd__ops *ops, size_t n) {
    enum { ROWS = 37 };
    static const size_t rows[] = {1, 4, 7, 16, ROWS};
    static uint8_t room[2][2 << 20];
    static float x[2][ROWS * 384], y[ROWS * 384], columns[3][384];
    const kpd__norm p = {columns[0], columns[1], 1e-12f};
    if (!ops->norm_round || n % 64) return;
    for (size_t i = 0; i < 4 * sizeof rows / sizeof *rows; i++) {
        const size_t m = rows[i / 4];
        kpd__workspace to[2];
        kpd__matrix w;
        memset(&w, 0, sizeof w);
        w.k = n; w.rounding = KPD__SIGNED; w.bytes = (const int8_t *)room; w.inscale = i % 2 ? columns[2] : NULL;
        CHECK(kpd__norm_rounds(&w));
        for (size_t j = 0; j < 3; j++) numbers(columns[j], n, 2);
        numbers(y, m * n, 3);
        numbers(x[0], m * n, 3);
        if (m > 1) memset(x[0], 0, n * sizeof(float));
        if (m > 1 && i / 2 % 2 == 0) memset(y, 0, n * sizeof(float));       // a row of beta
        memcpy(x[1], x[0], m * n * sizeof(float));
        for (size_t j = 0; j < 2; j++) {
            kpd__arena arena = {(char *)room[j], 0, false};
            to[j] = kpd__workspace_lay(ops->operand, &w, &arena);
        }
        CHECK(m <= to[0].n_rows && kpd__product_scratch(ops->operand, n) <= sizeof room[0]);
        ops->add_norm(&p, i / 2 % 2 ? NULL : y, m, n, x[0]);
        ops->round_rows(&w, ops->operand, x[0], n, m, &to[0]);
        ops->norm_round(&p, &w, i / 2 % 2 ? NULL : y, m, x[1], &to[1]);
        CHECK(!memcmp(x[0], x[1], m * n * sizeof(float)));
        CHECK(!memcmp(to[0].step, to[1].step, m * sizeof(float)));
        CHECK(!memcmp(to[0].zero, to[1].zero, m * sizeof(int32_t)));
        for (size_t r = 0; r < m; r++)
            for (size_t g = 0; g < n; g += 64) {
                const size_t at = r / 16 * 16 * to[0].row_bytes + r % 16 * 64 + g * 16;
                CHECK(!memcmp(to[0].rows + at, to[1].rows + at, 64));
            }
    }
}

#ifdef KPD__X86
// By AMX, results are finished while it multiplies: the same bits as one after the other, for each kind of result, odd numbers
// of rows, panels and columns, and rows long enough to be cut.
static void walks(const kpd__ops *ops, size_t groups) {
    enum { N = 117, K = 48 * 64 };
    static const size_t rows[] = {1, 16, 17, 33, 49, 2, 15, 24, 31, 32, 40, 47, 48, 64, 65, 70, 128};
    static const struct { bool half; kpd__rounding rounding; int activation; } kinds[] = {
        {false, KPD__SIGNED, KPD_IDENTITY},    {false, KPD__SIGNED, KPD__SHORT_GELU}, {false, KPD__OFFSET, KPD_IDENTITY},
        {false, KPD__SIGNED_16, KPD_IDENTITY}, {true, KPD__SIGNED, KPD_IDENTITY},     {true, KPD__SIGNED, KPD__SHORT_GELU},
        {false, KPD__SIGNED, KPD_RELU},        {true, KPD__SIGNED, KPD_TANH}};
    static uint8_t weights[128 * K];
    static float x[128 * K], y[2][128 * 128], columns[2][128];
    static int32_t sums[128];
    static uint8_t room[4 << 20];
    kpd__ops common = *ops;
    if (ops->level != KPD_SIMD_AMX) return;
    common.walk = kpd__avx512_walk;
    CHECK(kpd__product_scratch(ops->operand, K) <= sizeof room);
    for (size_t i = 0; i < sizeof weights; i++) weights[i] = (uint8_t)(number(127.4f));
    for (size_t kind = 0; kind < sizeof kinds / sizeof *kinds; kind++)
        for (size_t r = 0; r < (is_emulated ? 5 : sizeof rows / sizeof *rows); r++) {
            kpd__matrix w;
            const bool in_half = kinds[kind].half, halves = in_half && kinds[kind].activation == KPD__SHORT_GELU;
            memset(&w, 0, sizeof w);
            w.n = N; w.k = groups * (in_half ? 32 : 64) - r % 2;
            w.bytes = in_half ? NULL : (const int8_t *)weights;
            if (in_half) {
                for (size_t i = 0; i < 128 * groups * 32; i++) ((uint16_t *)(void *)weights)[i] = kpd__bf16(number(1));
                w.half = (const uint16_t *)(const void *)weights;
            }
            w.scale = columns[0]; w.bias = columns[1]; w.colsum = sums; w.rounding = kinds[kind].rounding;
            w.activation = kinds[kind].activation;
            numbers(columns[0], 256, .01f);
            for (size_t i = 0; i < 128; i++) sums[i] = (int32_t)number(5000);
            numbers(x, rows[r] * w.k, 2);
            memset(y, 0, sizeof y);
            kpd__product(&common, &w, kpd__floats(x, w.k), rows[r], halves ? kpd__halves(y[0]) : kpd__floats(y[0], N), room);
            kpd__product(ops, &w, kpd__floats(x, w.k), rows[r], halves ? kpd__halves(y[1]) : kpd__floats(y[1], N),
                         room);
            if (!CHECK_THAT(!memcmp(y[0], y[1], sizeof *y), "kind %d, %d rows, %d groups: results differ", (int)kind, (int)rows[r],
                            (int)groups)) return;
        }
}
#endif

// A bf16 product's rows: numbers to nearest even, as the weights are, and what is not a number stays so. subnormal: these too,
// else they become 0.
static void rounds_to_bf16(void halves(uint16_t *to, const float *a, const float *b), bool subnormal) {
    static const uint32_t edges[16] = {0,          0x80000000, 0x3F808000, 0x3F818000, 0x3F808001, 0x3F807FFF,
                                       0x7F7FFFFF, 0x7F7F7FFF, 0x7F800000, 0xFF800000, 0x7F800001, 0xFF800001,
                                       0x7FFFFFFF, 0xFFFFFFFF, 1,          0x7FC00000};
    uint16_t found[32];
    for (int i = 0; i < 2000; i++) {
        for (size_t j = 0; j < 32; j++) {
            state = state * 1664525u + 1013904223u;
            a[j] = kpd__from_bits(i ? state ^ state >> 16 : edges[j % 16]);
        }
        halves(found, a, a + 16);
        for (size_t j = 0; j < 32; j++) {
            uint32_t bits = kpd__to_bits(a[j]);
            if (a[j] != a[j]) CHECK((found[j] & 0x7F80) == 0x7F80 && (found[j] & 0x7F));
            else if (!subnormal && !(bits & 0x7F800000)) CHECK_INT(found[j], bits >> 16 & 0x8000);
            else CHECK_INT(found[j], kpd__bf16(a[j]));
        }
    }
}

static void scalar_halves(uint16_t *to, const float *x, const float *y) {
    for (size_t i = 0; i < 16; i++) { to[i] = kpd__bf16(x[i]); to[16 + i] = kpd__bf16(y[i]); }
}
#ifdef KPD__ARM_I8MM
static void neon_halves(uint16_t *to, const float *x, const float *y) {
    kpd__neon_store_halves(to, kpd__neon_load(x), kpd__neon_load(y));
}
#endif
#ifdef KPD__X86
#if !defined(KPD__EMULATED)
__attribute__((target("avx512f,avx512bw,avx2,fma")))
#endif
static void avx512_halves(uint16_t *to, const float *x, const float *y) {
    kpd__avx512_store_halves(to, kpd__avx512_load(x), kpd__avx512_load(y));
}
#endif

static void levels_round_to_bf16(void) {
    rounds_to_bf16(scalar_halves, true);
#ifdef KPD__ARM_I8MM
    rounds_to_bf16(neon_halves, true);
#endif
#ifdef KPD__X86
    if (kpd_simd_available(KPD_SIMD_AVX512BF16)) rounds_to_bf16(avx512_halves, false);
#endif
}

static void attentions(const kpd__ops *ops, size_t n) {   // n tokens, three shapes of heads
    static const size_t shapes[3][2] = {{24, 2}, {40, 5}, {32, 1}};
    static float room[16 * (80 + 2 * 32)];
    for (size_t s = 0; s < 3 && n <= 80; s++) {
        size_t width = shapes[s][0], ld = 3 * kpd__round_up(width, 16);
        if (n * ld > MOST) continue;
        numbers(a, n * ld, 3);
        kpd__scalar_ops.attention(a, n, 0, n, width, shapes[s][1], room, want);
        ops->attention(a, n, 0, n / 3, width, shapes[s][1], room, got);   // queries in two pieces
        ops->attention(a, n, n / 3, n, width, shapes[s][1], room, got);
        same_bits(want, got, n * width, "attention", ops->level, n);
    }
}

// By products of bf16: near to f32, and the same bits in pieces, though these do not begin at whole panels.
static void half_attentions(const kpd__ops *ops, size_t n) {
    static const size_t shapes[4][2] = {{24, 2}, {40, 5}, {32, 1}, {64, 2}};
    static float room[16384];
    for (size_t s = 0; s < 4 && n <= 80 && ops->half_attention; s++) {
        size_t width = shapes[s][0], heads = shapes[s][1], ld = 3 * kpd__round_up(width, 16);
        if (n * ld > MOST) continue;
        CHECK(kpd__half_attention_scratch(n, width, heads) <= 16384);
        numbers(a, n * ld, 2);
        kpd__scalar_ops.attention(a, n, 0, n, width, heads, room, c);
        kpd__tiles(ops, true);
        ops->half_attention(ops, a, n, 0, n, width, heads, room, want);
        ops->half_attention(ops, a, n, 0, n / 3, width, heads, room, got);
        ops->half_attention(ops, a, n, n / 3, n, width, heads, room, got);
        same_bits(want, got, n * width, "half attention", ops->level, n);
#ifdef KPD__X86
        static float other[80 * 64];
        kpd__avx512_half_attention(ops, a, n, 0, n, width, heads, room, other);     // what AMX does in another way for heads of 32
        same_bits(want, other, n * width, "half attention of heads of 32", ops->level, n);
#endif
        kpd__tiles(ops, false);
        for (size_t i = 0; i < n * width; i++) CHECK_NEAR(want[i], c[i], .03);
    }
}

// In whole numbers: the bits of plain C, also in pieces, and near to f32; a column that is the same in all tokens stays exact.
static void int8_attentions(const kpd__ops *ops, size_t n) {
    static const size_t shapes[5][2] = {{24, 2}, {40, 5}, {32, 1}, {80, 1}, {64, 2}};
    static float room[32768];
    const kpd__ops *plain = &kpd__scalar_ops;
    for (size_t s = 0; s < 5 && n <= 80; s++) {
        size_t width = shapes[s][0], heads = shapes[s][1], padded = kpd__round_up(width, 16), ld = 3 * padded;
        if (n * ld > MOST) continue;
        CHECK(kpd__int8_attention_scratch(n, width, heads) <= 32768);
        numbers(a, n * ld, 2);
        for (size_t t = 0; t < n; t++) a[t * ld + 2 * padded] = 1.7f;
        plain->attention(a, n, 0, n, width, heads, room, c);
        plain->int8_attention(plain, a, n, 0, n, width, heads, room, want);
        kpd__tiles(ops, true);
        ops->int8_attention(ops, a, n, 0, n / 3, width, heads, room, got);
        ops->int8_attention(ops, a, n, n / 3, n, width, heads, room, got);
        kpd__tiles(ops, false);
        same_bits(want, got, n * width, "int8 attention", ops->level, n);
        for (size_t i = 0; i < n * width; i++) CHECK_NEAR(want[i], c[i], .08);
        for (size_t t = 0; t < n; t++) CHECK(want[t * width] == 1.7f);
    }
}

// Fills what attention computes in with a pattern, does so for few queries, and returns the bits that it left there.
static const float *after_poison(uint32_t pattern, float *room, size_t n, const kpd__ops *ops, kpd_dtype type, size_t tokens,
                                 size_t width, size_t heads) {
    for (size_t i = 0; i < n; i++) room[i] = kpd__from_bits(pattern);
    kpd__tiles(ops, true);
    if (type == KPD_F32) ops->attention(a, tokens, 0, tokens, width, heads, room, got);
    if (type == KPD_BF16) ops->half_attention(ops, a, tokens, 0, tokens, width, heads, room, got);
    if (type == KPD_INT8) ops->int8_attention(ops, a, tokens, 0, tokens, width, heads, room, got);
    kpd__tiles(ops, false);
    return room;
}

static void same_lanes(const kpd__ops *ops, const float *x, const float *y, const void *from, const float *room, size_t n,
                       const char *what, size_t tokens) {
    size_t at = (size_t)((const float *)from - room);
    same_bits(x + at, y + at, n, what, ops->level, tokens);
}

// Of 16 lanes only as many as there are queries are read, but all are computed on: none may depend on what lay there before,
// which is subnormal where bf16 was kept, and then takes a hundred times as long.
static void unused_lanes(const kpd__ops *ops, size_t n) {
    enum { ROOM = 16384, WIDTH = 48, HEADS = 2, DEPTH = WIDTH / HEADS };
    static float one[ROOM], two[ROOM];
    kpd__arena arena = {(char *)one, 0, false};
    if (n > 40) return;
    numbers(a, n * 3 * WIDTH, 2);
#define AFTER(type) const float *x = after_poison(0x00123456, one, ROOM, ops, type, n, WIDTH, HEADS),                          \
                                *y = after_poison(0x7FC12345, two, ROOM, ops, type, n, WIDTH, HEADS)
    {
        AFTER(KPD_F32);
        const size_t deep = kpd__round_up(DEPTH, 16) * 16;
        same_lanes(ops, x, y, one, one, DEPTH * 16, "queries in lanes", n);
        same_lanes(ops, x, y, one + deep, one, deep + n * 16, "values and scores", n);
    }
    if (ops->half_attention) {
        AFTER(KPD_BF16);
        const kpd__half_head h = kpd__half_head_lay(ops->operand, n, DEPTH, &arena);
        size_t panels = n % KPD__WALK > 16 || n % KPD__WALK == 0 ? 2 : 1;   // of the last walk
        same_lanes(ops, x, y, h.queries, one, panels * 16 * h.d32 / 2, "queries in bf16", n);
        same_lanes(ops, x, y, h.weights, one, panels * 16 * h.n32 / 2, "weights in bf16", n);
        for (size_t p = 0; p < panels; p++)
            same_lanes(ops, x, y, h.scores + p * h.n16 * 16, one, n * 16, "scores of bf16", n);
    }
    {
        AFTER(KPD_INT8);
        kpd__arena again = {(char *)one, 0, false};
        const kpd__int8_head h = kpd__int8_head_lay(ops->operand, n, DEPTH, &again);
        same_lanes(ops, x, y, h.columns, one, DEPTH * 16, "queries before they are rounded", n);
    }
#undef AFTER
}

// What heads of 32 columns take fits into the scratch of any heads.
static void scratch_of_heads_suffices(void) {
#ifdef KPD__X86
    for (size_t n = 1; n < 600; n++) {
        kpd__arena int8 = {NULL, 0, false}, in_bf16 = int8;
        kpd__head32_lay(n, &int8);
        kpd__amx_head_lay(n, &in_bf16);
        CHECK(int8.used <= kpd__int8_attention_scratch(n, 64, 2) * sizeof(float));
        CHECK(in_bf16.used <= kpd__half_attention_scratch(n, 64, 2) * sizeof(float));
    }
#endif
}

static void scans(const kpd__ops *ops, size_t n) {   // n dimensions, 5 panels, 1 to 9 queries
    int32_t at[2][80 + 16];
    for (size_t queries = 1; queries < 10; queries += 4)
        for (int metric = 0; metric <= KPD_L2; metric++) {
            size_t found;
            if (n * 80 > MOST) return;
            numbers(a, 80 * n, 1);
            numbers(b, queries * n, 1);
            kpd__scalar_ops.scan((kpd_metric)metric, b, queries, n, a, 5, want);
            ops->scan((kpd_metric)metric, b, queries, n, a, 5, got);
            same_bits(want, got, queries * 80, "scan", ops->level, n);
            found = kpd__scalar_ops.above(want, n < 80 ? n : 80, want[3], at[0]);
            CHECK_INT(ops->above(got, n < 80 ? n : 80, want[3], at[1]), found);
            CHECK(!memcmp(at[0], at[1], found * sizeof at[0][0]));
        }
}

static void levels_dot(void) { all_sizes(dot_and_normalize); }
static void levels_norm(void) { all_sizes(norms); all_sizes(norms_round); }
static void levels_pool(void) { all_sizes(pools); }
static void levels_gemm(void) { all_sizes(products); }
static void levels_int8(void) { all_sizes(int8_products); }
static void levels_walk(void) {
#ifdef KPD__X86
    static const size_t groups[] = {1, 6, 13, 12, 24, 48};
    each_level(walks, groups, is_emulated ? 3 : 6);
#endif
}
static void levels_half(void) { all_sizes(half_products); all_sizes(half_pairs); }
static void levels_attention(void) { all_sizes(attentions); all_sizes(half_attentions); all_sizes(int8_attentions); }
static void levels_unused_lanes(void) { all_sizes(unused_lanes); }
static void levels_scan(void) { all_sizes(scans); }

// The first of the greatest, above what there was, and sums of shares.
static void greatest_and_add(const kpd__ops *ops, size_t n) {
    static float v[2][MOST], to[2][MOST];
    numbers(v[0], n, 2);
    numbers(v[1], n, 1);
    numbers(to[0], n, 1);
    memcpy(to[1], to[0], n * sizeof to[0][0]);
    for (size_t i = 0; i < n; i++) v[0][i] = (float)(int)(v[0][i] * 4);     // many are equal
    for (size_t i = 0; i < n; i++) v[1][i] = (float)(int)v[1][i];
    for (int below = 0; below < 3; below++) {
        float floor = below == 0 ? -INFINITY : below == 1 ? 6 : 100, score = floor, most = floor;
        size_t best = n;
        for (size_t i = 0; i < n; i++)
            if (v[0][i] - v[1][i] > most) { most = v[0][i] - v[1][i]; best = i; }
        CHECK_INT(ops->greatest(v[0], v[1], n, &score), best);
        CHECK(!memcmp(&score, &most, sizeof most));
    }
    ops->add_share(to[0], v[0], n, 0.3f);
    kpd__scalar_ops.add_share(to[1], v[0], n, 0.3f);
    same_bits(to[1], to[0], n, "add", ops->level, n);
}

static void nearest_so_far(const kpd__ops *ops, size_t n) {
    static int32_t sums[48 * 16], codes[16];
    const size_t rows = n % 48 + 1;
    for (size_t i = 0; i < 16; i++) codes[i] = i < 15 ? (int32_t)number(8000) : INT32_MAX / 64;
    for (size_t i = 0; i < rows * 16; i++) {
        sums[i] = (int32_t)number(500000);
        a[i] = b[i] = i % 3 ? number(100) : -INFINITY;
        c[i] = got[i] = (float)(i % 7);
        if (i % 5 == 1) a[i] = b[i] = (float)(sums[i] - 32 * codes[i % 16]) * 1e-3f;    // an equal one comes too late
    }
    kpd__scalar_ops.nearest(sums, codes, rows, 1e-3f, 9, a, c);
    ops->nearest(sums, codes, rows, 1e-3f, 9, b, got);
    same_bits(a, b, rows * 16, "nearest: scores", ops->level, n);
    same_bits(c, got, rows * 16, "nearest: numbers", ops->level, n);
    for (size_t i = 0; i < rows * 16; i++)
        CHECK(i % 5 == 1 ? c[i] < 9 : i % 3 && i % 16 == 15 ? c[i] < 9 : i % 3 || i % 16 == 15 || c[i] >= 9);
}

static void levels_greatest(void) { all_sizes(greatest_and_add); }
static void levels_nearest(void) { all_sizes(nearest_so_far); }
static void levels_narrow_sums(void) { all_sizes(narrow_sums); }

// A threshold lets as many through as asked for, the same on all levels; ties, dead places and overflow only ever let more.
static void levels_least_of(void) {
    static float v[1024];
    const size_t sizes[] = {16, 48, 592, 1024};
    for (size_t kind = 0; kind < 5; kind++)
        for (size_t s = 0; s < 4; s++)
            for (size_t least = 1; least < 100; least += 9) {
                size_t n = sizes[s], live = 0, through = 0, above = 0;
                float t, lowest = INFINITY;
                numbers(v, n, 2);
                for (size_t i = 0; i < n; i++) {
                    if (kind == 1 && i % 3) v[i] = -INFINITY;
                    if (kind == 2) v[i] = v[i] * 1000 - 5e6f;
                    if (kind == 3) v[i] = 0.5f;
                    if (kind == 4) v[i] *= 3e38f;
                    live += v[i] >= -FLT_MAX;
                }
                t = kpd__scalar_ops.least_of(v, n, least, least + least / 8);
                for (int l = KPD_SIMD_SCALAR; l < KPD_SIMD_COUNT; l++) {
                    kpd_error e;
                    const kpd__ops *ops;
                    float cut;
                    if (!kpd_simd_available((kpd_simd)l)) continue;
                    CHECK_OK(kpd__choose_level((kpd_simd)l, &ops, &e));
                    cut = ops->least_of(v, n, least, least + least / 8);
                    CHECK(!memcmp(&cut, &t, sizeof t));
                }
                for (size_t i = 0; i < n; i++)
                    if (v[i] >= t) { through++; lowest = v[i] < lowest ? v[i] : lowest; }
                for (size_t i = 0; i < n; i++) above += v[i] > lowest;
                CHECK(through >= kpd__min(least, live));
                if (kind < 4) CHECK(through <= least + least / 8 || above < least);     // too many only where they are equal
            }
}

// Between neighbours among floats there is no threshold but one of them, the highest included.
static void levels_least_of_neighbours(void) {
    float v[16];
    for (int i = 0; i < 16; i++) v[(i * 5) % 16] = 1 - (float)i * (FLT_EPSILON / 2);
    for (int l = KPD_SIMD_SCALAR; l < KPD_SIMD_COUNT; l++)
        for (size_t least = 1; least < 16; least++) {
            kpd_error e;
            const kpd__ops *ops;
            size_t through = 0;
            float t;
            if (!kpd_simd_available((kpd_simd)l)) continue;
            CHECK_OK(kpd__choose_level((kpd_simd)l, &ops, &e));
            t = ops->least_of(v, 16, least, least);
            for (int i = 0; i < 16; i++) through += v[i] >= t;
            CHECK(through == least);
        }
}

static void int8_is_as_specified(void) {
    for (size_t n = 1; n < 60; n += 7)
        for (int rounding = KPD__SIGNED; rounding <= KPD__SIGNED_16; rounding++) {
            size_t k = (n * 37) % 250 + 1;
            kpd__matrix w = quantised(n, k, (kpd__rounding)rounding, KPD_IDENTITY);
            numbers(c, 3 * k, 2);
            memset(c + k, 0, k * sizeof *c);
            kpd__product(&kpd__scalar_ops, &w, kpd__floats(c, k), 3, kpd__floats(got, n), scratch);
            for (size_t r = 0; r < 3; r++)
                for (size_t i = 0; i < n; i++) want[r * n + i] = int8_spec(&w, c + r * k, i);
            same_bits(want, got, 3 * n, "int8 against its specification", KPD_SIMD_SCALAR, n);
        }
}

// f over a sweep, by a product with the 1 x 1 identity.
static void sweep(int f, float low, float high, size_t n) {
    kpd__matrix w;
    memset(&w, 0, sizeof w);
    memset(a, 0, 16 * sizeof *a);
    a[0] = 1;
    w.panels = a; w.bias = NULL; w.n = 1; w.k = 1; w.activation = f;
    for (size_t i = 0; i < n; i++) c[i] = low + (high - low) * (float)i / (float)(n - 1);
    kpd__scalar_ops.gemm(&w, c, 1, n, got, 1);
}

static void activations_are_accurate(void) {
    double gelu[2] = {0, 0}, tanh_ = 0, approximate = 0;
    for (int f = 0; f < 2; f++) {
        sweep(f ? KPD__SHORT_GELU : KPD_GELU, -12, 12, MOST);
        for (size_t i = 0; i < MOST; i++)
            gelu[f] = fmax(gelu[f], fabs((double)got[i] - (double)c[i] * .5 * erfc(-(double)c[i] / sqrt(2.0))));
    }
    sweep(KPD_TANH, -12, 12, MOST);
    for (size_t i = 0; i < MOST; i++) tanh_ = fmax(tanh_, fabs((double)got[i] - tanh((double)c[i])));
    sweep(KPD_GELU_TANH, -8, 8, MOST);
    for (size_t i = 0; i < MOST; i++) {
        double x = (double)c[i], y = .5 * x * (1 + tanh(sqrt(2 / 3.14159265358979323846) * (x + .044715 * x * x * x)));
        approximate = fmax(approximate, fabs((double)got[i] - y));
    }
    CHECK_NEAR(gelu[0], 0, 1.0e-6);
    CHECK_NEAR(gelu[1], 0, 2.1e-4);
    CHECK_NEAR(tanh_, 0, 2e-7);
    CHECK_NEAR(approximate, 0, 2e-6);
    sweep(KPD_RELU, -1, 1, 3);
    CHECK(got[0] == 0 && got[1] == 0 && got[2] == 1);
}

static void weights_are_accurate(void) {   // of softmax in whole numbers: 255 2^y
    for (int i = 0; i < 5000; i++) {
        float y = -32.0f * (float)i / 4999;
        kpd__scalar_v w = kpd__scalar_weight(kpd__scalar_set(y));
        CHECK_NEAR((double)w.x[0] - 12582912, 255 * exp2((double)y), .52);
    }
}

static void exp_is_accurate(void) {
    for (int i = 0; i < 5000; i++) {
        float x = -87.0f + 175.0f * (float)i / 4999;
        double y = exp((double)x), z = (double)kpd__scalar_exp(kpd__scalar_set(x)).x[0];
        CHECK_NEAR(z / y, 1, 2e-7);
    }
    CHECK(kpd__scalar_exp(kpd__scalar_set(-1000)).x[0] > 0);
    CHECK(kpd__finite(kpd__scalar_exp(kpd__scalar_set(1000)).x[0]));
}

// The software fma against libm's, where that is exact, on operands that cancel, overflow and underflow.
static void fma_is_exact(void) {
    volatile float near_one = 1 + 0x1p-12f, tiny = 0x1p-80f;
    if (fmaf(near_one, near_one, tiny) < 1 + 0x1p-11f + 0x1p-23f) return;   // MinGW's rounds twice
    for (int i = 0; i < 200000; i++) {
        float x = kpd__from_bits((state = state * 1664525u + 1013904223u)), y = number(2), z;
        z = i % 3 == 0 ? -x * y : i % 3 == 1 ? number(1e-3f) : kpd__from_bits((state = state * 1664525u + 1013904223u));
        if (!kpd__finite(x) || !kpd__finite(z)) continue;
        CHECK_INT(kpd__to_bits(kpd__fma(x, y, z)), kpd__to_bits(fmaf(x, y, z)));
    }
}

static void sums_are_accurate(void) {
    double exact = 0;
    numbers(a, 5000, 1);
    numbers(b, 5000, 1);
    for (size_t i = 0; i < 5000; i++) exact += (double)a[i] * (double)b[i];
    CHECK_NEAR(kpd__scalar_ops.dot(a, b, 5000), exact, 2e-5);
}

// One softmax in double against attention with one head whose values are the unit vectors.
static void attention_is_softmax(void) {
    enum { T = 16, W = 16 };
    static float qkv[T * 48], keys[16 * (T + 2 * W)], out[T * W];
    numbers(qkv, T * 48, 4);
    for (size_t t = 0; t < T; t++)
        for (size_t i = 0; i < W; i++) qkv[t * 48 + 32 + i] = t == i ? 1.0f : 0.0f;
    kpd__scalar_ops.attention(qkv, T, 0, T, W, 1, keys, out);
    for (size_t q = 0; q < T; q++) {
        double p[T], sum = 0, top = -1e300;
        for (size_t k = 0; k < T; k++) {
            p[k] = 0;
            for (size_t i = 0; i < W; i++) p[k] += (double)qkv[q * 48 + i] * (double)qkv[k * 48 + 16 + i] / 4;
            top = fmax(top, p[k]);
        }
        for (size_t k = 0; k < T; k++) sum += p[k] = exp(p[k] - top);
        for (size_t k = 0; k < T; k++) CHECK_NEAR(out[q * W + k], p[k] / sum, 1e-6);
    }
}

static void self_test_holds(void) {
    for (int l = KPD_SIMD_SCALAR; l < KPD_SIMD_COUNT; l++)
        if (kpd__usable((kpd_simd)l)) CHECK(kpd__self_test(kpd__ops_of((kpd_simd)l)) == KPD__SELF_TEST);
}

// Known answers of XXH64 with seed 0.
static void hash_is_xxh64(void) {
    CHECK(kpd__hash64("", 0) == UINT64_C(0xEF46DB3751D8E999));
    CHECK(kpd__hash64("abc", 3) == UINT64_C(0x44BC2CF5AD770999));
    CHECK(kpd__hash64("Nobody inspects the spammish repetition", 39) == UINT64_C(0xFBCEA83C8A378BF1));
}

// A host that flushes denormals and rounds up gets the same bits, and its own settings back.
static void host_rounding_mode_is_kept(void) {
#ifdef KPD__MXCSR
    float x[3] = {1.5f, -2.25f, 1e-3f}, y[3] = {.1f, .7f, 3.0f}, expected = kpd_cosine(x, y, 3), found, s[2];
    unsigned saved = _mm_getcsr(), host = (saved & ~0x6000u) | 0x8040u | 0x4000u, after;
    _mm_setcsr(host);
    found = kpd_cosine(x, y, 3);
    s[0] = kpd_sigmoid(1.7f);
    after = _mm_getcsr();
    _mm_setcsr(saved);
    s[1] = kpd_sigmoid(1.7f);
    CHECK(expected == found && s[0] == s[1]);
    CHECK_INT(after & 0xFFC0u, host & 0xFFC0u);
#endif
}

// Each number below count has a name of its own that leads back to it; other texts and numbers have none.
#define CHECK_NAMES(type, count)                                                                                       \
    do {                                                                                                               \
        type back_ = (type)0;                                                                                          \
        for (int i_ = 0; i_ < (int)(count); i_++)                                                                      \
            CHECK(type##_from_name(type##_name((type)i_), &back_) && (int)back_ == i_);                                \
        CHECK(!strcmp(type##_name((type)(count)), "?") && !strcmp(type##_name((type)-1), "?"));                        \
        CHECK(!type##_from_name("?", &back_) && !type##_from_name("", &back_) && !type##_from_name(NULL, &back_));     \
        CHECK_INT((int)back_, (int)(count)-1);                                                                         \
    } while (0)

static void enums_have_names(void) {
    kpd_simd level = KPD_SIMD_AUTO;
    CHECK_NAMES(kpd_status, KPD_STATUS_COUNT);
    CHECK_NAMES(kpd_simd, KPD_SIMD_COUNT);
    CHECK_NAMES(kpd_kind, KPD_KIND_COUNT);
    CHECK_NAMES(kpd_dtype, KPD_DTYPE_COUNT);
    CHECK_NAMES(kpd_tower, KPD_TOWER_COUNT);
    CHECK_NAMES(kpd_pooling, KPD_POOLING_COUNT);
    CHECK_NAMES(kpd_activation, KPD_ACTIVATION_COUNT);
    CHECK_NAMES(kpd_module_kind, KPD_MODULE_KIND_COUNT);
    CHECK_NAMES(kpd_stage, KPD_STAGE_COUNT);
    CHECK_NAMES(kpd_metric, KPD_METRIC_COUNT);
    CHECK_NAMES(kpd_file_kind, KPD_FILE_KIND_COUNT);
    CHECK_NAMES(kpd_index_kind, KPD_INDEX_KIND_COUNT);
    CHECK_NAMES(kpd_architecture, KPD_ARCHITECTURE_COUNT);
    CHECK_NAMES(kpd_tokenizer_kind, KPD_TOKENIZER_KIND_COUNT);
    CHECK_NAMES(kpd_index_kind, KPD_INDEX_KIND_COUNT);
    CHECK(!strcmp(kpd_simd_name(KPD_SIMD_AVX2), "avx2") && !strcmp(kpd_status_name(KPD_ERR_FORMAT), "KPD_ERR_FORMAT"));
    CHECK(!strcmp(kpd_metric_name(KPD_L2), "l2") && !strcmp(kpd_stage_name(KPD_STAGE_HEAD), "head"));
    CHECK(kpd_simd_from_name("amx", &level) && level == KPD_SIMD_AMX);
}

static void unknown_levels(void) {
    kpd_session_desc d;
    kpd_session *s = NULL;
    kpd_error e;
    memset(&d, 0, sizeof d);
    d.simd = (kpd_simd)99;
    CHECK_STATUS(kpd_session_create(&d, &s, &e), KPD_ERR_ARGUMENT);
    CHECK(s == NULL && strstr(e.message, "SIMD"));
}

// test_kernels_emulated.c includes this file.
#ifdef KPD__EMULATED
#define TEST(test) RUN(kernels_emulated, test)
SUITE(kernels_emulated) {
#else
#define TEST(test) RUN(kernels, test)
SUITE(kernels) {
#endif
    TEST(levels_dot);
    TEST(levels_norm);
    TEST(levels_pool);
    TEST(levels_gemm);
    TEST(levels_int8);
    TEST(levels_half);
    TEST(levels_walk);
    TEST(levels_round_to_bf16);
    TEST(int8_is_as_specified);
    TEST(levels_attention);
    TEST(levels_unused_lanes);
    TEST(scratch_of_heads_suffices);
    TEST(levels_scan);
    TEST(levels_least_of);
    TEST(levels_least_of_neighbours);
    TEST(levels_greatest);
    TEST(levels_nearest);
    TEST(levels_narrow_sums);
    TEST(activations_are_accurate);
    TEST(weights_are_accurate);
    TEST(exp_is_accurate);
    TEST(fma_is_exact);
    TEST(sums_are_accurate);
    TEST(attention_is_softmax);
    TEST(self_test_holds);
    TEST(hash_is_xxh64);
    TEST(host_rounding_mode_is_kept);
    TEST(enums_have_names); TEST(unknown_levels);
}
