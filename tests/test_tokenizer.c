// The tokenizer against Hugging Face `tokenizers` (golden data: tools/golden_tokenizer.py), hostile texts and vocabularies,
// limits, failing memory.
#include "test.h"
#include "../kpd.h"
#include "values.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GOLDEN "tests/golden/"
#define MEGABYTE ((size_t)1 << 20)

static char *vocab;                     // the golden vocabulary
static size_t vocab_size;

static char *read_file(const char *path, size_t *size) {
    FILE *f = fopen(path, "rb");
    char *data = (char *)calloc(1, MEGABYTE);
    *size = f && data ? fread(data, 1, MEGABYTE - 1, f) : 0;
    if (f) fclose(f);
    CHECK_THAT(*size > 0, "cannot read %s", path);
    return data;
}

static kpd_tokenizer *create(const char *text, size_t size, bool cased, int32_t strip, bool joined) {
    kpd_tokenizer_desc d;
    kpd_tokenizer *t = NULL;
    kpd_error e;
    memset(&d, 0, sizeof d);
    d.vocab = text; d.vocab_size = size;
    d.cased = cased; d.strip_accents = strip; d.keep_cjk_joined = joined;
    if (!CHECK_OK(kpd_tokenizer_create(&d, &t, &e))) printf("%s\n", e.message);
    return t;
}

// A small vocabulary for the tests that say what they expect.
//              0      1      2      3      4       5  6    7   8    9
#define SMALL "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\n##b\nab\n##c\n.\n"
static kpd_tokenizer *create_small(const char *text) { return create(text, strlen(text), false, 0, false); }

static int32_t ids[MEGABYTE + 8], types[MEGABYTE + 8];
static kpd_span spans[1024];

static kpd_tokens room(int32_t capacity) {
    kpd_tokens out;
    memset(&out, 0, sizeof out);
    out.ids = ids; out.types = types; out.capacity = capacity;
    for (int i = 0; i < 256; i++) ids[i] = types[i] = -7;
    return out;
}

static kpd_input one(const char *data, size_t size) {
    kpd_input in = kpd_input_str("", NULL, NULL);
    in.part[0].data = data;
    in.part[0].size = size;
    return in;
}

// The ids of a text as a string, "status N" on failure.
static const char *tokens(const kpd_tokenizer *t, kpd_input in, int32_t max_tokens, bool no_special) {
    static char text[4096];
    kpd_tokens out = room(256);
    kpd_status s = kpd_tokenize(t, &in, max_tokens, no_special, &out, NULL);
    size_t n = 0;
    text[0] = 0;
    if (s) snprintf(text, sizeof text, "status %d", (int)s);
    for (int32_t i = 0; !s && i < out.count; i++)
        n += (size_t)snprintf(text + n, sizeof text - n, i ? " %d" : "%d", (int)ids[i]);
    return text;
}

static void check_tokens(const kpd_tokenizer *t, kpd_input in, int32_t max_tokens, bool no_special, const char *want) {
    const char *got = tokens(t, in, max_tokens, no_special);
    CHECK_THAT(!strcmp(got, want), "\"%.60s\": %s, expected %s", in.part[0].data, got, want);
}

static void check_text(const kpd_tokenizer *t, const char *text, const char *want) {
    check_tokens(t, kpd_input_str(text, NULL, NULL), 0, true, want);
}

// ---- golden data ---------------------------------------------------------------------------------------------------

// Cuts the line at `separator`; returns the field and moves on.
static char *field(char **line, char separator) {
    char *begin = *line, *end = strchr(begin, separator);
    if (end) *end = 0;
    *line = end ? end + 1 : begin + strlen(begin);
    return begin;
}

static size_t unhex(char *text) {
    size_t n = strlen(text) / 2;
    for (size_t i = 0; i < n; i++) {
        char pair[3] = {text[2 * i], text[2 * i + 1], 0};
        text[i] = (char)strtol(pair, NULL, 16);
    }
    return n;
}

// One tokenizer per setting, made when a line first asks for it.
static kpd_tokenizer *cache[2][3][2];
static kpd_tokenizer *cached(char **line) {
    int cased = atoi(field(line, '\t')), strip = atoi(field(line, '\t')), joined = atoi(field(line, '\t'));
    kpd_tokenizer **t = &cache[cased][strip + 1][joined];
    if (!*t) *t = create(vocab, vocab_size, cased, strip, joined);
    return *t;
}

