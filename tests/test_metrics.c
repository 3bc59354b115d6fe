// Metrics against scikit-learn and scipy (golden), against counting by hand, and where they are undefined; the auction.
#include "../kpd_train.h"
#include "golden_lines.h"
#include "test.h"
#include "values.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static kpd_error error;

static bool is_nan(double x) { return x != x; }

// CLASSIFICATION ----------------------------------------------------------------------------------------------------

static void golden_classification(void) {
    float s[60], y[60];
    double at[5], best[1], area[2], ece[1];
    uint8_t label[60];
    const float threshold = 0.45f;
    kpdt_classification c, again;
    if (golden_floats("classify.s", s, 60) != 60 || golden_floats("classify.y", y, 60) != 60 ||
        golden_doubles("classify.at", at, 5) != 5 || golden_doubles("classify.best_f1", best, 1) != 1 ||
        golden_doubles("classify.area", area, 2) != 2 || golden_doubles("classify.ece", ece, 1) != 1)
        return;
    for (int i = 0; i < 60; i++) label[i] = y[i] != 0;
    CHECK_OK(kpdt_classify(s, label, 60, &threshold, NULL, &c, &error));
    CHECK(c.threshold == threshold);
    CHECK_NEAR(c.f1, at[0], 1e-9);
    CHECK_NEAR(c.precision, at[1], 1e-9);
    CHECK_NEAR(c.recall, at[2], 1e-9);
    CHECK_NEAR(c.accuracy, at[3], 1e-9);
    CHECK_NEAR(c.mcc, at[4], 1e-9);
    CHECK_NEAR(c.average_precision, area[0], 1e-9);
    CHECK_NEAR(c.auc, area[1], 1e-9);
    CHECK_NEAR(c.ece, ece[0], 1e-9);
    CHECK_OK(kpdt_classify(s, label, 60, NULL, NULL, &c, &error));
    CHECK_NEAR(c.f1, best[0], 1e-9);
    CHECK_OK(kpdt_classify(s, label, 60, &c.threshold, NULL, &again, &error));   // choosing on dev = passing to test
    CHECK(c.threshold == again.threshold && c.f1 == again.f1 && c.mcc == again.mcc && c.auc == again.auc);
}

// The best threshold lies half-way between neighbours, or is the upper one where no float lies between.
static void best_threshold(void) {
    static const float s[4] = {0.25f, 0.75f, 0.5f, 0.125f}, tie[3] = {0.5f, 0.5f, 0.5f};
    static const uint8_t y[4] = {0, 1, 1, 0}, yes[4] = {1, 1, 1, 1};
    static const float fall[4] = {0.875f, 0.625f, 0.5f, 0.25f};
    static const uint8_t first[2] = {1, 0}, ends[4] = {1, 0, 0, 1};
    float near[2];
    kpdt_classification c;
    CHECK_OK(kpdt_classify(s, y, 4, NULL, NULL, &c, &error));
    CHECK(c.threshold == 0.375f && c.f1 == 1 && c.auc == 1 && c.average_precision == 1 && c.mcc == 1);
    near[0] = 1; near[1] = nextafterf(1, 0);
    CHECK_OK(kpdt_classify(near, first, 2, NULL, NULL, &c, &error));
    CHECK(c.threshold == 1 && c.f1 == 1);
    near[0] = near[1]; near[1] = nextafterf(near[1], 0);           // here the middle would round to the lower one
    CHECK_OK(kpdt_classify(near, first, 2, NULL, NULL, &c, &error));
    CHECK(c.threshold == near[0] && c.f1 == 1);
    CHECK_OK(kpdt_classify(fall, ends, 4, NULL, NULL, &c, &error));     // F1 is 2/3 with one taken and with all
    CHECK(c.threshold == 0.75f);
    CHECK_OK(kpdt_classify(tie, y, 3, NULL, NULL, &c, &error));     // one group: all or nothing, area a half
    CHECK(c.threshold == 0.5f && c.recall == 1 && c.auc == 0.5);
    CHECK_NEAR(c.average_precision, 2.0 / 3, 1e-15);
    CHECK_OK(kpdt_classify(s, yes, 4, NULL, NULL, &c, &error));
    CHECK(c.threshold == 0.125f && c.f1 == 1);
}

