// cmd_label.h - the commands that make labels out of what a shop logs, group and compare them: label ctr, sr,
// group, agreement.
// Part of kpd.c, below job.h.
// Contents: >>pair_map >>bad_rows >>log_row >>label_ctr >>label_sr >>label_group >>label_agreement

// >>pair_map  What is known of a pair, by a hash of 64 bits: of a million pairs two share one with a chance of 3e-8.

typedef struct pair_entry { uint64_t hash; int64_t line; float value, count; } pair_entry;      // hash 0 = no entry
typedef struct pair_map { pair_entry *at; size_t n, room; } pair_map;   // room: a power of two, or 0

// Of texts one after the other, where each ends counting too. Begin with 0; FNV-1a, then mixed.
static uint64_t text_hash(uint64_t h, kpd_text t) {
    h ^= 0xcbf29ce484222325u;
    for (size_t i = 0; i < t.size; i++) h = (h ^ (unsigned char)t.data[i]) * 0x100000001b3u;
    h = (h ^ t.size) * 0x9e3779b97f4a7c15u;
    h ^= h >> 32;
    return h ? h : 1;
}

// keyphrase, title, category
static uint64_t pair_hash(const kpd_text *column) {
    return text_hash(text_hash(text_hash(0, column[0]), column[1]), column[2]);
}

// Bytes of keyphrase TAB title TAB category, as they stand in the row.
static size_t pair_size(const kpd_text *column) { return (size_t)(column[2].data + column[2].size - column[0].data); }

static pair_entry *pair_slot(const pair_map *m, uint64_t hash) {
    size_t i = (size_t)hash & (m->room - 1);
    while (m->at[i].hash && m->at[i].hash != hash) i = (i + 1) & (m->room - 1);
    return &m->at[i];
}

static bool pair_grow(pair_map *m) {
    pair_map larger = {NULL, m->n, m->room ? m->room * 2 : 1024};
    larger.at = (pair_entry *)calloc(larger.room, sizeof *larger.at);
    if (!larger.at) return fail(NULL, 0, "out of memory: %zu pairs", m->n);
    for (size_t i = 0; i < m->room; i++)
        if (m->at[i].hash) *pair_slot(&larger, m->at[i].hash) = m->at[i];
    free(m->at);
    *m = larger;
    return true;
}

// The entry of a hash, made with line 0 if it is not there; NULL after a message.
static pair_entry *pair_add(pair_map *m, uint64_t hash) {
    pair_entry *p;
    if (2 * m->n >= m->room && !pair_grow(m)) return NULL;
    p = pair_slot(m, hash);
    if (p->hash) return p;
    m->n++;
    p->hash = hash;
    return p;
}

static const pair_entry *pair_find(const pair_map *m, uint64_t hash) {
    const pair_entry *p = m->room ? pair_slot(m, hash) : NULL;
    return p && p->hash ? p : NULL;
}

// >>bad_rows  A row that cannot be meant ends the command, or with --bad goes into a file, is counted, and left out. --------

typedef struct bad_rows { output out; int64_t n; } bad_rows;

static bool bad_open(const job *j, bad_rows *b) {
    if (!j->o.bad) return true;
    if (j->o.output && !strcmp(j->o.bad, j->o.output)) return fail(j->o.bad, 0, "is named by both -o and --bad");
    return output_open(&b->out, j->o.bad);
}

static void bad_put(bad_rows *b, int64_t line, const char *why, kpd_text row) {
    fprintf(b->out.file, "%lld\t%s\t", (long long)line, why);
    fwrite(row.data, 1, row.size, b->out.file);
    fputc('\n', b->out.file);
}

// For a row of which nothing is to be made: false = stop.
PRINTF(5, 6) static bool bad_row(const job *j, bad_rows *b, int64_t line, kpd_text row, const char *format, ...) {
    char why[400];
    va_list args;
    va_start(args, format);
    vsnprintf(why, sizeof why, format, args);
    va_end(args);
    if (!b->out.file) return fail(j->text.name, line, "%s", why);
    bad_put(b, line, why, row);
    b->n++;
    return output_ok(&b->out);
}

