// pipeline.h - a recipe of `kpd run` as a list of stages: command lines and texts, with variables put in.
// Part of kpd.c, below job.h.
// Contents: >>memory >>variables >>stages >>lines
//
//     # a comment
//     [set]
//     seeds = 1 2
//     loss.mse = mse teacher=assistant
//     [stage student]
//     foreach seed = ${seeds}
//     run = train student.${seed}.ini
//     write student.${seed}.ini =
//         [model]
//         ...
//
// A line that begins with a blank goes on with the value above it. A stage with foreach is one for each word. Words of `run`
// are split as a shell does, with quotes, and then variables are put in, so that a value stays one word.

enum { PIPELINE_MAX_BYTES = 1 << 22, PIPELINE_MAX_LOOPS = 8, PIPELINE_MAX_WRITES = 8,
       PIPELINE_MAX_STAGES = 10000, PIPELINE_MAX_DEPTH = 20 };

typedef struct pipeline_key { const char *name, *value; int32_t line, first; } pipeline_key;   // first: line of the value

typedef struct pipeline_section {
    const char *name;
    int32_t line;
    pipeline_key run, loop[PIPELINE_MAX_LOOPS], write[PIPELINE_MAX_WRITES];
    int n_loops, n_writes;
} pipeline_section;

typedef struct pipeline_text { const char *path, *text; int32_t first; } pipeline_text;

typedef struct pipeline_stage {
    const char *name, *section;         // student mse 1, student
    int32_t line;                       // of run
    char **word; int n_words;           // without kpd, which comes first, and without > FILE
    const char *redirect;               // FILE, or NULL
    pipeline_text write[PIPELINE_MAX_WRITES]; int n_writes;
    bool selected;
    size_t *in, *out; size_t n_in, n_out, in_capacity, out_capacity;    // files, see cmd_run.h
    bool follows; size_t followed, index;               // see >>delta there: files of keyphrases, or of items and an index
    const char *result, *copy;          // what it writes, and where its items are kept, of lists
    double seconds, cpu;                // that it took, if it ran
    int mark;
} pipeline_stage;

typedef struct pipeline {
    const char *path, *here;            // of the recipe, and the folder in which it lies
    const list_option *given;           // --set
    pipeline_key *set; size_t n_set, set_capacity;
    pipeline_section *section; size_t n_sections, section_capacity;
    pipeline_stage *stage; size_t n_stages, stage_capacity;
    struct pipeline_block *blocks;
    // the rest is the parser's
    int32_t line;
    enum { PIPELINE_NOWHERE, PIPELINE_SET, PIPELINE_RUN, PIPELINE_LOOP, PIPELINE_WRITE } open;
    bool in_set;
    pipeline_key key;
    char *value; size_t value_size, value_capacity;                     // of the key, as far as it is read
    const char *variable[PIPELINE_MAX_LOOPS], *variable_value[PIPELINE_MAX_LOOPS]; int n_variables;     // of the loops
} pipeline;

// >>memory  Freed with the pipeline. --------------------------------------------------------------------------------

typedef struct pipeline_block { struct pipeline_block *next; } pipeline_block;

static void *pipeline_alloc(pipeline *p, size_t size) {
    pipeline_block *b = (pipeline_block *)calloc(1, sizeof *b + size);
    if (!b) return fail(NULL, 0, "out of memory: %zu bytes", size), NULL;
    b->next = p->blocks;
    p->blocks = b;
    return b + 1;
}

static char *pipeline_copy(pipeline *p, const char *text, size_t n) {
    char *copy = (char *)pipeline_alloc(p, n + 1);
    if (copy) memcpy(copy, text, n);
    return copy;
}

static void pipeline_close(pipeline *p) {
    for (size_t i = 0; i < p->n_stages; i++) {
        free(p->stage[i].in);
        free(p->stage[i].out);
    }
    while (p->blocks) {
        pipeline_block *b = p->blocks;
        p->blocks = b->next;
        free(b);
    }
    free(p->set);
    free(p->section);
    free(p->stage);
    free(p->value);
}

