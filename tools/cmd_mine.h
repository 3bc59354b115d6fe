// cmd_mine.h - the command mine: pairs in, pairs with hard negatives out.
// Part of kpd.c, below cmd_index.h, by which it embeds keyphrases, and cmd_label.h, whose hashes of texts tell items apart.

// >>mine -------------------------------------------------------------------------------------------------------------

typedef struct own_phrase { uint64_t item; size_t at, size; } own_phrase;

typedef struct miner {
    kpdt_mining_desc d;
    own_phrase *own; size_t n_own, own_capacity;        // of all pairs, sorted by item
    char *text; size_t text_size, text_capacity;        // their keyphrases
    kpd_text *known;                    // the same as `own`
    int64_t number, unmeant;            // rows so far; of pairs with a label below .5, which are left out
    kpdt_mining_row rows[CHUNK_LINES];  // of the chunk
    kpdt_mined_rows out;
    kpdt_mining_counts total;
    output relabel;
    phrases phrases; kpd_text *texts; bm25 words;       // of --bm25
} miner;

// A row's cells, and whether it is a pair that is meant to be one.
static bool mine_cells(const reader *r, int32_t i, kpd_row *row, bool *meant) {
    kpd_text cell[4] = {{NULL, 0}, {NULL, 0}, {NULL, 0}, {NULL, 0}};
    int n = split_columns(r, i, cell, 4);
    float label = 1;
    if (n < 2 || n > 4)
        return fail(r->name, r->line[i], "%d cell(s), expected keyphrase TAB title, category, label", n);
    if (cell[3].size && !parse_real(r, i, "label", cell[3], 0, 1, &label)) return false;
    row->keyphrase = cell[0]; row->title = cell[1]; row->category = cell[2];
    *meant = label >= 0.5f;
    return true;
}

static uint64_t mine_item(const kpd_row *row) { return text_hash(text_hash(0, row->title), row->category); }

static bool mine_note_own(void *state, const reader *r, int32_t i) {
    miner *x = (miner *)state;
    own_phrase *own;
    kpd_row row;
    bool meant;
    if (!mine_cells(r, i, &row, &meant)) return false;
    if (!meant) return true;
    if (!grow((void **)&x->own, &x->own_capacity, x->n_own + 1, sizeof *x->own) ||
        !grow((void **)&x->text, &x->text_capacity, x->text_size + row.keyphrase.size + 1, 1)) return false;
    own = &x->own[x->n_own++];
    own->item = mine_item(&row);
    own->at = x->text_size; own->size = row.keyphrase.size;
    if (own->size) memcpy(x->text + own->at, row.keyphrase.data, own->size);
    x->text_size += own->size;
    return true;
}

static int compare_own(const void *a, const void *b) {
    const own_phrase *x = (const own_phrase *)a, *y = (const own_phrase *)b;
    if (x->item != y->item) return x->item < y->item ? -1 : 1;
    return x->at < y->at ? -1 : x->at > y->at;
}

static bool open_pairs(job *j, const char *path) { return open_columns(j, path, "keyphrase title category* label*"); }

// What every item's own keyphrases are, before the first row is mined.
static bool mine_read_own(job *j, miner *x) {
    if (!open_pairs(j, j->arg[2]) || !each_line(&j->text, mine_note_own, x)) return false;
    reader_close(&j->text);
    if (x->n_own) qsort(x->own, x->n_own, sizeof *x->own, compare_own);
    x->known = (kpd_text *)job_alloc(j, x->n_own, sizeof *x->known);
    for (size_t i = 0; x->known && i < x->n_own; i++) {
        x->known[i].data = x->text + x->own[i].at;
        x->known[i].size = x->own[i].size;
    }
    return x->known != NULL;
}

static void mine_known(const miner *x, uint64_t item, kpdt_mining_row *row) {
    size_t low = 0, high = x->n_own;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (x->own[mid].item < item) low = mid + 1; else high = mid;
    }
    row->known = x->known + low;
    for (row->n_known = 0; low + row->n_known < x->n_own && x->own[low + row->n_known].item == item;) row->n_known++;
}

