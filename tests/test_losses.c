// Losses and similarities: against the reference implementations (golden), against double-precision forms written plainly here,
// whose central differences are the gradients; and the degenerate cases.
#define KPD_THREADS
#include "../kpd_train.h"
#include "golden_lines.h"
#include "test.h"
#include <fenv.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { MOST = 512 };
static kpd_error error;
static uint32_t state = 1;

static double number(double low, double high) {   // a float, so that both precisions see the same
    state = state * 1664525u + 1013904223u;
    return (double)(float)(low + (high - low) * (double)(state >> 8) / 16777216.0);
}

static kpdt_loss_desc desc_of(kpdt_loss loss) {
    kpdt_loss_desc d;
    memset(&d, 0, sizeof d);
    d.loss = loss;
    return d;
}

static void narrow(const double *x, size_t n, float *out) {
    for (size_t i = 0; i < n; i++) out[i] = (float)x[i];
}

// What the outputs of every golden case hash to: FNV-1a over their bytes.
static uint64_t bits = UINT64_C(0xCBF29CE484222325);
static void add_bits(const float *x, size_t n) {
    unsigned char b[4];
    for (size_t i = 0; i < n; i++) {
        memcpy(b, &x[i], 4);
        for (int j = 0; j < 4; j++) bits = (bits ^ b[j]) * UINT64_C(0x100000001B3);
    }
}

static void check_case(const char *name, const char *what, const float *got, size_t n) {
    char full[64];
    snprintf(full, sizeof full, "%s.%s", name, what);
    check_golden(full, got, n);
    add_bits(got, n);
}

// GOLDEN ------------------------------------------------------------------------------------------------------------

static const int32_t by_three[12] = {5, 5, 5, 2, 2, 2, 9, 9, 9, 5, 5, 5};   // runs: an id that comes back is another query

static void pairs_case(const char *name, kpdt_loss_desc d, const char *target, float times, bool queries) {
    float s[12], t[12], ds[12], loss;
    if (golden_floats("pairs.s", s, 12) != 12 || golden_floats(target, t, 12) != 12) return;
    for (int i = 0; i < 12; i++) s[i] *= times;
    if (!CHECK_OK(kpdt_loss_pairs(&d, s, t, queries ? by_three : NULL, 12, &loss, ds, &error))) return;
    check_case(name, "loss", &loss, 1);
    check_case(name, "ds", ds, 12);
}

static void golden_pairs(void) {
    kpdt_loss_desc d = desc_of(KPDT_MSE);
    pairs_case("contrastive", desc_of(KPDT_CONTRASTIVE), "pairs.y", 1, false);
    pairs_case("online", desc_of(KPDT_ONLINE_CONTRASTIVE), "pairs.y", 1, false);
    pairs_case("mse", d, "pairs.t", 1, false);
    d.target = KPDT_TARGET_LOGIT;
    pairs_case("mse_logit", d, "pairs.t", 1, false);
    d.target = KPDT_TARGET_COSINE;
    pairs_case("mse_cosine", d, "pairs.t", 1, false);
    pairs_case("cosent", desc_of(KPDT_COSENT), "pairs.t", 1, false);
    d = desc_of(KPDT_BCE);
    d.pos_weight = 2.5f;
    pairs_case("bce", d, "pairs.y", 8, false);
    d = desc_of(KPDT_PEARSON);
    pairs_case("pearson", d, "pairs.t", 1, false);
    pairs_case("pearson", d, "pairs.t", 1, true);   // queries count only when asked for
    d.target = KPDT_TARGET_LOGIT;
    pairs_case("pearson_logit", d, "pairs.t", 1, false);
    d = desc_of(KPDT_PEARSON);
    d.per_query = true;
    pairs_case("pearson_query", d, "pairs.t", 1, true);
    pairs_case("margin", desc_of(KPDT_MARGIN_MSE), "pairs.t", 1, true);
    d = desc_of(KPDT_KL);
    pairs_case("kl", d, "pairs.t", 1, true);
    d.temperature = 2.5f;
    pairs_case("kl_hot", d, "pairs.t", 1, true);
    d = desc_of(KPDT_RANKNET);
    pairs_case("ranknet", d, "pairs.t", 1, true);
    d.weighted = true;
    pairs_case("ranknet_weighted", d, "pairs.t", 1, true);
}

static void matrix_case(const char *name, kpdt_loss_desc d, bool with_q, bool with_mask) {
    float s[40], q[8], as_float[40], ds[40], loss;
    uint8_t mask[40];
    if (golden_floats("matrix.s", s, 40) != 40 || golden_floats("matrix.log_q", q, 8) != 8 ||
        golden_floats("matrix.mask", as_float, 40) != 40)
        return;
    for (int i = 0; i < 40; i++) mask[i] = as_float[i] != 0;
    if (!CHECK_OK(kpdt_loss_matrix(&d, s, with_mask ? mask : NULL, with_q ? q : NULL, 5, 8, &loss, ds, &error))) return;
    check_case(name, "loss", &loss, 1);
    check_case(name, "ds", ds, 40);
}

static void golden_matrix(void) {
    kpdt_loss_desc d = desc_of(KPDT_MNR);
    float s[40], label[5], ds[40], loss;
    int32_t labels[5];
    matrix_case("mnr", d, false, false);
    matrix_case("mnr_log_q", d, true, false);
    matrix_case("mnr_mask", d, true, true);
    d.scale = 5;
    matrix_case("mnr_cold", d, false, false);
    matrix_case("symmetric", desc_of(KPDT_MNR_SYMMETRIC), false, false);
    if (golden_floats("matrix.s", s, 40) != 40 || golden_floats("ce.label", label, 5) != 5) return;
    for (int i = 0; i < 40; i++) s[i] *= 4;
    for (int i = 0; i < 5; i++) labels[i] = (int32_t)label[i];
    CHECK_OK(kpdt_cross_entropy(s, labels, 5, 8, &loss, ds, &error));
    check_case("ce", "loss", &loss, 1);
    check_case("ce", "ds", ds, 40);
}

typedef struct vectors { float a[60], bc[120], y[6], t[6]; } vectors;   // 6 rows of 10; bc: positives, then negatives

static bool read_vectors(vectors *v) {
    size_t n = golden_floats("vectors.a", v->a, 60) + golden_floats("vectors.b", v->bc, 60);
    n += golden_floats("vectors.c", v->bc + 60, 60) + golden_floats("vectors.y", v->y, 6) + golden_floats("vectors.t", v->t, 6);
    return n == 192;
}

static void vectors_case(const char *name, const kpdt_loss_desc *d, const char *target, size_t nb) {
    static vectors in;
    float work[144], da[60], db[120], loss;
    kpdt_vectors v;
    if (!read_vectors(&in)) return;
    memset(&v, 0, sizeof v);
    memset(da, 0, sizeof da);
    memset(db, 0, sizeof db);
    v.a = in.a; v.b = in.bc; v.na = 6; v.nb = nb; v.dim = 10; v.t = *target == 'y' ? in.y : in.t;
    v.work = work; v.da = da; v.db = db;
    if (!CHECK_OK(kpdt_loss_vectors(d, &v, &loss, &error))) return;
    check_case(name, "loss", &loss, 1);
    check_case(name, "da", da, 60);
    check_case(name, "db", db, 60);
    if (nb == 12) check_case(name, "dc", db + 60, 60);
}

