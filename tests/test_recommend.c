// kpd_recommend against the same pipeline by hand: embed, search, drop duplicates, score, rank.
#include "../kpd_train.h"
#include "test.h"
#include "tiny_model.h"
#include "values.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DIM = 16, SMALL_DIM = 6, MOST_K = 128, ITEMS = 40, TOKENS = 24 };

// By id. Most of them twice over in some way; a NULL is a keyphrase that is gone.
static const char *const phrases[] = {
    "blue case", "Blue  Case", "case blue", "red phone", "laptop charger", "charger laptop", "RED PHONE", NULL, "yellow lamps",
    "lamp", "sleeve for laptop", "green cover", "phone case", "case for phone", "blue case blue", "pro 5", "pro 6", "5 6 5", "",
    "red red phone", "cover, green", "unheard words", "other unheard", "laptop", NULL, "lamps yellow", "yellow lamps!"};
enum { PHRASES = sizeof phrases / sizeof *phrases };

static kpd_model *student, *assistant, *two_labels;
static kpd_session *session;
static kpd_index *keyphrases, *short_vectors, *too_wide;
static kpd_input items[ITEMS];
static kpd_recommendation got[ITEMS * MOST_K], want[MOST_K];
static int32_t counts[ITEMS];
static kpd_error error;

static bool lookup(void *user, int64_t id, kpd_text *out) {
    const char *phrase = phrases[(id + 1000) / 7];
    CHECK(user == &session);
    if (!phrase) return false;
    out->data = phrase;
    out->size = strlen(phrase);
    return true;
}

static int64_t id_of(size_t i) { return (int64_t)i * 7 - 1000; }

// ---- fixtures ------------------------------------------------------------------------------------------------------

static kpd_index *make_index(int32_t dim) {
    kpd_index_desc d;
    kpd_index *x = NULL;
    memset(&d, 0, sizeof d);
    d.dim = dim;
    if (!CHECK_OK(kpd_index_create(&d, &x, NULL)) || dim > DIM) return x;
    for (size_t i = 0; i < PHRASES; i++) {
        float v[DIM];
        const int64_t id = id_of(i);
        kpd_input in = kpd_input_str(phrases[i] ? phrases[i] : "red case", NULL, NULL);
        CHECK_OK(kpd_embed(session, student, KPD_KEYPHRASE, &in, 1, dim, v, NULL));
        CHECK_OK(kpd_index_upsert(x, &id, v, 1, NULL));
    }
    return x;
}

static kpd_model *model_of_two_labels(void) {
    kpd_tokenizer *t = tiny_tokenizer();
    tiny_options o;
    kpd_model *m = NULL;
    kpd_model_desc d;
    memset(&o, 0, sizeof o);
    o.kind = KPD_CROSS_ENCODER;
    d = tiny_desc(&o, t);
    d.n_labels = 2;
    if (t) CHECK_OK(kpd_model_create(&d, &m, NULL));
    kpd_tokenizer_destroy(t);
    return m;
}

static void make_items(void) {
    static const char *const titles[] = {"Blue case for phone 5", "red laptop", "charger", "yellow lamp, green cover",
                                         "pro 6 pro"};
    static const char *const categories[] = {"phone", NULL, "", "laptop sleeve"};
    for (size_t i = 0; i < ITEMS; i++) items[i] = kpd_input_str(titles[i % 5], categories[i / 5 % 4], NULL);
}

static void make_fixtures(void) {
    tiny_options o;
    memset(&o, 0, sizeof o);
    o.seed = 3;
    student = tiny_model(&o);
    o.kind = KPD_CROSS_ENCODER; o.width = 32; o.n_layers = 2; o.seed = 4;
    assistant = tiny_model(&o);
    two_labels = model_of_two_labels();
    session = tiny_session(student, assistant);
    keyphrases = make_index(DIM);
    short_vectors = make_index(SMALL_DIM);
    too_wide = make_index(DIM + 1);
    make_items();
}

static void free_fixtures(void) {
    kpd_index_destroy(keyphrases);
    kpd_index_destroy(short_vectors);
    kpd_index_destroy(too_wide);
    kpd_session_destroy(session);
    kpd_model_destroy(student);
    kpd_model_destroy(assistant);
    kpd_model_destroy(two_labels);
}

static kpd_recommend_desc base(int32_t k) {
    kpd_recommend_desc d;
    memset(&d, 0, sizeof d);
    d.student = student; d.index = keyphrases; d.assistant = assistant;
    d.search.k = k;
    d.lookup = lookup; d.lookup_user = &session;
    return d;
}

