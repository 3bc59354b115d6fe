// cmd_index.h - the commands that make, change, tune and ask an index of vectors: index build, add, remove, tune; search.
// Part of kpd.c, below job.h.
// Contents: >>index >>search

// >>index ------------------------------------------------------------------------------------------------------------

typedef struct id_list { int64_t *id; size_t n, capacity; } id_list;

static bool id_list_reserve(id_list *l, size_t n) {
    size_t capacity = n * 2;
    int64_t *id;
    if (n <= l->capacity) return true;
    id = (int64_t *)realloc(l->id, capacity * sizeof *id);
    if (!id) return fail(NULL, 0, "out of memory: %zu ids", n);
    l->id = id;
    l->capacity = capacity;
    return true;
}

static bool read_ids(job *j, const char *path, id_list *l) {
    reader *r = &j->text;
    if (!reader_open(r, path)) return false;
    do {
        if (!reader_next(r) || !id_list_reserve(l, l->n + (size_t)r->n)) return false;
        for (int32_t i = 0; i < r->n; i++)
            if (!parse_id(r, i, r->lines[i], &l->id[l->n++])) return false;
    } while (r->n);
    return true;
}

static bool number_ids(id_list *l, int64_t n) {
    if (!id_list_reserve(l, (size_t)n)) return false;
    for (l->n = 0; l->n < (size_t)n; l->n++) l->id[l->n] = (int64_t)l->n;
    return true;
}

// The ids of the rows of j->vectors: a file's, or 0..n-1.
static bool ids_of_rows(job *j, id_list *l) {
    if (!j->o.ids) return number_ids(l, j->vectors.rows);
    if (!read_ids(j, j->o.ids, l)) return false;
    if ((int64_t)l->n == j->vectors.rows) return true;
    return fail(j->o.ids, 0, "%zu ids for the %lld rows of vectors", l->n, (long long)j->vectors.rows);
}

static size_t rows_a_chunk(int32_t cols) { return 1 + ((size_t)4 << 20) / ((size_t)cols * sizeof(float)); }

// The next rows of j->vectors; *n = 0 at the end.
static bool next_vectors(job *j, const char *path, float *v, size_t *n) {
    return npy_read(&j->vectors, v, rows_a_chunk(j->vectors.cols), n) || fail(path, 0, "the file ended while it was read");
}

// What the library says about the chunk that begins at a row.
static bool fail_row(const char *path, const kpd_error *e, int64_t first) {
    if (e->where < 0) return fail(path, 0, "%s", e->message);
    return fail(path, 0, "row %lld: %s", (long long)(first + e->where), after_place(e->message));
}

static bool upsert_all(job *j, const char *path, const int64_t *ids, float *v) {
    kpd_error e;
    size_t n;
    start(j, "vectors");
    do {
        int64_t first = j->vectors.next;
        if (!next_vectors(j, path, v, &n)) return false;
        if (n && kpd_index_upsert(j->index, ids + first, v, n, &e)) return fail_row(path, &e, first);
        progress(j, (int64_t)n, j->vectors.next, j->vectors.rows);
    } while (n);
    return true;
}

// From before an index is read until it is replaced, nobody else changes it: what they added would be lost. One that is not
// there yet has no lock, and needs none.
static void lock_index(job *j, const char *path) { j->lock = files_lock(path); }

static bool save_index(job *j, const char *path) {
    kpd_error e;
    kpd_status s;
    files_hold_signals(true);
    s = kpd_index_save(j->index, path, &e);
    files_hold_signals(false);
    return !s || fail_with(path, &e);
}

static bool upsert_file(job *j, const char *vectors, const char *path, id_list *l) {
    int64_t before = kpd_index_get_info(j->index).count, added;
    float *v = (float *)job_alloc(j, rows_a_chunk(j->vectors.cols), (size_t)j->vectors.cols * sizeof *v);
    if (!v || !ids_of_rows(j, l) || !upsert_all(j, vectors, l->id, v) || !save_index(j, path)) return false;
    added = kpd_index_get_info(j->index).count - before;
    say("%s: %lld added, %lld replaced, %lld now", path, (long long)added, (long long)(j->vectors.rows - added),
           (long long)(before + added));
    return true;
}

static bool check_recall(const job *j) {
    float r = j->o.recall, g = j->o.gamma;
    if (!(r >= 0 && r <= 1)) return fail(NULL, 0, "--recall %g: expected above 0 to 1", (double)r);
    return (g >= 0 && isfinite(g)) || fail(NULL, 0, "--gamma %g: expected above 0", (double)g);
}

