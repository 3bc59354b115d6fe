// Files that are made to cost time: what they hold is chosen against the reader's tables. Opening them takes time in proportion
// to their size, or is refused. And files that are made to be saved again: what is wrong in them must not become right.
#define _XOPEN_SOURCE 700
#define KPD_STATIC
#define KPD_IMPLEMENTATION
#define KPD_TRAIN_IMPLEMENTATION
#define KPD_NO_SIMD
#include "../kpd_train.h"
#include "test.h"
#include <time.h>

static kpd_error error;

// ---- vocabularies ----------------------------------------------------------------------------------------------------

enum { TOKENS = 60000, ROOM = TOKENS * 9 + 256 };

static char vocab[ROOM];
static size_t vocab_size;

static uint64_t inverse(uint64_t odd) {
    uint64_t x = odd;
    for (int i = 0; i < 6; i++) x *= 2 - odd * x;
    return x;
}

static bool is_token(const char *block) { return !memchr(block, '\n', 8) && !memchr(block, '\r', 8) && memcmp(block, "##", 2); }

// The 8 bytes whose hash under `key` is this one: each step of kpd__hash_last, undone from behind.
static uint64_t block_of_hash(uint64_t hash, uint64_t key) {
    uint64_t h = hash * inverse(KPD__P1);
    h ^= h >> 32;
    return h * inverse(key);
}

static void add(const char *text, size_t size) {
    memcpy(vocab + vocab_size, text, size);
    vocab_size += size;
}

// n tokens of 8 bytes, the hash of number i being first + i * step, or a little more where that is not a token's.
static void add_tokens(size_t n, uint64_t first, uint64_t step, uint64_t key) {
    for (size_t i = 0; i < n; i++) {
        char text[9] = "\n\n\n\n\n\n\n\n";
        for (uint64_t more = 0; !is_token(text); more += UINT64_C(1) << 24) {
            uint64_t block = block_of_hash(first + i * step + more, key);
            memcpy(text, &block, 8);
        }
        text[8] = '\n';
        add(text, 9);
    }
}

// What the state of XXH64 was before its avalanche and the last 8 bytes, if they were zero.
static uint64_t state_before(uint64_t hash) {
    uint64_t h = hash ^ hash >> 32;
    h *= inverse(KPD__P3);
    h ^= h >> 29 ^ h >> 58;
    h *= inverse(KPD__P2);
    h ^= h >> 33;
    return kpd__rotate((h - KPD__P4) * inverse(KPD__P1), 37);
}

// Eight bytes at the end that make the sum of all `key`; a line before them is varied until they can be a token.
static void set_sum(uint64_t key) {
    size_t from = vocab_size;
    char line[16];
    for (uint64_t i = 0;; i++) {
        uint64_t zero = 0, end;
        vocab_size = from;
        add(line, (size_t)snprintf(line, sizeof line, "%08llu\n", (unsigned long long)i));
        if (vocab_size % 8) add(&"xxxxxxx\n"[vocab_size % 8], 8 - vocab_size % 8);
        if (vocab_size % 32 == 24) add("12345678901234567890123\n12345678\n1234567\n", 40);
        add((const char *)&zero, 8);
        end = (state_before(kpd__hash64(vocab, vocab_size)) ^ state_before(key)) * inverse(KPD__P1);
        end = kpd__rotate(end, 33) * inverse(KPD__P2);
        memcpy(vocab + vocab_size - 8, &end, 8);
        if (is_token(vocab + vocab_size - 8)) return;
    }
}

static void begin_vocab(void) {
    vocab_size = 0;
    add("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n", 32);
}

static kpd_status open_vocab(double *seconds) {
    kpd_tokenizer_desc d;
    kpd_tokenizer *t = NULL;
    clock_t start = clock();
    kpd_status s;
    memset(&d, 0, sizeof d);
    d.vocab = vocab; d.vocab_size = vocab_size;
    s = kpd_tokenizer_create(&d, &t, &error);
    *seconds = (double)(clock() - start) / CLOCKS_PER_SEC;
    CHECK(s ? t == NULL : t != NULL);
    kpd_tokenizer_destroy(t);
    return s;
}

