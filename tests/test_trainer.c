// The trainer on data sets: what a step computes, that it does not depend on how, that it can stop and go on, and what it
// refuses.
#define KPD_THREADS
#include "../kpd_train.h"
#include "test.h"
#include "tiny_data.h"
#include "tiny_model.h"
#include "values.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const kpdt_column COLUMNS[] = {KPDT_COL_KEYPHRASE, KPDT_COL_TITLE, KPDT_COL_CATEGORY, KPDT_COL_LABEL, KPDT_COL_SCORE,
                                      KPDT_COL_QUERY, KPDT_COL_END};
enum { N_WORDS = 12, ROWS = 96, DEV_ROWS = 40 };
static const char *const WORDS[N_WORDS] = {"blue", "red", "green", "case", "cover", "phone", "laptop", "charger", "sleeve",
                                           "yellow", "lamp", "pro"};

// A keyphrase of two words, a title of one to six; the label says whether a word is in both.
static char *rows_text(int rows, uint32_t seed) {
    char *text = (char *)malloc((size_t)rows * 160 + 1);
    size_t at = 0;
    for (int i = 0; text && i < rows; i++) {
        uint32_t phrase[2] = {tiny_random(&seed) / 64 % N_WORDS, tiny_random(&seed) / 64 % N_WORDS};
        int n = 1 + (int)(tiny_random(&seed) / 64 % 6), yes = 0;
        at += (size_t)sprintf(text + at, "%s %s\t", WORDS[phrase[0]], WORDS[phrase[1]]);
        for (int k = 0; k < n; k++) {
            uint32_t w = tiny_random(&seed) / 64 % N_WORDS;
            yes |= w == phrase[0] || w == phrase[1];
            at += (size_t)sprintf(text + at, "%s%s", k ? " " : "", WORDS[w]);
        }
        at += (size_t)sprintf(text + at, "\t%s\t%d\t%.3f\tq%d\n", i % 3 ? "lamp" : "", yes, 0.1 + 0.7 * yes + 0.01 * (i % 10),
                              i / 4);
    }
    return text;
}

// One job of each kind: everything that a trainer's desc points to.
typedef struct job {
    char *text[3];
    kpdt_dataset *data[3];              // two to learn from, dev
    kpd_model *start, *assistant;
    kpdt_source sources[2];
    kpdt_trainer_desc d;
} job;

static void job_open(job *j, kpd_kind kind) {
    tiny_options o;
    memset(j, 0, sizeof *j);
    memset(&o, 0, sizeof o);
    for (int i = 0; i < 3; i++) {
        j->text[i] = rows_text(i == 2 ? DEV_ROWS : ROWS, (uint32_t)i * 77 + 5);
        j->data[i] = tiny_dataset(j->text[i], COLUMNS);
    }
    o.kind = kind; o.n_layers = 2;
    j->start = tiny_model(&o);
    o.kind = KPD_CROSS_ENCODER; o.seed = 9;
    j->assistant = tiny_model(&o);
    j->sources[0].data = j->data[0];
    j->sources[0].losses[0].loss = kind == KPD_BI_ENCODER ? KPDT_CONTRASTIVE : KPDT_BCE;
    j->sources[1].data = j->data[1];
    j->sources[1].losses[0].loss = kind == KPD_BI_ENCODER ? KPDT_COSENT : KPDT_MSE;
    j->sources[1].losses[0].teacher = KPDT_BY_SCORE;
    if (kind == KPD_BI_ENCODER) {
        j->sources[0].losses[1].loss = KPDT_PEARSON; j->sources[0].losses[1].teacher = KPDT_BY_ASSISTANT;
        j->sources[0].losses[1].dims[0] = 16; j->sources[0].losses[1].dims[1] = 8;
        j->sources[0].losses[2].loss = KPDT_SOFTMAX; j->sources[0].losses[2].weight = 0.1f;
        j->sources[1].batching = KPDT_NO_DUPLICATES;
    }
    j->d.start = j->start; j->d.assistant = j->assistant;
    j->d.sources = j->sources; j->d.n_sources = 2; j->d.batch = 8;
    j->d.rate = 0.003f; j->d.warmup = 0.1f; j->d.dropout = 0.1f; j->d.weight_decay = 0.01f; j->d.seed = 3;
    j->d.dev = j->data[2]; j->d.dev_steps = 6;
}

static void job_close(job *j) {
    for (int i = 0; i < 3; i++) { kpdt_dataset_destroy(j->data[i]); free(j->text[i]); }
    kpd_model_destroy(j->start);
    kpd_model_destroy(j->assistant);
}

static kpdt_trainer *job_trainer(const job *j) {
    kpdt_trainer *t = NULL;
    kpd_error e;
    CHECK_THAT(!kpdt_trainer_create(&j->d, &t, &e), "%s", e.message);
    return t;
}

static uint64_t model_hash(const kpdt_trainer *t, bool best) {
    kpd_model *m = NULL;
    kpd_tensor x;
    uint64_t h = UINT64_C(14695981039346656037);
    CHECK_OK(kpdt_trainer_model(t, best, &m, NULL));
    for (int32_t i = 0; m && kpd_model_tensor(m, i, &x); i++) {
        size_t n = (size_t)x.rows * (size_t)x.cols;
        float *w = (float *)malloc(n * sizeof *w);
        CHECK_OK(kpd_model_get(m, x.name, w, NULL));
        h = tiny_hash(h, w, n * sizeof *w);
        free(w);
    }
    kpd_model_destroy(m);
    return h;
}

// Steps until done, or n of them; the hash of all reports.
static uint64_t run(kpdt_trainer *t, int n, uint64_t h) {
    kpdt_report r;
    kpd_error e;
    memset(&r, 0, sizeof r);
    for (int i = 0; i < n && !r.done; i++) {
        if (!CHECK_THAT(!kpdt_trainer_step(t, &r, &e), "%s", e.message)) break;
        h = tiny_hash(h, &r.step, sizeof r.step);
        h = tiny_hash(h, &r.loss, sizeof r.loss);
        h = tiny_hash(h, &r.grad_norm, sizeof r.grad_norm);
        if (r.dev == r.dev) h = tiny_hash(h, &r.dev, sizeof r.dev);
    }
    return h;
}

static uint64_t whole_run(const job *j) {
    kpdt_trainer *t = job_trainer(j);
    uint64_t h = run(t, 1000, 0) ^ model_hash(t, false) ^ model_hash(t, true) << 1;
    kpdt_trainer_destroy(t);
    return h;
}

static void steps_lower_the_loss_and_raise_dev(void) {
    for (int kind = 0; kind < 2; kind++) {
        job j;
        kpdt_trainer *t;
        kpdt_report r;
        double first = 0, last = 0;
        float dev = 0;
        job_open(&j, (kpd_kind)kind);
        j.d.n_sources = 1; j.d.epochs = kind ? 60 : 10; j.d.rate = 0.01f; j.d.dropout = 0;
        t = job_trainer(&j);
        do {
            if (!CHECK_OK(kpdt_trainer_step(t, &r, NULL))) break;
            CHECK(r.steps == 12 * j.d.epochs && r.source == 0 && r.texts == 8 * (kind ? 1 : 2) && r.tokens > r.texts && r.grad_norm > 0);
            CHECK((r.dev == r.dev) == (r.step % 6 == 0));
            if (r.step == 6) dev = r.dev;
            if (r.step <= 12) first += (double)r.loss;
            if (r.step > r.steps - 12) last += (double)r.loss;
        } while (!r.done);
        CHECK_INT(r.step, 12 * j.d.epochs);
        CHECK_THAT(last < 0.8 * first, "kind %d: loss %g, at first %g", kind, last / 12, first / 12);
        CHECK_THAT(r.best_dev > 0.7f && r.best_dev > dev, "kind %d: dev AUC %g, at first %g", kind, (double)r.best_dev,
                   (double)dev);
        CHECK_STATUS(kpdt_trainer_step(t, &r, NULL), KPD_ERR_ARGUMENT);
        kpdt_trainer_destroy(t);
        job_close(&j);
    }
}

static void bits_do_not_depend_on_memory_threads_or_level(void) {
    for (int kind = 0; kind < 2; kind++) {
        job j;
        uint64_t want;
        job_open(&j, (kpd_kind)kind);
        j.d.accumulate = 2; j.d.epochs = 2;
        want = whole_run(&j);
        for (j.d.max_tokens = 24; j.d.max_tokens < 130; j.d.max_tokens += 21)   // from pieces of one or two texts over one
            CHECK(whole_run(&j) == want);                                       // tower's pass to both
        j.d.max_tokens = 0; j.d.max_texts = 3;
        CHECK(whole_run(&j) == want);
        for (int level = KPD_SIMD_SCALAR; level < KPD_SIMD_COUNT; level++) {
            j.d.simd = (kpd_simd)level;
            if (kpd_simd_available(j.d.simd)) CHECK(whole_run(&j) == want);
        }
        j.d.simd = KPD_SIMD_AUTO;
        for (int32_t n = 2; n < 4; n++) {
            kpd_pool *p = NULL;
            CHECK_OK(kpd_pool_create(n, NULL, &p, NULL));
            j.d.parallel = *kpd_pool_parallel(p);
            CHECK(whole_run(&j) == want);
            kpd_pool_destroy(p);
        }
        memset(&j.d.parallel, 0, sizeof j.d.parallel);
        j.d.seed++;
        CHECK(whole_run(&j) != want);
        job_close(&j);
    }
}

