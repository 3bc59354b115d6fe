// libFuzzer: a model or index file, opened as it is and with its checksums mended, must never be followed outside itself.
#define _XOPEN_SOURCE 700
#define KPD_STATIC
#define KPD_IMPLEMENTATION
#include "../../kpd.h"
#include "mend.h"
#include "fuzz.h"

static void use_model(kpd_model *m) {
    kpd_session_desc d;
    kpd_session *s;
    kpd_input in = kpd_input_str("a blue case", NULL, NULL);
    memset(&d, 0, sizeof d);
    if (m->desc.kind == KPD_BI_ENCODER) d.student = m;
    else d.assistant = m;
    d.max_k = 4;
    if (m->desc.width > 256 || m->desc.n_layers > 4 || m->desc.max_tokens > 512 || kpd_session_create(&d, &s, NULL)) return;
    if (kpd_model_dim(m) <= 1024) {
        static float out[1024];
        if (m->desc.kind == KPD_BI_ENCODER) kpd_embed(s, m, KPD_ITEM, &in, 1, 0, out, NULL);
        else kpd_score(s, m, &in, 1, out, NULL);
    }
    kpd_session_destroy(s);
}

static void use_index(kpd_index *x) {
    static float q[KPD_MAX_WIDTH];
    kpd_session_desc d;
    kpd_session *s;
    kpd_hit hits[4];
    int32_t count;
    int64_t id;
    kpd_index_info info;
    kpd_search_desc k;
    memset(&d, 0, sizeof d);
    memset(&k, 0, sizeof k);
    q[0] = 1;
    k.k = 4;
    kpd_index_get_info(x, &info);
    d.max_k = 4; d.max_dim = info.dim;
    if (kpd_session_create(&d, &s, NULL)) return;
    kpd_index_search(s, x, q, 1, &k, hits, &count, NULL);
    if (kpd_index_id(x, 0, &id)) kpd_index_get(x, id, q, NULL);
    kpd_session_destroy(s);
}

static void open_all(const uint8_t *data, size_t size) {
    kpd_open_desc d;
    kpd_model *m;
    kpd_index *x;
    memset(&d, 0, sizeof d);
    d.data = data; d.size = size;
    for (int verify = 0; verify < 2; verify++) {
        d.verify = verify;
        if (!kpd_model_open(NULL, &d, &m, NULL)) { use_model(m); kpd_model_destroy(m); }
        if (!kpd_index_open(NULL, &d, &x, NULL)) { use_index(x); kpd_index_destroy(x); }
    }
}

int fuzz_one(const uint8_t *data, size_t size) {
    uint8_t *block = (uint8_t *)malloc(size + 64), *copy = (uint8_t *)kpd__align64(block);
    memcpy(copy, data, size);
    open_all(copy, size);
    mend(copy, size);
    open_all(copy, size);
    free(block);
    return 0;
}
