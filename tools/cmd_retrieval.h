// cmd_retrieval.h - eval retrieval: how good lists of documents are by graded judgements, counted as trec_eval and BEIR do.
// Part of kpd.c, below cmd_eval.h, by whose intervals it prints, and cmd_index.h.
// Contents: >>judged >>ranked >>beir >>retrieval

// >>judged  Lines of query, document and a number, of judgements or of a run. -----------------------------------------------

typedef struct graded {
    kpd_text query, document;
    size_t at;                          // of the query's text in that of the list, before it is sorted; the document's follows
    float value;                        // a grade; or a score, or minus a rank
    int64_t line;
    bool seen;                          // of a query's first judgement: queries.jsonl has the query
} graded;

typedef struct entries {                // sorted by query
    graded *list; size_t n, capacity;
    char *text; size_t text_size, text_capacity;
    const char *name;                   // of the file, for messages
    int64_t negative, first_negative;   // grades, and the line of the first
    bool is_run, by_rank;
} entries;

static void entries_free(entries *x) {
    free(x->list);
    free(x->text);
}

// Which cells a line has, by its number of cells or by the names in the first line.
typedef struct layout { int cells, query, document, value; bool by_rank; } layout;
enum { LAYOUT_CELLS = 8 };

static const layout JUDGED_AS[] = {{3, 0, 1, 2, false}, {4, 0, 2, 3, false}};
static const layout RANKED_AS[] = {{3, 0, 1, 2, false}, {6, 0, 2, 4, false}, {4, 0, 2, 1, true}, {5, 0, 2, 1, true}};

static int split_spaces(kpd_text line, kpd_text *out, int max) {
    int n = 0;
    for (size_t at = 0, end; at < line.size; at = end + 1) {
        for (end = at; end < line.size && line.data[end] != ' '; end++) {}
        if (end == at) continue;
        if (n < max) { out[n].data = line.data + at; out[n].size = end - at; }
        n++;
    }
    return n;
}

static int split_entry(const reader *r, int32_t i, kpd_text *out) {
    kpd_text line = r->lines[i];
    if (memchr(line.data, '\t', line.size)) return split_columns(r, i, out, LAYOUT_CELLS);
    return split_spaces(line, out, LAYOUT_CELLS);
}

// The cell that has one of the names, -1 = none.
static int cell_named(const kpd_text *cell, int n, const char *names) {
    char name[32];
    for (int i = 0; i < n && i < LAYOUT_CELLS; i++) {
        if (!cell[i].size || cell[i].size >= sizeof name) continue;
        snprintf(name, sizeof name, "%.*s", (int)cell[i].size, cell[i].data);
        if (recipe_find(names, name) >= 0) return i;
    }
    return -1;
}

// The layout of the first line; *names = it is no entry.
static bool entries_layout(const entries *x, const reader *r, layout *out, bool *names) {
    kpd_text cell[LAYOUT_CELLS];
    const layout *known = x->is_run ? RANKED_AS : JUDGED_AS;
    int n = split_entry(r, 0, cell), n_known = x->is_run ? 4 : 2;
    out->cells = n;
    out->query = cell_named(cell, n, "query-id query_id query qid");
    out->document = cell_named(cell, n, "corpus-id corpus_id document doc docid doc_id docno");
    out->value = cell_named(cell, n, "score grade relevance label");
    out->by_rank = x->is_run && out->value < 0;
    if (out->by_rank) out->value = cell_named(cell, n, "rank");
    *names = out->query >= 0 && out->document >= 0 && out->value >= 0;
    for (int i = 0; i < n_known && !*names; i++)
        if (known[i].cells == n) return *out = known[i], true;
    if (*names && n <= LAYOUT_CELLS) return true;
    return fail(r->name, r->line[0], "%d cell(s), expected %s", n, x->is_run ?
                "query document score, query Q0 document rank score tag, or query rank document score" :
                "query document grade, or query iteration document grade");
}

