// What every call promises of its desc and its error: NULL is a desc of zeros, success is said too, and a message is whole UTF-8
// whatever it quotes. And what a level asks of the system.
#include "../kpd_train.h"
#include "test.h"
#include "tiny_model.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static kpd_error error;

static kpd_error *spoilt(void) {
    memset(&error, 0x5A, sizeof error);
    return &error;
}

#define SUCCEEDS(call) (CHECK_OK(call), CHECK_THAT(!error.status && error.where == -1 && !error.message[0], \
                        "%s: status %d, where %d, \"%.240s\"", #call, (int)error.status, (int)error.where, error.message))
#define FAILS(call, want) (CHECK_STATUS(call, want), CHECK_THAT(error.status == (want) && error.message[0], \
                           "%s: status %d, \"%.240s\"", #call, (int)error.status, error.message))

// THE LEVEL ---------------------------------------------------------------------------------------------------------

// Whether Linux has given the process the tiles: bit 18 of what arch_prctl(ARCH_GET_XCOMP_PERM) says.
static bool has_asked_for_tiles(void) {
#if defined(__x86_64__) && defined(__linux__)
    uint64_t features = 0;
    long result;
    __asm__ volatile("syscall" : "=a"(result) : "a"(158L), "D"(0x1022L), "S"(&features) : "rcx", "r11", "memory");
    return !result && features >> 18 & 1;
#else
    return false;
#endif
}

// First of all suites: once asked, a process keeps the tiles.
static void tiles_are_asked_for_by_their_level_only(void) {
    bool before = has_asked_for_tiles();
    tiny_options o;
    kpd_index_desc d;
    kpd_session_desc sd;
    kpd_convert_desc cd;
    kpd_index *x = NULL;
    kpd_session *s = NULL;
    kpd_model *m, *converted = NULL;
    const char *path = test_tmp("errors.kpi");
    memset(&o, 0, sizeof o);
    memset(&d, 0, sizeof d);
    memset(&sd, 0, sizeof sd);
    memset(&cd, 0, sizeof cd);
    d.dim = 4; cd.dtype = KPD_INT8;
    m = tiny_model(&o);
    for (int l = KPD_SIMD_AUTO; l < KPD_SIMD_COUNT; l++) kpd_simd_available((kpd_simd)l);
    CHECK_OK(kpd_index_create(&d, &x, NULL));
    CHECK_OK(kpd_index_save(x, path, NULL));
    kpd_index_destroy(x);
    CHECK_OK(kpd_index_open(path, NULL, &x, NULL));
    kpd_index_destroy(x);
    for (int l = KPD_SIMD_SCALAR; l < KPD_SIMD_COUNT; l++) {
        sd.simd = (kpd_simd)l;
        if (l == KPD_SIMD_AMX || !kpd_simd_available((kpd_simd)l)) continue;
        CHECK_OK(kpd_session_create(&sd, &s, NULL));
        CHECK_INT(kpd_session_simd(s), l);
        kpd_session_destroy(s);
    }
    CHECK_OK(kpd_model_convert(m, &cd, &converted, NULL));
    kpd_model_destroy(converted);
    kpd_model_destroy(m);
    CHECK_INT(has_asked_for_tiles(), before);
    if (!kpd_simd_available(KPD_SIMD_AMX)) return;
    CHECK_OK(kpd_session_create(NULL, &s, NULL));
    CHECK_INT(kpd_session_simd(s), KPD_SIMD_AMX);
    CHECK(has_asked_for_tiles());
    kpd_session_destroy(s);
}

static void an_index_has_the_level_of_its_desc(void) {
    kpd_index_desc d;
    kpd_index *x = NULL;
    memset(&d, 0, sizeof d);
    d.dim = 4;
    for (int l = KPD_SIMD_AUTO; l < KPD_SIMD_COUNT; l++) {
        bool available = kpd_simd_available((kpd_simd)l);
        d.simd = (kpd_simd)l;
        if (available) SUCCEEDS(kpd_index_create(&d, &x, spoilt()));
        else FAILS(kpd_index_create(&d, &x, spoilt()), KPD_ERR_ARGUMENT);
        if (available) kpd_index_destroy(x);
    }
}

