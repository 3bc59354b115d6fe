// npy.h - float32 matrices in NumPy's .npy files, and vectors in .fvecs and ids in .ivecs, a block of rows at a time.
//
// Reads what numpy.save writes of a two-dimensional, C-contiguous, little-endian float32 array (format 1.0 or 2.0) and
// refuses everything else by name; and by their name files of the TEXMEX benchmarks, where each row is its width as an int32
// and as many float32 [http://corpus-texmex.irisa.fr]. Little-endian machines only, as kpd.h. Errors are sentences in `why`.
#ifndef NPY_H
#define NPY_H

#include "files.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define NPY_HEADER_SIZE 128             // what npy_write_header writes, whatever the shape: so it can be written again
#define NPY_MAX_HEADER  4096
#define NPY_MAX_COLS    (1 << 20)

typedef struct npy_reader {
    FILE *file;
    int64_t rows, next;                 // next = rows read so far
    int32_t cols;
    bool fvecs, ids;                    // ids: of .ivecs, int32 laid out as .fvecs, whose bits npy_read gives
} npy_reader;

typedef struct npy__dict { char descr[32]; bool fortran; int64_t shape[8]; int n_dims; unsigned seen; } npy__dict;

static void npy__spaces(const char **p) { *p += strspn(*p, " "); }

// Steps over a literal and the spaces after it.
static bool npy__take(const char **p, const char *literal) {
    size_t n = strlen(literal);
    if (strncmp(*p, literal, n)) return false;
    *p += n;
    npy__spaces(p);
    return true;
}

static bool npy__quoted(const char **p, char *out, size_t capacity) {
    size_t n;
    if (**p != '\'') return false;
    n = strcspn(*p + 1, "'");
    if (n >= capacity || (*p)[1 + n] != '\'') return false;
    memcpy(out, *p + 1, n);
    out[n] = 0;
    *p += n + 2;
    npy__spaces(p);
    return true;
}

static bool npy__integer(const char **p, int64_t *out) {
    int64_t v = 0;
    if (**p < '0' || **p > '9') return false;
    for (; **p >= '0' && **p <= '9'; ++*p) {
        if (v > (INT64_MAX - 9) / 10) return false;
        v = v * 10 + (**p - '0');
    }
    *out = v;
    npy__spaces(p);
    return true;
}

static bool npy__shape(const char **p, npy__dict *d) {
    if (!npy__take(p, "(")) return false;
    while (!npy__take(p, ")")) {
        if (d->n_dims == 8 || !npy__integer(p, &d->shape[d->n_dims])) return false;
        d->n_dims++;
        if (!npy__take(p, ",") && **p != ')') return false;
    }
    return true;
}

static bool npy__entry(const char **p, npy__dict *d) {
    char key[16];
    if (!npy__quoted(p, key, sizeof key) || !npy__take(p, ":")) return false;
    if (!strcmp(key, "descr")) { d->seen |= 1; return npy__quoted(p, d->descr, sizeof d->descr); }
    if (!strcmp(key, "shape")) { d->seen |= 2; return npy__shape(p, d); }
    if (strcmp(key, "fortran_order")) return false;
    d->seen |= 4;
    d->fortran = npy__take(p, "True");
    return d->fortran || npy__take(p, "False");
}

// The Python dictionary of the header: exactly these three keys, in any order.
static bool npy__parse(const char *text, npy__dict *d) {
    memset(d, 0, sizeof *d);
    if (!npy__take(&text, "{")) return false;
    for (int i = 0; i < 3; i++)
        if (!npy__entry(&text, d) || (!npy__take(&text, ",") && *text != '}')) return false;
    return npy__take(&text, "}") && (!strcmp(text, "\n") || !*text) && d->seen == 7;
}

static bool npy__why(char *why, size_t size, const char *text) {
    snprintf(why, size, "%s", text);
    return false;
}

// Leaves the file at the first row; *start is its offset.
static bool npy__read_header(FILE *f, char *text, int64_t *start, char *why, size_t size) {
    uint8_t h[12];
    size_t wide, length;
    if (fread(h, 1, 10, f) != 10 || memcmp(h, "\x93NUMPY", 6)) return npy__why(why, size, "not a .npy file");
    if (h[6] != 1 && h[6] != 2)
        return snprintf(why, size, ".npy format %d.%d, expected 1.0 or 2.0", h[6], h[7]), false;
    wide = h[6] == 1 ? 0 : 2;
    if (fread(h + 10, 1, wide, f) != wide) return npy__why(why, size, "the file ends inside its .npy header");
    length = (size_t)h[8] | (size_t)h[9] << 8;
    if (wide) length |= (size_t)h[10] << 16 | (size_t)h[11] << 24;
    if (length > NPY_MAX_HEADER)
        return snprintf(why, size, "a .npy header of %zu bytes, expected at most %d", length, NPY_MAX_HEADER), false;
    if (fread(text, 1, length, f) != length) return npy__why(why, size, "the file ends inside its .npy header");
    text[length] = 0;
    *start = (int64_t)(10 + wide + length);
    return true;
}

