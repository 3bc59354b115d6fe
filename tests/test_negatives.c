// Explicit negatives in the trainer: which rows and batches have them, what losses make of them, and what is refused.
#define KPD_THREADS
#include "../kpd_train.h"
#include "test.h"
#include "tiny_data.h"
#include "tiny_model.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const kpdt_column COLUMNS[] = {KPDT_COL_NEGATIVE, KPDT_COL_KEYPHRASE, KPDT_COL_TITLE, KPDT_COL_CATEGORY,
                                      KPDT_COL_NEGATIVE, KPDT_COL_LABEL, KPDT_COL_NEGATIVE, KPDT_COL_END};
enum { ROWS = 24, BATCH = 8, WIDTH = 16, MOST = BATCH * 4 };
static kpd_error error;

// Row i has i % 4 negatives, in whichever of its three cells.
static char *rows_text(int rows) {
    char *text = (char *)malloc((size_t)rows * 160 + 1);
    uint32_t seed = 11;
    size_t at = 0;
    for (int i = 0; text && i < rows; i++) {
        char cell[3][40] = {"", "", ""};
        for (int k = 0; k < i % 4; k++) sprintf(cell[(i / 4 + k) % 3], "%s %s", tiny_word(&seed), tiny_word(&seed));
        at += (size_t)sprintf(text + at, "%s\t%s %s\t", cell[0], tiny_word(&seed), tiny_word(&seed));
        at += (size_t)sprintf(text + at, "%s %s %s\t%s\t", tiny_word(&seed), tiny_word(&seed), tiny_word(&seed),
                              i % 3 ? "lamp" : "");
        at += (size_t)sprintf(text + at, "%s\t%.2f\t%s\n", cell[1], 0.5 + 0.02 * i, cell[2]);
    }
    return text;
}

typedef struct job {
    char *text;
    kpdt_dataset *data;
    kpd_model *start, *assistant;
    kpdt_source source;
    kpdt_trainer_desc d;
} job;

static void job_open(job *j, kpd_kind kind) {
    tiny_options o;
    memset(j, 0, sizeof *j);
    memset(&o, 0, sizeof o);
    j->text = rows_text(ROWS);
    j->data = tiny_dataset(j->text, COLUMNS);
    o.kind = kind;
    j->start = tiny_model(&o);
    o.kind = KPD_CROSS_ENCODER; o.seed = 9;
    j->assistant = tiny_model(&o);
    j->source.data = j->data;
    j->source.losses[0].loss = kind == KPD_BI_ENCODER ? KPDT_MNR : KPDT_RANKNET;
    j->source.losses[1].loss = KPDT_MARGIN_MSE; j->source.losses[1].teacher = KPDT_BY_ASSISTANT;
    j->source.losses[2].loss = KPDT_PEARSON; j->source.losses[2].per_query = true;
    j->source.losses[2].teacher = KPDT_BY_ASSISTANT;
    j->d.start = j->start; j->d.assistant = j->assistant; j->d.sources = &j->source; j->d.n_sources = 1;
    j->d.batch = BATCH; j->d.rate = 0.003f; j->d.seed = 3;
}

static void job_close(job *j) {
    kpdt_dataset_destroy(j->data);
    free(j->text);
    kpd_model_destroy(j->start);
    kpd_model_destroy(j->assistant);
}

static kpdt_trainer *job_trainer(const job *j) {
    kpdt_trainer *t = NULL;
    CHECK_THAT(!kpdt_trainer_create(&j->d, &t, &error), "%s", error.message);
    return t;
}

static bool is(kpd_text t, const char *want) { return t.size == strlen(want) && !memcmp(t.data, want, t.size); }

static void a_row_has_those_that_are_not_empty(void) {
    kpdt_dataset *x = tiny_dataset("a b\tp\tt\t\t\t1\tc\n\tp\tt\tk\t\t0\t\n", COLUMNS);
    kpdt_row r;
    CHECK_OK(kpdt_dataset_get(x, 0, &r, NULL));
    CHECK(r.n_negatives == 2 && is(r.negative[0], "a b") && is(r.negative[1], "c") && is(r.keyphrase, "p"));
    CHECK_OK(kpdt_dataset_get(x, 1, &r, NULL));
    CHECK(r.n_negatives == 0 && is(r.category, "k") && r.label == 0);
    kpdt_dataset_destroy(x);
}

