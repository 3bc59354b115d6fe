// cmd_text.h - the commands that run a model on text: tokenize, embed, score, rerank.
// Part of kpd.c, below job.h.
// Contents: >>tokenize >>embed >>score >>rerank

// >>tokenize ---------------------------------------------------------------------------------------------------------

// A line of n bytes has at most n tokens and four special ones: each token has at least a byte of its own.
static bool grow_tokens(kpd_tokens *t, size_t bytes) {
    size_t need = bytes + 4;
    int32_t *ids;
    kpd_span *spans;
    if (need <= (size_t)t->capacity) return true;
    if (need > INT32_MAX / 2) return false;
    ids = (int32_t *)realloc(t->ids, need * 2 * sizeof *ids);
    if (!ids) return false;
    t->ids = ids;
    spans = (kpd_span *)realloc(t->spans, need * 2 * sizeof *spans);
    if (!spans) return false;
    t->spans = spans;
    t->capacity = (int32_t)(need * 2);
    return true;
}

static void print_tokens(FILE *f, const kpd_tokens *t, bool offsets) {
    for (int32_t k = 0; k < t->count; k++) {
        const kpd_span *s = &t->spans[k];
        fprintf(f, k ? " %d" : "%d", (int)t->ids[k]);
        if (offsets && s->part >= 0) fprintf(f, ":%d:%zu-%zu", (int)s->part, s->begin, s->end);
    }
    fputc('\n', f);
}

static bool tokenize_line(job *j, int32_t i, kpd_tokens *t) {
    const reader *r = &j->text;
    kpd_error e;
    kpd_input in;
    if (!reader_split(r, i, 3, &in)) return false;
    if (!grow_tokens(t, r->lines[i].size)) return fail(r->name, r->line[i], "out of memory: %zu bytes", r->lines[i].size);
    if (kpd_tokenize(kpd_model_tokenizer(j->student), &in, j->o.max_tokens, j->o.no_special != 0, t, &e))
        return fail(r->name, r->line[i], "%s", e.message);
    print_tokens(j->out.file, t, j->o.offsets != 0);
    j->tokens += t->count;
    return true;
}

static bool tokenize_chunk(job *j, void *state) {
    if (j->tokens < 0) j->tokens = 0;
    for (int32_t i = 0; i < j->text.n; i++)
        if (!tokenize_line(j, i, (kpd_tokens *)state)) return false;
    return true;
}

static int run_tokenize(job *j) {
    kpd_tokens t = {0};
    bool ok;
    if (!open_any_model(j->arg[0], &j->student)) return BAD_DATA;
    if (!reader_open(&j->text, j->arg[1]) || !output_open(&j->out, NULL)) return BAD_DATA;
    ok = each_chunk(j, "texts", tokenize_chunk, &t) && output_commit(&j->out);
    free(t.ids);
    free(t.spans);
    return ok ? DONE : BAD_DATA;
}

// >>embed ------------------------------------------------------------------------------------------------------------

// Corrupt weights of a mapped model can give numbers that are none; they must not reach a file.
static bool check_rows(const job *j, const int64_t *line, const float *v, size_t n, int32_t cols) {
    for (size_t i = 0; i < n; i++)
        for (int32_t c = 0; c < cols; c++)
            if (!isfinite(v[i * (size_t)cols + (size_t)c]))
                return fail(j->text.name, line[i], "the result is not a finite number; `kpd info` checks the model");
    return true;
}

static bool check_finite(const job *j, const float *v, int32_t cols) {
    return check_rows(j, j->text.line, v, (size_t)j->text.n, cols);
}

// On a terminal as many numbers as somebody may want to see.
static void print_rows(FILE *f, const float *v, size_t rows, int32_t cols) {
    int32_t shown = cols > 8 && f == stdout && isatty(STDOUT_FILENO) ? 6 : cols;
    for (size_t i = 0; i < rows; i++) {
        for (int32_t c = 0; c < shown; c++)
            fprintf(f, "%.9g%c", (double)v[i * (size_t)cols + (size_t)c], c + 1 < cols ? '\t' : '\n');
        if (shown < cols) fprintf(f, "... %d more\n", (int)(cols - shown));
    }
}

