// Prints hashes of what the library computes: what, SIMD level, threads, batch, the host's floating-point state, hash. What is
// the embeddings of 200 texts in f32, bf16 and int8 (a model's name), the weights after training ("trained"; the batch is
// tokens in flight), the hits of a tree, and in every state, at the best level on one thread: a conversion, a search,
// recommendations, losses, metrics. The longer ones take turns with the states. usage: bits [MODEL.kpd [once]]
// once: the given model at the best level, 2 threads, one batch only, since code compiled without optimisation is slow.
#define KPD_IMPLEMENTATION
#define KPD_TRAIN_IMPLEMENTATION
#define KPD_THREADS
#include "../../kpd_train.h"
#include <fenv.h>

#if !defined FE_UPWARD || defined __wasm__      // WebAssembly rounds to nearest, whatever its fenv.h names
#undef FE_UPWARD
#undef FE_DOWNWARD
#undef FE_TOWARDZERO
#define FE_UPWARD   FE_TONEAREST
#define FE_DOWNWARD FE_TONEAREST
#define FE_TOWARDZERO FE_TONEAREST
#endif
#if defined KPD__MXCSR || defined KPD__FPCR
#define FLUSHES true
#else
#define FLUSHES false
#endif
#ifndef QUICK
#define QUICK 0        // 1: half of the rows, for an emulator
#endif
#ifndef FIRST_LEVEL   // emulated_machine.sh leaves out the scalar level, which would take an emulator hours
#define FIRST_LEVEL KPD_SIMD_SCALAR
#endif

enum { N = 200 };

// THE HOST'S STATE: its rounding mode, and whether it flushes subnormal numbers, as programs linked with -ffast-math do.
static const struct { const char *name; int rounding; bool flush; } states[] = {
    {"nearest", FE_TONEAREST, false}, {"upward", FE_UPWARD, false}, {"downward", FE_DOWNWARD, false},
    {"toward-zero", FE_TOWARDZERO, false}, {"flush", FE_TONEAREST, FLUSHES}};
enum { STATES = (int)(sizeof states / sizeof *states) };

static uint64_t flush_bits(bool set, uint64_t bits) {   // those in force before
#if defined(KPD__MXCSR)
    uint64_t was = _mm_getcsr();
    if (set) _mm_setcsr((uint32_t)((was & ~(uint64_t)0x8040) | bits));
    return was & 0x8040;
#elif defined(KPD__FPCR)
    uint64_t was;
    __asm__ volatile("mrs %0, fpcr" : "=r"(was));
    if (set) __asm__ volatile("msr fpcr, %0" : : "r"((was & ~(UINT64_C(1) << 24)) | (bits ? UINT64_C(1) << 24 : 0)));
    return was & UINT64_C(1) << 24;
#else
    (void)set; (void)bits;
    return 0;
#endif
}

static void enter(int state) {
    fesetround(states[state].rounding);
    flush_bits(true, states[state].flush ? 0x8040 : 0);
}

// Back to the default; false when the calls have not left the state as it was.
static bool leave(int state) {
    bool kept = fegetround() == states[state].rounding && (flush_bits(false, 0) != 0) == states[state].flush;
    enter(0);
    if (!kept) fprintf(stderr, "%s: the state did not come back\n", states[state].name);
    return kept;
}

static kpd_status make_pool(int32_t threads, kpd_pool **pool, kpd_error *e) {
#ifdef __wasm__
    threads = 1;        // it has no more
#endif
    return kpd_pool_create(threads, NULL, pool, e);
}

static int next_state(void) {
    static int state;
    return state++ % STATES;
}

static void row(const char *what, kpd_simd level, int32_t threads, int32_t batch, int state, uint64_t hash) {
    printf("%s %s %d %d %s %016llX\n", what, kpd_simd_name(level), (int)threads, (int)batch, states[state].name,
           (unsigned long long)hash);
    fflush(stdout);
}

static void add(uint64_t *hash, const void *data, size_t size) { *hash = kpd__rotate(*hash, 1) ^ kpd__hash64(data, size); }

