// The vocabulary trainer: by hand, against Hugging Face's (golden), on hostile text, and when memory runs out.
#include "../kpd_train.h"
#include "test.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static kpd_error error;

// A corpus is an array of texts, handed out one by one.
typedef struct corpus { const kpd_text *texts; size_t n, at; } corpus;

static bool next_text(void *user, kpd_text *out) {
    corpus *c = (corpus *)user;
    if (c->at == c->n) return false;
    *out = c->texts[c->at++];
    return true;
}

static kpd_text text_of(const char *s) {
    kpd_text t;
    t.data = s;
    t.size = strlen(s);
    return t;
}

// Trains with d's options. The caller frees; NULL after a failure, which fails the test.
static char *train(kpdt_vocabulary_desc d, const kpd_text *texts, size_t n, size_t *size) {
    corpus c;
    char *vocab = NULL;
    c.texts = texts; c.n = n; c.at = 0;
    d.next = next_text;
    d.next_user = &c;
    if (!CHECK_THAT(!kpdt_vocabulary_train(&d, &vocab, size, &error), "%s", error.message)) return NULL;
    CHECK(!vocab[*size] && strlen(vocab) == *size);
    CHECK_INT(c.at, n);
    return vocab;
}

static kpdt_vocabulary_desc desc_of(int32_t size, int32_t min_count) {
    kpdt_vocabulary_desc d;
    memset(&d, 0, sizeof d);
    d.size = size;
    d.min_count = min_count;
    return d;
}

#define SPECIALS "[PAD] [UNK] [CLS] [SEP] [MASK] "

// want: the tokens with spaces between them.
static void check_tokens(char *vocab, size_t size, const char *want) {
    if (!vocab) return;
    for (size_t i = 0; i < size; i++)
        if (vocab[i] == '\n') vocab[i] = ' ';
    if (size) vocab[size - 1] = 0;
    CHECK_THAT(!strcmp(vocab, want), "got:      %.3000s\nexpected: %.3000s", vocab, want);
    free(vocab);
}

static void check_training(kpdt_vocabulary_desc d, const kpd_text *texts, size_t n, const char *want) {
    size_t size = 0;
    char *vocab = train(d, texts, n, &size);
    check_tokens(vocab, size, want);
}

static void check_one(kpdt_vocabulary_desc d, const char *text, const char *want) {
    kpd_text t = text_of(text);
    check_training(d, &t, 1, want);
}

// ---- by hand ---------------------------------------------------------------------------------------------------------

// hug 10, pug 5, pun 12, bun 4, hugs 5. Pairs: u-g 20, h-u 15, p-u 17, u-n 16, b-u 4, g-s 5. ug is made first, which leaves
// h-ug 15, p-u 12, p-ug 5, u-n 16, b-u 4, ug-s 5; then un; then hug (15), pun (12); and of pug, hugs (5 each) and
// bun (4): hug is a later token than p, so pug comes before hugs.
static void by_hand(void) {
    static const char *const words[5] = {"hug", "pug", "pun", "bun", "hugs"};
    static const int counts[5] = {10, 5, 12, 4, 5};
    kpd_text texts[36];
    size_t n = 0;
    for (int i = 0; i < 5; i++)
        for (int k = 0; k < counts[i]; k++) texts[n++] = text_of(words[i]);
    check_training(desc_of(0, 0), texts, n, SPECIALS "b g h n p s u ##g ##n ##s ##u ##ug ##un hug pun pug hugs bun");
    check_training(desc_of(18, 0), texts, n, SPECIALS "b g h n p s u ##g ##n ##s ##u ##ug ##un");
    check_training(desc_of(0, 5), texts, n, SPECIALS "b g h n p s u ##g ##n ##s ##u ##ug ##un hug pun pug hugs");
    check_training(desc_of(0, 13), texts, n, SPECIALS "b g h n p s u ##g ##n ##s ##u ##ug ##un hug");
}

