// _library.c - the shared library of the Python package: both headers, recipes, and what ctypes cannot or should not do itself.
//
// The package calls the headers' functions as they are. What is added here is called kpd_python_...: the layout of the structs,
// which is compared with Python's at import; arrays filled without a loop in Python; a progress callback that needs no Python,
// so that calls run without the interpreter's lock; and the recipes of `kpd train`.
#define _POSIX_C_SOURCE 200809L
#define KPDDEF extern __attribute__((visibility("default")))
#define KPD_THREADS
#ifndef KPD_PYTHON_LINKED               // make test links it with build/libkpd.o
#define KPD_IMPLEMENTATION
#define KPD_TRAIN_IMPLEMENTATION
#endif
#include "kpd_train.h"
#ifdef __GNUC__
#pragma GCC diagnostic ignored "-Wunused-function"      // the recipe's help
#endif
#include "tools/recipe.h"

// >>layout  Every struct that Python declares, field by field. An empty name is the whole struct. ---------------------

typedef struct kpd_python_field { const char *type, *name; size_t offset, size; } kpd_python_field;

#define WHOLE(type) {#type, "", 0, sizeof(type)}
#define FIELD(type, name) {#type, #name, offsetof(type, name), sizeof(((type *)0)->name)}

#define ALLOCATOR(F, T) F(T, alloc), F(T, free), F(T, user)
#define PARALLEL(F, T) F(T, run), F(T, user), F(T, n_threads)
#define PROGRESS(F, T) F(T, report), F(T, user)
#define ERROR(F, T) F(T, status), F(T, where), F(T, message)
#define TEXT(F, T) F(T, data), F(T, size)
#define INPUT(F, T) F(T, part), F(T, n_parts)
#define ROW(F, T) F(T, keyphrase), F(T, category), F(T, title)
#define TOKENS(F, T) F(T, ids), F(T, types), F(T, spans), F(T, capacity), F(T, count), F(T, truncated)
#define OPEN(F, T) F(T, abi), F(T, data), F(T, size), F(T, copy), F(T, verify), F(T, allocator), F(T, reserved)
#define MODULE(F, T) F(T, kind), F(T, width), F(T, activation), F(T, no_bias)
#define MODEL(F, T)                                                                                                    \
    F(T, abi), F(T, architecture), F(T, kind), F(T, dtype), F(T, separate_towers), F(T, no_normalize), F(T, mlm_head), \
    F(T, truncate_dim), F(T, similarity), F(T, arithmetic), F(T, n_layers), F(T, width), F(T, n_heads),                \
    F(T, ffn_width), F(T, vocab_size), F(T, n_positions), F(T, max_tokens), F(T, n_types), F(T, n_labels),             \
    F(T, activation), F(T, pooling), F(T, layer_norm_eps), F(T, modules), F(T, n_modules), F(T, converted_from),       \
    F(T, template_item), F(T, template_keyphrase), F(T, template_pair), F(T, tokenizer), F(T, allocator),   \
    F(T, reserved)
#define SESSION(F, T)                                                                                                  \
    F(T, abi), F(T, student), F(T, assistant), F(T, max_tokens), F(T, max_k), F(T, max_dim), F(T, simd), F(T, clock),  \
    F(T, clock_user), F(T, progress), F(T, parallel), F(T, allocator), F(T, reserved)
#define INDEX(F, T)                                                                                                    \
    F(T, abi), F(T, dim), F(T, metric), F(T, kind), F(T, storage), F(T, lists), F(T, recall), F(T, fingerprint),       \
    F(T, partition), F(T, simd), F(T, progress), F(T, allocator), F(T, reserved)
#define INFO(F, T)                                                                                                     \
    F(T, count), F(T, bytes), F(T, slots), F(T, dim), F(T, metric), F(T, storage), F(T, read_only), F(T, kind),        \
    F(T, lists), F(T, blocks), F(T, tuned), F(T, recall), F(T, fingerprint), F(T, partition), F(T, text_bytes)
