// Masked-language modelling, by labels and after a teacher, and random starts through the API: the same bits at every level and
// number of tasks, learning, the head in files, what a start holds, refusals. tests/test_layers.c has gradients and masks.
#include "../kpd_train.h"
#include "test.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WORDS = 300, TEXTS = 100, LENGTH = 14, HIDDEN = 20 };   // over 168 masked tokens, and 128 columns of logits

// "[PAD] ... [MASK] w0 w1 ..."; without the mask token if it is not wanted.
static kpd_tokenizer *tokenizer(bool mask) {
    static char vocab[WORDS * 8];
    kpd_tokenizer_desc d;
    kpd_tokenizer *t = NULL;
    strcpy(vocab, mask ? "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n" : "[PAD]\n[UNK]\n[CLS]\n[SEP]\n");
    for (int i = 0; i < WORDS; i++) snprintf(vocab + strlen(vocab), 8, "w%d\n", i);
    memset(&d, 0, sizeof d);
    d.vocab = vocab; d.vocab_size = strlen(vocab);
    CHECK_OK(kpd_tokenizer_create(&d, &t, NULL));
    if (!t) abort();
    return t;
}

static kpd_model_desc shape_of(const kpd_tokenizer *t, kpd_kind kind) {
    kpd_model_desc d;
    memset(&d, 0, sizeof d);
    d.kind = kind; d.width = HIDDEN; d.n_heads = 2; d.ffn_width = 30; d.n_layers = 2; d.n_positions = 24; d.tokenizer = t;
    return d;
}

static kpd_model *start(kpd_kind kind, const kpd_model *from, uint64_t seed, bool separate) {
    kpd_tokenizer *t = tokenizer(true);
    kpd_model_desc d = shape_of(t, kind);
    kpd_model *m = NULL;
    d.separate_towers = separate;
    CHECK_OK(kpdt_model_start(&d, from, NULL, seed, &m, NULL));
    kpd_tokenizer_destroy(t);
    if (!m) abort();
    return m;
}

static float *tensor(const kpd_model *m, const char *name, size_t *n) {
    kpd_tensor t;
    float *w = NULL;
    for (int32_t i = 0; kpd_model_tensor(m, i, &t); i++) {
        if (strcmp(t.name, name)) continue;
        *n = (size_t)t.rows * (size_t)t.cols;
        w = (float *)malloc(*n * sizeof *w);
        CHECK_OK(kpd_model_get(m, name, w, NULL));
    }
    if (!w) abort();
    return w;
}

static bool same(const kpd_model *a, const kpd_model *b, const char *name) {
    size_t n = 0, m = 0;
    float *x = tensor(a, name, &n), *y = tensor(b, name, &m);
    bool equal = n == m && !memcmp(x, y, n * sizeof *x);
    free(x); free(y);
    return equal;
}

static uint64_t hash_of(const float *x, size_t n) {   // FNV-1a
    uint64_t h = UINT64_C(14695981039346656037);
    for (size_t i = 0; i < n * sizeof *x; i++) h = (h ^ ((const uint8_t *)x)[i]) * UINT64_C(1099511628211);
    return h;
}

// START -------------------------------------------------------------------------------------------------------------