static void mine_put_text(const job *j, const miner *x, FILE *f, int64_t id) {
    kpd_text t = {"", 0};
    if (x->d.lookup) x->d.lookup(x->d.lookup_user, id, &t);
    else kpd_index_text(j->index, id, &t, NULL);
    put_cell(f, t);
}

static void mine_put_item(FILE *f, const kpd_row *row) {
    fputc('\t', f);
    put_cell(f, row->title);
    fputc('\t', f);
    put_cell(f, row->category);
}

static void mine_print(const job *j, const miner *x, size_t i) {
    FILE *f = j->out.file, *to = x->relabel.file;
    size_t ranks = (size_t)(x->d.last_rank - x->d.first_rank + 1);
    put_cell(f, x->rows[i].row.keyphrase);
    mine_put_item(f, &x->rows[i].row);
    for (int32_t k = 0; k < x->d.n; k++) {
        fputc('\t', f);
        if (k < x->out.n_negatives[i]) mine_put_text(j, x, f, x->out.negatives[i * (size_t)x->d.n + (size_t)k].id);
    }
    fputc('\n', f);
    for (int32_t k = 0; to && k < x->out.n_relevant[i]; k++) {
        const kpdt_mined *hit = &x->out.relevant[i * ranks + (size_t)k];
        mine_put_text(j, x, to, hit->id);
        mine_put_item(to, &x->rows[i].row);
        fprintf(to, "\t%.9g\n", (double)hit->relevance);
    }
}

static bool mine_chunk(job *j, void *state) {
    miner *x = (miner *)state;
    int64_t line[CHUNK_LINES];
    size_t n = 0;
    kpd_error e;
    for (int32_t i = 0; i < j->text.n; i++) {
        kpdt_mining_row *row = &x->rows[n];
        bool meant;
        memset(row, 0, sizeof *row);
        if (!mine_cells(&j->text, i, &row->row, &meant)) return false;
        row->number = x->number++;
        x->unmeant += !meant;
        if (!meant) continue;
        mine_known(x, mine_item(&row->row), row);
        line[n++] = j->text.line[i];
    }
    if (kpdt_mine(j->session, &x->d, x->rows, n, &x->out, &x->total, &e)) return fail_lines(j, line, n, &e);
    for (size_t i = 0; i < n; i++) mine_print(j, x, i);
    return !x->relabel.file || output_ok(&x->relabel);
}

static bool mine_open_index(job *j, int32_t *dim) {
    if (j->o.dim) return fail(j->arg[1], 0, "--dim is of keyphrases that are embedded here; an index has its own");
    if (!open_index(j, j->arg[1], false) || !check_fingerprint(j, j->arg[0], j->arg[1])) return false;
    *dim = index_info(j->index).dim;
    if (index_info(j->index).text_bytes) return true;
    return fail(j->arg[1], 0, "it keeps no keyphrases; `kpd index build MODEL.kpd TEXTS` makes an index that does");
}

// A flat index of a file's keyphrases, for the time of the command.
static bool mine_make_index(job *j, int32_t dim) {
    static const columns c = {"id? keyphrase", NULL, TABLE_BY_NAME};        // --columns is said of the pairs
    text_index *t = (text_index *)job_alloc(j, 1, sizeof *t);
    kpd_index_desc d = {0};
    kpd_error e;
    bool ok;
    if (!t) return false;
    d.dim = dim;
    d.metric = kpd_model_get_desc(j->student)->similarity;
    d.fingerprint = kpd_model_fingerprint(j->student, KPD_KEYPHRASE);
    if (kpd_index_create(&d, &j->index, &e)) return fail(j->arg[1], 0, "%s", e.message);
    t->b.cols = dim;
    ok = reader_open_as(&j->text, j->arg[1], &c) && each_line(&j->text, phrases_add, &t->p) && text_index_embed(j, t);
    reader_close(&j->text);
    phrases_free(&t->p);
    j->count.unit = NULL;               // what comes is counted anew
    j->count.done = 0;
    return ok;
}