// Rows in order: each row's negatives stand behind all keyphrases, and each text has the share of its cells.
static void a_batch_has_those_of_its_rows(void) {
    static const char text[] = "lamp\tred case\tphone\t\tcover\t1\t\n\tred case\tlaptop\t\t\t1\t\n"
                               "red case\tlamp\tblue\t\t\t1\tcover\n";
    static const int count[] = {3, 3, 2, 2, 2, 3, 2};       // of 7 cells
    static const char *const want[] = {"red case", "red case", "lamp", "lamp", "cover", "red case", "cover"};
    job j;
    kpdt_dataset *x = tiny_dataset(text, COLUMNS);
    kpdt_trainer *t;
    kpdt_batch b;
    job_open(&j, KPD_BI_ENCODER);
    j.source.data = x; j.source.batching = KPDT_IN_ORDER; j.source.log_q = true;
    t = job_trainer(&j);
    CHECK_OK(kpdt_trainer_draw(t, &b, NULL));
    CHECK(b.n == 3 && b.n_negatives == 4 && !b.mask && b.log_q);
    for (int i = 0; i < 7 && b.log_q; i++) {
        CHECK_THAT(is(b.in[KPD_KEYPHRASE][i].part[0], want[i]), "text %d", i);
        CHECK_NEAR(b.log_q[i], log(count[i] / 7.0), 1e-6);
    }
    CHECK(b.negative_of[0] == 0 && b.negative_of[1] == 0 && b.negative_of[2] == 2 && b.negative_of[3] == 2);
    kpdt_trainer_destroy(t);
    j.source.log_q = false;
    t = job_trainer(&j);
    CHECK_OK(kpdt_trainer_draw(t, &b, NULL));
    CHECK(!b.log_q);
    kpdt_trainer_destroy(t);
    kpdt_dataset_destroy(x);
    job_close(&j);
}

// Items 0 and 1 are the same one. Of a text several times the first counts, but as nobody's negative that has it as keyphrase.
static void no_duplicates_counts_negatives_too(void) {
    static const char text[] = "lamp\tred case\tphone\t\tcover\t1\t\ncover\tlamp\tphone\t\t\t1\t\n"
                               "red  CASE\tblue\tlaptop\t\tgreen\t1\tgreen\n";
    // columns: red case, lamp, blue; lamp, cover; cover; red case, green, green
    static const char *const want[3] = {".x.x.xx.x", "x..x.xx.x", "...x.xx.x"};
    job j;
    kpdt_dataset *x = tiny_dataset(text, COLUMNS);
    kpdt_trainer *t = NULL;
    kpdt_batch b;
    job_open(&j, KPD_BI_ENCODER);
    j.source.data = x; j.source.batching = KPDT_NO_DUPLICATES;
    memset(&b, 0, sizeof b);
    for (bool in_order = false; !in_order && j.d.seed < 100; j.d.seed++) {
        kpdt_trainer_destroy(t);
        t = job_trainer(&j);
        CHECK_OK(kpdt_trainer_draw(t, &b, NULL));
        in_order = b.row[0] == 0 && b.row[1] == 1;
    }
    if (CHECK(b.n == 3 && b.n_negatives == 6 && b.mask && b.row[0] == 0 && b.row[1] == 1))
        for (int i = 0; i < 27; i++)
            CHECK_THAT(!!(b.mask[i] & KPDT_MASK_ROW) == (want[i / 9][i % 9] == 'x'), "row %d, column %d", i / 9, i % 9);
    kpdt_trainer_destroy(t);
    kpdt_dataset_destroy(x);
    job_close(&j);
}

// Vectors of a batch's texts through the model, by the functions that make them for use.
typedef struct seen { float item[BATCH * WIDTH], phrase[MOST * WIDTH], soft[MOST]; } seen;

static void look_at(const job *j, const kpdt_batch *b, seen *x) {
    kpd_session *s = tiny_session(j->start, j->assistant);
    CHECK_OK(kpd_embed(s, j->start, KPD_ITEM, b->in[KPD_ITEM], (size_t)b->n, 0, x->item, NULL));
    CHECK_OK(kpd_embed(s, j->start, KPD_KEYPHRASE, b->in[KPD_KEYPHRASE], (size_t)(b->n + b->n_negatives), 0, x->phrase, NULL));
    for (int i = 0; i < b->n + b->n_negatives; i++) {
        const kpd_input *item = &b->in[KPD_ITEM][i < b->n ? i : b->negative_of[i - b->n]];
        kpd_input pair = kpd_input_str("", "", "");
        pair.part[0] = b->in[KPD_KEYPHRASE][i].part[0]; pair.part[1] = item->part[1]; pair.part[2] = item->part[0];
        CHECK_OK(kpd_score(s, j->assistant, &pair, 1, &x->soft[i], NULL));
        x->soft[i] = kpd_sigmoid(x->soft[i]);
    }
    kpd_session_destroy(s);
}

// Cross-entropy of each row over all candidates; mean squared difference of margins; 1 - r of each row's scores.
static double by_hand(const kpdt_batch *b, const seen *x) {
    double mnr = 0, margin = 0, pearson = 0;
    int C = b->n + b->n_negatives;
    for (int i = 0; i < b->n; i++) {
        double z = 0, s[MOST] = {0}, ss[4], tt[4], ms = 0, mt = 0, cs = 0, ct = 0, cov = 0;
        int n = 0;
        for (int c = 0; c < C; c++) {
            s[c] = (double)kpd_cosine(x->item + i * WIDTH, x->phrase + c * WIDTH, WIDTH);
            z += exp(20 * s[c]);
            if (c != i && (c < b->n || b->negative_of[c - b->n] != i)) continue;
            ss[n] = s[c]; tt[n] = (double)x->soft[c];
            if (n) margin += ((ss[0] - ss[n]) - (tt[0] - tt[n])) * ((ss[0] - ss[n]) - (tt[0] - tt[n]));
            n++;
        }
        mnr += (log(z) - 20 * s[i]) / b->n;
        for (int k = 0; k < n; k++) { ms += ss[k] / n; mt += tt[k] / n; }
        for (int k = 0; k < n; k++) {
            cs += (ss[k] - ms) * (ss[k] - ms); ct += (tt[k] - mt) * (tt[k] - mt); cov += (ss[k] - ms) * (tt[k] - mt);
        }
        cov = n < 2 || cs == 0 || ct == 0 ? 0 : cov / (n - 1) / (sqrt(cs / (n - 1)) * sqrt(ct / (n - 1)) + 1e-8);
        pearson += (1 - cov) / b->n;
    }
    return mnr + margin / b->n_negatives + pearson;
}