// MESSAGES ----------------------------------------------------------------------------------------------------------

// By the table of the Unicode Standard (well-formed byte sequences), and without control characters.
static bool is_whole(const char *message) {
    for (const unsigned char *p = (const unsigned char *)message; *p;) {
        size_t n;
        if (*p < 0x20 || *p == 0x7F) return false;
        if (*p < 0x80) { p++; continue; }
        if (*p >= 0xC2 && *p <= 0xDF) n = 1;
        else if (*p == 0xE0 ? p[1] >= 0xA0 : *p == 0xED ? p[1] < 0xA0 : *p >= 0xE1 && *p <= 0xEF) n = 2;
        else if (*p == 0xF0 ? p[1] >= 0x90 : *p == 0xF4 ? p[1] < 0x90 : *p >= 0xF1 && *p <= 0xF3) n = 3;
        else return false;
        if (*p == 0xC2 && p[1] < 0xA0) return false;
        for (p++; n; n--, p++)
            if (*p < 0x80 || *p > 0xBF) return false;
    }
    return true;
}

static void any_bytes_make_a_whole_message(void) {
    static const char *const pieces[] = {"a", " ", "\xC3\xA9", "\xE4\xB8\xAD", "\xF0\x9F\x98\x80", "\xFF", "\x80", "\xE4\xB8",
                                         "\xF0\x9F", "\xC0\xAF", "\xED\xA0\x80", "\xF4\x90\x80\x80", "\x1B[2J", "\n", "\x7F",
                                         "\xC2\x9B", "\xC2\xA0", "\xE0\x80\x80", "\xEF\xBF\xBD"};
    uint32_t state = 1;
    for (int i = 0; i < 20000; i++) {
        char text[1300] = "";
        size_t n = tiny_random(&state) % 300, at = 0, length;
        for (size_t k = 0; k < n; k++) {
            const char *piece = pieces[tiny_random(&state) % (i % 2 ? 5 : sizeof pieces / sizeof *pieces)];
            memcpy(text + at, piece, strlen(piece));
            at += strlen(piece);
        }
        spoilt();
        CHECK_STATUS(kpd_error_set(&error, KPD_ERR_FORMAT, i, "%s", text), KPD_ERR_FORMAT);
        length = strlen(error.message);
        if (!CHECK_THAT(is_whole(error.message), "not whole: %s", error.message)) return;
        CHECK(error.status == KPD_ERR_FORMAT && error.where == i && length < sizeof error.message);
        if (i % 2 && at < sizeof error.message) CHECK(!strcmp(text, error.message));    // clean ones stay
        if (i % 2 && at >= sizeof error.message)                                        // or are cut as late as can be
            CHECK(length >= 236 && !strcmp(error.message + length - 3, "...") && !memcmp(text, error.message, length - 3));
    }
    CHECK_STATUS(kpd_error_set(NULL, KPD_ERR_IO, 0, "%s", ""), KPD_ERR_IO);
    kpd_error_set(&error, KPD_ERR_IO, -1, "%s", "a\xFFz\x1B");
    CHECK(!strcmp(error.message, "a\\xFFz\\x1B"));
}

// However long or foul what it quotes is, a message says what is wrong, and with what.
static void says(const char *what) {
    CHECK_THAT(is_whole(error.message) && strstr(error.message, what), "\"%s\", expected whole UTF-8 with \"%s\"", error.message,
               what);
}

// Rows of keyphrase TAB title TAB label, in memory.
static kpdt_dataset_desc labels_desc(const char *table) {
    kpdt_dataset_desc d;
    memset(&d, 0, sizeof d);
    d.data = table; d.size = strlen(table);
    d.columns[0] = KPDT_COL_KEYPHRASE; d.columns[1] = KPDT_COL_TITLE; d.columns[2] = KPDT_COL_LABEL;
    return d;
}