static void golden_vectors(void) {
    kpdt_loss_desc d = desc_of(KPDT_MNR);
    vectors_case("v_mnr", &d, "", 12);
    d.dims[0] = 10; d.dims[1] = 4;
    vectors_case("v_matryoshka_mnr", &d, "", 12);
    d = desc_of(KPDT_MNR);
    d.similarity = KPDT_SIM_DOT; d.scale = 1;
    vectors_case("v_dot", &d, "", 12);
    d = desc_of(KPDT_MNR_SYMMETRIC);
    vectors_case("v_symmetric", &d, "", 6);
    d = desc_of(KPDT_CONTRASTIVE);
    vectors_case("v_contrastive", &d, "y", 6);
    d = desc_of(KPDT_MSE);
    vectors_case("v_cosine_mse", &d, "t", 6);
    d = desc_of(KPDT_COSENT);
    vectors_case("v_cosent", &d, "t", 6);
    d.similarity = KPDT_SIM_ANGLE;
    vectors_case("v_angle", &d, "t", 6);
    d = desc_of(KPDT_COSENT);
    d.dims[0] = 10; d.dims[1] = 6; d.dims[2] = 3;
    d.dim_weights[1] = 0.5f; d.dim_weights[2] = 2;
    vectors_case("v_matryoshka", &d, "t", 6);
}

// Anchors with a positive and two negatives each: b is the positives, then each anchor's negatives.
static void negatives_case(const char *name, const kpdt_loss_desc *d, bool log_q) {
    float a[40], b[120], t[15], q[15], work[150], da[40], db[120], of[2][40], loss;
    int32_t of_a[15], of_b[15];
    kpdt_vectors v;
    size_t n = golden_floats("negatives.a", a, 40) + golden_floats("negatives.b", b, 40);
    n += golden_floats("negatives.t", t, 15) + golden_floats("negatives.log_q", q, 15);
    n += golden_floats("negatives.c", of[0], 40) + golden_floats("negatives.d", of[1], 40);
    if (n != 190) return;
    memset(&v, 0, sizeof v);
    memset(da, 0, sizeof da);
    memset(db, 0, sizeof db);
    for (int i = 0; i < 5; i++)
        for (int k = 0; k < 3; k++) {
            of_a[3 * i + k] = i;
            of_b[3 * i + k] = k ? 5 + 2 * i + k - 1 : i;
            if (k) memcpy(b + 8 * of_b[3 * i + k], of[k - 1] + 8 * i, 8 * sizeof *b);
        }
    v.a = a; v.b = b; v.na = 5; v.nb = 15; v.dim = 8; v.t = t; v.work = work; v.da = da; v.db = db;
    v.of_a = of_a; v.of_b = of_b; v.n_pairs = 15; v.query = of_a; v.log_q = log_q ? q : NULL;
    if (!CHECK_OK(kpdt_loss_vectors(d, &v, &loss, &error))) return;
    check_case(name, "loss", &loss, 1);
    check_case(name, "da", da, 40);
    check_case(name, "db", db, 120);
    of_b[7] = 15;
    CHECK_STATUS(kpdt_loss_vectors(d, &v, &loss, &error), KPD_ERR_ARGUMENT);
    CHECK(error.where == 7);
}

static void golden_negatives(void) {
    kpdt_loss_desc d = desc_of(KPDT_MNR);
    d.scale = 5;
    negatives_case("n_mnr", &d, false);
    negatives_case("n_log_q", &d, true);
    d = desc_of(KPDT_MARGIN_MSE);
    negatives_case("n_margin", &d, false);
    d = desc_of(KPDT_KL);
    negatives_case("n_kl", &d, false);
    d = desc_of(KPDT_PEARSON);
    d.per_query = true;
    negatives_case("n_pearson", &d, false);
    d = desc_of(KPDT_RANKNET);
    negatives_case("n_ranknet", &d, false);
}

static void golden_head(void) {
    static vectors in;
    static float w[90], bias[3], label[6], du[60], dv[60], dw[90], dbias[3], loss;
    int32_t labels[6];
    kpdt_softmax_head h;
    if (!read_vectors(&in) || golden_floats("head.w", w, 90) != 90 || golden_floats("head.bias", bias, 3) != 3 ||
        golden_floats("head.label", label, 6) != 6)
        return;
    for (int i = 0; i < 6; i++) labels[i] = (int32_t)label[i];
    h.u = in.a; h.v = in.bc; h.w = w; h.bias = bias; h.label = labels; h.B = 6; h.dim = 10; h.labels = 3;
    h.du = du; h.dv = dv; h.dw = dw; h.dbias = dbias;
    CHECK_OK(kpdt_softmax_head_loss(&h, &loss, &error));
    check_case("head", "loss", &loss, 1);
    check_case("head", "du", du, 60);
    check_case("head", "dv", dv, 60);
    check_case("head", "dw", dw, 90);
    check_case("head", "dbias", dbias, 3);
}

// The same bits from every compiler, optimisation level and machine. Runs after the golden cases, over all their outputs.
static void same_bits(void) {
    bits = UINT64_C(0xCBF29CE484222325);
    golden_pairs();
    golden_matrix();
    golden_vectors();
    CHECK_THAT(bits == UINT64_C(0x729866C9B15ACB1D), "the outputs hash to %08lx%08lx", (unsigned long)(bits >> 32),
               (unsigned long)(bits & 0xFFFFFFFFu));
}

// A host that rounds upwards gets the same numbers, and finds its mode as it was.
static void rounding_mode(void) {
    float s[36], t[6], work[72], grad[2][2][36], loss[2];
    kpdt_loss_desc d = desc_of(KPDT_MNR_SYMMETRIC);
    kpdt_vectors v;
    memset(&v, 0, sizeof v);
    for (int i = 0; i < 36; i++) s[i] = (float)number(-1, 1);
    for (int i = 0; i < 6; i++) t[i] = (float)number(0, 1);
    v.a = s; v.b = s + 18; v.na = v.nb = 3; v.dim = 6; v.t = t; v.work = work;
    d.dims[0] = 6; d.dims[1] = 5; d.dims[2] = 3; d.dim_weights[1] = 0.3f; d.weight = 0.7f;
    for (int l = 0; l < 2; l++) {
        memset(grad, 0, sizeof grad);
        for (int up = 0; up < 2; up++) {
            v.da = grad[up][0]; v.db = grad[up][1];
            CHECK(!fesetround(up ? FE_UPWARD : FE_TONEAREST));
            CHECK_OK(kpdt_loss_vectors(&d, &v, &loss[up], &error));
            CHECK_INT(fegetround(), up ? FE_UPWARD : FE_TONEAREST);
        }
        fesetround(FE_TONEAREST);
        CHECK(!memcmp(&loss[0], &loss[1], sizeof loss[0]) && !memcmp(grad[0], grad[1], sizeof grad[0]));
        d.loss = KPDT_PEARSON;
    }
}

// CENTRAL DIFFERENCES -----------------------------------------------------------------------------------------------

typedef struct problem {                // everything a reference form may need; x is what is differentiated
    kpdt_loss_desc d;                   // defaults filled in
    kpdt_similarity_desc sim;
    const double *t, *log_q, *other;
    const int32_t *query, *label;
    const uint8_t *mask;
    size_t n, rows, columns;
    bool of_b;
} problem;
typedef double reference_t(const problem *p, const double *x);

static void check_gradient(const char *what, reference_t *f, const problem *p, const double *x, size_t n, const float *got) {
    double at[MOST], want[MOST], largest = 0, h = 1e-5;
    memcpy(at, x, n * sizeof *x);
    for (size_t i = 0; i < n; i++) {
        double up, down;
        at[i] = x[i] + h;
        up = f(p, at);
        at[i] = x[i] - h;
        down = f(p, at);
        at[i] = x[i];
        want[i] = (up - down) / (2 * h);
        largest = fabs(want[i]) > largest ? fabs(want[i]) : largest;
    }
    CHECK_THAT(largest > 0, "%s: every central difference is zero", what);
    for (size_t i = 0; i < n; i++)
        CHECK_THAT(fabs((double)got[i] - want[i]) <= 2e-6 * largest, "%s: gradient %d is %.9g, central difference %.9g", what,
                   (int)i, (double)got[i], want[i]);
}

