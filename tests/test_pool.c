// The built-in pool: what the system may refuse, fork, signals, and a run inside of a run. Its own copy of the library, scalar,
// in which each call that makes a thread or a lock can be told to fail.
#if defined(_WIN32) || defined(__EMSCRIPTEN__)     // without fork, or threads
#include "test.h"
SUITE(pool) { }
#else
#define _POSIX_C_SOURCE 200809L
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int calls, failing;              // the call of that number fails; 0 = none
static int refuses(void) { return ++calls == failing ? 11 : 0; }
static int make_thread(pthread_t *t, void *(*run)(void *), void *arg) {
    int error = refuses();
    return error ? error : pthread_create(t, NULL, run, arg);
}
static int make_mutex(pthread_mutex_t *m) { int error = refuses(); return error ? error : pthread_mutex_init(m, NULL); }
static int make_cond(pthread_cond_t *c) { int error = refuses(); return error ? error : pthread_cond_init(c, NULL); }
#define pthread_create(t, attributes, run, arg) make_thread(t, run, arg)
#define pthread_mutex_init(m, attributes) make_mutex(m)
#define pthread_cond_init(c, attributes) make_cond(c)
#define KPD_IMPLEMENTATION
#define KPD_STATIC
#define KPD_THREADS
#define KPD_NO_SIMD
#include "../kpd.h"
#undef pthread_create
#undef pthread_mutex_init
#undef pthread_cond_init
#include "test.h"

// An allocator that spoils what it takes back.
static void *give(void *user, size_t size) { ++*(int *)user; return malloc(size); }
static void take_back(void *user, void *p, size_t size) {
    --*(int *)user;
    for (volatile unsigned char *c = (volatile unsigned char *)p; size--;) *c++ = 0xDD;
    free(p);
}

// Whatever is refused, nothing of the pool stays behind, and the message is of the pool that is gone.
static void refused(void) {
    for (int which = 1; which <= 4 + 7; which++) {
        int blocks = 0;
        char expected[64] = "pool: the system refused a lock";
        kpd_allocator a;
        kpd_pool *p = NULL;
        kpd_error e;
        a.alloc = give; a.free = take_back; a.user = &blocks;
        calls = 0; failing = which;
        CHECK_STATUS(kpd_pool_create(8, &a, &p, &e), KPD_ERR_MEMORY);
        failing = 0;
        if (which > 4) snprintf(expected, sizeof expected, "pool: the system refused thread %d of 8", which - 4);
        CHECK_THAT(!strcmp(e.message, expected), "\"%s\", expected \"%s\"", e.message, expected);
        CHECK(!p && !blocks);
    }
}

// Runs f in a child process, which must end within 20 seconds.
static int in_child(int (*f)(kpd_pool *), kpd_pool *p) {
    int status = -1;
    pid_t child = fork();
    if (!child) {
        alarm(20);
        _exit(f(p));
    }
    if (child < 0 || waitpid(child, &status, 0) != child || !WIFEXITED(status)) return -1;
    return WEXITSTATUS(status);
}

typedef struct counted { kpd_parallel parallel; int n[16]; } counted;
static void count(void *arg, int32_t i) { ((counted *)arg)->n[i]++; }

static int runs_all(kpd_pool *p) {
    counted c;
    memset(&c, 0, sizeof c);
    c.parallel = *kpd_pool_parallel(p);
    c.parallel.run(c.parallel.user, 16, count, &c);
    for (int i = 0; i < 16; i++)
        if (c.n[i] != 1) return 1;
    return 0;
}

static int runs_and_destroys(kpd_pool *p) {
    int failed = runs_all(p);
    kpd_pool_destroy(p);
    return failed;
}

static void fork_leaves_a_pool_of_one(void) {
    const struct timespec a_moment = {0, 50 * 1000 * 1000};
    kpd_pool *p;
    CHECK_OK(kpd_pool_create(3, NULL, &p, NULL));
    CHECK_INT(runs_all(p), 0);
    nanosleep(&a_moment, NULL);   // the threads wait for work
    CHECK_INT(in_child(runs_and_destroys, p), 0);
    CHECK_INT(runs_all(p), 0);
    kpd_pool_destroy(p);
}

static void outer(void *arg, int32_t i) {
    counted *all = (counted *)arg, own;
    memset(&own, 0, sizeof own);
    all->parallel.run(all->parallel.user, 16, count, &own);
    for (int k = 0; k < 16; k++) all->n[i] += own.n[k];
}

static int nests(kpd_pool *unused) {
    counted c;
    kpd_pool *p;
    (void)unused;
    memset(&c, 0, sizeof c);
    if (kpd_pool_create(4, NULL, &p, NULL)) return 2;
    c.parallel = *kpd_pool_parallel(p);
    c.parallel.run(c.parallel.user, 16, outer, &c);
    kpd_pool_destroy(p);
    for (int i = 0; i < 16; i++)
        if (c.n[i] != 16) return 1;
    return 0;
}

static void a_task_may_use_its_own_pool(void) { CHECK_INT(in_child(nests, NULL), 0); }

// Each task waits until all have begun, so that each of the 4 has a thread of its own.
typedef struct meeting {
    pthread_mutex_t lock; pthread_cond_t all;
    int here;
    pthread_t self;
    sigset_t mask[4]; bool caller[4];
} meeting;

static void meet(void *arg, int32_t i) {
    meeting *m = (meeting *)arg;
    pthread_sigmask(SIG_SETMASK, NULL, &m->mask[i]);
    m->caller[i] = pthread_equal(m->self, pthread_self());
    pthread_mutex_lock(&m->lock);
    if (++m->here == 4) pthread_cond_broadcast(&m->all);
    while (m->here < 4) pthread_cond_wait(&m->all, &m->lock);
    pthread_mutex_unlock(&m->lock);
}

static void signals_are_the_hosts(void) {
    meeting m;
    kpd_pool *p;
    kpd_parallel run;
    memset(&m, 0, sizeof m);
    pthread_mutex_init(&m.lock, NULL);
    pthread_cond_init(&m.all, NULL);
    m.self = pthread_self();
    CHECK_OK(kpd_pool_create(4, NULL, &p, NULL));
    run = *kpd_pool_parallel(p);
    run.run(run.user, 4, meet, &m);
    kpd_pool_destroy(p);
    for (int i = 0; i < 4; i++) {
        CHECK_INT(sigismember(&m.mask[i], SIGINT), !m.caller[i]);
        CHECK_INT(sigismember(&m.mask[i], SIGALRM), !m.caller[i]);
        CHECK_INT(sigismember(&m.mask[i], SIGBUS), 0);
    }
    pthread_cond_destroy(&m.all);
    pthread_mutex_destroy(&m.lock);
}

SUITE(pool) {
    RUN(pool, refused);
    RUN(pool, fork_leaves_a_pool_of_one);
    RUN(pool, a_task_may_use_its_own_pool);
    RUN(pool, signals_are_the_hosts);
}
#endif
