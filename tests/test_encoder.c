// The encoder as a whole: against a plain double-precision BERT, and the same bits whatever the batch, threads and level.
#define KPD_THREADS
#include "test.h"
#include "tiny_model.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { W = 20, HEADS = 5, LAYERS = 2, MOST = 24 };   // odd sizes: nothing is a multiple of 16

static kpd_model *model(kpd_kind kind, kpd_pooling pooling) {
    tiny_options o;
    memset(&o, 0, sizeof o);
    o.kind = kind; o.width = W; o.n_heads = HEADS; o.n_layers = LAYERS; o.pooling = pooling; o.seed = 3;
    return tiny_model(&o);
}

static void texts(char text[][160], kpd_input *in, size_t n) {
    static const char *const words[] = {"blue", "case", "phone", "laptop", "charger", "lamps", "5", "unheard"};
    uint32_t state = 9;
    for (size_t i = 0; i < n; i++) {
        size_t at = 0;
        text[i][0] = 0;
        for (size_t k = 0; k < i % 19; k++)
            at += (size_t)snprintf(text[i] + at, 160 - at, "%s ", words[tiny_random(&state) % 8]);
        in[i] = kpd_input_str(text[i], NULL, NULL);
    }
}

static double *tensor(const kpd_model *m, const char *name, int32_t layer) {   // to be freed
    char full[96];
    kpd_tensor t;
    if (layer < 0) snprintf(full, sizeof full, "%s", name);
    else snprintf(full, sizeof full, "encoder.layer.%d.%s", (int)layer, name);
    for (int32_t i = 0; kpd_model_tensor(m, i, &t); i++) {
        size_t n = (size_t)t.rows * (size_t)t.cols;
        float *f;
        double *d;
        if (strcmp(t.name, full)) continue;
        f = (float *)malloc(n * sizeof *f);
        d = (double *)malloc(n * sizeof *d);
        if (!f || !d) abort();
        CHECK_OK(kpd_model_get(m, full, f, NULL));
        for (size_t j = 0; j < n; j++) d[j] = (double)f[j];
        free(f);
        return d;
    }
    CHECK_THAT(false, "no tensor %s", full);
    abort();
}

static void norm(const kpd_model *m, const char *name, int32_t layer, double *x, int32_t n) {
    char weight[64], bias[64];
    double *g, *b;
    snprintf(weight, sizeof weight, "%s.weight", name);
    snprintf(bias, sizeof bias, "%s.bias", name);
    g = tensor(m, weight, layer);
    b = tensor(m, bias, layer);
    for (int32_t t = 0; t < n; t++, x += W) {
        double mean = 0, var = 0;
        for (int i = 0; i < W; i++) mean += x[i] / W;
        for (int i = 0; i < W; i++) var += (x[i] - mean) * (x[i] - mean) / W;
        for (int i = 0; i < W; i++) x[i] = (x[i] - mean) / sqrt(var + 1e-12) * g[i] + b[i];
    }
    free(g);
    free(b);
}

// y [n, W] = x W^T + b; the feed-forward width is W too.
static void linear(const kpd_model *m, const char *name, int32_t layer, const double *x, double *y, int32_t n) {
    char weight[64], bias[64];
    double *w, *b;
    snprintf(weight, sizeof weight, "%s.weight", name);
    snprintf(bias, sizeof bias, "%s.bias", name);
    w = tensor(m, weight, layer);
    b = tensor(m, bias, layer);
    for (int32_t t = 0; t < n; t++)
        for (int o = 0; o < W; o++) {
            y[t * W + o] = b[o];
            for (int i = 0; i < W; i++) y[t * W + o] += x[t * W + i] * w[o * W + i];
        }
    free(w);
    free(b);
}

