// 06_host_allocator_and_threads: what a host program lends: its allocator, and its threads.
//
//     build/06_host_allocator_and_threads [STUDENT.kpd]
//
// kpd starts no thread and calls no malloc of its own when it is given others. A session takes its memory at once; embedding
// allocates nothing. Work is split over as many threads as the host lends, and the result has the same bits every time.
#define KPD_IMPLEMENTATION
#define KPD_THREADS                     // for the built-in pool; a host with its own scheduler fills a kpd_parallel instead
#include "../kpd.h"
#include "tiny.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N = 300, DIM = 64 };

typedef struct ledger { size_t in_use, calls; } ledger;         // not locked: kpd allocates on the calling thread only

static void *ledger_alloc(void *user, size_t size) {
    ledger *l = (ledger *)user;
    void *p = malloc(size);
    if (!p) return NULL;
    l->calls++;
    l->in_use += size;
    return p;
}

static void ledger_free(void *user, void *p, size_t size) {     // size is what was asked for
    ledger *l = (ledger *)user;
    if (p) l->in_use -= size;
    free(p);
}

// Embeds N texts in a session of its own.
static kpd_status embed(const kpd_model *m, const kpd_allocator *a, const kpd_parallel *p, const ledger *l, float *out,
                        kpd_error *e) {
    static const char *const words[] = {"charger", "case", "lamp", "helmet", "lens"};
    char text[N][32];
    kpd_input in[N];
    kpd_session *s = NULL;
    kpd_session_desc d;
    kpd_status status;
    size_t calls;
    memset(&d, 0, sizeof d);
    d.student = m;
    d.parallel = *p;
    d.allocator = *a;
    for (int i = 0; i < N; i++) {
        snprintf(text[i], sizeof text[i], "%s number %d", words[i % 5], i);
        in[i] = kpd_input_str(text[i], NULL, NULL);
    }
    status = kpd_session_create(&d, &s, e);
    if (status) return status;
    calls = l->calls;
    status = kpd_embed(s, m, KPD_KEYPHRASE, in, N, DIM, out, e);
    printf("%d thread(s): %d texts, session of %zu bytes, %zu allocations while embedding\n", p->run ? (int)p->n_threads : 1,
           (int)N, kpd_session_size(s), l->calls - calls);
    kpd_session_destroy(s);
    return status;
}

static kpd_status compare(const kpd_model *m, const kpd_allocator *a, const ledger *l, kpd_error *e) {
    static float one[N * DIM], four[N * DIM];
    kpd_parallel none = {NULL, NULL, 0}, threads;
    kpd_pool *pool = NULL;
    kpd_status s = kpd_pool_create(4, a, &pool, e);
    if (s) return s;
    threads = *kpd_pool_parallel(pool);
    s = embed(m, a, &none, l, one, e);
    if (!s) s = embed(m, a, &threads, l, four, e);
    kpd_pool_destroy(pool);
    if (!s) printf("the results are %s\n", memcmp(one, four, sizeof one) ? "DIFFERENT" : "the same bits");
    return s;
}

int main(int argc, char **argv) {
    static const char *const texts[] = {"charger case lamp helmet lens number"};
    kpd_error e;
    kpd_model *m = NULL;
    ledger l = {0, 0};
    kpd_allocator a;
    kpd_open_desc d;
    kpd_status s;
    memset(&d, 0, sizeof d);
    a.alloc = ledger_alloc;
    a.free = ledger_free;
    a.user = &l;
    d.allocator = a;
    s = argc > 1 ? kpd_model_open(argv[1], &d, &m, &e) : tiny_student(texts, 1, &m, &e);
    if (!s) s = compare(m, &a, &l, &e);
    kpd_model_destroy(m);
    printf("%zu allocations in all, %zu bytes still in use\n", l.calls, l.in_use);
    if (s) fprintf(stderr, "06_host_allocator_and_threads: %s: %s\n", kpd_status_name(s), e.message);
    return s != KPD_OK;
}
