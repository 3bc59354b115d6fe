// libFuzzer: a shop's shop.ini. What is read must make a shop or be refused, and the shop's own shop.ini must read as the same.
#define _XOPEN_SOURCE 700
#define SHOP_IMPLEMENTATION
#include "../../tools/shop.h"
#include "fuzz.h"

static const char seed[] =
    "# a shop\nseed = 7\nworld = 3\nn_items = 60\nn_queries = 20\nn_test_items = 9\nn_sessions = 50\nn_candidates = 5\n"
    "n_ctr = 9\nn_sr = 9\nn_llm = 9\nn_llm_test = 5\nplacebo = 1\neta = 0\nlambda = 0.5\nfilter = 0.45\nhidden = .3\n";

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int random) {
    (void)random;
    return fuzz_mutate(data, size, max_size, seed, sizeof seed - 1);
}

static bool read_text(const char *text, size_t size, shop_desc *d) {
    char error[240] = "";
    int64_t line = 0;
    FILE *f = fmemopen((void *)(uintptr_t)text, size, "r");
    bool ok;
    if (!f) abort();
    ok = shop_read_ini(f, d, &line, error);
    fclose(f);
    if (line < 1 || !ok == !error[0]) abort();
    return ok;
}

static void check_again(const shop *s) {
    char text[4096];
    FILE *f = fmemopen(text, sizeof text, "w");
    shop_desc d, is = shop_get_desc(s);
    memset(&d, 0, sizeof d);
    if (!f || !shop_write_ini(s, f) || fclose(f)) abort();
    if (!read_text(text, strlen(text), &d)) abort();
    for (int i = 0; i < SHOP__N_KNOBS; i++) {
        double was = shop__get(&is, &SHOP__KNOB[i]), now = shop__get(&d, &SHOP__KNOB[i]);
        if ((was < 0 ? 0 : was) != (now < 0 ? 0 : now)) abort();
    }
    if (d.seed != is.seed) abort();
}

int fuzz_one(const uint8_t *data, size_t size) {
    static shop_desc small;
    shop_desc d;
    shop *s;
    char error[240] = "";
    small.n_items = 50; small.n_queries = 20; small.n_test_items = small.n_sessions = small.n_candidates = 5;
    d = small;
    if (!size || !read_text((const char *)data, size, &d)) return 0;
    if (d.n_items > 100 || d.n_queries > 40 || d.n_test_items > 100 || d.n_sessions > 1000) return 0;
    s = shop_create(&d, error);
    if (!s && !error[0]) abort();
    if (s) check_again(s);
    shop_destroy(s);
    return 0;
}