static bool bad_commit(bad_rows *b) { return !b->out.file || output_commit(&b->out); }

// >>log_row  A row of a log: keyphrase TAB title TAB category TAB impressions TAB clicks, and perhaps TAB position. ----------

// A count that a double holds; 12.0 is 12, as some write it.
static bool parse_count(kpd_text t, double *out) {
    *out = 0;
    while (t.size > 2 && t.data[t.size - 1] == '0' && memchr(t.data, '.', t.size - 1)) t.size--;
    if (t.size > 1 && t.data[t.size - 1] == '.') t.size--;
    for (size_t i = 0; i < t.size; i++) {
        if (t.data[i] < '0' || t.data[i] > '9') return false;
        *out = *out * 10 + (t.data[i] - '0');
    }
    return t.size && *out <= 9e15;
}

static const char LOG_COLUMNS[] = "keyphrase title category* impressions clicks position?";

typedef struct log_row {
    kpd_text column[6]; int n;
    double impressions, clicks;
} log_row;

// False: `why` says what is wrong with line i.
static bool log_parse(const reader *r, int32_t i, log_row *row, char why[160]) {
    kpd_text *column = row->column;
    row->n = split_columns(r, i, column, 6);
    if (row->n < 5 || row->n > 6) snprintf(why, 160, "%d columns, expected 5 or 6", row->n);
    else if (!column[0].size || !column[1].size) snprintf(why, 160, "an empty keyphrase or title");
    else if (!parse_count(column[3], &row->impressions) || !parse_count(column[4], &row->clicks))
        snprintf(why, 160, "impressions %.*s and clicks %.*s, expected integers from 0 to 9e15",
                 (int)(column[3].size > 20 ? 20 : column[3].size), column[3].data,
                 (int)(column[4].size > 20 ? 20 : column[4].size), column[4].data);
    else if (row->clicks > row->impressions) snprintf(why, 160, "%.0f clicks of %.0f impressions", row->clicks, row->impressions);
    else return true;
    return false;
}

// >>label_ctr ---------------------------------------------------------------------------------------------------------

enum { MAX_POSITIONS = 64 };

typedef struct ctr {
    pair_map seen;
    bad_rows bad;
    double weight[MAX_POSITIONS]; int n_weights;        // of an impression at a position, from 1; the last holds beyond
    uint64_t hash;                      // of the pair in hand, 0 = none
    char *text; size_t text_size, capacity;             // keyphrase TAB title TAB category
    double impressions, clicks, shown;  // shown: impressions times their weights
    int64_t rows, positive, negative, few;
} ctr;

static bool ctr_weights(const job *j, ctr *c) {
    const char *p = j->o.weights;
    for (char *end; p && *p; p = *end ? end + 1 : end) {
        double w = c->n_weights < MAX_POSITIONS ? strtod(p, &end) : -1;
        if (c->n_weights == MAX_POSITIONS || end == p || (*end && *end != ',') || !(w > 0 && w <= 1))
            return usage("--weights %s: expected up to %d numbers over 0, to 1, with commas", j->o.weights,
                         MAX_POSITIONS) == DONE;
        c->weight[c->n_weights++] = w;
    }
    return true;
}

// What is known of the pair in hand is all: writes it, if it is worth it.
static void ctr_end(const job *j, ctr *c) {
    float threshold = isfinite(j->o.threshold) ? j->o.threshold : 0.05f;
    bool yes = c->shown > 0 && (float)(c->clicks / c->shown) > threshold;
    if (!c->hash) return;
    c->hash = 0;
    if (c->impressions < (j->o.min_impressions ? j->o.min_impressions : 1)) { c->few++; return; }
    if (yes) c->positive++;
    else c->negative++;
    if (!yes && !j->o.all) return;
    fwrite(c->text, 1, c->text_size, j->out.file);
    fputs(!j->o.all ? "\n" : yes ? "\t1\n" : "\t0\n", j->out.file);
}

