// Models: what a desc may say, templates, weights in and out of panels.
#include "test.h"
#include "tiny_model.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

// The status of creating a model from a desc that `change` spoils.
static kpd_status create(void (*change)(kpd_model_desc *d), kpd_error *e) {
    tiny_options o;
    kpd_tokenizer *t = tiny_tokenizer();
    kpd_model_desc d;
    kpd_model *m = NULL;
    kpd_status s;
    memset(&o, 0, sizeof o);
    d = tiny_desc(&o, t);
    change(&d);
    s = kpd_model_create(&d, &m, e);
    CHECK((s == KPD_OK) == (m != NULL));
    kpd_model_destroy(m);
    kpd_tokenizer_destroy(t);
    return s;
}

static void nothing(kpd_model_desc *d) { (void)d; }
static void no_tokenizer(kpd_model_desc *d) { d->tokenizer = NULL; }
static void no_layers(kpd_model_desc *d) { d->n_layers = 0; }
static void negative_width(kpd_model_desc *d) { d->width = -16; }
static void width_one(kpd_model_desc *d) { d->width = d->n_heads = 1; }
static void odd_heads(kpd_model_desc *d) { d->n_heads = 3; }
static void long_texts(kpd_model_desc *d) { d->max_tokens = 25; }
static void small_vocab(kpd_model_desc *d) { d->vocab_size = 3; }
static void nan_eps(kpd_model_desc *d) { d->layer_norm_eps = NAN; }
static void wild_pooling(kpd_model_desc *d) { d->pooling = (kpd_pooling)77; }
static void wild_kind(kpd_model_desc *d) { d->kind = (kpd_kind)5; }
static void bf16(kpd_model_desc *d) { d->dtype = KPD_BF16; }
static void many_modules(kpd_model_desc *d) { d->n_modules = 5; }
static void wild_module(kpd_model_desc *d) {
    d->n_modules = 1;
    d->modules[0].kind = (kpd_module_kind)9;
    d->modules[0].width = 4;
}
static void norm_width(kpd_model_desc *d) {
    d->n_modules = 1;
    d->modules[0].kind = KPD_MODULE_LAYER_NORM;
    d->modules[0].width = 4;
}
static void cross_towers(kpd_model_desc *d) { d->kind = KPD_CROSS_ENCODER; d->separate_towers = true; }
static void huge(kpd_model_desc *d) {
    d->n_layers = KPD_MAX_LAYERS;
    d->width = d->ffn_width = KPD_MAX_WIDTH;
    d->vocab_size = KPD_MAX_VOCAB;
    d->max_tokens = 4;
}

static void bad_descs_are_refused(void) {
    static const struct { void (*change)(kpd_model_desc *d); kpd_status status; const char *word;
    } cases[] = {{no_tokenizer, KPD_ERR_ARGUMENT, "tokenizer"}, {no_layers, KPD_ERR_ARGUMENT, "n_layers"},
                 {negative_width, KPD_ERR_ARGUMENT, "width"},   {width_one, KPD_ERR_ARGUMENT, "width"},
        {odd_heads, KPD_ERR_ARGUMENT, "n_heads"},
                 {long_texts, KPD_ERR_ARGUMENT, "max_tokens"},  {small_vocab, KPD_ERR_ARGUMENT, "vocab_size"},
                 {nan_eps, KPD_ERR_ARGUMENT, "layer_norm_eps"}, {wild_pooling, KPD_ERR_ARGUMENT, "pooling"},
                 {wild_kind, KPD_ERR_ARGUMENT, "kind"},         {bf16, KPD_ERR_ARGUMENT, "f32"},
                 {many_modules, KPD_ERR_ARGUMENT, "n_modules"}, {wild_module, KPD_ERR_ARGUMENT, "modules"},
                 {norm_width, KPD_ERR_ARGUMENT, "layer norm"},  {cross_towers, KPD_ERR_ARGUMENT, "towers"}};
    kpd_error e;
    CHECK_OK(create(nothing, &e));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        memset(&e, 0, sizeof e);
        CHECK_THAT(create(cases[i].change, &e) == cases[i].status && e.status == cases[i].status &&
                       strstr(e.message, cases[i].word),
                   "case %d: \"%s\" does not say \"%s\"", (int)i, e.message, cases[i].word);
    }
}

// 800 GB of weights: an error, before or by the allocator.
static void huge_models_fail_cleanly(void) {
    kpd_error e;
    kpd_status s = create(huge, &e);
    CHECK(s == KPD_ERR_MEMORY || s == KPD_ERR_LIMIT);
}

