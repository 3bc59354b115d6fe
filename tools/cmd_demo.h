// cmd_demo.h - the command demo: a pipeline on an invented shop, and what came of it.
// Part of kpd.c, below cmd_run.h.

// >>demo  The whole job, as a recipe of `kpd run`. --------------------------------------------------------------------

// Items, queries, seed.
static const char DEMO_RECIPE[] =
    "# The whole job of kpd on an invented shop. kpd run demo.ini --dir . makes what is missing or was changed.\n"
    "[set]\n"
    "items = %d\n"
    "queries = %d\n"
    "seed = %d\n"
    "\n"
    "# A shop: titles, keyphrases, clicks, an LLM's labels; and the truth, which no model sees.\n"
    "[stage shop]\n"
    "run = simulate -o shop --seed ${seed} --items ${items} --queries ${queries}\n"
    "\n"
    "[stage vocabulary]\n"
    "run = vocab shop/corpus.txt -o vocab.txt --size 2000\n"
    "\n"
    "[stage base]\n"
    "run = train base.ini\n"
    "write base.ini =\n"
    "    # A small BERT learns the shop's words by guessing hidden ones (MLM). All others start from it.\n"
    "    [model]\n"
    "    vocab = vocab.txt\n"
    "    layers = 2\n"
    "    width = 128\n"
    "    heads = 2\n"
    "    positions = 64\n"
    "    max_tokens = 48\n"
    "\n"
    "    [train]\n"
    "    batch = 64\n"
    "    epochs = 5\n"
    "    rate = 1e-3\n"
    "    warmup = 0.1\n"
    "    weight_decay = 0.01\n"
    "\n"
    "    [data corpus]\n"
    "    file = shop/corpus.txt\n"
    "    columns = title\n"
    "    loss = mlm\n"
    "\n"
    "[stage assistant]\n"
    "run = train assistant.ini\n"
    "write assistant.ini =\n"
    "    # The assistant, a cross-encoder. It reads keyphrase and item together, which is slow, and learns the LLM's yes\n"
    "    # and no.\n"
    "    [model]\n"
    "    start = base/last.kpd\n"
    "    kind = cross-encoder\n"
    "\n"
    "    [train]\n"
    "    batch = 64\n"
    "    epochs = 1\n"
    "    rate = 1e-3\n"
    "    warmup = 0.1\n"
    "\n"
    "    [data llm]\n"
    "    file = shop/llm.tsv\n"
    "    columns = keyphrase title category label\n"
    "    loss = bce\n"
    "\n"
    "[stage ctr]\n"
    "run = train ctr.ini\n"
    "write ctr.ini =\n"
    "    # A student, a bi-encoder, that learns from clicks only (CTR). In a batch each item's clicked keyphrase is to beat\n"
    "    # those of the other items (MNR). Its first 64 columns must do too (dims), as the index has these. 7 epochs of\n"
    "    # clicks are as many batches as student.ini has in one of its labels.\n"
    "    [model]\n"
    "    start = base/last.kpd\n"
    "\n"
    "    [train]\n"
    "    batch = 64\n"
    "    epochs = 7\n"
    "    rate = 1e-3\n"
    "    warmup = 0.1\n"
    "\n"
    "    [data clicks]\n"
    "    file = shop/ctr.tsv\n"
    "    columns = keyphrase title category\n"
    "    batching = no-duplicates\n"
    "    loss = mnr\n"
    "    dims = 128 64\n"
    "\n"
    "[stage student]\n"
    "run = train student.ini\n"
    "write student.ini =\n"
    "    # The student of LLM + CTR + KD. Every second batch is of clicks, so that it sees half as many of them as\n"
    "    # ctr.ini. The others are of the LLM's labels: yes is pulled near and no pushed away (contrastive), and similarities\n"
    "    # are to rise and fall with the assistant's scores (Pearson): the knowledge distillation.\n"
    "    [model]\n"
    "    start = base/last.kpd\n"
    "    assistant = assistant/last.kpd\n"
    "\n"
    "    [train]\n"
    "    batch = 64\n"
    "    epochs = 1\n"
    "    rate = 1e-3\n"
    "    warmup = 0.1\n"
    "\n"
    "    [data llm]\n"
    "    file = shop/llm.tsv\n"
    "    columns = keyphrase title category label\n"
    "    loss = contrastive, pearson teacher=assistant\n"
    "    dims = 128 64\n"
    "    share = 1\n"
    "\n"
    "    [data clicks]\n"
    "    file = shop/ctr.tsv\n"
    "    columns = keyphrase title category\n"
    "    batching = no-duplicates\n"
    "    loss = mnr\n"
    "    dims = 128 64\n"
    "    share = 1\n"
    "\n"
    "# Index all keyphrases, and look up 20 for each of the test items.\n"
    "[stage index]\n"
    "foreach model = ctr student\n"
    "run = index build ${model}/last.kpd shop/keyphrases.tsv --dim 64 -o ${model}.kpi\n"
    "\n"
    "[stage recommend]\n"
    "foreach model = ctr student\n"
    "run = recommend ${model}/last.kpd - ${model}.kpi shop/test_items.tsv -k 20 -o ${model}.lists.tsv\n"
    "\n"
    "# What the search engine's filter, the LLM and the truth say of both.\n"
    "[stage judge]\n"
    "foreach by = filter llm truth\n"
    "run = simulate judge shop ctr.lists.tsv student.lists.tsv --by ${by} -o ${by}.tsv\n"
    "\n"
    "# The auction: what passes the filter is judged.\n"
    "[stage auction]\n"
    "foreach by = llm truth\n"
    "run = eval auction student.lists.tsv ${by}.tsv --filter filter.tsv --threshold 0.5 --against ctr.lists.tsv\n"
    "      -o auction.${by}.tsv\n";

