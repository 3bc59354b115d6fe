// A C++ host with a copy of its own.
#define KPD_STATIC
#define KPD_IMPLEMENTATION
#include "../kpd.h"
#include <cstring>

extern "C" int embed_in_cpp(const char *path, const char *text, float *out, char message[240]);

namespace {
// Closes what it holds, as a C++ host would have it.
struct embedder {
    kpd_model *model = nullptr;
    kpd_session *session = nullptr;
    kpd_error error = kpd_error();
    embedder() = default;
    embedder(const embedder &) = delete;
    embedder &operator=(const embedder &) = delete;
    ~embedder() {
        kpd_session_destroy(session);
        kpd_model_destroy(model);
    }
    kpd_status embed(const char *path, const char *text, float *out) {
        kpd_session_desc desc = kpd_session_desc();
        kpd_input in = kpd_input_str(text, nullptr, nullptr);
        kpd_status s = kpd_model_open(path, nullptr, &model, &error);
        desc.student = model;
        if (!s) s = kpd_session_create(&desc, &session, &error);
        if (!s) s = kpd_embed(session, model, KPD_KEYPHRASE, &in, 1, 0, out, &error);
        return s;
    }
};
}

int embed_in_cpp(const char *path, const char *text, float *out, char message[240]) {
    embedder e;
    kpd_status s = e.embed(path, text, out);
    std::memcpy(message, e.error.message, sizeof e.error.message);
    return static_cast<int>(s);
}
