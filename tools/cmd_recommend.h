// cmd_recommend.h - the command recommend: items in, keyphrases out.
// Part of kpd.c, below cmd_index.h.

// >>recommend --------------------------------------------------------------------------------------------------------

typedef struct phrase { int64_t id, line; size_t at, size; } phrase;

typedef struct phrases {                // sorted by id
    phrase *list; size_t n, capacity;
    char *text; size_t text_size, text_capacity;
} phrases;

static void phrases_free(phrases *p) {
    free(p->list);
    free(p->text);
}

static bool phrases_reserve(phrases *p, size_t text) {
    if (p->n == p->capacity) {
        size_t capacity = p->capacity * 2 + 1024;
        phrase *list = (phrase *)realloc(p->list, capacity * sizeof *list);
        if (!list) return fail(NULL, 0, "out of memory: %zu keyphrases", capacity);
        p->list = list;
        p->capacity = capacity;
    }
    if (p->text_size + text >= p->text_capacity) {
        size_t capacity = p->text_capacity * 2 + text + 65536;
        char *block = (char *)realloc(p->text, capacity);
        if (!block) return fail(NULL, 0, "out of memory: %zu bytes of keyphrases", capacity);
        p->text = block;
        p->text_capacity = capacity;
    }
    return true;
}

static bool phrases_add(phrases *p, const reader *r, int32_t i) {
    kpd_input in;
    phrase *x;
    if (!reader_split(r, i, 2, &in)) return false;
    if (in.n_parts < 2) return fail(r->name, r->line[i], "expected id TAB keyphrase");
    if (!phrases_reserve(p, in.part[1].size)) return false;
    x = &p->list[p->n];
    if (!parse_id(r, i, in.part[0], &x->id)) return false;
    x->line = r->line[i];
    x->at = p->text_size;
    x->size = in.part[1].size;
    if (x->size) memcpy(p->text + p->text_size, in.part[1].data, x->size);
    p->text_size += x->size;
    p->n++;
    return true;
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
    reader *r = &j->text;
    if (!reader_open(r, path)) return false;
    do {
        if (!reader_next(r)) return false;
        for (int32_t i = 0; i < r->n; i++)
            if (!phrases_add(p, r, i)) return false;
    } while (r->n);
    reader_close(r);
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
    out->data = p->text + p->list[low].at;
    out->size = p->list[low].size;
    return true;
}

// Ids that the index has and the keyphrases have not are never recommended; the user should know.
static void phrases_check(phrases *p, const kpd_index *x, const char *path) {
    kpd_index_info info = kpd_index_get_info(x);
    int64_t count = info.count, missing = 0, found = 0;
    kpd_text t;
    for (int64_t i = 0; i < info.slots; i++) found += phrases_find(p, kpd_index_id(x, i), &t);
    missing = found < count ? count - found : 0;        // an empty slot gives -1, which may be an id too
    if (!missing) return;
    note(path, "%lld of the index's %lld ids are not in this file and are left out", (long long)missing,
         (long long)count);
}

typedef struct recommender { kpd_recommend_desc d; kpd_input *in; kpd_recommendation *out; int32_t *counts; } recommender;

static void print_recommendations(const job *j, const recommender *r, int32_t i) {
    for (int32_t rank = 0; rank < r->counts[i]; rank++) {
        const kpd_recommendation *x = &r->out[(size_t)i * (size_t)r->d.search.k + (size_t)rank];
        kpd_text t = {"", 0};
        r->d.lookup(r->d.lookup_user, x->id, &t);
        fprintf(j->out.file, "%lld\t%d\t", (long long)(j->text.first + i), (int)rank + 1);
        fwrite(t.data, 1, t.size, j->out.file);
        fprintf(j->out.file, "\t%.9g\t", (double)x->similarity);
        fprintf(j->out.file, r->d.assistant ? "%.9g\n" : "-\n", (double)x->relevance);
    }
}

static bool recommend_chunk(job *j, void *state) {
    recommender *r = (recommender *)state;
    kpd_error e;
    if (!split_chunk(j, 2, r->in)) return false;
    if (kpd_recommend(j->session, &r->d, r->in, (size_t)j->text.n, r->out, r->counts, &e)) return fail_text(j, &e);
    for (int32_t i = 0; i < j->text.n; i++) print_recommendations(j, r, i);
    return true;
}

static void fill_recommend(const job *j, phrases *p, kpd_recommend_desc *d) {
    d->student = j->student;
    d->assistant = j->assistant;
    d->index = j->index;
    d->search.k = clamp_k(j);
    d->search.threshold = isfinite(j->o.min_similarity);
    d->search.min_score = d->search.threshold ? j->o.min_similarity : 0;
    d->lookup = phrases_find;
    d->lookup_user = p;
    d->min_relevance = isfinite(j->o.threshold) ? j->o.threshold : 0;
    d->rank_by_relevance = j->o.by_relevance != 0;
    d->same_words_are_duplicates = j->o.same_words != 0;
}

static bool recommend(job *j, phrases *p) {
    recommender r = {0};
    if (!phrases_read(p, j, j->arg[3])) return false;
    phrases_check(p, j->index, j->arg[3]);
    fill_recommend(j, p, &r.d);
    if (!open_session(j, r.d.search.k, kpd_index_get_info(j->index).dim)) return false;
    if (!open_text(j, j->arg[4], j->student, KPD_ITEM) || !output_open(&j->out, j->o.output)) return false;
    r.in = (kpd_input *)job_alloc(j, CHUNK_LINES, sizeof *r.in);
    r.out = (kpd_recommendation *)job_alloc(j, CHUNK_LINES, (size_t)r.d.search.k * sizeof *r.out);
    r.counts = (int32_t *)job_alloc(j, CHUNK_LINES, sizeof *r.counts);
    if (!r.in || !r.out || !r.counts || !each_chunk(j, "items", recommend_chunk, &r) || !output_commit(&j->out)) return false;
    if (j->out.path) say("%s: keyphrases for %lld items", j->out.path, (long long)j->done);
    return true;
}

static int run_recommend(job *j) {
    phrases p = {0};
    bool ok, filter = strcmp(j->arg[1], "-") != 0;
    if (!filter && isfinite(j->o.threshold)) return usage("--threshold is a relevance, which needs an assistant");
    if (!filter && j->o.by_relevance) return usage("--by-relevance needs an assistant");
    if (isfinite(j->o.threshold) && (j->o.threshold < 0 || j->o.threshold > 1))
        return usage("--threshold %g: expected a relevance from 0 to 1", (double)j->o.threshold);
    if (!open_model(j->arg[0], KPD_BI_ENCODER, &j->student)) return BAD_DATA;
    if (filter && !open_model(j->arg[1], KPD_CROSS_ENCODER, &j->assistant)) return BAD_DATA;
    if (!open_index(j, j->arg[2], false)) return BAD_DATA;
    ok = recommend(j, &p);
    phrases_free(&p);
    return ok ? DONE : BAD_DATA;
}
