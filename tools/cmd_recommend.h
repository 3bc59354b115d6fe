// cmd_recommend.h - the command recommend: items in, keyphrases out.
// Part of kpd.c, below cmd_index.h.

// >>recommend --------------------------------------------------------------------------------------------------------

typedef struct recommender { kpd_recommend_desc d; kpd_input *in; kpd_recommendation *out; int32_t *counts; } recommender;

static void print_recommendations(const job *j, const recommender *r, int32_t i) {
    for (int32_t rank = 0; rank < r->counts[i]; rank++) {
        const kpd_recommendation *x = &r->out[(size_t)i * (size_t)r->d.search.k + (size_t)rank];
        kpd_text t = {"", 0};
        r->d.lookup(r->d.lookup_user, x->id, &t);
        fprintf(j->out.file, "%lld\t%d\t", (long long)(j->text.first + i), (int)rank + 1);
        put_cell(j->out.file, t);
        fprintf(j->out.file, "\t%.9g\t", (double)x->similarity);
        fprintf(j->out.file, r->d.assistant ? "%.9g\n" : "-\n", (double)x->relevance);
    }
}

static bool recommend_chunk(job *j, void *state) {
    recommender *r = (recommender *)state;
    kpd_error e;
    if (!split_chunk(j, 2, r->in)) return false;
    if (kpd_recommend(j->session, &r->d, r->in, (size_t)j->text.n, r->out, r->counts, &e)) return fail_text(j, &e);
    for (int32_t i = 0; i < j->text.n; i++) print_recommendations(j, r, i);
    return true;
}

static bool text_of_index(void *user, int64_t id, kpd_text *out) {
    return !kpd_index_text((const kpd_index *)user, id, out, NULL) && out->size;
}

static void fill_recommend(const job *j, phrases *p, kpd_recommend_desc *d) {
    d->student = j->student;
    d->assistant = j->assistant;
    d->index = j->index;
    d->search.k = clamp_k(j);
    d->search.threshold = isfinite(j->o.min_similarity);
    d->search.min_score = d->search.threshold ? j->o.min_similarity : 0;
    d->lookup = j->o.keyphrases ? phrases_find : text_of_index;
    d->lookup_user = p;
    if (!j->o.keyphrases) d->lookup_user = j->index;
    d->min_relevance = isfinite(j->o.threshold) ? j->o.threshold : 0;
    d->rank_by_relevance = j->o.by_relevance != 0;
    d->same_words_are_duplicates = j->o.same_words != 0;
}

// Some of the keyphrases are embedded again: the vector of its id should be the nearest to each. If another's is to most of
// them, ids and keyphrases do not belong together, and every list would be wrong without a sign of it.
static bool check_keyphrases(job *j, const phrases *p, const char *path) {
    enum { SAMPLE = 32 };
    kpd_index_info info = index_info(j->index);
    float *q = (float *)job_alloc(j, 2, (size_t)info.dim * sizeof *q), *own = q ? q + info.dim : NULL;
    size_t step = p->n / SAMPLE + 1, strange = 0, seen = 0;
    if (!q) return false;
    if (info.metric != KPD_COSINE || info.dim > kpd_model_dim(j->student)) return true;
    for (size_t i = 0; i < p->n; i += step) {
        kpd_row row = {0};
        kpd_input in;
        kpd_hit hit;
        int32_t found;
        kpd_error e;
        kpd_search_desc d = {0};
        d.k = 1;
        if (kpd_index_get(j->index, p->list[i].id, own, &e)) continue;
        row.keyphrase = phrase_text(p, i);
        kpd_model_input(j->student, KPD_KEYPHRASE, &row, &in);
        if (kpd_embed(j->session, j->student, KPD_KEYPHRASE, &in, 1, info.dim, q, &e) ||
            kpd_index_search(j->session, j->index, q, 1, &d, &hit, &found, &e))
            return fail(path, p->list[i].line, "%s", e.message);
        seen++;
        strange += found && hit.score > kpd_cosine(q, own, info.dim) + 0.01f;
    }
    if (2 * strange <= seen) return true;
    return fail(path, 0, "ids and keyphrases are not those of the index: of %zu keyphrases %zu are nearer to another id's "
                "vector; ids count from 0 unless the index was built with others", seen, strange);
}

static bool read_keyphrases(job *j, phrases *p) {
    const char *path = j->o.keyphrases;
    if (!phrases_read(p, j, path) || !check_keyphrases(j, p, path)) return false;
    phrases_check(p, j->index, path);
    return true;
}

static bool recommend(job *j, phrases *p) {
    recommender r = {0};
    fill_recommend(j, p, &r.d);
    if (!open_session(j, r.d.search.k, index_info(j->index).dim)) return false;
    if (j->o.keyphrases && !read_keyphrases(j, p)) return false;
    if (!open_text_or_word(j, j->arg[3], j->student, KPD_ITEM) || !output_open(&j->out, j->o.output)) return false;
    r.in = (kpd_input *)job_alloc(j, CHUNK_LINES, sizeof *r.in);
    r.out = (kpd_recommendation *)job_alloc(j, CHUNK_LINES, (size_t)r.d.search.k * sizeof *r.out);
    r.counts = (int32_t *)job_alloc(j, CHUNK_LINES, sizeof *r.counts);
    if (!r.in || !r.out || !r.counts || !each_chunk(j, "items", recommend_chunk, &r) || !output_commit(&j->out)) return false;
    if (j->out.path) say("%s: keyphrases for %lld items", j->out.path, (long long)j->done);
    return true;
}

static int run_recommend(job *j) {
    phrases p = {0};
    bool ok, filter = strcmp(j->arg[1], "-") != 0;
    if (!filter && isfinite(j->o.threshold)) return usage("--threshold is a relevance, which needs an assistant");
    if (!filter && j->o.by_relevance) return usage("--by-relevance needs an assistant");
    if (isfinite(j->o.threshold) && (j->o.threshold < 0 || j->o.threshold > 1))
        return usage("--threshold %g: expected a relevance from 0 to 1", (double)j->o.threshold);
    if (!open_model(j->arg[0], KPD_BI_ENCODER, &j->student)) return BAD_DATA;
    if (filter && !open_model(j->arg[1], KPD_CROSS_ENCODER, &j->assistant)) return BAD_DATA;
    if (!open_index(j, j->arg[2], false) || !check_fingerprint(j, j->arg[0], j->arg[2])) return BAD_DATA;
    if (!j->o.keyphrases && !index_info(j->index).text_bytes)
        return fail(j->arg[2], 0, "it keeps no keyphrases: --keyphrases FILE gives them, or `kpd index build MODEL.kpd TEXTS` "
                    "makes an index that does"), BAD_DATA;
    ok = recommend(j, &p);
    phrases_free(&p);
    return ok ? DONE : BAD_DATA;
}
