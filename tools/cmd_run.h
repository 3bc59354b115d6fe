// cmd_run.h - the command run: the stages of a pipeline, of which those run whose command or inputs are others now.
// Part of kpd.c, below all other commands, parse.h and pipeline.h.
// Contents: >>files >>reads >>order >>stamps >>stale >>delta >>stages >>run
//
// All paths are relative to the pipeline's folder, in which the program stands while it runs. Each stage is a process of its
// own, so that one that crashes is reported and its memory goes.

// >>files  What stages write and read. ------------------------------------------------------------------------------

static const char RUN_STAMPS[] = "kpd-run.stamps", RUN_ITEMS[] = "kpd-run.items";

typedef struct run_file {
    const char *path;
    pipeline_stage *writer;             // NULL = it comes from outside
    const pipeline_text *text;          // of `write`, or NULL
    bool known, there; uint64_t hash;   // what it holds; of a text: what it is to hold
} run_file;

typedef struct run_stamp_file { const char *path; uint64_t hash; bool there; } run_stamp_file;

typedef enum run_state { RUN_OPEN, RUN_BEGUN, RUN_DONE, RUN_DELTA } run_state;

typedef struct run_stamp {              // of a stage that ran; see >>stamps
    const char *stage, *build, *run;
    run_state state;
    uint64_t basis;                     // see >>delta
    double seconds, cpu;                // that it took; 0 = not known
    run_stamp_file *in, *out;
    size_t n_in, n_out, in_capacity, out_capacity;
} run_stamp;

enum { RUN_JOBS = 16 };

typedef struct run_slot {               // of a stage that runs; stage NULL = free
    pipeline_stage *stage;
    output redirect;
    double begun;
    int at;                             // its number
    bool update;                        // by --delta
} run_slot;

typedef struct flow {
    job *j;
    pipeline p;
    run_file *file; size_t n_files, file_capacity;
    pipeline_stage **order; size_t n_order;
    run_stamp *stamp; size_t n_stamps, stamp_capacity;
    recipe *train;                      // of the stage in hand
    const char *dir;
    char here[FILES_MAX_PATH], why[800], build[40];
    bool made_dir;
    int back, ran, all;                 // back: the folder from which it came, -1 = none
    run_slot slot[RUN_JOBS]; int n_running;
    bool *runs, failed;                 // [p.n_stages]; one has failed, and the others were told to stop
} flow;

// 64 bits over eight bytes at a time: known from one another are versions of a file, not the work of an enemy.
static uint64_t run_mix(uint64_t sum, uint64_t word) {
    sum = (sum ^ word) * 0x9E3779B97F4A7C15u;
    return sum ^ sum >> 29;
}

static uint64_t run_hash(uint64_t sum, const char *data, size_t n) {
    uint64_t word;
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        memcpy(&word, data + i, 8);
        sum = run_mix(sum, word);
    }
    word = 0;
    memcpy(&word, data + i, n - i);
    return run_mix(run_mix(sum, word), n);
}

// there = false: no regular file can be read at the path.
static void run_hash_file(run_file *x) {
    enum { PIECE = 1 << 20 };           // a multiple of 8, so that only the last one ends otherwise
    const char *why;
    FILE *f = files_open(x->path, &why);
    char *piece = f ? (char *)malloc(PIECE) : NULL;
    size_t n;
    x->known = true;
    x->there = piece != NULL;
    x->hash = 0;
    while (piece && (n = fread(piece, 1, PIECE, f)) > 0) x->hash = run_hash(x->hash, piece, n);
    if (piece && ferror(f)) x->there = false;
    free(piece);
    if (f) fclose(f);
}

static uint64_t run_hash_text(const char *text) { return run_hash(0, text, strlen(text)); }

// a/./b//c/../d is a/b/d; NULL after a message.
static char *run_path(flow *f, int32_t line, const char *path) {
    char *out = pipeline_copy(&f->p, path, strlen(path)), *end = out;
    if (!out) return NULL;
    if (strlen(path) > 4000) return fail(f->p.path, line, "a path longer than 4000 bytes"), NULL;
    for (const char *s = path; *s; s++)
        if ((unsigned char)*s < ' ') return fail(f->p.path, line, "'%.80s': a path with a control character", path), NULL;
    if (*path == '/') *end++ = '/';
    for (const char *s = path + strspn(path, "/"); *s; s += strspn(s, "/")) {
        size_t n = strcspn(s, "/");
        char *last = end;
        while (last > out && last[-1] != '/') last--;
        if (n == 2 && !memcmp(s, "..", 2) && end > out && strncmp(last, "..", 2) && last[0] != '/') {
            end = last > out && last - 1 > out ? last - 1 : last;
        } else if (n != 1 || *s != '.') {
            if (end > out && end[-1] != '/') *end++ = '/';
            memmove(end, s, n);
            end += n;
        }
        s += n;
    }
    if (end == out) *end++ = '.';
    *end = 0;
    return out;
}

static bool run_is_below(const char *path, const char *dir) {
    size_t n = strlen(dir);
    return !strncmp(path, dir, n) && path[n] == '/';
}

// What a kill left of files that were being written: while this folder is locked nobody writes here.
static void run_clean(const char *path) {
    char temp[4200];
    for (int i = 0; i < 10; i++) {
        snprintf(temp, sizeof temp, "%.4000s.%d.tmp", path, i);
        remove(temp);
    }
}

static run_file *run_find(const flow *f, const char *path) {
    for (size_t i = 0; i < f->n_files; i++)
        if (!strcmp(f->file[i].path, path)) return &f->file[i];
    return NULL;
}

static run_file *run_add(flow *f, const char *path) {
    run_file *x;
    if (!grow((void **)&f->file, &f->file_capacity, f->n_files + 1, sizeof *f->file)) return NULL;
    x = &f->file[f->n_files++];
    memset(x, 0, sizeof *x);
    x->path = path;
    return x;
}

// Room for one more in a list of a stage's files: grow's thousand would be too much of it, as there are many stages.
static bool run_room(void **list, size_t n, size_t *capacity, size_t size) {
    size_t room = *capacity * 2 + 8;
    void *more;
    if (n < *capacity) return true;
    more = realloc(*list, room * size);
    if (!more) return fail(NULL, 0, "out of memory: %zu files of a stage", room);
    *list = more;
    *capacity = room;
    return true;
}

static bool run_list(size_t **list, size_t *n, size_t *capacity, size_t at) {
    for (size_t i = 0; i < *n; i++)
        if ((*list)[i] == at) return true;
    if (!run_room((void **)list, *n, capacity, sizeof **list)) return false;
    (*list)[(*n)++] = at;
    return true;
}

static bool run_writes(flow *f, pipeline_stage *x, const char *name, const pipeline_text *text) {
    char *path = run_path(f, x->line, name);
    run_file *file = path ? run_find(f, path) : NULL;
    if (!path) return false;
    if (file)
        return fail(f->p.path, x->line, "stage %s writes %s, as stage %s does (line %d)", x->name, path, file->writer->name,
                    (int)file->writer->line);
    if (!strcmp(path, RUN_STAMPS) || !strcmp(path, RUN_ITEMS) || run_is_below(path, RUN_ITEMS))
        return fail(f->p.path, x->line, "%s is where `kpd run` keeps what it knows of its stages", path);
    file = run_add(f, path);
    if (!file) return false;
    file->writer = x;
    file->text = text;
    return run_list(&x->out, &x->n_out, &x->out_capacity, (size_t)(file - f->file));
}

// >>reads  What the command line of a stage reads and writes. --------------------------------------------------------

