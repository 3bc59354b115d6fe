// cli.h - what every command of kpd stands on: messages, the table of options, files written whole or not at all.
// Part of kpd.c, which includes what it needs above it.
// Contents: >>errors >>options >>output

enum { DONE = 0, BAD_DATA = 1, BAD_USAGE = 2 };

// >>errors  Every message goes through these, and each returns what its caller returns. ------------------------------

static bool g_line_open;                // a progress bar stands on the terminal's last line
static bool g_quiet;                    // --quiet
static bool g_no_progress;              // beside others of `kpd run`

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

// What is worth knowing and no failure.
PRINTF(2, 3) static void note(const char *file, const char *format, ...) {
    va_list args;
    if (g_quiet) return;
    end_progress_line();
    fprintf(stderr, "kpd: %s%snote: ", file ? file : "", file ? ": " : "");
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
}

// What was written, on the standard output.
PRINTF(1, 2) static void say(const char *format, ...) {
    va_list args;
    if (g_quiet) return;
    end_progress_line();
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    putchar('\n');
}

static char g_where[4200];              // where in a file the command line stands that is looked at, as "file:line: ", or ""

PRINTF(1, 2) static int usage(const char *format, ...) {
    va_list args;
    fprintf(stderr, "kpd: %s", g_where);
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

// >>options  One table of all options; a command names those that it takes. Help, man page and completions are made of it. ---

typedef struct list_option { const char *word[16]; int n; } list_option;

typedef struct options {
    const char *output, *ids, *template_item, *template_keyphrase, *template_pair, *model, *dev, *filter, *against,
        *calibrate, *columns, *keyphrases, *weights, *bad, *prompt, *llm, *of, *yes, *no, *price, *at, *split,
        *per_query, *log, *deciles, *other_judge, *assistant, *relabel, *ranks, *earlier_items, *earlier_lists;
    int32_t threads, simd, stats, quiet, dtype, wide_qkv, max_tokens, no_special, offsets, dim, tower, one, metric, k,
        by_relevance, same_words;       // threads: 0 = all
    int32_t resume, force, items;
    int32_t size, min_count, cased;
    float threshold, min_similarity;    // -infinity = not given
    const char *export_to, *join;
    int32_t queries, seed, by, pairs;   // of a simulated shop; 0 = not given
    int32_t world, placebo;             // -1 = not given
    int32_t kind, store, lists, update; // of an index
    int32_t partition;                  // -1 = not given
    float recall, gamma;                // 0 = not given
    float max_score, min_score, margin, relative_margin;        // of mining; -infinity = not given
    int32_t n, bm25, sample;
    int32_t format;                     // of text: a table_format
    int32_t min_impressions, all, answer_tokens, logprobs, soft;        // of labels
    int32_t keep;                       // of score
    int32_t dry_run, times, jobs, delta;        // of a pipeline
    const char *dir;
    list_option only, set;
} options;

typedef enum option_kind { FLAG, TEXT, FILE_NAME, INTEGER, NUMBER, CHOICE, LIST } option_kind;

typedef struct option {
    const char *name;
    option_kind kind;
    size_t field;                       // of `options`: int32_t, const char *, const char *, int32_t, float, int32_t,
                                        // list_option
    int32_t low, high;                  // INTEGER; NUMBER: low 1 = above 0, high 0 = any
    const char *choices;                // CHOICE: words, in the order of the enum that they name; INTEGER: a word for 0
    const char *value, *help;           // as help names it; what it does
} option;

#define COMMON_OPTIONS "--threads --simd --stats --quiet --help"
#define FIELD(name) offsetof(options, name)
static const option OPTIONS[] = {
    {"-o", FILE_NAME, FIELD(output), 0, 0, NULL, "FILE", "where the result goes; a file that is there is replaced"},
    {"-k", INTEGER, FIELD(k), 1, KPD_MAX_K, NULL, "K", "how many, at most (10; of rerank all; of eval retrieval 100)"},
    {"--force", FLAG, FIELD(force), 0, 0, NULL, NULL, "replaces what the folder holds already by the names that are written"},
    {"--dtype", CHOICE, FIELD(dtype), 0, 0, "f32 bf16 int8", NULL, "type of the weights (f32)"},
    {"--wide-qkv", FLAG, FIELD(wide_qkv), 0, 0, NULL, NULL, "int8: inputs of query, key and value at 16 bits"},
    {"--calibrate", FILE_NAME, FIELD(calibrate), 0, 0, NULL, "FILE", "int8: texts that say how large inputs get"},
    {"--template-item", TEXT, FIELD(template_item), 0, 0, NULL, "T", "what the model reads of an item"},
    {"--template-keyphrase", TEXT, FIELD(template_keyphrase), 0, 0, NULL, "T", "what it reads of a keyphrase"},
    {"--template-pair", TEXT, FIELD(template_pair), 0, 0, NULL, "T", "what a cross-encoder reads of both"},
    {"--max-tokens", INTEGER, FIELD(max_tokens), 1, KPD_MAX_POSITIONS, NULL, "N", "longer texts are cut to so many tokens"},
    {"--no-special", FLAG, FIELD(no_special), 0, 0, NULL, NULL, "no [CLS] and [SEP]"},
    {"--offsets", FLAG, FIELD(offsets), 0, 0, NULL, NULL, "where in its segment each token stands"},
    {"--dim", INTEGER, FIELD(dim), 1, KPD_MAX_WIDTH, NULL, "D", "the first D columns of the vectors, normalised"},
    {"--tower", CHOICE, FIELD(tower), 0, 0, WORDS(KPD_TOWER_LIST), NULL, "what the texts are (item)"},
    {"--one", FLAG, FIELD(one), 0, 0, NULL, NULL, "one text or query at a time, as a server does"},
    {"--columns", TEXT, FIELD(columns), 0, 0, NULL, "WORDS", "what the columns are, in the file's order, or WORD=NAME"},
    {"--join", FILE_NAME, FIELD(join), 0, 0, NULL, "ITEMS", "id, title, category, for a column `item` in their place"},
    {"--format", CHOICE, FIELD(format), 0, 0, TABLE_FORMATS, NULL, "of the text (by its name: .csv, .jsonl, else tsv)"},
    {"--ids", FILE_NAME, FIELD(ids), 0, 0, NULL, "FILE", "an id a line, for each row (0, 1, 2, ...)"},
    {"--metric", CHOICE, FIELD(metric), 0, 0, WORDS(KPD_METRIC_LIST), NULL, "how vectors are compared (cosine)"},
    {"--kind", CHOICE, FIELD(kind), 0, 0, WORDS(KPD_INDEX_KIND_LIST), NULL, "of index: exact, or faster and finds most (flat)"},
    {"--store", CHOICE, FIELD(store), 0, 0, "f32 i16 int8 none", NULL, "how vectors are kept (f32)"},
    {"--lists", INTEGER, FIELD(lists), 1, 1 << 24, NULL, "N", "lists of a tree (one for 160 vectors)"},
    {"--recall", NUMBER, FIELD(recall), 1, 1, NULL, "R", "share of the K best that a tree is to find (0.95)"},
    {"--gamma", NUMBER, FIELD(gamma), 1, 0, NULL, "G", "how far a tree is opened, in place of --recall"},
    {"--update", FLAG, FIELD(update), 0, 0, NULL, NULL, "an index that is there has its changed keyphrases embedded alone"},
    {"--partition", INTEGER, FIELD(partition), 0, INT32_MAX, NULL, "P", "a number that vectors get, or are to have"},
    {"--model", FILE_NAME, FIELD(model), 0, 0, NULL, "M.kpd", "the model that scores, or that made the vectors"},
    {"--threshold", NUMBER, FIELD(threshold), 0, 0, NULL, "T", "the least score that counts"},
    {"--keyphrases", FILE_NAME, FIELD(keyphrases), 0, 0, NULL, "FILE", "of an index that keeps none: id TAB keyphrase"},
    {"--min-similarity", NUMBER, FIELD(min_similarity), 0, 0, NULL, "S", "the least similarity"},
    {"--by-relevance", FLAG, FIELD(by_relevance), 0, 0, NULL, NULL, "in the order of the assistant's scores"},
    {"--same-words", FLAG, FIELD(same_words), 0, 0, NULL, NULL, "the same words in another order are duplicates"},
    {"--resume", FLAG, FIELD(resume), 0, 0, NULL, NULL, "goes on from the checkpoint"},
    {"--export", TEXT, FIELD(export_to), 0, 0, NULL, "M.kpd", "makes a model of the checkpoint, and trains nothing"},
    {"--size", INTEGER, FIELD(size), 1, KPD_MAX_VOCAB, NULL, "N", "tokens, at most (8000)"},
    {"--min-count", INTEGER, FIELD(min_count), 1, INT32_MAX, NULL, "N", "what is rarer becomes no token (2)"},
    {"--cased", FLAG, FIELD(cased), 0, 0, NULL, NULL, "keeps upper case and accents"},
    {"--min-impressions", INTEGER, FIELD(min_impressions), 1, INT32_MAX, NULL, "N", "pairs with fewer are left out (1)"},
    {"--weights", TEXT, FIELD(weights), 0, 0, NULL, "W1,W2,...", "what an impression counts at each position"},
    {"--all", FLAG, FIELD(all), 0, 0, NULL, NULL, "negatives too, and a label behind each pair"},
    {"--bad", FILE_NAME, FIELD(bad), 0, 0, NULL, "FILE", "where rows go that cannot be meant; else the first is an error"},
    {"--prompt", FILE_NAME, FIELD(prompt), 0, 0, NULL, "FILE", "what is asked (the paper's question)"},
    {"--llm", TEXT, FIELD(llm), 0, 0, NULL, "NAME", "the language model's name (mixtral-8x7b-instruct)"},
    {"--answer-tokens", INTEGER, FIELD(answer_tokens), 1, 1 << 20, NULL, "N", "how long an answer may be (8)"},
    {"--logprobs", FLAG, FIELD(logprobs), 0, 0, NULL, NULL, "asks for the likeliest tokens too"},
    {"--soft", FLAG, FIELD(soft), 0, 0, NULL, NULL, "labels are the probability of yes, where it is given"},
    {"--yes", TEXT, FIELD(yes), 0, 0, NULL, "W1,W2,...", "words that mean yes (yes)"},
    {"--no", TEXT, FIELD(no), 0, 0, NULL, "W1,W2,...", "words that mean no (no)"},
    {"--of", FILE_NAME, FIELD(of), 0, 0, NULL, "PROMPTS.jsonl", "whose answers count, where there are those to others"},
    {"--price", TEXT, FIELD(price), 0, 0, NULL, "IN,OUT", "of a million tokens asked, and answered: what all cost is said"},
    {"--dev", FILE_NAME, FIELD(dev), 0, 0, NULL, "FILE", "pairs on which the threshold is chosen"},
    {"--filter", FILE_NAME, FIELD(filter), 0, 0, NULL, "FILE", "search: ids that may be found; else values for --threshold"},
    {"--against", FILE_NAME, FIELD(against), 0, 0, NULL, "FILE", "a second system's recommendations, or run"},
    {"--other-judge", FILE_NAME, FIELD(other_judge), 0, 0, NULL, "FILE", "a second judge of the same lists"},
    {"--log", FILE_NAME, FIELD(log), 0, 0, NULL, "FILE", "of clicks: which keyphrases are popular, which are new"},
    {"--earlier-items", FILE_NAME, FIELD(earlier_items), 0, 0, NULL, "ITEMS", "of a run before, which keep their lists"},
    {"--earlier-lists", FILE_NAME, FIELD(earlier_lists), 0, 0, NULL, "LISTS", "what that run printed"},
    {"--deciles", FILE_NAME, FIELD(deciles), 0, 0, NULL, "FILE", "item TAB number: figures of tenths of the items by it"},
    {"--at", TEXT, FIELD(at), 0, 0, NULL, "K1,K2,...", "the first so many documents (10,100)"},
    {"--per-query", FILE_NAME, FIELD(per_query), 0, 0, NULL, "FILE", "where each query's figures go"},
    {"--split", TEXT, FIELD(split), 0, 0, NULL, "NAME", "of the folder's judgements, qrels/NAME.tsv (test)"},
    {"--items", INTEGER, FIELD(items), 1, INT32_MAX, NULL, "N", "how many items"},
    {"--queries", INTEGER, FIELD(queries), 20, 1000000, NULL, "N", "how many keyphrases (4000)"},
    {"--seed", INTEGER, FIELD(seed), 1, INT32_MAX, NULL, "S", "another shop (1), or another draw"},
    {"-n", INTEGER, FIELD(n), 1, KPD_MAX_K, NULL, "N", "negatives of a pair (4), pairs of a cluster (16), or batches (50)"},
    {"--ranks", TEXT, FIELD(ranks), 0, 0, NULL, "A-B", "which of what is found are candidates (1-100)"},
    {"--max-score", NUMBER, FIELD(max_score), 0, 0, NULL, "S", "of a candidate, at most"},
    {"--min-score", NUMBER, FIELD(min_score), 0, 0, NULL, "S", "of a candidate, at least"},
    {"--margin", NUMBER, FIELD(margin), 0, 0, NULL, "M", "by which it is below the pair's own keyphrase"},
    {"--relative-margin", NUMBER, FIELD(relative_margin), 0, 0, NULL, "M", "the same, as a share of that one's score"},
    {"--bm25", FLAG, FIELD(bm25), 0, 0, NULL, NULL, "candidates have the title's words, whatever the student finds"},
    {"--sample", FLAG, FIELD(sample), 0, 0, NULL, NULL, "candidates at random, not the highest ranked"},
    {"--assistant", FILE_NAME, FIELD(assistant), 0, 0, NULL, "A.kpd", "who drops candidates that are relevant"},
    {"--relabel", FILE_NAME, FIELD(relabel), 0, 0, NULL, "FILE", "where these go, as pairs"},
    {"--world", INTEGER, FIELD(world), 0, 6, NULL, "W", "what biases the clicks have (3)"},
    {"--placebo", CHOICE, FIELD(placebo), 0, 0, "none shuffled truth", NULL, "in place of the LLM's labels (none)"},
    {"--pairs", FLAG, FIELD(pairs), 0, 0, NULL, NULL, "lines are keyphrase TAB title, as in the shop's own files"},
    {"--by", CHOICE, FIELD(by), 0, 0, "truth text llm tuned sr filter", NULL, "who judges (truth)"},
    {"--keep", FLAG, FIELD(keep), 0, 0, NULL, NULL, "the line, with a label in it, and the score behind it"},
    {"--jobs", INTEGER, FIELD(jobs), 1, 16, NULL, "N", "stages at a time (1)"},
    {"--dry-run", FLAG, FIELD(dry_run), 0, 0, NULL, NULL, "says what would run, and why"},
    {"--times", FLAG, FIELD(times), 0, 0, NULL, NULL, "prints what stages took, and runs nothing"},
    {"--delta", FLAG, FIELD(delta), 0, 0, NULL, NULL, "of an index and of lists what has changed alone is made anew"},
    {"--only", LIST, FIELD(only), 0, 0, NULL, "STAGE", "this stage, and what it needs; up to 16 times"},
    {"--dir", TEXT, FIELD(dir), 0, 0, NULL, "DIR", "the pipeline's folder (the recipe's name without .ini)"},
    {"--set", LIST, FIELD(set), 0, 0, NULL, "NAME=VALUE", "in place of what [set] says; up to 16 times"},
    {"--threads", INTEGER, FIELD(threads), 0, KPD_MAX_THREADS, "auto", "N", "how many (auto: all that this process may use)"},
    {"--simd", CHOICE, FIELD(simd), 0, 0, WORDS(KPD_SIMD_LIST), NULL, "instructions (auto: the best of this machine)"},
    {"--stats", FLAG, FIELD(stats), 0, 0, NULL, NULL, "a last line of counts and seconds on stderr"},
    {"--quiet", FLAG, FIELD(quiet), 0, 0, NULL, NULL, "no progress, no notes, no word on what was written"},
    {"--help", FLAG, 0, 0, 0, NULL, NULL, "this help; -h too"},
};
enum { N_OPTIONS = sizeof OPTIONS / sizeof *OPTIONS };

static const option *option_named(const char *name) {
    for (int i = 0; i < N_OPTIONS; i++)
        if (!strcmp(OPTIONS[i].name, name)) return &OPTIONS[i];
    return NULL;
}

static bool option_is_of(const option *p, const char *allowed) {
    return recipe_find(allowed, p->name) >= 0 || recipe_find(COMMON_OPTIONS, p->name) >= 0;
}

// Whether its value names a file that is read.
static bool is_input_option(const option *p) {
    return p->kind == FILE_NAME && p->field != FIELD(output) && p->field != FIELD(bad) && p->field != FIELD(per_query) &&
           p->field != FIELD(relabel);
}

static int set_integer(const option *p, const char *text, int32_t *out) {
    char *end;
    long v;
    errno = 0;
    v = strtol(text, &end, 10);
    if (p->choices && !strcmp(text, p->choices)) return *out = 0, DONE;
    if (errno || end == text || *end || v < p->low || v > p->high)
        return usage("%s %s: expected an integer from %d to %d%s%s", p->name, text, (int)p->low, (int)p->high,
                     p->choices ? ", or " : "", p->choices ? p->choices : "");
    *out = (int32_t)v;
    return DONE;
}

static int set_number(const option *p, const char *text, float *out) {
    char *end;
    float v = strtof(text, &end);
    if (end == text || *end || !isfinite(v)) return usage("%s %s: expected a number", p->name, text);
    if (p->low && !(v > 0)) return usage("%s %s: expected a number above 0", p->name, text);
    if (p->high && v > (float)p->high) return usage("%s %s: expected at most %d", p->name, text, (int)p->high);
    *out = v;
    return DONE;
}

static int set_choice(const option *p, const char *text, int32_t *out) {
    int at = recipe_find(p->choices, text);
    char meant[80];
    if (at < 0) return usage("%s %s: expected one of: %s%s", p->name, text, p->choices, recipe_meant(p->choices, text, meant));
    *out = at;
    return DONE;
}

static int set_list(const option *p, const char *text, list_option *out) {
    enum { MOST = sizeof out->word / sizeof *out->word };
    if (out->n == MOST) return usage("%s: more than %d times", p->name, MOST);
    out->word[out->n++] = text;
    return DONE;
}

static int set_option(options *o, const option *p, const char *value) {
    void *field = (char *)o + p->field;
    switch (p->kind) {
    case FLAG:    *(int32_t *)field = 1; return DONE;
    case TEXT:
    case FILE_NAME: *(const char **)field = value; return DONE;
    case INTEGER: return set_integer(p, value, (int32_t *)field);
    case NUMBER:  return set_number(p, value, (float *)field);
    case CHOICE:  return set_choice(p, value, (int32_t *)field);
    case LIST:    return set_list(p, value, (list_option *)field);
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
    if (!strcmp(path, "-")) return fail(path, 0, "what is written is mapped later and needs a file");
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

// Whether all was written. errno then is that of the write that failed; 0 where that was an earlier one, and others may have
// set it since.
static bool flushed(FILE *f) {
    bool of_a_write = errno == ENOSPC || errno == EDQUOT || errno == EFBIG || errno == EIO || errno == EPIPE;
    if (ferror(f)) {
        if (!of_a_write) errno = 0;
        return false;
    }
    errno = 0;
    return !fflush(f);
}
static const char *why_not_written(void) { return errno ? strerror(errno) : "a write before the last one failed"; }

static bool stdout_ok(void) {
    return flushed(stdout) || fail("standard output", 0, "cannot write: %s", why_not_written());
}

static bool output_failed(output *o) {
    fail(o->path ? o->path : "standard output", 0, "cannot write: %s", why_not_written());
    output_abandon(o);
    return false;
}

// To be asked now and then, so that a long job notices a full disk before its end.
static bool output_ok(output *o) { return !o->file || !ferror(o->file) || flushed(o->file) || output_failed(o); }

static bool output_commit(output *o) {
    bool ok = flushed(o->file);
    if (!o->path || !ok) return ok || output_failed(o);
    ok = files_commit(&o->beside);
    o->file = NULL;
    return ok || fail(o->path, 0, "cannot write: %s", strerror(errno));
}

// A text of any bytes as a cell of TAB-separated text: a TAB or the end of a line in it becomes a space, as where text is read.
static char cell_char(char c) { return c == '\t' || c == '\n' || c == '\r' ? ' ' : c; }

static void put_cell(FILE *f, kpd_text t) {
    for (size_t i = 0; i < t.size; i++) fputc(cell_char(t.data[i]), f);
}

// Whether put_cell wrote this cell of that text.
static bool is_cell_of(kpd_text cell, kpd_text text) {
    bool same = cell.size == text.size;
    for (size_t i = 0; same && i < text.size; i++) same = cell.data[i] == cell_char(text.data[i]);
    return same;
}

static bool make_folder(const char *dir) {
    struct stat st;
    int why;
    if (strlen(dir) > 4000) return fail(dir, 0, "a path longer than 4000 bytes");
    if (!mkdir(dir, 0777)) return true;
    why = errno;                    // which stat sets again
    if (!stat(dir, &st) && S_ISDIR(st.st_mode)) return true;
    return fail(dir, 0, "cannot make the folder: %s", strerror(why));
}

static bool file_exists(const char *path) {
    struct stat st;
    return stat(path, &st) == 0;
}

// A file that -o names is replaced; one in a folder that a command fills is not, unless --force says so.
static bool may_fill(const char *dir, const char *name, bool force) {
    char path[4300];
    struct stat st;
    snprintf(path, sizeof path, "%.4000s/%.255s", dir, name);
    if (force || stat(path, &st)) return true;
    return fail(dir, 0, "holds %s already; expected another folder, or --force to replace what is there", name);
}
