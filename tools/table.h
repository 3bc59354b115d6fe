// table.h - text as people have it, a record at a time: lines of TAB-separated cells, CSV or JSON lines. Static functions.
//
//     table t;
//     bool ok = table_open(&t, path, file, TABLE_BY_NAME, "title category?", NULL);
//     while (ok && (ok = table_next(&t, &line)) && line.data) ...     // title TAB category; t.line is where it stands
//     if (!ok) ... t.why, in line t.line, 0 = of the file
//
// Whatever the form, a record comes as one line of the cells that are wanted, in that order, with TABs between them; a TAB or
// the end of a line within a cell becomes a space. What is wanted are words, with a ? those that may be missing, the last of
// which are then left out, and with a * those whose cell is then empty. A word that is wanted several times takes as many
// columns, in their order: of its name, or of NAME_1, NAME_2 and so on; of JSON also the texts of an array.
// Which cell is which: by the names of CSV's first line or of JSON's keys; of TAB-separated text by order, unless all cells of
// the first line are names (two or more). `columns` says otherwise: words in the file's order, - skips one; or WORD=NAME, by
// name. A file that is evidently of another form is refused.
// With `items`, read by table_items_read, a column `item` holds an item's id, and title and category come from there.
#ifndef TABLE_H
#define TABLE_H

#include "../kpd.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#if defined(__GNUC__) || defined(__clang__)
#define TABLE_UNUSED __attribute__((unused))
#else
#define TABLE_UNUSED
#endif

enum { TABLE_MAX_WANTED = 32, TABLE_MAX_CELLS = 256, TABLE_MAX_NAME = 64 };

typedef enum table_format { TABLE_BY_NAME, TABLE_TSV, TABLE_CSV, TABLE_JSONL } table_format;
#define TABLE_FORMATS "auto tsv csv jsonl"

typedef struct table_column {
    char word[TABLE_MAX_NAME], name[TABLE_MAX_NAME];    // what it is here, and in the file
    bool optional, kept;                // may be missing; is then an empty cell
    int at;                             // the cell, -1 = the file has none
} table_column;

typedef struct table_item { size_t id, id_size, text, text_size; int64_t line; } table_item;

typedef struct table_items {            // by id; text: title, or title TAB category
    char *text; size_t size, room;
    table_item *list; size_t n, capacity;
    size_t *bucket, n_buckets;          // number of an item plus 1, 0 = empty
    const char *name;
} table_items;

typedef struct table {
    FILE *file;
    const table_items *items;           // NULL = none
    table_format format;
    bool as_it_is, begun;               // lines need no change; it is known what they hold
    bool forced;                        // the format was said, not guessed
    bool header;                        // the first line has names
    char separator;
    table_column column[TABLE_MAX_WANTED]; int n_columns;
    int main;                           // the first that is required, or the first
    const char *columns;                // what the caller says of them, or NULL
    int64_t line, lines, bytes;         // where the record in hand begins, from 1; read so far
    char *raw; size_t raw_size, raw_room, raw_line;
    char *get; size_t get_room;         // of getline
    char *out; size_t out_size, out_room;
    kpd_text cell[TABLE_MAX_CELLS]; int n_cells;
    char why[400];
} table;

#ifdef __GNUC__
__attribute__((format(printf, 2, 3)))
#endif
static bool table_fail(table *t, const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(t->why, sizeof t->why, format, args);
    va_end(args);
    return false;
}

static void table_close(table *t) {
    free(t->raw);
    free(t->get);
    free(t->out);
    memset(t, 0, sizeof *t);
}

// Room for n more bytes in a block.
static bool table_grow(table *t, char **block, size_t *room, size_t size, size_t n) {
    char *p;
    if (size + n + 1 <= *room) return true;
    p = (char *)realloc(*block, (size + n + 1) * 2);
    if (!p) return table_fail(t, "out of memory: a line of %zu bytes", size + n);
    *block = p;
    *room = (size + n + 1) * 2;
    return true;
}

// ---- names -----------------------------------------------------------------------------------------------------------

#define TABLE_NAMES " keyphrase title category query label score assistant id item text impressions clicks position negative "

static bool table_is(kpd_text t, const char *name) { return t.size == strlen(name) && !memcmp(t.data, name, t.size); }