static void quoted_texts_leave_room(void) {
    char text[2000];
    tiny_options o;
    kpd_tokenizer *t = tiny_tokenizer();
    kpd_tokenizer_desc td = tiny_tokenizer_desc();
    kpd_model_desc d;
    kpd_model *m = NULL;
    kpdt_dataset_desc dd;
    kpdt_dataset *data = NULL;
    memset(&o, 0, sizeof o);
    memset(&dd, 0, sizeof dd);
    for (int foul = 0; foul < 3; foul++) {
        const char *piece = foul == 0 ? "\xE4\xB8\xAD" : foul == 1 ? "\x1B" : "\x9B";
        for (size_t i = 0; i < 1998; i++) text[i] = piece[i % strlen(piece)];
        text[1998] = 0;
        d = tiny_desc(&o, t);
        d.template_item = text;
        FAILS(kpd_model_create(&d, &m, spoilt()), KPD_ERR_ARGUMENT); says("has no placeholder");
        text[1996] = ' '; text[1997] = '{';
        FAILS(kpd_model_create(&d, &m, spoilt()), KPD_ERR_ARGUMENT); says("is not a placeholder");
        td.unk = text;
        FAILS(kpd_tokenizer_create(&td, &t, spoilt()), KPD_ERR_NOT_FOUND); says("is not in the vocabulary");
        FAILS(kpd_model_open(text, NULL, &m, spoilt()), KPD_ERR_IO); says("cannot be opened: ");
        text[1500] = 0;
        FAILS(kpdt_dataset_open(&dd, &data, spoilt()), KPD_ERR_ARGUMENT);
        dd.data = text; dd.size = 1500; dd.columns[0] = KPDT_COL_LABEL; dd.columns[1] = KPDT_COL_END;
        FAILS(kpdt_dataset_open(&dd, &data, spoilt()), KPD_ERR_ARGUMENT); says("no column is a keyphrase");
        dd.columns[0] = KPDT_COL_TITLE; dd.columns[1] = KPDT_COL_LABEL;
        text[3] = '\t';
        FAILS(kpdt_dataset_open(&dd, &data, spoilt()), KPD_ERR_FORMAT); says("expected a number from 0 to 1");
        memset(&dd, 0, sizeof dd);
    }
    kpd_tokenizer_destroy(t);
}

// SUCCESS -----------------------------------------------------------------------------------------------------------

static void use_model(kpd_model *m, const kpd_tokenizer *t, bool cross) {
    float v[64];
    char path[256];
    int32_t ids[32];
    kpd_input in = kpd_input_str("blue case", cross ? "red" : NULL, cross ? "phone" : NULL);
    kpd_tokens tokens;
    kpd_session *s = NULL;
    kpd_session_desc d;
    kpd_convert_desc cd;
    kpd_model *other = NULL;
    kpd_tensor tensor;
    float *w = NULL;
    snprintf(path, sizeof path, "%s", test_tmp("errors.kpd"));
    memset(&tokens, 0, sizeof tokens);
    memset(&d, 0, sizeof d);
    memset(&cd, 0, sizeof cd);
    tokens.ids = ids; tokens.capacity = 32;
    if (cross) d.assistant = m;
    else d.student = m;
    SUCCEEDS(kpd_tokenize(t, &in, 0, false, &tokens, spoilt()));
    SUCCEEDS(kpd_model_tokenize(m, KPD_ITEM, &in, false, &tokens, spoilt()));
    CHECK(kpd_model_tensor(m, 0, &tensor));
    w = (float *)malloc((size_t)tensor.rows * (size_t)tensor.cols * sizeof *w);
    if (!CHECK(w != NULL)) return;
    SUCCEEDS(kpd_model_get(m, tensor.name, w, spoilt()));
    SUCCEEDS(kpd_model_set(m, tensor.name, w, spoilt()));
    free(w);
    SUCCEEDS(kpd_model_save(m, path, spoilt()));
    SUCCEEDS(kpd_model_open(path, NULL, &other, spoilt()));
    kpd_model_destroy(other);
    cd.dtype = KPD_INT8;
    SUCCEEDS(kpd_model_convert(m, &cd, &other, spoilt()));
    kpd_model_destroy(other);
    SUCCEEDS(kpd_model_convert(m, NULL, &other, spoilt()));
    CHECK_INT(kpd_model_get_desc(other)->dtype, KPD_F32);
    kpd_model_destroy(other);
    SUCCEEDS(kpd_session_create(&d, &s, spoilt()));
    if (cross) SUCCEEDS(kpd_score(s, m, &in, 1, v, spoilt()));
    else SUCCEEDS(kpd_embed(s, m, KPD_ITEM, &in, 1, 0, v, spoilt()));
    kpd_session_destroy(s);
}