#define KEY UINT64_C(0x9D3F7A21C5E80B67)

// All tokens want one slot of the table.
static void colliding_tokens(void) {
    double seconds;
    begin_vocab();
    add_tokens(TOKENS - 50, UINT64_C(0x1234) << 48, 1, KEY);
    set_sum(KEY);
    CHECK(kpd__hash64(vocab, vocab_size) == KEY);
    CHECK_STATUS(open_vocab(&seconds), KPD_ERR_FORMAT);
    CHECK_THAT(strstr(error.message, "collide") != NULL, "%s", error.message);
    CHECK_THAT(seconds < 2, "%.1f seconds", seconds);
}

// Every token has its slot, but the slots are one run, to whose end a word that is no token is looked for.
static void a_long_run(void) {
    double seconds;
    for (size_t n = 200; n <= 2000; n *= 10) {
        int shift = n == 200 ? 64 - 9 : 64 - 12;            // of tables of 512 and 4096 slots
        begin_vocab();
        add_tokens(n, UINT64_C(1) << 63, UINT64_C(1) << shift, KEY);
        set_sum(KEY);
        CHECK_STATUS(open_vocab(&seconds), n == 200 ? KPD_OK : KPD_ERR_FORMAT);
    }
}

// As many tokens that nobody chose, in the order that is worst for a table: that of the numbers.
static void honest_tokens(void) {
    double seconds;
    char line[16];
    begin_vocab();
    for (int i = 0; i < TOKENS - 50; i++) add(line, (size_t)snprintf(line, sizeof line, i % 2 ? "##%d\n" : "%d\n", i));
    CHECK_OK(open_vocab(&seconds));
}

// ---- sections --------------------------------------------------------------------------------------------------------

typedef struct bytes { uint8_t *data; size_t size; void *block; } bytes;

static bytes make_bytes(size_t size) {
    bytes b;
    b.size = size;
    b.block = calloc(1, size + 64);
    b.data = b.block ? (uint8_t *)kpd__align64(b.block) : NULL;
    CHECK(b.data != NULL);
    return b;
}

static kpd_model *make_model(int32_t n_layers, bool separate) {
    static const char words[] = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\npart\n12\n45\n##3\n##6\n";
    kpd_tokenizer_desc t;
    kpd_tokenizer *tokenizer = NULL;
    kpd_model_desc d;
    kpd_model *m = NULL;
    memset(&t, 0, sizeof t);
    memset(&d, 0, sizeof d);
    t.vocab = words; t.vocab_size = sizeof words - 1;
    if (!CHECK_OK(kpd_tokenizer_create(&t, &tokenizer, NULL))) return NULL;
    d.width = d.ffn_width = 2; d.n_heads = 1; d.n_layers = n_layers; d.n_positions = 16; d.tokenizer = tokenizer;
    d.separate_towers = separate;
    CHECK_OK(kpd_model_create(&d, &m, NULL));
    kpd_tokenizer_destroy(tokenizer);
    return m;
}

// The file of a model behind empty sections of such names, whose beginning is that of the model's longest.
static bytes crowd(const kpd_model *m, uint32_t n_sections) {
    const kpd__section *from = kpd__file_table(&m->file);
    uint32_t own = kpd__file_header(&m->file)->n_sections, more = n_sections - own;
    bytes b = make_bytes(m->file.size + (size_t)more * 128);
    kpd__section *to = (kpd__section *)(void *)(b.data + 64);
    if (!b.data) return b;
    memcpy(b.data + 64 + (size_t)n_sections * 128, m->file.data + 64 + own * 128, m->file.size - 64 - own * 128);
    for (uint32_t i = 0; i < n_sections; i++) {
        if (i >= more) to[i] = from[i - more];
        else snprintf(to[i].name, sizeof to[i].name, "keyphrase.encoder.layer.255.attention.output.LayerNorm.%x", i & 0xFFFF);
        to[i].offset = i < more ? 64 + (uint64_t)n_sections * 128 : to[i].offset + (uint64_t)more * 128;
        to[i].sum = kpd__hash64(b.data + to[i].offset, (size_t)to[i].size);
    }
    kpd__header_make((kpd__header *)(void *)b.data, KPD_FILE_MODEL, to, n_sections, b.size);
    return b;
}

