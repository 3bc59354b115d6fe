// help.h - what is made of the tables of commands and options: help, a man page, completions for bash and zsh.
// Part of kpd.c, below job.h.
// Contents: >>help >>man >>completion

// >>help -------------------------------------------------------------------------------------------------------------

static void help_all(const command *list, int n) {
    printf("kpd " KPD_VERSION ": keyphrase retrieval\n");
    for (int i = 0; i < n; i++) {
        if (list[i].group) printf("\n%s\n", list[i].group);
        printf("    kpd %-16s %s\n", list[i].name, list[i].what);
    }
    printf("\n`kpd help COMMAND`, or -h anywhere, says how a command is used; `kpd help --man` prints a man page,\n"
           "`kpd help --completion bash` (or zsh) what completes words in a shell.\n\n"
           "All take --threads N (auto: all processors that this process may use; results are the same bits with any number),\n"
           "--simd LEVEL, --stats (a last line of counts on stderr) and --quiet. --option=value is --option value.\n"
           "Text: `-` or no file is the standard input. A text a line, a TAB between its columns: of items title category, of\n"
           "pairs keyphrase title category. CSV (FILE.csv, or --format csv) and JSON lines (FILE.jsonl) by the names of\n"
           "columns or keys, as TAB-separated text with a first line of such names. --columns says which is which: words in\n"
           "the file's order, - skips one: --columns 'id title - category'; or names: --columns title=product_title.\n"
           "A file that -o names is replaced when the new one is whole; files in a folder only with --force; an input never.\n"
           "Exit status: 0 done, 1 something is wrong with the data or a file, 2 with the command.\n");
}

// As it is typed: --dim D, --tower item|keyphrase.
static void option_form(const option *p, char *out, size_t size) {
    int n = snprintf(out, size, "%s", p->name);
    if (p->value) snprintf(out + n, size - (size_t)n, " %s", p->value);
    else if (p->choices) {
        snprintf(out + n, size - (size_t)n, " %s", p->choices);
        for (char *c = out + n + 1; *c; c++)
            if (*c == ' ') *c = '|';
    }
}

static void help_options(const char *allowed, bool common) {
    for (int i = 0; i < N_OPTIONS; i++) {
        const option *p = &OPTIONS[i];
        char form[160];
        if (recipe_find(common ? COMMON_OPTIONS : allowed, p->name) < 0) continue;
        option_form(p, form, sizeof form);
        if (strlen(form) > 34) printf("  %s\n  %-34s  %s\n", form, "", p->help);
        else printf("  %-34s  %s\n", form, p->help);
    }
}

static void help_command(const command *c) {
    printf("kpd %s\n\n%s\n\n", c->use, c->help);
    help_options(c->options, false);
    help_options(c->options, true);
}

static bool is_part(const command *c, const char *family) {
    size_t n = strlen(family);
    return !strncmp(c->name, family, n) && c->name[n] == ' ';
}

static bool help_has_parts(const command *list, int n, const char *family) {
    for (int i = 0; i < n; i++)
        if (is_part(&list[i], family)) return true;
    return false;
}

static void help_parts(FILE *f, const command *list, int n, const char *family) {
    fprintf(f, "kpd %s PART; `kpd help %s PART` says more\n\n", family, family);
    for (int i = 0; i < n; i++)
        if (is_part(&list[i], family)) fprintf(f, "    kpd %-16s %s\n", list[i].name, list[i].what);
}

// The command that was perhaps meant, as a text to append to a message, or "".
static void help_meant(const command *list, int n, int argc, char **argv, char meant[120]) {
    char words[80] = "", name[80], found[80];
    bool two = argc > 1 && help_has_parts(list, n, argv[0]);
    meant[0] = 0;
    snprintf(name, sizeof name, "%.79s", argv[two]);
    for (int least = two; least < 2 && !meant[0]; least++)              // a part of the family, or a first word
        for (int i = 0; i < n && !meant[0]; i++) {
            const char *space = strchr(list[i].name, ' ');
            if (two && !is_part(&list[i], argv[0])) continue;
            if (two) snprintf(words, sizeof words, "%s", space + 1);
            else snprintf(words, sizeof words, "%.*s", space ? (int)(space - list[i].name) : 79, list[i].name);
            if (*recipe_meant(words, name, found))
                snprintf(meant, 120, " (did you mean `kpd %s%s%s`?)", two ? argv[0] : "", two ? " " : "", words);
        }
}

// >>man --------------------------------------------------------------------------------------------------------------

// A text as roff shows it: a dot or quote that begins a line is no request.
static void man_text(const char *text) {
    for (const char *s = text; *s; s++) {
        if ((s == text || s[-1] == '\n') && (*s == '.' || *s == '\'')) fputs("\\&", stdout);
        if (*s == '\\') fputs("\\e", stdout);
        else if (*s == '-') fputs("\\-", stdout);
        else if (*s == '|') fputs("|\\:", stdout);        // a line may end there
        else putchar(*s);
    }
}

static void man_options(const char *allowed) {
    for (int i = 0; i < N_OPTIONS; i++) {
        char form[160];
        if (recipe_find(allowed, OPTIONS[i].name) < 0) continue;
        option_form(&OPTIONS[i], form, sizeof form);
        printf(".TP\n.B ");
        man_text(form);
        putchar('\n');
        man_text(OPTIONS[i].help);
        putchar('\n');
    }
}

