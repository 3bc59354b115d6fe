// Tables: what is read, what is refused and where; and which rows a batch gets, seen through kpdt_trainer_draw.
#include "../kpd_train.h"
#include "test.h"
#include "tiny_model.h"
#include "values.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const kpdt_column PAIRS[] = {KPDT_COL_KEYPHRASE, KPDT_COL_TITLE, KPDT_COL_LABEL, KPDT_COL_SCORE, KPDT_COL_END};

static kpdt_dataset_desc text_desc(const kpdt_column *columns, const char *data, size_t size) {
    kpdt_dataset_desc d;
    memset(&d, 0, sizeof d);
    for (int i = 0; i < KPDT_MAX_COLUMNS && columns[i]; i++) d.columns[i] = columns[i];
    d.data = data; d.size = size;
    return d;
}

static kpdt_dataset *text_data(const kpdt_column *columns, const char *text) {
    kpdt_dataset_desc d = text_desc(columns, text, strlen(text));
    kpdt_dataset *x = NULL;
    kpd_error e;
    kpd_status s = kpdt_dataset_open(&d, &x, &e);
    CHECK_THAT(!s, "%s", e.message);
    return x;
}

static bool is(kpd_text t, const char *want) { return t.size == strlen(want) && !memcmp(t.data, want, t.size); }

static void rows_are_read_as_they_stand(void) {
    kpdt_dataset *x = text_data(PAIRS, "blue case\tCase for phone\t1\t.25\r\n\t\t0.5\t-1e2\nlamp\t\xFFYellow\t0\t7");
    kpdt_row r;
    CHECK_INT(kpdt_dataset_rows(x), 3);
    CHECK_INT(kpdt_dataset_bad_rows(x), 0);
    CHECK_OK(kpdt_dataset_get(x, 0, &r, NULL));
    CHECK(is(r.keyphrase, "blue case") && is(r.title, "Case for phone") && r.label == 1 && r.score == 0.25f);
    CHECK(!r.category.data && !r.query.data);
    CHECK_OK(kpdt_dataset_get(x, 1, &r, NULL));
    CHECK(is(r.keyphrase, "") && is(r.title, "") && r.label == 0.5f && r.score == -100);
    CHECK_OK(kpdt_dataset_get(x, 2, &r, NULL));
    CHECK(is(r.title, "\xFFYellow") && r.score == 7);
    CHECK_STATUS(kpdt_dataset_get(x, 3, &r, NULL), KPD_ERR_ARGUMENT);
    CHECK_STATUS(kpdt_dataset_get(x, -1, &r, NULL), KPD_ERR_ARGUMENT);
    kpdt_dataset_destroy(x);
    x = text_data(PAIRS, "");
    CHECK_INT(kpdt_dataset_rows(x), 0);
    kpdt_dataset_destroy(x);
    kpdt_dataset_destroy(NULL);
}

static void numbers_are_those_of_strtof(void) {
    static const kpdt_column one[] = {KPDT_COL_TITLE, KPDT_COL_SCORE, KPDT_COL_END};
    static const char *const good[] = {"0",
                                       "-0",
                                       "1",
                                       "+1.5",
                                       ".5",
                                       "5.",
                                       "0.1",
                                       "3.14159265358979",
                                       "1e10",
                                       "1E-10",
                                       "-2.5e+3",
                                       "123456789012345678",
                                       "0.000000000000000000012345",
                                       "1e-400",
                                       "0e999",
                                       "3.4e38",
                                       "00000000000000000000000000001",
                                       "0.30000000000000004",
                                       "16777217",
                                       "1e-45"};
    static const char *const bad[] = {"",    " 1", "1 ", "x", "1x",   "nan", "inf", "-inf",  "0x10", "1e",
                                      "1e+", "e5", ".",  "-", "1e39", "1,5", "--1", "1e999", "1.2.3"};
    char line[64];
    kpdt_row r;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        kpdt_dataset *x;
        snprintf(line, sizeof line, "a\t%s\n", good[i]);
        x = text_data(one, line);
        if (!x) continue;
        CHECK_OK(kpdt_dataset_get(x, 0, &r, NULL));
        CHECK_THAT(r.score == strtof(good[i], NULL), "%s: %.9g", good[i], (double)r.score);
        kpdt_dataset_destroy(x);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        kpdt_dataset_desc d;
        kpdt_dataset *x = NULL;
        snprintf(line, sizeof line, "a\t%s\n", bad[i]);
        d = text_desc(one, line, strlen(line));
        CHECK_THAT(kpdt_dataset_open(&d, &x, NULL) == KPD_ERR_FORMAT, "'%s' is taken for a number", bad[i]);
    }
}