// In aaaaa the pair ##a ##a counts three times, but is merged twice, from the left. In ababab, ##ab comes before ##ba since ##a
// comes before ##b; of a-##b, ##b-##ab and ##ab-##ab the first, and then ##ab-##ab before ab-##ab, which is the later token.
static void repeats(void) {
    check_one(desc_of(0, 0), "aaaaa", SPECIALS "a ##a ##aa");
    check_one(desc_of(0, 0), "aaaaa aaaaa", SPECIALS "a ##a ##aa aaa aaaaa");
    check_one(desc_of(0, 0), "ababab ababab", SPECIALS "a b ##a ##b ##ab ab ##abab ababab");
}

// A tie of counts goes to the left token that is earlier in the vocabulary, then to the right one.
static void ties(void) {
    check_one(desc_of(0, 1), "dc bc ba", SPECIALS "a b c d ##a ##c ba bc dc");
    check_one(desc_of(12, 1), "dc bc ba", SPECIALS "a b c d ##a ##c ba");
    check_one(desc_of(0, 0), "b a c", SPECIALS "a b c");
}

static void alphabet(void) {
    kpdt_vocabulary_desc d = desc_of(0, 0);
    d.max_alphabet = 2;
    check_one(d, "xbxa xbxa xq q", SPECIALS "a x ##a ##x xx xxa");        // a, b and q tie; xbxa is x ##x ##a
    check_one(d, "qxa qxa x", SPECIALS "a x ##a ##x ##xa");                 // a word may lack its first character
}

static void normalised_words(void) {
    kpdt_vocabulary_desc d = desc_of(0, 3);
    check_one(d, "\xC3\x89t\xC3\xA9\t\xE6\x9D\xB1\xE4\xBA\xAC[CLS]",
              SPECIALS "[ ] c e l s t \xE4\xBA\xAC \xE6\x9D\xB1 ##e ##l ##s ##t");
    d.cased = true;
    d.keep_cjk_joined = true;
    check_one(d, "\xC3\x89t\xC3\xA9\t\xE6\x9D\xB1\xE4\xBA\xAC",
              SPECIALS "t \xC3\x89 \xC3\xA9 \xE4\xBA\xAC \xE6\x9D\xB1 ##t ##\xC3\xA9 ##\xE4\xBA\xAC");
}

// ---- golden ----------------------------------------------------------------------------------------------------------

enum { GOLDEN_TEXTS = 400, GOLDEN_LINE = 20000 };
typedef struct golden { kpd_text texts[GOLDEN_TEXTS]; size_t n; int vocabularies; } golden;

static int hex_digit(char c) { return c <= '9' ? c - '0' : c - 'a' + 10; }

static void golden_text(golden *g, const char *hex) {
    size_t size = strlen(hex) / 2;
    char *data = (char *)malloc(size + 1);
    if (!CHECK(data && g->n < GOLDEN_TEXTS)) { free(data); return; }
    for (size_t i = 0; i < size; i++) data[i] = (char)(hex_digit(hex[2 * i]) * 16 + hex_digit(hex[2 * i + 1]));
    g->texts[g->n].data = data;
    g->texts[g->n++].size = size;
}

static void golden_vocab(golden *g, const char *fields) {
    kpdt_vocabulary_desc d = desc_of(0, 0);
    int size, min_count, alphabet_size, cased, strip, joined, end = 0;
    int n = sscanf(fields, "%d %d %d %d %d %d %n", &size, &min_count, &alphabet_size, &cased, &strip, &joined, &end);
    if (!CHECK_INT(n, 6)) return;
    d.size = size; d.min_count = min_count; d.max_alphabet = alphabet_size;
    d.cased = cased; d.strip_accents = strip; d.keep_cjk_joined = joined;
    check_training(d, g->texts, g->n, fields + end);
    g->vocabularies++;
}

static bool read_golden(golden *g, bool train_too) {
    static char line[GOLDEN_LINE];
    FILE *f = fopen("tests/golden/vocabulary.tsv", "rb");
    memset(g, 0, sizeof *g);
    if (!CHECK_THAT(f != NULL, "tests/golden/vocabulary.tsv is missing")) return false;
    while (fgets(line, sizeof line, f)) {
        line[strcspn(line, "\n")] = 0;
        if (!strncmp(line, "text\t", 5)) golden_text(g, line + 5);
        else if (train_too && !strncmp(line, "vocab\t", 6)) golden_vocab(g, line + 6);
    }
    fclose(f);
    return true;
}

