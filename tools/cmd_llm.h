// cmd_llm.h - a language model as the teacher: llm prompts writes what it is asked, llm answers reads what it says.
// Part of kpd.c, below cmd_label.h. The files are those of OpenAI's Batch interface, which others read too; tools/llm_run.py
// asks a server what is in one.
// Contents: >>llm_prompts >>llm_verdict >>llm_answers

// >>llm_prompts -------------------------------------------------------------------------------------------------------

static const char LLM_PROMPT[] =        // the paper's
    "Given an item with title: \"{title}\", determine whether the keyphrase: \"{keyphrase}\", is relevant for cpc targeting or "
    "not by giving ONLY yes or no answer";
static const char LLM_PAIR[] = "keyphrase title category*";

typedef struct prompts {
    char text[1 << 16];
    uint32_t about;                     // answers to another prompt, or of another model, are no answers to this
    pair_map seen;
    int64_t rows, again, bytes;
} prompts;

static const char *asked_model(const job *j) { return j->o.llm ? j->o.llm : "mixtral-8x7b-instruct"; }

static bool prompts_template(const job *j, prompts *p) {
    FILE *f = j->o.prompt ? fopen(j->o.prompt, "rb") : NULL;
    size_t n = sizeof LLM_PROMPT - 1;
    if (j->o.prompt && !f) return fail(j->o.prompt, 0, "%s", strerror(errno));
    if (f) {
        n = fread(p->text, 1, sizeof p->text - 1, f);
        fclose(f);
        if (n == sizeof p->text - 1) return fail(j->o.prompt, 0, "is longer than a prompt may be, %zu bytes", n - 1);
        while (n && (p->text[n - 1] == '\n' || p->text[n - 1] == '\r')) n--;
        p->text[n] = 0;
    } else memcpy(p->text, LLM_PROMPT, sizeof LLM_PROMPT);
    if (strlen(p->text) == n && strstr(p->text, "{keyphrase}") && strstr(p->text, "{title}")) return true;
    return fail(j->o.prompt, 0, "expected a text with {keyphrase} and {title}, perhaps {category}");
}

// keyphrase TAB title, perhaps TAB category, which is else empty.
static bool pair_columns(const reader *r, int32_t i, kpd_text *column) {
    int n = split_columns(r, i, column, 3);
    if (n != 2 && n != 3)
        return fail(r->name, r->line[i], "%d columns, expected keyphrase TAB title, perhaps TAB category", n);
    if (n == 2) column[2] = hf_after(column[1], column[1].size);
    return (column[0].size && column[1].size) || fail(r->name, r->line[i], "an empty keyphrase or title");
}

// As the inside of a JSON string; what is not UTF-8 becomes U+FFFD.
static int64_t put_json(FILE *f, kpd_text t) {
    for (size_t i = 0; i < t.size;) {
        unsigned char c = (unsigned char)t.data[i];
        size_t n = hf_utf8((const unsigned char *)t.data + i, t.size - i);
        if (c < 32) fprintf(f, "\\u%04x", (unsigned)c);
        else if (c == '"' || c == '\\') fprintf(f, "\\%c", c);
        else if (n) fwrite(t.data + i, 1, n, f);
        else fputs("\\ufffd", f);
        i += n ? n : 1;
    }
    return (int64_t)t.size;
}

static void put_prompt(FILE *f, prompts *p, const kpd_text *column) {
    static const char *const names[] = {"{keyphrase}", "{title}", "{category}"};
    const char *at = p->text;
    while (*at) {
        size_t n = strcspn(at + 1, "{") + 1, k = 0;
        while (k < 3 && strncmp(at, names[k], strlen(names[k]))) k++;
        if (k < 3) {
            p->bytes += put_json(f, column[k]);
            n = strlen(names[k]);
        } else {
            kpd_text t;
            t.data = at;
            t.size = n;
            p->bytes += put_json(f, t);
        }
        at += n;
    }
}

