// bm25.h - which texts of a list have a query's words: BM25 over the tokens of a tokenizer.
//
//     bm25 x = {0};
//     if (!bm25_build(&x, tokenizer, texts, n)) ...out of memory...
//     found = bm25_find(&x, query, hits, most);          // the best, their numbers as ids; -1 = out of memory
//     bm25_free(&x);
//
// score = sum over the query's different tokens of idf tf (K1 + 1) / (tf + K1 (1 - B + B length / mean length)), with
// idf = log(1 + (N - df + .5) / (df + .5)) [Robertson and Zaragoza 2009; Lucene]. Of equal scores the first text comes first.
#ifndef BM25_H
#define BM25_H

#include "../kpd.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define BM25_K1 1.2
#define BM25_B .75

typedef struct bm25_entry { int32_t text; float share; } bm25_entry;    // share: what stands behind idf, and idf

typedef struct bm25 {
    const kpd_tokenizer *tokenizer;
    size_t n, n_tokens;
    size_t *first;                      // [n_tokens + 1] of a token's entries
    bm25_entry *entry;
    int32_t *ids; size_t room;          // of one text
    int32_t special[5];                 // which are no words: what is not in the vocabulary has nothing in common
    double *score; int32_t *met;        // [n] of the query in hand; those with a score, and how many
    size_t n_met;
} bm25;

static void bm25_free(bm25 *x) {
    free(x->first);
    free(x->entry);
    free(x->ids);
    free(x->score);
    free(x->met);
    memset(x, 0, sizeof *x);
}

