// 07_train_assistant: teach a cross-encoder what an LLM's labels say that words alone do not.
//
//     build/07_train_assistant
//
// The assistant of tiny.h looks for the keyphrase's words in the item. So it misses what buyers call by another name
// ("headphones" for earbuds) and likes accessories ("earbuds case" for earbuds). An LLM has labelled such pairs; BCE learns
// from its labels. Dev has the same things of brands that were not in training. A data set is a table of bytes: here made
// in memory, else a file (kpdt_dataset_desc.path).
#define KPD_IMPLEMENTATION
#define KPD_TRAIN_IMPLEMENTATION
#include "../kpd_train.h"
#include "tiny.h"

enum { PRODUCTS = 6, BRANDS = 8, TRAIN_BRANDS = 6, MAX_ROWS = BRANDS * PRODUCTS * 6 };

static const char *const PRODUCT[PRODUCTS][3] = {       // what a title says, what buyers say, and what goes with it
    {"earbuds", "headphones", "case"},   {"smartphone", "mobile", "cover"}, {"notebook", "laptop", "sleeve"},
    {"bicycle", "bike", "helmet"},       {"sofa", "couch", "cushion"},      {"television", "tv", "stand"},
};
static const char *const BRAND[BRANDS] = {"zephyra", "norvik", "tavo", "karoo", "pixelon", "kestra", "ombrelle", "lumipod"};

typedef struct table { char text[32768]; size_t size; } table;
static void add(table *t, const char *brand, int product, const char *keyphrase, const char *more, int label) {
    t->size += (size_t)snprintf(t->text + t->size, sizeof t->text - t->size, "%s%s%s\t%s %s new\t%s\t%d\n", keyphrase,
                                *more ? " " : "", more, brand, PRODUCT[product][0], PRODUCT[product][0], label);
}

// Rows of keyphrase, title, category, label.
static void make_table(table *t, int first, int end) {
    t->size = 0;
    for (int b = first; b < end; b++)
        for (int p = 0; p < PRODUCTS; p++) {
            int other = (p + 1 + b % (PRODUCTS - 1)) % PRODUCTS;
            add(t, BRAND[b], p, PRODUCT[p][0], "", 1);
            add(t, BRAND[b], p, PRODUCT[p][1], "", 1);
            add(t, BRAND[b], p, BRAND[b], PRODUCT[p][1], 1);
            add(t, BRAND[b], p, PRODUCT[p][0], PRODUCT[p][2], 0);
            add(t, BRAND[b], p, BRAND[b], PRODUCT[p][2], 0);
            add(t, BRAND[b], p, PRODUCT[other][1], "", 0);
        }
}

static kpd_status open_table(const table *t, kpdt_dataset **out, kpd_error *e) {
    kpdt_dataset_desc d;
    memset(&d, 0, sizeof d);
    d.data = t->text; d.size = t->size;
    d.columns[0] = KPDT_COL_KEYPHRASE; d.columns[1] = KPDT_COL_TITLE; d.columns[2] = KPDT_COL_CATEGORY;
    d.columns[3] = KPDT_COL_LABEL;
    return kpdt_dataset_open(&d, out, e);
}

// AUC of a model's logits against the labels.
static kpd_status measure(const char *when, const kpd_model *m, const kpdt_dataset *x, kpd_error *e) {
    static kpd_input in[MAX_ROWS];
    static float logit[MAX_ROWS];
    static uint8_t yes[MAX_ROWS];
    size_t n = (size_t)kpdt_dataset_rows(x);                // at most MAX_ROWS, as make_table has it
    kpd_session_desc d;
    kpd_session *session = NULL;
    kpdt_classification c;
    kpdt_row row;
    kpd_row texts;
    kpd_status s;
    for (size_t i = 0; i < n; i++) {
        if (kpdt_dataset_get(x, (int64_t)i, &row, e)) return e->status;
        texts.keyphrase = row.keyphrase; texts.category = row.category; texts.title = row.title;
        kpd_model_input(m, KPD_ITEM, &texts, &in[i]);
        yes[i] = row.label >= 0.5f;
    }
    memset(&d, 0, sizeof d);
    d.assistant = m;
    s = kpd_session_create(&d, &session, e);
    if (!s) s = kpd_score(session, m, in, n, logit, e);
    if (!s) s = kpdt_classify(logit, yes, n, NULL, NULL, &c, e);
    if (!s) printf("%s: AUC %.3f  F1 %.3f on %d pairs of unseen brands\n", when, c.auc, c.f1, (int)n);
    kpd_session_destroy(session);
    return s;
}

static kpd_status train(const kpd_model *start, const kpdt_dataset *data, kpd_model **trained, kpd_error *e) {
    kpdt_source source;
    kpdt_trainer_desc d;
    kpdt_trainer *t = NULL;
    kpdt_report r;
    kpd_status s;
    memset(&source, 0, sizeof source); memset(&d, 0, sizeof d); memset(&r, 0, sizeof r);
    source.data = data; source.losses[0].loss = KPDT_BCE;
    d.start = start; d.sources = &source; d.n_sources = 1;
    d.batch = 16; d.epochs = 12; d.rate = 1e-3f; d.warmup = 0.1f; d.max_tokens = 512; d.seed = 1;
    s = kpdt_trainer_create(&d, &t, e);
    while (!s && !r.done) {
        s = kpdt_trainer_step(t, &r, e);
        if (!s && (r.step % 40 == 0 || r.done)) printf("step %3d  loss %.4f\n", (int)r.step, (double)r.loss);
    }
    if (!s) s = kpdt_trainer_model(t, false, trained, e);
    kpdt_trainer_destroy(t);
    return s;
}

int main(void) {
    static table learn, dev;
    const char *const words[] = {learn.text, dev.text};
    kpdt_dataset *data = NULL, *test = NULL;
    kpd_model *start = NULL, *trained = NULL;
    kpd_error e;
    kpd_status s;
    make_table(&learn, 0, TRAIN_BRANDS);
    make_table(&dev, TRAIN_BRANDS, BRANDS);
    s = tiny_assistant(words, 2, &start, &e);
    if (!s) s = open_table(&learn, &data, &e);
    if (!s) s = open_table(&dev, &test, &e);
    if (!s) s = measure("before", start, test, &e);
    if (!s) s = train(start, data, &trained, &e);
    if (!s) s = measure("after ", trained, test, &e);
    kpd_model_destroy(trained);                               // kpd_model_save would keep it
    kpd_model_destroy(start);
    kpdt_dataset_destroy(test); kpdt_dataset_destroy(data);
    if (s) fprintf(stderr, "07_train_assistant: %s: %s\n", kpd_status_name(s), e.message);
    return s != KPD_OK;
}
