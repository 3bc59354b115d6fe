// Prints a hash of the embeddings of 200 texts, in f32, bf16 and int8: model, SIMD level, threads, batch, hash; and one of the
// weights after training:
// "trained", SIMD level, threads, tokens in flight, hash. usage: bits [MODEL.kpd [once]]
// once: the given model at the best level, 2 threads, one batch only, since code compiled without optimisation is slow.
#define KPD_IMPLEMENTATION
#define KPD_TRAIN_IMPLEMENTATION
#define KPD_THREADS
#include "../../kpd_train.h"

#ifndef FIRST_LEVEL   // emulated_machine.sh leaves out the scalar level, which would take an emulator hours
#define FIRST_LEVEL KPD_SIMD_SCALAR
#endif

enum { N = 200 };

// Texts of 1 to about 40 words from a small set.
static void make_texts(char text[N][512], kpd_input *in) {
    static const char *const words[] = {"wireless", "charger", "blue",        "case", "for",   "Surface",
                                        "Pro",      "4",       "caf\xC3\xA9", "16GB", "usb-c", "stand"};
    uint32_t state = 7;
    for (int i = 0; i < N; i++) {
        size_t at = 0;
        for (int n = 1 + (i * i) % 40; n; n--) {
            state = state * 1664525u + 1013904223u;
            at += (size_t)snprintf(text[i] + at, 512 - at, "%s ", words[(state >> 16) % (sizeof words / sizeof *words)]);
        }
        in[i] = kpd_input_str(text[i], NULL, NULL);
    }
}

// 2 layers of 64, pseudo-random weights.
static kpd_model *make_model(void) {
    static const char vocab[] = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]"
                                "\nwireless\ncharger\nblue\ncase\nfor\nsurface\npro\n4\ncafe\n16\n##gb\nus\n##b\n-\nc\nstand\n";
    static float w[64 * 256];
    kpd_tokenizer_desc td;
    kpd_model_desc d;
    kpd_tokenizer *t;
    kpd_model *m;
    kpd_tensor x;
    uint32_t state = 1;
    memset(&td, 0, sizeof td);
    memset(&d, 0, sizeof d);
    td.vocab = vocab; td.vocab_size = strlen(vocab);
    if (kpd_tokenizer_create(&td, &t, NULL)) return NULL;
    d.n_layers = 2; d.width = 64; d.n_heads = 4; d.n_positions = 64; d.tokenizer = t;
    if (kpd_model_create(&d, NULL, &m, NULL)) m = NULL;
    kpd_tokenizer_destroy(t);
    for (int32_t i = 0; m && kpd_model_tensor(m, i, &x); i++) {
        for (int32_t j = 0; j < x.rows * x.cols; j++) {   // exact products: the compiler may fuse what stands in this file
            float f = (float)(int32_t)((state = state * 1664525u + 1013904223u) >> 8) * (1.0f / (1 << 26));
            w[j] = f + (strstr(x.name, "Norm.weight") ? 1.0f : -0.125f);
        }
        if (kpd_model_set(m, x.name, w, NULL)) return NULL;
    }
    return m;
}

static int run(const char *name, const kpd_model *m, const kpd_input *in, kpd_simd level, int32_t threads, size_t batch,
               float *out) {
    size_t dim = (size_t)kpd_model_dim(m);
    kpd_session_desc d;
    kpd_session *s;
    kpd_pool *pool;
    kpd_error e;
    memset(&d, 0, sizeof d);
    if (kpd_pool_create(threads, NULL, &pool, &e)) return fprintf(stderr, "%s\n", e.message), 1;
    d.student = m; d.simd = level; d.parallel = kpd_pool_parallel(pool);
    if (kpd_session_create(&d, &s, &e)) return fprintf(stderr, "%s\n", e.message), 1;
    for (size_t i = 0; i < N; i += batch)
        if (kpd_embed(s, m, KPD_ITEM, in + i, batch, 0, out + i * dim, &e)) return fprintf(stderr, "%s\n", e.message), 1;
    printf("%s %s %d %d %016llX\n", name, kpd_simd_name(kpd_session_simd(s)), (int)threads, (int)batch,
           (unsigned long long)kpd__hash64(out, N * dim * sizeof *out));
    fflush(stdout);
    kpd_session_destroy(s);
    kpd_pool_destroy(pool);
    return 0;
}

// TRAINING  Masked words, clicks with MNR, labels with a contrastive loss and Pearson, dropout, AdamW.

static kpdt_dataset *make_rows(char text[N][512]) {
    static char table[N * 1200];
    kpdt_dataset_desc d;
    kpdt_dataset *x = NULL;
    size_t at = 0;
    memset(&d, 0, sizeof d);
    for (int i = 0; i < N; i++)
        at += (size_t)snprintf(table + at, sizeof table - at, "%.24s\t%.60s\t%d\t0.%d\n", text[(i * 7) % N], text[i], i % 2,
                               (i * 37) % 100);
    d.data = table; d.size = at;
    d.columns[0] = KPDT_COL_KEYPHRASE; d.columns[1] = KPDT_COL_TITLE; d.columns[2] = KPDT_COL_LABEL;
    d.columns[3] = KPDT_COL_SCORE;
    return kpdt_dataset_open(&d, &x, NULL) ? NULL : x;
}

