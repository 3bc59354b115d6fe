// tiny.h - two models small enough to be made in code, so that the examples run without a download.
//
// Neither is trained, but both do something that can be followed by hand:
//
//   tiny_student     a bi-encoder: a random vector per token, averaged. Texts with the same words are near each other.
//   tiny_assistant   a cross-encoder: its two attention layers find out which share of the keyphrase's tokens stands in the
//                    item as well, and its logit is positive from about 60 % on.
//
// A trained model knows synonyms, brands and what matters; these know only which words are equal. Include kpd.h first.
#ifndef TINY_H
#define TINY_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Columns of a token's vector. A flag takes two columns, +v and -v, so that every vector has mean 0 and layer normalisation
// leaves it nearly as it is.
enum {
    TINY_WIDTH = 128,
    TINY_CODE  = 112,                   // columns 0..111: the token's own random signs
    TINY_TYPE  = 112,                   // is it the keyphrase (+1) or the item (-1)?
    TINY_CLS   = 114, TINY_SEP = 116, TINY_OTHER = 118,     // is it [CLS], [SEP], another special token?
    TINY_MATCH = 120,                   // written by layer 0: does this token stand in the item too?
    TINY_SHARE = 122                    // written by layer 1, into [CLS]: the mean of those answers over the keyphrase
};

typedef struct tiny_vocab { char text[16384]; size_t size; } tiny_vocab;        // a token a line, after a first empty line
typedef struct tiny_cell { int row, col; float value; } tiny_cell;

// Adds "prefix word" as a line, unless it is there. What no longer fits is left out: it tokenizes to pieces.
static void tiny_add(tiny_vocab *v, const char *prefix, const char *word, size_t n) {
    char line[64];
    int size = snprintf(line, sizeof line, "\n%s%.*s\n", prefix, (int)n, word);
    if (size >= (int)sizeof line || v->size + (size_t)size >= sizeof v->text || strstr(v->text, line)) return;
    memcpy(v->text + v->size, line + 1, (size_t)size);
    v->size += (size_t)size - 1;
}

