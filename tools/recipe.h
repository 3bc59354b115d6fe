// recipe.h - a recipe is a text file (INI) that says what to train, on which data, and how. It becomes a kpdt_trainer_desc.
//
//     recipe r;
//     if (!recipe_read(&r, "student.ini") || !recipe_open(&r)) fprintf(stderr, "%s\n", r.error);
//     ... kpdt_trainer_create(&r.train.d, ...) ...
//     recipe_close(&r);
//
// One table of keys drives the parser and recipe_help, so that they cannot drift apart: an entry says where in the library's
// own descs its value goes. An absent key leaves zero there, which is the library's default. Every message is
// `file:line: what is wrong, what was expected`; lines count from 1. Paths are relative to the recipe's folder.
#ifndef RECIPE_H
#define RECIPE_H

#include "../kpd_train.h"
#include "files.h"
#include "table.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { RECIPE_MAX_DATA = 64, RECIPE_MAX_KEYS = 80, RECIPE_MAX_LINE = 4096, RECIPE_MAX_BYTES = 1 << 20, RECIPE_MAX_OWNED = 240 };

typedef struct recipe_section {         // in which line it and its keys stand, 0 = nowhere
    int32_t line, key_line[RECIPE_MAX_KEYS];
    char title[80];                     // as messages name it: [data clicks]
} recipe_section;

typedef struct recipe_model {
    kpd_model_desc d;                   // first: a key that writes here overrides what `start` has
    const char *start, *vocab, *assistant, *teacher;
    int32_t start_layers[KPDT_MAX_DIMS];
    bool cased;
} recipe_model;

typedef struct recipe_train {
    kpdt_trainer_desc d;
    const char *output;
    int32_t checkpoint_seconds;
    int64_t checkpoint_steps, log_steps;
} recipe_train;

typedef struct recipe_data {            // of [dev] and [data]
    const char *file, *name, *items;
    kpdt_dataset_desc set;
    kpdt_source source;
    int32_t dims[KPDT_MAX_DIMS];
    float dim_weights[KPDT_MAX_DIMS];
    int similarity, format;             // a table_format
    const char *columns;                // as they stand in the recipe; NULL = by the file's own names
    bool other;                         // not lines of just these columns: read into `text` as such
    char *text;
    table_items by_id;
    kpdt_refresh refresh;               // of [data]: which source.refresh is, where mine_steps stands
    const char *mine_among; bool mine_assistant;
    char *phrases; kpdt_dataset *among;         // the keyphrases of that file, a line each
} recipe_data;

typedef struct recipe {
    recipe_model model; recipe_train train; recipe_data dev;
    recipe_data data[RECIPE_MAX_DATA]; int32_t n_data;
    kpd_model *start, *assistant, *teacher;     // recipe_open
    kpdt_dataset *dev_set, *set[RECIPE_MAX_DATA];
    kpdt_source sources[RECIPE_MAX_DATA];
    // the rest is the parser's
    recipe_section at_model, at_train, at_dev, at_data[RECIPE_MAX_DATA];
    recipe_section *at;                 // the section in hand, and where its keys go
    int at_kind;
    void *base;
    const char *path, *named;           // named: the file in which messages place it, and its lines behind those above it
    int32_t line;
    bool plan;                          // files may be made later: none is looked at
    char *text;
    void *owned[RECIPE_MAX_OWNED]; int n_owned;
    char error[1024];
} recipe;

// Keys ---------------------------------------------------------------------------------------------------------------

enum { RECIPE_MODEL = 1, RECIPE_TRAIN = 2, RECIPE_DEV = 4, RECIPE_DATA = 8 };
// The names of one of kpd.h's enums as words in its order.
#define RECIPE_WORD(name, text) " " text
#define WORDS(list) (&(list(RECIPE_WORD))[1])

enum { RECIPE_OVER = 1, RECIPE_BELOW = 2,               // the bound itself is not allowed
       RECIPE_ZERO = 4 };                               // 0 is said with KPDT_ZERO, since the library's 0 is its default

// What a value is, and the type of its field: int32_t, int64_t, float, const char *, const char * of a file that must be
// there, an enum, bool; then those with a parser of their own.
typedef enum recipe_kind {
    RECIPE_INTEGER, RECIPE_LONG, RECIPE_NUMBER, RECIPE_TEXT, RECIPE_FILE, RECIPE_CHOICE, RECIPE_YES_NO,
    RECIPE_COLUMNS, RECIPE_LOSSES, RECIPE_WIDTHS, RECIPE_WEIGHTS
} recipe_kind;

typedef struct recipe_key {
    int sections;                       // in which it may stand; of a loss's option: the losses that take it, as bits
    const char *name;
    recipe_kind kind;
    size_t field;                       // of the section's struct; of kpdt_loss_desc
    double low, high; int open;
    const char *choices;                // words, in the order of the enum that they name
    const char *absent, *help;          // what holds without the key; what it means
} recipe_key;

#define RECIPE_LOSS_WORDS (WORDS(KPDT_LOSS_LIST) + sizeof "none")     // from 1 on
#define RECIPE_COLUMN_WORDS (&(KPDT_COLUMN_LIST(RECIPE_WORD) " item")[sizeof " end"])     // from 1 on, and item

