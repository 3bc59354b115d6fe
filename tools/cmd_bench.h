// cmd_bench.h - the command bench.
// Part of kpd.c, below cmd_text.h, by whose batches it embeds.

// >>bench  What this machine's kernels do, and a model by them: tokenizing, batches, one text at a time, in each type. ------

enum { BENCH_ROUNDS = 5, BENCH_TYPES = 4 };

static const struct { const char *name; kpd_dtype type; bool wide; } bench_types[BENCH_TYPES] = {
    {"f32", KPD_F32, false}, {"bf16", KPD_BF16, false}, {"int8", KPD_INT8, false}, {"int8 wide", KPD_INT8, true}};

static double bench_clock(void *unused) {
    (void)unused;
    return now();
}

// Adds the session's seconds so far times `sign`: - before and + after are what lies between.
static void bench_stages(const kpd_session *s, double sign, double *spent) {
    for (int i = 0; i < KPD_STAGE_COUNT; i++) spent[i] += sign * kpd_session_seconds(s, (kpd_stage)i);
}

static bool bench_tokenizer(job *j, const batch *b) {
    int32_t ids[4096];
    kpd_tokens t = {0};
    double seconds[BENCH_ROUNDS];
    size_t bytes = 0;
    t.ids = ids;
    t.capacity = (int32_t)(sizeof ids / sizeof *ids);
    for (int r = 0; r < BENCH_ROUNDS; r++) {
        seconds[r] = now();
        bytes = 0;
        for (int32_t i = 0; i < j->text.n; i++) {
            kpd_error e;
            if (kpd_model_tokenize(j->student, (kpd_tower)j->o.tower, &b->in[i], false, &t, &e)) return fail_text(j, &e);
            bytes += j->text.lines[i].size;
        }
        seconds[r] = now() - seconds[r];
    }
    printf("tokenizer    %.1f MB/s, one thread\n", 1e-6 * (double)bytes / quantile(seconds, BENCH_ROUNDS, .5));
    return true;
}

// One row of the table. reference: the vectors of f32, or NULL while it is that which is timed. spent: of the batches.
static bool bench_row(job *j, const kpd_model *m, kpd_session *s, const batch *b, const float *reference, const char *name,
                      double *spent) {
    double seconds[BENCH_ROUNDS], least = 1;
    int32_t n = j->text.n;
    if (!embed_texts(j, m, s, b, false)) return false;  // warms up
    bench_stages(s, -1, spent);
    for (int r = 0; r < BENCH_ROUNDS; r++) {
        seconds[r] = now();
        if (!embed_texts(j, m, s, b, false)) return false;
        seconds[r] = now() - seconds[r];
    }
    bench_stages(s, 1, spent);
    j->n_each = 0;
    if (!embed_texts(j, m, s, b, true)) return false;
    for (int32_t i = 0; reference && i < n; i++) {
        size_t at = (size_t)i * (size_t)b->cols;
        least = fmin(least, (double)kpd_cosine(b->out + at, reference + at, b->cols));
    }
    printf("%-10s %9.1f %9.2f %9.2f %9.1f %9.1f   %.6f\n", name, n / quantile(seconds, BENCH_ROUNDS, .5),
           1e3 * quantile(j->each, j->n_each, .5), 1e3 * quantile(j->each, j->n_each, .99), (double)kpd_model_size(m) / 1048576,
           (double)kpd_session_size(s) / 1048576, least);
    fflush(stdout);
    return true;
}

// The model in one type of weights.
static bool bench_type(job *j, const batch *b, float *reference, int t, double *spent) {
    kpd_dtype type = bench_types[t].type;
    kpd_convert_desc c = {0};
    kpd_session_desc d = {0};
    kpd_model *other = NULL;
    kpd_session *s = NULL;
    kpd_error e;
    bool ok;
    c.dtype = type;
    c.wide_qkv = bench_types[t].wide;
    if (kpd_model_convert(j->student, &c, &other, &e)) return fail(j->arg[0], 0, "%s", e.message);
    d.student = other;
    d.simd = (kpd_simd)j->o.simd;
    d.parallel = j->parallel;
    d.clock = bench_clock;
    ok = !kpd_session_create(&d, &s, &e) || fail(NULL, 0, "%s", e.message);
    if (ok) ok = bench_row(j, other, s, b, type == KPD_F32 ? NULL : reference, bench_types[t].name, spent);
    if (ok && type == KPD_F32) memcpy(reference, b->out, (size_t)j->text.n * (size_t)b->cols * sizeof *reference);
    kpd_session_destroy(s);
    kpd_model_destroy(other);
    return ok;
}

// Microseconds a text, means over the batches.
static void print_stages(double spent[BENCH_TYPES][KPD_STAGE_COUNT], int32_t n) {
    printf("\n%-10s", "us a text");
    for (int i = 0; i < KPD_STAGE_COUNT; i++) printf(" %9s", kpd_stage_name((kpd_stage)i));
    for (int t = 0; t < BENCH_TYPES; t++) {
        printf("\n%-10s", bench_types[t].name);
        for (int i = 0; i < KPD_STAGE_COUNT; i++) printf(" %9.1f", 1e6 * spent[t][i] / (BENCH_ROUNDS * n));
    }
    printf("\n");
}

// What the model makes of the texts, by type.
static bool bench_all_types(job *j, const batch *b) {
    double spent[BENCH_TYPES][KPD_STAGE_COUNT] = {{0}};
    float *reference = (float *)job_alloc(j, CHUNK_LINES, (size_t)b->cols * sizeof *reference);
    if (!reference) return false;
    printf("\n%-10s %9s %9s %9s %9s %9s   %s\n", "weights", "texts/s", "p50 ms", "p99 ms", "model MB", "arena MB",
           "least cosine to f32");
    for (int t = 0; t < BENCH_TYPES; t++)
        if (!bench_type(j, b, reference, t, spent[t])) return false;
    print_stages(spent, j->text.n);
    return true;
}

static int bench_model(job *j) {
    kpd_model_desc d;
    batch b;
    double opened = now();
    if (!open_model(j->arg[0], KPD_BI_ENCODER, &j->student) || !open_pool(j)) return BAD_DATA;
    opened = now() - opened;
    if (!open_text(j, j->arg[1], j->student, (kpd_tower)j->o.tower) || !reader_next(&j->text)) return BAD_DATA;
    if (!j->text.n) return fail(j->text.name, 0, "no text"), BAD_DATA;
    if (!batch_create(j, kpd_model_dim(j->student), &b) || !read_inputs(j, j->student, (kpd_tower)j->o.tower, b.in))
        return BAD_DATA;
    d = *kpd_model_get_desc(j->student);
    bench_kernels((kpd_simd)j->o.simd, (size_t)d.width, (size_t)d.ffn_width, (size_t)d.n_heads, now);
    printf("\nopen         %.2f ms\ntexts        the first %d of %s, %d thread(s)\n", 1e3 * opened, (int)j->text.n,
           j->text.name, (int)j->n_threads);
    return bench_tokenizer(j, &b) && bench_all_types(j, &b) ? DONE : BAD_DATA;
}

static int run_bench(job *j) {
    if (j->arg[0] && !j->arg[1]) return usage("bench: expected a model and a FILE of texts, or neither");
    if (j->arg[0]) return bench_model(j);
    bench_kernels((kpd_simd)j->o.simd, 384, 1536, 12, now);
    return DONE;
}