// All vectors of the file at once, with which a tree is made.
static float *all_vectors(job *j, const char *path) {
    size_t rows = (size_t)j->vectors.rows, cols = (size_t)j->vectors.cols, at = 0, n = 1;
    float *v = (float *)job_alloc(j, rows ? rows : 1, cols * sizeof *v);
    while (v && n) {
        if (!next_vectors(j, path, v + at * cols, &n)) return NULL;
        at += n;
    }
    return v;
}

static bool build_tree(job *j, const kpd_index_desc *d, id_list *l) {
    kpd_error e;
    const char *path = j->o.output;
    float *v;
    int64_t count;
    start(j, "vectors");
    v = all_vectors(j, j->arg[0]);
    if (!v || !ids_of_rows(j, l) || !open_pool(j)) return false;
    if (kpd_index_build(d, &j->parallel, l->id, v, l->n, &j->index, &e)) return fail_row(j->arg[0], &e, 0);
    progress(j, (int64_t)l->n, (int64_t)l->n, j->vectors.rows);
    if (!save_index(j, path)) return false;
    count = kpd_index_get_info(j->index).count;
    say("%s: %lld added, %lld replaced, %lld now", path, (long long)count, (long long)(j->vectors.rows - count),
           (long long)count);
    return true;
}

static int run_index_build(job *j) {
    static const kpd_dtype stores[] = {KPD_F32, KPD_INT16, KPD_INT8, KPD_INT4};
    kpd_error e;
    kpd_index_desc d = {0};
    id_list l = {0};
    bool ok;
    if (!j->o.output) return usage("index build: -o INDEX.kpi is missing");
    if (j->o.kind == KPD_FLAT && (j->o.store || j->o.lists || j->o.recall > 0))
        return usage("index build: --store, --lists and --recall are of --kind tree");
    if (!check_recall(j) || !can_write(j->o.output) || !open_vectors(j, j->arg[0])) return BAD_DATA;
    if (j->o.model && !open_model(j->o.model, KPD_BI_ENCODER, &j->student)) return BAD_DATA;
    lock_index(j, j->o.output);
    if (j->student) d.fingerprint = kpd_model_fingerprint(j->student, KPD_KEYPHRASE);
    d.dim = j->vectors.cols;
    d.metric = (kpd_metric)j->o.metric;
    d.kind = (kpd_index_kind)j->o.kind; d.storage = stores[j->o.store];
    d.lists = j->o.lists; d.recall = j->o.recall;
    if (d.kind == KPD_TREE) ok = build_tree(j, &d, &l);
    else {
        if (kpd_index_create(&d, &j->index, &e)) return fail(j->arg[0], 0, "%s", e.message), BAD_DATA;
        ok = upsert_file(j, j->arg[0], j->o.output, &l);
    }
    free(l.id);
    return ok ? DONE : BAD_DATA;
}

static bool check_dim(const job *j, const char *vectors, const char *index) {
    int32_t dim = kpd_index_get_info(j->index).dim;
    if (j->vectors.cols == dim) return true;
    return fail(vectors, 0, "vectors of dim %d, but %s has dim %d", (int)j->vectors.cols, index, (int)dim);
}

static int run_index_add(job *j) {
    id_list l = {0};
    bool ok;
    if (!j->o.ids) return usage("index add: --ids FILE is missing");
    lock_index(j, j->arg[0]);
    if (!open_index(j, j->arg[0], true) || !open_vectors(j, j->arg[1]) || !check_dim(j, j->arg[1], j->arg[0])) return BAD_DATA;
    ok = upsert_file(j, j->arg[1], j->arg[0], &l);
    free(l.id);
    return ok ? DONE : BAD_DATA;
}

static bool remove_ids(job *j, const char *path, id_list *l) {
    kpd_error e;
    size_t removed = 0;
    if (!read_ids(j, j->arg[1], l)) return false;
    if (kpd_index_remove(j->index, l->id, l->n, &removed, &e)) return fail(path, 0, "%s", e.message);
    if (!save_index(j, path)) return false;
    say("%s: %zu of %zu removed, %lld now", path, removed, l->n, (long long)kpd_index_get_info(j->index).count);
    return true;
}

static int run_index_remove(job *j) {
    id_list l = {0};
    bool ok;
    lock_index(j, j->arg[0]);
    if (!open_index(j, j->arg[0], true)) return BAD_DATA;
    ok = remove_ids(j, j->arg[0], &l);
    free(l.id);
    return ok ? DONE : BAD_DATA;
}

// >>search -----------------------------------------------------------------------------------------------------------