static bool prompts_chunk(job *j, void *state) {
    prompts *p = (prompts *)state;
    FILE *f = j->out.file;
    for (int32_t i = 0; i < j->text.n; i++) {
        kpd_text column[3];
        pair_entry *known;
        uint64_t hash;
        if (!pair_columns(&j->text, i, column)) return false;
        hash = pair_hash(column);
        if ((known = pair_add(&p->seen, hash)) == NULL) return false;
        p->rows++;
        p->again += known->line != 0;
        if (known->line) continue;
        known->line = j->text.line[i];
        fprintf(f, "{\"custom_id\": \"kpd-%016llx-%08x\", \"method\": \"POST\", \"url\": \"/v1/chat/completions\", ",
                (unsigned long long)hash, (unsigned)p->about);
        fputs("\"body\": {\"model\": \"", f);
        put_json(f, hf_text(asked_model(j)));
        fputs("\", \"messages\": [{\"role\": \"user\", \"content\": \"", f);
        put_prompt(f, p, column);
        fprintf(f, "\"}], \"temperature\": 0, \"max_tokens\": %d%s}}\n", j->o.answer_tokens ? (int)j->o.answer_tokens : 8,
                j->o.logprobs ? ", \"logprobs\": true, \"top_logprobs\": 5" : "");
    }
    return true;
}

// Of all that an answer depends on beside its pair.
static uint32_t prompts_about(const job *j, const char *text) {
    char how[40];
    snprintf(how, sizeof how, "%d %d", (int)j->o.answer_tokens, (int)(j->o.logprobs != 0));
    return (uint32_t)text_hash(text_hash(text_hash(0, hf_text(text)), hf_text(asked_model(j))), hf_text(how));
}

static int run_llm_prompts(job *j) {
    prompts *p = (prompts *)job_alloc(j, 1, sizeof *p);
    bool ok;
    if (!p || !prompts_template(j, p)) return BAD_DATA;
    p->about = prompts_about(j, p->text);
    ok = output_open(&j->out, j->o.output) && open_columns(j, j->arg[0], LLM_PAIR) &&
         each_chunk(j, "pairs", prompts_chunk, p) && output_commit(&j->out);
    if (ok) note(NULL, "%lld pairs: %zu prompts of %.0f bytes on average, %lld pairs again", (long long)p->rows, p->seen.n,
                 p->seen.n ? (double)p->bytes / (double)p->seen.n : 0, (long long)p->again);
    free(p->seen.at);
    return ok ? DONE : BAD_DATA;
}

// >>llm_verdict  yes or no out of what a language model says. -----------------------------------------------------------

typedef enum llm_verdict { ANSWER_NO, ANSWER_YES, ANSWER_REFUSED, ANSWER_UNCLEAR, N_VERDICTS } llm_verdict;

static bool in_word(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || (unsigned char)c >= 128;
}

// Bytes of the quotation mark, dash or full stop of Unicode at the beginning: U+00AB and U+00BB, U+2000 to U+203F, U+3000 to
// U+303F, U+FF01 to U+FF0F; 0 = there is none.
static size_t at_mark(kpd_text t) {
    const unsigned char *c = (const unsigned char *)t.data;
    if (t.size > 1 && c[0] == 0xC2 && (c[1] == 0xAB || c[1] == 0xBB)) return 2;
    if (t.size < 3) return 0;
    if ((c[0] == 0xE2 || c[0] == 0xE3) && c[1] == 0x80) return 3;
    return c[0] == 0xEF && c[1] == 0xBC && c[2] > 0x80 && c[2] < 0x90 ? 3 : 0;
}

// The lower case of a code point of Latin, Greek or Cyrillic: those of two bytes in UTF-8, as are theirs.
static unsigned lower_letter(unsigned c) {
    bool pairs_odd = (c >= 0x139 && c <= 0x148) || (c >= 0x179 && c <= 0x17E);      // the capital of a pair is the odd one
    if ((c >= 0xC0 && c <= 0xDE && c != 0xD7) || (c >= 0x391 && c <= 0x3AB) || (c >= 0x410 && c <= 0x42F)) return c + 32;
    if (c >= 0x400 && c <= 0x40F) return c + 80;
    if (c >= 0x388 && c <= 0x38A) return c + 37;
    if (c == 0x386 || c == 0x38C || c == 0x38E || c == 0x38F) return c == 0x386 ? 0x3AC : c == 0x38C ? 0x3CC : c + 63;
    if (c < 0x100 || c > 0x17E || c == 0x130 || c == 0x131 || c == 0x138 || c == 0x149 || c == 0x178) return c;
    return pairs_odd ? c + c % 2 : c | 1;
}

