// kpd_train.h - v0.1 - makes models for kpd.h: losses with gradients, metrics, the auction protocol.
//
//   The second header of kpd. Needs kpd.h beside it, libc and libm. C99, also C++11. MIT or public domain: see the end.
//
// DO THIS in exactly one C or C++ file, the one that holds the implementation of kpd.h:
//
//     #define KPD_IMPLEMENTATION
//     #define KPD_TRAIN_IMPLEMENTATION
//     #include "kpd_train.h"
//
// and only `#include "kpd_train.h"` everywhere else. Link with -lm. A complete program, which distils a teacher's
// probabilities into the cosines of three pairs by descending the Pearson loss:
//
//     #define KPD_IMPLEMENTATION
//     #define KPD_TRAIN_IMPLEMENTATION
//     #include "kpd_train.h"
//     #include <stdio.h>
//     #include <string.h>
//
//     int main(void) {
//         float a[3][2] = {{1, 0}, {0, 1}, {1, 1}}, b[3][2] = {{1, 1}, {1, 0}, {2, 1}}, da[3][2], db[3][2], work[6], loss;
//         const float teacher[3] = {0.9f, 0.6f, 0.1f};
//         kpd_error e; kpdt_loss_desc d = {0}; kpdt_vectors v = {0};
//         d.loss = KPDT_PEARSON;
//         v.a = a[0]; v.b = b[0]; v.na = v.nb = 3; v.dim = 2; v.t = teacher; v.work = work; v.da = da[0]; v.db = db[0];
//         for (int step = 0; step <= 40; step++) {
//             memset(da, 0, sizeof da); memset(db, 0, sizeof db);                  // gradients are added to
//             if (kpdt_loss_vectors(&d, &v, &loss, &e)) return fprintf(stderr, "%s\n", e.message), 1;
//             for (int i = 0; i < 6; i++) { a[0][i] -= .1f * da[0][i]; b[0][i] -= .1f * db[0][i]; }
//             if (step % 10 == 0) printf("step %2d  loss %.4f\n", step, (double)loss);
//         }
//         return 0;
//     }
//
// CONTENTS  Search for the marker. The API comes first; the implementation follows in the same order, and each of its
// sections uses only what stands above it (there is no forward declaration).
//
//     >>concepts   scores and similarities, memory, threads, numbers, limits
//     >>api        losses, metrics, auction
//     implementation:
//     >>numbers  >>losses  >>metrics  >>auction
//
// This version is the part of training that works on the caller's arrays. It has no backward pass of the encoder, no
// optimiser and no trainer.
//
// OPTIONS  Define before including. kpd.h's options hold here too.
//
//     KPD_TRAIN_IMPLEMENTATION  makes the implementation; only where KPD_IMPLEMENTATION is, since it uses kpd.h's insides
//     KPD_STATIC                as in kpd.h: every function of both headers is static
//
// >>concepts
//
// A loss is a function of *scores*; a similarity (cosine, dot, angle) is a layer before it that makes scores of vectors.
// So every loss works alone, on truncated vectors (Matryoshka), and on the logits of a cross-encoder. A loss *overwrites*
// the gradient of the scores, which starts there; the layers *add to* the gradients of vectors and weights, which may
// come from several losses.
//
// Memory. Losses allocate nothing; where one needs room the caller lends it. Metrics that sort take an allocator, NULL =
// malloc, and have given everything back when they return. Arrays must not overlap unless a comment says so.
//
// Threads. There is no state: any function may run on any number of threads, on different output arrays.
//
// Errors. As in kpd.h. A number that is not finite, a label out of range or an option that means nothing is ARGUMENT,
// `where` = its place. Outputs are untouched on failure unless the function says otherwise.
//
// Numbers. Everything is computed in double from float arrays, in one fixed order, and rounded to float when it is
// stored: the same bits on every compiler, optimisation level and machine. exp and log are this header's own; of libm only
// sqrt is used. The caller's rounding mode is saved and restored by each call.
//
// Zero means default, as in kpd.h: zero a desc, set what differs.
//
// Letters: B rows of a batch, C columns (candidates or classes), n pairs or samples, D width of a vector, k ranks;
// s score, t label or teacher's score, y in {0, 1} a label, p a probability. Gradients carry a d: ds = dL/ds.
// References: [Oord 2018] InfoNCE; [Henderson 2017] in-batch negatives (MNR); [Hadsell 2006] contrastive; [SBERT] Reimers
// and Gurevych 2019; [Hofstaetter 2020] margin-MSE; [Hinton 2015] distillation; [Su 2022] CoSENT (kexue.fm/archives/8847);
// [AnglE] Li and Li 2023; [D2LLM] Liao et al. 2024 (Pearson); [Burges 2005] RankNet; [Yi 2019] log q correction; [MRL]
// Kusupati et al. 2022 (Matryoshka); [Guo 2017] calibration. ST = the sentence-transformers library.

// ------------------------------------------------------------------------------------------------------------------
#ifndef KPD_TRAIN_H
#define KPD_TRAIN_H

#include "kpd.h"