static bool entries_line(entries *x, const reader *r, int32_t i, const layout *form) {
    kpd_text cell[LAYOUT_CELLS];
    graded *y;
    int n = split_entry(r, i, cell);
    float low = form->by_rank ? 0 : -INFINITY, high = form->by_rank ? 16777216.0f : INFINITY;
    if (n != form->cells)
        return fail(r->name, r->line[i], "%d cell(s), but the first line has %d", n, form->cells);
    if (!grow((void **)&x->list, &x->capacity, x->n + 1, sizeof *x->list)) return false;
    y = &x->list[x->n++];
    memset(y, 0, sizeof *y);
    y->query = cell[form->query];
    y->document = cell[form->document];
    y->line = r->line[i];
    y->at = x->text_size;
    if (!y->query.size || !y->document.size) return fail(r->name, r->line[i], "a query or document without an id");
    if (!grow((void **)&x->text, &x->text_capacity, x->text_size + y->query.size + y->document.size, 1)) return false;
    memcpy(x->text + y->at, y->query.data, y->query.size);
    memcpy(x->text + y->at + y->query.size, y->document.data, y->document.size);
    x->text_size += y->query.size + y->document.size;
    if (!parse_real(r, i, form->by_rank ? "rank" : x->is_run ? "score" : "grade", cell[form->value], low, high, &y->value))
        return false;
    if (form->by_rank) y->value = -y->value;
    if (!x->is_run && y->value < 0 && !x->negative++) x->first_negative = y->line;
    return true;
}

static int compare_texts(kpd_text a, kpd_text b) { return compare_text(a.data, a.size, b.data, b.size); }

static int compare_entries(const void *a, const void *b) {
    const graded *x = (const graded *)a, *y = (const graded *)b;
    int order = compare_texts(x->query, y->query);
    if (!order) order = compare_texts(x->document, y->document);
    return order ? order : x->line < y->line ? -1 : x->line > y->line;
}

// A run's: the best first, of equal scores the greater id, as trec_eval has it.
static int compare_ranked(const void *a, const void *b) {
    const graded *x = (const graded *)a, *y = (const graded *)b;
    int order = compare_texts(x->query, y->query);
    if (order) return order;
    if (x->value < y->value || x->value > y->value) return x->value > y->value ? -1 : 1;
    return compare_texts(y->document, x->document);
}


// Sorted by query and document, each pair once: a judgement that comes again with its grade is one.
static bool entries_sort(entries *x) {
    size_t n = 0;
    if (x->n) qsort(x->list, x->n, sizeof *x->list, compare_entries);
    for (size_t i = 0; i < x->n; i++) {
        const graded *y = &x->list[i], *before = n ? &x->list[n - 1] : NULL;
        bool same = before && !compare_texts(y->query, before->query) && !compare_texts(y->document, before->document);
        if (same && (x->is_run || y->value < before->value || y->value > before->value))
            return fail(x->name, y->line, "query '%.*s', document '%.*s' stands in line %lld already%s", shown(y->query),
                        y->query.data, shown(y->document), y->document.data, (long long)before->line,
                        x->is_run ? "" : " with another grade");
        if (!same) x->list[n++] = *y;
    }
    x->n = n;
    if (x->is_run && n) qsort(x->list, n, sizeof *x->list, compare_ranked);
    return true;
}

static bool entries_check_ranks(const entries *x) {
    for (size_t i = 1; i < x->n && x->by_rank; i++) {
        const graded *y = &x->list[i], *z = y[-1].line > y->line ? y - 1 : y, *first = z == y ? y - 1 : y;
        if (compare_texts(y->query, y[-1].query) || y->value < y[-1].value || y->value > y[-1].value) continue;
        return fail(x->name, z->line, "query '%.*s' has rank %.0f in line %lld already", shown(y->query), y->query.data,
                    (double)-y->value, (long long)first->line);
    }
    return true;
}

static bool entries_lines(job *j, entries *x) {
    reader *r = &j->text;
    layout form = {0, 0, 0, 0, false};
    bool first = true, names = false;
    do {
        if (!reader_next(r)) return false;
        if (r->n && first && !entries_layout(x, r, &form, &names)) return false;
        for (int32_t i = first && names; i < r->n; i++)
            if (!entries_line(x, r, i, &form)) return false;
        first = false;
    } while (r->n);
    x->by_rank = form.by_rank;
    return true;
}