static void check_golden_text(char *line, int number) {
    kpd_tokenizer *t = cached(&line);
    int32_t max_tokens = atoi(field(&line, '\t')), type0, n = 0;
    bool no_special = atoi(field(&line, '\t')) != 0, same = true;
    char *parts = field(&line, '\t'), *want = field(&line, '\t');
    kpd_tokens out = room(1024);
    kpd_input in;
    type0 = atoi(field(&line, '\t'));
    out.spans = spans;
    memset(&in, 0, sizeof in);
    in.n_parts = 1;
    for (const char *p = parts; *p; p++) in.n_parts += *p == ',';
    for (int i = 0; i < in.n_parts; i++) {
        char *part = field(&parts, ',');
        in.part[i].size = unhex(part);
        in.part[i].data = part;
    }
    if (!CHECK_OK(kpd_tokenize(t, &in, max_tokens, no_special, &out, NULL))) return;
    for (; *want; n++) {
        int32_t id = atoi(field(&want, ' '));
        size_t begin = (size_t)atoi(field(&line, ',')), end = (size_t)atoi(field(&line, ','));
        int32_t part = atoi(field(&line, ' '));
        same = same && n < out.count && ids[n] == id && types[n] == (n >= type0);
        same = same && spans[n].begin == begin && spans[n].end == end && spans[n].part == part;
    }
    CHECK_THAT(same && n == out.count, "golden line %d: %d tokens, expected %d, or other ids, types or spans", number,
               (int)out.count, (int)n);
}

static void check_golden_odd(char *line, int number) {
    char *lines = field(&line, '\t'), *text = field(&line, '\t');
    size_t size = unhex(lines);
    kpd_tokenizer *t = create(lines, size, false, 0, false);
    kpd_tokens out = room(1024);
    kpd_input in = one(text, unhex(text));
    bool same = true;
    int32_t n = 0;
    if (!t || !CHECK_OK(kpd_tokenize(t, &in, 0, false, &out, NULL))) return;
    for (; *line; n++) {
        int32_t id = atoi(field(&line, ' '));
        same = same && n < out.count && ids[n] == id;
    }
    CHECK_THAT(same && n == out.count, "golden line %d: %d tokens, expected %d, or other ids", number, (int)out.count, (int)n);
    kpd_tokenizer_destroy(t);
}

static size_t put_utf8(uint32_t c, char *out) {
    static const uint32_t mark[5] = {0, 0, 0xC0, 0xE0, 0xF0};
    size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (size_t i = n - 1; i > 0; i--, c >>= 6) out[i] = (char)(0x80 | (c & 63));
    out[0] = (char)(mark[n] | c);
    return n;
}

static void check_golden_sweep(char *line) {
    static char text[0x1000 * 16];
    kpd_tokenizer *t = cached(&line);
    uint32_t first = (uint32_t)atoi(field(&line, '\t')), last = (uint32_t)atoi(field(&line, '\t'));
    unsigned long long want = strtoull(line, NULL, 16), hash = 0xCBF29CE484222325u;
    kpd_tokens out = room((int32_t)MEGABYTE);
    kpd_input in;
    size_t n = 0;
    for (uint32_t c = first; c <= last; c++) {
        if (c >= 0xD800 && c < 0xE000) continue;
        n += put_utf8(c, text + n);
        text[n++] = ' '; text[n++] = 'a';
        n += put_utf8(c, text + n);
        text[n++] = 'b'; text[n++] = ' ';
    }
    in = one(text, n);
    if (!CHECK_OK(kpd_tokenize(t, &in, 0, false, &out, NULL))) return;
    for (int32_t i = 0; i < out.count; i++)
        for (int k = 0; k < 32; k += 8) hash = (hash ^ ((uint32_t)ids[i] >> k & 255)) * 0x100000001B3u;
    CHECK_THAT(hash == want, "code points %X to %X (%d tokens): hash %llx, expected %llx", first, last, (int)out.count, hash,
               want);
}

