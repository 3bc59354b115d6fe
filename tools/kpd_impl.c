// The implementation of kpd.h, compiled once for the command line and the tests.
#define KPD_IMPLEMENTATION
#define KPD_THREADS
#include "../kpd.h"