static bool entries_read(job *j, const char *path, bool is_run, entries *x) {
    x->is_run = is_run;
    if (!reader_open(&j->text, path)) return false;
    x->name = j->text.name;
    if (!entries_lines(j, x)) return false;
    reader_close(&j->text);
    if (!x->n) return fail(x->name, 0, is_run ? "it has no documents" : "it has no judgements");
    for (size_t i = 0; i < x->n; i++) {         // the text moves no more
        graded *y = &x->list[i];
        y->query.data = x->text + y->at;
        y->document.data = y->query.data + y->query.size;
    }
    if (x->negative)
        note(NULL, "%s:%lld: a grade below 0; such are not relevant: %lld", x->name, (long long)x->first_negative,
             (long long)x->negative);
    return entries_sort(x) && entries_check_ranks(x);
}

// The query's entries begin at the return value and end at *end; equal when it has none.
static size_t entries_of(const entries *x, kpd_text query, size_t *end) {
    size_t low = 0, high = x->n;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (compare_texts(x->list[mid].query, query) < 0) low = mid + 1; else high = mid;
    }
    for (*end = low; *end < x->n && !compare_texts(x->list[*end].query, query);) ++*end;
    return low;
}

// >>ranked  The figures of each judged query. ---------------------------------------------------------------------------

enum { MAX_CUTS = 8, CUT_FIGURES = 5, MAX_RANK_FIGURES = MAX_CUTS * CUT_FIGURES + 2 };

typedef struct rankings {                 // what a run makes of the judgements
    int32_t cut[MAX_CUTS]; int n_cuts, n_figures;
    float *value;                       // [n_figures, n], of the queries with relevant documents
    kpd_text *query;                    // [n_judged]
    int64_t *row;                       // [n_judged] the query's place in value, -1 = it has no relevant document
    size_t n, n_judged;
    int64_t unanswered, retrieved, judged, unknown;     // judged: of the retrieved; unknown: queries of the run
} rankings;

static void ranked_free(rankings *x) {
    free(x->value);
    free(x->query);
    free(x->row);
}

static void rank_name(const rankings *x, int at, char out[32]) {
    static const char *const names[] = {"ndcg", "map", "recall", "precision", "mrr"};
    int cut = at / CUT_FIGURES;
    if (cut < x->n_cuts) snprintf(out, 32, "%s@%d", names[at % CUT_FIGURES], (int)x->cut[cut]);
    else snprintf(out, 32, "%s", at % CUT_FIGURES ? "mrr" : "map");
}

// Cuts as 10,100.
static int parse_cuts(const char *text, rankings *x) {
    for (const char *p = text;; p++) {
        char *end;
        long v;
        errno = 0;
        v = strtol(p, &end, 10);
        if (errno || end == p || v < 1 || v > KPD_MAX_K || x->n_cuts == MAX_CUTS || (*end && *end != ','))
            return usage("--at %s: expected at most %d integers from 1 to %d with commas between them", text, (int)MAX_CUTS,
                         (int)KPD_MAX_K);
        x->cut[x->n_cuts++] = (int32_t)v;
        p = end;
        if (!*p) break;
    }
    x->n_figures = x->n_cuts * CUT_FIGURES + 2;
    return DONE;
}

static int descending(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return x > y ? -1 : x < y;
}

static float grade_of(const graded *list, size_t n, kpd_text document, bool *judged) {
    size_t low = 0, high = n;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (compare_texts(list[mid].document, document) < 0) low = mid + 1; else high = mid;
    }
    *judged = low < n && !compare_texts(list[low].document, document);
    return *judged && list[low].value > 0 ? list[low].value : 0;
}

