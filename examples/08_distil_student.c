// 08_distil_student: make a small fast model of three teachers: labels, an assistant, and buyers' clicks.
//
//     build/08_distil_student
//
// Labelled pairs have two losses: the contrastive one follows the label, and Pearson asks the cosines to rise and fall with the
// assistant's probability, which the trainer asks for as it goes. Clicked pairs have no negatives; MNR takes those of the
// other rows of the batch, hence KPDT_NO_DUPLICATES: then none is a keyphrase that the item has too. All count at 128 and at 32
// columns (Matryoshka), so that the first 32 will do alone. The assistant is tiny.h's; a real one is what 07_train_assistant
// makes.
#define KPD_IMPLEMENTATION
#define KPD_TRAIN_IMPLEMENTATION
#include "../kpd_train.h"
#include "tiny.h"

enum { WORDS = 8, ITEMS = WORDS * WORDS };

static const char *const COLOUR[WORDS] = {"black", "white", "red", "green", "blue", "yellow", "grey", "pink"};
static const char *const THING[WORDS] = {"earbuds", "laptop", "bicycle", "sofa", "lamp", "camera", "backpack", "helmet"};
static const char *const CALLED[WORDS] = {"headphones", "notebook", "bike", "couch", "light", "kodak", "rucksack", "hat"};

typedef struct table { char text[32768]; size_t size; } table;

static void add(table *t, const char *a, const char *b, int item, const char *label) {
    t->size += (size_t)snprintf(t->text + t->size, sizeof t->text - t->size, "%s %s\t%s %s 2024%s\n", a, b,
                                COLOUR[item / WORDS], THING[item % WORDS], label);
}

// Items whose number is `rest` modulo 4, or is not: each with keyphrases that fit and others that do not.
static void make_labels(table *t, int rest, bool equal) {
    t->size = 0;
    for (int i = 0; i < ITEMS; i++) {
        int colour = i / WORDS, thing = i % WORDS;
        if ((i % 4 == rest) != equal) continue;
        add(t, COLOUR[colour], THING[thing], i, "\t1");
        add(t, COLOUR[colour], CALLED[thing], i, "\t1");
        add(t, COLOUR[(colour + 3) % WORDS], THING[thing], i, "\t0");
        add(t, COLOUR[colour], CALLED[(thing + 1) % WORDS], i, "\t0");
    }
}

static void make_clicks(table *t) {
    t->size = 0;
    for (int i = 0; i < ITEMS; i++) add(t, "cheap", CALLED[i % WORDS], i, "");
}

static kpd_status open_table(const table *t, bool labels, kpdt_dataset **out, kpd_error *e) {
    kpdt_dataset_desc d;
    memset(&d, 0, sizeof d);
    d.data = t->text; d.size = t->size;
    d.columns[0] = KPDT_COL_KEYPHRASE; d.columns[1] = KPDT_COL_TITLE;
    if (labels) d.columns[2] = KPDT_COL_LABEL;
    return kpdt_dataset_open(&d, out, e);
}

static kpdt_loss_desc loss(kpdt_loss kind) {
    kpdt_loss_desc d;
    memset(&d, 0, sizeof d);
    d.loss = kind;
    d.dims[0] = TINY_WIDTH; d.dims[1] = 32;
    return d;
}

static kpd_status distil(const kpd_model *student, const kpd_model *assistant, kpdt_dataset *const *data, kpd_error *e) {
    kpdt_source source[2];
    kpdt_trainer_desc d;
    kpdt_trainer *t = NULL;
    kpdt_report r;
    kpd_model *best = NULL;
    kpd_status s;
    memset(source, 0, sizeof source);
    memset(&d, 0, sizeof d);
    memset(&r, 0, sizeof r);
    source[0].data = data[0];
    source[0].losses[0] = loss(KPDT_CONTRASTIVE);
    source[0].losses[1] = loss(KPDT_PEARSON);
    source[0].losses[1].teacher = KPDT_BY_ASSISTANT;
    source[1].data = data[1]; source[1].batching = KPDT_NO_DUPLICATES;
    source[1].losses[0] = loss(KPDT_MNR);
    d.start = student; d.assistant = assistant; d.sources = source; d.n_sources = 2;
    d.dev = data[2]; d.dev_metric = KPDT_DEV_AUC; d.dev_dim = 32; d.dev_steps = 20; d.patience = 5;
    d.batch = 16; d.epochs = 12; d.rate = 2e-3f; d.warmup = 0.1f; d.max_tokens = 512; d.seed = 1;
    s = kpdt_trainer_create(&d, &t, e);
    while (!s && !r.done) {
        s = kpdt_trainer_step(t, &r, e);
        if (!s && r.dev == r.dev)                           // a number: dev was looked at
            printf("step %3d  %s loss %.4f  AUC of 32 columns %.3f\n", (int)r.step, r.source ? "clicks" : "labels",
                   (double)r.loss, (double)r.dev);
    }
    if (!s) s = kpdt_trainer_model(t, true, &best, e);      // kpd_model_save would keep it
    if (!s) printf("best AUC %.3f on items that were not in training\n", (double)r.best_dev);
    kpd_model_destroy(best);
    kpdt_trainer_destroy(t);
    return s;
}

int main(void) {
    static table text[3];
    const char *words[] = {text[0].text, text[1].text, text[2].text};
    kpdt_dataset *data[3] = {NULL, NULL, NULL};
    kpd_model *student = NULL, *assistant = NULL;
    kpd_error e;
    kpd_status s;
    make_labels(&text[0], 3, false);
    make_clicks(&text[1]);
    make_labels(&text[2], 3, true);
    s = tiny_student(words, 3, &student, &e);
    if (!s) s = tiny_assistant(words, 3, &assistant, &e);
    for (int i = 0; !s && i < 3; i++) s = open_table(&text[i], i != 1, &data[i], &e);
    if (!s) s = distil(student, assistant, data, &e);
    for (int i = 0; i < 3; i++) kpdt_dataset_destroy(data[i]);
    kpd_model_destroy(assistant);
    kpd_model_destroy(student);
    if (s) fprintf(stderr, "08_distil_student: %s: %s\n", kpd_status_name(s), e.message);
    return s != KPD_OK;
}
