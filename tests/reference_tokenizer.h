// A plain tokenizer to compare kpd's with: Hugging Face's steps (BertNormalizer, BertPreTokenizer, WordPiece, truncation)
// one after the other over arrays of characters, each with the bytes it comes from. Slow, and written to be read; of kpd.h it
// uses only the Unicode tables and the decoder, whose implementation must have been included before.
#include <stdlib.h>
#include <string.h>

enum { REF_MOST = 1 << 14 };            // characters or tokens of a part; a text of REF_MOST / 8 bytes never has more

typedef struct ref_char {
    uint32_t c;
    kpd_span from;
} ref_char;

typedef struct ref_chars {
    ref_char at[REF_MOST];
    size_t n;
} ref_chars;

typedef struct ref_token {
    int32_t id;
    kpd_span from;
} ref_token;

typedef struct ref_tokens {
    ref_token at[REF_MOST];
    size_t n;
} ref_tokens;

typedef struct ref_line {
    const char *text;
    size_t size;
    int32_t id;
} ref_line;

typedef struct ref_tokenizer {
    kpd_tokenizer_desc d;
    bool lower, strip;
    ref_line *lines;                    // sorted; of equal ones the last counts
    size_t n_lines;
    kpd_text special[5];
    int32_t special_id[5];              // -1 = is none
} ref_tokenizer;

static void ref_add(ref_chars *x, uint32_t c, kpd_span from) {
    if (x->n == REF_MOST) abort();
    x->at[x->n].c = c;
    x->at[x->n++].from = from;
}

// ---- vocabulary ----------------------------------------------------------------------------------------------------

static int ref_compare_texts(const char *a, size_t n, const char *b, size_t m) {
    int order = n && m ? memcmp(a, b, n < m ? n : m) : 0;
    return order ? order : (n > m) - (n < m);
}

static int ref_compare_lines(const void *a, const void *b) {
    const ref_line *x = (const ref_line *)a, *y = (const ref_line *)b;
    int order = ref_compare_texts(x->text, x->size, y->text, y->size);
    return order ? order : (x->id > y->id) - (x->id < y->id);
}

static int32_t ref_find(const ref_tokenizer *r, const char *text, size_t size) {
    size_t low = 0, high = r->n_lines;  // the last line that is not greater stands before high
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (ref_compare_texts(r->lines[middle].text, r->lines[middle].size, text, size) <= 0) low = middle + 1;
        else high = middle;
    }
    if (!high || ref_compare_texts(r->lines[high - 1].text, r->lines[high - 1].size, text, size)) return -1;
    return r->lines[high - 1].id;
}