static void attend(const double *q, const double *k, const double *v, double *out, int32_t n) {
    int depth = W / HEADS;
    for (int h = 0; h < HEADS; h++)
        for (int32_t t = 0; t < n; t++) {
            double p[MOST], sum = 0;
            for (int32_t j = 0; j < n; j++) {
                p[j] = 0;
                for (int d = 0; d < depth; d++)
                    p[j] += q[t * W + h * depth + d] * k[j * W + h * depth + d] / sqrt((double)depth);
                sum += p[j] = exp(p[j]);
            }
            for (int d = 0; d < depth; d++) {
                out[t * W + h * depth + d] = 0;
                for (int32_t j = 0; j < n; j++) out[t * W + h * depth + d] += p[j] / sum * v[j * W + h * depth + d];
            }
        }
}

// Token vectors of one text.
static int32_t plain_encoder(const kpd_model *m, const kpd_input *in, double *x) {
    int32_t ids[MOST], types[MOST];
    double q[MOST * W], k[MOST * W], v[MOST * W], y[MOST * W];
    double *word = tensor(m, "embeddings.word_embeddings.weight", -1),
           *position = tensor(m, "embeddings.position_embeddings.weight", -1);
    double *type = tensor(m, "embeddings.token_type_embeddings.weight", -1);
    kpd_tokens t;
    memset(&t, 0, sizeof t);
    t.ids = ids; t.types = types; t.capacity = MOST;
    CHECK_OK(kpd_model_tokenize(m, KPD_ITEM, in, false, &t, NULL));
    for (int32_t i = 0; i < t.count * W; i++)
        x[i] = word[ids[i / W] * W + i % W] + type[types[i / W] * W + i % W] + position[i];
    norm(m, "embeddings.LayerNorm", -1, x, t.count);
    for (int32_t l = 0; l < LAYERS; l++) {
        linear(m, "attention.self.query", l, x, q, t.count);
        linear(m, "attention.self.key", l, x, k, t.count);
        linear(m, "attention.self.value", l, x, v, t.count);
        attend(q, k, v, y, t.count);
        linear(m, "attention.output.dense", l, y, q, t.count);
        for (int32_t i = 0; i < t.count * W; i++) x[i] += q[i];
        norm(m, "attention.output.LayerNorm", l, x, t.count);
        linear(m, "intermediate.dense", l, x, q, t.count);
        for (int32_t i = 0; i < t.count * W; i++) q[i] = q[i] * .5 * erfc(-q[i] / sqrt(2.0));
        linear(m, "output.dense", l, q, y, t.count);
        for (int32_t i = 0; i < t.count * W; i++) x[i] += y[i];
        norm(m, "output.LayerNorm", l, x, t.count);
    }
    free(word); free(position); free(type);
    return t.count;
}

static void plain_pool(kpd_pooling kind, const double *x, int32_t n, double *out) {
    double length = 0;
    for (int i = 0; i < W; i++) {
        double sum = 0, weighted = 0, most = -1e300;
        for (int32_t t = 0; t < n; t++) {
            sum += x[t * W + i];
            weighted += (t + 1) * x[t * W + i];
            most = fmax(most, x[t * W + i]);
        }
        out[i] = kind == KPD_POOL_MEAN       ? sum / n
                 : kind == KPD_POOL_CLS      ? x[i]
                 : kind == KPD_POOL_MAX      ? most
                 : kind == KPD_POOL_SQRT_LEN ? sum / sqrt((double)n)
                 : kind == KPD_POOL_WEIGHTED ? weighted / (.5 * n * (n + 1))
                                             : x[(n - 1) * W + i];
        length += out[i] * out[i];
    }
    for (int i = 0; i < W; i++) out[i] /= sqrt(length);
}

