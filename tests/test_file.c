// Model and index files: every flipped byte, every length, images written here by >>format alone, atomic saving.
#define _XOPEN_SOURCE 700
#include "test.h"
#include "tiny_model.h"
#include "values.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#if defined(__unix__) || defined(__APPLE__)
#define POSIX
#include <dirent.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#endif

enum { DIM = 3, COUNT = 20, MOST_PARTS = 64 };
enum { U8 = 1, I32, I64, F32, F32_PANELS = 8 };
enum { REQUIRED = 1, SUMMED = 2 };
enum { MODEL = 1, INDEX = 2 };

static tiny_bytes model_file, index_file, tree_file;       // what the library saved
static char model_path[256], index_path[256];   // where
static kpd_session *session;
static kpd_error error;

// ---- the format, written a second time, from its description -------------------------------------------------------

static uint64_t get(const uint8_t *p, int bytes) {
    uint64_t v = 0;
    for (int i = bytes - 1; i >= 0; i--) v = v << 8 | p[i];
    return v;
}

static void put(uint8_t *p, int bytes, uint64_t v) {
    for (int i = 0; i < bytes; i++) p[i] = (uint8_t)(v >> 8 * i);
}

static uint64_t rotl(uint64_t v, int r) { return v << r | v >> (64 - r); }

static const uint64_t prime[6] = {0, 11400714785074694791u, 14029467366897019727u, 1609587929392839161u, 9650029242287828579u,
                                  2870177450012600261u};

static uint64_t xxh_round(uint64_t acc, uint64_t lane) { return rotl(acc + lane * prime[2], 31) * prime[1]; }

static uint64_t xxh_stripes(const uint8_t *p, size_t size) {
    uint64_t acc[4], h;
    acc[0] = prime[1] + prime[2]; acc[1] = prime[2]; acc[2] = 0; acc[3] = 0 - prime[1];
    for (size_t at = 0; at + 32 <= size; at += 32)
        for (size_t i = 0; i < 4; i++) acc[i] = xxh_round(acc[i], get(p + at + 8 * i, 8));
    h = rotl(acc[0], 1) + rotl(acc[1], 7) + rotl(acc[2], 12) + rotl(acc[3], 18);
    for (int i = 0; i < 4; i++) h = (h ^ xxh_round(0, acc[i])) * prime[1] + prime[4];
    return h;
}

static uint64_t xxh64(const uint8_t *p, size_t size) {
    uint64_t h = (size >= 32 ? xxh_stripes(p, size) : prime[5]) + size;
    size_t at = size / 32 * 32;
    for (; at + 8 <= size; at += 8) h = rotl(h ^ xxh_round(0, get(p + at, 8)), 27) * prime[1] + prime[4];
    if (at + 4 <= size) {
        h = rotl(h ^ get(p + at, 4) * prime[1], 23) * prime[2] + prime[3];
        at += 4;
    }
    for (; at < size; at++) h = rotl(h ^ p[at] * prime[5], 11) * prime[1];
    h = (h ^ h >> 33) * prime[2];
    h = (h ^ h >> 29) * prime[3];
    return h ^ h >> 32;
}

typedef struct part { const char *name; uint32_t type, flags; uint64_t shape[3]; const void *data; size_t size; } part;
typedef struct image { part parts[MOST_PARTS]; size_t n; uint32_t major, minor, kind, features; } image;

static part make_part(const char *name, uint32_t type, uint32_t flags, uint64_t rows, uint64_t cols, const void *data,
                      size_t size) {
    part p;
    p.name = name; p.type = type; p.flags = flags;
    p.shape[0] = rows; p.shape[1] = cols; p.shape[2] = 1;
    p.data = data; p.size = size;
    return p;
}

static size_t up64(size_t n) { return (n + 63) / 64 * 64; }

// Sums of everything that lies inside the file, from the sections outwards.
static void seal(tiny_bytes *b) {
    uint64_t n = get(b->data + 32, 4);
    bool table_fits = n <= (b->size - 64) / 128;
    for (uint64_t i = 0; table_fits && i < n; i++) {
        uint8_t *entry = b->data + 64 + i * 128;
        uint64_t offset = get(entry + 96, 8), size = get(entry + 104, 8);
        if (offset <= b->size && size <= b->size - offset) put(entry + 112, 8, xxh64(b->data + offset, (size_t)size));
    }
    if (table_fits) put(b->data + 40, 8, xxh64(b->data + 64, (size_t)n * 128));
    put(b->data + 56, 8, xxh64(b->data, 56));
}

static void pack_header(const image *x, uint8_t *h, size_t size) {
    static const uint8_t magic[8] = {0x89, 0x4B, 0x50, 0x44, 0x0D, 0x0A, 0x1A, 0x0A};
    memcpy(h, magic, 8);
    put(h + 8, 2, x->major);
    put(h + 10, 2, x->minor);
    put(h + 12, 4, x->kind);
    put(h + 16, 4, 0x01020304);
    put(h + 20, 4, x->features);
    put(h + 24, 8, size);
    put(h + 32, 4, x->n);
}

static tiny_bytes pack(const image *x) {
    size_t at = 64 + x->n * 128, size = at;
    tiny_bytes b;
    for (size_t i = 0; i < x->n; i++) size = up64(size) + x->parts[i].size;
    b = tiny_bytes_make(size);
    pack_header(x, b.data, size);
    for (size_t i = 0; i < x->n; i++) {
        const part *p = &x->parts[i];
        uint8_t *entry = b.data + 64 + i * 128;
        at = up64(at);
        memcpy(entry, p->name, strlen(p->name));
        put(entry + 64, 4, p->type);
        put(entry + 68, 4, p->flags);
        for (size_t j = 0; j < 3; j++) put(entry + 72 + 8 * j, 8, p->shape[j]);
        put(entry + 96, 8, at);
        put(entry + 104, 8, p->size);
        if (p->size) memcpy(b.data + at, p->data, p->size);
        at += p->size;
    }
    seal(&b);
    return b;
}

static image unpack(const tiny_bytes *b) {
    image x;
    memset(&x, 0, sizeof x);
    x.major = (uint32_t)get(b->data + 8, 2); x.minor = (uint32_t)get(b->data + 10, 2);
    x.kind = (uint32_t)get(b->data + 12, 4); x.features = (uint32_t)get(b->data + 20, 4);
    x.n = (size_t)get(b->data + 32, 4);
    if (!CHECK(x.n <= MOST_PARTS - 4)) x.n = 0;
    for (size_t i = 0; i < x.n; i++) {
        const uint8_t *entry = b->data + 64 + i * 128;
        x.parts[i] = make_part((const char *)entry, (uint32_t)get(entry + 64, 4), (uint32_t)get(entry + 68, 4),
                               get(entry + 72, 8), get(entry + 80, 8), b->data + get(entry + 96, 8),
                               (size_t)get(entry + 104, 8));
        x.parts[i].shape[2] = get(entry + 88, 8);
    }
    return x;
}

static const part *find_part(const image *x, const char *name) {
    for (size_t i = 0; i < x->n; i++)
        if (!strcmp(x->parts[i].name, name)) return &x->parts[i];
    CHECK_THAT(false, "the file has no section %s", name);
    return NULL;
}

static void insert_part(image *x, size_t at, part p) {
    memmove(&x->parts[at + 1], &x->parts[at], (x->n - at) * sizeof p);
    x->parts[at] = p;
    x->n++;
}

// ---- opening whatever it is, and using it --------------------------------------------------------------------------

typedef union object { kpd_model *model; kpd_index *index; } object;

static kpd_open_desc borrow(const tiny_bytes *b, bool verify) {
    kpd_open_desc d;
    memset(&d, 0, sizeof d);
    d.data = b->data; d.size = b->size; d.verify = verify;
    return d;
}

