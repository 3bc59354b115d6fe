// 05_recommend: the whole path. Embed an item, find the nearest keyphrases, drop duplicates and what the assistant doubts.
//
//     build/05_recommend [STUDENT.kpd ASSISTANT.kpd]       without models: two made in code (tiny.h)
#define KPD_IMPLEMENTATION
#include "../kpd.h"
#include "tiny.h"
#include <stdio.h>
#include <string.h>

enum { N_PHRASES = 12, N_ITEMS = 2, K = 8, DIM = 64 };

static const char *const PHRASES[N_PHRASES] = {
    "wireless earbuds", "earbuds wireless", "blue earbuds", "earbuds with charging case", "wireless mouse",
    "zephyra glide", "espresso maker", "stovetop espresso maker", "coffee grinder", "espresso cups",
    "aluminium espresso maker", "charging cable",
};
static const char *const ITEMS[N_ITEMS][2] = {
    {"Zephyra Glide 3 Wireless Earbuds with Charging Case Midnight Blue", "Earbuds"},
    {"Brewmont Stovetop Espresso Maker 6 Cup Aluminium", "Espresso Makers"},
};

typedef struct shop { kpd_model *student, *assistant; kpd_session *session; kpd_index *index; } shop;

static kpd_status open_models(shop *s, int argc, char **argv, kpd_error *e) {
    const char *texts[N_PHRASES + 2 * N_ITEMS];
    kpd_status status;
    size_t n = 0;
    for (int i = 0; i < N_PHRASES; i++) texts[n++] = PHRASES[i];
    for (int i = 0; i < 2 * N_ITEMS; i++) texts[n++] = ITEMS[i / 2][i % 2];
    if (argc > 2) status = kpd_model_open(argv[1], NULL, &s->student, e);
    else status = tiny_student(texts, n, &s->student, e);
    if (status) return status;
    return argc > 2 ? kpd_model_open(argv[2], NULL, &s->assistant, e) : tiny_assistant(texts, n, &s->assistant, e);
}

// The index holds the keyphrases; an id here is the place in the array.
static kpd_status build_index(shop *s, kpd_error *e) {
    kpd_input in[N_PHRASES];
    float v[N_PHRASES][DIM];
    int64_t ids[N_PHRASES];
    kpd_index_desc d;
    kpd_status status;
    memset(&d, 0, sizeof d);
    d.dim = DIM;
    for (int i = 0; i < N_PHRASES; i++) {
        in[i] = kpd_input_str(PHRASES[i], NULL, NULL);
        ids[i] = i;
    }
    status = kpd_embed(s->session, s->student, KPD_KEYPHRASE, in, N_PHRASES, DIM, v[0], e);
    if (!status) status = kpd_index_create(&d, &s->index, e);
    if (!status) status = kpd_index_upsert(s->index, ids, v[0], N_PHRASES, e);
    return status;
}

// The text of an id: from an array here, from a database elsewhere. {NULL, 0} would leave it out.
static bool lookup(void *user, int64_t id, kpd_text *out) {
    (void)user;
    out->data = PHRASES[id];
    out->size = strlen(out->data);
    return true;
}

static kpd_status recommend(shop *s, kpd_error *e) {
    kpd_input items[N_ITEMS];
    kpd_recommendation out[N_ITEMS][K];
    int32_t counts[N_ITEMS];
    kpd_recommend_desc d;
    kpd_status status;
    memset(&d, 0, sizeof d);
    d.student = s->student;
    d.index = s->index;
    d.assistant = s->assistant;
    d.search.k = K;                     // candidates, before the filters
    d.lookup = lookup;
    d.min_relevance = 0.5f;             // a probability
    d.same_words_are_duplicates = true;
    for (int i = 0; i < N_ITEMS; i++) items[i] = kpd_input_str(ITEMS[i][0], ITEMS[i][1], NULL);
    status = kpd_recommend(s->session, &d, items, N_ITEMS, out[0], counts, e);
    for (int i = 0; !status && i < N_ITEMS; i++) {
        printf("%s (%s)\n", ITEMS[i][0], ITEMS[i][1]);
        for (int32_t r = 0; r < counts[i]; r++)
            printf("  %-28s similarity %.3f  relevance %.3f\n", PHRASES[out[i][r].id], (double)out[i][r].similarity,
                   (double)out[i][r].relevance);
    }
    return status;
}

int main(int argc, char **argv) {
    kpd_error e;
    shop s = {NULL, NULL, NULL, NULL};
    kpd_session_desc d;
    kpd_status status = open_models(&s, argc, argv, &e);
    memset(&d, 0, sizeof d);
    d.student = s.student;
    d.assistant = s.assistant;
    if (!status) status = kpd_session_create(&d, &s.session, &e);
    if (!status) status = build_index(&s, &e);
    if (!status) status = recommend(&s, &e);
    if (status) fprintf(stderr, "05_recommend: %s: %s\n", kpd_status_name(status), e.message);
    kpd_session_destroy(s.session);
    kpd_index_destroy(s.index);
    kpd_model_destroy(s.student);
    kpd_model_destroy(s.assistant);
    return status != KPD_OK;
}
