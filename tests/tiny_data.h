// Data sets of a few lines, for tests that train.
#ifndef TINY_DATA_H
#define TINY_DATA_H
#include "../kpd_train.h"
#include "test.h"
#include <string.h>

// Of lines that must outlive it; columns end in KPDT_COL_END. NULL after a failed check.
static kpdt_dataset *tiny_dataset(const char *text, const kpdt_column *columns) {
    kpdt_dataset_desc d;
    kpdt_dataset *x = NULL;
    kpd_error e;
    memset(&d, 0, sizeof d);
    for (int i = 0; i < KPDT_MAX_COLUMNS && columns[i]; i++) d.columns[i] = columns[i];
    d.data = text; d.size = strlen(text);
    CHECK_THAT(!kpdt_dataset_open(&d, &x, &e), "%s", e.message);
    return x;
}
#endif
