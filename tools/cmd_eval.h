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

static void print_count(FILE *f, const char *name, int64_t a, int64_t b, bool two) {
    fprintf(f, "%s\t%lld\t-\t-", name, (long long)a);
    if (two) fprintf(f, "\t%lld\t-\t-\t%lld\t-\t-\t-", (long long)b, (long long)(a - b));
    fputc('\n', f);
}

enum { MAX_RUNS = 32 };

// What one run of a system, of one training seed, says of the pairs.
typedef struct pairs {
    float *score, *label, *assistant;   // [n]; assistant only where `has_assistant`
    uint64_t *query;                    // hashes; only where `has_query`
    uint8_t *yes;
    size_t n, capacity[5];
    int columns;                        // of the file, as its first row has them; 0 = no row yet
    bool has_assistant, has_query;
    kpd_input *in[2]; float *out[2]; int32_t dim;       // of a model: items or pairs; keyphrases
    float threshold;                    // NaN = that of the best F1
    kpdt_sample *sample, *by_assistant;
    float *auc;                         // [2, queries], see kpdt_auc_by_query
} pairs;

static void pairs_close_inputs(pairs *p) {
    for (int i = 0; i < 2; i++) {
        free(p->in[i]);
        free(p->out[i]);
        p->in[i] = NULL;
        p->out[i] = NULL;
    }
}

static void pairs_free(pairs *p) {
    kpdt_sample_destroy(p->sample);
    kpdt_sample_destroy(p->by_assistant);
    pairs_close_inputs(p);
    free(p->score);
    free(p->label);
    free(p->assistant);
    free(p->query);
    free(p->yes);
    free(p->auc);
    memset(p, 0, sizeof *p);
}

static bool pairs_reserve(pairs *p, size_t n) {
    return grow((void **)&p->score, &p->capacity[0], n, sizeof *p->score) &&
           grow((void **)&p->label, &p->capacity[1], n, sizeof *p->label) &&
           grow((void **)&p->assistant, &p->capacity[2], n, sizeof *p->assistant) &&
           grow((void **)&p->yes, &p->capacity[3], n, sizeof *p->yes) &&
           grow((void **)&p->query, &p->capacity[4], n, sizeof *p->query);
}

