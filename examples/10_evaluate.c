// 10_evaluate: is the new student better than the old one? Pairs, then the auction, then whether the difference is luck.
//
//     build/10_evaluate
//
// The scores are made up, so that the program is complete; in earnest they come from kpd_score, kpd_embed and
// kpd_index_search, and the verdicts from a judge whom neither student has learnt from.
#define KPD_IMPLEMENTATION
#define KPD_TRAIN_IMPLEMENTATION
#include "../kpd_train.h"
#include <stdio.h>
#include <string.h>

enum { PAIRS = 400, ITEMS = 120, LIST = 20 };

static uint32_t state = 9;
static float uniform(void) { return (float)((state = state * 1664525u + 1013904223u) >> 8) / 16777216.0f; }

// Labelled pairs: a student's score is the truth blurred by noise.
static void make_pairs(float noise, float *score, uint8_t *label, float *teacher) {
    for (int i = 0; i < PAIRS; i++) {
        label[i] = uniform() < 0.4f;
        teacher[i] = (label[i] ? 0.8f : 0.2f) + 0.2f * (uniform() - 0.5f);
        score[i] = teacher[i] + noise * (uniform() - 0.5f);
    }
}

static kpd_status pairs(const char *name, float noise, kpd_error *e) {
    float dev[PAIRS], test[PAIRS], teacher[PAIRS];
    uint8_t label[PAIRS];
    kpdt_classification chosen, c;
    kpd_status s;
    make_pairs(noise, dev, label, teacher);
    s = kpdt_classify(dev, label, PAIRS, NULL, NULL, &chosen, e);              // the threshold is chosen on dev ...
    make_pairs(noise, test, label, teacher);
    if (!s) s = kpdt_classify(test, label, PAIRS, &chosen.threshold, NULL, &c, e);   // ... and reported on test
    if (!s)
        printf("%s  threshold %.2f  F1 %.3f  precision %.3f  recall %.3f  AP %.3f  AUC %.3f  r with teacher %.3f\n", name,
               (double)chosen.threshold, c.f1, c.precision, c.recall, c.average_precision, c.auc,
               kpdt_pearson(test, teacher, PAIRS));
    return s;
}

// A list per item: the further down, the less often right; the filter sees part of it.
static kpd_status auction(const char *name, float quality, float *passed, float *survivors, kpd_error *e) {
    kpdt_auction_row rows[ITEMS];
    kpdt_auction_result r;
    kpd_status s;
    for (int i = 0; i < ITEMS; i++) {
        bool survives[LIST];
        float judged[LIST];
        for (int k = 0; k < LIST; k++) {
            bool right = uniform() < quality * (1.0f - 0.02f * (float)k);
            judged[k] = right ? 1.0f : 0.0f;
            survives[k] = uniform() < (right ? 0.8f : 0.4f);
        }
        kpdt_auction_item(survives, judged, LIST, &rows[i]);
        passed[i] = (float)rows[i].passed;
        survivors[i] = (float)rows[i].survivors;
    }
    s = kpdt_auction_total(rows, ITEMS, &r, e);
    if (!s)
        printf("%s  KP %.1f  PR %.3f  Pass@5 %.3f  @10 %.3f  @15 %.3f  @20 %.3f\n", name, r.kp, r.pass_rate, r.pass_at[0],
               r.pass_at[1], r.pass_at[2], r.pass_at[3]);
    return s;
}

static kpd_status evaluate(kpd_error *e) {
    float passed[2][ITEMS], survivors[2][ITEMS];
    kpdt_bootstrap_desc d;
    kpdt_interval i;
    kpd_status s = pairs("old", 1.2f, e);
    if (!s) s = pairs("new", 0.9f, e);
    if (!s) s = auction("old", 0.55f, passed[0], survivors[0], e);
    if (!s) s = auction("new", 0.65f, passed[1], survivors[1], e);
    if (s) return s;
    memset(&d, 0, sizeof d);
    d.a = passed[1]; d.a_weight = survivors[1];     // pass rate = all passed / all survivors, resampled over items
    d.b = passed[0]; d.b_weight = survivors[0];
    d.n = ITEMS; d.seed = 1;
    s = kpdt_bootstrap(&d, &i, e);
    if (!s)
        printf("new - old  PR %+.3f  95%% interval [%+.3f, %+.3f]  p %.4f: %s\n", i.estimate, i.low, i.high, i.p,
               i.low > 0 || i.high < 0 ? "a difference" : "a tie");
    return s;
}

int main(void) {
    kpd_error e;
    kpd_status s = evaluate(&e);
    if (s) fprintf(stderr, "10_evaluate: %s: %s\n", kpd_status_name(s), e.message);
    return s != KPD_OK;
}