// Whether t is NAME, or NAME_1, NAME_2 and so on.
static bool table_is_one_of(kpd_text t, const char *name) {
    size_t n = strlen(name), digits = n + 1;
    if (t.size <= n + 1 || memcmp(t.data, name, n) || t.data[n] != '_') return table_is(t, name);
    while (digits < t.size && t.data[digits] >= '0' && t.data[digits] <= '9') digits++;
    return digits == t.size;
}

static bool table_is_name(kpd_text t) {
    char word[TABLE_MAX_NAME + 2];
    if (table_is_one_of(t, "negative")) return true;
    if (!t.size || t.size >= TABLE_MAX_NAME || memchr(t.data, ' ', t.size)) return false;
    snprintf(word, sizeof word, " %.*s ", (int)t.size, t.data);
    return strstr(TABLE_NAMES, word) != NULL;
}

// The column of a word: of one that is wanted several times the first without a cell, or the last.
static table_column *table_word(table *t, const char *word, size_t n) {
    table_column *found = NULL;
    for (int i = 0; i < t->n_columns && !(found && found->at < 0); i++)
        if (strlen(t->column[i].word) == n && !memcmp(t->column[i].word, word, n)) found = &t->column[i];
    return found;
}

// Whether column i's word is wanted once more, before it or behind it.
static bool table_repeats(const table *t, int i) {
    return (i && !strcmp(t->column[i - 1].word, t->column[i].word)) ||
           (i + 1 < t->n_columns && !strcmp(t->column[i + 1].word, t->column[i].word));
}

static void table_want(table *t, const char *wanted) {
    while (*wanted && t->n_columns < TABLE_MAX_WANTED) {
        table_column *c = &t->column[t->n_columns++];
        size_t n = strcspn(wanted, " ");
        c->kept = wanted[n - 1] == '*';
        c->optional = c->kept || wanted[n - 1] == '?';
        snprintf(c->word, sizeof c->word, "%.*s", (int)(n - c->optional), wanted);
        memcpy(c->name, c->word, sizeof c->name);
        c->at = -1;
        wanted += n + (wanted[n] == ' ');
    }
    while (t->main + 1 < t->n_columns && t->column[t->main].optional) t->main++;
    if (t->column[t->main].optional) t->main = 0;
}

static bool table_missing(table *t) {
    char names[160] = "";
    bool none = true;                   // of those that may be missing, all are
    for (int i = 0; i < t->n_columns; i++) none = none && t->column[i].optional && t->column[i].at < 0;
    for (int i = 0; i < t->n_columns; i++) {
        if (!none && (t->column[i].optional || t->column[i].at >= 0)) continue;
        for (int k = 0; k < t->n_cells; k++) {
            size_t n = strlen(names);
            snprintf(names + n, sizeof names - n, "%s%.*s", k ? " " : "", (int)(t->cell[k].size > 30 ? 30 : t->cell[k].size),
                     t->cell[k].data);
        }
        return table_fail(t, "there is no column '%s' among: %s; --columns (in a recipe, columns) says which is which",
                          t->column[i].name, names);
    }
    return true;
}

// `columns` as words in the file's order. A word that is not wanted is passed over.
static bool table_by_order(table *t) {
    int at = 0;
    for (const char *p = t->columns; *p; p += strspn(p, ", "), at++) {
        size_t n = strcspn(p, ", ");
        table_column *c = table_word(t, p, n);
        if (c && c->at >= 0) return table_fail(t, "columns: '%s' twice", c->word);
        if (c) c->at = at;
        p += n;
    }
    for (int i = 0; i < t->n_columns; i++)
        if (t->column[i].at < 0 && !t->column[i].optional)
            return table_fail(t, "columns: '%s' is missing in '%.200s'", t->column[i].word, t->columns);
    return true;
}

// `columns` as WORD=NAME, or WORD alone where both are the same.
static bool table_renames(table *t) {
    for (const char *p = t->columns; *p; p += strspn(p, ", ")) {
        size_t n = strcspn(p, ", "), word = strcspn(p, "=, ");
        table_column *c = table_word(t, p, word);
        if (n - word >= TABLE_MAX_NAME) return table_fail(t, "columns: '%.*s' is too long", (int)n, p);
        for (int i = 0; i < t->n_columns && word < n; i++)
            if (c && !strcmp(t->column[i].word, c->word))
                snprintf(t->column[i].name, sizeof t->column[i].name, "%.*s", (int)(n - word - 1), p + word + 1);
        p += n;
    }
    return true;
}