// Runs the lines of one kind. All must be there: a file cut short must not pass.
static void golden(const char *kind, int least) {
    size_t size;
    char *data = read_file(GOLDEN "tokenizer.tsv", &size), *rest = data;
    int n = 0;
    for (int number = 1; *rest; number++) {
        char *line = field(&rest, '\n');
        if (line[0] == '#' || strcmp(field(&line, '\t'), kind)) continue;
        if (kind[0] == 's') check_golden_sweep(line);
        else if (kind[0] == 'o') check_golden_odd(line, number);
        else check_golden_text(line, number);
        n++;
    }
    CHECK_THAT(n >= least, "%d golden lines \"%s\", expected at least %d", n, kind, least);
    free(data);
}

static void golden_texts(void) { golden("text", 500); }
static void golden_code_points(void) { golden("sweep", 240); }
static void golden_odd_vocabularies(void) { golden("odd", 6); }

// ---- what is promised in words ---------------------------------------------------------------------------------------

static void check_spans(const kpd_tokenizer *t, kpd_input in, int32_t max_tokens, const char *want) {
    char text[256] = "";
    size_t n = 0;
    kpd_tokens out = room(64);
    out.spans = spans;
    CHECK_OK(kpd_tokenize(t, &in, max_tokens, false, &out, NULL));
    for (int32_t i = 0; i < out.count; i++)
        n += (size_t)snprintf(text + n, sizeof text - n, i ? " %d:%d-%d" : "%d:%d-%d", (int)spans[i].part, (int)spans[i].begin,
                              (int)spans[i].end);
    CHECK_THAT(!strcmp(text, want), "\"%.60s\": %s, expected %s", in.part[0].data, text, want);
}

static void where_tokens_come_from(void) {
    kpd_tokenizer *t = create_small(SMALL);
    check_spans(t, kpd_input_str("  ab\tABC.", NULL, NULL), 0, "-1:0-0 0:2-4 0:5-7 0:7-8 0:8-9 -1:0-0");
    check_spans(t, kpd_input_str("A\xCC\x81\xCC\xA3.", NULL, NULL), 0, "-1:0-0 0:0-1 0:5-6 -1:0-0");        // without accents
    check_spans(t, kpd_input_str("\xC3\x81\x62 \xFF" "a\x01" "b", NULL, NULL), 0, "-1:0-0 0:0-3 0:5-8 -1:0-0");
    check_spans(t, kpd_input_str("axyz [SEP]a", NULL, NULL), 0, "-1:0-0 0:0-4 0:5-10 0:10-11 -1:0-0");
    check_spans(t, kpd_input_str("a ab", "ab", NULL), 0, "-1:0-0 0:0-1 0:2-4 -1:0-0 1:0-2 -1:0-0");
    check_spans(t, kpd_input_str("a ab", "ab a", NULL), 5, "-1:0-0 0:0-1 -1:0-0 1:0-2 -1:0-0");
    check_spans(t, kpd_input_str("a", " ab", "."), 0, "-1:0-0 0:0-1 -1:0-0 1:1-3 -1:0-0 2:0-1 -1:0-0");
    kpd_tokenizer_destroy(t);
}

static void segments_and_types(void) {
    kpd_tokenizer *t = create_small(SMALL);
    kpd_tokens out = room(256);
    kpd_input pair = kpd_input_str("a b", "ab.", NULL);
    check_tokens(t, kpd_input_str("a", NULL, NULL), 0, false, "2 5 3");
    check_tokens(t, pair, 0, false, "2 5 1 3 7 9 3");
    check_tokens(t, kpd_input_str("a", "ab", "."), 0, false, "2 5 3 7 3 9 3");
    check_tokens(t, pair, 0, true, "5 1 7 9");
    check_tokens(t, kpd_input_str("a", "ab", "."), 0, true, "5 3 7 3 9");
    check_tokens(t, kpd_input_str("", "", NULL), 0, false, "2 3 3");
    check_tokens(t, kpd_input_str("", "", ""), 0, false, "2 3 3 3");
    CHECK_OK(kpd_tokenize(t, &pair, 0, false, &out, NULL));
    for (int i = 0; i < 7; i++) CHECK_INT(types[i], i >= 4);
    CHECK_INT(types[7], -7);
    CHECK_INT(ids[7], -7);
    out.types = NULL;
    CHECK_OK(kpd_tokenize(t, &pair, 0, false, &out, NULL));
    CHECK_INT(out.count, 7);
    kpd_tokenizer_destroy(t);
}

