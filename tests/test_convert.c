// Models of bf16 and int8 weights: what conversion keeps, the same bits whatever the level, threads and batch, and their files.
// Includes its own static copy of the implementation, to reach the sections of a file.
#define KPD_STATIC
#define KPD_THREADS
#define KPD_IMPLEMENTATION
#include "../kpd.h"
#include "test.h"
#include <fenv.h>

enum { W = 36, WIDE = 64, LAYERS = 2, F = 100, N = 23, LONG = 160 };   // odd sizes: but for WIDE nothing is a multiple of 16

static kpd_error error;
static char text[N][1400];
static kpd_input in[N];
static uint32_t state;

static float number(float scale) {
    state = state * 1664525u + 1013904223u;
    return ((float)(int32_t)(state >> 8) * 1.1920929e-7f - 1.0f) * scale;
}

static void make_texts(void) {
    static const char *const words[] = {"blue", "case", "phone", "laptop", "charger", "lamp", "5", "unheard"};
    state = 9;
    for (size_t i = 0; i < N; i++) {
        size_t at = 0;
        text[i][0] = 0;
        for (size_t k = 0; k < (i == N - 1 ? LONG - 20 : i % 19); k++)      // the last has more rows than a block
            at += (size_t)snprintf(text[i] + at, sizeof text[i] - at, "%s ", words[(uint32_t)(number(4) + 4) % 8]);
        in[i] = kpd_input_str(text[i], NULL, NULL);
    }
}

// Of the models that make() makes.
static kpd_activation inner = KPD_GELU;
static int32_t width = W, heads = 3;

// Weights of f32; inputs differ in size from column to column, as real ones do.
static kpd_model *make(kpd_kind kind, bool separate) {
    static const char vocab[] = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nblue\ncase\nphone\nlaptop\ncharger\nlamp\n5\n";
    static float w[LONG * WIDE];
    kpd_tokenizer_desc td;
    kpd_model_desc d;
    kpd_tokenizer *t = NULL;
    kpd_model *m = NULL;
    kpd_tensor x;
    memset(&td, 0, sizeof td);
    memset(&d, 0, sizeof d);
    make_texts();
    td.vocab = vocab; td.vocab_size = strlen(vocab);
    CHECK_OK(kpd_tokenizer_create(&td, &t, NULL));
    d.kind = kind; d.separate_towers = separate; d.n_layers = LAYERS; d.width = width; d.n_heads = heads; d.ffn_width = F;
    d.n_positions = LONG; d.tokenizer = t; d.n_labels = 2; d.activation = inner;
    if (kind == KPD_BI_ENCODER) { d.n_modules = 1; d.modules[0].kind = KPD_MODULE_DENSE; d.modules[0].width = 20; }
    if (!CHECK_OK(kpd_model_create(&d, &m, &error))) printf("%s\n", error.message);
    kpd_tokenizer_destroy(t);
    for (int32_t i = 0; kpd_model_tensor(m, i, &x); i++) {
        bool norm = strstr(x.name, "LayerNorm.weight") != NULL;
        for (int32_t j = 0; j < x.rows * x.cols; j++) w[j] = norm ? 1 + (j % 7 ? .1f : 3.0f) * number(1) : number(.5f);
        CHECK_OK(kpd_model_set(m, x.name, w, NULL));
    }
    return m;
}

static kpd_model *convert(const kpd_model *m, kpd_dtype type, bool wide) {
    kpd_convert_desc d;
    kpd_model *to = NULL;
    memset(&d, 0, sizeof d);
    d.dtype = type; d.wide_qkv = wide;
    if (!CHECK_OK(kpd_model_convert(m, &d, &to, &error))) printf("%s\n", error.message);
    return to;
}

static size_t columns(const kpd_model *m) { return (size_t)kpd_model_dim(m); }