// Seconds to open a model of so many layers from a table of the most sections there may be.
static double seconds_of_layers(int32_t n_layers) {
    kpd_model *m = make_model(n_layers, true), *again = NULL;
    bytes b;
    kpd_open_desc d;
    clock_t start;
    if (!m) return 0;
    b = crowd(m, KPD__MAX_SECTIONS);
    memset(&d, 0, sizeof d);
    d.data = b.data; d.size = b.size;
    start = clock();
    if (b.data) CHECK_THAT(!kpd_model_open(NULL, &d, &again, &error), "%s", error.message);
    start = clock() - start;
    kpd_model_destroy(again);
    kpd_model_destroy(m);
    free(b.block);
    return (double)start / CLOCKS_PER_SEC;
}

// Asking for 8,200 sections costs little more than asking for 40, since it is not the table that is walked for each: that takes
// 500 million comparisons, some seconds, and putting the names in order once takes two million.
static void crowded_table(void) {
    double few = seconds_of_layers(1), most = seconds_of_layers(256);
    CHECK_THAT(most < 8 * few + 0.5, "%.3f seconds for 2 layers, %.3f for 512", few, most);
}

// All of one name: the first counts, in the table's order, and a tensor is found by its own.
static void equal_and_absent_names(void) {
    kpd_model *m = make_model(1, false);
    kpd_tensor t;
    float w[64];
    if (!m) return;
    for (int32_t i = 0; kpd_model_tensor(m, i, &t); i++)
        if (CHECK(t.rows * t.cols <= 64)) CHECK_OK(kpd_model_get(m, t.name, w, &error));
    CHECK_STATUS(kpd_model_get(m, "", w, &error), KPD_ERR_NOT_FOUND);
    CHECK_STATUS(kpd_model_get(m, "zzz", w, &error), KPD_ERR_NOT_FOUND);
    CHECK_STATUS(kpd_model_get(m, "embeddings.LayerNorm.biaz", w, &error), KPD_ERR_NOT_FOUND);
    kpd_model_destroy(m);
}

// ---- what a mapped open does not look at -----------------------------------------------------------------------------

// A model's file, borrowed, whose tensor begins with this value; sealed = with the sum that belongs to it.
static kpd_model *damaged(bytes *b, const char *name, uint32_t value, bool sealed) {
    kpd_model *m = make_model(1, false), *out = NULL;
    kpd_open_desc d;
    const kpd__tensor *t = m ? kpd__tensor_find(m, name, NULL) : NULL;
    b->block = NULL;
    if (t) *b = crowd(m, kpd__file_header(&m->file)->n_sections);
    if (b->block) {
        kpd__section *table = (kpd__section *)(void *)(b->data + 64);
        uint32_t n = kpd__file_header(&m->file)->n_sections;
        size_t at = (size_t)((const uint8_t *)t->f32 - m->file.data);
        memcpy(b->data + at, &value, 4);
        for (uint32_t i = 0; sealed && i < n; i++) table[i].sum = kpd__hash64(b->data + table[i].offset, (size_t)table[i].size);
        kpd__header_make((kpd__header *)(void *)b->data, KPD_FILE_MODEL, table, n, b->size);
        memset(&d, 0, sizeof d);
        d.data = b->data; d.size = b->size;
        CHECK_OK(kpd_model_open(NULL, &d, &out, &error));
    }
    kpd_model_destroy(m);
    return out;
}