// A score of 1 belongs to the last bin, and a bin's error is that of its mean.
static void calibration(void) {
    static const float s[4] = {1, 1, 0, 0.5f};
    static const uint8_t y[4] = {1, 0, 0, 1};
    kpdt_classification c;
    CHECK_OK(kpdt_classify(s, y, 4, NULL, NULL, &c, &error));
    CHECK_NEAR(c.ece, (0.5 * 2 + 0 + 0.5) / 4, 1e-15);
}

static void undefined_classification(void) {
    static const float s[3] = {0.5f, 1.5f, 0.25f};
    static const uint8_t no[3] = {0, 0, 0}, yes[3] = {1, 1, 1};
    const float high = 9, never = INFINITY;
    kpdt_classification c;
    CHECK_OK(kpdt_classify(s, no, 3, &high, NULL, &c, &error));
    CHECK(is_nan(c.f1) && is_nan(c.precision) && is_nan(c.recall) && is_nan(c.mcc));
    CHECK(is_nan(c.auc) && is_nan(c.average_precision));
    CHECK(c.accuracy == 1 && is_nan(c.ece));        // 1.5 is no probability
    CHECK_OK(kpdt_classify(s, yes, 3, &never, NULL, &c, &error));
    CHECK(c.f1 == 0 && is_nan(c.precision) && c.recall == 0 && is_nan(c.auc) && c.average_precision == 1);
}

static void errors_classification(void) {
    float s[3] = {0, NAN, 1};
    static const float good[3] = {0, 0.5f, 1}, nan = NAN;
    static const uint8_t y[3] = {0, 1, 2};
    kpdt_classification c;
    memset(&c, 77, sizeof c);
    CHECK_STATUS(kpdt_classify(s, y, 3, NULL, NULL, &c, &error), KPD_ERR_INPUT);
    CHECK_INT(error.where, 1);
    CHECK_STATUS(kpdt_classify(good, y, 3, NULL, NULL, &c, &error), KPD_ERR_INPUT);
    CHECK_INT(error.where, 2);
    CHECK_STATUS(kpdt_classify(good, y, 0, NULL, NULL, &c, &error), KPD_ERR_ARGUMENT);
    CHECK_STATUS(kpdt_classify(good, y, 2, &nan, NULL, &c, &error), KPD_ERR_ARGUMENT);
    for (size_t i = 0; i < sizeof c; i++) CHECK(((unsigned char *)&c)[i] == 77);
}

// CORRELATION -------------------------------------------------------------------------------------------------------

static void correlations(void) {
    static const float flat[3] = {2, 2, 2}, up[3] = {1, 2, 4}, down[3] = {3, 1, -9}, bad[3] = {0, 0, NAN};
    float x[60], y[60];
    double want[2], rho = 77;
    if (golden_floats("classify.s", x, 60) != 60 || golden_floats("classify.x", y, 60) != 60 ||
        golden_doubles("correlation", want, 2) != 2)
        return;
    CHECK_NEAR(kpdt_pearson(x, y, 60), want[0], 1e-9);
    CHECK_STATUS(kpdt_spearman(x, bad, 3, NULL, &rho, &error), KPD_ERR_INPUT);
    CHECK(rho == 77);
    CHECK_OK(kpdt_spearman(x, y, 60, NULL, &rho, &error));
    CHECK_NEAR(rho, want[1], 1e-9);
    CHECK_OK(kpdt_spearman(up, down, 3, NULL, &rho, &error));
    CHECK_NEAR(rho, -1, 1e-15);
    CHECK(is_nan(kpdt_pearson(flat, up, 3)) && is_nan(kpdt_pearson(up, down, 1)) && is_nan(kpdt_pearson(up, down, 0)));
    CHECK_OK(kpdt_spearman(up, flat, 3, NULL, &rho, &error));
    CHECK(is_nan(rho));
}

// RANKING -----------------------------------------------------------------------------------------------------------