static void the_loss_is_that_of_all_candidates(void) {
    job j;
    kpdt_trainer *t;
    kpdt_batch b;
    static seen x;
    job_open(&j, KPD_BI_ENCODER);
    t = job_trainer(&j);
    for (int i = 0; i < 3; i++) {                           // of an epoch; weights stay, since nothing is applied
        float loss = 0, again = 0;
        CHECK_OK(kpdt_trainer_draw(t, &b, NULL));
        look_at(&j, &b, &x);
        CHECK_THAT(!kpdt_trainer_learn(t, &b, &loss, &error), "%s", error.message);
        CHECK_NEAR(loss, by_hand(&b, &x), 2e-5);
        b.source = -1; b.row = NULL;                        // the assistant is asked anew, by the batch's texts
        CHECK_OK(kpdt_trainer_learn(t, &b, &again, NULL));
        CHECK_NEAR(loss, again, 1e-6);
    }
    kpdt_trainer_destroy(t);
    job_close(&j);
}

// learn, taken apart as a host does it: the same gradient, which the phases' own tests hold against central differences.
static void the_gradient_is_that_of_its_phases(void) {
    job j;
    kpdt_trainer *t, *u;
    kpdt_batch b;
    static float item[BATCH * WIDTH], phrase[MOST * WIDTH], da[BATCH * WIDTH], db[MOST * WIDTH], work[2 * BATCH * MOST];
    const float *g, *h;
    kpdt_vectors v;
    float loss = 0;
    size_t n = 0, rows, texts;
    double most = 0;
    job_open(&j, KPD_BI_ENCODER);
    j.d.dropout = 0.1f;
    j.source.losses[1].loss = KPDT_LOSS_NONE; j.source.log_q = true; j.source.batching = KPDT_NO_DUPLICATES;
    t = job_trainer(&j);
    u = job_trainer(&j);
    CHECK_OK(kpdt_trainer_draw(t, &b, NULL));
    CHECK_OK(kpdt_trainer_learn(t, &b, &loss, NULL));
    rows = (size_t)b.n; texts = rows + (size_t)b.n_negatives;
    CHECK_OK(kpdt_trainer_forward(u, KPD_ITEM, b.in[KPD_ITEM], rows, item, NULL));
    CHECK_OK(kpdt_trainer_forward(u, KPD_KEYPHRASE, b.in[KPD_KEYPHRASE], texts, phrase, NULL));
    memset(&v, 0, sizeof v);
    v.a = item; v.b = phrase; v.na = rows; v.nb = texts; v.dim = WIDTH; v.mask = b.mask; v.log_q = b.log_q; v.work = work;
    v.da = da; v.db = db;
    memset(da, 0, sizeof da);
    memset(db, 0, sizeof db);
    CHECK_OK(kpdt_loss_vectors(&j.source.losses[0], &v, &loss, NULL));
    CHECK_OK(kpdt_trainer_backward(u, KPD_ITEM, da, NULL));
    CHECK_OK(kpdt_trainer_backward(u, KPD_KEYPHRASE, db, NULL));
    g = kpdt_trainer_gradient(t, &n);
    h = kpdt_trainer_gradient(u, &n);
    for (size_t i = 0; i < n; i++) most = fabs((double)g[i]) > most ? fabs((double)g[i]) : most;
    CHECK(most > 0 && !memcmp(g, h, n * sizeof *g));
    kpdt_trainer_destroy(t);
    kpdt_trainer_destroy(u);
    job_close(&j);
}

// A cross-encoder's logits of a row's pairs, which are a query; labels 1 (there is no such column) and 0.
static void a_cross_encoder_ranks_them(void) {
    static const kpdt_column columns[] = {KPDT_COL_NEGATIVE, KPDT_COL_KEYPHRASE, KPDT_COL_TITLE, KPDT_COL_CATEGORY,
                                          KPDT_COL_NEGATIVE, KPDT_COL_SKIP, KPDT_COL_NEGATIVE, KPDT_COL_END};
    job j;
    kpdt_trainer *t;
    kpd_session *s;
    kpdt_batch b;
    kpdt_dataset *x;
    float logit[MOST], loss = 0, grad[MOST], in_order[MOST], label[MOST], want;
    int32_t query[MOST];
    size_t n = 0;
    job_open(&j, KPD_CROSS_ENCODER);
    x = tiny_dataset(j.text, columns);
    j.source.data = x;
    j.source.losses[1].loss = KPDT_LOSS_NONE;
    t = job_trainer(&j);
    CHECK_OK(kpdt_trainer_draw(t, &b, NULL));
    s = tiny_session(NULL, j.start);
    CHECK_OK(kpd_score(s, j.start, b.in[0], (size_t)(b.n + b.n_negatives), logit, NULL));
    for (int32_t i = 0; i < b.n; i++)
        for (int32_t k = -1; k < b.n_negatives; k++) {
            if (k >= 0 && b.negative_of[k] != i) continue;
            in_order[n] = logit[k < 0 ? i : b.n + k];
            label[n] = k < 0;
            query[n++] = i;
        }
    CHECK_OK(kpdt_loss_pairs(&j.source.losses[0], in_order, label, query, n, &want, grad, NULL));
    CHECK_THAT(!kpdt_trainer_learn(t, &b, &loss, &error), "%s", error.message);
    CHECK_NEAR(loss, want, 1e-5);
    kpd_session_destroy(s);
    kpdt_trainer_destroy(t);
    kpdt_dataset_destroy(x);
    job_close(&j);
}