// By the names that stand in the cells of the first line. `text` serves as the main word.
static bool table_by_name(table *t) {
    for (int k = 0; k < t->n_cells; k++)
        for (int i = 0; i < t->n_columns; i++) {
            bool many = table_repeats(t, i);
            if (t->column[i].at >= 0) continue;
            if (!(many ? table_is_one_of(t->cell[k], t->column[i].name) : table_is(t->cell[k], t->column[i].name))) continue;
            t->column[i].at = k;
            if (many) break;
        }
    for (int k = 0; k < t->n_cells && t->column[t->main].at < 0; k++)
        if (table_is(t->cell[k], "text")) t->column[t->main].at = k;
    return table_missing(t);
}

// ---- records ---------------------------------------------------------------------------------------------------------

// Appends the next line to the record, with its end. False with why[0] = 0 at the end of the file.
static bool table_line(table *t) {
    ssize_t got = getline(&t->get, &t->get_room, t->file);
    t->why[0] = 0;
    if (got < 0) {
        if (ferror(t->file) || !feof(t->file)) table_fail(t, "%s", strerror(errno));
        return false;
    }
    if (!table_grow(t, &t->raw, &t->raw_room, t->raw_size, (size_t)got)) return false;
    memcpy(t->raw + t->raw_size, t->get, (size_t)got);
    t->raw_line = t->raw_size;
    t->raw_size += (size_t)got;
    t->bytes += got;
    t->lines++;
    return true;
}

static void table_chop(table *t) {
    if (t->raw_size && t->raw[t->raw_size - 1] == '\n') t->raw_size--;
    if (t->raw_size && t->raw[t->raw_size - 1] == '\r') t->raw_size--;
}

static bool table_add_cell(table *t, char *data, size_t size) {
    if (t->n_cells == TABLE_MAX_CELLS) return table_fail(t, "more than %d cells", TABLE_MAX_CELLS);
    t->cell[t->n_cells].data = data;
    t->cell[t->n_cells++].size = size;
    return true;
}

static bool table_split(table *t, char separator) {
    char *p = t->raw, *end = t->raw + t->raw_size;
    for (t->n_cells = 0;; p++) {
        char *next = (char *)memchr(p, separator, (size_t)(end - p));
        if (!next) return table_add_cell(t, p, (size_t)(end - p));
        if (!table_add_cell(t, p, (size_t)(next - p))) return false;
        p = next;
    }
}

// A quoted cell, whose text is moved together; it may go on over lines, which are read as they are needed, and then move. *at:
// where the quote stands, then behind the closing one.
static bool table_quoted(table *t, size_t *at, size_t *begin, size_t *size) {
    size_t from = *at + 1, to = from;
    *begin = from;
    for (;; from++) {
        if (from == t->raw_size) {
            if (table_line(t)) { from--; continue; }
            return t->why[0] ? false : table_fail(t, "a quote that nothing closes");
        }
        if (t->raw[from] == '"') {
            if (from + 1 == t->raw_size || t->raw[from + 1] != '"') break;
            from++;
        }
        t->raw[to++] = t->raw[from];
    }
    *size = to - *begin;
    *at = from + 1;
    return true;
}

// The cells of a CSV record; they are noted as offsets first, since raw may move.
static bool table_csv(table *t) {
    size_t at = 0, begin[TABLE_MAX_CELLS], size[TABLE_MAX_CELLS];
    int n = 0;
    for (;; at++) {
        if (n == TABLE_MAX_CELLS) return table_fail(t, "more than %d cells", TABLE_MAX_CELLS);
        begin[n] = at;
        if (at < t->raw_size && t->raw[at] == '"') {
            if (!table_quoted(t, &at, &begin[n], &size[n])) return false;
        } else {
            while (at < t->raw_size && t->raw[at] != t->separator && t->raw[at] != '\n' && t->raw[at] != '\r') at++;
            size[n] = at - begin[n];
        }
        n++;
        if (at == t->raw_size || t->raw[at] == '\n' || (t->raw[at] == '\r' && at + 2 >= t->raw_size)) break;
        if (t->raw[at] != t->separator)
            return table_fail(t, "cell %d: expected '%c' behind it (a quote within quotes is written twice)", n, t->separator);
    }
    for (t->n_cells = 0; t->n_cells < n; t->n_cells++) {
        t->cell[t->n_cells].data = t->raw + begin[t->n_cells];
        t->cell[t->n_cells].size = size[t->n_cells];
    }
    return true;
}

