// Import and export: golden folders (tools/golden.py), round trips, refusals by name, hostile files, failing memory.
#define _POSIX_C_SOURCE 200809L
#include "test.h"
#include "../kpd.h"
#include "../tools/hf.h"
#include "values.h"

#define GOLDEN "tests/golden/"

// ---- files --------------------------------------------------------------------------------------------------------

static const char *const folders[] = {"", "1_Pooling", "2_Dense", "2_Normalize", "3_LayerNorm", "3_Normalize", "4_Normalize"};
static const char *const files[] = {"config.json", "model.safetensors", "model.safetensors.index.json",
                                    "model-00001-of-00002.safetensors",
    "model-00002-of-00002.safetensors", "vocab.txt", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
        "modules.json",
    "sentence_bert_config.json", "config_sentence_transformers.json", "added_tokens.json", "tokenizer.kpd",
    "sentence_roberta_config.json", "sentence_albert_config.json", "sentence_xlnet_config.json", "adapter_config.json",
    "preprocessor_config.json"};
#define N_FOLDERS (sizeof folders / sizeof *folders)
#define N_FILES (sizeof files / sizeof *files)

typedef struct bytes { char *data; size_t size; } bytes;

static bytes read_bytes(const char *path) {
    bytes b = {NULL, 0};
    FILE *f = fopen(path, "rb");
    if (!f) return b;
    b.data = (char *)malloc(1 << 20);
    b.size = fread(b.data, 1, (1 << 20) - 1, f);
    b.data[b.size] = 0;
    fclose(f);
    return b;
}

static void write_bytes(const char *path, const char *data, size_t size) {
    FILE *f;
    remove(path);       // some file systems flush a file that is written over
    f = fopen(path, "wb");
    CHECK_THAT(f && fwrite(data, 1, size, f) == size, "cannot write %s", path);
    if (f) fclose(f);
}

static const char *join(const char *dir, const char *sub, const char *name) {
    static char path[4][512];
    static int next;
    next = (next + 1) % 4;
    snprintf(path[next], sizeof path[next], "%s%s%s/%s", dir, *sub ? "/" : "", sub, name);
    return path[next];
}

static void remove_folder(const char *path) {
#ifdef _WIN32
    _rmdir(path);       // remove() takes files alone there
#else
    remove(path);
#endif
}

static void wipe(const char *dir) {
    for (size_t i = N_FOLDERS; i-- > 0;) {
        for (size_t k = 0; k < N_FILES; k++) remove(join(dir, folders[i], files[k]));
        remove_folder(join(dir, folders[i], ""));
    }
}

// An empty place in build/tmp.
static const char *place(const char *name) {
    static char path[4][256];
    static int next;
    next = (next + 1) % 4;
    hf_make_dir("build");
    hf_make_dir("build/tmp");
    snprintf(path[next], sizeof path[next], "%s", test_tmp(name));
    wipe(path[next]);
    return path[next];
}

// A copy of a golden folder, to be altered.
static const char *copy_of(const char *golden, const char *name) {
    const char *to = place(name);
    char from[256];
    snprintf(from, sizeof from, GOLDEN "%s", golden);
    for (size_t i = 0; i < N_FOLDERS; i++) {
        for (size_t k = 0; k < N_FILES; k++) {
            bytes b = read_bytes(join(from, folders[i], files[k]));
            if (!b.data) continue;
            hf_make_dir(to);
            hf_make_dir(join(to, folders[i], ""));
            write_bytes(join(to, folders[i], files[k]), b.data, b.size);
            free(b.data);
        }
    }
    return to;
}

// Replaces the first `old` in dir/file. The header of a safetensors file may change its length.
static void replace(const char *dir, const char *file, const char *old, const char *new_) {
    bytes b = read_bytes(join(dir, "", file));
    char *at = NULL, *out = (char *)malloc(b.size + strlen(new_) + 1);
    size_t before, header = 0;
    bool tensors = strstr(file, "safetensors") && !strstr(file, "json");
    for (size_t i = 0; b.data && !at && i + strlen(old) <= b.size; i++) {
        if (!memcmp(b.data + i, old, strlen(old))) at = b.data + i;
    }
    if (CHECK_THAT(at != NULL, "%s: no %s", file, old)) {
        before = (size_t)(at - b.data);
        memcpy(out, b.data, before);
        memcpy(out + before, new_, strlen(new_));
        memcpy(out + before + strlen(new_), at + strlen(old), b.size - before - strlen(old));
        for (int i = 1; i >= 0; i--) header = header << 8 | (unsigned char)b.data[i];
        header += strlen(new_) - strlen(old);
        for (int i = 0; tensors && i < 2; i++) out[i] = (char)(header >> (8 * i) & 255);
        write_bytes(join(dir, "", file), out, b.size + strlen(new_) - strlen(old));
    }
    free(b.data);
    free(out);
}

static kpd_model *import_ok(const char *dir) {
    kpd_model *m = NULL;
    kpd_error e = {KPD_OK, 0, ""};
    kpd_status s = hf_import(dir, NULL, &m, &e);
    CHECK_THAT(s == KPD_OK, "%s: %s: %s", dir, kpd_status_name(s), e.message);
    return m;
}

static void check_refused(const char *dir, kpd_status status, const char *says) {
    kpd_model *m = NULL;
    kpd_error e = {KPD_OK, 0, ""};
    kpd_status s = hf_import(dir, NULL, &m, &e);
    CHECK_THAT(s == status && e.status == status && m == NULL, "%s: %s, expected %s (%s)", says, kpd_status_name(s),
               kpd_status_name(status), e.message);
    CHECK_THAT(s == KPD_OK || strstr(e.message, says) != NULL, "message \"%s\", expected \"%s\"", e.message, says);
    kpd_model_destroy(m);
}

// A golden folder with one change is refused, and the message says so.
static void refused(const char *golden, const char *file, const char *old, const char *new_, kpd_status status,
                    const char *says) {
    const char *dir = copy_of(golden, "hf_refused");
    replace(dir, file, old, new_);
    check_refused(dir, status, says);
}

// ---- golden -------------------------------------------------------------------------------------------------------

typedef struct lines { bytes text; kpd_input *in; size_t n; } lines;

static lines read_lines(const char *path) {
    lines l = {read_bytes(path), NULL, 0};
    l.in = (kpd_input *)calloc(256, sizeof *l.in);
    for (char *p = l.text.data; p && *p;) {
        char *end = strchr(p, '\n'), *tab = (char *)memchr(p, '\t', (size_t)(end - p));
        kpd_input *in = &l.in[l.n++];
        in->n_parts = tab ? 2 : 1;
        in->part[0].data = p;
        in->part[0].size = (size_t)((tab ? tab : end) - p);
        if (tab) in->part[1].data = tab + 1;
        if (tab) in->part[1].size = (size_t)(end - tab - 1);
        p = end + 1;
    }
    return l;
}

static void free_lines(lines *l) {
    free(l->text.data);
    free(l->in);
}

// Vectors (bi-encoder) or logits of the golden texts; to be freed.
static float *run(const kpd_model *m, kpd_tower tower, const lines *l) {
    kpd_session_desc d;
    kpd_session *s = NULL;
    bool cross = kpd_model_get_desc(m)->kind == KPD_CROSS_ENCODER;
    float *out = (float *)calloc(l->n * (size_t)kpd_model_dim(m), sizeof *out);
    memset(&d, 0, sizeof d);
    if (cross) d.assistant = m;
    else d.student = m;
    CHECK_OK(kpd_session_create(&d, &s, NULL));
    if (s && cross) CHECK_OK(kpd_score(s, m, l->in, l->n, out, NULL));
    if (s && !cross) CHECK_OK(kpd_embed(s, m, tower, l->in, l->n, 0, out, NULL));
    kpd_session_destroy(s);
    return out;
}

static void check_golden(const kpd_model *m, kpd_tower tower, const char *expected, double tolerance) {
    char path[256];
    bytes want;
    const float *w;
    lines l;
    float *got;
    double worst = 0;
    size_t header;
    if (!m) return;
    snprintf(path, sizeof path, GOLDEN "expected/%s.npy", expected);
    want = read_bytes(path);
    l = read_lines(kpd_model_get_desc(m)->kind == KPD_CROSS_ENCODER ? GOLDEN "pairs.txt" : GOLDEN "texts.txt");
    if (CHECK_THAT(want.data != NULL && l.n > 0, "%s is not there", path)) {
        header = 10 + (size_t)(unsigned char)want.data[8] + 256 * (size_t)(unsigned char)want.data[9];
        w = (const float *)(const void *)(want.data + header);
        CHECK_INT(want.size - header, l.n * (size_t)kpd_model_dim(m) * 4);
        got = run(m, tower, &l);
        for (size_t i = 0; i < (want.size - header) / 4; i++) {
            double d = (double)got[i] - (double)w[i];
            worst = d > worst ? d : -d > worst ? -d : worst;
        }
        CHECK_THAT(worst <= tolerance, "%s: differs by %g", expected, worst);
        free(got);
    }
    free(want.data);
    free_lines(&l);
}