#ifdef __cplusplus
extern "C" {
#endif

// >>api  LOSSES -----------------------------------------------------------------------------------------------------

#define KPDT_MAX_LABELS 64              // classes of a softmax head
#define KPDT_MAX_DIMS   8               // Matryoshka widths

// On a matrix s [B, C], C >= B: row i's positive is column i, every other column is a negative.
//   MNR            -mean_i log softmax_j(scale s_ij - log q_j)[i]                        [Henderson 2017, Oord 2018]
//                  ds_ij = scale (softmax_ij - [i = j]) / B
//   MNR_SYMMETRIC  mean of MNR and MNR of the transposed first B columns (log q only in the former)
// On n pairs (s, t):
//   CONTRASTIVE    mean .5 (t d^2 + (1-t) max(0, margin-d)^2), d = 1-s, t in [0, 1]            [Hadsell 2006]
//                  ds = (-t d + (1-t) max(0, margin-d)) / n, so a negative no longer pushes at s <= 1-margin
//   ONLINE_CONTRASTIVE  sum of d^2 over hard positives and max(0, margin-d)^2 over hard negatives (ST: no half, no mean).
//                  Hard: a positive with d > min d of the negatives, a negative with d < max d of the positives; where
//                  the other kind has fewer than two, the bound is the own kind's mean. t is 0 or 1
//   MSE            mean (s-t)^2, t mapped by `target`. ds = 2 (s-t) / n
//   COSENT         log(1 + sum over pairs with t_i < t_j of exp(scale (s_i - s_j))), ties left out         [Su 2022]
//                  ds_k = scale (sum_(t_k<t_j) e_kj - sum_(t_i<t_k) e_ik) / Z, e and Z divided by the largest term.
//                  All labels equal: 0. O(n^2) exponentials
//   PEARSON        1 - cov(s, t) / (sd s sd t + epsilon), the paper's best; Bessel-corrected as in [D2LLM]; t mapped
//                  by `target`. Over all pairs, or `per_query` and the mean over queries. With a = s - mean, b = t - mean,
//                  N = n-1, X = sd s sd t + epsilon, C = cov: ds_i = -(b_i / X - C sd t a_i / (sd s X^2)) / N.
//                  Where s or t does not vary, or n = 1: loss 1, gradient 0
//   BCE            mean of pos_weight t log(1 + e^-s) + (1-t) log(1 + e^s), s a logit, t in [0, 1]
//                  ds = ((1-t) sigmoid(s) - pos_weight t sigmoid(-s)) / n
// On the pairs of a query (see `query` below), Q queries:
//   MARGIN_MSE     mean ((s_0 - s_j) - (t_0 - t_j))^2, pair 0 of each query being its positive and the others its
//                  negatives; mean over all negatives, t mapped by `target`                       [Hofstaetter 2020]
//   KL             T^2 / Q sum KL(softmax(t / T) || softmax(s / T)), T = temperature, t mapped by `target`  [Hinton 2015]
//                  ds = T (softmax(s / T) - softmax(t / T)) / Q
//   RANKNET        mean over pairs with t_i > t_j of w log(1 + exp(-scale (s_i - s_j))), w = 1 or, when `weighted`,
//                  t_i - t_j as in [D2LLM]; none: 0. O(n^2) within a query                            [Burges 2005]
typedef enum kpdt_loss {
    KPDT_LOSS_NONE,
    KPDT_MNR, KPDT_MNR_SYMMETRIC,
    KPDT_CONTRASTIVE, KPDT_ONLINE_CONTRASTIVE, KPDT_MSE, KPDT_COSENT, KPDT_PEARSON, KPDT_BCE,
    KPDT_MARGIN_MSE, KPDT_KL, KPDT_RANKNET,
    KPDT_LOSS_COUNT
} kpdt_loss;

// As what the teacher's score enters. LOGIT and COSINE take t as a probability; LOGIT first clamps it to
// [2^-20, 1 - 2^-20] (our default: a teacher's exact 0 or 1 would be infinite). kpd_sigmoid makes a probability of a logit.
typedef enum kpdt_target {
    KPDT_TARGET_AS_GIVEN, KPDT_TARGET_LOGIT /* log(t / (1-t)) */, KPDT_TARGET_COSINE /* 2t-1 */
} kpdt_target;

// cosine a.b / (|a||b|); dot a.b; angle [AnglE]: with the halves of a vector as real and imaginary parts, the absolute
// value of the sum of real and imaginary parts of the quotient a/b, divided by |a|/|b|, which is
// |a.r(b)| / (|a||b|), r(c, d) = (c-d, c+d): ANGLE under COSENT is AnglE. A zero vector has similarity 0 and gets
// gradient 0 (with dot it gets the other vector).
typedef enum kpdt_similarity { KPDT_SIM_COSINE, KPDT_SIM_DOT, KPDT_SIM_ANGLE } kpdt_similarity;

typedef struct kpdt_loss_desc {
    kpdt_loss loss;                     // required
    float weight;                       // of value and gradient, 0 = 1
    float scale;                        // MNR, COSENT, RANKNET: 0 = 20, that is temperature .05
    float margin;                       // CONTRASTIVE: 0 = .5
    float temperature;                  // KL: 0 = 1
    float pos_weight;                   // BCE: 0 = 1
    float epsilon;                      // PEARSON: 0 = 1e-8
    kpdt_target target;                 // MSE, PEARSON, MARGIN_MSE, KL
    bool per_query;                     // PEARSON
    bool weighted;                      // RANKNET
    // kpdt_loss_vectors only:
    kpdt_similarity similarity;
    int32_t dims[KPDT_MAX_DIMS];        // Matryoshka widths, descending, ended by 0; none = the full width alone
    float dim_weights[KPDT_MAX_DIMS];   // 0 = 1
} kpdt_loss_desc;

// Value and gradient of a loss on pairs: s, t, ds [n]. query [n] are ids, equal ones adjacent: each run of equal ids is a
// query; NULL = all pairs are one query's. n is at least 1. Cost: O(n), O(n^2) where said above.
KPDDEF kpd_status kpdt_loss_pairs(const kpdt_loss_desc *d, const float *s, const float *t, const int32_t *query, size_t n,
                                  float *loss, float *ds, kpd_error *e);

// Value and gradient of a loss on a matrix: s, ds [B, C] row-major. mask [B, C] or NULL: 1 = leave this candidate out
// (known false negatives, or candidates that a guide likes better than the positive); a positive must not be masked.
// log_q [C] or NULL: log of the frequency with which a candidate is drawn into batches, which in-batch sampling
// over-punishes [Yi 2019]. Cost: O(B C), two exponentials an entry, four for the symmetric one.
KPDDEF kpd_status kpdt_loss_matrix(const kpdt_loss_desc *d, const float *s, const uint8_t *mask, const float *log_q, size_t B,
                                   size_t C, float *loss, float *ds, kpd_error *e);

// -mean_i log softmax(x_i)[label_i]: logits and dlogits [B, C], labels [B] in 0..C-1. dlogits = (softmax - onehot) / B.
KPDDEF kpd_status kpdt_cross_entropy(const float *logits, const int32_t *labels, size_t B, size_t C, float *loss,
                                     float *dlogits, kpd_error *e);

// SBERT's classification objective, whose head is thrown away after training [SBERT, section 3.1]: the cross-entropy of
// logits W [u; v; |u-v|] + bias over `labels` classes. du += W_u^T g + sign(u-v) W_d^T g, dv likewise with the sign turned;
// dW += g [u; v; |u-v|]^T, row after row in the batch's order; |x|' = 0 at 0.
typedef struct kpdt_softmax_head {
    const float *u, *v;                 // [B, D]
    const float *w, *bias;              // [labels, 3D]; [labels] or NULL
    const int32_t *label;               // [B]
    size_t B;
    int32_t dim, labels;                // labels at most KPDT_MAX_LABELS
    float *du, *dv, *dw, *dbias;        // added to; shapes as above; dbias NULL when bias is
} kpdt_softmax_head;
KPDDEF kpd_status kpdt_softmax_head_loss(const kpdt_softmax_head *h, float *loss, kpd_error *e);

// The layer before a loss. Row by row (na = nb, s [na]) or all against all (s [na, nb]). Vectors are the first `dim` of
// `stride` floats, so a truncated vector needs no copy; da and db have the same stride.
typedef struct kpdt_similarity_desc {
    kpdt_similarity kind;
    bool matrix;
    int32_t dim;                        // even under ANGLE
    int32_t stride;                     // 0 = dim
} kpdt_similarity_desc;

// Cost: na nb dim multiply-adds (na dim for rows), just under a nanosecond each; ANGLE's five times that.
KPDDEF kpd_status kpdt_similarity_forward(const kpdt_similarity_desc *d, const float *a, size_t na, const float *b, size_t nb,
                                          float *s, kpd_error *e);
// Adds to da and db, which may be NULL when not wanted. cosine: da_i += sum_j ds_ij (b_j/|b_j| - s_ij a_i/|a_i|) / |a_i|.
// Scores are computed again, not passed. Cost: about four times the forward's.
KPDDEF kpd_status kpdt_similarity_backward(const kpdt_similarity_desc *d, const float *a, size_t na, const float *b, size_t nb,
                                           const float *ds, float *da, float *db, kpd_error *e);

// Similarity and loss in one, on vectors, at each Matryoshka width w: sum_w weight_w L(similarity of the first w dims). The
// cosine normalises what is left of a truncated vector [MRL]; under dot nothing does.
typedef struct kpdt_vectors {
    const float *a, *b;                 // [na, dim], [nb, dim]; na = nb for losses on pairs, na <= nb for MNR
    size_t na, nb;
    int32_t dim;
    const float *t; const int32_t *query;        // [na], as kpdt_loss_pairs
    const uint8_t *mask; const float *log_q;     // as kpdt_loss_matrix
    float *work;                        // [2 na] for losses on pairs, [2 na nb] on a matrix; overwritten
    float *da, *db;                     // added to
} kpdt_vectors;
// On failure *loss is untouched; da and db may hold the widths that came before the failing one.
KPDDEF kpd_status kpdt_loss_vectors(const kpdt_loss_desc *d, const kpdt_vectors *v, float *loss, kpd_error *e);

// METRICS  NaN where undefined (0/0). Inputs must be finite. --------------------------------------------------------

typedef struct kpdt_classification {
    float threshold;                    // positive is s >= threshold
    double f1, precision, recall, accuracy, mcc;         // at the threshold
    double average_precision;           // sum (R_k - R_(k-1)) P_k over distinct scores, as scikit-learn
    double auc;                         // of ROC; ties count half
    double ece;                         // mean |share of positives - mean score| over 15 equal bins of [0, 1], weighted by
                                        // size [Guo 2017]; NaN unless all scores are in [0, 1]
} kpdt_classification;

// How well scores s [n] tell labels y [n] (0 or 1). threshold NULL = that of the best F1: half-way between the lowest score
// taken in and the next lower one, as ST; of equal F1 the highest. Choose it on dev and pass it for test. O(n log n) time,
// 16 n bytes. Errors: ARGUMENT, MEMORY.
KPDDEF kpd_status kpdt_classify(const float *s, const uint8_t *y, size_t n, const float *threshold, const kpd_allocator *a,
                                kpdt_classification *out, kpd_error *e);

// Correlation of x and y [n]: NaN when n < 2 or one does not vary. Two passes.
KPDDEF double kpdt_pearson(const float *x, const float *y, size_t n);
// Pearson's of the ranks, ties sharing their mean rank. O(n log n) time, 32 n bytes. Errors: ARGUMENT, MEMORY.
KPDDEF kpd_status kpdt_spearman(const float *x, const float *y, size_t n, const kpd_allocator *a, double *rho, kpd_error *e);

// One query's ranking at k. hit_i = gain_i > 0, i from 1:
//   recall sum hit / n_relevant; precision sum hit / k; mrr 1 / (first hit's i);
//   map sum hit_i precision@i / min(k, n_relevant);
//   ndcg = sum gain_i / log2(i+1), over the same sum of the ideal ranking (linear gains, as scikit-learn).
typedef struct kpdt_ranking { double recall, precision, mrr, ndcg, map; } kpdt_ranking;
// gain [n] of what was retrieved, in rank order; n < k is as if zeros followed. n_relevant: relevant ones in all the corpus.
// ideal [min(k, n_relevant)]: their gains, descending; NULL = all 1. k < 1 or n_relevant < 1 gives NaN throughout: such a
// query belongs in no mean.
KPDDEF kpdt_ranking kpdt_rank(const float *gain, int32_t n, int32_t k, const float *ideal, int32_t n_relevant);

// Two-level bootstrap. The statistic is sum a / sum a_weight over all runs and items: a mean when there are no weights, and
// for example the pass rate when a counts the passed and a_weight the survivors of an item. With b it is the difference
// a - b of two systems on the same items (a paired test). A resample draws runs with replacement (training seeds), and
// items with replacement: the same draw for all runs and both systems, since they saw the same items.
typedef struct kpdt_bootstrap_desc {
    const float *a, *a_weight;          // [runs, n]; a_weight NULL = 1
    const float *b, *b_weight;          // [runs, n]; b NULL = the statistic of a alone
    size_t n, runs;                     // runs 0 = 1
    int32_t resamples;                  // 0 = 10000
    float level;                        // of the interval, 0 = .95
    uint64_t seed;                      // the same seed gives the same interval
    kpd_allocator allocator;
} kpdt_bootstrap_desc;
typedef struct kpdt_interval {
    double estimate, low, high;         // percentile interval
    double p;                           // two-sided, of the statistic being 0: 2 (1 + resamples on the rarer side of 0) /
} kpdt_interval;                        // (1 + resamples), at most 1
// A resample whose weights sum to 0 counts as 0. O(resamples runs n) time, 16 resamples bytes. Errors: ARGUMENT, MEMORY.
KPDDEF kpd_status kpdt_bootstrap(const kpdt_bootstrap_desc *d, kpdt_interval *out, kpd_error *e);

// AUCTION  The evaluation of retrieved keyphrases, item by item, so that it streams and shards. ---------------------
// Per item: retrieve the top N, drop duplicates, filter by relevance, and let a judge (an LLM's labels, or people, or the
// truth) decide. Ours where the paper is silent: KP is a median over items, Pass@k looks before the filter and divides by k.

#define KPDT_PASS_AT 4                  // Pass@k is counted at k = 5, 10, 15, 20

typedef struct kpdt_auction_row {
    int32_t survivors;                  // passed the filter
    int32_t passed;                     // of these, those that the judge passes
    int32_t unjudged;                   // of the survivors and of the first 20, how many had no verdict; they do not pass
    int32_t passed_at[KPDT_PASS_AT];    // of the first 5 (i + 1) in rank order, before the filter
} kpdt_auction_row;

// One item's list in rank order: survives [n], judged [n] = the judge's probability of "pass", which is pass at >= .5; NaN =
// no verdict.
KPDDEF void kpdt_auction_item(const bool *survives, const float *judged, size_t n, kpdt_auction_row *out);

typedef struct kpdt_auction_result {
    double kp;                          // median survivors; an item with none counts 0
    double kp_mean;
    double pass_rate;                   // PR: passed / survivors over all items; NaN when nothing survived
    double pass_rate_by_item;           // mean over items that have survivors
    double pass_at[KPDT_PASS_AT];       // mean over items of passed_at / k
    int64_t survivors, passed, unjudged;
} kpdt_auction_result;
// For intervals, give passed and survivors of each item to kpdt_bootstrap as a and a_weight. n is at least 1.
KPDDEF kpd_status kpdt_auction_total(const kpdt_auction_row *rows, size_t n, kpdt_auction_result *out, kpd_error *e);

#ifdef __cplusplus
}
#endif
#endif // KPD_TRAIN_H