static void ranking(void) {
    float gain[6], ideal[5];
    static const float nothing[2] = {0, 0};
    static const int32_t cut[3] = {1, 3, 6};
    double ndcg[3], map[1];
    kpdt_ranking r;
    if (golden_floats("rank.gain", gain, 6) != 6 || golden_floats("rank.ideal", ideal, 5) != 5 ||
        golden_doubles("rank.ndcg", ndcg, 3) != 3 || golden_doubles("rank.map", map, 1) != 1)
        return;
    for (int i = 0; i < 3; i++) CHECK_NEAR(rank_of(gain, 6, cut[i], ideal, 5).ndcg, ndcg[i], 1e-9);
    r = rank_of(gain, 6, 6, ideal, 5);
    CHECK_NEAR(r.map, map[0], 1e-9);
    CHECK_NEAR(r.recall, 3.0 / 5, 1e-15);
    CHECK_NEAR(r.precision, 3.0 / 6, 1e-15);
    CHECK_NEAR(r.mrr, 1.0 / 2, 1e-15);
    r = rank_of(gain, 4, 10, NULL, 5);                       // fewer retrieved than k; gains of an ideal ranking all 1
    CHECK_NEAR(r.precision, 2.0 / 10, 1e-15);
    CHECK_NEAR(r.map, (1.0 / 2 + 2.0 / 4) / 5, 1e-15);
    r = rank_of(gain, 6, 2, NULL, 1);                        // k = 2, one relevant: at rank 2, gain 3
    CHECK_NEAR(r.ndcg, 3 * log(2) / log(3), 1e-12);
    r = rank_of(gain, 6, 2, NULL, 5);                        // no more than k can be found
    CHECK_NEAR(r.map, 1.0 / 2 / 2, 1e-15);
    r = rank_of(nothing, 2, 2, NULL, 3);
    CHECK(r.recall == 0 && r.precision == 0 && r.mrr == 0 && r.ndcg == 0 && r.map == 0);
    r = rank_of(gain, 6, 5, NULL, 0);
    CHECK(is_nan(r.recall) && is_nan(r.precision) && is_nan(r.mrr) && is_nan(r.ndcg) && is_nan(r.map));
    CHECK(is_nan(rank_of(gain, 6, 0, NULL, 5).precision));
}

// BOOTSTRAP ---------------------------------------------------------------------------------------------------------

static kpdt_bootstrap_desc bootstrap_of(const float *a, const float *b, size_t n) {
    kpdt_bootstrap_desc d;
    memset(&d, 0, sizeof d);
    d.a = a; d.b = b; d.n = n; d.seed = 7;
    return d;
}

// scipy draws other numbers: the ends agree within what 10,000 resamples leave open, about 4 standard errors of .003.
static void bootstrap_paired(void) {
    float a[80], b[80], difference[80];
    double want[3];
    kpdt_bootstrap_desc d;
    kpdt_interval i, again, of_difference;
    if (golden_floats("bootstrap.a", a, 80) != 80 || golden_floats("bootstrap.b", b, 80) != 80 ||
        golden_doubles("bootstrap.interval", want, 3) != 3)
        return;
    d = bootstrap_of(a, b, 80);
    CHECK_OK(kpdt_bootstrap(&d, &i, &error));
    CHECK_NEAR(i.estimate, want[0], 1e-9);
    CHECK_NEAR(i.low, want[1], 0.012);
    CHECK_NEAR(i.high, want[2], 0.012);
    CHECK(i.p > 0.3 && i.p < 0.8);
    CHECK_OK(kpdt_bootstrap(&d, &again, &error));
    CHECK(!memcmp(&i, &again, sizeof i));                      // a seed repeats
    for (int k = 0; k < 80; k++) difference[k] = a[k] - b[k];
    d.a = difference; d.b = NULL;
    CHECK_OK(kpdt_bootstrap(&d, &of_difference, &error));      // paired: both systems see the same draw
    CHECK_NEAR(of_difference.low, i.low, 1e-6);
    CHECK_NEAR(of_difference.high, i.high, 1e-6);
    d.seed = 8;
    CHECK_OK(kpdt_bootstrap(&d, &again, &error));
    CHECK(again.low != of_difference.low);
    d.level = 0.5f;
    CHECK_OK(kpdt_bootstrap(&d, &again, &error));
    CHECK(again.low > of_difference.low && again.high < of_difference.high);
}