static void bad_rows_are_refused_by_line_or_counted(void) {
    static const struct { const char *text; int64_t line; const char *says; } cases[] = {
        {"a\tb\t1\t0\na\tb\t1\n", 2, "has 3 columns, expected 4"},
        {"a\tb\t1\t0\t\n", 1, "has 5 columns, expected 4"},
        {"a\tb\t1\t0\n\n", 2, "has 1 columns, expected 4"},
        {"a\tb\t1.5\t0\n", 1, "column 3 is '1.5', expected a number from 0 to 1"},
        {"a\tb\tyes\t0\n", 1, "column 3 is 'yes', expected a number from 0 to 1"},
        {"a\tb\t1\t0\r\na\tb\t0\tinf", 2, "column 4 is 'inf', expected a number"},
    };
    static const char mixed[] = "x\na\tb\t1\t2\nx\ty\nc\td\t0\t3\n\n";
    kpdt_dataset_desc d;
    kpdt_dataset *x = NULL;
    kpd_error e;
    kpdt_row r;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        d = text_desc(PAIRS, cases[i].text, strlen(cases[i].text));
        CHECK_STATUS(kpdt_dataset_open(&d, &x, &e), KPD_ERR_FORMAT);
        CHECK_INT(e.where, cases[i].line);
        CHECK_THAT(strstr(e.message, cases[i].says) != NULL, "%s", e.message);
    }
    CHECK(!x);
    d = text_desc(PAIRS, mixed, strlen(mixed));
    d.skip_bad_rows = true;
    CHECK_OK(kpdt_dataset_open(&d, &x, &e));
    CHECK_INT(kpdt_dataset_rows(x), 2);
    CHECK_INT(kpdt_dataset_bad_rows(x), 3);
    CHECK_OK(kpdt_dataset_get(x, 1, &r, NULL));
    CHECK(is(r.keyphrase, "c") && r.score == 3);
    kpdt_dataset_destroy(x);
}

static void columns_and_files_that_cannot_be_meant_are_refused(void) {
    static const kpdt_column twice[] = {KPDT_COL_TITLE, KPDT_COL_TITLE, KPDT_COL_END}, none[] = {KPDT_COL_LABEL, KPDT_COL_END};
    kpdt_column odd[] = {KPDT_COL_TITLE, (kpdt_column)99, KPDT_COL_END};
    kpdt_dataset_desc d = text_desc(twice, "", 0);
    kpdt_dataset *x = NULL;
    kpd_error e;
    CHECK_STATUS(kpdt_dataset_open(&d, &x, &e), KPD_ERR_ARGUMENT);
    d = text_desc(none, "", 0);
    CHECK_STATUS(kpdt_dataset_open(&d, &x, &e), KPD_ERR_ARGUMENT);
    d = text_desc(odd, "", 0);
    CHECK_STATUS(kpdt_dataset_open(&d, &x, &e), KPD_ERR_ARGUMENT);
    d = text_desc(PAIRS, NULL, 0);
    d.path = test_tmp("no-such.tsv");
    CHECK_STATUS(kpdt_dataset_open(&d, &x, &e), KPD_ERR_IO);
    CHECK(strstr(e.message, "no-such.tsv"));
    d.path = "build";
    CHECK_STATUS(kpdt_dataset_open(&d, &x, &e), KPD_ERR_IO);
    CHECK(!x);
}