// draw, learn and apply are a step; a host's batch of the same rows is the drawn one.
static void phases_make_a_step(void) {
    job j;
    kpdt_trainer *a, *b;
    kpdt_report r;
    job_open(&j, KPD_BI_ENCODER);
    j.d.dev = NULL;
    a = job_trainer(&j);
    b = job_trainer(&j);
    for (int i = 0; i < 6; i++) {
        kpdt_batch x, own;
        float loss = 0;
        CHECK_OK(kpdt_trainer_step(a, &r, NULL));
        CHECK_OK(kpdt_trainer_draw(b, &x, NULL));
        memset(&own, 0, sizeof own);
        own.source = -1; own.n = x.n; own.in[0] = x.in[0]; own.in[1] = x.in[1]; own.label = x.label; own.score = x.score;
        own.query = x.query; memcpy(own.losses, x.losses, sizeof own.losses);
        CHECK_OK(kpdt_trainer_learn(b, i % 2 ? &own : &x, &loss, NULL));
        CHECK(loss == r.loss);
        CHECK_OK(kpdt_trainer_apply(b, NULL, NULL));
        CHECK(model_hash(a, false) == model_hash(b, false));
    }
    kpdt_trainer_destroy(a);
    kpdt_trainer_destroy(b);
    job_close(&j);
}

// Contrastive loss of one batch by hand: cosines from kpd_embed, the loss from kpdt_loss_pairs.
static void the_loss_of_a_step_is_that_of_its_cosines(void) {
    job j;
    kpdt_trainer *t;
    kpd_session *s;
    kpdt_batch b;
    kpdt_report r;
    float item[8 * 16], phrase[8 * 16], cosine[8], ds[8], loss, soft[8], pearson[2];
    kpdt_loss_desc d;
    job_open(&j, KPD_BI_ENCODER);
    j.d.dropout = 0; j.d.n_sources = 1; j.sources[0].losses[2].loss = KPDT_LOSS_NONE;
    t = job_trainer(&j);
    s = tiny_session(j.start, j.assistant);
    CHECK_OK(kpdt_trainer_draw(t, &b, NULL));
    CHECK_OK(kpd_embed(s, j.start, KPD_ITEM, b.in[KPD_ITEM], 8, 0, item, NULL));
    CHECK_OK(kpd_embed(s, j.start, KPD_KEYPHRASE, b.in[KPD_KEYPHRASE], 8, 0, phrase, NULL));
    for (int i = 0; i < 8; i++) cosine[i] = kpd_cosine(item + 16 * i, phrase + 16 * i, 16);
    CHECK_OK(kpdt_loss_pairs(&b.losses[0], cosine, b.label, NULL, 8, &loss, ds, NULL));
    for (int i = 0; i < 8; i++) {
        kpd_input pair = kpd_input_str("", "", "");
        pair.part[0] = b.in[KPD_KEYPHRASE][i].part[0];
        pair.part[1] = b.in[KPD_ITEM][i].part[1];
        pair.part[2] = b.in[KPD_ITEM][i].part[0];
        CHECK_OK(kpd_score(s, j.assistant, &pair, 1, &soft[i], NULL));
        soft[i] = kpd_sigmoid(soft[i]);
    }
    memset(&d, 0, sizeof d);
    d.loss = KPDT_PEARSON;
    CHECK_OK(kpdt_loss_pairs(&d, cosine, soft, NULL, 8, &pearson[0], ds, NULL));
    for (int i = 0; i < 8; i++) cosine[i] = kpd_cosine(item + 16 * i, phrase + 16 * i, 8);
    CHECK_OK(kpdt_loss_pairs(&d, cosine, soft, NULL, 8, &pearson[1], ds, NULL));
    kpdt_trainer_destroy(t);
    t = job_trainer(&j);                                    // draws the same
    CHECK_OK(kpdt_trainer_step(t, &r, NULL));
    CHECK_NEAR(r.loss, (double)(loss + pearson[0] + pearson[1]), 1e-5);
    kpdt_trainer_destroy(t);
    kpd_session_destroy(s);
    job_close(&j);
}

static void dev_figures_are_those_of_the_model(void) {
    for (int metric = KPDT_DEV_AUC; metric <= KPDT_DEV_SPEARMAN; metric++) {
        job j;
        kpdt_trainer *t;
        kpd_session *s;
        kpd_model *m = NULL;
        kpdt_report r;
        kpdt_classification c;
        float score[DEV_ROWS], label[DEV_ROWS];
        uint8_t yes[DEV_ROWS];
        double want[5];
        job_open(&j, KPD_BI_ENCODER);
        j.d.dev_steps = 1; j.d.dev_metric = (kpdt_dev_metric)metric; j.d.dev_dim = 8;
        t = job_trainer(&j);
        CHECK_OK(kpdt_trainer_step(t, &r, NULL));
        CHECK_OK(kpdt_trainer_model(t, false, &m, NULL));
        s = tiny_session(m, NULL);
        for (int i = 0; i < DEV_ROWS; i++) {
            kpdt_row row;
            kpd_input item = kpd_input_str("", "", NULL), phrase = kpd_input_str("", NULL, NULL);
            float a[16], b[16];
            CHECK_OK(kpdt_dataset_get(j.data[2], i, &row, NULL));
            item.part[0] = row.title; item.part[1] = row.category; phrase.part[0] = row.keyphrase;
            CHECK_OK(kpd_embed(s, m, KPD_ITEM, &item, 1, 0, a, NULL));
            CHECK_OK(kpd_embed(s, m, KPD_KEYPHRASE, &phrase, 1, 0, b, NULL));
            score[i] = kpd_cosine(a, b, 8);
            label[i] = row.label;
            yes[i] = row.label >= 0.5f;
        }
        CHECK_OK(kpdt_classify(score, yes, DEV_ROWS, NULL, NULL, &c, NULL));
        want[0] = c.auc; want[1] = c.average_precision; want[2] = c.f1; want[3] = kpdt_pearson(score, label, DEV_ROWS);
        CHECK_OK(kpdt_spearman(score, label, DEV_ROWS, NULL, &want[4], NULL));
        CHECK(r.dev == (float)want[metric] && r.best_dev == r.dev);
        kpd_session_destroy(s);
        kpd_model_destroy(m);
        kpdt_trainer_destroy(t);
        job_close(&j);
    }
}

static void the_best_is_kept_and_patience_ends(void) {
    job j;
    kpdt_trainer *t;
    kpdt_report r;
    uint64_t at_best = 0;
    float best = -1;
    int bad = 0;
    job_open(&j, KPD_BI_ENCODER);
    j.d.dev_steps = 1; j.d.patience = 4; j.d.epochs = 40; j.d.rate = 0.02f;
    t = job_trainer(&j);
    {
        kpd_model *m = NULL;
        CHECK_STATUS(kpdt_trainer_model(t, true, &m, NULL), KPD_ERR_ARGUMENT);
    }
    do {
        if (!CHECK_OK(kpdt_trainer_step(t, &r, NULL))) break;
        bad = r.dev > best ? 0 : bad + 1;
        if (!bad) at_best = model_hash(t, false);
        best = r.dev > best ? r.dev : best;
        CHECK(r.best_dev == best);
        CHECK(r.done == (bad == 4 || r.step == r.steps));
    } while (!r.done);
    CHECK(r.step < r.steps);
    CHECK(model_hash(t, true) == at_best);
    CHECK(model_hash(t, false) != at_best);
    kpdt_trainer_destroy(t);
    job_close(&j);
}

// A cross-encoder whose classifier is zero scores all pairs alike, and in the first step, whose rate is 0, nothing changes: no
// correlation at the first look. The next figure is the best, though patience is 1.
static void a_look_without_a_figure_is_never_the_best(void) {
    static float zero[64];
    const char *path = test_tmp("no_figure.kpc");
    job j;
    kpdt_trainer *t;
    kpdt_report r;
    kpd_model *m = NULL;
    job_open(&j, KPD_CROSS_ENCODER);
    CHECK_OK(kpd_model_set(j.start, "classifier.weight", zero, NULL));
    CHECK_OK(kpd_model_set(j.start, "classifier.bias", zero, NULL));
    j.d.dev_metric = KPDT_DEV_PEARSON; j.d.dev_steps = 1; j.d.patience = 1; j.d.warmup = 0.05f;
    t = job_trainer(&j);
    CHECK_OK(kpdt_trainer_step(t, &r, NULL));
    CHECK(r.dev != r.dev && r.best_dev != r.best_dev && !r.done);
    CHECK_STATUS(kpdt_trainer_model(t, true, &m, NULL), KPD_ERR_ARGUMENT);
    CHECK_OK(kpdt_trainer_save(t, path, NULL));
    kpdt_trainer_destroy(t);
    t = job_trainer(&j);
    CHECK_OK(kpdt_trainer_resume(t, path, NULL));
    CHECK_OK(kpdt_trainer_step(t, &r, NULL));
    CHECK(r.dev == r.dev && r.best_dev == r.dev);
    CHECK(model_hash(t, true) == model_hash(t, false));
    kpdt_trainer_destroy(t);
    job_close(&j);
}