// A host's statistics: the mean and the difference of two, which have the intervals of the built-in ones bit for bit; a median;
// one that is not defined of some draws, and of none.
typedef struct columns { const float *x, *y; size_t n, calls, runs; double nan_from; } columns;

static void mean_of(void *user, const size_t *run, size_t runs, const size_t *item, size_t n, double *out) {
    const columns *c = (const columns *)user;
    double x = 0, y = 0;
    for (size_t r = 0; r < runs; r++)
        for (size_t i = 0; i < n; i++) {
            x += (double)c->x[run[r] * n + item[i]];
            if (c->y) y += (double)c->y[run[r] * n + item[i]];
        }
    *out = x / (double)(runs * n) - y / (double)(runs * n);
}

static void median_of(void *user, const size_t *run, size_t runs, const size_t *item, size_t n, double *out) {
    columns *c = (columns *)user;
    size_t below = 0;
    c->calls++;
    c->runs = runs;
    for (size_t i = 0; i < n; i++) below += c->x[run[0] * n + item[i]] < 2;
    *out = 2 * below > n ? 1 : 2;
    if (c->nan_from >= 0 && (double)below > c->nan_from) *out = (double)NAN;
}

static void bootstrap_takes_any_statistic(void) {
    static const float x[] = {1, 2, 1, 3, 1, 2, 2, 1, 1, 2, 3, 1, 1, 2, 1, 1};
    static const float y[] = {2, 1, 1, 2, 0, 2, 1, 1, 0, 2, 2, 1, 1, 1, 1, 3};
    columns c = {x, NULL, 8, 0, 0, -1};
    kpdt_bootstrap_desc d = bootstrap_of(x, NULL, 8), own;
    kpdt_interval want, got;
    for (int paired = 0; paired < 2; paired++) {
        d.b = c.y = paired ? y : NULL;
        d.runs = 2; d.seed = 4;
        own = d;
        own.a = own.b = NULL; own.statistic = mean_of; own.statistic_user = &c;
        CHECK_OK(kpdt_bootstrap(&d, &want, &error));
        CHECK_OK(kpdt_bootstrap(&own, &got, &error));
        CHECK(!memcmp(&want, &got, sizeof want) && want.undefined == 0);
    }
    memset(&own, 0, sizeof own);
    own.statistic = median_of; own.statistic_user = &c; own.n = 16; own.resamples = 2000;
    c.calls = 0;
    CHECK_OK(kpdt_bootstrap(&own, &got, &error));
    CHECK(c.calls == 2001 && c.runs == 1 && got.estimate == 1 && got.low == 1 && got.high == 2 && got.undefined == 0);
    c.nan_from = 11;                                        // P(over 11 of 16 below 2), each with 9/16
    CHECK_OK(kpdt_bootstrap(&own, &got, &error));
    CHECK(got.estimate == 1 && got.low == 1 && got.high == 2);
    CHECK_NEAR(got.undefined, 0.102, 0.03);
    c.nan_from = 0;                                         // of none
    CHECK_OK(kpdt_bootstrap(&own, &got, &error));
    CHECK(got.estimate != got.estimate && got.low != got.low && got.high != got.high && got.p != got.p && got.undefined == 1);
    own.a = x;
    CHECK_STATUS(kpdt_bootstrap(&own, &got, &error), KPD_ERR_ARGUMENT);
}

// Several statistics see the same draws: each has the interval that it has alone, and so has their difference.
static void two_means_of(void *user, const size_t *run, size_t runs, const size_t *item, size_t n, double *out) {
    const columns *c = (const columns *)user;
    columns x = *c, y = *c;
    x.y = NULL; y.x = c->y; y.y = NULL;
    mean_of(&x, run, runs, item, n, &out[0]);
    mean_of(&y, run, runs, item, n, &out[1]);
    mean_of(user, run, runs, item, n, &out[2]);
}

