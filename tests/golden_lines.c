// See golden_lines.h. The file is read once.
#include "golden_lines.h"
#include "test.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_BYTES = 1 << 17, MOST_VALUES = 512 };

static const char *text(void) {
    static char bytes[MOST_BYTES];
    FILE *f;
    if (bytes[0]) return bytes;
    f = fopen("tests/golden/train.txt", "rb");
    if (!CHECK_THAT(f != NULL, "tests/golden/train.txt cannot be opened")) return bytes;
    CHECK(fread(bytes, 1, MOST_BYTES - 1, f) < MOST_BYTES - 1);
    fclose(f);
    return bytes;
}

static const char *find(const char *name) {
    size_t length = strlen(name);
    for (const char *p = text(); p; p = strchr(p, '\n')) {
        if (*p == '\n') p++;
        if (!strncmp(p, name, length) && p[length] == ' ') return p + length;
    }
    return NULL;
}

size_t golden_doubles(const char *name, double *out, size_t most) {
    const char *p = find(name);
    char *end;
    size_t n;
    if (!CHECK_THAT(p != NULL, "golden value %s is missing", name)) return 0;
    n = strtoul(p, &end, 10);
    if (!CHECK_THAT(n <= most, "golden value %s has %d values, at most %d expected", name, (int)n, (int)most)) return 0;
    for (size_t i = 0; i < n; i++) {
        p = end;
        out[i] = strtod(p, &end);
        if (!CHECK_THAT(end != p, "golden value %s ends early", name)) return 0;
    }
    return n;
}

size_t golden_floats(const char *name, float *out, size_t most) {
    double wide[MOST_VALUES];
    size_t n = golden_doubles(name, wide, most < MOST_VALUES ? most : MOST_VALUES);
    for (size_t i = 0; i < n; i++) out[i] = (float)wide[i];
    return n;
}

void check_golden(const char *name, const float *got, size_t n) {
    double want[MOST_VALUES], largest = 0;
    if (!CHECK_THAT(golden_doubles(name, want, MOST_VALUES) == n, "golden value %s: expected %d values", name, (int)n)) return;
    for (size_t i = 0; i < n; i++) largest = fabs(want[i]) > largest ? fabs(want[i]) : largest;
    for (size_t i = 0; i < n; i++)
        CHECK_THAT(fabs((double)got[i] - want[i]) <= 1e-5 * fabs(want[i]) + 1e-7 * largest, "%s[%d] is %.9g, expected %.9g",
                   name, (int)i, (double)got[i], want[i]);
}