static void embeddings_match_a_plain_encoder(void) {
    enum { N = 12 };
    static char text[N][160];
    kpd_input in[N];
    float out[N * W];
    texts(text, in, N);
    for (int kind = 0; kind <= KPD_POOL_LAST; kind++) {
        kpd_model *m = model(KPD_BI_ENCODER, (kpd_pooling)kind);
        kpd_session *s = tiny_session(m, NULL);
        CHECK_OK(kpd_embed(s, m, KPD_ITEM, in, N, 0, out, NULL));
        for (int i = 0; i < N; i++) {
            double x[MOST * W], want[W];
            plain_pool((kpd_pooling)kind, x, plain_encoder(m, &in[i], x), want);
            for (int j = 0; j < W; j++) CHECK_NEAR(out[i * W + j], want[j], 2e-6);
        }
        kpd_session_destroy(s);
        kpd_model_destroy(m);
    }
}

static void scores_match_a_plain_encoder(void) {
    kpd_model *m = model(KPD_CROSS_ENCODER, KPD_POOL_MEAN);
    kpd_session *s = tiny_session(NULL, m);
    kpd_input in = kpd_input_str("blue case", "phone", "red charger for phone");
    double x[MOST * W], p[W], *w = tensor(m, "classifier.weight", -1), *b = tensor(m, "classifier.bias", -1), logit = b[0];
    float got;
    plain_encoder(m, &in, x);
    linear(m, "pooler.dense", -1, x, p, 1);
    for (int i = 0; i < W; i++) logit += w[i] * tanh(p[i]);
    CHECK_OK(kpd_score(s, m, &in, 1, &got, NULL));
    CHECK_NEAR(got, logit, 5e-6);
    free(w); free(b);
    kpd_session_destroy(s);
    kpd_model_destroy(m);
}

// A host's threads in the worst order.
static void backwards(void *user, int32_t n, kpd_task_t *task, void *arg) {
    (void)user;
    while (n--) task(arg, n);
}

static void embed_by(const kpd_parallel *parallel, const kpd_model *m, const kpd_input *in, size_t n, size_t batch,
                     kpd_simd simd, int32_t max_tokens, float *out) {
    kpd_session_desc d;
    kpd_session *s;
    memset(&d, 0, sizeof d);
    d.student = m; d.simd = simd; d.max_tokens = max_tokens; d.parallel = *parallel;
    if (!CHECK_OK(kpd_session_create(&d, &s, NULL))) return;
    for (size_t i = 0; i < n; i += batch)
        CHECK_OK(kpd_embed(s, m, KPD_ITEM, in + i, n - i < batch ? n - i : batch, 0, out + i * W, NULL));
    kpd_session_destroy(s);
}

static void embed_with(const kpd_model *m, const kpd_input *in, size_t n, size_t batch, kpd_simd simd, int32_t tasks,
                       int32_t max_tokens, float *out) {
    kpd_parallel p;
    memset(&p, 0, sizeof p);
    p.run = backwards; p.n_threads = tasks;
    embed_by(&p, m, in, n, batch, simd, max_tokens, out);
}

static void bits_do_not_depend_on_batch_level_or_threads(void) {
    enum { N = 100 };
    static char text[N][160];
    static kpd_input in[N];
    static float want[N * W], got[N * W];
    static const size_t batches[] = {1, 3, 100};
    kpd_model *m = model(KPD_BI_ENCODER, KPD_POOL_MEAN);
    texts(text, in, N);
    embed_with(m, in, N, 7, KPD_SIMD_SCALAR, 1, 0, want);
    for (int level = KPD_SIMD_SCALAR; level < KPD_SIMD_COUNT; level++)
        for (int32_t tasks = 1; kpd_simd_available((kpd_simd)level) && tasks <= 5; tasks += 2)
            for (int b = 0; b < 3; b++) {
                memset(got, 0, sizeof got);
                embed_with(m, in, N, batches[b], (kpd_simd)level, tasks, b * 30, got);
                CHECK_THAT(!memcmp(want, got, sizeof got), "level %s, %d tasks, batch %d", kpd_simd_name((kpd_simd)level),
                           (int)tasks, (int)batches[b]);
            }
    kpd_model_destroy(m);
}

