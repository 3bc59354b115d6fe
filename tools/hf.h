// hf.h - models in and out of Hugging Face and sentence-transformers folders. Include after kpd.h; every function is static.
//
//     kpd_status hf_import(const char *dir, const hf_import_desc *d, kpd_model **out, kpd_error *e);
//     kpd_status hf_export(const kpd_model *m, const char *dir, kpd_error *e);
//
// Import reads the folder unaltered: config.json, model.safetensors (F32, F16, BF16; also in shards), vocab.txt or
// tokenizer.json, tokenizer_config.json, special_tokens_map.json, added_tokens.json, modules.json, 1_Pooling, N_Dense,
// N_LayerNorm, N_Normalize, sentence_bert_config.json (or a sibling), config_sentence_transformers.json. BERT encoders only.
//
//     modules.json with a Pooling module     bi-encoder, as the modules say
//     BertForSequenceClassification          cross-encoder (no modules.json, or one that lists the Transformer alone)
//     any other BERT without modules.json    bi-encoder with mean pooling and normalised vectors (our default)
//
// What the model could not honour is refused by name (KPD_ERR_UNSUPPORTED), since a vector that is nearly right is worse
// than an error. So is every key of a JSON file that no table below knows; the reference is what transformers 5.24 and
// sentence-transformers 6.2 do, encode_query for keyphrases and encode_document for items. What has no effect on the vectors
// (a pooler, say) is left out, and noted; but for a masked language model's head, which a bi-encoder keeps for trainers, unless
// its output matrix is not the word embeddings.
//
// Export writes a folder which sentence-transformers (bi-encoder) or transformers (cross-encoder) loads, and which gives
// the same vectors or logits there; of a model with mlm_head the guesses of BertForMaskedLM too. What has no place in such a folder, the input templates, goes under "kpd" in
// config.json; import reads it back, so that importing an exported folder gives the same model.
//
// Folders are hostile input: sizes, offsets, nesting and text are checked before use, and a path in a file cannot leave
// the folder. Contents: >>error >>memory >>text >>json >>file >>safetensors >>config >>modules >>prompts >>tokenizer
// >>import >>writer >>export
#ifndef HF_H
#define HF_H

#ifndef KPD_H
#error "include kpd.h before hf.h"
#endif

#include "files.h"

#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifdef _WIN32
#include <direct.h>
#include <io.h>
#else
#include <dirent.h>
#include <sys/stat.h>
#include <sys/types.h>
#endif

#define HF_MAX_JSON    (64u << 20)      // bytes of a JSON file or of a safetensors header
#define HF_MAX_NODES   (5u << 20)       // of a JSON file: a vocabulary's 4 million, and more
#define HF_MAX_DEPTH   64               // of JSON nesting
#define HF_MAX_TENSORS 65536
#define HF_MAX_SHARDS  1024
#define HF_MAX_DIMS    8
#define HF_MAX_PATH    1024
#define HF_MAX_NAME    128              // bytes of a module's folder, a shard's file, a special token
#define HF_MAX_TEMPLATE 2048

typedef struct hf_import_desc {
    const char *template_item;          // NULL = the folder's ("kpd" in config.json, or its prompts), else kpd's default
    const char *template_keyphrase;
    const char *template_pair;          // cross-encoder: else "{keyphrase}|{category} {sep} {title}", whose two-part form
                                        // is the pair (query, passage) of transformers
    int32_t max_tokens;                 // 0 = the folder's
    kpd_allocator allocator;
    char *note; size_t note_size;       // NULL, or receives what was left out, a sentence a line
} hf_import_desc;

// ---- >>error ------------------------------------------------------------------------------------------------------

#define hf_fail kpd_error_set

// ---- >>memory -----------------------------------------------------------------------------------------------------

static void *hf_alloc(const kpd_allocator *a, size_t size) {
    if (size == 0) size = 1;
    return a->alloc ? a->alloc(a->user, size) : malloc(size);
}

static void hf_free(const kpd_allocator *a, void *p, size_t size) {
    if (!p) return;
    if (a->free) a->free(a->user, p, size ? size : 1);
    else free(p);
}

static kpd_status hf_no_memory(kpd_error *e, const char *what) {
    return hf_fail(e, KPD_ERR_MEMORY, -1, "%s: out of memory", what);
}

// A growing run of bytes. A failure to grow is remembered in `failed`, so that writers need not check each call.
typedef struct hf_buffer {
    kpd_allocator a;
    char *data;
    size_t size, capacity;
    bool failed;
} hf_buffer;

static hf_buffer hf_buffer_make(kpd_allocator a) {
    hf_buffer b;
    memset(&b, 0, sizeof b);
    b.a = a;
    return b;
}

static void hf_buffer_free(hf_buffer *b) {
    hf_free(&b->a, b->data, b->capacity);
    b->data = NULL;
    b->size = b->capacity = 0;
}

static bool hf_reserve(hf_buffer *b, size_t more) {
    size_t capacity = b->capacity ? b->capacity : 256;
    char *data;
    if (b->failed || more > (size_t)-1 / 4 - b->size) return !(b->failed = true);
    if (b->size + more <= b->capacity) return true;
    while (capacity < b->size + more) capacity *= 2;
    data = (char *)hf_alloc(&b->a, capacity);
    if (!data) return !(b->failed = true);
    if (b->size) memcpy(data, b->data, b->size);
    hf_free(&b->a, b->data, b->capacity);
    b->data = data;
    b->capacity = capacity;
    return true;
}

static void hf_put(hf_buffer *b, const char *data, size_t size) {
    if (!size || !hf_reserve(b, size)) return;
    memcpy(b->data + b->size, data, size);
    b->size += size;
}

// For text of a known kind: what is longer than 512 bytes goes through hf_put.
static void hf_putf(hf_buffer *b, const char *format, ...) {
    char line[512];
    va_list args;
    int n;
    va_start(args, format);
    n = vsnprintf(line, sizeof line, format, args);
    va_end(args);
    if (n < 0 || (size_t)n >= sizeof line) b->failed = true;
    else hf_put(b, line, (size_t)n);
}

// ---- >>text -------------------------------------------------------------------------------------------------------

static kpd_text hf_text(const char *s) {
    kpd_text t;
    t.data = s;
    t.size = s ? strlen(s) : 0;
    return t;
}

static bool hf_same(kpd_text a, kpd_text b) { return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0); }
static bool hf_is(kpd_text a, const char *b) { return hf_same(a, hf_text(b)); }

static bool hf_starts(kpd_text a, const char *b) {
    size_t n = strlen(b);
    return a.size >= n && memcmp(a.data, b, n) == 0;
}

static bool hf_ends(kpd_text a, const char *b) {
    size_t n = strlen(b);
    return a.size >= n && memcmp(a.data + a.size - n, b, n) == 0;
}

static kpd_text hf_after(kpd_text a, size_t n) {
    a.data += n;
    a.size -= n;
    return a;
}

// The part of a text that a message shows, for "%.*s".
static int hf_shown(kpd_text t) { return t.size > 60 ? 60 : (int)t.size; }

// Bytes of the well-formed UTF-8 sequence at p, 0 if there is none (overlong, surrogate, over U+10FFFF, cut short).
static size_t hf_utf8(const unsigned char *p, size_t left) {
    size_t n = p[0] < 0x80 ? 1 : p[0] < 0xC2 ? 0 : p[0] < 0xE0 ? 2 : p[0] < 0xF0 ? 3 : p[0] < 0xF5 ? 4 : 0;
    if (n == 0 || n > left) return 0;
    for (size_t i = 1; i < n; i++) {
        if ((p[i] & 0xC0) != 0x80) return 0;
    }
    if (p[0] == 0xE0 && p[1] < 0xA0) return 0;
    if (p[0] == 0xED && p[1] >= 0xA0) return 0;
    if (p[0] == 0xF0 && p[1] < 0x90) return 0;
    if (p[0] == 0xF4 && p[1] >= 0x90) return 0;
    return n;
}

static size_t hf_utf8_put(unsigned char *p, uint32_t c) {
    if (c < 0x80) return p[0] = (unsigned char)c, (size_t)1;
    if (c < 0x800) return p[0] = (unsigned char)(0xC0 | c >> 6), p[1] = (unsigned char)(0x80 | (c & 63)), (size_t)2;
    if (c < 0x10000) {
        p[0] = (unsigned char)(0xE0 | c >> 12);
        p[1] = (unsigned char)(0x80 | (c >> 6 & 63));
        p[2] = (unsigned char)(0x80 | (c & 63));
        return 3;
    }
    p[0] = (unsigned char)(0xF0 | c >> 18);
    p[1] = (unsigned char)(0x80 | (c >> 12 & 63));
    p[2] = (unsigned char)(0x80 | (c >> 6 & 63));
    p[3] = (unsigned char)(0x80 | (c & 63));
    return 4;
}

// ---- >>file -------------------------------------------------------------------------------------------------------

// dir/sub/name, where sub may be empty.
static kpd_status hf_path(const char *dir, const char *sub, const char *name, char out[HF_MAX_PATH], kpd_error *e) {
    int n = snprintf(out, HF_MAX_PATH, "%s%s%s%s%s", dir, *sub ? "/" : "", sub, *name ? "/" : "", name);
    if (n < 0 || n >= HF_MAX_PATH) return hf_fail(e, KPD_ERR_LIMIT, -1, "%s: path of more than %d bytes", name,
                                                  HF_MAX_PATH - 1);
    return KPD_OK;
}

// Whether there is something, which need not be what can be read.
static bool hf_exists(const char *path) {
#ifdef _WIN32
    return !_access(path, 0);
#else
    struct stat st;
    return !stat(path, &st);
#endif
}

static bool hf_is_folder(const char *path) {
#ifdef _WIN32
    (void)path;
    return false;
#else
    struct stat st;
    return !stat(path, &st) && S_ISDIR(st.st_mode);
#endif
}

// A regular file to be read.
static kpd_status hf_open(const char *path, FILE **f, kpd_error *e) {
    const char *why;
    *f = files_open(path, &why);
    return *f ? KPD_OK : hf_fail(e, KPD_ERR_IO, -1, "%s: cannot be opened: %s", path, why);
}

// How many entries a folder has, up to one; -1 = no folder.
static int hf_dir_entries(const char *path) {
#ifdef _WIN32
    char pattern[HF_MAX_PATH];
    struct _finddata_t f;
    int n = 0;
    intptr_t h = hf_path(path, "", "*", pattern, NULL) ? -1 : _findfirst(pattern, &f);
    if (h == -1) return -1;
    do n += strcmp(f.name, ".") && strcmp(f.name, "..");
    while (!n && _findnext(h, &f) == 0);
    _findclose(h);
    return n;
#else
    struct dirent *entry;
    int n = 0;
    DIR *dir = opendir(path);
    if (!dir) return -1;
    while (!n && (entry = readdir(dir)) != NULL) n += strcmp(entry->d_name, ".") && strcmp(entry->d_name, "..");
    closedir(dir);
    return n;
#endif
}

static kpd_status hf_file_size(FILE *f, const char *name, uint64_t *size, kpd_error *e) {
    long end;
    if (fseek(f, 0, SEEK_END) || (end = ftell(f)) < 0 || end == LONG_MAX || fseek(f, 0, SEEK_SET))
        return hf_fail(e, KPD_ERR_IO, -1, "%s: its size cannot be found", name);
    *size = (uint64_t)end;
    return KPD_OK;
}

// Whether text begins with `with`, which is in lower case, in any case.
static bool hf_begins(const char *text, size_t size, const char *with) {
    size_t n = strlen(with), i = 0;
    for (; i < n && i < size; i++) {
        char c = text[i];
        if ((c >= 'A' && c <= 'Z' ? c + 32 : c) != with[i]) return false;
    }
    return i == n;
}

// What lies where a file of a model should be, told by its first bytes; NULL = nothing that is known.
static const char *hf_mistaken(const char *p, size_t size) {
    static const struct { const char *begin; size_t size; const char *what; } known[] = {
        {"version https://git-lfs", 23, "is a Git LFS pointer, not the file: get that by `git lfs pull`, or download it"},
        {"GGUF", 4, "is a GGUF file, expected one of Hugging Face's"},
        {"PK\3\4", 4, "is a zip archive, as torch.save writes, which is not read; expected safetensors"},
        {"\x80\2", 2, "is a pickle, as torch.save writes, which is not read; expected safetensors"},
        {"\x89HDF\r\n", 6, "is an HDF5 file of TensorFlow, which is not read; expected safetensors"},
        {"\x1F\x8B", 2, "is compressed by gzip, expected the file itself"},
        {"\x89KPD", 4, "is a file of kpd's own, expected one of Hugging Face's"},
        {"\xFF\xFE", 2, "is UTF-16 text, expected UTF-8"},
        {"\xFE\xFF", 2, "is UTF-16 text, expected UTF-8"}};
    size_t at = size >= 3 && !memcmp(p, "\xEF\xBB\xBF", 3) ? 3 : 0;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (size >= known[i].size && !memcmp(p, known[i].begin, known[i].size)) return known[i].what;
    }
    while (at < size && memchr(" \t\r\n", p[at], 4)) at++;
    if (hf_begins(p + at, size - at, "<!doctype") || hf_begins(p + at, size - at, "<html"))
        return "is an HTML page, not the file: its download failed";
    return NULL;
}

// The whole file, with a zero after it; *data has size + 1 bytes, to be freed. `name` is for messages.
static kpd_status hf_read_file(const char *path, const char *name, size_t limit, const kpd_allocator *a, char **data,
                               size_t *size,
                               kpd_error *e) {
    uint64_t n = 0;
    kpd_status s;
    FILE *f;
    char *p = NULL;
    if ((s = hf_open(path, &f, e))) return s;
    s = hf_file_size(f, name, &n, e);
    if (!s && n > limit) s = hf_fail(e, KPD_ERR_LIMIT, -1, "%s: %.0f bytes, expected at most %.0f", name, (double)n,
                                     (double)limit);
    if (!s && !(p = (char *)hf_alloc(a, (size_t)n + 1))) s = hf_no_memory(e, name);
    if (!s && fread(p, 1, (size_t)n, f) != (size_t)n) s = hf_fail(e, KPD_ERR_IO, -1, "%s: cannot be read", name);
    fclose(f);
    if (!s && hf_mistaken(p, (size_t)n)) s = hf_fail(e, KPD_ERR_FORMAT, 0, "%s: %s", name, hf_mistaken(p, (size_t)n));
    if (s) {
        hf_free(a, p, (size_t)n + 1);
        return s;
    }
    p[n] = 0;
    *data = p;
    *size = (size_t)n;
    return KPD_OK;
}

// Names from inside files (shards, module folders) are single components: they cannot leave the folder.
static bool hf_safe_name(kpd_text t) {
    if (t.size == 0 || t.size >= HF_MAX_NAME || t.data[0] == '.') return false;
    for (size_t i = 0; i < t.size; i++) {
        unsigned char c = (unsigned char)t.data[i];
        if (c < 32 || c == 127 || c == '/' || c == '\\' || c == ':') return false;
    }
    return true;
}

// ---- >>json -------------------------------------------------------------------------------------------------------
// A strict reader (RFC 8259, and also: no duplicate keys, no lone surrogates, UTF-8 only). Nodes lie in one array;
// strings are unescaped in place, which never makes them longer. One hash table serves all objects: it finds
// duplicates in linear time, and keys later (a vocabulary is an object of 30,000 keys).

typedef enum hf_type { HF_NULL, HF_BOOL, HF_NUMBER, HF_STRING, HF_ARRAY, HF_OBJECT } hf_type;

typedef struct hf_node {
    hf_type type;
    int32_t parent, child, last, next;  // -1 = none
    int32_t count;                      // of children
    bool truth;                         // HF_BOOL
    bool exact;                         // HF_NUMBER: an integer that `integer` holds
    int64_t integer;
    double number;
    kpd_text key, string;
    size_t where;                       // byte offset of the value
} hf_node;

typedef struct hf_json {
    kpd_allocator a;
    kpd_error *e;
    char name[HF_MAX_NAME * 2];         // of the file, for messages
    char *text; size_t text_size;       // owned; text[text_size] = 0
    size_t at, base;                    // base: where the text begins in its file
    hf_node *node; int32_t n_nodes; size_t capacity;
    int32_t *table; size_t table_size;  // a power of two; -1 = empty
    int32_t depth;
} hf_json;

static void hf_json_free(hf_json *j) {
    hf_free(&j->a, j->text, j->text_size + 1);
    hf_free(&j->a, j->node, j->capacity * sizeof *j->node);
    hf_free(&j->a, j->table, j->table_size * sizeof *j->table);
    j->text = NULL;
    j->node = NULL;
    j->table = NULL;
}

static kpd_status hf_json_bad(const hf_json *j, size_t at, const char *what) {
    at += j->base;
    return hf_fail(j->e, KPD_ERR_FORMAT, (int64_t)at, "%s:%.0f: %s", j->name, (double)at, what);
}

static void hf_json_space(hf_json *j) {
    while (j->at < j->text_size && memchr(" \t\r\n", j->text[j->at], 4)) j->at++;
}