// A text that grows.
typedef struct pipeline_buffer { char *text; size_t n, capacity; } pipeline_buffer;

static bool pipeline_add(pipeline_buffer *b, const char *text, size_t n) {
    if (!grow((void **)&b->text, &b->capacity, b->n + n + 1, 1)) return false;
    memcpy(b->text + b->n, text, n);
    b->n += n;
    b->text[b->n] = 0;
    return true;
}

// >>variables  ${NAME}: of a loop, of --set, of [set], or here. A name may itself hold one: ${loss.${kd}}. ------------

static bool pipeline_is(const char *name, const char *word, size_t n) { return strlen(name) == n && !memcmp(name, word, n); }

// NULL = there is none.
static const char *pipeline_value(const pipeline *p, const char *name, size_t n) {
    for (int i = p->n_variables - 1; i >= 0; i--)
        if (pipeline_is(p->variable[i], name, n)) return p->variable_value[i];
    for (int i = p->given->n - 1; i >= 0; i--) {
        const char *equals = strchr(p->given->word[i], '=');
        if (equals && (size_t)(equals - p->given->word[i]) == n && !memcmp(p->given->word[i], name, n)) return equals + 1;
    }
    for (size_t i = 0; i < p->n_set; i++)
        if (pipeline_is(p->set[i].name, name, n)) return p->set[i].value;
    return pipeline_is("here", name, n) ? p->here : NULL;
}

static bool pipeline_unknown(const pipeline *p, int32_t line, const char *name) {
    char meant[80], found[80] = "";
    for (int i = 0; i < p->n_variables && !*found; i++) recipe_meant(p->variable[i], name, found);
    for (size_t i = 0; i < p->n_set && !*found; i++) recipe_meant(p->set[i].name, name, found);
    snprintf(meant, sizeof meant, "%s", found);
    return fail(p->path, line, "${%.80s}: no [set], foreach or --set has this name%s", name, meant);
}

// The } that ends what begins behind ${.
static const char *pipeline_brace(const char *s) {
    for (int depth = 1; *s; s++) {
        if (s[0] == '$' && s[1] == '{') depth++;
        if (*s == '}' && !--depth) return s;
    }
    return NULL;
}

// Appends a text with its variables put in.
static bool pipeline_put(pipeline *p, const char *text, const char *end, int32_t line, int depth, pipeline_buffer *out) {
    while (text < end) {
        const char *dollar = text, *brace, *value;
        pipeline_buffer name = {0};
        bool ok;
        while (dollar < end && (dollar[0] != '$' || dollar[1] != '{')) dollar++;
        if (!pipeline_add(out, text, (size_t)(dollar - text))) return false;
        if (dollar == end) return true;
        brace = pipeline_brace(dollar + 2);
        if (!brace || brace >= end) return fail(p->path, line, "'%.40s': ${ without }", dollar);
        if (depth == PIPELINE_MAX_DEPTH) return fail(p->path, line, "'%.80s': variables that hold each other", dollar);
        ok = pipeline_add(&name, "", 0) && pipeline_put(p, dollar + 2, brace, line, depth + 1, &name);
        value = ok ? pipeline_value(p, name.text, name.n) : NULL;
        if (ok && !value) ok = pipeline_unknown(p, line, name.text);
        ok = ok && pipeline_put(p, value, value + strlen(value), line, depth + 1, out);
        free(name.text);
        if (!ok) return false;
        text = brace + 1;
    }
    return true;
}

// The same as a text of its own; NULL after a message.
static char *pipeline_expand(pipeline *p, const char *text, size_t n, int32_t line) {
    pipeline_buffer b = {0};
    char *copy = NULL;
    if (pipeline_add(&b, "", 0) && pipeline_put(p, text, text + n, line, 0, &b)) copy = pipeline_copy(p, b.text, b.n);
    free(b.text);
    return copy;
}

// >>stages  Loops unrolled, words split. ----------------------------------------------------------------------------

