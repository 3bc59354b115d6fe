// cmd_train.h - the commands that make a vocabulary and a model: vocab, train, and gradients.
// Part of kpd.c, below job.h and recipe.h.
// Contents: >>vocab >>train >>gradients

// >>vocab -----------------------------------------------------------------------------------------------------------

typedef struct corpus {
    job *j;
    int next_file;                      // of j->arg; the open one is j->text
    int32_t next_line;                  // of its chunk
    int64_t bytes, size;                // of the files before; of all, 0 = unknown
    bool failed;
} corpus;

static int64_t total_size(const char **paths) {
    struct stat st;
    int64_t total = 0;
    for (; *paths; paths++) {
        if (!strcmp(*paths, "-") || stat(*paths, &st) || !S_ISREG(st.st_mode)) return 0;
        total += (int64_t)st.st_size;
    }
    return total;
}

// The next chunk with lines, of this file or a later one; none at the end of all.
static bool corpus_chunk(corpus *c) {
    reader *r = &c->j->text;
    c->next_line = 0;
    for (;;) {
        if (!r->from.file) {
            if (!c->j->arg[c->next_file]) return true;
            if (!open_columns(c->j, c->j->arg[c->next_file++], "title? category? keyphrase?")) return false;
        }
        if (!reader_next(r)) return false;
        progress(c->j, r->n, c->bytes + r->from.bytes, c->size);
        if (r->n) return true;
        c->bytes += r->from.bytes;
        reader_close(r);
    }
}

// The library asks for texts; that there are no more may be a failure.
static bool corpus_line(void *user, kpd_text *out) {
    corpus *c = (corpus *)user;
    if (c->next_line == c->j->text.n) c->failed = c->failed || !corpus_chunk(c);
    if (c->failed || !c->j->text.n) return false;
    *out = c->j->text.lines[c->next_line++];
    return true;
}

static int64_t count_lines(const char *text, size_t size) {
    int64_t n = 0;
    for (size_t i = 0; i < size; i++) n += text[i] == '\n';
    return n;
}

static bool write_vocab(job *j, const char *vocab, size_t size, int64_t wanted) {
    int64_t n = count_lines(vocab, size);
    fwrite(vocab, 1, size, j->out.file);
    if (!output_commit(&j->out)) return false;
    if (n > wanted) note(NULL, "the alphabet alone makes %lld tokens, --size is %lld", (long long)n,
                         (long long)wanted);
    if (j->out.path) say("%s: %lld tokens", j->out.path, (long long)n);
    return true;
}

static int run_vocab(job *j) {
    corpus c = {0};
    kpdt_vocabulary_desc d = {0};
    kpd_error e;
    char *vocab = NULL;
    size_t size = 0;
    bool ok;
    if (!j->o.output) return usage("vocab: -o vocab.txt is missing");
    if (!output_open(&j->out, j->o.output)) return BAD_DATA;
    c.j = j;
    c.size = total_size(j->arg);
    d.size = j->o.size ? j->o.size : 8000;
    d.min_count = j->o.min_count;
    d.cased = j->o.cased != 0;
    d.next = corpus_line;
    d.next_user = &c;
    start(j, "texts");
    if (kpdt_vocabulary_train(&d, &vocab, &size, &e)) return fail("vocab", 0, "%s", e.message), BAD_DATA;
    ok = !c.failed && write_vocab(j, vocab, size, d.size);
    free(vocab);
    return ok ? DONE : BAD_DATA;
}

// >>train  A recipe's training, step by step, into a folder that can be gone on with at any time. --------------------

// What a training leaves in its folder. last.kpd comes before the last checkpoint: where it is, nothing is left to do.
static const char *const TRAIN_FILES[] = {"metrics.tsv", "checkpoint.kpc", "best.kpd", "last.kpd"};
enum { METRICS, CHECKPOINT, BEST, LAST, N_TRAIN_FILES };

enum { TRAIN_CHUNK = 256 };             // rows that the assistant scores together

