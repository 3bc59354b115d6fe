// Models of a few kilobytes with pseudo-random weights, for tests of everything around the numbers.
#ifndef TINY_MODEL_H
#define TINY_MODEL_H
#include "../kpd.h"

typedef struct tiny_options {           // zero = the default beside the field
    kpd_kind kind;
    int32_t width, n_heads, n_layers, n_positions;   // 16, 2, 1, 24
    kpd_pooling pooling;
    uint32_t seed;                      // other weights for another seed
    kpd_allocator allocator;
} tiny_options;

// Lower-case words, a few pieces and the special tokens: enough for "blue case for phone 5" and the like.
extern const char tiny_vocab[];
kpd_tokenizer_desc tiny_tokenizer_desc(void);
kpd_tokenizer *tiny_tokenizer(void);                            // NULL after a failed check
kpd_model_desc tiny_desc(const tiny_options *o, const kpd_tokenizer *t);
kpd_model *tiny_model(const tiny_options *o);                   // NULL after a failed check
kpd_session *tiny_session(const kpd_model *student, const kpd_model *assistant);

uint32_t tiny_random(uint32_t *state);
float tiny_uniform(uint32_t *state);                            // in [-1, 1)
const char *tiny_word(uint32_t *state);                         // one of ten of the vocabulary
uint64_t tiny_hash(uint64_t h, const void *data, size_t n);     // h goes on over n bytes (FNV-1a)

// A file's bytes in a block aligned to 64, followed by 64 spare bytes. Free with tiny_bytes_free.
typedef struct tiny_bytes { uint8_t *data; size_t size; void *block; } tiny_bytes;
tiny_bytes tiny_bytes_make(size_t size);
tiny_bytes tiny_bytes_read(const char *path);
bool tiny_bytes_write(const char *path, const void *data, size_t size);
void tiny_bytes_free(tiny_bytes *b);
#endif