// Many rows, every seventh bad: each good one is found from the offset of its sixteen.
static void a_mapped_file_gives_every_row(void) {
    static const kpdt_column two[] = {KPDT_COL_TITLE, KPDT_COL_SCORE, KPDT_COL_END};
    const char *path = test_tmp("rows.tsv");
    FILE *f = fopen(path, "wb");
    kpdt_dataset_desc d = text_desc(two, NULL, 0);
    kpdt_dataset *x = NULL;
    kpdt_row r;
    int64_t good = 0;
    for (int i = 0; f && i < 1000; i++) fprintf(f, i % 7 == 3 ? "bad %d\n" : "title %d\t%d\n", i, i);
    if (f) fclose(f);
    d.path = path;
    d.skip_bad_rows = true;
    CHECK_OK(kpdt_dataset_open(&d, &x, NULL));
    for (int i = 0; i < 1000; i++) {
        if (i % 7 == 3) continue;
        CHECK_OK(kpdt_dataset_get(x, good++, &r, NULL));
        CHECK(r.score == (float)i);
    }
    CHECK_INT(kpdt_dataset_rows(x), good);
    CHECK_INT(kpdt_dataset_bad_rows(x), 1000 - good);
    kpdt_dataset_destroy(x);
    f = fopen(path, "wb");
    if (f) fclose(f);
    CHECK_OK(kpdt_dataset_open(&d, &x, NULL));
    CHECK_INT(kpdt_dataset_rows(x), 0);
    kpdt_dataset_destroy(x);
}

// Between two good rows stand 30,000 bad ones: a get costs no more than without them.
static void bad_lines_are_passed_over_once(void) {
    enum { BAD = 30000 };
    static const char *const first = "a\tb\t1\t2\n";
    char *text = (char *)malloc(BAD * 10 + 400);
    kpdt_dataset_desc d;
    kpdt_dataset *x = NULL;
    kpdt_row r;
    size_t at = 0;
    clock_t begin;
    if (!CHECK(text != NULL)) return;
    for (int i = 0; i < 20; i++) {
        at += (size_t)sprintf(text + at, "%s", i == 3 ? "bad\nbad\n" : i % 2 ? "" : "bad\n");
        for (int k = 0; i == 5 && k < BAD; k++) at += (size_t)sprintf(text + at, "bad %05d\n", k);
        at += (size_t)sprintf(text + at, "%s", first);
    }
    at += (size_t)sprintf(text + at, "bad\nbad");
    d = text_desc(PAIRS, text, at);
    d.skip_bad_rows = true;
    CHECK_OK(kpdt_dataset_open(&d, &x, NULL));
    CHECK_INT(kpdt_dataset_rows(x), 20);
    CHECK_INT(kpdt_dataset_bad_rows(x), BAD + 14);
    begin = clock();
    for (int k = 0; k < 5000; k++) CHECK(!kpdt_dataset_get(x, 4 + k % 12, &r, NULL) && r.score == 2);
    CHECK_THAT(clock() - begin < 2 * CLOCKS_PER_SEC, "5000 rows took %g s", (double)(clock() - begin) / CLOCKS_PER_SEC);
    for (int k = 0; k < 20; k++) CHECK(!kpdt_dataset_get(x, k, &r, NULL) && is(r.title, "b"));
    memcpy(text + at - 7 - strlen(first), "b\nb", 3);       // the file changes under it: said, whether a line came or went
    CHECK_STATUS(kpdt_dataset_get(x, 19, &r, NULL), KPD_ERR_FORMAT);
    kpdt_dataset_destroy(x);
    free(text);
}

static void a_byte_order_mark_is_no_part_of_the_first_cell(void) {
    static const kpdt_column label_first[] = {KPDT_COL_LABEL, KPDT_COL_TITLE, KPDT_COL_END};
    static const kpdt_column title_first[] = {KPDT_COL_TITLE, KPDT_COL_END};
    kpdt_dataset *x = text_data(label_first, "\xEF\xBB\xBF" "0.5\tlamp\n1\tcase\n");
    kpdt_row r;
    if (!x) return;
    CHECK(!kpdt_dataset_get(x, 0, &r, NULL) && r.label == 0.5f && is(r.title, "lamp"));
    CHECK(!kpdt_dataset_get(x, 1, &r, NULL) && r.label == 1);
    kpdt_dataset_destroy(x);
    x = text_data(title_first, "\xEF\xBB\xBF" "lamp\n\xEF\xBB\xBF" "case\n");
    CHECK(!kpdt_dataset_get(x, 0, &r, NULL) && is(r.title, "lamp"));
    CHECK(!kpdt_dataset_get(x, 1, &r, NULL) && is(r.title, "\xEF\xBB\xBF" "case"));   // one inside is text
    kpdt_dataset_destroy(x);
    x = text_data(title_first, "\xEF\xBB\xBF");
    CHECK_INT(kpdt_dataset_rows(x), 0);
    kpdt_dataset_destroy(x);
}

