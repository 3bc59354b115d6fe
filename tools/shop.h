// shop.h - v0.1 - a simulated shop with a truth, in one C file: items, queries, a search engine, clicks, an LLM, labels.
//
//   No dependency but libc and libm. C99. MIT or public domain, as kpd.h says at its end; it needs nothing of kpd.h.
//
// DO THIS in exactly one C file:
//
//     #define SHOP_IMPLEMENTATION
//     #include "shop.h"
//
// and only `#include "shop.h"` elsewhere. A complete program:
//
//     #define SHOP_IMPLEMENTATION
//     #include "shop.h"
//
//     int main(void) {
//         char error[240]; shop_desc d = {0};
//         shop *s = shop_create(&d, error);
//         if (!s) return fprintf(stderr, "%s\n", error), 1;
//         printf("%s | %s: truth %.2f, LLM %.2f\n", shop_title(s, 0), shop_phrase(s, 0), shop_truth(s, 0, 0),
//                shop_llm(s, 0, 0));
//         shop_write_llm(s, stdout);
//         shop_destroy(s);
//         return 0;
//     }
//
// CONTENTS  Search for the marker; each section of the implementation uses only what stands above it.
//
//     >>concepts  the world and its rules        >>api
//     implementation:
//     >>numbers  >>memory  >>words  >>desc  >>types  >>items  >>queries  >>truth  >>engine  >>clicks  >>llm  >>labels
//     >>create  >>write  >>ini  >>measure
//
// >>concepts
//
// What it is for. Labels of clicks, of a search score and of an LLM are each wrong in their own way. On real data nobody
// knows the truth, so nobody can say what a model learnt from them. Here the truth is known, and so is the best that a
// reader of text could do. Absolute figures mean nothing; directions and differences between worlds do.
//
// Types. 6 departments of 14 product types, met with Zipf .8. Of the types after the fourth of a department 35 % are
// accessories of one of those four. A type has 2 to 4 head words (synonyms, Zipf .6), 4 attributes of a pool of 12 (4 to 10
// values, Zipf .8, in an order of its own), 8 brands of its department's 20 (Zipf 1) with 2 to 8 models each. Two plain
// types, or two accessories of one device, are siblings; 15 % of the types share one head word with their sibling.
// Attribute 0 is visual: a picture shows it, the title only with probability .35.
//
// Titles. Brand .8, model .9 (devices only), head word, the values that are shown, for accessories `for BRAND m1 m2` and the
// device's noun .5, stuffing .08 (a foreign head word or brand), 1 to 4 fillers; in any order. Two items never have the same.
// The category is the type's leaf name: for half of the types a word of its own, else the first head word; 7 % are wrong.
//
// Forms. Every value has two words: sellers use the first with .65, buyers the second with .65. A brand has an alias, used
// with .15 by both. Buyers mistype .04 of the words. Words are made of syllables or, for models, letters and digits. Models
// are called by 240 names which brands and types share, so that a name alone says little.
//
// Queries. One of the training items is what the buyer has in mind, and most of what it is is dropped: type .25, type and 1
// or 2 attributes .30, brand and type .20, model .25. 30 % name the visual value. What a query means is an *intent*; draws of
// equal text make one query of several intents, weighted by their number. Demand is Zipf 1, in the order of that number.
//
// Truth. Mean over the intents of the product of misses: attribute .25, brand .2, model .15, sibling type .25, accessory and
// device .05, any other type 0. Yes is >= .5. Text-truth is its expectation given title and category: what is not written is
// replaced by its probability. It is exact but for one thing: where a head word is shared, the probability of the sibling
// type counts head word and category, and not what the other words of the title tell.
//
// Engine. BM25 over titles (k1 1.2, b .75) gives the best 150 items of a query, its *candidates*. Each has a search score
// (SR): logistic in four lexical features (BM25 over its maximum, share of the query's words in the title, last word in
// the title, any word in the category), fitted to the clicks of a first round which BM25 alone ranked. The best 45 % of all
// candidates pass the filter; the SR label asks for more, the best 35 %. Order: SR / sd + 3 lambda logpop01 + N(0, .15), the
// noise drawn anew each of 30 days.
//
// Clicks. 48 items on pages of 16; each next page is reached with .35. An item at position p is examined with p^-eta, and
// then clicked with .01 + .30 truth (.6 + .4 sigmoid(quality)). Of the clicks a purchase comes with .05 truth^2 (.6 + ...).
//
// Ads. A seller adopts a keyphrase that is recommended for an item with .05 + .45 truth. What is adopted is shown in .02 of the
// searches for it, if the filter lets the pair pass, and examined. A click costs .25; a price is e^(3 + .7 N). All by
// expectation: shop_sell draws nothing but the price. Illustrative, as no bids, budgets or competitors are simulated.
//
// LLM. logit = logit(text-truth) + .6 (overlap - .6) - 1.3 + 1.2 N, the noise fixed for a pair; text-truth is cut to .002
// and .998. Of the relations between types (accessory, sibling) 25 % are unknown to it: it takes the one for the other. In W6
// the noise is not the pair's: half of its variance is the query's, half that of what the query asks for and the item's type.
// The tuned LLM is logistic in logit(text-truth) and overlap, fitted to raters who saw the picture and had grades, so that
// one missed attribute was still good enough (truth >= .2); noise as above. People's grades are 0, and from truth .2, .5 and .8 on
// 1/3, 2/3 and 1.
//
// Labels. CTR: clicks/impressions > .05 with 40 impressions, positives only; where position does not matter (eta 0) the
// threshold is set anew to the precision `ctr_precision`. SR: candidates before the filter, yes = SR among the best 35 %.
// LLM: 40 % pairs that were shown, 40 % candidates (BM25's alone, no model's), 20 % of an item of the query's category.
// 5 % of the items are kept for dev, 5 % for test: they are sold like others, but no training file, nor the log, has a pair of
// theirs. The test items, beside them, are never sold; their popularity is drawn to group by.
//
// Worlds. W0 no bias (eta = lambda = 0, no filter); W1 position and popularity; W2 the filter; W3 both, the default; W4 is W3
// with the LLM's noise doubled; W5 is W3 where .6 of the queries name the visual value (hidden = 0: none); W6 is W3 where the
// LLM errs by query and by attribute: as often, but not so that it averages out. Knobs that are set win.
//
// How it compares. The rules were first tried on a prototype, whose marginals shop_measure prints beside its own. At the
// default size, seed 1: CTR positives are 89 % true (there 90 %; with 10 impressions and 100 sessions a query they are 76 %,
// as one click on an item with one miss is enough); 22 % of the unclicked are true (32 %); P(CTR positive | true) rises from
// .12 to .20 with popularity (.13 to .25); the filter drops 18 % (19 %); 58 % are never candidates (half); 47 % of the
// accessories among a device query's candidates pass SR (46 %); overlap has AUC .77 (.83); the LLM agrees with .96 (.90 to
// .965). Purchases are drawn.
//
// Numbers. Random numbers are hashes of (seed, what they are for, a count): the same everywhere, and no draw depends on how
// many came before elsewhere. exp, log and the normal quantile are made of + - * / here, of libm come only functions that
// are exact (floor, sqrt, frexp, ldexp). So a seed gives the same files on every machine that computes in IEEE doubles,
// unless the compiler fuses a * b + c: gcc does outside -std=c99 where the target can; give it -ffp-contract=off.

#ifndef SHOP_H
#define SHOP_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

// >>api

typedef enum shop_placebo {
    SHOP_NO_PLACEBO,
    SHOP_LLM_SHUFFLED,                  // the labels of llm.tsv are dealt anew among its rows: nothing is to be learnt
    SHOP_LLM_IS_TRUTH                   // shop_llm is shop_truth: the LLM's mistakes are gone
} shop_placebo;

// Runs task(arg, i) for each i of 0 .. n - 1, on any threads, and returns when all are done. NULL run = one after another.
typedef void shop_task(void *arg, int32_t i);
typedef struct shop_parallel {
    void (*run)(void *user, int32_t n, shop_task *task, void *arg);
    void *user;
    int32_t width;                      // how many it runs at once
} shop_parallel;

// Zero means default; where 0 itself is wanted, a negative number says so. Shares and probabilities are 0 to 1.
typedef struct shop_desc {
    uint64_t seed;                      // 0 = 1
    int32_t world;                      // 0 = 3; negative = W0
    int32_t n_items;                    // 0 = 6000
    int32_t n_queries;                  // 0 = 4000, distinct texts
    int32_t n_test_items;               // 0 = a third of n_items: numbers n_items and up, unseen by engine and clicks
    int32_t n_sessions;                 // 0 = 500 a query
    int32_t n_candidates;               // 0 = 150 a query
    int32_t n_ctr, n_sr, n_llm;         // 0 = 2.1, 4.675, 12.525 a query: at most so many training pairs
    int32_t n_llm_test;                 // 0 = .875 a query; as many again for dev
    int32_t impressions;                // 0 = 40. Fewer than these, and a pair has no CTR
    int32_t placebo;                    // a shop_placebo
    double eta;                         // 0 = 1, W0 W2: none. Position bias
    double lambda;                      // 0 = .5, W0 W2: none. Popularity bias
    double filter;                      // 0 = .45, W0 W1: 1. Share of the candidates that pass
    double sr_positive;                 // 0 = .35. Share of the candidates whose SR label is yes
    double reach;                       // 0 = .35. A next page
    double ctr_threshold;               // 0 = .05
    double ctr_precision;               // 0 = .89, what W3 has. Where eta is 0
    double rho;                         // 0 = none. Correlation of popularity with quality (of normal scores)
    double accessories;                 // 0 = .35
    double shared_heads;                // 0 = .15
    double visual_shown;                // 0 = .35
    double hidden;                      // 0 = .30, W5: .60. Queries that name the visual value
    double wrong_category;              // 0 = .07
    double stuffing;                    // 0 = .08
    double first_form;                  // 0 = .65. Of a value, by sellers; by buyers the second
    double alias;                       // 0 = .15
    double typos;                       // 0 = .04
    double llm_noise;                   // 0 = 1.2, W4: 2.4
    double llm_doubt;                   // 0 = 1.3
    double llm_overlap;                 // 0 = .6
    double llm_unknown;                 // 0 = .25
    double llm_by_query;                // 0 = none, W6: .5. Share of the noise's variance that a query's pairs share
    double llm_by_attribute;            // 0 = none, W6: .5. That a type's items share for a value, brand or model
    double held_out;                    // 0 = .05. Items for dev, and as many for test
    int32_t positions;                  // 0 = none: the log says where a pair was shown, a row for each position
    shop_parallel parallel;             // of shop_create; the shop is the same however it runs
} shop_desc;

typedef struct shop shop;

// NULL with a sentence in error. All is in memory: some 300 bytes an item, its title included, and 16 bytes for each
// candidate of a query. The search scores every title that has one of a query's words, so its time grows with items times
// queries; candidates, clicks and search scores run on all threads, the rest on one. A shop never changes once made: any
// number of threads may ask it.
shop *shop_create(const shop_desc *desc, char error[240]);
bool shop_check(const shop_desc *desc, char error[240]);    // what shop_create says of the numbers, at once
void shop_destroy(shop *s);                             // NULL is a no-op
shop_desc shop_get_desc(const shop *s);                 // with all defaults filled in

// Items are numbered from 0 to n_items + n_test_items - 1, queries from 0 to n_queries - 1. Numbers must be in range. Texts
// live as long as the shop.
int32_t shop_n_items(const shop *s);
int32_t shop_n_test_items(const shop *s);
int32_t shop_n_queries(const shop *s);
const char *shop_title(const shop *s, int32_t item);
const char *shop_category(const shop *s, int32_t item);
const char *shop_phrase(const shop *s, int32_t query);
int32_t shop_find_phrase(const shop *s, const char *text, size_t size);     // the query of exactly that text, or -1

// All are 0 to 1 with the verdict at .5.
double shop_truth(const shop *s, int32_t item, int32_t query);
double shop_text_truth(const shop *s, int32_t item, int32_t query);
double shop_llm(const shop *s, int32_t item, int32_t query);
double shop_llm_tuned(const shop *s, int32_t item, int32_t query);
double shop_sr(const shop *s, int32_t item, int32_t query);                 // .5 = the threshold of the SR label
double shop_overlap(const shop *s, int32_t item, int32_t query);            // share of the query's words in the title
bool shop_passes(const shop *s, int32_t item, int32_t query);               // the engine's filter; where none is, true

double shop_demand(const shop *s, int32_t query);       // share of the sessions
double shop_popularity(const shop *s, int32_t item);    // 0 to 1, on the scale of logarithms; ranks of test items are their own
double shop_purchase(const shop *s, int32_t item, int32_t query);   // after a click: .05 truth^2 (.6 + .4 sigmoid(quality))
typedef struct shop_sale { double adopted, clicks, spend, gmb; } shop_sale;
shop_sale shop_sell(const shop *s, int32_t item, int32_t query);    // what recommending it comes to, by expectation
int32_t shop_find_title(const shop *s, const char *text, size_t size);      // the item of exactly that title, or -1

typedef enum shop_set {                 // a new one comes last: streams of random numbers go by them
    SHOP_CTR, SHOP_SR, SHOP_LLM, SHOP_LLM_DEV, SHOP_LLM_TEST, SHOP_CTR_TEST, SHOP_SR_TEST, SHOP_N_SETS
} shop_set;
typedef struct shop_pair { int32_t item, query, label; } shop_pair;
const shop_pair *shop_pairs(const shop *s, shop_set set, int32_t *n);       // shuffled; valid as long as the shop

// Files: TAB between columns, LF after a row, no header. false = writing failed.
bool shop_write_items(const shop *s, FILE *f);          // title, category
bool shop_write_test_items(const shop *s, FILE *f);     // title, category
bool shop_write_keyphrases(const shop *s, FILE *f);     // query number, keyphrase
bool shop_write_phrases(const shop *s, FILE *f);        // the same without numbers: these are the lines, from 0
bool shop_write_ctr(const shop *s, FILE *f);            // keyphrase, title, category
bool shop_write_sr(const shop *s, FILE *f);             // keyphrase, title, category, label; so are the next six
bool shop_write_ctr_test(const shop *s, FILE *f);       // whether a CTR positive, of unseen items' pairs that were shown enough
bool shop_write_sr_test(const shop *s, FILE *f);
bool shop_write_llm(const shop *s, FILE *f);
bool shop_write_llm_dev(const shop *s, FILE *f);
bool shop_write_llm_test(const shop *s, FILE *f);
bool shop_write_truth_test(const shop *s, FILE *f);     // the pairs of llm_test, yes = truth >= .5
bool shop_write_tuned(const shop *s, FILE *f);          // the pairs of llm, by the tuned LLM
bool shop_write_rated(const shop *s, FILE *f);          // the pairs of llm_dev, label 0, 0.33, 0.67 or 1: people's grades
bool shop_write_sr_scored(const shop *s, FILE *f);      // keyphrase, title, category, label, score 0 to 1, number of the query
bool shop_write_llm_scored(const shop *s, FILE *f);     // of the LLM: its probability; of shuffled labels the label again
bool shop_write_log(const shop *s, FILE *f);            // keyphrase, title, category, impressions, clicks, with `positions` the
                                                        // position, from 1; no held-out items
bool shop_write_purchases(const shop *s, FILE *f);      // keyphrase, title, category, purchases (from 1) of the log's clicks
bool shop_write_popularity(const shop *s, FILE *f);     // of test items: row from 0, popularity
bool shop_write_corpus(const shop *s, FILE *f);         // a title or query a line
bool shop_write_ini(const shop *s, FILE *f);            // `key = value`, enough to make the same shop again

typedef struct shop_file { const char *name; bool (*write)(const shop *s, FILE *f); } shop_file;
shop_file shop_get_file(int i);                         // the files above in order; the name is NULL at the end

