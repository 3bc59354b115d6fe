// cmd_recommend.h - the command recommend: items in, keyphrases out.
// Part of kpd.c, below cmd_index.h and cmd_label.h.
// Contents: >>earlier >>recommend

// >>earlier  The lists of an earlier run: an item whose text is the same keeps its own, if all its keyphrases are there. ---

typedef struct earlier {
    pair_map items;                     // line = the item's row there, from 1
    FILE *lists;                        // by item: its row TAB rank TAB keyphrase ...
    int64_t *begin, size, place;        // [rows] the byte where an item's list begins; of the file; where it is read next
    size_t rows, room;
    pair_map phrases;                   // by a hash, those that there are now
    char *text; size_t used, room_of_text;      // of the lists of the chunk in hand
    size_t at[CHUNK_LINES + 1];         // where there each item's begins
    int64_t n_items, listed;            // of the items those up to the last that has a list
    int64_t kept, empty, gone, looked_at, stale;        // of those whose text is the same: kept, of these without a list though
                                        // beyond the last listed; not kept; of those kept made anew to see; other lists now
} earlier;

enum { LOOK_EACH = 64 };                // of the lists that are kept

static void earlier_free(earlier *x) {
    free(x->items.at);
    free(x->phrases.at);
    free(x->text);
    free(x->begin);
    if (x->lists) fclose(x->lists);
}

static bool earlier_item(void *state, const reader *r, int32_t i) {
    earlier *x = (earlier *)state;
    pair_entry *p = pair_add(&x->items, text_hash(0, r->lines[i]));
    if (!p) return false;
    p->line = r->first + i + 1;         // of equal items the last: their lists are equal too
    return true;
}

// Rows up to `row` begin here.
static bool earlier_begin(earlier *x, size_t row) {
    if (!grow((void **)&x->begin, &x->room, row + 2, sizeof *x->begin)) return false;
    while (x->rows <= row) x->begin[x->rows++] = x->size;
    return true;
}

// The rows are read here; the rest stays in the file until it is printed.
static bool earlier_line(const job *j, earlier *x, int64_t number, const char *line, size_t size) {
    const char *tab = (const char *)memchr(line, '\t', size);
    kpd_text row = {line, tab ? (size_t)(tab - line) : 0};
    double item;
    if (!tab || !parse_count(row, &item) || item + 1 < (double)x->rows)
        return fail(j->o.earlier_lists, number, "expected an item's row, not below that of the line before, and behind a TAB "
                    "its list");
    if (item >= (double)x->n_items)
        return fail(j->o.earlier_lists, number, "a list of item %.0f, but there are %lld earlier items", item,
                    (long long)x->n_items);
    if (!earlier_begin(x, (size_t)item)) return false;
    x->listed = (int64_t)item + 1;
    x->size += (int64_t)size;
    return true;
}

static bool earlier_lines(const job *j, earlier *x) {
    char *line = NULL;
    size_t room = 0;
    ssize_t n;
    bool ok = true;
    for (int64_t number = 1; ok && (n = getline(&line, &room, x->lists)) > 0; number++)
        ok = earlier_line(j, x, number, line, (size_t)n);
    free(line);
    return ok && (!ferror(x->lists) || fail(j->o.earlier_lists, 0, "cannot be read")) && earlier_begin(x, (size_t)x->n_items);
}

static bool earlier_read(job *j, earlier *x) {
    const char *why;
    if (!open_text(j, j->o.earlier_items, j->student, KPD_ITEM) || !each_line(&j->text, earlier_item, x)) return false;
    x->n_items = j->text.first + j->text.n;
    reader_close(&j->text);
    x->lists = files_open(j->o.earlier_lists, &why);
    x->place = -1;
    return x->lists ? earlier_lines(j, x) : fail(j->o.earlier_lists, 0, "%s", why);
}

// The row there, from 1, of the chunk's item i, or 0: it is new.
static int64_t earlier_row(const earlier *x, const reader *r, int32_t i) {
    const pair_entry *p = pair_find(&x->items, text_hash(0, r->lines[i]));
    return p ? p->line : 0;
}

// The text that put_cell would write, known by a hash.
static bool earlier_phrase(earlier *x, kpd_text t) {
    if (!grow((void **)&x->text, &x->room_of_text, t.size + 1, 1)) return false;
    for (size_t i = 0; i < t.size; i++) x->text[i] = cell_char(t.data[i]);
    t.data = x->text;
    return pair_add(&x->phrases, text_hash(0, t)) != NULL;
}

