// kpd.c - the command line of kpd. One binary over the public API of kpd.h and kpd_train.h, but for
// kernels.h, which times what lies inside.
//
//     kpd help             what there is          kpd help COMMAND     how it is used, with an example
//
// Text comes from a file or, for `-` and for no file, from the standard input: a text a line, a TAB between its segments.
// Any bytes are text, an empty line is an empty text, one CR before the LF is dropped. Lines are read in chunks, so that
// memory does not grow with the file. Files are written beside their place and renamed when whole, so that a failure or a stop
// leaves what was there; none is written that is also an input. Exit status: 0 done, 1 something is wrong with the data or a
// file, 2 with the command.
// `kpd demo` does the whole job by these commands, and prints each.
//
// Contents: >>errors >>options >>output >>text >>job >>progress >>models >>tokenize >>embed >>bench >>score >>index >>search
// >>recommend >>vocab >>simulate >>train >>eval >>demo >>commands
#define _POSIX_C_SOURCE 200809L
#define _DARWIN_C_SOURCE               // for flock
#define KPD_THREADS
#include "../kpd_train.h"
#include "files.h"
#include "hf.h"
#include "kernels.h"
#include "npy.h"
#include "recipe.h"
#define SHOP_IMPLEMENTATION
#include "shop.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

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

// >>text  Lines in chunks. -------------------------------------------------------------------------------------------

enum { CHUNK_LINES = 1024, CHUNK_BYTES = 1 << 20 };     // a chunk ends with the line that reaches either

typedef struct reader {
    FILE *file;
    const char *name;
    int64_t bytes, size;                // read so far; of the file, 0 = unknown
    char *line; size_t line_capacity;
    char *text; size_t text_size, text_capacity;
    kpd_text lines[CHUNK_LINES];        // the chunk, in `text`; valid until the next one
    int32_t n;
    int64_t first;                      // the number of its first line, from 1
} reader;

static bool reader_open(reader *r, const char *path) {
    struct stat st;
    bool is_stdin = !path || !strcmp(path, "-");
    r->name = is_stdin ? "standard input" : path;
    r->file = is_stdin ? stdin : fopen(path, "rb");
    r->bytes = r->size = 0;
    r->n = 0;
    r->first = 1;
    if (!r->file) return fail(r->name, 0, "%s", strerror(errno));
    if (!fstat(fileno(r->file), &st) && S_ISREG(st.st_mode)) r->size = (int64_t)st.st_size;
    return true;
}

static void reader_close(reader *r) {
    if (r->file && r->file != stdin) fclose(r->file);
    free(r->line);
    free(r->text);
    memset(r, 0, sizeof *r);
}