// Reads what shop_write_ini wrote: keys are the fields of shop_desc, 0 is a plain 0, `#` and `;` begin a comment line. On
// failure false with a sentence in error and *line from 1. Keys that are missing keep what *desc has.
bool shop_read_ini(FILE *f, shop_desc *desc, int64_t *line, char error[240]);

typedef struct shop_figure { const char *name; double value; const char *prototype; } shop_figure;
enum { SHOP_N_FIGURES = 22 };
int shop_measure(const shop *s, shop_figure out[SHOP_N_FIGURES]);          // how many; reads every pair of the candidates

#endif // SHOP_H

#ifdef SHOP_IMPLEMENTATION
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#ifdef __clang__
#pragma STDC FP_CONTRACT OFF
#endif

// >>numbers ----------------------------------------------------------------------------------------------------------

// What a random number is for. A new purpose gets a new number, so that the others keep theirs.
enum {
    SHOP__LEXICON = 1, SHOP__TYPE, SHOP__ITEM, SHOP__TITLE, SHOP__POPULARITY, SHOP__QUERY, SHOP__DEMAND, SHOP__RANK,
    SHOP__SESSION, SHOP__NOISE, SHOP__RELATION, SHOP__SPLIT, SHOP__POOL, SHOP__SHUFFLE, SHOP__SESSIONS,
    SHOP__PURCHASE, SHOP__PRICE
};

typedef struct shop__rng { uint64_t key, n; } shop__rng;

#define SHOP__GOLDEN UINT64_C(0x9E3779B97F4A7C15)