// Those that can be found: the index has their ids, and --keyphrases, where it is given, their words.
static bool earlier_phrases(const job *j, const phrases *p, earlier *x) {
    int64_t slots = index_info(j->index).slots, id;
    kpd_text t;
    kpd_error e;
    for (size_t i = 0; i < p->n; i++)
        if (kpd_index_contains(j->index, p->list[i].id) && !earlier_phrase(x, phrase_text(p, i))) return false;
    for (int64_t i = 0; !j->o.keyphrases && i < slots; i++) {
        if (!kpd_index_id(j->index, i, &id)) continue;
        if (kpd_index_text(j->index, id, &t, &e)) return fail(j->arg[2], 0, "%s", e.message);
        if (!earlier_phrase(x, t)) return false;
    }
    return true;
}

// The next line of a list behind the item's row, and its second column; false = there is none.
static bool next_of_list(kpd_text *list, kpd_text *line, kpd_text *keyphrase) {
    const char *end = list->size ? (const char *)memchr(list->data, '\n', list->size) : NULL, *tab;
    if (!end) return false;
    tab = (const char *)memchr(list->data, '\t', (size_t)(end - list->data));
    line->data = tab ? tab + 1 : end;
    line->size = (size_t)(end - line->data);
    list->size -= (size_t)(end + 1 - list->data);
    list->data = end + 1;
    tab = (const char *)memchr(line->data, '\t', line->size);
    keyphrase->data = tab ? tab + 1 : end;
    tab = (const char *)memchr(keyphrase->data, '\t', (size_t)(end - keyphrase->data));
    keyphrase->size = (size_t)((tab ? tab : end) - keyphrase->data);
    return true;
}

static kpd_text earlier_list(const earlier *x, int32_t i) {
    kpd_text list;
    list.data = x->text + x->at[i];
    list.size = x->at[i + 1] - x->at[i];
    return list;
}

// Reads that of an earlier row, of the chunk's item i; *row = 0 if a keyphrase of it is gone.
static bool earlier_take(const job *j, earlier *x, int32_t i, int64_t *row) {
    int64_t from = x->begin[*row - 1];
    size_t n = (size_t)(x->begin[*row] - from);
    kpd_text list, line, keyphrase;
    if (!grow((void **)&x->text, &x->room_of_text, x->used + n + 1, 1)) return false;
    if ((x->place != from && fseeko(x->lists, (off_t)from, SEEK_SET)) || fread(x->text + x->used, 1, n, x->lists) != n)
        return fail(j->o.earlier_lists, 0, "cannot be read, or was changed meanwhile");
    x->place = from + (int64_t)n;
    if (n && x->text[x->used + n - 1] != '\n') x->text[x->used + n++] = '\n';      // of the file's last line
    x->at[i] = x->used;
    x->at[i + 1] = x->used + n;
    list = earlier_list(x, i);
    while (*row && next_of_list(&list, &line, &keyphrase))
        if (!pair_find(&x->phrases, text_hash(0, keyphrase))) *row = 0;
    x->gone += !*row;
    x->empty += *row > x->listed;
    if (*row) x->used += n;
    else x->at[i + 1] = x->used;
    return true;
}

static void print_earlier(const job *j, kpd_text list, int64_t item) {
    kpd_text line, keyphrase;
    while (next_of_list(&list, &line, &keyphrase)) {
        fprintf(j->out.file, "%lld\t", (long long)item);
        fwrite(line.data, 1, line.size, j->out.file);
        fputc('\n', j->out.file);
    }
}

// Share of n that is k with its 95 % interval [Wilson 1927].
static void share_of(int64_t k, int64_t n, double out[3]) {
    double z2 = 1.959964 * 1.959964, p = (double)k / (double)n, d = 1 + z2 / (double)n, middle = (p + z2 / (2 * (double)n)) / d;
    double half = 1.959964 * sqrt(p * (1 - p) / (double)n + z2 / (4 * (double)n * (double)n)) / d;
    out[0] = p; out[1] = middle > half ? middle - half : 0; out[2] = middle + half < 1 ? middle + half : 1;
}

static void earlier_say(const job *j, const earlier *x, int64_t items) {
    const char *lists = j->o.earlier_lists;
    double share[3];
    note(lists, "%lld of %lld items are new or have changed, %lld had a keyphrase that is gone, the others keep their lists",
         (long long)(items - x->kept - x->gone), (long long)items, (long long)x->gone);
    if (x->empty) note(lists, "it ends before %lld of these have a list; is the file whole?", (long long)x->empty);
    if (!x->looked_at) return;
    share_of(x->stale, x->looked_at, share);
    note(lists, "of %lld kept lists that were made anew to see, %lld would now be others: of the %lld kept some %.0f [%.0f, "
         "%.0f] are stale, %.1f %%", (long long)x->looked_at, (long long)x->stale, (long long)x->kept, share[0] * (double)x->kept,
         share[1] * (double)x->kept, share[2] * (double)x->kept, 100 * share[0]);
}

