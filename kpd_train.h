#ifndef KPD__LEVEL   // as kpd.h, this file reads itself once per SIMD level
// kpd_train.h - v0.1 - makes models for kpd.h: the encoder's gradient, AdamW, losses, metrics, auction.
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
// CONTENTS  Search for the marker. The API comes first; in the implementation each section uses only what stands above it
// (there is no forward declaration). Behind a name: its lines, what it has, where to enter.
//
//     >>concepts      40  scores and similarities, memory, threads, numbers, limits
//     >>api          620  losses, data, trainer, metrics, auction, vocabulary
//     part A: all but kernels
//     >>numbers      100  exp, log, random numbers; names
//     >>tape         590  parameters, gradients, what backward reads                              kpdt__net_create
//     >>passes       560  forward and backward over a batch                                       kpdt__encode, kpdt__backward
//     >>optimizer    140  AdamW, clipping, rates                                                  kpdt__optimizer_step
//     >>losses      1010  value and gradient of each                                              kpdt__loss_pairs, _matrix
//     >>data         300  mapped tables                                                           kpdt__dataset_open
//     >>sampler      150  which rows make the next batch                                          kpdt__trainer_draw
//     >>mining       330  hard negatives out of an index                                          kpdt__mine
//     >>trainer     1920  towers, batches, their mined negatives, a step, dev                     kpdt__trainer_step
//     >>checkpoint   360  a trainer's state as a file                                             kpdt__trainer_save
//     >>metrics      560  classification, correlation, ranking, bootstrap
//     >>auction       50  the paper's evaluation
//     >>vocabulary   530  WordPiece out of texts                                                  kpdt_vocabulary_train
//     part B: kernels, read once per level as kpd.h's
//     >>layers       520  each layer's kernels, forward beside backward
//
// This version trains in f32. It has no moving average of the weights, and no bf16.
//
// OPTIONS  Define before including. kpd.h's options hold here too.
//
//     KPD_TRAIN_IMPLEMENTATION  makes the implementation; only where KPD_IMPLEMENTATION is, since it uses kpd.h's insides
//     KPD_STATIC                as in kpd.h: every function of both headers is static
//     KPDT_SELF                 this file's name as "string", for a renamed copy on compilers without __FILE_NAME__
//     KPD_CBLAS                 where the implementation is made: cblas_sgemm of <cblas.h> takes the gradients of the large
//                               matrices (dW += dy^T x, both row-major), which is all that it serves now: other products read
//                               panels, which no BLAS can. Link with one. Results of training then have that library's bits.
//                               Tasks call it at the same time, each for its own rows of dW: a BLAS with threads of its own
//                               must be told to use one (OPENBLAS_NUM_THREADS=1), or it takes the host's cores twice
//
// >>concepts
//
// A loss is a function of *scores*; a similarity (cosine, dot, angle) is a layer before it that makes scores of vectors.
// So every loss works alone, on truncated vectors (Matryoshka), and on the logits of a cross-encoder. A loss *overwrites*
// the gradient of the scores, which starts there; the layers *add to* the gradients of vectors and weights, which may
// come from several losses.
//
// Memory. Losses allocate nothing; where one needs room the caller lends it. Metrics that sort take an allocator, NULL =
// malloc, and have given everything back when they return. A trainer allocates when it is created, and for a copy of its
// model or a mining; its phases allocate nothing. Arrays must not overlap unless a comment says so.
//
// Threads. But for a trainer, which serves one caller at a time, there is no state: any function may run on any number of
// threads, on different output arrays.
//
// Errors. As in kpd.h. A number that is not finite or a label out of range is INPUT, an option that means nothing ARGUMENT,
// `where` = its place. Outputs are untouched on failure unless the function says otherwise.
//
// Numbers. Losses and metrics are computed in double from float arrays, in one fixed order, and rounded to float when stored;
// the encoder, forward and back, and the similarities of a matrix are computed in float by chains and trees, as kpd.h says.
// Both give the same bits on every compiler, optimisation level, SIMD level and number of threads; but for training under
// KPD_CBLAS, where they are those of the BLAS. exp and log are this header's own; of libm only sqrt and fmaf are used. The
// caller's rounding mode and denormal flags are saved and restored by each call, as kpd.h says.
//
// Zero means default, as in kpd.h: zero a desc, set what differs; NULL counts as one of zeros. Where 0 itself is a value, which
// is of numbers whose comment says KPDT_ZERO, that says it.
//
// Letters: B rows of a batch, C columns (candidates or classes), n pairs or samples, D width of a vector, k ranks;
// s score, t label or teacher's score, y in {0, 1} a label, p a probability. Gradients carry a d: ds = dL/ds.
// References: [Oord 2018] InfoNCE; [Henderson 2017] in-batch negatives (MNR); [Hadsell 2006] contrastive; [SBERT] Reimers and
// Gurevych 2019; [Hofstaetter 2020] margin-MSE; [Hinton 2015] distillation; [Su 2022] CoSENT (kexue.fm/archives/8847); [AnglE]
// Li and Li 2023; [D2LLM] Liao et al. 2024 (Pearson); [Burges 2005] RankNet; [Yi 2019] log q correction; [MRL] Kusupati et al.
// 2022 (Matryoshka); [Sanh 2019] DistilBERT; [Guo 2017] calibration; [Zhu 2017], [Zhou 2018] AUC by query (optimised cost per
// click; deep interest network); [Xiong 2021] ANCE; [Dahiya 2023] NGAME; [Holm 1979]; [Loshchilov 2019] decoupled weight decay
// (AdamW); [BERT] Devlin et al. 2019. ST = the sentence-transformers library.

// ------------------------------------------------------------------------------------------------------------------
#ifndef KPD_TRAIN_H
#define KPD_TRAIN_H

#include "kpd.h"

#ifdef __cplusplus
extern "C" {
#endif

// >>api  LOSSES -----------------------------------------------------------------------------------------------------

#define KPDT_ZERO (-0.0f)               // 0, where 0.0f means default: a sweep over {0, .5, 1} says it so
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
//                  there is none of the other kind, the bound is the own kind's mean. t is 0 or 1
//   MSE            mean (s-t)^2, t mapped by `target`. ds = 2 (s-t) / n
//   COSENT         log(1 + sum over pairs with t_i < t_j of exp(scale (s_i - s_j))), ties left out         [Su 2022]
//                  ds_k = scale (sum_(t_k<t_j) e_kj - sum_(t_i<t_k) e_ik) / Z, e and Z divided by the largest term.
//                  All labels equal: 0. O(n^2) exponentials
//   PEARSON        1 - cov(s, t) / (sd s sd t + epsilon), the paper's best; Bessel-corrected as in [D2LLM]; t mapped
//                  by `target`. Over all pairs, or `per_query` and the mean over queries. With a = s - mean, b = t - mean,
//                  N = n-1, X = sd s sd t + epsilon, C = cov: ds_i = -(b_i / X - C sd t a_i / (sd s X^2)) / N.
//                  Where s or t does not vary, or n = 1: loss 1, gradient 0
//   BCE            mean of pos_weight t log(1 + e^-s) + (1-t) log(1 + e^s), s a logit, t in [0, 1]
//                  ds = ((1-t) sigmoid(s) - pos_weight t sigmoid(-s)) / n. Of a bi-encoder a trainer takes dot alone for it
// On the pairs of a query (see `query` below), Q queries; a trainer's source wants KPDT_BY_QUERY for them, and for PEARSON
// `per_query`:
//   MARGIN_MSE     mean ((s_0 - s_j) - (t_0 - t_j))^2, pair 0 of each query being its positive and the others its
//                  negatives; mean over all negatives, t mapped by `target`                       [Hofstaetter 2020]
//   KL             T^2 / Q sum KL(softmax(t / T) || softmax(s / T)), T = temperature, t mapped by `target`  [Hinton 2015]
//                  ds = T (softmax(s / T) - softmax(t / T)) / Q
//   RANKNET        mean over pairs with t_i > t_j of w log(1 + exp(-scale (s_i - s_j))), w = 1 or, when `weighted`,
//                  t_i - t_j as in [D2LLM]; none: 0. O(n^2) within a query                            [Burges 2005]
// On texts, by a trainer only (kpdt_trainer_mlm):
//   MLM            mean over masked tokens of -log softmax(logits)[the token that stood there]                  [BERT]
//   MLM_KL         T^2 times the mean over masked tokens of KL(softmax(t / T) || softmax(logits / T)), T = temperature, t the
//                  logits of desc.mlm_teacher, which reads the same masked texts: so a small model learns a large one's guesses
//                  [Hinton 2015, Sanh 2019]
// On vectors, by a trainer only, one of whose sources must have it:
//   SOFTMAX        kpdt_softmax_head_loss of no and yes, t 0 or 1, at each width of `dims`, whose head is the part of one for
//                  all columns. The head begins at random, is in checkpoints, and in no model                  [SBERT]
#define KPDT__ENUM(name, text) KPDT_##name,              // lists of names as kpd.h has them
#define KPDT_LOSS_LIST(X)                                                                                              \
    X(LOSS_NONE, "none") X(MNR, "mnr") X(MNR_SYMMETRIC, "mnr-symmetric") X(CONTRASTIVE, "contrastive")               \
    X(ONLINE_CONTRASTIVE, "online-contrastive") X(MSE, "mse") X(COSENT, "cosent") X(PEARSON, "pearson") X(BCE, "bce")  \
    X(MARGIN_MSE, "margin-mse") X(KL, "kl") X(RANKNET, "ranknet") X(MLM, "mlm") \
    X(SOFTMAX, "softmax") X(MLM_KL, "mlm-kl")
typedef enum kpdt_loss { KPDT_LOSS_LIST(KPDT__ENUM) KPDT_LOSS_COUNT } kpdt_loss;
KPDDEF const char *kpdt_loss_name(kpdt_loss loss);
KPDDEF bool        kpdt_loss_from_name(const char *name, kpdt_loss *out);

// As what the teacher's score enters. LOGIT and COSINE take t as a probability; LOGIT first clamps it to
// [2^-20, 1 - 2^-20] (our default: a teacher's exact 0 or 1 would be infinite). kpd_sigmoid makes a probability of a logit.
#define KPDT_TARGET_LIST(X)                                                                                            \
    X(TARGET_AS_GIVEN, "probability") X(TARGET_LOGIT, "logit") /* log(t / (1-t)) */ X(TARGET_COSINE, "cosine") /* 2t-1 */
typedef enum kpdt_target { KPDT_TARGET_LIST(KPDT__ENUM) KPDT_TARGET_COUNT } kpdt_target;
KPDDEF const char *kpdt_target_name(kpdt_target target);
KPDDEF bool        kpdt_target_from_name(const char *name, kpdt_target *out);

// Whence a trainer takes a pair's t.
#define KPDT_TEACHER_LIST(X) X(BY_LABEL, "label") X(BY_SCORE, "score") X(BY_ASSISTANT, "assistant")
typedef enum kpdt_teacher { KPDT_TEACHER_LIST(KPDT__ENUM) KPDT_TEACHER_COUNT } kpdt_teacher;
KPDDEF const char *kpdt_teacher_name(kpdt_teacher teacher);
KPDDEF bool        kpdt_teacher_from_name(const char *name, kpdt_teacher *out);

// cosine a.b / (|a||b|); dot a.b; angle [AnglE]: with the halves of a vector as real and imaginary parts, the absolute
// value of the sum of real and imaginary parts of the quotient a/b, divided by |a|/|b|, which is
// |a.r(b)| / (|a||b|), r(c, d) = (c-d, c+d): ANGLE under COSENT is AnglE. A zero vector has similarity 0 and gets
// gradient 0 (with dot it gets the other vector).
#define KPDT_SIMILARITY_LIST(X) X(SIM_COSINE, "cosine") X(SIM_DOT, "dot") X(SIM_ANGLE, "angle")
typedef enum kpdt_similarity { KPDT_SIMILARITY_LIST(KPDT__ENUM) KPDT_SIMILARITY_COUNT } kpdt_similarity;
KPDDEF const char *kpdt_similarity_name(kpdt_similarity similarity);
KPDDEF bool        kpdt_similarity_from_name(const char *name, kpdt_similarity *out);

typedef struct kpdt_loss_desc {
    kpdt_loss loss;                     // required
    float weight;                       // of value and gradient, 0 = 1; or KPDT_ZERO
    float scale;                        // MNR, COSENT, RANKNET: 0 = 20, that is temperature .05
    float margin;                       // CONTRASTIVE, ONLINE_CONTRASTIVE: 0 = .5; or KPDT_ZERO
    float temperature;                  // KL, MLM_KL: 0 = 1
    float pos_weight;                   // BCE: 0 = 1; or KPDT_ZERO
    float epsilon;                      // PEARSON: 0 = 1e-8
    kpdt_target target;                 // MSE, PEARSON, MARGIN_MSE, KL
    bool per_query;                     // PEARSON
    bool weighted;                      // RANKNET
    // kpdt_loss_vectors only:
    kpdt_similarity similarity;
    int32_t dims[KPDT_MAX_DIMS];        // Matryoshka widths, descending, ended by 0; none = the full width alone
    float dim_weights[KPDT_MAX_DIMS];   // 0 = 1; or KPDT_ZERO
    // kpdt_trainer_learn only:
    kpdt_teacher teacher;               // whence t comes
} kpdt_loss_desc;

// Value and gradient of a loss on pairs: s, t, ds [n]. query [n] are ids, equal ones adjacent: each run of equal ids is a
// query; NULL = all pairs are one query's. n is at least 1. Cost: O(n), O(n^2) where said above.
KPDDEF kpd_status kpdt_loss_pairs(const kpdt_loss_desc *d, const float *s, const float *t, const int32_t *query, size_t n,
                                  float *loss, float *ds, kpd_error *e);

// Bits of a mask's element ij: 0 = the scores of row i and column j count for each other.
#define KPDT_MASK        1              // left out (a known false negative, or what a guide likes better than the positive)
#define KPDT_MASK_ROW    2              // left out of row i's candidates only
#define KPDT_MASK_COLUMN 4              // left out of column j's only, which MNR_SYMMETRIC has

// Value and gradient of a loss on a matrix: s, ds [B, C] row-major. mask [B, C] or NULL; a positive must not be masked.
// log_q [C] or NULL: log of the frequency with which a candidate is drawn into batches, which in-batch sampling
// over-punishes [Yi 2019]. Cost: O(B C), an exponential an entry, three for the symmetric one.
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
    kpd_simd simd;                      // of a matrix, as in kpdt_trainer_desc; the bits do not depend on it
    kpd_parallel parallel;              // likewise
} kpdt_similarity_desc;

// A matrix of cosines or dots is computed in float, by chains of 512 products and sums of these. Lengths, and all else, are in
// double, also where a vector's length is not within 1e-15 to 1e15. Cost: na nb dim multiply-adds (na dim for rows): of
// a matrix at what a processor can, else just under a nanosecond each; ANGLE's five times that.
KPDDEF kpd_status kpdt_similarity_forward(const kpdt_similarity_desc *d, const float *a, size_t na, const float *b, size_t nb,
                                          float *s, kpd_error *e);
// Adds to da and db, which may be NULL when not wanted. cosine: da_i += sum_j ds_ij (b_j/|b_j| - s_ij a_i/|a_i|) / |a_i|.
// Cost: of a matrix twice the forward's, else about four times, since scores are computed again.
KPDDEF kpd_status kpdt_similarity_backward(const kpdt_similarity_desc *d, const float *a, size_t na, const float *b, size_t nb,
                                           const float *ds, float *da, float *db, kpd_error *e);

// Similarity and loss in one, on vectors, at each Matryoshka width w: sum_w weight_w L(similarity of the first w dims). The
// cosine normalises what is left of a truncated vector [MRL]; under dot nothing does.
typedef struct kpdt_vectors {
    const float *a, *b;                 // [na, dim], [nb, dim]; na <= nb for MNR, na = nb for losses on pairs without of_a
    size_t na, nb;
    int32_t dim;
    const int32_t *of_a, *of_b; size_t n_pairs;  // losses on pairs: pair i is a's row of_a[i] and b's row of_b[i]; NULL and 0 =
                                        // row i of both
    const float *t; const int32_t *query;        // [na], or [n_pairs], as kpdt_loss_pairs
    const uint8_t *mask; const float *log_q;     // as kpdt_loss_matrix
    float *work;                        // [2 na] or [2 n_pairs] for losses on pairs, [2 na nb] on a matrix; overwritten
    float *da, *db;                     // added to
    kpd_simd simd; kpd_parallel parallel;        // as kpdt_similarity_desc; a loss on a matrix goes in tasks too
} kpdt_vectors;
// On failure *loss is untouched; da and db may hold the widths that came before the failing one. ARGUMENT too where of_a or
// of_b has a number that is no row's, `where` = the pair.
KPDDEF kpd_status kpdt_loss_vectors(const kpdt_loss_desc *d, const kpdt_vectors *v, float *loss, kpd_error *e);

// DATA  A table of rows: UTF-8 text, a row a line (LF or CRLF), a TAB between columns, no header, no quoting. ----------
// A byte order mark at its beginning is no part of it.
// Mapped, so it may be larger than memory: what is kept is an offset for every 16 rows, and two for each run of bad ones. Const
// once open: any thread.

#define KPDT_MAX_COLUMNS 32

// What a column holds; each role but SKIP and NEGATIVE at most once. QUERY says of which query a row is, by the same bytes in
// rows that follow each other; LABEL is a number from 0 to 1, SCORE a teacher's, any finite number. NEGATIVE is a keyphrase
// that is wrong for the row's item; an empty one is none, so rows may have more and fewer of them.
#define KPDT_COLUMN_LIST(X)                                                                                            \
    X(COL_END, "end") /* no more columns */ X(COL_SKIP, "-") X(COL_KEYPHRASE, "keyphrase") X(COL_TITLE, "title")       \
    X(COL_CATEGORY, "category") X(COL_QUERY, "query") X(COL_LABEL, "label") X(COL_SCORE, "score")                      \
    X(COL_NEGATIVE, "negative")
typedef enum kpdt_column { KPDT_COLUMN_LIST(KPDT__ENUM) KPDT_COLUMN_COUNT } kpdt_column;
KPDDEF const char *kpdt_column_name(kpdt_column column);
KPDDEF bool        kpdt_column_from_name(const char *name, kpdt_column *out);

typedef struct kpdt_dataset_desc {
    uint32_t abi;                       // abi and reserved as in kpd.h's descs
    const char *path;                   // mapped, and must not be changed while open
    const char *data; size_t size;      // or these bytes: borrowed, must outlive; path is then their name in messages, or NULL
    kpdt_column columns[KPDT_MAX_COLUMNS];
    bool skip_bad_rows;                 // leaves them out and counts them; else the first one is an error
    kpd_allocator allocator;
    int32_t reserved[4];
} kpdt_dataset_desc;

typedef struct kpdt_row {               // {NULL, 0} and NaN where there is no such column
    kpd_text keyphrase, title, category, query;
    float label, score;
    int32_t n_negatives;
    kpd_text negative[KPDT_MAX_COLUMNS];    // those that are not empty, in the order of their columns; the rest is not set
} kpdt_row;

typedef struct kpdt_dataset kpdt_dataset;

// Reads all of it once, checking each row. Errors: IO, MEMORY; ARGUMENT for columns that cannot be meant; FORMAT, `where` = the
// line from 1: not that many columns, not a number, a number out of range. About .5 s a GB.
KPDDEF kpd_status kpdt_dataset_open(const kpdt_dataset_desc *d, kpdt_dataset **out, kpd_error *e);
KPDDEF void       kpdt_dataset_destroy(kpdt_dataset *x);
KPDDEF int64_t    kpdt_dataset_rows(const kpdt_dataset *x);              // good ones
KPDDEF int64_t    kpdt_dataset_bad_rows(const kpdt_dataset *x);          // left out
// Row i from 0; its texts live as long as x. ARGUMENT past the end; FORMAT where the file has been changed. Reads at most 16
// lines.
KPDDEF kpd_status kpdt_dataset_get(const kpdt_dataset *x, int64_t i, kpdt_row *out, kpd_error *e);

// MINING  Hard negatives: keyphrases that a student finds for an item, and that are not the item's. -------------------

// Candidates of an item by other means than an index, as BM25: at most `most` hits, the best first, and how many; negative = it
// failed.
typedef int32_t kpdt_candidates_t(void *user, const kpd_row *item, kpd_hit *out, int32_t most);

typedef struct kpdt_mining_desc {
    uint32_t abi;
    const kpd_model *student;           // required; beside `candidates` only its tokens count
    const kpd_index *index;             // of keyphrases: cosine or dot, as kpd_recommend wants it. Required, or
    kpdt_candidates_t *candidates; void *candidates_user;   // this in its place, and lookup; there are no margins then
    kpd_lookup_t *lookup; void *lookup_user;    // the keyphrase of an id; NULL = the texts that the index keeps
    const kpd_model *assistant;         // NULL = nobody is asked whether a candidate is one; one label
    float threshold;                    // of its probability: from there on a candidate is relevant, and no negative; 0 = .5
    int32_t n;                          // negatives of a row, 0 = 4
    int32_t first_rank, last_rank;      // candidates are these of what is found for the item, from 1; 0 = 1 and 100
    float max_score, min_score;         // of a candidate; 0 = any; or KPDT_ZERO
    float margin;                       // a candidate's score is at most the row's keyphrase's less this; 0 = any; or KPDT_ZERO
    float relative_margin;              // or less this share of its absolute value [NV-Retriever]; likewise
    bool sample;                        // n of the candidates at random, not the n that rank highest
    uint64_t seed;                      // of that
    float recall, gamma;                // of a tree, as kpd_search_desc
    kpd_allocator allocator;            // for the time of a call
    int32_t reserved[4];
} kpdt_mining_desc;

typedef struct kpdt_mining_row {
    kpd_row row;                        // an item (title, category) and a keyphrase of its own
    const kpd_text *known; size_t n_known;      // its other keyphrases: none is a negative, nor a text of the same tokens
    int64_t number;                     // of the row: on this a sample's draw depends, not on the call in which it comes
} kpdt_mining_row;

typedef struct kpdt_mined {
    int64_t id;
    float score, relevance;             // the index's or the host's; the assistant's probability, NaN where it was not asked
} kpdt_mined;

typedef struct kpdt_mining_counts {     // added to: of all rows
    int64_t rows, short_rows, empty_rows;       // with fewer than n negatives, with none of them
    int64_t negatives;
    int64_t candidates;                 // of those ranks; of which these were dropped, each for the first reason that holds:
    int64_t textless, own, same;        // no text; a keyphrase of the item; the tokens of a candidate that ranks higher
    int64_t over_max, under_min, over_margin;
    int64_t asked, relevant;            // by the assistant
} kpdt_mining_counts;

typedef struct kpdt_mined_rows {        // of n rows, the caller's arrays
    kpdt_mined *negatives; int32_t *n_negatives;    // [n, desc.n] by rank, or of a sample in the order of the draw; [n]
    kpdt_mined *relevant; int32_t *n_relevant;      // [n, last_rank - first_rank + 1] whom the assistant took for relevant, and
} kpdt_mined_rows;                                  // [n]; or both NULL

// The negatives of n rows. The assistant is asked about no more candidates than it takes to find desc.n. total may be NULL.
// Rows of one item that follow each other are searched for once. The session has room for last_rank hits, and for both models;
// with `candidates` for the assistant alone, and is not used where there is none. Errors: ARGUMENT (ranks, bounds, an index of
// another student), UNSUPPORTED (l2), INPUT (a text that a template cannot take), LIMIT, MEMORY, CANCELLED; `where` = the row
// where one is to blame; the outputs are then undefined, total is as it was. Cost: an embedding of the item and one of the
// keyphrase, a search (or `candidates` in place of these), last_rank texts tokenized, and n or more pairs scored.
KPDDEF kpd_status kpdt_mine(kpd_session *s, const kpdt_mining_desc *d, const kpdt_mining_row *rows, size_t n,
                            const kpdt_mined_rows *out, kpdt_mining_counts *total, kpd_error *e);

// TRAINER  An encoder being trained on data sets, or on what the host brings. -----------------------------------------
//
//     until report.done: kpdt_trainer_step          a whole step on the data sets of the desc, which is
//         kpdt_trainer_draw                         a batch of one data set (the host may change it, or make its own)
//         kpdt_trainer_learn                        forward, loss and backward of a batch: adds to the gradient
//         kpdt_trainer_apply                        AdamW
//
// draw and learn are repeated `accumulate` times before apply, and kpdt_trainer_look comes behind it where dev is wanted. With
// a loss of its own a host takes learn apart: forward (items), forward (keyphrases), the loss, which gives dout of each,
// backward, backward; where a tape does not hold all texts, forward in pieces, the loss, kpdt_trainer_rewind, and piece by
// piece forward and backward (GradCache). The bits do not depend on SIMD level, number of tasks or memory. One caller at a
// time.
//
// Hosts that share out a batch sum kpdt_trainer_gradient before apply, and divide by their number. Each has the same desc but
// for its seed and its data: with `steps` set, since the rows of each would give its own number, and the same weights_seed.
// Each saves and resumes a checkpoint of its own, which has its place in its data; the weights of all are the same.

#define KPDT_MAX_LOSSES 4

// Of the rows of a data set. RANDOM is another order each epoch, by the seed; IN_ORDER as in the file.
#define KPDT_BATCHING_LIST(X)                                                                                          \
    X(RANDOM, "random") X(NO_DUPLICATES, "no-duplicates") X(BY_QUERY, "by-query") X(IN_ORDER, "in-order")
typedef enum kpdt_batching { KPDT_BATCHING_LIST(KPDT__ENUM) KPDT_BATCHING_COUNT } kpdt_batching;
KPDDEF const char *kpdt_batching_name(kpdt_batching batching);
KPDDEF bool        kpdt_batching_from_name(const char *name, kpdt_batching *out);

// NO_DUPLICATES. As RANDOM, and to MNR no text counts twice in a batch. Texts are the same where the model reads the same
// tokens. A keyphrase that stands in a batch several times is one candidate, its first, and none to the items with which a
// row of the batch pairs it, whose false negative it would be; items likewise under MNR_SYMMETRIC. So batches are full, and
// no row waits for a batch without its like. The texts are tokenized once more to be compared, and a batch that has the same
// one twice gets a mask, batch^2 bytes.
//
// BY_QUERY. A batch is filled with whole queries until the next one does not fit; one of more rows than a batch goes in pieces.
// To MNR a text counts once, as under NO_DUPLICATES and at its cost: for it a query may be a cluster of like items, each the
// others' hard negative [Dahiya 2023].
// Where a loss compares the rows of a query, each further piece begins with the query's first row, its positive, once more. An
// epoch is as many batches as that takes. 8 bytes a row; all rows are read when the trainer is created, and the batches of its
// epochs counted, at some 50 ns a query and epoch.
//
// A data set with NEGATIVE columns gives each row's item, beside the row's keyphrase, its negatives. To MNR they are further
// columns of the matrix: every item of the batch is scored against all keyphrases and all negatives (ST's
// MultipleNegativesRankingLoss of (anchor, positive, negative, ...)); NO_DUPLICATES and BY_QUERY count texts among all of
// these. To MARGIN_MSE, KL, RANKNET and PEARSON `per_query` a row is a query by itself, its keyphrase pair 0 and its negatives
// the others, whatever the batching and the QUERY column: their t is 0 by label (and the keyphrase's 1 where there is no LABEL
// column), by assistant what it says of them, and by score there is none. Other losses have no use for negatives, and refuse
// such a set.

// With `refresh` the model that is being trained finds the negatives itself [Xiong 2021]: from its weights before the first
// step, and again every so many steps, a flat index is made of all keyphrases, and each row gets what kpdt_mine finds there for
// its item, the item's other rows being its `known`. A label below .5 makes no keyphrase the item's own.
typedef struct kpdt_refresh {
    const kpdt_dataset *keyphrases;     // among which it looks: those of the column, each text once; must outlive the trainer.
                                        // NULL = those of the source
    int64_t steps;                      // from one mining to the next; 0 = before the first step only
    int32_t dim;                        // columns of the vectors that count, 0 = all but what truncate_dim cuts
    kpdt_mining_desc mining;            // student, index, candidates, lookup, recall, gamma and allocator must be 0: they are
                                        // the trainer's, and the search exact. n is at most KPDT_MAX_COLUMNS; the assistant
                                        // must outlive the trainer; a sample is another one at each mining
} kpdt_refresh;

typedef struct kpdt_source {            // a data set, and what is to be learned from it
    const kpdt_dataset *data;           // must outlive the trainer; may be shared
    kpdt_loss_desc losses[KPDT_MAX_LOSSES];   // summed; ended by LOSS_NONE. To MNR each row is a positive pair. MLM and MLM_KL
                                        // stand alone
    float share;                        // of the batches, beside that of the others; 0 for all = in proportion to rows
    kpdt_batching batching;
    bool log_q;                         // MNR lowers a candidate's scores by log q [Yi 2019], q = the share that its text (by
                                        // bytes) has of the set's keyphrase and NEGATIVE cells: 4 bytes a cell
    const kpdt_refresh *refresh;        // copied; NULL = negatives are those of the data set, if it has any. Of a bi-encoder;
                                        // not beside NEGATIVE columns or log_q
} kpdt_source;

// After learning: cosine or logit of the dev pairs against their labels, yes at .5 and over. MLM_LOSS is minus the loss of its
// texts, whose masks are always the same. Higher is better. A figure may be NaN, as a correlation with scores that are all
// equal is: that is never the best, and until there is a best, no look counts against `patience`.
#define KPDT_DEV_METRIC_LIST(X)                                                                                        \
    X(DEV_AUC, "auc") X(DEV_AP, "ap") X(DEV_F1, "f1") X(DEV_PEARSON, "pearson") X(DEV_SPEARMAN, "spearman")            \
    X(DEV_MLM_LOSS, "mlm")
typedef enum kpdt_dev_metric { KPDT_DEV_METRIC_LIST(KPDT__ENUM) KPDT_DEV_METRIC_COUNT } kpdt_dev_metric;
KPDDEF const char *kpdt_dev_metric_name(kpdt_dev_metric metric);
KPDDEF bool        kpdt_dev_metric_from_name(const char *name, kpdt_dev_metric *out);

// A model to begin with, of shape d: matrices and tables are N(0, .02) as in [BERT], biases 0, norms' weights 1; then every
// tensor of `from` (NULL = none) that has a namesake of the same rows and cols here is copied over it, and over that of the
// keyphrase tower where only d has separate ones. So it makes a random start, and a cross-encoder that begins with a
// bi-encoder's encoder, its pooler and classifier being random. layers [d->n_layers] are those of `from`, from 0, with which
// each begins, so that a small model can be made of a large one [Sanh 2019]; NULL = each with its own. An element depends on
// (seed, number of its tensor, its place) only: the same bits everywhere. Close it with kpd_model_destroy. Errors as
// kpd_model_create; ARGUMENT too for a layer that `from` has not (`where` = its place), INPUT where a weight of `from` is not
// finite. Cost: about 80 ns a weight, and for the time of the call a copy of the largest tensor.
KPDDEF kpd_status kpdt_model_start(const kpd_model_desc *d, const kpd_model *from, const int32_t *layers, uint64_t seed,
                                   kpd_model **out, kpd_error *e);

typedef struct kpdt_trainer_desc {
    uint32_t abi;
    const kpd_model *start;             // required; copied. Either kind, f32; separate towers are trained separately
    const kpdt_source *sources; int32_t n_sources;   // none: the host brings its batches
    const kpd_model *assistant;         // whose probability is t where a loss has teacher KPDT_BY_ASSISTANT; must outlive
    const kpd_model *mlm_teacher;       // what MLM_KL follows; copied. With an mlm_head, the start's vocabulary, and positions
                                        // and token types for its texts
    int32_t batch;                      // rows, 0 = 32
    int32_t accumulate;                 // batches a step, whose mean gradient counts; 0 = 1
    int32_t epochs;                     // 0 = 1: as many batches as it takes to see each row once
    int64_t steps;                      // 0 = `epochs`; required without sources: the schedule's length
    const kpdt_dataset *dev;            // NULL = none; must outlive
    kpdt_dev_metric dev_metric;
    int32_t dev_dim;                    // columns of a vector that count, 0 = all
    int64_t dev_steps;                  // it is looked at after so many steps, and after the last; 0 = after the last only
    int32_t patience;                   // training ends when so many looks in a row were not the best; 0 = it does not
    int32_t max_tokens;                 // of what is kept for backward, both towers' together: memory, not results; 0 = 4096;
                                        // never less than one text may have
    int32_t max_texts;                  // of one forward, 0 = 256, or `batch` where that is more
    int32_t negatives;                  // a row's share of a batch's at most, of hosts that bring their own; 0 = as many as a
                                        // source has columns of them, or mines
    int32_t frozen_layers;              // the embeddings and the first so many layers stay as they are; 0 = nothing does
    float rate;                         // of learning, at the end of the warm-up; 0 = 2e-5; or KPDT_ZERO
    float warmup;                       // share of the steps, rounded up, where the rate climbs from 0; 0 = none, below 1
    float weight_decay;                 // of matrices and tables, not of biases and norms; 0 = none
    float beta1, beta2, epsilon;        // of AdamW [Loshchilov 2019]; 0 = .9, .999, 1e-8; the betas or KPDT_ZERO
    float clip;                         // the gradient is scaled down to this length; 0 = 1, negative = never
    float dropout;                      // of embeddings, attention, outputs and a cross-encoder's head; 0 = none, less than 1
    float layer_decay;                  // each layer has this times the rate of the one above; 0 = 1; or KPDT_ZERO
    bool cosine_decay;                  // the rate falls to 0 as half a cosine, not in a line
    uint64_t seed;                      // of dropout and the order of rows; hosts that share out a batch give each its own
    uint64_t weights_seed;              // of what begins at random, heads of mlm and softmax; to these hosts the same
    bool mlm;                           // a bi-encoder gets the head of kpdt_trainer_mlm, as where a source's loss is MLM or
                                        // MLM_KL
    kpd_simd simd;                      // forces a level; ARGUMENT if this machine lacks it
    kpd_progress progress;              // of a learn, in texts forward and back; of a look, in texts; of a mining, in
                                        // keyphrases and rows
    kpd_parallel parallel;
    kpd_allocator allocator;
    int32_t reserved[4];
} kpdt_trainer_desc;

typedef struct kpdt_report {
    int64_t step, steps;                // done; in all
    int32_t source;                     // of the step's last batch; -1 = the host's
    float loss;                         // mean over the step's batches, before the update
    float rate, grad_norm;              // the latter before clipping
    int64_t texts, tokens;              // of the step
    int64_t rows_seen;                  // of the sources, since the start; how often one was drawn again (in a later epoch, or
    int64_t rows_repeated, rows_left;   // as the head of a query's piece); how many never were
    float dev, best_dev;                // NaN unless dev was looked at; the best so far, NaN before the first look
    bool done;                          // all steps, or out of patience
    kpdt_mining_counts mined;           // before the step, of all sources that had new ones; rows is 0 where none had
} kpdt_report;

typedef struct kpdt_trainer kpdt_trainer;

// Allocates everything that training needs, of floats: 6 for each weight of a matrix and 4 for all others (1 more with dev: the
// best are kept); for each of max_tokens L (8 H + F) + 2 H of what backward reads and 9 H + 2 F for gradients, with mlm 4 H
// more and 168 V; with mlm_teacher twice its weights, its passes as above and 168 V; with N negatives a row at most, 4 batch (D
// + batch) (1 + N). With BY_QUERY 8 bytes a row, with NO_DUPLICATES batch^2 (1 + N) bytes, with refresh 4 N bytes a row.
// all-MiniLM-L6-v2 takes 1 GB, with max_tokens 1024 .6 GB. Errors: ARGUMENT names the field; NOT_FOUND (mlm, and the vocabulary
// has no mask token); UNSUPPORTED, LIMIT, MEMORY; FORMAT (a file was changed).
KPDDEF kpd_status kpdt_trainer_create(const kpdt_trainer_desc *d, kpdt_trainer **out, kpd_error *e);
KPDDEF void       kpdt_trainer_destroy(kpdt_trainer *t);

// One step on the sources. Errors: as draw, learn and apply; after one the step is not done, and its gradient is zero. ARGUMENT
// when all steps are done, or where the model's outputs are not finite: it has diverged. Errors of a look at dev, which comes
// after the step, leave it done.
KPDDEF kpd_status kpdt_trainer_step(kpdt_trainer *t, kpdt_report *r, kpd_error *e);

typedef struct kpdt_batch {             // pointers of a drawn one live until the next draw, apply or cancel
    int32_t source;                     // whence it comes; -1 = the host made it
    int32_t n;                          // rows, at most desc.batch
    int32_t n_negatives;                // of all rows, at most n desc.negatives
    const kpd_input *in[2];             // [n] of each tower, of KEYPHRASE [n + n_negatives]: the rows' keyphrases, then the
                                        // negatives. A cross-encoder's pairs are in[KPD_ITEM], likewise. MLM and MLM_KL
                                        // take one
    const int32_t *negative_of;         // [n_negatives] whose they are: numbers of rows, ascending
    const float *label, *score;         // [n]; NULL where no loss asks
    const int32_t *query;               // [n] as kpdt_loss_pairs, NULL = one
    const int64_t *row;                 // [n] of the source, NULL = not known
    const uint8_t *mask;                // [n, n + n_negatives] as kpdt_loss_matrix, of just these texts; NULL = none
    const float *log_q;                 // [n + n_negatives] likewise
    kpdt_loss_desc losses[KPDT_MAX_LOSSES];   // as kpdt_source has them
} kpdt_batch;

// The next batch of the sources, valid until the next draw. One data set's rows; which one is drawn without replacement, so
// that in an epoch each has its share exactly. Negatives of a source with `refresh` are mined here, in the first draw of a step
// that is to have new ones. Errors: INPUT (a row that its losses cannot take, `where` = it; the message begins with its file
// and line), FORMAT (a file was changed); of a mining those of kpdt_mine, kpd_embed and kpd_index_upsert too, `where` = the
// row, of the source or of refresh.keyphrases, as the message says, and ARGUMENT where the model has diverged. Cost of a
// mining: an embedding of each keyphrase, item and row's keyphrase, a search for each item, and what the assistant is asked; it
// allocates a model, an index and a session, which it gives back, and some 30 bytes a row.
KPDDEF kpd_status kpdt_trainer_draw(kpdt_trainer *t, kpdt_batch *out, kpd_error *e);

// Mines what is to have new negatives before the next step, as the first draw of the step does, which then need not: for a host
// that wants to show it, or to stop it. out, which may be NULL, counts it; its rows are 0 where nothing was to be done. Errors
// as draw's of a mining, after which it can be tried again.
KPDDEF kpd_status kpdt_trainer_refresh(kpdt_trainer *t, kpdt_mining_counts *out, kpd_error *e);

// Forward, losses and backward of a batch: adds the gradient of the sum of its losses, divided by `accumulate`. A batch larger
// than max_tokens, over both towers, or than max_texts goes in pieces, each twice forward (GradCache), with the same bits; only
// MLM and MLM_KL want it whole. What the assistant says of a row is kept for the epochs to come, as long as the batch has the
// texts of that row: of others, which the host has put there, it is asked anew. Errors: ARGUMENT; INPUT (`where` = the row of
// the batch; where its label or score is to blame and b->row says whence it comes, the message begins with file and line);
// LIMIT; UNSUPPORTED (a cross-encoder of several logits, since losses read one); CANCELLED. After one that came while it went
// back the gradient has some of the batch's, or all of it: kpdt_trainer_cancel ends the step, as kpdt_trainer_step does by
// itself.
KPDDEF kpd_status kpdt_trainer_learn(kpdt_trainer *t, const kpdt_batch *b, float *loss, kpd_error *e);

// Vectors or logits of n texts, through the model's template as in kpd_embed and kpd_score, with whose bits they agree where
// dropout is off. out [n, D], before the cut of a model with a truncate_dim, or [n, labels] of a cross-encoder, whose tower is
// ITEM. What backward needs is kept, for each tower the last pass only. Texts are numbered for dropout by tower and order
// since the last apply, so that masks do not depend on the pieces in which a batch comes. Errors, after which the tower has no
// pass kept: ARGUMENT (no text), INPUT (one that the template cannot take, `where` = its number), LIMIT (more than max_texts,
// or than max_tokens with what the other tower keeps); out is untouched.
KPDDEF kpd_status kpdt_trainer_forward(kpdt_trainer *t, kpd_tower tower, const kpd_input *in, size_t n, float *out,
                                       kpd_error *e);

// Adds to the gradient, given that of the loss with respect to the tower's last out: dout, of its shape. Once per forward.
// Errors: ARGUMENT where there is no pass to go back through (none, gone back already, apply since), INPUT where a value is not
// finite (`where` = its place); then nothing has changed. Cost: about twice the forward's.
KPDDEF kpd_status kpdt_trainer_backward(kpdt_trainer *t, kpd_tower tower, const float *dout, kpd_error *e);

// The last n texts of a tower come once more: the next forward gives its first text the number that the first of them had, and
// so the same masks. For GradCache: all pieces forward, the loss of all their vectors, a rewind of them all, then each piece
// forward, which gives what it gave before, and backward. ARGUMENT where n is more than has come since the last apply.
KPDDEF kpd_status kpdt_trainer_rewind(kpdt_trainer *t, kpd_tower tower, size_t n, kpd_error *e);

// Masked-language modelling [BERT], forward and backward in one: tokens of the n texts are chosen with probability .15 (never
// special ones); of the chosen 80 % become [MASK], 10 % a random token of the vocabulary, 10 % stay; the encoder runs, with
// dropout as in kpdt_trainer_forward, and the head over each chosen token's vector x gives the logits
//     E LN(f(W x + b)) + c, f the model's activation, E the word embeddings themselves (tied) [V, H]
// *loss = mean over the chosen tokens of -log softmax(logits)[the token that was there], and its gradient is added, E's twice:
// as the head's matrix and as a table. None chosen: 0, and no gradient. W, b, c and the norm are parameters like the others:
// those of the start where it has an mlm_head, else begun by desc.weights_seed; what kpdt_trainer_model gives has them. The
// choice depends on (seed, step, number of the text, position) only; texts are numbered as in kpdt_trainer_forward. Frozen
// embeddings stay so here too. Errors as kpdt_trainer_forward; ARGUMENT too without desc.mlm, and for the second of separate
// towers. The tower has no pass kept afterwards. Cost: three passes' worth of the encoder, and 6 V H flops a chosen token.
KPDDEF kpd_status kpdt_trainer_mlm(kpdt_trainer *t, kpd_tower tower, const kpd_input *in, size_t n, float *loss, kpd_error *e);

// The gradient of all parameters, [n], n a multiple of 16: for an all-reduce. The order depends on the model's shape and the
// heads (mlm, softmax) alone; padding is zero and must stay so. Valid until destroy.
KPDDEF float *kpdt_trainer_gradient(kpdt_trainer *t, size_t *n);

// One step of AdamW, then a zero gradient. r may be NULL; of it step, steps, rate, grad_norm, mined and done are set. ARGUMENT
// where the gradient is not finite (nothing but the gradient has changed, and that is zero), or where all steps are done.
KPDDEF kpd_status kpdt_trainer_apply(kpdt_trainer *t, kpdt_report *r, kpd_error *e);

// Looks at dev as kpdt_trainer_step does every dev_steps steps and at the end: measures it, keeps the weights if they are the
// best so far, and counts looks in a row that were not. For hosts that draw, learn and apply by hand. r, which may be NULL, is
// as kpdt_trainer_report has it, with dev too: done says also that patience is at its end. Errors: ARGUMENT (no dev; a step is
// under way; the training has diverged), FORMAT, MEMORY; then nothing is kept or counted.
KPDDEF kpd_status kpdt_trainer_look(kpdt_trainer *t, kpdt_report *r, kpd_error *e);

// Where the trainer stands, also before the first step and after a resume: step, steps, best_dev and done are as the last step
// reported them; what belongs to a step alone is NaN, 0 or (source) -1.
KPDDEF void kpdt_trainer_report(const kpdt_trainer *t, kpdt_report *out);

// A copy of the model as it is now, or as it was at its best look at dev (ARGUMENT before the first): close it with
// kpd_model_destroy. Errors: MEMORY; INPUT where a weight is not finite any more.
KPDDEF kpd_status kpdt_trainer_model(const kpdt_trainer *t, bool best, kpd_model **out, kpd_error *e);

// Ends a step that is under way without taking it: the gradient is zero, texts are counted from 0. What was drawn stays drawn.
KPDDEF void kpdt_trainer_cancel(kpdt_trainer *t);

// A checkpoint (.kpc): weights, AdamW's state, the best weights, the place in every data set, but no gradient: ARGUMENT while a
// step is under way, that is where draw, learn, forward or mlm came after the last apply or cancel. Atomic, as kpd_model_save:
// on a full disk the previous one stays. Resume takes it into a new trainer of the same desc, models and data, which then goes
// on to the same bits as if it had never stopped. Errors: IO, MEMORY; FORMAT (also of a save, where a number is not finite),
// VERSION (`where` = byte offset); ARGUMENT names what differs from what it was made with, by content: the weights of start and
// assistant, templates and vocabulary, bytes and columns of each data set and of dev, every number of the desc (threads, SIMD
// level and memory may). A failed resume changes nothing.
KPDDEF kpd_status kpdt_trainer_save(const kpdt_trainer *t, const char *path, kpd_error *e);
KPDDEF kpd_status kpdt_trainer_resume(kpdt_trainer *t, const char *path, kpd_error *e);

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
// 16 n bytes. Errors: ARGUMENT; INPUT, `where` = the score or label to blame; MEMORY.
KPDDEF kpd_status kpdt_classify(const float *s, const uint8_t *y, size_t n, const float *threshold, const kpd_allocator *a,
                                kpdt_classification *out, kpd_error *e);

// Correlation of x and y [n]: NaN when n < 2 or one does not vary. Two passes.
KPDDEF double kpdt_pearson(const float *x, const float *y, size_t n);
// Pearson's of the ranks, ties sharing their mean rank. O(n log n) time, 32 n bytes. Errors: ARGUMENT, INPUT, MEMORY.
KPDDEF kpd_status kpdt_spearman(const float *x, const float *y, size_t n, const kpd_allocator *a, double *rho, kpd_error *e);

// One query's ranking at k. hit_i = gain_i > 0, i from 1:
//   recall sum hit / n_relevant; precision sum hit / k; mrr 1 / (first hit's i);
//   map sum hit_i precision@i / min(k, n_relevant);
//   ndcg = sum gain_i / log2(i+1), over the same sum of the ideal ranking (linear gains, as scikit-learn).
typedef struct kpdt_ranking { double recall, precision, mrr, ndcg, map; } kpdt_ranking;
// gain [n] of what was retrieved, in rank order; n < k is as if zeros followed. n_relevant: relevant ones in all the corpus.
// ideal [min(k, n_relevant)]: their gains, descending; NULL = all 1. k < 1 or n_relevant < 1 gives NaN throughout: such a
// query belongs in no mean.
KPDDEF void kpdt_rank(const float *gain, int32_t n, int32_t k, const float *ideal, int32_t n_relevant, kpdt_ranking *out);

// In-query AUC, also called group AUC or GAUC [Zhu 2017, Zhou 2018]: how well the scores order the pairs of one query, whatever
// they say between queries:
//   sum_q n_q AUC_q / sum_q n_q, over the queries that have both labels, n_q = pairs of query q.
// s, y [n] as in kpdt_classify, query [n] in 0 .. n_queries - 1; NaN where no query has both. each [2, n_queries], unless NULL,
// becomes n_q AUC_q and n_q, both 0 where a query has one label or no pair: the a and a_weight with which kpdt_bootstrap draws
// queries. O(n log n) time, 32 n + 8 n_queries bytes. Errors: ARGUMENT, INPUT, MEMORY.
KPDDEF kpd_status kpdt_auc_by_query(const float *s, const uint8_t *y, const uint32_t *query, size_t n, size_t n_queries,
                                    const kpd_allocator *a, float *each, double *auc, kpd_error *e);

// Pairs whose figures are asked for again and again, of resamples: they are sorted once, and then a look takes O(n).
typedef struct kpdt_sample kpdt_sample;
typedef struct kpdt_sample_figures {
    kpdt_classification yes;            // of labels of at least .5
    double pearson, spearman;           // of scores and labels
} kpdt_sample_figures;
// s, t [n]: scores and labels, which must live as long as the sample and not change. O(n log n) time, 57 n bytes. Errors:
// ARGUMENT, INPUT, MEMORY.
KPDDEF kpd_status kpdt_sample_create(const float *s, const float *t, size_t n, const kpd_allocator *a, kpdt_sample **out,
                                     kpd_error *e);
// The figures when pair i counts count[i] times (NULL = each once), as kpdt_classify, kpdt_pearson and kpdt_spearman have
// them of such rows. What counts 0 times does not count; nothing at all gives NaN throughout. One caller at a time.
KPDDEF void kpdt_sample_measure(kpdt_sample *p, const uint32_t *count, const float *threshold, kpdt_sample_figures *out);
KPDDEF void kpdt_sample_destroy(kpdt_sample *p);        // NULL is a no-op

// Two-level bootstrap. The statistic is sum a / sum a_weight over all runs and items: a mean when there are no weights, and
// for example the pass rate when a counts the passed and a_weight the survivors of an item. With b it is the difference
// a - b of two systems on the same items (a paired test). A resample draws runs with replacement (training seeds), and
// items with replacement: the same draw for all runs and both systems, since they saw the same items.
//
// Any other statistics are the host's function of the runs and items drawn: a median, an AUC, a difference of two. It writes
// out [n_statistics], each of which gets an interval of its own from the same draws; NaN where one is not defined. First it
// gets each run and item once, in order, for the estimates.
typedef void kpdt_statistic_t(void *user, const size_t *run, size_t runs, const size_t *item, size_t n, double *out);

typedef struct kpdt_bootstrap_desc {
    uint32_t abi;
    const float *a, *a_weight;          // [runs, n]; a_weight NULL = 1
    const float *b, *b_weight;          // [runs, n]; b NULL = the statistic of a alone
    kpdt_statistic_t *statistic; void *statistic_user;   // in place of a
    int32_t n_statistics;               // that it writes, 0 = 1
    size_t n, runs;                     // runs 0 = 1
    int32_t resamples;                  // 0 = 10000
    float level;                        // of the interval, 0 = .95
    uint64_t seed;                      // the same seed gives the same interval
    kpd_allocator allocator;
    int32_t reserved[4];
} kpdt_bootstrap_desc;
typedef struct kpdt_interval {
    double estimate, low, high;         // percentile interval
    double p;                           // two-sided, of the statistic being 0: 2 (1 + resamples on the rarer side of 0) /
                                        // (1 + resamples), at most 1
    double undefined;                   // share of the resamples that were NaN, and do not count; all: so are low, high and p
} kpdt_interval;
// out [n_statistics], or one of a and b. A resample whose weights sum to 0 counts as 0. O(resamples runs n) time or what the
// statistic takes, (16 + 8 n_statistics) resamples + 8 (runs + n) bytes. Errors: ARGUMENT; INPUT, `where` = the place in
// [runs, n]; MEMORY.
KPDDEF kpd_status kpdt_bootstrap(const kpdt_bootstrap_desc *d, kpdt_interval *out, kpd_error *e);

// Of n hypotheses that are tested together, the p-values which hold for all [Holm 1979]: with p sorted, rising,
// adjusted_i = max over j <= i of min(1, (n - j) p_j), j from 0. At level .05 the chance that any of those under .05 is a
// mistake is at most .05. p, adjusted [n]; NaN stays NaN and is no hypothesis. O(n^2) time.
KPDDEF void kpdt_holm(const double *p, size_t n, double *adjusted);

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

// VOCABULARY  A WordPiece vocabulary for kpd_tokenizer_create, out of texts. -----------------------------------------
// Made as Hugging Face's WordPieceTrainer makes it:
//   [PAD] [UNK] [CLS] [SEP] [MASK];
//   the alphabet: the max_alphabet most frequent characters, by code point; then those of them that stand inside a word
//   (not first), once more behind ##, by code point;
//   merges: of all pairs of neighbouring tokens in the words, the most frequent one becomes a token wherever it stands, and
//   so on until there are `size` tokens or no pair is left that occurs min_count times. Of equally frequent pairs the one
//   whose left token, and then whose right token, is earlier in the vocabulary.
// Only the merges heed `size`: an alphabet of more tokens than that is kept. A word with a character outside the alphabet is
// taken without it. Hugging Face puts the ## characters in an order that differs from run to run, and with it the ties; with
// this order given, it makes the same vocabulary. One difference is left: words of over 100 characters, of which the
// tokenizer makes [UNK] whatever the vocabulary, are left out here and count there. Special tokens written in a text are
// text, as there.

typedef bool kpdt_line_t(void *user, kpd_text *out);        // the next text, valid until the next call; false = no more

typedef struct kpdt_vocabulary_desc {
    uint32_t abi;
    int32_t size;                       // tokens, 0 = 8000
    int32_t min_count;                  // of a merge, 0 = 2
    int32_t max_alphabet;               // characters, 0 = 1000
    bool cased, keep_cjk_joined;        // as in kpd_tokenizer_desc
    int32_t strip_accents;              // 0 = unless cased, 1 = yes, -1 = no
    kpdt_line_t *next; void *next_user; // required
    kpd_allocator allocator;
    int32_t reserved[4];
} kpdt_vocabulary_desc;

// *vocab gets the text of vocab.txt, a token a line, with a zero behind it that *size does not count: size + 1 bytes which the
// caller frees with d->allocator (or free). The same texts give the same bytes. Errors: ARGUMENT; MEMORY; LIMIT (2^31
// distinct words, or bytes of them). Any thread. With S characters in the distinct words: time linear in the text, whatever
// is in it, and then O(S log S); some 40 to 60 S bytes.
KPDDEF kpd_status kpdt_vocabulary_train(const kpdt_vocabulary_desc *d, char **vocab, size_t *size, kpd_error *e);

#ifdef __cplusplus
}
#endif
#endif // KPD_TRAIN_H

// ------------------------------------------------------------------------------------------------------------------
// IMPLEMENTATION, part A: all but the kernels of a SIMD level.
#if defined(KPD_TRAIN_IMPLEMENTATION) && !defined(KPD__TRAIN_IMPLEMENTED)
#define KPD__TRAIN_IMPLEMENTED
#define KPD__TRAIN_IMPLEMENTING

#ifndef KPD__IMPLEMENTED
#error "kpd_train.h: define KPD_TRAIN_IMPLEMENTATION only in the file that also defines KPD_IMPLEMENTATION"
#endif

#ifdef KPD_CBLAS
#include <cblas.h>
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

// Random number `i` of a seed: the finaliser of SplitMix64 over a counter, so draws need no state.
static uint64_t kpdt__random(uint64_t seed, uint64_t i) {
    return kpd__mix(kpd__mix(seed) + (i + 1) * UINT64_C(0x9E3779B97F4A7C15));
}
static size_t kpdt__random_below(uint64_t seed, uint64_t i, size_t n) {
    size_t r = (size_t)((double)(kpdt__random(seed, i) >> 11) * 1.1102230246251565e-16 * (double)n);
    return r < n ? r : n - 1;
}

// w [n] = sigma times normal numbers, two at a time by the polar method [Marsaglia 1964]: each pair of elements has its own
// sequence of draws, so that how often one is rejected does not move the others.
static void kpdt__normal(uint64_t seed, float sigma, size_t n, float *w) {
    for (size_t i = 0; i < n; i += 2) {
        uint64_t key = kpdt__random(seed, i), draw = 0;
        double u, v, square, f;
        do {
            u = (double)(kpdt__random(key, draw) >> 11) * 2.2204460492503131e-16 - 1;
            v = (double)(kpdt__random(key, draw + 1) >> 11) * 2.2204460492503131e-16 - 1;
            square = u * u + v * v;
            draw += 2;
        } while (square >= 1 || square < 1e-300);
        f = (double)sigma * sqrt(-2 * kpdt__log(square) / square);
        w[i] = (float)(u * f);
        if (i + 1 < n) w[i + 1] = (float)(v * f);
    }
}

static kpd_status kpdt__check_finite(const float *x, size_t n, const char *what, kpd_error *e) {
    size_t i = kpd__not_finite(x, n);
    if (i == n) return KPD_OK;
    return kpd__fail(e, KPD_ERR_INPUT, (int64_t)i, "%s[%llu] is not finite", what, (unsigned long long)i);
}

static kpd_status kpdt__check_labels(const int32_t *label, size_t n, size_t classes, kpd_error *e) {
    for (size_t i = 0; i < n; i++)
        if (label[i] < 0 || (size_t)label[i] >= classes)
            return kpd__fail(e, KPD_ERR_INPUT, (int64_t)i, "label %llu is %d, expected 0 to %llu", (unsigned long long)i,
                             (int)label[i], (unsigned long long)classes - 1);
    return KPD_OK;
}

KPD__ENUM_NAMES(kpdt_loss, KPDT_LOSS_LIST)
KPD__ENUM_NAMES(kpdt_target, KPDT_TARGET_LIST)
KPD__ENUM_NAMES(kpdt_teacher, KPDT_TEACHER_LIST)
KPD__ENUM_NAMES(kpdt_similarity, KPDT_SIMILARITY_LIST)
KPD__ENUM_NAMES(kpdt_column, KPDT_COLUMN_LIST)
KPD__ENUM_NAMES(kpdt_batching, KPDT_BATCHING_LIST)
KPD__ENUM_NAMES(kpdt_dev_metric, KPDT_DEV_METRIC_LIST)

// >>tape  What training keeps beside a model: its parameters and their gradients, each one flat buffer, and the tape, which
// holds what a forward pass leaves for the backward one. Relies on kpd.h's model and memory. Promises that nothing is
// allocated after creation, and that one table says where each parameter lies.
//
// Letters: T tokens and B texts of a batch, H width, P = H padded to 16, F feed-forward width, L layers, y = x W^T + b with
// W [N, K]. dv is the gradient of the loss with respect to v. Sums are chains over the tokens (or texts) in batch order, and
// accumulating over several batches continues the chain; tasks share out the rows and columns of results, never a sum.

// Dropout. Whether an element stays depends on (seed, step, site, text, position, column) only: not on threads, nor on how
// a batch was cut, so that a pass repeated in smaller pieces draws the same masks. 16 random bits an element.
typedef struct kpdt__dropout {
    uint64_t key;
    uint32_t threshold;             // of 65536; 0 = off
    float scale;                    // of what stays: 65536 / (65536 - threshold)
} kpdt__dropout;

// p in [0, 1) is rounded to a multiple of 2^-16.
static kpdt__dropout kpdt__dropout_make(float p, uint64_t seed, uint64_t step) {
    kpdt__dropout d;
    d.key = kpd__mix(kpd__mix(seed + KPD__P1) + step);
    d.threshold = p > 0 ? (uint32_t)(p * 65536 + 0.5f) : 0;
    if (d.threshold > 65535) d.threshold = 65535;
    d.scale = 65536 / (float)(65536 - d.threshold);
    return d;
}

// Factors 0 or scale of n columns of one row. mask holds n rounded up to 16.
static void kpdt__mask(const kpdt__dropout *d, uint32_t site, uint64_t text, uint64_t position, size_t n, float *mask) {
    uint64_t row = kpd__mix(kpd__mix(kpd__mix(d->key + site) + text) + position);
    for (size_t i = 0; i < n; i += 4) {
        uint64_t r = kpd__mix(row + (i + 4) * KPD__P1);
        for (size_t j = 0; j < 4; j++) mask[i + j] = (uint32_t)(r >> 16 * j & 0xFFFF) < d->threshold ? 0 : d->scale;
    }
}

// Sites: three a layer, then the embeddings' and the classifier's; the last is no dropout but the choice of tokens to mask.
enum {
    KPDT__SITE_ATTENTION, KPDT__SITE_CONTEXT, KPDT__SITE_HIDDEN, KPDT__SITES,
    KPDT__SITE_EMBEDDING = 1 << 20, KPDT__SITE_HEAD, KPDT__SITE_MLM
};

// One text's attention, as both directions take it.
typedef struct kpdt__heads {
    size_t n_tokens, width, heads;
    const kpdt__dropout *dropout;   // NULL = none
    uint32_t site; uint64_t text;
    float *scratch;                 // [kpdt__attention_scratch]
} kpdt__heads;

// Keys and values transposed [n padded, depth] each, two matrices of scores [n, n padded], a mask. SIZE_MAX, which no arena
// gives, where they do not fit this machine's memory.
static size_t kpdt__attention_scratch(size_t n_tokens, size_t width, size_t heads) {
    size_t n = 0;
    return kpd__mul_ok(kpd__round_up(n_tokens, 16), 2 * (width / heads) + 2 * n_tokens + 1, &n) ? n : SIZE_MAX;
}

typedef struct kpdt__adamw {        // one step of the optimiser; see >>optimizer
    float rate, beta1, beta2, epsilon, decay;
    float correct1, correct2;       // 1 - beta^step, the root of the second
    float scale;                    // of the gradient, from clipping
} kpdt__adamw;

// Rows of x, or columns, times one panel [n_k][16]: n_k is at most KPDT__CHAIN.
typedef struct kpdt__products {
    const float *x; size_t ldx, rows;
    const float *panel; size_t n_k;
    bool add;                       // to what is there
} kpdt__products;

// What a level adds to kpd__ops. Rows unless it says otherwise; d.. = gradients.
typedef struct kpdt__ops {
    void (*embed)(const kpd__embedding *e, int32_t id, int32_t type, size_t position, float *x);
    float (*norm)(const kpd__norm *p, const float *x, size_t width, float *z, float *y);     // returns 1 / sigma
    void (*norm_backward)(const kpd__norm *p, const float *dy, const float *z, float scale, size_t width, float *dx);
    void (*norm_gradient)(const float *dy, const float *z, size_t ld, size_t rows, size_t n, float *dgamma, float *dbeta);
    void (*activate)(kpd_activation f, const float *u, size_t n, float *a);
    void (*activate_backward)(kpd_activation f, const float *u, size_t n, float *a, float *d);
    void (*add)(const float *x, const float *mask, size_t n, float *y);                      // y = x + mask y
    void (*mul)(const float *x, const float *mask, size_t n, float *y);                      // y = mask x
    void (*weight_gradient)(const float *dy, size_t ldy, const float *x, size_t ldx, size_t rows, size_t n, size_t k,
                            float *dw, float *scratch);
    void (*bias_gradient)(const float *dy, size_t ldy, size_t rows, size_t n, float *db);
    void (*attention)(const kpdt__heads *a, const float *qkv, float *out);
    void (*attention_backward)(const kpdt__heads *a, const float *qkv, const float *dout, float *dqkv);
    void (*pool_backward)(kpd_pooling kind, const float *x, size_t n_tokens, size_t width, const float *d, float *dx);
    void (*normalize_backward)(const float *x, const float *dy, size_t n, float *dx);
    void (*adamw)(const kpdt__adamw *o, size_t n, float *w, const float *g, float *m, float *v);
    float (*entropy)(float *x, size_t n, size_t label, float scale, float *margin);
    float (*divergence)(float *x, float *y, size_t n, float heat, float scale, float inverse[2]);
    void (*scores)(const kpdt__products *p, const float *scale, size_t n, float *s, size_t lds);
    void (*score_gradient)(const kpdt__products *p, bool columns, const float *scale, size_t n, const float *own, size_t ldo,
                           double *dot, float *d);
    void (*exps)(const float *s, size_t n, float scale, const float *top, bool each, float *e);   // e = exp(scale s - top)
} kpdt__ops;

#define KPDT__CHAIN 512         // products of a sum of similarities that are one chain; and vectors that are taken together
#define KPDT__GROUP 84          // rows of a weight gradient that a task takes at a time: 6 x 14 and 14 x 6 of a tile
#define KPDT__TOKENS 256        // tokens that a weight gradient packs at a time: a panel of them is 16 KB
#define KPDT__PANELS 8          // panels packed in one walk over those tokens, since rows lie pages apart; even
#define KPDT__CBLAS_FROM 262144 // multiply-adds of a group from which on a call to a BLAS is worth it
#define KPDT__PACK (KPDT__TOKENS * (KPDT__GROUP + 16 * KPDT__PANELS))

// Row-major [rows, cols] at w + offset and g + offset; offsets are multiples of 16 and the padding stays zero.
typedef struct kpdt__parameter {
    char name[64];                  // as in kpd_model_tensor
    int32_t rows, cols;
    size_t offset;
    int32_t depth;                  // 0 embeddings, 1..L layers, L + 1 what follows: for layer-wise rates and freezing
    bool decay;                     // matrices and tables; not biases and norms
} kpdt__parameter;

// y = x W^T + b and dx = dy W, each by its own panels. Query, key and value are three parts side by side.
typedef struct kpdt__linear {
    kpd__matrix y, dx;              // panels of W [parts N, K] and of W^T [K, parts N]; biases are the parameters themselves
    float *panels, *transposed;     // the same, for writing
    size_t parts, n, k;
    size_t w, b;                    // offsets; parts follow each other, padded to 16
} kpdt__linear;

typedef struct kpdt__norm { kpd__norm p; size_t gamma, beta; } kpdt__norm;
typedef struct kpdt__layer { kpdt__linear qkv, out, up, down; kpdt__norm norm1, norm2; } kpdt__layer;

typedef struct kpdt__tower {
    kpd__embedding embedding;
    size_t word, position, type;    // offsets
    kpdt__norm norm;
    kpdt__layer *layers;
} kpdt__tower;

typedef struct kpdt__module {       // behind pooling; a cross-encoder's head is a pooling of kind CLS and two Dense modules
    kpd_module_kind kind;
    kpd_activation activation;
    size_t in, out;
    kpdt__linear linear;
    kpdt__norm norm;
    bool dropout;                   // on its input
} kpdt__module;

// Of masked-language modelling: logits = E norm(f(transform(x))) + c, the decoder's W being the word embeddings.
typedef struct kpdt__mlm { kpdt__linear transform, decoder; kpdt__norm norm; } kpdt__mlm;

typedef struct kpdt__net {          // one model's parameters; tapes share it
    kpd_allocator allocator;
    void *block; size_t block_size;
    kpd_model_desc desc;            // its pointers are the model's: only the numbers count here
    kpd_pooling pooling;
    bool normalize;
    int32_t frozen;                 // parameters of a depth below this get no gradient and no update; 0 = none
    kpdt__tower tower[2];           // the same twice unless separate
    kpdt__module modules[4]; size_t n_modules;
    bool has_mlm; kpdt__mlm mlm;
    bool forward_only;              // a teacher's: no gradients, and no panels to go back through
    bool has_softmax; size_t softmax_w, softmax_b;   // offsets of [2, 3 dim] and [2]
    kpdt__linear **linears; size_t n_linears;
    kpdt__parameter *parameters; size_t n_parameters;
    size_t n_tensors;               // the first so many parameters are tensors of the model; those of heads follow
    float *w, *g; size_t n;         // the flat buffers; n is a multiple of 16
} kpdt__net;

// One walk over the parameters: counts when the net's tables are NULL, fills them when they are not.
typedef struct kpdt__plan { kpdt__net *net; kpd__arena *arena; size_t n_parameters, n_linears, n; int32_t depth; } kpdt__plan;

static size_t kpdt__plan_parameter(kpdt__plan *p, const char *prefix, const char *name, size_t rows, size_t cols, bool decay) {
    size_t offset = p->n;
    if (p->net->parameters) {
        kpdt__parameter *q = &p->net->parameters[p->n_parameters];
        memcpy(q->name, kpd__name_join(prefix, name, "").text, sizeof q->name);
        q->rows = (int32_t)rows; q->cols = (int32_t)cols;
        q->offset = offset; q->depth = p->depth; q->decay = decay;
    }
    p->n_parameters++;
    p->n += kpd__round_up(rows * cols, 16);
    return offset;
}

static const float *kpdt__at(const kpdt__plan *p, size_t offset) { return p->net->w ? p->net->w + offset : NULL; }

static void kpdt__plan_norm(kpdt__plan *p, kpdt__norm *n, const char *prefix, const char *name, size_t width, float eps) {
    n->gamma = kpdt__plan_parameter(p, prefix, kpd__name_join(name, ".weight", "").text, 1, width, false);
    n->beta = kpdt__plan_parameter(p, prefix, kpd__name_join(name, ".bias", "").text, 1, width, false);
    n->p.gamma = kpdt__at(p, n->gamma); n->p.beta = kpdt__at(p, n->beta); n->p.eps = eps;
}

// Panels of a product whose parameters have their places.
static void kpdt__plan_panels(kpdt__plan *p, kpdt__linear *l, size_t parts, size_t n, size_t k, bool bias) {
    size_t rows = parts == 1 ? n : parts * kpd__round_up(n, 16);
    l->parts = parts; l->n = n; l->k = k;
    l->panels = (float *)kpd__take(p->arena, kpd__round_up(rows, 16) * k, sizeof(float));
    l->transposed = p->net->forward_only ? NULL : (float *)kpd__take(p->arena, kpd__round_up(k, 16) * rows, sizeof(float));
    l->y.panels = l->panels; l->y.n = rows; l->y.k = k; l->y.activation = KPD_IDENTITY;
    l->y.bias = bias ? kpdt__at(p, l->b) : NULL;
    l->dx.panels = l->transposed; l->dx.n = k; l->dx.k = rows; l->dx.activation = KPD_IDENTITY; l->dx.bias = NULL;
    if (p->net->linears) p->net->linears[p->n_linears] = l;
    p->n_linears++;
}

static void kpdt__plan_linear(kpdt__plan *p, kpdt__linear *l, const char *prefix, const char *name, size_t n, size_t k,
                              bool bias) {
    l->w = kpdt__plan_parameter(p, prefix, kpd__name_join(name, ".weight", "").text, n, k, true);
    if (bias) l->b = kpdt__plan_parameter(p, prefix, kpd__name_join(name, ".bias", "").text, 1, n, false);
    kpdt__plan_panels(p, l, 1, n, k, bias);
}

static void kpdt__plan_qkv(kpdt__plan *p, kpdt__linear *l, const char *prefix, size_t width) {
    static const char *const names[6] = {"query.weight", "key.weight", "value.weight", "query.bias", "key.bias", "value.bias"};
    kpd__name self = kpd__name_join(prefix, "attention.self.", "");
    size_t at[6];
    for (int i = 0; i < 6; i++) at[i] = kpdt__plan_parameter(p, self.text, names[i], i < 3 ? width : 1, width, i < 3);
    l->w = at[0]; l->b = at[3];
    kpdt__plan_panels(p, l, 3, width, width, true);
}

static void kpdt__plan_tower(kpdt__plan *p, kpdt__tower *t, const char *prefix) {
    const kpd_model_desc *d = &p->net->desc;
    size_t h = (size_t)d->width, f = (size_t)d->ffn_width;
    kpdt__layer unused;
    char number[16];
    p->depth = 0;
    t->word = kpdt__plan_parameter(p, prefix, "embeddings.word_embeddings.weight", (size_t)d->vocab_size, h, true);
    t->position = kpdt__plan_parameter(p, prefix, "embeddings.position_embeddings.weight", (size_t)d->n_positions, h, true);
    t->type = kpdt__plan_parameter(p, prefix, "embeddings.token_type_embeddings.weight", (size_t)d->n_types, h, true);
    kpdt__plan_norm(p, &t->norm, prefix, "embeddings.LayerNorm", h, d->layer_norm_eps);
    t->embedding.word.f32 = kpdt__at(p, t->word); t->embedding.position.f32 = kpdt__at(p, t->position);
    t->embedding.type.f32 = kpdt__at(p, t->type); t->embedding.width = h; t->embedding.norm = t->norm.p;
    for (int32_t i = 0; i < d->n_layers; i++) {
        kpdt__layer *l = t->layers ? &t->layers[i] : &unused;
        kpd__name name;
        snprintf(number, sizeof number, "%d.", (int)i);
        name = kpd__name_join(prefix, "encoder.layer.", number);
        p->depth = i + 1;
        kpdt__plan_qkv(p, &l->qkv, name.text, h);
        kpdt__plan_linear(p, &l->out, name.text, "attention.output.dense", h, h, true);
        kpdt__plan_norm(p, &l->norm1, name.text, "attention.output.LayerNorm", h, d->layer_norm_eps);
        kpdt__plan_linear(p, &l->up, name.text, "intermediate.dense", f, h, true);
        kpdt__plan_linear(p, &l->down, name.text, "output.dense", h, f, true);
        kpdt__plan_norm(p, &l->norm2, name.text, "output.LayerNorm", h, d->layer_norm_eps);
    }
    p->depth = d->n_layers + 1;
}

static void kpdt__plan_dense(kpdt__plan *p, const char *prefix, const char *name, size_t in, size_t out, kpd_activation f,
                             bool bias) {
    kpdt__module *m = &p->net->modules[p->net->n_modules++];
    m->kind = KPD_MODULE_DENSE; m->activation = f; m->in = in; m->out = out;
    kpdt__plan_linear(p, &m->linear, prefix, name, out, in, bias);
}

static void kpdt__plan_modules(kpdt__plan *p) {
    const kpd_model_desc *d = &p->net->desc;
    size_t width = (size_t)d->width;
    char prefix[32];
    p->net->n_modules = 0;
    if (d->kind == KPD_CROSS_ENCODER) {
        kpdt__plan_dense(p, "", "pooler.dense", width, width, KPD_TANH, true);
        kpdt__plan_dense(p, "", "classifier", width, (size_t)d->n_labels, KPD_IDENTITY, true);
        p->net->modules[1].dropout = true;
        return;
    }
    for (int32_t i = 0; i < d->n_modules; i++) {
        const kpd_module *m = &d->modules[i];
        snprintf(prefix, sizeof prefix, "modules.%d.", (int)i);
        if (m->kind == KPD_MODULE_DENSE)
            kpdt__plan_dense(p, prefix, "linear", width, (size_t)m->width, m->activation, !m->no_bias);
        else {
            kpdt__module *to = &p->net->modules[p->net->n_modules++];
            to->kind = m->kind; to->in = to->out = width;
            kpdt__plan_norm(p, &to->norm, prefix, "norm", width, 1e-5f);
        }
        width = (size_t)m->width;
    }
}

static void kpdt__plan_mlm(kpdt__plan *p) {
    const kpd_model_desc *d = &p->net->desc;
    kpdt__mlm *m = &p->net->mlm;
    size_t h = (size_t)d->width, v = (size_t)d->vocab_size;
    kpdt__plan_linear(p, &m->transform, "mlm.", "transform", h, h, true);
    kpdt__plan_norm(p, &m->norm, "mlm.", "norm", h, d->layer_norm_eps);
    m->decoder.w = p->net->tower[0].word;
    m->decoder.b = kpdt__plan_parameter(p, "mlm.", "bias", 1, v, false);
    kpdt__plan_panels(p, &m->decoder, 1, v, h, true);
}

static size_t kpdt__net_dim(const kpdt__net *net) {
    return net->n_modules ? net->modules[net->n_modules - 1].out : (size_t)net->desc.width;
}

static void kpdt__plan_net(kpdt__plan *p) {
    kpdt__net *net = p->net;
    kpdt__plan_tower(p, &net->tower[0], "");
    if (net->desc.separate_towers) kpdt__plan_tower(p, &net->tower[1], "keyphrase.");
    else net->tower[1] = net->tower[0];
    kpdt__plan_modules(p);
    net->n_tensors = p->n_parameters;
    if (net->has_mlm) kpdt__plan_mlm(p);
    if (!net->has_softmax) return;
    net->softmax_w = kpdt__plan_parameter(p, "softmax.", "weight", 2, 3 * kpdt__net_dim(net), true);
    net->softmax_b = kpdt__plan_parameter(p, "softmax.", "bias", 1, 2, false);
}

static void kpdt__net_destroy(kpdt__net *net) {
    kpd_allocator a;
    if (!net) return;
    a = net->allocator;
    kpd__free(&a, net->block, net->block_size);
}

// The arena: tables, the two flat buffers, then panels. Counts with a->base NULL; `count` is the plan that counted.
static void kpdt__net_lay(kpdt__net *net, const kpdt__plan *count, kpd__arena *a) {
    size_t layers = (size_t)net->desc.n_layers;
    kpdt__plan p;
    net->parameters = (kpdt__parameter *)kpd__take(a, count->n_parameters, sizeof(kpdt__parameter));
    net->linears = (kpdt__linear **)kpd__take(a, count->n_linears, sizeof(kpdt__linear *));
    net->tower[0].layers = (kpdt__layer *)kpd__take(a, layers, sizeof(kpdt__layer));
    if (net->desc.separate_towers) net->tower[1].layers = (kpdt__layer *)kpd__take(a, layers, sizeof(kpdt__layer));
    net->w = (float *)kpd__take(a, count->n, sizeof(float));
    if (!net->forward_only) net->g = (float *)kpd__take(a, count->n, sizeof(float));
    memset(&p, 0, sizeof p);
    p.net = net; p.arena = a;
    kpdt__plan_net(&p);
    net->n = p.n; net->n_parameters = p.n_parameters; net->n_linears = p.n_linears;
}

// Whether a parameter is a tensor of m: of heads, mlm's where m has it.
static bool kpdt__is_tensor(const kpdt__net *net, size_t i, const kpd_model *m) {
    return i < net->n_tensors || (m->desc.mlm_head && !strncmp(net->parameters[i].name, "mlm.", 4));
}

enum { KPDT__WITH_MLM = 1, KPDT__WITH_SOFTMAX = 2, KPDT__FORWARD_ONLY = 4 };

// The parameters of a model, copied, with zero gradients; with mlm and softmax their heads' too, which are zero where the model
// has none. kpdt__net_refresh must follow. Errors: MEMORY, LIMIT.
static kpd_status kpdt__net_create(const kpd_model *m, int with, const kpd_allocator *allocator, kpdt__net **out,
                                   kpd_error *e) {
    kpdt__net plan, *net;
    kpdt__plan count;
    kpd__arena a;
    kpd_status s;
    memset(&plan, 0, sizeof plan);
    memset(&count, 0, sizeof count);
    memset(&a, 0, sizeof a);
    if (allocator) plan.allocator = *allocator;
    plan.desc = m->desc;
    plan.pooling = m->desc.kind == KPD_CROSS_ENCODER ? KPD_POOL_CLS : m->desc.pooling;
    plan.normalize = m->desc.kind == KPD_BI_ENCODER && !m->desc.no_normalize;
    plan.has_mlm = with & KPDT__WITH_MLM; plan.has_softmax = (with & KPDT__WITH_SOFTMAX) != 0;
    plan.forward_only = (with & KPDT__FORWARD_ONLY) != 0;
    count.net = &plan; count.arena = &a;
    kpdt__plan_net(&count);
    memset(&a, 0, sizeof a);
    kpd__take(&a, 1, sizeof *net);
    kpdt__net_lay(&plan, &count, &a);
    s = kpd__arena_block(&a, &plan.allocator, "training: the model", &plan.block, &plan.block_size, e);
    if (s) return s;
    net = (kpdt__net *)kpd__take(&a, 1, sizeof *net);
    *net = plan;
    kpdt__net_lay(net, &count, &a);
    for (size_t i = 0; !s && i < net->n_parameters; i++)
        if (kpdt__is_tensor(net, i, m)) s = kpd_model_get(m, net->parameters[i].name, net->w + net->parameters[i].offset, e);
    if (s) kpdt__net_destroy(net);
    else *out = net;
    return s;
}

// Random heads where m, the start, has none. Each parameter has its own sequence.
static void kpdt__heads_begin(kpdt__net *net, const kpd_model *m, uint64_t seed) {
    for (size_t i = net->n_tensors; i < net->n_parameters; i++) {
        const kpdt__parameter *p = &net->parameters[i];
        if (!p->decay || kpdt__is_tensor(net, i, m)) continue;
        kpdt__normal(kpdt__random(seed, i), 0.02f, (size_t)p->rows * (size_t)p->cols, net->w + p->offset);
    }
    for (size_t i = 0; net->has_mlm && !m->desc.mlm_head && i < (size_t)net->desc.width; i++)
        net->w[net->mlm.norm.gamma + i] = 1;
}

// Writes parameters w, laid out as the net's, into a created model of the same shape.
static kpd_status kpdt__net_export(const kpdt__net *net, const float *w, kpd_model *m, kpd_error *e) {
    for (size_t i = 0; i < net->n_parameters; i++) {
        kpd_status s = KPD_OK;
        if (kpdt__is_tensor(net, i, m)) s = kpd_model_set(m, net->parameters[i].name, w + net->parameters[i].offset, e);
        if (s) return s;
    }
    return KPD_OK;
}

// Panel `at` (16 rows of one part) of W, and the same rows of W^T's panels, where there are any.
static void kpdt__refresh_panel(const kpdt__linear *l, const float *w, size_t at) {
    size_t per_part = kpd__round_up(l->n, 16) / 16, part = at / per_part, first = at % per_part * 16, k = l->k;
    size_t rows = kpd__min(16, l->n - first);
    const float *from = w + l->w + part * kpd__round_up(l->n * k, 16) + first * k;
    float *to = l->panels + at * 16 * k, tile[16 * 16];
    for (size_t c = 0; c < k; c += 16) {
        size_t cols = kpd__min(16, k - c);
        float *back = l->transposed ? l->transposed + c * l->dx.k + at * 16 * 16 : tile;
        for (size_t r = 0; r < rows; r++) memcpy(back + r * 16, from + r * k + c, cols * sizeof *back);
        for (size_t j = 0; j < cols; j++)
            for (size_t r = 0; r < rows; r++) to[(c + j) * 16 + r] = back[r * 16 + j];
    }
}

typedef struct kpdt__refresh { const kpdt__net *net; size_t n_tasks; } kpdt__refresh;

static void kpdt__refresh_task(void *arg, int32_t task) {
    const kpdt__refresh *r = (const kpdt__refresh *)arg;
    size_t item = 0;
    for (size_t i = 0; i < r->net->n_linears; i++) {
        const kpdt__linear *l = r->net->linears[i];
        for (size_t at = 0; at < l->parts * (kpd__round_up(l->n, 16) / 16); at++)
            if (item++ % r->n_tasks == (size_t)task) kpdt__refresh_panel(l, r->net->w, at);
    }
}

// All panels from the flat parameters: after creation and after every change of them.
static void kpdt__net_refresh(const kpdt__net *net, const kpd_parallel *parallel) {
    kpdt__refresh r;
    r.net = net; r.n_tasks = (size_t)kpd__n_tasks(parallel);
    kpd__run(parallel, kpd__n_tasks(parallel), kpdt__refresh_task, &r);
}

// The tape. Kept of a token and layer: 5 H + 3 P + F + 2 floats. Attention's probabilities are not kept but computed again from
// Q and K, one head at a time: kept, they would take heads x text length floats more a token and layer (with 12 heads of 32, a
// third more at 128 tokens, double at 384), and the memory would depend on how long the texts of a batch are; again, they cost
// one of seven products of attention. The activation's output, too, is computed again, beside its derivative.
typedef struct kpdt__layer_tape {
    float *x;                       // [T, H] input; that of layer L is the encoder's output
    float *qkv;                     // [T + 1, 3 P]: kernels read 16 floats behind the last head
    float *context;                 // [T, H] attention's output
    float *z1, *r1, *y1;            // [T, H] normalised, [T] 1 / sigma, [T, H] the norm's output
    float *u;                       // [T, F] before the activation
    float *z2, *r2;                 // [T, H], [T]
} kpdt__layer_tape;

typedef struct kpdt__module_tape { float *x, *u, *z, *r; } kpdt__module_tape;   // [B, in], [B, out], [B, out], [B]

#define KPDT__MLM_ROWS 168          // rows of logits at a time, a multiple of 6 and 14, so that E and its gradient pass seldom

typedef struct kpdt__mlm_tape {     // of the n masked tokens, at most T
    size_t n;
    size_t *at; int32_t *label;     // [n] which token of the batch, and what stood there
    float *x, *u, *z, *r, *y;       // [n, H] encoder's output, before the activation, normalised; [n] 1 / sigma; norm's output
    float *logits;                  // [KPDT__MLM_ROWS, V padded] of some rows; becomes their gradient
    double *loss;                   // [n]
} kpdt__mlm_tape;

typedef struct kpdt__flow {         // gradients on their way back through one layer
    float *dy, *dx;                 // [T, H] of its output and of its input
    float *ddown, *dout;            // [T, H] of the outputs of the two products that end in a norm
    float *dy1;                     // [T, H]
    float *a, *du;                  // [T, F] the activation's output, and the gradient of its input
    float *dcontext;                // [T + 1, H]
    float *dqkv;                    // [T + 1, 3 P]; its padding stays zero
    float *dhead[2];                // [B, the widest of H and the modules]
} kpdt__flow;

typedef struct kpdt__scratch {      // of one task
    float *y;                       // [block, H]
    float *hidden;                  // [KPD__CHUNK, F]
    float *mask;                    // [the longer of H and a text, padded]
    float *attention;
    float *pack;                    // [KPDT__PACK]
} kpdt__scratch;

typedef struct kpdt__batch {        // borrowed until the backward pass is done
    const int32_t *ids, *types;     // [T]
    const size_t *first;            // [B + 1] first token of each text
    size_t n_texts;
    uint64_t first_text;            // the number of text 0 for dropout
    kpd_tower tower;
} kpdt__batch;

typedef struct kpdt__tape {
    kpdt__net *net;
    kpd_allocator allocator;
    void *block; size_t block_size;
    const kpd__ops *ops; const kpdt__ops *train;
    kpd_parallel parallel;
    int32_t n_tasks;
    size_t max_tokens, max_texts;
    float *z, *r;                   // of the embeddings' norm
    kpdt__layer_tape *layers;       // [L + 1]
    kpdt__module_tape modules[4];
    float *vector;                  // [B, D] before the final normalisation
    kpdt__mlm_tape mlm;
    kpdt__flow flow;
    kpdt__scratch *scratch;         // [n_tasks]
    size_t *blocks, n_blocks;       // [B + 1] first text of each block
    kpdt__batch batch;              // of the last forward pass
    kpdt__dropout dropout;
    const struct kpdt__tape *with;  // whose memory of tokens this is too, from its end on; NULL = its own
} kpdt__tape;

static float *kpdt__take(kpd__arena *a, size_t rows, size_t cols) {
    size_t bytes = 0;
    if (!kpd__mul_ok(cols, sizeof(float), &bytes)) a->overflow = true;
    return (float *)kpd__take(a, rows, bytes);
}

static void kpdt__layer_lay(kpdt__layer_tape *l, size_t t, size_t h, size_t f, kpd__arena *a) {
    l->qkv = kpdt__take(a, t + 1, 3 * kpd__round_up(h, 16));
    l->context = kpdt__take(a, t, h);
    l->z1 = kpdt__take(a, t, h); l->r1 = kpdt__take(a, t, 1); l->y1 = kpdt__take(a, t, h);
    l->u = kpdt__take(a, t, f);
    l->z2 = kpdt__take(a, t, h); l->r2 = kpdt__take(a, t, 1);
}

static void kpdt__flow_lay(kpdt__flow *x, size_t t, size_t h, size_t f, kpd__arena *a) {
    x->dy = kpdt__take(a, t, h); x->dx = kpdt__take(a, t, h);
    x->ddown = kpdt__take(a, t, h); x->dout = kpdt__take(a, t, h); x->dy1 = kpdt__take(a, t, h);
    x->a = kpdt__take(a, t, f); x->du = kpdt__take(a, t, f);
    x->dcontext = kpdt__take(a, t + 1, kpd__round_up(h, 16));
    x->dqkv = kpdt__take(a, t + 1, 3 * kpd__round_up(h, 16));
}

static void kpdt__scratch_lay(kpdt__scratch *s, const kpd_model_desc *d, kpd__arena *a) {
    size_t h = (size_t)d->width, longest = (size_t)d->max_tokens;
    s->y = kpdt__take(a, kpd__max(KPD__BLOCK, longest), h);
    s->hidden = kpdt__take(a, KPD__CHUNK, (size_t)d->ffn_width);
    s->mask = kpdt__take(a, kpd__round_up(kpd__max(h, longest), 16), 1);
    s->attention = kpdt__take(a, kpdt__attention_scratch(longest, h, (size_t)d->n_heads), 1);
    s->pack = kpdt__take(a, KPDT__PACK, 1);
}

static void kpdt__head_lay(kpdt__tape *t, kpd__arena *a) {
    size_t b = t->max_texts, widest = (size_t)t->net->desc.width;
    for (size_t i = 0; i < t->net->n_modules; i++) {
        const kpdt__module *m = &t->net->modules[i];
        t->modules[i].x = kpdt__take(a, b, m->in);
        t->modules[i].u = kpdt__take(a, b, m->out);
        t->modules[i].z = kpdt__take(a, b, m->out);
        t->modules[i].r = kpdt__take(a, b, 1);
        widest = kpd__max(widest, m->out);
    }
    t->vector = kpdt__take(a, b, kpdt__net_dim(t->net));
    for (int i = 0; i < 2 && !t->with; i++) t->flow.dhead[i] = kpdt__take(a, b, widest);
}

static void kpdt__mlm_lay(kpdt__mlm_tape *m, size_t t, size_t h, size_t v, kpd__arena *a) {
    m->at = (size_t *)kpd__take(a, t, sizeof(size_t));
    m->label = (int32_t *)kpd__take(a, t, sizeof(int32_t));
    m->x = kpdt__take(a, t, h); m->u = kpdt__take(a, t, h);
    m->z = kpdt__take(a, t, h); m->r = kpdt__take(a, t, 1); m->y = kpdt__take(a, t, h);
    m->logits = kpdt__take(a, kpd__min(t, KPDT__MLM_ROWS), kpd__round_up(v, 16));
    m->loss = (double *)kpd__take(a, t, sizeof(double));
}

static void kpdt__tape_lay(kpdt__tape *t, kpd__arena *a) {
    const kpd_model_desc *d = &t->net->desc;
    size_t h = (size_t)d->width, f = (size_t)d->ffn_width, n = (size_t)d->n_layers, tokens = t->max_tokens;
    kpdt__layer_tape unused;
    kpdt__scratch none;
    t->layers = (kpdt__layer_tape *)kpd__take(a, n + 1, sizeof(kpdt__layer_tape));
    t->blocks = (size_t *)kpd__take(a, t->max_texts + 1, sizeof(size_t));
    kpdt__head_lay(t, a);
    if (t->with) { t->scratch = t->with->scratch; t->flow = t->with->flow; t->mlm = t->with->mlm; return; }
    t->z = kpdt__take(a, tokens, h); t->r = kpdt__take(a, tokens, 1);
    for (size_t i = 0; i <= n; i++) {
        kpdt__layer_tape *l = t->layers ? &t->layers[i] : &unused;
        l->x = kpdt__take(a, tokens, h);
        if (i < n) kpdt__layer_lay(l, tokens, h, f, a);
    }
    t->scratch = (kpdt__scratch *)kpd__take(a, (size_t)t->n_tasks, sizeof(kpdt__scratch));
    for (int32_t i = 0; i < t->n_tasks; i++) kpdt__scratch_lay(t->scratch ? &t->scratch[i] : &none, d, a);
    kpdt__flow_lay(&t->flow, tokens, h, f, a);
    if (t->net->has_mlm) kpdt__mlm_lay(&t->mlm, tokens, h, (size_t)d->vocab_size, a);
}

static void kpdt__tape_destroy(kpdt__tape *t) {
    kpd_allocator a;
    if (!t) return;
    a = t->allocator;
    kpd__free(&a, t->block, t->block_size);
}

// Memory for batches of at most max_tokens tokens in max_texts texts. `with` (NULL = none) is a tape of the same sizes whose
// memory of tokens this one uses from the end on: both passes are kept if they have max_tokens together, which the caller sees
// to, and one tape works at a time. It and the net must outlive this one. Errors: MEMORY, LIMIT.
static kpd_status kpdt__tape_create(kpdt__net *net, size_t max_tokens, size_t max_texts, const kpd__ops *ops,
                                    const kpdt__ops *train, const kpd_parallel *parallel, const kpdt__tape *with,
                                    kpdt__tape **out, kpd_error *e) {
    kpdt__tape plan, *t;
    kpd__arena a;
    char what[64];
    kpd_status s;
    memset(&plan, 0, sizeof plan);
    memset(&a, 0, sizeof a);
    plan.net = net; plan.allocator = net->allocator; plan.ops = ops; plan.train = train; plan.parallel = *parallel;
    plan.n_tasks = kpd__n_tasks(parallel);
    plan.max_tokens = max_tokens; plan.max_texts = max_texts;
    kpd__take(&a, 1, sizeof *t);
    plan.with = with;
    if (max_tokens > SIZE_MAX / 64 || max_texts > SIZE_MAX / 64) a.overflow = true;
    else kpdt__tape_lay(&plan, &a);
    snprintf(what, sizeof what, "training: a batch of %llu tokens", (unsigned long long)max_tokens);
    s = kpd__arena_block(&a, &plan.allocator, what, &plan.block, &plan.block_size, e);
    if (s) return s;
    t = (kpdt__tape *)kpd__take(&a, 1, sizeof *t);
    *t = plan;
    kpdt__tape_lay(t, &a);
    *out = t;
    return KPD_OK;
}

// >>passes  Part B once per level, and the passes over a batch that are made of its kernels. Relies on >>tape and on kpd.h's
// encoder, with whose bits the forward pass agrees.

#ifndef KPDT_SELF
#ifdef __FILE_NAME__
#define KPDT_SELF __FILE_NAME__
#else
#define KPDT_SELF "kpd_train.h"
#endif
#endif

#define KPD__LEVEL 1
#include KPDT_SELF
#undef KPD__LEVEL

#ifdef KPD__X86
KPD__TARGET("avx2,fma")
#define KPD__LEVEL 2
#include KPDT_SELF
#undef KPD__LEVEL
KPD__TARGET_END
KPD__TARGET("avx512f,avx512bw,avx2,fma")
#define KPD__LEVEL 3
#include KPDT_SELF
#undef KPD__LEVEL
KPD__TARGET_END
#endif

#ifdef KPD__ARM
#define KPD__LEVEL 4
#include KPDT_SELF
#undef KPD__LEVEL
#endif

static const kpdt__ops *kpdt__ops_of(kpd_simd level) {
    switch (level) {
#ifdef KPD__X86
    case KPD_SIMD_AVX2: case KPD_SIMD_AVXVNNI: return &kpd__avx2_train_ops;
    case KPD_SIMD_AVX512: case KPD_SIMD_AVX512VNNI: case KPD_SIMD_AVX512BF16: case KPD_SIMD_AMX: return &kpd__avx512_train_ops;
#endif
#ifdef KPD__ARM
    case KPD_SIMD_NEON: case KPD_SIMD_NEONDOT: case KPD_SIMD_NEONI8MM: return &kpd__neon_train_ops;
#endif
    default: return &kpd__scalar_train_ops;
    }
}

// THE PASSES. Work goes to the tasks in two ways: blocks of whole texts for everything that is a row of tokens, and then, once
// per layer, groups of outputs for the sums over all tokens.

static uint32_t kpdt__site(size_t layer, int site) { return (uint32_t)(layer * KPDT__SITES + (size_t)site); }

// The mask of one token's row of n columns, or NULL without dropout.
static const float *kpdt__row_mask(const kpdt__tape *t, uint32_t site, size_t text, size_t position, size_t n, float *mask) {
    if (!t->dropout.threshold) return NULL;
    kpdt__mask(&t->dropout, site, t->batch.first_text + text, position, n, mask);
    return mask;
}

static kpdt__heads kpdt__heads_of(const kpdt__tape *t, const kpdt__scratch *s, size_t layer, size_t text) {
    kpdt__heads a;
    a.n_tokens = t->batch.first[text + 1] - t->batch.first[text];
    a.width = (size_t)t->net->desc.width; a.heads = (size_t)t->net->desc.n_heads;
    a.dropout = t->dropout.threshold ? &t->dropout : NULL;
    a.site = kpdt__site(layer, KPDT__SITE_ATTENTION); a.text = t->batch.first_text + text;
    a.scratch = s->attention;
    return a;
}

// x0 = dropout(norm(embedding)) of texts [begin, end).
static void kpdt__embed_texts(const kpdt__tape *t, const kpdt__scratch *s, size_t begin, size_t end) {
    const kpdt__tower *w = &t->net->tower[t->batch.tower];
    const kpdt__batch *b = &t->batch;
    size_t h = (size_t)t->net->desc.width;
    for (size_t i = begin; i < end; i++)
        for (size_t at = b->first[i]; at < b->first[i + 1]; at++) {
            const float *mask = kpdt__row_mask(t, KPDT__SITE_EMBEDDING, i, at - b->first[i], h, s->mask);
            float *x = t->layers[0].x + at * h;
            t->train->embed(&w->embedding, b->ids[at], b->types[at], at - b->first[i], s->y);
            t->r[at] = t->train->norm(&w->norm.p, s->y, h, t->z + at * h, x);
            if (mask) t->train->mul(x, mask, h, x);
        }
}

// out = norm(x + dropout(y)), keeping z and 1 / sigma; y, in scratch, is that of the texts [begin, end) only.
static void kpdt__join(const kpdt__tape *t, const kpdt__scratch *s, const kpdt__norm *p, uint32_t site, size_t begin,
                       size_t end, const float *x, float *z, float *r, float *out) {
    const size_t *first = t->batch.first, h = (size_t)t->net->desc.width;
    float *y = s->y;
    for (size_t i = begin; i < end; i++)
        for (size_t at = first[i]; at < first[i + 1]; at++, y += h) {
            t->train->add(x + at * h, kpdt__row_mask(t, site, i, at - first[i], h, s->mask), h, y);
            r[at] = t->train->norm(&p->p, y, h, z + at * h, out + at * h);
        }
}

// down(f(up(y1))) into scratch, a chunk of rows at a time; u is kept.
static void kpdt__feed_forward(const kpdt__tape *t, const kpdt__scratch *s, const kpdt__layer *l, const kpdt__layer_tape *k,
                               size_t start, size_t n_tokens) {
    size_t h = l->up.k, f = l->up.n;
    for (size_t at = 0; at < n_tokens; at += KPD__CHUNK) {
        size_t rows = kpd__min(KPD__CHUNK, n_tokens - at);
        float *u = k->u + (start + at) * f;
        t->ops->gemm(&l->up.y, k->y1 + (start + at) * h, h, rows, u, f);
        t->train->activate(t->net->desc.activation, u, rows * f, s->hidden);
        t->ops->gemm(&l->down.y, s->hidden, f, rows, s->y + at * h, h);
    }
}

// One layer over texts [begin, end): y1 = norm(x + drop(out(attention(qkv(x))))), next x = norm(y1 + drop(down(f(up(y1))))).
static void kpdt__layer_forward(const kpdt__tape *t, const kpdt__scratch *s, size_t layer, size_t begin, size_t end) {
    const kpdt__layer *l = &t->net->tower[t->batch.tower].layers[layer];
    const kpdt__layer_tape *k = &t->layers[layer];
    const size_t *first = t->batch.first;
    size_t start = first[begin], n = first[end] - start, h = l->qkv.k, ld = l->qkv.y.n;
    t->ops->gemm(&l->qkv.y, k->x + start * h, h, n, k->qkv + start * ld, ld);
    for (size_t i = begin; i < end; i++) {
        kpdt__heads a = kpdt__heads_of(t, s, layer, i);
        t->train->attention(&a, k->qkv + first[i] * ld, k->context + first[i] * h);
    }
    t->ops->gemm(&l->out.y, k->context + start * h, h, n, s->y, h);
    kpdt__join(t, s, &l->norm1, kpdt__site(layer, KPDT__SITE_CONTEXT), begin, end, k->x, k->z1, k->r1, k->y1);
    kpdt__feed_forward(t, s, l, k, start, n);
    kpdt__join(t, s, &l->norm2, kpdt__site(layer, KPDT__SITE_HIDDEN), begin, end, k->y1, k->z2, k->r2, t->layers[layer + 1].x);
}

static void kpdt__forward_task(void *arg, int32_t task) {
    const kpdt__tape *t = (const kpdt__tape *)arg;
    const kpdt__scratch *s = &t->scratch[task];
    for (size_t b = (size_t)task; b < t->n_blocks; b += (size_t)t->n_tasks) {
        kpdt__embed_texts(t, s, t->blocks[b], t->blocks[b + 1]);
        for (size_t l = 0; l < (size_t)t->net->desc.n_layers; l++)
            kpdt__layer_forward(t, s, l, t->blocks[b], t->blocks[b + 1]);
    }
}

// Rows of texts x through one module: dense y = f(x W^T + b), or a norm. x is the module tape's.
static void kpdt__module_forward(const kpdt__tape *t, size_t i, float *y) {
    const kpdt__module *m = &t->net->modules[i];
    const kpdt__module_tape *k = &t->modules[i];
    size_t n = t->batch.n_texts;
    for (size_t b = 0; m->dropout && b < n; b++) {
        const float *mask = kpdt__row_mask(t, KPDT__SITE_HEAD, b, 0, m->in, t->scratch->mask);
        if (mask) t->train->mul(k->x + b * m->in, mask, m->in, k->x + b * m->in);
    }
    if (m->kind == KPD_MODULE_DENSE) {
        t->ops->gemm(&m->linear.y, k->x, m->in, n, k->u, m->out);
        t->train->activate(m->activation, k->u, n * m->out, y);
    } else
        for (size_t b = 0; b < n; b++)
            k->r[b] = t->train->norm(&m->norm.p, k->x + b * m->in, m->in, k->z + b * m->in, y + b * m->in);
}

// Pooling, modules, final normalisation.
static void kpdt__output_forward(const kpdt__tape *t, float *out) {
    const kpdt__net *net = t->net;
    size_t h = (size_t)net->desc.width, n = t->batch.n_texts, dim = kpdt__net_dim(net), i;
    const float *x = t->layers[net->desc.n_layers].x;
    float *to = net->n_modules ? t->modules[0].x : t->vector;
    for (i = 0; i < n; i++)
        t->ops->pool(net->pooling, x + t->batch.first[i] * h, t->batch.first[i + 1] - t->batch.first[i], h, to + i * h);
    for (i = 0; i < net->n_modules; i++) kpdt__module_forward(t, i, i + 1 < net->n_modules ? t->modules[i + 1].x : t->vector);
    if (!net->normalize) memcpy(out, t->vector, n * dim * sizeof *out);
    for (i = 0; net->normalize && i < n; i++) t->ops->normalize(t->vector + i * dim, dim, out + i * dim);
}

static kpd_status kpdt__batch_check(const kpdt__tape *t, const kpdt__batch *b, kpd_error *e) {
    size_t longest = 0;
    for (size_t i = 0; i < b->n_texts; i++) {
        size_t n = b->first[i + 1] - b->first[i];
        if (!n || n > (size_t)t->net->desc.max_tokens)
            return kpd__fail(e, KPD_ERR_INPUT, (int64_t)i, "training: text %llu has %llu tokens, expected 1 to %d",
                             (unsigned long long)i, (unsigned long long)n, (int)t->net->desc.max_tokens);
        longest = kpd__max(longest, n);
    }
    if (b->n_texts > t->max_texts || b->first[b->n_texts] > t->max_tokens)
        return kpd__fail(e, KPD_ERR_LIMIT, -1, "training: a batch of %llu texts and %llu tokens, the tape holds %llu and %llu",
                         (unsigned long long)b->n_texts, (unsigned long long)b->first[b->n_texts],
                         (unsigned long long)t->max_texts, (unsigned long long)t->max_tokens);
    return KPD_OK;
}

// Where the tokens of a tape's next pass lie in the memory of the tape that it has it from: n, up to the end.
static void kpdt__tape_place(kpdt__tape *t, size_t n) {
    const kpdt__tape *w = t->with;
    size_t at = t->max_tokens - n, h = (size_t)t->net->desc.width, f = (size_t)t->net->desc.ffn_width;
    t->z = w->z + at * h; t->r = w->r + at;
    for (int32_t i = 0; i <= t->net->desc.n_layers; i++) {
        const kpdt__layer_tape *from = &w->layers[i];
        kpdt__layer_tape *to = &t->layers[i];
        to->x = from->x + at * h;
        if (i == t->net->desc.n_layers) break;
        to->qkv = from->qkv + at * 3 * kpd__round_up(h, 16); to->context = from->context + at * h;
        to->z1 = from->z1 + at * h; to->r1 = from->r1 + at; to->y1 = from->y1 + at * h;
        to->u = from->u + at * f;
        to->z2 = from->z2 + at * h; to->r2 = from->r2 + at;
    }
}

// The encoder's output for every token of a batch, in the tape. dropout NULL = none, as in inference.
static kpd_status kpdt__encode(kpdt__tape *t, const kpdt__batch *b, const kpdt__dropout *dropout, kpd_error *e) {
    kpd_status status = kpdt__batch_check(t, b, e);
    size_t begin = 0;
    if (status || !b->n_texts) return status;
    if (t->with) kpdt__tape_place(t, b->first[b->n_texts]);
    t->batch = *b;
    memset(&t->dropout, 0, sizeof t->dropout);
    if (dropout) t->dropout = *dropout;
    t->n_blocks = 0;
    t->blocks[0] = 0;
    for (size_t i = 1; i <= b->n_texts; i++)
        if (i == b->n_texts || b->first[i + 1] - b->first[begin] > KPD__BLOCK) t->blocks[++t->n_blocks] = begin = i;
    kpd__run(&t->parallel, t->n_tasks, kpdt__forward_task, t);
    return KPD_OK;
}

// Vectors or logits [B, D] of a batch; the tape then holds what kpdt__backward needs.
static kpd_status kpdt__forward(kpdt__tape *t, const kpdt__batch *b, const kpdt__dropout *dropout, float *out, kpd_error *e) {
    kpd_status status = kpdt__encode(t, b, dropout, e);
    if (status || !b->n_texts) return status;
    kpdt__output_forward(t, out);
    return KPD_OK;
}

// A sum over rows: dW (unless NULL) and db of a product, or (k = 0) dgamma and dbeta of a norm, whose z is x. n outputs or
// columns.
typedef struct kpdt__sum { const float *dy, *x; size_t ldy, ldx, n, k; float *dw, *db; } kpdt__sum;
typedef struct kpdt__sums { const kpdt__tape *t; kpdt__sum sum[8]; size_t n, rows, layer; } kpdt__sums;

// dW of n outputs from `at` on.
static void kpdt__sum_product(const kpdt__tape *t, const kpdt__scratch *s, const kpdt__sum *x, size_t rows, size_t at,
                              size_t n) {
    const float *dy = x->dy + at;
    float *dw = x->dw + at * x->k;
#ifdef KPD_CBLAS
    if (rows * n * x->k >= KPDT__CBLAS_FROM) {
        cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, (int)n, (int)x->k, (int)rows, 1.0f, dy, (int)x->ldy, x->x,
                    (int)x->ldx, 1.0f, dw, (int)x->k);
        return;
    }
#endif
    t->train->weight_gradient(dy, x->ldy, x->x, x->ldx, rows, n, x->k, dw, s->pack);
}

static void kpdt__sum_group(const kpdt__tape *t, const kpdt__scratch *s, const kpdt__sum *x, size_t rows, size_t at) {
    size_t n = kpd__min(KPDT__GROUP, x->n - at);
    if (!x->k) { t->train->norm_gradient(x->dy + at, x->x + at, x->ldy, rows, n, x->dw + at, x->db + at); return; }
    if (x->dw) kpdt__sum_product(t, s, x, rows, at, n);
    if (x->db) t->train->bias_gradient(x->dy + at, x->ldy, rows, n, x->db + at);
}

static void kpdt__sums_task(void *arg, int32_t task) {
    const kpdt__sums *all = (const kpdt__sums *)arg;
    size_t item = 0;
    for (size_t i = 0; i < all->n; i++)
        for (size_t at = 0; at < all->sum[i].n; at += KPDT__GROUP)
            if (item++ % (size_t)all->t->n_tasks == (size_t)task)
                kpdt__sum_group(all->t, &all->t->scratch[task], &all->sum[i], all->rows, at);
}

static void kpdt__sums_norm(kpdt__sums *s, const kpdt__norm *p, const float *dy, const float *z, size_t width) {
    kpdt__sum *x = &s->sum[s->n++];
    float *g = s->t->net->g;
    x->dy = dy; x->x = z; x->ldy = x->ldx = x->n = width; x->k = 0; x->dw = g + p->gamma; x->db = g + p->beta;
}

static void kpdt__sums_linear(kpdt__sums *s, const kpdt__linear *l, const float *dy, const float *x) {
    size_t padded = kpd__round_up(l->n, 16);
    float *g = s->t->net->g;
    for (size_t i = 0; i < l->parts; i++) {
        kpdt__sum *to = &s->sum[s->n++];
        to->dy = dy + i * padded; to->ldy = l->y.n; to->x = x; to->ldx = to->k = l->k; to->n = l->n;
        to->dw = g + l->w + i * kpd__round_up(l->n * l->k, 16);
        to->db = l->y.bias ? g + l->b + i * padded : NULL;
    }
}

// d = mask dx: dropout's backward for the tokens of texts [begin, end); dx, in scratch, is of those only.
static void kpdt__drop_backward(const kpdt__tape *t, const kpdt__scratch *s, uint32_t site, size_t begin, size_t end,
                                float *d) {
    const size_t *first = t->batch.first, h = (size_t)t->net->desc.width;
    const float *dx = s->y;
    for (size_t i = begin; i < end; i++)
        for (size_t at = first[i]; at < first[i + 1]; at++, dx += h) {
            const float *mask = kpdt__row_mask(t, site, i, at - first[i], h, s->mask);
            if (mask) t->train->mul(dx, mask, h, d + at * h);
            else memcpy(d + at * h, dx, h * sizeof *d);
        }
}

// Scratch y = the gradient of a norm's input, rows [start, start + n).
static void kpdt__norm_rows(const kpdt__tape *t, const kpdt__norm *p, const float *dy, const float *z, const float *r,
                            size_t start, size_t n, float *dx) {
    size_t h = (size_t)t->net->desc.width;
    for (size_t i = 0; i < n; i++)
        t->train->norm_backward(&p->p, dy + (start + i) * h, z + (start + i) * h, r[start + i], h, dx + i * h);
}

// The gradients of every row of one layer, for texts [begin, end): from flow.dy to flow.dx.
static void kpdt__layer_backward(const kpdt__tape *t, const kpdt__scratch *s, size_t layer, size_t begin, size_t end) {
    const kpdt__layer *l = &t->net->tower[t->batch.tower].layers[layer];
    const kpdt__layer_tape *k = &t->layers[layer];
    const kpdt__flow *g = &t->flow;
    const size_t *first = t->batch.first;
    size_t start = first[begin], n = first[end] - start, h = l->qkv.k, f = l->up.n, ld = l->qkv.y.n;
    float *dx = g->dx + start * h, *dy1 = g->dy1 + start * h, *du = g->du + start * f;
    kpdt__norm_rows(t, &l->norm2, g->dy, k->z2, k->r2, start, n, s->y);
    kpdt__drop_backward(t, s, kpdt__site(layer, KPDT__SITE_HIDDEN), begin, end, g->ddown);
    t->ops->gemm(&l->down.dx, g->ddown + start * h, h, n, du, f);
    t->train->activate_backward(t->net->desc.activation, k->u + start * f, n * f, g->a + start * f, du);
    t->ops->gemm(&l->up.dx, du, f, n, dy1, h);
    t->train->add(s->y, NULL, n * h, dy1);
    kpdt__norm_rows(t, &l->norm1, g->dy1, k->z1, k->r1, start, n, s->y);
    kpdt__drop_backward(t, s, kpdt__site(layer, KPDT__SITE_CONTEXT), begin, end, g->dout);
    t->ops->gemm(&l->out.dx, g->dout + start * h, h, n, g->dcontext + start * h, h);
    for (size_t i = begin; i < end; i++) {
        kpdt__heads a = kpdt__heads_of(t, s, layer, i);
        t->train->attention_backward(&a, k->qkv + first[i] * ld, g->dcontext + first[i] * h, g->dqkv + first[i] * ld);
    }
    t->ops->gemm(&l->qkv.dx, g->dqkv + start * ld, ld, n, dx, h);
    t->train->add(s->y, NULL, n * h, dx);
}

static void kpdt__layer_task(void *arg, int32_t task) {
    const kpdt__sums *s = (const kpdt__sums *)arg;
    const kpdt__tape *t = s->t;
    for (size_t b = (size_t)task; b < t->n_blocks; b += (size_t)t->n_tasks)
        kpdt__layer_backward(t, &t->scratch[task], s->layer, t->blocks[b], t->blocks[b + 1]);
}

// Rows first, then the sums over all of them.
static void kpdt__layer_gradients(kpdt__tape *t, size_t layer) {
    const kpdt__layer *l = &t->net->tower[t->batch.tower].layers[layer];
    const kpdt__layer_tape *k = &t->layers[layer];
    kpdt__flow *g = &t->flow;
    kpdt__sums s;
    float *swap;
    s.t = t; s.n = 0; s.rows = t->batch.first[t->batch.n_texts]; s.layer = layer;
    kpd__run(&t->parallel, t->n_tasks, kpdt__layer_task, &s);
    kpdt__sums_linear(&s, &l->down, g->ddown, g->a);
    kpdt__sums_linear(&s, &l->up, g->du, k->y1);
    kpdt__sums_linear(&s, &l->qkv, g->dqkv, k->x);
    kpdt__sums_linear(&s, &l->out, g->dout, k->context);
    kpdt__sums_norm(&s, &l->norm2, g->dy, k->z2, l->qkv.k);
    kpdt__sums_norm(&s, &l->norm1, g->dy1, k->z1, l->qkv.k);
    kpd__run(&t->parallel, t->n_tasks, kpdt__sums_task, &s);
    swap = g->dy; g->dy = g->dx; g->dx = swap;
}

// Embeddings: through dropout and norm, row by row, into flow.dx; flow.ddown = the gradient of the norm's output.
static void kpdt__embedding_task(void *arg, int32_t task) {
    const kpdt__tape *t = (const kpdt__tape *)arg;
    const kpdt__flow *g = &t->flow;
    const size_t *first = t->batch.first, h = (size_t)t->net->desc.width;
    for (size_t b = (size_t)task; b < t->n_blocks; b += (size_t)t->n_tasks)
        for (size_t i = t->blocks[b]; i < t->blocks[b + 1]; i++)
            for (size_t at = first[i]; at < first[i + 1]; at++) {
                const float *mask = kpdt__row_mask(t, KPDT__SITE_EMBEDDING, i, at - first[i], h, t->scratch[task].mask);
                if (mask) t->train->mul(g->dy + at * h, mask, h, g->ddown + at * h);
                else memcpy(g->ddown + at * h, g->dy + at * h, h * sizeof *g->dy);
                t->train->norm_backward(&t->net->tower[t->batch.tower].norm.p, g->ddown + at * h, t->z + at * h, t->r[at], h,
                                        g->dx + at * h);
            }
}

// Scatter: rows of the three tables += flow.dx, token by token. Tasks take columns, so that the order stays.
static void kpdt__scatter_task(void *arg, int32_t task) {
    const kpdt__tape *t = (const kpdt__tape *)arg;
    const kpdt__tower *w = &t->net->tower[t->batch.tower];
    const kpdt__batch *b = &t->batch;
    size_t h = (size_t)t->net->desc.width, share = kpd__round_up(h / (size_t)t->n_tasks + 1, 16);
    size_t c = kpd__min((size_t)task * share, h), n = kpd__min(share, h - c);
    float *g = t->net->g + c;
    for (size_t i = 0; n && i < b->n_texts; i++)
        for (size_t at = b->first[i]; at < b->first[i + 1]; at++) {
            const float *dx = t->flow.dx + at * h + c;
            t->train->add(dx, NULL, n, g + w->word + (size_t)b->ids[at] * h);
            t->train->add(dx, NULL, n, g + w->position + (at - b->first[i]) * h);
            t->train->add(dx, NULL, n, g + w->type + (size_t)b->types[at] * h);
        }
}

static void kpdt__embedding_gradients(kpdt__tape *t) {
    kpdt__sums s;
    s.t = t; s.n = 0; s.rows = t->batch.first[t->batch.n_texts]; s.layer = 0;
    kpd__run(&t->parallel, t->n_tasks, kpdt__embedding_task, t);
    kpdt__sums_norm(&s, &t->net->tower[t->batch.tower].norm, t->flow.ddown, t->z, (size_t)t->net->desc.width);
    kpd__run(&t->parallel, t->n_tasks, kpdt__sums_task, &s);
    kpd__run(&t->parallel, t->n_tasks, kpdt__scatter_task, t);
}

// d [B, out] of a module's output becomes dx [B, in] of its input; its parameters' gradients are summed.
static void kpdt__module_backward(kpdt__tape *t, size_t i, float *d, float *dx) {
    const kpdt__module *m = &t->net->modules[i];
    const kpdt__module_tape *k = &t->modules[i];
    size_t n = t->batch.n_texts;
    kpdt__sums s;
    s.t = t; s.n = 0; s.rows = n; s.layer = 0;
    if (m->kind == KPD_MODULE_DENSE) {
        t->train->activate_backward(m->activation, k->u, n * m->out, k->z, d);   // z: free to be overwritten here
        t->ops->gemm(&m->linear.dx, d, m->out, n, dx, m->in);
        kpdt__sums_linear(&s, &m->linear, d, k->x);
    } else {
        for (size_t b = 0; b < n; b++)
            t->train->norm_backward(&m->norm.p, d + b * m->in, k->z + b * m->in, k->r[b], m->in, dx + b * m->in);
        kpdt__sums_norm(&s, &m->norm, d, k->z, m->in);
    }
    for (size_t b = 0; m->dropout && b < n; b++) {
        const float *mask = kpdt__row_mask(t, KPDT__SITE_HEAD, b, 0, m->in, t->scratch->mask);
        if (mask) t->train->mul(dx + b * m->in, mask, m->in, dx + b * m->in);
    }
    kpd__run(&t->parallel, t->n_tasks, kpdt__sums_task, &s);
}

// From dout [B, D] to flow.dy [T, H].
static void kpdt__output_backward(kpdt__tape *t, const float *dout) {
    const kpdt__net *net = t->net;
    size_t h = (size_t)net->desc.width, n = t->batch.n_texts, dim = kpdt__net_dim(net);
    const float *x = t->layers[net->desc.n_layers].x;
    float *d = t->flow.dhead[0], *dx = t->flow.dhead[1], *swap;
    if (!net->normalize) memcpy(d, dout, n * dim * sizeof *d);
    for (size_t i = 0; net->normalize && i < n; i++)
        t->train->normalize_backward(t->vector + i * dim, dout + i * dim, dim, d + i * dim);
    for (size_t i = net->n_modules; i-- > 0;) {
        kpdt__module_backward(t, i, d, dx);
        swap = d; d = dx; dx = swap;
    }
    for (size_t i = 0; i < n; i++) {
        size_t at = t->batch.first[i] * h, tokens = t->batch.first[i + 1] - t->batch.first[i];
        t->train->pool_backward(net->pooling, x + at, tokens, h, d + i * h, t->flow.dy + at);
    }
}

// From flow.dy [T, H], the gradient of the encoder's output.
static void kpdt__encoder_backward(kpdt__tape *t) {
    for (int32_t i = t->net->desc.n_layers; i > 0 && i >= t->net->frozen; i--) kpdt__layer_gradients(t, (size_t)i - 1);
    if (t->net->frozen <= 0) kpdt__embedding_gradients(t);
}

// net->g += the gradient of the loss, given dout [B, D] of the last forward pass's output.
static void kpdt__backward(kpdt__tape *t, const float *dout) {
    kpdt__output_backward(t, dout);
    kpdt__encoder_backward(t);
}

// THE MASKED-LANGUAGE HEAD. Rows are the masked tokens, in batch order. What is before the logits is done for all of them, and
// the logits for KPDT__MLM_ROWS at a time, since [T, V] would be the largest thing in memory. Gradients of rows lie in the
// flow: ddown of the norm's output, dout of the transform's, dx of the encoder's.

#define KPDT__MLM_COLS 128          // columns of the logits that a task takes at a time

static void kpdt__mlm_forward_task(void *arg, int32_t task) {
    const kpdt__tape *t = (const kpdt__tape *)arg;
    const kpdt__mlm *p = &t->net->mlm;
    const kpdt__mlm_tape *k = &t->mlm;
    const float *x = t->layers[t->net->desc.n_layers].x;
    float *a = t->flow.ddown;
    size_t h = p->transform.k;
    for (size_t at = (size_t)task * KPD__CHUNK; at < k->n; at += (size_t)t->n_tasks * KPD__CHUNK) {
        size_t n = kpd__min(KPD__CHUNK, k->n - at);
        for (size_t i = at; i < at + n; i++) memcpy(k->x + i * h, x + k->at[i] * h, h * sizeof *x);
        t->ops->gemm(&p->transform.y, k->x + at * h, h, n, k->u + at * h, h);
        t->train->activate(t->net->desc.activation, k->u + at * h, n * h, a + at * h);
        for (size_t i = at; i < at + n; i++) k->r[i] = t->train->norm(&p->norm.p, a + i * h, h, k->z + i * h, k->y + i * h);
    }
}

// A piece of them. teacher: a tape that has been through the same tokens, or NULL where labels are followed.
typedef struct kpdt__mlm_rows { const kpdt__tape *t, *teacher; size_t start, n; float scale, temperature; } kpdt__mlm_rows;

static size_t kpdt__mlm_ld(const kpdt__tape *t) { return kpd__round_up(t->net->mlm.decoder.n, 16); }

// By columns, so that each task reads its own part of E.
static void kpdt__mlm_logits_task(void *arg, int32_t task) {
    const kpdt__mlm_rows *r = (const kpdt__mlm_rows *)arg;
    const kpdt__tape *t = r->t;
    const kpdt__linear *l = &t->net->mlm.decoder;
    for (size_t c = (size_t)task * KPDT__MLM_COLS; c < l->n; c += (size_t)t->n_tasks * KPDT__MLM_COLS) {
        kpd__matrix w = l->y;
        w.panels += c * w.k; w.bias += c; w.n = kpd__min(KPDT__MLM_COLS, l->n - c);
        t->ops->gemm(&w, t->mlm.y + r->start * l->k, l->k, r->n, t->mlm.logits + c, kpdt__mlm_ld(t));
    }
}

static void kpdt__mlm_entropy_task(void *arg, int32_t task) {
    const kpdt__mlm_rows *r = (const kpdt__mlm_rows *)arg;
    const kpdt__tape *t = r->t;
    for (size_t i = (size_t)task; i < r->n; i += (size_t)t->n_tasks) {
        size_t at = r->start + i;
        float margin = 0, inverse = t->train->entropy(t->mlm.logits + i * kpdt__mlm_ld(t), t->net->mlm.decoder.n,
                                                      (size_t)t->mlm.label[at], r->scale, &margin);
        // log is not for NaN, which weights out of all bounds give
        t->mlm.loss[at] = kpd__finite(inverse) ? -kpdt__log((double)inverse) - (double)margin : kpdt__nan();
    }
}

static void kpdt__mlm_kl_task(void *arg, int32_t task) {
    const kpdt__mlm_rows *r = (const kpdt__mlm_rows *)arg;
    const kpdt__tape *t = r->t;
    for (size_t i = (size_t)task; i < r->n; i += (size_t)t->n_tasks) {
        size_t at = i * kpdt__mlm_ld(t);
        float inverse[2] = {0, 0}, d = t->train->divergence(t->mlm.logits + at, r->teacher->mlm.logits + at,
                                                            t->net->mlm.decoder.n, 1 / r->temperature,
                                                            r->scale * r->temperature, inverse);
        double kl = kpdt__nan();
        if (kpd__finite(d)) kl = (double)d + kpdt__log((double)inverse[1]) - kpdt__log((double)inverse[0]);
        t->mlm.loss[r->start + i] = (double)r->temperature * (double)r->temperature * kl;
    }
}

// dy = dlogits E, by columns.
static void kpdt__mlm_back_task(void *arg, int32_t task) {
    const kpdt__mlm_rows *r = (const kpdt__mlm_rows *)arg;
    const kpdt__tape *t = r->t;
    const kpdt__linear *l = &t->net->mlm.decoder;
    for (size_t c = (size_t)task * 16; c < l->k; c += (size_t)t->n_tasks * 16) {
        kpd__matrix w = l->dx;
        w.panels += c * w.k; w.n = kpd__min(16, l->k - c);
        t->ops->gemm(&w, t->mlm.logits, kpdt__mlm_ld(t), r->n, t->flow.ddown + r->start * l->k + c, l->k);
    }
}

// Loss and, in training, gradients of one piece: dy of its rows, and the sums dE and dc, which go on from those before.
static void kpdt__mlm_piece(kpdt__mlm_rows *r, bool train) {
    const kpdt__tape *t = r->t;
    const kpdt__linear *l = &t->net->mlm.decoder;
    kpdt__sums s;
    kpd__run(&t->parallel, t->n_tasks, kpdt__mlm_logits_task, r);
    if (r->teacher) {
        kpdt__mlm_rows of = *r;
        of.t = r->teacher;
        kpd__run(&t->parallel, t->n_tasks, kpdt__mlm_logits_task, &of);
    }
    kpd__run(&t->parallel, t->n_tasks, r->teacher ? kpdt__mlm_kl_task : kpdt__mlm_entropy_task, r);
    if (!train) return;
    kpd__run(&t->parallel, t->n_tasks, kpdt__mlm_back_task, r);
    s.t = t; s.n = 0; s.rows = r->n; s.layer = 0;
    kpdt__sums_linear(&s, l, t->mlm.logits, t->mlm.y + r->start * l->k);
    s.sum[0].ldy = kpdt__mlm_ld(t);
    if (t->net->frozen > 0) s.sum[0].dw = NULL;
    kpd__run(&t->parallel, t->n_tasks, kpdt__sums_task, &s);
}

// From flow.ddown through norm, activation and transform to the masked tokens' rows of flow.dy.
static void kpdt__mlm_backward_task(void *arg, int32_t task) {
    const kpdt__tape *t = (const kpdt__tape *)arg;
    const kpdt__mlm *p = &t->net->mlm;
    const kpdt__mlm_tape *k = &t->mlm;
    const kpdt__flow *g = &t->flow;
    size_t h = p->transform.k;
    for (size_t at = (size_t)task * KPD__CHUNK; at < k->n; at += (size_t)t->n_tasks * KPD__CHUNK) {
        size_t n = kpd__min(KPD__CHUNK, k->n - at);
        kpdt__norm_rows(t, &p->norm, g->ddown, k->z, k->r, at, n, g->dout + at * h);
        t->train->activate_backward(t->net->desc.activation, k->u + at * h, n * h, g->dy1 + at * h, g->dout + at * h);
        t->ops->gemm(&p->transform.dx, g->dout + at * h, h, n, g->dx + at * h, h);
        for (size_t i = at; i < at + n; i++) memcpy(g->dy + k->at[i] * h, g->dx + i * h, h * sizeof *g->dy);
    }
}

static void kpdt__mlm_backward(kpdt__tape *t) {
    const kpdt__mlm *p = &t->net->mlm;
    size_t h = p->transform.k;
    kpdt__sums s;
    memset(t->flow.dy, 0, t->batch.first[t->batch.n_texts] * h * sizeof(float));
    kpd__run(&t->parallel, t->n_tasks, kpdt__mlm_backward_task, t);
    s.t = t; s.n = 0; s.rows = t->mlm.n; s.layer = 0;
    kpdt__sums_linear(&s, &p->transform, t->flow.dout, t->mlm.x);
    kpdt__sums_norm(&s, &p->norm, t->flow.ddown, t->mlm.z, h);
    kpd__run(&t->parallel, t->n_tasks, kpdt__sums_task, &s);
    kpdt__encoder_backward(t);
}

// Behind kpdt__encode, with tape.mlm.n, at and label set: the sum over the masked tokens of -log softmax(logits)[label], or
// with a teacher's tape, likewise encoded and with the same n and at, of T^2 KL. In training (weight not 0) net->g += weight
// times the gradient of their mean.
static double kpdt__mlm_loss(kpdt__tape *t, kpdt__tape *teacher, float temperature, float weight) {
    kpdt__mlm_rows r;
    double loss = 0;
    if (!t->mlm.n) return 0;
    r.t = t; r.teacher = teacher; r.scale = weight / (float)t->mlm.n; r.temperature = temperature;
    kpd__run(&t->parallel, t->n_tasks, kpdt__mlm_forward_task, t);
    if (teacher) kpd__run(&t->parallel, t->n_tasks, kpdt__mlm_forward_task, teacher);
    for (r.start = 0; r.start < t->mlm.n; r.start += KPDT__MLM_ROWS) {
        r.n = kpd__min(KPDT__MLM_ROWS, t->mlm.n - r.start);
        kpdt__mlm_piece(&r, weight != 0);
    }
    for (size_t i = 0; i < t->mlm.n; i++) loss += t->mlm.loss[i];
    if (weight != 0) kpdt__mlm_backward(t);
    return loss;
}

// >>optimizer  AdamW over the flat buffers: gradient norm and clipping, bias correction, the schedule of rates. Relies on the
// kernels. Promises the same bits at any number of tasks: the norm is a sum over fixed chunks, all else is element by element.

#define KPDT__NORM_CHUNK 4096       // floats of one partial sum of the norm
#define KPDT__UPDATE 16384          // floats that a task updates at a time

typedef struct kpdt__schedule { float rate; int64_t warmup, steps; bool cosine; } kpdt__schedule;

// sin(y) for |y| <= pi/2, the Taylor series to y^15: error 7e-12.
static double kpdt__sin(double y) {
    double square = y * y, sum = 0;
    for (int i = 15; i >= 3; i -= 2) sum = (1 + sum) * (-square / (double)(i * (i - 1)));
    return y + y * sum;
}

// base^n by squaring.
static double kpdt__power(double base, int64_t n) {
    double p = 1;
    for (; n > 0; n >>= 1, base *= base)
        if (n & 1) p *= base;
    return p;
}

// The rate of step 0, 1, ...: up from 0 over the warm-up, then down to 0 at `steps` in a line or half a cosine: transformers'
// get_linear_schedule_with_warmup and get_cosine_schedule_with_warmup.
static float kpdt__rate(const kpdt__schedule *s, int64_t step) {
    double left;
    if (step < s->warmup) return (float)((double)s->rate * (double)step / (double)s->warmup);
    if (step >= s->steps) return 0;
    left = (double)(s->steps - step) / (double)(s->steps - s->warmup);
    // (1 + cos(pi (1 - left))) / 2, and cos(pi (1 - left)) = sin(pi (left - 1/2))
    if (s->cosine) left = 0.5 + 0.5 * kpdt__sin(3.14159265358979324 * (left - 0.5));
    return (float)((double)s->rate * left);
}

typedef struct kpdt__optimizer {
    kpdt__net *net;
    kpd_allocator allocator;
    void *block; size_t block_size;
    const kpd__ops *ops; const kpdt__ops *train;
    kpd_parallel parallel;
    float *m, *v;                   // [n]
    float *sums; size_t n_sums;     // of squares, one a chunk
    int64_t step;                   // steps done
    float beta1, beta2, epsilon, decay, clip;   // clip 0 = none
    float layer_decay;              // the rate of depth d is times layer_decay^(L + 1 - d); 1 = none
    kpdt__adamw now;                // of the step under way
} kpdt__optimizer;

static void kpdt__optimizer_lay(kpdt__optimizer *o, kpd__arena *a) {
    o->m = (float *)kpd__take(a, o->net->n, sizeof(float));
    o->v = (float *)kpd__take(a, o->net->n, sizeof(float));
    o->sums = (float *)kpd__take(a, o->n_sums, sizeof(float));
}

static void kpdt__optimizer_destroy(kpdt__optimizer *o) {
    kpd_allocator a;
    if (!o) return;
    a = o->allocator;
    kpd__free(&a, o->block, o->block_size);
}

// With PyTorch's defaults; the caller changes what it wants to. The net must outlive it. Errors: MEMORY, LIMIT.
static kpd_status kpdt__optimizer_create(kpdt__net *net, const kpd__ops *ops, const kpdt__ops *train,
                                         const kpd_parallel *parallel, kpdt__optimizer **out, kpd_error *e) {
    kpdt__optimizer plan, *o;
    kpd__arena a;
    kpd_status s;
    memset(&plan, 0, sizeof plan);
    memset(&a, 0, sizeof a);
    plan.net = net; plan.allocator = net->allocator; plan.ops = ops; plan.train = train; plan.parallel = *parallel;
    plan.n_sums = kpd__round_up(net->n, KPDT__NORM_CHUNK) / KPDT__NORM_CHUNK;
    plan.beta1 = 0.9f; plan.beta2 = 0.999f; plan.epsilon = 1e-8f; plan.decay = 0.01f; plan.layer_decay = 1;
    kpd__take(&a, 1, sizeof *o);
    kpdt__optimizer_lay(&plan, &a);
    s = kpd__arena_block(&a, &plan.allocator, "training: the optimiser", &plan.block, &plan.block_size, e);
    if (s) return s;
    o = (kpdt__optimizer *)kpd__take(&a, 1, sizeof *o);
    *o = plan;
    kpdt__optimizer_lay(o, &a);
    *out = o;
    return KPD_OK;
}

static void kpdt__norm_task(void *arg, int32_t task) {
    const kpdt__optimizer *o = (const kpdt__optimizer *)arg;
    for (size_t i = (size_t)task; i < o->n_sums; i += (size_t)kpd__n_tasks(&o->parallel)) {
        const float *g = o->net->g + i * KPDT__NORM_CHUNK;
        o->sums[i] = o->ops->dot(g, g, kpd__min(KPDT__NORM_CHUNK, o->net->n - i * KPDT__NORM_CHUNK));
    }
}

// |g| over all parameters: a tree in each chunk, then the chunks in order, in double.
static float kpdt__gradient_norm(kpdt__optimizer *o) {
    double sum = 0;
    kpd__run(&o->parallel, kpd__n_tasks(&o->parallel), kpdt__norm_task, o);
    for (size_t i = 0; i < o->n_sums; i++) sum += (double)o->sums[i];
    return sqrtf((float)sum);
}

// One step's numbers for one parameter.
static kpdt__adamw kpdt__adamw_of(const kpdt__optimizer *o, const kpdt__parameter *p) {
    kpdt__adamw now = o->now;
    int32_t above = o->net->desc.n_layers + 1 - p->depth;
    if (o->layer_decay != 1) now.rate = (float)((double)now.rate * kpdt__power((double)o->layer_decay, above));
    if (!p->decay) now.decay = 0;
    return now;
}

static void kpdt__update_task(void *arg, int32_t task) {
    const kpdt__optimizer *o = (const kpdt__optimizer *)arg;
    size_t item = 0;
    for (size_t i = 0; i < o->net->n_parameters; i++) {
        const kpdt__parameter *p = &o->net->parameters[i];
        kpdt__adamw now = kpdt__adamw_of(o, p);
        size_t n = (size_t)p->rows * (size_t)p->cols;
        for (size_t at = 0; at < n; at += KPDT__UPDATE) {
            size_t c = p->offset + at, count = kpd__min(KPDT__UPDATE, n - at);
            if (item++ % (size_t)kpd__n_tasks(&o->parallel) != (size_t)task) continue;
            if (p->depth >= o->net->frozen)
                o->train->adamw(&now, count, o->net->w + c, o->net->g + c, o->m + c, o->v + c);
            memset(o->net->g + c, 0, count * sizeof(float));
        }
    }
}

// One step at a rate: clips, updates, zeroes the gradient, writes the panels anew. Returns the gradient's norm before clipping;
// when that is not finite nothing has changed but the gradient, which is zero again.
static float kpdt__optimizer_step(kpdt__optimizer *o, float rate) {
    float norm = kpdt__gradient_norm(o), scale = o->clip > 0 ? o->clip / (norm + 1e-6f) : 1;
    if (!kpd__finite(norm)) memset(o->net->g, 0, o->net->n * sizeof(float));
    else {
        o->step++;
        o->now.rate = rate; o->now.beta1 = o->beta1; o->now.beta2 = o->beta2; o->now.epsilon = o->epsilon;
        o->now.decay = o->decay; o->now.scale = scale < 1 ? scale : 1;
        o->now.correct1 = (float)(1 - kpdt__power((double)o->beta1, o->step));
        o->now.correct2 = sqrtf((float)(1 - kpdt__power((double)o->beta2, o->step)));
        kpd__run(&o->parallel, kpd__n_tasks(&o->parallel), kpdt__update_task, o);
        kpdt__net_refresh(o->net, &o->parallel);
    }
    return norm;
}

// >>losses  Value and gradient of each loss on scores, the similarity layer, and the two joined. Relies on >>numbers and
// >>layers. Promises that every sum is in double and in one order: that of the arrays, but for the products of similarities
// (kpdt__product, and for a matrix chains of floats) and the blocks of rows of a loss on a matrix.

typedef struct kpdt__pairs {            // a call of kpdt_loss_pairs, checked
    kpdt_loss_desc d;                   // defaults filled in
    const float *s, *t;
    const int32_t *query;
    size_t n;
    float *ds;
} kpdt__pairs;

// KPDT_ZERO is told from 0 by its sign.
static float kpdt__or(float value, float otherwise) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return value != 0 ? value : bits ? 0 : otherwise;
}

// Whether a number is given, be it 0.
static bool kpdt__is_said(float value) { return kpdt__or(value, 1) < 1 || value >= 1; }

// A computed weight as a desc has it: one that is 0 must not come to mean the default.
static float kpdt__said(float weight) { return weight != 0 ? weight : KPDT_ZERO; }

// The desc with its defaults, or what is wrong with it.
static kpd_status kpdt__loss_defaults(const kpdt_loss_desc *d, kpdt_loss_desc *out, kpd_error *e) {
    kpdt_loss_desc none;
    if (!d) d = (const kpdt_loss_desc *)memset(&none, 0, sizeof none);
    *out = *d;
    out->weight = kpdt__or(d->weight, 1);
    out->scale = kpdt__or(d->scale, 20);
    out->margin = kpdt__or(d->margin, 0.5f);
    out->temperature = kpdt__or(d->temperature, 1);
    out->pos_weight = kpdt__or(d->pos_weight, 1);
    out->epsilon = kpdt__or(d->epsilon, 1e-8f);
    if (!(out->scale > 0 && out->margin >= 0 && out->temperature > 0 && out->pos_weight >= 0 && out->epsilon > 0) ||
        !kpd__finite(out->weight) || !kpd__finite(out->scale) || !kpd__finite(out->margin) || !kpd__finite(out->temperature) ||
        !kpd__finite(1 / out->temperature) || !kpd__finite(out->pos_weight) || !kpd__finite(out->epsilon))
        return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "loss: weight must be finite; margin and pos_weight finite and not "
                         "negative; scale, temperature and epsilon finite and over 0");
    if ((unsigned)d->target > KPDT_TARGET_COSINE)
        return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "loss: target is %d, expected 0 to %d", (int)d->target, KPDT_TARGET_COSINE);
    return KPD_OK;
}

static bool kpdt__maps_target(kpdt_loss l) {
    return l == KPDT_MSE || l == KPDT_PEARSON || l == KPDT_MARGIN_MSE || l == KPDT_KL;
}

static kpd_status kpdt__pairs_targets_check(const kpdt_loss_desc *d, const float *t, size_t n, kpd_error *e) {
    kpdt_loss l = d->loss;
    bool unit = l == KPDT_CONTRASTIVE || l == KPDT_BCE || (kpdt__maps_target(l) && d->target != KPDT_TARGET_AS_GIVEN);
    kpd_status s = kpdt__check_finite(t, n, "t", e);
    for (size_t i = 0; i < n && !s; i++) {
        if (unit && !(t[i] >= 0 && t[i] <= 1))
            return kpd__fail(e, KPD_ERR_INPUT, (int64_t)i, "t[%llu] is %g, expected 0 to 1", (unsigned long long)i,
                             (double)t[i]);
        if ((l == KPDT_ONLINE_CONTRASTIVE || l == KPDT_SOFTMAX) && t[i] != 0 && t[i] != 1)
            return kpd__fail(e, KPD_ERR_INPUT, (int64_t)i, "t[%llu] is %g, expected 0 or 1", (unsigned long long)i,
                             (double)t[i]);
    }
    return s;
}

static kpd_status kpdt__pairs_check(const kpdt__pairs *p, kpd_error *e) {
    kpdt_loss l = p->d.loss;
    kpd_status s;
    if (l < KPDT_CONTRASTIVE || l > KPDT_RANKNET)
        return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "loss: %d is not a loss on pairs", (int)l);
    if (!p->n) return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "loss: no pairs, expected at least one");
    s = kpdt__check_finite(p->s, p->n, "s", e);
    return s ? s : kpdt__pairs_targets_check(&p->d, p->t, p->n, e);
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
    double over = no.n > 0 ? no.least : yes.sum / (double)kpd__max(yes.n, 1), sum = 0;
    double under = yes.n > 0 ? yes.most : no.sum / (double)kpd__max(no.n, 1);
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

static kpd_status kpdt__loss_pairs(const kpdt_loss_desc *d, const float *s, const float *t, const int32_t *query, size_t n,
                                   float *loss, float *ds, kpd_error *e) {
    kpdt__pairs p;
    kpd_status status = kpdt__loss_defaults(d, &p.d, e);
    p.s = s; p.t = t; p.query = query; p.n = n; p.ds = ds;
    if (!status) status = kpdt__pairs_check(&p, e);
    if (!status) *loss = (float)(kpdt__pairs_run(&p) * (double)p.d.weight);
    return status;
}
KPD__GUARDED(7, kpdt_loss_pairs, kpdt__loss_pairs, const kpdt_loss_desc *, d, const float *, s, const float *, t,
             const int32_t *, query, size_t, n, float *, loss, float *, ds)

static void kpdt__add(float *to, double x) { *to = (float)((double)*to + x); }

typedef struct kpdt__line {             // of scores: a row of a matrix, or classes
    const kpdt__ops *ops;
    const float *s, *log_q;
    const uint8_t *mask;                // NULL = all count
    size_t n;
    float scale;
} kpdt__line;

static bool kpdt__line_masks(const kpdt__line *l, size_t j) {
    return l->mask && l->mask[j] & (KPDT_MASK | KPDT_MASK_ROW);
}

static double kpdt__line_at(const kpdt__line *l, size_t j) {
    return (double)l->scale * (double)l->s[j] - (l->log_q ? (double)l->log_q[j] : 0);
}

// Numerators e of a line's softmax. Returns the exponent of own's. In float by the level's lanes, but for scores that its
// products would not hold, and with log q, which would be one rounding more.
static double kpdt__line_exps(const kpdt__line *l, size_t own, float *e) {
    double most = kpdt__line_at(l, own);
    float top;
    for (size_t j = 0; j < l->n; j++)
        if (!kpdt__line_masks(l, j) && kpdt__line_at(l, j) > most) most = kpdt__line_at(l, j);
    if (l->log_q || !(kpdt__abs(most) < 1e30)) {
        for (size_t j = 0; j < l->n; j++)
            e[j] = kpdt__line_masks(l, j) ? 0 : (float)kpdt__exp(kpdt__line_at(l, j) - most);
        return kpdt__line_at(l, own) - most;
    }
    top = (float)most;
    l->ops->exps(l->s, l->n, l->scale, &top, false, e);
    for (size_t j = 0; l->mask && j < l->n; j++)
        if (kpdt__line_masks(l, j)) e[j] = 0;
    return kpdt__line_at(l, own) - (double)top;
}

// The sum of n numbers but one.
static double kpdt__sum_but(const float *x, size_t n, size_t own) {
    double sum[4] = {0, 0, 0, 0};
    for (size_t j = 0; j < n; j++) sum[j % 4] += j == own ? 0 : (double)x[j];
    return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

// log of (mine + rest) / mine, where e^at is mine if that is too small for a float.
static double kpdt__log_share(double mine, double rest, double at) {
    return mine > 1e-30 ? kpdt__log1p(rest / mine) : kpdt__log(mine + rest) - at;
}

// -log softmax(line)[own] times weight; ds = weight scale (softmax - onehot). softmax - 1 is minus the others' share.
static double kpdt__line_loss(const kpdt__line *l, size_t own, double weight, float *ds) {
    double mine, rest, times, at = kpdt__line_exps(l, own, ds);
    mine = (double)ds[own];
    rest = kpdt__sum_but(ds, l->n, own);
    times = weight * (double)l->scale / (mine + rest);
    for (size_t j = 0; j < l->n; j++) ds[j] = (float)((double)ds[j] * times);
    ds[own] = (float)(-rest * times);
    return weight * kpdt__log_share(mine, rest, at);
}

static kpd_status kpdt__choose_ops(kpd_simd simd, const kpdt__ops **out, kpd_error *e) {
    const kpd__ops *ops;
    kpd_status s = kpd__choose_level(simd, &ops, e);
    if (!s) *out = kpdt__ops_of(ops->level);
    return s;
}

#define KPDT__COLUMNS 64                // of a matrix that are summed at once
#define KPDT__BLOCKS 64                 // into which the rows of a matrix are cut, whatever the tasks: each has its own sum
typedef struct kpdt__matrix {           // a call of kpdt_loss_matrix, checked
    const kpdt__ops *ops;
    kpdt_loss_desc d;                   // defaults filled in
    const float *s, *log_q;
    const uint8_t *mask;
    size_t B, C;
    float *ds;
    double weight;                      // of one row
    double sum[KPDT__BLOCKS];
    bool columns;                       // the second half of the symmetric loss
    int32_t n_tasks;
} kpdt__matrix;

static double kpdt__block_rows(const kpdt__matrix *x, size_t from, size_t to) {
    double sum = 0;
    for (size_t i = from; i < to; i++) {
        kpdt__line l;
        l.s = x->s + i * x->C; l.log_q = x->log_q; l.mask = x->mask ? x->mask + i * x->C : NULL;
        l.n = x->C; l.scale = x->d.scale; l.ops = x->ops;
        sum += kpdt__line_loss(&l, i, x->weight, x->ds + i * x->C);
    }
    return sum;
}

// Whether element (i, j) counts in column j.
static bool kpdt__in_column(const kpdt__matrix *x, size_t i, size_t j) {
    return !x->mask || !(x->mask[i * x->C + j] & (KPDT_MASK | KPDT_MASK_COLUMN));
}

// Numerators e of n columns from `at` on, of row i. most: the columns' largest scores; top: what is taken from scores in float,
// where floats hold them.
static void kpdt__column_exps(const kpdt__matrix *x, size_t i, size_t at, size_t n, const double *most, const float *top,
                              float *e) {
    const float *s = x->s + i * x->C + at;
    x->ops->exps(s, n, x->d.scale, top, true, e);
    for (size_t j = 0; j < n; j++) {
        if (!kpdt__in_column(x, i, at + j)) e[j] = 0;
        else if (most[j] != (double)top[j]) e[j] = (float)kpdt__exp((double)x->d.scale * (double)s[j] - most[j]);
    }
}

// The loss of n <= KPDT__COLUMNS columns of the first B rows: as many as have their sums on the stack, so that rows are read as
// they lie.
static double kpdt__some_columns(const kpdt__matrix *x, size_t at, size_t n) {
    float top[KPDT__COLUMNS], e[KPDT__COLUMNS];
    double most[KPDT__COLUMNS], mine[KPDT__COLUMNS], rest[KPDT__COLUMNS], scale = (double)x->d.scale, sum = 0;
    for (size_t j = 0; j < n; j++) { most[j] = scale * (double)x->s[(at + j) * (x->C + 1)]; rest[j] = mine[j] = 0; }
    for (size_t i = 0; i < x->B; i++)
        for (size_t j = 0; j < n; j++) {
            double v = scale * (double)x->s[i * x->C + at + j];
            if (v > most[j] && kpdt__in_column(x, i, at + j)) most[j] = v;
        }
    for (size_t j = 0; j < n; j++) {
        top[j] = kpdt__abs(most[j]) < 1e30 ? (float)most[j] : 0;
        if (kpdt__abs(most[j]) < 1e30) most[j] = (double)top[j];
    }
    for (size_t i = 0; i < x->B; i++) {
        kpdt__column_exps(x, i, at, n, most, top, e);
        for (size_t j = 0; j < n; j++) *(i == at + j ? &mine[j] : &rest[j]) += (double)e[j];
    }
    for (size_t i = 0; i < x->B; i++) {
        kpdt__column_exps(x, i, at, n, most, top, e);
        for (size_t j = 0; j < n; j++)
            kpdt__add(&x->ds[i * x->C + at + j],
                      x->weight * scale * (i == at + j ? -rest[j] : (double)e[j]) / (mine[j] + rest[j]));
    }
    for (size_t j = 0; j < n; j++)
        sum += x->weight * kpdt__log_share(mine[j], rest[j], scale * (double)x->s[(at + j) * (x->C + 1)] - most[j]);
    return sum;
}

static double kpdt__block_columns(const kpdt__matrix *x, size_t from, size_t to) {
    double sum = 0;
    for (size_t at = from, n; at < to; at += n) {
        n = kpd__min(KPDT__COLUMNS, to - at);
        sum += kpdt__some_columns(x, at, n);
    }
    return sum;
}

static void kpdt__matrix_task(void *arg, int32_t task) {
    kpdt__matrix *x = (kpdt__matrix *)arg;
    for (size_t b = (size_t)task; b < KPDT__BLOCKS; b += (size_t)x->n_tasks) {
        size_t from = x->B * b / KPDT__BLOCKS, to = x->B * (b + 1) / KPDT__BLOCKS;
        x->sum[b] = x->columns ? kpdt__block_columns(x, from, to) : kpdt__block_rows(x, from, to);
    }
}

// Rows, or columns of the first B, of an MNR matrix.
static double kpdt__mnr(kpdt__matrix *x, bool columns, const kpd_parallel *parallel) {
    double sum = 0;
    x->columns = columns;
    x->n_tasks = x->B * x->C < 16384 ? 1 : kpd__n_tasks(parallel);   // less is not worth waking a thread for
    kpd__run(parallel, x->n_tasks, kpdt__matrix_task, x);
    for (size_t b = 0; b < KPDT__BLOCKS; b++) sum += x->sum[b];
    return sum;
}

static kpd_status kpdt__matrix_check(const kpdt_loss_desc *d, const float *s, const uint8_t *mask, const float *log_q, size_t B,
                                     size_t C, kpd_error *e) {
    size_t size;
    kpd_status status;
    if (d->loss != KPDT_MNR && d->loss != KPDT_MNR_SYMMETRIC)
        return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "loss: %d is not a loss on a matrix", (int)d->loss);
    if (!B || C < B || !kpd__mul_ok(B, C, &size))
        return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "loss: %llu rows and %llu columns, expected at least a row and a column for "
                         "each row's positive", (unsigned long long)B, (unsigned long long)C);
    for (size_t i = 0; mask && i < B; i++)
        if (mask[i * C + i])
            return kpd__fail(e, KPD_ERR_INPUT, (int64_t)i, "mask: the positive of row %llu is masked",
                             (unsigned long long)i);
    status = kpdt__check_finite(s, size, "s", e);
    return status ? status : log_q ? kpdt__check_finite(log_q, C, "log_q", e) : KPD_OK;
}

static kpd_status kpdt__loss_matrix_by(const kpdt_loss_desc *d, const float *s, const uint8_t *mask, const float *log_q,
                                       size_t B, size_t C, const kpdt__ops *ops, const kpd_parallel *parallel,
                                       float *loss, float *ds, kpd_error *e) {
    kpdt__matrix x;
    double sum;
    kpd_status status = kpdt__loss_defaults(d, &x.d, e);
    if (!status) status = kpdt__matrix_check(&x.d, s, mask, log_q, B, C, e);
    if (status) return status;
    x.ops = ops; x.s = s; x.mask = mask; x.log_q = log_q; x.B = B; x.C = C; x.ds = ds;
    x.weight = (double)x.d.weight * (x.d.loss == KPDT_MNR ? 1 : 0.5) / (double)B;
    sum = kpdt__mnr(&x, false, parallel);
    if (x.d.loss == KPDT_MNR_SYMMETRIC) sum += kpdt__mnr(&x, true, parallel);
    *loss = (float)sum;
    return KPD_OK;
}

static kpd_status kpdt__loss_matrix(const kpdt_loss_desc *d, const float *s, const uint8_t *mask, const float *log_q, size_t B,
                                    size_t C, float *loss, float *ds, kpd_error *e) {
    kpd_parallel alone;
    const kpdt__ops *ops;
    kpd_status status = kpdt__choose_ops(KPD_SIMD_AUTO, &ops, e);
    if (status) return status;
    memset(&alone, 0, sizeof alone);
    return kpdt__loss_matrix_by(d, s, mask, log_q, B, C, ops, &alone, loss, ds, e);
}
KPD__GUARDED(8, kpdt_loss_matrix, kpdt__loss_matrix, const kpdt_loss_desc *, d, const float *, s, const uint8_t *, mask,
             const float *, log_q, size_t, B, size_t, C, float *, loss, float *, ds)

static kpd_status kpdt__cross_entropy(const float *logits, const int32_t *labels, size_t B, size_t C, float *loss,
                                      float *dlogits, kpd_error *e) {
    const kpdt__ops *ops;
    kpd_status status;
    size_t size;
    double sum = 0;
    if (!B || !C || !kpd__mul_ok(B, C, &size))
        return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "cross-entropy: no rows or no classes");
    status = kpdt__check_finite(logits, size, "logits", e);
    if (!status) status = kpdt__check_labels(labels, B, C, e);
    if (!status) status = kpdt__choose_ops(KPD_SIMD_AUTO, &ops, e);
    if (status) return status;
    for (size_t i = 0; i < B; i++) {
        kpdt__line l;
        l.s = logits + i * C; l.mask = NULL; l.log_q = NULL; l.n = C; l.scale = 1; l.ops = ops;
        sum += kpdt__line_loss(&l, (size_t)labels[i], 1 / (double)B, dlogits + i * C);
    }
    *loss = (float)sum;
    return KPD_OK;
}
KPD__GUARDED(6, kpdt_cross_entropy, kpdt__cross_entropy, const float *, logits, const int32_t *, labels, size_t, B, size_t, C,
             float *, loss, float *, dlogits)

// A head's row in hand. Of a part of a wider head, u, v, du and dv have `stride` columns, w and dw 3 `stride`.
typedef struct kpdt__head { const kpdt_softmax_head *h; size_t stride, row; double weight, g[KPDT_MAX_LABELS]; } kpdt__head;

// Where the weight of a label and of part 0 (u), 1 (v) or 2 (|u-v|) of the input's column k stands.
static size_t kpdt__head_at(const kpdt__head *x, size_t label, size_t part, size_t k) {
    return (label * 3 + part) * x->stride + k;
}

static double kpdt__head_input(const kpdt__head *x, size_t part, size_t k) {
    double u = (double)x->h->u[x->row * x->stride + k], v = (double)x->h->v[x->row * x->stride + k];
    return !part ? u : part == 1 ? v : kpdt__abs(u - v);
}

// Loss of the row; g becomes its gradient with respect to the logits.
static double kpdt__head_forward(kpdt__head *x, size_t own) {
    const kpdt_softmax_head *h = x->h;
    size_t labels = (size_t)h->labels;
    double most = 0, z = 0, at, *g = x->g;
    for (size_t c = 0; c < labels; c++) {
        g[c] = 0;
        for (size_t part = 0; part < 3; part++)
            for (size_t k = 0; k < (size_t)h->dim; k++)
                g[c] += (double)h->w[kpdt__head_at(x, c, part, k)] * kpdt__head_input(x, part, k);
        if (h->bias) g[c] += (double)h->bias[c];
        if (!c || g[c] > most) most = g[c];
    }
    at = g[own] - most;
    for (size_t c = 0; c < labels; c++) {
        g[c] = kpdt__exp(g[c] - most);
        z += g[c];
    }
    for (size_t c = 0; c < labels; c++) g[c] = (g[c] / z - (c == own)) / (double)h->B * x->weight;
    return (kpdt__log(z) - at) / (double)h->B * x->weight;
}

static void kpdt__head_backward(const kpdt__head *x) {
    const kpdt_softmax_head *h = x->h;
    const double *g = x->g;
    for (size_t k = 0; k < (size_t)h->dim; k++) {
        size_t at = x->row * x->stride + k;
        double of_u = 0, of_v = 0, of_d = 0, d = (double)h->u[at] - (double)h->v[at];
        for (size_t c = 0; c < (size_t)h->labels; c++) {
            of_u += g[c] * (double)h->w[kpdt__head_at(x, c, 0, k)];
            of_v += g[c] * (double)h->w[kpdt__head_at(x, c, 1, k)];
            of_d += g[c] * (double)h->w[kpdt__head_at(x, c, 2, k)];
        }
        if (!(d > 0)) of_d = d < 0 ? -of_d : 0;
        kpdt__add(&h->du[at], of_u + of_d);
        kpdt__add(&h->dv[at], of_v - of_d);
    }
    for (size_t c = 0; c < (size_t)h->labels; c++) {
        for (size_t part = 0; part < 3; part++)
            for (size_t k = 0; k < (size_t)h->dim; k++)
                kpdt__add(&h->dw[kpdt__head_at(x, c, part, k)], g[c] * kpdt__head_input(x, part, k));
        if (h->bias) kpdt__add(&h->dbias[c], g[c]);
    }
}

// The labels are label [B], or yes [B] over a half. Values were looked at.
static double kpdt__head_learn(const kpdt_softmax_head *h, size_t stride, double weight, const float *yes) {
    kpdt__head x;
    double sum = 0;
    x.h = h; x.stride = stride; x.weight = weight;
    for (x.row = 0; x.row < h->B; x.row++) {
        sum += kpdt__head_forward(&x, yes ? yes[x.row] >= 0.5f : (size_t)h->label[x.row]);
        kpdt__head_backward(&x);
    }
    return sum;
}

static kpd_status kpdt__softmax_head_loss(const kpdt_softmax_head *h, float *loss, kpd_error *e) {
    size_t dim = (size_t)h->dim;
    kpd_status s;
    if (h->labels > KPDT_MAX_LABELS)
        return kpd__fail(e, KPD_ERR_LIMIT, -1, "softmax head: %d labels, at most %d", (int)h->labels, KPDT_MAX_LABELS);
    if (!h->B || h->dim < 1 || h->labels < 1 || (h->bias && !h->dbias))
        return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "softmax head: no rows, width or labels, or a bias without dbias");
    s = kpdt__check_finite(h->u, h->B * dim, "u", e);
    if (!s) s = kpdt__check_finite(h->v, h->B * dim, "v", e);
    if (!s) s = kpdt__check_finite(h->w, (size_t)h->labels * 3 * dim, "w", e);
    if (!s && h->bias) s = kpdt__check_finite(h->bias, (size_t)h->labels, "bias", e);
    if (!s) s = kpdt__check_labels(h->label, h->B, (size_t)h->labels, e);
    if (s) return s;
    *loss = (float)kpdt__head_learn(h, dim, 1, NULL);
    return KPD_OK;
}
KPD__GUARDED(2, kpdt_softmax_head_loss, kpdt__softmax_head_loss, const kpdt_softmax_head *, h, float *, loss)

// Similarities are computed in tiles of 16 by 16 vectors, so that lengths are computed 1/16 as often as products.
#define KPDT__TILE 16
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
    kpdt_similarity_desc none;
    if (!d) d = (const kpdt_similarity_desc *)memset(&none, 0, sizeof none);
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

// MATRICES in float. With x^ = x/|x|: s = |a| (a b^) and, as g_i = sum_j ds_ij b^_j, da_i += (g_i - (g_i a^_i) a^_i) / |a_i|,
// which needs no scores. Under dot, x^ = x and da_i += g_i. A panel is 16 of the one side's vectors, or 16 columns of them.
typedef struct kpdt__all {              // all of a against all of b
    const kpdt__ops *ops;
    kpdt__tile t;                       // kind, dim and stride
    const float *a, *b; size_t na, nb;
    const float *ds;
    float *s, *da, *db;                 // s of the forward pass, the others of the backward one
    int32_t n_tasks;
} kpdt__all;

// [KPDT__CHAIN] numbers each: they lie on the stack of a task, some 40 KB.
typedef struct kpdt__all_room {
    float panel[16 * KPDT__CHAIN], inverse[KPDT__CHAIN], other[KPDT__CHAIN];
    double dot[KPDT__CHAIN];
} kpdt__all_room;

static void kpdt__inverses(const kpdt__tile *t, const float *v, size_t n, float *out) {
    for (size_t i = 0; i < n; i++) out[i] = (float)kpdt__inverse_length(t, v + i * t->stride);
}

// Whether the lengths of all vectors are such that no product of floats overflows, or loses what is left of it.
static bool kpdt__plain_lengths(const kpdt__tile *t, const float *v, size_t n) {
    for (size_t i = 0; i < n && t->kind != KPDT_SIM_DOT; i++) {
        double inverse = kpdt__inverse_length(t, v + i * t->stride);
        if (inverse != 0 && !(inverse > 1e-15 && inverse < 1e15)) return false;
    }
    return true;
}

// panel [n_k][16] = columns [k, k + n_k) of n vectors times their scales, turned; zeros behind them.
static void kpdt__pack_vectors(const kpdt__tile *t, const float *v, size_t n, size_t k, size_t n_k, const float *scale,
                               float *panel) {
    memset(panel, 0, n_k * 16 * sizeof *panel);
    for (size_t j = 0; j < n; j++)
        for (size_t i = 0; i < n_k; i++) panel[i * 16 + j] = v[j * t->stride + k + i] * scale[j];
}

// panel [n][16] = columns [k, k + n_k) of n vectors times their scales, as they lie.
static void kpdt__pack_columns(const kpdt__tile *t, const float *v, size_t n, size_t k, size_t n_k, const float *scale,
                               float *panel) {
    if (n_k < 16) memset(panel, 0, n * 16 * sizeof *panel);
    for (size_t j = 0; j < n; j++)
        for (size_t i = 0; i < n_k; i++) panel[j * 16 + i] = v[j * t->stride + k + i] * scale[j];
}

// Scores of rows [from, to), at most KPDT__CHAIN of them.
static void kpdt__all_scores(const kpdt__all *x, size_t from, size_t to, kpdt__all_room *room) {
    const kpdt__tile *t = &x->t;
    kpdt__products p;
    kpdt__inverses(t, x->a + from * t->stride, to - from, room->inverse);
    p.ldx = t->stride; p.rows = to - from; p.panel = room->panel;
    for (size_t j = 0; j < x->nb; j += 16) {
        size_t n = kpd__min(16, x->nb - j);
        kpdt__inverses(t, x->b + j * t->stride, n, room->other);
        for (size_t k = 0; k < t->dim; k += KPDT__CHAIN) {
            p.n_k = kpd__min(KPDT__CHAIN, t->dim - k);
            p.x = x->a + from * t->stride + k;
            p.add = k > 0;
            kpdt__pack_vectors(t, x->b + j * t->stride, n, k, p.n_k, room->other, room->panel);
            x->ops->scores(&p, k + p.n_k == t->dim ? room->inverse : NULL, n, x->s + from * x->nb + j, x->nb);
        }
    }
}

// Takes from a gradient what lies along its vector.
static void kpdt__all_project(const kpdt__tile *t, const float *own, double dot, float *d) {
    double length = kpdt__inverse_length(t, own), along = dot * length * length * length;
    for (size_t k = 0; k < t->dim; k++) kpdt__add(&d[k], -along * (double)own[k]);
}

// The gradient of vectors [from, to) of a, or of b: at most KPDT__CHAIN of them.
static void kpdt__all_gradient(const kpdt__all *x, bool of_b, size_t from, size_t to, kpdt__all_room *room) {
    const kpdt__tile *t = &x->t;
    const float *own = (of_b ? x->b : x->a) + from * t->stride, *others = of_b ? x->a : x->b;
    float *d = (of_b ? x->db : x->da) + from * t->stride;
    size_t n_others = of_b ? x->na : x->nb;
    kpdt__products p;
    kpdt__inverses(t, own, to - from, room->inverse);
    memset(room->dot, 0, (to - from) * sizeof *room->dot);
    p.ldx = x->nb; p.rows = to - from; p.panel = room->panel; p.add = false;
    for (size_t j = 0; j < n_others; j += p.n_k) {
        p.n_k = kpd__min(KPDT__CHAIN, n_others - j);
        p.x = x->ds + (of_b ? j * x->nb + from : from * x->nb + j);
        kpdt__inverses(t, others + j * t->stride, p.n_k, room->other);
        for (size_t k = 0; k < t->dim; k += 16) {
            size_t n = kpd__min(16, t->dim - k);
            kpdt__pack_columns(t, others + j * t->stride, p.n_k, k, n, room->other, room->panel);
            x->ops->score_gradient(&p, of_b, room->inverse, n, own + k, t->stride, room->dot, d + k);
        }
    }
    for (size_t i = 0; t->kind != KPDT_SIM_DOT && i < to - from; i++)
        kpdt__all_project(t, own + i * t->stride, room->dot[i], d + i * t->stride);
}

// A task has a run of rows of each result.
static void kpdt__all_task(void *arg, int32_t task) {
    const kpdt__all *x = (const kpdt__all *)arg;
    kpdt__all_room room;
    for (int of_b = 0; of_b < 2; of_b++) {
        size_t n = of_b ? x->nb : x->na, tasks = (size_t)x->n_tasks, end = n * ((size_t)task + 1) / tasks;
        for (size_t at = n * (size_t)task / tasks, next; at < end; at = next) {
            next = kpd__min(at + KPDT__CHAIN, end);
            if (x->s && !of_b) kpdt__all_scores(x, at, next, &room);
            if (of_b ? x->db != NULL : x->da != NULL) kpdt__all_gradient(x, of_b, at, next, &room);
        }
    }
}

// Whether all against all goes in float.
static bool kpdt__all_wanted(const kpdt_similarity_desc *d, const kpdt__tile *t, const float *a, size_t na, const float *b,
                             size_t nb) {
    return d && d->matrix && t->kind != KPDT_SIM_ANGLE && kpdt__plain_lengths(t, a, na) && kpdt__plain_lengths(t, b, nb);
}

static kpd_status kpdt__all_run(kpdt__all *x, const kpdt_similarity_desc *d, const kpdt__tile *t, kpd_error *e) {
    kpd_status s = kpd__parallel_check(&d->parallel, e);
    if (!s && !x->ops) s = kpdt__choose_ops(d->simd, &x->ops, e);
    if (s) return s;
    x->t = *t;
    x->n_tasks = x->na * x->nb < 16384 ? 1 : kpd__n_tasks(&d->parallel);
    kpd__run(&d->parallel, x->n_tasks, kpdt__all_task, x);
    return KPD_OK;
}

// ops NULL = those of d->simd: to choose a level means to test it, some 30 us.
static kpd_status kpdt__forward_by(const kpdt_similarity_desc *d, const kpdt__ops *ops, const float *a, size_t na,
                                   const float *b, size_t nb, float *s, kpd_error *e) {
    kpdt__tile t;
    bool angle;
    if (kpdt__similarity_check(d, na, nb, &t, e)) return KPD_ERR_ARGUMENT;
    if (kpdt__all_wanted(d, &t, a, na, b, nb)) {
        kpdt__all x;
        memset(&x, 0, sizeof x);
        x.ops = ops; x.a = a; x.b = b; x.na = na; x.nb = nb; x.s = s;
        return kpdt__all_run(&x, d, &t, e);
    }
    angle = t.kind == KPDT_SIM_ANGLE;
    for (size_t i = 0; i < na; i += d->matrix ? KPDT__TILE : 1)
        for (size_t j = d->matrix ? 0 : i; j < (d->matrix ? nb : i + 1); j += KPDT__TILE) {
            kpdt__tile_at(&t, a, i, d->matrix ? na : i + 1, b, j, d->matrix ? nb : i + 1);
            kpdt__tile_forward(&t);
            for (size_t x = 0; x < t.na; x++)
                for (size_t y = 0; y < t.nb; y++)
                    s[d->matrix ? (i + x) * nb + j + y : i] = (float)(angle ? kpdt__abs(t.s[x][y]) : t.s[x][y]);
        }
    return KPD_OK;
}
static kpd_status kpdt__similarity_forward(const kpdt_similarity_desc *d, const float *a, size_t na, const float *b, size_t nb,
                                           float *s, kpd_error *e) {
    return kpdt__forward_by(d, NULL, a, na, b, nb, s, e);
}
KPD__GUARDED(6, kpdt_similarity_forward, kpdt__similarity_forward, const kpdt_similarity_desc *, d, const float *, a,
             size_t, na, const float *, b, size_t, nb, float *, s)

static kpd_status kpdt__backward_by(const kpdt_similarity_desc *d, const kpdt__ops *ops, const float *a, size_t na,
                                    const float *b, size_t nb, const float *ds, float *da, float *db, kpd_error *e) {
    kpdt__tile t;
    if (kpdt__similarity_check(d, na, nb, &t, e)) return KPD_ERR_ARGUMENT;
    if (kpdt__all_wanted(d, &t, a, na, b, nb)) {
        kpdt__all x;
        memset(&x, 0, sizeof x);
        x.ops = ops; x.a = a; x.b = b; x.na = na; x.nb = nb; x.ds = ds; x.da = da; x.db = db;
        return kpdt__all_run(&x, d, &t, e);
    }
    for (size_t i = 0; i < na; i += d->matrix ? KPDT__TILE : 1)
        for (size_t j = d->matrix ? 0 : i; j < (d->matrix ? nb : i + 1); j += KPDT__TILE) {
            kpdt__tile_at(&t, a, i, d->matrix ? na : i + 1, b, j, d->matrix ? nb : i + 1);
            kpdt__tile_backward(&t, ds + (d->matrix ? i * nb + j : i), nb, da ? da + i * t.stride : NULL,
                                db ? db + j * t.stride : NULL);
        }
    return KPD_OK;
}
static kpd_status kpdt__similarity_backward(const kpdt_similarity_desc *d, const float *a, size_t na, const float *b, size_t nb,
                                            const float *ds, float *da, float *db, kpd_error *e) {
    return kpdt__backward_by(d, NULL, a, na, b, nb, ds, da, db, e);
}
KPD__GUARDED(8, kpdt_similarity_backward, kpdt__similarity_backward, const kpdt_similarity_desc *, d, const float *, a,
             size_t, na, const float *, b, size_t, nb, const float *, ds, float *, da, float *, db)

static kpd_status kpdt__dims_check(const kpdt_loss_desc *d, int32_t dim, kpd_error *e) {
    for (int32_t i = 0; i < KPDT_MAX_DIMS && d->dims[i]; i++)
        if (d->dims[i] < 1 || d->dims[i] > dim || (i && d->dims[i] >= d->dims[i - 1]))
            return kpd__fail(e, KPD_ERR_ARGUMENT, i, "loss: dims[%d] is %d, expected descending widths of at most %d", (int)i,
                             (int)d->dims[i], (int)dim);
    return KPD_OK;
}

// Rows of a and b that a loss on pairs takes together.
static size_t kpdt__n_pairs(const kpdt_vectors *v) { return v->of_a ? v->n_pairs : v->na; }

static kpd_status kpdt__of_check(const kpdt_vectors *v, kpd_error *e) {
    for (size_t i = 0; v->of_a && i < v->n_pairs; i++)
        if (v->of_a[i] < 0 || (size_t)v->of_a[i] >= v->na || v->of_b[i] < 0 || (size_t)v->of_b[i] >= v->nb)
            return kpd__fail(e, KPD_ERR_ARGUMENT, (int64_t)i, "loss: pair %llu is of rows %d and %d, expected below %llu and "
                             "%llu", (unsigned long long)i, (int)v->of_a[i], (int)v->of_b[i], (unsigned long long)v->na,
                             (unsigned long long)v->nb);
    return KPD_OK;
}

// The similarity layer of a loss: all against all, row by row, or pair by pair.
static kpd_status kpdt__vectors_forward(const kpdt_similarity_desc *d, const kpdt__ops *ops, const kpdt_vectors *v, float *s,
                                        kpd_error *e) {
    size_t dim = (size_t)v->dim;
    kpd_status status = KPD_OK;
    if (d->matrix || !v->of_a) return kpdt__forward_by(d, ops, v->a, v->na, v->b, v->nb, s, e);
    for (size_t i = 0; !status && i < v->n_pairs; i++)
        status = kpdt__forward_by(d, ops, v->a + (size_t)v->of_a[i] * dim, 1, v->b + (size_t)v->of_b[i] * dim, 1, s + i, e);
    return status;
}

static kpd_status kpdt__vectors_backward(const kpdt_similarity_desc *d, const kpdt__ops *ops, const kpdt_vectors *v,
                                         const float *ds, kpd_error *e) {
    size_t dim = (size_t)v->dim;
    kpd_status status = KPD_OK;
    if (d->matrix || !v->of_a) return kpdt__backward_by(d, ops, v->a, v->na, v->b, v->nb, ds, v->da, v->db, e);
    for (size_t i = 0; !status && i < v->n_pairs; i++) {
        size_t a = (size_t)v->of_a[i] * dim, b = (size_t)v->of_b[i] * dim;
        status = kpdt__backward_by(d, ops, v->a + a, 1, v->b + b, 1, ds + i, v->da ? v->da + a : NULL, v->db ? v->db + b : NULL,
                                   e);
    }
    return status;
}

// One Matryoshka width. ops: NULL of losses on pairs, which need none.
static kpd_status kpdt__vectors_at(const kpdt_loss_desc *d, const kpdt_vectors *v, const kpdt__ops *ops, int32_t dim,
                                   float *loss, kpd_error *e) {
    kpdt_similarity_desc sim;
    kpd_status status;
    size_t n;
    float *ds;
    sim.kind = d->similarity; sim.matrix = d->loss == KPDT_MNR || d->loss == KPDT_MNR_SYMMETRIC; sim.dim = dim;
    sim.stride = v->dim; sim.simd = v->simd; sim.parallel = v->parallel;
    if (!kpd__mul_ok(sim.matrix ? v->na : kpdt__n_pairs(v), sim.matrix ? v->nb : 1, &n))
        return kpd__fail(e, KPD_ERR_LIMIT, -1, "loss: na * nb overflows");
    ds = v->work + n;
    status = kpdt__vectors_forward(&sim, ops, v, v->work, e);
    if (!status && sim.matrix) status =
        kpdt__loss_matrix_by(d, v->work, v->mask, v->log_q, v->na, v->nb, ops, &v->parallel, loss, ds, e);
    else if (!status) status = kpdt__loss_pairs(d, v->work, v->t, v->query, n, loss, ds, e);
    if (!status) status = kpdt__vectors_backward(&sim, ops, v, ds, e);
    return status;
}

static kpd_status kpdt__loss_vectors_by(const kpdt_loss_desc *d, const kpdt_vectors *v, const kpdt__ops *ops, float *loss,
                                        kpd_error *e) {
    kpdt_loss_desc at = *d;
    double sum = 0;
    kpd_status status;
    status = kpdt__dims_check(d, v->dim, e);
    if (!status) status = kpdt__of_check(v, e);
    for (int32_t i = 0; !status && i < KPDT_MAX_DIMS && (!i || d->dims[i]); i++) {
        float one = 0;
        at.weight = kpdt__said(kpdt__or(d->weight, 1) * kpdt__or(d->dim_weights[i], 1));
        status = kpdt__vectors_at(&at, v, ops, d->dims[i] ? d->dims[i] : v->dim, &one, e);
        sum += (double)one;
    }
    if (!status) *loss = (float)sum;
    return status;
}
static kpd_status kpdt__loss_vectors(const kpdt_loss_desc *d, const kpdt_vectors *v, float *loss, kpd_error *e) {
    kpdt_loss_desc none;
    const kpdt__ops *ops = NULL;
    kpd_status status = KPD_OK;
    if (!d) d = (const kpdt_loss_desc *)memset(&none, 0, sizeof none);
    if (d->loss == KPDT_MNR || d->loss == KPDT_MNR_SYMMETRIC) status = kpdt__choose_ops(v->simd, &ops, e);
    return status ? status : kpdt__loss_vectors_by(d, v, ops, loss, e);
}
KPD__GUARDED(3, kpdt_loss_vectors, kpdt__loss_vectors, const kpdt_loss_desc *, d, const kpdt_vectors *, v, float *, loss)

// >>data  Mapped tables. Relies on kpd.h's files. Promises that a row is read inside the mapping, whatever the file has become,
// and that numbers are the same in every locale.

#define KPDT__STRIDE 16                 // good rows between two noted offsets

struct kpdt_dataset {
    kpd_allocator allocator;
    kpd__file file;
    char *path;                         // for messages: a copy behind this struct, or NULL
    size_t block_size;
    const char *data; size_t size;
    kpdt_column columns[KPDT_MAX_COLUMNS]; int32_t n_columns;
    bool skip_bad_rows;
    uint64_t *offsets; size_t offsets_size;   // of rows 0, 16, 32, ...; bytes allocated
    uint64_t *bad; size_t n_bad, bad_room;    // [2 n_bad] where each run of bad lines begins and ends; room in numbers
    int64_t rows, bad_rows;
    uint64_t sum;                       // of all bytes: by it a checkpoint knows the data again
};

// Digits at p, at most `end`, into *m as long as they count (15 of them), and how many were left out.
static const char *kpdt__digits(const char *p, const char *end, double *m, int *used, size_t *left_out) {
    for (; p < end && *p >= '0' && *p <= '9'; p++) {
        if (*used < 15) { *m = *m * 10 + (*p - '0'); *used += *m > 0; }
        else ++*left_out;
    }
    return p;
}

// A decimal number; what follows the 15th significant digit does not count. Hexadecimal, inf and nan are refused.
static bool kpdt__number(kpd_text text, float *out) {
    const char *p = text.data, *end = p + text.size, *begin, *dot;
    double m = 0, power = 1;
    size_t left_out = 0;
    int used = 0, ten = 0, e = 0;
    bool minus = p < end && *p == '-', down;
    if (p < end && (*p == '-' || *p == '+')) p++;
    begin = p;
    p = kpdt__digits(p, end, &m, &used, &left_out);
    dot = p;
    ten = (int)kpd__min(left_out, 1 << 20);             // far beyond what e could take back
    if (p < end && *p == '.') {
        size_t before = left_out;
        const char *from = ++p;
        p = kpdt__digits(p, end, &m, &used, &left_out);
        ten -= (int)kpd__min((size_t)(p - from) - (left_out - before), 1000);
        if (p == from && dot == begin) return false;
    } else if (p == begin) return false;
    if (p < end && (*p == 'e' || *p == 'E')) {
        bool negative = p + 1 < end && p[1] == '-';
        p += 1 + (p + 1 < end && (p[1] == '-' || p[1] == '+'));
        if (p == end) return false;
        for (; p < end && *p >= '0' && *p <= '9'; p++) e = e < 10000 ? e * 10 + (*p - '0') : e;
        ten += negative ? -e : e;
    }
    down = ten < 0;
    for (int i = down ? -ten : ten; i > 0 && power < 1e300; i--) power *= 10;   // exact up to 10^22
    m = down ? m / power : m * power;
    if (p != end || !(m <= (double)FLT_MAX)) return false;
    *out = (float)(minus ? -m : m);
    return true;
}

// One cell to where it belongs. False when it is a number that is none, or is out of range.
static bool kpdt__cell(kpdt_column role, kpd_text cell, kpdt_row *out) {
    switch (role) {
    case KPDT_COL_KEYPHRASE: out->keyphrase = cell; return true;
    case KPDT_COL_TITLE: out->title = cell; return true;
    case KPDT_COL_CATEGORY: out->category = cell; return true;
    case KPDT_COL_QUERY: out->query = cell; return true;
    case KPDT_COL_LABEL: return kpdt__number(cell, &out->label) && out->label >= 0 && out->label <= 1;
    case KPDT_COL_SCORE: return kpdt__number(cell, &out->score);
    case KPDT_COL_NEGATIVE:
        if (cell.size) out->negative[out->n_negatives++] = cell;
        return true;
    default: return true;
    }
}

static kpd_status kpdt__bad_row(const kpdt_dataset *x, int64_t line, int32_t column, kpd_text cell, kpd_error *e) {
    const char *label = kpd__file_label(x->path);
    if (column < 0)
        return kpd__fail(e, KPD_ERR_FORMAT, line, "%s:%lld: has %d columns, expected %d", label, (long long)line, -column,
                         (int)x->n_columns);
    return kpd__fail(e, KPD_ERR_FORMAT, line, "%s:%lld: column %d is '%.*s', expected a number%s", label, (long long)line,
                     (int)column + 1, kpd__shown(cell.data, cell.size, 40), cell.size ? cell.data : "",
                     x->columns[column] == KPDT_COL_LABEL ? " from 0 to 1" : "");
}

// A line without its end. `line` is its number, for the message.
static kpd_status kpdt__row_parse(const kpdt_dataset *x, kpd_text text, int64_t line, kpdt_row *out, kpd_error *e) {
    const char *p = text.data, *end = p + text.size;
    int32_t n = 0;
    memset(out, 0, offsetof(kpdt_row, negative));
    out->label = out->score = (float)kpdt__nan();
    if (text.size && end[-1] == '\r') end--;
    for (;;) {
        const char *tab = p < end ? (const char *)memchr(p, '\t', (size_t)(end - p)) : NULL;
        kpd_text cell;
        cell.data = p; cell.size = (size_t)((tab ? tab : end) - p);
        if (n < x->n_columns && !kpdt__cell(x->columns[n], cell, out)) return kpdt__bad_row(x, line, n, cell, e);
        n++;
        if (!tab) break;
        p = tab + 1;
    }
    return n == x->n_columns ? KPD_OK : kpdt__bad_row(x, line, -n, text, e);
}

// The line at *at, which moves behind it. False at the end.
static bool kpdt__next_line(const kpdt_dataset *x, uint64_t *at, kpd_text *out) {
    const char *p = x->data + *at, *lf;
    size_t left = x->size - (size_t)*at;
    if (!left) return false;
    lf = (const char *)memchr(p, '\n', left);
    out->data = p;
    out->size = lf ? (size_t)(lf - p) : left;
    *at += out->size + (lf != NULL);
    return true;
}

// A place between lines, and the first run of bad lines that is not before it.
typedef struct kpdt__cursor { uint64_t at; size_t run; } kpdt__cursor;

// At the row that begins at an offset; runs before it are passed over by bisection.
static kpdt__cursor kpdt__cursor_at(const kpdt_dataset *x, uint64_t offset) {
    kpdt__cursor c;
    size_t high = x->n_bad;
    c.at = offset;
    for (c.run = 0; c.run < high;) {
        size_t middle = c.run + (high - c.run) / 2;
        if (x->bad[2 * middle] < offset) c.run = middle + 1;
        else high = middle;
    }
    return c;
}

// The next good line; no bad one is looked at again. False at the end.
static bool kpdt__next_good(const kpdt_dataset *x, kpdt__cursor *c, kpd_text *out) {
    if (c->run < x->n_bad && x->bad[2 * c->run] == c->at) c->at = x->bad[2 * c->run++ + 1];
    return kpdt__next_line(x, &c->at, out);
}

// A bad line, at the end of the last run or as a new one.
static kpd_status kpdt__note_bad(kpdt_dataset *x, uint64_t begin, uint64_t end, kpd_error *e) {
    size_t n = 2 * x->n_bad;
    x->bad_rows++;
    if (n && x->bad[n - 1] == begin) { x->bad[n - 1] = end; return KPD_OK; }
    if (n == x->bad_room) {
        size_t room = n ? 2 * n : 64;
        uint64_t *bad = room <= SIZE_MAX / sizeof *bad ? (uint64_t *)kpd__alloc(&x->allocator, room * sizeof *bad) : NULL;
        if (!bad) return kpd__no_memory(e, room <= SIZE_MAX / sizeof *bad ? room * sizeof *bad : SIZE_MAX);
        if (n) memcpy(bad, x->bad, n * sizeof *bad);
        kpd__free(&x->allocator, x->bad, x->bad_room * sizeof *bad);
        x->bad = bad; x->bad_room = room;
    }
    x->bad[n] = begin; x->bad[n + 1] = end;
    x->n_bad++;
    return KPD_OK;
}

static size_t kpdt__count_lines(const kpdt_dataset *x) {
    kpd_text text;
    size_t n = 0;
    for (uint64_t at = 0; kpdt__next_line(x, &at, &text);) n++;
    return n;
}

// Checks every row and notes the offsets.
static kpd_status kpdt__dataset_scan(kpdt_dataset *x, kpd_error *e) {
    kpd_text text;
    kpdt_row row;
    int64_t line = 0;
    for (uint64_t at = 0, begin = 0; kpdt__next_line(x, &at, &text); begin = at) {
        kpd_status s = kpdt__row_parse(x, text, ++line, &row, e);
        if (s && x->skip_bad_rows) {
            s = kpdt__note_bad(x, begin, at, e);
            if (!s) continue;
        }
        if (s) return s;
        if (x->rows % KPDT__STRIDE == 0) x->offsets[x->rows / KPDT__STRIDE] = begin;
        x->rows++;
    }
    return KPD_OK;
}

static kpd_status kpdt__columns_check(const kpdt_dataset_desc *d, int32_t *n, kpd_error *e) {
    uint32_t seen = 0;
    for (*n = 0; *n < KPDT_MAX_COLUMNS && d->columns[*n] != KPDT_COL_END; ++*n) {
        int role = (int)d->columns[*n];
        if (role < 0 || role >= KPDT_COLUMN_COUNT)
            return kpd__fail(e, KPD_ERR_ARGUMENT, *n, "data: column %d has role %d, which there is not", (int)*n + 1, role);
        if (role != KPDT_COL_SKIP && role != KPDT_COL_NEGATIVE && seen >> role & 1)
            return kpd__fail(e, KPD_ERR_ARGUMENT, *n, "data: column %d has a role that another has already", (int)*n + 1);
        seen |= 1u << role;
    }
    if (seen & (1u << KPDT_COL_KEYPHRASE | 1u << KPDT_COL_TITLE)) return KPD_OK;
    return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "data: no column is a keyphrase or a title");
}

KPDDEF void kpdt_dataset_destroy(kpdt_dataset *x) {
    kpd_allocator a;
    if (!x) return;
    a = x->allocator;
    kpd__free(&a, x->offsets, x->offsets_size);
    kpd__free(&a, x->bad, x->bad_room * sizeof *x->bad);
    kpd__file_close(&x->file);
    kpd__free(&a, x, x->block_size);
}

static kpd_status kpdt__dataset_fill(kpdt_dataset *x, const kpdt_dataset_desc *d, kpd_error *e) {
    kpd_status s;
    x->data = d->data; x->size = d->size;
    if (d->path && !d->data) {
        s = kpd__file_open_path(d->path, false, 0, &x->file, &d->allocator, e);
        if (s) return s;
        x->data = (const char *)x->file.data; x->size = x->file.size;
    }
    if (!x->size) x->data = "";
    if (x->size >= 2 && (!memcmp(x->data, "\xFF\xFE", 2) || !memcmp(x->data, "\xFE\xFF", 2)))
        return kpd__fail(e, KPD_ERR_FORMAT, 1, "%.*s:1: UTF-16 text, expected UTF-8",
                         KPD__SHOWN(d->path ? d->path : "data", 300));
    if (x->size >= 3 && !memcmp(x->data, "\xEF\xBB\xBF", 3)) { x->data += 3; x->size -= 3; }   // a byte order mark
    x->offsets_size = (kpdt__count_lines(x) / KPDT__STRIDE + 1) * sizeof *x->offsets;
    x->offsets = (uint64_t *)kpd__alloc(&x->allocator, x->offsets_size);
    if (!x->offsets) return kpd__no_memory(e, x->offsets_size);
    x->sum = kpd__hash64(x->data, x->size);
    return kpdt__dataset_scan(x, e);
}

static kpd_status kpdt__dataset_open(const kpdt_dataset_desc *d, kpdt_dataset **out, kpd_error *e) {
    kpdt_dataset_desc none;
    size_t n_path;
    kpdt_dataset *x;
    int32_t n = 0;
    kpd_status s;
    if (!d) d = (const kpdt_dataset_desc *)memset(&none, 0, sizeof none);
    if (kpd__desc_check("data", d->abi, d->reserved, e)) return KPD_ERR_ARGUMENT;
    n_path = d->path ? strlen(d->path) + 1 : 0;
    s = kpdt__columns_check(d, &n, e);
    if (s) return s;
    if (!kpd__allocator_ok(&d->allocator))
        return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "allocator: has one function, expected both or none");
    if (!d->path && !d->data && d->size) return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "data: neither a path nor bytes");
    x = (kpdt_dataset *)kpd__alloc(&d->allocator, sizeof *x + n_path);
    if (!x) return kpd__no_memory(e, sizeof *x + n_path);
    x->allocator = d->allocator; x->block_size = sizeof *x + n_path;
    if (n_path) x->path = (char *)memcpy(x + 1, d->path, n_path);
    memcpy(x->columns, d->columns, sizeof x->columns);
    x->n_columns = n; x->skip_bad_rows = d->skip_bad_rows;
    s = kpdt__dataset_fill(x, d, e);
    if (s) kpdt_dataset_destroy(x);
    else *out = x;
    return s;
}
KPD__GUARDED(2, kpdt_dataset_open, kpdt__dataset_open, const kpdt_dataset_desc *, d, kpdt_dataset **, out)

KPDDEF int64_t kpdt_dataset_rows(const kpdt_dataset *x) { return x->rows; }
KPDDEF int64_t kpdt_dataset_bad_rows(const kpdt_dataset *x) { return x->bad_rows; }

static int32_t kpdt__columns_of(const kpdt_dataset *x, kpdt_column role) {
    int32_t n = 0;
    for (int32_t i = 0; i < x->n_columns; i++) n += x->columns[i] == role;
    return n;
}
static bool kpdt__has(const kpdt_dataset *x, kpdt_column role) { return kpdt__columns_of(x, role) > 0; }


// The good row at a cursor, which is row i, for the message.
static kpd_status kpdt__row_at(const kpdt_dataset *x, kpdt__cursor *c, int64_t i, kpdt_row *out, kpd_error *e) {
    kpd_text text;
    if (kpdt__next_good(x, c, &text) && !kpdt__row_parse(x, text, 0, out, NULL)) return KPD_OK;
    return kpd__fail(e, KPD_ERR_FORMAT, i, "%s: row %lld is no longer what it was: the file has been changed",
                     kpd__file_label(x->path), (long long)i);
}

static kpd_status kpdt__dataset_get(const kpdt_dataset *x, int64_t i, kpdt_row *out, kpd_error *e) {
    kpd_text text;
    kpdt__cursor c;
    if (i < 0 || i >= x->rows)
        return kpd__fail(e, KPD_ERR_ARGUMENT, i, "data: row %lld of %lld", (long long)i, (long long)x->rows);
    c = kpdt__cursor_at(x, x->offsets[i / KPDT__STRIDE]);
    for (int64_t skip = i % KPDT__STRIDE; skip > 0; skip--) kpdt__next_good(x, &c, &text);
    return kpdt__row_at(x, &c, i, out, e);
}
KPD__GUARDED(3, kpdt_dataset_get, kpdt__dataset_get, const kpdt_dataset *, x, int64_t, i, kpdt_row *, out)

// Puts in front of the message of an error whence it comes: `what`, `between` and a number.
static kpd_status kpdt__from(kpd_error *e, kpd_status s, const char *what, const char *between, int64_t number) {
    if (!s || !e) return s;
    return kpd__fail(e, s, e->where, "%s%s%lld: %s", what, between, (long long)number, e->message);
}

// The same for an error that row i is to blame for: its file and line. Where rows were left out it reads all lines before.
static kpd_status kpdt__from_row(const kpdt_dataset *x, int64_t i, kpd_status s, kpd_error *e) {
    kpd_text text;
    kpdt_row row;
    int64_t line = 0;
    uint64_t at = 0;
    if (!s || !e) return s;
    if (!x->bad_rows) line = i + 1;
    else while (i >= 0 && kpdt__next_line(x, &at, &text)) i -= !kpdt__row_parse(x, text, ++line, &row, NULL);
    return kpdt__from(e, s, kpd__file_label(x->path), ":", line);
}

// >>sampler  Which rows make the next batch. Relies on >>data and on counter-based random numbers: an order of rows is a
// permutation that is computed, not stored, so a place in it is one number. Promises that a batch holds rows of one data set,
// that in each cycle every data set has exactly its share of the batches, and that an epoch has each row once (and the heads of
// a query's pieces again).

typedef struct kpdt__content { uint64_t shape, weights; } kpdt__content;   // by which a checkpoint knows a model again

typedef struct kpdt__feed {             // a source, and the place in it. A unit is a row, or BY_QUERY a query or a piece of one
    const kpdt_dataset *data;
    kpdt_loss_desc losses[KPDT_MAX_LOSSES + 1];
    kpdt_batching batching;
    uint64_t key;                       // of its permutations
    int64_t *starts;                    // [units + 1] BY_QUERY: twice each unit's first row, and 1 more for a piece that begins
                                        // with the query's head; else NULL
    int64_t units;
    size_t cells;                       // a row's keyphrase and its negatives, at most: `soft` and `log_q` are [rows, cells]
    float *soft;                        // the assistant's probabilities, -1 = not known yet; NULL = nobody asks
    float *log_q;                       // log of the share of the set's cells that have this text; NULL = nobody asks
    kpdt_refresh refresh;               // its keyphrases are set if the student mines; defaults filled in
    int32_t *mined;                     // [rows, refresh.mining.n] rows of those keyphrases, and behind them -1 for none
    int64_t mined_at;                   // before which step; -1 = not since this trainer was made or resumed
    kpdt__content judge;                // its assistant, or 0
    bool shared;                        // by desc.share
    int64_t quota, left;                // batches of the first cycle, or if shared of each; how many are still to come of this
    int64_t position;                   // units taken so far, over all epochs
    int64_t drawn, seen;                // rows in batches so far, and different ones
} kpdt__feed;

typedef struct kpdt__sampler {
    kpdt__feed *feeds; size_t n_feeds;
    size_t batch;
    uint64_t seed;
    int64_t draws;                      // batches so far
    int64_t *rows;                      // [batch] of the last one
    int32_t *mined; size_t n_mined;     // of all feeds
} kpdt__sampler;

// Where i of 0..n-1 goes: a permutation for each key. Six rounds of a Feistel network over 2^(2 half) >= n numbers, once more
// for as long as the result is n or over: less than four times on average [Black and Rogaway 2002].
static uint64_t kpdt__permute(uint64_t key, uint64_t i, uint64_t n) {
    int half = 1;
    uint64_t mask;
    while (half < 32 && (UINT64_C(1) << 2 * half) < n) half++;
    mask = (UINT64_C(1) << half) - 1;
    do {
        uint64_t a = i >> half, b = i & mask, swap;
        for (uint64_t round = 0; round < 6; round++) {
            swap = a ^ (kpd__mix(key + (b << 3 | round) * KPD__P1) & mask);
            a = b;
            b = swap;
        }
        i = a << half | b;
    } while (i >= n);
    return i;
}

static bool kpdt__same_query(const kpdt_row *a, const kpdt_row *b) {
    return a->query.size == b->query.size && !memcmp(a->query.data, b->query.data, a->query.size);
}

// Queries and pieces of at most `batch` rows, with the heads of the pieces if those are wanted: writes where they begin, and
// the end. Returns their number, or -1. One walk over the rows.
static int64_t kpdt__query_units(const kpdt_dataset *x, size_t batch, bool heads, int64_t *starts, kpd_error *e) {
    kpdt__cursor c = kpdt__cursor_at(x, x->offsets[0]);
    kpdt_row row, last;
    int64_t n = 0;
    size_t have = 0;
    memset(&last, 0, sizeof last);
    for (int64_t i = 0; i < x->rows; i++) {
        bool same, headed;
        if (kpdt__row_at(x, &c, i, &row, e)) return -1;
        same = i && kpdt__same_query(&row, &last);
        last = row;
        if (same && have++ < batch) continue;
        headed = same && heads && batch > 1;
        starts[n++] = 2 * i + headed;
        have = (size_t)1 + headed;
    }
    starts[n] = 2 * x->rows;
    return n;
}

// The unit at place i of an epoch.
static int64_t kpdt__unit_of(const kpdt__feed *f, int64_t epoch, int64_t i) {
    if (f->batching == KPDT_IN_ORDER) return i;
    return (int64_t)kpdt__permute(kpd__mix(f->key + (uint64_t)epoch), (uint64_t)i, (uint64_t)f->units);
}

// The one at the feed's place, and how many are left of the epoch from there.
static int64_t kpdt__unit_at(const kpdt__feed *f) {
    return kpdt__unit_of(f, f->position / f->units, f->position % f->units);
}
static int64_t kpdt__epoch_left(const kpdt__feed *f) { return f->units - f->position % f->units; }

// Rows of a unit BY_QUERY, without and with a head.
static int64_t kpdt__own_rows(const kpdt__feed *f, int64_t unit) { return f->starts[unit + 1] / 2 - f->starts[unit] / 2; }
static int64_t kpdt__unit_rows(const kpdt__feed *f, int64_t unit) { return kpdt__own_rows(f, unit) + f->starts[unit] % 2; }

// How many batches an epoch is.
static int64_t kpdt__epoch_batches(const kpdt__feed *f, int64_t epoch, int64_t batch) {
    int64_t n = 0, room = 0;
    if (!f->starts) return (f->units + batch - 1) / batch;
    for (int64_t i = 0; i < f->units; i++) {
        int64_t rows = kpdt__unit_rows(f, kpdt__unit_of(f, epoch, i));
        if (rows > room) { room = batch; n++; }
        room -= rows;
    }
    return n;
}

static size_t kpdt__take_rows(kpdt__sampler *s, kpdt__feed *f) {
    size_t n = kpd__min(s->batch, (size_t)kpdt__epoch_left(f));
    if (f->position < f->units) f->seen += (int64_t)n;
    for (size_t i = 0; i < n; i++, f->position++) s->rows[i] = kpdt__unit_at(f);
    return n;
}

static size_t kpdt__take_queries(kpdt__sampler *s, kpdt__feed *f) {
    size_t n = 0;
    for (int64_t left = kpdt__epoch_left(f); left; left--) {
        int64_t unit = kpdt__unit_at(f), head = unit;
        if (n + (size_t)kpdt__unit_rows(f, unit) > s->batch) break;
        while (f->starts[head] % 2) head--;
        if (head < unit) s->rows[n++] = f->starts[head] / 2;
        for (int64_t r = 0; r < kpdt__own_rows(f, unit); r++) s->rows[n++] = f->starts[unit] / 2 + r;
        if (f->position < f->units) f->seen += kpdt__own_rows(f, unit);
        f->position++;
    }
    return n;
}

static int64_t kpdt__batches_left(const kpdt__sampler *s) {
    int64_t all = 0;
    for (size_t i = 0; i < s->n_feeds; i++) all += s->feeds[i].left;
    return all;
}

// Batches of a feed in a cycle: an epoch's, and that of the place where the feed stands, unless it has a share.
static int64_t kpdt__cycle_batches(const kpdt__sampler *s, const kpdt__feed *f, int64_t epoch) {
    return f->shared ? f->quota : kpdt__epoch_batches(f, epoch, (int64_t)s->batch);
}

// Draws a feed, each as often in a cycle as its quota says: without replacement.
static kpdt__feed *kpdt__next_feed(kpdt__sampler *s) {
    size_t at, i = 0;
    if (!kpdt__batches_left(s))
        for (size_t k = 0; k < s->n_feeds; k++)
            s->feeds[k].left = kpdt__cycle_batches(s, &s->feeds[k], s->feeds[k].position / s->feeds[k].units);
    at = kpdt__random_below(s->seed, (uint64_t)s->draws++, (size_t)kpdt__batches_left(s));
    for (; at >= (size_t)s->feeds[i].left; i++) at -= (size_t)s->feeds[i].left;
    s->feeds[i].left--;
    return &s->feeds[i];
}

static int32_t kpdt__feed_mines(const kpdt__feed *f) { return f->refresh.keyphrases ? f->refresh.mining.n : 0; }

// A row with the negatives that were mined for it.
static kpd_status kpdt__feed_get(const kpdt__feed *f, int64_t i, kpdt_row *out, kpd_error *e) {
    int32_t n = kpdt__feed_mines(f);
    const int32_t *mined = n ? f->mined + i * n : NULL;
    kpd_status s = kpdt__dataset_get(f->data, i, out, e);
    for (int32_t k = 0; !s && k < n && mined[k] >= 0; k++) {
        kpdt_row one;
        s = kpdt__dataset_get(f->refresh.keyphrases, mined[k], &one, e);
        if (!s) out->negative[out->n_negatives++] = one.keyphrase;
    }
    return s;
}

// The next batch: s->rows, *n of *from. The last batch of an epoch may be short; none is empty.
static void kpdt__sample(kpdt__sampler *s, kpdt__feed **from, size_t *n) {
    kpdt__feed *f = kpdt__next_feed(s);
    *from = f;
    *n = f->batching == KPDT_BY_QUERY ? kpdt__take_queries(s, f) : kpdt__take_rows(s, f);
    f->drawn += (int64_t)*n;
}

// >>mining  Hard negatives. Relies on kpd.h's search and scores, and on the numbers. Promises that a row's negatives depend on
// the row, its number and the index only.

// Of n rows: u different items, R ranks. Candidates of a row stand in the order in which they are taken.
typedef struct kpdt__mining {
    kpdt_mining_desc d;                 // defaults filled in
    kpd_session *s;
    const kpdt_mining_row *rows; size_t n, dim, ranks;
    int32_t *item; size_t n_items;      // [n] number of the row's item
    size_t *first_row;                  // [n] of an item
    kpd_input *in;                      // [n], or [n, d.n] of what the assistant is asked
    float *q, *own;                     // [n, dim] vectors of items, and of rows' keyphrases
    kpd_hit *hits; int32_t *found;      // [n, last_rank], [n] of items
    kpd_hit *candidates; int32_t *n_candidates, *taken;     // [n, R], [n], [n]
    int32_t *asked; float *logit;       // [n, d.n] rows of what the assistant is asked, and what it says
    uint64_t *known, *seen;             // hashes: [most known + 1] of an item's keyphrases, [R] of the candidates so far
    size_t most_known;
    int32_t *ids, *types;               // [max_tokens of the student]
    kpdt_mining_counts total;
    void *block; size_t block_size;
} kpdt__mining;

static void kpdt__mining_lay(kpdt__mining *m, kpd__arena *a) {
    size_t n = m->n, each = (size_t)m->d.n, tokens = (size_t)m->d.student->desc.max_tokens;
    int32_t **const rows[4] = {&m->item, &m->found, &m->n_candidates, &m->taken};
    for (int i = 0; i < 4; i++) *rows[i] = (int32_t *)kpd__take(a, n, sizeof(int32_t));
    m->first_row = (size_t *)kpd__take(a, n, sizeof(size_t));
    m->in = (kpd_input *)kpd__take(a, n, each * sizeof(kpd_input));
    m->asked = (int32_t *)kpd__take(a, n, each * sizeof(int32_t));
    m->logit = kpdt__take(a, n, each);
    m->q = kpdt__take(a, n, m->dim);
    m->own = kpdt__take(a, n, m->dim);
    m->hits = (kpd_hit *)kpd__take(a, n, (size_t)m->d.last_rank * sizeof(kpd_hit));
    m->candidates = (kpd_hit *)kpd__take(a, n, m->ranks * sizeof(kpd_hit));
    m->known = (uint64_t *)kpd__take(a, m->most_known + 1, sizeof(uint64_t));
    m->seen = (uint64_t *)kpd__take(a, m->ranks, sizeof(uint64_t));
    m->ids = (int32_t *)kpd__take(a, tokens, sizeof(int32_t));
    m->types = (int32_t *)kpd__take(a, tokens, sizeof(int32_t));
}

// A number of the tokens that a model reads of a text. ids and types hold its max_tokens.
static kpd_status kpdt__text_hash(const kpd_model *m, kpd_tower tower, const kpd_input *in, int32_t *ids, int32_t *types,
                                  int64_t where, uint64_t *out, kpd_error *e) {
    kpd_tokens tokens;
    kpd_status s;
    memset(&tokens, 0, sizeof tokens);
    tokens.ids = ids; tokens.types = types; tokens.capacity = m->desc.max_tokens;
    s = kpd__model_encode(m, kpd__role(m, tower), in, false, &tokens, where, e);
    if (s) return s;
    *out = kpd__mix(kpd__hash64(ids, (size_t)tokens.count * sizeof *ids)) ^
           kpd__hash64(types, (size_t)tokens.count * sizeof *types);
    return KPD_OK;
}

static bool kpdt__same_item(const kpd_row *a, const kpd_row *b) {
    return a->title.size == b->title.size && a->category.size == b->category.size &&
           (!a->title.size || !memcmp(a->title.data, b->title.data, a->title.size)) &&
           (!a->category.size || !memcmp(a->category.data, b->category.data, a->category.size));
}

// The keyphrase of an id, if it has one.
static bool kpdt__mining_lookup(const kpdt__mining *m, int64_t id, kpd_text *out) {
    if (m->d.lookup) return m->d.lookup(m->d.lookup_user, id, out) && out->size;
    return !kpd_index_text(m->d.index, id, out, NULL) && out->size;
}

// Stands for the index's own texts where a recommendation's desc is checked.
static bool kpdt__mining_no_lookup(void *user, int64_t id, kpd_text *out) {
    (void)user; (void)id; (void)out;
    return false;
}

static kpdt_mining_desc kpdt__mining_defaults(const kpdt_mining_desc *d) {
    kpdt_mining_desc out = *d;
    if (!out.n) out.n = 4;
    if (!out.first_rank) out.first_rank = 1;
    if (!out.last_rank) out.last_rank = 100;
    out.threshold = kpdt__or(out.threshold, 0.5f);
    return out;
}

static kpd_status kpdt__mining_numbers_check(const kpdt_mining_desc *d, kpd_error *e) {
    const float f[4] = {d->max_score, d->min_score, d->margin, d->relative_margin};
    kpd_status s = kpd__range(e, "mining: n", d->n, 1, KPD_MAX_K);
    if (!s) s = kpd__range(e, "mining: last_rank", d->last_rank, 1, KPD_MAX_K);
    if (!s) s = kpd__range(e, "mining: first_rank", d->first_rank, 1, d->last_rank);
    if (!s && !(d->threshold > 0 && d->threshold <= 1))
        s = kpd__fail(e, KPD_ERR_ARGUMENT, -1, "mining: threshold is %g, expected over 0 to 1", (double)d->threshold);
    for (int i = 0; i < 4 && !s; i++)
        if (!kpd__finite(f[i]) || (i > 1 && f[i] < 0))
            s = kpd__fail(e, KPD_ERR_ARGUMENT, -1, "mining: scores and margins must be finite, margins not negative");
    return s;
}

// Of candidates that no index finds: their scores are not those of the row's keyphrase, which has none.
static kpd_status kpdt__mining_candidates_check(const kpdt_mining_desc *d, kpd_error *e) {
    if (!d->lookup) return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "mining: candidates without a lookup of their texts");
    if (kpdt__is_said(d->margin) || kpdt__is_said(d->relative_margin))
        return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "mining: a margin is of an index's scores, not of candidates'");
    return d->assistant ? kpd__assistant_check(d->assistant, "mining", e) : KPD_OK;
}

static kpd_status kpdt__mining_check(const kpdt_mining_desc *d, const kpd_session *s, kpd_error *e) {
    kpd_recommend_desc as;
    kpd_status status;
    if (!d->student || !d->index == !d->candidates)
        return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "mining: student is required, and index or candidates");
    if (kpd__desc_check("mining", d->abi, d->reserved, e)) return KPD_ERR_ARGUMENT;
    if (!kpd__allocator_ok(&d->allocator))
        return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "allocator: has one function, expected both or none");
    if (d->student->desc.kind != KPD_BI_ENCODER)
        return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "mining: student is a cross-encoder, expected a bi-encoder");
    if (d->index && d->index->metric == KPD_L2)
        return kpd__fail(e, KPD_ERR_UNSUPPORTED, -1, "mining: an index by l2, expected one by cosine or dot");
    status = kpdt__mining_numbers_check(d, e);
    if (status) return status;
    if (d->candidates) return kpdt__mining_candidates_check(d, e);
    memset(&as, 0, sizeof as);
    as.student = d->student; as.index = d->index; as.assistant = d->assistant; as.lookup = d->lookup;
    if (!as.lookup) as.lookup = kpdt__mining_no_lookup;
    as.search.k = d->last_rank; as.search.recall = d->recall; as.search.gamma = d->gamma;
    return kpd__recommend_check(s, &as, &as.search, e);
}

// Which rows follow each other with one item.
static void kpdt__mining_items(kpdt__mining *m) {
    for (size_t i = 0; i < m->n; i++) {
        bool same = i && kpdt__same_item(&m->rows[i].row, &m->rows[i - 1].row);
        if (!same) m->first_row[m->n_items++] = i;
        m->item[i] = (int32_t)m->n_items - 1;
    }
}

// What the host finds for the different items.
static kpd_status kpdt__mining_ask_host(kpdt__mining *m, kpd_error *e) {
    for (size_t i = 0; i < m->n_items; i++) {
        m->found[i] = m->d.candidates(m->d.candidates_user, &m->rows[m->first_row[i]].row, m->hits + i * (size_t)m->d.last_rank,
                                      m->d.last_rank);
        if (m->found[i] < 0 || m->found[i] > m->d.last_rank)
            return kpd__fail(e, KPD_ERR_ARGUMENT, (int64_t)m->first_row[i], "mining: candidates failed");
    }
    return KPD_OK;
}

// Vectors of the different items and of the rows' keyphrases, and what the index finds for the former.
static kpd_status kpdt__mining_search(kpdt__mining *m, kpd_error *e) {
    kpd_search_desc search;
    int32_t dim = (int32_t)m->dim;
    kpd_status s;
    for (size_t i = 0; i < m->n_items; i++)
        kpd_model_input(m->d.student, KPD_ITEM, &m->rows[m->first_row[i]].row, &m->in[i]);
    s = kpd_embed(m->s, m->d.student, KPD_ITEM, m->in, m->n_items, dim, m->q, e);
    if (s && e && e->where >= 0 && (size_t)e->where < m->n_items) e->where = (int64_t)m->first_row[e->where];
    if (s) return s;
    for (size_t i = 0; i < m->n; i++) kpd_model_input(m->d.student, KPD_KEYPHRASE, &m->rows[i].row, &m->in[i]);
    s = kpd_embed(m->s, m->d.student, KPD_KEYPHRASE, m->in, m->n, dim, m->own, e);
    if (s) return s;
    memset(&search, 0, sizeof search);
    search.k = m->d.last_rank; search.recall = m->d.recall; search.gamma = m->d.gamma;
    s = kpd_index_search(m->s, m->d.index, m->q, m->n_items, &search, m->hits, m->found, e);
    if (s && e && e->where >= 0 && (size_t)e->where < m->n_items) e->where = (int64_t)m->first_row[e->where];
    return s;
}

static kpd_status kpdt__keyphrase_hash(const kpdt__mining *m, kpd_text text, size_t row, uint64_t *out, kpd_error *e) {
    kpd_row only;
    kpd_input in;
    memset(&only, 0, sizeof only);
    only.keyphrase = text;
    kpd_model_input(m->d.student, KPD_KEYPHRASE, &only, &in);
    return kpdt__text_hash(m->d.student, KPD_KEYPHRASE, &in, m->ids, m->types, (int64_t)row, out, e);
}

static double kpdt__dot(const float *a, const float *b, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += (double)a[i] * (double)b[i];
    return sum;
}

static bool kpdt__among(const uint64_t *x, size_t n, uint64_t value) {
    for (size_t i = 0; i < n; i++)
        if (x[i] == value) return true;
    return false;
}

// Whether a score is one of a negative, where the row's keyphrase has `own`.
static bool kpdt__mining_in_bounds(kpdt__mining *m, float score, float own) {
    const kpdt_mining_desc *d = &m->d;
    double x = (double)score, y = (double)own;
    if (kpdt__is_said(d->max_score) && score > d->max_score) m->total.over_max++;
    else if (kpdt__is_said(d->min_score) && score < d->min_score) m->total.under_min++;
    else if ((kpdt__is_said(d->margin) && x > y - (double)d->margin) ||
             (kpdt__is_said(d->relative_margin) && x > y - (double)d->relative_margin * kpdt__abs(y))) m->total.over_margin++;
    else return true;
    return false;
}

// The similarity of a row's item and keyphrase; NaN where no index has any.
static float kpdt__mining_own(const kpdt__mining *m, size_t i) {
    const float *q = m->q + (size_t)m->item[i] * m->dim, *v = m->own + i * m->dim;
    if (!m->d.index) return (float)kpdt__nan();
    return m->d.index->metric == KPD_COSINE ? kpd_cosine(q, v, (int32_t)m->dim) : (float)kpdt__dot(q, v, m->dim);
}

// A row's candidates, in the order of rank, or of the draw.
static kpd_status kpdt__mining_candidates(kpdt__mining *m, size_t i, kpd_error *e) {
    const kpdt_mining_row *row = &m->rows[i];
    const kpd_hit *hits = m->hits + (size_t)m->item[i] * (size_t)m->d.last_rank;
    kpd_hit *out = m->candidates + i * m->ranks, swap;
    float own = kpdt__mining_own(m, i);
    bool same = i && row->n_known && row[-1].known == row->known && row[-1].n_known == row->n_known;    // hashed already
    size_t n = 0;
    kpd_status s = kpdt__keyphrase_hash(m, row->row.keyphrase, i, &m->known[row->n_known], e);
    for (size_t k = 0; !s && !same && k < row->n_known; k++) s = kpdt__keyphrase_hash(m, row->known[k], i, &m->known[k], e);
    for (int32_t r = m->d.first_rank - 1; !s && r < m->found[m->item[i]]; r++) {
        uint64_t hash = 0;
        kpd_text text;
        m->total.candidates++;
        if (!kpdt__mining_lookup(m, hits[r].id, &text)) { m->total.textless++; continue; }
        s = kpdt__keyphrase_hash(m, text, i, &hash, e);
        if (s) break;
        if (kpdt__among(m->known, row->n_known + 1, hash)) m->total.own++;
        else if (kpdt__among(m->seen, n, hash)) m->total.same++;
        else if (kpdt__mining_in_bounds(m, hits[r].score, own)) { m->seen[n] = hash; out[n++] = hits[r]; }
    }
    m->n_candidates[i] = (int32_t)n;
    for (size_t k = 0; m->d.sample && k + 1 < n; k++) {                  // [Fisher and Yates]
        size_t other = k + kpdt__random_below(kpd__mix(m->d.seed + KPD__P1) + (uint64_t)row->number, k, n - k);
        swap = out[k];
        out[k] = out[other];
        out[other] = swap;
    }
    return s;
}

// Takes a row's next candidate into a list.
static void kpdt__mining_put(const kpdt__mining *m, size_t i, int32_t candidate, float relevance, kpdt_mined *list,
                             int32_t *n) {
    const kpd_hit *hit = m->candidates + i * m->ranks + (size_t)candidate;
    kpdt_mined *to = &list[(*n)++];
    to->id = hit->id; to->score = hit->score; to->relevance = relevance;
}

// The candidates that the assistant is to be asked about next, of each row as many as it lacks negatives; their number.
static size_t kpdt__mining_ask(kpdt__mining *m, const int32_t *counts) {
    size_t n = 0;
    for (size_t i = 0; i < m->n; i++)
        for (int32_t k = counts[i], at = m->taken[i]; k < m->d.n && at < m->n_candidates[i]; k++, at++) {
            kpd_row pair = m->rows[i].row;
            kpdt__mining_lookup(m, m->candidates[i * m->ranks + (size_t)at].id, &pair.keyphrase);
            kpd_model_input(m->d.assistant, KPD_ITEM, &pair, &m->in[n]);
            m->asked[n++] = (int32_t)i;
        }
    return n;
}

// Round after round until each row has its negatives, or no candidate is left.
static kpd_status kpdt__mining_judged(kpdt__mining *m, const kpdt_mined_rows *out, kpd_error *e) {
    for (size_t n; (n = kpdt__mining_ask(m, out->n_negatives)) > 0;) {
        kpd_status s = kpd_score(m->s, m->d.assistant, m->in, n, m->logit, e);
        if (!s) s = kpdt__check_finite(m->logit, n, "mining: the assistant's logit", e);
        if (s && e && e->where >= 0 && (size_t)e->where < n) e->where = m->asked[e->where];
        if (s) return s;
        for (size_t k = 0; k < n; k++) {
            size_t i = (size_t)m->asked[k];
            float p = kpd_sigmoid(m->logit[k]);
            int32_t at = m->taken[i]++;
            bool relevant = p >= m->d.threshold;
            m->total.asked++;
            m->total.relevant += relevant;
            if (!relevant) kpdt__mining_put(m, i, at, p, out->negatives + i * (size_t)m->d.n, &out->n_negatives[i]);
            else if (out->relevant) kpdt__mining_put(m, i, at, p, out->relevant + i * m->ranks, &out->n_relevant[i]);
        }
    }
    return KPD_OK;
}

static kpd_status kpdt__mining_run(kpdt__mining *m, const kpdt_mined_rows *out, kpd_error *e) {
    kpd_status s;
    kpdt__mining_items(m);
    s = m->d.candidates ? kpdt__mining_ask_host(m, e) : kpdt__mining_search(m, e);
    for (size_t i = 0; !s && i < m->n; i++) s = kpdt__mining_candidates(m, i, e);
    if (s) return s;
    for (size_t i = 0; i < m->n; i++) {
        int32_t *n = &out->n_negatives[i];
        *n = m->taken[i] = 0;
        if (out->n_relevant) out->n_relevant[i] = 0;
        while (!m->d.assistant && *n < m->d.n && *n < m->n_candidates[i])
            kpdt__mining_put(m, i, *n, (float)kpdt__nan(), out->negatives + i * (size_t)m->d.n, n);
    }
    if (m->d.assistant) s = kpdt__mining_judged(m, out, e);
    for (size_t i = 0; i < m->n; i++) {
        m->total.negatives += out->n_negatives[i];
        m->total.short_rows += out->n_negatives[i] < m->d.n;
        m->total.empty_rows += !out->n_negatives[i];
    }
    m->total.rows += (int64_t)m->n;
    return s;
}

static kpd_status kpdt__mine(kpd_session *s, const kpdt_mining_desc *d, const kpdt_mining_row *rows, size_t n,
                             const kpdt_mined_rows *out, kpdt_mining_counts *total, kpd_error *e) {
    kpdt__mining m;
    kpd__arena a;
    kpd_status status;
    memset(&m, 0, sizeof m);
    memset(&a, 0, sizeof a);
    if (d) m.d = kpdt__mining_defaults(d);
    status = kpdt__mining_check(&m.d, s, e);
    if (status || !n) return status;
    m.s = s; m.rows = rows; m.n = n; m.dim = m.d.index ? (size_t)m.d.index->dim : 0;
    m.ranks = (size_t)(m.d.last_rank - m.d.first_rank + 1);
    for (size_t i = 0; i < n; i++) m.most_known = kpd__max(m.most_known, rows[i].n_known);
    if (total) m.total = *total;
    kpdt__mining_lay(&m, &a);
    status = kpd__arena_block(&a, &m.d.allocator, "mining: candidates", &m.block, &m.block_size, e);
    if (status) return status;
    kpdt__mining_lay(&m, &a);
    status = kpdt__mining_run(&m, out, e);
    if (!status && total) *total = m.total;
    kpd__free(&m.d.allocator, m.block, m.block_size);
    return status;
}
KPD__GUARDED(6, kpdt_mine, kpdt__mine, kpd_session *, s, const kpdt_mining_desc *, d, const kpdt_mining_row *, rows, size_t, n,
             const kpdt_mined_rows *, out, kpdt_mining_counts *, total)

// >>trainer  A start; then a step on data sets, and its phases over one net: a tape for each tower, and the texts that the
// tapes refer to. Relies on all above, and on the metrics. Promises that a phase called out of turn is refused, and that a
// batch gives the same bits in however many pieces it goes through a tape.

static bool kpdt__ends_with(const char *s, const char *end) {
    size_t n = strlen(s), m = strlen(end);
    return n >= m && !strcmp(s + n - m, end);
}

// w [n], before anything is copied.
static void kpdt__tensor_start(const kpd_tensor *t, uint64_t seed, size_t n, float *w) {
    bool norm = kpdt__ends_with(t->name, "orm.weight");   // LayerNorm.weight of the encoder, norm.weight of a module
    if (!norm && !kpdt__ends_with(t->name, ".bias")) { kpdt__normal(seed, 0.02f, n, w); return; }
    for (size_t i = 0; i < n; i++) w[i] = norm ? 1 : 0;
}

// Whether `from` has a tensor of this name, and of t's rows and cols.
static bool kpdt__has_tensor(const kpd_model *from, const char *name, const kpd_tensor *t) {
    kpd_tensor other;
    for (int32_t i = 0; from && kpd_model_tensor(from, i, &other); i++)
        if (!strcmp(other.name, name)) return other.rows == t->rows && other.cols == t->cols;
    return false;
}

// A tensor's name, in which the number of its layer is that of the layer with which it begins.
static void kpdt__layer_name(const char *name, const int32_t *layers, char out[80]) {
    static const char layer[] = "encoder.layer.";
    const char *at = strstr(name, layer), *rest = at ? at + sizeof layer - 1 : name + strlen(name);
    int32_t n = 0;
    int before = (int)(rest - name);
    for (; *rest >= '0' && *rest <= '9'; rest++) n = 10 * n + (*rest - '0');
    if (at && layers) snprintf(out, 80, "%.*s%d%s", before, name, (int)layers[n], rest);
    else snprintf(out, 80, "%s", name);
}

// The name of the tensor of `from` with which t begins, within `name`: its own, or in a keyphrase tower that of the tower which
// `from` has for both; NULL = none.
static const char *kpdt__origin(const kpd_model *from, const int32_t *layers, const kpd_tensor *t, char name[80]) {
    static const char prefix[] = "keyphrase.";
    size_t n = sizeof prefix - 1;
    kpdt__layer_name(t->name, layers, name);
    if (kpdt__has_tensor(from, name, t)) return name;
    return !strncmp(name, prefix, n) && kpdt__has_tensor(from, name + n, t) ? name + n : NULL;
}

static kpd_status kpdt__model_fill(kpd_model *m, const kpd_model *from, const int32_t *layers, uint64_t seed, float *w,
                                   kpd_error *e) {
    kpd_status s = KPD_OK;
    kpd_tensor t;
    for (int32_t i = 0; !s && kpd_model_tensor(m, i, &t); i++) {
        char name[80];
        const char *origin = kpdt__origin(from, layers, &t, name);
        if (origin) s = kpd_model_get(from, origin, w, e);
        else kpdt__tensor_start(&t, kpdt__random(seed, (uint64_t)i), (size_t)t.rows * (size_t)t.cols, w);
        if (!s) s = kpd_model_set(m, t.name, w, e);
    }
    return s;
}

static kpd_status kpdt__start_layers_check(const kpd_model_desc *d, const kpd_model *from, const int32_t *layers,
                                           kpd_error *e) {
    for (int32_t i = 0; layers && i < d->n_layers; i++)
        if (!from || layers[i] < 0 || layers[i] >= from->desc.n_layers)
            return kpd__fail(e, KPD_ERR_ARGUMENT, i, "start: layer %d is to begin with layer %d of %s, which has %d", (int)i,
                             (int)layers[i], from ? "another model" : "no model", from ? (int)from->desc.n_layers : 0);
    return KPD_OK;
}

static kpd_status kpdt__model_start(const kpd_model_desc *d, const kpd_model *from, const int32_t *layers, uint64_t seed,
                                    kpd_model **out, kpd_error *e) {
    kpd_model *m = NULL;
    kpd_tensor t;
    size_t most = 0;
    float *w;
    kpd_status s = kpd_model_create(d, &m, e);
    if (!s) s = kpdt__start_layers_check(d, from, layers, e);
    if (s) kpd_model_destroy(m);
    if (s) return s;
    for (int32_t i = 0; kpd_model_tensor(m, i, &t); i++)
        most = kpd__max(most, (size_t)t.rows * (size_t)t.cols * sizeof *w);
    w = (float *)kpd__alloc(&m->allocator, most);
    if (!w) {
        kpd_model_destroy(m);
        return kpd__no_memory(e, most);
    }
    s = kpdt__model_fill(m, from, layers, seed, w, e);
    kpd__free(&m->allocator, w, most);
    if (s) kpd_model_destroy(m);
    else *out = m;
    return s;
}
KPD__GUARDED(5, kpdt_model_start, kpdt__model_start, const kpd_model_desc *, d, const kpd_model *, from, const int32_t *,
             layers, uint64_t, seed, kpd_model **, out)

#define KPDT__SECOND_TOWER (UINT64_C(1) << 40)   // number of its first text for dropout

typedef struct kpdt__side {             // of one tower
    kpdt__tape *tape;
    int32_t *ids, *types;               // [max_tokens]
    size_t *first;                      // [max_texts + 1]
    uint64_t n_texts;                   // since the last apply
    bool kept;                          // a pass to go back through
    float *out, *dout;                  // [a batch's texts, D] of learn
    kpd_input *in;                      // [the larger of a batch's texts and max_texts] of draw and of a look at dev
} kpdt__side;

// Of a batch, beside its texts. Those of the keyphrase tower, or a cross-encoder's pairs, are the rows' and then the negatives:
// `texts` of them at most. A row's query is its keyphrase and its negatives, one behind the other.
typedef struct kpdt__rows {
    float *label, *score;               // [batch]
    int32_t *query;                     // [batch]
    int32_t *negative_of;               // [texts - batch]
    float *log_q;                       // [texts]
    float *t;                           // [texts] the assistant's
    kpd_input *pair;                    // [texts] what the assistant is asked, and
    int32_t *asked;                     // for which texts
    int64_t *own;                       // [texts] the text's cell of the source, where it has its own; else -1
    int32_t *of_a, *of_b, *of_query;    // [texts] in the order of queries: number of the row, of the text, of the query
    float *query_t, *query_s;           // likewise t, and a cross-encoder's logits
    float *ds;                          // [texts] of a cross-encoder's logits
} kpdt__rows;

// Which texts of a batch are the same to the model; all of it of NO_DUPLICATES before MNR only.
typedef struct kpdt__alike {
    int32_t *ids, *types;               // [max_tokens of the model]
    uint64_t *hash;                     // [texts] of a text's tokens
    int32_t *first[2];                  // [texts] by tower: the first that is the same
    uint8_t *mask;                      // [batch, texts]
} kpdt__alike;

typedef struct kpdt__dev {
    const kpdt_dataset *data;           // NULL = none
    kpdt_dev_metric metric;
    int32_t dim;
    int64_t steps;                      // between looks
    int32_t patience, bad_looks;        // in a row since the best, none of them better
    bool looked;                        // and saw a figure: there is a best
    float best;
    float *best_w;                      // [net->n]
    float *score, *label;               // [rows]
    uint8_t *yes;                       // [rows]
} kpdt__dev;

struct kpdt_trainer {
    kpd_allocator allocator;
    void *block; size_t block_size;
    kpd_model *shell;                   // tokenizer, templates and shape of the start
    kpdt__net *net;
    kpdt__side side[2]; int n_sides;
    kpdt__optimizer *optimizer;
    kpdt__schedule schedule;
    kpdt__sampler sampler;
    kpdt__rows rows;
    kpdt__alike alike;
    kpdt__dev dev;
    const kpd_model *assistant; kpd_session *session;   // for its scores
    kpdt__net *teacher; kpdt__tape *teacher_tape;       // of MLM_KL, or NULL
    float *work;                        // of a similarity's scores and their gradient
    size_t max_tokens, max_texts, batch;
    size_t texts_room;                  // keyphrases of a batch, or pairs, with negatives
    int32_t accumulate;
    float dropout;
    kpd_simd simd;                      // of what mines
    uint64_t seed, weights_seed;
    kpdt__content start_is, assistant_is, teacher_is;   // the latter two 0 where nobody asks them
    int64_t texts, tokens;              // through learn since the last apply
    kpdt_mining_counts mined; int64_t mined_at;     // before that step, of all sources
    kpd_progress host; kpd__progress progress;      // of a learn or a look
    bool begun;                         // a step: draw, learn, forward or mlm since the last apply
    int32_t mask;                       // the mask token's id
};

// Whether low <= v < high; a NaN is not.
static kpd_status kpdt__share(kpd_error *e, const char *what, float v, float low, float high) {
    if (v >= low && v < high) return KPD_OK;
    return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "training: %s is %g, expected at least %g and less than %g", what, (double)v,
                     (double)low, (double)high);
}

// -1 = the vocabulary has none.
static int32_t kpdt__mask_id(const kpd_model *m) {
    kpd_text text;
    text.data = m->tokenizer->desc.mask; text.size = strlen(text.data);
    return text.size ? kpd_token_id(m->tokenizer, text) : -1;
}

static kpd_status kpdt__trainer_numbers_check(const kpdt_trainer_desc *d, kpd_error *e) {
    kpd_status s = kpdt__share(e, "rate", d->rate, 0, FLT_MAX);
    if (!s) s = kpdt__share(e, "warmup", d->warmup, 0, 1);
    if (!s) s = kpdt__share(e, "weight_decay", d->weight_decay, 0, FLT_MAX);
    if (!s) s = kpdt__share(e, "beta1", d->beta1, 0, 1);
    if (!s) s = kpdt__share(e, "beta2", d->beta2, 0, 1);
    if (!s) s = kpdt__share(e, "epsilon", d->epsilon, 0, FLT_MAX);
    if (!s) s = kpdt__share(e, "clip", d->clip, -FLT_MAX, FLT_MAX);
    if (!s) s = kpdt__share(e, "dropout", d->dropout, 0, 1);
    if (!s) s = kpdt__share(e, "layer_decay", d->layer_decay, 0, FLT_MAX);
    if (!s) s = kpd__range(e, "training: batch", d->batch, 0, 1 << 20);
    if (!s) s = kpd__range(e, "training: accumulate", d->accumulate, 0, 1 << 20);
    if (!s) s = kpd__range(e, "training: epochs", d->epochs, 0, 1 << 20);
    if (!s) s = kpd__range(e, "training: steps", d->steps, d->n_sources ? 0 : 1, INT64_MAX / 2);
    if (!s) s = kpd__range(e, "training: max_tokens", d->max_tokens, 0, INT32_MAX);
    if (!s) s = kpd__range(e, "training: max_texts", d->max_texts, 0, INT32_MAX);
    if (!s) s = kpd__range(e, "training: negatives", d->negatives, 0, 1 << 10);
    if (!s) s = kpd__range(e, "training: frozen_layers", d->frozen_layers, 0, d->start->desc.n_layers);
    if (!s) s = kpd__range(e, "training: n_sources", d->n_sources, 0, 1 << 10);
    if (!s) s = kpd__range(e, "training: patience", d->patience, 0, INT32_MAX);
    if (!s) s = kpd__range(e, "training: dev_steps", d->dev_steps, 0, INT64_MAX / 2);
    return s;
}

// Whether a loss compares the pairs of a query: in batches that do not keep them together it learns nothing.
static bool kpdt__of_queries(const kpdt_loss_desc *l) {
    return l->loss == KPDT_MARGIN_MSE || l->loss == KPDT_KL || l->loss == KPDT_RANKNET ||
           (l->loss == KPDT_PEARSON && l->per_query);
}

// A row's negatives at most; and with its keyphrase, how many numbers it has of what is noted of each of these.
static int32_t kpdt__source_negatives(const kpdt_source *x) {
    if (x->refresh) return kpdt__mining_defaults(&x->refresh->mining).n;
    return kpdt__columns_of(x->data, KPDT_COL_NEGATIVE);
}
static size_t kpdt__source_cells(const kpdt_source *x) { return 1 + (size_t)kpdt__source_negatives(x); }

static bool kpdt__on_matrix(kpdt_loss l) { return l == KPDT_MNR || l == KPDT_MNR_SYMMETRIC; }
static bool kpdt__on_texts(kpdt_loss l) { return l == KPDT_MLM || l == KPDT_MLM_KL; }

static bool kpdt__any_on_matrix(const kpdt_loss_desc *losses) {
    bool any = false;
    for (int i = 0; i < KPDT_MAX_LOSSES && losses[i].loss; i++) any = any || kpdt__on_matrix(losses[i].loss);
    return any;
}

// The first of some losses that has no use for negatives, or NULL.
static const kpdt_loss_desc *kpdt__without_negatives(const kpdt_loss_desc *losses) {
    for (int i = 0; i < KPDT_MAX_LOSSES && losses[i].loss; i++)
        if (!kpdt__on_matrix(losses[i].loss) && !kpdt__of_queries(&losses[i])) return &losses[i];
    return NULL;
}

static kpd_status kpdt__negatives_check(const kpdt_loss_desc *losses, kpd_error *e) {
    const kpdt_loss_desc *l = kpdt__without_negatives(losses);
    if (!l) return KPD_OK;
    return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "%s has no use for negatives, which mnr, mnr-symmetric, margin-mse, kl, ranknet "
                     "and pearson per query have", kpdt_loss_name(l->loss));
}

// Losses on queries would be computed, and mean nothing. With negatives of its own a row is a query.
static kpd_status kpdt__source_queries_check(const kpdt_trainer_desc *d, int32_t i, const kpdt_loss_desc *l, kpd_error *e) {
    const kpdt_source *x = &d->sources[i];
    const char *name = kpdt_loss_name(l->loss), *per = l->loss == KPDT_PEARSON ? " per query" : "";
    if (kpdt__source_negatives(x)) return KPD_OK;
    if (kpdt__of_queries(l) && !kpdt__has(x->data, KPDT_COL_QUERY))
        return kpd__fail(e, KPD_ERR_ARGUMENT, i, "training: source %d: %s%s compares the rows of a query, and there is no "
                         "query column", (int)i, name, per);
    if (kpdt__of_queries(l) && x->batching != KPDT_BY_QUERY)
        return kpd__fail(e, KPD_ERR_ARGUMENT, i, "training: source %d: %s%s compares the rows of a query, which batching %s "
                         "scatters; expected %s", (int)i, name, per, kpdt_batching_name(x->batching),
                         kpdt_batching_name(KPDT_BY_QUERY));
    return KPD_OK;
}

// At every width a loss wants a similarity that can be had.
static kpd_status kpdt__loss_similarity_check(const kpdt_loss_desc *l, int32_t dim, kpd_error *e) {
    kpd_status s = kpdt__dims_check(l, dim, e);
    for (int32_t i = 0; !s && i < KPDT_MAX_DIMS && (!i || l->dims[i]); i++) {
        kpdt_similarity_desc x;
        kpdt__tile unused;
        memset(&x, 0, sizeof x);
        x.kind = l->similarity; x.dim = l->dims[i] ? l->dims[i] : dim;
        s = kpdt__similarity_check(&x, 1, 1, &unused, e);
    }
    return s;
}

// Whether a model of this kind, and dim columns of output, can learn a loss at all, whatever the rows.
static kpd_status kpdt__loss_check(kpd_kind kind, int32_t dim, const kpdt_loss_desc *l, kpd_error *e) {
    kpdt_loss_desc unused;
    kpd_status s = kpdt__loss_defaults(l, &unused, e);
    if (s) return s;
    if ((int)l->loss <= KPDT_LOSS_NONE || (int)l->loss >= KPDT_LOSS_COUNT || (unsigned)l->teacher > KPDT_BY_ASSISTANT)
        return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "loss %d by teacher %d, which there are not", (int)l->loss, (int)l->teacher);
    if (l->loss == KPDT_BCE && kind == KPD_BI_ENCODER && l->similarity != KPDT_SIM_DOT)
        return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "loss: BCE takes a logit, and a bi-encoder's cosine or angle is none; "
                         "expected KPDT_SIM_DOT or a loss on similarities");
    if (l->loss == KPDT_SOFTMAX && l->teacher != KPDT_BY_LABEL)
        return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "loss: softmax by teacher %s, expected label: it takes no and yes",
                         kpdt_teacher_name(l->teacher));
    if (kind == KPD_BI_ENCODER) return kpdt__on_texts(l->loss) ? KPD_OK : kpdt__loss_similarity_check(l, dim, e);
    if (kpdt__on_matrix(l->loss) || kpdt__on_texts(l->loss) || l->loss == KPDT_SOFTMAX)
        return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "loss: a cross-encoder learns from losses on pairs only");
    return KPD_OK;
}

// Those of a source or of a batch, up to LOSS_NONE: one at least, and MLM or MLM_KL alone.
static kpd_status kpdt__losses_check(kpd_kind kind, int32_t dim, const kpdt_loss_desc *losses, kpd_error *e) {
    if (!losses[0].loss) return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "no loss, expected 1 to %d", KPDT_MAX_LOSSES);
    for (int32_t k = 0; k < KPDT_MAX_LOSSES && losses[k].loss; k++) {
        kpd_status s = kpdt__loss_check(kind, dim, &losses[k], e);
        if (s) return s;
        if (k && (kpdt__on_texts(losses[k].loss) || kpdt__on_texts(losses[0].loss)))
            return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "%s stands beside another loss",
                             kpdt_loss_name(kpdt__on_texts(losses[k].loss) ? losses[k].loss : losses[0].loss));
    }
    return KPD_OK;
}

// Whether a data set has what one loss reads.
static kpd_status kpdt__source_loss_check(const kpdt_trainer_desc *d, int32_t i, const kpdt_loss_desc *l, kpd_error *e) {
    const kpdt_dataset *x = d->sources[i].data;
    const char *lacks = NULL;
    bool negatives = kpdt__source_negatives(&d->sources[i]) > 0;
    if (l->loss == KPDT_MLM_KL && !d->mlm_teacher)
        return kpd__fail(e, KPD_ERR_ARGUMENT, i, "training: source %d: mlm-kl follows desc.mlm_teacher, and there is none",
                         (int)i);
    if (kpdt__on_texts(l->loss)) return KPD_OK;
    if (!kpdt__has(x, KPDT_COL_KEYPHRASE)) lacks = "keyphrase";
    else if (!kpdt__has(x, KPDT_COL_TITLE)) lacks = "title";
    else if (kpdt__on_matrix(l->loss)) return KPD_OK;
    else if (l->teacher == KPDT_BY_LABEL && !negatives && !kpdt__has(x, KPDT_COL_LABEL)) lacks = "label";
    else if (l->teacher == KPDT_BY_SCORE && negatives)
        return kpd__fail(e, KPD_ERR_ARGUMENT, i, "training: source %d: %s by score, which negatives have none of; expected by "
                         "label or by assistant", (int)i, kpdt_loss_name(l->loss));
    else if (l->teacher == KPDT_BY_SCORE && !kpdt__has(x, KPDT_COL_SCORE)) lacks = "score";
    else if (l->teacher == KPDT_BY_ASSISTANT && !d->assistant)
        return kpd__fail(e, KPD_ERR_ARGUMENT, i, "training: source %d: a loss asks for an assistant, and there is none",
                         (int)i);
    if (!lacks) return KPD_OK;
    return kpd__fail(e, KPD_ERR_ARGUMENT, i, "training: source %d has no %s column, which one of its losses needs", (int)i,
                     lacks);
}

// Columns of what the net gives: labels, or vectors before any cut.
static int32_t kpdt__full_dim(const kpd_model *m) {
    return m->desc.kind == KPD_CROSS_ENCODER ? m->desc.n_labels : kpd__full_dim(&m->desc);
}

// Whether a source can have its negatives mined by the model that is trained.
static kpd_status kpdt__refresh_check(const kpdt_trainer_desc *d, const kpdt_source *x, kpd_error *e) {
    const kpdt_refresh *r = x->refresh;
    const kpdt_dataset *from = r->keyphrases ? r->keyphrases : x->data;
    kpdt_mining_desc m = kpdt__mining_defaults(&r->mining);
    kpd_status s;
    if (d->start->desc.kind != KPD_BI_ENCODER)
        return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "refresh: a cross-encoder finds no negatives, expected a bi-encoder");
    if (d->start->desc.similarity == KPD_L2)
        return kpd__fail(e, KPD_ERR_UNSUPPORTED, -1, "refresh: a model that compares by l2, expected one by cosine or dot");
    if (m.student || m.index || m.candidates || m.lookup || m.recall != 0 || m.gamma != 0 || m.allocator.alloc ||
        m.allocator.free)
        return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "refresh: student, index, candidates, lookup, recall, gamma and allocator "
                         "are the trainer's, expected 0");
    if (kpdt__has(x->data, KPDT_COL_NEGATIVE) || x->log_q)
        return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "refresh: beside %s, expected one of them",
                         x->log_q ? "log_q" : "a column of negatives");
    if (!kpdt__has(x->data, KPDT_COL_KEYPHRASE) || !kpdt__has(x->data, KPDT_COL_TITLE) || !from->rows ||
        !kpdt__has(from, KPDT_COL_KEYPHRASE))
        return kpd__fail(e, KPD_ERR_ARGUMENT, -1,
                         "refresh: wants rows with a keyphrase and a title, and keyphrases to look among");
    if (kpd__desc_check("mining", m.abi, m.reserved, e)) return KPD_ERR_ARGUMENT;
    s = kpdt__mining_numbers_check(&m, e);
    if (!s) s = kpd__range(e, "refresh: n", m.n, 1, KPDT_MAX_COLUMNS);
    if (!s) s = kpd__range(e, "refresh: steps", r->steps, 0, INT64_MAX / 2);
    if (!s) s = kpd__range(e, "refresh: dim", r->dim, 0, kpdt__full_dim(d->start));
    if (!s) s = kpd__range(e, "refresh: keyphrases", from->rows, 1, INT32_MAX);
    if (!s) s = kpd__range(e, "refresh: rows", x->data->rows, 1, UINT32_MAX);
    return s || !m.assistant ? s : kpd__assistant_check(m.assistant, "refresh", e);
}

static kpd_status kpdt__source_check(const kpdt_trainer_desc *d, int32_t i, kpd_error *e) {
    const kpdt_source *x = &d->sources[i];
    kpd_status s;
    if (!x->data || !x->data->rows)
        return kpd__fail(e, KPD_ERR_ARGUMENT, i, "training: source %d has no %s", (int)i, x->data ? "rows" : "data");
    if ((unsigned)x->batching > KPDT_IN_ORDER || (x->batching == KPDT_BY_QUERY && !kpdt__has(x->data, KPDT_COL_QUERY)))
        return kpd__fail(e, KPD_ERR_ARGUMENT, i,
                         "training: source %d: batching %d is unknown, or by query without such a column", (int)i,
                         (int)x->batching);
    if (!(x->share >= 0 && x->share <= FLT_MAX) || (x->share > 0) != (d->sources[0].share > 0))
        return kpd__fail(e, KPD_ERR_ARGUMENT, i, "training: source %d: share is %g, expected all 0 or all positive", (int)i,
                         (double)x->share);
    if (x->log_q && !kpdt__any_on_matrix(x->losses))
        return kpd__fail(e, KPD_ERR_ARGUMENT, i, "training: source %d: log_q is of mnr, which it has not", (int)i);
    s = kpdt__losses_check(d->start->desc.kind, kpdt__full_dim(d->start), x->losses, e);
    if (!s && x->refresh) s = kpdt__refresh_check(d, x, e);
    if (!s && kpdt__source_negatives(x)) s = kpdt__negatives_check(x->losses, e);
    if (s) return kpdt__from(e, s, "training: source", " ", i);
    for (int32_t k = 0; !s && k < KPDT_MAX_LOSSES && x->losses[k].loss; k++) {
        s = kpdt__source_loss_check(d, i, &x->losses[k], e);
        if (!s) s = kpdt__source_queries_check(d, i, &x->losses[k], e);
    }
    return s;
}

// Losses and dev's figures read one logit of a cross-encoder.
static kpd_status kpdt__one_label(int32_t n, kpd_error *e) {
    if (n == 1) return KPD_OK;
    return kpd__fail(e, KPD_ERR_UNSUPPORTED, -1, "training: a cross-encoder of %d labels; losses and dev read those of 1",
                     (int)n);
}

static kpd_status kpdt__dev_check(const kpdt_trainer_desc *d, kpd_error *e) {
    const kpdt_dataset *x = d->dev;
    bool text = d->dev_metric == KPDT_DEV_MLM_LOSS;
    if (!x) return KPD_OK;
    if ((unsigned)d->dev_metric > KPDT_DEV_MLM_LOSS || (text && d->start->desc.kind == KPD_CROSS_ENCODER))
        return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "training: dev_metric is %d, which there is not for this model",
                         (int)d->dev_metric);
    if (!x->rows ||
        (!text && !(kpdt__has(x, KPDT_COL_KEYPHRASE) && kpdt__has(x, KPDT_COL_TITLE) && kpdt__has(x, KPDT_COL_LABEL))))
        return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "training: dev has no rows, or not the columns keyphrase, title and label");
    return kpd__range(e, "training: dev_dim", d->dev_dim, 0, kpdt__full_dim(d->start));
}

static bool kpdt__any_source_has(const kpdt_trainer_desc *d, kpdt_loss loss) {
    bool any = false;
    for (int32_t i = 0; i < d->n_sources; i++)
        for (int k = 0; k < KPDT_MAX_LOSSES && d->sources[i].losses[k].loss; k++)
            any = any || d->sources[i].losses[k].loss == loss;
    return any;
}

// Asked for, or needed by a source or by dev.
static bool kpdt__wants_mlm(const kpdt_trainer_desc *d) {
    return d->mlm || (d->dev && d->dev_metric == KPDT_DEV_MLM_LOSS) || kpdt__any_source_has(d, KPDT_MLM) ||
           kpdt__any_source_has(d, KPDT_MLM_KL);
}

// Whether two models have the same tokens, number by number.
static bool kpdt__same_vocabulary(const kpd_model *a, const kpd_model *b) {
    const kpd_tokenizer_desc *x = kpd_tokenizer_get_desc(a->tokenizer), *y = kpd_tokenizer_get_desc(b->tokenizer);
    return a->desc.vocab_size == b->desc.vocab_size && x->vocab_size == y->vocab_size &&
           !memcmp(x->vocab, y->vocab, x->vocab_size);
}

// A teacher reads the start's token numbers, and guesses among them.
static kpd_status kpdt__teacher_check(const kpdt_trainer_desc *d, kpd_error *e) {
    const kpd_model_desc *start = &d->start->desc, *teacher = &d->mlm_teacher->desc;
    if (!teacher->mlm_head)
        return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "training: mlm_teacher has no mlm_head, as what was trained by mlm has");
    if (!kpdt__same_vocabulary(d->start, d->mlm_teacher))
        return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "training: mlm_teacher has another vocabulary than the start");
    if (teacher->n_positions < start->max_tokens || teacher->n_types < start->n_types)
        return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "training: mlm_teacher has %d positions and %d types, the start texts of up "
                         "to %d tokens and %d types", (int)teacher->n_positions, (int)teacher->n_types, (int)start->max_tokens,
                         (int)start->n_types);
    return KPD_OK;
}

static kpd_status kpdt__trainer_check(const kpdt_trainer_desc *d, kpd_error *e) {
    kpd_status s;
    if (d && kpd__desc_check("training", d->abi, d->reserved, e)) return KPD_ERR_ARGUMENT;
    if (!d || !d->start) return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "training: desc.start is missing");
    if (d->start->desc.dtype > KPD_F32)
        return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "training: the weights of start are %s, expected f32",
                         kpd_dtype_name(d->start->desc.dtype));
    if (!kpd__allocator_ok(&d->allocator))
        return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "allocator: has one function, expected both or none");
    s = kpd__parallel_check(&d->parallel, e);
    if (!s) s = kpdt__trainer_numbers_check(d, e);
    if (!s && d->n_sources && !d->sources)
        s = kpd__fail(e, KPD_ERR_ARGUMENT, -1, "training: n_sources is %d, and there are no sources", (int)d->n_sources);
    for (int32_t i = 0; !s && i < d->n_sources; i++) s = kpdt__source_check(d, i, e);
    if (!s && (d->n_sources || d->dev) && d->start->desc.kind == KPD_CROSS_ENCODER)
        s = kpdt__one_label(d->start->desc.n_labels, e);
    if (!s && kpdt__wants_mlm(d) && d->start->desc.kind == KPD_CROSS_ENCODER)
        s = kpd__fail(e, KPD_ERR_ARGUMENT, -1, "training: mlm is for bi-encoders, desc.start is a cross-encoder");
    if (!s && kpdt__wants_mlm(d) && kpdt__mask_id(d->start) < 0)
        s = kpd__fail(e, KPD_ERR_NOT_FOUND, -1, "training: mlm: the mask token \"%.*s\" is not in the vocabulary",
                      KPD__SHOWN(d->start->tokenizer->desc.mask, 60));
    if (!s && d->assistant) s = kpd__assistant_check(d->assistant, "training", e);
    if (!s && d->mlm_teacher) s = kpdt__teacher_check(d, e);
    if (!s) s = kpdt__dev_check(d, e);
    return s;
}

static void kpdt__side_lay(kpdt_trainer *t, kpdt__side *x, size_t texts, size_t dim, kpd__arena *a) {
    x->ids = (int32_t *)kpd__take(a, t->max_tokens, sizeof(int32_t));
    x->types = (int32_t *)kpd__take(a, t->max_tokens, sizeof(int32_t));
    x->first = (size_t *)kpd__take(a, t->max_texts + 1, sizeof(size_t));
    x->in = (kpd_input *)kpd__take(a, kpd__max(texts, t->max_texts), sizeof(kpd_input));
    x->out = kpdt__take(a, texts, dim);
    x->dout = kpdt__take(a, texts, dim);
}

static bool kpdt__asks(const kpdt_loss_desc *losses, kpdt_teacher teacher) {
    for (int i = 0; i < KPDT_MAX_LOSSES && losses[i].loss; i++)
        if (!kpdt__on_matrix(losses[i].loss) && !kpdt__on_texts(losses[i].loss) && losses[i].teacher == teacher) return true;
    return false;
}

static void kpdt__sampler_lay(kpdt__sampler *s, const kpdt_trainer_desc *d, kpd__arena *a) {
    s->rows = (int64_t *)kpd__take(a, s->batch, sizeof(int64_t));
    s->mined = (int32_t *)kpd__take(a, s->n_mined, sizeof(int32_t));
    s->feeds = (kpdt__feed *)kpd__take(a, s->n_feeds, sizeof(kpdt__feed));
    for (size_t i = 0; i < s->n_feeds; i++) {
        const kpdt_source *x = &d->sources[i];
        kpdt__feed unused, *f = s->feeds ? &s->feeds[i] : &unused;
        size_t rows = (size_t)x->data->rows;
        f->cells = kpdt__source_cells(x);
        if (x->batching == KPDT_BY_QUERY) f->starts = (int64_t *)kpd__take(a, rows + 1, sizeof(int64_t));
        if (kpdt__asks(x->losses, KPDT_BY_ASSISTANT)) f->soft = kpdt__take(a, rows, f->cells);
        if (x->log_q) f->log_q = kpdt__take(a, rows, f->cells);
    }
}

static bool kpdt__masks(kpdt_batching batching, const kpdt_loss_desc *losses) {
    return (batching == KPDT_NO_DUPLICATES || batching == KPDT_BY_QUERY) && kpdt__any_on_matrix(losses);
}

static void kpdt__alike_lay(kpdt_trainer *t, const kpdt_trainer_desc *d, kpd__arena *a) {
    size_t tokens = (size_t)d->start->desc.max_tokens, n = t->texts_room;
    bool masks = false;
    for (int32_t i = 0; i < d->n_sources; i++) masks = masks || kpdt__masks(d->sources[i].batching, d->sources[i].losses);
    if (!masks) return;
    t->alike.ids = (int32_t *)kpd__take(a, tokens, sizeof(int32_t));
    t->alike.types = (int32_t *)kpd__take(a, tokens, sizeof(int32_t));
    t->alike.hash = (uint64_t *)kpd__take(a, n, sizeof(uint64_t));
    for (int i = 0; i < 2; i++) t->alike.first[i] = (int32_t *)kpd__take(a, n, sizeof(int32_t));
    t->alike.mask = (uint8_t *)kpd__take(a, t->batch, n);
}

static void kpdt__rows_lay(kpdt__rows *x, size_t batch, size_t texts, kpd__arena *a) {
    int32_t **const numbers[6] = {&x->query, &x->negative_of, &x->asked, &x->of_a, &x->of_b, &x->of_query};
    float **const floats[5] = {&x->log_q, &x->t, &x->query_t, &x->query_s, &x->ds};
    for (int i = 0; i < 6; i++) *numbers[i] = (int32_t *)kpd__take(a, texts, sizeof(int32_t));
    for (int i = 0; i < 5; i++) *floats[i] = kpdt__take(a, texts, 1);
    x->label = kpdt__take(a, batch, 1);
    x->score = kpdt__take(a, batch, 1);
    x->pair = (kpd_input *)kpd__take(a, texts, sizeof(kpd_input));
    x->own = (int64_t *)kpd__take(a, texts, sizeof(int64_t));
}

static void kpdt__trainer_lay(kpdt_trainer *t, const kpdt_trainer_desc *d, kpd__arena *a) {
    size_t dim = (size_t)kpdt__full_dim(d->start), dev = d->dev ? (size_t)d->dev->rows : 0;
    for (int i = 0; i < t->n_sides; i++)
        kpdt__side_lay(t, &t->side[i], i == t->n_sides - 1 ? t->texts_room : t->batch, dim, a);
    kpdt__sampler_lay(&t->sampler, d, a);
    kpdt__alike_lay(t, d, a);
    kpdt__rows_lay(&t->rows, t->batch, t->texts_room, a);
    t->work = kpdt__take(a, 2 * t->texts_room, t->n_sides == 2 ? t->batch : 1);
    t->dev.score = kpdt__take(a, dev, 1); t->dev.label = kpdt__take(a, dev, 1);
    t->dev.yes = (uint8_t *)kpd__take(a, dev, 1);
}

KPDDEF void kpdt_trainer_destroy(kpdt_trainer *t) {
    kpd_allocator a;
    if (!t) return;
    a = t->allocator;
    kpd_session_destroy(t->session);
    kpdt__tape_destroy(t->teacher_tape);
    kpdt__net_destroy(t->teacher);
    if (t->net) kpd__free(&a, t->dev.best_w, t->net->n * sizeof(float));
    kpdt__optimizer_destroy(t->optimizer);
    for (int i = 0; i < t->n_sides; i++) kpdt__tape_destroy(t->side[i].tape);
    kpdt__net_destroy(t->net);
    kpd_model_destroy(t->shell);
    kpd__free(&a, t->block, t->block_size);
}

// What a model has but for its weights.
static kpd_status kpdt__model_shell(const kpd_model *m, const kpd_allocator *a, kpd_model **out, kpd_error *e) {
    kpd__section table[4];
    kpd__file f;
    kpd_status s = kpd__model_image(&m->desc, table, 4, a, &f, e);
    return s ? s : kpd__model_assemble(&f, false, "model", out, e);
}

// Of all that a model's file has: shape, templates, special tokens and vocabulary, and apart from these its weights.
static kpdt__content kpdt__content_of(const kpd_model *m) {
    static const char *const head[4] = {"config", "templates", "special", "vocab"};
    const kpd__section *x = kpd__file_table(&m->file), *end = x + kpd__file_header(&m->file)->n_sections;
    kpdt__content sums = {0, 0};
    for (; x < end; x++) {
        bool shape = false;
        uint64_t *to;
        for (int i = 0; i < 4; i++) shape = shape || !strcmp(x->name, head[i]);
        to = shape ? &sums.shape : &sums.weights;
        *to = kpd__mix(*to ^ kpd__hash64(x->name, strlen(x->name))) + KPD__P2;
        *to = kpd__mix(*to ^ kpd__hash64(m->file.data + x->offset, (size_t)x->size));
    }
    return sums;
}

static kpd_status kpdt__session_fill(kpdt_trainer *t, const kpdt_trainer_desc *d, kpd_error *e) {
    kpd_session_desc x;
    bool asked = false;
    for (int32_t i = 0; i < d->n_sources; i++) asked = asked || kpdt__asks(d->sources[i].losses, KPDT_BY_ASSISTANT);
    t->assistant = d->assistant;
    if (!asked && !(d->assistant && !d->n_sources)) return KPD_OK;
    memset(&x, 0, sizeof x);
    t->assistant_is = kpdt__content_of(d->assistant);
    x.assistant = d->assistant; x.simd = d->simd; x.parallel = d->parallel; x.allocator = d->allocator;
    return kpd_session_create(&x, &t->session, e);
}

// The net that MLM_KL follows, with the head that it was trained with. A host's batches may ask for it too.
static kpd_status kpdt__teacher_fill(kpdt_trainer *t, const kpdt_trainer_desc *d, const kpd__ops *ops, kpd_error *e) {
    kpd_status s;
    bool asked = kpdt__any_source_has(d, KPDT_MLM_KL) || !d->n_sources;
    if (!d->mlm_teacher || !asked || !t->net->has_mlm) return KPD_OK;
    s = kpdt__net_create(d->mlm_teacher, KPDT__WITH_MLM | KPDT__FORWARD_ONLY, &t->allocator, &t->teacher, e);
    if (s) return s;
    t->teacher->desc.max_tokens = d->start->desc.max_tokens;     // whose texts it reads, up to its positions
    t->teacher_is = kpdt__content_of(d->mlm_teacher);
    kpdt__net_refresh(t->teacher, &d->parallel);
    return kpdt__tape_create(t->teacher, t->max_tokens, t->max_texts, ops, kpdt__ops_of(ops->level), &d->parallel, NULL,
                             &t->teacher_tape, e);
}

static bool kpdt__by_class(kpdt_dev_metric m) { return m == KPDT_DEV_AUC || m == KPDT_DEV_AP || m == KPDT_DEV_F1; }

// Of one class alone AUC is nothing, AP and F1 are the same whatever the scores; and nothing correlates with equal labels.
static bool kpdt__dev_says_nothing(const kpdt__dev *d) {
    for (int64_t i = 1; i < d->data->rows; i++)
        if (kpdt__by_class(d->metric) ? d->yes[i] != d->yes[0] : d->label[i] != d->label[0]) return false;
    return d->metric != KPDT_DEV_MLM_LOSS;
}

static kpd_status kpdt__dev_fill(kpdt_trainer *t, const kpdt_trainer_desc *d, kpd_error *e) {
    kpdt_row row;
    t->dev.data = d->dev; t->dev.metric = d->dev_metric; t->dev.steps = d->dev_steps; t->dev.patience = d->patience;
    t->dev.dim = d->dev_dim ? d->dev_dim : kpdt__full_dim(d->start);
    t->dev.best = (float)kpdt__nan();
    if (!d->dev) return KPD_OK;
    for (int64_t i = 0; i < d->dev->rows; i++) {
        kpd_status s = kpdt__dataset_get(d->dev, i, &row, e);
        if (s) return s;
        t->dev.label[i] = row.label;
        t->dev.yes[i] = row.label >= 0.5f;
    }
    if (kpdt__dev_says_nothing(&t->dev))
        return kpd__fail(e, KPD_ERR_ARGUMENT, -1,
                         "training: dev: all %lld labels are %s, of which dev_metric %d measures nothing",
                         (long long)d->dev->rows, kpdt__by_class(d->dev_metric) ? "of one class" : "equal", (int)d->dev_metric);
    t->dev.best_w = (float *)kpd__alloc(&t->allocator, t->net->n * sizeof(float));
    return t->dev.best_w ? KPD_OK : kpd__no_memory(e, t->net->n * sizeof(float));
}

// Shares of a cycle: the batches that it takes to see each row once, or as many in all, dealt out by `share`.
static void kpdt__quotas(kpdt__sampler *s, const kpdt_trainer_desc *d) {
    double all = 0, shares = 0;
    for (size_t i = 0; i < s->n_feeds; i++) {
        s->feeds[i].quota = kpdt__epoch_batches(&s->feeds[i], 0, (int64_t)s->batch);
        all += (double)s->feeds[i].quota;
        shares += (double)d->sources[i].share;
    }
    for (size_t i = 0; shares > 0 && i < s->n_feeds; i++) {
        double part = all * (double)d->sources[i].share / shares;
        s->feeds[i].quota = part < 1 ? 1 : (int64_t)(part + 0.5);
        s->feeds[i].shared = true;
    }
}

// Whether a loss of a source compares the rows of a query.
static bool kpdt__any_of_queries(const kpdt_loss_desc *losses) {
    for (int i = 0; i < KPDT_MAX_LOSSES && losses[i].loss; i++)
        if (kpdt__of_queries(&losses[i])) return true;
    return false;
}

// How often each text stands in a data set. Equal hashes count as equal texts.
typedef struct kpdt__counts { uint64_t *hash; uint32_t *n; size_t n_buckets; double all; } kpdt__counts;

static uint32_t *kpdt__count_of(const kpdt__counts *x, kpd_text text) {
    uint64_t hash = kpd__mix(kpd__hash64(text.data, text.size)) | 1;    // 0 is an empty bucket
    size_t at = (size_t)hash & (x->n_buckets - 1);
    while (x->hash[at] && x->hash[at] != hash) at = (at + 1) & (x->n_buckets - 1);
    x->hash[at] = hash;
    return &x->n[at];
}

// One walk over the keyphrases and negatives of all rows: counts them, or with `out` writes what has been counted.
static kpd_status kpdt__counts_walk(kpdt__counts *x, const kpdt_dataset *data, size_t cells, float *out, kpd_error *e) {
    kpdt__cursor c = kpdt__cursor_at(data, data->offsets[0]);
    kpd_status s = KPD_OK;
    kpdt_row row;
    for (int64_t i = 0; !s && i < data->rows; i++) {
        s = kpdt__row_at(data, &c, i, &row, e);
        for (int32_t k = 0; !s && k <= row.n_negatives; k++) {
            uint32_t *n = kpdt__count_of(x, k ? row.negative[k - 1] : row.keyphrase);
            if (out) out[(size_t)i * cells + (size_t)k] = (float)(kpdt__log((double)*n) - kpdt__log(x->all));
            else { *n += *n < UINT32_MAX; x->all++; }
        }
    }
    return s;
}

static kpd_status kpdt__log_q_fill(kpdt__feed *f, const kpd_allocator *a, kpd_error *e) {
    kpdt__counts x;
    size_t cells = 0, size;
    kpd_status s;
    memset(&x, 0, sizeof x);
    if (!kpd__mul_ok((size_t)f->data->rows, f->cells, &cells) || cells > SIZE_MAX / 64) return kpd__no_memory(e, SIZE_MAX);
    for (x.n_buckets = 16; x.n_buckets < 2 * cells;) x.n_buckets *= 2;
    size = x.n_buckets * (sizeof *x.hash + sizeof *x.n);
    x.hash = (uint64_t *)kpd__alloc(a, size);
    if (!x.hash) return kpd__no_memory(e, size);
    memset(x.hash, 0, size);
    x.n = (uint32_t *)(x.hash + x.n_buckets);
    s = kpdt__counts_walk(&x, f->data, f->cells, NULL, e);
    if (!s) s = kpdt__counts_walk(&x, f->data, f->cells, f->log_q, e);
    kpd__free(a, x.hash, size);
    return s;
}

// mined [rows, negatives]; where the next feed's begins.
static int32_t *kpdt__refresh_fill(kpdt__feed *f, const kpdt_refresh *r, int32_t *mined) {
    size_t n = (size_t)f->data->rows * (f->cells - 1);
    f->refresh = *r;
    f->refresh.mining = kpdt__mining_defaults(&r->mining);
    if (!r->keyphrases) f->refresh.keyphrases = f->data;
    if (r->mining.assistant) f->judge = kpdt__content_of(r->mining.assistant);
    f->mined = mined;
    f->mined_at = -1;
    for (size_t i = 0; i < n; i++) mined[i] = -1;
    return mined + n;
}

static kpd_status kpdt__sampler_fill(kpdt__sampler *s, const kpdt_trainer_desc *d, kpd_error *e) {
    int32_t *mined = s->mined;
    s->seed = kpd__mix(d->seed + KPD__P3);
    for (size_t i = 0; i < s->n_feeds; i++) {
        kpdt__feed *f = &s->feeds[i];
        f->data = d->sources[i].data;
        f->batching = d->sources[i].batching;
        if (d->sources[i].refresh) mined = kpdt__refresh_fill(f, d->sources[i].refresh, mined);
        memcpy(f->losses, d->sources[i].losses, sizeof d->sources[i].losses);
        f->key = kpd__mix(s->seed + i);
        f->units = f->data->rows;
        if (f->starts)
            f->units = kpdt__query_units(f->data, s->batch, f->cells == 1 && kpdt__any_of_queries(f->losses), f->starts, e);
        if (f->units < 0) return KPD_ERR_FORMAT;
        for (size_t k = 0; f->soft && k < (size_t)f->data->rows * f->cells; k++) f->soft[k] = -1;
        if (f->log_q) {
            kpd_status status = kpdt__log_q_fill(f, &d->allocator, e);
            if (status) return status;
        }
    }
    kpdt__quotas(s, d);
    return KPD_OK;
}

// A share of the steps, rounded up. A float has its decimal fraction to 2^-24: what is over a whole number by less is that.
static int64_t kpdt__warmup_steps(float share, int64_t steps) {
    double n = (double)share * (double)steps * (1 - 1.0 / 8388608);
    int64_t whole = (int64_t)n;
    return whole + ((double)whole < n);
}

static void kpdt__schedule_fill(kpdt_trainer *t, const kpdt_trainer_desc *d) {
    int64_t batches = 0, epochs = d->epochs ? d->epochs : 1;
    for (int64_t epoch = 0; !d->steps && epoch < epochs; epoch++)
        for (size_t i = 0; i < t->sampler.n_feeds; i++)
            batches += kpdt__cycle_batches(&t->sampler, &t->sampler.feeds[i], epoch);
    t->schedule.rate = kpdt__or(d->rate, 2e-5f);
    t->schedule.steps = d->steps ? d->steps : (batches + t->accumulate - 1) / t->accumulate;
    t->schedule.warmup = kpdt__warmup_steps(d->warmup, t->schedule.steps);
    t->schedule.cosine = d->cosine_decay;
}

static void kpdt__optimizer_fill(kpdt__optimizer *o, const kpdt_trainer_desc *d) {
    o->beta1 = kpdt__or(d->beta1, o->beta1);
    o->beta2 = kpdt__or(d->beta2, o->beta2);
    o->layer_decay = kpdt__or(d->layer_decay, o->layer_decay);
    if (d->epsilon > 0) o->epsilon = d->epsilon;
    o->decay = d->weight_decay;
    o->clip = d->clip < 0 ? 0 : d->clip > 0 ? d->clip : 1;
}

// What stands behind the trainer's own block. On failure the caller destroys.
static kpd_status kpdt__trainer_fill(kpdt_trainer *t, const kpdt_trainer_desc *d, const kpd__ops *ops, kpd_error *e) {
    const kpdt__ops *train = kpdt__ops_of(ops->level);
    kpd_status s = kpdt__model_shell(d->start, &t->allocator, &t->shell, e);
    int with = (kpdt__wants_mlm(d) ? KPDT__WITH_MLM : 0) | (kpdt__any_source_has(d, KPDT_SOFTMAX) ? KPDT__WITH_SOFTMAX : 0);
    if (!s) s = kpdt__net_create(d->start, with, &t->allocator, &t->net, e);
    if (s) return s;
    kpdt__heads_begin(t->net, d->start, t->weights_seed);
    t->start_is = kpdt__content_of(d->start);
    kpdt__net_refresh(t->net, &d->parallel);
    t->net->frozen = d->frozen_layers ? d->frozen_layers + 1 : 0;
    for (int i = 0; !s && i < t->n_sides; i++)
        s = kpdt__tape_create(t->net, t->max_tokens, t->max_texts, ops, train, &d->parallel, i ? t->side[0].tape : NULL,
                              &t->side[i].tape, e);
    if (!s) s = kpdt__optimizer_create(t->net, ops, train, &d->parallel, &t->optimizer, e);
    if (!s) s = kpdt__sampler_fill(&t->sampler, d, e);
    if (!s) s = kpdt__session_fill(t, d, e);
    if (!s) s = kpdt__teacher_fill(t, d, ops, e);
    if (!s) s = kpdt__dev_fill(t, d, e);
    if (s) return s;
    kpdt__optimizer_fill(t->optimizer, d);
    kpdt__schedule_fill(t, d);
    return KPD_OK;
}

// Sizes, before anything is laid out.
static void kpdt__trainer_plan(kpdt_trainer *t, const kpdt_trainer_desc *d) {
    size_t cells = 1 + (size_t)d->negatives;
    t->allocator = d->allocator;
    t->host = d->progress;
    t->n_sides = d->start->desc.kind == KPD_CROSS_ENCODER ? 1 : 2;
    t->max_tokens = kpd__max((size_t)d->start->desc.max_tokens, d->max_tokens ? (size_t)d->max_tokens : 4096);
    t->batch = d->batch ? (size_t)d->batch : 32;
    t->max_texts = d->max_texts ? (size_t)d->max_texts : kpd__max(256, t->batch);
    for (int32_t i = 0; i < d->n_sources; i++) cells = kpd__max(cells, kpdt__source_cells(&d->sources[i]));
    t->texts_room = t->batch * cells;
    for (int32_t i = 0; i < d->n_sources; i++) {
        const kpdt_source *x = &d->sources[i];
        size_t n = 0, *all = &t->sampler.n_mined;
        bool fits = !x->refresh || kpd__mul_ok((size_t)x->data->rows, kpdt__source_cells(x) - 1, &n);
        if (!fits || !kpd__add_ok(*all, n, all)) *all = SIZE_MAX;           // for which there is no room
    }
    t->accumulate = d->accumulate ? d->accumulate : 1;
    t->dropout = d->dropout; t->seed = d->seed; t->weights_seed = d->weights_seed; t->mask = kpdt__mask_id(d->start);
    t->simd = d->simd;
    t->sampler.batch = t->batch;
    t->sampler.n_feeds = (size_t)d->n_sources;
}

static kpd_status kpdt__trainer_create(const kpdt_trainer_desc *d, kpdt_trainer **out, kpd_error *e) {
    kpdt_trainer plan, *t;
    const kpd__ops *ops = NULL;
    kpd__arena a;
    kpd_status s = kpdt__trainer_check(d, e);
    if (s) return s;
    s = kpd__choose_level(d->simd, &ops, e);
    if (s) return s;
    memset(&plan, 0, sizeof plan);
    memset(&a, 0, sizeof a);
    kpdt__trainer_plan(&plan, d);
    kpd__take(&a, 1, sizeof *t);
    kpdt__trainer_lay(&plan, d, &a);
    s = kpd__arena_block(&a, &plan.allocator, "training: the rows and texts", &plan.block, &plan.block_size, e);
    if (s) return s;
    t = (kpdt_trainer *)kpd__take(&a, 1, sizeof *t);
    *t = plan;
    kpdt__trainer_lay(t, d, &a);
    s = kpdt__trainer_fill(t, d, ops, e);
    if (s) kpdt_trainer_destroy(t);
    else *out = t;
    return s;
}
KPD__GUARDED(2, kpdt_trainer_create, kpdt__trainer_create, const kpdt_trainer_desc *, d, kpdt_trainer **, out)

// THE PHASES

// The tower's side, or NULL.
static kpdt__side *kpdt__side_of(kpdt_trainer *t, kpd_tower tower, kpd_error *e) {
    if ((int)tower >= 0 && (int)tower < t->n_sides) return &t->side[tower];
    kpd__fail(e, KPD_ERR_ARGUMENT, -1, "training: tower %d, expected 0 to %d", (int)tower, t->n_sides - 1);
    return NULL;
}

// ids, types and first of as many of n texts as fit, from text `at` on; *taken = how many.
static kpd_status kpdt__side_tokenize(const kpdt_trainer *t, kpdt__side *x, kpd_tower tower, const kpd_input *in, size_t at,
                                      size_t n, size_t *taken, kpd_error *e) {
    kpd_tokens tokens;
    memset(&tokens, 0, sizeof tokens);
    x->first[0] = 0;
    for (*taken = 0; at + *taken < n && *taken < t->max_texts; ++*taken) {
        size_t begin = x->first[*taken];
        kpd_status s;
        tokens.ids = x->ids + begin; tokens.types = x->types + begin; tokens.capacity = (int32_t)(t->max_tokens - begin);
        s = kpd__model_encode(t->shell, kpd__role(t->shell, tower), &in[at + *taken], false, &tokens, (int64_t)(at + *taken),
                              e);
        if (s == KPD_ERR_LIMIT && *taken) return KPD_OK;
        if (s) return s;
        x->first[*taken + 1] = begin + (size_t)tokens.count;
    }
    return KPD_OK;
}

// The texts that fit from `at` on, as a batch. Text i has number x->n_texts + i for dropout.
static kpd_status kpdt__side_batch(kpdt_trainer *t, kpd_tower tower, const kpd_input *in, size_t at, size_t n, kpdt__batch *b,
                                   kpd_error *e) {
    kpdt__side *x = &t->side[tower];
    kpd_status s;
    x->kept = false;
    s = kpdt__side_tokenize(t, x, tower, in, at, n, &b->n_texts, e);
    b->ids = x->ids; b->types = x->types; b->first = x->first; b->tower = tower;
    b->first_text = x->n_texts + at + (tower == KPD_KEYPHRASE ? KPDT__SECOND_TOWER : 0);
    return s;
}

// Tokens of the pass that the other tower keeps, which lies in the same memory.
static size_t kpdt__kept_beside(const kpdt_trainer *t, kpd_tower tower) {
    const kpdt__side *other = t->n_sides == 2 ? &t->side[1 - (int)tower] : NULL;
    return other && other->kept ? other->first[other->tape->batch.n_texts] : 0;
}

// All of n texts as one batch, beside what the other tower keeps, or LIMIT.
static kpd_status kpdt__side_whole(kpdt_trainer *t, kpd_tower tower, const kpd_input *in, size_t n, kpdt__batch *b,
                                   kpd_error *e) {
    size_t beside;
    kpd_status s;
    t->side[tower].kept = false;
    if (!n) return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "training: no text, expected 1 or more");
    s = kpdt__side_batch(t, tower, in, 0, n, b, e);
    if (s) return s;
    beside = kpdt__kept_beside(t, tower);
    if (b->n_texts == n && b->first[n] + beside > t->max_tokens)
        return kpd__fail(e, KPD_ERR_LIMIT, -1, "training: %llu tokens no longer fit beside the %llu that the other tower "
                         "keeps: max_tokens is %llu", (unsigned long long)b->first[n], (unsigned long long)beside,
                         (unsigned long long)t->max_tokens);
    if (b->n_texts == n) return KPD_OK;
    return kpd__fail(e, KPD_ERR_LIMIT, (int64_t)b->n_texts,
                     "training: text %llu of %llu no longer fits: max_tokens is %llu, max_texts %llu",
                     (unsigned long long)b->n_texts, (unsigned long long)n, (unsigned long long)t->max_tokens,
                     (unsigned long long)t->max_texts);
}

// Vectors or logits of a batch.
static kpd_status kpdt__side_forward(kpdt_trainer *t, const kpdt__batch *b, bool drop, float *out, kpd_error *e) {
    kpdt__dropout dropout = kpdt__dropout_make(t->dropout, t->seed, (uint64_t)t->optimizer->step);
    return kpdt__forward(t->side[b->tower].tape, b, drop ? &dropout : NULL, out, e);
}

static kpd_status kpdt__trainer_forward(kpdt_trainer *t, kpd_tower tower, const kpd_input *in, size_t n, float *out,
                                        kpd_error *e) {
    kpdt__side *x = kpdt__side_of(t, tower, e);
    kpdt__batch b;
    kpd_status s;
    if (!x) return KPD_ERR_ARGUMENT;
    s = kpdt__side_whole(t, tower, in, n, &b, e);
    if (!s) s = kpdt__side_forward(t, &b, true, out, e);
    if (s) return s;
    x->n_texts += n;
    x->kept = t->begun = true;
    return KPD_OK;
}
KPD__GUARDED(5, kpdt_trainer_forward, kpdt__trainer_forward, kpdt_trainer *, t, kpd_tower, tower, const kpd_input *, in,
             size_t, n, float *, out)

static kpd_status kpdt__trainer_backward(kpdt_trainer *t, kpd_tower tower, const float *dout, kpd_error *e) {
    kpdt__side *x = kpdt__side_of(t, tower, e);
    kpd_status s;
    if (!x) return KPD_ERR_ARGUMENT;
    if (!x->kept)
        return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "training: tower %d has no forward pass to go back through", (int)tower);
    s = kpdt__check_finite(dout, x->tape->batch.n_texts * kpdt__net_dim(t->net), "dout", e);
    if (s) return s;
    kpdt__backward(x->tape, dout);
    x->kept = false;
    return KPD_OK;
}
KPD__GUARDED(3, kpdt_trainer_backward, kpdt__trainer_backward, kpdt_trainer *, t, kpd_tower, tower, const float *, dout)

static kpd_status kpdt__trainer_rewind(kpdt_trainer *t, kpd_tower tower, size_t n, kpd_error *e) {
    kpdt__side *x = kpdt__side_of(t, tower, e);
    if (!x) return KPD_ERR_ARGUMENT;
    if (n > x->n_texts)
        return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "training: back by %llu texts of tower %d, of which %llu have come",
                         (unsigned long long)n, (int)tower, (unsigned long long)x->n_texts);
    x->n_texts -= n;
    return KPD_OK;
}
KPD__GUARDED(3, kpdt_trainer_rewind, kpdt__trainer_rewind, kpdt_trainer *, t, kpd_tower, tower, size_t, n)

// Said of the training, since no row is to blame for weights that have run away.
static kpd_status kpdt__diverged(const kpdt_trainer *t, const float *out, size_t n, kpd_error *e) {
    if (out && kpd__not_finite(out, n) == n) return KPD_OK;
    return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "training: diverged, after step %lld the model's outputs are not finite; a lower "
                     "rate may help", (long long)t->optimizer->step);
}

// Before a batch's own pass: where there is no room beside it for what the other tower keeps, that goes, to be made again.
static void kpdt__make_room(kpdt_trainer *t, const kpdt__batch *b) {
    if (kpdt__kept_beside(t, b->tower) + b->first[b->n_texts] > t->max_tokens) t->side[1 - (int)b->tower].kept = false;
}

static void kpdt__progress_begin(kpdt_trainer *t, size_t texts) {
    t->progress.host = &t->host;
    t->progress.done = 0;
    t->progress.of = texts;
}

// A tower's texts forward in as many pieces as it takes.
static kpd_status kpdt__tower_forward(kpdt_trainer *t, kpd_tower tower, const kpd_input *in, size_t n, bool drop, float *out,
                                      kpd_error *e) {
    size_t dim = kpdt__net_dim(t->net);
    kpdt__batch b;
    for (size_t at = 0; at < n; at += b.n_texts) {
        kpd_status s = kpdt__side_batch(t, tower, in, at, n, &b, e);
        if (!s) kpdt__make_room(t, &b);
        if (!s) s = kpdt__side_forward(t, &b, drop, out + at * dim, e);
        if (!s) s = kpdt__diverged(t, out + at * dim, b.n_texts * dim, e);
        if (!s) s = kpd__progress_add(&t->progress, b.n_texts, e);
        if (s) return s;
        t->side[tower].kept = b.n_texts == n;
        if (drop) t->tokens += (int64_t)b.first[b.n_texts];
    }
    return KPD_OK;
}

// And back: where the tape does not hold them all, each piece once more forward, which gives what it gave before.
static kpd_status kpdt__tower_backward(kpdt_trainer *t, kpd_tower tower, const kpd_input *in, size_t n, float *out,
                                       const float *dout, kpd_error *e) {
    kpdt__side *x = &t->side[tower];
    size_t dim = kpdt__net_dim(t->net);
    kpdt__batch b;
    b.n_texts = n;
    for (size_t at = 0; at < n; at += b.n_texts) {
        kpd_status s = x->kept ? KPD_OK : kpdt__side_batch(t, tower, in, at, n, &b, e);
        if (!s && !x->kept) kpdt__make_room(t, &b);
        if (!s && !x->kept) s = kpdt__side_forward(t, &b, true, out + at * dim, e);
        if (s) return s;
        kpdt__backward(x->tape, dout + at * dim);
        s = kpd__progress_add(&t->progress, b.n_texts, e);
        if (s) return s;
    }
    x->kept = false;
    x->n_texts += n;
    return KPD_OK;
}

static bool kpdt__is_special(const kpd_tokenizer *k, int32_t id) {
    for (int32_t i = 0; i < k->n_special; i++)
        if (k->special[i].id == id) return true;
    return false;
}

// What masked-language modelling reads in place of a token, or -1 where it leaves the token out. 32 random bits choose the
// tokens (15 %), the other 32 what becomes of them.
static int32_t kpdt__masked(const kpdt_trainer *t, uint64_t key, uint64_t text, uint64_t position, int32_t id) {
    const kpd_tokenizer *k = t->shell->tokenizer;
    uint64_t r = kpd__mix(kpd__mix(kpd__mix(key + KPDT__SITE_MLM) + text) + position);
    uint32_t chosen = (uint32_t)(r >> 32), what = (uint32_t)r;
    if (chosen >= UINT32_C(644245094) || kpdt__is_special(k, id)) return -1;
    if (what < UINT32_C(3435973837)) return t->mask;
    return what < UINT32_C(3865470566) ? (int32_t)kpdt__random_below(r, 0, (size_t)k->n_tokens) : id;
}

// Masks the texts of a side, whose batch is b, in place.
static void kpdt__mlm_mask(const kpdt_trainer *t, kpdt__side *x, const kpdt__batch *b, uint64_t key) {
    kpdt__mlm_tape *m = &x->tape->mlm;
    m->n = 0;
    for (size_t i = 0; i < b->n_texts; i++)
        for (size_t at = b->first[i]; at < b->first[i + 1]; at++) {
            int32_t id = kpdt__masked(t, key, b->first_text + i, at - b->first[i], x->ids[at]);
            if (id < 0) continue;
            m->at[m->n] = at;
            m->label[m->n++] = x->ids[at];
            x->ids[at] = id;
        }
}

// The teacher's item tower over the masked tokens of a side, whose batch is b.
static kpd_status kpdt__teacher_run(kpdt_trainer *t, const kpdt__side *x, const kpdt__batch *b, kpd_error *e) {
    kpdt__mlm_tape *to = &t->teacher_tape->mlm;
    kpdt__batch same = *b;
    same.tower = KPD_ITEM;
    to->n = x->tape->mlm.n;
    memcpy(to->at, x->tape->mlm.at, to->n * sizeof *to->at);
    return kpdt__encode(t->teacher_tape, &same, NULL, e);
}

// One batch of masked-language modelling over a side's tokens: *loss = the sum of -log p over its *n masked tokens, or where
// `follow` is MLM_KL its own. In training the gradient of their mean is added. Otherwise no dropout is drawn, and the masks are
// those of no step: the same for a text of the same number at any time, so that losses of a development set compare.
static kpd_status kpdt__mlm_run(kpdt_trainer *t, kpdt__side *x, const kpdt__batch *b, const kpdt_loss_desc *follow,
                                float weight, double *loss, size_t *n, kpd_error *e) {
    bool train = weight != 0, teacher = follow && follow->loss == KPDT_MLM_KL;
    kpdt__dropout d = kpdt__dropout_make(train ? t->dropout : 0, t->seed, train ? (uint64_t)t->optimizer->step : UINT64_MAX);
    kpd_status s;
    kpdt__mlm_mask(t, x, b, d.key);
    s = kpdt__encode(x->tape, b, &d, e);
    if (!s && teacher) s = kpdt__teacher_run(t, x, b, e);
    if (s) return s;
    *loss = kpdt__mlm_loss(x->tape, teacher ? t->teacher_tape : NULL, teacher ? kpdt__or(follow->temperature, 1) : 1, weight);
    *n = x->tape->mlm.n;
    return KPD_OK;
}

static kpd_status kpdt__mlm_check(const kpdt_trainer *t, kpd_tower tower, kpd_error *e) {
    if (!t->net->has_mlm) return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "training: mlm was not asked for in the desc");
    if (tower != KPD_ITEM && t->net->desc.separate_towers)
        return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "training: mlm of tower %d, expected 0, whose word embeddings the head has",
                         (int)tower);
    return KPD_OK;
}

// As kpdt_trainer_mlm; the gradient's weight is one more.
static kpd_status kpdt__mlm_learn(kpdt_trainer *t, kpd_tower tower, const kpd_input *in, size_t n,
                                  const kpdt_loss_desc *follow, float weight, float *loss, kpd_error *e) {
    kpdt__side *x = &t->side[tower];
    kpdt__batch b;
    double sum = 0;
    size_t masked = 0;
    kpd_status s = kpdt__mlm_check(t, tower, e);
    if (!s) s = kpdt__side_whole(t, tower, in, n, &b, e);
    if (!s) s = kpdt__mlm_run(t, x, &b, follow, weight, &sum, &masked, e);
    if (s) return s;
    x->n_texts += n;
    *loss = masked ? (float)(sum / (double)masked) : 0;
    return KPD_OK;
}

static kpd_status kpdt__trainer_mlm(kpdt_trainer *t, kpd_tower tower, const kpd_input *in, size_t n, float *loss,
                                    kpd_error *e) {
    if (!kpdt__side_of(t, tower, e)) return KPD_ERR_ARGUMENT;
    t->begun = true;
    return kpdt__mlm_learn(t, tower, in, n, NULL, 1, loss, e);
}
KPD__GUARDED(5, kpdt_trainer_mlm, kpdt__trainer_mlm, kpdt_trainer *, t, kpd_tower, tower, const kpd_input *, in, size_t, n,
             float *, loss)

KPDDEF float *kpdt_trainer_gradient(kpdt_trainer *t, size_t *n) {
    *n = t->net->n;
    return t->net->g;
}

static bool kpdt__done(const kpdt_trainer *t) {
    return t->optimizer->step >= t->schedule.steps || (t->dev.patience && t->dev.bad_looks >= t->dev.patience);
}

// Between steps: no pass is kept, and texts are counted from 0.
static void kpdt__step_end(kpdt_trainer *t) {
    for (int i = 0; i < t->n_sides; i++) {
        t->side[i].kept = false;
        t->side[i].n_texts = 0;
    }
    t->texts = t->tokens = 0;
    t->begun = false;
}

KPDDEF void kpdt_trainer_cancel(kpdt_trainer *t) {
    memset(t->net->g, 0, t->net->n * sizeof(float));
    kpdt__step_end(t);
}


static kpd_status kpdt__trainer_apply(kpdt_trainer *t, kpdt_report *r, kpd_error *e) {
    int64_t step = t->optimizer->step;
    float rate, norm;
    if (step >= t->schedule.steps)
        return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "training: all %lld steps are done", (long long)step);
    rate = kpdt__rate(&t->schedule, step);
    norm = kpdt__optimizer_step(t->optimizer, rate);
    kpdt__step_end(t);
    if (t->optimizer->step == step)
        return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "training: the gradient of step %lld is not finite", (long long)step);
    if (!r) return KPD_OK;
    r->step = step + 1; r->steps = t->schedule.steps; r->rate = rate; r->grad_norm = norm;
    if (t->mined_at == step) r->mined = t->mined;
    else memset(&r->mined, 0, sizeof r->mined);
    r->done = kpdt__done(t);
    return KPD_OK;
}
KPD__GUARDED(2, kpdt_trainer_apply, kpdt__trainer_apply, kpdt_trainer *, t, kpdt_report *, r)

static kpd_status kpdt__trainer_model(const kpdt_trainer *t, bool best, kpd_model **out, kpd_error *e) {
    kpd_model_desc d = *kpd_model_get_desc(t->shell);
    kpd_model *m = NULL;
    kpd_status s;
    if (best && !t->dev.looked)
        return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "training: there was no look at dev yet that gave a figure");
    d.allocator = t->allocator;
    d.mlm_head = t->net->has_mlm;
    s = kpd_model_create(&d, &m, e);
    if (!s) s = kpdt__net_export(t->net, best ? t->dev.best_w : t->net->w, m, e);
    if (s) kpd_model_destroy(m);
    else *out = m;
    return s;
}
KPD__GUARDED(3, kpdt_trainer_model, kpdt__trainer_model, const kpdt_trainer *, t, bool, best, kpd_model **, out)

// What a model reads of a row of a data set.
static kpd_input kpdt__input(const kpd_model *m, kpd_tower tower, const kpdt_row *r) {
    kpd_row row;
    kpd_input in;
    row.keyphrase = r->keyphrase; row.category = r->category; row.title = r->title;
    kpd_model_input(m, tower, &row, &in);
    return in;
}

// THE MINING  Negatives of a source, by the model as it is: kpdt_mine over all rows, those of an item one behind the other, so
// that it is searched for once.

enum { KPDT__MINED_AT_ONCE = 256 };     // keyphrases that are embedded, or rows that are mined

typedef struct kpdt__refreshing {
    kpdt_trainer *t; kpdt__feed *f;
    kpd_model *model; kpd_index *index; kpd_session *session;
    kpdt_mining_desc d;                 // with these
    kpdt_mining_counts counts;
    uint64_t *hash; uint32_t *order;    // [the larger of rows and keyphrases] of a row, and the rows sorted by it
    kpd_text *known; size_t n_known;    // [rows] keyphrases of the items so far
    kpdt_mining_row *rows; size_t n;    // [at once] that are next
    kpdt_mined *negatives; int32_t *n_negatives;    // [at once, d.n], [at once]
    float *v; int64_t *id; kpd_input *in;           // [at once, dim], [at once] twice
    size_t dim;
    void *block; size_t block_size;
} kpdt__refreshing;

static void kpdt__refreshing_lay(kpdt__refreshing *x, kpd__arena *a) {
    size_t rows = (size_t)x->f->data->rows, all = kpd__max(rows, (size_t)x->f->refresh.keyphrases->rows);
    x->hash = (uint64_t *)kpd__take(a, all, sizeof(uint64_t));
    x->order = (uint32_t *)kpd__take(a, all, sizeof(uint32_t));
    x->known = (kpd_text *)kpd__take(a, rows, sizeof(kpd_text));
    x->rows = (kpdt_mining_row *)kpd__take(a, KPDT__MINED_AT_ONCE, sizeof(kpdt_mining_row));
    x->negatives = (kpdt_mined *)kpd__take(a, KPDT__MINED_AT_ONCE, (size_t)x->d.n * sizeof(kpdt_mined));
    x->n_negatives = (int32_t *)kpd__take(a, KPDT__MINED_AT_ONCE, sizeof(int32_t));
    x->v = kpdt__take(a, KPDT__MINED_AT_ONCE, x->dim);
    x->id = (int64_t *)kpd__take(a, KPDT__MINED_AT_ONCE, sizeof(int64_t));
    x->in = (kpd_input *)kpd__take(a, KPDT__MINED_AT_ONCE, sizeof(kpd_input));
}

static bool kpdt__hash_before(const void *of, uint32_t x, uint32_t y) {
    const uint64_t *hash = (const uint64_t *)of;
    return hash[x] != hash[y] ? hash[x] < hash[y] : x < y;
}

// Of a row's item, or its keyphrase. Equal hashes count as equal texts.
static uint64_t kpdt__row_hash(const kpdt_row *r, bool item) {
    if (!item) return kpd__hash64(r->keyphrase.data, r->keyphrase.size);
    return kpd__mix(kpd__mix(kpd__hash64(r->title.data, r->title.size)) ^ kpd__hash64(r->category.data, r->category.size));
}

// The rows of a data set in x->order, those of one item, or keyphrase, one behind the other.
static kpd_status kpdt__refreshing_sort(kpdt__refreshing *x, const kpdt_dataset *data, bool items, kpd_error *e) {
    kpdt__cursor c = kpdt__cursor_at(data, data->offsets[0]);
    kpdt_row row;
    for (int64_t i = 0; i < data->rows; i++) {
        kpd_status s = kpdt__row_at(data, &c, i, &row, e);
        if (s) return s;
        x->hash[i] = kpdt__row_hash(&row, items);
        x->order[i] = (uint32_t)i;
    }
    kpd__sort(x->order, (size_t)data->rows, kpdt__hash_before, x->hash);
    return KPD_OK;
}

// Whether the row at place i of the order begins with another hash.
static bool kpdt__refreshing_new(const kpdt__refreshing *x, size_t i) {
    return !i || x->hash[x->order[i]] != x->hash[x->order[i - 1]];
}

// An error that text `where` of n is to blame for: the row of its data set.
static void kpdt__mining_blame(const kpdt_dataset *x, const int64_t *row, size_t n, kpd_status s, kpd_error *e) {
    if (!s || !e || e->where < 0 || (size_t)e->where >= n) return;
    e->where = row[e->where];
    kpdt__from_row(x, e->where, s, e);
}

// Puts n keyphrases into the index.
static kpd_status kpdt__refreshing_put(kpdt__refreshing *x, size_t n, kpd_error *e) {
    kpd_status s = kpd_embed(x->session, x->model, KPD_KEYPHRASE, x->in, n, (int32_t)x->dim, x->v, e);
    if (!s) s = kpdt__diverged(x->t, x->v, n * x->dim, e);
    else kpdt__mining_blame(x->f->refresh.keyphrases, x->id, n, s, e);
    if (s) return s;
    s = kpd_index_upsert(x->index, x->id, x->v, n, e);
    kpdt__mining_blame(x->f->refresh.keyphrases, x->id, n, s, e);
    return s;
}

// All keyphrases, each text once, under the number of its first row.
static kpd_status kpdt__refreshing_index(kpdt__refreshing *x, kpd_error *e) {
    const kpdt_dataset *from = x->f->refresh.keyphrases;
    kpd_status s = kpdt__refreshing_sort(x, from, false, e);
    size_t n = 0, rows = (size_t)from->rows, done = 0;
    for (size_t i = 0; !s && i < rows; i++) {
        kpdt_row row;
        if (kpdt__refreshing_new(x, i)) {
            s = kpdt__dataset_get(from, x->order[i], &row, e);
            x->id[n] = x->order[i];
            if (!s && row.keyphrase.size) x->in[n++] = kpdt__input(x->model, KPD_KEYPHRASE, &row);
        }
        if (s || (n < KPDT__MINED_AT_ONCE && i + 1 < rows)) continue;
        if (n) s = kpdt__refreshing_put(x, n, e);
        if (!s) s = kpd__progress_add(&x->t->progress, i + 1 - done, e);
        done = i + 1;
        n = 0;
    }
    return s;
}

static bool kpdt__refreshing_lookup(void *user, int64_t id, kpd_text *out) {
    kpdt_row row;
    if (kpdt__dataset_get(((const kpdt__refreshing *)user)->f->refresh.keyphrases, id, &row, NULL)) return false;
    *out = row.keyphrase;
    return true;
}

// Mines the rows that are next. What the assistant said of a negative need not be asked again.
static kpd_status kpdt__refreshing_mine(kpdt__refreshing *x, kpd_error *e) {
    kpdt__feed *f = x->f;
    kpdt_mined_rows out;
    kpd_status s;
    memset(&out, 0, sizeof out);
    out.negatives = x->negatives; out.n_negatives = x->n_negatives;
    for (size_t i = 0; i < x->n; i++) x->id[i] = x->rows[i].number;
    s = kpdt__mine(x->session, &x->d, x->rows, x->n, &out, &x->counts, e);
    kpdt__mining_blame(f->data, x->id, x->n, s, e);
    for (size_t i = 0; !s && i < x->n; i++)
        for (int32_t k = 0; k < x->d.n; k++) {
            const kpdt_mined *hit = &x->negatives[i * (size_t)x->d.n + (size_t)k];
            size_t row = (size_t)x->rows[i].number;
            bool there = k < x->n_negatives[i], said = there && x->d.assistant == x->t->assistant;
            f->mined[row * (size_t)x->d.n + (size_t)k] = there ? (int32_t)hit->id : -1;
            if (f->soft) f->soft[row * f->cells + 1 + (size_t)k] = said ? hit->relevance : -1;
        }
    if (!s) s = kpd__progress_add(&x->t->progress, x->n, e);
    x->n = 0;
    return s;
}

// The rows of the item that begins at place i of the order; *end = where the next one does.
static kpd_status kpdt__refreshing_item(kpdt__refreshing *x, size_t i, size_t *end, kpd_error *e) {
    size_t rows = (size_t)x->f->data->rows, known = x->n_known;
    kpd_status s = KPD_OK;
    kpdt_row row;
    for (*end = i; !s && *end < rows && (*end == i || !kpdt__refreshing_new(x, *end)); ++*end) {
        s = kpdt__dataset_get(x->f->data, x->order[*end], &row, e);
        if (!s && !(row.label < 0.5f)) x->known[x->n_known++] = row.keyphrase;
    }
    for (; !s && i < *end; i++) {
        kpdt_mining_row *to = &x->rows[x->n];
        s = kpdt__dataset_get(x->f->data, x->order[i], &row, e);
        if (s) return s;
        to->row.keyphrase = row.keyphrase; to->row.title = row.title; to->row.category = row.category;
        to->known = x->known + known; to->n_known = x->n_known - known;
        to->number = x->order[i];
        if (++x->n == KPDT__MINED_AT_ONCE) s = kpdt__refreshing_mine(x, e);
    }
    return s;
}

static kpd_status kpdt__refreshing_run(kpdt__refreshing *x, kpd_error *e) {
    size_t rows = (size_t)x->f->data->rows;
    kpd_status s;
    kpdt__progress_begin(x->t, (size_t)x->f->refresh.keyphrases->rows + rows);
    s = kpdt__refreshing_index(x, e);
    if (!s) s = kpdt__refreshing_sort(x, x->f->data, true, e);
    for (size_t i = 0; !s && i < rows;) s = kpdt__refreshing_item(x, i, &i, e);
    return s || !x->n ? s : kpdt__refreshing_mine(x, e);
}

// The model as it is, an index for its vectors, and a session for both.
static kpd_status kpdt__refreshing_open(kpdt__refreshing *x, kpd_error *e) {
    const kpdt_trainer *t = x->t;
    kpd_session_desc session;
    kpd_index_desc index;
    kpd_status s = kpdt__trainer_model(t, false, &x->model, e);
    if (s == KPD_ERR_INPUT) return kpdt__diverged(t, NULL, 0, e);        // a weight that is not finite
    if (s) return s;
    memset(&session, 0, sizeof session);
    memset(&index, 0, sizeof index);
    x->dim = x->f->refresh.dim ? (size_t)x->f->refresh.dim : (size_t)kpd_model_dim(x->model);
    session.student = x->model; session.assistant = x->d.assistant;
    session.max_k = x->d.last_rank; session.max_dim = (int32_t)x->dim;
    session.simd = t->simd; session.parallel = t->optimizer->parallel; session.allocator = t->allocator;
    index.dim = (int32_t)x->dim; index.metric = x->model->desc.similarity; index.storage = KPD_INT8;
    index.fingerprint = kpd_model_fingerprint(x->model, KPD_KEYPHRASE);
    index.simd = t->simd; index.allocator = t->allocator;
    s = kpd_session_create(&session, &x->session, e);
    if (!s) s = kpd_index_create(&index, &x->index, e);
    x->d.student = x->model; x->d.index = x->index;
    return s;
}

static kpd_status kpdt__refresh_feed(kpdt_trainer *t, kpdt__feed *f, kpd_error *e) {
    kpdt__refreshing x;
    kpd__arena a;
    int32_t rows = (int32_t)f->refresh.keyphrases->rows, first = f->refresh.mining.first_rank;
    int32_t most = rows > first ? rows : first;
    kpd_status s;
    memset(&x, 0, sizeof x);
    memset(&a, 0, sizeof a);
    x.t = t; x.f = f; x.d = f->refresh.mining; x.counts = t->mined;
    x.d.allocator = t->allocator;
    x.d.lookup = kpdt__refreshing_lookup; x.d.lookup_user = &x;
    if (x.d.last_rank > most) x.d.last_rank = most;         // there are no more, and rooms are made for as many
    x.d.seed = kpd__mix(x.d.seed + (uint64_t)t->optimizer->step);
    s = kpdt__refreshing_open(&x, e);
    kpdt__refreshing_lay(&x, &a);
    if (!s) s = kpd__arena_block(&a, &t->allocator, "refresh: rows", &x.block, &x.block_size, e);
    if (!s) {
        kpdt__refreshing_lay(&x, &a);
        s = kpdt__refreshing_run(&x, e);
    }
    if (!s) t->mined = x.counts;
    kpd__free(&t->allocator, x.block, x.block_size);
    kpd_index_destroy(x.index);
    kpd_session_destroy(x.session);
    kpd_model_destroy(x.model);
    return s;
}

// Of all sources that are to have new negatives before the step that comes.
static kpd_status kpdt__refresh_due(kpdt_trainer *t, kpd_error *e) {
    int64_t step = t->optimizer->step;
    if (t->mined_at != step) memset(&t->mined, 0, sizeof t->mined);
    t->mined_at = step;
    for (size_t i = 0; i < t->sampler.n_feeds; i++) {
        kpdt__feed *f = &t->sampler.feeds[i];
        kpd_status s = KPD_OK;
        bool due = step < t->schedule.steps && (f->refresh.steps ? step % f->refresh.steps == 0 : !step);
        if (!kpdt__feed_mines(f) || !due || f->mined_at == step) continue;
        s = kpdt__refresh_feed(t, f, e);
        if (s) return s;
        f->mined_at = step;
    }
    return KPD_OK;
}

static kpd_status kpdt__trainer_refresh(kpdt_trainer *t, kpdt_mining_counts *out, kpd_error *e) {
    kpd_status s = kpdt__refresh_due(t, e);
    if (!s && out) *out = t->mined;
    return s;
}
KPD__GUARDED(2, kpdt_trainer_refresh, kpdt__trainer_refresh, kpdt_trainer *, t, kpdt_mining_counts *, out)

// THE BATCH

// A row's negatives, behind the batch's n rows and the negatives of the rows before.
static void kpdt__batch_negatives(kpdt_trainer *t, const kpdt__feed *f, kpdt_batch *b, int32_t i, kpdt_row *row) {
    kpd_tower tower = t->n_sides == 2 ? KPD_KEYPHRASE : KPD_ITEM;
    for (int32_t k = 0; k < row->n_negatives; k++) {
        size_t at = (size_t)b->n + (size_t)b->n_negatives;
        row->keyphrase = row->negative[k];
        t->side[tower].in[at] = kpdt__input(t->shell, tower, row);
        if (f->log_q) t->rows.log_q[at] = f->log_q[(size_t)t->sampler.rows[i] * f->cells + 1 + (size_t)k];
        t->rows.negative_of[b->n_negatives++] = i;
    }
}

// A batch's row i. Rows whose query cells are the same bytes, one behind the other, get one number.
static kpd_status kpdt__batch_row(kpdt_trainer *t, const kpdt__feed *f, kpdt_batch *b, int32_t i, kpd_text *query,
                                  kpd_error *e) {
    kpdt_row row;
    bool same;
    kpd_status s = kpdt__feed_get(f, t->sampler.rows[i], &row, e);
    if (s) return s;
    if (kpdt__any_on_matrix(f->losses) && row.label < 0.5f)
        return kpdt__from_row(f->data, t->sampler.rows[i],
                              kpd__fail(e, KPD_ERR_INPUT, t->sampler.rows[i],
                                        "label %g, and to MNR each row is a positive pair", (double)row.label), e);
    for (int k = 0; k < t->n_sides; k++) t->side[k].in[i] = kpdt__input(t->shell, (kpd_tower)k, &row);
    t->rows.label[i] = row.label;
    t->rows.score[i] = row.score;
    if (f->log_q) t->rows.log_q[i] = f->log_q[(size_t)t->sampler.rows[i] * f->cells];
    same = !i || !row.query.data || (row.query.size == query->size && !memcmp(row.query.data, query->data, query->size));
    t->rows.query[i] = i ? t->rows.query[i - 1] + !same : 0;
    *query = row.query;
    kpdt__batch_negatives(t, f, b, i, &row);
    return KPD_OK;
}

// Texts of a tower, and whose row a text is of.
static size_t kpdt__batch_texts(const kpdt_trainer *t, const kpdt_batch *b, int tower) {
    return (size_t)b->n + (tower == t->n_sides - 1 ? (size_t)b->n_negatives : 0);
}
static size_t kpdt__row_of_text(const kpdt_batch *b, size_t text) {
    return text < (size_t)b->n ? text : (size_t)b->negative_of[text - (size_t)b->n];
}

// For each text of a tower, the first one of the batch that has the same tokens; whether any is another. Equal hashes count as
// equal texts.
static kpd_status kpdt__find_alike(kpdt_trainer *t, const kpdt__feed *f, const kpdt_batch *b, int tower, bool *any,
                                   kpd_error *e) {
    kpdt__alike *x = &t->alike;
    int32_t *first = x->first[tower];
    for (size_t i = 0; i < kpdt__batch_texts(t, b, tower); i++) {
        kpd_status s = kpdt__text_hash(t->shell, (kpd_tower)tower, &t->side[tower].in[i], x->ids, x->types, (int64_t)i,
                                       &x->hash[i], e);
        if (s) return kpdt__from_row(f->data, t->sampler.rows[kpdt__row_of_text(b, i)], s, e);
        for (first[i] = 0; x->hash[first[i]] != x->hash[i];) first[i]++;
        *any = *any || (size_t)first[i] != i;
    }
    return KPD_OK;
}

// The mask of a batch of n rows and C candidates: of several times the same text only the first is a candidate, and none is one
// to what it is paired with in any row. A row's own text is its positive wherever it stands.
static void kpdt__mask_alike(kpdt_trainer *t, size_t n, size_t C) {
    const int32_t *item = t->alike.first[KPD_ITEM], *phrase = t->alike.first[KPD_KEYPHRASE];
    uint8_t *mask = t->alike.mask;
    memset(mask, 0, n * C);
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < C; j++) {
            size_t column = (size_t)phrase[j];
            if (i != j && column != j) mask[i * C + j] |= KPDT_MASK_ROW;
            if (j >= n) continue;
            if (i != j && (size_t)item[i] != i) mask[i * C + j] |= KPDT_MASK_COLUMN;
            if (item[j] == item[i] && column != i) mask[i * C + column] |= KPDT_MASK_ROW;
            if (phrase[j] == phrase[i] && (size_t)item[j] != i) mask[(size_t)item[j] * C + i] |= KPDT_MASK_COLUMN;
        }
}

// The mask that a drawn batch needs, or NULL.
static kpd_status kpdt__batch_mask(kpdt_trainer *t, const kpdt__feed *f, kpdt_batch *b, kpd_error *e) {
    bool any = false;
    kpd_status s = KPD_OK;
    if (!kpdt__masks(f->batching, f->losses)) return KPD_OK;
    for (int tower = 0; !s && tower < 2; tower++) s = kpdt__find_alike(t, f, b, tower, &any, e);
    if (s || !any) return s;
    kpdt__mask_alike(t, (size_t)b->n, kpdt__batch_texts(t, b, KPD_KEYPHRASE));
    b->mask = t->alike.mask;
    return KPD_OK;
}

static kpd_status kpdt__trainer_draw(kpdt_trainer *t, kpdt_batch *out, kpd_error *e) {
    kpdt__feed *f;
    kpd_text query;
    kpdt_batch b;
    size_t n;
    kpd_status s = KPD_OK;
    if (!t->sampler.n_feeds) return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "training: there are no sources to draw from");
    t->begun = true;
    s = kpdt__refresh_due(t, e);
    if (s) return s;
    kpdt__sample(&t->sampler, &f, &n);
    memset(&query, 0, sizeof query);
    memset(&b, 0, sizeof b);
    b.source = (int32_t)(f - t->sampler.feeds);
    b.n = (int32_t)n;
    b.negative_of = f->cells > 1 ? t->rows.negative_of : NULL;
    for (int32_t i = 0; !s && i < b.n; i++) s = kpdt__batch_row(t, f, &b, i, &query, e);
    if (!s) s = kpdt__batch_mask(t, f, &b, e);
    if (s) return s;
    for (int i = 0; i < t->n_sides; i++) b.in[i] = t->side[i].in;
    if (!kpdt__has(f->data, KPDT_COL_TITLE)) b.in[KPD_ITEM] = NULL;      // MLM of keyphrases
    b.label = kpdt__has(f->data, KPDT_COL_LABEL) ? t->rows.label : NULL;
    b.score = kpdt__has(f->data, KPDT_COL_SCORE) ? t->rows.score : NULL;
    b.query = kpdt__has(f->data, KPDT_COL_QUERY) ? t->rows.query : NULL;
    b.log_q = f->log_q ? t->rows.log_q : NULL;
    b.row = t->sampler.rows;
    memcpy(b.losses, f->losses, sizeof b.losses);
    *out = b;
    return KPD_OK;
}
KPD__GUARDED(2, kpdt_trainer_draw, kpdt__trainer_draw, kpdt_trainer *, t, kpdt_batch *, out)

// What the assistant is asked about a text of a batch: the cell of the data set, or where texts are the host's, what they are.
static kpd_input kpdt__asked_pair(const kpdt_trainer *t, const kpdt_batch *b, size_t text, const kpdt_row *own) {
    const kpd_input *item = &b->in[KPD_ITEM][t->n_sides == 2 ? kpdt__row_of_text(b, text) : text];
    kpd_row row;
    kpd_input in;
    if (own) return kpdt__input(t->assistant, KPD_ITEM, own);
    memset(&row, 0, sizeof row);
    if (t->n_sides == 2) row.keyphrase = b->in[KPD_KEYPHRASE][text].part[0];
    if (t->n_sides == 2) row.title = item->part[0];
    else row.keyphrase = item->part[0];
    if (item->n_parts > 1) row.category = item->part[1];
    if (item->n_parts > 2) row.title = item->part[2];
    kpd_model_input(t->assistant, KPD_ITEM, &row, &in);
    return in;
}

// Whether an input has a row's texts, byte for byte.
static bool kpdt__same_texts(const kpd_input *a, const kpd_input *b) {
    if (a->n_parts != b->n_parts) return false;
    for (int32_t i = 0; i < a->n_parts; i++)
        if (a->part[i].size != b->part[i].size || (a->part[i].size && a->part[i].data != b->part[i].data &&
                                                   memcmp(a->part[i].data, b->part[i].data, a->part[i].size))) return false;
    return true;
}

// The cell of its source that a text of a batch is, the k-th of its row, and in *row what stands there with it; or -1: of
// another host, or with texts that are not (or no longer) the row's.
static int64_t kpdt__own_cell(const kpdt_trainer *t, const kpdt_batch *b, size_t text, int32_t k, kpdt_row *row) {
    const kpdt__feed *f = b->source < 0 ? NULL : &t->sampler.feeds[b->source];
    size_t i = kpdt__row_of_text(b, text);
    kpd_input in;
    bool same;
    if (!f || !b->row || kpdt__feed_get(f, b->row[i], row, NULL) || k > row->n_negatives) return -1;
    if (k) row->keyphrase = row->negative[k - 1];
    in = kpdt__input(t->shell, KPD_ITEM, row);
    same = kpdt__same_texts(&in, &b->in[KPD_ITEM][t->n_sides == 2 ? i : text]);
    if (same && t->n_sides == 2) {
        in = kpdt__input(t->shell, KPD_KEYPHRASE, row);
        same = kpdt__same_texts(&in, &b->in[KPD_KEYPHRASE][text]);
    }
    return same ? b->row[i] * (int64_t)f->cells + k : -1;
}

// t of a batch's texts by the assistant: those of its source's own cells that are known need not be asked again.
static kpd_status kpdt__ask(kpdt_trainer *t, const kpdt_batch *b, kpd_error *e) {
    float *soft = b->source >= 0 ? t->sampler.feeds[b->source].soft : NULL, *logit = t->rows.ds;
    size_t rows = (size_t)b->n, n = 0;
    int32_t k = 0;
    kpd_status s = KPD_OK;
    for (size_t i = 0; i < rows + (size_t)b->n_negatives; i++) {
        kpdt_row row;
        k = i < rows ? 0 : i > rows && b->negative_of[i - rows] == b->negative_of[i - rows - 1] ? k + 1 : 1;
        t->rows.own[i] = kpdt__own_cell(t, b, i, k, &row);
        if (soft && t->rows.own[i] >= 0 && soft[t->rows.own[i]] >= 0) { t->rows.t[i] = soft[t->rows.own[i]]; continue; }
        t->rows.pair[n] = kpdt__asked_pair(t, b, i, t->rows.own[i] < 0 ? NULL : &row);
        t->rows.asked[n++] = (int32_t)i;
    }
    if (n) s = kpd_score(t->session, t->assistant, t->rows.pair, n, logit, e);
    for (size_t i = 0; !s && i < n; i++) {
        size_t at = (size_t)t->rows.asked[i];
        t->rows.t[at] = kpd_sigmoid(logit[i]);
        if (soft && t->rows.own[at] >= 0) soft[t->rows.own[at]] = t->rows.t[at];
    }
    return s;
}

// Before the loss looks at them, so that the row of a data set is named where one is to blame.
static kpd_status kpdt__targets_check(const kpdt_trainer *t, const kpdt_batch *b, const kpdt_loss_desc *l, const float *targets,
                                      kpd_error *e) {
    kpd_error own;
    kpd_status s = kpdt__pairs_targets_check(l, targets, (size_t)b->n, &own);
    if (s && b->source >= 0 && b->row) kpdt__from_row(t->sampler.feeds[b->source].data, b->row[own.where], s, &own);
    if (s && e) *e = own;
    return s;
}

// The targets of one loss on pairs: [n], by the assistant those of the negatives too. With negatives a label may be missing.
static kpd_status kpdt__targets(kpdt_trainer *t, const kpdt_batch *b, const kpdt_loss_desc *l, const float **out,
                                kpd_error *e) {
    kpdt_teacher teacher = l->teacher;
    *out = teacher == KPDT_BY_LABEL ? b->label : teacher == KPDT_BY_SCORE ? b->score : t->rows.t;
    if (teacher == KPDT_BY_ASSISTANT && t->session) return kpdt__ask(t, b, e);
    if (*out && teacher != KPDT_BY_ASSISTANT) return kpdt__targets_check(t, b, l, *out, e);
    if (teacher == KPDT_BY_LABEL && b->negative_of) return KPD_OK;
    return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "training: a loss asks for %s, which the batch or the trainer lacks",
                     teacher == KPDT_BY_LABEL ? "labels" : teacher == KPDT_BY_SCORE ? "scores" : "an assistant");
}

// The next pair in the order of queries: a row's keyphrase or one of its negatives.
static void kpdt__query_pair(kpdt__rows *x, size_t at, int32_t row, int32_t text, float target) {
    x->of_a[at] = x->of_query[at] = row;
    x->of_b[at] = text;
    x->query_t[at] = target;
}

// The rows as queries, each with its negatives behind it, and their targets.
static void kpdt__queries_of_rows(kpdt_trainer *t, const kpdt_batch *b, bool asked, const float *targets) {
    size_t at = 0;
    for (int32_t i = 0, k = 0; i < b->n; i++) {
        kpdt__query_pair(&t->rows, at++, i, i, targets ? targets[i] : 1);
        for (; k < b->n_negatives && b->negative_of[k] == i; k++)
            kpdt__query_pair(&t->rows, at++, i, b->n + k, asked ? targets[b->n + k] : 0);
    }
}

static kpd_status kpdt__batch_loss_logits(kpdt_trainer *t, const kpdt_batch *b, const kpdt_loss_desc *d, const float *targets,
                                          float *loss, kpd_error *e) {
    const kpdt__rows *x = &t->rows;
    size_t n = kpdt__batch_texts(t, b, 0);
    bool queries = b->negative_of != NULL;
    kpd_status s;
    for (size_t i = 0; i < n; i++) x->query_s[i] = t->side[0].out[queries ? (size_t)x->of_b[i] : i];
    s = kpdt__loss_pairs(d, x->query_s, queries ? x->query_t : targets, queries ? x->of_query : b->query, n, loss, x->ds, e);
    for (size_t i = 0; !s && i < n; i++) t->side[0].dout[queries ? (size_t)x->of_b[i] : i] += x->ds[i];
    return s;
}

static kpd_status kpdt__batch_loss_vectors(kpdt_trainer *t, const kpdt_batch *b, const kpdt_loss_desc *d, const float *targets,
                                           float *loss, kpd_error *e) {
    const kpdt__rows *x = &t->rows;
    kpdt_vectors v;
    memset(&v, 0, sizeof v);
    v.a = t->side[KPD_ITEM].out; v.b = t->side[KPD_KEYPHRASE].out; v.dim = (int32_t)kpdt__net_dim(t->net);
    v.na = (size_t)b->n; v.nb = kpdt__batch_texts(t, b, KPD_KEYPHRASE);
    v.t = targets; v.query = b->query; v.mask = b->mask; v.log_q = b->log_q; v.work = t->work;
    if (b->negative_of && !kpdt__on_matrix(d->loss)) {
        v.of_a = x->of_a; v.of_b = x->of_b; v.n_pairs = v.nb; v.t = x->query_t; v.query = x->of_query;
    }
    v.parallel = t->optimizer->parallel;
    v.da = t->side[KPD_ITEM].dout; v.db = t->side[KPD_KEYPHRASE].dout;
    return kpdt__loss_vectors_by(d, &v, t->side[0].tape->train, loss, e);
}

// SBERT's head, at each width; adds to its gradient too.
static kpd_status kpdt__batch_loss_softmax(kpdt_trainer *t, const kpdt_batch *b, const kpdt_loss_desc *d, const float *targets,
                                           float *loss, kpd_error *e) {
    kpdt__net *net = t->net;
    size_t dim = kpdt__net_dim(net), n = (size_t)b->n;
    kpdt_softmax_head h;
    double sum = 0;
    kpd_status s;
    if (!net->has_softmax)
        return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "training: a batch with softmax, whose head no source of the trainer has");
    memset(&h, 0, sizeof h);
    h.u = t->side[KPD_ITEM].out; h.v = t->side[KPD_KEYPHRASE].out; h.B = n; h.labels = 2;
    h.w = net->w + net->softmax_w; h.bias = net->w + net->softmax_b;
    h.du = t->side[KPD_ITEM].dout; h.dv = t->side[KPD_KEYPHRASE].dout;
    h.dw = net->g + net->softmax_w; h.dbias = net->g + net->softmax_b;
    s = kpdt__check_finite(h.u, n * dim, "u", e);
    if (!s) s = kpdt__check_finite(h.v, n * dim, "v", e);
    for (int32_t i = 0; !s && i < KPDT_MAX_DIMS && (!i || d->dims[i]); i++) {
        h.dim = d->dims[i] ? d->dims[i] : (int32_t)dim;
        sum += kpdt__head_learn(&h, dim, (double)kpdt__or(d->weight, 1) * (double)kpdt__or(d->dim_weights[i], 1), targets);
    }
    *loss = (float)sum;
    return s;
}

// One loss of a batch: its value, and its gradient added to dout of the towers.
static kpd_status kpdt__batch_loss(kpdt_trainer *t, const kpdt_batch *b, const kpdt_loss_desc *l, float *loss, kpd_error *e) {
    const float *targets = NULL;
    kpdt_loss_desc d = *l;
    kpd_status s = kpdt__on_matrix(l->loss) ? KPD_OK : kpdt__targets(t, b, l, &targets, e);
    if (s) return s;
    d.weight = kpdt__said(kpdt__or(l->weight, 1) / (float)t->accumulate);
    if (b->negative_of && !kpdt__on_matrix(l->loss)) kpdt__queries_of_rows(t, b, l->teacher == KPDT_BY_ASSISTANT, targets);
    if (l->loss == KPDT_SOFTMAX) return kpdt__batch_loss_softmax(t, b, &d, targets, loss, e);
    return t->n_sides == 1 ? kpdt__batch_loss_logits(t, b, &d, targets, loss, e)
                           : kpdt__batch_loss_vectors(t, b, &d, targets, loss, e);
}

static kpd_status kpdt__batch_losses(kpdt_trainer *t, const kpdt_batch *b, float *loss, kpd_error *e) {
    double sum = 0;
    kpd_status s = KPD_OK;
    for (int i = 0; i < t->n_sides; i++)
        memset(t->side[i].dout, 0, kpdt__batch_texts(t, b, i) * kpdt__net_dim(t->net) * sizeof(float));
    for (int i = 0; !s && i < KPDT_MAX_LOSSES && b->losses[i].loss; i++) {
        float one = 0;
        s = kpdt__batch_loss(t, b, &b->losses[i], &one, e);
        sum += (double)one * t->accumulate;
    }
    *loss = (float)sum;
    return s;
}

// Rows that a batch says it comes from are there.
static kpd_status kpdt__batch_rows_check(const kpdt_trainer *t, const kpdt_batch *b, kpd_error *e) {
    int64_t rows;
    if (b->source < -1 || b->source >= (int32_t)t->sampler.n_feeds)
        return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "training: a batch of source %d, expected -1 to %d", (int)b->source,
                         (int)t->sampler.n_feeds - 1);
    if (b->source < 0 || !b->row) return KPD_OK;
    rows = t->sampler.feeds[b->source].data->rows;
    for (int32_t i = 0; i < b->n; i++)
        if (b->row[i] < 0 || b->row[i] >= rows)
            return kpd__fail(e, KPD_ERR_ARGUMENT, i, "training: row %d of the batch is row %lld of source %d, which has %lld",
                             (int)i, (long long)b->row[i], (int)b->source, (long long)rows);
    return KPD_OK;
}

// Negatives fit, are a row's each, and the losses have a use for them.
static kpd_status kpdt__batch_negatives_check(const kpdt_trainer *t, const kpdt_batch *b, kpd_error *e) {
    size_t room = t->texts_room - t->batch;
    kpd_status s;
    if (b->n_negatives < 0 || (size_t)b->n_negatives > room || (b->n_negatives && !b->negative_of))
        return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "training: a batch with %d negatives%s, expected 0 to %llu, and negative_of",
                         (int)b->n_negatives, b->negative_of ? "" : " of no rows", (unsigned long long)room);
    for (int32_t i = 0, last = 0; i < b->n_negatives; last = b->negative_of[i++])
        if (b->negative_of[i] < last || b->negative_of[i] >= b->n)
            return kpd__fail(e, KPD_ERR_ARGUMENT, i, "training: negative %d is of row %d, expected %d to %d", (int)i,
                             (int)b->negative_of[i], (int)last, (int)b->n - 1);
    s = b->negative_of ? kpdt__negatives_check(b->losses, e) : KPD_OK;
    return s ? kpdt__from(e, s, "training: a batch of", " rows: ", b->n) : KPD_OK;
}

// A batch is what a host says: nothing of it is read before this has passed.
static kpd_status kpdt__batch_argument(const kpdt_trainer *t, const kpdt_batch *b, kpd_error *e) {
    kpd_status s;
    if (b->n < 1 || (size_t)b->n > t->batch)
        return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "training: a batch of %d rows, expected 1 to %llu", (int)b->n,
                         (unsigned long long)t->batch);
    s = kpdt__losses_check(t->net->desc.kind, (int32_t)kpdt__net_dim(t->net), b->losses, e);
    if (s) return kpdt__from(e, s, "training: a batch of", " rows: ", b->n);
    if (b->losses[0].loss == KPDT_MLM_KL && !t->teacher)
        return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "training: a batch of mlm-kl, and desc has no mlm_teacher, or did not ask "
                         "for mlm");
    s = kpdt__batch_negatives_check(t, b, e);
    if (s) return s;
    if (t->n_sides == 1 && kpdt__one_label((int32_t)kpdt__net_dim(t->net), e)) return KPD_ERR_UNSUPPORTED;
    for (int i = 0; i < t->n_sides; i++)
        if (!b->in[i] && (!kpdt__on_texts(b->losses[0].loss) || !b->in[1 - i]))
            return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "training: a batch without texts of tower %d", i);
    return kpdt__batch_rows_check(t, b, e);
}

// MLM or MLM_KL, of the items or else the keyphrases.
static kpd_status kpdt__learn_texts(kpdt_trainer *t, const kpdt_batch *b, float *loss, kpd_error *e) {
    kpd_tower tower = b->in[KPD_ITEM] ? KPD_ITEM : KPD_KEYPHRASE;
    float weight = kpdt__or(b->losses[0].weight, 1);
    kpd_status s;
    kpdt__progress_begin(t, (size_t)b->n);
    s = kpdt__mlm_learn(t, tower, b->in[tower], (size_t)b->n, b->losses, weight / (float)t->accumulate, loss, e);
    if (!s) s = kpd__progress_add(&t->progress, (size_t)b->n, e);
    if (s) return s;
    *loss *= weight;
    t->texts += b->n;
    t->tokens += (int64_t)t->side[tower].first[b->n];
    return KPD_OK;
}

static kpd_status kpdt__trainer_learn(kpdt_trainer *t, const kpdt_batch *b, float *loss, kpd_error *e) {
    kpd_status s = kpdt__batch_argument(t, b, e);
    size_t n = s ? 0 : (size_t)b->n * (size_t)t->n_sides + (size_t)b->n_negatives;
    t->begun = t->begun || !s;
    if (!s && kpdt__on_texts(b->losses[0].loss)) return kpdt__learn_texts(t, b, loss, e);
    kpdt__progress_begin(t, 2 * n);
    for (int i = 0; !s && i < t->n_sides; i++)
        s = kpdt__tower_forward(t, (kpd_tower)i, b->in[i], kpdt__batch_texts(t, b, i), true, t->side[i].out, e);
    if (!s) s = kpdt__batch_losses(t, b, loss, e);
    for (int i = 0; !s && i < t->n_sides; i++)
        s = kpdt__tower_backward(t, (kpd_tower)i, b->in[i], kpdt__batch_texts(t, b, i), t->side[i].out, t->side[i].dout, e);
    if (!s) t->texts += (int64_t)n;
    return s;
}
KPD__GUARDED(3, kpdt_trainer_learn, kpdt__trainer_learn, kpdt_trainer *, t, const kpdt_batch *, b, float *, loss)

// DEV

// Scores of dev rows [at, at + n).
static kpd_status kpdt__dev_slice(kpdt_trainer *t, int64_t at, size_t n, kpd_error *e) {
    size_t dim = kpdt__net_dim(t->net);
    kpd_status s = KPD_OK;
    for (size_t i = 0; !s && i < n; i++) {
        kpdt_row row;
        s = kpdt__dataset_get(t->dev.data, at + (int64_t)i, &row, e);
        for (int k = 0; k < t->n_sides; k++) t->side[k].in[i] = kpdt__input(t->shell, (kpd_tower)k, &row);
    }
    for (int k = 0; !s && k < t->n_sides; k++)
        s = kpdt__tower_forward(t, (kpd_tower)k, t->side[k].in, n, false, t->side[k].out, e);
    for (size_t i = 0; !s && i < n; i++) {
        const float *a = t->side[0].out + i * dim;
        t->dev.score[at + (int64_t)i] = t->n_sides == 1 ? *a : kpd_cosine(a, t->side[1].out + i * dim, t->dev.dim);
    }
    return s;
}

static kpd_status kpdt__dev_figure(kpdt_trainer *t, float *out, kpd_error *e) {
    const kpdt__dev *d = &t->dev;
    size_t n = (size_t)d->data->rows;
    kpdt_classification c;
    double rho = 0;
    kpd_status s = KPD_OK;
    memset(&c, 0, sizeof c);
    if (d->metric == KPDT_DEV_SPEARMAN) s = kpdt_spearman(d->score, d->label, n, &t->allocator, &rho, e);
    else if (d->metric == KPDT_DEV_PEARSON) rho = kpdt_pearson(d->score, d->label, n);
    else s = kpdt_classify(d->score, d->yes, n, NULL, &t->allocator, &c, e);
    if (d->metric == KPDT_DEV_AUC) rho = c.auc;
    if (d->metric == KPDT_DEV_AP) rho = c.average_precision;
    if (d->metric == KPDT_DEV_F1) rho = c.f1;
    if (!s) *out = (float)rho;
    return s;
}

// Adds to *sum the losses of a batch's masked tokens, text by text, so that the bits do not depend on the batch.
static void kpdt__mlm_sum(const kpdt__mlm_tape *m, const kpdt__batch *b, double *sum) {
    size_t k = 0;
    for (size_t i = 0; i < b->n_texts; i++) {
        double one = 0;
        for (; k < m->n && m->at[k] < b->first[i + 1]; k++) one += m->loss[k];
        *sum += one;
    }
}

// The n texts that a side holds, of dev's rows from `row` on, in as many pieces as it takes; row i has number i.
static kpd_status kpdt__dev_mlm_slice(kpdt_trainer *t, kpd_tower tower, int64_t row, size_t n, double *sum, double *count,
                                      kpd_error *e) {
    kpdt__side *x = &t->side[tower];
    kpdt__batch b;
    for (size_t at = 0; at < n; at += b.n_texts) {
        double loss = 0;
        size_t masked = 0;
        kpd_status s = kpdt__side_batch(t, tower, x->in, at, n, &b, e);
        b.first_text = (uint64_t)row + at;
        if (!s) s = kpdt__mlm_run(t, x, &b, NULL, 0, &loss, &masked, e);
        if (!s) s = kpd__progress_add(&t->progress, b.n_texts, e);
        if (s) return s;
        kpdt__mlm_sum(&x->tape->mlm, &b, sum);
        *count += (double)masked;
    }
    return KPD_OK;
}

// Minus the mean loss over the masked tokens of all of dev.
static kpd_status kpdt__dev_mlm(kpdt_trainer *t, float *out, kpd_error *e) {
    kpd_tower tower = kpdt__has(t->dev.data, KPDT_COL_TITLE) ? KPD_ITEM : KPD_KEYPHRASE;
    double sum = 0, count = 0;
    kpd_status s = kpdt__mlm_check(t, tower, e);
    for (int64_t at = 0, n; !s && at < t->dev.data->rows; at += n) {
        n = (int64_t)kpd__min(t->max_texts, (size_t)(t->dev.data->rows - at));
        for (int64_t i = 0; !s && i < n; i++) {
            kpdt_row row;
            s = kpdt__dataset_get(t->dev.data, at + i, &row, e);
            if (!s) t->side[tower].in[i] = kpdt__input(t->shell, tower, &row);
        }
        if (!s) s = kpdt__dev_mlm_slice(t, tower, at, (size_t)n, &sum, &count, e);
    }
    if (!s) *out = (float)(count > 0 ? -sum / count : 0);
    return s;
}

// Looks at dev, and keeps the weights if they are the best so far.
static kpd_status kpdt__look(kpdt_trainer *t, float *figure, kpd_error *e) {
    bool pairs = t->dev.metric != KPDT_DEV_MLM_LOSS;
    kpd_status s = KPD_OK;
    size_t n;
    kpdt__progress_begin(t, (size_t)t->dev.data->rows * (pairs ? (size_t)t->n_sides : 1));
    for (int64_t at = 0; pairs && !s && at < t->dev.data->rows; at += (int64_t)n) {
        n = kpd__min(t->batch, (size_t)(t->dev.data->rows - at));
        s = kpdt__dev_slice(t, at, n, e);
    }
    if (!s) s = pairs ? kpdt__dev_figure(t, figure, e) : kpdt__dev_mlm(t, figure, e);
    for (int i = 0; i < t->n_sides; i++) t->side[i].kept = false;
    if (s) return s;
    t->dev.bad_looks += t->dev.looked;
    if (*figure != *figure || (t->dev.looked && !(*figure > t->dev.best))) return KPD_OK;
    t->dev.looked = true;
    t->dev.bad_looks = 0;
    t->dev.best = *figure;
    memcpy(t->dev.best_w, t->net->w, t->net->n * sizeof(float));
    return KPD_OK;
}

static bool kpdt__look_due(const kpdt_trainer *t) {
    int64_t step = t->optimizer->step;
    return t->dev.data && (step == t->schedule.steps || (t->dev.steps && step % t->dev.steps == 0));
}

static void kpdt__report_rows(const kpdt_trainer *t, kpdt_report *r) {
    for (size_t i = 0; i < t->sampler.n_feeds; i++) {
        const kpdt__feed *f = &t->sampler.feeds[i];
        r->rows_seen += f->seen;
        r->rows_repeated += f->drawn - f->seen;
        r->rows_left += f->data->rows - f->seen;
    }
}

// Draws and learns the batches of a step. r->loss is their mean.
static kpd_status kpdt__step_learn(kpdt_trainer *t, kpdt_report *r, kpd_error *e) {
    double sum = 0;
    for (int32_t i = 0; i < t->accumulate; i++) {
        kpdt_batch b;
        float loss = 0;
        kpd_status s = kpdt__trainer_draw(t, &b, e);
        if (!s) s = kpdt__trainer_learn(t, &b, &loss, e);
        if (s) return s;
        sum += (double)loss;
        r->source = b.source;
    }
    r->loss = (float)(sum / t->accumulate);
    r->texts = t->texts;
    r->tokens = t->tokens;
    return KPD_OK;
}

static kpd_status kpdt__trainer_step(kpdt_trainer *t, kpdt_report *out, kpd_error *e) {
    kpdt_report r;
    kpd_status s;
    if (kpdt__done(t)) return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "training: all steps are done");
    memset(&r, 0, sizeof r);
    r.dev = (float)kpdt__nan();
    s = kpdt__step_learn(t, &r, e);
    if (!s) s = kpdt__trainer_apply(t, &r, e);
    else kpdt_trainer_cancel(t);
    if (!s && kpdt__look_due(t)) s = kpdt__look(t, &r.dev, e);
    r.best_dev = t->dev.best;
    r.done = kpdt__done(t);
    kpdt__report_rows(t, &r);
    if (!s && out) *out = r;
    return s;
}
KPD__GUARDED(2, kpdt_trainer_step, kpdt__trainer_step, kpdt_trainer *, t, kpdt_report *, out)

KPDDEF void kpdt_trainer_report(const kpdt_trainer *t, kpdt_report *r) {
    memset(r, 0, sizeof *r);
    r->step = t->optimizer->step; r->steps = t->schedule.steps; r->source = -1;
    r->loss = r->rate = r->grad_norm = r->dev = (float)kpdt__nan();
    r->best_dev = t->dev.best;
    r->done = kpdt__done(t);
    kpdt__report_rows(t, r);
}

static kpd_status kpdt__trainer_look(kpdt_trainer *t, kpdt_report *r, kpd_error *e) {
    float figure = 0;
    kpd_status s;
    if (!t->dev.data) return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "training: there is no dev to look at");
    if (t->begun)
        return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "training: step %lld is under way, and a look would lose it: apply or "
                         "cancel it first", (long long)t->optimizer->step + 1);
    s = kpdt__look(t, &figure, e);
    if (s || !r) return s;
    kpdt_trainer_report(t, r);
    r->dev = figure;
    return KPD_OK;
}
KPD__GUARDED(2, kpdt_trainer_look, kpdt__trainer_look, kpdt_trainer *, t, kpdt_report *, r)

// >>checkpoint  A trainer's state as a file of kind 3, read and written by kpd.h's container. Sections, all required but the
// last, which is there where a source has `refresh`:
//     settings  i64  what the bits depend on, see kpdt__settings: a resume refuses the first that differs, by name
//     state     i64  [KPDT__STATE]: step, draws, looked, best (bits of f32), bad looks; then 4 for each source: batches left of
//               the cycle, position, rows drawn, different ones among them
//     weights, first, second  f32 [n]: parameters and AdamW's moments, in the order of kpdt_trainer_gradient
//     best      f32  [n], the best weights; empty before the first look
//     mined     i32  [rows, negatives] of each such source: rows of its keyphrases, and behind them -1 for none
// Promises that a resume has checked everything before it changes anything.

#define KPDT__STATE 5

typedef struct kpdt__setting {
    const char *name;
    int32_t source;                     // whose setting it is, -1 = the training's
    int64_t value;
    bool number;                        // value has the bits of a double
} kpdt__setting;
typedef struct kpdt__settings { kpdt__setting *list; size_t n; int32_t source; } kpdt__settings;   // list NULL counts

static void kpdt__setting_add(kpdt__settings *s, const char *name, uint64_t value, bool number) {
    if (s->list) {
        s->list[s->n].name = name; s->list[s->n].source = s->source;
        memcpy(&s->list[s->n].value, &value, sizeof value);
        s->list[s->n].number = number;
    }
    s->n++;
}
static void kpdt__setting_number(kpdt__settings *s, const char *name, double v) {
    kpdt__setting_add(s, name, kpdt__to_bits(v), true);
}

static uint64_t kpdt__hash_on(uint64_t h, double v) { return kpd__mix(h ^ kpdt__to_bits(v)) + KPD__P2; }

static uint64_t kpdt__losses_hash(const kpdt_loss_desc *l) {
    uint64_t h = 0;
    for (int i = 0; i < KPDT_MAX_LOSSES && l->loss; i++, l++) {
        const float f[6] = {l->weight, l->scale, l->margin, l->temperature, l->pos_weight, l->epsilon};
        const int c[6] = {(int)l->loss,     (int)l->target,     (int)l->per_query,
                          (int)l->weighted, (int)l->similarity, (int)l->teacher};
        for (int k = 0; k < 6; k++) h = kpdt__hash_on(kpdt__hash_on(h, (double)f[k]), c[k]);
        for (int k = 0; k < KPDT_MAX_DIMS; k++) h = kpdt__hash_on(kpdt__hash_on(h, l->dims[k]), (double)l->dim_weights[k]);
    }
    return h;
}

static void kpdt__settings_optimizer(const kpdt_trainer *t, kpdt__settings *s) {
    const kpdt__optimizer *o = t->optimizer;
    kpdt__setting_number(s, "rate", (double)t->schedule.rate);
    kpdt__setting_number(s, "warmup (steps)", (double)t->schedule.warmup);
    kpdt__setting_number(s, "steps", (double)t->schedule.steps);
    kpdt__setting_number(s, "cosine_decay", t->schedule.cosine);
    kpdt__setting_number(s, "beta1", (double)o->beta1);
    kpdt__setting_number(s, "beta2", (double)o->beta2);
    kpdt__setting_number(s, "epsilon", (double)o->epsilon);
    kpdt__setting_number(s, "weight_decay", (double)o->decay);
    kpdt__setting_number(s, "clip", (double)o->clip);
    kpdt__setting_number(s, "layer_decay", (double)o->layer_decay);
    kpdt__setting_number(s, "frozen_layers", t->net->frozen);
}

// A data set: its bytes, what its columns are, and how many rows it has without those that are left out.
static void kpdt__settings_data(const kpdt_dataset *x, const char *const names[3], kpdt__settings *s) {
    kpdt__setting_add(s, names[0], x ? x->sum : 0, false);
    kpdt__setting_add(s, names[1], x ? kpd__hash64(x->columns, (size_t)x->n_columns * sizeof *x->columns) : 0, false);
    kpdt__setting_number(s, names[2], x ? (double)x->rows : 0);
}

static void kpdt__settings_dev(const kpdt_trainer *t, kpdt__settings *s) {
    static const char *const names[3] = {"dev data", "dev columns", "dev rows"};
    kpdt__settings_data(t->dev.data, names, s);
    kpdt__setting_number(s, "dev_metric", t->dev.metric);
    kpdt__setting_number(s, "dev_dim", t->dev.dim);
    kpdt__setting_number(s, "dev_steps", (double)t->dev.steps);
    kpdt__setting_number(s, "patience", t->dev.patience);
}

// Of what is mined for a source, and among what; 0 where nothing is.
static uint64_t kpdt__refresh_hash(const kpdt__feed *f) {
    const kpdt_refresh *r = &f->refresh;
    const kpdt_mining_desc *m = &r->mining;
    const float numbers[5] = {m->threshold, m->max_score, m->min_score, m->margin, m->relative_margin};
    const int32_t counts[6] = {m->n, m->first_rank, m->last_rank, r->dim, m->sample, m->assistant != NULL};
    uint64_t h = 0;
    if (!r->keyphrases) return 0;
    for (int i = 0; i < 5; i++) h = kpdt__hash_on(h, (double)numbers[i]);
    for (int i = 0; i < 6; i++) h = kpdt__hash_on(h, counts[i]);
    h = kpdt__hash_on(kpdt__hash_on(h, (double)r->steps), (double)r->keyphrases->rows);
    h ^= kpd__hash64(r->keyphrases->columns, (size_t)r->keyphrases->n_columns * sizeof *r->keyphrases->columns);
    return kpd__mix(kpd__mix(kpd__mix(h ^ m->seed) ^ r->keyphrases->sum) ^ f->judge.shape) ^ f->judge.weights;
}

static void kpdt__settings_source(const kpdt__feed *f, kpdt__settings *s) {
    static const char *const names[3] = {"data", "columns", "rows"};
    kpdt__settings_data(f->data, names, s);
    kpdt__setting_add(s, "losses or mining", kpdt__losses_hash(f->losses) ^ kpdt__refresh_hash(f), false);
    kpdt__setting_number(s, "batching", f->batching);
    kpdt__setting_number(s, "log_q", f->log_q != NULL);
    kpdt__setting_number(s, "share", (double)f->quota);
}

// Everything that a resumed training must have the same.
static void kpdt__settings_of(const kpdt_trainer *t, kpdt__settings *s) {
    s->n = 0;
    s->source = -1;
    kpdt__setting_add(s, "model (shape, templates or vocabulary)", t->start_is.shape, false);
    kpdt__setting_number(s, "parameters", (double)t->net->n);
    kpdt__setting_add(s, "seed", t->seed, false);
    kpdt__setting_add(s, "weights_seed", t->weights_seed, false);
    kpdt__setting_number(s, "batch", (double)t->batch);
    kpdt__setting_number(s, "accumulate", t->accumulate);
    kpdt__setting_number(s, "dropout", (double)t->dropout);
    kpdt__settings_optimizer(t, s);
    kpdt__setting_add(s, "start (its weights)", t->start_is.weights, false);
    kpdt__setting_add(s, "assistant (shape, templates or vocabulary)", t->assistant_is.shape, false);
    kpdt__setting_add(s, "assistant (its weights)", t->assistant_is.weights, false);
    kpdt__setting_add(s, "mlm_teacher (shape, templates or vocabulary)", t->teacher_is.shape, false);
    kpdt__setting_add(s, "mlm_teacher (its weights)", t->teacher_is.weights, false);
    kpdt__settings_dev(t, s);
    kpdt__setting_number(s, "number of sources", (double)t->sampler.n_feeds);
    for (size_t i = 0; i < t->sampler.n_feeds; i++) {
        s->source = (int32_t)i;
        kpdt__settings_source(&t->sampler.feeds[i], s);
    }
}

// One block: settings, their values and the state.
typedef struct kpdt__image {
    kpdt__settings settings;
    int64_t *values, *state;
    size_t n_state;
    void *block; size_t block_size;
} kpdt__image;

static void kpdt__image_lay(kpdt__image *m, kpd__arena *a) {
    m->settings.list = (kpdt__setting *)kpd__take(a, m->settings.n, sizeof(kpdt__setting));
    m->values = (int64_t *)kpd__take(a, m->settings.n, sizeof(int64_t));
    m->state = (int64_t *)kpd__take(a, m->n_state, sizeof(int64_t));
}

static kpd_status kpdt__image_create(const kpdt_trainer *t, kpdt__image *m, kpd_error *e) {
    kpd__arena a;
    kpd_status s;
    memset(m, 0, sizeof *m);
    memset(&a, 0, sizeof a);
    kpdt__settings_of(t, &m->settings);
    m->n_state = KPDT__STATE + 4 * t->sampler.n_feeds;
    kpdt__image_lay(m, &a);
    s = kpd__arena_block(&a, &t->allocator, "checkpoint: its head", &m->block, &m->block_size, e);
    if (s) return s;
    kpdt__image_lay(m, &a);
    kpdt__settings_of(t, &m->settings);
    for (size_t i = 0; i < m->settings.n; i++) m->values[i] = m->settings.list[i].value;
    return KPD_OK;
}

static void kpdt__image_state(const kpdt_trainer *t, kpdt__image *m) {
    uint32_t best;
    memcpy(&best, &t->dev.best, sizeof best);
    m->state[0] = t->optimizer->step; m->state[1] = t->sampler.draws; m->state[2] = t->dev.looked; m->state[3] = best;
    m->state[4] = t->dev.bad_looks;
    for (size_t i = 0; i < t->sampler.n_feeds; i++) {
        const kpdt__feed *f = &t->sampler.feeds[i];
        int64_t *to = m->state + KPDT__STATE + 4 * i;
        to[0] = f->left; to[1] = f->position; to[2] = f->drawn; to[3] = f->seen;
    }
}

enum { KPDT__SECTIONS = 7 };
static const struct { const char *name; uint32_t type; size_t unit; } kpdt__checkpoint_sections[KPDT__SECTIONS] = {
    {"settings", KPD__I64, 8}, {"state", KPD__I64, 8}, {"weights", KPD__F32, 4}, {"first", KPD__F32, 4},
    {"second", KPD__F32, 4}, {"best", KPD__F32, 4}, {"mined", KPD__I32, 4}
};

// How many of these a trainer's checkpoint has.
static int kpdt__sections_of(const kpdt_trainer *t) { return KPDT__SECTIONS - !t->sampler.n_mined; }

static kpd_status kpdt__trainer_save(const kpdt_trainer *t, const char *path, kpd_error *e) {
    kpd__section table[KPDT__SECTIONS];
    const void *data[KPDT__SECTIONS];
    size_t n[KPDT__SECTIONS];
    kpdt__image m;
    kpd__sink to = {NULL, NULL, NULL};
    kpd_status s;
    if (t->begun)
        return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "training: step %lld is under way, and a checkpoint has no gradient: apply "
                         "or cancel it first", (long long)t->optimizer->step + 1);
    s = kpdt__image_create(t, &m, e);
    if (s) return s;
    kpdt__image_state(t, &m);
    data[0] = m.values; data[1] = m.state; n[0] = m.settings.n; n[1] = m.n_state;
    data[2] = t->net->w; data[3] = t->optimizer->m; data[4] = t->optimizer->v; data[5] = t->dev.best_w;
    data[6] = t->sampler.mined;
    for (int i = 2; i < 6; i++) n[i] = i < 5 || t->dev.looked ? t->net->n : 0;
    n[6] = t->sampler.n_mined;
    for (int i = 0; i < KPDT__SECTIONS; i++)
        kpd__section_set(&table[i], kpdt__checkpoint_sections[i].name, kpdt__checkpoint_sections[i].type, KPD__REQUIRED,
                         n[i], 1, n[i] * kpdt__checkpoint_sections[i].unit);
    to.path = path;
    s = kpd__file_save(&to, KPD_FILE_CHECKPOINT, table, data, (uint32_t)kpdt__sections_of(t), e);
    kpd__free(&t->allocator, m.block, m.block_size);
    return s;
}
KPD__GUARDED(2, kpdt_trainer_save, kpdt__trainer_save, const kpdt_trainer *, t, const char *, path)

// The first of n settings that differs; a data set more or less shows in their number before it shows in their count.
static kpd_status kpdt__settings_check(const kpdt__image *m, const int64_t *found, size_t n, int64_t where, const char *path,
                                       kpd_error *e) {
    for (size_t i = 0; i < kpd__min(n, m->settings.n); i++) {
        const kpdt__setting *x = &m->settings.list[i];
        char of[40] = "";
        uint64_t was, is;
        if (found[i] == x->value) continue;
        memcpy(&was, &found[i], 8);
        memcpy(&is, &x->value, 8);
        if (x->source >= 0) snprintf(of, sizeof of, " of source %d", (int)x->source);
        if (x->number)
            return kpd__fail(e, KPD_ERR_ARGUMENT, where + 8 * (int64_t)i, "%s: was made with %s%s %.9g, now it is %.9g", path,
                             x->name, of, kpdt__from_bits(was), kpdt__from_bits(is));
        return kpd__fail(e, KPD_ERR_ARGUMENT, where + 8 * (int64_t)i, "%s: was made with another %s%s (%016llX, now %016llX)",
                         path, x->name, of, (unsigned long long)was, (unsigned long long)is);
    }
    return KPD_OK;
}

// Every number of the state in its range.
static bool kpdt__state_ok(const kpdt_trainer *t, const int64_t *state) {
    bool ok = state[0] >= 0 && state[0] <= t->schedule.steps && state[1] >= 0 && state[1] < INT64_MAX / 2 &&
              state[2] >> 1 == 0 && state[3] >> 32 == 0 && state[4] >= 0 && state[4] <= INT32_MAX && (!state[2] || t->dev.data);
    for (size_t i = 0; ok && i < t->sampler.n_feeds; i++) {
        const kpdt__feed *f = &t->sampler.feeds[i];
        const int64_t *x = state + KPDT__STATE + 4 * i;
        ok = x[0] >= 0 && x[0] <= (f->shared ? f->quota : f->units) && x[1] >= 0 && x[1] < INT64_MAX / 2 && x[2] >= x[3] &&
             x[2] < INT64_MAX / 2 && x[3] >= 0 && x[3] <= f->data->rows;
    }
    return ok;
}

// The payload of section i with *n elements, or NULL; *n = SIZE_MAX takes what there is.
static const void *kpdt__checkpoint_section(kpd__file *f, int i, size_t *n, const char *path, kpd_error *e) {
    const kpd__section *s = kpd__file_find(f, kpdt__checkpoint_sections[i].name);
    size_t unit = kpdt__checkpoint_sections[i].unit;
    if (s && *n == SIZE_MAX && s->size % unit == 0) *n = (size_t)s->size / unit;
    if (s && s->type == kpdt__checkpoint_sections[i].type && s->size == *n * unit) return f->data + s->offset;
    kpd__fail(e, KPD_ERR_FORMAT, s ? (const char *)s - (const char *)f->data : 64,
              "%s: section %s is %s, expected %llu numbers", path, kpdt__checkpoint_sections[i].name,
              s ? "of another type or size" : "missing", (unsigned long long)*n);
    return NULL;
}

// Of each row numbers of keyphrases, and behind the first -1 nothing else.
static bool kpdt__mined_ok(const kpdt_trainer *t, const int32_t *mined) {
    for (size_t i = 0; i < t->sampler.n_feeds; i++) {
        const kpdt__feed *f = &t->sampler.feeds[i];
        int32_t n = kpdt__feed_mines(f);
        for (int64_t row = 0; n && row < f->data->rows; row++, mined += n)
            for (int32_t k = 0; k < n; k++)
                if (mined[k] < -1 || mined[k] >= f->refresh.keyphrases->rows || (k && mined[k] >= 0 && mined[k - 1] < 0))
                    return false;
    }
    return true;
}

// What a trainer has said of its sources' negatives, which are now others.
static void kpdt__forget_mined(kpdt__sampler *s) {
    for (size_t i = 0; i < s->n_feeds; i++) {
        kpdt__feed *f = &s->feeds[i];
        if (!kpdt__feed_mines(f)) continue;
        f->mined_at = -1;
        for (size_t k = 0; f->soft && k < (size_t)f->data->rows * f->cells; k++) f->soft[k] = -1;
    }
}

static void kpdt__restore(kpdt_trainer *t, const void *const *data) {
    const int64_t *state = (const int64_t *)data[1];
    size_t bytes = t->net->n * sizeof(float);
    uint32_t best = (uint32_t)state[3];
    t->optimizer->step = state[0]; t->sampler.draws = state[1]; t->dev.looked = state[2]; t->dev.bad_looks = (int32_t)state[4];
    memcpy(&t->dev.best, &best, sizeof best);
    for (size_t i = 0; i < t->sampler.n_feeds; i++) {
        kpdt__feed *f = &t->sampler.feeds[i];
        const int64_t *x = state + KPDT__STATE + 4 * i;
        f->left = x[0]; f->position = x[1]; f->drawn = x[2]; f->seen = x[3];
    }
    memcpy(t->net->w, data[2], bytes);
    memcpy(t->optimizer->m, data[3], bytes);
    memcpy(t->optimizer->v, data[4], bytes);
    if (t->dev.looked) memcpy(t->dev.best_w, data[5], bytes);
    if (t->sampler.n_mined) memcpy(t->sampler.mined, data[6], t->sampler.n_mined * sizeof(int32_t));
    kpdt__forget_mined(&t->sampler);
    memset(&t->mined, 0, sizeof t->mined);
    memset(t->net->g, 0, bytes);
    kpdt__net_refresh(t->net, &t->optimizer->parallel);
    kpdt__step_end(t);
}

// The settings agree, and every number of the state is in its range; *best = numbers in that section.
static kpd_status kpdt__checkpoint_head(const kpdt_trainer *t, kpd__file *f, const kpdt__image *m, const void **data,
                                        size_t *best, const char *path, kpd_error *e) {
    size_t n = SIZE_MAX, n_state = m->n_state;
    kpd_status s;
    data[0] = kpdt__checkpoint_section(f, 0, &n, path, e);
    if (!data[0]) return KPD_ERR_FORMAT;
    s = kpdt__settings_check(m, (const int64_t *)data[0], n, (const uint8_t *)data[0] - f->data, path, e);
    if (s) return s;
    if (n != m->settings.n)
        return kpd__fail(e, KPD_ERR_FORMAT, -1, "%s: has %llu settings, expected %llu", path, (unsigned long long)n,
                         (unsigned long long)m->settings.n);
    data[1] = kpdt__checkpoint_section(f, 1, &n_state, path, e);
    if (!data[1]) return KPD_ERR_FORMAT;
    if (!kpdt__state_ok(t, (const int64_t *)data[1]))
        return kpd__fail(e, KPD_ERR_FORMAT, (const uint8_t *)data[1] - f->data,
                         "%s: section state has a number out of its range", path);
    *best = ((const int64_t *)data[1])[2] ? t->net->n : 0;
    return KPD_OK;
}

// Binds the sections of a checked file, and checks what they say against the trainer.
static kpd_status kpdt__checkpoint_bind(const kpdt_trainer *t, kpd__file *f, const kpdt__image *m, const void **data,
                                        const char *path, kpd_error *e) {
    size_t n[KPDT__SECTIONS];
    kpd_status s;
    n[2] = n[3] = n[4] = t->net->n; n[6] = t->sampler.n_mined;
    s = kpdt__checkpoint_head(t, f, m, data, &n[5], path, e);
    if (s) return s;
    for (int i = 2; i < kpdt__sections_of(t); i++) {
        data[i] = kpdt__checkpoint_section(f, i, &n[i], path, e);
        if (!data[i]) return KPD_ERR_FORMAT;
    }
    if (n[6] && !kpdt__mined_ok(t, (const int32_t *)data[6]))
        return kpd__fail(e, KPD_ERR_FORMAT, (const uint8_t *)data[6] - f->data,
                         "%s: section mined has a number that is no row of the keyphrases", path);
    for (size_t i = 0; i < t->net->n; i++)
        if (((const float *)data[4])[i] < 0)
            return kpd__fail(e, KPD_ERR_FORMAT, (const uint8_t *)data[4] - f->data + 4 * (int64_t)i,
                             "%s: section second: value %llu is negative", path, (unsigned long long)i);
    return kpd__file_unknown(f, path, e);
}

static kpd_status kpdt__trainer_resume(kpdt_trainer *t, const char *path, kpd_error *e) {
    const char *label = kpd__file_label(path);
    const void *data[KPDT__SECTIONS];
    kpd_open_desc d;
    kpdt__image m;
    kpd__file f;
    kpd_status s;
    memset(&d, 0, sizeof d);
    d.allocator = t->allocator;
    s = kpdt__image_create(t, &m, e);
    if (s) return s;
    s = kpd__file_open(path, &d, &f, e);
    if (!s) {
        s = kpd__file_check(&f, KPD_FILE_CHECKPOINT, true, label, e);
        if (!s) s = kpdt__checkpoint_bind(t, &f, &m, data, label, e);
        if (!s) kpdt__restore(t, data);
        kpd__file_close(&f);
    }
    kpd__free(&t->allocator, m.block, m.block_size);
    return s;
}
KPD__GUARDED(2, kpdt_trainer_resume, kpdt__trainer_resume, kpdt_trainer *, t, const char *, path)

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

// How often row i counts.
static double kpdt__times(const uint32_t *count, size_t i) { return count ? (double)count[i] : 1; }

// The first row from i on that counts, or n.
static size_t kpdt__counted(const kpdt__ranked *r, const uint32_t *count, size_t i, size_t n) {
    while (i < n && count && !count[r[i].at]) i++;
    return i;
}

// Walks down the distinct scores: area under precision-recall and ROC, and the threshold of the best F1.
static void kpdt__sweep(const kpdt__ranked *r, const uint8_t *y, const uint32_t *count, size_t n, kpdt_classification *out) {
    double yes = 0, no = 0, tp = 0, fp = 0, ap = 0, area = 0, best = -1;
    for (size_t i = 0; i < n; i++) *(y[i] ? &yes : &no) += kpdt__times(count, i);
    for (size_t i = kpdt__counted(r, count, 0, n), end; i < n; i = end) {
        double more = 0, less = 0, f1;
        end = kpdt__ties_end(r, i, n);
        for (size_t j = i; j < end; j++) *(y[r[j].at] ? &more : &less) += kpdt__times(count, r[j].at);
        end = kpdt__counted(r, count, end, n);
        area += less * (tp + more / 2);             // each negative is below tp positives, and beside `more`
        tp += more;
        fp += less;
        if (more > 0) ap += more / yes * (tp / (tp + fp));
        f1 = 2 * tp / (yes + tp + fp);
        if (f1 > best) {
            best = f1;
            out->threshold = end < n ? kpdt__between(r[i].key, r[end].key) : (float)r[i].key;
        }
    }
    out->average_precision = yes > 0 ? ap : kpdt__nan();
    out->auc = yes > 0 && no > 0 ? area / (yes * no) : kpdt__nan();
}

static double kpdt__ratio(double a, double b) { return b > 0 ? a / b : kpdt__nan(); }

static void kpdt__at_threshold(const float *s, const uint8_t *y, const uint32_t *count, size_t n, kpdt_classification *out) {
    double sum[2][2] = {{0, 0}, {0, 0}}, tp, fp, fn, tn;     // [predicted][true]
    for (size_t i = 0; i < n; i++) sum[s[i] >= out->threshold][y[i]] += kpdt__times(count, i);
    tp = sum[1][1]; fp = sum[1][0]; fn = sum[0][1]; tn = sum[0][0];
    out->precision = kpdt__ratio(tp, tp + fp);
    out->recall = kpdt__ratio(tp, tp + fn);
    out->f1 = kpdt__ratio(2 * tp, 2 * tp + fp + fn);
    out->accuracy = kpdt__ratio(tp + tn, tp + fp + fn + tn);
    out->mcc = kpdt__ratio(tp * tn - fp * fn, sqrt((tp + fp) * (tp + fn)) * sqrt((tn + fp) * (tn + fn)));
}

#define KPDT__BINS 15
static double kpdt__calibration(const float *s, const uint8_t *y, const uint32_t *count, size_t n) {
    double sum[KPDT__BINS], yes[KPDT__BINS], error = 0, total = 0;
    for (int i = 0; i < KPDT__BINS; i++) sum[i] = yes[i] = 0;
    for (size_t i = 0; i < n; i++) {
        double times = kpdt__times(count, i);
        int bin;
        if (!(s[i] >= 0 && s[i] <= 1)) return kpdt__nan();
        bin = (int)((double)s[i] * KPDT__BINS);
        if (bin == KPDT__BINS) bin--;
        sum[bin] += times * (double)s[i];
        yes[bin] += times * y[i];
        total += times;
    }
    for (int i = 0; i < KPDT__BINS; i++) error += kpdt__abs(yes[i] - sum[i]);   // size / n times the difference of the means
    return kpdt__ratio(error, total);
}

// All figures of rows in order; of a threshold that of the best F1 where none is given.
static void kpdt__classified(const kpdt__ranked *r, const float *s, const uint8_t *y, const uint32_t *count, size_t n,
                             const float *threshold, kpdt_classification *out) {
    out->threshold = 0;                             // where nothing counts
    kpdt__sweep(r, y, count, n, out);
    if (threshold) out->threshold = *threshold;
    kpdt__at_threshold(s, y, count, n, out);
    out->ece = kpdt__calibration(s, y, count, n);
}

static kpd_status kpdt__check_yes(const uint8_t *y, size_t n, kpd_error *e) {
    for (size_t i = 0; i < n; i++)
        if (y[i] > 1) return kpd__fail(e, KPD_ERR_INPUT, (int64_t)i, "y[%llu] is %d, expected 0 or 1", (unsigned long long)i,
                                       y[i]);
    return KPD_OK;
}

static kpd_status kpdt__classify(const float *s, const uint8_t *y, size_t n, const float *threshold, const kpd_allocator *a,
                                 kpdt_classification *out, kpd_error *e) {
    kpdt__ranked *r;
    kpd_status status;
    if (!n || !kpd__allocator_ok(a) || (threshold && *threshold != *threshold))
        return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "classify: no samples, half an allocator, or a threshold that is no number");
    status = kpdt__check_finite(s, n, "s", e);
    if (!status) status = kpdt__check_yes(y, n, e);
    if (!status) status = kpdt__sorted(s, n, a, &r, e);
    if (status) return status;
    kpdt__classified(r, s, y, NULL, n, threshold, out);
    kpd__free(a, r, n * sizeof *r);
    return KPD_OK;
}
KPD__GUARDED(6, kpdt_classify, kpdt__classify, const float *, s, const uint8_t *, y, size_t, n, const float *, threshold,
             const kpd_allocator *, a, kpdt_classification *, out)

// Either of two types of column.
typedef struct kpdt__column { const float *f; const double *d; } kpdt__column;
static double kpdt__value(kpdt__column c, size_t i) { return c.f ? (double)c.f[i] : c.d[i]; }

static double kpdt__correlation(kpdt__column x, kpdt__column y, const uint32_t *count, size_t n) {
    double mean_x = 0, mean_y = 0, xx = 0, yy = 0, xy = 0, total = 0;
    for (size_t i = 0; i < n; i++) {
        double times = kpdt__times(count, i);
        mean_x += times * kpdt__value(x, i);
        mean_y += times * kpdt__value(y, i);
        total += times;
    }
    mean_x /= total;
    mean_y /= total;
    for (size_t i = 0; i < n; i++) {
        double times = kpdt__times(count, i), a = kpdt__value(x, i) - mean_x, b = kpdt__value(y, i) - mean_y;
        xx += times * (a * a);
        yy += times * (b * b);
        xy += times * (a * b);
    }
    return total > 1 && xx > 0 && yy > 0 ? xy / (sqrt(xx) * sqrt(yy)) : kpdt__nan();
}

typedef struct kpdt__columns { const float *x, *y; size_t n; double pearson; } kpdt__columns;

static kpd_status kpdt__pearson(void *arg) {
    kpdt__columns *c = (kpdt__columns *)arg;
    kpdt__column x = {c->x, NULL}, y = {c->y, NULL};
    c->pearson = kpdt__correlation(x, y, NULL, c->n);
    return KPD_OK;
}

KPDDEF double kpdt_pearson(const float *x, const float *y, size_t n) {
    kpdt__columns c = {x, y, n, 0};
    kpd__guarded(kpdt__pearson, &c);
    return c.pearson;
}

// rank[i] = place of row i from 1, ties sharing the mean.
static void kpdt__rank_sorted(const kpdt__ranked *r, const uint32_t *count, size_t n, double *rank) {
    double before = 0;
    for (size_t i = 0, end; i < n; i = end) {
        double more = 0;
        end = kpdt__ties_end(r, i, n);
        for (size_t j = i; j < end; j++) more += kpdt__times(count, r[j].at);
        for (size_t j = i; j < end; j++) rank[r[j].at] = before + (more + 1) / 2;
        before += more;
    }
}

static kpd_status kpdt__ranks(const float *x, size_t n, const kpd_allocator *a, double *rank, kpd_error *e) {
    kpdt__ranked *r;
    kpd_status status = kpdt__sorted(x, n, a, &r, e);
    if (status) return status;
    kpdt__rank_sorted(r, NULL, n, rank);
    kpd__free(a, r, n * sizeof *r);
    return KPD_OK;
}

static kpd_status kpdt__spearman(const float *x, const float *y, size_t n, const kpd_allocator *a, double *rho, kpd_error *e) {
    kpdt__column cx, cy;
    double *rank;
    size_t size;
    kpd_status status;
    if (!kpd__allocator_ok(a)) return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "spearman: half an allocator");
    status = kpdt__check_finite(x, n, "x", e);
    if (!status) status = kpdt__check_finite(y, n, "y", e);
    if (status) return status;
    if (!kpd__mul_ok(n, 2 * sizeof *rank, &size)) return kpd__no_memory(e, SIZE_MAX);
    rank = (double *)kpd__alloc(a, size);
    if (!rank) return kpd__no_memory(e, size);
    status = kpdt__ranks(x, n, a, rank, e);
    if (!status) status = kpdt__ranks(y, n, a, rank + n, e);
    cx.f = cy.f = NULL; cx.d = rank; cy.d = rank + n;
    if (!status) *rho = kpdt__correlation(cx, cy, NULL, n);
    kpd__free(a, rank, size);
    return status;
}
KPD__GUARDED(5, kpdt_spearman, kpdt__spearman, const float *, x, const float *, y, size_t, n, const kpd_allocator *, a,
             double *, rho)

// Rows in the order of queries, of each by falling score: a counting sort of what is sorted by score keeps that order.
static void kpdt__gather_queries(const kpdt__ranked *r, const uint32_t *query, size_t n, kpdt__ranked *out, size_t *end) {
    for (size_t i = 0; i < n; i++) out[end[query[r[i].at]]++] = r[i];
}

// The area under one query's ROC times its pairs of a yes and a no, y of rows from r on.
static double kpdt__query_area(const kpdt__ranked *r, const uint8_t *y, size_t n, double *yes) {
    double area = 0;
    *yes = 0;
    for (size_t i = 0, end; i < n; i = end) {
        double more = 0;
        end = kpdt__ties_end(r, i, n);
        for (size_t j = i; j < end; j++) more += y[r[j].at];
        area += ((double)(end - i) - more) * (*yes + more / 2);
        *yes += more;
    }
    return area;
}

static double kpdt__query_aucs(const kpdt__ranked *r, const uint8_t *y, const size_t *end, size_t n_queries, float *each) {
    double sum = 0, by = 0;
    for (size_t q = 0; q < n_queries; q++) {
        size_t first = q ? end[q - 1] : 0, n = end[q] - first;
        double yes, area = kpdt__query_area(r + first, y, n, &yes), no = (double)n - yes;
        double weight = yes > 0 && no > 0 ? (double)n : 0;
        if (weight > 0) area *= weight / (yes * no);
        sum += weight > 0 ? area : 0;
        by += weight;
        if (!each) continue;
        each[q] = weight > 0 ? (float)area : 0;
        each[n_queries + q] = (float)weight;
    }
    return kpdt__ratio(sum, by);
}

static void kpdt__query_lay(size_t n, size_t n_queries, kpdt__ranked **r, size_t **end, kpd__arena *a) {
    *r = (kpdt__ranked *)kpd__take(a, n, sizeof **r);
    *end = (size_t *)kpd__take(a, n_queries + 1, sizeof **end);
}

static kpd_status kpdt__auc_check(const float *s, const uint8_t *y, const uint32_t *query, size_t n, size_t n_queries,
                                  const kpd_allocator *a, kpd_error *e) {
    kpd_status status;
    if (!n || !kpd__allocator_ok(a)) return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "auc_by_query: no pairs, or half an allocator");
    status = kpdt__check_finite(s, n, "s", e);
    if (!status) status = kpdt__check_yes(y, n, e);
    for (size_t i = 0; i < n && !status; i++)
        if (query[i] >= n_queries)
            status = kpd__fail(e, KPD_ERR_INPUT, (int64_t)i, "query[%llu] is %llu, expected less than %llu",
                               (unsigned long long)i, (unsigned long long)query[i], (unsigned long long)n_queries);
    return status;
}

static kpd_status kpdt__auc_by_query(const float *s, const uint8_t *y, const uint32_t *query, size_t n, size_t n_queries,
                                     const kpd_allocator *a, float *each, double *auc, kpd_error *e) {
    kpdt__ranked *sorted, *r;
    size_t *end, size;
    kpd__arena arena;
    void *block;
    kpd_status status = kpdt__auc_check(s, y, query, n, n_queries, a, e);
    if (!status) status = kpdt__sorted(s, n, a, &sorted, e);
    if (status) return status;
    memset(&arena, 0, sizeof arena);
    kpdt__query_lay(n, n_queries, &r, &end, &arena);
    status = kpd__arena_block(&arena, a, "auc_by_query: its order", &block, &size, e);
    if (!status) {
        kpdt__query_lay(n, n_queries, &r, &end, &arena);
        memset(end, 0, (n_queries + 1) * sizeof *end);
        for (size_t i = 0; i < n; i++) end[query[i] + 1]++;
        for (size_t q = 0; q < n_queries; q++) end[q + 1] += end[q];     // where each begins; then where it ends
        kpdt__gather_queries(sorted, query, n, r, end);
        *auc = kpdt__query_aucs(r, y, end, n_queries, each);
        kpd__free(a, block, size);
    }
    kpd__free(a, sorted, n * sizeof *sorted);
    return status;
}
KPD__GUARDED(8, kpdt_auc_by_query, kpdt__auc_by_query, const float *, s, const uint8_t *, y, const uint32_t *, query, size_t, n,
             size_t, n_queries, const kpd_allocator *, a, float *, each, double *, auc)

// Scores and labels in order, and room for a look.
struct kpdt_sample {
    const float *s, *t; size_t n;
    kpdt__ranked *by_s, *by_t;          // [n]
    double *rank_s, *rank_t;            // [n], of the look under way
    uint8_t *yes;
    kpd_allocator allocator;
    void *block; size_t size;
};

static void kpdt__sample_lay(kpdt_sample *p, size_t n, kpd__arena *a) {
    p->rank_s = (double *)kpd__take(a, n, sizeof *p->rank_s);
    p->rank_t = (double *)kpd__take(a, n, sizeof *p->rank_t);
    p->yes = (uint8_t *)kpd__take(a, n, 1);
}

KPDDEF void kpdt_sample_destroy(kpdt_sample *p) {
    kpd_allocator a;
    if (!p) return;
    a = p->allocator;
    kpd__free(&a, p->by_s, p->n * sizeof *p->by_s);
    kpd__free(&a, p->by_t, p->n * sizeof *p->by_t);
    kpd__free(&a, p->block, p->size);
    kpd__free(&a, p, sizeof *p);
}

static kpd_status kpdt__sample_fill(kpdt_sample *p, kpd_error *e) {
    kpd__arena a;
    kpd_status status = kpdt__sorted(p->s, p->n, &p->allocator, &p->by_s, e);
    if (!status) status = kpdt__sorted(p->t, p->n, &p->allocator, &p->by_t, e);
    if (status) return status;
    memset(&a, 0, sizeof a);
    kpdt__sample_lay(p, p->n, &a);
    status = kpd__arena_block(&a, &p->allocator, "sample", &p->block, &p->size, e);
    if (status) return status;
    kpdt__sample_lay(p, p->n, &a);
    for (size_t i = 0; i < p->n; i++) p->yes[i] = p->t[i] >= 0.5f;
    return KPD_OK;
}

static kpd_status kpdt__sample_create(const float *s, const float *t, size_t n, const kpd_allocator *a, kpdt_sample **out,
                                      kpd_error *e) {
    kpdt_sample *p;
    kpd_status status;
    *out = NULL;
    if (!n || !kpd__allocator_ok(a)) return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "sample: no pairs, or half an allocator");
    status = kpdt__check_finite(s, n, "s", e);
    if (!status) status = kpdt__check_finite(t, n, "t", e);
    if (status) return status;
    p = (kpdt_sample *)kpd__alloc(a, sizeof *p);
    if (!p) return kpd__no_memory(e, sizeof *p);
    memset(p, 0, sizeof *p);
    if (a) p->allocator = *a;
    p->s = s; p->t = t; p->n = n;
    status = kpdt__sample_fill(p, e);
    if (status) kpdt_sample_destroy(p);
    else *out = p;
    return status;
}
KPD__GUARDED(5, kpdt_sample_create, kpdt__sample_create, const float *, s, const float *, t, size_t, n,
             const kpd_allocator *, a, kpdt_sample **, out)

typedef struct kpdt__sample_call {
    kpdt_sample *p; const uint32_t *count; const float *threshold; kpdt_sample_figures *out;
} kpdt__sample_call;

static kpd_status kpdt__sample_measure(void *arg) {
    const kpdt__sample_call *x = (const kpdt__sample_call *)arg;
    kpdt_sample *p = x->p;
    kpdt__column s = {p->s, NULL}, t = {p->t, NULL}, rank_s = {NULL, p->rank_s}, rank_t = {NULL, p->rank_t};
    kpdt__classified(p->by_s, p->s, p->yes, x->count, p->n, x->threshold, &x->out->yes);
    kpdt__rank_sorted(p->by_s, x->count, p->n, p->rank_s);
    kpdt__rank_sorted(p->by_t, x->count, p->n, p->rank_t);
    x->out->pearson = kpdt__correlation(s, t, x->count, p->n);
    x->out->spearman = kpdt__correlation(rank_s, rank_t, x->count, p->n);
    return KPD_OK;
}

KPDDEF void kpdt_sample_measure(kpdt_sample *p, const uint32_t *count, const float *threshold, kpdt_sample_figures *out) {
    kpdt__sample_call x;
    x.p = p; x.count = count; x.threshold = threshold; x.out = out;
    kpd__guarded(kpdt__sample_measure, &x);
}

static double kpdt__discount(int32_t i) { return kpdt__log(2) / kpdt__log((double)i + 2); }   // 1 / log2(i + 2), i from 0

static kpdt_ranking kpdt__rank(const float *gain, int32_t n, int32_t k, const float *ideal, int32_t n_relevant) {
    kpdt_ranking r;
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
    return r;
}

typedef struct kpdt__rank_call { const float *gain, *ideal; int32_t n, k, n_relevant; kpdt_ranking ranking; } kpdt__rank_call;

static kpd_status kpdt__rank_work(void *arg) {
    kpdt__rank_call *c = (kpdt__rank_call *)arg;
    c->ranking = kpdt__rank(c->gain, c->n, c->k, c->ideal, c->n_relevant);
    return KPD_OK;
}

KPDDEF void kpdt_rank(const float *gain, int32_t n, int32_t k, const float *ideal, int32_t n_relevant, kpdt_ranking *out) {
    kpdt__rank_call c;
    c.gain = gain; c.ideal = ideal; c.n = n; c.k = k; c.n_relevant = n_relevant;
    kpd__guarded(kpdt__rank_work, &c);
    *out = c.ranking;
}

// The runs and items of a resample; both systems and all statistics see the same.
typedef struct kpdt__draw { size_t *run, runs, *item, n; } kpdt__draw;

// Resample i: run draws are numbers from i (runs + n) on, item draws follow them.
static void kpdt__draw_of(kpdt__draw *d, uint64_t seed, uint64_t i) {
    uint64_t first = i * (d->runs + d->n);
    for (size_t r = 0; r < d->runs; r++) d->run[r] = kpdt__random_below(seed, first + r, d->runs);
    for (size_t k = 0; k < d->n; k++) d->item[k] = kpdt__random_below(seed, first + d->runs + k, d->n);
}

static void kpdt__draw_all(kpdt__draw *d) {
    for (size_t r = 0; r < d->runs; r++) d->run[r] = r;
    for (size_t k = 0; k < d->n; k++) d->item[k] = k;
}

// sum a / sum weight, of the runs and items that were drawn.
static double kpdt__ratio_of(const float *a, const float *weight, const kpdt__draw *d) {
    double sum = 0, by = 0;
    for (size_t r = 0; r < d->runs; r++)
        for (size_t k = 0; k < d->n; k++) {
            size_t at = d->run[r] * d->n + d->item[k];
            sum += (double)a[at];
            by += weight ? (double)weight[at] : 1;
        }
    return by != 0 ? sum / by : 0;
}

static void kpdt__statistic(const kpdt_bootstrap_desc *d, const kpdt__draw *draw, double *out) {
    if (d->statistic) d->statistic(d->statistic_user, draw->run, draw->runs, draw->item, draw->n, out);
    else *out = kpdt__ratio_of(d->a, d->a_weight, draw) - (d->b ? kpdt__ratio_of(d->b, d->b_weight, draw) : 0);
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

// Of the values that one statistic had in all resamples; r has room for them.
static void kpdt__interval(const double *value, size_t resamples, float level, kpdt__ranked *r, kpdt_interval *out) {
    double tail = (1 - (level != 0 ? (double)level : 0.95)) / 2;
    size_t n = 0;
    for (size_t i = 0; i < resamples; i++) {
        r[n].at = i;
        r[n].key = value[i];
        n += value[i] == value[i];
    }
    kpdt__sort(r, n);
    out->low = n ? kpdt__quantile(r, n, tail) : kpdt__nan();
    out->high = n ? kpdt__quantile(r, n, 1 - tail) : kpdt__nan();
    out->p = n ? kpdt__p_value(r, n) : kpdt__nan();
    out->undefined = (double)(resamples - n) / (double)resamples;
}

// What a bootstrap needs: the draw in hand; each statistic's values [n, resamples], of a draw [n].
typedef struct kpdt__resamples {
    kpdt__draw draw;
    size_t n, resamples;
    double *value, *drawn;
    kpdt__ranked *r;
} kpdt__resamples;

static void kpdt__resample(const kpdt_bootstrap_desc *d, kpdt__resamples *b, kpdt_interval *out) {
    kpdt__draw_all(&b->draw);
    kpdt__statistic(d, &b->draw, b->drawn);
    for (size_t k = 0; k < b->n; k++) out[k].estimate = b->drawn[k];
    for (size_t i = 0; i < b->resamples; i++) {
        kpdt__draw_of(&b->draw, d->seed, i);
        kpdt__statistic(d, &b->draw, b->drawn);
        for (size_t k = 0; k < b->n; k++) b->value[k * b->resamples + i] = b->drawn[k];
    }
    for (size_t k = 0; k < b->n; k++) kpdt__interval(b->value + k * b->resamples, b->resamples, d->level, b->r, &out[k]);
}

static kpd_status kpdt__bootstrap_check(const kpdt_bootstrap_desc *d, size_t *all, kpd_error *e) {
    const float *column[4];
    static const char *const name[4] = {"a", "a_weight", "b", "b_weight"};
    kpd_status s = KPD_OK;
    column[0] = d->a; column[1] = d->a_weight; column[2] = d->b; column[3] = d->b_weight;
    if (kpd__desc_check("bootstrap", d->abi, d->reserved, e)) return KPD_ERR_ARGUMENT;
    if (d->statistic && (d->a || d->b))
        return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "bootstrap: a statistic, and a or b, expected one of them");
    if (d->n_statistics < 0 || (d->n_statistics && !d->statistic))
        return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "bootstrap: n_statistics is %d, expected 1 or more of a statistic",
                         (int)d->n_statistics);
    if (!(d->a || d->statistic) || !d->n || d->resamples < 0 || !(d->level >= 0 && d->level < 1) ||
        !kpd__allocator_ok(&d->allocator) ||
        !kpd__mul_ok(d->n, d->runs ? d->runs : 1, all))
        return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "bootstrap: a or statistic, and n are required, resamples not negative, "
                         "level in [0, 1)");
    for (int i = 0; i < 4 && !s; i++)
        if (column[i]) s = kpdt__check_finite(column[i], *all, name[i], e);
    return s;
}

static void kpdt__bootstrap_lay(kpdt__resamples *b, kpd__arena *a) {
    b->r = (kpdt__ranked *)kpd__take(a, b->resamples, sizeof *b->r);
    b->value = (double *)kpd__take(a, b->n, b->resamples * sizeof *b->value);       // resamples is an int32_t
    b->drawn = (double *)kpd__take(a, b->n, sizeof *b->drawn);
    b->draw.run = (size_t *)kpd__take(a, b->draw.runs, sizeof(size_t));
    b->draw.item = (size_t *)kpd__take(a, b->draw.n, sizeof(size_t));
}

static kpd_status kpdt__bootstrap(const kpdt_bootstrap_desc *d, kpdt_interval *out, kpd_error *e) {
    kpdt_bootstrap_desc none;
    kpdt__resamples b;
    size_t all, size;
    kpd__arena a;
    void *block;
    kpd_status s;
    if (!d) d = (const kpdt_bootstrap_desc *)memset(&none, 0, sizeof none);
    s = kpdt__bootstrap_check(d, &all, e);
    if (s) return s;
    memset(&b, 0, sizeof b);
    b.n = d->n_statistics ? (size_t)d->n_statistics : 1;
    b.resamples = d->resamples > 0 ? (size_t)d->resamples : 10000;
    b.draw.runs = d->runs ? d->runs : 1;
    b.draw.n = d->n;
    memset(&a, 0, sizeof a);
    kpdt__bootstrap_lay(&b, &a);
    s = kpd__arena_block(&a, &d->allocator, "bootstrap: its draws", &block, &size, e);
    if (s) return s;
    kpdt__bootstrap_lay(&b, &a);
    kpdt__resample(d, &b, out);
    kpd__free(&d->allocator, block, size);
    return KPD_OK;
}
KPD__GUARDED(2, kpdt_bootstrap, kpdt__bootstrap, const kpdt_bootstrap_desc *, d, kpdt_interval *, out)

// Of equal p the first in order has the greatest factor, which the maximum takes for all: so nothing need be sorted.
KPDDEF void kpdt_holm(const double *p, size_t n, double *adjusted) {
    for (size_t i = 0; i < n; i++) {
        size_t left = 0;
        for (size_t j = 0; j < n; j++) left += p[j] >= p[i];
        adjusted[i] = (double)left * p[i] > 1 ? 1 : (double)left * p[i];
    }
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++)
            if (p[j] <= p[i] && adjusted[j] > adjusted[i]) adjusted[i] = adjusted[j];
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

static kpd_status kpdt__auction_total(const kpdt_auction_row *rows, size_t n, kpdt_auction_result *out, kpd_error *e) {
    double by_item = 0, with_any = 0, at[KPDT_PASS_AT] = {0, 0, 0, 0};
    if (!n) return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "auction: no items");
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
    return KPD_OK;
}
KPD__GUARDED(3, kpdt_auction_total, kpdt__auction_total, const kpdt_auction_row *, rows, size_t, n, kpdt_auction_result *, out)

// >>vocabulary  Words counted, then pairs of neighbours merged. Relies on kpd.h's scanner and on >>metrics. Promises
// that no text is slow: texts are found by their bits, pairs by a hash whose key depends on the whole corpus.
//
// Merging (Sennrich et al. 2016): each pair of tokens that are neighbours in words has its count, and a queue has the pairs,
// each with the words where it stands. An entry's count is as of when it was put there; if that is no longer its pair's
// when it comes out, it is put back with the new one. Merging makes new pairs, which become new entries.

typedef struct kpdt__array { void *data; size_t n, room, size; } kpdt__array;   // n elements of `size` bytes

typedef struct kpdt__key { uint64_t count; uint32_t at, size; } kpdt__key;      // count is the user's
typedef struct kpdt__fork { int32_t child[2]; uint32_t bit; } kpdt__fork;       // child: a fork, or ~ a key
typedef struct kpdt__dictionary {
    kpdt__array text;                   // of the keys in the order of coming, each with a newline behind it
    kpdt__array keys, forks;
    int32_t root;                       // as a child
} kpdt__dictionary;

typedef struct kpdt__span { uint32_t at, n; } kpdt__span;                       // a word's symbols
typedef struct kpdt__pair { int64_t count; int32_t a, b, next, places; } kpdt__pair;    // next in its bucket; -1 = none
typedef struct kpdt__place { int32_t word, next; } kpdt__place;                 // of a list, or free
typedef struct kpdt__entry { int64_t count; int32_t a, b, pair, places; } kpdt__entry;

typedef struct kpdt__vocabulary {
    const kpd_allocator *allocator;
    kpd_status status;                  // of the first failure, after which nothing is done
    kpd_error *e;
    kpdt__dictionary words, letters, tokens;    // letters: "c", and "##c" if it stands inside a word
    kpdt__array recent;                 // int32_t [KPDT__RECENT], a word of each hash, -1 = none
    kpdt__array symbols;                // int32_t, ids of tokens
    kpdt__array spans;                  // of each word
    kpdt__array pairs, buckets;         // hash table; buckets: int32_t, the first pair of each
    kpdt__array places; int32_t unused; // the first free one
    kpdt__array touched;                // int32_t, pairs that got places and no entry yet
    kpdt__array queue;                  // heap of entries
    uint64_t hash_key;
} kpdt__vocabulary;

// Makes room for n more elements, twice as much as there was, so that each is copied once or twice in all. Indices are
// int32_t, hence the limit.
static bool kpdt__grow(kpdt__vocabulary *v, kpdt__array *a, size_t n, size_t size) {
    size_t room, bytes = SIZE_MAX;
    void *data = NULL;
    if (v->status) return false;
    if (n > INT32_MAX - a->n) {
        v->status = kpd__fail(v->e, KPD_ERR_LIMIT, -1, "vocabulary: over 2^31 distinct words, or bytes, or pairs of them");
        return false;
    }
    room = a->room > INT32_MAX / 2 ? INT32_MAX : kpd__max(kpd__max(2 * a->room, a->n + n), 64);
    if (kpd__mul_ok(room, size, &bytes)) data = kpd__alloc(v->allocator, bytes);
    else bytes = SIZE_MAX;
    if (!data) {
        v->status = kpd__no_memory(v->e, bytes);
        return false;
    }
    if (a->n) memcpy(data, a->data, a->n * size);
    kpd__free(v->allocator, a->data, a->room * size);
    a->data = data; a->room = room; a->size = size;
    return true;
}

// n > 0 more elements, not set, or NULL after a failure. May move the array.
static void *kpdt__push(kpdt__vocabulary *v, kpdt__array *a, size_t n, size_t size) {
    if (n > a->room - a->n && !kpdt__grow(v, a, n, size)) return NULL;
    a->n += n;
    return (char *)a->data + (a->n - n) * size;
}

// DICTIONARY  A crit-bit tree: a fork names the first bit in which the texts under its two children differ. So a look-up
// takes at most a step for each bit of the longest key, some 3,200, whichever keys there are, and usually 20.

static uint8_t *kpdt__key_text(const kpdt__dictionary *d, const kpdt__key *k) { return (uint8_t *)d->text.data + k->at; }
static kpdt__key *kpdt__keys(const kpdt__dictionary *d) { return (kpdt__key *)d->keys.data; }

// Behind the end are zeros: no key has a zero byte, so that none is the beginning of another.
static size_t kpdt__bit(const uint8_t *text, size_t size, uint32_t bit) {
    return bit / 8 < size ? text[bit / 8] >> (7 - bit % 8) & 1u : 0;
}

// The key of this text if there is one, and else the one that shares its longest beginning; -1 in an empty dictionary.
static int32_t kpdt__nearest(const kpdt__dictionary *d, const uint8_t *text, size_t size) {
    const kpdt__fork *forks = (const kpdt__fork *)d->forks.data;
    int32_t at = d->root;
    if (!d->keys.n) return -1;
    while (at >= 0) at = forks[at].child[kpdt__bit(text, size, forks[at].bit)];
    return ~at;
}

static bool kpdt__key_is(const kpdt__dictionary *d, int32_t id, const uint8_t *text, size_t size) {
    const kpdt__key *k;
    if (id < 0) return false;
    k = kpdt__keys(d) + id;
    return k->size == size && !memcmp(kpdt__key_text(d, k), text, size);
}

static int32_t kpdt__find(const kpdt__dictionary *d, const uint8_t *text, size_t size) {
    int32_t id = kpdt__nearest(d, text, size);
    return kpdt__key_is(d, id, text, size) ? id : -1;
}

static uint32_t kpdt__first_difference(const uint8_t *a, size_t a_size, const uint8_t *b, size_t b_size) {
    uint32_t bit = 0;
    size_t at = 0;
    while (at < a_size && at < b_size && a[at] == b[at]) at++;
    for (bit = 8 * (uint32_t)at; kpdt__bit(a, a_size, bit) == kpdt__bit(b, b_size, bit);) bit++;
    return bit;
}

// Hangs key `id` into the tree, above all that shares more with `beside`, its nearest.
static void kpdt__hang(kpdt__vocabulary *v, kpdt__dictionary *d, int32_t id, int32_t beside) {
    const kpdt__key *k = kpdt__keys(d) + id, *n = kpdt__keys(d) + beside;
    const uint8_t *text = kpdt__key_text(d, k);
    uint32_t bit = kpdt__first_difference(text, k->size, kpdt__key_text(d, n), n->size);
    kpdt__fork *fork = (kpdt__fork *)kpdt__push(v, &d->forks, 1, sizeof *fork), *forks = (kpdt__fork *)d->forks.data;
    int32_t *link = &d->root;
    size_t side = kpdt__bit(text, k->size, bit);
    if (!fork) return;
    while (*link >= 0 && forks[*link].bit < bit) link = &forks[*link].child[kpdt__bit(text, k->size, forks[*link].bit)];
    fork->bit = bit;
    fork->child[side] = ~id;
    fork->child[!side] = *link;
    *link = (int32_t)(d->forks.n - 1);
}

// The key of a text, which is added if it is new, and counted `count` more. -1 after a failure.
static int32_t kpdt__add_key(kpdt__vocabulary *v, kpdt__dictionary *d, const uint8_t *text, size_t size, uint64_t count) {
    int32_t beside, id;
    kpdt__key *k;
    uint8_t *copy;
    if (v->status) return -1;           // the dictionary may be half-done
    id = beside = kpdt__nearest(d, text, size);
    if (!kpdt__key_is(d, id, text, size)) {
        k = (kpdt__key *)kpdt__push(v, &d->keys, 1, sizeof *k);
        copy = (uint8_t *)kpdt__push(v, &d->text, size + 1, 1);
        if (!k || !copy) return -1;
        id = (int32_t)(d->keys.n - 1);
        k->count = 0;
        k->at = (uint32_t)(d->text.n - size - 1);
        k->size = (uint32_t)size;
        memcpy(copy, text, size);
        copy[size] = '\n';
        if (beside < 0) d->root = ~id;
        else kpdt__hang(v, d, id, beside);
    }
    kpdt__keys(d)[id].count += count;
    return v->status ? -1 : id;
}

// WORDS AND ALPHABET

#define KPDT__RECENT 0x10000u

// A common word is found where it was found last, by a hash: about twice as fast as by its bits.
static void kpdt__take_word(void *user, const uint8_t *text, size_t size) {
    kpdt__vocabulary *v = (kpdt__vocabulary *)user;
    int32_t *recent;
    if (v->status) return;
    recent = (int32_t *)v->recent.data + (kpd__hash64(text, size) & (KPDT__RECENT - 1));
    if (!kpdt__key_is(&v->words, *recent, text, size)) *recent = kpdt__add_key(v, &v->words, text, size, 0);
    if (*recent >= 0) kpdt__keys(&v->words)[*recent].count++;
}

// The words of all texts: to a tokenizer whose vocabulary has no words they are all unknown.
static void kpdt__read_words(kpdt__vocabulary *v, const kpdt_vocabulary_desc *d) {
    kpd_tokenizer_desc td;
    kpd_tokenizer *t = NULL;
    kpd__scan scan;
    kpd_text text;
    if (!kpdt__push(v, &v->recent, KPDT__RECENT, sizeof(int32_t))) return;
    for (size_t i = 0; i < KPDT__RECENT; i++) ((int32_t *)v->recent.data)[i] = -1;
    memset(&td, 0, sizeof td);
    memset(&scan, 0, sizeof scan);
    td.vocab = "[UNK]\n[CLS]\n[SEP]\n";
    td.vocab_size = strlen(td.vocab);
    td.cased = d->cased; td.keep_cjk_joined = d->keep_cjk_joined; td.strip_accents = d->strip_accents;
    td.allocator = d->allocator;
    v->status = kpd_tokenizer_create(&td, &t, v->e);
    scan.t = t;
    scan.take = kpdt__take_word; scan.taker = v;
    while (!v->status && d->next(d->next_user, &text)) {
        scan.part = text;
        kpd__plain(&scan, 0, text.size);
    }
    kpd_tokenizer_destroy(t);
}

// A character of a word as a token: as it is, or behind ## if it is not the word's first.
typedef struct kpdt__letter { uint8_t text[6]; size_t size; } kpdt__letter;

static kpdt__letter kpdt__letter_of(const uint8_t *c, size_t size, bool inner) {
    kpdt__letter l;
    size_t begin = inner ? 2 : 0;
    l.text[0] = l.text[1] = '#';
    memcpy(l.text + begin, c, size);
    l.size = begin + size;
    return l;
}

static void kpdt__count_letters(kpdt__vocabulary *v) {
    for (size_t i = 0; i < v->words.keys.n && !v->status; i++) {
        const kpdt__key *k = kpdt__keys(&v->words) + i;
        const uint8_t *begin = kpdt__key_text(&v->words, k), *end = begin + k->size, *next;
        for (const uint8_t *p = begin; p < end; p = next) {
            kpdt__letter l;
            next = p;
            kpd__utf8_next(&next, end);
            kpdt__add_key(v, &v->letters, p, (size_t)(next - p), k->count);
            if (p == begin) continue;
            l = kpdt__letter_of(p, (size_t)(next - p), true);
            kpdt__add_key(v, &v->letters, l.text, l.size, k->count);
        }
    }
}

// Of the letters, the most frequent `most` characters: [*n] ranked with their code points as `at`.
static kpdt__ranked *kpdt__alphabet(kpdt__vocabulary *v, kpdt__array *ranks, size_t most, size_t *n) {
    kpdt__ranked *r = (kpdt__ranked *)kpdt__push(v, ranks, kpd__max(v->letters.keys.n, 1), sizeof *r);
    for (size_t i = *n = 0; r && i < v->letters.keys.n; i++) {
        const kpdt__key *k = kpdt__keys(&v->letters) + i;
        const uint8_t *text = kpdt__key_text(&v->letters, k), *next = text;
        if (text[0] == '#' && k->size > 1) continue;
        r[*n].key = (double)k->count;
        r[(*n)++].at = kpd__utf8_next(&next, text + k->size);
    }
    kpdt__sort(r, *n);
    *n = kpd__min(*n, most);
    for (size_t i = 0; i < *n; i++) r[i].key = -(double)r[i].at;
    kpdt__sort(r, *n);
    return r;
}

static void kpdt__add_letters(kpdt__vocabulary *v, size_t most) {
    kpdt__array ranks = {NULL, 0, 0, 0};
    size_t n = 0;
    const kpdt__ranked *r = kpdt__alphabet(v, &ranks, most, &n);
    for (int inner = 0; inner < 2; inner++)
        for (size_t i = 0; i < n; i++) {
            uint8_t code[4];
            kpdt__letter l = kpdt__letter_of(code, kpd__utf8_put((uint32_t)r[i].at, code), inner != 0);
            if (kpdt__find(&v->letters, l.text, l.size) >= 0) kpdt__add_key(v, &v->tokens, l.text, l.size, 0);
        }
    kpd__free(v->allocator, ranks.data, ranks.room * ranks.size);
}

// Each word as tokens of the alphabet; characters outside it are left out.
static void kpdt__split_words(kpdt__vocabulary *v) {
    for (size_t i = 0; i < v->words.keys.n && !v->status; i++) {
        const kpdt__key *k = kpdt__keys(&v->words) + i;
        const uint8_t *begin = kpdt__key_text(&v->words, k), *end = begin + k->size, *next;
        kpdt__span *span = (kpdt__span *)kpdt__push(v, &v->spans, 1, sizeof *span);
        if (!span) return;
        span->at = (uint32_t)v->symbols.n;
        for (const uint8_t *p = begin; p < end; p = next) {
            kpdt__letter l;
            int32_t id, *symbol;
            next = p;
            kpd__utf8_next(&next, end);
            l = kpdt__letter_of(p, (size_t)(next - p), p > begin);
            id = kpdt__find(&v->tokens, l.text, l.size);
            symbol = id < 0 ? NULL : (int32_t *)kpdt__push(v, &v->symbols, 1, sizeof *symbol);
            if (symbol) *symbol = id;
        }
        span->n = (uint32_t)v->symbols.n - span->at;
    }
}

// PAIRS

static int32_t *kpdt__bucket(const kpdt__vocabulary *v, int32_t a, int32_t b) {
    uint64_t h = (((uint64_t)(uint32_t)a << 32 | (uint32_t)b) + v->hash_key) * (v->hash_key | 1);
    h = (h ^ h >> 32) * KPD__P2;
    return (int32_t *)v->buckets.data + (size_t)(h >> 32 & (v->buckets.n - 1));
}

// Twice the buckets, and every pair in its new one.
static void kpdt__more_buckets(kpdt__vocabulary *v) {
    size_t n = v->buckets.n ? v->buckets.n : 1024;
    int32_t *buckets = (int32_t *)kpdt__push(v, &v->buckets, n, sizeof *buckets);
    if (!buckets) return;
    for (size_t i = 0; i < v->buckets.n; i++) ((int32_t *)v->buckets.data)[i] = -1;
    for (size_t i = 0; i < v->pairs.n; i++) {
        kpdt__pair *p = (kpdt__pair *)v->pairs.data + i;
        int32_t *bucket = kpdt__bucket(v, p->a, p->b);
        p->next = *bucket;
        *bucket = (int32_t)i;
    }
}

// The pair of two tokens, which is made if there is none; NULL after a failure.
static kpdt__pair *kpdt__pair_of(kpdt__vocabulary *v, int32_t a, int32_t b) {
    kpdt__pair *pairs = (kpdt__pair *)v->pairs.data, *p;
    int32_t *bucket;
    if (v->pairs.n >= v->buckets.n) kpdt__more_buckets(v);
    if (v->status) return NULL;
    bucket = kpdt__bucket(v, a, b);
    for (int32_t i = *bucket; i >= 0; i = pairs[i].next)
        if (pairs[i].a == a && pairs[i].b == b) return &pairs[i];
    p = (kpdt__pair *)kpdt__push(v, &v->pairs, 1, sizeof *p);
    if (!p) return NULL;
    p->count = 0;
    p->a = a; p->b = b;
    p->places = -1;
    p->next = *bucket;
    *bucket = (int32_t)(v->pairs.n - 1);
    return p;
}

static void kpdt__free_place(kpdt__vocabulary *v, int32_t i) {
    ((kpdt__place *)v->places.data)[i].next = v->unused;
    v->unused = i;
}

// Puts a word before a list of places; -1 after a failure.
static int32_t kpdt__new_place(kpdt__vocabulary *v, int32_t word, int32_t next) {
    int32_t i = v->unused;
    kpdt__place *p;
    if (i >= 0) {
        p = (kpdt__place *)v->places.data + i;
        v->unused = p->next;
    } else {
        i = (int32_t)v->places.n;
        p = (kpdt__place *)kpdt__push(v, &v->places, 1, sizeof *p);
        if (!p) return -1;
    }
    p->word = word;
    p->next = next;
    return i;
}

// a and b are neighbours once more in a word (by > 0) or no more, the word occurring |by| times. A word's changes come
// one after the other, so the first place tells whether the pair has the word already.
static void kpdt__change(kpdt__vocabulary *v, int32_t a, int32_t b, int64_t by, int32_t word) {
    kpdt__pair *p = kpdt__pair_of(v, a, b);
    int32_t *touched;
    if (!p) return;
    p->count += by;
    if (by < 0 || (p->places >= 0 && ((kpdt__place *)v->places.data)[p->places].word == word)) return;
    if (p->places < 0) {
        touched = (int32_t *)kpdt__push(v, &v->touched, 1, sizeof *touched);
        if (touched) *touched = (int32_t)(p - (kpdt__pair *)v->pairs.data);
    }
    p->places = kpdt__new_place(v, word, p->places);
}

static void kpdt__count_pairs(kpdt__vocabulary *v) {
    for (size_t i = 0; i < v->spans.n && !v->status; i++) {
        const kpdt__span *span = (const kpdt__span *)v->spans.data + i;
        const int32_t *symbols = (const int32_t *)v->symbols.data + span->at;
        int64_t count = (int64_t)kpdt__keys(&v->words)[i].count;
        for (uint32_t k = 1; k < span->n; k++) kpdt__change(v, symbols[k - 1], symbols[k], count, (int32_t)i);
    }
}

// QUEUE

static bool kpdt__sooner(const kpdt__entry *x, const kpdt__entry *y) {
    if (x->count != y->count) return x->count > y->count;
    return x->a != y->a ? x->a < y->a : x->b < y->b;
}

static void kpdt__enqueue(kpdt__vocabulary *v, kpdt__entry x) {
    size_t i = v->queue.n;
    kpdt__entry *q = (kpdt__entry *)kpdt__push(v, &v->queue, 1, sizeof *q);
    if (!q) return;
    q = (kpdt__entry *)v->queue.data;
    for (; i && kpdt__sooner(&x, &q[(i - 1) / 2]); i = (i - 1) / 2) q[i] = q[(i - 1) / 2];
    q[i] = x;
}

static kpdt__entry kpdt__dequeue(kpdt__vocabulary *v) {
    kpdt__entry *q = (kpdt__entry *)v->queue.data, first = q[0], last = q[--v->queue.n];
    size_t i = 0, n = v->queue.n;
    for (size_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && kpdt__sooner(&q[child + 1], &q[child])) child++;
        if (!kpdt__sooner(&q[child], &last)) break;
        q[i] = q[child];
    }
    q[i] = last;
    return first;
}

// The pairs that got places since the last time go to the queue, each with these places: one that is there already with
// others gets a second entry, as in the reference, where the two then are merged at different times.
static void kpdt__enqueue_touched(kpdt__vocabulary *v) {
    for (size_t i = 0; i < v->touched.n; i++) {
        int32_t at = ((int32_t *)v->touched.data)[i];
        kpdt__pair *p = (kpdt__pair *)v->pairs.data + at;
        kpdt__entry x;
        x.count = p->count; x.a = p->a; x.b = p->b; x.pair = at; x.places = p->places;
        p->places = -1;
        if (x.count > 0) { kpdt__enqueue(v, x); continue; }
        for (int32_t next; x.places >= 0; x.places = next) {
            next = ((kpdt__place *)v->places.data)[x.places].next;
            kpdt__free_place(v, x.places);
        }
    }
    v->touched.n = 0;
}

// MERGES

// The token of a pair; there is one already if other pairs have made the same text.
static int32_t kpdt__joined(kpdt__vocabulary *v, int32_t a, int32_t b) {
    uint8_t text[2 * (4 * KPD__WORD_CHARS + 2)];
    const kpdt__key *left = kpdt__keys(&v->tokens) + a, *right = kpdt__keys(&v->tokens) + b;
    size_t more = right->size - 2;      // b is not a word's first, so ## stands before it
    memcpy(text, kpdt__key_text(&v->tokens, left), left->size);
    memcpy(text + left->size, kpdt__key_text(&v->tokens, right) + 2, more);
    return kpdt__add_key(v, &v->tokens, text, left->size + more, 0);
}

// Joins a and b wherever they are neighbours in a word, from the left. The joined pair's own count stays, as in the
// reference: should the pair come up again, from other merges that made the same texts, it is merged at once.
static void kpdt__merge_word(kpdt__vocabulary *v, int32_t word, int32_t a, int32_t b, int32_t joined) {
    kpdt__span *span = (kpdt__span *)v->spans.data + word;
    int32_t *s = (int32_t *)v->symbols.data + span->at;
    int64_t count = (int64_t)kpdt__keys(&v->words)[word].count;
    uint32_t n = 0;
    for (uint32_t i = 0; i < span->n; i++) {
        if (s[i] != a || i + 1 == span->n || s[i + 1] != b) { s[n++] = s[i]; continue; }
        if (n) {
            kpdt__change(v, s[n - 1], a, -count, word);
            kpdt__change(v, s[n - 1], joined, count, word);
        }
        if (++i + 1 < span->n) {
            kpdt__change(v, b, s[i + 1], -count, word);
            kpdt__change(v, joined, s[i + 1], count, word);
        }
        s[n++] = joined;
    }
    span->n = n;
}

static void kpdt__merge(kpdt__vocabulary *v, const kpdt__entry *x) {
    int32_t joined = kpdt__joined(v, x->a, x->b);
    for (int32_t i = x->places; i >= 0 && !v->status;) {
        const kpdt__place place = ((kpdt__place *)v->places.data)[i];
        kpdt__free_place(v, i);
        kpdt__merge_word(v, place.word, x->a, x->b, joined);
        i = place.next;
    }
    kpdt__enqueue_touched(v);
}

static void kpdt__merge_all(kpdt__vocabulary *v, size_t size, int64_t min_count) {
    while (!v->status && v->tokens.keys.n < size && v->queue.n) {
        kpdt__entry x = kpdt__dequeue(v);
        int64_t count = ((kpdt__pair *)v->pairs.data)[x.pair].count;
        if (x.count != count) {
            x.count = count;
            kpdt__enqueue(v, x);
        } else {
            if (count < min_count) return;
            kpdt__merge(v, &x);
        }
    }
}

static void kpdt__make_vocabulary(kpdt__vocabulary *v, const kpdt_vocabulary_desc *d) {
    static const char *const special[5] = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"};
    kpdt__read_words(v, d);
    for (int i = 0; i < 5; i++) kpdt__add_key(v, &v->tokens, (const uint8_t *)special[i], strlen(special[i]), 0);
    kpdt__count_letters(v);
    kpdt__add_letters(v, d->max_alphabet ? (size_t)d->max_alphabet : 1000);
    kpdt__split_words(v);
    v->hash_key = kpd__hash64(v->words.text.data, v->words.text.n) +
                  kpd__hash64(v->words.keys.data, v->words.keys.n * sizeof(kpdt__key));
    kpdt__count_pairs(v);
    kpdt__enqueue_touched(v);
    kpdt__merge_all(v, d->size ? (size_t)d->size : 8000, d->min_count ? d->min_count : 2);
}

static void kpdt__free_vocabulary(kpdt__vocabulary *v) {
    kpdt__array *all[17];
    kpdt__dictionary *dictionaries[3];
    size_t n = 0;
    dictionaries[0] = &v->words; dictionaries[1] = &v->letters; dictionaries[2] = &v->tokens;
    for (int i = 0; i < 3; i++) {
        all[n++] = &dictionaries[i]->text; all[n++] = &dictionaries[i]->keys; all[n++] = &dictionaries[i]->forks;
    }
    all[n++] = &v->recent; all[n++] = &v->symbols; all[n++] = &v->spans; all[n++] = &v->pairs; all[n++] = &v->buckets;
    all[n++] = &v->places; all[n++] = &v->touched; all[n++] = &v->queue;
    while (n-- > 0) kpd__free(v->allocator, all[n]->data, all[n]->room * all[n]->size);
}

static kpd_status kpdt__vocabulary_check(const kpdt_vocabulary_desc *d, kpd_error *e) {
    if (d && kpd__desc_check("vocabulary", d->abi, d->reserved, e)) return KPD_ERR_ARGUMENT;
    if (!d || !d->next || !kpd__allocator_ok(&d->allocator))
        return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "vocabulary: next is required, and an allocator has both functions or none");
    if (d->size < 0 || d->size > KPD_MAX_VOCAB || d->min_count < 0 || d->max_alphabet < 0)
        return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "vocabulary: size is %d, min_count %d, max_alphabet %d: expected 0 or more, "
                         "and a size of at most %d", (int)d->size, (int)d->min_count, (int)d->max_alphabet, KPD_MAX_VOCAB);
    return KPD_OK;
}

KPDDEF kpd_status kpdt_vocabulary_train(const kpdt_vocabulary_desc *d, char **vocab, size_t *size, kpd_error *e) {
    kpdt__vocabulary v;
    char *text = NULL;
    size_t n;
    if (kpdt__vocabulary_check(d, e)) return KPD_ERR_ARGUMENT;
    memset(&v, 0, sizeof v);
    v.allocator = &d->allocator;
    v.e = e;
    v.unused = -1;
    kpdt__make_vocabulary(&v, d);
    n = v.tokens.text.n;
    if (!v.status) text = (char *)kpd__alloc(&d->allocator, n + 1);
    if (!v.status && !text) v.status = kpd__no_memory(e, n + 1);
    if (text) {
        memcpy(text, v.tokens.text.data, n);
        text[n] = 0;
        *vocab = text;
        *size = n;
    }
    kpdt__free_vocabulary(&v);
    return kpd__end(v.status, e);
}

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC pop_options
#endif
#undef KPD__TRAIN_IMPLEMENTING
#endif // part A
#endif // !KPD__LEVEL

// ------------------------------------------------------------------------------------------------------------------
// IMPLEMENTATION, part B: read once per level.
#ifdef KPD__LEVEL

// >>layers  Each layer's kernels, forward beside backward, on the 16 lanes of kpd.h's levels.
// Relies on the tape and on the kernels of kpd.h, whose names the next lines bring back. Promises the same bits on every
// level, at any number of tasks, and in the forward pass the same as kpd_embed and kpd_score.

#define KPD__NAMES
#include "kpd.h"
#undef KPD__NAMES
#define KPDT__NAME(name) KPD__NAME(train_##name)

// y = x + mask y: dropout and residual. The mask holds 0 and 1 / (1 - p); NULL = ones.
static void KPDT__NAME(add)(const float *x, const float *mask, size_t n, float *y) {
    for (size_t i = 0; i < n; i += 16) {
        size_t m = kpd__part_n(i, n);
        kpd__v a = kpd__load_n(x + i, m), b = kpd__load_n(y + i, m);
        kpd__store_n(y + i, m, mask ? kpd__fmadd(kpd__load_n(mask + i, m), b, a) : kpd__add(a, b));
    }
}

// y = mask x: dropout, and its own backward.
static void KPDT__NAME(mul)(const float *x, const float *mask, size_t n, float *y) {
    for (size_t i = 0; i < n; i += 16) {
        size_t m = kpd__part_n(i, n);
        kpd__store_n(y + i, m, kpd__mul(kpd__load_n(x + i, m), kpd__load_n(mask + i, m)));
    }
}

// Activation a = f(u). Backward: du = da f'(u), where
//   gelu       f' = Phi(u) + u phi(u), phi the normal density
//   gelu_tanh  f' = (1 + t) / 2 + u/2 (1 - t^2) y', t = tanh(y), y = c (u + .044715 u^3), c = sqrt(2/pi)
//   relu       f' = 1 where u > 0, else 0        tanh  f' = 1 - f^2
KPD__INLINE kpd__v KPDT__NAME(slope)(kpd_activation f, kpd__v u) {
    const kpd__v one = kpd__set(1.0f), half = kpd__set(0.5f), square = kpd__mul(u, u);
    kpd__v t, y;
    switch (f) {
    case KPD_GELU:
        t = kpd__exp(kpd__mul(square, kpd__set(-0.5f)));
        return kpd__fmadd(kpd__mul(u, kpd__set(0.398942280f)), t, kpd__phi(u));
    case KPD_GELU_TANH:
        y = kpd__mul(kpd__set(0.797884561f), kpd__fmadd(kpd__mul(kpd__set(0.044715f), u), square, u));
        t = kpd__tanh(y);
        y = kpd__fmadd(square, kpd__set(0.797884561f * 3 * 0.044715f), kpd__set(0.797884561f));
        y = kpd__mul(kpd__mul(half, u), y);
        return kpd__fmadd(kpd__fmadd(kpd__sub(kpd__set(0), t), t, one), y, kpd__fmadd(half, t, half));
    case KPD_RELU: return kpd__pick_lt(kpd__set(0), u, one, kpd__set(0));
    case KPD_TANH:
        t = kpd__tanh(u);
        return kpd__fmadd(kpd__sub(kpd__set(0), t), t, one);
    default: return one;
    }
}

KPD__INLINE void KPDT__NAME(activate_as)(kpd_activation f, const float *u, size_t n, float *a) {
    for (size_t i = 0; i < n; i += 16) {
        size_t m = kpd__part_n(i, n);
        kpd__store_n(a + i, m, kpd__activate((int)f, kpd__load_n(u + i, m)));
    }
}

// d holds da and becomes du; a becomes f(u) again.
KPD__INLINE void KPDT__NAME(activate_backward_as)(kpd_activation f, const float *u, size_t n, float *a, float *d) {
    for (size_t i = 0; i < n; i += 16) {
        size_t m = kpd__part_n(i, n);
        kpd__v x = kpd__load_n(u + i, m);
        kpd__store_n(a + i, m, kpd__activate((int)f, x));
        kpd__store_n(d + i, m, kpd__mul(kpd__load_n(d + i, m), KPDT__NAME(slope)(f, x)));
    }
}

// f is a constant in each call, so that the switches inside go away.
static void KPDT__NAME(activate)(kpd_activation f, const float *u, size_t n, float *a) {
    switch (f) {
    case KPD_GELU: KPDT__NAME(activate_as)(KPD_GELU, u, n, a); break;
    case KPD_GELU_TANH: KPDT__NAME(activate_as)(KPD_GELU_TANH, u, n, a); break;
    case KPD_RELU: KPDT__NAME(activate_as)(KPD_RELU, u, n, a); break;
    case KPD_TANH: KPDT__NAME(activate_as)(KPD_TANH, u, n, a); break;
    default: memmove(a, u, n * sizeof *a);
    }
}

static void KPDT__NAME(activate_backward)(kpd_activation f, const float *u, size_t n, float *a, float *d) {
    switch (f) {
    case KPD_GELU: KPDT__NAME(activate_backward_as)(KPD_GELU, u, n, a, d); break;
    case KPD_GELU_TANH: KPDT__NAME(activate_backward_as)(KPD_GELU_TANH, u, n, a, d); break;
    case KPD_RELU: KPDT__NAME(activate_backward_as)(KPD_RELU, u, n, a, d); break;
    case KPD_TANH: KPDT__NAME(activate_backward_as)(KPD_TANH, u, n, a, d); break;
    default: memmove(a, u, n * sizeof *a);
    }
}

// Layer norm z = (x - mean) / sigma, y = gamma z + beta, sigma = sqrt(var + eps); mean and variance are trees. Returns
// 1 / sigma.
static float KPDT__NAME(norm)(const kpd__norm *p, const float *x, size_t width, float *z, float *y) {
    float mu = kpd__mean(x, width), scale = kpd__inverse_deviation(x, width, mu, p->eps);
    kpd__v mean = kpd__set(mu), s = kpd__set(scale);
    for (size_t i = 0; i < width; i += 16) {
        size_t n = kpd__part_n(i, width);
        kpd__v v = kpd__mul(kpd__sub(kpd__load_n(x + i, n), mean), s);
        kpd__store_n(z + i, n, v);
        kpd__store_n(y + i, n, kpd__fmadd(v, kpd__load_n(p->gamma + i, n), kpd__load_n(p->beta + i, n)));
    }
    return scale;
}

// With dz = gamma dy: dx = (dz - mean(dz) - z mean(z dz)) / sigma; the two means are trees. scale = 1 / sigma.
static void KPDT__NAME(norm_backward)(const kpd__norm *p, const float *dy, const float *z, float scale, size_t width,
                                      float *dx) {
    kpd__tree sum = kpd__tree_zero(), product = kpd__tree_zero();
    kpd__v a, b, s = kpd__set(scale);
#define KPD__PART(acc, i, n) acc = kpd__fmadd(kpd__load_n(p->gamma + (i), n), kpd__load_n(dy + (i), n), acc)
#define KPD__FULL(acc, i) KPD__PART(acc, i, 16)
    KPD__TREE(sum, width, KPD__FULL, KPD__PART);
#undef KPD__PART
#define KPD__PART(acc, i, n)                                                                                                   \
    acc = kpd__fmadd(kpd__mul(kpd__load_n(p->gamma + (i), n), kpd__load_n(dy + (i), n)), kpd__load_n(z + (i), n), acc)
    KPD__TREE(product, width, KPD__FULL, KPD__PART);
#undef KPD__PART
#undef KPD__FULL
    a = kpd__set(-kpd__tree_sum(sum) / (float)width);
    b = kpd__set(-kpd__tree_sum(product) / (float)width);
    for (size_t i = 0; i < width; i += 16) {
        size_t n = kpd__part_n(i, width);
        kpd__v v = kpd__fmadd(kpd__load_n(p->gamma + i, n), kpd__load_n(dy + i, n), a);
        kpd__store_n(dx + i, n, kpd__mul(kpd__fmadd(kpd__load_n(z + i, n), b, v), s));
    }
}

// dgamma += sum over rows of dy z, dbeta += sum of dy: chains. n columns of rows ld apart.
static void KPDT__NAME(norm_gradient)(const float *dy, const float *z, size_t ld, size_t rows, size_t n, float *dgamma,
                                      float *dbeta) {
    for (size_t i = 0; i < n; i += 16) {
        size_t m = kpd__part_n(i, n);
        kpd__v g = kpd__load_n(dgamma + i, m), b = kpd__load_n(dbeta + i, m);
        for (size_t r = 0; r < rows; r++) {
            kpd__v d = kpd__load_n(dy + r * ld + i, m);
            g = kpd__fmadd(d, kpd__load_n(z + r * ld + i, m), g);
            b = kpd__add(b, d);
        }
        kpd__store_n(dgamma + i, m, g);
        kpd__store_n(dbeta + i, m, b);
    }
}

// Embedding x = word[id] + type[type] + position[place], in the order of kpd.h; a norm follows. Backward: the same three rows
// get += dx, token by token.
static void KPDT__NAME(embed)(const kpd__embedding *e, int32_t id, int32_t type, size_t position, float *x) {
    const float *w = e->word.f32 + (size_t)id * e->width, *y = e->type.f32 + (size_t)type * e->width,
                *p = e->position.f32 + position * e->width;
    for (size_t i = 0; i < e->width; i += 16) {
        size_t n = kpd__part_n(i, e->width);
        kpd__store_n(x + i, n, kpd__add(kpd__add(kpd__load_n(w + i, n), kpd__load_n(y + i, n)), kpd__load_n(p + i, n)));
    }
}

// The same for a tile of which only m columns exist: through a copy.
KPD__INLINE void KPDT__NAME(outer_part)(size_t rows, const float *a, size_t lda, const float *b, size_t n, float *c, size_t ldc,
                                        size_t m) {
    float tile[KPD__ROWS * 16];
    for (size_t r = 0; r < rows; r++) kpd__store(tile + r * 16, kpd__load_n(c + r * ldc, m));
    kpd__outer(rows, a, lda, b, 16, n, tile, 16);
    for (size_t r = 0; r < rows; r++) kpd__store_n(c + r * ldc, m, kpd__load(tile + r * 16));
}

// out[t][0..KPD__ROWS) = the first columns of each row of dy, of which n are left.
KPD__INLINE void KPDT__NAME(pack_tile)(const float *dy, size_t ldy, size_t tokens, size_t n, float *out) {
    for (size_t t = 0; t < tokens; t++, dy += ldy, out += KPD__ROWS)
        if (n >= KPD__ROWS) memcpy(out, dy, KPD__ROWS * sizeof *out);   // of constant size: no call
        else memcpy(out, dy, n * sizeof *out);
}

// out[panel][t][0..16) = up to KPDT__PANELS x 16 columns of each row of x, of which k are left.
KPD__INLINE void KPDT__NAME(pack_panels)(const float *x, size_t ldx, size_t tokens, size_t k, float *out) {
    if (k > KPDT__PANELS * 16) k = KPDT__PANELS * 16;
    for (size_t t = 0; t < tokens; t++, x += ldx)
        for (size_t c = 0; c < k; c += 16) kpd__store(out + (c * tokens + t * 16), kpd__load_n(x + c, kpd__part_n(c, k)));
}

// Columns of dW from a panel on, of which m are left: all n rows. Returns how many were done, those of one panel, or of two on
// AVX-512, which has the registers.
KPD__INLINE size_t KPDT__NAME(panel_gradient)(const float *tiles, const float *panel, size_t tokens, size_t n, size_t m,
                                              float *dw, size_t k) {
    const bool two = KPD__LEVEL == 3 && m >= 32;
    for (size_t r = 0; r < n; r += KPD__ROWS) {
        const size_t rows = kpd__min(KPD__ROWS, n - r);
        const float *tile = tiles + r * tokens;
#if KPD__LEVEL == 3
        if (two) { KPD__NAME(outer_pair)(rows, tile, KPD__ROWS, panel, panel + tokens * 16, tokens, dw + r * k, k); continue; }
#endif
        if (m >= 16) kpd__outer(rows, tile, KPD__ROWS, panel, 16, tokens, dw + r * k, k);
        else KPDT__NAME(outer_part)(rows, tile, KPD__ROWS, panel, tokens, dw + r * k, k, m);
    }
    return two ? 32 : kpd__min(16, m);
}

// Matrix product y = x W^T + b. Backward: dx = dy W is kpd.h's gemm on panels of W^T; db[n] += sum over t of dy[t][n]; and here
// dW[n][k] += sum over t of dy[t][n] x[t][k] for n <= KPDT__GROUP columns of dy. KPDT__TOKENS tokens at a time are packed, dy
// by tiles of rows and x by panels, so that the micro-kernel reads L1 in order; a longer chain rests in dW meanwhile.
static void KPDT__NAME(weight_gradient)(const float *dy, size_t ldy, const float *x, size_t ldx, size_t rows, size_t n,
                                        size_t k, float *dw, float *scratch) {
    float *panels = scratch + KPDT__TOKENS * KPDT__GROUP;   // before them [n / KPD__ROWS][tokens][KPD__ROWS]
    for (size_t at = 0; at < rows; at += KPDT__TOKENS, dy += KPDT__TOKENS * ldy, x += KPDT__TOKENS * ldx) {
        size_t tokens = rows - at < KPDT__TOKENS ? rows - at : KPDT__TOKENS;
        for (size_t r = 0; r < n; r += KPD__ROWS) KPDT__NAME(pack_tile)(dy + r, ldy, tokens, n - r, scratch + r * tokens);
        for (size_t c = 0; c < k;) {
            const size_t i = c / 16 % KPDT__PANELS;
            if (!i) KPDT__NAME(pack_panels)(x + c, ldx, tokens, k - c, panels);
            c += KPDT__NAME(panel_gradient)(scratch, panels + i * tokens * 16, tokens, n, k - c, dw + c, k);
        }
    }
}

static void KPDT__NAME(bias_gradient)(const float *dy, size_t ldy, size_t rows, size_t n, float *db) {
    for (size_t i = 0; i < n; i += 16) {
        size_t m = kpd__part_n(i, n);
        kpd__v b = kpd__load_n(db + i, m);
        for (size_t r = 0; r < rows; r++) b = kpd__add(b, kpd__load_n(dy + r * ldy + i, m));
        kpd__store_n(db + i, m, b);
    }
}

// Softmax numerators of one row of n scores in place, scaled first; lanes up to a multiple of 16 become 0. Returns 1 / sum.
KPD__INLINE float KPDT__NAME(softmax)(float *s, size_t n, float scale) {
    const kpd__v f = kpd__set(scale);
    kpd__tree sum = kpd__tree_zero();
    kpd__v top = kpd__set(-INFINITY), last;
    size_t full = n / 16 * 16;
    for (size_t i = 0; i < full; i += 16) {
        kpd__v v = kpd__mul(kpd__load(s + i), f);
        kpd__store(s + i, v);
        top = kpd__vmax(top, v);
    }
    for (size_t i = full; i < n; i++) {
        s[i] = s[i] * scale;
        top = kpd__vmax(top, kpd__set(s[i]));
    }
    top = kpd__set(kpd__hmax(top));
    if (full < n) {   // the exponentials of the last lanes, then zeros behind them
        last = kpd__exp(kpd__sub(kpd__load_n(s + full, n - full), top));
        kpd__store(s + full, last);
        kpd__store(s + full, kpd__load_n(s + full, n - full));
    }
#define KPD__FULL(acc, i)                                                                                                      \
    do {                                                                                                                       \
        kpd__v e_ = kpd__exp(kpd__sub(kpd__load(s + (i)), top));                                                               \
        kpd__store(s + (i), e_);                                                                                               \
        acc = kpd__add(acc, e_);                                                                                               \
    } while (0)
#define KPD__PART(acc, i, m) do { if ((m) == 16) KPD__FULL(acc, i); else acc = kpd__add(acc, kpd__load(s + (i))); } while (0)
    KPD__TREE(sum, n, KPD__FULL, KPD__PART);
#undef KPD__FULL
#undef KPD__PART
    return 1.0f / kpd__tree_sum(sum);
}

// Keys of one head as panels: out[j/16][d][j%16] = keys[j][d], zeros behind the last key.
KPD__INLINE void KPDT__NAME(pack_keys)(const float *keys, size_t ld, size_t n, size_t depth, float *out) {
    for (size_t j = 0; j < n; j += 16, out += depth * 16)
        for (size_t lane = 0; lane < 16; lane++)
            for (size_t d = 0; d < depth; d++) out[d * 16 + lane] = j + lane < n ? keys[(j + lane) * ld + d] : 0;
}

// Attention of one head: P = softmax(Q K^T / sqrt(depth)), O = (M P) V with M dropout's mask. Numerators of P for a block of
// query rows, and what to divide by, turned over.
KPD__INLINE void KPDT__NAME(numerators)(const float *q, size_t ld, size_t rows, size_t n, size_t depth, const float *kt,
                                        float *p, float *inverse) {
    float tile[KPD__ROWS * 16], scale = 1.0f / sqrtf((float)depth);
    size_t ldp = kpd__round_up(n, 16);
    for (size_t j = 0; j < n; j += 16) {
        kpd__micro(rows, q, ld, kt + j * depth, 16, depth, tile);
        for (size_t r = 0; r < rows; r++) kpd__store(p + r * ldp + j, kpd__load(tile + r * 16));
    }
    for (size_t r = 0; r < rows; r++) inverse[r] = KPDT__NAME(softmax)(p + r * ldp, n, scale);
}

// The mask of one query's row, or NULL.
KPD__INLINE const float *KPDT__NAME(attention_mask)(const kpdt__heads *a, size_t row, size_t head, float *mask) {
    if (!a->dropout) return NULL;
    kpdt__mask(a->dropout, a->site, a->text, row * a->heads + head, a->n_tokens, mask);
    return mask;
}

static void KPDT__NAME(attention)(const kpdt__heads *a, const float *qkv, float *out) {
    size_t n = a->n_tokens, depth = a->width / a->heads, padded = kpd__round_up(a->width, 16), ld = 3 * padded;
    size_t ldp = kpd__round_up(n, 16);
    float *kt = a->scratch, *p = kt + ldp * depth, *mask = p + n * ldp, tile[KPD__ROWS * 16], inverse[KPD__ROWS];
    for (size_t h = 0; h < a->heads; h++) {
        const float *q = qkv + h * depth, *v = q + 2 * padded;
        KPDT__NAME(pack_keys)(q + padded, ld, n, depth, kt);
        for (size_t i = 0; i < n; i += KPD__ROWS) {
            size_t rows = n - i < KPD__ROWS ? n - i : KPD__ROWS;
            KPDT__NAME(numerators)(q + i * ld, ld, rows, n, depth, kt, p, inverse);
            for (size_t r = 0; a->dropout && r < rows; r++)
                KPDT__NAME(mul)(p + r * ldp, KPDT__NAME(attention_mask)(a, i + r, h, mask), n, p + r * ldp);
            for (size_t d = 0; d < depth; d += 16) {
                kpd__micro(rows, p, ldp, v + d, ld, n, tile);
                for (size_t r = 0; r < rows; r++)
                    kpd__store_n(out + (i + r) * a->width + h * depth + d, kpd__part_n(d, depth),
                                 kpd__mul(kpd__load(tile + r * 16), kpd__set(inverse[r])));
            }
        }
    }
}

// Softmax backward of one row: dP = M (dO V^T), dS = P (dP - sum_j P dP) / sqrt(depth), the sum a tree. p holds numerators and
// becomes M P; d holds dO V^T and becomes dS. Both are n padded to 16, p with zeros.
KPD__INLINE void KPDT__NAME(softmax_backward)(float *p, float *d, const float *mask, float inverse, float scale, size_t n) {
    kpd__tree sum = kpd__tree_zero();
    kpd__v mean, f = kpd__set(scale);
    for (size_t i = 0; i < n; i += 16) {
        kpd__store(p + i, kpd__mul(kpd__load(p + i), kpd__set(inverse)));
        if (mask) kpd__store(d + i, kpd__mul(kpd__load(d + i), kpd__load_n(mask + i, kpd__part_n(i, n))));
    }
#define KPD__FULL(acc, i) acc = kpd__fmadd(kpd__load(p + (i)), kpd__load(d + (i)), acc)
#define KPD__PART(acc, i, m) do { (void)(m); KPD__FULL(acc, i); } while (0)
    KPD__TREE(sum, n, KPD__FULL, KPD__PART);
#undef KPD__FULL
#undef KPD__PART
    mean = kpd__set(kpd__tree_sum(sum));
    for (size_t i = 0; i < n; i += 16) {
        kpd__v x = kpd__load(p + i);
        kpd__store(d + i, kpd__mul(kpd__mul(x, kpd__sub(kpd__load(d + i), mean)), f));
        if (mask) kpd__store(p + i, kpd__mul(x, kpd__load_n(mask + i, kpd__part_n(i, n))));
    }
}

// out[j][0..depth) = sum over rows i of p[i][j] b[i][0..depth): dV of M P and dO, dK of dS and Q.
KPD__INLINE void KPDT__NAME(columns)(const float *p, size_t ldp, const float *b, size_t ldb, size_t n, size_t depth, float *out,
                                     size_t ldo) {
    float tile[KPD__ROWS * 16];
    for (size_t d = 0; d < depth; d += 16)
        for (size_t j = 0; j < n; j += KPD__ROWS) {
            size_t rows = n - j < KPD__ROWS ? n - j : KPD__ROWS;
            memset(tile, 0, sizeof tile);
            kpd__outer(rows, p + j, ldp, b + d, ldb, n, tile, 16);
            for (size_t r = 0; r < rows; r++)
                kpd__store_n(out + (j + r) * ldo + d, kpd__part_n(d, depth), kpd__load(tile + r * 16));
        }
}

// dV = (M P)^T dO, dQ = dS K, dK = dS^T Q: chains over the text. qkv, dqkv: [T][3][P], dout: [T, H], readable 16 floats
// behind their ends; the last panel of a head reads into the next, and those lanes are not stored.
static void KPDT__NAME(attention_backward)(const kpdt__heads *a, const float *qkv, const float *dout, float *dqkv) {
    size_t n = a->n_tokens, depth = a->width / a->heads, padded = kpd__round_up(a->width, 16), ld = 3 * padded;
    size_t ldp = kpd__round_up(n, 16);
    float *kt = a->scratch, *vt = kt + ldp * depth, *p = vt + ldp * depth, *ds = p + n * ldp, *mask = ds + n * ldp;
    float tile[KPD__ROWS * 16], inverse[KPD__ROWS], scale = 1.0f / sqrtf((float)depth);
    for (size_t h = 0; h < a->heads; h++) {
        const float *q = qkv + h * depth, *k = q + padded, *go = dout + h * depth;
        float *gq = dqkv + h * depth;
        KPDT__NAME(pack_keys)(k, ld, n, depth, kt);
        KPDT__NAME(pack_keys)(k + padded, ld, n, depth, vt);
        for (size_t i = 0; i < n; i += KPD__ROWS) {
            size_t rows = n - i < KPD__ROWS ? n - i : KPD__ROWS;
            float *pi = p + i * ldp, *di = ds + i * ldp;
            KPDT__NAME(numerators)(q + i * ld, ld, rows, n, depth, kt, pi, inverse);
            for (size_t j = 0; j < n; j += 16) {
                kpd__micro(rows, go + i * a->width, a->width, vt + j * depth, 16, depth, tile);
                for (size_t r = 0; r < rows; r++) kpd__store(di + r * ldp + j, kpd__load(tile + r * 16));
            }
            for (size_t r = 0; r < rows; r++)
                KPDT__NAME(softmax_backward)(pi + r * ldp, di + r * ldp, KPDT__NAME(attention_mask)(a, i + r, h, mask),
                                             inverse[r], scale, n);
            for (size_t d = 0; d < depth; d += 16) {
                kpd__micro(rows, di, ldp, k + d, ld, n, tile);
                for (size_t r = 0; r < rows; r++)
                    kpd__store_n(gq + (i + r) * ld + d, kpd__part_n(d, depth), kpd__load(tile + r * 16));
            }
        }
        KPDT__NAME(columns)(ds, ldp, q, ld, n, depth, gq + padded, ld);
        KPDT__NAME(columns)(p, ldp, go, a->width, n, depth, gq + 2 * padded, ld);
    }
}

// Which token holds the maximum of each of 16 columns: the first of several.
KPD__INLINE kpd__v KPDT__NAME(top)(const float *x, size_t n_tokens, size_t width, size_t n) {
    kpd__v best = kpd__load_n(x, n), at = kpd__set(0);
    for (size_t t = 1; t < n_tokens; t++) {
        kpd__v row = kpd__load_n(x + t * width, n);
        at = kpd__pick_lt(best, row, kpd__set((float)t), at);
        best = kpd__pick_lt(best, row, row, best);
    }
    return at;
}

// Pooling's backward, forward in kpd.h: dx[t] = w_t d, with w_t 1/T (mean), 1/sqrt(T) (sqrt-len), t / sum t from 1 (weighted),
// 1 for the first (cls), the last, or the largest of a column (max), else 0. x: [T, H] is what was pooled.
static void KPDT__NAME(pool_backward)(kpd_pooling kind, const float *x, size_t n_tokens, size_t width, const float *d,
                                      float *dx) {
    float count = (float)n_tokens, divisor = kind == KPD_POOL_MEAN ? count : kind == KPD_POOL_SQRT_LEN ? sqrtf(count) : 1;
    if (kind == KPD_POOL_WEIGHTED) divisor = (float)(n_tokens * (n_tokens + 1) / 2);
    for (size_t i = 0; i < width; i += 16) {
        size_t n = kpd__part_n(i, width);
        kpd__v v = kpd__load_n(d + i, n), top = kind == KPD_POOL_MAX ? KPDT__NAME(top)(x + i, n_tokens, width, n) : v, off;
        for (size_t t = 0; t < n_tokens; t++) {
            bool none = (kind == KPD_POOL_CLS && t) || (kind == KPD_POOL_LAST && t + 1 < n_tokens);
            float w = none ? 0 : (kind == KPD_POOL_WEIGHTED ? (float)(t + 1) : 1) / divisor;
            kpd__v g = kpd__mul(v, kpd__set(w));
            off = kpd__sub(top, kpd__set((float)t));
            if (kind == KPD_POOL_MAX) g = kpd__pick_lt(kpd__mul(off, off), kpd__set(0.25f), g, kpd__set(0));
            kpd__store_n(dx + t * width + i, n, g);
        }
    }
}

// y = x / |x|: dx = (dy - x (x . dy) / |x|^2) / |x|, both products trees. A vector without length, which the forward pass
// divides by 1e-12, has no direction to turn: its gradient is zero.
static void KPDT__NAME(normalize_backward)(const float *x, const float *dy, size_t n, float *dx) {
    float square = KPD__NAME(dot)(x, x, n), length = sqrtf(square);
    kpd__v s;
    if (!(length > 1e-12f)) { memset(dx, 0, n * sizeof *dx); return; }
    s = kpd__set(-KPD__NAME(dot)(x, dy, n) / square);
    for (size_t i = 0; i < n; i += 16) {
        size_t m = kpd__part_n(i, n);
        kpd__v v = kpd__fmadd(kpd__load_n(x + i, m), s, kpd__load_n(dy + i, m));
        kpd__store_n(dx + i, m, kpd__div(v, kpd__set(length)));
    }
}

// AdamW [Loshchilov 2019], element by element, as PyTorch orders it: w -= rate decay w; m = b1 m + (1 - b1) g;
// v = b2 v + (1 - b2) g^2; w -= rate / correct1 * m / (sqrt(v) / correct2 + epsilon).
static void KPDT__NAME(adamw)(const kpdt__adamw *o, size_t n, float *w, const float *g, float *m, float *v) {
    const kpd__v keep = kpd__set(kpd__fma(-o->rate, o->decay, 1.0f)), b1 = kpd__set(o->beta1), b2 = kpd__set(o->beta2);
    const kpd__v c1 = kpd__set(1 - o->beta1), c2 = kpd__set(1 - o->beta2), step = kpd__set(-o->rate / o->correct1);
    const kpd__v root = kpd__set(o->correct2);
    for (size_t i = 0; i < n; i += 16) {
        size_t k = kpd__part_n(i, n);
        kpd__v d = kpd__mul(kpd__load_n(g + i, k), kpd__set(o->scale)), a = kpd__load_n(m + i, k), b = kpd__load_n(v + i, k), u;
        a = kpd__fmadd(c1, d, kpd__mul(b1, a));
        b = kpd__fmadd(kpd__mul(c2, d), d, kpd__mul(b2, b));
        u = kpd__div(a, kpd__add(kpd__div(kpd__root(b), root), kpd__set(o->epsilon)));
        kpd__store_n(m + i, k, a);
        kpd__store_n(v + i, k, b);
        kpd__store_n(w + i, k, kpd__fmadd(step, u, kpd__mul(keep, kpd__load_n(w + i, k))));
    }
}

// Cross-entropy of one row of logits x [n], with room up to a multiple of 16: becomes scale (softmax(x) - onehot(label)).
// -log softmax(x)[label] = -log(returned) - margin, where margin = x[label] - max x and what is returned is
// 1 / sum exp(x - max x), the sum a tree.
static float KPDT__NAME(entropy)(float *x, size_t n, size_t label, float scale, float *margin) {
    kpd__v top = kpd__set(-INFINITY), s;
    float inverse;
    for (size_t i = n; i % 16; i++) x[i] = -INFINITY;
    for (size_t i = 0; i < n; i += 16) top = kpd__vmax(top, kpd__load(x + i));
    *margin = x[label] - kpd__hmax(top);
    inverse = KPDT__NAME(softmax)(x, n, 1.0f);
    s = kpd__set(inverse * scale);
    for (size_t i = 0; i < n; i += 16) kpd__store(x + i, kpd__mul(kpd__load(x + i), s));
    x[label] -= scale;
    return inverse;
}

// KL(q || p) of the distributions q = softmax(heat y) and p = softmax(heat x) of two rows of logits [n], with room up to a
// multiple of 16: returned + log inverse[1] - log inverse[0], returned = sum q ((heat y - its max) - (heat x - its max)) and
// inverse = 1 / sum exp(heat x - its max), of y likewise. x becomes scale (p - q), y is q.
static float KPDT__NAME(divergence)(float *x, float *y, size_t n, float heat, float scale, float inverse[2]) {
    kpd__v top[2], s[2], sum = kpd__set(0);
    float *row[2];
    row[0] = x; row[1] = y;
    for (int r = 0; r < 2; r++) {
        top[r] = kpd__set(-INFINITY);
        for (size_t i = n; i % 16; i++) row[r][i] = -INFINITY;
        for (size_t i = 0; i < n; i += 16) top[r] = kpd__vmax(top[r], kpd__load(row[r] + i));
        top[r] = kpd__set(kpd__hmax(top[r]));
    }
    for (size_t i = 0; i < n; i += 16) {
        size_t m = kpd__part_n(i, n);
        kpd__v apart = kpd__sub(kpd__sub(kpd__load_n(y + i, m), top[1]), kpd__sub(kpd__load_n(x + i, m), top[0]));
        kpd__v q = kpd__exp(kpd__mul(kpd__sub(kpd__load(y + i), top[1]), kpd__set(heat)));
        sum = kpd__fmadd(q, kpd__mul(apart, kpd__set(heat)), sum);
    }
    for (int r = 0; r < 2; r++) {
        inverse[r] = KPDT__NAME(softmax)(row[r], n, heat);
        s[r] = kpd__set(inverse[r]);
    }
    for (size_t i = 0; i < n; i += 16) {
        kpd__v q = kpd__mul(kpd__load(y + i), s[1]);
        kpd__store(y + i, q);
        kpd__store(x + i, kpd__mul(kpd__sub(kpd__mul(kpd__load(x + i), s[0]), q), kpd__set(scale)));
    }
    return kpd__sum(sum) * inverse[1];
}

// s [rows, n] = (x panel, added to s if asked) times the row's scale, or as it is.
static void KPDT__NAME(scores)(const kpdt__products *p, const float *scale, size_t n, float *s, size_t lds) {
    float tile[KPD__ROWS * 16];
    for (size_t r = 0, step = kpd__even_rows(p->rows, KPD__ROWS), m; r < p->rows; r += m) {
        m = kpd__min(step, p->rows - r);
        kpd__micro(m, p->x + r * p->ldx, p->ldx, p->panel, 16, p->n_k, tile);
        for (size_t i = 0; i < m; i++) {
            float *y = s + (r + i) * lds;
            kpd__v v = kpd__load(tile + i * 16);
            if (p->add) v = kpd__add(kpd__load_n(y, n), v);
            if (scale) v = kpd__mul(v, kpd__set(scale[r + i]));
            if (n == 16) kpd__store(y, v);
            else kpd__store_n(y, n, v);
        }
    }
}

// The same sums g of rows of x, or of its columns; d [rows, n] += scale g, dot += g own. Rows of own and d are ldo apart.
static void KPDT__NAME(score_gradient)(const kpdt__products *p, bool columns, const float *scale, size_t n, const float *own,
                                       size_t ldo, double *dot, float *d) {
    float tile[KPD__ROWS * 16], product[16];
    double part[4];
    for (size_t r = 0, step = kpd__even_rows(p->rows, KPD__ROWS), m; r < p->rows; r += m) {
        m = kpd__min(step, p->rows - r);
        if (columns) {
            memset(tile, 0, m * 16 * sizeof *tile);
            kpd__outer(m, p->x + r, p->ldx, p->panel, 16, p->n_k, tile, 16);
        } else kpd__micro(m, p->x + r * p->ldx, p->ldx, p->panel, 16, p->n_k, tile);
        for (size_t i = 0; i < m; i++) {
            size_t at = (r + i) * ldo;
            kpd__v g = kpd__load(tile + i * 16);
            kpd__store_n(d + at, n, kpd__fmadd(g, kpd__set(scale[r + i]), kpd__load_n(d + at, n)));
            kpd__store(product, kpd__mul(g, kpd__load_n(own + at, n)));
            for (size_t k = 0; k < 4; k++)
                part[k] = ((double)product[k] + (double)product[k + 4]) + ((double)product[k + 8] + (double)product[k + 12]);
            dot[r + i] += (part[0] + part[1]) + (part[2] + part[3]);
        }
    }
}

// Numerators of a softmax: top is one number, or one for each score.
static void KPDT__NAME(exps)(const float *s, size_t n, float scale, const float *top, bool each, float *e) {
    for (size_t i = 0; i < n; i += 16) {
        size_t m = kpd__part_n(i, n);
        kpd__v t = each ? kpd__load_n(top + i, m) : kpd__set(*top);
        kpd__store_n(e + i, m, kpd__exp(kpd__fmadd(kpd__load_n(s + i, m), kpd__set(scale), kpd__sub(kpd__set(0), t))));
    }
}

static const kpdt__ops KPDT__NAME(ops) = {
    KPDT__NAME(embed), KPDT__NAME(norm), KPDT__NAME(norm_backward), KPDT__NAME(norm_gradient), KPDT__NAME(activate),
    KPDT__NAME(activate_backward), KPDT__NAME(add), KPDT__NAME(mul), KPDT__NAME(weight_gradient), KPDT__NAME(bias_gradient),
    KPDT__NAME(attention), KPDT__NAME(attention_backward), KPDT__NAME(pool_backward), KPDT__NAME(normalize_backward),
    KPDT__NAME(adamw), KPDT__NAME(entropy), KPDT__NAME(divergence), KPDT__NAME(scores), KPDT__NAME(score_gradient),
    KPDT__NAME(exps)};

#undef KPDT__NAME
#undef KPDT__ACC
#undef KPDT__STEP
#undef KPDT__STORE
#undef KPDT__OUTER
#endif // KPD__LEVEL

// ------------------------------------------------------------------------------------------------------------------
// HISTORY
//     0.1  losses, similarity layer, the encoder's gradient, AdamW, training by phases, metrics, auction protocol,
//          WordPiece vocabularies
//
// LICENCE  MIT or public domain, at your choice: the texts are in the file LICENSE that comes with this header. In short,
// alternative A: Copyright (c) 2026 the kpd authors; permission is granted, free of charge, to use, copy, modify, merge,
// publish, distribute, sublicense and sell copies, provided that this notice stays in them. Alternative B: this is free and
// unencumbered software released into the public domain (www.unlicense.org). Either way the software is provided "as is",
// without warranty of any kind, and its authors are not liable for any claim or damage that arises from it.