static void truncation(void) {
    kpd_tokenizer *t = create_small(SMALL);
    kpd_tokens out = room(7);
    kpd_input text = kpd_input_str("a ab . a", NULL, NULL), pair = kpd_input_str("a ab . a", "ab ab ab", NULL);
    check_tokens(t, text, 2, false, "2 3");
    check_tokens(t, text, 4, false, "2 5 7 3");
    check_tokens(t, text, 6, false, "2 5 7 9 5 3");
    check_tokens(t, text, 3, true, "5 7 9");
    check_tokens(t, kpd_input_str("a", "ab", ". a"), 6, false, "2 5 3 7 3 3");
    check_tokens(t, pair, 8, false, "2 5 7 9 3 7 7 3");             // 5: the odd one goes to the longer
    check_tokens(t, kpd_input_str("ab ab ab", "a ab . a", NULL), 8, false, "2 7 7 3 5 7 9 3");
    check_tokens(t, kpd_input_str("a a a", "ab ab ab", NULL), 6, false, "2 5 3 7 7 3");
    check_tokens(t, kpd_input_str("a", "ab ab ab", NULL), 6, false, "2 5 3 7 7 3");
    check_tokens(t, kpd_input_str("a a a", "ab", NULL), 6, false, "2 5 5 3 7 3");
    check_tokens(t, pair, 3, false, "2 3 3");
    CHECK_OK(kpd_tokenize(t, &text, 6, false, &out, NULL));
    CHECK(!out.truncated);
    CHECK_OK(kpd_tokenize(t, &text, 5, false, &out, NULL));
    CHECK(out.truncated);
    CHECK_OK(kpd_tokenize(t, &pair, 7, false, &out, NULL));         // the capacity need only be max_tokens
    CHECK(out.truncated && out.count == 7);
    kpd_tokenizer_destroy(t);
}

static void special_tokens_in_texts(void) {
    kpd_tokenizer_desc d;
    kpd_tokenizer *t = create_small(SMALL);
    check_text(t, "a[SEP]ab [MASK]. [PAD][UNK]", "5 3 7 4 9 0 1");
    check_text(t, "[sep]", "1 1 1");
    check_text(t, "[[SEP]", "1 3");
    check_text(t, "[SEP", "1 1");
    kpd_tokenizer_destroy(t);
    memset(&d, 0, sizeof d);
    d.vocab = "<u>\n<s>\n</s>\n<s><s>\na\n"; d.vocab_size = strlen(d.vocab);
    d.unk = "<u>"; d.cls = "<s>"; d.sep = "</s>"; d.mask = "<s><s>";
    CHECK_OK(kpd_tokenizer_create(&d, &t, NULL));
    check_text(t, "a<s><s><s>a</s>x", "4 3 1 4 2 0");               // leftmost, then longest
    check_text(t, "[PAD]", "0 0 0");                                // not in this vocabulary, so not special
    kpd_tokenizer_destroy(t);
}

static void any_bytes(void) {
    static const char bytes[] = "a\0b \xFF" "ab\xE2\x28\xED\xA0\x80\xF4\x90\x80\x80.\xE4\xB8";
    kpd_tokenizer *t = create_small(SMALL);
    check_tokens(t, one(bytes, sizeof bytes - 1), 0, true, "7 7 1 9");
    check_tokens(t, one(bytes, 3), 0, true, "7");
    check_tokens(t, one(NULL, 0), 0, true, "");
    check_tokens(t, one("a\xE0\x81\xA2\xF0\x80\x81\xA2\xC1\xA2", 10), 0, true, "5");    // b, overlong
    for (int a = 0; a < 256; a++)                                   // nothing but that it stays inside: run under asan
        for (int b = 0; b < 256; b++) {
            char text[3];
            kpd_input in;
            kpd_tokens out = room(4);
            text[0] = (char)a; text[1] = (char)b; text[2] = (char)(a ^ 0x55);
            in = one(text, 3);
            if (!CHECK_OK(kpd_tokenize(t, &in, 4, true, &out, NULL))) return;
        }
    kpd_tokenizer_destroy(t);
}

