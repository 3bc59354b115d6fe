// What kpd.h and kpd_train.h give through a pointer, as values. Include kpd.h, or kpd_train.h, first.
#ifndef TESTS_VALUES_H
#define TESTS_VALUES_H
#include <math.h>
#include <string.h>

// a b + c, rounded once. MinGW's fmaf rounds twice; there the sum is rounded to odd in double.
static inline float fused(float a, float b, float c) {
#ifdef __MINGW32__
    double p = (double)a * (double)b, q = (double)c, s = p + q, t = s - p, lost = (p - (s - t)) + (q - t);
    uint64_t u;
    memcpy(&u, &s, 8);
    if ((lost < 0 || lost > 0) && !(u & 1)) s = nextafter(s, lost > 0 ? 1e300 : -1e300);
    return (float)s;
#else
    return fmaf(a, b, c);
#endif
}

static inline kpd_index_info info_of(const kpd_index *x) {
    kpd_index_info info;
    kpd_index_get_info(x, &info);
    return info;
}

static inline kpd_text token_of(const kpd_tokenizer *t, int32_t id) {
    kpd_text text;
    kpd_token_text(t, id, &text);
    return text;
}

#ifdef KPD_TRAIN_H
static inline kpdt_report report_of(const kpdt_trainer *t) {
    kpdt_report report;
    kpdt_trainer_report(t, &report);
    return report;
}

static inline kpdt_ranking rank_of(const float *gain, int32_t n, int32_t k, const float *ideal, int32_t n_relevant) {
    kpdt_ranking ranking;
    kpdt_rank(gain, n, k, ideal, n_relevant, &ranking);
    return ranking;
}
#endif
#endif