// >>recommend ---------------------------------------------------------------------------------------------------------

typedef struct recommender {
    kpd_recommend_desc d;
    kpd_input *in;
    kpd_recommendation *out;
    int32_t *counts, *line;             // line: of the chunk, of each of `in`
    int64_t *row;                       // of each line, see earlier_row
    earlier before;
} recommender;

static void print_recommendations(const job *j, const recommender *r, int32_t at) {
    for (int32_t rank = 0; rank < r->counts[at]; rank++) {
        const kpd_recommendation *x = &r->out[(size_t)at * (size_t)r->d.search.k + (size_t)rank];
        kpd_text t = {"", 0};
        r->d.lookup(r->d.lookup_user, x->id, &t);
        fprintf(j->out.file, "%lld\t%d\t", (long long)(j->text.first + r->line[at]), (int)rank + 1);
        put_cell(j->out.file, t);
        fprintf(j->out.file, "\t%.9g\t", (double)x->similarity);
        fprintf(j->out.file, r->d.assistant ? "%.9g\n" : "-\n", (double)x->relevance);
    }
}

// Whether a list has the keyphrases, in their order, that the one at `at` has.
static bool is_same_list(const recommender *r, kpd_text list, int32_t at) {
    kpd_text line, keyphrase;
    for (int32_t rank = 0; rank < r->counts[at]; rank++) {
        kpd_text t = {"", 0};
        r->d.lookup(r->d.lookup_user, r->out[(size_t)at * (size_t)r->d.search.k + (size_t)rank].id, &t);
        if (!next_of_list(&list, &line, &keyphrase) || !is_cell_of(keyphrase, t)) return false;
    }
    return !next_of_list(&list, &line, &keyphrase);
}

// Those without an earlier list are recommended for, and a few of the others to see how many lists are stale; all are printed
// in their order.
static bool recommend_chunk(job *j, void *state) {
    recommender *r = (recommender *)state;
    kpd_error e;
    int32_t n = 0;
    if (!split_chunk(j, 2, r->in)) return false;
    r->before.used = 0;
    for (int32_t i = 0; i < j->text.n; i++) {
        r->row[i] = earlier_row(&r->before, &j->text, i);
        if (r->row[i] && !earlier_take(j, &r->before, i, &r->row[i])) return false;
        if (r->row[i] && r->before.kept++ % LOOK_EACH) continue;
        r->in[n] = r->in[i];
        r->line[n++] = i;
    }
    if (kpd_recommend(j->session, &r->d, r->in, (size_t)n, r->out, r->counts, &e)) {
        if (e.where >= 0 && e.where < n) e.where = r->line[e.where];
        return fail_text(j, &e);
    }
    for (int32_t i = 0, at = 0; i < j->text.n; i++) {
        bool made = at < n && r->line[at] == i;
        if (!r->row[i]) print_recommendations(j, r, at);
        else print_earlier(j, earlier_list(&r->before, i), j->text.first + i);
        if (r->row[i] && made) {
            r->before.looked_at++;
            r->before.stale += !is_same_list(r, earlier_list(&r->before, i), at);
        }
        at += made;
    }
    return true;
}

static bool text_of_index(void *user, int64_t id, kpd_text *out) {
    return !kpd_index_text((const kpd_index *)user, id, out, NULL) && out->size;
}

static void fill_recommend(const job *j, phrases *p, kpd_recommend_desc *d) {
    d->student = j->student;
    d->assistant = j->assistant;
    d->index = j->index;
    d->search.k = clamp_k(j);
    d->search.threshold = isfinite(j->o.min_similarity);
    d->search.min_score = d->search.threshold ? j->o.min_similarity : 0;
    d->lookup = j->o.keyphrases ? phrases_find : text_of_index;
    d->lookup_user = p;
    if (!j->o.keyphrases) d->lookup_user = j->index;
    d->min_relevance = isfinite(j->o.threshold) ? j->o.threshold : 0;
    d->rank_by_relevance = j->o.by_relevance != 0;
    d->same_words_are_duplicates = j->o.same_words != 0;
}

