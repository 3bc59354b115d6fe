// Gradients: against central differences of a double-precision forward pass, against PyTorch (tests/golden/layers.bin, made by
// tools/golden_layers.py), and the same bits at every level and number of tasks; then the optimiser and the training phases.
// Includes its own static copy of the implementation.
#define KPD_STATIC
#define KPD_IMPLEMENTATION
#define KPD_TRAIN_IMPLEMENTATION
#include "../kpd_train.h"
#include "test.h"

enum { VOCAB = 12, POSITIONS = 10, LABELS = 2, MOST = 64, WIDEST = 64 };
static const char vocab[] = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nblue\nred\ncase\nphone\nlamp\nfor\npro\n";

typedef struct shape {
    int32_t width, heads, ffn, layers;
    kpd_kind kind; kpd_pooling pooling; kpd_activation activation;
    bool modules, separate, no_normalize, mlm;
} shape;
static const shape small = {12, 3, 20, 2, KPD_BI_ENCODER, KPD_POOL_MEAN, KPD_GELU, false, false, false, false};

// Pseudo-random numbers in [-1, 1), one sequence a name.
static uint32_t seed_of(const char *name) {
    uint32_t h = 2166136261u;
    for (; *name; name++) h = (h ^ (uint8_t)*name) * 16777619u;
    return h;
}

static float next(uint32_t *state) {
    *state = *state * 1664525u + 1013904223u;
    return (float)(int32_t)(*state >> 8) / 8388608.0f - 1.0f;
}

static void numbers(const char *name, float *v, size_t n) {
    uint32_t state = seed_of(name);
    for (size_t i = 0; i < n; i++) v[i] = next(&state);
}

// Norms near 1 times x, everything else in +-.5.
static void weights(const char *name, float *w, size_t n) {
    bool norm = strstr(name, "orm.weight") != NULL;
    numbers(name, w, n);
    for (size_t j = 0; j < n; j++) w[j] = norm ? 1.0f + 0.125f * w[j] : 0.5f * w[j];
}

static void fill(kpd_model *m) {
    kpd_tensor t;
    for (int32_t i = 0; kpd_model_tensor(m, i, &t); i++) {
        size_t n = (size_t)t.rows * (size_t)t.cols;
        float *w = (float *)malloc(n * sizeof *w);
        if (!w) abort();
        weights(t.name, w, n);
        CHECK_OK(kpd_model_set(m, t.name, w, NULL));
        free(w);
    }
}

static kpd_model *model(const shape *s) {
    kpd_tokenizer_desc td;
    kpd_tokenizer *t = NULL;
    kpd_model_desc d;
    kpd_model *m = NULL;
    memset(&td, 0, sizeof td);
    memset(&d, 0, sizeof d);
    td.vocab = vocab; td.vocab_size = strlen(vocab);
    CHECK_OK(kpd_tokenizer_create(&td, &t, NULL));
    d.kind = s->kind; d.pooling = s->pooling; d.activation = s->activation; d.separate_towers = s->separate;
    d.no_normalize = s->no_normalize;
    d.width = s->width; d.n_heads = s->heads; d.ffn_width = s->ffn; d.n_layers = s->layers; d.n_positions = POSITIONS;
    d.n_labels = LABELS; d.tokenizer = t;
    if (s->modules) {
        d.n_modules = 3;
        d.modules[0].kind = KPD_MODULE_DENSE; d.modules[0].width = 7; d.modules[0].activation = KPD_TANH;
        d.modules[1].kind = KPD_MODULE_LAYER_NORM; d.modules[1].width = 7;
        d.modules[2].kind = KPD_MODULE_DENSE; d.modules[2].width = 9; d.modules[2].activation = KPD_IDENTITY;
        d.modules[2].no_bias = true;
    }
    CHECK_OK(kpd_model_create(&d, &m, NULL));
    kpd_tokenizer_destroy(t);
    if (!m) abort();
    fill(m);
    return m;
}

// Four texts of 5, 1, 10 and 3 tokens, over and over.
typedef struct texts { int32_t ids[1024], types[1024]; size_t first[256]; kpdt__batch batch; } texts;

static void make_texts(texts *x, size_t n) {
    static const size_t lengths[] = {5, 1, 10, 3};
    x->first[0] = 0;
    for (size_t i = 0; i < n; i++) {
        x->first[i + 1] = x->first[i] + lengths[i % 4];
        for (size_t t = x->first[i]; t < x->first[i + 1]; t++) {
            x->ids[t] = (int32_t)(t * 7 + 3) % VOCAB;
            x->types[t] = t - x->first[i] >= 3;
        }
    }
    memset(&x->batch, 0, sizeof x->batch);
    x->batch.ids = x->ids; x->batch.types = x->types; x->batch.first = x->first; x->batch.n_texts = n;
}

// A host's threads in the worst order.
static void backwards(void *user, int32_t n, kpd_task_t *task, void *arg) {
    (void)user;
    while (n--) task(arg, n);
}

static kpd_parallel tasks_of(int32_t n) {
    kpd_parallel p;
    p.run = backwards; p.user = NULL; p.n_threads = n;
    return p;
}

typedef struct rig { kpd_model *model; kpdt__net *net; kpdt__tape *tape; } rig;

static rig make_rig(const shape *s, kpd_simd level, int32_t n_tasks, size_t tokens, size_t n) {
    rig r;
    kpd_parallel p = tasks_of(n_tasks);
    r.model = model(s);
    r.net = NULL; r.tape = NULL;
    CHECK(kpd__usable(level));
    CHECK_OK(kpdt__net_create(r.model, s->mlm ? KPDT__WITH_MLM : 0, NULL, &r.net, NULL));
    for (size_t i = r.net->n_tensors; i < r.net->n_parameters; i++) {   // the head of masked-language modelling
        const kpdt__parameter *q = &r.net->parameters[i];
        weights(q->name, r.net->w + q->offset, (size_t)q->rows * (size_t)q->cols);
    }
    kpdt__net_refresh(r.net, &p);
    CHECK_OK(kpdt__tape_create(r.net, tokens, n, kpd__ops_of(level), kpdt__ops_of(level), &p, NULL, &r.tape, NULL));
    return r;
}

static void free_rig(rig *r) {
    kpdt__tape_destroy(r->tape);
    kpdt__net_destroy(r->net);
    kpd_model_destroy(r->model);
}

// REFERENCE: the same network in double, written plainly. -----------------------------------------------------------

static double activate(kpd_activation f, double x) {
    switch (f) {
    case KPD_GELU: return x * .5 * erfc(-x / sqrt(2.0));
    case KPD_GELU_TANH: return .5 * x * (1 + tanh(sqrt(2 / 3.14159265358979323846) * (x + .044715 * x * x * x)));
    case KPD_RELU: return x > 0 ? x : 0;
    case KPD_TANH: return tanh(x);
    default: return x;
    }
}

static void linear(const double *w, const kpdt__linear *l, size_t part, const double *x, double *y) {
    const double *m = w + l->w + part * kpd__round_up(l->n * l->k, 16), *b = w + l->b + part * kpd__round_up(l->n, 16);
    for (size_t i = 0; i < l->n; i++) {
        y[i] = l->y.bias ? b[i] : 0;
        for (size_t j = 0; j < l->k; j++) y[i] += m[i * l->k + j] * x[j];
    }
}

static void norm(const double *w, const kpdt__norm *p, double *x, size_t n) {
    double mean = 0, var = 0;
    for (size_t i = 0; i < n; i++) mean += x[i] / (double)n;
    for (size_t i = 0; i < n; i++) var += (x[i] - mean) * (x[i] - mean) / (double)n;
    for (size_t i = 0; i < n; i++) x[i] = (x[i] - mean) / sqrt(var + (double)p->p.eps) * w[p->gamma + i] + w[p->beta + i];
}

static void drop(const kpdt__dropout *d, uint32_t site, uint64_t text, size_t position, size_t n, double *x) {
    float mask[256];
    if (!d) return;
    kpdt__mask(d, site, text, position, n, mask);
    for (size_t i = 0; i < n; i++) x[i] *= (double)mask[i];
}

static void attend(const double *q, const double *k, const double *v, const kpd_model_desc *d, const kpdt__dropout *drops,
                   uint32_t site, uint64_t text, size_t n, double *out) {
    size_t h = (size_t)d->width, heads = (size_t)d->n_heads, depth = h / heads;
    for (size_t a = 0; a < heads; a++)
        for (size_t t = 0; t < n; t++) {
            double p[MOST], sum = 0;
            for (size_t j = 0; j < n; j++) {
                p[j] = 0;
                for (size_t c = 0; c < depth; c++) p[j] += q[t * h + a * depth + c] * k[j * h + a * depth + c];
                sum += p[j] = exp(p[j] / sqrt((double)depth));
            }
            drop(drops, site, text, t * heads + a, n, p);
            for (size_t c = 0; c < depth; c++) {
                out[t * h + a * depth + c] = 0;
                for (size_t j = 0; j < n; j++) out[t * h + a * depth + c] += p[j] / sum * v[j * h + a * depth + c];
            }
        }
}

static void layer(const double *w, const kpdt__net *net, const kpdt__layer *l, uint32_t at, const kpdt__dropout *d,
                  uint64_t text, size_t n, double *x) {
    static double q[MOST * WIDEST], k[MOST * WIDEST], v[MOST * WIDEST], c[MOST * WIDEST];
    double u[4 * WIDEST], y[WIDEST];
    size_t h = (size_t)net->desc.width;
    for (size_t t = 0; t < n; t++) {
        linear(w, &l->qkv, 0, x + t * h, q + t * h);
        linear(w, &l->qkv, 1, x + t * h, k + t * h);
        linear(w, &l->qkv, 2, x + t * h, v + t * h);
    }
    attend(q, k, v, &net->desc, d, at * 3, text, n, c);
    for (size_t t = 0; t < n; t++, x += h) {
        linear(w, &l->out, 0, c + t * h, y);
        drop(d, at * 3 + 1, text, t, h, y);
        for (size_t i = 0; i < h; i++) x[i] += y[i];
        norm(w, &l->norm1, x, h);
        linear(w, &l->up, 0, x, u);
        for (size_t i = 0; i < l->up.n; i++) u[i] = activate(net->desc.activation, u[i]);
        linear(w, &l->down, 0, u, y);
        drop(d, at * 3 + 2, text, t, h, y);
        for (size_t i = 0; i < h; i++) x[i] += y[i];
        norm(w, &l->norm2, x, h);
    }
}