static void bootstrap_of_several_statistics(void) {
    static const float x[] = {1, 2, 1, 3, 1, 2, 2, 1}, y[] = {2, 1, 1, 2, 0, 2, 1, 1};
    columns c = {x, y, 8, 0, 0, -1};
    kpdt_bootstrap_desc d = bootstrap_of(NULL, NULL, 8), one;
    kpdt_interval got[3], want;
    d.statistic = two_means_of; d.statistic_user = &c; d.n_statistics = 3; d.resamples = 500;
    CHECK_OK(kpdt_bootstrap(&d, got, &error));
    for (int k = 0; k < 3; k++) {
        one = bootstrap_of(k == 1 ? y : x, k == 2 ? y : NULL, 8);
        one.resamples = 500;
        CHECK_OK(kpdt_bootstrap(&one, &want, &error));
        CHECK_THAT(!memcmp(&want, &got[k], sizeof want), "statistic %d: %g", k, got[k].estimate);
    }
    d.n_statistics = -1;
    CHECK_STATUS(kpdt_bootstrap(&d, got, &error), KPD_ERR_ARGUMENT);
    one.n_statistics = 2;                       // of means there is one
    CHECK_STATUS(kpdt_bootstrap(&one, got, &error), KPD_ERR_ARGUMENT);
}

// As statsmodels' multipletests has them (golden); of equal p, and of what is no number.
static void holm(void) {
    static const double p[5] = {.01, .04, (double)NAN, .01, .9};
    double have[8], want[8], got[8];
    if (golden_doubles("holm.p", have, 8) != 8 || golden_doubles("holm.adjusted", want, 8) != 8) return;
    kpdt_holm(have, 8, got);
    for (int i = 0; i < 8; i++) CHECK_NEAR(got[i], want[i], 1e-12);
    kpdt_holm(p, 5, got);
    CHECK_NEAR(got[0], .04, 1e-15);
    CHECK_NEAR(got[3], .04, 1e-15);
    CHECK_NEAR(got[1], .08, 1e-15);
    CHECK(is_nan(got[2]) && got[4] == .9);
}

// IN-QUERY AUC ------------------------------------------------------------------------------------------------------

// Against scikit-learn's ROC AUC of each query: weighted by rows where both labels are (golden).
static void auc_by_query(void) {
    float s[60], y[60], group[60], each[2 * 9];
    double want[8], auc, sum = 0, by = 0;
    uint8_t label[60];
    uint32_t query[60];
    if (golden_floats("classify.s", s, 60) != 60 || golden_floats("classify.y", y, 60) != 60 ||
        golden_floats("query.of", group, 60) != 60 || golden_doubles("query.auc", want, 8) != 8)
        return;
    for (int i = 0; i < 60; i++) {
        query[i] = (uint32_t)group[i];
        label[i] = y[i] != 0 || query[i] == 7;
    }
    CHECK_OK(kpdt_auc_by_query(s, label, query, 60, 9, NULL, each, &auc, &error));      // query 8 has no pair
    CHECK_NEAR(auc, want[7], 1e-9);
    for (int q = 0; q < 7; q++) CHECK_NEAR(each[9 + q] > 0 ? each[q] / each[9 + q] : -1, want[q], 1e-6);
    for (int q = 0; q < 9; q++) { sum += (double)each[q]; by += (double)each[9 + q]; }
    CHECK_NEAR(sum / by, auc, 1e-6);
    CHECK(each[7] == 0 && each[16] == 0 && each[8] == 0 && each[17] == 0);
    CHECK_OK(kpdt_auc_by_query(s, label, query, 60, 8, NULL, NULL, &auc, &error));
    CHECK_NEAR(auc, want[7], 1e-9);
    for (int i = 0; i < 60; i++) label[i] = query[i] % 2;                   // no query has both labels
    CHECK_OK(kpdt_auc_by_query(s, label, query, 60, 8, NULL, NULL, &auc, &error));
    CHECK(is_nan(auc));
    CHECK_STATUS(kpdt_auc_by_query(s, label, query, 60, 7, NULL, NULL, &auc, &error), KPD_ERR_INPUT);
    CHECK_STATUS(kpdt_auc_by_query(s, label, query, 0, 7, NULL, NULL, &auc, &error), KPD_ERR_ARGUMENT);
}

// SAMPLES: what counts twice is as two rows, what counts 0 times as none ---------------------------------------------

static bool same_double(double a, double b) { return (is_nan(a) && is_nan(b)) || (a > b ? a - b : b - a) < 1e-12; }

