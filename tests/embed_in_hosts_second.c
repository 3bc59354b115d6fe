// A second static copy in the same program; included for its declarations first, then for the implementation, then in vain.
#define KPD_STATIC
#define KPD_NO_SIMD     // compiles in half the time; the bits are the same
#include "../kpd.h"
#define KPD_IMPLEMENTATION
#include "../kpd.h"
#include "../kpd.h"

int embed_in_second(const char *path, const char *text, float *out, char message[240]);

int embed_in_second(const char *path, const char *text, float *out, char message[240]) {
    kpd_error e;
    kpd_model *m = NULL;
    kpd_session *s = NULL;
    kpd_session_desc d;
    kpd_input in = kpd_input_str(text, NULL, NULL);
    kpd_status status;
    memset(&e, 0, sizeof e);
    memset(&d, 0, sizeof d);
    status = kpd_model_open(path, NULL, &m, &e);
    d.student = m;
    if (!status) status = kpd_session_create(&d, &s, &e);
    if (!status) status = kpd_embed(s, m, KPD_KEYPHRASE, &in, 1, 0, out, &e);
    kpd_session_destroy(s);
    kpd_model_destroy(m);
    memcpy(message, e.message, sizeof e.message);
    return (int)status;
}