static void free_golden(golden *g) {
    for (size_t i = 0; i < g->n; i++) free((void *)(size_t)g->texts[i].data);
}

static void as_hugging_face(void) {
    golden g;
    if (read_golden(&g, true)) CHECK(g.n > 100 && g.vocabularies == 8);
    free_golden(&g);
}

// Nothing is random, and where one text ends makes no difference if it is between words.
static void repeatable(void) {
    golden g;
    size_t size = 0, again = 0, n = 0;
    char *joined = (char *)malloc(100000), *first = NULL, *second = NULL;
    kpd_text all;
    if (!joined || !read_golden(&g, false)) { free(joined); return; }
    for (size_t i = 0; i < g.n; i++) {
        memcpy(joined + n, g.texts[i].data, g.texts[i].size);
        n += g.texts[i].size;
        joined[n++] = '\n';
    }
    all.data = joined; all.size = n;
    first = train(desc_of(350, 2), g.texts, g.n, &size);
    second = train(desc_of(350, 2), &all, 1, &again);
    CHECK(first && second && size == again && !memcmp(first, second, size));
    free(second);
    second = train(desc_of(350, 2), g.texts, g.n, &again);
    CHECK(first && second && size == again && !memcmp(first, second, size));
    free(first); free(second); free(joined);
    free_golden(&g);
}

// ---- the tokenizer's view ----------------------------------------------------------------------------------------------

static kpd_tokenizer *tokenizer_of(const char *vocab, size_t size, bool cased) {
    kpd_tokenizer_desc d;
    kpd_tokenizer *t = NULL;
    memset(&d, 0, sizeof d);
    d.vocab = vocab; d.vocab_size = size; d.cased = cased;
    CHECK_THAT(!kpd_tokenizer_create(&d, &t, &error), "%s", error.message);
    return t;
}

static size_t count_tokens(const kpd_tokenizer *t, kpd_text text, size_t *unknown) {
    static int32_t ids[1 << 16];
    kpd_tokens tokens;
    kpd_input in;
    memset(&tokens, 0, sizeof tokens);
    memset(&in, 0, sizeof in);
    in.part[0] = text; in.n_parts = 1;
    tokens.ids = ids; tokens.capacity = 1 << 16;
    CHECK_OK(kpd_tokenize(t, &in, 0, true, &tokens, &error));
    for (int32_t i = 0; i < tokens.count; i++) *unknown += ids[i] == kpd_token_id(t, text_of("[UNK]"));
    return (size_t)tokens.count;
}

static void no_unknown_words(void) {
    golden g;
    if (!read_golden(&g, false)) return;
    for (int cased = 0; cased < 2; cased++) {
        kpdt_vocabulary_desc d = desc_of(400, 2);
        size_t size = 0, unknown = 0, characters = 0, tokens = 0;
        char *vocab;
        kpd_tokenizer *t;
        d.cased = cased;
        vocab = train(d, g.texts, g.n, &size);
        t = vocab ? tokenizer_of(vocab, size, cased) : NULL;
        for (size_t i = 0; t && i < g.n; i++) {
            tokens += count_tokens(t, g.texts[i], &unknown);
            characters += g.texts[i].size;
        }
        CHECK_INT(unknown, 0);
        CHECK(tokens > 0 && tokens < characters / 2);
        kpd_tokenizer_destroy(t);
        free(vocab);
    }
    free_golden(&g);
}

// ---- hostile text ------------------------------------------------------------------------------------------------------

enum { MEGABYTE = 1 << 20 };

// A vocabulary of whatever it is makes a tokenizer. Returns its tokens.
static int32_t check_bytes(const char *data, size_t size, kpdt_vocabulary_desc d) {
    kpd_text text;
    size_t bytes = 0;
    char *vocab;
    kpd_tokenizer *t = NULL;
    int32_t n = 0;
    text.data = data; text.size = size;
    vocab = train(d, &text, 1, &bytes);
    if (vocab) t = tokenizer_of(vocab, bytes, d.cased);
    if (t) n = kpd_tokenizer_size(t);
    kpd_tokenizer_destroy(t);
    free(vocab);
    return n;
}