#define M(f) offsetof(recipe_model, f)
#define T(f) offsetof(recipe_train, f)
#define D(f) offsetof(recipe_data, f)
#define RECIPE_SETS (RECIPE_DEV | RECIPE_DATA)
static const recipe_key RECIPE_KEYS[] = {
    {RECIPE_MODEL, "start", RECIPE_FILE, M(start), 0, 0, 0, NULL, "random weights", "a model (.kpd) to go on from"},
    {RECIPE_MODEL, "start_layers", RECIPE_WIDTHS, M(start_layers), 1, KPD_MAX_LAYERS, 0, NULL, "all",
     "those layers of start alone, counted from 1: 1 4 makes a model of two"},
    {RECIPE_MODEL, "vocab", RECIPE_FILE, M(vocab), 0, 0, 0, NULL, "that of start",
     "vocab.txt, a token a line; for random weights"},
    {RECIPE_MODEL, "cased", RECIPE_YES_NO, M(cased), 0, 0, 0, NULL, "no", "upper and lower case differ; with vocab"},
    {RECIPE_MODEL, "layers", RECIPE_INTEGER, M(d.n_layers), 1, KPD_MAX_LAYERS, 0, NULL, "that of start", "of the encoder"},
    {RECIPE_MODEL, "width", RECIPE_INTEGER, M(d.width), 2, KPD_MAX_WIDTH, 0, NULL, "that of start",
     "of a token's vector, a multiple of heads"},
    {RECIPE_MODEL, "heads", RECIPE_INTEGER, M(d.n_heads), 1, KPD_MAX_WIDTH, 0, NULL, "that of start", "of attention"},
    {RECIPE_MODEL, "ffn_width", RECIPE_INTEGER, M(d.ffn_width), 1, KPD_MAX_WIDTH, 0, NULL, "4 width",
     "of the feed-forward layer"},
    {RECIPE_MODEL, "positions", RECIPE_INTEGER, M(d.n_positions), 4, KPD_MAX_POSITIONS, 0, NULL, "512",
     "the longest text that fits"},
    {RECIPE_MODEL, "max_tokens", RECIPE_INTEGER, M(d.max_tokens), 4, KPD_MAX_POSITIONS, 0, NULL, "positions",
     "texts are cut to this"},
    {RECIPE_MODEL, "activation", RECIPE_CHOICE, M(d.activation), 0, 0, 0, "gelu gelu-tanh relu tanh", "gelu",
     "of the feed-forward layer"},
    {RECIPE_MODEL, "kind", RECIPE_CHOICE, M(d.kind), 0, 0, 0, WORDS(KPD_KIND_LIST), "that of start",
     "of another kind than start: its encoder with a random head"},
    {RECIPE_MODEL, "pooling", RECIPE_CHOICE, M(d.pooling), 0, 0, 0, WORDS(KPD_POOLING_LIST), "mean",
     "of a bi-encoder"},
    {RECIPE_MODEL, "separate_towers", RECIPE_YES_NO, M(d.separate_towers), 0, 0, 0, NULL, "no",
     "bi-encoder: own weights for keyphrases"},
    {RECIPE_MODEL, "labels", RECIPE_INTEGER, M(d.n_labels), 1, KPD_MAX_LABELS, 0, NULL, "1", "logits of a cross-encoder"},
    {RECIPE_MODEL, "template_item", RECIPE_TEXT, M(d.template_item), 0, 0, 0, NULL, "{title} {sep} {category}",
     "what a model reads"},
    {RECIPE_MODEL, "template_keyphrase", RECIPE_TEXT, M(d.template_keyphrase), 0, 0, 0, NULL, "{keyphrase}", "likewise"},
    {RECIPE_MODEL, "template_pair", RECIPE_TEXT, M(d.template_pair), 0, 0, 0, NULL,
     "{keyphrase} {sep} {category} {sep} {title}",
     "likewise, of a cross-encoder"},
    {RECIPE_MODEL, "assistant", RECIPE_FILE, M(assistant), 0, 0, 0, NULL, "none", "the cross-encoder of teacher=assistant"},
    {RECIPE_MODEL, "teacher", RECIPE_FILE, M(teacher), 0, 0, 0, NULL, "none", "the model, trained by mlm, that mlm-kl follows"},

    {RECIPE_TRAIN, "output", RECIPE_TEXT, T(output), 0, 0, 0, NULL, "the recipe's name without .ini",
     "a folder, made if need be"},
    {RECIPE_TRAIN, "batch", RECIPE_INTEGER, T(d.batch), 1, 1 << 20, 0, NULL, "32", "rows"},
    {RECIPE_TRAIN, "accumulate", RECIPE_INTEGER, T(d.accumulate), 1, 1 << 20, 0, NULL, "1",
     "batches a step, whose mean gradient counts"},
    {RECIPE_TRAIN, "epochs", RECIPE_INTEGER, T(d.epochs), 1, 1 << 20, 0, NULL, "1", "how often each row is seen"},
    {RECIPE_TRAIN, "steps", RECIPE_LONG, T(d.steps), 1, 1e15, 0, NULL, "as epochs say", "in place of epochs"},
    {RECIPE_TRAIN, "rate", RECIPE_NUMBER, T(d.rate), 0, HUGE_VAL, RECIPE_OVER, NULL, "2e-5",
     "of learning, at the end of the warm-up"},
    {RECIPE_TRAIN, "warmup", RECIPE_NUMBER, T(d.warmup), 0, 1, RECIPE_BELOW, NULL, "0",
     "share of the steps over which the rate climbs"},
    {RECIPE_TRAIN, "cosine_decay", RECIPE_YES_NO, T(d.cosine_decay), 0, 0, 0, NULL, "no",
     "the rate then falls to 0 as half a cosine, not in a line"},
    {RECIPE_TRAIN, "layer_decay", RECIPE_NUMBER, T(d.layer_decay), 0, 1, RECIPE_OVER, NULL, "1",
     "each layer has this times the rate of the one above"},
    {RECIPE_TRAIN, "frozen_layers", RECIPE_INTEGER, T(d.frozen_layers), 0, KPD_MAX_LAYERS, 0, NULL, "0",
     "the embeddings and the first so many layers stay as they are"},
    {RECIPE_TRAIN, "dropout", RECIPE_NUMBER, T(d.dropout), 0, 1, RECIPE_BELOW, NULL, "0",
     "share of values left out while training"},
    {RECIPE_TRAIN, "weight_decay", RECIPE_NUMBER, T(d.weight_decay), 0, HUGE_VAL, 0, NULL, "0", "of matrices and tables"},
    {RECIPE_TRAIN, "beta1", RECIPE_NUMBER, T(d.beta1), 0, 1, RECIPE_ZERO | RECIPE_BELOW, NULL, "0.9", "of AdamW"},
    {RECIPE_TRAIN, "beta2", RECIPE_NUMBER, T(d.beta2), 0, 1, RECIPE_ZERO | RECIPE_BELOW, NULL, "0.999", "of AdamW"},
    {RECIPE_TRAIN, "epsilon", RECIPE_NUMBER, T(d.epsilon), 0, HUGE_VAL, RECIPE_OVER, NULL, "1e-8", "of AdamW"},
    {RECIPE_TRAIN, "clip", RECIPE_NUMBER, T(d.clip), 0, HUGE_VAL, 0, NULL, "1",
     "a longer gradient is cut to this length; 0 = never"},
    {RECIPE_TRAIN, "seed", RECIPE_LONG, T(d.seed), 0, 9e15, 0, NULL, "0", "of random weights, dropout and the order of rows"},
    {RECIPE_TRAIN, "max_tokens_in_flight", RECIPE_INTEGER, T(d.max_tokens), 1, 1 << 24, 0, NULL, "4096",
     "of the passes that are kept: memory, not results"},
    {RECIPE_TRAIN, "max_texts_in_flight", RECIPE_INTEGER, T(d.max_texts), 1, 1 << 24, 0, NULL, "256 or batch", "likewise"},
    {RECIPE_TRAIN, "checkpoint_seconds", RECIPE_INTEGER, T(checkpoint_seconds), 0, 1 << 24, 0, NULL, "60",
     "between checkpoints; 0 = not by time"},
    {RECIPE_TRAIN, "checkpoint_steps", RECIPE_LONG, T(checkpoint_steps), 0, 1e15, 0, NULL, "0",
     "likewise in steps; 0 = not by steps"},
    {RECIPE_TRAIN, "log_steps", RECIPE_LONG, T(log_steps), 1, 1e15, 0, NULL, "1",
     "metrics.tsv has each so many-th step, and those that look at dev"},

    {RECIPE_SETS, "file", RECIPE_FILE, D(file), 0, 0, 0, NULL, "required",
     "a row a line, a TAB between columns; or CSV (.csv) or JSON lines (.jsonl), which are held in memory"},
    {RECIPE_SETS, "columns", RECIPE_COLUMNS, D(set.columns), 0, 0, 0, RECIPE_COLUMN_WORDS, "by the names in the file",
     "words, in the file's order; - skips one, query groups rows, negative is a wrong keyphrase and may come again; or "
     "WORD=NAME, by the file's names"},
    {RECIPE_SETS, "items", RECIPE_FILE, D(items), 0, 0, 0, NULL, "none",
     "a file of id, title, category: a column `item` then has ids, in place of title and category"},
    {RECIPE_SETS, "format", RECIPE_CHOICE, D(format), 0, 0, 0, TABLE_FORMATS, "auto", "of the file; auto: by its name"},
    {RECIPE_SETS, "skip_bad_rows", RECIPE_YES_NO, D(set.skip_bad_rows), 0, 0, 0, NULL, "no",
     "leaves them out and counts them; else the first is an error"},
    {RECIPE_DATA, "loss", RECIPE_LOSSES, D(source.losses), 0, 0, 0, RECIPE_LOSS_WORDS, "required",
     "one or more with a comma between them, each with options (below)"},
    {RECIPE_DATA, "batching", RECIPE_CHOICE, D(source.batching), 0, 0, 0, WORDS(KPDT_BATCHING_LIST), "random",
     "no-duplicates: to mnr no text counts twice in a batch; by-query: neither, and the rows of a query together, which "
     "margin-mse, kl, ranknet and pearson per_query=yes want of a set without negatives"},
    {RECIPE_DATA, "log_q", RECIPE_YES_NO, D(source.log_q), 0, 0, 0, NULL, "no",
     "mnr takes from a candidate's score the log of how often the set has it"},
    {RECIPE_DATA, "share", RECIPE_NUMBER, D(source.share), 0, HUGE_VAL, RECIPE_OVER, NULL, "as its rows",
     "of the batches, beside that of the others; for all sets or for none"},
    {RECIPE_DATA, "similarity", RECIPE_CHOICE, D(similarity), 0, 0, 0, WORDS(KPDT_SIMILARITY_LIST), "cosine",
     "of a bi-encoder's vectors"},
    {RECIPE_DATA, "dims", RECIPE_WIDTHS, D(dims), 1, KPD_MAX_WIDTH, 0, NULL, "all columns",
     "widths at which the losses count, descending (Matryoshka)"},
    {RECIPE_DATA, "dim_weights", RECIPE_WEIGHTS, D(dim_weights), 0, HUGE_VAL, RECIPE_ZERO, NULL, "1 each", "of the dims"},
    {RECIPE_DATA, "mine_steps", RECIPE_LONG, D(refresh.steps), 0, 1e15, 0, NULL, "nothing is mined",
     "what is trained mines the rows' negatives, before the first step and again each so many; 0 = before the first only"},
    {RECIPE_DATA, "mine_among", RECIPE_FILE, D(mine_among), 0, 0, 0, NULL, "the set's own",
     "a file of keyphrases, as kpd index build reads one"},
    {RECIPE_DATA, "mine_negatives", RECIPE_INTEGER, D(refresh.mining.n), 1, KPDT_MAX_COLUMNS, 0, NULL, "4", "of a row"},
    {RECIPE_DATA, "mine_first_rank", RECIPE_INTEGER, D(refresh.mining.first_rank), 1, KPD_MAX_K, 0, NULL, "1",
     "of what is found for an item"},
    {RECIPE_DATA, "mine_last_rank", RECIPE_INTEGER, D(refresh.mining.last_rank), 1, KPD_MAX_K, 0, NULL, "100", "likewise"},
    {RECIPE_DATA, "mine_dim", RECIPE_INTEGER, D(refresh.dim), 1, KPD_MAX_WIDTH, 0, NULL,
     "as kpd embed", "columns of the vectors that count"},
    {RECIPE_DATA, "mine_max_score", RECIPE_NUMBER, D(refresh.mining.max_score), -1e9, 1e9, RECIPE_ZERO, NULL, "any",
     "of a negative"},
    {RECIPE_DATA, "mine_min_score", RECIPE_NUMBER, D(refresh.mining.min_score), -1e9, 1e9, RECIPE_ZERO, NULL, "any",
     "likewise"},
    {RECIPE_DATA, "mine_margin", RECIPE_NUMBER, D(refresh.mining.margin), 0, HUGE_VAL, RECIPE_ZERO, NULL, "none",
     "by which a negative's score is below that of the row's keyphrase"},
    {RECIPE_DATA, "mine_relative_margin", RECIPE_NUMBER, D(refresh.mining.relative_margin), 0, HUGE_VAL, RECIPE_ZERO, NULL,
     "none", "likewise, as a share of that score"},
    {RECIPE_DATA, "mine_assistant", RECIPE_YES_NO, D(mine_assistant), 0, 0, 0, NULL, "yes, where [model] names one",
     "it is asked, and what it takes for relevant is no negative"},
    {RECIPE_DATA, "mine_threshold", RECIPE_NUMBER, D(refresh.mining.threshold), 0, 1, RECIPE_OVER, NULL, "0.5",
     "of its probability, from which on a keyphrase is relevant"},
    {RECIPE_DATA, "mine_sample", RECIPE_YES_NO, D(refresh.mining.sample), 0, 0, 0, NULL, "no",
     "negatives are drawn from those ranks; else they are the first of them"},

    {RECIPE_DEV, "metric", RECIPE_CHOICE, offsetof(recipe_train, d.dev_metric), 0, 0, 0, WORDS(KPDT_DEV_METRIC_LIST), "auc",
     "of cosine or logit against label; mlm: minus the loss"},
    {RECIPE_DEV, "steps", RECIPE_LONG, T(d.dev_steps), 1, 1e15, 0, NULL, "the last only", "between looks at dev"},
    {RECIPE_DEV, "patience", RECIPE_INTEGER, T(d.patience), 0, 1 << 24, 0, NULL, "0",
     "training ends when so many looks in a row were not the best; 0 = never"},
    {RECIPE_DEV, "dim", RECIPE_INTEGER, T(d.dev_dim), 1, KPD_MAX_WIDTH, 0, NULL, "all",
     "columns of a bi-encoder's vector that count"},
};
#undef M
#undef T
#undef D