// trec_eval divides a cut-off MAP by all relevant documents, kpdt_rank by those that fit.
static void rank_figures(rankings *x, const float *gain, int32_t n, const float *ideal, int32_t n_relevant) {
    kpdt_ranking r;
    float *v = x->value + x->n * (size_t)x->n_figures;
    for (int c = 0; c < x->n_cuts; c++, v += CUT_FIGURES) {
        int32_t k = x->cut[c], most = k < n_relevant ? k : n_relevant;
        kpdt_rank(gain, n, k, ideal, n_relevant, &r);
        v[0] = (float)r.ndcg; v[1] = (float)(r.map * most / n_relevant); v[2] = (float)r.recall;
        v[3] = (float)r.precision; v[4] = (float)r.mrr;
    }
    kpdt_rank(gain, n, n > n_relevant ? n : n_relevant, ideal, n_relevant, &r);
    v[0] = (float)r.map; v[1] = (float)r.mrr;
}

// A judged query: judgements [a, b) and the run's documents [c, d). gain and ideal have room for both.
static bool rank_query(rankings *x, const entries *judged, size_t a, size_t b, const entries *run, size_t c, size_t d,
                       float *gain) {
    float *ideal = gain + (d - c);
    int32_t n_relevant = 0;
    if (d - c > INT32_MAX || b - a > INT32_MAX) return fail(run->name, 0, "more than %d documents of a query", INT32_MAX);
    for (size_t i = a; i < b; i++)
        if (judged->list[i].value > 0) ideal[n_relevant++] = judged->list[i].value;
    x->query[x->n_judged] = judged->list[a].query;
    x->row[x->n_judged++] = n_relevant ? (int64_t)x->n : -1;
    if (!n_relevant) return true;
    qsort(ideal, (size_t)n_relevant, sizeof *ideal, descending);
    for (size_t i = c; i < d; i++) {
        bool known;
        gain[i - c] = grade_of(judged->list + a, b - a, run->list[i].document, &known);
        x->judged += known;
    }
    x->retrieved += (int64_t)(d - c);
    x->unanswered += c == d;
    rank_figures(x, gain, (int32_t)(d - c), ideal, n_relevant);
    x->n++;
    return true;
}

static size_t count_queries(const entries *x) {
    size_t n = 0;
    for (size_t i = 0; i < x->n; i++) n += !i || compare_texts(x->list[i].query, x->list[i - 1].query);
    return n;
}

// Both are sorted by query, so they are walked side by side.
static bool rank_walk(rankings *x, const entries *judged, const entries *run, float *gain) {
    size_t a = 0, c = 0;
    while (a < judged->n || c < run->n) {
        int order = a == judged->n ? 1 : c == run->n ? -1 : compare_texts(judged->list[a].query, run->list[c].query);
        size_t b = a, d = c;
        while (order <= 0 && b < judged->n && !compare_texts(judged->list[b].query, judged->list[a].query)) b++;
        while (order >= 0 && d < run->n && !compare_texts(run->list[d].query, run->list[c].query)) d++;
        if (order > 0) x->unknown++;
        else if (!rank_query(x, judged, a, b, run, c, d, gain)) return false;
        a = b;
        c = d;
    }
    return true;
}

static bool rank_check(const rankings *x, const entries *judged, const entries *run) {
    if (!x->n) return fail(judged->name, 0, "no query has a relevant document (a grade above 0)");
    if (x->unanswered == (int64_t)x->n)
        return fail(run->name, 0, "none of its queries has a relevant document in %s; its first is '%.*s', there '%.*s'",
                    judged->name, shown(run->list[0].query), run->list[0].query.data, shown(x->query[0]), x->query[0].data);
    if (!x->judged) note(run->name, "none of its documents is in %s", judged->name);
    if (x->unknown) note(run->name, "queries that are not in %s and do not count: %lld", judged->name, (long long)x->unknown);
    if (x->unanswered)
        note(run->name, "queries of %zu that have no documents and count as 0: %lld", x->n, (long long)x->unanswered);
    return true;
}

static bool rank_all(rankings *x, const entries *judged, const entries *run) {
    size_t n = count_queries(judged), most = judged->n + run->n;
    float *gain = (float *)malloc(most * sizeof *gain);
    bool ok;
    x->value = (float *)calloc(n, (size_t)x->n_figures * sizeof *x->value);
    x->query = (kpd_text *)calloc(n, sizeof *x->query);
    x->row = (int64_t *)calloc(n, sizeof *x->row);
    ok = (gain && x->value && x->query && x->row) || fail(NULL, 0, "out of memory: the figures of %zu queries", n);
    ok = ok && rank_walk(x, judged, run, gain) && rank_check(x, judged, run);
    free(gain);
    return ok;
}

