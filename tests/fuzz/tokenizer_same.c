// libFuzzer: the tokenizer against the plain one of tests/reference_tokenizer.h, on texts and now and then vocabularies of any
// bytes. Everything must agree: ids, types, spans, truncation.
#define _XOPEN_SOURCE 700
#define KPD_STATIC
#define KPD_IMPLEMENTATION
#include "../../kpd.h"
#include "../reference_tokenizer.h"
#include "fuzz.h"

#define SPECIAL "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n"

// Letters of several scripts, marks, pieces, tokens around 8, 9, 16 and 17 bytes.
static const char fixed[] = SPECIAL
    "a\n##a\nb\n##b\nc\n##c\ne\n##e\ns\n##s\n1\n##1\nab\n##ab\nabc\n##bc\naaaaaaa\naaaaaaaa\n##aaaaaaaa\naaaaaaaaa\n"
    "##aaaaaaaaa\naaaaaaaaaaaaaaaa\n##aaaaaaaaaaaaaaaa\naaaaaaaaaaaaaaaaa\n.\n[\n]\n-\nA\n##A\nB\nSEP\n##sep\n\xC3\xA9\n"
    "##\xC3\xA9\ncaf\xC3\xA9\n\xCC\x81\n##\xCC\x81\n\xE3\x80\xAE\n##\xE3\x80\xAE\n##\xE0\xA3\x94\n##\xE3\x80\xAE\xE0\xA3\x94\n"
    "\xE6\x97\xA5\n##\xE6\x97\xA5\n\xE1\x84\x80\n##\xE1\x85\xA1\n"
    "##\xE1\x86\xA8\n\xD0\xB9\n##\xD0\xB9\n##\xD0\xB8\n\xD0\xB8\n##\xF0\x9D\x85\xA5\n\xF0\x9D\x85\x97\n\n\x80\n a\n";

typedef struct both { kpd_tokenizer *t; ref_tokenizer r; } both;

static bool open_both(both *x, uint8_t setting, const char *vocab, size_t size) {
    kpd_tokenizer_desc d;
    memset(&d, 0, sizeof d);
    d.cased = setting & 1; d.keep_cjk_joined = (setting & 2) != 0; d.strip_accents = (setting >> 2) % 3 - 1;
    d.vocab = vocab; d.vocab_size = size;
    if (kpd_tokenizer_create(&d, &x->t, NULL)) return false;
    ref_open(&x->r, &d);
    return true;
}

static void close_both(both *x) {
    kpd_tokenizer_destroy(x->t);
    ref_close(&x->r);
}

// Three parts are cut from the bytes by their shares.
static void check_both(const both *x, const uint8_t *options, const uint8_t *data, size_t size) {
    kpd_input in;
    size_t at = 0;
    memset(&in, 0, sizeof in);
    in.n_parts = 1 + options[1] % 4 % 3;
    for (int i = 0; i < in.n_parts; i++) {
        size_t n = i + 1 < in.n_parts ? (size - at) * options[2] / 256 : size - at;
        in.part[i].data = (const char *)data + at;
        in.part[i].size = n;
        at += n;
    }
    if (!ref_agrees(&x->r, x->t, &in, options[1] & 64 ? 3 + options[1] % 16u : 0, options[1] >= 128)) abort();
}

int fuzz_one(const uint8_t *data, size_t size) {
    static both kept[12];
    static char vocab[sizeof fixed + 1024];
    both own, *x = &own;
    size_t n = 0;
    if (size < 4 || size > 1024) return 0;
    if (data[0] < 255) {                // the vocabulary above, opened once
        x = &kept[data[0] % 12];
        if (!x->t && !open_both(x, data[0] % 12, fixed, sizeof fixed - 1)) abort();
    } else {
        n = data[3] % (size - 3);
        memcpy(vocab, fixed, sizeof fixed - 1);
        memcpy(vocab + sizeof fixed - 1, data + 4, n);
        if (!open_both(&own, data[0] % 12, vocab, sizeof fixed - 1 + n)) return 0;
    }
    check_both(x, data, data + 4 + n, size - 4 - n);
    if (x == &own) close_both(x);
    return 0;
}