#define HIT(F, T) F(T, id), F(T, score)
#define SEARCH(F, T)                                                                                                   \
    F(T, abi), F(T, k), F(T, threshold), F(T, min_score), F(T, only_ids), F(T, ids), F(T, n_ids), F(T, only_bits),     \
    F(T, bits), F(T, first_bit), F(T, n_bits), F(T, only_partitions), F(T, partitions), F(T, n_partitions),            \
    F(T, filter), F(T, filter_user), F(T, recall), F(T, gamma), F(T, breadth), F(T, candidates), F(T, reserved)
#define TUNING(F, T) F(T, gamma), F(T, breadth), F(T, candidates), F(T, recall), F(T, work), F(T, plain)
#define RECOMMEND(F, T)                                                                                                \
    F(T, abi), F(T, student), F(T, index), F(T, assistant), F(T, search), F(T, lookup), F(T, lookup_user),             \
    F(T, relevance), F(T, relevance_user), F(T, min_relevance), F(T, rank_by_relevance),                               \
    F(T, same_words_are_duplicates), F(T, reserved)
#define RECOMMENDATION(F, T) F(T, id), F(T, similarity), F(T, relevance)
#define REPORT(F, T)                                                                                                   \
    F(T, step), F(T, steps), F(T, source), F(T, loss), F(T, rate), F(T, grad_norm), F(T, texts), F(T, tokens),         \
    F(T, rows_seen), F(T, rows_repeated), F(T, rows_left), F(T, dev), F(T, best_dev), F(T, done), \
    F(T, mined)
#define MINED(F, T)                                                                                                    \
    F(T, rows), F(T, short_rows), F(T, empty_rows), F(T, negatives), F(T, candidates), F(T, textless), F(T, own), F(T, same), \
    F(T, over_max), F(T, under_min), F(T, over_margin), F(T, asked), F(T, relevant)
#define WATCH(F, T) F(T, done), F(T, of), F(T, stop)

// How far a call is, and whether it should stop: read and written by another thread while it runs.
typedef struct kpd_python_watch { int64_t done, of; int32_t stop; } kpd_python_watch;

#define STRUCT(list, type) WHOLE(type), list(FIELD, type)
static const kpd_python_field LAYOUT[] = {
    STRUCT(ALLOCATOR, kpd_allocator), STRUCT(PARALLEL, kpd_parallel), STRUCT(PROGRESS, kpd_progress), STRUCT(ERROR, kpd_error),
    STRUCT(TEXT, kpd_text), STRUCT(INPUT, kpd_input), STRUCT(ROW, kpd_row), STRUCT(TOKENS, kpd_tokens),
    STRUCT(OPEN, kpd_open_desc), STRUCT(MODULE, kpd_module), STRUCT(MODEL, kpd_model_desc),
    STRUCT(SESSION, kpd_session_desc), STRUCT(INDEX, kpd_index_desc), STRUCT(INFO, kpd_index_info), STRUCT(HIT, kpd_hit),
    STRUCT(SEARCH, kpd_search_desc), STRUCT(TUNING, kpd_tuning), STRUCT(RECOMMEND, kpd_recommend_desc),
    STRUCT(RECOMMENDATION, kpd_recommendation), STRUCT(MINED, kpdt_mining_counts), STRUCT(REPORT, kpdt_report),
    STRUCT(WATCH, kpd_python_watch),
};

KPDDEF const kpd_python_field *kpd_python_layout(size_t *n);
KPDDEF const kpd_python_field *kpd_python_layout(size_t *n) {
    *n = sizeof LAYOUT / sizeof *LAYOUT;
    return LAYOUT;
}

// >>calls ---------------------------------------------------------------------------------------------------------------

// A kpd_report_t whose user is a watch.
KPDDEF bool kpd_python_report(void *user, int64_t done, int64_t of);
KPDDEF bool kpd_python_report(void *user, int64_t done, int64_t of) {
    kpd_python_watch *w = (kpd_python_watch *)user;
    __atomic_store_n(&w->of, of, __ATOMIC_RELAXED);
    __atomic_store_n(&w->done, done, __ATOMIC_RELAXED);
    return !__atomic_load_n(&w->stop, __ATOMIC_RELAXED);
}