#define RECIPE_BIT(loss) (1 << (loss))
#define RECIPE_ON_PAIRS (RECIPE_BIT(KPDT_CONTRASTIVE) | RECIPE_BIT(KPDT_ONLINE_CONTRASTIVE) | RECIPE_BIT(KPDT_MSE) | \
    RECIPE_BIT(KPDT_COSENT) | RECIPE_BIT(KPDT_PEARSON) | RECIPE_BIT(KPDT_BCE) | RECIPE_BIT(KPDT_MARGIN_MSE) | \
    RECIPE_BIT(KPDT_KL) | RECIPE_BIT(KPDT_RANKNET) | RECIPE_BIT(KPDT_SOFTMAX))
#define RECIPE_OF_QUERIES (RECIPE_BIT(KPDT_MARGIN_MSE) | RECIPE_BIT(KPDT_KL) | RECIPE_BIT(KPDT_RANKNET))
#define RECIPE_ALL_LOSSES ((1 << KPDT_LOSS_COUNT) - 2)
#define L(f) offsetof(kpdt_loss_desc, f)
static const recipe_key RECIPE_LOSS_OPTIONS[] = {
    {RECIPE_ALL_LOSSES, "weight", RECIPE_NUMBER, L(weight), 0, HUGE_VAL, RECIPE_ZERO, NULL, "1", "beside the other losses"},
    {RECIPE_ON_PAIRS & ~RECIPE_BIT(KPDT_SOFTMAX), "teacher", RECIPE_CHOICE, L(teacher), 0, 0, 0, WORDS(KPDT_TEACHER_LIST),
     "label", "whom it follows: a column, or the assistant's probability"},
    {RECIPE_BIT(KPDT_MSE) | RECIPE_BIT(KPDT_PEARSON) | RECIPE_BIT(KPDT_MARGIN_MSE) | RECIPE_BIT(KPDT_KL),
     "target", RECIPE_CHOICE,
     L(target), 0, 0, 0, WORDS(KPDT_TARGET_LIST), "probability", "as what: t as it is, log(t / (1-t)), 2t-1"},
    {RECIPE_BIT(KPDT_MNR) | RECIPE_BIT(KPDT_MNR_SYMMETRIC) | RECIPE_BIT(KPDT_COSENT) | RECIPE_BIT(KPDT_RANKNET), "scale",
     RECIPE_NUMBER, L(scale), 0, HUGE_VAL, RECIPE_OVER, NULL, "20", "of the scores"},
    {RECIPE_BIT(KPDT_CONTRASTIVE) | RECIPE_BIT(KPDT_ONLINE_CONTRASTIVE), "margin", RECIPE_NUMBER, L(margin), 0, HUGE_VAL,
     RECIPE_ZERO, NULL, "0.5", "how far from 1 a negative's similarity should be"},
    {RECIPE_BIT(KPDT_PEARSON), "per_query", RECIPE_YES_NO, L(per_query), 0, 0, 0, NULL, "no", "the mean over queries"},
    {RECIPE_BIT(KPDT_PEARSON), "epsilon", RECIPE_NUMBER, L(epsilon), 0, HUGE_VAL, RECIPE_OVER, NULL, "1e-8", "in the divisor"},
    {RECIPE_BIT(KPDT_BCE), "pos_weight", RECIPE_NUMBER, L(pos_weight), 0, HUGE_VAL, RECIPE_ZERO, NULL, "1", "of a yes"},
    {RECIPE_BIT(KPDT_KL) | RECIPE_BIT(KPDT_MLM_KL), "temperature", RECIPE_NUMBER, L(temperature), 0, HUGE_VAL, RECIPE_OVER, NULL, "1",
     "of both softmaxes"},
    {RECIPE_BIT(KPDT_RANKNET), "weighted", RECIPE_YES_NO, L(weighted), 0, 0, 0, NULL, "no",
     "pairs count by the difference of t"},
};
#undef L

enum {
    RECIPE_N_KEYS = sizeof RECIPE_KEYS / sizeof *RECIPE_KEYS,
    RECIPE_N_LOSS_OPTIONS = sizeof RECIPE_LOSS_OPTIONS / sizeof *RECIPE_LOSS_OPTIONS
};

// The table writes enums as int, and has room for the lines of all keys.
typedef char recipe_enums_are_ints[sizeof(kpdt_dev_metric) == sizeof(int) && sizeof(kpd_pooling) == sizeof(int) ? 1 : -1];
typedef char recipe_keys_fit[(int)RECIPE_N_KEYS <= (int)RECIPE_MAX_KEYS ? 1 : -1];

// Errors and small tools ---------------------------------------------------------------------------------------------

#ifdef __GNUC__
__attribute__((format(printf, 3, 4)))
#endif
static bool recipe_fail(recipe *r, int32_t line, const char *format, ...) {
    va_list args;
    int n = line > 0 ? snprintf(r->error, sizeof r->error, "%.400s:%d: ", r->named, (int)line)
                     : snprintf(r->error, sizeof r->error, "%.400s: ", r->named);
    va_start(args, format);
    vsnprintf(r->error + n, sizeof r->error - (size_t)n, format, args);
    va_end(args);
    return false;
}

// Zeroed, freed by recipe_close; NULL after a message.
static void *recipe_alloc(recipe *r, size_t size) {
    void *p = r->n_owned < RECIPE_MAX_OWNED ? calloc(1, size) : NULL;
    if (p) r->owned[r->n_owned++] = p;
    else recipe_fail(r, r->line, "out of memory: %zu bytes", size);
    return p;
}

static bool recipe_blank(char c) { return c == ' ' || c == '\t'; }

static char *recipe_trim(char *s) {
    size_t n;
    while (recipe_blank(*s)) s++;
    n = strlen(s);
    while (n && recipe_blank(s[n - 1])) s[--n] = 0;
    return s;
}

// The next word of *s, ended in place; NULL at the end.
static char *recipe_word(char **s) {
    char *word = *s;
    while (recipe_blank(*word)) word++;
    if (!*word) return NULL;
    for (*s = word; **s && !recipe_blank(**s); ++*s) {}
    if (**s) *(*s)++ = 0;
    return word;
}

// The position of a word in a list of words with single spaces between them, or -1.
static int recipe_find(const char *list, const char *word) {
    size_t n = strlen(word);
    for (int i = 0; n && *list; i++) {
        size_t m = strcspn(list, " ");
        if (m == n && !memcmp(list, word, n)) return i;
        list += m + (list[m] == ' ');
    }
    return -1;
}

// How many letters must be put in, left out, changed or swapped with their neighbour to make one word of the other.
static int recipe_distance(const char *a, size_t n, const char *b, size_t m) {
    int row[3][48];                     // of a's first i letters to b's first k: row i % 3
    if (n > 40 || m > 40) return 99;
    for (size_t i = 0; i <= n; i++)
        for (size_t k = 0; k <= m; k++) {
            int *at = &row[i % 3][k];
            const int *above = row[(i + 2) % 3], *before = row[(i + 1) % 3];
            if (!i || !k) { *at = (int)(i + k); continue; }
            *at = above[k - 1] + (a[i - 1] != b[k - 1]);
            if (above[k] + 1 < *at) *at = above[k] + 1;
            if (row[i % 3][k - 1] + 1 < *at) *at = row[i % 3][k - 1] + 1;
            if (i > 1 && k > 1 && a[i - 1] == b[k - 2] && a[i - 2] == b[k - 1] && before[k - 2] + 1 < *at)
                *at = before[k - 2] + 1;
        }
    return row[n % 3][m];
}

// Whether a word is a part of another, as rate is of learning_rate.
static bool recipe_is_part(const char *word, size_t n, const char *of, size_t m) {
    for (size_t i = 0; n >= 3 && i + n <= m; i++)
        if (!memcmp(of + i, word, n) && (!i || of[i - 1] == '_' || of[i - 1] == '-') &&
            (i + n == m || of[i + n] == '_' || of[i + n] == '-')) return true;
    return false;
}

// The word of a list that was perhaps meant, as a text to append to a message: " (did you mean WORD?)", or "".
static const char *recipe_meant(const char *list, const char *word, char out[80]) {
    size_t n = strlen(word);
    int least = n < 4 ? 2 : 3;          // a distance below this is near
    out[0] = 0;
    while (*list) {
        size_t m = strcspn(list, " ");
        int distance = recipe_is_part(list, m, word, n) || recipe_is_part(word, n, list, m) ? 1
                                                                                            : recipe_distance(word, n, list, m);
        if (m && distance < least && m < 40) {
            least = distance;
            snprintf(out, 80, " (did you mean %.*s?)", (int)m, list);
        }
        list += m + (list[m] == ' ');
    }
    return out;
}

// A path of the recipe, seen from where the program runs.
static char *recipe_path(recipe *r, const char *value) {
    const char *slash = strrchr(r->path, '/');
    size_t dir = slash && value[0] != '/' ? (size_t)(slash - r->path) + 1 : 0;
    char *path = (char *)recipe_alloc(r, dir + strlen(value) + 1);
    if (path) sprintf(path, "%.*s%s", (int)dir, r->path, value);
    return path;
}

// Values -------------------------------------------------------------------------------------------------------------

static bool recipe_is_whole(const recipe_key *k) {
    return k->kind == RECIPE_INTEGER || k->kind == RECIPE_LONG || k->kind == RECIPE_WIDTHS;
}

static void recipe_bounds(const recipe_key *k, char *out, size_t size) {
    const char *what = recipe_is_whole(k) ? "an integer" : "a number", *to = k->open & RECIPE_BELOW ? "to below" : "to";
    int n = snprintf(out, size, "%s %s %.15g", what, k->open & RECIPE_OVER ? "over" : "from", k->low);
    if (isfinite(k->high)) snprintf(out + n, size - (size_t)n, " %s %.15g", to, k->high);
    else if (!(k->open & RECIPE_OVER)) snprintf(out + n, size - (size_t)n, " on");
}