// The next word in lower case; empty at the end. What does not fit is cut.
static void next_word(kpd_text *t, char out[32]) {
    size_t n = 0;
    while (t->size && (at_mark(*t) || !in_word(*t->data))) *t = hf_after(*t, at_mark(*t) ? at_mark(*t) : 1);
    while (t->size && !at_mark(*t) && in_word(*t->data)) {
        const unsigned char *c = (const unsigned char *)t->data;
        bool two = c[0] >= 0xC3 && c[0] < 0xD2 && t->size > 1 && (c[1] & 0xC0) == 0x80;
        unsigned low = two ? lower_letter((unsigned)(c[0] & 31) << 6 | (c[1] & 63u)) : 0;
        if (two && n < 30) { out[n++] = (char)(0xC0 | low >> 6); out[n++] = (char)(0x80 | (low & 63)); }
        else if (!two && n < 31) out[n++] = (char)(c[0] >= 'A' && c[0] <= 'Z' ? c[0] + 32 : c[0]);
        *t = hf_after(*t, two ? 2 : 1);
    }
    out[n] = 0;
}

// Whether a list with commas has the word.
static bool is_listed(const char *list, const char *word) {
    size_t n = strlen(word);
    while (n && *list) {
        size_t m = strcspn(list, ",");
        if (m == n && !memcmp(list, word, n)) return true;
        list += m + (list[m] == ',');
    }
    return false;
}

static const char *yes_words(const job *j) { return j->o.yes ? j->o.yes : "yes"; }
static const char *no_words(const job *j) { return j->o.no ? j->o.no : "no"; }

// The words of --yes or --no in lower case, with commas; `out` becomes the option.
static bool listed_words(const char *name, const char **list, char out[400]) {
    const char *at = *list;
    size_t n = 0;
    while (at) {
        const char *comma = strchr(at, ',');
        kpd_text t;
        char word[32], more[32];
        t.data = at; t.size = comma ? (size_t)(comma - at) : strlen(at);
        next_word(&t, word);
        next_word(&t, more);
        if (!word[0] || more[0] || n + strlen(word) + 2 > 400)
            return usage("%s %s: expected words with commas between them", name, *list) == DONE;
        n += (size_t)snprintf(out + n, 400 - n, "%s%s", n ? "," : "", word);
        at = comma ? comma + 1 : NULL;
    }
    if (*list) *list = out;
    return true;
}

// Whether two lists have a word in common, which then says nothing.
static bool share_a_word(const char *a, const char *b) {
    for (char word[32]; *a; a += *a == ',') {
        size_t n = strcspn(a, ",");
        snprintf(word, sizeof word, "%.*s", (int)n, a);
        if (is_listed(b, word)) return true;
        a += n;
    }
    return false;
}

// The first word tells, or else the only one of both kinds that stands anywhere. What was thought before counts for nothing.
static llm_verdict read_verdict(const job *j, kpd_text t) {
    static const char thought[] = "</think>", refusals[] = "sorry,cannot,unable,apologize,apologise,apologies";
    bool yes = false, no = false, refused = false;
    char word[32];
    for (size_t i = t.size; i-- > 0;)
        if (hf_starts(hf_after(t, i), thought)) { t = hf_after(t, i + sizeof thought - 1); break; }
    for (bool first = true; next_word(&t, word), word[0]; first = false) {
        yes = yes || is_listed(yes_words(j), word);
        no = no || is_listed(no_words(j), word);
        if (first && yes != no) return yes ? ANSWER_YES : ANSWER_NO;
        refused = refused || is_listed(refusals, word);
    }
    return refused ? ANSWER_REFUSED : yes == no ? ANSWER_UNCLEAR : yes ? ANSWER_YES : ANSWER_NO;
}

