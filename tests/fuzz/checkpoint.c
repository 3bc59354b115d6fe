// libFuzzer: a checkpoint, as it is and with its checksums mended. Resume must refuse it and change nothing, or take it and be
// able to go on.
#define _XOPEN_SOURCE 700
#define KPD_IMPLEMENTATION
#define KPD_TRAIN_IMPLEMENTATION
#include "../../kpd_train.h"
#include "fuzz.h"
#include "mend.h"
#include "start.h"

static const char rows[] =
    "lamp\tred lamp\t1\ncase\tcase\t0\nlamp\tblue lamp\t1\ncase\tcase\t1\nred\tred case\t0\nred\tred\t1\n";
static uint8_t seed[1 << 14];
static size_t seed_size;

// Two sources, one of which mines its negatives, and dev; some steps on its way.
static kpdt_trainer *make_trainer(void) {
    static kpdt_dataset *data;
    kpdt_dataset_desc x;
    kpd_model *m = start();
    kpdt_source source[2];
    kpdt_refresh refresh;
    kpdt_trainer_desc d;
    kpdt_trainer *t;
    memset(&x, 0, sizeof x);
    memset(&d, 0, sizeof d);
    memset(source, 0, sizeof source);
    memset(&refresh, 0, sizeof refresh);
    x.data = rows; x.size = sizeof rows - 1;
    x.columns[0] = KPDT_COL_KEYPHRASE; x.columns[1] = KPDT_COL_TITLE; x.columns[2] = KPDT_COL_LABEL;
    if (kpdt_dataset_open(&x, &data, NULL)) abort();
    for (int i = 0; i < 2; i++) { source[i].data = data; source[i].losses[0].loss = KPDT_CONTRASTIVE; }
    refresh.steps = 4; refresh.mining.n = 2;
    source[1].losses[0].loss = KPDT_KL; source[1].refresh = &refresh;
    d.start = m; d.sources = source; d.n_sources = 2; d.batch = 2; d.steps = 20; d.max_tokens = 16; d.max_texts = 2;
    d.dev = data; d.dev_steps = 2;
    if (kpdt_trainer_create(&d, &t, NULL)) abort();
    kpd_model_destroy(m);
    for (int i = 0; i < 5; i++)
        if (kpdt_trainer_step(t, NULL, NULL)) abort();
    return t;
}

static kpdt_trainer *trainer(void) {
    static kpdt_trainer *t;
    FILE *f;
    if (t) return t;
    t = make_trainer();
    fuzz_make_folder();
    if (kpdt_trainer_save(t, fuzz_path("seed.kpc"), NULL)) abort();
    f = fopen(fuzz_path("seed.kpc"), "rb");
    seed_size = f ? fread(seed, 1, sizeof seed, f) : 0;
    if (!seed_size || seed_size == sizeof seed || fclose(f)) abort();
    return t;
}

// Every other change falls where the numbers are that decide: in the header, the table or the first three sections.
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int random) {
    size_t head = 64 + 8 * 128 + 640;
    trainer();
    if (random & 1 && size > head) return LLVMFuzzerMutate(data, head, head), size;
    return fuzz_mutate(data, size, max_size, seed, seed_size);
}

static void resume(const uint8_t *data, size_t size) {
    kpdt_trainer *t = trainer();
    kpdt_report r;
    kpd_error e;
    kpd_model *m;
    uint64_t before = kpd__hash64(t->net->w, t->net->n * sizeof(float));
    fuzz_write(fuzz_path("input.kpc"), data, size);
    if (kpdt_trainer_resume(t, fuzz_path("input.kpc"), &e)) {
        if (!e.message[0] || kpd__hash64(t->net->w, t->net->n * sizeof(float)) != before) abort();
        return;
    }
    memset(&r, 0, sizeof r);
    for (int i = 0; i < 3 && !r.done; i++)
        if (kpdt_trainer_step(t, &r, &e)) break;
    if (kpdt_trainer_save(t, fuzz_path("again.kpc"), NULL)) abort();
    if (!kpdt_trainer_model(t, false, &m, NULL)) kpd_model_destroy(m);
    if (!kpdt_trainer_model(t, true, &m, NULL)) kpd_model_destroy(m);
}

int fuzz_one(const uint8_t *data, size_t size) {
    uint8_t *block = (uint8_t *)malloc(size + 64), *copy = (uint8_t *)kpd__align64(block);
    resume(data, size);
    memcpy(copy, data, size);
    mend(copy, size);
    resume(copy, size);
    free(block);
    return 0;
}