typedef struct training {
    recipe r;
    kpdt_trainer *trainer;
    FILE *metrics;
    job *job;
    bool mining;                        // now
    kpdt_report report;                 // of the step in hand
    int64_t first;                      // the step before this run's first; -1 = no step yet
    double loss, weight, dev, saved;    // loss: a sum whose terms fade, with their weights' sum; when a checkpoint was written
    double start_dev;                   // of the look before the first step; NaN = this run did not take it
    double assistant_dev;               // what dev says of the assistant, likewise; NaN = it was not asked
    char metric[16];                    // of dev
    int64_t best_step; float best;      // -1 = before this run; what dev was then, NaN = no best yet
    char path[N_TRAIN_FILES][4200];
} training;

static volatile sig_atomic_t g_stop;    // the signal that asked to stop

// The first Ctrl-C lets the step end and saves; a second one kills, should that take too long.
static void ask_to_stop(int signal_number) {
    g_stop = signal_number;
    files_catch(files_interrupted);
}

static bool note_recipe_file(void *user, const char *path) {
    (void)user;
    note_input(path, NULL);
    return true;
}

static bool train_folder(training *x, bool resume, bool force) {
    const char *dir = x->r.train.output;
    if (!resume) recipe_each_file(&x->r, note_recipe_file, NULL);    // else the checkpoint knows whether an input is another now
    if (!make_folder(dir)) return false;
    for (int i = 0; i < N_TRAIN_FILES; i++) {
        snprintf(x->path[i], sizeof x->path[i], "%s/%s", dir, TRAIN_FILES[i]);
        if (!can_write(x->path[i])) return false;
        if (!resume && !force && file_exists(x->path[i]))
            return fail(dir, 0, "holds a training already (%s): --resume goes on with it, --force begins anew and deletes it",
                        TRAIN_FILES[i]);
    }
    for (int i = BEST; i <= LAST && resume && !file_exists(x->path[CHECKPOINT]); i++)
        if (file_exists(x->path[i]))
            return fail(dir, 0, "holds %s but no checkpoint.kpc to go on from; --force begins anew and deletes it",
                        TRAIN_FILES[i]);
    return true;
}

// Opened and locked before anything is changed: two programs in one folder would spoil each other's files.
static bool metrics_open(training *x) {
    struct flock lock;
    int fd = open(x->path[METRICS], O_RDWR | O_CREAT, 0666);
    memset(&lock, 0, sizeof lock);
    lock.l_type = F_WRLCK;
    lock.l_whence = SEEK_SET;
    if (fd >= 0 && fcntl(fd, F_SETLK, &lock) && (errno == EACCES || errno == EAGAIN)) {
        close(fd);
        return fail(x->path[METRICS], 0, "another kpd is training here");
    }
    x->metrics = fd >= 0 ? fdopen(fd, "r+b") : NULL;
    return x->metrics || fail(x->path[METRICS], 0, "cannot write: %s", strerror(errno));
}

// Where the rows of the steps up to `step` end. What is no row was being written when a program was killed.
static long metrics_end(FILE *f, int64_t step) {
    char line[400];
    long end = 0;
    rewind(f);
    while (fgets(line, sizeof line, f) && strchr(line, '\n')) {
        bool header = !end && !strncmp(line, "step\t", 5);
        char *rest;
        long long at = strtoll(line, &rest, 10);
        if (!header && (rest == line || *rest != '\t' || at > step)) break;
        end = ftell(f);
    }
    return end;
}

// Rows that came after the checkpoint are going to be made again.
static bool metrics_cut(training *x, int64_t step) {
    FILE *f = x->metrics;
    long end = metrics_end(f, step);
    if (end < 0 || ftruncate(fileno(f), (off_t)end) || fseek(f, end, SEEK_SET))
        return fail(x->path[METRICS], 0, "cannot write: %s", strerror(errno));
    if (!end) fputs("step\tsource\tloss\trate\tgrad_norm\ttokens\tdev\n", f);
    return true;
}

