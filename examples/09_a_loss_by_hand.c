// 09_a_loss_by_hand: distil a teacher's scores into vectors, with no trainer: a loss and its gradient, and plain descent.
//
//     build/09_a_loss_by_hand
//
// The student is a table: a vector for each item and each keyphrase. The teacher says how probable it is that a keyphrase is
// relevant to an item. The Pearson loss asks the cosines only to rise and fall as the teacher does; the contrastive loss asks
// for 1 where the label is yes and for at most .5 where it is no. Both use the first 2 columns too (Matryoshka).
#define KPD_IMPLEMENTATION
#define KPD_TRAIN_IMPLEMENTATION
#include "../kpd_train.h"
#include <stdio.h>
#include <string.h>

enum { ITEMS = 3, PHRASES = 4, PAIRS = ITEMS * PHRASES, DIM = 4, STEPS = 400 };

static const char *const ITEM[ITEMS] = {"wireless earbuds blue", "usb-c charger 65w", "stovetop espresso maker"};
static const char *const PHRASE[PHRASES] = {"earbuds", "charger", "coffee", "bluetooth"};
static const float TEACHER[PAIRS] = {
    0.97f, 0.12f, 0.01f, 0.90f,
    0.05f, 0.99f, 0.02f, 0.10f,
    0.01f, 0.03f, 0.93f, 0.02f,
};

// The same start for everybody: small numbers from a fixed generator.
static void start(float *v, size_t n) {
    uint32_t state = 2024;
    for (size_t i = 0; i < n; i++) v[i] = (float)((state = state * 1664525u + 1013904223u) >> 8) / 8388608.0f - 1.0f;
}

// Row i of a and b is pair i, as a loss wants it: the vector of each pair's item and keyphrase.
static void gather(const float *table, const int *row, float *out) {
    for (int i = 0; i < PAIRS; i++) memcpy(out + i * DIM, table + row[i] * DIM, DIM * sizeof *out);
}

static void descend(float *table, const int *row, const float *gradient, float rate) {
    for (int i = 0; i < PAIRS; i++)
        for (int k = 0; k < DIM; k++) table[row[i] * DIM + k] -= rate * gradient[i * DIM + k];
}

static void show(const float *items, const float *phrases) {
    printf("%-26s", "cosine (teacher)");
    for (int j = 0; j < PHRASES; j++) printf("%14s", PHRASE[j]);
    for (int i = 0; i < ITEMS; i++) {
        printf("\n%-26s", ITEM[i]);
        for (int j = 0; j < PHRASES; j++)
            printf("  %5.2f (%.2f)", (double)kpd_cosine(items + i * DIM, phrases + j * DIM, DIM),
                   (double)TEACHER[i * PHRASES + j]);
    }
    printf("\n");
}

static kpd_status train(float *items, float *phrases, kpd_error *e) {
    float a[PAIRS * DIM], b[PAIRS * DIM], da[PAIRS * DIM], db[PAIRS * DIM], work[2 * PAIRS], label[PAIRS], pearson, contrastive;
    int item[PAIRS], phrase[PAIRS];
    kpdt_loss_desc d[2];
    kpdt_vectors v;
    kpd_status s = KPD_OK;
    memset(d, 0, sizeof d);
    memset(&v, 0, sizeof v);
    for (int i = 0; i < PAIRS; i++) {
        item[i] = i / PHRASES;
        phrase[i] = i % PHRASES;
        label[i] = TEACHER[i] >= 0.5f ? 1.0f : 0.0f;
    }
    d[0].loss = KPDT_PEARSON;
    d[1].loss = KPDT_CONTRASTIVE;
    for (int i = 0; i < 2; i++) { d[i].dims[0] = DIM; d[i].dims[1] = 2; }
    v.a = a; v.b = b; v.na = v.nb = PAIRS; v.dim = DIM; v.work = work; v.da = da; v.db = db;
    for (int step = 0; !s && step <= STEPS; step++) {
        gather(items, item, a);
        gather(phrases, phrase, b);
        memset(da, 0, sizeof da);           // losses add to da and db, so two losses need nothing more
        memset(db, 0, sizeof db);
        v.t = TEACHER;
        s = kpdt_loss_vectors(&d[0], &v, &pearson, e);
        v.t = label;
        if (!s) s = kpdt_loss_vectors(&d[1], &v, &contrastive, e);
        if (s) return s;
        if (step % 100 == 0) printf("step %3d  pearson %.4f  contrastive %.4f\n", step, (double)pearson, (double)contrastive);
        descend(items, item, da, 0.3f);
        descend(phrases, phrase, db, 0.3f);
    }
    return s;
}

int main(void) {
    float table[(ITEMS + PHRASES) * DIM];
    kpd_error e;
    kpd_status s;
    start(table, sizeof table / sizeof *table);
    s = train(table, table + ITEMS * DIM, &e);
    if (s) return fprintf(stderr, "09_a_loss_by_hand: %s: %s\n", kpd_status_name(s), e.message), 1;
    show(table, table + ITEMS * DIM);
    return 0;
}