static void run(const kpd_model *m, kpd_simd level, int32_t threads, size_t batch, float *out) {
    kpd_session_desc d;
    kpd_session *s = NULL;
    kpd_pool *pool = NULL;
    bool pairs = kpd_model_get_desc(m)->kind == KPD_CROSS_ENCODER;
    memset(&d, 0, sizeof d);
    CHECK_OK(kpd_pool_create(threads, NULL, &pool, NULL));
    if (pairs) d.assistant = m;
    else d.student = m;
    d.simd = level; d.max_tokens = LONG + 40; d.parallel = *kpd_pool_parallel(pool);
    CHECK_OK(kpd_session_create(&d, &s, &error));
    for (size_t i = 0; s && i < N; i += batch) {
        size_t n = batch < N - i ? batch : N - i;
        if (pairs) CHECK_OK(kpd_score(s, m, in + i, n, out + i * columns(m), &error));
        else CHECK_OK(kpd_embed(s, m, KPD_KEYPHRASE, in + i, n, 0, out + i * columns(m), &error));
    }
    kpd_session_destroy(s);
    kpd_pool_destroy(pool);
}

static bool multiplies_bf16(kpd_simd level) {
    return level == KPD_SIMD_AVX512BF16 || level == KPD_SIMD_AMX || level == KPD_SIMD_NEONI8MM;
}

typedef struct cosines { double least, mean; } cosines;

static cosines cosines_of(const float *a, const float *b, size_t n) {
    cosines of = {1, 0};
    for (size_t i = 0; i < N; i++) {
        double c = (double)kpd_cosine(a + i * n, b + i * n, (int32_t)n);
        of.least = c < of.least ? c : of.least;
        of.mean += c / N;
    }
    return of;
}

// Every level, thread count and batch against the scalar level; one that multiplies in bf16 against itself, and nearly scalar.
static void check_bits(const kpd_model *m, const char *what) {
    static float want[N * W], got[N * W], own[N * W];
    size_t n = N * columns(m);
    run(m, KPD_SIMD_SCALAR, 1, N, want);
    for (int l = KPD_SIMD_SCALAR; l < KPD_SIMD_COUNT; l++)
        for (int32_t threads = 1; kpd_simd_available((kpd_simd)l) && threads <= 2; threads++) {
            const float *same = want;
            run(m, (kpd_simd)l, threads, threads == 1 ? 1 : 7, got);
            if (kpd_model_get_desc(m)->dtype == KPD_BF16 && multiplies_bf16((kpd_simd)l)) {
                run(m, (kpd_simd)l, 1, N, own);
                same = own;
                for (size_t i = 0; i < n; i++) CHECK_NEAR(own[i], want[i], .1);
                CHECK(memcmp(want, own, n * sizeof *own));
            }
            CHECK_THAT(!memcmp(same, got, n * sizeof *got), "%s: level %s, %d threads: other bits", what,
                       kpd_simd_name((kpd_simd)l), (int)threads);
        }
}

static void the_same_bits(void) {
    for (int kind = 0; kind <= KPD_CROSS_ENCODER; kind++) {
        kpd_model *m = make((kpd_kind)kind, false), *x;
        check_bits(x = convert(m, KPD_BF16, false), "bf16"); kpd_model_destroy(x);
        check_bits(x = convert(m, KPD_INT8, false), "int8"); kpd_model_destroy(x);
        check_bits(x = convert(m, KPD_INT8, true), "int8, wide"); kpd_model_destroy(x);
        kpd_model_destroy(m);
    }
}

// Where columns are whole groups of 64 bytes and heads of 32 columns, some levels take other ways.
static void the_same_bits_of_whole_groups(void) {
    width = WIDE; heads = 2;
    the_same_bits();
    width = W; heads = 3;
}

// bf16 computes what f32 does with the rounded weights, but for a shorter GELU.
static void bf16_is_f32_of_rounded_weights(void) {
    static float a[N * W], b[N * W];
    kpd_model *m, *half, *back;
    inner = KPD_GELU_TANH;
    m = make(KPD_BI_ENCODER, true);
    inner = KPD_GELU;
    half = convert(m, KPD_BF16, false); back = convert(half, KPD_F32, false);
    CHECK_INT(kpd_model_get_desc(half)->dtype, KPD_BF16);
    run(half, KPD_SIMD_SCALAR, 1, N, a);
    run(back, KPD_SIMD_SCALAR, 1, N, b);
    CHECK(!memcmp(a, b, N * columns(m) * sizeof *a));
    run(m, KPD_SIMD_SCALAR, 1, N, b);
    CHECK(memcmp(a, b, N * columns(m) * sizeof *a));
    kpd_model_destroy(m); kpd_model_destroy(half); kpd_model_destroy(back);
}

