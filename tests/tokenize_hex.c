// Token ids of texts given in hexadecimal, so that a text may hold any byte. Used by bench/peers/tokenizer_identity.py.
//
//     tokenize_hex vocab.txt [--cased] [--strip=yes|no] [--joined] [--max=N] [--no-special] [--spans] [--time]
//         < hex lines
//
// A TAB separates the segments of a line. Prints a line of ids per line; with --spans a TAB and BEGIN,END,PART of each behind;
// --time prints only the rate, and to stderr.
#define KPD_IMPLEMENTATION
#include "kpd.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static char *read_all(FILE *f, size_t *size) {
    size_t room = 1 << 16, n;
    char *data = (char *)malloc(room);
    *size = 0;
    while (data && (n = fread(data + *size, 1, room - *size, f)) > 0) {
        *size += n;
        if (*size == room) data = (char *)realloc(data, room *= 2);
    }
    return data;
}

static int digit(char c) { return c <= '9' ? c - '0' : (c | 32) - 'a' + 10; }

// Decodes a line in place, which ends with a newline; returns what follows it.
static char *parse_line(char *p, kpd_input *in) {
    char *to = p;
    memset(in, 0, sizeof *in);
    for (in->n_parts = 1;; p++) {
        kpd_text *part = &in->part[in->n_parts - 1];
        if (!part->data) part->data = to;
        if (*p == '\n') return p + 1;
        if (*p == '\t') in->n_parts++;
        else {
            *to++ = (char)(digit(p[0]) << 4 | digit(p[1]));
            part->size++;
            p++;
        }
    }
}

int main(int argc, char **argv) {
    kpd_tokenizer_desc d;
    kpd_tokenizer *t;
    kpd_error e;
    kpd_tokens out;
    int32_t max_tokens = 0;
    bool no_special = false, spans = false, timed = false;
    size_t size, bytes = 0, n = 0;
    kpd_input *inputs;
    char *text, *p;
    clock_t begin;
    FILE *f = argc > 1 ? fopen(argv[1], "rb") : NULL;
    if (!f) return fprintf(stderr, "usage: tokenize_hex vocab.txt [options]\n"), 2;
    memset(&d, 0, sizeof d);
    d.vocab = read_all(f, &d.vocab_size);
    fclose(f);
    for (int i = 2; i < argc; i++) {
        if (!strcmp(argv[i], "--cased")) d.cased = true;
        else if (!strcmp(argv[i], "--strip=yes")) d.strip_accents = 1;
        else if (!strcmp(argv[i], "--strip=no")) d.strip_accents = -1;
        else if (!strcmp(argv[i], "--joined")) d.keep_cjk_joined = true;
        else if (!strncmp(argv[i], "--max=", 6)) max_tokens = (int32_t)atoi(argv[i] + 6);
        else if (!strcmp(argv[i], "--no-special")) no_special = true;
        else if (!strcmp(argv[i], "--spans")) spans = true;
        else if (!strcmp(argv[i], "--time")) timed = true;
        else return fprintf(stderr, "tokenize_hex: unknown option %s\n", argv[i]), 2;
    }
    begin = clock();
    if (kpd_tokenizer_create(&d, &t, &e)) return fprintf(stderr, "%s\n", e.message), 1;
    if (timed) fprintf(stderr, "create: %.2f ms\n", 1e3 * (double)(clock() - begin) / CLOCKS_PER_SEC);
    text = read_all(stdin, &size);
    if (size && text[size - 1] != '\n') return fprintf(stderr, "the last line does not end\n"), 1;
    memset(&out, 0, sizeof out);
    out.capacity = (int32_t)(2 * size + 8);
    out.ids = (int32_t *)malloc((size_t)out.capacity * sizeof *out.ids);
    if (spans) out.spans = (kpd_span *)malloc((size_t)out.capacity * sizeof *out.spans);
    for (size_t i = 0; i < size; i++) n += text[i] == '\n';
    inputs = (kpd_input *)malloc((n + 1) * sizeof *inputs);
    p = text;
    for (size_t i = 0; i < n; i++) p = parse_line(p, &inputs[i]);
    begin = clock();
    for (size_t k = 0; k < n; k++) {
        const kpd_input *in = &inputs[k];
        if (kpd_tokenize(t, in, max_tokens, no_special, &out, &e)) return fprintf(stderr, "%s\n", e.message), 1;
        bytes += in->part[0].size + in->part[1].size + in->part[2].size;
        if (timed) continue;
        for (int32_t i = 0; i < out.count; i++) printf(i ? " %d" : "%d", (int)out.ids[i]);
        for (int32_t i = 0; spans && i < out.count; i++)
            printf("%c%u,%u,%d", i ? ' ' : '\t', (unsigned)out.spans[i].begin, (unsigned)out.spans[i].end,
                   (int)out.spans[i].part);
        printf("\n");
    }
    if (timed) fprintf(stderr, "%.1f MB/s\n", (double)bytes / 1e6 / ((double)(clock() - begin) / CLOCKS_PER_SEC + 1e-9));
    free(inputs);
    kpd_tokenizer_destroy(t);
    free((void *)(uintptr_t)d.vocab);
    free(text);
    free(out.ids);
    free(out.spans);
    return 0;
}