// Unicode's White_Space, which the reader of vocab.txt takes off the end of each line.
static bool ref_white(uint32_t c) {
    return (c >= 9 && c <= 13) || c == 32 || c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 ||
           c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

static size_t ref_trimmed(const char *text, size_t size) {
    const uint8_t *p = (const uint8_t *)text, *end = p + size;
    size_t keep = 0;
    while (p < end) {
        bool white = ref_white(kpd__utf8_next(&p, end));
        if (!white) keep = (size_t)((const char *)p - text);
    }
    return keep;
}

static void ref_read_lines(ref_tokenizer *r) {
    const char *p = r->d.vocab, *end = p + r->d.vocab_size;
    size_t most = 1;
    for (const char *q = p; q < end; q++) most += *q == '\n';
    r->lines = (ref_line *)calloc(most, sizeof *r->lines);
    if (!r->lines) abort();
    while (p < end) {
        ref_line *line = &r->lines[r->n_lines];
        const char *q = p;
        while (q < end && *q != '\n') q++;
        line->text = p;
        line->size = (size_t)(q - p);
        line->size = ref_trimmed(p, line->size);
        line->id = (int32_t)r->n_lines++;
        p = q + 1;
    }
    qsort(r->lines, r->n_lines, sizeof *r->lines, ref_compare_lines);
}

// The vocabulary is borrowed.
static void ref_open(ref_tokenizer *r, const kpd_tokenizer_desc *d) {
    const char *names[5];
    memset(r, 0, sizeof *r);
    r->d = *d;
    r->lower = !d->cased;
    r->strip = d->strip_accents ? d->strip_accents > 0 : !d->cased;
    ref_read_lines(r);
    names[0] = d->unk ? d->unk : "[UNK]";
    names[1] = d->cls ? d->cls : "[CLS]";
    names[2] = d->sep ? d->sep : "[SEP]";
    names[3] = d->pad ? d->pad : "[PAD]";
    names[4] = d->mask ? d->mask : "[MASK]";
    for (int i = 0; i < 5; i++) {
        r->special[i].data = names[i];
        r->special[i].size = strlen(names[i]);
        r->special_id[i] = r->special[i].size ? ref_find(r, names[i], strlen(names[i])) : -1;
    }
}

static void ref_close(ref_tokenizer *r) { free(r->lines); }

// ---- normalisation ---------------------------------------------------------------------------------------------------

static bool ref_is(uint32_t c, uint32_t kind) { return kpd__class_of(c) == kind; }

// Removes what is no text and makes all white space a space.
static void ref_clean(const char *text, size_t begin, size_t end, int32_t part, ref_chars *out) {
    const uint8_t *bytes = (const uint8_t *)text, *p = bytes + begin;
    out->n = 0;
    while (p < bytes + end) {
        kpd_span from;
        uint32_t c;
        from.part = part;
        from.begin = (size_t)(p - bytes);
        c = kpd__utf8_next(&p, bytes + end);
        from.end = (size_t)(p - bytes);
        if (c == KPD__INVALID || ref_is(c, KPD__DROP)) continue;
        ref_add(out, ref_is(c, KPD__SPACE) ? ' ' : c, from);
    }
}

static void ref_split_ideographs(const ref_chars *in, ref_chars *out) {
    out->n = 0;
    for (size_t i = 0; i < in->n; i++) {
        bool ideograph = ref_is(in->at[i].c, KPD__CJK);
        if (ideograph) ref_add(out, ' ', in->at[i].from);
        ref_add(out, in->at[i].c, in->at[i].from);
        if (ideograph) ref_add(out, ' ', in->at[i].from);
    }
}

// Decomposes, puts marks in order, and removes accents. A character that is the first of its decomposition takes the origin
// of the next character of the input, whichever that is after ordering; any other the origin of the one taken before.
static void ref_strip(const ref_chars *in, ref_chars *out) {
    static struct { uint32_t c, order; bool first; } all[REF_MOST];
    size_t n = 0, taken = 0;
    out->n = 0;
    for (size_t i = 0; i < in->n; i++) {
        uint32_t parts[3], c = in->at[i].c;
        int n_parts = 1;
        parts[0] = c;
        if (kpd__class_of(c) < KPD__MARK_STARTER) n_parts = kpd__nfd(c, parts);
        for (int k = 0; k < n_parts; k++) {
            size_t at = n++;
            uint32_t order = kpd__mark_order(kpd__class_of(parts[k]));
            if (n > REF_MOST) abort();
            for (; order && at && all[at - 1].order > order; at--) all[at] = all[at - 1];
            all[at].c = parts[k];
            all[at].order = order;
            all[at].first = k == 0;
        }
    }
    for (size_t i = 0; i < n; i++) {
        uint32_t kind = kpd__class_of(all[i].c);
        taken += all[i].first;
        if (kind >= KPD__MARK_STARTER && kind < KPD__KEPT) continue;
        ref_add(out, all[i].c, in->at[taken - 1].from);
    }
}

static void ref_lower(const ref_chars *in, ref_chars *out) {
    out->n = 0;
    for (size_t i = 0; i < in->n; i++) {
        bool two = in->at[i].c == 0x130;
        ref_add(out, two ? 'i' : kpd__lower(in->at[i].c), in->at[i].from);
        if (two) ref_add(out, 0x307, in->at[i].from);
    }
}

// ---- words -----------------------------------------------------------------------------------------------------------

static void ref_put(ref_tokens *out, int32_t id, kpd_span from) {
    if (out->n == REF_MOST) abort();
    out->at[out->n].id = id;
    out->at[out->n++].from = from;
}

// The id of characters [begin, end) of a word, with ## before unless they begin it; -1 = not in the vocabulary.
static int32_t ref_piece(const ref_tokenizer *r, const ref_char *word, size_t begin, size_t end) {
    char text[4 * 100 + 2] = "##";
    size_t size = begin ? 2 : 0;
    for (size_t i = begin; i < end; i++) size += kpd__utf8_put(word[i].c, (uint8_t *)text + size);
    return ref_find(r, text, size);
}

static kpd_span ref_from(const ref_char *word, size_t begin, size_t end) {
    kpd_span from = word[begin].from;
    from.end = word[end - 1].from.end;
    return from;
}

static void ref_word(const ref_tokenizer *r, const ref_char *word, size_t n, ref_tokens *out) {
    size_t before = out->n, begin = 0, end;
    int32_t id = -1;
    for (; n <= 100 && begin < n; begin = end) {
        for (end = n; end > begin && (id = ref_piece(r, word, begin, end)) < 0; end--) continue;
        if (end == begin) break;
        ref_put(out, id, ref_from(word, begin, end));
    }
    if (begin == n) return;
    out->n = before;
    ref_put(out, r->special_id[0], ref_from(word, 0, n));
}

static void ref_words(const ref_tokenizer *r, const ref_chars *x, ref_tokens *out) {
    size_t begin = 0, i;
    for (i = 0; i <= x->n; i++) {
        uint32_t kind = i < x->n ? kpd__class_of(x->at[i].c) : KPD__SPACE;
        if (kind != KPD__SPACE && kind != KPD__PUNCT) continue;
        if (i > begin) ref_word(r, x->at + begin, i - begin, out);
        if (kind == KPD__PUNCT) ref_word(r, x->at + i, 1, out);
        begin = i + 1;
    }
}

static void ref_plain(const ref_tokenizer *r, kpd_text text, size_t begin, size_t end, int32_t part, ref_tokens *out) {
    static ref_chars step[4];
    ref_chars *x = step;
    ref_clean(text.data, begin, end, part, x);
    if (!r->d.keep_cjk_joined) { ref_split_ideographs(x, x + 1); x++; }
    if (r->strip) { ref_strip(x, x + 1); x++; }
    if (r->lower) { ref_lower(x, x + 1); x++; }
    ref_words(r, x, out);
}

// The text is cut at special tokens, the leftmost first and of those the longest.
static void ref_part(const ref_tokenizer *r, kpd_text text, int32_t part, ref_tokens *out) {
    size_t begin = 0, i = 0;
    while (i < text.size) {
        int best = -1;
        for (int k = 0; k < 5; k++) {
            size_t size = r->special[k].size;
            if (r->special_id[k] < 0 || size > text.size - i || memcmp(text.data + i, r->special[k].data, size)) continue;
            if (best < 0 || size > r->special[best].size) best = k;
        }
        if (best >= 0) {
            kpd_span from;
            from.begin = i; from.end = i + r->special[best].size; from.part = part;
            ref_plain(r, text, begin, i, part, out);
            ref_put(out, r->special_id[best], from);
            begin = i = from.end;
        } else {
            i++;
        }
    }
    ref_plain(r, text, begin, text.size, part, out);
}

// ---- texts -----------------------------------------------------------------------------------------------------------

// How many tokens of two segments are left, in Hugging Face's words.
static void ref_longest_first(size_t most, size_t *a, size_t *b) {
    size_t n1 = *a, n2 = *b, swap;
    bool swapped = n1 > n2;
    if (swapped) { swap = n1; n1 = n2; n2 = swap; }
    if (n1 > most) n2 = n1;
    else n2 = n1 > most - n1 ? n1 : most - n1;
    if (n1 + n2 > most) {
        n1 = most / 2;
        n2 = n1 + most % 2;
    }
    *a = swapped ? n2 : n1;
    *b = swapped ? n1 : n2;
}

// All tokens of the input in out->at, types in types [REF_MOST]. Returns whether something was cut. max_tokens is 0 or large
// enough for the special tokens.
static bool ref_tokenize(const ref_tokenizer *r, const kpd_input *in, size_t max_tokens, bool no_special, ref_tokens *out,
                         int32_t *types) {
    static ref_tokens segment[2];
    static const kpd_span none = {0, 0, -1};
    size_t n_segments = in->n_parts == 2 ? 2 : 1, added = no_special ? 0 : n_segments + 1, most, n[2];
    bool cut;
    segment[0].n = segment[1].n = 0;
    for (int32_t i = 0; i < in->n_parts; i++) {
        if (i && in->n_parts == 3) ref_put(&segment[0], r->special_id[2], none);
        ref_part(r, in->part[i], i, &segment[in->n_parts == 2 ? i : 0]);
    }
    n[0] = segment[0].n;
    n[1] = segment[1].n;
    most = max_tokens ? max_tokens - added : SIZE_MAX;
    cut = n[0] + n[1] > most;
    if (cut && n_segments == 2) ref_longest_first(most, &n[0], &n[1]);
    else if (cut) n[0] = most;
    out->n = 0;
    if (!no_special) ref_put(out, r->special_id[1], none);
    for (size_t k = 0; k < n_segments; k++) {
        size_t first = k ? out->n : 0;
        for (size_t i = 0; i < n[k]; i++) ref_put(out, segment[k].at[i].id, segment[k].at[i].from);
        if (!no_special) ref_put(out, r->special_id[2], none);
        for (size_t i = first; i < out->n; i++) types[i] = (int32_t)k;
    }
    return cut;
}

// Whether kpd says the same: ids, types, spans, and whether something was cut.
static bool ref_agrees(const ref_tokenizer *r, const kpd_tokenizer *t, const kpd_input *in, size_t max_tokens,
                       bool no_special) {
    static ref_tokens want;
    static int32_t want_types[REF_MOST], ids[REF_MOST], types[REF_MOST];
    static kpd_span spans[REF_MOST];
    bool cut = ref_tokenize(r, in, max_tokens, no_special, &want, want_types);
    kpd_tokens out;
    memset(&out, 0, sizeof out);
    out.ids = ids; out.types = types; out.spans = spans;
    out.capacity = (int32_t)want.n;
    if (kpd_tokenize(t, in, (int32_t)max_tokens, no_special, &out, NULL)) return false;
    if ((size_t)out.count != want.n || out.truncated != cut) return false;
    for (size_t i = 0; i < want.n; i++) {
        const kpd_span *a = &spans[i], *b = &want.at[i].from;
        if (ids[i] != want.at[i].id || types[i] != want_types[i]) return false;
        if (a->begin != b->begin || a->end != b->end || a->part != b->part) return false;
    }
    return true;
}