// >>beir  A folder of BEIR's form, embedded and searched. -----------------------------------------------------------------

typedef struct beir {
    const char *corpus, *queries, *qrels;       // paths
    batch b;
    int64_t id[CHUNK_LINES];            // of the chunk's documents
    kpd_hit *hits; int32_t *counts; size_t rows;
    kpd_search_desc d;
    entries *judged, *run;
} beir;

static bool beir_open(job *j, const char *path, const char *wanted) {
    columns c = {wanted, NULL, TABLE_JSONL};
    return reader_open_as(&j->text, path, &c);
}

static const char *beir_path(job *j, const char *part, const char *name, const char *end) {
    size_t size = strlen(j->arg[1]) + strlen(part) + strlen(name) + strlen(end) + 2;
    char *path = (char *)job_alloc(j, size, 1);
    if (path) snprintf(path, size, "%s/%s%s%s", j->arg[1], part, name, end);
    return path;
}

static bool beir_paths(job *j, beir *s) {
    s->corpus = beir_path(j, "", "corpus", ".jsonl");
    s->queries = beir_path(j, "", "queries", ".jsonl");
    s->qrels = beir_path(j, "qrels/", j->o.split ? j->o.split : "test", ".tsv");
    return s->corpus && s->queries && s->qrels;
}

// title TAB text TAB id: the model's title is the first two with a space between them, as BEIR has it.
static bool beir_document(job *j, beir *s, int32_t i) {
    reader *r = &j->text;
    kpd_text column[3], id;
    kpd_row row = {{NULL, 0}, {NULL, 0}, {NULL, 0}};
    char name[300];
    if (split_columns(r, i, column, 3) != 3) return fail(r->name, r->line[i], "expected _id, title and text");
    row.title = column[1];
    if (column[0].size) {
        r->text[(size_t)(column[0].data - r->text) + column[0].size] = ' ';
        row.title.data = column[0].data;
        row.title.size += column[0].size + 1;
    }
    kpd_model_input(j->student, KPD_ITEM, &row, &s->b.in[i]);
    if (!column[2].size || column[2].size > 256)
        return fail(r->name, r->line[i], "_id of %zu bytes, expected 1 to 256", column[2].size);
    snprintf(name, sizeof name, "%.*s\t", (int)column[2].size, column[2].data);
    id.data = name;
    id.size = column[2].size + 1;
    s->id[i] = (int64_t)j->items.n;
    if (!table_item_add(&r->from, &j->items, id)) return fail(r->name, r->line[i], "%s", r->from.why);
    j->items.list[j->items.n - 1].line = r->line[i];
    return true;
}

static bool beir_corpus_chunk(job *j, void *state) {
    beir *s = (beir *)state;
    size_t n = (size_t)j->text.n;
    kpd_error e;
    for (int32_t i = 0; i < j->text.n; i++)
        if (!beir_document(j, s, i)) return false;
    if (kpd_embed(j->session, j->student, KPD_ITEM, s->b.in, n, s->b.cols, s->b.out, &e)) return fail_text(j, &e);
    if (!check_finite(j, s->b.out, s->b.cols)) return false;
    return !kpd_index_upsert(j->index, s->id, s->b.out, n, &e) || fail_text(j, &e);
}

static bool beir_corpus(job *j, beir *s) {
    if (!beir_open(j, s->corpus, "title* text _id") || !each_chunk(j, "texts", beir_corpus_chunk, s)) return false;
    if (!j->items.n) return fail(s->corpus, 0, "it has no documents");
    if (!table_items_index(&j->text.from, &j->items)) return fail(s->corpus, j->text.from.line, "%s", j->text.from.why);
    reader_close(&j->text);
    return true;
}