// ---- progress and cancelling ---------------------------------------------------------------------------------------

typedef struct reporter { int64_t calls, stop_at, done, of; } reporter;

static bool report(void *user, int64_t done, int64_t of) {
    reporter *r = (reporter *)user;
    CHECK(done > r->done && done <= of && (!r->of || r->of == of));
    r->done = done; r->of = of;
    return ++r->calls != r->stop_at;
}

static kpd_progress report_to(reporter *r, int64_t stop_at) {
    kpd_progress p;
    memset(r, 0, sizeof *r);
    r->stop_at = stop_at;
    p.report = report; p.user = r;
    return p;
}

// A session of so few tokens that each call takes several slices.
static kpd_session *reporting_session(reporter *r, int64_t stop_at) {
    kpd_session_desc d;
    kpd_session *s = NULL;
    memset(&d, 0, sizeof d);
    d.student = student; d.assistant = assistant; d.max_tokens = 24;
    d.progress = report_to(r, stop_at);
    CHECK_OK(kpd_session_create(&d, &s, &error));
    return s;
}

static bool cancelled(kpd_status s, const reporter *r, int64_t stop_at) {
    bool whole = r->calls < stop_at;                    // it was through before
    return CHECK_STATUS(s, whole ? KPD_OK : KPD_ERR_CANCELLED) && (whole ? CHECK_INT(r->done, r->of) :
           CHECK(r->calls == stop_at && strstr(error.message, "stopped by the host")));
}

// A call stopped at its n-th report fails with zeroed outputs, and the next one is whole.
static void calls_can_be_cancelled(void) {
    static float vectors[ITEMS * DIM], zeros[ITEMS * DIM], logits[ITEMS];
    static kpd_input pairs[ITEMS];
    for (size_t i = 0; i < ITEMS; i++) pairs[i] = kpd_input_str("red phone", "", "laptop charger");
    for (int64_t at = 1; at < 64; at += at < 8 ? 1 : 9) {
        reporter r;
        kpd_recommend_desc d = base(5);
        kpd_session *s = reporting_session(&r, at);
        if (!s) return;
        if (cancelled(kpd_embed(s, student, KPD_ITEM, items, ITEMS, 0, vectors, &error), &r, at) && r.calls == at)
            CHECK(!memcmp(vectors, zeros, sizeof vectors));
        memset(&r, 0, sizeof r); r.stop_at = at;
        if (cancelled(kpd_score(s, assistant, pairs, ITEMS, logits, &error), &r, at) && r.calls == at)
            CHECK(!memcmp(logits, zeros, sizeof logits));
        memset(&r, 0, sizeof r); r.stop_at = at;
        if (cancelled(kpd_recommend(s, &d, items, ITEMS, got, counts, &error), &r, at) && r.calls == at)
            for (size_t i = 0; i < ITEMS; i++) CHECK_INT(counts[i], 0);
        memset(&r, 0, sizeof r);
        CHECK_OK(kpd_recommend(s, &d, items, ITEMS, got, counts, &error));
        CHECK(r.of == ITEMS && r.calls == 3 && counts[0] > 0);          // 16, 16 and 8 items, and no report of parts of them
        kpd_session_destroy(s);
    }
}

static void conversions_can_be_cancelled(void) {
    kpd_convert_desc d;
    reporter r;
    int64_t calls;
    kpd_model *whole = NULL;
    memset(&d, 0, sizeof d);
    d.dtype = KPD_INT8; d.texts = items; d.n_texts = ITEMS;
    d.progress = report_to(&r, 0);
    if (!CHECK_OK(kpd_model_convert(student, &d, &whole, &error))) return;
    CHECK_INT(r.done, r.of);
    kpd_model_destroy(whole);
    calls = r.calls;
    for (int64_t at = 1; at <= calls; at++) {
        kpd_model *m = NULL;
        d.progress = report_to(&r, at);
        CHECK_STATUS(kpd_model_convert(student, &d, &m, &error), KPD_ERR_CANCELLED);
        CHECK(m == NULL && r.calls == at);
    }
}

// ---- fingerprints --------------------------------------------------------------------------------------------------

static kpd_model *reopened(const kpd_model *m, const char *name) {
    const char *path = test_tmp(name);
    kpd_model *other = NULL;
    CHECK_OK(kpd_model_save(m, path, &error));
    CHECK_OK(kpd_model_open(path, NULL, &other, &error));
    return other;
}