// A chunk's inputs and results: vectors or logits.
typedef struct batch { kpd_input *in; float *out; int32_t cols; } batch;

static bool batch_create(job *j, int32_t cols, batch *b) {
    b->cols = cols;
    b->in = (kpd_input *)job_alloc(j, CHUNK_LINES, sizeof *b->in);
    b->out = (float *)job_alloc(j, CHUNK_LINES, (size_t)cols * sizeof *b->out);
    return b->in && b->out;
}

// Embeds the chunk at once, or each text by itself with its time noted.
static bool embed_texts(job *j, const kpd_model *m, kpd_session *s, const batch *b, bool one) {
    kpd_error e;
    kpd_tower tower = (kpd_tower)j->o.tower;
    int32_t n = j->text.n;
    if (!one) return !kpd_embed(s, m, tower, b->in, (size_t)n, b->cols, b->out, &e) || fail_text(j, &e);
    for (int32_t i = 0; i < n; i++) {
        double began = now();
        if (kpd_embed(s, m, tower, b->in + i, 1, b->cols, b->out + (size_t)i * (size_t)b->cols, &e)) {
            if (e.where >= 0) e.where = i;   // counted from the call's first
            return fail_text(j, &e);
        }
        if (!note_time(j, now() - began)) return false;
    }
    return true;
}

static bool embed_chunk(job *j, void *state) {
    const batch *b = (const batch *)state;
    size_t n = (size_t)j->text.n;
    if (!read_inputs(j, j->student, (kpd_tower)j->o.tower, b->in)) return false;
    if (!embed_texts(j, j->student, j->session, b, j->o.one != 0)) return false;
    if (!check_finite(j, b->out, b->cols)) return false;
    if (j->out.path) fwrite(b->out, sizeof *b->out, n * (size_t)b->cols, j->out.file);
    else print_rows(j->out.file, b->out, n, b->cols);
    return true;
}

// The number of rows is known at the end only: the header is written twice.
static bool embed_all(job *j, batch *b) {
    FILE *npy = j->out.path ? j->out.file : NULL;
    if (npy && !npy_write_header(npy, 0, b->cols)) return output_failed(&j->out);
    if (!each_chunk(j, "texts", embed_chunk, b)) return false;
    j->tokens = kpd_session_tokens(j->session);
    if (npy && (fseek(npy, 0, SEEK_SET) || !npy_write_header(npy, j->count.done, b->cols))) return output_failed(&j->out);
    if (!output_commit(&j->out)) return false;
    if (npy) say("%s: %lld vectors of dim %d", j->out.path, (long long)j->count.done, (int)b->cols);
    return true;
}

static int run_embed(job *j) {
    batch b;
    int32_t dim;
    if (!open_model(j->arg[0], KPD_BI_ENCODER, &j->student)) return BAD_DATA;
    dim = student_dim(j, j->arg[0]);
    if (!dim || !open_session(j, 0, 0) || !open_text(j, j->arg[1], j->student, (kpd_tower)j->o.tower)) return BAD_DATA;
    if (!output_open(&j->out, j->o.output)) return BAD_DATA;
    return batch_create(j, dim, &b) && embed_all(j, &b) ? DONE : BAD_DATA;
}

// >>score  A model's numbers of pairs: a student's cosines, an assistant's logits. -----------------------------------------

typedef struct scorer {                 // of a chunk
    kpd_input *in[2];                   // [n] items, or pairs; keyphrases
    float *out[2];                      // [n, dim] likewise; out[0] becomes the numbers, [n, cols]
    int32_t dim, cols;
} scorer;

// With the job's model and session, so that another can be opened.
static void scorer_close(job *j, scorer *x) {
    for (int i = 0; i < 2; i++) { free(x->in[i]); free(x->out[i]); }
    memset(x, 0, sizeof *x);
    kpd_session_destroy(j->session);
    kpd_model_destroy(j->student);
    kpd_model_destroy(j->assistant);
    j->session = NULL;
    j->student = j->assistant = NULL;
}