// n steps, or until done: the hash of their reports and of the gradient of one batch more.
static uint64_t run(kpdt_trainer *t, int n, uint64_t h) {
    kpdt_report r;
    memset(&r, 0, sizeof r);
    for (int i = 0; i < n && !r.done; i++) {
        if (!CHECK_THAT(!kpdt_trainer_step(t, &r, &error), "%s", error.message)) break;
        CHECK(r.texts > 2 * BATCH);
        h = tiny_hash(h, &r.loss, sizeof r.loss);
        h = tiny_hash(h, &r.grad_norm, sizeof r.grad_norm);
    }
    return h;
}

static uint64_t whole_run(const job *j) {
    kpdt_trainer *t = job_trainer(j);
    uint64_t h = run(t, 1000, 7);
    kpdt_trainer_destroy(t);
    return h;
}

static void bits_do_not_depend_on_pieces_threads_level_or_stops(void) {
    const char *path = test_tmp("negatives.kpc");
    for (int kind = 0; kind < 2; kind++) {
        job j;
        kpdt_trainer *t;
        uint64_t want, h;
        job_open(&j, (kpd_kind)kind);
        j.d.dropout = 0.1f; j.d.epochs = 3;
        if (kind == KPD_BI_ENCODER) { j.source.batching = KPDT_NO_DUPLICATES; j.source.log_q = true; }
        want = whole_run(&j);
        for (j.d.max_tokens = 24; j.d.max_tokens < 200; j.d.max_tokens += 53) CHECK(whole_run(&j) == want);
        j.d.max_tokens = 0; j.d.max_texts = 3;
        CHECK(whole_run(&j) == want);
        j.d.simd = KPD_SIMD_SCALAR;
        CHECK(whole_run(&j) == want);
        j.d.simd = KPD_SIMD_AUTO;
        {
            kpd_pool *p = NULL;
            CHECK_OK(kpd_pool_create(3, NULL, &p, NULL));
            j.d.parallel = *kpd_pool_parallel(p);
            CHECK(whole_run(&j) == want);
            kpd_pool_destroy(p);
            memset(&j.d.parallel, 0, sizeof j.d.parallel);
        }
        t = job_trainer(&j);
        h = run(t, 4, 7);
        CHECK_OK(kpdt_trainer_save(t, path, NULL));
        kpdt_trainer_destroy(t);
        t = job_trainer(&j);
        CHECK_OK(kpdt_trainer_resume(t, path, NULL));
        CHECK(run(t, 1000, h) == want);
        kpdt_trainer_destroy(t);
        if (kind == KPD_BI_ENCODER) {
            j.source.log_q = false;
            CHECK(whole_run(&j) != want);
            t = job_trainer(&j);
            CHECK_STATUS(kpdt_trainer_resume(t, path, &error), KPD_ERR_ARGUMENT);
            CHECK_THAT(strstr(error.message, "log_q of source 0 1, now it is 0") != NULL, "%s", error.message);
            kpdt_trainer_destroy(t);
        }
        job_close(&j);
    }
}

static void losses_without_a_use_for_them_refuse(void) {
    static const kpdt_loss useless[] = {KPDT_CONTRASTIVE, KPDT_ONLINE_CONTRASTIVE, KPDT_MSE, KPDT_COSENT, KPDT_PEARSON,
                                        KPDT_MLM};
    job j;
    kpdt_trainer *t = NULL;
    job_open(&j, KPD_BI_ENCODER);
    memset(j.source.losses, 0, sizeof j.source.losses);
    for (size_t i = 0; i < sizeof useless / sizeof *useless; i++) {
        char want[60];
        j.source.losses[0].loss = useless[i];
        snprintf(want, sizeof want, "source 0: %s has no use for negatives", kpdt_loss_name(useless[i]));
        CHECK_STATUS(kpdt_trainer_create(&j.d, &t, &error), KPD_ERR_ARGUMENT);
        CHECK_THAT(strstr(error.message, want) != NULL, "%s", error.message);
    }
    j.source.losses[0].loss = KPDT_KL; j.source.losses[0].teacher = KPDT_BY_SCORE;
    CHECK_STATUS(kpdt_trainer_create(&j.d, &t, &error), KPD_ERR_ARGUMENT);
    CHECK_THAT(strstr(error.message, "kl by score, which negatives have none of") != NULL, "%s", error.message);
    j.source.losses[0].teacher = KPDT_BY_LABEL; j.source.log_q = true;
    CHECK_STATUS(kpdt_trainer_create(&j.d, &t, &error), KPD_ERR_ARGUMENT);
    CHECK_THAT(strstr(error.message, "log_q is of mnr") != NULL, "%s", error.message);
    j.source.log_q = false;
    t = job_trainer(&j);                                    // nor a query column is wanted, nor batches by it
    kpdt_trainer_destroy(t);
    j.d.negatives = -1;
    CHECK_STATUS(kpdt_trainer_create(&j.d, &t, &error), KPD_ERR_ARGUMENT);
    job_close(&j);
}