static uint64_t shop__mix(uint64_t x) {                 // SplitMix64's finaliser
    x = (x ^ (x >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94D049BB133111EB);
    return x ^ (x >> 31);
}

static shop__rng shop__stream(uint64_t seed, int use, int64_t a, int64_t b) {
    shop__rng r = {0, 0};
    r.key = shop__mix(seed + SHOP__GOLDEN * (uint64_t)use);
    r.key = shop__mix(r.key + SHOP__GOLDEN * (uint64_t)a);
    r.key = shop__mix(r.key + SHOP__GOLDEN * (uint64_t)b);
    return r;
}

static uint64_t shop__bits(shop__rng *r) { return shop__mix(r->key + ++r->n * SHOP__GOLDEN); }
static double shop__uniform(shop__rng *r) { return (double)(shop__bits(r) >> 11) * (1.0 / 9007199254740992.0); }
static bool shop__chance(shop__rng *r, double p) { return shop__uniform(r) < p; }

static int32_t shop__below(shop__rng *r, int32_t n) {
    return (int32_t)(((shop__bits(r) >> 32) * (uint64_t)n) >> 32);
}

static double shop__exp(double x) {
    static const double inverse_factorial[14] = {
        1, 1, 1 / 2., 1 / 6., 1 / 24., 1 / 120., 1 / 720., 1 / 5040., 1 / 40320., 1 / 362880., 1 / 3628800., 1 / 39916800.,
        1 / 479001600., 1 / 6227020800.};
    double n, r, sum = inverse_factorial[13];
    x = x < -700 ? -700 : x > 700 ? 700 : x;
    n = floor(x * 1.4426950408889634 + 0.5);
    r = (x - n * 0.693147180369123816490) - n * 1.90821492927058770002e-10;
    for (int i = 12; i >= 0; i--) sum = sum * r + inverse_factorial[i];
    return ldexp(sum, (int)n);
}

static double shop__log(double x) {
    int e;
    double m = frexp(x, &e), z, square, sum = 0;
    if (m < 0.70710678118654752) { m *= 2; e--; }
    z = (m - 1) / (m + 1);
    square = z * z;
    for (int i = 23; i > 0; i -= 2) sum = sum * square + 1.0 / i;
    return e * 0.69314718055994531 + 2 * z * sum;
}

static double shop__sigmoid(double x) { return 1 / (1 + shop__exp(-x)); }
static double shop__power(double x, double y) { return shop__exp(y * shop__log(x)); }

// The normal quantile, Acklam's rational approximation: relative error 1e-9.
static double shop__quantile_tail(double p) {
    double q = sqrt(-2 * shop__log(p));
    return (((((-7.784894002430293e-03 * q - 3.223964580411365e-01) * q - 2.400758277161838e+00) * q
              - 2.549732539343734e+00) * q + 4.374664141464968e+00) * q + 2.938163982698783e+00)
         / ((((7.784695709041462e-03 * q + 3.224671290700398e-01) * q + 2.445134137142996e+00) * q
             + 3.754408661907416e+00) * q + 1);
}

static double shop__quantile(double p) {
    double q = p - 0.5, r = q * q;
    if (p < 0.02425) return shop__quantile_tail(p);
    if (p > 1 - 0.02425) return -shop__quantile_tail(1 - p);
    return (((((-3.969683028665376e+01 * r + 2.209460984245205e+02) * r - 2.759285104469687e+02) * r
              + 1.383577518672690e+02) * r - 3.066479806614716e+01) * r + 2.506628277459239e+00) * q
         / (((((-5.447609879822406e+01 * r + 1.615858368580409e+02) * r - 1.556989798598866e+02) * r
              + 6.680131188771972e+01) * r - 1.328068155288572e+01) * r + 1);
}

static double shop__normal(shop__rng *r) {
    return shop__quantile(((double)(shop__bits(r) >> 12) + 0.5) * (1.0 / 4503599627370496.0));
}

typedef struct shop__key { double key; int32_t id; } shop__key;

static int shop__by_key(const void *a, const void *b) {         // falling; equal keys by rising id
    const shop__key *x = (const shop__key *)a, *y = (const shop__key *)b;
    if (x->key != y->key) return x->key < y->key ? 1 : -1;
    return (x->id > y->id) - (x->id < y->id);
}

// Puts x into the best k, which are in order.
static void shop__keep(shop__key *best, int32_t *n, int32_t k, shop__key x) {
    int32_t low = 0, high = *n;
    if (*n == k && shop__by_key(&x, &best[k - 1]) > 0) return;
    while (low < high) {
        int32_t mid = low + (high - low) / 2;
        if (shop__by_key(&x, &best[mid]) < 0) high = mid; else low = mid + 1;
    }
    if (*n < k) ++*n;
    memmove(&best[low + 1], &best[low], (size_t)(*n - 1 - low) * sizeof *best);
    best[low] = x;
}

// >>memory  The shop, and what it owns. ------------------------------------------------------------------------------

enum {
    SHOP__DEPARTMENTS = 6, SHOP__TYPES_EACH = 14, SHOP__TYPES = SHOP__DEPARTMENTS * SHOP__TYPES_EACH, SHOP__DEVICES = 4,
    SHOP__POOL_ATTRIBUTES = 12, SHOP__ATTRIBUTES = 4, SHOP__MAX_VALUES = 10, SHOP__MAX_HEADS = 4,
    SHOP__BRANDS_EACH = 20, SHOP__BRANDS = 8, SHOP__MAX_MODELS = 8, SHOP__MODEL_NAMES = 240, SHOP__MAX_FITS = 4,
    SHOP__FILLERS = 40, SHOP__TITLE_WORDS = 24, SHOP__QUERY_WORDS = 10, SHOP__FEATURES = 4,
    SHOP__PAGE = 16, SHOP__SHOWN = 48, SHOP__DAYS = 30, SHOP__MOST_CANDIDATES = 1000
};

typedef enum shop__zipf_power { SHOP__Z6, SHOP__Z8, SHOP__Z10, SHOP__N_ZIPF } shop__zipf_power;

typedef struct shop__type {
    int32_t department, device, sibling;            // device: of an accessory, else -1; sibling: -1 = none
    int32_t n_heads, head[SHOP__MAX_HEADS];         // words
    int32_t category;                               // a word
    int32_t attribute[SHOP__ATTRIBUTES], first[SHOP__ATTRIBUTES];       // of the pool; the value met most
    double shown[SHOP__ATTRIBUTES];                 // in a title
    int32_t brand[SHOP__BRANDS], n_models[SHOP__BRANDS], model[SHOP__BRANDS][SHOP__MAX_MODELS];     // brand number; words
} shop__type;

typedef struct shop__attribute { int32_t n, word[SHOP__MAX_VALUES][2]; } shop__attribute;   // sellers' word, buyers' word

typedef struct shop__item {
    int32_t type, category_type, head;              // head: which of the type's
    int32_t brand, model;                           // brand number; a word, -1 = none
    int32_t fit_brand, n_fits, fit[SHOP__MAX_FITS]; // of accessories: brand number, -1 = none; models, words
    int32_t value[SHOP__ATTRIBUTES];
    bool brand_shown, model_shown, shown[SHOP__ATTRIBUTES];
    double quality, popularity;
    int32_t word, n_words;                          // in title_words
    size_t title;                                   // in text
} shop__item;

typedef struct shop__intent {
    int32_t type, brand, model, value[SHOP__ATTRIBUTES];    // -1 = anything
    int32_t weight, next;                           // draws; the query's next intent, -1 = none
} shop__intent;

typedef struct shop__query {
    int32_t n_words, word[SHOP__QUERY_WORDS], intent, draws;
    double demand, ideal;                           // ideal: the largest BM25 that a title could have
    size_t text;
} shop__query;

typedef struct shop__seen { int32_t shown, clicks; } shop__seen;
typedef struct shop__candidate { int32_t item; float sr; shop__seen seen; } shop__candidate;

typedef struct shop__table { int32_t *slot; uint32_t size; } shop__table;       // open addressing; -1 = free; size 2^k

typedef struct shop__pairs { shop_pair *pair; int32_t n; size_t capacity; } shop__pairs;

struct shop {
    shop_desc desc;                                 // as written: negative = 0
    shop_desc d;                                    // as used: no negatives
    double power[SHOP__N_ZIPF][SHOP__TYPES + 1], total[SHOP__N_ZIPF][SHOP__TYPES + 1];  // k^-s, and the sum up to k
    char *text; size_t text_size, text_capacity;
    size_t *words; int32_t n_words; size_t words_capacity; shop__table word_table;      // a word's place in text
    shop__type type[SHOP__TYPES];
    int32_t type_order[SHOP__TYPES];                // by frequency
    shop__attribute attribute[SHOP__POOL_ATTRIBUTES];
    int32_t brand_word[SHOP__DEPARTMENTS * SHOP__BRANDS_EACH][2];
    int32_t filler[SHOP__FILLERS], model_name[SHOP__MODEL_NAMES], word_for;
    shop__item *items; int32_t n_all;
    int32_t *title_words; size_t n_title_words, title_words_capacity; shop__table title_table;
    shop__query *queries; int32_t n_queries; size_t queries_capacity; shop__table query_table;
    shop__intent *intents; int32_t n_intents; size_t intents_capacity;
    int32_t *by_category, category_start[SHOP__TYPES + 1];      // training items by their written category
    int32_t *by_type, type_start[SHOP__TYPES + 1];              // training items by their type
    int32_t *postings, *posting_start, n_index_words;           // training items by word; words made later have none
    double *idf, mean_words;
    shop__candidate *candidates; int32_t *candidate_start;      // of query q: candidate_start[q] up to [q + 1]
    double sr_weight[SHOP__FEATURES + 1], sr_sd, tuned_weight[SHOP__FEATURES + 1], ctr_threshold;
    float filter_threshold, sr_threshold;
    shop__pairs set[SHOP_N_SETS];
    bool no_memory;                                 // a word could not be made
};

// Makes room for n of the array *p, at least twice as much as before.
static bool shop__grow(void **p, size_t *capacity, size_t n, size_t size) {
    size_t want = *capacity * 2 > n ? *capacity * 2 : n < 64 ? 64 : n;
    void *q;
    if (n <= *capacity) return true;
    if (want > SIZE_MAX / size) return false;
    q = realloc(*p, want * size);
    if (!q) return false;
    *p = q;
    *capacity = want;
    return true;
}

static bool shop__table_create(shop__table *t, uint32_t n) {
    uint32_t size = 64;
    while (size / 2 < n) size *= 2;
    t->slot = (int32_t *)malloc(size * sizeof *t->slot);
    if (!t->slot) return false;
    memset(t->slot, 0xFF, size * sizeof *t->slot);
    t->size = size;
    return true;
}

static uint64_t shop__text_hash(const char *text, size_t n) {
    uint64_t h = UINT64_C(14695981039346656037);    // FNV-1a
    for (size_t i = 0; i < n; i++) h = (h ^ (uint8_t)text[i]) * UINT64_C(1099511628211);
    return shop__mix(h);
}

static bool shop__text_is(const shop *s, size_t at, const char *text, size_t n) {
    return !strncmp(s->text + at, text, n) && !s->text[at + n];
}

// Appends n bytes and a zero to the texts; false = no memory.
static bool shop__text_add(shop *s, const char *text, size_t n, size_t *at) {
    if (!shop__grow((void **)&s->text, &s->text_capacity, s->text_size + n + 1, 1)) return false;
    memcpy(s->text + s->text_size, text, n);
    s->text[s->text_size + n] = 0;
    *at = s->text_size;
    s->text_size += n + 1;
    return true;
}

// >>words  Every word has a number. ----------------------------------------------------------------------------------

static uint32_t shop__word_slot(const shop *s, const char *text, size_t n) {
    const shop__table *t = &s->word_table;
    uint32_t at = (uint32_t)shop__text_hash(text, n) & (t->size - 1);
    while (t->slot[at] >= 0 && !shop__text_is(s, s->words[t->slot[at]], text, n)) at = (at + 1) & (t->size - 1);
    return at;
}

static const char *shop__word_text(const shop *s, int32_t word) { return s->text + s->words[word]; }

static bool shop__word_table_grow(shop *s) {
    shop__table old = s->word_table;
    if (!shop__table_create(&s->word_table, (uint32_t)s->n_words * 2 + 64)) return s->word_table = old, false;
    for (int32_t i = 0; i < s->n_words; i++) {
        const char *text = shop__word_text(s, i);
        s->word_table.slot[shop__word_slot(s, text, strlen(text))] = i;
    }
    free(old.slot);
    return true;
}

// The number of the word, made when it is new. Without memory 0, and s->no_memory says so later.
static int32_t shop__word(shop *s, const char *text) {
    size_t n = strlen(text), place;
    uint32_t at;
    s->no_memory |= (uint32_t)s->n_words * 2 >= s->word_table.size && !shop__word_table_grow(s);
    if (s->no_memory) return 0;
    at = shop__word_slot(s, text, n);
    if (s->word_table.slot[at] >= 0) return s->word_table.slot[at];
    s->no_memory = !shop__grow((void **)&s->words, &s->words_capacity, (size_t)s->n_words + 1, sizeof *s->words)
                || !shop__text_add(s, text, n, &place);
    if (s->no_memory) return 0;
    s->words[s->n_words] = place;
    s->word_table.slot[at] = s->n_words;
    return s->n_words++;
}

static void shop__syllable(shop__rng *r, char *out) {
    static const char *const onset[] = {"b", "d", "f", "g", "k", "l", "m", "n", "p", "r", "s", "t", "v", "z", "br", "dr",
                                        "gr", "kl", "pl", "st", "tr", "sk", "fl", "j"};
    static const char *const vowel[] = {"a", "e", "i", "o", "u", "a", "e", "i", "o", "ai", "ou"};
    static const char *const coda[] = {"", "", "", "n", "r", "l", "s", "m", "t"};
    strcat(out, onset[shop__below(r, (int32_t)(sizeof onset / sizeof *onset))]);
    strcat(out, vowel[shop__below(r, (int32_t)(sizeof vowel / sizeof *vowel))]);
    strcat(out, coda[shop__below(r, (int32_t)(sizeof coda / sizeof *coda))]);
}

// A model's name: two letters and a number.
static void shop__model_text(shop__rng *r, char *out) {
    static const char letters[] = "bcdfghjkmnpqrstvwxz";
    int32_t a = shop__below(r, (int32_t)sizeof letters - 1), b = shop__below(r, (int32_t)sizeof letters - 1);
    sprintf(out, "%c%c%d", letters[a], letters[b], (int)(1 + shop__below(r, 9)) * (shop__chance(r, 0.5) ? 10 : 1));
}

// A word that was not there.
static int32_t shop__new_word(shop *s, shop__rng *r, bool model) {
    for (;;) {
        char text[64] = "";
        int32_t before = s->n_words, word;
        if (model) shop__model_text(r, text);
        else for (int32_t i = 2 + shop__chance(r, 0.25); i > 0; i--) shop__syllable(r, text);
        word = shop__word(s, text);
        if (s->no_memory || word == before) return word;
    }
}

// Mistypes: a letter left out, doubled, or in the other order.
static int32_t shop__mistype(shop *s, shop__rng *r, int32_t word) {
    char text[80];
    size_t n = strlen(shop__word_text(s, word)), at;
    if (n < 4) return word;
    memcpy(text, shop__word_text(s, word), n + 1);
    at = 1 + (size_t)shop__below(r, (int32_t)n - 2);
    switch (shop__below(r, 3)) {
    case 0: memmove(text + at, text + at + 1, n - at); break;
    case 1: memmove(text + at + 1, text + at, n - at + 1); break;
    default: { char c = text[at]; text[at] = text[at + 1]; text[at + 1] = c; }
    }
    return shop__word(s, text);
}

// Joins words with spaces; n of out must hold them.
static size_t shop__join(const shop *s, const int32_t *word, int32_t n, char *out) {
    size_t size = 0;
    for (int32_t i = 0; i < n; i++) {
        const char *text = shop__word_text(s, word[i]);
        size_t length = strlen(text);
        if (i) out[size++] = ' ';
        memcpy(out + size, text, length);
        size += length;
    }
    out[size] = 0;
    return size;
}

static void shop__zipf_create(shop *s) {
    static const double power[SHOP__N_ZIPF] = {0.6, 0.8, 1};
    for (int z = 0; z < SHOP__N_ZIPF; z++)
        for (int k = 1; k <= SHOP__TYPES; k++) {
            s->power[z][k] = shop__power(k, -power[z]);
            s->total[z][k] = s->total[z][k - 1] + s->power[z][k];
        }
}

static double shop__zipf_p(const shop *s, shop__zipf_power z, int32_t rank, int32_t n) {       // rank from 0
    return s->power[z][rank + 1] / s->total[z][n];
}

static int32_t shop__zipf(const shop *s, shop__rng *r, shop__zipf_power z, int32_t n) {
    double u = shop__uniform(r) * s->total[z][n];
    int32_t k = 0;
    while (k < n - 1 && s->total[z][k + 1] <= u) k++;
    return k;
}

// >>desc  Every knob: integer or number, its default, its range. -----------------------------------------------------

#define SHOP__KNOBS(I, N) \
    I(world, 3, 0, 6) I(n_items, 6000, 50, 5000000) I(n_queries, 4000, 20, 1000000) I(n_test_items, 0, 1, 5000000) \
    I(n_sessions, 0, 1, 1000000000) I(n_candidates, 150, 1, SHOP__MOST_CANDIDATES) I(n_ctr, 0, 1, 100000000) \
    I(n_sr, 0, 1, 100000000) I(n_llm, 0, 1, 100000000) I(n_llm_test, 0, 1, 100000000) \
    I(impressions, 40, 1, 1000000) I(placebo, 0, 0, 2) I(positions, 0, 0, 1) \
    N(eta, 1, 4) N(lambda, .5, 10) N(filter, .45, 1) N(sr_positive, .35, 1) N(reach, .35, 1) N(ctr_threshold, .05, 1) \
    N(ctr_precision, .89, 1) N(rho, 0, 1) N(accessories, .35, 1) N(shared_heads, .15, 1) N(visual_shown, .35, 1) \
    N(hidden, .3, 1) N(wrong_category, .07, 1) N(stuffing, .08, 1) N(first_form, .65, 1) N(alias, .15, 1) \
    N(typos, .04, 1) N(llm_noise, 1.2, 100) N(llm_doubt, 1.3, 100) N(llm_overlap, .6, 100) N(llm_unknown, .25, 1) \
    N(llm_by_query, 0, 1) N(llm_by_attribute, 0, 1) N(held_out, .05, .4)

typedef struct shop__knob { const char *name; bool integer; size_t at; double fallback, low, high; } shop__knob;

#define SHOP__INTEGER(name, fallback, low, high) {#name, true, offsetof(shop_desc, name), fallback, low, high},
#define SHOP__NUMBER(name, fallback, high) {#name, false, offsetof(shop_desc, name), fallback, 0, high},
static const shop__knob SHOP__KNOB[] = {SHOP__KNOBS(SHOP__INTEGER, SHOP__NUMBER)};
enum { SHOP__N_KNOBS = sizeof SHOP__KNOB / sizeof *SHOP__KNOB };

static double shop__get(const shop_desc *d, const shop__knob *k) {
    const char *p = (const char *)d + k->at;
    return k->integer ? (double)*(const int32_t *)(const void *)p : *(const double *)(const void *)p;
}

static void shop__set(shop_desc *d, const shop__knob *k, double v) {
    char *p = (char *)d + k->at;
    if (k->integer) *(int32_t *)(void *)p = (int32_t)v;
    else *(double *)(void *)p = v;
}

static void shop__default(double *p, double v) { if (*p == 0) *p = v; }

static void shop__world(shop_desc *d) {
    int32_t world = d->world < 0 ? 0 : d->world ? d->world : 3;
    bool clicks = world != 0 && world != 2, filter = world >= 2;
    shop__default(&d->eta, clicks ? 1 : -1);
    shop__default(&d->lambda, clicks ? .5 : -1);
    shop__default(&d->filter, filter ? .45 : 1);
    shop__default(&d->llm_noise, world == 4 ? 2.4 : 1.2);
    shop__default(&d->hidden, world == 5 ? .6 : .3);
    shop__default(&d->llm_by_query, world == 6 ? .5 : -1);
    shop__default(&d->llm_by_attribute, world == 6 ? .5 : -1);
}

static int32_t shop__scaled(double a_query, int32_t n_queries) {
    double n = floor(a_query * n_queries + .5);
    return n < 1 ? 1 : n > 1e8 ? 100000000 : (int32_t)n;
}

// What depends on other knobs, once those are known.
static void shop__sizes(shop_desc *d) {
    if (!d->n_test_items) d->n_test_items = (d->n_items + 2) / 3;
    if (!d->n_sessions) d->n_sessions = shop__scaled(500, d->n_queries);
    if (!d->n_ctr) d->n_ctr = shop__scaled(2.1, d->n_queries);
    if (!d->n_sr) d->n_sr = shop__scaled(4.675, d->n_queries);
    if (!d->n_llm) d->n_llm = shop__scaled(12.525, d->n_queries);
    if (!d->n_llm_test) d->n_llm_test = shop__scaled(.875, d->n_queries);
}

// Fills in the defaults of s->desc, and s->d where negative numbers are zero.
static bool shop__resolve(shop *s, char *error) {
    shop_desc *d = &s->desc;
    if (!d->seed) d->seed = 1;
    shop__world(d);
    for (int i = 0; i < SHOP__N_KNOBS; i++)
        if (shop__get(d, &SHOP__KNOB[i]) == 0) shop__set(d, &SHOP__KNOB[i], SHOP__KNOB[i].fallback);
    shop__sizes(d);
    s->d = *d;
    for (int i = 0; i < SHOP__N_KNOBS; i++) {
        const shop__knob *k = &SHOP__KNOB[i];
        double v = shop__get(d, k);
        if (v < 0) shop__set(&s->d, k, v = 0);
        if (v >= k->low && v <= k->high) continue;
        return snprintf(error, 240, "%s is %.9g, expected %.9g to %.9g", k->name, v, k->low, k->high), false;
    }
    if (s->d.llm_by_query + s->d.llm_by_attribute > 1)
        return snprintf(error, 240, "llm_by_query and llm_by_attribute are %.9g together, expected at most 1",
                        s->d.llm_by_query + s->d.llm_by_attribute), false;
    return true;
}

bool shop_check(const shop_desc *desc, char error[240]) {
    shop s;
    memset(&s, 0, sizeof s);
    s.desc = *desc;
    return shop__resolve(&s, error);
}

// >>types ------------------------------------------------------------------------------------------------------------

static void shop__shuffle(shop__rng *r, int32_t *a, int32_t n) {
    for (int32_t i = n - 1; i > 0; i--) {
        int32_t k = shop__below(r, i + 1), x = a[i];
        a[i] = a[k];
        a[k] = x;
    }
}

// The words that all types share.
static bool shop__lexicon(shop *s) {
    shop__rng r = shop__stream(s->d.seed, SHOP__LEXICON, 0, 0);
    s->word_for = shop__word(s, "for");
    for (int a = 0; a < SHOP__POOL_ATTRIBUTES; a++) {
        s->attribute[a].n = 4 + shop__below(&r, SHOP__MAX_VALUES - 3);
        for (int v = 0; v < 2 * s->attribute[a].n; v++) s->attribute[a].word[v / 2][v % 2] = shop__new_word(s, &r, false);
    }
    for (int b = 0; b < 2 * SHOP__DEPARTMENTS * SHOP__BRANDS_EACH; b++)
        s->brand_word[b / 2][b % 2] = shop__new_word(s, &r, false);
    for (int i = 0; i < SHOP__FILLERS; i++) s->filler[i] = shop__new_word(s, &r, false);
    for (int i = 0; i < SHOP__MODEL_NAMES; i++) s->model_name[i] = shop__new_word(s, &r, true);
    return !s->no_memory;
}

static void shop__type_attributes(shop *s, shop__rng *r, shop__type *t) {
    int32_t pool[SHOP__POOL_ATTRIBUTES - 1];
    for (int32_t i = 0; i < SHOP__POOL_ATTRIBUTES - 1; i++) pool[i] = i + 1;
    shop__shuffle(r, pool, SHOP__POOL_ATTRIBUTES - 1);
    for (int i = 0; i < SHOP__ATTRIBUTES; i++) {
        t->attribute[i] = i ? pool[i - 1] : 0;
        t->shown[i] = i ? .35 + .6 * shop__uniform(r) : s->d.visual_shown;
        t->first[i] = shop__below(r, s->attribute[t->attribute[i]].n);
    }
}

static void shop__type_brands(shop *s, shop__rng *r, shop__type *t) {
    int32_t pool[SHOP__BRANDS_EACH];
    for (int32_t i = 0; i < SHOP__BRANDS_EACH; i++) pool[i] = t->department * SHOP__BRANDS_EACH + i;
    shop__shuffle(r, pool, SHOP__BRANDS_EACH);
    for (int b = 0; b < SHOP__BRANDS; b++) {
        int32_t first = shop__below(r, SHOP__MODEL_NAMES), step = 1 + shop__below(r, SHOP__MODEL_NAMES / SHOP__MAX_MODELS);
        t->brand[b] = pool[b];
        t->n_models[b] = 2 + shop__below(r, SHOP__MAX_MODELS - 1);
        for (int32_t m = 0; m < t->n_models[b]; m++) t->model[b][m] = s->model_name[(first + m * step) % SHOP__MODEL_NAMES];
    }
}

static bool shop__type_create(shop *s, int32_t i) {
    shop__type *t = &s->type[i];
    shop__rng r = shop__stream(s->d.seed, SHOP__TYPE, i, 0);
    t->department = i / SHOP__TYPES_EACH;
    t->device = t->sibling = -1;
    if (i % SHOP__TYPES_EACH >= SHOP__DEVICES && shop__chance(&r, s->d.accessories))
        t->device = t->department * SHOP__TYPES_EACH + shop__below(&r, SHOP__DEVICES);
    t->n_heads = 2 + shop__below(&r, SHOP__MAX_HEADS - 1);
    for (int32_t h = 0; h < t->n_heads; h++) t->head[h] = shop__new_word(s, &r, false);
    t->category = shop__chance(&r, .5) ? shop__new_word(s, &r, false) : t->head[0];
    shop__type_attributes(s, &r, t);
    shop__type_brands(s, &r, t);
    return !s->no_memory;
}

// Pairs each type with the next of its kind: a plain one, or an accessory of the same device.
static void shop__siblings(shop *s) {
    for (int32_t i = 0; i < SHOP__TYPES; i++)
        for (int32_t k = i + 1; k < SHOP__TYPES && s->type[i].sibling < 0; k++) {
            if (s->type[k].department != s->type[i].department || s->type[k].device != s->type[i].device) continue;
            if (s->type[k].sibling >= 0) continue;
            s->type[i].sibling = k;
            s->type[k].sibling = i;
        }
}

static bool shop__types(shop *s) {
    shop__rng r = shop__stream(s->d.seed, SHOP__TYPE, SHOP__TYPES, 0);
    for (int32_t i = 0; i < SHOP__TYPES; i++) {
        s->type_order[i] = i;
        if (!shop__type_create(s, i)) return false;
    }
    shop__shuffle(&r, s->type_order, SHOP__TYPES);
    shop__siblings(s);
    for (int32_t i = 0; i < SHOP__TYPES; i++) {
        shop__type *t = &s->type[i];
        bool share = shop__chance(&r, s->d.shared_heads);
        if (share && t->sibling >= 0) t->head[t->n_heads - 1] = s->type[t->sibling].head[1];
    }
    return true;
}

// The rank of a value among those of slot i of a type, from 0: each type has its own order.
static int32_t shop__value_rank(const shop *s, const shop__type *t, int i, int32_t value) {
    int32_t n = s->attribute[t->attribute[i]].n;
    return (value - t->first[i] + n) % n;
}

// The slot of an attribute of the pool, or -1.
static int shop__slot(const shop__type *t, int32_t attribute) {
    for (int i = 0; i < SHOP__ATTRIBUTES; i++)
        if (t->attribute[i] == attribute) return i;
    return -1;
}

// >>items ------------------------------------------------------------------------------------------------------------

static int32_t shop__draw_type(const shop *s, shop__rng *r) { return s->type_order[shop__zipf(s, r, SHOP__Z8, SHOP__TYPES)]; }

// An accessory fits 1 to 4 models of one of its device's brands.
static void shop__draw_fits(const shop *s, shop__rng *r, shop__item *it) {
    const shop__type *device = &s->type[s->type[it->type].device];
    int32_t b = shop__zipf(s, r, SHOP__Z10, SHOP__BRANDS), n = device->n_models[b], first = shop__below(r, n);
    it->fit_brand = device->brand[b];
    it->n_fits = 1 + shop__below(r, n < SHOP__MAX_FITS ? n : SHOP__MAX_FITS);
    for (int32_t i = 0; i < it->n_fits; i++) it->fit[i] = device->model[b][(first + i) % n];
}

// What the item is, and which of it the title will say.
static void shop__draw_item(const shop *s, shop__rng *r, shop__item *it) {
    const shop__type *t;
    int32_t b;
    memset(it, 0, sizeof *it);
    it->type = shop__draw_type(s, r);
    t = &s->type[it->type];
    b = shop__zipf(s, r, SHOP__Z10, SHOP__BRANDS);
    it->brand = t->brand[b];
    it->model = t->device < 0 ? t->model[b][shop__below(r, t->n_models[b])] : -1;
    it->fit_brand = -1;
    if (t->device >= 0) shop__draw_fits(s, r, it);
    it->head = shop__zipf(s, r, SHOP__Z6, t->n_heads);
    for (int i = 0; i < SHOP__ATTRIBUTES; i++) {
        int32_t n = s->attribute[t->attribute[i]].n;
        it->value[i] = (t->first[i] + shop__zipf(s, r, SHOP__Z8, n)) % n;
        it->shown[i] = shop__chance(r, t->shown[i]);
    }
    it->brand_shown = shop__chance(r, .8);
    it->model_shown = it->model >= 0 && shop__chance(r, .9);
    it->quality = shop__normal(r);
    it->category_type = it->type;
    if (shop__chance(r, s->d.wrong_category)) {
        int32_t k = it->type + 1 + shop__below(r, SHOP__TYPES_EACH - 1);
        it->category_type = t->department * SHOP__TYPES_EACH + k % SHOP__TYPES_EACH;
        if (it->category_type == it->type) it->category_type = t->department * SHOP__TYPES_EACH + (k + 1) % SHOP__TYPES_EACH;
    }
}

// A title is chunks in any order; a chunk keeps its order.
typedef struct shop__title { int32_t word[SHOP__TITLE_WORDS], n, start[SHOP__TITLE_WORDS + 1], n_chunks; } shop__title;

static void shop__say(shop__title *t, int32_t word) {
    t->start[t->n_chunks++] = t->n;
    t->word[t->n++] = word;
    t->start[t->n_chunks] = t->n;
}

static void shop__say_on(shop__title *t, int32_t word) {        // in the chunk begun last
    t->word[t->n++] = word;
    t->start[t->n_chunks] = t->n;
}

static int32_t shop__brand_form(const shop *s, shop__rng *r, int32_t brand) {
    return s->brand_word[brand][shop__chance(r, s->d.alias)];
}

static void shop__say_stuffing(const shop *s, shop__rng *r, shop__title *t) {
    const shop__type *other = &s->type[shop__draw_type(s, r)];
    if (!shop__chance(r, s->d.stuffing)) return;
    if (shop__chance(r, .5)) shop__say(t, other->head[0]);
    else shop__say(t, s->brand_word[other->brand[0]][0]);
}

static void shop__say_item(const shop *s, shop__rng *r, const shop__item *it, shop__title *t) {
    const shop__type *type = &s->type[it->type];
    memset(t, 0, sizeof *t);
    if (it->brand_shown) shop__say(t, shop__brand_form(s, r, it->brand));
    if (it->model_shown) shop__say(t, it->model);
    shop__say(t, type->head[it->head]);
    for (int i = 0; i < SHOP__ATTRIBUTES; i++)
        if (it->shown[i]) shop__say(t, s->attribute[type->attribute[i]].word[it->value[i]][!shop__chance(r, s->d.first_form)]);
    if (it->n_fits) {
        shop__say(t, s->word_for);
        shop__say_on(t, shop__brand_form(s, r, it->fit_brand));
        for (int32_t i = 0; i < it->n_fits; i++) shop__say_on(t, it->fit[i]);
    }
    if (type->device >= 0 && shop__chance(r, .5)) shop__say(t, s->type[type->device].head[shop__zipf(s, r, SHOP__Z6, 2)]);
    shop__say_stuffing(s, r, t);
    for (int32_t i = 1 + shop__below(r, 4); i > 0; i--) shop__say(t, s->filler[shop__below(r, SHOP__FILLERS)]);
}

static void shop__order_title(shop__rng *r, shop__title *t) {
    int32_t order[SHOP__TITLE_WORDS], word[SHOP__TITLE_WORDS], n = 0;
    for (int32_t i = 0; i < t->n_chunks; i++) order[i] = i;
    shop__shuffle(r, order, t->n_chunks);
    for (int32_t i = 0; i < t->n_chunks; i++)
        for (int32_t k = t->start[order[i]]; k < t->start[order[i] + 1]; k++) word[n++] = t->word[k];
    memcpy(t->word, word, (size_t)n * sizeof *word);
}

static uint32_t shop__title_slot(const shop *s, const char *text, size_t n) {
    uint32_t at = (uint32_t)shop__text_hash(text, n) & (s->title_table.size - 1);
    for (; s->title_table.slot[at] >= 0; at = (at + 1) & (s->title_table.size - 1))
        if (shop__text_is(s, s->items[s->title_table.slot[at]].title, text, n)) break;
    return at;
}

// Titles are told apart by their text, or else a held-out item could stand in a training file under another's name.
static bool shop__title_create(shop *s, int32_t i) {
    shop__item *it = &s->items[i];
    shop__rng r = shop__stream(s->d.seed, SHOP__TITLE, i, 0);
    shop__title t;
    char text[SHOP__TITLE_WORDS * 80];
    uint32_t at;
    size_t n;
    do {
        shop__say_item(s, &r, it, &t);
        shop__order_title(&r, &t);
        n = shop__join(s, t.word, t.n, text);
        at = shop__title_slot(s, text, n);
    } while (s->title_table.slot[at] >= 0);
    s->title_table.slot[at] = i;
    if (!shop__grow((void **)&s->title_words, &s->title_words_capacity, s->n_title_words + (size_t)t.n, sizeof(int32_t)))
        return false;
    memcpy(s->title_words + s->n_title_words, t.word, (size_t)t.n * sizeof *t.word);
    it->word = (int32_t)s->n_title_words;
    it->n_words = t.n;
    s->n_title_words += (size_t)t.n;
    return shop__text_add(s, text, n, &it->title);
}

// Popularity is Zipf 1 by rank; it is kept as log, from 0 (the last) to 1 (the first). Training and test items have ranks of
// their own: of the latter nothing is ever sold.
static bool shop__popularity(shop *s, int32_t first, int32_t n) {
    shop__key *key = (shop__key *)malloc((size_t)n * sizeof *key);
    if (!key) return false;
    for (int32_t i = 0; i < n; i++) {
        shop__rng r = shop__stream(s->d.seed, SHOP__POPULARITY, first + i, 0);
        key[i].key = s->d.rho * s->items[first + i].quality + sqrt(1 - s->d.rho * s->d.rho) * shop__normal(&r);
        key[i].id = first + i;
    }
    qsort(key, (size_t)n, sizeof *key, shop__by_key);
    for (int32_t i = 0; i < n; i++) s->items[key[i].id].popularity = n > 1 ? 1 - shop__log(i + 1.0) / shop__log(n) : 1;
    free(key);
    return true;
}

// Lists the training items by a type.
static bool shop__group(const shop *s, bool by_category, int32_t **list, int32_t *start) {
    int32_t at[SHOP__TYPES + 1] = {0};
    *list = (int32_t *)malloc((size_t)s->d.n_items * sizeof **list);
    if (!*list) return false;
    for (int32_t i = 0; i < s->d.n_items; i++) at[(by_category ? s->items[i].category_type : s->items[i].type) + 1]++;
    for (int32_t t = 0; t < SHOP__TYPES; t++) at[t + 1] += at[t];
    memcpy(start, at, sizeof at);
    for (int32_t i = 0; i < s->d.n_items; i++) (*list)[at[by_category ? s->items[i].category_type : s->items[i].type]++] = i;
    return true;
}

static bool shop__items(shop *s) {
    s->n_all = s->d.n_items + s->d.n_test_items;
    s->items = (shop__item *)calloc((size_t)s->n_all, sizeof *s->items);
    if (!s->items || !shop__table_create(&s->title_table, (uint32_t)s->n_all)) return false;
    for (int32_t i = 0; i < s->n_all; i++) {
        shop__rng r = shop__stream(s->d.seed, SHOP__ITEM, i, 0);
        shop__draw_item(s, &r, &s->items[i]);
        if (!shop__title_create(s, i)) return false;
    }
    return shop__popularity(s, 0, s->d.n_items) && shop__popularity(s, s->d.n_items, s->d.n_test_items)
        && shop__group(s, true, &s->by_category, s->category_start)
        && shop__group(s, false, &s->by_type, s->type_start);
}

// >>queries ----------------------------------------------------------------------------------------------------------

typedef struct shop__wish { shop__intent in; bool says_brand, says_model, says_head; } shop__wish;

// Keeps one or two of the attributes that are not visual; with the visual one kept, one less.
static void shop__wish_attributes(shop__rng *r, const shop__item *it, shop__wish *w) {
    int32_t slot[SHOP__ATTRIBUTES - 1], n = 1 + shop__below(r, 2) - (w->in.value[0] >= 0);
    for (int32_t i = 0; i < SHOP__ATTRIBUTES - 1; i++) slot[i] = i + 1;
    shop__shuffle(r, slot, SHOP__ATTRIBUTES - 1);
    for (int32_t i = 0; i < n; i++) w->in.value[slot[i]] = it->value[slot[i]];
}

// For an accessory the device's brand is meant mostly, and its model always.
static void shop__wish_brand(shop__rng *r, const shop__item *it, bool model, shop__wish *w) {
    bool fit = it->n_fits && (model || shop__chance(r, .7));
    w->says_brand = !model || shop__chance(r, .8);
    w->in.brand = !w->says_brand ? -1 : fit ? it->fit_brand : it->brand;
    if (!model) return;
    w->says_model = true;
    w->in.model = it->n_fits ? it->fit[0] : it->model;
    w->says_head = it->n_fits || !w->says_brand || shop__chance(r, .6);
}

static void shop__draw_wish(const shop *s, shop__rng *r, const shop__item *it, shop__wish *w) {
    double form = shop__uniform(r);
    memset(w, 0, sizeof *w);
    w->in.type = it->type;
    w->in.brand = w->in.model = w->in.next = -1;
    w->in.weight = 1;
    w->says_head = true;
    for (int i = 0; i < SHOP__ATTRIBUTES; i++) w->in.value[i] = -1;
    if (shop__chance(r, s->d.hidden)) w->in.value[0] = it->value[0];
    if (form >= .25 && form < .55) shop__wish_attributes(r, it, w);
    if (form >= .55) shop__wish_brand(r, it, form >= .75, w);
}

// Buyers mostly say values, brand, model, noun, head; one in seven says it in any order.
static int32_t shop__say_wish(shop *s, shop__rng *r, const shop__wish *w, int32_t *word) {
    const shop__type *t = &s->type[w->in.type];
    int32_t n = 0;
    for (int i = 0; i < SHOP__ATTRIBUTES; i++)
        if (w->in.value[i] >= 0)
            word[n++] = s->attribute[t->attribute[i]].word[w->in.value[i]][shop__chance(r, s->d.first_form)];
    if (w->says_brand) word[n++] = shop__brand_form(s, r, w->in.brand);
    if (w->says_model) word[n++] = w->in.model;
    if (t->device >= 0 && shop__chance(r, .5)) word[n++] = s->type[t->device].head[shop__zipf(s, r, SHOP__Z6, 2)];
    if (w->says_head) word[n++] = t->head[shop__zipf(s, r, SHOP__Z6, t->n_heads)];
    if (shop__chance(r, .15)) shop__shuffle(r, word, n);
    for (int32_t i = 0; i < n; i++)
        if (shop__chance(r, s->d.typos)) word[i] = shop__mistype(s, r, word[i]);
    return n;
}

static uint32_t shop__query_slot(const shop *s, const char *text, size_t n) {
    uint32_t at = (uint32_t)shop__text_hash(text, n) & (s->query_table.size - 1);
    for (; s->query_table.slot[at] >= 0; at = (at + 1) & (s->query_table.size - 1))
        if (shop__text_is(s, s->queries[s->query_table.slot[at]].text, text, n)) break;
    return at;
}

static bool shop__same_intent(const shop__intent *a, const shop__intent *b) {
    return a->type == b->type && a->brand == b->brand && a->model == b->model && !memcmp(a->value, b->value, sizeof a->value);
}

static bool shop__add_intent(shop *s, shop__query *q, const shop__intent *in) {
    int32_t *last = &q->intent;
    q->draws++;
    while (*last >= 0) {
        shop__intent *x = &s->intents[*last];
        if (shop__same_intent(x, in)) return x->weight++, true;
        last = &x->next;
    }
    *last = s->n_intents;                           // before the list may move
    if (!shop__grow((void **)&s->intents, &s->intents_capacity, (size_t)s->n_intents + 1, sizeof *in)) return false;
    s->intents[s->n_intents++] = *in;
    return true;
}

static bool shop__draw_query(shop *s, int64_t draw) {
    shop__rng r = shop__stream(s->d.seed, SHOP__QUERY, draw, 0);
    const shop__item *it = &s->items[shop__below(&r, s->d.n_items)];
    shop__wish w;
    shop__query q;
    char text[SHOP__QUERY_WORDS * 80];
    uint32_t at;
    size_t n;
    memset(&q, 0, sizeof q);
    q.intent = -1;
    shop__draw_wish(s, &r, it, &w);
    q.n_words = shop__say_wish(s, &r, &w, q.word);
    n = shop__join(s, q.word, q.n_words, text);
    at = shop__query_slot(s, text, n);
    if (s->query_table.slot[at] < 0) {
        if (!shop__text_add(s, text, n, &q.text)) return false;
        s->query_table.slot[at] = s->n_queries;
        s->queries[s->n_queries++] = q;
    }
    return shop__add_intent(s, &s->queries[s->query_table.slot[at]], &w.in);
}

static bool shop__demand(shop *s) {
    shop__key *key = (shop__key *)malloc((size_t)s->n_queries * sizeof *key);
    double total = 0;
    if (!key) return false;
    for (int32_t q = 0; q < s->n_queries; q++) {
        shop__rng r = shop__stream(s->d.seed, SHOP__DEMAND, q, 0);
        key[q].key = s->queries[q].draws + shop__uniform(&r);       // equal numbers in any order
        key[q].id = q;
        total += 1.0 / (q + 1);
    }
    qsort(key, (size_t)s->n_queries, sizeof *key, shop__by_key);
    for (int32_t i = 0; i < s->n_queries; i++) s->queries[key[i].id].demand = 1 / (i + 1.0) / total;
    free(key);
    return true;
}

// Draws until there are enough different queries, or until 99 of 100 draws are known ones.
static bool shop__queries(shop *s, char *error) {
    int32_t before = -1;
    s->queries = (shop__query *)calloc((size_t)s->d.n_queries, sizeof *s->queries);
    if (!s->queries || !shop__table_create(&s->query_table, (uint32_t)s->d.n_queries)) return false;
    for (int64_t draw = 0; s->n_queries < s->d.n_queries; draw++) {
        if (!shop__draw_query(s, draw) || s->no_memory) return false;
        if (draw % 10000 != 9999) continue;
        if (s->n_queries - before < 100) break;
        before = s->n_queries;
    }
    if (s->n_queries == s->d.n_queries) return shop__demand(s);
    snprintf(error, 240, "n_queries is %d, but this world has only some %d different queries", (int)s->d.n_queries,
             (int)s->n_queries);
    return false;
}

// >>truth ------------------------------------------------------------------------------------------------------------

static const double SHOP__MISS_ATTRIBUTE = .25, SHOP__MISS_BRAND = .2, SHOP__MISS_MODEL = .15, SHOP__SIBLING = .25,
                    SHOP__ACCESSORY = .05;

static bool shop__unknown(const shop *s, int32_t a, int32_t b) {
    shop__rng r = shop__stream(s->d.seed, SHOP__RELATION, a < b ? a : b, a < b ? b : a);
    return shop__chance(&r, s->d.llm_unknown);
}

// What is left of the relevance when `want` is asked for and `has` is there; the LLM does not know some relations.
static double shop__type_factor(const shop *s, int32_t want, int32_t has, bool llm) {
    double f;
    if (want == has) return 1;
    if (s->type[want].sibling == has) f = SHOP__SIBLING;
    else if (s->type[want].device == has || s->type[has].device == want) f = SHOP__ACCESSORY;
    else return 0;
    return llm && shop__unknown(s, want, has) ? 1 : f;
}

static bool shop__has_model(const shop__item *it, int32_t model) {
    for (int32_t i = 0; i < it->n_fits; i++)
        if (it->fit[i] == model) return true;
    return it->model == model;
}

static double shop__intent_truth(const shop *s, const shop__item *it, const shop__intent *in) {
    const shop__type *want = &s->type[in->type], *has = &s->type[it->type];
    double f = shop__type_factor(s, in->type, it->type, false);
    if (f == 0) return 0;
    if (in->brand >= 0 && in->brand != it->brand && in->brand != it->fit_brand) f *= SHOP__MISS_BRAND;
    if (in->model >= 0 && !shop__has_model(it, in->model)) f *= SHOP__MISS_MODEL;
    for (int i = 0; i < SHOP__ATTRIBUTES; i++) {
        int slot = in->value[i] < 0 ? -1 : shop__slot(has, want->attribute[i]);
        if (in->value[i] >= 0 && (slot < 0 || it->value[slot] != in->value[i])) f *= SHOP__MISS_ATTRIBUTE;
    }
    return f;
}

// The probability that an item of this title, were it of type `has`, has that value of an attribute of the pool.
static double shop__value_p(const shop *s, const shop__item *it, int32_t has, int32_t attribute, int32_t value) {
    const shop__type *t = &s->type[has];
    int own = shop__slot(&s->type[it->type], attribute), slot = shop__slot(t, attribute);
    if (own >= 0 && it->shown[own]) return it->value[own] == value;
    return slot < 0 ? 0 : shop__zipf_p(s, SHOP__Z8, shop__value_rank(s, t, slot, value), s->attribute[attribute].n);
}

// The probability of a device's model when slot b of the type is its brand.
static double shop__model_p(const shop__item *it, const shop__type *t, int b, int32_t model) {
    if (it->model_shown || it->n_fits) return shop__has_model(it, model);
    for (int32_t m = 0; m < t->n_models[b]; m++)
        if (t->model[b][m] == model) return 1.0 / t->n_models[b];
    return 0;
}

static double shop__mixed(double p, double miss) { return p + (1 - p) * miss; }

// Brand and model together, since a brand that is not written tells about the model. The written model tells the brand.
static double shop__brand_model(const shop *s, const shop__item *it, int32_t has, const shop__intent *in) {
    const shop__type *t = &s->type[has];
    bool known = it->brand_shown || it->model_shown;
    double sum = 0, mass = 0;
    for (int b = 0; b < SHOP__BRANDS; b++) {
        double p = shop__zipf_p(s, SHOP__Z10, b, SHOP__BRANDS), f = 1;
        if (known && t->brand[b] != it->brand) continue;
        if (in->brand >= 0 && in->brand != t->brand[b] && in->brand != it->fit_brand) f *= SHOP__MISS_BRAND;
        if (in->model >= 0) f *= shop__mixed(shop__model_p(it, t, b, in->model), SHOP__MISS_MODEL);
        sum += p * f;
        mass += p;
    }
    if (mass > 0) return sum / mass;
    return (in->brand < 0 || in->brand == it->brand || in->brand == it->fit_brand ? 1 : SHOP__MISS_BRAND)
         * (in->model < 0 || shop__has_model(it, in->model) ? 1 : SHOP__MISS_MODEL);
}

static double shop__intent_text(const shop *s, const shop__item *it, int32_t has, const shop__intent *in, bool llm) {
    const shop__type *want = &s->type[in->type];
    double f = shop__type_factor(s, in->type, has, llm);
    if (f == 0) return 0;
    if (in->brand >= 0 || in->model >= 0) f *= shop__brand_model(s, it, has, in);
    for (int i = 0; i < SHOP__ATTRIBUTES; i++)
        if (in->value[i] >= 0)
            f *= shop__mixed(shop__value_p(s, it, has, want->attribute[i], in->value[i]), SHOP__MISS_ATTRIBUTE);
    return f;
}

static double shop__head_p(const shop *s, int32_t type, int32_t word) {
    double p = 0;
    for (int32_t h = 0; h < s->type[type].n_heads; h++)
        if (s->type[type].head[h] == word) p += shop__zipf_p(s, SHOP__Z6, h, s->type[type].n_heads);
    return p;
}

static double shop__type_p(const shop *s, const shop__item *it, int32_t type) {
    double wrong = s->d.wrong_category;
    int32_t rank = 0;
    while (s->type_order[rank] != type) rank++;
    return shop__zipf_p(s, SHOP__Z8, rank, SHOP__TYPES) * shop__head_p(s, type, s->type[it->type].head[it->head])
         * (it->category_type == type ? 1 - wrong : wrong / (SHOP__TYPES_EACH - 1));
}

// The sibling type with which the item's head word is shared, or -1, and how probable it is that the item is of it.
static int32_t shop__other_type(const shop *s, const shop__item *it, double *p) {
    int32_t other = s->type[it->type].sibling;
    double a, b;
    *p = 0;
    if (other < 0 || shop__head_p(s, other, s->type[it->type].head[it->head]) == 0) return -1;
    a = shop__type_p(s, it, it->type);
    b = shop__type_p(s, it, other);
    if (a + b > 0) *p = b / (a + b);
    return other;
}

static double shop__text(const shop *s, int32_t item, int32_t query, bool llm) {
    const shop__item *it = &s->items[item];
    double sum = 0, weight = 0, p;
    int32_t other = shop__other_type(s, it, &p);
    for (int32_t i = s->queries[query].intent; i >= 0; i = s->intents[i].next) {
        const shop__intent *in = &s->intents[i];
        double f = (1 - p) * shop__intent_text(s, it, it->type, in, llm);
        if (other >= 0) f += p * shop__intent_text(s, it, other, in, llm);
        sum += f * in->weight;
        weight += in->weight;
    }
    return sum / weight;
}

double shop_text_truth(const shop *s, int32_t item, int32_t query) { return shop__text(s, item, query, false); }

double shop_truth(const shop *s, int32_t item, int32_t query) {
    double sum = 0, weight = 0;
    for (int32_t i = s->queries[query].intent; i >= 0; i = s->intents[i].next) {
        sum += shop__intent_truth(s, &s->items[item], &s->intents[i]) * s->intents[i].weight;
        weight += s->intents[i].weight;
    }
    return sum / weight;
}

// >>engine  An inverted index, BM25, and the search score. -----------------------------------------------------------

static const double SHOP__K1 = 1.2, SHOP__B = .75;

static bool shop__index_words(shop *s) {
    int32_t *at;
    s->n_index_words = s->n_words;
    s->posting_start = (int32_t *)calloc((size_t)s->n_words + 2, sizeof *s->posting_start);
    s->postings = (int32_t *)malloc((s->n_title_words + 1) * sizeof *s->postings);
    if (!s->posting_start || !s->postings) return false;
    at = s->posting_start + 1;                      // becomes the start itself while the lists are filled
    for (int32_t i = 0; i < s->d.n_items; i++)
        for (int32_t k = 0; k < s->items[i].n_words; k++) at[s->title_words[s->items[i].word + k] + 1]++;
    for (int32_t w = 0; w < s->n_words; w++) at[w + 1] += at[w];
    for (int32_t i = 0; i < s->d.n_items; i++)
        for (int32_t k = 0; k < s->items[i].n_words; k++) s->postings[at[s->title_words[s->items[i].word + k]]++] = i;
    return true;
}

// In how many titles a word is; one title may have it twice, one after the other in the list.
static int32_t shop__frequency(const shop *s, int32_t word) {
    int32_t n = 0, last = -1;
    for (int32_t k = s->posting_start[word]; k < s->posting_start[word + 1]; k++) {
        n += s->postings[k] != last;
        last = s->postings[k];
    }
    return n;
}

static bool shop__index(shop *s) {
    int64_t words = 0;
    if (!shop__index_words(s)) return false;
    s->idf = (double *)malloc((size_t)s->n_words * sizeof *s->idf);
    if (!s->idf) return false;
    for (int32_t w = 0; w < s->n_words; w++) {
        double n = shop__frequency(s, w);
        s->idf[w] = shop__log(1 + (s->d.n_items - n + .5) / (n + .5));
    }
    for (int32_t i = 0; i < s->d.n_items; i++) words += s->items[i].n_words;
    s->mean_words = (double)words / s->d.n_items;
    for (int32_t q = 0; q < s->n_queries; q++) {
        shop__query *x = &s->queries[q];
        for (int32_t k = 0; k < x->n_words; k++)
            x->ideal += s->idf[x->word[k]] * (SHOP__K1 + 1) / (1 + SHOP__K1 * (1 - SHOP__B));
    }
    return true;
}

static int32_t shop__count_word(const shop *s, const shop__item *it, int32_t word) {
    int32_t n = 0;
    for (int32_t k = 0; k < it->n_words; k++) n += s->title_words[it->word + k] == word;
    return n;
}

static double shop__bm25(const shop *s, const shop__item *it, const shop__query *q) {
    double length = SHOP__K1 * (1 - SHOP__B + SHOP__B * it->n_words / s->mean_words), sum = 0;
    for (int32_t k = 0; k < q->n_words; k++) {
        int32_t n = shop__count_word(s, it, q->word[k]);
        sum += s->idf[q->word[k]] * (n * (SHOP__K1 + 1)) / (n + length);
    }
    return sum;
}

double shop_overlap(const shop *s, int32_t item, int32_t query) {
    const shop__query *q = &s->queries[query];
    int32_t n = 0;
    for (int32_t k = 0; k < q->n_words; k++) n += shop__count_word(s, &s->items[item], q->word[k]) > 0;
    return (double)n / q->n_words;
}

static void shop__features(const shop *s, int32_t item, int32_t query, double f[SHOP__FEATURES]) {
    const shop__item *it = &s->items[item];
    const shop__query *q = &s->queries[query];
    int32_t category = s->type[it->category_type].category;
    f[0] = shop__bm25(s, it, q) / q->ideal;
    f[1] = shop_overlap(s, item, query);
    f[2] = shop__count_word(s, it, q->word[q->n_words - 1]) > 0;
    f[3] = 0;
    for (int32_t k = 0; k < q->n_words; k++)
        if (q->word[k] == category) f[3] = 1;
}

// A search under way: term by term, as the words' lists are in the order of items.
typedef struct shop__search { double *sum; int32_t *met, n_met; shop__key *best; } shop__search;

static bool shop__search_open(const shop *s, shop__search *x) {
    x->sum = (double *)calloc((size_t)s->d.n_items, sizeof *x->sum);
    x->met = (int32_t *)malloc((size_t)s->d.n_items * sizeof *x->met);
    x->best = (shop__key *)malloc((size_t)s->d.n_candidates * sizeof *x->best);
    x->n_met = 0;
    return x->sum && x->met && x->best;
}

static void shop__search_close(shop__search *x) {
    free(x->sum);
    free(x->met);
    free(x->best);
}

// A word's share of BM25, for each title that has it. It is more than 0, so a sum of 0 was not met before. A sum has its
// terms in the order of the query's words, as shop__bm25.
static void shop__search_word(const shop *s, int32_t word, shop__search *x) {
    for (int32_t k = s->posting_start[word], end = s->posting_start[word + 1]; k < end;) {
        int32_t item = s->postings[k], n = 0;
        double length = SHOP__K1 * (1 - SHOP__B + SHOP__B * s->items[item].n_words / s->mean_words);
        for (; k < end && s->postings[k] == item; k++) n++;
        if (x->sum[item] == 0) x->met[x->n_met++] = item;
        x->sum[item] += s->idf[word] * (n * (SHOP__K1 + 1)) / (n + length);
    }
}

// The best candidates of a query go to x->best, and x is empty again.
static int32_t shop__retrieve(const shop *s, int32_t query, shop__search *x) {
    const shop__query *q = &s->queries[query];
    int32_t n = 0;
    for (int32_t w = 0; w < q->n_words; w++) shop__search_word(s, q->word[w], x);
    for (int32_t i = 0; i < x->n_met; i++) {
        shop__key one;
        one.id = x->met[i];
        one.key = x->sum[one.id];
        x->sum[one.id] = 0;
        shop__keep(x->best, &n, s->d.n_candidates, one);
    }
    x->n_met = 0;
    return n;
}

// Work over all queries in ranges, on as many threads as there are; what a range does depends on no other.
typedef struct shop__ranges { shop *s; int32_t n, round; const double *examined; bool *failed; } shop__ranges;

enum { SHOP__MAX_RANGES = 1024 };

static int32_t shop__range_begin(const shop__ranges *r, int32_t i) { return (int32_t)((int64_t)r->s->n_queries * i / r->n); }

// n ranges: of each *failed says whether memory was short.
static bool shop__each_range(shop__ranges *r, shop_task *task) {
    const shop_parallel *p = &r->s->d.parallel;
    bool failed[SHOP__MAX_RANGES] = {false}, any = false;
    r->failed = failed;
    if (p->run) p->run(p->user, r->n, task, r);
    else for (int32_t i = 0; i < r->n; i++) task(r, i);
    for (int32_t i = 0; i < r->n; i++) any |= failed[i];
    return !any;
}

static shop__ranges shop__ranges_of(shop *s, int32_t each) {
    shop__ranges r = {NULL, 0, 0, NULL, NULL};
    int32_t width = s->d.parallel.run && s->d.parallel.width > 1 ? s->d.parallel.width : 1;
    r.s = s;
    r.n = width == 1 ? 1 : width * each > SHOP__MAX_RANGES ? SHOP__MAX_RANGES : width * each;
    return r;
}

// Query q's candidates go to their place n_candidates * q, and its end to candidate_start[q + 1].
static void shop__candidates_task(void *arg, int32_t range) {
    const shop__ranges *r = (const shop__ranges *)arg;
    shop *s = r->s;
    shop__search x;
    bool ok = shop__search_open(s, &x);
    for (int32_t q = shop__range_begin(r, range); ok && q < shop__range_begin(r, range + 1); q++) {
        shop__candidate *c = s->candidates + (size_t)q * (size_t)s->d.n_candidates;
        int32_t n = shop__retrieve(s, q, &x);
        s->candidate_start[q + 1] = n;
        for (int32_t i = 0; i < n; i++) {
            memset(&c[i], 0, sizeof c[i]);
            c[i].item = x.best[i].id;
            c[i].sr = (float)(x.best[i].key / s->queries[q].ideal);     // BM25's order, until SR is known
        }
    }
    r->failed[range] = !ok;
    shop__search_close(&x);
}

static bool shop__candidates(shop *s, char *error) {
    shop__ranges r = shop__ranges_of(s, 4);
    size_t most = (size_t)s->n_queries * (size_t)s->d.n_candidates, n = 0;
    if (most > INT32_MAX)
        return snprintf(error, 240, "%d queries of %d candidates are %.9g, expected less than 2^31", (int)s->n_queries,
                        (int)s->d.n_candidates, (double)most), false;
    s->candidate_start = (int32_t *)calloc((size_t)s->n_queries + 1, sizeof *s->candidate_start);
    s->candidates = (shop__candidate *)malloc((most + 1) * sizeof *s->candidates);
    if (!s->candidate_start || !s->candidates || !shop__each_range(&r, shop__candidates_task)) return false;
    for (int32_t q = 0; q < s->n_queries; q++) {        // together, now that their numbers are known
        int32_t m = s->candidate_start[q + 1];
        memmove(s->candidates + n, s->candidates + (size_t)q * (size_t)s->d.n_candidates, (size_t)m * sizeof *s->candidates);
        n += (size_t)m;
        s->candidate_start[q + 1] = (int32_t)n;
    }
    return true;
}

static int32_t shop__n_candidates(const shop *s) { return s->candidate_start[s->n_queries]; }

// One row of a logistic regression: yes of n, each with the features.
typedef struct shop__fit_row { double f[SHOP__FEATURES], yes, n; } shop__fit_row;

enum { SHOP__WEIGHTS = SHOP__FEATURES + 1 };        // the last one is the constant

// Gaussian elimination of m x = b, m positive definite.
static void shop__solve(double m[SHOP__WEIGHTS][SHOP__WEIGHTS], double *b) {
    for (int i = 0; i < SHOP__WEIGHTS; i++)
        for (int k = i + 1; k < SHOP__WEIGHTS; k++) {
            double f = m[k][i] / m[i][i];
            for (int c = i; c < SHOP__WEIGHTS; c++) m[k][c] -= f * m[i][c];
            b[k] -= f * b[i];
        }
    for (int i = SHOP__WEIGHTS - 1; i >= 0; i--) {
        for (int c = i + 1; c < SHOP__WEIGHTS; c++) b[i] -= m[i][c] * b[c];
        b[i] /= m[i][i];
    }
}

static double shop__logit(const double *weight, const double *f) {
    double x = weight[SHOP__FEATURES];
    for (int k = 0; k < SHOP__FEATURES; k++) x += weight[k] * f[k];
    return x;
}

// Newton's method, with a small ridge for features that never vary.
static void shop__fit(const shop__fit_row *row, int32_t n, double weight[SHOP__WEIGHTS]) {
    for (int k = 0; k < SHOP__WEIGHTS; k++) weight[k] = 0;
    for (int step = 0; step < 12; step++) {
        double m[SHOP__WEIGHTS][SHOP__WEIGHTS] = {{0}}, b[SHOP__WEIGHTS] = {0}, f[SHOP__WEIGHTS];
        for (int32_t i = 0; i < n; i++) {
            double p = shop__sigmoid(shop__logit(weight, row[i].f)), h = row[i].n * p * (1 - p), g = row[i].yes - row[i].n * p;
            memcpy(f, row[i].f, sizeof row[i].f);
            f[SHOP__FEATURES] = 1;
            for (int k = 0; k < SHOP__WEIGHTS; k++) {
                b[k] += g * f[k];
                for (int c = 0; c < SHOP__WEIGHTS; c++) m[k][c] += h * f[k] * f[c];
            }
        }
        for (int k = 0; k < SHOP__WEIGHTS; k++) {
            m[k][k] += 1;
            b[k] -= weight[k];
        }
        shop__solve(m, b);
        for (int k = 0; k < SHOP__WEIGHTS; k++) weight[k] += b[k];
    }
}

// >>clicks -----------------------------------------------------------------------------------------------------------

static double shop__quality(const shop__item *it) { return .6 + .4 * shop__sigmoid(it->quality); }

static double shop__click_p(const shop *s, int32_t item, int32_t query) {
    return .01 + .3 * shop_truth(s, item, query) * shop__quality(&s->items[item]);
}

double shop_purchase(const shop *s, int32_t item, int32_t query) {
    double truth = shop_truth(s, item, query);
    return .05 * truth * truth * shop__quality(&s->items[item]);
}

// See >>concepts, Ads.
shop_sale shop_sell(const shop *s, int32_t item, int32_t query) {
    shop__rng r = shop__stream(s->d.seed, SHOP__PRICE, item, 0);
    double price = shop__exp(3 + .7 * shop__normal(&r)), searches = s->d.n_sessions * s->queries[query].demand;
    shop_sale sale = {.05 + .45 * shop_truth(s, item, query), 0, 0, 0};
    if (!shop_passes(s, item, query)) return sale;
    sale.clicks = sale.adopted * .02 * searches * shop__click_p(s, item, query);
    sale.spend = .25 * sale.clicks;
    sale.gmb = price * sale.clicks * shop_purchase(s, item, query);
    return sale;
}

// How many of a candidate's clicks end in a purchase.
static int32_t shop__purchases(const shop *s, const shop__candidate *c, int32_t query) {
    shop__rng r = shop__stream(s->d.seed, SHOP__PURCHASE, c->item, query);
    double p = c->seen.clicks ? shop_purchase(s, c->item, query) : 0;
    int32_t n = 0;
    for (int32_t i = 0; i < c->seen.clicks; i++) n += shop__chance(&r, p);
    return n;
}

// What one query shows: candidates in order, of each the chance of a click once it is examined.
typedef struct shop__page { int32_t n, candidate[SHOP__SHOWN]; double p[SHOP__SHOWN]; } shop__page;

// Round 0 ranks by BM25 alone and filters nothing.
static double shop__rank_key(const shop *s, const shop__candidate *c, int round, double noise) {
    return (double)c->sr / s->sr_sd + (round ? 3 * s->d.lambda * s->items[c->item].popularity : 0) + .15 * noise;
}

static void shop__rank(const shop *s, int32_t query, int round, int32_t day, shop__page *page) {
    shop__key best[SHOP__SHOWN];
    page->n = 0;
    for (int32_t i = s->candidate_start[query]; i < s->candidate_start[query + 1]; i++) {
        const shop__candidate *c = &s->candidates[i];
        shop__rng r = shop__stream(s->d.seed, SHOP__RANK, ((int64_t)query << 32) + c->item, day * 2 + round);
        shop__key x;
        if (round && c->sr < s->filter_threshold) continue;
        x.key = shop__rank_key(s, c, round, shop__normal(&r));
        x.id = i;
        shop__keep(best, &page->n, SHOP__SHOWN, x);
    }
    for (int32_t i = 0; i < page->n; i++) page->candidate[i] = best[i].id;
}

// A click's chance at each position, from the chance once examined.
static void shop__examine(const double *examined, const double *click_p, int32_t first, shop__page *page) {
    for (int32_t i = 0; i < page->n; i++) page->p[i] = examined[i] * click_p[page->candidate[i] - first];
}

// What a query's candidates came to, each in all or by position: positions is 1 or SHOP__SHOWN.
typedef struct shop__tally { int32_t positions; shop__seen *seen; } shop__tally;      // [candidate, positions]

static shop__seen *shop__seen_at(const shop__tally *t, int32_t candidate, int32_t position) {
    return &t->seen[candidate * t->positions + (t->positions > 1 ? position : 0)];
}

static void shop__session(const shop *s, shop__rng *r, const shop__page *page, int32_t first, const shop__tally *t) {
    int32_t end = SHOP__PAGE;
    while (end < SHOP__SHOWN && shop__chance(r, s->d.reach)) end += SHOP__PAGE;
    for (int32_t i = 0; i < page->n && i < end; i++) {
        shop__seen *c = shop__seen_at(t, page->candidate[i] - first, i);
        c->shown++;
        c->clicks += shop__chance(r, page->p[i]);
    }
}

static int32_t shop__n_sessions(const shop *s, int32_t query, int round) {
    shop__rng r = shop__stream(s->d.seed, SHOP__SESSIONS, query, round);
    return (int32_t)floor(s->d.n_sessions * s->queries[query].demand + shop__uniform(&r));
}

// The sessions are dealt to the days in turn.
static void shop__sell(const shop *s, int32_t query, int round, const double *examined, const shop__tally *t) {
    double click_p[SHOP__MOST_CANDIDATES];
    int32_t first = s->candidate_start[query], n = s->candidate_start[query + 1] - first;
    int32_t n_sessions = shop__n_sessions(s, query, round);
    memset(t->seen, 0, (size_t)n * (size_t)t->positions * sizeof *t->seen);
    for (int32_t i = 0; i < n; i++) click_p[i] = shop__click_p(s, s->candidates[first + i].item, query);
    for (int32_t day = 0; day < SHOP__DAYS && day < n_sessions; day++) {
        shop__page page;
        shop__rng r = shop__stream(s->d.seed, SHOP__SESSION, query, day * 2 + round);
        shop__rank(s, query, round, day, &page);
        shop__examine(examined, click_p, first, &page);
        for (int32_t i = day; i < n_sessions; i += SHOP__DAYS) shop__session(s, &r, &page, first, t);
    }
}

static void shop__round_task(void *arg, int32_t range) {
    const shop__ranges *r = (const shop__ranges *)arg;
    shop *s = r->s;
    shop__seen seen[SHOP__MOST_CANDIDATES];
    shop__tally t = {1, seen};
    for (int32_t q = shop__range_begin(r, range); q < shop__range_begin(r, range + 1); q++) {
        shop__sell(s, q, r->round, r->examined, &t);
        for (int32_t i = s->candidate_start[q]; i < s->candidate_start[q + 1]; i++)
            s->candidates[i].seen = seen[i - s->candidate_start[q]];
    }
}

// How likely a buyer looks at each position.
static void shop__examined(const shop *s, double examined[SHOP__SHOWN]) {
    for (int i = 0; i < SHOP__SHOWN; i++) examined[i] = shop__power(i + 1.0, -s->d.eta);
}

static void shop__round(shop *s, int round) {
    shop__ranges r = shop__ranges_of(s, 16);                    // demand is uneven
    double examined[SHOP__SHOWN];
    shop__examined(s, examined);
    r.round = round;
    r.examined = examined;
    shop__each_range(&r, shop__round_task);
}

static double shop__sd(const shop *s) {
    double sum = 0, square = 0, n = shop__n_candidates(s);
    for (int32_t i = 0; i < shop__n_candidates(s); i++) {
        double sr = (double)s->candidates[i].sr;
        sum += sr;
        square += sr * sr;
    }
    n = n > 0 ? n : 1;
    square = square / n - sum / n * (sum / n);
    return square > 1e-12 ? sqrt(square) : 1;
}

static bool shop__fit_sr(shop *s) {
    int32_t n = 0;
    shop__fit_row *row;
    for (int32_t i = 0; i < shop__n_candidates(s); i++) n += s->candidates[i].seen.shown > 0;
    row = (shop__fit_row *)malloc(((size_t)n + 1) * sizeof *row);
    if (!row) return false;
    n = 0;
    for (int32_t q = 0; q < s->n_queries; q++)
        for (int32_t i = s->candidate_start[q]; i < s->candidate_start[q + 1]; i++) {
            if (!s->candidates[i].seen.shown) continue;
            shop__features(s, s->candidates[i].item, q, row[n].f);
            row[n].yes = s->candidates[i].seen.clicks;
            row[n++].n = s->candidates[i].seen.shown;
        }
    shop__fit(row, n, s->sr_weight);
    free(row);
    return true;
}

static float shop__sr_logit(const shop *s, int32_t item, int32_t query) {
    double f[SHOP__FEATURES];
    shop__features(s, item, query, f);
    return (float)shop__logit(s->sr_weight, f);
}

static int shop__by_float(const void *a, const void *b) {       // falling
    float x = *(const float *)a, y = *(const float *)b;
    return (x < y) - (x > y);
}

static float shop__threshold(const float *sorted, int32_t n, double share) {
    int32_t k = (int32_t)(share * n);
    return n == 0 ? 0 : sorted[k < 1 ? 0 : k > n ? n - 1 : k - 1];
}

static bool shop__thresholds(shop *s) {
    int32_t n = shop__n_candidates(s);
    float *sr = (float *)malloc(((size_t)n + 1) * sizeof *sr);
    if (!sr) return false;
    for (int32_t i = 0; i < n; i++) sr[i] = s->candidates[i].sr;
    qsort(sr, (size_t)n, sizeof *sr, shop__by_float);
    s->filter_threshold = shop__threshold(sr, n, s->d.filter);
    s->sr_threshold = shop__threshold(sr, n, s->d.sr_positive);
    free(sr);
    return true;
}

static void shop__sr_task(void *arg, int32_t range) {
    const shop__ranges *r = (const shop__ranges *)arg;
    shop *s = r->s;
    for (int32_t q = shop__range_begin(r, range); q < shop__range_begin(r, range + 1); q++)
        for (int32_t i = s->candidate_start[q]; i < s->candidate_start[q + 1]; i++)
            s->candidates[i].sr = shop__sr_logit(s, s->candidates[i].item, q);
}

// Round 0 with BM25 alone gives the clicks that SR is fitted to; round 1 with SR, filter and popularity gives the labels.
static bool shop__clicks(shop *s) {
    shop__ranges r = shop__ranges_of(s, 4);
    s->sr_sd = shop__sd(s);
    shop__round(s, 0);
    if (!shop__fit_sr(s)) return false;
    shop__each_range(&r, shop__sr_task);
    s->sr_sd = shop__sd(s);
    if (!shop__thresholds(s)) return false;
    shop__round(s, 1);
    return true;
}

double shop_sr(const shop *s, int32_t item, int32_t query) {
    return shop__sigmoid((double)(shop__sr_logit(s, item, query) - s->sr_threshold) / s->sr_sd);
}

bool shop_passes(const shop *s, int32_t item, int32_t query) {
    return s->d.filter >= 1 || shop__sr_logit(s, item, query) >= s->filter_threshold;
}

// >>llm --------------------------------------------------------------------------------------------------------------

static double shop__cut_logit(double p) {
    p = p < .002 ? .002 : p > .998 ? .998 : p;
    return shop__log(p / (1 - p));
}

static double shop__noise_of(const shop *s, int which, int64_t a, int64_t b) {
    shop__rng r = shop__stream(s->d.seed, SHOP__NOISE + 100 * which, a, b);
    return shop__normal(&r);
}

// What a query asks for, besides its type, in its first intent: the last of its values, its brand, or its model.
static int64_t shop__asked(const shop *s, int32_t query) {
    const shop__intent *in = &s->intents[s->queries[query].intent];
    int64_t asked = -1;
    if (in->model >= 0) return (int64_t)2 << 32 | in->model;
    if (in->brand >= 0) return (int64_t)1 << 32 | in->brand;
    for (int i = 0; i < SHOP__ATTRIBUTES; i++)
        if (in->value[i] >= 0) asked = s->type[in->type].attribute[i] * SHOP__MAX_VALUES + in->value[i];
    return asked;
}

// Three parts whose variances sum to llm_noise^2: of the pair; of the query; of what it asks for and the item's type.
static double shop__llm_noise(const shop *s, int32_t item, int32_t query, int which) {
    double by_query = s->d.llm_by_query, by_attribute = s->d.llm_by_attribute, own = 1 - by_query - by_attribute, sum = 0;
    if (own > 0) sum += sqrt(own) * shop__noise_of(s, which, item, query);
    if (by_query > 0) sum += sqrt(by_query) * shop__noise_of(s, which, -1, query);
    if (by_attribute > 0) sum += sqrt(by_attribute) * shop__noise_of(s, which, -2 - s->items[item].type, shop__asked(s, query));
    return s->d.llm_noise * sum;
}

static double shop__llm(const shop *s, int32_t item, int32_t query) {
    double x = shop__cut_logit(shop__text(s, item, query, true)) + s->d.llm_overlap * (shop_overlap(s, item, query) - .6);
    return shop__sigmoid(x - s->d.llm_doubt + shop__llm_noise(s, item, query, 0));
}

double shop_llm(const shop *s, int32_t item, int32_t query) {
    return s->d.placebo == SHOP_LLM_IS_TRUTH ? shop_truth(s, item, query) : shop__llm(s, item, query);
}

static void shop__tuned_features(const shop *s, int32_t item, int32_t query, double f[SHOP__FEATURES]) {
    f[0] = shop__cut_logit(shop__text(s, item, query, true));
    f[1] = shop_overlap(s, item, query);
    f[2] = f[3] = 0;
}

double shop_llm_tuned(const shop *s, int32_t item, int32_t query) {
    double f[SHOP__FEATURES];
    shop__tuned_features(s, item, query, f);
    return shop__sigmoid(shop__logit(s->tuned_weight, f) + shop__llm_noise(s, item, query, 1));
}

// The raters saw the picture, and gave grades of which all but the worst count as yes.
static bool shop__tune(shop *s) {
    const shop__pairs *pool = &s->set[SHOP_LLM];
    shop__fit_row *row = (shop__fit_row *)malloc(((size_t)pool->n + 1) * sizeof *row);
    if (!row) return false;
    for (int32_t i = 0; i < pool->n; i++) {
        shop__tuned_features(s, pool->pair[i].item, pool->pair[i].query, row[i].f);
        row[i].yes = shop_truth(s, pool->pair[i].item, pool->pair[i].query) >= .2;
        row[i].n = 1;
    }
    shop__fit(row, pool->n, s->tuned_weight);
    free(row);
    return true;
}

// >>labels -----------------------------------------------------------------------------------------------------------

typedef enum shop__split { SHOP__TRAIN, SHOP__DEV, SHOP__TEST } shop__split;

static shop__split shop__split_of(const shop *s, int32_t item) {
    shop__rng r = shop__stream(s->d.seed, SHOP__SPLIT, item, 0);
    double u = shop__uniform(&r);
    return u < s->d.held_out ? SHOP__TEST : u < 2 * s->d.held_out ? SHOP__DEV : SHOP__TRAIN;
}

static bool shop__add_pair(shop__pairs *p, int32_t item, int32_t query, int32_t label) {
    if (!shop__grow((void **)&p->pair, &p->capacity, (size_t)p->n + 1, sizeof *p->pair)) return false;
    p->pair[p->n].item = item;
    p->pair[p->n].query = query;
    p->pair[p->n++].label = label;
    return true;
}

static void shop__deal(shop__rng *r, shop__pairs *p, int32_t keep) {
    for (int32_t i = 0; i < p->n - 1 && i < keep; i++) {        // so that a part of them is a random part
        int32_t k = i + shop__below(r, p->n - i);
        shop_pair x = p->pair[i];
        p->pair[i] = p->pair[k];
        p->pair[k] = x;
    }
    if (p->n > keep) p->n = keep;
}

// The precision of the CTR positives at a threshold.
static double shop__ctr_precision(const shop *s, double threshold) {
    int32_t n = 0, yes = 0;
    for (int32_t q = 0; q < s->n_queries; q++)
        for (int32_t i = s->candidate_start[q]; i < s->candidate_start[q + 1]; i++) {
            const shop__candidate *c = &s->candidates[i];
            if (c->seen.shown < s->d.impressions || c->seen.clicks <= threshold * c->seen.shown) continue;
            n++;
            yes += shop_truth(s, c->item, q) >= .5;
        }
    return n ? (double)yes / n : 1;
}

// With position bias the shop's threshold. Without it nearly everything relevant is clicked above it: then the lowest that
// gives the precision.
static void shop__ctr_threshold(shop *s) {
    s->ctr_threshold = s->d.ctr_threshold;
    if (s->d.eta > 0) return;
    for (int i = 5; i < 40; i++) {
        s->ctr_threshold = i * .01;
        if (shop__ctr_precision(s, s->ctr_threshold) >= s->d.ctr_precision) return;
    }
}

static bool shop__is_ctr(const shop *s, const shop__candidate *c) {
    return c->seen.shown >= s->d.impressions && c->seen.clicks > s->ctr_threshold * c->seen.shown;
}

static bool shop__ctr_labels(shop *s) {
    shop__rng r = shop__stream(s->d.seed, SHOP__SHUFFLE, SHOP_CTR, 0);
    shop__ctr_threshold(s);
    for (int32_t q = 0; q < s->n_queries; q++)
        for (int32_t i = s->candidate_start[q]; i < s->candidate_start[q + 1]; i++)
            if (shop__is_ctr(s, &s->candidates[i]) && shop__split_of(s, s->candidates[i].item) == SHOP__TRAIN)
                if (!shop__add_pair(&s->set[SHOP_CTR], s->candidates[i].item, q, 1)) return false;
    shop__deal(&r, &s->set[SHOP_CTR], s->d.n_ctr);
    return true;
}

// Pairs of unseen items that were shown enough, and whether a CTR positive each.
static bool shop__ctr_test(shop *s) {
    shop__rng r = shop__stream(s->d.seed, SHOP__SHUFFLE, SHOP_CTR_TEST, 0);
    shop__pairs *p = &s->set[SHOP_CTR_TEST];
    for (int32_t q = 0; q < s->n_queries; q++)
        for (int32_t i = s->candidate_start[q]; i < s->candidate_start[q + 1]; i++) {
            const shop__candidate *c = &s->candidates[i];
            if (c->seen.shown < s->d.impressions || shop__split_of(s, c->item) != SHOP__TEST) continue;
            if (!shop__add_pair(p, c->item, q, shop__is_ctr(s, c))) return false;
        }
    shop__deal(&r, p, s->d.n_llm_test);
    return true;
}

static int32_t shop__query_of(const shop *s, int32_t candidate) {
    int32_t low = 0, high = s->n_queries;           // the last query that begins at or before it
    while (high - low > 1) {
        int32_t mid = low + (high - low) / 2;
        if (s->candidate_start[mid] <= candidate) low = mid; else high = mid;
    }
    return low;
}

// A set of pairs under way. Candidates are drawn by number; a number of a million that are taken is not drawn again.
typedef struct shop__pool { shop__pairs *out; shop__split split; shop__rng r; shop__table taken; } shop__pool;

static bool shop__take(const shop *s, shop__pool *p, int32_t item, int32_t query) {
    shop__rng place = shop__stream(0, 0, item, query);
    uint32_t at = (uint32_t)place.key & (p->taken.size - 1);
    if (shop__split_of(s, item) != p->split) return true;
    for (; p->taken.slot[at] >= 0; at = (at + 1) & (p->taken.size - 1)) {
        const shop_pair *x = &p->out->pair[p->taken.slot[at]];
        if (x->item == item && x->query == query) return true;
    }
    p->taken.slot[at] = p->out->n;
    return shop__add_pair(p->out, item, query, 0);
}

// Up to `want` pairs in all: candidates, only those that were shown if so asked.
static bool shop__take_candidates(const shop *s, shop__pool *p, bool shown, int32_t want) {
    int64_t tries = (int64_t)want * 200 + 1000;     // shown ones of a split of 5 % are about one in a hundred
    for (; p->out->n < want && tries > 0 && shop__n_candidates(s); tries--) {
        int32_t i = shop__below(&p->r, shop__n_candidates(s));
        if (shown && !s->candidates[i].seen.shown) continue;
        if (!shop__take(s, p, s->candidates[i].item, shop__query_of(s, i))) return false;
    }
    return true;
}

static bool shop__take_category(const shop *s, shop__pool *p, int32_t want) {
    int64_t tries = (int64_t)want * 100 + 1000;
    for (; p->out->n < want && tries > 0; tries--) {
        int32_t q = shop__below(&p->r, s->n_queries), t = s->intents[s->queries[q].intent].type;
        int32_t first = s->category_start[t], n = s->category_start[t + 1] - first;
        if (n > 0 && !shop__take(s, p, s->by_category[first + shop__below(&p->r, n)], q)) return false;
    }
    return true;
}

static bool shop__pool_open(shop *s, shop__pool *p, shop_set set, shop__split split, int32_t want) {
    p->out = &s->set[set];
    p->split = split;
    p->r = shop__stream(s->d.seed, SHOP__POOL, set, 0);
    return shop__table_create(&p->taken, (uint32_t)want);
}

static void shop__pool_close(shop__pool *p) {
    free(p->taken.slot);
    shop__deal(&p->r, p->out, p->out->n);
}

static bool shop__llm_labels(shop *s, shop_set set, shop__split split, int32_t want) {
    shop__pool p;
    bool ok = shop__pool_open(s, &p, set, split, want);
    if (!ok) return false;
    ok = shop__take_candidates(s, &p, true, (int32_t)(want * .4)) && shop__take_candidates(s, &p, false, (int32_t)(want * .8))
      && shop__take_category(s, &p, want);
    shop__pool_close(&p);
    for (int32_t i = 0; i < p.out->n; i++) {
        shop_pair *x = &p.out->pair[i];
        x->label = shop_llm(s, x->item, x->query) >= .5;
    }
    return ok;
}

static bool shop__sr_labels(shop *s, shop_set set, shop__split split, int32_t want) {
    shop__pool p;
    bool ok = shop__pool_open(s, &p, set, split, want);
    if (!ok) return false;
    ok = shop__take_candidates(s, &p, false, want);
    shop__pool_close(&p);
    for (int32_t i = 0; i < p.out->n; i++) {
        shop_pair *x = &p.out->pair[i];
        x->label = shop__sr_logit(s, x->item, x->query) >= s->sr_threshold;
    }
    return ok;
}

static void shop__shuffle_labels(shop *s) {
    shop__rng r = shop__stream(s->d.seed, SHOP__SHUFFLE, SHOP_LLM, 0);
    shop__pairs *p = &s->set[SHOP_LLM];
    for (int32_t i = p->n - 1; i > 0; i--) {
        int32_t k = shop__below(&r, i + 1), x = p->pair[i].label;
        p->pair[i].label = p->pair[k].label;
        p->pair[k].label = x;
    }
}

static bool shop__labels(shop *s) {
    if (!shop__ctr_labels(s) || !shop__ctr_test(s)) return false;
    if (!shop__sr_labels(s, SHOP_SR, SHOP__TRAIN, s->d.n_sr)) return false;
    if (!shop__sr_labels(s, SHOP_SR_TEST, SHOP__TEST, s->d.n_llm_test)) return false;
    if (!shop__llm_labels(s, SHOP_LLM, SHOP__TRAIN, s->d.n_llm)) return false;
    if (!shop__llm_labels(s, SHOP_LLM_DEV, SHOP__DEV, s->d.n_llm_test)) return false;
    if (!shop__llm_labels(s, SHOP_LLM_TEST, SHOP__TEST, s->d.n_llm_test)) return false;
    if (s->d.placebo == SHOP_LLM_SHUFFLED) shop__shuffle_labels(s);
    return shop__tune(s);
}

// >>create -----------------------------------------------------------------------------------------------------------

static bool shop__make(shop *s, char *error) {
    if (!shop__resolve(s, error)) return false;
    shop__zipf_create(s);
    return shop__lexicon(s) && shop__types(s) && shop__items(s) && shop__queries(s, error)
        && shop__index(s) && shop__candidates(s, error) && shop__clicks(s) && shop__labels(s);
}

shop *shop_create(const shop_desc *desc, char error[240]) {
    shop *s = (shop *)calloc(1, sizeof *s);
    snprintf(error, 240, "out of memory");
    if (!s) return NULL;
    if (desc) s->desc = *desc;
    if (shop__make(s, error)) return error[0] = 0, s;
    shop_destroy(s);
    return NULL;
}

void shop_destroy(shop *s) {
    if (!s) return;
    free(s->text); free(s->words); free(s->word_table.slot);
    free(s->items); free(s->title_words); free(s->title_table.slot);
    free(s->queries); free(s->query_table.slot); free(s->intents);
    free(s->by_category); free(s->by_type); free(s->postings); free(s->posting_start); free(s->idf);
    free(s->candidates); free(s->candidate_start);
    for (int i = 0; i < SHOP_N_SETS; i++) free(s->set[i].pair);
    free(s);
}

shop_desc shop_get_desc(const shop *s) { return s->desc; }
int32_t shop_n_items(const shop *s) { return s->d.n_items; }
int32_t shop_n_test_items(const shop *s) { return s->d.n_test_items; }
int32_t shop_n_queries(const shop *s) { return s->n_queries; }
const char *shop_title(const shop *s, int32_t item) { return s->text + s->items[item].title; }
const char *shop_category(const shop *s, int32_t item) {
    return shop__word_text(s, s->type[s->items[item].category_type].category);
}
const char *shop_phrase(const shop *s, int32_t query) { return s->text + s->queries[query].text; }
int32_t shop_find_phrase(const shop *s, const char *text, size_t size) {
    return s->query_table.slot[shop__query_slot(s, text, size)];
}
int32_t shop_find_title(const shop *s, const char *text, size_t size) {
    return s->title_table.slot[shop__title_slot(s, text, size)];
}
double shop_demand(const shop *s, int32_t query) { return s->queries[query].demand; }
double shop_popularity(const shop *s, int32_t item) { return s->items[item].popularity; }
const shop_pair *shop_pairs(const shop *s, shop_set set, int32_t *n) {
    *n = s->set[set].n;
    return s->set[set].pair;
}

// >>write ------------------------------------------------------------------------------------------------------------

static bool shop__write_titles(const shop *s, int32_t first, int32_t end, FILE *f) {
    for (int32_t i = first; i < end; i++) fprintf(f, "%s\t%s\n", shop_title(s, i), shop_category(s, i));
    return !ferror(f);
}

bool shop_write_items(const shop *s, FILE *f) { return shop__write_titles(s, 0, s->d.n_items, f); }
bool shop_write_test_items(const shop *s, FILE *f) { return shop__write_titles(s, s->d.n_items, s->n_all, f); }

bool shop_write_keyphrases(const shop *s, FILE *f) {
    for (int32_t q = 0; q < s->n_queries; q++) fprintf(f, "%d\t%s\n", (int)q, shop_phrase(s, q));
    return !ferror(f);
}

bool shop_write_phrases(const shop *s, FILE *f) {
    for (int32_t q = 0; q < s->n_queries; q++) fprintf(f, "%s\n", shop_phrase(s, q));
    return !ferror(f);
}

static void shop__write_pair(const shop *s, const shop_pair *p, FILE *f) {
    fprintf(f, "%s\t%s\t%s", shop_phrase(s, p->query), shop_title(s, p->item), shop_category(s, p->item));
}

static bool shop__write_labels(const shop *s, shop_set set, FILE *f) {
    for (int32_t i = 0; i < s->set[set].n; i++) {
        shop__write_pair(s, &s->set[set].pair[i], f);
        fprintf(f, "\t%d\n", (int)s->set[set].pair[i].label);
    }
    return !ferror(f);
}

typedef double shop__judge(const shop *s, int32_t item, int32_t query);

static bool shop__write_scored(const shop *s, shop_set set, shop__judge *score, FILE *f) {
    bool dealt = set == SHOP_LLM && s->d.placebo == SHOP_LLM_SHUFFLED;          // a probability would tell
    for (int32_t i = 0; i < s->set[set].n; i++) {
        const shop_pair *p = &s->set[set].pair[i];
        shop__write_pair(s, p, f);
        fprintf(f, "\t%d\t%.6f\t%d\n", (int)p->label, dealt ? p->label : score(s, p->item, p->query), (int)p->query);
    }
    return !ferror(f);
}

bool shop_write_sr_scored(const shop *s, FILE *f) { return shop__write_scored(s, SHOP_SR, shop_sr, f); }
bool shop_write_llm_scored(const shop *s, FILE *f) { return shop__write_scored(s, SHOP_LLM, shop_llm, f); }

static void shop__write_purchases_of(const shop *s, const shop__candidate *c, int32_t query, FILE *f) {
    shop_pair p = {c->item, query, 0};
    int32_t n = shop__purchases(s, c, query);
    if (!n) return;
    shop__write_pair(s, &p, f);
    fprintf(f, "\t%d\n", (int)n);
}

static void shop__write_seen(const shop *s, int32_t item, int32_t query, const shop__seen *n, int32_t position, FILE *f) {
    shop_pair p = {item, query, 0};
    if (!n->shown) return;
    shop__write_pair(s, &p, f);
    fprintf(f, "\t%d\t%d", (int)n->shown, (int)n->clicks);
    if (position) fprintf(f, "\t%d", (int)position);
    fputc('\n', f);
}

// By position the last round is gone through again, as it was.
static void shop__write_positions_of(const shop *s, int32_t query, const double *examined, const shop__tally *t, FILE *f) {
    int32_t first = s->candidate_start[query];
    shop__sell(s, query, 1, examined, t);
    for (int32_t i = first; i < s->candidate_start[query + 1]; i++)
        for (int32_t k = 0; k < t->positions && shop__split_of(s, s->candidates[i].item) == SHOP__TRAIN; k++)
            shop__write_seen(s, s->candidates[i].item, query, shop__seen_at(t, i - first, k), k + 1, f);
}

static bool shop__write_log_by_position(const shop *s, FILE *f) {
    double examined[SHOP__SHOWN];
    shop__tally t = {SHOP__SHOWN, NULL};
    t.seen = (shop__seen *)malloc(SHOP__MOST_CANDIDATES * SHOP__SHOWN * sizeof *t.seen);
    if (!t.seen) return false;
    shop__examined(s, examined);
    for (int32_t q = 0; q < s->n_queries; q++) shop__write_positions_of(s, q, examined, &t, f);
    free(t.seen);
    return !ferror(f);
}

static void shop__write_seen_of(const shop *s, const shop__candidate *c, int32_t query, FILE *f) {
    shop__write_seen(s, c->item, query, &c->seen, 0, f);
}

typedef void shop__pair_writer(const shop *s, const shop__candidate *c, int32_t query, FILE *f);

// Of the training items' pairs.
static bool shop__write_shown(const shop *s, shop__pair_writer *write, FILE *f) {
    for (int32_t q = 0; q < s->n_queries; q++)
        for (int32_t i = s->candidate_start[q]; i < s->candidate_start[q + 1]; i++)
            if (shop__split_of(s, s->candidates[i].item) == SHOP__TRAIN) write(s, &s->candidates[i], q, f);
    return !ferror(f);
}

bool shop_write_log(const shop *s, FILE *f) {
    return s->d.positions ? shop__write_log_by_position(s, f) : shop__write_shown(s, shop__write_seen_of, f);
}

bool shop_write_purchases(const shop *s, FILE *f) { return shop__write_shown(s, shop__write_purchases_of, f); }

bool shop_write_popularity(const shop *s, FILE *f) {
    for (int32_t i = 0; i < s->d.n_test_items; i++) fprintf(f, "%d\t%.6f\n", (int)i, shop_popularity(s, s->d.n_items + i));
    return !ferror(f);
}

bool shop_write_ctr(const shop *s, FILE *f) {
    for (int32_t i = 0; i < s->set[SHOP_CTR].n; i++) {
        shop__write_pair(s, &s->set[SHOP_CTR].pair[i], f);
        fputc('\n', f);
    }
    return !ferror(f);
}

bool shop_write_sr(const shop *s, FILE *f) { return shop__write_labels(s, SHOP_SR, f); }
bool shop_write_ctr_test(const shop *s, FILE *f) { return shop__write_labels(s, SHOP_CTR_TEST, f); }
bool shop_write_sr_test(const shop *s, FILE *f) { return shop__write_labels(s, SHOP_SR_TEST, f); }
bool shop_write_llm(const shop *s, FILE *f) { return shop__write_labels(s, SHOP_LLM, f); }
bool shop_write_llm_dev(const shop *s, FILE *f) { return shop__write_labels(s, SHOP_LLM_DEV, f); }
bool shop_write_llm_test(const shop *s, FILE *f) { return shop__write_labels(s, SHOP_LLM_TEST, f); }

// The pairs of a set, and what another says of them: the truth or the tuned LLM, yes or no.
static bool shop__write_verdicts(const shop *s, shop_set set, double (*by)(const shop *, int32_t, int32_t), FILE *f) {
    for (int32_t i = 0; i < s->set[set].n; i++) {
        const shop_pair *p = &s->set[set].pair[i];
        shop__write_pair(s, p, f);
        fprintf(f, "\t%d\n", by(s, p->item, p->query) >= .5);
    }
    return !ferror(f);
}

bool shop_write_truth_test(const shop *s, FILE *f) { return shop__write_verdicts(s, SHOP_LLM_TEST, shop_truth, f); }
bool shop_write_tuned(const shop *s, FILE *f) { return shop__write_verdicts(s, SHOP_LLM, shop_llm_tuned, f); }

bool shop_write_rated(const shop *s, FILE *f) {
    for (int32_t i = 0; i < s->set[SHOP_LLM_DEV].n; i++) {
        const shop_pair *p = &s->set[SHOP_LLM_DEV].pair[i];
        double truth = shop_truth(s, p->item, p->query);
        shop__write_pair(s, p, f);
        fprintf(f, "\t%s\n", truth < .2 ? "0" : truth < .5 ? "0.33" : truth < .8 ? "0.67" : "1");
    }
    return !ferror(f);
}

bool shop_write_corpus(const shop *s, FILE *f) {
    for (int32_t i = 0; i < s->d.n_items; i++) fprintf(f, "%s\n", shop_title(s, i));
    return shop_write_phrases(s, f);
}

// >>ini --------------------------------------------------------------------------------------------------------------

// The shortest text that is read back as the same number.
static void shop__write_number(FILE *f, double v) {
    char text[40];
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, v);
        if (strtod(text, NULL) == v) break;
    }
    fputs(text, f);
}

