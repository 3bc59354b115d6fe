// Negatives that the model being trained mines for itself: that they are kpdt_mine's, of the weights of their step; that they
// survive a stop; and what is refused.
#define KPD_THREADS
#include "../kpd_train.h"
#include "test.h"
#include "tiny_data.h"
#include "tiny_model.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 20, PHRASES = 30, NEGATIVES = 3, EVERY = 2, STEPS = 7 };
static kpd_error error;

typedef struct limit { int left; int64_t last, of; bool stop; } limit;

static void *refuse(void *user, size_t size) { return ((limit *)user)->left-- > 0 ? malloc(size) : NULL; }
static void give_back(void *user, void *ptr, size_t size) { (void)user; (void)size; free(ptr); }

typedef struct job {
    char rows[ROWS * 80], phrases[PHRASES * 40];
    kpdt_dataset *data, *keyphrases;
    kpd_model *start, *assistant;
    kpdt_refresh refresh;
    kpdt_source source;
    kpdt_trainer_desc d;
} job;

// Rows of 5 items that do not follow each other, with keyphrases out of the list; each seventh row is a no. The list has some
// keyphrases twice, and an empty one.
static void write_texts(job *j) {
    uint32_t seed = 5;
    char *at = j->phrases;
    const char *phrase[PHRASES];
    for (int i = 0; i < PHRASES; i++) {
        phrase[i] = at;
        if (i == 9) at += sprintf(at, "\n");
        else if (i % 8 == 7) at += sprintf(at, "%.*s\n", (int)strcspn(phrase[i - 5], "\n"), phrase[i - 5]);
        else at += sprintf(at, "%s %s%s\n", tiny_word(&seed), tiny_word(&seed), i % 2 ? "" : " pro");
    }
    at = j->rows;
    for (int i = 0; i < ROWS; i++) {
        const char *own = phrase[(i * 7 + i / 5) % PHRASES == 9 ? 0 : (i * 7 + i / 5) % PHRASES];
        static const char *const titles[] = {"blue phone case", "green lamp", "laptop charger cover red", "red sleeve", "lamp"};
        at += sprintf(at, "%.*s\t%s\t%s\t%d\n", (int)strcspn(own, "\n"), own, titles[i % 5], i % 5 ? "case" : "", i % 7 != 6);
    }
}

static void job_open(job *j) {
    static const kpdt_column pair[] = {KPDT_COL_KEYPHRASE, KPDT_COL_TITLE, KPDT_COL_CATEGORY, KPDT_COL_LABEL, KPDT_COL_END};
    static const kpdt_column only[] = {KPDT_COL_KEYPHRASE, KPDT_COL_END};
    tiny_options o;
    memset(j, 0, sizeof *j);
    memset(&o, 0, sizeof o);
    write_texts(j);
    j->data = tiny_dataset(j->rows, pair);
    j->keyphrases = tiny_dataset(j->phrases, only);
    j->start = tiny_model(&o);
    o.kind = KPD_CROSS_ENCODER; o.seed = 9;
    j->assistant = tiny_model(&o);
    j->refresh.keyphrases = j->keyphrases; j->refresh.steps = EVERY; j->refresh.mining.n = NEGATIVES;
    j->source.data = j->data; j->source.batching = KPDT_IN_ORDER; j->source.refresh = &j->refresh;
    j->source.losses[0].loss = KPDT_KL; j->source.losses[0].temperature = 0.1f;
    j->d.start = j->start; j->d.assistant = j->assistant; j->d.sources = &j->source; j->d.n_sources = 1;
    j->d.batch = ROWS; j->d.steps = STEPS; j->d.rate = 0.01f; j->d.seed = 3;
}

static void job_close(job *j) {
    kpdt_dataset_destroy(j->data);
    kpdt_dataset_destroy(j->keyphrases);
    kpd_model_destroy(j->start);
    kpd_model_destroy(j->assistant);
}

static kpdt_trainer *job_trainer(const job *j) {
    kpdt_trainer *t = NULL;
    CHECK_THAT(!kpdt_trainer_create(&j->d, &t, &error), "%s", error.message);
    return t;
}

static bool same_text(kpd_text a, kpd_text b) { return a.size == b.size && (!a.size || !memcmp(a.data, b.data, a.size)); }
static bool same_item(const kpdt_row *a, const kpdt_row *b) {
    return same_text(a->title, b->title) && same_text(a->category, b->category);
}