// A host's batch: as many as there is room for, in order, of rows that are there; and losses that have a use for them.
static void hostile_batches_are_refused(void) {
    job j;
    kpdt_trainer *t;
    kpdt_batch b;
    kpd_input item[2], phrase[4];
    int32_t of[2] = {0, 1};
    float loss;
    job_open(&j, KPD_BI_ENCODER);
    j.d.n_sources = 0; j.d.steps = 1; j.d.batch = 2; j.d.negatives = 1;
    t = job_trainer(&j);
    for (int i = 0; i < 2; i++) item[i] = kpd_input_str("red case", "", NULL);
    for (int i = 0; i < 4; i++) phrase[i] = kpd_input_str(i % 2 ? "lamp" : "blue", NULL, NULL);
    memset(&b, 0, sizeof b);
    b.source = -1; b.n = 2; b.in[0] = item; b.in[1] = phrase; b.n_negatives = 2; b.negative_of = of;
    b.losses[0].loss = KPDT_MNR;
    CHECK_OK(kpdt_trainer_learn(t, &b, &loss, NULL));
    b.n_negatives = 3;
    CHECK_STATUS(kpdt_trainer_learn(t, &b, &loss, NULL), KPD_ERR_ARGUMENT);
    b.n_negatives = -1;
    CHECK_STATUS(kpdt_trainer_learn(t, &b, &loss, NULL), KPD_ERR_ARGUMENT);
    b.n_negatives = 2; b.negative_of = NULL;
    CHECK_STATUS(kpdt_trainer_learn(t, &b, &loss, NULL), KPD_ERR_ARGUMENT);
    b.negative_of = of; of[1] = 2;
    CHECK_STATUS(kpdt_trainer_learn(t, &b, &loss, &error), KPD_ERR_ARGUMENT);
    CHECK_THAT(strstr(error.message, "negative 1 is of row 2, expected 0 to 1") != NULL, "%s", error.message);
    of[0] = 1; of[1] = 0;
    CHECK_STATUS(kpdt_trainer_learn(t, &b, &loss, NULL), KPD_ERR_ARGUMENT);
    of[0] = 0; b.losses[1].loss = KPDT_COSENT;
    CHECK_STATUS(kpdt_trainer_learn(t, &b, &loss, &error), KPD_ERR_ARGUMENT);
    CHECK_THAT(strstr(error.message, "cosent has no use for negatives") != NULL, "%s", error.message);
    kpdt_trainer_destroy(t);
    job_close(&j);
}

// MINING ------------------------------------------------------------------------------------------------------------

enum { PHRASES = 30, PAIRS = 10, KEPT = 4 };
static const char *const TITLES[3] = {"blue phone case", "green lamp", "laptop charger cover red"};

typedef struct mine {
    kpd_model *student, *assistant;
    kpd_session *session;
    kpd_index *index;
    char phrase[PHRASES][48];
    float v[PHRASES * WIDTH], q[3 * WIDTH], soft[3][PHRASES];
    kpdt_mining_row rows[PAIRS]; int own[PAIRS];
    kpd_text known[3][2];
    kpdt_mining_desc d;
} mine;

static kpd_text text_of(const char *s) {
    kpd_text t;
    t.data = s; t.size = strlen(s);
    return t;
}