static double mapped(const problem *p, size_t i) {
    if (p->d.target == KPDT_TARGET_LOGIT) return log(p->t[i] / (1 - p->t[i]));
    return p->d.target == KPDT_TARGET_COSINE ? 2 * p->t[i] - 1 : p->t[i];
}

static bool same_query(const problem *p, size_t i, size_t j) { return !p->query || p->query[i] == p->query[j]; }

static double plain_contrastive(const problem *p, const double *s) {
    double sum = 0;
    for (size_t i = 0; i < p->n; i++) {
        double d = 1 - s[i], push = fmax(0, (double)p->d.margin - d);
        sum += 0.5 * (p->t[i] * d * d + (1 - p->t[i]) * push * push) / (double)p->n;
    }
    return sum;
}

static double plain_online(const problem *p, const double *s) {
    double near = 9, far = -9, sum = 0, mean = 0;
    for (size_t i = 0; i < p->n; i++) {
        if (p->t[i] == 0) near = fmin(near, 1 - s[i]);
        else far = fmax(far, 1 - s[i]);
        mean += (1 - s[i]) / (double)p->n;
    }
    if (near == 9) near = mean;                             // none of the kind: the bound is the mean of the other
    if (far == -9) far = mean;
    for (size_t i = 0; i < p->n; i++) {
        double d = 1 - s[i];
        if (p->t[i] == 1 && d > near) sum += d * d;
        if (p->t[i] == 0 && d < far) sum += pow(fmax(0, (double)p->d.margin - d), 2);
    }
    return sum;
}

static double plain_mse(const problem *p, const double *s) {
    double sum = 0;
    for (size_t i = 0; i < p->n; i++) sum += pow(s[i] - mapped(p, i), 2);
    return sum / (double)p->n;
}

static double plain_cosent(const problem *p, const double *s) {
    double sum = 1;
    for (size_t i = 0; i < p->n; i++)
        for (size_t j = 0; j < p->n; j++)
            if (p->t[i] < p->t[j]) sum += exp((double)p->d.scale * (s[i] - s[j]));
    return log(sum);
}

static double plain_pearson_of(const problem *p, const double *s, size_t begin, size_t end) {
    double n = (double)(end - begin), ms = 0, mt = 0, st = 0, ss = 0, tt = 0;
    for (size_t i = begin; i < end; i++) {
        ms += s[i] / n;
        mt += mapped(p, i) / n;
    }
    for (size_t i = begin; i < end; i++) {
        st += (s[i] - ms) * (mapped(p, i) - mt) / (n - 1);
        ss += pow(s[i] - ms, 2) / (n - 1);
        tt += pow(mapped(p, i) - mt, 2) / (n - 1);
    }
    return n < 2 ? 1 : 1 - st / (sqrt(ss) * sqrt(tt) + (double)p->d.epsilon);
}

static double plain_pearson(const problem *p, const double *s) {
    double sum = 0, queries = 0;
    if (!p->d.per_query) return plain_pearson_of(p, s, 0, p->n);
    for (size_t i = 0, end; i < p->n; i = end) {
        for (end = i; end < p->n && same_query(p, i, end);) end++;
        sum += plain_pearson_of(p, s, i, end);
        queries++;
    }
    return sum / queries;
}

static double plain_bce(const problem *p, const double *s) {
    double sum = 0;
    for (size_t i = 0; i < p->n; i++) {
        double q = 1 / (1 + exp(-s[i]));
        sum -= (double)p->d.pos_weight * p->t[i] * log(q) + (1 - p->t[i]) * log(1 - q);
    }
    return sum / (double)p->n;
}

static double plain_margin(const problem *p, const double *s) {
    double sum = 0, n = 0;
    for (size_t i = 0, first = 0; i < p->n; i++) {
        if (!same_query(p, i, first)) first = i;
        if (i == first) continue;
        sum += pow(s[first] - s[i] - mapped(p, first) + mapped(p, i), 2);
        n++;
    }
    return sum / n;
}

static double plain_kl(const problem *p, const double *s) {
    double sum = 0, queries = 0, heat = (double)p->d.temperature;
    for (size_t i = 0; i < p->n; i++) {
        double zs = 0, zt = 0, ps, pt;
        for (size_t j = 0; j < p->n; j++)
            if (same_query(p, i, j)) {
                zs += exp(s[j] / heat);
                zt += exp(mapped(p, j) / heat);
            }
        ps = exp(s[i] / heat) / zs;
        pt = exp(mapped(p, i) / heat) / zt;
        sum += pt * log(pt / ps);
        queries += !i || !same_query(p, i, i - 1);
    }
    return heat * heat * sum / queries;
}

static double plain_ranknet(const problem *p, const double *s) {
    double sum = 0, n = 0;
    for (size_t i = 0; i < p->n; i++)
        for (size_t j = 0; j < p->n; j++) {
            if (!same_query(p, i, j) || !(p->t[i] > p->t[j])) continue;
            sum += (p->d.weighted ? p->t[i] - p->t[j] : 1) * log(1 + exp(-(double)p->d.scale * (s[i] - s[j])));
            n++;
        }
    return sum / n;
}

// What sentence-transformers 6.2 says of few pairs: a bound by the other kind wherever there is one pair of it. By its formula:
// one each, both hard: .4928^2 + (.5 - .1270)^2; easy ones, of one kind two: nothing; and one kind alone, bounded by its mean.
static void one_of_a_kind_bounds_the_other(void) {
    static const struct { float s[3], t[3]; size_t n; double loss; } cases[] = {
        {{0.5072f, 0.8730f}, {1, 0}, 2, 0.38198084}, {{0.9f, 0.2f}, {1, 0}, 2, 0},
        {{0.9f, 0.8f, 0.3f}, {1, 1, 0}, 3, 0},       {{0.9f, 0.3f, 0.1f}, {1, 0, 0}, 3, 0},
        {{0.4f, 0.8f, 0.5f}, {1, 1, 0}, 3, 0.36},    {{0.5f, 0.9f, 0.2f}, {1, 0, 0}, 3, 0.41},
        {{0.9f, 0.5f}, {1, 1}, 2, 0.25},             {{0.9f, 0.6f}, {0, 0}, 2, 0.16}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        kpdt_loss_desc d = desc_of(KPDT_ONLINE_CONTRASTIVE);
        float loss, ds[3];
        CHECK_OK(kpdt_loss_pairs(&d, cases[i].s, cases[i].t, NULL, cases[i].n, &loss, ds, &error));
        CHECK_THAT(fabs((double)loss - cases[i].loss) < 1e-6, "case %d: %.9g, expected %.9g", (int)i, (double)loss,
                   cases[i].loss);
    }
}