static bool same_file(const kpd_model *a, const kpd_model *b) {
    return a->file.size == b->file.size && !memcmp(a->file.data, b->file.data, a->file.size);
}

// The inputs that set its scales are seen at a level that widens bf16, so they are those of f32; but GELU differs by type.
static void int8_of_bf16_is_that_of_f32(void) {
    kpd_model *m, *half, *back, *a, *b;
    inner = KPD_RELU;
    m = make(KPD_BI_ENCODER, false);
    inner = KPD_GELU;
    half = convert(m, KPD_BF16, false); back = convert(half, KPD_F32, false);
    a = convert(half, KPD_INT8, false); b = convert(back, KPD_INT8, false);
    CHECK(same_file(a, b));
    kpd_model_destroy(m); kpd_model_destroy(half); kpd_model_destroy(back); kpd_model_destroy(a); kpd_model_destroy(b);
}

static bool quantised(const char *name) {
    return strstr(name, "encoder.layer") && strstr(name, ".weight") && !strstr(name, "LayerNorm");
}

// What a tensor may differ by: half a step of bf16 or int8, or nothing.
static void check_tensor(const kpd_model *m, const kpd_model *to, const char *name, int32_t rows, int32_t cols) {
    static float a[LONG * WIDE], b[LONG * WIDE];
    kpd_dtype type = kpd_model_get_desc(to)->dtype;
    CHECK_OK(kpd_model_get(m, name, a, NULL));
    CHECK_OK(kpd_model_get(to, name, b, NULL));
    for (int32_t i = 0; i < rows * cols; i++) {
        const kpd__tensor *t = kpd__tensor_find(to, name, NULL);
        double allowed = strstr(name, "_embeddings") || (quantised(name) && type == KPD_BF16) ? fabs((double)a[i]) / 256 : 0;
        if (quantised(name) && type == KPD_INT8) allowed = .501 * (double)t->scale[i / cols] * (double)t->inscale[i % cols];
        if (!CHECK_NEAR(b[i], a[i], allowed)) { printf("%s[%d]\n", name, (int)i); return; }
    }
}

static void weights_are_rounded_to_nearest(void) {
    for (int type = KPD_BF16; type <= KPD_INT8; type++) {
        kpd_model *m = make(KPD_BI_ENCODER, true), *to = convert(m, (kpd_dtype)type, false);
        kpd_tensor t;
        for (int32_t i = 0; kpd_model_tensor(m, i, &t); i++) check_tensor(m, to, t.name, t.rows, t.cols);
        kpd_model_destroy(m); kpd_model_destroy(to);
    }
}

static cosines compare(const kpd_model *m, const kpd_model *to) {
    static float a[N * W], b[N * W];
    run(m, KPD_SIMD_AUTO, 1, N, a);
    run(to, KPD_SIMD_AUTO, 1, N, b);
    return cosines_of(a, b, columns(m));
}

static void int8_is_close(void) {
    kpd_model *m = make(KPD_BI_ENCODER, false), *half = convert(m, KPD_BF16, false), *narrow = convert(m, KPD_INT8, false),
              *wide = convert(m, KPD_INT8, true);
    cosines of_half = compare(m, half), of_narrow = compare(m, narrow), of_wide = compare(m, wide);
    CHECK_THAT(of_half.least > .9995, "bf16: least cosine %.6f", of_half.least);
    CHECK_THAT(of_narrow.least > .999, "int8: least cosine %.6f", of_narrow.least);
    CHECK_THAT(of_wide.least > .999, "int8 with 16-bit inputs: least cosine %.6f", of_wide.least);
    CHECK_THAT(of_wide.mean > of_narrow.mean && of_wide.mean < 1, "int8 with 16-bit inputs: mean cosine %.6f, without %.6f",
               of_wide.mean, of_narrow.mean);
    kpd_model_destroy(m); kpd_model_destroy(half); kpd_model_destroy(narrow); kpd_model_destroy(wide);
}

