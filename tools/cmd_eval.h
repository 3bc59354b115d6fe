// cmd_eval.h - the commands that say how good scores and lists are: eval pairs, eval auction.
// Part of kpd.c, below cmd_text.h, by whose batches it embeds.

// >>eval  How good scores, and lists of recommendations, are. --------------------------------------------------------

static bool parse_real(const reader *r, int32_t i, const char *what, kpd_text t, float low, float high, float *out) {
    char digits[64], *end = digits;
    if (t.size && t.size < sizeof digits) {
        memcpy(digits, t.data, t.size);
        digits[t.size] = 0;
        *out = strtof(digits, &end);
    }
    if (end != digits && end == digits + t.size && digits[0] > ' ' && isfinite(*out) && *out >= low && *out <= high)
        return true;
    if (t.size > 40) t.size = 40;
    if (isfinite(low))
        return fail(r->name, r->line[i], "the %s '%.*s', expected a number from %g to %g", what, (int)t.size, t.data,
                    (double)low, (double)high);
    return fail(r->name, r->line[i], "the %s '%.*s', expected a number", what, (int)t.size, t.data);
}

static void print_figure(FILE *f, const char *name, double v) {
    if (isnan(v)) fprintf(f, "%s\t-\n", name);
    else fprintf(f, "%s\t%.6f\n", name, v);
}

typedef struct pairs {
    float *score, *label, *assistant;   // [n]; assistant only when `columns` says so
    uint8_t *yes;
    size_t n, capacity[4];
    int columns;                        // of the file, as its first row has them; 0 = no row yet
    batch a, b;                         // of a model: items or pairs; keyphrases
} pairs;

static void pairs_free(pairs *p) {
    free(p->score);
    free(p->label);
    free(p->assistant);
    free(p->yes);
    memset(p, 0, sizeof *p);
}

static bool pairs_reserve(pairs *p, size_t n) {
    return grow((void **)&p->score, &p->capacity[0], n, sizeof *p->score) &&
           grow((void **)&p->label, &p->capacity[1], n, sizeof *p->label) &&
           grow((void **)&p->assistant, &p->capacity[2], n, sizeof *p->assistant) &&
           grow((void **)&p->yes, &p->capacity[3], n, sizeof *p->yes);
}

// score, or for a model keyphrase, title and category; then label, then perhaps the assistant's score.
static bool pairs_line(const job *j, pairs *p, int32_t i) {
    const reader *r = &j->text;
    kpd_row row;
    kpd_text column[5];
    size_t at = p->n + (size_t)i;
    int label = j->o.model ? 3 : 1, n = split_columns(r, i, column, 5);
    if (!p->columns && (n == label + 1 || n == label + 2)) p->columns = n;
    if (!p->columns)
        return fail(r->name, r->line[i], "%d column(s), expected %s TAB label, or these TAB the assistant's score", n,
                    j->o.model ? "keyphrase TAB title TAB category" : "score");
    if (n != p->columns) return fail(r->name, r->line[i], "%d column(s), but the first row has %d", n, p->columns);
    if (!j->o.model && !parse_real(r, i, "score", column[0], -INFINITY, INFINITY, &p->score[at])) return false;
    if (!parse_real(r, i, "label", column[label], 0, 1, &p->label[at])) return false;
    if (n > label + 1 && !parse_real(r, i, "assistant's score", column[label + 1], -INFINITY, INFINITY, &p->assistant[at]))
        return false;
    p->yes[at] = p->label[at] >= 0.5f;
    if (!j->o.model) return true;
    row.keyphrase = column[0]; row.title = column[1]; row.category = column[2];
    kpd_model_input(j->assistant ? j->assistant : j->student, KPD_ITEM, &row, &p->a.in[i]);
    if (!j->assistant) kpd_model_input(j->student, KPD_KEYPHRASE, &row, &p->b.in[i]);
    return true;
}

