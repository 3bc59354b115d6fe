// cmd_eval.h - the commands that say how good scores and lists are: eval pairs, eval auction.
// Part of kpd.c, below cmd_text.h and cmd_label.h, whose hashes of texts tell queries apart.

// >>eval  How good scores, and lists of recommendations, are. --------------------------------------------------------

enum { MAX_RESAMPLES = 10000 };

// Fewer where there are so many items that the interval is narrow anyway, and would be long in coming.
static size_t resamples_of(size_t items) {
    size_t n = 20000000 / items;
    return n > MAX_RESAMPLES ? MAX_RESAMPLES : n < 1000 ? 1000 : n;
}

static void print_number(FILE *f, double v, const char *end) {
    if (isnan(v)) fprintf(f, "-%s", end);
    else fprintf(f, "%.6f%s", v, end);
}

static void print_interval(FILE *f, const kpdt_interval *i, const char *end) {
    print_number(f, i->estimate, "\t");
    print_number(f, i->low, "\t");
    print_number(f, i->high, end);
}

// A row of the table: a's interval; with b its too, and that of the difference with its p.
static void print_intervals(FILE *f, const char *name, const kpdt_interval *i, bool two) {
    fprintf(f, "%s\t", name);
    print_interval(f, &i[0], two ? "\t" : "\n");
    if (!two) return;
    print_interval(f, &i[1], "\t");
    print_interval(f, &i[2], "\t");
    print_number(f, i[2].p, "\n");
}

// Row i of n figures: out [n] of a system, or of two [3, n], each and their difference.
static void print_figure(FILE *f, const char *name, const kpdt_interval *out, int n, int i, bool two) {
    kpdt_interval of[3];
    for (int s = 0; s < 3; s++) of[s] = out[(two ? s * n : 0) + i];
    print_intervals(f, name, of, two);
}

static void print_count(FILE *f, const char *name, int64_t a, int64_t b, bool two) {
    fprintf(f, "%s\t%lld\t-\t-", name, (long long)a);
    if (two) fprintf(f, "\t%lld\t-\t-\t%lld\t-\t-\t-", (long long)b, (long long)(a - b));
    fputc('\n', f);
}

enum { MAX_RUNS = 32 };

// Names with commas between them; a file whose name has commas is one.
typedef struct name_list { char *text; const char *name[2 * MAX_RUNS]; int n; } name_list;

static void names_free(name_list *x) { free(x->text); }

static bool names_of(name_list *x, const char *list, int most) {
    bool one = file_exists(list);
    char *next = x->text = (char *)malloc(strlen(list) + 1);
    if (!next) return fail(NULL, 0, "out of memory");
    strcpy(next, list);
    while (next) {
        char *comma = one ? NULL : strchr(next, ',');
        if (comma) *comma = 0;
        if (x->n == most || !*next) return fail(list, 0, "expected 1 to %d names with commas between them", most);
        note_input(next, NULL);
        x->name[x->n++] = next;
        next = comma ? comma + 1 : NULL;
    }
    return true;
}

// The runs of a system, and with --against of another: of both as many, or one of that, which then stands beside each, as what
// was not trained does. DONE, or how the command ends.
static int runs_of(const job *j, const char *name, const char *list, name_list names[2], int *runs) {
    if (!names_of(&names[0], list, MAX_RUNS)) return BAD_USAGE;
    if (j->o.against && !names_of(&names[1], j->o.against, MAX_RUNS)) return BAD_USAGE;
    *runs = names[0].n;
    if (!j->o.against || names[1].n == *runs || names[1].n == 1) return DONE;
    return usage("%s: %d runs, but %d of --against", name, *runs, names[1].n);
}

static const char *name_of_run(const name_list *x, int run) { return x->name[run % x->n]; }

