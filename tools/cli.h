// cli.h - what every command of kpd stands on: messages, the table of options, files written whole or not at all.
// Part of kpd.c, which includes what it needs above it.
// Contents: >>errors >>options >>output

enum { DONE = 0, BAD_DATA = 1, BAD_USAGE = 2 };

// >>errors  Every message goes through these, and each returns what its caller returns. ------------------------------

static bool g_line_open;                // a progress bar stands on the terminal's last line

static void end_progress_line(void) {
    if (g_line_open) fputc('\n', stderr);
    g_line_open = false;
}

#ifdef __GNUC__
#define PRINTF(at, args) __attribute__((format(printf, at, args)))
#else
#define PRINTF(at, args)
#endif

// kpd: file: message, or with line > 0: kpd: file:line: message
PRINTF(3, 4) static bool fail(const char *file, int64_t line, const char *format, ...) {
    va_list args;
    end_progress_line();
    fputs("kpd: ", stderr);
    if (file) fprintf(stderr, line > 0 ? "%s:%lld: " : "%s: ", file, (long long)line);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    return false;
}

PRINTF(1, 2) static int usage(const char *format, ...) {
    va_list args;
    fputs("kpd: ", stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    return BAD_USAGE;
}

// What the library says about a file; its messages mostly begin with the path already.
static bool fail_with(const char *file, const kpd_error *e) {
    bool named = !strncmp(e->message, file, strlen(file)) && strchr(":/", e->message[strlen(file)]);    // "" is none
    return fail(named ? NULL : file, 0, "%s", e->message);
}

// A message about an input of a call counts from the call's first: what follows that number, since the caller knows better.
static const char *after_place(const char *message) {
    static const char *const words[] = {"input ", "row ", "query ", "vector ", "item "};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        size_t word = strlen(words[i]), digits = strspn(message + (strncmp(message, words[i], word) ? 0 : word), "0123456789");
        if (strncmp(message, words[i], word) || !digits) continue;
        message += word + digits;
        return message + strspn(message, ": ");
    }
    return message;
}

// >>options  One table of all options; a command names those that it takes. ------------------------------------------

typedef struct options {
    const char *output, *ids, *template_item, *template_keyphrase, *template_pair, *model, *dev, *filter, *against,
        *calibrate;
    int32_t threads, simd, stats, dtype, wide_qkv, max_tokens, no_special, offsets, dim, tower, one, metric, k,
        by_relevance, same_words;
    int32_t resume, force, items;
    int32_t size, min_count, cased;
    float threshold, min_similarity;    // -infinity = not given
    int32_t queries, seed, by;          // of a simulated shop; 0 = not given
    int32_t world, placebo;             // -1 = not given
    int32_t kind, store, lists;         // of an index
    float recall, gamma;                // 0 = not given
} options;

typedef enum option_kind { FLAG, TEXT, INTEGER, NUMBER, CHOICE } option_kind;

typedef struct option {
    const char *name;
    option_kind kind;
    size_t field;                       // of `options`: int32_t, const char *, int32_t, float, int32_t
    int32_t low, high;                  // INTEGER
    const char *choices;                // CHOICE: words, in the order of the enum that they name
} option;