enum { DEMO_SHOWN = 3, DEMO_RANKS = 10 };

typedef struct demo {
    const char *dir;
    char path[4200], *text;             // of the recipe
    reader lists[2];                    // of LLM + CTR + KD, of CTR
} demo;

// Whether the folder's recipe is this one.
static bool demo_is_same(const demo *d) {
    const char *why;
    FILE *f = files_open(d->path, &why);
    size_t i = 0;
    int c = EOF;
    while (f && (c = fgetc(f)) != EOF && (unsigned char)d->text[i] == c) i++;
    if (f) fclose(f);
    return f && c == EOF && !d->text[i];
}

// A demo that is there already is gone on with, unless it is of another shop.
static bool demo_write_recipe(job *j, demo *d) {
    const options *o = &j->o;
    size_t room = sizeof DEMO_RECIPE + 40;
    d->text = (char *)job_alloc(j, room, 1);
    if (!d->text) return false;
    snprintf(d->text, room, DEMO_RECIPE, (int)(o->items ? o->items : 6000), (int)(o->queries ? o->queries : 4000),
             (int)(o->seed ? o->seed : 1));
    snprintf(d->path, sizeof d->path, "%.4000s/demo.ini", d->dir);
    if (demo_is_same(d)) return true;
    if (!may_fill(d->dir, "demo.ini", o->force != 0) || !output_open(&j->out, d->path)) return false;
    fputs(d->text, j->out.file);
    return output_commit(&j->out);
}

// A figure and its interval, of three columns of `eval auction`.
static void demo_print_interval(const kpd_text *column, int digits) {
    char text[40];
    double v[3];
    for (int i = 0; i < 3; i++) v[i] = strtod(column[i].data, NULL);        // a TAB ends each
    snprintf(text, sizeof text, "%.*f [%.*f, %.*f]", digits, v[0], digits, v[1], digits, v[2]);
    printf("  %22s", column[0].data[0] == '-' && column[0].size == 1 ? "-" : text);
}

static bool demo_table(job *j, const char *path, const char *title) {
    static const char *const shown[][2] = {{"kp", "KP"}, {"pr", "PR"}, {"pass@5", "Pass@5"}, {"pass@10", "Pass@10"},
                                           {"pass@15", "Pass@15"}, {"pass@20", "Pass@20"}};
    kpd_text column[11];
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
    kpd_input in;
    truth->high = 1;
    if (!verdicts_read(j, file[0], truth)) return false;
    for (int i = 0; i < 2; i++)
        if (!reader_open(&d->lists[i], file[1 + i]) || !reader_next(&d->lists[i])) return false;
    if (!reader_open(&j->text, file[3]) || !reader_next(&j->text)) return false;
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
    ok = demo_table(j, "auction.llm.tsv", "by the LLM") && demo_table(j, "auction.truth.tsv", "by the truth") &&
         demo_items(j, d, &truth);
    for (int i = 0; i < 2; i++) reader_close(&d->lists[i]);
    free(truth.list);
    free(truth.text);
    return ok;
}

static int run_demo(job *j) {
    demo *d = (demo *)job_alloc(j, 1, sizeof *d);
    shop_desc size = {0};
    char why[240];
    if (!d) return BAD_DATA;
    size.n_items = j->o.items; size.n_queries = j->o.queries;
    if (!shop_check(&size, why)) return fail("demo", 0, "%s", why), BAD_DATA;
    d->dir = j->o.dir = j->arg[0] ? j->arg[0] : "kpd-demo";
    if (!make_folder(d->dir) || !demo_write_recipe(j, d)) return BAD_DATA;
    if (!j->o.threads) j->o.threads = cpus_allowed(8);          // its models are small: more have nothing to do
    say("# %s, whose stages follow; their command lines can be repeated in that folder.", d->path);
    return run_recipe(j, d->path) && demo_report(j, d) ? DONE : BAD_DATA;
}