// Phrases 0 to 27 differ; 28 and 29 are two of these in other words of the same tokens. Item i knows phrases i and i + 3.
static void mine_open(mine *m) {
    kpd_input item[3];
    kpd_index_desc d;
    tiny_options o;
    uint32_t seed = 77;
    memset(m, 0, sizeof *m);
    memset(&o, 0, sizeof o);
    memset(&d, 0, sizeof d);
    m->student = tiny_model(&o);
    o.kind = KPD_CROSS_ENCODER; o.seed = 9;
    m->assistant = tiny_model(&o);
    m->session = tiny_session(m->student, m->assistant);
    d.dim = WIDTH;
    CHECK_OK(kpd_index_create(&d, &m->index, NULL));
    for (int i = 0; i < PHRASES; i++) {
        static const char *const third[] = {"", " lamp", " pro", " blue", " red", " case", " phone"};
        if (i < 28) sprintf(m->phrase[i], "%s %s%s", tiny_word(&seed), tiny_word(&seed), third[i % 7]);
    }
    snprintf(m->phrase[28], sizeof m->phrase[28], "  %.40s", m->phrase[5]);
    snprintf(m->phrase[29], sizeof m->phrase[29], "%.40s ", m->phrase[11]);
    for (int i = 0; i < 3; i++) item[i] = kpd_input_str(TITLES[i], "", NULL);
    CHECK_OK(kpd_embed(m->session, m->student, KPD_ITEM, item, 3, 0, m->q, NULL));
    for (int64_t i = 0; i < PHRASES; i++) {
        kpd_input in = kpd_input_str(m->phrase[i], NULL, NULL);
        kpd_text t = text_of(m->phrase[i]);
        CHECK_OK(kpd_embed(m->session, m->student, KPD_KEYPHRASE, &in, 1, 0, m->v + i * WIDTH, NULL));
        CHECK_OK(kpd_index_upsert(m->index, &i, m->v + i * WIDTH, 1, NULL));
        CHECK_OK(kpd_index_set_text(m->index, &i, &t, 1, NULL));
        for (int k = 0; k < 3; k++) {
            kpd_input pair = kpd_input_str(m->phrase[i], "", TITLES[k]);
            CHECK_OK(kpd_score(m->session, m->assistant, &pair, 1, &m->soft[k][i], NULL));
            m->soft[k][i] = kpd_sigmoid(m->soft[k][i]);
        }
    }
    for (int i = 0; i < PAIRS; i++) {
        int k = i / 4;                  // rows of one item follow each other
        m->own[i] = k + 3 * (i % 2);
        m->known[k][i % 2] = text_of(m->phrase[m->own[i]]);
        m->rows[i].row.keyphrase = text_of(m->phrase[m->own[i]]); m->rows[i].row.title = text_of(TITLES[k]);
        m->rows[i].known = m->known[k]; m->rows[i].n_known = 2; m->rows[i].number = i;
    }
    m->d.student = m->student; m->d.index = m->index; m->d.n = KEPT; m->d.last_rank = PHRASES;
}

static void mine_close(mine *m) {
    kpd_index_destroy(m->index);
    kpd_session_destroy(m->session);
    kpd_model_destroy(m->student);
    kpd_model_destroy(m->assistant);
}

static bool same_tokens(const char *a, const char *b) {     // but for blanks at the ends
    while (*a == ' ') a++;
    while (*b == ' ') b++;
    while (*a && *a == *b) { a++; b++; }
    while (*a == ' ') a++;
    while (*b == ' ') b++;
    return !*a && !*b;
}

// What is to be mined for row i, worked out plainly: each phrase's rank by counting, each rule as it is written.
static int mined_by_hand(const mine *m, int i, int64_t *id, bool with_relevant) {
    int k = i / 4, n = 0, rank[PHRASES];
    float s[PHRASES], own;
    for (int p = 0; p < PHRASES; p++) s[p] = kpd_cosine(m->q + k * WIDTH, m->v + p * WIDTH, WIDTH);
    for (int p = 0; p < PHRASES; p++) {
        rank[p] = 1;
        for (int other = 0; other < PHRASES; other++) rank[p] += s[other] > s[p] || (!(s[other] < s[p]) && other < p);
    }
    own = s[m->own[i]];
    for (int r = m->d.first_rank ? m->d.first_rank : 1; r <= m->d.last_rank; r++)
        for (int p = 0; p < PHRASES; p++) {
            bool drop = same_tokens(m->phrase[p], m->phrase[k]) || same_tokens(m->phrase[p], m->phrase[k + 3]);
            if (rank[p] != r) continue;
            for (int other = 0; other < n; other++) drop = drop || same_tokens(m->phrase[p], m->phrase[id[other]]);
            if (m->d.max_score != 0) drop = drop || s[p] > m->d.max_score;
            if (m->d.min_score != 0) drop = drop || s[p] < m->d.min_score;
            if (m->d.margin != 0) drop = drop || s[p] > own - m->d.margin;
            if (m->d.relative_margin != 0) drop = drop || s[p] > own - m->d.relative_margin * fabsf(own);
            if (!drop && (with_relevant || !m->d.assistant || m->soft[k][p] < m->d.threshold)) id[n++] = p;
        }
    return n;
}

typedef struct mined {
    kpdt_mined negatives[PAIRS * KEPT], relevant[PAIRS * PHRASES];
    int32_t n[PAIRS], n_relevant[PAIRS];
} mined;

static kpdt_mining_counts mine_rows(const mine *m, size_t from, size_t n, mined *x) {
    kpdt_mined_rows out;
    kpdt_mining_counts total;
    memset(&total, 0, sizeof total);
    out.negatives = x->negatives; out.n_negatives = x->n; out.relevant = x->relevant; out.n_relevant = x->n_relevant;
    CHECK_THAT(!kpdt_mine(m->session, &m->d, m->rows + from, n, &out, &total, &error), "%s", error.message);
    return total;
}