static int train(const kpd_model *m, const kpdt_dataset *rows, kpd_simd level, int32_t threads, int32_t tokens) {
    kpdt_source sources[2];
    kpdt_trainer_desc d;
    kpdt_trainer *t;
    kpdt_report r;
    kpd_pool *pool;
    kpd_error e;
    memset(sources, 0, sizeof sources);
    memset(&d, 0, sizeof d);
    memset(&r, 0, sizeof r);
    if (kpd_pool_create(threads, NULL, &pool, &e)) return fprintf(stderr, "%s\n", e.message), 1;
    sources[0].data = sources[1].data = rows;
    sources[0].losses[0].loss = KPDT_MLM;
    sources[1].losses[0].loss = KPDT_CONTRASTIVE;
    sources[1].losses[1].loss = KPDT_PEARSON; sources[1].losses[1].teacher = KPDT_BY_SCORE;
    sources[1].losses[1].dims[0] = 64; sources[1].losses[1].dims[1] = 16;
    d.start = m; d.sources = sources; d.n_sources = 2; d.batch = 8; d.steps = 4; d.rate = 1e-3f; d.dropout = 0.1f;
    d.weight_decay = 0.01f; d.warmup = 0.2f; d.max_tokens = tokens; d.simd = level; d.parallel = kpd_pool_parallel(pool);
    if (kpdt_trainer_create(&d, &t, &e)) return fprintf(stderr, "%s\n", e.message), 1;
    while (!r.done)
        if (kpdt_trainer_step(t, &r, &e)) return fprintf(stderr, "%s\n", e.message), 1;
    printf("trained %s %d %d %016llX\n", kpd_simd_name(level), (int)threads, (int)tokens,
           (unsigned long long)kpd__hash64(t->net->w, t->net->n * sizeof(float)));
    fflush(stdout);
    kpdt_trainer_destroy(t);
    kpd_pool_destroy(pool);
    return 0;
}

static int train_all(const kpd_model *m, char text[N][512]) {
    kpdt_dataset *rows = make_rows(text);
    int failed = rows == NULL;
    for (int level = FIRST_LEVEL; level < KPD_SIMD_COUNT; level++)
        for (int32_t threads = 1; !failed && kpd_simd_available((kpd_simd)level) && threads <= 2; threads++)
            failed = train(m, rows, (kpd_simd)level, threads, threads == 1 ? 4096 : 256);
    kpdt_dataset_close(rows);
    return failed;
}

// Levels that multiply in bf16 promise their own bits only.
static const char *row_name(const char *name, const kpd_model *m, kpd_simd level) {
    static char own[64];
    bool multiplies = level == KPD_SIMD_AVX512BF16 || level == KPD_SIMD_AMX || level == KPD_SIMD_NEONI8MM;
    if (kpd_model_get_desc(m).dtype != KPD_BF16 || !multiplies) return name;
    snprintf(own, sizeof own, "%s-%s", name, kpd_simd_name(level));
    return own;
}

// The slowest level runs the tiny model only, and converted ones run with two of the four pairs of threads and batch.
static int run_all(const char *name, const kpd_model *m, const kpd_input *in, int first_level, float *out) {
    bool converted = kpd_model_get_desc(m).dtype != KPD_F32;
    for (int level = first_level; level < KPD_SIMD_COUNT; level++)
        for (int32_t threads = 1; kpd_simd_available((kpd_simd)level) && threads <= 2; threads++)
            for (size_t batch = 1; batch <= N; batch += N - 1)
                if ((!converted || (threads == 1) == (batch == N)) &&
                    run(row_name(name, m, (kpd_simd)level), m, in, (kpd_simd)level, threads, batch, out)) return 1;
    return 0;
}

// The tiny model as bf16 and int8: also the conversion must give the same bits.
static int run_converted(const char *name, const kpd_model *m, kpd_dtype type, bool wide, const kpd_input *in, float *out) {
    kpd_convert_desc d;
    kpd_model *to;
    int failed;
    memset(&d, 0, sizeof d);
    d.dtype = type; d.wide_qkv = wide;
    if (kpd_model_convert(m, &d, &to, NULL)) return 1;
    failed = run_all(name, to, in, FIRST_LEVEL, out);
    kpd_model_close(to);
    return failed;
}

int main(int argc, char **argv) {
    static char text[N][512];
    static kpd_input in[N];
    static float out[N * 384];
    kpd_model *m = make_model();
    kpd_error e;
    int failed;
    make_texts(text, in);
    if (!m) return fprintf(stderr, "no memory\n"), 1;
    failed = run_all("tiny", m, in, FIRST_LEVEL, out) || run_converted("tiny-bf16", m, KPD_BF16, false, in, out) ||
             run_converted("tiny-int8", m, KPD_INT8, false, in, out) ||
             run_converted("tiny-int8-wide", m, KPD_INT8, true, in, out) || train_all(m, text);
    kpd_model_close(m);
    if (failed || argc < 2) return failed;
    if (kpd_model_open(argv[1], NULL, &m, &e)) return fprintf(stderr, "%s\n", e.message), 1;
    if (argc > 2) failed = run("minilm", m, in, KPD_SIMD_AUTO, 2, N, out);
    else failed = run_all("minilm", m, in, KPD_SIMD_SCALAR + 1, out);
    kpd_model_close(m);
    return failed;
}
