// job.h - what a command works with: text in chunks of lines, models, an index, a session, and the progress it shows.
// Part of kpd.c, below cli.h.
// Contents: >>text >>job >>progress >>command

// >>text  Lines in chunks. -------------------------------------------------------------------------------------------

enum { CHUNK_LINES = 1024, CHUNK_BYTES = 1 << 20 };     // a chunk ends with the line that reaches either

typedef struct reader {
    table from;
    const char *name;
    int64_t size;                       // of the file, 0 = unknown
    char *text; size_t text_size, text_capacity;
    kpd_text lines[CHUNK_LINES];        // the chunk, in `text`; valid until the next one
    int64_t line[CHUNK_LINES];          // where they stand in the file, from 1
    int32_t n;
    int64_t first;                      // the row of the chunk's first line, from 0
} reader;

// What a command reads of a file, as table.h says it.
typedef struct columns { const char *wanted, *given; table_format format; } columns;

// Lines of the columns; wanted NULL = lines as they are.
static bool reader_open_as(reader *r, const char *path, const columns *c) {
    struct stat st;
    bool is_stdin = !path || !strcmp(path, "-");
    FILE *f = is_stdin ? stdin : fopen(path, "rb");
    r->name = is_stdin ? "standard input" : path;
    r->n = 0;
    r->size = r->first = 0;
    if (f == stdin && isatty(STDIN_FILENO)) note(NULL, "text is read from the terminal; Ctrl-D ends it");
    if (!f) return fail(r->name, 0, "%s", strerror(errno));
    if (!fstat(fileno(f), &st) && S_ISREG(st.st_mode)) r->size = (int64_t)st.st_size;
    return table_open(&r->from, path, f, c->wanted ? c->format : TABLE_TSV, c->wanted ? c->wanted : "", c->given);
}

static bool reader_open(reader *r, const char *path) {
    static const columns as_they_are = {NULL, NULL, TABLE_TSV};
    return reader_open_as(r, path, &as_they_are);
}

static void reader_close(reader *r) {
    if (r->from.file && r->from.file != stdin) fclose(r->from.file);
    table_close(&r->from);
    free(r->text);
    memset(r, 0, sizeof *r);
}

// Appends the next line to the chunk. Its place in `text` is noted as an offset, since text may move.
static bool reader_line(reader *r, size_t *begin, bool *end) {
    kpd_text line;
    if (!table_next(&r->from, &line)) return fail(r->name, r->from.line, "%s", r->from.why);
    *end = !line.data;
    if (*end) return true;
    if (!grow((void **)&r->text, &r->text_capacity, r->text_size + line.size + 1, 1)) return false;
    memcpy(r->text + r->text_size, line.data, line.size);
    *begin = r->text_size;
    r->line[r->n] = r->from.line;
    r->lines[r->n++].size = line.size;
    r->text_size += line.size;
    return true;
}

// The next chunk; n = 0 at the end.
static bool reader_next(reader *r) {
    size_t begin[CHUNK_LINES];
    bool end = false;
    r->first += r->n;
    r->n = 0;
    r->text_size = 0;
    while (!end && r->n < CHUNK_LINES && r->text_size < CHUNK_BYTES)
        if (!reader_line(r, &begin[r->n], &end)) return false;
    for (int32_t i = 0; i < r->n; i++) r->lines[i].data = r->text + begin[i];
    return true;
}

// Calls fn for each line until the end or until it fails.
typedef bool line_fn(void *state, const reader *r, int32_t i);
static bool each_line(reader *r, line_fn *fn, void *state) {
    do {
        if (!reader_next(r)) return false;
        for (int32_t i = 0; i < r->n; i++)
            if (!fn(state, r, i)) return false;
    } while (r->n);
    return true;
}