// one: refuses a model of more labels.
static bool scorer_open(job *j, const char *path, bool one, scorer *x) {
    if (!open_pair_model(j, path, one)) return false;
    if (j->assistant && j->o.dim) return fail(path, 0, "--dim is of a bi-encoder, and this is a cross-encoder");
    x->dim = j->student ? student_dim(j, path) : kpd_model_dim(j->assistant);
    if (!x->dim) return false;
    x->cols = j->student ? 1 : x->dim;
    for (int i = 0; i < 2; i++) {
        x->in[i] = (kpd_input *)calloc(CHUNK_LINES, sizeof *x->in[i]);
        x->out[i] = (float *)calloc((size_t)CHUNK_LINES * (size_t)x->dim, sizeof *x->out[i]);
        if (!x->in[i] || !x->out[i]) return fail(NULL, 0, "out of memory");
    }
    return open_session(j, 0, 0);
}

static void scorer_read(const job *j, scorer *x, int32_t i, const kpd_row *row) {
    kpd_model_input(j->student ? j->student : j->assistant, KPD_ITEM, row, &x->in[0][i]);
    if (j->student) kpd_model_input(j->student, KPD_KEYPHRASE, row, &x->in[1][i]);
}

// The numbers of the chunk's pairs, which have been read.
static bool scorer_run(job *j, scorer *x) {
    size_t n = (size_t)j->text.n, dim = (size_t)x->dim;
    kpd_error e;
    kpd_status s = j->assistant ? kpd_score(j->session, j->assistant, x->in[0], n, x->out[0], &e)
                                : kpd_embed(j->session, j->student, KPD_ITEM, x->in[0], n, x->dim, x->out[0], &e);
    if (!s && j->student) s = kpd_embed(j->session, j->student, KPD_KEYPHRASE, x->in[1], n, x->dim, x->out[1], &e);
    if (s) return fail_text(j, &e);
    if (!check_finite(j, x->out[0], x->dim) || (j->student && !check_finite(j, x->out[1], x->dim))) return false;
    for (size_t i = 0; j->student && i < n; i++)        // where row i / dim was, which has been read
        x->out[0][i] = kpd_cosine(x->out[0] + i * dim, x->out[1] + i * dim, x->dim);
    return true;
}

// What stands for a pair beside its label: a cosine, or the probability of yes.
static float scorer_value(const job *j, const scorer *x, size_t i) {
    return j->assistant ? kpd_sigmoid(x->out[0][i]) : x->out[0][i];
}

// A score that --columns does not name would not be looked for in what is printed.
static bool keeps_score(const job *j) { return columns_name(j, "score"); }

// Leaves the label, or label and score, out of the lines; whole [n]: their sizes with these.
static bool cut_labels(job *j, size_t *whole) {
    int behind = keeps_score(j) ? 2 : 1;
    for (int32_t i = 0; i < j->text.n; i++) {
        kpd_text *line = &j->text.lines[i], column[6];
        int n = split_columns(&j->text, i, column, 6), label = n - behind;
        float unused;
        if (label < 2) return fail(j->text.name, j->text.line[i], "--keep: expected a label behind the pair");
        if (label > 3) return fail(j->text.name, j->text.line[i], "--keep: %d columns, expected at most %d", n, 3 + behind);
        if (!parse_real(&j->text, i, "label", column[label], 0, 1, &unused)) return false;
        whole[i] = line->size;
        line->size = (size_t)(column[label].data - line->data) - 1;
    }
    return true;
}

static bool score_read(job *j, scorer *x) {
    if (!split_chunk(j, 3, x->in[0])) return false;
    for (int32_t i = 0; i < j->text.n; i++) {
        kpd_row row = {0};
        if (!pair_row(j, j->student ? j->student : j->assistant, i, &x->in[0][i], &row)) return false;
        scorer_read(j, x, i, &row);
    }
    return true;
}