static bool phrase_of(void *user, int64_t id, kpd_text *out) {
    (void)user; (void)id;
    out->data = "blue case"; out->size = 9;
    return true;
}

static void use_index(const kpd_model *student, const kpd_model *assistant) {
    static const int64_t id = 7;
    const char *path = test_tmp("errors.kpi");
    float v[16] = {1, 2, 3};
    kpd_index_desc d;
    kpd_recommend_desc rd;
    kpd_recommendation found[10];
    kpd_hit hits[10];
    int32_t count;
    size_t removed;
    kpd_input in = kpd_input_str("red phone", NULL, NULL);
    kpd_session *s = tiny_session(student, assistant);
    kpd_index *x = NULL;
    memset(&d, 0, sizeof d);
    memset(&rd, 0, sizeof rd);
    d.dim = 16;
    SUCCEEDS(kpd_index_create(&d, &x, spoilt()));
    SUCCEEDS(kpd_index_upsert(x, &id, v, 1, spoilt()));
    SUCCEEDS(kpd_index_upsert(x, &id, v, 0, spoilt()));
    SUCCEEDS(kpd_index_get(x, id, v, spoilt()));
    SUCCEEDS(kpd_index_save(x, path, spoilt()));
    SUCCEEDS(kpd_index_search(s, x, v, 1, NULL, hits, &count, spoilt()));
    rd.student = student; rd.assistant = assistant; rd.index = x; rd.lookup = phrase_of;
    SUCCEEDS(kpd_recommend(s, &rd, &in, 1, found, &count, spoilt()));
    SUCCEEDS(kpd_index_remove(x, &id, 1, &removed, spoilt()));
    kpd_index_destroy(x);
    SUCCEEDS(kpd_index_open(path, NULL, &x, spoilt()));
    kpd_index_destroy(x);
    kpd_session_destroy(s);
}

static void success_is_said(void) {
    kpd_tokenizer_desc td = tiny_tokenizer_desc();
    kpd_tokenizer *t = NULL;
    kpd_model *m[2];
    tiny_options o;
    memset(&o, 0, sizeof o);
    SUCCEEDS(kpd_tokenizer_create(&td, &t, spoilt()));
    for (int cross = 0; cross < 2; cross++) {
        kpd_model_desc d;
        kpd_model *made = NULL;
        o.kind = cross ? KPD_CROSS_ENCODER : KPD_BI_ENCODER;
        d = tiny_desc(&o, t);
        SUCCEEDS(kpd_model_create(&d, &made, spoilt()));
        kpd_model_destroy(made);
        m[cross] = tiny_model(&o);
        if (m[cross]) use_model(m[cross], t, cross);
    }
    if (m[0] && m[1]) use_index(m[0], m[1]);
    kpd_model_destroy(m[0]);
    kpd_model_destroy(m[1]);
    kpd_tokenizer_destroy(t);
}

#define TEXT_OF(x) #x
#define TEXT_OF_VALUE(x) TEXT_OF(x)
#define ABI_TEXT TEXT_OF_VALUE(KPD_ABI)

// A desc made for another ABI, or that nobody zeroed, is refused by name; one that says this ABI is taken.
#define CHECK_DESC(d, call, name)                                                                                      \
    do {                                                                                                               \
        (d).abi = KPD_ABI + 1;                                                                                         \
        CHECK_STATUS(call, KPD_ERR_ARGUMENT);                                                                          \
        CHECK_THAT(strstr(e.message, name ": the desc's abi is ") && strstr(e.message, "this library's " ABI_TEXT), "%s",    \
                   e.message);                                                                                          \
        (d).abi = 0; (d).reserved[3] = -7;                                                                             \
        CHECK_STATUS(call, KPD_ERR_ARGUMENT);                                                                          \
        CHECK_THAT(strstr(e.message, name ": the desc's reserved[3] is -7, expected 0") != NULL, "%s", e.message);     \
        (d).abi = KPD_ABI; (d).reserved[3] = 0;                                                                        \
        CHECK_OK(call);                                                                                                \
    } while (0)

