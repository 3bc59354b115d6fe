// Runs the suites: build/tests [--filter=TEXT]. Ends with "N passed, N failed"; exit status 1 when something failed.
#include "test.h"
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#ifndef SUITES          // make's ONLY names some of them
#define SUITES(X) X(errors) X(tokenizer) X(tokenizer_same) X(kernels) X(kernels_emulated) X(file) X(hostile) X(model) X(encoder) \
                  X(convert) X(convert_emulated) X(index) X(tree) X(life) X(recommend) X(memory) X(hf) X(losses) X(layers) X(mlm) \
                  X(data) X(trainer) X(negatives) X(refresh) X(metrics) X(vocabulary) X(shop) X(pool) X(embed_in_hosts)
#endif
#define DECLARE(name) void suite_##name(void);
SUITES(DECLARE)

static const char *filter = "";
static int n_passed, n_failed;
static bool test_failed;

void test_run(const char *suite, const char *name, void (*test)(void)) {
    char full[128];
    snprintf(full, sizeof full, "%s.%s", suite, name);
    if (!strstr(full, filter)) return;
    test_failed = false;
    test();
    if (test_failed) n_failed++; else n_passed++;
    printf("%s %s\n", test_failed ? "FAIL" : "ok  ", full);
    fflush(stdout);
}

bool test_check(bool ok, const char *file, int line, const char *what, ...) {
    va_list args;
    if (ok) return true;
    test_failed = true;
    printf("%s:%d: ", file, line);
    va_start(args, what);
    vprintf(what, args);
    va_end(args);
    printf("\n");
    return false;
}

bool test_check_status(int got, int want, const char *file, int line, const char *what) {
    return test_check(got == want, file, line, "%s: status %d, expected %d", what, got, want);
}

bool test_check_int(long long got, long long want, const char *file, int line, const char *what) {
    return test_check(got == want, file, line, "%s: %lld, expected %lld", what, got, want);
}

bool test_check_near(double got, double want, double tolerance, const char *file, int line, const char *what) {
    return test_check(fabs(got - want) <= tolerance, file, line, "%s: %.9g, expected %.9g within %.3g", what, got, want,
                      tolerance);
}

const char *test_tmp(const char *name) {
    static char path[8][256];
    static int next;
    next = (next + 1) % 8;
    snprintf(path[next], sizeof path[next], "build/tmp/%s", name);
    return path[next];
}

int main(int argc, char **argv) {
    for (int i = 1; i < argc; i++) {
        if (!strncmp(argv[i], "--filter=", 9)) filter = argv[i] + 9;
        else return fprintf(stderr, "usage: tests [--filter=TEXT]\n"), 2;
    }
#define CALL(name) suite_##name();
    SUITES(CALL)
    printf("%d passed, %d failed\n", n_passed, n_failed);
    return n_failed != 0;
}