static void golden_mean(void) {
    kpd_model *m = import_ok(GOLDEN "tiny_mean");
    check_golden(m, KPD_ITEM, "tiny_mean", 1e-5);
    check_golden(m, KPD_KEYPHRASE, "tiny_mean", 1e-5);
    kpd_model_destroy(m);
}

static void changed(const char *file, const char *old, const char *new_, const char *expected) {
    const char *dir = copy_of("tiny_mean", "hf_changed");
    kpd_model *m;
    replace(dir, file, old, new_);
    m = import_ok(dir);
    check_golden(m, KPD_ITEM, expected, 1e-5);
    kpd_model_destroy(m);
}

static void golden_pooling(void) {
    static const char *const mode[] = {"cls", "max", "mean_sqrt_len_tokens", "weightedmean", "lasttoken"};
    static const char *const old[] = {"cls_token", "max_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens", "lasttoken"};
    for (size_t i = 0; i < 5; i++) {
        char value[128], name[128];
        snprintf(name, sizeof name, "tiny_mean_%s", mode[i]);
        snprintf(value, sizeof value, "\"%s\"", mode[i]);
        changed("1_Pooling/config.json", "\"mean\"", value, name);
        snprintf(value, sizeof value, "\"pooling_mode_%s\": true", old[i]);
        changed("1_Pooling/config.json", "\"pooling_mode\": \"mean\"", value, name);
    }
    changed("1_Pooling/config.json", "\"mean\"", "[\"max\"]", "tiny_mean_max");
    changed("1_Pooling/config.json", "\"embedding_dimension\"", "\"word_embedding_dimension\"", "tiny_mean");
}

static void golden_activation(void) {
    changed("config.json", "\"gelu\"", "\"gelu_new\"", "tiny_mean_gelu_new");
    changed("config.json", "\"gelu\"", "\"gelu_pytorch_tanh\"", "tiny_mean_gelu_new");
    changed("config.json", "\"gelu\"", "\"relu\"", "tiny_mean_relu");
}

static void golden_dense(void) {
    kpd_model *m = import_ok(GOLDEN "tiny_cls_dense");
    check_golden(m, KPD_ITEM, "tiny_cls_dense", 1e-5);
    check_golden(m, KPD_KEYPHRASE, "tiny_cls_dense_query", 1e-5);     // the "query" prompt
    kpd_model_destroy(m);
}

static void golden_cross(void) {
    kpd_model *m = import_ok(GOLDEN "tiny_cross");
    check_golden(m, KPD_ITEM, "tiny_cross", 1e-4);
    kpd_model_destroy(m);
    m = import_ok(GOLDEN "tiny_cross3");
    check_golden(m, KPD_ITEM, "tiny_cross3", 1e-4);
    kpd_model_destroy(m);
}

// Without modules.json: mean pooling, normalised. Without Normalize: vectors keep their length.
static void golden_without_modules(void) {
    const char *dir = copy_of("tiny_mean", "hf_plain");
    char note[512] = "x";
    hf_import_desc d;
    kpd_model *m;
    replace(dir, "modules.json", ",\n  {\n    \"idx\": 2,\n    \"name\": \"2\",\n    \"path\": \"2_Normalize\",\n    "
            "\"type\": \"sentence_transformers.base.modules.normalize.Normalize\"\n  }", "");
    m = import_ok(dir);
    check_golden(m, KPD_ITEM, "tiny_mean_plain", 1e-5);
    kpd_model_destroy(m);
    m = NULL;
    remove(join(dir, "", "modules.json"));
    memset(&d, 0, sizeof d);
    d.note = note;
    d.note_size = sizeof note;
    CHECK_OK(hf_import(dir, &d, &m, NULL));
    CHECK_THAT(strstr(note, "mean pooling") != NULL, "note \"%s\"", note);
    check_golden(m, KPD_ITEM, "tiny_mean", 1e-5);
    kpd_model_destroy(m);
}

// ---- round trip ---------------------------------------------------------------------------------------------------

static bool same_weights(const kpd_model *a, const kpd_model *b) {
    kpd_tensor t, u;
    bool same = true;
    for (int32_t i = 0; same && kpd_model_tensor(a, i, &t); i++) {
        size_t n = (size_t)t.rows * (size_t)t.cols;
        float *x = (float *)malloc(n * 4), *y = (float *)malloc(n * 4);
        same = kpd_model_tensor(b, i, &u) && !strcmp(t.name, u.name) && t.rows == u.rows && t.cols == u.cols;
        same = same && !kpd_model_get(a, t.name, x, NULL) && !kpd_model_get(b, t.name, y, NULL) && !memcmp(x, y, n * 4);
        CHECK_THAT(same, "%s differs", t.name);
        free(x);
        free(y);
    }
    return same;
}

// The model file holds everything, so equal files are equal models.
static bool same_file(const kpd_model *a, const kpd_model *b) {
    char path[2][256];
    bytes x, y;
    bool same;
    snprintf(path[0], sizeof path[0], "%s", test_tmp("hf_a.kpd"));
    snprintf(path[1], sizeof path[1], "%s", test_tmp("hf_b.kpd"));
    CHECK_OK(kpd_model_save(a, path[0], NULL));
    CHECK_OK(kpd_model_save(b, path[1], NULL));
    x = read_bytes(path[0]);
    y = read_bytes(path[1]);
    same = x.data && y.data && x.size == y.size && !memcmp(x.data, y.data, x.size);
    free(x.data);
    free(y.data);
    return same;
}

static void check_round_trip(const kpd_model *m, const char *expected, kpd_tower tower) {
    const char *dir = place("hf_exported");
    kpd_error e = {KPD_OK, 0, ""};
    kpd_status s = m ? hf_export(m, dir, &e) : KPD_ERR_ARGUMENT;
    kpd_model *back;
    CHECK_THAT(s == KPD_OK, "export: %s", e.message);
    if (s) return;
    back = import_ok(dir);
    if (!back) return;
    CHECK(same_weights(m, back));
    CHECK(same_file(m, back));
    check_golden(back, tower, expected, 1e-4);
    kpd_model_destroy(back);
    remove(join(dir, "", "vocab.txt"));      // tokenizer.json alone says the same
    back = import_ok(dir);
    check_golden(back, tower, expected, 1e-4);
    kpd_model_destroy(back);
}

static void round_trip(void) {
    static const char *const golden[] = {"tiny_mean", "tiny_cls_dense", "tiny_cross", "tiny_cross3"};
    for (size_t i = 0; i < 4; i++) {
        char path[256];
        kpd_model *m;
        snprintf(path, sizeof path, GOLDEN "%s", golden[i]);
        m = import_ok(path);
        check_round_trip(m, golden[i], KPD_ITEM);
        kpd_model_destroy(m);
    }
}

// With a head that guesses words, each of its numbers another. Where a part of it lacks, a folder has none.
static void round_trip_of_a_head(void) {
    kpd_model *plain = import_ok(GOLDEN "tiny_mean"), *m = NULL, *back = NULL;
    kpd_model_desc d = *kpd_model_get_desc(plain);
    kpd_tensor t;
    d.mlm_head = true;
    CHECK_OK(kpd_model_create(&d, &m, NULL));
    if (!m) return;
    for (int32_t i = 0; kpd_model_tensor(m, i, &t); i++) {
        size_t n = (size_t)t.rows * (size_t)t.cols;
        float *w = (float *)malloc(n * sizeof *w);
        if (!strncmp(t.name, "mlm.", 4)) for (size_t k = 0; k < n; k++) w[k] = (float)(i + 1) + (float)k / 4096;
        else CHECK_OK(kpd_model_get(plain, t.name, w, NULL));
        CHECK_OK(kpd_model_set(m, t.name, w, NULL));
        free(w);
    }
    check_round_trip(m, "tiny_mean", KPD_ITEM);
    {
        const char *dir = place("hf_exported");
        CHECK_OK(hf_export(m, dir, NULL));
        replace(dir, "model.safetensors", "cls.predictions.transform.dense.bias", "cls.seq_relationship.bias");
        back = import_ok(dir);
        CHECK(back && !kpd_model_get_desc(back)->mlm_head);
    }
    kpd_model_destroy(plain); kpd_model_destroy(m); kpd_model_destroy(back);
}