static bool ctr_begin(ctr *c, const kpd_text *column, uint64_t hash) {
    size_t n = pair_size(column);
    if (!grow((void **)&c->text, &c->capacity, n, 1)) return false;
    memcpy(c->text, column[0].data, n);
    c->text_size = n;
    c->impressions = c->clicks = c->shown = 0;
    c->hash = hash;
    return true;
}

static bool ctr_row(const job *j, ctr *c, int32_t i) {
    const reader *r = &j->text;
    log_row row;
    char why[160];
    double position = 1;
    uint64_t hash;
    pair_entry *known;
    c->rows++;
    if (!log_parse(r, i, &row, why)) return bad_row(j, &c->bad, r->line[i], r->lines[i], "%s", why);
    if (c->n_weights && (row.n < 6 || !parse_count(row.column[5], &position) || position < 1))
        return bad_row(j, &c->bad, r->line[i], r->lines[i], "no position from 1 on, which --weights asks for");
    hash = pair_hash(row.column);
    if (hash != c->hash) {
        ctr_end(j, c);
        known = pair_add(&c->seen, hash);
        if (!known) return false;
        if (known->line)
            return bad_row(j, &c->bad, r->line[i], r->lines[i], "the pair stands in line %lld too: rows of a pair must follow "
                           "each other (sort the file)", (long long)known->line);
        known->line = r->line[i];
        if (!ctr_begin(c, row.column, hash)) return false;
    }
    c->impressions += row.impressions;
    c->clicks += row.clicks;
    c->shown += row.impressions * (c->n_weights ? c->weight[(int)fmin(position, c->n_weights) - 1] : 1);
    return true;
}

static bool ctr_chunk(job *j, void *state) {
    for (int32_t i = 0; i < j->text.n; i++)
        if (!ctr_row(j, (ctr *)state, i)) return false;
    return true;
}

static bool ctr_run(job *j, ctr *c) {
    if (!output_open(&j->out, j->o.output) || !bad_open(j, &c->bad) ||
        !open_columns(j, j->arg[0], LOG_COLUMNS) || !each_chunk(j, "rows", ctr_chunk, c)) return false;
    ctr_end(j, c);
    if (!output_commit(&j->out) || !bad_commit(&c->bad)) return false;
    note(NULL, "%lld rows, %zu pairs: %lld positive, %lld negative, %lld of too few impressions; %lld rows set aside",
         (long long)c->rows, c->seen.n, (long long)c->positive, (long long)c->negative, (long long)c->few, (long long)c->bad.n);
    return true;
}

static int run_label_ctr(job *j) {
    ctr c = {0};
    bool ok;
    if (!ctr_weights(j, &c)) return BAD_USAGE;
    ok = ctr_run(j, &c);
    if (!ok) output_abandon(&c.bad.out);
    free(c.seen.at);
    free(c.text);
    return ok ? DONE : BAD_DATA;
}

// >>label_sr ----------------------------------------------------------------------------------------------------------

typedef struct sr { pair_map seen; bad_rows bad; int64_t rows, positive, negative, again; } sr;

// keyphrase TAB title TAB category TAB score
static bool sr_row(const job *j, sr *s, int32_t i) {
    const reader *r = &j->text;
    kpd_text column[4];
    int n = split_columns(r, i, column, 4);
    char digits[40], *end = digits;
    double score;
    float yes;
    pair_entry *known;
    s->rows++;
    if (n != 4) return bad_row(j, &s->bad, r->line[i], r->lines[i], "%d columns, expected 4", n);
    snprintf(digits, sizeof digits, "%.*s", (int)(column[3].size < sizeof digits ? column[3].size : 0), column[3].data);
    score = strtod(digits, &end);
    if (end == digits || *end || !isfinite(score))
        return bad_row(j, &s->bad, r->line[i], r->lines[i], "the score '%s', expected a number", digits);
    yes = (float)score >= j->o.threshold;
    known = pair_add(&s->seen, pair_hash(column));
    if (!known) return false;
    if (known->line && known->value != yes)
        return bad_row(j, &s->bad, r->line[i], r->lines[i], "the pair is %s here, but stands in line %lld with the other label",
                       yes != 0 ? "positive" : "negative", (long long)known->line);
    if (known->line) { s->again++; return true; }
    known->line = r->line[i];
    known->value = yes;
    if (yes != 0) s->positive++;
    else s->negative++;
    fwrite(column[0].data, 1, pair_size(column), j->out.file);
    fputs(yes != 0 ? "\t1\n" : "\t0\n", j->out.file);
    return true;
}

