// libFuzzer: JSON and safetensors as hf.h reads them.
#define _XOPEN_SOURCE 700
#define KPD_STATIC
#define KPD_IMPLEMENTATION
#include "../../kpd.h"
#include "../../tools/hf.h"
#include "fuzz.h"

int fuzz_one(const uint8_t *data, size_t size) {
    kpd_allocator a;
    kpd_error e;
    hf_json j;
    char *text = (char *)malloc(size + 1);
    memset(&a, 0, sizeof a);
    memcpy(text, data, size);
    text[size] = 0;
    if (hf_json_take(&j, "input", text, size, 0, a, &e)) return 0;   // it took the text over
    for (int32_t i = 0; i < 4; i++) {
        int32_t n = hf_get(&j, 0, i % 2 ? "type" : "model");
        if (n >= 0 && j.node[n].type < 0) abort();
    }
    hf_json_free(&j);
    return 0;
}