static int compare_floats(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

// What one run of a system, of one training seed, says of the pairs.
typedef struct pairs {
    float *score, *label, *assistant;   // [n]; assistant only where `has_assistant`
    uint64_t *query;                    // hashes; only where `has_query`
    uint8_t *yes;
    size_t n, capacity[5];
    int columns;                        // of the file, as its first row has them; 0 = no row yet
    bool has_assistant, has_query;
    float threshold;                    // NaN = that of the best F1
    kpdt_sample *sample, *by_assistant;
    float *auc;                         // [2, queries], see kpdt_auc_by_query
    float *ndcg;                        // [queries], NaN where all labels of a query are the same
} pairs;

static void pairs_free(pairs *p) {
    kpdt_sample_destroy(p->sample);
    kpdt_sample_destroy(p->by_assistant);
    free(p->score);
    free(p->label);
    free(p->assistant);
    free(p->query);
    free(p->yes);
    free(p->auc);
    free(p->ndcg);
    memset(p, 0, sizeof *p);
}

static bool pairs_reserve(pairs *p, size_t n) {
    return grow((void **)&p->score, &p->capacity[0], n, sizeof *p->score) &&
           grow((void **)&p->label, &p->capacity[1], n, sizeof *p->label) &&
           grow((void **)&p->assistant, &p->capacity[2], n, sizeof *p->assistant) &&
           grow((void **)&p->yes, &p->capacity[3], n, sizeof *p->yes) &&
           grow((void **)&p->query, &p->capacity[4], n, sizeof *p->query);
}

// How many columns a row has, and so what they are. With --model the assistant's score is the last, the keyphrase the query.
static bool pairs_columns(const job *j, pairs *p, int32_t i, const kpd_text *column, int n, int label) {
    const reader *r = &j->text;
    if (!p->columns && n >= label + 1 && n <= label + (j->o.model ? 2 : 3)) {
        p->columns = n;
        p->has_query = j->o.model || n == 4;
        p->has_assistant = n > label + 1 && (n < 4 || j->o.model || column[2].size);
    }
    if (!p->columns)
        return fail(r->name, r->line[i], "%d column(s), expected %s", n, j->o.model ?
                    "keyphrase TAB title TAB category TAB label, or these TAB the assistant's score" :
                    "score TAB label, or these TAB the assistant's score, or these TAB query");
    return n == p->columns || fail(r->name, r->line[i], "%d column(s), but the first row has %d", n, p->columns);
}

// score, or for a model keyphrase, title and category; then label, then perhaps the assistant's score; then perhaps the query.
static bool pairs_line(const job *j, pairs *p, scorer *model, int32_t i) {
    const reader *r = &j->text;
    kpd_row row;
    kpd_text column[5];
    size_t at = p->n + (size_t)i;
    int label = j->o.model ? 3 : 1, n = split_columns(r, i, column, 5);
    if (!pairs_columns(j, p, i, column, n, label)) return false;
    if (!j->o.model && !parse_real(r, i, "score", column[0], -INFINITY, INFINITY, &p->score[at])) return false;
    if (!parse_real(r, i, "label", column[label], 0, 1, &p->label[at])) return false;
    if (p->has_assistant && !parse_real(r, i, "assistant's score", column[label + 1], -INFINITY, INFINITY, &p->assistant[at]))
        return false;
    p->yes[at] = p->label[at] >= 0.5f;
    if (p->has_query) p->query[at] = text_hash(0, column[j->o.model ? 0 : 3]);
    if (!j->o.model) return true;
    row.keyphrase = column[0]; row.title = column[1]; row.category = column[2];
    scorer_read(j, model, i, &row);
    return true;
}

typedef struct pairs_reading { pairs *p; scorer *model; } pairs_reading;

static bool pairs_chunk(job *j, void *state) {
    const pairs_reading *s = (const pairs_reading *)state;
    pairs *p = s->p;
    size_t n = (size_t)j->text.n;
    if (!pairs_reserve(p, p->n + n)) return false;
    for (int32_t i = 0; i < j->text.n; i++)
        if (!pairs_line(j, p, s->model, i)) return false;
    if (j->o.model && !scorer_run(j, s->model)) return false;
    for (size_t i = 0; j->o.model && i < n; i++) p->score[p->n + i] = scorer_value(j, s->model, i);
    p->n += n;
    return true;
}

static bool pairs_read(job *j, const char *path, scorer *model, pairs *p) {
    const char *wanted = j->o.model ? "keyphrase title? category? label score?" : "score label assistant? query?";
    pairs_reading s;
    bool ok;
    s.p = p;
    s.model = model;
    ok = open_columns(j, path, wanted) && each_chunk(j, "pairs", pairs_chunk, &s);
    if (ok && !p->n) ok = fail(j->text.name, 0, "it has no rows");
    reader_close(&j->text);
    return ok;
}

// The threshold of the best F1 on other pairs.
static bool pairs_threshold(job *j, const char *path, scorer *model, float *t) {
    kpdt_classification c;
    kpd_error e;
    pairs dev = {0};
    bool ok = pairs_read(j, path, model, &dev);
    if (ok && kpdt_classify(dev.score, dev.yes, dev.n, NULL, NULL, &c, &e)) ok = fail_with(path, &e);
    if (ok) *t = c.threshold;
    pairs_free(&dev);
    return ok;
}

// A file of scores, or a model and the pairs to score.
static bool pairs_run(job *j, const char *name, const char *dev, pairs *p) {
    scorer model = {0};
    bool ok = !j->o.model || scorer_open(j, name, true, &model);
    p->threshold = isfinite(j->o.threshold) ? j->o.threshold : NAN;
    ok = ok && (!dev || pairs_threshold(j, dev, &model, &p->threshold));
    ok = ok && pairs_read(j, j->o.model ? j->arg[0] : name, &model, p);
    scorer_close(j, &model);
    return ok;
}

enum {
    PAIRS_THRESHOLD, PAIRS_F1, PAIRS_PRECISION, PAIRS_RECALL, PAIRS_ACCURACY, PAIRS_MCC, PAIRS_AP, PAIRS_AUC, PAIRS_IN_QUERY,
    PAIRS_NDCG, PAIRS_ECE, PAIRS_PEARSON, PAIRS_SPEARMAN, PAIRS_PEARSON_ASSISTANT, PAIRS_SPEARMAN_ASSISTANT, PAIRS_FIGURES
};
static const char *const PAIRS_FIGURE[PAIRS_FIGURES] = {
    "threshold", "f1", "precision", "recall", "accuracy", "mcc", "ap", "auc", "auc_in_query", "ndcg_in_query", "ece", "pearson",
    "spearman", "pearson_assistant", "spearman_assistant"};

// One or two systems, of each as many runs; all saw the same pairs. Queries are numbered, and what is drawn are queries where
// they are known: pairs of one are no independent draws.
typedef struct comparison {
    name_list names[2], dev;              // files of scores, or models; see comparison_check
    pairs run[2][MAX_RUNS]; int runs, systems;
    pair_map queries;
    uint32_t *query; size_t n_queries;  // of each pair
    size_t *first, *member;             // of a query: member[first[q]] up to first[q + 1]
    uint32_t *count;                    // of each pair, in the draw in hand
} comparison;

static void comparison_free(comparison *c) {
    for (int s = 0; s < 2; s++)
        for (int r = 0; r < MAX_RUNS; r++) pairs_free(&c->run[s][r]);
    for (int s = 0; s < 2; s++) names_free(&c->names[s]);
    names_free(&c->dev);
    free(c->queries.at);
    free(c->query);
    free(c->first);
    free(c->member);
    free(c->count);
}

static void run_figures(const comparison *c, const pairs *p, const size_t *item, size_t n, double *v) {
    kpdt_sample_figures f;
    double sum = 0, by = 0, ndcg = 0, differ = 0;
    kpdt_sample_measure(p->sample, c->count, isnan(p->threshold) ? NULL : &p->threshold, &f);
    for (size_t i = 0; i < n && p->auc; i++) {
        sum += (double)p->auc[item[i]];
        by += (double)p->auc[c->n_queries + item[i]];
        if (isnan(p->ndcg[item[i]])) continue;
        ndcg += (double)p->ndcg[item[i]];
        differ++;
    }
    v[PAIRS_THRESHOLD] = (double)f.yes.threshold;
    v[PAIRS_F1] = f.yes.f1; v[PAIRS_PRECISION] = f.yes.precision; v[PAIRS_RECALL] = f.yes.recall;
    v[PAIRS_ACCURACY] = f.yes.accuracy; v[PAIRS_MCC] = f.yes.mcc;
    v[PAIRS_AP] = f.yes.average_precision; v[PAIRS_AUC] = f.yes.auc; v[PAIRS_ECE] = f.yes.ece;
    v[PAIRS_IN_QUERY] = by > 0 ? sum / by : (double)NAN;
    v[PAIRS_NDCG] = differ > 0 ? ndcg / differ : (double)NAN;
    v[PAIRS_PEARSON] = f.pearson; v[PAIRS_SPEARMAN] = f.spearman;
    if (!p->by_assistant) return;
    kpdt_sample_measure(p->by_assistant, c->count, NULL, &f);
    v[PAIRS_PEARSON_ASSISTANT] = f.pearson; v[PAIRS_SPEARMAN_ASSISTANT] = f.spearman;
}

// Means over the runs: of the first system, of the second, and their difference.
static void comparison_statistic(void *user, const size_t *run, size_t runs, const size_t *item, size_t n, double *out) {
    comparison *c = (comparison *)user;
    double v[PAIRS_FIGURES] = {0};
    memset(c->count, 0, c->run[0][0].n * sizeof *c->count);
    for (size_t i = 0; i < n; i++)
        for (size_t k = c->first[item[i]]; k < c->first[item[i] + 1]; k++) c->count[c->member[k]]++;
    memset(out, 0, (c->systems == 2 ? 3 : 1) * sizeof v);
    for (int s = 0; s < c->systems; s++)
        for (size_t r = 0; r < runs; r++) {
            run_figures(c, &c->run[s][run[r] % (size_t)c->names[s].n], item, n, v);
            for (int f = 0; f < PAIRS_FIGURES; f++) out[s * PAIRS_FIGURES + f] += v[f] / (double)runs;
        }
    for (int f = 0; f < PAIRS_FIGURES && c->systems == 2; f++) out[2 * PAIRS_FIGURES + f] = out[f] - out[PAIRS_FIGURES + f];
}

// Numbers the queries in the order in which they come; where they are not known each pair is one.
static bool comparison_number(comparison *c) {
    const pairs *p = &c->run[0][0];
    for (size_t i = 0; i < p->n && p->has_query; i++) {
        pair_entry *known = pair_add(&c->queries, p->query[i]);
        if (!known) return false;
        if (!known->line) known->line = (int64_t)++c->n_queries;
        c->query[i] = (uint32_t)(known->line - 1);
    }
    if (p->has_query) return true;
    c->n_queries = p->n;
    for (size_t i = 0; i < p->n; i++) c->query[i] = (uint32_t)i;
    return true;
}

static bool comparison_group(comparison *c) {
    size_t n = c->run[0][0].n;
    if (n >= UINT32_MAX) return fail(NULL, 0, "%zu pairs, expected less than 2^32", n);
    c->query = (uint32_t *)calloc(n, sizeof *c->query);
    c->count = (uint32_t *)calloc(n, sizeof *c->count);
    c->first = (size_t *)calloc(n + 2, sizeof *c->first);
    c->member = (size_t *)calloc(n, sizeof *c->member);
    if (!c->query || !c->count || !c->first || !c->member) return fail(NULL, 0, "out of memory: %zu pairs", n);
    if (!comparison_number(c)) return false;
    for (size_t i = 0; i < n; i++) c->first[c->query[i] + 2]++;
    for (size_t q = 0; q < c->n_queries; q++) c->first[q + 1] += c->first[q];
    for (size_t i = 0; i < n; i++) c->member[c->first[c->query[i] + 1]++] = i;
    return true;
}

typedef struct scored_pair { float score, gain; } scored_pair;
static int pair_by_score(const void *a, const void *b) {   // falling, as below
    return compare_floats(&((const scored_pair *)b)->score, &((const scored_pair *)a)->score);
}
static int pair_by_gain(const void *a, const void *b) {
    return compare_floats(&((const scored_pair *)b)->gain, &((const scored_pair *)a)->gain);
}

// NDCG of n pairs of a query, whose labels are the gains; equal scores share theirs, as scikit-learn has it. gain: [2, n].
static float ndcg_of(scored_pair *pair, size_t n, float *gain) {
    kpdt_ranking r;
    qsort(pair, n, sizeof *pair, pair_by_gain);
    for (size_t i = 0; i < n; i++) gain[n + i] = pair[i].gain;
    if (gain[n] <= gain[2 * n - 1]) return NAN;
    qsort(pair, n, sizeof *pair, pair_by_score);
    for (size_t i = 0, end; i < n; i = end) {
        double sum = 0;
        for (end = i; end < n && pair[end].score >= pair[i].score; end++) sum += (double)pair[end].gain;
        for (size_t k = i; k < end; k++) gain[k] = (float)(sum / (double)(end - i));
    }
    kpdt_rank(gain, (int32_t)n, (int32_t)n, gain + n, (int32_t)n, &r);
    return (float)r.ndcg;
}

static bool comparison_ndcg(const comparison *c, pairs *p) {
    scored_pair *pair = (scored_pair *)malloc(p->n * sizeof *pair);
    float *gain = (float *)malloc(2 * p->n * sizeof *gain);
    p->ndcg = (float *)malloc(c->n_queries * sizeof *p->ndcg);
    bool ok = pair && gain && p->ndcg;
    for (size_t q = 0; ok && q < c->n_queries; q++) {
        const size_t *member = c->member + c->first[q], n = c->first[q + 1] - c->first[q];
        for (size_t i = 0; i < n; i++) { pair[i].score = p->score[member[i]]; pair[i].gain = p->label[member[i]]; }
        p->ndcg[q] = ndcg_of(pair, n, gain);
    }
    free(pair);
    free(gain);
    return ok || fail(NULL, 0, "out of memory: %zu pairs", p->n);
}

static bool comparison_sample(const comparison *c, pairs *p) {
    kpd_error e;
    double auc;
    if (kpdt_sample_create(p->score, p->label, p->n, NULL, &p->sample, &e)) return fail(NULL, 0, "%s", e.message);
    if (p->has_assistant && kpdt_sample_create(p->score, p->assistant, p->n, NULL, &p->by_assistant, &e))
        return fail(NULL, 0, "%s", e.message);
    if (!p->has_query) return true;
    p->auc = (float *)calloc(2 * c->n_queries, sizeof *p->auc);
    if (!p->auc) return fail(NULL, 0, "out of memory: %zu queries", c->n_queries);
    if (kpdt_auc_by_query(p->score, p->yes, c->query, p->n, c->n_queries, NULL, p->auc, &auc, &e))
        return fail(NULL, 0, "%s", e.message);
    return comparison_ndcg(c, p);
}

// A comparison by pair is one of the same pairs only.
static bool comparison_same(const pairs *p, const char *path, const pairs *q, const char *other) {
    if (p->n != q->n) return fail(other, 0, "%zu pairs, but %s has %zu", q->n, path, p->n);
    if (p->has_assistant != q->has_assistant || p->has_query != q->has_query)
        return fail(other, 0, "expected the columns of %s", path);
    for (size_t i = 0; i < p->n; i++) {
        bool same = p->label[i] >= q->label[i] && p->label[i] <= q->label[i];
        if (!same) return fail(other, 0, "pair %zu has the label %g, but in %s %g", i + 1, (double)q->label[i], path,
                               (double)p->label[i]);
        if (p->has_query && p->query[i] != q->query[i])
            return fail(other, 0, "pair %zu has another query than in %s", i + 1, path);
    }
    return true;
}

// Of dev each run has its own file of scores, or all models read one.
static bool comparison_read(job *j, comparison *c) {
    int n = c->names[0].n, all = n + c->names[1].n;
    for (int i = 0; i < all; i++) {
        const char *name = c->names[i >= n].name[i % n], *dev = c->dev.n ? c->dev.name[j->o.model ? 0 : i] : NULL;
        pairs *p = &c->run[i >= n][i % n];
        if (!pairs_run(j, name, dev, p)) return false;
        if (i && !comparison_same(&c->run[0][0], c->names[0].name[0], p, name)) return false;
    }
    if (!comparison_group(c)) return false;
    for (int i = 0; i < all; i++)
        if (!comparison_sample(c, &c->run[i >= n][i % n])) return false;
    return true;
}

static bool comparison_print(const job *j, comparison *c) {
    const pairs *p = &c->run[0][0];
    size_t yes = 0, all = p->n * (size_t)(c->runs * c->systems);
    bool two = c->systems == 2;
    kpdt_interval out[3 * PAIRS_FIGURES];
    kpdt_bootstrap_desc d = {0};
    kpd_error e;
    FILE *f = j->out.file;
    d.statistic = comparison_statistic; d.statistic_user = c; d.n_statistics = (two ? 3 : 1) * PAIRS_FIGURES;
    d.n = c->n_queries; d.runs = (size_t)c->runs; d.resamples = (int32_t)resamples_of(all); d.seed = 1;
    if (kpdt_bootstrap(&d, out, &e)) return fail(NULL, 0, "%s", e.message);
    for (size_t i = 0; i < p->n; i++) yes += p->yes[i];
    fprintf(f, "figure\tvalue\tlow\thigh%s\n", two ? "\tagainst\tlow\thigh\tdifference\tlow\thigh\tp" : "");
    print_count(f, "pairs", (int64_t)p->n, (int64_t)p->n, two);
    print_count(f, "yes", (int64_t)yes, (int64_t)yes, two);
    if (p->has_query) print_count(f, "queries", (int64_t)c->n_queries, (int64_t)c->n_queries, two);
    if (c->runs > 1) print_count(f, "runs", c->runs, c->runs, two);
    for (int i = 0; i < (p->has_assistant ? PAIRS_FIGURES : PAIRS_PEARSON_ASSISTANT); i++) {
        if ((i != PAIRS_IN_QUERY && i != PAIRS_NDCG) || p->has_query)
            print_figure(f, PAIRS_FIGURE[i], out, PAIRS_FIGURES, i, two);
    }
    return true;
}

static int comparison_check(const job *j, comparison *c) {
    const char *list = j->o.model ? j->o.model : j->arg[0] ? j->arg[0] : "-";
    int status = runs_of(j, "eval pairs", list, c->names, &c->runs);
    if (status) return status;
    if (j->o.dev && !names_of(&c->dev, j->o.dev, 2 * MAX_RUNS)) return BAD_USAGE;
    c->systems = j->o.against ? 2 : 1;
    if (c->dev.n && c->dev.n != (j->o.model ? 1 : c->names[0].n + c->names[1].n))
        return usage("eval pairs: %d file(s) of --dev, expected one%s", c->dev.n, j->o.model ? "" : " for each file of scores");
    if (j->o.model && c->runs * c->systems > 1 && (!j->arg[0] || !strcmp(j->arg[0], "-")))
        return usage("eval pairs: several models read a file, not the standard input");
    return DONE;
}

static bool comparison_run(job *j, comparison *c) {
    bool ok = output_open(&j->out, j->o.output) && comparison_read(j, c) && comparison_print(j, c) && output_commit(&j->out);
    if (ok && j->out.path) say("%s: figures of %zu pairs", j->out.path, c->run[0][0].n);
    return ok;
}

static int run_eval_pairs(job *j) {
    comparison *c;
    int status;
    if (j->o.dev && isfinite(j->o.threshold)) return usage("eval pairs: --dev chooses the threshold and --threshold gives it");
    if (j->o.dim && !j->o.model) return usage("eval pairs: --dim is of the model of --model");
    if (j->o.join && !j->o.model) return usage("eval pairs: --join gives what the model of --model reads");
    c = (comparison *)job_alloc(j, 1, sizeof *c);
    if (!c) return BAD_DATA;
    status = comparison_check(j, c);
    if (!status && !comparison_run(j, c)) status = BAD_DATA;
    comparison_free(c);
    return status;
}

// What a judge, or a search engine, says of a keyphrase for an item.
typedef struct verdict { int64_t item, line; const char *text; size_t at, size; float value; } verdict;

typedef struct verdicts {               // sorted by item and text
    verdict *list; size_t n, capacity;
    char *text; size_t text_size, text_capacity;
    float low, high;                    // of a value
} verdicts;

static int compare_text(const char *a, size_t n, const char *b, size_t m) {
    int order = memcmp(a, b, n < m ? n : m);
    return order ? order : (n > m) - (n < m);
}

static int compare_verdicts(const void *a, const void *b) {
    const verdict *x = (const verdict *)a, *y = (const verdict *)b;
    int order = x->item != y->item ? (x->item < y->item ? -1 : 1) : compare_text(x->text, x->size, y->text, y->size);
    return order ? order : x->line < y->line ? -1 : 1;
}

static bool parse_item(const reader *r, int32_t i, kpd_text text, int64_t *out) {
    if (!parse_id(r, i, text, out)) return false;
    if (*out >= 0 && *out < INT32_MAX) return true;
    return fail(r->name, r->line[i], "item %lld, expected a row from 0 on", (long long)*out);
}

static bool verdicts_add(void *state, const reader *r, int32_t i) {
    verdicts *v = (verdicts *)state;
    kpd_text column[3];
    verdict *x;
    if (split_columns(r, i, column, 3) != 3) return fail(r->name, r->line[i], "expected item TAB keyphrase TAB number");
    if (!grow((void **)&v->list, &v->capacity, v->n + 1, sizeof *v->list) ||
        !grow((void **)&v->text, &v->text_capacity, v->text_size + column[1].size + 1, 1)) return false;
    x = &v->list[v->n++];
    if (!parse_item(r, i, column[0], &x->item)) return false;
    if (!parse_real(r, i, "value", column[2], v->low, v->high, &x->value)) return false;
    x->line = r->line[i];
    x->at = v->text_size;
    x->size = column[1].size;
    memcpy(v->text + v->text_size, column[1].data, x->size);
    v->text_size += x->size;
    return true;
}

// Two different verdicts on one keyphrase are a mistake whose outcome nobody could foresee.
static bool verdicts_sort(verdicts *v, const char *path) {
    for (size_t i = 0; i < v->n; i++) v->list[i].text = v->text + v->list[i].at;       // the text moves no more
    if (v->n) qsort(v->list, v->n, sizeof *v->list, compare_verdicts);
    for (size_t i = 1; i < v->n; i++) {
        const verdict *x = &v->list[i], *y = x - 1;
        bool same = x->item == y->item && !compare_text(x->text, x->size, y->text, y->size);
        if (same && (x->value < y->value || x->value > y->value))
            return fail(path, x->line, "item %lld, '%.*s' has another value in line %lld", (long long)x->item,
                        (int)(x->size < 80 ? x->size : 80), x->text, (long long)y->line);
    }
    return true;
}

static bool verdicts_read(job *j, const char *path, verdicts *v) {
    if (!reader_open(&j->text, path) || !each_line(&j->text, verdicts_add, v)) return false;
    reader_close(&j->text);
    return verdicts_sort(v, path);
}

static float verdicts_find(const verdicts *v, int64_t item, kpd_text t) {
    size_t low = 0, high = v->n;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        const verdict *x = &v->list[mid];
        bool before = x->item != item ? x->item < item : compare_text(x->text, x->size, t.data, t.size) < 0;
        if (before) low = mid + 1; else high = mid;
    }
    if (low == v->n || v->list[low].item != item) return NAN;
    return compare_text(v->list[low].text, v->list[low].size, t.data, t.size) ? NAN : v->list[low].value;
}