// The keyphrases, each once, embedded by a model and under the numbers of their rows.
static kpd_index *index_by_hand(const kpdt_dataset *from, kpd_session *s, const kpd_model *m, int32_t dim) {
    kpd_index *x = NULL;
    kpd_index_desc d;
    float v[64];
    memset(&d, 0, sizeof d);
    d.dim = dim ? dim : kpd_model_dim(m);
    CHECK_OK(kpd_index_create(&d, &x, NULL));
    for (int64_t i = 0; i < kpdt_dataset_rows(from); i++) {
        kpdt_row row, other;
        kpd_input in = {0};
        bool again = false;
        CHECK_OK(kpdt_dataset_get(from, i, &row, NULL));
        for (int64_t k = 0; k < i; k++) {
            CHECK_OK(kpdt_dataset_get(from, k, &other, NULL));
            again = again || same_text(row.keyphrase, other.keyphrase);
        }
        if (again || !row.keyphrase.size) continue;
        in.part[0] = row.keyphrase; in.n_parts = 1;
        CHECK_OK(kpd_embed(s, m, KPD_KEYPHRASE, &in, 1, d.dim, v, NULL));
        CHECK_OK(kpd_index_upsert(x, &i, v, 1, NULL));
        CHECK_OK(kpd_index_set_text(x, &i, &row.keyphrase, 1, NULL));
    }
    return x;
}

// What a batch of all rows, in order, should have, by a model as it was when the negatives were mined at `step`.
static void check_negatives(const job *j, const kpdt_batch *b, const kpd_model *m, int64_t step) {
    kpd_session *s = tiny_session(m, j->assistant);
    kpd_index *x = index_by_hand(j->refresh.keyphrases ? j->refresh.keyphrases : j->data, s, m, j->refresh.dim);
    kpdt_mining_desc d = j->refresh.mining;
    int32_t at = 0, total = 0;
    d.student = m; d.index = x;
    CHECK_INT(b->n, ROWS);
    for (int64_t i = 0; i < ROWS; i++) {
        kpdt_mining_row row;
        kpdt_row own, other;
        kpd_text known[ROWS];
        kpdt_mined found[NEGATIVES];
        kpdt_mined_rows out = {0};
        int32_t n = 0;
        memset(&row, 0, sizeof row);
        CHECK_OK(kpdt_dataset_get(j->data, i, &own, NULL));
        row.row.keyphrase = own.keyphrase; row.row.title = own.title; row.row.category = own.category;
        row.known = known; row.number = i;
        for (int64_t k = 0; k < ROWS; k++) {
            CHECK_OK(kpdt_dataset_get(j->data, k, &other, NULL));
            if (same_item(&own, &other) && other.label >= 0.5f) known[row.n_known++] = other.keyphrase;
        }
        out.negatives = found; out.n_negatives = &n;
        CHECK_THAT(!kpdt_mine(s, &d, &row, 1, &out, NULL, &error), "%s", error.message);
        for (int32_t k = 0; k < n; k++, at++) {
            kpd_text text;
            bool there = CHECK_THAT(at < b->n_negatives && b->negative_of[at] == i, "step %d, row %d: negative %d is missing",
                                    (int)step, (int)i, (int)k);
            CHECK_OK(kpd_index_text(x, found[k].id, &text, NULL));
            if (there)
                CHECK_THAT(same_text(b->in[KPD_KEYPHRASE][ROWS + at].part[0], text), "step %d, row %d, negative %d: %.*s",
                           (int)step, (int)i, (int)k, (int)text.size, text.data);
        }
        total += n;
    }
    CHECK_INT(b->n_negatives, total);
    CHECK_THAT(total > ROWS, "%d negatives", (int)total);
    kpd_index_destroy(x);
    kpd_session_destroy(s);
}