// Of each of some descs: what is mined is what the rules say, and every candidate is counted once.
static void what_is_mined_follows_the_rules(void) {
    mine m;
    static mined x;
    mine_open(&m);
    for (int c = 0; c < 7; c++) {
        kpdt_mining_counts t;
        int64_t left = 0;
        m.d.assistant = NULL; m.d.first_rank = 0; m.d.max_score = m.d.min_score = m.d.margin = m.d.relative_margin = 0;
        if (c == 1) m.d.first_rank = 7;
        if (c == 2) m.d.max_score = kpd_cosine(m.q, m.v + 20 * WIDTH, WIDTH) + 1e-4f;
        if (c == 3) m.d.min_score = kpd_cosine(m.q, m.v + 12 * WIDTH, WIDTH) - 1e-4f;
        if (c == 4) m.d.margin = 0.05f;
        if (c == 5) m.d.relative_margin = 0.4f;
        if (c == 6) { m.d.assistant = m.assistant; m.d.threshold = m.soft[0][2]; }
        t = mine_rows(&m, 0, PAIRS, &x);
        for (int i = 0; i < PAIRS; i++) {
            int64_t want[PHRASES] = {0};
            int n = mined_by_hand(&m, i, want, false);
            CHECK_THAT(x.n[i] == (n < KEPT ? n : KEPT), "case %d, row %d: %d, expected %d", c, i, (int)x.n[i], n);
            for (int k = 0; k < x.n[i]; k++) {
                const kpdt_mined *got = &x.negatives[i * KEPT + k];
                CHECK_THAT(got->id == want[k], "case %d, row %d: id %d, expected %d", c, i, (int)got->id, (int)want[k]);
                CHECK_NEAR(got->score, kpd_cosine(m.q + i / 4 * WIDTH, m.v + got->id * WIDTH, WIDTH), 1e-6);
                CHECK(c == 6 ? got->relevance < m.d.threshold : got->relevance != got->relevance);
            }
            left += mined_by_hand(&m, i, want, true);
            for (int k = 0; k < x.n_relevant[i]; k++)
                CHECK(c == 6 && m.soft[i / 4][x.relevant[i * PHRASES + k].id] >= m.d.threshold);
        }
        CHECK_INT(t.rows, PAIRS);
        CHECK_INT(t.candidates, PAIRS * (PHRASES - (c == 1 ? 6 : 0)));
        CHECK_INT(t.candidates - left, t.own + t.same + t.textless + t.over_max + t.under_min + t.over_margin);
        if (c == 0) CHECK_THAT(t.own >= 2 * PAIRS + 2 && t.same >= 2 * PAIRS - 2, "%d own, %d same", (int)t.own, (int)t.same);
        if (c == 2) CHECK(t.over_max > 0);
        if (c == 3) CHECK(t.under_min > 0);
        if (c == 4 || c == 5) CHECK(t.over_margin > 0);
        if (c == 6) CHECK(t.relevant > 0 && t.asked == t.relevant + t.negatives);
    }
    mine_close(&m);
}

// A sample is of the same candidates, another for another seed, and the same in whatever calls the rows come.
static void a_sample_depends_on_the_row_alone(void) {
    mine m;
    static mined x, y;
    int differ = 0, ranked = 0;
    mine_open(&m);
    m.d.sample = true; m.d.first_rank = 3;
    mine_rows(&m, 0, PAIRS, &x);
    for (int i = 0; i < PAIRS; i++) {
        int64_t all[PHRASES];
        int n = mined_by_hand(&m, i, all, false);
        mine_rows(&m, (size_t)i, 1, &y);
        CHECK(y.n[0] == x.n[i] && x.n[i] == KEPT);
        for (int k = 0; k < KEPT; k++) {
            bool among = false;
            for (int c = 0; c < n; c++) among = among || all[c] == x.negatives[i * KEPT + k].id;
            CHECK(among && y.negatives[k].id == x.negatives[i * KEPT + k].id);
            ranked += all[k] == y.negatives[k].id;
        }
    }
    CHECK(ranked < PAIRS * KEPT / 2);
    m.d.seed = 1;
    mine_rows(&m, 0, PAIRS, &y);
    for (int i = 0; i < PAIRS * KEPT; i++) differ += x.negatives[i].id != y.negatives[i].id;
    CHECK(differ > PAIRS);
    mine_close(&m);
}

static bool no_text(void *user, int64_t id, kpd_text *out) {
    (void)user; (void)out;
    return id < 0;
}

// The ids from the last on, whatever the item.
static int32_t backwards_ids(void *user, const kpd_row *item, kpd_hit *out, int32_t most) {
    (void)user; (void)item;
    for (int32_t i = 0; i < most && i < PHRASES; i++) {
        out[i].id = PHRASES - 1 - i;
        out[i].score = (float)(PHRASES - i);
    }
    return most < PHRASES ? most : PHRASES;
}

static int32_t failing(void *user, const kpd_row *item, kpd_hit *out, int32_t most) {
    (void)user; (void)item; (void)out; (void)most;
    return -1;
}

static bool text_of_id(void *user, int64_t id, kpd_text *out) {
    static char text[24];
    (void)user;
    out->data = text;
    out->size = (size_t)snprintf(text, sizeof text, "only %lld", (long long)id);
    return true;
}

static bool text_of_words(void *user, int64_t id, kpd_text *out) {      // each another of the vocabulary
    return !kpd_index_text((const kpd_index *)user, id, out, NULL);
}