static int hf_hex(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

// The four digits after \u; the zero behind the text ends them.
static bool hf_json_hex4(hf_json *j, uint32_t *out) {
    uint32_t c = 0;
    for (int i = 0; i < 4; i++) {
        int h = hf_hex(j->text[j->at]);
        if (h < 0) return false;
        c = c * 16 + (uint32_t)h;
        j->at++;
    }
    *out = c;
    return true;
}

// At a backslash: writes what it stands for to *out.
static kpd_status hf_json_escape(hf_json *j, char **out) {
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    size_t start = j->at++;
    char c = j->text[j->at];
    const char *found = c ? strchr(from, c) : NULL;
    uint32_t u = 0, low = 0;
    if (found) {
        j->at++;
        *(*out)++ = to[found - from];
        return KPD_OK;
    }
    if (c != 'u') return hf_json_bad(j, start, "unknown escape");
    j->at++;
    if (!hf_json_hex4(j, &u)) return hf_json_bad(j, start, "\\u without four hexadecimal digits");
    if (u >= 0xD800 && u < 0xE000) {
        if (u >= 0xDC00 || j->text[j->at] != '\\' || j->text[j->at + 1] != 'u') return hf_json_bad(j, start,
                "half a surrogate pair");
        j->at += 2;
        if (!hf_json_hex4(j, &low) || low < 0xDC00 || low >= 0xE000) return hf_json_bad(j, start, "half a surrogate pair");
        u = 0x10000 + ((u - 0xD800) << 10) + (low - 0xDC00);
    }
    *out += hf_utf8_put((unsigned char *)*out, u);
    return KPD_OK;
}

static kpd_status hf_json_string(hf_json *j, kpd_text *t) {
    size_t start = j->at, n;
    char *out = j->text + ++j->at;
    t->data = out;
    for (;;) {
        char c = j->text[j->at];
        if (j->at >= j->text_size) return hf_json_bad(j, start, "string without an end");
        if (c == '"') break;
        if (c == '\\') {
            kpd_status s = hf_json_escape(j, &out);
            if (s) return s;
            continue;
        }
        if ((unsigned char)c < 32) return hf_json_bad(j, j->at, "control character in a string");
        n = hf_utf8((const unsigned char *)j->text + j->at, j->text_size - j->at);
        if (n == 0) return hf_json_bad(j, j->at, "not UTF-8");
        memmove(out, j->text + j->at, n);
        out += n;
        j->at += n;
    }
    j->at++;
    t->size = (size_t)(out - t->data);
    return KPD_OK;
}

static double hf_scale10(double x, int exponent) {
    static const double p[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                               1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
    while (exponent > 22) x *= 1e22, exponent -= 22;
    while (exponent < -22) x /= 1e22, exponent += 22;
    return exponent < 0 ? x / p[-exponent] : x * p[exponent];
}

// Reads the number at *p, which ends in a byte that is not part of one; false if it is none. Own code, since strtod
// obeys the locale. Exact for integers of up to 18 digits, and to the last bit for up to 15 digits times 10^(+-22).
static bool hf_number(const char **p, double *number, int64_t *integer, bool *exact) {
    const char *s = *p;
    bool minus = *s == '-';
    uint64_t m = 0;
    int digits = 0, shift = 0, exponent = 0, sign = 1;
    s += minus;
    if (*s < '0' || *s > '9' || (*s == '0' && s[1] >= '0' && s[1] <= '9')) return false;
    *exact = true;
    for (bool fraction = false;; s++) {
        if (*s == '.' && !fraction && s[1] >= '0' && s[1] <= '9') {
            fraction = true;
            *exact = false;
        } else if (*s >= '0' && *s <= '9') {
            if (digits < 18) {
                m = m * 10 + (uint64_t)(*s - '0');
                digits += m != 0;
                shift -= fraction;
            } else {
                *exact = false;
                shift += !fraction;
            }
        } else break;
        if (shift > 100000 || shift < -100000) return false;
    }
    if (*s == '.') return false;
    if (*s == 'e' || *s == 'E') {
        *exact = false;
        s++;
        if (*s == '+' || *s == '-') sign = *s++ == '-' ? -1 : 1;
        if (*s < '0' || *s > '9') return false;
        for (; *s >= '0' && *s <= '9'; s++) exponent = exponent > 100000 ? exponent : exponent * 10 + (*s - '0');
    }
    exponent = shift + sign * exponent;
    if (exponent > 400) exponent = 400;
    if (exponent < -400) exponent = -400;
    *number = hf_scale10((double)m, exponent) * (minus ? -1 : 1);
    *integer = minus ? -(int64_t)m : (int64_t)m;
    *p = s;
    return true;
}

static bool hf_json_word(hf_json *j, const char *word) {
    size_t n = strlen(word);
    if (j->text_size - j->at < n || memcmp(j->text + j->at, word, n) != 0) return false;
    j->at += n;
    return true;
}

static kpd_status hf_json_scalar(hf_json *j, hf_node *n) {
    const char *p = j->text + j->at;
    if (*p == '"') {
        n->type = HF_STRING;
        return hf_json_string(j, &n->string);
    }
    if (hf_json_word(j, "null")) return n->type = HF_NULL, KPD_OK;
    if (hf_json_word(j, "false")) return n->type = HF_BOOL, KPD_OK;
    if (hf_json_word(j, "true")) return n->type = HF_BOOL, n->truth = true, KPD_OK;
    if (j->at == 0 && hf_starts(hf_text(p), "\xEF\xBB\xBF"))
        return hf_json_bad(j, 0, "a byte order mark, which JSON must not begin with");
    if (!hf_number(&p, &n->number, &n->integer, &n->exact)) return hf_json_bad(j, j->at, "no JSON value");
    n->type = HF_NUMBER;
    j->at = (size_t)(p - j->text);
    return KPD_OK;
}

static size_t hf_hash(const hf_json *j, int32_t object, kpd_text key) {
    uint64_t h = 0xCBF29CE484222325u ^ (uint64_t)(uint32_t)object;
    for (size_t i = 0; i < key.size; i++) h = (h ^ (unsigned char)key.data[i]) * 0x100000001B3u;
    h ^= h >> 32;
    return (size_t)(h * 0x9E3779B97F4A7C15u >> 20) & (j->table_size - 1);
}

// The table's slot of a key: where it is, or the empty one where it would go. At most half of the table is full, so among a
// million keys the longest search takes some 60 steps; a file made so that keys collide is cut off (*slot = table_size).
static size_t hf_slot(const hf_json *j, int32_t object, kpd_text key) {
    size_t slot = hf_hash(j, object, key);
    for (int probe = 0; probe < 256; probe++, slot = (slot + 1) & (j->table_size - 1)) {
        int32_t n = j->table[slot];
        if (n < 0 || (j->node[n].parent == object && hf_same(j->node[n].key, key))) return slot;
    }
    return j->table_size;
}

// Node of a key, -1 if there is none or it is null (transformers reads null as "not given").
static int32_t hf_get(const hf_json *j, int32_t object, const char *key) {
    size_t slot;
    if (object < 0 || j->node[object].type != HF_OBJECT) return -1;
    slot = hf_slot(j, object, hf_text(key));
    if (slot == j->table_size || j->table[slot] < 0) return -1;
    return j->node[j->table[slot]].type == HF_NULL ? -1 : j->table[slot];
}

// The table anew, for all keys read so far.
static kpd_status hf_json_table(hf_json *j, size_t size) {
    hf_free(&j->a, j->table, j->table_size * sizeof *j->table);
    j->table = (int32_t *)hf_alloc(&j->a, size * sizeof *j->table);
    j->table_size = j->table ? size : 0;
    if (!j->table) return hf_no_memory(j->e, j->name);
    for (size_t i = 0; i < size; i++) j->table[i] = -1;
    for (int32_t i = 1; i < j->n_nodes; i++) {
        size_t slot;
        if (j->node[j->node[i].parent].type != HF_OBJECT) continue;
        slot = hf_slot(j, j->node[i].parent, j->node[i].key);
        if (slot == size) return hf_json_bad(j, j->node[i].where, "too many keys that hash alike");
        j->table[slot] = i;
    }
    return KPD_OK;
}

// Room for one more node and, twice over, its key: as many as are read, since what a text seems to have may be a lie.
static kpd_status hf_json_room(hf_json *j) {
    size_t n = (size_t)j->n_nodes, capacity = n ? 2 * n : 16;
    hf_node *node;
    if (n < j->capacity) return KPD_OK;
    if (n >= HF_MAX_NODES)
        return hf_fail(j->e, KPD_ERR_LIMIT, (int64_t)j->at, "%s: more than %u values", j->name, HF_MAX_NODES);
    node = (hf_node *)hf_alloc(&j->a, capacity * sizeof *node);
    if (!node) return hf_no_memory(j->e, j->name);
    if (n) memcpy(node, j->node, n * sizeof *node);
    hf_free(&j->a, j->node, j->capacity * sizeof *node);
    j->node = node;
    j->capacity = capacity;
    return hf_json_table(j, 2 * capacity);
}

static hf_node *hf_json_add(hf_json *j, int32_t parent) {
    int32_t i = j->n_nodes++;
    hf_node *n = &j->node[i], *p = parent < 0 ? NULL : &j->node[parent];
    memset(n, 0, sizeof *n);
    n->parent = parent;
    n->child = n->last = n->next = -1;
    n->where = j->at;
    if (!p) return n;
    if (p->last < 0) p->child = i;
    else j->node[p->last].next = i;
    p->last = i;
    p->count++;
    return n;
}

// "key" : and the value's empty node.
static kpd_status hf_json_key(hf_json *j, int32_t object, hf_node **out) {
    kpd_text key;
    size_t start, slot;
    kpd_status s;
    hf_json_space(j);
    start = j->at;
    if (j->text[start] != '"') return hf_json_bad(j, start, "expected a key");
    if ((s = hf_json_string(j, &key))) return s;
    slot = hf_slot(j, object, key);
    if (slot == j->table_size) return hf_json_bad(j, start, "too many keys that hash alike");
    if (j->table[slot] >= 0) return hf_json_bad(j, start, "duplicate key");
    hf_json_space(j);
    if (j->text[j->at] != ':') return hf_json_bad(j, j->at, "expected :");
    j->at++;
    hf_json_space(j);
    j->table[slot] = j->n_nodes;
    *out = hf_json_add(j, object);
    (*out)->key = key;
    return KPD_OK;
}

// The next value's node: after a key in an object, anywhere else at once.
static kpd_status hf_json_next(hf_json *j, int32_t parent, hf_node **out) {
    kpd_status s = hf_json_room(j);
    if (s) return s;
    if (parent >= 0 && j->node[parent].type == HF_OBJECT) return hf_json_key(j, parent, out);
    hf_json_space(j);
    *out = hf_json_add(j, parent);
    return KPD_OK;
}

// Steps out of every container that ends here. *parent is left at the one which goes on, or at -1 at the end.
static kpd_status hf_json_close(hf_json *j, int32_t *parent, bool fresh) {
    while (*parent >= 0) {
        bool object = j->node[*parent].type == HF_OBJECT;
        hf_json_space(j);
        if (j->text[j->at] == (object ? '}' : ']')) {
            j->at++;
            j->depth--;
            *parent = j->node[*parent].parent;
            fresh = false;
            continue;
        }
        if (fresh) return KPD_OK;
        if (j->text[j->at] != ',') return hf_json_bad(j, j->at, object ? "expected , or }" : "expected , or ]");
        j->at++;
        return KPD_OK;
    }
    return KPD_OK;
}

// Without recursion: a container's node is its own stack frame.
static kpd_status hf_json_parse(hf_json *j) {
    int32_t parent = -1;
    kpd_status s;
    do {
        hf_node *n = NULL;
        bool opened;
        if ((s = hf_json_next(j, parent, &n))) return s;
        opened = j->text[j->at] == '{' || j->text[j->at] == '[';
        if (opened) {
            if (++j->depth > HF_MAX_DEPTH) return hf_json_bad(j, j->at, "nested too deeply");
            n->type = j->text[j->at++] == '{' ? HF_OBJECT : HF_ARRAY;
            parent = (int32_t)(n - j->node);
        } else if ((s = hf_json_scalar(j, n))) return s;
        if ((s = hf_json_close(j, &parent, opened))) return s;
    } while (parent >= 0);
    hf_json_space(j);
    return j->at == j->text_size ? KPD_OK : hf_json_bad(j, j->at, "text after the end");
}

// Takes over text (text_size + 1 bytes of a's, zero behind them), even on failure. The root must be an object or an array.
static kpd_status hf_json_take(hf_json *j, const char *name, char *text, size_t size, size_t base, kpd_allocator a,
                               kpd_error *e) {
    kpd_status s;
    memset(j, 0, sizeof *j);
    j->base = base;
    j->a = a;
    j->e = e;
    snprintf(j->name, sizeof j->name, "%s", name);
    j->text = text;
    j->text_size = size;
    s = hf_json_parse(j);
    if (!s && j->node[0].type != HF_OBJECT && j->node[0].type != HF_ARRAY) s = hf_json_bad(j, 0, "expected an object");
    if (s) hf_json_free(j);
    return s;
}

// dir/sub/name, a JSON file.
static kpd_status hf_json_read(hf_json *j, const char *dir, const char *sub, const char *name, kpd_allocator a, kpd_error *e) {
    char path[HF_MAX_PATH], shown[HF_MAX_NAME * 2];
    char *text = NULL;
    size_t size = 0;
    kpd_status s = hf_path(dir, sub, name, path, e);
    memset(j, 0, sizeof *j);
    snprintf(shown, sizeof shown, "%s%s%s", sub, *sub ? "/" : "", name);
    if (!s) s = hf_read_file(path, shown, HF_MAX_JSON, &a, &text, &size, e);
    return s ? s : hf_json_take(j, shown, text, size, 0, a, e);
}

// As hf_json_read, but a file that is not there gives the empty object, and *there = false.
static kpd_status hf_json_maybe(hf_json *j, const char *dir, const char *sub, const char *name, kpd_allocator a, bool *there,
                                kpd_error *e) {
    char path[HF_MAX_PATH];
    char *text;
    kpd_status s = hf_path(dir, sub, name, path, e);
    memset(j, 0, sizeof *j);
    if (s) return s;
    *there = hf_exists(path);
    if (*there) return hf_json_read(j, dir, sub, name, a, e);
    text = (char *)hf_alloc(&a, 3);
    if (!text) return hf_no_memory(e, name);
    memcpy(text, "{}", 3);
    return hf_json_take(j, name, text, 2, 0, a, e);
}

// Fails with "file:offset: key: found ..., expected ...".
static kpd_status hf_unexpected(const hf_json *j, int32_t n, kpd_status status, const char *key, const char *expected) {
    static const char *const kind[] = {"null", "a boolean", "a number", "a string", "an array", "an object"};
    const hf_node *v = &j->node[n];
    const char *found = v->type == HF_BOOL ? (v->truth ? "true" : "false") : kind[v->type];
    double where = (double)(v->where + j->base);
    if (v->type == HF_STRING)
        return hf_fail(j->e, status, (int64_t)v->where, "%s:%.0f: %s: found \"%.*s\", expected %s", j->name, where, key,
                       hf_shown(v->string), v->string.data, expected);
    if (v->type == HF_NUMBER)
        return hf_fail(j->e, status, (int64_t)v->where, "%s:%.0f: %s: found %.15g, expected %s", j->name, where, key, v->number,
                       expected);
    return hf_fail(j->e, status, (int64_t)v->where, "%s:%.0f: %s: found %s, expected %s", j->name, where, key, found, expected);
}

static kpd_status hf_missing(const hf_json *j, const char *key) {
    return hf_fail(j->e, KPD_ERR_FORMAT, -1, "%s: %s is missing", j->name, key);
}

// An integer in [lo, hi]; fallback when absent, unless that is HF_REQUIRED.
#define HF_REQUIRED (-0x7FFFFFFF)
static kpd_status hf_get_int(const hf_json *j, int32_t object, const char *key, int32_t lo, int32_t hi, int32_t fallback,
                             int32_t *out) {
    char expected[64];
    int32_t n = hf_get(j, object, key);
    if (n < 0 && fallback == HF_REQUIRED) return hf_missing(j, key);
    if (n < 0) return *out = fallback, KPD_OK;
    snprintf(expected, sizeof expected, "an integer from %d to %d", (int)lo, (int)hi);
    if (j->node[n].type != HF_NUMBER || !j->node[n].exact || j->node[n].integer < lo || j->node[n].integer > hi)
        return hf_unexpected(j, n, KPD_ERR_FORMAT, key, expected);
    *out = (int32_t)j->node[n].integer;
    return KPD_OK;
}

static kpd_status hf_get_bool(const hf_json *j, int32_t object, const char *key, bool fallback, bool *out) {
    int32_t n = hf_get(j, object, key);
    *out = fallback;
    if (n < 0) return KPD_OK;
    if (j->node[n].type != HF_BOOL) return hf_unexpected(j, n, KPD_ERR_FORMAT, key, "true or false");
    *out = j->node[n].truth;
    return KPD_OK;
}

// A string; {NULL, 0} when absent.
static kpd_status hf_get_string(const hf_json *j, int32_t object, const char *key, kpd_text *out) {
    int32_t n = hf_get(j, object, key);
    *out = hf_text(NULL);
    if (n < 0) return KPD_OK;
    if (j->node[n].type != HF_STRING) return hf_unexpected(j, n, KPD_ERR_FORMAT, key, "a string");
    *out = j->node[n].string;
    return KPD_OK;
}

// Absent, or a boolean of this value: for switches that change the result and that kpd has in one position only.
static kpd_status hf_must_be(const hf_json *j, int32_t object, const char *key, bool value) {
    bool found;
    kpd_status s = hf_get_bool(j, object, key, value, &found);
    if (s || found == value) return s;
    return hf_unexpected(j, hf_get(j, object, key), KPD_ERR_UNSUPPORTED, key, value ? "true" : "false");
}

// Absent, or this very string.
static kpd_status hf_must_say(const hf_json *j, int32_t object, const char *key, const char *value) {
    int32_t n = hf_get(j, object, key);
    if (n < 0 || (j->node[n].type == HF_STRING && hf_is(j->node[n].string, value))) return KPD_OK;
    return hf_unexpected(j, n, KPD_ERR_UNSUPPORTED, key, value);
}

// Absent, or empty: no elements, no text, not true.
static kpd_status hf_must_be_empty(const hf_json *j, int32_t object, const char *key) {
    int32_t n = hf_get(j, object, key);
    const hf_node *v = n < 0 ? NULL : &j->node[n];
    if (!v || (v->type != HF_NUMBER && v->count == 0 && v->string.size == 0 && !v->truth)) return KPD_OK;
    return hf_unexpected(j, n, KPD_ERR_UNSUPPORTED, key, "nothing");
}

// What becomes of a key of a JSON file. No key is passed over in silence: each file has a table of those that are known, and
// a key without an entry is refused by name, since it could change the result. So is a value that an entry does not allow.
typedef enum hf_use {
    HF_READ,                            // honoured, by the code that reads the file; null is the same as absent
    HF_GIVEN,                           // honoured too, where null would mean something else to the reference: refused
    HF_IDLE,                            // without effect on ids, vectors and logits; `text` says why
    HF_TRUE, HF_FALSE,                  // kpd has this switch in one position only
    HF_SAYS,                            // this text only
    HF_EMPTY,                           // nothing: no elements, no text, not true
    HF_TOKEN, HF_TOKENS                 // special tokens: they must be among the five, found as they stand; see >>tokenizer
} hf_use;

typedef struct hf_key {
    const char *name;                   // "*_x" stands for every key that ends in _x
    hf_use use;
    const char *text;
} hf_key;

// The entry of a key in a table that ends with a name of NULL; NULL = none. Tokens are strings or objects: "add_bos_token",
// a boolean, is none.
static const hf_key *hf_known_key(const hf_node *v, const hf_key *known) {
    for (; known->name; known++) {
        bool kin = known->name[0] == '*' && hf_ends(v->key, known->name + 1);
        if (known->use == HF_TOKEN && kin) kin = v->type == HF_STRING || v->type == HF_OBJECT || v->type == HF_NULL;
        if (kin || hf_is(v->key, known->name)) return known;
    }
    return NULL;
}

// Checks every key of an object but the special tokens.
static kpd_status hf_walk(const hf_json *j, int32_t object, const hf_key *known) {
    if (object < 0) return KPD_OK;
    if (j->node[object].type != HF_OBJECT) return hf_unexpected(j, object, KPD_ERR_FORMAT, "the value", "an object");
    for (int32_t n = j->node[object].child; n >= 0; n = j->node[n].next) {
        const hf_node *v = &j->node[n];
        const hf_key *k = hf_known_key(v, known);
        char name[64];
        kpd_status s = KPD_OK;
        snprintf(name, sizeof name, "%.*s", hf_shown(v->key), v->key.data);
        if (!k && v->type != HF_NULL)
            s = hf_unexpected(j, n, KPD_ERR_UNSUPPORTED, name, "no such key: what it changes is not known");
        else if (k && k->use == HF_GIVEN && v->type == HF_NULL) s = hf_unexpected(j, n, KPD_ERR_UNSUPPORTED, name, "a value");
        else if (k && (k->use == HF_TRUE || k->use == HF_FALSE)) s = hf_must_be(j, object, name, k->use == HF_TRUE);
        else if (k && k->use == HF_SAYS) s = hf_must_say(j, object, name, k->text);
        else if (k && k->use == HF_EMPTY) s = hf_must_be_empty(j, object, name);
        if (s) return s;
    }
    return KPD_OK;
}

// ---- >>safetensors ------------------------------------------------------------------------------------------------
// A file is u64 header size, the header (JSON: name -> dtype, shape, data_offsets), and the data, which the tensors
// cover without gap or overlap. Only headers are kept in memory; a tensor is read when it is asked for.

typedef struct hf_tensor {
    kpd_text name, dtype;
    int32_t n_dims, shape[HF_MAX_DIMS];
    int32_t shard;
    uint64_t begin, end;                // of its data, in the file
    bool used;
} hf_tensor;

typedef struct hf_shard {
    char name[HF_MAX_NAME];
    hf_json header;
} hf_shard;

typedef struct hf_weights {
    const char *dir;
    char sub[HF_MAX_NAME];
    kpd_allocator a;
    kpd_error *e;
    hf_shard *shard; int32_t n_shards, shard_capacity;
    hf_tensor *tensor; int32_t n_tensors, tensor_capacity;
    hf_tensor **by_name;                // [n_tensors], once all files are open
} hf_weights;

static void hf_weights_close(hf_weights *w) {
    for (int32_t i = 0; i < w->n_shards; i++) hf_json_free(&w->shard[i].header);
    hf_free(&w->a, w->shard, (size_t)w->shard_capacity * sizeof *w->shard);
    hf_free(&w->a, w->by_name, (size_t)w->n_tensors * sizeof *w->by_name);
    hf_free(&w->a, w->tensor, (size_t)w->tensor_capacity * sizeof *w->tensor);
    w->by_name = NULL;
    w->shard = NULL;
    w->tensor = NULL;
    w->n_shards = w->n_tensors = 0;
}

static int32_t hf_dtype_size(kpd_text dtype) {
    static const struct { const char *name; int32_t size; } known[] = {{"F32", 4}, {"F16", 2}, {"BF16", 2}, {"F64", 8}, {"I64",
            8},
        {"I32", 4}, {"I16", 2}, {"I8", 1}, {"U8", 1}, {"U16", 2}, {"U32", 4}, {"U64", 8}, {"BOOL", 1}, {"F8_E4M3", 1},
            {"F8_E5M2", 1}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (hf_is(dtype, known[i].name)) return known[i].size;
    }
    return 0;
}

static kpd_status hf_bad_tensor(const hf_json *j, const hf_node *v, const char *what) {
    return hf_fail(j->e, KPD_ERR_FORMAT, (int64_t)(v->where + j->base), "%s: tensor %.*s: %s", j->name, hf_shown(v->key),
                   v->key.data, what);
}

// shape: *count gets its product.
static kpd_status hf_tensor_shape(const hf_json *j, const hf_node *v, int32_t shape, hf_tensor *t, uint64_t *count) {
    *count = 1;
    if (shape < 0 || j->node[shape].type != HF_ARRAY) return hf_bad_tensor(j, v, "has no shape");
    if (j->node[shape].count > HF_MAX_DIMS) return hf_bad_tensor(j, v, "has too many dimensions");
    for (int32_t n = j->node[shape].child; n >= 0; n = j->node[n].next) {
        int64_t dim = j->node[n].integer;
        if (j->node[n].type != HF_NUMBER || !j->node[n].exact || dim < 0 || dim > INT32_MAX) return hf_bad_tensor(j, v,
                "impossible shape");
        if (dim > 0 && *count > ((uint64_t)1 << 56) / (uint64_t)dim) return hf_bad_tensor(j, v, "shape too large");
        *count *= (uint64_t)dim;
        t->shape[t->n_dims++] = (int32_t)dim;
    }
    return KPD_OK;
}

static kpd_status hf_tensor_offsets(const hf_json *j, const hf_node *v, int32_t offsets, uint64_t data_size, hf_tensor *t) {
    const hf_node *b, *e;
    if (offsets < 0 || j->node[offsets].type != HF_ARRAY || j->node[offsets].count != 2) return hf_bad_tensor(j, v,
            "has no data_offsets");
    b = &j->node[j->node[offsets].child];
    e = &j->node[b->next];
    if (b->type != HF_NUMBER || e->type != HF_NUMBER || !b->exact || !e->exact || b->integer < 0 || e->integer < b->integer ||
        (uint64_t)e->integer > data_size)
        return hf_bad_tensor(j, v, "data_offsets outside of the file");
    t->begin = (uint64_t)b->integer;
    t->end = (uint64_t)e->integer;
    return KPD_OK;
}

static kpd_status hf_tensor_read(const hf_json *j, int32_t node, uint64_t data_size, hf_tensor *t) {
    static const hf_key known[] = {{"dtype", HF_READ, NULL}, {"shape", HF_READ, NULL}, {"data_offsets", HF_READ, NULL},
                                   {NULL, HF_READ, NULL}};
    const hf_node *v = &j->node[node];
    uint64_t count = 0;
    kpd_status s;
    memset(t, 0, sizeof *t);
    t->name = v->key;
    if (v->type != HF_OBJECT) return hf_bad_tensor(j, v, "is no object");
    if ((s = hf_walk(j, node, known))) return s;
    if ((s = hf_get_string(j, node, "dtype", &t->dtype))) return s;
    if ((s = hf_tensor_shape(j, v, hf_get(j, node, "shape"), t, &count))) return s;
    if ((s = hf_tensor_offsets(j, v, hf_get(j, node, "data_offsets"), data_size, t))) return s;
    if (!hf_dtype_size(t->dtype))
        return hf_fail(j->e, KPD_ERR_UNSUPPORTED, -1, "%s: tensor %.*s: dtype %.*s is not supported", j->name,
                       hf_shown(t->name),
                       t->name.data, hf_shown(t->dtype), t->dtype.data);
    if (t->end - t->begin != count * (uint64_t)hf_dtype_size(t->dtype)) return hf_bad_tensor(j, v,
            "data_offsets do not fit its shape");
    return KPD_OK;
}

static int hf_by_offset(const void *a, const void *b) {
    const hf_tensor *x = (const hf_tensor *)a, *y = (const hf_tensor *)b;
    if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
    return x->end < y->end ? -1 : x->end > y->end;
}

// Also makes the offsets absolute.
static kpd_status hf_check_cover(const hf_json *j, hf_tensor *t, int32_t n, uint64_t data_begin, uint64_t data_size) {
    uint64_t end = 0;
    if (n > 0) qsort(t, (size_t)n, sizeof *t, hf_by_offset);
    for (int32_t i = 0; i < n; i++) {
        if (t[i].begin != end)
            return hf_fail(j->e, KPD_ERR_FORMAT, -1, "%s: tensor %.*s begins at byte %.0f of the data, expected %.0f", j->name,
                           hf_shown(t[i].name), t[i].name.data, (double)t[i].begin, (double)end);
        end = t[i].end;
        t[i].begin += data_begin;
        t[i].end += data_begin;
    }
    if (end != data_size)
        return hf_fail(j->e, KPD_ERR_FORMAT, -1, "%s: %.0f bytes of data, expected %.0f", j->name, (double)data_size,
                       (double)end);
    return KPD_OK;
}

// The header's text (size + 1 bytes, zero behind it), and the size of what follows.
static kpd_status hf_header_text(hf_weights *w, FILE *f, const char *name, char **text, size_t *size, uint64_t *data_size) {
    unsigned char head[64];
    uint64_t total = 0, n = 0;
    size_t got;
    kpd_status s = hf_file_size(f, name, &total, w->e);
    if (s) return s;
    got = fread(head, 1, sizeof head, f);
    if (hf_mistaken((const char *)head, got))
        return hf_fail(w->e, KPD_ERR_FORMAT, 0, "%s: %s", name, hf_mistaken((const char *)head, got));
    if (got < 8) return hf_fail(w->e, KPD_ERR_FORMAT, 0, "%s: %.0f bytes, expected a header", name, (double)total);
    if (fseek(f, 8, SEEK_SET)) return hf_fail(w->e, KPD_ERR_IO, -1, "%s: cannot be read", name);
    for (int i = 7; i >= 0; i--) n = n << 8 | head[i];
    if (n > HF_MAX_JSON)
        return hf_fail(w->e, KPD_ERR_FORMAT, 0, "%s: is no safetensors file: its first 8 bytes would be a header's size of "
                       "%.0f, expected at most %.0f", name, (double)n, (double)HF_MAX_JSON);
    if (n > total - 8)
        return hf_fail(w->e, KPD_ERR_FORMAT, 0, "%s: header of %.0f bytes, found a file of %.0f", name, (double)n,
                       (double)total);
    *text = (char *)hf_alloc(&w->a, (size_t)n + 1);
    if (!*text) return hf_no_memory(w->e, name);
    *size = (size_t)n;
    *data_size = total - 8 - n;
    if (fread(*text, 1, (size_t)n, f) == (size_t)n) return (*text)[n] = 0, KPD_OK;
    hf_free(&w->a, *text, (size_t)n + 1);
    return hf_fail(w->e, KPD_ERR_IO, -1, "%s: cannot be read", name);
}

static kpd_status hf_more_tensors(hf_weights *w, int32_t more) {
    int32_t capacity = w->n_tensors + more;
    hf_tensor *t;
    if (capacity > HF_MAX_TENSORS) return hf_fail(w->e, KPD_ERR_LIMIT, -1, "more than %d tensors", HF_MAX_TENSORS);
    t = (hf_tensor *)hf_alloc(&w->a, (size_t)capacity * sizeof *t);
    if (!t) return hf_no_memory(w->e, "tensors");
    if (w->n_tensors) memcpy(t, w->tensor, (size_t)w->n_tensors * sizeof *t);
    hf_free(&w->a, w->tensor, (size_t)w->tensor_capacity * sizeof *t);
    w->tensor = t;
    w->tensor_capacity = capacity;
    return KPD_OK;
}

// Adds the tensors of the header in j.
static kpd_status hf_shard_tensors(hf_weights *w, const hf_json *j, uint64_t data_size) {
    int32_t first = w->n_tensors;
    kpd_status s;
    if (j->node[0].type != HF_OBJECT) return hf_json_bad(j, 0, "expected an object");
    if ((s = hf_more_tensors(w, j->node[0].count))) return s;
    for (int32_t n = j->node[0].child; n >= 0; n = j->node[n].next) {
        hf_tensor *t = &w->tensor[w->n_tensors];
        if (hf_is(j->node[n].key, "__metadata__")) continue;
        if ((s = hf_tensor_read(j, n, data_size, t))) return s;
        t->shard = w->n_shards - 1;
        w->n_tensors++;
    }
    return hf_check_cover(j, w->tensor + first, w->n_tensors - first, 8 + (uint64_t)j->text_size, data_size);
}

static kpd_status hf_shard_open(hf_weights *w, kpd_text name) {
    char path[HF_MAX_PATH], shown[HF_MAX_NAME * 2];
    hf_shard *shard = &w->shard[w->n_shards];
    char *text = NULL;
    size_t size = 0;
    uint64_t data_size = 0;
    kpd_status s;
    FILE *f;
    memcpy(shard->name, name.data, name.size);
    shard->name[name.size] = 0;
    snprintf(shown, sizeof shown, "%s%s%s", w->sub, *w->sub ? "/" : "", shard->name);
    if ((s = hf_path(w->dir, w->sub, shard->name, path, w->e))) return s;
    if ((s = hf_open(path, &f, w->e))) return s;
    s = hf_header_text(w, f, shown, &text, &size, &data_size);
    fclose(f);
    if (s) return s;
    if ((s = hf_json_take(&shard->header, shown, text, size, 8, w->a, w->e))) return s;
    w->n_shards++;
    return hf_shard_tensors(w, &shard->header, data_size);
}

static int hf_compare(kpd_text a, kpd_text b) {
    size_t n = a.size < b.size ? a.size : b.size;
    int c = n ? memcmp(a.data, b.data, n) : 0;
    return c ? c : a.size < b.size ? -1 : a.size > b.size;
}

static int hf_by_name(const void *a, const void *b) {
    const hf_tensor *x = *(hf_tensor *const *)a, *y = *(hf_tensor *const *)b;
    int c = hf_compare(x->name, y->name);
    return c ? c : x < y ? -1 : x > y;
}

static kpd_status hf_sort_tensors(hf_weights *w) {
    w->by_name = (hf_tensor **)hf_alloc(&w->a, (size_t)w->n_tensors * sizeof *w->by_name);
    if (!w->by_name) return hf_no_memory(w->e, "tensors");
    for (int32_t i = 0; i < w->n_tensors; i++) w->by_name[i] = &w->tensor[i];
    if (w->n_tensors) qsort(w->by_name, (size_t)w->n_tensors, sizeof *w->by_name, hf_by_name);
    return KPD_OK;
}

// A name against another in two parts.
static int hf_compare_joined(kpd_text t, kpd_text prefix, kpd_text name) {
    kpd_text head = t;
    int c;
    if (head.size > prefix.size) head.size = prefix.size;
    c = hf_compare(head, prefix);
    return c ? c : hf_compare(hf_after(t, prefix.size), name);
}

static hf_tensor *hf_find(hf_weights *w, kpd_text prefix, kpd_text name) {
    int32_t from = 0, to = w->n_tensors;
    while (from < to) {
        int32_t middle = from + (to - from) / 2;
        if (hf_compare_joined(w->by_name[middle]->name, prefix, name) < 0) from = middle + 1;
        else to = middle;
    }
    return from < w->n_tensors && !hf_compare_joined(w->by_name[from]->name, prefix, name) ? w->by_name[from] : NULL;
}

static int32_t hf_shard_index(const hf_weights *w, kpd_text name) {
    int32_t i = 0;
    while (i < w->n_shards && !hf_is(name, w->shard[i].name)) i++;
    return i;
}

// weight_map: tensor -> file. Every file must hold what the map says, and nothing else.
static kpd_status hf_open_map(hf_weights *w, const hf_json *j) {
    static const hf_key known[] = {{"weight_map", HF_READ, NULL}, {"metadata", HF_IDLE, "sizes"}, {NULL, HF_READ, NULL}};
    int32_t map = hf_get(j, 0, "weight_map");
    kpd_status s = hf_walk(j, 0, known);
    if (s) return s;
    if (map < 0 || j->node[map].type != HF_OBJECT) return hf_missing(j, "weight_map");
    if (j->node[map].count > HF_MAX_TENSORS)
        return hf_fail(w->e, KPD_ERR_LIMIT, -1, "%s: names more than %d tensors", j->name, HF_MAX_TENSORS);
    for (int32_t n = j->node[map].child; n >= 0; n = j->node[n].next) {
        kpd_text file = j->node[n].string;
        if (!hf_safe_name(file)) return hf_unexpected(j, n, KPD_ERR_FORMAT, "weight_map", "names of files in this folder");
        if (hf_shard_index(w, file) < w->n_shards) continue;
        if (w->n_shards == w->shard_capacity) return hf_fail(w->e, KPD_ERR_LIMIT, -1, "%s: more than %d shards", j->name,
                                                             HF_MAX_SHARDS);
        if ((s = hf_shard_open(w, file))) return s;
    }
    if (j->node[map].count != w->n_tensors)
        return hf_fail(w->e, KPD_ERR_FORMAT, -1, "%s: names %d tensors, found %d in its files", j->name,
                       (int)j->node[map].count,
                       (int)w->n_tensors);
    for (int32_t i = 0; i < w->n_tensors; i++) {
        size_t slot = hf_slot(j, map, w->tensor[i].name);
        int32_t n = slot == j->table_size ? -1 : j->table[slot];
        if (n < 0 || !hf_is(j->node[n].string, w->shard[w->tensor[i].shard].name))
            return hf_fail(w->e, KPD_ERR_FORMAT, -1, "%s: tensor %.*s is not where it should be", j->name,
                           hf_shown(w->tensor[i].name),
                           w->tensor[i].name.data);
    }
    return KPD_OK;
}

static kpd_status hf_shard_room(hf_weights *w, int32_t n) {
    w->shard = (hf_shard *)hf_alloc(&w->a, (size_t)n * sizeof *w->shard);
    if (!w->shard) return hf_no_memory(w->e, "model.safetensors");
    w->shard_capacity = n;
    return KPD_OK;
}

static kpd_status hf_open_files(hf_weights *w) {
    char path[HF_MAX_PATH];
    hf_json map;
    bool there;
    kpd_status s = hf_path(w->dir, w->sub, "model.safetensors", path, w->e);
    if (s) return s;
    if (hf_exists(path)) {
        s = hf_shard_room(w, 1);
        return s ? s : hf_shard_open(w, hf_text("model.safetensors"));
    }
    if ((s = hf_json_maybe(&map, w->dir, w->sub, "model.safetensors.index.json", w->a, &there, w->e))) return s;
    if (there) {
        s = hf_shard_room(w, HF_MAX_SHARDS);
        if (!s) s = hf_open_map(w, &map);
    } else s = hf_fail(w->e, KPD_ERR_IO, -1,
                       "%s: cannot be opened (weights in other formats, as pytorch_model.bin, are not read)", path);
    hf_json_free(&map);
    return s;
}

// dir/sub/model.safetensors, or its shards. Close it in any case.
static kpd_status hf_weights_open(hf_weights *w, const char *dir, const char *sub, kpd_allocator a, kpd_error *e) {
    kpd_status s;
    memset(w, 0, sizeof *w);
    w->dir = dir;
    snprintf(w->sub, sizeof w->sub, "%s", sub);
    w->a = a;
    w->e = e;
    s = hf_open_files(w);
    return s ? s : hf_sort_tensors(w);
}

static float hf_float(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

// IEEE half: sign, 5 bits of exponent (bias 15), 10 of fraction. Exact.
static float hf_half(uint32_t h) {
    uint32_t sign = (h & 0x8000) << 16, exponent = h >> 10 & 31, fraction = h & 1023;
    if (exponent == 31) return hf_float(sign | 0x7F800000 | fraction << 13);
    if (exponent) return hf_float(sign | (exponent + 112) << 23 | fraction << 13);
    return (sign ? -1.0f : 1.0f) * (float)fraction * (1.0f / 16777216.0f);
}

// Little-endian bytes of n numbers to floats; false if one is not finite.
static bool hf_convert(const unsigned char *p, size_t n, kpd_text dtype, float *out) {
    bool half = hf_is(dtype, "F16");
    size_t width = (size_t)hf_dtype_size(dtype);
    uint32_t worst = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t bits = 0;
        float x;
        for (size_t k = width; k-- > 0;) bits = bits << 8 | p[width * i + k];
        x = half ? hf_half(bits) : hf_float(bits << (width == 2 ? 16 : 0));
        memcpy(&bits, &x, sizeof bits);
        bits &= 0x7FFFFFFF;
        worst = bits > worst ? bits : worst;
        out[i] = x;
    }
    return worst < 0x7F800000;
}

// The first n numbers of a tensor.
static kpd_status hf_read_floats(const hf_weights *w, const hf_tensor *t, size_t n, float *out) {
    unsigned char chunk[16384];
    char path[HF_MAX_PATH];
    const hf_json *j = &w->shard[t->shard].header;
    size_t width = (size_t)hf_dtype_size(t->dtype);
    kpd_status s = hf_path(w->dir, w->sub, w->shard[t->shard].name, path, w->e);
    FILE *f;
    if (s) return s;
    if (!hf_is(t->dtype, "F32") && !hf_is(t->dtype, "F16") && !hf_is(t->dtype, "BF16"))
        return hf_fail(w->e, KPD_ERR_UNSUPPORTED, -1, "%s: tensor %.*s: dtype %.*s, expected F32, F16 or BF16", j->name,
                       hf_shown(t->name), t->name.data, hf_shown(t->dtype), t->dtype.data);
    if (t->begin > (uint64_t)LONG_MAX) return hf_fail(w->e, KPD_ERR_LIMIT, -1, "%s: too large for this system", j->name);
    if ((s = hf_open(path, &f, w->e))) return s;
    if (fseek(f, (long)t->begin, SEEK_SET)) s = hf_fail(w->e, KPD_ERR_IO, -1, "%s: cannot be read", path);
    for (size_t done = 0; !s && done < n;) {
        size_t some = n - done < sizeof chunk / width ? n - done : sizeof chunk / width;
        if (fread(chunk, width, some, f) != some) s = hf_fail(w->e, KPD_ERR_IO, -1, "%s: cannot be read", j->name);
        else if (!hf_convert(chunk, some, t->dtype, out + done))
            s = hf_fail(w->e, KPD_ERR_FORMAT, (int64_t)(t->begin + done * width), "%s: tensor %.*s: a weight is not finite",
                        j->name,
                        hf_shown(t->name), t->name.data);
        done += some;
    }
    if (f) fclose(f);
    return s;
}

// ---- >>config -----------------------------------------------------------------------------------------------------
// What an import knows so far.

#define HF_N_SPECIAL 5
static const char *const hf_special_key[HF_N_SPECIAL] = {"unk_token", "cls_token", "sep_token", "pad_token", "mask_token"};
static const char *const hf_special_default[HF_N_SPECIAL] = {"[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"};

typedef struct hf_import_state {
    const char *dir;
    const hf_import_desc *d;
    kpd_allocator a;
    kpd_error *e;
    kpd_model_desc model;
    char root[HF_MAX_NAME];                         // the Transformer module's folder, mostly ""
    char module[4][HF_MAX_NAME];                    // folders of the model's modules
    char architecture[HF_MAX_NAME];
    bool has_modules, has_pooling;
    char item[HF_MAX_TEMPLATE], keyphrase[HF_MAX_TEMPLATE], pair[HF_MAX_TEMPLATE];   // "" = not said
    int32_t kpd_max_tokens, max_seq_length;         // 0 = not said
    int32_t model_max_length;                       // tokenizer_config.json's
    bool lower;                                     // sentence_bert_config.json: do_lower_case
    char special[HF_N_SPECIAL][HF_MAX_NAME];
    char config_class[HF_MAX_NAME];                 // config.json's tokenizer_class
    bool no_lower, no_cjk;
    int32_t strip;                                  // accents: 1 yes, -1 no, 0 = as lower
    kpd_tokenizer *tokenizer;
} hf_import_state;

static void hf_note(const hf_import_state *in, const char *format, ...) {
    char line[256];
    kpd_error clean;
    size_t used = in->d->note && in->d->note_size ? strlen(in->d->note) : 0;
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    kpd_error_set(&clean, KPD_OK, -1, "%s", line);
    if (in->d->note && used + 1 < in->d->note_size)
        snprintf(in->d->note + used, in->d->note_size - used, "%s\n", clean.message);
}

static kpd_status hf_copy_text(const hf_json *j, const char *what, kpd_text t, char *out, size_t capacity) {
    if (t.size >= capacity || (t.size && memchr(t.data, 0, t.size)))
        return hf_fail(j->e, KPD_ERR_LIMIT, -1, "%s: %s: text of %.0f bytes, expected at most %.0f, without zeros", j->name,
                       what,
                       (double)t.size, (double)(capacity - 1));
    if (t.size) memcpy(out, t.data, t.size);
    out[t.size] = 0;
    return KPD_OK;
}

// gelu_fast writes the tanh formula another way; gelu_python is gelu.
static bool hf_activation(kpd_text name, kpd_activation *out) {
    static const struct { const char *name; kpd_activation value; } known[] = {{"gelu", KPD_GELU}, {"gelu_python", KPD_GELU},
        {"gelu_new", KPD_GELU_TANH}, {"gelu_pytorch_tanh", KPD_GELU_TANH}, {"gelu_fast", KPD_GELU_TANH}, {"relu", KPD_RELU},
            {"tanh", KPD_TANH}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (hf_is(name, known[i].name)) return *out = known[i].value, true;
    }
    return false;
}

static const char hf_training[] = "of training alone", hf_output[] = "what else a call returns", hf_named[] = "a name",
                  hf_generation[] = "of generating text", hf_head[] = "of a head that is left out",
                  hf_logits[] = "follows the logits, which are what kpd gives", hf_dtype[] = "the weights' own type counts";

static const hf_key hf_config_keys[] = {
    {"model_type", HF_READ, NULL}, {"architectures", HF_READ, NULL}, {"hidden_size", HF_READ, NULL},
    {"num_hidden_layers", HF_READ, NULL}, {"num_attention_heads", HF_READ, NULL}, {"intermediate_size", HF_READ, NULL},
    {"max_position_embeddings", HF_READ, NULL}, {"type_vocab_size", HF_READ, NULL}, {"vocab_size", HF_READ, NULL},
    {"hidden_act", HF_READ, NULL}, {"layer_norm_eps", HF_READ, NULL}, {"embedding_size", HF_READ, NULL},
    {"id2label", HF_READ, NULL}, {"num_labels", HF_READ, NULL}, {"tokenizer_class", HF_READ, NULL}, {"kpd", HF_READ, NULL},
    {"sentence_transformers", HF_READ, NULL},
    {"position_embedding_type", HF_SAYS, "absolute"}, {"word_tokenizer_type", HF_SAYS, "basic"},
    {"subword_tokenizer_type", HF_SAYS, "wordpiece"}, {"is_decoder", HF_FALSE, NULL}, {"is_encoder_decoder", HF_FALSE, NULL},
    {"is_causal", HF_FALSE, NULL}, {"add_cross_attention", HF_FALSE, NULL}, {"pruned_heads", HF_EMPTY, NULL},
    {"quantization_config", HF_EMPTY, NULL}, {"auto_map", HF_EMPTY, NULL}, {"processor_class", HF_EMPTY, NULL},
    {"attention_probs_dropout_prob", HF_IDLE, hf_training}, {"hidden_dropout_prob", HF_IDLE, hf_training},
    {"classifier_dropout", HF_IDLE, hf_training}, {"initializer_range", HF_IDLE, hf_training},
    {"gradient_checkpointing", HF_IDLE, hf_training}, {"finetuning_task", HF_IDLE, hf_training},
    {"problem_type", HF_IDLE, hf_training}, {"tf_legacy_loss", HF_IDLE, hf_training},
    {"task_specific_params", HF_IDLE, hf_generation}, {"label2id", HF_IDLE, hf_named}, {"_name_or_path", HF_IDLE, hf_named},
    {"name_or_path", HF_IDLE, hf_named}, {"transformers_version", HF_IDLE, hf_named}, {"_commit_hash", HF_IDLE, hf_named},
    {"output_attentions", HF_IDLE, hf_output}, {"output_hidden_states", HF_IDLE, hf_output},
    {"return_dict", HF_IDLE, hf_output}, {"use_return_dict", HF_IDLE, hf_output}, {"output_past", HF_IDLE, hf_output},
    {"use_cache", HF_IDLE, hf_output},
    {"torchscript", HF_IDLE, hf_output}, {"xla_device", HF_IDLE, hf_output},
    {"chunk_size_feed_forward", HF_IDLE, "rows are computed by themselves"}, {"dtype", HF_IDLE, hf_dtype},
    {"torch_dtype", HF_IDLE, hf_dtype}, {"use_bfloat16", HF_IDLE, hf_dtype},
    {"attn_implementation", HF_IDLE, "all compute the same"}, {"_attn_implementation", HF_IDLE, "all compute the same"},
    {"_attn_implementation_autoset", HF_IDLE, "all compute the same"},
    {"_attn_implementation_internal", HF_IDLE, "all compute the same"},
    {"tie_word_embeddings", HF_IDLE, hf_head}, {"tie_encoder_decoder", HF_IDLE, hf_head},
    {"cross_attention_hidden_size", HF_IDLE, hf_head}, {"directionality", HF_IDLE, hf_head},
    {"pooler_fc_size", HF_IDLE, hf_head}, {"pooler_num_attention_heads", HF_IDLE, hf_head},
    {"pooler_num_fc_layers", HF_IDLE, hf_head}, {"pooler_size_per_head", HF_IDLE, hf_head}, {"pooler_type", HF_IDLE, hf_head},
    {"sbert_ce_default_activation_function", HF_IDLE, hf_logits}, {"matryoshka_dimensions", HF_IDLE, "what --dim may be"},
    {"*_token_id", HF_IDLE, "padding is masked, the rest generates text"}, {"prefix", HF_IDLE, hf_generation},
    {"bad_words_ids", HF_IDLE, hf_generation}, {"begin_suppress_tokens", HF_IDLE, hf_generation},
    {"diversity_penalty", HF_IDLE, hf_generation}, {"do_sample", HF_IDLE, hf_generation},
    {"early_stopping", HF_IDLE, hf_generation}, {"encoder_no_repeat_ngram_size", HF_IDLE, hf_generation},
    {"exponential_decay_length_penalty", HF_IDLE, hf_generation}, {"length_penalty", HF_IDLE, hf_generation},
    {"max_length", HF_IDLE, hf_generation}, {"min_length", HF_IDLE, hf_generation},
    {"no_repeat_ngram_size", HF_IDLE, hf_generation}, {"num_beam_groups", HF_IDLE, hf_generation},
    {"num_beams", HF_IDLE, hf_generation}, {"num_return_sequences", HF_IDLE, hf_generation},
    {"output_scores", HF_IDLE, hf_generation}, {"remove_invalid_values", HF_IDLE, hf_generation},
    {"repetition_penalty", HF_IDLE, hf_generation}, {"return_dict_in_generate", HF_IDLE, hf_generation},
    {"suppress_tokens", HF_IDLE, hf_generation}, {"temperature", HF_IDLE, hf_generation}, {"top_k", HF_IDLE, hf_generation},
    {"top_p", HF_IDLE, hf_generation}, {"typical_p", HF_IDLE, hf_generation}, {NULL, HF_READ, NULL}};

static kpd_status hf_config_sizes(hf_import_state *in, const hf_json *j) {
    kpd_model_desc *m = &in->model;
    kpd_status s;
    if ((s = hf_get_int(j, 0, "hidden_size", 1, KPD_MAX_WIDTH, HF_REQUIRED, &m->width))) return s;
    if ((s = hf_get_int(j, 0, "num_hidden_layers", 1, KPD_MAX_LAYERS, HF_REQUIRED, &m->n_layers))) return s;
    if ((s = hf_get_int(j, 0, "num_attention_heads", 1, KPD_MAX_WIDTH, HF_REQUIRED, &m->n_heads))) return s;
    if ((s = hf_get_int(j, 0, "intermediate_size", 1, KPD_MAX_WIDTH, HF_REQUIRED, &m->ffn_width))) return s;
    if ((s = hf_get_int(j, 0, "max_position_embeddings", 1, KPD_MAX_POSITIONS, HF_REQUIRED, &m->n_positions))) return s;
    if ((s = hf_get_int(j, 0, "type_vocab_size", 1, 16, 2, &m->n_types))) return s;
    if ((s = hf_get_int(j, 0, "vocab_size", 1, KPD_MAX_VOCAB, HF_REQUIRED, &m->vocab_size))) return s;
    if (m->width % m->n_heads != 0)
        return hf_fail(in->e, KPD_ERR_FORMAT, -1, "%s: hidden_size %d is not a multiple of num_attention_heads %d", j->name,
                       (int)m->width, (int)m->n_heads);
    return KPD_OK;
}

// Options that change what BERT computes.
static kpd_status hf_config_options(hf_import_state *in, const hf_json *j) {
    int32_t n = hf_get(j, 0, "hidden_act"), width = 0;
    kpd_status s;
    in->model.activation = KPD_GELU;
    if (n >= 0 && (j->node[n].type != HF_STRING || !hf_activation(j->node[n].string, &in->model.activation)))
        return hf_unexpected(j, n, KPD_ERR_UNSUPPORTED, "hidden_act",
                             "gelu, gelu_new, gelu_pytorch_tanh, gelu_fast, relu or tanh");
    if ((s = hf_get_int(j, 0, "embedding_size", 1, KPD_MAX_WIDTH, in->model.width, &width))) return s;
    if (width != in->model.width)
        return hf_fail(in->e, KPD_ERR_UNSUPPORTED, -1,
                       "%s: embedding_size %d, expected hidden_size %d (factorised embeddings)", j->name,
                       (int)width, (int)in->model.width);
    return KPD_OK;
}

static kpd_status hf_config_epsilon(hf_import_state *in, const hf_json *j) {
    int32_t n = hf_get(j, 0, "layer_norm_eps");
    in->model.layer_norm_eps = 1e-12f;
    if (n < 0) return KPD_OK;
    if (j->node[n].type != HF_NUMBER || !(j->node[n].number > 0 && j->node[n].number < 1) || !((float)j->node[n].number > 0))
        return hf_unexpected(j, n, KPD_ERR_UNSUPPORTED, "layer_norm_eps", "a number between 0 and 1");
    in->model.layer_norm_eps = (float)j->node[n].number;
    return KPD_OK;
}

// transformers counts labels by id2label; its default is two.
static kpd_status hf_config_labels(hf_import_state *in, const hf_json *j) {
    int32_t n = hf_get(j, 0, "id2label"), count = 2;
    if (n >= 0 && j->node[n].type != HF_OBJECT) return hf_unexpected(j, n, KPD_ERR_FORMAT, "id2label", "an object");
    if (n >= 0) count = j->node[n].count;
    if (count < 1 || count > KPD_MAX_LABELS)
        return hf_fail(in->e, KPD_ERR_LIMIT, -1, "%s: %d labels, expected 1 to %d", j->name, (int)count, KPD_MAX_LABELS);
    return hf_get_int(j, 0, "num_labels", 1, KPD_MAX_LABELS, count, &in->model.n_labels);
}

static kpd_status hf_config_architecture(hf_import_state *in, const hf_json *j) {
    static const char *const known[] = {"BertModel", "BertForMaskedLM", "BertForPreTraining", "BertForSequenceClassification",
                                        NULL};
    int32_t list = hf_get(j, 0, "architectures"), n, i = 0;
    snprintf(in->architecture, sizeof in->architecture, "BertModel");
    if (list < 0) return KPD_OK;
    if (j->node[list].type != HF_ARRAY || j->node[list].count != 1) return hf_unexpected(j, list, KPD_ERR_UNSUPPORTED,
            "architectures", "one");
    n = j->node[list].child;
    while (known[i] && !(j->node[n].type == HF_STRING && hf_is(j->node[n].string, known[i]))) i++;
    if (!known[i])
        return hf_unexpected(j, n, KPD_ERR_UNSUPPORTED, "architectures",
                             "BertModel, BertForMaskedLM or BertForSequenceClassification");
    snprintf(in->architecture, sizeof in->architecture, "%s", known[i]);
    return KPD_OK;
}

// What hf_export left for hf_import.
static kpd_status hf_config_kpd(hf_import_state *in, const hf_json *j) {
    static const hf_key known[] = {{"template_item", HF_READ, NULL}, {"template_keyphrase", HF_READ, NULL},
        {"template_pair", HF_READ, NULL}, {"max_tokens", HF_READ, NULL}, {NULL, HF_READ, NULL}};
    char *const out[] = {in->item, in->keyphrase, in->pair};
    int32_t n = hf_get(j, 0, "kpd");
    kpd_status s;
    if (n < 0) return KPD_OK;
    if (j->node[n].type != HF_OBJECT) return hf_unexpected(j, n, KPD_ERR_FORMAT, "kpd", "an object");
    if ((s = hf_walk(j, n, known))) return s;
    for (int i = 0; i < 3; i++) {
        kpd_text t;
        if ((s = hf_get_string(j, n, known[i].name, &t))) return s;
        if ((s = hf_copy_text(j, known[i].name, t, out[i], HF_MAX_TEMPLATE))) return s;
    }
    return hf_get_int(j, n, "max_tokens", 1, KPD_MAX_POSITIONS, 0, &in->kpd_max_tokens);
}

// Kept for tokenizer_config.json's reader: its own class goes before.
static kpd_status hf_config_class(hf_import_state *in, const hf_json *j) {
    kpd_text t;
    kpd_status s = hf_get_string(j, 0, "tokenizer_class", &t);
    return s ? s : hf_copy_text(j, "tokenizer_class", t, in->config_class, HF_MAX_NAME);
}

static kpd_status hf_config_all(hf_import_state *in, const hf_json *j) {
    static const hf_key scores[] = {{"activation_fn", HF_IDLE, hf_logits}, {"version", HF_IDLE, hf_named},
                                    {NULL, HF_READ, NULL}};
    kpd_status s;
    if (j->node[0].type != HF_OBJECT) return hf_json_bad(j, 0, "expected an object");
    if (hf_get(j, 0, "model_type") < 0) return hf_missing(j, "model_type");
    if ((s = hf_must_say(j, 0, "model_type", "bert"))) return s;
    if ((s = hf_walk(j, 0, hf_config_keys))) return s;
    if ((s = hf_walk(j, hf_get(j, 0, "sentence_transformers"), scores))) return s;
    if ((s = hf_config_class(in, j))) return s;
    if ((s = hf_config_sizes(in, j))) return s;
    if ((s = hf_config_options(in, j))) return s;
    if ((s = hf_config_epsilon(in, j))) return s;
    if ((s = hf_config_labels(in, j))) return s;
    if ((s = hf_config_architecture(in, j))) return s;
    return hf_config_kpd(in, j);
}

static kpd_status hf_config(hf_import_state *in) {
    hf_json j;
    kpd_status s = hf_json_read(&j, in->dir, in->root, "config.json", in->a, in->e);
    if (!s) s = hf_config_all(in, &j);
    hf_json_free(&j);
    return s;
}

// ---- >>modules ----------------------------------------------------------------------------------------------------
// modules.json lists Transformer, Pooling, then any of Dense, LayerNorm, Dropout (nothing outside of training), and
// Normalize last.

static kpd_status hf_pooling_mode(hf_import_state *in, const hf_json *j, kpd_text mode, int32_t n) {
    static const struct { const char *name; kpd_pooling value; } known[] = {{"mean", KPD_POOL_MEAN}, {"cls", KPD_POOL_CLS},
        {"max", KPD_POOL_MAX}, {"mean_sqrt_len_tokens", KPD_POOL_SQRT_LEN}, {"weightedmean", KPD_POOL_WEIGHTED}, {"lasttoken",
                KPD_POOL_LAST}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (hf_is(mode, known[i].name)) return in->model.pooling = known[i].value, KPD_OK;
    }
    return hf_unexpected(j, n, KPD_ERR_UNSUPPORTED, "pooling_mode",
                         "one of cls, max, mean, mean_sqrt_len_tokens, weightedmean, lasttoken");
}

static const char *const hf_pooling_key[] = {"pooling_mode_mean_tokens",     "pooling_mode_cls_token",
                                             "pooling_mode_max_tokens",      "pooling_mode_mean_sqrt_len_tokens",
                                             "pooling_mode_weightedmean_tokens", "pooling_mode_lasttoken"};

// The older form: one boolean a mode (in the order of kpd_pooling); none true means mean.
static kpd_status hf_pooling_flags(hf_import_state *in, const hf_json *j) {
    int count = 0;
    in->model.pooling = KPD_POOL_MEAN;
    for (int i = 0; i < 6; i++) {
        bool on;
        kpd_status s = hf_get_bool(j, 0, hf_pooling_key[i], false, &on);
        if (s) return s;
        if (on) in->model.pooling = (kpd_pooling)i;
        count += on;
    }
    if (count > 1) return hf_fail(in->e, KPD_ERR_UNSUPPORTED, -1, "%s: %d pooling modes joined, expected one", j->name, count);
    return KPD_OK;
}

static kpd_status hf_pooling_all(hf_import_state *in, const hf_json *j) {
    static const hf_key known[] = {{"word_embedding_dimension", HF_READ, NULL}, {"embedding_dimension", HF_READ, NULL},
        {"pooling_mode", HF_GIVEN, NULL}, {"include_prompt", HF_GIVEN, NULL}, {"pooling_mode_mean_tokens", HF_READ, NULL},
        {"pooling_mode_cls_token", HF_READ, NULL}, {"pooling_mode_max_tokens", HF_READ, NULL},
        {"pooling_mode_mean_sqrt_len_tokens", HF_READ, NULL}, {"pooling_mode_weightedmean_tokens", HF_READ, NULL},
        {"pooling_mode_lasttoken", HF_READ, NULL}, {NULL, HF_READ, NULL}};
    int32_t width = 0, n = hf_get(j, 0, "pooling_mode");
    kpd_status s;
    if (j->node[0].type != HF_OBJECT) return hf_json_bad(j, 0, "expected an object");
    if ((s = hf_walk(j, 0, known))) return s;
    if ((s = hf_must_be(j, 0, "include_prompt", true))) return s;
    if ((s = hf_get_int(j, 0, "word_embedding_dimension", 1, KPD_MAX_WIDTH, in->model.width, &width))) return s;
    if ((s = hf_get_int(j, 0, "embedding_dimension", 1, KPD_MAX_WIDTH, width, &width))) return s;
    if (width != in->model.width)
        return hf_fail(in->e, KPD_ERR_FORMAT, -1, "%s: embedding dimension %d, expected %d", j->name, (int)width,
                       (int)in->model.width);
    if (n < 0) return hf_pooling_flags(in, j);
    if (j->node[n].type == HF_ARRAY && j->node[n].count == 1) n = j->node[n].child;
    return hf_pooling_mode(in, j, j->node[n].string, n);
}

static kpd_status hf_dense_activation(const hf_json *j, kpd_activation *out) {
    static const struct { const char *name; kpd_activation value; } known[] = {{"Tanh", KPD_TANH}, {"Identity", KPD_IDENTITY},
        {"GELU", KPD_GELU}, {"ReLU", KPD_RELU}};
    int32_t n = hf_get(j, 0, "activation_function");
    kpd_text t;
    *out = KPD_TANH;    // sentence-transformers' default
    if (n < 0) return KPD_OK;
    t = j->node[n].string;
    while (t.size && memchr(t.data, '.', t.size)) t = hf_after(t, 1);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (hf_starts(j->node[n].string, "torch.nn.") && hf_is(t, known[i].name)) return *out = known[i].value, KPD_OK;
    }
    return hf_unexpected(j, n, KPD_ERR_UNSUPPORTED, "activation_function", "torch.nn's Tanh, Identity, GELU or ReLU");
}

static int32_t hf_width(const kpd_model_desc *m) { return m->n_modules ? m->modules[m->n_modules - 1].width : m->width; }

static kpd_status hf_dense_all(hf_import_state *in, const hf_json *j, kpd_module *out) {
    static const hf_key known[] = {{"in_features", HF_READ, NULL}, {"out_features", HF_READ, NULL}, {"bias", HF_GIVEN, NULL},
        {"activation_function", HF_GIVEN, NULL}, {"module_input_name", HF_GIVEN, NULL}, {"use_residual", HF_FALSE, NULL},
        {"module_output_name", HF_SAYS, "sentence_embedding"}, {NULL, HF_READ, NULL}};
    int32_t width = 0;
    bool bias = true;
    kpd_status s;
    if (j->node[0].type != HF_OBJECT) return hf_json_bad(j, 0, "expected an object");
    if ((s = hf_walk(j, 0, known))) return s;
    if ((s = hf_must_say(j, 0, "module_input_name", "sentence_embedding"))) return s;
    if ((s = hf_get_int(j, 0, "in_features", 1, KPD_MAX_WIDTH, HF_REQUIRED, &width))) return s;
    if (width != hf_width(&in->model))
        return hf_fail(in->e, KPD_ERR_FORMAT, -1, "%s: in_features %d, expected %d", j->name, (int)width,
                       (int)hf_width(&in->model));
    if ((s = hf_get_int(j, 0, "out_features", 1, KPD_MAX_WIDTH, HF_REQUIRED, &out->width))) return s;
    if ((s = hf_get_bool(j, 0, "bias", true, &bias))) return s;
    out->no_bias = !bias;
    return hf_dense_activation(j, &out->activation);
}

static kpd_status hf_norm_all(hf_import_state *in, const hf_json *j, kpd_module *out) {
    static const hf_key known[] = {{"dimension", HF_READ, NULL}, {NULL, HF_READ, NULL}};
    kpd_status s;
    if (j->node[0].type != HF_OBJECT) return hf_json_bad(j, 0, "expected an object");
    if ((s = hf_walk(j, 0, known))) return s;
    if ((s = hf_get_int(j, 0, "dimension", 1, KPD_MAX_WIDTH, HF_REQUIRED, &out->width))) return s;
    if (out->width != hf_width(&in->model))
        return hf_fail(in->e, KPD_ERR_FORMAT, -1, "%s: dimension %d, expected %d", j->name, (int)out->width,
                       (int)hf_width(&in->model));
    return KPD_OK;
}

static kpd_status hf_add_module(hf_import_state *in, const char *sub, kpd_module_kind kind) {
    kpd_model_desc *m = &in->model;
    kpd_module module;
    hf_json j;
    kpd_status s;
    memset(&module, 0, sizeof module);
    module.kind = kind;
    module.activation = KPD_IDENTITY;
    if (m->n_modules == 4) return hf_fail(in->e, KPD_ERR_UNSUPPORTED, -1, "modules.json: more than 4 modules after Pooling");
    s = hf_json_read(&j, in->dir, sub, "config.json", in->a, in->e);
    if (!s) s = kind == KPD_MODULE_DENSE ? hf_dense_all(in, &j, &module) : hf_norm_all(in, &j, &module);
    hf_json_free(&j);
    if (s) return s;
    snprintf(in->module[m->n_modules], HF_MAX_NAME, "%s", sub);
    m->modules[m->n_modules++] = module;
    return KPD_OK;
}

static kpd_status hf_add_pooling(hf_import_state *in, const char *sub) {
    hf_json j;
    kpd_status s = hf_json_read(&j, in->dir, sub, "config.json", in->a, in->e);
    if (!s) s = hf_pooling_all(in, &j);
    hf_json_free(&j);
    in->has_pooling = true;
    return s;
}

// The config.json of a module without weights, which may be absent.
static kpd_status hf_plain_module(hf_import_state *in, const char *sub, const hf_key *known, hf_json *j) {
    bool there;
    kpd_status s = hf_json_maybe(j, in->dir, sub, "config.json", in->a, &there, in->e);
    if (!s && j->node[0].type != HF_OBJECT) s = hf_json_bad(j, 0, "expected an object");
    return s ? s : hf_walk(j, 0, known);
}

static kpd_status hf_add_normalize(hf_import_state *in, const char *sub) {
    static const hf_key known[] = {{"module_input_name", HF_GIVEN, NULL}, {"module_output_name", HF_SAYS, "sentence_embedding"},
                                   {NULL, HF_READ, NULL}};
    hf_json j;
    kpd_status s = hf_plain_module(in, sub, known, &j);
    if (!s) s = hf_must_say(&j, 0, "module_input_name", "sentence_embedding");
    hf_json_free(&j);
    in->model.no_normalize = false;
    return s;
}

static kpd_status hf_add_dropout(hf_import_state *in, const char *sub) {
    static const hf_key known[] = {{"dropout", HF_IDLE, hf_training}, {NULL, HF_READ, NULL}};
    hf_json j;
    kpd_status s = hf_plain_module(in, sub, known, &j);
    hf_json_free(&j);
    return s;
}

typedef enum hf_module { HF_TRANSFORMER, HF_POOLING, HF_DENSE, HF_LAYER_NORM, HF_DROPOUT, HF_NORMALIZE,
                        HF_N_MODULES } hf_module;

// The last part of a type such as "sentence_transformers.models.Pooling", which moved between versions.
static hf_module hf_module_type(kpd_text type) {
    static const char *const name[] = {"Transformer", "Pooling", "Dense", "LayerNorm", "Dropout", "Normalize"};
    int i = 0;
    if (!hf_starts(type, "sentence_transformers.")) return HF_N_MODULES;
    while (type.size && memchr(type.data, '.', type.size)) type = hf_after(type, 1);
    while (i < HF_N_MODULES && !hf_is(type, name[i])) i++;
    return (hf_module)i;
}

// One entry of modules.json: its kind and folder.
static kpd_status hf_module_entry(hf_import_state *in, const hf_json *j, int32_t n, hf_module *kind, char sub[HF_MAX_NAME]) {
    static const hf_key known[] = {{"idx", HF_IDLE, "modules run in the order of the list"}, {"name", HF_GIVEN, NULL},
        {"path", HF_GIVEN, NULL}, {"type", HF_GIVEN, NULL}, {"kwargs", HF_EMPTY, NULL}, {NULL, HF_READ, NULL}};
    kpd_text type, path;
    kpd_status s;
    if (j->node[n].type != HF_OBJECT) return hf_unexpected(j, n, KPD_ERR_FORMAT, "module", "an object");
    if ((s = hf_walk(j, n, known))) return s;
    if ((s = hf_get_string(j, n, "type", &type))) return s;
    if ((s = hf_get_string(j, n, "path", &path))) return s;
    *kind = hf_module_type(type);
    if (*kind == HF_N_MODULES)
        return hf_fail(in->e, KPD_ERR_UNSUPPORTED, (int64_t)j->node[n].where, "%s:%.0f: module %.*s is not supported", j->name,
                       (double)j->node[n].where, hf_shown(type), type.size ? type.data : "");
    if (path.size && !hf_safe_name(path)) return hf_unexpected(j, hf_get(j, n, "path"), KPD_ERR_FORMAT, "path",
                                                               "the name of a folder in this one");
    return hf_copy_text(j, "path", path, sub, HF_MAX_NAME);
}

// The reference keeps modules by name: of two with one name the second takes the first one's place.
static kpd_status hf_module_name(const hf_json *j, int32_t n) {
    kpd_text name, other;
    kpd_status s = hf_get_string(j, n, "name", &name);
    if (s) return s;
    for (int32_t k = j->node[0].child; name.data && k != n; k = j->node[k].next) {
        if ((s = hf_get_string(j, k, "name", &other))) return s;
        if (hf_same(name, other))
            return hf_unexpected(j, hf_get(j, n, "name"), KPD_ERR_UNSUPPORTED, "name", "one that no module before it has");
    }
    return KPD_OK;
}

// Positions only grow: Transformer, Pooling, the middle, Normalize.
static int hf_module_order(hf_module kind) {
    return kind == HF_TRANSFORMER ? 0 : kind == HF_POOLING ? 1 : kind == HF_NORMALIZE ? 3 : 2;
}

static kpd_status hf_modules_all(hf_import_state *in, const hf_json *j, bool configured) {
    int order = -1;
    for (int32_t n = j->node[0].child; n >= 0; n = j->node[n].next) {
        hf_module kind = HF_N_MODULES;
        char sub[HF_MAX_NAME] = "";
        kpd_status s = hf_module_entry(in, j, n, &kind, sub);
        int next = hf_module_order(kind);
        if (!s) s = hf_module_name(j, n);
        if (s) return s;
        if (kind == HF_POOLING && in->has_pooling && !configured)
            return hf_fail(in->e, KPD_ERR_UNSUPPORTED, (int64_t)j->node[n].where,
                           "%s:%.0f: a second Pooling module, expected one (vectors of several poolings are not joined)",
                           j->name, (double)j->node[n].where);
        if (next < order || (next == order && next != 2) || (order < 0 && next) || (order == 0 && next > 1))
            return hf_fail(in->e, KPD_ERR_UNSUPPORTED, (int64_t)j->node[n].where,
                           "%s:%.0f: order of modules, expected Transformer, Pooling, Dense or LayerNorm, Normalize", j->name,
                           (double)j->node[n].where);
        order = next;
        if (!configured) {
            if (kind == HF_TRANSFORMER) memcpy(in->root, sub, sizeof in->root);
            in->has_pooling = in->has_pooling || kind == HF_POOLING;
        } else if (kind == HF_POOLING) s = hf_add_pooling(in, sub);
        else if (kind == HF_DENSE) s = hf_add_module(in, sub, KPD_MODULE_DENSE);
        else if (kind == HF_LAYER_NORM) s = hf_add_module(in, sub, KPD_MODULE_LAYER_NORM);
        else if (kind == HF_NORMALIZE) s = hf_add_normalize(in, sub);
        else if (kind == HF_DROPOUT) s = hf_add_dropout(in, sub);
        if (s) return s;
    }
    return order < 0 ? hf_json_bad(j, 0, "no modules") : KPD_OK;
}

// Read twice: first for the Transformer's folder, and, once config.json in it gave the width, for the rest.
static kpd_status hf_modules(hf_import_state *in, bool configured) {
    hf_json j;
    kpd_status s = hf_json_maybe(&j, in->dir, "", "modules.json", in->a, &in->has_modules, in->e);
    if (!s && in->has_modules) s = j.node[0].type == HF_ARRAY ? hf_modules_all(in, &j, configured) : hf_json_bad(&j, 0,
            "expected an array");
    hf_json_free(&j);
    return s;
}

// See the top of the file.
static kpd_status hf_decide_kind(hf_import_state *in) {
    bool classifier = !strcmp(in->architecture, "BertForSequenceClassification");
    in->model.kind = in->has_pooling || !classifier ? KPD_BI_ENCODER : KPD_CROSS_ENCODER;
    if (in->has_modules && !in->has_pooling && !classifier)
        return hf_fail(in->e, KPD_ERR_UNSUPPORTED, -1, "modules.json: no Pooling module, and %s is no cross-encoder",
                       in->architecture);
    in->model.no_normalize = in->has_modules;
    if (in->model.kind == KPD_CROSS_ENCODER) {
        in->model.no_normalize = false;
        return KPD_OK;
    }
    in->model.n_labels = 0;
    if (!in->has_modules) hf_note(in, "modules.json is not there: mean pooling, normalised vectors");
    return KPD_OK;
}

// modality_config (sentence-transformers 5.x on): text through the model's forward, nothing else.
static kpd_status hf_modality(const hf_json *j, bool cross) {
    static const hf_key known[] = {{"method", HF_SAYS, "forward"}, {"method_output_name", HF_READ, NULL},
                                   {NULL, HF_READ, NULL}};
    int32_t n = hf_get(j, 0, "modality_config"), text = hf_get(j, n, "text");
    kpd_status s;
    if (n < 0) return KPD_OK;
    if (text < 0 || j->node[n].count != 1) return hf_unexpected(j, n, KPD_ERR_UNSUPPORTED, "modality_config", "text alone");
    if ((s = hf_walk(j, text, known))) return s;
    return hf_must_say(j, text, "method_output_name", cross ? "logits" : "last_hidden_state");
}

static kpd_status hf_sentence_all(hf_import_state *in, const hf_json *j) {
    static const hf_key known[] = {{"max_seq_length", HF_READ, NULL}, {"do_lower_case", HF_READ, NULL},
        {"transformer_task", HF_GIVEN, NULL}, {"modality_config", HF_GIVEN, NULL}, {"module_output_name", HF_GIVEN, NULL},
        {"unpad_inputs", HF_IDLE, "computes the same"}, {"processing_kwargs", HF_EMPTY, NULL}, {"model_args", HF_EMPTY, NULL},
        {"model_kwargs", HF_EMPTY, NULL}, {"tokenizer_args", HF_EMPTY, NULL}, {"processor_kwargs", HF_EMPTY, NULL},
        {"config_args", HF_EMPTY, NULL}, {"config_kwargs", HF_EMPTY, NULL}, {"tokenizer_name_or_path", HF_EMPTY, NULL},
        {NULL, HF_READ, NULL}};
    bool cross = in->model.kind == KPD_CROSS_ENCODER;
    kpd_status s;
    if (j->node[0].type != HF_OBJECT) return hf_json_bad(j, 0, "expected an object");
    if ((s = hf_walk(j, 0, known))) return s;
    if ((s = hf_get_int(j, 0, "max_seq_length", 1, INT32_MAX, 0, &in->max_seq_length))) return s;
    if ((s = hf_get_bool(j, 0, "do_lower_case", false, &in->lower))) return s;
    if ((s = hf_must_say(j, 0, "transformer_task", cross ? "sequence-classification" : "feature-extraction"))) return s;
    if ((s = hf_must_say(j, 0, "module_output_name", cross ? "scores" : "token_embeddings"))) return s;
    return hf_modality(j, cross);
}

// The reference's names in its order, whatever the model: the first file that is there and not empty counts.
static kpd_status hf_sentence_config(hf_import_state *in) {
    static const char *const kinds[] = {"bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet"};
    kpd_status s = KPD_OK;
    bool found = !in->has_modules;      // without modules.json sentence-transformers looks for none of them
    for (size_t i = 0; !s && !found && i < sizeof kinds / sizeof *kinds; i++) {
        char name[64];
        hf_json j;
        bool there;
        snprintf(name, sizeof name, "sentence_%s_config.json", kinds[i]);
        s = hf_json_maybe(&j, in->dir, in->root, name, in->a, &there, in->e);
        found = !s && j.node[0].count > 0;
        if (found) s = hf_sentence_all(in, &j);
        hf_json_free(&j);
    }
    return s;
}

// ---- >>prompts ----------------------------------------------------------------------------------------------------
// A prompt goes before the text. encode_query takes "query" and encode_document "document", which sentence-transformers 6
// adds, empty, where the file lacks them: other names and the default prompt are for calls that kpd has no counterpart of.
// Keyphrases are queries, items are documents.

// What stands before a template's first part of the input goes before every text: a prompt. Special tokens are spelled out.
static kpd_text hf_template_prompt(const char *t, char (*special)[HF_MAX_NAME], char out[HF_MAX_TEMPLATE]) {
    static const char *const role[HF_N_SPECIAL] = {"{unk}", "{cls}", "{sep}", "{pad}", "{mask}"};
    kpd_text p = hf_text(out);
    p.size = 0;
    while (t && *t && *t != '|') {
        int i = 0;
        size_t n = 1;
        while (i < HF_N_SPECIAL && !hf_starts(hf_text(t), role[i])) i++;
        if (*t == '{' && i == HF_N_SPECIAL) break;
        if (i < HF_N_SPECIAL) n = strlen(special[i]);
        if (p.size + n >= HF_MAX_TEMPLATE) break;
        memcpy(out + p.size, i < HF_N_SPECIAL ? special[i] : t, n);
        p.size += n;
        t += i < HF_N_SPECIAL ? strlen(role[i]) : 1;
    }
    return p;
}

// Prompt and text are split into words together, so only a prompt that ends in white space can be a template's text.
static kpd_status hf_use_prompt(hf_import_state *in, const hf_json *j, const char *tower, kpd_text prompt, const char *rest,
                                char *template_) {
    if (prompt.size == 0) return KPD_OK;
    if (*template_) {
        char own[HF_MAX_TEMPLATE];
        kpd_text t = hf_template_prompt(template_, in->special, own);
        if (t.size >= prompt.size && !memcmp(t.data, prompt.data, prompt.size)) return KPD_OK;
        return hf_fail(in->e, KPD_ERR_UNSUPPORTED, -1, "%s: the %s prompt is not how config.json's kpd template begins",
                       j->name, tower);
    }
    if (!memchr(" \t\n", prompt.data[prompt.size - 1], 3))
        return hf_fail(in->e, KPD_ERR_UNSUPPORTED, -1, "%s: the %s prompt \"%.*s\" does not end in white space", j->name, tower,
                       hf_shown(prompt), prompt.data);
    if (memchr(prompt.data, '{', prompt.size) || memchr(prompt.data, '}', prompt.size) || memchr(prompt.data, '|', prompt.size))
        return hf_fail(in->e, KPD_ERR_UNSUPPORTED, -1, "%s: the %s prompt has one of { } |", j->name, tower);
    if (prompt.size + strlen(rest) >= HF_MAX_TEMPLATE)
        return hf_fail(in->e, KPD_ERR_LIMIT, -1, "%s: the %s prompt has %.0f bytes", j->name, tower, (double)prompt.size);
    memcpy(template_, prompt.data, prompt.size);
    snprintf(template_ + prompt.size, HF_MAX_TEMPLATE - prompt.size, "%s", rest);
    return KPD_OK;
}

static void hf_note_prompts(const hf_import_state *in, const hf_json *j, int32_t prompts) {
    for (int32_t n = prompts < 0 ? -1 : j->node[prompts].child; n >= 0; n = j->node[n].next) {
        kpd_text key = j->node[n].key;
        if (!hf_is(key, "query") && !hf_is(key, "document") && j->node[n].string.size)
            hf_note(in, "%s: prompt %.*s is left out, as by encode_query and encode_document", j->name, hf_shown(key),
                    key.data);
    }
}

// similarity_fn_name and truncate_dim, which cuts vectors without normalising them again; a number over the width cuts nothing.
static kpd_status hf_vectors(hf_import_state *in, const hf_json *j) {
    static const struct { const char *name; kpd_metric value; } known[] = {{"cosine", KPD_COSINE}, {"dot", KPD_DOT},
        {"dot_product", KPD_DOT}, {"euclidean", KPD_L2}};
    int32_t dim = 0, n = hf_get(j, 0, "similarity_fn_name");
    size_t i = 0;
    kpd_status s = hf_get_int(j, 0, "truncate_dim", 1, INT32_MAX, 0, &dim);
    if (s) return s;
    in->model.truncate_dim = dim < hf_width(&in->model) ? dim : 0;
    if (dim) hf_note(in, "%s: vectors are cut to %d of %d columns", j->name, (int)dim, (int)hf_width(&in->model));
    while (n >= 0 && i < 4 && !hf_is(j->node[n].string, known[i].name)) i++;
    if (i == 4) return hf_unexpected(j, n, KPD_ERR_UNSUPPORTED, "similarity_fn_name", "cosine, dot or euclidean");
    if (n >= 0) in->model.similarity = known[i].value;
    if (in->model.similarity)
        hf_note(in, "%s: vectors are to be compared by %s, which an index must be told", j->name,
                kpd_metric_name(in->model.similarity));
    return KPD_OK;
}

static kpd_status hf_prompts_bi(hf_import_state *in, const hf_json *j, int32_t prompts) {
    kpd_text item, keyphrase;
    kpd_status s;
    if ((s = hf_get_string(j, prompts, "document", &item))) return s;
    if ((s = hf_get_string(j, prompts, "query", &keyphrase))) return s;
    if ((s = hf_use_prompt(in, j, "document", item, "{title} {sep} {category}", in->item))) return s;
    return hf_use_prompt(in, j, "query", keyphrase, "{keyphrase}", in->keyphrase);
}

// A cross-encoder's predict takes the default prompt. The reference refuses a name that is none of the prompts'.
static kpd_status hf_default_prompt(const hf_import_state *in, const hf_json *j, int32_t prompts, bool cross) {
    kpd_text name;
    kpd_status s = hf_get_string(j, 0, "default_prompt_name", &name);
    bool own = !cross && name.data && (hf_is(name, "query") || hf_is(name, "document"));
    if (s || !name.data) return s;
    for (int32_t n = prompts < 0 ? -1 : j->node[prompts].child; n >= 0; n = j->node[n].next) {
        if (!hf_same(j->node[n].key, name)) continue;
        if (cross && j->node[n].string.size)
            return hf_fail(in->e, KPD_ERR_UNSUPPORTED, -1, "%s: a cross-encoder's default prompt is not supported", j->name);
        own = true;
    }
    return own ? KPD_OK : hf_unexpected(j, hf_get(j, 0, "default_prompt_name"), KPD_ERR_FORMAT, "default_prompt_name",
                                        "the name of a prompt");
}

static kpd_status hf_prompts_all(hf_import_state *in, const hf_json *j) {
    static const hf_key known[] = {{"model_type", HF_GIVEN, NULL}, {"prompts", HF_GIVEN, NULL},
        {"default_prompt_name", HF_READ, NULL}, {"similarity_fn_name", HF_READ, NULL}, {"truncate_dim", HF_READ, NULL},
        {"__version__", HF_IDLE, hf_named}, {"requirements", HF_IDLE, "versions of Python packages"},
        {"activation_fn", HF_IDLE, hf_logits}, {"keep_in_fp32_modules", HF_IDLE, hf_dtype}, {NULL, HF_READ, NULL}};
    bool cross = in->model.kind == KPD_CROSS_ENCODER;
    int32_t prompts = hf_get(j, 0, "prompts");
    kpd_status s;
    if (prompts >= 0 && j->node[prompts].type != HF_OBJECT) return hf_unexpected(j, prompts, KPD_ERR_FORMAT, "prompts",
            "an object");
    for (int32_t n = prompts < 0 ? -1 : j->node[prompts].child; n >= 0; n = j->node[n].next) {
        if (j->node[n].type != HF_STRING && j->node[n].type != HF_NULL)
            return hf_unexpected(j, n, KPD_ERR_FORMAT, "prompts", "strings");
    }
    if ((s = hf_walk(j, 0, known))) return s;
    if ((s = hf_must_say(j, 0, "model_type", cross ? "CrossEncoder" : "SentenceTransformer"))) return s;
    if ((s = hf_default_prompt(in, j, prompts, cross))) return s;
    hf_note_prompts(in, j, prompts);
    if (!cross && (s = hf_vectors(in, j))) return s;
    return cross ? KPD_OK : hf_prompts_bi(in, j, prompts);
}

static kpd_status hf_prompts(hf_import_state *in) {
    hf_json j;
    bool there;
    kpd_status s;
    if (!in->has_modules) return KPD_OK;        // as for the sentence config
    s = hf_json_maybe(&j, in->dir, "", "config_sentence_transformers.json", in->a, &there, in->e);
    if (!s && j.node[0].type != HF_OBJECT) s = hf_json_bad(&j, 0, "expected an object");
    if (!s) s = hf_prompts_all(in, &j);
    hf_json_free(&j);
    return s;
}

// ---- >>tokenizer --------------------------------------------------------------------------------------------------
// transformers builds a BertTokenizer from tokenizer_config.json's options (lower case unless it says otherwise) and the
// vocabulary in tokenizer.json, else vocab.txt; a PreTrainedTokenizerFast takes all from tokenizer.json. Files that
// disagree are refused: which of them wins depends on the version of transformers.

static const char hf_text_out[] = "of turning ids into text", hf_padded[] = "padding is masked",
                  hf_calls[] = "every call says its own", hf_place[] = "where a file was";

static const hf_key hf_tokenizer_keys[] = {
    {"tokenizer_class", HF_READ, NULL}, {"do_lower_case", HF_READ, NULL}, {"strip_accents", HF_READ, NULL},
    {"tokenize_chinese_chars", HF_READ, NULL}, {"unk_token", HF_TOKEN, NULL}, {"cls_token", HF_TOKEN, NULL},
    {"sep_token", HF_TOKEN, NULL}, {"pad_token", HF_TOKEN, NULL}, {"mask_token", HF_TOKEN, NULL},
    {"*_token", HF_TOKEN, NULL}, {"additional_special_tokens", HF_TOKENS, NULL}, {"extra_special_tokens", HF_TOKENS, NULL},
    {"model_specific_special_tokens", HF_TOKENS, NULL}, {"added_tokens_decoder", HF_TOKENS, NULL},
    {"model_max_length", HF_READ, NULL}, {"max_len", HF_READ, NULL}, {"model_input_names", HF_READ, NULL},
    {"truncation_side", HF_SAYS, "right"}, {"word_tokenizer_type", HF_SAYS, "basic"},
    {"subword_tokenizer_type", HF_SAYS, "wordpiece"}, {"do_basic_tokenize", HF_TRUE, NULL}, {"clean_text", HF_TRUE, NULL},
    {"split_special_tokens", HF_FALSE, NULL}, {"add_bos_token", HF_FALSE, NULL}, {"add_eos_token", HF_FALSE, NULL},
    {"add_prefix_space", HF_FALSE, NULL}, {"never_split", HF_EMPTY, NULL}, {"auto_map", HF_EMPTY, NULL},
    {"processor_class", HF_EMPTY, NULL}, {"init_inputs", HF_EMPTY, NULL},
    {"wordpieces_prefix", HF_IDLE, hf_text_out}, {"clean_up_tokenization_spaces", HF_IDLE, hf_text_out},
    {"padding_side", HF_IDLE, hf_padded}, {"pad_token_type_id", HF_IDLE, hf_padded}, {"pad_to_multiple_of", HF_IDLE, hf_padded},
    {"max_length", HF_IDLE, hf_calls}, {"stride", HF_IDLE, hf_calls}, {"truncation_strategy", HF_IDLE, hf_calls},
    {"chat_template", HF_IDLE, hf_generation}, {"chat_control_tokens", HF_IDLE, hf_generation},
    {"response_template", HF_IDLE, hf_generation}, {"response_schema", HF_IDLE, hf_generation},
    {"name_or_path", HF_IDLE, hf_place}, {"special_tokens_map_file", HF_IDLE, hf_place}, {"tokenizer_file", HF_IDLE, hf_place},
    {"vocab_file", HF_IDLE, hf_place}, {"full_tokenizer_file", HF_IDLE, hf_place}, {"files_loaded", HF_IDLE, hf_place},
    {"is_local", HF_IDLE, hf_place}, {"local_files_only", HF_IDLE, hf_place}, {"_commit_hash", HF_IDLE, hf_named},
    {"transformers_version", HF_IDLE, hf_named}, {"backend", HF_IDLE, "BERT has one"}, {"use_fast", HF_IDLE, "BERT has one"},
    {"verbose", HF_IDLE, hf_output}, {"model_type", HF_IDLE, hf_named}, {"vocab_size", HF_IDLE, "the vocabulary says it"},
    {NULL, HF_READ, NULL}};

static const hf_key hf_map_keys[] = {{"unk_token", HF_TOKEN, NULL}, {"cls_token", HF_TOKEN, NULL},
    {"sep_token", HF_TOKEN, NULL}, {"pad_token", HF_TOKEN, NULL}, {"mask_token", HF_TOKEN, NULL}, {"*_token", HF_TOKEN, NULL},
    {"additional_special_tokens", HF_TOKENS, NULL}, {"extra_special_tokens", HF_TOKENS, NULL}, {NULL, HF_READ, NULL}};

// A special token is a string, or an object with its "content". kpd finds them in the text as it stands, by themselves.
static const hf_key hf_token_keys[] = {{"content", HF_GIVEN, NULL}, {"lstrip", HF_FALSE, NULL}, {"rstrip", HF_FALSE, NULL},
    {"single_word", HF_FALSE, NULL}, {"normalized", HF_FALSE, NULL}, {"special", HF_IDLE, "all of the five are"},
    {"id", HF_READ, NULL}, {"__type", HF_SAYS, "AddedToken"}, {NULL, HF_READ, NULL}};

static kpd_status hf_token(const hf_json *j, int32_t n, const char *key, kpd_text *out) {
    kpd_status s;
    *out = hf_text(NULL);
    if (n < 0 || j->node[n].type == HF_NULL) return KPD_OK;
    if (j->node[n].type == HF_STRING) return *out = j->node[n].string, KPD_OK;
    if (j->node[n].type != HF_OBJECT) return hf_unexpected(j, n, KPD_ERR_FORMAT, key, "a token");
    if (hf_get(j, n, "content") < 0) return hf_unexpected(j, n, KPD_ERR_FORMAT, key, "an object with content");
    s = hf_walk(j, n, hf_token_keys);
    return s ? s : hf_get_string(j, n, "content", out);
}

static kpd_status hf_special_names(hf_import_state *in, const hf_json *j) {
    for (int i = 0; i < HF_N_SPECIAL; i++) {
        kpd_text t;
        kpd_status s = hf_token(j, hf_get(j, 0, hf_special_key[i]), hf_special_key[i], &t);
        if (s) return s;
        if (!t.size) continue;
        if (*in->special[i] && !hf_is(t, in->special[i]))
            return hf_fail(in->e, KPD_ERR_FORMAT, -1, "%s: %s is %.*s, but tokenizer_config.json says %s", j->name,
                           hf_special_key[i],
                           hf_shown(t), t.data, in->special[i]);
        if ((s = hf_copy_text(j, hf_special_key[i], t, in->special[i], HF_MAX_NAME))) return s;
    }
    return KPD_OK;
}

static bool hf_is_special(const hf_import_state *in, kpd_text t) {
    for (int i = 0; i < HF_N_SPECIAL; i++) {
        if (hf_is(t, in->special[i])) return true;
    }
    return false;
}

static kpd_status hf_foreign_token(const hf_import_state *in, const hf_json *j, kpd_text t) {
    return hf_fail(in->e, KPD_ERR_UNSUPPORTED, -1, "%s: added token %.*s is none of unk, cls, sep, pad, mask", j->name,
                   hf_shown(t),
                   t.size ? t.data : "");
}

// Such a token is found in the text before it is split into words, which kpd does for the five alone.
static kpd_status hf_known_token(const hf_import_state *in, const hf_json *j, int32_t n) {
    char key[64];
    kpd_text t;
    kpd_status s;
    snprintf(key, sizeof key, "%.*s", hf_shown(j->node[n].key), j->node[n].key.data);
    if ((s = hf_token(j, n, key, &t))) return s;
    return !t.data || hf_is_special(in, t) ? KPD_OK : hf_foreign_token(in, j, t);
}

// The tokens of an array, or of an object that names them.
static kpd_status hf_known_tokens(const hf_import_state *in, const hf_json *j, int32_t list) {
    if (list < 0) return KPD_OK;
    if (j->node[list].type != HF_ARRAY && j->node[list].type != HF_OBJECT)
        return hf_unexpected(j, list, KPD_ERR_FORMAT, "special tokens", "an array or an object of them");
    for (int32_t n = j->node[list].child; n >= 0; n = j->node[n].next) {
        kpd_status s = hf_known_token(in, j, n);
        if (s) return s;
    }
    return KPD_OK;
}

// What hf_walk leaves: the keys of a table that are special tokens.
static kpd_status hf_walk_tokens(const hf_import_state *in, const hf_json *j, const hf_key *known) {
    for (int32_t n = j->node[0].child; n >= 0; n = j->node[n].next) {
        const hf_key *k = hf_known_key(&j->node[n], known);
        kpd_status s = KPD_OK;
        if (k && k->use == HF_TOKEN) s = hf_known_token(in, j, n);
        if (k && k->use == HF_TOKENS && j->node[n].type != HF_NULL) s = hf_known_tokens(in, j, n);
        if (s) return s;
    }
    return KPD_OK;
}

// max_len is the old name, which the reference reads where the new one is absent: a null is not.
static kpd_status hf_length_limit(hf_import_state *in, const hf_json *j) {
    const char *key = "max_len";
    int32_t n;
    for (n = j->node[0].child; n >= 0; n = j->node[n].next) {
        if (hf_is(j->node[n].key, "model_max_length")) key = "model_max_length";
    }
    n = hf_get(j, 0, key);
    in->model_max_length = INT32_MAX;
    if (n < 0) return KPD_OK;
    if (j->node[n].type != HF_NUMBER || j->node[n].number < 1) return hf_unexpected(j, n, KPD_ERR_FORMAT, key,
            "a number over 0");
    if (j->node[n].exact && j->node[n].integer < INT32_MAX) in->model_max_length = (int32_t)j->node[n].integer;
    return KPD_OK;      // "no limit" is written as 10^30
}

// Without token types the second part of a pair has the first one's.
static kpd_status hf_input_names(const hf_import_state *in, const hf_json *j) {
    int32_t list = hf_get(j, 0, "model_input_names");
    bool ids = false, types = in->model.kind == KPD_BI_ENCODER;
    if (list < 0) return KPD_OK;
    for (int32_t n = j->node[list].child; n >= 0; n = j->node[n].next) {
        ids = ids || hf_is(j->node[n].string, "input_ids");
        types = types || hf_is(j->node[n].string, "token_type_ids");
    }
    return ids && types ? KPD_OK : hf_unexpected(j, list, KPD_ERR_UNSUPPORTED, "model_input_names",
                                                 "input_ids, token_type_ids and attention_mask");
}

// strip_accents: null, true or false.
static kpd_status hf_strip(const hf_json *j, int32_t object, int32_t *out) {
    bool strip;
    kpd_status s = hf_get_bool(j, object, "strip_accents", false, &strip);
    *out = hf_get(j, object, "strip_accents") < 0 ? 0 : strip ? 1 : -1;
    return s;
}

static kpd_status hf_tokenizer_options(hf_import_state *in, const hf_json *j) {
    bool lower = true, cjk = true;
    kpd_status s;
    if ((s = hf_input_names(in, j))) return s;
    if ((s = hf_get_bool(j, 0, "do_lower_case", true, &lower))) return s;
    if ((s = hf_get_bool(j, 0, "tokenize_chinese_chars", true, &cjk))) return s;
    in->no_lower = !lower;
    in->no_cjk = !cjk;
    if ((s = hf_strip(j, 0, &in->strip))) return s;
    return hf_length_limit(in, j);
}

// The class of tokenizer_config.json, else config.json's, else BERT's own. One of another class makes other tokens. *generic:
// it takes all from tokenizer.json.
static kpd_status hf_tokenizer_class(const hf_import_state *in, const hf_json *j, bool *generic) {
    static const char expected[] = "BertTokenizer, BertTokenizerFast or PreTrainedTokenizerFast";
    kpd_text t;
    kpd_status s = hf_get_string(j, 0, "tokenizer_class", &t);
    bool own = t.size > 0;
    if (!own) t = hf_text(in->config_class);
    *generic = hf_is(t, "PreTrainedTokenizerFast") || hf_is(t, "TokenizersBackend");
    if (s || !t.size || *generic || hf_is(t, "BertTokenizer") || hf_is(t, "BertTokenizerFast")) return s;
    if (own) return hf_unexpected(j, hf_get(j, 0, "tokenizer_class"), KPD_ERR_UNSUPPORTED, "tokenizer_class", expected);
    return hf_fail(in->e, KPD_ERR_UNSUPPORTED, -1, "config.json: tokenizer_class: found \"%s\", expected %s", in->config_class,
                   expected);
}

// tokenizer_config.json, with the names from special_tokens_map.json.
static kpd_status hf_tokenizer_config(hf_import_state *in, const hf_json *j, const hf_json *map, bool *generic) {
    kpd_status s;
    if (j->node[0].type != HF_OBJECT) return hf_json_bad(j, 0, "expected an object");
    if (map->node[0].type != HF_OBJECT) return hf_json_bad(map, 0, "expected an object");
    if ((s = hf_tokenizer_class(in, j, generic))) return s;
    if ((s = hf_walk(j, 0, hf_tokenizer_keys))) return s;
    if ((s = hf_walk(map, 0, hf_map_keys))) return s;
    if ((s = hf_tokenizer_options(in, j))) return s;
    if ((s = hf_special_names(in, j))) return s;
    if ((s = hf_special_names(in, map))) return s;
    for (int i = 0; i < HF_N_SPECIAL; i++) {
        if (!*in->special[i]) snprintf(in->special[i], HF_MAX_NAME, "%s", hf_special_default[i]);
    }
    s = hf_walk_tokens(in, j, hf_tokenizer_keys);
    return s ? s : hf_walk_tokens(in, map, hf_map_keys);
}

// added_tokens.json: name -> id.
static kpd_status hf_added_tokens_file(hf_import_state *in) {
    hf_json j;
    bool there;
    kpd_status s = hf_json_maybe(&j, in->dir, in->root, "added_tokens.json", in->a, &there, in->e);
    if (!s && j.node[0].type != HF_OBJECT) s = hf_json_bad(&j, 0, "expected an object");
    for (int32_t n = s ? -1 : j.node[0].child; !s && n >= 0; n = j.node[n].next) {
        if (!hf_is_special(in, j.node[n].key)) s = hf_foreign_token(in, &j, j.node[n].key);
    }
    hf_json_free(&j);
    return s;
}

// The part `key` of tokenizer.json must be of this type.
static kpd_status hf_part(const hf_json *j, int32_t parent, const char *key, const char *type, int32_t *out) {
    int32_t n = hf_get(j, parent, key), t = hf_get(j, n, "type");
    *out = n;
    if (n < 0) return hf_fail(j->e, KPD_ERR_UNSUPPORTED, -1, "%s: %s: found none, expected %s", j->name, key, type);
    if (t < 0) return hf_unexpected(j, n, KPD_ERR_FORMAT, key, "an object with a type");
    return hf_is(j->node[t].string, type) ? KPD_OK : hf_unexpected(j, t, KPD_ERR_UNSUPPORTED, key, type);
}

static kpd_status hf_check_normalizer(hf_import_state *in, const hf_json *j, bool generic) {
    static const hf_key known[] = {{"type", HF_READ, NULL}, {"clean_text", HF_TRUE, NULL}, {"lowercase", HF_GIVEN, NULL},
        {"handle_chinese_chars", HF_GIVEN, NULL}, {"strip_accents", HF_READ, NULL}, {NULL, HF_READ, NULL}};
    int32_t n, strip;
    bool lower, cjk, here, there;
    kpd_status s;
    if ((s = hf_part(j, 0, "normalizer", "BertNormalizer", &n))) return s;
    if ((s = hf_walk(j, n, known))) return s;
    if ((s = hf_get_bool(j, n, "lowercase", true, &lower))) return s;
    if ((s = hf_get_bool(j, n, "handle_chinese_chars", true, &cjk))) return s;
    if ((s = hf_strip(j, n, &strip))) return s;
    if (generic) {
        in->no_lower = !lower;
        in->no_cjk = !cjk;
        in->strip = strip;
        return KPD_OK;
    }
    here = strip ? strip > 0 : lower;
    there = in->strip ? in->strip > 0 : !in->no_lower;
    if (lower == in->no_lower || cjk == in->no_cjk || here != there)
        return hf_fail(in->e, KPD_ERR_UNSUPPORTED, (int64_t)j->node[n].where,
                       "%s: %s differs from tokenizer_config.json (if silent: lower case, CJK spaced, no accents)",
                       j->name,
                           lower == in->no_lower ? "lowercase" : cjk == in->no_cjk ? "handle_chinese_chars" : "strip_accents");
    return KPD_OK;
}

static kpd_status hf_check_wordpiece(hf_import_state *in, const hf_json *j, int32_t *vocab) {
    static const hf_key known[] = {{"type", HF_READ, NULL}, {"vocab", HF_READ, NULL}, {"unk_token", HF_GIVEN, NULL},
        {"continuing_subword_prefix", HF_SAYS, "##"}, {"max_input_chars_per_word", HF_READ, NULL}, {NULL, HF_READ, NULL}};
    int32_t n, max_chars;
    kpd_status s;
    if ((s = hf_part(j, 0, "model", "WordPiece", &n))) return s;
    if ((s = hf_walk(j, n, known))) return s;
    if ((s = hf_must_say(j, n, "unk_token", in->special[0]))) return s;
    if ((s = hf_get_int(j, n, "max_input_chars_per_word", 0, INT32_MAX, 100, &max_chars))) return s;
    if (max_chars != 100) return hf_unexpected(j, hf_get(j, n, "max_input_chars_per_word"), KPD_ERR_UNSUPPORTED,
                                               "max_input_chars_per_word", "100");
    *vocab = hf_get(j, n, "vocab");
    if (*vocab < 0 || j->node[*vocab].type != HF_OBJECT) return hf_missing(j, "model.vocab");
    return KPD_OK;
}

// One piece of a template: {"SpecialToken" or "Sequence": {"id": ..., "type_id": ...}}.
static bool hf_piece_is(const hf_json *j, int32_t piece, const char *kind, const char *id, int32_t type) {
    int32_t n = hf_get(j, piece, kind), name = hf_get(j, n, "id"), t = hf_get(j, n, "type_id");
    if (name < 0 || t < 0 || j->node[piece].count != 1 || j->node[n].count != 2) return false;
    return hf_is(j->node[name].string, id) && j->node[t].exact && j->node[t].integer == type;
}

// [CLS] A [SEP], or [CLS] A [SEP] B [SEP].
static bool hf_template_is_bert(const hf_import_state *in, const hf_json *j, int32_t list, int32_t count) {
    const char *id[] = {in->special[1], "A", in->special[2], "B", in->special[2]};
    int32_t n, i = 0;
    if (list < 0 || j->node[list].count != count) return false;
    for (n = j->node[list].child; n >= 0; n = j->node[n].next, i++) {
        if (!hf_piece_is(j, n, i % 2 ? "Sequence" : "SpecialToken", id[i], i > 2)) return false;
    }
    return true;
}

// A BertTokenizer replaces it anyway, but it should say the same.
static kpd_status hf_check_post_processor(const hf_import_state *in, const hf_json *j, bool generic) {
    static const hf_key pieces[] = {{"type", HF_READ, NULL}, {"single", HF_READ, NULL}, {"pair", HF_READ, NULL},
                                    {"special_tokens", HF_READ, NULL}, {NULL, HF_READ, NULL}};
    static const hf_key tokens[] = {{"type", HF_READ, NULL}, {"cls", HF_READ, NULL}, {"sep", HF_READ, NULL},
                                    {NULL, HF_READ, NULL}};
    int32_t n = hf_get(j, 0, "post_processor"), type = hf_get(j, n, "type");
    bool bert = type >= 0 && hf_is(j->node[type].string, "BertProcessing"), as_pieces;
    kpd_status s;
    if (n < 0 && !generic) return KPD_OK;
    as_pieces = type >= 0 && hf_is(j->node[type].string, "TemplateProcessing");
    if (as_pieces)
        bert = hf_template_is_bert(in, j, hf_get(j, n, "single"), 3) && hf_template_is_bert(in, j, hf_get(j, n, "pair"), 5);
    if (bert && (s = hf_walk(j, n, as_pieces ? pieces : tokens))) return s;
    if (bert) return KPD_OK;
    return hf_fail(in->e, KPD_ERR_UNSUPPORTED, -1,
                   "%s: post_processor, expected [CLS] A [SEP] and [CLS] A [SEP] B [SEP] with types 0 and 1",
                   j->name);
}

// tokenizer.json's own truncation and padding. Each call of the reference says its own length, but takes the sides from here.
static kpd_status hf_check_lengths(const hf_import_state *in, const hf_json *j) {
    static const hf_key cut[] = {{"direction", HF_SAYS, "Right"}, {"max_length", HF_IDLE, hf_calls},
        {"strategy", HF_IDLE, hf_calls}, {"stride", HF_IDLE, hf_calls}, {NULL, HF_READ, NULL}};
    static const hf_key padding[] = {{"strategy", HF_IDLE, hf_padded}, {"direction", HF_IDLE, hf_padded},
        {"pad_to_multiple_of", HF_IDLE, hf_padded}, {"pad_id", HF_IDLE, hf_padded}, {"pad_type_id", HF_IDLE, hf_padded},
        {"pad_token", HF_READ, NULL}, {NULL, HF_READ, NULL}};
    int32_t pad = hf_get(j, 0, "padding"), token;
    kpd_status s;
    if ((s = hf_walk(j, hf_get(j, 0, "truncation"), cut))) return s;
    if ((s = hf_walk(j, pad, padding))) return s;
    token = hf_get(j, pad, "pad_token");
    return token < 0 ? KPD_OK : hf_known_token(in, j, token);
}

static kpd_status hf_check_pieces(hf_import_state *in, const hf_json *j, bool generic, int32_t *vocab) {
    static const hf_key known[] = {{"version", HF_IDLE, hf_named}, {"truncation", HF_READ, NULL}, {"padding", HF_READ, NULL},
        {"added_tokens", HF_READ, NULL}, {"normalizer", HF_READ, NULL}, {"pre_tokenizer", HF_READ, NULL},
        {"post_processor", HF_READ, NULL}, {"decoder", HF_IDLE, hf_text_out}, {"model", HF_READ, NULL}, {NULL, HF_READ, NULL}};
    static const hf_key words[] = {{"type", HF_READ, NULL}, {NULL, HF_READ, NULL}};
    int32_t n;
    kpd_status s;
    if (j->node[0].type != HF_OBJECT) return hf_json_bad(j, 0, "expected an object");
    if ((s = hf_walk(j, 0, known))) return s;
    if ((s = hf_check_normalizer(in, j, generic))) return s;
    if ((s = hf_part(j, 0, "pre_tokenizer", "BertPreTokenizer", &n))) return s;
    if ((s = hf_walk(j, n, words))) return s;
    if ((s = hf_check_post_processor(in, j, generic))) return s;
    if ((s = hf_check_lengths(in, j))) return s;
    if ((s = hf_known_tokens(in, j, hf_get(j, 0, "added_tokens")))) return s;
    return hf_check_wordpiece(in, j, vocab);
}

static kpd_status hf_bad_token(const hf_json *j, int32_t n, const char *what) {
    const hf_node *v = &j->node[n];
    return hf_fail(j->e, KPD_ERR_FORMAT, (int64_t)v->where, "%s:%.0f: token %.*s: %s", j->name, (double)v->where,
                   hf_shown(v->key),
                   v->key.data, what);
}

// Without Unicode's White_Space at its end.
static kpd_text hf_trimmed(kpd_text t) {
    static const char *const space[] = {" ", "\t", "\n", "\v", "\f", "\r", "\xC2\x85", "\xC2\xA0", "\xE1\x9A\x80",
        "\xE2\x80\x80", "\xE2\x80\x81", "\xE2\x80\x82", "\xE2\x80\x83", "\xE2\x80\x84", "\xE2\x80\x85", "\xE2\x80\x86",
        "\xE2\x80\x87", "\xE2\x80\x88", "\xE2\x80\x89", "\xE2\x80\x8A", "\xE2\x80\xA8", "\xE2\x80\xA9", "\xE2\x80\xAF",
        "\xE2\x81\x9F", "\xE3\x80\x80"};
    for (size_t i = 0; i < sizeof space / sizeof *space;) {
        bool found = t.size && hf_ends(t, space[i]);
        if (found) t.size -= strlen(space[i]);
        i = found ? 0 : i + 1;
    }
    return t;
}

// vocab.txt from model.vocab: line i is the token of id i, so the ids must be 0 to n - 1, each once. A token that ends in white
// space is never found in a text, whose words have none, and could not stand in a line: the line is empty.
static kpd_status hf_vocab_lines(const hf_json *j, int32_t vocab, hf_buffer *out) {
    int32_t count = j->node[vocab].count, n;
    size_t size = (size_t)count * sizeof(int32_t);
    int32_t *by_id = (int32_t *)hf_alloc(&out->a, size);
    kpd_status s = KPD_OK;
    if (!by_id) return hf_no_memory(j->e, j->name);
    for (int32_t i = 0; i < count; i++) by_id[i] = -1;
    for (n = j->node[vocab].child; !s && n >= 0; n = j->node[n].next) {
        const hf_node *v = &j->node[n];
        if (!v->exact || v->type != HF_NUMBER || v->integer < 0 || v->integer >= count) s = hf_bad_token(j, n,
                "ids are not 0, 1, 2, ...");
        else if (by_id[v->integer] >= 0) s = hf_bad_token(j, n, "its id is another token's too");
        else if (v->key.size && memchr(v->key.data, '\n', v->key.size)) s = hf_bad_token(j, n, "has a line end in it");
        else by_id[v->integer] = n;
    }
    for (int32_t i = 0; !s && i < count; i++) {
        kpd_text t = j->node[by_id[i]].key;
        if (hf_trimmed(t).size == t.size) hf_put(out, t.data, t.size);
        hf_put(out, "\n", 1);
    }
    hf_free(&out->a, by_id, size);
    return s ? s : out->failed ? hf_no_memory(j->e, j->name) : KPD_OK;
}

// tokenizer.json against the tokenizer made from vocab.txt: the same tokens with the same ids, and none left over. A token that
// ends in white space, which vocab.txt's reader takes off, is compared without it.
static kpd_status hf_same_vocab(const hf_import_state *in, const hf_json *j, int32_t vocab) {
    int32_t size = kpd_tokenizer_size(in->tokenizer), distinct = 0;
    kpd_text token;
    for (int32_t n = j->node[vocab].child; n >= 0; n = j->node[n].next) {
        const hf_node *v = &j->node[n];
        int32_t id = kpd_token_id(in->tokenizer, v->key);
        kpd_text t = hf_trimmed(v->key), there;
        if (t.size < v->key.size && v->exact && v->integer >= 0 && v->integer < size &&
            kpd_token_text(in->tokenizer, (int32_t)v->integer, &there) && hf_same(t, there)) continue;
        if (v->type != HF_NUMBER || !v->exact || v->integer != id)
            return hf_fail(in->e, KPD_ERR_FORMAT, (int64_t)v->where, "%s:%.0f: token %.*s has id %.15g, but vocab.txt says %d",
                           j->name,
                           (double)v->where, hf_shown(v->key), v->key.data, v->number, (int)id);
    }
    for (int32_t i = 0; kpd_token_text(in->tokenizer, i, &token); i++) distinct += kpd_token_id(in->tokenizer, token) == i;
    if (j->node[vocab].count < distinct)
        return hf_fail(in->e, KPD_ERR_FORMAT, -1, "%s: %d tokens, but vocab.txt has %d", j->name, (int)j->node[vocab].count,
                       (int)distinct);
    return KPD_OK;
}

static kpd_status hf_make_tokenizer(hf_import_state *in, const char *vocab, size_t size) {
    kpd_tokenizer_desc d;
    memset(&d, 0, sizeof d);
    d.vocab = vocab;
    d.vocab_size = size;
    d.cased = in->no_lower;
    d.keep_cjk_joined = in->no_cjk;
    d.strip_accents = in->strip;
    d.unk = in->special[0];
    d.cls = in->special[1];
    d.sep = in->special[2];
    d.pad = in->special[3];
    d.mask = in->special[4];
    d.allocator = in->a;
    return kpd_tokenizer_create(&d, &in->tokenizer, in->e);
}

// sentence-transformers' own do_lower_case goes before the tokenizer, which then strips no accents on account of it.
static void hf_apply_lower(hf_import_state *in) {
    if (!in->lower || !in->no_lower) return;
    in->strip = in->strip > 0 ? 1 : -1;
    in->no_lower = false;
}

static kpd_status hf_vocab_from_file(hf_import_state *in, const char *path) {
    char *text = NULL;
    size_t size = 0;
    kpd_status s = hf_read_file(path, "vocab.txt", HF_MAX_JSON, &in->a, &text, &size, in->e);
    if (s) return s;
    s = hf_make_tokenizer(in, text, size);
    hf_free(&in->a, text, size + 1);
    return s;
}

static kpd_status hf_vocab_from_json(hf_import_state *in, const hf_json *j, int32_t vocab) {
    hf_buffer lines = hf_buffer_make(in->a);
    kpd_status s = hf_vocab_lines(j, vocab, &lines);
    if (!s) s = hf_make_tokenizer(in, lines.data, lines.size);
    hf_buffer_free(&lines);
    return s;
}

// Added tokens beyond the vocabulary were refused; those in it must have their vocabulary's id.
static kpd_status hf_check_added_ids(const hf_import_state *in, const hf_json *j) {
    int32_t list = hf_get(j, 0, "added_tokens");
    for (int32_t n = list < 0 ? -1 : j->node[list].child; n >= 0; n = j->node[n].next) {
        int32_t id = hf_get(j, n, "id"), content = hf_get(j, n, "content");
        kpd_text t = content < 0 ? hf_text("") : j->node[content].string;
        if (id < 0 || !j->node[id].exact || j->node[id].integer != kpd_token_id(in->tokenizer, t))
            return hf_fail(in->e, KPD_ERR_UNSUPPORTED, (int64_t)j->node[n].where,
                           "%s:%.0f: added token %.*s is not in the vocabulary with its id",
                           j->name, (double)j->node[n].where, hf_shown(t), t.data);
    }
    return KPD_OK;
}

// ["[SEP]", 3] of a BertProcessing.
static bool hf_pair_is(const hf_import_state *in, const hf_json *j, int32_t pair, const char *token) {
    int32_t name = pair < 0 ? -1 : j->node[pair].child, id = name < 0 ? -1 : j->node[name].next;
    return id >= 0 && j->node[pair].count == 2 && hf_is(j->node[name].string, token) && j->node[id].exact &&
           j->node[id].integer == kpd_token_id(in->tokenizer, hf_text(token));
}

// "[SEP]": {"id": "[SEP]", "ids": [3], "tokens": ["[SEP]"]} of a TemplateProcessing.
static bool hf_entry_is(const hf_import_state *in, const hf_json *j, int32_t entry, const char *token) {
    int32_t ids = hf_get(j, entry, "ids"), id = ids < 0 ? -1 : j->node[ids].child;
    return id >= 0 && j->node[ids].count == 1 && j->node[id].exact &&
           j->node[id].integer == kpd_token_id(in->tokenizer, hf_text(token));
}

// A class that takes all from tokenizer.json takes also the ids from there.
static kpd_status hf_check_processor_ids(const hf_import_state *in, const hf_json *j) {
    int32_t n = hf_get(j, 0, "post_processor"), tokens = hf_get(j, n, "special_tokens"), type = hf_get(j, n, "type");
    bool pair = type >= 0 && hf_is(j->node[type].string, "BertProcessing");
    for (int i = 1; type >= 0 && i <= 2; i++) {
        const char *token = in->special[i];
        if (pair ? hf_pair_is(in, j, hf_get(j, n, i == 1 ? "cls" : "sep"), token)
                 : hf_entry_is(in, j, hf_get(j, tokens, token), token)) continue;
        return hf_fail(in->e, KPD_ERR_UNSUPPORTED, (int64_t)j->node[n].where,
                       "%s:%.0f: post_processor: %s is not there with its id of the vocabulary, %d", j->name,
                       (double)j->node[n].where, token, (int)kpd_token_id(in->tokenizer, hf_text(token)));
    }
    return KPD_OK;
}

static kpd_status hf_vocab(hf_import_state *in, const hf_json *j, bool has_json, bool generic) {
    char path[HF_MAX_PATH];
    int32_t vocab = -1;
    kpd_status s = hf_path(in->dir, in->root, "vocab.txt", path, in->e);
    if (s) return s;
    if (has_json && (s = hf_check_pieces(in, j, generic, &vocab))) return s;
    hf_apply_lower(in);
    if (!hf_exists(path)) {
        if (!has_json) return hf_fail(in->e, KPD_ERR_IO, -1, "%s: cannot be opened, and there is no tokenizer.json", path);
        s = hf_vocab_from_json(in, j, vocab);
    } else {
        s = hf_vocab_from_file(in, path);
        if (!s && has_json) s = hf_same_vocab(in, j, vocab);
    }
    if (!s && has_json) s = hf_check_processor_ids(in, j);
    return s || !has_json ? s : hf_check_added_ids(in, j);
}

static kpd_status hf_tokenizer(hf_import_state *in) {
    hf_json config, map, json;
    bool there, has_json = false, generic = false;
    kpd_status s = hf_json_maybe(&config, in->dir, in->root, "tokenizer_config.json", in->a, &there, in->e);
    memset(&map, 0, sizeof map);
    memset(&json, 0, sizeof json);
    if (!s) s = hf_json_maybe(&map, in->dir, in->root, "special_tokens_map.json", in->a, &there, in->e);
    if (!s) s = hf_tokenizer_config(in, &config, &map, &generic);
    if (!s) s = hf_added_tokens_file(in);
    if (!s) s = hf_json_maybe(&json, in->dir, in->root, "tokenizer.json", in->a, &has_json, in->e);
    if (!s) s = hf_vocab(in, &json, has_json, generic);
    hf_json_free(&config);
    hf_json_free(&map);
    hf_json_free(&json);
    return s;
}

// ---- >>import -----------------------------------------------------------------------------------------------------

static bool hf_is_vector(kpd_text name) { return hf_ends(name, ".bias") || hf_ends(name, "LayerNorm.weight") || hf_ends(name,
        "norm.weight"); }

// A tensor of the encoder. Folders from TensorFlow call a layer norm's weight and bias gamma and beta.
static hf_tensor *hf_find_weight(hf_weights *w, kpd_text prefix, const char *name) {
    char other[HF_MAX_NAME * 2];
    hf_tensor *t = hf_find(w, prefix, hf_text(name));
    const char *ending = hf_ends(hf_text(name), "LayerNorm.weight") ? "weight" : hf_ends(hf_text(name),
            "LayerNorm.bias") ? "bias" : NULL;
    if (t || !ending || strlen(name) >= sizeof other) return t;
    snprintf(other, sizeof other, "%.*s%s", (int)(strlen(name) - strlen(ending)), name, *ending == 'w' ? "gamma" : "beta");
    return hf_find(w, prefix, hf_text(other));
}

// The head of masked-language modelling: names of kpd.h, and theirs.
static const char *const hf_head_names[5][2] = {
    {"mlm.transform.weight", "cls.predictions.transform.dense.weight"},
    {"mlm.transform.bias", "cls.predictions.transform.dense.bias"},
    {"mlm.norm.weight", "cls.predictions.transform.LayerNorm.weight"},
    {"mlm.norm.bias", "cls.predictions.transform.LayerNorm.bias"},
    {"mlm.bias", "cls.predictions.bias"}};

static const char *hf_head_name(const char *name) {
    for (int i = 0; i < 5; i++)
        if (!strcmp(name, hf_head_names[i][0])) return hf_head_names[i][1];
    return NULL;
}

// Whether all of it is there, and its output matrix is the word embeddings, which files leave out then.
static bool hf_has_head(hf_weights *w) {
    for (int i = 0; i < 5; i++)
        if (!hf_find_weight(w, hf_text(""), hf_head_names[i][1])) return false;
    return !hf_find(w, hf_text(""), hf_text("cls.predictions.decoder.weight"));
}

// "[2, 3]"
static const char *hf_shape_text(const int32_t *shape, int32_t n, char out[128]) {
    size_t used = (size_t)snprintf(out, 128, "[");
    for (int32_t i = 0; i < n; i++) used += (size_t)snprintf(out + used, 128 - used, "%s%d", i ? ", " : "", (int)shape[i]);
    snprintf(out + used, 128 - used, "]");
    return out;
}

static kpd_status hf_check_shape(const hf_import_state *in, const hf_weights *w, const hf_tensor *t, const kpd_tensor *want) {
    char found[128], expected[128];
    int32_t shape[2], n = 2;
    shape[0] = want->rows;
    shape[1] = want->cols;
    if (hf_is_vector(hf_text(want->name))) {
        n = 1;
        shape[0] = want->cols;
    }
    if (t->n_dims == n && t->shape[0] == shape[0] && (n == 1 || t->shape[1] == shape[1])) return KPD_OK;
    return hf_fail(in->e, KPD_ERR_FORMAT, -1, "%s: tensor %s: shape %s, expected %s", w->shard[t->shard].header.name,
                   want->name,
                   hf_shape_text(t->shape, t->n_dims, found), hf_shape_text(shape, n, expected));
}

static kpd_status hf_load_tensor(const hf_import_state *in, hf_weights *w, hf_tensor *t, const kpd_tensor *want, kpd_model *m) {
    size_t count = (size_t)want->rows * (size_t)want->cols;
    float *x;
    kpd_status s;
    if (!t) return hf_fail(in->e, KPD_ERR_FORMAT, -1, "%s: tensor %s is missing", w->shard[0].header.name, want->name);
    if ((s = hf_check_shape(in, w, t, want))) return s;
    t->used = true;
    x = (float *)hf_alloc(&in->a, count * sizeof *x);
    if (!x) return hf_no_memory(in->e, want->name);
    s = hf_read_floats(w, t, count, x);
    if (!s) s = kpd_model_set(m, want->name, x, in->e);
    hf_free(&in->a, x, count * sizeof *x);
    return s;
}

// Heads that were trained with the encoder and do not take part in embedding are left out. Anything else is an error:
// a tensor without a place means that the model computes something that kpd would not.
static kpd_status hf_check_unused(const hf_import_state *in, const hf_weights *w, kpd_text prefix) {
    bool cross = in->model.kind == KPD_CROSS_ENCODER;
    int pooler = 0, head = 0;
    for (int32_t i = 0; i < w->n_tensors; i++) {
        kpd_text t = w->tensor[i].name;
        if (w->tensor[i].used) continue;
        if (prefix.size && hf_starts(t, prefix.data)) t = hf_after(t, prefix.size);
        if (hf_is(t, "embeddings.position_ids") || hf_is(t, "embeddings.token_type_ids")) continue;
        if (hf_starts(t, "pooler.") && !cross) pooler++;
        else if (hf_starts(t, "cls.") || (hf_starts(t, "classifier.") && !cross)) head++;
        else return hf_fail(in->e, KPD_ERR_UNSUPPORTED, -1, "%s: tensor %.*s has no place in the model",
                            w->shard[w->tensor[i].shard].header.name,
                            hf_shown(w->tensor[i].name), w->tensor[i].name.data);
    }
    if (pooler) hf_note(in, "model.safetensors: pooler is left out (sentence vectors do not use it)");
    if (head) hf_note(in, "model.safetensors: %d tensors of a training head are left out", head);
    return KPD_OK;
}

static kpd_status hf_load_encoder(const hf_import_state *in, hf_weights *w, kpd_model *m) {
    kpd_tensor want;
    kpd_text prefix = hf_text(hf_find(w, hf_text(""), hf_text("bert.embeddings.word_embeddings.weight")) ? "bert." : "");
    for (int32_t i = 0; kpd_model_tensor(m, i, &want); i++) {
        const char *head = hf_head_name(want.name);
        kpd_text at = head || hf_starts(hf_text(want.name), "classifier.") ? hf_text("") : prefix;
        kpd_status s;
        if (hf_starts(hf_text(want.name), "modules.")) continue;
        if ((s = hf_load_tensor(in, w, hf_find_weight(w, at, head ? head : want.name), &want, m))) return s;
    }
    return hf_check_unused(in, w, prefix);
}

// "modules.2.linear.weight" -> "linear.weight", if it is module's.
static const char *hf_module_tensor(const char *name, int32_t module) {
    char prefix[32];
    snprintf(prefix, sizeof prefix, "modules.%d.", (int)module);
    return hf_starts(hf_text(name), prefix) ? name + strlen(prefix) : NULL;
}

static kpd_status hf_load_module(const hf_import_state *in, hf_weights *w, int32_t module, kpd_model *m) {
    kpd_tensor want;
    for (int32_t i = 0; kpd_model_tensor(m, i, &want); i++) {
        const char *name = hf_module_tensor(want.name, module);
        kpd_status s;
        if (!name) continue;
        if ((s = hf_load_tensor(in, w, hf_find(w, hf_text(""), hf_text(name)), &want, m))) return s;
    }
    for (int32_t i = 0; i < w->n_tensors; i++) {
        if (!w->tensor[i].used)
            return hf_fail(in->e, KPD_ERR_UNSUPPORTED, -1, "%s: tensor %.*s has no place in the model", w->shard[0].header.name,
                           hf_shown(w->tensor[i].name), w->tensor[i].name.data);
    }
    return KPD_OK;
}

static kpd_status hf_load_modules(const hf_import_state *in, kpd_model *m) {
    hf_weights w;
    kpd_status s = KPD_OK;
    for (int32_t i = 0; !s && i < in->model.n_modules; i++) {
        s = hf_weights_open(&w, in->dir, in->module[i], in->a, in->e);
        if (!s) s = hf_load_module(in, &w, i, m);
        hf_weights_close(&w);
    }
    return s;
}

// The text limit: the caller's, the exported model's own, sentence_bert_config.json's, or the tokenizer's.
static kpd_status hf_limit(hf_import_state *in) {
    int32_t positions = in->model.n_positions, limit = in->model_max_length;
    if (in->max_seq_length) limit = in->max_seq_length;
    if (in->kpd_max_tokens) limit = in->kpd_max_tokens;
    if (in->max_seq_length > positions) hf_note(in, "max_seq_length %d is over the model's %d positions",
                                                (int)in->max_seq_length, (int)positions);
    if (in->d->max_tokens < 0 || in->d->max_tokens > positions)
        return hf_fail(in->e, KPD_ERR_ARGUMENT, -1, "max_tokens %d, expected at most the model's %d positions",
                       (int)in->d->max_tokens,
                       (int)positions);
    if (in->d->max_tokens) limit = in->d->max_tokens;
    in->model.max_tokens = limit < positions ? limit : positions;
    return KPD_OK;
}

static const char *hf_choose(const char *given, const char *folder, const char *otherwise) {
    return given ? given : *folder ? folder : otherwise;
}

// The parts of a pair are keyphrase, category, title in this order: two parts fill the pair (query | passage).
static const char hf_pair[] = "{keyphrase}|{category} {sep} {title}";

// More rows than tokens pad the matrix; they stay, so that an exported folder has the imported one's shapes.
static kpd_status hf_check_vocab_size(const hf_import_state *in) {
    int32_t tokens = kpd_tokenizer_size(in->tokenizer);
    if (tokens <= in->model.vocab_size) return KPD_OK;
    return hf_fail(in->e, KPD_ERR_FORMAT, -1, "config.json: vocab_size %d, but the vocabulary has %d tokens",
                   (int)in->model.vocab_size, (int)tokens);
}

// Whether there is a file dir/sub/name.
static bool hf_has(const hf_import_state *in, const char *sub, const char *name) {
    char path[HF_MAX_PATH];
    return !hf_path(in->dir, sub, name, path, NULL) && hf_exists(path);
}

// "org/name" or "name", without a dot or anything else that only a path has.
static bool hf_hub_name(const char *name) {
    size_t slashes = 0;
    for (const char *p = name; *p; p++) slashes += *p == '/';
    return *name && *name != '/' && *name != '.' && *name != '~' && slashes < 2 && !strchr(name, '\\') && !strchr(name, ':') &&
           name[strlen(name) - 1] != '/';
}

static kpd_status hf_check_folder(const hf_import_state *in) {
    int entries = hf_dir_entries(in->dir);
    if (entries > 0) return KPD_OK;
    if (entries == 0) return hf_fail(in->e, KPD_ERR_IO, -1, "%s: is an empty folder, expected a model's", in->dir);
    if (hf_is_folder(in->dir)) return hf_fail(in->e, KPD_ERR_IO, -1, "%s: the folder cannot be read", in->dir);
    if (hf_exists(in->dir))
        return hf_fail(in->e, KPD_ERR_IO, -1, "%s: is a file, expected the folder of a model%s", in->dir,
                       hf_ends(hf_text(in->dir), ".kpd") ? " (a .kpd file is imported already)" : "");
    if (hf_hub_name(in->dir))
        return hf_fail(in->e, KPD_ERR_IO, -1, "%s: no such folder; names of the Hugging Face hub are not fetched: download the "
                       "model first, as by `hf download %s --local-dir DIR`, and import DIR", in->dir, in->dir);
    return hf_fail(in->e, KPD_ERR_IO, -1, "%s: no such folder", in->dir);
}

// Files whose mere presence changes what the reference loads.
static kpd_status hf_check_others(const hf_import_state *in) {
    static const struct { const char *name, *what; } other[] = {
        {"adapter_config.json", "an adapter (PEFT, LoRA) changes the weights: merge it into its base model first, as by peft's "
                                "merge_and_unload"},
        {"processor_config.json", "a processor of images or sound, expected text alone"},
        {"preprocessor_config.json", "a processor of images or sound, expected text alone"},
        {"video_preprocessor_config.json", "a processor of video, expected text alone"}};
    for (size_t i = 0; i < sizeof other / sizeof *other; i++) {
        if (hf_has(in, in->root, other[i].name))
            return hf_fail(in->e, KPD_ERR_UNSUPPORTED, -1, "%s%s%s: %s", in->root, *in->root ? "/" : "", other[i].name,
                           other[i].what);
    }
    if (hf_has(in, in->root, "config.json")) return KPD_OK;
    return hf_fail(in->e, KPD_ERR_IO, -1, "%s%sconfig.json: is not there, expected a model's folder with model.safetensors",
                   in->root, *in->root ? "/" : "");
}

static kpd_status hf_describe(hf_import_state *in) {
    kpd_status s;
    if ((s = hf_check_folder(in))) return s;
    if ((s = hf_modules(in, false))) return s;
    if ((s = hf_check_others(in))) return s;
    if ((s = hf_config(in))) return s;
    if ((s = hf_decide_kind(in))) return s;
    if ((s = hf_modules(in, true))) return s;
    if ((s = hf_sentence_config(in))) return s;
    if ((s = hf_tokenizer(in))) return s;
    if ((s = hf_prompts(in))) return s;
    if ((s = hf_check_vocab_size(in))) return s;
    if (in->model.kind == KPD_CROSS_ENCODER ? in->d->template_item || in->d->template_keyphrase : in->d->template_pair != NULL)
        return hf_fail(in->e, KPD_ERR_ARGUMENT, -1, "%s: a %s, which has no template of %s", in->dir,
                       kpd_kind_name(in->model.kind), in->model.kind == KPD_CROSS_ENCODER ? "items or keyphrases" : "pairs");
    in->model.tokenizer = in->tokenizer;
    in->model.template_item = hf_choose(in->d->template_item, in->item, NULL);
    in->model.template_keyphrase = hf_choose(in->d->template_keyphrase, in->keyphrase, NULL);
    in->model.template_pair = hf_choose(in->d->template_pair, in->pair, in->model.kind == KPD_CROSS_ENCODER ? hf_pair : NULL);
    return hf_limit(in);
}

static kpd_status hf_build(hf_import_state *in, kpd_model **out) {
    kpd_model *m = NULL;
    hf_weights w;
    kpd_status s = hf_describe(in);
    if (s) return s;
    in->model.allocator = in->a;
    s = hf_weights_open(&w, in->dir, in->root, in->a, in->e);
    if (!s) in->model.mlm_head = in->model.kind == KPD_BI_ENCODER && hf_has_head(&w);
    if (!s) s = kpd_model_create(&in->model, &m, in->e);
    if (!s) s = hf_load_encoder(in, &w, m);
    hf_weights_close(&w);
    if (!s) s = hf_load_modules(in, m);
    if (s) kpd_model_destroy(m);
    else *out = m;
    return s;
}

// The model in a folder; see the top of the file. d NULL = defaults. Errors: IO, FORMAT, UNSUPPORTED, LIMIT, MEMORY,
// ARGUMENT; messages begin with the file and the byte offset where there is one. *out is untouched on failure.
static inline kpd_status hf_import(const char *dir, const hf_import_desc *d, kpd_model **out, kpd_error *e) {
    hf_import_desc none;
    hf_import_state *in;
    kpd_allocator a;
    kpd_status s;
    memset(&none, 0, sizeof none);
    if (!d) d = &none;
    a = d->allocator;
    if (!dir || !out) return hf_fail(e, KPD_ERR_ARGUMENT, -1, "hf_import: no folder, or no place for the model");
    if ((!a.alloc) != (!a.free)) return hf_fail(e, KPD_ERR_ARGUMENT, -1, "hf_import: half an allocator");
    if (d->note && d->note_size) d->note[0] = 0;
    in = (hf_import_state *)hf_alloc(&a, sizeof *in);
    if (!in) return hf_no_memory(e, dir);
    memset(in, 0, sizeof *in);
    in->dir = dir;
    in->d = d;
    in->a = a;
    in->e = e;
    s = hf_build(in, out);
    kpd_tokenizer_destroy(in->tokenizer);
    hf_free(&a, in, sizeof *in);
    return s;
}

// ---- >>writer -----------------------------------------------------------------------------------------------------

static void hf_puts(hf_buffer *b, const char *s) { hf_put(b, s, strlen(s)); }

// A JSON string. Text that is not UTF-8 cannot be one: false.
static bool hf_put_string(hf_buffer *b, kpd_text t) {
    hf_puts(b, "\"");
    for (size_t i = 0; i < t.size;) {
        unsigned char c = (unsigned char)t.data[i];
        size_t n = hf_utf8((const unsigned char *)t.data + i, t.size - i);
        if (n == 0) return false;
        if (c == '"' || c == '\\') hf_putf(b, "\\%c", c);
        else if (c < 32 || c == 127) hf_putf(b, "\\u%04x", (unsigned)c);
        else hf_put(b, t.data + i, n);
        i += n;
    }
    hf_puts(b, "\"");
    return !b->failed;
}

// "  key: value," lines of a JSON object; `last` leaves out the comma.
static bool hf_put_pair(hf_buffer *b, const char *key, const char *value, bool last) {
    hf_putf(b, "  \"%s\": ", key);
    if (!hf_put_string(b, hf_text(value))) return false;
    hf_puts(b, last ? "\n" : ",\n");
    return true;
}

// The shortest decimal that reads back as x, with a point in every locale.
static void hf_put_float(hf_buffer *b, float x) {
    char text[40];
    for (int digits = 1; digits <= 9; digits++) {
        const char *p = text;
        double back = 0;
        int64_t integer;
        bool exact;
        snprintf(text, sizeof text, "%.*g", digits, (double)x);
        for (char *c = text; *c; c++) {
            if (!strchr("0123456789eE+-", *c)) *c = '.';
        }
        if (hf_number(&p, &back, &integer, &exact) && (float)back >= x && (float)back <= x) break;
    }
    hf_puts(b, text);
}

typedef struct hf_export_state {
    const kpd_model *m;
    kpd_model_desc d;
    const kpd_tokenizer *t;
    const char *dir;
    kpd_allocator a;
    kpd_error *e;
    char special[HF_N_SPECIAL][HF_MAX_NAME];
    bool no_lower, no_cjk;
    int32_t strip;
} hf_export_state;

static kpd_status hf_write_file(const hf_export_state *x, const char *sub, const char *name, const void *data, size_t size) {
    char path[HF_MAX_PATH];
    kpd_status s = hf_path(x->dir, sub, name, path, x->e);
    bool ok;
    FILE *f;
    if (s) return s;
    f = fopen(path, "wb");
    if (!f) return hf_fail(x->e, KPD_ERR_IO, -1, "%s: cannot be made: %s", path, strerror(errno));
    ok = fwrite(data, 1, size, f) == size;
    ok = fclose(f) == 0 && ok;
    return ok ? KPD_OK : hf_fail(x->e, KPD_ERR_IO, -1, "%s: cannot be written: %s", path, strerror(errno));
}

// Writes b and frees it.
static kpd_status hf_write_buffer(const hf_export_state *x, const char *sub, const char *name, hf_buffer *b) {
    kpd_status s = b->failed ? hf_no_memory(x->e, name) : hf_write_file(x, sub, name, b->data, b->size);
    hf_buffer_free(b);
    return s;
}

static bool hf_make_dir(const char *path) {
#ifdef _WIN32
    return _mkdir(path) == 0;
#else
    return mkdir(path, 0777) == 0;
#endif
}

// An empty folder: made, or found.
static kpd_status hf_new_dir(const hf_export_state *x, const char *sub) {
    char path[HF_MAX_PATH];
    kpd_status s = hf_path(x->dir, sub, "", path, x->e);
    if (s || hf_make_dir(path)) return s;
    switch (hf_dir_entries(path)) {
    case 0: return KPD_OK;
    case 1: return hf_fail(x->e, KPD_ERR_ARGUMENT, -1, "%s: is not empty", path);
    default: return hf_fail(x->e, KPD_ERR_IO, -1, "%s: cannot be made", path);
    }
}

// ---- >>export -----------------------------------------------------------------------------------------------------

static kpd_status hf_tokenizer_settings(hf_export_state *x) {
    kpd_tokenizer_desc d = *kpd_tokenizer_get_desc(x->t);
    const char *const special[HF_N_SPECIAL] = {d.unk, d.cls, d.sep, d.pad, d.mask};
    x->no_lower = d.cased;
    x->no_cjk = d.keep_cjk_joined;
    x->strip = d.strip_accents;
    for (int i = 0; i < HF_N_SPECIAL; i++) {
        if (strlen(special[i]) >= HF_MAX_NAME)
            return hf_fail(x->e, KPD_ERR_UNSUPPORTED, -1, "special token \"%.40s...\" is longer than %d bytes", special[i],
                           HF_MAX_NAME);
        memcpy(x->special[i], special[i], strlen(special[i]) + 1);
    }
    return KPD_OK;
}

static const char *hf_act_name(kpd_activation a) {
    static const char *const name[] = {"gelu", "gelu_pytorch_tanh", "relu", "tanh"};
    return a < KPD_IDENTITY ? name[a] : NULL;
}

static bool hf_put_labels(hf_buffer *b, int32_t n) {
    for (int way = 0; way < 2; way++) {
        hf_puts(b, way ? "  \"label2id\": {" : "  \"id2label\": {");
        for (int32_t i = 0; i < n; i++) {
            if (way) hf_putf(b, "%s\"LABEL_%d\": %d", i ? ", " : "", (int)i, (int)i);
            else hf_putf(b, "%s\"%d\": \"LABEL_%d\"", i ? ", " : "", (int)i, (int)i);
        }
        hf_puts(b, "},\n");
    }
    return !b->failed;
}

static bool hf_put_kpd(hf_buffer *b, const kpd_model_desc *d) {
    const char *const key[] = {"template_item", "template_keyphrase", "template_pair"};
    const char *const value[] = {d->template_item, d->template_keyphrase, d->template_pair};
    hf_puts(b, "  \"kpd\": {");
    for (int i = 0; i < 3; i++) {
        if (!value[i]) continue;
        hf_putf(b, "\"%s\": ", key[i]);
        if (!hf_put_string(b, hf_text(value[i]))) return false;
        hf_puts(b, ", ");
    }
    hf_putf(b, "\"max_tokens\": %d},\n", (int)d->max_tokens);
    return !b->failed;
}

static kpd_status hf_write_config(const hf_export_state *x) {
    const kpd_model_desc *d = &x->d;
    bool cross = d->kind == KPD_CROSS_ENCODER;
    hf_buffer b = hf_buffer_make(x->a);
    bool ok = true;
    hf_putf(&b, "{\n  \"architectures\": [\"%s\"],\n", cross ? "BertForSequenceClassification" :
            d->mlm_head ? "BertForMaskedLM" : "BertModel");
    hf_puts(&b, "  \"model_type\": \"bert\",\n  \"position_embedding_type\": \"absolute\",\n  \"dtype\": \"float32\",\n");
    hf_puts(&b, "  \"attention_probs_dropout_prob\": 0.1,\n  \"hidden_dropout_prob\": 0.1,\n  \"initializer_range\": 0.02,\n");
    hf_putf(&b, "  \"hidden_act\": \"%s\",\n  \"hidden_size\": %d,\n", hf_act_name(d->activation), (int)d->width);
    hf_putf(&b, "  \"num_hidden_layers\": %d,\n  \"num_attention_heads\": %d,\n", (int)d->n_layers, (int)d->n_heads);
    hf_putf(&b, "  \"intermediate_size\": %d,\n  \"max_position_embeddings\": %d,\n", (int)d->ffn_width, (int)d->n_positions);
    hf_putf(&b, "  \"type_vocab_size\": %d,\n  \"layer_norm_eps\": ", (int)d->n_types);
    hf_put_float(&b, d->layer_norm_eps);
    hf_puts(&b, ",\n");
    if (cross) ok = hf_put_labels(&b, d->n_labels);
    ok = ok && hf_put_kpd(&b, d);
    hf_putf(&b, "  \"pad_token_id\": %d,\n", kpd_token_id(x->t, hf_text(x->special[3])) < 0 ? 0 : (int)kpd_token_id(x->t,
            hf_text(x->special[3])));
    hf_putf(&b, "  \"vocab_size\": %d\n}\n", (int)d->vocab_size);
    if (!ok && !b.failed) {
        hf_buffer_free(&b);
        return hf_fail(x->e, KPD_ERR_UNSUPPORTED, -1, "config.json: a template is not UTF-8");
    }
    return hf_write_buffer(x, "", "config.json", &b);
}

// Name in the folder's file; NULL if the tensor goes elsewhere. module = -1 for the encoder.
static const char *hf_export_name(const hf_export_state *x, const kpd_tensor *t, int32_t module, char out[HF_MAX_NAME * 2]) {
    bool within = (x->d.kind == KPD_CROSS_ENCODER || x->d.mlm_head) && !hf_starts(hf_text(t->name), "classifier.");
    if (module >= 0) return hf_module_tensor(t->name, module);
    if (hf_starts(hf_text(t->name), "modules.")) return NULL;
    if (hf_head_name(t->name)) return hf_head_name(t->name);
    snprintf(out, HF_MAX_NAME * 2, "%s%s", within ? "bert." : "", t->name);
    return out;
}

// u64 size, JSON, padded with spaces to 8 bytes as the safetensors library does.
static kpd_status hf_put_header(const hf_export_state *x, int32_t module, hf_buffer *b) {
    char name[HF_MAX_NAME * 2];
    kpd_tensor t;
    uint64_t at = 0, size;
    hf_puts(b, "12345678{\"__metadata__\": {\"format\": \"pt\"}");
    for (int32_t i = 0; kpd_model_tensor(x->m, i, &t); i++) {
        const char *out = hf_export_name(x, &t, module, name);
        if (!out) continue;
        size = (uint64_t)t.rows * (uint64_t)t.cols * 4;
        hf_putf(b, ", \"%s\": {\"dtype\": \"F32\", \"shape\": [", out);
        if (hf_is_vector(hf_text(t.name))) hf_putf(b, "%d", (int)t.cols);
        else hf_putf(b, "%d, %d", (int)t.rows, (int)t.cols);
        hf_putf(b, "], \"data_offsets\": [%.0f, %.0f]}", (double)at, (double)(at + size));
        at += size;
    }
    hf_puts(b, "}");
    while (b->size % 8 && !b->failed) hf_puts(b, " ");
    if (b->failed) return hf_no_memory(x->e, "model.safetensors");
    for (int i = 0; i < 8; i++) b->data[i] = (char)((uint64_t)(b->size - 8) >> (8 * i) & 255);
    return KPD_OK;
}

static bool hf_write_floats(FILE *f, const float *v, size_t n) {
    unsigned char chunk[4096];
    for (size_t done = 0; done < n;) {
        size_t some = n - done < sizeof chunk / 4 ? n - done : sizeof chunk / 4;
        for (size_t i = 0; i < some; i++) {
            uint32_t bits;
            memcpy(&bits, v + done + i, 4);
            for (int k = 0; k < 4; k++) chunk[4 * i + (size_t)k] = (unsigned char)(bits >> (8 * k));
        }
        if (fwrite(chunk, 4, some, f) != some) return false;
        done += some;
    }
    return true;
}

static kpd_status hf_write_tensor(const hf_export_state *x, const kpd_tensor *t, FILE *f) {
    size_t n = (size_t)t->rows * (size_t)t->cols;
    float *v = (float *)hf_alloc(&x->a, n * sizeof *v);
    kpd_status s;
    if (!v) return hf_no_memory(x->e, t->name);
    s = kpd_model_get(x->m, t->name, v, x->e);
    if (!s && !hf_write_floats(f, v, n)) s = hf_fail(x->e, KPD_ERR_IO, -1, "model.safetensors: cannot be written");
    hf_free(&x->a, v, n * sizeof *v);
    return s;
}

static kpd_status hf_write_tensors(const hf_export_state *x, int32_t module, FILE *f) {
    char name[HF_MAX_NAME * 2];
    hf_buffer b = hf_buffer_make(x->a);
    kpd_tensor t;
    kpd_status s = hf_put_header(x, module, &b);
    if (!s && fwrite(b.data, 1, b.size, f) != b.size) s = hf_fail(x->e, KPD_ERR_IO, -1, "model.safetensors: cannot be written");
    hf_buffer_free(&b);
    for (int32_t i = 0; !s && kpd_model_tensor(x->m, i, &t); i++) {
        if (hf_export_name(x, &t, module, name)) s = hf_write_tensor(x, &t, f);
    }
    return s;
}

static kpd_status hf_write_weights(const hf_export_state *x, const char *sub, int32_t module) {
    char path[HF_MAX_PATH];
    kpd_status s = hf_path(x->dir, sub, "model.safetensors", path, x->e);
    FILE *f;
    if (s) return s;
    f = fopen(path, "wb");
    if (!f) return hf_fail(x->e, KPD_ERR_IO, -1, "%s: cannot be made", path);
    s = hf_write_tensors(x, module, f);
    if (fclose(f) && !s) s = hf_fail(x->e, KPD_ERR_IO, -1, "%s: cannot be written", path);
    return s;
}

static kpd_status hf_write_vocab(const hf_export_state *x) {
    hf_buffer b = hf_buffer_make(x->a);
    kpd_text t;
    for (int32_t i = 0; kpd_token_text(x->t, i, &t); i++) {
        hf_put(&b, t.data, t.size);
        hf_puts(&b, "\n");
    }
    return hf_write_buffer(x, "", "vocab.txt", &b);
}

static const char *hf_strip_text(int32_t strip) { return strip ? strip > 0 ? "true" : "false" : "null"; }

static kpd_status hf_write_tokenizer_config(const hf_export_state *x, const char *name, bool options) {
    hf_buffer b = hf_buffer_make(x->a);
    bool ok = true;
    hf_puts(&b, "{\n");
    if (options) {
        hf_puts(&b, "  \"tokenizer_class\": \"BertTokenizer\",\n");
        hf_putf(&b, "  \"do_lower_case\": %s,\n  \"strip_accents\": %s,\n", x->no_lower ? "false" : "true",
                hf_strip_text(x->strip));
        hf_putf(&b, "  \"tokenize_chinese_chars\": %s,\n  \"model_max_length\": %d,\n", x->no_cjk ? "false" : "true",
                (int)x->d.max_tokens);
    }
    for (int i = 0; ok && i < HF_N_SPECIAL; i++) ok = hf_put_pair(&b, hf_special_key[i], x->special[i], i == HF_N_SPECIAL - 1);
    hf_puts(&b, "}\n");
    if (!ok && !b.failed) {
        hf_buffer_free(&b);
        return hf_fail(x->e, KPD_ERR_UNSUPPORTED, -1, "%s: a special token is not UTF-8", name);
    }
    return hf_write_buffer(x, "", name, &b);
}

static bool hf_put_added(const hf_export_state *x, hf_buffer *b) {
    const char *comma = "";
    hf_puts(b, "  \"added_tokens\": [");
    for (int i = 0; i < HF_N_SPECIAL; i++) {
        int32_t id = kpd_token_id(x->t, hf_text(x->special[i]));
        if (id < 0) continue;
        hf_putf(b, "%s\n    {\"id\": %d, \"content\": ", comma, (int)id);
        if (!hf_put_string(b, hf_text(x->special[i]))) return false;
        hf_puts(b, ", \"single_word\": false, \"lstrip\": false, \"rstrip\": false, \"normalized\": false, \"special\": true}");
        comma = ",";
    }
    hf_puts(b, "\n  ],\n");
    return !b->failed;
}

static bool hf_put_piece(hf_buffer *b, const char *kind, const char *id, int type, bool last) {
    hf_putf(b, "{\"%s\": {\"id\": ", kind);
    if (!hf_put_string(b, hf_text(id))) return false;
    hf_putf(b, ", \"type_id\": %d}}%s", type, last ? "]" : ", ");
    return !b->failed;
}

static bool hf_put_template(const hf_export_state *x, hf_buffer *b, const char *key, int n) {
    const char *id[] = {x->special[1], "A", x->special[2], "B", x->special[2]};
    hf_putf(b, "    \"%s\": [", key);
    for (int i = 0; i < n; i++) {
        if (!hf_put_piece(b, i % 2 ? "Sequence" : "SpecialToken", id[i], i > 2, i == n - 1)) return false;
    }
    hf_puts(b, ",\n");
    return !b->failed;
}

static bool hf_put_template_tokens(const hf_export_state *x, hf_buffer *b) {
    hf_puts(b, "    \"special_tokens\": {");
    for (int i = 1; i <= 2; i++) {
        kpd_text t = hf_text(x->special[i]);
        if (i == 2 && hf_is(t, x->special[1])) break;
        hf_puts(b, i == 1 ? "" : ", ");
        if (!hf_put_string(b, t)) return false;
        hf_puts(b, ": {\"id\": ");
        hf_put_string(b, t);
        hf_putf(b, ", \"ids\": [%d], \"tokens\": [", (int)kpd_token_id(x->t, t));
        hf_put_string(b, t);
        hf_puts(b, "]}");
    }
    hf_puts(b, "}\n  },\n");
    return !b->failed;
}

// {"token": id, ...}. Of equal tokens the last one counts, as everywhere. *bad gets the id of a token that is not UTF-8.
static bool hf_put_vocab(const hf_export_state *x, hf_buffer *b, int32_t *bad) {
    const char *comma = "";
    kpd_text t;
    for (int32_t i = 0; kpd_token_text(x->t, i, &t); i++) {
        if (kpd_token_id(x->t, t) != i) continue;
        hf_putf(b, "%s\n      ", comma);
        *bad = i;
        if (!hf_put_string(b, t)) return false;
        hf_putf(b, ": %d", (int)i);
        comma = ",";
    }
    hf_puts(b, "\n    }\n  }\n}\n");
    *bad = -1;
    return !b->failed;
}

static kpd_status hf_write_tokenizer_json(const hf_export_state *x) {
    hf_buffer b = hf_buffer_make(x->a);
    int32_t bad = -1;
    bool ok;
    hf_puts(&b, "{\n  \"version\": \"1.0\",\n  \"truncation\": null,\n  \"padding\": null,\n");
    ok = hf_put_added(x, &b);
    hf_putf(&b, "  \"normalizer\": {\"type\": \"BertNormalizer\", \"clean_text\": true, \"handle_chinese_chars\": %s, ",
            x->no_cjk ? "false" : "true");
    hf_putf(&b, "\"strip_accents\": %s, \"lowercase\": %s},\n", hf_strip_text(x->strip), x->no_lower ? "false" : "true");
    hf_puts(&b,
            "  \"pre_tokenizer\": {\"type\": \"BertPreTokenizer\"},\n  \"post_processor\": {\n");
    hf_puts(&b, "    \"type\": \"TemplateProcessing\",\n");
    ok = ok && hf_put_template(x, &b, "single", 3) && hf_put_template(x, &b, "pair", 5) && hf_put_template_tokens(x, &b);
    hf_puts(&b, "  \"decoder\": {\"type\": \"WordPiece\", \"prefix\": \"##\", \"cleanup\": true},\n");
    hf_puts(&b, "  \"model\": {\n    \"type\": \"WordPiece\",\n    \"unk_token\": ");
    ok = ok && hf_put_string(&b, hf_text(x->special[0]));
    hf_puts(&b, ",\n    \"continuing_subword_prefix\": \"##\",\n    \"max_input_chars_per_word\": 100,\n    \"vocab\": {");
    ok = ok && hf_put_vocab(x, &b, &bad);
    if (!ok && !b.failed) {
        hf_buffer_free(&b);
        return hf_fail(x->e, KPD_ERR_UNSUPPORTED, -1, "tokenizer.json: token %d of the vocabulary is not UTF-8", (int)bad);
    }
    return hf_write_buffer(x, "", "tokenizer.json", &b);
}

static void hf_put_module(hf_buffer *b, int32_t i, const char *type, const char *path) {
    hf_putf(b, "%s\n  {\"idx\": %d, \"name\": \"%d\", \"path\": \"%s\", \"type\": \"sentence_transformers.models.%s\"}",
            i ? "," : "", (int)i,
            (int)i, path, type);
}

static void hf_module_folder(const kpd_model_desc *d, int32_t i, char out[32]) {
    snprintf(out, 32, "%d_%s", (int)i + 2, d->modules[i].kind == KPD_MODULE_DENSE ? "Dense" : "LayerNorm");
}

static kpd_status hf_write_modules_json(const hf_export_state *x) {
    hf_buffer b = hf_buffer_make(x->a);
    char sub[32];
    int32_t i;
    hf_puts(&b, "[");
    hf_put_module(&b, 0, "Transformer", "");
    hf_put_module(&b, 1, "Pooling", "1_Pooling");
    for (i = 0; i < x->d.n_modules; i++) {
        hf_module_folder(&x->d, i, sub);
        hf_put_module(&b, i + 2, x->d.modules[i].kind == KPD_MODULE_DENSE ? "Dense" : "LayerNorm", sub);
    }
    snprintf(sub, sizeof sub, "%d_Normalize", (int)i + 2);
    if (!x->d.no_normalize) hf_put_module(&b, i + 2, "Normalize", sub);
    hf_puts(&b, "\n]\n");
    return hf_write_buffer(x, "", "modules.json", &b);
}

static kpd_status hf_write_pooling(const hf_export_state *x) {
    hf_buffer b = hf_buffer_make(x->a);
    kpd_status s = hf_new_dir(x, "1_Pooling");
    if (s) return s;
    hf_putf(&b, "{\n  \"word_embedding_dimension\": %d,\n", (int)x->d.width);
    for (int i = 0; i < 6; i++) hf_putf(&b, "  \"%s\": %s,\n", hf_pooling_key[i], (int)x->d.pooling == i ? "true" : "false");
    hf_puts(&b, "  \"include_prompt\": true\n}\n");
    return hf_write_buffer(x, "1_Pooling", "config.json", &b);
}

static kpd_status hf_write_module(const hf_export_state *x, int32_t i) {
    static const char *const name[] = {"activation.GELU", NULL, "activation.ReLU", "activation.Tanh", "linear.Identity"};
    const kpd_module *module = &x->d.modules[i];
    hf_buffer b = hf_buffer_make(x->a);
    char sub[32];
    kpd_status s;
    hf_module_folder(&x->d, i, sub);
    if (module->kind == KPD_MODULE_DENSE && !name[module->activation])
        return hf_fail(x->e, KPD_ERR_UNSUPPORTED, -1, "%s: sentence-transformers has no GELU in the tanh form for Dense", sub);
    if ((s = hf_new_dir(x, sub))) return s;
    if (module->kind == KPD_MODULE_DENSE) {
        hf_putf(&b, "{\n  \"in_features\": %d,\n  \"out_features\": %d,\n", (int)(i ? x->d.modules[i - 1].width : x->d.width),
                (int)module->width);
        hf_putf(&b, "  \"bias\": %s,\n  \"activation_function\": \"torch.nn.modules.%s\"\n}\n",
                module->no_bias ? "false" : "true", name[module->activation]);
    } else hf_putf(&b, "{\n  \"dimension\": %d\n}\n", (int)module->width);
    s = hf_write_buffer(x, sub, "config.json", &b);
    return s ? s : hf_write_weights(x, sub, i);
}

static kpd_status hf_write_normalize(const hf_export_state *x) {
    char sub[32];
    kpd_status s;
    if (x->d.no_normalize) return KPD_OK;
    snprintf(sub, sizeof sub, "%d_Normalize", (int)x->d.n_modules + 2);
    s = hf_new_dir(x, sub);
    return s ? s : hf_write_file(x, sub, "config.json", "{}\n", 3);
}

// encode() without a name uses the default prompt, so there is one when both towers have the same.
static kpd_status hf_write_prompts(hf_export_state *x) {
    static const char *const metric[] = {"cosine", "dot", "euclidean"};
    char text[2][HF_MAX_TEMPLATE];
    kpd_text item = hf_template_prompt(x->d.template_item, x->special, text[0]),
             keyphrase = hf_template_prompt(x->d.template_keyphrase, x->special, text[1]);
    hf_buffer b = hf_buffer_make(x->a);
    bool ok;
    hf_puts(&b, "{\n  \"model_type\": \"SentenceTransformer\",\n  \"prompts\": {\"query\": ");
    ok = hf_put_string(&b, keyphrase);
    hf_puts(&b, ", \"document\": ");
    ok = ok && hf_put_string(&b, item);
    hf_putf(&b, "},\n  \"default_prompt_name\": %s,\n", item.size && hf_same(item, keyphrase) ? "\"document\"" : "null");
    if (x->d.truncate_dim) hf_putf(&b, "  \"truncate_dim\": %d,\n", (int)x->d.truncate_dim);
    hf_putf(&b, "  \"similarity_fn_name\": \"%s\"\n}\n", metric[x->d.similarity]);
    if (!ok && !b.failed) b.failed = true;
    return hf_write_buffer(x, "", "config_sentence_transformers.json", &b);
}

static kpd_status hf_write_sentence_config(const hf_export_state *x) {
    hf_buffer b = hf_buffer_make(x->a);
    hf_putf(&b, "{\n  \"max_seq_length\": %d,\n  \"do_lower_case\": false\n}\n", (int)x->d.max_tokens);
    return hf_write_buffer(x, "", "sentence_bert_config.json", &b);
}

static kpd_status hf_write_bi_encoder(hf_export_state *x) {
    kpd_status s;
    if ((s = hf_write_modules_json(x))) return s;
    if ((s = hf_write_pooling(x))) return s;
    for (int32_t i = 0; i < x->d.n_modules; i++) {
        if ((s = hf_write_module(x, i))) return s;
    }
    if ((s = hf_write_normalize(x))) return s;
    if ((s = hf_write_prompts(x))) return s;
    return hf_write_sentence_config(x);
}

static kpd_status hf_write_tokenizer(hf_export_state *x) {
    kpd_status s;
    if ((s = hf_tokenizer_settings(x))) return s;
    if ((s = hf_write_vocab(x))) return s;
    if ((s = hf_write_tokenizer_config(x, "tokenizer_config.json", true))) return s;
    if ((s = hf_write_tokenizer_config(x, "special_tokens_map.json", false))) return s;
    return hf_write_tokenizer_json(x);
}

// config.json comes last: a folder without it, left by a failure, is no model to anyone.
static kpd_status hf_write_all(hf_export_state *x) {
    kpd_status s;
    if ((s = hf_new_dir(x, ""))) return s;
    if ((s = hf_write_tokenizer(x))) return s;
    if ((s = hf_write_weights(x, "", -1))) return s;
    if (x->d.kind == KPD_BI_ENCODER && (s = hf_write_bi_encoder(x))) return s;
    return hf_write_config(x);
}

// Writes m (in F32) to the folder dir, which is made, or must be empty. A bi-encoder becomes a sentence-transformers folder,
// a cross-encoder a BertForSequenceClassification one. Errors: ARGUMENT (dir is not empty), UNSUPPORTED (separate towers,
// which such folders do not have), FORMAT (as kpd_model_verify), IO, MEMORY; a failure leaves the files written so far, without config.json.
static inline kpd_status hf_export(const kpd_model *m, const char *dir, kpd_error *e) {
    hf_export_state *x;
    kpd_allocator a;
    kpd_status s;
    memset(&a, 0, sizeof a);
    if (!m || !dir) return hf_fail(e, KPD_ERR_ARGUMENT, -1, "hf_export: no model or no folder");
    x = (hf_export_state *)hf_alloc(&a, sizeof *x);
    if (!x) return hf_no_memory(e, dir);
    memset(x, 0, sizeof *x);
    x->m = m;
    x->d = *kpd_model_get_desc(m);
    x->t = kpd_model_tokenizer(m);
    x->dir = dir;
    x->a = a;
    x->e = e;
    if (x->d.separate_towers) s = hf_fail(e, KPD_ERR_UNSUPPORTED, -1, "%s: separate towers have no place in one folder", dir);
    else s = kpd_model_verify(m, e);
    if (!s) s = hf_write_all(x);
    hf_free(&a, x, sizeof *x);
    return s;
}

#endif // HF_H