#define COMMON_OPTIONS "--threads --simd --stats"
#define FIELD(name) offsetof(options, name)
static const option OPTIONS[] = {
    {"-o",                   TEXT,    FIELD(output),             0, 0, NULL},
    {"-k",                   INTEGER, FIELD(k),                  1, KPD_MAX_K, NULL},
    {"--threads",            INTEGER, FIELD(threads),            1, KPD_MAX_THREADS, NULL},
    {"--simd",               CHOICE,  FIELD(simd),               0, 0, WORDS(KPD_SIMD_LIST)},
    {"--stats",              FLAG,    FIELD(stats),              0, 0, NULL},
    {"--dtype",              CHOICE,  FIELD(dtype),              0, 0, "f32 bf16 int8"},
    {"--wide-qkv",           FLAG,    FIELD(wide_qkv),           0, 0, NULL},
    {"--calibrate",          TEXT,    FIELD(calibrate),          0, 0, NULL},
    {"--template-item",      TEXT,    FIELD(template_item),      0, 0, NULL},
    {"--template-keyphrase", TEXT,    FIELD(template_keyphrase), 0, 0, NULL},
    {"--template-pair",      TEXT,    FIELD(template_pair),      0, 0, NULL},
    {"--max-tokens",         INTEGER, FIELD(max_tokens),         1, KPD_MAX_POSITIONS, NULL},
    {"--no-special",         FLAG,    FIELD(no_special),         0, 0, NULL},
    {"--offsets",            FLAG,    FIELD(offsets),            0, 0, NULL},
    {"--dim",                INTEGER, FIELD(dim),                1, KPD_MAX_WIDTH, NULL},
    {"--tower",              CHOICE,  FIELD(tower),              0, 0, WORDS(KPD_TOWER_LIST)},
    {"--one",                FLAG,    FIELD(one),                0, 0, NULL},
    {"--metric",             CHOICE,  FIELD(metric),             0, 0, WORDS(KPD_METRIC_LIST)},
    {"--ids",                TEXT,    FIELD(ids),                0, 0, NULL},
    {"--threshold",          NUMBER,  FIELD(threshold),          0, 0, NULL},
    {"--kind",               CHOICE,  FIELD(kind),               0, 0, WORDS(KPD_INDEX_KIND_LIST)},
    {"--store",              CHOICE,  FIELD(store),              0, 0, "f32 i16 int8 none"},
    {"--lists",              INTEGER, FIELD(lists),              1, 1 << 24, NULL},
    {"--recall",             NUMBER,  FIELD(recall),             0, 0, NULL},
    {"--gamma",              NUMBER,  FIELD(gamma),              0, 0, NULL},
    {"--min-similarity",     NUMBER,  FIELD(min_similarity),     0, 0, NULL},
    {"--by-relevance",       FLAG,    FIELD(by_relevance),       0, 0, NULL},
    {"--same-words",         FLAG,    FIELD(same_words),         0, 0, NULL},
    {"--resume",             FLAG,    FIELD(resume),             0, 0, NULL},
    {"--force",              FLAG,    FIELD(force),              0, 0, NULL},
    {"--model",              TEXT,    FIELD(model),              0, 0, NULL},
    {"--dev",                TEXT,    FIELD(dev),                0, 0, NULL},
    {"--filter",             TEXT,    FIELD(filter),             0, 0, NULL},
    {"--against",            TEXT,    FIELD(against),            0, 0, NULL},
    {"--items",              INTEGER, FIELD(items),              1, INT32_MAX, NULL},
    {"--size",               INTEGER, FIELD(size),               1, KPD_MAX_VOCAB, NULL},
    {"--min-count",          INTEGER, FIELD(min_count),          1, INT32_MAX, NULL},
    {"--cased",              FLAG,    FIELD(cased),              0, 0, NULL},
    {"--queries",            INTEGER, FIELD(queries),            20, 1000000, NULL},
    {"--seed",               INTEGER, FIELD(seed),               1, INT32_MAX, NULL},
    {"--world",              INTEGER, FIELD(world),              0, 5, NULL},
    {"--placebo",            CHOICE,  FIELD(placebo),            0, 0, "none shuffled truth"},
    {"--by",                 CHOICE,  FIELD(by),                 0, 0, "truth text llm tuned sr filter"},
};

static const option *find_option(const char *allowed, const char *name) {
    if (recipe_find(allowed, name) < 0 && recipe_find(COMMON_OPTIONS, name) < 0) return NULL;
    for (size_t i = 0; i < sizeof OPTIONS / sizeof *OPTIONS; i++)
        if (!strcmp(OPTIONS[i].name, name)) return &OPTIONS[i];
    return NULL;
}

static int set_integer(const option *p, const char *text, int32_t *out) {
    char *end;
    long v;
    errno = 0;
    v = strtol(text, &end, 10);
    if (errno || end == text || *end || v < p->low || v > p->high)
        return usage("%s %s: expected an integer from %d to %d", p->name, text, (int)p->low, (int)p->high);
    *out = (int32_t)v;
    return DONE;
}

static int set_number(const option *p, const char *text, float *out) {
    char *end;
    float v = strtof(text, &end);
    if (end == text || *end || !isfinite(v)) return usage("%s %s: expected a number", p->name, text);
    *out = v;
    return DONE;
}

static int set_choice(const option *p, const char *text, int32_t *out) {
    int at = recipe_find(p->choices, text);
    if (at < 0) return usage("%s %s: expected one of: %s", p->name, text, p->choices);
    *out = at;
    return DONE;
}

static int set_option(options *o, const option *p, const char *value) {
    void *field = (char *)o + p->field;
    switch (p->kind) {
    case FLAG:    *(int32_t *)field = 1; return DONE;
    case TEXT:    *(const char **)field = value; return DONE;
    case INTEGER: return set_integer(p, value, (int32_t *)field);
    case NUMBER:  return set_number(p, value, (float *)field);
    case CHOICE:  return set_choice(p, value, (int32_t *)field);
    }
    return BAD_USAGE;
}

