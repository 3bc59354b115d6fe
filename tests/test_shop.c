// The simulated shop: it repeats, and the phenomena that it is for are there. Thresholds tell directions, not figures.
#include "test.h"
#define SHOP_IMPLEMENTATION
#include "../tools/shop.h"

static shop_desc small(void) {              // and with a fifth of the sessions, which take the time
    shop_desc d;
    memset(&d, 0, sizeof d);
    d.n_items = 1500;
    d.n_queries = 1000;
    d.n_sessions = 100000;
    d.impressions = 10;
    return d;
}

static shop *make(const shop_desc *d) {
    char error[240];
    shop *s = shop_create(d, error);
    CHECK_THAT(s != NULL, "%s", error);
    return s;
}

// The hash of what a file's writer writes.
static uint64_t hash_file(const shop *s, const shop_file *file) {
    uint64_t h = UINT64_C(14695981039346656037);
    FILE *f = tmpfile();
    int c;
    if (!CHECK(f != NULL)) return 0;
    CHECK(file->write(s, f));
    rewind(f);
    while ((c = fgetc(f)) != EOF) h = (h ^ (uint64_t)c) * UINT64_C(1099511628211);
    fclose(f);
    return h;
}

static uint64_t hash_files(const shop *s) {
    uint64_t h = 0;
    for (int i = 0; shop_get_file(i).name; i++) {
        shop_file file = shop_get_file(i);
        h = h * 31 + hash_file(s, &file);
    }
    return h;
}

static double figure(const shop *s, const char *name) {
    shop_figure f[SHOP_N_FIGURES];
    int n = shop_measure(s, f);
    for (int i = 0; i < n; i++)
        if (strstr(f[i].name, name)) return f[i].value;
    CHECK_THAT(false, "there is no figure '%s'", name);
    return 0;
}

static double figure_of(const shop_desc *d, const char *name) {
    shop *s = make(d);
    double v = s ? figure(s, name) : 0;
    shop_destroy(s);
    return v;
}

static void same_seed_same_files(void) {
    shop_desc d = small();
    uint64_t first[24], other = 0;
    shop *s = make(&d);
    if (!s) return;
    for (int i = 0; shop_get_file(i).name; i++) {
        shop_file file = shop_get_file(i);
        first[i] = hash_file(s, &file);
    }
    shop_destroy(s);
    s = make(&d);
    for (int i = 0; s && shop_get_file(i).name; i++) {
        shop_file file = shop_get_file(i);
        CHECK_THAT(hash_file(s, &file) == first[i], "%s differs", file.name);
    }
    shop_destroy(s);
    d.seed = 2;
    s = make(&d);
    for (int i = 0; s && shop_get_file(i).name; i++) {
        shop_file file = shop_get_file(i);
        other = hash_file(s, &file);
        CHECK_THAT(other != first[i], "%s is that of another seed", file.name);
    }
    shop_destroy(s);
}

// Tasks in any order, as threads may take them.
static void run_backwards(void *user, int32_t n, shop_task *task, void *arg) {
    ++*(int *)user;
    for (int32_t i = n - 1; i >= 0; i--) task(arg, i);
}

static void same_files_on_any_threads(void) {
    shop_desc d = small();
    int calls = 0;
    shop *s = make(&d), *t;
    d.parallel.run = run_backwards; d.parallel.user = &calls; d.parallel.width = 3;
    t = make(&d);
    if (s && t) CHECK(hash_files(s) == hash_files(t));
    CHECK(calls >= 4);                      // candidates, two rounds of clicks, search scores
    shop_destroy(s);
    shop_destroy(t);
}

// What the term-by-term search finds is the best of BM25 over all items.
static void candidates_are_the_best(void) {
    shop_desc d = small();
    shop *s = make(&d);
    for (int32_t q = 0; s && q < shop_n_queries(s); q += 97) {
        int32_t n = s->candidate_start[q + 1] - s->candidate_start[q], better = 0, found = 0;
        const shop__candidate *c = s->candidates + s->candidate_start[q];
        double least = 1e9;
        for (int32_t i = 0; i < n; i++) {
            double x = shop__bm25(s, &s->items[c[i].item], &s->queries[q]);
            least = x < least ? x : least;
        }
        for (int32_t i = 0; i < shop_n_items(s); i++) {
            double x = shop__bm25(s, &s->items[i], &s->queries[q]);
            better += x > least;
            found += x > 0;
        }
        CHECK_THAT(better < n && n == (found < 150 ? found : 150), "query %d: %d candidates of %d, %d better than the last",
                   (int)q, (int)n, (int)found, (int)better);
    }
    shop_destroy(s);
}