static void weights_of_a_start_are_normal(void) {
    kpd_model *m = start(KPD_BI_ENCODER, NULL, 3, false), *other = start(KPD_BI_ENCODER, NULL, 4, false);
    double mean = 0, square = 0, cube = 0, fourth = 0;
    size_t n = 0, within = 0;
    float *w = tensor(m, "embeddings.word_embeddings.weight", &n), *v;
    for (size_t i = 0; i < n; i++) {
        double x = (double)w[i] / .02;
        mean += x / (double)n; square += x * x / (double)n; cube += x * x * x / (double)n; fourth += x * x * x * x / (double)n;
        within += fabs(x) < 1;
    }
    CHECK_NEAR(mean, 0, .04);
    CHECK_NEAR(square, 1, .05);
    CHECK_NEAR(cube, 0, .12);
    CHECK_NEAR(fourth, 3, .3);
    CHECK_NEAR((double)within / (double)n, .6827, .02);
    CHECK_THAT(hash_of(w, n) == UINT64_C(0x23EDD577A4A9A6F7), "the hash is %016llx: this compiler gives other bits",
               (unsigned long long)hash_of(w, n));
    free(w);
    w = tensor(m, "encoder.layer.0.attention.self.query.weight", &n);
    v = tensor(m, "encoder.layer.1.attention.self.query.weight", &n);
    CHECK(w[0] != v[0] && w[1] != v[1]);   // each tensor has its own numbers
    CHECK(!same(m, other, "encoder.layer.0.output.dense.weight"));
    free(w); free(v);
    w = tensor(m, "encoder.layer.1.output.LayerNorm.weight", &n);
    v = tensor(m, "encoder.layer.1.output.dense.bias", &n);
    for (size_t i = 0; i < n; i++) CHECK(w[i] == 1 && v[i] == 0);
    free(w); free(v);
    kpd_model_destroy(m); kpd_model_destroy(other);
}

static void a_start_has_the_same_bits_again(void) {
    kpd_model *a = start(KPD_BI_ENCODER, NULL, 9, true), *b = start(KPD_BI_ENCODER, NULL, 9, true);
    kpd_tensor t;
    for (int32_t i = 0; kpd_model_tensor(a, i, &t); i++) CHECK_THAT(same(a, b, t.name), "%s", t.name);
    kpd_model_destroy(a); kpd_model_destroy(b);
}

static void a_cross_encoder_starts_from_a_bi_encoder(void) {
    kpd_model *bi = start(KPD_BI_ENCODER, NULL, 1, false), *cross = start(KPD_CROSS_ENCODER, bi, 2, false);
    kpd_model *alone = start(KPD_CROSS_ENCODER, NULL, 2, false), *again;
    kpd_model_desc d = *kpd_model_get_desc(bi);
    kpd_tensor t;
    size_t n = 0, copied = 0;
    float *w = tensor(cross, "classifier.weight", &n);
    for (int32_t i = 0; kpd_model_tensor(bi, i, &t); i++, copied++) CHECK_THAT(same(bi, cross, t.name), "%s", t.name);
    CHECK(copied == 5 + 2 * 16);
    CHECK(n == HIDDEN && w[0] != 0);
    CHECK(same(cross, alone, "classifier.weight") && same(cross, alone, "pooler.dense.weight"));
    CHECK(!same(cross, alone, "embeddings.word_embeddings.weight"));
    free(w);
    d.ffn_width = 31;   // tensors of another shape are not copied
    CHECK_OK(kpdt_model_start(&d, bi, NULL, 7, &again, NULL));
    CHECK(same(again, bi, "encoder.layer.0.output.dense.bias") && same(again, bi, "embeddings.word_embeddings.weight"));
    w = tensor(again, "encoder.layer.0.intermediate.dense.weight", &n);
    CHECK(n == 31 * HIDDEN && w[0] != 0);
    free(w);
    kpd_model_destroy(bi); kpd_model_destroy(cross); kpd_model_destroy(alone); kpd_model_destroy(again);
}

static void separate_towers_start_from_a_shared_one(void) {
    kpd_model *bi = start(KPD_BI_ENCODER, NULL, 1, false), *two = start(KPD_BI_ENCODER, bi, 2, true);
    kpd_model *apart = start(KPD_BI_ENCODER, NULL, 3, true), *copy = start(KPD_BI_ENCODER, apart, 4, true);
    kpd_tensor t;
    for (int32_t i = 0; kpd_model_tensor(bi, i, &t); i++) {
        char name[128];
        size_t n = 0, m = 0;
        float *x, *y;
        snprintf(name, sizeof name, "keyphrase.%s", t.name);
        x = tensor(bi, t.name, &n);
        y = tensor(two, name, &m);
        CHECK_THAT(n == m && !memcmp(x, y, n * sizeof *x) && same(bi, two, t.name), "%s", name);
        CHECK_THAT(same(apart, copy, name), "%s", name);        // its own namesake comes first
        free(x); free(y);
    }
    kpd_model_destroy(bi); kpd_model_destroy(two); kpd_model_destroy(apart); kpd_model_destroy(copy);
}