// Texts for the input scales: another model, as close; a text that the template cannot take is refused by number.
static void texts_can_set_the_scales(void) {
    kpd_model *m = make(KPD_BI_ENCODER, true), *random = convert(m, KPD_INT8, false), *told = NULL, *none = NULL;
    kpd_convert_desc d;
    memset(&d, 0, sizeof d);
    d.dtype = KPD_INT8; d.texts = in; d.n_texts = N;
    CHECK_OK(kpd_model_convert(m, &d, &told, &error));
    CHECK(memcmp(told->file.data, random->file.data, told->file.size) != 0);
    CHECK(compare(m, told).least > .999);
    in[5].n_parts = 3;
    CHECK_STATUS(kpd_model_convert(m, &d, &none, &error), KPD_ERR_INPUT);
    CHECK_INT(error.where, 5);
    CHECK(!none);
    kpd_model_destroy(m); kpd_model_destroy(random); kpd_model_destroy(told);
}

static void conversion_is_deterministic(void) {
    kpd_model *m = make(KPD_CROSS_ENCODER, false), *a = convert(m, KPD_INT8, true), *b = convert(m, KPD_INT8, true);
    CHECK(same_file(a, b));
    kpd_model_destroy(m); kpd_model_destroy(a); kpd_model_destroy(b);
}

// int8 is read by two products, which round, and by sums of 64 bits, which some machines round in another unit.
static void the_host_rounding_does_not_matter(void) {
#if defined(KPD__MXCSR) || defined(KPD__FPCR)
    static float a[LONG * WIDE], b[LONG * WIDE], u[N * W], v[N * W];
    static const char name[] = "encoder.layer.0.intermediate.dense.weight";
    kpd_model *m = make(KPD_BI_ENCODER, false), *q = convert(m, KPD_INT8, false);
    kpd_model *wide = convert(m, KPD_INT8, true);
    run(wide, KPD_SIMD_AUTO, 1, N, u);
    CHECK(!fesetround(FE_TOWARDZERO));
    run(wide, KPD_SIMD_AUTO, 1, N, v);
    fesetround(FE_TONEAREST);
    CHECK(!memcmp(u, v, N * columns(m) * sizeof *u));
    CHECK_OK(kpd_model_get(q, name, a, &error));
    CHECK(!fesetround(FE_UPWARD));
    CHECK_OK(kpd_model_get(q, name, b, &error));
    fesetround(FE_TONEAREST);
    CHECK(!memcmp(a, b, sizeof a));
    kpd_model_destroy(m); kpd_model_destroy(q); kpd_model_destroy(wide);
#endif
}

// ---- files ---------------------------------------------------------------------------------------------------------

static kpd_status open_file(const char *path, bool verify, kpd_model **m) {
    kpd_open_desc d;
    memset(&d, 0, sizeof d);
    d.verify = verify;
    return kpd_model_open(path, &d, m, &error);
}

static void a_file_gives_the_same_bits(void) {
    static float a[N * W], b[N * W];
    for (int type = KPD_BF16; type <= KPD_INT8; type++) {
        kpd_model *m = make(KPD_BI_ENCODER, false), *to = convert(m, (kpd_dtype)type, type == KPD_INT8), *opened = NULL;
        char path[256];
        snprintf(path, sizeof path, "%s", test_tmp("convert.kpd"));
        CHECK_OK(kpd_model_save(to, path, &error));
        if (CHECK_OK(open_file(path, true, &opened))) {
            CHECK_INT(kpd_model_get_desc(opened)->dtype, type);
            CHECK_INT(kpd_model_get_desc(opened)->arithmetic, type == KPD_INT8 ? KPD_OFFSET_HIDDEN | KPD_WIDE_QKV : 0);
            run(to, KPD_SIMD_AUTO, 1, N, a);
            run(opened, KPD_SIMD_AUTO, 1, N, b);
            CHECK(!memcmp(a, b, N * columns(m) * sizeof *a));
        }
        kpd_model_destroy(m); kpd_model_destroy(to); kpd_model_destroy(opened);
    }
}

static kpd__section *section(kpd_model *m, const char *name) {
    kpd__section *s = (kpd__section *)((uint8_t *)kpd__align64(m->file.block) + 64);
    while (strcmp(s->name, name)) s++;
    return s;
}