static void descs_of_another_abi_are_refused(void) {
    static const float v[16] = {1, 2, 3};
    static const int64_t id = 7;
    const char *path = test_tmp("abi.kpd");
    kpd_input in = kpd_input_str("red phone", NULL, NULL);
    kpd_tokenizer_desc td = tiny_tokenizer_desc();
    kpd_model_desc md;
    kpd_open_desc od;
    kpd_convert_desc cd;
    kpd_session_desc sd;
    kpd_index_desc xd;
    kpd_search_desc hd;
    kpd_recommend_desc rd;
    kpd_kmeans_desc kd;
    kpd_recommendation found[10];
    float centroid[16];
    kpd_hit hits[10];
    int32_t count;
    tiny_options o;
    kpd_error e;
    kpd_tokenizer *t = NULL;
    kpd_model *m = NULL, *other = NULL;
    kpd_session *s = NULL;
    kpd_index *x = NULL;
    memset(&o, 0, sizeof o); memset(&od, 0, sizeof od); memset(&cd, 0, sizeof cd); memset(&sd, 0, sizeof sd);
    memset(&xd, 0, sizeof xd); memset(&hd, 0, sizeof hd); memset(&rd, 0, sizeof rd);
    CHECK_INT(kpd_abi(), KPD_ABI);
    CHECK_DESC(td, kpd_tokenizer_create(&td, &t, &e), "tokenizer");
    md = tiny_desc(&o, t);
    CHECK_DESC(md, kpd_model_create(&md, &other, &e), "model");
    kpd_model_destroy(other);
    m = tiny_model(&o);
    CHECK_DESC(cd, kpd_model_convert(m, &cd, &other, &e), "convert");
    kpd_model_destroy(other);
    CHECK_OK(kpd_model_save(m, path, &e));
    CHECK_DESC(od, kpd_model_open(path, &od, &other, &e), "open");
    kpd_model_destroy(other);
    sd.student = m;
    CHECK_DESC(sd, kpd_session_create(&sd, &s, &e), "session");
    xd.dim = 16;
    CHECK_DESC(xd, kpd_index_create(&xd, &x, &e), "index");
    CHECK_OK(kpd_index_upsert(x, &id, v, 1, &e));
    CHECK_DESC(hd, kpd_index_search(s, x, v, 1, &hd, hits, &count, &e), "search");
    rd.student = m; rd.index = x; rd.lookup = phrase_of;
    CHECK_DESC(rd, kpd_recommend(s, &rd, &in, 1, found, &count, &e), "recommend");
    memset(&kd, 0, sizeof kd);
    kd.k = 1;
    CHECK_DESC(kd, kpd_kmeans(&kd, v, 1, 16, centroid, NULL, &e), "kmeans");
    CHECK_DESC(rd.search, kpd_recommend(s, &rd, &in, 1, found, &count, &e), "search");
    kpd_index_destroy(x);
    kpd_session_destroy(s);
    kpd_model_destroy(m);
    kpd_tokenizer_destroy(t);
}

static bool one_line(void *user, kpd_text *out) {
    out->data = "blue blue case";
    out->size = 14;
    return !(*(int *)user)++;
}

