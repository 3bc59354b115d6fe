// 12_in_cpp.cc - the C interface as C++ objects: each closes what it holds, and an error becomes an exception.
//
//     build/12_in_cpp [STUDENT.kpd]
//
// Without a model it makes one in code (examples/tiny.h). Everything of kpd that is wanted here is some 30 lines; a host
// writes them for the calls that it makes.
#include "../kpd.h"
#include "tiny.h"

#include <cstdio>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace kpd {
struct error : std::runtime_error {
    kpd_status status;
    explicit error(const kpd_error &e) : std::runtime_error(e.message), status(e.status) {}
};

template <class T, void (*close)(T *)> struct closes { void operator()(T *p) const { close(p); } };
using model = std::unique_ptr<kpd_model, closes<kpd_model, kpd_model_destroy>>;
using session = std::unique_ptr<kpd_session, closes<kpd_session, kpd_session_destroy>>;

// Calls f(args..., &error). One whose last output is a new object gives it to make<object>.
template <class F, class... Args> void call(F f, Args... args) {
    kpd_error e;
    if (f(args..., &e)) throw error(e);
}
template <class Object, class F, class... Args> Object make(F f, Args... args) {
    typename Object::pointer p = nullptr;
    call(f, args..., &p);
    return Object(p);
}

kpd_input input(const std::string &text) {
    kpd_input in = kpd_input();
    in.part[0].data = text.data();
    in.part[0].size = text.size();
    in.n_parts = 1;
    return in;
}

std::vector<float> embed(const session &s, const model &m, kpd_tower tower, const std::vector<std::string> &texts,
                         int32_t dim) {
    std::vector<kpd_input> in;
    std::vector<float> out(texts.size() * static_cast<size_t>(dim));
    for (const std::string &text : texts) in.push_back(input(text));
    call(kpd_embed, s.get(), m.get(), tower, in.data(), in.size(), dim, out.data());
    return out;
}
} // namespace kpd

int main(int argc, char **argv) try {
    constexpr int32_t dim = 64;
    const std::vector<std::string> item = {"Genuine 15V 4A AC Adapter Charger for Surface Pro"};
    const std::vector<std::string> phrases = {"surface pro charger", "laptop adapter", "yellow iphone"};
    const char *texts[] = {item[0].c_str(), phrases[0].c_str(), phrases[1].c_str(), phrases[2].c_str()};
    const kpd::model m = argc > 1 ? kpd::make<kpd::model>(kpd_model_open, argv[1], nullptr)
                                  : kpd::make<kpd::model>(tiny_student, texts, size_t{4});
    kpd_session_desc d = kpd_session_desc();
    d.student = m.get();
    const kpd::session s = kpd::make<kpd::session>(kpd_session_create, &d);
    const std::vector<float> a = kpd::embed(s, m, KPD_ITEM, item, dim), b = kpd::embed(s, m, KPD_KEYPHRASE, phrases, dim);
    for (size_t i = 0; i < phrases.size(); i++)
        std::printf("%6.3f  %s\n", static_cast<double>(kpd_cosine(a.data(), &b[i * size_t{dim}], dim)), phrases[i].c_str());
    return 0;
} catch (const kpd::error &e) {
    std::fprintf(stderr, "12_in_cpp: %s: %s\n", kpd_status_name(e.status), e.what());
    return 1;
}