// The segments of line i.
static bool reader_split(const reader *r, int32_t i, int32_t max_parts, kpd_input *out) {
    kpd_text rest = r->lines[i];
    memset(out, 0, sizeof *out);
    for (;;) {
        const char *tab = (const char *)memchr(rest.data, '\t', rest.size);
        kpd_text part = rest;
        if (out->n_parts == max_parts)
            return fail(r->name, r->line[i], "more than the %d TAB-separated segment(s) expected", (int)max_parts);
        if (tab) part.size = (size_t)(tab - rest.data);
        out->part[out->n_parts++] = part;
        if (!tab) return true;
        rest.data = tab + 1;
        rest.size -= part.size + 1;
    }
}

// The columns of line i; more than `max` are counted but not kept.
static int split_columns(const reader *r, int32_t i, kpd_text *out, int max) {
    kpd_text rest = r->lines[i];
    for (int n = 1;; n++) {
        const char *tab = (const char *)memchr(rest.data, '\t', rest.size);
        size_t size = tab ? (size_t)(tab - rest.data) : rest.size;
        if (n <= max) {
            out[n - 1].data = rest.data;
            out[n - 1].size = size;
        }
        if (!tab) return n;
        rest.data = tab + 1;
        rest.size -= size + 1;
    }
}

static bool parse_id(const reader *r, int32_t i, kpd_text text, int64_t *out) {
    char digits[32], *end = digits;
    errno = 0;
    if (text.size && text.size < sizeof digits) {
        memcpy(digits, text.data, text.size);
        digits[text.size] = 0;
        *out = strtoll(digits, &end, 10);
    }
    if (!errno && end != digits && end == digits + text.size && digits[0] > ' ') return true;
    if (text.size > 40) text.size = 40;
    return fail(r->name, r->line[i], "'%.*s' is not an id (a 64-bit integer)", (int)text.size, text.data);
}

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

// How many bytes of a text a message shows.
static int shown(kpd_text t) { return t.size < 60 ? (int)t.size : 60; }

// >>job  What a command works with. main frees it, so commands just return. ------------------------------------------

// What is counted: texts, queries, vectors.
typedef struct counter { const char *unit; int64_t done; double started, shown; } counter;      // seconds

typedef struct job {
    options o;
    const char *program;
    int (*command)(int argc, char **argv);      // runs a command line, argv[0] being the program; returns its exit status
    const struct command *commands; int n_commands;
    const char **arg;                   // NULL = not given: there are more than any command asks for
    kpd_pool *pool;                     // see open_pool
    kpd_parallel parallel;
    int32_t n_threads;
    kpd_model *student, *assistant;     // or any one model, as the student
    kpd_index *index;
    kpd_session *session;
    reader text;
    npy_reader vectors;
    table_items items;                  // of --join
    int lock;                           // of the index that the command changes, -1 = none
    output out;
    void *block[16]; int n_blocks;      // see job_alloc
    counter count, call;                // of the command; of a long call of the library within it
    int64_t tokens;                     // -1 = not counted
    kpd_progress watch;                 // of the session to be opened
    double *each; size_t n_each, each_capacity;         // seconds of each text by itself
} job;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

// Zeroed, freed with the job; NULL after a message.
static void *job_alloc(job *j, size_t n, size_t size) {
    void *p = j->n_blocks < (int)(sizeof j->block / sizeof *j->block) ? calloc(n ? n : 1, size) : NULL;
    if (p) j->block[j->n_blocks++] = p;
    else fail(NULL, 0, "out of memory: %zu times %zu bytes", n, size);
    return p;
}

static void job_close(job *j) {
    output_abandon(&j->out);
    reader_close(&j->text);
    npy_close(&j->vectors);
    table_items_free(&j->items);
    if (j->lock >= 0) close(j->lock);
    kpd_session_destroy(j->session);
    kpd_index_destroy(j->index);
    kpd_model_destroy(j->student);
    kpd_model_destroy(j->assistant);
    kpd_pool_destroy(j->pool);
    for (int i = 0; i < j->n_blocks; i++) free(j->block[i]);
    free(j->each);
}