bool shop_write_ini(const shop *s, FILE *f) {
    fprintf(f, "# A simulated shop. This file is enough to make it again; tools/shop.h says what the keys mean.\n");
    fprintf(f, "seed = %llu\n", (unsigned long long)s->d.seed);
    for (int i = 0; i < SHOP__N_KNOBS; i++) {
        const shop__knob *k = &SHOP__KNOB[i];
        fprintf(f, "%s = ", k->name);
        if (k->integer) fprintf(f, "%d", (int)shop__get(&s->d, k)); else shop__write_number(f, shop__get(&s->d, k));
        fputc('\n', f);
    }
    return !ferror(f);
}

shop_file shop_get_file(int i) {
    static const shop_file none = {NULL, NULL};
    static const shop_file file[] = {
        {"items.tsv", shop_write_items}, {"test_items.tsv", shop_write_test_items}, {"keyphrases.tsv", shop_write_keyphrases},
        {"keyphrases.txt", shop_write_phrases}, {"ctr.tsv", shop_write_ctr}, {"sr.tsv", shop_write_sr},
        {"llm.tsv", shop_write_llm}, {"llm_dev.tsv", shop_write_llm_dev}, {"llm_test.tsv", shop_write_llm_test},
        {"ctr_test.tsv", shop_write_ctr_test}, {"sr_test.tsv", shop_write_sr_test},
        {"truth_test.tsv", shop_write_truth_test}, {"tuned.tsv", shop_write_tuned}, {"rated.tsv", shop_write_rated},
        {"sr_scored.tsv", shop_write_sr_scored},
        {"llm_scored.tsv", shop_write_llm_scored}, {"log.tsv", shop_write_log}, {"purchases.tsv", shop_write_purchases},
        {"test_popularity.tsv", shop_write_popularity}, {"corpus.txt", shop_write_corpus}, {"shop.ini", shop_write_ini}};
    int32_t n = sizeof file / sizeof *file;
    return i >= 0 && i < n ? file[i] : none;
}