// >>eval_auction ------------------------------------------------------------------------------------------------------

// What all lists are measured by.
typedef struct market {
    verdicts judge, other_judge, filter;
    pair_map log, known;                // keyphrases of the log: impressions as count, clicks as value; those of lists: line =
                                        // number + 1
    bool has_log;
    float head, tail;                   // impressions of the least of the head, of the most of the tail
    char *text; size_t text_size, text_capacity;                // of the keyphrases of lists, one behind the other
    size_t *at; size_t n_known, at_capacity;                    // where each begins; at[n_known] is the end
    float *vector; int32_t dim;         // [n_known, dim] of --model, or NULL
    int32_t *decile; size_t n_deciles, decile_capacity;         // of items, 0 to 9; none = NULL
    float *value; size_t value_capacity;                        // by which items are put into tenths
} market;

static void market_free(market *m) {
    free(m->judge.list);
    free(m->judge.text);
    free(m->other_judge.list);
    free(m->other_judge.text);
    free(m->filter.list);
    free(m->filter.text);
    free(m->log.at);
    free(m->known.at);
    free(m->text);
    free(m->at);
    free(m->vector);
    free(m->decile);
    free(m->value);
}

static bool market_log_chunk(job *j, void *state) {
    market *m = (market *)state;
    const reader *r = &j->text;
    for (int32_t i = 0; i < r->n; i++) {
        log_row row;
        char why[160];
        pair_entry *p;
        if (!log_parse(r, i, &row, why)) return fail(r->name, r->line[i], "%s", why);
        if (!(p = pair_add(&m->log, text_hash(0, row.column[0])))) return false;
        p->count += (float)row.impressions;
        p->value += (float)row.clicks;
    }
    return true;
}