static void utf16_is_refused(void) {
    static const kpdt_column title[] = {KPDT_COL_TITLE, KPDT_COL_END};
    static const char *const marks[] = {"\xFF\xFEl", "\xFE\xFFl"};
    for (int i = 0; i < 2; i++) {
        kpdt_dataset_desc d = text_desc(title, marks[i], 3);
        kpdt_dataset *x = NULL;
        kpd_error e;
        CHECK_STATUS(kpdt_dataset_open(&d, &x, &e), KPD_ERR_FORMAT);
        CHECK_THAT(e.where == 1 && strstr(e.message, "UTF-16"), "%s", e.message);
    }
}

// THE SAMPLER

enum { MOST_ROWS = 4096 };

static const kpdt_column GROUPS[] = {KPDT_COL_QUERY, KPDT_COL_KEYPHRASE, KPDT_COL_TITLE, KPDT_COL_SKIP, KPDT_COL_END};
static const kpdt_column LABELLED[] = {KPDT_COL_QUERY, KPDT_COL_KEYPHRASE, KPDT_COL_TITLE, KPDT_COL_LABEL, KPDT_COL_END};

// "query \t keyphrase \t title \t label" for n rows: i / per_query, i % phrases, i % titles; a query's first row is a yes.
static char *group_text(int n, int per_query, int phrases, int titles) {
    char *text = (char *)malloc((size_t)n * 64 + 1);
    size_t at = 0;
    for (int i = 0; text && i < n; i++)
        at += (size_t)sprintf(text + at, "q%d\tphrase %d\ttitle %d\t%d\n", i / per_query, i % phrases, i % titles,
                              i % per_query == 0);
    return text;
}

static kpdt_source source_of(const kpdt_dataset *x, kpdt_batching batching) {
    kpdt_source s;
    memset(&s, 0, sizeof s);
    s.data = x; s.batching = batching;
    s.losses[0].loss = KPDT_MNR;
    return s;
}

static kpdt_trainer *trainer_of(const kpdt_source *sources, int32_t n, int32_t batch, uint64_t seed) {
    tiny_options o;
    kpdt_trainer_desc d;
    kpdt_trainer *t = NULL;
    kpd_model *m;
    kpd_error e;
    memset(&o, 0, sizeof o);
    memset(&d, 0, sizeof d);
    m = tiny_model(&o);
    d.start = m; d.sources = sources; d.n_sources = n; d.batch = batch; d.seed = seed; d.max_tokens = 64; d.max_texts = 4;
    CHECK_THAT(!kpdt_trainer_create(&d, &t, &e), "%s", e.message);
    kpd_model_destroy(m);
    return t;
}

// Draws until `rows` rows came; counts[row] says how often each did. Returns the batches, and copies the rows in order.
static int draw_rows(kpdt_trainer *t, int rows, int *counts, int64_t *order) {
    int batches = 0, got = 0;
    memset(counts, 0, MOST_ROWS * sizeof *counts);
    while (got < rows) {
        kpdt_batch b;
        if (!CHECK_OK(kpdt_trainer_draw(t, &b, NULL)) || !CHECK(b.n > 0)) break;
        for (int32_t i = 0; i < b.n; i++) {
            counts[b.row[i]]++;
            order[got++] = b.row[i];
        }
        batches++;
    }
    return batches;
}

static void random_batches_see_each_row_once_an_epoch(void) {
    static int counts[MOST_ROWS];
    static int64_t order[3][2 * MOST_ROWS];
    enum { ROWS = 1003 };
    char *text = group_text(ROWS, 1, ROWS, ROWS);
    kpdt_dataset *x = text_data(GROUPS, text);
    kpdt_source s = source_of(x, KPDT_RANDOM);
    int same = 0, in_place = 0;
    for (int k = 0; k < 3; k++) {
        kpdt_trainer *t = trainer_of(&s, 1, 32, k == 2 ? 8 : 7);
        CHECK_INT(draw_rows(t, ROWS, counts, order[k]), 32);
        for (int i = 0; i < ROWS; i++) CHECK(counts[i] == 1);
        if (k == 1) {                                       // the second epoch, in another order
            draw_rows(t, ROWS, counts, order[k]);
            for (int i = 0; i < ROWS; i++) CHECK(counts[i] == 1);
        }
        kpdt_trainer_destroy(t);
    }
    for (int i = 0; i < ROWS; i++) {
        same += (order[0][i] == order[1][i]) + (order[0][i] == order[2][i]);
        in_place += order[0][i] == i;
    }
    CHECK_THAT(same < 20 && in_place < 10, "%d rows where they were in another order, %d where they stand in the file", same,
               in_place);
    kpdt_dataset_destroy(x);
    free(text);
}