// Opens and, when that succeeds, uses and closes it. A refusal must leave the output alone and say why.
static void use_model(kpd_model *m) {
    kpd_input in = kpd_input_str("blue case", "phone", NULL);
    float v[16];
    kpd_tensor t;
    (void)kpd_embed(session, m, KPD_ITEM, &in, 1, 1, v, NULL);
    in.n_parts = 1;
    (void)kpd_embed(session, m, KPD_KEYPHRASE, &in, 1, 1, v, NULL);
    CHECK(kpd_model_tensor(m, 0, &t));
    CHECK(kpd_model_dim(m) > 0);
}

static void use_index(kpd_index *x) {
    float q[DIM] = {1, 2, 3}, v[DIM];
    kpd_hit hits[10];
    int32_t n = 0;
    const int32_t parts[2] = {-1, 2};
    kpd_search_desc k;
    kpd_index_info info = info_of(x);
    memset(&k, 0, sizeof k);
    if (info.dim != DIM) return;
    (void)kpd_index_search(session, x, q, 1, NULL, hits, &n, NULL);
    k.k = 10; k.only_partitions = true; k.partitions = parts; k.n_partitions = 2;
    (void)kpd_index_search(session, x, q, 1, &k, hits, &n, NULL);
    for (int64_t i = -1, id; i <= info.slots && i < 40; i++) {
        kpd_text text;
        if (!kpd_index_id(x, i, &id)) continue;
        (void)kpd_index_get(x, id, v, NULL);
        if (!kpd_index_text(x, id, &text, NULL))
            for (size_t j = 0; j < text.size; j++) CHECK_THAT((uint8_t)text.data[j] <= 0xFF, "every byte can be read");
    }
    (void)kpd_index_get(x, 12345, v, NULL);
}

static kpd_status open_and_use(uint32_t kind, const char *path, const kpd_open_desc *d) {
    kpd_model *m = NULL;
    kpd_index *x = NULL;
    kpd_status s;
    memset(&error, 0, sizeof error);
    s = kind == MODEL ? kpd_model_open(path, d, &m, &error) : kpd_index_open(path, d, &x, &error);
    if (s) {
        CHECK_THAT(!m && !x, "the output was written on failure: %s", error.message);
        CHECK_THAT(error.status == s && error.message[0], "status %d, but the error says %d: \"%s\"", s, error.status,
                   error.message);
        return s;
    }
    CHECK(kind == MODEL ? m != NULL : x != NULL);
    if (m) use_model(m);
    if (x) use_index(x);
    kpd_model_destroy(m);
    kpd_index_destroy(x);
    return KPD_OK;
}

static kpd_status open_bytes(uint32_t kind, const tiny_bytes *b, bool verify) {
    kpd_open_desc d = borrow(b, verify);
    return open_and_use(kind, NULL, &d);
}

// Packs, opens, frees.
static kpd_status open_image(const image *x, bool verify) {
    tiny_bytes b = pack(x);
    kpd_status s = open_bytes(x->kind, &b, verify);
    tiny_bytes_free(&b);
    return s;
}

// ---- fixtures ------------------------------------------------------------------------------------------------------

static void give_labels(kpd_index *x, int64_t id) {
    const int32_t partition = (int32_t)(id % 3);
    kpd_text t;
    t.data = "a text of some bytes"; t.size = (size_t)(id % 20 + 20) % 20;
    CHECK_OK(kpd_index_set_text(x, &id, &t, 1, NULL));
    CHECK_OK(kpd_index_set_partition(x, &id, &partition, 1, NULL));
}

static void make_index_file(void) {
    kpd_index_desc d;
    kpd_index *x = NULL;
    uint32_t state = 7;
    memset(&d, 0, sizeof d);
    d.dim = DIM; d.metric = KPD_DOT;
    if (!CHECK_OK(kpd_index_create(&d, &x, NULL))) return;
    for (int64_t i = 0; i < COUNT; i++) {
        float v[DIM];
        int64_t id = i * 1000003 - 5;
        for (int j = 0; j < DIM; j++) v[j] = tiny_uniform(&state);
        CHECK_OK(kpd_index_upsert(x, &id, v, 1, NULL));
        give_labels(x, id);
    }
    CHECK_OK(kpd_index_save(x, index_path, NULL));
    kpd_index_destroy(x);
}

// Vectors that are removed leave empty places.
static tiny_bytes make_tree_file(void) {
    char path[256];
    kpd_index_desc d;
    kpd_index *x = NULL;
    uint32_t state = 7;
    int64_t ids[COUNT];
    float v[COUNT * DIM];
    memset(&d, 0, sizeof d);
    d.dim = DIM; d.metric = KPD_L2; d.kind = KPD_TREE; d.lists = 3;
    for (int64_t i = 0; i < COUNT; i++) ids[i] = i * 1000003 - 5;
    for (int i = 0; i < COUNT * DIM; i++) v[i] = tiny_uniform(&state);
    snprintf(path, sizeof path, "%s", test_tmp("file_tree.kpi"));
    if (!CHECK_OK(kpd_index_build(&d, NULL, ids, v, COUNT, &x, NULL))) return tiny_bytes_make(0);
    for (int i = 0; i < COUNT; i++) give_labels(x, ids[i]);
    CHECK_OK(kpd_index_remove(x, ids + 3, 4, NULL, NULL));
    CHECK_OK(kpd_index_save(x, path, NULL));
    kpd_index_destroy(x);
    return tiny_bytes_read(path);
}

static void make_fixtures(void) {
    tiny_options o;
    kpd_model *m;
    kpd_session_desc d;
    memset(&o, 0, sizeof o);
    memset(&d, 0, sizeof d);
    snprintf(model_path, sizeof model_path, "%s", test_tmp("file.kpd"));
    snprintf(index_path, sizeof index_path, "%s", test_tmp("file.kpi"));
    m = tiny_model(&o);
    if (m) CHECK_OK(kpd_model_save(m, model_path, NULL));
    d.student = m; d.max_tokens = 64; d.max_k = 16;
    CHECK_OK(kpd_session_create(&d, &session, NULL));
    kpd_model_destroy(m);
    make_index_file();
    model_file = tiny_bytes_read(model_path);
    index_file = tiny_bytes_read(index_path);
    tree_file = make_tree_file();
}

static void fixtures(void) {
    CHECK_THAT(model_file.size > 5000 && model_file.size < 40960, "the model has %zu bytes", model_file.size);
    CHECK_THAT(index_file.size > 1000 && index_file.size < 40960, "the index has %zu bytes", index_file.size);
    CHECK(session != NULL);
    CHECK_OK(open_and_use(MODEL, model_path, NULL));
    CHECK_OK(open_and_use(INDEX, index_path, NULL));
    CHECK_OK(open_bytes(MODEL, &model_file, true));
    CHECK_OK(open_bytes(INDEX, &index_file, true));
    CHECK_OK(open_bytes(INDEX, &tree_file, true));
}

// ---- damage --------------------------------------------------------------------------------------------------------

static const uint8_t patterns[] = {0x01, 0x10, 0x80, 0xFF};

// No byte may change unnoticed: padding and reserved fields are summed or must be zero.
static void check_flips_verified(uint32_t kind, tiny_bytes *b) {
    bool ok = true;
    for (size_t i = 0; ok && i < b->size; i++)
        for (size_t j = 0; ok && j < sizeof patterns; j++) {
            b->data[i] ^= patterns[j];
            ok = CHECK_THAT(open_bytes(kind, b, true) != KPD_OK, "byte %zu ^ %02X: opened all the same", i,
                            (unsigned)patterns[j]);
            b->data[i] ^= patterns[j];
        }
    CHECK_OK(open_bytes(kind, b, true));
}