static void metrics_row(training *x) {
    const kpdt_report *r = &x->report;
    if (r->step % x->r.train.log_steps && isnan(r->dev) && !r->done) return;
    fprintf(x->metrics, "%lld\t%s\t%.9g\t%.9g\t%.9g\t%lld\t", (long long)r->step, x->r.data[r->source].name, (double)r->loss,
            (double)r->rate, (double)r->grad_norm, (long long)r->tokens);
    if (isnan(r->dev)) fputs("-\n", x->metrics);
    else fprintf(x->metrics, "%.9g\n", (double)r->dev);
}

static bool metrics_flush(training *x) {
    bool ok = flushed(x->metrics) && !fsync(fileno(x->metrics));
    return ok || fail(x->path[METRICS], 0, "cannot write: %s", why_not_written());
}

static void train_how_to_go_on(const job *j, const training *x) {
    bool saved = file_exists(x->path[CHECKPOINT]);
    fail(j->arg[0], 0, "stopped at step %lld of %lld%s: `kpd train %s --resume` %s", (long long)x->report.step,
         (long long)x->report.steps, saved ? "" : ", without a checkpoint", j->arg[0], saved ? "goes on" : "begins anew");
}

// Rows of the metrics reach the disk before the checkpoint that counts on them.
static bool train_checkpoint(training *x) {
    kpd_error e;
    kpd_status s;
    if (!metrics_flush(x)) return false;
    files_hold_signals(true);           // a second Ctrl-C kills, but not within a file
    s = kpdt_trainer_save(x->trainer, x->path[CHECKPOINT], &e);
    files_hold_signals(false);
    if (s) return fail_with(x->path[CHECKPOINT], &e);
    x->saved = now();
    return true;
}

static bool train_due(const training *x) {
    const recipe_train *t = &x->r.train;
    if (t->checkpoint_steps && x->report.step % t->checkpoint_steps == 0) return true;
    return t->checkpoint_seconds && now() - x->saved >= t->checkpoint_seconds;
}

static void train_count(job *j, training *x) {
    const kpdt_report *r = &x->report;
    x->loss = 0.98 * x->loss + 0.02 * (double)r->loss;
    x->weight = 0.98 * x->weight + 0.02;
    if (!isnan(r->dev)) x->dev = (double)r->dev;
    j->count.done += r->texts;
    j->tokens += r->tokens;
}

static void train_progress(job *j, const training *x) {
    const kpdt_report *r = &x->report;
    double elapsed, fraction = (double)(r->step - x->first) / (double)(r->steps - x->first);
    bool terminal;
    char left[40], dev[60] = "";
    if (!progress_due(&j->count, &elapsed, &terminal)) return;
    format_left(left, sizeof left, elapsed, fraction);
    if (!isnan(x->dev)) snprintf(dev, sizeof dev, ", %s %.4f (best %.4f)", x->metric, x->dev, (double)r->best_dev);
    fprintf(stderr, "%sstep %lld/%lld, %.0f %%, loss %.4f, rate %.2g, %.0f tokens/s%s%s%s", terminal ? "\r" : "kpd: ",
            (long long)r->step, (long long)r->steps, 100 * (double)r->step / (double)r->steps, x->loss / x->weight,
            (double)r->rate, (double)j->tokens / elapsed, left, dev, terminal ? "   " : "\n");
    g_line_open = terminal;
}

// How far a mining is, which can be stopped: no step is under way then. A step cannot.
static bool train_watch(void *user, int64_t done, int64_t of) {
    const training *x = (const training *)user;
    double elapsed;
    bool terminal;
    if (!x->mining) return true;
    if (progress_due(&x->job->count, &elapsed, &terminal)) {
        fprintf(stderr, "%sstep %lld/%lld, mining, %.0f %%%s", terminal ? "\r" : "kpd: ", (long long)x->report.step,
                (long long)x->report.steps, 100 * (double)done / (double)of, terminal ? "          " : "\n");
        g_line_open = terminal;
    }
    return !g_stop;
}