// As transformers: a warm-up of .1 of 24 steps is 3 of them, and of 30 is 3.
static void the_warm_up_is_rounded_up(void) {
    static const struct { float share; int64_t steps, warmup; } cases[] = {
        {0.1f, 24, 3}, {0.1f, 30, 3}, {0.2f, 4, 1}, {0.5f, 3, 2}, {0.3f, 10, 3}, {0.7f, 10, 7}, {0.06f, 50, 3}, {0.01f, 10, 1}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        job j;
        kpdt_trainer *t;
        kpdt_report r;
        job_open(&j, KPD_BI_ENCODER);
        j.d.warmup = cases[i].share; j.d.steps = cases[i].steps; j.d.rate = 0.001f; j.d.dev = NULL;
        t = job_trainer(&j);
        for (int64_t k = 0; k <= cases[i].warmup && k < cases[i].steps; k++) {
            CHECK_OK(kpdt_trainer_step(t, &r, NULL));
            CHECK_NEAR(r.rate, 0.001 * (double)k / (double)cases[i].warmup, 1e-9);
        }
        kpdt_trainer_destroy(t);
        job_close(&j);
    }
}

// A loss of weight 0 leaves the training as it is without it, and betas of 0 are none of the defaults.
static void zero_can_be_said_to_a_trainer(void) {
    uint64_t hash[4];
    for (int k = 0; k < 4; k++) {
        job j;
        kpdt_trainer *t;
        job_open(&j, KPD_BI_ENCODER);
        j.d.n_sources = 1; j.d.dev = NULL; j.d.accumulate = 3; j.d.steps = 3;
        if (k == 0) memset(&j.sources[0].losses[1], 0, sizeof j.sources[0].losses[1]);
        if (k > 0) j.sources[0].losses[1].weight = j.sources[0].losses[2].weight = KPDT_ZERO;
        if (k == 2) j.d.beta1 = KPDT_ZERO;
        if (k == 3) j.d.rate = KPDT_ZERO;
        t = job_trainer(&j);
        run(t, 3, 0);
        hash[k] = model_hash(t, false);
        kpdt_trainer_destroy(t);
        t = job_trainer(&j);
        if (k == 3) CHECK(model_hash(t, false) == hash[3]); // no rate, no change; decay goes by it too
        kpdt_trainer_destroy(t);
        job_close(&j);
    }
    CHECK(hash[0] == hash[1]);
    CHECK(hash[2] != hash[1]);
}

static const kpdt_column TITLES[] = {KPDT_COL_SKIP, KPDT_COL_TITLE, KPDT_COL_SKIP, KPDT_COL_SKIP, KPDT_COL_SKIP,
                                     KPDT_COL_SKIP, KPDT_COL_END};
static const kpdt_column PHRASES[] = {KPDT_COL_KEYPHRASE, KPDT_COL_SKIP, KPDT_COL_SKIP, KPDT_COL_SKIP, KPDT_COL_SKIP,
                                      KPDT_COL_SKIP, KPDT_COL_END};

// A job whose sources are just texts: titles and keyphrases in turn.
static void job_masks(job *j, kpdt_dataset *x[2]) {
    x[0] = tiny_dataset(j->text[0], TITLES); x[1] = tiny_dataset(j->text[1], PHRASES);
    memset(j->sources, 0, sizeof j->sources);
    for (int i = 0; i < 2; i++) { j->sources[i].data = x[i]; j->sources[i].losses[0].loss = KPDT_MLM; }
}

// The loss of held-out titles as dev; stopped and resumed on the way.
static void masked_language_modelling_learns_from_both_texts(void) {
    const char *path = test_tmp("mlm.kpc");
    job j;
    kpdt_dataset *x[3];
    uint64_t hash[2] = {0, 0};
    job_open(&j, KPD_BI_ENCODER);
    job_masks(&j, x);
    x[2] = tiny_dataset(j.text[2], TITLES);
    j.d.dev = x[2]; j.d.dev_metric = KPDT_DEV_MLM_LOSS; j.d.dev_steps = 12; j.d.epochs = 8; j.d.rate = 0.01f; j.d.batch = 16;
    for (int resumed = 0; resumed < 2; resumed++) {
        kpdt_trainer *t = job_trainer(&j);
        kpdt_report r;
        float first = 0;
        memset(&r, 0, sizeof r);
        while (!r.done) {
            if (!CHECK_OK(kpdt_trainer_step(t, &r, NULL))) break;
            CHECK(r.texts == 16 && r.tokens >= 3 * r.texts);
            if (r.step == 12) first = r.dev;
            if (!resumed || r.step != 31) continue;
            CHECK_OK(kpdt_trainer_save(t, path, NULL));
            kpdt_trainer_destroy(t);
            t = job_trainer(&j);
            CHECK_OK(kpdt_trainer_resume(t, path, NULL));
        }
        CHECK_INT(r.step, 96);
        CHECK_THAT(first < 0 && r.best_dev > first + 0.1f, "dev loss %g, at first %g", (double)-r.best_dev, (double)-first);
        hash[resumed] = model_hash(t, false) ^ model_hash(t, true) << 1;
        kpdt_trainer_destroy(t);
    }
    CHECK(hash[0] == hash[1]);
    for (int i = 0; i < 3; i++) kpdt_dataset_destroy(x[i]);
    job_close(&j);
}

// CHECKPOINTS

static void a_resumed_training_has_the_same_bits(void) {
    const char *path = test_tmp("trainer.kpc");
    for (int kind = 0; kind < 2; kind++) {
        job j;
        kpdt_trainer *t;
        uint64_t want, h;
        job_open(&j, (kpd_kind)kind);
        j.d.epochs = 3; j.d.patience = 20;
        t = job_trainer(&j);
        want = run(t, 1000, 0) ^ model_hash(t, false) ^ model_hash(t, true) << 1;
        kpdt_trainer_destroy(t);
        for (int stop = 0; stop < 40; stop += 13) {
            t = job_trainer(&j);
            h = run(t, stop, 0);
            CHECK_OK(kpdt_trainer_save(t, path, NULL));
            run(t, 2, 0);                                   // what came after is forgotten
            kpdt_trainer_destroy(t);
            t = job_trainer(&j);
            run(t, 5, 0);                                   // and what was before
            CHECK_OK(kpdt_trainer_resume(t, path, NULL));
            h = run(t, 1000, h) ^ model_hash(t, false) ^ model_hash(t, true) << 1;
            CHECK_THAT(h == want, "kind %d stopped at %d", kind, stop);
            kpdt_trainer_destroy(t);
        }
        job_close(&j);
    }
}

// Whole queries and cut ones with their heads, and clicks whose texts repeat: stopped after each of so many steps.
static void queries_and_clicks_are_resumed_with_the_same_bits(void) {
    static const kpdt_column clicks[] = {KPDT_COL_KEYPHRASE, KPDT_COL_SKIP, KPDT_COL_TITLE, KPDT_COL_SKIP, KPDT_COL_SKIP,
                                         KPDT_COL_SKIP, KPDT_COL_END};
    const char *path = test_tmp("sampler.kpc");
    job j;
    kpdt_dataset *few;
    uint64_t want = 0;
    job_open(&j, KPD_BI_ENCODER);
    few = tiny_dataset(j.text[1], clicks);                     // titles "lamp" and ""
    memset(j.sources, 0, sizeof j.sources);
    j.sources[0].data = j.data[0]; j.sources[0].batching = KPDT_BY_QUERY; j.sources[0].losses[0].loss = KPDT_MARGIN_MSE;
    j.sources[1].data = few; j.sources[1].batching = KPDT_NO_DUPLICATES; j.sources[1].losses[0].loss = KPDT_MNR_SYMMETRIC;
    j.d.batch = 3; j.d.epochs = 2; j.d.dev = NULL;
    for (int stop = -1; stop < 90; stop += stop < 0 ? 1 : 11) {
        kpdt_trainer *t = job_trainer(&j);
        kpdt_report r;
        uint64_t h = run(t, stop < 0 ? 1000 : stop, 0);
        if (stop >= 0) {
            CHECK_OK(kpdt_trainer_save(t, path, NULL));
            kpdt_trainer_destroy(t);
            t = job_trainer(&j);
            run(t, 7, 0);
            CHECK_OK(kpdt_trainer_resume(t, path, NULL));
            h = run(t, 1000, h);
        }
        h ^= model_hash(t, false);
        if (stop < 0) want = h;
        CHECK_THAT(h == want, "stopped at %d", stop);
        r = report_of(t);                         // 24 queries of 4 in two pieces, and 96 clicks, two epochs
        CHECK(r.steps == 2 * (48 + 32) && r.rows_seen == 192 && r.rows_repeated == 192 + 2 * 24 && r.rows_left == 0);
        kpdt_trainer_destroy(t);
    }
    kpdt_dataset_destroy(few);
    job_close(&j);
}

static void same_stand(kpdt_report a, kpdt_report b) {
    CHECK(a.rows_seen == b.rows_seen && a.rows_repeated == b.rows_repeated && a.rows_left == b.rows_left);
    CHECK_INT(a.step, b.step);
    CHECK_INT(a.steps, b.steps);
    CHECK(a.best_dev == b.best_dev || (a.best_dev != a.best_dev && b.best_dev != b.best_dev));
    CHECK_INT(a.done, b.done);
}