// Documents that are judged relevant and are not there can never be found; the user should know.
static bool beir_check(const job *j, const beir *s) {
    size_t missing = 0;
    const graded *first = NULL;
    for (size_t i = 0; i < s->judged->n; i++) {
        const graded *x = &s->judged->list[i];
        if (table_item_of(&j->items, x->document)) continue;
        missing++;
        if (!first || x->line < first->line) first = x;
    }
    if (!first) return true;
    if (missing == s->judged->n)
        return fail(s->qrels, first->line, "document '%.*s' is not in %s, nor is any other of this file",
                    shown(first->document), first->document.data, s->corpus);
    note(NULL, "%s:%lld: document '%.*s' is not in %s; of such there are %zu, which cannot be found", s->qrels,
         (long long)first->line, shown(first->document), first->document.data, s->corpus, missing);
    return true;
}

// The chunk's judged queries come to its front, with their lines.
static bool beir_keep(job *j, beir *s, int32_t *kept, kpd_text *query) {
    reader *r = &j->text;
    *kept = 0;
    for (int32_t i = 0; i < r->n; i++) {
        kpd_text column[2];
        kpd_row row = {{NULL, 0}, {NULL, 0}, {NULL, 0}};
        size_t end, at;
        graded *first;
        if (split_columns(r, i, column, 2) != 2) return fail(r->name, r->line[i], "expected _id and text");
        at = entries_of(s->judged, column[1], &end);
        if (at == end) continue;
        first = &s->judged->list[at];
        if (first->seen) return fail(r->name, r->line[i], "query '%.*s' comes twice", shown(column[1]), column[1].data);
        first->seen = true;
        row.keyphrase = column[0];
        kpd_model_input(j->student, KPD_KEYPHRASE, &row, &s->b.in[*kept]);
        query[*kept] = first->query;
        r->line[(*kept)++] = r->line[i];
    }
    return true;
}

// BEIR leaves a document out that is the query itself.
static bool beir_take(const job *j, beir *s, kpd_text query, const kpd_hit *hits, int32_t n) {
    entries *x = s->run;
    int32_t most = s->d.k - 1, taken = 0;
    if (!grow((void **)&x->list, &x->capacity, x->n + (size_t)n, sizeof *x->list)) return false;
    for (int32_t i = 0; i < n && taken < most; i++) {
        const table_item *item = &j->items.list[hits[i].id];
        graded *y = &x->list[x->n];
        memset(y, 0, sizeof *y);
        y->query = query;
        y->document.data = j->items.text + item->id;
        y->document.size = item->id_size;
        y->value = hits[i].score;
        if (!compare_texts(y->query, y->document)) continue;
        x->n++;
        taken++;
    }
    return true;
}

static bool beir_search(job *j, beir *s, size_t n, const kpd_text *query) {
    kpd_error e;
    for (size_t at = 0; at < n; at += s->rows) {
        size_t m = n - at < s->rows ? n - at : s->rows;
        const float *q = s->b.out + at * (size_t)s->b.cols;
        if (kpd_index_search(j->session, j->index, q, m, &s->d, s->hits, s->counts, &e))
            return fail(s->queries, 0, "%s", e.message);
        for (size_t i = 0; i < m; i++)
            if (!beir_take(j, s, query[at + i], s->hits + i * (size_t)s->d.k, s->counts[i])) return false;
    }
    return true;
}

static bool beir_embed_queries(job *j, const beir *s) {
    kpd_error e;
    if (kpd_embed(j->session, j->student, KPD_KEYPHRASE, s->b.in, (size_t)j->text.n, s->b.cols, s->b.out, &e))
        return fail_text(j, &e);
    return check_finite(j, s->b.out, s->b.cols);
}

static bool beir_queries_chunk(job *j, void *state) {
    beir *s = (beir *)state;
    kpd_text query[CHUNK_LINES];
    int32_t all = j->text.n, kept;
    bool ok;
    if (!beir_keep(j, s, &kept, query)) return false;
    j->text.n = kept;
    ok = !kept || (beir_embed_queries(j, s) && beir_search(j, s, (size_t)kept, query));
    j->text.n = all;
    return ok;
}