static void small_permutations_are_whole(void) {
    static int counts[MOST_ROWS];
    static int64_t order[MOST_ROWS];
    for (int n = 1; n < 40; n++) {
        char *text = group_text(n, 1, n, n);
        kpdt_dataset *x = text_data(GROUPS, text);
        kpdt_source s = source_of(x, KPDT_RANDOM);
        kpdt_trainer *t = trainer_of(&s, 1, 5, 1);
        CHECK_INT(draw_rows(t, n, counts, order), (n + 4) / 5);
        for (int i = 0; i < n; i++) CHECK(counts[i] == 1);
        kpdt_trainer_destroy(t);
        kpdt_dataset_destroy(x);
        free(text);
    }
}

static void rows_in_order_stay_so(void) {
    static int counts[MOST_ROWS];
    static int64_t order[MOST_ROWS];
    char *text = group_text(70, 1, 70, 70);
    kpdt_dataset *x = text_data(GROUPS, text);
    kpdt_source s = source_of(x, KPDT_IN_ORDER);
    kpdt_trainer *t = trainer_of(&s, 1, 32, 7);
    CHECK_INT(draw_rows(t, 140, counts, order), 6);
    for (int i = 0; i < 140; i++) CHECK(order[i] == i % 70);
    kpdt_trainer_destroy(t);
    kpdt_dataset_destroy(x);
    free(text);
}

static void batches_are_shared_out_by_size_or_share(void) {
    static const int rows[3] = {320, 960, 32};
    static const int want[2][3] = {{10, 30, 1}, {20, 10, 10}};   // 41 batches; shares 2 : 1 : 1 of them
    char *text[3];
    kpdt_dataset *x[3];
    kpdt_source s[3];
    for (int i = 0; i < 3; i++) {
        text[i] = group_text(rows[i], 1, rows[i], rows[i]);
        x[i] = text_data(GROUPS, text[i]);
        s[i] = source_of(x[i], KPDT_RANDOM);
    }
    for (int k = 0; k < 2; k++) {
        kpdt_trainer *t;
        for (int i = 0; i < 3; i++) s[i].share = k ? (i ? 1 : 2) : 0;
        t = trainer_of(s, 3, 32, 7);
        for (int cycle = 0; cycle < 2; cycle++) {
            int seen[3] = {0, 0, 0}, runs = 0, last = -1, n = want[k][0] + want[k][1] + want[k][2];
            if (k) n = 21 + 10 + 10;                        // 20.5 rounds up, 10.25 down
            for (int i = 0; i < n; i++) {
                kpdt_batch b;
                CHECK_OK(kpdt_trainer_draw(t, &b, NULL));
                seen[b.source]++;
                runs += b.source != last;
                last = b.source;
            }
            for (int i = 0; i < 3; i++) CHECK_INT(seen[i], k && !i ? 21 : want[k][i]);
            CHECK_THAT(runs > 8, "%d runs: sources are not mixed", runs);
        }
        kpdt_trainer_destroy(t);
    }
    for (int i = 0; i < 3; i++) { kpdt_dataset_destroy(x[i]); free(text[i]); }
}