// 0 that means default, and 0 that is meant: a weight takes value and gradient away, a margin and a width's weight likewise.
static void zero_can_be_said(void) {
    static const float s[4] = {0.9f, 0.2f, -0.3f, 0.4f}, t[4] = {1, 0, 0, 1};
    float ds[4], other[4], loss = 9, of_margin, work[8], a[4], b[4], da[4] = {0, 0, 0, 0}, db[4] = {0, 0, 0, 0};
    kpdt_loss_desc d = desc_of(KPDT_CONTRASTIVE);
    kpdt_vectors v;
    d.weight = KPDT_ZERO;
    CHECK_OK(kpdt_loss_pairs(&d, s, t, NULL, 4, &loss, ds, &error));
    CHECK(loss == 0 && ds[0] == 0 && ds[1] == 0 && ds[3] == 0);
    d.weight = 0; d.margin = KPDT_ZERO;                     // no negative's distance, which is 0 or more, is below
    CHECK_OK(kpdt_loss_pairs(&d, s, t, NULL, 4, &of_margin, ds, &error));
    CHECK_NEAR(of_margin, 0.5 * (0.1 * 0.1 + 0.6 * 0.6) / 4, 1e-7);
    CHECK(ds[1] == 0 && ds[2] == 0);
    d = desc_of(KPDT_BCE);
    d.pos_weight = KPDT_ZERO;
    CHECK_OK(kpdt_loss_pairs(&d, s, t, NULL, 4, &loss, ds, &error));
    CHECK_NEAR(loss, (log(1 + exp(0.2)) + log(1 + exp(-0.3))) / 4, 1e-6);
    memset(&v, 0, sizeof v);
    for (int i = 0; i < 4; i++) { a[i] = (float)number(-1, 1); b[i] = (float)number(-1, 1); }
    v.a = a; v.b = b; v.na = v.nb = 2; v.dim = 2; v.t = t; v.work = work; v.da = da; v.db = db;
    d = desc_of(KPDT_MSE);
    CHECK_OK(kpdt_loss_vectors(&d, &v, &of_margin, &error));
    memcpy(other, da, sizeof other);
    memset(da, 0, sizeof da);
    d.dims[0] = 2; d.dims[1] = 1; d.dim_weights[1] = KPDT_ZERO;
    CHECK_OK(kpdt_loss_vectors(&d, &v, &loss, &error));
    CHECK(loss == of_margin && !memcmp(da, other, sizeof da));
    d.weight = 1e-30f; d.dim_weights[0] = d.dim_weights[1] = 1e-30f;    // a product too small for a float is 0, not the default
    CHECK_OK(kpdt_loss_vectors(&d, &v, &loss, &error));
    CHECK(loss == 0);
    d = desc_of(KPDT_COSENT);
    d.scale = KPDT_ZERO;
    CHECK_STATUS(kpdt_loss_pairs(&d, s, t, NULL, 4, &loss, ds, &error), KPD_ERR_ARGUMENT);
}

typedef struct pairs_form { kpdt_loss loss; reference_t *plain; const char *name; bool hard, logits; } pairs_form;
static const pairs_form forms[] = {
    {KPDT_CONTRASTIVE, plain_contrastive, "contrastive", false, false},
    {KPDT_ONLINE_CONTRASTIVE, plain_online, "online contrastive", true, false},
    {KPDT_MSE, plain_mse, "mse", false, false}, {KPDT_COSENT, plain_cosent, "cosent", false, false},
    {KPDT_PEARSON, plain_pearson, "pearson", false, false}, {KPDT_BCE, plain_bce, "bce", false, true},
    {KPDT_MARGIN_MSE, plain_margin, "margin mse", false, false}, {KPDT_KL, plain_kl, "kl", false, false},
    {KPDT_RANKNET, plain_ranknet, "ranknet", false, false},
};

static void difference_pairs(const pairs_form *form, size_t n, int variant) {
    double s[MOST], t[MOST];
    float fs[MOST], ft[MOST], ds[MOST], loss;
    int32_t query[MOST];
    problem p;
    memset(&p, 0, sizeof p);
    p.d = desc_of(form->loss);
    p.d.scale = variant ? 20.0f : 3.0f; p.d.margin = 0.6f; p.d.temperature = variant ? 2.0f : 0.5f; p.d.pos_weight = 1.5f;
    p.d.epsilon = 1e-8f; p.d.target = (kpdt_target)(variant % 3); p.d.per_query = variant > 0; p.d.weighted = variant == 1;
    p.t = t; p.query = variant ? query : NULL; p.n = n;
    for (size_t i = 0; i < n; i++) {
        s[i] = form->logits ? number(-6, 6) : number(-0.4, 1);
        t[i] = form->hard ? (double)(i % 3 == 0) : number(0.05, 0.95);
        if (form->hard && variant) t[i] = i == 3 ? 2 - variant : variant - 1;   // one positive; one negative
        query[i] = (int32_t)(i / 4);
    }
    narrow(s, n, fs);
    narrow(t, n, ft);
    if (!CHECK_OK(kpdt_loss_pairs(&p.d, fs, ft, p.query, n, &loss, ds, &error))) return;
    CHECK_THAT(fabs((double)loss - form->plain(&p, s)) <= 1e-6 * fabs((double)loss), "%s: loss %.9g, expected %.9g", form->name,
               (double)loss, form->plain(&p, s));
    check_gradient(form->name, form->plain, &p, s, n, ds);
}

static void differences_pairs(void) {
    for (size_t f = 0; f < sizeof forms / sizeof *forms; f++)
        for (size_t n = 6; n < 60; n = n * 2 + 1)
            for (int variant = 0; variant < 3; variant++) difference_pairs(&forms[f], n, variant);
}

static double plain_line(const problem *p, const double *x, size_t i, bool down) {
    double sum = 0, own = 0;
    for (size_t j = 0; j < (down ? p->rows : p->columns); j++) {
        size_t at = down ? j * p->columns + i : i * p->columns + j;
        double z = (double)p->d.scale * x[at] - (p->log_q && !down ? p->log_q[j] : 0);
        if (p->mask && p->mask[at] & (KPDT_MASK | (down ? KPDT_MASK_COLUMN : KPDT_MASK_ROW))) continue;
        sum += exp(z);
        if (j == (p->label ? (size_t)p->label[i] : i)) own = z;
    }
    return log(sum) - own;
}

static double plain_matrix(const problem *p, const double *x) {
    double across = 0, down = 0;
    for (size_t i = 0; i < p->rows; i++) {
        across += plain_line(p, x, i, false) / (double)p->rows;
        if (p->d.loss == KPDT_MNR_SYMMETRIC) down += plain_line(p, x, i, true) / (double)p->rows;
    }
    return p->d.loss == KPDT_MNR_SYMMETRIC ? (across + down) / 2 : across;
}

static void difference_matrix(kpdt_loss loss, size_t rows, size_t columns, bool extras) {
    double s[MOST], q[MOST];
    float fs[MOST], fq[MOST], ds[MOST], value;
    uint8_t mask[MOST];
    problem p;
    memset(&p, 0, sizeof p);
    p.d = desc_of(loss);
    p.d.scale = 7;
    p.log_q = extras ? q : NULL; p.mask = extras ? mask : NULL; p.rows = rows; p.columns = columns;
    for (size_t i = 0; i < rows * columns; i++) {
        s[i] = number(-1, 1);
        mask[i] = i / columns == i % columns ? 0 : (uint8_t)number(0, 8) & (uint8_t)number(0, 8);
    }
    for (size_t j = 0; j < columns; j++) q[j] = number(-5, 0);
    narrow(s, rows * columns, fs);
    narrow(q, columns, fq);
    if (!CHECK_OK(kpdt_loss_matrix(&p.d, fs, p.mask, extras ? fq : NULL, rows, columns, &value, ds, &error))) return;
    CHECK_NEAR(value, plain_matrix(&p, s), 1e-6 * fabs((double)value));
    check_gradient("matrix", plain_matrix, &p, s, rows * columns, ds);
}

static void differences_matrix(void) {
    double x[60];
    float fx[60], dx[60], value;
    int32_t label[10];
    problem p;
    for (int extras = 0; extras < 2; extras++) {
        difference_matrix(KPDT_MNR, 7, 7, extras);
        difference_matrix(KPDT_MNR, 6, 17, extras);
        difference_matrix(KPDT_MNR_SYMMETRIC, 7, 7, extras);
        difference_matrix(KPDT_MNR_SYMMETRIC, 5, 12, extras);
    }
    memset(&p, 0, sizeof p);
    p.d.scale = 1; p.rows = 10; p.columns = 6; p.label = label;
    for (size_t i = 0; i < 60; i++) x[i] = number(-4, 4);
    for (int i = 0; i < 10; i++) label[i] = (i * 5) % 6;
    narrow(x, 60, fx);
    CHECK_OK(kpdt_cross_entropy(fx, label, 10, 6, &value, dx, &error));
    CHECK_NEAR(value, plain_matrix(&p, x), 1e-6);
    check_gradient("cross-entropy", plain_matrix, &p, x, 60, dx);
}