static void round_trip_options(void) {
    hf_import_desc d;
    kpd_model *m = NULL;
    kpd_model_desc md;
    memset(&d, 0, sizeof d);
    d.template_item = "item: {title} [SEP] {category}";
    d.template_keyphrase = "item: {keyphrase}";
    d.max_tokens = 20;
    CHECK_OK(hf_import(GOLDEN "tiny_cls_dense", &d, &m, NULL));
    if (!m) return;
    md = *kpd_model_get_desc(m);
    CHECK_INT(md.max_tokens, 20);
    CHECK(!strcmp(md.template_item, d.template_item));
    CHECK(md.layer_norm_eps >= 1e-7f && md.layer_norm_eps <= 1e-7f);
    kpd_model_destroy(m);
    m = NULL;
    d.template_item = NULL;
    d.max_tokens = 0;
    d.template_keyphrase = "find \"it\" \\ now: {keyphrase}";
    CHECK_OK(hf_import(GOLDEN "tiny_cls_dense", &d, &m, NULL));
    if (!m) return;
    CHECK_INT(kpd_model_get_desc(m)->max_tokens, 50);
    {
        const char *dir = place("hf_options");
        kpd_model *back;
        CHECK_OK(hf_export(m, dir, NULL));
        CHECK_STATUS(hf_export(m, dir, NULL), KPD_ERR_ARGUMENT);       // not empty
        back = import_ok(dir);
        if (back) CHECK(!strcmp(kpd_model_get_desc(back)->template_keyphrase, d.template_keyphrase));
        kpd_model_destroy(back);
    }
    CHECK_STATUS(hf_export(m, "build/tmp/no/such/folder", NULL), KPD_ERR_IO);
    kpd_model_destroy(m);
}

// ---- refusals -----------------------------------------------------------------------------------------------------

static void refuse_config(void) {
    const kpd_status no = KPD_ERR_UNSUPPORTED, bad = KPD_ERR_FORMAT;
    refused("tiny_mean", "config.json", "\"bert\"", "\"roberta\"", no, "model_type");
    refused("tiny_mean", "config.json", "\"gelu\"", "\"silu\"", no, "hidden_act");
    refused("tiny_mean", "config.json", "\"BertModel\"", "\"BertLMHeadModel\"", no, "architectures");
    refused("tiny_mean", "config.json", "\"is_decoder\": false", "\"is_decoder\": true", no, "is_decoder");
    refused("tiny_mean", "config.json", "\"add_cross_attention\": false", "\"add_cross_attention\": true", no,
            "add_cross_attention");
    refused("tiny_mean", "config.json", "{", "{\"position_embedding_type\": \"relative_key\",", no, "position_embedding_type");
    refused("tiny_mean", "config.json", "{", "{\"embedding_size\": 16,", no, "embedding_size");
    refused("tiny_mean", "config.json", "{", "{\"pruned_heads\": {\"0\": [1]},", no, "pruned_heads");
    refused("tiny_mean", "config.json", "{", "{\"quantization_config\": {\"bits\": 4},", no, "quantization_config");
    refused("tiny_mean", "config.json", "\"hidden_size\": 32", "\"hidden_size\": 33", bad, "multiple");
    refused("tiny_mean", "config.json", "\"hidden_size\": 32", "\"hidden_size\": 3.5", bad, "hidden_size");
    refused("tiny_mean", "config.json", "\"hidden_size\": 32", "\"hidden_size\": 9999999999999999999999", bad, "hidden_size");
    refused("tiny_mean", "config.json", "\"hidden_size\": 32,", "", bad, "hidden_size is missing");
    refused("tiny_mean", "config.json", "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3", bad, "encoder.layer.2");
    refused("tiny_mean", "config.json", "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 1", no, "encoder.layer.1");
    refused("tiny_mean", "config.json", "\"intermediate_size\": 64", "\"intermediate_size\": 65", bad,
            "[64, 32], expected [65, 32]");
    refused("tiny_mean", "config.json", "\"max_position_embeddings\": 64", "\"max_position_embeddings\": 63", bad,
            "position_embeddings");
    refused("tiny_mean", "config.json", "\"layer_norm_eps\": 1e-12", "\"layer_norm_eps\": 0", no, "layer_norm_eps");
    refused("tiny_mean", "config.json", "\"vocab_size\": 131", "\"vocab_size\": 1", bad,
            "vocab_size 1, but the vocabulary has");
}

static void refuse_modules(void) {
    const kpd_status no = KPD_ERR_UNSUPPORTED, bad = KPD_ERR_FORMAT;
    refused("tiny_cls_dense", "modules.json", "models.Pooling", "models.WordWeights", no, "WordWeights");
    refused("tiny_cls_dense", "modules.json", "sentence_transformers.models.Dense", "my.own.Dense", no, "my.own.Dense");
    refused("tiny_cls_dense", "modules.json", "models.Dense", "models.Normalize", no, "order");
    refused("tiny_cls_dense", "modules.json", "models.Transformer", "models.Pooling", no, "order");
    refused("tiny_cls_dense", "modules.json", "models.Pooling", "models.Dropout", no, "order");
    refused("tiny_cls_dense", "modules.json", "\"2_Dense\"", "\"../2_Dense\"", bad, "path");
    refused("tiny_cls_dense", "modules.json", "\"idx\": 2", "\"idx\": 2, \"kwargs\": [\"task\"]", no, "kwargs");
    refused("tiny_cls_dense", "1_Pooling/config.json", "\"pooling_mode_max_tokens\": false",
            "\"pooling_mode_max_tokens\": true", no, "2 pooling modes");
    refused("tiny_mean", "1_Pooling/config.json", "\"mean\"", "[\"mean\", \"max\"]", no, "pooling_mode");
    refused("tiny_mean", "1_Pooling/config.json", "\"mean\"", "\"attention\"", no, "attention");
    refused("tiny_mean", "1_Pooling/config.json", "\"include_prompt\": true", "\"include_prompt\": false", no,
            "include_prompt");
    refused("tiny_mean", "1_Pooling/config.json", "{", "{\"trick\": 1,", no, "trick");
    refused("tiny_mean", "1_Pooling/config.json", "32", "31", bad, "expected 32");
    refused("tiny_cls_dense", "2_Dense/config.json", "activation.Tanh", "activation.SiLU", no, "SiLU");
    refused("tiny_cls_dense", "2_Dense/config.json", "{", "{\"use_residual\": true,", no, "use_residual");
    refused("tiny_cls_dense", "2_Dense/config.json", "{", "{\"module_input_name\": \"token_embeddings\",", no,
            "token_embeddings");
    refused("tiny_cls_dense", "2_Dense/config.json", "\"bias\": true", "\"bias\": false", no, "linear.bias");
    refused("tiny_cls_dense", "2_Dense/config.json", "\"out_features\": 24", "\"out_features\": 25", bad, "3_LayerNorm");
    refused("tiny_mean", "2_Normalize/config.json", "\"module_input_name\": \"sentence_embedding\"",
            "\"module_input_name\": \"token_embeddings\"", no, "token_embeddings");
    refused("tiny_mean", "sentence_bert_config.json", "{", "{\"query_length\": 8,", no, "query_length");
    refused("tiny_mean", "sentence_bert_config.json", "feature-extraction", "fill-mask", no, "fill-mask");
    refused("tiny_mean", "sentence_bert_config.json", "last_hidden_state", "pooler_output", no, "pooler_output");
    refused("tiny_mean", "config_sentence_transformers.json", "\"query\": \"\"", "\"query\": \"query:\"", no, "white space");
    refused("tiny_mean", "config_sentence_transformers.json", "\"query\": \"\"", "\"query\": \"a|b \"", no, "query prompt");
    refused("tiny_mean", "config_sentence_transformers.json", "SentenceTransformer", "SparseEncoder", no, "SparseEncoder");
}