// A click log: one keyphrase has a tenth of the rows. Every batch but an epoch's last is full, and an epoch has each row once.
// Returns the time of two epochs.
static double draw_clicks(int rows) {
    char *text = (char *)malloc((size_t)rows * 48 + 1);
    int *counts = (int *)calloc((size_t)rows, sizeof *counts), short_ones = 0, batches = (rows + 63) / 64;
    size_t at = 0;
    kpdt_dataset *x;
    kpdt_trainer *t;
    kpdt_report r;
    kpdt_source s;
    clock_t begin;
    if (!CHECK(text && counts)) return 0;
    for (int i = 0; i < rows; i++)
        at += (size_t)sprintf(text + at, i % 10 ? "q\tphrase %d\ttitle %d\t1\n" : "q\tblue case\ttitle %d\t1\n", i, i);
    x = text_data(GROUPS, text);
    s = source_of(x, KPDT_NO_DUPLICATES);
    t = trainer_of(&s, 1, 64, 7);
    begin = clock();
    for (int k = 0; k < 2 * batches; k++) {
        kpdt_batch b;
        if (!CHECK_OK(kpdt_trainer_draw(t, &b, NULL))) break;
        short_ones += b.n < 64;
        for (int32_t i = 0; i < b.n; i++) counts[b.row[i]]++;
        r = report_of(t);
        if (k == batches - 1) CHECK(r.rows_seen == rows && r.rows_repeated == 0 && r.rows_left == 0);
        if (k == 0) CHECK(r.rows_seen == 64 && r.rows_left == rows - 64);
    }
    r = report_of(t);
    CHECK(r.rows_seen == rows && r.rows_repeated == rows && r.rows_left == 0);
    CHECK_INT(short_ones, rows % 64 ? 2 : 0);
    for (int i = 0; i < rows; i++) CHECK_THAT(counts[i] == 2, "row %d came %d times in two epochs", i, counts[i]);
    kpdt_trainer_destroy(t);
    kpdt_dataset_destroy(x);
    free(text);
    free(counts);
    return (double)(clock() - begin) / CLOCKS_PER_SEC;
}

static void a_popular_keyphrase_leaves_every_batch_full(void) {
    double once = draw_clicks(20000), twice = draw_clicks(40000);
    CHECK_THAT(twice < 4 * once + 0.1, "20000 rows took %g s, 40000 took %g s", once, twice);
}

// Rows whose texts the model cannot tell apart share a number; the same item with two keyphrases, and a keyphrase with two.
static const struct { const char *phrase, *title; int phrase_id, title_id; } alike[] = {
    {"blue case", "phone", 0, 0},     {"red lamp", "laptop", 1, 1},    {"Blue  CASE", "charger", 0, 2},
    {"green cover", " Phone", 2, 0},  {"blue\xC2\xA0" "case", "sleeve", 0, 3}, {"yellow", "LAPTOP ", 3, 1},
    {"red lamp", "lamp", 1, 4},       {"pro", "pro", 4, 5},            {"Pro", "pro", 4, 5}};
enum { ALIKE = sizeof alike / sizeof *alike };

// -log softmax of row i of s over different candidates: its own text, and those that no row pairs with its anchor. By the
// definition, from the numbers of the texts; of several scores of a text the first row's counts. turned: items for keyphrases.
static double plain_row(const double *s, const int64_t *row, int i, bool turned) {
    double z = 0, own = 20 * s[i * ALIKE + i];
    for (int j = 0; j < ALIKE; j++) {
        int anchor = turned ? alike[row[i]].phrase_id : alike[row[i]].title_id;
        int candidate = turned ? alike[row[j]].title_id : alike[row[j]].phrase_id;
        bool leave = false;
        for (int k = 0; k < ALIKE; k++) {
            int k_anchor = turned ? alike[row[k]].phrase_id : alike[row[k]].title_id;
            int k_candidate = turned ? alike[row[k]].title_id : alike[row[k]].phrase_id;
            leave = leave || (k < j && k_candidate == candidate) || (k_anchor == anchor && k_candidate == candidate);
        }
        if (j == i || !leave) z += exp(20 * s[turned ? j * ALIKE + i : i * ALIKE + j] - own);
    }
    return log(z);
}

