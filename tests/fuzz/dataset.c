// libFuzzer: a table of rows. What opens must give back each of its rows, in range and inside the bytes, and be drawn once.
#define _XOPEN_SOURCE 700
#define KPD_IMPLEMENTATION
#define KPD_TRAIN_IMPLEMENTATION
#include "../../kpd_train.h"
#include "fuzz.h"
#include "start.h"

static const char seed[] =
    "\x01" "red case\tcase, red\tCases\tq1\t1\t.25\nblue case\tlamp\tLamps\tq1\t0\t-3e-2\r\nlamp\tlamp\t\tq2\t0.5\t7\n";

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int random) {
    (void)random;
    return fuzz_mutate(data, size, max_size, seed, sizeof seed - 1);
}

static void check_text(kpd_text t, bool there, const char *data, size_t size) {
    if (!there && (t.data || t.size)) abort();
    if (there && t.size && (t.data < data || t.data + t.size > data + size || memchr(t.data, '\t', t.size))) abort();
}

static void check_rows(const kpdt_dataset *x, const kpdt_dataset_desc *d) {
    kpdt_row r;
    unsigned has = 0;
    for (int i = 0; d->columns[i]; i++) has |= 1u << d->columns[i];
    for (int64_t i = kpdt_dataset_rows(x); i-- > 0;) {
        if (kpdt_dataset_get(x, i, &r, NULL)) abort();
        check_text(r.keyphrase, has >> KPDT_COL_KEYPHRASE & 1, d->data, d->size);
        check_text(r.title, has >> KPDT_COL_TITLE & 1, d->data, d->size);
        check_text(r.category, has >> KPDT_COL_CATEGORY & 1, d->data, d->size);
        check_text(r.query, has >> KPDT_COL_QUERY & 1, d->data, d->size);
        if (has >> KPDT_COL_LABEL & 1 ? !(r.label >= 0 && r.label <= 1) : r.label == r.label) abort();
        if (has >> KPDT_COL_SCORE & 1 ? !(r.score - r.score == 0) : r.score == r.score) abort();
    }
    if (!kpdt_dataset_get(x, kpdt_dataset_rows(x), &r, NULL)) abort();
}

// No row has the same keyphrase twice among its candidates, and each has its own.
static void check_distinct(const kpdt_batch *b) {
    for (int row = 0; row < b->n; row++)
        for (int i = 0; i < b->n; i++)
            for (int k = 0; k < i; k++) {
                kpd_text x = b->in[KPD_KEYPHRASE][i].part[0], y = b->in[KPD_KEYPHRASE][k].part[0];
                if (x.size != y.size || memcmp(x.data, y.data, x.size)) continue;
                if (!b->mask || b->mask[row * b->n + row]) abort();
                if (!(b->mask[row * b->n + i] & KPDT_MASK_ROW) && !(b->mask[row * b->n + k] & KPDT_MASK_ROW)) abort();
            }
}

// In an epoch each row comes once.
static void check_draws(const kpdt_dataset *x, kpdt_batching batching) {
    static kpd_model *m;
    int seen[64], rows = (int)kpdt_dataset_rows(x), drawn = 0;
    kpdt_trainer_desc d;
    kpdt_source source;
    kpdt_trainer *t;
    if (!m) m = start();
    memset(&d, 0, sizeof d);
    memset(&source, 0, sizeof source);
    memset(seen, 0, sizeof seen);
    source.data = x; source.losses[0].loss = KPDT_MNR; source.batching = batching;
    d.start = m; d.sources = &source; d.n_sources = 1; d.batch = 3; d.max_tokens = 8; d.max_texts = 1;
    if (kpdt_trainer_create(&d, &t, NULL)) return;
    while (drawn < rows) {
        kpdt_batch b;
        if (kpdt_trainer_draw(t, &b, NULL)) break;          // a row that is no positive pair
        if (b.n < 1 || b.n > 3) abort();
        if (batching == KPDT_NO_DUPLICATES) check_distinct(&b);
        for (int i = 0; i < b.n; i++, drawn++)
            if (seen[b.row[i]]++) abort();
    }
    kpdt_trainer_destroy(t);
}

int fuzz_one(const uint8_t *data, size_t size) {
    static const kpdt_column columns[4][7] = {
        {KPDT_COL_KEYPHRASE, KPDT_COL_TITLE},
        {KPDT_COL_KEYPHRASE, KPDT_COL_TITLE, KPDT_COL_CATEGORY, KPDT_COL_QUERY, KPDT_COL_LABEL, KPDT_COL_SCORE},
        {KPDT_COL_LABEL, KPDT_COL_SKIP, KPDT_COL_TITLE},
        {KPDT_COL_SCORE, KPDT_COL_KEYPHRASE, KPDT_COL_QUERY, KPDT_COL_SKIP, KPDT_COL_TITLE}
    };
    kpdt_dataset_desc d;
    kpdt_dataset *x;
    kpd_error e;
    char *text;
    if (!size) return 0;
    memset(&d, 0, sizeof d);
    memcpy(d.columns, columns[data[0] & 3], sizeof columns[0]);
    text = (char *)malloc(size);                            // of just that size, so that a read behind it shows
    memcpy(text, data + 1, size - 1);
    d.data = text; d.size = size - 1;
    d.skip_bad_rows = data[0] >> 2 & 1;
    if (!kpdt_dataset_open(&d, &x, &e)) {
        if (!d.skip_bad_rows && kpdt_dataset_bad_rows(x)) abort();
        check_rows(x, &d);
        if (size <= 512 && kpdt_dataset_rows(x) <= 64) check_draws(x, (kpdt_batching)(data[0] >> 3 & 3));
        kpdt_dataset_destroy(x);
    } else if (e.where < 1 || d.skip_bad_rows) abort();
    free(text);
    return 0;
}