// The steps by hand: a batch has the negatives of the weights before the last refresh. Among all keyphrases; by an assistant;
// of the first columns, from rank 3 on; those of the source itself.
static void a_batch_has_what_is_mined_at_its_time(void) {
    for (int c = 0; c < 4; c++) {
        job j;
        kpdt_trainer *t;
        kpd_model *m = NULL;
        int changed = 0;
        uint32_t last = 0;
        job_open(&j);
        if (c == 1) { j.refresh.mining.assistant = j.assistant; j.refresh.mining.threshold = 0.5f; }
        if (c == 2) { j.refresh.dim = 8; j.refresh.mining.first_rank = 3; j.refresh.mining.last_rank = 20; }
        if (c == 3) j.refresh.keyphrases = NULL;
        t = job_trainer(&j);
        for (int64_t step = 0; step < STEPS; step++) {
            kpdt_batch b;
            float loss;
            uint32_t sum = 0;
            if (step % EVERY == 0) {
                kpd_model_destroy(m);
                CHECK_OK(kpdt_trainer_model(t, false, &m, NULL));
            }
            if (!CHECK_THAT(!kpdt_trainer_draw(t, &b, &error), "%s", error.message)) break;
            check_negatives(&j, &b, m, step);
            for (int32_t k = 0; k < b.n_negatives; k++)
                for (size_t i = 0; i < b.in[1][ROWS + k].part[0].size; i++)
                    sum = sum * 31 + (uint8_t)b.in[1][ROWS + k].part[0].data[i];
            changed += sum != last;
            if (step % EVERY) CHECK(sum == last);
            last = sum;
            CHECK_OK(kpdt_trainer_learn(t, &b, &loss, NULL));
            CHECK_OK(kpdt_trainer_apply(t, NULL, NULL));
        }
        CHECK_THAT(changed > 1, "case %d: the negatives never changed", c);
        kpd_model_destroy(m);
        kpdt_trainer_destroy(t);
        job_close(&j);
    }
}

// n steps, or until done: the hash of their reports. How many rows each refresh mined is said in the step that comes behind it.
static uint64_t run(const job *j, kpdt_trainer *t, int n, uint64_t h) {
    kpdt_report r;
    memset(&r, 0, sizeof r);
    for (int i = 0; i < n && !r.done; i++) {
        int64_t mined = 0;
        if (!CHECK_THAT(!kpdt_trainer_step(t, &r, &error), "%s", error.message)) break;
        for (int32_t k = 0; k < j->d.n_sources; k++) mined += (r.step - 1) % j->d.sources[k].refresh->steps ? 0 : ROWS;
        CHECK_INT(r.mined.rows, mined);
        h = tiny_hash(h, &r.loss, sizeof r.loss);
        h = tiny_hash(h, &r.grad_norm, sizeof r.grad_norm);
    }
    return h;
}

static uint64_t whole_run(const job *j) {
    kpdt_trainer *t = job_trainer(j);
    uint64_t h = run(j, t, 1000, 7);
    kpdt_trainer_destroy(t);
    return h;
}

// Two sources, of which the second mines its own keyphrases, as positives of MNR; several batches a step.
static void bits_do_not_depend_on_threads_level_or_stops(void) {
    static const kpdt_column no_label[] = {KPDT_COL_KEYPHRASE, KPDT_COL_TITLE, KPDT_COL_CATEGORY, KPDT_COL_SKIP, KPDT_COL_END};
    const char *path = test_tmp("refresh.kpc");
    job j;
    kpdt_refresh own;
    kpdt_source sources[2];
    uint64_t want;
    kpd_pool *p = NULL;
    kpdt_dataset *clicks;
    job_open(&j);
    clicks = tiny_dataset(j.rows, no_label);
    memset(&own, 0, sizeof own);
    own.steps = 3; own.mining.n = 2;
    j.refresh.mining.assistant = j.assistant; j.refresh.mining.sample = true;
    sources[0] = sources[1] = j.source;
    sources[0].losses[0].teacher = KPDT_BY_ASSISTANT; sources[0].batching = KPDT_RANDOM;
    sources[1].data = clicks; sources[1].losses[0].loss = KPDT_MNR; sources[1].losses[0].temperature = 0;
    sources[1].batching = KPDT_NO_DUPLICATES; sources[1].refresh = &own;
    j.d.sources = sources; j.d.n_sources = 2;
    j.d.batch = 8; j.d.accumulate = 3;
    want = whole_run(&j);
    j.d.simd = KPD_SIMD_SCALAR;
    CHECK(whole_run(&j) == want);
    j.d.simd = KPD_SIMD_AUTO;
    CHECK_OK(kpd_pool_create(3, NULL, &p, NULL));
    j.d.parallel = *kpd_pool_parallel(p);
    CHECK(whole_run(&j) == want);
    memset(&j.d.parallel, 0, sizeof j.d.parallel);
    kpd_pool_destroy(p);
    for (int stop = 0; stop < STEPS; stop++) {
        kpdt_trainer *t = job_trainer(&j);
        uint64_t h = run(&j, t, stop, 7);
        CHECK_OK(kpdt_trainer_save(t, path, NULL));
        kpdt_trainer_destroy(t);
        t = job_trainer(&j);
        run(&j, t, 1 + stop % 3, 7);                            // what it knew by then is forgotten
        CHECK_THAT(!kpdt_trainer_resume(t, path, &error), "%s", error.message);
        CHECK_THAT(run(&j, t, 1000, h) == want, "stopped at step %d", stop);
        kpdt_trainer_destroy(t);
    }
    j.refresh.mining.seed = 1;
    CHECK(whole_run(&j) != want);
    kpdt_dataset_destroy(clicks);
    job_close(&j);
}

