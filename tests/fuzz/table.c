// libFuzzer: text in each form, with columns by order and by name. Every record that comes has as many cells as the first of its
// form may have, and no line end; whatever is wrong is said, with its line.
#define _POSIX_C_SOURCE 200809L
#define KPD_IMPLEMENTATION
#include "../../tools/table.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_all(table_format format, const char *wanted, const char *columns, const uint8_t *data, size_t size) {
    FILE *f = fmemopen((void *)(uintptr_t)data, size, "rb");
    table t;
    kpd_text line;
    bool ok = true;
    if (!f) abort();
    table_open(&t, NULL, f, format, wanted, columns);
    while (ok && (ok = table_next(&t, &line)) && line.data) {
        if (memchr(line.data, '\n', line.size) && !t.as_it_is) abort();
        if (!t.as_it_is && line.size > 2 * size + 64) abort();
        if (t.line < 1) abort();
    }
    if (!ok && !t.why[0]) abort();
    table_close(&t);
    fclose(f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char *const columns[] = {NULL, "title category", "- category title", "title=name category=id", "keyphrase"};
    if (size < 3) return 0;
    read_all((table_format)(data[0] % 4), data[1] % 2 ? "title category?" : "id? keyphrase* title? label*", columns[data[1] / 2 % 5],
             data + 2, size - 2);
    return 0;
}