static int tiny_is_word(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'); }

// Adds the lower-cased words of a text: first those without a final s; then plurals, if they have no singular. A word
// whose singular is there becomes two tokens, "lamp" and "##s", and so shares one with "lamp".
static void tiny_add_words(tiny_vocab *v, const char *text, int plurals) {
    while (*text) {
        char word[32], singular[40];
        size_t n = 0;
        for (; tiny_is_word(*text); text++)
            if (n < sizeof word - 1) word[n++] = (char)(*text >= 'A' && *text <= 'Z' ? *text + 32 : *text);
        word[n] = 0;
        snprintf(singular, sizeof singular, "\n%.*s\n", (int)(n ? n - 1 : 0), word);
        if (n && (n > 1 && word[n - 1] == 's') == plurals && !(plurals && strstr(v->text, singular))) tiny_add(v, "", word, n);
        if (*text) text++;
    }
}

// Special tokens, the words of the texts, and every printable ASCII character as a piece, so that any ASCII text has tokens.
static void tiny_vocabulary(tiny_vocab *v, const char *const *texts, size_t n) {
    static const char *const special[] = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"};
    memset(v, 0, sizeof *v);
    v->text[v->size++] = '\n';
    for (size_t i = 0; i < 5; i++) tiny_add(v, "", special[i], strlen(special[i]));
    for (int plurals = 0; plurals < 2; plurals++)
        for (size_t i = 0; i < n; i++) tiny_add_words(v, texts[i], plurals);
    for (char c = '!'; c <= '~'; c++) {
        tiny_add(v, "", &c, 1);
        tiny_add(v, "##", &c, 1);
    }
}

static kpd_status tiny_tokenizer(const char *const *texts, size_t n, kpd_tokenizer **out, kpd_error *e) {
    static const char empty = 0;
    tiny_vocab v;
    kpd_tokenizer_desc d;
    tiny_vocabulary(&v, texts, n);
    memset(&d, 0, sizeof d);
    d.vocab = v.size > 1 ? v.text + 1 : &empty;         // without the first empty line
    d.vocab_size = v.size - 1;
    return kpd_tokenizer_create(&d, out, e);
}

// One of 2^64 random numbers, by its place: the same on every machine (the finisher of SplitMix64).
static uint64_t tiny_random(uint64_t place) {
    uint64_t x = (place + 1) * 0x9E3779B97F4A7C15u;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
    return x ^ (x >> 31);
}

static void tiny_flag(float *row, int col, float value) {
    row[col] = value;
    row[col + 1] = -value;
}

// Words get random signs. Special tokens get nothing from a student (a zero vector adds nothing to the mean) and a flag as
// long as a word's vector in an assistant.
static void tiny_embedding(float *row, int32_t id, kpd_kind kind) {
    bool special = id < 5;
    for (int c = 0; c < TINY_CODE && !special; c += 2)
        tiny_flag(row, c, tiny_random((uint64_t)id << 8 | (uint64_t)c) & 1 ? 1.0f : -1.0f);
    if (special && kind == KPD_CROSS_ENCODER) tiny_flag(row, id == 2 ? TINY_CLS : id == 3 ? TINY_SEP : TINY_OTHER, 8.0f);
}

static kpd_status tiny_set_words(kpd_model *m, kpd_error *e) {
    kpd_kind kind = kpd_model_get_desc(m)->kind;
    int32_t n = kpd_tokenizer_size(kpd_model_tokenizer(m));
    float *w = (float *)calloc((size_t)n * TINY_WIDTH, sizeof *w);
    kpd_status s = KPD_ERR_MEMORY;
    if (!w) return snprintf(e->message, sizeof e->message, "out of memory"), s;
    for (int32_t id = 0; id < n; id++) tiny_embedding(w + (size_t)id * TINY_WIDTH, id, kind);
    s = kpd_model_set(m, "embeddings.word_embeddings.weight", w, e);
    free(w);
    return s;
}

// Layer normalisation multiplies by its weight, which is 0 in a new model like everything else.
static kpd_status tiny_set_norms(kpd_model *m, kpd_error *e) {
    const char *suffix = "LayerNorm.weight";
    kpd_tensor t;
    float ones[TINY_WIDTH];
    for (int c = 0; c < TINY_WIDTH; c++) ones[c] = 1;
    for (int32_t i = 0; kpd_model_tensor(m, i, &t); i++) {
        size_t n = strlen(t.name), k = strlen(suffix);
        kpd_status s = n >= k && !strcmp(t.name + n - k, suffix) ? kpd_model_set(m, t.name, ones, e) : KPD_OK;
        if (s) return s;
    }
    return KPD_OK;
}

// A [128, 128] matrix (or its first rows): `diagonal` over the code columns, some cells, else 0.
static kpd_status tiny_set(kpd_model *m, const char *name, float diagonal, const tiny_cell *cells, int n, kpd_error *e) {
    float w[TINY_WIDTH * TINY_WIDTH];
    memset(w, 0, sizeof w);
    for (int c = 0; c < TINY_CODE; c++) w[c * TINY_WIDTH + c] = diagonal;
    for (int i = 0; i < n; i++) w[cells[i].row * TINY_WIDTH + cells[i].col] = cells[i].value;
    return kpd_model_set(m, name, w, e);
}

// Layer 0: a token looks for equal tokens (itself among them); the values say which of those are the item's. A keyphrase token
// that stands once in the item looks half at itself and half at that one: value 1/2, doubled on the way out.
static kpd_status tiny_set_match(kpd_model *m, kpd_error *e) {
    static const tiny_cell value[] = {{0, TINY_TYPE, -.25f}, {0, TINY_TYPE + 1, .25f}};
    static const tiny_cell bias[] = {{0, 0, .5f}}, output[] = {{TINY_MATCH, 0, 2}, {TINY_MATCH + 1, 0, -2}};
    kpd_status s = tiny_set(m, "encoder.layer.0.attention.self.query.weight", 2, NULL, 0, e);
    if (!s) s = tiny_set(m, "encoder.layer.0.attention.self.key.weight", 2, NULL, 0, e);
    if (!s) s = tiny_set(m, "encoder.layer.0.attention.self.value.weight", 0, value, 2, e);
    if (!s) s = tiny_set(m, "encoder.layer.0.attention.self.value.bias", 0, bias, 1, e);
    if (!s) s = tiny_set(m, "encoder.layer.0.attention.output.dense.weight", 0, output, 2, e);
    return s;
}

// Layer 1: [CLS] looks at the keyphrase's tokens only, and takes the mean of their answers.
static kpd_status tiny_set_share(kpd_model *m, kpd_error *e) {
    static const tiny_cell query[] = {{0, TINY_CLS, 28}}, value[] = {{0, TINY_MATCH, .5f}, {0, TINY_MATCH + 1, -.5f}};
    static const tiny_cell key[] = {{0, TINY_TYPE, .5f}, {0, TINY_TYPE + 1, -.5f}, {0, TINY_CLS, -.25f}, {0, TINY_SEP, -.25f}};
    static const tiny_cell output[] = {{TINY_SHARE, 0, 1}, {TINY_SHARE + 1, 0, -1}};
    kpd_status s = tiny_set(m, "encoder.layer.1.attention.self.query.weight", 0, query, 1, e);
    if (!s) s = tiny_set(m, "encoder.layer.1.attention.self.key.weight", 0, key, 4, e);
    if (!s) s = tiny_set(m, "encoder.layer.1.attention.self.value.weight", 0, value, 2, e);
    if (!s) s = tiny_set(m, "encoder.layer.1.attention.output.dense.weight", 0, output, 2, e);
    return s;
}

// logit = 6 tanh(2 share - 1.2)
static kpd_status tiny_set_head(kpd_model *m, kpd_error *e) {
    static const tiny_cell type[] = {{0, TINY_TYPE, 1}, {0, TINY_TYPE + 1, -1}, {1, TINY_TYPE, -1}, {1, TINY_TYPE + 1, 1}};
    static const tiny_cell pooler[] = {{0, TINY_SHARE, 1}, {0, TINY_SHARE + 1, -1}};
    static const tiny_cell bias[] = {{0, 0, -1.2f}}, out[] = {{0, 0, 6}};
    kpd_status s = tiny_set(m, "embeddings.token_type_embeddings.weight", 0, type, 4, e);
    if (!s) s = tiny_set(m, "pooler.dense.weight", 0, pooler, 2, e);
    if (!s) s = tiny_set(m, "pooler.dense.bias", 0, bias, 1, e);
    if (!s) s = tiny_set(m, "classifier.weight", 0, out, 1, e);
    return s;
}

// The hundredth gives an empty text a direction, as a trained model does, and changes no other by much.
static kpd_status tiny_set_all(kpd_model *m, kpd_error *e) {
    static const tiny_cell hundredth[] = {{0, 0, .01f}};
    kpd_status s = tiny_set_words(m, e);
    if (!s) s = tiny_set_norms(m, e);
    if (!s) s = tiny_set(m, "encoder.layer.0.output.LayerNorm.bias", 0, hundredth, 1, e);
    if (s || kpd_model_get_desc(m)->kind == KPD_BI_ENCODER) return s;
    s = tiny_set_match(m, e);
    if (!s) s = tiny_set_share(m, e);
    if (!s) s = tiny_set_head(m, e);
    return s;
}

static kpd_status tiny_model(kpd_kind kind, const char *const *texts, size_t n, kpd_model **out, kpd_error *e) {
    kpd_model_desc d;
    kpd_tokenizer *t = NULL;
    kpd_model *m = NULL;
    kpd_status s = tiny_tokenizer(texts, n, &t, e);
    memset(&d, 0, sizeof d);
    d.kind = kind;
    d.n_layers = kind == KPD_BI_ENCODER ? 1 : 2;
    d.width = TINY_WIDTH;
    d.n_heads = 1;
    d.ffn_width = 16;
    d.n_positions = 128;
    d.tokenizer = t;
    d.template_pair = kind == KPD_CROSS_ENCODER ? "{keyphrase} | {category} {sep} {title}" : NULL;
    if (!s) s = kpd_model_create(&d, &m, e);
    if (!s) s = tiny_set_all(m, e);
    kpd_tokenizer_destroy(t);
    if (s) kpd_model_destroy(m);
    else *out = m;
    return s;
}

// texts: the words that become tokens of their own. Close the model with kpd_model_destroy.
static inline kpd_status tiny_student(const char *const *texts, size_t n, kpd_model **out, kpd_error *e) {
    return tiny_model(KPD_BI_ENCODER, texts, n, out, e);
}

static inline kpd_status tiny_assistant(const char *const *texts, size_t n, kpd_model **out, kpd_error *e) {
    return tiny_model(KPD_CROSS_ENCODER, texts, n, out, e);
}

#endif