// New negatives before the next step, where they are due; or somebody asked to stop while they were looked for.
static bool train_refresh(training *x, bool *stopped) {
    kpd_error e;
    kpd_status s;
    x->mining = true;
    s = kpdt_trainer_refresh(x->trainer, NULL, &e);
    x->mining = false;
    *stopped = s == KPD_ERR_CANCELLED;
    return !s || *stopped || fail(x->r.path, 0, "%s", e.message);
}

static bool train_step(training *x) {
    kpd_error e;
    if (kpdt_trainer_step(x->trainer, &x->report, &e)) return fail(x->r.path, 0, "%s", e.message);
    if (x->first >= 0) return true;
    x->first = x->report.step - 1;
    return metrics_cut(x, x->first);
}

static bool train_save_model(training *x, bool best) {
    const char *path = x->path[best ? BEST : LAST];
    kpd_model *m = NULL;
    kpd_error e;
    bool ok = kpdt_trainer_model(x->trainer, best, &m, &e) ? fail_with(path, &e) : save_model(m, path, NULL);
    kpd_model_destroy(m);
    return ok;
}

// What was mined before the step.
static void train_say_mined(const training *x) {
    const kpdt_report *r = &x->report;
    const kpdt_mining_counts *c = &r->mined;
    char asked[100] = "";
    if (!c->rows) return;
    if (c->asked) snprintf(asked, sizeof asked, "; the assistant took %lld of %lld for relevant", (long long)c->relevant,
                           (long long)c->asked);
    say("before step %lld: %lld negatives mined for %lld rows, of which %lld have none%s", (long long)r->step,
        (long long)c->negatives, (long long)c->rows, (long long)c->empty_rows, asked);
}

// What the data sets gave.
static void train_rows(const training *x) {
    const kpdt_report *r = &x->report;
    int64_t bad = 0;
    if (g_quiet) return;
    for (int32_t i = 0; i < x->r.n_data; i++) bad += kpdt_dataset_bad_rows(x->r.set[i]);
    printf("rows: %lld seen, %lld repeated, %lld left out", (long long)r->rows_seen, (long long)r->rows_repeated,
           (long long)(r->rows_left + bad));
    if (bad) printf(" (%lld of them bad)", (long long)bad);
    putchar('\n');
}

// How good it got, and whether training helped.
static void train_say_best(const training *x) {
    const kpdt_report *r = &x->report;
    char step[40] = "", last[40] = "", before[40] = "";
    if (x->best_step > 0) snprintf(step, sizeof step, " at step %lld", (long long)x->best_step);
    if (!isnan(x->dev)) snprintf(last, sizeof last, ", the last %.6f", x->dev);     // not where a run had only to finish
    if (!isnan(x->start_dev)) snprintf(before, sizeof before, ", before training %.6f", x->start_dev);
    say("%s: %s %.6f%s%s%s", x->path[BEST], x->metric, (double)r->best_dev, step, last, before);
    if ((double)r->best_dev <= x->start_dev) note(x->path[BEST], "training made no %s better than before it", x->metric);
    else if (x->assistant_dev < (double)r->best_dev)
        note(x->r.model.assistant, "an assistant of less %s than its student: its scores hold the student back", x->metric);
}

static bool train_finish(training *x) {
    const kpdt_report *r = &x->report;
    bool dev = x->r.dev_set != NULL && !isnan(r->best_dev);
    if (!train_checkpoint(x) || (dev && !train_save_model(x, true)) || !train_save_model(x, false)) return false;
    end_progress_line();
    say("%s: step %lld of %lld", x->path[LAST], (long long)r->step, (long long)r->steps);
    train_rows(x);
    if (dev) train_say_best(x);
    else if (x->r.dev_set) note(x->r.path, "no look at dev gave a figure, so there is no best.kpd");
    return true;
}