static void flips_verified(void) {
    check_flips_verified(MODEL, &model_file);
    check_flips_verified(INDEX, &index_file);
    check_flips_verified(INDEX, &tree_file);
}

// Without verify a flip in the weights is not seen, but nothing that follows may crash. With new sums, neither may any
// field of header, table and small sections mislead the readers. From `dense` on, one byte in seven has to do.
static void check_flips(uint32_t kind, const tiny_bytes *b, size_t dense, size_t end, bool with_sums, bool verify) {
    tiny_bytes copy = tiny_bytes_make(b->size);
    size_t opened = 0, refused = 0;
    for (size_t i = 0; i < end; i += i < dense ? 1 : 7)
        for (size_t j = i < dense ? 0 : sizeof patterns - 1; j < sizeof patterns; j++) {
            memcpy(copy.data, b->data, b->size);
            copy.data[i] ^= patterns[j];
            if (with_sums) seal(&copy);
            if (open_bytes(kind, &copy, verify)) refused++;
            else opened++;
        }
    CHECK_THAT(opened > 0 && refused > 0, "%zu opened, %zu refused: not both happened", opened, refused);
    tiny_bytes_free(&copy);
}

static size_t section_begin(const tiny_bytes *b, const char *name) {
    image x = unpack(b);
    const part *p = find_part(&x, name);
    return p ? (size_t)((const uint8_t *)p->data - b->data) : 0;
}

static void flips_not_verified(void) {
    check_flips(MODEL, &model_file, section_begin(&model_file, "vocab"), model_file.size, false, false);
    check_flips(INDEX, &index_file, index_file.size, index_file.size, false, false);
    check_flips(INDEX, &tree_file, tree_file.size, tree_file.size, false, false);
}

// The table's later entries are read like its first eight.
static void flips_with_new_sums(void) {
    check_flips(MODEL, &model_file, 64 + 8 * 128, section_begin(&model_file, "config"), true, false);
    check_flips(INDEX, &index_file, index_file.size, index_file.size, true, false);
    check_flips(INDEX, &index_file, index_file.size, index_file.size, true, true);
    check_flips(INDEX, &tree_file, tree_file.size, tree_file.size, true, false);
    check_flips(INDEX, &tree_file, tree_file.size, tree_file.size, true, true);
}

// Every byte of what a model says about itself, with the right sums.
static void flips_of_the_config(void) {
    size_t end = section_begin(&model_file, "embeddings.word_embeddings.weight");
    tiny_bytes copy = tiny_bytes_make(model_file.size);
    size_t opened = 0, refused = 0;
    for (size_t i = section_begin(&model_file, "config"); i < end; i++)
        for (size_t j = 0; j < sizeof patterns; j += 3) {
            memcpy(copy.data, model_file.data, model_file.size);
            copy.data[i] ^= patterns[j];
            seal(&copy);
            if (open_bytes(MODEL, &copy, false)) refused++;
            else opened++;
        }
    CHECK_THAT(opened > 0 && refused > 0, "%zu opened, %zu refused: not both happened", opened, refused);
    tiny_bytes_free(&copy);
}

// The same damage through files, so that the mapping itself is used.
static void flips_in_files(void) {
    const char *path = test_tmp("flipped.kpi");
    size_t refused = 0;
    for (size_t i = 0; i < index_file.size; i += 37) {
        index_file.data[i] ^= 0xFF;
        tiny_bytes_write(path, index_file.data, index_file.size);
        index_file.data[i] ^= 0xFF;
        if (open_and_use(INDEX, path, NULL)) refused++;
    }
    CHECK_THAT(refused > 10, "only %zu of the files were refused", refused);
}

static bool is_truncation_status(kpd_status s) { return s == KPD_ERR_FORMAT || s == KPD_ERR_IO; }

static void check_truncated(uint32_t kind, const tiny_bytes *whole) {
    tiny_bytes part_of = *whole;
    bool ok = true;
    for (size_t n = 0; ok && n < whole->size; n++) {
        kpd_status s;
        part_of.size = n;
        s = open_bytes(kind, &part_of, false);
        ok = CHECK_THAT(is_truncation_status(s), "%zu of %zu bytes: status %d", n, whole->size, s);
    }
}

static void check_truncated_file(uint32_t kind, const tiny_bytes *whole, size_t n, bool copy) {
    const char *path = test_tmp("truncated.kpd");
    kpd_open_desc d;
    kpd_status s;
    memset(&d, 0, sizeof d);
    d.copy = copy;
    tiny_bytes_write(path, whole->data, n);
    s = open_and_use(kind, path, &d);
    CHECK_THAT(is_truncation_status(s) && strstr(error.message, path), "%zu of %zu bytes: status %d, \"%s\"", n, whole->size, s,
               error.message);
}

static void truncated(void) {
    check_truncated(MODEL, &model_file);
    check_truncated(INDEX, &index_file);
    check_truncated(INDEX, &tree_file);
    for (size_t n = 0; n < model_file.size; n += n < 200 ? 1 : 211) check_truncated_file(MODEL, &model_file, n, n % 2);
    for (size_t n = 0; n < index_file.size; n += n < 200 ? 1 : 31) check_truncated_file(INDEX, &index_file, n, n % 2);
    check_truncated_file(MODEL, &model_file, model_file.size - 1, false);
    check_truncated_file(INDEX, &index_file, index_file.size - 1, false);
}

static void check_longer(uint32_t kind, const tiny_bytes *whole, size_t more, uint8_t fill) {
    tiny_bytes b = tiny_bytes_make(whole->size + more);
    memcpy(b.data, whole->data, whole->size);
    memset(b.data + whole->size, fill, more);
    CHECK_STATUS(open_bytes(kind, &b, false), KPD_ERR_FORMAT);
    tiny_bytes_free(&b);
}

static void trailing_bytes(void) {
    for (size_t more = 1; more <= 64; more += 63) {
        check_longer(MODEL, &model_file, more, 0);
        check_longer(MODEL, &model_file, more, 0xFF);
        check_longer(INDEX, &index_file, more, 0);
        check_longer(INDEX, &index_file, more, 0xFF);
    }
}

static void not_a_file(void) {
    CHECK_STATUS(open_and_use(MODEL, "build/tmp/no/such.kpd", NULL), KPD_ERR_IO);
    CHECK(strstr(error.message, "build/tmp/no/such.kpd") != NULL);
    CHECK_STATUS(open_and_use(INDEX, "build/tmp", NULL), KPD_ERR_IO);
    CHECK_STATUS(open_and_use(MODEL, NULL, NULL), KPD_ERR_ARGUMENT);
    CHECK_STATUS(open_and_use(MODEL, "tests/main.c", NULL), KPD_ERR_FORMAT);
    CHECK(strstr(error.message, "tests/main.c") != NULL);
}

static void wrong_kind(void) {
    CHECK_STATUS(open_and_use(MODEL, index_path, NULL), KPD_ERR_FORMAT);
    CHECK(strstr(error.message, index_path) != NULL);
    CHECK_STATUS(open_and_use(INDEX, model_path, NULL), KPD_ERR_FORMAT);
    CHECK(strstr(error.message, model_path) != NULL);
}

// ---- images made here ----------------------------------------------------------------------------------------------

static void sums_are_xxh64(void) {
    CHECK(xxh64((const uint8_t *)"", 0) == 0xEF46DB3751D8E999u);        // known answers of XXH64
    CHECK(xxh64((const uint8_t *)"abc", 3) == 0x44BC2CF5AD770999u);
    for (int i = 0; i < 2; i++) {
        tiny_bytes *b = i ? &index_file : &model_file;
        image x = unpack(b);
        tiny_bytes again = pack(&x);
        CHECK(again.size == b->size && !memcmp(again.data, b->data, b->size));   // the library's file to the byte
        tiny_bytes_free(&again);
    }
}