static const char *const tensors[3] = {"embeddings.word_embeddings.weight", "encoder.layer.0.output.dense.weight",
                                       "encoder.layer.0.attention.output.LayerNorm.bias"};

static void check_refused(const kpd_model *m) {
    kpd_model *to = NULL;
    const char *path = test_tmp("hostile.kpd");
    remove(path);
    for (int type = KPD_F32; type <= KPD_INT8; type++) {
        kpd_convert_desc d;
        memset(&d, 0, sizeof d);
        d.dtype = (kpd_dtype)type;
        CHECK_STATUS(kpd_model_convert(m, &d, &to, &error), KPD_ERR_FORMAT);
        CHECK(!to);
    }
    CHECK_STATUS(kpd_model_verify(m, &error), KPD_ERR_FORMAT);
    CHECK_STATUS(kpd_model_save(m, path, &error), KPD_ERR_FORMAT);
    CHECK_THAT(remove(path) != 0, "%s was written", path);
}

// No type of weights, and no save, makes a file that is right of one that is not.
static void values_not_finite(void) {
    static const uint32_t bits[3] = {0x7FC00000u, 0x7F800000u, 0xFF800000u};        // NaN, infinity, -infinity
    for (int i = 0; i < 9; i++) {
        bytes b;
        kpd_model *m = damaged(&b, tensors[i / 3], bits[i % 3], true);
        float w[64];
        if (m) {
            check_refused(m);
            CHECK_STATUS(kpd_model_get(m, tensors[i / 3], w, &error), KPD_ERR_FORMAT);
        }
        kpd_model_destroy(m);
        free(b.block);
    }
}

static void wrong_sums_stay_wrong(void) {
    for (int i = 0; i < 3; i++) {
        bytes b;
        kpd_model *m = damaged(&b, tensors[i], 0x3F800000u, false);
        if (m) check_refused(m);
        kpd_model_destroy(m);
        free(b.block);
    }
}

static void wrong_sums_of_an_index(void) {
    const int64_t ids[3] = {7, 8, 9};
    const float v[6] = {1, 2, 3, 4, 5, 6};
    const char *path = test_tmp("hostile.kpi"), *to = test_tmp("hostile_again.kpi");
    kpd_index_desc d;
    kpd_index *x = NULL;
    memset(&d, 0, sizeof d);
    d.dim = 2; d.metric = KPD_DOT;
    CHECK_OK(kpd_index_create(&d, &x, NULL));
    CHECK_OK(kpd_index_upsert(x, ids, v, 3, NULL));
    CHECK_OK(kpd_index_save(x, path, NULL));
    kpd_index_destroy(x);
    for (int section = 1; section < 4; section++) {
        kpd_open_desc o;
        kpd__file f;
        x = NULL;
        memset(&o, 0, sizeof o);
        o.copy = true;
        if (!CHECK_OK(kpd__file_open(path, &o, &f, NULL))) return;
        *(uint8_t *)(uintptr_t)(f.data + kpd__file_table(&f)[section].offset) ^= 1;
        o.copy = false; o.data = f.data; o.size = f.size;
        CHECK_OK(kpd_index_open(NULL, &o, &x, &error));
        remove(to);
        CHECK_STATUS(kpd_index_save(x, to, &error), KPD_ERR_FORMAT);
        CHECK_THAT(remove(to) != 0, "%s was written", to);
        kpd_index_destroy(x);
        kpd__file_close(&f);
    }
}