// What dev says of the start, which is the best so far: a row of the metrics, as step 0. From a checkpoint on, best.kpd can be
// gone on with.
static bool train_look(training *x) {
    kpd_error e;
    kpdt_report at;
    kpdt_trainer_report(x->trainer, &at);
    if (!x->r.dev_set || at.step > 0 || !isnan(at.best_dev)) return true;
    if (!metrics_cut(x, 0)) return false;
    if (kpdt_trainer_look(x->trainer, &x->report, &e)) return fail(x->r.path, 0, "%s", e.message);
    if (isnan(x->report.dev)) return true;
    x->dev = x->start_dev = (double)x->report.dev;
    x->best_step = 0;
    fprintf(x->metrics, "0\t-\t-\t-\t-\t-\t%.9g\n", x->dev);
    say("%s: %s %.6f before training", x->r.path, x->metric, x->dev);
    return train_checkpoint(x) && train_save_model(x, true);
}

// Probabilities of the assistant for dev's rows from `from` on, and what is to be said of them.
static bool assistant_chunk(const training *x, kpd_session *s, int64_t from, size_t n, float *p, float *label) {
    kpd_input in[TRAIN_CHUNK];
    kpd_error e;
    memset(in, 0, sizeof in);
    for (size_t i = 0; i < n; i++) {
        kpdt_row row;
        kpd_row pair;
        if (kpdt_dataset_get(x->r.dev_set, from + (int64_t)i, &row, &e)) return fail(x->r.dev.file, 0, "%s", e.message);
        pair.keyphrase = row.keyphrase; pair.title = row.title; pair.category = row.category;
        label[i] = row.label;
        kpd_model_input(x->r.assistant, KPD_ITEM, &pair, &in[i]);
    }
    if (kpd_score(s, x->r.assistant, in, n, p, &e)) return fail(x->r.dev.file, 0, "%s", e.message);
    for (size_t i = 0; i < n; i++) p[i] = kpd_sigmoid(p[i]);
    return true;
}

// dev's figure of n scores.
static bool dev_figure(const training *x, const float *score, const float *label, size_t n, double *out) {
    kpdt_sample_figures f;
    kpdt_sample *sample;
    kpd_error e;
    if (kpdt_sample_create(score, label, n, NULL, &sample, &e)) return fail(x->r.dev.file, 0, "%s", e.message);
    kpdt_sample_measure(sample, NULL, NULL, &f);
    kpdt_sample_destroy(sample);
    switch (x->r.train.d.dev_metric) {
    case KPDT_DEV_AP: *out = f.yes.average_precision; break;
    case KPDT_DEV_F1: *out = f.yes.f1; break;
    case KPDT_DEV_PEARSON: *out = f.pearson; break;
    case KPDT_DEV_SPEARMAN: *out = f.spearman; break;
    default: *out = f.yes.auc;
    }
    return true;
}

// What dev says of the assistant: who follows its scores will hardly be better.
static bool assistant_look(job *j, training *x) {
    size_t n = x->r.dev_set ? (size_t)kpdt_dataset_rows(x->r.dev_set) : 0;
    float *score, *label;
    bool ok;
    if (!n || !x->r.assistant || x->r.train.d.dev_metric == KPDT_DEV_MLM_LOSS || isnan(x->start_dev)) return true;
    score = (float *)job_alloc(j, n, sizeof *score);
    label = (float *)job_alloc(j, n, sizeof *label);
    if (!score || !label) return false;
    j->assistant = x->r.assistant;      // lent: the recipe frees it
    ok = open_session(j, 0, 0);
    j->assistant = NULL;
    for (size_t i = 0; ok && i < n && !g_stop; i += TRAIN_CHUNK)
        ok = assistant_chunk(x, j->session, (int64_t)i, n - i < TRAIN_CHUNK ? n - i : TRAIN_CHUNK, score + i, label + i);
    ok = ok && (g_stop || dev_figure(x, score, label, n, &x->assistant_dev));
    kpd_session_destroy(j->session);
    j->session = NULL;
    if (!ok || g_stop) return ok;
    say("%s: %s %.6f of the assistant", x->r.path, x->metric, x->assistant_dev);
    if (x->assistant_dev <= x->start_dev)
        note(x->r.model.assistant, "no better on dev than the model that is to learn from it");
    return true;
}