// A checkpoint knows by what its negatives were mined.
static void a_checkpoint_of_another_mining_is_refused(void) {
    const char *path = test_tmp("refresh_other.kpc");
    static const kpdt_column second[] = {KPDT_COL_SKIP, KPDT_COL_KEYPHRASE, KPDT_COL_SKIP, KPDT_COL_SKIP, KPDT_COL_END};
    static const kpdt_column first[] = {KPDT_COL_KEYPHRASE, KPDT_COL_SKIP, KPDT_COL_SKIP, KPDT_COL_SKIP, KPDT_COL_END};
    static const kpdt_column pair[] = {KPDT_COL_KEYPHRASE, KPDT_COL_TITLE, KPDT_COL_SKIP, KPDT_COL_SKIP, KPDT_COL_END};
    job j;
    kpdt_trainer *t;
    kpdt_dataset *phrases, *titles, *clicks;
    job_open(&j);
    phrases = tiny_dataset(j.rows, first); titles = tiny_dataset(j.rows, second); clicks = tiny_dataset(j.rows, pair);
    j.refresh.keyphrases = phrases;
    j.source.data = clicks; j.source.losses[0].loss = KPDT_MNR; j.source.losses[0].temperature = 0;
    t = job_trainer(&j);
    run(&j, t, 3, 7);
    CHECK_OK(kpdt_trainer_save(t, path, NULL));
    kpdt_trainer_destroy(t);
    for (int c = 0; c < 8; c++) {
        job other = j;
        other.d.sources = &other.source; other.source.refresh = &other.refresh;
        if (c == 1) other.refresh.steps = 3;
        if (c == 2) other.refresh.keyphrases = NULL;
        if (c == 3) other.refresh.mining.assistant = j.assistant;
        if (c == 4) other.refresh.mining.margin = 0.1f;
        if (c == 5) other.refresh.dim = 8;
        if (c == 6) other.source.refresh = NULL;
        if (c == 7) other.refresh.keyphrases = titles;          // other columns of the same bytes
        t = job_trainer(&other);
        CHECK_STATUS(kpdt_trainer_resume(t, path, &error), c ? KPD_ERR_ARGUMENT : KPD_OK);
        if (c) CHECK_THAT(strstr(error.message, "losses or mining of source 0") != NULL, "%s", error.message);
        kpdt_trainer_destroy(t);
    }
    kpdt_dataset_destroy(phrases);
    kpdt_dataset_destroy(titles);
    kpdt_dataset_destroy(clicks);
    job_close(&j);
}