// A model's fingerprint goes with what decides its vectors: through files and conversions, and not to other weights.
static void fingerprints_follow_the_weights(void) {
    kpd_convert_desc d;
    tiny_options o;
    kpd_tensor t;
    float *w;
    uint64_t print;
    kpd_model *opened = reopened(student, "print.kpd"), *again = NULL, *small = NULL, *saved = NULL, *wide = NULL, *other = NULL;
    memset(&d, 0, sizeof d);
    memset(&o, 0, sizeof o);
    o.seed = 77;
    if (!opened) return;
    print = kpd_model_fingerprint(opened, KPD_ITEM);
    CHECK(print != 0 && kpd_model_fingerprint(opened, KPD_KEYPHRASE) == print);
    CHECK(kpd_model_fingerprint(student, KPD_ITEM) == print);           // whose weights have no sums yet
    again = reopened(opened, "print2.kpd");
    CHECK(again && kpd_model_fingerprint(again, KPD_ITEM) == print);
    d.dtype = KPD_INT8;
    CHECK_OK(kpd_model_convert(opened, &d, &small, &error));
    CHECK(small && kpd_model_fingerprint(small, KPD_ITEM) == print && kpd_model_get_desc(small)->converted_from == print);
    saved = reopened(small, "print3.kpd");
    CHECK(saved && kpd_model_fingerprint(saved, KPD_ITEM) == print);
    d.dtype = KPD_F32;
    CHECK_OK(kpd_model_convert(opened, &d, &wide, &error));
    CHECK(wide && kpd_model_fingerprint(wide, KPD_ITEM) == print);
    CHECK(kpd_model_tensor(wide, 0, &t));
    w = (float *)calloc((size_t)t.rows * (size_t)t.cols, sizeof *w);
    if (CHECK(w != NULL)) CHECK_OK(kpd_model_set(wide, t.name, w, &error));
    free(w);
    CHECK(kpd_model_fingerprint(wide, KPD_ITEM) != print);
    kpd_model_destroy(again);
    again = reopened(wide, "print4.kpd");
    CHECK(again && kpd_model_fingerprint(again, KPD_ITEM) == kpd_model_fingerprint(wide, KPD_ITEM));
    other = tiny_model(&o);
    kpd_model_destroy(again);
    again = reopened(other, "print5.kpd");
    CHECK(again && kpd_model_fingerprint(again, KPD_ITEM) != print);
    kpd_model_destroy(opened); kpd_model_destroy(again); kpd_model_destroy(small); kpd_model_destroy(saved);
    kpd_model_destroy(wide); kpd_model_destroy(other);
}

static void an_index_of_another_model_is_refused(void) {
    kpd_index_desc d;
    kpd_recommend_desc r = base(3);
    kpd_model *opened = reopened(student, "print.kpd");
    kpd_index *x[2] = {NULL, NULL};
    float v[DIM] = {1};
    const int64_t id = id_of(3);
    memset(&d, 0, sizeof d);
    d.dim = DIM;
    if (!opened) return;
    for (int wrong = 0; wrong < 2; wrong++) {
        d.fingerprint = kpd_model_fingerprint(opened, KPD_KEYPHRASE) ^ (wrong ? 1 : 0);
        CHECK_OK(kpd_index_create(&d, &x[wrong], &error));
        CHECK_OK(kpd_index_upsert(x[wrong], &id, v, 1, &error));
        CHECK_OK(kpd_index_save(x[wrong], test_tmp("print.kpi"), &error));
        kpd_index_destroy(x[wrong]);
        CHECK_OK(kpd_index_open(test_tmp("print.kpi"), NULL, &x[wrong], &error));
        CHECK(info_of(x[wrong]).fingerprint == d.fingerprint);
        r.index = x[wrong]; r.student = opened;
        CHECK_STATUS(kpd_recommend(session, &r, items, 1, got, counts, &error), wrong ? KPD_ERR_ARGUMENT : KPD_OK);
        CHECK(!wrong || strstr(error.message, "the index has vectors of model "));
        r.student = student;                                            // created: not looked at
        CHECK_OK(kpd_recommend(session, &r, items, 1, got, counts, &error));
        kpd_index_destroy(x[wrong]);
    }
    kpd_model_destroy(opened);
}

// ---- the host's relevance ------------------------------------------------------------------------------------------

typedef struct judge { int64_t calls, stop_at; float wrong; } judge;