// Some of the keyphrases are embedded again: the vector of its id should be the nearest to each. If another's is to most of
// them, ids and keyphrases do not belong together, and every list would be wrong without a sign of it.
static bool check_keyphrases(job *j, const phrases *p, const char *path) {
    enum { SAMPLE = 32 };
    kpd_index_info info = index_info(j->index);
    float *q = (float *)job_alloc(j, 2, (size_t)info.dim * sizeof *q), *own = q ? q + info.dim : NULL;
    size_t step = p->n / SAMPLE + 1, strange = 0, seen = 0;
    if (!q) return false;
    if (info.metric != KPD_COSINE || info.dim > kpd_model_dim(j->student)) return true;
    for (size_t i = 0; i < p->n; i += step) {
        kpd_row row = {0};
        kpd_input in;
        kpd_hit hit;
        int32_t found;
        kpd_error e;
        kpd_search_desc d = {0};
        d.k = 1;
        if (kpd_index_get(j->index, p->list[i].id, own, &e)) continue;
        row.keyphrase = phrase_text(p, i);
        kpd_model_input(j->student, KPD_KEYPHRASE, &row, &in);
        if (kpd_embed(j->session, j->student, KPD_KEYPHRASE, &in, 1, info.dim, q, &e) ||
            kpd_index_search(j->session, j->index, q, 1, &d, &hit, &found, &e))
            return fail(path, p->list[i].line, "%s", e.message);
        seen++;
        strange += found && hit.score > kpd_cosine(q, own, info.dim) + 0.01f;
    }
    if (2 * strange <= seen) return true;
    return fail(path, 0, "ids and keyphrases are not those of the index: of %zu keyphrases %zu are nearer to another id's "
                "vector; ids count from 0 unless the index was built with others", seen, strange);
}

static bool read_keyphrases(job *j, phrases *p) {
    const char *path = j->o.keyphrases;
    if (!phrases_read(p, j, path) || !check_keyphrases(j, p, path)) return false;
    phrases_check(p, j->index, path);
    return true;
}

static bool recommend(job *j, phrases *p, recommender *r) {
    fill_recommend(j, p, &r->d);
    if (!open_session(j, r->d.search.k, index_info(j->index).dim)) return false;
    if (j->o.keyphrases && !read_keyphrases(j, p)) return false;
    if (j->o.earlier_items && (!earlier_phrases(j, p, &r->before) || !earlier_read(j, &r->before))) return false;
    if (!open_text_or_word(j, j->arg[3], j->student, KPD_ITEM) || !output_open(&j->out, j->o.output)) return false;
    r->in = (kpd_input *)job_alloc(j, CHUNK_LINES, sizeof *r->in);
    r->out = (kpd_recommendation *)job_alloc(j, CHUNK_LINES, (size_t)r->d.search.k * sizeof *r->out);
    r->counts = (int32_t *)job_alloc(j, CHUNK_LINES, sizeof *r->counts);
    r->line = (int32_t *)job_alloc(j, CHUNK_LINES, sizeof *r->line);
    r->row = (int64_t *)job_alloc(j, CHUNK_LINES, sizeof *r->row);
    if (!r->in || !r->out || !r->counts || !r->line || !r->row) return false;
    if (!each_chunk(j, "items", recommend_chunk, r) || !output_commit(&j->out)) return false;
    if (j->o.earlier_items) earlier_say(j, &r->before, j->count.done);
    if (j->out.path) say("%s: keyphrases for %lld items", j->out.path, (long long)j->count.done);
    return true;
}

static int run_recommend(job *j) {
    phrases p = {0};
    recommender r = {0};
    bool ok, filter = strcmp(j->arg[1], "-") != 0;
    if (!filter && isfinite(j->o.threshold)) return usage("--threshold is a relevance, which needs an assistant");
    if (!filter && j->o.by_relevance) return usage("--by-relevance needs an assistant");
    if (!j->o.earlier_items != !j->o.earlier_lists) return usage("--earlier-items and --earlier-lists: expected both or none");
    if (isfinite(j->o.threshold) && (j->o.threshold < 0 || j->o.threshold > 1))
        return usage("--threshold %g: expected a relevance from 0 to 1", (double)j->o.threshold);
    if (!open_model(j->arg[0], KPD_BI_ENCODER, &j->student)) return BAD_DATA;
    if (filter && !open_model(j->arg[1], KPD_CROSS_ENCODER, &j->assistant)) return BAD_DATA;
    if (!open_index(j, j->arg[2], false) || !check_fingerprint(j, j->arg[0], j->arg[2])) return BAD_DATA;
    if (!j->o.keyphrases && (!index_info(j->index).text_bytes || !index_info(j->index).count))
        return fail(j->arg[2], 0, "it keeps no keyphrases: --keyphrases FILE gives them, or `kpd index build MODEL.kpd TEXTS` "
                    "makes an index that does"), BAD_DATA;
    ok = recommend(j, &p, &r);
    phrases_free(&p);
    earlier_free(&r.before);
    return ok ? DONE : BAD_DATA;
}
