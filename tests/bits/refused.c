// Exit 0 when sessions and indexes refuse to start, and say by which options of the compiler: for builds whose arithmetic is not
// as it is written.
#define KPD_IMPLEMENTATION
#define KPD_NO_SIMD
#include "../../kpd.h"

static bool refused(kpd_status s, const kpd_error *e) {
    return s == KPD_ERR_UNSUPPORTED && strstr(e->message, "-ffast-math") && strstr(e->message, "-ffp-contract=fast");
}

int main(void) {
    kpd_index_desc d;
    kpd_session *s;
    kpd_index *x;
    kpd_error e;
    memset(&d, 0, sizeof d);
    d.dim = 4;
    if (!refused(kpd_session_create(NULL, &s, &e), &e)) return fprintf(stderr, "a session starts\n"), 1;
    if (!refused(kpd_index_create(&d, &x, &e), &e)) return fprintf(stderr, "an index starts\n"), 1;
    return 0;
}