static uint32_t random_state;
static uint32_t random_bits(void) { return (random_state = random_state * 1664525u + 1013904223u) >> 8; }

static void fill(char *data, const char *unit) {
    size_t n = strlen(unit);
    for (size_t i = 0; i < MEGABYTE; i++) data[i] = unit[i % n];
}

static void hostile_megabytes(void) {
    char *data = (char *)malloc(MEGABYTE);
    kpdt_vocabulary_desc d = desc_of(100, 0), cased = d;
    if (!data) return;
    cased.cased = true;
    fill(data, "a");
    CHECK_INT(check_bytes(data, MEGABYTE, d), 5);                       // a word of over 100 characters
    for (size_t i = 0; i < MEGABYTE; i++) data[i] = (char)('a' + random_bits() % 26);
    CHECK_INT(check_bytes(data, MEGABYTE, d), 5);
    for (size_t i = 0; i < MEGABYTE; i++) data[i] = (char)(random_bits() % 9 ? 'a' + random_bits() % 26 : '-');
    CHECK_INT(check_bytes(data, MEGABYTE, d), 100);                     // no space either, but words
    fill(data, "\xCC\x81");
    CHECK_INT(check_bytes(data, MEGABYTE, d), 5);                       // marks are stripped
    CHECK_INT(check_bytes(data, MEGABYTE, cased), 5);                   // or make one long word
    fill(data, "\xE3\x80\xAE");
    CHECK_INT(check_bytes(data, MEGABYTE, d), 5);
    fill(data, "e\xCC\x81\xE3\x80\xAE \xCC\x81");
    CHECK(check_bytes(data, MEGABYTE, d) > 5);
    CHECK(check_bytes(data, MEGABYTE, cased) > 5);
    for (size_t i = 0; i < MEGABYTE; i++) data[i] = (char)random_bits();
    CHECK(check_bytes(data, MEGABYTE, d) > 1000);                       // some of it is UTF-8; the alphabet exceeds the size
    memset(data, 0xFF, MEGABYTE);
    CHECK_INT(check_bytes(data, MEGABYTE, d), 5);
    memset(data, 0, MEGABYTE);
    CHECK_INT(check_bytes(data, MEGABYTE, d), 5);
    free(data);
}

// The tree of words as deep as can be: each forks off from the one before a bit later.
static void deep_words(void) {
    char *data = (char *)malloc(MEGABYTE);
    size_t n = 0;
    if (!data) return;
    for (size_t length = 1; n + 2 * length + 4 < MEGABYTE; length = length % 99 + 1) {
        memset(data + n, 'a', length);
        n += length;
        data[n++] = 'b';
        data[n++] = ' ';
        data[n++] = 'a';
        data[n++] = ' ';
    }
    CHECK(check_bytes(data, n, desc_of(0, 0)) > 100);
    free(data);
}

static void small_corpora(void) {
    check_training(desc_of(0, 0), NULL, 0, "[PAD] [UNK] [CLS] [SEP] [MASK]");
    check_one(desc_of(0, 0), "", "[PAD] [UNK] [CLS] [SEP] [MASK]");
    check_one(desc_of(0, 0), " \t\r\n", "[PAD] [UNK] [CLS] [SEP] [MASK]");
    check_one(desc_of(1, 0), "abc abc", SPECIALS "a b c ##b ##c");          // the alphabet stays
    check_one(desc_of(10, 0), "abc abc", SPECIALS "a b c ##b ##c");
    check_one(desc_of(11, 0), "abc abc", SPECIALS "a b c ##b ##c ab");
}

static void long_words(void) {
    char text[210];
    memset(text, 'a', sizeof text);
    text[100] = ' ';
    text[202] = 0;
    check_one(desc_of(0, 1000), text, SPECIALS "a ##a");                // of 100 and of 101 letters
    check_one(desc_of(0, 1000), text + 101, "[PAD] [UNK] [CLS] [SEP] [MASK]");
}

// ---- errors --------------------------------------------------------------------------------------------------------