// The first element of an array; -1 = none.
static int32_t json_first(const hf_json *x, int32_t array) {
    return array >= 0 && x->node[array].type == HF_ARRAY ? x->node[array].child : -1;
}

// The probability of yes against no at the first token that is one of them. Where one of the two is not among the likeliest
// tokens, what these leave of 1 is its.
static bool read_probability(const job *j, const hf_json *x, int32_t tokens, float *out) {
    for (int32_t i = json_first(x, tokens); i >= 0; i = x->node[i].next) {
        int32_t token = hf_get(x, i, "token"), likely = hf_get(x, i, "top_logprobs");
        int32_t k = json_first(x, likely);
        double p[2] = {0, 0}, rest = 1;
        char word[32];
        kpd_text t;
        if (token < 0 || x->node[token].type != HF_STRING) continue;
        t = x->node[token].string;
        next_word(&t, word);
        if (!is_listed(yes_words(j), word) && !is_listed(no_words(j), word)) continue;
        for (k = k < 0 ? i : k; k >= 0; k = k == i ? -1 : x->node[k].next) {
            int32_t text = hf_get(x, k, "token"), log = hf_get(x, k, "logprob");
            double share = log < 0 || x->node[log].type != HF_NUMBER ? 0 : exp(fmin(x->node[log].number, 0));
            if (text < 0 || x->node[text].type != HF_STRING) continue;
            t = x->node[text].string;
            next_word(&t, word);
            rest -= share;
            if (is_listed(yes_words(j), word)) p[1] += share;
            else if (is_listed(no_words(j), word)) p[0] += share;
        }
        for (int no = 0; no < 2; no++) p[no] = p[no] > 0 ? p[no] : fmax(rest, 0);
        *out = (float)(p[1] / (p[0] + p[1]));
        return p[0] + p[1] > 0;
    }
    return false;
}

// >>llm_answers -------------------------------------------------------------------------------------------------------

enum { UNMET_NO, UNMET_YES, MET };

typedef struct answers {
    pair_map said;                      // by pair: the answer's line, the label, and what it says until its pair is met
    bad_rows bad;
    double price[2];                    // of a million tokens asked, and answered
    uint64_t about; int64_t about_line; // of the prompt whose answers count: of --of, or of the first line, and which that is
    int64_t n, passed_over, verdict[N_VERDICTS], failed, again, hard, pairs, labels, unanswered, prompt_tokens, answer_tokens;
} answers;

// Nothing to learn from, but no fault of the file: counted, and with --bad set aside.
static bool set_aside(answers *a, int64_t line, const char *why, kpd_text row) {
    if (!a->bad.out.file) return true;
    bad_put(&a->bad, line, why, row);
    return output_ok(&a->bad.out);
}

static void count_tokens(const hf_json *x, int32_t usage, const char *key, int64_t *sum) {
    int32_t n = hf_get(x, usage, key);
    if (n >= 0 && x->node[n].type == HF_NUMBER && x->node[n].exact && x->node[n].integer > 0) *sum += x->node[n].integer;
}

// kpd-PAIR-PROMPT in hexadecimal digits.
static bool answer_id(kpd_text id, uint64_t *pair, uint64_t *about) {
    char text[32], *end = text, *rest = text;
    if (id.size != 29 || !hf_starts(id, "kpd-") || id.data[20] != '-') return false;
    memcpy(text, id.data, 29);
    text[20] = text[29] = 0;
    *pair = strtoull(text + 4, &end, 16);
    *about = strtoull(text + 21, &rest, 16);
    return end == text + 20 && rest == text + 29 && *pair;
}