static const char *a_template;
static void item_template(kpd_model_desc *d) { d->template_item = a_template; }

static void templates_are_checked(void) {
    static const char *const good[] = {
        "{title}",        "query: {title}", "{title} [SEP] {category}", "{title}|{category}", " {category} | {title} ",
        "{title} {title}", "{title} {sep} {category}", "{cls} {unk} {title} {mask} | {category} {pad}"};
    static const char *const bad[] = {
        "",       "nothing", "{keyphrase}", "{title", "{title}{category}", "a{title}", "{title}|a|b", "{title} [SEP]{category}",
        "{Title}", "{sep}", "{title}{sep}", "{title} {bos} {category}", "{title} {sep"};
    kpd_error e;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        a_template = good[i];
        CHECK_THAT(create(item_template, &e) == KPD_OK, "template \"%s\" was refused: %s", good[i], e.message);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        a_template = bad[i];
        CHECK_THAT(create(item_template, &e) == KPD_ERR_ARGUMENT && strstr(e.message, "template"),
                   "template \"%s\" was accepted", bad[i]);
    }
}

static void expect_ids(const kpd_model *m, kpd_tower tower, kpd_input in, const int32_t *want, int32_t n,
                       const int32_t *types) {
    int32_t ids[24], type[24];
    kpd_tokens t;
    memset(&t, 0, sizeof t);
    t.ids = ids; t.types = type; t.capacity = 24;
    if (!CHECK_OK(kpd_model_tokenize(m, tower, &in, false, &t, NULL)) || !CHECK_INT(t.count, n)) return;
    CHECK(!memcmp(ids, want, (size_t)n * sizeof *ids));
    CHECK(!memcmp(type, types, (size_t)n * sizeof *ids));
}

// Ids of tiny_vocab: [CLS] 2, [SEP] 3, blue 5, case 8, phone 10, lamp 16.
static void templates_join_parts(void) {
    static const int32_t one[] = {2, 5, 8, 3}, two[] = {2, 5, 8, 3, 16, 3}, pair[] = {2, 5, 3, 16, 3, 8, 3},
                         zeros[8] = {0};
    static const int32_t title_only[] = {2, 5, 3, 8, 3};
    tiny_options o;
    kpd_model *m, *cross;
    kpd_input none, in = kpd_input_str("blue case", "lamp", "red");
    kpd_tokens t;
    kpd_span spans[6];
    kpd_error e;
    int32_t ids[6];
    memset(&o, 0, sizeof o);
    m = tiny_model(&o);
    o.kind = KPD_CROSS_ENCODER;
    cross = tiny_model(&o);
    expect_ids(m, KPD_ITEM, kpd_input_str("blue case", NULL, NULL), one, 4, zeros);
    expect_ids(m, KPD_KEYPHRASE, kpd_input_str("Blue CASE", NULL, NULL), one, 4, zeros);
    expect_ids(m, KPD_ITEM, kpd_input_str("blue case", "lamp", NULL), two, 6, zeros);
    expect_ids(cross, KPD_ITEM, kpd_input_str("blue", "lamp", "case"), pair, 7, zeros);
    expect_ids(cross, KPD_ITEM, kpd_input_str("blue", "case", NULL), title_only, 5, zeros);
    memset(&t, 0, sizeof t);
    memset(&none, 0, sizeof none);
    t.ids = ids; t.spans = spans; t.capacity = 6;
    CHECK_STATUS(kpd_model_tokenize(m, KPD_ITEM, &in, false, &t, &e), KPD_ERR_INPUT);
    CHECK(strstr(e.message, "3 parts") != NULL);
    CHECK_STATUS(kpd_model_tokenize(m, KPD_ITEM, &none, false, &t, &e), KPD_ERR_INPUT);
    in.n_parts = 2;
    CHECK_OK(kpd_model_tokenize(m, KPD_ITEM, &in, false, &t, &e));
    CHECK(spans[2].part == 0 && spans[2].begin == 5 && spans[2].end == 9);
    CHECK(spans[3].part == -1 && spans[3].end == 0);        // the template's [SEP]
    CHECK(spans[4].part == 1 && spans[4].begin == 0 && spans[4].end == 4);
    kpd_model_destroy(m);
    kpd_model_destroy(cross);
}