// Writes value over `size` bytes of a section, seals all sums, and opens.
static kpd_status open_spoiled(kpd_model *m, const char *name, size_t at, const void *value, size_t size, bool verify) {
    uint8_t *image = (uint8_t *)kpd__align64(m->file.block);
    kpd__header *h = (kpd__header *)(void *)image;
    kpd__section *s = section(m, name);
    kpd_open_desc d;
    kpd_model *opened = NULL;
    kpd_status status;
    uint8_t saved[16];
    memcpy(saved, image + s->offset + at, size);
    memcpy(image + s->offset + at, value, size);
    for (uint32_t i = 0; i < h->n_sections; i++) {
        kpd__section *t = (kpd__section *)(void *)(image + 64) + i;
        t->sum = kpd__hash64(image + t->offset, (size_t)t->size);
    }
    h->table_sum = kpd__hash64(image + 64, h->n_sections * 128);
    h->sum = kpd__hash64(h, 56);
    memset(&d, 0, sizeof d);
    d.data = image; d.size = m->file.size; d.verify = verify;
    status = kpd_model_open(NULL, &d, &opened, &error);
    if (!status) {   // whatever the weights are, using them is safe
        float out[N * W];
        run(opened, KPD_SIMD_AUTO, 1, N, out);
        run(opened, KPD_SIMD_SCALAR, 1, N, out);
    }
    kpd_model_destroy(opened);
    memcpy(image + s->offset + at, saved, size);
    return status;
}

static void impossible_weights_are_refused(void) {
    static const int8_t low = -128;
    static const uint16_t infinite = 0x7F80;
    static const float nan_value = NAN;
    static const int32_t wild = INT32_MIN, bits = 4, f32 = KPD_F32;
    kpd_model *m = make(KPD_BI_ENCODER, false), *q = convert(m, KPD_INT8, false), *half = convert(m, KPD_BF16, false);
    const char *weight = "encoder.layer.1.output.dense.weight";
    CHECK_OK(open_spoiled(q, weight, 0, &low, 0, true));
    CHECK_STATUS(open_spoiled(q, weight, 77, &low, 1, true), KPD_ERR_FORMAT);
    CHECK_THAT(strstr(error.message, weight) && strstr(error.message, "value 77 is not in -127..127"), "%s", error.message);
    CHECK_OK(open_spoiled(q, weight, 77, &low, 1, false));
    CHECK_STATUS(open_spoiled(half, weight, 8, &infinite, 2, true), KPD_ERR_FORMAT);
    CHECK_THAT(strstr(error.message, "value 4 is not finite"), "%s", error.message);
    CHECK_OK(open_spoiled(half, weight, 8, &infinite, 2, false));
    CHECK_STATUS(open_spoiled(q, "encoder.layer.0.intermediate.dense.scale", 4, &nan_value, 4, true), KPD_ERR_FORMAT);
    CHECK_OK(open_spoiled(q, "encoder.layer.0.intermediate.dense.scale", 4, &nan_value, 4, false));
    CHECK_OK(open_spoiled(q, "encoder.layer.0.attention.self.qkv.inscale", 4, &nan_value, 4, false));
    CHECK_OK(open_spoiled(q, "encoder.layer.0.attention.self.qkv.colsum", 4, &wild, 4, false));
    CHECK_STATUS(open_spoiled(q, "config", 120, &bits, 4, false), KPD_ERR_UNSUPPORTED);
    CHECK_STATUS(open_spoiled(half, "config", 120, "\1\0\0", 4, false), KPD_ERR_FORMAT);   // arithmetic of int8 only
    CHECK_STATUS(open_spoiled(q, "config", 116, &f32, 4, false), KPD_ERR_FORMAT);
    CHECK_STATUS(open_spoiled(half, "config", 116, "\3\0\0", 4, false), KPD_ERR_FORMAT);
    kpd_model_destroy(m); kpd_model_destroy(q); kpd_model_destroy(half);
}

