// cmd_demo.h - the command demo: it runs the others.
// Part of kpd.c, below all other commands.

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
    {"A shop: titles, keyphrases, clicks, an LLM's labels; and the truth, which no model sees",
     "simulate -o @/shop SHOP FORCE"},
    {"A vocabulary of its words", "vocab @/shop/corpus.txt -o @/vocab.txt --size 2000"},
    {"Four trainings, each by a recipe with comments in it", "train @/base.ini FORCE MACHINE"},
    {NULL, "train @/assistant.ini FORCE MACHINE"},
    {NULL, "train @/ctr.ini FORCE MACHINE"},
    {NULL, "train @/student.ini FORCE MACHINE"},
    {"Keyphrases of the student that knows only clicks: index all, look up 20 for each of the test items",
     "index build @/ctr/last.kpd @/shop/keyphrases.tsv --dim 64 -o @/ctr.kpi MACHINE"},
    {NULL, "recommend @/ctr/last.kpd - @/ctr.kpi @/shop/test_items.tsv -k 20 -o @/ctr.lists.tsv MACHINE"},
    {"And of the student of LLM + CTR + KD",
     "index build @/student/last.kpd @/shop/keyphrases.tsv --dim 64 -o @/student.kpi MACHINE"},
    {NULL, "recommend @/student/last.kpd - @/student.kpi @/shop/test_items.tsv -k 20 -o @/student.lists.tsv MACHINE"},
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

static bool demo_options(demo *d, const options *o, const char *word, size_t length) {
    if (length == 4 && !strncmp(word, "SHOP", length)) {
        demo_add(d, "--seed"), demo_add(d, "%d", o->seed ? (int)o->seed : 1);
        if (o->items) demo_add(d, "--items"), demo_add(d, "%d", (int)o->items);
        if (o->queries) demo_add(d, "--queries"), demo_add(d, "%d", (int)o->queries);
    } else if (length == 5 && !strncmp(word, "FORCE", length)) {
        if (d->again) demo_add(d, "--force");
    } else if (length == 7 && !strncmp(word, "MACHINE", length)) {
        int32_t n = o->threads ? o->threads : cpus_allowed(8);          // its models are small: more have nothing to do
        demo_add(d, "--threads"), demo_add(d, "%d", (int)n);
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
static bool demo_folder(demo *d, bool force) {
    if (!make_folder(d->dir)) return false;
    d->again = demo_is_in(d->dir);
    if (d->again && !may_fill(d->dir, DEMO_RECIPES[0].name, force)) return false;
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
    if (!demo_folder(d, j->o.force != 0) || !demo_write_recipes(j, d)) return BAD_DATA;
    files_catch(ask_to_stop);
    for (size_t i = 0; i < sizeof DEMO_STEPS / sizeof *DEMO_STEPS; i++) {
        int status = demo_run(j, d, &DEMO_STEPS[i]);
        if (status) return status;
        if (g_stop) return fail("demo", 0, "stopped"), BAD_DATA;
    }
    return demo_report(j, d) ? DONE : BAD_DATA;
}