static void pool(kpd_pooling kind, const double *x, size_t n, size_t h, double *out) {
    for (size_t i = 0; i < h; i++) {
        double sum = 0, weighted = 0, most = -1e300;
        for (size_t t = 0; t < n; t++) {
            sum += x[t * h + i];
            weighted += (double)(t + 1) * x[t * h + i];
            most = fmax(most, x[t * h + i]);
        }
        out[i] = kind == KPD_POOL_MEAN       ? sum / (double)n
                 : kind == KPD_POOL_CLS      ? x[i]
                 : kind == KPD_POOL_MAX      ? most
                 : kind == KPD_POOL_SQRT_LEN ? sum / sqrt((double)n)
                 : kind == KPD_POOL_WEIGHTED ? weighted / (.5 * (double)n * (double)(n + 1))
                                             : x[(n - 1) * h + i];
    }
}

// The encoder's output for the tokens of one text: x [n, H]. Returns n.
static size_t plain_encoder(const double *w, const kpdt__net *net, const kpdt__batch *b, const kpdt__dropout *d, size_t text,
                            double *x) {
    const kpdt__tower *tower = &net->tower[b->tower];
    size_t h = (size_t)net->desc.width, first = b->first[text], n = b->first[text + 1] - first;
    for (size_t t = 0; t < n; t++) {
        for (size_t i = 0; i < h; i++)
            x[t * h + i] = w[tower->word + (size_t)b->ids[first + t] * h + i] + w[tower->position + t * h + i] +
                           w[tower->type + (size_t)b->types[first + t] * h + i];
        norm(w, &tower->norm, x + t * h, h);
        drop(d, KPDT__SITE_EMBEDDING, b->first_text + text, t, h, x + t * h);
    }
    for (uint32_t l = 0; l < (uint32_t)net->desc.n_layers; l++)
        layer(w, net, &tower->layers[l], l, d, b->first_text + text, n, x);
    return n;
}

// One text's vector or logits; returns its width.
static size_t plain(const double *w, const kpdt__net *net, const kpdt__batch *b, const kpdt__dropout *d, size_t text,
                    double *out) {
    static double x[MOST * WIDEST];
    double y[WIDEST];
    size_t h = (size_t)net->desc.width, width = h, n = plain_encoder(w, net, b, d, text, x);
    pool(net->pooling, x, n, h, out);
    for (size_t i = 0; i < net->n_modules; i++) {
        const kpdt__module *m = &net->modules[i];
        if (m->dropout) drop(d, KPDT__SITE_HEAD, b->first_text + text, 0, width, out);
        if (m->kind == KPD_MODULE_DENSE) {
            linear(w, &m->linear, 0, out, y);
            for (size_t j = 0; j < m->out; j++) out[j] = activate(m->activation, y[j]);
        } else norm(w, &m->norm, out, width);
        width = m->out;
    }
    if (net->normalize) {
        double square = 0;
        for (size_t i = 0; i < width; i++) square += out[i] * out[i];
        for (size_t i = 0; i < width; i++) out[i] /= sqrt(square);
    }
    return width;
}

// The loss of all tests here: sum of out * c.
static double plain_loss(const double *w, const kpdt__net *net, const kpdt__batch *b, const kpdt__dropout *d, const float *c) {
    double out[WIDEST], loss = 0;
    for (size_t i = 0; i < b->n_texts; i++) {
        size_t n = plain(w, net, b, d, i, out);
        for (size_t j = 0; j < n; j++) loss += out[j] * (double)c[i * n + j];
    }
    return loss;
}

// GRADIENTS ---------------------------------------------------------------------------------------------------------

// The largest difference of got and want over the largest want of the tensor, or of a hundredth of the largest of all, since
// some gradients (of the keys' biases) are zero but for rounding.
static double tensor_error(const float *got, const double *want, size_t n, double most_of_all) {
    double error = 0, most = .01 * most_of_all;
    for (size_t i = 0; i < n; i++) {
        most = fmax(most, fabs(want[i]));
        error = fmax(error, fabs((double)got[i] - want[i]));
    }
    return error / most;
}

static void check_tensors(const kpdt__net *net, const double *want, const char *what, double limit) {
    double most = 0;
    for (size_t i = 0; i < net->n; i++) most = fmax(most, fabs(want[i]));
    for (size_t i = 0; i < net->n_parameters; i++) {
        const kpdt__parameter *p = &net->parameters[i];
        size_t n = (size_t)p->rows * (size_t)p->cols;
        double error = tensor_error(net->g + p->offset, want + p->offset, n, most);
        CHECK_THAT(error < limit, "%s: gradient of %s is off by %.3g", what, p->name, error);
    }
}

static double *in_double(const kpdt__net *net) {
    double *w = (double *)malloc(net->n * sizeof *w);
    if (!w) abort();
    for (size_t i = 0; i < net->n; i++) w[i] = (double)net->w[i];
    return w;
}

static void check_gradient(const shape *s, const kpdt__dropout *d, kpd_tower tower, const char *what) {
    static texts x;
    float out[8 * WIDEST], c[8 * WIDEST];
    rig r = make_rig(s, KPD_SIMD_SCALAR, 2, 64, 4);
    double *w = in_double(r.net), *want = in_double(r.net), v[WIDEST];
    size_t dim = kpdt__net_dim(r.net);
    make_texts(&x, 4);
    x.batch.tower = tower; x.batch.first_text = 1000;
    numbers("dout", c, 4 * dim);
    CHECK_OK(kpdt__forward(r.tape, &x.batch, d, out, NULL));
    for (size_t i = 0; i < 4; i++) {
        plain(w, r.net, &x.batch, d, i, v);
        for (size_t j = 0; j < dim; j++) CHECK_NEAR(out[i * dim + j], v[j], 5e-6);
    }
    kpdt__backward(r.tape, c);
    for (size_t i = 0; i < r.net->n; i++) {
        double at = w[i], up;
        if (i % 3) { want[i] = (double)r.net->g[i]; continue; }   // a third of them: time
        w[i] = at + 1e-5;
        up = plain_loss(w, r.net, &x.batch, d, c);
        w[i] = at - 1e-5;
        want[i] = (up - plain_loss(w, r.net, &x.batch, d, c)) / 2e-5;
        w[i] = at;
    }
    check_tensors(r.net, want, what, 1e-5);
    free(w); free(want);
    free_rig(&r);
}

static void whole_gradients_match_central_differences(void) {
    static const char *const pools[] = {"mean", "cls", "max", "sqrt-len", "weighted", "last"};
    static const kpd_activation f[] = {KPD_GELU, KPD_GELU_TANH, KPD_RELU, KPD_TANH, KPD_GELU, KPD_GELU};
    kpdt__dropout d = kpdt__dropout_make(0.2f, 7, 3);
    shape s = small;
    for (int i = 0; i <= KPD_POOL_LAST; i++) {
        s.pooling = (kpd_pooling)i; s.activation = f[i];
        check_gradient(&s, NULL, KPD_ITEM, pools[i]);
    }
    s = small; s.modules = true; s.separate = true;
    check_gradient(&s, NULL, KPD_KEYPHRASE, "modules, second tower");
    s = small; s.no_normalize = true; s.width = 20; s.heads = 1; s.ffn = 33; s.layers = 1;
    check_gradient(&s, NULL, KPD_ITEM, "width 20, not normalised");
    check_gradient(&s, &d, KPD_ITEM, "width 20, dropout");
    s = small; s.kind = KPD_CROSS_ENCODER;
    check_gradient(&s, NULL, KPD_ITEM, "cross-encoder");
    check_gradient(&s, &d, KPD_ITEM, "cross-encoder, dropout");
}

// Single layers. ----------------------------------------------------------------------------------------------------

static void activation_slopes_are_right(void) {
    for (int f = KPD_GELU; f <= KPD_IDENTITY; f++)
        for (double u = -9; u < 9; u += .0137) {
            float x = (float)u, a, d = 1;
            double at = (double)x, up = activate((kpd_activation)f, at + 1e-5);
            double slope = (up - activate((kpd_activation)f, at - 1e-5)) / 2e-5;
            kpd__scalar_train_ops.activate_backward((kpd_activation)f, &x, 1, &a, &d);
            CHECK_NEAR(a, activate((kpd_activation)f, at), 1e-6);
            CHECK_NEAR(d, slope, 3e-6);
        }
}

static void norm_gradient_is_right(void) {
    enum { N = 37 };
    float gamma[N], beta[N], x[N], dy[N], z[N], y[N], dx[N], scale;
    kpd__norm p;
    kpdt__norm q;
    double w[2 * N];
    numbers("gamma", gamma, N); numbers("beta", beta, N); numbers("x", x, N); numbers("dy", dy, N);
    p.gamma = gamma; p.beta = beta; p.eps = 1e-5f;
    q.p = p; q.gamma = 0; q.beta = N;
    for (size_t i = 0; i < N; i++) { w[i] = (double)gamma[i]; w[N + i] = (double)beta[i]; }
    scale = kpd__scalar_train_ops.norm(&p, x, N, z, y);
    kpd__scalar_train_ops.norm_backward(&p, dy, z, scale, N, dx);
    for (size_t i = 0; i < N; i++) {
        double loss[2];
        for (int side = 0; side < 2; side++) {
            double v[N];
            for (size_t j = 0; j < N; j++) v[j] = (double)x[j] + (i == j ? (side ? 1e-5 : -1e-5) : 0);
            norm(w, &q, v, N);
            loss[side] = 0;
            for (size_t j = 0; j < N; j++) loss[side] += v[j] * (double)dy[j];
        }
        CHECK_NEAR(dx[i], (loss[1] - loss[0]) / 2e-5, 2e-6);
    }
}