static bool sr_chunk(job *j, void *state) {
    for (int32_t i = 0; i < j->text.n; i++)
        if (!sr_row(j, (sr *)state, i)) return false;
    return true;
}

static bool sr_run(job *j, sr *s) {
    if (!output_open(&j->out, j->o.output) || !bad_open(j, &s->bad) ||
        !open_columns(j, j->arg[0], "keyphrase title category* score") || !each_chunk(j, "rows", sr_chunk, s) ||
        !output_commit(&j->out) || !bad_commit(&s->bad)) return false;
    note(NULL, "%lld rows: %lld positive, %lld negative, %lld the same pair again; %lld set aside", (long long)s->rows,
         (long long)s->positive, (long long)s->negative, (long long)s->again, (long long)s->bad.n);
    return true;
}

static int run_label_sr(job *j) {
    sr s = {0};
    bool ok;
    if (!isfinite(j->o.threshold)) return usage("label sr: --threshold is missing: the least score that is relevant");
    ok = sr_run(j, &s);
    if (!ok) output_abandon(&s.bad.out);
    free(s.seen.at);
    return ok ? DONE : BAD_DATA;
}

// >>label_group  The pairs of an item one after the other, a yes first. ----------------------------------------------------

typedef struct group_row { int64_t item, line; bool no; size_t at, size; } group_row;    // item: a number, in their order

typedef struct groups {
    pair_map items;                     // line = the item's number, from 1
    group_row *row; size_t n, capacity;
    char *text; size_t size, room;
    int64_t left_out;                   // items
} groups;

static bool group_chunk(job *j, void *state) {
    groups *g = (groups *)state;
    const reader *r = &j->text;
    for (int32_t i = 0; i < r->n; i++) {
        kpd_text column[5], line = r->lines[i];
        group_row *row;
        pair_entry *item;
        float label, score;
        int n = split_columns(r, i, column, 5);
        if (n < 4 || n > 5) return fail(r->name, r->line[i], "%d columns, expected 4 or 5", n);
        if (!parse_real(r, i, "label", column[3], 0, 1, &label) ||
            (n == 5 && !parse_real(r, i, "score", column[4], -INFINITY, INFINITY, &score))) return false;
        item = pair_add(&g->items, text_hash(text_hash(0, column[1]), column[2]));
        if (!item || !grow((void **)&g->row, &g->capacity, g->n + 1, sizeof *g->row) ||
            !grow((void **)&g->text, &g->room, g->size + line.size, 1)) return false;
        if (!item->line) item->line = (int64_t)g->items.n;
        row = &g->row[g->n++];
        row->item = item->line; row->line = r->line[i]; row->no = label < 0.5f;
        row->at = g->size; row->size = line.size;
        memcpy(g->text + g->size, line.data, line.size);
        g->size += line.size;
    }
    return true;
}

static int by_group(const void *a, const void *b) {
    const group_row *x = (const group_row *)a, *y = (const group_row *)b;
    if (x->item != y->item) return x->item < y->item ? -1 : 1;
    if (x->no != y->no) return x->no ? 1 : -1;
    return x->line < y->line ? -1 : 1;
}

static bool group_print(job *j, groups *g, const group_row *row, size_t n, int64_t number) {
    if (row[0].no || n == 1) return g->left_out++, true;
    for (size_t i = 0; i < n; i++) {
        fprintf(j->out.file, "%lld\t", (long long)number);
        fwrite(g->text + row[i].at, 1, row[i].size, j->out.file);
        fputc('\n', j->out.file);
    }
    return output_ok(&j->out);
}

