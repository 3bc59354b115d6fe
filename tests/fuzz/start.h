// The smallest model there is, for targets that need one to train. Behind the implementation of kpd_train.h.
#ifndef START_H
#define START_H

static kpd_model *start(void) {
    static const char vocab[] = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nlamp\n";
    kpd_tokenizer_desc t;
    kpd_tokenizer *k;
    kpd_model_desc d;
    kpd_model *m;
    memset(&t, 0, sizeof t);
    memset(&d, 0, sizeof d);
    t.vocab = vocab; t.vocab_size = sizeof vocab - 1;
    if (kpd_tokenizer_create(&t, &k, NULL)) abort();
    d.width = d.ffn_width = 4; d.n_heads = d.n_layers = 1; d.n_positions = 8; d.tokenizer = k;
    if (kpdt_model_start(&d, NULL, NULL, 1, &m, NULL)) abort();
    kpd_tokenizer_destroy(k);
    return m;
}
#endif