static void a_zero_vector_has_no_gradient(void) {
    float x[20] = {0}, dy[20], dx[20];
    numbers("dy", dy, 20);
    kpd__scalar_train_ops.normalize_backward(x, dy, 20, dx);
    for (int i = 0; i < 20; i++) CHECK(dx[i] == 0);
}

// dW of n x k over t tokens, in one call and in two, against one number after the other, at every level. k is more than what is
// packed at a time, and no whole number of panels.
static void weight_gradient_is_a_chain(void) {
    enum { N = 29, K = 293, T = 600 };
    static float dy[T * N], x[T * K], dw[N * K], two[N * K], scratch[KPDT__PACK];
    numbers("dy", dy, T * N); numbers("x", x, T * K);
    kpd__scalar_train_ops.weight_gradient(dy, N, x, K, T, N, K, dw, scratch);
    kpd__scalar_train_ops.weight_gradient(dy, N, x, K, 301, N, K, two, scratch);
    kpd__scalar_train_ops.weight_gradient(dy + 301 * N, N, x + 301 * K, K, T - 301, N, K, two, scratch);
    CHECK(!memcmp(dw, two, sizeof dw));
    for (size_t i = 0; i < N; i++)
        for (size_t j = 0; j < K; j++) {
            float chain = 0;
            for (size_t t = 0; t < T; t++) chain = kpd__fma(dy[t * N + i], x[t * K + j], chain);
            CHECK(chain == dw[i * K + j]);
        }
    for (int l = KPD_SIMD_SCALAR; l < KPD_SIMD_COUNT; l++) {
        if (!kpd_simd_available((kpd_simd)l)) continue;
        memset(two, 0, sizeof two);
        kpdt__ops_of((kpd_simd)l)->weight_gradient(dy, N, x, K, T, N, K, two, scratch);
        CHECK_THAT(!memcmp(dw, two, sizeof dw), "level %s: another gradient", kpd_simd_name((kpd_simd)l));
    }
}

static void dropout_keeps_the_mean(void) {
    kpdt__dropout d = kpdt__dropout_make(0.1f, 1, 2), other = kpdt__dropout_make(0.1f, 1, 3);
    float a[64], b[64];
    double sum = 0;
    size_t equal = 0;
    for (size_t row = 0; row < 4000; row++) {
        kpdt__mask(&d, 5, 77, row, 64, a);
        kpdt__mask(&other, 5, 77, row, 64, b);
        for (size_t i = 0; i < 64; i++) { sum += (double)a[i]; equal += a[i] == b[i]; }
    }
    CHECK_NEAR(sum / (4000 * 64), 1, 3e-3);
    CHECK_NEAR((double)equal / (4000 * 64), .82, 3e-3);   // .9^2 + .1^2
}

// BITS --------------------------------------------------------------------------------------------------------------

// Texts [begin, begin + n) as a batch of their own.
static kpdt__batch slice_of(const texts *x, size_t begin, size_t n, size_t *first) {
    kpdt__batch b = x->batch;
    b.ids += x->first[begin]; b.types += x->first[begin];
    for (size_t i = 0; i <= n; i++) first[i] = x->first[begin + i] - x->first[begin];
    b.first = first; b.n_texts = n; b.first_text = begin;
    return b;
}

// Outputs, then gradients, of two passes; the second adds to the first. pieces > 1 cuts the batch.
static float *bits_of(const shape *s, kpd_simd level, int32_t n_tasks, size_t pieces, const kpdt__dropout *d, size_t *size) {
    enum { N = 60 };   // 285 tokens: two blocks, and two pieces of a weight gradient
    static texts x;
    static float c[N * WIDEST];
    size_t first[N + 1];
    rig r = make_rig(s, level, n_tasks, 1024, N);
    size_t dim = kpdt__net_dim(r.net), each = N / pieces;
    float *all = (float *)malloc((N * dim + r.net->n) * sizeof *all);
    if (!all) abort();
    make_texts(&x, N);
    numbers("dout", c, N * dim);
    for (int pass = 0; pass < 2; pass++)
        for (size_t p = 0; p < pieces; p++) {
            kpdt__batch b = slice_of(&x, p * each, each, first);
            b.tower = s->separate && pass ? KPD_KEYPHRASE : KPD_ITEM;
            CHECK_OK(kpdt__forward(r.tape, &b, d, all + p * each * dim, NULL));
            kpdt__backward(r.tape, c + p * each * dim);
        }
    memcpy(all + N * dim, r.net->g, r.net->n * sizeof *all);
    *size = (N * dim + r.net->n) * sizeof *all;
    free_rig(&r);
    return all;
}

static void same_bits(const shape *s, const kpdt__dropout *d, const char *what, uint64_t hash) {
    size_t size, other;
    float *want = bits_of(s, KPD_SIMD_SCALAR, 1, 1, d, &size);
    CHECK_THAT(kpd__hash64(want, size) == hash, "%s: the hash is %016llx: this compiler gives other bits", what,
               (unsigned long long)kpd__hash64(want, size));
    for (int l = KPD_SIMD_SCALAR; l < KPD_SIMD_COUNT; l++)
        for (int32_t n = 1; kpd_simd_available((kpd_simd)l) && n <= 3; n++)
            for (size_t pieces = 1; pieces <= 3; pieces += 2) {   // accumulating over pieces continues the chains
                float *got = bits_of(s, (kpd_simd)l, n, pieces, d, &other);
                CHECK_THAT(!memcmp(want, got, size), "%s: level %s, %d tasks, %d pieces", what, kpd_simd_name((kpd_simd)l),
                           (int)n, (int)pieces);
                free(got);
            }
    free(want);
}

static void bits_do_not_depend_on_level_or_tasks(void) {
    kpdt__dropout d = kpdt__dropout_make(0.1f, 11, 5);
    shape s = small;
    same_bits(&s, NULL, "width 12", UINT64_C(0x1D6C209D17D5CA64));
    s.activation = KPD_GELU_TANH; s.pooling = KPD_POOL_WEIGHTED;
    same_bits(&s, &d, "width 12, dropout", UINT64_C(0x2FCBCFDBBC39F042));
    s = small; s.width = 48; s.heads = 3; s.ffn = 100; s.modules = true; s.separate = true; s.pooling = KPD_POOL_MAX;
    same_bits(&s, &d, "width 48", UINT64_C(0x40E90D827A56908E));
    s = small; s.kind = KPD_CROSS_ENCODER; s.width = 20; s.heads = 4;
    same_bits(&s, &d, "cross-encoder", UINT64_C(0x389BCC44C03A0496));
}

// Without dropout the forward pass is kpd.h's.
static void forward_gives_the_bits_of_inference(void) {
    for (int kind = KPD_BI_ENCODER; kind <= KPD_CROSS_ENCODER; kind++) {
        kpd_input in = kpd_input_str("blue case for phone", NULL, NULL);
        int32_t ids[POSITIONS], types[POSITIONS];
        size_t first[2] = {0, 0};
        float got[WIDEST], want[WIDEST];
        shape s = small;
        rig r;
        kpd_session_desc d;
        kpd_session *session = NULL;
        kpd_tokens t;
        kpdt__batch b;
        s.kind = (kpd_kind)kind; s.modules = kind == KPD_BI_ENCODER;
        r = make_rig(&s, KPD_SIMD_SCALAR, 1, 16, 1);
        memset(&d, 0, sizeof d); memset(&t, 0, sizeof t); memset(&b, 0, sizeof b);
        if (kind) d.assistant = r.model; else d.student = r.model;
        CHECK_OK(kpd_session_create(&d, &session, NULL));
        t.ids = ids; t.types = types; t.capacity = POSITIONS;
        CHECK_OK(kpd_model_tokenize(r.model, KPD_ITEM, &in, false, &t, NULL));
        first[1] = (size_t)t.count;
        b.ids = ids; b.types = types; b.first = first; b.n_texts = 1;
        CHECK_OK(kpdt__forward(r.tape, &b, NULL, got, NULL));
        if (kind) CHECK_OK(kpd_score(session, r.model, &in, 1, want, NULL));
        else CHECK_OK(kpd_embed(session, r.model, KPD_ITEM, &in, 1, 0, want, NULL));
        CHECK(!memcmp(got, want, kpdt__net_dim(r.net) * sizeof *got));
        kpd_session_destroy(session);
        free_rig(&r);
    }
}

static void frozen_layers_get_no_gradient(void) {
    static texts x;
    float out[4 * WIDEST], c[4 * WIDEST];
    rig r = make_rig(&small, KPD_SIMD_SCALAR, 1, 64, 4);
    make_texts(&x, 4);
    numbers("dout", c, 4 * WIDEST);
    r.net->frozen = 2;
    CHECK_OK(kpdt__forward(r.tape, &x.batch, NULL, out, NULL));
    kpdt__backward(r.tape, c);
    for (size_t i = 0; i < r.net->n_parameters; i++) {
        const kpdt__parameter *p = &r.net->parameters[i];
        CHECK((r.net->g[p->offset] != 0) == (p->depth >= 2));
    }
    free_rig(&r);
}

static void parameters_come_back_as_they_went_in(void) {
    shape s = small;
    rig r = make_rig(&s, KPD_SIMD_SCALAR, 1, 16, 1);
    kpdt__net *again = NULL;
    for (size_t i = 0; i < r.net->n_parameters; i++)
        for (size_t j = 0; j < (size_t)(r.net->parameters[i].rows * r.net->parameters[i].cols); j++)
            r.net->w[r.net->parameters[i].offset + j] += 0.25f;
    CHECK_OK(kpdt__net_export(r.net, r.net->w, r.model, NULL));
    CHECK_OK(kpdt__net_create(r.model, 0, NULL, &again, NULL));
    CHECK(!memcmp(again->w, r.net->w, r.net->n * sizeof(float)));
    kpdt__net_destroy(again);
    free_rig(&r);
}

