// The implementation of both headers, compiled once for the command line and the tests, and what `kpd bench` times inside it.
#define _POSIX_C_SOURCE 200809L         // for pthread_sigmask
#define KPD_IMPLEMENTATION
#define KPD_THREADS
#define KPD_TRAIN_IMPLEMENTATION
#include "../kpd_train.h"
#include "kernels.h"