// Why a file is no model, after the library has refused it as one.
static bool fail_model(const char *path, const kpd_error *e) {
    kpd_file_kind kind;
    if (kpd_file_kind_of(path, &kind, NULL) || kind != KPD_FILE_CHECKPOINT) return fail_with(path, e);
    return fail(path, 0, "a checkpoint, expected a model; `kpd train RECIPE.ini --export M.kpd` makes one of it");
}

static bool open_any_model(const char *path, kpd_model **out) {
    kpd_error e;
    return !kpd_model_open(path, NULL, out, &e) || fail_model(path, &e);
}

static bool open_model(const char *path, kpd_kind kind, kpd_model **out) {
    bool bi = kind == KPD_BI_ENCODER;
    if (!open_any_model(path, out)) return false;
    if (kpd_model_get_desc(*out)->kind == kind) return true;
    return fail(path, 0, "a %s-encoder, expected a %s-encoder", bi ? "cross" : "bi", bi ? "bi" : "cross");
}

// A model that scores pairs: a student's score is a cosine, an assistant's a logit, or, unless `one` is asked for, some. The
// other of the two stays NULL.
static bool open_pair_model(job *j, const char *path, bool one) {
    int labels;
    if (!open_any_model(path, &j->student)) return false;
    if (kpd_model_get_desc(j->student)->kind == KPD_BI_ENCODER) return true;
    j->assistant = j->student;
    j->student = NULL;
    labels = (int)kpd_model_dim(j->assistant);
    return !one || labels == 1 || fail(path, 0, "%d labels, expected 1", labels);
}

// The columns of --dim, or all; 0 where it has not so many.
static int32_t student_dim(const job *j, const char *model) {
    int32_t dim = kpd_model_dim(j->student);
    if (j->o.dim <= dim) return j->o.dim ? j->o.dim : dim;
    fail(model, 0, "--dim %d, but it has %d columns", (int)j->o.dim, (int)dim);
    return 0;
}

static kpd_index_info index_info(const kpd_index *x) {
    kpd_index_info info;
    kpd_index_get_info(x, &info);
    return info;
}

static bool open_index(job *j, const char *path, bool writable) {
    kpd_error e;
    kpd_open_desc d = {0};
    d.copy = writable;
    return !kpd_index_open(path, &d, &j->index, &e) || fail_with(path, &e);
}

static bool open_vectors(job *j, const char *path) {
    char why[200];
    if (!npy_open(&j->vectors, path, why, sizeof why)) return fail(path, 0, "%s", why);
    return !j->vectors.ids || fail(path, 0, "whole numbers, expected vectors");
}

// Made by those that need one: a command that only reads a file starts no threads.
static bool open_pool(job *j) {
    kpd_error e;
    if (j->n_threads) return true;
    j->n_threads = j->o.threads ? j->o.threads : cpus_allowed(KPD_MAX_THREADS);
    if (j->n_threads == 1) return true;
    if (kpd_pool_create(j->n_threads, NULL, &j->pool, &e)) return fail("--threads", 0, "%s", e.message);
    j->parallel = *kpd_pool_parallel(j->pool);
    return true;
}

static bool open_session(job *j, int32_t max_k, int32_t max_dim) {
    kpd_error e;
    kpd_session_desc d = {0};
    if (!open_pool(j)) return false;
    d.student = j->student;
    d.assistant = j->assistant;
    d.max_k = max_k;
    d.max_dim = max_dim;
    d.simd = (kpd_simd)j->o.simd;
    d.parallel = j->parallel;
    d.progress = j->watch;
    return !kpd_session_create(&d, &j->session, &e) || fail(NULL, 0, "%s", e.message);
}

// What the library says about n inputs: `where` is one of them, of these lines of the text.
static bool fail_lines(const job *j, const int64_t *line, size_t n, const kpd_error *e) {
    bool placed = e->where >= 0 && (uint64_t)e->where < n;
    return fail(j->text.name, placed ? line[e->where] : 0, "%s", placed ? after_place(e->message) : e->message);
}