static char *shop__trim(char *text) {
    size_t n;
    text += strspn(text, " \t\r\n");
    n = strlen(text);
    while (n && strchr(" \t\r\n", text[n - 1])) n--;
    text[n] = 0;
    return text;
}

static bool shop__read_seed(const char *value, shop_desc *d, char *error) {
    char *end;
    unsigned long long v;
    errno = 0;
    v = strtoull(value, &end, 10);
    if (errno || end == value || *end || value[0] == '-' || !v)
        return snprintf(error, 240, "seed = %.40s: expected an integer of at least 1", value), false;
    d->seed = v;
    return true;
}

static bool shop__read_knob(const shop__knob *k, const char *value, shop_desc *d, char *error) {
    char *end;
    double v = strtod(value, &end);
    bool ok = end != value && !*end && v >= k->low && v <= k->high && (!k->integer || v == floor(v));
    if (!ok)
        return snprintf(error, 240, "%s = %.40s: expected %s from %.9g to %.9g", k->name, value,
                        k->integer ? "an integer" : "a number", k->low, k->high), false;
    shop__set(d, k, v == 0 ? -1 : v);
    return true;
}

static bool shop__read_line(char *line, shop_desc *d, char *error) {
    char *key = shop__trim(line), *equals = strchr(key, '='), *value;
    if (!*key || *key == '#' || *key == ';') return true;
    if (!equals) return snprintf(error, 240, "'%.40s': expected key = value", key), false;
    *equals = 0;
    value = shop__trim(equals + 1);
    key = shop__trim(key);
    if (!strcmp(key, "seed")) return shop__read_seed(value, d, error);
    for (int i = 0; i < SHOP__N_KNOBS; i++)
        if (!strcmp(key, SHOP__KNOB[i].name)) return shop__read_knob(&SHOP__KNOB[i], value, d, error);
    return snprintf(error, 240, "unknown key '%.40s'", key), false;
}