static void long_words(void) {
    char text[128];
    kpd_tokenizer *t = create_small(SMALL);
    memset(text, 'b', sizeof text);
    text[0] = 'a';
    check_tokens(t, one(text, 3), 0, true, "7 6");
    CHECK_INT(strlen(tokens(t, one(text, 100), 0, true)), 1 + 98 * 2);
    check_tokens(t, one(text, 101), 0, true, "1");
    text[50] = 'x';
    check_tokens(t, one(text, 60), 0, true, "1");
    kpd_tokenizer_destroy(t);
}

// A megabyte of `unit`: its tokens, and as a check of linear time that the suite ends. ids may hold all of them.
static void check_megabyte(const kpd_tokenizer *t, const char *unit, int32_t max_tokens, int32_t count) {
    size_t n = strlen(unit), size = MEGABYTE / n * n;
    char *text = (char *)malloc(size);
    kpd_tokens out = room(max_tokens ? max_tokens : (int32_t)MEGABYTE);
    kpd_input in = one(text, size);
    for (size_t i = 0; i < size; i += n) memcpy(text + i, unit, n);
    CHECK_OK(kpd_tokenize(t, &in, max_tokens, true, &out, NULL));
    CHECK_THAT(out.count == count, "%s...: %d tokens, expected %d", unit, (int)out.count, (int)count);
    free(text);
}

static void megabytes(void) {
    kpd_tokenizer *t = create_small(SMALL);
    check_megabyte(t, "a", 0, 1);
    check_megabyte(t, "a ", 0, 1 << 19);
    check_megabyte(t, ".", 0, 1 << 20);
    check_megabyte(t, ".", 9, 9);
    check_megabyte(t, " ", 0, 0);
    check_megabyte(t, "\xCC\x81", 0, 0);                            // U+0301
    check_megabyte(t, "\xE3\x80\xAE\xE0\xA3\x94", 0, 1);            // U+302E U+08D4: kept, and to be put in order
    check_megabyte(t, "aaaaaaaaaaaaaaaaa.", 0, (1 << 20) / 18 * 2);
    check_megabyte(t, "\xEA\xB0\x81", 0, 1);                        // Hangul
    check_megabyte(t, "\xF0\x9F", 0, 0);
    check_megabyte(t, "[SEP", 0, 1 << 19);
    check_megabyte(t, "[SEP]", 0, (1 << 20) / 5);
    kpd_tokenizer_destroy(t);
}

// A word that fits in pieces only one by one, in a vocabulary with long tokens: the worst case of the longest match.
static void worst_words(void) {
    char text[256 + 102];
    kpd_tokenizer *t;
    snprintf(text, sizeof text, "[UNK]\n[CLS]\n[SEP]\na\n##a\n##");
    memset(text + strlen(text), 'b', 99);
    memset(text + strlen("[UNK]\n[CLS]\n[SEP]\na\n##a\n##") + 99, 0, 1);
    t = create_small(text);
    memset(text, 'a', 100);
    text[100] = ' '; text[101] = 0;
    check_megabyte(t, text, 0, (int32_t)(MEGABYTE / 101 * 100));
    kpd_tokenizer_destroy(t);
}

// ---- vocabularies ----------------------------------------------------------------------------------------------------

static int32_t id_of(const kpd_tokenizer *t, const char *token) { return kpd_token_id(t, kpd_input_str(token, NULL,
                                                                                                       NULL).part[0]); }

static void check_id_text(const kpd_tokenizer *t, int32_t id, const char *want) {
    kpd_text text = token_of(t, id);
    CHECK_THAT(text.data && text.size == strlen(want) && !memcmp(text.data, want, text.size), "token %d is not \"%s\"", (int)id,
               want);
}

static void odd_vocabularies(void) {
    // CRLF, no last newline
    kpd_tokenizer *t = create_small("[UNK]\r\n\r\n[CLS]\r\n[SEP]\r\nx y\r\na\r\na\r\n\xFF\r\n##b\r\n#\r\n##");
    CHECK_INT(kpd_tokenizer_size(t), 11);
    CHECK_INT(id_of(t, "[UNK]"), 0);
    CHECK_INT(id_of(t, ""), 1);
    CHECK_INT(id_of(t, "x y"), 4);
    CHECK_INT(id_of(t, "a"), 6);                                    // the last of equal lines
    CHECK_INT(id_of(t, "a\r"), -1);
    CHECK_INT(id_of(t, "##"), 10);
    CHECK_INT(id_of(t, "b"), -1);
    check_id_text(t, 5, "a");
    check_id_text(t, 6, "a");
    check_id_text(t, 1, "");
    check_id_text(t, 4, "x y");
    check_id_text(t, 10, "##");
    CHECK(!token_of(t, 11).data && !token_of(t, -1).data);
    check_text(t, "ab a \xFF#b", "6 8 6 9 0");
    kpd_tokenizer_destroy(t);
    t = create_small("[UNK]\n[CLS]\n[SEP]\n\n");                    // a last empty line is a token
    CHECK_INT(kpd_tokenizer_size(t), 4);
    kpd_tokenizer_destroy(t);
}

