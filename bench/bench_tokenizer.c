// The tokenizer on one core: MB/s and ns a token on texts, time to open, and whether hostile texts take linear time.
//
//     bench_tokenizer [VOCAB.txt [TEXTS...]]      a text a line
//
// Without VOCAB, a vocabulary of 30,522 made-up words and pieces. Without TEXTS, texts made of the vocabulary's words and of
// words that it lacks, then hostile ones of 1 and of 2 MB. Each text is a call of kpd_tokenize. Times are processor time, the
// best of many passes over all texts, so that other work on the machine shows little.
#define _POSIX_C_SOURCE 199309L
#define KPD_STATIC
#define KPD_IMPLEMENTATION
#include "../kpd.h"
#include <time.h>

#define MEGABYTE 1000000u
#define MOST ((size_t)4 << 20)          // tokens of a text, and bytes of a generated set

static uint32_t state = 1;
static uint32_t draw(uint32_t n) { return (uint32_t)((uint64_t)(state = state * 1664525u + 1013904223u) * n >> 32); }

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void *need(void *p) {
    if (!p) exit((fprintf(stderr, "bench_tokenizer: out of memory\n"), 1));
    return p;
}

static kpd_text read_file(const char *path) {
    FILE *f = fopen(path, "rb");
    long size = -1;
    char *data = NULL;
    kpd_text text;
    if (f && !fseek(f, 0, SEEK_END)) size = ftell(f);
    if (size >= 0 && !fseek(f, 0, SEEK_SET)) data = (char *)need(malloc((size_t)size + 1));
    if (!data || fread(data, 1, (size_t)size, f) != (size_t)size) exit((fprintf(stderr, "cannot read %s\n", path), 1));
    fclose(f);
    text.data = data;
    text.size = (size_t)size;
    return text;
}

// ---- what is tokenized -----------------------------------------------------------------------------------------------

static size_t put_word(char *out) {
    static const char vowels[] = "aeiou", others[] = "bcdfghklmnprstvw";
    size_t n = 2 + draw(7);
    for (size_t i = 0; i < n; i++) out[i] = i % 2 ? vowels[draw(5)] : others[draw(16)];
    return n;
}

// As bert-base-uncased is made: special tokens, single characters, then words and, one in five, pieces.
static kpd_text made_vocabulary(void) {
    char *data = (char *)need(malloc(MOST));
    kpd_text text;
    size_t n = (size_t)sprintf(data, "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n"), lines = 5;
    for (int c = '!'; c < 127; c++, lines += 2) n += (size_t)sprintf(data + n, "%c\n##%c\n", c, c);
    for (; lines < 30522; lines++) {
        if (!draw(5)) n += (size_t)sprintf(data + n, "##");
        n += put_word(data + n);
        data[n++] = '\n';
    }
    text.data = data;
    text.size = n;
    return text;
}

// A word: of every five, four are tokens, mostly common ones, and one is made up.
static size_t put_any_word(const kpd_tokenizer *t, char *out) {
    kpd_text token = {NULL, 0};
    uint32_t n = (uint32_t)kpd_tokenizer_size(t);
    if (!draw(5)) return put_word(out);
    while (!token.size || token.size > 20 || strchr("#[", token.data[0]))
        kpd_token_text(t, (int32_t)draw(draw(4) ? n / 10 + 1 : n), &token);
    memcpy(out, token.data, token.size);
    if (!draw(6) && out[0] >= 'a' && out[0] <= 'z') out[0] = (char)(out[0] - 'a' + 'A');
    return token.size;
}

