// 01_tokenize: text to token ids and back to tokens.
//
//     build/01_tokenize [M.kpd]        without a model: a vocabulary of twenty lines
//
// A tokenizer is made of the bytes of a vocab.txt, or comes with a model. It gives the ids that Hugging Face's tokenizers
// give. The caller owns the array of ids, so that tokenizing allocates nothing.
#define KPD_IMPLEMENTATION
#include "../kpd.h"
#include <stdio.h>
#include <string.h>

static const char VOCAB[] =
    "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nsurface\npro\ncharger\nlap\n##top\nsleeve\n##s\n"
    "cafe\n4\n5\n,\nfor\nwireless\nbroken\nutf\n";

// Prints a text's tokens with their ids and types.
static kpd_status show(const kpd_tokenizer *t, const char *a, const char *b, kpd_error *e) {
    int32_t ids[64], types[64];
    kpd_tokens tokens;
    kpd_input in = kpd_input_str(a, b, NULL);           // one part, or two when b is not NULL
    kpd_status s;
    memset(&tokens, 0, sizeof tokens);
    tokens.ids = ids;
    tokens.types = types;
    tokens.capacity = 64;
    s = kpd_tokenize(t, &in, 16, false, &tokens, e);    // at most 16 tokens, with [CLS] and [SEP]
    if (s) return s;
    printf("%s%s%s\n ", a, b ? " + " : "", b ? b : "");
    for (int32_t i = 0; i < tokens.count; i++) {
        kpd_text piece;
        kpd_token_text(t, ids[i], &piece);
        printf(" %.*s=%d/%d", (int)piece.size, piece.data, (int)ids[i], (int)types[i]);
    }
    printf("%s\n", tokens.truncated ? "  (cut)" : "");
    return KPD_OK;
}

static kpd_status show_all(const kpd_tokenizer *t, kpd_error *e) {
    kpd_status s = show(t, "Surface Pro charger", NULL, e);
    if (!s) s = show(t, "Laptops, Caf\xC3\xA9s", NULL, e);            // accents are stripped, words cut into known pieces
    if (!s) s = show(t, "wireless \xF0\x9F\x94\x8B", "charger", e);    // a pair; what is unknown becomes [UNK]
    if (!s) s = show(t, "4 5 4 5 4 5 4 5 4 5 4 5 4 5 4 5", NULL, e);  // longer than 16 tokens
    if (!s) s = show(t, "broken \xFF utf-8", NULL, e);                // any bytes are text
    return s;
}

int main(int argc, char **argv) {
    kpd_error e;
    kpd_model *m = NULL;
    kpd_tokenizer *own = NULL;
    kpd_tokenizer_desc d;
    kpd_status s;
    memset(&d, 0, sizeof d);                            // zero means default: lower-case, strip accents
    d.vocab = VOCAB;
    d.vocab_size = strlen(VOCAB);
    if (argc > 1) s = kpd_model_open(argv[1], NULL, &m, &e);
    else s = kpd_tokenizer_create(&d, &own, &e);
    if (!s) {
        const kpd_tokenizer *t = m ? kpd_model_tokenizer(m) : own;
        printf("%d tokens in the vocabulary; token=id/type\n", (int)kpd_tokenizer_size(t));
        s = show_all(t, &e);
    }
    if (s) fprintf(stderr, "01_tokenize: %s: %s\n", kpd_status_name(s), e.message);
    kpd_tokenizer_destroy(own);                         // of NULL: nothing happens
    kpd_model_destroy(m);
    return s != KPD_OK;
}