// OPTIMISER ---------------------------------------------------------------------------------------------------------

static void schedules_are_those_of_transformers(void) {
    kpdt__schedule s = {2.0f, 4, 12, false};
    const double pi = 3.14159265358979323846;
    CHECK(kpdt__rate(&s, 0) == 0);
    CHECK_NEAR(kpdt__rate(&s, 3), 1.5, 1e-7);
    CHECK_NEAR(kpdt__rate(&s, 4), 2, 1e-7);
    CHECK_NEAR(kpdt__rate(&s, 6), 1.5, 1e-7);
    CHECK(kpdt__rate(&s, 12) == 0);
    s.cosine = true;
    for (int64_t i = 4; i < 12; i++) CHECK_NEAR(kpdt__rate(&s, i), 1 + cos(pi * (double)(i - 4) / 8), 3e-7);
    CHECK_NEAR(kpdt__power(.999, 1000), pow(.999, 1000), 1e-13);
}

// Five steps against AdamW in double, with clipping, layer-wise rates and frozen embeddings.
static void adamw_matches_double(void) {
    shape s = small;
    rig r = make_rig(&s, kpd__best_level(), 1, 16, 1);
    kpdt__optimizer *o = NULL;
    size_t n = r.net->n;
    double *w = in_double(r.net), *m = (double *)calloc(n, sizeof *m), *v = (double *)calloc(n, sizeof *v), norm;
    kpd_parallel p = tasks_of(3);
    if (!m || !v || !CHECK_OK(kpdt__optimizer_create(r.net, r.tape->ops, r.tape->train, &p, &o, NULL))) abort();
    o->clip = 1; o->layer_decay = .5f; r.net->frozen = 1;
    for (int step = 1; step <= 5; step++) {
        norm = 0;
        for (size_t i = 0; i < r.net->n_parameters; i++) {
            const kpdt__parameter *q = &r.net->parameters[i];
            numbers(q->name + step, r.net->g + q->offset, (size_t)(q->rows * q->cols));
        }
        for (size_t i = 0; i < n; i++) norm += (double)r.net->g[i] * (double)r.net->g[i];
        for (size_t i = 0; i < r.net->n_parameters; i++) {
            const kpdt__parameter *q = &r.net->parameters[i];
            double rate = .01 * pow(.5, 3 - q->depth), decay = q->decay ? (double)o->decay : 0;
            for (size_t j = q->offset; q->depth && j < q->offset + (size_t)(q->rows * q->cols); j++) {
                double g = (double)r.net->g[j] / sqrt(norm);
                m[j] = .9 * m[j] + .1 * g;
                v[j] = .999 * v[j] + .001 * g * g;
                w[j] -= rate * decay * w[j];
                w[j] -= rate * (m[j] / (1 - pow(.9, step))) / (sqrt(v[j] / (1 - pow(.999, step))) + 1e-8);
            }
        }
        CHECK_NEAR(kpdt__optimizer_step(o, .01f), sqrt(norm), 1e-5 * sqrt(norm));
    }
    for (size_t i = 0; i < n; i++) CHECK_NEAR(r.net->w[i], w[i], 2e-6);
    CHECK(r.net->g[0] == 0 && r.net->g[n - 1] == 0);
    r.net->g[5] = INFINITY;
    CHECK(!kpd__finite(kpdt__optimizer_step(o, .01f)) && o->step == 5 && r.net->g[5] == 0);
    kpdt__optimizer_destroy(o);
    free(w); free(m); free(v);
    free_rig(&r);
}

// A tape, a net and an optimiser: each allocation refused once.
static void *refuse(void *user, size_t size) { return (*(int *)user)-- > 0 ? malloc(size) : NULL; }
static void give_back(void *user, void *ptr, size_t size) { (void)user; (void)size; free(ptr); }

static void refused_memory_is_reported(void) {
    kpd_model *m = model(&small);
    kpd_parallel p = tasks_of(2);
    for (int most = 0; most < 3; most++) {
        int left = most;
        kpd_allocator a;
        kpdt__net *net = NULL;
        kpdt__tape *tape = NULL;
        kpdt__optimizer *o = NULL;
        a.alloc = refuse; a.free = give_back; a.user = &left;
        CHECK_STATUS(kpdt__net_create(m, 0, &a, &net, NULL), most ? KPD_OK : KPD_ERR_MEMORY);
        if (!net) continue;
        CHECK_STATUS(kpdt__tape_create(net, 16, 2, &kpd__scalar_ops, &kpd__scalar_train_ops, &p, NULL, &tape, NULL),
                     most > 1 ? KPD_OK : KPD_ERR_MEMORY);
        CHECK_STATUS(kpdt__optimizer_create(net, &kpd__scalar_ops, &kpd__scalar_train_ops, &p, &o, NULL), KPD_ERR_MEMORY);
        kpdt__tape_destroy(tape);
        kpdt__net_destroy(net);
    }
    kpd_model_destroy(m);
}

static void batches_that_do_not_fit_are_refused(void) {
    static texts x;
    float out[8 * WIDEST];
    rig r = make_rig(&small, KPD_SIMD_SCALAR, 1, 18, 3);
    make_texts(&x, 4);
    CHECK_STATUS(kpdt__forward(r.tape, &x.batch, NULL, out, NULL), KPD_ERR_LIMIT);
    x.batch.n_texts = 3;
    CHECK_OK(kpdt__forward(r.tape, &x.batch, NULL, out, NULL));
    x.first[1] = 0;
    CHECK_STATUS(kpdt__forward(r.tape, &x.batch, NULL, out, NULL), KPD_ERR_INPUT);
    free_rig(&r);
}

// PYTORCH -----------------------------------------------------------------------------------------------------------

static void read_floats(FILE *f, double *v, size_t n) {
    for (size_t i = 0; i < n; i++) {
        float x = 0;
        CHECK(fread(&x, sizeof x, 1, f) == 1);
        v[i] = (double)x;
    }
}

static void golden_case(FILE *f, const shape *s, const char *what) {
    static texts x;
    rig r = make_rig(s, kpd__best_level(), 1, 64, 4);
    size_t dim = kpdt__net_dim(r.net);
    float out[4 * WIDEST], c[4 * WIDEST];
    double *want = in_double(r.net), v[4 * WIDEST];
    make_texts(&x, 4);
    numbers("dout", c, 4 * dim);
    CHECK_OK(kpdt__forward(r.tape, &x.batch, NULL, out, NULL));
    kpdt__backward(r.tape, c);
    read_floats(f, v, 4 * dim);
    for (size_t i = 0; i < 4 * dim; i++) CHECK_NEAR(out[i], v[i], 5e-6);
    for (size_t i = 0; i < r.net->n_parameters; i++)
        read_floats(f, want + r.net->parameters[i].offset,
                    (size_t)r.net->parameters[i].rows * (size_t)r.net->parameters[i].cols);
    check_tensors(r.net, want, what, 1e-5);
    free(want);
    free_rig(&r);
}

static void whole_gradients_match_pytorch(void) {
    FILE *f = fopen("tests/golden/layers.bin", "rb");
    shape s = small;
    if (!CHECK_THAT(f != NULL, "cannot read tests/golden/layers.bin")) return;
    golden_case(f, &s, "mean, gelu");
    s.pooling = KPD_POOL_MAX; s.activation = KPD_GELU_TANH; s.modules = true;
    golden_case(f, &s, "max, gelu_tanh, modules");
    s = small; s.pooling = KPD_POOL_WEIGHTED; s.activation = KPD_RELU; s.no_normalize = true;
    golden_case(f, &s, "weighted, relu");
    s = small; s.kind = KPD_CROSS_ENCODER;
    golden_case(f, &s, "cross-encoder");
    CHECK(fgetc(f) == EOF);
    fclose(f);
}

// PHASES ------------------------------------------------------------------------------------------------------------

enum { PAIRS = 4 };

static void pairs(kpd_input *items, kpd_input *phrases) {
    items[0] = kpd_input_str("blue case for phone", NULL, NULL); phrases[0] = kpd_input_str("phone case", NULL, NULL);
    items[1] = kpd_input_str("red lamp", "lamp", NULL);          phrases[1] = kpd_input_str("lamp", NULL, NULL);
    items[2] = kpd_input_str("phone pro", NULL, NULL);           phrases[2] = kpd_input_str("pro", NULL, NULL);
    items[3] = kpd_input_str("blue pro", NULL, NULL);            phrases[3] = kpd_input_str("blue", NULL, NULL);
}

static kpdt_trainer *trainer(const shape *s, int32_t n_tasks, float dropout) {
    kpd_model *m = model(s);
    kpdt_trainer_desc d;
    kpdt_trainer *t = NULL;
    memset(&d, 0, sizeof d);
    d.start = m; d.max_tokens = 64; d.max_texts = PAIRS; d.steps = 30; d.rate = 0.01f; d.warmup = 0.1f; d.weight_decay = 0.01f;
    d.dropout = dropout; d.seed = 5; d.layer_decay = 0.9f; d.cosine_decay = true; d.parallel = tasks_of(n_tasks);
    CHECK_OK(kpdt_trainer_create(&d, &t, NULL));
    kpd_model_destroy(m);   // the start is copied
    if (!t) abort();
    return t;
}

// One step of MNR; returns the loss before it.
static float mnr_step(kpdt_trainer *t, size_t dim) {
    kpd_input items[PAIRS], phrases[PAIRS];
    float a[PAIRS * WIDEST], b[PAIRS * WIDEST], da[PAIRS * WIDEST] = {0}, db[PAIRS * WIDEST] = {0}, work[2 * PAIRS * PAIRS];
    float loss = 0;
    kpdt_loss_desc d;
    kpdt_vectors v;
    kpdt_report r;
    memset(&d, 0, sizeof d);
    memset(&v, 0, sizeof v);
    memset(&r, 0, sizeof r);
    pairs(items, phrases);
    d.loss = KPDT_MNR;
    v.a = a; v.b = b; v.na = v.nb = PAIRS; v.dim = (int32_t)dim; v.work = work; v.da = da; v.db = db;
    CHECK_OK(kpdt_trainer_forward(t, KPD_ITEM, items, PAIRS, a, NULL));
    CHECK_OK(kpdt_trainer_forward(t, KPD_KEYPHRASE, phrases, PAIRS, b, NULL));
    CHECK_OK(kpdt_loss_vectors(&d, &v, &loss, NULL));
    CHECK_OK(kpdt_trainer_backward(t, KPD_ITEM, da, NULL));
    CHECK_OK(kpdt_trainer_backward(t, KPD_KEYPHRASE, db, NULL));
    CHECK_OK(kpdt_trainer_apply(t, &r, NULL));
    CHECK(r.grad_norm > 0 && r.rate >= 0 && r.step > 0);
    return loss;
}

