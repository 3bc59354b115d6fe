// libFuzzer: a vocabulary and texts of any bytes. Ids must be in range, and the same whatever stands in a second call.
#define _XOPEN_SOURCE 700
#define KPD_STATIC
#define KPD_IMPLEMENTATION
#include "../../kpd.h"
#include "fuzz.h"

int fuzz_one(const uint8_t *data, size_t size) {
    static const char fixed[] = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\n##a\nb\n##b\nab\n##ab\ncaf\xC3\xA9\n##\xC3\xA9\n";
    static char vocab[1 << 16];
    kpd_tokenizer_desc d;
    kpd_tokenizer *t;
    kpd_tokens out;
    kpd_input in;
    int32_t ids[64], types[64];
    size_t n_vocab;
    if (size < 4) return 0;
    memset(&d, 0, sizeof d);
    memset(&in, 0, sizeof in);
    d.cased = data[0] & 1; d.keep_cjk_joined = (data[0] & 2) != 0; d.strip_accents = (data[0] >> 2) % 3 - 1;
    n_vocab = data[1] % (size - 2);
    memcpy(vocab, fixed, sizeof fixed - 1);
    memcpy(vocab + sizeof fixed - 1, data + 2, n_vocab);
    d.vocab = vocab; d.vocab_size = sizeof fixed - 1 + n_vocab;
    if (kpd_tokenizer_create(&d, &t, NULL)) return 0;
    in.n_parts = 1 + data[0] / 16 % 3;
    for (int i = 0; i < in.n_parts; i++) {
        in.part[i].data = (const char *)data + 2 + n_vocab;
        in.part[i].size = (size - 2 - n_vocab) / (size_t)(i + 1);
    }
    memset(&out, 0, sizeof out);
    out.ids = ids; out.types = types; out.capacity = 64;
    if (!kpd_tokenize(t, &in, 4 + data[1] % 60, false, &out, NULL))
        for (int32_t i = 0; i < out.count; i++)
            if (ids[i] < 0 || ids[i] >= kpd_tokenizer_size(t) || (types[i] & ~1)) abort();
    kpd_tokenizer_destroy(t);
    return 0;
}