// A student's score is the cosine, an assistant's its probability.
static bool pairs_score(job *j, pairs *p) {
    size_t n = (size_t)j->text.n;
    int32_t dim = p->a.cols;
    kpd_error e;
    kpd_status s = j->assistant ? kpd_score(j->session, j->assistant, p->a.in, n, p->a.out, &e)
                                : kpd_embed(j->session, j->student, KPD_ITEM, p->a.in, n, dim, p->a.out, &e);
    if (!s && !j->assistant) s = kpd_embed(j->session, j->student, KPD_KEYPHRASE, p->b.in, n, dim, p->b.out, &e);
    if (s) return fail_text(j, &e);
    if (!check_finite(j, p->a.out, dim) || (!j->assistant && !check_finite(j, p->b.out, dim))) return false;
    for (size_t i = 0; i < n; i++) {
        const float *v = p->a.out + i * (size_t)dim;
        p->score[p->n + i] = j->assistant ? kpd_sigmoid(*v) : kpd_cosine(v, p->b.out + i * (size_t)dim, dim);
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

static bool pairs_read(job *j, const char *path, pairs *p) {
    const char *wanted = j->o.model ? "keyphrase title? category? label score?" : "score label assistant?";
    bool ok;
    if (j->o.model && (!batch_create(j, j->o.dim, &p->a) || !batch_create(j, j->o.dim, &p->b))) return false;
    ok = open_columns(j, path, wanted) && join_items(j) && each_chunk(j, "pairs", pairs_chunk, p);
    if (ok && !p->n) ok = fail(j->text.name, 0, "it has no rows");
    reader_close(&j->text);
    return ok;
}

// The model of --model; --dim becomes the columns of its vectors or logits.
static bool pairs_model(job *j) {
    int32_t dim;
    if (!open_scorer(j, j->o.model)) return false;
    dim = kpd_model_dim(j->student ? j->student : j->assistant);
    if (j->assistant && j->o.dim) return fail(j->o.model, 0, "--dim is of a bi-encoder, and this is a cross-encoder");
    if (j->o.dim > dim) return fail(j->o.model, 0, "--dim %d, but it has %d columns", (int)j->o.dim, (int)dim);
    if (!j->o.dim) j->o.dim = dim;
    return open_session(j, 0, 0);
}

// The threshold of the best F1 on --dev, or the one given; NULL = that of the best F1 on the pairs themselves.
static bool pairs_threshold(job *j, const float **threshold, float *t) {
    kpdt_classification c;
    kpd_error e;
    pairs dev = {0};
    bool ok;
    *t = j->o.threshold;
    *threshold = isfinite(*t) ? t : NULL;
    if (!j->o.dev) return true;
    ok = pairs_read(j, j->o.dev, &dev);
    if (ok && kpdt_classify(dev.score, dev.yes, dev.n, NULL, NULL, &c, &e)) ok = fail_with(j->o.dev, &e);
    if (ok) *t = c.threshold;
    *threshold = t;
    pairs_free(&dev);
    return ok;
}

static bool pairs_print(const job *j, const pairs *p, const float *threshold) {
    kpdt_classification c;
    kpd_error e;
    double rho[2] = {0, 0};
    size_t yes = 0;
    FILE *f = j->out.file;
    bool assistant = p->columns == (j->o.model ? 5 : 3);
    if (kpdt_classify(p->score, p->yes, p->n, threshold, NULL, &c, &e) ||
        kpdt_spearman(p->score, p->label, p->n, NULL, &rho[0], &e) ||
        (assistant && kpdt_spearman(p->score, p->assistant, p->n, NULL, &rho[1], &e))) return fail(NULL, 0, "%s", e.message);
    for (size_t i = 0; i < p->n; i++) yes += p->yes[i];
    fprintf(f, "pairs\t%zu\n", p->n);
    print_figure(f, "yes", (double)yes / (double)p->n);
    print_figure(f, "threshold", (double)c.threshold);
    print_figure(f, "f1", c.f1);
    print_figure(f, "precision", c.precision);
    print_figure(f, "recall", c.recall);
    print_figure(f, "accuracy", c.accuracy);
    print_figure(f, "mcc", c.mcc);
    print_figure(f, "ap", c.average_precision);
    print_figure(f, "auc", c.auc);
    print_figure(f, "ece", c.ece);
    print_figure(f, "pearson", kpdt_pearson(p->score, p->label, p->n));
    print_figure(f, "spearman", rho[0]);
    if (!assistant) return true;
    print_figure(f, "pearson_assistant", kpdt_pearson(p->score, p->assistant, p->n));
    print_figure(f, "spearman_assistant", rho[1]);
    return true;
}

static int run_eval_pairs(job *j) {
    pairs p = {0};
    const float *threshold;
    float t;
    bool ok;
    if (j->o.dev && isfinite(j->o.threshold)) return usage("eval pairs: --dev chooses the threshold and --threshold gives it");
    if (j->o.dim && !j->o.model) return usage("eval pairs: --dim is of the model of --model");
    if (j->o.join && !j->o.model) return usage("eval pairs: --join gives what the model of --model reads");
    if ((j->o.model && !pairs_model(j)) || !output_open(&j->out, j->o.output)) return BAD_DATA;
    ok = pairs_threshold(j, &threshold, &t) && pairs_read(j, j->arg[0], &p) && pairs_print(j, &p, threshold) &&
         output_commit(&j->out);
    if (ok && j->out.path) say("%s: figures of %zu pairs", j->out.path, p.n);
    pairs_free(&p);
    return ok ? DONE : BAD_DATA;
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
    const auction *a, *b;               // either may be NULL
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

// Of a, less that of b.
static double median_statistic(void *user, const size_t *run, size_t runs, const size_t *item, size_t n) {
    const medians *m = (const medians *)user;
    (void)run;
    (void)runs;
    return (m->a ? drawn_median(m, m->a->row, item, n) : 0) - (m->b ? drawn_median(m, m->b->row, item, n) : 0);
}

static size_t most_survivors(const auction *a) {
    size_t most = 0;
    for (size_t i = 0; a && i < a->n_items; i++)
        if ((size_t)a->row[i].survivors > most) most = (size_t)a->row[i].survivors;
    return most;
}

// Of a, of b, and of their difference: the same draws each time.
static bool median_print(job *j, const auction *a, const auction *b) {
    size_t n = a->n_items, most_a = most_survivors(a), most_b = most_survivors(b), most = most_a > most_b ? most_a : most_b;
    int32_t *count = (int32_t *)job_alloc(j, most + 1, sizeof *count);
    kpdt_interval out[3];
    kpd_error e;
    if (!count) return false;
    for (int which = 0; which < (b ? 3 : 1); which++) {
        medians m = {which == 1 ? b : a, which == 2 ? b : NULL, count, most};
        kpdt_bootstrap_desc d = {0};
        d.statistic = median_statistic; d.statistic_user = &m; d.n = n; d.resamples = (int32_t)resamples_of(n); d.seed = 1;
        if (kpdt_bootstrap(&d, &out[which], &e)) return fail(NULL, 0, "kp: %s", e.message);
    }
    print_intervals(j->out.file, "kp", out, b != NULL);
    return true;
}

static void print_count(FILE *f, const char *name, int64_t a, int64_t b, bool two) {
    fprintf(f, "%s\t%lld\t-\t-", name, (long long)a);
    if (two) fprintf(f, "\t%lld\t-\t-\t%lld\t-\t-\t-", (long long)b, (long long)(a - b));
    fputc('\n', f);
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