// The first and last loss of 30 steps, and a hash of the model after them.
static uint64_t train(const shape *s, int32_t n_tasks, float dropout, float *before, float *after) {
    kpdt_trainer *t = trainer(s, n_tasks, dropout);
    kpd_model *m = NULL;
    uint64_t hash;
    size_t dim = s->modules ? 9 : (size_t)s->width;
    *before = mnr_step(t, dim);
    for (int step = 1; step < 30; step++) *after = mnr_step(t, dim);
    CHECK_STATUS(kpdt_trainer_apply(t, NULL, NULL), KPD_ERR_ARGUMENT);   // 30 were asked for
    CHECK_OK(kpdt_trainer_model(t, false, &m, NULL));
    kpdt_trainer_destroy(t);
    hash = kpd__hash64(m->file.data, kpd_model_size(m));
    kpd_model_destroy(m);
    return hash;
}

static void thirty_steps_lower_the_loss(void) {
    float before = 0, after = 0;
    shape s = small;
    train(&s, 1, 0, &before, &after);
    CHECK_THAT(after < 0.5f * before, "one model for both towers: from %g to %g", (double)before, (double)after);
    s.separate = true; s.modules = true;
    train(&s, 1, 0, &before, &after);
    CHECK_THAT(after < 0.5f * before, "two models: from %g to %g", (double)before, (double)after);
}

static void training_has_the_same_bits_on_any_number_of_threads(void) {
    float before[2] = {0, 0}, after[2] = {0, 0};
    uint64_t one = train(&small, 1, 0.1f, &before[0], &after[0]), two = train(&small, 2, 0.1f, &before[1], &after[1]);
    CHECK(one == two);
    CHECK(before[0] == before[1] && after[0] == after[1]);
}

// Forward is kpd_embed's; a batch in pieces gives the gradient of the whole, dropout included.
static void phases_agree_with_inference_and_with_pieces(void) {
    kpd_input items[PAIRS], phrases[PAIRS];
    float a[PAIRS * WIDEST], b[PAIRS * WIDEST], c[PAIRS * WIDEST], *g;
    kpdt_trainer *t = trainer(&small, 1, 0), *whole = trainer(&small, 1, 0.2f), *parts = trainer(&small, 2, 0.2f);
    kpd_session_desc d;
    kpd_session *session = NULL;
    kpd_model *m = NULL;
    size_t n = 0, dim = (size_t)small.width;
    pairs(items, phrases);
    numbers("dout", c, PAIRS * dim);
    CHECK_OK(kpdt_trainer_model(t, false, &m, NULL));
    memset(&d, 0, sizeof d);
    d.student = m;
    CHECK_OK(kpd_session_create(&d, &session, NULL));
    for (int tower = KPD_ITEM; tower <= KPD_KEYPHRASE; tower++) {
        const kpd_input *in = tower ? phrases : items;
        CHECK_OK(kpdt_trainer_forward(t, (kpd_tower)tower, in, PAIRS, a, NULL));
        CHECK_OK(kpd_embed(session, m, (kpd_tower)tower, in, PAIRS, 0, b, NULL));
        CHECK(!memcmp(a, b, PAIRS * dim * sizeof *a));
        CHECK_OK(kpdt_trainer_forward(whole, (kpd_tower)tower, in, PAIRS, a, NULL));
        CHECK(memcmp(a, b, PAIRS * dim * sizeof *a) != 0);
        CHECK_OK(kpdt_trainer_backward(whole, (kpd_tower)tower, c, NULL));
        for (size_t at = 0; at < PAIRS; at += 2) {
            CHECK_OK(kpdt_trainer_forward(parts, (kpd_tower)tower, in + at, 2, b + at * dim, NULL));
            CHECK_OK(kpdt_trainer_backward(parts, (kpd_tower)tower, c + at * dim, NULL));
        }
        CHECK(!memcmp(a, b, PAIRS * dim * sizeof *a));
    }
    g = kpdt_trainer_gradient(whole, &n);
    CHECK(n % 16 == 0 && !memcmp(g, kpdt_trainer_gradient(parts, &n), n * sizeof *g));
    kpd_session_destroy(session);
    kpd_model_destroy(m);
    kpdt_trainer_destroy(t); kpdt_trainer_destroy(whole); kpdt_trainer_destroy(parts);
    kpdt_trainer_destroy(NULL);
}

static void a_cross_encoder_learns_labels(void) {
    kpd_input in[2];
    float logits[4], d[4], first = 0, loss = 0;
    const int32_t labels[2] = {1, 0};
    shape s = small;
    kpdt_trainer *t;
    s.kind = KPD_CROSS_ENCODER;
    t = trainer(&s, 2, 0);
    in[0] = kpd_input_str("case", "phone", "blue case"); in[1] = kpd_input_str("red lamp", "pro", "for lamp pro");
    for (int step = 0; step < 30; step++) {
        CHECK_OK(kpdt_trainer_forward(t, KPD_ITEM, in, 2, logits, NULL));
        CHECK_OK(kpdt_cross_entropy(logits, labels, 2, LABELS, &loss, d, NULL));
        if (!step) first = loss;
        CHECK_OK(kpdt_trainer_backward(t, KPD_ITEM, d, NULL));
        CHECK_OK(kpdt_trainer_apply(t, NULL, NULL));
    }
    CHECK_THAT(loss < 0.5f * first, "from %g to %g", (double)first, (double)loss);
    CHECK_STATUS(kpdt_trainer_forward(t, KPD_KEYPHRASE, in, 2, logits, NULL), KPD_ERR_ARGUMENT);
    kpdt_trainer_destroy(t);
}

static void wrong_phases_are_refused(void) {
    kpd_input items[PAIRS + 1], phrases[PAIRS];
    float a[PAIRS * WIDEST], c[PAIRS * WIDEST] = {0}, before, *g;
    kpdt_trainer *t = trainer(&small, 1, 0);
    kpd_error e;
    size_t n = 0;
    pairs(items, phrases);
    CHECK_STATUS(kpdt_trainer_backward(t, KPD_ITEM, c, &e), KPD_ERR_ARGUMENT);              // no forward
    CHECK_STATUS(kpdt_trainer_forward(t, KPD_ITEM, items, 0, a, &e), KPD_ERR_ARGUMENT);
    CHECK_STATUS(kpdt_trainer_forward(t, (kpd_tower)2, items, 1, a, &e), KPD_ERR_ARGUMENT);
    CHECK_STATUS(kpdt_trainer_forward(t, KPD_ITEM, items, PAIRS + 1, a, &e), KPD_ERR_LIMIT);
    CHECK_OK(kpdt_trainer_forward(t, KPD_ITEM, items, PAIRS, a, &e));
    CHECK_STATUS(kpdt_trainer_backward(t, KPD_KEYPHRASE, c, &e), KPD_ERR_ARGUMENT);         // the other tower's
    c[3] = NAN;
    CHECK_STATUS(kpdt_trainer_backward(t, KPD_ITEM, c, &e), KPD_ERR_INPUT);
    CHECK_INT(e.where, 3);
    c[3] = 1;
    CHECK_OK(kpdt_trainer_backward(t, KPD_ITEM, c, &e));
    CHECK_STATUS(kpdt_trainer_backward(t, KPD_ITEM, c, &e), KPD_ERR_ARGUMENT);              // twice
    CHECK_OK(kpdt_trainer_forward(t, KPD_ITEM, items, PAIRS, a, &e));
    items[1].n_parts = 3;
    CHECK_STATUS(kpdt_trainer_forward(t, KPD_ITEM, items, PAIRS, a, &e), KPD_ERR_INPUT);
    CHECK_INT(e.where, 1);
    CHECK_STATUS(kpdt_trainer_backward(t, KPD_ITEM, c, &e), KPD_ERR_ARGUMENT);              // the last forward failed
    items[1].n_parts = 1;
    CHECK_OK(kpdt_trainer_forward(t, KPD_ITEM, items, PAIRS, a, &e));
    g = kpdt_trainer_gradient(t, &n);
    CHECK(n == t->net->n && g[0] == t->net->g[0]);
    g[1] = INFINITY;
    before = t->net->w[0];
    CHECK_STATUS(kpdt_trainer_apply(t, NULL, &e), KPD_ERR_ARGUMENT);
    CHECK(g[1] == 0 && t->net->w[0] == before);
    CHECK_STATUS(kpdt_trainer_backward(t, KPD_ITEM, c, &e), KPD_ERR_ARGUMENT);              // apply since
    kpdt_trainer_destroy(t);
}