static bool relevance_by_id(void *user, int64_t item, const int64_t *id, int32_t n, float *out) {
    judge *j = (judge *)user;
    CHECK(n > 0 && item >= 0 && item < ITEMS);
    for (int32_t i = 0; i < n; i++) out[i] = (float)((id[i] + 1000) / 7) / (float)PHRASES;
    if (j->wrong > 0) out[n - 1] = j->wrong;
    return ++j->calls != j->stop_at;
}

// A relevance of the host's filters and ranks as an assistant's would.
static void the_host_can_judge(void) {
    judge j = {0, 0, 0};
    kpd_recommend_desc d = base(20);
    d.relevance = relevance_by_id; d.relevance_user = &j;
    CHECK_STATUS(kpd_recommend(session, &d, items, 1, got, counts, &error), KPD_ERR_ARGUMENT);
    CHECK(strstr(error.message, "an assistant and a relevance"));
    d.assistant = NULL; d.min_relevance = .3f; d.rank_by_relevance = true;
    CHECK_OK(kpd_recommend(session, &d, items, ITEMS, got, counts, &error));
    CHECK(counts[0] > 2 && j.calls == ITEMS);
    for (size_t i = 0; i < ITEMS; i++)
        for (int32_t r = 0; r < counts[i]; r++) {
            const kpd_recommendation *x = &got[i * 20 + (size_t)r];
            CHECK(x->relevance >= .3f && x->relevance == (float)((x->id + 1000) / 7) / (float)PHRASES);
            CHECK(r == 0 || x[-1].relevance >= x->relevance);
        }
    j.calls = 0; j.stop_at = 5;
    CHECK_STATUS(kpd_recommend(session, &d, items, ITEMS, got, counts, &error), KPD_ERR_CANCELLED);
    CHECK(error.where == 4 && counts[0] == 0);
    j.stop_at = 0; j.wrong = 1.5f;
    CHECK_STATUS(kpd_recommend(session, &d, items, ITEMS, got, counts, &error), KPD_ERR_ARGUMENT);
    CHECK(strstr(error.message, "is 1.5, expected 0 to 1"));
}

// ---- the pipeline by hand ------------------------------------------------------------------------------------------

typedef struct phrase { int32_t ids[TOKENS], n; } phrase;

static int ascending(const void *a, const void *b) {
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return x < y ? -1 : x > y;
}

static phrase tokens_of(kpd_text text, bool in_any_order) {
    kpd_input in;
    kpd_tokens t;
    phrase p;
    memset(&in, 0, sizeof in);
    memset(&t, 0, sizeof t);
    memset(&p, 0, sizeof p);
    in.part[0] = text; in.n_parts = 1;
    t.ids = p.ids; t.capacity = TOKENS;
    CHECK_OK(kpd_model_tokenize(student, KPD_KEYPHRASE, &in, true, &t, NULL));
    p.n = t.count;
    if (in_any_order) qsort(p.ids, (size_t)p.n, sizeof *p.ids, ascending);
    return p;
}

static float relevance_of(const kpd_model *m, kpd_text text, const kpd_input *item) {
    kpd_input pair = kpd_input_str("", "", "");
    float logit = 0;
    if (!m) return NAN;
    pair.part[0] = text;
    if (item->n_parts > 1) pair.part[1] = item->part[1];
    pair.part[2] = item->part[0];
    CHECK_OK(kpd_score(session, m, &pair, 1, &logit, NULL));
    return kpd_sigmoid(logit);
}

static int by_relevance(const void *a, const void *b) {
    const kpd_recommendation *x = (const kpd_recommendation *)a, *y = (const kpd_recommendation *)b;
    if (x->relevance < y->relevance || x->relevance > y->relevance) return x->relevance > y->relevance ? -1 : 1;
    if (x->similarity < y->similarity || x->similarity > y->similarity) return x->similarity > y->similarity ? -1 : 1;
    return x->id < y->id ? -1 : x->id > y->id;
}

static bool seen_before(const phrase *kept, size_t n, const phrase *p) {
    for (size_t i = 0; i < n; i++)
        if (kept[i].n == p->n && !memcmp(kept[i].ids, p->ids, sizeof p->ids)) return true;
    return false;
}