// Words of several scripts, accents both ways, ideographs, signs.
static size_t put_foreign_word(char *out) {
    static const char *const words[] = {
        "\xD0\x9A\xD0\xBD\xD0\xB8\xD0\xB3\xD0\xB0", "caf\xC3\xA9", "cafe\xCC\x81", "\xC3\x87""elik", "na\xC3\xAFve",
        "Stra\xC3\x9F""e", "\xE6\x97\xA5\xE6\x9C\xAC\xE8\xAA\x9E", "\xEB\xAC\xB4\xEC\x84\xA0", "\xE2\x82\xAC""9.99",
        "\xE3\x82\xAB\xE3\x83\xA1\xE3\x83\xA9", "\xD8\xA7\xD9\x84\xD8\xB9\xD8\xB1\xD8\xA8\xD9\x8A\xD8\xA9", "\xE2\x80\x93",
        "50\xC2\xB0", "\xF0\x9F\x91\x8D", "\xCE\x95\xCE\xBB\xCE\xBB\xCE\xAC\xCE\xB4\xCE\xB1",
        "\xE0\xA4\xB9\xE0\xA4\xBF\xE0\xA4\xA8\xE0\xA5\x8D\xE0\xA4\xA6\xE0\xA5\x80"};
    const char *word = words[draw(sizeof words / sizeof *words)];
    memcpy(out, word, strlen(word));
    return strlen(word);
}

// Texts of `least` to `most` words, about 300 KB.
static kpd_text made_texts(const kpd_tokenizer *t, uint32_t least, uint32_t most, bool foreign) {
    char *data = (char *)need(malloc(MOST));
    kpd_text text;
    size_t n = 0;
    while (n < 300000) {
        for (uint32_t k = least + draw(most - least + 1); k; k--) {
            n += foreign && draw(3) ? put_foreign_word(data + n) : put_any_word(t, data + n);
            if (!draw(12)) data[n++] = ",.-/()"[draw(6)];
            data[n++] = k > 1 ? ' ' : '\n';
        }
    }
    text.data = data;
    text.size = n;
    return text;
}

// ---- how long it takes -----------------------------------------------------------------------------------------------

static int32_t ids[MOST];
static kpd_span spans[MOST];
static bool with_spans;

static kpd_input *split(kpd_text all, size_t *n) {
    const char *p = all.data, *end = p + all.size, *newline;
    kpd_input *in;
    *n = 0;
    for (size_t i = 0; i < all.size; i++) *n += all.data[i] == '\n';
    in = (kpd_input *)need(calloc(*n + 1, sizeof *in));
    for (*n = 0; p < end; p = newline + 1, ++*n) {
        newline = (const char *)memchr(p, '\n', (size_t)(end - p));
        if (!newline) newline = end;
        in[*n].n_parts = 1;
        in[*n].part[0].data = p;
        in[*n].part[0].size = (size_t)(newline - p);
    }
    return in;
}

static size_t pass(const kpd_tokenizer *t, const kpd_input *in, size_t n) {
    kpd_tokens out;
    kpd_error e;
    size_t count = 0;
    memset(&out, 0, sizeof out);
    out.ids = ids; out.spans = with_spans ? spans : NULL; out.capacity = (int32_t)MOST;
    for (size_t i = 0; i < n; i++) {
        if (kpd_tokenize(t, &in[i], 0, false, &out, &e)) exit((fprintf(stderr, "%s\n", e.message), 1));
        count += (size_t)out.count;
    }
    return count;
}

// Seconds of the best pass in about half a second, at least three.
static double best_pass(const kpd_tokenizer *t, const kpd_input *in, size_t n, size_t *tokens) {
    double best = 1e9, begin = now(), s, end;
    for (int i = 0; i < 3 || now() - begin < .5; i++) {
        s = now();
        *tokens = pass(t, in, n);
        end = now();
        if (end - s < best) best = end - s;
    }
    return best;
}

static void report(const kpd_tokenizer *t, const char *name, kpd_text all) {
    size_t n, tokens;
    kpd_input *in = split(all, &n);
    size_t bytes = all.size - n;
    double s = best_pass(t, in, n, &tokens);
    printf("%-24s %7d texts %9d bytes %8d tokens %8.1f MB/s %7.1f ns/token %9.0f ns/text\n", name, (int)n, (int)bytes,
           (int)tokens, 1e-6 * (double)bytes / s, 1e9 * s / (double)tokens, 1e9 * s / (double)n);
    free(in);
}