static void large_vocabulary(void) {
    enum { N = 200000 };
    char *text = (char *)malloc((N + 3) * 16);
    size_t n = (size_t)sprintf(text, "[UNK]\n[CLS]\n[SEP]\n");
    kpd_tokenizer *t;
    int wrong = 0;
    for (int i = 0; i < N; i++) n += (size_t)sprintf(text + n, i % 2 ? "##%x\n" : "%x\n", i * 7);
    t = create(text, n, false, 0, false);
    CHECK_INT(kpd_tokenizer_size(t), N + 3);
    for (int i = 0; i < N; i++) {
        char token[32];
        snprintf(token, sizeof token, i % 2 ? "##%x" : "%x", i * 7);
        wrong += id_of(t, token) != i + 3;
    }
    CHECK_INT(wrong, 0);
    kpd_tokenizer_destroy(t);
    n = (size_t)sprintf(text, "[UNK]\n[CLS]\n[SEP]\n");
    for (int i = 0; i < N; i++) n += (size_t)sprintf(text + n, "same\n");
    t = create(text, n, false, 0, false);
    CHECK_INT(id_of(t, "same"), N + 2);
    kpd_tokenizer_destroy(t);
    free(text);
}

// Tokens of 250 to 400 bytes at the end of the vocabulary, and texts that are a little longer or shorter: run under asan.
static void long_tokens(void) {
    static char text[5000], word[512];
    for (size_t n = 250; n <= 400; n += 2) {
        kpd_tokenizer *t;
        size_t size = (size_t)sprintf(text, "[UNK]\n[CLS]\n[SEP]\n##");
        for (size_t i = 0; i < n; i += 2) memcpy(text + size + i, "\xD1\x8F", 2);
        t = create(text, size + n, false, 0, false);
        for (size_t m = 248; m <= 402; m++) {
            kpd_text token;
            memcpy(word, text + size - 2, m + 2);
            token.data = word; token.size = m + 2;
            CHECK_INT(kpd_token_id(t, token), m == n ? 3 : -1);
        }
        kpd_tokenizer_destroy(t);
        memset(text, 0, sizeof text);
    }
}

// The vocabulary and the strings are copied.
static void desc_is_copied(void) {
    char text[] = SMALL "<c>\n", name[] = "<c>";
    kpd_tokenizer_desc d;
    kpd_tokenizer *t;
    memset(&d, 0, sizeof d);
    d.vocab = text; d.vocab_size = strlen(text);
    d.cls = name;
    CHECK_OK(kpd_tokenizer_create(&d, &t, NULL));
    memset(text, 'z', sizeof text - 1);
    memset(name, 'z', sizeof name - 1);
    check_tokens(t, kpd_input_str("ab <c>", "a", "."), 0, false, "10 7 10 3 5 3 9 3");
    kpd_tokenizer_destroy(t);
}

// ---- errors ----------------------------------------------------------------------------------------------------------

static void check_create(kpd_tokenizer_desc d, kpd_status want) {
    kpd_tokenizer *mark = (kpd_tokenizer *)(void *)ids, *t = mark;
    kpd_error e;
    memset(&e, 0, sizeof e);
    CHECK_STATUS(kpd_tokenizer_create(&d, &t, &e), want);
    CHECK_STATUS(e.status, want);
    CHECK(e.message[0] != 0);
    CHECK(t == mark);
    CHECK_STATUS(kpd_tokenizer_create(&d, &t, NULL), want);
}