// The next word of *s as a shell sees it, without its quotes; *n = -1 at the end. The place of a word is `out`, as large as *s.
static bool pipeline_word(const pipeline *p, int32_t line, const char **s, char *out, int *n) {
    char quote = 0;
    const char *c = *s + strspn(*s, " \t\n");
    *n = -1;
    if (!*c) return true;
    for (*n = 0; *c && (quote || !strchr(" \t\n", *c)); c++) {
        if (quote ? *c == quote : *c == '\'' || *c == '"') quote = quote ? 0 : *c;
        else out[(*n)++] = *c;
    }
    *s = c;
    out[*n] = 0;
    return !quote || fail(p->path, line, "a quote %c without its end", quote);
}

static bool pipeline_words(pipeline *p, const pipeline_key *k, pipeline_stage *x) {
    const char *s = k->value;
    char *word = pipeline_copy(p, s, strlen(s));
    int n;
    bool redirect = false;
    x->word = (char **)pipeline_alloc(p, (strlen(s) / 2 + 2) * sizeof *x->word);
    if (!word || !x->word) return false;
    for (;;) {
        if (!pipeline_word(p, k->line, &s, word, &n)) return false;
        if (n < 0) break;
        if (x->redirect) return fail(p->path, k->line, "'%.80s' behind > FILE, which comes last", word);
        if (!strcmp(word, ">") && !redirect) { redirect = true; continue; }
        x->word[x->n_words] = pipeline_expand(p, word, (size_t)n, k->line);
        if (!x->word[x->n_words]) return false;
        if (!redirect) x->n_words++;
        else x->redirect = x->word[x->n_words], x->word[x->n_words] = NULL;
    }
    if (redirect && !x->redirect) return fail(p->path, k->line, "expected a file behind >");
    return x->n_words || fail(p->path, k->line, "run: a command is missing");
}

static bool pipeline_texts(pipeline *p, const pipeline_section *of, pipeline_stage *x) {
    for (int i = 0; i < of->n_writes; i++, x->n_writes++) {
        const pipeline_key *k = &of->write[i];
        pipeline_text *t = &x->write[i];
        t->path = pipeline_expand(p, k->name, strlen(k->name), k->line);
        t->text = t->path ? pipeline_expand(p, k->value, strlen(k->value), k->line) : NULL;
        t->first = k->first;
        if (!t->text) return false;
    }
    return true;
}

static bool pipeline_stage_of(pipeline *p, const pipeline_section *of) {
    pipeline_buffer name = {0};
    pipeline_stage *x;
    bool ok = pipeline_add(&name, of->name, strlen(of->name));
    if (p->n_stages == PIPELINE_MAX_STAGES) return fail(p->path, of->line, "more than %d stages", PIPELINE_MAX_STAGES);
    if (!grow((void **)&p->stage, &p->stage_capacity, p->n_stages + 1, sizeof *x)) return false;
    x = &p->stage[p->n_stages++];
    memset(x, 0, sizeof *x);
    for (int i = 0; ok && i < p->n_variables; i++)
        ok = pipeline_add(&name, " ", 1) && pipeline_add(&name, p->variable_value[i], strlen(p->variable_value[i]));
    x->name = ok ? pipeline_copy(p, name.text, name.n) : NULL;
    free(name.text);
    x->section = of->name;
    x->line = of->run.line;
    return x->name && pipeline_words(p, &of->run, x) && pipeline_texts(p, of, x);
}

// A stage for each word of the loops from the i-th on.
static bool pipeline_unroll(pipeline *p, const pipeline_section *of, int i) {
    const pipeline_key *k = &of->loop[i];
    char *list, *word;
    if (i == of->n_loops) return pipeline_stage_of(p, of);
    list = pipeline_expand(p, k->value, strlen(k->value), k->line);
    if (!list) return false;
    if (!*recipe_trim(list)) return fail(p->path, k->line, "foreach %s: no word", k->name);
    while ((word = recipe_word(&list)) != NULL) {
        bool ok;
        p->variable[i] = k->name;
        p->variable_value[i] = word;
        p->n_variables = i + 1;
        ok = pipeline_unroll(p, of, i + 1);
        p->n_variables = i;
        if (!ok) return false;
    }
    return true;
}