// The report is that of the last step, before the first look, after it and at the end; and of the checkpoint after a resume,
// wherever the trainer stood before.
static void the_report_after_a_resume_is_that_of_the_checkpoint(void) {
    static const int at[] = {0, 4, 13, 1000};
    const char *path = test_tmp("report.kpc");
    job j;
    job_open(&j, KPD_BI_ENCODER);
    for (int i = 0; i < 4; i++) {
        kpdt_trainer *t = job_trainer(&j);
        kpdt_report last = report_of(t), r;
        CHECK(last.step == 0 && last.steps == 24 && !last.done && last.best_dev != last.best_dev && last.source == -1);
        for (int k = 0; k < at[i] && !last.done; k++) CHECK_OK(kpdt_trainer_step(t, &last, NULL));
        CHECK((last.best_dev == last.best_dev) == (i > 1) && last.done == (i == 3));
        same_stand(report_of(t), last);
        CHECK_OK(kpdt_trainer_save(t, path, NULL));
        kpdt_trainer_destroy(t);
        t = job_trainer(&j);
        run(t, 8, 0);
        CHECK_OK(kpdt_trainer_resume(t, path, NULL));
        r = report_of(t);
        same_stand(r, last);
        CHECK(r.loss != r.loss && r.rate != r.rate && r.dev != r.dev && r.texts == 0);
        kpdt_trainer_destroy(t);
    }
    job_close(&j);
}

// A start of another template, of the same weights.
static kpd_model *with_template(const kpd_model *from, const char *item, const char *pair) {
    kpd_model_desc d = *kpd_model_get_desc(from);
    kpd_model *m = NULL;
    if (item) d.template_item = item;
    if (pair) d.template_pair = pair;
    CHECK_OK(kpdt_model_start(&d, from, NULL, 1, &m, NULL));
    return m;
}

static kpd_model *other_model(kpd_kind kind, uint32_t seed) {
    tiny_options o;
    memset(&o, 0, sizeof o);
    o.kind = kind; o.n_layers = 2; o.seed = seed;
    return tiny_model(&o);
}

// The same file of a job, with title and category exchanged: both are text, and no row is bad.
static void swap_columns(job *j, int i) {
    kpdt_column columns[sizeof COLUMNS / sizeof *COLUMNS];
    memcpy(columns, COLUMNS, sizeof columns);
    columns[1] = KPDT_COL_CATEGORY; columns[2] = KPDT_COL_TITLE;
    kpdt_dataset_destroy(j->data[i]);
    j->data[i] = tiny_dataset(j->text[i], columns);
    if (i < 2) j->sources[i].data = j->data[i];
    else j->d.dev = j->data[i];
}

static void another_desc_is_refused_by_name(void) {
    const char *path = test_tmp("other.kpc");
    job good, j;
    kpdt_trainer *t;
    uint64_t before;
    kpd_error e;
    job_open(&good, KPD_BI_ENCODER);
    t = job_trainer(&good);
    run(t, 3, 0);
    CHECK_OK(kpdt_trainer_save(t, path, NULL));
    kpdt_trainer_destroy(t);
#define REFUSED(assignment, name)                                                                                              \
    do {                                                                                                                       \
        job_open(&j, KPD_BI_ENCODER);                                                                                          \
        assignment;                                                                                                            \
        t = job_trainer(&j);                                                                                                   \
        before = model_hash(t, false);                                                                                         \
        memset(&e, 0, sizeof e);                                                                                               \
        CHECK_STATUS(kpdt_trainer_resume(t, path, &e), KPD_ERR_ARGUMENT);                                                      \
        CHECK_THAT(strstr(e.message, name) != NULL, "%s: %s", name, e.message);                                                \
        CHECK(model_hash(t, false) == before);                                                                                 \
        kpdt_trainer_destroy(t);                                                                                               \
        job_close(&j);                                                                                                         \
    } while (0)
    REFUSED(j.d.rate = 0.004f, "rate");
    REFUSED(j.d.seed = 4, "seed");
    REFUSED(j.d.batch = 7, "batch");
    REFUSED(j.d.accumulate = 2, "accumulate");
    REFUSED(j.d.dropout = 0.2f, "dropout");
    REFUSED(j.d.epochs = 2, "steps");
    REFUSED(j.d.clip = 2, "clip");
    REFUSED(j.d.frozen_layers = 1, "frozen_layers");
    REFUSED(j.d.patience = 2, "patience");
    REFUSED(j.d.dev = j.data[0], "dev data");
    REFUSED(j.d.n_sources = 1; j.d.steps = 24, "number of sources");
    REFUSED(j.sources[0].losses[0].margin = 0.7f, "losses or mining of source 0");
    REFUSED(j.d.weights_seed = 1, "weights_seed");
    REFUSED(j.d.dev_dim = 8, "dev_dim");
    REFUSED(j.d.dev_metric = KPDT_DEV_AP, "dev_metric");
    REFUSED(kpd_model_destroy(j.start); j.start = other_model(KPD_BI_ENCODER, 17); j.d.start = j.start, "start (its weights)");
    REFUSED(kpd_model_destroy(j.assistant); j.assistant = other_model(KPD_CROSS_ENCODER, 18); j.d.assistant = j.assistant,
            "assistant (its weights)");
    REFUSED(kpd_model *m = with_template(j.start, "{title}", NULL); kpd_model_destroy(j.start); j.d.start = j.start = m,
            "another model (shape, templates or vocabulary)");
    REFUSED(kpd_model *m = with_template(j.assistant, NULL, "{title} [SEP] {keyphrase}"); kpd_model_destroy(j.assistant);
            j.d.assistant = j.assistant = m, "another assistant (shape, templates");
    REFUSED(swap_columns(&j, 1), "columns of source 1");        // the same bytes and rows
    REFUSED(swap_columns(&j, 2), "dev columns");
    REFUSED(j.sources[1].batching = KPDT_RANDOM, "batching");
    REFUSED(j.sources[1].data = j.data[0], "another data of source 1");
#undef REFUSED
    job_open(&j, KPD_CROSS_ENCODER);
    t = job_trainer(&j);
    CHECK_STATUS(kpdt_trainer_resume(t, path, &e), KPD_ERR_ARGUMENT);
    CHECK_THAT(strstr(e.message, "model") != NULL, "%s", e.message);
    CHECK_STATUS(kpdt_trainer_resume(t, test_tmp("no-such.kpc"), &e), KPD_ERR_IO);
    kpdt_trainer_destroy(t);
    job_close(&j);
    job_close(&good);
}

// Every truncation and every damaged byte of the head, and some of the rest: an error, and nothing changed.
static void damaged_checkpoints_are_refused(void) {
    char path[256], bad[256];
    job j;
    kpdt_trainer *t;
    tiny_bytes file;
    uint64_t before;
    int accepted = 0;
    kpd_error e;
    snprintf(path, sizeof path, "%s", test_tmp("whole.kpc"));
    snprintf(bad, sizeof bad, "%s", test_tmp("bad.kpc"));
    job_open(&j, KPD_BI_ENCODER);
    t = job_trainer(&j);
    run(t, 7, 0);
    CHECK_OK(kpdt_trainer_save(t, path, NULL));
    before = model_hash(t, false);
    file = tiny_bytes_read(path);
    for (size_t i = 0; i < file.size; i += i < 2200 ? 3 : 4999) {
        tiny_bytes_write(bad, file.data, i);
        accepted += kpdt_trainer_resume(t, bad, &e) == KPD_OK;
        file.data[i] ^= 0x41;
        tiny_bytes_write(bad, file.data, file.size);
        accepted += kpdt_trainer_resume(t, bad, &e) == KPD_OK;
        file.data[i] ^= 0x41;
    }
    CHECK_INT(accepted, 0);
    CHECK(model_hash(t, false) == before);
    CHECK_OK(kpdt_trainer_resume(t, path, NULL));
    CHECK_STATUS(kpdt_trainer_save(t, "build/no-such-folder/x.kpc", &e), KPD_ERR_IO);
    tiny_bytes_free(&file);
    kpdt_trainer_destroy(t);
    job_close(&j);
}

// WHAT IS REFUSED