static bool mine_lookup(void *user, int64_t id, kpd_text *out) {
    const miner *x = (const miner *)user;
    if (id < 0 || (size_t)id >= x->phrases.n) return false;
    *out = x->texts[id];
    return true;
}

static int32_t mine_by_words(void *user, const kpd_row *item, kpd_hit *out, int32_t most) {
    return bm25_find(&((miner *)user)->words, item->title, out, most);
}

// Candidates are those that have the title's words.
static bool mine_words(job *j, miner *x) {
    if (!phrases_read(&x->phrases, j, j->arg[1])) return false;
    x->texts = (kpd_text *)job_alloc(j, x->phrases.n, sizeof *x->texts);
    for (size_t i = 0; x->texts && i < x->phrases.n; i++) x->texts[i] = phrase_text(&x->phrases, i);
    if (!x->texts) return false;
    x->d.candidates = mine_by_words; x->d.candidates_user = x;
    x->d.lookup = mine_lookup; x->d.lookup_user = x;
    if (!bm25_build(&x->words, kpd_model_tokenizer(j->student), x->texts, x->phrases.n))
        return fail(j->arg[1], 0, "out of memory: words of %zu keyphrases", x->phrases.n);
    return open_session(j, 0, 0);
}

static bool mine_index(job *j, int32_t last_rank) {
    kpd_file_kind kind;
    bool made = !kpd_file_kind_of(j->arg[1], &kind, NULL) && kind == KPD_FILE_INDEX;
    int32_t dim = 0;
    if (made && !mine_open_index(j, &dim)) return false;
    if (!made) dim = student_dim(j, j->arg[0]);
    return dim && open_session(j, last_rank, dim) && (made || mine_make_index(j, dim));
}

static void mine_say(const job *j, const miner *x) {
    const kpdt_mining_counts *c = &x->total;
    note(NULL, "%lld pairs: %lld negatives, %lld pairs with fewer than %d, %lld of these with none%s", (long long)c->rows,
         (long long)c->negatives, (long long)c->short_rows, (int)x->d.n, (long long)c->empty_rows,
         x->unmeant ? "; those with a label below 0.5 are left out" : "");
    note(NULL, "of %lld candidates dropped: %lld the item's own, %lld of the same words as a better one, %lld without a text, "
         "%lld over --max-score, %lld under --min-score, %lld over a margin", (long long)c->candidates, (long long)c->own,
         (long long)c->same, (long long)c->textless, (long long)c->over_max, (long long)c->under_min,
         (long long)c->over_margin);
    if (x->d.assistant)
        note(NULL, "the assistant was asked about %lld, of which %lld are relevant and no negatives%s%s", (long long)c->asked,
             (long long)c->relevant, j->o.relabel ? ", but pairs: " : "", j->o.relabel ? j->o.relabel : "");
}

static bool mine_room(job *j, miner *x) {
    size_t ranks = (size_t)(x->d.last_rank - x->d.first_rank + 1);
    x->out.negatives = (kpdt_mined *)job_alloc(j, CHUNK_LINES, (size_t)x->d.n * sizeof(kpdt_mined));
    x->out.n_negatives = (int32_t *)job_alloc(j, CHUNK_LINES, sizeof(int32_t));
    if (!j->o.relabel) return x->out.negatives && x->out.n_negatives;
    x->out.relevant = (kpdt_mined *)job_alloc(j, CHUNK_LINES, ranks * sizeof(kpdt_mined));
    x->out.n_relevant = (int32_t *)job_alloc(j, CHUNK_LINES, sizeof(int32_t));
    return x->out.negatives && x->out.n_negatives && x->out.relevant && x->out.n_relevant;
}