// >>output  A file that appears whole or not at all, or the standard output; and none that is an input. ---------------

// The files that the command reads, as far as they are known before it writes.
enum { MAX_INPUTS = 1024 };
static struct input { dev_t device; ino_t file; const char *name; } g_input[MAX_INPUTS];
static int g_n_inputs;

// name must outlive the command; path NULL = it is a path.
static void note_input(const char *name, const char *path) {
    struct stat st;
    bool is_stdin = !strcmp(name, "-");
    if (g_n_inputs == MAX_INPUTS || (is_stdin ? fstat(STDIN_FILENO, &st) : stat(path ? path : name, &st))) return;
    if (!S_ISREG(st.st_mode)) return;
    g_input[g_n_inputs].device = st.st_dev;
    g_input[g_n_inputs].file = st.st_ino;
    g_input[g_n_inputs++].name = is_stdin ? "the standard input" : name;
}

// The files of a folder that end so.
static void note_inputs_in(const char *dir, const char *const *ends) {
    char path[4200];
    const struct dirent *entry;
    DIR *d = opendir(dir);
    while (d && (entry = readdir(d)) != NULL) {
        size_t n = strlen(entry->d_name);
        for (int i = 0; ends[i]; i++)
            if (n > strlen(ends[i]) && !strcmp(entry->d_name + n - strlen(ends[i]), ends[i])) {
                snprintf(path, sizeof path, "%.3900s/%.255s", dir, entry->d_name);
                note_input(dir, path);
            }
    }
    if (d) closedir(d);
}

// By whatever name or link it is called.
static bool is_no_input(const char *path) {
    struct stat st;
    if (stat(path, &st)) return true;
    for (int i = 0; i < g_n_inputs; i++)
        if (st.st_dev == g_input[i].device && st.st_ino == g_input[i].file)
            return fail(path, 0, "is an input too (%s), and would be replaced; expected another name", g_input[i].name);
    return true;
}

typedef struct output {
    FILE *file;
    const char *path;                   // NULL = standard output
    files_output beside;
} output;

// Renaming onto a device, pipe or folder would replace it.
static bool can_write(const char *path) {
    char target[FILES_MAX_PATH];
    mode_t mode;
    const char *why = files_cannot_write(path, target, &mode);
    if (strlen(path) > 4000) return fail(path, 0, "a path longer than 4000 bytes");
    return why ? fail(path, 0, "cannot write: %s", why) : is_no_input(path);
}

static bool output_open(output *o, const char *path) {
    const char *why;
    o->path = path && strcmp(path, "-") ? path : NULL;
    o->file = stdout;
    if (!o->path) return true;
    o->file = NULL;
    if (!can_write(path)) return false;
    why = files_begin(&o->beside, path);
    o->file = o->beside.file;
    return !why || fail(path, 0, "cannot write: %s", why);
}

// After a failure nothing of the output remains; what was at its path does.
static void output_abandon(output *o) {
    if (!o->path || !o->file) return;
    files_abandon(&o->beside);
    o->file = NULL;
}

// Whether all was written. errno then is that of the last write, or 0 where one before it failed: others may have set it since.
static bool flushed(FILE *f) {
    bool before = !ferror(f);
    errno = 0;
    return !fflush(f) && before;
}
static const char *why_not_written(void) { return errno ? strerror(errno) : "a write before the last one failed"; }

static bool output_failed(output *o) {
    fail(o->path ? o->path : "standard output", 0, "cannot write: %s", why_not_written());
    output_abandon(o);
    return false;
}

// To be asked now and then, so that a long job notices a full disk before its end.
static bool output_ok(output *o) { return !ferror(o->file) || flushed(o->file) || output_failed(o); }

static bool output_commit(output *o) {
    bool ok = flushed(o->file);
    if (!o->path || !ok) return ok || output_failed(o);
    ok = files_commit(&o->beside);
    o->file = NULL;
    return ok || fail(o->path, 0, "cannot write: %s", strerror(errno));
}

static bool make_folder(const char *dir) {
    struct stat st;
    if (strlen(dir) > 4000) return fail(dir, 0, "a path longer than 4000 bytes");
    if (!mkdir(dir, 0777) || (!stat(dir, &st) && S_ISDIR(st.st_mode))) return true;
    return fail(dir, 0, "cannot make the folder: %s", strerror(errno));
}