// Each field out of its range; more text than max_tokens; then each allocation refused once.
static void wrong_trainers_are_refused(void) {
    kpd_model *m = model(&small);
    kpdt_trainer_desc good, d;
    kpdt_trainer *t = NULL;
    kpd_input in[10];
    float out[10 * WIDEST];
    kpd_error e;
    int refused = 0, left;
    kpd_status s;
    memset(&good, 0, sizeof good);
    good.start = m; good.steps = 1; good.max_tokens = 16;
#define REFUSED(assignment) \
    do { d = good; d.assignment; CHECK_STATUS(kpdt_trainer_create(&d, &t, &e), KPD_ERR_ARGUMENT); } while (0)
    REFUSED(start = NULL); REFUSED(steps = 0); REFUSED(max_tokens = -1); REFUSED(max_texts = -1); REFUSED(frozen_layers = 3);
    REFUSED(rate = NAN); REFUSED(warmup = 1); REFUSED(weight_decay = -1); REFUSED(beta1 = 1); REFUSED(beta2 = -1);
    REFUSED(epsilon = -1); REFUSED(clip = INFINITY); REFUSED(dropout = 1); REFUSED(layer_decay = -1);
    REFUSED(parallel.n_threads = -1); REFUSED(allocator.alloc = refuse);
    REFUSED(simd = kpd_simd_available(KPD_SIMD_NEON) ? KPD_SIMD_AVX2 : KPD_SIMD_NEON);
    CHECK_OK(kpdt_trainer_create(&good, &t, &e));
    for (int i = 0; i < 10; i++) in[i] = kpd_input_str("blue case", NULL, NULL);
    CHECK_STATUS(kpdt_trainer_forward(t, KPD_ITEM, in, 10, out, &e), KPD_ERR_LIMIT);
    CHECK_INT(e.where, 4);   // 4 texts of 4 tokens fit
    CHECK_OK(kpdt_trainer_forward(t, KPD_ITEM, in, 4, out, &e));
    CHECK_OK(kpdt_trainer_forward(t, KPD_ITEM, in, 2, out, &e));            // in place of the former
    CHECK_STATUS(kpdt_trainer_forward(t, KPD_KEYPHRASE, in, 3, out, &e), KPD_ERR_LIMIT);
    CHECK_THAT(strstr(e.message, "beside the 8") != NULL, "%s", e.message);
    CHECK_OK(kpdt_trainer_forward(t, KPD_KEYPHRASE, in, 2, out, &e));       // both are kept
    CHECK_OK(kpdt_trainer_backward(t, KPD_ITEM, out, &e));
    CHECK_STATUS(kpdt_trainer_forward(t, KPD_ITEM, in, 3, out, &e), KPD_ERR_LIMIT);
    CHECK_OK(kpdt_trainer_backward(t, KPD_KEYPHRASE, out, &e));
    CHECK_OK(kpdt_trainer_forward(t, KPD_KEYPHRASE, in, 4, out, &e));
    kpdt_trainer_destroy(t);
    good.allocator.alloc = refuse; good.allocator.free = give_back; good.allocator.user = &left;
    for (t = NULL; !t && refused < 100; refused += !t) {
        left = refused;
        s = kpdt_trainer_create(&good, &t, &e);
        CHECK(s == (t ? KPD_OK : KPD_ERR_MEMORY));
    }
    CHECK(t && refused > 5);
    left = 100;
    kpdt_trainer_destroy(t);
    kpd_model_destroy(m);
}

static void frozen_layers_do_not_move(void) {
    kpd_model *m = model(&small), *after = NULL;
    kpdt_trainer_desc d;
    kpdt_trainer *t = NULL;
    float word[2][VOCAB * WIDEST], last[2][WIDEST * WIDEST];
    memset(&d, 0, sizeof d);
    d.start = m; d.steps = 2; d.frozen_layers = 1; d.rate = 0.01f; d.clip = -1; d.beta1 = 0.8f; d.beta2 = 0.99f;
    d.epsilon = 1e-6f;
    CHECK_OK(kpdt_trainer_create(&d, &t, NULL));
    mnr_step(t, (size_t)small.width);
    CHECK_OK(kpdt_trainer_model(t, false, &after, NULL));
    for (int i = 0; i < 2; i++) {
        CHECK_OK(kpd_model_get(i ? after : m, "embeddings.word_embeddings.weight", word[i], NULL));
        CHECK_OK(kpd_model_get(i ? after : m, "encoder.layer.1.output.dense.weight", last[i], NULL));
    }
    CHECK(!memcmp(word[0], word[1], (size_t)(VOCAB * small.width) * sizeof(float)));
    CHECK(memcmp(last[0], last[1], (size_t)(small.ffn * small.width) * sizeof(float)) != 0);
    kpdt_trainer_destroy(t);
    kpd_model_destroy(m);
    kpd_model_destroy(after);
}

// MASKED-LANGUAGE MODELLING -----------------------------------------------------------------------------------------

// Every third token is masked; what it was has nothing to do with what it is.
static bool mlm_label(size_t at, int32_t *label) {
    *label = (int32_t)(at * 5 + 2) % VOCAB;
    return at % 3 == 1;
}

#define HEAT 2.0f               // the temperature at which a teacher is followed
static const shape teacher_shape = {20, 2, 24, 1, KPD_BI_ENCODER, KPD_POOL_MEAN, KPD_GELU, false, false, false, true};

// The mean loss of a batch, by labels or by a teacher (NULL = none), and in training its gradient.
static double mlm(rig *r, const rig *teacher, const texts *x, const kpdt__dropout *d, bool train) {
    kpdt__mlm_tape *m = &r->tape->mlm;
    m->n = 0;
    for (size_t at = 0; at < x->first[x->batch.n_texts]; at++)
        if (mlm_label(at, &m->label[m->n])) m->at[m->n++] = at;
    CHECK_OK(kpdt__encode(r->tape, &x->batch, d, NULL));
    if (!teacher) return kpdt__mlm_loss(r->tape, NULL, 1, train ? 1 : 0) / (double)m->n;
    CHECK_OK(kpdt__encode(teacher->tape, &x->batch, NULL, NULL));
    teacher->tape->mlm.n = m->n;
    memcpy(teacher->tape->mlm.at, m->at, m->n * sizeof *m->at);
    return kpdt__mlm_loss(r->tape, teacher->tape, HEAT, train ? 1 : 0) / (double)m->n;
}

// log softmax(logits / heat) of a token's vector x.
static void plain_guess(const double *w, const kpdt__net *net, const double *x, double heat, double *out) {
    double u[WIDEST], sum = 0;
    size_t h = (size_t)net->desc.width;
    linear(w, &net->mlm.transform, 0, x, u);
    for (size_t i = 0; i < h; i++) u[i] = activate(net->desc.activation, u[i]);
    norm(w, &net->mlm.norm, u, h);
    linear(w, &net->mlm.decoder, 0, u, out);
    for (size_t i = 0; i < VOCAB; i++) sum += exp(out[i] / heat);
    for (size_t i = 0; i < VOCAB; i++) out[i] = out[i] / heat - log(sum);
}

typedef struct plain_net { const double *w; const kpdt__net *net; } plain_net;

// teacher NULL = by labels.
static double plain_mlm(plain_net s, const plain_net *teacher, const kpdt__batch *b, const kpdt__dropout *d) {
    static double x[MOST * WIDEST], y[MOST * WIDEST];
    double loss = 0, count = 0, p[VOCAB], q[VOCAB], heat = teacher ? (double)HEAT : 1;
    int32_t label;
    for (size_t i = 0; i < b->n_texts; i++) {
        size_t n = plain_encoder(s.w, s.net, b, d, i, x);
        if (teacher) plain_encoder(teacher->w, teacher->net, b, NULL, i, y);
        for (size_t t = 0; t < n; t++) {
            if (!mlm_label(b->first[i] + t, &label)) continue;
            count++;
            plain_guess(s.w, s.net, x + t * (size_t)s.net->desc.width, heat, p);
            if (!teacher) { loss -= p[label]; continue; }
            plain_guess(teacher->w, teacher->net, y + t * (size_t)teacher->net->desc.width, heat, q);
            for (size_t k = 0; k < VOCAB; k++) loss += heat * heat * exp(q[k]) * (q[k] - p[k]);
        }
    }
    return loss / count;
}

static void check_mlm(const shape *s, bool follow, const kpdt__dropout *d, const char *what) {
    static texts x;
    rig r = make_rig(s, KPD_SIMD_SCALAR, 2, 64, 4), of = make_rig(&teacher_shape, KPD_SIMD_SCALAR, 2, 64, 4);
    double *w = in_double(r.net), *want = in_double(r.net), *theirs = in_double(of.net);
    const plain_net student = {w, r.net}, followed = {theirs, of.net}, *teacher = follow ? &followed : NULL;
    make_texts(&x, 4);
    CHECK_NEAR(mlm(&r, follow ? &of : NULL, &x, d, false), plain_mlm(student, teacher, &x.batch, d), 2e-6);
    for (size_t i = 0; i < r.net->n; i++) CHECK(r.net->g[i] == 0);   // not trained
    mlm(&r, follow ? &of : NULL, &x, d, true);
    for (size_t i = 0; i < r.net->n; i++) {
        double at = w[i], up;
        if (i % 3 && i < r.net->parameters[r.net->n_tensors].offset) { want[i] = (double)r.net->g[i]; continue; }   // time
        w[i] = at + 1e-5;
        up = plain_mlm(student, teacher, &x.batch, d);
        w[i] = at - 1e-5;
        want[i] = (up - plain_mlm(student, teacher, &x.batch, d)) / 2e-5;
        w[i] = at;
    }
    check_tensors(r.net, want, what, 1e-5);
    free(w); free(want); free(theirs);
    free_rig(&r); free_rig(&of);
}

static void mlm_gradients_match_central_differences(void) {
    kpdt__dropout d = kpdt__dropout_make(0.2f, 7, 3);
    shape s = small;
    s.mlm = true;
    check_mlm(&s, false, NULL, "mlm");
    check_mlm(&s, true, NULL, "mlm-kl");
    s.width = 20; s.heads = 1; s.ffn = 9; s.layers = 1; s.activation = KPD_GELU_TANH; s.separate = true;
    check_mlm(&s, false, &d, "mlm, width 20, dropout");
    check_mlm(&s, true, &d, "mlm-kl, width 20, dropout");
}