static void same_figures(const kpdt_sample_figures *got, const float *s, const float *t, size_t n, const float *threshold) {
    uint8_t y[200];
    kpdt_classification c;
    double rho;
    for (size_t i = 0; i < n; i++) y[i] = t[i] >= 0.5f;
    CHECK_OK(kpdt_classify(s, y, n, threshold, NULL, &c, &error));
    CHECK_OK(kpdt_spearman(s, t, n, NULL, &rho, &error));
    CHECK(got->yes.threshold == c.threshold && same_double(got->yes.f1, c.f1) && same_double(got->yes.precision, c.precision));
    CHECK(same_double(got->yes.recall, c.recall) && same_double(got->yes.accuracy, c.accuracy));
    CHECK(same_double(got->yes.mcc, c.mcc) && same_double(got->yes.auc, c.auc) && same_double(got->yes.ece, c.ece));
    CHECK(same_double(got->yes.average_precision, c.average_precision));
    CHECK(same_double(got->pearson, kpdt_pearson(s, t, n)) && same_double(got->spearman, rho));
}

static void samples(void) {
    static const float at = 0.45f;
    float s[60], t[60], drawn_s[200], drawn_t[200];
    uint32_t count[60];
    kpdt_sample_figures f;
    kpdt_sample *p;
    if (golden_floats("classify.s", s, 60) != 60 || golden_floats("classify.x", t, 60) != 60) return;
    for (int i = 0; i < 60; i++) t[i] = t[i] < 0 ? 0 : t[i] > 1 ? 1 : t[i];
    CHECK_OK(kpdt_sample_create(s, t, 60, NULL, &p, &error));
    kpdt_sample_measure(p, NULL, &at, &f);
    same_figures(&f, s, t, 60, &at);
    for (uint32_t round = 0; round < 20; round++) {
        size_t n = 0;
        for (uint32_t i = 0; i < 60; i++) {
            count[i] = (i * 7 + round * round * 13 + i * i * round) % 4 / (1 + round % 3);
            for (uint32_t k = 0; k < count[i]; k++, n++) { drawn_s[n] = s[i]; drawn_t[n] = t[i]; }
        }
        kpdt_sample_measure(p, count, round % 2 ? &at : NULL, &f);
        same_figures(&f, drawn_s, drawn_t, n, round % 2 ? &at : NULL);
    }
    memset(count, 0, sizeof count);
    kpdt_sample_measure(p, count, NULL, &f);
    CHECK(is_nan(f.yes.f1) && is_nan(f.yes.accuracy) && is_nan(f.yes.auc) && is_nan(f.yes.ece) && is_nan(f.spearman));
    kpdt_sample_destroy(p);
    kpdt_sample_destroy(NULL);
    s[3] = NAN;
    CHECK_STATUS(kpdt_sample_create(s, t, 60, NULL, &p, &error), KPD_ERR_INPUT);
    CHECK_INT(error.where, 3);
    CHECK_STATUS(kpdt_sample_create(s, t, 0, NULL, &p, &error), KPD_ERR_ARGUMENT);
    CHECK(p == NULL);
}

// Runs that differ widen the interval, which a bootstrap of the items alone does not see; ratios are of sums.
static void bootstrap_levels(void) {
    static float two[2 * 50], passed[50], survivors[50];
    static const float own[4] = {1, 0, 0, 1};
    kpdt_bootstrap_desc d = bootstrap_of(two, NULL, 50);
    kpdt_interval i;
    for (int k = 0; k < 50; k++) {
        two[k] = 1;
        two[50 + k] = 3;
        survivors[k] = (float)(k % 3);
        passed[k] = k % 3 == 2 ? 1 : 0;
    }
    d.runs = 2;
    CHECK_OK(kpdt_bootstrap(&d, &i, &error));
    CHECK(i.estimate == 2 && i.low == 1 && i.high == 3);       // both runs drawn alike in a quarter of the resamples each
    CHECK_NEAR(i.p, 2.0 / 10001, 1e-12);                       // no resample is at or below 0
    d.level = 0.4f;
    CHECK_OK(kpdt_bootstrap(&d, &i, &error));
    CHECK(i.low == 2 && i.high == 2);                          // and differently in half of them
    d = bootstrap_of(own, NULL, 2);
    d.runs = 2;
    CHECK_OK(kpdt_bootstrap(&d, &i, &error));
    CHECK(i.low == 0 && i.high == 1);                          // 0 needs runs and items drawn independently
    d = bootstrap_of(passed, NULL, 50);
    d.a_weight = survivors;
    CHECK_OK(kpdt_bootstrap(&d, &i, &error));
    CHECK_NEAR(i.estimate, 16.0 / 49, 1e-12);                  // sums, not a mean of ratios
    CHECK(i.low < i.estimate && i.estimate < i.high && i.low > 0.1 && i.high < 0.5);
    memset(passed, 0, sizeof passed);
    CHECK_OK(kpdt_bootstrap(&d, &i, &error));
    CHECK(i.estimate == 0 && i.low == 0 && i.high == 0 && i.p == 1);
}