static void refuse_tokenizer(void) {
    const kpd_status no = KPD_ERR_UNSUPPORTED, bad = KPD_ERR_FORMAT;
    refused("tiny_mean", "tokenizer_config.json", "\"BertTokenizer\"", "\"RobertaTokenizer\"", no, "RobertaTokenizer");
    refused("tiny_mean", "tokenizer_config.json", "\"do_lower_case\": true", "\"do_lower_case\": false", no, "lowercase");
    refused("tiny_mean", "tokenizer_config.json", "\"strip_accents\": null", "\"strip_accents\": false", no, "strip_accents");
    refused("tiny_mean", "tokenizer_config.json", "\"tokenize_chinese_chars\": true", "\"tokenize_chinese_chars\": false", no,
            "handle_chinese_chars");
    refused("tiny_mean", "tokenizer_config.json", "{", "{\"do_basic_tokenize\": false,", no, "do_basic_tokenize");
    refused("tiny_mean", "tokenizer_config.json", "{", "{\"never_split\": [\"usb\"],", no, "never_split");
    refused("tiny_mean", "tokenizer_config.json", "{", "{\"truncation_side\": \"left\",", no, "truncation_side");
    refused("tiny_mean", "tokenizer_config.json", "{", "{\"additional_special_tokens\": [\"[ITEM]\"],", no, "[ITEM]");
    refused("tiny_mean", "tokenizer_config.json", "\"[UNK]\"", "\"<unk>\"", no, "unk");
    refused("tiny_mean", "tokenizer.json", "\"WordPiece\",\n    \"unk", "\"BPE\",\n    \"unk", no, "BPE");
    refused("tiny_mean", "tokenizer.json", "\"continuing_subword_prefix\": \"##\"", "\"continuing_subword_prefix\": \"@@\"",
            no, "continuing_subword_prefix");
    refused("tiny_mean", "tokenizer.json", "\"max_input_chars_per_word\": 100", "\"max_input_chars_per_word\": 50", no,
            "max_input_chars_per_word");
    refused("tiny_mean", "tokenizer.json", "\"clean_text\": true", "\"clean_text\": false", no, "clean_text");
    refused("tiny_mean", "tokenizer.json", "\"BertNormalizer\"", "\"Lowercase\"", no, "normalizer");
    refused("tiny_mean", "tokenizer.json", "\"BertPreTokenizer\"", "\"Whitespace\"", no, "Whitespace");
    refused("tiny_mean", "tokenizer.json", "\"type_id\": 1", "\"type_id\": 0", no, "post_processor");
    refused("tiny_mean", "tokenizer.json", "\"content\": \"[MASK]\"", "\"content\": \"[ITEM]\"", no, "[ITEM]");
    refused("tiny_mean", "tokenizer.json", "\"lstrip\": false", "\"lstrip\": true", no, "lstrip");
    refused("tiny_mean", "tokenizer.json", "\"red\": 5", "\"red\": 6", bad, "another token");
    refused("tiny_mean", "tokenizer.json", "\"red\": 5", "\"red\": 5000", bad, "0, 1, 2");
    refused("tiny_cross", "tokenizer.json", "\"red\": 5", "\"red\": 6", bad, "vocab.txt says 5");
    refused("tiny_cross", "vocab.txt", "red\n", "green\n", bad, "red");
    refused("tiny_cls_dense", "vocab.txt", "[SEP]\n", "<sep>\n", KPD_ERR_NOT_FOUND, "[SEP]");
    refused("tiny_cls_dense", "special_tokens_map.json", "[CLS]", "[BOS]", bad, "cls_token");
}

static void refuse_weights(void) {
    const kpd_status no = KPD_ERR_UNSUPPORTED, bad = KPD_ERR_FORMAT;
    refused("tiny_mean", "model.safetensors", "embeddings.LayerNorm.bias", "embeddings.LayerNorm.bIas", bad,
            "embeddings.LayerNorm.bias is missing");
    refused("tiny_mean", "model.safetensors", "\"F32\"", "\"F64\"", bad, "shape");
    refused("tiny_mean", "model.safetensors", "\"F32\"", "\"I32\"", no, "I32");
    refused("tiny_mean", "model.safetensors", "\"F32\"", "\"X32\"", no, "X32");
    refused("tiny_mean", "model.safetensors", "[32,32]", "[16,64]", bad, "shape [16, 64], expected [32, 32]");
    refused("tiny_mean", "model.safetensors", "\"shape\"", "\"strides\":1,\"shape\"", no, "strides");
    refused("tiny_cls_dense", "model.safetensors.index.json", "model-00002", "model-00003", KPD_ERR_IO, "model-00003");
    refused("tiny_cls_dense", "model.safetensors.index.json", "model-00002", "../model-00002", bad, "weight_map");
    refused("tiny_cls_dense", "model.safetensors.index.json", "\"pooler.dense.bias\"", "\"pooler.dense.bIas\"", bad,
            "pooler.dense.bias");
    refused("tiny_cross", "model.safetensors", "\"classifier.bias\"", "\"classifier.bIas\"", bad, "classifier.bias is missing");
    refused("tiny_cross", "config.json", "\"0\": \"LABEL_0\"", "\"0\": \"no\", \"1\": \"yes\"", bad,
            "classifier.weight: shape [1, 32], expected [2, 32]");
}

static void refuse_not_finite(void) {
    const char *dir = copy_of("tiny_mean", "hf_nan");
    bytes b = read_bytes(join(dir, "", "model.safetensors"));
    if (CHECK(b.size > 5000)) {
        size_t header = (size_t)(unsigned char)b.data[0] + 256 * (size_t)(unsigned char)b.data[1];
        memcpy(b.data + 8 + header, "\0\0\xC0\x7F", 4);
        write_bytes(join(dir, "", "model.safetensors"), b.data, b.size);
        check_refused(dir, KPD_ERR_FORMAT, "not finite");
    }
    free(b.data);
}

static void refuse_missing(void) {
    static const char *const needed[] = {"config.json", "model.safetensors", "tokenizer.json", "1_Pooling/config.json"};
    for (size_t i = 0; i < 4; i++) {
        const char *dir = copy_of("tiny_mean", "hf_missing");
        remove(join(dir, "", needed[i]));
        check_refused(dir, KPD_ERR_IO, needed[i][0] == 't' ? "vocab.txt" : needed[i]);
    }
    check_refused("build/tmp/there/is/no/such", KPD_ERR_IO, "build/tmp/there/is/no/such: no such folder");
    CHECK_STATUS(hf_import(NULL, NULL, NULL, NULL), KPD_ERR_ARGUMENT);
}

// ---- every key ----------------------------------------------------------------------------------------------------

// A key that nobody knows is refused by name wherever an object is read, whatever its value.
static void refuse_unknown_keys(void) {
    static const struct { const char *golden, *file, *at; } place_[] = {
        {"tiny_mean", "config.json", "{"}, {"tiny_mean", "modules.json", "{"}, {"tiny_mean", "1_Pooling/config.json", "{"},
        {"tiny_mean", "2_Normalize/config.json", "{"}, {"tiny_mean", "sentence_bert_config.json", "{"},
        {"tiny_mean", "sentence_bert_config.json", "\"text\": {"}, {"tiny_mean", "config_sentence_transformers.json", "{"},
        {"tiny_mean", "tokenizer_config.json", "{"}, {"tiny_mean", "tokenizer.json", "{"},
        {"tiny_mean", "tokenizer.json", "\"added_tokens\": [\n    {"}, {"tiny_mean", "tokenizer.json", "\"normalizer\": {"},
        {"tiny_mean", "tokenizer.json", "\"pre_tokenizer\": {"}, {"tiny_mean", "tokenizer.json", "\"post_processor\": {"},
        {"tiny_mean", "tokenizer.json", "\"model\": {"}, {"tiny_cls_dense", "2_Dense/config.json", "{"},
        {"tiny_cls_dense", "3_LayerNorm/config.json", "{"}, {"tiny_cls_dense", "special_tokens_map.json", "{"},
        {"tiny_cls_dense", "model.safetensors.index.json", "{"}, {"tiny_cross", "config.json", "{"},
        {"tiny_cross", "tokenizer_config.json", "{"}};
    static const char *const value[] = {"true", "0", "\"x\"", "[]", "{}"};
    for (size_t i = 0; i < sizeof place_ / sizeof *place_; i++) {
        char new_[128];
        snprintf(new_, sizeof new_, "%s\"nonsense\": %s,", place_[i].at, value[i % 5]);
        refused(place_[i].golden, place_[i].file, place_[i].at, new_, KPD_ERR_UNSUPPORTED, "nonsense: found ");
    }
}