static bool group_run(job *j, groups *g) {
    int64_t number = 0;
    if (!output_open(&j->out, j->o.output) || !open_columns(j, j->arg[0], "keyphrase title category* label score?") ||
        !each_chunk(j, "pairs", group_chunk, g)) return false;
    if (g->n) qsort(g->row, g->n, sizeof *g->row, by_group);
    for (size_t at = 0, n; at < g->n; at += n, number++) {
        for (n = 1; at + n < g->n && g->row[at + n].item == g->row[at].item;) n++;
        if (!group_print(j, g, g->row + at, n, number)) return false;
    }
    note(NULL, "%zu pairs of %lld items; %lld items are left out, that have no yes or one pair alone", g->n, (long long)number,
         (long long)g->left_out);
    return output_commit(&j->out);
}

static int run_label_group(job *j) {
    groups g = {0};
    bool ok = group_run(j, &g);
    free(g.items.at);
    free(g.row);
    free(g.text);
    return ok ? DONE : BAD_DATA;
}

// >>label_agreement ---------------------------------------------------------------------------------------------------

enum { NOT_CLICKED, CLICKED, NOT_IN_LOG };
typedef struct both { float popularity; uint8_t a, b, clicked; } both;

typedef struct agreement {
    pair_map label[2], clicks, items;   // of the sources; of the log: clicks of pairs, impressions of titles
    int source;                         // in hand
    both *row; size_t n, capacity;
    int64_t rows[2];
} agreement;

// A pair of both sources.
static bool agreement_pair(agreement *g, const kpd_text *column, uint64_t hash, const pair_entry *a, const pair_entry *b) {
    const pair_entry *title = pair_find(&g->items, text_hash(0, column[1])), *pair = pair_find(&g->clicks, hash);
    both *row;
    if (!grow((void **)&g->row, &g->capacity, g->n + 1, sizeof *g->row)) return false;
    row = &g->row[g->n++];
    row->popularity = title ? title->count : 0;
    row->a = a->value >= 0.5f;
    row->b = b->value >= 0.5f;
    row->clicked = !pair ? NOT_IN_LOG : pair->count > 0 ? CLICKED : NOT_CLICKED;
    return true;
}

static bool agreement_chunk(job *j, void *state) {
    agreement *g = (agreement *)state;
    const reader *r = &j->text;
    for (int32_t i = 0; i < r->n; i++) {
        kpd_text column[4];
        pair_entry *p;
        const pair_entry *first;
        float label;
        uint64_t hash;
        if (split_columns(r, i, column, 4) != 4) return fail(r->name, r->line[i], "expected 4 columns");
        if (!parse_real(r, i, "label", column[3], 0, 1, &label)) return false;
        hash = pair_hash(column);
        g->rows[g->source]++;
        if ((p = pair_add(&g->label[g->source], hash)) == NULL) return false;
        if (p->line && (p->value >= 0.5f) != (label >= 0.5f))
            return fail(r->name, r->line[i], "the pair stands in line %lld with the other label", (long long)p->line);
        if (p->line) continue;          // a pair that comes again counts once
        p->line = r->line[i];
        p->value = label;
        first = g->source ? pair_find(&g->label[0], hash) : NULL;
        if (first && !agreement_pair(g, column, hash, first, p)) return false;
    }
    return true;
}

// The log of label ctr.
static bool agreement_log(job *j, void *state) {
    agreement *g = (agreement *)state;
    const reader *r = &j->text;
    for (int32_t i = 0; i < r->n; i++) {
        log_row row;
        char why[160];
        pair_entry *pair, *title;
        if (!log_parse(r, i, &row, why)) return fail(r->name, r->line[i], "%s", why);
        if (!(pair = pair_add(&g->clicks, pair_hash(row.column))) || !(title = pair_add(&g->items, text_hash(0, row.column[1]))))
            return false;
        pair->count += (float)row.clicks;
        title->count += (float)row.impressions;
    }
    return true;
}