// The head is the tenth of the log's keyphrases that have the most impressions, the tail the half that has the fewest.
static bool market_log(job *j, market *m) {
    columns c = {LOG_COLUMNS, NULL, TABLE_BY_NAME};
    float *shown;
    size_t n = 0;
    if (!j->o.log) return true;
    if (!reader_open_as(&j->text, j->o.log, &c) || !each_chunk(j, "rows", market_log_chunk, m)) return false;
    reader_close(&j->text);
    if (!m->log.n) return fail(j->o.log, 0, "it has no rows");
    shown = (float *)job_alloc(j, m->log.n, sizeof *shown);
    if (!shown) return false;
    for (size_t i = 0; i < m->log.room; i++)
        if (m->log.at[i].hash) shown[n++] = m->log.at[i].count;
    qsort(shown, n, sizeof *shown, compare_floats);
    m->head = shown[n - (n + 9) / 10];
    m->tail = shown[(n - 1) / 2];
    return m->has_log = true;
}

static bool market_decile_chunk(job *j, void *state) {
    market *m = (market *)state;
    const reader *r = &j->text;
    for (int32_t i = 0; i < r->n; i++) {
        kpd_text column[2];
        int64_t item;
        if (split_columns(r, i, column, 2) != 2 || !parse_item(r, i, column[0], &item))
            return fail(r->name, r->line[i], "expected item TAB number");
        if (item != (int64_t)m->n_deciles)
            return fail(r->name, r->line[i], "item %lld, expected %zu: all items from 0 on", (long long)item, m->n_deciles);
        if (!grow((void **)&m->value, &m->value_capacity, m->n_deciles + 1, sizeof *m->value)) return false;
        if (!parse_real(r, i, "value", column[1], -INFINITY, INFINITY, &m->value[m->n_deciles++])) return false;
    }
    return true;
}