// sum over all scores of g(i, j) similarity(i, j), g being fixed numbers.
static double upstream(size_t i, size_t j) { return (double)((float)((int)((i * 7 + j * 3) % 11) - 4) / 8.0f); }

static double plain_similarity(const problem *p, const double *a, const double *b) {
    size_t dim = (size_t)p->sim.dim, half = dim / 2;
    double ab = 0, aa = 0, bb = 0;
    for (size_t k = 0; k < dim; k++) {
        aa += a[k] * a[k];
        bb += b[k] * b[k];
        if (p->sim.kind != KPDT_SIM_ANGLE) ab += a[k] * b[k];
    }
    if (p->sim.kind == KPDT_SIM_DOT) return ab;
    for (size_t k = 0; k < half && p->sim.kind == KPDT_SIM_ANGLE; k++)   // real and imaginary part of a times b's conjugate
        ab += (a[k] * b[k] + a[k + half] * b[k + half]) + (a[k + half] * b[k] - a[k] * b[k + half]);
    if (p->sim.kind == KPDT_SIM_ANGLE) ab = fabs(ab);
    return aa > 0 && bb > 0 ? ab / sqrt(aa * bb) : 0;
}

static double plain_layer(const problem *p, const double *x) {
    const double *a = p->of_b ? p->other : x, *b = p->of_b ? x : p->other;
    size_t stride = (size_t)p->sim.stride;
    double sum = 0;
    for (size_t i = 0; i < p->rows; i++)
        for (size_t j = 0; j < p->columns; j++)
            if (p->sim.matrix || i == j) sum += upstream(i, j) * plain_similarity(p, a + i * stride, b + j * stride);
    return sum;
}

static void difference_similarity(kpdt_similarity kind, bool matrix, size_t rows, size_t columns, int32_t dim) {
    double a[MOST], b[MOST];
    float fa[MOST], fb[MOST], s[MOST], g[MOST], da[MOST], db[MOST];
    size_t n = matrix ? rows * columns : rows, stride = (size_t)dim + 3;
    problem p;
    memset(&p, 0, sizeof p);
    p.sim.kind = kind; p.sim.matrix = matrix; p.sim.dim = dim; p.sim.stride = (int32_t)stride;
    p.rows = rows; p.columns = columns;
    for (size_t i = 0; i < rows * stride; i++) a[i] = number(-2, 2);
    for (size_t i = 0; i < columns * stride; i++) b[i] = number(-2, 2);
    narrow(a, rows * stride, fa);
    narrow(b, columns * stride, fb);
    if (!CHECK_OK(kpdt_similarity_forward(&p.sim, fa, rows, fb, columns, s, &error))) return;
    for (size_t i = 0; i < n; i++) {
        size_t x = matrix ? i / columns : i, y = matrix ? i % columns : i;
        // A matrix of dots is in float: of numbers up to 2 2 dim.
        CHECK_NEAR(s[i], plain_similarity(&p, a + x * stride, b + y * stride),
                   2e-7 * (1 + fabs((double)s[i]) + (matrix && kind == KPDT_SIM_DOT ? dim : 0)));
        g[i] = (float)upstream(x, y);
    }
    for (size_t i = 0; i < MOST; i++) da[i] = db[i] = 0;
    CHECK_OK(kpdt_similarity_backward(&p.sim, fa, rows, fb, columns, g, da, NULL, &error));
    CHECK_OK(kpdt_similarity_backward(&p.sim, fa, rows, fb, columns, g, NULL, db, &error));
    p.other = b;
    check_gradient("similarity, a", plain_layer, &p, a, rows * stride, da);
    p.other = a; p.of_b = true;
    check_gradient("similarity, b", plain_layer, &p, b, columns * stride, db);
}

static void differences_similarity(void) {
    for (int kind = 0; kind <= KPDT_SIM_ANGLE; kind++) {
        difference_similarity((kpdt_similarity)kind, false, 5, 5, 10);
        difference_similarity((kpdt_similarity)kind, false, 20, 20, 10);
        difference_similarity((kpdt_similarity)kind, true, 3, 5, 10);
        difference_similarity((kpdt_similarity)kind, true, 4, 3, 106);      // two blocks of columns
        difference_similarity((kpdt_similarity)kind, false, 3, 3, 2);
        difference_similarity((kpdt_similarity)kind, true, 19, 23, 10);   // several tiles, none full at the end
    }
}

// A matrix beyond every group, chain and panel of the float path, against double: scores, and the gradients by their formula.
static void large_matrices_are_as_in_double(void) {
    enum { NA = 530, NB = 37, D = 523 };
    static float a[NA * D], b[NB * D], s[NA * NB], ds[NA * NB], da[NA * D], db[NB * D];
    double la[NA], lb[NB], worst = 0, worst_gradient = 0;
    kpdt_similarity_desc d;
    memset(&d, 0, sizeof d);
    d.matrix = true; d.dim = D;
    for (int i = 0; i < NA * D; i++) a[i] = (float)number(-1, 1);
    for (int i = 0; i < NB * D; i++) b[i] = (float)number(-1, 1) + a[i];
    for (int i = 0; i < NA * NB; i++) ds[i] = (float)number(-1, 1);
    CHECK_OK(kpdt_similarity_forward(&d, a, NA, b, NB, s, &error));
    CHECK_OK(kpdt_similarity_backward(&d, a, NA, b, NB, ds, da, db, &error));
    for (int of_b = 0; of_b < 2; of_b++)
        for (int i = 0; i < (of_b ? NB : NA); i++) {
            double sum = 0;
            for (int k = 0; k < D; k++) sum += pow((double)(of_b ? b : a)[i * D + k], 2);
            (of_b ? lb : la)[i] = sqrt(sum);
        }
    for (int i = 0; i < NA * NB; i++) {
        double sum = 0;
        for (int k = 0; k < D; k++) sum += (double)a[i / NB * D + k] * (double)b[i % NB * D + k];
        worst = fmax(worst, fabs(sum / (la[i / NB] * lb[i % NB]) - (double)s[i]));
    }
    CHECK_THAT(worst < 1e-6, "a cosine is off by %g", worst);
    for (int x = 0; x < NA; x += 101)
        for (int k = 0; k < D; k++) {
            double want = 0, other = 0;
            for (int j = 0; j < NB; j++) {
                double g = (double)ds[x * NB + j], score = (double)s[x * NB + j];
                want += g * ((double)b[j * D + k] / lb[j] - score * (double)a[x * D + k] / la[x]);
            }
            for (int i = 0; i < NA; i++) {
                double g = (double)ds[i * NB + x % NB], score = (double)s[i * NB + x % NB];
                other += g * ((double)a[i * D + k] / la[i] - score * (double)b[x % NB * D + k] / lb[x % NB]);
            }
            worst_gradient = fmax(worst_gradient, fabs(want / la[x] - (double)da[x * D + k]));
            worst_gradient = fmax(worst_gradient, fabs(other / lb[x % NB] - (double)db[x % NB * D + k]));
        }
    CHECK_THAT(worst_gradient < 1e-6, "a gradient is off by %g", worst_gradient);
}