static void training_descs_of_another_abi_are_refused(void) {
    static const char table[] = "red phone\tred case\t1\nblue\tlamp\t0\n";
    static const float a[3] = {1, 2, 3};
    int lines = 0;
    char *vocab = NULL;
    size_t size;
    kpdt_dataset_desc dd = labels_desc(table);
    kpdt_vocabulary_desc vd;
    kpdt_bootstrap_desc bd;
    kpdt_trainer_desc d;
    kpdt_source source;
    kpdt_dataset *data = NULL;
    kpdt_trainer *t = NULL;
    kpdt_interval interval;
    tiny_options o;
    kpd_error e;
    memset(&o, 0, sizeof o); memset(&vd, 0, sizeof vd); memset(&bd, 0, sizeof bd);
    memset(&d, 0, sizeof d); memset(&source, 0, sizeof source);
    vd.next = one_line; vd.next_user = &lines;
    CHECK_DESC(vd, kpdt_vocabulary_train(&vd, &vocab, &size, &e), "vocabulary");
    free(vocab);
    bd.a = a; bd.n = 3; bd.resamples = 10;
    CHECK_DESC(bd, kpdt_bootstrap(&bd, &interval, &e), "bootstrap");
    CHECK_DESC(dd, kpdt_dataset_open(&dd, &data, &e), "data");
    source.data = data; source.losses[0].loss = KPDT_CONTRASTIVE;
    d.start = tiny_model(&o); d.sources = &source; d.n_sources = 1;
    CHECK_DESC(d, kpdt_trainer_create(&d, &t, &e), "training");
    kpdt_trainer_destroy(t);
    kpdt_dataset_destroy(data);
    kpd_model_destroy((kpd_model *)d.start);
}