// A tenth has the items whose value is over a tenth's last before it: equal values are together.
static bool market_deciles(job *j, market *m) {
    float *sorted;
    if (!j->o.deciles) return true;
    if (!reader_open(&j->text, j->o.deciles) || !each_chunk(j, "items", market_decile_chunk, m)) return false;
    reader_close(&j->text);
    if (m->n_deciles < 10) return fail(j->o.deciles, 0, "%zu items, expected at least 10", m->n_deciles);
    sorted = (float *)job_alloc(j, m->n_deciles, sizeof *sorted);
    if (!sorted || !grow((void **)&m->decile, &m->decile_capacity, m->n_deciles, sizeof *m->decile)) return false;
    memcpy(sorted, m->value, m->n_deciles * sizeof *sorted);
    qsort(sorted, m->n_deciles, sizeof *sorted, compare_floats);
    for (size_t i = 0; i < m->n_deciles; i++) {
        m->decile[i] = 0;
        while (m->decile[i] < 9 && m->value[i] > sorted[m->n_deciles * (size_t)(m->decile[i] + 1) / 10 - 1]) m->decile[i]++;
    }
    return true;
}

// The number of a keyphrase among those of the lists.
static bool market_keyphrase(market *m, kpd_text t, int32_t *out) {
    pair_entry *p = pair_add(&m->known, text_hash(0, t));
    if (!p) return false;
    if (!p->line) {
        if (m->n_known == INT32_MAX - 1) return fail(NULL, 0, "more than 2^31 different keyphrases");
        if (!grow((void **)&m->text, &m->text_capacity, m->text_size + t.size + 1, 1) ||
            !grow((void **)&m->at, &m->at_capacity, m->n_known + 2, sizeof *m->at)) return false;
        memcpy(m->text + m->text_size, t.data, t.size);
        m->at[m->n_known++] = m->text_size;
        m->at[m->n_known] = m->text_size += t.size;
        p->line = (int64_t)m->n_known;
    }
    *out = (int32_t)(p->line - 1);
    return true;
}

static kpd_text market_text(const market *m, size_t i) {
    kpd_text t;
    t.data = m->text + m->at[i];
    t.size = m->at[i + 1] - m->at[i];
    return t;
}

