// Tables: what is read, what is refused and where; and which rows a batch gets, seen through kpdt_trainer_draw.
#include "../kpd_train.h"
#include "test.h"
#include "tiny_model.h"
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
    kpdt_dataset_close(x);
    x = text_data(PAIRS, "");
    CHECK_INT(kpdt_dataset_rows(x), 0);
    kpdt_dataset_close(x);
    kpdt_dataset_close(NULL);
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
        kpdt_dataset_close(x);
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
    kpdt_dataset_close(x);
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
    kpdt_dataset_close(x);
    f = fopen(path, "wb");
    if (f) fclose(f);
    CHECK_OK(kpdt_dataset_open(&d, &x, NULL));
    CHECK_INT(kpdt_dataset_rows(x), 0);
    kpdt_dataset_close(x);
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
    kpdt_dataset_close(x);
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
    kpdt_dataset_close(x);
    x = text_data(title_first, "\xEF\xBB\xBF" "lamp\n\xEF\xBB\xBF" "case\n");
    CHECK(!kpdt_dataset_get(x, 0, &r, NULL) && is(r.title, "lamp"));
    CHECK(!kpdt_dataset_get(x, 1, &r, NULL) && is(r.title, "\xEF\xBB\xBF" "case"));   // one inside is text
    kpdt_dataset_close(x);
    x = text_data(title_first, "\xEF\xBB\xBF");
    CHECK_INT(kpdt_dataset_rows(x), 0);
    kpdt_dataset_close(x);
}

// THE SAMPLER

enum { MOST_ROWS = 4096 };

static const kpdt_column GROUPS[] = {KPDT_COL_QUERY, KPDT_COL_KEYPHRASE, KPDT_COL_TITLE, KPDT_COL_END};

// "query \t keyphrase \t title" for n rows: i / per_query, i % phrases, i % titles.
static char *group_text(int n, int per_query, int phrases, int titles) {
    char *text = (char *)malloc((size_t)n * 48 + 1);
    size_t at = 0;
    for (int i = 0; text && i < n; i++)
        at += (size_t)sprintf(text + at, "q%d\tphrase %d\ttitle %d\n", i / per_query, i % phrases, i % titles);
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
    kpd_model_close(m);
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
    kpdt_dataset_close(x);
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
        kpdt_dataset_close(x);
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
    kpdt_dataset_close(x);
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
    for (int i = 0; i < 3; i++) { kpdt_dataset_close(x[i]); free(text[i]); }
}

static void no_text_stands_twice_in_a_batch(void) {
    static int counts[MOST_ROWS];
    enum { ROWS = 960 };
    char *text = group_text(ROWS, 1, 40, 96);
    kpdt_dataset *x = text_data(GROUPS, text);
    kpdt_source s = source_of(x, KPDT_NO_DUPLICATES);
    kpdt_trainer *t = trainer_of(&s, 1, 32, 7);
    int full = 0, batches = 0;
    memset(counts, 0, sizeof counts);
    for (int got = 0; got < 20 * ROWS; batches++) {
        kpdt_batch b;
        if (!CHECK_OK(kpdt_trainer_draw(t, &b, NULL))) break;
        for (int32_t i = 0; i < b.n; i++)
            for (int32_t j = 0; j < i; j++)
                CHECK(b.row[i] % 40 != b.row[j] % 40 && b.row[i] % 96 != b.row[j] % 96);
        for (int32_t i = 0; i < b.n; i++) counts[b.row[i]]++;
        got += b.n;
        full += b.n == 32;
    }
    CHECK_THAT(full > batches * 9 / 10, "%d of %d batches are full", full, batches);
    for (int i = 0; i < ROWS; i++) CHECK_THAT(counts[i] >= 19 && counts[i] <= 21, "row %d came %d times of 20", i, counts[i]);
    kpdt_trainer_destroy(t);
    kpdt_dataset_close(x);
    free(text);
    text = group_text(100, 1, 1, 100);                      // one keyphrase only: a row a batch
    x = text_data(GROUPS, text);
    s = source_of(x, KPDT_NO_DUPLICATES);
    t = trainer_of(&s, 1, 4, 7);
    memset(counts, 0, sizeof counts);
    for (int i = 0; i < 300; i++) {
        kpdt_batch b;
        CHECK_OK(kpdt_trainer_draw(t, &b, NULL));
        CHECK_INT(b.n, 1);
        counts[b.row[0]]++;
    }
    for (int i = 0; i < 100; i++) CHECK_THAT(counts[i] >= 1, "row %d never came", i);
    kpdt_trainer_destroy(t);
    kpdt_dataset_close(x);
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
    kpdt_dataset_close(x);
    free(text);
}

SUITE(data) {
    RUN(data, rows_are_read_as_they_stand);
    RUN(data, numbers_are_those_of_strtof);
    RUN(data, bad_rows_are_refused_by_line_or_counted);
    RUN(data, columns_and_files_that_cannot_be_meant_are_refused);
    RUN(data, a_mapped_file_gives_every_row);
    RUN(data, bad_lines_are_passed_over_once);
    RUN(data, a_byte_order_mark_is_no_part_of_the_first_cell);
    RUN(data, random_batches_see_each_row_once_an_epoch);
    RUN(data, small_permutations_are_whole);
    RUN(data, rows_in_order_stay_so);
    RUN(data, batches_are_shared_out_by_size_or_share);
    RUN(data, no_text_stands_twice_in_a_batch);
    RUN(data, queries_stand_together);
}