// On every machine and with every compiler: this number changes only when the shop does.
static void same_files_everywhere(void) {
    shop_desc d = small();
    shop *s;
    d.n_items = 300;
    d.n_queries = 200;
    s = make(&d);
    if (!s) return;
    CHECK_THAT(hash_files(s) == UINT64_C(9005139931847066897), "the files' hash is %llu", (unsigned long long)hash_files(s));
    shop_destroy(s);
}

static void numbers(void) {
    for (double x = -30; x < 30; x += .37) CHECK_NEAR(shop__exp(x) / exp(x), 1, 1e-14);
    for (double x = 1e-6; x < 1e6; x *= 1.7) CHECK_NEAR(shop__log(x), log(x), 1e-13);
    CHECK_NEAR(shop__quantile(.975), 1.959964, 1e-6);
    CHECK_NEAR(shop__quantile(.001), -3.090232, 1e-6);
}

static void judges_are_probabilities(void) {
    shop_desc d = small();
    shop *s = make(&d);
    if (!s) return;
    for (int32_t i = 0; i < shop_n_items(s) + shop_n_test_items(s); i += 7)
        for (int32_t q = 0; q < shop_n_queries(s); q += 11) {
            double score[6];
            score[0] = shop_truth(s, i, q);
            score[1] = shop_text_truth(s, i, q);
            score[2] = shop_llm(s, i, q);
            score[3] = shop_llm_tuned(s, i, q);
            score[4] = shop_sr(s, i, q);
            score[5] = shop_overlap(s, i, q);
            for (int k = 0; k < 6; k++)
                CHECK_THAT(score[k] >= 0 && score[k] <= 1, "item %d query %d judge %d: %g", (int)i, (int)q, k, score[k]);
        }
    for (int32_t q = 0; q < shop_n_queries(s); q++)
        CHECK_INT(shop_find_phrase(s, shop_phrase(s, q), strlen(shop_phrase(s, q))), q);
    CHECK_INT(shop_find_phrase(s, "nothing", 7), -1);
    CHECK_INT(shop_find_phrase(s, "", 0), -1);
    shop_destroy(s);
}

// Text-truth is an expectation: where it says x, the truth is x on average. Unseen items (a query has one of the others in
// mind), of the query's type, where it is not 0.
static void text_truth_is_calibrated(void) {
    shop_desc d = small();
    shop *s = make(&d);
    double n[5] = {0}, text[5] = {0}, truth[5] = {0};
    if (!s) return;
    for (int32_t q = 0; q < shop_n_queries(s); q++)
        for (int32_t i = shop_n_items(s); i < s->n_all; i++) {
            double x;
            int bin;
            if (s->items[i].type != s->intents[s->queries[q].intent].type) continue;
            x = shop_text_truth(s, i, q);
            bin = x >= 1 ? 4 : (int)(x * 5);
            n[bin]++;
            text[bin] += x;
            truth[bin] += shop_truth(s, i, q);
        }
    for (int bin = 0; bin < 5; bin++)
        if (n[bin] > 400) CHECK_NEAR(truth[bin] / n[bin], text[bin] / n[bin], .05);
    CHECK(n[0] > 400 && n[2] > 400 && n[4] > 400);
    shop_destroy(s);
}

static void labels_and_held_out_items(void) {
    shop_desc d = small();
    shop *s = make(&d);
    static bool seen[1500];
    for (int set = 0; s && set < SHOP_N_SETS; set++) {
        int32_t n, yes = 0;
        const shop_pair *p = shop_pairs(s, (shop_set)set, &n);
        CHECK_THAT(n >= (set == SHOP_CTR_TEST ? 400 : 800), "set %d has %d pairs", set, (int)n);
        for (int32_t i = 0; i < n; i++) {
            CHECK(p[i].item >= 0 && p[i].item < shop_n_items(s) && (p[i].label == 0 || p[i].label == 1));
            if (set < SHOP_LLM_DEV) seen[p[i].item] = true;
            else CHECK(!seen[p[i].item]);
            yes += p[i].label;
        }
        CHECK_THAT(set == SHOP_CTR ? yes == n : yes > n / 50 && yes < n * 9 / 10, "set %d: %d of %d say yes", set, (int)yes,
                   (int)n);
    }
    shop_destroy(s);
}

