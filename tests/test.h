// A small test harness. A suite is a function that RUNs tests; a test is a function that CHECKs. main.c lists the suites.
#ifndef TEST_H
#define TEST_H
#include <stdbool.h>
#include <stddef.h>

void test_run(const char *suite, const char *name, void (*test)(void));            // counts it, honours --filter
bool test_check(bool ok, const char *file, int line, const char *what, ...);        // prints and marks the test on failure
const char *test_tmp(const char *name);                                            // a path in build/tmp; valid until the 8th next call

#define SUITE(name) void suite_##name(void); void suite_##name(void)
#define RUN(suite, test) test_run(#suite, #test, test)
#define CHECK(cond) test_check((cond), __FILE__, __LINE__, "%s", #cond)
#define CHECK_THAT(cond, ...) test_check((cond), __FILE__, __LINE__, __VA_ARGS__)
#define CHECK_OK(call) CHECK_STATUS(call, KPD_OK)
#define CHECK_STATUS(call, want) test_check_status((int)(call), (int)(want), __FILE__, __LINE__, #call)
#define CHECK_INT(a, b) test_check_int((long long)(a), (long long)(b), __FILE__, __LINE__, #a " == " #b)
#define CHECK_NEAR(a, b, tolerance) test_check_near((double)(a), (double)(b), (double)(tolerance), __FILE__, __LINE__, #a " ~ " #b)
bool test_check_status(int got, int want, const char *file, int line, const char *what);
bool test_check_int(long long got, long long want, const char *file, int line, const char *what);
bool test_check_near(double got, double want, double tolerance, const char *file, int line, const char *what);
#endif