static void check_header(uint32_t kind, const tiny_bytes *b, uint32_t major, uint32_t minor, uint32_t features,
                         kpd_status want) {
    image x = unpack(b);
    x.major = major; x.minor = minor; x.features = features;
    CHECK_INT(x.kind, kind);
    CHECK_STATUS(open_image(&x, true), want);
}

static void versions(void) {
    for (uint32_t i = 0; i < 2; i++) {
        const tiny_bytes *b = i ? &index_file : &model_file;
        uint32_t kind = i ? INDEX : MODEL;
        check_header(kind, b, 2, 0, 0, KPD_OK);
        check_header(kind, b, 2, 9, 0, KPD_OK);
        check_header(kind, b, 1, 0, 0, KPD_ERR_VERSION);
        check_header(kind, b, 3, 0, 0, KPD_ERR_VERSION);
        check_header(kind, b, 65535, 0, 0, KPD_ERR_VERSION);
        check_header(kind, b, 2, 0, 1, KPD_ERR_UNSUPPORTED);
        check_header(kind, b, 2, 0, 0x80000000u, KPD_ERR_UNSUPPORTED);
    }
}

// What a file is stands in its header: of the right version, a right kind, and by a path alone.
static void kinds_of_files(void) {
    static const uint8_t other[] = "not a file of this kind, but long enough to hold a header of 64 bytes, which it does not";
    const char *path = test_tmp("kind.kpd");
    kpd_file_kind kind = KPD_FILE_NONE;
    kpd_error e;
    for (uint32_t wanted = 1; wanted <= 4; wanted++) {
        image x = unpack(&model_file);
        tiny_bytes b;
        x.kind = wanted;
        b = pack(&x);
        CHECK(tiny_bytes_write(path, b.data, b.size));
        CHECK_STATUS(kpd_file_kind_of(path, &kind, &e), wanted < 4 ? KPD_OK : KPD_ERR_FORMAT);
        CHECK_INT(kind, wanted < 4 ? wanted : 3);
        tiny_bytes_free(&b);
    }
    CHECK(tiny_bytes_write(path, other, sizeof other));
    CHECK_STATUS(kpd_file_kind_of(path, &kind, &e), KPD_ERR_FORMAT);
    CHECK_STATUS(kpd_file_kind_of(test_tmp("no.such"), &kind, &e), KPD_ERR_IO);
    CHECK_STATUS(kpd_file_kind_of(NULL, &kind, &e), KPD_ERR_ARGUMENT);
}

static void check_unknown_section(const tiny_bytes *b, size_t at, uint32_t flags, uint32_t known_flags, kpd_status want) {
    static const uint8_t payload[100] = {1, 2, 3};
    image x = unpack(b);
    if (at > x.n) at = x.n;
    for (size_t i = 0; i < x.n; i++) x.parts[i].flags &= known_flags;
    insert_part(&x, at, make_part("of.the.future", 77, flags, 100, 1, payload, sizeof payload));
    x.minor = 3;
    for (int verify = 0; verify < 2; verify++) {
        kpd_status s = open_image(&x, verify);
        CHECK_THAT(s == want, "%s, unknown section %zu with flags %u, known ones with %u: status %d, expected %d",
                   x.kind == MODEL ? "model" : "index", at, (unsigned)flags, (unsigned)known_flags, (int)s, (int)want);
    }
}

// Unknown sections are skipped wherever they stand, unless they are required: also when the known ones carry no flag.
static void unknown_sections(void) {
    for (size_t at = 0; at < 5; at++) {
        check_unknown_section(&model_file, at == 4 ? 99 : at, 0, 3, KPD_OK);
        check_unknown_section(&index_file, at, 0, 3, KPD_OK);
        check_unknown_section(&index_file, at, SUMMED, 3, KPD_OK);
        check_unknown_section(&model_file, at == 4 ? 99 : at, REQUIRED, 3, KPD_ERR_UNSUPPORTED);
        check_unknown_section(&index_file, at, REQUIRED, 3, KPD_ERR_UNSUPPORTED);
    }
    check_unknown_section(&model_file, 2, REQUIRED, SUMMED, KPD_ERR_UNSUPPORTED);
    check_unknown_section(&index_file, 2, REQUIRED | SUMMED, SUMMED, KPD_ERR_UNSUPPORTED);
}

static void missing_sections(void) {
    for (int i = 0; i < 2; i++) {
        image whole = unpack(i ? &index_file : &model_file);
        for (size_t j = 0; j < whole.n; j++) {
            image x = whole;
            bool may = !strcmp(x.parts[j].name, "partition");
            memmove(&x.parts[j], &x.parts[j + 1], (x.n - j - 1) * sizeof *x.parts);
            x.n--;
            CHECK_STATUS(open_image(&x, false), may ? KPD_OK : KPD_ERR_FORMAT);
        }
        whole.n = 0;
        CHECK_STATUS(open_image(&whole, false), KPD_ERR_FORMAT);
    }
}

// Weights, norms and tables read by the description: panels, row-major, padding.
static bool same_as_part(const kpd_model *m, const image *x, const char *name, const char *section, size_t n, size_t k,
                         size_t skip) {
    const part *p = find_part(x, section);
    bool panels = p && p->type == F32_PANELS, ok = p != NULL;
    float *w = (float *)calloc(n * k, sizeof *w);
    ok = ok && w && CHECK_OK(kpd_model_get(m, name, w, NULL));
    for (size_t row = 0; ok && row < n; row++)
        for (size_t col = 0; ok && col < k; col++) {
            float v;
            size_t at = skip + (panels ? (row / 16 * k + col) * 16 + row % 16 : row * k + col);
            memcpy(&v, (const char *)p->data + 4 * at, 4);
            ok = CHECK_THAT(!memcmp(&v, &w[row * k + col], 4), "%s [%zu, %zu] is not where >>format says", name, row, col);
        }
    free(w);
    return ok;
}

static void model_by_format(void) {
    kpd_open_desc d = borrow(&model_file, true);
    kpd_model *m = NULL;
    image x = unpack(&model_file);
    const part *config = find_part(&x, "config"), *vocab = find_part(&x, "vocab"), *special = find_part(&x, "special");
    static const int32_t want[12] = {0, 0, 1, 16, 2, 16, 21, 24, 2, 1, 0, 0};
    if (!config || !vocab || !special || !CHECK_OK(kpd_model_open(NULL, &d, &m, NULL))) return;
    for (size_t i = 0; i < 12; i++) CHECK_INT(get((const uint8_t *)config->data + 4 * i, 4), want[i]);
    CHECK(vocab->size == strlen(tiny_vocab) && !memcmp(vocab->data, tiny_vocab, vocab->size));
    CHECK(special->size == 31 && !memcmp(special->data, "[UNK]\0[CLS]\0[SEP]\0[PAD]\0[MASK]", 31));
    same_as_part(m, &x, "embeddings.word_embeddings.weight", "embeddings.word_embeddings.weight", 21, 16, 0);
    same_as_part(m, &x, "embeddings.LayerNorm.bias", "embeddings.LayerNorm.bias", 1, 16, 0);
    same_as_part(m, &x, "encoder.layer.0.intermediate.dense.weight", "encoder.layer.0.intermediate.dense.weight", 16, 16, 0);
    same_as_part(m, &x, "encoder.layer.0.attention.self.key.weight", "encoder.layer.0.attention.self.qkv.weight", 16, 16, 256);
    same_as_part(m, &x, "encoder.layer.0.attention.self.value.bias", "encoder.layer.0.attention.self.qkv.bias", 1, 16, 32);
    kpd_model_destroy(m);
}

