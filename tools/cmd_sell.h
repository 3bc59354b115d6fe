// cmd_sell.h - the command simulate sell: what an A/B test of recommendations would see in the invented shop.
// Part of kpd.c, below cmd_shop.h, which makes the shop, and cmd_eval.h, whose tables it prints.

// >>sell -------------------------------------------------------------------------------------------------------------

// Sums of an item, and the figures that are made of them.
enum { SELL_LISTED, SELL_ADOPTED, SELL_CLICKS, SELL_SPEND, SELL_GMB, SELL_SUMS };
typedef struct sell_figure { const char *name; int of, by; } sell_figure;       // a sum divided by another, or -1 by the items
static const sell_figure SELL_FIGURE[] = {
    {"listed", SELL_LISTED, -1}, {"adoption", SELL_ADOPTED, SELL_LISTED}, {"adopted", SELL_ADOPTED, -1},
    {"clicks", SELL_CLICKS, -1}, {"spend", SELL_SPEND, -1}, {"gmb", SELL_GMB, -1}, {"roas", SELL_GMB, SELL_SPEND}};
enum { SELL_FIGURES = sizeof SELL_FIGURE / sizeof *SELL_FIGURE };

// Two systems, or one; of each as many runs, on the test items.
typedef struct sellers {
    shop *s;
    name_list names[2]; int runs, systems;
    size_t n_items;
    double *sum[2];                     // [runs, n_items, SELL_SUMS]
    double *into;                       // of the run that is being read,
    int64_t item, rank;                 // and its last line
} sellers;

// A line of `kpd recommend`.
static bool sell_line(const job *j, sellers *x, int32_t i) {
    const reader *r = &j->text;
    kpd_text column[5];
    int64_t item, rank;
    int32_t query;
    float relevance = INFINITY;
    double *sum;
    shop_sale sale;
    if (split_columns(r, i, column, 5) != 5)
        return fail(r->name, r->line[i], "expected item TAB rank TAB keyphrase TAB similarity TAB relevance");
    if (!parse_id(r, i, column[0], &item) || !parse_id(r, i, column[1], &rank)) return false;
    if (item < 0 || item >= (int64_t)x->n_items)
        return fail(r->name, r->line[i], "item %lld: test_items.tsv has rows 0 to %zu", (long long)item, x->n_items - 1);
    if (item < x->item || rank != (item > x->item ? 1 : x->rank + 1))
        return fail(r->name, r->line[i], "rank %lld of item %lld behind rank %lld of item %lld, expected each item's from 1 on",
                    (long long)rank, (long long)item, (long long)x->rank, (long long)x->item);
    x->item = item; x->rank = rank;
    query = shop_find_phrase(x->s, column[2].data, column[2].size);
    if (query < 0)
        return fail(r->name, r->line[i], "'%.*s' is not a keyphrase of this shop", shown(column[2]), column[2].data);
    if (isfinite(j->o.threshold) && !parse_real(r, i, "relevance", column[4], -INFINITY, INFINITY, &relevance)) return false;
    if (relevance < j->o.threshold) return true;
    sale = shop_sell(x->s, shop_n_items(x->s) + (int32_t)item, query);
    sum = x->into + (size_t)item * SELL_SUMS;
    sum[SELL_LISTED]++;
    sum[SELL_ADOPTED] += sale.adopted; sum[SELL_CLICKS] += sale.clicks;
    sum[SELL_SPEND] += sale.spend; sum[SELL_GMB] += sale.gmb;
    return true;
}

static bool sell_chunk(job *j, void *state) {
    for (int32_t i = 0; i < j->text.n; i++)
        if (!sell_line(j, (sellers *)state, i)) return false;
    return true;
}

static bool sell_read(job *j, sellers *x) {
    x->n_items = (size_t)shop_n_test_items(x->s);
    for (int s = 0; s < x->systems; s++) {
        x->sum[s] = (double *)calloc((size_t)x->runs * x->n_items * SELL_SUMS, sizeof(double));
        if (!x->sum[s]) return fail(NULL, 0, "out of memory: sales of %zu items", x->n_items);
        for (int r = 0; r < x->runs; r++) {
            x->into = x->sum[s] + (size_t)r * x->n_items * SELL_SUMS;
            x->item = -1; x->rank = 0;
            if (!reader_open(&j->text, name_of_run(&x->names[s], r)) ||
                !each_chunk(j, "recommendations", sell_chunk, x)) return false;
            reader_close(&j->text);
        }
    }
    return true;
}

static void sell_statistic(void *user, const size_t *run, size_t runs, const size_t *item, size_t n, double *out) {
    const sellers *x = (const sellers *)user;
    for (int s = 0; s < x->systems; s++) {
        double sum[SELL_SUMS] = {0};
        for (size_t r = 0; r < runs; r++)
            for (size_t i = 0; i < n; i++)
                for (size_t k = 0; k < SELL_SUMS; k++) sum[k] += x->sum[s][(run[r] * x->n_items + item[i]) * SELL_SUMS + k];
        for (int f = 0; f < SELL_FIGURES; f++) {
            double by = SELL_FIGURE[f].by < 0 ? (double)(runs * n) : sum[SELL_FIGURE[f].by];
            out[s * SELL_FIGURES + f] = by > 0 ? sum[SELL_FIGURE[f].of] / by : (double)NAN;
        }
    }
    for (int f = 0; f < SELL_FIGURES && x->systems == 2; f++) {
        double other = out[SELL_FIGURES + f];
        out[2 * SELL_FIGURES + f] = other > 0 ? out[f] / other - 1 : (double)NAN;
    }
}

static bool sell_print(job *j, sellers *x) {
    kpdt_interval out[3 * SELL_FIGURES];
    kpdt_bootstrap_desc d = {0};
    kpd_error e;
    bool two = x->systems == 2;
    d.statistic = sell_statistic; d.statistic_user = x; d.n_statistics = SELL_FIGURES * (two ? 3 : 1);
    d.n = x->n_items; d.runs = (size_t)x->runs; d.resamples = (int32_t)resamples_of(x->n_items * (size_t)x->runs); d.seed = 1;
    if (kpdt_bootstrap(&d, out, &e)) return fail(NULL, 0, "%s", e.message);
    fprintf(j->out.file, "figure\tvalue\tlow\thigh%s\n", two ? "\tagainst\tlow\thigh\tchange\tlow\thigh\tp" : "");
    for (int f = 0; f < SELL_FIGURES; f++) print_figure(j->out.file, SELL_FIGURE[f].name, out, SELL_FIGURES, f, two);
    return true;
}

static int run_sell(job *j) {
    sellers x = {0};
    int status = runs_of(j, "simulate sell", j->arg[1], x.names, &x.runs);
    bool ok;
    x.systems = j->o.against ? 2 : 1;
    ok = !status && open_shop(j, j->arg[0], &x.s) && sell_read(j, &x) && sell_print(j, &x) && output_commit(&j->out);
    if (ok && j->out.path) say("%s: figures of %zu items", j->out.path, x.n_items);
    for (int s = 0; s < 2; s++) {
        names_free(&x.names[s]);
        free(x.sum[s]);
    }
    shop_destroy(x.s);
    return ok ? DONE : status ? status : BAD_DATA;
}