// The same about the chunk of text in hand.
static bool fail_text(const job *j, const kpd_error *e) { return fail_lines(j, j->text.line, (size_t)j->text.n, e); }

static bool is_a_number(kpd_text t) {
    for (size_t i = 0; i < t.size; i++)
        if (t.data[i] < '0' || t.data[i] > '9') return false;
    return t.size > 0;
}

// Titles that are all numbers are ids that were taken for titles.
static bool split_chunk(job *j, int32_t max_parts, kpd_input *in) {
    int32_t numbers = 0;
    for (int32_t i = 0; i < j->text.n; i++) {
        if (!reader_split(&j->text, i, max_parts, &in[i])) return false;
        numbers += in[i].n_parts > 1 && is_a_number(in[i].part[0]);
    }
    if (j->text.n && numbers == j->text.n && !j->text.first)
        note(j->text.name, "its first column has nothing but numbers; if they are ids, --columns 'id title' says so");
    return true;
}

// keyphrase TAB title TAB category, or two of them: for a model that reads no title, keyphrase TAB category.
static bool pair_row(const job *j, const kpd_model *m, int32_t i, const kpd_input *line, kpd_row *row) {
    const kpd_model_desc *d = kpd_model_get_desc(m);
    bool title = strstr(d->kind == KPD_CROSS_ENCODER ? d->template_pair : d->template_item, "{title}") != NULL;
    if (line->n_parts < 2) return fail(j->text.name, j->text.line[i], "1 segment, expected 2 or 3 with a TAB between them");
    row->keyphrase = line->part[0];
    if (line->n_parts > 2 || title) row->title = line->part[1];
    if (line->n_parts > 2 || !title) row->category = line->part[line->n_parts - 1];
    return true;
}

// Whether a word that is no file was meant as one.
static bool looks_like_a_file(const char *word) {
    static const char *const ends[] = {".txt", ".tsv", ".csv", ".json", ".jsonl", ".ndjson", ".npy", ".fvecs"};
    const char *dot = strrchr(word, '.'), *slash = strrchr(word, '/');
    char folder[4000];
    struct stat st;
    for (size_t i = 0; dot && i < sizeof ends / sizeof *ends; i++)
        if (!strcmp(dot, ends[i])) return true;
    if (!slash || slash - word >= (int)sizeof folder) return false;
    snprintf(folder, sizeof folder, "%.*s", (int)(slash - word), word);
    return slash == word || (!stat(folder, &st) && S_ISDIR(st.st_mode));
}

// A text of the command line in place of a file's. It is read as one, so that a TAB means the same.
static bool open_word(job *j, const char *word) {
    static const char name[] = "the text";
    size_t n = strlen(word);
    char *line = (char *)job_alloc(j, n + 2, 1);
    FILE *f;
    if (!line) return false;
    memcpy(line, word, n);
    line[n] = '\n';
    f = fmemopen(line, n + 1, "rb");
    j->text.name = name;
    j->text.n = 0;
    j->text.size = j->text.first = 0;
    if (!f) return fail(name, 0, "%s", strerror(errno));
    return table_open(&j->text.from, NULL, f, TABLE_TSV, "", NULL);
}

// The items of --join, where there is one, for the text that has just been opened.
static bool join_items(job *j) {
    char why[400];
    int64_t line;
    if (!j->o.join) return true;
    if (!j->items.name && !table_items_read(&j->items, j->o.join, &line, why)) return fail(j->o.join, line, "%s", why);
    table_use(&j->text.from, &j->items);
    return true;
}

// Whether --columns, as table.h reads it, names a word.
static bool columns_name(const job *j, const char *word) {
    for (const char *p = j->o.columns; p && *p; p += strcspn(p, ", "), p += strspn(p, ", "))
        if (strcspn(p, "=, ") == strlen(word) && !strncmp(p, word, strlen(word))) return true;
    return false;
}