// An index of n vectors (1 + i, 2, -i) with ids 100 - 7 i, by the description alone.
typedef struct own_index {
    int32_t config[16], table[64];
    int64_t ids[COUNT];
    float vectors[2 * DIM * 16];
    image image;
} own_index;

static void make_own_index(own_index *x, size_t n, size_t capacity) {
    int bits = 0;
    memset(x, 0, sizeof *x);
    x->config[0] = DIM; x->config[1] = KPD_DOT; x->config[2] = 1;
    while ((size_t)1 << bits < capacity) bits++;
    for (size_t i = 0; i < capacity; i++) x->table[i] = -1;
    for (size_t i = 0; i < n; i++) {
        float v[DIM] = {0, 2, 0};
        size_t at;
        v[0] = 1 + (float)i; v[2] = 0 - (float)i;
        x->ids[i] = 100 - 7 * (int64_t)i;
        at = (size_t)((uint64_t)x->ids[i] * 0x9E3779B97F4A7C15u >> (64 - bits));
        while (x->table[at] != -1) at = (at + 1) % capacity;
        x->table[at] = (int32_t)i;
        for (size_t d = 0; d < DIM; d++) x->vectors[(i / 16 * DIM + d) * 16 + i % 16] = v[d];
    }
    x->image.major = 2; x->image.kind = INDEX; x->image.n = 4;
    x->image.parts[0] = make_part("config", I32, REQUIRED | SUMMED, 16, 1, x->config, sizeof x->config);
    x->image.parts[1] = make_part("ids", I64, REQUIRED, n, 1, x->ids, n * 8);
    x->image.parts[2] = make_part("table", I32, REQUIRED, capacity, 1, x->table, capacity * 4);
    x->image.parts[3] = make_part("vectors", F32_PANELS, REQUIRED, n, DIM, x->vectors, (n + 15) / 16 * DIM * 64);
}

static void check_own_index(const own_index *own, size_t n) {
    tiny_bytes b = pack(&own->image);
    kpd_open_desc d = borrow(&b, true);
    kpd_index *x = NULL;
    float v[DIM];
    if (CHECK_OK(kpd_index_open(NULL, &d, &x, &error))) {
        CHECK_INT(kpd_index_count(x), n);
        CHECK_INT(info_of(x).metric, KPD_DOT);
        for (size_t i = 0; i < n; i++) {
            float want[DIM] = {0, 2, 0};
            want[0] = 1 + (float)i; want[2] = 0 - (float)i;
            CHECK_OK(kpd_index_get(x, 100 - 7 * (int64_t)i, v, NULL));
            if (!CHECK_THAT(!memcmp(v, want, sizeof v), "vector %zu is wrong: %g ...", i, (double)v[0])) break;
        }
        CHECK_STATUS(kpd_index_get(x, 101, v, NULL), KPD_ERR_NOT_FOUND);
        use_index(x);
    }
    kpd_index_destroy(x);
    tiny_bytes_free(&b);
}

static void index_by_format(void) {
    own_index own;
    make_own_index(&own, COUNT, 64);
    check_own_index(&own, COUNT);
    make_own_index(&own, COUNT, 32);
    check_own_index(&own, COUNT);
    make_own_index(&own, 1, 2);
    check_own_index(&own, 1);
    make_own_index(&own, 0, 64);
    check_own_index(&own, 0);
}

// A config of `slots` numbers, of which number `at` has `bits` more than it had.
static void check_config(const tiny_bytes *b, size_t slots, size_t at, uint32_t bits, kpd_status want) {
    uint32_t config[72] = {0};
    image x = unpack(b);
    const part *p = find_part(&x, "config");
    part *own;
    if (!p) return;
    own = &x.parts[p - x.parts];
    memcpy(config, own->data, own->size);
    config[at] |= bits;
    own->data = (const uint8_t *)config; own->size = slots * 4; own->shape[0] = slots;
    for (int verify = 0; verify < 2; verify++) {
        kpd_status s = open_image(&x, verify);
        CHECK_THAT(s == want, "%s, number %zu of %zu with %08X: status %d, expected %d", x.kind == MODEL ? "model" : "index", at,
                   slots, (unsigned)bits, (int)s, (int)want);
    }
}

// What may mean something to a later version is refused, wherever it stands; numbers that are zero may follow.
static void config_of_the_future(void) {
    static const struct { size_t at; uint32_t bits; } unknown[] = {
        {1, 2}, {14, 8}, {14, 0x80000000u}, {16, 1}, {17, 1}, {27, 0x80000000u}, {28, 16}, {28, 0x40000000u}, {30, 4},
        {31, 1}, {31, 0x80000000u}, {32, 1}, {32, 0x80000000u}, {35, 1}, {63, 0x80000000u}};
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++)
        check_config(&model_file, 64, unknown[i].at, unknown[i].bits, KPD_ERR_UNSUPPORTED);
    for (size_t i = 7; i < 16; i++) check_config(&index_file, 16, i, i % 2 ? 1 : 0x80000000u, KPD_ERR_UNSUPPORTED);
    for (size_t i = 9; i < 16; i++) check_config(&tree_file, 16, i, i % 2 ? 1 : 0x80000000u, KPD_ERR_UNSUPPORTED);
    check_config(&index_file, 16, 3, 2, KPD_ERR_UNSUPPORTED);           // a kind that is none
    check_config(&index_file, 16, 3, 1, KPD_ERR_FORMAT);                // a tree without its sections
    check_config(&tree_file, 16, 7, 0x80000000u, KPD_ERR_UNSUPPORTED);  // a count below 0
    for (size_t i = 4; i < 7; i++) check_config(&index_file, 16, i, 0x80000000u, KPD_OK);
    check_config(&model_file, 64, 28, 12, KPD_ERR_FORMAT);   // an accent rule that is none
    check_config(&model_file, 64, 14, 6, KPD_ERR_FORMAT);    // a similarity that is none
    check_config(&model_file, 64, 14, 0x7FFF00, KPD_ERR_FORMAT);   // a cut to more columns than there are
    check_config(&model_file, 64, 14, 0x204, KPD_OK);        // l2, two columns
    for (size_t i = 0; i < 2; i++) {
        const tiny_bytes *b = i ? &index_file : &model_file;
        check_config(b, 72, 0, 0, KPD_OK);
        check_config(b, 72, 71, 1, KPD_ERR_UNSUPPORTED);
    }
}

static void tree_lies(const char *section, size_t at, uint32_t value) {
    tiny_bytes copy = tiny_bytes_make(tree_file.size);
    memcpy(copy.data, tree_file.data, tree_file.size);
    memcpy(copy.data + section_begin(&tree_file, section) + at, &value, 4);
    seal(&copy);
    CHECK_THAT(open_bytes(INDEX, &copy, true) == KPD_ERR_FORMAT, "%s at %zu: %08X was taken", section, at, (unsigned)value);
    CHECK_OK(open_bytes(INDEX, &copy, false));
    tiny_bytes_free(&copy);
}

// As written before there were groups: searches do without, and changes too.
static void tree_without_groups(void) {
    tiny_bytes copy = tiny_bytes_make(tree_file.size);
    kpd_open_desc d = {0};
    kpd_index *x = NULL;
    kpd_error e;
    const int64_t id = 987654321;
    const float v[3] = {1, 2, 3};
    memcpy(copy.data, tree_file.data, tree_file.size);
    for (size_t at = 64; at < 64 + 14 * 128; at += 128)
        if (!strcmp((char *)copy.data + at, "groups")) copy.data[at] = 'x';
    seal(&copy);
    CHECK_OK(open_bytes(INDEX, &copy, true));
    d.data = copy.data; d.size = copy.size; d.copy = true;
    CHECK_OK(kpd_index_open(NULL, &d, &x, &e));
    CHECK_OK(kpd_index_upsert(x, &id, v, 1, &e));
    CHECK(kpd_index_contains(x, id));
    kpd_index_destroy(x);
    tiny_bytes_free(&copy);
}