bool shop_read_ini(FILE *f, shop_desc *desc, int64_t *line, char error[240]) {
    char text[512];
    shop_desc d = *desc;
    for (*line = 1; fgets(text, sizeof text, f); ++*line) {
        if (!strchr(text, '\n') && !feof(f)) return snprintf(error, 240, "a line longer than 500 bytes"), false;
        if (!shop__read_line(text, &d, error)) return false;
    }
    if (ferror(f)) return snprintf(error, 240, "cannot read"), false;
    *desc = d;
    return true;
}

// >>measure  The marginals by which the shop is judged. --------------------------------------------------------------

static double shop__share(double part, double whole) { return whole > 0 ? part / whole : 0; }

// P(a yes has the larger overlap than a no), ties count half. Pairs of the LLM's pool.
static double shop__overlap_auc(const shop *s) {
    double n[2][101] = {{0}}, below = 0, sum = 0, yes = 0;
    for (int32_t i = 0; i < s->set[SHOP_LLM].n; i++) {
        const shop_pair *p = &s->set[SHOP_LLM].pair[i];
        n[shop_truth(s, p->item, p->query) >= .5][(int)(shop_overlap(s, p->item, p->query) * 100 + .5)]++;
    }
    for (int k = 0; k <= 100; k++) {
        sum += n[1][k] * (below + n[0][k] / 2);
        below += n[0][k];
        yes += n[1][k];
    }
    return shop__share(sum, yes * below);
}