static int32_t by_hand(const kpd_recommend_desc *d, const kpd_input *item) {
    static phrase kept[MOST_K];
    static kpd_hit hits[MOST_K];
    float v[DIM];
    int32_t n_hits = 0, n = 0;
    size_t n_kept = 0;
    CHECK_OK(kpd_embed(session, d->student, KPD_ITEM, item, 1, info_of(d->index).dim, v, NULL));
    CHECK_OK(kpd_index_search(session, d->index, v, 1, &d->search, hits, &n_hits, NULL));
    for (int32_t i = 0; i < n_hits; i++) {
        kpd_text text;
        phrase p;
        if (!lookup(d->lookup_user, hits[i].id, &text)) continue;
        p = tokens_of(text, d->same_words_are_duplicates);
        if (seen_before(kept, n_kept, &p)) continue;
        kept[n_kept++] = p;
        want[n].id = hits[i].id; want[n].similarity = hits[i].score;
        want[n].relevance = relevance_of(d->assistant, text, item);
        if (!d->assistant || want[n].relevance >= d->min_relevance) n++;
    }
    if (d->rank_by_relevance && d->assistant) qsort(want, (size_t)n, sizeof *want, by_relevance);
    return n;
}

static bool same(const kpd_recommendation *a, const kpd_recommendation *b) {
    bool both_none = isnan(a->relevance) && isnan(b->relevance);
    return a->id == b->id && !memcmp(&a->similarity, &b->similarity, 4) &&
           (both_none || !memcmp(&a->relevance, &b->relevance, 4));
}

// Recommends for all items; returns how many keyphrases there were in all, -1 after a difference.
static int32_t check(const kpd_recommend_desc *d) {
    int32_t k = d->search.k ? d->search.k : 10, sum = 0;
    memset(counts, 0x5A, sizeof counts);
    if (!CHECK_OK(kpd_recommend(session, d, items, ITEMS, got, counts, &error))) return -1;
    for (size_t i = 0; i < ITEMS; i++) {
        int32_t n = by_hand(d, &items[i]);
        const kpd_recommendation *row = got + i * (size_t)k;
        if (!CHECK_THAT(counts[i] == n, "item %zu: %d keyphrases, expected %d", i, (int)counts[i], (int)n)) return -1;
        for (int32_t j = 0; j < n; j++)
            if (!CHECK_THAT(same(&row[j], &want[j]), "item %zu, place %d: id %lld, expected %lld", i, (int)j,
                            (long long)row[j].id, (long long)want[j].id))
                return -1;
        sum += n;
    }
    return sum;
}

// ---- tests ---------------------------------------------------------------------------------------------------------

static void as_by_hand(void) {
    for (int32_t k = 0; k <= 128; k = k * 3 + 1) {                      // 0, 1, 4, 13, 40, 121: also more than there are
        kpd_recommend_desc d = base(k);
        int32_t n = check(&d), expected = k ? k : 10;
        CHECK_THAT(n > 0 && n <= ITEMS * expected, "%d keyphrases for k = %d", (int)n, (int)k);
    }
}

static void short_index(void) {
    kpd_recommend_desc d = base(12);
    d.index = short_vectors;
    CHECK(check(&d) > ITEMS);
}

static void duplicates(void) {
    kpd_recommend_desc d = base(MOST_K);
    int32_t n, fewer;
    n = check(&d);
    // 27, of which 2 are gone and "Blue  Case", "RED PHONE" and the second text of unknown words are no news
    CHECK_INT(n, ITEMS * 22);
    d.same_words_are_duplicates = true;
    fewer = check(&d);
    CHECK_INT(fewer, ITEMS * 19);                                       // nor "case blue", "charger laptop", "lamps yellow"
}

static void min_relevance(void) {
    kpd_recommend_desc d = base(MOST_K);
    int32_t all = check(&d), half;
    d.min_relevance = 0.5f;
    half = check(&d);
    CHECK_THAT(half > 0 && half < all, "%d of %d are relevant", (int)half, (int)all);
    d.min_relevance = 1;
    CHECK_INT(check(&d), 0);
    d.min_relevance = 0.5f;
    d.rank_by_relevance = true;
    CHECK_INT(check(&d), half);
}

static void equal_to_the_limit_stays(void) {
    kpd_recommend_desc d = base(MOST_K);
    d.rank_by_relevance = true;
    if (check(&d) < 0) return;
    d.min_relevance = got[2].relevance;                                 // the third of the first item
    CHECK_OK(kpd_recommend(session, &d, items, 1, got, counts, &error));
    CHECK_INT(counts[0], 3);
}