// The best is there as soon as there is one.
static bool train_keep_best(training *x) {
    const kpdt_report *r = &x->report;
    if (isnan(r->dev) || r->dev <= x->best) return true;     // NaN: there is none yet
    x->best_step = r->step;
    x->best = r->best_dev;
    return train_save_model(x, true);
}

// Until all steps are done, or somebody asks to stop, which then is no success: what was asked for is not there.
static bool train_steps(job *j, training *x) {
    start(j, "texts");
    j->tokens = 0;
    x->saved = now();
    if (!train_look(x) || !assistant_look(j, x)) return false;
    kpdt_trainer_report(x->trainer, &x->report);
    x->best = x->report.best_dev;
    while (!x->report.done) {
        bool stopped;
        if (!train_refresh(x, &stopped) || (stopped && x->first >= 0 && !train_checkpoint(x))) return false;
        if (stopped) break;
        if (!train_step(x) || !train_keep_best(x)) return false;
        metrics_row(x);
        train_say_mined(x);
        train_count(j, x);
        train_progress(j, x);
        if (!x->report.done && (g_stop || train_due(x)) && !train_checkpoint(x)) return false;
        if (g_stop) break;
    }
    return x->report.done && train_finish(x);
}

static bool train_create(job *j, training *x) {
    kpd_error e;
    kpdt_trainer_desc *d = &x->r.train.d;
    if (!open_pool(j)) return false;
    d->simd = (kpd_simd)j->o.simd;
    d->parallel = j->parallel;
    return !kpdt_trainer_create(d, &x->trainer, &e) || fail(x->r.path, 0, "%s", e.message);
}

// With --force the files of before go when all else is known to be well.
static bool train_begin(job *j, training *x) {
    kpd_error e;
    x->r.train.d.progress.report = train_watch; x->r.train.d.progress.user = x;
    x->job = j;
    if (!train_create(j, x) || !train_folder(x, j->o.resume != 0, j->o.force != 0) || !metrics_open(x)) return false;
    if (!j->o.resume) {
        for (int i = CHECKPOINT; i < N_TRAIN_FILES; i++) remove(x->path[i]);
        return true;
    }
    if (!file_exists(x->path[CHECKPOINT]))
        return note(x->r.train.output, "no checkpoint yet; begins at the start"), true;
    return !kpdt_trainer_resume(x->trainer, x->path[CHECKPOINT], &e) || fail_with(x->path[CHECKPOINT], &e);
}

// After --resume: all steps are done, and their model is there.
static bool train_is_finished(const training *x) { return file_exists(x->path[LAST]); }

static void name_metric(training *x) {
    snprintf(x->metric, sizeof x->metric, "%s", kpdt_dev_metric_name(x->r.train.d.dev_metric));
}

// The model of a checkpoint, which may be one of a training that goes on.
static bool train_export(job *j, training *x) {
    const char *path = j->o.export_to;
    kpd_model *m = NULL;
    kpd_error e;
    bool ok;
    recipe_each_file(&x->r, note_recipe_file, NULL);
    if (!can_write(path) || !train_create(j, x)) return false;
    snprintf(x->path[CHECKPOINT], sizeof x->path[CHECKPOINT], "%s/%s", x->r.train.output, TRAIN_FILES[CHECKPOINT]);
    if (kpdt_trainer_resume(x->trainer, x->path[CHECKPOINT], &e)) return fail_with(x->path[CHECKPOINT], &e);
    ok = kpdt_trainer_model(x->trainer, false, &m, &e) ? fail_with(path, &e) : save_model(m, path, NULL);
    kpd_model_destroy(m);
    kpdt_trainer_report(x->trainer, &x->report);
    if (ok) say("%s: the model of step %lld of %lld", path, (long long)x->report.step, (long long)x->report.steps);
    return ok;
}