static bool beir_queries(job *j, beir *s) {
    if (!beir_open(j, s->queries, "text _id") || !each_chunk(j, "texts", beir_queries_chunk, s)) return false;
    reader_close(&j->text);
    for (size_t i = 0; i < s->judged->n; i++) {
        const graded *x = &s->judged->list[i];
        bool first = !i || compare_texts(x->query, x[-1].query);
        if (first && !x->seen)
            return fail(s->qrels, x->line, "query '%.*s' is not in %s", shown(x->query), x->query.data, s->queries);
    }
    return true;
}

static bool beir_begin(job *j, beir *s) {
    kpd_index_desc d = {0};
    kpd_error e;
    int32_t k = j->o.k;
    if (!open_model(j->arg[0], KPD_BI_ENCODER, &j->student)) return false;
    d.dim = student_dim(j, j->arg[0]);
    d.metric = kpd_model_get_desc(j->student)->similarity;
    if (!d.dim) return false;
    if (kpd_index_create(&d, &j->index, &e)) return fail(j->arg[0], 0, "%s", e.message);
    s->d.k = k < KPD_MAX_K ? k + 1 : k;
    s->rows = 1 + ((size_t)1 << 20) / (size_t)s->d.k;
    s->hits = (kpd_hit *)job_alloc(j, s->rows * (size_t)s->d.k, sizeof *s->hits);
    s->counts = (int32_t *)job_alloc(j, s->rows, sizeof *s->counts);
    return s->hits && s->counts && batch_create(j, d.dim, &s->b) && open_session(j, s->d.k, d.dim);
}

// The run of the model. judged is read from the folder.
static bool beir_run(job *j, entries *judged, entries *run) {
    beir *s = (beir *)job_alloc(j, 1, sizeof *s);
    if (!s || !beir_paths(j, s)) return false;
    s->judged = judged;
    s->run = run;
    run->is_run = true;
    run->name = j->arg[1];
    return entries_read(j, s->qrels, false, judged) && beir_begin(j, s) && beir_corpus(j, s) && beir_check(j, s) &&
           beir_queries(j, s) && entries_sort(run);
}

// >>retrieval -----------------------------------------------------------------------------------------------------------

// value [n_figures] of a query is together there; the bootstrap wants that of a figure.
static void rank_column(const rankings *x, int at, float *out) {
    for (size_t i = 0; i < x->n; i++) out[i] = x->value[i * (size_t)x->n_figures + (size_t)at];
}

static bool rank_print_figure(const job *j, const rankings *a, const rankings *b, int at, float *work) {
    char name[32];
    kpdt_interval out[3];
    kpd_error e;
    rank_name(a, at, name);
    rank_column(a, at, work);
    if (b) rank_column(b, at, work + a->n);
    for (int which = 0; which < (b ? 3 : 1); which++) {
        kpdt_bootstrap_desc d = {0};
        d.a = work + (which == 1 ? a->n : 0); d.n = a->n; d.resamples = (int32_t)resamples_of(a->n); d.seed = 1;
        if (which == 2) d.b = work + a->n;
        if (kpdt_bootstrap(&d, &out[which], &e)) return fail(NULL, 0, "%s: %s", name, e.message);
    }
    print_intervals(j->out.file, name, out, b != NULL);
    return true;
}

static bool rank_print(job *j, const rankings *a, const rankings *b) {
    FILE *f = j->out.file;
    float *work = (float *)job_alloc(j, 2 * a->n, sizeof *work);
    int64_t none = (int64_t)(a->n_judged - a->n);
    if (!work) return false;
    fprintf(f, "figure\tvalue\tlow\thigh%s\n", b ? "\tagainst\tlow\thigh\tdifference\tlow\thigh\tp" : "");
    print_count(f, "queries", (int64_t)a->n, b ? (int64_t)b->n : 0, b != NULL);
    print_count(f, "without_relevant", none, none, b != NULL);
    print_count(f, "unanswered", a->unanswered, b ? b->unanswered : 0, b != NULL);
    print_count(f, "retrieved", a->retrieved, b ? b->retrieved : 0, b != NULL);
    print_count(f, "judged", a->judged, b ? b->judged : 0, b != NULL);
    for (int i = 0; i < a->n_figures; i++)
        if (!rank_print_figure(j, a, b, i, work)) return false;
    return true;
}

