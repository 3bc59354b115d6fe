// cmd_cluster.h - the command cluster: pairs in the order of clusters of their items, for batches of rows that are alike.
// Part of kpd.c, below cmd_mine.h, which reads such pairs too.

// >>cluster ----------------------------------------------------------------------------------------------------------

typedef struct cluster_pair { size_t keyphrase, title, category, end; int32_t cluster; } cluster_pair;     // beginnings in text

typedef struct clusters {
    cluster_pair *pair; size_t n, pairs_capacity;
    int64_t *line; size_t lines_capacity;       // [n]
    char *text; size_t text_size, text_capacity;
    float *v; size_t vectors_capacity;  // [n, cols]
    batch b;
    int64_t unmeant;
} clusters;

static size_t cluster_text(clusters *x, kpd_text t) {
    size_t at = x->text_size;
    if (t.size) memcpy(x->text + at, t.data, t.size);
    x->text_size += t.size;
    return at;
}

// Keeps a pair, and gives the model its item.
static bool cluster_pair_keep(job *j, clusters *x, const kpd_row *row, int64_t line, size_t at) {
    size_t bytes = row->keyphrase.size + row->title.size + row->category.size;
    cluster_pair *p;
    if (!grow((void **)&x->pair, &x->pairs_capacity, x->n + 1, sizeof *x->pair) ||
        !grow((void **)&x->line, &x->lines_capacity, x->n + 1, sizeof *x->line) ||
        !grow((void **)&x->text, &x->text_capacity, x->text_size + bytes + 1, 1)) return false;
    x->line[x->n] = line;
    p = &x->pair[x->n++];
    p->keyphrase = cluster_text(x, row->keyphrase);
    p->title = cluster_text(x, row->title);
    p->category = cluster_text(x, row->category);
    p->end = x->text_size;
    kpd_model_input(j->student, KPD_ITEM, row, &x->b.in[at]);
    return true;
}

static bool cluster_chunk(job *j, void *state) {
    clusters *x = (clusters *)state;
    size_t n = 0, before = x->n, cols = (size_t)x->b.cols;
    kpd_error e;
    for (int32_t i = 0; i < j->text.n; i++) {
        kpd_row row = {0};
        bool meant;
        if (!mine_cells(&j->text, i, &row, &meant)) return false;
        x->unmeant += !meant;
        if (!meant) continue;
        if (!cluster_pair_keep(j, x, &row, j->text.line[i], n++)) return false;
    }
    if (kpd_embed(j->session, j->student, KPD_ITEM, x->b.in, n, x->b.cols, x->b.out, &e))
        return fail_lines(j, x->line + before, n, &e);
    if (!grow((void **)&x->v, &x->vectors_capacity, x->n, cols * sizeof *x->v)) return false;
    if (n) memcpy(x->v + before * cols, x->b.out, n * cols * sizeof *x->v);
    return true;
}

static bool cluster_items(job *j, clusters *x, int32_t rows) {
    int32_t *nearest = (int32_t *)job_alloc(j, x->n, sizeof *nearest);
    float *centroids;
    kpd_kmeans_desc d = {0};
    kpd_error e;
    d.k = (int32_t)((x->n + (size_t)rows - 1) / (size_t)rows);
    d.seed = (uint64_t)j->o.seed;
    d.parallel = j->parallel;
    centroids = (float *)job_alloc(j, (size_t)d.k, (size_t)x->b.cols * sizeof *centroids);
    if (!nearest || !centroids) return false;
    d.progress = library_progress(&j->call, "items compared");
    if (kpd_kmeans(&d, x->v, x->n, x->b.cols, centroids, nearest, &e)) return fail_lines(j, x->line, x->n, &e);
    for (size_t i = 0; i < x->n; i++) x->pair[i].cluster = nearest[i];
    return true;
}

static int compare_clusters(const void *a, const void *b) {
    const cluster_pair *x = (const cluster_pair *)a, *y = (const cluster_pair *)b;
    if (x->cluster != y->cluster) return x->cluster < y->cluster ? -1 : 1;
    return (x->end > y->end) - (x->end < y->end);       // as in the file
}

static void cluster_cell(FILE *f, const clusters *x, size_t from, size_t to) {
    kpd_text t = {x->text + from, to - from};
    put_cell(f, t);
    fputc('\t', f);
}

static void cluster_print(FILE *f, const clusters *x) {
    for (size_t i = 0; i < x->n; i++) {
        const cluster_pair *p = &x->pair[i];
        cluster_cell(f, x, p->keyphrase, p->title);
        cluster_cell(f, x, p->title, p->category);
        cluster_cell(f, x, p->category, p->end);
        fprintf(f, "%d\n", (int)p->cluster);
    }
}

static bool cluster(job *j, clusters *x, int32_t rows) {
    size_t n_clusters = 0, most = 0;
    int32_t dim;
    if (!open_model(j->arg[0], KPD_BI_ENCODER, &j->student) || !output_open(&j->out, j->o.output)) return false;
    dim = student_dim(j, j->arg[0]);
    if (!dim || !open_session(j, 0, dim) || !batch_create(j, dim, &x->b)) return false;
    if (!open_pairs(j, j->arg[1]) || !each_chunk(j, "pairs", cluster_chunk, x)) return false;
    if (!x->n) return fail(j->arg[1], 0, "has no pairs%s", x->unmeant ? " with a label of 0.5 or more" : "");
    if (!cluster_items(j, x, rows)) return false;
    qsort(x->pair, x->n, sizeof *x->pair, compare_clusters);
    cluster_print(j->out.file, x);
    if (!output_commit(&j->out)) return false;
    for (size_t i = 0, size = 0; i < x->n; i++) {
        size = i && x->pair[i].cluster == x->pair[i - 1].cluster ? size + 1 : 1;
        n_clusters += size == 1;
        if (size > most) most = size;
    }
    end_progress_line();
    note(NULL, "%zu pairs in %zu clusters, the largest of %zu%s", x->n, n_clusters, most,
         x->unmeant ? "; those with a label below 0.5 are left out" : "");
    return true;
}

static int run_cluster(job *j) {
    clusters *x = (clusters *)job_alloc(j, 1, sizeof *x);
    bool ok = x && cluster(j, x, j->o.n ? j->o.n : 16);
    if (!x) return BAD_DATA;
    free(x->pair);
    free(x->line);
    free(x->text);
    free(x->v);
    return ok ? DONE : BAD_DATA;
}