// A file's text as --columns, --format and --join say it.
static bool open_columns(job *j, const char *path, const char *wanted) {
    columns c = {NULL, NULL, TABLE_BY_NAME};
    c.wanted = wanted;
    c.given = j->o.columns;
    c.format = (table_format)j->o.format;
    return reader_open_as(&j->text, path, &c) && join_items(j);
}

// Text that a model reads, of its tower: pairs, items or keyphrases.
static bool open_text(job *j, const char *path, const kpd_model *m, kpd_tower tower) {
    bool pair = kpd_model_get_desc(m)->kind == KPD_CROSS_ENCODER;
    return open_columns(j, path, pair ? "keyphrase title? category?" : tower == KPD_ITEM ? "title category?" : "keyphrase");
}

static bool is_a_file(const char *word) { return !word || !strcmp(word, "-") || file_exists(word) || looks_like_a_file(word); }

// The same, of a file or, where there is none of that name, of the word itself.
static bool open_text_or_word(job *j, const char *word, const kpd_model *m, kpd_tower tower) {
    return is_a_file(word) ? open_text(j, word, m, tower) : open_word(j, word);
}

// Keyphrases, of a file or a word.
static bool open_query(job *j, const char *word) {
    static const columns c = {"keyphrase", NULL, TABLE_BY_NAME};
    return is_a_file(word) ? reader_open_as(&j->text, word, &c) : open_word(j, word);
}

// What m reads of the chunk's lines: pairs, items (title, or title TAB category) or keyphrases.
static bool read_inputs(job *j, const kpd_model *m, kpd_tower tower, kpd_input *in) {
    bool pair = kpd_model_get_desc(m)->kind == KPD_CROSS_ENCODER;
    if (!split_chunk(j, pair ? 3 : tower == KPD_ITEM ? 2 : 1, in)) return false;
    for (int32_t i = 0; i < j->text.n; i++) {
        kpd_row row = {0};
        if (pair && !pair_row(j, m, i, &in[i], &row)) return false;
        if (!pair && tower == KPD_ITEM) { row.title = in[i].part[0]; row.category = in[i].part[1]; }
        if (!pair && tower == KPD_KEYPHRASE) row.keyphrase = in[i].part[0];
        kpd_model_input(m, tower, &row, &in[i]);
    }
    return true;
}

// >>progress  A bar on a terminal, a plain line now and then elsewhere; nothing for short work. ----------------------

static void begin_count(counter *c, const char *unit) {
    c->unit = unit;
    c->started = c->shown = now();
}

static void start(job *j, const char *unit) {
    begin_count(&j->count, unit);
    j->tokens = -1;
}

static void format_left(char *out, size_t size, double elapsed, double fraction) {
    double left = fraction > 0 ? elapsed / fraction - elapsed : 0;
    long s = left < 1e6 ? (long)(left + 0.5) : 0;
    if (fraction <= 0) out[0] = 0;
    else if (!(left < 1e6)) snprintf(out, size, ", over 11 days left");
    else if (s < 3600) snprintf(out, size, ", %ld:%02ld left", s / 60, s % 60);
    else snprintf(out, size, ", %ld:%02ld:%02ld left", s / 3600, s / 60 % 60, s % 60);
}

static void show_bar(const counter *c, double elapsed, double fraction) {
    char bar[31], left[40];
    int full = (int)(fraction * 30);
    memset(bar, ' ', 30);
    memset(bar, '=', (size_t)(full < 0 ? 0 : full > 30 ? 30 : full));
    bar[30] = 0;
    format_left(left, sizeof left, elapsed, fraction);
    fprintf(stderr, "\r[%s] %lld %s, %.0f/s%s   ", bar, (long long)c->done, c->unit, (double)c->done / elapsed, left);
    g_line_open = true;
}

static void show_line(const counter *c, double elapsed, double fraction) {
    char left[40];
    format_left(left, sizeof left, elapsed, fraction);
    fprintf(stderr, "kpd: %lld %s, %.0f/s", (long long)c->done, c->unit, (double)c->done / elapsed);
    if (fraction > 0) fprintf(stderr, ", %.0f %%%s", 100 * fraction, left);
    fputc('\n', stderr);
}