// Tasks without a block of their own take a part of the rows of a long text.
static void threads_share_a_long_text_of(kpd_pooling pooling) {
    enum { N = 6, LONGEST = 150 };
    static const int32_t words[N] = {61, 62, 63, 90, 140, 148};   // and two special tokens; 64 are shared
    static char text[N][LONGEST * 6];
    static float want[N * W], got[N * W];
    kpd_input in[N];
    kpd_model *m;
    kpd_pool *pool = NULL;
    kpd_parallel threads;
    tiny_options o;
    memset(&o, 0, sizeof o);
    CHECK_OK(kpd_pool_create(3, NULL, &pool, NULL));
    threads = *kpd_pool_parallel(pool);
    o.kind = KPD_BI_ENCODER; o.width = W; o.n_heads = HEADS; o.n_layers = LAYERS; o.seed = 3; o.n_positions = LONGEST;
    o.pooling = pooling;
    m = tiny_model(&o);
    for (int i = 0; i < N; i++) {
        text[i][0] = 0;
        for (int32_t k = 0; k < words[i]; k++) strcat(text[i], (k * k + i) % 3 ? "blue " : "case ");
        in[i] = kpd_input_str(text[i], NULL, NULL);
    }
    for (size_t batch = 1; batch <= 2; batch++)
        for (int32_t tasks = 2; tasks <= 12; tasks += 5) {
            embed_with(m, in, N, batch, KPD_SIMD_AUTO, 1, 0, want);
            embed_with(m, in, N, batch, KPD_SIMD_AUTO, tasks, 0, got);
            CHECK_THAT(!memcmp(want, got, sizeof got), "%d tasks, batch %d", (int)tasks, (int)batch);
            embed_by(&threads, m, in, N, batch, KPD_SIMD_AUTO, 0, got);
            CHECK(!memcmp(want, got, sizeof got));
        }
    for (int i = 1; i < N; i++) CHECK(memcmp(want, want + i * W, W * sizeof *want));
    kpd_pool_destroy(pool);
    kpd_model_destroy(m);
}

static void threads_share_a_long_text(void) {   // the last layer whole, then only a row a text
    threads_share_a_long_text_of(KPD_POOL_MEAN);
    threads_share_a_long_text_of(KPD_POOL_CLS);
    threads_share_a_long_text_of(KPD_POOL_LAST);
}

static void bits_do_not_depend_on_real_threads(void) {
    enum { N = 200 };
    static char text[N][160];
    static kpd_input in[N];
    static float want[N * W], got[N * W];
    kpd_model *m = model(KPD_BI_ENCODER, KPD_POOL_MEAN);
    kpd_pool *pool = NULL;
    kpd_session_desc d;
    kpd_session *s = NULL;
    texts(text, in, N);
    embed_with(m, in, N, N, KPD_SIMD_AUTO, 1, 0, want);
    memset(&d, 0, sizeof d);
    CHECK_OK(kpd_pool_create(3, NULL, &pool, NULL));
    d.student = m; d.parallel = *kpd_pool_parallel(pool);
    CHECK_OK(kpd_session_create(&d, &s, NULL));
    for (int round = 0; round < 20; round++) {
        CHECK_OK(kpd_embed(s, m, KPD_ITEM, in, N, 0, got, NULL));
        CHECK(!memcmp(want, got, sizeof got));
    }
    kpd_session_destroy(s);
    kpd_pool_destroy(pool);
    kpd_model_destroy(m);
}
// A cut is the first columns, normalised again.
static void matryoshka_cut_is_renormalised(void) {
    kpd_model *m = model(KPD_BI_ENCODER, KPD_POOL_MEAN);
    kpd_session *s = tiny_session(m, NULL);
    kpd_input in = kpd_input_str("blue case for phone", NULL, NULL);
    float all[W], cut[7], square = 0;
    CHECK_OK(kpd_embed(s, m, KPD_ITEM, &in, 1, 0, all, NULL));
    CHECK_OK(kpd_embed(s, m, KPD_ITEM, &in, 1, 7, cut, NULL));
    for (int i = 0; i < 7; i++) square += all[i] * all[i];
    for (int i = 0; i < 7; i++) CHECK_NEAR(cut[i], all[i] / sqrtf(square), 1e-6);
    CHECK_NEAR(kpd_cosine(cut, all, 7), 1, 1e-6);
    kpd_session_destroy(s);
    kpd_model_destroy(m);
}