static void hostile(const kpd_tokenizer *t, const char *name, const char *unit) {
    size_t n = strlen(unit), tokens;
    char *data = (char *)need(malloc(2 * MEGABYTE));
    double s[2];
    for (size_t k = 0; k < 2; k++) {
        kpd_input in = kpd_input_str("", NULL, NULL);
        in.part[0].data = data;
        in.part[0].size = (k + 1) * MEGABYTE / n * n;
        for (size_t i = 0; i < in.part[0].size; i++) data[i] = unit[i % n];
        s[k] = best_pass(t, &in, 1, &tokens);
    }
    printf("%-38s %8.3f ms %8.3f ms  %5.2f x %8.1f MB/s\n", name, 1e3 * s[0], 1e3 * s[1], s[1] / s[0], 2e-6 * MEGABYTE / s[1]);
    free(data);
}

static void all_hostile(const kpd_tokenizer *t) {
    char words[202];
    memset(words, 'a', sizeof words);
    words[100] = ' '; words[101] = 0;
    printf("one text of                                  1 MB        2 MB\n");
    hostile(t, "one letter", "a");
    hostile(t, "one word of all letters", "thequickbrownfoxjumpsoverthelazydog");
    hostile(t, "words of 100 letters a", words);
    words[100] = '\xD1'; words[101] = 0;
    for (size_t i = 0; i < 200; i += 2) memcpy(words + i, "\xD1\x8F", 2);
    words[200] = ' '; words[201] = 0;
    hostile(t, "words of 100 Cyrillic letters", words);
    hostile(t, "combining marks that are stripped", "\xCC\x81");
    hostile(t, "marks that are kept and put in order", "\xE3\x80\xAE\xE0\xA3\x94");
    hostile(t, "punctuation", ".");
    hostile(t, "spaces", " ");
    hostile(t, "the beginning of a special token", "[SEP");
    hostile(t, "special tokens", "[SEP]");
    hostile(t, "Hangul that is taken apart", "\xEA\xB0\x81");
    hostile(t, "ideographs", "\xE6\x97\xA5");
    hostile(t, "broken UTF-8", "\xF0\x9F");
    hostile(t, "control characters", "\x01");
}

static double open_time(const kpd_tokenizer_desc *d) {
    double best = 1e9;
    for (int i = 0; i < 20; i++) {
        kpd_tokenizer *t;
        kpd_error e;
        double s = now();
        if (kpd_tokenizer_create(d, &t, &e)) exit((fprintf(stderr, "%s\n", e.message), 1));
        s = now() - s;
        if (s < best) best = s;
        kpd_tokenizer_destroy(t);
    }
    return best;
}

int main(int argc, char **argv) {
    kpd_text vocab = argc > 1 ? read_file(argv[1]) : made_vocabulary();
    kpd_tokenizer_desc d;
    kpd_tokenizer *t;
    kpd_error e;
    memset(&d, 0, sizeof d);
    d.vocab = vocab.data; d.vocab_size = vocab.size;
    if (kpd_tokenizer_create(&d, &t, &e)) return fprintf(stderr, "%s\n", e.message), 1;
    printf("%d tokens, %d bytes: open %.2f ms\n", (int)kpd_tokenizer_size(t), (int)vocab.size, 1e3 * open_time(&d));
    for (int i = 2; i < argc; i++) report(t, argv[i], read_file(argv[i]));
    if (argc < 3) {
        report(t, "queries, 3-5 words", made_texts(t, 3, 5, false));
        report(t, "titles, 10-20 words", made_texts(t, 10, 20, false));
        with_spans = true;
        report(t, "titles, with spans", made_texts(t, 10, 20, false));
        with_spans = false;
        report(t, "long, 90-100 words", made_texts(t, 90, 100, false));
        report(t, "mixed scripts", made_texts(t, 10, 20, true));
        all_hostile(t);
    }
    kpd_tokenizer_destroy(t);
    return 0;
}