static bool train(job *j, training *x) {
    if (!recipe_read(&x->r, j->arg[0])) return fail(NULL, 0, "%s", x->r.error);
    if (!recipe_open(&x->r)) return fail(NULL, 0, "%s", x->r.error);
    name_metric(x);
    if (j->o.export_to) return train_export(j, x);
    if (!train_begin(j, x)) return false;
    if (j->o.resume && train_is_finished(x)) return say("%s: finished already", x->path[LAST]), true;
    files_catch(ask_to_stop);
    if (train_steps(j, x)) return true;
    if (x->first >= 0) train_how_to_go_on(j, x);
    else if (g_stop) fail(j->arg[0], 0, "stopped before a step was done");
    return false;
}

static int run_train(job *j) {
    training *x = (training *)job_alloc(j, 1, sizeof *x);
    bool ok;
    if (!x) return BAD_DATA;
    if (j->o.resume && j->o.force) return usage("train: --resume goes on and --force begins anew; expected one of them");
    if (j->o.export_to && (j->o.resume || j->o.force)) return usage("train: --export trains nothing");
    x->first = -1;
    x->dev = x->start_dev = x->assistant_dev = (double)NAN;
    x->best_step = -1;
    ok = train(j, x);
    if (x->metrics && x->first < 0 && !j->o.resume) {       // no step was done: nothing is to be in the way of another try
        for (int i = 0; i < N_TRAIN_FILES; i++) remove(x->path[i]);
        rmdir(x->r.train.output);
    }
    if (x->metrics) fclose(x->metrics);
    kpdt_trainer_destroy(x->trainer);
    recipe_close(&x->r);
    return ok ? DONE : BAD_DATA;
}

// >>gradients  How the losses of a recipe pull at the weights with which it begins. --------------------------------------------

typedef struct gradient {               // of one loss of a data set
    int32_t source, loss;
    int64_t n;                          // batches
    double value;                       // sum of theirs
    float *half[2];                     // [size] sums over every other batch; joined, the first is over all
    double halves, square;              // cosine of the halves; of the sum with itself
} gradient;

typedef struct gradients { gradient *of; int32_t n, wanted; size_t size; } gradients;

static bool gradients_create(job *j, const training *x, gradients *g) {
    const kpdt_trainer_desc *d = &x->r.train.d;
    float *sums;
    kpdt_trainer_gradient(x->trainer, &g->size);
    g->wanted = j->o.n ? j->o.n : 50;
    g->of = (gradient *)job_alloc(j, (size_t)d->n_sources * KPDT_MAX_LOSSES, sizeof *g->of);
    for (int32_t i = 0; g->of && i < d->n_sources; i++)
        for (int32_t l = 0; l < KPDT_MAX_LOSSES && d->sources[i].losses[l].loss != KPDT_LOSS_NONE; l++) {
            g->of[g->n].source = i;
            g->of[g->n++].loss = l;
        }
    sums = g->of ? (float *)job_alloc(j, 2 * (size_t)g->n * g->size, sizeof *sums) : NULL;
    for (int32_t i = 0; sums && i < 2 * g->n; i++) g->of[i / 2].half[i % 2] = sums + (size_t)i * g->size;
    return sums != NULL;
}

// Of one loss of a batch, alone.
static bool gradient_add(const training *x, gradient *g, const kpdt_batch *b) {
    kpdt_batch alone = *b;
    kpd_error e;
    size_t size;
    float value, *half = g->half[g->n % 2];
    const float *of_batch = kpdt_trainer_gradient(x->trainer, &size);
    memset(alone.losses, 0, sizeof alone.losses);
    alone.losses[0] = b->losses[g->loss];
    if (kpdt_trainer_learn(x->trainer, &alone, &value, &e)) return fail(x->r.path, 0, "%s", e.message);
    for (size_t i = 0; i < size; i++) half[i] += of_batch[i];
    kpdt_trainer_cancel(x->trainer);
    g->value += (double)value;
    g->n++;
    return true;
}

static const char *gradient_data(const training *x, const gradient *g) { return x->r.data[g->source].name; }