// A model's own cut is the first columns as they are, for 0 and for its number; another number is as for any model.
static void own_cut_keeps_the_length(void) {
    tiny_options o;
    kpd_tokenizer *t = tiny_tokenizer();
    kpd_model_desc d;
    kpd_model *m = NULL;
    kpd_session *s;
    kpd_input in = kpd_input_str("blue case for phone", NULL, NULL);
    kpd_tensor x;
    static float w[W * W * 4];
    float all[W], cut[W], square = 0;
    uint32_t state = 3;
    memset(&o, 0, sizeof o);
    o.width = W; o.n_heads = HEADS;
    d = tiny_desc(&o, t);
    d.truncate_dim = W + 1;
    CHECK_STATUS(kpd_model_create(&d, &m, NULL), KPD_ERR_ARGUMENT);
    d.truncate_dim = 7;
    d.similarity = KPD_DOT;
    if (!CHECK_OK(kpd_model_create(&d, &m, NULL))) return;
    for (int32_t i = 0; kpd_model_tensor(m, i, &x); i++) {
        for (int32_t k = 0; k < x.rows * x.cols; k++) w[k] = tiny_uniform(&state);
        CHECK_OK(kpd_model_set(m, x.name, w, NULL));
    }
    s = tiny_session(m, NULL);
    CHECK_INT(kpd_model_dim(m), 7);
    CHECK_OK(kpd_embed(s, m, KPD_ITEM, &in, 1, W, all, NULL));
    for (int i = 0; i < W; i++) square += all[i] * all[i];
    CHECK_NEAR(square, 1, 1e-5);
    for (int dim = 0; dim < 8; dim += 7) {
        CHECK_OK(kpd_embed(s, m, KPD_ITEM, &in, 1, dim, cut, NULL));
        CHECK(!memcmp(cut, all, 7 * sizeof *cut));
    }
    CHECK_OK(kpd_embed(s, m, KPD_ITEM, &in, 1, 5, cut, NULL));
    square = 0;
    for (int i = 0; i < 5; i++) square += cut[i] * cut[i];
    CHECK_NEAR(square, 1, 1e-5);
    kpd_session_destroy(s);
    kpd_model_destroy(m);
    d.kind = KPD_CROSS_ENCODER;
    CHECK_STATUS(kpd_model_create(&d, &m, NULL), KPD_ERR_ARGUMENT);
    kpd_tokenizer_destroy(t);
}

static void separate_towers_differ(void) {
    tiny_options o;
    kpd_tokenizer *t = tiny_tokenizer();
    kpd_model_desc d;
    kpd_model *m = NULL;
    kpd_session *s;
    kpd_tensor x;
    kpd_input in = kpd_input_str("blue case", NULL, NULL);
    static float w[W * W * 4], a[W], b[W];
    uint32_t state = 5;
    int32_t n = 0, second = 0;
    memset(&o, 0, sizeof o);
    o.width = W; o.n_heads = HEADS;
    d = tiny_desc(&o, t);
    d.separate_towers = true;
    if (!CHECK_OK(kpd_model_create(&d, &m, NULL))) return;
    for (; kpd_model_tensor(m, n, &x); n++) {
        second += !strncmp(x.name, "keyphrase.", 10);
        for (int32_t i = 0; i < x.rows * x.cols; i++) w[i] = tiny_uniform(&state);
        CHECK_OK(kpd_model_set(m, x.name, w, NULL));
    }
    CHECK_INT(second * 2, n);
    s = tiny_session(m, NULL);
    CHECK_OK(kpd_embed(s, m, KPD_ITEM, &in, 1, 0, a, NULL));
    CHECK_OK(kpd_embed(s, m, KPD_KEYPHRASE, &in, 1, 0, b, NULL));
    CHECK(memcmp(a, b, sizeof a) != 0);
    kpd_session_destroy(s);
    kpd_model_destroy(m);
    kpd_tokenizer_destroy(t);
}