// Lengths whose products no float holds: the cosines of what they were before.
static void cosines_do_not_depend_on_lengths(void) {
    static const float scales[] = {1e25f, 1e-25f, 1e18f, 1e-18f, 3};
    float a[40], b[40], big[40], s[16], t[16], ds[16], da[40], db[40];
    kpdt_similarity_desc d;
    memset(&d, 0, sizeof d);
    d.matrix = true; d.dim = 10;
    for (int i = 0; i < 40; i++) { a[i] = (float)number(-1, 1); b[i] = (float)number(-1, 1); }
    for (int i = 0; i < 16; i++) ds[i] = (float)number(-1, 1);
    CHECK_OK(kpdt_similarity_forward(&d, a, 4, b, 4, s, &error));
    for (int k = 0; k < 5; k++) {
        for (int i = 0; i < 40; i++) big[i] = a[i] * (i < 10 ? scales[k] : 1);
        memset(da, 0, sizeof da);
        memset(db, 0, sizeof db);
        CHECK_OK(kpdt_similarity_forward(&d, big, 4, b, 4, t, &error));
        CHECK_OK(kpdt_similarity_backward(&d, big, 4, b, 4, ds, da, db, &error));
        for (int i = 0; i < 16; i++) CHECK_NEAR(s[i], t[i], 1e-6);
        for (int i = 0; i < 40; i++) CHECK(da[i] - da[i] == 0 && db[i] - db[i] == 0);
        CHECK(da[0] != 0 && db[0] != 0);
    }
}

// The same bits at every level and with any number of tasks.
static void matrices_have_the_same_bits_everywhere(void) {
    enum { N = 150, D = 70 };
    static float a[N * D], b[2 * N * D], work[4 * N * N], da[2][N * D], db[2][2 * N * D];
    static uint8_t mask[2 * N * N];
    float loss[2] = {0, 0};
    kpdt_loss_desc d = desc_of(KPDT_MNR);
    kpdt_vectors v;
    for (int i = 0; i < N * D; i++) a[i] = (float)number(-1, 1);
    for (int i = 0; i < 2 * N * D; i++) b[i] = (float)number(-1, 1);
    for (int i = 0; i < 2 * N * N; i++)
        mask[i] = i / (2 * N) == i % (2 * N) ? 0 : (uint8_t)number(0, 8) & (uint8_t)number(0, 8);
    d.dims[0] = D; d.dims[1] = 33;
    for (int symmetric = 0; symmetric < 2; symmetric++) {
        bool first = true;
        d.loss = symmetric ? KPDT_MNR_SYMMETRIC : KPDT_MNR;
        for (int level = KPD_SIMD_AUTO; level < KPD_SIMD_COUNT; level++)
            for (int32_t threads = 1; threads < 4; threads++) {
                kpd_pool *pool = NULL;
                int at = !first;
                if (!kpd_simd_available((kpd_simd)level)) continue;
                CHECK_OK(kpd_pool_create(threads, NULL, &pool, NULL));
                memset(&v, 0, sizeof v);
                memset(da[at], 0, sizeof da[at]);
                memset(db[at], 0, sizeof db[at]);
                v.a = a; v.b = b; v.na = N; v.nb = 2 * N; v.dim = D; v.mask = mask; v.work = work; v.da = da[at]; v.db = db[at];
                v.simd = (kpd_simd)level; v.parallel = *kpd_pool_parallel(pool);
                CHECK_OK(kpdt_loss_vectors(&d, &v, &loss[at], &error));
                CHECK_THAT(first || (!memcmp(da[0], da[1], sizeof da[0]) && !memcmp(db[0], db[1], sizeof db[0]) &&
                                     loss[0] == loss[1]), "level %d, %d threads: other bits", level, (int)threads);
                first = false;
                kpd_pool_destroy(pool);
            }
    }
}

// SBERT's head in double: x is u, v, W and bias in a row.
static double plain_head(const problem *p, const double *x) {
    size_t B = p->rows, D = 3, L = 4;
    const double *u = x, *v = u + B * D, *w = v + B * D, *bias = w + L * 3 * D;
    double sum = 0;
    for (size_t i = 0; i < B; i++) {
        double z = 0, logit[4];
        for (size_t c = 0; c < L; c++) {
            logit[c] = bias[c];
            for (size_t k = 0; k < D; k++)
                logit[c] += w[c * 9 + k] * u[i * D + k] + w[c * 9 + 3 + k] * v[i * D + k] +
                            w[c * 9 + 6 + k] * fabs(u[i * D + k] - v[i * D + k]);
            z += exp(logit[c]);
        }
        sum += (log(z) - logit[p->label[i]]) / (double)B;
    }
    return sum;
}

static void differences_head(void) {
    enum { B = 8, N = 2 * B * 3 + 36 + 4 };
    static const int32_t label[B] = {0, 3, 1, 1, 2, 0, 3, 2};
    double x[N];
    float f[N], g[N], loss;
    kpdt_softmax_head h;
    problem p;
    memset(&p, 0, sizeof p);
    memset(g, 0, sizeof g);
    p.rows = B; p.label = label;
    for (size_t i = 0; i < N; i++) x[i] = number(-1, 1);
    narrow(x, N, f);
    h.u = f; h.v = f + B * 3; h.w = f + 2 * B * 3; h.bias = h.w + 36; h.label = label; h.B = B; h.dim = 3; h.labels = 4;
    h.du = g; h.dv = g + B * 3; h.dw = g + 2 * B * 3; h.dbias = h.dw + 36;
    CHECK_OK(kpdt_softmax_head_loss(&h, &loss, &error));
    CHECK_NEAR(loss, plain_head(&p, x), 1e-6);
    check_gradient("softmax head", plain_head, &p, x, N, g);
}

// exp and log are the header's own: through BCE with t = 0, softplus(s) and its derivative, against libm's.
static void own_exp_and_log(void) {
    kpdt_loss_desc d = desc_of(KPDT_BCE);
    const float t = 0;
    for (int i = -9000; i <= 9000; i++) {
        float s = (float)i * 0.0095f, loss, ds;
        double want = s > 0 ? (double)s + log1p(exp(-(double)s)) : log1p(exp((double)s)), slope = 1 / (1 + exp(-(double)s));
        if (!CHECK_OK(kpdt_loss_pairs(&d, &s, &t, NULL, 1, &loss, &ds, &error))) return;
        if (!CHECK_THAT(fabs((double)loss - want) <= 6.1e-8 * want, "softplus(%g) is %.9g, expected %.9g", (double)s,
                        (double)loss, want))
            return;
        if (!CHECK_THAT(fabs((double)ds - slope) <= 6.1e-8 * slope, "sigmoid(%g) is %.9g, expected %.9g", (double)s, (double)ds,
                        slope))
            return;
    }
}

// DEGENERATE CASES --------------------------------------------------------------------------------------------------

static void expect(kpdt_loss_desc d, const float *s, const float *t, const int32_t *query, size_t n, double want) {
    float ds[8], loss;
    for (size_t i = 0; i < 8; i++) ds[i] = 77;
    if (!CHECK_OK(kpdt_loss_pairs(&d, s, t, query, n, &loss, ds, &error))) return;
    CHECK_THAT((double)loss == want, "loss %d: %.9g, expected %.9g", (int)d.loss, (double)loss, want);
    for (size_t i = 0; i < 8; i++)
        CHECK_THAT(ds[i] == (i < n ? 0.0f : 77.0f), "loss %d: ds[%d] is %g", (int)d.loss, (int)i, (double)ds[i]);
}

static void degenerate_pearson(void) {
    static const float same[7] = {0.1f, 0.1f, 0.1f, 0.1f, 0.1f, 0.1f, 0.1f};
    static const float more[7] = {0.1f, 0.5f, 0.3f, 0.9f, 0.2f, 0.4f, 0.6f};
    static const float huge[7] = {3e38f, 3e38f, 3e38f, 3e38f, 3e38f, 3e38f, 3e38f};
    static const int32_t query[7] = {0, 1, 2, 3, 4, 5, 6};
    kpdt_loss_desc d = desc_of(KPDT_PEARSON);
    for (int target = 0; target <= KPDT_TARGET_COSINE; target++) {
        d.target = (kpdt_target)target;
        expect(d, same, more, NULL, 7, 1);
        expect(d, more, same, NULL, 7, 1);
        expect(d, same, same, NULL, 7, 1);
        expect(d, huge, more, NULL, 7, 1);
        expect(d, more, more, NULL, 1, 1);
        d.per_query = true;
        expect(d, more, more, query, 7, 1);
        d.per_query = false;
    }
}