// A trainer whose rows have two negatives each, mined among themselves.
static kpdt_trainer *mining_trainer(kpdt_dataset **data) {
    static const char rows[] = "part 12\tpart\n45 12\t45\n12 12\t45 45\npart 45\tpart 45\n45\tpart 12 45\n";
    kpdt_dataset_desc x;
    kpdt_refresh refresh;
    kpdt_source source;
    kpdt_trainer_desc d;
    kpdt_trainer *t = NULL;
    kpd_model *m = make_model(1, false), *start = NULL;
    kpd_model_desc shape = *kpd_model_get_desc(m);
    memset(&x, 0, sizeof x);
    memset(&refresh, 0, sizeof refresh);
    memset(&source, 0, sizeof source);
    memset(&d, 0, sizeof d);
    x.data = rows; x.size = sizeof rows - 1;
    x.columns[0] = KPDT_COL_KEYPHRASE; x.columns[1] = KPDT_COL_TITLE;
    CHECK_OK(kpdt_dataset_open(&x, data, &error));
    shape.width = shape.ffn_width = 8;              // of 2 columns vectors cancel out
    CHECK_OK(kpdt_model_start(&shape, NULL, NULL, 1, &start, &error));
    refresh.mining.n = 2;
    source.data = *data; source.losses[0].loss = KPDT_MNR; source.refresh = &refresh;
    d.start = start; d.sources = &source; d.n_sources = 1; d.batch = 4; d.steps = 9;
    CHECK_THAT(!kpdt_trainer_create(&d, &t, &error), "%s", error.message);
    kpd_model_destroy(start);
    kpd_model_destroy(m);
    return t;
}

// What a checkpoint says of mined negatives is numbers of rows that are there, and behind them -1.
static void mined_negatives_of_a_checkpoint(void) {
    static const int32_t bad[4][2] = {{0, 5}, {-2, -1}, {-1, 0}, {INT32_MAX, INT32_MIN}}, good[2] = {4, -1};
    const char *path = test_tmp("mined.kpc"), *to = test_tmp("mined_bad.kpc");
    kpdt_dataset *data = NULL;
    kpdt_trainer *t = mining_trainer(&data);
    if (!t) return;
    CHECK_THAT(!kpdt_trainer_step(t, NULL, &error), "%s", error.message);
    CHECK_OK(kpdt_trainer_save(t, path, NULL));
    for (int i = 0; i < 5; i++) {
        const void *sections[KPDT__SECTIONS];
        kpd_open_desc o;
        kpd__file f;
        kpd__sink sink = {NULL, NULL, NULL};
        kpd__section *table;
        memset(&o, 0, sizeof o);
        o.copy = true;
        if (!CHECK_OK(kpd__file_open(path, &o, &f, NULL))) break;
        table = (kpd__section *)(uintptr_t)kpd__file_table(&f);
        for (uint32_t k = 0; k < KPDT__SECTIONS; k++) sections[k] = f.data + table[k].offset;
        CHECK_THAT(!strcmp(table[6].name, "mined") && table[6].size == 5 * 2 * 4, "%s", table[6].name);
        memcpy((void *)(uintptr_t)sections[6], i < 4 ? bad[i] : good, sizeof good);
        table[6].sum = 0;
        sink.path = to;
        CHECK_OK(kpd__file_save(&sink, KPD_FILE_CHECKPOINT, table, sections, KPDT__SECTIONS, &error));
        kpd__file_close(&f);
        CHECK_STATUS(kpdt_trainer_resume(t, to, &error), i < 4 ? KPD_ERR_FORMAT : KPD_OK);
        if (i < 4) CHECK_THAT(strstr(error.message, "section mined has a number") != NULL, "%s", error.message);
    }
    CHECK_THAT(!kpdt_trainer_step(t, NULL, &error), "%s", error.message);
    kpdt_trainer_destroy(t);
    kpdt_dataset_destroy(data);
}

SUITE(hostile) {
    RUN(hostile, colliding_tokens);
    RUN(hostile, a_long_run);
    RUN(hostile, honest_tokens);
    RUN(hostile, crowded_table);
    RUN(hostile, equal_and_absent_names);
    RUN(hostile, values_not_finite);
    RUN(hostile, wrong_sums_stay_wrong);
    RUN(hostile, wrong_sums_of_an_index);
    RUN(hostile, mined_negatives_of_a_checkpoint);
}
