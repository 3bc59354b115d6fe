// cmd_index.h - the commands that make, change, tune and ask an index: index build, add, remove, tune; search.
// Part of kpd.c, below cmd_text.h, by whose batches it embeds.
// Contents: >>phrases >>index >>search

// >>phrases  Keyphrases of a file and their ids. -----------------------------------------------------------------------

typedef struct phrase { int64_t id, line; size_t at, size; } phrase;

typedef struct phrases {                // sorted by id, once phrases_sort has been called
    phrase *list; size_t n, capacity;
    char *text; size_t text_size, text_capacity;
    bool ids;                           // the file has them
    uint64_t next;                      // else they count on from this, to INT64_MAX
} phrases;

static void phrases_free(phrases *p) {
    free(p->list);
    free(p->text);
}

// A keyphrase, or id TAB keyphrase: all lines are as the first.
static bool phrases_add(void *state, const reader *r, int32_t i) {
    phrases *p = (phrases *)state;
    kpd_input in;
    phrase *x;
    kpd_text text;
    if (!reader_split(r, i, 2, &in)) return false;
    text = in.part[in.n_parts - 1];
    if (!p->n) p->ids = in.n_parts > 1 && in.part[0].size > 0;
    if (p->ids != (in.n_parts > 1 && in.part[0].size > 0))
        return fail(r->name, r->line[i], "%s id, but the first line has %s", p->ids ? "no" : "an", p->ids ? "one" : "none");
    if (!p->ids && p->next > INT64_MAX)
        return fail(r->name, r->line[i], "no id is left: the one before is %lld, the greatest; a column `id` names others",
                    (long long)INT64_MAX);
    if (!grow((void **)&p->list, &p->capacity, p->n + 1, sizeof *p->list) ||
        !grow((void **)&p->text, &p->text_capacity, p->text_size + text.size + 1, 1)) return false;
    x = &p->list[p->n];
    if (!p->ids) x->id = (int64_t)p->next++;
    else if (!parse_id(r, i, in.part[0], &x->id)) return false;
    x->line = r->line[i];
    x->at = p->text_size;
    x->size = text.size;
    if (text.size) memcpy(p->text + p->text_size, text.data, text.size);
    p->text_size += text.size;
    p->n++;
    return true;
}

static kpd_text phrase_text(const phrases *p, size_t i) {
    kpd_text t;
    t.data = p->text + p->list[i].at;
    t.size = p->list[i].size;
    return t;
}

static int compare_phrases(const void *a, const void *b) {
    const phrase *x = (const phrase *)a, *y = (const phrase *)b;
    return x->id != y->id ? (x->id < y->id ? -1 : 1) : x->line < y->line ? -1 : 1;
}

// Two keyphrases of one id are a mistake whose outcome nobody could foresee.
static bool phrases_sort(phrases *p, const char *path) {
    if (p->n) qsort(p->list, p->n, sizeof *p->list, compare_phrases);
    for (size_t i = 1; i < p->n; i++) {
        const phrase *x = &p->list[i];
        if (x->id == x[-1].id)
            return fail(path, x->line, "id %lld stands in line %lld already", (long long)x->id, (long long)x[-1].line);
    }
    return true;
}

static bool phrases_read(phrases *p, job *j, const char *path) {
    static const columns c = {"id? keyphrase", NULL, TABLE_BY_NAME};    // --columns is said of the items
    if (!reader_open_as(&j->text, path, &c) || !each_line(&j->text, phrases_add, p)) return false;
    reader_close(&j->text);
    return phrases_sort(p, path);
}

static bool phrases_find(void *user, int64_t id, kpd_text *out) {
    const phrases *p = (const phrases *)user;
    size_t low = 0, high = p->n;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (p->list[mid].id < id) low = mid + 1; else high = mid;
    }
    if (low == p->n || p->list[low].id != id) return false;
    *out = phrase_text(p, low);
    return true;
}