static void a_text_counts_once_in_a_batch(void) {
    static const kpdt_column two[] = {KPDT_COL_KEYPHRASE, KPDT_COL_TITLE, KPDT_COL_END};
    static const kpdt_column of_one[] = {KPDT_COL_QUERY, KPDT_COL_KEYPHRASE, KPDT_COL_TITLE, KPDT_COL_END};
    char text[512];
    size_t at = 0;
    kpdt_dataset *x;
    for (int i = 0; i < ALIKE; i++) at += (size_t)sprintf(text + at, "one\t%s\t%s\n", alike[i].phrase, alike[i].title);
    x = text_data(of_one, text);
    for (int way = 0; way < 4; way++) {
        const int symmetric = way % 2;
        kpdt_source s = source_of(x, way < 2 ? KPDT_NO_DUPLICATES : KPDT_BY_QUERY);
        kpdt_trainer *t;
        kpdt_batch b;
        kpd_model *m = NULL;
        kpd_session *session;
        float item[ALIKE * 16], phrase[ALIKE * 16], loss = 0;
        double score[ALIKE * ALIKE], want = 0;
        s.losses[0].loss = symmetric ? KPDT_MNR_SYMMETRIC : KPDT_MNR;
        t = trainer_of(&s, 1, ALIKE, 7);
        if (!CHECK_OK(kpdt_trainer_draw(t, &b, NULL)) || !CHECK(b.n == ALIKE && b.mask)) return;
        CHECK_OK(kpdt_trainer_model(t, false, &m, NULL));
        session = tiny_session(m, NULL);
        CHECK_OK(kpd_embed(session, m, KPD_ITEM, b.in[KPD_ITEM], ALIKE, 0, item, NULL));
        CHECK_OK(kpd_embed(session, m, KPD_KEYPHRASE, b.in[KPD_KEYPHRASE], ALIKE, 0, phrase, NULL));
        for (int i = 0; i < ALIKE * ALIKE; i++)
            score[i] = (double)kpd_cosine(item + i / ALIKE * 16, phrase + i % ALIKE * 16, 16);
        for (int i = 0; i < ALIKE; i++) want += plain_row(score, b.row, i, false) / ALIKE;
        for (int i = 0; symmetric && i < ALIKE; i++) want += plain_row(score, b.row, i, true) / ALIKE;
        CHECK_OK(kpdt_trainer_learn(t, &b, &loss, NULL));
        CHECK_NEAR(loss, want / (1 + symmetric), 2e-5);
        kpd_session_destroy(session);
        kpd_model_destroy(m);
        kpdt_trainer_destroy(t);
    }
    kpdt_dataset_destroy(x);
    x = text_data(two, "blue\tcase\nred\tlamp\npro\tphone\n");        // nothing twice: no mask
    {
        kpdt_source s = source_of(x, KPDT_NO_DUPLICATES);
        kpdt_trainer *t = trainer_of(&s, 1, 3, 7);
        kpdt_batch b;
        CHECK(!kpdt_trainer_draw(t, &b, NULL) && !b.mask);
        kpdt_trainer_destroy(t);
    }
    kpdt_dataset_destroy(x);
}

// Steps as `epochs` says, and how often each row came.
static void check_epochs(const kpdt_dataset *x, int32_t batch, int32_t epochs) {
    static int counts[MOST_ROWS];
    tiny_options o;
    kpdt_trainer_desc d;
    kpdt_trainer *t = NULL;
    kpdt_source s = source_of(x, KPDT_BY_QUERY);
    kpd_error e;
    kpd_model *m;
    memset(&o, 0, sizeof o);
    memset(&d, 0, sizeof d);
    memset(counts, 0, sizeof counts);
    m = tiny_model(&o);
    d.start = m; d.sources = &s; d.n_sources = 1; d.batch = batch; d.epochs = epochs; d.seed = 5;
    CHECK_THAT(!kpdt_trainer_create(&d, &t, &e), "%s", e.message);
    for (int64_t i = report_of(t).steps; i > 0; i--) {
        kpdt_batch b;
        CHECK_OK(kpdt_trainer_draw(t, &b, NULL));
        CHECK(b.n > 0 && b.n <= batch);
        for (int32_t k = 0; k < b.n; k++) counts[b.row[k]]++;
    }
    for (int64_t i = 0; i < kpdt_dataset_rows(x); i++)
        CHECK_THAT(counts[i] == epochs, "batch %d: row %d came %d times in %d epochs", (int)batch, (int)i, counts[i],
                   (int)epochs);
    kpdt_trainer_destroy(t);
    kpd_model_destroy(m);
}

// 100 queries of 20 rows, of which one alone fits in a batch of 32; and queries of 1 to 40 rows, packed anew in each epoch.
static void an_epoch_by_query_has_every_row(void) {
    char *text = group_text(2000, 20, 2000, 2000);
    kpdt_dataset *x = text_data(GROUPS, text);
    size_t at = 0;
    check_epochs(x, 32, 1);
    check_epochs(x, 32, 3);
    kpdt_dataset_destroy(x);
    for (int q = 0; q < 90; q++)
        for (int i = 0; i <= q * 7 % 40; i++) at += (size_t)sprintf(text + at, "q%d\tblue\tcase\t1\n", q);
    x = text_data(GROUPS, text);
    for (int32_t batch = 1; batch < 100; batch = batch * 2 + 3) check_epochs(x, batch, 4);
    kpdt_dataset_destroy(x);
    free(text);
}

