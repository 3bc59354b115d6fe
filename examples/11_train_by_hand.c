// 11_train_by_hand: train a bi-encoder phase by phase: forward, a loss, backward, apply.
//
//     build/11_train_by_hand
//
// The student knows only which words are equal, so that "notebook sleeve" and "laptop case" have nothing in common. Each
// step embeds all items and all keyphrases; the loss, MNR, wants each item nearest to its own keyphrase among those of the
// others. The host computes the loss: it could weigh pairs, join losses, or add up gradients over machines before apply.
// The first gradients are huge, since this student's special tokens begin as zero vectors, which a norm divides by 1e-6:
// hence clipping.
#define KPD_IMPLEMENTATION
#define KPD_TRAIN_IMPLEMENTATION
#include "../kpd_train.h"
#include "tiny.h"

enum { PAIRS = 5, STEPS = 30 };

static const char *const TEXT[2 * PAIRS] = {
    "laptop case 13 inch grey", "wireless earbuds blue", "usb c charger 65w", "stovetop coffee maker", "phone case pro",
    "notebook sleeve",          "bluetooth headphones",  "power adapter",     "espresso pot",          "mobile cover",
};

static kpd_status step(kpdt_trainer *t, const kpd_input *in, float *v, float *dv, size_t dim, float *loss, kpdt_report *r,
                       kpd_error *e) {
    float work[2 * PAIRS * PAIRS];
    kpdt_loss_desc d;
    kpdt_vectors x;
    kpd_status s;
    memset(&d, 0, sizeof d);
    memset(&x, 0, sizeof x);
    memset(dv, 0, 2 * PAIRS * dim * sizeof *dv);            // losses add to da and db
    d.loss = KPDT_MNR;
    x.a = v; x.b = v + PAIRS * dim; x.na = x.nb = PAIRS; x.dim = (int32_t)dim; x.work = work;
    x.da = dv; x.db = dv + PAIRS * dim;
    s = kpdt_trainer_forward(t, KPD_ITEM, in, PAIRS, v, e);
    if (!s) s = kpdt_trainer_forward(t, KPD_KEYPHRASE, in + PAIRS, PAIRS, v + PAIRS * dim, e);
    if (!s) s = kpdt_loss_vectors(&d, &x, loss, e);
    if (!s) s = kpdt_trainer_backward(t, KPD_ITEM, x.da, e);
    if (!s) s = kpdt_trainer_backward(t, KPD_KEYPHRASE, x.db, e);
    if (!s) s = kpdt_trainer_apply(t, r, e);
    return s;
}

// Each item's cosine with its own keyphrase, before and after.
static kpd_status show(const kpd_model *before, const kpd_model *after, const kpd_input *in, float *v, size_t dim,
                       kpd_error *e) {
    float cosine[2][PAIRS];
    kpd_status s = KPD_OK;
    for (int m = 0; m < 2 && !s; m++) {
        kpd_session_desc d;
        kpd_session *session = NULL;
        memset(&d, 0, sizeof d);
        d.student = m ? after : before;
        s = kpd_session_create(&d, &session, e);
        if (!s) s = kpd_embed(session, d.student, KPD_ITEM, in, PAIRS, 0, v, e);
        if (!s) s = kpd_embed(session, d.student, KPD_KEYPHRASE, in + PAIRS, PAIRS, 0, v + PAIRS * dim, e);
        for (size_t i = 0; !s && i < PAIRS; i++) cosine[m][i] = kpd_cosine(v + i * dim, v + (PAIRS + i) * dim, (int32_t)dim);
        kpd_session_destroy(session);
    }
    for (int i = 0; !s && i < PAIRS; i++)
        printf("cosine %5.2f -> %4.2f  %s, %s\n", (double)cosine[0][i], (double)cosine[1][i], TEXT[i], TEXT[PAIRS + i]);
    return s;
}

static kpd_status train(const kpd_model *start, kpdt_trainer **t, kpd_model **trained, kpd_error *e) {
    float v[2 * PAIRS * TINY_WIDTH], dv[2 * PAIRS * TINY_WIDTH], loss;
    kpd_input in[2 * PAIRS];
    kpdt_trainer_desc d;
    kpdt_report r;
    kpd_status s;
    for (int i = 0; i < 2 * PAIRS; i++) in[i] = kpd_input_str(TEXT[i], NULL, NULL);
    memset(&d, 0, sizeof d);
    d.start = start; d.steps = STEPS; d.rate = 1e-3f; d.warmup = 0.1f; d.max_tokens = 256;
    s = kpdt_trainer_create(&d, t, e);
    for (int i = 0; !s && i < STEPS; i++) {
        s = step(*t, in, v, dv, TINY_WIDTH, &loss, &r, e);
        if (!s && (i % 5 == 0 || i == STEPS - 1))
            printf("step %2d  loss %.4f  rate %.5f  gradient %.2g\n", (int)r.step, (double)loss, (double)r.rate,
                   (double)r.grad_norm);
    }
    if (!s) s = kpdt_trainer_model(*t, false, trained, e);
    if (!s) s = show(start, *trained, in, v, TINY_WIDTH, e);
    return s;
}

int main(void) {
    kpd_model *start = NULL, *trained = NULL;
    kpdt_trainer *t = NULL;
    kpd_error e;
    kpd_status s = tiny_student(TEXT, 2 * PAIRS, &start, &e);
    if (!s) s = train(start, &t, &trained, &e);
    kpdt_trainer_destroy(t);
    kpd_model_destroy(trained);                               // kpd_model_save would keep it
    kpd_model_destroy(start);
    if (s) return fprintf(stderr, "11_train_by_hand: %s: %s\n", kpd_status_name(s), e.message), 1;
    return 0;
}