// tests/golden/mlm.bin and mlm_kl.bin, made by tools/golden_mlm.py: the loss, then the gradient.
static void check_mlm_golden(const char *path, bool follow) {
    static texts x;
    FILE *f = fopen(path, "rb");
    shape s = small;
    double loss, *want;
    rig r, of;
    if (!CHECK_THAT(f != NULL, "cannot read %s", path)) return;
    s.mlm = true;
    r = make_rig(&s, kpd__best_level(), 1, 64, 4);
    of = make_rig(&teacher_shape, kpd__best_level(), 1, 64, 4);
    want = in_double(r.net);
    make_texts(&x, 4);
    read_floats(f, &loss, 1);
    CHECK_NEAR(mlm(&r, follow ? &of : NULL, &x, NULL, true), loss, 1e-6 * loss);
    for (size_t i = 0; i < r.net->n_parameters; i++)
        read_floats(f, want + r.net->parameters[i].offset,
                    (size_t)r.net->parameters[i].rows * (size_t)r.net->parameters[i].cols);
    check_tensors(r.net, want, path, 1e-5);
    CHECK(fgetc(f) == EOF);
    fclose(f);
    free(want);
    free_rig(&r); free_rig(&of);
}

static void mlm_matches_pytorch(void) {
    check_mlm_golden("tests/golden/mlm.bin", false);
    check_mlm_golden("tests/golden/mlm_kl.bin", true);
}

// Rows of 1 to 70 logits, one of them far from the others, against double.
static void mlm_entropy_is_right_at_every_length(void) {
    for (int l = KPD_SIMD_SCALAR; l < KPD_SIMD_COUNT; l++)
        for (size_t n = 1; kpd_simd_available((kpd_simd)l) && n <= 70; n++) {
            float x[80], y[80], margin;
            double sum = 0, loss;
            size_t label = n * 7 % n;
            numbers("logits", x, n);
            x[n / 2] = n % 5 ? 3 : 200;   // with 200 the others' exponentials vanish
            memcpy(y, x, sizeof x);
            for (size_t i = 0; i < n; i++) sum += exp((double)x[i] - (double)x[n / 2]);
            loss = log(sum) + (double)x[n / 2] - (double)x[label];
            CHECK_NEAR(-log((double)kpdt__ops_of((kpd_simd)l)->entropy(y, n, label, 0.25f, &margin)) - (double)margin, loss,
                       1e-6 * (1 + loss));
            for (size_t i = 0; i < n; i++)
                CHECK_NEAR(y[i], .25 * (exp((double)x[i] - (double)x[n / 2]) / sum - (i == label)), 1e-7);
        }
}

// Likewise KL of two rows, the other's odd one far below.
static void mlm_divergence_is_right_at_every_length(void) {
    for (int l = KPD_SIMD_SCALAR; l < KPD_SIMD_COUNT; l++)
        for (size_t n = 1; kpd_simd_available((kpd_simd)l) && n <= 70; n++) {
            float x[80], y[80], u[80], v[80], inverse[2], d;
            double sum[2] = {0, 0}, kl = 0, p, q;
            numbers("logits", x, n);
            numbers("theirs", y, n);
            x[n / 2] = n % 5 ? 3 : 60;
            y[n / 3] = n % 7 ? -2 : -150;
            memcpy(u, x, sizeof x);
            memcpy(v, y, sizeof y);
            for (size_t i = 0; i < n; i++) { sum[0] += exp((double)x[i] / 2); sum[1] += exp((double)y[i] / 2); }
            d = kpdt__ops_of((kpd_simd)l)->divergence(u, v, n, 0.5f, 0.25f, inverse);
            for (size_t i = 0; i < n; i++) {
                q = exp((double)y[i] / 2) / sum[1];
                p = exp((double)x[i] / 2) / sum[0];
                kl += q * (((double)y[i] - (double)x[i]) / 2 - log(sum[1]) + log(sum[0]));
                CHECK_NEAR(u[i], .25 * (p - q), 1e-7);
                CHECK_NEAR(v[i], q, 2e-7);
            }
            CHECK_NEAR((double)d + log((double)inverse[1]) - log((double)inverse[0]), kl, 2e-6 * (1 + kl));
        }
}

static kpdt_trainer *mlm_trainer(float dropout) {
    kpd_model *m = model(&small);
    kpdt_trainer_desc d;
    kpdt_trainer *t = NULL;
    memset(&d, 0, sizeof d);
    d.start = m; d.max_tokens = 64; d.max_texts = PAIRS; d.steps = 30; d.dropout = dropout; d.seed = 5; d.mlm = true;
    CHECK_OK(kpdt_trainer_create(&d, &t, NULL));
    kpd_model_destroy(m);
    if (!t) abort();
    return t;
}

// 15 % of ordinary tokens; of these 80 % masked, 10 % at random, 10 % as they were. Vocabulary: 5 special tokens, 7 others.
static void mlm_masks_as_bert_does(void) {
    enum { TEXTS = 20000, LENGTH = 12 };
    kpdt_trainer *t = mlm_trainer(0);
    double chosen = 0, masked = 0, stayed = 0, other = 0, again = 0, seen[VOCAB] = {0};
    for (uint64_t text = 0; text < TEXTS; text++)
        for (uint64_t at = 0; at < LENGTH; at++) {
            int32_t id = 5 + (int32_t)((text + at) % 7), got = kpdt__masked(t, 77, text, at, id);
            for (int32_t special = 0; special < 5; special++) CHECK(kpdt__masked(t, 77, text, at, special) == -1);
            CHECK(got == kpdt__masked(t, 77, text, at, id));
            if (got < 0) continue;
            chosen++;
            masked += got == 4;
            stayed += got == id;
            other += got != 4 && got != id;
            again += kpdt__masked(t, 78, text, at, id) >= 0;
            seen[got]++;
        }
    CHECK_NEAR(chosen / (TEXTS * LENGTH), .15, .003);
    CHECK_NEAR(masked / chosen, .8 + .1 / VOCAB, .01);
    CHECK_NEAR(stayed / chosen, .1 + .1 / VOCAB, .01);
    CHECK_NEAR(other / chosen, .1 * (VOCAB - 2) / VOCAB, .01);
    CHECK_NEAR(again / chosen, .15, .01);   // another step chooses others
    for (int i = 0; i < VOCAB; i++) CHECK_NEAR(seen[i] / chosen, i == 4 ? .8 : i < 5 ? .1 / VOCAB : .1 / 7 + .1 / VOCAB, .01);
    kpdt_trainer_destroy(t);
}

// Outside training: the same loss whatever the step, and dropout or gradient neither drawn nor made.
static void mlm_loss_of_a_development_set_compares(void) {
    kpdt_trainer *t = mlm_trainer(0.3f);
    kpdt__side *x = &t->side[0];
    kpd_input items[PAIRS], phrases[PAIRS];
    double loss[3];
    size_t n[3];
    kpdt__batch b;
    pairs(items, phrases);
    memset(&b, 0, sizeof b);
    for (int i = 0; i < 3; i++) {
        CHECK_OK(kpdt__side_whole(t, KPD_ITEM, items, PAIRS, &b, NULL));
        b.first_text = 40;
        CHECK_OK(kpdt__mlm_run(t, x, &b, NULL, 0, &loss[i], &n[i], NULL));
        t->optimizer->step += 3;
        if (i == 1) t->net->w[t->net->mlm.decoder.b + 6] += 1;   // c of "red"
    }
    CHECK(n[0] > 0 && n[0] == n[1] && n[1] == n[2]);
    CHECK(loss[0] == loss[1] && loss[1] != loss[2]);
    for (size_t i = 0; i < t->net->n; i++) CHECK(t->net->g[i] == 0);
    kpdt_trainer_destroy(t);
}