static void queries_stand_together(void) {
    static int counts[MOST_ROWS];
    char *text = group_text(990, 11, 990, 990);             // 90 queries of 11 rows: two to a batch of 32
    kpdt_dataset *x = text_data(GROUPS, text);
    kpdt_source s = source_of(x, KPDT_BY_QUERY);
    kpdt_trainer *t = trainer_of(&s, 1, 32, 7);
    memset(counts, 0, sizeof counts);
    for (int k = 0; k < 45; k++) {
        kpdt_batch b;
        CHECK_OK(kpdt_trainer_draw(t, &b, NULL));
        CHECK_INT(b.n, 22);
        for (int32_t i = 0; i < b.n; i++) {
            counts[b.row[i]]++;
            CHECK_INT(b.query[i], i / 11);
            CHECK(i % 11 == 0 || b.row[i] == b.row[i - 1] + 1);
        }
    }
    for (int i = 0; i < 990; i++) CHECK(counts[i] == 1);
    kpdt_trainer_destroy(t);
    t = trainer_of(&s, 1, 4, 7);                            // queries over the batch are cut: 4, 4, 3
    for (int k = 0; k < 270; k++) {
        kpdt_batch b;
        CHECK_OK(kpdt_trainer_draw(t, &b, NULL));
        CHECK(b.n == (b.row[0] % 11 == 8 ? 3 : 4));
    }
    kpdt_trainer_destroy(t);
    kpdt_dataset_destroy(x);
    free(text);
}

// Of 11 rows in pieces of 4, for a loss that compares them: 4, then the first again with 3, 3 and 1 of the others.
static void a_cut_query_keeps_its_positive_in_each_piece(void) {
    static const kpdt_loss losses[] = {KPDT_MARGIN_MSE, KPDT_KL, KPDT_RANKNET, KPDT_PEARSON};
    static int counts[MOST_ROWS];
    char *text = group_text(110, 11, 110, 110);
    kpdt_dataset *x = text_data(LABELLED, text);
    for (int l = 0; l < 4; l++) {
        kpdt_source s = source_of(x, KPDT_BY_QUERY);
        kpdt_trainer *t;
        kpdt_report r;
        s.losses[0].loss = losses[l]; s.losses[0].per_query = true;
        t = trainer_of(&s, 1, 4, 7);
        memset(counts, 0, sizeof counts);
        for (int64_t k = report_of(t).steps; k > 0; k--) {
            kpdt_batch b;
            CHECK_OK(kpdt_trainer_draw(t, &b, NULL));
            for (int32_t i = 0; i < b.n; i++) {
                bool begins = !i || b.query[i] != b.query[i - 1];
                counts[b.row[i]]++;
                CHECK(begins == (b.label[i] == 1) && begins == (b.row[i] % 11 == 0));
                CHECK(begins || b.row[i] / 11 == b.row[i - 1] / 11);
            }
        }
        for (int i = 0; i < 110; i++) CHECK_INT(counts[i], i % 11 ? 1 : 4);
        r = report_of(t);
        CHECK(r.rows_seen == 110 && r.rows_repeated == 30 && r.rows_left == 0);
        kpdt_trainer_destroy(t);
    }
    kpdt_dataset_destroy(x);
    free(text);
}

SUITE(data) {
    RUN(data, rows_are_read_as_they_stand);
    RUN(data, numbers_are_those_of_strtof);
    RUN(data, bad_rows_are_refused_by_line_or_counted);
    RUN(data, columns_and_files_that_cannot_be_meant_are_refused);
    RUN(data, a_mapped_file_gives_every_row);
    RUN(data, bad_lines_are_passed_over_once);
    RUN(data, utf16_is_refused);
    RUN(data, a_byte_order_mark_is_no_part_of_the_first_cell);
    RUN(data, random_batches_see_each_row_once_an_epoch);
    RUN(data, small_permutations_are_whole);
    RUN(data, rows_in_order_stay_so);
    RUN(data, batches_are_shared_out_by_size_or_share);
    RUN(data, a_popular_keyphrase_leaves_every_batch_full);
    RUN(data, a_text_counts_once_in_a_batch);
    RUN(data, an_epoch_by_query_has_every_row);
    RUN(data, queries_stand_together);
    RUN(data, a_cut_query_keeps_its_positive_in_each_piece);
}
