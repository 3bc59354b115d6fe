// parse.h - what a command line says: its command, arguments and options.
// Part of kpd.c, below job.h and help.h.

// >>parse ------------------------------------------------------------------------------------------------------------

// The command that argv begins with, of one word or two; *n_words = how many, or 0.
static const command *find_command(const command *list, int n, int argc, char **argv, int *n_words) {
    char two[64];
    snprintf(two, sizeof two, "%s %s", argc > 0 ? argv[0] : "", argc > 1 ? argv[1] : "");
    for (int words = 2; words >= 1; words--)
        for (int i = 0; i < n; i++) {
            *n_words = words;
            if ((strchr(list[i].name, ' ') != NULL) == (words == 2) && argc >= words &&
                !strcmp(list[i].name, words == 2 ? two : argv[0])) return &list[i];
        }
    *n_words = 0;
    return NULL;
}

static int unknown_command(const command *list, int n, int argc, char **argv) {
    char word[80], meant[120];
    bool family = help_has_parts(list, n, argv[0]) && argc > 1;
    help_meant(list, n, argc, argv, meant);
    snprintf(word, sizeof word, "%.38s%s%.38s", argv[0], family ? " " : "", family ? argv[1] : "");
    return usage("unknown command '%s'%s; `kpd help` lists them", word, meant);
}

static int unknown_option(const command *c, const char *name) {
    char list[1000], meant[80];
    const option *p = option_named(name);
    snprintf(list, sizeof list, "%s %s", c->options, COMMON_OPTIONS);
    if (p) snprintf(meant, sizeof meant, ", which other commands have");
    else recipe_meant(list, name, meant);
    return usage("%s: unknown option '%s'%s; `kpd help %s`", c->name, name, meant, c->name);
}

// --name value, --name=value or --flag. *at: the option in argv, then its last word.
static int parse_option(const command *c, int argc, char **argv, int *at, job *j) {
    char name[80];
    const char *word = argv[*at], *equals = strchr(word, '='), *value = equals ? equals + 1 : NULL;
    const option *p;
    snprintf(name, sizeof name, "%.*s", (int)(equals && equals - word < 79 ? equals - word : 79), word);
    p = option_named(name);
    if (!p || !option_is_of(p, c->options)) return unknown_option(c, equals ? name : word);
    if (p->kind == FLAG) return value ? usage("%s: %s takes no value", c->name, name) : set_option(&j->o, p, NULL);
    if (!value && ++*at == argc) return usage("%s: %s needs a value", c->name, p->name);
    return set_option(&j->o, p, value ? value : argv[*at]);
}

// Behind `--` all are arguments.
static int parse(const command *c, int argc, char **argv, job *j) {
    int n = 0, status = DONE;
    bool more = true;                   // options
    j->arg = (const char **)job_alloc(j, (size_t)argc + 8, sizeof *j->arg);
    if (!j->arg) return BAD_DATA;
    for (int i = 0; i < argc && !status; i++) {
        if (more && !strcmp(argv[i], "--")) more = false;
        else if (more && argv[i][0] == '-' && argv[i][1]) status = parse_option(c, argc, argv, &i, j);
        else if (n < c->max_args) j->arg[n++] = argv[i];
        else status = usage("%s: '%s' is one argument too many; `kpd help %s`", c->name, argv[i], c->name);
    }
    if (status || n >= c->min_args) return status;
    return usage("%s: an argument is missing: kpd %s", c->name, c->use);
}

static void job_begin(job *j, const char *program) {
    memset(j, 0, sizeof *j);
    j->program = program;
    j->lock = -1;
    j->o.threshold = j->o.min_similarity = -INFINITY;
    j->o.max_score = j->o.min_score = j->o.margin = j->o.relative_margin = -INFINITY;
    j->o.partition = -1;
    j->o.world = j->o.placebo = -1;
}