// Layers 0, 1, 2 of the small one are 1, 0, 1 of the large, in both towers; all else is as it was.
static void layers_start_from_chosen_ones(void) {
    static const int32_t layers[3] = {1, 0, 1};
    kpd_model *large = start(KPD_BI_ENCODER, NULL, 1, false), *m = NULL;
    kpd_model_desc d = *kpd_model_get_desc(large);
    kpd_tensor t;
    int others = 0;
    d.n_layers = 3; d.separate_towers = true;
    CHECK_OK(kpdt_model_start(&d, large, layers, 2, &m, NULL));
    for (int32_t i = 0; kpd_model_tensor(m, i, &t); i++) {
        const char *own = strncmp(t.name, "keyphrase.", 10) ? t.name : t.name + 10;
        char name[128];
        size_t n = 0, k = 0;
        float *x, *y;
        int layer = -1, read = 0;
        sscanf(own, "encoder.layer.%d%n", &layer, &read);
        if (layer < 0) snprintf(name, sizeof name, "%s", own);
        else snprintf(name, sizeof name, "encoder.layer.%d%s", (int)layers[layer], own + read);
        others += layer < 0;
        x = tensor(m, t.name, &n);
        y = tensor(large, name, &k);
        CHECK_THAT(n == k && !memcmp(x, y, n * sizeof *x), "%s is not %s", t.name, name);
        free(x); free(y);
    }
    CHECK_INT(others, 10);
    kpd_model_destroy(large); kpd_model_destroy(m);
}

static void *refuse(void *user, size_t size) { return (*(int *)user)-- > 0 ? malloc(size) : NULL; }
static void give_back(void *user, void *ptr, size_t size) { (void)user; (void)size; free(ptr); }

static void wrong_starts_are_refused(void) {
    kpd_tokenizer *t = tokenizer(true);
    kpd_model_desc d = shape_of(t, KPD_BI_ENCODER);
    kpd_model *m = NULL;
    kpd_allocator a;
    int refused = 0, left;
    int32_t layers[2] = {1, 0};
    kpd_model *from = start(KPD_BI_ENCODER, NULL, 1, false);
    kpd_error e;
    d.n_heads = 3;   // 20 is no multiple
    CHECK_STATUS(kpdt_model_start(&d, NULL, NULL, 1, &m, NULL), KPD_ERR_ARGUMENT);
    d.n_heads = 2;
    CHECK_STATUS(kpdt_model_start(&d, NULL, layers, 1, &m, &e), KPD_ERR_ARGUMENT);
    for (layers[1] = -1; layers[1] < 3; layers[1] += 3) {
        CHECK_STATUS(kpdt_model_start(&d, from, layers, 1, &m, &e), KPD_ERR_ARGUMENT);
        CHECK_INT(e.where, 1);
        CHECK_THAT(strstr(e.message, "of another model, which has 2") != NULL, "%s", e.message);
    }
    kpd_model_destroy(from);
    a.alloc = refuse; a.free = give_back; a.user = &left;
    d.allocator = a;
    for (; !m && refused < 100; refused += !m) {
        left = refused;
        CHECK(kpdt_model_start(&d, NULL, NULL, 1, &m, NULL) == (m ? KPD_OK : KPD_ERR_MEMORY));
    }
    CHECK(m && refused > 2);
    left = 100;
    kpd_model_destroy(m);
    kpd_tokenizer_destroy(t);
}

// PHASE -------------------------------------------------------------------------------------------------------------

// A host's threads in the worst order.
static void backwards(void *user, int32_t n, kpd_task_t *task, void *arg) {
    (void)user;
    while (n--) task(arg, n);
}

static kpdt_trainer_desc trainer_desc(const kpd_model *m) {
    kpdt_trainer_desc d;
    memset(&d, 0, sizeof d);
    d.start = m; d.steps = 60; d.rate = 0.02f; d.max_texts = TEXTS; d.mlm = true; d.seed = d.weights_seed = 6;
    return d;
}