static void what_cannot_be_meant_is_refused(void) {
    static const kpdt_column with_negative[] = {KPDT_COL_KEYPHRASE, KPDT_COL_TITLE, KPDT_COL_NEGATIVE, KPDT_COL_LABEL,
                                                KPDT_COL_END};
    static const kpdt_column no_phrase[] = {KPDT_COL_TITLE, KPDT_COL_END};
    job j;
    kpdt_trainer *t = NULL;
    kpdt_dataset *own, *titles, *empty;
    job_open(&j);
    own = tiny_dataset(j.rows, with_negative);
    titles = tiny_dataset(j.phrases, no_phrase);
    empty = tiny_dataset("", no_phrase);
#define REFUSED(change, status, says)                                                                                          \
    do {                                                                                                                       \
        job saved = j;                                                                                                         \
        change;                                                                                                                \
        CHECK_STATUS(kpdt_trainer_create(&j.d, &t, &error), status);                                                           \
        CHECK_THAT(strstr(error.message, says) != NULL, "%s: %s", says, error.message);                                        \
        j = saved;                                                                                                             \
    } while (0)
    REFUSED(j.d.start = j.assistant; j.source.losses[0].loss = KPDT_RANKNET, KPD_ERR_ARGUMENT,
            "source 0: refresh: a cross-encoder");
    REFUSED(j.refresh.mining.student = j.start, KPD_ERR_ARGUMENT, "are the trainer's, expected 0");
    REFUSED(j.refresh.mining.recall = 0.9f, KPD_ERR_ARGUMENT, "are the trainer's, expected 0");
    REFUSED(j.refresh.mining.allocator.alloc = refuse, KPD_ERR_ARGUMENT, "are the trainer's, expected 0");
    REFUSED(j.source.data = own, KPD_ERR_ARGUMENT, "beside a column of negatives");
    REFUSED(j.source.log_q = true; j.source.losses[0].loss = KPDT_MNR, KPD_ERR_ARGUMENT, "beside log_q");
    REFUSED(j.refresh.keyphrases = titles, KPD_ERR_ARGUMENT, "keyphrases to look among");
    REFUSED(j.refresh.keyphrases = empty, KPD_ERR_ARGUMENT, "keyphrases to look among");
    REFUSED(j.refresh.steps = -1, KPD_ERR_ARGUMENT, "refresh: steps");
    REFUSED(j.refresh.dim = 17, KPD_ERR_ARGUMENT, "refresh: dim");
    REFUSED(j.refresh.mining.n = KPDT_MAX_COLUMNS + 1, KPD_ERR_ARGUMENT, "refresh: n");
    REFUSED(j.refresh.mining.n = -1, KPD_ERR_ARGUMENT, "mining: n");
    REFUSED(j.refresh.mining.first_rank = 101, KPD_ERR_ARGUMENT, "first_rank");
    REFUSED(j.refresh.mining.margin = -1, KPD_ERR_ARGUMENT, "margins not negative");
    REFUSED(j.refresh.mining.assistant = j.start, KPD_ERR_ARGUMENT, "refresh");
    REFUSED(j.refresh.mining.reserved[1] = 1, KPD_ERR_ARGUMENT, "mining");
    REFUSED(j.source.losses[0].loss = KPDT_CONTRASTIVE; j.source.losses[0].temperature = 0, KPD_ERR_ARGUMENT,
            "contrastive has no use for negatives");
    REFUSED(j.source.losses[0].teacher = KPDT_BY_SCORE, KPD_ERR_ARGUMENT, "by score, which negatives have none of");
#undef REFUSED
    kpdt_dataset_destroy(own);
    kpdt_dataset_destroy(titles);
    kpdt_dataset_destroy(empty);
    job_close(&j);
}

static bool watch(void *user, int64_t done, int64_t of) {
    limit *x = (limit *)user;
    x->last = done; x->of = of;
    return !x->stop;
}

// Each allocation of a mining refused once, and a host that stops it: the step is not done, nothing is lost, and the next try
// gives what it would have.
static void a_mining_that_fails_can_be_tried_again(void) {
    job j;
    kpdt_trainer *t;
    kpdt_report r;
    limit x;
    float want;
    int refused = 0;
    job_open(&j);
    t = job_trainer(&j);
    CHECK_OK(kpdt_trainer_step(t, &r, NULL));
    want = r.loss;
    kpdt_trainer_destroy(t);
    memset(&x, 0, sizeof x);
    x.left = 1 << 20;
    j.d.allocator.alloc = refuse; j.d.allocator.free = give_back; j.d.allocator.user = &x;
    j.d.progress.report = watch; j.d.progress.user = &x;
    t = job_trainer(&j);
    x.stop = true;
    CHECK_STATUS(kpdt_trainer_step(t, &r, &error), KPD_ERR_CANCELLED);
    CHECK_INT(x.of, ROWS + PHRASES);
    x.stop = false;
    for (kpd_status s = KPD_ERR_MEMORY; s && refused < 1000; refused += s != KPD_OK) {
        x.left = refused;
        s = kpdt_trainer_step(t, &r, &error);
        if (s) CHECK_STATUS(s, KPD_ERR_MEMORY);
    }
    CHECK_THAT(refused > 3 && refused < 1000, "%d refused", refused);
    CHECK(r.loss == want && r.step == 1);
    CHECK_INT(r.mined.rows, ROWS);
    kpdt_trainer_destroy(t);
    job_close(&j);
}