// A clock that counts how often it is read: a stage gets as many seconds as it has ended times.
static double count_reads(void *user) {
    int *reads = (int *)user;
    return 1000 + ++*reads;
}

static kpd_session *timed_session(const kpd_model *student, const kpd_model *assistant, int32_t tasks, int *reads) {
    kpd_session_desc d;
    kpd_session *s = NULL;
    memset(&d, 0, sizeof d);
    d.student = student; d.assistant = assistant;
    d.clock = count_reads; d.clock_user = reads;
    d.parallel.run = backwards; d.parallel.n_threads = tasks;
    CHECK_OK(kpd_session_create(&d, &s, NULL));
    return s;
}

static void check_stages(const kpd_session *s, const double *want) {
    for (int i = 0; i < KPD_STAGE_COUNT; i++)
        CHECK_THAT(kpd_session_seconds(s, (kpd_stage)i) == want[i], "%s: %g, expected %g", kpd_stage_name((kpd_stage)i),
                   kpd_session_seconds(s, (kpd_stage)i), want[i]);
}

static void stages_of_a_text_are_those_of_its_layers(void) {
    static const double want[KPD_STAGE_COUNT] = {1, 1, LAYERS, LAYERS, LAYERS, LAYERS, LAYERS, 2 * LAYERS, 1};
    static const double none[KPD_STAGE_COUNT] = {0};
    kpd_model *m = model(KPD_BI_ENCODER, KPD_POOL_MEAN), *cross = model(KPD_CROSS_ENCODER, KPD_POOL_MEAN);
    kpd_input text = kpd_input_str("blue case", NULL, NULL), pair = kpd_input_str("blue case", "phone", "blue phone");
    int reads = 0;
    kpd_session *s = timed_session(m, NULL, 1, &reads);
    float out[W];
    check_stages(s, none);
    CHECK_OK(kpd_embed(s, m, KPD_ITEM, &text, 1, 0, out, NULL));
    check_stages(s, want);
    CHECK(kpd_session_seconds(s, KPD_STAGE_COUNT) == 0);
    CHECK(!strcmp(kpd_stage_name(KPD_STAGE_HEAD), "head") && !strcmp(kpd_stage_name(KPD_STAGE_COUNT), "?"));
    kpd_session_destroy(s);
    s = timed_session(NULL, cross, 1, &reads);
    CHECK_OK(kpd_score(s, cross, &pair, 1, out, NULL));
    check_stages(s, want);
    kpd_session_destroy(s);
    s = tiny_session(m, NULL);
    CHECK_OK(kpd_embed(s, m, KPD_ITEM, &text, 1, 0, out, NULL));
    check_stages(s, none);
    kpd_session_destroy(s);
    kpd_model_destroy(cross);
    kpd_model_destroy(m);
}

// All but the first reading of the call and of each task ends a stage; vectors know nothing of the clock.
static void stages_add_up_to_the_time_of_a_batch(void) {
    enum { N = 100 };
    static char text[N][160];
    static kpd_input in[N];
    static float want[N * W], got[N * W];
    kpd_model *m = model(KPD_BI_ENCODER, KPD_POOL_MEAN);
    texts(text, in, N);
    embed_with(m, in, N, N, KPD_SIMD_AUTO, 1, 0, want);
    for (int32_t tasks = 1; tasks <= 3; tasks += 2) {
        int reads = 0;
        kpd_session *s = timed_session(m, NULL, tasks, &reads);
        double sum = 0;
        memset(got, 0, sizeof got);
        CHECK_OK(kpd_embed(s, m, KPD_ITEM, in, N, 0, got, NULL));
        for (int i = 0; i < KPD_STAGE_COUNT; i++) {
            CHECK(kpd_session_seconds(s, (kpd_stage)i) > 0);
            sum += kpd_session_seconds(s, (kpd_stage)i);
        }
        CHECK_INT(sum, reads - 1 - tasks);
        CHECK(!memcmp(want, got, sizeof got));
        kpd_session_destroy(s);
    }
    kpd_model_destroy(m);
}