// Texts of two words by turns: the others say which one is missing.
static const kpd_input *texts(void) {
    static char text[TEXTS][LENGTH * 8];
    static kpd_input in[TEXTS];
    uint32_t state = 1;
    for (size_t i = 0; i < TEXTS; i++) {
        uint32_t word;
        text[i][0] = 0;
        state = state * 1664525u + 1013904223u;
        word = (state >> 8) % 30;
        for (size_t j = 0; j < 1 + i % LENGTH; j++, word ^= 1)
            snprintf(text[i] + strlen(text[i]), 8, "w%u ", (unsigned)word);
        in[i] = kpd_input_str(text[i], NULL, NULL);
    }
    return in;
}

// Hash of the gradient of two batches, the second after a step.
static uint64_t bits_of(const kpd_model *m, kpd_simd level, int32_t n_tasks, float *loss) {
    kpdt_trainer_desc d = trainer_desc(m);
    kpdt_trainer *t = NULL;
    uint64_t hash = 0;
    d.simd = level; d.dropout = 0.1f;
    d.parallel.run = backwards; d.parallel.n_threads = n_tasks;
    if (!CHECK_OK(kpdt_trainer_create(&d, &t, NULL))) abort();
    for (int step = 0; step < 2; step++) {
        size_t n = 0;
        const float *g;
        CHECK_OK(kpdt_trainer_mlm(t, KPD_ITEM, texts(), TEXTS, loss, NULL));
        CHECK_OK(kpdt_trainer_mlm(t, KPD_KEYPHRASE, texts(), TEXTS / 2, &loss[1], NULL));   // the same weights
        g = kpdt_trainer_gradient(t, &n);
        hash = hash * 31 + hash_of(g, n);
        CHECK_OK(kpdt_trainer_apply(t, NULL, NULL));
    }
    kpdt_trainer_destroy(t);
    return hash;
}

static void bits_do_not_depend_on_level_or_tasks(void) {
    kpd_model *m = start(KPD_BI_ENCODER, NULL, 1, false);
    float want[2] = {0, 0}, got[2] = {0, 0};
    uint64_t hash = bits_of(m, KPD_SIMD_SCALAR, 1, want);
    CHECK_THAT(hash == UINT64_C(0x83C8DEC0591B841B), "the hash is %016llx: this compiler gives other bits", (unsigned long long)hash);
    CHECK_NEAR(want[0], log(WORDS + 5), .2);   // a random head knows nothing
    for (int l = KPD_SIMD_SCALAR; l < KPD_SIMD_COUNT; l++)
        for (int32_t n = 1; kpd_simd_available((kpd_simd)l) && n <= 3; n++) {
            CHECK_THAT(bits_of(m, (kpd_simd)l, n, got) == hash, "level %s, %d tasks", kpd_simd_name((kpd_simd)l), (int)n);
            CHECK(got[0] == want[0] && got[1] == want[1]);
        }
    kpd_model_destroy(m);
}

static int n_of_head(const kpd_model *m) {
    kpd_tensor t;
    int n = 0;
    for (int32_t i = 0; kpd_model_tensor(m, i, &t); i++) n += !strncmp(t.name, "mlm.", 4);
    return n;
}

// A model that has learned the texts by so many steps, with its head.
static kpd_model *taught(const kpd_model *from, int steps) {
    kpdt_trainer_desc d = trainer_desc(from);
    kpdt_trainer *t = NULL;
    kpd_model *m = NULL;
    float loss = 0;
    d.warmup = 0.1f;
    if (!CHECK_OK(kpdt_trainer_create(&d, &t, NULL))) abort();
    for (int step = 0; step < steps; step++) {
        CHECK_OK(kpdt_trainer_mlm(t, KPD_ITEM, texts(), TEXTS, &loss, NULL));
        CHECK_OK(kpdt_trainer_apply(t, NULL, NULL));
    }
    if (!CHECK_OK(kpdt_trainer_model(t, false, &m, NULL))) abort();
    kpdt_trainer_destroy(t);
    return m;
}