static void degenerate_pairs(void) {
    static const float s[4] = {0.3f, -0.2f, 0.9f, 0.1f}, t[4] = {0.5f, 0.5f, 0.5f, 0.5f}, zeros[4] = {0, 0, 0, 0};
    static const float perfect[4] = {1, 0.5f, 0.4f, 1}, label[4] = {1, 0, 0, 1};
    static const int32_t query[4] = {0, 1, 2, 3};
    expect(desc_of(KPDT_COSENT), s, t, NULL, 4, 0);             // all labels equal: log 1
    expect(desc_of(KPDT_COSENT), s, t, NULL, 1, 0);
    expect(desc_of(KPDT_RANKNET), s, t, NULL, 4, 0);
    expect(desc_of(KPDT_KL), s, t, query, 4, 0);                // one candidate a query
    expect(desc_of(KPDT_MARGIN_MSE), s, t, query, 4, 0);
    expect(desc_of(KPDT_MSE), s, s, NULL, 4, 0);
    expect(desc_of(KPDT_CONTRASTIVE), perfect, label, NULL, 4, 0);   // negatives at cosine = 1 - margin and below
    expect(desc_of(KPDT_ONLINE_CONTRASTIVE), perfect, label, NULL, 4, 0);
    expect(desc_of(KPDT_ONLINE_CONTRASTIVE), zeros, zeros, NULL, 4, 0);   // no positive: below the own mean there is none
}

static void online_with_few(void) {
    static const float s[3] = {0.2f, 0.9f, 0.5f}, y[3] = {1, 0, 1};
    kpdt_loss_desc d = desc_of(KPDT_ONLINE_CONTRASTIVE);
    float ds[3], loss;
    // The negative's distance is .1, and both positives lie farther; the farther positive's is .8.
    CHECK_OK(kpdt_loss_pairs(&d, s, y, NULL, 3, &loss, ds, &error));
    CHECK_NEAR(loss, 0.8 * 0.8 + 0.5 * 0.5 + 0.4 * 0.4, 1e-6);
    CHECK_NEAR(ds[0], -1.6, 1e-6);
    CHECK_NEAR(ds[1], 0.8, 1e-6);
    CHECK_NEAR(ds[2], -1, 1e-6);
}

static bool all_finite(const float *x, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (!(x[i] - x[i] == 0)) return false;
    return true;
}

static void extremes_stay_finite(void) {
    static const float s[4] = {1e30f, -1e30f, 3e4f, 0}, t[4] = {0, 1, 0.5f, 1}, unit[4] = {0, 1, 1, 0};
    static const float far[4] = {3e38f, -3e38f, 5, 3e38f};
    float ds[4], loss;
    kpdt_loss_desc d;
    for (int l = KPDT_CONTRASTIVE; l <= KPDT_RANKNET; l++) {
        if (l <= KPDT_MSE || l == KPDT_MARGIN_MSE) continue;   // squares do overflow a float
        d = desc_of((kpdt_loss)l);
        CHECK_OK(kpdt_loss_pairs(&d, s, t, NULL, 4, &loss, ds, &error));
        CHECK_THAT(all_finite(&loss, 1) && all_finite(ds, 4), "loss %d is not finite on large scores", l);
    }
    d = desc_of(KPDT_MNR_SYMMETRIC);
    CHECK_OK(kpdt_loss_matrix(&d, s, NULL, NULL, 2, 2, &loss, ds, &error));
    CHECK(all_finite(&loss, 1) && all_finite(ds, 4));
    CHECK_OK(kpdt_loss_matrix(&d, far, NULL, NULL, 2, 2, &loss, ds, &error));   // times the scale no float holds these
    CHECK(loss == 0 && ds[0] == 0 && ds[1] == 0 && ds[2] == 0 && ds[3] == 0);
    d = desc_of(KPDT_MSE);
    d.target = KPDT_TARGET_LOGIT;
    CHECK_OK(kpdt_loss_pairs(&d, unit, unit, NULL, 4, &loss, ds, &error));   // a teacher's 0 and 1 are clamped
    CHECK_NEAR(loss, (pow(log(1048575), 2) + pow(log(1048575) - 1, 2)) / 2, 1e-4);
}

static void degenerate_matrix(void) {
    static const float one = 0.7f, twice[4] = {0.6f, 0.6f, 0.6f, 0.6f};
    static const uint8_t mask[4] = {0, 1, 1, 0};
    kpdt_loss_desc d = desc_of(KPDT_MNR);
    float ds[4], loss;
    CHECK_OK(kpdt_loss_matrix(&d, &one, NULL, NULL, 1, 1, &loss, ds, &error));    // B = 1: nothing to tell apart
    CHECK(loss == 0 && ds[0] == 0);
    CHECK_OK(kpdt_loss_matrix(&d, twice, NULL, NULL, 2, 2, &loss, ds, &error));   // identical texts are each other's negatives
    CHECK_NEAR(loss, log(2), 1e-7);
    CHECK_NEAR(ds[0], -5, 1e-6);
    CHECK_NEAR(ds[1], 5, 1e-6);
    CHECK_OK(kpdt_loss_matrix(&d, twice, mask, NULL, 2, 2, &loss, ds, &error));   // masked, they are no negatives
    CHECK(loss == 0 && ds[0] == 0 && ds[1] == 0 && ds[2] == 0 && ds[3] == 0);
}

static void zero_vectors(void) {
    static const float zero[4] = {0, 0, 0, 0}, v[4] = {1, 2, 3, 4}, g = 1;
    kpdt_similarity_desc d;
    memset(&d, 0, sizeof d);
    d.dim = 4;
    for (int kind = 0; kind <= KPDT_SIM_ANGLE; kind++) {
        float da[4] = {0, 0, 0, 0}, db[4] = {0, 0, 0, 0}, s = 77;
        d.kind = (kpdt_similarity)kind;
        CHECK_OK(kpdt_similarity_forward(&d, zero, 1, v, 1, &s, &error));
        CHECK(s == 0);
        CHECK_OK(kpdt_similarity_backward(&d, zero, 1, v, 1, &g, da, db, &error));
        CHECK(!memcmp(da, kind == KPDT_SIM_DOT ? v : zero, sizeof da));
        CHECK(!memcmp(db, zero, sizeof db));
    }
}

// A value of 4 times the weight, and ds with it; da and db are added to; Matryoshka is the sum of its widths.
static void weights_and_sums(void) {
    static const float s[3] = {0.5f, -0.25f, 0.75f}, t[3] = {0, 1, 0.5f};
    kpdt_loss_desc d = desc_of(KPDT_MSE);
    float ds[2][3], loss[2], a[12], work[4], da[2][12], db[2][12], value, sum = 0;
    kpdt_vectors v;
    CHECK_OK(kpdt_loss_pairs(&d, s, t, NULL, 3, &loss[0], ds[0], &error));
    d.weight = 4;
    CHECK_OK(kpdt_loss_pairs(&d, s, t, NULL, 3, &loss[1], ds[1], &error));
    CHECK(loss[1] == 4 * loss[0]);
    for (int i = 0; i < 3; i++) CHECK(ds[1][i] == 4 * ds[0][i]);
    for (int i = 0; i < 12; i++) a[i] = (float)number(-1, 1);
    memset(da, 0, sizeof da);
    memset(db, 0, sizeof db);
    memset(&v, 0, sizeof v);
    v.a = a; v.b = a + 6; v.na = v.nb = 2; v.dim = 3; v.t = t; v.work = work;
    for (int width = 3; width > 1; width--) {
        d.dims[0] = width; d.dims[1] = 0;
        v.da = da[0]; v.db = db[0];
        CHECK_OK(kpdt_loss_vectors(&d, &v, &value, &error));
        sum += value;
    }
    d.dims[0] = 3; d.dims[1] = 2;
    v.da = da[1]; v.db = db[1];
    CHECK_OK(kpdt_loss_vectors(&d, &v, &value, &error));
    CHECK(value == sum);
    CHECK(!memcmp(da[0], da[1], sizeof da[0]) && !memcmp(db[0], db[1], sizeof db[0]));
}