static bool pairs_open_inputs(pairs *p, int32_t dim) {
    p->dim = dim;
    for (int i = 0; i < 2; i++) {
        p->in[i] = (kpd_input *)calloc(CHUNK_LINES, sizeof *p->in[i]);
        p->out[i] = (float *)calloc((size_t)CHUNK_LINES * (size_t)dim, sizeof *p->out[i]);
        if (!p->in[i] || !p->out[i]) return fail(NULL, 0, "out of memory");
    }
    return true;
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
static bool pairs_line(const job *j, pairs *p, int32_t i) {
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
    kpd_model_input(j->assistant ? j->assistant : j->student, KPD_ITEM, &row, &p->in[0][i]);
    if (!j->assistant) kpd_model_input(j->student, KPD_KEYPHRASE, &row, &p->in[1][i]);
    return true;
}

// A student's score is the cosine, an assistant's its probability.
static bool pairs_score(job *j, pairs *p) {
    size_t n = (size_t)j->text.n;
    int32_t dim = p->dim;
    kpd_error e;
    kpd_status s = j->assistant ? kpd_score(j->session, j->assistant, p->in[0], n, p->out[0], &e)
                                : kpd_embed(j->session, j->student, KPD_ITEM, p->in[0], n, dim, p->out[0], &e);
    if (!s && !j->assistant) s = kpd_embed(j->session, j->student, KPD_KEYPHRASE, p->in[1], n, dim, p->out[1], &e);
    if (s) return fail_text(j, &e);
    if (!check_finite(j, p->out[0], dim) || (!j->assistant && !check_finite(j, p->out[1], dim))) return false;
    for (size_t i = 0; i < n; i++) {
        const float *v = p->out[0] + i * (size_t)dim;
        p->score[p->n + i] = j->assistant ? kpd_sigmoid(*v) : kpd_cosine(v, p->out[1] + i * (size_t)dim, dim);
    }
    return true;
}

static bool pairs_chunk(job *j, void *state) {
    pairs *p = (pairs *)state;
    if (!pairs_reserve(p, p->n + (size_t)j->text.n)) return false;
    for (int32_t i = 0; i < j->text.n; i++)
        if (!pairs_line(j, p, i)) return false;
    if (j->o.model && !pairs_score(j, p)) return false;
    p->n += (size_t)j->text.n;
    return true;
}

// dim: of the model's vectors, or 1 of logits.
static bool pairs_read(job *j, const char *path, int32_t dim, pairs *p) {
    const char *wanted = j->o.model ? "keyphrase title? category? label score?" : "score label assistant? query?";
    bool ok;
    if (j->o.model && !pairs_open_inputs(p, dim)) return false;
    ok = open_columns(j, path, wanted) && join_items(j) && each_chunk(j, "pairs", pairs_chunk, p);
    if (ok && !p->n) ok = fail(j->text.name, 0, "it has no rows");
    reader_close(&j->text);
    pairs_close_inputs(p);
    return ok;
}

static void pairs_close_model(job *j) {
    kpd_session_destroy(j->session);
    kpd_model_destroy(j->student);
    kpd_model_destroy(j->assistant);
    j->session = NULL;
    j->student = j->assistant = NULL;
}

// dim becomes the columns of its vectors or logits.
static bool pairs_open_model(job *j, const char *path, int32_t *dim) {
    if (!open_scorer(j, path)) return false;
    *dim = kpd_model_dim(j->student ? j->student : j->assistant);
    if (j->assistant && j->o.dim) return fail(path, 0, "--dim is of a bi-encoder, and this is a cross-encoder");
    if (j->o.dim > *dim) return fail(path, 0, "--dim %d, but it has %d columns", (int)j->o.dim, (int)*dim);
    if (j->o.dim) *dim = j->o.dim;
    return open_session(j, 0, 0);
}

// The threshold of the best F1 on other pairs.
static bool pairs_threshold(job *j, const char *path, int32_t dim, float *t) {
    kpdt_classification c;
    kpd_error e;
    pairs dev = {0};
    bool ok = pairs_read(j, path, dim, &dev);
    if (ok && kpdt_classify(dev.score, dev.yes, dev.n, NULL, NULL, &c, &e)) ok = fail_with(path, &e);
    if (ok) *t = c.threshold;
    pairs_free(&dev);
    return ok;
}

// A file of scores, or a model and the pairs to score.
static bool pairs_run(job *j, const char *name, const char *dev, pairs *p) {
    int32_t dim = 1;
    bool ok = !j->o.model || pairs_open_model(j, name, &dim);
    p->threshold = isfinite(j->o.threshold) ? j->o.threshold : NAN;
    ok = ok && (!dev || pairs_threshold(j, dev, dim, &p->threshold)) && pairs_read(j, j->o.model ? j->arg[0] : name, dim, p);
    pairs_close_model(j);
    return ok;
}

enum {
    PAIRS_THRESHOLD, PAIRS_F1, PAIRS_PRECISION, PAIRS_RECALL, PAIRS_ACCURACY, PAIRS_MCC, PAIRS_AP, PAIRS_AUC, PAIRS_IN_QUERY,
    PAIRS_ECE, PAIRS_PEARSON, PAIRS_SPEARMAN, PAIRS_PEARSON_ASSISTANT, PAIRS_SPEARMAN_ASSISTANT, PAIRS_FIGURES
};
static const char *const PAIRS_FIGURE[PAIRS_FIGURES] = {
    "threshold", "f1", "precision", "recall", "accuracy", "mcc", "ap", "auc", "auc_in_query", "ece", "pearson", "spearman",
    "pearson_assistant", "spearman_assistant"};

// One or two systems, of each as many runs; all saw the same pairs. Queries are numbered, and what is drawn are queries where
// they are known: pairs of one are no independent draws.
typedef struct comparison {
    char *names; const char *file[3 * 2 * MAX_RUNS]; int n_files;   // of runs, of the second system's; of dev
    pairs run[2][MAX_RUNS]; int runs, systems;
    pair_map queries;
    uint32_t *query; size_t n_queries;  // of each pair
    size_t *first, *member;             // of a query: member[first[q]] up to first[q + 1]
    uint32_t *count;                    // of each pair, in the draw in hand
} comparison;

static void comparison_free(comparison *c) {
    for (int s = 0; s < 2; s++)
        for (int r = 0; r < MAX_RUNS; r++) pairs_free(&c->run[s][r]);
    free(c->names);
    free(c->queries.at);
    free(c->query);
    free(c->first);
    free(c->member);
    free(c->count);
}

// A name, or several with commas between them; a file whose name has commas is one.
static bool comparison_names(comparison *c, const char *list, int most, int *n) {
    char *copy = (char *)malloc(strlen(list) + 1), *next = copy;
    bool one = file_exists(list);
    *n = 0;
    if (!copy) return fail(NULL, 0, "out of memory");
    strcpy(copy, list);
    while (next) {
        char *comma = one ? NULL : strchr(next, ',');
        if (comma) *comma = 0;
        if (*n == most || !*next) return free(copy), fail(list, 0, "expected 1 to %d names with commas between them", most);
        c->file[c->n_files + (*n)++] = next;
        note_input(next, NULL);
        next = comma ? comma + 1 : NULL;
    }
    c->n_files += *n;
    return true;
}

static void run_figures(const comparison *c, const pairs *p, const size_t *item, size_t n, double *v) {
    kpdt_sample_figures f;
    double sum = 0, by = 0;
    kpdt_sample_measure(p->sample, c->count, isnan(p->threshold) ? NULL : &p->threshold, &f);
    for (size_t i = 0; i < n && p->auc; i++) {
        sum += (double)p->auc[item[i]];
        by += (double)p->auc[c->n_queries + item[i]];
    }
    v[PAIRS_THRESHOLD] = (double)f.yes.threshold;
    v[PAIRS_F1] = f.yes.f1; v[PAIRS_PRECISION] = f.yes.precision; v[PAIRS_RECALL] = f.yes.recall;
    v[PAIRS_ACCURACY] = f.yes.accuracy; v[PAIRS_MCC] = f.yes.mcc;
    v[PAIRS_AP] = f.yes.average_precision; v[PAIRS_AUC] = f.yes.auc; v[PAIRS_ECE] = f.yes.ece;
    v[PAIRS_IN_QUERY] = by > 0 ? sum / by : (double)NAN;
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
            run_figures(c, &c->run[s][run[r]], item, n, v);
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

static bool comparison_sample(const comparison *c, pairs *p) {
    kpd_error e;
    double auc;
    if (kpdt_sample_create(p->score, p->label, p->n, NULL, &p->sample, &e)) return fail(NULL, 0, "%s", e.message);
    if (p->has_assistant && kpdt_sample_create(p->score, p->assistant, p->n, NULL, &p->by_assistant, &e))
        return fail(NULL, 0, "%s", e.message);
    if (!p->has_query) return true;
    p->auc = (float *)calloc(2 * c->n_queries, sizeof *p->auc);
    if (!p->auc) return fail(NULL, 0, "out of memory: %zu queries", c->n_queries);
    return !kpdt_auc_by_query(p->score, p->yes, c->query, p->n, c->n_queries, NULL, p->auc, &auc, &e) ||
           fail(NULL, 0, "%s", e.message);
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

// file: the runs, those of the second system, then dev: a file of scores for each run, or one that all models read.
static bool comparison_read(job *j, comparison *c) {
    int all = c->runs * c->systems, n_dev = c->n_files - all;
    for (int i = 0; i < all; i++) {
        const char *dev = !n_dev ? NULL : c->file[all + (n_dev > 1 ? i : 0)];
        pairs *p = &c->run[i / c->runs][i % c->runs];
        if (!pairs_run(j, c->file[i], dev, p)) return false;
        if (i && !comparison_same(&c->run[0][0], c->file[0], p, c->file[i])) return false;
    }
    if (!comparison_group(c)) return false;
    for (int i = 0; i < all; i++)
        if (!comparison_sample(c, &c->run[i / c->runs][i % c->runs])) return false;
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
        kpdt_interval of[3];
        for (int s = 0; s < 3; s++) of[s] = out[(two ? s * PAIRS_FIGURES : 0) + i];
        if (i != PAIRS_IN_QUERY || p->has_query) print_intervals(f, PAIRS_FIGURE[i], of, two);
    }
    return true;
}

static int comparison_check(const job *j, comparison *c) {
    int second = 0, dev = 0;
    const char *first = j->o.model ? j->o.model : j->arg[0] ? j->arg[0] : "-";
    if (!comparison_names(c, first, MAX_RUNS, &c->runs)) return BAD_USAGE;
    c->systems = j->o.against ? 2 : 1;
    if (j->o.against && !comparison_names(c, j->o.against, MAX_RUNS, &second)) return BAD_USAGE;
    if (second && second != c->runs) return usage("eval pairs: %d runs, but %d of --against", c->runs, second);
    if (j->o.dev && !comparison_names(c, j->o.dev, 2 * MAX_RUNS, &dev)) return BAD_USAGE;
    if (dev && dev != (j->o.model ? 1 : c->runs * c->systems))
        return usage("eval pairs: %d file(s) of --dev, expected %s", dev, j->o.model ? "one" : "one for each file of scores");
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

typedef struct auction {                // one system's lists
    const verdicts *judge, *filter;     // filter NULL = the relevance column, or nothing
    kpdt_auction_row *row; size_t n_items, row_capacity;
    bool *survives; float *judged; size_t n, capacity[2];      // the list in hand, of item n_items
    int64_t recommended, unfiltered;    // the latter: those that the filter does not know
} auction;

// The list in hand becomes a row; those items between it and `next` have none.
static bool auction_close(auction *a, int64_t next) {
    size_t n = (size_t)next;
    if (n <= a->n_items) return true;
    if (!grow((void **)&a->row, &a->row_capacity, n, sizeof *a->row)) return false;
    memset(a->row + a->n_items, 0, (n - a->n_items) * sizeof *a->row);
    kpdt_auction_item(a->survives, a->judged, a->n, &a->row[a->n_items]);
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

static bool auction_line(const job *j, auction *a, int32_t i) {
    const reader *r = &j->text;
    kpd_text column[5];
    int64_t item, rank;
    if (split_columns(r, i, column, 5) != 5)
        return fail(r->name, r->line[i], "expected item TAB rank TAB keyphrase TAB similarity TAB relevance");
    if (!parse_item(r, i, column[0], &item) || !parse_id(r, i, column[1], &rank)) return false;
    if (j->o.items && item >= j->o.items)
        return fail(r->name, r->line[i], "item %lld, but --items says %d", (long long)item, (int)j->o.items);
    if (item < (int64_t)a->n_items) return fail(r->name, r->line[i], "item %lld is behind a later one", (long long)item);
    if (!auction_close(a, item)) return false;
    if (rank != (int64_t)a->n + 1)
        return fail(r->name, r->line[i], "rank %lld, expected %lld of item %lld", (long long)rank, (long long)a->n + 1,
                    (long long)item);
    if (!grow((void **)&a->survives, &a->capacity[0], a->n + 1, sizeof *a->survives) ||
        !grow((void **)&a->judged, &a->capacity[1], a->n + 1, sizeof *a->judged)) return false;
    if (!auction_survives(j, a, i, item, column, &a->survives[a->n])) return false;
    a->judged[a->n++] = verdicts_find(a->judge, item, column[2]);
    a->recommended++;
    return true;
}

static bool auction_chunk(job *j, void *state) {
    for (int32_t i = 0; i < j->text.n; i++)
        if (!auction_line(j, (auction *)state, i)) return false;
    return true;
}

static bool auction_read(job *j, const char *path, auction *a) {
    bool ok = reader_open(&j->text, path) && each_chunk(j, "recommendations", auction_chunk, a);
    if (ok && a->n) ok = auction_close(a, (int64_t)a->n_items + 1);
    if (ok && j->o.items) ok = auction_close(a, j->o.items);
    if (ok && a->unfiltered)
        note(path, "%lld of %lld recommendations are not in %s and do not survive", (long long)a->unfiltered,
             (long long)a->recommended, j->o.filter);
    reader_close(&j->text);
    return ok;
}

static void auction_free(auction *a) {
    free(a->row);
    free(a->survives);
    free(a->judged);
}

// Each figure is a sum over items divided by another: value and weight of an item.
typedef struct figure { const char *name; int kind; } figure;
enum { KP_MEAN, PASS_RATE, PASS_RATE_BY_ITEM, PASS_AT };
static const figure FIGURES[] = {
    {"kp_mean", KP_MEAN}, {"pr", PASS_RATE}, {"pr_by_item", PASS_RATE_BY_ITEM},
    {"pass@5", PASS_AT}, {"pass@10", PASS_AT + 1}, {"pass@15", PASS_AT + 2}, {"pass@20", PASS_AT + 3},
};

static void figure_of(int kind, const kpdt_auction_row *r, float *value, float *weight) {
    *value = (float)r->survivors;
    *weight = 1;
    if (kind >= PASS_AT) *value = (float)r->passed_at[kind - PASS_AT] / (float)(5 * (kind - PASS_AT + 1));
    if (kind == PASS_RATE) {
        *value = (float)r->passed;
        *weight = (float)r->survivors;
    }
    if (kind == PASS_RATE_BY_ITEM) {
        *weight = r->survivors ? 1 : 0;
        *value = r->survivors ? (float)r->passed / (float)r->survivors : 0;
    }
}

// work has room for four arrays of n.
static bool figure_print(const job *j, const figure *f, const auction *a, const auction *b, float *work) {
    size_t n = a->n_items;
    kpdt_interval out[3];
    kpd_error e;
    for (size_t i = 0; i < n; i++) {
        figure_of(f->kind, &a->row[i], &work[i], &work[n + i]);
        if (b) figure_of(f->kind, &b->row[i], &work[2 * n + i], &work[3 * n + i]);
    }
    for (int which = 0; which < (b ? 3 : 1); which++) {
        const float *at = work + (which == 1 ? 2 * n : 0);
        kpdt_bootstrap_desc d = {0};
        d.a = at; d.a_weight = at + n; d.n = n; d.resamples = (int32_t)resamples_of(n); d.seed = 1;
        if (which == 2) { d.b = work + 2 * n; d.b_weight = work + 3 * n; }
        if (kpdt_bootstrap(&d, &out[which], &e)) return fail(NULL, 0, "%s: %s", f->name, e.message);
    }
    print_intervals(j->out.file, f->name, out, b != NULL);
    return true;
}

// What the median's bootstrap draws from. Survivors are small numbers: count [most + 1] has how many items have each.
typedef struct medians {
    const auction *a, *b;               // b NULL = a alone
    int32_t *count;
    size_t most;
} medians;

static double drawn_median(const medians *m, const kpdt_auction_row *row, const size_t *item, size_t n) {
    size_t seen = 0, low = m->most + 1, high = 0;
    memset(m->count, 0, (m->most + 1) * sizeof *m->count);
    for (size_t i = 0; i < n; i++) m->count[row[item[i]].survivors]++;
    for (; seen <= n / 2; high++) {
        seen += (size_t)m->count[high];
        if (low > m->most && seen > (n - 1) / 2) low = high;
    }
    return ((double)low + (double)(high - 1)) / 2;
}

// Of a, of b, and their difference.
static void median_statistic(void *user, const size_t *run, size_t runs, const size_t *item, size_t n, double *out) {
    const medians *m = (const medians *)user;
    (void)run;
    (void)runs;
    out[0] = drawn_median(m, m->a->row, item, n);
    if (!m->b) return;
    out[1] = drawn_median(m, m->b->row, item, n);
    out[2] = out[0] - out[1];
}

static size_t most_survivors(const auction *a) {
    size_t most = 0;
    for (size_t i = 0; a && i < a->n_items; i++)
        if ((size_t)a->row[i].survivors > most) most = (size_t)a->row[i].survivors;
    return most;
}

static bool median_print(job *j, const auction *a, const auction *b) {
    size_t n = a->n_items, most_a = most_survivors(a), most_b = most_survivors(b), most = most_a > most_b ? most_a : most_b;
    int32_t *count = (int32_t *)job_alloc(j, most + 1, sizeof *count);
    kpdt_bootstrap_desc d = {0};
    kpdt_interval out[3];
    medians m;
    kpd_error e;
    if (!count) return false;
    m.a = a; m.b = b; m.count = count; m.most = most;
    d.statistic = median_statistic; d.statistic_user = &m; d.n_statistics = b ? 3 : 1;
    d.n = n; d.resamples = (int32_t)resamples_of(n); d.seed = 1;
    if (kpdt_bootstrap(&d, out, &e)) return fail(NULL, 0, "kp: %s", e.message);
    print_intervals(j->out.file, "kp", out, b != NULL);
    return true;
}

static bool auction_print(job *j, const auction *a, const auction *b) {
    kpdt_auction_result x, y = {0};
    kpd_error e;
    FILE *f = j->out.file;
    float *work = (float *)job_alloc(j, 4 * a->n_items, sizeof *work);
    if (!work) return false;
    if (kpdt_auction_total(a->row, a->n_items, &x, &e) || (b && kpdt_auction_total(b->row, b->n_items, &y, &e)))
        return fail(NULL, 0, "%s", e.message);
    fprintf(f, "figure\tvalue\tlow\thigh%s\n", b ? "\tagainst\tlow\thigh\tdifference\tlow\thigh\tp" : "");
    print_count(f, "items", (int64_t)a->n_items, b ? (int64_t)b->n_items : 0, b != NULL);
    print_count(f, "recommended", a->recommended, b ? b->recommended : 0, b != NULL);
    print_count(f, "survivors", x.survivors, y.survivors, b != NULL);
    print_count(f, "passed", x.passed, y.passed, b != NULL);
    print_count(f, "unjudged", x.unjudged, y.unjudged, b != NULL);
    if (!median_print(j, a, b)) return false;
    for (size_t i = 0; i < sizeof FIGURES / sizeof *FIGURES; i++)
        if (!figure_print(j, &FIGURES[i], a, b, work)) return false;
    return true;
}

// Both systems are asked about the same items.
static bool auction_pair(job *j, auction *a, auction *b) {
    if (!auction_read(j, j->arg[0], a) || (b && !auction_read(j, j->o.against, b))) return false;
    if (b && (!auction_close(a, (int64_t)b->n_items) || !auction_close(b, (int64_t)a->n_items))) return false;
    if (!a->n_items) return fail(j->arg[0], 0, "it has no recommendations; --items says of how many items");
    return auction_print(j, a, b);
}

static int run_eval_auction(job *j) {
    verdicts judge = {0}, filter = {0};
    auction a = {0}, b = {0};
    bool ok;
    if (j->o.filter && !isfinite(j->o.threshold)) return usage("eval auction: --filter needs --threshold");
    judge.high = 1;
    filter.low = -INFINITY;
    filter.high = INFINITY;
    a.judge = b.judge = &judge;
    a.filter = b.filter = j->o.filter ? &filter : NULL;
    ok = output_open(&j->out, j->o.output) && verdicts_read(j, j->arg[1], &judge) &&
         (!j->o.filter || verdicts_read(j, j->o.filter, &filter)) && auction_pair(j, &a, j->o.against ? &b : NULL) &&
         output_commit(&j->out);
    if (ok && j->out.path) say("%s: figures of %zu items", j->out.path, a.n_items);
    auction_free(&a);
    auction_free(&b);
    free(judge.list);
    free(judge.text);
    free(filter.list);
    free(filter.text);
    return ok ? DONE : BAD_DATA;
}