static float loss_of(const kpd_model *m) {     // of one and the same masks
    kpdt_trainer_desc d = trainer_desc(m);
    kpdt_trainer *t = NULL;
    float loss = 0;
    if (!CHECK_OK(kpdt_trainer_create(&d, &t, NULL))) abort();
    CHECK_OK(kpdt_trainer_mlm(t, KPD_ITEM, texts(), TEXTS, &loss, NULL));
    kpdt_trainer_destroy(t);
    return loss;
}

static void a_head_goes_on_where_it_was(void) {
    kpd_model *m = start(KPD_BI_ENCODER, NULL, 1, false), *after = taught(m, 40), *opened = NULL, *bytes = NULL, *bare = NULL;
    kpd_convert_desc c;
    kpd_model_desc d;
    kpd_error e;
    float loss = loss_of(after);
    CHECK_OK(kpd_model_save(after, "build/tmp/mlm_head.kpd", NULL));
    if (!CHECK_OK(kpd_model_open("build/tmp/mlm_head.kpd", NULL, &opened, &e))) abort();
    CHECK_OK(kpd_model_verify(opened, &e));
    CHECK(kpd_model_get_desc(opened)->mlm_head && n_of_head(opened) == 5 && n_of_head(m) == 0);
    CHECK(loss < .8f * loss_of(m) && loss_of(opened) == loss);
    CHECK(kpd_model_fingerprint(opened, KPD_ITEM) == kpd_model_fingerprint(after, KPD_ITEM));
    memset(&c, 0, sizeof c);
    c.dtype = KPD_INT8;                                 // which serves only
    CHECK_OK(kpd_model_convert(opened, &c, &bytes, &e));
    CHECK(!kpd_model_get_desc(bytes)->mlm_head && n_of_head(bytes) == 0);
    d = *kpd_model_get_desc(opened);
    d.mlm_head = false;
    CHECK_OK(kpdt_model_start(&d, opened, NULL, 1, &bare, &e));
    CHECK(n_of_head(bare) == 0 && same(bare, opened, "embeddings.word_embeddings.weight"));
    CHECK(kpd_model_fingerprint(bare, KPD_ITEM) == kpd_model_fingerprint(opened, KPD_ITEM));    // no vector depends on the head
    d.mlm_head = true; d.kind = KPD_CROSS_ENCODER;
    kpd_model_destroy(bare);
    bare = NULL;
    CHECK_STATUS(kpd_model_create(&d, &bare, &e), KPD_ERR_ARGUMENT);
    CHECK(!bare && strstr(e.message, "mlm_head"));
    kpd_model_destroy(m); kpd_model_destroy(after); kpd_model_destroy(opened); kpd_model_destroy(bytes);
}

static kpdt_batch teachers_batch(void) {
    kpdt_batch b;
    memset(&b, 0, sizeof b);
    b.source = -1; b.n = TEXTS; b.in[KPD_ITEM] = texts();
    b.losses[0].loss = KPDT_MLM_KL; b.losses[0].temperature = 2;
    return b;
}

static uint64_t followed_bits(const kpd_model *m, const kpd_model *teacher, kpd_simd level, int32_t n_tasks, float *loss) {
    kpdt_trainer_desc d = trainer_desc(m);
    kpdt_batch b = teachers_batch();
    kpdt_trainer *t = NULL;
    size_t n = 0;
    const float *g;
    uint64_t hash;
    d.simd = level; d.dropout = 0.1f; d.mlm_teacher = teacher; d.batch = TEXTS;
    d.parallel.run = backwards; d.parallel.n_threads = n_tasks;
    if (!CHECK_OK(kpdt_trainer_create(&d, &t, NULL))) abort();
    CHECK_OK(kpdt_trainer_learn(t, &b, loss, NULL));
    g = kpdt_trainer_gradient(t, &n);
    hash = hash_of(g, n);
    kpdt_trainer_destroy(t);
    return hash;
}

