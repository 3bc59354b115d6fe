// 04_search: an index of vectors with ids of your own; add, replace, remove, save, open, search.
//
//     build/04_search [FILE.kpi]       where to save the index; without it, it is not saved
//
// The vectors can come from anywhere; here they are points on a circle, so that the answers can be checked by eye. The
// search is exact: nothing that belongs into the k best is ever missing.
#define KPD_IMPLEMENTATION
#include "../kpd.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { N = 36, K = 4 };                 // a vector every 10 degrees, id = its angle

static void point(float *v, double degrees) {
    v[0] = (float)cos(degrees * 3.14159265358979 / 180);
    v[1] = (float)sin(degrees * 3.14159265358979 / 180);
}

static kpd_status fill(kpd_index *x, kpd_error *e) {
    int64_t ids[N];
    float v[N][2];
    for (int i = 0; i < N; i++) {
        ids[i] = 10 * i;
        point(v[i], 10 * i);
    }
    return kpd_index_upsert(x, ids, v[0], N, e);        // adds; an id that is there gets the new vector
}

static bool not_180(void *user, int64_t id) { return (void)user, id != 180; }

// The nearest ids to an angle. d has room for more: how many, from which score on, which ids.
static kpd_status ask(kpd_session *s, const kpd_index *x, double degrees, const kpd_search_desc *d, kpd_error *e) {
    float q[2];
    kpd_hit hits[K];
    int32_t count;
    kpd_status status;
    point(q, degrees);
    status = kpd_index_search(s, x, q, 1, d, hits, &count, e);
    if (status) return status;
    printf("%5.0f degrees:", degrees);
    for (int32_t i = 0; i < count; i++) printf("  %d (%.3f)", (int)hits[i].id, (double)hits[i].score);
    printf("\n");
    return KPD_OK;
}

static kpd_status ask_all(kpd_session *s, const kpd_index *x, kpd_error *e) {
    kpd_search_desc best, near, filtered;
    kpd_status status;
    memset(&best, 0, sizeof best);
    best.k = K;
    near = filtered = best;
    near.threshold = true;
    near.min_score = 0.99f;                             // at most about 8 degrees away
    filtered.filter = not_180;
    status = ask(s, x, 93, &best, e);
    if (!status) status = ask(s, x, 93, &near, e);
    if (!status) status = ask(s, x, 180, &filtered, e);
    return status;
}

static kpd_status save_and_open(kpd_index *x, const char *path, kpd_error *e) {
    kpd_index *again = NULL;
    kpd_status s = kpd_index_save(x, path, e);          // the old file or the whole new one, whatever happens
    if (!s) s = kpd_index_open(path, NULL, &again, e);  // mapped: takes a millisecond, one copy for all processes
    if (!s) printf("%s: %d vectors\n", path, (int)kpd_index_count(again));
    kpd_index_destroy(again);
    return s;
}

int main(int argc, char **argv) {
    kpd_error e;
    kpd_index *x = NULL;
    kpd_session *session = NULL;
    kpd_index_desc d;
    kpd_session_desc sd;
    int64_t gone = 90;
    kpd_status s;
    memset(&d, 0, sizeof d);            // zero means default: the metric is cosine
    memset(&sd, 0, sizeof sd);
    d.dim = 2;
    sd.max_dim = 2;
    sd.max_k = K;
    s = kpd_index_create(&d, &x, &e);
    if (!s) s = kpd_session_create(&sd, &session, &e);
    if (!s) s = fill(x, &e);
    if (!s) s = ask_all(session, x, &e);
    if (!s) s = kpd_index_remove(x, &gone, 1, NULL, &e);
    if (!s) printf("without 90:\n");
    if (!s) s = ask_all(session, x, &e);
    if (!s && argc > 1) s = save_and_open(x, argv[1], &e);
    if (s) fprintf(stderr, "04_search: %s: %s\n", kpd_status_name(s), e.message);
    kpd_session_destroy(session);
    kpd_index_destroy(x);
    return s != KPD_OK;
}