// A host may mine before the step, which then need not; and what was mined counts for the step, however often that is tried.
static void a_host_may_mine_before_the_step(void) {
    job j;
    kpdt_trainer *t;
    kpdt_report r;
    kpdt_mining_counts c;
    limit x;
    uint64_t want;
    job_open(&j);
    want = whole_run(&j);
    memset(&x, 0, sizeof x);
    j.d.progress.report = watch; j.d.progress.user = &x;
    t = job_trainer(&j);
    CHECK_THAT(!kpdt_trainer_refresh(t, &c, &error), "%s", error.message);
    CHECK(c.rows == ROWS && c.negatives > ROWS && x.last == ROWS + PHRASES);
    x.stop = true;
    CHECK_OK(kpdt_trainer_refresh(t, &c, NULL));                            // it has nothing to do, which cannot be stopped
    CHECK_STATUS(kpdt_trainer_step(t, &r, &error), KPD_ERR_CANCELLED);      // while it learns
    CHECK(x.of != ROWS + PHRASES);
    x.stop = false;
    kpdt_trainer_destroy(t);
    t = job_trainer(&j);
    for (uint64_t h = 7, step = 0; step < STEPS; step++) {
        CHECK_OK(kpdt_trainer_refresh(t, &c, NULL));
        CHECK_INT(c.rows, step % EVERY ? 0 : ROWS);
        h = run(&j, t, 1, h);
        if (step + 1 == STEPS) CHECK(h == want);
    }
    kpdt_trainer_destroy(t);
    job_close(&j);
}

// Vectors without a direction can be neither indexed nor looked for: the message and `where` name the row. Weights that have
// run away are no row's fault.
static void an_error_names_the_row(void) {
    job j;
    kpdt_trainer *t;
    kpdt_batch b;
    static const float zero[16];
    char label[40];
    int line = -1;
    job_open(&j);
    CHECK_OK(kpd_model_set(j.start, "encoder.layer.0.output.LayerNorm.weight", zero, NULL));
    CHECK_OK(kpd_model_set(j.start, "encoder.layer.0.output.LayerNorm.bias", zero, NULL));
    t = job_trainer(&j);
    CHECK_STATUS(kpdt_trainer_draw(t, &b, &error), KPD_ERR_INPUT);
    CHECK_THAT(sscanf(error.message, "%39[^:]:%d: ", label, &line) == 2, "%s", error.message);
    CHECK_THAT(strstr(error.message, "no direction") != NULL, "%s", error.message);
    CHECK_INT(error.where, line - 1);
    CHECK(line > 1 && line <= PHRASES);                     // the first of the index, which is not the first of the file
    kpdt_trainer_destroy(t);
    job_close(&j);
    job_open(&j);
    j.d.rate = 1e36f; j.refresh.steps = 1;
    t = job_trainer(&j);
    CHECK_OK(kpdt_trainer_step(t, NULL, NULL));
    CHECK_STATUS(kpdt_trainer_step(t, NULL, &error), KPD_ERR_ARGUMENT);
    CHECK_THAT(strstr(error.message, "diverged, after step 1") != NULL, "%s", error.message);
    kpdt_trainer_destroy(t);
    job_close(&j);
}

SUITE(refresh) {
    RUN(refresh, a_batch_has_what_is_mined_at_its_time);
    RUN(refresh, bits_do_not_depend_on_threads_level_or_stops);
    RUN(refresh, a_checkpoint_of_another_mining_is_refused);
    RUN(refresh, what_cannot_be_meant_is_refused);
    RUN(refresh, a_mining_that_fails_can_be_tried_again);
    RUN(refresh, a_host_may_mine_before_the_step);
    RUN(refresh, an_error_names_the_row);
}