static void a_teachers_bits_do_not_depend_on_level_or_tasks(void) {
    kpd_model *m = start(KPD_BI_ENCODER, NULL, 1, false), *apart = start(KPD_BI_ENCODER, NULL, 2, true);
    kpd_model *teacher = taught(apart, 5);
    float want = 0, got = 0;
    uint64_t hash = followed_bits(m, teacher, KPD_SIMD_SCALAR, 1, &want);
    CHECK(want > 0);
    for (int l = KPD_SIMD_SCALAR; l < KPD_SIMD_COUNT; l++)
        for (int32_t n = 1; kpd_simd_available((kpd_simd)l) && n <= 3; n++) {
            CHECK_THAT(followed_bits(m, teacher, (kpd_simd)l, n, &got) == hash, "level %s, %d tasks",
                       kpd_simd_name((kpd_simd)l), (int)n);
            CHECK(got == want);
        }
    kpd_model_destroy(m); kpd_model_destroy(apart); kpd_model_destroy(teacher);
}

// One layer learns two layers' guesses, which are of the texts: its loss by labels falls too. A teacher follows itself at 0.
static void a_small_model_learns_a_large_ones_guesses(void) {
    kpd_model *large = start(KPD_BI_ENCODER, NULL, 1, false), *teacher = taught(large, 60), *small, *after = NULL;
    kpd_model_desc shape = *kpd_model_get_desc(large);
    kpdt_trainer_desc d;
    kpdt_batch b = teachers_batch();
    kpdt_trainer *t = NULL;
    float loss = 0, first = 0, last = 0;
    shape.n_layers = 1; shape.width = 12; shape.ffn_width = 24;
    CHECK_OK(kpdt_model_start(&shape, NULL, NULL, 5, &small, NULL));
    d = trainer_desc(small);
    d.mlm_teacher = teacher; d.batch = TEXTS; d.steps = 150;
    if (!CHECK_OK(kpdt_trainer_create(&d, &t, NULL))) abort();
    for (int step = 0; step < 150; step++) {
        CHECK_OK(kpdt_trainer_learn(t, &b, &loss, NULL));
        if (!step) first = loss;
        last = loss;
        CHECK_OK(kpdt_trainer_apply(t, NULL, NULL));
    }
    CHECK_THAT(last < .5f * first, "from %g to %g", (double)first, (double)last);
    CHECK_OK(kpdt_trainer_model(t, false, &after, NULL));
    CHECK_THAT(loss_of(after) < .8f * loss_of(small), "%g, was %g", (double)loss_of(after), (double)loss_of(small));
    kpdt_trainer_destroy(t);
    d = trainer_desc(teacher);
    d.mlm_teacher = teacher; d.batch = TEXTS; t = NULL;
    if (!CHECK_OK(kpdt_trainer_create(&d, &t, NULL))) abort();
    CHECK_OK(kpdt_trainer_learn(t, &b, &loss, NULL));
    CHECK_NEAR((double)loss, 0, 2e-6);
    kpdt_trainer_destroy(t);
    kpd_model_destroy(large); kpd_model_destroy(teacher); kpd_model_destroy(small); kpd_model_destroy(after);
}

static void wrong_teachers_are_refused(void) {
    kpd_model *m = start(KPD_BI_ENCODER, NULL, 1, false), *teacher = taught(m, 1), *other = NULL;
    kpd_tokenizer *without = tokenizer(false);
    kpd_model_desc shape = shape_of(without, KPD_BI_ENCODER);
    kpdt_trainer_desc d = trainer_desc(m);
    kpdt_batch b = teachers_batch();
    kpdt_trainer *t = NULL;
    float loss = 5;
    kpd_error e;
    d.batch = TEXTS; d.mlm_teacher = m;
    CHECK_STATUS(kpdt_trainer_create(&d, &t, &e), KPD_ERR_ARGUMENT);
    CHECK(strstr(e.message, "mlm_head"));
    shape.mlm_head = true;
    CHECK_OK(kpdt_model_start(&shape, NULL, NULL, 1, &other, NULL));
    d.mlm_teacher = other;
    CHECK_STATUS(kpdt_trainer_create(&d, &t, &e), KPD_ERR_ARGUMENT);
    CHECK(strstr(e.message, "vocabulary"));
    kpd_model_destroy(other);
    shape = *kpd_model_get_desc(teacher);
    shape.n_positions = shape.max_tokens = 23;
    CHECK_OK(kpdt_model_start(&shape, NULL, NULL, 1, &other, NULL));
    d.mlm_teacher = other;
    CHECK_STATUS(kpdt_trainer_create(&d, &t, &e), KPD_ERR_ARGUMENT);
    CHECK(strstr(e.message, "positions"));
    d.mlm_teacher = NULL;
    CHECK_OK(kpdt_trainer_create(&d, &t, &e));
    CHECK_STATUS(kpdt_trainer_learn(t, &b, &loss, &e), KPD_ERR_ARGUMENT);
    CHECK(loss == 5 && strstr(e.message, "mlm_teacher"));
    kpdt_trainer_destroy(t);
    d.mlm_teacher = teacher; t = NULL;
    CHECK_OK(kpdt_trainer_create(&d, &t, &e));
    b.losses[1].loss = KPDT_MLM;
    CHECK_STATUS(kpdt_trainer_learn(t, &b, &loss, &e), KPD_ERR_ARGUMENT);
    CHECK(loss == 5 && strstr(e.message, "beside another"));
    kpdt_trainer_destroy(t);
    kpd_tokenizer_destroy(without);
    kpd_model_destroy(m); kpd_model_destroy(teacher); kpd_model_destroy(other);
}