static void jobs_that_cannot_be_meant_are_refused(void) {
    job j;
    kpdt_trainer *t = NULL;
    kpd_error e;
    static const kpdt_column bare[] = {KPDT_COL_KEYPHRASE, KPDT_COL_SKIP, KPDT_COL_SKIP, KPDT_COL_SKIP, KPDT_COL_SKIP,
                                       KPDT_COL_SKIP, KPDT_COL_END};
    static const kpdt_column unasked[] = {KPDT_COL_KEYPHRASE, KPDT_COL_TITLE, KPDT_COL_CATEGORY, KPDT_COL_LABEL, KPDT_COL_SCORE,
                                          KPDT_COL_SKIP, KPDT_COL_END};
    kpdt_dataset *no_title, *no_query = tiny_dataset("a\tb\t\t1\t1\tq\n", unasked), *empty = tiny_dataset("", COLUMNS);
    kpdt_dataset *one_class = tiny_dataset("a\tb\t\t1\t1\tq\na\tb\t\t1\t1\tq\n", COLUMNS);
#define REFUSED(kind, assignment, says)                                                                                        \
    do {                                                                                                                       \
        job_open(&j, kind);                                                                                                    \
        no_title = tiny_dataset(j.text[0], bare);                                                                              \
        assignment;                                                                                                            \
        memset(&e, 0, sizeof e);                                                                                               \
        CHECK_STATUS(kpdt_trainer_create(&j.d, &t, &e), KPD_ERR_ARGUMENT);                                                     \
        CHECK_THAT(strstr(e.message, says) != NULL, "%s: %s", says, e.message);                                                \
        kpdt_dataset_destroy(no_title);                                                                                          \
        job_close(&j);                                                                                                         \
    } while (0)
    REFUSED(KPD_BI_ENCODER, j.sources[0].data = NULL, "source 0 has no data");
    REFUSED(KPD_BI_ENCODER, j.sources[1].data = empty, "source 1 has no rows");
    REFUSED(KPD_BI_ENCODER, j.sources[1].losses[0].loss = KPDT_LOSS_NONE, "source 1: no loss");
    REFUSED(KPD_BI_ENCODER, j.sources[0].losses[0].loss = KPDT_LOSS_COUNT, "loss");
    REFUSED(KPD_BI_ENCODER, j.sources[0].losses[0].margin = -1, "loss");
    REFUSED(KPD_BI_ENCODER, j.sources[0].losses[1].dims[0] = 17, "source 0: loss: dims[0] is 17, expected");
    REFUSED(KPD_BI_ENCODER, j.sources[1].losses[0].dims[0] = 8; j.sources[1].losses[0].dims[1] = 8,
            "source 1: loss: dims[1] is 8, expected descending widths of at most 16");
    REFUSED(KPD_BI_ENCODER, j.sources[0].data = no_title, "no title column");
    REFUSED(KPD_BI_ENCODER, j.d.assistant = NULL, "assistant");
    REFUSED(KPD_BI_ENCODER, j.d.assistant = j.start, "assistant");
    REFUSED(KPD_BI_ENCODER, j.sources[0].share = 1, "share");
    REFUSED(KPD_BI_ENCODER, j.sources[0].share = NAN, "share");
    REFUSED(KPD_BI_ENCODER, j.sources[0].losses[1].loss = KPDT_MLM, "mlm stands beside");
    REFUSED(KPD_CROSS_ENCODER, j.sources[0].losses[0].loss = KPDT_MNR, "cross-encoder");
    REFUSED(KPD_BI_ENCODER, j.sources[0].batching = (kpdt_batching)9, "batching");
    for (int l = KPDT_PEARSON; l <= KPDT_RANKNET; l++) {    // those that compare the rows of a query
        static const char *const name[] = {"pearson per query", "", "margin-mse", "kl", "ranknet"};
        if (l == KPDT_BCE) continue;
        for (int cross = 0; cross < 2; cross++) {
            char says[120];
            snprintf(says, sizeof says, "source 0: %s compares the rows of a query, which batching random scatters; expected by-query",
                     name[l - KPDT_PEARSON]);
            REFUSED((kpd_kind)cross, j.sources[0].losses[0].loss = (kpdt_loss)l; j.sources[0].losses[0].per_query = true,
                    says);
        }
    }
    REFUSED(KPD_BI_ENCODER, j.sources[0].data = no_query; j.sources[0].losses[0].loss = KPDT_KL,
            "source 0: kl compares the rows of a query, and there is no query column");
    REFUSED(KPD_BI_ENCODER, j.sources[0].losses[0].loss = KPDT_BCE, "source 0: loss: BCE takes a logit");
    for (int metric = KPDT_DEV_AUC; metric <= KPDT_DEV_SPEARMAN; metric++)
        REFUSED(KPD_BI_ENCODER, j.d.dev = one_class; j.d.dev_metric = (kpdt_dev_metric)metric, "dev: all 2 labels are");
    REFUSED(KPD_BI_ENCODER, j.d.dev = empty, "dev");
    REFUSED(KPD_BI_ENCODER, j.d.dev_dim = 99, "dev_dim");
    REFUSED(KPD_BI_ENCODER, j.d.dev_metric = (kpdt_dev_metric)9, "dev_metric");
    REFUSED(KPD_BI_ENCODER, j.d.batch = -1, "batch");
    REFUSED(KPD_BI_ENCODER, j.d.steps = -1, "steps");
    REFUSED(KPD_BI_ENCODER, j.d.patience = -1, "patience");
    REFUSED(KPD_BI_ENCODER, j.d.sources = NULL, "n_sources is 2");
    REFUSED(KPD_BI_ENCODER, j.sources[1].losses[0].similarity = (kpdt_similarity)3, "source 1: similarity: kind 3");
    REFUSED(KPD_BI_ENCODER, j.sources[1].losses[0].similarity = KPDT_SIM_ANGLE; j.sources[1].losses[0].dims[0] = 7,
            "source 1: similarity: angle needs an even dim, got 7");
#undef REFUSED
    kpdt_dataset_destroy(empty);
    kpdt_dataset_destroy(no_query);
    kpdt_dataset_destroy(one_class);
}

static void batches_that_cannot_be_learned_are_refused(void) {
    job j;
    kpdt_trainer *t;
    kpdt_batch b;
    kpdt_report r;
    kpd_input odd[8];
    float loss;
    uint64_t before;
    kpd_error e;
    job_open(&j, KPD_BI_ENCODER);
    j.sources[0].losses[0].loss = KPDT_MNR;                 // and the rows have labels, some of them 0
    t = job_trainer(&j);
    before = model_hash(t, false);
    for (int i = 0; i < 20; i++) {
        kpd_status s = kpdt_trainer_step(t, &r, &e);
        if (!s) continue;
        CHECK_STATUS(s, KPD_ERR_INPUT);
        CHECK_THAT(strstr(e.message, "MNR") && e.where >= 0 && e.where < ROWS, "%s", e.message);
        break;
    }
    kpdt_trainer_destroy(t);
    j.sources[0].losses[0].loss = KPDT_CONTRASTIVE;
    t = job_trainer(&j);
    CHECK_OK(kpdt_trainer_draw(t, &b, NULL));
    b.n = 9;
    CHECK_STATUS(kpdt_trainer_learn(t, &b, &loss, &e), KPD_ERR_ARGUMENT);
    b.n = 0;
    CHECK_STATUS(kpdt_trainer_learn(t, &b, &loss, &e), KPD_ERR_ARGUMENT);
    b.n = 8; b.source = 2;
    CHECK_STATUS(kpdt_trainer_learn(t, &b, &loss, &e), KPD_ERR_ARGUMENT);
    b.source = -1; b.label = b.score = NULL;
    CHECK_STATUS(kpdt_trainer_learn(t, &b, &loss, &e), KPD_ERR_ARGUMENT);
    memcpy(odd, b.in[KPD_ITEM], sizeof odd);
    odd[5].n_parts = 3;
    b.in[KPD_ITEM] = odd;
    CHECK_STATUS(kpdt_trainer_learn(t, &b, &loss, &e), KPD_ERR_INPUT);
    CHECK_INT(e.where, 5);
    CHECK(model_hash(t, false) == before);
    kpdt_trainer_destroy(t);
    j.d.sources = NULL; j.d.n_sources = 0; j.d.steps = 1;
    t = job_trainer(&j);
    CHECK_STATUS(kpdt_trainer_draw(t, &b, &e), KPD_ERR_ARGUMENT);
    kpdt_trainer_destroy(t);
    job_close(&j);
}

// A batch is what a host says: its rows, its losses and its source are looked at before anything is done, and a refusal leaves
// the weights, the gradient and the count of texts as they were.
static void hostile_batches_are_refused(void) {
    static const int64_t nowhere[] = {-1, ROWS, INT64_MAX, INT64_MIN};
    static const kpdt_loss of_none[] = {KPDT_LOSS_NONE, KPDT_LOSS_COUNT, (kpdt_loss)-1};
    job j;
    kpdt_trainer *t;
    kpdt_batch good, b;
    int64_t rows[8];
    float loss = 7;
    kpd_error e;
    job_open(&j, KPD_BI_ENCODER);
    j.d.n_sources = 1;                                      // asks the assistant
    t = job_trainer(&j);
    CHECK_OK(kpdt_trainer_draw(t, &good, NULL));
    for (int i = 0; i < 4; i++) {
        memcpy(rows, good.row, sizeof rows);
        rows[6] = nowhere[i];
        b = good; b.row = rows;
        memset(&e, 0, sizeof e);
        CHECK_STATUS(kpdt_trainer_learn(t, &b, &loss, &e), KPD_ERR_ARGUMENT);
        CHECK_THAT(e.where == 6 && strstr(e.message, "row 6 of the batch"), "%s", e.message);
    }
    for (int i = 0; i < 3; i++) {
        b = good; b.losses[0].loss = of_none[i];
        CHECK_STATUS(kpdt_trainer_learn(t, &b, &loss, &e), KPD_ERR_ARGUMENT);
    }
#define REFUSED(assignment)                                                                                                    \
    do { b = good; assignment; CHECK_STATUS(kpdt_trainer_learn(t, &b, &loss, &e), KPD_ERR_ARGUMENT); } while (0)
    REFUSED(b.source = 1);
    REFUSED(b.source = -2);
    REFUSED(b.source = INT32_MAX);
    REFUSED(b.n = INT32_MIN);
    REFUSED(b.in[0] = NULL);
    REFUSED(b.losses[0].teacher = (kpdt_teacher)9);
    REFUSED(b.losses[0].dims[0] = 17);
    REFUSED(b.losses[0].similarity = (kpdt_similarity)7);
    REFUSED(b.losses[0].similarity = KPDT_SIM_ANGLE; b.losses[0].dims[0] = 5);
    REFUSED(b.losses[1].loss = KPDT_MLM);
#undef REFUSED
    {
        size_t n;
        const float *g = kpdt_trainer_gradient(t, &n);
        for (size_t i = 0; i < n && CHECK(g[i] == 0); i++) {}
    }
    CHECK(loss == 7);
    b = good;
    for (int i = 2; i < KPDT_MAX_LOSSES; i++) b.losses[i] = b.losses[0];   // as many as there may be
    CHECK_OK(kpdt_trainer_learn(t, &b, &loss, &e));
    kpdt_trainer_destroy(t);
    job_close(&j);
}