// A node's numbers stand behind the 64 bytes of codes that 3 dimensions take.
static void contradictions_of_a_tree(void) {
    tree_lies("blocks", 64 + 64, 0x7FC00000u);          // a radius that is not a number, below 0, not finite
    tree_lies("blocks", 64 + 64, 0xBF800000u);
    tree_lies("lists", 64 + 64, 0x7F800000u);
    tree_lies("lists", 64, 0x7FC00000u);                // a scale
    tree_lies("groups", 64 + 64, 0xBF800000u);
    tree_lies("groups", 64 + 128, 0x7F800000u);         // half a square
    tree_lies("blocks", 64 + 192, 0xFF800000u);         // a step
    tree_lies("blocks", 64 + 256, 99);                  // a block that is not there
    tree_lies("blocks", 64 + 256, 1);                   // another list's
    tree_lies("blocks", 64 + 320, 0);                   // nothing lives, or more than was put there
    tree_lies("blocks", 64 + 320, 0xFFFFFFFFu);
    tree_lies("owner", 0, 0x7FFFFFFFu);
    tree_lies("owner", 0, 0xFFFFFFFFu);
    tree_lies("owner", 0, 16);
    tree_lies("table", 0, 0x12345);
}

// The tree with a section more.
static kpd_status open_with(part p) {
    image x = unpack(&tree_file);
    tiny_bytes b;
    kpd_status s;
    insert_part(&x, x.n, p);
    b = pack(&x);
    s = open_bytes(INDEX, &b, false);
    tiny_bytes_free(&b);
    return s;
}

static kpd_status tuned_by(float k, float recall, float gamma, float breadth, float candidates) {
    float numbers[5];
    numbers[0] = k; numbers[1] = recall; numbers[2] = gamma; numbers[3] = breadth; numbers[4] = candidates;
    return open_with(make_part("tuned", 4, 2, 1, 5, (const uint8_t *)numbers, sizeof numbers));
}

// What was tuned decides how much a search takes from its room: no number is taken that is not meant to be there.
static void lies_of_a_tuning(void) {
    static const float wrong[][5] = {{0, 0.9f, 0.5f, 1, 1}, {NAN, 0.9f, 0.5f, 1, 1}, {10, 1, 0.5f, 1, 1},
                                     {10, NAN, 0.5f, 1, 1}, {10, 0.9f, 0, 1, 1}, {10, 0.9f, 1.5f, 1, 1},
                                     {10, 0.9f, NAN, 1, 1}, {10, 0.9f, 0.5f, 0, 1}, {10, 0.9f, 0.5f, 0.24f, 1},
                                     {10, 0.9f, 0.5f, 2.1f, 1}, {10, 0.9f, 0.5f, NAN, 1}, {10, 0.9f, 0.5f, INFINITY, 1},
                                     {10, 0.9f, 0.5f, 1, 0.4f}, {10, 0.9f, 0.5f, 1, 8.1f}, {10, 0.9f, 0.5f, 1, NAN}};
    CHECK_OK(tuned_by(10, 0.9f, 0.5f, 0.25f, 1.5f));
    CHECK_OK(tuned_by(1, 0.99f, 1, 2, 0.5f));
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        const float *w = wrong[i];
        CHECK_THAT(tuned_by(w[0], w[1], w[2], w[3], w[4]) == KPD_ERR_FORMAT, "row %zu was taken", i);
    }
}

// A dial of which one number is another.
static kpd_status dial_with(size_t at, float number) {
    float numbers[16];
    for (size_t i = 0; i < 8; i++) { numbers[2 * i] = 0.3f + 0.1f * (float)i; numbers[2 * i + 1] = 1; }
    numbers[at] = number;
    return open_with(make_part("dial", 4, 2, 8, 2, (const uint8_t *)numbers, sizeof numbers));
}

static void lies_of_a_dial(void) {
    static const float wrong[] = {0, -1, 1.5f, NAN, INFINITY};
    CHECK_OK(dial_with(0, 0.2f));
    CHECK_OK(dial_with(15, 8));
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        CHECK_THAT(dial_with(4, wrong[i]) == KPD_ERR_FORMAT, "gamma %g was taken", (double)wrong[i]);
    CHECK_STATUS(dial_with(6, 0.4f), KPD_ERR_FORMAT);       // less than the one before
    CHECK_STATUS(dial_with(7, 0.5f), KPD_ERR_FORMAT);
    CHECK_STATUS(dial_with(15, 8.5f), KPD_ERR_FORMAT);
    CHECK_STATUS(dial_with(15, NAN), KPD_ERR_FORMAT);
}

static void lies_of_what_arrived(void) {
    const int32_t some[] = {7, -1};
    CHECK_OK(open_with(make_part("arrived", 2, 2, 1, 1, (const uint8_t *)some, 4)));
    CHECK_STATUS(open_with(make_part("arrived", 2, 2, 1, 1, (const uint8_t *)(some + 1), 4)), KPD_ERR_FORMAT);
    CHECK_STATUS(open_with(make_part("arrived", 2, 2, 2, 1, (const uint8_t *)some, 8)), KPD_ERR_FORMAT);
}

// What sums cannot find: sections that contradict each other.
static void contradictions(void) {
    own_index own;
    make_own_index(&own, COUNT, 64);
    own.ids[3] = own.ids[4];                                            // one id twice
    CHECK_STATUS(open_image(&own.image, true), KPD_ERR_FORMAT);
    CHECK_OK(open_image(&own.image, false));
    make_own_index(&own, COUNT, 64);
    for (size_t i = 0; i < 64; i++) own.table[i] = 5;                   // full, and all the same
    CHECK_STATUS(open_image(&own.image, true), KPD_ERR_FORMAT);
    CHECK_OK(open_image(&own.image, false));
    for (size_t i = 0; i < 64; i++) own.table[i] = INT32_MAX;           // slots that are not there
    CHECK_STATUS(open_image(&own.image, true), KPD_ERR_FORMAT);
    CHECK_OK(open_image(&own.image, false));
    make_own_index(&own, COUNT, 64);
    memset(&own.vectors[7], 0xFF, 4);                                   // not a number
    CHECK_STATUS(open_image(&own.image, true), KPD_ERR_FORMAT);
    CHECK_OK(open_image(&own.image, false));
    make_own_index(&own, COUNT, 64);
    own.image.parts[2].size = 48 * 4; own.image.parts[2].shape[0] = 48; // no power of two
    CHECK_STATUS(open_image(&own.image, false), KPD_ERR_FORMAT);
    make_own_index(&own, COUNT, 64);
    own.image.parts[2].size = 16 * 4; own.image.parts[2].shape[0] = 16; // fewer places than ids
    CHECK_STATUS(open_image(&own.image, false), KPD_ERR_FORMAT);
    make_own_index(&own, COUNT, 64);
    own.config[2] = 2;                                                  // bf16: defined, not yet run
    CHECK_STATUS(open_image(&own.image, false), KPD_ERR_UNSUPPORTED);
}

// A wrong section behind one of the same name is not looked at, wherever the two stand.
static void first_of_equal_names(void) {
    own_index own;
    const uint8_t zeros[2 * DIM * 64] = {0};
    for (size_t i = 1; i < 4; i++)
        for (size_t to = 0; to <= i; to++) {
            part right, wrong;
            make_own_index(&own, COUNT, 64);
            right = wrong = own.image.parts[i];
            wrong.data = zeros;
            own.image.parts[i] = wrong;
            insert_part(&own.image, to, right);
            check_own_index(&own, COUNT);
        }
}