static void create_errors(void) {
    kpd_tokenizer_desc good, d;
    kpd_tokenizer *t;
    char *lines = (char *)malloc(KPD_MAX_VOCAB + 1);
    memset(&good, 0, sizeof good);
    CHECK_STATUS(kpd_tokenizer_create(NULL, NULL, NULL), KPD_ERR_ARGUMENT);
    check_create(good, KPD_ERR_ARGUMENT);
    good.vocab = SMALL;
    check_create(good, KPD_ERR_ARGUMENT);
    good.vocab_size = strlen(SMALL);
    d = good; d.strip_accents = 2; check_create(d, KPD_ERR_ARGUMENT);
    d = good; d.unk = "<unk>"; check_create(d, KPD_ERR_NOT_FOUND);
    d = good; d.cls = "[cls]"; check_create(d, KPD_ERR_NOT_FOUND);
    d = good; d.sep = ""; check_create(d, KPD_ERR_NOT_FOUND);
    d = good; d.pad = d.mask = "absent";
    CHECK_OK(kpd_tokenizer_create(&d, &t, NULL));
    kpd_tokenizer_destroy(t);
    memset(lines, '\n', KPD_MAX_VOCAB + 1);
    d = good; d.vocab = lines; d.vocab_size = KPD_MAX_VOCAB + 1; check_create(d, KPD_ERR_LIMIT);
    free(lines);
    kpd_tokenizer_destroy(NULL);
}

static void check_refusal(const kpd_tokenizer *t, kpd_input in, int32_t max_tokens, int32_t capacity, kpd_status want) {
    kpd_tokens out = room(capacity);
    kpd_error e;
    memset(&e, 0, sizeof e);
    CHECK_STATUS(kpd_tokenize(t, &in, max_tokens, false, &out, &e), want);
    CHECK_STATUS(e.status, want);
    CHECK(out.count == 0 && !out.truncated);
    CHECK_INT(ids[capacity < 0 ? 0 : capacity], -7);                // nothing past the capacity
}

static void tokenize_errors(void) {
    kpd_tokenizer *t = create_small(SMALL);
    kpd_input text = kpd_input_str("a ab . a", NULL, NULL), pair = kpd_input_str("a ab", ". a", NULL), bad = text;
    kpd_tokens out = room(6);
    CHECK_OK(kpd_tokenize(t, &text, 0, false, &out, NULL));         // 6 fit exactly, 5 do not
    for (int32_t capacity = 0; capacity < 6; capacity++) check_refusal(t, text, 0, capacity, KPD_ERR_LIMIT);
    for (int32_t capacity = 0; capacity < 7; capacity++) check_refusal(t, pair, 0, capacity, KPD_ERR_LIMIT);
    check_refusal(t, text, 5, 4, KPD_ERR_LIMIT);
    check_refusal(t, pair, 6, 5, KPD_ERR_LIMIT);
    check_refusal(t, text, -1, 9, KPD_ERR_ARGUMENT);
    check_refusal(t, text, 1, 9, KPD_ERR_ARGUMENT);
    check_refusal(t, pair, 2, 9, KPD_ERR_ARGUMENT);
    check_refusal(t, text, 0, -1, KPD_ERR_ARGUMENT);
    bad.n_parts = 0; check_refusal(t, bad, 0, 9, KPD_ERR_INPUT);
    bad.n_parts = 4; check_refusal(t, bad, 0, 9, KPD_ERR_INPUT);
    check_refusal(t, one(NULL, 3), 0, 9, KPD_ERR_INPUT);
    out.ids = NULL;
    CHECK_STATUS(kpd_tokenize(t, &text, 0, false, &out, NULL), KPD_ERR_ARGUMENT);
    kpd_tokenizer_destroy(t);
}

typedef struct heap { int n_alloc, n_live, fail_at; size_t live; } heap;

static void *heap_alloc(void *user, size_t size) {
    heap *h = (heap *)user;
    if (++h->n_alloc == h->fail_at) return NULL;
    h->n_live++;
    h->live += size;
    return malloc(size);
}

static void heap_free(void *user, void *p, size_t size) {
    heap *h = (heap *)user;
    h->n_live--;
    h->live -= size;
    free(p);
}