static kpd_model *model_of(kpd_kind kind, const char *item, const char *pair) {
    tiny_options o;
    kpd_tokenizer *t = tiny_tokenizer();
    kpd_model_desc d;
    kpd_model *m = NULL;
    memset(&o, 0, sizeof o);
    o.kind = kind;
    d = tiny_desc(&o, t);
    d.template_item = item; d.template_pair = pair;
    CHECK_OK(kpd_model_create(&d, &m, NULL));
    kpd_tokenizer_destroy(t);
    return m;
}

// What m reads of an input is what the tokenizer makes of one text, or of a pair.
static void reads(const kpd_model *m, const kpd_input *in, const char *first, const char *second, const char *what) {
    int32_t ids[2][24], types[2][24];
    kpd_tokens t[2];
    kpd_input want = kpd_input_str(first, second, NULL);
    memset(t, 0, sizeof t);
    for (int i = 0; i < 2; i++) { t[i].ids = ids[i]; t[i].types = types[i]; t[i].capacity = 24; }
    if (!CHECK_OK(kpd_model_tokenize(m, KPD_ITEM, in, false, &t[0], NULL))) return;
    if (!CHECK_OK(kpd_tokenize(kpd_model_tokenizer(m), &want, 0, false, &t[1], NULL))) return;
    CHECK_THAT(t[0].count == t[1].count && !memcmp(ids[0], ids[1], (size_t)t[1].count * sizeof **ids) &&
                   !memcmp(types[0], types[1], (size_t)t[1].count * sizeof **types),
               "%s: %d tokens, expected those of \"%s\"%s%s", what, (int)t[0].count, first, second ? " and " : "",
               second ? second : "");
}

// An empty part, a blank one and one that is not given are one and the same: each takes the text with it that joins it.
static void a_blank_part_is_as_a_missing_one(void) {
    static const char *const blank[] = {"", " ", "\t\r\n", "\xC2\xA0\xE3\x80\x80", "\xE2\x80\x8B\x01"};
    static const char plain[] = "{keyphrase} [SEP] {category} [SEP] {title}", two[] = "{keyphrase}|{category} [SEP] {title}",
                      roles[] = "for {keyphrase} : {sep} red {category} {sep} {title} {mask}",
                      wordy[] = "for {keyphrase} : [SEP] red {category}|pro {title} phone";
    static const struct { const char *pair, *part[3], *first, *second; } x[] = {
        {plain, {"blue", "lamp", "case"}, "blue [SEP] lamp [SEP] case", NULL},
        {plain, {"blue", NULL, "case"}, "blue [SEP] case", NULL},
        {plain, {NULL, "lamp", "case"}, "lamp [SEP] case", NULL},
        {plain, {"blue", "lamp", NULL}, "blue [SEP] lamp", NULL},
        {plain, {"blue", NULL, NULL}, "blue", NULL},
        {plain, {NULL, NULL, NULL}, "", NULL},
        {plain, {"5", "[SEP]", "!"}, "5 [SEP] [SEP] [SEP] !", NULL},
        {two, {"blue", "lamp", "case"}, "blue", "lamp [SEP] case"},
        {two, {"blue", NULL, "case"}, "blue", "case"},
        {two, {"blue", "lamp", NULL}, "blue", "lamp"},
        {two, {"blue", NULL, NULL}, "blue", NULL},
        {two, {NULL, NULL, "case"}, "", "case"},
        {roles, {"blue", "lamp", "case"}, "for blue : [SEP] red lamp [SEP] case [MASK]", NULL},
        {roles, {"blue", NULL, "case"}, "for blue [SEP] case [MASK]", NULL},
        {roles, {NULL, "lamp", "case"}, "for lamp [SEP] case [MASK]", NULL},
        {roles, {"blue", "lamp", NULL}, "for blue : [SEP] red lamp", NULL},
        {wordy, {"blue", "lamp", "case"}, "for blue : [SEP] red lamp", "pro case phone"},
        {wordy, {"blue", NULL, "case"}, "for blue", "pro case phone"},
        {wordy, {NULL, "lamp", NULL}, "for lamp", NULL},
        {wordy, {NULL, NULL, NULL}, "for", NULL},
    };
    for (size_t i = 0; i < sizeof x / sizeof *x; i++) {
        kpd_model *m = model_of(KPD_CROSS_ENCODER, NULL, x[i].pair);
        for (size_t b = 0; m && b < sizeof blank / sizeof *blank; b++) {
            const char *part[3];
            kpd_input in;
            for (int k = 0; k < 3; k++) part[k] = x[i].part[k] ? x[i].part[k] : blank[b];
            in = kpd_input_str(part[0], part[1], part[2]);
            reads(m, &in, x[i].first, x[i].second, x[i].pair);
            for (int k = 0; k < 3; k++)
                if (!x[i].part[k]) memset(&in.part[k], 0, sizeof in.part[k]);
            reads(m, &in, x[i].first, x[i].second, x[i].pair);
            while (in.n_parts > 1 && !x[i].part[in.n_parts - 1]) in.n_parts--;
            reads(m, &in, x[i].first, x[i].second, x[i].pair);
        }
        kpd_model_destroy(m);
    }
}