// A line of each judged query, - where it has no relevant document.
static void rank_print_queries(FILE *f, const rankings *x) {
    char name[32];
    fprintf(f, "query");
    for (int i = 0; i < x->n_figures; i++) {
        rank_name(x, i, name);
        fprintf(f, "\t%s", name);
    }
    fputc('\n', f);
    for (size_t q = 0; q < x->n_judged; q++) {
        fwrite(x->query[q].data, 1, x->query[q].size, f);
        for (int i = 0; i < x->n_figures; i++) {
            fputc('\t', f);
            print_number(f, x->row[q] < 0 ? (double)NAN : (double)x->value[x->row[q] * x->n_figures + i], "");
        }
        fputc('\n', f);
    }
}

static bool rank_write_queries(const job *j, output *out, const rankings *x) {
    if (!j->o.per_query) return true;
    rank_print_queries(out->file, x);
    return output_commit(out);
}

typedef struct retrieval { entries judged, run, other; rankings a, b; output queries; bool folder; } retrieval;

static bool retrieval_open(job *j, retrieval *x) {
    static const char *const texts[] = {".jsonl", NULL}, *const judgements[] = {".tsv", NULL};
    const char *qrels = x->folder ? beir_path(j, "qrels", "", "") : NULL;
    if (x->folder && !qrels) return false;
    if (x->folder) {
        note_inputs_in(j->arg[1], texts);
        note_inputs_in(qrels, judgements);
    }
    if (j->o.per_query && j->o.output && !strcmp(j->o.per_query, j->o.output))
        return fail(j->o.output, 0, "is named by both -o and --per-query");
    return output_open(&j->out, j->o.output) && (!j->o.per_query || output_open(&x->queries, j->o.per_query));
}

static bool retrieval_all(job *j, retrieval *x) {
    bool two = j->o.against != NULL;
    if (strcmp(j->arg[1], "-") && !file_exists(j->arg[1])) return fail(j->arg[1], 0, "%s", strerror(errno));
    if (!retrieval_open(j, x)) return false;
    if (x->folder ? !beir_run(j, &x->judged, &x->run) :
        !entries_read(j, j->arg[0], false, &x->judged) || !entries_read(j, j->arg[1], true, &x->run)) return false;
    if (two && !entries_read(j, j->o.against, true, &x->other)) return false;
    if (!rank_all(&x->a, &x->judged, &x->run) || (two && !rank_all(&x->b, &x->judged, &x->other))) return false;
    return rank_print(j, &x->a, two ? &x->b : NULL) && rank_write_queries(j, &x->queries, &x->a) && output_commit(&j->out);
}

static int retrieval_check(job *j, retrieval *x) {
    struct stat st;
    int32_t most = 0;
    int status = parse_cuts(j->o.at ? j->o.at : "10,100", &x->a);
    if (status) return status;
    x->b = x->a;
    x->folder = !stat(j->arg[1], &st) && S_ISDIR(st.st_mode);
    for (int i = 0; i < x->a.n_cuts; i++) most = x->a.cut[i] > most ? x->a.cut[i] : most;
    if (!x->folder && (j->o.k || j->o.dim || j->o.split))
        return usage("eval retrieval: -k, --dim and --split are of a model and a folder");
    if (x->folder && j->o.k && j->o.k < most)
        return usage("eval retrieval: -k %d, but --at asks for %d", (int)j->o.k, (int)most);
    if (!j->o.k) j->o.k = most > 100 ? most : 100;
    return DONE;
}

static int run_eval_retrieval(job *j) {
    retrieval x;
    int status;
    bool ok;
    memset(&x, 0, sizeof x);
    status = retrieval_check(j, &x);
    if (status) return status;
    ok = retrieval_all(j, &x);
    if (ok && j->out.path) say("%s: figures of %zu queries", j->out.path, x.a.n);
    output_abandon(&x.queries);
    entries_free(&x.judged);
    entries_free(&x.run);
    entries_free(&x.other);
    ranked_free(&x.a);
    ranked_free(&x.b);
    return ok ? DONE : BAD_DATA;
}