// ------------------------------------------------------------------------------------------------------------------
// IMPLEMENTATION
#if defined(KPD_TRAIN_IMPLEMENTATION) && !defined(KPD__TRAIN_IMPLEMENTED)
#define KPD__TRAIN_IMPLEMENTED

#ifndef KPD__IMPLEMENTED
#error "kpd_train.h: define KPD_TRAIN_IMPLEMENTATION only in the file that also defines KPD_IMPLEMENTATION"
#endif

// As in kpd.h: a product that feeds a sum is fused nowhere.
#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#elif defined(__GNUC__)
#pragma GCC push_options
#pragma GCC optimize("fp-contract=off")
#endif

// >>numbers  exp, log and random numbers. Relies on IEEE doubles. Promises the same bits everywhere; relative errors of exp
// and log below 3e-16.

static double kpdt__from_bits(uint64_t u) { double d; memcpy(&d, &u, 8); return d; }
static uint64_t kpdt__to_bits(double d) { uint64_t u; memcpy(&u, &d, 8); return u; }
static double kpdt__nan(void) { return kpdt__from_bits(UINT64_C(0x7FF8000000000000)); }
static double kpdt__abs(double x) { return x < 0 ? -x : x; }

#define KPDT__LN2_HIGH 0.69314718036912382   // 33 bits of ln 2, so that a small integer times it is exact
#define KPDT__LN2_LOW  1.9082149292705877e-10

// e^x for x <= 0, which is all that a stable loss asks for. x = n ln 2 + r, |r| <= .35; Taylor's series to r^13.
static double kpdt__exp(double x) {
    static const double c[12] = {1.0 / 6227020800, 1.0 / 479001600, 1.0 / 39916800, 1.0 / 3628800, 1.0 / 362880, 1.0 / 40320,
                                 1.0 / 5040, 1.0 / 720, 1.0 / 120, 1.0 / 24, 1.0 / 6, 0.5};
    double r, p = c[0];
    int n;
    if (x < -700) return 0;   // no denormals
    n = (int)(x * 1.4426950408889634 - 0.5);
    r = (x - n * KPDT__LN2_HIGH) - n * KPDT__LN2_LOW;
    for (int i = 1; i < 12; i++) p = p * r + c[i];
    p = (p * r + 1) * r + 1;
    return p * kpdt__from_bits((uint64_t)(1023 + n) << 52);
}

// log x for a normal x > 0. x = m 2^n, m in [.71, 1.41]; log m = 2 artanh(s), s = (m-1)/(m+1), |s| <= .172, to s^23.
static double kpdt__log(double x) {
    // The exponent field, after a shift that makes it step at sqrt(1/2) in place of 1.
    uint64_t u = kpdt__to_bits(x), one = UINT64_C(0x3FF0000000000000), half = UINT64_C(0x3FE6A09E00000000);
    int n = (int)((u + (one - half)) >> 52) - 1023;
    double m = kpdt__from_bits(u - ((uint64_t)(int64_t)n << 52)), s = (m - 1) / (m + 1), z = s * s, p = 1.0 / 23;
    for (int i = 21; i >= 3; i -= 2) p = p * z + 1.0 / i;
    return n * KPDT__LN2_HIGH + (n * KPDT__LN2_LOW + (2 * s + 2 * s * z * p));
}

// log(1 + u), u >= 0: the rounding of 1 + u, known exactly, is added back to first order.
static double kpdt__log1p(double u) {
    double w = 1 + u;
    return kpdt__log(w) + (u - (w - 1)) / w;
}

static double kpdt__softplus(double x) { return (x > 0 ? x : 0) + kpdt__log1p(kpdt__exp(-kpdt__abs(x))); }   // log(1 + e^x)
static double kpdt__sigmoid(double x) {
    double u = kpdt__exp(-kpdt__abs(x));
    return x > 0 ? 1 / (1 + u) : u / (1 + u);
}

// Random number `i` of a seed: the finaliser of SplitMix64 [Steele 2014] over a counter, so draws need no state.
static uint64_t kpdt__mix(uint64_t z) {
    z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
    return z ^ z >> 31;
}
static uint64_t kpdt__random(uint64_t seed, uint64_t i) {
    return kpdt__mix(kpdt__mix(seed) + (i + 1) * UINT64_C(0x9E3779B97F4A7C15));
}
static size_t kpdt__random_below(uint64_t seed, uint64_t i, size_t n) {
    size_t r = (size_t)((double)(kpdt__random(seed, i) >> 11) * 1.1102230246251565e-16 * (double)n);
    return r < n ? r : n - 1;
}

static kpd_status kpdt__check_finite(const float *x, size_t n, const char *what, kpd_error *e) {
    for (size_t i = 0; i < n; i++)
        if (!kpd__finite(x[i]))
            return kpd__fail(e, KPD_ERR_ARGUMENT, (int64_t)i, "%s[%llu] is not finite", what, (unsigned long long)i);
    return KPD_OK;
}

static kpd_status kpdt__check_labels(const int32_t *label, size_t n, size_t classes, kpd_error *e) {
    for (size_t i = 0; i < n; i++)
        if (label[i] < 0 || (size_t)label[i] >= classes)
            return kpd__fail(e, KPD_ERR_ARGUMENT, (int64_t)i, "label %llu is %d, expected 0 to %llu", (unsigned long long)i,
                             (int)label[i], (unsigned long long)classes - 1);
    return KPD_OK;
}

// >>losses  Value and gradient of each loss on scores, the similarity layer, and the two joined. Relies on >>numbers. Promises
// that every sum is in double and in one order: that of the arrays, but for the products of similarities (kpdt__product).

typedef struct kpdt__pairs {            // a call of kpdt_loss_pairs, checked
    kpdt_loss_desc d;                   // defaults filled in
    const float *s, *t;
    const int32_t *query;
    size_t n;
    float *ds;
} kpdt__pairs;

static float kpdt__or(float value, float otherwise) { return value != 0 ? value : otherwise; }

// The desc with its defaults, or what is wrong with it.
static kpd_status kpdt__loss_defaults(const kpdt_loss_desc *d, kpdt_loss_desc *out, kpd_error *e) {
    *out = *d;
    out->weight = kpdt__or(d->weight, 1);
    out->scale = kpdt__or(d->scale, 20);
    out->margin = kpdt__or(d->margin, 0.5f);
    out->temperature = kpdt__or(d->temperature, 1);
    out->pos_weight = kpdt__or(d->pos_weight, 1);
    out->epsilon = kpdt__or(d->epsilon, 1e-8f);
    if (!(out->scale > 0 && out->margin > 0 && out->temperature > 0 && out->pos_weight > 0 && out->epsilon > 0) ||
        !kpd__finite(out->weight) || !kpd__finite(out->scale) || !kpd__finite(out->margin) || !kpd__finite(out->temperature) ||
        !kpd__finite(out->pos_weight) || !kpd__finite(out->epsilon))
        return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "loss: weight must be finite; scale, margin, temperature, pos_weight and "
                         "epsilon finite and not negative");
    if ((unsigned)d->target > KPDT_TARGET_COSINE)
        return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "loss: target is %d, expected 0 to %d", (int)d->target, KPDT_TARGET_COSINE);
    return KPD_OK;
}

static bool kpdt__maps_target(kpdt_loss l) {
    return l == KPDT_MSE || l == KPDT_PEARSON || l == KPDT_MARGIN_MSE || l == KPDT_KL;
}

static kpd_status kpdt__pairs_check(const kpdt__pairs *p, kpd_error *e) {
    kpdt_loss l = p->d.loss;
    bool unit = l == KPDT_CONTRASTIVE || l == KPDT_BCE || (kpdt__maps_target(l) && p->d.target != KPDT_TARGET_AS_GIVEN);
    if (l < KPDT_CONTRASTIVE || l > KPDT_RANKNET)
        return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "loss: %d is not a loss on pairs", (int)l);
    if (!p->n) return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "loss: no pairs, expected at least one");
    if (kpdt__check_finite(p->s, p->n, "s", e) || kpdt__check_finite(p->t, p->n, "t", e)) return KPD_ERR_ARGUMENT;
    for (size_t i = 0; i < p->n; i++) {
        if (unit && !(p->t[i] >= 0 && p->t[i] <= 1))
            return kpd__fail(e, KPD_ERR_ARGUMENT, (int64_t)i, "t[%llu] is %g, expected 0 to 1", (unsigned long long)i,
                             (double)p->t[i]);
        if (l == KPDT_ONLINE_CONTRASTIVE && p->t[i] != 0 && p->t[i] != 1)
            return kpd__fail(e, KPD_ERR_ARGUMENT, (int64_t)i, "t[%llu] is %g, expected 0 or 1", (unsigned long long)i,
                             (double)p->t[i]);
    }
    return KPD_OK;
}

static double kpdt__target_of(const kpdt__pairs *p, size_t i) {
    double t = (double)p->t[i], least = 1.0 / 1048576;
    if (p->d.target == KPDT_TARGET_COSINE) return 2 * t - 1;
    if (p->d.target == KPDT_TARGET_AS_GIVEN) return t;
    t = t < least ? least : t > 1 - least ? 1 - least : t;
    return kpdt__log(t) - kpdt__log(1 - t);
}

static void kpdt__put(const kpdt__pairs *p, size_t i, double g) { p->ds[i] = (float)(g * (double)p->d.weight); }

// The end of the query that begins at i.
static size_t kpdt__query_end(const kpdt__pairs *p, size_t i) {
    size_t end = i + 1;
    if (!p->query) return p->n;
    while (end < p->n && p->query[end] == p->query[i]) end++;
    return end;
}

static size_t kpdt__count_queries(const kpdt__pairs *p) {
    size_t n = 0;
    for (size_t i = 0; i < p->n; i = kpdt__query_end(p, i)) n++;
    return n;
}

