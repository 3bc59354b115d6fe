// cmd_model.h - the commands that turn model files into others and say what a file is: import, convert, export, info.
// Part of kpd.c, below job.h.

// >>models  import, convert, export, info ---------------------------------------------------------------------------------

static void print_notes(const char *file, char *notes) {
    for (char *line = strtok(notes, "\n"); line; line = strtok(NULL, "\n")) note(file, "%s", line);
}

// The first chunk of the file of --calibrate, as the segments that the model takes.
static bool read_calibration(job *j, kpd_convert_desc *d) {
    kpd_input *in = (kpd_input *)job_alloc(j, CHUNK_LINES, sizeof *in);
    if (!in || !open_text(j, j->o.calibrate, j->student, (kpd_tower)j->o.tower) || !reader_next(&j->text)) return false;
    if (!j->text.n) return fail(j->text.name, 0, "no text, expected a text a line");
    d->texts = in;
    d->n_texts = (size_t)j->text.n;
    d->tower = (kpd_tower)j->o.tower;
    return read_inputs(j, j->student, d->tower, in);
}

static int check_conversion(const job *j) {
    const char *what = j->o.calibrate ? "--calibrate" : j->o.wide_qkv ? "--wide-qkv" : NULL;
    if (what && j->o.dtype + 1 != KPD_INT8) return usage("%s: of --dtype int8 only", what);
    if (j->o.tower && !j->o.calibrate) return usage("--tower: of --calibrate only");
    return DONE;
}

// from: where the model came from, if that is a file, which is to blame where its bytes are wrong.
static bool save_model(const kpd_model *m, const char *path, const char *from) {
    kpd_error e;
    kpd_status s;
    files_hold_signals(true);
    s = kpd_model_save(m, path, &e);
    files_hold_signals(false);
    return !s || fail_with(s == KPD_ERR_FORMAT && from ? from : path, &e);
}

// The job's student in the type asked for, saved.
static int save_converted(job *j) {
    kpd_error e;
    kpd_convert_desc d = {0};
    const kpd_model *m = j->student;
    d.dtype = (kpd_dtype)(j->o.dtype + 1);
    d.wide_qkv = j->o.wide_qkv != 0;
    start(j, "tensors and texts");
    d.progress = library_progress(&j->count, "tensors and texts");
    if (d.dtype != kpd_model_get_desc(m)->dtype) {
        if (j->o.calibrate && !read_calibration(j, &d)) return BAD_DATA;
        if (kpd_model_convert(m, &d, &j->assistant, &e)) {
            if (d.texts && e.where >= 0) fail_text(j, &e);
            else fail_with(j->arg[0], &e);
            return BAD_DATA;
        }
        m = j->assistant;
    } else if (j->o.calibrate || d.wide_qkv) {
        return fail(j->arg[0], 0, "the weights are int8 already, expected f32 or bf16"), BAD_DATA;
    }
    if (!save_model(m, j->o.output, j->arg[0])) return BAD_DATA;
    say("%s: %zu bytes", j->o.output, kpd_model_size(m));
    return DONE;
}

static int run_convert(job *j) {
    if (!j->o.output) return usage("convert: -o M.kpd is missing");
    if (check_conversion(j)) return BAD_USAGE;
    if (!can_write(j->o.output) || !open_any_model(j->arg[0], &j->student)) return BAD_DATA;
    return save_converted(j);
}

static const char *const MODEL_FILES[] = {".json", ".safetensors", ".txt", ".bin", NULL};

static int run_import(job *j) {
    kpd_error e;
    char notes[4096] = "";
    hf_import_desc d = {0};
    const char *dir = j->arg[0];
    d.template_item = j->o.template_item;
    d.template_keyphrase = j->o.template_keyphrase;
    d.template_pair = j->o.template_pair;
    d.max_tokens = j->o.max_tokens;
    d.note = notes;
    d.note_size = sizeof notes;
    if (!j->o.output) return usage("import: -o M.kpd is missing");
    if (check_conversion(j)) return BAD_USAGE;
    note_inputs_in(dir, MODEL_FILES);
    if (!can_write(j->o.output)) return BAD_DATA;
    if (hf_import(dir, &d, &j->student, &e)) return fail_with(dir, &e), BAD_DATA;
    print_notes(dir, notes);
    return save_converted(j);
}

static int run_export(job *j) {
    kpd_error e;
    if (!j->o.output) return usage("export: -o DIR is missing");
    if (!open_any_model(j->arg[0], &j->student)) return BAD_DATA;
    if (hf_export(j->student, j->o.output, &e)) return fail_with(j->o.output, &e), BAD_DATA;
    say("%s: a folder for %s", j->o.output, kpd_model_get_desc(j->student)->kind == KPD_BI_ENCODER ? "sentence-transformers"
                                                                                                  : "transformers");
    return DONE;
}

