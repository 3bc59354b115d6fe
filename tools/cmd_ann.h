// cmd_ann.h - eval ann: what an index finds of the true best, and how fast, by the recall that is asked for.
// Part of kpd.c, below cmd_index.h and cmd_eval.h.

// >>ann ----------------------------------------------------------------------------------------------------------------

typedef struct ann {
    const float *q; size_t n;           // queries [n, dim]
    int32_t dim, k;
    kpd_hit *truth, *hits;              // [n, k]
    int32_t *n_truth, *n_hits;          // [n]
    const int32_t *ids; int32_t n_ids;  // [n, n_ids], of a file of the true best, or NULL: truth are scores
    float *found; double *seconds;      // [n]: share of a query's best; of each query by itself
} ann;

static bool ann_search(const job *j, const ann *x, const kpd_search_desc *d, size_t i, size_t n, kpd_hit *hits,
                       int32_t *counts) {
    kpd_error e;
    hits += i * (size_t)x->k;
    return !kpd_index_search(j->session, j->index, x->q + i * (size_t)x->dim, n, d, hits, counts + i, &e) ||
           fail_row(j->arg[1], &e, (int64_t)i);
}

// Whether a hit is one of the best of query i: by the file's ids, or by its score, where of equal ones any will do.
static bool ann_is_best(const ann *x, size_t i, const kpd_hit *h, int32_t best) {
    if (!x->ids) return h->score >= x->truth[i * (size_t)x->k + (size_t)best - 1].score;
    for (int32_t r = 0; r < best; r++)
        if (x->ids[i * (size_t)x->n_ids + (size_t)r] == h->id) return true;
    return false;
}

static void ann_count(ann *x) {
    for (size_t i = 0; i < x->n; i++) {
        int32_t best = x->ids ? x->k : x->n_truth[i], good = 0;
        for (int32_t r = 0; r < x->n_hits[i]; r++) good += ann_is_best(x, i, &x->hits[i * (size_t)x->k + (size_t)r], best);
        x->found[i] = best ? (float)good / (float)best : 1;
    }
}

// A line: asked, found, its interval over queries; queries a second in one call, the better of two; milliseconds one by one.
static bool ann_line(job *j, ann *x, const kpd_search_desc *d) {
    kpdt_bootstrap_desc b = {0};
    kpdt_interval share;
    kpd_error e;
    double best = HUGE_VAL, all = 0, t;
    size_t n_alone = 0;
    for (int pass = 0; pass < 2; pass++) {
        t = now();
        if (!ann_search(j, x, d, 0, x->n, x->hits, x->n_hits)) return false;
        t = now() - t;
        if (t < best) best = t;
    }
    ann_count(x);
    b.a = x->found; b.n = x->n; b.resamples = (int32_t)resamples_of(x->n); b.seed = 1;
    if (kpdt_bootstrap(&b, &share, &e)) return fail(NULL, 0, "%s", e.message);
    for (; n_alone < x->n && all < 3; n_alone++) {
        t = now();
        if (!ann_search(j, x, d, n_alone, 1, x->hits, x->n_hits)) return false;
        all += x->seconds[n_alone] = now() - t;
    }
    if (d->gamma > 0) fprintf(j->out.file, "gamma %g", (double)d->gamma);
    else fprintf(j->out.file, "%g", (double)d->recall);
    fprintf(j->out.file, "\t%.4f\t%.4f\t%.4f\t%.0f\t%.4f\t%.4f\n", share.estimate, share.low, share.high, (double)x->n / best,
            1e3 * quantile(x->seconds, n_alone, .5), 1e3 * quantile(x->seconds, n_alone, .99));
    progress(j, 1, 0, 0);
    return output_ok(&j->out);
}

// Of one recall or gamma that was asked for; else of the usual ones, of a flat index of the one that it has.
static bool ann_lines(job *j, ann *x) {
    static const float usual[] = {0.8f, 0.9f, 0.95f, 0.99f, 1};
    kpd_search_desc d = {0};
    bool tree = index_info(j->index).kind == KPD_TREE;
    d.k = x->k;
    d.gamma = j->o.gamma; d.recall = j->o.recall;
    fputs("asked\tfound\tlow\thigh\tqueries_per_second\tp50_ms\tp99_ms\n", j->out.file);
    if (d.gamma > 0 || d.recall > 0) return ann_line(j, x, &d);
    for (size_t i = tree ? 0 : 4; i < 5; i++) {
        d.recall = usual[i];
        if (!ann_line(j, x, &d)) return false;
    }
    return true;
}

// The true best of a file of ids, a row of at least k for each query.
static bool ann_read_truth(job *j, ann *x, const char *path) {
    npy_reader r;
    char why[200];
    size_t n = 0;
    float *ids;
    bool ok;
    if (!npy_open(&r, path, why, sizeof why)) return fail(path, 0, "%s", why);
    ids = (float *)job_alloc(j, x->n, (size_t)r.cols * sizeof *ids);
    ok = ids && (r.ids || fail(path, 0, "no ids, expected an .ivecs file"));
    if (ok && (r.rows < (int64_t)x->n || r.cols < x->k))
        ok = fail(path, 0, "%lld rows of %d ids, expected %zu of %d or more", (long long)r.rows, (int)r.cols, x->n, (int)x->k);
    if (ok && !npy_read(&r, ids, x->n, &n)) ok = fail(path, 0, "its rows differ in width, or the file ended while it was read");
    npy_close(&r);
    x->ids = (const int32_t *)(const void *)ids; x->n_ids = r.cols;
    return ok;
}

static bool ann_truth(job *j, ann *x) {
    kpd_search_desc d = {0};
    if (j->arg[2]) return ann_read_truth(j, x, j->arg[2]);
    d.k = x->k; d.recall = 1;
    return ann_search(j, x, &d, 0, x->n, x->truth, x->n_truth);
}

static bool ann_lay(job *j, ann *x) {
    size_t rows = x->n * (size_t)x->k;
    x->truth = (kpd_hit *)job_alloc(j, rows, sizeof *x->truth);
    x->hits = (kpd_hit *)job_alloc(j, rows, sizeof *x->hits);
    x->n_truth = (int32_t *)job_alloc(j, x->n, sizeof *x->n_truth);
    x->n_hits = (int32_t *)job_alloc(j, x->n, sizeof *x->n_hits);
    x->found = (float *)job_alloc(j, x->n, sizeof *x->found);
    x->seconds = (double *)job_alloc(j, x->n, sizeof *x->seconds);
    return x->truth && x->hits && x->n_truth && x->n_hits && x->found && x->seconds;
}

static int run_eval_ann(job *j) {
    ann x = {0};
    if (!open_index(j, j->arg[0], false) || !open_vectors(j, j->arg[1]) ||
        !check_dim(j, j->arg[1], j->arg[0])) return BAD_DATA;
    if (!j->vectors.rows) return fail(j->arg[1], 0, "no queries"), BAD_DATA;
    x.n = (size_t)j->vectors.rows; x.dim = j->vectors.cols; x.k = clamp_k(j);
    x.q = all_vectors(j, j->arg[1]);
    if (!x.q || !ann_lay(j, &x) || !open_session(j, x.k, x.dim) || !output_open(&j->out, j->o.output)) return BAD_DATA;
    start(j, "settings");
    if (!ann_truth(j, &x) || !ann_lines(j, &x) || !output_commit(&j->out)) return BAD_DATA;
    if (j->out.path) say("%s: what %zu queries find", j->out.path, x.n);
    return DONE;
}