static bool mine(job *j, miner *x) {
    if (!open_model(j->arg[0], KPD_BI_ENCODER, &j->student)) return false;
    if (j->o.assistant && !open_model(j->o.assistant, KPD_CROSS_ENCODER, &j->assistant)) return false;
    if (!mine_read_own(j, x) || !output_open(&j->out, j->o.output)) return false;
    if (j->o.relabel && !output_open(&x->relabel, j->o.relabel)) return false;
    if (!(j->o.bm25 ? mine_words(j, x) : mine_index(j, x->d.last_rank)) || !mine_room(j, x)) return false;
    x->d.student = j->student; x->d.assistant = j->assistant; x->d.index = j->index;
    if (!open_pairs(j, j->arg[2]) || !each_chunk(j, "pairs", mine_chunk, x)) return false;
    if (!output_commit(&j->out) || (j->o.relabel && !output_commit(&x->relabel))) return false;
    end_progress_line();
    mine_say(j, x);
    return true;
}

// A number of the command line as a desc has it, where 0 would mean that there is none.
static float mine_number(float value) { return !isfinite(value) ? 0 : value != 0 ? value : KPDT_ZERO; }

// --ranks A-B
static bool mine_ranks(const char *text, kpdt_mining_desc *d) {
    char *end;
    long from = strtol(text, &end, 10), to = from;
    bool ok = end != text && *end == '-';
    if (ok) {
        const char *second = end + 1;
        to = strtol(second, &end, 10);
        ok = end != second && !*end;
    }
    if (!ok || from < 1 || to < from || to > KPD_MAX_K) return false;
    d->first_rank = (int32_t)from;
    d->last_rank = (int32_t)to;
    return true;
}

static int mine_options(const job *j, kpdt_mining_desc *d) {
    const options *o = &j->o;
    if (o->ranks && !mine_ranks(o->ranks, d))
        return usage("--ranks %s: expected FROM-TO, from 1 to %d", o->ranks, (int)KPD_MAX_K);
    if (isfinite(o->threshold) && (!o->assistant || o->threshold <= 0 || o->threshold > 1))
        return usage("mine: --threshold is the assistant's, over 0 to 1");
    if (o->relabel && !o->assistant) return usage("mine: --relabel needs --assistant");
    if (isfinite(o->margin) && o->margin < 0) return usage("--margin %g: expected from 0", (double)o->margin);
    if (isfinite(o->relative_margin) && o->relative_margin < 0)
        return usage("--relative-margin %g: expected from 0", (double)o->relative_margin);
    if (!j->o.sample && j->o.seed) return usage("mine: --seed is of --sample");
    if (o->bm25 && (isfinite(o->margin) || isfinite(o->relative_margin) || o->dim || o->recall > 0 || o->gamma > 0))
        return usage("mine: --bm25 has no vectors: no --margin, --relative-margin, --dim, --recall or --gamma");
    if (o->relabel && o->output && !strcmp(o->relabel, o->output))
        return usage("mine: %s is named by both -o and --relabel", o->relabel);
    if (!strcmp(j->arg[2], "-")) return usage("mine: PAIRS are read twice; expected a file");
    d->n = o->n ? o->n : 4;
    if (!d->last_rank) { d->first_rank = 1; d->last_rank = 100; }
    d->threshold = isfinite(o->threshold) ? o->threshold : 0;
    d->max_score = mine_number(o->max_score); d->min_score = mine_number(o->min_score);
    d->margin = mine_number(o->margin); d->relative_margin = mine_number(o->relative_margin);
    d->sample = o->sample != 0;
    d->seed = (uint64_t)o->seed;
    d->recall = o->recall; d->gamma = o->gamma;
    return DONE;
}

static int run_mine(job *j) {
    miner *x = (miner *)job_alloc(j, 1, sizeof *x);
    int status = x ? mine_options(j, &x->d) : BAD_DATA;
    if (status) return status;
    if (!mine(j, x)) status = BAD_DATA;
    output_abandon(&x->relabel);
    bm25_free(&x->words);
    phrases_free(&x->phrases);
    free(x->own);
    free(x->text);
    return status;
}