static void first_of_equal_weights(void) {
    image x = unpack(&model_file);
    const part *p = find_part(&x, "encoder.layer.0.output.dense.weight");
    part right;
    if (!p) return;
    right = *p;
    x.parts[p - x.parts].shape[0]++;            // the one that does not count could not be used
    insert_part(&x, 0, right);
    CHECK_THAT(!open_image(&x, true), "%s", error.message);
}

// A table of one place is a power of two over no ids.
static void table_of_one(void) {
    own_index own;
    make_own_index(&own, 0, 1);
    check_own_index(&own, 0);
}

static void weights_not_finite(void) {
    const float bad[2] = {(float)1e30 * (float)1e30, 0};
    image x = unpack(&model_file);
    tiny_bytes b = pack(&x);
    image y = unpack(&b);
    const part *p = find_part(&y, "encoder.layer.0.output.dense.weight");
    if (p) memcpy(b.data + ((const uint8_t *)p->data - b.data), bad, 4);
    seal(&b);
    CHECK_STATUS(open_bytes(MODEL, &b, true), KPD_ERR_FORMAT);
    CHECK_INT(error.where, p ? (const uint8_t *)p->data - b.data : -1);
    CHECK_OK(open_bytes(MODEL, &b, false));
    tiny_bytes_free(&b);
}

static void borrowed_is_aligned(void) {
    tiny_bytes b = tiny_bytes_make(index_file.size + 64);
    for (size_t shift = 0; shift <= 64; shift += shift < 4 ? 1 : 4) {
        kpd_open_desc d;
        memset(&d, 0, sizeof d);
        memcpy(b.data + shift, index_file.data, index_file.size);
        d.data = b.data + shift; d.size = index_file.size;
        CHECK_STATUS(open_and_use(INDEX, NULL, &d), shift % 64 ? KPD_ERR_ARGUMENT : KPD_OK);
    }
    tiny_bytes_free(&b);
}

// A copy needs the caller's bytes no longer, and they may lie anywhere.
static void copied_data(void) {
    const tiny_bytes *files[2];
    files[0] = &model_file; files[1] = &index_file;
    for (int kind = 0; kind < 2; kind++)
        for (size_t shift = 0; shift < 70; shift += 23) {
            uint8_t *bytes = (uint8_t *)malloc(files[kind]->size + shift);
            kpd_open_desc d;
            kpd_model *m = NULL;
            kpd_index *x = NULL;
            kpd_status s = KPD_ERR_MEMORY;
            memset(&d, 0, sizeof d);
            if (CHECK(bytes != NULL)) {
                memcpy(bytes + shift, files[kind]->data, files[kind]->size);
                d.data = bytes + shift; d.size = files[kind]->size; d.copy = true;
                s = kind ? kpd_index_open(NULL, &d, &x, &error) : kpd_model_open(NULL, &d, &m, &error);
                memset(bytes, 0xA5, files[kind]->size + shift);
                free(bytes);
            }
            if (CHECK_THAT(!s, "%s", error.message) && m) use_model(m);
            if (x) use_index(x);
            if (m) CHECK_OK(kpd_model_verify(m, &error));
            kpd_model_destroy(m);
            kpd_index_destroy(x);
        }
}

// ---- saving --------------------------------------------------------------------------------------------------------

static void check_same_file(const char *path, const tiny_bytes *want) {
    tiny_bytes b = tiny_bytes_read(path);
    CHECK_THAT(b.size == want->size && !memcmp(b.data, want->data, b.size), "%s is not what it was", path);
    tiny_bytes_free(&b);
}

// Files in build/tmp that a save left beside its target.
static void check_no_leftovers(void) {
#ifdef POSIX
    DIR *dir = opendir("build/tmp");
    if (!CHECK(dir != NULL)) return;
    for (struct dirent *f = readdir(dir); f; f = readdir(dir)) {
        size_t n = strlen(f->d_name);
        CHECK_THAT(n < 4 || strcmp(f->d_name + n - 4, ".tmp"), "%s was left behind", f->d_name);
    }
    closedir(dir);
#endif
}

static void save_again(void) {
    for (int i = 0; i < 3; i++) {
        kpd_open_desc d;
        kpd_model *m = NULL;
        kpd_index *x = NULL;
        const char *model_again = test_tmp("again.kpd"), *index_again = test_tmp("again.kpi");
        memset(&d, 0, sizeof d);
        d.verify = i == 1; d.copy = i == 2;
        if (CHECK_OK(kpd_model_open(model_path, &d, &m, NULL))) CHECK_OK(kpd_model_save(m, model_again, NULL));
        if (CHECK_OK(kpd_index_open(index_path, &d, &x, NULL))) CHECK_OK(kpd_index_save(x, index_again, NULL));
        kpd_model_destroy(m);
        kpd_index_destroy(x);
        check_same_file(model_again, &model_file);
        check_same_file(index_again, &index_file);
    }
    check_no_leftovers();
}

static void embed_one(const kpd_model *m, float *v) {
    kpd_input in = kpd_input_str("red lamp for laptop", "cover", NULL);
    CHECK_OK(kpd_embed(session, m, KPD_ITEM, &in, 1, 0, v, NULL));
}

// A mapped file may be replaced: the mapping keeps the old one.
static void save_over_mapped(void) {
    const char *path = test_tmp("mapped.kpd");
    kpd_model *old = NULL, *other = NULL, *now = NULL;
    tiny_options o;
    float before[16], after[16], replaced[16];
    memset(&o, 0, sizeof o);
    o.seed = 99;
    tiny_bytes_write(path, model_file.data, model_file.size);
    other = tiny_model(&o);
    if (other && CHECK_OK(kpd_model_open(path, NULL, &old, NULL))) {
        embed_one(old, before);
        CHECK_OK(kpd_model_save(old, path, NULL));
        check_same_file(path, &model_file);
        CHECK_OK(kpd_model_save(other, path, NULL));
        embed_one(old, after);
        CHECK(!memcmp(before, after, sizeof before));
        if (CHECK_OK(kpd_model_open(path, NULL, &now, NULL))) embed_one(now, replaced);
        CHECK(memcmp(before, replaced, sizeof before) != 0);
    }
    kpd_model_destroy(now);
    kpd_model_destroy(old);
    kpd_model_destroy(other);
    check_no_leftovers();
}

static void check_save_fails(const char *path, kpd_status want, bool named) {
    kpd_model *m = NULL;
    kpd_index *x = NULL;
    if (CHECK_OK(kpd_model_open(model_path, NULL, &m, NULL))) CHECK_STATUS(kpd_model_save(m, path, &error), want);
    if (named) CHECK_THAT(strstr(error.message, path) != NULL, "\"%s\" does not name %s", error.message, path);
    if (CHECK_OK(kpd_index_open(index_path, NULL, &x, NULL))) CHECK_STATUS(kpd_index_save(x, path, &error), want);
    CHECK(error.status == want && error.message[0]);
    kpd_model_destroy(m);
    kpd_index_destroy(x);
}

static void save_fails(void) {
    static char longest[5000];
    memset(longest, 'a', sizeof longest - 1);
    check_save_fails("build/tmp/no/such/folder.kpd", KPD_ERR_IO, true);
    check_save_fails(NULL, KPD_ERR_ARGUMENT, false);
    check_save_fails(longest, KPD_ERR_ARGUMENT, false);
#ifdef POSIX
    mkdir("build/tmp/folder.kpd", 0777);                                // a rename cannot replace it
    check_save_fails("build/tmp/folder.kpd", KPD_ERR_IO, true);
#endif
    check_no_leftovers();
}

#ifdef POSIX
static int mode_of(const char *path) {
    struct stat st;
    return stat(path, &st) ? -1 : (int)(st.st_mode & 0777);
}

