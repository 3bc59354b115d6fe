// Numbers out of tests/golden/train.txt: lines of NAME N VALUE...
#ifndef GOLDEN_LINES_H
#define GOLDEN_LINES_H
#include <stddef.h>

// The values of a name; how many. A missing name, a bad line or more than `most` values fails the running test and gives 0.
size_t golden_doubles(const char *name, double *out, size_t most);
size_t golden_floats(const char *name, float *out, size_t most);   // for inputs, which were written from float32

// want = the values of name: each within 1e-5 of itself, or 1e-7 of the largest.
void check_golden(const char *name, const float *got, size_t n);
#endif