// ---- JSON ------------------------------------------------------------------------------------------------------------

static char *table_blank(char *p, char *end) {
    while (p < end && (*p == ' ' || *p == '\t' || *p == '\r' || *p == '\n')) p++;
    return p;
}

static bool table_hex(const char *p, const char *end, uint32_t *out) {
    *out = 0;
    if (end - p < 4) return false;
    for (int i = 0; i < 4; i++) {
        char c = p[i];
        bool digit = c >= '0' && c <= '9', letter = (c | 32) >= 'a' && (c | 32) <= 'f';
        if (!digit && !letter) return false;
        *out = *out << 4 | (uint32_t)(digit ? c - '0' : (c | 32) - 'a' + 10);
    }
    return true;
}

static char *table_utf8(char *to, uint32_t c) {
    if (c < 0x80) { *to++ = (char)c; return to; }
    if (c < 0x800) *to++ = (char)(0xC0 | c >> 6);
    else {
        if (c < 0x10000) *to++ = (char)(0xE0 | c >> 12);
        else {
            *to++ = (char)(0xF0 | c >> 18);
            *to++ = (char)(0x80 | (c >> 12 & 63));
        }
        *to++ = (char)(0x80 | (c >> 6 & 63));
    }
    *to++ = (char)(0x80 | (c & 63));
    return to;
}