static void memory(void) {
    heap h = {0, 0, 1, 0};
    kpd_tokenizer_desc d;
    kpd_tokenizer *t;
    memset(&d, 0, sizeof d);
    d.vocab = SMALL; d.vocab_size = strlen(SMALL);
    d.allocator.alloc = heap_alloc; d.allocator.free = heap_free; d.allocator.user = &h;
    CHECK_STATUS(kpd_tokenizer_create(&d, &t, NULL), KPD_ERR_MEMORY);
    CHECK_INT(h.n_live, 0);
    CHECK_OK(kpd_tokenizer_create(&d, &t, NULL));
    CHECK_INT(h.n_live, 1);                                         // all of it is one allocation
    check_text(t, "ab", "7");
    CHECK_INT(h.n_alloc, 2);
    kpd_tokenizer_destroy(t);
    CHECK(h.n_live == 0 && h.live == 0);
    d.unk = "absent";
    CHECK_STATUS(kpd_tokenizer_create(&d, &t, NULL), KPD_ERR_NOT_FOUND);
    CHECK(h.n_live == 0 && h.live == 0);
    d.allocator.free = NULL;
    CHECK_STATUS(kpd_tokenizer_create(&d, &t, NULL), KPD_ERR_ARGUMENT);
}

// The end of each line is cut as Hugging Face `tokenizers` 0.23 does: all of Unicode's White_Space, and no more. A line of
// white space alone is the empty token, and counts as an id.
static void white_space_at_ends_of_lines(void) {
    static const char *const gone[] = {" ", "\t", "\v", "\f", "\r", "\xC2\x85", "\xC2\xA0", "\xE1\x9A\x80", "\xE2\x80\x80",
        "\xE2\x80\x8A", "\xE2\x80\xA8", "\xE2\x80\xA9", "\xE2\x80\xAF", "\xE2\x81\x9F", "\xE3\x80\x80", "  \t \xE3\x80\x80\r\r"};
    static const char *const kept[] = {"\x1C", "\x1F", "\xE1\xA0\x8E", "\xE2\x80\x8B", "\xE2\x80\x8C", "\xEF\xBB\xBF", "\x85", "\xA0",
        "\x80", "\xE2\x80\xA7"};
    for (size_t i = 0; i < sizeof gone / sizeof *gone; i++) {
        char lines[128];
        size_t n = (size_t)snprintf(lines, sizeof lines, "[UNK]%s\n[CLS]\r\n[SEP]\r\r\n%s\nab%s\n  cd%s", gone[i], gone[i], gone[i],
                                    gone[i]);
        kpd_tokenizer *t = create(lines, n, false, 0, false);
        if (!t) continue;
        CHECK_INT(kpd_tokenizer_size(t), 6);
        CHECK_INT(token_of(t, 3).size, 0);
        CHECK_THAT(id_of(t, "ab") == 4, "white space %d stays", (int)i);
        CHECK_INT(id_of(t, "  cd"), 5);
        check_text(t, "ab", "4");
        kpd_tokenizer_destroy(t);
    }
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++) {
        char lines[64], token[16];
        size_t n = (size_t)snprintf(lines, sizeof lines, "[UNK]\n[CLS]\n[SEP]\nab%s\n", kept[i]);
        kpd_tokenizer *t = create(lines, n, false, 0, false);
        snprintf(token, sizeof token, "ab%s", kept[i]);
        if (t) CHECK_THAT(id_of(t, token) == 3, "%d is taken off", (int)i);
        kpd_tokenizer_destroy(t);
    }
}

SUITE(tokenizer) {
    vocab = read_file(GOLDEN "tokenizer_vocab.txt", &vocab_size);
    RUN(tokenizer, golden_texts);
    RUN(tokenizer, golden_code_points);
    RUN(tokenizer, golden_odd_vocabularies);
    RUN(tokenizer, where_tokens_come_from);
    RUN(tokenizer, segments_and_types);
    RUN(tokenizer, truncation);
    RUN(tokenizer, special_tokens_in_texts);
    RUN(tokenizer, any_bytes);
    RUN(tokenizer, long_words);
    RUN(tokenizer, megabytes);
    RUN(tokenizer, worst_words);
    RUN(tokenizer, odd_vocabularies);
    RUN(tokenizer, white_space_at_ends_of_lines);
    RUN(tokenizer, large_vocabulary);
    RUN(tokenizer, long_tokens);
    RUN(tokenizer, desc_is_copied);
    RUN(tokenizer, create_errors);
    RUN(tokenizer, tokenize_errors);
    RUN(tokenizer, memory);
    for (int i = 0; i < 12; i++) kpd_tokenizer_destroy(cache[i / 6][i / 2 % 3][i % 2]);
    free(vocab);
}