static kpd_text text_of(const char *s) {
    kpd_text t;
    t.data = s; t.size = strlen(s);
    return t;
}

// Any model can be asked about any row: it gets what its template names, in its order, and of the rest nothing.
static void a_row_becomes_what_the_template_names(void) {
    static const struct { kpd_kind kind; const char *template_, *want; int32_t n_parts; } x[] = {
        {KPD_BI_ENCODER, NULL, "blue case [SEP] lamp", 2},
        {KPD_BI_ENCODER, "{title}", "blue case", 1},
        {KPD_BI_ENCODER, "{category}", "lamp", 2},
        {KPD_BI_ENCODER, "{category} : {title}", "lamp : blue case", 2},
        {KPD_CROSS_ENCODER, NULL, "phone [SEP] lamp [SEP] blue case", 3},
        {KPD_CROSS_ENCODER, "{keyphrase} [SEP] {title}", "phone [SEP] blue case", 3},
        {KPD_CROSS_ENCODER, "{title} [SEP] {keyphrase}", "blue case [SEP] phone", 3},
        {KPD_CROSS_ENCODER, "{keyphrase} [SEP] {category}", "phone [SEP] lamp", 2},
    };
    kpd_row row;
    row.keyphrase = text_of("phone"); row.category = text_of("lamp"); row.title = text_of("blue case");
    for (size_t i = 0; i < sizeof x / sizeof *x; i++) {
        kpd_model *m = model_of(x[i].kind, x[i].kind ? NULL : x[i].template_, x[i].kind ? x[i].template_ : NULL);
        kpd_input in;
        if (!m) continue;
        kpd_model_input(m, KPD_ITEM, &row, &in);
        CHECK_INT(in.n_parts, x[i].n_parts);
        reads(m, &in, x[i].want, NULL, x[i].template_ ? x[i].template_ : "default");
        if (x[i].kind == KPD_BI_ENCODER) {
            kpd_model_input(m, KPD_KEYPHRASE, &row, &in);
            CHECK(in.n_parts == 1 && in.part[0].data == row.keyphrase.data && in.part[0].size == 5);
        }
        kpd_model_destroy(m);
    }
}

// Of a vocabulary whose special tokens have other names: {sep} is its own, [SEP] is refused as plain text would be.
static void templates_name_roles(void) {
    static const char vocab[] = "<unk>\n<s>\n</s>\nblue\nlamp\n[\nsep\n]\n[SEP]\n<pad>\n";
    static const int32_t want[] = {1, 3, 2, 4, 2}, three[] = {1, 3, 2, 4, 2, 3, 2}, zeros[8] = {0};
    kpd_tokenizer_desc t;
    tiny_options o;
    kpd_tokenizer *tokenizer = NULL;
    kpd_model_desc d;
    kpd_model *m = NULL;
    kpd_error e;
    memset(&t, 0, sizeof t);
    memset(&o, 0, sizeof o);
    t.vocab = vocab; t.vocab_size = sizeof vocab - 1;
    t.unk = "<unk>"; t.cls = "<s>"; t.sep = "</s>"; t.pad = "<pad>"; t.mask = "<mask>";
    if (!CHECK_OK(kpd_tokenizer_create(&t, &tokenizer, NULL))) return;
    d = tiny_desc(&o, tokenizer);
    if (CHECK_OK(kpd_model_create(&d, &m, NULL))) {
        CHECK(!strcmp(kpd_model_get_desc(m)->template_item, "{title} {sep} {category}"));
        expect_ids(m, KPD_ITEM, kpd_input_str("blue", "lamp", NULL), want, 5, zeros);
    }
    kpd_model_destroy(m);
    m = NULL;
    o.kind = KPD_CROSS_ENCODER;
    d = tiny_desc(&o, tokenizer);
    if (CHECK_OK(kpd_model_create(&d, &m, NULL)))
        expect_ids(m, KPD_ITEM, kpd_input_str("blue", "lamp", "blue"), three, 7, zeros);
    kpd_model_destroy(m);
    m = NULL;
    d.template_pair = "{keyphrase} [SEP] {category}";
    CHECK_STATUS(kpd_model_create(&d, &m, &e), KPD_ERR_ARGUMENT);
    CHECK_THAT(strstr(e.message, "[SEP] is no special token") != NULL, "%s", e.message);
    d.template_pair = "{keyphrase} {mask} {category}";
    CHECK_STATUS(kpd_model_create(&d, &m, &e), KPD_ERR_ARGUMENT);
    CHECK_THAT(strstr(e.message, "lacks, \"<mask>\"") != NULL, "%s", e.message);
    kpd_tokenizer_destroy(tokenizer);
}