// What was rounded is no start: the trained model would be written as f32.
static void start_is_f32(void) {
    job j;
    kpd_convert_desc d = {0};
    kpd_model *rounded = NULL;
    kpdt_trainer *t = NULL;
    kpd_error e;
    job_open(&j, KPD_BI_ENCODER);
    d.dtype = KPD_INT8;
    if (CHECK_OK(kpd_model_convert(j.start, &d, &rounded, &e))) {
        j.d.start = rounded;
        CHECK_STATUS(kpdt_trainer_create(&j.d, &t, &e), KPD_ERR_ARGUMENT);
        CHECK_THAT(strstr(e.message, "the weights of start are int8") != NULL, "%s", e.message);
        kpd_model_destroy(rounded);
    }
    job_close(&j);
}

// Losses and dev read one logit, whoever brings the batch.
static void a_cross_encoder_of_several_logits_is_refused(void) {
    job j;
    kpdt_trainer *t = NULL;
    kpd_model_desc d;
    kpd_model *two = NULL;
    kpd_input in[2];
    const float label[2] = {1, 0};
    kpdt_batch b;
    float loss = 0;
    kpd_error e;
    job_open(&j, KPD_CROSS_ENCODER);
    d = *kpd_model_get_desc(j.start);
    d.n_labels = 2;
    CHECK_OK(kpdt_model_start(&d, NULL, NULL, 1, &two, NULL));
    j.d.start = two; j.d.n_sources = 0; j.d.steps = 1;
    CHECK_STATUS(kpdt_trainer_create(&j.d, &t, &e), KPD_ERR_UNSUPPORTED);    // dev
    j.d.dev = NULL;
    t = job_trainer(&j);
    for (int i = 0; i < 2; i++) in[i] = kpd_input_str("case", "", "red case");
    memset(&b, 0, sizeof b);
    b.source = -1; b.n = 2; b.in[KPD_ITEM] = in; b.label = label; b.losses[0].loss = KPDT_BCE;
    CHECK_STATUS(kpdt_trainer_learn(t, &b, &loss, &e), KPD_ERR_UNSUPPORTED);
    CHECK_THAT(strstr(e.message, "2 labels") != NULL, "%s", e.message);
    kpdt_trainer_destroy(t);
    kpd_model_destroy(two);
    job_close(&j);
}

// The loss of a batch by a trainer of its own, whose soft labels are its own too.
static float loss_alone(const job *j, const kpdt_batch *b) {
    kpdt_trainer *t = job_trainer(j);
    float loss = 0;
    CHECK_OK(kpdt_trainer_learn(t, b, &loss, NULL));
    kpdt_trainer_destroy(t);
    return loss;
}

// A host changes texts of a drawn batch (mined negatives, say) and leaves the rest: the assistant is asked about the new pairs,
// whether the old ones are known already or not, and the old ones are known for what they are afterwards.
static void what_a_host_puts_into_a_batch_is_asked_anew(void) {
    job j;
    job_open(&j, KPD_BI_ENCODER);
    j.sources[0].losses[0] = j.sources[0].losses[1];
    memset(&j.sources[0].losses[1], 0, sizeof j.sources[0].losses[1]);
    j.d.n_sources = 1; j.d.dropout = 0;
    for (int warm = 0; warm < 2; warm++)
        for (int tower = 0; tower < 3; tower++) {           // the third: the texts stay, and the rows are others
            kpdt_trainer *t = job_trainer(&j);
            kpdt_batch own, b, alone;
            kpd_input in[8];
            int64_t rows[8];
            float loss = 0;
            CHECK_OK(kpdt_trainer_draw(t, &own, NULL));
            if (warm) CHECK_OK(kpdt_trainer_learn(t, &own, &loss, NULL));
            b = own;
            for (int i = 0; i < 8; i++) {
                in[i] = own.in[tower % 2][(i + 1) % 8];
                rows[i] = own.row[(i + 1) % 8];
            }
            if (tower < 2) b.in[tower] = in;
            else b.row = rows;
            alone = b; alone.source = -1; alone.row = NULL;
            CHECK_OK(kpdt_trainer_learn(t, &b, &loss, NULL));
            CHECK(loss == loss_alone(&j, &alone));
            alone = own; alone.source = -1; alone.row = NULL;
            CHECK_OK(kpdt_trainer_learn(t, &own, &loss, NULL));
            CHECK(loss == loss_alone(&j, &alone));
            kpdt_trainer_destroy(t);
        }
    job_close(&j);
}

// A student that reads titles alone asks an assistant that reads categories too.
static void the_assistant_is_asked_about_the_row(void) {
    job j;
    kpd_model *start;
    kpdt_trainer *t;
    kpd_session *s;
    kpdt_batch b, alone;
    float soft[8], loss = 0, want;
    int differ = 0;
    job_open(&j, KPD_BI_ENCODER);
    start = with_template(j.start, "{title}", NULL);
    j.sources[0].losses[0] = j.sources[0].losses[1];
    memset(&j.sources[0].losses[1], 0, sizeof j.sources[0].losses[1]);
    j.d.n_sources = 1; j.d.dropout = 0; j.d.start = start;
    t = job_trainer(&j);
    s = tiny_session(NULL, j.assistant);
    CHECK_OK(kpdt_trainer_draw(t, &b, NULL));
    for (int i = 0; i < 8; i++) {
        kpdt_row row;
        kpd_input pair = kpd_input_str("", "", ""), less = pair;
        float logit[2];
        CHECK_OK(kpdt_dataset_get(j.data[0], b.row[i], &row, NULL));
        CHECK(b.in[KPD_ITEM][i].n_parts == 1);
        pair.part[0] = less.part[0] = row.keyphrase; pair.part[1] = row.category; pair.part[2] = less.part[2] = row.title;
        CHECK_OK(kpd_score(s, j.assistant, &pair, 1, &logit[0], NULL));
        CHECK_OK(kpd_score(s, j.assistant, &less, 1, &logit[1], NULL));
        soft[i] = kpd_sigmoid(logit[0]);
        differ += logit[0] != logit[1];
    }
    CHECK(differ > 0);
    CHECK_OK(kpdt_trainer_learn(t, &b, &loss, NULL));
    alone = b; alone.source = -1; alone.score = soft; alone.losses[0].teacher = KPDT_BY_SCORE;
    want = loss_alone(&j, &alone);
    CHECK(loss == want);
    kpdt_trainer_destroy(t);
    kpd_session_destroy(s);
    kpd_model_destroy(start);
    job_close(&j);
}

static void an_assistant_that_cannot_tell_is_refused(void) {
    static const char *const templates[] = {"{keyphrase} [SEP] {category}", "{title}"};
    static const char *const says[] = {"has no {title}", "has no {keyphrase}"};
    for (int i = 0; i < 2; i++) {
        job j;
        kpdt_trainer *t = NULL;
        kpd_model *m;
        kpd_error e;
        job_open(&j, KPD_BI_ENCODER);
        m = with_template(j.assistant, NULL, templates[i]);
        j.d.assistant = m;
        memset(&e, 0, sizeof e);
        CHECK_STATUS(kpdt_trainer_create(&j.d, &t, &e), KPD_ERR_ARGUMENT);
        CHECK_THAT(strstr(e.message, says[i]) != NULL, "%s", e.message);
        kpd_model_destroy(m);
        job_close(&j);
    }
}

// The same table with an empty category, with a blank one and without the column trains to the same bits, whatever the model.
static void an_empty_category_is_none(void) {
    static const char *const cell[] = {"\t", "\t \xC2\xA0", ""};
    static const kpdt_column with[] = {KPDT_COL_KEYPHRASE, KPDT_COL_TITLE, KPDT_COL_CATEGORY, KPDT_COL_LABEL, KPDT_COL_END},
                             without[] = {KPDT_COL_KEYPHRASE, KPDT_COL_TITLE, KPDT_COL_LABEL, KPDT_COL_END};
    for (int kind = 0; kind < 2; kind++) {
        uint64_t hash[3];
        for (int i = 0; i < 3; i++) {
            char text[600];
            size_t n = 0;
            kpdt_dataset *x;
            job j;
            for (int k = 0; k < 16; k++)
                n += (size_t)sprintf(text + n, "%s %s\t%s%s\t%d\n", WORDS[k % 5], WORDS[k % 7], WORDS[k % 3], cell[i], k % 2);
            job_open(&j, (kpd_kind)kind);
            x = tiny_dataset(text, i < 2 ? with : without);
            j.sources[0].data = x;
            memset(&j.sources[0].losses[1], 0, sizeof j.sources[0].losses[1]);
            j.d.n_sources = 1; j.d.dev = x;
            hash[i] = whole_run(&j);
            CHECK(hash[i] == hash[0]);
            kpdt_dataset_destroy(x);
            job_close(&j);
        }
    }
}