// Ids that the index has and the keyphrases have not are never recommended; the user should know.
static void phrases_check(phrases *p, const kpd_index *x, const char *path) {
    kpd_index_info info = index_info(x);
    int64_t missing = info.count;
    kpd_text t;
    for (int64_t i = 0, id; i < info.slots; i++) missing -= kpd_index_id(x, i, &id) && phrases_find(p, id, &t);
    if (!missing) return;
    note(path, "%lld of the index's %lld ids are not in this file and are left out", (long long)missing,
         (long long)info.count);
}

// >>index ------------------------------------------------------------------------------------------------------------

typedef struct id_list { int64_t *id; size_t n, capacity; } id_list;

static bool id_list_reserve(id_list *l, size_t n) { return grow((void **)&l->id, &l->capacity, n, sizeof *l->id); }

static bool id_list_line(void *state, const reader *r, int32_t i) {
    id_list *l = (id_list *)state;
    return id_list_reserve(l, l->n + 1) && parse_id(r, i, r->lines[i], &l->id[l->n++]);
}

static bool read_ids(job *j, const char *path, id_list *l) {
    return reader_open(&j->text, path) && each_line(&j->text, id_list_line, l);
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
    return npy_read(&j->vectors, v, rows_a_chunk(j->vectors.cols), n) ||
           fail(path, 0, "%sthe file ended while it was read", j->vectors.fvecs ? "its rows differ in width, or " : "");
}

// What the library says about the chunk that begins at a row.
static bool fail_row(const char *path, const kpd_error *e, int64_t first) {
    if (e->where < 0) return fail(path, 0, "%s", e->message);
    return fail(path, 0, "row %lld: %s", (long long)(first + e->where), after_place(e->message));
}

static bool give_partition(job *j, const int64_t *ids, size_t n) {
    kpd_error e;
    for (size_t i = 0; i < n && j->o.partition >= 0; i++)
        if (kpd_index_set_partition(j->index, ids + i, &j->o.partition, 1, &e)) return fail(NULL, 0, "%s", e.message);
    return true;
}