static void save_to(const char *path, kpd_status want) {
    kpd_model *m = NULL;
    if (CHECK_OK(kpd_model_open(model_path, NULL, &m, NULL))) CHECK_STATUS(kpd_model_save(m, path, &error), want);
    kpd_model_destroy(m);
}
#endif

// A file that is replaced keeps its permissions, whatever the process would give a new one.
static void save_keeps_permissions(void) {
#ifdef POSIX
    static const int modes[4] = {0600, 0644, 0666, 0440};
    const char *path = test_tmp("modes.kpd");
    for (int i = 0; i < 8; i++) {
        mode_t old = umask(i < 4 ? 022 : 077);
        remove(path);
        tiny_bytes_write(path, "old", 3);
        chmod(path, (mode_t)modes[i % 4]);
        save_to(path, KPD_OK);
        umask(old);
        CHECK_INT(mode_of(path), modes[i % 4]);
        check_same_file(path, &model_file);
    }
    remove(path);
    save_to(path, KPD_OK);
    CHECK_INT(mode_of(path) & 0600, 0600);
    check_no_leftovers();
#endif
}

// What a link leads to is replaced, in its own folder, not the link; also where there is nothing yet.
static void save_follows_links(void) {
#ifdef POSIX
    struct stat st;
    const char *folder = test_tmp("links"), *end = test_tmp("links/end.kpd"), *link = test_tmp("link.kpd");
    mkdir(folder, 0777);
    remove(link); remove(end); remove("build/tmp/links/middle.kpd"); remove("build/tmp/loop.kpd");
    CHECK(!symlink("links/middle.kpd", link) && !symlink("end.kpd", "build/tmp/links/middle.kpd"));
    CHECK(!symlink("loop.kpd", "build/tmp/loop.kpd"));
    for (int i = 0; i < 2; i++) {
        save_to(link, KPD_OK);
        CHECK(!lstat(link, &st) && S_ISLNK(st.st_mode));
        CHECK(!lstat("build/tmp/links/middle.kpd", &st) && S_ISLNK(st.st_mode));
        CHECK(!lstat(end, &st) && S_ISREG(st.st_mode));
        check_same_file(end, &model_file);
    }
    save_to("build/tmp/loop.kpd", KPD_ERR_ARGUMENT);
    check_no_leftovers();
#endif
}

// A pipe or a device is no file that could be replaced.
typedef struct written { uint8_t *bytes; size_t size, room; int left; } written;

static bool take_bytes(void *user, const void *data, size_t size) {
    written *w = (written *)user;
    if (w->left-- == 0 || size > w->room - w->size) return false;
    memcpy(w->bytes + w->size, data, size);
    w->size += size;
    return true;
}

// What the host gets is the file; where it takes no more, the call says so, at every piece.
static void written_to_the_host(void) {
    const tiny_bytes *files[2];
    kpd_model *m = NULL;
    kpd_index *x = NULL;
    files[0] = &model_file; files[1] = &index_file;
    CHECK_OK(kpd_model_open(model_path, NULL, &m, &error));
    CHECK_OK(kpd_index_open(index_path, NULL, &x, &error));
    for (int kind = 0; m && x && kind < 2; kind++) {
        written w = {NULL, 0, files[kind]->size, 0};
        kpd_status s = KPD_ERR_IO;
        int pieces = 0;
        w.bytes = (uint8_t *)malloc(w.room);
        for (; w.bytes && s && pieces < 1000; pieces++) {
            w.size = 0; w.left = pieces;
            s = kind ? kpd_index_write(x, take_bytes, &w, &error) : kpd_model_write(m, take_bytes, &w, &error);
            if (s) CHECK_STATUS(s, KPD_ERR_IO);
        }
        CHECK_THAT(!s && pieces > 5, "%s after %d pieces", error.message, pieces);
        CHECK(w.size == w.room && !memcmp(w.bytes, files[kind]->data, w.size));
        free(w.bytes);
    }
    CHECK_STATUS(kpd_model_write(m, NULL, NULL, &error), KPD_ERR_ARGUMENT);
    CHECK_STATUS(kpd_index_write(x, NULL, NULL, &error), KPD_ERR_ARGUMENT);
    kpd_model_destroy(m);
    kpd_index_destroy(x);
}

static void save_over_no_file(void) {
#if defined(POSIX) && !defined(__EMSCRIPTEN__)      // which has no FIFO, and below no limit of a file's size
    struct stat st;
    const char *path = test_tmp("pipe.kpd");
    remove(path);
    CHECK(!mkfifo(path, 0666));
    save_to(path, KPD_ERR_IO);
    CHECK(!lstat(path, &st) && S_ISFIFO(st.st_mode));
    remove(path);
    check_no_leftovers();
#endif
}

// A disk that is full half-way leaves the old file, and another writer's beside it.
static void save_on_full_disk(void) {
#if defined(POSIX) && !defined(__EMSCRIPTEN__)
    const char *path = test_tmp("full.kpd");
    static uint8_t theirs[] = "another's";
    const tiny_bytes others = {theirs, 9, NULL};
    struct rlimit old, small;
    kpd_status s = KPD_OK;
    kpd_model *m = NULL;
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    tiny_bytes_write(path, index_file.data, index_file.size);
    tiny_bytes_write("build/tmp/full.kpd.0.tmp", "another's", 9);
    if (CHECK_OK(kpd_model_open(model_path, NULL, &m, NULL)) && CHECK(!getrlimit(RLIMIT_FSIZE, &old))) {
        small = old;
        small.rlim_cur = 4096;
        if (CHECK(!setrlimit(RLIMIT_FSIZE, &small))) s = kpd_model_save(m, path, &error);
        setrlimit(RLIMIT_FSIZE, &old);
        CHECK_STATUS(s, KPD_ERR_IO);
        CHECK_THAT(strstr(error.message, "build/tmp/full.kpd.1.tmp: ") != NULL, "%s", error.message);
    }
    check_same_file("build/tmp/full.kpd.0.tmp", &others);
    remove("build/tmp/full.kpd.0.tmp");
    signal(SIGXFSZ, handler);
    kpd_model_destroy(m);
    check_same_file(path, &index_file);
    check_no_leftovers();
#endif
}

SUITE(file) {
    make_fixtures();
    RUN(file, fixtures);
    RUN(file, flips_verified);
    RUN(file, flips_not_verified);
    RUN(file, flips_with_new_sums);
    RUN(file, flips_of_the_config);
    RUN(file, flips_in_files);
    RUN(file, truncated);
    RUN(file, trailing_bytes);
    RUN(file, not_a_file);
    RUN(file, wrong_kind);
    RUN(file, sums_are_xxh64);
    RUN(file, versions);
    RUN(file, kinds_of_files);
    RUN(file, unknown_sections);
    RUN(file, missing_sections);
    RUN(file, model_by_format);
    RUN(file, index_by_format);
    RUN(file, contradictions);
    RUN(file, contradictions_of_a_tree);
    RUN(file, tree_without_groups);
    RUN(file, lies_of_a_tuning);
    RUN(file, lies_of_a_dial);
    RUN(file, lies_of_what_arrived);
    RUN(file, config_of_the_future);
    RUN(file, first_of_equal_names);
    RUN(file, first_of_equal_weights);
    RUN(file, weights_not_finite);
    RUN(file, borrowed_is_aligned);
    RUN(file, copied_data);
    RUN(file, save_again);
    RUN(file, save_over_mapped);
    RUN(file, save_fails);
    RUN(file, save_keeps_permissions);
    RUN(file, save_follows_links);
    RUN(file, written_to_the_host);
    RUN(file, save_over_no_file);
    RUN(file, save_on_full_disk);
    RUN(file, table_of_one);
    kpd_session_destroy(session);
    tiny_bytes_free(&model_file);
    tiny_bytes_free(&index_file);
    tiny_bytes_free(&tree_file);
}