// The command line as the command will see it; *j is to be closed in any case.
static bool run_parse(flow *f, const pipeline_stage *x, const command **c, job *j) {
    int n_words, status;
    job_begin(j, f->j->program);
    snprintf(g_where, sizeof g_where, "%.4000s:%d: ", f->p.path, (int)x->line);
    *c = find_command(f->j->commands, f->j->n_commands, x->n_words, x->word, &n_words);
    if (!*c) status = unknown_command(f->j->commands, f->j->n_commands, x->n_words, x->word);
    else status = parse(*c, x->n_words - n_words, x->word + n_words, j);
    g_where[0] = 0;
    return status == DONE;
}

static bool run_refuses(const flow *f, const pipeline_stage *x, const command *c, const options *o) {
    static int (*const in_place[])(job *) = {run_index_add, run_index_remove, run_index_compact, run_index_merge,
                                             run_index_tune};
    if (c->run == run_bench || c->run == run_export || !strcmp(c->name, "demo") || !strcmp(c->name, "run"))
        return !fail(f->p.path, x->line, "%s: not a stage, as what it writes is not known before", c->name);
    for (size_t i = 0; i < sizeof in_place / sizeof *in_place; i++)
        if (c->run == in_place[i])
            return !fail(f->p.path, x->line, "%s: not a stage, as it changes the file that it reads; `index build` makes a "
                         "new one", c->name);
    if (o->force || o->resume || o->export_to || o->update)
        return !fail(f->p.path, x->line, "%s: without --force, --resume, --update and --export, since `kpd run` sees to that",
                     c->name);
    return false;
}

// The recipe of a training, as far as it can be read before its files are there.
static bool run_train_recipe(flow *f, const pipeline_stage *x, const char *name) {
    char *path = run_path(f, x->line, name);
    const run_file *file = path ? run_find(f, path) : NULL;
    if (!path) return false;
    recipe_close(f->train);
    if (file && !file->text)
        return fail(f->p.path, x->line, "%s: stage %s makes it, so that nobody knows now what it will hold; expected a file "
                    "that is there, or a `write`", path, file->writer->name);
    if (!file && !file_exists(path))
        return fail(f->p.path, x->line, "%s: no such file, and no stage has a `write` of it", path);
    return recipe_read_plan(f->train, path, file ? file->text->text : NULL, f->p.path, file ? file->text->first : 1) ||
           fail(NULL, 0, "%s", f->train->error);
}

static bool run_writes_in(flow *f, pipeline_stage *x, const char *dir, const char *name) {
    char path[4300];
    snprintf(path, sizeof path, "%.4000s/%.255s", dir, name);
    return run_writes(f, x, path, NULL);
}

static bool run_outputs(flow *f, pipeline_stage *x) {
    job j;
    const command *c;
    bool ok = run_parse(f, x, &c, &j) && !run_refuses(f, x, c, &j.o), is_file = j.o.output && strcmp(j.o.output, "-");
    if (ok && c->run == run_train) {
        ok = run_train_recipe(f, x, j.arg[0]);
        for (int i = 0; ok && i < N_TRAIN_FILES; i++)
            if (i != BEST || f->train->at_dev.line) ok = run_writes_in(f, x, f->train->train.output, TRAIN_FILES[i]);
    } else if (ok && c->run == run_simulate) {
        for (int i = 0; ok && is_file && shop_get_file(i).name; i++)
            ok = run_writes_in(f, x, j.o.output, shop_get_file(i).name);
    } else if (ok && is_file) ok = run_writes(f, x, j.o.output, NULL);
    for (int i = 0; ok && i < N_OPTIONS; i++) {
        const option *p = &OPTIONS[i];
        const char *value = p->kind == FILE_NAME ? *(const char *const *)((const char *)&j.o + p->field) : NULL;
        if (value && p->field != FIELD(output) && !is_input_option(p)) ok = run_writes(f, x, value, NULL);
    }
    if (ok && x->redirect) ok = run_writes(f, x, x->redirect, NULL);
    if (ok && x->n_out == (size_t)x->n_writes)
        ok = fail(f->p.path, x->line, "%s: it writes no file; expected -o FILE, or > FILE at the end", c->name);
    if (ok) x->result = is_file ? pipeline_copy(&f->p, j.o.output, strlen(j.o.output)) : x->redirect;
    job_close(&j);
    return ok;
}

static bool run_reads_file(flow *f, pipeline_stage *x, const char *path) {
    run_file *file = run_find(f, path);
    if (file && file->writer == x && !file->text)
        return fail(f->p.path, x->line, "stage %s reads %s, which it writes", x->name, path);
    if (!file) file = run_add(f, path);
    return file && run_list(&x->in, &x->n_in, &x->in_capacity, (size_t)(file - f->file));
}

// All files there are below a folder.
static bool run_reads_folder(flow *f, pipeline_stage *x, const char *dir, int depth) {
    const struct dirent *entry;
    DIR *d = opendir(dir);
    bool ok = true;
    if (!d) return true;
    while (ok && (entry = readdir(d)) != NULL) {
        size_t n = strlen(dir) + strlen(entry->d_name) + 2;
        char *path = entry->d_name[0] == '.' || n > 4000 ? NULL : (char *)pipeline_alloc(&f->p, n);
        struct stat st;
        if (!path) continue;            // hidden files are nobody's input
        snprintf(path, n, "%s/%s", dir, entry->d_name);
        if (stat(path, &st)) continue;
        if (S_ISDIR(st.st_mode) && depth < 8) ok = run_reads_folder(f, x, path, depth + 1);
        else if (S_ISREG(st.st_mode)) ok = run_reads_file(f, x, path);
    }
    closedir(d);
    return ok;
}

// A file, or a folder: what stages write there, or else what is there.
static bool run_reads_one(flow *f, pipeline_stage *x, const char *name) {
    char *path = run_path(f, x->line, name);
    size_t n_files = f->n_files, found = x->n_in;
    struct stat st;
    if (!path) return false;
    if (!strcmp(name, "-")) return fail(f->p.path, x->line, "a stage has no standard input; expected a file in place of -");
    if (run_find(f, path)) return run_reads_file(f, x, path);
    for (size_t i = 0; i < n_files; i++)
        if (f->file[i].writer && f->file[i].writer != x && run_is_below(f->file[i].path, path) &&
            !run_reads_file(f, x, f->file[i].path)) return false;
    if (x->n_in > found) return true;
    return !stat(path, &st) && S_ISDIR(st.st_mode) ? run_reads_folder(f, x, path, 0) : run_reads_file(f, x, path);
}

// The same, or several with commas between them.
static bool run_reads(flow *f, pipeline_stage *x, const char *name) {
    char *list = pipeline_copy(&f->p, name, strlen(name)), *path = list ? run_path(f, x->line, name) : NULL;
    if (!path) return false;
    if (run_find(f, path) || file_exists(path)) return run_reads_one(f, x, name);
    for (char *comma; list; list = comma) {
        comma = strchr(list, ',');
        if (comma) *comma++ = 0;
        if (!run_reads_one(f, x, list)) return false;
    }
    return true;
}

// Appends the files of a word with *, in the order of the stages; a comma at its end makes them one word with commas between.
static bool run_expand_word(flow *f, const pipeline_stage *x, const char *pattern, char **word, int *n) {
    size_t length = strlen(pattern);
    bool list = length && pattern[length - 1] == ',', ok = true;
    pipeline_buffer joined = {0};
    char *name = pipeline_copy(&f->p, pattern, length - list);
    for (size_t k = 0; name && ok && k < f->n_files; k++) {
        const run_file *file = &f->file[k];
        if (!file->writer || file->writer == x || fnmatch(name, file->path, FNM_PATHNAME)) continue;
        if (list) ok = pipeline_add(&joined, ",", joined.n != 0) && pipeline_add(&joined, file->path, strlen(file->path));
        else word[(*n)++] = pipeline_copy(&f->p, file->path, strlen(file->path));
    }
    if (joined.n) word[(*n)++] = pipeline_copy(&f->p, joined.text, joined.n);
    free(joined.text);
    return name && ok;
}