static void two_segments_have_two_types(void) {
    static const int32_t want[] = {2, 5, 3, 16, 3}, types[] = {0, 0, 0, 1, 1};
    tiny_options o;
    kpd_tokenizer *t = tiny_tokenizer();
    kpd_model_desc d;
    kpd_model *m = NULL;
    memset(&o, 0, sizeof o);
    o.kind = KPD_CROSS_ENCODER;
    d = tiny_desc(&o, t);
    d.template_pair = "{keyphrase}|{category} [SEP] {title}";
    if (CHECK_OK(kpd_model_create(&d, &m, NULL)))
        expect_ids(m, KPD_ITEM, kpd_input_str("blue", "lamp", NULL), want, 5, types);
    kpd_model_destroy(m);
    d.n_types = 1;
    m = NULL;
    CHECK_STATUS(kpd_model_create(&d, &m, NULL), KPD_ERR_ARGUMENT);
    kpd_tokenizer_destroy(t);
}

// What goes into the panels comes out, and touches no other tensor.
static void weights_round_trip(void) {
    tiny_options o;
    kpd_model *m;
    kpd_tensor x;
    static float w[4096], got[4096];
    memset(&o, 0, sizeof o);
    o.width = 20; o.n_heads = 5;
    m = tiny_model(&o);
    for (int32_t i = 0; kpd_model_tensor(m, i, &x); i++) {
        for (int32_t j = 0; j < x.rows * x.cols; j++) w[j] = (float)(i * 5000 + j);
        CHECK_OK(kpd_model_set(m, x.name, w, NULL));
    }
    for (int32_t i = 0; kpd_model_tensor(m, i, &x); i++) {
        size_t n = (size_t)(x.rows * x.cols);
        for (size_t j = 0; j < n; j++) w[j] = (float)(i * 5000 + (int32_t)j);
        CHECK_OK(kpd_model_get(m, x.name, got, NULL));
        CHECK_THAT(!memcmp(w, got, n * sizeof *w), "tensor %s differs", x.name);
    }
    kpd_model_destroy(m);
}

static void bad_weights_are_refused(void) {
    tiny_options o;
    kpd_model *m, *opened = NULL;
    kpd_error e;
    float w[16] = {0}, before[16], after[16];
    memset(&o, 0, sizeof o);
    m = tiny_model(&o);
    CHECK_OK(kpd_model_get(m, "embeddings.LayerNorm.weight", before, NULL));
    w[3] = INFINITY;
    CHECK_STATUS(kpd_model_set(m, "embeddings.LayerNorm.weight", w, &e), KPD_ERR_INPUT);
    CHECK_INT(e.where, 3);
    CHECK_OK(kpd_model_get(m, "embeddings.LayerNorm.weight", after, NULL));
    CHECK(!memcmp(before, after, sizeof after));
    CHECK_STATUS(kpd_model_set(m, "no.such.tensor", w, &e), KPD_ERR_NOT_FOUND);
    CHECK_STATUS(kpd_model_get(m, "no.such.tensor", w, &e), KPD_ERR_NOT_FOUND);
    CHECK_OK(kpd_model_save(m, test_tmp("model.kpd"), &e));
    if (CHECK_OK(kpd_model_open(test_tmp("model.kpd"), NULL, &opened, &e)))
        CHECK_STATUS(kpd_model_set(opened, "embeddings.LayerNorm.weight", before, &e), KPD_ERR_ARGUMENT);
    kpd_model_destroy(opened);
    kpd_model_destroy(m);
}

SUITE(model) {
    RUN(model, bad_descs_are_refused);
    RUN(model, huge_models_fail_cleanly);
    RUN(model, templates_are_checked);
    RUN(model, templates_join_parts);
    RUN(model, a_blank_part_is_as_a_missing_one);
    RUN(model, a_row_becomes_what_the_template_names);
    RUN(model, templates_name_roles);
    RUN(model, two_segments_have_two_types);
    RUN(model, weights_round_trip);
    RUN(model, bad_weights_are_refused);
}