// kpd_model_input for n rows; without a model, items as kpd_recommend takes them.
KPDDEF void kpd_python_inputs(const kpd_model *m, kpd_tower tower, const kpd_row *rows, size_t n, kpd_input *out);
KPDDEF void kpd_python_inputs(const kpd_model *m, kpd_tower tower, const kpd_row *rows, size_t n, kpd_input *out) {
    for (size_t i = 0; i < n; i++) {
        if (m) kpd_model_input(m, tower, &rows[i], &out[i]);
        else {
            memset(&out[i], 0, sizeof out[i]);
            out[i].part[0] = rows[i].title;
            out[i].part[1] = rows[i].category;
            out[i].n_parts = 2;
        }
    }
}

// The ids of an index, at most n.
KPDDEF size_t kpd_python_ids(const kpd_index *x, int64_t slots, int64_t *out, size_t n);
KPDDEF size_t kpd_python_ids(const kpd_index *x, int64_t slots, int64_t *out, size_t n) {
    size_t count = 0;
    for (int64_t slot = 0, id; slot < slots && count < n; slot++)
        if (kpd_index_id(x, slot, &id)) out[count++] = id;
    return count;
}

// A kpd_lookup_t whose user is an index: the text that it keeps.
KPDDEF bool kpd_python_lookup(void *user, int64_t id, kpd_text *out);
KPDDEF bool kpd_python_lookup(void *user, int64_t id, kpd_text *out) {
    return kpd_index_text((const kpd_index *)user, id, out, NULL) == KPD_OK && out->size;
}

// A kpd_filter_t: is the id among these, which ascend?
typedef struct kpd_python_allowed { const int64_t *ids; size_t n; } kpd_python_allowed;
KPDDEF bool kpd_python_filter(void *user, int64_t id);
KPDDEF bool kpd_python_filter(void *user, int64_t id) {
    const kpd_python_allowed *a = (const kpd_python_allowed *)user;
    size_t low = 0, high = a->n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (a->ids[middle] < id) low = middle + 1;
        else high = middle;
    }
    return low < a->n && a->ids[low] == id;
}

// >>recipes ---------------------------------------------------------------------------------------------------------------

// A recipe of `kpd train`, its models and data opened. The path is copied. Errors: FORMAT, with file and line in the message;
// MEMORY.
typedef struct kpd_python_recipe { recipe r; char path[4096]; } kpd_python_recipe;

KPDDEF void kpd_python_recipe_close(kpd_python_recipe *p);
KPDDEF void kpd_python_recipe_close(kpd_python_recipe *p) {
    if (!p) return;
    recipe_close(&p->r);
    free(p);
}

KPDDEF kpd_status kpd_python_recipe_open(const char *path, const kpd_parallel *p, kpd_python_recipe **out, kpd_error *e);
KPDDEF kpd_status kpd_python_recipe_open(const char *path, const kpd_parallel *parallel, kpd_python_recipe **out,
                                         kpd_error *e) {
    kpd_status s = KPD_OK;
    kpd_python_recipe *p = strlen(path) < sizeof p->path ? (kpd_python_recipe *)calloc(1, sizeof *p) : NULL;
    if (!p) return kpd_error_set(e, KPD_ERR_MEMORY, -1, "%s: the path is too long, or there is no memory", path);
    strcpy(p->path, path);
    if (!recipe_read(&p->r, p->path) || !recipe_open(&p->r)) s = kpd_error_set(e, KPD_ERR_FORMAT, -1, "%s", p->r.error);
    if (s) kpd_python_recipe_close(p);
    else {
        p->r.train.d.parallel = *parallel;
        *out = p;
    }
    return s;
}

KPDDEF kpd_status kpd_python_trainer_create(const kpd_python_recipe *p, kpdt_trainer **out, kpd_error *e);
KPDDEF kpd_status kpd_python_trainer_create(const kpd_python_recipe *p, kpdt_trainer **out, kpd_error *e) {
    return kpdt_trainer_create(&p->r.train.d, out, e);
}

KPDDEF const char *kpd_python_recipe_output(const kpd_python_recipe *p);
KPDDEF const char *kpd_python_recipe_output(const kpd_python_recipe *p) { return p->r.train.output; }

// The name of data set i, "" for none.
KPDDEF const char *kpd_python_recipe_source(const kpd_python_recipe *p, int32_t i);
KPDDEF const char *kpd_python_recipe_source(const kpd_python_recipe *p, int32_t i) {
    return i >= 0 && i < p->r.n_data && p->r.data[i].name ? p->r.data[i].name : "";
}