// What a line says: its pair, and the label where there is one.
static bool answer_read(const job *j, answers *a, const hf_json *x, int64_t line, kpd_text row) {
    static const char *const why[] = {"", "", "refused", "neither yes nor no"};
    int32_t id = hf_get(x, 0, "custom_id"), body = hf_get(x, hf_get(x, 0, "response"), "body");
    int32_t choice = json_first(x, hf_get(x, body, "choices")), content = hf_get(x, hf_get(x, choice, "message"), "content");
    pair_entry *p;
    llm_verdict v;
    float label;
    uint64_t hash, about;
    if (id < 0 || x->node[id].type != HF_STRING || !answer_id(x->node[id].string, &hash, &about))
        return bad_row(j, &a->bad, line, row, "has no custom_id of `kpd llm prompts`");
    if (!j->o.of && !a->about_line) { a->about = about; a->about_line = line; }
    if (a->about != about && j->o.of) { a->passed_over++; return true; }
    if (a->about != about)
        return fail(j->text.name, line, "answers another prompt, or is of another model, than line %lld; --of PROMPTS.jsonl "
                    "says which count", (long long)a->about_line);
    a->n++;
    count_tokens(x, hf_get(x, body, "usage"), "prompt_tokens", &a->prompt_tokens);
    count_tokens(x, hf_get(x, body, "usage"), "completion_tokens", &a->answer_tokens);
    if (content < 0 || x->node[content].type != HF_STRING) {
        a->failed++;
        return set_aside(a, line, "no answer", row);
    }
    v = read_verdict(j, x->node[content].string);
    label = v == ANSWER_YES;
    if (j->o.soft && v < ANSWER_REFUSED &&
        !read_probability(j, x, hf_get(x, hf_get(x, choice, "logprobs"), "content"), &label)) a->hard++;
    a->verdict[v]++;
    if (v >= ANSWER_REFUSED) return set_aside(a, line, why[v], row);
    if ((p = pair_add(&a->said, hash)) == NULL) return false;
    if (p->line && (p->value >= 0.5f) != (label >= 0.5f))
        return bad_row(j, &a->bad, line, row, "the same question as in line %lld, with the other answer", (long long)p->line);
    if (p->line) { a->again++; return true; }
    p->line = line;
    p->value = label;
    p->count = v == ANSWER_YES ? UNMET_YES : UNMET_NO;
    return true;
}

static bool answers_chunk(job *j, void *state) {
    answers *a = (answers *)state;
    kpd_allocator none = {NULL, NULL, NULL};
    for (int32_t i = 0; i < j->text.n; i++) {
        kpd_text row = j->text.lines[i];
        char *copy = (char *)hf_alloc(&none, row.size + 1);
        hf_json x;
        kpd_error e;
        bool ok;
        if (!copy) return fail(j->text.name, j->text.line[i], "out of memory: a line of %zu bytes", row.size);
        memcpy(copy, row.data, row.size);
        copy[row.size] = 0;
        if (hf_json_take(&x, "byte", copy, row.size, 0, none, &e)) {
            if (!bad_row(j, &a->bad, j->text.line[i], row, "%s", e.message)) return false;
            continue;
        }
        ok = answer_read(j, a, &x, j->text.line[i], row);
        hf_json_free(&x);
        if (!ok) return false;
    }
    return true;
}

// Each pair with its label, in the order in which they were asked.
static bool answers_pairs(job *j, void *state) {
    answers *a = (answers *)state;
    for (int32_t i = 0; i < j->text.n; i++) {
        kpd_text column[3];
        pair_entry *p;
        if (!pair_columns(&j->text, i, column)) return false;
        a->pairs++;
        p = a->said.room ? pair_slot(&a->said, pair_hash(column)) : NULL;
        if (!p || !p->hash) a->unanswered++;
        else if (p->count != MET) {     // a pair that comes again was asked once
            p->count = MET;
            a->labels++;
            fwrite(column[0].data, 1, pair_size(column), j->out.file);
            fprintf(j->out.file, "%s\t%.6g\n", column[2].data == column[1].data + column[1].size ? "\t" : "", (double)p->value);
        }
    }
    return true;
}

// Answers whose question is not among the pairs.
// They count for no answer.
static bool answers_stray(const job *j, answers *a) {
    kpd_text none = {"", 0};
    int64_t first = 0;
    for (size_t i = 0; i < a->said.room; i++) {
        const pair_entry *p = &a->said.at[i];
        if (!p->hash || p->count == MET) continue;
        if (a->bad.out.file && !bad_row(j, &a->bad, p->line, none, "answers no pair of %s", j->arg[0])) return false;
        a->verdict[p->count == UNMET_YES ? ANSWER_YES : ANSWER_NO]--;
        if (!first || p->line < first) first = p->line;
    }
    return !first || a->bad.out.file || fail(j->arg[1], first, "answers no pair of %s", j->arg[0]);
}

