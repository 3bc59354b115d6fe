// The speed of a training step, with random weights and texts: pairs a second, and where a step's time goes.
//     bench_train [LAYERSxWIDTHxHEADS] [bi|ce] [STEPS] [THREADS]        6x384x12 bi 5 1; pin it to as many cores
// bi: 32 pairs of two texts of 24 tokens, MNR; ce: 32 pairs of 48 tokens, BCE. Dropout .1, AdamW, as Hugging Face's default.
#define _POSIX_C_SOURCE 199309L
#define KPD_STATIC
#define KPD_THREADS
#define KPD_IMPLEMENTATION
#define KPD_TRAIN_IMPLEMENTATION
#include "../kpd_train.h"
#include <time.h>

enum { VOCAB = 30522, PAIRS = 32, ROWS = 20 * PAIRS };

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static kpd_tokenizer *tokenizer(void) {
    char *vocab = (char *)malloc(VOCAB * 8), *p = vocab;
    kpd_tokenizer_desc d;
    kpd_tokenizer *t = NULL;
    if (!vocab) exit(1);
    memset(&d, 0, sizeof d);
    p += sprintf(p, "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n");
    for (int i = 5; i < VOCAB; i++) p += sprintf(p, "w%d\n", i);
    d.vocab = vocab; d.vocab_size = (size_t)(p - vocab);
    if (kpd_tokenizer_create(&d, &t, NULL)) exit(1);
    free(vocab);
    return t;
}

static kpd_model *model(const kpd_tokenizer *t, int layers, int width, int heads, bool cross) {
    kpd_model_desc d;
    kpd_model *m = NULL;
    kpd_tensor x;
    kpd_error e;
    memset(&d, 0, sizeof d);
    d.kind = cross ? KPD_CROSS_ENCODER : KPD_BI_ENCODER;
    d.n_layers = layers; d.width = width; d.n_heads = heads; d.tokenizer = t; d.max_tokens = 64;
    if (kpd_model_create(&d, &m, &e)) exit(fprintf(stderr, "%s\n", e.message));
    for (int32_t i = 0; kpd_model_tensor(m, i, &x); i++) {
        size_t n = (size_t)x.rows * (size_t)x.cols;
        float *w = (float *)malloc(n * sizeof *w);
        bool norm = strstr(x.name, "Norm.weight") != NULL;
        if (!w) exit(1);
        for (size_t k = 0; k < n; k++)
            w[k] = norm ? 1 : 0.04f * ((float)kpdt__random_below((uint64_t)i, k, 1000) / 500 - 1);
        kpd_model_set(m, x.name, w, NULL);
        free(w);
    }
    return m;
}

// Words are tokens; a text has so many that with [CLS] and [SEP] it has 24, and a pair 48.
static kpdt_dataset *data(bool cross) {
    enum { WORDS = 22 };
    char *text = (char *)malloc(ROWS * 64 * 8), *p = text;
    kpdt_dataset_desc d;
    kpdt_dataset *x = NULL;
    if (!text) exit(1);
    memset(&d, 0, sizeof d);
    for (uint64_t r = 0; r < ROWS; r++) {
        for (int c = 0; c < 2; c++)
            for (int i = 0; i < WORDS; i++)
                p += sprintf(p, "%sw%d", i ? " " : c ? "\t" : "",
                             (int)(1000 + kpdt__random_below(r, (uint64_t)(c * 64 + i), 29000)));
        p += sprintf(p, "\t%d\n", (int)(r & 1));
    }
    d.data = text; d.size = (size_t)(p - text);
    d.columns[0] = KPDT_COL_KEYPHRASE; d.columns[1] = KPDT_COL_TITLE; d.columns[2] = cross ? KPDT_COL_LABEL : KPDT_COL_SKIP;
    if (kpdt_dataset_open(&d, &x, NULL)) exit(1);
    return x;
}

int main(int argc, char **argv) {
    int layers = 6, width = 384, heads = 12, steps = argc > 3 ? atoi(argv[3]) : 5, threads = argc > 4 ? atoi(argv[4]) : 1;
    bool cross = argc > 2 && !strcmp(argv[2], "ce");
    double whole[64], apply[64];
    kpd_pool *pool = NULL;
    kpdt_trainer_desc d;
    kpdt_source s;
    kpdt_trainer *t;
    kpd_error e;
    if ((argc > 1 && sscanf(argv[1], "%dx%dx%d", &layers, &width, &heads) != 3) || steps < 1 || steps > 60 || threads < 1)
        return fprintf(stderr, "usage: bench_train [LAYERSxWIDTHxHEADS] [bi|ce] [STEPS to 60] [THREADS]\n"), 2;
    memset(&d, 0, sizeof d);
    memset(&s, 0, sizeof s);
    s.data = data(cross);
    s.losses[0].loss = cross ? KPDT_BCE : KPDT_MNR;
    d.start = model(tokenizer(), layers, width, heads, cross);
    d.sources = &s; d.n_sources = 1; d.steps = steps + 2; d.dropout = 0.1f; d.rate = 5e-5f;
    if (threads > 1 && kpd_pool_create(threads, NULL, &pool, &e)) return fprintf(stderr, "%s\n", e.message), 1;
    if (pool) d.parallel = *kpd_pool_parallel(pool);
    if (kpdt_trainer_create(&d, &t, &e)) return fprintf(stderr, "%s\n", e.message), 1;
    for (int i = 0; i < steps + 2; i++) {
        double begin = now(), middle;
        kpdt_batch b;
        float loss;
        if (kpdt_trainer_draw(t, &b, &e) || kpdt_trainer_learn(t, &b, &loss, &e)) return fprintf(stderr, "%s\n", e.message), 1;
        middle = now();
        if (kpdt_trainer_apply(t, NULL, &e)) return fprintf(stderr, "%s\n", e.message), 1;
        if (i < 2) continue;
        whole[i - 2] = now() - begin;
        apply[i - 2] = now() - middle;
    }
    qsort(whole, (size_t)steps, sizeof *whole, by_size);
    qsort(apply, (size_t)steps, sizeof *apply, by_size);
    printf("%dx%dx%d %s threads %d: step_ms %.1f min %.1f max %.1f, of it AdamW %.1f; pairs/s %.1f\n", layers, width, heads,
           cross ? "ce" : "bi", threads, 1e3 * whole[steps / 2], 1e3 * whole[0], 1e3 * whole[steps - 1], 1e3 * apply[steps / 2],
           PAIRS / whole[steps / 2]);
    return 0;
}