// A comment behind a value is part of it; whoever meant one should learn why it fails.
static bool recipe_expected(recipe *r, const recipe_key *k, const char *value, const char *expected) {
    const char *hint = strpbrk(value, "#;") ? " (a comment needs a line of its own)" : "";
    return recipe_fail(r, r->line, "%s = %.200s: expected %s%s", k->name, value, expected, hint);
}

static bool recipe_number(recipe *r, const recipe_key *k, const char *value, double *out) {
    char *end, bounds[100];
    bool whole = recipe_is_whole(k);
    double v = strtod(value, &end);
    bool low = k->open & RECIPE_OVER ? v > k->low : v >= k->low, high = k->open & RECIPE_BELOW ? v < k->high : v <= k->high;
    *out = v == 0 && k->open & RECIPE_ZERO ? (double)KPDT_ZERO : v;
    if (end != value && !*end && isfinite(v) && low && high && (!whole || v == floor(v)) && (whole || isfinite((float)v)))
        return true;
    recipe_bounds(k, bounds, sizeof bounds);
    return recipe_expected(r, k, value, bounds);
}

static bool recipe_choice(recipe *r, const recipe_key *k, const char *choices, const char *value, int *out) {
    char expected[300], meant[80];
    *out = recipe_find(choices, value);
    if (*out >= 0) return true;
    snprintf(expected, sizeof expected, "one of: %s%s", choices, recipe_meant(choices, value, meant));
    return recipe_expected(r, k, value, expected);
}

// Looked at here, so that a wrong path has the line in which it stands.
static bool recipe_file(recipe *r, const recipe_key *k, const char *value, const char **out) {
    const char *path = recipe_path(r, value);
    struct stat st;
    if (!path) return false;
    *out = path;
    if (r->plan) return true;
    if (stat(path, &st) || access(path, R_OK))
        return recipe_fail(r, r->line, "%s = %.200s: %.300s: %s%s", k->name, value, path, strerror(errno),
                           *value == '"' || *value == '\'' ? "; a value has no quotes around it"
                           : strstr(value, " #") ? "; a comment stands on a line of its own" : "");
    if (!S_ISREG(st.st_mode)) return recipe_fail(r, r->line, "%s = %.200s: %.300s: not a regular file", k->name, value, path);
    return true;
}

// Of column word `at`; the library has no item.
static kpdt_column recipe_role(int at) { return at + 1 < KPDT_COLUMN_COUNT ? (kpdt_column)(at + 1) : KPDT_COL_SKIP; }

// Columns by the file's names are known when the file is.
static bool recipe_columns(recipe *r, const recipe_key *k, char *value, kpdt_column *out) {
    recipe_data *d = (recipe_data *)((char *)out - offsetof(recipe_data, set.columns));
    char *text = (char *)recipe_alloc(r, strlen(value) + 1);
    int n = 0, seen = 0;
    if (!text) return false;
    d->columns = strcpy(text, value);
    if (strchr(value, '=')) return true;
    for (char *word = recipe_word(&value); word; word = recipe_word(&value)) {
        int at;
        if (!recipe_choice(r, k, k->choices, word, &at)) return false;
        if (at && recipe_role(at) != KPDT_COL_NEGATIVE && seen & 1 << at)
            return recipe_fail(r, r->line, "columns: '%s' twice", word);
        if (n == KPDT_MAX_COLUMNS) return recipe_fail(r, r->line, "columns: more than %d", KPDT_MAX_COLUMNS);
        seen |= 1 << at;
        out[n++] = recipe_role(at);
    }
    return true;
}

// A list of numbers: widths into int32_t, weights into float.
static bool recipe_list(recipe *r, const recipe_key *k, char *value, void *out) {
    int n = 0;
    for (char *word = recipe_word(&value); word; word = recipe_word(&value)) {
        double v;
        if (!recipe_number(r, k, word, &v)) return false;
        if (n == KPDT_MAX_DIMS) return recipe_fail(r, r->line, "%s: more than %d", k->name, KPDT_MAX_DIMS);
        if (k->kind == RECIPE_WEIGHTS) ((float *)out)[n++] = (float)v;
        else ((int32_t *)out)[n++] = (int32_t)v;
    }
    return true;
}

// A value of one word or text into the field of its type.
static bool recipe_set(recipe *r, const recipe_key *k, char *value, void *field) {
    double v = 0;
    int at = 0;
    switch (k->kind) {
    case RECIPE_TEXT:   *(const char **)field = value; return true;
    case RECIPE_FILE:   return recipe_file(r, k, value, (const char **)field);
    case RECIPE_YES_NO:
        if (!recipe_choice(r, k, "no yes", value, &at)) return false;
        *(bool *)field = at == 1;
        return true;
    case RECIPE_CHOICE:
        if (!recipe_choice(r, k, k->choices, value, &at)) return false;
        memcpy(field, &at, sizeof at);
        return true;
    default: break;
    }
    if (!recipe_number(r, k, value, &v)) return false;
    if (k->kind == RECIPE_INTEGER) *(int32_t *)field = (int32_t)v;
    else if (k->kind == RECIPE_LONG) *(int64_t *)field = (int64_t)v;
    else *(float *)field = (float)v;
    return true;
}

// name=value behind a loss.
static bool recipe_loss_option(recipe *r, const char *loss, char *word, kpdt_loss_desc *d) {
    char *equals = strchr(word, '=');
    const recipe_key *k = NULL;
    if (!equals)
        return recipe_fail(r, r->line, "loss = %.40s: '%.200s' is no option=value%s", loss, word,
                           recipe_find(RECIPE_LOSS_WORDS, word) < 0 ? "" : "; a comma stands between losses");
    *equals = 0;
    for (int i = 0; i < RECIPE_N_LOSS_OPTIONS && !k; i++)
        if (!strcmp(RECIPE_LOSS_OPTIONS[i].name, word)) k = &RECIPE_LOSS_OPTIONS[i];
    if (k && k->sections & RECIPE_BIT((int)d->loss)) return recipe_set(r, k, equals + 1, (char *)d + k->field);
    return recipe_fail(r, r->line, "loss = %.40s: it has no option '%.200s'", loss, word);
}

static bool recipe_loss(recipe *r, const recipe_key *k, char *value, kpdt_loss_desc *d) {
    char *name = recipe_word(&value);
    int at;
    if (!name) return recipe_fail(r, r->line, "loss: nothing before or behind a comma");
    if (!recipe_choice(r, k, k->choices, name, &at)) return false;
    d->loss = (kpdt_loss)(at + 1);
    for (char *word = recipe_word(&value); word; word = recipe_word(&value))
        if (!recipe_loss_option(r, name, word, d)) return false;
    return true;
}

static bool recipe_on_texts(kpdt_loss loss) { return loss == KPDT_MLM || loss == KPDT_MLM_KL; }

static bool recipe_losses(recipe *r, const recipe_key *k, char *value, kpdt_loss_desc *out) {
    int n = 0;
    for (char *next = value; next; n++) {
        char *comma = strchr(next, ',');
        if (comma) *comma = 0;
        if (n == KPDT_MAX_LOSSES) return recipe_fail(r, r->line, "loss: more than %d", KPDT_MAX_LOSSES);
        if (!recipe_loss(r, k, next, &out[n])) return false;
        next = comma ? comma + 1 : NULL;
    }
    for (int i = 0; n > 1 && i < n; i++)
        if (recipe_on_texts(out[i].loss)) return recipe_fail(r, r->line, "loss: %s stands alone", kpdt_loss_name(out[i].loss));
    return true;
}

static bool recipe_value(recipe *r, const recipe_key *k, char *value, void *field) {
    switch (k->kind) {
    case RECIPE_COLUMNS: return recipe_columns(r, k, value, (kpdt_column *)field);
    case RECIPE_LOSSES:  return recipe_losses(r, k, value, (kpdt_loss_desc *)field);
    case RECIPE_WIDTHS:
    case RECIPE_WEIGHTS: return recipe_list(r, k, value, field);
    default:             return recipe_set(r, k, value, field);
    }
}

// Lines --------------------------------------------------------------------------------------------------------------