// What a look by hand says, keeps and counts is what that of a step does; and a look is refused where it would lose a step.
static void looks_by_hand_are_those_of_steps(void) {
    job j;
    kpdt_trainer *a, *b;
    kpdt_report r, look;
    kpd_error e;
    memset(&r, 0, sizeof r);
    job_open(&j, KPD_BI_ENCODER);
    j.d.patience = 2; j.d.dev_steps = 2; j.d.rate = 0.05f; j.d.epochs = 5;
    a = job_trainer(&j);
    b = job_trainer(&j);
    while (!r.done) {
        kpdt_batch x;
        float loss = 0;
        if (!CHECK_OK(kpdt_trainer_step(a, &r, NULL)) || !CHECK_OK(kpdt_trainer_draw(b, &x, NULL))) break;
        CHECK_STATUS(kpdt_trainer_look(b, NULL, &e), KPD_ERR_ARGUMENT);
        CHECK_THAT(strstr(e.message, "under way") != NULL, "%s", e.message);
        CHECK_OK(kpdt_trainer_learn(b, &x, &loss, NULL));
        CHECK_OK(kpdt_trainer_apply(b, &look, NULL));
        if (look.step % 2 == 0 || look.step == look.steps) {
            CHECK_OK(kpdt_trainer_look(b, &look, NULL));
            CHECK(look.dev == r.dev);
            CHECK(look.best_dev == r.best_dev && model_hash(a, true) == model_hash(b, true));
        }
        CHECK(look.step == r.step && look.steps == r.steps && look.done == r.done && loss == r.loss);
    }
    CHECK(r.step < r.steps);                                // out of patience
    CHECK(model_hash(a, false) == model_hash(b, false));
    kpdt_trainer_destroy(a);
    kpdt_trainer_destroy(b);
    j.d.dev = NULL;
    a = job_trainer(&j);
    CHECK_STATUS(kpdt_trainer_look(a, &r, &e), KPD_ERR_ARGUMENT);
    kpdt_trainer_destroy(a);
    job_close(&j);
}

// A checkpoint has no gradient: between draw and apply it would lose what was drawn and learned.
typedef struct stop { int left; int64_t done, of; } stop;

static bool stop_after(void *user, int64_t done, int64_t of) {
    stop *x = (stop *)user;
    CHECK(done <= of && (x->done == x->of || (of == x->of && done > x->done)));
    x->done = done; x->of = of;
    return x->left-- > 0;
}

static bool gradient_is_zero(kpdt_trainer *t) {
    size_t n;
    const float *g = kpdt_trainer_gradient(t, &n);
    for (size_t i = 0; i < n; i++)
        if (g[i] != 0) return false;
    return true;
}

// Cancelled at any call of its progress, a step is not done; one that goes on is, and so is a look.
static void a_step_and_a_look_can_be_cancelled(void) {
    job j;
    stop x = {0, 0, 0};
    kpdt_trainer *t;
    kpdt_report r;
    kpd_error e;
    kpd_status s = KPD_ERR_CANCELLED;
    int calls = 0;
    job_open(&j, KPD_BI_ENCODER);
    j.d.progress.report = stop_after; j.d.progress.user = &x;
    j.d.max_tokens = 70; j.d.dev_steps = 100;           // a batch goes in pieces
    t = job_trainer(&j);
    for (; s && calls < 100; calls++) {
        x.left = calls; x.done = x.of = 0;
        s = kpdt_trainer_step(t, &r, &e);
        if (s) CHECK_STATUS(s, KPD_ERR_CANCELLED);
        if (s) CHECK(gradient_is_zero(t));
        CHECK_INT(report_of(t).step, s ? 0 : 1);
    }
    CHECK_THAT(calls > 3 && x.done == x.of, "%d calls, %d of %d", calls, (int)x.done, (int)x.of);
    for (calls = 0, s = KPD_ERR_CANCELLED; s && calls < 100; calls++) {
        x.left = calls; x.done = x.of = 0;
        s = kpdt_trainer_look(t, &r, &e);
        if (s) CHECK_STATUS(s, KPD_ERR_CANCELLED);
        CHECK(s == KPD_OK || report_of(t).best_dev != report_of(t).best_dev);
    }
    CHECK(calls > 2 && x.done == x.of);
    kpdt_trainer_destroy(t);
    job_close(&j);
}

// Masked-language modelling takes a batch whole, and the host is asked once for each of a step.
static void a_step_of_texts_can_be_cancelled(void) {
    job j;
    kpdt_dataset *texts[2];
    stop x = {0, 0, 0};
    kpdt_trainer *t;
    kpdt_report r;
    kpd_error e;
    job_open(&j, KPD_BI_ENCODER);
    job_masks(&j, texts);
    j.d.progress.report = stop_after; j.d.progress.user = &x;
    j.d.dev = NULL; j.d.accumulate = 2;
    t = job_trainer(&j);
    for (int left = 0; left < 3; left++) {
        x.left = left; x.done = x.of = 0;
        CHECK_STATUS(kpdt_trainer_step(t, &r, &e), left < 2 ? KPD_ERR_CANCELLED : KPD_OK);
        CHECK(gradient_is_zero(t) && x.done == j.d.batch && x.of == j.d.batch);
        CHECK_INT(report_of(t).step, left < 2 ? 0 : 1);
    }
    kpdt_trainer_destroy(t);
    kpdt_dataset_destroy(texts[0]); kpdt_dataset_destroy(texts[1]);
    job_close(&j);
}

static void a_step_under_way_is_not_saved(void) {
    const char *path = test_tmp("under_way.kpc");
    job j;
    job_open(&j, KPD_BI_ENCODER);
    for (int i = 0; i < 6; i++) {
        kpdt_trainer *t = job_trainer(&j);
        kpdt_batch b;
        float loss, out[8 * 16];
        size_t n;
        kpd_error e;
        CHECK_OK(kpdt_trainer_save(t, path, NULL));
        CHECK_OK(kpdt_trainer_draw(t, &b, NULL));
        if (i == 1) CHECK_OK(kpdt_trainer_learn(t, &b, &loss, NULL));
        if (i > 1) kpdt_trainer_cancel(t);
        if (i == 2) CHECK_OK(kpdt_trainer_learn(t, &b, &loss, NULL));
        if (i == 3 || i == 5) CHECK_OK(kpdt_trainer_forward(t, KPD_KEYPHRASE, b.in[1], 8, out, NULL));
        if (i == 5) CHECK_OK(kpdt_trainer_backward(t, KPD_KEYPHRASE, out, NULL));
        if (i == 5) CHECK_OK(kpdt_trainer_rewind(t, KPD_KEYPHRASE, 8, NULL));
        CHECK_STATUS(kpdt_trainer_save(t, path, &e), i == 4 ? KPD_OK : KPD_ERR_ARGUMENT);
        if (i != 4) CHECK_THAT(strstr(e.message, "step 1 is under way") != NULL, "%s", e.message);
        if (i % 2) kpdt_trainer_cancel(t);
        else CHECK_OK(kpdt_trainer_apply(t, NULL, NULL));
        CHECK(kpdt_trainer_gradient(t, &n)[0] == 0);
        CHECK_OK(kpdt_trainer_save(t, path, NULL));
        kpdt_trainer_destroy(t);
    }
    job_close(&j);
}

// A file whose third line is left out and whose sixth cannot be learned: by a loss that wants a probability of the score, and
// by MNR, which wants a positive pair. The path given at opening is gone by then.
static void a_row_that_a_step_cannot_take_is_named_by_file_and_line(void) {
    static const char rows[] = "red case\tred case\t\t1\t.5\tq\nblue\tcase\t\t1\t.5\tq\nbad\nlamp\tlamp\t\t1\t.5\tq\n"
                               "pro\tlaptop\t\t1\t.5\tq\nphone\tcase\t\t0\t1.5\tq\ngreen\tlamp\t\t1\t.5\tq\n";
    static const kpdt_loss losses[] = {KPDT_CONTRASTIVE, KPDT_MNR};
    static const char *const says[] = {"row_to_blame.tsv:6: t[0] is 1.5, expected 0 to 1",
                                       "row_to_blame.tsv:6: label 0, and to MNR"};
    char path[256];
    kpdt_dataset_desc d;
    kpdt_dataset *x = NULL;
    job j;
    snprintf(path, sizeof path, "%s", test_tmp("row_to_blame.tsv"));
    if (!tiny_bytes_write(path, rows, sizeof rows - 1)) return;
    memset(&d, 0, sizeof d);
    memcpy(d.columns, COLUMNS, sizeof COLUMNS);
    d.path = path; d.skip_bad_rows = true;
    CHECK_OK(kpdt_dataset_open(&d, &x, NULL));
    memset(path, 'x', sizeof path);
    job_open(&j, KPD_BI_ENCODER);
    memset(j.sources, 0, sizeof j.sources);
    j.d.n_sources = 1; j.d.batch = 1; j.d.dev = NULL;
    j.sources[0].data = x; j.sources[0].batching = KPDT_IN_ORDER; j.sources[0].losses[0].teacher = KPDT_BY_SCORE;
    for (int i = 0; x && i < 2; i++) {
        kpdt_trainer *t;
        kpd_status s = KPD_OK;
        kpd_error e;
        int64_t step = 0;
        j.sources[0].losses[0].loss = losses[i];
        t = job_trainer(&j);
        for (; !s && step < 6; step++) s = kpdt_trainer_step(t, NULL, &e);
        CHECK_STATUS(s, KPD_ERR_INPUT);
        CHECK_INT(step, 5);
        CHECK_THAT(strstr(e.message, says[i]) != NULL && strstr(e.message, "build/tmp"), "%s", e.message);
        CHECK_INT(report_of(t).step, 4);
        kpdt_trainer_destroy(t);
    }
    kpdt_dataset_destroy(x);
    job_close(&j);
}

