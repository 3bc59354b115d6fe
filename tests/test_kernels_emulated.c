// The kernel tests again, with the levels that this machine lacks run through emulated instructions.
#include "test.h"
#if defined(__x86_64__) && defined(__AVX2__) && defined(__FMA__)
#include "emulate_x86.h"
#define KPD__EMULATED
#include "test_kernels.c"
#else
SUITE(kernels_emulated) { }
#endif