static void sixty_steps_lower_the_loss(void) {
    kpd_model *m = start(KPD_BI_ENCODER, NULL, 1, true), *after = NULL;
    kpdt_trainer_desc d = trainer_desc(m);
    kpdt_trainer *t = NULL;
    float loss = 0;
    double first = 0, last = 0;
    d.warmup = 0.1f;
    if (!CHECK_OK(kpdt_trainer_create(&d, &t, NULL))) abort();
    for (int step = 0; step < 60; step++) {
        CHECK_OK(kpdt_trainer_mlm(t, KPD_ITEM, texts(), TEXTS, &loss, NULL));
        if (step < 5) first += (double)loss / 5;
        if (step >= 50) last += (double)loss / 10;
        CHECK_OK(kpdt_trainer_apply(t, NULL, NULL));
    }
    CHECK_THAT(last < .5 * first && last < log(30) - .5, "from %g to %g", first, last);   // more than which words there are
    CHECK_OK(kpdt_trainer_model(t, false, &after, NULL));
    CHECK(n_of_head(after) == 5);
    CHECK(!same(m, after, "embeddings.word_embeddings.weight"));
    CHECK(same(m, after, "keyphrase.embeddings.word_embeddings.weight"));
    kpdt_trainer_destroy(t);
    kpd_model_destroy(m); kpd_model_destroy(after);
}

static void frozen_embeddings_get_no_gradient_from_the_head(void) {
    kpd_model *m = start(KPD_BI_ENCODER, NULL, 1, false);
    kpdt_trainer_desc d = trainer_desc(m);
    kpdt_trainer *t = NULL;
    float loss = 0;
    size_t n = 0, moved = 0;
    const float *g;
    d.frozen_layers = 1;
    if (!CHECK_OK(kpdt_trainer_create(&d, &t, NULL))) abort();
    CHECK_OK(kpdt_trainer_mlm(t, KPD_ITEM, texts(), TEXTS, &loss, NULL));
    g = kpdt_trainer_gradient(t, &n);
    for (size_t i = 0; i < (WORDS + 5) * HIDDEN; i++) CHECK(g[i] == 0);
    for (size_t i = n - (WORDS + 5); i < n; i++) moved += g[i] != 0;   // c is the last parameter
    CHECK(moved > WORDS / 2);
    kpdt_trainer_destroy(t);
    kpd_model_destroy(m);
}

static void texts_without_words_cost_nothing(void) {
    kpd_model *m = start(KPD_BI_ENCODER, NULL, 1, false);
    kpdt_trainer_desc d = trainer_desc(m);
    kpdt_trainer *t = NULL;
    kpd_input in = kpd_input_str("[MASK] [SEP]", NULL, NULL);
    float loss = 5;
    size_t n = 0;
    const float *g;
    if (!CHECK_OK(kpdt_trainer_create(&d, &t, NULL))) abort();
    for (int i = 0; i < 20; i++) CHECK_OK(kpdt_trainer_mlm(t, KPD_ITEM, &in, 1, &loss, NULL));
    CHECK(loss == 0);
    g = kpdt_trainer_gradient(t, &n);
    for (size_t i = 0; i < n; i++) CHECK(g[i] == 0);
    kpdt_trainer_destroy(t);
    kpd_model_destroy(m);
}