static bool run_expand(flow *f, pipeline_stage *x) {
    size_t most = 1;
    char **word;
    int n = 0;
    for (int i = 0; i < x->n_words; i++) most += strchr(x->word[i], '*') ? f->n_files + 1 : 1;
    if (most == (size_t)x->n_words + 1) return true;
    word = (char **)pipeline_alloc(&f->p, most * sizeof *word);
    for (int i = 0; word && i < x->n_words; i++) {
        int before = n;
        if (!strchr(x->word[i], '*') || x->word[i][0] == '-') { word[n++] = x->word[i]; continue; }
        if (!run_expand_word(f, x, x->word[i], word, &n)) return false;
        if (n == before) return fail(f->p.path, x->line, "%s: no stage writes a file of such a name", x->word[i]);
    }
    x->word = word;
    x->n_words = n;
    return word != NULL;
}

typedef struct run_reader { flow *f; pipeline_stage *x; } run_reader;

static bool run_train_reads(void *user, const char *path) {
    const run_reader *r = (const run_reader *)user;
    return run_reads(r->f, r->x, path);
}

static bool run_train_inputs(flow *f, pipeline_stage *x, const char *name) {
    run_reader r = {f, x};
    return run_train_recipe(f, x, name) && recipe_each_file(f->train, run_train_reads, &r);
}

// Text that is not given is the standard input, which a stage has not.
static bool run_needs_input(const flow *f, const pipeline_stage *x, const command *c, int n) {
    static int (*const of_text[])(job *) = {run_embed, run_score, run_tokenize, run_label_ctr, run_label_sr,
                                            run_label_group, run_llm_prompts, run_eval_pairs};
    bool missing = (c->run == run_recommend && n < 4) || (c->run == run_judge && n < 2);
    for (size_t i = 0; i < sizeof of_text / sizeof *of_text; i++)
        missing = missing || (c->run == of_text[i] && n < c->max_args);
    return missing && !fail(f->p.path, x->line, "%s: a stage has no standard input; expected a file: kpd %s", c->name, c->use);
}

static void run_sort(const flow *f, pipeline_stage *x) {
    for (size_t i = 1; i < x->n_in; i++) {
        size_t at = x->in[i], k = i;
        for (; k && strcmp(f->file[x->in[k - 1]].path, f->file[at].path) > 0; k--) x->in[k] = x->in[k - 1];
        x->in[k] = at;
    }
}

// >>delta says what is followed. False after a message.
static bool run_follow(flow *f, pipeline_stage *x, const command *c, const job *j) {
    const char *name = c->run == run_index_build ? j->arg[1] : c->run == run_recommend ? j->arg[3] : NULL, *path, *dot;
    const run_file *file;
    char copy[80];
    if (!name || j->o.earlier_items) return true;
    if ((path = run_path(f, x->line, name)) == NULL) return false;
    if ((file = run_find(f, path)) == NULL || file->writer == x) return true;       // several, or a text of its own: few
    x->follows = true;
    x->followed = x->index = (size_t)(file - f->file);
    if (c->run == run_index_build) return true;
    if ((path = run_path(f, x->line, j->arg[2])) == NULL) return false;
    if ((file = run_find(f, path)) != NULL && file->writer != x) x->index = (size_t)(file - f->file);
    dot = strrchr(name, '.');           // which says what format it has
    snprintf(copy, sizeof copy, "%s/%016llx%s", RUN_ITEMS, (unsigned long long)run_hash_text(x->result),
             dot && strlen(dot) < 12 && !strchr(dot, '/') ? dot : "");
    return (x->copy = pipeline_copy(&f->p, copy, strlen(copy))) != NULL;
}

static bool run_inputs(flow *f, pipeline_stage *x) {
    job j;
    const command *c;
    int n = 0;
    bool ok = run_expand(f, x), learns;
    if (!ok) return false;
    if (!run_parse(f, x, &c, &j)) return job_close(&j), false;
    while (j.arg[n]) n++;
    learns = c->run == run_train || c->run == run_gradients;
    ok = !run_needs_input(f, x, c, n);
    for (int i = 0; ok && i < x->n_writes; i++) ok = run_reads(f, x, x->write[i].path);
    if (ok && learns) ok = run_train_inputs(f, x, j.arg[0]);
    for (int i = learns; ok && i < n; i++)
        if (c->run != run_recommend || i != 1 || strcmp(j.arg[i], "-")) ok = run_reads(f, x, j.arg[i]);
    for (int i = 0; ok && i < N_OPTIONS; i++) {
        const option *p = &OPTIONS[i];
        const char *value = p->kind == FILE_NAME ? *(const char *const *)((const char *)&j.o + p->field) : NULL;
        if (value && is_input_option(p)) ok = run_reads(f, x, value);
    }
    if (ok) ok = run_follow(f, x, c, &j);
    run_sort(f, x);
    job_close(&j);
    return ok;
}

// >>order  A stage comes behind those whose files it reads. --------------------------------------------------------

enum { RUN_NOT_SEEN, RUN_IN_HAND, RUN_PLACED };

static bool run_place(flow *f, pipeline_stage *x, int depth) {
    x->mark = RUN_IN_HAND;
    if (depth > 2000) return fail(f->p.path, x->line, "more than 2000 stages that wait for each other");
    for (size_t i = 0; i < x->n_in; i++) {
        const run_file *file = &f->file[x->in[i]];
        if (!file->writer || file->writer == x || file->writer->mark == RUN_PLACED) continue;
        if (file->writer->mark == RUN_IN_HAND)
            return fail(f->p.path, x->line, "a circle: stage %s reads %s, but stage %s (line %d), which writes it, waits for "
                        "it", x->name, file->path, file->writer->name, (int)file->writer->line);
        if (!run_place(f, file->writer, depth + 1)) return false;
    }
    x->mark = RUN_PLACED;
    f->order[f->n_order++] = x;
    return true;
}

static bool run_is_called(const pipeline_stage *x, const char *only) {
    return !strcmp(only, x->name) || !strcmp(only, x->section);
}

// By one of --only, or there is none.
static bool run_is_named(const flow *f, const pipeline_stage *x) {
    const list_option *only = &f->j->o.only;
    for (int i = 0; i < only->n; i++)
        if (run_is_called(x, only->word[i])) return true;
    return !only->n;
}

static bool run_unknown_stage(const flow *f, const char *only) {
    char meant[80] = "";
    for (size_t i = 0; i < f->p.n_sections && !*meant; i++) recipe_meant(f->p.section[i].name, only, meant);
    return fail(f->p.path, 0, "--only %s: there is no such stage%s", only, meant);
}

// Of stages that are to run.
static bool run_check_missing(const flow *f) {
    for (size_t i = 0; i < f->n_order; i++) {
        const pipeline_stage *x = f->order[i];
        for (size_t k = 0; x->selected && k < x->n_in; k++) {
            const run_file *file = &f->file[x->in[k]];
            if (!file->writer && !file_exists(file->path))
                return fail(f->p.path, x->line, "%s: no such file, and no stage writes it", file->path);
        }
    }
    return true;
}

static bool run_plan(flow *f) {
    pipeline *p = &f->p;
    const list_option *only = &f->j->o.only;
    for (size_t i = 0; i < p->n_stages; i++)
        for (int k = 0; k < p->stage[i].n_writes; k++)
            if (!run_writes(f, &p->stage[i], p->stage[i].write[k].path, &p->stage[i].write[k])) return false;
    for (size_t i = 0; i < p->n_stages; i++)
        if (!run_outputs(f, &p->stage[i])) return false;
    for (size_t i = 0; i < p->n_stages; i++)
        if (!run_inputs(f, &p->stage[i])) return false;
    f->order = (pipeline_stage **)pipeline_alloc(p, p->n_stages * sizeof *f->order);
    if (!f->order) return false;
    for (size_t i = 0; i < p->n_stages; i++)            // all, since a circle is a mistake wherever it is
        if (p->stage[i].mark == RUN_NOT_SEEN && !run_place(f, &p->stage[i], 0)) return false;
    for (size_t i = f->n_order; i-- > 0;) {             // from the end: what a selected one reads is selected too
        pipeline_stage *x = f->order[i];
        x->selected = x->selected || run_is_named(f, x);
        for (size_t k = 0; x->selected && k < x->n_in; k++)
            if (f->file[x->in[k]].writer) f->file[x->in[k]].writer->selected = true;
    }
    for (int k = 0; k < only->n; k++) {
        size_t i = 0;
        while (i < p->n_stages && !run_is_called(&p->stage[i], only->word[k])) i++;
        if (i == p->n_stages) return run_unknown_stage(f, only->word[k]);
    }
    return run_check_missing(f);
}