static bool answers_run(job *j, answers *a) {
    bool ok = output_open(&j->out, j->o.output) && bad_open(j, &a->bad) && reader_open(&j->text, j->arg[1]) &&
              each_chunk(j, "answers", answers_chunk, a);
    reader_close(&j->text);
    ok = ok && open_columns(j, j->arg[0], LLM_PAIR) && each_chunk(j, "pairs", answers_pairs, a) && answers_stray(j, a) &&
         output_commit(&j->out) && bad_commit(&a->bad);
    if (!ok) return false;
    note(NULL, "%lld answers: %lld yes, %lld no, %lld refused, %lld neither, %lld failed, %lld again, %lld set aside",
         (long long)a->n, (long long)a->verdict[ANSWER_YES], (long long)a->verdict[ANSWER_NO],
         (long long)a->verdict[ANSWER_REFUSED], (long long)a->verdict[ANSWER_UNCLEAR], (long long)a->failed,
         (long long)a->again, (long long)a->bad.n);
    if (a->passed_over) note(NULL, "%lld answers to other prompts are passed over", (long long)a->passed_over);
    if (j->o.soft && a->hard) note(NULL, "%lld answers have no probability of yes and no, and are 0 or 1", (long long)a->hard);
    note(NULL, "%lld pairs: %lld labels, %lld without an answer; %lld tokens asked, %lld answered", (long long)a->pairs,
         (long long)a->labels, (long long)a->unanswered, (long long)a->prompt_tokens, (long long)a->answer_tokens);
    if (j->o.price)
        note(NULL, "they cost %.6g", (a->price[0] * (double)a->prompt_tokens + a->price[1] * (double)a->answer_tokens) / 1e6);
    return true;
}

// The prompt whose answers count, by the first id of --of.
static bool answers_of(const job *j, answers *a) {
    static const char begin[] = "{\"custom_id\": \"";
    FILE *f = j->o.of ? fopen(j->o.of, "rb") : NULL;
    char line[64] = "";
    kpd_text id;
    uint64_t pair;
    bool ok;
    if (!j->o.of) return true;
    if (!f) return fail(j->o.of, 0, "%s", strerror(errno));
    ok = fread(line, 1, sizeof line - 1, f) > 0 && !strncmp(line, begin, sizeof begin - 1);
    fclose(f);
    id.data = line + sizeof begin - 1; id.size = 29;
    return (ok && answer_id(id, &pair, &a->about)) || fail(j->o.of, 1, "not a file of `kpd llm prompts`");
}

static bool answers_price(const job *j, answers *a) {
    char *end = NULL;
    if (!j->o.price) return true;
    a->price[0] = strtod(j->o.price, &end);
    if (end != j->o.price && *end == ',') a->price[1] = strtod(end + 1, &end);
    else end = NULL;
    if (end && end[-1] != ',' && !*end && a->price[0] >= 0 && a->price[1] >= 0 && isfinite(a->price[0] + a->price[1]))
        return true;
    return usage("--price %s: expected two numbers with a comma, of a million tokens asked, and answered", j->o.price) == DONE;
}

static int run_llm_answers(job *j) {
    answers a;
    char yes[400], no[400];
    bool ok;
    memset(&a, 0, sizeof a);
    if (!answers_price(j, &a)) return BAD_USAGE;
    if (!listed_words("--yes", &j->o.yes, yes) || !listed_words("--no", &j->o.no, no)) return BAD_USAGE;
    if (share_a_word(yes_words(j), no_words(j))) return usage("llm answers: --yes and --no have a word in common");
    if (!answers_of(j, &a)) return BAD_DATA;
    if (!strcmp(j->arg[0], "-") && !strcmp(j->arg[1], "-")) return usage("llm answers: standard input is one file, not two");
    ok = answers_run(j, &a);
    if (!ok) output_abandon(&a.bad.out);
    free(a.said.at);
    return ok ? DONE : BAD_DATA;
}