static double kpdt__contrastive(const kpdt__pairs *p) {
    double sum = 0, n = (double)p->n;
    for (size_t i = 0; i < p->n; i++) {
        double t = (double)p->t[i], d = 1 - (double)p->s[i], push = (double)p->d.margin - d;
        if (push < 0) push = 0;
        sum += 0.5 * (t * (d * d) + (1 - t) * (push * push));
        kpdt__put(p, i, ((1 - t) * push - t * d) / n);
    }
    return sum / n;
}

typedef struct kpdt__bound { size_t n; double least, most, sum; } kpdt__bound;   // of the distances of one kind

static kpdt__bound kpdt__distances(const kpdt__pairs *p, float kind) {
    kpdt__bound b = {0, 0, 0, 0};
    for (size_t i = 0; i < p->n; i++) {
        double d = 1 - (double)p->s[i];
        if (p->t[i] != kind) continue;
        if (!b.n || d < b.least) b.least = d;
        if (!b.n || d > b.most) b.most = d;
        b.sum += d;
        b.n++;
    }
    return b;
}

// Which pairs are hard is held fixed: the choice has no gradient.
static double kpdt__online_contrastive(const kpdt__pairs *p) {
    kpdt__bound yes = kpdt__distances(p, 1), no = kpdt__distances(p, 0);
    double over = no.n > 1 ? no.least : yes.sum / (double)kpd__max(yes.n, 1), sum = 0;
    double under = yes.n > 1 ? yes.most : no.sum / (double)kpd__max(no.n, 1);
    for (size_t i = 0; i < p->n; i++) {
        double d = 1 - (double)p->s[i], push = (double)p->d.margin - d, g = 0;
        if (p->t[i] == 1 && d > over) {
            sum += d * d;
            g = -2 * d;
        } else if (p->t[i] == 0 && d < under && push > 0) {
            sum += push * push;
            g = 2 * push;
        }
        kpdt__put(p, i, g);
    }
    return sum;
}

static double kpdt__mse(const kpdt__pairs *p) {
    double sum = 0, n = (double)p->n;
    for (size_t i = 0; i < p->n; i++) {
        double d = (double)p->s[i] - kpdt__target_of(p, i);
        sum += d * d;
        kpdt__put(p, i, 2 * d / n);
    }
    return sum / n;
}

// e_ij / e^most of CoSENT when t_i < t_j, else 0.
static double kpdt__cosent_term(const kpdt__pairs *p, size_t i, size_t j, double most) {
    if (!(p->t[i] < p->t[j])) return 0;
    return kpdt__exp((double)p->d.scale * ((double)p->s[i] - (double)p->s[j]) - most);
}

static double kpdt__cosent(const kpdt__pairs *p) {
    double most = 0, z;
    for (size_t i = 0; i < p->n; i++)
        for (size_t j = 0; j < p->n; j++) {
            double x = (double)p->d.scale * ((double)p->s[i] - (double)p->s[j]);
            if (p->t[i] < p->t[j] && x > most) most = x;
        }
    z = kpdt__exp(-most);   // the 1 in log(1 + ...)
    for (size_t i = 0; i < p->n; i++)
        for (size_t j = 0; j < p->n; j++) z += kpdt__cosent_term(p, i, j, most);
    for (size_t k = 0; k < p->n; k++) {
        double g = 0;
        for (size_t j = 0; j < p->n; j++) g += kpdt__cosent_term(p, k, j, most) - kpdt__cosent_term(p, j, k, most);
        kpdt__put(p, k, (double)p->d.scale * g / z);
    }
    return most + kpdt__log(z);
}

// One query of Pearson's loss, its gradient divided by the number of queries.
static double kpdt__pearson_run(const kpdt__pairs *p, size_t begin, size_t end, double queries) {
    double n = (double)(end - begin), mean_s = 0, mean_t = 0, ss = 0, tt = 0, st = 0, sd_s, sd_t, x, c, weigh;
    for (size_t i = begin; i < end; i++) {
        mean_s += (double)p->s[i];
        mean_t += kpdt__target_of(p, i);
        kpdt__put(p, i, 0);
    }
    mean_s /= n;
    mean_t /= n;
    for (size_t i = begin; i < end; i++) {
        double a = (double)p->s[i] - mean_s, b = kpdt__target_of(p, i) - mean_t;
        ss += a * a;
        tt += b * b;
        st += a * b;
    }
    // Targets that went through a logarithm may have a mean that is off by a rounding; that is no variance.
    if (end - begin < 2 || ss <= 1e-30 * n * mean_s * mean_s || tt <= 1e-30 * n * mean_t * mean_t) return 1;
    sd_s = sqrt(ss / (n - 1));
    sd_t = sqrt(tt / (n - 1));
    x = sd_s * sd_t + (double)p->d.epsilon;
    c = st / (n - 1);
    weigh = c * sd_t / (sd_s * x * x);
    for (size_t i = begin; i < end; i++) {
        double a = (double)p->s[i] - mean_s, b = kpdt__target_of(p, i) - mean_t;
        kpdt__put(p, i, -(b / x - weigh * a) / ((n - 1) * queries));
    }
    return 1 - c / x;
}

static double kpdt__pearson_loss(const kpdt__pairs *p) {
    double sum = 0, queries;
    if (!p->d.per_query) return kpdt__pearson_run(p, 0, p->n, 1);
    queries = (double)kpdt__count_queries(p);
    for (size_t i = 0; i < p->n; i = kpdt__query_end(p, i)) sum += kpdt__pearson_run(p, i, kpdt__query_end(p, i), queries);
    return sum / queries;
}

static double kpdt__bce(const kpdt__pairs *p) {
    double sum = 0, n = (double)p->n, w = (double)p->d.pos_weight;
    for (size_t i = 0; i < p->n; i++) {
        double s = (double)p->s[i], t = (double)p->t[i];
        sum += w * t * kpdt__softplus(-s) + (1 - t) * kpdt__softplus(s);
        kpdt__put(p, i, ((1 - t) * kpdt__sigmoid(s) - w * t * kpdt__sigmoid(-s)) / n);
    }
    return sum / n;
}

static double kpdt__margin_mse(const kpdt__pairs *p) {
    double sum = 0, n = (double)(p->n - kpdt__count_queries(p));
    for (size_t i = 0, end; i < p->n; i = end) {
        double own = 0;
        end = kpdt__query_end(p, i);
        for (size_t j = i + 1; j < end; j++) {
            double x = ((double)p->s[i] - (double)p->s[j]) - (kpdt__target_of(p, i) - kpdt__target_of(p, j));
            sum += x * x;
            own += 2 * x / n;
            kpdt__put(p, j, -2 * x / n);
        }
        kpdt__put(p, i, own);
    }
    return n > 0 ? sum / n : 0;
}

// log of sum exp of x/T, where x is s, or t when of_target.
static double kpdt__log_sum(const kpdt__pairs *p, size_t begin, size_t end, bool of_target) {
    double most = 0, z = 0, heat = (double)p->d.temperature;
    for (size_t i = begin; i < end; i++) {
        double x = (of_target ? kpdt__target_of(p, i) : (double)p->s[i]) / heat;
        if (i == begin || x > most) most = x;
    }
    for (size_t i = begin; i < end; i++)
        z += kpdt__exp((of_target ? kpdt__target_of(p, i) : (double)p->s[i]) / heat - most);
    return most + kpdt__log(z);
}

static double kpdt__kl(const kpdt__pairs *p) {
    double sum = 0, heat = (double)p->d.temperature, queries = (double)kpdt__count_queries(p);
    for (size_t i = 0, end; i < p->n; i = end) {
        double of_s, of_t;
        end = kpdt__query_end(p, i);
        of_s = kpdt__log_sum(p, i, end, false);
        of_t = kpdt__log_sum(p, i, end, true);
        for (size_t j = i; j < end; j++) {
            double log_s = (double)p->s[j] / heat - of_s, log_t = kpdt__target_of(p, j) / heat - of_t;
            double ps = kpdt__exp(log_s < 0 ? log_s : 0), pt = kpdt__exp(log_t < 0 ? log_t : 0);
            sum += pt * (log_t - log_s);
            kpdt__put(p, j, heat * (ps - pt) / queries);
        }
    }
    return heat * heat * sum / queries;
}

static double kpdt__ranknet_weight(const kpdt__pairs *p, size_t i, size_t j) {   // of i before j
    if (!(p->t[i] > p->t[j])) return 0;
    return p->d.weighted ? (double)p->t[i] - (double)p->t[j] : 1;
}

static double kpdt__ranknet(const kpdt__pairs *p) {
    double sum = 0, n = 0, scale = (double)p->d.scale;
    for (size_t i = 0, end; i < p->n; i = end) {
        end = kpdt__query_end(p, i);
        for (size_t j = i; j < end; j++)
            for (size_t k = i; k < end; k++) n += p->t[j] > p->t[k];
    }
    for (size_t i = 0, end; i < p->n; i = end) {
        end = kpdt__query_end(p, i);
        for (size_t j = i; j < end; j++) {
            double g = 0;
            for (size_t k = i; k < end; k++) {
                double x = scale * ((double)p->s[j] - (double)p->s[k]), above = kpdt__ranknet_weight(p, j, k);
                double below = kpdt__ranknet_weight(p, k, j);
                if (above > 0) sum += above * kpdt__softplus(-x);
                if (above > 0) g -= above * kpdt__sigmoid(-x);
                if (below > 0) g += below * kpdt__sigmoid(x);
            }
            kpdt__put(p, j, n > 0 ? scale * g / n : 0);
        }
    }
    return n > 0 ? sum / n : 0;
}

static double kpdt__pairs_run(const kpdt__pairs *p) {
    switch (p->d.loss) {
    case KPDT_CONTRASTIVE: return kpdt__contrastive(p);
    case KPDT_ONLINE_CONTRASTIVE: return kpdt__online_contrastive(p);
    case KPDT_MSE: return kpdt__mse(p);
    case KPDT_COSENT: return kpdt__cosent(p);
    case KPDT_PEARSON: return kpdt__pearson_loss(p);
    case KPDT_BCE: return kpdt__bce(p);
    case KPDT_MARGIN_MSE: return kpdt__margin_mse(p);
    case KPDT_KL: return kpdt__kl(p);
    default: return kpdt__ranknet(p);
    }
}