// >>stamps  A small text of what each stage was made of and made: ----------------------------------------------------
//
//     kpd run TAB 1
//     stage TAB NAME; state TAB done, delta (brought up to date), begun (a training that can be gone on with) or open (its
//     files are not to be trusted); kpd TAB version and ABI; run TAB the command line; took TAB seconds TAB CPU
//     seconds; basis TAB see >>delta; in TAB hash TAB file and out TAB hash TAB file, - where there is none
//     sum TAB the hash of all above

static const char RUN_HEAD[] = "kpd run\t1\n";
static const char *const RUN_STATES[] = {"open", "begun", "done", "delta"};

static run_stamp *run_stamp_of(flow *f, const char *stage) {
    for (size_t i = 0; i < f->n_stamps; i++)
        if (!strcmp(f->stamp[i].stage, stage)) return &f->stamp[i];
    return NULL;
}

static bool run_stamp_add(run_stamp_file **list, size_t *n, size_t *capacity, const char *path, bool there, uint64_t hash) {
    if (!run_room((void **)list, *n, capacity, sizeof **list)) return false;
    (*list)[*n].path = path;
    (*list)[*n].there = there;
    (*list)[(*n)++].hash = hash;
    return true;
}

static bool run_bad_stamps(int64_t line, const char *what) {
    return fail(RUN_STAMPS, line, "%s; --force makes all anew", what);
}

static bool run_parse_hash(const char *text, const char *end, uint64_t *out) {
    char *stop;
    *out = strtoull(text, &stop, 16);
    return stop == end && end - text == 16;
}

// hash TAB path
static bool run_parse_file(run_stamp *s, bool out, char *text) {
    char *tab = strchr(text, '\t');
    uint64_t hash = 0;
    bool there = *text != '-';
    if (!tab || !tab[1] || (there ? !run_parse_hash(text, tab, &hash) : tab - text != 1)) return false;
    return out ? run_stamp_add(&s->out, &s->n_out, &s->out_capacity, tab + 1, there, hash)
               : run_stamp_add(&s->in, &s->n_in, &s->in_capacity, tab + 1, there, hash);
}

static bool run_parse_stamp(flow *f, char *line) {
    char *value = strchr(line, '\t');
    run_stamp *s = f->n_stamps ? &f->stamp[f->n_stamps - 1] : NULL;
    if (!value) return false;
    *value++ = 0;
    if (!strcmp(line, "stage")) {
        if (!grow((void **)&f->stamp, &f->stamp_capacity, f->n_stamps + 1, sizeof *f->stamp)) return false;
        s = &f->stamp[f->n_stamps++];
        memset(s, 0, sizeof *s);
        s->stage = value;
        s->build = s->run = "";
        return true;
    }
    if (!s) return false;
    if (!strcmp(line, "kpd")) s->build = value;
    else if (!strcmp(line, "run")) s->run = value;
    else if (!strcmp(line, "state")) {
        for (int i = RUN_OPEN; i <= RUN_DELTA; i++)
            if (!strcmp(value, RUN_STATES[i])) return s->state = (run_state)i, true;
        return false;
    } else if (!strcmp(line, "took")) return sscanf(value, "%lf %lf", &s->seconds, &s->cpu) == 2;
    else if (!strcmp(line, "basis")) return run_parse_hash(value, value + strlen(value), &s->basis);
    else return (!strcmp(line, "in") || !strcmp(line, "out")) && run_parse_file(s, *line == 'o', value);
    return true;
}

// Who changed them by hand, or another version's, would have us trust what nobody knows.
static bool run_parse_stamps(flow *f, char *text, size_t n) {
    char sum[40], *line = text + sizeof RUN_HEAD - 1;
    size_t head = sizeof RUN_HEAD - 1, tail;
    if (n < 8 || memcmp(text, "kpd run\t", 8)) return run_bad_stamps(1, "not the stamps of `kpd run`");
    if (n < head || memcmp(text, RUN_HEAD, head)) return run_bad_stamps(1, "stamps of another version of kpd, expected 1");
    for (tail = n - 1; tail && text[tail - 1] != '\n'; tail--) {}
    snprintf(sum, sizeof sum, "sum\t%016llx\n", (unsigned long long)run_hash(0, text, tail));
    if (strcmp(text + tail, sum)) return run_bad_stamps(0, "its sum is wrong: something else changed it");
    text[tail] = 0;
    for (int64_t number = 2; *line; number++) {
        char *stop = strchr(line, '\n');
        *stop = 0;                      // text ends with a line's end
        if (!run_parse_stamp(f, line)) return run_bad_stamps(number, "no line of stamps");
        line = stop + 1;
    }
    return true;
}

static bool run_read_stamps(flow *f, bool trust) {
    const char *why;
    long n;
    char *text;
    FILE *file = file_exists(RUN_STAMPS) ? files_open(RUN_STAMPS, &why) : NULL;
    bool ok = true;
    if (!file) return !file_exists(RUN_STAMPS) || fail(RUN_STAMPS, 0, "%s", why);
    n = !fseek(file, 0, SEEK_END) ? ftell(file) : -1;
    text = n >= 0 && n < 1L << 30 ? (char *)pipeline_alloc(&f->p, (size_t)n + 1) : NULL;
    if (!text || fseek(file, 0, SEEK_SET) || fread(text, 1, (size_t)n, file) != (size_t)n)
        ok = fail(RUN_STAMPS, 0, "cannot be read");
    fclose(file);
    if (ok && !run_parse_stamps(f, text, (size_t)n)) {
        ok = !trust;
        f->n_stamps = 0;
    }
    return ok;
}

static void run_put_files(FILE *f, const char *name, const run_stamp_file *list, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (list[i].there) fprintf(f, "%s\t%016llx\t%s\n", name, (unsigned long long)list[i].hash, list[i].path);
        else fprintf(f, "%s\t-\t%s\n", name, list[i].path);
}

static bool run_write_stamps(flow *f) {
    char *text = NULL;
    size_t n = 0;
    output out = {0};
    FILE *m = open_memstream(&text, &n);
    bool ok = m || fail(RUN_STAMPS, 0, "%s", strerror(errno));
    if (!ok) return false;
    fputs(RUN_HEAD, m);
    for (size_t i = 0; i < f->n_stamps; i++) {
        const run_stamp *s = &f->stamp[i];
        fprintf(m, "stage\t%s\nstate\t%s\nkpd\t%s\nrun\t%s\n", s->stage, RUN_STATES[s->state], s->build, s->run);
        if (s->seconds > 0) fprintf(m, "took\t%.3f\t%.3f\n", s->seconds, s->cpu);
        if (s->basis) fprintf(m, "basis\t%016llx\n", (unsigned long long)s->basis);
        run_put_files(m, "in", s->in, s->n_in);
        run_put_files(m, "out", s->out, s->n_out);
    }
    ok = !ferror(m);
    ok = !fclose(m) && ok;
    if (!ok) fail(RUN_STAMPS, 0, "out of memory");
    ok = ok && output_open(&out, RUN_STAMPS);
    if (ok) fprintf(out.file, "%.*ssum\t%016llx\n", (int)n, text, (unsigned long long)run_hash(0, text, n));
    free(text);
    return ok && output_commit(&out);
}