static uint32_t draw(uint32_t *state) { return *state = *state * 1664525u + 1013904223u; }

// Texts of 1 to about 40 words from a small set.
static void make_texts(char text[N][512], kpd_input *in) {
    static const char *const words[] = {"wireless", "charger", "blue",        "case", "for",   "Surface",
                                        "Pro",      "4",       "caf\xC3\xA9", "16GB", "usb-c", "stand"};
    uint32_t state = 7;
    for (int i = 0; i < N; i++) {
        size_t at = 0;
        for (int n = 1 + (i * i) % 40; n; n--) {
            at += (size_t)snprintf(text[i] + at, 512 - at, "%s ", words[(draw(&state) >> 16) % (sizeof words / sizeof *words)]);
        }
        in[i] = kpd_input_str(text[i], NULL, NULL);
    }
}

// 2 layers of 64, pseudo-random weights.
static kpd_model *make_model(kpd_kind kind) {
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
    d.kind = kind; d.n_layers = 2; d.width = 64; d.n_heads = 4; d.n_positions = 64; d.tokenizer = t;
    if (kpd_model_create(&d, &m, NULL)) m = NULL;
    kpd_tokenizer_destroy(t);
    for (int32_t i = 0; m && kpd_model_tensor(m, i, &x); i++) {
        for (int32_t j = 0; j < x.rows * x.cols; j++) {   // exact products: the compiler may fuse what stands in this file
            float f = (float)(int32_t)(draw(&state) >> 8) * (1.0f / (1 << 26));
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
    int state = next_state();
    memset(&d, 0, sizeof d);
    enter(state);
    if (make_pool(threads, &pool, &e)) return fprintf(stderr, "%s\n", e.message), 1;
    d.student = m; d.simd = level; d.parallel = *kpd_pool_parallel(pool);
    if (kpd_session_create(&d, &s, &e)) return fprintf(stderr, "%s\n", e.message), 1;
    for (size_t i = 0; i < N; i += batch)
        if (kpd_embed(s, m, KPD_ITEM, in + i, batch, 0, out + i * dim, &e)) return fprintf(stderr, "%s\n", e.message), 1;
    if (!leave(state)) return 1;
    row(name, kpd_session_simd(s), threads, (int32_t)batch, state, kpd__hash64(out, N * dim * sizeof *out));
    kpd_session_destroy(s);
    kpd_pool_destroy(pool);
    return 0;
}

// A tree of 3000 vectors around 60 centres, built and searched.
static int tree(kpd_metric metric, kpd_simd level, int32_t threads) {
    static float v[3000 * 48];
    static int64_t ids[3000];
    static kpd_hit hits[60 * 20];
    int32_t counts[60];
    kpd_index_desc d;
    kpd_session_desc sd;
    kpd_session *s;
    kpd_index *x;
    kpd_pool *pool;
    kpd_parallel p;
    kpd_error e;
    uint64_t hash = 0;
    uint32_t random = 1;
    int state = next_state();
    memset(&d, 0, sizeof d);
    memset(&sd, 0, sizeof sd);
    for (size_t i = 0; i < 3000 * 48; i++) {
        float f = (float)(int32_t)(draw(&random) >> 8) * (1.0f / (1 << 24)) - 0.5f;
        v[i] = i < 60 * 48 ? f : f + 0.5f * v[i % (60 * 48)];   // halves are exact: fusing changes nothing
    }
    for (int i = 0; i < 3000; i++) ids[i] = i;
    enter(state);
    if (make_pool(threads, &pool, &e)) return fprintf(stderr, "%s\n", e.message), 1;
    p = *kpd_pool_parallel(pool);
    d.dim = 48; d.metric = metric; d.kind = KPD_TREE; d.storage = KPD_INT8; d.simd = level;
    sd.max_dim = 48; sd.max_k = 20; sd.simd = level; sd.parallel = p;
    if (kpd_index_build(&d, &p, ids, v, 2900, &x, &e) || kpd_index_upsert(x, ids + 2800, v + 2800 * 48, 200, &e) ||
        kpd_session_create(&sd, &s, &e))
        return fprintf(stderr, "%s\n", e.message), 1;
    for (int i = 0; i < 2; i++) {
        kpd_search_desc q;
        memset(&q, 0, sizeof q);
        q.k = 20; q.recall = i ? 1.0f : 0.5f;
        if (kpd_index_search(s, x, v, 60, &q, hits, counts, &e)) return fprintf(stderr, "%s\n", e.message), 1;
        for (int j = 0; j < 60 * 20; j++) {
            add(&hash, &hits[j].id, sizeof hits->id);
            add(&hash, &hits[j].score, sizeof hits->score);
        }
    }
    if (!leave(state)) return 1;
    row(metric == KPD_COSINE ? "tree-cosine" : metric == KPD_DOT ? "tree-dot" : "tree-l2", kpd_session_simd(s), threads, 60,
        state, hash);
    kpd_session_destroy(s);
    kpd_index_destroy(x);
    kpd_pool_destroy(pool);
    return 0;
}

static int all_trees(void) {
    int failed = 0;
    for (int l = FIRST_LEVEL; l < KPD_SIMD_COUNT; l++)
        for (int m = KPD_COSINE; m <= KPD_L2; m++)
            for (int32_t threads = 1; threads <= 3; threads += 2)
                if (kpd_simd_available((kpd_simd)l)) failed |= tree((kpd_metric)m, (kpd_simd)l, threads);
    return failed;
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
    int state = next_state();
    memset(sources, 0, sizeof sources);
    memset(&d, 0, sizeof d);
    memset(&r, 0, sizeof r);
    enter(state);
    if (make_pool(threads, &pool, &e)) return fprintf(stderr, "%s\n", e.message), 1;
    sources[0].data = sources[1].data = rows;
    sources[0].losses[0].loss = KPDT_MLM;
    sources[1].losses[0].loss = KPDT_CONTRASTIVE;
    sources[1].losses[1].loss = KPDT_PEARSON; sources[1].losses[1].teacher = KPDT_BY_SCORE;
    sources[1].losses[1].dims[0] = 64; sources[1].losses[1].dims[1] = 16;
    d.start = m; d.sources = sources; d.n_sources = 2; d.batch = 8; d.steps = 4; d.rate = 1e-3f; d.dropout = 0.1f;
    d.weight_decay = 0.01f; d.warmup = 0.2f; d.max_tokens = tokens; d.simd = level; d.parallel = *kpd_pool_parallel(pool);
    if (kpdt_trainer_create(&d, &t, &e)) return fprintf(stderr, "%s\n", e.message), 1;
    while (!r.done)
        if (kpdt_trainer_step(t, &r, &e)) return fprintf(stderr, "%s\n", e.message), 1;
    if (!leave(state)) return 1;
    row("trained", level, threads, tokens, state, kpd__hash64(t->net->w, t->net->n * sizeof(float)));
    kpdt_trainer_destroy(t);
    kpd_pool_destroy(pool);
    return 0;
}

// MNR and its gradients, at two widths, of more vectors than the float path takes at once, some of them masked.
static int contrast(kpd_simd level, int32_t threads) {
    enum { ROWS = 80, COLUMNS = 530, D = 70 };
    static float a[ROWS * D], b[COLUMNS * D], work[2 * ROWS * COLUMNS], gradient[(ROWS + COLUMNS) * D], value;
    static uint8_t mask[ROWS * COLUMNS];
    kpdt_loss_desc d;
    kpdt_vectors v;
    kpd_pool *pool;
    kpd_error e;
    uint32_t random = 5;
    uint64_t hash = 0;
    int state = next_state();
    memset(&d, 0, sizeof d);
    memset(&v, 0, sizeof v);
    for (int i = 0; i < (ROWS + COLUMNS) * D; i++)          // exact, as above
        *(i < ROWS * D ? &a[i] : &b[i - ROWS * D]) = (float)((int32_t)(draw(&random) >> 8) - (1 << 23)) * (1.0f / (1 << 24));
    for (int i = 0; i < ROWS * COLUMNS; i++) mask[i] = i % 7 || i / COLUMNS == i % COLUMNS ? 0 : (uint8_t)(1 + i % 4);
    if (make_pool(threads, &pool, &e)) return fprintf(stderr, "%s\n", e.message), 1;
    d.dims[0] = D; d.dims[1] = 16;
    v.a = a; v.b = b; v.na = ROWS; v.nb = COLUMNS; v.dim = D; v.mask = mask; v.work = work;
    v.da = gradient; v.db = gradient + ROWS * D;
    v.simd = level; v.parallel = *kpd_pool_parallel(pool);
    enter(state);
    for (d.loss = KPDT_MNR; d.loss <= KPDT_MNR_SYMMETRIC; d.loss = (kpdt_loss)(d.loss + 1)) {
        memset(gradient, 0, sizeof gradient);
        if (kpdt_loss_vectors(&d, &v, &value, &e)) return fprintf(stderr, "%s\n", e.message), 1;
        add(&hash, &value, sizeof value);
        add(&hash, gradient, sizeof gradient);
    }
    if (!leave(state)) return 1;
    row("mnr", level, threads, ROWS, state, hash);
    kpd_pool_destroy(pool);
    return 0;
}

static int train_all(const kpd_model *m, char text[N][512]) {
    kpdt_dataset *rows = make_rows(text);
    int failed = rows == NULL;
    for (int level = FIRST_LEVEL; level < KPD_SIMD_COUNT; level++)
        for (int32_t threads = QUICK ? 2 : 1; !failed && kpd_simd_available((kpd_simd)level) && threads <= 2; threads++)
            failed = train(m, rows, (kpd_simd)level, threads, threads == 1 ? 4096 : 256) || contrast((kpd_simd)level, threads);
    kpdt_dataset_destroy(rows);
    return failed;
}

// Levels that multiply in bf16 promise their own bits only.
static const char *row_name(const char *name, const kpd_model *m, kpd_simd level) {
    static char own[64];
    bool multiplies = level == KPD_SIMD_AVX512BF16 || level == KPD_SIMD_AMX || level == KPD_SIMD_NEONI8MM;
    if (kpd_model_get_desc(m)->dtype != KPD_BF16 || !multiplies) return name;
    snprintf(own, sizeof own, "%s-%s", name, kpd_simd_name(level));
    return own;
}

// The slowest level runs the tiny model only. Converted ones, or all if QUICK, run with half of the pairs of threads and batch.
static int run_all(const char *name, const kpd_model *m, const kpd_input *in, int first_level, float *out) {
    bool half = QUICK || kpd_model_get_desc(m)->dtype != KPD_F32;
    for (int level = first_level; level < KPD_SIMD_COUNT; level++)
        for (int32_t threads = 1; kpd_simd_available((kpd_simd)level) && threads <= 2; threads++)
            for (size_t batch = 1; batch <= N; batch += N - 1)
                if ((!half || (threads == 1) == (batch == N)) &&
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
    kpd_model_destroy(to);
    return failed;
}

// EVERY STATE  What takes little time. Numbers are made before the state is entered; some are subnormal.

static float numbers[4][256];           // in [-.5, .5); [1]: in [0, 1); [2]: 0 or 1; [3]: as [0], times 2^-130

static void make_numbers(void) {
    uint32_t state = 3;
    for (int i = 0; i < 256; i++) {
        numbers[1][i] = (float)(draw(&state) >> 8) * (1.0f / (1 << 24));
        numbers[0][i] = numbers[1][i] - 0.5f;
        numbers[2][i] = (float)(state >> 12 & 1);
        numbers[3][i] = numbers[0][i] * (1.1754944e-38f / 16);   // rounded here, once
    }
}

static bool convert_in(int state, const kpd_model *m, const kpd_input *in, uint64_t *hash) {
    static float w[64 * 256];
    kpd_convert_desc d;
    kpd_model *to;
    kpd_tensor t;
    bool ok = true;
    memset(&d, 0, sizeof d);
    d.dtype = KPD_INT8; d.texts = in; d.n_texts = 16;
    enter(state);
    if (kpd_model_convert(m, &d, &to, NULL)) return false;
    add(hash, to->file.data, to->file.size);
    for (int32_t i = 0; ok && kpd_model_tensor(to, i, &t); i++) {
        ok = !kpd_model_get(to, t.name, w, NULL);
        add(hash, w, (size_t)t.rows * (size_t)t.cols * sizeof *w);
    }
    kpd_model_destroy(to);
    return leave(state) && ok;
}

// Scores of dot and L2 that a flush would make 0, and then sort by id.
static bool search_in(int state, const kpd_model *m, kpd_metric metric, uint64_t *hash) {
    static const int64_t ids[32] = {5, 3, 1, 8};
    kpd_index_desc d;
    kpd_session_desc sd;
    kpd_session *s;
    kpd_index *x;
    kpd_hit hits[4 * 10];
    int32_t counts[4];
    int64_t id[32];
    bool ok;
    memset(&d, 0, sizeof d);
    memset(&sd, 0, sizeof sd);
    d.dim = 8; d.metric = metric; sd.student = m;
    for (int i = 0; i < 32; i++) id[i] = ids[i] + 100 * i;
    enter(state);
    if (kpd_index_create(&d, &x, NULL) || kpd_session_create(&sd, &s, NULL)) return false;
    ok = !kpd_index_upsert(x, id, numbers[metric == KPD_COSINE ? 0 : 3], 32, NULL) &&
         !kpd_index_search(s, x, numbers[0] + 64, 4, NULL, hits, counts, NULL);
    for (int i = 0; ok && i < 4; i++)
        for (int k = 0; k < counts[i]; k++) {
            add(hash, &hits[i * 10 + k].id, sizeof hits->id);
            add(hash, &hits[i * 10 + k].score, sizeof hits->score);
        }
    kpd_session_destroy(s);
    kpd_index_destroy(x);
    return leave(state) && ok;
}

static bool phrase(void *user, int64_t id, kpd_text *out) {
    const kpd_input *in = (const kpd_input *)user;
    *out = in[id].part[0];
    return true;
}

static bool recommend_in(int state, const kpd_model *m, const kpd_model *assistant, const kpd_input *in, uint64_t *hash) {
    static float v[64 * 64];
    kpd_recommendation out[8 * 10];
    int32_t counts[8];
    int64_t ids[64];
    kpd_index_desc xd;
    kpd_session_desc sd;
    kpd_recommend_desc d;
    kpd_session *s;
    kpd_index *x;
    bool ok;
    memset(&xd, 0, sizeof xd);
    memset(&sd, 0, sizeof sd);
    memset(&d, 0, sizeof d);
    for (int i = 0; i < 64; i++) ids[i] = i;
    xd.dim = 64; sd.student = m; sd.assistant = assistant;
    enter(state);
    if (kpd_index_create(&xd, &x, NULL) || kpd_session_create(&sd, &s, NULL)) return false;
    d.student = m; d.assistant = assistant; d.index = x; d.lookup = phrase; d.lookup_user = (void *)(uintptr_t)in;
    d.rank_by_relevance = true;
    ok = !kpd_embed(s, m, KPD_KEYPHRASE, in, 64, 0, v, NULL) && !kpd_index_upsert(x, ids, v, 64, NULL) &&
         !kpd_recommend(s, &d, in + 100, 8, out, counts, NULL);
    for (int i = 0; ok && i < 8; i++) add(hash, out + i * 10, (size_t)counts[i] * sizeof *out);
    kpd_session_destroy(s);
    kpd_index_destroy(x);
    return leave(state) && ok;
}

static bool pairs_in(int state, kpdt_loss loss, uint64_t *hash) {
    float value = 0, ds[64];
    int32_t query[64];
    kpdt_loss_desc d;
    bool ok = true;
    memset(&d, 0, sizeof d);
    d.loss = loss; d.weight = 0.3f;
    for (int i = 0; i < 64; i++) query[i] = i / 8;
    enter(state);
    for (int labels = 1; ok && labels <= (loss == KPDT_ONLINE_CONTRASTIVE ? 1 : 2); labels++) {
        ok = !kpdt_loss_pairs(&d, numbers[0], numbers[labels == 1 ? 2 : 1], query, 64, &value, ds, NULL);
        add(hash, &value, sizeof value);
        add(hash, ds, sizeof ds);
    }
    return leave(state) && ok;
}

static bool vectors_in(int state, kpdt_similarity similarity, const float *at, uint64_t *hash) {
    float value = 0, work[2 * 8 * 8], gradient[2][8 * 16];
    kpdt_loss_desc d;
    kpdt_vectors v;
    bool ok;
    memset(&d, 0, sizeof d);
    memset(&v, 0, sizeof v);
    memset(gradient, 0, sizeof gradient);
    d.loss = KPDT_MNR_SYMMETRIC; d.similarity = similarity; d.dims[0] = 16; d.dims[1] = 6; d.dim_weights[1] = 0.7f;
    v.a = at; v.b = at + 128; v.na = v.nb = 8; v.dim = 16; v.work = work; v.da = gradient[0]; v.db = gradient[1];
    v.log_q = numbers[0];
    enter(state);
    ok = !kpdt_loss_vectors(&d, &v, &value, NULL);
    add(hash, &value, sizeof value);
    add(hash, gradient, sizeof gradient);
    return leave(state) && ok;
}

static bool heads_in(int state, uint64_t *hash) {
    static const int32_t label[8] = {0, 1, 2, 2, 1, 0, 1, 0};
    float value[2] = {0, 0}, d[8 * 3], du[8 * 4], dv[8 * 4], dw[3 * 12], dbias[3];
    kpdt_softmax_head h;
    bool ok;
    memset(&h, 0, sizeof h);
    memset(du, 0, sizeof du); memset(dv, 0, sizeof dv); memset(dw, 0, sizeof dw); memset(dbias, 0, sizeof dbias);
    h.u = numbers[0]; h.v = numbers[1]; h.w = numbers[0] + 32; h.bias = numbers[0] + 100; h.label = label; h.B = 8;
    h.dim = 4; h.labels = 3; h.du = du; h.dv = dv; h.dw = dw; h.dbias = dbias;
    enter(state);
    ok = !kpdt_cross_entropy(numbers[0], label, 8, 3, &value[0], d, NULL) && !kpdt_softmax_head_loss(&h, &value[1], NULL);
    add(hash, value, sizeof value);
    add(hash, d, sizeof d); add(hash, du, sizeof du); add(hash, dv, sizeof dv); add(hash, dw, sizeof dw);
    add(hash, dbias, sizeof dbias);
    return leave(state) && ok;
}

static bool metrics_in(int state, uint64_t *hash) {
    static const char table[] = "a\t0.1\t-1e-3\nb\t1e-40\t3.3333333333\nc\t.7\t1e30\n";
    uint8_t y[64];
    kpdt_classification c;
    kpdt_ranking r;
    kpdt_interval interval;
    kpdt_bootstrap_desc b;
    kpdt_auction_row rows[32];
    kpdt_auction_result auction;
    kpdt_dataset_desc dd;
    kpdt_dataset *data;
    kpdt_row x;
    double number[2] = {0, 0};
    float value[3];
    bool ok;
    memset(&b, 0, sizeof b);
    memset(&c, 0, sizeof c);
    memset(rows, 0, sizeof rows);
    memset(&dd, 0, sizeof dd);
    for (int i = 0; i < 64; i++) y[i] = numbers[2][i] > 0;
    for (int i = 0; i < 32; i++) { rows[i].survivors = i % 7; rows[i].passed = i % 7 / 2; rows[i].passed_at[0] = i % 3; }
    b.a = numbers[0]; b.b = numbers[1]; b.n = 64; b.runs = 2; b.resamples = 200;
    dd.data = table; dd.size = strlen(table);
    dd.columns[0] = KPDT_COL_KEYPHRASE; dd.columns[1] = KPDT_COL_LABEL; dd.columns[2] = KPDT_COL_SCORE;
    enter(state);
    ok = !kpdt_classify(numbers[3], y, 64, NULL, NULL, &c, NULL) &&
         !kpdt_spearman(numbers[3], numbers[1], 64, NULL, &number[0], NULL) && !kpdt_bootstrap(&b, &interval, NULL) &&
         !kpdt_auction_total(rows, 32, &auction, NULL) && !kpdt_dataset_open(&dd, &data, NULL);
    number[1] = kpdt_pearson(numbers[3], numbers[1], 64);
    kpdt_rank(numbers[1], 20, 10, NULL, 12, &r);
    for (int i = 0; ok && i < 3; i++) {
        ok = !kpdt_dataset_get(data, i, &x, NULL);
        add(hash, &x.label, sizeof x.label);
        add(hash, &x.score, sizeof x.score);
    }
    if (ok) kpdt_dataset_destroy(data);
    for (int i = 0; i < 64; i++) {
        value[0] = kpd_sigmoid(numbers[0][i]);
        value[1] = kpd_cosine(numbers[0] + i, numbers[1] + i, 40);
        value[2] = kpd_sigmoid(numbers[3][i]);
        add(hash, value, sizeof value);
    }
    add(hash, &c.threshold, sizeof c.threshold);
    add(hash, &c.f1, sizeof c - offsetof(kpdt_classification, f1));
    add(hash, &r, sizeof r); add(hash, &interval, sizeof interval); add(hash, number, sizeof number);
    add(hash, &auction, sizeof auction);
    return leave(state) && ok;
}

static int in_every_state(const kpd_model *m, const kpd_input *in) {
    kpd_model *assistant = make_model(KPD_CROSS_ENCODER);
    bool ok = assistant != NULL;
    make_numbers();
    for (int i = 0; ok && i < STATES; i++) {
        uint64_t converted = 0, found = 0, recommended = 0, losses = 0, metrics = 0;
        ok = convert_in(i, m, in, &converted) && recommend_in(i, m, assistant, in, &recommended) && metrics_in(i, &metrics) &&
             heads_in(i, &losses);
        for (int k = KPD_COSINE; ok && k <= KPD_L2; k++) ok = search_in(i, m, (kpd_metric)k, &found);
        for (int k = KPDT_CONTRASTIVE; ok && k <= KPDT_RANKNET; k++) ok = pairs_in(i, (kpdt_loss)k, &losses);
        for (int k = KPDT_SIM_COSINE; ok && k <= KPDT_SIM_ANGLE; k++)
            ok = vectors_in(i, (kpdt_similarity)k, numbers[0], &losses) &&
                 vectors_in(i, (kpdt_similarity)k, numbers[3], &losses);
        if (!ok) break;
        row("converted", KPD_SIMD_AUTO, 1, 16, i, converted);
        row("found", KPD_SIMD_AUTO, 1, 4, i, found);
        row("recommended", KPD_SIMD_AUTO, 1, 8, i, recommended);
        row("losses", KPD_SIMD_AUTO, 1, 64, i, losses);
        row("metrics", KPD_SIMD_AUTO, 1, 64, i, metrics);
    }
    kpd_model_destroy(assistant);
    return !ok;
}

int main(int argc, char **argv) {
    static char text[N][512];
    static kpd_input in[N];
    static float out[N * 384];
    kpd_model *m = make_model(KPD_BI_ENCODER);
    kpd_error e;
    int failed;
    make_texts(text, in);
    if (!m) return fprintf(stderr, "no memory\n"), 1;
    failed = run_all("tiny", m, in, FIRST_LEVEL, out) || run_converted("tiny-bf16", m, KPD_BF16, false, in, out) ||
             run_converted("tiny-int8", m, KPD_INT8, false, in, out) ||
             run_converted("tiny-int8-wide", m, KPD_INT8, true, in, out) || train_all(m, text) || in_every_state(m, in) ||
             all_trees();
    kpd_model_destroy(m);
    if (failed || argc < 2) return failed;
    if (kpd_model_open(argv[1], NULL, &m, &e)) return fprintf(stderr, "%s\n", e.message), 1;
    if (argc > 2) failed = run("minilm", m, in, KPD_SIMD_AUTO, 2, N, out);
    else failed = run_all("minilm", m, in, KPD_SIMD_SCALAR + 1, out);
    kpd_model_destroy(m);
    return failed;
}