// The loss of a batch is that of kpdt_softmax_head_loss at each width, on the columns of vectors and head that count there; the
// gradients of some weights of head and encoder, and the head's bias, are its central differences.
static void the_softmax_head_learns(void) {
    enum { DIM = 12, HALF = 5 };
    static const char row[] = "case\tblue case\t1\n";
    static const float label[PAIRS] = {1, 0, 0, 1};
    const int32_t widths[2] = {DIM, HALF};
    const float weight[2] = {1, 0.5f};
    kpd_model *m = model(&small);
    kpdt_dataset_desc dd;
    kpdt_dataset *data = NULL;
    kpdt_source source;
    kpdt_trainer_desc d;
    kpdt_trainer *t = NULL;
    kpdt_batch b;
    kpd_input items[PAIRS], phrases[PAIRS];
    float loss = 0, sum = 0, *g;
    size_t n = 0, at[6];
    kpd_error e;
    memset(&dd, 0, sizeof dd); memset(&d, 0, sizeof d); memset(&b, 0, sizeof b); memset(&source, 0, sizeof source);
    dd.columns[0] = KPDT_COL_KEYPHRASE; dd.columns[1] = KPDT_COL_TITLE; dd.columns[2] = KPDT_COL_LABEL;
    dd.data = row; dd.size = strlen(row);
    CHECK_OK(kpdt_dataset_open(&dd, &data, NULL));
    source.data = data; source.losses[0].loss = KPDT_SOFTMAX;
    memcpy(source.losses[0].dims, widths, sizeof widths);
    memcpy(source.losses[0].dim_weights, weight, sizeof weight);
    d.start = m; d.steps = 3; d.sources = &source; d.n_sources = 1; d.batch = PAIRS; d.seed = 5;
    CHECK_OK(kpdt_trainer_create(&d, &t, NULL));
    pairs(items, phrases);
    b.source = -1; b.n = PAIRS; b.in[0] = items; b.in[1] = phrases; b.label = label; b.losses[0] = source.losses[0];
    for (size_t i = 0; t && i < 6 * DIM; i++) t->net->w[t->net->softmax_w + i] *= 30;      // as if it had learned
    CHECK_OK(kpdt_trainer_learn(t, &b, &loss, &e));
    for (int k = 0; k < 2; k++) {
        size_t w = (size_t)widths[k];
        float u[PAIRS * DIM], v[PAIRS * DIM], head[6 * DIM], unused[6 * DIM], du[PAIRS * DIM] = {0}, dv[PAIRS * DIM] = {0}, one = 0;
        float dbias[2] = {0, 0};
        int32_t yes[PAIRS];
        kpdt_softmax_head h;
        memset(unused, 0, sizeof unused);
        for (size_t i = 0; i < PAIRS; i++) {
            yes[i] = label[i] > 0;
            memcpy(u + i * w, t->side[0].out + i * DIM, w * sizeof *u);
            memcpy(v + i * w, t->side[1].out + i * DIM, w * sizeof *v);
        }
        for (size_t i = 0; i < 6; i++) memcpy(head + i * w, t->net->w + t->net->softmax_w + i * DIM, w * sizeof *head);
        memset(&h, 0, sizeof h);
        h.u = u; h.v = v; h.w = head; h.bias = t->net->w + t->net->softmax_b; h.label = yes; h.B = PAIRS; h.dim = widths[k];
        h.labels = 2; h.du = du; h.dv = dv; h.dw = unused; h.dbias = dbias;
        CHECK_OK(kpdt_softmax_head_loss(&h, &one, &e));
        sum += weight[k] * one;
    }
    CHECK_NEAR(loss, sum, 1e-6);
    g = kpdt_trainer_gradient(t, &n);
    at[0] = t->net->softmax_w + 1; at[1] = t->net->softmax_w + 3 * DIM + DIM + 7; at[2] = t->net->softmax_w + 2 * DIM + HALF;
    at[3] = t->net->softmax_b; at[4] = t->net->tower[0].word + 5 * DIM + 2; at[5] = t->net->tower[0].layers[1].up.w + 3;
    for (int i = 0; i < 6; i++) {
        float before = t->net->w[at[i]], want = g[at[i]], up = 0, down = 0, step = 1.0f / 256;
        t->net->w[at[i]] = before + step; kpdt__net_refresh(t->net, &d.parallel);
        CHECK_OK(kpdt_trainer_learn(t, &b, &up, &e));
        t->net->w[at[i]] = before - step; kpdt__net_refresh(t->net, &d.parallel);
        CHECK_OK(kpdt_trainer_learn(t, &b, &down, &e));
        t->net->w[at[i]] = before; kpdt__net_refresh(t->net, &d.parallel);
        CHECK(want != 0);
        CHECK_NEAR((up - down) / (2 * step), want, 2e-3 * fabs((double)want) + 2e-4);
        memset(g, 0, n * sizeof *g);
        CHECK_OK(kpdt_trainer_learn(t, &b, &up, &e));
    }
    b.losses[0].teacher = KPDT_BY_SCORE;
    CHECK_STATUS(kpdt_trainer_learn(t, &b, &loss, &e), KPD_ERR_ARGUMENT);
    kpdt_trainer_destroy(t);
    source.losses[0].loss = KPDT_CONTRASTIVE;
    CHECK_OK(kpdt_trainer_create(&d, &t, NULL));
    b.losses[0].teacher = KPDT_BY_LABEL;
    CHECK_STATUS(kpdt_trainer_learn(t, &b, &loss, &e), KPD_ERR_ARGUMENT);
    CHECK_THAT(strstr(e.message, "no source of the trainer has") != NULL, "%s", e.message);
    kpdt_trainer_destroy(t);
    kpdt_dataset_destroy(data);
    kpd_model_destroy(m);
}

// Two passes of GradCache by hand, in pieces: the second draws the masks of the first, whatever came before in this step.
static void pieces_draw_the_same_masks(void) {
    enum { N = 5 };
    static const char *const words[N] = {"blue case", "red", "lamp pro for", "phone case", "for blue lamp"};
    kpd_model *m = model(&small);
    kpdt_trainer_desc d;
    kpdt_trainer *t = NULL;
    kpd_input in[N];
    float whole[N * WIDEST], again[N * WIDEST], other[N * WIDEST], dout[N * WIDEST], *want;
    size_t dim, n, bytes;
    kpd_error e;
    for (int i = 0; i < N; i++) in[i] = kpd_input_str(words[i], NULL, NULL);
    numbers("dout", dout, N * WIDEST);
    memset(&d, 0, sizeof d);
    d.start = m; d.steps = 2; d.dropout = 0.3f; d.seed = 5;
    CHECK_OK(kpdt_trainer_create(&d, &t, NULL));
    dim = (size_t)kpd_model_dim(m); bytes = dim * sizeof(float);
    for (int tower = 0; tower < 2; tower++) {
        kpd_tower w = (kpd_tower)tower;
        CHECK_OK(kpdt_trainer_forward(t, w, in, 2, other, NULL));              // a batch before, of which nothing is left
        CHECK_OK(kpdt_trainer_forward(t, w, in, N, whole, NULL));
        CHECK_OK(kpdt_trainer_backward(t, w, dout, NULL));
        CHECK_STATUS(kpdt_trainer_rewind(t, w, N + 3, &e), KPD_ERR_ARGUMENT);
        CHECK_OK(kpdt_trainer_forward(t, w, in, N, other, NULL));
        CHECK(memcmp(whole, other, N * bytes) != 0);                           // numbers go on
        want = kpdt_trainer_gradient(t, &n);
        want = (float *)memcpy(malloc(n * sizeof *want), want, n * sizeof *want);
        memset(kpdt_trainer_gradient(t, &n), 0, n * sizeof *want);
        CHECK_OK(kpdt_trainer_rewind(t, w, 2 * N, NULL));
        for (size_t at = 0, k; at < N; at += k) {
            k = at ? N - at : 2;
            CHECK_OK(kpdt_trainer_forward(t, w, in + at, k, again + at * dim, NULL));
            CHECK_OK(kpdt_trainer_backward(t, w, dout + at * dim, NULL));
        }
        CHECK(!memcmp(whole, again, N * bytes));
        CHECK(!memcmp(want, kpdt_trainer_gradient(t, &n), n * sizeof *want));
        memset(kpdt_trainer_gradient(t, &n), 0, n * sizeof *want);
        free(want);
    }
    kpdt_trainer_destroy(t);
    kpd_model_destroy(m);
}

// Hosts that share out a batch have each a seed of its own, and the same head of mlm.
static void the_head_has_a_seed_of_its_own(void) {
    kpd_model *m = model(&small);
    kpdt_trainer *t[3];
    for (int i = 0; i < 3; i++) {
        kpdt_trainer_desc d;
        memset(&d, 0, sizeof d);
        d.start = m; d.steps = 1; d.mlm = true; d.seed = i == 1 ? 7 : 0; d.weights_seed = i == 2 ? 7 : 0;
        t[i] = NULL;
        CHECK_OK(kpdt_trainer_create(&d, &t[i], NULL));
    }
    CHECK(!memcmp(t[0]->net->w, t[1]->net->w, t[0]->net->n * sizeof(float)));
    CHECK(memcmp(t[0]->net->w, t[2]->net->w, t[0]->net->n * sizeof(float)) != 0);
    for (int i = 0; i < 3; i++) kpdt_trainer_destroy(t[i]);
    kpd_model_destroy(m);
}

// What a model file, a checkpoint or a cell may say and no memory holds: sizes do not wrap, counts do not overflow.
static void sizes_and_counts_do_not_wrap(void) {
    int64_t state[KPDT__STATE];
    kpdt_trainer_desc d;
    kpdt_trainer *t = NULL;
    kpd_model *m = model(&small);
    size_t left_out = INT32_MAX;
    double mantissa = 1;
    int used = 15;
    const char *digits = "12";
    CHECK(kpdt__attention_scratch(48, 12, 3) == 48 * (2 * 4 + 2 * 48 + 1));
    CHECK(kpdt__attention_scratch((size_t)1 << 4 * sizeof(size_t), 2, 1) == SIZE_MAX);
    CHECK(kpdt__digits(digits, digits + 2, &mantissa, &used, &left_out) == digits + 2 && left_out == (size_t)INT32_MAX + 2);
    memset(&d, 0, sizeof d);
    d.start = m; d.steps = 1;
    CHECK_OK(kpdt_trainer_create(&d, &t, NULL));
    memset(state, 0, sizeof state);
    CHECK(t && kpdt__state_ok(t, state));
    state[1] = INT64_MAX;                                   // draws, of which there is one more a batch
    CHECK(t && !kpdt__state_ok(t, state));
    kpdt_trainer_destroy(t);
    kpd_model_destroy(m);
}

SUITE(layers) {
    RUN(layers, sizes_and_counts_do_not_wrap);
    RUN(layers, pieces_draw_the_same_masks);
    RUN(layers, the_head_has_a_seed_of_its_own);
    RUN(layers, activation_slopes_are_right);
    RUN(layers, norm_gradient_is_right);
    RUN(layers, a_zero_vector_has_no_gradient);
    RUN(layers, weight_gradient_is_a_chain);
    RUN(layers, dropout_keeps_the_mean);
    RUN(layers, whole_gradients_match_central_differences);
    RUN(layers, whole_gradients_match_pytorch);
    RUN(layers, bits_do_not_depend_on_level_or_tasks);
    RUN(layers, forward_gives_the_bits_of_inference);
    RUN(layers, frozen_layers_get_no_gradient);
    RUN(layers, parameters_come_back_as_they_went_in);
    RUN(layers, schedules_are_those_of_transformers);
    RUN(layers, adamw_matches_double);
    RUN(layers, refused_memory_is_reported);
    RUN(layers, batches_that_do_not_fit_are_refused);
    RUN(layers, thirty_steps_lower_the_loss);
    RUN(layers, training_has_the_same_bits_on_any_number_of_threads);
    RUN(layers, phases_agree_with_inference_and_with_pieces);
    RUN(layers, a_cross_encoder_learns_labels);
    RUN(layers, wrong_phases_are_refused);
    RUN(layers, wrong_trainers_are_refused);
    RUN(layers, frozen_layers_do_not_move);
    RUN(layers, the_softmax_head_learns);
    RUN(layers, mlm_gradients_match_central_differences);
    RUN(layers, mlm_matches_pytorch);
    RUN(layers, mlm_entropy_is_right_at_every_length);
    RUN(layers, mlm_divergence_is_right_at_every_length);
    RUN(layers, mlm_masks_as_bert_does);
    RUN(layers, mlm_loss_of_a_development_set_compares);
}