static bool score_chunk(job *j, void *state) {
    scorer *x = (scorer *)state;
    size_t n = (size_t)j->text.n, whole[CHUNK_LINES];
    if (j->o.keep && !cut_labels(j, whole)) return false;
    if (!score_read(j, x) || !scorer_run(j, x)) return false;
    for (size_t i = 0; j->o.keep && i < n; i++) {
        fwrite(j->text.lines[i].data, 1, whole[i], j->out.file);
        fprintf(j->out.file, "\t%.9g\n", (double)scorer_value(j, x, i));
    }
    if (!j->o.keep) print_rows(j->out.file, x->out[0], n, x->cols);
    return true;
}

static bool score_all(job *j, scorer *x) {
    const char *wanted = !j->o.keep ? "keyphrase title? category?" : keeps_score(j) ?
                         "keyphrase title? category? label score" : "keyphrase title? category? label";
    if (!scorer_open(j, j->arg[0], j->o.keep, x) || !open_columns(j, j->arg[1], wanted)) return false;
    if (!output_open(&j->out, NULL) || !each_chunk(j, "pairs", score_chunk, x)) return false;
    j->tokens = kpd_session_tokens(j->session);
    return output_commit(&j->out);
}

static int run_score(job *j) {
    scorer x = {0};
    bool ok = score_all(j, &x);
    scorer_close(j, &x);
    return ok ? DONE : BAD_DATA;
}

// >>rerank  Documents in the order of their scores for a query: an assistant's logits, or a student's cosines. ------

typedef struct ranked { float score; int64_t row; } ranked;

typedef struct documents {              // all of a file, as lines of the columns of items
    char *text; size_t size, room;
    size_t *end; size_t n, capacity;    // end[i]: of document i
    float *v; size_t v_room;            // a student's vectors
    ranked *order;
} documents;

static kpd_text document(const documents *x, size_t i) {
    kpd_text t;
    size_t begin = i ? x->end[i - 1] : 0;
    t.data = x->text + begin;
    t.size = x->end[i] - begin;
    return t;
}

static bool document_chunk(job *j, void *state) {
    documents *x = (documents *)state;
    kpd_input in;
    for (int32_t i = 0; i < j->text.n; i++) {
        kpd_text t = j->text.lines[i];
        if (!reader_split(&j->text, i, 2, &in)) return false;
        if (!grow((void **)&x->text, &x->room, x->size + t.size, 1)) return false;
        if (!grow((void **)&x->end, &x->capacity, x->n + 1, sizeof *x->end)) return false;
        if (t.size) memcpy(x->text + x->size, t.data, t.size);
        x->size += t.size;
        x->end[x->n++] = x->size;
    }
    return true;
}

// The title and category of a document.
static kpd_row document_row(kpd_text line) {
    kpd_row row = {0};
    const char *tab = line.size ? (const char *)memchr(line.data, '\t', line.size) : NULL;
    row.title = line;
    if (!tab) return row;
    row.title.size = (size_t)(tab - line.data);
    row.category.data = tab + 1;
    row.category.size = line.size - row.title.size - 1;
    return row;
}

// The scores of all documents for a query: x->order, in the order of rows.
static bool rank_scores(job *j, const documents *x, const batch *b, kpd_text query) {
    const kpd_model *m = j->assistant ? j->assistant : j->student;
    kpd_row row = {0};
    kpd_error e;
    float *q = b->out + (size_t)CHUNK_LINES * (size_t)b->cols;
    row.keyphrase = query;
    if (j->student) {
        kpd_input in;
        kpd_model_input(m, KPD_KEYPHRASE, &row, &in);
        if (kpd_embed(j->session, m, KPD_KEYPHRASE, &in, 1, b->cols, q, &e)) return fail("the query", 0, "%s", e.message);
        for (size_t i = 0; i < x->n; i++) x->order[i].score = kpd_cosine(q, x->v + i * (size_t)b->cols, b->cols);
        return true;
    }
    for (size_t at = 0; at < x->n; at += CHUNK_LINES) {
        size_t n = x->n - at < CHUNK_LINES ? x->n - at : CHUNK_LINES;
        for (size_t i = 0; i < n; i++) {
            row = document_row(document(x, at + i));
            row.keyphrase = query;
            kpd_model_input(m, KPD_ITEM, &row, &b->in[i]);
        }
        if (kpd_score(j->session, m, b->in, n, b->out, &e)) return fail(j->arg[2], 0, "%s", e.message);
        for (size_t i = 0; i < n; i++) x->order[at + i].score = b->out[i];
    }
    return true;
}