// Keys that the reference reads, which kpd once passed over.
static void refuse_known_keys(void) {
    static const struct { const char *golden, *file, *old, *new_, *says; } c[] = {
        {"tiny_mean", "tokenizer_config.json", "{", "{\"split_special_tokens\": true,", "split_special_tokens: found true"},
        {"tiny_mean", "tokenizer_config.json", "{", "{\"bos_token\": \"red\",", "red"},
        {"tiny_mean", "tokenizer_config.json", "{", "{\"eos_token\": {\"content\": \"red\"},", "red"},
        {"tiny_mean", "tokenizer_config.json", "{", "{\"image_token\": \"red\",", "red"},
        {"tiny_mean", "tokenizer_config.json", "{", "{\"extra_special_tokens\": {\"item\": \"red\"},", "red"},
        {"tiny_mean", "tokenizer_config.json", "{", "{\"model_specific_special_tokens\": {\"item\": \"red\"},", "red"},
        {"tiny_mean", "tokenizer_config.json", "\"mask_token\": \"[MASK]\"",
         "\"mask_token\": {\"__type\": \"AddedToken\", \"content\": \"[MASK]\", \"normalized\": true}",
         "normalized: found true"},
        {"tiny_mean", "tokenizer_config.json", "\"sep_token\": \"[SEP]\"",
         "\"sep_token\": {\"content\": \"[SEP]\", \"single_word\": true}", "single_word: found true"},
        {"tiny_mean", "tokenizer_config.json", "{", "{\"word_tokenizer_type\": \"mecab\",", "mecab"},
        {"tiny_mean", "tokenizer_config.json", "{", "{\"init_inputs\": [{\"a\": 1}],", "init_inputs"},
        {"tiny_mean", "tokenizer_config.json", "{", "{\"processor_class\": \"ClapProcessor\",", "processor_class"},
        {"tiny_mean", "tokenizer_config.json", "{", "{\"fast_tokenizer_files\": [\"tokenizer.4.0.json\"],",
         "fast_tokenizer_files"},
        {"tiny_mean", "config.json", "{", "{\"subword_tokenizer_type\": \"character\",", "character"},
        {"tiny_mean", "config.json", "{", "{\"transformers_weights\": \"other.safetensors\",", "transformers_weights"},
        {"tiny_mean", "tokenizer.json", "\"truncation\": null", "\"truncation\": {\"direction\": \"Left\", \"max_length\": 9,"
         " \"strategy\": \"LongestFirst\", \"stride\": 0}", "direction: found \"Left\""},
        {"tiny_mean", "tokenizer.json", "\"padding\": null", "\"padding\": {\"pad_token\": \"red\"}", "red"},
        {"tiny_mean", "tokenizer.json", "\"ids\": [\n          2", "\"ids\": [\n          4", "[CLS] is not there with its id"},
        {"tiny_cls_dense", "special_tokens_map.json", "{", "{\"bos_token\": \"red\",", "red"},
        {"tiny_cls_dense", "special_tokens_map.json", "{", "{\"extra_special_tokens\": [{\"content\": \"red\"}],", "red"},
        {"tiny_cls_dense", "special_tokens_map.json", "\"[MASK]\"", "{\"content\": \"[MASK]\", \"normalized\": true}",
         "normalized: found true"},
        {"tiny_cls_dense", "special_tokens_map.json", "\"[MASK]\"", "{\"content\": \"[MASK]\", \"lstrip\": true}",
         "lstrip: found true"},
        {"tiny_cls_dense", "2_Dense/config.json", "\"bias\": true", "\"bias\": null", "bias: found null"},
        {"tiny_cls_dense", "2_Dense/config.json", "\"torch.nn.modules.activation.Tanh\"", "null",
         "activation_function: found null"},
        {"tiny_mean", "2_Normalize/config.json", "\"module_input_name\": \"sentence_embedding\"",
         "\"module_input_name\": null", "module_input_name: found null"},
        {"tiny_mean", "1_Pooling/config.json", "\"include_prompt\": true", "\"include_prompt\": null", "include_prompt: found"},
        {"tiny_mean", "modules.json", "\"name\": \"2\"", "\"name\": \"1\"", "name: found \"1\""},
        {"tiny_mean", "sentence_bert_config.json", "{", "{\"processing_kwargs\": {\"text\": {\"max_length\": 5}},",
         "processing_kwargs"},
        {"tiny_cross", "tokenizer_config.json", "{", "{\"model_input_names\": [\"input_ids\", \"attention_mask\"],",
         "model_input_names"}};
    for (size_t i = 0; i < sizeof c / sizeof *c; i++)
        refused(c[i].golden, c[i].file, c[i].old, c[i].new_, KPD_ERR_UNSUPPORTED, c[i].says);
    refused("tiny_mean", "config_sentence_transformers.json", "\"default_prompt_name\": null",
            "\"default_prompt_name\": \"passage\"", KPD_ERR_FORMAT, "default_prompt_name: found \"passage\"");
}

// config.json's class counts where tokenizer_config.json is silent; a class of its own goes before.
static void tokenizer_class_of_config(void) {
    static const char silent[] = "\"tokenizer_class\": \"BertTokenizer\",";
    const char *dir = copy_of("tiny_mean", "hf_class");
    kpd_model_destroy(import_ok(dir));
    replace(dir, "config.json", "{", "{\"tokenizer_class\": \"BertJapaneseTokenizer\",");
    kpd_model_destroy(import_ok(dir));
    replace(dir, "tokenizer_config.json", silent, "");
    check_refused(dir, KPD_ERR_UNSUPPORTED, "config.json: tokenizer_class: found \"BertJapaneseTokenizer\"");
    replace(dir, "config.json", "BertJapaneseTokenizer", "BertTokenizerFast");
    kpd_model_destroy(import_ok(dir));
}

// What the tokens of a text are cut to.
static void check_limit(const char *dir, int32_t expected) {
    kpd_model *m = import_ok(dir);
    if (m) CHECK_INT(kpd_model_get_desc(m)->max_tokens, expected);
    kpd_model_destroy(m);
}

// max_len is the old name of model_max_length, of which a null counts too.
static void old_length(void) {
    const char *dir = copy_of("tiny_cross", "hf_length");
    replace(dir, "tokenizer_config.json", "\"model_max_length\": 64", "\"max_len\": 16");
    check_limit(dir, 16);
    replace(dir, "tokenizer_config.json", "\"max_len\": 16", "\"max_len\": 16, \"model_max_length\": 32");
    check_limit(dir, 32);
    replace(dir, "tokenizer_config.json", "\"model_max_length\": 32", "\"model_max_length\": null");
    check_limit(dir, 64);
    refused("tiny_cross", "tokenizer_config.json", "\"model_max_length\": 64", "\"max_len\": \"16\"", KPD_ERR_FORMAT,
            "max_len");
}

static void put(const char *dir, const char *file, const char *text) { write_bytes(join(dir, "", file), text, strlen(text)); }

// The first of the names that is there and not {} counts, whatever the model; without modules.json none does.
static void sentence_config_names(void) {
    const char *dir = copy_of("tiny_mean", "hf_names");
    kpd_model *m;
    put(dir, "sentence_xlnet_config.json", "{\"max_seq_length\": 9}");
    check_limit(dir, 64);
    put(dir, "sentence_bert_config.json", "{}");
    check_limit(dir, 9);
    put(dir, "sentence_albert_config.json", "{\"max_seq_length\": 11}");
    check_limit(dir, 11);
    put(dir, "sentence_roberta_config.json", "{\"max_seq_length\": 13, \"nonsense\": 1}");
    check_refused(dir, KPD_ERR_UNSUPPORTED, "sentence_roberta_config.json:");
    put(dir, "sentence_roberta_config.json", "{\"max_seq_length\": 13}");
    remove(join(dir, "", "sentence_bert_config.json"));
    check_limit(dir, 13);
    remove(join(dir, "", "modules.json"));
    check_limit(dir, 64);
    dir = copy_of("tiny_cls_dense", "hf_names");    // a cased tokenizer
    put(dir, "sentence_bert_config.json", "{}");
    put(dir, "sentence_roberta_config.json", "{\"do_lower_case\": true}");
    m = import_ok(dir);
    if (m) CHECK(!kpd_tokenizer_get_desc(kpd_model_tokenizer(m))->cased);
    kpd_model_destroy(m);
}

static void check_templates(const char *prompts, const char *item, const char *keyphrase, const char *says) {
    const char *dir = copy_of("tiny_cls_dense", "hf_prompts");
    char note[1024] = "";
    hf_import_desc d;
    kpd_model *m = NULL;
    kpd_error e = {KPD_OK, 0, ""};
    memset(&d, 0, sizeof d);
    d.note = note;
    d.note_size = sizeof note;
    put(dir, "config_sentence_transformers.json", prompts);
    CHECK_THAT(!hf_import(dir, &d, &m, &e), "%s: %s", prompts, e.message);
    if (!m) return;
    CHECK_THAT(!strcmp(kpd_model_get_desc(m)->template_item, item), "%s: %s", prompts, kpd_model_get_desc(m)->template_item);
    CHECK(!strcmp(kpd_model_get_desc(m)->template_keyphrase, keyphrase));
    CHECK_THAT(strstr(note, says) != NULL, "note \"%s\", expected \"%s\"", note, says);
    kpd_model_destroy(m);
}

// As encode_query and encode_document: "query" and "document" always exist, empty where the file lacks them.
static void prompts_of_reference(void) {
    check_templates("{\"prompts\": {\"query\": \"q: \", \"passage\": \"p: \"}}", "{title} {sep} {category}", "q: {keyphrase}",
                    "prompt passage is left out");
    check_templates("{\"prompts\": {\"all\": \"a: \"}, \"default_prompt_name\": \"all\"}", "{title} {sep} {category}",
                    "{keyphrase}", "prompt all is left out");
    check_templates("{\"prompts\": {\"document\": \"d: \", \"corpus\": \"c: \"}, \"default_prompt_name\": \"query\"}",
                    "d: {title} {sep} {category}", "{keyphrase}", "prompt corpus is left out");
    check_templates("{\"prompts\": {\"query\": null, \"document\": \"d: \"}}", "d: {title} {sep} {category}", "{keyphrase}",
                    "");
}