static void rank_by_relevance(void) {
    kpd_recommend_desc d = base(20);
    int32_t n = check(&d);
    int64_t first = got[0].id;
    bool other = false;
    d.rank_by_relevance = true;
    CHECK_INT(check(&d), n);
    for (size_t i = 0; i < ITEMS; i++) {
        const kpd_recommendation *row = got + i * 20;
        for (int32_t j = 1; j < counts[i]; j++) {
            CHECK(row[j - 1].relevance >= row[j].relevance);
            other = other || row[j - 1].similarity < row[j].similarity;
        }
    }
    CHECK_THAT(other || got[0].id != first, "relevance and similarity rank alike: nothing was tested");
}

static void no_assistant(void) {
    kpd_recommend_desc d = base(15);
    d.assistant = NULL;
    d.min_relevance = 0.5f;                                             // of what nobody says
    CHECK_STATUS(kpd_recommend(session, &d, items, 1, got, counts, &error), KPD_ERR_ARGUMENT);
    CHECK(strstr(error.message, "min_relevance without an assistant"));
    d.min_relevance = 0; d.rank_by_relevance = true;
    CHECK_STATUS(kpd_recommend(session, &d, items, 1, got, counts, &error), KPD_ERR_ARGUMENT);
    CHECK(strstr(error.message, "rank_by_relevance without an assistant"));
    d.rank_by_relevance = false;
    CHECK(check(&d) > 0);
    CHECK(isnan(got[0].relevance));
    for (int32_t j = 1; j < counts[0]; j++) CHECK(got[j - 1].similarity >= got[j].similarity);
}

static bool odd(void *user, int64_t id) {
    (void)user;
    return id % 2 != 0;
}

static void search_settings_hold(void) {
    kpd_recommend_desc d = base(MOST_K);
    int32_t all = check(&d), n;
    d.search.filter = odd;
    n = check(&d);
    CHECK_THAT(n > 0 && n < all, "%d of %d ids are odd", (int)n, (int)all);
    d.search.threshold = true;
    d.search.min_score = got[3].similarity;                             // which the first item's first four reach
    all = n;
    n = check(&d);
    CHECK_THAT(n > 0 && n < all, "%d of %d are above the threshold", (int)n, (int)all);
    CHECK_INT(counts[0], 4);
}

static void no_items(void) {
    kpd_recommend_desc d = base(5);
    counts[0] = 77;
    CHECK_OK(kpd_recommend(session, &d, items, 0, got, counts, &error));
    CHECK_INT(counts[0], 77);
}

// Rows that were not written, and the memory behind the last one, stay as they were.
static void writes_no_further(void) {
    kpd_recommend_desc d = base(7);
    memset(got, 0x5A, sizeof got);
    CHECK_OK(kpd_recommend(session, &d, items, 17, got, counts, &error));
    for (size_t i = 0; i < sizeof *got * 7; i++)
        if (!CHECK(((const unsigned char *)(got + 17 * 7))[i] == 0x5A)) break;
}

static void check_refused(const kpd_recommend_desc *d, kpd_status status) {
    memset(got, 0x5A, sizeof *got);
    memset(&error, 0, sizeof error);
    CHECK_STATUS(kpd_recommend(session, d, items, 2, got, counts, &error), status);
    CHECK(error.status == status && error.message[0]);
    CHECK(((const unsigned char *)got)[0] == 0x5A);
}

static void bad_arguments(void) {
    static const float no_relevance[] = {-0.01f, 1.01f, NAN, INFINITY};
    kpd_recommend_desc d = base(5);
    d.student = NULL; check_refused(&d, KPD_ERR_ARGUMENT);
    d = base(5); d.index = NULL; check_refused(&d, KPD_ERR_ARGUMENT);
    d = base(5); d.lookup = NULL; check_refused(&d, KPD_ERR_ARGUMENT);
    d = base(5); d.student = assistant; check_refused(&d, KPD_ERR_ARGUMENT);
    d = base(5); d.assistant = student; check_refused(&d, KPD_ERR_ARGUMENT);
    d = base(5); d.assistant = two_labels; check_refused(&d, KPD_ERR_ARGUMENT);
    d = base(5); d.index = too_wide; check_refused(&d, KPD_ERR_ARGUMENT);
    d = base(-1); check_refused(&d, KPD_ERR_ARGUMENT);
    d = base(MOST_K + 1); check_refused(&d, KPD_ERR_LIMIT);
    for (size_t i = 0; i < 4; i++) {
        d = base(5);
        d.min_relevance = no_relevance[i];
        check_refused(&d, KPD_ERR_ARGUMENT);
    }
    d = base(5); d.search.threshold = true; d.search.min_score = NAN; check_refused(&d, KPD_ERR_ARGUMENT);
}