static bool upsert_all(job *j, const char *path, const int64_t *ids, float *v) {
    kpd_error e;
    size_t n;
    start(j, "vectors");
    for (;;) {
        int64_t first = j->vectors.next;
        if (!next_vectors(j, path, v, &n)) return false;
        if (!n) return true;   // said first: ids of an empty file are NULL, to which nothing may be added
        if (kpd_index_upsert(j->index, ids + first, v, n, &e)) return fail_row(path, &e, first);
        if (!give_partition(j, ids + first, n)) return false;
        progress(j, (int64_t)n, j->vectors.next, j->vectors.rows);
    }
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
    int64_t before = kpd_index_count(j->index), added;
    float *v = (float *)job_alloc(j, rows_a_chunk(j->vectors.cols), (size_t)j->vectors.cols * sizeof *v);
    if (!v || !ids_of_rows(j, l) || !upsert_all(j, vectors, l->id, v) || !save_index(j, path)) return false;
    added = kpd_index_count(j->index) - before;
    say("%s: %lld added, %lld replaced, %lld now", path, (long long)added, (long long)(j->vectors.rows - added),
           (long long)(before + added));
    return true;
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

static bool build_tree(job *j, kpd_index_desc *d, id_list *l) {
    kpd_error e;
    const char *path = j->o.output;
    float *v;
    int64_t count;
    start(j, "vectors");
    v = all_vectors(j, j->arg[0]);
    if (!v || !ids_of_rows(j, l) || !open_pool(j)) return false;
    d->progress = library_progress(&j->call, "vectors compared");
    if (kpd_index_build(d, &j->parallel, l->id, v, l->n, &j->index, &e)) return fail_row(j->arg[0], &e, 0);
    j->count.done = (int64_t)l->n;
    if (!save_index(j, path)) return false;
    count = kpd_index_count(j->index);
    say("%s: %lld added, %lld replaced, %lld now", path, (long long)count, (long long)(j->vectors.rows - count),
           (long long)count);
    return true;
}

// An index of texts that the job's student embeds, whose texts it keeps. A tree is made when all vectors are there.
typedef struct text_index {
    phrases p;                          // that are to be embedded
    batch b;
    int64_t id[CHUNK_LINES], line[CHUNK_LINES];         // of a batch
    kpd_text text[CHUNK_LINES];
    kpd_index_desc *tree;               // NULL = each batch goes to the job's index
    id_list ids; float *v;              // of a tree
    int64_t before, removed, same;      // of the index: how many it had, are gone from the file, have their text already
} text_index;

// To the vectors of a tree, which begins with them all.
static void text_index_keep(text_index *x, size_t at, size_t n) {
    size_t cols = (size_t)x->b.cols;
    memcpy(x->v + at * cols, x->b.out, n * cols * sizeof *x->v);
    memcpy(x->ids.id + at, x->id, n * sizeof *x->id);
    x->ids.n = at + n;
}

// n keyphrases from `at` on.
static bool text_index_batch(job *j, text_index *x, size_t at, size_t n) {
    kpd_error e;
    for (size_t i = 0; i < n; i++) {
        kpd_row row = {0};
        row.keyphrase = phrase_text(&x->p, at + i);
        x->id[i] = x->p.list[at + i].id;
        x->line[i] = x->p.list[at + i].line;
        x->text[i] = row.keyphrase;
        kpd_model_input(j->student, KPD_KEYPHRASE, &row, &x->b.in[i]);
    }
    if (kpd_embed(j->session, j->student, KPD_KEYPHRASE, x->b.in, n, x->b.cols, x->b.out, &e))
        return fail_lines(j, x->line, n, &e);
    if (!check_rows(j, x->line, x->b.out, n, x->b.cols)) return false;
    if (x->tree) return text_index_keep(x, at, n), true;
    if (kpd_index_upsert(j->index, x->id, x->b.out, n, &e)) return fail_lines(j, x->line, n, &e);
    if (!give_partition(j, x->id, n)) return false;
    return !kpd_index_set_text(j->index, x->id, x->text, n, &e) || fail_lines(j, x->line, n, &e);
}

// All texts of a tree, once it is there. Of equal ids the last vector and the last text stay.
static bool text_index_tree(job *j, text_index *x) {
    kpd_error e;
    x->tree->progress = library_progress(&j->call, "vectors compared");
    if (kpd_index_build(x->tree, &j->parallel, x->ids.id, x->v, x->ids.n, &j->index, &e)) return fail_row(j->text.name, &e, 0);
    for (size_t i = 0; i < x->p.n; i++) {
        kpd_text t = phrase_text(&x->p, i);
        if (kpd_index_set_text(j->index, &x->p.list[i].id, &t, 1, &e))
            return fail(j->text.name, x->p.list[i].line, "%s", e.message);
    }
    return true;
}

static bool text_index_embed(job *j, text_index *x) {
    size_t n = x->p.n, most;
    start(j, "keyphrases");
    j->tokens = 0;
    if (!batch_create(j, x->b.cols, &x->b)) return false;
    if (x->tree && !id_list_reserve(&x->ids, n)) return false;
    if (x->tree) x->v = (float *)job_alloc(j, n, (size_t)x->b.cols * sizeof *x->v);
    if (x->tree && !x->v) return false;
    for (size_t at = 0; at < n; at += most) {
        most = n - at < CHUNK_LINES ? n - at : CHUNK_LINES;
        if (!text_index_batch(j, x, at, most)) return false;
        progress(j, (int64_t)most, (int64_t)(at + most), (int64_t)n);
    }
    j->tokens = kpd_session_tokens(j->session);
    return !x->tree || text_index_tree(j, x);
}

// Of equal ids the last.
static void text_index_last(phrases *p) {
    size_t n = 0;
    if (p->n) qsort(p->list, p->n, sizeof *p->list, compare_phrases);
    for (size_t i = 0; i < p->n; i++)
        if (i + 1 == p->n || p->list[i].id != p->list[i + 1].id) p->list[n++] = p->list[i];
    p->n = n;
}

// Removes what the keyphrases, sorted by id, have no more.
static bool text_index_remove(job *j, text_index *x) {
    int64_t slots = index_info(j->index).slots, id;
    id_list gone = {0};
    size_t removed = 0;
    kpd_text t;
    kpd_error e;
    bool ok = true;
    for (int64_t i = 0; ok && i < slots; i++) {
        if (!kpd_index_id(j->index, i, &id) || phrases_find(&x->p, id, &t)) continue;
        ok = id_list_reserve(&gone, gone.n + 1);
        if (ok) gone.id[gone.n++] = id;
    }
    if (ok && gone.n && kpd_index_remove(j->index, gone.id, gone.n, &removed, &e)) ok = fail(j->o.output, 0, "%s", e.message);
    x->removed = (int64_t)removed;
    free(gone.id);
    return ok;
}

// Leaves those that the index has not, or with another text.
static bool text_index_changed(job *j, text_index *x) {
    size_t n = 0;
    text_index_last(&x->p);
    if (!text_index_remove(j, x)) return false;
    for (size_t i = 0; i < x->p.n; i++) {
        kpd_text is = phrase_text(&x->p, i), was;
        kpd_error e;
        bool same = !kpd_index_text(j->index, x->p.list[i].id, &was, &e) && was.size == is.size &&
                    (!is.size || !memcmp(was.data, is.data, is.size));
        if (same) x->same++;
        else x->p.list[n++] = x->p.list[i];
    }
    x->p.n = n;
    return true;
}

// A tree keeps the lists that it has, and what is added cuts them in two: when a third of it is air, it is made anew.
static bool text_index_compact(job *j) {
    kpd_index_info i = index_info(j->index);
    kpd_error e;
    if (i.kind != KPD_TREE || i.slots < i.count + i.count / 2 + 256) return true;
    return !kpd_index_compact(j->index, &j->parallel, NULL, &e) || fail(j->o.output, 0, "%s", e.message);
}

static void text_index_say(const job *j, const text_index *x, const char *path, bool update) {
    int64_t count = kpd_index_count(j->index), added = count - (x->before - x->removed);
    say("%s: %lld added, %lld replaced, %lld now, with their texts", path, (long long)added, (long long)(j->count.done - added),
        (long long)count);
    if (update) say("%s: %lld removed, %lld were there already", path, (long long)x->removed, (long long)x->same);
}

static bool text_index_all(job *j, text_index *x, const char *texts, const char *path, bool update) {
    x->before = j->index ? kpd_index_count(j->index) : 0;
    if (!open_columns(j, texts, "id? keyphrase") || !each_line(&j->text, phrases_add, &x->p)) return false;
    if ((update && !text_index_changed(j, x)) || !text_index_embed(j, x)) return false;
    if ((update && !text_index_compact(j)) || !save_index(j, path)) return false;
    text_index_say(j, x, path, update);
    return true;
}

static bool index_of_texts(job *j, text_index *x, const char *texts, const char *path, bool update) {
    bool ok = open_session(j, 0, x->b.cols) && text_index_all(j, x, texts, path, update);
    phrases_free(&x->p);
    free(x->ids.id);
    return ok;
}

// Vectors of another model than the index's are nonsense.
static bool check_fingerprint(const job *j, const char *model, const char *index) {
    uint64_t made = index_info(j->index).fingerprint, ours = kpd_model_fingerprint(j->student, KPD_KEYPHRASE);
    if (!made || !ours || made == ours) return true;
    return fail(index, 0, "the index has vectors of model %016llx, and %s is %016llx", (unsigned long long)made, model,
                (unsigned long long)ours);
}

// The library's where none is.
static float asked_recall(const job *j) { return j->o.recall > 0 ? j->o.recall : 0.95f; }

// Whether the index that is to be brought up to date is as a new one would be, but for its keyphrases; a tree keeps its lists.
static bool check_update(const job *j, const kpd_index_desc *d, const char *path) {
    kpd_index_info i = index_info(j->index);
    const char *what;
    if (!check_fingerprint(j, j->arg[0], path)) return false;
    what = i.kind != d->kind ? "kind" : i.metric != d->metric ? "metric" : i.storage != d->storage ? "store"
         : i.dim != d->dim ? "dim" : i.partition != d->partition ? "partition"
         : i.fingerprint != d->fingerprint ? "student" : NULL;
    if (!what && d->kind == KPD_TREE && i.recall != asked_recall(j)) what = "recall";
    return !what || fail(path, 0, "its %s is not what is asked for; `kpd index info` tells it, and without --update an index "
                         "is made anew", what);
}

static bool build_of_texts(job *j, kpd_index_desc *d) {
    kpd_error e;
    const char *path = j->o.output;
    text_index *x = (text_index *)job_alloc(j, 1, sizeof *x);
    bool update = j->o.update && file_exists(path);
    if (!x || !open_model(j->arg[0], KPD_BI_ENCODER, &j->student)) return false;
    d->fingerprint = kpd_model_fingerprint(j->student, KPD_KEYPHRASE);
    d->metric = j->o.metric ? d->metric : kpd_model_get_desc(j->student)->similarity;
    d->dim = student_dim(j, j->arg[0]);
    x->b.cols = d->dim;
    if (!d->dim) return false;
    if (update) {
        if (!open_index(j, path, true) || !check_update(j, d, path)) return false;
    } else if (d->kind == KPD_TREE) x->tree = d;
    else if (kpd_index_create(d, &j->index, &e)) return fail(j->arg[0], 0, "%s", e.message);
    return index_of_texts(j, x, j->arg[1], path, update);
}

static bool build_of_vectors(job *j, kpd_index_desc *d, id_list *l) {
    kpd_error e;
    if (!open_vectors(j, j->arg[0])) return false;
    if (j->o.model && !open_model(j->o.model, KPD_BI_ENCODER, &j->student)) return false;
    if (j->student) d->fingerprint = kpd_model_fingerprint(j->student, KPD_KEYPHRASE);
    d->dim = j->vectors.cols;
    if (d->kind == KPD_TREE) return build_tree(j, d, l);
    if (kpd_index_create(d, &j->index, &e)) return fail(j->arg[0], 0, "%s", e.message);
    return upsert_file(j, j->arg[0], j->o.output, l);
}

static int run_index_build(job *j) {
    static const kpd_dtype stores[] = {KPD_F32, KPD_INT16, KPD_INT8, KPD_INT4};
    kpd_index_desc d = {0};
    id_list l = {0};
    bool ok, texts = j->arg[1] != NULL;
    if (!j->o.output) return usage("index build: -o INDEX.kpi is missing");
    if (j->o.kind == KPD_FLAT && ((j->o.store && stores[j->o.store] != KPD_INT8) || j->o.lists || j->o.recall > 0))
        return usage("index build: --store i16 and none, --lists and --recall are of --kind tree");
    if (texts && (j->o.ids || j->o.model))
        return usage("index build: --ids and --model are of vectors; texts may have a column `id`");
    if (!texts && (j->o.dim || j->o.columns || j->o.format || j->o.update))
        return usage("index build: --dim, --columns, --format and --update are of texts");
    if (!can_write(j->o.output)) return BAD_DATA;
    lock_index(j, j->o.output);
    d.metric = (kpd_metric)j->o.metric;
    d.kind = (kpd_index_kind)j->o.kind; d.storage = stores[j->o.store];
    d.lists = j->o.lists; d.recall = j->o.recall;
    d.partition = j->o.partition < 0 ? 0 : j->o.partition;
    ok = texts ? build_of_texts(j, &d) : build_of_vectors(j, &d, &l);
    free(l.id);
    if (ok && d.kind == KPD_TREE && !j->o.update)
        note(j->o.output, "a --recall holds for queries like its own vectors; `kpd index tune` tries others");
    return ok ? DONE : BAD_DATA;
}

// The id behind the greatest, which may be over INT64_MAX: none.
static uint64_t next_id(const kpd_index *x) {
    int64_t most = -1, slots = index_info(x).slots;
    for (int64_t i = 0, id; i < slots; i++)
        if (kpd_index_id(x, i, &id) && id > most) most = id;
    return (uint64_t)most + 1;
}

static bool add_texts(job *j) {
    text_index *x = (text_index *)job_alloc(j, 1, sizeof *x);
    if (!x || !open_model(j->arg[1], KPD_BI_ENCODER, &j->student) || !check_fingerprint(j, j->arg[1], j->arg[0])) return false;
    x->b.cols = index_info(j->index).dim;
    x->p.next = next_id(j->index);
    if (x->b.cols > kpd_model_dim(j->student))
        return fail(j->arg[0], 0, "dim %d, but %s has %d columns", (int)x->b.cols, j->arg[1], (int)kpd_model_dim(j->student));
    return index_of_texts(j, x, j->arg[2], j->arg[0], false);
}

static bool check_dim(const job *j, const char *vectors, const char *index) {
    int32_t dim = index_info(j->index).dim;
    if (j->vectors.cols == dim) return true;
    return fail(vectors, 0, "vectors of dim %d, but %s has dim %d", (int)j->vectors.cols, index, (int)dim);
}

static int run_index_add(job *j) {
    id_list l = {0};
    bool ok;
    if (j->arg[2] && j->o.ids) return usage("index add: --ids is of vectors; texts may have a column `id`");
    if (!j->arg[2] && !j->o.ids) return usage("index add: --ids FILE is missing");
    lock_index(j, j->arg[0]);
    if (!open_index(j, j->arg[0], true)) return BAD_DATA;
    if (j->arg[2]) return add_texts(j) ? DONE : BAD_DATA;
    if (!open_vectors(j, j->arg[1]) || !check_dim(j, j->arg[1], j->arg[0])) return BAD_DATA;
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
    say("%s: %zu of %zu removed, %lld now", path, removed, l->n, (long long)kpd_index_count(j->index));
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

static bool save_smaller(job *j, const char *path, int64_t before) {
    kpd_index_info i = index_info(j->index);
    if (!save_index(j, path)) return false;
    say("%s: %lld vectors, %lld before", path, (long long)i.count, (long long)before);
    return true;
}

static int run_index_compact(job *j) {
    kpd_error e;
    kpd_progress p;
    lock_index(j, j->arg[0]);
    if (!open_index(j, j->arg[0], true) || !open_pool(j)) return BAD_DATA;
    p = library_progress(&j->call, "vectors compared");
    if (kpd_index_compact(j->index, &j->parallel, &p, &e)) return fail(j->arg[0], 0, "%s", e.message), BAD_DATA;
    return save_smaller(j, j->arg[0], index_info(j->index).count) ? DONE : BAD_DATA;
}

static bool merge_all(job *j, kpd_index **other) {
    int64_t before = index_info(j->index).count;
    kpd_open_desc d = {0};
    kpd_progress p;
    kpd_error e;
    size_t n = 0;
    d.verify = true;
    for (; j->arg[n + 1]; n++)
        if (kpd_index_open(j->arg[n + 1], &d, &other[n], &e)) return fail_with(j->arg[n + 1], &e);
    p = library_progress(&j->call, "vectors compared");
    if (kpd_index_merge(j->index, (const kpd_index *const *)other, n, &j->parallel, &p, &e))
        return fail(e.where < 0 ? NULL : j->arg[e.where + 1], 0, "%s", e.message);
    return save_smaller(j, j->arg[0], before);
}

static int run_index_merge(job *j) {
    kpd_index *other[8] = {0};
    bool ok;
    lock_index(j, j->arg[0]);
    ok = open_index(j, j->arg[0], true) && open_pool(j) && merge_all(j, other);
    for (size_t i = 0; i < 8; i++) kpd_index_destroy(other[i]);
    return ok ? DONE : BAD_DATA;
}

// >>search  By vectors, which gives ids, or by texts, which gives texts. ---------------------------------------------------

typedef struct search_state {
    kpd_search_desc d;
    bool texts;
    int32_t dim;
    const char *name;                   // of the queries
    kpd_input *in;                      // of texts
    float *q; kpd_hit *hits; int32_t *counts; size_t rows;
} search_state;

static bool print_hits(const job *j, const search_state *s, int64_t first, size_t n) {
    FILE *f = j->out.file;
    for (size_t i = 0; i < n; i++)
        for (int32_t r = 0; r < s->counts[i]; r++) {
            const kpd_hit *h = &s->hits[i * (size_t)s->d.k + (size_t)r];
            kpd_text t;
            kpd_error e;
            fprintf(f, "%lld\t%d\t", (long long)first + (long long)i, (int)r + 1);
            if (!s->texts) fprintf(f, "%lld", (long long)h->id);
            else if (kpd_index_text(j->index, h->id, &t, &e)) return fail(j->arg[1], 0, "%s", e.message);
            else put_cell(f, t);
            fprintf(f, "\t%.9g\n", (double)h->score);
        }
    return true;
}

// The hits of a chunk fill some 16 MB at most, unless one query's are more.
static bool search_rows(job *j, const search_state *s, const float *q, int64_t first, size_t n) {
    kpd_error e;
    for (size_t at = 0; at < n; at += s->rows) {
        size_t m = n - at < s->rows ? n - at : s->rows;
        double began = now();
        if (kpd_index_search(j->session, j->index, q + at * (size_t)s->dim, m, &s->d, s->hits, s->counts, &e))
            return fail_row(s->name, &e, first + (int64_t)at);
        if (j->o.one && !note_time(j, now() - began)) return false;
        if (!print_hits(j, s, first + (int64_t)at, m)) return false;
        if (!s->texts) progress(j, (int64_t)m, j->count.done + (int64_t)m, j->vectors.rows);
        if (!output_ok(&j->out)) return false;
    }
    return true;
}

static bool search_all(job *j, const search_state *s) {
    size_t n;
    start(j, "queries");
    do {
        int64_t first = j->vectors.next;
        if (!next_vectors(j, s->name, s->q, &n) || !search_rows(j, s, s->q, first, n)) return false;
    } while (n);
    return output_commit(&j->out);
}

// A text a call, from words to hits.
static bool search_one_by_one(job *j, const search_state *s) {
    kpd_error e;
    for (int32_t i = 0; i < j->text.n; i++) {
        double began = now();
        if (kpd_embed(j->session, j->student, (kpd_tower)j->o.tower, &s->in[i], 1, s->dim, s->q, &e) ||
            kpd_index_search(j->session, j->index, s->q, 1, &s->d, s->hits, s->counts, &e)) {
            e.where = i;
            return fail_text(j, &e);
        }
        if (!note_time(j, now() - began) || !print_hits(j, s, j->text.first + i, 1)) return false;
    }
    return output_ok(&j->out);
}

static bool search_chunk(job *j, void *state) {
    const search_state *s = (const search_state *)state;
    batch b;
    b.in = s->in; b.out = s->q; b.cols = s->dim;
    if (j->o.one) return read_inputs(j, j->student, (kpd_tower)j->o.tower, b.in) && search_one_by_one(j, s);
    return read_inputs(j, j->student, (kpd_tower)j->o.tower, b.in) && embed_texts(j, j->student, j->session, &b, false) &&
           check_finite(j, b.out, b.cols) && search_rows(j, s, s->q, j->text.first, (size_t)j->text.n);
}

// More than the index holds cannot be found: k beyond it needs no memory.
static int32_t clamp_k(const job *j) {
    int64_t count = kpd_index_count(j->index);
    int32_t k = j->o.k ? j->o.k : 10;
    return (int64_t)k <= count ? k : count ? (int32_t)count : 1;
}

static int compare_ids(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

static bool search_filters(job *j, search_state *s) {
    id_list l = {0};
    int64_t *ids = NULL;
    s->d.only_partitions = j->o.partition >= 0;
    s->d.partitions = &j->o.partition; s->d.n_partitions = 1;
    if (!j->o.filter) return true;
    if (read_ids(j, j->o.filter, &l)) ids = (int64_t *)job_alloc(j, l.n + 1, sizeof *ids);
    if (ids && l.n) {
        memcpy(ids, l.id, l.n * sizeof *ids);
        qsort(ids, l.n, sizeof *ids, compare_ids);
    }
    s->d.only_ids = true; s->d.ids = ids; s->d.n_ids = l.n;
    reader_close(&j->text);
    free(l.id);
    return ids != NULL;
}

static bool search_begin(job *j, search_state *s, size_t rows) {
    if (!search_filters(j, s)) return false;
    s->d.k = clamp_k(j);
    s->d.threshold = isfinite(j->o.threshold);
    s->d.min_score = s->d.threshold ? j->o.threshold : 0;
    s->d.recall = j->o.recall; s->d.gamma = j->o.gamma;
    s->rows = j->o.one ? 1 : 1 + ((size_t)1 << 20) / (size_t)s->d.k;
    if (!open_session(j, s->d.k, s->dim) || !output_open(&j->out, j->o.output)) return false;
    s->q = (float *)job_alloc(j, rows, (size_t)s->dim * sizeof *s->q);
    s->hits = (kpd_hit *)job_alloc(j, s->rows * (size_t)s->d.k, sizeof *s->hits);
    s->counts = (int32_t *)job_alloc(j, s->rows, sizeof *s->counts);
    return s->q && s->hits && s->counts;
}

static bool search_texts(job *j) {
    search_state s = {0};
    if (!open_model(j->arg[0], KPD_BI_ENCODER, &j->student) || !open_index(j, j->arg[1], false) ||
        !check_fingerprint(j, j->arg[0], j->arg[1])) return false;
    if (!index_info(j->index).text_bytes && index_info(j->index).count)
        return fail(j->arg[1], 0, "it keeps no texts; `kpd index build MODEL.kpd TEXTS` makes one that does");
    s.dim = index_info(j->index).dim;
    s.texts = true;
    if (s.dim > kpd_model_dim(j->student))
        return fail(j->arg[1], 0, "dim %d, but %s has %d columns", (int)s.dim, j->arg[0], (int)kpd_model_dim(j->student));
    s.in = (kpd_input *)job_alloc(j, CHUNK_LINES, sizeof *s.in);
    if (!s.in || !search_begin(j, &s, CHUNK_LINES)) return false;
    if (!open_text_or_word(j, j->arg[2], j->student, (kpd_tower)j->o.tower)) return false;
    s.name = j->text.name;
    return each_chunk(j, "queries", search_chunk, &s) && output_commit(&j->out);
}

static bool search_vectors(job *j) {
    search_state s = {0};
    if (!open_index(j, j->arg[0], false) || !open_vectors(j, j->arg[1]) || !check_dim(j, j->arg[1], j->arg[0])) return false;
    s.dim = j->vectors.cols;
    s.name = j->arg[1];
    return search_begin(j, &s, rows_a_chunk(s.dim)) && search_all(j, &s);
}

static int run_search(job *j) {
    if (!j->arg[2] && (j->o.tower || j->o.columns || j->o.format))
        return usage("search: --tower, --columns and --format are of texts: kpd search MODEL.kpd INDEX.kpi TEXT");
    if (!(j->arg[2] ? search_texts(j) : search_vectors(j))) return BAD_DATA;
    if (j->out.path) say("%s: hits of %lld queries", j->out.path, (long long)j->count.done);
    return DONE;
}

static bool tune(job *j) {
    const char *path = j->arg[0];
    float recall = asked_recall(j), *q;
    size_t n = (size_t)j->vectors.rows;
    int32_t k = j->o.k ? j->o.k : 10;
    kpd_tuning t;
    kpd_error e;
    start(j, "queries");
    q = all_vectors(j, j->arg[1]);
    j->watch = library_progress(&j->call, "steps");
    if (!q || !open_session(j, k, j->vectors.cols)) return false;
    if (kpd_index_tune(j->session, j->index, q, n, k, recall, &t, &e)) return fail_row(j->arg[1], &e, 0);
    j->count.done = (int64_t)n;
    if (!save_index(j, path)) return false;
    say("%s: recall %.4f at gamma %.4f, breadth %g, candidates %g, k %d, by %zu queries", path, (double)t.recall,
        (double)t.gamma, (double)t.breadth, (double)t.candidates, (int)k, n);
    if (t.work < t.plain) say("with %.0f %% of the work of gamma alone", 100.0 * (double)t.work / (double)t.plain);
    if (t.recall < recall) note(path, "the recall asked for, %g, was not reached", (double)recall);
    return true;
}

static int run_index_tune(job *j) {
    lock_index(j, j->arg[0]);
    if (!open_index(j, j->arg[0], true) || !open_vectors(j, j->arg[1]) ||
        !check_dim(j, j->arg[1], j->arg[0]))
        return BAD_DATA;
    return tune(j) ? DONE : BAD_DATA;
}