static void titles_differ(void) {           // of all items, so that none of the held-out ones has a twin in training
    shop_desc d = small();
    shop *s = make(&d);
    if (!s) return;
    for (int32_t i = 0; i < shop_n_items(s) + shop_n_test_items(s); i++) {
        const char *title = shop_title(s, i);
        CHECK_INT(s->title_table.slot[shop__title_slot(s, title, strlen(title))], i);
        CHECK(!strchr(title, '\t') && shop_category(s, i)[0]);
    }
    shop_destroy(s);
}

static void biases(void) {
    shop_desc d = small();
    shop *biased = make(&d), *fair;
    d.world = -1;
    fair = make(&d);
    if (biased && fair) {
        double slope3 = figure(biased, "most popular") / figure(biased, "least popular");
        double slope0 = figure(fair, "most popular") / figure(fair, "least popular");
        CHECK_THAT(slope3 > 1.2 && slope3 > slope0, "P(CTR | true) rises %.2f times with popularity", slope3);
        CHECK_THAT(slope0 > .8 && slope0 < 1.25, "without bias it rises %.2f times", slope0);
        CHECK(figure(biased, "third fifth") < figure(fair, "third fifth"));                // few positions are looked at
        CHECK(figure(biased, "\"negatives\"") > figure(fair, "\"negatives\"") + .05);      // no click says little
        CHECK(figure(biased, "filter drops") > .02);
        CHECK(figure(fair, "filter drops") == 0);
        CHECK(figure(biased, "never candidates") > .2);
        CHECK(figure(biased, "CTR positives that are true") > .6);
    }
    shop_destroy(biased);
    shop_destroy(fair);
}

static void overlap_is_not_enough(void) {
    shop_desc d = small();
    shop *s = make(&d);
    if (!s) return;
    CHECK(figure(s, "AUC") > .6 && figure(s, "AUC") < .9);
    CHECK(figure(s, "accessories that pass") > .1);
    CHECK(figure(s, "text-truth agrees") > .9 && figure(s, "text-truth agrees") < .99);
    CHECK(figure(s, "tuned LLM says yes") > figure(s, "LLM says yes, its pool"));
    shop_destroy(s);
}

static void llm_errors(void) {
    shop_desc d = small();
    double agree = figure_of(&d, "LLM agrees"), hidden = figure_of(&d, "text-truth agrees");
    CHECK(agree > .85 && agree < .99);
    d.world = 4;
    CHECK(figure_of(&d, "LLM agrees") < agree - .01);
    d.world = 5;
    CHECK(figure_of(&d, "text-truth agrees") < hidden);
}

// The LLM's yes beside the truth's, of one query's pairs: errors that a query has in common vary between queries.
static double spread_of_errors(int32_t world, double *errors) {
    shop_desc d = small();
    double n[1000] = {0}, wrong[1000] = {0}, spread = 0, mean, total = 0;
    int32_t n_pairs;
    const shop_pair *p;
    shop *s;
    d.world = world;
    s = make(&d);
    if (!s) return 0;
    p = shop_pairs(s, SHOP_LLM, &n_pairs);
    for (int32_t i = 0; i < n_pairs; i++) {
        n[p[i].query]++;
        wrong[p[i].query] += (shop_truth(s, p[i].item, p[i].query) >= .5) != (p[i].label == 1);
        total += (shop_truth(s, p[i].item, p[i].query) >= .5) != (p[i].label == 1);
    }
    mean = *errors = total / n_pairs;
    for (int32_t q = 0; q < 1000; q++) spread += (wrong[q] - mean * n[q]) * (wrong[q] - mean * n[q]);
    shop_destroy(s);
    return spread / (n_pairs * mean * (1 - mean));          // 1 where errors are independent
}

static void llm_errors_by_query(void) {
    double errors[2], by_pair = spread_of_errors(3, &errors[0]), by_query = spread_of_errors(6, &errors[1]);
    CHECK_THAT(errors[1] < errors[0] * 1.5 && errors[1] > errors[0] / 1.5, "W6 errs on %g of the pairs, W3 on %g", errors[1],
               errors[0]);
    CHECK_THAT(by_query > by_pair * 1.05, "a query's errors vary %g times as independent ones, in W3 %g", by_query, by_pair);
}

// Of test items too, by ranks of their own: half of them lie below 1 - log(n / 2) / log(n).
static void popularity(void) {
    shop_desc d = small();
    shop *s = make(&d);
    int32_t first = 0, last = 0;
    for (int32_t i = 1500; s && i < 1500 + shop_n_test_items(s); i++) {
        CHECK(shop_popularity(s, i) >= 0 && shop_popularity(s, i) <= 1);
        first += shop_popularity(s, i) >= 1;
        last += shop_popularity(s, i) <= 0;
    }
    CHECK(first == 1 && last == 1);
    if (s) CHECK_INT(shop_find_title(s, shop_title(s, 1600), strlen(shop_title(s, 1600))), 1600);
    if (s) CHECK_INT(shop_find_title(s, "no", 2), -1);
    shop_destroy(s);
}