// `where` counts from the first item of the call, also behind the first sixteen.
static void bad_item(void) {
    for (size_t bad = 3; bad < ITEMS; bad += 20) {
        kpd_recommend_desc d = base(5);
        kpd_input good = items[bad];
        items[bad].n_parts = 0;
        CHECK_STATUS(kpd_recommend(session, &d, items, ITEMS, got, counts, &error), KPD_ERR_INPUT);
        CHECK_INT(error.where, bad);
        for (size_t i = 0; i < ITEMS; i++) CHECK_INT(counts[i], 0);
        items[bad] = good;
    }
}

// The assistant scores the pairs of several items together; what it refuses is an item's.
static void an_error_of_the_assistant_names_the_item(void) {
    kpd_model_desc of_titles = *kpd_model_get_desc(student);
    kpd_recommend_desc d = base(5);
    kpd_model *m = NULL;
    of_titles.template_item = "{title}";
    CHECK_OK(kpdt_model_start(&of_titles, student, NULL, 1, &m, NULL));
    if (!m) return;
    d.student = m;
    for (size_t bad = 0; bad < ITEMS; bad += 7) {
        kpd_input good = items[bad];
        items[bad].n_parts = 2;
        items[bad].part[1].data = NULL; items[bad].part[1].size = 3;
        CHECK_STATUS(kpd_recommend(session, &d, items, ITEMS, got, counts, &error), KPD_ERR_INPUT);
        CHECK_INT(error.where, bad);
        for (size_t i = 0; i < ITEMS; i++) CHECK_INT(counts[i], 0);
        items[bad] = good;
    }
    kpd_model_destroy(m);
}

// A student that reads titles alone takes items with a category, which its assistant reads; and one that reads categories has an
// assistant that does not.
static void each_model_reads_what_its_template_names(void) {
    const kpd_model *const usual[2] = {student, assistant};
    for (int i = 0; i < 2; i++) {
        kpd_model_desc d = *kpd_model_get_desc(i ? assistant : student);
        kpd_model *m = NULL;
        kpd_recommend_desc r = base(12);
        kpd_input full[2], cut[2];
        kpd_recommendation a[2 * 12], b[2 * 12];
        int32_t n[2] = {0, 0};
        float v[DIM], w[DIM];
        if (i) d.template_pair = "{keyphrase} [SEP] {title}";
        else d.template_item = "{title}";
        CHECK_OK(kpdt_model_start(&d, usual[i], NULL, 1, &m, NULL));
        if (!m) return;
        if (i) r.assistant = m;
        else r.student = m;
        for (int k = 0; k < 2; k++) {
            full[k] = kpd_input_str("blue case", k ? "" : "lamp", NULL);
            cut[k] = kpd_input_str("blue case", NULL, NULL);
        }
        CHECK_OK(kpd_recommend(session, &r, full, 2, a, n, &error));
        CHECK(n[0] > 0 && n[1] > 0);
        for (int32_t k = 0; k < n[0]; k++) {                // the category reaches the one that names it, and only that
            kpd_input pair = kpd_input_str("", i ? "" : "lamp", "blue case");
            float logit = 0;
            CHECK(lookup(r.lookup_user, a[k].id, &pair.part[0]));
            CHECK_OK(kpd_score(session, r.assistant, &pair, 1, &logit, NULL));
            CHECK(a[k].relevance == kpd_sigmoid(logit));
        }
        CHECK_OK(kpd_embed(session, r.student, KPD_ITEM, i ? full : cut, 1, 0, v, NULL));
        CHECK_OK(kpd_embed(session, r.student, KPD_ITEM, cut, 1, 0, w, NULL));
        CHECK((memcmp(v, w, sizeof v) != 0) == (i == 1));
        r.search.k = 1; r.assistant = NULL;
        CHECK_OK(kpd_recommend(session, &r, full, 2, a, n, &error));
        CHECK_OK(kpd_recommend(session, &r, cut, 2, b, n, &error));
        CHECK(a[1].id == b[1].id && a[1].similarity == b[1].similarity);    // an empty category is none
        CHECK(i || (a[0].id == b[0].id && a[0].similarity == b[0].similarity));
        kpd_model_destroy(m);
    }
}