// The vectors are the first columns of unit vectors, also after a round trip; an explicit number normalises them again.
static void truncated_vectors(void) {
    const char *dir = copy_of("tiny_mean", "hf_truncated"), *out = place("hf_truncated_out");
    lines l = read_lines(GOLDEN "texts.txt");
    kpd_model *whole = import_ok(dir), *m, *back;
    kpd_model_desc d;
    float *w = NULL, *c;
    replace(dir, "config_sentence_transformers.json", "\"cosine\"", "\"dot\", \"truncate_dim\": 8");
    m = import_ok(dir);
    if (m && whole) {
        d = *kpd_model_get_desc(m);
        CHECK(d.truncate_dim == 8 && d.similarity == KPD_DOT && kpd_model_dim(m) == 8);
        w = run(whole, KPD_ITEM, &l);
        c = run(m, KPD_ITEM, &l);
        for (size_t i = 0; i < l.n; i++) CHECK_THAT(!memcmp(w + 32 * i, c + 8 * i, 32), "text %d differs", (int)i);
        free(c);
        CHECK_OK(hf_export(m, out, NULL));
        back = import_ok(out);
        if (back && CHECK(same_file(m, back))) {
            kpd_model *opened = NULL;
            CHECK_OK(kpd_model_open(test_tmp("hf_a.kpd"), NULL, &opened, NULL));
            if (opened) CHECK(kpd_model_dim(opened) == 8 && kpd_model_get_desc(opened)->similarity == KPD_DOT);
            kpd_model_destroy(opened);
        }
        kpd_model_destroy(back);
    }
    free(w);
    free_lines(&l);
    kpd_model_destroy(whole);
    kpd_model_destroy(m);
    replace(dir, "config_sentence_transformers.json", "\"truncate_dim\": 8", "\"truncate_dim\": 99");
    m = import_ok(dir);
    if (m) CHECK_INT(kpd_model_dim(m), 32);
    kpd_model_destroy(m);
    refused("tiny_mean", "config_sentence_transformers.json", "\"cosine\"", "\"cosine\", \"truncate_dim\": 0", KPD_ERR_FORMAT,
            "truncate_dim: found 0");
    refused("tiny_mean", "config_sentence_transformers.json", "\"cosine\"", "\"manhattan\"", KPD_ERR_UNSUPPORTED,
            "similarity_fn_name: found \"manhattan\"");
}

// White space at the ends of vocab.txt's lines is none of the tokens', and tokenizer.json may have it or not.
static void white_space_in_vocabularies(void) {
    const char *dir = copy_of("tiny_cross", "hf_space");
    kpd_model *m;
    replace(dir, "vocab.txt", "red\n", "red \xE3\x80\x80\t\r\r\n");
    m = import_ok(dir);
    check_golden(m, KPD_ITEM, "tiny_cross", 1e-4);
    kpd_model_destroy(m);
    replace(dir, "tokenizer.json", "\"red\": 5", "\"red \": 5");
    m = import_ok(dir);
    if (m) CHECK_INT(kpd_token_id(kpd_model_tokenizer(m), hf_text("red")), 5);
    kpd_model_destroy(m);
    remove(join(dir, "", "vocab.txt"));         // that token is never found, and hides no other
    m = import_ok(dir);
    if (m) CHECK_INT(kpd_token_id(kpd_model_tokenizer(m), hf_text("red")), -1);
    if (m) CHECK_INT(token_of(kpd_model_tokenizer(m), 5).size, 0);
    kpd_model_destroy(m);
}

// Prompts that config.json's kpd templates begin with may say special tokens by their roles.
static void prompts_with_roles(void) {
    const char *dir = place("hf_roles");
    hf_import_desc d;
    kpd_model *m = NULL, *back;
    memset(&d, 0, sizeof d);
    d.template_item = "item {sep} {title} {sep} {category}";
    d.template_keyphrase = "{keyphrase} {sep}";
    CHECK_OK(hf_import(GOLDEN "tiny_mean", &d, &m, NULL));
    if (!m) return;
    CHECK_OK(hf_export(m, dir, NULL));
    {
        bytes b = read_bytes(join(dir, "", "config_sentence_transformers.json"));
        CHECK_THAT(b.data && strstr(b.data, "\"document\": \"item [SEP] \""), "%s", b.data ? b.data : "none");
        free(b.data);
    }
    back = import_ok(dir);
    if (back) CHECK(same_file(m, back));
    kpd_model_destroy(back);
    kpd_model_destroy(m);
}

// What downloads leave in place of a file, and what is no folder of a model at all.
static void refuse_mistaken(void) {
    static const char *const names[] = {"model.safetensors", "config.json", "modules.json", "tokenizer.json",
                                        "tokenizer_config.json", "1_Pooling/config.json"};
    static const struct { const char *text, *says; } c[] = {
        {"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 133466304\n", ": is a Git LFS pointer"},
        {"\n<!DOCTYPE html>\n<html lang=\"en\">404</html>", ": is an HTML page"},
        {"<HTML>502 Bad Gateway", ": is an HTML page"},
        {"GGUF\3", ": is a GGUF file"}, {"PK\3\4archive/data.pkl", ": is a zip archive"},
        {"\x80\2ccollections", ": is a pickle"},
        {"\x1F\x8B\b", "gzip"}, {"\xFF\xFE{", ": is UTF-16 text"}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        for (size_t k = 0; k < sizeof c / sizeof *c; k++) {
            const char *dir = copy_of("tiny_mean", "hf_mistaken");
            put(dir, names[i], c[k].text);
            check_refused(dir, KPD_ERR_FORMAT, c[k].says);
        }
    }
    {
        const char *dir = copy_of("tiny_cross", "hf_mistaken");
        put(dir, "tokenizer_config.json", "\xEF\xBB\xBF{}");
        check_refused(dir, KPD_ERR_FORMAT, "tokenizer_config.json:0: a byte order mark");
        dir = copy_of("tiny_cross", "hf_mistaken");
        put(dir, "vocab.txt", c[0].text);
        check_refused(dir, KPD_ERR_FORMAT, "vocab.txt: is a Git LFS pointer");
        put(dir, "model.safetensors", "some text that is long enough");
        check_refused(dir, KPD_ERR_FORMAT, "vocab.txt: is a Git");
        dir = copy_of("tiny_mean", "hf_mistaken");
        put(dir, "model.safetensors", "some text that is long enough");
        check_refused(dir, KPD_ERR_FORMAT, "is no safetensors file");
        put(dir, "adapter_config.json", "{}");
        check_refused(dir, KPD_ERR_UNSUPPORTED, "adapter_config.json: an adapter");
        remove(join(dir, "", "config.json"));
        check_refused(dir, KPD_ERR_UNSUPPORTED, "adapter_config.json: an adapter");
        remove(join(dir, "", "adapter_config.json"));
        check_refused(dir, KPD_ERR_IO, "config.json: is not there");
        check_refused(join(dir, "", "vocab.txt"), KPD_ERR_IO, "no such folder");
        check_refused(join(dir, "", "tokenizer.json"), KPD_ERR_IO, "tokenizer.json: is a file, expected the folder");
    }
    check_refused("some-org/some-model", KPD_ERR_IO, "hub are not fetched");
    check_refused("./some-model", KPD_ERR_IO, "./some-model: no such folder");
}

static void refuse_two_poolings(void) {
    const char *dir = copy_of("tiny_mean", "hf_two");
    replace(dir, "modules.json", "normalize.Normalize", "pooling.Pooling");
    check_refused(dir, KPD_ERR_UNSUPPORTED, "a second Pooling module");
}

// Flags that are off, names that change nothing and nulls are no reason to refuse.
static void accept_harmless_keys(void) {
    const char *dir = copy_of("tiny_cls_dense", "hf_harmless");
    static const char flags[] = "{\"content\": \"[MASK]\", \"lstrip\": false, \"normalized\": false, \"rstrip\": false, "
                                "\"single_word\": false}";
    replace(dir, "special_tokens_map.json", "\"[MASK]\"", flags);
    replace(dir, "special_tokens_map.json", "{", "{\"bos_token\": \"[CLS]\", \"eos_token\": null, "
            "\"additional_special_tokens\": [\"[PAD]\"],");
    replace(dir, "tokenizer_config.json", "{", "{\"max_length\": 128, \"stride\": 0, "
            "\"truncation_strategy\": \"longest_first\", \"pad_to_multiple_of\": null, \"padding_side\": \"right\", "
            "\"tokenizer_file\": \"/x\", \"nonsense\": null,"
            " \"split_special_tokens\": false, \"model_input_names\": [\"input_ids\", \"attention_mask\"],");
    replace(dir, "config.json", "{", "{\"directionality\": \"bidi\", \"pooler_fc_size\": 768, \"num_beams\": 1, "
            "\"torch_dtype\": \"float16\", \"gradient_checkpointing\": false, \"sep_token_id\": 3, \"nonsense\": null,");
    kpd_model_destroy(import_ok(dir));
}