// Appends the next line to the chunk, without its end. Its place in `text` is noted as an offset, since text may move.
static bool reader_line(reader *r, size_t *begin, bool *end) {
    ssize_t got = getline(&r->line, &r->line_capacity, r->file);
    size_t n = got < 0 ? 0 : (size_t)got, mark;
    *end = got < 0;
    if (*end) return !ferror(r->file) && feof(r->file) ? true : fail(r->name, r->first + r->n, "%s", strerror(errno));
    mark = r->bytes == 0 ? recipe_mark(r->line, n) : 0;
    r->bytes += (int64_t)n;
    if (mark == RECIPE_UTF16) return fail(r->name, 1, "UTF-16 text, expected UTF-8");
    if (n && r->line[n - 1] == '\n') n--;
    if (n > mark && r->line[n - 1] == '\r') n--;
    n -= mark;
    if (r->text_size + n + 1 > r->text_capacity) {
        size_t capacity = (r->text_size + n + 1) * 2;
        char *text = (char *)realloc(r->text, capacity);
        if (!text) return fail(r->name, r->first + r->n, "out of memory: a line of %zu bytes", n);
        r->text = text;
        r->text_capacity = capacity;
    }
    memcpy(r->text + r->text_size, r->line + mark, n);
    *begin = r->text_size;
    r->lines[r->n++].size = n;
    r->text_size += n;
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

// The segments of line i.
static bool reader_split(const reader *r, int32_t i, int32_t max_parts, kpd_input *out) {
    kpd_text rest = r->lines[i];
    memset(out, 0, sizeof *out);
    for (;;) {
        const char *tab = (const char *)memchr(rest.data, '\t', rest.size);
        kpd_text part = rest;
        if (out->n_parts == max_parts)
            return fail(r->name, r->first + i, "more than the %d TAB-separated segment(s) expected", (int)max_parts);
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
    return fail(r->name, r->first + i, "'%.*s' is not an id (a 64-bit integer)", (int)text.size, text.data);
}

// >>job  What a command works with. main frees it, so commands just return. ------------------------------------------

typedef struct job {
    options o;
    const char *program;
    int (*command)(int argc, char **argv);      // runs a command line, argv[0] being the program; returns its exit status
    const char **arg;                   // NULL = not given: there are more than any command asks for
    kpd_pool *pool;
    kpd_parallel parallel;
    kpd_model *student, *assistant;     // or any one model, as the student
    kpd_index *index;
    kpd_session *session;
    reader text;
    npy_reader vectors;
    int lock;                           // of the index that the command changes, -1 = none
    output out;
    void *block[16]; int n_blocks;      // see job_alloc
    const char *unit;                   // what is counted: texts, queries, vectors
    int64_t done, tokens;               // tokens -1 = not counted
    double started, shown;              // seconds
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
    if (j->lock >= 0) close(j->lock);
    kpd_session_destroy(j->session);
    kpd_index_close(j->index);
    kpd_model_close(j->student);
    kpd_model_close(j->assistant);
    kpd_pool_destroy(j->pool);
    for (int i = 0; i < j->n_blocks; i++) free(j->block[i]);
    free(j->each);
}

static bool open_any_model(const char *path, kpd_model **out) {
    kpd_error e;
    return !kpd_model_open(path, NULL, out, &e) || fail_with(path, &e);
}

static bool open_model(const char *path, kpd_kind kind, kpd_model **out) {
    bool bi = kind == KPD_BI_ENCODER;
    if (!open_any_model(path, out)) return false;
    if (kpd_model_get_desc(*out).kind == kind) return true;
    return fail(path, 0, "a %s-encoder, expected a %s-encoder", bi ? "cross" : "bi", bi ? "bi" : "cross");
}

static bool open_index(job *j, const char *path, bool writable) {
    kpd_error e;
    kpd_open_desc d = {0};
    d.copy = writable;
    return !kpd_index_open(path, &d, &j->index, &e) || fail_with(path, &e);
}

static bool open_vectors(job *j, const char *path) {
    char why[200];
    return npy_open(&j->vectors, path, why, sizeof why) || fail(path, 0, "%s", why);
}

static bool open_session(job *j, int32_t max_k, int32_t max_dim) {
    kpd_error e;
    kpd_session_desc d = {0};
    d.student = j->student;
    d.assistant = j->assistant;
    d.max_k = max_k;
    d.max_dim = max_dim;
    d.simd = (kpd_simd)j->o.simd;
    d.parallel = j->parallel;
    return !kpd_session_create(&d, &j->session, &e) || fail(NULL, 0, "%s", e.message);
}

// What the library says about the chunk of text in hand: `where` is its input.
static bool fail_text(const job *j, const kpd_error *e) {
    bool placed = e->where >= 0 && e->where < j->text.n;
    return fail(j->text.name, placed ? j->text.first + e->where : 0, "%s", placed ? after_place(e->message) : e->message);
}

static bool split_chunk(job *j, int32_t max_parts, kpd_input *in) {
    for (int32_t i = 0; i < j->text.n; i++)
        if (!reader_split(&j->text, i, max_parts, &in[i])) return false;
    return true;
}

// keyphrase TAB category TAB title, or keyphrase TAB title; for a model that reads no title, its category.
static bool pair_row(const job *j, bool title, int32_t i, const kpd_input *line, kpd_row *row) {
    if (line->n_parts < 2) return fail(j->text.name, j->text.first + i, "1 segment, expected 2 or 3 with a TAB between them");
    row->keyphrase = line->part[0];
    if (line->n_parts > 2 || !title) row->category = line->part[1];
    row->title = line->part[line->n_parts - 1];
    return true;
}

// What m reads of the chunk's lines: pairs, items (title, or title TAB category) or keyphrases.
static bool read_inputs(job *j, const kpd_model *m, kpd_tower tower, kpd_input *in) {
    kpd_model_desc d = kpd_model_get_desc(m);
    bool pair = d.kind == KPD_CROSS_ENCODER, title = strstr(d.template_pair, "{title}") != NULL;
    if (!split_chunk(j, pair ? 3 : tower == KPD_ITEM ? 2 : 1, in)) return false;
    for (int32_t i = 0; i < j->text.n; i++) {
        kpd_row row = {0};
        if (pair && !pair_row(j, title, i, &in[i], &row)) return false;
        if (!pair && tower == KPD_ITEM) { row.title = in[i].part[0]; row.category = in[i].part[1]; }
        if (!pair && tower == KPD_KEYPHRASE) row.keyphrase = in[i].part[0];
        in[i] = kpd_model_input(m, tower, &row);
    }
    return true;
}

// >>progress  A bar on a terminal, a plain line now and then elsewhere; nothing for short work. ----------------------

static void start(job *j, const char *unit) {
    j->unit = unit;
    j->tokens = -1;
    j->started = j->shown = now();
}

static void format_left(char *out, size_t size, double elapsed, double fraction) {
    double left = fraction > 0 ? elapsed / fraction - elapsed : 0;
    long s = left < 1e6 ? (long)(left + 0.5) : 0;
    if (fraction <= 0) out[0] = 0;
    else if (!(left < 1e6)) snprintf(out, size, ", over 11 days left");
    else if (s < 3600) snprintf(out, size, ", %ld:%02ld left", s / 60, s % 60);
    else snprintf(out, size, ", %ld:%02ld:%02ld left", s / 3600, s / 60 % 60, s % 60);
}

static void show_bar(const job *j, double elapsed, double fraction) {
    char bar[31], left[40];
    int full = (int)(fraction * 30);
    memset(bar, ' ', 30);
    memset(bar, '=', (size_t)(full < 0 ? 0 : full > 30 ? 30 : full));
    bar[30] = 0;
    format_left(left, sizeof left, elapsed, fraction);
    fprintf(stderr, "\r[%s] %lld %s, %.0f/s%s   ", bar, (long long)j->done, j->unit, (double)j->done / elapsed, left);
    g_line_open = true;
}

static void show_line(const job *j, double elapsed, double fraction) {
    char left[40];
    format_left(left, sizeof left, elapsed, fraction);
    fprintf(stderr, "kpd: %lld %s, %.0f/s", (long long)j->done, j->unit, (double)j->done / elapsed);
    if (fraction > 0) fprintf(stderr, ", %.0f %%%s", 100 * fraction, left);
    fputc('\n', stderr);
}

// Counts n more; at and of are in any unit, of = 0 when the end is unknown.
static void progress(job *j, int64_t n, int64_t at, int64_t of) {
    double t = now(), elapsed = t - j->started, fraction = of > 0 ? (double)at / (double)of : 0;
    bool terminal = isatty(STDERR_FILENO) != 0;
    j->done += n;
    if (elapsed < 2 || t - j->shown < (terminal ? 0.2 : elapsed < 12 ? 2 : 10)) return;
    j->shown = t;
    if (terminal) show_bar(j, elapsed, fraction);
    else show_line(j, elapsed, fraction);
}

static void progress_text(job *j) { progress(j, j->text.n, j->text.bytes, j->text.size); }

// Calls fn for each chunk of the text, with j->text.n lines of at least one, until the end or until it fails. A command that
// reads several files counts them all.
typedef bool chunk_fn(job *j, void *state);
static bool each_chunk(job *j, const char *unit, chunk_fn *fn, void *state) {
    if (!j->unit) start(j, unit);
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

// The p-th part of n times, which it sorts.
static double quantile(double *seconds, size_t n, double p) {
    qsort(seconds, n, sizeof *seconds, by_seconds);
    return seconds[(size_t)(p * (double)(n - 1) + .5)];
}

static void print_stats(const job *j) {
    if (!j->unit) return;
    fprintf(stderr, "%s=%lld ", j->unit, (long long)j->done);
    if (j->tokens >= 0) fprintf(stderr, "tokens=%lld ", (long long)j->tokens);
    fprintf(stderr, "seconds=%.6f", now() - j->started);
    if (j->n_each) fprintf(stderr, " p50_ms=%.4f", 1e3 * quantile(j->each, j->n_each, .5));
    if (j->n_each) fprintf(stderr, " p99_ms=%.4f", 1e3 * quantile(j->each, j->n_each, .99));
    fputc('\n', stderr);
}

// >>models  import, convert, export, info ---------------------------------------------------------------------------------

static void print_notes(const char *file, char *notes) {
    for (char *line = strtok(notes, "\n"); line; line = strtok(NULL, "\n")) fail(file, 0, "note: %s", line);
}

// The first chunk of the file of --calibrate, as the segments that the model takes.
static bool read_calibration(job *j, kpd_convert_desc *d) {
    kpd_input *in = (kpd_input *)job_alloc(j, CHUNK_LINES, sizeof *in);
    if (!in || !reader_open(&j->text, j->o.calibrate) || !reader_next(&j->text)) return false;
    if (!j->text.n) return fail(j->text.name, 0, "no text, expected a text a line");
    d->texts = in;
    d->n_texts = (size_t)j->text.n;
    d->tower = (kpd_tower)j->o.tower;
    return read_inputs(j, j->student, d->tower, in);
}

static int check_conversion(const job *j) {
    const char *what = j->o.calibrate ? "--calibrate" : j->o.wide_qkv ? "--wide-qkv" : NULL;
    if (what && j->o.dtype + 1 != KPD_INT8) return usage("%s: of --dtype int8 only", what);
    if (j->o.tower && !j->o.calibrate) return usage("--tower: of --calibrate only");
    return DONE;
}

static bool save_model(const kpd_model *m, const char *path) {
    kpd_error e;
    kpd_status s;
    files_hold_signals(true);
    s = kpd_model_save(m, path, &e);
    files_hold_signals(false);
    return !s || fail_with(path, &e);
}

// The job's student in the type asked for, saved.
static int save_converted(job *j) {
    kpd_error e;
    kpd_convert_desc d = {0};
    const kpd_model *m = j->student;
    d.dtype = (kpd_dtype)(j->o.dtype + 1);
    d.wide_qkv = j->o.wide_qkv != 0;
    if (d.dtype != kpd_model_get_desc(m).dtype) {
        if (j->o.calibrate && !read_calibration(j, &d)) return BAD_DATA;
        if (kpd_model_convert(m, &d, &j->assistant, &e)) {
            if (d.texts && e.where >= 0) fail_text(j, &e);
            else fail_with(j->o.output, &e);
            return BAD_DATA;
        }
        m = j->assistant;
    } else if (j->o.calibrate || d.wide_qkv) {
        return fail(j->arg[0], 0, "the weights are int8 already, expected f32 or bf16"), BAD_DATA;
    }
    if (!save_model(m, j->o.output)) return BAD_DATA;
    printf("%s: %zu bytes\n", j->o.output, kpd_model_size(m));
    return DONE;
}

static int run_convert(job *j) {
    if (!j->o.output) return usage("convert: -o M.kpd is missing");
    if (check_conversion(j)) return BAD_USAGE;
    if (!can_write(j->o.output) || !open_any_model(j->arg[0], &j->student)) return BAD_DATA;
    return save_converted(j);
}

static const char *const MODEL_FILES[] = {".json", ".safetensors", ".txt", ".bin", NULL};

static int run_import(job *j) {
    kpd_error e;
    char notes[4096] = "";
    hf_import_desc d = {0};
    const char *dir = j->arg[0];
    d.template_item = j->o.template_item;
    d.template_keyphrase = j->o.template_keyphrase;
    d.template_pair = j->o.template_pair;
    d.max_tokens = j->o.max_tokens;
    d.note = notes;
    d.note_size = sizeof notes;
    if (!j->o.output) return usage("import: -o M.kpd is missing");
    if (check_conversion(j)) return BAD_USAGE;
    note_inputs_in(dir, MODEL_FILES);
    if (!can_write(j->o.output)) return BAD_DATA;
    if (hf_import(dir, &d, &j->student, &e)) return fail_with(dir, &e), BAD_DATA;
    print_notes(dir, notes);
    return save_converted(j);
}

static int run_export(job *j) {
    kpd_error e;
    if (!j->o.output) return usage("export: -o DIR is missing");
    if (!open_any_model(j->arg[0], &j->student)) return BAD_DATA;
    if (hf_export(j->student, j->o.output, &e)) return fail_with(j->o.output, &e), BAD_DATA;
    return DONE;
}

static void print_modules(const kpd_model_desc *d) {
    for (int32_t i = 0; i < d->n_modules; i++) {
        const kpd_module *m = &d->modules[i];
        if (m->kind == KPD_MODULE_LAYER_NORM) printf("module       layer norm\n");
        else
            printf("module       dense to %d, %s%s\n", (int)m->width, kpd_activation_name(m->activation),
                   m->no_bias ? ", no bias" : "");
    }
}

static void print_head(const kpd_model_desc *d, int32_t dim) {
    if (d->kind == KPD_CROSS_ENCODER) {
        printf("head         pooler and classifier, %d label(s)\n", (int)d->n_labels);
        printf("pair         %s\n", d->template_pair);
        return;
    }
    printf("pooling      %s\n", kpd_pooling_name(d->pooling));
    print_modules(d);
    printf("embedding    %d columns, ", (int)dim);
    if (d->truncate_dim)
        printf("the first of %d, which are ", (int)(d->n_modules ? d->modules[d->n_modules - 1].width : d->width));
    printf("%s; %s\n", d->no_normalize ? "not normalised" : "unit length", kpd_metric_name(d->similarity));
    printf("item         %s\nkeyphrase    %s\n", d->template_item, d->template_keyphrase);
}

static void print_model(const kpd_model *m, const char *path) {
    kpd_model_desc d = kpd_model_get_desc(m);
    kpd_tensor t;
    int32_t n = 0;
    int64_t values = 0;
    for (; kpd_model_tensor(m, n, &t); n++) values += (int64_t)t.rows * t.cols;
    printf("%s: %s, %s%s, %zu bytes\n", path, kpd_kind_name(d.kind), kpd_dtype_name(d.dtype),
           d.arithmetic & KPD_WIDE_QKV ? " (16-bit inputs of query, key and value)" : "", kpd_model_size(m));
    printf("encoder      %d layer(s), width %d, %d head(s), feed-forward %d %s%s\n", (int)d.n_layers, (int)d.width,
           (int)d.n_heads, (int)d.ffn_width, kpd_activation_name(d.activation), d.separate_towers ? ", separate towers" : "");
    printf("fingerprint  %016llx\n", (unsigned long long)kpd_model_fingerprint(m, KPD_ITEM));
    printf("vocabulary   %d tokens\n", (int)kpd_tokenizer_size(kpd_model_tokenizer(m)));
    printf("tokens       at most %d a text; %d positions, %d type(s)\n", (int)d.max_tokens, (int)d.n_positions, (int)d.n_types);
    print_head(&d, kpd_model_dim(m));
    printf("tensors      %d with %lld values\n", (int)n, (long long)values);
}

static void print_index(const kpd_index *x, const char *path) {
    kpd_index_info i = kpd_index_get_info(x);
    printf("%s: %s index, %s, %lld bytes\n", path, kpd_index_kind_name(i.kind), kpd_dtype_name(i.storage), (long long)i.bytes);
    if (i.kind == KPD_TREE)
        printf("lists        %d, %d blocks of 16; recall %g\n", (int)i.lists, (int)i.blocks, (double)i.recall);
    if (i.fingerprint) printf("fingerprint  %016llx\n", (unsigned long long)i.fingerprint);
    if (i.partition) printf("partition    %d\n", (int)i.partition);
    printf("vectors      %lld of dim %d, %s\n", (long long)i.count, (int)i.dim, kpd_metric_name(i.metric));
}

static int info_index(job *j) {
    kpd_error e;
    kpd_open_desc d = {0};
    d.verify = true;
    if (kpd_index_open(j->arg[0], &d, &j->index, &e)) return fail_with(j->arg[0], &e), BAD_DATA;
    print_index(j->index, j->arg[0]);
    printf("verified\n");
    return DONE;
}

static int run_info(job *j) {
    kpd_error e;
    kpd_open_desc d = {0};
    kpd_file_kind kind;
    d.verify = true;
    if (!kpd_file_kind_of(j->arg[0], &kind, &e) && kind == KPD_FILE_INDEX) return info_index(j);
    if (kpd_model_open(j->arg[0], &d, &j->student, &e)) return fail_with(j->arg[0], &e), BAD_DATA;
    print_model(j->student, j->arg[0]);
    printf("verified\n");
    return DONE;
}

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
    if (!grow_tokens(t, r->lines[i].size)) return fail(r->name, r->first + i, "out of memory: %zu bytes", r->lines[i].size);
    if (kpd_tokenize(kpd_model_tokenizer(j->student), &in, j->o.max_tokens, j->o.no_special != 0, t, &e))
        return fail(r->name, r->first + i, "%s", e.message);
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
static bool check_finite(const job *j, const float *v, int32_t cols) {
    for (int32_t i = 0; i < j->text.n; i++)
        for (int32_t c = 0; c < cols; c++)
            if (!isfinite(v[(size_t)i * (size_t)cols + (size_t)c]))
                return fail(j->text.name, j->text.first + i, "the result is not a finite number; `kpd info` checks the model");
    return true;
}

static void print_rows(FILE *f, const float *v, size_t rows, int32_t cols) {
    for (size_t i = 0; i < rows; i++)
        for (int32_t c = 0; c < cols; c++)
            fprintf(f, "%.9g%c", (double)v[i * (size_t)cols + (size_t)c], c + 1 < cols ? '\t' : '\n');
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
static bool embed_texts(job *j, const kpd_model *m, kpd_session *s, const batch *b, double *each) {
    kpd_error e;
    kpd_tower tower = (kpd_tower)j->o.tower;
    int32_t n = j->text.n;
    if (!each) return !kpd_embed(s, m, tower, b->in, (size_t)n, b->cols, b->out, &e) || fail_text(j, &e);
    for (int32_t i = 0; i < n; i++) {
        each[i] = now();
        if (kpd_embed(s, m, tower, b->in + i, 1, b->cols, b->out + (size_t)i * (size_t)b->cols, &e)) {
            if (e.where >= 0) e.where = i;   // counted from the call's first
            return fail_text(j, &e);
        }
        each[i] = now() - each[i];
    }
    return true;
}

// Room for the times of one more chunk: quantiles need all of them.
static double *more_times(job *j) {
    size_t n = j->n_each + (size_t)j->text.n;
    if (n > j->each_capacity) {
        double *each = (double *)realloc(j->each, 2 * n * sizeof *each);
        if (!each) return fail(NULL, 0, "out of memory: the times of %zu texts", n), NULL;
        j->each = each;
        j->each_capacity = 2 * n;
    }
    j->n_each = n;
    return j->each + n - (size_t)j->text.n;
}

static bool embed_chunk(job *j, void *state) {
    const batch *b = (const batch *)state;
    size_t n = (size_t)j->text.n;
    double *each = j->o.one ? more_times(j) : NULL;
    if (j->o.one && !each) return false;
    if (!read_inputs(j, j->student, (kpd_tower)j->o.tower, b->in)) return false;
    if (!embed_texts(j, j->student, j->session, b, each)) return false;
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
    if (npy && (fseek(npy, 0, SEEK_SET) || !npy_write_header(npy, j->done, b->cols))) return output_failed(&j->out);
    if (!output_commit(&j->out)) return false;
    if (npy) printf("%s: %lld vectors of dim %d\n", j->out.path, (long long)j->done, (int)b->cols);
    return true;
}

static int run_embed(job *j) {
    batch b;
    int32_t dim;
    if (!open_model(j->arg[0], KPD_BI_ENCODER, &j->student)) return BAD_DATA;
    dim = kpd_model_dim(j->student);
    if (j->o.dim > dim) return usage("--dim %d: %s has %d columns", (int)j->o.dim, j->arg[0], (int)dim);
    if (j->o.dim) dim = j->o.dim;
    if (!open_session(j, 0, 0) || !reader_open(&j->text, j->arg[1]) || !output_open(&j->out, j->o.output)) return BAD_DATA;
    return batch_create(j, dim, &b) && embed_all(j, &b) ? DONE : BAD_DATA;
}

// >>bench  What this machine's kernels do, and a model by them: tokenizing, batches, one text at a time, in each type. ------

enum { BENCH_ROUNDS = 5, BENCH_TYPES = 4 };

static const struct { const char *name; kpd_dtype type; bool wide; } bench_types[BENCH_TYPES] = {
    {"f32", KPD_F32, false}, {"bf16", KPD_BF16, false}, {"int8", KPD_INT8, false}, {"int8 wide", KPD_INT8, true}};

static double bench_clock(void *unused) {
    (void)unused;
    return now();
}

// Adds the session's seconds so far times `sign`: - before and + after are what lies between.
static void bench_stages(const kpd_session *s, double sign, double *spent) {
    for (int i = 0; i < KPD_STAGE_COUNT; i++) spent[i] += sign * kpd_session_seconds(s, (kpd_stage)i);
}

static bool bench_tokenizer(job *j, const batch *b) {
    int32_t ids[4096];
    kpd_tokens t = {0};
    double seconds[BENCH_ROUNDS];
    size_t bytes = 0;
    t.ids = ids;
    t.capacity = (int32_t)(sizeof ids / sizeof *ids);
    for (int r = 0; r < BENCH_ROUNDS; r++) {
        seconds[r] = now();
        bytes = 0;
        for (int32_t i = 0; i < j->text.n; i++) {
            kpd_error e;
            if (kpd_model_tokenize(j->student, (kpd_tower)j->o.tower, &b->in[i], false, &t, &e)) return fail_text(j, &e);
            bytes += j->text.lines[i].size;
        }
        seconds[r] = now() - seconds[r];
    }
    printf("tokenizer    %.1f MB/s, one thread\n", 1e-6 * (double)bytes / quantile(seconds, BENCH_ROUNDS, .5));
    return true;
}

// One row of the table. reference: the vectors of f32, or NULL while it is that which is timed. spent: of the batches.
static bool bench_row(job *j, const kpd_model *m, kpd_session *s, const batch *b, const float *reference, const char *name,
                      double *spent) {
    double seconds[BENCH_ROUNDS], each[CHUNK_LINES], least = 1;
    int32_t n = j->text.n;
    if (!embed_texts(j, m, s, b, NULL)) return false;   // warms up
    bench_stages(s, -1, spent);
    for (int r = 0; r < BENCH_ROUNDS; r++) {
        seconds[r] = now();
        if (!embed_texts(j, m, s, b, NULL)) return false;
        seconds[r] = now() - seconds[r];
    }
    bench_stages(s, 1, spent);
    if (!embed_texts(j, m, s, b, each)) return false;
    for (int32_t i = 0; reference && i < n; i++) {
        size_t at = (size_t)i * (size_t)b->cols;
        least = fmin(least, (double)kpd_cosine(b->out + at, reference + at, b->cols));
    }
    printf("%-10s %9.1f %9.2f %9.2f %9.1f %9.1f   %.6f\n", name, n / quantile(seconds, BENCH_ROUNDS, .5),
           1e3 * quantile(each, (size_t)n, .5), 1e3 * quantile(each, (size_t)n, .99), (double)kpd_model_size(m) / 1048576,
           (double)kpd_session_size(s) / 1048576, least);
    fflush(stdout);
    return true;
}

// The model in one type of weights.
static bool bench_type(job *j, const batch *b, float *reference, int t, double *spent) {
    kpd_dtype type = bench_types[t].type;
    kpd_convert_desc c = {0};
    kpd_session_desc d = {0};
    kpd_model *other = NULL;
    kpd_session *s = NULL;
    kpd_error e;
    bool ok;
    c.dtype = type;
    c.wide_qkv = bench_types[t].wide;
    if (kpd_model_convert(j->student, &c, &other, &e)) return fail(j->arg[0], 0, "%s", e.message);
    d.student = other;
    d.simd = (kpd_simd)j->o.simd;
    d.parallel = j->parallel;
    d.clock = bench_clock;
    ok = !kpd_session_create(&d, &s, &e) || fail(NULL, 0, "%s", e.message);
    if (ok) ok = bench_row(j, other, s, b, type == KPD_F32 ? NULL : reference, bench_types[t].name, spent);
    if (ok && type == KPD_F32) memcpy(reference, b->out, (size_t)j->text.n * (size_t)b->cols * sizeof *reference);
    kpd_session_destroy(s);
    kpd_model_close(other);
    return ok;
}

// Microseconds a text, means over the batches.
static void print_stages(double spent[BENCH_TYPES][KPD_STAGE_COUNT], int32_t n) {
    printf("\n%-10s", "us a text");
    for (int i = 0; i < KPD_STAGE_COUNT; i++) printf(" %9s", kpd_stage_name((kpd_stage)i));
    for (int t = 0; t < BENCH_TYPES; t++) {
        printf("\n%-10s", bench_types[t].name);
        for (int i = 0; i < KPD_STAGE_COUNT; i++) printf(" %9.1f", 1e6 * spent[t][i] / (BENCH_ROUNDS * n));
    }
    printf("\n");
}

// What the model makes of the texts, by type.
static bool bench_all_types(job *j, const batch *b) {
    double spent[BENCH_TYPES][KPD_STAGE_COUNT] = {{0}};
    float *reference = (float *)job_alloc(j, CHUNK_LINES, (size_t)b->cols * sizeof *reference);
    if (!reference) return false;
    printf("\n%-10s %9s %9s %9s %9s %9s   %s\n", "weights", "texts/s", "p50 ms", "p99 ms", "model MB", "arena MB",
           "least cosine to f32");
    for (int t = 0; t < BENCH_TYPES; t++)
        if (!bench_type(j, b, reference, t, spent[t])) return false;
    print_stages(spent, j->text.n);
    return true;
}

static int bench_model(job *j) {
    kpd_model_desc d;
    batch b;
    double opened = now();
    if (!open_model(j->arg[0], KPD_BI_ENCODER, &j->student)) return BAD_DATA;
    opened = now() - opened;
    if (!reader_open(&j->text, j->arg[1]) || !reader_next(&j->text)) return BAD_DATA;
    if (!j->text.n) return fail(j->text.name, 0, "no text"), BAD_DATA;
    if (!batch_create(j, kpd_model_dim(j->student), &b) || !read_inputs(j, j->student, (kpd_tower)j->o.tower, b.in))
        return BAD_DATA;
    d = kpd_model_get_desc(j->student);
    bench_kernels((kpd_simd)j->o.simd, (size_t)d.width, (size_t)d.ffn_width, (size_t)d.n_heads, now);
    printf("\nopen         %.2f ms\ntexts        the first %d of %s, %d thread(s)\n", 1e3 * opened, (int)j->text.n,
           j->text.name, j->o.threads > 1 ? (int)j->o.threads : 1);
    return bench_tokenizer(j, &b) && bench_all_types(j, &b) ? DONE : BAD_DATA;
}

static int run_bench(job *j) {
    if (j->arg[0] && !j->arg[1]) return usage("bench: expected a model and a FILE of texts, or neither");
    if (j->arg[0]) return bench_model(j);
    bench_kernels((kpd_simd)j->o.simd, 384, 1536, 12, now);
    return DONE;
}

// >>score ---------------------------------------------------------------------------------------------------------------

static bool score_chunk(job *j, void *state) {
    const batch *b = (const batch *)state;
    size_t n = (size_t)j->text.n;
    kpd_error e;
    if (!read_inputs(j, j->assistant, KPD_ITEM, b->in)) return false;
    if (kpd_score(j->session, j->assistant, b->in, n, b->out, &e)) return fail_text(j, &e);
    if (!check_finite(j, b->out, b->cols)) return false;
    print_rows(j->out.file, b->out, n, b->cols);
    return true;
}

static int run_score(job *j) {
    batch b;
    if (!open_model(j->arg[0], KPD_CROSS_ENCODER, &j->assistant) || !open_session(j, 0, 0)) return BAD_DATA;
    if (!reader_open(&j->text, j->arg[1]) || !output_open(&j->out, NULL)) return BAD_DATA;
    if (!batch_create(j, kpd_model_dim(j->assistant), &b) || !each_chunk(j, "texts", score_chunk, &b)) return BAD_DATA;
    j->tokens = kpd_session_tokens(j->session);
    return output_commit(&j->out) ? DONE : BAD_DATA;
}

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
    printf("%s: %lld added, %lld replaced, %lld now\n", path, (long long)added, (long long)(j->vectors.rows - added),
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
    if (!v || !ids_of_rows(j, l)) return false;
    if (kpd_index_build(d, &j->parallel, l->id, v, l->n, &j->index, &e)) return fail_row(j->arg[0], &e, 0);
    progress(j, (int64_t)l->n, (int64_t)l->n, j->vectors.rows);
    if (!save_index(j, path)) return false;
    count = kpd_index_get_info(j->index).count;
    printf("%s: %lld added, %lld replaced, %lld now\n", path, (long long)count, (long long)(j->vectors.rows - count),
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
    printf("%s: %zu of %zu removed, %lld now\n", path, removed, l->n, (long long)kpd_index_get_info(j->index).count);
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
    printf("%s: recall %.4f at gamma %.4f, k %d, by %zu queries\n", path, (double)t.recall, (double)t.gamma, (int)j->o.k, n);
    if (t.recall < recall) fail(path, 0, "note: the recall asked for, %g, was not reached", (double)recall);
    return true;
}

static int run_index_tune(job *j) {
    lock_index(j, j->arg[0]);
    if (!check_recall(j) || !open_index(j, j->arg[0], true) || !open_vectors(j, j->arg[1]) ||
        !check_dim(j, j->arg[1], j->arg[0]))
        return BAD_DATA;
    return tune(j) ? DONE : BAD_DATA;
}

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
    if (in.n_parts < 2) return fail(r->name, r->first + i, "expected id TAB keyphrase");
    if (!phrases_reserve(p, in.part[1].size)) return false;
    x = &p->list[p->n];
    if (!parse_id(r, i, in.part[0], &x->id)) return false;
    x->line = r->first + i;
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
    fail(path, 0, "note: %lld of the index's %lld ids are not in this file and are left out", (long long)missing,
         (long long)count);
}

typedef struct recommender { kpd_recommend_desc d; kpd_input *in; kpd_recommendation *out; int32_t *counts; } recommender;

static void print_recommendations(const job *j, const recommender *r, int32_t i) {
    for (int32_t rank = 0; rank < r->counts[i]; rank++) {
        const kpd_recommendation *x = &r->out[(size_t)i * (size_t)r->d.search.k + (size_t)rank];
        kpd_text t = {"", 0};
        r->d.lookup(r->d.lookup_user, x->id, &t);
        fprintf(j->out.file, "%lld\t%d\t", (long long)(j->text.first - 1 + i), (int)rank + 1);
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
    if (!reader_open(&j->text, j->arg[4]) || !output_open(&j->out, j->o.output)) return false;
    r.in = (kpd_input *)job_alloc(j, CHUNK_LINES, sizeof *r.in);
    r.out = (kpd_recommendation *)job_alloc(j, CHUNK_LINES, (size_t)r.d.search.k * sizeof *r.out);
    r.counts = (int32_t *)job_alloc(j, CHUNK_LINES, sizeof *r.counts);
    return r.in && r.out && r.counts && each_chunk(j, "queries", recommend_chunk, &r) && output_commit(&j->out);
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

// >>vocab -----------------------------------------------------------------------------------------------------------

typedef struct corpus {
    job *j;
    int next_file;                      // of j->arg; the open one is j->text
    int32_t next_line;                  // of its chunk
    int64_t bytes, size;                // of the files before; of all, 0 = unknown
    bool failed;
} corpus;

static int64_t total_size(const char **paths) {
    struct stat st;
    int64_t total = 0;
    for (; *paths; paths++) {
        if (!strcmp(*paths, "-") || stat(*paths, &st) || !S_ISREG(st.st_mode)) return 0;
        total += (int64_t)st.st_size;
    }
    return total;
}

// The next chunk with lines, of this file or a later one; none at the end of all.
static bool corpus_chunk(corpus *c) {
    reader *r = &c->j->text;
    c->next_line = 0;
    for (;;) {
        if (!r->file) {
            if (!c->j->arg[c->next_file]) return true;
            if (!reader_open(r, c->j->arg[c->next_file++])) return false;
        }
        if (!reader_next(r)) return false;
        progress(c->j, r->n, c->bytes + r->bytes, c->size);
        if (r->n) return true;
        c->bytes += r->bytes;
        reader_close(r);
    }
}

// The library asks for texts; that there are no more may be a failure.
static kpd_text corpus_line(void *user) {
    corpus *c = (corpus *)user;
    kpd_text none = {NULL, 0};
    if (c->next_line == c->j->text.n) c->failed = c->failed || !corpus_chunk(c);
    return c->failed || !c->j->text.n ? none : c->j->text.lines[c->next_line++];
}

static int64_t count_lines(const char *text, size_t size) {
    int64_t n = 0;
    for (size_t i = 0; i < size; i++) n += text[i] == '\n';
    return n;
}

static bool write_vocab(job *j, const char *vocab, size_t size, int64_t wanted) {
    int64_t n = count_lines(vocab, size);
    fwrite(vocab, 1, size, j->out.file);
    if (!output_commit(&j->out)) return false;
    if (n > wanted) fail(NULL, 0, "note: the alphabet alone makes %lld tokens, --size is %lld", (long long)n,
                         (long long)wanted);
    if (j->out.path) printf("%s: %lld tokens\n", j->out.path, (long long)n);
    return true;
}

static int run_vocab(job *j) {
    corpus c = {0};
    kpdt_vocabulary_desc d = {0};
    kpd_error e;
    char *vocab = NULL;
    size_t size = 0;
    bool ok;
    if (!j->o.output) return usage("vocab: -o vocab.txt is missing");
    if (!output_open(&j->out, j->o.output)) return BAD_DATA;
    c.j = j;
    c.size = total_size(j->arg);
    d.size = j->o.size ? j->o.size : 8000;
    d.min_count = j->o.min_count;
    d.cased = j->o.cased != 0;
    d.next = corpus_line;
    d.next_user = &c;
    start(j, "texts");
    if (kpdt_vocabulary_train(&d, &vocab, &size, &e)) return fail("vocab", 0, "%s", e.message), BAD_DATA;
    ok = !c.failed && write_vocab(j, vocab, size, d.size);
    free(vocab);
    return ok ? DONE : BAD_DATA;
}

// >>simulate  A shop with a truth on disk, and its judges. ------------------------------------------------------------

static bool read_shop(const char *path, shop_desc *d) {
    char why[240];
    int64_t line = 0;
    FILE *f = fopen(path, "rb");
    bool ok;
    char head[3] = "";
    size_t mark;
    if (!f) return fail(path, 0, "%s", strerror(errno));
    mark = recipe_mark(head, fread(head, 1, sizeof head, f));
    ok = mark != RECIPE_UTF16 && !fseek(f, (long)mark, SEEK_SET) && shop_read_ini(f, d, &line, why);
    fclose(f);
    if (mark == RECIPE_UTF16) return fail(path, 1, "UTF-16 text, expected UTF-8");
    return ok || fail(path, line, "%s", why);
}

static bool create_shop(const char *path, const shop_desc *d, shop **out) {
    char why[240];
    *out = shop_create(d, why);
    return *out || fail(path ? path : "simulate", 0, "%s", why);
}

// What the file says, and over it what the command line says.
static bool simulate_desc(const job *j, shop_desc *d) {
    if (j->arg[0] && !read_shop(j->arg[0], d)) return false;
    if (j->o.items) d->n_items = j->o.items;
    if (j->o.queries) d->n_queries = j->o.queries;
    if (j->o.seed) d->seed = (uint64_t)j->o.seed;
    if (j->o.world >= 0) d->world = j->o.world ? j->o.world : -1;
    if (j->o.placebo >= 0) d->placebo = j->o.placebo ? j->o.placebo : -1;
    return true;
}

static bool simulate_files(job *j, const shop *s, const char *dir) {
    char path[4200];
    for (int i = 0; shop_get_file(i).name; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, shop_get_file(i).name);
        if (!output_open(&j->out, path)) return false;
        if (!shop_get_file(i).write(s, j->out.file)) return output_failed(&j->out);
        if (!output_commit(&j->out)) return false;
    }
    return true;
}

static void simulate_report(const shop *s, const char *dir) {
    static const char *const set[] = {"ctr.tsv", "sr.tsv", "llm.tsv", "llm_dev.tsv", "llm_test.tsv"};
    shop_figure figure[SHOP_N_FIGURES];
    int n_figures = shop_measure(s, figure);
    printf("%s: %d items, %d test items, %d keyphrases; pairs:", dir, (int)shop_n_items(s), (int)shop_n_test_items(s),
           (int)shop_n_queries(s));
    for (int i = 0; i < SHOP_N_SETS; i++) {
        int32_t n;
        shop_pairs(s, (shop_set)i, &n);
        printf(" %s %d%s", set[i], (int)n, i + 1 < SHOP_N_SETS ? "," : "\n\n");
    }
    printf("%-48s %8s  prototype, in W3\n", "measured", "here");
    for (int i = 0; i < n_figures; i++) printf("%-48s %8.3f  %s\n", figure[i].name, figure[i].value, figure[i].prototype);
}

static int run_simulate(job *j) {
    shop_desc d = {0};
    shop *s = NULL;
    bool ok;
    if (!j->o.output) return usage("simulate: -o DIR is missing");
    if (j->arg[0] && (j->o.items || j->o.queries || j->o.world >= 0))
        return usage("simulate: --items, --queries and --world stand in SHOP.ini when one is given");
    if (!simulate_desc(j, &d) || !make_folder(j->o.output)) return BAD_DATA;
    start(j, "items");
    ok = create_shop(j->arg[0], &d, &s) && simulate_files(j, s, j->o.output);
    if (ok) simulate_report(s, j->o.output);
    if (ok) j->done = shop_n_items(s);
    shop_destroy(s);
    return ok ? DONE : BAD_DATA;
}

typedef enum judge_by { BY_TRUTH, BY_TEXT, BY_LLM, BY_TUNED, BY_SR, BY_FILTER } judge_by;

static double judge_score(const shop *s, judge_by by, int32_t item, int32_t query) {
    switch (by) {
    case BY_TRUTH:  return shop_truth(s, item, query);
    case BY_TEXT:   return shop_text_truth(s, item, query);
    case BY_LLM:    return shop_llm(s, item, query);
    case BY_TUNED:  return shop_llm_tuned(s, item, query);
    case BY_SR:     return shop_sr(s, item, query);
    case BY_FILTER: return shop_passes(s, item, query) ? 1 : 0;
    }
    return 0;
}

// A line of two columns, or of the five of `kpd recommend`.
static bool judge_line(job *j, const shop *s, int32_t i) {
    const reader *r = &j->text;
    kpd_text column[5], text;
    int64_t row;
    int32_t query;
    int n = split_columns(r, i, column, 5);
    if (n != 2 && n != 5) return fail(r->name, r->first + i, "expected row TAB keyphrase, or a line of `kpd recommend`");
    text = column[n / 2];
    if (!parse_id(r, i, column[0], &row)) return false;
    if (row < 0 || row >= shop_n_test_items(s))
        return fail(r->name, r->first + i, "row %lld: test_items.tsv has rows 0 to %d", (long long)row,
                    (int)shop_n_test_items(s) - 1);
    query = shop_find_phrase(s, text.data, text.size);
    if (query < 0)
        return fail(r->name, r->first + i, "'%.*s' is not a keyphrase of this shop", (int)(text.size > 80 ? 80 : text.size),
                    text.data);
    fprintf(j->out.file, "%lld\t", (long long)row);
    fwrite(text.data, 1, text.size, j->out.file);
    fprintf(j->out.file, "\t%.9g\n", judge_score(s, (judge_by)j->o.by, shop_n_items(s) + (int32_t)row, query));
    return true;
}

static bool judge_chunk(job *j, void *state) {
    for (int32_t i = 0; i < j->text.n; i++)
        if (!judge_line(j, (const shop *)state, i)) return false;
    return true;
}

// The standard input, or all files one behind the other.
static bool judge_files(job *j, shop *s) {
    const char **path = j->arg + 1;
    do {
        if (!reader_open(&j->text, *path) || !each_chunk(j, "pairs", judge_chunk, s)) return false;
        reader_close(&j->text);
    } while (*path && *++path);
    return true;
}

static int run_judge(job *j) {
    char path[4200];
    shop_desc d = {0};
    shop *s = NULL;
    bool ok;
    if (strlen(j->arg[0]) > 4000) return fail(j->arg[0], 0, "a path longer than 4000 bytes"), BAD_DATA;
    snprintf(path, sizeof path, "%s/shop.ini", j->arg[0]);
    note_input(j->arg[0], path);
    ok = read_shop(path, &d) && output_open(&j->out, j->o.output) && create_shop(path, &d, &s) && judge_files(j, s) &&
         output_commit(&j->out);
    shop_destroy(s);
    return ok ? DONE : BAD_DATA;
}

// >>train  A recipe's training, step by step, into a folder that can be gone on with at any time. --------------------

// What a training leaves in its folder. last.kpd comes before the last checkpoint: where it is, nothing is left to do.
static const char *const TRAIN_FILES[] = {"metrics.tsv", "checkpoint.kpc", "best.kpd", "last.kpd"};
enum { METRICS, CHECKPOINT, BEST, LAST, N_TRAIN_FILES };

typedef struct training {
    recipe r;
    kpdt_trainer *trainer;
    FILE *metrics;
    kpdt_report report;                 // of the step in hand
    int64_t first;                      // the step before this run's first; -1 = no step yet
    double loss, weight, dev, saved;    // loss: a sum whose terms fade, with their weights' sum; when a checkpoint was written
    char path[N_TRAIN_FILES][4200];
} training;

static volatile sig_atomic_t g_stop;    // the signal that asked to stop

// The first Ctrl-C lets the step end and saves; a second one kills, should that take too long.
static void ask_to_stop(int signal_number) {
    g_stop = signal_number;
    files_catch(files_interrupted);
}

static bool file_exists(const char *path) {
    struct stat st;
    return stat(path, &st) == 0;
}

static void note_recipe(const recipe *r) {
    note_input(r->path, NULL);
    if (r->model.start) note_input(r->model.start, NULL);
    if (r->model.vocab) note_input(r->model.vocab, NULL);
    if (r->model.assistant) note_input(r->model.assistant, NULL);
    if (r->dev.file) note_input(r->dev.file, NULL);
    for (int32_t i = 0; i < r->n_data; i++) note_input(r->data[i].file, NULL);
}

static bool train_folder(training *x, bool resume, bool force) {
    const char *dir = x->r.train.output;
    if (!resume) note_recipe(&x->r);    // else the checkpoint knows whether an input is another now
    if (!make_folder(dir)) return false;
    for (int i = 0; i < N_TRAIN_FILES; i++) {
        snprintf(x->path[i], sizeof x->path[i], "%s/%s", dir, TRAIN_FILES[i]);
        if (!can_write(x->path[i])) return false;
        if (!resume && !force && file_exists(x->path[i]))
            return fail(dir, 0, "holds a training already (%s): --resume goes on with it, --force begins anew and deletes it",
                        TRAIN_FILES[i]);
    }
    for (int i = BEST; i <= LAST && resume && !file_exists(x->path[CHECKPOINT]); i++)
        if (file_exists(x->path[i]))
            return fail(dir, 0, "holds %s but no checkpoint.kpc to go on from; --force begins anew and deletes it",
                        TRAIN_FILES[i]);
    return true;
}

// Opened and locked before anything is changed: two programs in one folder would spoil each other's files.
static bool metrics_open(training *x) {
    struct flock lock;
    int fd = open(x->path[METRICS], O_RDWR | O_CREAT, 0666);
    memset(&lock, 0, sizeof lock);
    lock.l_type = F_WRLCK;
    lock.l_whence = SEEK_SET;
    if (fd >= 0 && fcntl(fd, F_SETLK, &lock) && (errno == EACCES || errno == EAGAIN)) {
        close(fd);
        return fail(x->path[METRICS], 0, "another kpd is training here");
    }
    x->metrics = fd >= 0 ? fdopen(fd, "r+b") : NULL;
    return x->metrics || fail(x->path[METRICS], 0, "cannot write: %s", strerror(errno));
}

// Where the rows of the steps up to `step` end. What is no row was being written when a program was killed.
static long metrics_end(FILE *f, int64_t step) {
    char line[400];
    long end = 0;
    rewind(f);
    while (fgets(line, sizeof line, f) && strchr(line, '\n')) {
        bool header = !end && !strncmp(line, "step\t", 5);
        char *rest;
        long long at = strtoll(line, &rest, 10);
        if (!header && (rest == line || *rest != '\t' || at > step)) break;
        end = ftell(f);
    }
    return end;
}

// Rows that came after the checkpoint are going to be made again.
static bool metrics_cut(training *x, int64_t step) {
    FILE *f = x->metrics;
    long end = metrics_end(f, step);
    if (end < 0 || ftruncate(fileno(f), (off_t)end) || fseek(f, end, SEEK_SET))
        return fail(x->path[METRICS], 0, "cannot write: %s", strerror(errno));
    if (!end) fputs("step\tsource\tloss\trate\tgrad_norm\ttokens\tdev\n", f);
    return true;
}

static void metrics_row(training *x) {
    const kpdt_report *r = &x->report;
    if (r->step % x->r.train.log_steps && isnan(r->dev) && !r->done) return;
    fprintf(x->metrics, "%lld\t%s\t%.9g\t%.9g\t%.9g\t%lld\t", (long long)r->step, x->r.data[r->source].name, (double)r->loss,
            (double)r->rate, (double)r->grad_norm, (long long)r->tokens);
    if (isnan(r->dev)) fputs("-\n", x->metrics);
    else fprintf(x->metrics, "%.9g\n", (double)r->dev);
}

static bool metrics_flush(training *x) {
    bool ok = flushed(x->metrics) && !fsync(fileno(x->metrics));
    return ok || fail(x->path[METRICS], 0, "cannot write: %s", why_not_written());
}

static void train_how_to_go_on(const job *j, const training *x) {
    bool saved = file_exists(x->path[CHECKPOINT]);
    fail(j->arg[0], 0, "stopped at step %lld of %lld%s: `kpd train %s --resume` goes on", (long long)x->report.step,
         (long long)x->report.steps, saved ? "" : ", without a checkpoint", j->arg[0]);
}

// Rows of the metrics reach the disk before the checkpoint that counts on them.
static bool train_checkpoint(training *x) {
    kpd_error e;
    if (!metrics_flush(x)) return false;
    if (kpdt_trainer_save(x->trainer, x->path[CHECKPOINT], &e)) return fail_with(x->path[CHECKPOINT], &e);
    x->saved = now();
    return true;
}

static bool train_due(const training *x) {
    const recipe_train *t = &x->r.train;
    if (t->checkpoint_steps && x->report.step % t->checkpoint_steps == 0) return true;
    return t->checkpoint_seconds && now() - x->saved >= t->checkpoint_seconds;
}

static void train_count(job *j, training *x) {
    const kpdt_report *r = &x->report;
    x->loss = 0.98 * x->loss + 0.02 * (double)r->loss;
    x->weight = 0.98 * x->weight + 0.02;
    if (!isnan(r->dev)) x->dev = (double)r->dev;
    j->done += r->texts;
    j->tokens += r->tokens;
}

static void train_progress(job *j, const training *x) {
    const kpdt_report *r = &x->report;
    double t = now(), elapsed = t - j->started, fraction = (double)(r->step - x->first) / (double)(r->steps - x->first);
    bool terminal = isatty(STDERR_FILENO) != 0;
    char left[40], dev[60] = "";
    if (elapsed < 2 || t - j->shown < (terminal ? 0.2 : elapsed < 12 ? 2 : 10)) return;
    j->shown = t;
    format_left(left, sizeof left, elapsed, fraction);
    if (!isnan(x->dev)) snprintf(dev, sizeof dev, ", dev %.4f (best %.4f)", x->dev, (double)r->best_dev);
    fprintf(stderr, "%sstep %lld/%lld, %.0f %%, loss %.4f, rate %.2g, %.0f tokens/s%s%s%s", terminal ? "\r" : "kpd: ",
            (long long)r->step, (long long)r->steps, 100 * (double)r->step / (double)r->steps, x->loss / x->weight,
            (double)r->rate, (double)j->tokens / elapsed, left, dev, terminal ? "   " : "\n");
    g_line_open = terminal;
}

static bool train_step(training *x) {
    kpd_error e;
    if (kpdt_trainer_step(x->trainer, &x->report, &e)) return fail(x->r.path, 0, "%s", e.message);
    if (x->first >= 0) return true;
    x->first = x->report.step - 1;
    return metrics_cut(x, x->first);
}

static bool train_save_model(training *x, bool best) {
    const char *path = x->path[best ? BEST : LAST];
    kpd_model *m = NULL;
    kpd_error e;
    bool ok = !kpdt_trainer_model(x->trainer, best, &m, &e) && !kpd_model_save(m, path, &e);
    kpd_model_close(m);
    return ok || fail_with(path, &e);
}

// What the data sets gave.
static void train_rows(const training *x) {
    const kpdt_report *r = &x->report;
    int64_t bad = 0;
    for (int32_t i = 0; i < x->r.n_data; i++) bad += kpdt_dataset_bad_rows(x->r.set[i]);
    printf("rows: %lld seen, %lld repeated, %lld left out", (long long)r->rows_seen, (long long)r->rows_repeated,
           (long long)(r->rows_left + bad));
    if (bad) printf(" (%lld of them bad)", (long long)bad);
    putchar('\n');
}

static bool train_finish(training *x) {
    const kpdt_report *r = &x->report;
    bool dev = x->r.dev_set != NULL && !isnan(r->best_dev);
    if (!metrics_flush(x) || (dev && !train_save_model(x, true)) || !train_save_model(x, false)) return false;
    if (!train_checkpoint(x)) return false;
    end_progress_line();
    printf("%s: step %lld of %lld\n", x->path[LAST], (long long)r->step, (long long)r->steps);
    train_rows(x);
    if (dev) printf("%s: dev %.6f, the last %.6f\n", x->path[BEST], (double)r->best_dev, x->dev);
    else if (x->r.dev_set) fail(x->r.path, 0, "note: no look at dev gave a figure, so there is no best.kpd");
    return true;
}

// Until all steps are done, or somebody asks to stop, which then is no success: what was asked for is not there.
static bool train_steps(job *j, training *x) {
    start(j, "texts");
    j->tokens = 0;
    x->saved = now();
    do {
        if (!train_step(x)) return false;
        metrics_row(x);
        train_count(j, x);
        train_progress(j, x);
        if (!x->report.done && (g_stop || train_due(x)) && !train_checkpoint(x)) return false;
    } while (!x->report.done && !g_stop);
    return x->report.done && train_finish(x);
}

// With --force the files of before go when all else is known to be well.
static bool train_begin(const job *j, training *x) {
    kpd_error e;
    kpdt_trainer_desc *d = &x->r.train.d;
    d->simd = (kpd_simd)j->o.simd;
    d->parallel = j->parallel;
    if (kpdt_trainer_create(d, &x->trainer, &e)) return fail(x->r.path, 0, "%s", e.message);
    if (!train_folder(x, j->o.resume != 0, j->o.force != 0) || !metrics_open(x)) return false;
    if (!j->o.resume) {
        for (int i = CHECKPOINT; i < N_TRAIN_FILES; i++) remove(x->path[i]);
        return true;
    }
    if (!file_exists(x->path[CHECKPOINT]))
        return fail(x->r.train.output, 0, "note: no checkpoint yet; begins at the start"), true;
    return !kpdt_trainer_resume(x->trainer, x->path[CHECKPOINT], &e) || fail_with(x->path[CHECKPOINT], &e);
}

// After --resume: all steps are done, and their model is there.
static bool train_is_finished(const training *x) { return file_exists(x->path[LAST]); }

static bool train(job *j, training *x) {
    if (!recipe_read(&x->r, j->arg[0])) return fail(NULL, 0, "%s", x->r.error);
    if (!recipe_open(&x->r)) return fail(NULL, 0, "%s", x->r.error);
    if (!train_begin(j, x)) return false;
    if (j->o.resume && train_is_finished(x)) return printf("%s: finished already\n", x->path[LAST]) > 0;
    files_catch(ask_to_stop);
    if (train_steps(j, x)) return true;
    if (x->first >= 0) train_how_to_go_on(j, x);
    return false;
}

static int run_train(job *j) {
    training *x = (training *)job_alloc(j, 1, sizeof *x);
    bool ok;
    if (!x) return BAD_DATA;
    if (j->o.resume && j->o.force) return usage("train: --resume goes on and --force begins anew; expected one of them");
    x->first = -1;
    x->dev = (double)NAN;
    ok = train(j, x);
    if (x->metrics && x->first < 0 && !j->o.resume) {       // no step was done: nothing is to be in the way of another try
        remove(x->path[METRICS]);
        rmdir(x->r.train.output);
    }
    if (x->metrics) fclose(x->metrics);
    kpdt_trainer_destroy(x->trainer);
    recipe_close(&x->r);
    return ok ? DONE : BAD_DATA;
}

// >>eval  How good scores, and lists of recommendations, are. --------------------------------------------------------

// Room for `need` elements, or a message.
static bool grow(void **block, size_t *capacity, size_t need, size_t size) {
    size_t room = need + need / 2 + 1024;
    void *p;
    if (need <= *capacity) return true;
    p = room > need && room < SIZE_MAX / size ? realloc(*block, room * size) : NULL;
    if (!p) return fail(NULL, 0, "out of memory: %zu times %zu bytes", room, size);
    *block = p;
    *capacity = room;
    return true;
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
        return fail(r->name, r->first + i, "the %s '%.*s', expected a number from %g to %g", what, (int)t.size, t.data,
                    (double)low, (double)high);
    return fail(r->name, r->first + i, "the %s '%.*s', expected a number", what, (int)t.size, t.data);
}

static void print_figure(FILE *f, const char *name, double v) {
    if (isnan(v)) fprintf(f, "%s\t-\n", name);
    else fprintf(f, "%s\t%.6f\n", name, v);
}

typedef struct pairs {
    float *score, *label, *assistant;   // [n]; assistant only when `columns` says so
    uint8_t *yes;
    size_t n, capacity[4];
    int columns;                        // of the file, as its first row has them; 0 = no row yet
    batch a, b;                         // of a model: items or pairs; keyphrases
} pairs;

static void pairs_free(pairs *p) {
    free(p->score);
    free(p->label);
    free(p->assistant);
    free(p->yes);
    memset(p, 0, sizeof *p);
}

static bool pairs_reserve(pairs *p, size_t n) {
    return grow((void **)&p->score, &p->capacity[0], n, sizeof *p->score) &&
           grow((void **)&p->label, &p->capacity[1], n, sizeof *p->label) &&
           grow((void **)&p->assistant, &p->capacity[2], n, sizeof *p->assistant) &&
           grow((void **)&p->yes, &p->capacity[3], n, sizeof *p->yes);
}

// score, or for a model keyphrase, title and category; then label, then perhaps the assistant's score.
static bool pairs_line(const job *j, pairs *p, int32_t i) {
    const reader *r = &j->text;
    kpd_row row;
    kpd_text column[5];
    size_t at = p->n + (size_t)i;
    int label = j->o.model ? 3 : 1, n = split_columns(r, i, column, 5);
    if (!p->columns && (n == label + 1 || n == label + 2)) p->columns = n;
    if (!p->columns)
        return fail(r->name, r->first + i, "%d column(s), expected %s TAB label, or these TAB the assistant's score", n,
                    j->o.model ? "keyphrase TAB title TAB category" : "score");
    if (n != p->columns) return fail(r->name, r->first + i, "%d column(s), but the first row has %d", n, p->columns);
    if (!j->o.model && !parse_real(r, i, "score", column[0], -INFINITY, INFINITY, &p->score[at])) return false;
    if (!parse_real(r, i, "label", column[label], 0, 1, &p->label[at])) return false;
    if (n > label + 1 && !parse_real(r, i, "assistant's score", column[label + 1], -INFINITY, INFINITY, &p->assistant[at]))
        return false;
    p->yes[at] = p->label[at] >= 0.5f;
    if (!j->o.model) return true;
    row.keyphrase = column[0]; row.title = column[1]; row.category = column[2];
    p->a.in[i] = kpd_model_input(j->assistant ? j->assistant : j->student, KPD_ITEM, &row);
    if (!j->assistant) p->b.in[i] = kpd_model_input(j->student, KPD_KEYPHRASE, &row);
    return true;
}

// A student's score is the cosine, an assistant's its probability.
static bool pairs_score(job *j, pairs *p) {
    size_t n = (size_t)j->text.n;
    int32_t dim = p->a.cols;
    kpd_error e;
    kpd_status s = j->assistant ? kpd_score(j->session, j->assistant, p->a.in, n, p->a.out, &e)
                                : kpd_embed(j->session, j->student, KPD_ITEM, p->a.in, n, dim, p->a.out, &e);
    if (!s && !j->assistant) s = kpd_embed(j->session, j->student, KPD_KEYPHRASE, p->b.in, n, dim, p->b.out, &e);
    if (s) return fail_text(j, &e);
    if (!check_finite(j, p->a.out, dim) || (!j->assistant && !check_finite(j, p->b.out, dim))) return false;
    for (size_t i = 0; i < n; i++) {
        const float *v = p->a.out + i * (size_t)dim;
        p->score[p->n + i] = j->assistant ? kpd_sigmoid(*v) : kpd_cosine(v, p->b.out + i * (size_t)dim, dim);
    }
    return true;
}

static bool pairs_chunk(job *j, void *state) {
    pairs *p = (pairs *)state;
    if (!pairs_reserve(p, p->n + (size_t)j->text.n)) return false;
    for (int32_t i = 0; i < j->text.n; i++)
        if (!pairs_line(j, p, i)) return false;
    if (j->o.model && !pairs_score(j, p)) return false;
    p->n += (size_t)j->text.n;
    return true;
}

static bool pairs_read(job *j, const char *path, pairs *p) {
    bool ok;
    if (j->o.model && (!batch_create(j, j->o.dim, &p->a) || !batch_create(j, j->o.dim, &p->b))) return false;
    ok = reader_open(&j->text, path) && each_chunk(j, "pairs", pairs_chunk, p);
    if (ok && !p->n) ok = fail(j->text.name, 0, "it has no rows");
    reader_close(&j->text);
    return ok;
}

// The model of --model; --dim becomes the columns of its vectors or logits.
static bool pairs_model(job *j) {
    int32_t dim;
    if (!open_any_model(j->o.model, &j->student)) return false;
    dim = kpd_model_dim(j->student);
    if (kpd_model_get_desc(j->student).kind == KPD_CROSS_ENCODER) {
        j->assistant = j->student;
        j->student = NULL;
        if (dim != 1) return fail(j->o.model, 0, "%d labels, expected 1", (int)dim);
        if (j->o.dim) return fail(j->o.model, 0, "--dim is of a bi-encoder, and this is a cross-encoder");
    }
    if (j->o.dim > dim) return fail(j->o.model, 0, "--dim %d, but it has %d columns", (int)j->o.dim, (int)dim);
    if (!j->o.dim) j->o.dim = dim;
    return open_session(j, 0, 0);
}

// The threshold of the best F1 on --dev, or the one given; NULL = that of the best F1 on the pairs themselves.
static bool pairs_threshold(job *j, const float **threshold, float *t) {
    kpdt_classification c;
    kpd_error e;
    pairs dev = {0};
    bool ok;
    *t = j->o.threshold;
    *threshold = isfinite(*t) ? t : NULL;
    if (!j->o.dev) return true;
    ok = pairs_read(j, j->o.dev, &dev);
    if (ok && kpdt_classify(dev.score, dev.yes, dev.n, NULL, NULL, &c, &e)) ok = fail_with(j->o.dev, &e);
    if (ok) *t = c.threshold;
    *threshold = t;
    pairs_free(&dev);
    return ok;
}

static bool pairs_print(const job *j, const pairs *p, const float *threshold) {
    kpdt_classification c;
    kpd_error e;
    double rho[2] = {0, 0};
    size_t yes = 0;
    FILE *f = j->out.file;
    bool assistant = p->columns == (j->o.model ? 5 : 3);
    if (kpdt_classify(p->score, p->yes, p->n, threshold, NULL, &c, &e) ||
        kpdt_spearman(p->score, p->label, p->n, NULL, &rho[0], &e) ||
        (assistant && kpdt_spearman(p->score, p->assistant, p->n, NULL, &rho[1], &e))) return fail(NULL, 0, "%s", e.message);
    for (size_t i = 0; i < p->n; i++) yes += p->yes[i];
    fprintf(f, "pairs\t%zu\n", p->n);
    print_figure(f, "yes", (double)yes / (double)p->n);
    print_figure(f, "threshold", (double)c.threshold);
    print_figure(f, "f1", c.f1);
    print_figure(f, "precision", c.precision);
    print_figure(f, "recall", c.recall);
    print_figure(f, "accuracy", c.accuracy);
    print_figure(f, "mcc", c.mcc);
    print_figure(f, "ap", c.average_precision);
    print_figure(f, "auc", c.auc);
    print_figure(f, "ece", c.ece);
    print_figure(f, "pearson", kpdt_pearson(p->score, p->label, p->n));
    print_figure(f, "spearman", rho[0]);
    if (!assistant) return true;
    print_figure(f, "pearson_assistant", kpdt_pearson(p->score, p->assistant, p->n));
    print_figure(f, "spearman_assistant", rho[1]);
    return true;
}

static int run_eval_pairs(job *j) {
    pairs p = {0};
    const float *threshold;
    float t;
    bool ok;
    if (j->o.dev && isfinite(j->o.threshold)) return usage("eval pairs: --dev chooses the threshold and --threshold gives it");
    if (j->o.dim && !j->o.model) return usage("eval pairs: --dim is of the model of --model");
    if ((j->o.model && !pairs_model(j)) || !output_open(&j->out, j->o.output)) return BAD_DATA;
    ok = pairs_threshold(j, &threshold, &t) && pairs_read(j, j->arg[0], &p) && pairs_print(j, &p, threshold) &&
         output_commit(&j->out);
    pairs_free(&p);
    return ok ? DONE : BAD_DATA;
}

// What a judge, or a search engine, says of a keyphrase for an item.
typedef struct verdict { int64_t item, line; const char *text; size_t at, size; float value; } verdict;

typedef struct verdicts {               // sorted by item and text
    verdict *list; size_t n, capacity;
    char *text; size_t text_size, text_capacity;
    float low, high;                    // of a value
} verdicts;

static int compare_text(const char *a, size_t n, const char *b, size_t m) {
    int order = memcmp(a, b, n < m ? n : m);
    return order ? order : (n > m) - (n < m);
}

static int compare_verdicts(const void *a, const void *b) {
    const verdict *x = (const verdict *)a, *y = (const verdict *)b;
    int order = x->item != y->item ? (x->item < y->item ? -1 : 1) : compare_text(x->text, x->size, y->text, y->size);
    return order ? order : x->line < y->line ? -1 : 1;
}

static bool parse_item(const reader *r, int32_t i, kpd_text text, int64_t *out) {
    if (!parse_id(r, i, text, out)) return false;
    if (*out >= 0 && *out < INT32_MAX) return true;
    return fail(r->name, r->first + i, "item %lld, expected a row from 0 on", (long long)*out);
}

static bool verdicts_add(verdicts *v, const reader *r, int32_t i) {
    kpd_text column[3];
    verdict *x;
    if (split_columns(r, i, column, 3) != 3) return fail(r->name, r->first + i, "expected item TAB keyphrase TAB number");
    if (!grow((void **)&v->list, &v->capacity, v->n + 1, sizeof *v->list) ||
        !grow((void **)&v->text, &v->text_capacity, v->text_size + column[1].size + 1, 1)) return false;
    x = &v->list[v->n++];
    if (!parse_item(r, i, column[0], &x->item)) return false;
    if (!parse_real(r, i, "value", column[2], v->low, v->high, &x->value)) return false;
    x->line = r->first + i;
    x->at = v->text_size;
    x->size = column[1].size;
    memcpy(v->text + v->text_size, column[1].data, x->size);
    v->text_size += x->size;
    return true;
}

// Two different verdicts on one keyphrase are a mistake whose outcome nobody could foresee.
static bool verdicts_sort(verdicts *v, const char *path) {
    for (size_t i = 0; i < v->n; i++) v->list[i].text = v->text + v->list[i].at;       // the text moves no more
    if (v->n) qsort(v->list, v->n, sizeof *v->list, compare_verdicts);
    for (size_t i = 1; i < v->n; i++) {
        const verdict *x = &v->list[i], *y = x - 1;
        bool same = x->item == y->item && !compare_text(x->text, x->size, y->text, y->size);
        if (same && (x->value < y->value || x->value > y->value))
            return fail(path, x->line, "item %lld, '%.*s' has another value in line %lld", (long long)x->item,
                        (int)(x->size < 80 ? x->size : 80), x->text, (long long)y->line);
    }
    return true;
}

static bool verdicts_read(job *j, const char *path, verdicts *v) {
    reader *r = &j->text;
    if (!reader_open(r, path)) return false;
    do {
        if (!reader_next(r)) return false;
        for (int32_t i = 0; i < r->n; i++)
            if (!verdicts_add(v, r, i)) return false;
    } while (r->n);
    reader_close(r);
    return verdicts_sort(v, path);
}

static float verdicts_find(const verdicts *v, int64_t item, kpd_text t) {
    size_t low = 0, high = v->n;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        const verdict *x = &v->list[mid];
        bool before = x->item != item ? x->item < item : compare_text(x->text, x->size, t.data, t.size) < 0;
        if (before) low = mid + 1; else high = mid;
    }
    if (low == v->n || v->list[low].item != item) return NAN;
    return compare_text(v->list[low].text, v->list[low].size, t.data, t.size) ? NAN : v->list[low].value;
}

typedef struct auction {                // one system's lists
    const verdicts *judge, *filter;     // filter NULL = the relevance column, or nothing
    kpdt_auction_row *row; size_t n_items, row_capacity;
    bool *survives; float *judged; size_t n, capacity[2];      // the list in hand, of item n_items
    int64_t recommended, unfiltered;    // the latter: those that the filter does not know
} auction;

// The list in hand becomes a row; those items between it and `next` have none.
static bool auction_close(auction *a, int64_t next) {
    size_t n = (size_t)next;
    if (n <= a->n_items) return true;
    if (!grow((void **)&a->row, &a->row_capacity, n, sizeof *a->row)) return false;
    memset(a->row + a->n_items, 0, (n - a->n_items) * sizeof *a->row);
    kpdt_auction_item(a->survives, a->judged, a->n, &a->row[a->n_items]);
    a->n_items = n;
    a->n = 0;
    return true;
}

static bool auction_survives(const job *j, auction *a, int32_t i, int64_t item, const kpd_text *column, bool *out) {
    float v;
    *out = true;
    if (!isfinite(j->o.threshold)) return true;
    if (a->filter) {
        v = verdicts_find(a->filter, item, column[2]);
        a->unfiltered += isnan(v);
    } else if (!parse_real(&j->text, i, "relevance", column[4], -INFINITY, INFINITY, &v)) return false;
    *out = v >= j->o.threshold;
    return true;
}

static bool auction_line(const job *j, auction *a, int32_t i) {
    const reader *r = &j->text;
    kpd_text column[5];
    int64_t item, rank;
    if (split_columns(r, i, column, 5) != 5)
        return fail(r->name, r->first + i, "expected item TAB rank TAB keyphrase TAB similarity TAB relevance");
    if (!parse_item(r, i, column[0], &item) || !parse_id(r, i, column[1], &rank)) return false;
    if (j->o.items && item >= j->o.items)
        return fail(r->name, r->first + i, "item %lld, but --items says %d", (long long)item, (int)j->o.items);
    if (item < (int64_t)a->n_items) return fail(r->name, r->first + i, "item %lld is behind a later one", (long long)item);
    if (!auction_close(a, item)) return false;
    if (rank != (int64_t)a->n + 1)
        return fail(r->name, r->first + i, "rank %lld, expected %lld of item %lld", (long long)rank, (long long)a->n + 1,
                    (long long)item);
    if (!grow((void **)&a->survives, &a->capacity[0], a->n + 1, sizeof *a->survives) ||
        !grow((void **)&a->judged, &a->capacity[1], a->n + 1, sizeof *a->judged)) return false;
    if (!auction_survives(j, a, i, item, column, &a->survives[a->n])) return false;
    a->judged[a->n++] = verdicts_find(a->judge, item, column[2]);
    a->recommended++;
    return true;
}

static bool auction_chunk(job *j, void *state) {
    for (int32_t i = 0; i < j->text.n; i++)
        if (!auction_line(j, (auction *)state, i)) return false;
    return true;
}

static bool auction_read(job *j, const char *path, auction *a) {
    bool ok = reader_open(&j->text, path) && each_chunk(j, "recommendations", auction_chunk, a);
    if (ok && a->n) ok = auction_close(a, (int64_t)a->n_items + 1);
    if (ok && j->o.items) ok = auction_close(a, j->o.items);
    if (ok && a->unfiltered)
        fail(path, 0, "note: %lld of %lld recommendations are not in %s and do not survive", (long long)a->unfiltered,
             (long long)a->recommended, j->o.filter);
    reader_close(&j->text);
    return ok;
}

static void auction_free(auction *a) {
    free(a->row);
    free(a->survives);
    free(a->judged);
}

// Each figure is a sum over items divided by another: value and weight of an item.
typedef struct figure { const char *name; int kind; } figure;
enum { KP_MEAN, PASS_RATE, PASS_RATE_BY_ITEM, PASS_AT };
static const figure FIGURES[] = {
    {"kp_mean", KP_MEAN}, {"pr", PASS_RATE}, {"pr_by_item", PASS_RATE_BY_ITEM},
    {"pass@5", PASS_AT}, {"pass@10", PASS_AT + 1}, {"pass@15", PASS_AT + 2}, {"pass@20", PASS_AT + 3},
};

static void figure_of(int kind, const kpdt_auction_row *r, float *value, float *weight) {
    *value = (float)r->survivors;
    *weight = 1;
    if (kind >= PASS_AT) *value = (float)r->passed_at[kind - PASS_AT] / (float)(5 * (kind - PASS_AT + 1));
    if (kind == PASS_RATE) {
        *value = (float)r->passed;
        *weight = (float)r->survivors;
    }
    if (kind == PASS_RATE_BY_ITEM) {
        *weight = r->survivors ? 1 : 0;
        *value = r->survivors ? (float)r->passed / (float)r->survivors : 0;
    }
}

enum { MAX_RESAMPLES = 10000 };

// Fewer where there are so many items that the interval is narrow anyway, and would be long in coming.
static size_t resamples_of(size_t items) {
    size_t n = 20000000 / items;
    return n > MAX_RESAMPLES ? MAX_RESAMPLES : n < 1000 ? 1000 : n;
}

static void print_number(FILE *f, double v, const char *end) {
    if (isnan(v)) fprintf(f, "-%s", end);
    else fprintf(f, "%.6f%s", v, end);
}

static void print_interval(FILE *f, const kpdt_interval *i, const char *end) {
    print_number(f, i->estimate, "\t");
    print_number(f, i->low, "\t");
    print_number(f, i->high, end);
}

// A row of the table: a's interval; with b its too, and that of the difference with its p.
static void print_intervals(FILE *f, const char *name, const kpdt_interval *i, bool two) {
    fprintf(f, "%s\t", name);
    print_interval(f, &i[0], two ? "\t" : "\n");
    if (!two) return;
    print_interval(f, &i[1], "\t");
    print_interval(f, &i[2], "\t");
    print_number(f, i[2].p, "\n");
}

// work has room for four arrays of n.
static bool figure_print(const job *j, const figure *f, const auction *a, const auction *b, float *work) {
    size_t n = a->n_items;
    kpdt_interval out[3];
    kpd_error e;
    for (size_t i = 0; i < n; i++) {
        figure_of(f->kind, &a->row[i], &work[i], &work[n + i]);
        if (b) figure_of(f->kind, &b->row[i], &work[2 * n + i], &work[3 * n + i]);
    }
    for (int which = 0; which < (b ? 3 : 1); which++) {
        const float *at = work + (which == 1 ? 2 * n : 0);
        kpdt_bootstrap_desc d = {0};
        d.a = at; d.a_weight = at + n; d.n = n; d.resamples = (int32_t)resamples_of(n); d.seed = 1;
        if (which == 2) { d.b = work + 2 * n; d.b_weight = work + 3 * n; }
        if (kpdt_bootstrap(&d, &out[which], &e)) return fail(NULL, 0, "%s: %s", f->name, e.message);
    }
    print_intervals(j->out.file, f->name, out, b != NULL);
    return true;
}

// What the median's bootstrap draws from. Survivors are small numbers: count [most + 1] has how many items have each.
typedef struct medians {
    const auction *a, *b;               // either may be NULL
    int32_t *count;
    size_t most;
} medians;

static double drawn_median(const medians *m, const kpdt_auction_row *row, const size_t *item, size_t n) {
    size_t seen = 0, low = m->most + 1, high = 0;
    memset(m->count, 0, (m->most + 1) * sizeof *m->count);
    for (size_t i = 0; i < n; i++) m->count[row[item[i]].survivors]++;
    for (; seen <= n / 2; high++) {
        seen += (size_t)m->count[high];
        if (low > m->most && seen > (n - 1) / 2) low = high;
    }
    return ((double)low + (double)(high - 1)) / 2;
}

// Of a, less that of b.
static double median_statistic(void *user, const size_t *run, size_t runs, const size_t *item, size_t n) {
    const medians *m = (const medians *)user;
    (void)run;
    (void)runs;
    return (m->a ? drawn_median(m, m->a->row, item, n) : 0) - (m->b ? drawn_median(m, m->b->row, item, n) : 0);
}

static size_t most_survivors(const auction *a) {
    size_t most = 0;
    for (size_t i = 0; a && i < a->n_items; i++)
        if ((size_t)a->row[i].survivors > most) most = (size_t)a->row[i].survivors;
    return most;
}

// Of a, of b, and of their difference: the same draws each time.
static bool median_print(job *j, const auction *a, const auction *b) {
    size_t n = a->n_items, most_a = most_survivors(a), most_b = most_survivors(b), most = most_a > most_b ? most_a : most_b;
    int32_t *count = (int32_t *)job_alloc(j, most + 1, sizeof *count);
    kpdt_interval out[3];
    kpd_error e;
    if (!count) return false;
    for (int which = 0; which < (b ? 3 : 1); which++) {
        medians m = {which == 1 ? b : a, which == 2 ? b : NULL, count, most};
        kpdt_bootstrap_desc d = {0};
        d.statistic = median_statistic; d.statistic_user = &m; d.n = n; d.resamples = (int32_t)resamples_of(n); d.seed = 1;
        if (kpdt_bootstrap(&d, &out[which], &e)) return fail(NULL, 0, "kp: %s", e.message);
    }
    print_intervals(j->out.file, "kp", out, b != NULL);
    return true;
}

static void print_count(FILE *f, const char *name, int64_t a, int64_t b, bool two) {
    fprintf(f, "%s\t%lld\t-\t-", name, (long long)a);
    if (two) fprintf(f, "\t%lld\t-\t-\t%lld\t-\t-\t-", (long long)b, (long long)(a - b));
    fputc('\n', f);
}

static bool auction_print(job *j, const auction *a, const auction *b) {
    kpdt_auction_result x, y = {0};
    kpd_error e;
    FILE *f = j->out.file;
    float *work = (float *)job_alloc(j, 4 * a->n_items, sizeof *work);
    if (!work) return false;
    if (kpdt_auction_total(a->row, a->n_items, &x, &e) || (b && kpdt_auction_total(b->row, b->n_items, &y, &e)))
        return fail(NULL, 0, "%s", e.message);
    fprintf(f, "figure\tvalue\tlow\thigh%s\n", b ? "\tagainst\tlow\thigh\tdifference\tlow\thigh\tp" : "");
    print_count(f, "items", (int64_t)a->n_items, b ? (int64_t)b->n_items : 0, b != NULL);
    print_count(f, "recommended", a->recommended, b ? b->recommended : 0, b != NULL);
    print_count(f, "survivors", x.survivors, y.survivors, b != NULL);
    print_count(f, "passed", x.passed, y.passed, b != NULL);
    print_count(f, "unjudged", x.unjudged, y.unjudged, b != NULL);
    if (!median_print(j, a, b)) return false;
    for (size_t i = 0; i < sizeof FIGURES / sizeof *FIGURES; i++)
        if (!figure_print(j, &FIGURES[i], a, b, work)) return false;
    return true;
}

// Both systems are asked about the same items.
static bool auction_pair(job *j, auction *a, auction *b) {
    if (!auction_read(j, j->arg[0], a) || (b && !auction_read(j, j->o.against, b))) return false;
    if (b && (!auction_close(a, (int64_t)b->n_items) || !auction_close(b, (int64_t)a->n_items))) return false;
    if (!a->n_items) return fail(j->arg[0], 0, "it has no recommendations; --items says of how many items");
    return auction_print(j, a, b);
}

static int run_eval_auction(job *j) {
    verdicts judge = {0}, filter = {0};
    auction a = {0}, b = {0};
    bool ok;
    if (j->o.filter && !isfinite(j->o.threshold)) return usage("eval auction: --filter needs --threshold");
    judge.high = 1;
    filter.low = -INFINITY;
    filter.high = INFINITY;
    a.judge = b.judge = &judge;
    a.filter = b.filter = j->o.filter ? &filter : NULL;
    ok = output_open(&j->out, j->o.output) && verdicts_read(j, j->arg[1], &judge) &&
         (!j->o.filter || verdicts_read(j, j->o.filter, &filter)) && auction_pair(j, &a, j->o.against ? &b : NULL) &&
         output_commit(&j->out);
    auction_free(&a);
    auction_free(&b);
    free(judge.list);
    free(judge.text);
    free(filter.list);
    free(filter.text);
    return ok ? DONE : BAD_DATA;
}

// >>demo  The whole job on an invented shop, by the commands that a user would type. ----------------------------------

typedef struct demo_recipe { const char *name, *text; } demo_recipe;

static const demo_recipe DEMO_RECIPES[] = {
    {"base.ini",
     "# kpd demo, recipe 1 of 4: a small BERT learns the shop's words by guessing hidden ones (MLM).\n"
     "# All others start from it.\n"
     "[model]\nvocab = vocab.txt\nlayers = 2\nwidth = 128\nheads = 2\npositions = 64\nmax_tokens = 48\n\n"
     "[train]\nbatch = 64\nepochs = 5\nrate = 1e-3\nwarmup = 0.1\nweight_decay = 0.01\n\n"
     "[data corpus]\nfile = shop/corpus.txt\ncolumns = title\nloss = mlm\n"},
    {"assistant.ini",
     "# kpd demo, recipe 2 of 4: the assistant, a cross-encoder. It reads keyphrase and item together, which is slow, and\n"
     "# learns the LLM's yes and no.\n"
     "[model]\nstart = base/last.kpd\nkind = cross-encoder\n\n"
     "[train]\nbatch = 64\nepochs = 1\nrate = 1e-3\nwarmup = 0.1\n\n"
     "[data llm]\nfile = shop/llm.tsv\ncolumns = keyphrase title category label\nloss = bce\n"},
    {"ctr.ini",
     "# kpd demo, recipe 3 of 4: a student, a bi-encoder, that learns from clicks only (CTR). In a batch each item's clicked\n"
     "# keyphrase is to beat those of the other items (MNR). Its first 64 columns must do too (dims), as the index has these.\n"
     "[model]\nstart = base/last.kpd\n\n"
     "[train]\nbatch = 64\nepochs = 3\nrate = 1e-3\nwarmup = 0.1\n\n"
     "[data clicks]\nfile = shop/ctr.tsv\ncolumns = keyphrase title category\nbatching = no-duplicates\nloss = mnr\n"
     "dims = 128 64\n"},
    {"student.ini",
     "# kpd demo, recipe 4 of 4: the student of LLM + CTR + KD. Every second batch is of clicks, which makes about as many of\n"
     "# them as ctr.ini has. The others are of the LLM's labels: yes is pulled near and no pushed away (contrastive), and its\n"
     "# similarities are to rise and fall with the assistant's scores (Pearson): the knowledge distillation.\n"
     "[model]\nstart = base/last.kpd\nassistant = assistant/last.kpd\n\n"
     "[train]\nbatch = 64\nepochs = 1\nrate = 1e-3\nwarmup = 0.1\n\n"
     "[data llm]\nfile = shop/llm.tsv\ncolumns = keyphrase title category label\n"
     "loss = contrastive, pearson teacher=assistant\ndims = 128 64\nshare = 1\n\n"
     "[data clicks]\nfile = shop/ctr.tsv\ncolumns = keyphrase title category\nbatching = no-duplicates\nloss = mnr\n"
     "dims = 128 64\nshare = 1\n"},
};

typedef struct demo_step { const char *why, *words; } demo_step;        // why NULL: as the step before

// @ is DIR. SHOP, FORCE and MACHINE stand for options, see demo_options.
static const demo_step DEMO_STEPS[] = {
    {"A shop: titles, keyphrases, clicks, an LLM's labels; and the truth, which no model sees", "simulate -o @/shop SHOP"},
    {"A vocabulary of its words", "vocab @/shop/corpus.txt -o @/vocab.txt --size 2000"},
    {"Four trainings, each by a recipe with comments in it", "train @/base.ini FORCE MACHINE"},
    {NULL, "train @/assistant.ini FORCE MACHINE"},
    {NULL, "train @/ctr.ini FORCE MACHINE"},
    {NULL, "train @/student.ini FORCE MACHINE"},
    {"Keyphrases of the student that knows only clicks: embed all, index them, look up 20 for each of the test items",
     "embed @/ctr/last.kpd @/shop/keyphrases.txt --tower keyphrase --dim 64 -o @/ctr.npy MACHINE"},
    {NULL, "index build @/ctr.npy -o @/ctr.kpi"},
    {NULL, "recommend @/ctr/last.kpd - @/ctr.kpi @/shop/keyphrases.tsv @/shop/test_items.tsv -k 20 -o @/ctr.lists.tsv "
           "MACHINE"},
    {"And of the student of LLM + CTR + KD",
     "embed @/student/last.kpd @/shop/keyphrases.txt --tower keyphrase --dim 64 -o @/student.npy MACHINE"},
    {NULL, "index build @/student.npy -o @/student.kpi"},
    {NULL, "recommend @/student/last.kpd - @/student.kpi @/shop/keyphrases.tsv @/shop/test_items.tsv -k 20 -o "
           "@/student.lists.tsv MACHINE"},
    {"What the search engine's filter, the LLM and the truth say of both",
     "simulate judge @/shop @/ctr.lists.tsv @/student.lists.tsv --by filter -o @/filter.tsv"},
    {NULL, "simulate judge @/shop @/ctr.lists.tsv @/student.lists.tsv --by llm -o @/llm.tsv"},
    {NULL, "simulate judge @/shop @/ctr.lists.tsv @/student.lists.tsv --by truth -o @/truth.tsv"},
    {"The auction: what passes the filter is judged",
     "eval auction @/student.lists.tsv @/llm.tsv --filter @/filter.tsv --threshold 0.5 --against @/ctr.lists.tsv -o "
     "@/auction.llm.tsv"},
    {NULL, "eval auction @/student.lists.tsv @/truth.tsv --filter @/filter.tsv --threshold 0.5 --against @/ctr.lists.tsv -o "
           "@/auction.truth.tsv"},
};

enum { DEMO_WORDS = 24, DEMO_SHOWN = 3, DEMO_RANKS = 10 };

typedef struct demo {
    const char *dir;
    bool again;                         // DIR holds a demo
    char word[DEMO_WORDS][4200], *argv[DEMO_WORDS]; int argc;
    reader lists[2];                    // of LLM + CTR + KD, of CTR
} demo;

PRINTF(2, 3) static void demo_add(demo *d, const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(d->word[d->argc], sizeof d->word[0], format, args);
    va_end(args);
    d->argv[d->argc] = d->word[d->argc];
    d->argc++;
}

// At most 8 threads: a batch of the demo's small model has little work for more.
static int32_t n_cpus(void) {
    long n = 1;
#ifdef _SC_NPROCESSORS_ONLN
    n = sysconf(_SC_NPROCESSORS_ONLN);
#endif
    return n < 1 ? 1 : n > 8 ? 8 : (int32_t)n;
}

static bool demo_options(demo *d, const options *o, const char *word, size_t n) {
    if (n == 4 && !strncmp(word, "SHOP", n)) {
        demo_add(d, "--seed"), demo_add(d, "%d", o->seed ? (int)o->seed : 1);
        if (o->items) demo_add(d, "--items"), demo_add(d, "%d", (int)o->items);
        if (o->queries) demo_add(d, "--queries"), demo_add(d, "%d", (int)o->queries);
    } else if (n == 5 && !strncmp(word, "FORCE", n)) {
        if (d->again) demo_add(d, "--force");
    } else if (n == 7 && !strncmp(word, "MACHINE", n)) {
        demo_add(d, "--threads"), demo_add(d, "%d", (int)(o->threads ? o->threads : n_cpus()));
        if (o->simd) demo_add(d, "--simd"), demo_add(d, "%s", kpd_simd_name((kpd_simd)o->simd));
    } else return false;
    return true;
}

// As a shell reads it.
static void demo_print_word(const char *word) {
    bool plain = *word && !word[strspn(word, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./+,:=@%")];
    if (!plain) putchar('\'');
    for (; *word; word++)
        if (*word == '\'') fputs("'\\''", stdout);
        else putchar(*word);
    if (!plain) putchar('\'');
}

static int demo_run(job *j, demo *d, const demo_step *step) {
    d->argc = 0;
    demo_add(d, "%s", j->program);
    for (const char *w = step->words; *w; w += strspn(w, " ")) {
        size_t n = strcspn(w, " ");
        if (*w == '@') demo_add(d, "%s%.*s", d->dir, (int)n - 1, w + 1);
        else if (!demo_options(d, &j->o, w, n)) demo_add(d, "%.*s", (int)n, w);
        w += n;
    }
    if (step->why) printf("\n# %s.\n", step->why);
    for (int i = 0; i < d->argc; i++) {
        demo_print_word(d->argv[i]);
        putchar(i + 1 < d->argc ? ' ' : '\n');
    }
    fflush(stdout);
    return j->command(d->argc, d->argv);
}

static bool demo_is_in(const char *dir) {
    char path[4200], line[16] = "";
    const char *why;
    FILE *f;
    snprintf(path, sizeof path, "%s/%s", dir, DEMO_RECIPES[0].name);
    f = files_open(path, &why);
    if (!f) return false;
    if (!fgets(line, sizeof line, f)) line[0] = 0;
    fclose(f);
    return !strncmp(line, DEMO_RECIPES[0].text, 10);
}

static bool is_empty_folder(const char *dir) {
    const struct dirent *entry;
    bool empty = true;
    DIR *d = opendir(dir);
    if (!d) return false;
    while ((entry = readdir(d)) != NULL) empty = empty && (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."));
    closedir(d);
    return empty;
}

// Nothing is replaced but another demo.
static bool demo_folder(demo *d) {
    if (!make_folder(d->dir)) return false;
    d->again = demo_is_in(d->dir);
    if (d->again) printf("# Replaces the demo in %s.\n", d->dir);
    return d->again || is_empty_folder(d->dir) || fail(d->dir, 0, "it holds something else than a demo; expected a new folder");
}

static bool demo_write_recipes(job *j, const demo *d) {
    char path[4200];
    for (size_t i = 0; i < sizeof DEMO_RECIPES / sizeof *DEMO_RECIPES; i++) {
        snprintf(path, sizeof path, "%s/%s", d->dir, DEMO_RECIPES[i].name);
        if (!output_open(&j->out, path)) return false;
        fputs(DEMO_RECIPES[i].text, j->out.file);
        if (!output_commit(&j->out)) return false;
    }
    return true;
}

// A figure and its interval, of three columns of `eval auction`.
static void demo_print_interval(const kpd_text *column, int digits) {
    char text[40];
    double v[3];
    for (int i = 0; i < 3; i++) v[i] = strtod(column[i].data, NULL);        // a TAB ends each
    snprintf(text, sizeof text, "%.*f [%.*f, %.*f]", digits, v[0], digits, v[1], digits, v[2]);
    printf("  %22s", column[0].data[0] == '-' && column[0].size == 1 ? "-" : text);
}

static bool demo_table(job *j, const demo *d, const char *file, const char *title) {
    static const char *const shown[][2] = {{"kp", "KP"}, {"pr", "PR"}, {"pass@5", "Pass@5"}, {"pass@10", "Pass@10"},
                                           {"pass@15", "Pass@15"}, {"pass@20", "Pass@20"}};
    char path[4200];
    kpd_text column[11];
    snprintf(path, sizeof path, "%s/%s", d->dir, file);
    if (!reader_open(&j->text, path) || !reader_next(&j->text)) return false;
    printf("\n%-14s  %22s  %22s  %22s\n", title, "CTR only", "LLM + CTR + KD", "difference");
    for (size_t f = 0; f < sizeof shown / sizeof *shown; f++)
        for (int32_t i = 0; i < j->text.n; i++) {
            if (split_columns(&j->text, i, column, 11) != 11 || column[0].size != strlen(shown[f][0]) ||
                memcmp(column[0].data, shown[f][0], column[0].size)) continue;
            printf("%-14s", shown[f][1]);
            for (int k = 0; k < 3; k++) demo_print_interval(&column[k == 0 ? 4 : k == 1 ? 1 : 7], f ? 3 : 0);
            putchar('\n');
        }
    reader_close(&j->text);
    return true;
}

// The keyphrase of that rank, or an empty text.
static kpd_text demo_listed(const reader *r, int item, int rank) {
    kpd_text column[5], none = {"", 0};
    char key[40];
    size_t n = (size_t)snprintf(key, sizeof key, "%d\t%d\t", item, rank);
    for (int32_t i = 0; i < r->n; i++) {
        kpd_text line = r->lines[i];
        if (line.size > n && !memcmp(line.data, key, n) && split_columns(r, i, column, 5) == 5) return column[2];
    }
    return none;
}

static void demo_print_lists(const demo *d, const verdicts *truth, int item) {
    printf("    %-36s  %s\n", "LLM + CTR + KD", "CTR only");
    for (int rank = 1; rank <= DEMO_RANKS; rank++) {
        for (int i = 0; i < 2; i++) {
            kpd_text t = demo_listed(&d->lists[i], item, rank);
            char mark = !t.size ? ' ' : verdicts_find(truth, item, t) >= 0.5f ? '+' : '-';
            int pad = i || t.size > 34 ? 0 : 34 - (int)t.size;
            printf("  %c %.*s%*s%s", mark, (int)t.size, t.data, pad, "", i ? "\n" : "");
        }
    }
}

static bool demo_items(job *j, demo *d, verdicts *truth) {
    static const char *const file[] = {"truth.tsv", "student.lists.tsv", "ctr.lists.tsv", "shop/test_items.tsv"};
    char path[4][4200];
    kpd_input in;
    for (int i = 0; i < 4; i++) snprintf(path[i], sizeof path[i], "%s/%s", d->dir, file[i]);
    truth->high = 1;
    if (!verdicts_read(j, path[0], truth)) return false;
    for (int i = 0; i < 2; i++)
        if (!reader_open(&d->lists[i], path[1 + i]) || !reader_next(&d->lists[i])) return false;
    if (!reader_open(&j->text, path[3]) || !reader_next(&j->text)) return false;
    printf("\nThe first %d test items and their first %d keyphrases; + is right and - wrong under the truth.\n", DEMO_SHOWN,
           DEMO_RANKS);
    for (int32_t i = 0; i < DEMO_SHOWN && i < j->text.n; i++) {
        if (!reader_split(&j->text, i, 2, &in)) return false;
        printf("\n%.*s (%.*s)\n", (int)in.part[0].size, in.part[0].data, (int)in.part[1].size, in.part[1].data);
        demo_print_lists(d, truth, i);
    }
    return true;
}

static bool demo_report(job *j, demo *d) {
    verdicts truth = {0};
    bool ok;
    printf("\n# KP: keyphrases of an item that pass the filter, the median. PR: the share of them that is right. Pass@k: the\n"
           "# share of the first k before the filter. In brackets 95 %% intervals over items.\n");
    ok = demo_table(j, d, "auction.llm.tsv", "by the LLM") && demo_table(j, d, "auction.truth.tsv", "by the truth") &&
         demo_items(j, d, &truth);
    for (int i = 0; i < 2; i++) reader_close(&d->lists[i]);
    free(truth.list);
    free(truth.text);
    return ok;
}

static int run_demo(job *j) {
    demo *d = (demo *)job_alloc(j, 1, sizeof *d);
    if (!d) return BAD_DATA;
    d->dir = j->arg[0] ? j->arg[0] : "kpd-demo";
    if (!demo_folder(d) || !demo_write_recipes(j, d)) return BAD_DATA;
    files_catch(ask_to_stop);
    for (size_t i = 0; i < sizeof DEMO_STEPS / sizeof *DEMO_STEPS; i++) {
        int status = demo_run(j, d, &DEMO_STEPS[i]);
        if (status) return status;
        if (g_stop) return fail("demo", 0, "stopped"), BAD_DATA;
    }
    return demo_report(j, d) ? DONE : BAD_DATA;
}

// >>commands ---------------------------------------------------------------------------------------------------------

enum { ANY_NUMBER = 1 << 30 };          // of arguments

typedef struct command {
    const char *name;
    int (*run)(job *);
    int min_args, max_args;
    const char *options;                // beside the common ones
    const char *use, *help;
} command;

static const command COMMANDS[] = {
    {"demo", run_demo, 0, 1, "--items --queries --seed", "demo [DIR] [--items N] [--queries N] [--seed S]",
     "Does the whole job in DIR (kpd-demo), a new folder or that of another demo: makes a shop of N (6000) items and N (4000)\n"
     "keyphrases, trains an assistant on an LLM's labels, a student on clicks alone and one on labels, clicks and the\n"
     "assistant, recommends keyphrases with both, and compares them under the LLM and under the truth. Prints each command\n"
     "line before it runs, so that it can be repeated. Without --threads as many as there are processors, at most 8.\n\n"
     "    kpd demo"},
    {"import", run_import, 1, 1,
     "-o --dtype --wide-qkv --calibrate --tower --template-item --template-keyphrase --template-pair --max-tokens",
     "import DIR -o M.kpd [--dtype f32|bf16|int8] [--wide-qkv] [--calibrate FILE [--tower item|keyphrase]]\n"
     "           [--template-item T] [--template-keyphrase T] [--template-pair T] [--max-tokens N]",
     "Makes a model of a downloaded sentence-transformers or transformers folder; nothing is fetched, and what kpd does\n"
     "not do as these is refused by name. A template is text with {title} {category} {keyphrase}, the vocabulary's special\n"
     "tokens {sep} {cls} {unk} {mask} {pad}, and | where a pair's second segment begins; without one the folder's holds, or\n"
     "else kpd's. The rest is as in `kpd help convert`.\n\n"
     "    kpd import all-MiniLM-L6-v2 -o minilm.kpd --template-item '{title} {sep} {category}'"},
    {"convert", run_convert, 1, 1, "-o --dtype --wide-qkv --calibrate --tower",
     "convert M.kpd -o M2.kpd [--dtype f32|bf16|int8] [--wide-qkv]\n"
     "            [--calibrate FILE [--tower item|keyphrase]]",
     "Writes the model with weights of another type: bf16 is half as large, int8 a quarter, and both are faster where the\n"
     "processor has instructions for them. --wide-qkv keeps the inputs of query, key and value at 16 bits: more accurate,\n"
     "slower. int8 needs to know how large the inputs of its matrices get: --calibrate takes the first 1024 lines of FILE, in\n"
     "the form that `embed` or `score` reads; without it random tokens serve.\n\n"
     "    kpd convert minilm.kpd -o minilm-int8.kpd --dtype int8 --calibrate titles.txt"},
    {"export", run_export, 1, 1, "-o", "export M.kpd -o DIR",
     "Writes a folder which sentence-transformers (bi-encoder) or transformers (cross-encoder) loads.\n\n"
     "    kpd export student.kpd -o student-folder"},
    {"info", run_info, 1, 1, "", "info FILE",
     "Says what a model or an index is, after checking every byte of it: the last line is `verified`.\n\n"
     "    kpd info minilm.kpd"},
    {"tokenize", run_tokenize, 1, 2, "--no-special --max-tokens --offsets",
     "tokenize M.kpd [FILE] [--no-special] [--max-tokens N] [--offsets]",
     "Prints the token ids of each line: of 1 to 3 segments with a TAB between them, without the model's template and uncut\n"
     "unless --max-tokens says otherwise. With --offsets, ID:SEGMENT:BEGIN-END for each that stands in a segment: its bytes\n"
     "from BEGIN up to END, counted from 0 as segments are.\n\n"
     "    echo 'yellow iphone' | kpd tokenize minilm.kpd"},
    {"embed", run_embed, 1, 2, "-o --dim --tower --one",
     "embed M.kpd [FILE] [-o OUT.npy] [--dim D] [--tower item|keyphrase] [--one]",
     "Embeds each line: title, or title TAB category, of an item; or with --tower keyphrase a keyphrase. Writes float32\n"
     "[lines, D], or without -o a line of D numbers for each. An empty category is none, and one that the model's template\n"
     "does not name is left out. D less than the model's takes the first columns, normalised.\n"
     "--one embeds one text at a time, as a program does that answers queries: the vectors are the same, and --stats adds the\n"
     "median and the 99th percentile of the texts' times.\n\n"
     "    kpd embed student.kpd items.tsv -o items.npy --dim 64"},
    {"bench", run_bench, 0, 2, "--tower", "bench [M.kpd FILE] [--tower item|keyphrase]",
     "Times the kernels of this machine on one thread: what its instructions can do at most, named with the types that LEVEL\n"
     "multiplies by them; how near the products of the model's matrices come to that, by rows; attention; norms. Without a\n"
     "model, those of all-MiniLM-L6-v2. Then the bi-encoder on the first 1024 lines of FILE, as `embed` reads them: the\n"
     "tokenizer; with weights of each type texts a second in batches, the median and 99th percentile of one text at a time,\n"
     "what model and session weigh, and how near the vectors are to f32's. Medians of 5 rounds, of kernels the best of 7.\n"
     "Last where the time of the batches goes: microseconds a text by stage, summed over the threads. Pin it to a core, as\n"
     "with taskset, to compare.\n\n"
     "    kpd bench minilm.kpd titles.txt --threads 2"},
    {"score", run_score, 1, 2, "", "score M.kpd [FILE]",
     "Prints the cross-encoder's logit (or logits, with a TAB between them) of each line: keyphrase TAB category TAB title,\n"
     "or keyphrase TAB title, as an empty category is none. What the model's template does not name is left out.\n\n"
     "    printf 'laptop sleeve\\tLaptop Sleeves\\tGrey Felt Sleeve 13 inch\\n' | kpd score assistant.kpd"},
    {"index build", run_index_build, 1, 1, "-o --ids --metric --model --kind --store --lists --recall",
     "index build VECTORS.npy -o INDEX.kpi [--ids FILE] [--metric cosine|dot|l2] [--model STUDENT.kpd]\n"
     "                [--kind flat|tree] [--store f32|i16|int8|none] [--lists N] [--recall R]",
     "Makes an index of float32 vectors. FILE has an id (a 64-bit integer) a line; without it ids are 0, 1, 2, ...\n"
     "Of equal ids the last wins. A flat index compares a query with all vectors. A tree has N lists of near ones (a list for\n"
     "224), opens those that may have one of the K best, and finds about R (0.95) of these; it keeps vectors as --store says,\n"
     "none: by 4 bits a number alone. All vectors are in memory while it is made. With --model the index keeps the\n"
     "fingerprint of the student whose keyphrases these are, and recommend refuses another one (but conversions of it).\n\n"
     "    kpd index build keyphrases.npy -o keyphrases.kpi --ids ids.txt --kind tree"},
    {"index tune", run_index_tune, 2, 2, "-k --recall", "index tune INDEX.kpi QUERIES.npy [-k K] [--recall R]",
     "Finds by queries how far a tree must be opened to find R (0.95) of the K (10) best, and keeps it in the index, for\n"
     "searches with such a recall. Waits while another kpd changes the index.\n\n"
     "    kpd index tune keyphrases.kpi items.npy --recall 0.99"},
    {"index add", run_index_add, 2, 2, "--ids", "index add INDEX.kpi VECTORS.npy --ids FILE",
     "Adds vectors, or replaces those whose id is there. Waits while another kpd changes the index.\n\n"
     "    kpd index add keyphrases.kpi new.npy --ids new-ids.txt"},
    {"index remove", run_index_remove, 2, 2, "", "index remove INDEX.kpi IDS",
     "Removes the ids of a file, one a line. Those that are not there are not an error. Waits while another\n"
     "kpd changes the index.\n\n"
     "    kpd index remove keyphrases.kpi gone.txt"},
    {"index info", info_index, 1, 1, "", "index info INDEX.kpi",
     "Says what an index is, after checking every byte of it.\n\n"
     "    kpd index info keyphrases.kpi"},
    {"search", run_search, 2, 2, "-k --threshold --recall --gamma",
     "search INDEX.kpi QUERIES.npy [-k K] [--threshold T] [--recall R | --gamma G]",
     "Prints the K (10) best of each query, with a score of at least T: query row from 0 TAB rank from 1 TAB id TAB score.\n"
     "A score is larger when nearer: cosine, product, or minus the squared distance. A flat index finds all; a tree about a\n"
     "share of R of the K best, all with 1. G says directly how far it is opened: where score + G * radius may count.\n\n"
     "    kpd search keyphrases.kpi items.npy -k 5 --threshold 0.4"},
    {"recommend", run_recommend, 4, 5, "-o -k --threshold --min-similarity --by-relevance --same-words",
     "recommend STUDENT.kpd ASSISTANT.kpd|- INDEX.kpi KEYPHRASES.tsv [ITEMS.tsv] [-o OUT.tsv] [-k K]\n"
     "              [--threshold T] [--min-similarity S] [--by-relevance] [--same-words]",
     "Recommends keyphrases for items. KEYPHRASES.tsv: id TAB keyphrase. ITEMS.tsv: title, or title TAB category. Takes the\n"
     "K (10) nearest keyphrases with a similarity of at least S, drops duplicates (--same-words: in any order), drops those\n"
     "to which the assistant (- = none) gives a relevance below T, a probability. Prints item row from 0 TAB rank from 1\n"
     "TAB keyphrase TAB similarity TAB relevance (- without an assistant), by similarity or --by-relevance.\n\n"
     "    kpd recommend student.kpd assistant.kpd keyphrases.kpi keyphrases.tsv items.tsv -k 20 --threshold 0.5"},
    {"train", run_train, 1, 1, "--resume --force", "train RECIPE.ini [--resume] [--force]",
     "Trains a model as a recipe says, into a folder (the recipe's name without .ini): metrics.tsv, a row a step;\n"
     "checkpoint.kpc, from which --resume goes on to the same bits as if nothing had happened; at the end last.kpd, and with\n"
     "[dev] best.kpd. A folder that holds a training is refused: --resume goes on with it (from the beginning where there is\n"
     "no checkpoint yet), --force deletes it. The recipe, what its models and data hold must be what they were, also where\n"
     "the training has ended. Ctrl-C, TERM and HUP let the step end and write a checkpoint; the exit status is then 1, since\n"
     "the model is not there. A second Ctrl-C kills. At the end it says how many rows were seen, how often one came again (in\n"
     "a later epoch, or at the head of a piece of its query), and how many were left out.\n\n"
     "    kpd train student.ini --threads 8"},
    {"eval pairs", run_eval_pairs, 0, 1, "-o --threshold --dev --model --dim",
     "eval pairs [FILE] [-o OUT.tsv] [--threshold T | --dev FILE] [--model M.kpd [--dim D]]",
     "Prints how well scores tell labels: F1, precision, recall, accuracy and MCC at a threshold; AP, AUC, calibration error\n"
     "(of scores that are probabilities), Pearson and Spearman. A line: score TAB label, or these TAB the assistant's score,\n"
     "with which the score is then correlated too. A label is 0 to 1, yes from .5 on. The threshold is T, or that of the best\n"
     "F1 on --dev (of the same columns), or else of the best F1 here. With --model the first column gives way to three,\n"
     "keyphrase TAB title TAB category, and the score is the model's: a bi-encoder's cosine, of D columns, or a\n"
     "cross-encoder's probability.\n\n"
     "    kpd eval pairs test.tsv --model student.kpd --dim 64 --dev dev.tsv"},
    {"eval auction", run_eval_auction, 2, 2, "-o --filter --threshold --against --items",
     "eval auction RECOMMENDATIONS.tsv JUDGE.tsv [-o OUT.tsv] [--threshold T [--filter FILE]] [--items N]\n"
     "                 [--against RECOMMENDATIONS2.tsv]",
     "Prints what a judge makes of the lists of `kpd recommend` (without --threshold, so that all are there), with 95 %\n"
     "bootstrap intervals over items: kp, the median of an item's survivors, and their mean; pr, survivors that pass, of all\n"
     "and as a mean of items; pass@k, of the first k before the filter. JUDGE.tsv: item row TAB keyphrase TAB 0..1, pass from\n"
     ".5 on; what it does not know does not pass, and is counted as unjudged. Survivors are those whose relevance, or whose\n"
     "value in FILE, of the judge's form, is at least T; without T all. N items were asked for: those without a line count.\n"
     "--against prints a second system's figures and the paired differences, first minus second, with p. 10000 resamples\n"
     "up to 2000 items, fewer beyond, at least 1000.\n\n"
     "    kpd eval auction new.tsv judge.tsv --filter search.tsv --threshold 0.5 --against old.tsv"},
    {"vocab", run_vocab, 1, ANY_NUMBER, "-o --size --min-count --cased",
     "vocab CORPUS... -o vocab.txt [--size N] [--min-count N] [--cased]",
     "Makes a WordPiece vocabulary of up to N (8000) tokens out of the lines of all files; a TAB is a space. What occurs less\n"
     "than --min-count (2) times becomes no token, but for characters. --cased keeps upper case and accents.\n\n"
     "    kpd vocab titles.txt keyphrases.txt -o vocab.txt --size 30000"},
    {"simulate judge", run_judge, 1, ANY_NUMBER, "-o --by",
     "simulate judge DIR [FILE...] [-o JUDGE.tsv] [--by truth|text|llm|tuned|sr|filter]",
     "Judges recommendations in the shop of `kpd simulate -o DIR`, which it makes again from DIR/shop.ini. A line is one of\n"
     "`kpd recommend` for test_items.tsv, or a row of that, from 0, TAB keyphrase. Prints row TAB keyphrase TAB score, 0 to 1\n"
     "with yes from 0.5 on, as `kpd eval auction` reads it. truth: what is so (the default); text: what title and category\n"
     "tell of it; llm, tuned: a general LLM and one tuned on people's labels; sr: the search engine's score; filter: whether\n"
     "its filter lets the pair pass, 0 or 1.\n\n"
     "    kpd recommend s.kpd - k.kpi shop/keyphrases.tsv shop/test_items.tsv -o r.tsv\n"
     "    kpd simulate judge shop r.tsv --by llm -o llm.tsv"},
    {"simulate", run_simulate, 0, 1, "-o --items --queries --seed --world --placebo",
     "simulate [SHOP.ini] -o DIR [--items N] [--queries N] [--seed S] [--world 0..5]\n"
     "             [--placebo none|shuffled|truth]",
     "Makes an invented shop whose truth is known: N (6000) items, N (4000) queries, a search engine, clicks, an LLM. Writes\n"
     "items.tsv, test_items.tsv: title TAB category; keyphrases.tsv: id TAB keyphrase; keyphrases.txt: these alone, in the\n"
     "order of ids; ctr.tsv: keyphrase TAB title TAB category of clicked pairs; sr.tsv, llm.tsv, llm_dev.tsv, llm_test.tsv,\n"
     "truth_test.tsv: the same TAB label 0 or 1; corpus.txt: titles and queries; shop.ini: all settings, which can be edited\n"
     "and given as SHOP.ini (a key left out has its default). Prints what it measured. Worlds: 0 without bias, 1 clicks\n"
     "depend on position and popularity, 2 a filter, 3 (the default) both, 4 a noisier LLM, 5 more that only pictures show.\n"
     "--placebo: the LLM's labels dealt anew, or the truth.\n\n"
     "    kpd simulate -o shop --seed 7"},
};
enum { N_COMMANDS = sizeof COMMANDS / sizeof *COMMANDS };

// The command that argv begins with, of one word or two; *n_words = how many, or 0.
static const command *find_command(int argc, char **argv, int *n_words) {
    char two[64];
    snprintf(two, sizeof two, "%s %s", argc > 0 ? argv[0] : "", argc > 1 ? argv[1] : "");
    for (int i = 0; i < N_COMMANDS; i++) {
        *n_words = strchr(COMMANDS[i].name, ' ') ? 2 : 1;
        if (argc >= *n_words && !strcmp(COMMANDS[i].name, *n_words == 2 ? two : argv[0])) return &COMMANDS[i];
    }
    *n_words = 0;
    return NULL;
}

static int unknown_command(int argc, char **argv) {
    bool two = argc > 1 && (!strcmp(argv[0], "index") || !strcmp(argv[0], "eval"));
    return usage("unknown command '%s%s%s'; `kpd help` lists them", argv[0], two ? " " : "", two ? argv[1] : "");
}

static void help_all(void) {
    printf("kpd " KPD_VERSION ": keyphrase retrieval\n\n");
    for (int i = 0; i < N_COMMANDS; i++) printf("    kpd %s\n", COMMANDS[i].use);
    printf("    kpd help [COMMAND]\n\n"
           "Common options: --threads N, --simd LEVEL, --stats (a last line of counts on stderr).\n"
           "Text: `-` or no file is the standard input; a text a line, a TAB between its segments.\n"
           "Exit status: 0 done, 1 something is wrong with the data or a file, 2 with the command.\n");
}

static int parse(const command *c, int argc, char **argv, job *j) {
    int n = 0;
    j->arg = (const char **)job_alloc(j, (size_t)argc + 8, sizeof *j->arg);
    if (!j->arg) return BAD_DATA;
    for (int i = 0; i < argc; i++) {
        const option *p;
        if (argv[i][0] != '-' || !argv[i][1]) {
            if (n == c->max_args) return usage("%s: '%s' is one argument too many; `kpd help %s`", c->name, argv[i], c->name);
            j->arg[n++] = argv[i];
            continue;
        }
        p = find_option(c->options, argv[i]);
        if (!p) return usage("%s: unknown option '%s'; `kpd help %s`", c->name, argv[i], c->name);
        if (p->kind != FLAG && ++i == argc) return usage("%s: %s needs a value", c->name, p->name);
        if (set_option(&j->o, p, argv[i])) return BAD_USAGE;
    }
    return n >= c->min_args ? DONE : usage("%s: an argument is missing: kpd %s", c->name, c->use);
}

static int set_machine(job *j) {
    kpd_error e;
    kpd_simd level = (kpd_simd)j->o.simd;
    if (!kpd_simd_available(level)) return usage("--simd %s: this machine or build lacks it", kpd_simd_name(level));
    if (j->o.threads < 2) return DONE;
    if (kpd_pool_create(j->o.threads, NULL, &j->pool, &e)) return fail("--threads", 0, "%s", e.message), BAD_DATA;
    j->parallel = kpd_pool_parallel(j->pool);
    return DONE;
}

static bool stdout_ok(void) {
    return flushed(stdout) || fail("standard output", 0, "cannot write: %s", why_not_written());
}

// The commands of two words of which the first is this: how many.
static int help_family(const char *first) {
    int n = 0;
    size_t length = strlen(first);
    for (int i = 0; i < N_COMMANDS; i++)
        if (!strncmp(COMMANDS[i].name, first, length) && COMMANDS[i].name[length] == ' ') {
            printf("kpd %s\n", COMMANDS[i].use);
            n++;
        }
    return n;
}

static int help(int argc, char **argv) {
    int n_words;
    const command *c = find_command(argc, argv, &n_words);
    if (argc == 0) help_all();
    else if (c) printf("kpd %s\n\n%s\n", c->use, c->help);
    else if (argc > 1 || !help_family(argv[0])) return unknown_command(argc, argv);
    if (c && c->run == run_train) recipe_help(stdout);
    return stdout_ok() ? DONE : BAD_DATA;
}

// Arguments and options that are no files note nothing.
static void note_inputs(const job *j, const command *c) {
    bool no_input = true;
    g_n_inputs = 0;
    for (int i = 0; j->arg[i]; i++) note_input(j->arg[i], NULL);
    for (size_t i = 0; i < sizeof OPTIONS / sizeof *OPTIONS; i++) {
        const char *value = OPTIONS[i].kind == TEXT ? *(const char *const *)((const char *)&j->o + OPTIONS[i].field) : NULL;
        if (value && OPTIONS[i].field != FIELD(output)) note_input(value, NULL);
    }
    for (int i = 0; i < c->max_args && i < 8; i++) no_input = no_input && j->arg[i];
    if (!no_input) note_input("-", NULL);       // a text that is not given is the standard input
}

static int run(const command *c, int argc, char **argv, job *j) {
    int status = parse(c, argc, argv, j);
    if (!status) note_inputs(j, c);
    if (!status) status = set_machine(j);
    if (!status) status = c->run(j);
    if (!status && !stdout_ok()) status = BAD_DATA;
    end_progress_line();
    if (!status && j->o.stats) print_stats(j);
    return status;
}

static int run_command(int argc, char **argv) {
    job j;                              // some 40 KB
    int n_words, status;
    const command *c = find_command(argc - 1, argv + 1, &n_words);
    if (!c) return unknown_command(argc - 1, argv + 1);
    memset(&j, 0, sizeof j);
    j.program = argv[0];
    j.lock = -1;
    j.command = run_command;
    j.o.k = 10;
    j.o.threshold = j.o.min_similarity = -INFINITY;
    j.o.world = j.o.placebo = -1;
    status = run(c, argc - 1 - n_words, argv + 1 + n_words, &j);
    job_close(&j);
    return status;
}

int main(int argc, char **argv) {
    if (argc < 2) return usage("a command is missing; `kpd help` lists them");
    if (!strcmp(argv[1], "help") || !strcmp(argv[1], "--help")) return help(argc - 2, argv + 2);
    if (!strcmp(argv[1], "--version")) return puts("kpd " KPD_VERSION), DONE;
    files_catch(files_interrupted);
    return run_command(argc, argv);
}