// A file without input scales: the first counts of equal names, so one renamed is one missing.
static void input_scales_are_optional(void) {
    static float a[N * W], b[N * W];
    kpd_model *m = make(KPD_BI_ENCODER, false), *q = convert(m, KPD_INT8, false), *opened = NULL;
    kpd__section *s = section(q, "encoder.layer.0.output.dense.inscale");
    float *scale = (float *)(void *)((uint8_t *)kpd__align64(q->file.block) + s->offset);
    char path[256];
    snprintf(path, sizeof path, "%s", test_tmp("noscale.kpd"));
    run(q, KPD_SIMD_AUTO, 1, N, a);
    for (int i = 0; i < F; i++) scale[i] = 1;
    run(q, KPD_SIMD_AUTO, 1, N, b);
    CHECK(memcmp(a, b, N * columns(m) * sizeof *a));
    memcpy(s->name, "unused", 7);
    memset(s->name + 7, 0, sizeof s->name - 7);
    s->flags = 0;
    CHECK_OK(kpd_model_save(q, path, &error));
    if (CHECK_OK(open_file(path, true, &opened))) {
        run(opened, KPD_SIMD_AUTO, 1, N, a);
        CHECK(!memcmp(a, b, N * columns(m) * sizeof *a));
    }
    kpd_model_destroy(m); kpd_model_destroy(q); kpd_model_destroy(opened);
}

static void what_cannot_be_done_is_said(void) {
    kpd_model *m = make(KPD_BI_ENCODER, false), *q = convert(m, KPD_INT8, false), *none = NULL;
    kpd_convert_desc d;
    kpd_session_desc sd;
    kpd_session *s = NULL;
    float w[W * W], out[W];
    memset(&d, 0, sizeof d);
    memset(&sd, 0, sizeof sd);
    memset(w, 0, sizeof w);
    d.dtype = (kpd_dtype)9;
    CHECK_STATUS(kpd_model_convert(m, &d, &none, &error), KPD_ERR_ARGUMENT);
    CHECK(!none && strstr(error.message, "dtype"));
    CHECK_STATUS(kpd_model_set(q, "embeddings.LayerNorm.bias", w, &error), KPD_ERR_ARGUMENT);
    sd.student = m;
    CHECK_OK(kpd_session_create(&sd, &s, NULL));
    CHECK_STATUS(kpd_embed(s, q, KPD_ITEM, in, 1, 0, out, &error), KPD_ERR_LIMIT);   // no room for its products
    CHECK(strstr(error.message, "weight type") != NULL);
    w[3] = FLT_MAX;
    CHECK_OK(kpd_model_set(m, "encoder.layer.0.attention.self.query.weight", w, NULL));
    d.dtype = KPD_BF16;
    CHECK_STATUS(kpd_model_convert(m, &d, &none, &error), KPD_ERR_LIMIT);
    CHECK(!none && strstr(error.message, "too large for bf16"));
    d.dtype = KPD_INT8;
    for (size_t i = 0; i < W * W; i++) w[i] = FLT_MAX;
    CHECK_OK(kpd_model_set(m, "encoder.layer.0.attention.output.dense.weight", w, NULL));
    CHECK_STATUS(kpd_model_convert(m, &d, &none, &error), KPD_ERR_LIMIT);
    CHECK(!none && strstr(error.message, "is not finite"));
    kpd_session_destroy(s);
    kpd_model_destroy(m); kpd_model_destroy(q);
}

// test_convert_emulated.c includes this file.
#ifdef KPD__EMULATED
#define TEST(test) RUN(convert_emulated, test)
SUITE(convert_emulated) {
#else
#define TEST(test) RUN(convert, test)
SUITE(convert) {
#endif
    TEST(the_same_bits);
    TEST(the_same_bits_of_whole_groups);
    TEST(bf16_is_f32_of_rounded_weights);
    TEST(int8_of_bf16_is_that_of_f32);
    TEST(weights_are_rounded_to_nearest);
    TEST(int8_is_close);
    TEST(texts_can_set_the_scales);
    TEST(conversion_is_deterministic);
    TEST(the_host_rounding_does_not_matter);
    TEST(a_file_gives_the_same_bits);
    TEST(impossible_weights_are_refused);
    TEST(input_scales_are_optional);
    TEST(what_cannot_be_done_is_said);
}