static void wrong_calls_are_refused(void) {
    kpd_model *m = model(KPD_BI_ENCODER, KPD_POOL_MEAN), *cross = model(KPD_CROSS_ENCODER, KPD_POOL_MEAN);
    tiny_options o;
    kpd_model *larger;
    kpd_session *s = tiny_session(m, NULL);
    kpd_input in[3];
    kpd_error e;
    float out[3 * 64];
    in[0] = in[1] = in[2] = kpd_input_str("blue", NULL, NULL);
    memset(&o, 0, sizeof o);
    o.width = 64;
    larger = tiny_model(&o);
    CHECK_STATUS(kpd_embed(s, cross, KPD_ITEM, in, 1, 0, out, &e), KPD_ERR_ARGUMENT);
    CHECK_STATUS(kpd_score(s, m, in, 1, out, &e), KPD_ERR_ARGUMENT);
    CHECK_STATUS(kpd_embed(s, m, KPD_ITEM, in, 1, W + 1, out, &e), KPD_ERR_ARGUMENT);
    CHECK_STATUS(kpd_embed(s, m, KPD_ITEM, in, 1, -1, out, &e), KPD_ERR_ARGUMENT);
    CHECK_STATUS(kpd_embed(s, larger, KPD_ITEM, in, 1, 0, out, &e), KPD_ERR_LIMIT);
    in[2].n_parts = 0;
    for (int i = 0; i < 3 * W; i++) out[i] = 7;
    CHECK_STATUS(kpd_embed(s, m, KPD_ITEM, in, 3, 0, out, &e), KPD_ERR_INPUT);
    CHECK_INT(e.where, 2);
    CHECK(out[0] == 0 && out[3 * W - 1] == 0);
    CHECK_OK(kpd_embed(s, m, KPD_ITEM, in, 0, 0, out, NULL));
    kpd_session_destroy(s);
    kpd_model_destroy(larger);
    kpd_model_destroy(cross);
    kpd_model_destroy(m);
}

static void cosine_and_sigmoid_are_plain(void) {
    float a[3] = {3, 4, 0}, b[3] = {4, 3, 0}, zero[3] = {0, 0, 0};
    CHECK_NEAR(kpd_cosine(a, b, 3), 24.0 / 25, 1e-7);
    CHECK(kpd_cosine(a, a, 3) == 1 && kpd_cosine(a, zero, 3) == 0);
    for (int i = -40; i <= 40; i++) CHECK_NEAR(kpd_sigmoid((float)i / 2), 1 / (1 + exp(-i / 2.0)), 1e-7);
    CHECK(kpd_sigmoid(0) == 0.5f);
}

SUITE(encoder) {
    RUN(encoder, embeddings_match_a_plain_encoder);
    RUN(encoder, scores_match_a_plain_encoder);
    RUN(encoder, bits_do_not_depend_on_batch_level_or_threads);
    RUN(encoder, threads_share_a_long_text);
    RUN(encoder, bits_do_not_depend_on_real_threads);
    RUN(encoder, matryoshka_cut_is_renormalised);
    RUN(encoder, own_cut_keeps_the_length);
    RUN(encoder, separate_towers_differ);
    RUN(encoder, stages_of_a_text_are_those_of_its_layers);
    RUN(encoder, stages_add_up_to_the_time_of_a_batch);
    RUN(encoder, wrong_calls_are_refused);
    RUN(encoder, cosine_and_sigmoid_are_plain);
}