KPDDEF kpd_status kpdt_loss_pairs(const kpdt_loss_desc *d, const float *s, const float *t, const int32_t *query, size_t n,
                                  float *loss, float *ds, kpd_error *e) {
    kpdt__pairs p;
    uint64_t fp;
    if (kpdt__loss_defaults(d, &p.d, e)) return KPD_ERR_ARGUMENT;
    p.s = s; p.t = t; p.query = query; p.n = n; p.ds = ds;
    if (kpdt__pairs_check(&p, e)) return KPD_ERR_ARGUMENT;
    fp = kpd__fp_enter();
    *loss = (float)(kpdt__pairs_run(&p) * (double)p.d.weight);
    kpd__fp_leave(fp);
    return KPD_OK;
}

typedef struct kpdt__line { const float *s; const uint8_t *mask; const float *log_q; size_t n, step; double scale; } kpdt__line;

static double kpdt__line_at(const kpdt__line *l, size_t j) {
    return l->scale * (double)l->s[j * l->step] - (l->log_q ? (double)l->log_q[j] : 0);
}

// -log softmax(line)[own] times weight; adds weight scale (softmax - onehot) to ds.
static double kpdt__line_loss(const kpdt__line *l, size_t own, double weight, float *ds) {
    double most = kpdt__line_at(l, own), z = 0;
    for (size_t j = 0; j < l->n; j++)
        if (!(l->mask && l->mask[j * l->step]) && kpdt__line_at(l, j) > most) most = kpdt__line_at(l, j);
    for (size_t j = 0; j < l->n; j++)
        if (!(l->mask && l->mask[j * l->step])) z += kpdt__exp(kpdt__line_at(l, j) - most);
    for (size_t j = 0; j < l->n; j++) {
        float *out = ds + j * l->step;
        double p = l->mask && l->mask[j * l->step] ? 0 : kpdt__exp(kpdt__line_at(l, j) - most) / z;
        *out = (float)((double)*out + weight * l->scale * (p - (j == own)));
    }
    return weight * (most + kpdt__log(z) - kpdt__line_at(l, own));
}

// Rows, or columns of the first B, of an MNR matrix.
static double kpdt__mnr(const kpdt_loss_desc *d, const float *s, const uint8_t *mask, const float *log_q, size_t B, size_t C,
                        bool columns, double weight, float *ds) {
    double sum = 0;
    for (size_t i = 0; i < B; i++) {
        size_t at = columns ? i : i * C;
        kpdt__line l;
        l.s = s + at; l.mask = mask ? mask + at : NULL; l.log_q = columns ? NULL : log_q;
        l.n = columns ? B : C; l.step = columns ? C : 1; l.scale = (double)d->scale;
        sum += kpdt__line_loss(&l, i, weight / (double)B, ds + at);
    }
    return sum;
}

static kpd_status kpdt__matrix_check(const kpdt_loss_desc *d, const float *s, const uint8_t *mask, const float *log_q, size_t B,
                                     size_t C, kpd_error *e) {
    size_t size;
    if (d->loss != KPDT_MNR && d->loss != KPDT_MNR_SYMMETRIC)
        return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "loss: %d is not a loss on a matrix", (int)d->loss);
    if (!B || C < B || !kpd__mul_ok(B, C, &size))
        return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "loss: %llu rows and %llu columns, expected at least a row and a column for "
                         "each row's positive", (unsigned long long)B, (unsigned long long)C);
    for (size_t i = 0; mask && i < B; i++)
        if (mask[i * C + i])
            return kpd__fail(e, KPD_ERR_ARGUMENT, (int64_t)i, "mask: the positive of row %llu is masked",
                             (unsigned long long)i);
    if (kpdt__check_finite(s, size, "s", e)) return KPD_ERR_ARGUMENT;
    return log_q ? kpdt__check_finite(log_q, C, "log_q", e) : KPD_OK;
}

KPDDEF kpd_status kpdt_loss_matrix(const kpdt_loss_desc *desc, const float *s, const uint8_t *mask, const float *log_q,
                                   size_t B, size_t C, float *loss, float *ds, kpd_error *e) {
    kpdt_loss_desc d;
    uint64_t fp;
    double weight, sum;
    if (kpdt__loss_defaults(desc, &d, e) || kpdt__matrix_check(&d, s, mask, log_q, B, C, e)) return KPD_ERR_ARGUMENT;
    fp = kpd__fp_enter();
    weight = (double)d.weight * (d.loss == KPDT_MNR ? 1 : 0.5);
    memset(ds, 0, B * C * sizeof *ds);
    sum = kpdt__mnr(&d, s, mask, log_q, B, C, false, weight, ds);
    if (d.loss == KPDT_MNR_SYMMETRIC) sum += kpdt__mnr(&d, s, mask, log_q, B, C, true, weight, ds);
    *loss = (float)sum;
    kpd__fp_leave(fp);
    return KPD_OK;
}

KPDDEF kpd_status kpdt_cross_entropy(const float *logits, const int32_t *labels, size_t B, size_t C, float *loss,
                                     float *dlogits, kpd_error *e) {
    size_t size;
    uint64_t fp;
    double sum = 0;
    if (!B || !C || !kpd__mul_ok(B, C, &size))
        return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "cross-entropy: no rows or no classes");
    if (kpdt__check_finite(logits, size, "logits", e) || kpdt__check_labels(labels, B, C, e)) return KPD_ERR_ARGUMENT;
    fp = kpd__fp_enter();
    memset(dlogits, 0, size * sizeof *dlogits);
    for (size_t i = 0; i < B; i++) {
        kpdt__line l;
        l.s = logits + i * C; l.mask = NULL; l.log_q = NULL; l.n = C; l.step = 1; l.scale = 1;
        sum += kpdt__line_loss(&l, (size_t)labels[i], 1 / (double)B, dlogits + i * C);
    }
    *loss = (float)sum;
    kpd__fp_leave(fp);
    return KPD_OK;
}

// Row i of the head's input, [u; v; |u-v|].
static double kpdt__head_input(const kpdt_softmax_head *h, size_t i, size_t k) {
    size_t dim = (size_t)h->dim;
    const float *u = h->u + i * dim, *v = h->v + i * dim;
    if (k < dim) return (double)u[k];
    if (k < 2 * dim) return (double)v[k - dim];
    return kpdt__abs((double)u[k - 2 * dim] - (double)v[k - 2 * dim]);
}

// Loss of row i; g becomes its gradient with respect to the logits.
static double kpdt__head_forward(const kpdt_softmax_head *h, size_t i, double *g) {
    size_t width = 3 * (size_t)h->dim, labels = (size_t)h->labels, own = (size_t)h->label[i];
    double most = 0, z = 0, at;
    for (size_t c = 0; c < labels; c++) {
        g[c] = 0;
        for (size_t k = 0; k < width; k++) g[c] += (double)h->w[c * width + k] * kpdt__head_input(h, i, k);
        if (h->bias) g[c] += (double)h->bias[c];
        if (!c || g[c] > most) most = g[c];
    }
    at = g[own] - most;
    for (size_t c = 0; c < labels; c++) {
        g[c] = kpdt__exp(g[c] - most);
        z += g[c];
    }
    for (size_t c = 0; c < labels; c++) g[c] = (g[c] / z - (c == own)) / (double)h->B;
    return (kpdt__log(z) - at) / (double)h->B;
}

static void kpdt__add(float *to, double x) { *to = (float)((double)*to + x); }

static void kpdt__head_backward(const kpdt_softmax_head *h, size_t i, const double *g) {
    size_t dim = (size_t)h->dim, labels = (size_t)h->labels;
    for (size_t k = 0; k < dim; k++) {
        double of_u = 0, of_v = 0, of_d = 0, d = (double)h->u[i * dim + k] - (double)h->v[i * dim + k];
        for (size_t c = 0; c < labels; c++) {
            const float *w = h->w + c * 3 * dim + k;
            of_u += g[c] * (double)w[0];
            of_v += g[c] * (double)w[dim];
            of_d += g[c] * (double)w[2 * dim];
        }
        if (!(d > 0)) of_d = d < 0 ? -of_d : 0;
        kpdt__add(&h->du[i * dim + k], of_u + of_d);
        kpdt__add(&h->dv[i * dim + k], of_v - of_d);
    }
    for (size_t c = 0; c < labels; c++) {
        for (size_t k = 0; k < 3 * dim; k++) kpdt__add(&h->dw[c * 3 * dim + k], g[c] * kpdt__head_input(h, i, k));
        if (h->bias) kpdt__add(&h->dbias[c], g[c]);
    }
}

KPDDEF kpd_status kpdt_softmax_head_loss(const kpdt_softmax_head *h, float *loss, kpd_error *e) {
    double g[KPDT_MAX_LABELS], sum = 0;
    size_t dim = (size_t)h->dim;
    uint64_t fp;
    if (h->labels > KPDT_MAX_LABELS)
        return kpd__fail(e, KPD_ERR_LIMIT, -1, "softmax head: %d labels, at most %d", (int)h->labels, KPDT_MAX_LABELS);
    if (!h->B || h->dim < 1 || h->labels < 1 || (h->bias && !h->dbias))
        return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "softmax head: no rows, width or labels, or a bias without dbias");
    if (kpdt__check_finite(h->u, h->B * dim, "u", e) || kpdt__check_finite(h->v, h->B * dim, "v", e) ||
        kpdt__check_finite(h->w, (size_t)h->labels * 3 * dim, "w", e) ||
        (h->bias && kpdt__check_finite(h->bias, (size_t)h->labels, "bias", e)) ||
        kpdt__check_labels(h->label, h->B, (size_t)h->labels, e))
        return KPD_ERR_ARGUMENT;
    fp = kpd__fp_enter();
    for (size_t i = 0; i < h->B; i++) {
        sum += kpdt__head_forward(h, i, g);
        kpdt__head_backward(h, i, g);
    }
    *loss = (float)sum;
    kpd__fp_leave(fp);
    return KPD_OK;
}

// Similarities are computed in tiles of 16 by 16 vectors, so that lengths are computed 1/16 as often as products.
#define KPDT__TILE 16
#define KPDT__COLUMNS 64                // of a gradient that are summed at once
typedef struct kpdt__tile {
    kpdt_similarity kind;
    size_t dim, stride, na, nb;
    const float *a, *b;
    double ia[KPDT__TILE], ib[KPDT__TILE];                  // 1/|a|, 1/|b|; 1 under dot, 0 for a zero vector
    double s[KPDT__TILE][KPDT__TILE];                       // angle: before the absolute value
} kpdt__tile;

