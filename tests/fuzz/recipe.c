// libFuzzer: a recipe beside a vocabulary and a table. What reads must open or say in which line it cannot; what opens must
// make a trainer or be refused.
#define _XOPEN_SOURCE 700
#define KPD_IMPLEMENTATION
#define KPD_TRAIN_IMPLEMENTATION
#include "../../tools/recipe.h"
#include "fuzz.h"

static const char seed[] =
    "[model]\nvocab = v.txt\nlayers = 1\nwidth = 4\nheads = 2\nffn_width = 4\npositions = 8\npooling = cls\n"
    "[train]\nbatch = 2\nrate = 3e-5\nwarmup = 0.1\nmax_tokens_in_flight = 8\n"
    "[data a]\nfile = t.tsv\ncolumns = keyphrase title label\nloss = contrastive margin=0.5, pearson weight=2\ndims = 4 2\n"
    "[data b]\nfile = t.tsv\ncolumns = keyphrase title -\nbatching = no-duplicates\nloss = mnr scale=20\n"
    "[dev]\nfile = t.tsv\ncolumns = keyphrase title label\nmetric = ap\nsteps = 5\n";

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int random) {
    (void)random;
    return fuzz_mutate(data, size, max_size, seed, sizeof seed - 1);
}

static void files(void) {
    static const char vocab[] = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nlamp\n", rows[] = "lamp\tred lamp\t1\ncase\tlamp\t0\n";
    FILE *unused;
    if (fuzz_folder[0]) return;
    unused = fopen("/dev/null", "w");
    fuzz_make_folder();
    fuzz_write(fuzz_path("v.txt"), vocab, sizeof vocab - 1);
    fuzz_write(fuzz_path("t.tsv"), rows, sizeof rows - 1);
    if (!unused) abort();
    recipe_help(unused);
    fclose(unused);
}

// Whether what it asks for is made in no time.
static bool small(const recipe *r) {
    const kpd_model_desc *m = &r->model.d;
    return m->width <= 64 && m->n_layers <= 4 && m->ffn_width <= 256 && m->n_positions <= 512 && r->train.d.batch <= 256 &&
           r->train.d.max_tokens <= 4096;
}

int fuzz_one(const uint8_t *data, size_t size) {
    static recipe r;
    kpdt_trainer *t;
    kpd_error e;
    files();
    fuzz_write(fuzz_path("r.ini"), data, size);
    if (recipe_read(&r, fuzz_path("r.ini")) && small(&r) && recipe_open(&r)) {
        if (!r.train.d.start || !r.n_data || kpdt_dataset_rows(r.sources[0].data) < 1) abort();
        if (!kpdt_trainer_create(&r.train.d, &t, &e)) {
            kpdt_trainer_step(t, NULL, NULL);
            kpdt_trainer_destroy(t);
        } else if (!e.message[0]) abort();
    } else if (!r.error[0] && small(&r)) abort();
    recipe_close(&r);
    return 0;
}
