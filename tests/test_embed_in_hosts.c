// The header in other hosts: the linked implementation, a static one in C++ and a static one in another C file live in this
// program side by side, and give the same bits. Here it is included twice.
#include "../kpd.h"
#include "../kpd.h"
#include "test.h"
#include "tiny_model.h"
#include <stdio.h>
#include <string.h>

enum { DIM = 32 };

// In embed_in_hosts_cpp.cc and embed_in_hosts_second.c: opens the model, embeds the text, [32] floats.
int embed_in_cpp(const char *path, const char *text, float *out, char message[240]);
int embed_in_second(const char *path, const char *text, float *out, char message[240]);

static const char *const texts[] = {"blue case for phone 5", "Red LAMPS, and a laptop sleeve", "", "nothing it knows"};
static char path[256];

static kpd_model *make_model(void) {
    tiny_options o;
    kpd_model *m;
    memset(&o, 0, sizeof o);
    o.width = DIM; o.n_heads = 4; o.n_layers = 2; o.seed = 11;
    m = tiny_model(&o);
    snprintf(path, sizeof path, "%s", test_tmp("hosts.kpd"));
    if (m) CHECK_OK(kpd_model_save(m, path, NULL));
    return m;
}

static void check_host(int (*embed)(const char *, const char *, float *, char *), const char *host) {
    kpd_model *m = make_model();
    kpd_session *s = m ? tiny_session(m, NULL) : NULL;
    for (size_t i = 0; s && i < sizeof texts / sizeof *texts; i++) {
        float want[DIM], got[DIM] = {0};
        char message[240] = "";
        kpd_input in = kpd_input_str(texts[i], NULL, NULL);
        CHECK_OK(kpd_embed(s, m, KPD_KEYPHRASE, &in, 1, 0, want, NULL));
        CHECK_THAT(!embed(path, texts[i], got, message), "%s: %s", host, message);
        CHECK_THAT(!memcmp(want, got, sizeof want), "%s: other bits for \"%s\"", host, texts[i]);
    }
    kpd_session_destroy(s);
    kpd_model_destroy(m);
}

static void cpp(void) { check_host(embed_in_cpp, "C++"); }
static void second_copy(void) { check_host(embed_in_second, "the second copy"); }

static void copies_fail_alike(void) {
    float v[DIM];
    char a[240] = "a", b[240] = "b";
    CHECK_STATUS(embed_in_cpp("build/tmp/no/such.kpd", "blue", v, a), KPD_ERR_IO);
    CHECK_STATUS(embed_in_second("build/tmp/no/such.kpd", "blue", v, b), KPD_ERR_IO);
    CHECK_THAT(!strcmp(a, b), "\"%s\" and \"%s\"", a, b);
}

SUITE(embed_in_hosts) {
    RUN(embed_in_hosts, cpp);
    RUN(embed_in_hosts, second_copy);
    RUN(embed_in_hosts, copies_fail_alike);
}