// Weights that have run away are no row's fault: the training is named, in a step and in a look at dev.
static void a_training_that_diverges_says_so(void) {
    for (int dev = 0; dev < 2; dev++) {
        job j;
        kpdt_trainer *t;
        kpd_error e;
        kpd_status s = KPD_OK;
        job_open(&j, KPD_BI_ENCODER);
        j.d.rate = 1e30f; j.d.warmup = 0; j.d.dev_steps = 1;
        if (!dev) j.d.dev = NULL;
        t = job_trainer(&j);
        for (int i = 0; !s && i < 4; i++) s = kpdt_trainer_step(t, NULL, &e);
        CHECK_STATUS(s, KPD_ERR_ARGUMENT);
        CHECK_THAT(strstr(e.message, "training: diverged, after step 1 ") != NULL, "%s", e.message);
        CHECK_INT(report_of(t).step, 1);
        kpdt_trainer_destroy(t);
        job_close(&j);
    }
}

// A host's allocator that refuses the n-th call.
typedef struct host { int calls, fail_at, live; } host;

static void *host_alloc(void *user, size_t size) {
    host *h = (host *)user;
    void *p = h->calls++ == h->fail_at ? NULL : malloc(size ? size : 1);
    h->live += p != NULL;
    return p;
}

static void host_free(void *user, void *p, size_t size) {
    (void)size;
    ((host *)user)->live--;
    free(p);
}

static void refused_memory_is_reported(void) {
    const char *path = test_tmp("memory.kpc");
    host h = {0, 1 << 30, 0};
    kpd_status s = KPD_ERR_MEMORY;
    job j;
    int refused = 0;
    job_open(&j, KPD_BI_ENCODER);
    j.d.dev_steps = 1;
    j.d.allocator.alloc = host_alloc; j.d.allocator.free = host_free; j.d.allocator.user = &h;
    for (int at = 0; s && at < 200; at++, refused++) {
        kpdt_trainer *t = NULL;
        kpdt_report r;
        kpd_error e;
        h.calls = 0; h.fail_at = at;
        s = kpdt_trainer_create(&j.d, &t, &e);
        if (!s) s = kpdt_trainer_step(t, &r, &e);
        if (!s) s = kpdt_trainer_save(t, path, &e);
        if (!s) s = kpdt_trainer_resume(t, path, &e);
        CHECK_THAT(!s || s == KPD_ERR_MEMORY, "%s", e.message);
        kpdt_trainer_destroy(t);
        CHECK_INT(h.live, 0);
    }
    CHECK(!s && refused > 10);
    job_close(&j);
}

// MEMORY AND PIECES

// A host's allocator that keeps the most that there was at a time.
typedef struct meter { size_t now, most; } meter;

static void *meter_alloc(void *user, size_t size) {
    meter *m = (meter *)user;
    m->now += size;
    if (m->now > m->most) m->most = m->now;
    return malloc(size ? size : 1);
}

static void meter_free(void *user, void *p, size_t size) {
    ((meter *)user)->now -= size;
    free(p);
}

// The header's formula, with so many tokens that little else counts.
static void memory_is_what_it_is_said_to_be(void) {
    enum { TOKENS = 12000 };
    for (int kind = 0; kind < 2; kind++)
        for (int dev = 0; dev < 2; dev++) {
            meter m = {0, 0};
            job j;
            kpdt_trainer *t;
            kpd_model_desc d;
            kpd_tensor x;
            size_t weights = 0, h, f, l, want;
            job_open(&j, (kpd_kind)kind);
            j.d.n_sources = 1; j.d.max_tokens = TOKENS; j.d.assistant = NULL;
            j.sources[0].losses[1].loss = KPDT_LOSS_NONE;
            if (!dev) j.d.dev = NULL;
            j.d.allocator.alloc = meter_alloc; j.d.allocator.free = meter_free; j.d.allocator.user = &m;
            t = job_trainer(&j);
            d = *kpd_model_get_desc(j.start);
            for (int32_t i = 0; kpd_model_tensor(j.start, i, &x); i++)
                weights += (size_t)x.rows * (size_t)x.cols *
                           (size_t)((x.rows > 1 && !strstr(x.name, "embeddings") ? 6 : 4) + dev);
            h = (size_t)d.width; f = (size_t)d.ffn_width; l = (size_t)d.n_layers;
            want = 4 * (weights + TOKENS * (l * (8 * h + f) + 11 * h + 2 * f));
            CHECK_THAT(m.most > want - want / 20 && m.most < want + want / 10, "kind %d, dev %d: %zu bytes, said to be %zu",
                       kind, dev, m.most, want);
            kpdt_trainer_destroy(t);
            CHECK_INT(m.now, 0);
            job_close(&j);
        }
}

static void counted(void *user, int32_t n, kpd_task_t *task, void *arg) {
    ++*(int *)user;
    while (n--) task(arg, n);
}

// Calls of the host's threads in one step, whose batch has so many texts of two or three tokens; max_texts 0 = as it comes.
static int runs_of_a_step(int32_t batch, int32_t max_texts) {
    char *text = rows_text(batch, 3);
    kpdt_dataset *x = tiny_dataset(text, COLUMNS);
    kpdt_source source;
    int runs = 0;
    job j;
    kpdt_trainer *t;
    job_open(&j, KPD_BI_ENCODER);
    memset(&source, 0, sizeof source);
    source.data = x; source.losses[0].loss = KPDT_CONTRASTIVE;
    j.d.sources = &source; j.d.n_sources = 1; j.d.dev = NULL; j.d.batch = batch; j.d.max_texts = max_texts;
    j.d.parallel.run = counted; j.d.parallel.user = &runs; j.d.parallel.n_threads = 2;
    t = job_trainer(&j);
    runs = 0;
    CHECK_OK(kpdt_trainer_step(t, NULL, NULL));
    kpdt_trainer_destroy(t);
    kpdt_dataset_destroy(x);
    free(text);
    job_close(&j);
    return runs;
}

// Where max_tokens holds a batch, max_texts does too unless it says otherwise: no text goes forward twice.
static void a_batch_of_short_texts_goes_in_one_piece(void) {
    int whole = runs_of_a_step(300, 300);
    CHECK_INT(runs_of_a_step(300, 0), whole);
    CHECK(runs_of_a_step(300, 256) > whole);
    CHECK(runs_of_a_step(20, 0) == runs_of_a_step(20, 256));
}

// The same figure whether texts come one at a time or as many as fit, and then the vocabulary is read once for all of them.
static void dev_by_mlm_goes_many_texts_at_a_time(void) {
    static const int32_t max_texts[] = {0, 1, 3};
    float dev[3];
    int runs[3];
    for (int i = 0; i < 3; i++) {
        job j;
        kpdt_trainer *t;
        kpdt_report r;
        memset(&r, 0, sizeof r);
        runs[i] = 0;
        job_open(&j, KPD_BI_ENCODER);
        j.d.dev_metric = KPDT_DEV_MLM_LOSS; j.d.max_texts = max_texts[i]; j.d.dropout = 0;
        j.d.parallel.run = counted; j.d.parallel.user = &runs[i]; j.d.parallel.n_threads = 2;
        t = job_trainer(&j);
        runs[i] = 0;
        CHECK_OK(kpdt_trainer_look(t, &r, NULL));
        dev[i] = r.dev;
        kpdt_trainer_destroy(t);
        job_close(&j);
    }
    CHECK(dev[0] < 0 && dev[0] == dev[1] && dev[0] == dev[2]);
    CHECK_THAT(runs[0] * 8 < runs[1], "%d calls of the threads, and %d text by text", runs[0], runs[1]);
}

SUITE(trainer) {
    RUN(trainer, steps_lower_the_loss_and_raise_dev);
    RUN(trainer, bits_do_not_depend_on_memory_threads_or_level);
    RUN(trainer, phases_make_a_step);
    RUN(trainer, the_loss_of_a_step_is_that_of_its_cosines);
    RUN(trainer, dev_figures_are_those_of_the_model);
    RUN(trainer, the_best_is_kept_and_patience_ends);
    RUN(trainer, a_look_without_a_figure_is_never_the_best);
    RUN(trainer, the_warm_up_is_rounded_up);
    RUN(trainer, zero_can_be_said_to_a_trainer);
    RUN(trainer, masked_language_modelling_learns_from_both_texts);
    RUN(trainer, a_resumed_training_has_the_same_bits);
    RUN(trainer, queries_and_clicks_are_resumed_with_the_same_bits);
    RUN(trainer, the_report_after_a_resume_is_that_of_the_checkpoint);
    RUN(trainer, another_desc_is_refused_by_name);
    RUN(trainer, damaged_checkpoints_are_refused);
    RUN(trainer, jobs_that_cannot_be_meant_are_refused);
    RUN(trainer, batches_that_cannot_be_learned_are_refused);
    RUN(trainer, hostile_batches_are_refused);
    RUN(trainer, start_is_f32);
    RUN(trainer, a_cross_encoder_of_several_logits_is_refused);
    RUN(trainer, what_a_host_puts_into_a_batch_is_asked_anew);
    RUN(trainer, the_assistant_is_asked_about_the_row);
    RUN(trainer, an_assistant_that_cannot_tell_is_refused);
    RUN(trainer, an_empty_category_is_none);
    RUN(trainer, looks_by_hand_are_those_of_steps);
    RUN(trainer, a_step_under_way_is_not_saved);
    RUN(trainer, a_row_that_a_step_cannot_take_is_named_by_file_and_line);
    RUN(trainer, a_training_that_diverges_says_so);
    RUN(trainer, refused_memory_is_reported);
    RUN(trainer, a_step_and_a_look_can_be_cancelled);
    RUN(trainer, a_step_of_texts_can_be_cancelled);
    RUN(trainer, memory_is_what_it_is_said_to_be);
    RUN(trainer, a_batch_of_short_texts_goes_in_one_piece);
    RUN(trainer, dev_by_mlm_goes_many_texts_at_a_time);
}