// The vectors of all keyphrases of the lists, by the student of --model.
static bool market_embed(job *j, market *m) {
    kpd_input *in;
    kpd_error e;
    if (!j->o.model || !m->n_known) return true;
    if (!open_model(j->o.model, KPD_BI_ENCODER, &j->student) || !(m->dim = student_dim(j, j->o.model))) return false;
    in = (kpd_input *)job_alloc(j, CHUNK_LINES, sizeof *in);
    m->vector = (float *)calloc(m->n_known * (size_t)m->dim, sizeof *m->vector);
    if (!m->vector) return fail(NULL, 0, "out of memory: %zu vectors", m->n_known);
    if (!in || !open_session(j, 0, 0)) return false;
    for (size_t at = 0, n; at < m->n_known; at += n) {
        n = m->n_known - at < CHUNK_LINES ? m->n_known - at : CHUNK_LINES;
        for (size_t i = 0; i < n; i++) {
            kpd_row row = {{NULL, 0}, {NULL, 0}, {NULL, 0}};
            row.keyphrase = market_text(m, at + i);
            kpd_model_input(j->student, KPD_KEYPHRASE, &row, &in[i]);
        }
        if (kpd_embed(j->session, j->student, KPD_KEYPHRASE, in, n, m->dim, m->vector + at * (size_t)m->dim, &e))
            return fail(j->o.model, 0, "%s", e.message);
    }
    return true;
}

// One run's lists.
typedef struct auction {
    const char *name;
    const verdicts *judge, *filter;     // filter NULL = the relevance column, or nothing
    market *market;
    kpdt_auction_row *row; size_t n_items, row_capacity;
    size_t *list; size_t list_capacity; // item i's keyphrases are keyphrase[list[i]] up to list[i + 1]
    int32_t *keyphrase; size_t recommended, keyphrase_capacity;
    bool *survives; float *judged; size_t n, capacity[2];      // the list in hand, of item n_items
    int64_t unfiltered;                 // those that the filter does not know
} auction;

// The list in hand becomes a row; those items between it and `next` have none.
static bool auction_close(auction *a, int64_t next) {
    size_t n = (size_t)next;
    if (n <= a->n_items) return true;
    if (!grow((void **)&a->row, &a->row_capacity, n, sizeof *a->row) ||
        !grow((void **)&a->list, &a->list_capacity, n + 1, sizeof *a->list)) return false;
    memset(a->row + a->n_items, 0, (n - a->n_items) * sizeof *a->row);
    kpdt_auction_item(a->survives, a->judged, a->n, &a->row[a->n_items]);
    a->list[a->n_items] = a->recommended - a->n;
    for (size_t i = a->n_items + 1; i <= n; i++) a->list[i] = a->recommended;
    a->n_items = n;
    a->n = 0;
    return true;
}

static bool auction_survives(const job *j, auction *a, int32_t i, int64_t item, const kpd_text *column, bool *out) {
    float v;
    *out = true;
    if (!isfinite(j->o.threshold)) return true;
    if (a->filter) {
        v = verdicts_find(a->filter, item, column[2]);
        a->unfiltered += isnan(v);
    } else if (!parse_real(&j->text, i, "relevance", column[4], -INFINITY, INFINITY, &v)) return false;
    *out = v >= j->o.threshold;
    return true;
}

static bool auction_place(const job *j, auction *a, int32_t i, const kpd_text *column, int64_t *item) {
    const reader *r = &j->text;
    int64_t rank;
    if (!parse_item(r, i, column[0], item) || !parse_id(r, i, column[1], &rank)) return false;
    if (j->o.items && *item >= j->o.items)
        return fail(r->name, r->line[i], "item %lld, but --items says %d", (long long)*item, (int)j->o.items);
    if (*item < (int64_t)a->n_items) return fail(r->name, r->line[i], "item %lld is behind a later one", (long long)*item);
    if (!auction_close(a, *item)) return false;
    return rank == (int64_t)a->n + 1 || fail(r->name, r->line[i], "rank %lld, expected %lld of item %lld", (long long)rank,
                                             (long long)a->n + 1, (long long)*item);
}

static bool auction_line(const job *j, auction *a, int32_t i) {
    const reader *r = &j->text;
    kpd_text column[5];
    int64_t item;
    if (split_columns(r, i, column, 5) != 5)
        return fail(r->name, r->line[i], "expected item TAB rank TAB keyphrase TAB similarity TAB relevance");
    if (!auction_place(j, a, i, column, &item)) return false;
    if (!grow((void **)&a->survives, &a->capacity[0], a->n + 1, sizeof *a->survives) ||
        !grow((void **)&a->judged, &a->capacity[1], a->n + 1, sizeof *a->judged) ||
        !grow((void **)&a->keyphrase, &a->keyphrase_capacity, a->recommended + 1, sizeof *a->keyphrase)) return false;
    if (!auction_survives(j, a, i, item, column, &a->survives[a->n])) return false;
    a->judged[a->n++] = verdicts_find(a->judge, item, column[2]);
    return market_keyphrase(a->market, column[2], &a->keyphrase[a->recommended++]);
}

static bool auction_chunk(job *j, void *state) {
    for (int32_t i = 0; i < j->text.n; i++)
        if (!auction_line(j, (auction *)state, i)) return false;
    return true;
}

static bool auction_read(job *j, auction *a) {
    bool ok = reader_open(&j->text, a->name) && each_chunk(j, "recommendations", auction_chunk, a);
    if (ok && a->n) ok = auction_close(a, (int64_t)a->n_items + 1);
    if (ok && j->o.items) ok = auction_close(a, j->o.items);
    if (ok && a->unfiltered)
        note(a->name, "%lld of %zu recommendations are not in %s and do not survive", (long long)a->unfiltered, a->recommended,
             j->o.filter);
    reader_close(&j->text);
    return ok;
}

static void auction_free(auction *a) {
    free(a->row);
    free(a->list);
    free(a->keyphrase);
    free(a->survives);
    free(a->judged);
}

// How many different keyphrases all lists have together, as a share of what they have.
static bool auction_uniqueness(const auction *a, double *out) {
    uint8_t *met = (uint8_t *)calloc(a->market->n_known + 1, 1);
    size_t n = 0;
    if (!met) return fail(NULL, 0, "out of memory");
    for (size_t i = 0; i < a->recommended; i++) {
        n += !met[a->keyphrase[i]];
        met[a->keyphrase[i]] = 1;
    }
    free(met);
    *out = a->recommended ? (double)n / (double)a->recommended : (double)NAN;
    return true;
}

// A figure is a sum over items divided by another, or the median: of all items, or of a tenth of them.
enum { KP_MEDIAN, KP_MEAN, PASS_RATE, PASS_RATE_BY_ITEM, HEAD, TAIL, NOVEL, COSINE, PASS_AT };
typedef struct figure { const char *name; int kind, decile; } figure;       // decile -1 = all
enum { MAX_FIGURES = 64 };