// A path as stamps have it: the recipe's folder may move.
static const char *run_stamp_path(flow *f, const char *path) {
    char *out;
    size_t n = strlen(f->here);
    if (strncmp(path, f->here, n) || path[n] != '/') return path;
    out = (char *)pipeline_alloc(&f->p, strlen(path) + 8);
    if (!out) return path;
    sprintf(out, "${here}%s", path + n);
    return out;
}

static bool run_put_word(pipeline_buffer *b, const char *word) {
    bool plain = *word && !word[strspn(word, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./+,:=@%${}")];
    bool ok = pipeline_add(b, plain ? "" : "'", plain ? 0 : 1);
    for (; ok && *word; word++)
        ok = *word == '\'' ? pipeline_add(b, "'\\''", 4)
           : (unsigned char)*word < ' ' ? pipeline_add(b, " ", 1) : pipeline_add(b, word, 1);
    return ok && pipeline_add(b, plain ? "" : "'", plain ? 0 : 1);
}

// The command line of a stage as a shell reads it, or with ${here} as stamps have it.
static const char *run_command_line(flow *f, const pipeline_stage *x, bool stamp) {
    pipeline_buffer b = {0};
    const char *text = NULL;
    bool ok = true;
    for (int i = 0; ok && i < x->n_words; i++)
        ok = pipeline_add(&b, " ", i != 0) && run_put_word(&b, stamp ? run_stamp_path(f, x->word[i]) : x->word[i]);
    if (ok && x->redirect) ok = pipeline_add(&b, " > ", 3) && run_put_word(&b, x->redirect);
    if (ok) text = pipeline_copy(&f->p, b.text, b.n);
    free(b.text);
    return text;
}

static const run_stamp_file *run_stamped(const run_stamp_file *list, size_t n, const char *path) {
    for (size_t i = 0; i < n; i++)
        if (!strcmp(list[i].path, path)) return &list[i];
    return NULL;
}

// >>stale  Whether a stage must run, and why. ------------------------------------------------------------------------

// What a stage reads of a text is what `write` has, whether or not it is written yet.
static void run_look(run_file *x) {
    if (x->text) {
        x->known = x->there = true;
        x->hash = run_hash_text(x->text->text);
    } else if (!x->known) run_hash_file(x);
}

// Whether all that it read is as it was, and its command too.
static bool run_is_same(flow *f, const pipeline_stage *x, const run_stamp *s) {
    const char *line = run_command_line(f, x, true);
    if (strcmp(s->build, f->build)) return snprintf(f->why, sizeof f->why, "it was made by kpd %.80s", s->build), false;
    if (!line || strcmp(s->run, line)) return snprintf(f->why, sizeof f->why, "its command line is another now"), false;
    for (size_t i = 0; i < x->n_in; i++) {
        run_file *file = &f->file[x->in[i]];
        const run_stamp_file *was = run_stamped(s->in, s->n_in, run_stamp_path(f, file->path));
        run_look(file);
        if (!was) return snprintf(f->why, sizeof f->why, "it did not read %.600s before", file->path), false;
        if (was->there != file->there || was->hash != file->hash)
            return snprintf(f->why, sizeof f->why, "%.600s is another now", file->path), false;
    }
    for (size_t i = 0; i < s->n_in && s->n_in != x->n_in; i++) {
        bool found = false;
        for (size_t k = 0; k < x->n_in && !found; k++)
            found = !strcmp(run_stamp_path(f, f->file[x->in[k]].path), s->in[i].path);
        if (!found) return snprintf(f->why, sizeof f->why, "it reads %.600s no more", s->in[i].path), false;
    }
    return true;
}

static bool run_has_outputs(flow *f, const pipeline_stage *x, const run_stamp *s) {
    for (size_t i = 0; i < x->n_out; i++) {
        run_file *file = &f->file[x->out[i]], now = *file;
        const run_stamp_file *was = run_stamped(s->out, s->n_out, file->path);
        if (!was) return snprintf(f->why, sizeof f->why, "it did not write %.600s before", file->path), false;
        run_hash_file(&now);
        if (!file->text) *file = now;
        if (was->there && !now.there) return snprintf(f->why, sizeof f->why, "%.600s is missing", file->path), false;
        if (was->there != now.there || was->hash != now.hash)
            return snprintf(f->why, sizeof f->why, "%.600s is not as it was written", file->path), false;
    }
    return true;
}

// Leaves why in f->why.
static bool run_is_stale(flow *f, const pipeline_stage *x) {
    const run_stamp *s = run_stamp_of(f, x->name);
    if (f->j->o.force && run_is_named(f, x)) return snprintf(f->why, sizeof f->why, "--force"), true;
    if (!s) return snprintf(f->why, sizeof f->why, "it never ran"), true;
    if (s->state == RUN_DELTA && !f->j->o.delta) return snprintf(f->why, sizeof f->why, "--delta made but a part anew"), true;
    if (s->state < RUN_DONE) return snprintf(f->why, sizeof f->why, "it did not end"), true;
    return !run_is_same(f, x, s) || !run_has_outputs(f, x, s);
}

// What nobody knows to come from here is not replaced.
static bool run_check_unknown(flow *f) {
    for (size_t i = 0; i < f->n_files && !f->j->o.force; i++) {
        run_file *file = &f->file[i], now = *file;
        bool known = false, changed = false;
        if (!file->writer || !file->writer->selected || !file_exists(file->path)) continue;
        if (file->text) run_hash_file(&now);
        for (size_t k = 0; k < f->n_stamps && !known; k++) {
            const run_stamp_file *was = run_stamped(f->stamp[k].out, f->stamp[k].n_out, file->path);
            known = was != NULL;
            changed = known && file->text && was->there && was->hash != now.hash;
        }
        if (file->text && now.there && now.hash == run_hash_text(file->text->text)) { known = true; changed = false; }
        if (changed)
            return fail(f->p.path, file->writer->line, "%s/%s is not as this stage wrote it, and would be written anew: put "
                        "what was changed here, then remove it", f->dir, file->path);
        if (!known)
            return fail(f->p.path, file->writer->line, "%s/%s is there already, and no stage is known to have written it; "
                        "remove it, or --force makes all anew", f->dir, file->path);
    }
    return true;
}

// >>delta  An index and lists are brought up to date where nothing has changed but keyphrases and items. ----------------------
//
// An index of `index build` follows its keyphrases, lists of `recommend` their items and, where a stage makes it so, their
// index. Items as the lists have them are kept in kpd-run.items, under a name by that of the lists; they are trusted where
// they hash as the stamp says that the items did. Stamps stay until the end, so that a kill costs nothing but, between the end
// of the command and the stamp, that all is made anew.

// A hash of all that a stage is made of but what it follows; of an index that follows, of what that one is made of.
static uint64_t run_basis(flow *f, const pipeline_stage *x) {
    const char *line = run_command_line(f, x, true);
    uint64_t sum = run_hash_text(f->build);
    if (line) sum = run_hash(sum, line, strlen(line));
    for (size_t i = 0; i < x->n_in; i++) {
        run_file *file = &f->file[x->in[i]];
        const char *path = run_stamp_path(f, file->path);
        bool of_index = x->in[i] == x->index && file->writer && file->writer->follows;
        sum = run_hash(sum, path, strlen(path));
        if (x->in[i] == x->followed) continue;
        if (of_index) { sum = run_mix(sum, run_basis(f, file->writer)); continue; }
        run_look(file);
        sum = run_mix(run_mix(sum, file->there), file->hash);
    }
    return sum ? sum : 1;
}

static bool run_has_items(flow *f, const pipeline_stage *x, const run_stamp *s) {
    const run_stamp_file *was = run_stamped(s->in, s->n_in, run_stamp_path(f, f->file[x->followed].path));
    run_file copy = {0};
    if (!x->copy) return true;
    copy.path = x->copy;
    run_hash_file(&copy);
    return was && copy.there && copy.hash == was->hash;
}

// Whether a stage that must run can be brought up to date.
static bool run_can_update(flow *f, const pipeline_stage *x) {
    const run_stamp *s = run_stamp_of(f, x->name);
    char why[sizeof f->why];
    bool can = f->j->o.delta && x->follows && s && s->state >= RUN_DONE && !(f->j->o.force && run_is_named(f, x)) &&
               s->basis == run_basis(f, x) && run_has_items(f, x, s);
    memcpy(why, f->why, sizeof why);
    can = can && run_has_outputs(f, x, s);
    memcpy(f->why, why, sizeof why);
    return can;
}

// What it adds to the command line.
static int run_update_words(const pipeline_stage *x, const char *word[4]) {
    word[0] = "--update";
    if (!x->copy) return 1;
    word[0] = "--earlier-items"; word[1] = x->copy;
    word[2] = "--earlier-lists"; word[3] = x->result;
    return 4;
}

// As a shell may run it: > would empty what is read.
static const char *run_shown_line(flow *f, const pipeline_stage *x, bool update) {
    pipeline_stage shown = *x;
    pipeline_buffer b = {0};
    const char *line, *word[6], *text = NULL;
    int n = update ? run_update_words(x, word) : 0;
    bool ok;
    if (n && x->redirect) {
        shown.redirect = NULL;
        word[n++] = "-o"; word[n++] = x->redirect;
    }
    line = run_command_line(f, &shown, false);
    ok = line && pipeline_add(&b, line, strlen(line));
    for (int i = 0; ok && i < n; i++) ok = pipeline_add(&b, " ", 1) && run_put_word(&b, word[i]);
    if (ok) text = pipeline_copy(&f->p, b.text, b.n);
    free(b.text);
    return text;
}

static bool run_copy_file(const char *from, const char *to) {
    enum { PIECE = 1 << 16 };
    char piece[PIECE];
    const char *why;
    size_t n;
    output out = {0};
    FILE *in = files_open(from, &why);
    bool ok;
    if (!in) return fail(from, 0, "%s", why);
    ok = output_open(&out, to);
    while (ok && (n = fread(piece, 1, sizeof piece, in)) > 0) fwrite(piece, 1, n, out.file);
    if (ok && ferror(in)) ok = fail(from, 0, "cannot be read");
    fclose(in);
    if (!ok) output_abandon(&out);
    return ok && output_commit(&out);
}

// Of a stage that has just run, or is up to date. Once they are kept they are kept always. Those that have changed since the
// stage read them are of no use: what the stamp says of them tells.
static bool run_keep_items(flow *f, const pipeline_stage *x, bool ran) {
    const run_stamp *s = run_stamp_of(f, x->name);
    if (!x->copy || !(f->j->o.delta || (ran && file_exists(x->copy)))) return true;
    if (!ran && run_has_items(f, x, s)) return true;
    run_clean(x->copy);
    return make_folder(RUN_ITEMS) && run_copy_file(f->file[x->followed].path, x->copy);
}

// >>stages  One runs: its files, its process. ------------------------------------------------------------------------

static volatile pid_t g_child[RUN_JOBS];        // of each slot, 0 = none

static bool run_tell(int number) {
    bool any = false;
    for (int i = 0; i < RUN_JOBS; i++) {
        pid_t child = g_child[i];
        any = any || child > 0;
        if (child > 0 && number) kill(child, number);
    }
    return any;
}

// Ctrl-C reaches all processes of a terminal by itself; what kill sends reaches only this one. A second signal kills.
static void run_signal(int number, siginfo_t *info, void *context) {
    (void)context;
    if (info && info->si_code <= 0) run_tell(number);
    if (g_stop && !run_tell(0)) {
        signal(number, SIG_DFL);
        raise(number);
    }
    g_stop = number;
}

static void run_catch(void) {
    for (int i = 0; i < FILES_N_SIGNALS; i++) {
        struct sigaction a, before;
        memset(&a, 0, sizeof a);
        a.sa_sigaction = run_signal;
        a.sa_flags = SA_SIGINFO;
        if (!sigaction(FILES_SIGNALS[i], NULL, &before) && before.sa_handler != SIG_IGN) sigaction(FILES_SIGNALS[i], &a, NULL);
    }
}

static bool run_make_parents(const char *path) {
    char dir[4200];
    size_t n = strlen(path);
    for (size_t i = 1; i < n && i < 4100; i++) {
        if (path[i] != '/') continue;
        snprintf(dir, sizeof dir, "%.*s", (int)i, path);
        if (!make_folder(dir)) return false;
    }
    return true;
}

// The stamp of a stage in a new state, in place of what else is said to have written its files.
static bool run_set_stamp(flow *f, const pipeline_stage *x, run_state state) {
    run_stamp s = {0}, *old = run_stamp_of(f, x->name);
    bool ok = true;
    s.stage = x->name;
    s.state = state;
    s.build = f->build;
    s.run = run_command_line(f, x, true);
    s.basis = x->follows ? run_basis(f, x) : 0;
    s.seconds = x->seconds; s.cpu = x->cpu;
    if (!s.run) return false;
    for (size_t i = 0; ok && i < x->n_in; i++) {
        const run_file *file = &f->file[x->in[i]];
        ok = run_stamp_add(&s.in, &s.n_in, &s.in_capacity, run_stamp_path(f, file->path), file->there, file->hash);
    }
    for (size_t i = 0; ok && i < x->n_out; i++) {
        run_file now = f->file[x->out[i]];
        bool look = state >= RUN_DONE || now.text;         // a text, which a hand may change, from when it is written
        if (look) run_hash_file(&now);
        if (state >= RUN_DONE && !f->file[x->out[i]].text) f->file[x->out[i]] = now;
        ok = run_stamp_add(&s.out, &s.n_out, &s.out_capacity, now.path, look && now.there, now.hash);
    }
    for (size_t i = 0; ok && i < f->n_stamps; i++) {
        run_stamp *other = &f->stamp[i];
        for (size_t k = 0; other != old && k < s.n_out; k++)
            if (run_stamped(other->out, other->n_out, s.out[k].path)) other->state = RUN_OPEN;
    }
    if (ok && !old) {
        ok = grow((void **)&f->stamp, &f->stamp_capacity, f->n_stamps + 1, sizeof *f->stamp);
        if (ok) memset(old = &f->stamp[f->n_stamps++], 0, sizeof *old);
    }
    if (ok) {
        free(old->in);
        free(old->out);
        *old = s;
    } else {
        free(s.in);
        free(s.out);
    }
    return ok && run_write_stamps(f);
}

static bool run_write_text(flow *f, const pipeline_text *t) {
    run_file now;
    const char *path = run_path(f, 0, t->path);
    output out = {0};
    memset(&now, 0, sizeof now);
    now.path = path;
    if (!path) return false;
    run_hash_file(&now);
    if (now.there && now.hash == run_hash_text(t->text)) return true;
    if (!output_open(&out, path)) return false;
    fputs(t->text, out.file);
    return output_commit(&out);
}

static bool run_has_checkpoint(const flow *f, const pipeline_stage *x) {
    for (size_t i = 0; i < x->n_out; i++) {
        const char *path = f->file[x->out[i]].path, *slash = strrchr(path, '/');
        if (!strcmp(slash ? slash + 1 : path, TRAIN_FILES[CHECKPOINT])) return file_exists(path);
    }
    return false;
}

// A training that was begun with all as it is now goes on from its checkpoint; its folder and a shop's must be free of others.
// What is brought up to date keeps its stamp until then.
static bool run_prepare(flow *f, pipeline_stage *x, const command *c, bool update, bool *goes_on) {
    const run_stamp *s = run_stamp_of(f, x->name);
    bool resume;
    for (size_t i = 0; i < x->n_in; i++) run_look(&f->file[x->in[i]]);
    for (size_t i = 0; i < x->n_out; i++) run_clean(f->file[x->out[i]].path);
    if (update) return true;
    resume = c->run == run_train && s && s->state == RUN_BEGUN && run_is_same(f, x, s) && !f->j->o.force &&
             run_has_checkpoint(f, x);
    *goes_on = resume;
    if (!resume && !run_set_stamp(f, x, RUN_OPEN)) return false;
    for (size_t i = 0; i < x->n_out; i++) {
        const char *path = f->file[x->out[i]].path;
        if (!resume && (c->run == run_train || c->run == run_simulate) && !f->file[x->out[i]].text && file_exists(path) &&
            remove(path)) return fail(path, 0, "cannot be removed: %s", strerror(errno));
        if (!run_make_parents(path)) return false;
    }
    for (int i = 0; i < x->n_writes; i++)
        if (!run_write_text(f, &x->write[i])) return false;
    return resume || (c->run != run_train && !x->n_writes) || run_set_stamp(f, x, c->run == run_train ? RUN_BEGUN : RUN_OPEN);
}

// The child's part.
static void run_child(flow *f, int argc, char **argv, FILE *redirect, pid_t parent) {
    int status, none = open("/", O_RDONLY);             // reading text from it fails
#ifdef __linux__
    prctl(PR_SET_PDEATHSIG, SIGTERM);
#endif
    for (int i = 0; i < FILES_PENDING; i++) files_pending[i] = NULL;
    g_stop = 0;
    files_catch(files_interrupted);
    if (getppid() != parent) _exit(BAD_DATA);
    if (none < 0 || dup2(none, STDIN_FILENO) < 0) _exit(BAD_DATA);
    if (redirect && dup2(fileno(redirect), STDOUT_FILENO) < 0) _exit(BAD_DATA);
    status = f->j->command(argc, argv);
    if (!stdout_ok() && !status) status = BAD_DATA;
    _exit(status);
}

static bool run_ended(const flow *f, const pipeline_stage *x, int status) {
    if (f->failed && status) return false;
    if (g_stop) return fail(f->p.path, 0, "stopped in stage %s; the same command goes on", x->name);
    if (WIFSIGNALED(status))
        return fail(f->p.path, x->line, "stage %s: its process was ended by signal %d (%s)", x->name, WTERMSIG(status),
                    strsignal(WTERMSIG(status)));
    return !WEXITSTATUS(status) || fail(f->p.path, x->line, "stage %s failed, exit status %d", x->name, WEXITSTATUS(status));
}

static bool run_process(flow *f, run_slot *r, int argc, char **argv) {
    pid_t parent = getpid(), child;
    fflush(NULL);
    files_hold_signals(true);           // until it is known whom to tell
    child = fork();
    if (!child) {
        files_hold_signals(false);
        run_child(f, argc, argv, r->redirect.file, parent);
    }
    g_child[r - f->slot] = child;
    files_hold_signals(false);
    return child >= 0 || fail(f->p.path, r->stage->line, "no process: %s", strerror(errno));
}

// kpd, the command, what `kpd run` adds, and the rest. Several at a time share the processors, and leave out their progress.
static bool run_start(flow *f, run_slot *r) {
    char threads[32], simd[32];
    pipeline_stage *x = r->stage;
    int n_words, argc = 0, jobs = f->j->o.jobs;
    const options *o = &f->j->o;
    const command *c = find_command(f->j->commands, f->j->n_commands, x->n_words, x->word, &n_words);
    char **argv = (char **)pipeline_alloc(&f->p, ((size_t)x->n_words + 12) * sizeof *argv);
    const char *more[4];
    int n_more = r->update ? run_update_words(x, more) : 0;
    int32_t each = o->threads;
    bool goes_on = false;
    if (!argv || !run_prepare(f, x, c, r->update, &goes_on)) return false;
    if (!each && jobs > 1) each = cpus_allowed(KPD_MAX_THREADS) / jobs;
    if (!each && jobs > 1) each = 1;
    snprintf(threads, sizeof threads, "--threads=%d", (int)each);
    snprintf(simd, sizeof simd, "--simd=%s", kpd_simd_name((kpd_simd)o->simd));
    argv[argc++] = (char *)(uintptr_t)f->j->program;
    for (int i = 0; i < n_words; i++) argv[argc++] = x->word[i];
    if (goes_on) argv[argc++] = (char *)(uintptr_t)"--resume";
    if (each) argv[argc++] = threads;
    if (o->simd) argv[argc++] = simd;
    g_no_progress = jobs > 1;
    if (o->quiet || (jobs > 1 && !r->update)) argv[argc++] = (char *)(uintptr_t)"--quiet";
    for (int i = 0; i < n_more; i++) argv[argc++] = (char *)(uintptr_t)more[i];
    for (int i = n_words; i < x->n_words; i++) argv[argc++] = x->word[i];
    if (x->redirect && !output_open(&r->redirect, x->redirect)) return false;
    if (run_process(f, r, argc, argv)) return true;
    if (x->redirect) output_abandon(&r->redirect);
    return false;
}

static bool run_finish(flow *f, run_slot *r, int status) {
    pipeline_stage *x = r->stage;
    bool ok = run_ended(f, x, status);
    if (x->redirect && !ok) output_abandon(&r->redirect);
    if (x->redirect && ok) ok = output_commit(&r->redirect);
    for (size_t i = 0; ok && i < x->n_out; i++) {
        const char *path = f->file[x->out[i]].path, *slash = strrchr(path, '/');
        if (!file_exists(path) && strcmp(slash ? slash + 1 : path, TRAIN_FILES[BEST]))
            ok = fail(f->p.path, x->line, "stage %s did not write %s", x->name, path);
    }
    return ok && run_keep_items(f, x, true) && run_set_stamp(f, x, r->update ? RUN_DELTA : RUN_DONE);
}

// Into a free slot.
static bool run_begin(flow *f, pipeline_stage *x, int at, bool update) {
    run_slot *r = f->slot;
    while (r->stage) r++;
    memset(r, 0, sizeof *r);
    r->stage = x; r->at = at; r->begun = now(); r->update = update;
    if (!run_start(f, r)) { r->stage = NULL; return false; }
    f->runs[x - f->p.stage] = true;
    f->n_running++;
    return true;
}

// Of all processes that were waited for.
static double run_cpu(void) {
    struct rusage u;
    if (getrusage(RUSAGE_CHILDREN, &u)) return 0;
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + 1e-6 * (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

// Waits for one of those that run to end.
static bool run_reap(flow *f) {
    int status = 0;
    double cpu = run_cpu();
    pid_t child;
    run_slot *r = f->slot;
    bool ok;
    while ((child = waitpid(-1, &status, 0)) < 0 && errno == EINTR) {}
    if (child < 0) {
        f->n_running = 0;
        return fail(f->p.path, 0, "its processes are lost: %s", strerror(errno));
    }
    while (r < f->slot + RUN_JOBS && g_child[r - f->slot] != child) r++;
    if (r == f->slot + RUN_JOBS) return true;
    g_child[r - f->slot] = 0;
    r->stage->seconds = now() - r->begun;
    r->stage->cpu = run_cpu() - cpu;
    ok = run_finish(f, r, status);
    f->runs[r->stage - f->p.stage] = false;
    f->n_running--;
    f->ran += ok;
    if (ok) say("[%d/%d] %s: %.1f s", r->at, f->all, r->stage->name, r->stage->seconds);
    r->stage = NULL;
    return ok;
}

// >>run --------------------------------------------------------------------------------------------------------------

// Whether what it reads, or of that what it does not follow, is going to be made by a stage that runs.
static const char *run_waits_for(const flow *f, const pipeline_stage *x, const bool *runs, bool but_followed) {
    for (size_t i = 0; i < x->n_in; i++) {
        const pipeline_stage *writer = f->file[x->in[i]].writer;
        if (but_followed && (x->in[i] == x->followed || (x->in[i] == x->index && writer && writer->follows))) continue;
        if (writer && writer != x && runs[writer - f->p.stage]) return f->file[x->in[i]].path;
    }
    return NULL;
}

static const char *run_how(bool update) { return update ? "; only what has changed" : ""; }

static bool run_dry(flow *f) {
    bool *runs = (bool *)pipeline_alloc(&f->p, f->p.n_stages * sizeof *runs);
    int n = 0, all = 0;
    if (!runs) return false;
    for (size_t i = 0; i < f->n_order; i++) {
        pipeline_stage *x = f->order[i];
        const char *path = x->selected ? run_waits_for(f, x, runs, false) : NULL;
        bool stale = x->selected && run_is_stale(f, x), update;
        if (!x->selected) continue;
        all++;
        runs[x - f->p.stage] = stale || path;
        n += stale || path;
        if (path && (!stale || !strstr(f->why, "force")))
            snprintf(f->why, sizeof f->why, "%.600s, which it reads, may change", path);
        update = (stale || path) && run_can_update(f, x) && !run_waits_for(f, x, runs, true);
        if (stale || path) printf("%s: %s%s\n    kpd %s\n", x->name, f->why, run_how(update), run_shown_line(f, x, update));
        else printf("%s: up to date\n", x->name);
    }
    printf("%d of %d stages would run\n", n, all);
    return true;
}

// A line of times for the stages of a name, or of all.
static void run_time(flow *f, const char *section) {
    double seconds = 0, cpu = 0;
    int n = 0;
    for (size_t i = 0; i < f->p.n_stages; i++) {
        const pipeline_stage *x = &f->p.stage[i];
        const run_stamp *s = run_stamp_of(f, x->name);
        if (!x->selected || !s || !(s->seconds > 0) || (section && strcmp(x->section, section))) continue;
        n++;
        seconds += s->seconds;
        cpu += s->cpu;
    }
    if (n || !section) printf("%s\t%d\t%.3f\t%.3f\n", section ? section : "all", n, seconds, cpu);
}

static bool run_times(flow *f) {
    puts("stage\tn\tseconds\tcpu seconds");
    for (size_t i = 0; i < f->p.n_sections; i++) run_time(f, f->p.section[i].name);
    run_time(f, NULL);
    return true;
}

// In their order; one that reads what another is writing waits for it. One that fails stops the others.
static bool run_stages(flow *f) {
    int at = 0, jobs = f->j->o.jobs ? f->j->o.jobs : 1;
    bool ok = true;
    for (size_t i = 0; ok && i < f->n_order; i++) {
        pipeline_stage *x = f->order[i];
        bool update;
        if (!x->selected) continue;
        at++;
        while (ok && (f->n_running == jobs || (f->n_running && run_waits_for(f, x, f->runs, false)))) ok = run_reap(f);
        if (ok && g_stop && !f->n_running)
            ok = fail(f->p.path, 0, "stopped before stage %s; the same command goes on", x->name);
        if (!ok || g_stop) break;
        if (!run_is_stale(f, x)) { ok = run_keep_items(f, x, false); continue; }
        update = run_can_update(f, x);
        say("[%d/%d] %s: %s%s\n    kpd %s", at, f->all, x->name, f->why, run_how(update), run_shown_line(f, x, update));
        ok = run_begin(f, x, at, update);
    }
    for (;; ok = run_reap(f) && ok) {
        if (!ok && !f->failed) run_tell(SIGTERM);
        f->failed = !ok;
        if (!f->n_running) break;
    }
    return ok && !g_stop;
}

static bool run_all(flow *f) {
    double begun = now();
    f->runs = (bool *)pipeline_alloc(&f->p, f->p.n_stages * sizeof *f->runs);
    if (!f->runs) return false;
    for (size_t i = 0; i < f->n_order; i++) f->all += f->order[i]->selected;
    run_catch();
    if (!run_stages(f)) return false;
    say("%s: %d of %d stages ran, %d were up to date; %.1f s", f->dir, f->ran, f->all, f->all - f->ran, now() - begun);
    f->j->count.done = f->ran;
    return true;
}

// Runs nothing.
static bool run_looks(const flow *f) { return f->j->o.dry_run || f->j->o.times; }

// The folder, made if need be; it is the current one from then on. Another `kpd run` there is waited for, but not by a look.
static bool run_enter(flow *f) {
    f->made_dir = !file_exists(f->dir);
    f->back = open(".", O_RDONLY | O_CLOEXEC);
    if (!make_folder(f->dir)) return false;
    f->j->lock = open(f->dir, O_RDONLY | O_CLOEXEC);
    if (f->j->lock < 0 || chdir(f->dir)) return fail(f->dir, 0, "%s", strerror(errno));
    if (run_looks(f)) return true;
    if (flock(f->j->lock, LOCK_EX | LOCK_NB) && errno == EWOULDBLOCK) {
        note(f->dir, "waits for another kpd run there");
        while (flock(f->j->lock, LOCK_EX) && errno == EINTR) {}
    }
    run_clean(RUN_STAMPS);
    return true;
}

static bool run_folders(flow *f, const char *path) {
    const char *slash = strrchr(path, '/');
    size_t n = strlen(path);
    char folder[FILES_MAX_PATH], *dir;
    if (n > 4000) return fail(path, 0, "a path longer than 4000 bytes");
    snprintf(folder, sizeof folder, "%.*s", slash ? (int)(slash + 1 - path) : 1, slash ? path : ".");
    if (!realpath(folder, f->here)) return fail(path, 0, "%s", strerror(errno));
    if ((f->dir = f->j->o.dir) != NULL) return true;
    if (n < 5 || strcmp(path + n - 4, ".ini") || path[n - 5] == '/')
        return fail(path, 0, "its name does not end in .ini, so --dir must say where its files go");
    dir = (char *)job_alloc(f->j, n, 1);
    if (!dir) return false;
    memcpy(dir, path, n - 4);
    f->dir = dir;
    return true;
}

// Ends in the pipeline's folder, or where there is none, where it began.
static bool run_pipeline(flow *f, const char *path) {
    const options *o = &f->j->o;
    bool ok;
    if (!run_folders(f, path) || !pipeline_read(&f->p, path, f->here, &o->set) || !run_enter(f)) return false;
    start(f->j, "stages");
    snprintf(f->build, sizeof f->build, "%s %d", KPD_VERSION, KPD_ABI);
    ok = run_plan(f) && run_read_stamps(f, !o->force);
    if (ok && o->times) ok = run_times(f);
    else ok = ok && run_check_unknown(f) && (o->dry_run ? run_dry(f) : run_all(f));
    if (f->made_dir && (run_looks(f) || !ok) && f->back >= 0 && !fchdir(f->back)) rmdir(f->dir);   // if nothing is in it
    if (f->back >= 0) close(f->back);
    return ok;
}

// A recipe into the folder of --dir, or of its own name.
static bool run_recipe(job *j, const char *path) {
    flow *f = (flow *)job_alloc(j, 1, sizeof *f);
    bool ok;
    if (!f) return false;
    f->j = j;
    f->train = (recipe *)job_alloc(j, 1, sizeof *f->train);
    ok = f->train && run_pipeline(f, path);
    if (f->train) recipe_close(f->train);
    for (size_t i = 0; i < f->n_stamps; i++) {
        free(f->stamp[i].in);
        free(f->stamp[i].out);
    }
    free(f->stamp);
    free(f->file);
    pipeline_close(&f->p);
    return ok;
}

static int run_run(job *j) { return run_recipe(j, j->arg[0]) ? DONE : BAD_DATA; }
