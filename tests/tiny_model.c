#include "tiny_model.h"
#include "test.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char tiny_vocab[] =
    "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n"
    "blue\nred\ngreen\ncase\ncover\nphone\nlaptop\ncharger\nfor\nsleeve\nyellow\nlamp\n##s\n5\n6\npro\n";

uint32_t tiny_random(uint32_t *state) {
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

float tiny_uniform(uint32_t *state) { return (float)(int32_t)tiny_random(state) / 8388608.0f - 1.0f; }

const char *tiny_word(uint32_t *state) {
    static const char *const words[] = {"blue", "red", "green", "case", "cover", "phone", "laptop", "charger", "sleeve",
                                        "lamp"};
    return words[tiny_random(state) / 64 % 10];
}

uint64_t tiny_hash(uint64_t h, const void *data, size_t n) {
    const uint8_t *p = (const uint8_t *)data;
    for (size_t i = 0; i < n; i++) h = (h ^ p[i]) * UINT64_C(1099511628211);
    return h;
}

kpd_tokenizer_desc tiny_tokenizer_desc(void) {
    kpd_tokenizer_desc d;
    memset(&d, 0, sizeof d);
    d.vocab = tiny_vocab;
    d.vocab_size = strlen(tiny_vocab);
    return d;
}

kpd_tokenizer *tiny_tokenizer(void) {
    kpd_tokenizer_desc d = tiny_tokenizer_desc();
    kpd_tokenizer *t = NULL;
    CHECK_OK(kpd_tokenizer_create(&d, &t, NULL));
    return t;
}

kpd_model_desc tiny_desc(const tiny_options *o, const kpd_tokenizer *t) {
    kpd_model_desc d;
    memset(&d, 0, sizeof d);
    d.kind = o->kind;
    d.width = o->width ? o->width : 16;
    d.n_heads = o->n_heads ? o->n_heads : 2;
    d.n_layers = o->n_layers ? o->n_layers : 1;
    d.pooling = o->pooling;
    d.ffn_width = d.width;
    d.n_positions = o->n_positions ? o->n_positions : 24;
    d.tokenizer = t;
    return d;
}

// Norms are near 1 times x, everything else is small and without structure.
static bool fill(kpd_model *m, uint32_t seed) {
    kpd_tensor t;
    uint32_t state = seed * 2654435761u + 1;
    for (int32_t i = 0; kpd_model_tensor(m, i, &t); i++) {
        size_t n = (size_t)t.rows * (size_t)t.cols;
        float *w = (float *)malloc(n * sizeof *w);
        bool norm = strstr(t.name, "LayerNorm.weight") != NULL, ok = w != NULL;
        for (size_t j = 0; ok && j < n; j++) w[j] = norm ? 1 + 0.1f * tiny_uniform(&state) : 0.5f * tiny_uniform(&state);
        ok = ok && CHECK_OK(kpd_model_set(m, t.name, w, NULL));
        free(w);
        if (!ok) return false;
    }
    return true;
}

kpd_model *tiny_model(const tiny_options *o) {
    kpd_tokenizer *t = tiny_tokenizer();
    kpd_model *m = NULL;
    kpd_error e;
    if (!t) return NULL;
    kpd_model_desc d = tiny_desc(o, t);
    d.allocator = o->allocator;
    if (!CHECK_OK(kpd_model_create(&d, &m, &e))) printf("%s\n", e.message);
    kpd_tokenizer_destroy(t);
    if (m && !fill(m, o->seed)) {
        kpd_model_destroy(m);
        m = NULL;
    }
    return m;
}

kpd_session *tiny_session(const kpd_model *student, const kpd_model *assistant) {
    kpd_session_desc d;
    kpd_session *s = NULL;
    memset(&d, 0, sizeof d);
    d.student = student;
    d.assistant = assistant;
    d.max_tokens = 256;
    d.max_k = 128;
    CHECK_OK(kpd_session_create(&d, &s, NULL));
    return s;
}

tiny_bytes tiny_bytes_make(size_t size) {
    tiny_bytes b;
    b.block = calloc(1, size + 128);
    b.size = size;
    b.data = b.block ? (uint8_t *)b.block + (64 - (uintptr_t)b.block % 64) % 64 : NULL;
    CHECK_THAT(b.data != NULL, "out of memory: %zu bytes", size);
    return b;
}

tiny_bytes tiny_bytes_read(const char *path) {
    FILE *f = fopen(path, "rb");
    tiny_bytes b = tiny_bytes_make((size_t)1 << 20);
    b.size = f && b.data ? fread(b.data, 1, b.size, f) : 0;
    if (f) fclose(f);
    CHECK_THAT(b.size > 0, "cannot read %s", path);
    return b;
}

bool tiny_bytes_write(const char *path, const void *data, size_t size) {
    FILE *f = fopen(path, "wb");
    bool ok = f && fwrite(data, 1, size, f) == size;
    if (f && fclose(f)) ok = false;
    return CHECK_THAT(ok, "cannot write %s", path);
}

void tiny_bytes_free(tiny_bytes *b) {
    free(b->block);
    b->block = NULL;
}