// In the log: those of the head, of the tail, and those that nobody clicked; what is not there is of the tail, and new.
static float count_in_log(const auction *a, size_t item, int kind) {
    const market *m = a->market;
    float n = 0;
    for (size_t i = a->list[item]; i < a->list[item + 1]; i++) {
        const pair_entry *p = pair_find(&m->log, text_hash(0, market_text(m, (size_t)a->keyphrase[i])));
        n += kind == HEAD ? p && p->count >= m->head : kind == TAIL ? !p || p->count <= m->tail : !p || p->value <= 0;
    }
    return n;
}

// The mean cosine of two different keyphrases of a list: of unit vectors (|sum|^2 - n) / (n (n - 1)).
static float mean_cosine(const auction *a, size_t item) {
    const market *m = a->market;
    size_t n = a->list[item + 1] - a->list[item];
    double square = 0;
    for (int32_t c = 0; c < m->dim; c++) {
        double sum = 0;
        for (size_t i = a->list[item]; i < a->list[item + 1]; i++)
            sum += (double)m->vector[(size_t)a->keyphrase[i] * (size_t)m->dim + (size_t)c];
        square += sum * sum;
    }
    return (float)((square - (double)n) / ((double)n * ((double)n - 1)));
}

static void figure_of(const figure *f, const auction *a, size_t item, float cell[2]) {
    const kpdt_auction_row *r = &a->row[item];
    float listed = (float)(a->list[item + 1] - a->list[item]), survivors = (float)r->survivors;
    cell[0] = survivors;
    cell[1] = 1;
    if (f->kind >= PASS_AT) cell[0] = (float)r->passed_at[f->kind - PASS_AT] / (float)(5 * (f->kind - PASS_AT + 1));
    if (f->kind == PASS_RATE) { cell[0] = (float)r->passed; cell[1] = survivors; }
    if (f->kind == PASS_RATE_BY_ITEM) { cell[0] = r->survivors ? (float)r->passed / survivors : 0; cell[1] = r->survivors > 0; }
    if (f->kind == HEAD || f->kind == TAIL || f->kind == NOVEL) { cell[0] = count_in_log(a, item, f->kind); cell[1] = listed; }
    if (f->kind == COSINE) { cell[1] = listed >= 2; cell[0] = listed >= 2 ? mean_cosine(a, item) : 0; }
    if (f->decile >= 0 && a->market->decile[item] != f->decile) cell[0] = cell[1] = 0;
}

// Two systems, or one under two judges, or one; of each as many runs, on the same items.
typedef struct auctions {
    market market;
    name_list names[2];
    auction run[2][MAX_RUNS]; int runs, systems;
    size_t n_items;
    figure figure[MAX_FIGURES]; int n_figures;
    float *cell[2];                     // [runs, n_items, n_figures, 2]: value and weight
    double *sum;                        // [n_figures, 2], of the draw in hand
    int32_t *count; size_t most;        // [most + 1] of the median: items that have so many survivors
} auctions;

static void auctions_free(auctions *x) {
    for (int s = 0; s < 2; s++) {
        for (int r = 0; r < MAX_RUNS; r++) auction_free(&x->run[s][r]);
        names_free(&x->names[s]);
        free(x->cell[s]);
    }
    market_free(&x->market);
    free(x->sum);
    free(x->count);
}

static double drawn_median(const auctions *x, const kpdt_auction_row *row, const size_t *item, size_t n) {
    size_t seen = 0, low = x->most + 1, high = 0;
    memset(x->count, 0, (x->most + 1) * sizeof *x->count);
    for (size_t i = 0; i < n; i++) x->count[row[item[i]].survivors]++;
    for (; seen <= n / 2; high++) {
        seen += (size_t)x->count[high];
        if (low > x->most && seen > (n - 1) / 2) low = high;
    }
    return ((double)low + (double)(high - 1)) / 2;
}

// The figures of a system: ratios of the sums over runs and items; the median as a mean of the runs'.
static void drawn_figures(const auctions *x, int s, const size_t *run, size_t runs, const size_t *item, size_t n, double *out) {
    size_t width = 2 * (size_t)x->n_figures;
    double median = 0;
    memset(x->sum, 0, width * sizeof *x->sum);
    for (size_t r = 0; r < runs; r++) {
        median += drawn_median(x, x->run[s][run[r]].row, item, n);
        for (size_t i = 0; i < n; i++) {
            const float *cell = x->cell[s] + (run[r] * x->n_items + item[i]) * width;
            for (size_t k = 0; k < width; k++) x->sum[k] += (double)cell[k];
        }
    }
    for (int f = 0; f < x->n_figures; f++) out[f] = x->sum[2 * f + 1] > 0 ? x->sum[2 * f] / x->sum[2 * f + 1] : 0;
    out[0] = median / (double)runs;
}

static void auctions_statistic(void *user, const size_t *run, size_t runs, const size_t *item, size_t n, double *out) {
    const auctions *x = (const auctions *)user;
    for (int s = 0; s < x->systems; s++) drawn_figures(x, s, run, runs, item, n, out + s * x->n_figures);
    for (int f = 0; f < x->n_figures && x->systems == 2; f++) out[2 * x->n_figures + f] = out[f] - out[x->n_figures + f];
}

static void auctions_add(auctions *x, const char *name, int kind, int decile) {
    figure *f = &x->figure[x->n_figures++];
    f->name = name;
    f->kind = kind;
    f->decile = decile;
}

static void auctions_figures(auctions *x) {
    const market *m = &x->market;
    static const figure each[] = {{"kp", KP_MEDIAN, -1}, {"kp_mean", KP_MEAN, -1}, {"pr", PASS_RATE, -1},
                                  {"pr_by_item", PASS_RATE_BY_ITEM, -1}, {"pass@5", PASS_AT, -1}, {"pass@10", PASS_AT + 1, -1},
                                  {"pass@15", PASS_AT + 2, -1}, {"pass@20", PASS_AT + 3, -1}};
    for (size_t i = 0; i < sizeof each / sizeof *each; i++) auctions_add(x, each[i].name, each[i].kind, -1);
    if (m->has_log) {
        auctions_add(x, "head", HEAD, -1);
        auctions_add(x, "tail", TAIL, -1);
        auctions_add(x, "novel", NOVEL, -1);
    }
    if (m->vector) auctions_add(x, "cosine", COSINE, -1);
    for (int d = 0; d < 10 && m->decile; d++) {
        auctions_add(x, "kp_mean", KP_MEAN, d);
        auctions_add(x, "pr", PASS_RATE, d);
        auctions_add(x, "pass@10", PASS_AT + 1, d);
    }
}