// Whether it is time to show it again; *elapsed = seconds since the start, *terminal: on one.
static bool progress_due(counter *c, double *elapsed, bool *terminal) {
    double t = now();
    *elapsed = t - c->started;
    *terminal = isatty(STDERR_FILENO) != 0;
    if (g_quiet || g_no_progress || *elapsed < 2 || t - c->shown < (*terminal ? 0.2 : *elapsed < 12 ? 2 : 10)) return false;
    c->shown = t;
    return true;
}

// Counts n more; at and of are in any unit, of = 0 when the end is unknown.
static void count(counter *c, int64_t n, int64_t at, int64_t of) {
    double elapsed, fraction = of > 0 ? (double)at / (double)of : 0;
    bool terminal;
    c->done += n;
    if (!progress_due(c, &elapsed, &terminal)) return;
    if (terminal) show_bar(c, elapsed, fraction);
    else show_line(c, elapsed, fraction);
}

static void progress(job *j, int64_t n, int64_t at, int64_t of) { count(&j->count, n, at, of); }

static bool library_reports(void *user, int64_t done, int64_t of) {
    counter *c = (counter *)user;
    count(c, done - c->done, done, of);
    return true;
}

// Of a long call of the library, which begins now and counts in `unit`.
static kpd_progress library_progress(counter *c, const char *unit) {
    kpd_progress p;
    begin_count(c, unit);
    c->done = 0;
    p.report = library_reports; p.user = c;
    return p;
}

static void progress_text(job *j) { progress(j, j->text.n, j->text.from.bytes, j->text.size); }

// Calls fn for each chunk of the text, with j->text.n lines of at least one, until the end or until it fails. A command that
// reads several files counts them all.
typedef bool chunk_fn(job *j, void *state);
static bool each_chunk(job *j, const char *unit, chunk_fn *fn, void *state) {
    if (!j->count.unit) start(j, unit);
    do {
        if (!reader_next(&j->text) || (j->text.n && !fn(j, state)) || !output_ok(&j->out)) return false;
        progress_text(j);
    } while (j->text.n);
    return true;
}

static int by_seconds(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

// The time of one text or query, of which --stats says quantiles.
static bool note_time(job *j, double seconds) {
    if (!grow((void **)&j->each, &j->each_capacity, j->n_each + 1, sizeof *j->each)) return false;
    j->each[j->n_each++] = seconds;
    return true;
}

// The p-th part of n times, which it sorts.
static double quantile(double *seconds, size_t n, double p) {
    qsort(seconds, n, sizeof *seconds, by_seconds);
    return seconds[(size_t)(p * (double)(n - 1) + .5)];
}

static void print_stats(const job *j) {
    if (!j->count.unit) return;
    fprintf(stderr, "%s=%lld ", j->count.unit, (long long)j->count.done);
    if (j->tokens >= 0) fprintf(stderr, "tokens=%lld ", (long long)j->tokens);
    fprintf(stderr, "threads=%d seconds=%.6f", (int)(j->n_threads ? j->n_threads : 1), now() - j->count.started);
    if (j->n_each) fprintf(stderr, " p50_ms=%.4f", 1e3 * quantile(j->each, j->n_each, .5));
    if (j->n_each) fprintf(stderr, " p99_ms=%.4f", 1e3 * quantile(j->each, j->n_each, .99));
    fputc('\n', stderr);
}

// >>command  A command as the table in kpd.c has it. ------------------------------------------------------------------

enum { ANY_NUMBER = 1 << 30 };          // of arguments

typedef struct command {
    const char *group;                  // heading of this command and those behind it; NULL = that of the one before
    const char *name;                   // one word, or two: a family and its part
    int (*run)(job *);
    int min_args, max_args;
    const char *options;                // beside the common ones
    const char *what;                   // in a few words
    const char *use, *help;
} command;