static void arguments(void) {
    char *vocab = NULL;
    size_t size = 77;
    corpus c;
    kpdt_vocabulary_desc d = desc_of(0, 0), bad;
    memset(&c, 0, sizeof c);
    CHECK_STATUS(kpdt_vocabulary_train(&d, &vocab, &size, &error), KPD_ERR_ARGUMENT);
    CHECK_STATUS(kpdt_vocabulary_train(NULL, &vocab, &size, NULL), KPD_ERR_ARGUMENT);
    d.next = next_text;
    d.next_user = &c;
    bad = d; bad.size = -1;
    CHECK_STATUS(kpdt_vocabulary_train(&bad, &vocab, &size, &error), KPD_ERR_ARGUMENT);
    bad = d; bad.size = KPD_MAX_VOCAB + 1;
    CHECK_STATUS(kpdt_vocabulary_train(&bad, &vocab, &size, &error), KPD_ERR_ARGUMENT);
    bad = d; bad.min_count = -1;
    CHECK_STATUS(kpdt_vocabulary_train(&bad, &vocab, &size, &error), KPD_ERR_ARGUMENT);
    bad = d; bad.max_alphabet = -1;
    CHECK_STATUS(kpdt_vocabulary_train(&bad, &vocab, &size, &error), KPD_ERR_ARGUMENT);
    bad = d; bad.strip_accents = 2;
    CHECK_STATUS(kpdt_vocabulary_train(&bad, &vocab, &size, &error), KPD_ERR_ARGUMENT);
    CHECK(!vocab && size == 77);
}

// An allocator that refuses call number fail_at, and that checks sizes.
typedef struct host { int calls, fail_at, live, mistakes; size_t bytes; } host;

static void *host_alloc(void *user, size_t size) {
    host *h = (host *)user;
    size_t *p = h->calls++ == h->fail_at ? NULL : (size_t *)malloc(size + 16);
    if (!p) return NULL;
    *p = size;
    h->live++;
    h->bytes += size;
    return memset(p + 16 / sizeof *p, 0xA5, size);
}

static void host_free(void *user, void *ptr, size_t size) {
    host *h = (host *)user;
    size_t *p = (size_t *)ptr - 16 / sizeof *p;
    h->mistakes += *p != size;
    h->live--;
    h->bytes -= size;
    free(p);
}

static void each_refusal(void) {
    golden g;
    kpd_status s = KPD_ERR_MEMORY;
    if (!read_golden(&g, false)) return;
    for (int n = 0; s && n < 500; n++) {
        corpus c;
        host h;
        kpdt_vocabulary_desc d = desc_of(350, 1);
        char *vocab = NULL;
        size_t size = 0;
        memset(&h, 0, sizeof h);
        memset(&error, 0, sizeof error);
        c.texts = g.texts; c.n = g.n; c.at = 0;
        h.fail_at = n;
        d.next = next_text; d.next_user = &c;
        d.allocator.alloc = host_alloc; d.allocator.free = host_free; d.allocator.user = &h;
        s = kpdt_vocabulary_train(&d, &vocab, &size, n % 2 ? &error : NULL);
        if (s && !(CHECK_STATUS(s, KPD_ERR_MEMORY) && CHECK(!vocab && !size) && CHECK(!(n % 2) || error.message[0]))) break;
        if (!s) {
            CHECK_THAT(h.calls == n && n > 20, "%d calls, %d refused in turn", h.calls, n);
            CHECK_INT(h.live, 1);
            host_free(&h, vocab, size + 1);
        }
        if (!CHECK_THAT(!h.live && !h.mistakes && !h.bytes, "refusal %d: %d blocks left, %d mistakes", n, h.live, h.mistakes))
            break;
    }
    CHECK_OK(s);
    free_golden(&g);
}

SUITE(vocabulary) {
    RUN(vocabulary, by_hand);
    RUN(vocabulary, repeats);
    RUN(vocabulary, ties);
    RUN(vocabulary, alphabet);
    RUN(vocabulary, normalised_words);
    RUN(vocabulary, as_hugging_face);
    RUN(vocabulary, repeatable);
    RUN(vocabulary, no_unknown_words);
    RUN(vocabulary, hostile_megabytes);
    RUN(vocabulary, deep_words);
    RUN(vocabulary, small_corpora);
    RUN(vocabulary, long_words);
    RUN(vocabulary, arguments);
    RUN(vocabulary, each_refusal);
}