static void candidates_may_come_from_elsewhere(void) {
    mine m;
    kpdt_mined_rows out;
    static mined x;
    kpdt_mining_counts t;
    mine_open(&m);
    out.negatives = x.negatives; out.n_negatives = x.n; out.relevant = NULL; out.n_relevant = NULL;
    memset(&t, 0, sizeof t);
    m.d.lookup = text_of_words; m.d.lookup_user = (void *)(uintptr_t)m.d.index;
    m.d.index = NULL;
    m.d.candidates = backwards_ids;
    m.d.n = 2; m.d.first_rank = 2; m.d.last_rank = 6; m.d.assistant = NULL; m.d.margin = m.d.relative_margin = 0;
    CHECK_THAT(!kpdt_mine(m.session, &m.d, m.rows, PAIRS, &out, &t, &error), "%s", error.message);
    CHECK_INT(t.candidates, 5 * PAIRS);
    for (int i = 0; i < PAIRS; i++)
        for (int32_t k = 0; k < x.n[i]; k++) {
            const kpdt_mined *hit = &x.negatives[i * 2 + k];
            CHECK(hit->id <= PHRASES - 2 && hit->id >= PHRASES - 6 && hit->score == (float)(hit->id + 1));
            CHECK(!k || hit->id < x.negatives[i * 2].id);
        }
    CHECK(t.negatives > PAIRS);
    mine_close(&m);
}

static void mining_refuses_what_it_cannot_do(void) {
    mine m;
    kpdt_mined_rows out;
    static mined x;
    kpdt_mining_counts t;
    kpd_index *l2 = NULL;
    kpd_index_desc d;
    mine_open(&m);
    out.negatives = x.negatives; out.n_negatives = x.n; out.relevant = NULL; out.n_relevant = NULL;
#define REFUSED(change, status, what)                                                                                          \
    do {                                                                                                                       \
        mine saved = m;                                                                                                        \
        change;                                                                                                                \
        CHECK_STATUS(kpdt_mine(m.session, &m.d, m.rows, PAIRS, &out, NULL, &error), status);                                   \
        CHECK_THAT(strstr(error.message, what) != NULL, "%s", error.message);                                                  \
        m = saved;                                                                                                             \
    } while (0)
    REFUSED(m.d.student = NULL, KPD_ERR_ARGUMENT, "student is required, and index or candidates");
    REFUSED(m.d.student = m.assistant, KPD_ERR_ARGUMENT, "expected a bi-encoder");
    REFUSED(m.d.first_rank = PHRASES + 1, KPD_ERR_ARGUMENT, "first_rank");
    REFUSED(m.d.n = -1, KPD_ERR_ARGUMENT, "mining: n");
    REFUSED(m.d.margin = -1, KPD_ERR_ARGUMENT, "margins not negative");
    REFUSED(m.d.max_score = INFINITY, KPD_ERR_ARGUMENT, "must be finite");
    REFUSED(m.d.assistant = m.assistant; m.d.threshold = 1.5f, KPD_ERR_ARGUMENT, "threshold is 1.5");
    REFUSED(m.d.reserved[0] = 1, KPD_ERR_ARGUMENT, "mining");
    memset(&d, 0, sizeof d);
    d.dim = WIDTH; d.metric = KPD_L2;
    CHECK_OK(kpd_index_create(&d, &l2, NULL));
    REFUSED(m.d.index = l2, KPD_ERR_UNSUPPORTED, "l2");
    REFUSED(m.d.candidates = backwards_ids, KPD_ERR_ARGUMENT, "index or candidates");       // both
    REFUSED(m.d.index = NULL; m.d.candidates = backwards_ids; m.d.lookup = NULL, KPD_ERR_ARGUMENT, "without a lookup");
    REFUSED(m.d.index = NULL; m.d.candidates = backwards_ids; m.d.lookup = text_of_id; m.d.margin = 0.1f, KPD_ERR_ARGUMENT,
            "a margin is of an index's scores");
    REFUSED(m.d.index = NULL; m.d.candidates = failing; m.d.lookup = text_of_id, KPD_ERR_ARGUMENT, "candidates failed");
    kpd_index_destroy(l2);
#undef REFUSED
    CHECK_STATUS(kpdt_mine(m.session, NULL, m.rows, PAIRS, &out, NULL, &error), KPD_ERR_ARGUMENT);
    memset(&t, 0, sizeof t);
    m.d.lookup = no_text;
    CHECK_OK(kpdt_mine(m.session, &m.d, m.rows, PAIRS, &out, &t, &error));
    CHECK(t.textless == t.candidates && t.empty_rows == PAIRS && t.short_rows == PAIRS && !x.n[0]);
    CHECK_OK(kpdt_mine(m.session, &m.d, m.rows, 0, &out, &t, &error));
    CHECK_INT(t.rows, PAIRS);
    mine_close(&m);
}

SUITE(negatives) {
    RUN(negatives, a_row_has_those_that_are_not_empty);
    RUN(negatives, a_batch_has_those_of_its_rows);
    RUN(negatives, no_duplicates_counts_negatives_too);
    RUN(negatives, the_loss_is_that_of_all_candidates);
    RUN(negatives, the_gradient_is_that_of_its_phases);
    RUN(negatives, a_cross_encoder_ranks_them);
    RUN(negatives, bits_do_not_depend_on_pieces_threads_level_or_stops);
    RUN(negatives, losses_without_a_use_for_them_refuse);
    RUN(negatives, hostile_batches_are_refused);
    RUN(negatives, what_is_mined_follows_the_rules);
    RUN(negatives, a_sample_depends_on_the_row_alone);
    RUN(negatives, candidates_may_come_from_elsewhere);
    RUN(negatives, mining_refuses_what_it_cannot_do);
}