static bool npy__check(const npy__dict *d, char *why, size_t size) {
    if (strcmp(d->descr, "<f4")) return snprintf(why, size, "values of type '%s', expected '<f4' (float32)", d->descr), false;
    if (d->fortran) return npy__why(why, size, "Fortran order, expected C order");
    if (d->n_dims != 2) return snprintf(why, size, "%d dimension(s), expected 2 (rows of vectors)", d->n_dims), false;
    if (d->shape[1] < 1 || d->shape[1] > NPY_MAX_COLS)
        return snprintf(why, size, "%lld columns, expected 1 to %d", (long long)d->shape[1], NPY_MAX_COLS), false;
    if (d->shape[0] > (INT64_MAX - 2 * NPY_MAX_HEADER) / 4 / d->shape[1])
        return npy__why(why, size, "a shape beyond any file's size");
    return true;
}

static bool npy__open(npy_reader *r, char *why, size_t size) {
    char text[NPY_MAX_HEADER + 1];
    npy__dict d;
    int64_t start, expected;
    struct stat st;
    if (fstat(fileno(r->file), &st)) return npy__why(why, size, strerror(errno));
    if (!npy__read_header(r->file, text, &start, why, size)) return false;
    if (!npy__parse(text, &d)) return npy__why(why, size, "a .npy header that cannot be parsed");
    if (!npy__check(&d, why, size)) return false;
    expected = start + d.shape[0] * d.shape[1] * 4;
    if (expected != (int64_t)st.st_size)
        return snprintf(why, size, "%lld bytes, expected %lld for a shape of (%lld, %lld)", (long long)st.st_size,
                        (long long)expected, (long long)d.shape[0], (long long)d.shape[1]), false;
    r->rows = d.shape[0];
    r->cols = (int32_t)d.shape[1];
    return true;
}

// Rows are as wide as the first; npy_read looks at each.
static bool npy__open_fvecs(npy_reader *r, char *why, size_t size) {
    struct stat st;
    int64_t row;
    if (fstat(fileno(r->file), &st)) return npy__why(why, size, strerror(errno));
    if (!st.st_size) return npy__why(why, size, "an empty file, whose width is not known");
    if (fread(&r->cols, 4, 1, r->file) != 1) return npy__why(why, size, "the file ends inside its first row");
    if (r->cols < 1 || r->cols > NPY_MAX_COLS)
        return snprintf(why, size, "%d columns in row 0, expected 1 to %d", (int)r->cols, NPY_MAX_COLS), false;
    row = 4 + 4 * (int64_t)r->cols;
    if ((int64_t)st.st_size % row)
        return snprintf(why, size, "%lld bytes, expected a multiple of %lld for rows of %d columns", (long long)st.st_size,
                        (long long)row, (int)r->cols), false;
    r->fvecs = true;
    r->rows = (int64_t)st.st_size / row;
    rewind(r->file);
    return true;
}

static void npy_close(npy_reader *r) {
    if (r->file) fclose(r->file);
    r->file = NULL;
}

// Opens and checks a file; on failure `why` says what is wrong, and nothing is left open.
static bool npy_open(npy_reader *r, const char *path, char *why, size_t size) {
    const char *reason, *dot = strrchr(path, '.');
    memset(r, 0, sizeof *r);
    r->file = files_open(path, &reason);
    if (!r->file) return npy__why(why, size, reason);
    r->ids = dot && !strcmp(dot, ".ivecs");
    if (r->ids || (dot && !strcmp(dot, ".fvecs")) ? npy__open_fvecs(r, why, size) : npy__open(r, why, size)) return true;
    npy_close(r);
    return false;
}

// Reads the next rows, at most max_rows, into out [max_rows, cols]; *n = 0 at the end. False when the file has shrunk, or has a
// row that is not as wide as the first.
static bool npy_read(npy_reader *r, float *out, size_t max_rows, size_t *n) {
    int64_t left = r->rows - r->next;
    *n = left < (int64_t)max_rows ? (size_t)left : max_rows;
    r->next += (int64_t)*n;
    for (size_t i = 0; r->fvecs && i < *n; i++) {
        int32_t cols;
        if (fread(&cols, 4, 1, r->file) != 1 || cols != r->cols ||
            fread(out + i * (size_t)cols, 4, (size_t)cols, r->file) != (size_t)cols) return false;
    }
    return r->fvecs || fread(out, (size_t)r->cols * 4, *n, r->file) == *n;
}

// Writes a header of NPY_HEADER_SIZE bytes where the file stands: once before the rows, and again when their number is known.
static bool npy_write_header(FILE *f, int64_t rows, int32_t cols) {
    char h[NPY_HEADER_SIZE + 1];
    int n;
    memcpy(h, "\x93NUMPY\x01\x00\x76\x00", 10);         // 0x76 = 118 = what remains of the 128 bytes
    n = snprintf(h + 10, sizeof h - 10, "{'descr': '<f4', 'fortran_order': False, 'shape': (%lld, %d), }", (long long)rows,
                 (int)cols);
    memset(h + 10 + n, ' ', (size_t)(NPY_HEADER_SIZE - 11 - n));
    h[NPY_HEADER_SIZE - 1] = '\n';
    return fwrite(h, 1, NPY_HEADER_SIZE, f) == NPY_HEADER_SIZE;
}

#endif