static bool agreement_read(job *j, const char *path, const char *wanted, chunk_fn *fn, agreement *g) {
    columns c = {NULL, NULL, TABLE_BY_NAME};
    bool ok;
    c.wanted = wanted;
    c.format = (table_format)j->o.format;
    ok = reader_open_as(&j->text, path, &c) && each_chunk(j, "rows", fn, g);
    reader_close(&j->text);
    return ok;
}

// Cohen's kappa: (p - e) / (1 - e), e being what chance alone would give.
static void agreement_line(FILE *f, const char *name, const both *row, size_t n, int clicked) {
    double count[2][2] = {{0, 0}, {0, 0}}, total = 0, same, chance;
    for (size_t i = 0; i < n; i++)
        if (clicked < 0 || row[i].clicked == clicked) count[row[i].a][row[i].b]++, total++;
    same = (count[0][0] + count[1][1]) / total;
    chance = ((count[1][0] + count[1][1]) * (count[0][1] + count[1][1]) +
              (count[0][0] + count[0][1]) * (count[0][0] + count[1][0])) / (total * total);
    fprintf(f, "%s\t%.0f\t%.0f\t%.0f\t%.0f\t%.0f\t", name, total, count[1][1], count[1][0], count[0][1], count[0][0]);
    if (total > 0) fprintf(f, "%.2f\t", 100 * same);
    else fputs("-\t", f);
    if (total > 0 && chance < 1) fprintf(f, "%.4f\n", (same - chance) / (1 - chance));
    else fputs("-\n", f);
}

static int by_popularity(const void *a, const void *b) {
    float x = ((const both *)a)->popularity, y = ((const both *)b)->popularity;
    return (x > y) - (x < y);
}

static void agreement_print(const job *j, agreement *g, bool log) {
    FILE *f = j->out.file;
    char name[80];
    fputs("pairs\tn\tboth yes\tonly first\tonly second\tboth no\tagreement %\tkappa\n", f);
    agreement_line(f, "all", g->row, g->n, -1);
    if (!log) return;
    agreement_line(f, "clicked", g->row, g->n, CLICKED);
    agreement_line(f, "not clicked", g->row, g->n, NOT_CLICKED);
    agreement_line(f, "not in the log", g->row, g->n, NOT_IN_LOG);
    if (g->n) qsort(g->row, g->n, sizeof *g->row, by_popularity);
    for (size_t i = 0; i < 10 && g->n >= 10; i++) {
        size_t begin = g->n * i / 10, end = g->n * (i + 1) / 10;
        snprintf(name, sizeof name, "popularity %d, %.0f to %.0f", (int)i + 1, (double)g->row[begin].popularity,
                 (double)g->row[end - 1].popularity);
        agreement_line(f, name, g->row + begin, end - begin, -1);
    }
}

static int run_label_agreement(job *j) {
    static const char labels[] = "keyphrase title category* label";
    agreement g;
    bool ok;
    memset(&g, 0, sizeof g);
    if (!strcmp(j->arg[0], "-") && !strcmp(j->arg[1], "-"))
        return usage("label agreement: standard input is one file, not two");
    ok = output_open(&j->out, j->o.output) &&
         (!j->arg[2] || agreement_read(j, j->arg[2], LOG_COLUMNS, agreement_log, &g)) &&
         agreement_read(j, j->arg[0], labels, agreement_chunk, &g);
    g.source = 1;
    ok = ok && agreement_read(j, j->arg[1], labels, agreement_chunk, &g);
    if (ok && !g.n) ok = fail(j->arg[1], 0, "has no pair of %s", j->arg[0]);
    if (ok) agreement_print(j, &g, j->arg[2] != NULL);
    ok = ok && output_commit(&j->out);
    if (ok) note(NULL, "%lld and %lld rows, %zu pairs in both", (long long)g.rows[0], (long long)g.rows[1], g.n);
    for (int i = 0; i < 2; i++) free(g.label[i].at);
    free(g.clicks.at);
    free(g.items.at);
    free(g.row);
    return ok ? DONE : BAD_DATA;
}