static int by_score(const void *a, const void *b) {
    const ranked *x = (const ranked *)a, *y = (const ranked *)b;
    return x->score != y->score ? (x->score > y->score ? -1 : 1) : x->row < y->row ? -1 : 1;
}

// A student embeds the documents once.
static bool document_vectors(job *j, documents *x, const batch *b) {
    kpd_error e;
    for (size_t at = 0; j->student && at < x->n; at += CHUNK_LINES) {
        size_t n = x->n - at < CHUNK_LINES ? x->n - at : CHUNK_LINES;
        for (size_t i = 0; i < n; i++) {
            kpd_row row = document_row(document(x, at + i));
            kpd_model_input(j->student, KPD_ITEM, &row, &b->in[i]);
        }
        if (!grow((void **)&x->v, &x->v_room, (at + n) * (size_t)b->cols, sizeof *x->v)) return false;
        if (kpd_embed(j->session, j->student, KPD_ITEM, b->in, n, b->cols, x->v + at * (size_t)b->cols, &e))
            return fail(j->arg[2], 0, "%s", e.message);
    }
    return true;
}

typedef struct rerank_state { documents *x; const batch *b; } rerank_state;

static bool rerank_chunk(job *j, void *state) {
    const rerank_state *s = (const rerank_state *)state;
    documents *x = s->x;
    for (int32_t i = 0; i < j->text.n; i++) {
        size_t n = j->o.k && (size_t)j->o.k < x->n ? (size_t)j->o.k : x->n;
        for (size_t k = 0; k < x->n; k++) x->order[k].row = (int64_t)k;
        if (!rank_scores(j, x, s->b, j->text.lines[i])) return false;
        if (x->n) qsort(x->order, x->n, sizeof *x->order, by_score);
        for (size_t k = 0; k < n; k++) {
            kpd_text t = document(x, (size_t)x->order[k].row);
            if (!isfinite(x->order[k].score))
                return fail(j->arg[0], 0, "the result is not a finite number; `kpd info` checks the model");
            fprintf(j->out.file, "%lld\t%zu\t%lld\t%.9g\t", (long long)(j->text.first + i), k + 1, (long long)x->order[k].row,
                    (double)x->order[k].score);
            fwrite(t.data, 1, t.size, j->out.file);
            fputc('\n', j->out.file);
        }
    }
    return true;
}

static bool rerank(job *j, documents *x) {
    batch b;
    rerank_state s;
    s.x = x;
    s.b = &b;
    b.cols = kpd_model_dim(j->student ? j->student : j->assistant);
    b.in = (kpd_input *)job_alloc(j, CHUNK_LINES, sizeof *b.in);
    b.out = (float *)job_alloc(j, CHUNK_LINES + 1, (size_t)b.cols * sizeof *b.out);    // and the query's
    if (!b.in || !b.out || !open_session(j, 0, 0)) return false;
    if (!open_columns(j, j->arg[2], "title category?") || !each_chunk(j, "documents", document_chunk, x)) return false;
    reader_close(&j->text);
    x->order = (ranked *)job_alloc(j, x->n, sizeof *x->order);
    if (!x->order || !document_vectors(j, x, &b)) return false;
    j->count.done = 0;
    start(j, "queries");
    j->o.columns = NULL;                // they are the documents'
    j->o.format = 0;
    if (!open_query(j, j->arg[1]) || !output_open(&j->out, j->o.output)) return false;
    if (!each_chunk(j, "queries", rerank_chunk, &s) || !output_commit(&j->out)) return false;
    if (j->out.path) say("%s: %zu documents for %lld queries", j->out.path, x->n, (long long)j->count.done);
    return true;
}

static int run_rerank(job *j) {
    documents x = {0};
    bool ok;
    if (!open_pair_model(j, j->arg[0], true)) return BAD_DATA;
    ok = rerank(j, &x);
    free(x.text);
    free(x.end);
    free(x.v);
    return ok ? DONE : BAD_DATA;
}