static void wrong_calls_are_refused(void) {
    kpd_model *m = start(KPD_BI_ENCODER, NULL, 1, true), *cross = start(KPD_CROSS_ENCODER, NULL, 1, false), *bare = NULL;
    kpd_tokenizer *without = tokenizer(false);
    kpd_model_desc shape = shape_of(without, KPD_BI_ENCODER);
    kpdt_trainer_desc d = trainer_desc(cross);
    kpdt_trainer *t = NULL;
    float loss = 5, out[HIDDEN] = {0};
    kpd_error e;
    CHECK_STATUS(kpdt_trainer_create(&d, &t, &e), KPD_ERR_ARGUMENT);            // a cross-encoder
    CHECK_OK(kpdt_model_start(&shape, NULL, NULL, 1, &bare, NULL));
    d.start = bare;
    CHECK_STATUS(kpdt_trainer_create(&d, &t, &e), KPD_ERR_NOT_FOUND);           // no mask token
    CHECK(strstr(e.message, "[MASK]") != NULL);
    d.mlm = false;
    CHECK_OK(kpdt_trainer_create(&d, &t, &e));
    CHECK_STATUS(kpdt_trainer_mlm(t, KPD_ITEM, texts(), 1, &loss, &e), KPD_ERR_ARGUMENT);   // not asked for
    kpdt_trainer_destroy(t);
    d = trainer_desc(m);
    d.max_texts = 3; t = NULL;
    CHECK_OK(kpdt_trainer_create(&d, &t, &e));
    CHECK_STATUS(kpdt_trainer_mlm(t, KPD_KEYPHRASE, texts(), 1, &loss, &e), KPD_ERR_ARGUMENT);   // a tower of its own
    CHECK_STATUS(kpdt_trainer_mlm(t, (kpd_tower)2, texts(), 1, &loss, &e), KPD_ERR_ARGUMENT);
    CHECK_STATUS(kpdt_trainer_mlm(t, KPD_ITEM, texts(), 0, &loss, &e), KPD_ERR_ARGUMENT);
    CHECK_STATUS(kpdt_trainer_mlm(t, KPD_ITEM, texts(), 4, &loss, &e), KPD_ERR_LIMIT);
    CHECK(loss == 5);
    CHECK_OK(kpdt_trainer_forward(t, KPD_ITEM, texts(), 1, out, &e));
    CHECK_OK(kpdt_trainer_mlm(t, KPD_ITEM, texts(), 3, &loss, &e));
    CHECK_STATUS(kpdt_trainer_backward(t, KPD_ITEM, out, &e), KPD_ERR_ARGUMENT);   // that pass is gone
    kpdt_trainer_destroy(t);
    kpd_tokenizer_destroy(without);
    kpd_model_destroy(m); kpd_model_destroy(cross); kpd_model_destroy(bare);
}

SUITE(mlm) {
    RUN(mlm, weights_of_a_start_are_normal);
    RUN(mlm, a_start_has_the_same_bits_again);
    RUN(mlm, a_cross_encoder_starts_from_a_bi_encoder);
    RUN(mlm, separate_towers_start_from_a_shared_one);
    RUN(mlm, layers_start_from_chosen_ones);
    RUN(mlm, wrong_starts_are_refused);
    RUN(mlm, bits_do_not_depend_on_level_or_tasks);
    RUN(mlm, a_head_goes_on_where_it_was);
    RUN(mlm, a_teachers_bits_do_not_depend_on_level_or_tasks);
    RUN(mlm, a_small_model_learns_a_large_ones_guesses);
    RUN(mlm, wrong_teachers_are_refused);
    RUN(mlm, sixty_steps_lower_the_loss);
    RUN(mlm, frozen_embeddings_get_no_gradient_from_the_head);
    RUN(mlm, texts_without_words_cost_nothing);
    RUN(mlm, wrong_calls_are_refused);
}