// Until there are enough of each, or one is too rare.
static bool gradients_add(job *j, const training *x, gradients *g) {
    int64_t all = (int64_t)g->wanted * g->n, most = 100 * all;
    start(j, "batches");
    for (int64_t drawn = 0; drawn < most && j->count.done < all; drawn++) {
        kpdt_batch b;
        kpd_error e;
        if (kpdt_trainer_draw(x->trainer, &b, &e)) return fail(x->r.path, 0, "%s", e.message);
        for (int32_t i = 0; i < g->n; i++) {
            if (g->of[i].source != b.source || g->of[i].n == g->wanted) continue;
            if (!gradient_add(x, &g->of[i], &b)) return false;
            progress(j, 1, j->count.done + 1, all);
        }
    }
    for (int32_t i = 0; i < g->n; i++)
        if (g->of[i].n < g->wanted)
            note(x->r.path, "data %s came %lld times in %lld batches, not %d times", gradient_data(x, &g->of[i]),
                 (long long)g->of[i].n, (long long)most, (int)g->wanted);
    return true;
}

static double gradient_dot(const float *a, const float *b, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += (double)a[i] * (double)b[i];
    return sum;
}

// NaN where one has no length.
static double gradient_cosine(double dot, double aa, double bb) {
    return aa > 0 && bb > 0 ? dot / (sqrt(aa) * sqrt(bb)) : (double)NAN;
}

// What the halves say of each other, then their sum in the first.
static void gradient_join(gradient *g, size_t n) {
    float *a = g->half[0];
    const float *b = g->half[1];
    g->halves = gradient_cosine(gradient_dot(a, b, n), gradient_dot(a, a, n), gradient_dot(b, b, n));
    for (size_t i = 0; i < n; i++) a[i] += b[i];
    g->square = gradient_dot(a, a, n);
}

static void put_cosine(FILE *f, double cosine) {
    if (isnan(cosine)) fputs("\t-", f);
    else fprintf(f, "\t%.4f", cosine);
}

static const char *gradient_loss(const training *x, const gradient *g) {
    return kpdt_loss_name(x->r.sources[g->source].losses[g->loss].loss);
}

static void gradients_print(const job *j, const training *x, const gradients *g) {
    FILE *f = j->out.file;
    fputs("data\tloss\tbatches\tvalue\tlength\thalves", f);
    for (const gradient *a = g->of; a < g->of + g->n; a++) fprintf(f, "\t%s %s", gradient_data(x, a), gradient_loss(x, a));
    fputc('\n', f);
    for (const gradient *a = g->of; a < g->of + g->n; a++) {
        double n = a->n ? (double)a->n : 1;
        fprintf(f, "%s\t%s\t%lld\t%.6g\t%.6g", gradient_data(x, a), gradient_loss(x, a), (long long)a->n, a->value / n,
                sqrt(a->square) / n);
        put_cosine(f, a->halves);
        for (const gradient *b = g->of; b < g->of + g->n; b++)
            put_cosine(f, gradient_cosine(gradient_dot(a->half[0], b->half[0], g->size), a->square, b->square));
        fputc('\n', f);
    }
}

static bool measure_gradients(job *j, training *x) {
    gradients g = {0};
    if (!recipe_read(&x->r, j->arg[0]) || !recipe_open(&x->r)) return fail(NULL, 0, "%s", x->r.error);
    recipe_each_file(&x->r, note_recipe_file, NULL);
    x->r.train.d.accumulate = 1;        // which would divide them
    x->r.train.d.dropout = 0;           // whose masks would be the same in each batch
    if (!output_open(&j->out, j->o.output) || !train_create(j, x) || !gradients_create(j, x, &g) || !gradients_add(j, x, &g))
        return false;
    for (int32_t i = 0; i < g.n; i++) gradient_join(&g.of[i], g.size);
    gradients_print(j, x, &g);
    return output_commit(&j->out);
}

static int run_gradients(job *j) {
    training *x = (training *)job_alloc(j, 1, sizeof *x);
    bool ok = x && measure_gradients(j, x);
    if (x) {
        kpdt_trainer_destroy(x->trainer);
        recipe_close(&x->r);
    }
    return ok ? DONE : BAD_DATA;
}