// >>lines ------------------------------------------------------------------------------------------------------------

static bool pipeline_name_ok(const char *name) {
    return *name && strlen(name) < 60 &&
           !name[strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.+-")];
}

// Takes away the blanks with which all of its lines begin that are not empty, and the empty lines at its end.
static void pipeline_dedent(char *text) {
    size_t common = SIZE_MAX, n = strlen(text);
    char *out = text;
    for (const char *s = text; *s; s += strcspn(s, "\n"), s += *s == '\n') {
        size_t blanks = strspn(s, " \t");
        if (s[blanks] && s[blanks] != '\n' && blanks < common) common = blanks;
    }
    for (const char *s = text; *s; s++) {
        size_t blanks = strspn(s, " \t");
        for (s += blanks < common ? blanks : common; *s && *s != '\n'; s++) *out++ = *s;
        if (!*s) break;
        *out++ = '\n';
    }
    *out = 0;
    for (n = strlen(text); n && strchr(" \t\n", text[n - 1]); n--) text[n - 1] = 0;
}

// Of a command or list: its lines as one, without comments.
static void pipeline_join(char *text) {
    char *out = text;
    for (const char *s = text, *end = text + strlen(text); s < end;) {
        size_t n = strcspn(s, "\n");
        if (*s != '#') {
            memmove(out, s, n);
            out += n;
            *out++ = ' ';       // in place of the line's end, or of the text's
        }
        s += n + 1;
    }
    *out = 0;
}

static bool pipeline_store(pipeline *p, char *text) {
    pipeline_section *x = p->n_sections ? &p->section[p->n_sections - 1] : NULL;
    p->key.value = text;
    switch (p->open) {
    case PIPELINE_NOWHERE: return true;
    case PIPELINE_SET:
        if (!grow((void **)&p->set, &p->set_capacity, p->n_set + 1, sizeof *p->set)) return false;
        p->set[p->n_set++] = p->key;
        return true;
    case PIPELINE_RUN:   x->run = p->key; return true;
    case PIPELINE_LOOP:  x->loop[x->n_loops++] = p->key; return true;
    case PIPELINE_WRITE: x->write[x->n_writes++] = p->key; return true;
    }
    return true;
}

// The value of the key in hand ends here.
static bool pipeline_end_key(pipeline *p) {
    char *text;
    bool ok;
    if (p->open == PIPELINE_NOWHERE) return true;
    text = pipeline_copy(p, p->value_size ? p->value : "", p->value_size + 1);      // and room for an end of line
    if (!text) return false;
    pipeline_dedent(p->key.first == p->key.line ? text + strcspn(text, "\n") : text);
    if (p->open == PIPELINE_RUN || p->open == PIPELINE_LOOP) pipeline_join(text);
    if (!*text) return fail(p->path, p->key.line, "'%s' has no value", p->key.name);
    if (p->open == PIPELINE_WRITE) strcat(text, "\n");
    ok = pipeline_store(p, text);
    p->open = PIPELINE_NOWHERE;
    return ok;
}

static bool pipeline_append(pipeline *p, const char *text) {
    size_t n = strlen(text);
    if (!grow((void **)&p->value, &p->value_capacity, p->value_size + n + 2, 1)) return false;
    memcpy(p->value + p->value_size, text, n);
    memcpy(p->value + p->value_size + n, "\n", 2);
    p->value_size += n + 1;
    return true;
}

static bool pipeline_begin_section(pipeline *p, char *line) {
    size_t n = strlen(line);
    char *name;
    if (line[n - 1] != ']') return fail(p->path, p->line, "'%.80s': a section ends with ]", line);
    line[n - 1] = 0;
    name = recipe_trim(line + 1);
    p->in_set = !strcmp(name, "set");
    if (p->in_set) return true;
    if (strncmp(name, "stage", 5) || !strchr(" \t", name[5]))
        return fail(p->path, p->line, "unknown section [%.80s], expected [set] or [stage NAME]", name);
    name = recipe_trim(name + 5);
    if (!pipeline_name_ok(name))
        return fail(p->path, p->line, "[stage NAME]: '%.80s', expected a name of letters, digits, _ . + -", name);
    for (size_t i = 0; i < p->n_sections; i++)
        if (!strcmp(p->section[i].name, name))
            return fail(p->path, p->line, "[stage %s] stands in line %d already", name, (int)p->section[i].line);
    if (!grow((void **)&p->section, &p->section_capacity, p->n_sections + 1, sizeof *p->section)) return false;
    memset(&p->section[p->n_sections], 0, sizeof *p->section);
    p->section[p->n_sections].line = p->line;
    return (p->section[p->n_sections++].name = pipeline_copy(p, name, strlen(name))) != NULL;
}

static bool pipeline_again(const pipeline *p, const pipeline_key *k, int n, const char *name) {
    for (int i = 0; i < n; i++)
        if (!strcmp(k[i].name, name)) return fail(p->path, p->line, "'%s' stands in line %d already", name, (int)k[i].line);
    return true;
}

// A name of [set] or foreach.
static bool pipeline_variable_ok(const pipeline *p, const char *name) {
    if (!pipeline_name_ok(name))
        return fail(p->path, p->line, "'%.80s': expected a name of letters, digits, _ . + -", name);
    return strcmp(name, "here") || fail(p->path, p->line, "'here' is the folder in which the recipe lies");
}

// What kind of key it is; its name without the word before.
static bool pipeline_kind(pipeline *p, char **name) {
    const pipeline_section *x = p->n_sections ? &p->section[p->n_sections - 1] : NULL;
    size_t n = strcspn(*name, " \t");
    char *rest = recipe_trim(*name + n);
    if (p->in_set) {
        p->open = PIPELINE_SET;
        return pipeline_variable_ok(p, *name) && pipeline_again(p, p->set, (int)p->n_set, *name);
    }
    if (!x) return fail(p->path, p->line, "'%.80s' stands before the first section", *name);
    if (n == 3 && !strcmp(*name, "run")) {
        p->open = PIPELINE_RUN;
        return pipeline_again(p, &x->run, x->run.name != NULL, *name);
    }
    if (n == 7 && !strncmp(*name, "foreach", n) && *rest) {
        p->open = PIPELINE_LOOP;
        if (x->n_loops == PIPELINE_MAX_LOOPS) return fail(p->path, p->line, "more than %d foreach", PIPELINE_MAX_LOOPS);
        return pipeline_variable_ok(p, *name = rest) && pipeline_again(p, x->loop, x->n_loops, rest);
    }
    if (n == 5 && !strncmp(*name, "write", n) && *rest) {
        p->open = PIPELINE_WRITE;
        if (x->n_writes == PIPELINE_MAX_WRITES) return fail(p->path, p->line, "more than %d texts", PIPELINE_MAX_WRITES);
        return pipeline_again(p, x->write, x->n_writes, *name = rest);
    }
    return fail(p->path, p->line, "unknown key '%.80s' in [stage %s], expected run, foreach NAME or write FILE", *name,
                x->name);
}

static bool pipeline_begin_key(pipeline *p, char *line) {
    char *equals = strchr(line, '='), *name = line, *value;
    if (!equals) return fail(p->path, p->line, "'%.80s': expected [section], key = value, or # and a comment", line);
    *equals = 0;
    name = recipe_trim(name);
    value = recipe_trim(equals + 1);
    if (!pipeline_kind(p, &name)) return false;
    if (p->open == PIPELINE_WRITE && *value)
        return fail(p->path, p->line, "write %.80s: the text begins in the next line, behind blanks", name);
    p->key.name = pipeline_copy(p, name, strlen(name));
    p->key.line = p->line;
    p->key.first = *value ? p->line : p->line + 1;
    p->value_size = 0;
    return p->key.name && (!*value || pipeline_append(p, value));
}

static bool pipeline_read_line(pipeline *p, char *line) {
    char *text = line + strspn(line, " \t");
    bool indented = text > line;
    if (p->open != PIPELINE_NOWHERE && (indented || !*text)) return pipeline_append(p, *text ? line : "");
    if (!*text || *text == '#' || *text == ';') return true;
    if (indented) return fail(p->path, p->line, "'%.80s': it begins with a blank, but no key is above it", text);
    line = recipe_trim(line);
    if (!pipeline_end_key(p)) return false;
    return *line == '[' ? pipeline_begin_section(p, line) : pipeline_begin_key(p, line);
}

static char *pipeline_load(pipeline *p, size_t *size) {
    const char *why;
    FILE *f = files_open(p->path, &why);
    char *text = f ? (char *)pipeline_alloc(p, PIPELINE_MAX_BYTES + 2) : NULL;
    if (!f) return fail(p->path, 0, "%s", why), NULL;
    *size = text ? fread(text, 1, PIPELINE_MAX_BYTES + 1, f) : 0;
    if (text && ferror(f)) text = (fail(p->path, 0, "%s", strerror(errno)), NULL);
    fclose(f);
    if (text && *size > PIPELINE_MAX_BYTES)
        text = (fail(p->path, 0, "more than %d bytes: this is no recipe", PIPELINE_MAX_BYTES), NULL);
    return text;
}

static bool pipeline_lines(pipeline *p, char *text, size_t size) {
    size_t at = recipe_mark(text, size);
    if (at == RECIPE_UTF16) return fail(p->path, 1, "UTF-16 text, expected UTF-8");
    while (at < size) {
        char *end = (char *)memchr(text + at, '\n', size - at);
        size_t n = end ? (size_t)(end - text) - at : size - at;
        p->line++;
        if (memchr(text + at, 0, n)) return fail(p->path, p->line, "a NUL byte: this is no text");
        text[at + n] = 0;
        if (n && text[at + n - 1] == '\r') text[at + n - 1] = 0;
        if (!pipeline_read_line(p, text + at)) return false;
        at += n + 1;
    }
    return pipeline_end_key(p);
}

// --set may only change what the recipe has.
static bool pipeline_check_given(const pipeline *p) {
    for (int i = 0; i < p->given->n; i++) {
        const char *word = p->given->word[i], *equals = strchr(word, '=');
        bool known = false;
        char name[80], meant[80] = "";
        if (!equals) return usage("--set %s: expected NAME=VALUE", word), false;
        snprintf(name, sizeof name, "%.*s", (int)(equals - word > 79 ? 79 : equals - word), word);
        for (size_t k = 0; k < p->n_set && !known; k++) known = !strcmp(p->set[k].name, name);
        for (size_t k = 0; k < p->n_set && !*meant; k++) recipe_meant(p->set[k].name, name, meant);
        if (!known) return fail(p->path, 0, "--set %s: [set] has no such name%s", word, meant);
    }
    return true;
}

// path, here and given must outlive p. pipeline_close in any case.
static bool pipeline_read(pipeline *p, const char *path, const char *here, const list_option *given) {
    size_t size;
    char *text;
    memset(p, 0, sizeof *p);
    p->path = path;
    p->here = here;
    p->given = given;
    text = pipeline_load(p, &size);
    if (!text || !pipeline_lines(p, text, size) || !pipeline_check_given(p)) return false;
    if (!p->n_sections) return fail(path, 0, "a section [stage NAME] is missing");
    for (size_t i = 0; i < p->n_sections; i++) {
        const pipeline_section *x = &p->section[i];
        if (!x->run.name) return fail(path, x->line, "[stage %s]: the key 'run' is missing", x->name);
        if (!pipeline_unroll(p, x, 0)) return false;
    }
    return true;
}