static void print_modules(const kpd_model_desc *d) {
    for (int32_t i = 0; i < d->n_modules; i++) {
        const kpd_module *m = &d->modules[i];
        if (m->kind == KPD_MODULE_LAYER_NORM) printf("module       layer norm\n");
        else
            printf("module       dense to %d, %s%s\n", (int)m->width, kpd_activation_name(m->activation),
                   m->no_bias ? ", no bias" : "");
    }
}

static void print_head(const kpd_model_desc *d, int32_t dim) {
    if (d->kind == KPD_CROSS_ENCODER) {
        printf("head         pooler and classifier, %d label(s)\n", (int)d->n_labels);
        printf("pair         %s\n", d->template_pair);
        return;
    }
    printf("pooling      %s\n", kpd_pooling_name(d->pooling));
    print_modules(d);
    printf("embedding    %d columns, ", (int)dim);
    if (d->truncate_dim)
        printf("the first of %d, which are ", (int)(d->n_modules ? d->modules[d->n_modules - 1].width : d->width));
    printf("%s; %s\n", d->no_normalize ? "not normalised" : "unit length", kpd_metric_name(d->similarity));
    printf("item         %s\nkeyphrase    %s\n", d->template_item, d->template_keyphrase);
    if (d->mlm_head) printf("head         guesses hidden words\n");
}

static void print_model(const kpd_model *m, const char *path) {
    kpd_model_desc d = *kpd_model_get_desc(m);
    kpd_tensor t;
    int32_t n = 0;
    int64_t values = 0;
    for (; kpd_model_tensor(m, n, &t); n++) values += (int64_t)t.rows * t.cols;
    printf("%s: %s, %s%s, %zu bytes\n", path, kpd_kind_name(d.kind), kpd_dtype_name(d.dtype),
           d.arithmetic & KPD_WIDE_QKV ? " (16-bit inputs of query, key and value)" : "", kpd_model_size(m));
    printf("encoder      %d layer(s), width %d, %d head(s), feed-forward %d %s%s\n", (int)d.n_layers, (int)d.width,
           (int)d.n_heads, (int)d.ffn_width, kpd_activation_name(d.activation), d.separate_towers ? ", separate towers" : "");
    printf("fingerprint  %016llx\n", (unsigned long long)kpd_model_fingerprint(m, KPD_ITEM));
    printf("vocabulary   %d tokens\n", (int)kpd_tokenizer_size(kpd_model_tokenizer(m)));
    printf("tokens       at most %d a text; %d positions, %d type(s)\n", (int)d.max_tokens, (int)d.n_positions, (int)d.n_types);
    print_head(&d, kpd_model_dim(m));
    printf("tensors      %d with %lld values\n", (int)n, (long long)values);
}

static void print_index(const kpd_index *x, const char *path) {
    kpd_index_info i = index_info(x);
    printf("%s: %s index, %s, %lld bytes\n", path, kpd_index_kind_name(i.kind), kpd_dtype_name(i.storage), (long long)i.bytes);
    if (i.kind == KPD_TREE)
        printf("lists        %d, %d blocks of 16; recall %g\n", (int)i.lists, (int)i.blocks, (double)i.recall);
    if (i.fingerprint) printf("fingerprint  %016llx\n", (unsigned long long)i.fingerprint);
    if (i.partition) printf("partition    %d\n", (int)i.partition);
    if (i.text_bytes) printf("texts        %lld bytes\n", (long long)i.text_bytes);
    printf("vectors      %lld of dim %d, %s\n", (long long)i.count, (int)i.dim, kpd_metric_name(i.metric));
}

static int info_index(job *j) {
    kpd_error e;
    kpd_open_desc d = {0};
    d.verify = true;
    if (kpd_index_open(j->arg[0], &d, &j->index, &e)) return fail_with(j->arg[0], &e), BAD_DATA;
    print_index(j->index, j->arg[0]);
    printf("verified\n");
    return DONE;
}

static int run_info(job *j) {
    kpd_error e;
    kpd_open_desc d = {0};
    kpd_file_kind kind;
    d.verify = true;
    if (!kpd_file_kind_of(j->arg[0], &kind, &e) && kind == KPD_FILE_INDEX) return info_index(j);
    if (kpd_model_open(j->arg[0], &d, &j->student, &e)) return fail_model(j->arg[0], &e), BAD_DATA;
    print_model(j->student, j->arg[0]);
    printf("verified\n");
    return DONE;
}
