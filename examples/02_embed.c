// 02_embed: which keyphrases are near an item? A bi-encoder embeds both, their cosine says.
//
//     build/02_embed [STUDENT.kpd]     without a model: one made in code, which only knows equal words (tiny.h)
#define KPD_IMPLEMENTATION
#include "../kpd.h"
#include "tiny.h"
#include <stdio.h>
#include <string.h>

enum { DIM = 64, N = 4 };               // the first 64 columns, as a Matryoshka-trained model allows

static const char *const TITLE = "Genuine 15V 4A AC Adapter Charger for Surface Pro 3 4 5 6";
static const char *const CATEGORY = "Laptop Power Adapters";
static const char *const PHRASES[N] = {"surface pro charger", "laptop adapter", "laptop sleeve", "yellow iphone"};

static kpd_status open_student(const char *path, kpd_model **m, kpd_error *e) {
    const char *texts[N + 2] = {TITLE, CATEGORY};
    if (path) return kpd_model_open(path, NULL, m, e);
    for (int i = 0; i < N; i++) texts[2 + i] = PHRASES[i];
    return tiny_student(texts, N + 2, m, e);
}

// One call embeds any number of texts; the same text gives the same bits alone or among others.
static kpd_status compare(kpd_session *s, const kpd_model *m, kpd_error *e) {
    kpd_input item = kpd_input_str(TITLE, CATEGORY, NULL), phrases[N];
    float a[DIM], b[N][DIM];
    kpd_status status;
    for (int i = 0; i < N; i++) phrases[i] = kpd_input_str(PHRASES[i], NULL, NULL);
    status = kpd_embed(s, m, KPD_ITEM, &item, 1, DIM, a, e);
    if (!status) status = kpd_embed(s, m, KPD_KEYPHRASE, phrases, N, DIM, b[0], e);
    if (status) return status;
    printf("%s\n", TITLE);
    for (int i = 0; i < N; i++) printf("  %6.3f  %s\n", (double)kpd_cosine(a, b[i], DIM), PHRASES[i]);
    return KPD_OK;
}

int main(int argc, char **argv) {
    kpd_error e;
    kpd_model *m = NULL;
    kpd_session *session = NULL;
    kpd_session_desc d;
    kpd_status s = open_student(argc > 1 ? argv[1] : NULL, &m, &e);
    memset(&d, 0, sizeof d);            // zero means default
    d.student = m;                      // a session is the working memory of one caller, sized for its models
    if (!s) s = kpd_session_create(&d, &session, &e);
    if (!s) s = compare(session, m, &e);
    if (s) fprintf(stderr, "02_embed: %s: %s\n", kpd_status_name(s), e.message);
    kpd_session_destroy(session);
    kpd_model_destroy(m);
    return s != KPD_OK;
}