static void errors_bootstrap(void) {
    float a[3] = {1, 2, NAN};
    kpdt_bootstrap_desc d = bootstrap_of(a, NULL, 3);
    kpdt_interval i = {77, 77, 77, 77, 77};
    CHECK_STATUS(kpdt_bootstrap(&d, &i, &error), KPD_ERR_INPUT);
    CHECK_INT(error.where, 2);
    d.n = 0;
    CHECK_STATUS(kpdt_bootstrap(&d, &i, &error), KPD_ERR_ARGUMENT);
    d.n = 2; d.level = 1;
    CHECK_STATUS(kpdt_bootstrap(&d, &i, &error), KPD_ERR_ARGUMENT);
    d.level = 0; d.resamples = -1;
    CHECK_STATUS(kpdt_bootstrap(&d, &i, &error), KPD_ERR_ARGUMENT);
    CHECK(i.estimate == 77 && i.p == 77);
}

// MEMORY: everything is given back, and a refusal is reported -------------------------------------------------------

typedef struct counter { int calls, refuse, open; size_t bytes; } counter;   // refuses the call of this number, from 1

static void *count_alloc(void *user, size_t size) {
    counter *c = (counter *)user;
    if (++c->calls == c->refuse) return NULL;
    c->open++;
    c->bytes += size;
    return malloc(size);
}

static void count_free(void *user, void *p, size_t size) {
    counter *c = (counter *)user;
    c->open--;
    c->bytes -= size;
    free(p);
}

static void allocation(void) {
    static const float x[4] = {1, 2, 3, 5}, y[4] = {3, 1, 2, 9};
    static const uint8_t label[4] = {0, 1, 0, 1};
    kpdt_classification c;
    kpdt_bootstrap_desc d = bootstrap_of(x, y, 4);
    static const uint32_t query[4] = {0, 1, 0, 1};
    kpdt_sample *sample;
    kpdt_interval i;
    double rho = 77;
    for (int refuse = 0; refuse <= 3; refuse++) {
        counter counts = {0, 0, 0, 0};
        kpd_allocator a;
        a.alloc = count_alloc; a.free = count_free; a.user = &counts;
        d.allocator = a; d.resamples = 10;
        counts.refuse = refuse;
        CHECK_STATUS(kpdt_spearman(x, y, 4, &a, &rho, &error), refuse ? KPD_ERR_MEMORY : KPD_OK);
        counts.calls = 0;
        CHECK_STATUS(kpdt_classify(x, label, 4, NULL, &a, &c, &error), refuse == 1 ? KPD_ERR_MEMORY : KPD_OK);
        counts.calls = 0;
        CHECK_STATUS(kpdt_bootstrap(&d, &i, &error), refuse == 1 ? KPD_ERR_MEMORY : KPD_OK);
        counts.calls = 0;
        CHECK_STATUS(kpdt_sample_create(x, y, 4, &a, &sample, &error), refuse ? KPD_ERR_MEMORY : KPD_OK);
        kpdt_sample_destroy(sample);
        counts.calls = 0;
        CHECK_STATUS(kpdt_auc_by_query(x, label, query, 4, 2, &a, NULL, &rho, &error),
                     refuse == 1 || refuse == 2 ? KPD_ERR_MEMORY : KPD_OK);
        CHECK(counts.open == 0 && counts.bytes == 0 && counts.calls > 0);
        a.free = NULL;
        CHECK_STATUS(kpdt_classify(x, label, 4, NULL, &a, &c, &error), KPD_ERR_ARGUMENT);
    }
}