// Element k of a vector, or under angle of (c, d) turned: (c - d, d + c), or (c + d, d - c) when back.
static double kpdt__turned(const kpdt__tile *t, const float *v, size_t k, bool back) {
    size_t half = t->dim / 2;
    double other;
    if (t->kind != KPDT_SIM_ANGLE) return (double)v[k];
    other = k < half ? -(double)v[k + half] : (double)v[k - half];
    return (double)v[k] + (back ? -other : other);
}

// to[k] += w turned(v)[from + k], k < n.
static void kpdt__add_turned(const kpdt__tile *t, double w, const float *v, bool back, size_t from, size_t n, double *to) {
    if (t->kind != KPDT_SIM_ANGLE)
        for (size_t k = 0; k < n; k++) to[k] += w * (double)v[from + k];
    else
        for (size_t k = 0; k < n; k++) to[k] += w * kpdt__turned(t, v, from + k, back);
}

// Four partial sums over k mod 4, then (0+1)+(2+3): an addition need not wait for the one before. Angle: one sum.
static double kpdt__product(const kpdt__tile *t, const float *a, const float *b) {
    double p0 = 0, p1 = 0, p2 = 0, p3 = 0;
    size_t k = 0, dim = t->dim;
    for (; t->kind == KPDT_SIM_ANGLE && k < dim; k++) p0 += (double)a[k] * kpdt__turned(t, b, k, false);
    for (; k + 4 <= dim; k += 4) {
        p0 += (double)a[k] * (double)b[k];
        p1 += (double)a[k + 1] * (double)b[k + 1];
        p2 += (double)a[k + 2] * (double)b[k + 2];
        p3 += (double)a[k + 3] * (double)b[k + 3];
    }
    if (k < dim) p0 += (double)a[k] * (double)b[k];
    if (k + 1 < dim) p1 += (double)a[k + 1] * (double)b[k + 1];
    if (k + 2 < dim) p2 += (double)a[k + 2] * (double)b[k + 2];
    return (p0 + p1) + (p2 + p3);
}

static double kpdt__inverse_length(const kpdt__tile *t, const float *v) {
    double sum = 0;
    if (t->kind == KPDT_SIM_DOT) return 1;
    for (size_t k = 0; k < t->dim; k++) sum += (double)v[k] * (double)v[k];
    return sum > 0 ? 1 / sqrt(sum) : 0;
}

static void kpdt__tile_forward(kpdt__tile *t) {
    for (size_t i = 0; i < t->na; i++) t->ia[i] = kpdt__inverse_length(t, t->a + i * t->stride);
    for (size_t j = 0; j < t->nb; j++) t->ib[j] = kpdt__inverse_length(t, t->b + j * t->stride);
    for (size_t i = 0; i < t->na; i++)
        for (size_t j = 0; j < t->nb; j++)
            t->s[i][j] = kpdt__product(t, t->a + i * t->stride, t->b + j * t->stride) * t->ia[i] * t->ib[j];
}

// grad_x += sum over y of w_xy turned(y) - (sum over y of g_xy s_xy) x / |x|^2, where w = g / (|a||b|); x is a, or b when of_b.
static void kpdt__tile_add(const kpdt__tile *t, size_t x, double w[][KPDT__TILE], bool of_b, float *grad) {
    size_t n = of_b ? t->na : t->nb;
    const float *own = of_b ? t->b + x * t->stride : t->a + x * t->stride, *others = of_b ? t->a : t->b;
    double shrink = 0, length = of_b ? t->ib[x] : t->ia[x];
    // g s / |x|^2 = w |a||b| s / |x|^2, and a zero vector has w = 0.
    for (size_t y = 0; y < n && t->kind != KPDT_SIM_DOT; y++) {
        size_t i = of_b ? y : x, j = of_b ? x : y;
        if (t->ia[i] > 0 && t->ib[j] > 0) shrink += w[i][j] / (t->ia[i] * t->ib[j]) * t->s[i][j] * (length * length);
    }
    for (size_t from = 0; from < t->dim; from += KPDT__COLUMNS) {
        size_t columns = kpd__min(KPDT__COLUMNS, t->dim - from);
        double sum[KPDT__COLUMNS];
        for (size_t k = 0; k < columns; k++) sum[k] = 0;
        for (size_t y = 0; y < n; y++)
            kpdt__add_turned(t, of_b ? w[y][x] : w[x][y], others + y * t->stride, of_b, from, columns, sum);
        for (size_t k = 0; k < columns; k++) kpdt__add(&grad[from + k], sum[k] - shrink * (double)own[from + k]);
    }
}

// ds rows are `ld` apart; da, db stand at the tile's first vectors, or are NULL.
static void kpdt__tile_backward(kpdt__tile *t, const float *ds, size_t ld, float *da, float *db) {
    double w[KPDT__TILE][KPDT__TILE];
    kpdt__tile_forward(t);
    for (size_t i = 0; i < t->na; i++)
        for (size_t j = 0; j < t->nb; j++) {
            w[i][j] = (double)ds[i * ld + j] * t->ia[i] * t->ib[j];
            if (t->kind == KPDT_SIM_ANGLE) w[i][j] = t->s[i][j] > 0 ? w[i][j] : t->s[i][j] < 0 ? -w[i][j] : 0;   // of |s|
        }
    for (size_t i = 0; da && i < t->na; i++) kpdt__tile_add(t, i, w, false, da + i * t->stride);
    for (size_t j = 0; db && j < t->nb; j++) kpdt__tile_add(t, j, w, true, db + j * t->stride);
}

static void kpdt__tile_at(kpdt__tile *t, const float *a, size_t i, size_t na, const float *b, size_t j, size_t nb) {
    t->a = a + i * t->stride; t->b = b + j * t->stride;
    t->na = kpd__min(KPDT__TILE, na - i); t->nb = kpd__min(KPDT__TILE, nb - j);
}

static kpd_status kpdt__similarity_check(const kpdt_similarity_desc *d, size_t na, size_t nb, kpdt__tile *t, kpd_error *e) {
    if ((unsigned)d->kind > KPDT_SIM_ANGLE || d->dim < 1 || (d->stride && d->stride < d->dim))
        return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "similarity: kind %d, dim %d, stride %d: no such kind, no width, or a stride "
                         "below it", (int)d->kind, (int)d->dim, (int)d->stride);
    if (d->kind == KPDT_SIM_ANGLE && d->dim % 2)
        return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "similarity: angle needs an even dim, got %d", (int)d->dim);
    if (!d->matrix && na != nb)
        return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "similarity: row by row needs as many a as b, got %llu and %llu",
                         (unsigned long long)na, (unsigned long long)nb);
    memset(t, 0, sizeof *t);
    t->kind = d->kind; t->dim = (size_t)d->dim; t->stride = (size_t)(d->stride ? d->stride : d->dim);
    return KPD_OK;
}

KPDDEF kpd_status kpdt_similarity_forward(const kpdt_similarity_desc *d, const float *a, size_t na, const float *b, size_t nb,
                                          float *s, kpd_error *e) {
    kpdt__tile t;
    uint64_t fp;
    bool angle = d->kind == KPDT_SIM_ANGLE;
    if (kpdt__similarity_check(d, na, nb, &t, e)) return KPD_ERR_ARGUMENT;
    fp = kpd__fp_enter();
    for (size_t i = 0; i < na; i += d->matrix ? KPDT__TILE : 1)
        for (size_t j = d->matrix ? 0 : i; j < (d->matrix ? nb : i + 1); j += KPDT__TILE) {
            kpdt__tile_at(&t, a, i, d->matrix ? na : i + 1, b, j, d->matrix ? nb : i + 1);
            kpdt__tile_forward(&t);
            for (size_t x = 0; x < t.na; x++)
                for (size_t y = 0; y < t.nb; y++)
                    s[d->matrix ? (i + x) * nb + j + y : i] = (float)(angle ? kpdt__abs(t.s[x][y]) : t.s[x][y]);
        }
    kpd__fp_leave(fp);
    return KPD_OK;
}

KPDDEF kpd_status kpdt_similarity_backward(const kpdt_similarity_desc *d, const float *a, size_t na, const float *b, size_t nb,
                                           const float *ds, float *da, float *db, kpd_error *e) {
    kpdt__tile t;
    uint64_t fp;
    if (kpdt__similarity_check(d, na, nb, &t, e)) return KPD_ERR_ARGUMENT;
    fp = kpd__fp_enter();
    for (size_t i = 0; i < na; i += d->matrix ? KPDT__TILE : 1)
        for (size_t j = d->matrix ? 0 : i; j < (d->matrix ? nb : i + 1); j += KPDT__TILE) {
            kpdt__tile_at(&t, a, i, d->matrix ? na : i + 1, b, j, d->matrix ? nb : i + 1);
            kpdt__tile_backward(&t, ds + (d->matrix ? i * nb + j : i), nb, da ? da + i * t.stride : NULL,
                                db ? db + j * t.stride : NULL);
        }
    kpd__fp_leave(fp);
    return KPD_OK;
}

static kpd_status kpdt__dims_check(const kpdt_loss_desc *d, int32_t dim, kpd_error *e) {
    for (int32_t i = 0; i < KPDT_MAX_DIMS && d->dims[i]; i++)
        if (d->dims[i] < 1 || d->dims[i] > dim || (i && d->dims[i] >= d->dims[i - 1]))
            return kpd__fail(e, KPD_ERR_ARGUMENT, i, "loss: dims[%d] is %d, expected descending widths of at most %d", (int)i,
                             (int)d->dims[i], (int)dim);
    return KPD_OK;
}