static void print_hits(FILE *f, int64_t first, size_t n, int32_t k, const kpd_hit *hits, const int32_t *counts) {
    for (size_t i = 0; i < n; i++)
        for (int32_t r = 0; r < counts[i]; r++) {
            const kpd_hit *h = &hits[i * (size_t)k + (size_t)r];
            fprintf(f, "%lld\t%d\t%lld\t%.9g\n", (long long)first + (long long)i, (int)r + 1, (long long)h->id,
                    (double)h->score);
        }
}

typedef struct search_state { kpd_search_desc d; float *q; kpd_hit *hits; int32_t *counts; size_t rows; } search_state;

// The hits of a chunk fill some 16 MB at most, unless one query's are more.
static bool search_rows(job *j, const search_state *s, const float *q, int64_t first, size_t n) {
    kpd_error e;
    for (size_t at = 0; at < n; at += s->rows) {
        size_t m = n - at < s->rows ? n - at : s->rows;
        const float *rows = q + at * (size_t)j->vectors.cols;
        if (kpd_index_search(j->session, j->index, rows, m, &s->d, s->hits, s->counts, &e))
            return fail_row(j->arg[1], &e, first + (int64_t)at);
        print_hits(j->out.file, first + (int64_t)at, m, s->d.k, s->hits, s->counts);
        progress(j, (int64_t)m, j->done + (int64_t)m, j->vectors.rows);
        if (!output_ok(&j->out)) return false;
    }
    return true;
}

static bool search_all(job *j, const search_state *s) {
    size_t n;
    start(j, "queries");
    do {
        int64_t first = j->vectors.next;
        if (!next_vectors(j, j->arg[1], s->q, &n) || !search_rows(j, s, s->q, first, n)) return false;
    } while (n);
    return output_commit(&j->out);
}

// More than the index holds cannot be found: k beyond it needs no memory.
static int32_t clamp_k(const job *j) {
    int64_t count = kpd_index_get_info(j->index).count;
    return (int64_t)j->o.k <= count ? j->o.k : count ? (int32_t)count : 1;
}

static int run_search(job *j) {
    search_state s = {0};
    if (!check_recall(j)) return BAD_DATA;
    if (!open_index(j, j->arg[0], false) || !open_vectors(j, j->arg[1]) || !check_dim(j, j->arg[1], j->arg[0])) return BAD_DATA;
    s.d.k = clamp_k(j);
    s.d.threshold = isfinite(j->o.threshold);
    s.d.min_score = s.d.threshold ? j->o.threshold : 0;
    s.d.recall = j->o.recall; s.d.gamma = j->o.gamma;
    s.rows = 1 + ((size_t)1 << 20) / (size_t)s.d.k;
    if (!open_session(j, s.d.k, j->vectors.cols) || !output_open(&j->out, NULL)) return BAD_DATA;
    s.q = (float *)job_alloc(j, rows_a_chunk(j->vectors.cols), (size_t)j->vectors.cols * sizeof *s.q);
    s.hits = (kpd_hit *)job_alloc(j, s.rows * (size_t)s.d.k, sizeof *s.hits);
    s.counts = (int32_t *)job_alloc(j, s.rows, sizeof *s.counts);
    return s.q && s.hits && s.counts && search_all(j, &s) ? DONE : BAD_DATA;
}

static bool tune(job *j) {
    const char *path = j->arg[0];
    float recall = j->o.recall > 0 ? j->o.recall : 0.95f, *q;
    size_t n = (size_t)j->vectors.rows;
    kpd_tuning t;
    kpd_error e;
    start(j, "queries");
    q = all_vectors(j, j->arg[1]);
    if (!q || !open_session(j, j->o.k, j->vectors.cols)) return false;
    if (kpd_index_tune(j->session, j->index, q, n, j->o.k, recall, &t, &e)) return fail_row(j->arg[1], &e, 0);
    progress(j, (int64_t)n, (int64_t)n, (int64_t)n);
    if (!save_index(j, path)) return false;
    say("%s: recall %.4f at gamma %.4f, k %d, by %zu queries", path, (double)t.recall, (double)t.gamma, (int)j->o.k, n);
    if (t.recall < recall) note(path, "the recall asked for, %g, was not reached", (double)recall);
    return true;
}

static int run_index_tune(job *j) {
    lock_index(j, j->arg[0]);
    if (!check_recall(j) || !open_index(j, j->arg[0], true) || !open_vectors(j, j->arg[1]) ||
        !check_dim(j, j->arg[1], j->arg[0]))
        return BAD_DATA;
    return tune(j) ? DONE : BAD_DATA;
}