// An escape at p, behind the backslash; half a pair of surrogates is U+FFFD. NULL = none.
static char *table_escape(char *p, char *end, char **to) {
    static const char names[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
    const char *at = p < end && *p ? strchr(names, *p) : NULL;
    uint32_t c, low;
    if (at) { *(*to)++ = values[at - names]; return p + 1; }
    if (p == end || *p != 'u' || !table_hex(p + 1, end, &c)) return NULL;
    p += 5;
    if (c >= 0xD800 && c < 0xDC00 && end - p >= 6 && p[0] == '\\' && p[1] == 'u' && table_hex(p + 2, end, &low) &&
        low >= 0xDC00 && low < 0xE000) {
        c = 0x10000 + ((c - 0xD800) << 10) + (low - 0xDC00);
        p += 6;
    } else if (c >= 0xD800 && c < 0xE000) c = 0xFFFD;
    *to = table_utf8(*to, c);
    return p;
}

// A string at the quote p, unescaped in its place. Returns what is behind it, or NULL.
static char *table_string(char *p, char *end, kpd_text *out) {
    char *to = ++p;
    out->data = to;
    while (p < end && *p != '"') {
        if (*p == '\\') {
            p = table_escape(p + 1, end, &to);
            if (!p) return NULL;
        } else *to++ = *p++;
    }
    out->size = (size_t)(to - out->data);
    return p < end ? p + 1 : NULL;
}

// What is behind the array or object at p, or NULL.
static char *table_nested(char *p, char *end) {
    int depth = 0;
    kpd_text skipped;
    while (p && p < end) {
        if (*p == '"') { p = table_string(p, end, &skipped); continue; }
        depth += (*p == '[' || *p == '{') - (*p == ']' || *p == '}');
        p++;
        if (!depth) return p;
    }
    return NULL;
}

static size_t table_digits(kpd_text t, size_t at) {
    size_t from = at;
    while (at < t.size && t.data[at] >= '0' && t.data[at] <= '9') at++;
    return at - from;
}

static bool table_is_number(kpd_text t) {
    size_t at = t.size && t.data[0] == '-', n = table_digits(t, at);
    if (!n || (n > 1 && t.data[at] == '0')) return false;
    at += n;
    if (at < t.size && t.data[at] == '.') {
        n = table_digits(t, ++at);
        if (!n) return false;
        at += n;
    }
    if (at < t.size && (t.data[at] | 32) == 'e') {
        at++;
        at += at < t.size && (t.data[at] == '+' || t.data[at] == '-');
        n = table_digits(t, at);
        if (!n) return false;
        at += n;
    }
    return at == t.size;
}

// A number, true (as 1), false (as 0) or null (no text) at p.
static char *table_bare(table *t, char *p, char *end, kpd_text *out) {
    char *begin = p;
    while (p < end && !strchr(",]} \t\r\n", *p)) p++;
    out->data = begin;
    out->size = (size_t)(p - begin);
    if (table_is_number(*out)) return p;
    if (table_is(*out, "null")) { out->data = NULL; out->size = 0; return p; }
    if (table_is(*out, "true") || table_is(*out, "false")) { *begin = *begin == 't' ? '1' : '0'; out->size = 1; return p; }
    table_fail(t, "'%.*s' is no value: expected a text in quotes, a number, true, false or null",
               (int)(out->size > 60 ? 60 : out->size), out->data);
    return NULL;
}

// Any value: *out is its text; of an array or object, which is passed over, and of null, no text. Returns what is behind it;
// NULL = t->why.
static char *table_value(table *t, char *p, char *end, kpd_text *out) {
    bool text = p < end && *p == '"', nested = p < end && (*p == '[' || *p == '{');
    out->data = NULL; out->size = 0;
    if (!text && !nested) return table_bare(t, p, end, out);
    p = text ? table_string(p, end, out) : table_nested(p, end);
    if (!p) table_fail(t, "a value that does not end");
    return p;
}

// The column of a word that is wanted several times into which a value of this key goes: the first without a cell, -1 = there
// is none. *many: whether the key is such a word's.
static int table_next_of(const table *t, kpd_text key, bool *many) {
    *many = false;
    for (int i = 0; i < t->n_columns; i++) {
        if (!table_repeats(t, i) || !table_is_one_of(key, t->column[i].name)) continue;
        *many = true;
        if (t->column[i].at < 0) return i;
    }
    return -1;
}

// A value, or the values of an array, at p, to the columns of a word that is wanted several times. An array without values
// makes an empty cell, so that it is known that there is such a column.
static char *table_values(table *t, kpd_text key, char *p, char *end) {
    bool array = p < end && *p == '[', many;
    if (array) p = table_blank(p + 1, end);
    for (bool first = true;; first = false) {
        int at = table_next_of(t, key, &many);
        kpd_text value = {NULL, 0};
        if (array && p < end && *p == ']' && (!first || at < 0)) return p + 1;
        if (at < 0) { table_fail(t, "too many of '%.*s'", (int)(key.size > 40 ? 40 : key.size), key.data); return NULL; }
        if (!(array && p < end && *p == ']')) p = table_value(t, p, end, &value);
        if (!p) return NULL;
        t->cell[at] = value;
        t->column[at].at = at;
        if (!array) return p;
        p = table_blank(p, end);
        if (p < end && *p == ',') p = table_blank(p + 1, end);
        else if (p == end || *p != ']') { table_fail(t, "expected a comma or ]"); return NULL; }
    }
}

// An object's values as cells of the wanted columns; `text` serves as the main one.
static bool table_json(table *t) {
    char *p = table_blank(t->raw, t->raw + t->raw_size), *end = t->raw + t->raw_size;
    kpd_text text = {NULL, 0};
    for (int i = 0; i < t->n_columns; i++) { t->cell[i] = text; t->column[i].at = -1; }
    t->n_cells = t->n_columns;
    if (p == end || *p++ != '{') return table_fail(t, "expected a JSON object, {\"%s\": ...}", t->column[t->main].name);
    for (p = table_blank(p, end); p < end && *p != '}'; p = table_blank(p, end)) {
        kpd_text key, value;
        bool many;
        p = *p == '"' ? table_string(p, end, &key) : NULL;
        p = p ? table_blank(p, end) : NULL;
        if (!p || p == end || *p != ':') return table_fail(t, "expected \"name\": value");
        p = table_blank(p + 1, end);
        value.data = NULL; value.size = 0;
        table_next_of(t, key, &many);
        p = many ? table_values(t, key, p, end) : table_value(t, p, end, &value);
        if (!p) return false;
        for (int i = 0; !many && i < t->n_columns; i++)
            if (table_is(key, t->column[i].name)) { t->cell[i] = value; t->column[i].at = i; }
        if (table_is(key, "text")) text = value;
        p = table_blank(p, end);
        if (p < end && *p == ',') p++;
        else if (p == end || *p != '}') return table_fail(t, "expected a comma or }");
    }
    if (p == end) return table_fail(t, "an object that nothing closes");
    if (table_blank(p + 1, end) < end) return table_fail(t, "more behind the object, expected the end of the line");
    if (t->column[t->main].at < 0 && text.data) { t->cell[t->main] = text; t->column[t->main].at = t->main; }
    for (int i = 0; i < t->n_columns; i++)
        if ((t->column[i].at < 0 || !t->cell[i].data) && !t->column[i].optional)
            return table_fail(t, "no text or number named '%s'", t->column[i].name);
    return true;
}

// ---- reading ---------------------------------------------------------------------------------------------------------

static table_format table_format_of(const char *path) {
    const char *dot = path ? strrchr(path, '.') : NULL;
    if (!dot) return TABLE_TSV;
    if (!strcmp(dot, ".csv") || !strcmp(dot, ".CSV")) return TABLE_CSV;
    return !strcmp(dot, ".jsonl") || !strcmp(dot, ".ndjson") || !strcmp(dot, ".json") ? TABLE_JSONL : TABLE_TSV;
}

// wanted and columns (which may be NULL) must outlive t; file stays the caller's. table_close in any case.
static bool table_open(table *t, const char *path, FILE *file, table_format format, const char *wanted, const char *columns) {
    memset(t, 0, sizeof *t);
    t->file = file;
    t->forced = format != TABLE_BY_NAME;
    t->format = t->forced ? format : table_format_of(path);
    t->columns = columns && *columns ? columns : NULL;
    table_want(t, wanted);
    return true;
}

// From now on a column `item` gives title and category.
TABLE_UNUSED static void table_use(table *t, const table_items *items) {
    table_column *title = table_word(t, "title", 5), *category = table_word(t, "category", 8);
    t->items = items;
    if (title) title->optional = true;
    if (category) category->optional = true;
    table_want(t, "item");
}

// What the first bytes are that are no text of this format.
static bool table_is_no_text(table *t) {
    static const struct { const char *magic; size_t n; const char *what; } others[] = {
        {"\xFF\xFE", 2, "UTF-16 text, expected UTF-8"}, {"\xFE\xFF", 2, "UTF-16 text, expected UTF-8"},
        {"\x1F\x8B", 2, "compressed by gzip, expected text: zcat FILE | kpd ... -"},
        {"\x28\xB5\x2F\xFD", 4, "compressed by zstd, expected text: zstdcat FILE | kpd ... -"},
        {"PAR1\x15", 5, "a Parquet file, expected text: duckdb -c \"copy 'FILE' to 'FILE.csv'\" makes a CSV of it"},
        {"\x93NUMPY", 6, "an .npy of numbers, expected text"}, {"\x89KPD", 4, "a kpd file, expected text"},
        {"PK\x03\x04", 4, "a zip file (perhaps a spreadsheet), expected text"}};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (t->raw_size >= others[i].n && !memcmp(t->raw, others[i].magic, others[i].n))
            return !table_fail(t, "%s", others[i].what);
    return false;
}

// A first line that is evidently of another format than was guessed.
static bool table_is_other(table *t) {
    const char *p = t->raw;
    size_t n = t->raw_size;
    bool names;
    if (t->forced || t->format != TABLE_TSV || memchr(p, '\t', n)) return false;
    if (n > 6 && p[0] == '{' && p[n - 1] == '}' && memchr(p, '"', n) && memchr(p, ':', n))
        return !table_fail(t, "it looks like JSON lines; --format jsonl reads these, --format tsv takes it as text");
    names = table_split(t, ',') && t->n_cells > 1;
    for (int i = 0; i < t->n_cells && names; i++) names = table_is_name(t->cell[i]);
    return names && !table_fail(t, "it looks like CSV; --format csv reads it, --format tsv takes it as text");
}

// Which cells are wanted; *names = the first record has only these, and is none itself.
static bool table_header(table *t, bool *names) {
    bool renames = t->columns && strchr(t->columns, '=');
    *names = t->format == TABLE_CSV ? !t->columns || renames : renames;
    if (!*names) {
        bool all = t->n_cells > 1;
        for (int i = 0; i < t->n_cells; i++) all = all && table_is_name(t->cell[i]);
        *names = all;
        if (t->columns) return table_by_order(t);
    }
    if (!*names) {                      // by the order that is wanted
        if (t->items) return table_fail(t, "which column is 'item'? --columns (in a recipe, columns) says so");
        t->as_it_is = t->format == TABLE_TSV;
        return true;
    }
    return (!renames || table_renames(t)) && table_by_name(t);
}

// The first line is known by now. *skip: it is none of the records.
static bool table_look(table *t, bool *skip) {
    size_t mark = t->raw_size >= 3 && !memcmp(t->raw, "\xEF\xBB\xBF", 3) ? 3 : 0;
    if (table_is_no_text(t)) return false;
    t->raw_size -= mark;
    memmove(t->raw, t->raw + mark, t->raw_size);
    if (t->format == TABLE_JSONL) return !t->columns || table_renames(t);
    t->separator = '\t';
    if (t->format == TABLE_CSV) {
        bool comma = memchr(t->raw, ',', t->raw_size) != NULL;
        t->separator = !comma && memchr(t->raw, ';', t->raw_size) ? ';' : ',';
        return table_csv(t) && table_header(t, skip);
    }
    table_chop(t);
    return !table_is_other(t) && table_split(t, '\t') && table_header(t, skip);
}

static bool table_put(table *t, kpd_text cell) {
    if (!table_grow(t, &t->out, &t->out_room, t->out_size, cell.size + 1)) return false;
    for (size_t i = 0; i < cell.size; i++) {
        char c = cell.data[i];
        t->out[t->out_size++] = c == '\t' || c == '\n' || c == '\r' ? ' ' : c;
    }
    return true;
}

static uint64_t table_hash(kpd_text id) {
    uint64_t h = 14695981039346656037u;     // FNV-1a
    for (size_t i = 0; i < id.size; i++) h = (h ^ (uint8_t)id.data[i]) * 1099511628211u;
    return h;
}

static const table_item *table_item_of(const table_items *x, kpd_text id) {
    for (uint64_t h = table_hash(id); x->n_buckets; h++) {
        size_t at = x->bucket[h & (x->n_buckets - 1)];
        const table_item *item = at ? &x->list[at - 1] : NULL;
        if (!item || (item->id_size == id.size && !memcmp(x->text + item->id, id.data, id.size))) return item;
    }
    return NULL;
}

// Title and category of the record's item into their cells, which stand behind those of the file.
static bool table_from_items(table *t) {
    const table_column *c = &t->column[t->n_columns - 1];
    table_column *part[2];
    const table_item *item;
    kpd_text id = {"", 0}, text;
    if (c->at < t->n_cells && c->at >= 0) id = t->cell[c->at];
    if (!id.data) id.data = "";
    item = table_item_of(t->items, id);
    if (!item)
        return table_fail(t, "item '%.*s' is not in %.200s", (int)(id.size > 60 ? 60 : id.size), id.data, t->items->name);
    part[0] = table_word(t, "title", 5);
    part[1] = table_word(t, "category", 8);
    text.data = t->items->text + item->text; text.size = item->text_size;
    for (int i = 0; i < 2; i++) {
        const char *tab = (const char *)memchr(text.data, '\t', text.size);
        kpd_text rest = {"", 0};
        if (tab) {
            rest.data = tab + 1; rest.size = text.size - (size_t)(tab + 1 - text.data);
            text.size = (size_t)(tab - text.data);
        }
        if (t->n_cells == TABLE_MAX_CELLS) return table_fail(t, "more than %d cells", TABLE_MAX_CELLS);
        if (part[i]) part[i]->at = t->n_cells;
        t->cell[t->n_cells++] = text;
        text = rest;
    }
    return true;
}

// The wanted cells with TABs between them.
static bool table_join(table *t, kpd_text *out) {
    int n = t->n_columns - (t->items != NULL);
    t->out_size = 0;
    if (t->items && !table_from_items(t)) return false;
    while (n > 1 && t->column[n - 1].at < 0 && !t->column[n - 1].kept) n--;
    for (int i = 0; i < n; i++) {
        const table_column *c = &t->column[i];
        kpd_text none = {"", 0};
        if (c->at >= t->n_cells && t->format != TABLE_JSONL)
            return table_fail(t, "%d cells, but '%s' is cell %d", t->n_cells, c->word, c->at + 1);
        if (i) { if (!table_grow(t, &t->out, &t->out_room, t->out_size, 1)) return false; t->out[t->out_size++] = '\t'; }
        if (!table_put(t, c->at < 0 || !t->cell[c->at].data ? none : t->cell[c->at])) return false;
    }
    if (!table_grow(t, &t->out, &t->out_room, t->out_size, 0)) return false;
    out->data = t->out;
    out->size = t->out_size;
    return true;
}

// The next record; out->data = NULL at the end. What out points at lives until the next call.
static bool table_next(table *t, kpd_text *out) {
    bool skip = false, split = false;   // the first line is a header; its cells are known already
    out->data = NULL; out->size = 0;
    do {
        t->raw_size = 0;
        t->line = t->lines + 1;
        if (!table_line(t)) return !t->why[0];
        split = !t->begun && t->format != TABLE_JSONL;
        skip = false;
        if (!t->begun && !table_look(t, &skip)) return false;
        t->begun = true;
        t->header = t->header || skip;
        skip = skip || (t->format == TABLE_JSONL && table_blank(t->raw, t->raw + t->raw_size) == t->raw + t->raw_size);
    } while (skip);
    if (!split && t->format == TABLE_TSV) table_chop(t);
    if (t->as_it_is) {
        out->data = t->raw;
        out->size = t->raw_size;
        return true;
    }
    if (!split && (t->format == TABLE_JSONL ? !table_json(t) : t->format == TABLE_CSV ? !table_csv(t) : !table_split(t, '\t')))
        return false;
    return table_join(t, out);
}

// ---- items -----------------------------------------------------------------------------------------------------------

TABLE_UNUSED static void table_items_free(table_items *x) {
    free(x->text);
    free(x->list);
    free(x->bucket);
    memset(x, 0, sizeof *x);
}

// A line of id TAB title, perhaps TAB category.
static bool table_item_add(table *t, table_items *x, kpd_text line) {
    const char *tab = (const char *)memchr(line.data, '\t', line.size);
    size_t id = tab ? (size_t)(tab - line.data) : line.size;
    table_item *item;
    if (!tab) return table_fail(t, "expected id TAB title");
    if (!table_grow(t, &x->text, &x->room, x->size, line.size)) return false;
    if (x->n == x->capacity) {
        size_t capacity = 2 * x->capacity + 1024;
        table_item *list = (table_item *)realloc(x->list, capacity * sizeof *list);
        if (!list) return table_fail(t, "out of memory: %zu items", capacity);
        x->list = list;
        x->capacity = capacity;
    }
    memcpy(x->text + x->size, line.data, line.size);
    item = &x->list[x->n++];
    item->id = x->size; item->id_size = id;
    item->text = x->size + id + 1; item->text_size = line.size - id - 1;
    item->line = t->line;
    x->size += line.size;
    return true;
}

static bool table_items_index(table *t, table_items *x) {
    x->n_buckets = 16;
    while (x->n_buckets < 2 * x->n) x->n_buckets *= 2;
    x->bucket = (size_t *)calloc(x->n_buckets, sizeof *x->bucket);
    if (!x->bucket) return table_fail(t, "out of memory: %zu items", x->n);
    for (size_t i = 0; i < x->n; i++) {
        kpd_text id = {x->text + x->list[i].id, x->list[i].id_size};
        const table_item *other = table_item_of(x, id);
        uint64_t h = table_hash(id);
        t->line = x->list[i].line;
        if (other)
            return table_fail(t, "id '%.*s' stands in line %lld already", (int)(id.size > 60 ? 60 : id.size), id.data,
                              (long long)other->line);
        while (x->bucket[h & (x->n_buckets - 1)]) h++;
        x->bucket[h & (x->n_buckets - 1)] = i + 1;
    }
    return true;
}

// All items of a file: id, title, category, by names or in this order. path must outlive x; *line: where `why` is, 0 = nowhere.
TABLE_UNUSED static bool table_items_read(table_items *x, const char *path, int64_t *line, char why[400]) {
    table t;
    kpd_text text;
    FILE *f = fopen(path, "rb");
    bool ok = f != NULL;
    memset(x, 0, sizeof *x);
    x->name = path;
    *line = 0;
    if (!ok) return snprintf(why, 400, "%s", strerror(errno)) < 0;
    table_open(&t, path, f, TABLE_BY_NAME, "id title category?", NULL);
    while (ok && (ok = table_next(&t, &text)) && text.data) ok = table_item_add(&t, x, text);
    ok = ok && table_items_index(&t, x);
    *line = t.line;
    if (!ok) snprintf(why, 400, "%s", t.why);
    table_close(&t);
    fclose(f);
    return ok;
}

#endif // TABLE_H