static void help_man(const command *list, int n) {
    printf(".TH KPD 1 \"\" \"kpd " KPD_VERSION "\"\n.SH NAME\n"
           "kpd \\- keyphrase retrieval: embed, index, search, recommend, train\n"
           ".SH SYNOPSIS\n.B kpd\n.I command\n[arguments] [options]\n.SH DESCRIPTION\n"
           "Text comes from a file, or for \\- and for no file from the standard input: a text a line, a TAB between its\n"
           "segments. Files are written beside their place and renamed when whole. A file that \\-o names is replaced, files\n"
           "in a folder only with \\-\\-force, an input never.\n.SH COMMANDS\n");
    for (int i = 0; i < n; i++) {
        printf(".SS ");
        man_text(list[i].name);
        printf("\n.nf\nkpd ");
        man_text(list[i].use);
        printf("\n\n");
        man_text(list[i].help);
        printf("\n.fi\n");
        man_options(list[i].options);
    }
    printf(".SH COMMON OPTIONS\n");
    man_options(COMMON_OPTIONS);
    printf(".SH EXIT STATUS\n0 done, 1 something is wrong with the data or a file, 2 with the command.\n");
}

// >>completion -------------------------------------------------------------------------------------------------------

// Whether a command is the first part of a family that is no command itself; out is then the family's name.
static bool begins_family(const command *list, int n, int i, char out[40]) {
    const char *space = strchr(list[i].name, ' ');
    if (!space) return false;
    snprintf(out, 40, "%.*s", (int)(space - list[i].name), list[i].name);
    for (int k = 0; k < n; k++)
        if (!strcmp(list[k].name, out) || (k < i && is_part(&list[k], out))) return false;
    return true;
}

static void complete_first(const command *list, int n) {
    char family[40];
    for (int i = 0; i < n; i++)
        if (!strchr(list[i].name, ' ')) printf(" %s", list[i].name);
        else if (begins_family(list, n, i, family)) printf(" %s", family);
    printf(" help");
}

static void complete_parts(const command *list, int n, const char *family) {
    if (!help_has_parts(list, n, family)) return;
    printf(" parts=\"");
    for (int i = 0; i < n; i++)
        if (is_part(&list[i], family)) printf(" %s", list[i].name + strlen(family) + 1);
    printf("\"");
}

// What both shells do: sets values, parts and options by the word before and the command, which may have two words.
static void complete_cases(const command *list, int n) {
    char family[40];
    printf("    case \"$before\" in\n");
    for (int i = 0; i < N_OPTIONS; i++)
        if (OPTIONS[i].kind == CHOICE) printf("        %s) values=\"%s\" ;;\n", OPTIONS[i].name, OPTIONS[i].choices);
    printf("    esac\n    for command in \"$one\" \"$one $two\"; do case \"$command\" in\n");
    for (int i = 0; i < n; i++) {
        if (begins_family(list, n, i, family)) {
            printf("        \"%s\")", family);
            complete_parts(list, n, family);
            printf(" ;;\n");
        }
        printf("        \"%s\") options=\"%s " COMMON_OPTIONS "\"", list[i].name, list[i].options);
        complete_parts(list, n, list[i].name);
        printf(" ;;\n");
    }
    printf("    esac; done\n");
}

static void help_bash(const command *list, int n) {
    printf("# kpd completion for bash: source <(kpd help --completion bash)\n_kpd() {\n"
           "    local word=\"${COMP_WORDS[COMP_CWORD]}\" before=\"${COMP_WORDS[COMP_CWORD-1]}\" command\n"
           "    local one=\"${COMP_WORDS[1]}\" two=\"${COMP_WORDS[2]}\" values= parts= options=\n");
    complete_cases(list, n);
    printf("    if [ \"$COMP_CWORD\" -eq 1 ]; then options=\"");
    complete_first(list, n);
    printf("\"; word=\"$one\"\n    elif [ -n \"$values\" ]; then options=\"$values\"\n"
           "    elif [ \"$COMP_CWORD\" -eq 2 ] && [ -n \"$parts\" ] && [ \"${word#-}\" = \"$word\" ]; then options=\"$parts\"\n"
           "    elif [ \"${word#-}\" = \"$word\" ]; then COMPREPLY=($(compgen -f -- \"$word\")); return; fi\n"
           "    COMPREPLY=($(compgen -W \"$options\" -- \"$word\"))\n}\ncomplete -o filenames -F _kpd kpd\n");
}

static void help_zsh(const command *list, int n) {
    printf("#compdef kpd\n# kpd completion for zsh: kpd help --completion zsh > _kpd, in a folder of $fpath\n_kpd() {\n"
           "    local before=\"$words[CURRENT-1]\" one=\"$words[2]\" two=\"$words[3]\" command values= parts= options=\n");
    complete_cases(list, n);
    printf("    if (( CURRENT == 2 )); then compadd --");
    complete_first(list, n);
    printf("\n    elif [[ -n $values ]]; then compadd -- ${=values}\n"
           "    elif (( CURRENT == 3 )) && [[ -n $parts && $PREFIX != -* ]]; then compadd -- ${=parts}\n"
           "    elif [[ $PREFIX == -* ]]; then compadd -- ${=options}\n"
           "    else _files; fi\n}\n_kpd \"$@\"\n");
}