// Counts over all candidates.
typedef struct shop__counts {
    double ctr, ctr_true, ctr_yes, ctr_true_yes;            // CTR positives; yes: of the LLM
    double other, other_true;                               // the rest of those with 10 impressions
    double true_in[5], ctr_in[5];                           // by popularity, least first: true; of those CTR positive
    double true_all, true_dropped, sr_is_filter;
    double accessory, accessory_passes;
} shop__counts;

static void shop__count(const shop *s, const shop__candidate *c, int32_t q, shop__counts *n) {
    bool yes = shop_truth(s, c->item, q) >= .5, ctr = shop__is_ctr(s, c), llm = ctr && shop__llm(s, c->item, q) >= .5;
    // rank / n = n^-pop: the quintile by rank, from the last
    int quintile = (int)(5 * (1 - (shop__power(s->d.n_items, 1 - s->items[c->item].popularity) - .5) / s->d.n_items));
    int32_t want = s->intents[s->queries[q].intent].type;
    if (ctr) {
        n->ctr++;
        n->ctr_true += yes;
        n->ctr_yes += llm;
        n->ctr_true_yes += yes && llm;
    } else if (c->seen.shown >= s->d.impressions) {
        n->other++;
        n->other_true += yes;
    }
    quintile = quintile < 0 ? 0 : quintile > 4 ? 4 : quintile;
    n->true_in[quintile] += yes;
    n->ctr_in[quintile] += yes && ctr;
    n->sr_is_filter += (c->sr >= s->sr_threshold) == (s->d.filter >= 1 || c->sr >= s->filter_threshold);
    n->true_all += yes;
    n->true_dropped += yes && s->d.filter < 1 && c->sr < s->filter_threshold;
    if (s->type[s->items[c->item].type].device != want) return;
    n->accessory++;
    n->accessory_passes += c->sr >= s->sr_threshold;
}