static bool recipe_name_ok(const char *name) {
    return *name && strlen(name) < 60 &&
           name[strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")] == 0;
}

static bool recipe_begin_data(recipe *r, char *name) {
    recipe_data *d = &r->data[r->n_data];
    name = recipe_trim(name);
    if (!recipe_name_ok(name))
        return recipe_fail(r, r->line, "[data NAME]: '%.80s', expected a name of letters, digits, _ . -", name);
    for (int32_t i = 0; i < r->n_data; i++)
        if (!strcmp(r->data[i].name, name))
            return recipe_fail(r, r->line, "[data %s] stands in line %d already", name, (int)r->at_data[i].line);
    if (r->n_data == RECIPE_MAX_DATA) return recipe_fail(r, r->line, "more than %d [data] sections", RECIPE_MAX_DATA);
    d->name = name;
    r->at = &r->at_data[r->n_data++];
    r->at_kind = RECIPE_DATA;
    r->base = d;
    r->at->line = r->line;
    snprintf(r->at->title, sizeof r->at->title, "[data %s]", name);
    return true;
}

static bool recipe_begin(recipe *r, char *line) {
    static const char *const names[] = {"model", "train", "dev"};
    recipe_section *const at[] = {&r->at_model, &r->at_train, &r->at_dev};
    void *const base[] = {&r->model, &r->train, &r->dev};
    size_t n = strlen(line);
    char *name;
    if (line[n - 1] != ']') return recipe_fail(r, r->line, "'%.80s': a section ends with ]", line);
    line[n - 1] = 0;
    name = recipe_trim(line + 1);
    if (!strncmp(name, "data", 4) && (!name[4] || recipe_blank(name[4]))) return recipe_begin_data(r, name + 4);
    for (int i = 0; i < 3; i++) {
        if (strcmp(name, names[i])) continue;
        if (at[i]->line) return recipe_fail(r, r->line, "[%s] stands in line %d already", name, (int)at[i]->line);
        r->at = at[i];
        r->at_kind = 1 << i;
        r->base = base[i];
        r->at->line = r->line;
        snprintf(r->at->title, sizeof r->at->title, "[%s]", name);
        return true;
    }
    return recipe_fail(r, r->line, "unknown section [%.80s], expected [model], [train], [dev] or [data NAME]", name);
}

static bool recipe_unknown_key(recipe *r, const char *name) {
    char list[900] = "", meant[80];
    for (int i = 0; i < RECIPE_N_KEYS; i++) {
        size_t n = strlen(list);
        if (RECIPE_KEYS[i].sections & r->at_kind) snprintf(list + n, sizeof list - n, " %s", RECIPE_KEYS[i].name);
    }
    recipe_meant(list, name, meant);
    return recipe_fail(r, r->line, "unknown key '%.80s' in %s%s, expected one of:%s", name, r->at->title, meant, list);
}

// What [dev] says of the looks at it goes to the trainer's desc.
static void *recipe_field(recipe *r, const recipe_key *k) {
    return (char *)(k->sections == RECIPE_DEV ? (void *)&r->train : r->base) + k->field;
}

static bool recipe_assign(recipe *r, char *line) {
    char *equals = strchr(line, '='), *value;
    if (!equals) return recipe_fail(r, r->line, "'%.80s': expected [section], key = value, or # and a comment", line);
    *equals = 0;
    line = recipe_trim(line);
    value = recipe_trim(equals + 1);
    if (!r->at) return recipe_fail(r, r->line, "'%.80s' stands before the first section", line);
    for (int i = 0; i < RECIPE_N_KEYS; i++) {
        const recipe_key *k = &RECIPE_KEYS[i];
        if (!(k->sections & r->at_kind) || strcmp(k->name, line)) continue;
        if (r->at->key_line[i])
            return recipe_fail(r, r->line, "'%s' stands in line %d of %s already", k->name, (int)r->at->key_line[i],
                               r->at->title);
        if (!*value) return recipe_fail(r, r->line, "'%s' has no value; without the line: %s", k->name, k->absent);
        r->at->key_line[i] = r->line;
        return recipe_value(r, k, value, recipe_field(r, k));
    }
    return recipe_unknown_key(r, line);
}

static bool recipe_line(recipe *r, char *line, size_t n) {
    if (n > RECIPE_MAX_LINE) return recipe_fail(r, r->line, "a line of %zu bytes, at most %d", n, RECIPE_MAX_LINE);
    if (memchr(line, 0, n)) return recipe_fail(r, r->line, "a NUL byte: this is no text");
    line[n] = 0;
    if (n && line[n - 1] == '\r') line[n - 1] = 0;
    line = recipe_trim(line);
    if (!*line || *line == '#' || *line == ';') return true;
    return *line == '[' ? recipe_begin(r, line) : recipe_assign(r, line);
}

#define RECIPE_UTF16 ((size_t)-1)

// Bytes of the byte order mark with which some editors begin a text; RECIPE_UTF16 where it says so.
static size_t recipe_mark(const char *text, size_t size) {
    if (size >= 2 && (!memcmp(text, "\xFF\xFE", 2) || !memcmp(text, "\xFE\xFF", 2))) return RECIPE_UTF16;
    return size >= 3 && !memcmp(text, "\xEF\xBB\xBF", 3) ? 3 : 0;
}

static bool recipe_lines(recipe *r, size_t size) {
    size_t at = recipe_mark(r->text, size);
    if (at == RECIPE_UTF16) return recipe_fail(r, 1, "UTF-16 text, expected UTF-8");
    while (at < size) {
        const char *end = (const char *)memchr(r->text + at, '\n', size - at);
        size_t n = end ? (size_t)(end - r->text) - at : size - at;
        r->line++;
        if (!recipe_line(r, r->text + at, n)) return false;
        at += n + 1;
    }
    return true;
}

// What no line alone can know ------------------------------------------------------------------------------------------

static int32_t recipe_line_of(const recipe_section *at, const char *key) {
    for (int i = 0; i < RECIPE_N_KEYS; i++)
        if (at->key_line[i] && !strcmp(RECIPE_KEYS[i].name, key)) return at->key_line[i];
    return 0;
}

static bool recipe_require(recipe *r, const recipe_section *at, const char *key) {
    return recipe_line_of(at, key) || recipe_fail(r, at->line, "%s: the key '%s' is missing", at->title, key);
}

// In a plan, where the recipe does not say it, the columns are not known yet.
static bool recipe_knows_columns(const recipe *r, const recipe_data *d) {
    return !r->plan || (d->columns && !strchr(d->columns, '=') && !d->items);
}

enum { RECIPE_MAX_NEGATIVES = 16 };     // columns of a file that says by names which they are
#define RECIPE_4(x) x x x x

static bool recipe_has_column(const recipe_data *d, kpdt_column role) {
    for (int i = 0; i < KPDT_MAX_COLUMNS && d->set.columns[i]; i++)
        if (d->set.columns[i] == role) return true;
    return false;
}

// Columns of them, or what is mined.
static bool recipe_has_negatives(const recipe_data *d) {
    return recipe_has_column(d, KPDT_COL_NEGATIVE) || d->source.refresh;
}

// Its word, and the option that makes it one of queries.
static void recipe_loss_text(const kpdt_loss_desc *d, char *out, size_t size) {
    snprintf(out, size, "%s%s", kpdt_loss_name(d->loss), d->per_query ? " per_query=yes" : "");
}

static bool recipe_items(recipe *r, recipe_data *d) {
    char why[400];
    int64_t line;
    if (table_items_read(&d->by_id, d->items, &line, why)) return true;
    if (line) snprintf(r->error, sizeof r->error, "%.300s:%lld: %s", d->items, (long long)line, why);
    else snprintf(r->error, sizeof r->error, "%.300s: %s", d->items, why);
    return false;
}

// Looks at the first record. Whether the file is anything but lines of just the columns that the recipe names; and of that, the
// columns that it has.
static bool recipe_look(recipe *r, recipe_data *d, const recipe_section *at) {
    static const char all[] = "keyphrase? title? category? query? label? score?" RECIPE_4(RECIPE_4(" negative?"));
    table t;
    kpd_text first;
    const char *why;
    FILE *f;
    int n = 0;
    bool negatives = false;             // the first of JSON's objects has some, so others may have more
    bool ok = r->plan || !d->items || recipe_items(r, d);
    if (r->plan || !ok) return ok;
    f = files_open(d->file, &why);
    ok = f || recipe_fail(r, recipe_line_of(at, "file"), "%.300s: %s", d->file, why);
    if (!ok) return false;
    table_open(&t, d->file, f, (table_format)d->format, all, d->columns);
    if (d->items) table_use(&t, &d->by_id);
    ok = table_next(&t, &first);
    d->other = t.begun && (t.format != TABLE_TSV || t.header || d->items);
    if (!ok && t.begun && !d->other) ok = true;     // the library says what is wrong with lines
    if (!ok) snprintf(r->error, sizeof r->error, "%.300s:%lld: %s", d->file, (long long)t.line, t.why);
    else if (!d->columns && !d->other) ok = recipe_fail(r, at->line, "%s: the key 'columns' is missing", at->title);
    for (int i = 0; ok && d->other && i < t.n_columns - (d->items != NULL); i++) {
        kpdt_column role = KPDT_COL_SKIP;
        kpdt_column_from_name(t.column[i].word, &role);
        negatives = negatives || (role == KPDT_COL_NEGATIVE && t.column[i].at >= 0 && t.format == TABLE_JSONL);
        if (t.column[i].at >= 0 || (negatives && role == KPDT_COL_NEGATIVE)) d->set.columns[n++] = role;
    }
    if (ok && d->other) memset(d->set.columns + n, 0, sizeof d->set.columns - (size_t)n * sizeof *d->set.columns);
    table_close(&t);
    fclose(f);
    return ok;
}

// mlm and mlm-kl are of any text, all else of pairs.
static bool recipe_check_columns(recipe *r, const recipe_data *d, const recipe_section *at, bool mlm, bool label) {
    bool keyphrase = recipe_has_column(d, KPDT_COL_KEYPHRASE), title = recipe_has_column(d, KPDT_COL_TITLE);
    bool texts = mlm ? keyphrase || title : keyphrase && title;
    if (!recipe_knows_columns(r, d)) return true;
    if (texts && (!label || recipe_has_column(d, KPDT_COL_LABEL))) return true;
    return recipe_fail(r, recipe_line_of(at, d->columns ? "columns" : "file"), "columns: '%s' is missing",
                       texts ? "label" : keyphrase ? "title" : "keyphrase");
}

static bool recipe_uses_negatives(const kpdt_loss_desc *x) {
    int mnr = RECIPE_BIT(KPDT_MNR) | RECIPE_BIT(KPDT_MNR_SYMMETRIC);
    return (RECIPE_OF_QUERIES | mnr) & RECIPE_BIT((int)x->loss) || x->per_query;
}

// A set with negatives wants losses that have a use for them.
static bool recipe_check_negatives(recipe *r, const recipe_data *d, const recipe_section *at) {
    int32_t line = recipe_line_of(at, "loss");
    bool mnr = false;
    for (int i = 0; i < KPDT_MAX_LOSSES && d->source.losses[i].loss; i++) {
        const kpdt_loss_desc *x = &d->source.losses[i];
        mnr = mnr || x->loss == KPDT_MNR || x->loss == KPDT_MNR_SYMMETRIC;
        if (!recipe_has_negatives(d)) continue;
        if (!recipe_uses_negatives(x))
            return recipe_fail(r, line, "loss: %s has no use for %s, which mnr, mnr-symmetric, margin-mse, kl, ranknet and "
                               "pearson per_query=yes have", kpdt_loss_name(x->loss),
                               d->source.refresh ? "negatives" : "the column 'negative'");
        if (x->teacher == KPDT_BY_SCORE)
            return recipe_fail(r, line, "loss: teacher=score, which negatives have none of; expected label or assistant");
    }
    return mnr || !d->source.log_q || recipe_fail(r, recipe_line_of(at, "log_q"), "log_q: it is of mnr, which is no loss here");
}

static bool recipe_check_losses(recipe *r, const recipe_data *d, const recipe_section *at) {
    int32_t line = recipe_line_of(at, "loss");
    if (!recipe_check_negatives(r, d, at)) return false;
    for (int i = 0; recipe_knows_columns(r, d) && i < KPDT_MAX_LOSSES && d->source.losses[i].loss; i++) {
        const kpdt_loss_desc *x = &d->source.losses[i];
        bool on_pairs = (RECIPE_ON_PAIRS & RECIPE_BIT((int)x->loss)) != 0;
        if (x->loss == KPDT_MLM_KL && !r->model.teacher)
            return recipe_fail(r, line, "loss: mlm-kl follows a teacher, but [model] names none");
        if (on_pairs && x->teacher == KPDT_BY_ASSISTANT && !r->model.assistant)
            return recipe_fail(r, line, "loss: teacher=assistant, but [model] names no assistant");
        if (on_pairs && x->teacher == KPDT_BY_SCORE && !recipe_has_column(d, KPDT_COL_SCORE))
            return recipe_fail(r, line, "loss: teacher=score, but columns has no 'score'");
        if (on_pairs && x->teacher == KPDT_BY_LABEL && !recipe_has_column(d, KPDT_COL_LABEL) && !recipe_has_negatives(d))
            return recipe_fail(r, line, "loss: it follows labels, but columns has no 'label'");
    }
    return true;
}

// What the library would refuse by the number of the source, here by its line.
static bool recipe_check_queries(recipe *r, const recipe_data *d, const recipe_section *at) {
    int32_t line = recipe_line_of(at, "loss"), batching = recipe_line_of(at, "batching");
    for (int i = 0; recipe_knows_columns(r, d) && i < KPDT_MAX_LOSSES && d->source.losses[i].loss; i++) {
        const kpdt_loss_desc *x = &d->source.losses[i];
        char name[60];
        if (!(RECIPE_OF_QUERIES & RECIPE_BIT((int)x->loss)) && !x->per_query) continue;
        if (recipe_has_negatives(d)) continue;      // a row is a query by itself
        recipe_loss_text(x, name, sizeof name);
        if (!recipe_has_column(d, KPDT_COL_QUERY))
            return recipe_fail(r, line, "loss: %s compares the rows of a query, but columns has no 'query'", name);
        if (d->source.batching != KPDT_BY_QUERY)
            return recipe_fail(r, batching ? batching : line,
                               "%s: %s compares the rows of a query; expected batching = by-query",
                               batching ? "batching" : "loss", name);
    }
    return true;
}

// The widths count for all losses of a set.
static bool recipe_spread_dims(recipe *r, recipe_data *d, const recipe_section *at) {
    int n = 0, weights = 0;
    while (n < KPDT_MAX_DIMS && d->dims[n]) n++;
    while (weights < KPDT_MAX_DIMS && (d->dim_weights[weights] > 0 || signbit(d->dim_weights[weights]))) weights++;
    for (int i = 1; i < n; i++)
        if (d->dims[i] >= d->dims[i - 1]) return recipe_fail(r, recipe_line_of(at, "dims"), "dims: expected descending widths");
    if (weights && weights != n)
        return recipe_fail(r, recipe_line_of(at, "dim_weights"), "dim_weights: %d for the %d of dims", weights, n);
    for (int i = 0; i < KPDT_MAX_LOSSES && d->source.losses[i].loss; i++) {
        memcpy(d->source.losses[i].dims, d->dims, sizeof d->dims);
        memcpy(d->source.losses[i].dim_weights, d->dim_weights, sizeof d->dim_weights);
        d->source.losses[i].similarity = (kpdt_similarity)d->similarity;
    }
    return true;
}

// What is mined, and what stands in its way.
static bool recipe_check_mining(recipe *r, recipe_data *d, const recipe_section *at) {
    int32_t asked = recipe_line_of(at, "mine_assistant"), threshold = recipe_line_of(at, "mine_threshold");
    int32_t steps = recipe_line_of(at, "mine_steps"), last_rank = d->refresh.mining.last_rank;
    for (int i = 0; !steps && i < RECIPE_N_KEYS; i++)
        if (at->key_line[i] && !strncmp(RECIPE_KEYS[i].name, "mine_", 5))
            return recipe_fail(r, at->key_line[i], "%s: nothing is mined without mine_steps", RECIPE_KEYS[i].name);
    if (!steps) return true;
    if (!last_rank) last_rank = 100;        // the library's default
    d->source.refresh = &d->refresh;
    d->refresh.mining.seed = (uint64_t)r->train.d.seed;
    if (recipe_has_column(d, KPDT_COL_NEGATIVE))
        return recipe_fail(r, steps, "mine_steps: columns has 'negative'; expected one of them");
    if (d->source.log_q) return recipe_fail(r, steps, "mine_steps: log_q is of negatives that stay; expected one of them");
    if (!asked) d->mine_assistant = r->model.assistant != NULL;
    if (d->mine_assistant && !r->model.assistant)
        return recipe_fail(r, asked, "mine_assistant: [model] names no assistant");
    if (threshold && !d->mine_assistant)
        return recipe_fail(r, threshold, "mine_threshold: it is of an assistant, who is not asked");
    if (d->refresh.mining.first_rank <= last_rank) return true;
    return recipe_fail(r, recipe_line_of(at, "mine_first_rank"), "mine_first_rank: it lies behind the last, %d",
                       (int)last_rank);
}

static bool recipe_check_data(recipe *r, int32_t i) {
    recipe_data *d = &r->data[i];
    const recipe_section *at = &r->at_data[i];
    if (!recipe_require(r, at, "file") || !recipe_require(r, at, "loss") || !recipe_look(r, d, at)) return false;
    if (!recipe_check_mining(r, d, at)) return false;
    if (!recipe_check_columns(r, d, at, recipe_on_texts(d->source.losses[0].loss), false)) return false;
    if (!recipe_check_losses(r, d, at) || !recipe_check_queries(r, d, at) || !recipe_spread_dims(r, d, at)) return false;
    if ((d->source.share > 0) == (r->data[0].source.share > 0)) return true;
    return recipe_fail(r, at->line, "%s: share must stand in all [data] sections or in none", at->title);
}

static bool recipe_check_dev(recipe *r) {
    bool mlm = r->train.d.dev_metric == KPDT_DEV_MLM_LOSS;
    if (!r->at_dev.line) return true;
    return recipe_require(r, &r->at_dev, "file") && recipe_look(r, &r->dev, &r->at_dev) &&
           recipe_check_columns(r, &r->dev, &r->at_dev, mlm, !mlm);
}

static bool recipe_check_model(recipe *r) {
    static const char *const of_start[] = {"vocab", "cased", "layers", "width", "heads", "ffn_width", "positions",
                                           "activation"};
    if (r->model.start) {
        for (size_t i = 0; i < sizeof of_start / sizeof *of_start; i++)
            if (recipe_line_of(&r->at_model, of_start[i]))
                return recipe_fail(r, recipe_line_of(&r->at_model, of_start[i]), "%s: it is that of start", of_start[i]);
        return true;
    }
    if (r->model.start_layers[0])
        return recipe_fail(r, recipe_line_of(&r->at_model, "start_layers"), "start_layers: there is no start");
    if (!recipe_line_of(&r->at_model, "vocab"))
        return recipe_fail(r, r->at_model.line, "[model]: the key 'start' is missing, or for random weights 'vocab'");
    return recipe_require(r, &r->at_model, "layers") && recipe_require(r, &r->at_model, "width") &&
           recipe_require(r, &r->at_model, "heads");
}

static bool recipe_output(recipe *r) {
    size_t n = strlen(r->path);
    char *path;
    if (r->train.output) return (r->train.output = recipe_path(r, r->train.output)) != NULL;
    if (n < 5 || strcmp(r->path + n - 4, ".ini") || r->path[n - 5] == '/')
        return recipe_fail(r, r->at_train.line, "output is missing, and the recipe's name does not end in .ini");
    path = (char *)recipe_alloc(r, n + 1);
    if (path) memcpy(path, r->path, n - 4);
    r->train.output = path;
    return path != NULL;
}

static bool recipe_check_train(recipe *r) {
    recipe_train *t = &r->train;
    if (t->d.steps && t->d.epochs)
        return recipe_fail(r, recipe_line_of(&r->at_train, "steps"), "steps: epochs stands in line %d; expected one of them",
                           (int)recipe_line_of(&r->at_train, "epochs"));
    if (recipe_line_of(&r->at_train, "clip") && t->d.clip <= 0) t->d.clip = -1;     // the library's 0 is its default
    if (!recipe_line_of(&r->at_train, "checkpoint_seconds")) t->checkpoint_seconds = 60;
    if (!t->log_steps) t->log_steps = 1;
    return recipe_output(r);
}

static bool recipe_check(recipe *r) {
    if (!r->at_model.line) return recipe_fail(r, 0, "the section [model] is missing");
    if (!r->n_data) return recipe_fail(r, 0, "a section [data NAME] is missing");
    if (!recipe_check_model(r)) return false;
    for (int32_t i = 0; i < r->n_data; i++)
        if (!recipe_check_data(r, i)) return false;
    return recipe_check_dev(r) && recipe_check_train(r);
}

static bool recipe_load(recipe *r, size_t *size) {
    FILE *f = fopen(r->path, "rb");
    bool failed;
    if (!f) return recipe_fail(r, 0, "%s", strerror(errno));
    r->text = (char *)recipe_alloc(r, RECIPE_MAX_BYTES + 2);
    *size = r->text ? fread(r->text, 1, RECIPE_MAX_BYTES + 1, f) : 0;
    failed = ferror(f) != 0;
    if (failed) recipe_fail(r, 0, "%s", strerror(errno));
    fclose(f);
    if (failed || !r->text) return false;
    return *size <= RECIPE_MAX_BYTES || recipe_fail(r, 0, "more than %d bytes: this is no recipe", RECIPE_MAX_BYTES);
}

// path must outlive r. After false, r->error says why. recipe_close in any case.
static bool recipe_read(recipe *r, const char *path) {
    size_t size = 0;
    memset(r, 0, sizeof *r);
    r->path = r->named = path;
    return recipe_load(r, &size) && recipe_lines(r, size) && recipe_check(r);
}

// The same, as far as it can be said before its files are there. With a text that is going to be written to path: its first
// line is line `first` of the file `named`.
FILES_UNUSED static bool recipe_read_plan(recipe *r, const char *path, const char *text, const char *named, int32_t first) {
    size_t size = text ? strlen(text) : 0;
    memset(r, 0, sizeof *r);
    r->path = path;
    r->named = text ? named : path;
    r->plan = true;
    if (!text) return recipe_load(r, &size) && recipe_lines(r, size) && recipe_check(r);
    r->line = first - 1;
    r->text = (char *)recipe_alloc(r, size + 2);
    if (r->text) memcpy(r->text, text, size);
    return r->text && recipe_lines(r, size) && recipe_check(r);
}

// Calls see for every file that the recipe names, and for itself, until it says no.
FILES_UNUSED static bool recipe_each_file(const recipe *r, bool (*see)(void *user, const char *path), void *user) {
    bool ok = see(user, r->path);
    for (int i = 0; ok && i < RECIPE_N_KEYS; i++) {
        const recipe_key *k = &RECIPE_KEYS[i];
        const void *base[2 + RECIPE_MAX_DATA];
        int n = 0;
        if (k->kind != RECIPE_FILE) continue;
        if (k->sections & RECIPE_MODEL) base[n++] = &r->model;
        if (k->sections & RECIPE_DEV) base[n++] = &r->dev;
        for (int32_t d = 0; k->sections & RECIPE_DATA && d < r->n_data; d++) base[n++] = &r->data[d];
        for (int at = 0; ok && at < n; at++) {
            const char *path = *(const char *const *)(const void *)((const char *)base[at] + k->field);
            ok = !path || see(user, path);
        }
    }
    return ok;
}

// Models and data --------------------------------------------------------------------------------------------------------

// What the library says about something that a line names. Its messages mostly begin with the path already.
static bool recipe_blame(recipe *r, int32_t line, const char *file, const kpd_error *e) {
    size_t n = strlen(file);
    bool named = !strncmp(e->message, file, n);
    if (named && e->message[n] == ':' && e->message[n + 1] >= '0' && e->message[n + 1] <= '9') {    // a row of a table
        snprintf(r->error, sizeof r->error, "%s", e->message);
        return false;
    }
    return named ? recipe_fail(r, line, "%s", e->message) : recipe_fail(r, line, "%.300s: %s", file, e->message);
}

// Appends a record as a line; *room is that of d->text.
static bool recipe_add_line(recipe *r, recipe_data *d, kpd_text line, size_t *room) {
    if (d->set.size + line.size + 1 > *room) {
        size_t more = *room * 2 + line.size + 65536;
        char *text = (char *)realloc(d->text, more);
        if (!text) return recipe_fail(r, 0, "%.300s: out of memory: %zu bytes", d->file, more);
        d->text = text;
        *room = more;
    }
    memcpy(d->text + d->set.size, line.data, line.size);
    d->set.size += line.size;
    d->text[d->set.size++] = '\n';
    return true;
}

// Labels and scores are numbers, or the row is bad; the library, which sees another text, would not know the line.
static bool recipe_check_numbers(recipe *r, const recipe_data *d, kpd_text line, int64_t number) {
    for (int i = 0; !d->set.skip_bad_rows && i < KPDT_MAX_COLUMNS && d->set.columns[i] != KPDT_COL_END; i++) {
        const char *tab = (const char *)memchr(line.data, '\t', line.size);
        int size = (int)((tab ? tab : line.data + line.size) - line.data);
        bool label = d->set.columns[i] == KPDT_COL_LABEL;
        char cell[64], *end = cell;
        double v = 0;
        snprintf(cell, sizeof cell, "%.*s", size, line.data);
        if (label || d->set.columns[i] == KPDT_COL_SCORE) v = strtod(cell, &end);
        else end = cell + strlen(cell);
        if (*end || (label && (end == cell || !(v >= 0 && v <= 1)))) {
            snprintf(r->error, sizeof r->error, "%.300s:%lld: the %s '%.40s', expected a number%s", d->file, (long long)number,
                     label ? "label" : "score", cell, label ? " from 0 to 1" : "");
            return false;
        }
        if (tab) { line.size -= (size_t)(tab + 1 - line.data); line.data = tab + 1; }
    }
    return true;
}

// The last cell of a line.
static kpd_text recipe_last_cell(kpd_text line) {
    const char *end = line.data + line.size;
    kpd_text cell;
    for (cell.data = end; cell.data > line.data && cell.data[-1] != '\t';) cell.data--;
    cell.size = (size_t)(end - cell.data);
    return cell;
}

// The file, named in a line of the recipe, as lines of what is wanted, or just of the last of that, in d->text.
static bool recipe_read_table(recipe *r, recipe_data *d, int32_t where, const char *wanted, bool last) {
    table t;
    kpd_text line;
    size_t room = 0;
    const char *why;
    FILE *f = files_open(d->file, &why);
    bool ok = f || recipe_fail(r, where, "%.300s: %s", d->file, why);
    if (!ok) return false;
    table_open(&t, d->file, f, (table_format)d->format, wanted, d->columns);
    if (d->items) table_use(&t, &d->by_id);
    while (ok && (ok = table_next(&t, &line)) && line.data)
        ok = recipe_check_numbers(r, d, line, t.line) && recipe_add_line(r, d, last ? recipe_last_cell(line) : line, &room);
    if (!ok && t.why[0]) snprintf(r->error, sizeof r->error, "%.300s:%lld: %s", d->file, (long long)t.line, t.why);
    d->set.data = d->text ? d->text : "";
    table_close(&t);
    fclose(f);
    return ok;
}

// The file as lines of just the columns, which the library then reads.
static bool recipe_read_other(recipe *r, recipe_data *d, const recipe_section *at) {
    char wanted[400] = "";
    for (int i = 0; i < KPDT_MAX_COLUMNS && d->set.columns[i] != KPDT_COL_END; i++) {
        size_t n = strlen(wanted);
        snprintf(wanted + n, sizeof wanted - n, "%s%s*", n ? " " : "", kpdt_column_name(d->set.columns[i]));
    }
    return recipe_read_table(r, d, recipe_line_of(at, "file"), wanted, false);
}

static bool recipe_open_set(recipe *r, recipe_data *d, const recipe_section *at, kpdt_dataset **out) {
    kpd_error e;
    if (d->other && !recipe_read_other(r, d, at)) return false;
    d->set.path = d->file;
    if (kpdt_dataset_open(&d->set, out, &e)) return recipe_blame(r, recipe_line_of(at, "file"), d->file, &e);
    if (kpdt_dataset_rows(*out)) return true;
    return recipe_fail(r, recipe_line_of(at, "file"), "%.300s: it has no rows", d->file);
}

// The keyphrases of mine_among.
static bool recipe_open_among(recipe *r, recipe_data *d, const recipe_section *at) {
    int32_t line = recipe_line_of(at, "mine_among");
    recipe_data only;
    kpd_error e;
    bool ok;
    memset(&only, 0, sizeof only);
    only.file = only.set.path = d->mine_among;
    only.set.columns[0] = KPDT_COL_KEYPHRASE;
    ok = recipe_read_table(r, &only, line, "id? keyphrase", true);
    d->phrases = only.text;
    if (!ok || (kpdt_dataset_open(&only.set, &d->among, &e) && !recipe_blame(r, line, d->mine_among, &e))) return false;
    d->refresh.keyphrases = d->among;
    return kpdt_dataset_rows(d->among) || recipe_fail(r, line, "%.300s: it has no keyphrases", d->mine_among);
}

static bool recipe_open_data(recipe *r) {
    for (int32_t i = 0; i < r->n_data; i++) {
        recipe_data *d = &r->data[i];
        if (!recipe_open_set(r, d, &r->at_data[i], &r->set[i])) return false;
        if (d->mine_among && !recipe_open_among(r, d, &r->at_data[i])) return false;
        if (d->mine_assistant) d->refresh.mining.assistant = r->assistant;
        r->sources[i] = r->data[i].source;
        r->sources[i].data = r->set[i];
    }
    r->train.d.sources = r->sources;
    r->train.d.n_sources = r->n_data;
    if (r->at_dev.line && !recipe_open_set(r, &r->dev, &r->at_dev, &r->dev_set)) return false;
    r->train.d.dev = r->dev_set;
    return true;
}

static bool recipe_open_model(recipe *r, const char *key, const char *path, kpd_model **out) {
    kpd_error e;
    return !kpd_model_open(path, NULL, out, &e) || recipe_blame(r, recipe_line_of(&r->at_model, key), path, &e);
}

static bool recipe_open_teacher(recipe *r) {
    if (!r->model.teacher) return true;
    if (!recipe_open_model(r, "teacher", r->model.teacher, &r->teacher)) return false;
    r->train.d.mlm_teacher = r->teacher;
    if (kpd_model_get_desc(r->teacher)->mlm_head) return true;
    return recipe_fail(r, recipe_line_of(&r->at_model, "teacher"), "%.300s: it has no head that guesses hidden words, as what "
                       "was trained by mlm has", r->model.teacher);
}

static bool recipe_open_assistant(recipe *r) {
    int32_t line = recipe_line_of(&r->at_model, "assistant");
    if (!r->model.assistant) return true;
    if (!recipe_open_model(r, "assistant", r->model.assistant, &r->assistant)) return false;
    r->train.d.assistant = r->assistant;
    if (kpd_model_get_desc(r->assistant)->kind == KPD_CROSS_ENCODER) return true;
    return recipe_fail(r, line, "%.300s: a bi-encoder, expected a cross-encoder", r->model.assistant);
}

// Whether the recipe wants the start otherwise than it is, and how.
static bool recipe_override(const recipe *r, kpd_model_desc *d) {
    bool changed = false;
    for (int i = 0; i < RECIPE_N_KEYS; i++) {
        const recipe_key *k = &RECIPE_KEYS[i];
        size_t size = k->kind == RECIPE_TEXT ? sizeof(char *) : k->kind == RECIPE_YES_NO ? sizeof(bool) : sizeof(int32_t);
        if (k->sections != RECIPE_MODEL || !r->at_model.key_line[i] || k->field >= sizeof *d) continue;
        changed = changed || memcmp((char *)d + k->field, (const char *)&r->model.d + k->field, size);
        memcpy((char *)d + k->field, (const char *)&r->model.d + k->field, size);
    }
    if (d->kind == KPD_CROSS_ENCODER) {     // which has no vectors to cut or compare, and guesses no words
        d->mlm_head = false;
        d->truncate_dim = 0;
        d->similarity = KPD_COSINE;
    }
    return changed;
}

// layers: of `from`, by number from 0, or NULL.
static bool recipe_make_model(recipe *r, const kpd_model_desc *d, const kpd_model *from, const int32_t *layers,
                              kpd_model **out) {
    kpd_error e;
    return !kpdt_model_start(d, from, layers, r->train.d.seed, out, &e) ||
           recipe_fail(r, r->at_model.line, "[model]: %s", e.message);
}

// Numbers of start_layers from 0, of which the model has as many layers then; none = all.
static bool recipe_start_layers(recipe *r, kpd_model_desc *d, int32_t out[KPDT_MAX_DIMS], int32_t *n) {
    const int32_t *layers = r->model.start_layers;
    for (*n = 0; *n < KPDT_MAX_DIMS && layers[*n]; ++*n) {
        if (layers[*n] > d->n_layers)
            return recipe_fail(r, recipe_line_of(&r->at_model, "start_layers"), "start_layers: %d, and start has %d",
                               (int)layers[*n], (int)d->n_layers);
        out[*n] = layers[*n] - 1;
    }
    if (*n) d->n_layers = *n;
    return true;
}

static bool recipe_start_from(recipe *r) {
    kpd_model *from = NULL;
    kpd_model_desc d;
    int32_t layers[KPDT_MAX_DIMS], n = 0;
    bool ok = recipe_open_model(r, "start", r->model.start, &from);
    if (!ok) return false;
    d = *kpd_model_get_desc(from);
    if (d.dtype > KPD_F32) {
        kpd_model_destroy(from);
        return recipe_fail(r, recipe_line_of(&r->at_model, "start"), "%.300s: its weights are %s, expected f32", r->model.start,
                           kpd_dtype_name(d.dtype));
    }
    ok = recipe_start_layers(r, &d, layers, &n);
    if (ok && !recipe_override(r, &d) && !n) { r->start = from; return true; }
    ok = ok && recipe_make_model(r, &d, from, n ? layers : NULL, &r->start);
    kpd_model_destroy(from);
    return ok;
}

static char *recipe_slurp(recipe *r, const char *path, size_t *size) {
    const char *why;
    FILE *f = files_open(path, &why);
    long n = f && !fseek(f, 0, SEEK_END) ? ftell(f) : -1;
    char *text = n >= 0 && n < 1L << 30 ? (char *)recipe_alloc(r, (size_t)n + 1) : NULL;
    bool ok = text && !fseek(f, 0, SEEK_SET) && fread(text, 1, (size_t)n, f) == (size_t)n;
    if (!ok) recipe_fail(r, recipe_line_of(&r->at_model, "vocab"), "%.300s: cannot be read", path);
    if (f) fclose(f);
    if (ok && recipe_mark(text, (size_t)n) == RECIPE_UTF16)
        ok = recipe_fail(r, recipe_line_of(&r->at_model, "vocab"), "%.300s: UTF-16 text, expected UTF-8", path);
    *size = ok ? (size_t)n : 0;
    return ok ? text : NULL;
}

static bool recipe_start_random(recipe *r) {
    kpd_tokenizer_desc d;
    kpd_tokenizer *t = NULL;
    kpd_model_desc m = r->model.d;
    kpd_error e;
    bool ok;
    memset(&d, 0, sizeof d);
    d.vocab = recipe_slurp(r, r->model.vocab, &d.vocab_size);
    d.cased = r->model.cased;
    if (!d.vocab) return false;
    if (kpd_tokenizer_create(&d, &t, &e)) return recipe_blame(r, recipe_line_of(&r->at_model, "vocab"), r->model.vocab, &e);
    m.tokenizer = t;
    ok = recipe_make_model(r, &m, NULL, NULL, &r->start);
    kpd_tokenizer_destroy(t);
    return ok;
}

// Once it is known what is trained: bce takes logits, which a bi-encoder's cosines are not.
static bool recipe_check_bce(recipe *r) {
    if (kpd_model_get_desc(r->start)->kind == KPD_CROSS_ENCODER) return true;
    for (int32_t i = 0; i < r->n_data; i++)
        for (int k = 0; k < KPDT_MAX_LOSSES && r->data[i].source.losses[k].loss; k++)
            if (r->data[i].source.losses[k].loss == KPDT_BCE && r->data[i].similarity != KPDT_SIM_DOT)
                return recipe_fail(r, recipe_line_of(&r->at_data[i], "loss"),
                                   "loss: bce takes a logit; of a bi-encoder expected similarity = dot, or another loss");
    return true;
}

// Likewise: a bi-encoder mines, by what an index compares by.
static bool recipe_check_miner(recipe *r) {
    const kpd_model_desc *m = kpd_model_get_desc(r->start);
    for (int32_t i = 0; i < r->n_data; i++) {
        int32_t line = recipe_line_of(&r->at_data[i], "mine_steps");
        if (line && m->kind != KPD_BI_ENCODER) return recipe_fail(r, line, "mine_steps: a cross-encoder finds no negatives");
        if (line && m->similarity == KPD_L2) return recipe_fail(r, line, "mine_steps: a model that compares by l2 finds none");
    }
    return true;
}

// Fills r->train.d but for simd, parallel and allocator.
static bool recipe_open(recipe *r) {
    if (!(r->model.start ? recipe_start_from(r) : recipe_start_random(r))) return false;
    r->train.d.start = r->start;
    r->train.d.weights_seed = r->train.d.seed;
    return recipe_check_bce(r) && recipe_check_miner(r) && recipe_open_assistant(r) && recipe_open_teacher(r) &&
           recipe_open_data(r);
}

static void recipe_close(recipe *r) {
    for (int32_t i = 0; i < r->n_data; i++) kpdt_dataset_destroy(r->set[i]);
    kpdt_dataset_destroy(r->dev_set);
    for (int32_t i = 0; i < r->n_data; i++) {
        kpdt_dataset_destroy(r->data[i].among);
        free(r->data[i].phrases);
        free(r->data[i].text);
        table_items_free(&r->data[i].by_id);
    }
    free(r->dev.text);
    table_items_free(&r->dev.by_id);
    kpd_model_destroy(r->start);
    kpd_model_destroy(r->assistant);
    kpd_model_destroy(r->teacher);
    for (int i = 0; i < r->n_owned; i++) free(r->owned[i]);
    memset(r, 0, sizeof *r);
}

// Help -------------------------------------------------------------------------------------------------------------------

static void recipe_help_key(FILE *f, const recipe_key *k) {
    fprintf(f, "  %-21s %s. Default: %s\n", k->name, k->help, k->absent);
    if (k->choices) fprintf(f, "  %-21s %s\n", "", k->choices);
    else if (k->kind == RECIPE_YES_NO) fprintf(f, "  %-21s yes no\n", "");
}

static void recipe_help_options(FILE *f) {
    fprintf(f, "\noptions of a loss, as in pearson teacher=assistant weight=2\n");
    for (int i = 0; i < RECIPE_N_LOSS_OPTIONS; i++) {
        const recipe_key *k = &RECIPE_LOSS_OPTIONS[i];
        recipe_help_key(f, k);
        if (k->sections == RECIPE_ALL_LOSSES) continue;
        fprintf(f, "  %-21s of", "");
        for (int loss = 1; loss < KPDT_LOSS_COUNT; loss++)
            if (k->sections & RECIPE_BIT(loss)) fprintf(f, " %s", kpdt_loss_name((kpdt_loss)loss));
        fputc('\n', f);
    }
}

#define RECIPE_EXAMPLE \
    "# student.ini: a bi-encoder that learns from labels, from an assistant and from clicks\n" \
    "[model]\n" \
    "start = minilm.kpd\n" \
    "assistant = assistant.kpd\n" \
    "\n" \
    "[train]\n" \
    "batch = 64\n" \
    "epochs = 2\n" \
    "rate = 3e-5\n" \
    "warmup = 0.1\n" \
    "output = student\n" \
    "\n" \
    "[data labels]\n" \
    "file = labels.tsv\n" \
    "columns = keyphrase title category label\n" \
    "loss = contrastive margin=0.5, pearson teacher=assistant\n" \
    "dims = 384 64\n" \
    "\n" \
    "[data clicks]\n" \
    "file = clicks.tsv\n" \
    "columns = keyphrase title category\n" \
    "batching = no-duplicates\n" \
    "loss = mnr scale=20\n" \
    "dims = 384 64\n" \
    "\n" \
    "[dev]\n" \
    "file = dev.tsv\n" \
    "columns = keyphrase title category label\n" \
    "metric = auc\n" \
    "steps = 100\n" \
    "patience = 5\n"

static void recipe_help(FILE *f) {
    static const char *const sections[] = {
        "[model]  what is trained", "[train]  how", "[dev]  what is looked at on the way; optional",
        "[data NAME]  what is learned from; one or more"
    };
    fprintf(f, "\nA recipe has sections of `key = value`. Lines that begin with # or ; are comments. Paths are relative to\n"
               "its folder.\n");
    for (int s = 0; s < 4; s++) {
        fprintf(f, "\n%s\n", sections[s]);
        for (int i = 0; i < RECIPE_N_KEYS; i++)
            if (RECIPE_KEYS[i].sections & 1 << s) recipe_help_key(f, &RECIPE_KEYS[i]);
    }
    recipe_help_options(f);
    fprintf(f, "\nA whole recipe:\n\n%s", RECIPE_EXAMPLE);
}

#endif