#define CHECK_NAMES(type, count)                                                                                       \
    for (int i = 0; i < (count); i++) {                                                                                \
        type back = (type)((i + 1) % (count));                                                                         \
        CHECK(type##_from_name(type##_name((type)i), &back) && (int)back == i);                                        \
        CHECK(!type##_from_name("?", &back) && !strcmp(type##_name((type)(count)), "?"));                               \
    }

static void enums_of_training_have_names(void) {
    CHECK_NAMES(kpdt_loss, KPDT_LOSS_COUNT);
    CHECK_NAMES(kpdt_target, KPDT_TARGET_COUNT);
    CHECK_NAMES(kpdt_teacher, KPDT_TEACHER_COUNT);
    CHECK_NAMES(kpdt_similarity, KPDT_SIMILARITY_COUNT);
    CHECK_NAMES(kpdt_column, KPDT_COLUMN_COUNT);
    CHECK_NAMES(kpdt_batching, KPDT_BATCHING_COUNT);
    CHECK_NAMES(kpdt_dev_metric, KPDT_DEV_METRIC_COUNT);
    CHECK(!strcmp(kpdt_loss_name(KPDT_MNR), "mnr") && !strcmp(kpdt_column_name(KPDT_COL_LABEL), "label"));
}

static void success_of_losses_is_said(void) {
    static const int32_t labels[2] = {0, 1};
    float s[8] = {1, 2, 3, 4, 5, 6, 7, 9}, t[2] = {0, 1}, ds[8], loss, work[16], da[8], db[8], dw[24];
    kpdt_loss_desc d;
    kpdt_vectors v;
    kpdt_similarity_desc sim;
    kpdt_softmax_head h;
    memset(&d, 0, sizeof d);
    memset(&v, 0, sizeof v);
    memset(&sim, 0, sizeof sim);
    memset(&h, 0, sizeof h);
    memset(da, 0, sizeof da); memset(db, 0, sizeof db); memset(dw, 0, sizeof dw);
    d.loss = KPDT_MSE;
    SUCCEEDS(kpdt_loss_pairs(&d, s, t, NULL, 2, &loss, ds, spoilt()));
    d.loss = KPDT_MNR;
    SUCCEEDS(kpdt_loss_matrix(&d, s, NULL, NULL, 2, 3, &loss, ds, spoilt()));
    v.a = s; v.b = s + 4; v.na = v.nb = 2; v.dim = 2; v.work = work; v.da = da; v.db = db;
    SUCCEEDS(kpdt_loss_vectors(&d, &v, &loss, spoilt()));
    SUCCEEDS(kpdt_cross_entropy(s, labels, 2, 3, &loss, ds, spoilt()));
    sim.dim = 2;
    SUCCEEDS(kpdt_similarity_forward(&sim, s, 2, s + 4, 2, work, spoilt()));
    SUCCEEDS(kpdt_similarity_backward(&sim, s, 2, s + 4, 2, ds, da, db, spoilt()));
    h.u = s; h.v = s + 4; h.w = s; h.label = labels; h.B = 2; h.dim = 1; h.labels = 2; h.du = da; h.dv = db; h.dw = dw;
    SUCCEEDS(kpdt_softmax_head_loss(&h, &loss, spoilt()));
}

static void success_of_metrics_is_said(void) {
    static const float s[4] = {.1f, .2f, .3f, .4f};
    static const uint8_t y[4] = {0, 1, 0, 1};
    kpdt_classification c;
    kpdt_bootstrap_desc d;
    kpdt_interval interval;
    kpdt_auction_row row;
    kpdt_auction_result result;
    double rho;
    memset(&d, 0, sizeof d);
    memset(&row, 0, sizeof row);
    d.a = s; d.n = 4; d.resamples = 10;
    SUCCEEDS(kpdt_classify(s, y, 4, NULL, NULL, &c, spoilt()));
    SUCCEEDS(kpdt_spearman(s, s, 4, NULL, &rho, spoilt()));
    SUCCEEDS(kpdt_bootstrap(&d, &interval, spoilt()));
    SUCCEEDS(kpdt_auction_total(&row, 1, &result, spoilt()));
}

static void use_trainer(kpdt_trainer *t, const char *path) {
    kpd_input in = kpd_input_str("blue case", NULL, NULL);
    kpdt_batch b;
    kpdt_report r;
    kpd_model *m = NULL;
    float out[16], loss;
    SUCCEEDS(kpdt_trainer_step(t, &r, spoilt()));
    SUCCEEDS(kpdt_trainer_save(t, path, spoilt()));
    SUCCEEDS(kpdt_trainer_resume(t, path, spoilt()));
    SUCCEEDS(kpdt_trainer_draw(t, &b, spoilt()));
    SUCCEEDS(kpdt_trainer_learn(t, &b, &loss, spoilt()));
    SUCCEEDS(kpdt_trainer_forward(t, KPD_ITEM, &in, 1, out, spoilt()));
    SUCCEEDS(kpdt_trainer_backward(t, KPD_ITEM, out, spoilt()));
    SUCCEEDS(kpdt_trainer_mlm(t, KPD_ITEM, &in, 1, &loss, spoilt()));
    SUCCEEDS(kpdt_trainer_apply(t, &r, spoilt()));
    SUCCEEDS(kpdt_trainer_model(t, true, &m, spoilt()));
    kpd_model_destroy(m);
}

// A batch of 8 rows in pieces: what no longer fits into one is no error.
static void success_of_training_is_said(void) {
    static const char table[] = "blue\tblue case for phone 5\t1\nred\tred lamp\t0\ngreen\tgreen sleeve for laptop pro\t1\n"
                                "lamp\tyellow lamp for phone\t0\npro\tlaptop pro charger\t1\ncase\tcase cover\t0\n"
                                "phone\tphone phone phone 6\t1\nfor\tcover for lamp\t0\n";
    int lines = 0;
    size_t size = 0;
    char *vocab = NULL;
    tiny_options o;
    kpdt_dataset_desc dd = labels_desc(table);
    kpdt_vocabulary_desc vd;
    kpdt_source source;
    kpdt_trainer_desc d;
    kpdt_dataset *data = NULL;
    kpdt_trainer *t = NULL;
    kpdt_row row;
    kpd_model *m, *started = NULL;
    kpd_model_desc shape;
    memset(&o, 0, sizeof o);
    memset(&vd, 0, sizeof vd);
    memset(&source, 0, sizeof source);
    memset(&d, 0, sizeof d);
    vd.next = one_line; vd.next_user = &lines;
    SUCCEEDS(kpdt_vocabulary_train(&vd, &vocab, &size, spoilt()));
    free(vocab);
    SUCCEEDS(kpdt_dataset_open(&dd, &data, spoilt()));
    if (!data) return;
    SUCCEEDS(kpdt_dataset_get(data, 3, &row, spoilt()));
    m = tiny_model(&o);
    shape = *kpd_model_get_desc(m);
    SUCCEEDS(kpdt_model_start(&shape, m, NULL, 1, &started, spoilt()));
    kpd_model_destroy(started);
    source.data = data; source.losses[0].loss = KPDT_CONTRASTIVE;
    d.start = m; d.sources = &source; d.n_sources = 1; d.batch = 8; d.steps = 3; d.max_tokens = 24; d.mlm = true;
    d.dev = data; d.dev_steps = 1; d.dev_metric = KPDT_DEV_PEARSON;
    SUCCEEDS(kpdt_trainer_create(&d, &t, spoilt()));
    if (t) use_trainer(t, test_tmp("errors.kpc"));
    kpdt_trainer_destroy(t);
    kpd_model_destroy(m);
    kpdt_dataset_destroy(data);
}

// NULL --------------------------------------------------------------------------------------------------------------

static void null_is_a_desc_of_zeros(void) {
    static const float v[2] = {1, 1};
    float out[2], loss;
    char *vocab = NULL;
    size_t size = 0;
    int32_t count = 0;
    kpd_tokenizer *t = NULL;
    kpd_model *m = NULL;
    kpd_index *x = NULL;
    kpd_session *s = NULL;
    kpd_recommendation found;
    kpd_input in = kpd_input_str("a", NULL, NULL);
    kpdt_vectors vectors;
    kpdt_interval interval;
    kpdt_dataset *data = NULL;
    kpdt_trainer *trainer = NULL;
    memset(&vectors, 0, sizeof vectors);
    vectors.a = vectors.b = v; vectors.na = vectors.nb = 1; vectors.dim = 1; vectors.work = out;
    FAILS(kpd_tokenizer_create(NULL, &t, spoilt()), KPD_ERR_ARGUMENT);
    FAILS(kpd_model_create(NULL, &m, spoilt()), KPD_ERR_ARGUMENT);
    FAILS(kpd_model_open(NULL, NULL, &m, spoilt()), KPD_ERR_ARGUMENT);
    FAILS(kpd_index_create(NULL, &x, spoilt()), KPD_ERR_ARGUMENT);
    FAILS(kpd_index_open(NULL, NULL, &x, spoilt()), KPD_ERR_ARGUMENT);
    SUCCEEDS(kpd_session_create(NULL, &s, spoilt()));
    FAILS(kpd_recommend(s, NULL, &in, 1, &found, &count, spoilt()), KPD_ERR_ARGUMENT);
    kpd_session_destroy(s);
    FAILS(kpdt_loss_pairs(NULL, v, v, NULL, 2, &loss, out, spoilt()), KPD_ERR_ARGUMENT);
    FAILS(kpdt_loss_matrix(NULL, v, NULL, NULL, 1, 2, &loss, out, spoilt()), KPD_ERR_ARGUMENT);
    FAILS(kpdt_loss_vectors(NULL, &vectors, &loss, spoilt()), KPD_ERR_ARGUMENT);
    FAILS(kpdt_similarity_forward(NULL, v, 1, v, 1, out, spoilt()), KPD_ERR_ARGUMENT);
    FAILS(kpdt_similarity_backward(NULL, v, 1, v, 1, v, out, NULL, spoilt()), KPD_ERR_ARGUMENT);
    FAILS(kpdt_dataset_open(NULL, &data, spoilt()), KPD_ERR_ARGUMENT);
    FAILS(kpdt_model_start(NULL, NULL, NULL, 1, &m, spoilt()), KPD_ERR_ARGUMENT);
    FAILS(kpdt_trainer_create(NULL, &trainer, spoilt()), KPD_ERR_ARGUMENT);
    FAILS(kpdt_bootstrap(NULL, &interval, spoilt()), KPD_ERR_ARGUMENT);
    FAILS(kpdt_vocabulary_train(NULL, &vocab, &size, spoilt()), KPD_ERR_ARGUMENT);
    CHECK(!t && !m && !x && !data && !trainer && !vocab);
}

SUITE(errors) {
    RUN(errors, tiles_are_asked_for_by_their_level_only);
    RUN(errors, an_index_has_the_level_of_its_desc);
    RUN(errors, any_bytes_make_a_whole_message);
    RUN(errors, quoted_texts_leave_room);
    RUN(errors, success_is_said);
    RUN(errors, descs_of_another_abi_are_refused);
    RUN(errors, training_descs_of_another_abi_are_refused);
    RUN(errors, enums_of_training_have_names);
    RUN(errors, success_of_losses_is_said);
    RUN(errors, success_of_metrics_is_said);
    RUN(errors, success_of_training_is_said);
    RUN(errors, null_is_a_desc_of_zeros);
}