static void notes(void) {
    char note[256];
    hf_import_desc d;
    kpd_model *m = NULL;
    memset(&d, 0, sizeof d);
    d.note = note;
    d.note_size = sizeof note;
    CHECK_OK(hf_import(GOLDEN "tiny_cls_dense", &d, &m, NULL));
    CHECK_THAT(strstr(note, "pooler is left out") != NULL, "note \"%s\"", note);
    kpd_model_destroy(m);
}

// ---- hostile files ------------------------------------------------------------------------------------------------

static kpd_status parse(const char *text, size_t size, hf_json *j, kpd_error *e) {
    kpd_allocator a;
    char *copy = (char *)malloc(size + 1);
    memset(&a, 0, sizeof a);
    memcpy(copy, text, size);
    copy[size] = 0;
    return hf_json_take(j, "x.json", copy, size, 0, a, e);
}

static void json_good(void) {
    static const char text[] = " {\"a\\u00e9\\ud83d\\ude00\": [1, -2.5e3, true, null, {}, []], \"n\": 1e-12, "
                               "\"big\": 123456789012345678,\n\"q\": \"\\\"\\\\\\/\\n\"} ";
    hf_json j;
    int32_t n;
    CHECK_OK(parse(text, sizeof text - 1, &j, NULL));
    n = hf_get(&j, 0, "a\xC3\xA9\xF0\x9F\x98\x80");
    CHECK(n > 0);
    if (n > 0) CHECK_INT(j.node[n].count, 6);
    n = hf_get(&j, 0, "n");
    CHECK(n > 0 && j.node[n].number >= 1e-12 && j.node[n].number <= 1e-12);
    n = hf_get(&j, 0, "big");
    CHECK(n > 0 && j.node[n].exact && j.node[n].integer == 123456789012345678);
    n = hf_get(&j, 0, "q");
    CHECK(n > 0 && hf_is(j.node[n].string, "\"\\/\n"));
    hf_json_free(&j);
}

static void json_bad(void) {
    static const char *const bad[] = {"", " ", "1", "{", "[", "}", "{]", "[}", "{\"a\"}", "{\"a\":}", "{\"a\":1,}", "[1,]",
                                      "[,]", "[1 2]", "{a:1}",
        "{\"a\":1 \"b\":2}", "{\"a\":1,\"a\":2}", "[01]", "[1.]", "[.5]", "[+1]", "[1e]", "[--1]", "[-]", "[NaN]",
            "[Infinity]", "[tru]", "[nul]",
        "[\"\\x\"]", "[\"\\u12\"]", "[\"\\ud800\"]", "[\"\\udc00\"]", "[\"\\ud800\\u0041\"]", "[\"\n\"]", "[\"\x80\"]",
            "[\"\xC0\x80\"]",
        "[\"\xED\xA0\x80\"]", "[\"\xF4\x90\x80\x80\"]", "[\"\xE2\x82\"]", "[\"abc]", "[\"abc\\", "[\"\\", "[1]x", "[1][2]",
            "{\"a\":[}", "\xEF\xBB\xBF{}",
        "[1.2.3]", "['a']", "[1/**/]", "{,}"};
    hf_json j;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        kpd_error e = {KPD_OK, 0, ""};
        kpd_status s = parse(bad[i], strlen(bad[i]), &j, &e);
        CHECK_THAT(s == KPD_ERR_FORMAT && strstr(e.message, "x.json:") == e.message, "%s: %s (%s)", bad[i], kpd_status_name(s),
                   e.message);
    }
    CHECK_STATUS(parse("[\"a\0b\"]", 7, &j, NULL), KPD_ERR_FORMAT);
    CHECK_STATUS(parse("{}\0", 3, &j, NULL), KPD_ERR_FORMAT);
}

static void json_deep(void) {
    char text[4096];
    hf_json j;
    memset(text, '[', sizeof text);
    CHECK_STATUS(parse(text, sizeof text, &j, NULL), KPD_ERR_FORMAT);
    memset(text + 32, ']', 32);
    CHECK_OK(parse(text, 64, &j, NULL));
    hf_json_free(&j);
}

static void json_truncated(void) {
    bytes b = read_bytes(GOLDEN "tiny_mean/tokenizer.json");
    hf_json j;
    while (b.size > 0 && b.data[b.size - 1] != '}') b.size--;
    for (size_t n = 0; n < b.size; n++) {
        if (!CHECK_STATUS(parse(b.data, n, &j, NULL), KPD_ERR_FORMAT)) break;
    }
    CHECK_OK(parse(b.data, b.size, &j, NULL));
    hf_json_free(&j);
    free(b.data);
}