static bool auctions_fill(auctions *x) {
    size_t width = 2 * (size_t)x->n_figures;
    x->sum = (double *)calloc(width, sizeof *x->sum);
    for (int s = 0; s < x->systems; s++) {
        x->cell[s] = (float *)calloc((size_t)x->runs * x->n_items * width, sizeof(float));
        if (!x->cell[s] || !x->sum) return fail(NULL, 0, "out of memory: figures of %zu items", x->n_items);
        for (int r = 0; r < x->runs; r++)
            for (size_t i = 0; i < x->n_items; i++) {
                float *cell = x->cell[s] + ((size_t)r * x->n_items + i) * width;
                size_t survivors = (size_t)x->run[s][r].row[i].survivors;
                for (int f = 0; f < x->n_figures; f++) figure_of(&x->figure[f], &x->run[s][r], i, cell + 2 * f);
                x->most = survivors > x->most ? survivors : x->most;
            }
    }
    x->count = (int32_t *)calloc(x->most + 1, sizeof *x->count);
    return x->count || fail(NULL, 0, "out of memory");
}

// Counts of all runs together, and how different the keyphrases are: no means, so without intervals.
static bool auctions_print_counts(FILE *f, const auctions *x) {
    kpdt_auction_result total[2];
    double unique[2] = {0, 0};
    int64_t recommended[2] = {0, 0};
    bool two = x->systems == 2;
    kpd_error e;
    memset(total, 0, sizeof total);
    for (int s = 0; s < x->systems; s++)
        for (int r = 0; r < x->runs; r++) {
            kpdt_auction_result one;
            double u = 0;
            if (kpdt_auction_total(x->run[s][r].row, x->n_items, &one, &e)) return fail(NULL, 0, "%s", e.message);
            if (!auction_uniqueness(&x->run[s][r], &u)) return false;
            total[s].survivors += one.survivors;
            total[s].passed += one.passed;
            total[s].unjudged += one.unjudged;
            recommended[s] += (int64_t)x->run[s][r].recommended;
            unique[s] += u / x->runs;
        }
    print_count(f, "items", (int64_t)x->n_items, (int64_t)x->n_items, two);
    if (x->runs > 1) print_count(f, "runs", x->runs, x->runs, two);
    print_count(f, "recommended", recommended[0], recommended[1], two);
    print_count(f, "survivors", total[0].survivors, total[1].survivors, two);
    print_count(f, "passed", total[0].passed, total[1].passed, two);
    print_count(f, "unjudged", total[0].unjudged, total[1].unjudged, two);
    fprintf(f, "uniqueness\t");
    print_number(f, unique[0], two ? "\t-\t-\t" : "\t-\t-\n");
    if (!two) return true;
    print_number(f, unique[1], "\t-\t-\t");
    print_number(f, unique[0] - unique[1], "\t-\t-\t-\n");
    return true;
}

static bool auctions_print(job *j, auctions *x) {
    kpdt_interval *out = (kpdt_interval *)job_alloc(j, 3 * (size_t)x->n_figures, sizeof *out);
    kpdt_bootstrap_desc d = {0};
    kpd_error e;
    FILE *f = j->out.file;
    bool two = x->systems == 2;
    d.statistic = auctions_statistic; d.statistic_user = x; d.n_statistics = x->n_figures * (two ? 3 : 1);
    d.n = x->n_items; d.runs = (size_t)x->runs; d.resamples = (int32_t)resamples_of(x->n_items * (size_t)x->runs); d.seed = 1;
    if (!out) return false;
    if (kpdt_bootstrap(&d, out, &e)) return fail(NULL, 0, "%s", e.message);
    fprintf(f, "figure\tvalue\tlow\thigh%s\n", two ? "\tagainst\tlow\thigh\tdifference\tlow\thigh\tp" : "");
    if (!auctions_print_counts(f, x)) return false;
    for (int i = 0; i < x->n_figures; i++) {
        char name[48];
        if (x->figure[i].decile < 0) snprintf(name, sizeof name, "%s", x->figure[i].name);
        else snprintf(name, sizeof name, "%s, tenth %d", x->figure[i].name, x->figure[i].decile + 1);
        print_figure(f, name, out, x->n_figures, i, two);
    }
    return true;
}

// All runs of both are asked about the same items.
static bool auctions_read(job *j, auctions *x) {
    int all = x->runs * x->systems;
    for (int i = 0; i < all; i++) {
        int s = i / x->runs, r = i % x->runs;
        auction *a = &x->run[s][r];
        a->name = name_of_run(&x->names[j->o.other_judge ? 0 : s], r);
        a->judge = s && j->o.other_judge ? &x->market.other_judge : &x->market.judge;
        a->filter = j->o.filter ? &x->market.filter : NULL;
        a->market = &x->market;
        if (!auction_read(j, a)) return false;
        x->n_items = a->n_items > x->n_items ? a->n_items : x->n_items;
    }
    if (!x->n_items) return fail(j->arg[0], 0, "it has no recommendations; --items says of how many items");
    for (int i = 0; i < all; i++)
        if (!auction_close(&x->run[i / x->runs][i % x->runs], (int64_t)x->n_items)) return false;
    if (!j->o.deciles || x->n_items == x->market.n_deciles) return true;
    return fail(j->o.deciles, 0, "%zu items, but the lists are of %zu; --items says of how many", x->market.n_deciles,
                x->n_items);
}

static bool auctions_run(job *j, auctions *x) {
    market *m = &x->market;
    m->judge.high = m->other_judge.high = 1;
    m->filter.low = -INFINITY;
    m->filter.high = INFINITY;
    if (!output_open(&j->out, j->o.output) || !verdicts_read(j, j->arg[1], &m->judge) ||
        (j->o.other_judge && !verdicts_read(j, j->o.other_judge, &m->other_judge)) ||
        (j->o.filter && !verdicts_read(j, j->o.filter, &m->filter))) return false;
    if (!market_log(j, m) || !market_deciles(j, m) || !auctions_read(j, x) || !market_embed(j, m)) return false;
    auctions_figures(x);
    return auctions_fill(x) && auctions_print(j, x) && output_commit(&j->out);
}

static int auctions_check(const job *j, auctions *x) {
    if (j->o.filter && !isfinite(j->o.threshold)) return usage("eval auction: --filter needs --threshold");
    if (j->o.against && j->o.other_judge) return usage("eval auction: --against and --other-judge are two comparisons");
    if (j->o.dim && !j->o.model) return usage("eval auction: --dim is of the model of --model");
    x->systems = j->o.against || j->o.other_judge ? 2 : 1;
    return runs_of(j, "eval auction", j->arg[0], x->names, &x->runs);
}

static int run_eval_auction(job *j) {
    auctions *x = (auctions *)job_alloc(j, 1, sizeof *x);
    int status;
    if (!x) return BAD_DATA;
    status = auctions_check(j, x);
    if (!status && !auctions_run(j, x)) status = BAD_DATA;
    if (!status && j->out.path) say("%s: figures of %zu items", j->out.path, x->n_items);
    auctions_free(x);
    return status;
}