// One Matryoshka width.
static kpd_status kpdt__vectors_at(const kpdt_loss_desc *d, const kpdt_vectors *v, int32_t dim, float *loss, kpd_error *e) {
    kpdt_similarity_desc sim;
    kpd_status status;
    size_t n;
    float *ds;
    sim.kind = d->similarity; sim.matrix = d->loss == KPDT_MNR || d->loss == KPDT_MNR_SYMMETRIC; sim.dim = dim;
    sim.stride = v->dim;
    if (!kpd__mul_ok(v->na, sim.matrix ? v->nb : 1, &n)) return kpd__fail(e, KPD_ERR_LIMIT, -1, "loss: na * nb overflows");
    ds = v->work + n;
    status = kpdt_similarity_forward(&sim, v->a, v->na, v->b, v->nb, v->work, e);
    if (!status && sim.matrix) status = kpdt_loss_matrix(d, v->work, v->mask, v->log_q, v->na, v->nb, loss, ds, e);
    else if (!status) status = kpdt_loss_pairs(d, v->work, v->t, v->query, v->na, loss, ds, e);
    if (!status) status = kpdt_similarity_backward(&sim, v->a, v->na, v->b, v->nb, ds, v->da, v->db, e);
    return status;
}

KPDDEF kpd_status kpdt_loss_vectors(const kpdt_loss_desc *d, const kpdt_vectors *v, float *loss, kpd_error *e) {
    kpdt_loss_desc at = *d;
    double sum = 0;
    uint64_t fp = kpd__fp_enter();
    kpd_status status = kpdt__dims_check(d, v->dim, e);
    for (int32_t i = 0; !status && i < KPDT_MAX_DIMS && (!i || d->dims[i]); i++) {
        float one = 0;
        at.weight = kpdt__or(d->weight, 1) * kpdt__or(d->dim_weights[i], 1);
        status = kpdt__vectors_at(&at, v, d->dims[i] ? d->dims[i] : v->dim, &one, e);
        sum += (double)one;
    }
    if (!status) *loss = (float)sum;
    kpd__fp_leave(fp);
    return status;
}

// >>metrics  Sorting, and what is counted in sorted order. Relies on >>numbers. Promises that the result does not depend on the
// order of equal scores.

typedef struct kpdt__ranked { double key; size_t at; } kpdt__ranked;

static bool kpdt__before(kpdt__ranked a, kpdt__ranked b) { return a.key > b.key || (a.key == b.key && a.at < b.at); }

static void kpdt__sift(kpdt__ranked *r, size_t i, size_t n) {
    for (size_t child; (child = 2 * i + 1) < n; i = child) {
        kpdt__ranked t = r[i];
        if (child + 1 < n && kpdt__before(r[child], r[child + 1])) child++;
        if (!kpdt__before(t, r[child])) return;
        r[i] = r[child];
        r[child] = t;
    }
}

// Heapsort, by key descending and place ascending: a total order, no memory, no bad case.
static void kpdt__sort(kpdt__ranked *r, size_t n) {
    for (size_t i = n / 2; i-- > 0;) kpdt__sift(r, i, n);
    for (size_t i = n; i-- > 1;) {
        kpdt__ranked t = r[0];
        r[0] = r[i];
        r[i] = t;
        kpdt__sift(r, 0, i);
    }
}

// Allocates and sorts the n values of x.
static kpd_status kpdt__sorted(const float *x, size_t n, const kpd_allocator *a, kpdt__ranked **out, kpd_error *e) {
    kpdt__ranked *r;
    size_t size;
    if (!kpd__mul_ok(n, sizeof *r, &size)) return kpd__no_memory(e, SIZE_MAX);
    r = (kpdt__ranked *)kpd__alloc(a, size);
    if (!r) return kpd__no_memory(e, size);
    for (size_t i = 0; i < n; i++) {
        r[i].key = (double)x[i];
        r[i].at = i;
    }
    kpdt__sort(r, n);
    *out = r;
    return KPD_OK;
}

static size_t kpdt__ties_end(const kpdt__ranked *r, size_t i, size_t n) {
    size_t end = i + 1;
    while (end < n && r[end].key == r[i].key) end++;
    return end;
}

// Half-way between two neighbouring scores, where a float lies there; else the upper one.
static float kpdt__between(double above, double below) {
    float middle = (float)(below + (above - below) / 2);
    return (double)middle > below && (double)middle <= above ? middle : (float)above;
}

// Walks down the distinct scores: area under precision-recall and ROC, and the threshold of the best F1.
static void kpdt__sweep(const kpdt__ranked *r, const uint8_t *y, size_t n, kpdt_classification *out) {
    double yes = 0, tp = 0, fp = 0, ap = 0, area = 0, best = -1;
    for (size_t i = 0; i < n; i++) yes += y[i];
    for (size_t i = 0, end; i < n; i = end) {
        double more = 0, f1;
        end = kpdt__ties_end(r, i, n);
        for (size_t j = i; j < end; j++) more += y[r[j].at];
        area += ((double)(end - i) - more) * (tp + more / 2);   // each negative is below tp positives, and beside `more`
        tp += more;
        fp += (double)(end - i) - more;
        if (more > 0) ap += more / yes * (tp / (tp + fp));
        f1 = 2 * tp / (yes + tp + fp);
        if (f1 > best) {
            best = f1;
            out->threshold = end < n ? kpdt__between(r[i].key, r[end].key) : (float)r[i].key;
        }
    }
    out->average_precision = yes > 0 ? ap : kpdt__nan();
    out->auc = yes > 0 && yes < (double)n ? area / (yes * ((double)n - yes)) : kpdt__nan();
}

static double kpdt__ratio(double a, double b) { return b > 0 ? a / b : kpdt__nan(); }

static void kpdt__at_threshold(const float *s, const uint8_t *y, size_t n, kpdt_classification *out) {
    double count[2][2] = {{0, 0}, {0, 0}}, tp, fp, fn, tn;   // [predicted][true]
    for (size_t i = 0; i < n; i++) count[s[i] >= out->threshold][y[i]] += 1;
    tp = count[1][1]; fp = count[1][0]; fn = count[0][1]; tn = count[0][0];
    out->precision = kpdt__ratio(tp, tp + fp);
    out->recall = kpdt__ratio(tp, tp + fn);
    out->f1 = kpdt__ratio(2 * tp, 2 * tp + fp + fn);
    out->accuracy = (tp + tn) / (double)n;
    out->mcc = kpdt__ratio(tp * tn - fp * fn, sqrt((tp + fp) * (tp + fn)) * sqrt((tn + fp) * (tn + fn)));
}

#define KPDT__BINS 15
static double kpdt__calibration(const float *s, const uint8_t *y, size_t n) {
    double sum[KPDT__BINS], yes[KPDT__BINS], error = 0;
    for (int i = 0; i < KPDT__BINS; i++) sum[i] = yes[i] = 0;
    for (size_t i = 0; i < n; i++) {
        int bin;
        if (!(s[i] >= 0 && s[i] <= 1)) return kpdt__nan();
        bin = (int)((double)s[i] * KPDT__BINS);
        if (bin == KPDT__BINS) bin--;
        sum[bin] += (double)s[i];
        yes[bin] += y[i];
    }
    for (int i = 0; i < KPDT__BINS; i++) error += kpdt__abs(yes[i] - sum[i]);   // size / n times the difference of the means
    return error / (double)n;
}

KPDDEF kpd_status kpdt_classify(const float *s, const uint8_t *y, size_t n, const float *threshold, const kpd_allocator *a,
                                kpdt_classification *out, kpd_error *e) {
    kpdt__ranked *r;
    kpd_status status;
    uint64_t fp;
    if (!n || !kpd__allocator_ok(a) || (threshold && *threshold != *threshold))
        return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "classify: no samples, half an allocator, or a threshold that is no number");
    if (kpdt__check_finite(s, n, "s", e)) return KPD_ERR_ARGUMENT;
    for (size_t i = 0; i < n; i++)
        if (y[i] > 1) return kpd__fail(e, KPD_ERR_ARGUMENT, (int64_t)i, "y[%llu] is %d, expected 0 or 1", (unsigned long long)i,
                                       y[i]);
    status = kpdt__sorted(s, n, a, &r, e);
    if (status) return status;
    fp = kpd__fp_enter();
    kpdt__sweep(r, y, n, out);
    if (threshold) out->threshold = *threshold;
    kpdt__at_threshold(s, y, n, out);
    out->ece = kpdt__calibration(s, y, n);
    kpd__fp_leave(fp);
    kpd__free(a, r, n * sizeof *r);
    return KPD_OK;
}

// Either of two types of column.
typedef struct kpdt__column { const float *f; const double *d; } kpdt__column;
static double kpdt__value(kpdt__column c, size_t i) { return c.f ? (double)c.f[i] : c.d[i]; }

static double kpdt__correlation(kpdt__column x, kpdt__column y, size_t n) {
    double mean_x = 0, mean_y = 0, xx = 0, yy = 0, xy = 0;
    for (size_t i = 0; i < n; i++) {
        mean_x += kpdt__value(x, i);
        mean_y += kpdt__value(y, i);
    }
    mean_x /= (double)n;
    mean_y /= (double)n;
    for (size_t i = 0; i < n; i++) {
        double a = kpdt__value(x, i) - mean_x, b = kpdt__value(y, i) - mean_y;
        xx += a * a;
        yy += b * b;
        xy += a * b;
    }
    return n > 1 && xx > 0 && yy > 0 ? xy / (sqrt(xx) * sqrt(yy)) : kpdt__nan();
}

KPDDEF double kpdt_pearson(const float *x, const float *y, size_t n) {
    kpdt__column a, b;
    uint64_t fp = kpd__fp_enter();
    double r;
    a.f = x; a.d = NULL; b.f = y; b.d = NULL;
    r = kpdt__correlation(a, b, n);
    kpd__fp_leave(fp);
    return r;
}

// rank[i] = place of x[i] from 1, ties sharing the mean.
static kpd_status kpdt__ranks(const float *x, size_t n, const kpd_allocator *a, double *rank, kpd_error *e) {
    kpdt__ranked *r;
    kpd_status status = kpdt__sorted(x, n, a, &r, e);
    if (status) return status;
    for (size_t i = 0, end; i < n; i = end) {
        end = kpdt__ties_end(r, i, n);
        for (size_t j = i; j < end; j++) rank[r[j].at] = (double)(i + end + 1) / 2;
    }
    kpd__free(a, r, n * sizeof *r);
    return KPD_OK;
}