static int bm25_compare_ids(const void *a, const void *b) {
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

// A text's tokens in x->ids, sorted, but for special ones; how many, -1 = out of memory. A text that is none (empty) has 0.
static int64_t bm25_tokens(bm25 *x, kpd_text text) {
    kpd_tokens t;
    kpd_input in;
    int64_t n = 0;
    memset(&t, 0, sizeof t);
    memset(&in, 0, sizeof in);
    in.part[0] = text; in.n_parts = 1;
    if (!text.size) return 0;
    if (text.size + 2 > x->room) {      // a token is of a byte at least
        int32_t *more = (int32_t *)realloc(x->ids, (text.size + 2) * 2 * sizeof *more);
        if (!more) return -1;
        x->ids = more;
        x->room = (text.size + 2) * 2;
    }
    t.ids = x->ids; t.capacity = (int32_t)x->room;
    if (kpd_tokenize(x->tokenizer, &in, 0, true, &t, NULL)) return 0;
    for (int32_t i = 0; i < t.count; i++) {
        bool special = false;
        for (int k = 0; k < 5; k++) special = special || x->ids[i] == x->special[k];
        if (!special) x->ids[n++] = x->ids[i];
    }
    qsort(x->ids, (size_t)n, sizeof *x->ids, bm25_compare_ids);
    return n;
}

// Counts the entries of each token, or, where they have a place, writes them. *words = all tokens of all texts.
static bool bm25_walk(bm25 *x, const kpd_text *texts, size_t *at, double average, double *words) {
    *words = 0;
    for (size_t i = 0; i < x->n; i++) {
        int64_t n = bm25_tokens(x, texts[i]);
        if (n < 0) return false;
        *words += (double)n;
        for (int64_t k = 0, same; k < n; k += same) {
            size_t token = (size_t)x->ids[k];
            for (same = 1; k + same < n && x->ids[k + same] == x->ids[k];) same++;
            if (x->entry) {
                double df = (double)(x->first[token + 1] - x->first[token]), tf = (double)same;
                double long_by = BM25_K1 * (1 - BM25_B + BM25_B * (double)n / average);
                x->entry[at[token]].text = (int32_t)i;
                x->entry[at[token]].share = (float)(log(1 + ((double)x->n - df + .5) / (df + .5)) * tf * (BM25_K1 + 1) /
                                                    (tf + long_by));
            }
            at[token]++;
        }
    }
    return true;
}

static bool bm25_build(bm25 *x, const kpd_tokenizer *tokenizer, const kpd_text *texts, size_t n) {
    const kpd_tokenizer_desc *d = kpd_tokenizer_get_desc(tokenizer);
    const char *const special[5] = {d->unk, d->cls, d->sep, d->pad, d->mask};
    size_t *at, all = 0;
    double words = 0;
    bool ok;
    for (int k = 0; k < 5; k++) {
        kpd_text t;
        t.data = special[k]; t.size = strlen(special[k]);
        x->special[k] = kpd_token_id(tokenizer, t);
    }
    x->tokenizer = tokenizer; x->n = n; x->n_tokens = (size_t)kpd_tokenizer_size(tokenizer);
    x->first = (size_t *)calloc(x->n_tokens + 1, sizeof *x->first);
    x->score = (double *)calloc(n + 1, sizeof *x->score);
    x->met = (int32_t *)calloc(n + 1, sizeof *x->met);
    at = (size_t *)calloc(x->n_tokens, sizeof *at);
    ok = x->first && x->score && x->met && at && bm25_walk(x, texts, at, 1, &words);
    for (size_t k = 0; ok && k < x->n_tokens; k++) {
        x->first[k] = all;
        all += at[k];
        at[k] = x->first[k];
    }
    if (ok) {
        x->first[x->n_tokens] = all;
        x->entry = (bm25_entry *)malloc((all + 1) * sizeof *x->entry);
        ok = x->entry && bm25_walk(x, texts, at, words / (double)(n ? n : 1), &words);
    }
    free(at);
    return ok;
}

static bool bm25_before(const kpd_hit *a, const kpd_hit *b) {
    return a->score > b->score || (a->score >= b->score && a->id < b->id);
}

static int bm25_compare_hits(const void *a, const void *b) {
    const kpd_hit *x = (const kpd_hit *)a, *y = (const kpd_hit *)b;
    return bm25_before(x, y) ? -1 : bm25_before(y, x);
}

static int bm25_compare_back(const void *a, const void *b) { return bm25_compare_hits(b, a); }

// The worst of a heap's n hits stands first.
static void bm25_sink(kpd_hit *heap, size_t n) {
    for (size_t i = 0, k; (k = 2 * i + 1) < n; i = k) {
        kpd_hit swap = heap[i];
        if (k + 1 < n && bm25_before(&heap[k], &heap[k + 1])) k++;
        if (!bm25_before(&heap[i], &heap[k])) return;
        heap[i] = heap[k];
        heap[k] = swap;
    }
}

// The best of what was met, into `out`; the scores are 0 again.
static int32_t bm25_best(bm25 *x, kpd_hit *out, int32_t most) {
    size_t n = 0;
    for (size_t i = 0; i < x->n_met; i++) {
        kpd_hit hit;
        hit.id = x->met[i]; hit.score = (float)x->score[x->met[i]];
        x->score[x->met[i]] = 0;
        if (n < (size_t)most) {
            out[n++] = hit;
            if (n == (size_t)most) qsort(out, n, sizeof *out, bm25_compare_back);       // which is such a heap
        } else if (bm25_before(&hit, &out[0])) {
            out[0] = hit;
            bm25_sink(out, n);
        }
    }
    qsort(out, n, sizeof *out, bm25_compare_hits);
    return (int32_t)n;
}

static int32_t bm25_find(bm25 *x, kpd_text query, kpd_hit *out, int32_t most) {
    int64_t n = bm25_tokens(x, query);
    x->n_met = 0;
    for (int64_t k = 0; k < n; k++) {
        if (k && x->ids[k] == x->ids[k - 1]) continue;
        for (size_t i = x->first[x->ids[k]]; i < x->first[x->ids[k] + 1]; i++) {
            int32_t text = x->entry[i].text;
            if (!(x->score[text] > 0)) x->met[x->n_met++] = text;
            x->score[text] += (double)x->entry[i].share;
        }
    }
    return n < 0 ? -1 : bm25_best(x, out, most);
}

#endif
