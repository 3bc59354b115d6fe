// The tokenizer against a plain one, on generated texts of any bytes. Includes its own static copy of the implementation, since
// the plain one reads the Unicode tables.
#define KPD_STATIC
#define KPD_IMPLEMENTATION
#include "../kpd.h"
#include "reference_tokenizer.h"
#include "test.h"
#include <stdio.h>

static uint32_t state;
static uint32_t draw(uint32_t n) { return (uint32_t)((uint64_t)(state = state * 1664525u + 1013904223u) * n >> 32); }

// Pieces of texts. What a vocabulary of letters, common pieces and long tokens makes of them goes through every path.
static const char *const fragments[] = {
    " ", " ", " ", "  ", "\t", "\n", "-", ".", ",", "'", "[SEP]", "[MASK]", "[SEP", "[", "]", "wall", "paper", "Wallpaper", "s",
    "un", "aff", "able", "A", "9", "15V", "abcdefgh", "abcdefghi", "abcdefghijklmnop", "abcdefghijklmnopq", "\x01", "\x7F",
    "\xC2\xA0", "\xC2\xAD", "\xC3\xA9", "e\xCC\x81", "\xCC\xA3", "\xCC\x87", "\xE3\x80\xAE", "\xE0\xA3\x94", "\xE1\xAE\xAA",
    "\xF0\x9D\x85\x9E", "\xF0\x9D\x85\xA5", "\xE0\xA4\x81", "\xE0\xA4\xBC", "\xCD\x84", "\xC4\xB0", "\xC3\x9F", "\xCE\xA3",
    "\xD0\x99", "\xE6\x97\xA5", "\xEF\xA4\x80", "\xEA\xB0\x81", "\xE3\x81\x8C", "\xF0\x9F\x91\x8D", "\xE2\x82\xAC",
    "\xE2\x80\xA6", "\xE2\x80\x8B", "\xEF\xBB\xBF", "\xEF\xBF\xBD", "\x80", "\xC3", "\xE4\xB8", "\xF0\x9F\x98", "\xED\xA0\x80",
    "\xFF", "\xC0\x80"};

static const char words[] =
    "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nwall\n##wall\npaper\n##paper\nun\n##aff\n##able\n##s\nabcdefgh\n##abcdefgh\n"
    "abcdefghi\nabcdefghijklmnop\nabcdefghijklmnopq\n##abcdefghijklmnopq\n##e\xE3\x80\xAE\nab\xE3\x80\xAE\n15\n##v\n##V\n"
    "\xE6\x97\xA5\nabc\xE6\x97\xA5\n";

static size_t put(char *out, uint32_t c) { return kpd__utf8_put(c, (uint8_t *)out); }

// Letters alone and inside words, so that nearly every text has tokens.
static size_t make_vocabulary(char *out) {
    size_t n = sizeof words - 1;
    memcpy(out, words, n);
    for (uint32_t c = '!'; c < 0x500; c++) {
        n += put(out + n, c);
        out[n++] = '\n';
        if (c % 3) out[n++] = '#', out[n++] = '#', n += put(out + n, c), out[n++] = '\n';
    }
    return n;
}

static size_t make_text(char *out, size_t most) {
    size_t n = 0;
    uint32_t kind = draw(4);
    while (n + 32 < most && draw(24)) {
        const char *fragment = fragments[draw(KPD__LENGTH(fragments))];
        if (draw(8) == 0) n += put(out + n, draw(kind ? 0x3000 : 0x110000));
        else if (kind == 1 || draw(3) == 0) out[n++] = (char)('a' + draw(26));
        else memcpy(out + n, fragment, strlen(fragment)), n += strlen(fragment);
        if (kind == 3 && !draw(40))
            for (size_t i = 60 + draw(60); i && n + 32 < most; i--) n += put(out + n, "a\x01\x61"[i % 3] == 1 ? 0x302E : 'a');
    }
    return n;
}

static void check_texts(const char *vocab, size_t size, bool cased, int32_t strip, bool joined, int count) {
    static char text[3][600];
    kpd_tokenizer_desc d;
    kpd_tokenizer *t;
    ref_tokenizer r;
    int wrong = 0;
    memset(&d, 0, sizeof d);
    d.vocab = vocab; d.vocab_size = size;
    d.cased = cased; d.strip_accents = strip; d.keep_cjk_joined = joined;
    if (!CHECK_OK(kpd_tokenizer_create(&d, &t, NULL))) return;
    ref_open(&r, &d);
    for (int i = 0; i < count; i++) {
        kpd_input in;
        memset(&in, 0, sizeof in);
        in.n_parts = 1 + (int32_t)draw(3);
        for (int k = 0; k < in.n_parts; k++) {
            in.part[k].data = text[k];
            in.part[k].size = make_text(text[k], sizeof text[k]);
        }
        wrong += !ref_agrees(&r, t, &in, draw(2) ? 0 : 3 + draw(40), draw(4) == 0);
    }
    CHECK_THAT(!wrong, "cased %d, strip %d, joined %d: %d of %d texts differ", cased, (int)strip, joined, wrong, count);
    ref_close(&r);
    kpd_tokenizer_destroy(t);
}

static void every_setting(void) {
    static char vocab[1 << 16];
    size_t size = make_vocabulary(vocab);
    state = 1;
    for (int i = 0; i < 12; i++) check_texts(vocab, size, i % 2, i / 2 % 3 - 1, i / 6, 2000);
}

// A vocabulary of any lines: duplicates, an empty one, spaces, CRLF, broken UTF-8, ## alone, tokens of 255 bytes and more.
static void odd_vocabularies(void) {
    static char vocab[1 << 16];
    state = 2;
    for (int i = 0; i < 40; i++) {
        size_t n = (size_t)sprintf(vocab, "[UNK]\n[CLS]\n[SEP]\n");
        for (int k = 0; k < 200; k++) {
            for (uint32_t more = draw(4); more < 4; more++) {
                if (!draw(3)) memcpy(vocab + n, "##", 2), n += 2;
                n += make_text(vocab + n, 60);
            }
            if (!draw(50)) memset(vocab + n, 'a', 300), n += 250 + draw(50);
            if (!draw(5)) vocab[n++] = '\r';
            vocab[n++] = '\n';
        }
        check_texts(vocab, n, i % 2, 0, false, 200);
    }
}

SUITE(tokenizer_same) {
    RUN(tokenizer_same, every_setting);
    RUN(tokenizer_same, odd_vocabularies);
}