// AUCTION -----------------------------------------------------------------------------------------------------------

static void auction_item(void) {
    static const bool survives[7] = {true, false, true, true, false, true, true};
    static const float judged[7] = {0.9f, 0.8f, 0.2f, NAN, NAN, 0.5f, 0};
    kpdt_auction_row r;
    kpdt_auction_item(survives, judged, 7, &r);
    CHECK_INT(r.survivors, 5);
    CHECK_INT(r.passed, 2);             // .9 and .5; .8 did not survive
    CHECK_INT(r.unjudged, 2);
    CHECK_INT(r.passed_at[0], 2);       // .9 and .8 among the first five
    CHECK_INT(r.passed_at[1], 3);
    CHECK_INT(r.passed_at[3], 3);
    kpdt_auction_item(NULL, NULL, 0, &r);
    CHECK(r.survivors == 0 && r.passed == 0 && r.passed_at[3] == 0);
}

static void auction_long_list(void) {
    bool survives[30];
    float judged[30];
    kpdt_auction_row r;
    for (int i = 0; i < 30; i++) {
        survives[i] = i == 29;
        judged[i] = i == 29 || i == 25 ? NAN : 1;
    }
    kpdt_auction_item(survives, judged, 30, &r);
    for (int k = 0; k < KPDT_PASS_AT; k++) CHECK_INT(r.passed_at[k], 5 * (k + 1));
    CHECK_INT(r.unjudged, 1);           // the survivor at 30; nobody looks at 26
}

static void auction_total(void) {
    static const kpdt_auction_row rows[4] = {
        {4, 3, 0, {5, 6, 6, 6}}, {0, 0, 1, {0, 0, 0, 0}}, {10, 1, 2, {1, 1, 1, 1}}, {7, 7, 0, {4, 8, 9, 10}}};
    kpdt_auction_result t;
    CHECK_OK(kpdt_auction_total(rows, 4, &t, &error));
    CHECK(t.kp == 5.5 && t.kp_mean == 5.25);                   // median of 0 4 7 10
    CHECK_NEAR(t.pass_rate, 11.0 / 21, 1e-15);
    CHECK_NEAR(t.pass_rate_by_item, (0.75 + 0.1 + 1) / 3, 1e-15);
    CHECK_NEAR(t.pass_at[0], 10.0 / 5 / 4, 1e-15);
    CHECK_NEAR(t.pass_at[3], 17.0 / 20 / 4, 1e-15);
    CHECK(t.survivors == 21 && t.passed == 11 && t.unjudged == 3);
    CHECK_OK(kpdt_auction_total(rows, 3, &t, &error));
    CHECK(t.kp == 4);
    CHECK_OK(kpdt_auction_total(rows + 1, 1, &t, &error));
    CHECK(t.kp == 0 && is_nan(t.pass_rate) && is_nan(t.pass_rate_by_item) && t.pass_at[0] == 0);
    CHECK_STATUS(kpdt_auction_total(rows, 0, &t, &error), KPD_ERR_ARGUMENT);
}

SUITE(metrics) {
    RUN(metrics, golden_classification);
    RUN(metrics, best_threshold);
    RUN(metrics, calibration);
    RUN(metrics, undefined_classification);
    RUN(metrics, errors_classification);
    RUN(metrics, correlations);
    RUN(metrics, ranking);
    RUN(metrics, bootstrap_paired);
    RUN(metrics, bootstrap_takes_any_statistic);
    RUN(metrics, bootstrap_of_several_statistics);
    RUN(metrics, holm);
    RUN(metrics, auc_by_query);
    RUN(metrics, samples);
    RUN(metrics, bootstrap_levels);
    RUN(metrics, errors_bootstrap);
    RUN(metrics, allocation);
    RUN(metrics, auction_item);
    RUN(metrics, auction_long_list);
    RUN(metrics, auction_total);
}