// ERRORS: what is refused, where, and that outputs stay as they were ------------------------------------------------

static void refuse_pairs(kpdt_loss_desc d, const float *s, const float *t, size_t n, int64_t where) {
    float ds[3] = {77, 77, 77}, loss = 77;
    error.where = -2;
    CHECK_STATUS(kpdt_loss_pairs(&d, s, t, NULL, n, &loss, ds, &error), where < 0 ? KPD_ERR_ARGUMENT : KPD_ERR_INPUT);
    CHECK_INT(error.where, where);
    CHECK(loss == 77 && ds[0] == 77 && ds[1] == 77 && ds[2] == 77);
}

static void errors_pairs(void) {
    float s[3] = {0, 0.5f, 1}, bad[3] = {0, 1, NAN}, large[3] = {0, 1.5f, 1}, half[3] = {0.5f, 1, 0};
    kpdt_loss_desc d = desc_of(KPDT_MSE);
    refuse_pairs(d, bad, s, 3, 2);
    refuse_pairs(d, s, bad, 3, 2);
    refuse_pairs(d, s, s, 0, -1);
    refuse_pairs(desc_of(KPDT_LOSS_NONE), s, s, 3, -1);
    refuse_pairs(desc_of(KPDT_MNR), s, s, 3, -1);
    refuse_pairs(desc_of(KPDT_LOSS_COUNT), s, s, 3, -1);
    refuse_pairs(desc_of(KPDT_CONTRASTIVE), s, large, 3, 1);
    refuse_pairs(desc_of(KPDT_BCE), s, large, 3, 1);
    refuse_pairs(desc_of(KPDT_ONLINE_CONTRASTIVE), s, half, 3, 0);
    d.target = KPDT_TARGET_LOGIT;
    refuse_pairs(d, s, large, 3, 1);
    d.target = (kpdt_target)3;
    refuse_pairs(d, s, s, 3, -1);
    d = desc_of(KPDT_KL);
    d.temperature = -1;
    refuse_pairs(d, s, s, 3, -1);
    d.temperature = INFINITY;
    refuse_pairs(d, s, s, 3, -1);
    CHECK_STATUS(kpdt_loss_pairs(&d, s, s, NULL, 3, NULL, NULL, NULL), KPD_ERR_ARGUMENT);   // no kpd_error is fine
}

static void errors_matrix(void) {
    static const uint8_t mask[4] = {0, 0, 0, 1};
    float s[4] = {0, 1, 2, 3}, bad[4] = {0, INFINITY, 0, 0}, ds[4] = {77, 77, 77, 77}, loss = 77;
    int32_t label[2] = {0, 2};
    kpdt_loss_desc d = desc_of(KPDT_MNR), pairs = desc_of(KPDT_MSE);
    CHECK_STATUS(kpdt_loss_matrix(&pairs, s, NULL, NULL, 2, 2, &loss, ds, &error), KPD_ERR_ARGUMENT);
    CHECK_STATUS(kpdt_loss_matrix(&d, s, NULL, NULL, 4, 1, &loss, ds, &error), KPD_ERR_ARGUMENT);
    CHECK_STATUS(kpdt_loss_matrix(&d, s, NULL, NULL, 0, 4, &loss, ds, &error), KPD_ERR_ARGUMENT);
    CHECK_STATUS(kpdt_loss_matrix(&d, s, mask, NULL, 2, 2, &loss, ds, &error), KPD_ERR_INPUT);
    CHECK_INT(error.where, 1);
    CHECK_STATUS(kpdt_loss_matrix(&d, bad, NULL, NULL, 2, 2, &loss, ds, &error), KPD_ERR_INPUT);
    CHECK_INT(error.where, 1);
    CHECK_STATUS(kpdt_loss_matrix(&d, s, NULL, bad, 2, 2, &loss, ds, &error), KPD_ERR_INPUT);
    CHECK_STATUS(kpdt_cross_entropy(s, label, 2, 2, &loss, ds, &error), KPD_ERR_INPUT);
    CHECK_INT(error.where, 1);
    CHECK(loss == 77 && ds[0] == 77 && ds[3] == 77);
}

static void errors_vectors(void) {
    float a[6] = {1, 2, 3, 4, 5, 6}, t[2] = {0, 1}, work[8], da[6] = {0, 0, 0, 0, 0, 0}, loss = 77;
    kpdt_loss_desc d = desc_of(KPDT_MSE);
    kpdt_vectors v;
    kpdt_softmax_head h;
    memset(&v, 0, sizeof v);
    v.a = v.b = a; v.na = v.nb = 2; v.dim = 3; v.t = t; v.work = work; v.da = v.db = da;
    d.dims[0] = 2; d.dims[1] = 3;
    CHECK_STATUS(kpdt_loss_vectors(&d, &v, &loss, &error), KPD_ERR_ARGUMENT);    // ascending
    CHECK_INT(error.where, 1);
    d.dims[0] = 4; d.dims[1] = 0;
    CHECK_STATUS(kpdt_loss_vectors(&d, &v, &loss, &error), KPD_ERR_ARGUMENT);    // wider than the vectors
    d.dims[0] = 0;
    d.similarity = KPDT_SIM_ANGLE;
    CHECK_STATUS(kpdt_loss_vectors(&d, &v, &loss, &error), KPD_ERR_ARGUMENT);    // odd
    d.similarity = KPDT_SIM_COSINE;
    v.nb = 1;
    CHECK_STATUS(kpdt_loss_vectors(&d, &v, &loss, &error), KPD_ERR_ARGUMENT);    // pairs need as many b as a
    memset(&h, 0, sizeof h);
    h.B = 1; h.dim = 1; h.labels = KPDT_MAX_LABELS + 1;
    CHECK_STATUS(kpdt_softmax_head_loss(&h, &loss, &error), KPD_ERR_LIMIT);
    h.labels = 0;
    CHECK_STATUS(kpdt_softmax_head_loss(&h, &loss, &error), KPD_ERR_ARGUMENT);
    CHECK(loss == 77);
}

SUITE(losses) {
    RUN(losses, golden_pairs);
    RUN(losses, golden_matrix);
    RUN(losses, golden_vectors);
    RUN(losses, golden_negatives);
    RUN(losses, golden_head);
    RUN(losses, same_bits);
    RUN(losses, rounding_mode);
    RUN(losses, one_of_a_kind_bounds_the_other);
    RUN(losses, zero_can_be_said);
    RUN(losses, differences_pairs);
    RUN(losses, differences_matrix);
    RUN(losses, differences_similarity);
    RUN(losses, large_matrices_are_as_in_double);
    RUN(losses, cosines_do_not_depend_on_lengths);
    RUN(losses, matrices_have_the_same_bits_everywhere);
    RUN(losses, differences_head);
    RUN(losses, own_exp_and_log);
    RUN(losses, degenerate_pearson);
    RUN(losses, degenerate_pairs);
    RUN(losses, online_with_few);
    RUN(losses, extremes_stay_finite);
    RUN(losses, degenerate_matrix);
    RUN(losses, zero_vectors);
    RUN(losses, weights_and_sums);
    RUN(losses, errors_pairs);
    RUN(losses, errors_matrix);
    RUN(losses, errors_vectors);
}