// Whether item i is of a type that the query means.
static bool shop__meant(const shop *s, int32_t q, int32_t type, int32_t until) {
    for (int32_t k = s->queries[q].intent; k >= 0 && k != until; k = s->intents[k].next)
        if (s->intents[k].type == type) return true;
    return false;
}

// All true pairs of the shop: an item of another type than the intents' is never true.
static double shop__count_true(const shop *s) {
    double n = 0;
    for (int32_t q = 0; q < s->n_queries; q++)
        for (int32_t k = s->queries[q].intent; k >= 0; k = s->intents[k].next) {
            int32_t t = s->intents[k].type;
            if (shop__meant(s, q, t, k)) continue;
            for (int32_t i = s->type_start[t]; i < s->type_start[t + 1]; i++) n += shop_truth(s, s->by_type[i], q) >= .5;
        }
    return n;
}

static double shop__agreement(const shop *s, shop__judge *a, shop__judge *b) {
    double n = 0;
    for (int32_t i = 0; i < s->set[SHOP_LLM].n; i++) {
        const shop_pair *p = &s->set[SHOP_LLM].pair[i];
        n += (a(s, p->item, p->query) >= .5) == (b(s, p->item, p->query) >= .5);
    }
    return shop__share(n, s->set[SHOP_LLM].n);
}

static double shop__yes(const shop *s, shop__judge *a) {
    const shop__pairs *p = &s->set[SHOP_LLM];
    double n = 0;
    for (int32_t i = 0; i < p->n; i++) n += a(s, p->pair[i].item, p->pair[i].query) >= .5;
    return shop__share(n, p->n);
}

static void shop__figure(shop_figure *out, int *n, const char *name, double value, const char *prototype) {
    out[*n].name = name;
    out[*n].value = value;
    out[(*n)++].prototype = prototype;
}

int shop_measure(const shop *s, shop_figure out[SHOP_N_FIGURES]) {
    shop__counts c;
    int n = 0;
    memset(&c, 0, sizeof c);
    for (int32_t q = 0; q < s->n_queries; q++)
        for (int32_t i = s->candidate_start[q]; i < s->candidate_start[q + 1]; i++) shop__count(s, &s->candidates[i], q, &c);
    shop__figure(out, &n, "AUC of token overlap under the truth", shop__overlap_auc(s), ".83");
    shop__figure(out, &n, "CTR threshold", s->ctr_threshold, ".05");
    shop__figure(out, &n, "CTR positives that are true", shop__share(c.ctr_true, c.ctr), ".90");
    shop__figure(out, &n, "CTR \"negatives\" that are true", shop__share(c.other_true, c.other), ".32");
    shop__figure(out, &n, "P(CTR positive | true), least popular fifth", shop__share(c.ctr_in[0], c.true_in[0]), ".13");
    shop__figure(out, &n, "P(CTR positive | true), second fifth", shop__share(c.ctr_in[1], c.true_in[1]), "");
    shop__figure(out, &n, "P(CTR positive | true), third fifth", shop__share(c.ctr_in[2], c.true_in[2]), "");
    shop__figure(out, &n, "P(CTR positive | true), fourth fifth", shop__share(c.ctr_in[3], c.true_in[3]), "");
    shop__figure(out, &n, "P(CTR positive | true), most popular fifth", shop__share(c.ctr_in[4], c.true_in[4]), ".25");
    shop__figure(out, &n, "true candidates that the filter drops", shop__share(c.true_dropped, c.true_all), ".19");
    shop__figure(out, &n, "true pairs that are never candidates", 1 - shop__share(c.true_all, shop__count_true(s)), ".50");
    shop__figure(out, &n, "accessories that pass SR for device queries", shop__share(c.accessory_passes, c.accessory), ".46");
    shop__figure(out, &n, "pairs with a CTR, of the candidates", shop__share(c.ctr + c.other, shop__n_candidates(s)), "");
    shop__figure(out, &n, "SR labels that equal the engine's filter", shop__share(c.sr_is_filter, shop__n_candidates(s)), "");
    shop__figure(out, &n, "LLM agrees with the truth, its pool", shop__agreement(s, shop__llm, shop_truth), ".90-.965");
    shop__figure(out, &n, "LLM says yes on CTR positives", shop__share(c.ctr_yes, c.ctr), ".90 (paper)");
    shop__figure(out, &n, "LLM says yes on true CTR positives", shop__share(c.ctr_true_yes, c.ctr_true), "");
    shop__figure(out, &n, "text-truth agrees with the truth, its pool", shop__agreement(s, shop_text_truth, shop_truth), "");
    shop__figure(out, &n, "truth says yes, the LLM's pool", shop__yes(s, shop_truth), "");
    shop__figure(out, &n, "LLM says yes, its pool", shop__yes(s, shop__llm), "");
    shop__figure(out, &n, "tuned LLM says yes, the same pool", shop__yes(s, shop_llm_tuned), "");
    return n;
}
#endif // SHOP_IMPLEMENTATION