static double label_agreement(const shop *s) {
    int32_t n, same = 0;
    const shop_pair *p = shop_pairs(s, SHOP_LLM, &n);
    for (int32_t i = 0; i < n; i++) same += (shop_truth(s, p[i].item, p[i].query) >= .5) == (p[i].label == 1);
    return (double)same / n;
}

static void placebos(void) {
    shop_desc d = small();
    shop *s;
    d.placebo = SHOP_LLM_IS_TRUTH;
    s = make(&d);
    if (s) CHECK(label_agreement(s) == 1);
    shop_destroy(s);
    d.placebo = SHOP_LLM_SHUFFLED;
    s = make(&d);
    if (s) CHECK(label_agreement(s) < .85);
    shop_destroy(s);
}

static void ini_round_trip(void) {
    shop_desc d = small(), again;
    char error[240];
    int64_t line = 0;
    shop *s, *t;
    FILE *f = tmpfile();
    if (!CHECK(f != NULL)) return;
    memset(&again, 0, sizeof again);
    d.seed = UINT64_C(12345678901234567890);
    d.world = -1;
    d.hidden = .1 + .2;
    d.typos = -1;
    s = make(&d);
    CHECK(s && shop_write_ini(s, f));
    rewind(f);
    CHECK_THAT(shop_read_ini(f, &again, &line, error), "line %lld: %s", (long long)line, error);
    fclose(f);
    t = make(&again);
    if (s && t) CHECK(hash_files(s) == hash_files(t));
    shop_destroy(s);
    shop_destroy(t);
}

static void read_bad(const char *text, int64_t want_line, const char *want) {
    shop_desc d = small();
    char error[240] = "";
    int64_t line = 0;
    FILE *f = tmpfile();
    if (!CHECK(f != NULL)) return;
    fputs(text, f);
    rewind(f);
    CHECK_THAT(!shop_read_ini(f, &d, &line, error), "'%s' was read", text);
    CHECK_INT(line, want_line);
    CHECK_THAT(strstr(error, want) != NULL, "expected '%s', got '%s'", want, error);
    CHECK_INT(d.n_items, 1500);
    fclose(f);
}

static void ini_errors(void) {
    read_bad("# shop\nn_items = 60\ncolour = 3\n", 3, "unknown key 'colour'");
    read_bad("n_items = many\n", 1, "n_items = many: expected an integer from 50");
    read_bad("n_items = 60.5\n", 1, "expected an integer");
    read_bad("\n\nhidden = 1.5", 3, "hidden = 1.5: expected a number from 0 to 1");
    read_bad("hidden = nan\n", 1, "expected a number");
    read_bad("seed = -1\n", 1, "seed");
    read_bad("world\n", 1, "expected key = value");
}

static void bad_descs(void) {
    shop_desc d = small();
    char error[240];
    d.n_items = 3;
    CHECK(!shop_create(&d, error) && strstr(error, "n_items is 3"));
    d = small();
    d.hidden = 2;
    CHECK(!shop_create(&d, error) && strstr(error, "hidden is 2"));
    d = small();
    d.world = 7;
    CHECK(!shop_create(&d, error) && strstr(error, "world is 7"));
    d = small();
    d.llm_by_query = .7; d.llm_by_attribute = .4;
    CHECK(!shop_create(&d, error) && strstr(error, "are 1.1 together"));
    shop_destroy(NULL);
}

SUITE(shop) {
    RUN(shop, numbers);
    RUN(shop, same_seed_same_files);
    RUN(shop, same_files_on_any_threads);
    RUN(shop, candidates_are_the_best);
    RUN(shop, same_files_everywhere);
    RUN(shop, judges_are_probabilities);
    RUN(shop, text_truth_is_calibrated);
    RUN(shop, labels_and_held_out_items);
    RUN(shop, titles_differ);
    RUN(shop, biases);
    RUN(shop, overlap_is_not_enough);
    RUN(shop, llm_errors);
    RUN(shop, llm_errors_by_query);
    RUN(shop, popularity);
    RUN(shop, placebos);
    RUN(shop, ini_round_trip);
    RUN(shop, ini_errors);
    RUN(shop, bad_descs);
}