KPDDEF kpd_status kpdt_spearman(const float *x, const float *y, size_t n, const kpd_allocator *a, double *rho, kpd_error *e) {
    kpdt__column cx, cy;
    double *rank;
    size_t size;
    kpd_status status;
    uint64_t fp;
    if (!kpd__allocator_ok(a)) return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "spearman: half an allocator");
    if (kpdt__check_finite(x, n, "x", e) || kpdt__check_finite(y, n, "y", e)) return KPD_ERR_ARGUMENT;
    if (!kpd__mul_ok(n, 2 * sizeof *rank, &size)) return kpd__no_memory(e, SIZE_MAX);
    rank = (double *)kpd__alloc(a, size);
    if (!rank) return kpd__no_memory(e, size);
    fp = kpd__fp_enter();
    status = kpdt__ranks(x, n, a, rank, e);
    if (!status) status = kpdt__ranks(y, n, a, rank + n, e);
    cx.f = cy.f = NULL; cx.d = rank; cy.d = rank + n;
    if (!status) *rho = kpdt__correlation(cx, cy, n);
    kpd__fp_leave(fp);
    kpd__free(a, rank, size);
    return status;
}

static double kpdt__discount(int32_t i) { return kpdt__log(2) / kpdt__log((double)i + 2); }   // 1 / log2(i + 2), i from 0

KPDDEF kpdt_ranking kpdt_rank(const float *gain, int32_t n, int32_t k, const float *ideal, int32_t n_relevant) {
    kpdt_ranking r;
    uint64_t fp = kpd__fp_enter();
    int32_t shown = n < k ? n : k, most = k < n_relevant ? k : n_relevant;
    double hits = 0, best = 0, nan = kpdt__nan();
    r.recall = r.precision = r.mrr = r.ndcg = r.map = most < 1 ? nan : 0;
    for (int32_t i = 0; most > 0 && i < shown; i++) {
        if (!(gain[i] > 0)) continue;
        hits++;
        if (hits == 1) r.mrr = 1 / ((double)i + 1);
        r.map += hits / ((double)i + 1) / most;
        r.ndcg += (double)gain[i] * kpdt__discount(i);
    }
    for (int32_t i = 0; i < most; i++) best += (ideal ? (double)ideal[i] : 1) * kpdt__discount(i);
    if (most > 0) {
        r.recall = hits / n_relevant;
        r.precision = hits / k;
        r.ndcg = best > 0 ? r.ndcg / best : nan;
    }
    kpd__fp_leave(fp);
    return r;
}

typedef struct kpdt__draw { uint64_t seed, first; bool all; } kpdt__draw;   // all: nothing is drawn, each counts once

// sum a / sum weight, of the runs and items that were drawn. Run draws are numbers first.., item draws follow them.
static double kpdt__statistic(const float *a, const float *weight, size_t n, size_t runs, const kpdt__draw *d) {
    double sum = 0, by = 0;
    for (size_t r = 0; r < runs; r++) {
        size_t run = d->all ? r : kpdt__random_below(d->seed, d->first + r, runs);
        for (size_t i = 0; i < n; i++) {
            size_t at = run * n + (d->all ? i : kpdt__random_below(d->seed, d->first + runs + i, n));
            sum += (double)a[at];
            by += weight ? (double)weight[at] : 1;
        }
    }
    return by != 0 ? sum / by : 0;
}

static double kpdt__quantile(const kpdt__ranked *r, size_t n, double q) {   // r descends; between neighbours by the line
    double at = (1 - q) * (double)(n - 1);
    size_t i = (size_t)at;
    return i + 1 < n ? r[i].key + (at - (double)i) * (r[i + 1].key - r[i].key) : r[n - 1].key;
}

static double kpdt__p_value(const kpdt__ranked *r, size_t n) {
    size_t up = 0, down = 0;
    double p;
    for (size_t i = 0; i < n; i++) {
        up += r[i].key >= 0;
        down += r[i].key <= 0;
    }
    p = 2 * (1 + (double)kpd__min(up, down)) / (1 + (double)n);
    return p < 1 ? p : 1;
}

static void kpdt__resample(const kpdt_bootstrap_desc *d, size_t runs, kpdt__ranked *r, size_t resamples, kpdt_interval *out) {
    kpdt__draw draw;
    double tail = (1 - (d->level != 0 ? (double)d->level : 0.95)) / 2;
    draw.seed = d->seed; draw.first = 0; draw.all = true;
    out->estimate = kpdt__statistic(d->a, d->a_weight, d->n, runs, &draw);
    if (d->b) out->estimate -= kpdt__statistic(d->b, d->b_weight, d->n, runs, &draw);
    draw.all = false;
    for (size_t i = 0; i < resamples; i++) {
        draw.first = (uint64_t)i * (runs + d->n);
        r[i].at = i;
        r[i].key = kpdt__statistic(d->a, d->a_weight, d->n, runs, &draw);
        if (d->b) r[i].key -= kpdt__statistic(d->b, d->b_weight, d->n, runs, &draw);
    }
    kpdt__sort(r, resamples);
    out->low = kpdt__quantile(r, resamples, tail);
    out->high = kpdt__quantile(r, resamples, 1 - tail);
    out->p = kpdt__p_value(r, resamples);
}

static kpd_status kpdt__bootstrap_check(const kpdt_bootstrap_desc *d, size_t *all, kpd_error *e) {
    const float *column[4];
    static const char *const name[4] = {"a", "a_weight", "b", "b_weight"};
    column[0] = d->a; column[1] = d->a_weight; column[2] = d->b; column[3] = d->b_weight;
    if (!d->a || !d->n || d->resamples < 0 || !(d->level >= 0 && d->level < 1) || !kpd__allocator_ok(&d->allocator) ||
        !kpd__mul_ok(d->n, d->runs ? d->runs : 1, all))
        return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "bootstrap: a and n are required, resamples not negative, level in [0, 1)");
    for (int i = 0; i < 4; i++)
        if (column[i] && kpdt__check_finite(column[i], *all, name[i], e)) return KPD_ERR_ARGUMENT;
    return KPD_OK;
}

KPDDEF kpd_status kpdt_bootstrap(const kpdt_bootstrap_desc *d, kpdt_interval *out, kpd_error *e) {
    size_t all, resamples = d->resamples > 0 ? (size_t)d->resamples : 10000, size;
    kpdt__ranked *r;
    uint64_t fp;
    if (kpdt__bootstrap_check(d, &all, e)) return KPD_ERR_ARGUMENT;
    if (!kpd__mul_ok(resamples, sizeof *r, &size)) return kpd__no_memory(e, SIZE_MAX);
    r = (kpdt__ranked *)kpd__alloc(&d->allocator, size);
    if (!r) return kpd__no_memory(e, size);
    fp = kpd__fp_enter();
    kpdt__resample(d, d->runs ? d->runs : 1, r, resamples, out);
    kpd__fp_leave(fp);
    kpd__free(&d->allocator, r, size);
    return KPD_OK;
}

// >>auction  Counting. Relies on nothing but integers.

static int32_t kpdt__pass_k(int i) { return 5 * (i + 1); }

KPDDEF void kpdt_auction_item(const bool *survives, const float *judged, size_t n, kpdt_auction_row *out) {
    memset(out, 0, sizeof *out);
    for (size_t i = 0; i < n; i++) {
        bool pass = judged[i] >= 0.5f, looked_at = survives[i] || i < (size_t)kpdt__pass_k(KPDT_PASS_AT - 1);
        out->survivors += survives[i];
        out->passed += survives[i] && pass;
        out->unjudged += looked_at && judged[i] != judged[i];
        for (int k = 0; k < KPDT_PASS_AT; k++) out->passed_at[k] += pass && i < (size_t)kpdt__pass_k(k);
    }
}

// The item of rank `rank` (from 0) by survivors: bisection over the values, so nothing is sorted.
static int32_t kpdt__survivors_at(const kpdt_auction_row *rows, size_t n, size_t rank) {
    int32_t low = 0, high = INT32_MAX;
    while (low < high) {
        int32_t middle = low + (high - low) / 2;
        size_t count = 0;
        for (size_t i = 0; i < n; i++) count += rows[i].survivors <= middle;
        if (count > rank) high = middle;
        else low = middle + 1;
    }
    return low;
}

KPDDEF kpd_status kpdt_auction_total(const kpdt_auction_row *rows, size_t n, kpdt_auction_result *out, kpd_error *e) {
    double by_item = 0, with_any = 0, at[KPDT_PASS_AT] = {0, 0, 0, 0};
    uint64_t fp;
    if (!n) return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "auction: no items");
    fp = kpd__fp_enter();
    memset(out, 0, sizeof *out);
    for (size_t i = 0; i < n; i++) {
        out->survivors += rows[i].survivors;
        out->passed += rows[i].passed;
        out->unjudged += rows[i].unjudged;
        if (rows[i].survivors) by_item += (double)rows[i].passed / rows[i].survivors;
        with_any += rows[i].survivors > 0;
        for (int k = 0; k < KPDT_PASS_AT; k++) at[k] += rows[i].passed_at[k];
    }
    for (int k = 0; k < KPDT_PASS_AT; k++) out->pass_at[k] = at[k] / kpdt__pass_k(k) / (double)n;
    out->kp = ((double)kpdt__survivors_at(rows, n, (n - 1) / 2) + kpdt__survivors_at(rows, n, n / 2)) / 2;
    out->kp_mean = (double)out->survivors / (double)n;
    out->pass_rate = kpdt__ratio((double)out->passed, (double)out->survivors);
    out->pass_rate_by_item = kpdt__ratio(by_item, with_any);
    kpd__fp_leave(fp);
    return KPD_OK;
}

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC pop_options
#endif
#endif // KPD_TRAIN_IMPLEMENTATION

// ------------------------------------------------------------------------------------------------------------------
// HISTORY
//     0.1  losses, similarity layer, metrics, auction protocol
//
// LICENCE  MIT or public domain, at your choice: the texts are in the file LICENSE that comes with this header. In short,
// alternative A: Copyright (c) 2026 the kpd authors; permission is granted, free of charge, to use, copy, modify, merge,
// publish, distribute, sublicense and sell copies, provided that this notice stays in them. Alternative B: this is free and
// unencumbered software released into the public domain (www.unlicense.org). Either way the software is provided "as is",
// without warranty of any kind, and its authors are not liable for any claim or damage that arises from it.