static uint32_t next_random(uint32_t *state) {
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

static kpd_status open_weights(const char *dir, const bytes *b, size_t size) {
    kpd_allocator a;
    kpd_error e = {KPD_OK, 0, ""};
    hf_weights w;
    kpd_status s;
    memset(&a, 0, sizeof a);
    write_bytes(join(dir, "", "model.safetensors"), b->data, size);
    s = hf_weights_open(&w, dir, "", a, &e);
    CHECK(s == KPD_OK || *e.message);
    hf_weights_close(&w);
    return s;
}

static void safetensors_truncated(void) {
    const char *dir = copy_of("tiny_cls_dense", "hf_cut");
    bytes b = read_bytes(join(dir, "2_Dense", "model.safetensors"));
    for (size_t n = 0; n < b.size; n += n < 256 ? 1 : 61) {        // the header has fewer than 256 bytes
        if (!CHECK(open_weights(dir, &b, n) != KPD_OK)) break;
    }
    CHECK_OK(open_weights(dir, &b, b.size));
    b.data[b.size] = 0;
    CHECK_STATUS(open_weights(dir, &b, b.size + 1), KPD_ERR_FORMAT);        // data that no tensor covers
    free(b.data);
}

static void safetensors_mutated(void) {
    const char *dir = copy_of("tiny_cls_dense", "hf_mutated");
    bytes b = read_bytes(join(dir, "2_Dense", "model.safetensors"));
    uint32_t seed = 1;
    for (int i = 0; i < 3000 && b.size > 200; i++) {
        size_t at = next_random(&seed) % 160;
        char old = b.data[at];
        b.data[at] = i % 3 ? "0123456789[]{},:\"-eF"[next_random(&seed) % 20] : (char)next_random(&seed);
        open_weights(dir, &b, b.size);
        b.data[at] = old;
    }
    free(b.data);
}

static void safetensors_header(const char *dir, const char *header, size_t data) {
    char file[1024];
    bytes b = {file, 8 + strlen(header) + data};
    memset(file, 0, sizeof file);
    for (int i = 0; i < 2; i++) file[i] = (char)(strlen(header) >> (8 * i) & 255);
    memcpy(file + 8, header, strlen(header));
    CHECK_THAT(open_weights(dir, &b, b.size) == KPD_ERR_FORMAT, "%s: opened", header);
}

static void safetensors_bad(void) {
    const char *dir = copy_of("tiny_mean", "hf_bad");
    bytes huge = {(char *)calloc(1, 64), 64};
    safetensors_header(dir, "[]", 0);
    safetensors_header(dir, "{\"a\":1}", 0);
    safetensors_header(dir, "{\"a\":{\"dtype\":\"F32\",\"shape\":[2]}}", 8);
    safetensors_header(dir, "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,12]}}", 12);
    safetensors_header(dir, "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,0]}}", 8);
    safetensors_header(dir, "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 7);
    safetensors_header(dir, "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[-8,0]}}", 8);
    safetensors_header(dir, "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8,9]}}", 8);
    safetensors_header(dir, "{\"a\":{\"dtype\":\"F32\",\"shape\":[-2],\"data_offsets\":[0,8]}}", 8);
    safetensors_header(dir, "{\"a\":{\"dtype\":\"F32\",\"shape\":[65536,65536,65536,65536],\"data_offsets\":[0,0]}}", 0);
    safetensors_header(dir, "{\"a\":{\"dtype\":\"F32\",\"shape\":[2147483647,2147483647,2],\"data_offsets\":[0,8]}}", 8);
    safetensors_header(dir, "{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,4]}}", 4);
    safetensors_header(dir, "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}", 8);
    safetensors_header(dir,
                       "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
                       "\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}", 8);
    safetensors_header(dir,
                       "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
                       "\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}", 8);
    memset(huge.data, 255, 8);
    CHECK_STATUS(open_weights(dir, &huge, 64), KPD_ERR_FORMAT);
    free(huge.data);
}

// Random bytes of every JSON file change: a status, and no more.
static void json_mutated(void) {
    static const char *const target[] = {"config.json", "modules.json", "1_Pooling/config.json", "2_Dense/config.json",
                                         "tokenizer_config.json",
        "sentence_bert_config.json", "config_sentence_transformers.json", "model.safetensors.index.json"};
    const char *dir = copy_of("tiny_cls_dense", "hf_fuzz");
    uint32_t seed = 7;
    for (size_t k = 0; k < sizeof target / sizeof *target; k++) {
        bytes b = read_bytes(join(dir, "", target[k]));
        for (int i = 0; i < 60 && b.size; i++) {
            size_t at = next_random(&seed) % b.size;
            char old = b.data[at];
            kpd_model *m = NULL;
            b.data[at] = "0123456789[]{},:\"-tfn\\ux"[next_random(&seed) % 24];
            write_bytes(join(dir, "", target[k]), b.data, b.size);
            (void)hf_import(dir, NULL, &m, NULL);
            kpd_model_destroy(m);
            b.data[at] = old;
        }
        write_bytes(join(dir, "", target[k]), b.data, b.size);
        free(b.data);
    }
}

// ---- memory -------------------------------------------------------------------------------------------------------

typedef struct budget { int left; size_t used; } budget;

static void *budget_alloc(void *user, size_t size) {
    budget *b = (budget *)user;
    void *p = b->left-- > 0 ? malloc(size) : NULL;
    if (p) b->used += size;
    return p;
}

static void budget_free(void *user, void *p, size_t size) {
    if (p) ((budget *)user)->used -= size;
    free(p);
}

// The n-th allocation fails, for every n: MEMORY, and nothing is left behind.
static void every_allocation(const char *dir) {
    for (int n = 0; n < 2000; n++) {
        budget b = {n, 0};
        hf_import_desc d;
        kpd_model *m = NULL;
        kpd_status s;
        memset(&d, 0, sizeof d);
        d.allocator.alloc = budget_alloc;
        d.allocator.free = budget_free;
        d.allocator.user = &b;
        s = hf_import(dir, &d, &m, NULL);
        if (s == KPD_OK) {
            kpd_model_destroy(m);
            CHECK_INT(b.used, 0);
            return;
        }
        if (!CHECK_STATUS(s, KPD_ERR_MEMORY) || !CHECK_INT(b.used, 0)) return;
    }
    CHECK_THAT(false, "2000 allocations are not enough");
}

static void memory(void) {
    every_allocation(GOLDEN "tiny_cls_dense");
    every_allocation(GOLDEN "tiny_cross");
}

// ---- JSON that is made to cost time or memory ---------------------------------------------------------------------

static size_t n_taken, most_taken;

static void *counting_alloc(void *user, size_t size) {
    (void)user;
    n_taken += size;
    if (n_taken > most_taken) most_taken = n_taken;
    return malloc(size);
}

static void counting_free(void *user, void *p, size_t size) {
    (void)user;
    n_taken -= size;
    free(p);
}

// Reads a text that was taken from counting_alloc, all of which must come back.
static kpd_status take_json(hf_json *j, char *text, size_t size, kpd_error *e) {
    kpd_allocator a;
    kpd_status s;
    memset(&a, 0, sizeof a);
    a.alloc = counting_alloc; a.free = counting_free;
    text[size] = 0;
    s = hf_json_take(j, "test", text, size, 0, a, e);
    if (s) CHECK_INT(n_taken, 0);
    return s;
}

static char *json_text(size_t size) {
    n_taken = most_taken = 0;
    return (char *)counting_alloc(NULL, size + 1);
}

// What nothing is made of takes no room: an array of commas was given a place for each.
static void json_of_commas(void) {
    const size_t size = 4 << 20;
    char *text = json_text(size);
    hf_json j;
    kpd_error e;
    memset(text, ',', size);
    text[0] = '[';
    CHECK_STATUS(take_json(&j, text, size, &e), KPD_ERR_FORMAT);
    CHECK_THAT(most_taken < 2 * size, "%zu bytes for %zu of text", most_taken, size);
}

// n keys: all those that there are, or those that a table of up to 1024 places wants to have at its first.
static char *json_keys(size_t n, bool alike, size_t *size) {
    char *text = json_text(20 * n + 2);
    hf_json j;
    memset(&j, 0, sizeof j);
    j.table_size = 1024;
    *size = 0;
    text[(*size)++] = '{';
    for (unsigned long i = 0; n; i++) {
        char key[16];
        snprintf(key, sizeof key, "k%lu", i);
        if (alike && hf_hash(&j, 0, hf_text(key))) continue;
        *size += (size_t)snprintf(text + *size, 20, "\"%s\":0%c", key, --n ? ',' : '}');
    }
    return text;
}

static void json_many_keys(void) {
    hf_json j;
    kpd_error e;
    size_t size, room;
    char *text = json_keys(200000, false, &size), *same;
    room = 20 * 200000 + 3;
    same = (char *)counting_alloc(NULL, size + 1);
    memcpy(same, text, size);
    counting_free(NULL, text, room);
    if (CHECK_OK(take_json(&j, same, size, &e))) {
        CHECK(hf_get(&j, 0, "k0") > 0 && hf_get(&j, 0, "k199999") > 0 && hf_get(&j, 0, "k200000") < 0);
        hf_json_free(&j);
    }
    CHECK_INT(n_taken, 0);
}

static void json_keys_that_collide(void) {
    hf_json j;
    kpd_error e;
    size_t size;
    char *text = json_keys(300, true, &size), *same = (char *)counting_alloc(NULL, size + 1);
    memcpy(same, text, size);
    counting_free(NULL, text, 20 * 300 + 3);
    CHECK_STATUS(take_json(&j, same, size, &e), KPD_ERR_FORMAT);
    CHECK_THAT(strstr(e.message, "hash alike") != NULL, "%s", e.message);
}

// A folder has no sums: what was corrupt would be right there.
static void export_of_corrupt_weights(void) {
    bytes b;
    char *block = NULL;
    kpd_open_desc d;
    kpd_model *m = NULL;
    kpd_error e;
    const char *path = test_tmp("hf_corrupt.kpd"), *to = place("hf_corrupt");
    if (!CHECK_OK(hf_import(GOLDEN "tiny_mean", NULL, &m, &e)) || !CHECK_OK(kpd_model_save(m, path, &e))) return;
    kpd_model_destroy(m);
    b = read_bytes(path);
    memset(&d, 0, sizeof d);
    block = (char *)malloc(b.size + 64);
    d.data = memcpy(block + (64 - (uintptr_t)block % 64) % 64, b.data, b.size); d.size = b.size;
    ((char *)(uintptr_t)d.data)[b.size - 40] ^= 1;
    if (CHECK_OK(kpd_model_open(NULL, &d, &m, &e))) CHECK_STATUS(hf_export(m, to, &e), KPD_ERR_FORMAT);
    kpd_model_destroy(m);
    free(b.data);
    free(block);
}

SUITE(hf) {
    RUN(hf, golden_mean);
    RUN(hf, golden_pooling);
    RUN(hf, golden_activation);
    RUN(hf, golden_dense);
    RUN(hf, golden_cross);
    RUN(hf, golden_without_modules);
    RUN(hf, round_trip);
    RUN(hf, round_trip_of_a_head);
    RUN(hf, round_trip_options);
    RUN(hf, refuse_config);
    RUN(hf, refuse_modules);
    RUN(hf, refuse_tokenizer);
    RUN(hf, refuse_weights);
    RUN(hf, refuse_not_finite);
    RUN(hf, refuse_missing);
    RUN(hf, refuse_unknown_keys);
    RUN(hf, refuse_known_keys);
    RUN(hf, tokenizer_class_of_config);
    RUN(hf, old_length);
    RUN(hf, sentence_config_names);
    RUN(hf, prompts_of_reference);
    RUN(hf, truncated_vectors);
    RUN(hf, white_space_in_vocabularies);
    RUN(hf, prompts_with_roles);
    RUN(hf, refuse_mistaken);
    RUN(hf, refuse_two_poolings);
    RUN(hf, accept_harmless_keys);
    RUN(hf, notes);
    RUN(hf, json_good);
    RUN(hf, json_bad);
    RUN(hf, json_deep);
    RUN(hf, json_of_commas);
    RUN(hf, json_many_keys);
    RUN(hf, json_keys_that_collide);
    RUN(hf, export_of_corrupt_weights);
    RUN(hf, json_truncated);
    RUN(hf, json_mutated);
    RUN(hf, safetensors_truncated);
    RUN(hf, safetensors_mutated);
    RUN(hf, safetensors_bad);
    RUN(hf, memory);
}
