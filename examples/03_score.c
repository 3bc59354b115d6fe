// 03_score: is this keyphrase relevant to this item? A cross-encoder reads both at once and gives a logit.
//
//     build/03_score [ASSISTANT.kpd]   without a model: one made in code, which counts common words (tiny.h)
//
// A bi-encoder's cosine is cheap, since each side is embedded once. A cross-encoder needs a pass for every pair, but sees
// which word meets which: so it judges the few candidates that a search has found.
#define KPD_IMPLEMENTATION
#include "../kpd.h"
#include "tiny.h"
#include <stdio.h>
#include <string.h>

enum { N = 4 };

static const char *const TITLE = "Kestra Trail 40L Hiking Backpack Waterproof with Rain Cover";
static const char *const CATEGORY = "Backpacks";
static const char *const PHRASES[N] = {"kestra hiking backpack", "waterproof backpack", "school backpack", "rubber boots"};

static kpd_status open_assistant(const char *path, kpd_model **m, kpd_error *e) {
    const char *texts[N + 2] = {TITLE, CATEGORY};
    if (path) return kpd_model_open(path, NULL, m, e);
    for (int i = 0; i < N; i++) texts[2 + i] = PHRASES[i];
    return tiny_assistant(texts, N + 2, m, e);
}

static kpd_status judge(kpd_session *s, const kpd_model *m, kpd_error *e) {
    kpd_input pairs[N];
    float logits[N];
    kpd_status status;
    if (kpd_model_dim(m) != 1) return printf("this model has %d labels; expected 1\n", (int)kpd_model_dim(m)), KPD_OK;
    for (int i = 0; i < N; i++) pairs[i] = kpd_input_str(PHRASES[i], CATEGORY, TITLE);    // the order of a pair's parts
    status = kpd_score(s, m, pairs, N, logits, e);
    if (status) return status;
    printf("%s\n", TITLE);
    for (int i = 0; i < N; i++)
        printf("  logit %6.3f  probability %.3f  %s\n", (double)logits[i], (double)kpd_sigmoid(logits[i]), PHRASES[i]);
    return KPD_OK;
}

int main(int argc, char **argv) {
    kpd_error e;
    kpd_model *m = NULL;
    kpd_session *session = NULL;
    kpd_session_desc d;
    kpd_status s = open_assistant(argc > 1 ? argv[1] : NULL, &m, &e);
    memset(&d, 0, sizeof d);            // zero means default
    d.assistant = m;
    if (!s) s = kpd_session_create(&d, &session, &e);
    if (!s) s = judge(session, m, &e);
    if (s) fprintf(stderr, "03_score: %s: %s\n", kpd_status_name(s), e.message);
    kpd_session_destroy(session);
    kpd_model_destroy(m);
    return s != KPD_OK;
}