// A session made for less refuses instead of writing over its end.
static void session_too_small(void) {
    kpd_recommend_desc d = base(5);
    kpd_session_desc small;
    kpd_session *s = NULL;
    memset(&small, 0, sizeof small);
    small.student = student; small.max_k = 4; small.max_tokens = 64;
    if (!CHECK_OK(kpd_session_create(&small, &s, NULL))) return;
    CHECK_STATUS(kpd_recommend(s, &d, items, 1, got, counts, &error), KPD_ERR_LIMIT);
    d.search.k = 4;
    CHECK_STATUS(kpd_recommend(s, &d, items, 1, got, counts, &error), KPD_ERR_LIMIT);      // the assistant is wider
    d.assistant = NULL;
    CHECK_OK(kpd_recommend(s, &d, items, 1, got, counts, &error));
    kpd_session_destroy(s);
}

// Numbers in pieces: what is split between two words belongs to each of them.
static const char *const models[] = {"part 123 456", "part 126 453", "456 part 123", "123 part 126 123", "126 123 part 123",
                                     "part 123", "123 part", "12 ##3 part"};
enum { MODELS = sizeof models / sizeof *models };

static bool lookup_model(void *user, int64_t id, kpd_text *out) {
    (void)user;
    out->data = models[id];
    out->size = strlen(models[id]);
    return true;
}

// Recommends all of them by a model without weights; returns a bit for each that is left.
static unsigned kept_models(kpd_model *m, kpd_index *x, kpd_session *s) {
    kpd_recommend_desc d;
    kpd_recommendation out[MODELS];
    kpd_input item = kpd_input_str("part", NULL, NULL);
    int32_t n = 0;
    unsigned kept = 0;
    memset(&d, 0, sizeof d);
    d.student = m; d.index = x; d.search.k = MODELS; d.lookup = lookup_model; d.same_words_are_duplicates = true;
    CHECK_THAT(!kpd_recommend(s, &d, &item, 1, out, &n, &error), "%s", error.message);
    for (int32_t i = 0; i < n; i++) kept |= 1u << out[i].id;
    return kept;
}

static void words_not_pieces(void) {
    static const char words[] = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\npart\n12\n45\n##3\n##6\n#\n3\n";
    kpd_tokenizer_desc t;
    kpd_tokenizer *tokenizer = NULL;
    tiny_options o;
    kpd_model_desc d;
    kpd_model *m = NULL;
    kpd_index_desc xd;
    kpd_index *x = NULL;
    kpd_session *s;
    memset(&t, 0, sizeof t);
    memset(&o, 0, sizeof o);
    memset(&xd, 0, sizeof xd);
    t.vocab = words; t.vocab_size = sizeof words - 1;
    if (!CHECK_OK(kpd_tokenizer_create(&t, &tokenizer, NULL))) return;
    d = tiny_desc(&o, tokenizer);
    CHECK_OK(kpd_model_create(&d, &m, NULL));
    s = tiny_session(m, NULL);
    xd.dim = DIM; xd.metric = KPD_DOT;
    CHECK_OK(kpd_index_create(&xd, &x, NULL));
    for (int64_t id = 0; id < MODELS; id++) {
        float v[DIM] = {0};
        CHECK_OK(kpd_index_upsert(x, &id, v, 1, NULL));
    }
    CHECK_INT(kept_models(m, x, s), 1 | 2 | 8 | 32 | 128);
    kpd_index_destroy(x);
    kpd_session_destroy(s);
    kpd_model_destroy(m);
    kpd_tokenizer_destroy(tokenizer);
}

SUITE(recommend) {
    make_fixtures();
    if (student && assistant && two_labels && session && keyphrases && short_vectors && too_wide) {
        RUN(recommend, as_by_hand);
        RUN(recommend, short_index);
        RUN(recommend, duplicates);
        RUN(recommend, words_not_pieces);
        RUN(recommend, min_relevance);
        RUN(recommend, equal_to_the_limit_stays);
        RUN(recommend, rank_by_relevance);
        RUN(recommend, no_assistant);
        RUN(recommend, search_settings_hold);
        RUN(recommend, no_items);
        RUN(recommend, writes_no_further);
        RUN(recommend, bad_arguments);
        RUN(recommend, bad_item);
        RUN(recommend, an_error_of_the_assistant_names_the_item);
        RUN(recommend, each_model_reads_what_its_template_names);
        RUN(recommend, session_too_small);
        RUN(recommend, fingerprints_follow_the_weights);
        RUN(recommend, an_index_of_another_model_is_refused);
        RUN(recommend, the_host_can_judge);
        RUN(recommend, calls_can_be_cancelled);
        RUN(recommend, conversions_can_be_cancelled);
    } else {
        RUN(recommend, make_fixtures);                                  // fails again, and is counted
    }
    free_fixtures();
}
