#ifndef KPD__LEVEL   // see "How it reads itself"
// kpd.h - v0.1 - keyphrase retrieval in one C header: WordPiece tokenizer, BERT bi-encoder and cross-encoder, vector index.
//
//   No dependency but libc and libm. C99, also C++11; gcc or clang, not MSVC. MIT or public domain: see the end of this file.
//
// DO THIS in exactly one C or C++ file:
//
//     #define KPD_IMPLEMENTATION
//     #include "kpd.h"
//
// and only `#include "kpd.h"` everywhere else. Link with -lm (and -pthread under KPD_THREADS). A complete program:
//
//     #define KPD_IMPLEMENTATION
//     #include "kpd.h"
//     #include <stdio.h>
//
//     int main(void) {
//         kpd_error e; kpd_model *m; kpd_session *s; kpd_session_desc d = {0};
//         const char *phrase[] = {"surface pro charger", "laptop sleeve", "yellow iphone"};
//         kpd_input item = kpd_input_str("Genuine 15V 4A AC Adapter for Surface Pro 3 4 5 6", NULL, NULL);
//         float a[64], b[64];
//         if (kpd_model_open("minilm.kpd", NULL, &m, &e)) return fprintf(stderr, "%s\n", e.message), 1;
//         d.student = m;
//         if (kpd_session_create(&d, &s, &e)) return fprintf(stderr, "%s\n", e.message), 1;
//         if (kpd_embed(s, m, KPD_ITEM, &item, 1, 64, a, &e)) return fprintf(stderr, "%s\n", e.message), 1;
//         for (int i = 0; i < 3; i++) {
//             kpd_input q = kpd_input_str(phrase[i], NULL, NULL);
//             if (kpd_embed(s, m, KPD_KEYPHRASE, &q, 1, 64, b, &e)) return fprintf(stderr, "%s\n", e.message), 1;
//             printf("%.3f  %s\n", (double)kpd_cosine(a, b, 64), phrase[i]);
//         }
//         kpd_session_destroy(s); kpd_model_destroy(m);
//         return 0;
//     }
//
// CONTENTS  Search for the marker. The API comes first, each part documented; in the implementation each section uses only
// what stands above it (there is no forward declaration). Behind a name: its lines, what it has, where to enter.
//
//     >>concepts     100  ownership, threads, errors, numbers, trust
//     >>api          580  status, host, text, tokenizer, model, session, student and assistant, index, recommend
//     part A: all but kernels
//     >>config        90  what compiler and machine must be
//     >>status       110  names, messages                                 kpd__fail
//     >>memory       170  sizes, allocator, arenas, checksum, sorting     kpd__alloc, kpd__take
//     >>threads      270  floating-point state, tasks, the built-in pool  kpd__guarded, kpd__run
//     >>math          50  constants of exp, tanh, the normal distribution
//     >>simd         440  a level as a table of functions, its layouts    kpd__ops, kpd__product
//     >>levels        30  part B, once per level
//     >>dots         190  int8 and bf16 sums by single instructions       kpd__dots
//     >>heads        320  attention by AVX-512 VNNI
//     >>amx          760  products by tiles                               kpd__amx_ops
//     >>machine      170  which levels there are, a self-test             kpd__choose_level
//     >>unicode      150  classes, lower case, decomposition              kpd__fold
//     >>tokenizer    810  bytes to token ids                              kpd__encode
//     >>format       110  the file, byte by byte
//     >>file         560  mapping, checking, atomic saving                kpd__file_open, kpd__file_check, kpd__file_save
//     >>model        960  shapes, templates, weights                      kpd__plan_model, kpd__model_assemble
//     >>session      320  one arena, laid out once                        kpd__session_create
//     >>encoder      270  the transformer over packed texts               kpd__call_run
//     >>assistant     40  the cross-encoder's head                        kpd__score
//     >>student       60  pooling, modules, unit length                   kpd__embed
//     >>convert      200  f32 to bf16 and int8                            kpd__model_convert
//     >>index_store  440  vectors, ids, texts                             kpd__index_slot
//     >>kmeans       350  centroids                                       kpd__kmeans
//     >>tree_store   190  a tree's nodes and codes                        kpd__tree_lay
//     >>tree        1120  making and changing it                          kpd__tree_build
//     >>index_flat   310  exact search                                    kpd__index_search
//     >>index_tree   520  search by bounds
//     >>tune         220  the bound and breadth that a recall takes       kpd__index_tune
//     >>index_make   330  of many vectors, of other indexes               kpd__index_build
//     >>recommend    250  embed, search, drop duplicates, filter          kpd__recommend
//     part B: kernels, read once per level
//     >>kernels      820  16 lanes, and what is built from them alone
//     >>gemm         270  chains: f32 products                            gemm
//     >>quantised    430  int8 and bf16 products                          rounded_gemm
//     >>attention    360  in f32, bf16 and int8                           attention
//     >>scans        200  scores of an index's vectors, and the best      scan, above, nodes, codes
//     part C: the tables of >>unicode
//
// How it reads itself. Part A includes this file again with KPD__LEVEL set: then line 1 leaves out all that stands before part
// B, whose kernels are compiled for that level, under its names.
//
// From a call to a multiply-add:
//
//     kpd_embed                       sets the floating-point state (kpd__guarded)
//       kpd__call_run                 takes texts by slices that the arena holds: tokens, and blocks of whole texts
//         kpd__run, kpd__call_task    one task a thread, each with every n-th block
//           kpd__encode_block         embeddings; the layers; pooling
//             kpd__layer_begin, _end  query, key, value, attention; feed-forward
//               kpd__product          y = f(x W^T + bias), by what W is stored as
//                 gemm, gemm_panel    rows that fit L2, 16 columns at a time (or rounded_gemm: int8, bf16)
//                   micro, dotR       a tile of R rows and 16 columns stays in registers while k goes by
//
// OPTIONS  Define before including; "all" = the same in every file, "impl" = only beside KPD_IMPLEMENTATION.
//
//     KPD_IMPLEMENTATION  impl  makes the implementation
//     KPD_STATIC          all   every function is static: several copies can live in one program
//     KPDDEF              all   what stands before each function, such as extern __attribute__((visibility("default")))
//     KPD_THREADS         all   the built-in thread pool (kpd_pool_*), on POSIX threads
//     KPD_NO_SIMD         impl  scalar code only
//     KPD_NO_MMAP         impl  files are read, never mapped, as on Windows
//     KPD_SELF            impl  this file's name as "string", for a renamed copy on compilers without __FILE_NAME__
//
// >>concepts
//
// The job. An item (title, category) should get keyphrases (buyers' queries) worth bidding on. A bi-encoder, the
// *student*, embeds items and keyphrases; an *index* holds the keyphrases; the items are the queries. A cross-encoder,
// the *assistant*, then scores each (keyphrase, item) pair that the index returned, and what it doubts is dropped.
//
// Zero means default. Every input is a `_desc` struct: zero it, set what differs; NULL counts as one of zeros. Each default
// stands beside its field. `abi`, where a desc has it, is 0, or the KPD_ABI that the caller was compiled with; `reserved` is
// zeros. Both are checked.
//
// Stable. Until 1.0 a change of KPD_ABI may change structs, enums and calls, each told in HISTORY; within one, fields come from
// `reserved` and enums grow at their ends. A file's major version says the same of files (see >>format). What begins with kpd__
// is the library's own.
//
// Errors. Every call that can fail returns a kpd_status (0 = KPD_OK) and takes an optional `kpd_error *` last, which
// gets the status (KPD_OK too), a byte offset or line where there is one, and a sentence: what, where, found, expected. INPUT
// blames one of the texts, vectors or numbers to be worked on, `where` = its number; ARGUMENT the call. Outputs are untouched
// on failure unless the call says otherwise. Nothing here prints, exits or asserts on input.
//
// Ownership. Objects are opaque and come in pairs: create/destroy, open/close; destroying NULL is a no-op. Pointers in a
// desc are borrowed for the call, or copied, unless the field says "must outlive".
//
// Memory. The host's allocator is given at creation. A model is one block (or a mapping, or borrowed bytes). A session is
// one arena; embedding, scoring, searching and recommending allocate nothing.
//
// Threads. There are no globals and no hidden threads. One thing is the process's: where a session, a trainer or an index of
// the level amx is made, Linux is asked for the tiles, which all threads may then use, and for which a signal handler's own
// stack must be some 8 KB larger. Tokenizers and models never change once made, and an index does not while nobody writes to
// it: any number of sessions share them. A session serves one caller at a time. Parallel work goes through the host's
// `kpd_parallel`, or the built-in pool: blocks of a batch, or rows of a long text without company.
//
// Numbers. f32 results are the same bits on every SIMD level, compiler, optimisation level, thread count and batch: the
// same text gives the same vector alone or among a thousand. There are two kinds of sum. A *chain* is one fused
// multiply-add after the other over k = 0, 1, ..., from +0, the bias added last: matrix products, attention, pooling,
// index scans.
// A *tree* has 64 partial sums (term i goes to partial i mod 64), then (p0+p1)+(p2+p3) over four vectors of 16 partials,
// then the 16 lanes by halves 8, 4, 2, 1: norms and softmax. exp, tanh and the normal distribution are
// polynomials of this header. Of libm only sqrtf and fmaf are used. Compiling with -ffast-math is an error; sessions and
// indexes refuse to start if their own sums show that reassociation or contraction happened all the same. The caller's rounding
// mode and denormal flags (of x86 and 64-bit ARM) are saved, set to the IEEE default, and restored by each call. What it calls
// back (allocator, tasks, clock, progress, write, filter, lookup, relevance) runs in the default state, and leaves it so.
//
// Trust. Model and index files are hostile input. Opening checks everything that code follows: sizes, offsets, shapes,
// ids, the checksums of header, table and small sections. A mapped open does not read the weights (it takes two
// milliseconds, for the tokenizer's tables): corrupt weights can then give wrong numbers, never a wild access. `verify`
// reads and checks every byte; what is read to be written elsewhere (save, convert) is checked too. Opening takes time in
// proportion to the file's size (times the logarithm of the number of sections), whatever it holds.
//
// int8 weights give the same bits in the same sense, and so does bf16, whose weights are widened to f32, but for the levels
// with an instruction for bf16 products (avx512bf16, amx, neoni8mm): these round the inputs too, and promise only their own
// bits for any number of threads and any batch.
//
// Limits. KPD_MAX_* below. BERT-family encoders (post-norm, learned positions) with WordPiece vocabularies only.
//
// Letters: n texts or vectors, T tokens, H width, A heads, F feed-forward width, V vocabulary, D embedding width, k hits;
// in matrix products y = x W^T + b, W is [N, K]. Matrices are f32 row-major unless they say "panels".
// References: [BERT] Devlin et al. 2019; [SBERT] Reimers and Gurevych 2019; [MRL] Kusupati et al. 2022 (Matryoshka).
//
// ------------------------------------------------------------------------------------------------------------------
#ifndef KPD_H
#define KPD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifndef KPDDEF
#if defined(KPD_STATIC) && (defined(__GNUC__) || defined(__clang__))
#define KPDDEF static __attribute__((unused))
#elif defined(KPD_STATIC)
#define KPDDEF static
#else
#define KPDDEF extern
#endif
#endif

#if defined(__GNUC__) || defined(__clang__)
#define KPD__PRINTF(at, args) __attribute__((format(printf, at, args)))
#else
#define KPD__PRINTF(at, args)
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define KPD_VERSION "0.1"

// The number of this header's structs and enums. A program that calls a shared library compares its own with kpd_abi()'s, and
// sets it in each desc, where another than the library's is refused. Descs end in zeros for fields to come: they are checked.
#define KPD_ABI 6
KPDDEF uint32_t kpd_abi(void);

#define KPD_MAX_WIDTH     16384         // H, F, D, and the dim of an index
#define KPD_MAX_LAYERS    256
#define KPD_MAX_VOCAB     (1 << 22)
#define KPD_MAX_POSITIONS 65536
#define KPD_MAX_LABELS    4096
#define KPD_MAX_K         (1 << 20)     // hits a query
#define KPD_MAX_THREADS   1024
#define KPD_MAX_TEXT      0xFFFFFF      // bytes of a text in an index

// >>api  STATUS -----------------------------------------------------------------------------------------------------

// Each enum is a list of X(NAME, text): it makes KPD_NAME, and for bindings, options and recipes kpd_..._name, "?" for a number
// that is none, and kpd_..._from_name, false (out untouched) for a text that is none. Any thread.
#define KPD__ENUM(name, text) KPD_##name,

#define KPD_STATUS_LIST(X)                                                                                             \
    X(OK, "KPD_OK")                                                                                                    \
    X(ERR_ARGUMENT, "KPD_ERR_ARGUMENT")       /* the caller's argument cannot be meant                         */      \
    X(ERR_MEMORY, "KPD_ERR_MEMORY")           /* the allocator returned NULL                                   */      \
    X(ERR_IO, "KPD_ERR_IO")                   /* the operating system refused a file                           */      \
    X(ERR_FORMAT, "KPD_ERR_FORMAT")           /* a file or text is not what it should be                       */      \
    X(ERR_VERSION, "KPD_ERR_VERSION")         /* a file of another version                                    */      \
    X(ERR_UNSUPPORTED, "KPD_ERR_UNSUPPORTED") /* well-formed, but not something this build does                */      \
    X(ERR_LIMIT, "KPD_ERR_LIMIT")             /* over what the format, this machine or the session can hold    */      \
    X(ERR_NOT_FOUND, "KPD_ERR_NOT_FOUND")     /* no such name or id                                            */      \
    X(ERR_CANCELLED, "KPD_ERR_CANCELLED")     /* the host's progress callback said stop                        */      \
    X(ERR_INPUT, "KPD_ERR_INPUT")             /* what is to be worked on (a text, a value) cannot be: see where */
typedef enum kpd_status { KPD_STATUS_LIST(KPD__ENUM) KPD_STATUS_COUNT } kpd_status;
KPDDEF const char *kpd_status_name(kpd_status s);
KPDDEF bool        kpd_status_from_name(const char *name, kpd_status *out);

typedef struct kpd_error {
    kpd_status status;
    int64_t where;                      // byte offset or line of a file, index of an input; -1 = none
    char message[240];                  // one sentence, zero-terminated; empty on success. Always UTF-8 without control
} kpd_error;                            // characters: other bytes that it quotes are shown as \x1B. If cut, it ends in ...

// Fills e, unless it is NULL, as the library does, and returns s: for readers and writers beside it. As printf; any thread.
KPDDEF kpd_status kpd_error_set(kpd_error *e, kpd_status s, int64_t where, const char *format, ...) KPD__PRINTF(4, 5);

// HOST  What the host lends; copied at creation. `user` must outlive the object. ------------------------------------

typedef struct kpd_allocator {          // both NULL = malloc and free; one alone is an error
    void *(*alloc)(void *user, size_t size);                // NULL on failure; aligned as malloc's
    void (*free)(void *user, void *ptr, size_t size);       // size as asked for
    void *user;
} kpd_allocator;

typedef void kpd_task_t(void *arg, int32_t index);
typedef struct kpd_parallel {           // run NULL = the calling thread only
    void (*run)(void *user, int32_t n, kpd_task_t *task, void *arg);   // calls task(arg, 0..n-1) in any order, on any
                                                                       // threads; returns when all have returned
    void *user;
    int32_t n_threads;                  // into how many tasks to split, 0 = 1; never changes a result
} kpd_parallel;

// How far a long call is: `done` of `of`, growing, after each piece of work; false = stop: the call fails with
// KPD_ERR_CANCELLED. Called by the calling thread, the last time with done = of.
typedef bool kpd_report_t(void *user, int64_t done, int64_t of);
typedef struct kpd_progress { kpd_report_t *report; void *user; } kpd_progress;      // report NULL = nobody asks

// Takes the next bytes of a file, in pieces of any size; false = it cannot.
typedef bool kpd_write_t(void *user, const void *data, size_t size);

#ifdef KPD_THREADS
// The built-in pool: n_threads - 1 sleeping threads beside the caller. One run at a time; further callers wait. What a task (or
// a search filter, which runs in one) calls with the same pool runs on the task's thread alone; so does everything in a child
// process, since fork copies no threads. The threads leave signals, but for those of faults, to the host's: they block them
// where the build shows pthread_sigmask (-std=c99 hides it unless _POSIX_C_SOURCE is 199506L or more). Destroy a pool when no
// run is under way. Errors: ARGUMENT, MEMORY.
typedef struct kpd_pool kpd_pool;
KPDDEF kpd_status kpd_pool_create(int32_t n_threads, const kpd_allocator *a, kpd_pool **out, kpd_error *e);
KPDDEF void       kpd_pool_destroy(kpd_pool *p);
KPDDEF const kpd_parallel *kpd_pool_parallel(const kpd_pool *p);     // p must outlive whatever gets what this points to
#endif

// Levels that differ in int8 (avxvnni, avx512vnni, neondot) and bf16 (avx512bf16, amx, neoni8mm: both) products only are for
// the rest the avx2, avx512 or neon below them.
#define KPD_SIMD_LIST(X)                                                                                               \
    X(SIMD_AUTO, "auto") X(SIMD_SCALAR, "scalar") X(SIMD_AVX2, "avx2") X(SIMD_AVX512, "avx512") X(SIMD_NEON, "neon")   \
    X(SIMD_AVXVNNI, "avxvnni") X(SIMD_AVX512VNNI, "avx512vnni") X(SIMD_AVX512BF16, "avx512bf16") X(SIMD_AMX, "amx")    \
    X(SIMD_NEONDOT, "neondot") X(SIMD_NEONI8MM, "neoni8mm")
typedef enum kpd_simd { KPD_SIMD_LIST(KPD__ENUM) KPD_SIMD_COUNT } kpd_simd;
KPDDEF const char *kpd_simd_name(kpd_simd level);
KPDDEF bool        kpd_simd_from_name(const char *name, kpd_simd *out);
KPDDEF bool        kpd_simd_available(kpd_simd level);     // compiled in, and processor and system have it; changes nothing

// TEXT  Bytes and a length; any bytes. UTF-8 is expected, each invalid sequence counts as U+FFFD. -------------------

typedef struct kpd_text { const char *data; size_t size; } kpd_text;

typedef struct kpd_input {              // what one embedding or score is made of; borrowed for the call
    kpd_text part[3];                   // item: title, category. keyphrase: keyphrase. pair: keyphrase, category, title
    int32_t n_parts;                    // 1..3
} kpd_input;

// Zero-terminated parts; NULL ends the list. The strings must outlive the use of the result.
KPDDEF kpd_input kpd_input_str(const char *a, const char *b, const char *c);

// TOKENIZER  BERT WordPiece, the same ids as Hugging Face `tokenizers` (BertNormalizer, BertPreTokenizer, WordPiece). ---
// Const once made: any number of threads. Tokenizing allocates nothing and takes time linear in the text.

typedef struct kpd_tokenizer kpd_tokenizer;

#define KPD_TOKENIZER_KIND_LIST(X) X(WORDPIECE, "wordpiece")
typedef enum kpd_tokenizer_kind { KPD_TOKENIZER_KIND_LIST(KPD__ENUM) KPD_TOKENIZER_KIND_COUNT } kpd_tokenizer_kind;
KPDDEF const char *kpd_tokenizer_kind_name(kpd_tokenizer_kind kind);
KPDDEF bool        kpd_tokenizer_kind_from_name(const char *name, kpd_tokenizer_kind *out);

typedef struct kpd_tokenizer_desc {     // defaults = bert-base-uncased
    uint32_t abi;                       // 0 or KPD_ABI
    kpd_tokenizer_kind kind;
    const char *vocab; size_t vocab_size;               // the bytes of vocab.txt, copied: a token a line; its
                                                        // end, and white space before that, are no part of it
    bool cased;                                         // do not lower-case
    bool keep_cjk_joined;                               // do not put spaces around CJK ideographs
    int32_t strip_accents;                              // 0 = unless cased, 1 = yes, -1 = no
    const char *unk, *cls, *sep, *pad, *mask;           // NULL = "[UNK]" "[CLS]" "[SEP]" "[PAD]" "[MASK]"
    kpd_allocator allocator;
    int32_t reserved[4];
} kpd_tokenizer_desc;

// Errors: ARGUMENT (no vocabulary), LIMIT, MEMORY, NOT_FOUND (unk, cls or sep is not in the vocabulary). pad and mask may be
// absent. Of equal lines the last one wins. Cost: for 30,000 tokens two milliseconds and 1.6 MB, the copy included.
KPDDEF kpd_status kpd_tokenizer_create(const kpd_tokenizer_desc *d, kpd_tokenizer **out, kpd_error *e);
KPDDEF void       kpd_tokenizer_destroy(kpd_tokenizer *t);

// Where a token comes from: the bytes [begin, end) of a part of the input. What no part has, [CLS], [SEP] between parts and a
// template's own text, is {0, 0, -1}.
typedef struct kpd_span { size_t begin, end; int32_t part; } kpd_span;

typedef struct kpd_tokens {
    int32_t *ids;                       // [capacity], the caller's
    int32_t *types;                     // [capacity] token types 0 or 1, or NULL
    kpd_span *spans;                    // [capacity] or NULL
    int32_t capacity;
    int32_t count;                      // written: tokens in use; after KPD_ERR_LIMIT, 0
    bool truncated;                     // written: something was cut to max_tokens
} kpd_tokens;

// One part: [CLS] a [SEP]. Two: [CLS] a [SEP] b [SEP] with types 0 and 1. Three: [CLS] a [SEP] b [SEP] c [SEP], types 0,
// which is what Hugging Face makes of the one text "a [SEP] b [SEP] c". Special tokens written in a text are special
// tokens. max_tokens (0 = no limit) counts the special ones: one part and three are cut at the end, two by
// `longest_first`. no_special leaves out [CLS] and the added [SEP]. Spans are the reference's offsets in bytes: from the
// first character that a token has something of to the end of the last, without accents that were dropped behind it.
// Errors: ARGUMENT; INPUT (not 1 to 3 parts, or no data); LIMIT (capacity too small). Cost: some 25 ns a token of usual text.
// For any text at most one step of some 3 ns for each character and length that a token can have, up to 100: linear in the
// text.
KPDDEF kpd_status kpd_tokenize(const kpd_tokenizer *t, const kpd_input *in, int32_t max_tokens, bool no_special,
                               kpd_tokens *out, kpd_error *e);

KPDDEF const kpd_tokenizer_desc *kpd_tokenizer_get_desc(const kpd_tokenizer *t);     // defaults filled in; lives as long as t
KPDDEF int32_t kpd_tokenizer_size(const kpd_tokenizer *t);               // tokens
// As in the vocabulary, as long as t lives; false, and {NULL, 0}, for an id out of range.
KPDDEF bool    kpd_token_text(const kpd_tokenizer *t, int32_t id, kpd_text *out);
KPDDEF int32_t kpd_token_id(const kpd_tokenizer *t, kpd_text token);     // -1 = not in the vocabulary

// MODEL  Weights, architecture, tokenizer and input templates in one object. Read-only once shared. -----------------

#define KPD_KIND_LIST(X) X(BI_ENCODER, "bi-encoder") X(CROSS_ENCODER, "cross-encoder")
typedef enum kpd_kind { KPD_KIND_LIST(KPD__ENUM) KPD_KIND_COUNT } kpd_kind;
KPDDEF const char *kpd_kind_name(kpd_kind kind);
KPDDEF bool        kpd_kind_from_name(const char *name, kpd_kind *out);

#define KPD_ARCHITECTURE_LIST(X) X(BERT, "bert")
typedef enum kpd_architecture { KPD_ARCHITECTURE_LIST(KPD__ENUM) KPD_ARCHITECTURE_COUNT } kpd_architecture;
KPDDEF const char *kpd_architecture_name(kpd_architecture architecture);
KPDDEF bool        kpd_architecture_from_name(const char *name, kpd_architecture *out);

#define KPD_DTYPE_LIST(X)                                                                                              \
    X(DTYPE_DEFAULT, "default") X(F32, "f32") X(BF16, "bf16") X(INT8, "int8")       /* default = f32 */                \
    X(INT16, "int16") X(INT4, "int4")                                               /* of a tree only */
typedef enum kpd_dtype { KPD_DTYPE_LIST(KPD__ENUM) KPD_DTYPE_COUNT } kpd_dtype;
KPDDEF const char *kpd_dtype_name(kpd_dtype type);
KPDDEF bool        kpd_dtype_from_name(const char *name, kpd_dtype *out);

enum { KPD_OFFSET_HIDDEN = 1, KPD_WIDE_QKV = 2 };      // arithmetic of int8: GELU's output as u8 with a zero; 16-bit q, k, v

#define KPD_TOWER_LIST(X) X(ITEM, "item") X(KEYPHRASE, "keyphrase")       // one and the same weights unless separate_towers
typedef enum kpd_tower { KPD_TOWER_LIST(KPD__ENUM) KPD_TOWER_COUNT } kpd_tower;
KPDDEF const char *kpd_tower_name(kpd_tower tower);
KPDDEF bool        kpd_tower_from_name(const char *name, kpd_tower *out);

// Over the T token vectors x_t of a text [SBERT]: mean sum x_t / T; cls x_0; max over t per column; sqrt-len
// sum x_t / sqrt(T); weighted sum t x_t / sum t (t from 1); last x_(T-1).
#define KPD_POOLING_LIST(X)                                                                                            \
    X(POOL_MEAN, "mean") X(POOL_CLS, "cls") X(POOL_MAX, "max") X(POOL_SQRT_LEN, "sqrt-len")                            \
    X(POOL_WEIGHTED, "weighted") X(POOL_LAST, "last")
typedef enum kpd_pooling { KPD_POOLING_LIST(KPD__ENUM) KPD_POOLING_COUNT } kpd_pooling;
KPDDEF const char *kpd_pooling_name(kpd_pooling pooling);
KPDDEF bool        kpd_pooling_from_name(const char *name, kpd_pooling *out);

// gelu(x) = x Phi(x); gelu_tanh its usual approximation .5 x (1 + tanh(sqrt(2/pi) (x + .044715 x^3))).
#define KPD_ACTIVATION_LIST(X)                                                                                         \
    X(GELU, "gelu") X(GELU_TANH, "gelu-tanh") X(RELU, "relu") X(TANH, "tanh") X(IDENTITY, "identity")
typedef enum kpd_activation { KPD_ACTIVATION_LIST(KPD__ENUM) KPD_ACTIVATION_COUNT } kpd_activation;
KPDDEF const char *kpd_activation_name(kpd_activation activation);
KPDDEF bool        kpd_activation_from_name(const char *name, kpd_activation *out);

#define KPD_MODULE_KIND_LIST(X) X(MODULE_NONE, "none") X(MODULE_DENSE, "dense") X(MODULE_LAYER_NORM, "layer-norm")
typedef enum kpd_module_kind { KPD_MODULE_KIND_LIST(KPD__ENUM) KPD_MODULE_KIND_COUNT } kpd_module_kind;
KPDDEF const char *kpd_module_kind_name(kpd_module_kind kind);
KPDDEF bool        kpd_module_kind_from_name(const char *name, kpd_module_kind *out);

typedef struct kpd_module {             // between pooling and the final normalisation of a bi-encoder
    kpd_module_kind kind;
    int32_t width;                      // of the output; a layer norm's is its input's, and is given too
    kpd_activation activation;          // Dense only
    bool no_bias;                       // Dense only
} kpd_module;

#define KPD_METRIC_LIST(X) X(COSINE, "cosine") X(DOT, "dot") X(L2, "l2")  // a score is larger when nearer; L2: minus distance^2
typedef enum kpd_metric { KPD_METRIC_LIST(KPD__ENUM) KPD_METRIC_COUNT } kpd_metric;
KPDDEF const char *kpd_metric_name(kpd_metric metric);
KPDDEF bool        kpd_metric_from_name(const char *name, kpd_metric *out);

typedef struct kpd_model_desc {         // also what kpd_model_get_desc returns, with the defaults filled in
    uint32_t abi;
    kpd_architecture architecture;
    kpd_kind kind;
    kpd_dtype dtype;                    // of the weights; a created model has f32, kpd_model_convert makes the others
    bool separate_towers;               // bi-encoder: own weights for keyphrases, of all but the modules
    bool no_normalize;                  // bi-encoder: vectors keep their length
    bool mlm_head;                      // bi-encoder of f32: it keeps what guesses hidden words, for trainers (kpd_train.h); no
                                        // vector depends on it, and a conversion to bf16 or int8 leaves it out
    int32_t truncate_dim;               // bi-encoder: vectors are cut to these columns, not normalised again; 0 = all, D
    kpd_metric similarity;              // bi-encoder: what its vectors are to be compared by; nothing here computes it
    int32_t arithmetic;                 // of int8: a sum of KPD_OFFSET_HIDDEN and KPD_WIDE_QKV
    int32_t n_layers, width, n_heads;   // required; width 2 or more, a multiple of n_heads
    int32_t ffn_width;                  // 0 = 4 width
    int32_t vocab_size;                 // V, rows of the word embeddings; 0 = the tokenizer's size, never less
    int32_t n_positions;                // 0 = 512
    int32_t max_tokens;                 // a text is cut to this, 0 = n_positions
    int32_t n_types;                    // 0 = 2
    int32_t n_labels;                   // cross-encoder: logits, 0 = 1
    kpd_activation activation;          // of the feed-forward layer: GELU, GELU_TANH, RELU or TANH
    kpd_pooling pooling;
    float layer_norm_eps;               // 0 = 1e-12
    kpd_module modules[4]; int32_t n_modules;
    uint64_t converted_from;            // what kpd_model_convert made it of: a fingerprint, 0 = nothing, as of created models
    // Input templates: text with {title} {category} {keyphrase}, the vocabulary's special tokens {sep} {cls} {unk} {mask}
    // {pad}, and | where the second segment (token type 1) of a pair begins. Each placeholder stands alone between spaces or
    // |. A part that an input lacks, or that has no token (it is empty or blank), is left out with the text that joins it:
    // that before it, or where no part stands before it in its segment, that behind it. Text before a segment's first part
    // stays, but a second segment without any of its parts is none. Special tokens may be spelled, as [SEP], too; that is an
    // error where it is none of the vocabulary's.
    const char *template_item;          // NULL = "{title} {sep} {category}"
    const char *template_keyphrase;     // NULL = "{keyphrase}"
    const char *template_pair;          // cross-encoder, NULL = "{keyphrase} {sep} {category} {sep} {title}"
    const kpd_tokenizer *tokenizer;     // required; copied in
    kpd_allocator allocator;            // of a created model
    int32_t reserved[4];
} kpd_model_desc;

typedef struct kpd_model kpd_model;

#define KPD_FILE_KIND_LIST(X)                                                                                          \
    X(FILE_NONE, "none") X(FILE_MODEL, "model") X(FILE_INDEX, "index") X(FILE_CHECKPOINT, "checkpoint")
typedef enum kpd_file_kind { KPD_FILE_KIND_LIST(KPD__ENUM) KPD_FILE_KIND_COUNT } kpd_file_kind;
KPDDEF const char *kpd_file_kind_name(kpd_file_kind kind);
KPDDEF bool        kpd_file_kind_from_name(const char *name, kpd_file_kind *out);

// What a file is, by its header alone. Errors: IO, FORMAT (none of kpd's), VERSION.
KPDDEF kpd_status  kpd_file_kind_of(const char *path, kpd_file_kind *out, kpd_error *e);

typedef struct kpd_open_desc {
    uint32_t abi;
    const void *data; size_t size;      // open these bytes instead of a file: borrowed, must outlive, aligned to 64
    bool copy;                          // read the file, or copy data of any alignment, into memory, and verify it
    bool verify;                        // check every byte's sum, and that every weight is finite
    kpd_allocator allocator;
    int32_t reserved[4];
} kpd_open_desc;

// path may be NULL when d->data is given; d NULL = map the path. Errors: IO, FORMAT, VERSION, UNSUPPORTED, MEMORY; `where` is
// the byte offset. Cost: about a millisecond and the tokenizer's tables when mapped. The file may be replaced by
// kpd_model_save while mapped, but must not be overwritten or cut in place.
KPDDEF kpd_status kpd_model_open(const char *path, const kpd_open_desc *d, kpd_model **out, kpd_error *e);

// A model with zero weights, to be filled by kpd_model_set. Errors: ARGUMENT names the field; LIMIT, MEMORY.
KPDDEF kpd_status kpd_model_create(const kpd_model_desc *d, kpd_model **out, kpd_error *e);

// Every byte, as `verify` does at opening: FORMAT where an opened file is corrupt, or a weight is not finite. Any thread.
KPDDEF kpd_status kpd_model_verify(const kpd_model *m, kpd_error *e);

// Atomic on POSIX and Windows: afterwards there is the old file or the whole new one, but for a power cut. Writes path.0.tmp
// (.1.tmp, ... while there is such a file; path.tmp on Windows, where paths are UTF-8), then renames. A file that is replaced
// keeps its permissions and its links: where the path is a symbolic link, what it leads to is replaced, if the build shows
// readlink (-std=c99 hides it unless _POSIX_C_SOURCE is 200112L or more). What is there and no regular file is not replaced
// (IO). Elsewhere the old file is removed first. Errors: ARGUMENT (a path of over 4095 bytes), IO, MEMORY; FORMAT, and nothing
// is written, where the sum of a mapped section is wrong or a weight is not finite.
KPDDEF kpd_status kpd_model_save(const kpd_model *m, const char *path, kpd_error *e);
// The same bytes to the host, for hosts without files. Errors: IO where `write` is false, FORMAT as save, MEMORY.
KPDDEF kpd_status kpd_model_write(const kpd_model *m, kpd_write_t *write, void *user, kpd_error *e);
KPDDEF void       kpd_model_destroy(kpd_model *m);

KPDDEF const kpd_model_desc *kpd_model_get_desc(const kpd_model *m);     // lives as long as m
KPDDEF const kpd_tokenizer  *kpd_model_tokenizer(const kpd_model *m);
KPDDEF int32_t  kpd_model_dim(const kpd_model *m);                       // truncate_dim or D, or the number of labels
KPDDEF size_t   kpd_model_size(const kpd_model *m);                      // bytes of its file

// A number of all that decides a model's vectors: XXH64 over the names, shapes and sums of the sections that its file requires,
// another for a tower of its own. Converted models keep the first one's, since their vectors are near. Any thread. Cost: a hash
// of 112 bytes a section, and of a created model's weights, which have no sums before they are saved.
KPDDEF uint64_t kpd_model_fingerprint(const kpd_model *m, kpd_tower tower);

// What a model reads of a row: the parts that its template for the tower names (a cross-encoder's: for pairs), as kpd_input
// orders them. The rest of the row is left out, so that any model can be asked about any row. Texts are borrowed.
typedef struct kpd_row { kpd_text keyphrase, category, title; } kpd_row;        // {NULL, 0} = none
KPDDEF void kpd_model_input(const kpd_model *m, kpd_tower tower, const kpd_row *row, kpd_input *out);

// The tokens that the model sees for an input: template, tokenizer and limit applied. Same errors as kpd_tokenize.
KPDDEF kpd_status kpd_model_tokenize(const kpd_model *m, kpd_tower tower, const kpd_input *in, bool no_special, kpd_tokens *out,
                                     kpd_error *e);

// Weights by their Hugging Face names, as row-major f32 [rows, cols]; y = x W^T. Vectors have rows = 1.
typedef struct kpd_tensor { const char *name; int32_t rows, cols; } kpd_tensor;
KPDDEF bool       kpd_model_tensor(const kpd_model *m, int32_t i, kpd_tensor *out);      // false past the end
// Errors: NOT_FOUND; FORMAT for a value that is not finite, which a mapped open does not look for: out is then partly written.
KPDDEF kpd_status kpd_model_get(const kpd_model *m, const char *name, float *out, kpd_error *e);
// Only for created models, before they are shared. Errors: NOT_FOUND; ARGUMENT (an opened model); INPUT for a value that is not
// finite, `where` = its place. On failure nothing has changed.
KPDDEF kpd_status kpd_model_set(kpd_model *m, const char *name, const float *in, kpd_error *e);

// The same model with weights of another type: for serving, smaller and faster. bf16 rounds tables and the layers' matrices to
// nearest even. int8 keeps tables as bf16 and rounds each row of a layer's matrix to -127..127; a head (pooler, classifier,
// modules) stays f32. Each of its inputs k is first divided by (largest input_k^5 / largest weight_k^3)^(1/8), so that input
// and weight share the burden, as in SmoothQuant (Xiao et al. 2023); the largest inputs are those of `texts`, or else of 64
// sequences of random tokens, which need no data. *out is the caller's. Errors: INPUT (`where` = the text that the template
// cannot take), MEMORY, FORMAT (as kpd_model_verify, which comes first), LIMIT (a weight too large for bf16, or so large that
// int8's inputs or a row of it overflow), CANCELLED. Any thread. Cost: reading and writing every weight, room for the largest
// tensor in f32 beside the model, and for int8 a pass of the texts.
typedef struct kpd_convert_desc {
    uint32_t abi;
    kpd_dtype dtype;                    // 0 = f32
    bool wide_qkv;                      // int8: 16-bit inputs of query, key, value; attention in f32: closer, a third slower
    const kpd_input *texts; size_t n_texts;             // such as the model will serve; NULL = random tokens
    kpd_tower tower;                    // whose template the texts fill
    kpd_progress progress;              // in tensors and texts
    kpd_allocator allocator;
    int32_t reserved[4];
} kpd_convert_desc;
KPDDEF kpd_status kpd_model_convert(const kpd_model *m, const kpd_convert_desc *d, kpd_model **out, kpd_error *e);

// SESSION  Scratch memory of one caller: one arena, nothing allocated afterwards. -----------------------------------

typedef struct kpd_index kpd_index;

// Where embedding and scoring spend their time. A product's share has its activation and its rounding to bf16 or int8; on
// amx a norm rounds to int8 for the product that follows. The norms are those of the layers; the head is pooling and
// modules, or pooler and classifier.
#define KPD_STAGE_LIST(X)                                                                                              \
    X(STAGE_TOKENIZE, "tokenize") X(STAGE_EMBEDDING, "embedding") X(STAGE_QKV, "qkv") X(STAGE_ATTENTION, "attention")  \
    X(STAGE_OUTPUT, "output") X(STAGE_UP, "up") X(STAGE_DOWN, "down") X(STAGE_NORMS, "norms") X(STAGE_HEAD, "head")
typedef enum kpd_stage { KPD_STAGE_LIST(KPD__ENUM) KPD_STAGE_COUNT } kpd_stage;
KPDDEF const char *kpd_stage_name(kpd_stage stage);
KPDDEF bool        kpd_stage_from_name(const char *name, kpd_stage *out);

typedef double kpd_clock_t(void *user);                    // seconds from any origin; called from any task

typedef struct kpd_session_desc {
    uint32_t abi;
    const kpd_model *student, *assistant;   // sized for these (any other no larger, of its weight type, will do); or NULL
    int32_t max_tokens;                     // tokens in flight, 0 = 4096; longer calls run in slices, with the same bits
    int32_t max_k;                          // hits a query, 0 = 1024
    int32_t max_dim;                        // of an index to search, 0 = the student's D
    kpd_simd simd;                          // forces a level; ARGUMENT if this machine lacks it, or refuses it the process
    kpd_clock_t *clock; void *clock_user;   // for kpd_session_seconds; NULL = no times are kept
    kpd_progress progress;                  // in texts, pairs or items, after each slice of max_tokens or group of 16 items; of
                                            // kpd_index_tune in parts of its work
    kpd_parallel parallel;
    kpd_allocator allocator;
    int32_t reserved[4];
} kpd_session_desc;

typedef struct kpd_session kpd_session;
KPDDEF kpd_status kpd_session_create(const kpd_session_desc *d, kpd_session **out, kpd_error *e);
KPDDEF void       kpd_session_destroy(kpd_session *s);
KPDDEF kpd_simd   kpd_session_simd(const kpd_session *s);                // the level in use
KPDDEF size_t     kpd_session_size(const kpd_session *s);                // bytes of its arena
KPDDEF int64_t    kpd_session_tokens(const kpd_session *s);              // tokens encoded since creation

// Seconds that embedding and scoring, also within kpd_recommend, have spent in a stage since creation, summed over the tasks;
// 0 without a clock. One thread, as for every call of a session. Cost: the clock is read some 16 times a layer for 128 tokens.
KPDDEF double     kpd_session_seconds(const kpd_session *s, kpd_stage stage);

// STUDENT and ASSISTANT ---------------------------------------------------------------------------------------------

// Embeds n texts with a bi-encoder. out [n, dim] is of unit length unless the model says no_normalize; dim < D keeps the
// first dim columns, normalised again [MRL] unless it is the model's truncate_dim; 0 = kpd_model_dim. Errors: INPUT for an
// input that the model's template cannot take (`where` = its number, out is zeroed), and CANCELLED (zeroed too); ARGUMENT (a
// cross-encoder, dim > D) and LIMIT (a model larger than the session was made for) leave out untouched. Cost: about 12 H^2
// multiply-adds a token and layer.
KPDDEF kpd_status kpd_embed(kpd_session *s, const kpd_model *m, kpd_tower tower, const kpd_input *in, size_t n, int32_t dim,
                            float *out, kpd_error *e);

// Scores n pairs with a cross-encoder: out [n, labels], the logits W tanh(P x_0 + p) + b [BERT]. Errors as kpd_embed.
KPDDEF kpd_status kpd_score(kpd_session *s, const kpd_model *m, const kpd_input *in, size_t n, float *out, kpd_error *e);

KPDDEF float kpd_cosine(const float *a, const float *b, int32_t dim);    // in [-1, 1]; 0 if a square vanishes or overflows
KPDDEF float kpd_sigmoid(float logit);                                   // 1 / (1 + e^-x), the probability behind one logit

// INDEX  Vectors with the host's own 64-bit ids. One writer, or any number of readers. -------------------------------

// flat compares a query with every vector, or, of int8, with every code and then with the vectors that may be among the best.
// tree is k-means lists, cut into blocks of 16 near vectors; it opens what may reach the k-th score.
#define KPD_INDEX_KIND_LIST(X) X(FLAT, "flat") X(TREE, "tree")
typedef enum kpd_index_kind { KPD_INDEX_KIND_LIST(KPD__ENUM) KPD_INDEX_KIND_COUNT } kpd_index_kind;
KPDDEF const char *kpd_index_kind_name(kpd_index_kind kind);
KPDDEF bool        kpd_index_kind_from_name(const char *name, kpd_index_kind *out);

typedef struct kpd_index_desc {
    uint32_t abi;
    int32_t dim;                        // 1..KPD_MAX_WIDTH
    kpd_metric metric;
    kpd_index_kind kind;
    kpd_dtype storage;                  // f32; of a flat index also int8: f32 and int8 codes, by which a search finds what f32
                                        // finds, to the bit, in a fraction of the time; of a tree int16, int8, or int4: nothing
                                        // but its codes. Of 10 best titles by f32, these have at most 1.00, .98 and .79
    int32_t lists;                      // of the k-means of kpd_index_build; 0 = one for 160 vectors, of more than 655,360 the
                                        // root of 4096 n / 160
    float recall;                       // of a tree's searches that name none; 0 = 0.95
    uint64_t fingerprint;               // of the model and tower that made the vectors, 0 = unknown; see kpd_recommend
    int32_t partition;                  // of its vectors, a number of the host's; see kpd_index_set_partition
    kpd_simd simd;                      // of its own sums, forced as a session's; AUTO is never AMX
    kpd_progress progress;              // of kpd_index_build: vectors compared with the lists, put into blocks, searched in
    kpd_allocator allocator;
    int32_t reserved[4];
} kpd_index_desc;

typedef struct kpd_index_info {
    int64_t count, bytes, slots;        // vectors; of memory or mapping; see kpd_index_id
    int64_t text_bytes;                 // that texts take, removed ones among them; 0 = there are none
    int32_t dim;
    kpd_metric metric;
    kpd_dtype storage;
    bool read_only;
    kpd_index_kind kind;
    int32_t lists, blocks;              // of a tree
    int32_t tuned;                      // by kpd_index_tune: for how many k and recalls
    float recall;
    uint64_t fingerprint; int32_t partition;
} kpd_index_info;

// An index of nothing. A tree makes its lists of what is upserted first, as kpd_index_build does, and cuts them in two as they
// fill. Errors: ARGUMENT names the field; UNSUPPORTED (storage, or a build that fails the level's self-test); MEMORY.
KPDDEF kpd_status kpd_index_create(const kpd_index_desc *d, kpd_index **out, kpd_error *e);

// The index of n vectors v [n, dim], a tree or a flat one; of equal ids the last wins. The same for any number of threads (p
// NULL = one). Errors as kpd_index_create and kpd_index_upsert, and CANCELLED. Memory of a tree: the vectors once more (under
// cosine and a quarter), some 50 bytes for each, and the index. Cost of a tree: 64 vectors a list are compared with every list
// 8 times, then all vectors once. In the end 128 of a tree's vectors (of 16 dimensions or more, where there are as many) are
// searched for, so that a recall is about what is found of k 10 by queries that lie as the vectors do; by other queries it may
// be less, until kpd_index_tune has seen some. An upsert that leaves half of a tree's vectors new since then does so again.
// Vectors with a large part in common (of two a cosine above .95) defeat a tree's codes: a fifth may be found whatever recall
// below 1 is asked for. kpd_index_tune then says what is found; take recall 1, a flat index, or the mean away (L2).
KPDDEF kpd_status kpd_index_build(const kpd_index_desc *d, const kpd_parallel *p, const int64_t *ids, const float *v,
                                  size_t n, kpd_index **out, kpd_error *e);

// As kpd_model_open. Mapped or borrowed it is read-only; with d->copy it can be written to.
KPDDEF kpd_status kpd_index_open(const char *path, const kpd_open_desc *d, kpd_index **out, kpd_error *e);
// As kpd_model_save. Two programs that each open an index, change it and save it lose the changes of one: whoever does so takes
// a lock before opening (the command line: flock on the file, then again if it was replaced meanwhile).
KPDDEF kpd_status kpd_index_save(const kpd_index *x, const char *path, kpd_error *e);
KPDDEF kpd_status kpd_index_write(const kpd_index *x, kpd_write_t *write, void *user, kpd_error *e);    // as kpd_model_write
KPDDEF void       kpd_index_destroy(kpd_index *x);
KPDDEF void       kpd_index_get_info(const kpd_index *x, kpd_index_info *out);
KPDDEF int64_t    kpd_index_count(const kpd_index *x);                  // vectors: info.count

// Adds n vectors v [n, dim], or replaces those whose id is there; of equal ids in one call the last wins. All or nothing:
// on MEMORY, or a value that is not finite (INPUT, `where` = the row), or a zero vector under cosine, or in a tree under dot or
// l2 one longer than 1e15, nothing changes. But in a tree of int16, int8 or int4 the 16 vectors of a block share the step of
// their numbers: next to one that is 100 times as long, under dot or l2, int8 leaves little of the others, and for good.
// Only ids that are new need room: a tree asks for some where a replaced vector's new neighbours have no place, but without it
// the vector stays among its old ones, where searches of less than recall 1 find it less well until kpd_index_compact. Where
// half of a tree is new since recalls were measured, they are measured again, on the calling thread: 128 dim multiply-adds for
// each vector of the tree and up to some thousand searches; without memory for that at the next upsert. Ids that an adversary
// chooses can make it slow: they collide.
KPDDEF kpd_status kpd_index_upsert(kpd_index *x, const int64_t *ids, const float *v, size_t n, kpd_error *e);
// Room for n vectors in all, so that upserts up to there need not copy what is there to make some. Errors: ARGUMENT
// (read-only), LIMIT, MEMORY: nothing has changed.
KPDDEF kpd_status kpd_index_reserve(kpd_index *x, size_t n, kpd_error *e);
// Removes those that are there; *removed (or NULL) says how many. Ids of the others stay. A flat index of int8
// makes the codes of each 16 vectors that changed anew, once a call.
KPDDEF kpd_status kpd_index_remove(kpd_index *x, const int64_t *ids, size_t n, size_t *removed, kpd_error *e);
// compact makes an index anew of what it holds: a tree as kpd_index_build would of these vectors in the order of their ids and
// with lists 0, a flat one without spare room, and texts without gaps. merge takes in the vectors, texts and partitions of n
// others too, which may be of any kind and storage, and keeps all ids: of equal ones what the last index has.
// p NULL = one thread; progress NULL = nobody asks, else as in kpd_index_desc. Vectors as int16, int8 or int4 are rounded once
// more. On failure nothing has changed. Errors: ARGUMENT (read-only; another dim, metric or known fingerprint: `where` = the
// other's number), INPUT (a tree is to take a flat index's vector that is too long for it), FORMAT (an unverified file lies),
// LIMIT, MEMORY, CANCELLED. Memory: as kpd_index_build, beside the old index, and some 40 bytes a vector.
KPDDEF kpd_status kpd_index_compact(kpd_index *x, const kpd_parallel *p, const kpd_progress *progress, kpd_error *e);
KPDDEF kpd_status kpd_index_merge(kpd_index *x, const kpd_index *const *others, size_t n, const kpd_parallel *p,
                                  const kpd_progress *progress, kpd_error *e);
KPDDEF kpd_status kpd_index_get(const kpd_index *x, int64_t id, float *out, kpd_error *e);       // [dim] as stored; NOT_FOUND
// Texts, of any bytes, that the index keeps for its ids, and its file with it: keyphrases, say. set_text gives n ids theirs, in
// place of what they had; an empty one is none. They go with their ids; a vector that is replaced keeps its text. Copied. All
// or nothing: NOT_FOUND (an id that is not there, `where` = its number), INPUT (NULL with a size), LIMIT (over KPD_MAX_TEXT
// bytes), MEMORY. text gives that of an id, valid until the index changes, empty where it has none: NOT_FOUND; FORMAT where an
// unverified file lies.
KPDDEF kpd_status kpd_index_set_text(kpd_index *x, const int64_t *ids, const kpd_text *texts, size_t n, kpd_error *e);
KPDDEF kpd_status kpd_index_text(const kpd_index *x, int64_t id, kpd_text *out, kpd_error *e);
// The same for the partition that an id is of, a language or a shop, say, by which searches can be filtered.
KPDDEF kpd_status kpd_index_set_partition(kpd_index *x, const int64_t *ids, const int32_t *partitions, size_t n, kpd_error *e);
KPDDEF kpd_status kpd_index_partition(const kpd_index *x, int64_t id, int32_t *out, kpd_error *e);
KPDDEF bool       kpd_index_contains(const kpd_index *x, int64_t id);
// The id of a slot, 0..info.slots-1, in no particular order; false (id untouched) beyond, and where a slot is empty, as some of
// a tree are.
KPDDEF bool       kpd_index_id(const kpd_index *x, int64_t slot, int64_t *id);

typedef struct kpd_hit { int64_t id; float score; } kpd_hit;
typedef bool kpd_filter_t(void *user, int64_t id);                       // true = may be returned; called from any task

typedef struct kpd_search_desc {
    uint32_t abi;
    int32_t k;                          // 0 = 10, also where that is over the session's max_k: rows of out are k long
    bool threshold; float min_score;    // leave out scores below
    // Filters: an id may be returned that passes all there are. Lists ascend.
    bool only_ids; const int64_t *ids; size_t n_ids;                        // these ids; n_ids 0 = none
    bool only_bits; const uint64_t *bits; int64_t first_bit; size_t n_bits;     // bit i % 64 of bits[i / 64]: first_bit + i
    bool only_partitions; const int32_t *partitions; size_t n_partitions;   // ids of these partitions
    kpd_filter_t *filter; void *filter_user;
    float recall;                       // of a tree: about what share of the k best is found, of its vectors as it stores them;
                                        // 0 = the index's, 1 = all
    float gamma;                        // of a tree, over recall: a node is opened where its score + gamma * radius may count
    float breadth, candidates;          // with gamma, times as many as is the rule, 0 = 1: of blocks scanned before it is known
                                        // what may count, .25..2; of vectors scored from their rows at the end, .5..8
    int32_t reserved[4];
} kpd_search_desc;

// The k best of each of n queries q [n, dim], by score descending, then id ascending: the same whatever the threads. A flat
// index finds all, and so does a tree with recall 1 or fewer than 16 dimensions; else some may be missing. With filters it is
// the k best of what passes, at the same recall; where ids, bits or partitions leave few vectors, these are all compared.
// Scores are those of the vectors that kpd_index_get gives, a chain over dim each. out [n, k]; counts [n] says how many of each
// row are written (of all fewer than k only when no more qualify). d NULL = defaults. Errors: ARGUMENT (k < 0; recall, gamma or
// min_score out of range; a filter's list that does not ascend), INPUT (a query that an upsert would refuse, `where` = its
// row), LIMIT (k or dim over the session's). Allocates nothing. Cost: n * count * dim multiply-adds,
// of a tree a few hundredths of that, and reading the filter's lists once. Threads share out the vectors of a flat index, but
// the queries of a tree.
KPDDEF kpd_status kpd_index_search(kpd_session *s, const kpd_index *x, const float *q, size_t n, const kpd_search_desc *d,
                                   kpd_hit *out, int32_t *counts, kpd_error *e);

typedef struct kpd_tuning {
    float gamma, breadth, candidates;   // see kpd_search_desc
    float recall;                       // as measured with these
    int64_t work, plain;                // of all queries, in blocks scanned; plain: with breadth and candidates 1
} kpd_tuning;

// Finds with what gamma (to 0.01), breadth (.25, .5, 1, 2) and candidates (.5, .75, 1, 1.5; where they do not suffice 2, 4, 8)
// a tree finds `recall` of the k best (0 = 10) of n sample queries, measured against all its vectors, with the least work; and
// keeps it for searches of this recall and about k, unless the index is read-only; saved with it. Work is a count, not a time,
// and so the same everywhere: a block is 1, one of the first phase 2, nodes of 16 groups, lists or blocks 2, a candidate 3. out
// may be NULL. Where nothing up to gamma 1 suffices, what finds most is taken: out->recall tells. Errors: ARGUMENT (a flat
// index, no queries, recall not in (0, 1)), those of kpd_index_search, MEMORY, CANCELLED. Cost: n * count * dim multiply-adds,
// and 50 to 80 searches of each query.
KPDDEF kpd_status kpd_index_tune(kpd_session *s, kpd_index *x, const float *q, size_t n, int32_t k, float recall,
                                 kpd_tuning *out, kpd_error *e);

typedef struct kpd_kmeans_desc {
    uint32_t abi;
    int32_t k;                          // centroids, 1..n
    kpd_metric metric;                  // cosine: of unit length, by the greatest cosine; else by the least distance
    int32_t rounds, samples;            // of Lloyd's algorithm, 0 = 10; vectors a centroid is made of on average, 0 = 64
    uint64_t seed;
    kpd_simd simd;
    kpd_progress progress;              // vectors compared with the centroids
    kpd_parallel parallel;
    kpd_allocator allocator;
    int32_t reserved[4];
} kpd_kmeans_desc;

// k-means [Lloyd 1982] of v [n, dim]: out [k, dim], and nearest [n], the centroid of each vector, or NULL. A centroid that
// loses its vectors takes the one that lies farthest from its own. The same bits for any number of threads. Errors as
// kpd_index_build.
KPDDEF kpd_status kpd_kmeans(const kpd_kmeans_desc *d, const float *v, size_t n, int32_t dim, float *out, int32_t *nearest,
                             kpd_error *e);

// RECOMMEND  embed the item -> search -> drop duplicates -> assistant filter -> rank --------------------------------

// The keyphrase of an id, valid until kpd_recommend returns; false = gone, left out. Called by the calling thread.
typedef bool kpd_lookup_t(void *user, int64_t id, kpd_text *out);

// Fills out[0..n) with how relevant the n keyphrases `ids` are to item number `item` of the call, 0 to 1: a search engine's
// score, a calibrated one, or a mixture. false = stop, with CANCELLED. Called by the calling thread.
typedef bool kpd_relevance_t(void *user, int64_t item, const int64_t *ids, int32_t n, float *out);

typedef struct kpd_recommend_desc {
    uint32_t abi;
    const kpd_model *student;           // required; the index's dim picks the first columns of its embedding
    const kpd_index *index;             // required, of keyphrases; of an opened student's fingerprint, where it has one
    const kpd_model *assistant;         // NULL = no filter; one label
    kpd_search_desc search;             // k = candidates an item, before duplicates and filter
    kpd_lookup_t *lookup; void *lookup_user;   // required
    kpd_relevance_t *relevance; void *relevance_user;   // in place of an assistant
    float min_relevance;                // keep relevances of at least this; 0 = all. Ours: no value is in the paper. This and
    bool rank_by_relevance;             // that want one of the two; else by similarity
    bool same_words_are_duplicates;     // "case iphone" = "iphone case"
    int32_t reserved[4];
} kpd_recommend_desc;

typedef struct kpd_recommendation {
    int64_t id;
    float similarity;                   // the index's score
    float relevance;                    // the assistant's probability, or the callback's number; NaN without either
} kpd_recommendation;

// For n items (title, category), of which each model reads what its template names: out [n, k], counts [n], all 0 after an
// error. Two keyphrases are duplicates when their student tokens are equal (in any order of words, under
// same_words_are_duplicates); the better ranked stays. Equal ranks go by id.
// Errors as the calls it makes, and CANCELLED; `where` = the item. Cost: an embedding, a search and k scores an item;
// comparing candidates with each other takes k^2 steps at worst, which tells from some thousands on.
KPDDEF kpd_status kpd_recommend(kpd_session *s, const kpd_recommend_desc *d, const kpd_input *items, size_t n,
                                kpd_recommendation *out, int32_t *counts, kpd_error *e);

#ifdef __cplusplus
}
#endif
#endif // KPD_H

// ------------------------------------------------------------------------------------------------------------------
// IMPLEMENTATION, part A: all but the kernels of a SIMD level.
#if defined(KPD_IMPLEMENTATION) && !defined(KPD__IMPLEMENTED)
#define KPD__IMPLEMENTED
#define KPD__IMPLEMENTING

// >>config  What the compiler and the machine must be. Relies on nothing. Promises IEEE arithmetic as written, or no build.

#if defined(__FAST_MATH__) || defined(__ASSOCIATIVE_MATH__) || defined(__RECIPROCAL_MATH__) || \
    (defined(__FINITE_MATH_ONLY__) && __FINITE_MATH_ONLY__ != 0)
#error "kpd.h: results are promised to the bit; compile this file without -ffast-math and its parts"
#endif

#include <errno.h>
#include <float.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>      // snprintf, rename, remove
#include <stdlib.h>
#include <string.h>

#if defined(_MSC_VER) && !defined(__clang__)
#error "kpd.h: MSVC is not supported; compile this file with clang or gcc (MinGW)"
#endif
#if defined(FLT_EVAL_METHOD) && FLT_EVAL_METHOD != 0 && FLT_EVAL_METHOD != 16
#error "kpd.h: float arithmetic must not be widened; use SSE (-mfpmath=sse) instead of the x87"
#endif
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "kpd.h: little-endian machines only, since files are mapped as they lie"
#endif

// Kernels are one question, the floating-point state another: it is there without them too. On Windows gcc does not align the
// stack to the vectors that it puts there.
#if defined(_WIN32) && !defined(__clang__) && !defined(KPD_NO_SIMD)
#define KPD_NO_SIMD
#endif
#if !defined(KPD_NO_SIMD) && (defined(__GNUC__) || defined(__clang__))
#if defined(__x86_64__)
#define KPD__X86
#include <cpuid.h>
#include <immintrin.h>
#elif defined(__aarch64__)
#define KPD__ARM
#include <arm_neon.h>
#ifdef __linux__
#define KPD__ARM_DOT
#include <sys/auxv.h>
#if (defined(__clang__) && __clang_major__ >= 11) || (!defined(__clang__) && __GNUC__ >= 10)
#define KPD__ARM_I8MM
#endif
#endif
#endif
#endif
#if defined(__SSE__) || defined(_M_X64)
#define KPD__MXCSR
#include <xmmintrin.h>
#elif defined(__aarch64__) && (defined(__GNUC__) || defined(__clang__))
#define KPD__FPCR
#endif

#if defined(__unix__) || defined(__APPLE__)
#define KPD__POSIX
#include <fcntl.h>
#ifndef O_CLOEXEC
#define O_CLOEXEC 0
#endif
#include <sys/stat.h>
#include <unistd.h>
#ifndef KPD_NO_MMAP
#include <sys/mman.h>
#endif
#if defined _POSIX_C_SOURCE ? _POSIX_C_SOURCE >= 200112L : !defined __STRICT_ANSI__ || !defined __GLIBC__
#define KPD__READLINK
#endif
#elif defined(_WIN32)   // of kernel32, declared here to keep the macros of windows.h out of hosts
#define KPD__WINDOWS
#include <io.h>
#include <wchar.h>
#ifdef __cplusplus
extern "C" {
#endif
__declspec(dllimport) int __stdcall MultiByteToWideChar(unsigned, unsigned long, const char *, int, wchar_t *, int);
__declspec(dllimport) int __stdcall MoveFileExW(const wchar_t *, const wchar_t *, unsigned long);
#ifdef __cplusplus
}
#endif
#endif
#ifdef KPD_THREADS
#include <pthread.h>
#include <signal.h>
#if defined KPD__POSIX && defined SIG_SETMASK && (!defined _POSIX_C_SOURCE || _POSIX_C_SOURCE >= 199506L)   // that has threads
#define KPD__SIGMASK
#endif
#endif

// A product that feeds a sum is fused only where fma is written. gcc fuses by default, even through intrinsics.
#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#elif defined(__GNUC__)
#pragma GCC push_options
#pragma GCC optimize("fp-contract=off")
#endif

#if defined(__GNUC__) || defined(__clang__)
#define KPD__UNUSED __attribute__((unused))
#define KPD__ALWAYS_INLINE static inline __attribute__((always_inline, unused))
#else
#define KPD__UNUSED
#define KPD__ALWAYS_INLINE static inline
#endif

// >>status  Names and messages. Relies on snprintf. Promises that a message is whole UTF-8 without control characters, whatever
// bytes the paths, names and texts have that it quotes.

#define KPD__TEXT(name, text) text,
#define KPD__ENUM_NAMES(type, list)                                                                                    \
    static const char *type##__text(size_t i) {                                                                        \
        static const char *const names[] = {list(KPD__TEXT) "?"};                                                      \
        return names[i < sizeof names / sizeof *names ? i : sizeof names / sizeof *names - 1];                         \
    }                                                                                                                  \
    KPDDEF const char *type##_name(type x) { return type##__text((size_t)x); }                                         \
    KPDDEF bool type##_from_name(const char *name, type *out) {                                                        \
        for (size_t i = 0; name && strcmp(type##__text(i), "?"); i++)                                                  \
            if (!strcmp(type##__text(i), name)) { *out = (type)i; return true; }                                       \
        return false;                                                                                                  \
    }
KPD__ENUM_NAMES(kpd_status, KPD_STATUS_LIST)
KPD__ENUM_NAMES(kpd_simd, KPD_SIMD_LIST)
KPD__ENUM_NAMES(kpd_tokenizer_kind, KPD_TOKENIZER_KIND_LIST)
KPD__ENUM_NAMES(kpd_kind, KPD_KIND_LIST)
KPD__ENUM_NAMES(kpd_architecture, KPD_ARCHITECTURE_LIST)
KPD__ENUM_NAMES(kpd_dtype, KPD_DTYPE_LIST)
KPD__ENUM_NAMES(kpd_tower, KPD_TOWER_LIST)
KPD__ENUM_NAMES(kpd_pooling, KPD_POOLING_LIST)
KPD__ENUM_NAMES(kpd_activation, KPD_ACTIVATION_LIST)
KPD__ENUM_NAMES(kpd_module_kind, KPD_MODULE_KIND_LIST)
KPD__ENUM_NAMES(kpd_file_kind, KPD_FILE_KIND_LIST)
KPD__ENUM_NAMES(kpd_stage, KPD_STAGE_LIST)
KPD__ENUM_NAMES(kpd_metric, KPD_METRIC_LIST)
KPD__ENUM_NAMES(kpd_index_kind, KPD_INDEX_KIND_LIST)

// Bytes of the character at s, of n; 0 where there is none that can be shown: not UTF-8, or for a terminal to obey.
static size_t kpd__legible(const char *text, size_t n) {
    const unsigned char *s = (const unsigned char *)text;
    size_t length = s[0] < 0xC2 ? 1 : s[0] < 0xE0 ? 2 : s[0] < 0xF0 ? 3 : 4;
    unsigned least = s[0] == 0xC2 || s[0] == 0xE0 ? 0xA0 : s[0] == 0xF0 ? 0x90 : 0x80;   // C2 80 to 9F are control characters
    unsigned most = s[0] == 0xED ? 0x9F : s[0] == 0xF4 ? 0x8F : 0xBF;
    if (length == 1) return s[0] >= 0x20 && s[0] < 0x7F;
    if (s[0] > 0xF4 || length > n || s[1] < least || s[1] > most) return 0;
    for (size_t i = 2; i < length; i++)
        if ((s[i] & 0xC0) != 0x80) return 0;
    return length;
}

// How many of n bytes fit into `most` when they are shown; a byte that is no character takes the four of \x1B.
static int kpd__shown(const char *text, size_t n, size_t most) {
    size_t i = 0;
    while (i < n) {
        size_t length = kpd__legible(text + i, n - i), width = length ? length : 4;
        if (width > most) break;
        most -= width;
        i += length ? length : 1;
    }
    return (int)i;
}

// For %.*s: the beginning of a text from outside, so that the rest of the message has room.
#define KPD__SHOWN(text, most) kpd__shown(text, strlen(text), most), text

static void kpd__show(char *to, size_t size, const char *from) {
    size_t n = strlen(from), end = (size_t)kpd__shown(from, n, size - 1), at = 0;
    bool cut = end < n;
    if (cut) end = (size_t)kpd__shown(from, n, size - 4);
    for (size_t i = 0; i < end;) {
        size_t length = kpd__legible(from + i, n - i);
        if (length) memcpy(to + at, from + i, length);
        else snprintf(to + at, 5, "\\x%02X", (unsigned)(unsigned char)from[i]);
        at += length ? length : 4;
        i += length ? length : 1;
    }
    memcpy(to + at, "...", cut ? 3 : 0);
    to[at + (cut ? 3 : 0)] = 0;
}

// The arguments may be e's own message.
KPDDEF kpd_status kpd_error_set(kpd_error *e, kpd_status s, int64_t where, const char *format, ...) {
    char raw[1024];
    va_list args;
    if (!e) return s;
    va_start(args, format);
    vsnprintf(raw, sizeof raw, format, args);
    va_end(args);
    e->status = s;
    e->where = where;
    kpd__show(e->message, sizeof e->message, raw);
    return s;
}
#define kpd__fail kpd_error_set

// How every public call that takes e ends: what has succeeded says so there too.
static kpd_status kpd__end(kpd_status s, kpd_error *e) {
    if (s || !e) return s;
    e->status = KPD_OK;
    e->where = -1;
    e->message[0] = 0;
    return KPD_OK;
}

// How much of a call's work is done, for the host's callback.
typedef struct kpd__progress { const kpd_progress *host; size_t done, of; } kpd__progress;

static kpd_status kpd__progress_add(kpd__progress *p, size_t n, kpd_error *e) {
    const kpd_progress *host = p->host;
    p->done += n;
    if (!host || !host->report || host->report(host->user, (int64_t)p->done, (int64_t)p->of)) return KPD_OK;
    return kpd__fail(e, KPD_ERR_CANCELLED, -1, "stopped by the host's progress callback at %lld of %lld", (long long)p->done,
                     (long long)p->of);
}

// Up to `done`, where that was not said already: it always grows.
static kpd_status kpd__progress_to(kpd__progress *p, size_t done, kpd_error *e) {
    return p->done < done ? kpd__progress_add(p, done - p->done, e) : KPD_OK;
}

static kpd_status kpd__no_memory(kpd_error *e, size_t size) {
    return kpd__fail(e, KPD_ERR_MEMORY, -1, "out of memory: %llu bytes were refused", (unsigned long long)size);
}

// >>memory  Overflow-safe sizes, the host's allocator, arenas, the file checksum. Promises that memory comes zeroed, and
// that a size which does not fit is noticed before it is used.

static bool kpd__add_ok(size_t a, size_t b, size_t *out) {
    if (a > SIZE_MAX - b) return false;
    *out = a + b;
    return true;
}

static bool kpd__mul_ok(size_t a, size_t b, size_t *out) {
    if (b && a > SIZE_MAX / b) return false;
    *out = a * b;
    return true;
}

static size_t kpd__round_up(size_t n, size_t unit) { return (n + unit - 1) / unit * unit; }
static size_t kpd__min(size_t a, size_t b) { return a < b ? a : b; }
static float kpd__lesser(float a, float b) { return a < b ? a : b; }
static float kpd__wider(float most, float v) { return fabsf(v) > most ? fabsf(v) : most; }
static size_t kpd__max(size_t a, size_t b) { return a > b ? a : b; }

static float kpd__widest(const float *v, size_t n) {
    float most = 0;
    for (size_t i = 0; i < n; i++) most = kpd__wider(most, v[i]);
    return most;
}

// Heapsort of n numbers: no memory beside them, and no bad case. before(of, x, y): x goes before y. Inlined with it, since a
// search in a tree sorts too.
typedef bool kpd__before_t(const void *of, uint32_t x, uint32_t y);

KPD__ALWAYS_INLINE void kpd__sift(uint32_t *a, size_t i, size_t n, kpd__before_t *before, const void *of) {
    uint32_t v = a[i];
    for (size_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && before(of, a[child], a[child + 1])) child++;
        if (!before(of, v, a[child])) break;
        a[i] = a[child];
    }
    a[i] = v;
}

KPD__ALWAYS_INLINE void kpd__sort(uint32_t *a, size_t n, kpd__before_t *before, const void *of) {
    for (size_t i = n / 2; i-- > 0;) kpd__sift(a, i, n, before, of);
    for (size_t i = n; i-- > 1;) {
        uint32_t v = a[0];
        a[0] = a[i];
        a[i] = v;
        kpd__sift(a, 0, i, before, of);
    }
}

KPDDEF uint32_t kpd_abi(void) { return KPD_ABI; }

// Of every desc first. A desc that nobody zeroed is likely to end here too.
static kpd_status kpd__desc_check(const char *what, uint32_t abi, const int32_t reserved[4], kpd_error *e) {
    if (abi && abi != KPD_ABI)
        return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "%s: the desc's abi is %lu, expected 0 or this library's %d", what,
                         (unsigned long)abi, KPD_ABI);
    for (int i = 0; i < 4; i++)
        if (reserved[i])
            return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "%s: the desc's reserved[%d] is %ld, expected 0", what, i,
                             (long)reserved[i]);
    return KPD_OK;
}

static bool kpd__allocator_ok(const kpd_allocator *a) { return !a || !a->alloc == !a->free; }

static void *kpd__alloc(const kpd_allocator *a, size_t size) {
    void *p;
    if (!a || !a->alloc) return calloc(1, size ? size : 1);
    p = a->alloc(a->user, size);
    if (p) memset(p, 0, size);
    return p;
}

static void kpd__free(const kpd_allocator *a, void *p, size_t size) {
    if (!p) return;
    if (a && a->free) a->free(a->user, p, size);
    else free(p);
}

// An aligned block inside an allocation that is 64 bytes larger.
static void *kpd__align64(void *p) { return (char *)p + (64 - (uintptr_t)p % 64) % 64; }

// An arena counts when base is NULL and hands out when it is not, so one function both sizes and lays out a session.
typedef struct kpd__arena { char *base; size_t used; bool overflow; } kpd__arena;

static void *kpd__take(kpd__arena *a, size_t count, size_t size) {
    size_t bytes = 0, at = a->used, end = 0;
    if (!kpd__mul_ok(count, size, &bytes) || !kpd__add_ok(at, bytes, &end) || end > SIZE_MAX - 64) {
        a->overflow = true;
        return NULL;
    }
    a->used = kpd__round_up(end, 64);
    return a->base ? a->base + at : NULL;
}

// An arena that has counted hands out from now on: from a block of its own, zeroed, to be freed by the caller.
static kpd_status kpd__arena_block(kpd__arena *a, const kpd_allocator *allocator, const char *what, void **block, size_t *size,
                                   kpd_error *e) {
    *size = 0;                          // for compilers that do not see that a failure ends its caller
    *block = NULL;
    if (a->overflow || a->used > SIZE_MAX - 64)
        return kpd__fail(e, KPD_ERR_LIMIT, -1, "%s: does not fit this machine's memory", what);
    *size = a->used + 64;
    *block = kpd__alloc(allocator, *size);
    if (!*block) return kpd__no_memory(e, *size);
    a->base = (char *)kpd__align64(*block);
    a->used = 0;
    return KPD_OK;
}

static uint64_t kpd__read64(const uint8_t *p) { uint64_t v; memcpy(&v, p, 8); return v; }
// The finaliser of SplitMix64 [Steele et al. 2014].
static uint64_t kpd__mix(uint64_t z) {
    z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
    return z ^ z >> 31;
}

static uint64_t kpd__rotate(uint64_t v, int r) { return v << r | v >> (64 - r); }

#define KPD__P1 UINT64_C(0x9E3779B185EBCA87)
#define KPD__P2 UINT64_C(0xC2B2AE3D27D4EB4F)
#define KPD__P3 UINT64_C(0x165667B19E3779F9)
#define KPD__P4 UINT64_C(0x85EBCA77C2B2AE63)
#define KPD__P5 UINT64_C(0x27D4EB2F165667C5)

static uint64_t kpd__hash_round(uint64_t acc, uint64_t v) { return kpd__rotate(acc + v * KPD__P2, 31) * KPD__P1; }

// The last 0 to 31 bytes, and the avalanche.
static uint64_t kpd__hash_end(uint64_t h, const uint8_t *p, const uint8_t *end) {
    uint32_t word;
    for (; end - p >= 8; p += 8) h = kpd__rotate(h ^ kpd__hash_round(0, kpd__read64(p)), 27) * KPD__P1 + KPD__P4;
    if (end - p >= 4) {
        memcpy(&word, p, 4);
        h = kpd__rotate(h ^ word * KPD__P1, 23) * KPD__P2 + KPD__P3;
        p += 4;
    }
    for (; p < end; p++) h = kpd__rotate(h ^ *p * KPD__P5, 11) * KPD__P1;
    h = (h ^ h >> 33) * KPD__P2;
    h = (h ^ h >> 29) * KPD__P3;
    return h ^ h >> 32;
}

// XXH64 with seed 0 [xxHash specification 0.2]. About 10 GB/s.
static uint64_t kpd__hash64(const void *data, size_t size) {
    const uint8_t *p = (const uint8_t *)(size ? data : ""), *end = p + size;   // NULL + 0 is undefined
    uint64_t a = KPD__P1 + KPD__P2, b = KPD__P2, c = 0, d = 0 - KPD__P1, h;
    if (size < 32) return kpd__hash_end(KPD__P5 + size, p, end);
    for (; end - p >= 32; p += 32) {
        a = kpd__hash_round(a, kpd__read64(p));
        b = kpd__hash_round(b, kpd__read64(p + 8));
        c = kpd__hash_round(c, kpd__read64(p + 16));
        d = kpd__hash_round(d, kpd__read64(p + 24));
    }
    h = kpd__rotate(a, 1) + kpd__rotate(b, 7) + kpd__rotate(c, 12) + kpd__rotate(d, 18);
    h = (h ^ kpd__hash_round(0, a)) * KPD__P1 + KPD__P4;
    h = (h ^ kpd__hash_round(0, b)) * KPD__P1 + KPD__P4;
    h = (h ^ kpd__hash_round(0, c)) * KPD__P1 + KPD__P4;
    h = (h ^ kpd__hash_round(0, d)) * KPD__P1 + KPD__P4;
    return kpd__hash_end(h + size, p, end);
}

KPDDEF kpd_input kpd_input_str(const char *a, const char *b, const char *c) {
    const char *s[3];
    kpd_input in;
    memset(&in, 0, sizeof in);
    s[0] = a; s[1] = b; s[2] = c;
    for (; in.n_parts < 3 && s[in.n_parts]; in.n_parts++) {
        in.part[in.n_parts].data = s[in.n_parts];
        in.part[in.n_parts].size = strlen(s[in.n_parts]);
    }
    return in;
}

// >>threads  Floating-point state, splitting work, the built-in pool. Promises that every task computes with
// round-to-nearest and denormals on, whatever the host set, and that the host's settings come back.

// As a program begins: nearest, extended, exceptions masked. Where the host's traps are on, ours must not reach them.
#if !defined(KPD__MXCSR)
#elif defined(__i386__)
static uint64_t kpd__x87_enter(void) {
    const uint16_t ours = 0x037F;
    uint16_t saved;
    __asm__ volatile("fnstcw %0\n\tfldcw %1" : "=m"(saved) : "m"(ours) : "memory");
    return (uint64_t)saved << 32;
}
static void kpd__x87_leave(uint64_t saved) {
    const uint16_t host = (uint16_t)(saved >> 32);
    if ((host & 0x3F) != 0x3F) __asm__ volatile("fnclex" : : : "memory");
    __asm__ volatile("fldcw %0" : : "m"(host) : "memory");
}
#else
static uint64_t kpd__x87_enter(void) { return 0; }
static void kpd__x87_leave(uint64_t saved) { (void)saved; }
#endif

static uint64_t kpd__fp_enter(void) {
#if defined(KPD__MXCSR)
    uint64_t saved = _mm_getcsr();
    _mm_setcsr((uint32_t)((saved & ~(uint64_t)0xE040) | 0x1F80));   // no FTZ, DAZ; nearest; exceptions masked
    return saved | kpd__x87_enter();    // which 32-bit code converts 64-bit integers in
#elif defined(KPD__FPCR)
    uint64_t saved;
    __asm__ volatile("mrs %0, fpcr" : "=r"(saved));
    __asm__ volatile("msr fpcr, %0" : : "r"((uint64_t)0) : "memory");
    return saved;
#else
    return 0;
#endif
}

static void kpd__fp_leave(uint64_t saved) {
#if defined(KPD__MXCSR)
    kpd__x87_leave(saved);
    _mm_setcsr((uint32_t)saved);
#elif defined(KPD__FPCR)
    __asm__ volatile("msr fpcr, %0" : : "r"(saved) : "memory");
#else
    (void)saved;
#endif
}

// A compiler orders float arithmetic neither with the instructions that set the state nor with a call that it can see into: it
// would compute in whatever state the host left. So all that touches floats stands behind a pointer that nothing is known of,
// and reaches its numbers through another, since a profile may have told which function is meant.
typedef kpd_status kpd__work(void *arg);

static kpd_status kpd__guarded(kpd__work *work, void *arg) {
    kpd__work *volatile hidden = work;
    void *volatile numbers = arg;
    uint64_t saved = kpd__fp_enter();
    kpd_status s = hidden(numbers);
    kpd__fp_leave(saved);
    return s;
}

// Defines the public call f(parameters, e) as inner(parameters, e), guarded. n parameters, each as type, name.
#define KPD__GUARDED(n, f, inner, ...)                                                                                         \
    typedef struct inner##_call { KPD__FIELDS_##n(__VA_ARGS__) kpd_error *e; } inner##_call;                                   \
    static kpd_status inner##_work(void *arg) {                                                                                \
        const inner##_call *call = (const inner##_call *)arg;                                                                  \
        return inner(KPD__VALUES_##n(call->, __VA_ARGS__), call->e);                                                           \
    }                                                                                                                          \
    KPDDEF kpd_status f(KPD__PARAMETERS_##n(__VA_ARGS__), kpd_error *e) {                                                      \
        inner##_call call = {KPD__VALUES_##n(, __VA_ARGS__), e};                                                               \
        return kpd__end(kpd__guarded(inner##_work, &call), e);                                                                 \
    }
#define KPD__FIELDS_1(T, x) T x;
#define KPD__FIELDS_2(T, x, ...) T x; KPD__FIELDS_1(__VA_ARGS__)
#define KPD__FIELDS_3(T, x, ...) T x; KPD__FIELDS_2(__VA_ARGS__)
#define KPD__FIELDS_4(T, x, ...) T x; KPD__FIELDS_3(__VA_ARGS__)
#define KPD__FIELDS_5(T, x, ...) T x; KPD__FIELDS_4(__VA_ARGS__)
#define KPD__FIELDS_6(T, x, ...) T x; KPD__FIELDS_5(__VA_ARGS__)
#define KPD__FIELDS_7(T, x, ...) T x; KPD__FIELDS_6(__VA_ARGS__)
#define KPD__FIELDS_8(T, x, ...) T x; KPD__FIELDS_7(__VA_ARGS__)
#define KPD__PARAMETERS_1(T, x) T x
#define KPD__PARAMETERS_2(T, x, ...) T x, KPD__PARAMETERS_1(__VA_ARGS__)
#define KPD__PARAMETERS_3(T, x, ...) T x, KPD__PARAMETERS_2(__VA_ARGS__)
#define KPD__PARAMETERS_4(T, x, ...) T x, KPD__PARAMETERS_3(__VA_ARGS__)
#define KPD__PARAMETERS_5(T, x, ...) T x, KPD__PARAMETERS_4(__VA_ARGS__)
#define KPD__PARAMETERS_6(T, x, ...) T x, KPD__PARAMETERS_5(__VA_ARGS__)
#define KPD__PARAMETERS_7(T, x, ...) T x, KPD__PARAMETERS_6(__VA_ARGS__)
#define KPD__PARAMETERS_8(T, x, ...) T x, KPD__PARAMETERS_7(__VA_ARGS__)
#define KPD__VALUES_1(of, T, x) of x
#define KPD__VALUES_2(of, T, x, ...) of x, KPD__VALUES_1(of, __VA_ARGS__)
#define KPD__VALUES_3(of, T, x, ...) of x, KPD__VALUES_2(of, __VA_ARGS__)
#define KPD__VALUES_4(of, T, x, ...) of x, KPD__VALUES_3(of, __VA_ARGS__)
#define KPD__VALUES_5(of, T, x, ...) of x, KPD__VALUES_4(of, __VA_ARGS__)
#define KPD__VALUES_6(of, T, x, ...) of x, KPD__VALUES_5(of, __VA_ARGS__)
#define KPD__VALUES_7(of, T, x, ...) of x, KPD__VALUES_6(of, __VA_ARGS__)
#define KPD__VALUES_8(of, T, x, ...) of x, KPD__VALUES_7(of, __VA_ARGS__)

typedef struct kpd__job { kpd_task_t *task; void *arg; int32_t i; } kpd__job;

static kpd_status kpd__job_work(void *arg) {
    const kpd__job *j = (const kpd__job *)arg;
    j->task(j->arg, j->i);
    return KPD_OK;
}

// On a thread of the host's, whose state is its own.
static void kpd__job_run(void *arg, int32_t i) {
    kpd__job j = *(const kpd__job *)arg;
    j.i = i;
    kpd__guarded(kpd__job_work, &j);
}

// task(arg, 0..n-1), through the host's threads when there are several. p NULL = the calling thread only.
static void kpd__run(const kpd_parallel *p, int32_t n, kpd_task_t *task, void *arg) {
    kpd__job job;
    job.task = task; job.arg = arg; job.i = 0;
    if (n > 1 && p && p->run) p->run(p->user, n, kpd__job_run, &job);
    else for (int32_t i = 0; i < n; i++) kpd__job_run(&job, i);
}

static kpd_status kpd__parallel_check(const kpd_parallel *p, kpd_error *e) {
    if (p && (p->n_threads < 0 || p->n_threads > KPD_MAX_THREADS))
        return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "parallel.n_threads is %d, expected 0 to %d", (int)p->n_threads,
                         KPD_MAX_THREADS);
    return KPD_OK;
}

static int32_t kpd__n_tasks(const kpd_parallel *p) { return p && p->run && p->n_threads > 1 ? p->n_threads : 1; }

#ifdef KPD_THREADS
static long kpd__process(void) {
#ifdef KPD__POSIX
    return (long)getpid();
#else
    return 0;
#endif
}

struct kpd_pool {
    kpd_allocator allocator;
    pthread_mutex_t lock, caller;       // caller: one run at a time
    pthread_cond_t wake, done;
    kpd_task_t *task; void *arg;
    int32_t next, end, running;         // tasks not yet taken, and taken but not finished
    kpd_parallel parallel;              // what a host gets of it
    int32_t n_threads, n_started;
    bool stop, busy;
    pthread_t owner;                    // whose run it is, while busy
    long process;                       // which has the threads
    pthread_t thread[1];                // [n_threads - 1]
};

// Takes and runs tasks until there are none. The lock is held on entry and on return.
static void kpd__pool_work(kpd_pool *p) {
    while (p->next < p->end) {
        int32_t i = p->next++;
        kpd_task_t *task = p->task;
        void *arg = p->arg;
        p->running++;
        pthread_mutex_unlock(&p->lock);
        task(arg, i);
        pthread_mutex_lock(&p->lock);
        if (--p->running == 0 && p->next == p->end) pthread_cond_broadcast(&p->done);
    }
}

static void *kpd__pool_thread(void *arg) {
    kpd_pool *p = (kpd_pool *)arg;
    pthread_mutex_lock(&p->lock);
    while (!p->stop) {
        kpd__pool_work(p);
        if (!p->stop) pthread_cond_wait(&p->wake, &p->lock);
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

// Whether the pool's threads cannot help the caller: it runs in a task of theirs, or in a child process.
static bool kpd__pool_alone(kpd_pool *p) {
    pthread_t self = pthread_self();
    bool alone;
    if (p->process != kpd__process()) return true;
    pthread_mutex_lock(&p->lock);
    alone = p->busy && pthread_equal(p->owner, self);
    for (int32_t i = 0; p->busy && !alone && i < p->n_started; i++) alone = pthread_equal(p->thread[i], self);
    pthread_mutex_unlock(&p->lock);
    return alone;
}

static void kpd__pool_run(void *user, int32_t n, kpd_task_t *task, void *arg) {
    kpd_pool *p = (kpd_pool *)user;
    if (kpd__pool_alone(p)) {
        for (int32_t i = 0; i < n; i++) task(arg, i);
        return;
    }
    pthread_mutex_lock(&p->caller);
    pthread_mutex_lock(&p->lock);
    p->task = task; p->arg = arg; p->next = 0; p->end = n; p->owner = pthread_self(); p->busy = true;
    pthread_cond_broadcast(&p->wake);
    kpd__pool_work(p);
    while (p->running) pthread_cond_wait(&p->done, &p->lock);
    p->busy = false;
    pthread_mutex_unlock(&p->lock);
    pthread_mutex_unlock(&p->caller);
}

static size_t kpd__pool_size(int32_t n_threads) { return sizeof(kpd_pool) + (size_t)n_threads * sizeof(pthread_t); }

// Stops the threads that there are.
static void kpd__pool_stop(kpd_pool *p) {
    pthread_mutex_lock(&p->lock);
    p->stop = true;
    pthread_cond_broadcast(&p->wake);
    pthread_mutex_unlock(&p->lock);
    for (int32_t i = 0; i < p->n_started; i++) pthread_join(p->thread[i], NULL);
    pthread_cond_destroy(&p->done);
    pthread_cond_destroy(&p->wake);
    pthread_mutex_destroy(&p->caller);
    pthread_mutex_destroy(&p->lock);
}

KPDDEF void kpd_pool_destroy(kpd_pool *p) {
    kpd_allocator a;
    if (!p) return;
    if (p->process == kpd__process()) kpd__pool_stop(p);   // a child has neither threads nor locks that anybody would free
    a = p->allocator;
    kpd__free(&a, p, kpd__pool_size(p->n_threads));
}

static bool kpd__pool_locks(kpd_pool *p) {
    if (pthread_mutex_init(&p->lock, NULL)) return false;
    if (!pthread_mutex_init(&p->caller, NULL)) {
        if (!pthread_cond_init(&p->wake, NULL)) {
            if (!pthread_cond_init(&p->done, NULL)) return true;
            pthread_cond_destroy(&p->wake);
        }
        pthread_mutex_destroy(&p->caller);
    }
    pthread_mutex_destroy(&p->lock);
    return false;
}

// As many threads as the system gives. They inherit the mask of signals: all but those that a thread brings upon itself.
static void kpd__pool_start(kpd_pool *p) {
#ifdef KPD__SIGMASK
    static const int own[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT};
    sigset_t mask, host;
    sigfillset(&mask);
    for (size_t i = 0; i < sizeof own / sizeof *own; i++) sigdelset(&mask, own[i]);
    pthread_sigmask(SIG_SETMASK, &mask, &host);
#endif
    while (p->n_started < p->n_threads - 1 && !pthread_create(&p->thread[p->n_started], NULL, kpd__pool_thread, p))
        p->n_started++;
#ifdef KPD__SIGMASK
    pthread_sigmask(SIG_SETMASK, &host, NULL);
#endif
}

KPDDEF kpd_status kpd_pool_create(int32_t n_threads, const kpd_allocator *a, kpd_pool **out, kpd_error *e) {
    kpd_pool *p;
    int32_t n;
    if (n_threads < 1 || n_threads > KPD_MAX_THREADS || !kpd__allocator_ok(a))
        return kpd__fail(e, KPD_ERR_ARGUMENT, -1,
                         "pool: n_threads is %d, expected 1 to %d; the allocator has both functions or none", (int)n_threads,
                         KPD_MAX_THREADS);
    p = (kpd_pool *)kpd__alloc(a, kpd__pool_size(n_threads));
    if (!p) return kpd__no_memory(e, kpd__pool_size(n_threads));
    if (a) p->allocator = *a;
    p->n_threads = n_threads;
    p->parallel.run = kpd__pool_run; p->parallel.user = p; p->parallel.n_threads = n_threads;
    p->process = kpd__process();
    if (!kpd__pool_locks(p)) {
        kpd__free(a, p, kpd__pool_size(n_threads));
        return kpd__fail(e, KPD_ERR_MEMORY, -1, "pool: the system refused a lock");
    }
    kpd__pool_start(p);
    n = p->n_started;
    if (n == n_threads - 1) {
        *out = p;
        return kpd__end(KPD_OK, e);
    }
    kpd_pool_destroy(p);
    return kpd__fail(e, KPD_ERR_MEMORY, -1, "pool: the system refused thread %d of %d", (int)n + 1, (int)n_threads);
}

KPDDEF const kpd_parallel *kpd_pool_parallel(const kpd_pool *p) { return &p->parallel; }
#endif

// >>math  Constants of the polynomials, made by tools/polynomials.py, and one rounding for hosts without fused multiply-add.

static const float kpd__exp_c[5] = {   // exp(r) = 1 + r (1 + r q(r)), |r| <= ln2/2: relative error 6.2e-08
    0.5f, 0.166665182f, 0.041666206f, 0.00836888794f,
    0.00139504881f};
static const float kpd__short_exp2_c[4] = {   // 2^r, |r| <= 1/2: relative error 7.5e-05
    0.999928057f, 0.693260968f, 0.242611125f, 0.0551716685f};
static const float kpd__phi_c[16] = {   // Phi(x) = .5 + x p(2 x^2 / c^2 - 1), |x| <= c = 5.4: error of x Phi(x) 6.3e-07
    0.130928114f, -0.0653279647f, 0.0484999306f, -0.0392104387f,
    0.0321106538f, -0.0257050451f, 0.0196836535f, -0.0141706225f,
    0.00953355059f, -0.00618538214f, 0.00384182879f, -0.00190868101f,
    0.000734953501f, -0.000529068115f, 0.000434681046f, -0.000137573967f};
static const float kpd__short_phi_c[7] = {   // Phi(x) = .5 + x p(x^2), |x| <= c = 4: error of x Phi(x) 0.0002
    0.39794293f, -0.0646333843f, 0.00879407767f, -0.00081773242f,
    4.82844553e-05f, -1.61312073e-06f, 2.30343993e-08f};
static const float kpd__tanh_c[5] = {   // tanh(x) = x + x^3 s(x^2), |x| <= .625: relative error 7.1e-08
    -0.333332837f, 0.133314908f, -0.0537434965f, 0.020650588f,
    -0.00571704516f};

static float kpd__from_bits(uint32_t u) { float f; memcpy(&f, &u, 4); return f; }
static uint32_t kpd__to_bits(float f) { uint32_t u; memcpy(&u, &f, 4); return u; }
static bool kpd__finite(float f) { return (kpd__to_bits(f) & 0x7F800000u) != 0x7F800000u; }

// round(a b + c) to float. The product is exact in double; the sum is rounded to odd there, so that the second rounding
// gives what a single one would [Boldo and Melquiond 2008]. Where the processor has the instruction it does the same.
static float kpd__fma(float a, float b, float c) {
#if defined(__FP_FAST_FMAF) || defined(__ARM_FEATURE_FMA)
    return fmaf(a, b, c);
#else
    double p = (double)a * (double)b, q = (double)c, s = p + q, t = s - p, lost = (p - (s - t)) + (q - t);
    uint64_t u;
    memcpy(&u, &s, 8);
    if (lost != 0 && !(u & 1) && (u & UINT64_C(0x7FF0000000000000)) != UINT64_C(0x7FF0000000000000)) {
        u = (lost > 0) == (s > 0) ? u + 1 : u - 1;
        memcpy(&s, &u, 8);
    }
    return (float)s;
#endif
}

#define KPD__LOG2_E 1.44269504f
#define KPD__MAGIC 12582912.0f           // 1.5 2^23: added, it rounds to whole numbers, which the lowest bits then hold
#define KPD__MAGIC_BITS 0x4B400000u      // of KPD__MAGIC
#define KPD__NOTHING 7.8886091e-31f      // 2^-100: rows of int8 whose largest is below are zero

// To bf16, to nearest even; what is not finite stays so.
static uint16_t kpd__bf16(float f) {
    uint32_t b = kpd__to_bits(f);
    if ((b & 0x7F800000u) == 0x7F800000u) return (uint16_t)(b >> 16 | ((b & 0xFFFFu) != 0));
    return (uint16_t)((b + 0x7FFFu + (b >> 16 & 1)) >> 16);
}

// v / step to the nearest whole number, cut to -most..most.
static int kpd__to_step(float v, float step, float most) {
    float t = step > 0 ? v / step : 0;
    t = t > most ? most : t < -most ? -most : t;
    return (int)((t + 12582912.0f) - 12582912.0f);   // 1.5 2^23: to nearest even
}

// >>simd  One set of kernels, compiled once per SIMD level. A level is this table of functions; a session holds one.
// The kernels are written on a vector of 16 floats: one AVX-512 register, two of AVX2, four of NEON, or an array. Part B
// below is that source; >>levels includes this file again for each level with KPD__LEVEL set. All levels give the same bits.

typedef struct kpd__norm { const float *gamma, *beta; float eps; } kpd__norm;   // [H], [H]

// How an int8 product rounds a row of its input to numbers u with value (u - zero) * step; see >>format.
typedef enum kpd__rounding {
    KPD__SIGNED,            // 8 bits, zero = 128
    KPD__OFFSET,            // 8 bits between the row's least and its largest: for what lies mostly on one side of 0
    KPD__SIGNED_16          // 16 bits, zero = 32768
} kpd__rounding;

// GELU to 2e-4, for inner activations that a bf16 or int8 product reads next.
#define KPD__SHORT_GELU (KPD_IDENTITY + 1)

// A matrix in panels: y = x W^T + bias, then the activation. Rows of y are n long; bias is padded to 16. One of panels, half
// and bytes is there, the last with scale and colsum [N padded to 16] and perhaps inscale [K padded to 64].
typedef struct kpd__matrix {
    const float *panels /* [N/16][K][16] */, *bias /* or NULL */;
    size_t n, k;
    int activation;             // kpd_activation, or KPD__SHORT_GELU
    const uint16_t *half;       // [N/16][K/2][16][2]
    const int8_t *bytes;        // [N/16][K/4][16][4]
    const float *scale, *inscale;
    const int32_t *colsum;
    kpd__rounding rounding;
} kpd__matrix;

typedef struct kpd__table { const float *f32; const uint16_t *half; } kpd__table;   // one of the two, [.., H]
typedef struct kpd__embedding {
    kpd__table word, position, type;
    size_t width;
    kpd__norm norm;
} kpd__embedding; // [V|P|types, H]

// How a level reads the rows of an int8 or bf16 product. K is padded to groups of 64 bytes: 64 of u8, 32 of bf16.
typedef enum kpd__operand {
    KPD__BYTES,             // u8, row after row
    KPD__WORDS,             // u8 in 16 bits each, of four the order 0, 2, 1, 3, row after row: for pmaddwd
    KPD__TILES              // 16 rows at a time, of them a group at a time, row after row: an AMX tile is 1 KB
} kpd__operand;

// Rows that a product reads or writes: of floats, `ld` from one to the next, or of bf16 as a level's products read them, behind
// one another. One of the two is not NULL. rounded: all rows lie rounded in the product's workspace too, which holds so many.
typedef struct kpd__strip { float *floats; size_t ld; uint8_t *halves; bool rounded; } kpd__strip;

// Of what is read only, nothing is written.
static kpd__strip kpd__floats(const float *x, size_t ld) {
    kpd__strip s = {(float *)(uintptr_t)x, ld, NULL, false};
    return s;
}
static kpd__strip kpd__halves(void *x) {
    kpd__strip s = {NULL, 0, (uint8_t *)x, false};
    return s;
}

// Goes on by rows of n; of halves a multiple of 16, or all.
static void kpd__strip_skip(kpd__strip *s, size_t rows, size_t n) {
    if (s->halves) s->halves += rows * kpd__round_up(n, 32) * sizeof(uint16_t);
    else s->floats += rows * s->ld;
}

// The sums of some rows and panels, see kpd__dots.
typedef struct kpd__block {
    const kpd__matrix *w;
    kpd__operand operand;
    size_t row, rows, col, n_panels;            // of rows [row, row + rows) and of columns from col on
    int32_t *sums, *high;                       // of u8, or of the low bytes of 16 bits and of the high ones; or f32
    const float *step; const int32_t *zero;     // int8, of each row, from row 0 on
    kpd__strip y;                               // the results of row 0 and column 0 go to its begin
} kpd__block;

// Where the sums of panel p begin.
static size_t kpd__sums_at(const kpd__block *b, size_t p) { return p * kpd__round_up(b->rows, 16) * 16; }

// sums[p][r][0..15] = the sum over k of a[r][k] w[k][p 16 + 0..15], whole numbers or, of bf16, f32. depth: bytes of a column of
// the panels, and of a row, but for KPD__WORDS, whose rows have twice as many. Rows are padded to 16 in sums, which has room
// for an even number of panels; at most KPD__DOT_PANELS. widened: KPD__WIDENED bytes of room for levels that widen panels.
typedef void kpd__dots(const void *a, size_t rows, size_t depth, const void *panels, size_t n_panels, void *widened,
                       void *sums);

// What a product of rounded rows keeps beside its result.
typedef struct kpd__workspace {
    size_t n_rows, row_bytes, plane;    // plane: how far behind the low bytes of 16 bits the high ones lie, or 0
    uint8_t *rows;                      // rounded to the weights' type, as the level reads them
    float *step; int32_t *zero;         // [n_rows], of int8
    void *widened;
    int32_t *sums[2];                   // [KPD__SUMS]: the second of high bytes
    int32_t *partial;                   // of AMX: sums of the first part of long rows
} kpd__workspace;

// y = f(x W^T + bias) of columns [from, w->n), x in the room's first `rows` rows; y as for kpd__product.
struct kpd__ops;
typedef void kpd__walk(const struct kpd__ops *ops, const kpd__matrix *w, size_t from, const kpd__workspace *room, size_t rows,
                       kpd__strip y);

static void kpd__prefetch(const void *p, size_t bytes) {
    for (size_t at = 0; at < bytes; at += 64) __builtin_prefetch((const char *)p + at);
}

static int kpd__lowest_bit(uint32_t mask) { return __builtin_ctz(mask); }   // its number; mask is not 0
#define kpd__count_bits(mask) ((size_t)__builtin_popcount(mask))    // a macro: by an instruction where the level has one

// What a search needs to know about the 16 children of a panel; it stands behind the nibbles of their means.
typedef struct kpd__node {
    float scale[16], radius[16], half[16];      // of each mean: its nibbles' step, how far its members lie, half its square
    float step[16];                             // of blocks: their codes'
    uint32_t child[16]; uint16_t live[16];      // of blocks: their numbers, which of their places hold a vector
    uint32_t added, zero[7];                    // of a list: vectors since it was cut into blocks
} kpd__node;

// A query as the kernels of a tree read it: value = q * step. order and bound say how many radii join a node's score.
typedef struct kpd__probe {
    const int8_t *q;                            // [8 groups]
    size_t groups;
    float step, offset, order, bound, square;   // offset = -120.5 sum q; square = |q|^2, of l2
    bool l2, all;                               // all: children live without vectors of their own, as lists do
} kpd__probe;

// What the sum of a query's bytes with a vector's must reach: (wanted + shift each - near length - far error) scale - 4.
typedef struct kpd__needs {
    const float *wanted, *each, *length, *error;    // by query, padded to 16
    float shift, near, far, scale;                  // of the panel of vectors
    int32_t zero;                                   // what a query's bytes have for 0
} kpd__needs;

typedef struct kpd__ops {
    kpd_simd level;
    kpd__operand operand;
    void (*tiles)(bool on);             // NULL, or called around products and attention: sets tiles up, and gives them back
    kpd__dots *int8_dots, *half_dots;   // half_dots: NULL where bf16 is widened; then there is no half_attention
    kpd__dots *narrow_dots;             // as int8_dots, of rows below 64, as KPD__BYTES; NULL where that takes as long
    void (*half_attention)(const struct kpd__ops *ops, const float *qkv, size_t n_tokens, size_t begin, size_t end,
                           size_t width, size_t heads, float *scratch, float *out);
    void (*gemm)(const kpd__matrix *w, const float *x, size_t ldx, size_t rows, float *y, size_t ldy);   // f32, bf16 widened
    void (*round_rows)(const kpd__matrix *w, kpd__operand operand, const float *x, size_t ldx, size_t rows,
                       const kpd__workspace *to);
    void (*norm_round)(const kpd__norm *p, const kpd__matrix *w, const float *y, size_t rows, float *x,
                       const kpd__workspace *to);   // NULL, or add_norm and round_rows for w in one, see kpd__norm_rounds
    kpd__walk *walk;
    void (*rounded_gemm)(const struct kpd__ops *ops, const kpd__matrix *w, kpd__strip x, size_t rows, kpd__strip y,
                         void *scratch);
    void (*int8_attention)(const struct kpd__ops *ops, const float *qkv, size_t n_tokens, size_t begin, size_t end,
                           size_t width, size_t heads, float *scratch, float *out);
    void (*embed)(const kpd__embedding *t, const int32_t *ids, const int32_t *types, size_t n_tokens, float *x);
    void (*add_norm)(const kpd__norm *p, const float *y, size_t rows, size_t width, float *x);   // x = norm(x + y); y or NULL
    void (*attention)(const float *qkv, size_t n_tokens, size_t begin, size_t end, size_t width, size_t heads, float *scratch,
                      float *out);
    void (*pool)(kpd_pooling kind, const float *x, size_t n_tokens, size_t width, float *out);
    void (*normalize)(const float *x, size_t n, float *out);                                          // x / max(|x|, 1e-12)
    float (*dot)(const float *x, const float *y, size_t n);                                           // a tree
    void (*scan)(kpd_metric m, const float *q, size_t n_queries, size_t dim, const float *panels, size_t n_panels,
                 float *scores);
    size_t (*above)(const float *scores, size_t n, float least, int32_t *where);   // the i with scores[i] >= least; how many;
                                                                                   // where has room for 16 more than n
    float (*least_of)(const float *scores, size_t n, size_t least, size_t most);   // see there
    size_t (*reach)(const kpd__needs *needs, const int32_t *sums, const int32_t *codes, size_t rows, uint32_t *which);
    size_t (*greatest)(const float *scores, const float *less, size_t n, float *score);    // see there
    void (*nearest)(const int32_t *sums, const int32_t *codes, size_t rows, float step, float number, float *best, float *at);
    void (*add_share)(float *to, const float *v, size_t n, float share);           // to += v share, which is rounded first
    void (*pack)(const float *const *rows, size_t n, float *panel);                // 16 rows of n to [n][16]
    void (*nodes)(const kpd__probe *p, const uint8_t *panels, const uint32_t *which, size_t n, float *order,
                  float *bound);                                                   // [n][16] each: see KPD__TREE_KERNELS
    size_t (*codes)(const kpd__probe *p, const uint8_t *blocks, const uint32_t *which, const float *steps,
                    const float *halves, size_t n, float least, float *scores, uint32_t *found);    // see there
} kpd__ops;

// The functions of a level, whose names N(name) makes; it reads int8 and bf16 rows as `operand`.
#define KPD__OPS(level, operand, tiles, int8_dots, narrow_dots, int8_attention, half_dots, half_attention, gemm, round,        \
                 norm_round, walk, N, T)                                                                                       \
    {level,       operand,        tiles,        int8_dots,   half_dots,      narrow_dots, half_attention, N(gemm), round,      \
     norm_round,  walk,           N(rounded_gemm), int8_attention, N(embed), N(add_norm), N(attention), N(pool),               \
     N(normalize), N(dot),        N(scan),      N(above),    N(least_of),    N(reach),    N(greatest),  N(nearest),            \
     N(add_share), N(pack),       T(nodes),     T(codes)}

static void kpd__tiles(const kpd__ops *ops, bool on) {
    if (ops->tiles) ops->tiles(on);
}

// Sums of rows below 64.
static kpd__dots *kpd__narrow_dots(const kpd__ops *ops) { return ops->narrow_dots ? ops->narrow_dots : ops->int8_dots; }

#define KPD__NARROW_MOST 31.0f       // six bits: numbers of -31 to 31, with KPD__NARROW_ZERO for 0
#define KPD__NARROW_ZERO 32

// A vector in six bits, to [dim padded to 64]: v / step + KPD__NARROW_ZERO, then zeros. Returns the step.
static float kpd__narrow_row(const float *v, size_t dim, uint8_t *to) {
    const float step = kpd__widest(v, dim) / KPD__NARROW_MOST;
    for (size_t i = 0; i < dim; i++) to[i] = (uint8_t)(kpd__to_step(v[i], step, KPD__NARROW_MOST) + KPD__NARROW_ZERO);
    memset(to + dim, 0, kpd__round_up(dim, 64) - dim);
    return step;
}

// Copies such a row to where kpd__narrow_dots reads number `row`: behind the one before; in AMX's tiles each group of 64 bytes
// behind that of the row before.
static void kpd__narrow_put(const kpd__ops *ops, const uint8_t *from, size_t depth, uint8_t *rows, size_t row) {
    if (ops->operand != KPD__TILES) { memcpy(rows + row * depth, from, depth); return; }
    rows += row / 16 * 16 * depth + row % 16 * 64;
    for (size_t i = 0; i < depth; i += 64) memcpy(rows + i * 16, from + i, 64);
}

// Whether norm_round serves a matrix, where a level has it: of int8 whose rows have one zero.
static bool kpd__norm_rounds(const kpd__matrix *w) { return w->bytes && w->rounding == KPD__SIGNED && w->k % 64 == 0; }

// Whether a product rounds its input to the weights' type.
static bool kpd__rounds(const kpd__ops *ops, const kpd__matrix *w) { return w->bytes || (w->half && ops->half_dots); }

// y = f(x W^T + bias) by whatever W is stored as. scratch: kpd__product_scratch bytes. x and y may be halves where W is bf16
// that the level does not widen; y then needs KPD__SHORT_GELU.
static void kpd__product(const kpd__ops *ops, const kpd__matrix *w, kpd__strip x, size_t rows, kpd__strip y, void *scratch) {
    kpd__tiles(ops, true);
    if (kpd__rounds(ops, w)) ops->rounded_gemm(ops, w, x, rows, y, scratch);
    else ops->gemm(w, x.floats, x.ld, rows, y.floats, y.ld);
    kpd__tiles(ops, false);
}

// Columns [from, from + n) of a matrix, from a multiple of 16.
static kpd__matrix kpd__columns(const kpd__matrix *w, size_t from, size_t n) {
    kpd__matrix c = *w;
    c.n = n;
    if (c.panels) c.panels += from * w->k;
    if (c.half) c.half += from * kpd__round_up(w->k, 32);
    if (c.bytes) c.bytes += from * kpd__round_up(w->k, 64);
    if (c.scale) c.scale += from;
    if (c.colsum) c.colsum += from;
    if (c.bias) c.bias += from;
    return c;
}

// Attention of a text, whose q, k, v came from w: by products of w's type where they save more than rounding costs, but in f32
// where inputs of 16 bits say that accuracy comes first.
#define KPD__HALF_TOKENS 16
static void kpd__attend(const kpd__ops *ops, const kpd__matrix *w, const float *qkv, size_t n_tokens, size_t begin, size_t end,
                        size_t width, size_t heads, float *scratch, float *out) {
    if (w->half && ops->half_attention && n_tokens >= KPD__HALF_TOKENS) {
        kpd__tiles(ops, true);
        ops->half_attention(ops, qkv, n_tokens, begin, end, width, heads, scratch, out);
        kpd__tiles(ops, false);
    } else if (w->bytes && w->rounding != KPD__SIGNED_16)
        ops->int8_attention(ops, qkv, n_tokens, begin, end, width, heads, scratch, out);
    else ops->attention(qkv, n_tokens, begin, end, width, heads, scratch, out);
}

// A block of rows rounded is as large as half of a small L2, or, beside AMX, of one of 2 MB. There is room to widen 512 rows of
// a panel.
#define KPD__OPERAND_ROWS 256
#define KPD__WIDENED (512 * 32)
#define KPD__DOT_PANELS 2       // panels that share one walk over the rows
#define KPD__DOT_ROWS 96        // rows whose sums wait in L1: 16 x 6, 7 x 14 less 2
#define KPD__SUMS (KPD__DOT_PANELS * KPD__DOT_ROWS * 16)
#define KPD__PARTIAL (KPD__OPERAND_ROWS * 32)
static size_t kpd__operand_bytes(kpd__operand operand) { return (operand == KPD__TILES ? 1024 : 192) * 1024; }
static size_t kpd__depth(const kpd__matrix *w) { return w->bytes ? kpd__round_up(w->k, 64) : 2 * kpd__round_up(w->k, 32); }

static kpd__workspace kpd__workspace_lay(kpd__operand operand, const kpd__matrix *w, kpd__arena *a) {
    kpd__workspace m;
    bool wide = w->bytes && w->rounding == KPD__SIGNED_16;
    size_t most;
    m.row_bytes = kpd__depth(w) * (w->bytes && operand == KPD__WORDS ? 2 : 1);
    most = kpd__operand_bytes(operand) / (m.row_bytes * (wide ? 2 : 1)) / 16 * 16;
    m.n_rows = most < 16 ? 16 : most > KPD__OPERAND_ROWS ? KPD__OPERAND_ROWS : most;
    m.plane = wide ? m.n_rows * m.row_bytes : 0;
    m.widened = kpd__take(a, KPD__WIDENED, 1);
    m.sums[0] = (int32_t *)kpd__take(a, KPD__SUMS, sizeof(int32_t));
    m.sums[1] = (int32_t *)kpd__take(a, KPD__SUMS, sizeof(int32_t));
    m.partial = operand == KPD__TILES ? (int32_t *)kpd__take(a, 2 * KPD__PARTIAL, sizeof(int32_t)) : NULL;
    m.rows = (uint8_t *)kpd__take(a, m.n_rows * (wide ? 2 : 1), m.row_bytes);
    m.step = (float *)kpd__take(a, m.n_rows, sizeof(float));
    m.zero = (int32_t *)kpd__take(a, m.n_rows, sizeof(int32_t));
    return m;
}

// Bytes of the largest room of any type and up to k columns.
static size_t kpd__product_scratch(kpd__operand operand, size_t k) {
    return kpd__max(kpd__operand_bytes(operand), 16 * 4 * kpd__round_up(k, 64)) +
           KPD__OPERAND_ROWS * (sizeof(float) + sizeof(int32_t)) + KPD__WIDENED + 2 * KPD__SUMS * sizeof(int32_t) +
           (operand == KPD__TILES ? 2 * KPD__PARTIAL * sizeof(int32_t) : 0) + 7 * 64;
}

// Floats of scratch that attention needs for a text: 16 queries, their results and their scores, a lane each.
static size_t kpd__attention_scratch(size_t n_tokens, size_t width, size_t heads) {
    return 16 * (n_tokens + 2 * kpd__round_up(width / heads, 16));
}

// Queries that share a walk over the keys where both products are of bf16, or of int8: as many as two panels hold.
#define KPD__WALK 32

// What one head takes in bf16, all heads in turn.
typedef struct kpd__half_head {
    kpd__operand operand;
    size_t n, n16, n32, depth, d16, d32;        // keys, and a head's columns, padded to 16 and 32
    float *scores, *sums;                       // [2][n16][16], [2][d16][16]
    uint16_t *keys, *values;                    // [n16][d32], [d16][n32], as `operand` says
    uint16_t *queries, *weights, *room;         // panels [2][d32/2][16][2], [2][n32/2][16][2]; [16][d32]
} kpd__half_head;

static kpd__half_head kpd__half_head_lay(kpd__operand operand, size_t n_tokens, size_t depth, kpd__arena *a) {
    kpd__half_head h;
    h.operand = operand; h.n = n_tokens; h.depth = depth;
    h.n16 = kpd__round_up(n_tokens, 16); h.n32 = kpd__round_up(n_tokens, 32);
    h.d16 = kpd__round_up(depth, 16); h.d32 = kpd__round_up(depth, 32);
    h.scores = (float *)kpd__take(a, KPD__WALK * h.n16, sizeof(float));
    h.sums = (float *)kpd__take(a, KPD__WALK * h.d16, sizeof(float));
    h.keys = (uint16_t *)kpd__take(a, h.n16 * h.d32, sizeof(uint16_t));
    h.values = (uint16_t *)kpd__take(a, h.d16 * h.n32, sizeof(uint16_t));
    h.queries = (uint16_t *)kpd__take(a, KPD__WALK * h.d32, sizeof(uint16_t));
    h.weights = (uint16_t *)kpd__take(a, KPD__WALK * h.n32, sizeof(uint16_t));
    h.room = (uint16_t *)kpd__take(a, 16 * h.d32, sizeof(uint16_t));
    return h;
}

static size_t kpd__half_attention_scratch(size_t n_tokens, size_t width, size_t heads) {
    kpd__arena a = {NULL, 0, false};
    kpd__half_head_lay(KPD__BYTES, n_tokens, width / heads, &a);
    return a.overflow ? SIZE_MAX : kpd__max(a.used / sizeof(float), kpd__attention_scratch(n_tokens, width, heads));
}

// What one head takes in int8.
typedef struct kpd__int8_head {
    kpd__operand operand;
    size_t n, n16, n_row, depth, d16, d_row;    // keys, padded, and to whole rows; the same of a head's columns
    size_t unit;                                // bytes of a number of keys and weights
    int32_t *scores, *sums;                     // [2][n16][16], [KPD__DOT_PANELS][KPD__WALK][16]
    float *columns;                             // [d16][16]: 16 queries, a lane each
    float *key_step, *value_least, *value_step; // [d16]
    float *inverse;                             // [KPD__WALK]: 1 / the sum of a query's weights
    uint8_t *keys, *weights;                    // [n16][d_row], [KPD__WALK][n_row], as `operand` says
    int8_t *queries, *values;                   // panels [2][d_row/4][16][4], [d16/16][n_row/4][16][4]
    void *widened;
} kpd__int8_head;

static kpd__int8_head kpd__int8_head_lay(kpd__operand operand, size_t n_tokens, size_t depth, kpd__arena *a) {
    kpd__int8_head h;
    h.operand = operand; h.n = n_tokens; h.depth = depth; h.unit = operand == KPD__WORDS ? 2 : 1;
    h.n16 = kpd__round_up(n_tokens, 16); h.n_row = kpd__round_up(n_tokens, operand == KPD__TILES ? 64 : 8);
    h.d16 = kpd__round_up(depth, 16); h.d_row = kpd__round_up(depth, operand == KPD__TILES ? 64 : 16);
    h.scores = (int32_t *)kpd__take(a, KPD__WALK * h.n16, sizeof(int32_t));
    h.sums = (int32_t *)kpd__take(a, KPD__WALK * 16 * KPD__DOT_PANELS, sizeof(int32_t));
    h.columns = (float *)kpd__take(a, h.d16 * 16, sizeof(float));
    h.key_step = (float *)kpd__take(a, h.d16, sizeof(float));
    h.value_least = (float *)kpd__take(a, h.d16, sizeof(float));
    h.value_step = (float *)kpd__take(a, h.d16, sizeof(float));
    h.inverse = (float *)kpd__take(a, KPD__WALK, sizeof(float));
    h.keys = (uint8_t *)kpd__take(a, h.n16 * h.d_row, h.unit);
    h.weights = (uint8_t *)kpd__take(a, KPD__WALK * h.n_row, h.unit);
    h.queries = (int8_t *)kpd__take(a, KPD__WALK * h.d_row, 1);
    h.values = (int8_t *)kpd__take(a, h.d16 * h.n_row, 1);
    h.widened = kpd__take(a, KPD__WIDENED, 1);
    return h;
}

// Floats of scratch of the largest of all operands; SIZE_MAX, as above, where they do not fit this machine's memory.
static size_t kpd__int8_attention_scratch(size_t n_tokens, size_t width, size_t heads) {
    kpd__arena words = {NULL, 0, false}, tiles = words;
    kpd__int8_head_lay(KPD__WORDS, n_tokens, width / heads, &words);
    kpd__int8_head_lay(KPD__TILES, n_tokens, width / heads, &tiles);
    if (words.overflow || tiles.overflow) return SIZE_MAX;
    return kpd__max(kpd__max(words.used, tiles.used) / sizeof(float), kpd__attention_scratch(n_tokens, width, heads));
}

// Functions between these two may use the instructions of a target, which clang and gcc may call differently. A test puts plain
// C in the place of those that its machine lacks.
#define KPD__PRAGMA(text) _Pragma(#text)
#if defined(KPD__EMULATED)
#define KPD__TARGET_BY(clang_names, gcc_names)
#define KPD__TARGET_END
#elif defined(__clang__)
#define KPD__TARGET_BY(clang_names, gcc_names)                                                                                 \
    KPD__PRAGMA(clang attribute push(__attribute__((target(clang_names))), apply_to = function))
#define KPD__TARGET_END _Pragma("clang attribute pop")
#else
#define KPD__TARGET_BY(clang_names, gcc_names) _Pragma("GCC push_options") KPD__PRAGMA(GCC target(gcc_names))
#define KPD__TARGET_END _Pragma("GCC pop_options")
#endif
#define KPD__TARGET(names) KPD__TARGET_BY(names, names)

// A function that stays one: inlined, what it keeps in registers would no longer fit beside its caller's.
#define KPD__APART static __attribute__((noinline))

// Before a loop of a few known steps, which gcc -O2 would leave a loop. clang unrolls by itself.
#if defined(__GNUC__) && !defined(__clang__)
#define KPD__UNROLL _Pragma("GCC unroll 16")
#else
#define KPD__UNROLL
#endif

// X of each row of a tile, and of every height that a tile can have.
#define KPD__ROW_LIST_1(X) X(0)
#define KPD__ROW_LIST_2(X) KPD__ROW_LIST_1(X) X(1)
#define KPD__ROW_LIST_3(X) KPD__ROW_LIST_2(X) X(2)
#define KPD__ROW_LIST_4(X) KPD__ROW_LIST_3(X) X(3)
#define KPD__ROW_LIST_5(X) KPD__ROW_LIST_4(X) X(4)
#define KPD__ROW_LIST_6(X) KPD__ROW_LIST_5(X) X(5)
#define KPD__ROW_LIST_7(X) KPD__ROW_LIST_6(X) X(6)
#define KPD__ROW_LIST_8(X) KPD__ROW_LIST_7(X) X(7)
#define KPD__ROW_LIST_9(X) KPD__ROW_LIST_8(X) X(8)
#define KPD__ROW_LIST_10(X) KPD__ROW_LIST_9(X) X(9)
#define KPD__ROW_LIST_11(X) KPD__ROW_LIST_10(X) X(10)
#define KPD__ROW_LIST_12(X) KPD__ROW_LIST_11(X) X(11)
#define KPD__ROW_LIST_13(X) KPD__ROW_LIST_12(X) X(12)
#define KPD__ROW_LIST_14(X) KPD__ROW_LIST_13(X) X(13)
#define KPD__ROW_LIST_16(X) KPD__ROW_LIST_14(X) X(14) X(15)
#define KPD__HEIGHTS_4(X) X(1) X(2) X(3) X(4)
#define KPD__HEIGHTS_6(X) KPD__HEIGHTS_4(X) X(5) X(6)
#define KPD__HEIGHTS_14(X) KPD__HEIGHTS_6(X) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14)

// Rows whose layer norms go on together.
#define KPD__NORM_ROWS 4

// Rows of each of as few pieces of at most `most` as hold them, all about as tall: a tile of one row takes as long as of four.
static size_t kpd__even_rows(size_t rows, size_t most) {
    size_t pieces = (rows + most - 1) / most;
    return (rows + pieces - 1) / pieces;
}

// The rows of a tile by threes, a pointer to each three: x86 has no registers for 14. The empty assembly hides how the pointers
// lie to each other, else the compiler makes one of every row again, and keeps them in memory.
#define KPD__HIDE(pointer) __asm__("" : "+r"(pointer))
#define KPD__THREE(r) if (r % 3 == 0) { three[r / 3] = a + r * lda; KPD__HIDE(three[r / 3]); }
#define KPD__THREE_STEP(r, by) if (r % 3 == 0) { three[r / 3] += (by); KPD__HIDE(three[r / 3]); }
#define KPD__THREE_AT(r) (three[r / 3] + r % 3 * lda)

// Weights come from behind L2 once a block of rows: each step asks for its part of the next panel while this one is at work.
#define KPD__PREFETCH(p, bytes) __builtin_prefetch((const void *)((uintptr_t)(p) + (bytes)), 0, 2)

// Blocks and panels that are asked for ahead of the one at work: about as many as it takes for memory to answer.
#define KPD__BLOCKS_AHEAD 12
#define KPD__PANELS_AHEAD 6

// The kernels of a tree, once per kind of integer product. A score is q.mean, under l2 q.mean - |mean|^2/2; of a child without
// vectors -INFINITY. The sums are whole numbers, so these are the same bits everywhere. which: numbers of the lists whose
// blocks are meant, or NULL for the panels of lists 0, 1, ... Eight groups, as of 64 dimensions, keep the query in registers.
// codes scores the vectors of blocks [n][16]; halves: by slot, or NULL. found, with room for one more: the number among these
// << 16 | a bit of each vector that reaches `least`, of blocks with such; returns how many blocks.
#define KPD__TREE_KERNELS(nodes, nodes_of, codes, codes_of, nibbles)                                                           \
    KPD__INLINE void nodes_of(const kpd__probe *p, const size_t groups, const int8_t *q, const uint8_t *panels,                \
                                const uint32_t *which, size_t n, float *order, float *bound) {                                 \
        const size_t bytes = groups * 64 + sizeof(kpd__node);                                                                  \
        for (size_t i = 0; which && i < n && i < KPD__PANELS_AHEAD; i++) kpd__prefetch(panels + which[i] * bytes, bytes);      \
        for (size_t i = 0; i < n; i++) {                                                                                       \
            const uint8_t *panel = panels + (which ? which[i] : i) * bytes;                                                    \
            const kpd__node *node = (const kpd__node *)(const void *)(panel + groups * 64);                                    \
            kpd__v s = kpd__fmadd(nibbles(panel, groups, q), kpd__set(16), kpd__set(p->offset)), r = kpd__load(node->radius);  \
            if (which && i + KPD__PANELS_AHEAD < n) kpd__prefetch(panels + which[i + KPD__PANELS_AHEAD] * bytes, bytes);       \
            s = kpd__mul(s, kpd__mul(kpd__load(node->scale), kpd__set(p->step)));                                              \
            if (p->l2) {                                                                                                       \
                s = kpd__sub(s, kpd__load(node->half));                                                                        \
                r = kpd__mul(r, kpd__root(kpd__vmax(kpd__fmadd(s, kpd__set(-2), kpd__set(p->square)), kpd__set(0))));          \
            }                                                                                                                  \
            if (which && !p->all) s = kpd__where(node->live, s, kpd__set(-INFINITY));                                          \
            kpd__store(order + i * 16, kpd__fmadd(kpd__set(p->order), r, s));                                                  \
            kpd__store(bound + i * 16, kpd__fmadd(kpd__set(p->bound), r, s));                                                  \
        }                                                                                                                      \
    }                                                                                                                          \
    static void nodes(const kpd__probe *p, const uint8_t *panels, const uint32_t *which, size_t n, float *order,               \
                      float *bound) {                                                                                          \
        int8_t q[64];                                                                                                          \
        if (p->groups != 8) { nodes_of(p, p->groups, p->q, panels, which, n, order, bound); return; }                          \
        memcpy(q, p->q, sizeof q);                                                                                             \
        nodes_of(p, 8, q, panels, which, n, order, bound);                                                                     \
    }                                                                                                                          \
    KPD__INLINE size_t codes_of(const kpd__probe *p, const size_t groups, const int8_t *q, const uint8_t *blocks,              \
                                const uint32_t *which, const float *steps, const float *halves, size_t n, float least,         \
                                float *scores, uint32_t *found) {                                                              \
        const size_t bytes = groups * 64;                                                                                      \
        size_t count = 0;                                                                                                      \
        for (size_t i = 0; i < n && i < KPD__BLOCKS_AHEAD; i++) kpd__prefetch(blocks + which[i] * bytes, bytes);               \
        for (size_t i = 0; i < n; i++) {                                                                                       \
            kpd__v s = nibbles(blocks + which[i] * bytes, groups, q);                                                          \
            if (i + KPD__BLOCKS_AHEAD < n) kpd__prefetch(blocks + which[i + KPD__BLOCKS_AHEAD] * bytes, bytes);                \
            s = kpd__mul(kpd__fmadd(s, kpd__set(16), kpd__set(p->offset)), kpd__set(steps[i] * p->step));                      \
            if (halves) s = kpd__sub(s, kpd__load(halves + which[i] * (size_t)16));                                            \
            kpd__store(scores + i * 16, s);                                                                                    \
            found[count] = (uint32_t)i << 16 | kpd__mask_ge(s, kpd__set(least));                                               \
            count += (found[count] & 0xFFFF) != 0;                                                                             \
        }                                                                                                                      \
        return count;                                                                                                          \
    }                                                                                                                          \
    static size_t codes(const kpd__probe *p, const uint8_t *blocks, const uint32_t *which, const float *steps,                 \
                      const float *halves, size_t n, float least,                                                              \
                                float *scores, uint32_t *found) {                                                              \
        int8_t q[64];                                                                                                          \
        if (p->groups != 8)                                                                                                    \
            return codes_of(p, p->groups, p->q, blocks, which, steps, halves, n, least, scores, found);                        \
        memcpy(q, p->q, sizeof q);                                                                                             \
        return codes_of(p, 8, q, blocks, which, steps, halves, n, least, scores, found);                                       \
    }

// >>levels  The kernels once per level: this file, read again.

#ifndef KPD_SELF
#ifdef __FILE_NAME__
#define KPD_SELF __FILE_NAME__
#else
#define KPD_SELF "kpd.h"
#endif
#endif

#define KPD__LEVEL 1
#include KPD_SELF
#undef KPD__LEVEL

#ifdef KPD__X86
KPD__TARGET("avx2,fma")
#define KPD__LEVEL 2
#include KPD_SELF
#undef KPD__LEVEL
KPD__TARGET_END
KPD__TARGET("avx512f,avx512bw,avx2,fma")
#define KPD__LEVEL 3
#include KPD_SELF
#undef KPD__LEVEL
KPD__TARGET_END
#endif

#ifdef KPD__ARM
#define KPD__LEVEL 4
#include KPD_SELF
#undef KPD__LEVEL
#endif

// >>dots  Sums of int8 and bf16 products by instructions that only some processors of a level have; all else of such a level is
// the level's below. Relies on nothing but the operand's layout (kpd__operand). Promises whole numbers, the same everywhere.
#ifdef KPD__X86
#ifndef KPD__BH
#define KPD__BH(v) ((__m512bh)(v))
#endif

// Sums of n_panels panels, `wide` of them and at most `most` rows a tile, see kpd__dots. Half a pair is taken twice, into the
// room of the panel that is not there.
typedef void kpd__dot_tile(const uint8_t *a, size_t lda, const uint8_t *b, size_t other, float *sums, size_t next);
static inline void kpd__dot_tiles(kpd__dot_tile *const *tiles, size_t most, size_t wide, const void *operand, size_t rows,
                           size_t depth, const void *panels, size_t n_panels, void *sums) {
    size_t next = kpd__round_up(rows, 16) * 16, step = kpd__even_rows(rows, most);
    const uint8_t *a = (const uint8_t *)operand, *b = (const uint8_t *)panels;
    for (size_t p = 0; p < n_panels; p += wide)
        for (size_t r = 0; r < rows; r += step)
            tiles[kpd__min(step, rows - r) - 1](a + r * depth, depth, b + p * 16 * depth, p + 1 < n_panels ? 16 * depth : 0,
                                                (float *)sums + p * next + r * 16, next);
}

KPD__TARGET("avx2,fma,avxvnni")

// A tile of R rows: a step takes 4 bytes of each row and 64 of each panel, the second of which lies `other` behind the first.
// KPD__DOT_LOAD reads these, KPD__DOT_SUM adds to row r the product with its `four`.
#define KPD__DOT_NEXT(r) KPD__THREE_STEP(r, 4)
#define KPD__DOT_STEP(r) { int32_t four; memcpy(&four, KPD__THREE_AT(r), 4); KPD__DOT_SUM(r) }
#define KPD__DOT_TILE(name, R)                                                                                                 \
    static void name##R(const uint8_t *a, size_t lda, const uint8_t *b, size_t other, float *sums, size_t next) {              \
        const uint8_t *three[(R + 2) / 3];                                                                                     \
        KPD__ROW_LIST_##R(KPD__DOT_BEGIN)                                                                                      \
        KPD__ROW_LIST_##R(KPD__THREE)                                                                                          \
        (void)other; (void)next;                                                                                               \
        for (size_t k = 0; k < lda; k += 4, b += 64) {                                                                         \
            KPD__DOT_LOAD                                                                                                      \
            KPD__ROW_LIST_##R(KPD__DOT_STEP)                                                                                   \
            KPD__ROW_LIST_##R(KPD__DOT_NEXT)                                                                                   \
        }                                                                                                                      \
        KPD__ROW_LIST_##R(KPD__DOT_END)                                                                                        \
    }

// VPDPBUSD on 8 columns: a sum of 4 u8 times s8 joins each of them.
#define KPD__DOT_BEGIN(r) __m256i lo##r = _mm256_setzero_si256(), hi##r = lo##r;
#define KPD__DOT_LOAD                                                                                                          \
    KPD__PREFETCH(b, lda * 16);                                                                                                \
    __m256i lo = _mm256_loadu_si256((const __m256i *)(const void *)b);                                                         \
    __m256i hi = _mm256_loadu_si256((const __m256i *)(const void *)(b + 32));
#define KPD__DOT_SUM(r)                                                                                                        \
    lo##r = _mm256_dpbusd_avx_epi32(lo##r, _mm256_set1_epi32(four), lo);                                                       \
    hi##r = _mm256_dpbusd_avx_epi32(hi##r, _mm256_set1_epi32(four), hi);
#define KPD__DOT_END(r)                                                                                                        \
    _mm256_storeu_si256((__m256i *)(void *)(sums + r * 16), lo##r);                                                            \
    _mm256_storeu_si256((__m256i *)(void *)(sums + r * 16 + 8), hi##r);
#define KPD__TILE(R) KPD__DOT_TILE(kpd__avxvnni_tile, R)
KPD__HEIGHTS_6(KPD__TILE)

#define KPD__ENTRY(R) kpd__avxvnni_tile##R,
static void kpd__avxvnni_dots(const void *a, size_t rows, size_t depth, const void *panels, size_t n_panels,
                              void *widened, void *sums) {
    static kpd__dot_tile *const tiles[] = {KPD__HEIGHTS_6(KPD__ENTRY)};
    (void)widened;
    kpd__dot_tiles(tiles, 6, 1, a, rows, depth, panels, n_panels, sums);
}
#undef KPD__ENTRY
#undef KPD__DOT_BEGIN
#undef KPD__DOT_LOAD
#undef KPD__DOT_SUM
#undef KPD__DOT_END
#undef KPD__TILE

KPD__TARGET_END
KPD__TARGET("avx512f,avx512bw,avx512vnni,avx2,fma")

// The same on two panels of 16 columns.
#define KPD__DOT_BEGIN(r) __m512i c##r = _mm512_setzero_si512(), d##r = c##r;
#define KPD__DOT_LOAD                                                                                                          \
    __m512i w = _mm512_loadu_si512(b), v = _mm512_loadu_si512(b + other);                                                      \
    KPD__PREFETCH(b, lda * 32);                                                                                                \
    KPD__PREFETCH(b + other, lda * 32);
#define KPD__DOT_SUM(r)                                                                                                        \
    __m512i x = _mm512_set1_epi32(four);                                                                                       \
    c##r = _mm512_dpbusd_epi32(c##r, x, w);                                                                                    \
    d##r = _mm512_dpbusd_epi32(d##r, x, v);
#define KPD__DOT_END(r)                                                                                                        \
    _mm512_storeu_si512(sums + r * 16, c##r);                                                                                  \
    _mm512_storeu_si512(sums + next + r * 16, d##r);
#define KPD__TILE(R) KPD__DOT_TILE(kpd__avx512vnni_tile, R)
KPD__HEIGHTS_14(KPD__TILE)

#define KPD__ENTRY(R) kpd__avx512vnni_tile##R,
static void kpd__avx512vnni_dots(const void *a, size_t rows, size_t depth, const void *panels, size_t n_panels,
                              void *widened, void *sums) {
    static kpd__dot_tile *const tiles[] = {KPD__HEIGHTS_14(KPD__ENTRY)};
    (void)widened;
    kpd__dot_tiles(tiles, 14, 2, a, rows, depth, panels, n_panels, sums);
}
#undef KPD__ENTRY
#undef KPD__DOT_BEGIN
#undef KPD__DOT_SUM
#undef KPD__DOT_END
#undef KPD__TILE

KPD__TARGET_END
KPD__TARGET("avx512f,avx512bw,avx512bf16,avx2,fma")

// VDPBF16PS likewise: pairs of bf16, summed in f32.
#define KPD__DOT_BEGIN(r) __m512 c##r = _mm512_setzero_ps(), d##r = c##r;
#define KPD__DOT_SUM(r)                                                                                                        \
    __m512i x = _mm512_set1_epi32(four);                                                                                       \
    c##r = _mm512_dpbf16_ps(c##r, KPD__BH(x), KPD__BH(w));                                                                     \
    d##r = _mm512_dpbf16_ps(d##r, KPD__BH(x), KPD__BH(v));
#define KPD__DOT_END(r)                                                                                                        \
    _mm512_storeu_ps(sums + r * 16, c##r);                                                                                     \
    _mm512_storeu_ps(sums + next + r * 16, d##r);
#define KPD__TILE(R) KPD__DOT_TILE(kpd__avx512bf16_tile, R)
KPD__HEIGHTS_14(KPD__TILE)

#define KPD__ENTRY(R) kpd__avx512bf16_tile##R,
static void kpd__avx512bf16_dots(const void *a, size_t rows, size_t depth, const void *panels, size_t n_panels,
                              void *widened, void *sums) {
    static kpd__dot_tile *const tiles[] = {KPD__HEIGHTS_14(KPD__ENTRY)};
    (void)widened;
    kpd__dot_tiles(tiles, 14, 2, a, rows, depth, panels, n_panels, sums);
}
#undef KPD__ENTRY
#undef KPD__DOT_BEGIN
#undef KPD__DOT_LOAD
#undef KPD__DOT_SUM
#undef KPD__DOT_END
#undef KPD__TILE
#undef KPD__DOT_NEXT
#undef KPD__DOT_STEP
#undef KPD__DOT_TILE

KPD__TARGET_END
KPD__TARGET("amx-tile,amx-int8,amx-bf16,avx512f")

typedef struct kpd__tile_config { uint8_t palette, start, zero[14]; uint16_t bytes[16]; uint8_t rows[16]; } kpd__tile_config;

// Tiles 0 to 3 are sums of 2 x 16 rows by 2 panels, 4 and 5 the rows, 6 and 7 the panels. Rows past the last are read and
// summed, not used: a block has room for 16. A barrier keeps the rows' stores above the tiles' loads, unseen by gcc 12.
static void kpd__amx_tiles(bool on) {
    kpd__tile_config c;
    if (!on) { _tile_release(); return; }
    memset(&c, 0, sizeof c);
    c.palette = 1;
    for (int i = 0; i < 8; i++) { c.bytes[i] = 64; c.rows[i] = 16; }
    __asm__ volatile("" : : "m"(c));   // gcc 12 thinks that the instruction reads 8 bytes, and leaves out the other stores
    _tile_loadconfig(&c);
}

// One product of a pair of row blocks and a pair of panels, n groups deep; tile numbers are constants of the instructions.
#define KPD__TILE_DOTS(name, DOT)                                                                                              \
    static void name(const char *a0, const char *a1, const char *b0, const char *b1, size_t n, char *s0, char *s1,             \
                     size_t next) {                                                                                            \
        _tile_zero(0); _tile_zero(1); _tile_zero(2); _tile_zero(3);                                                            \
        for (size_t i = 0; i < n; i++) {                                                                                       \
            _tile_loadd(6, b0 + i * 1024, 64);                                                                                 \
            _tile_loadd(4, a0 + i * 1024, 64);                                                                                 \
            DOT(0, 4, 6);                                                                                                      \
            if (b1) { _tile_loadd(7, b1 + i * 1024, 64); DOT(1, 4, 7); }                                                       \
            if (a1) { _tile_loadd(5, a1 + i * 1024, 64); DOT(2, 5, 6); }                                                       \
            if (a1 && b1) DOT(3, 5, 7);                                                                                        \
        }                                                                                                                      \
        _tile_stored(0, s0, 64);                                                                                               \
        if (b1) _tile_stored(1, s0 + next, 64);                                                                                \
        if (a1) _tile_stored(2, s1, 64);                                                                                       \
        if (a1 && b1) _tile_stored(3, s1 + next, 64);                                                                          \
    }
KPD__TILE_DOTS(kpd__tile_int8, _tile_dpbusd)
KPD__TILE_DOTS(kpd__tile_half, _tile_dpbf16ps)
#undef KPD__TILE_DOTS

#define KPD__AMX_DOTS(name, tile)                                                                                              \
    static void name(const void *a, size_t rows, size_t depth, const void *panels, size_t n_panels, void *widened,             \
                     void *sums) {                                                                                             \
        const char *at = (const char *)a, *p = (const char *)panels, *other = n_panels > 1 ? p + 16 * depth : NULL;            \
        char *s = (char *)sums;                                                                                                \
        size_t next = kpd__round_up(rows, 16) * 64;                                                                            \
        (void)widened;                                                                                                         \
        __asm__ volatile("" ::: "memory");                                                                                     \
        for (size_t r = 0; r < rows; r += 32)                                                                                  \
            tile(at + r * depth, r + 16 < rows ? at + (r + 16) * depth : NULL, p, other, depth / 64, s + r * 64,               \
                 s + (r + 16) * 64, next);                                                                                     \
    }
KPD__AMX_DOTS(kpd__amx_int8_dots, kpd__tile_int8)
KPD__AMX_DOTS(kpd__amx_half_dots, kpd__tile_half)
#undef KPD__AMX_DOTS

KPD__TARGET_END

#endif // KPD__X86

// >>heads  Attention of heads of 32 columns by AVX-512 VNNI: what is rounded goes straight to where products read it, and
// nothing but queries is transposed. Relies on the kernels of AVX-512. Promises the bits of int8_attention.
#ifdef KPD__X86
// One head of 32 columns. A row's columns go by words of 4 bytes: word g (0 to 7) holds columns 2g, 2g + 16, 2g + 1, 2g + 17,
// since the order of columns in a sum of whole numbers is free, and this one takes no more than one shuffle of bytes.
typedef struct kpd__head32 {
    size_t n, n8;                       // keys, padded to 8: those past the last repeat it, with weights 0
    int32_t *scores[2];                 // [n8][16] each, a lane a query
    uint8_t *keys;                      // [n8/2][8 words][2 keys][4]
    int8_t *values;                     // [n8/4][2 panels][16 columns][4 keys]
    uint8_t *weights[2];                // [n8/4][16 queries][4 keys]
    int8_t *queries[2];                 // [8 words][16 queries][4]
    float *scaled, *by;                 // [16][32], [16]
    float *inverse;                     // [32]: 1 / the sum of a query's weights
} kpd__head32;

static kpd__head32 kpd__head32_lay(size_t n_tokens, kpd__arena *a) {
    kpd__head32 h;
    h.n = n_tokens; h.n8 = kpd__round_up(n_tokens, 8);
    for (int p = 0; p < 2; p++) {
        h.scores[p] = (int32_t *)kpd__take(a, h.n8 * 16, sizeof(int32_t));
        h.weights[p] = (uint8_t *)kpd__take(a, h.n8, 16);
        h.queries[p] = (int8_t *)kpd__take(a, 512, 1);
    }
    h.keys = (uint8_t *)kpd__take(a, h.n8, 32);
    h.values = (int8_t *)kpd__take(a, h.n8, 32);
    h.scaled = (float *)kpd__take(a, 16 * 32, sizeof(float));
    h.by = (float *)kpd__take(a, 16, sizeof(float));
    h.inverse = (float *)kpd__take(a, 32, sizeof(float));
    return h;
}

#define KPD__LEVEL 3
#define KPD__NAMES
#include KPD_SELF
#undef KPD__NAMES
KPD__TARGET("avx512f,avx512bw,avx2,fma")

// Units of 32, 64 and 128 bits of two registers in turn: within each 128 bits, then of these.
#define KPD__BITS(v) _mm512_castps_si512(v)
#define KPD__FLOATS(v) _mm512_castsi512_ps(v)
#define KPD__UNPACK(size, which, a, b)                                                                                         \
    KPD__FLOATS(_mm512_maskz_unpack##which##_epi##size(KPD__ALL##size, KPD__BITS(a), KPD__BITS(b)))
#define KPD__ALL32 0xFFFF
#define KPD__ALL64 0xFF
#define KPD__QUARTERS(a, b, which) KPD__FLOATS(_mm512_maskz_shuffle_i32x4(0xFFFF, KPD__BITS(a), KPD__BITS(b), which))

// The largest of four rows' lanes, in each 128 bits apart: lanes 4 i + r of row r.
KPD__INLINE kpd__v kpd__four_largest(kpd__v a, kpd__v b, kpd__v c, kpd__v d) {
    a = kpd__vmax(KPD__UNPACK(32, lo, a, b), KPD__UNPACK(32, hi, a, b));
    c = kpd__vmax(KPD__UNPACK(32, lo, c, d), KPD__UNPACK(32, hi, c, d));
    return kpd__vmax(KPD__UNPACK(64, lo, a, c), KPD__UNPACK(64, hi, a, c));
}

// Lane r: the largest lane of row r, of 16.
KPD__INLINE kpd__v kpd__largest_of_rows(const kpd__v row[16]) {
    kpd__v a = kpd__four_largest(row[0], row[1], row[2], row[3]), b = kpd__four_largest(row[4], row[5], row[6], row[7]);
    kpd__v c = kpd__four_largest(row[8], row[9], row[10], row[11]), d = kpd__four_largest(row[12], row[13], row[14], row[15]);
    a = kpd__vmax(KPD__QUARTERS(a, b, 0x44), KPD__QUARTERS(a, b, 0xEE));
    c = kpd__vmax(KPD__QUARTERS(c, d, 0x44), KPD__QUARTERS(c, d, 0xEE));
    return kpd__vmax(KPD__QUARTERS(a, c, 0x88), KPD__QUARTERS(a, c, 0xDD));
}

KPD__INLINE kpd__v kpd__magnitude(kpd__v x) {
    return KPD__FLOATS(_mm512_and_si512(KPD__BITS(x), _mm512_set1_epi32(0x7FFFFFFF)));
}

KPD__TARGET_END
KPD__TARGET("avx512f,avx512bw,avx512vnni,avx2,fma")

// Rows j and j + 1 (in the lowest bytes of 32 columns each) as words.
KPD__INLINE __m512i kpd__two_of_words(kpd__v low, kpd__v high, kpd__v next_low, kpd__v next_high) {
    static const uint8_t order[64] = {0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15, 0, 1, 4, 5, 2, 3,
                                      6, 7, 8, 9, 12, 13, 10, 11, 14, 15, 0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13,
                                      10, 11, 14, 15, 0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15};
    return _mm512_maskz_shuffle_epi8(UINT64_MAX, KPD__BITS(kpd__quads(low, high, next_low, next_high)),
                                     _mm512_loadu_si512(order));
}

// Least, step and 255 / range of columns between what least and most found.
KPD__INLINE KPD__NAME(spread) kpd__spread_between(kpd__v least, kpd__v most) {
    const kpd__v range = kpd__sub(most, least), nothing = kpd__set(KPD__NOTHING), zero = kpd__set(0), levels = kpd__set(255);
    KPD__NAME(spread) s;
    s.least = least;
    s.by = kpd__pick_lt(range, nothing, zero, kpd__div(levels, range));
    s.step = kpd__pick_lt(range, nothing, zero, kpd__div(range, levels));
    return s;
}

typedef struct kpd__spreads { KPD__NAME(spread) k[2], v[2]; } kpd__spreads;     // of the first and last 16 columns

// Keys and values of a head, rows ld apart.
KPD__APART void kpd__head32_spreads(const float *k, const float *v, size_t ld, size_t n, kpd__spreads *s) {
    kpd__v k0 = kpd__load(k), k1 = kpd__load(k + 16), v0 = kpd__load(v), v1 = kpd__load(v + 16);
    kpd__v l0 = k0, l1 = k1, m0 = v0, m1 = v1;
    for (size_t j = 1; j < n; j++) {
        const kpd__v a = kpd__load(k + j * ld), b = kpd__load(k + j * ld + 16);
        const kpd__v c = kpd__load(v + j * ld), d = kpd__load(v + j * ld + 16);
        k0 = kpd__vmax(k0, a); k1 = kpd__vmax(k1, b); v0 = kpd__vmax(v0, c); v1 = kpd__vmax(v1, d);
        l0 = kpd__vmin(a, l0); l1 = kpd__vmin(b, l1); m0 = kpd__vmin(c, m0); m1 = kpd__vmin(d, m1);
    }
    s->k[0] = kpd__spread_between(l0, k0); s->k[1] = kpd__spread_between(l1, k1);
    s->v[0] = kpd__spread_between(m0, v0); s->v[1] = kpd__spread_between(m1, v1);
}

KPD__APART void kpd__head32_round(const kpd__head32 *h, const kpd__spreads *s, const float *k, const float *v, size_t ld) {
    for (size_t j = 0; j < h->n8; j += 4) {
        kpd__v a[4], b[4], c[4], d[4];
        KPD__UNROLL
        for (size_t i = 0; i < 4; i++) {
            const size_t row = (j + i < h->n ? j + i : h->n - 1) * ld;
            a[i] = KPD__NAME(level_of)(&s->k[0], kpd__load(k + row), 0);
            b[i] = KPD__NAME(level_of)(&s->k[1], kpd__load(k + row + 16), 0);
            c[i] = KPD__NAME(level_of)(&s->v[0], kpd__load(v + row), -128);
            d[i] = KPD__NAME(level_of)(&s->v[1], kpd__load(v + row + 16), -128);
        }
        _mm512_storeu_si512(h->keys + j * 32, kpd__two_of_words(a[0], b[0], a[1], b[1]));
        _mm512_storeu_si512(h->keys + j * 32 + 64, kpd__two_of_words(a[2], b[2], a[3], b[3]));
        _mm512_storeu_si512(h->values + j * 32, KPD__BITS(kpd__quads(c[0], c[1], c[2], c[3])));
        _mm512_storeu_si512(h->values + j * 32 + 64, KPD__BITS(kpd__quads(d[0], d[1], d[2], d[3])));
    }
}

// out [8 words][8 pairs of queries], of rows of a pair [8 words]: 8 x 8 units of 64 bits.
KPD__INLINE void kpd__transpose_units(const __m512i row[8], int8_t *out) {
#define KPD__TURN_HALF(which, at)                                                                                              \
    {                                                                                                                          \
        const kpd__v a = KPD__UNPACK(64, which, KPD__FLOATS(row[0]), KPD__FLOATS(row[1]));                                     \
        const kpd__v b = KPD__UNPACK(64, which, KPD__FLOATS(row[2]), KPD__FLOATS(row[3]));                                     \
        const kpd__v c = KPD__UNPACK(64, which, KPD__FLOATS(row[4]), KPD__FLOATS(row[5]));                                     \
        const kpd__v d = KPD__UNPACK(64, which, KPD__FLOATS(row[6]), KPD__FLOATS(row[7]));                                     \
        const kpd__v x = KPD__QUARTERS(a, b, 0x44), y = KPD__QUARTERS(a, b, 0xEE);                                             \
        const kpd__v z = KPD__QUARTERS(c, d, 0x44), w = KPD__QUARTERS(c, d, 0xEE);                                             \
        _mm512_storeu_si512(out + (at) * 64, KPD__BITS(KPD__QUARTERS(x, z, 0x88)));                                            \
        _mm512_storeu_si512(out + (at + 2) * 64, KPD__BITS(KPD__QUARTERS(x, z, 0xDD)));                                        \
        _mm512_storeu_si512(out + (at + 4) * 64, KPD__BITS(KPD__QUARTERS(y, w, 0x88)));                                        \
        _mm512_storeu_si512(out + (at + 6) * 64, KPD__BITS(KPD__QUARTERS(y, w, 0xDD)));                                        \
    }
    KPD__TURN_HALF(lo, 0)
    KPD__TURN_HALF(hi, 1)
#undef KPD__TURN_HALF
}

// Up to 16 queries as a panel, see int8_queries; lanes past the last are 0.
KPD__APART kpd__v kpd__head32_queries(const kpd__head32 *h, const kpd__spreads *s, const float *q, size_t ld, size_t queries,
                                       int8_t *panel) {
    const kpd__v zero = kpd__set(0), magic = kpd__set(KPD__MAGIC);
    kpd__v row[16], most, by;
    __m512i pair[8];
    KPD__UNROLL
    for (size_t r = 0; r < 16; r++) {
        kpd__v a = zero, b = zero;
        if (r < queries) {
            a = kpd__mul(kpd__load(q + r * ld), s->k[0].step);
            b = kpd__mul(kpd__load(q + r * ld + 16), s->k[1].step);
        }
        kpd__store(h->scaled + r * 32, a);
        kpd__store(h->scaled + r * 32 + 16, b);
        row[r] = kpd__vmax(kpd__magnitude(a), kpd__vmax(kpd__magnitude(b), zero));
    }
    most = kpd__largest_of_rows(row);
    by = kpd__pick_lt(most, kpd__set(KPD__NOTHING), zero, kpd__div(kpd__set(127), most));
    kpd__store(h->by, by);
    KPD__UNROLL
    for (size_t r = 0; r < 16; r += 2) {
        const float *x = h->scaled + r * 32;
        const kpd__v f = kpd__set(h->by[r]), g = kpd__set(h->by[r + 1]);
        pair[r / 2] = kpd__two_of_words(kpd__fmadd(kpd__load(x), f, magic), kpd__fmadd(kpd__load(x + 16), f, magic),
                                        kpd__fmadd(kpd__load(x + 32), g, magic), kpd__fmadd(kpd__load(x + 48), g, magic));
    }
    kpd__transpose_units(pair, panel);
    return kpd__mul(most, kpd__set(KPD__LOG2_E / 127 / sqrtf(32)));
}

KPD__INLINE __m512i kpd__word_to_all(const void *p) {
    int32_t word;
    memcpy(&word, p, 4);
    return _mm512_set1_epi32(word);
}

// Scores of `panels` (a constant) times 16 queries, and the largest of each query.
KPD__INLINE void kpd__head32_scores_of(const kpd__head32 *h, size_t panels, __m512i top[2]) {
    const uint8_t *keys = h->keys;
    for (size_t j = 0; j < h->n8; j += 8, keys += 256) {
        __m512i sum[2][8];
        KPD__UNROLL
        for (size_t i = 0; i < 8; i++) sum[0][i] = sum[1][i] = _mm512_setzero_si512();
        KPD__UNROLL
        for (size_t g = 0; g < 8; g++) {
            const __m512i a = _mm512_loadu_si512(h->queries[0] + g * 64);
            const __m512i b = panels > 1 ? _mm512_loadu_si512(h->queries[1] + g * 64) : a;
            KPD__UNROLL
            for (size_t i = 0; i < 8; i++) {
                const __m512i key = kpd__word_to_all(keys + i / 2 * 64 + g * 8 + i % 2 * 4);
                sum[0][i] = _mm512_dpbusd_epi32(sum[0][i], key, a);
                if (panels > 1) sum[1][i] = _mm512_dpbusd_epi32(sum[1][i], key, b);
            }
        }
        KPD__UNROLL
        for (size_t i = 0; i < 8; i++) {
            KPD__UNROLL
            for (size_t p = 0; p < panels; p++) {
                _mm512_storeu_si512(h->scores[p] + (j + i) * 16, sum[p][i]);
                top[p] = j + i ? _mm512_maskz_max_epi32(0xFFFF, top[p], sum[p][i]) : sum[p][i];
            }
        }
    }
}

KPD__APART void kpd__head32_scores(const kpd__head32 *h, __m512i top[2]) { kpd__head32_scores_of(h, 1, top); }
KPD__APART void kpd__head32_scores2(const kpd__head32 *h, __m512i top[2]) { kpd__head32_scores_of(h, 2, top); }

// Weights of 16 queries; returns 1 / their sums. See int8_softmax.
KPD__APART kpd__v kpd__head32_softmax(const kpd__head32 *h, size_t p, kpd__v top, kpd__v f) {
    kpd__v sum = kpd__set(kpd__from_bits((uint32_t)h->n8 * (0u - KPD__MAGIC_BITS))), w[4];
    int32_t sums[16];
    size_t j = 0;
    for (; j + 4 <= h->n; j += 4) {
        KPD__NAME(four_weights)(h->scores[p] + j * 16, 4, top, f, &sum, w);
        _mm512_storeu_si512(h->weights[p] + j * 16, KPD__BITS(kpd__quads(w[0], w[1], w[2], w[3])));
    }
    for (; j < h->n8; j += 4) {
        KPD__NAME(four_weights)(h->scores[p] + j * 16, h->n > j ? h->n - j : 0, top, f, &sum, w);
        _mm512_storeu_si512(h->weights[p] + j * 16, KPD__BITS(kpd__quads(w[0], w[1], w[2], w[3])));
    }
    kpd__store((float *)(void *)sums, sum);
    return kpd__div(kpd__set(1), kpd__whole(sums));
}

// Rows [from, from + 4) of a panel of queries, of which the first `queries` are stored: out [.., 32].
KPD__APART void kpd__head32_values(const kpd__head32 *h, const kpd__spreads *s, size_t p, size_t from, size_t queries,
                                    float *out, size_t ldo) {
    const kpd__v middle = kpd__set(128);
    const uint8_t *weights = h->weights[p] + from * 4;
    const int8_t *values = h->values;
    __m512i sum[2][4];
    KPD__UNROLL
    for (size_t r = 0; r < 4; r++) sum[0][r] = sum[1][r] = _mm512_setzero_si512();
    for (size_t j = 0; j < h->n8; j += 4, weights += 64, values += 128) {
        const __m512i a = _mm512_loadu_si512(values), b = _mm512_loadu_si512(values + 64);
        KPD__UNROLL
        for (size_t r = 0; r < 4; r++) {
            const __m512i weight = kpd__word_to_all(weights + r * 4);
            sum[0][r] = _mm512_dpbusd_epi32(sum[0][r], weight, a);
            sum[1][r] = _mm512_dpbusd_epi32(sum[1][r], weight, b);
        }
    }
    KPD__UNROLL
    for (size_t r = 0; r < 4; r++) {
        const kpd__v inverse = kpd__set(h->inverse[p * 16 + from + r]);
        if (from + r >= queries) break;
        KPD__UNROLL
        for (size_t i = 0; i < 2; i++) {
            kpd__v mean = kpd__fmadd(_mm512_maskz_cvtepi32_ps(0xFFFF, sum[i][r]), inverse, middle);
            kpd__store(out + (from + r) * ldo + i * 16, kpd__fmadd(s->v[i].step, mean, s->v[i].least));
        }
    }
}

// Heads of 32 columns; others take the common way.
static void kpd__avx512vnni_attention(const kpd__ops *ops, const float *qkv, size_t n, size_t begin, size_t end, size_t width,
                                      size_t heads, float *scratch, float *out) {
    const size_t padded = kpd__round_up(width, 16), ld = 3 * padded;
    kpd__arena a = {(char *)scratch, 0, false};
    if (width != heads * 32) {
        kpd__ops common = *ops;
        common.operand = KPD__BYTES; common.int8_dots = kpd__avx512vnni_dots;
        KPD__NAME(int8_attention)(&common, qkv, n, begin, end, width, heads, scratch, out);
        return;
    }
    const kpd__head32 h = kpd__head32_lay(n, &a);
    for (size_t i = 0; i < heads; i++) {
        const float *q = qkv + i * 32, *k = q + padded, *v = k + padded;
        kpd__spreads s;
        kpd__head32_spreads(k, v, ld, n, &s);
        kpd__head32_round(&h, &s, k, v, ld);
        for (size_t r = begin; r < end; r += KPD__WALK) {
            const size_t queries = kpd__min(KPD__WALK, end - r), panels = (queries + 15) / 16;
            __m512i top[2];
            kpd__v f[2];
            for (size_t p = 0; p < panels; p++)
                f[p] = kpd__head32_queries(&h, &s, q + (r + p * 16) * ld, ld, kpd__part_n(p * 16, queries), h.queries[p]);
            (panels > 1 ? kpd__head32_scores2 : kpd__head32_scores)(&h, top);
            for (size_t p = 0; p < panels; p++) {
                const size_t m = kpd__part_n(p * 16, queries);
                float *to = out + (r + p * 16) * width + i * 32;
                kpd__store(h.inverse + p * 16, kpd__head32_softmax(&h, p, KPD__FLOATS(top[p]), f[p]));
                for (size_t from = 0; from < m; from += 4) kpd__head32_values(&h, &s, p, from, m, to, width);
            }
        }
    }
}

KPD__TARGET_END
KPD__TARGET("avx512f,avx512bw,avx512vnni,avx2,fma")

// The 4-bit panels of a tree: VPDPBUSD sums four products of a nibble and a byte.
KPD__INLINE kpd__v kpd__avx512vnni_nibbles(const uint8_t *codes, size_t groups, const int8_t *q) {
    const __m512i low = _mm512_set1_epi8(15);
    __m512i a = _mm512_setzero_si512(), b = a;
    for (size_t g = 0; g < groups; g++) {
        __m512i w = _mm512_loadu_si512(codes + g * 64);
        int32_t four[2];
        memcpy(four, q + g * 8, sizeof four);
        a = _mm512_dpbusd_epi32(a, _mm512_and_si512(w, low), _mm512_set1_epi32(four[0]));
        b = _mm512_dpbusd_epi32(b, _mm512_and_si512(_mm512_srli_epi16(w, 4), low), _mm512_set1_epi32(four[1]));
    }
    return _mm512_maskz_cvtepi32_ps(0xFFFF, _mm512_add_epi32(a, b));
}
KPD__TREE_KERNELS(kpd__avx512vnni_nodes, kpd__avx512vnni_nodes_of, kpd__avx512vnni_codes, kpd__avx512vnni_codes_of,
                  kpd__avx512vnni_nibbles)

KPD__TARGET_END
#undef KPD__LEVEL
#endif // KPD__X86

// >>amx  Products of rounded rows by AMX's tiles, whole: what the sums of one block become is computed while the tiles multiply
// the next. Relies on >>dots for what is left over, and on the kernels of AVX-512. Promises the bits of kpd__avx512_walk.
#ifdef KPD__X86
// Attention of bf16, heads of 32 columns. Scores are keys times a panel of queries; then the other way round weights are
// the rows and values the panel, so that neither values nor results are transposed: only queries and weights are, in registers.
// The same sums in the same order as half_attention.
typedef struct kpd__amx_head {
    size_t n, n16, n32;                 // keys, padded
    float *scores;                      // [2][n16][16], a lane a query
    float *sums;                        // [2 panels of columns][16 queries][16]
    uint16_t *keys;                     // tiles [n16][32]
    uint16_t *values;                   // panels [2][n32/2][16][2]
    uint16_t *queries;                  // panels [2][16][16][2]
    uint16_t *weights;                  // a tile a group of 32 keys: [n32/32][16 queries][32]
} kpd__amx_head;

static kpd__amx_head kpd__amx_head_lay(size_t n_tokens, kpd__arena *a) {
    kpd__amx_head h;
    h.n = n_tokens; h.n16 = kpd__round_up(n_tokens, 16); h.n32 = kpd__round_up(n_tokens, 32);
    h.scores = (float *)kpd__take(a, 2 * h.n16 * 16, sizeof(float));
    h.sums = (float *)kpd__take(a, 512, sizeof(float));
    h.keys = (uint16_t *)kpd__take(a, h.n32 * 32, sizeof(uint16_t));
    h.values = (uint16_t *)kpd__take(a, h.n32 * 32, sizeof(uint16_t));
    h.queries = (uint16_t *)kpd__take(a, 2 * 512, sizeof(uint16_t));
    h.weights = (uint16_t *)kpd__take(a, h.n32 * 16, sizeof(uint16_t));
    return h;
}

#define KPD__LEVEL 3
#define KPD__NAMES
#include KPD_SELF
#undef KPD__NAMES
KPD__TARGET("amx-tile,amx-int8,amx-bf16,avx512f,avx512bw,avx2,fma")

// A tile holds 16 rows of 64 bytes, 1 KB. Tiles 0 to 3 are sums, 4 and 5 rows of x, 6 and 7 panels: 4 loads of 8 cycles serve
// 4 multiplications of 16. A block is up to 32 rows by two panels, or up to 16 rows by four.
//     sums of a block: [2 panels][32 rows][16], or [4 panels][16 rows][16]
// The sums of a block are stored in the first step of the next one, each right before its tile is used anew: at the end of
// their own block all four would wait for the last multiplications.

enum { KPD__AMX_STEPS = 12 };   // of 64 bytes: a pair of panels as deep as that, 24 KB, is half of L1

// What sums become: y of KPD__SIGNED, KPD__OFFSET or KPD__SIGNED_16, of KPD__SIGNED through GELU; y of bf16, and bf16 through
// GELU as halves. Always a constant.
typedef enum kpd__amx_kind {
    KPD__AMX_SIGNED, KPD__AMX_OFFSET, KPD__AMX_SIGNED_16, KPD__AMX_GELU, KPD__AMX_HALF, KPD__AMX_HALVES, KPD__AMX_NONE
} kpd__amx_kind;

static kpd__amx_kind kpd__amx_kind_of(const kpd__matrix *w, const kpd__strip *y) {
    const bool identity = w->activation == KPD_IDENTITY, gelu = w->activation == KPD__SHORT_GELU;
    if (w->half) return y->halves && gelu ? KPD__AMX_HALVES : identity ? KPD__AMX_HALF : KPD__AMX_NONE;
    if (gelu && w->rounding == KPD__SIGNED) return KPD__AMX_GELU;
    if (!identity) return KPD__AMX_NONE;
    return w->rounding == KPD__SIGNED ? KPD__AMX_SIGNED : w->rounding == KPD__OFFSET ? KPD__AMX_OFFSET : KPD__AMX_SIGNED_16;
}

// A block to multiply: n steps of 64 bytes. Meanwhile the tiles' sums of the block before go to `to`.
typedef struct kpd__amx_block {
    const char *a, *b, *from;           // from: sums to go on from, or NULL
    size_t next_a, next_b, n;           // to the second 16 rows, or 0 if there are none; to the next panel
    float *to;
    const char *ahead; size_t lines;    // what comes next, some lines of it a step
    bool stream;                        // rows pass by, and leave L1 to the panels
} kpd__amx_block;

// A block whose sums become results.
typedef struct kpd__amx_results {
    const kpd__matrix *w;
    size_t row, rows, col;
    const float *sums, *high;           // high: of KPD__SIGNED_16
    const float *step; const int32_t *zero;     // int8, of each row, from row 0 on
    kpd__strip y;
} kpd__amx_results;

// Rows of x as u8, four at a time, so that their largest are found together: see round_row. k is a multiple of 64. A NaN
// becomes the least, as there; nothing else lies outside of 0 to 255 but by half a step, which the last instruction cuts.
typedef struct kpd__four_rows { const float *x[4]; uint8_t *to[4]; kpd__v by[4], offset[4]; } kpd__four_rows;

KPD__INLINE kpd__v kpd__scaled16(const float *inscale, const float *x, size_t i) {
    return inscale ? kpd__mul(kpd__load(x + i), kpd__load(inscale + i)) : kpd__load(x + i);
}

// Lanes 0 to 3: the largest lane of each of four rows.
KPD__INLINE kpd__v kpd__largest_of_four(const kpd__v row[4]) {
    kpd__v m = kpd__four_largest(row[0], row[1], row[2], row[3]);
    m = kpd__vmax(KPD__QUARTERS(m, m, 0x4E), m);
    return kpd__vmax(KPD__QUARTERS(m, m, 0xB1), m);
}

// The largest of four rows so far, or of their magnitudes, and with offset of the negated; with 16 columns more.
typedef struct kpd__four_limits { kpd__v most[4], least[4]; } kpd__four_limits;
KPD__INLINE void kpd__four_none(kpd__four_limits *l) {
    KPD__UNROLL
    for (int j = 0; j < 4; j++) l->most[j] = l->least[j] = kpd__set(0);
}
KPD__INLINE void kpd__four_more(kpd__four_limits *l, const float *inscale, bool offset, const float *const x[4], size_t i) {
    KPD__UNROLL
    for (int j = 0; j < 4; j++) {
        const kpd__v t = kpd__scaled16(inscale, x[j], i);
        l->most[j] = kpd__vmax(offset ? t : kpd__magnitude(t), l->most[j]);
        if (offset) l->least[j] = kpd__vmax(kpd__sub(kpd__set(0), t), l->least[j]);
    }
}

// What follows from the range of four rows: rows [r, r + 4) of `to`, of which the first n are stored.
KPD__INLINE void kpd__four_ranges(const kpd__four_limits *l, bool offset, kpd__four_rows *f, size_t r, size_t n,
                                  const kpd__workspace *to) {
    const kpd__v zero = kpd__set(0), magic = kpd__set(KPD__MAGIC), levels = kpd__set(offset ? 255 : 127);
    const kpd__v down = offset ? kpd__largest_of_four(l->least) : zero;
    kpd__v range = kpd__largest_of_four(l->most), by, step, at;
    float bys[16], zeros[16], steps[16];
    if (offset) range = kpd__add(range, down);
    by = kpd__pick_lt(range, kpd__set(KPD__NOTHING), zero, kpd__div(levels, range));
    step = kpd__pick_lt(range, kpd__set(KPD__NOTHING), zero, kpd__div(range, levels));
    at = offset ? kpd__add(kpd__mul(down, by), magic) : kpd__set(KPD__MAGIC + 128);     // its lowest bits: where 0 lies
    kpd__store(bys, by);
    kpd__store(zeros, at);
    kpd__store(steps, step);
    for (size_t j = 0; j < n; j++) {
        to->step[r + j] = steps[j];
        to->zero[r + j] = (int32_t)kpd__to_bits(zeros[j]) & 0xFFFF;
    }
    KPD__UNROLL
    for (size_t j = 0; j < 4; j++) {
        f->by[j] = kpd__set(bys[j]);
        f->offset[j] = kpd__set(KPD__MAGIC + (float)((int32_t)kpd__to_bits(zeros[j]) & 0xFFFF));
    }
}

// The lowest bytes of 64 columns.
KPD__INLINE __m512i kpd__bytes_of(kpd__v a, kpd__v b, kpd__v c, kpd__v d) {
    static const uint16_t even[32] = {0,  2,  4,  6,  8,  10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30,
                                      32, 34, 36, 38, 40, 42, 44, 46, 48, 50, 52, 54, 56, 58, 60, 62};
    static const uint64_t halves[8] = {0, 2, 4, 6, 1, 3, 5, 7};
    const __m512i at = _mm512_loadu_si512(even);
    const __m512i low = _mm512_permutex2var_epi16(KPD__BITS(a), at, KPD__BITS(b));
    const __m512i high = _mm512_permutex2var_epi16(KPD__BITS(c), at, KPD__BITS(d));
    return _mm512_maskz_permutexvar_epi64(0xFF, _mm512_loadu_si512(halves), _mm512_packus_epi16(low, high));
}

// Rows f of k columns as u8.
KPD__INLINE void kpd__four_round(const kpd__four_rows *f, const float *inscale, size_t k) {
    const kpd__v magic = kpd__set(KPD__MAGIC);
    for (size_t i = 0; i < k; i += 64) {
        KPD__UNROLL
        for (size_t j = 0; j < 4; j++) {
            kpd__v t[4];
            KPD__UNROLL
            for (size_t c = 0; c < 4; c++)
                t[c] = kpd__vmax(kpd__fmadd(kpd__scaled16(inscale, f->x[j], i + 16 * c), f->by[j], f->offset[j]), magic);
            _mm512_storeu_si512(f->to[j] + i * 16, kpd__bytes_of(t[0], t[1], t[2], t[3]));
        }
    }
}

// Rows [r, r + 4) of x, of which there are `rows`: the last one again, where there are fewer.
KPD__INLINE void kpd__four_lay(kpd__four_rows *f, const float *x, size_t ldx, size_t r, size_t rows, const kpd__workspace *to) {
    KPD__UNROLL
    for (size_t j = 0; j < 4; j++) {
        const size_t row = kpd__min(r + j, rows - 1);
        f->x[j] = x + row * ldx;
        f->to[j] = to->rows + row / 16 * 16 * to->row_bytes + row % 16 * 64;
    }
}

KPD__INLINE void kpd__amx_round(const kpd__matrix *w, const float *inscale, bool offset, const float *x, size_t ldx,
                                size_t rows, const kpd__workspace *to) {
    for (size_t r = 0; r < rows; r += 4) {
        kpd__four_rows f;
        kpd__four_limits limits;
        kpd__four_lay(&f, x, ldx, r, rows, to);
        kpd__four_none(&limits);
        for (size_t i = 0; i < w->k; i += 16) kpd__four_more(&limits, inscale, offset, f.x, i);
        kpd__four_ranges(&limits, offset, &f, r, kpd__min(4, rows - r), to);
        kpd__four_round(&f, inscale, w->k);
    }
}

static void kpd__amx_round_rows(const kpd__matrix *w, kpd__operand operand, const float *x, size_t ldx, size_t rows,
                                const kpd__workspace *to) {
    const bool offset = w->rounding == KPD__OFFSET;
    if (!w->bytes || w->rounding == KPD__SIGNED_16 || w->k % 64) KPD__NAME(round_rows)(w, operand, x, ldx, rows, to);
    else if (w->inscale && offset) kpd__amx_round(w, w->inscale, true, x, ldx, rows, to);
    else if (w->inscale) kpd__amx_round(w, w->inscale, false, x, ldx, rows, to);
    else if (offset) kpd__amx_round(w, NULL, true, x, ldx, rows, to);
    else kpd__amx_round(w, NULL, false, x, ldx, rows, to);
}

// add_norm and round_rows in one walk over each four rows, whose limits are found as the norm stores them.
KPD__INLINE void kpd__amx_norm_by(const kpd__norm *p, const kpd__matrix *w, const float *inscale, const float *y, size_t rows,
                                  float *x, const kpd__workspace *to) {
    const size_t k = w->k;
    for (size_t r = 0; r < rows; r += 4) {
        const size_t n = kpd__min(4, rows - r);
        float mean[4], scale[4];
        kpd__four_rows f;
        kpd__four_limits limits;
        kpd__four_lay(&f, x, k, r, rows, to);
        KPD__NAME(row_moments)(p, y ? y + r * k : NULL, n, k, x + r * k, mean, scale);
        kpd__four_none(&limits);
        for (size_t i = 0; i < k; i += 16) {
            if (n == 4) KPD__NAME(norm_part)(p, mean, scale, 4, k, i, 16, x + r * k);
            else KPD__NAME(norm_part)(p, mean, scale, n, k, i, 16, x + r * k);
            kpd__four_more(&limits, inscale, false, f.x, i);
        }
        kpd__four_ranges(&limits, false, &f, r, n, to);
        kpd__four_round(&f, inscale, k);
    }
}
static void kpd__amx_norm_round(const kpd__norm *p, const kpd__matrix *w, const float *y, size_t rows, float *x,
                                const kpd__workspace *to) {
    if (w->inscale) kpd__amx_norm_by(p, w, w->inscale, y, rows, x, to);
    else kpd__amx_norm_by(p, w, NULL, y, rows, x, to);
}

// What all rows of a panel share.
typedef struct kpd__amx_panel { kpd__v bias, scale, minus; const int32_t *colsum; } kpd__amx_panel;

KPD__INLINE kpd__amx_panel kpd__amx_panel_of(kpd__amx_kind kind, const kpd__matrix *w, size_t col) {
    kpd__amx_panel p;
    p.bias = kpd__bias(w, col);
    p.scale = p.minus = p.bias;
    p.colsum = NULL;
    if (kind >= KPD__AMX_HALF) return p;
    p.scale = kpd__load(w->scale + col);
    p.colsum = w->colsum + col;
    p.minus = kpd__times(p.colsum, 128);
    return p;
}

// 16 results of a row, before an activation: rescale_by and finish_panel say how.
KPD__INLINE kpd__v kpd__amx_value(kpd__amx_kind kind, const kpd__amx_panel *p, const float *sum, ptrdiff_t high,
                                  const float *step, const int32_t *zero) {
    const int32_t *whole = (const int32_t *)(const void *)sum;
    kpd__v s;
    if (kind >= KPD__AMX_HALF) return kpd__add(kpd__load(sum), p->bias);
    s = kind == KPD__AMX_SIGNED_16 ? kpd__wide(whole, whole + high, p->colsum)
      : kpd__corrected(whole, kind == KPD__AMX_OFFSET ? kpd__times(p->colsum, *zero) : p->minus);
    return kpd__fmadd(s, kpd__mul(kpd__set(*step), p->scale), p->bias);
}

// KPD__SHORT_GELU of four at a time: one alone would wait for itself at each step.
KPD__INLINE void kpd__amx_gelu(kpd__v v[4]) {
    kpd__v x[4], t[4], p[4];
    KPD__UNROLL
    for (int j = 0; j < 4; j++) {
        x[j] = KPD__NAME(within)(v[j], 4.0f);
        t[j] = kpd__mul(x[j], x[j]);
        p[j] = kpd__set(kpd__short_phi_c[6]);
    }
    KPD__UNROLL
    for (int i = 5; i >= 0; i--) {
        KPD__UNROLL
        for (int j = 0; j < 4; j++) p[j] = kpd__fmadd(p[j], t[j], kpd__set(kpd__short_phi_c[i]));
    }
    KPD__UNROLL
    for (int j = 0; j < 4; j++) v[j] = kpd__mul(v[j], kpd__fmadd(x[j], p[j], kpd__set(0.5f)));
}

KPD__INLINE void kpd__amx_halves(float *to, kpd__v a, kpd__v b) { KPD__NAME(store_halves)((uint16_t *)(void *)to, a, b); }

// Results go on row by row; what moves with them are these, which must not be fields of a struct, or gcc keeps them in memory.
#define KPD__AMX_ROWS                                                                                                          \
    const ptrdiff_t high = r->high - r->sums;                                                                                  \
    const size_t rows = r->rows, ldy = r->y.ld, row_bytes = kpd__round_up(r->w->n, 32) * 2;                                    \
    const size_t next_tile = 4 * row_bytes - 256;       /* floats from behind the last row of a tile to the next tile's */     \
    const float *sums = r->sums, *step = r->step + r->row;                                                                     \
    const int32_t *zero = r->zero + r->row;                                                                                    \
    float *y = kind == KPD__AMX_HALVES ? (float *)(void *)(r->y.halves + r->row / 16 * 16 * row_bytes + r->col / 32 * 1024)    \
                                       : r->y.floats + r->row * ldy + r->col;                                                  \
    size_t row = 0;
#define KPD__AMX_VALUE(panel, at, r) kpd__amx_value(kind, &panel, sums + (at) + (r) * 16, high, step + (r), zero + (r))

// Two rows of two panels, or the last of an odd number.
#define KPD__AMX_TWO(n)                                                                                                        \
    do {                                                                                                                       \
        kpd__v v[4];                                                                                                           \
        v[0] = KPD__AMX_VALUE(left, 0, 0); v[1] = KPD__AMX_VALUE(right, 512, 0);                                               \
        v[2] = n == 2 ? KPD__AMX_VALUE(left, 0, n - 1) : v[0]; v[3] = n == 2 ? KPD__AMX_VALUE(right, 512, n - 1) : v[1];       \
        if (kind == KPD__AMX_GELU || kind == KPD__AMX_HALVES) kpd__amx_gelu(v);                                                \
        if (kind == KPD__AMX_HALVES) {                                                                                         \
            kpd__amx_halves(y, v[0], v[1]);                                                                                    \
            if (n == 2) kpd__amx_halves(y + 16, v[2], v[3]);                                                                   \
            y += row == 14 ? 32 + next_tile : 32;                                                                              \
        } else {                                                                                                               \
            kpd__store(y, v[0]); kpd__store(y + 16, v[1]);                                                                     \
            if (n == 2) { kpd__store(y + ldy, v[2]); kpd__store(y + ldy + 16, v[3]); }                                         \
            y += 2 * ldy;                                                                                                      \
        }                                                                                                                      \
        sums += 32; step += 2; zero += 2; row += 2;                                                                            \
    } while (0)
#define KPD__AMX_SOME_TWO(i) if (share > i && row + 2 <= rows) KPD__AMX_TWO(2)

// A row of four panels.
#define KPD__AMX_ONE                                                                                                           \
    do {                                                                                                                       \
        kpd__v v[4];                                                                                                           \
        v[0] = KPD__AMX_VALUE(p0, 0, 0); v[1] = KPD__AMX_VALUE(p1, 256, 0);                                                    \
        v[2] = KPD__AMX_VALUE(p2, 512, 0); v[3] = KPD__AMX_VALUE(p3, 768, 0);                                                  \
        if (kind == KPD__AMX_GELU || kind == KPD__AMX_HALVES) kpd__amx_gelu(v);                                                \
        if (kind == KPD__AMX_HALVES) {                                                                                         \
            kpd__amx_halves(y, v[0], v[1]); kpd__amx_halves(y + 256, v[2], v[3]);                                              \
            y += 16;                                                                                                           \
        } else {                                                                                                               \
            kpd__store(y, v[0]); kpd__store(y + 16, v[1]); kpd__store(y + 32, v[2]); kpd__store(y + 48, v[3]);                 \
            y += ldy;                                                                                                          \
        }                                                                                                                      \
        sums += 16; step++; zero++; row++;                                                                                     \
    } while (0)
#define KPD__AMX_SOME_ONE(i) if (share > i && row < rows) KPD__AMX_ONE

#define KPD__AMX_DOT(c, a, b) do { if (kind >= KPD__AMX_HALF) _tile_dpbf16ps(c, a, b); else _tile_dpbusd(c, a, b); } while (0)
#define KPD__AMX_A(tile, p) do { if (stream) _tile_stream_loadd(tile, p, 64); else _tile_loadd(tile, p, 64); } while (0)
#define KPD__AMX_MOVE(tile, at)                                                                                                \
    _tile_stored(tile, s->to + at, 64);                                                                                        \
    if (s->from) _tile_loadd(tile, s->from + at * 4, 64);                                                                      \
    else _tile_zero(tile);
#define KPD__AMX_PREFETCH for (size_t line = 0; line < lines; line++, ahead += 64) KPD__PREFETCH(ahead, 0);

// Up to 32 rows of two panels. share: how many two rows become results after each multiplication.
KPD__INLINE void kpd__amx_tall(kpd__amx_kind kind, const kpd__amx_block *s, const kpd__amx_results *r) {
    const char *a = s->a, *b = s->b, *ahead = s->ahead;
    const size_t next_a = s->next_a, next_b = s->next_b, n = s->n, lines = s->lines, share = n > 1 ? (16 + n - 2) / (n - 1) : 0;
    const bool stream = s->stream;
    const kpd__amx_panel left = kpd__amx_panel_of(kind, r->w, r->col), right = kpd__amx_panel_of(kind, r->w, r->col + 16);
    KPD__AMX_ROWS
    KPD__AMX_A(4, a);
    _tile_loadd(6, b, 64);
    KPD__AMX_MOVE(0, 0)
    KPD__AMX_DOT(0, 4, 6);
    _tile_loadd(7, b + next_b, 64);
    KPD__AMX_MOVE(1, 512)
    KPD__AMX_DOT(1, 4, 7);
    if (next_a) KPD__AMX_A(5, a + next_a);
    KPD__AMX_MOVE(2, 256)
    if (next_a) KPD__AMX_DOT(2, 5, 6);
    KPD__AMX_MOVE(3, 768)
    if (next_a) KPD__AMX_DOT(3, 5, 7);
    __asm__ volatile("" ::: "memory");
    if (next_a)
        for (size_t i = 1; i < n; i++) {
            a += 1024; b += 1024;
            KPD__AMX_A(4, a);
            _tile_loadd(6, b, 64);
            KPD__AMX_DOT(0, 4, 6);
            KPD__AMX_SOME_TWO(0);
            _tile_loadd(7, b + next_b, 64);
            KPD__AMX_DOT(1, 4, 7);
            KPD__AMX_SOME_TWO(1);
            KPD__AMX_A(5, a + next_a);
            KPD__AMX_DOT(2, 5, 6);
            KPD__AMX_SOME_TWO(2);
            KPD__AMX_DOT(3, 5, 7);
            KPD__AMX_SOME_TWO(3);
            KPD__AMX_PREFETCH
        }
    else
        for (size_t i = 1; i < n; i++) {
            a += 1024; b += 1024;
            KPD__AMX_A(4, a);
            _tile_loadd(6, b, 64);
            KPD__AMX_DOT(0, 4, 6);
            _tile_loadd(7, b + next_b, 64);
            KPD__AMX_DOT(1, 4, 7);
            for (size_t j = 0; j < share && row + 2 <= rows; j++) KPD__AMX_TWO(2);
            KPD__AMX_PREFETCH
        }
    while (row + 2 <= rows) KPD__AMX_TWO(2);
    if (row < rows) KPD__AMX_TWO(1);
}

// Up to 16 rows of four panels.
KPD__INLINE void kpd__amx_wide(kpd__amx_kind kind, const kpd__amx_block *s, const kpd__amx_results *r) {
    const char *a = s->a, *b = s->b, *c = b + 2 * s->next_b;
    const size_t next_b = s->next_b, n = s->n, share = n > 1 ? (r->rows + n - 2) / (n - 1) : 0;
    const kpd__amx_panel p0 = kpd__amx_panel_of(kind, r->w, r->col), p1 = kpd__amx_panel_of(kind, r->w, r->col + 16),
                         p2 = kpd__amx_panel_of(kind, r->w, r->col + 32), p3 = kpd__amx_panel_of(kind, r->w, r->col + 48);
    KPD__AMX_ROWS
    (void)next_tile;
    _tile_loadd(4, a, 64);
    _tile_loadd(6, b, 64);
    KPD__AMX_MOVE(0, 0)
    KPD__AMX_DOT(0, 4, 6);
    _tile_loadd(7, b + next_b, 64);
    KPD__AMX_MOVE(1, 256)
    KPD__AMX_DOT(1, 4, 7);
    _tile_loadd(6, c, 64);
    KPD__AMX_MOVE(2, 512)
    KPD__AMX_DOT(2, 4, 6);
    _tile_loadd(7, c + next_b, 64);
    KPD__AMX_MOVE(3, 768)
    KPD__AMX_DOT(3, 4, 7);
    __asm__ volatile("" ::: "memory");
    for (size_t i = 1; i < n; i++) {
        a += 1024; b += 1024; c += 1024;
        _tile_loadd(4, a, 64);
        _tile_loadd(6, b, 64);
        KPD__AMX_DOT(0, 4, 6);
        KPD__AMX_SOME_ONE(0);
        _tile_loadd(7, b + next_b, 64);
        KPD__AMX_DOT(1, 4, 7);
        KPD__AMX_SOME_ONE(1);
        _tile_loadd(6, c, 64);
        KPD__AMX_DOT(2, 4, 6);
        KPD__AMX_SOME_ONE(2);
        _tile_loadd(7, c + next_b, 64);
        KPD__AMX_DOT(3, 4, 7);
        KPD__AMX_SOME_ONE(3);
    }
    while (row < rows) KPD__AMX_ONE;
}

// The last block: its sums are still in the tiles.
KPD__INLINE void kpd__amx_rest(kpd__amx_kind kind, bool wide, float *to, const kpd__amx_results *r) {
    _tile_stored(0, to, 64);
    _tile_stored(1, to + (wide ? 256 : 512), 64);
    _tile_stored(2, to + (wide ? 512 : 256), 64);
    _tile_stored(3, to + 768, 64);
    __asm__ volatile("" ::: "memory");
    if (wide) {
        const kpd__amx_panel p0 = kpd__amx_panel_of(kind, r->w, r->col), p1 = kpd__amx_panel_of(kind, r->w, r->col + 16),
                             p2 = kpd__amx_panel_of(kind, r->w, r->col + 32), p3 = kpd__amx_panel_of(kind, r->w, r->col + 48);
        KPD__AMX_ROWS
        (void)next_tile;
        while (row < rows) KPD__AMX_ONE;
    } else {
        const kpd__amx_panel left = kpd__amx_panel_of(kind, r->w, r->col), right = kpd__amx_panel_of(kind, r->w, r->col + 16);
        KPD__AMX_ROWS
        while (row + 2 <= rows) KPD__AMX_TWO(2);
        if (row < rows) KPD__AMX_TWO(1);
    }
}

// Columns [0, end), whole pairs of panels, or of at most 16 rows fours. Where rows pass by, a pair of panels goes in chunks
// that stay in L1; the sums of all but the last wait in memory, which is exact.
KPD__INLINE void kpd__amx_columns(kpd__amx_kind kind, const kpd__matrix *w, size_t end, const kpd__workspace *m, size_t rows,
                                  const kpd__strip *y) {
    const bool wide = rows <= 16;
    const size_t depth = kpd__depth(w), panel = 16 * depth, n = depth / 64, planes = kind == KPD__AMX_SIGNED_16 ? 2 : 1;
    const size_t blocks = (rows + 31) / 32, chunks = rows <= 32 ? 1 : (n + KPD__AMX_STEPS - 1) / KPD__AMX_STEPS;
    const char *x = (const char *)m->rows, *weights = w->bytes ? (const char *)w->bytes : (const char *)w->half;
    float *sums[2] = {(float *)(void *)m->sums[0], (float *)(void *)m->sums[1]};
    float *partial[2] = {(float *)(void *)m->partial, (float *)(void *)(m->partial + KPD__PARTIAL)};
    kpd__amx_results now, before;
    kpd__amx_block s;
    memset(&now, 0, sizeof now);
    now.w = w; now.sums = sums[0]; now.high = sums[1]; now.step = m->step; now.zero = m->zero; now.y = *y;
    before = now;
    s.next_b = panel; s.to = sums[0]; s.stream = rows > 32;
    s.lines = rows > 32 ? (2 * panel / 64 + blocks * n - 1) / (blocks * n) : 0;     // else the hardware asks as well
    __asm__ volatile("" ::: "memory");      // tile loads of gcc 12 do not say that they read memory
    for (now.col = 0; now.col < end; now.col += wide ? 64 : 32) {
        const char *b = weights + now.col * depth;
        s.ahead = b + 2 * panel;
        for (size_t c = 0, at = 0; c < chunks; c++, at += s.n) {
            s.n = (n - at) / (chunks - c);
            for (now.row = 0; now.row < rows; now.row += 32)
                for (size_t plane = 0; plane < planes; plane++) {
                    float *waiting = partial[plane] + now.row * 32;
                    s.a = x + plane * m->plane + now.row * depth + at * 1024;
                    s.b = b + at * 1024;
                    s.next_a = now.row + 16 < rows ? panel : 0;
                    s.from = c ? (const char *)waiting : NULL;
                    now.rows = c + 1 < chunks || plane + 1 < planes ? 0 : kpd__min(32, rows - now.row);
                    if (wide) kpd__amx_wide(kind, &s, &before);
                    else kpd__amx_tall(kind, &s, &before);
                    s.ahead += s.n * s.lines * 64;
                    s.to = c + 1 < chunks ? waiting : sums[plane];
                    before = now;
                }
        }
    }
    kpd__amx_rest(kind, wide, s.to, &before);
}

// Results that are no whole pairs of panels, or have another activation, take the common way.
static void kpd__amx_walk(const kpd__ops *ops, const kpd__matrix *w, size_t from, const kpd__workspace *m, size_t rows,
                          kpd__strip y) {
    const kpd__amx_kind kind = kpd__amx_kind_of(w, &y);
    const size_t width = rows <= 16 ? 64 : 32, end = from || kind == KPD__AMX_NONE ? 0 : w->n / width * width;
    if (end)
        switch (kind) {
        case KPD__AMX_SIGNED: kpd__amx_columns(KPD__AMX_SIGNED, w, end, m, rows, &y); break;
        case KPD__AMX_OFFSET: kpd__amx_columns(KPD__AMX_OFFSET, w, end, m, rows, &y); break;
        case KPD__AMX_SIGNED_16: kpd__amx_columns(KPD__AMX_SIGNED_16, w, end, m, rows, &y); break;
        case KPD__AMX_GELU: kpd__amx_columns(KPD__AMX_GELU, w, end, m, rows, &y); break;
        case KPD__AMX_HALF: kpd__amx_columns(KPD__AMX_HALF, w, end, m, rows, &y); break;
        default: kpd__amx_columns(KPD__AMX_HALVES, w, end, m, rows, &y);
        }
    if (end < w->n) KPD__NAME(walk)(ops, w, end, m, rows, y);
}

// out[c] = lane c of rows 0 to 15: 16 x 16 units of 32 bits.
KPD__INLINE void kpd__transpose_registers(const kpd__v in[16], kpd__v out[16]) {
    kpd__v a[16], b[16];
    KPD__UNROLL
    for (size_t i = 0; i < 16; i += 2) {
        a[i] = KPD__UNPACK(32, lo, in[i], in[i + 1]);
        a[i + 1] = KPD__UNPACK(32, hi, in[i], in[i + 1]);
    }
    KPD__UNROLL
    for (size_t i = 0; i < 16; i += 4) {    // b[i + j]: lanes 4 m + j of rows i to i + 3, by 128 bits m
        b[i] = KPD__UNPACK(64, lo, a[i], a[i + 2]);
        b[i + 1] = KPD__UNPACK(64, hi, a[i], a[i + 2]);
        b[i + 2] = KPD__UNPACK(64, lo, a[i + 1], a[i + 3]);
        b[i + 3] = KPD__UNPACK(64, hi, a[i + 1], a[i + 3]);
    }
    KPD__UNROLL
    for (size_t j = 0; j < 4; j++) {
        const kpd__v x = KPD__QUARTERS(b[j], b[4 + j], 0x44), y = KPD__QUARTERS(b[j], b[4 + j], 0xEE);
        const kpd__v z = KPD__QUARTERS(b[8 + j], b[12 + j], 0x44), w = KPD__QUARTERS(b[8 + j], b[12 + j], 0xEE);
        out[j] = KPD__QUARTERS(x, z, 0x88); out[4 + j] = KPD__QUARTERS(x, z, 0xDD);
        out[8 + j] = KPD__QUARTERS(y, w, 0x88); out[12 + j] = KPD__QUARTERS(y, w, 0xDD);
    }
}

KPD__APART void kpd__amx_head_round(const kpd__amx_head *h, const float *k, const float *v, size_t ld) {
    const kpd__v zero = kpd__set(0);
    for (size_t j = 0; j < h->n32; j += 2) {
        kpd__v x[4], y[4];
        KPD__UNROLL
        for (size_t i = 0; i < 2; i++) {
            const bool there = j + i < h->n;
            const size_t row = (j + i) * ld;
            x[2 * i] = there ? kpd__load(k + row) : zero; x[2 * i + 1] = there ? kpd__load(k + row + 16) : zero;
            y[2 * i] = there ? kpd__load(v + row) : zero; y[2 * i + 1] = there ? kpd__load(v + row + 16) : zero;
        }
        KPD__NAME(store_halves)(h->keys + j * 32, x[0], x[1]);
        KPD__NAME(store_halves)(h->keys + j * 32 + 32, x[2], x[3]);
        KPD__NAME(store_pairs)(h->values + j * 16, y[0], y[2]);
        KPD__NAME(store_pairs)(h->values + h->n32 * 16 + j * 16, y[1], y[3]);
    }
}

// Up to 16 queries as a panel of pairs; lanes past the last are 0.
KPD__APART void kpd__amx_head_queries(const float *q, size_t ld, size_t queries, uint16_t *panel) {
    const kpd__v zero = kpd__set(0);
    kpd__v row[16], column[16];
    KPD__UNROLL
    for (size_t r = 0; r < 16; r++) {
        const kpd__v a = r < queries ? kpd__load(q + r * ld) : zero, b = r < queries ? kpd__load(q + r * ld + 16) : zero;
        row[r] = KPD__FLOATS(KPD__NAME(halves)(a, b));
    }
    kpd__transpose_registers(row, column);
    KPD__UNROLL
    for (size_t r = 0; r < 16; r++) kpd__store((float *)(void *)(panel + r * 32), column[r]);
}

// Softmax numerators of 16 queries, see half_softmax, as tiles of weights. Returns 1 / sums.
KPD__APART kpd__v kpd__amx_head_softmax(const kpd__amx_head *h, const float *s, float scale) {
    const kpd__v zero = kpd__set(0), f = kpd__set(KPD__LOG2_E * scale), top = KPD__NAME(largest)(s, h->n);
    kpd__v even = zero, odd = zero;
    for (size_t j = 0; j < h->n32; j += 32) {
        kpd__v pair[16], row[16];
        KPD__UNROLL
        for (size_t i = 0; i < 16; i++) {
            const size_t key = j + 2 * i;
            kpd__v a = zero, b = zero;
            if (key < h->n) a = KPD__NAME(short_exp2)(kpd__mul(kpd__sub(kpd__load(s + key * 16), top), f));
            if (key + 1 < h->n) b = KPD__NAME(short_exp2)(kpd__mul(kpd__sub(kpd__load(s + key * 16 + 16), top), f));
            even = kpd__add(even, a);
            odd = kpd__add(odd, b);
            KPD__NAME(store_pairs)((uint16_t *)(void *)&pair[i], a, b);
        }
        kpd__transpose_registers(pair, row);
        KPD__UNROLL
        for (size_t r = 0; r < 16; r++) kpd__store((float *)(void *)(h->weights + j * 16 + r * 32), row[r]);
    }
    return kpd__div(kpd__set(1), kpd__add(even, odd));
}

// out [queries, 32] of up to 16 queries, times inverse.
KPD__APART void kpd__amx_head_values(const kpd__amx_head *h, const kpd__v *inverse, size_t queries, float *out, size_t ldo) {
    const uint16_t *low = h->values, *high = low + h->n32 * 16;
    float by[16];
    kpd__store(by, *inverse);
    _tile_zero(0);
    _tile_zero(1);
    __asm__ volatile("" ::: "memory");
    for (size_t j = 0; j < h->n32; j += 32) {
        _tile_loadd(4, h->weights + j * 16, 64);
        _tile_loadd(6, low + j * 16, 64);
        _tile_loadd(7, high + j * 16, 64);
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
    }
    _tile_stored(0, h->sums, 64);
    _tile_stored(1, h->sums + 256, 64);
    __asm__ volatile("" ::: "memory");
    for (size_t r = 0; r < queries; r++) {
        kpd__store(out + r * ldo, kpd__mul(kpd__load(h->sums + r * 16), kpd__set(by[r])));
        kpd__store(out + r * ldo + 16, kpd__mul(kpd__load(h->sums + 256 + r * 16), kpd__set(by[r])));
    }
}

// Heads of 32 columns; others take the common way.
static void kpd__amx_half_attention(const kpd__ops *ops, const float *qkv, size_t n, size_t begin, size_t end, size_t width,
                                    size_t heads, float *scratch, float *out) {
    const size_t padded = kpd__round_up(width, 16), ld = 3 * padded;
    kpd__arena a = {(char *)scratch, 0, false};
    if (width != heads * 32) {
        KPD__NAME(half_attention)(ops, qkv, n, begin, end, width, heads, scratch, out);
        return;
    }
    const kpd__amx_head h = kpd__amx_head_lay(n, &a);
    for (size_t i = 0; i < heads; i++) {
        const float *q = qkv + i * 32, *k = q + padded, *v = k + padded;
        kpd__amx_head_round(&h, k, v, ld);
        for (size_t r = begin; r < end; r += KPD__WALK) {
            const size_t queries = kpd__min(KPD__WALK, end - r), panels = (queries + 15) / 16;
            for (size_t p = 0; p < panels; p++)
                kpd__amx_head_queries(q + (r + p * 16) * ld, ld, kpd__part_n(p * 16, queries), h.queries + p * 512);
            ops->half_dots(h.keys, n, 64, h.queries, panels, NULL, h.scores);
            for (size_t p = 0; p < panels; p++) {
                const kpd__v inverse = kpd__amx_head_softmax(&h, h.scores + p * h.n16 * 16, 1.0f / sqrtf(32));
                kpd__amx_head_values(&h, &inverse, kpd__part_n(p * 16, queries), out + (r + p * 16) * width + i * 32, width);
            }
        }
    }
}

#undef KPD__AMX_ROWS
#undef KPD__AMX_VALUE
#undef KPD__AMX_TWO
#undef KPD__AMX_SOME_TWO
#undef KPD__AMX_ONE
#undef KPD__AMX_SOME_ONE
#undef KPD__AMX_DOT
#undef KPD__AMX_A
#undef KPD__AMX_MOVE
#undef KPD__AMX_PREFETCH
KPD__TARGET_END
#undef KPD__LEVEL

#define KPD__AVX2_NAME(name) kpd__avx2_##name
#define KPD__AVX512_NAME(name) kpd__avx512_##name
#define KPD__VNNI_NAME(name) kpd__avx512vnni_##name
static const kpd__ops kpd__avxvnni_ops =
    KPD__OPS(KPD_SIMD_AVXVNNI, KPD__BYTES, NULL, kpd__avxvnni_dots, NULL, kpd__avx2_int8_attention, NULL, NULL, gemm,
             kpd__avx2_round_rows, NULL, kpd__avx2_walk, KPD__AVX2_NAME, KPD__AVX2_NAME);
#define KPD__VNNI_OPS(gemm)                                                                                                    \
    KPD__OPS(KPD_SIMD_AVX512VNNI, KPD__BYTES, NULL, kpd__avx512vnni_dots, NULL, kpd__avx512vnni_attention, NULL, NULL, gemm,   \
             kpd__avx512_round_rows, NULL, kpd__avx512_walk, KPD__AVX512_NAME, KPD__VNNI_NAME)
#define KPD__BF16_OPS(gemm)                                                                                                    \
    KPD__OPS(KPD_SIMD_AVX512BF16, KPD__BYTES, NULL, kpd__avx512vnni_dots, NULL, kpd__avx512vnni_attention,                     \
             kpd__avx512bf16_dots, kpd__avx512_half_attention, gemm, kpd__avx512_round_rows, NULL, kpd__avx512_walk,           \
             KPD__AVX512_NAME, KPD__VNNI_NAME)
static const kpd__ops kpd__avx512vnni_ops = KPD__VNNI_OPS(gemm), kpd__avx512vnni_pairs_ops = KPD__VNNI_OPS(gemm_pairs);
static const kpd__ops kpd__avx512bf16_ops = KPD__BF16_OPS(gemm), kpd__avx512bf16_pairs_ops = KPD__BF16_OPS(gemm_pairs);
static const kpd__ops kpd__avx512_pairs_ops =
    KPD__OPS(KPD_SIMD_AVX512, KPD__WORDS, NULL, kpd__avx512_int8_dots, kpd__avx512_narrow_dots, kpd__avx512_int8_attention,
             NULL, NULL, gemm_pairs, kpd__avx512_round_rows, NULL, kpd__avx512_walk, KPD__AVX512_NAME, KPD__AVX512_NAME);
static const kpd__ops kpd__amx_ops =
    KPD__OPS(KPD_SIMD_AMX, KPD__TILES, kpd__amx_tiles, kpd__amx_int8_dots, NULL, kpd__avx512vnni_attention, kpd__amx_half_dots,
             kpd__amx_half_attention, gemm_pairs, kpd__amx_round_rows, kpd__amx_norm_round, kpd__amx_walk,
             KPD__AVX512_NAME, KPD__VNNI_NAME);
#endif

#if defined(KPD__ARM) && defined(KPD__ARM_DOT)
KPD__TARGET_BY("dotprod", "arch=armv8.2-a+dotprod")

// Instructions are written out: clang before 16 declares their intrinsics only when the whole file is compiled for them.
static inline int32x4_t kpd__sdot(int32x4_t c, int8x16_t w, int8x16_t x) {
    __asm__("sdot %0.4s, %1.16b, %2.16b" : "+w"(c) : "w"(w), "w"(x));
    return c;
}

// SDOT takes s8 only: rows less 128 and, once a panel, 128 times the columns' sums.
static void kpd__neondot_dots(const void *operand, size_t rows, size_t k, const void *all, size_t n_panels,
                              void *widened, void *out) {
    const uint8_t *a = (const uint8_t *)operand;
    const int8_t *panels = (const int8_t *)all;
    int32_t *sums = (int32_t *)out;
    size_t rows16 = kpd__round_up(rows, 16);
    (void)widened;
    for (size_t p = 0; p < n_panels; p++, panels += 16 * k, sums += rows16 * 16) {
        int32x4_t start[4];
        for (size_t i = 0; i < 4; i++) start[i] = vdupq_n_s32(0);
        for (size_t j = 0; j < k; j += 4)
            for (size_t i = 0; i < 4; i++) start[i] = kpd__sdot(start[i], vld1q_s8(panels + j * 16 + i * 16), vdupq_n_s8(1));
        for (size_t r = 0; r < rows; r += 4) {
            int32x4_t c[4][4];
            size_t m = kpd__min(4, rows - r);
            for (size_t q = 0; q < 4; q++)
                for (size_t i = 0; i < 4; i++) c[q][i] = vmulq_n_s32(start[i], 128);
            for (size_t j = 0; j < k; j += 4) {
                int8x16_t w[4];
                for (size_t i = 0; i < 4; i++) w[i] = vld1q_s8(panels + j * 16 + i * 16);
                for (size_t q = 0; q < 4; q++) {   // rows past the last repeat it
                    uint32_t quad;
                    int8x16_t x;
                    memcpy(&quad, a + (r + (q < m ? q : m - 1)) * k + j, 4);
                    x = vreinterpretq_s8_u32(vdupq_n_u32(quad ^ 0x80808080u));
                    for (size_t i = 0; i < 4; i++) c[q][i] = kpd__sdot(c[q][i], w[i], x);
                }
            }
            for (size_t q = 0; q < m; q++)
                for (size_t i = 0; i < 4; i++) vst1q_s32(sums + (r + q) * 16 + i * 4, c[q][i]);
        }
    }
}

KPD__INLINE kpd__v kpd__neondot_nibbles(const uint8_t *codes, size_t groups, const int8_t *q) {
    int32x4_t c[4];
    for (size_t i = 0; i < 4; i++) c[i] = vdupq_n_s32(0);
    for (size_t g = 0; g < groups; g++) {
        const int8x16_t a = kpd__neon_quad(q + g * 8), b = kpd__neon_quad(q + g * 8 + 4);
        for (size_t i = 0; i < 4; i++) {
            const uint8x16_t w = vld1q_u8(codes + g * 64 + i * 16);
            c[i] = kpd__sdot(c[i], vreinterpretq_s8_u8(vandq_u8(w, vdupq_n_u8(15))), a);
            c[i] = kpd__sdot(c[i], vreinterpretq_s8_u8(vshrq_n_u8(w, 4)), b);
        }
    }
    return kpd__join(vcvtq_f32_s32(c[0]), vcvtq_f32_s32(c[1]), vcvtq_f32_s32(c[2]), vcvtq_f32_s32(c[3]));
}
KPD__TREE_KERNELS(kpd__neondot_nodes, kpd__neondot_nodes_of, kpd__neondot_codes, kpd__neondot_codes_of, kpd__neondot_nibbles)

KPD__TARGET_END
#define KPD__NEON_NAME(name) kpd__neon_##name
#define KPD__NEONDOT_NAME(name) kpd__neondot_##name
static const kpd__ops kpd__neondot_ops =
    KPD__OPS(KPD_SIMD_NEONDOT, KPD__BYTES, NULL, kpd__neondot_dots, NULL, kpd__neon_int8_attention, NULL, NULL, gemm,
             kpd__neon_round_rows, NULL, kpd__neon_walk, KPD__NEON_NAME, KPD__NEONDOT_NAME);
#endif

#ifdef KPD__ARM_I8MM
KPD__TARGET_BY("i8mm,bf16", "arch=armv8.2-a+i8mm+bf16")

// c [2 rows][2 columns] += 8 bytes of each row times 8 of each column: u8 by s8 in 32 bits, or bf16 in f32.
static inline uint64x2_t kpd__mmla(bool half, uint64x2_t c, uint64x2_t rows, uint32x4_t columns) {
    if (half) __asm__("bfmmla %0.4s, %1.8h, %2.8h" : "+w"(c) : "w"(rows), "w"(columns));
    else __asm__("usmmla %0.4s, %1.16b, %2.16b" : "+w"(c) : "w"(rows), "w"(columns));
    return c;
}

static inline uint64x2_t kpd__two_rows(const uint8_t *a, size_t row_bytes) {
    uint64x1_t first, second;
    memcpy(&first, a, 8);
    memcpy(&second, a + row_bytes, 8);
    return vcombine_u64(first, second);
}
static inline uint32x4_t kpd__four_columns(const uint8_t *group) {
    uint32x4_t w;
    memcpy(&w, group, 16);
    return w;
}
static inline void kpd__two_sums(uint8_t *sums, uint64x2_t left, uint64x2_t right) {   // of four columns
    uint64x2_t first = vzip1q_u64(left, right), second = vzip2q_u64(left, right);
    memcpy(sums, &first, 16);
    memcpy(sums + 64, &second, 16);
}

// P pairs of rows by 16 columns. What an instruction takes of a column lies in two neighbouring groups of its panel. A row past
// the last is read and summed, not used: a block has room for 16. The barrier keeps gcc from loading the four columns of later
// instructions so early that 24 sums no longer fit into registers.
#define KPD__MMLA_BEGIN(p) uint64x2_t c##p[8] = {zero, zero, zero, zero, zero, zero, zero, zero};
#define KPD__MMLA_ROWS(p) const uint64x2_t x##p = kpd__two_rows(a + 2 * p * row_bytes + at, row_bytes);
#define KPD__MMLA_STEP(p)                                                                                                      \
    c##p[2 * q] = kpd__mmla(half, c##p[2 * q], x##p, vzip1q_u32(group, next));                                                 \
    c##p[2 * q + 1] = kpd__mmla(half, c##p[2 * q + 1], x##p, vzip2q_u32(group, next));
#define KPD__MMLA_COLUMNS(P, quad)                                                                                             \
    {                                                                                                                          \
        enum { q = quad };                                                                                                     \
        const uint32x4_t group = kpd__four_columns(b + 16 * q), next = kpd__four_columns(b + 64 + 16 * q);                     \
        KPD__ROW_LIST_##P(KPD__MMLA_STEP)                                                                                      \
        __asm__ volatile("" ::: "memory");                                                                                     \
    }
#define KPD__MMLA_END(p)                                                                                                       \
    kpd__two_sums(sums + 128 * p, c##p[0], c##p[1]); kpd__two_sums(sums + 128 * p + 16, c##p[2], c##p[3]);                     \
    kpd__two_sums(sums + 128 * p + 32, c##p[4], c##p[5]); kpd__two_sums(sums + 128 * p + 48, c##p[6], c##p[7]);
#define KPD__MMLA_TILE(name, is_half, P)                                                                                       \
    static void name##P(const uint8_t *a, size_t row_bytes, const uint8_t *b, uint8_t *sums) {                                 \
        enum { half = is_half };                                                                                               \
        const uint64x2_t zero = vdupq_n_u64(0);                                                                                \
        KPD__ROW_LIST_##P(KPD__MMLA_BEGIN)                                                                                     \
        for (size_t at = 0; at < row_bytes; at += 8, b += 128) {                                                               \
            KPD__ROW_LIST_##P(KPD__MMLA_ROWS)                                                                                  \
            KPD__MMLA_COLUMNS(P, 0) KPD__MMLA_COLUMNS(P, 1) KPD__MMLA_COLUMNS(P, 2) KPD__MMLA_COLUMNS(P, 3)                    \
        }                                                                                                                      \
        KPD__ROW_LIST_##P(KPD__MMLA_END)                                                                                       \
    }
typedef void kpd__mmla_tile(const uint8_t *a, size_t row_bytes, const uint8_t *b, uint8_t *sums);
KPD__MMLA_TILE(kpd__usmmla_tile, 0, 1) KPD__MMLA_TILE(kpd__usmmla_tile, 0, 2) KPD__MMLA_TILE(kpd__usmmla_tile, 0, 3)
KPD__MMLA_TILE(kpd__bfmmla_tile, 1, 1) KPD__MMLA_TILE(kpd__bfmmla_tile, 1, 2) KPD__MMLA_TILE(kpd__bfmmla_tile, 1, 3)
#undef KPD__MMLA_BEGIN
#undef KPD__MMLA_ROWS
#undef KPD__MMLA_STEP
#undef KPD__MMLA_COLUMNS
#undef KPD__MMLA_END
#undef KPD__MMLA_TILE

static void kpd__mmla_dots(kpd__mmla_tile *const tiles[3], const void *operand, size_t rows, size_t depth, const void *panels,
                           size_t n_panels, void *sums) {
    const uint8_t *a = (const uint8_t *)operand, *b = (const uint8_t *)panels;
    size_t pairs = (rows + 1) / 2, step = kpd__even_rows(pairs, 3), panel_sums = kpd__round_up(rows, 16) * 64;
    for (size_t p = 0; p < n_panels; p++)
        for (size_t i = 0; i < pairs; i += step)
            tiles[kpd__min(step, pairs - i) - 1](a + 2 * i * depth, depth, b + p * 16 * depth,
                                                 (uint8_t *)sums + p * panel_sums + 2 * i * 64);
}

static void kpd__neoni8mm_dots(const void *a, size_t rows, size_t depth, const void *panels, size_t n_panels,
                               void *widened, void *sums) {
    static kpd__mmla_tile *const tiles[] = {kpd__usmmla_tile1, kpd__usmmla_tile2, kpd__usmmla_tile3};
    (void)widened;
    kpd__mmla_dots(tiles, a, rows, depth, panels, n_panels, sums);
}

static void kpd__neoni8mm_half_dots(const void *a, size_t rows, size_t depth, const void *panels, size_t n_panels,
                                    void *widened, void *sums) {
    static kpd__mmla_tile *const tiles[] = {kpd__bfmmla_tile1, kpd__bfmmla_tile2, kpd__bfmmla_tile3};
    (void)widened;
    kpd__mmla_dots(tiles, a, rows, depth, panels, n_panels, sums);
}

KPD__TARGET_END
static const kpd__ops kpd__neoni8mm_ops =
    KPD__OPS(KPD_SIMD_NEONI8MM, KPD__BYTES, NULL, kpd__neoni8mm_dots, NULL, kpd__neon_int8_attention, kpd__neoni8mm_half_dots,
             kpd__neon_half_attention, gemm, kpd__neon_round_rows, NULL, kpd__neon_walk, KPD__NEON_NAME, KPD__NEONDOT_NAME);
#endif

// >>machine  Which levels there are and which is best, and a self-test. Promises that a level is used only where processor and
// system have it, and that arithmetic which the compiler rearranged is noticed.
#ifdef KPD__X86
// Of an x86 that has AVX-512: Intel's do but one VDPBF16PS in two cycles, so that widening is no slower there, and exact.
static bool kpd__intel(void) {
    unsigned a, b, c, d;
    __cpuid(0, a, b, c, d);
    return b == 0x756E6547;             // "Genu"
}

// Whether it does two multiply-adds of 512 bits a cycle, which tiles of one panel cannot feed: Intel's, and AMD's from Zen 5 on
// (family 26; those of portables do one, where both tiles are as fast). A virtual machine takes 4 us to answer CPUID.
static bool kpd__two_multiply_adds(void) {
    unsigned a, b, c, d;
    __cpuid(1, a, b, c, d);
    return (a >> 8 & 15) + (a >> 20 & 255) >= 26 || kpd__intel();
}
#endif

static const kpd__ops *kpd__ops_of(kpd_simd level) {
    switch (level) {
    case KPD_SIMD_SCALAR: return &kpd__scalar_ops;
#ifdef KPD__X86
    case KPD_SIMD_AVX2: return &kpd__avx2_ops;
    case KPD_SIMD_AVXVNNI: return &kpd__avxvnni_ops;
    case KPD_SIMD_AVX512: return kpd__two_multiply_adds() ? &kpd__avx512_pairs_ops : &kpd__avx512_ops;
    case KPD_SIMD_AVX512VNNI: return kpd__two_multiply_adds() ? &kpd__avx512vnni_pairs_ops : &kpd__avx512vnni_ops;
    case KPD_SIMD_AVX512BF16: return kpd__two_multiply_adds() ? &kpd__avx512bf16_pairs_ops : &kpd__avx512bf16_ops;
    case KPD_SIMD_AMX: return &kpd__amx_ops;
#endif
#ifdef KPD__ARM
    case KPD_SIMD_NEON: return &kpd__neon_ops;
#endif
#ifdef KPD__ARM_DOT
    case KPD_SIMD_NEONDOT: return &kpd__neondot_ops;
#endif
#ifdef KPD__ARM_I8MM
    case KPD_SIMD_NEONI8MM: return &kpd__neoni8mm_ops;
#endif
    default: return NULL;
    }
}

#if defined(KPD__X86) && defined(KPD__EMULATED)
static bool kpd__x86_has(kpd_simd level) { return level != KPD_SIMD_NEON && level != KPD_SIMD_NEONDOT; }
static bool kpd__ask_for_tiles(void) { return true; }
#elif defined(KPD__X86)
// arch_prctl of Linux; elsewhere as if it failed.
static long kpd__arch_prctl(long what, uintptr_t value) {
    long result = -1;
#ifdef __linux__
    __asm__ volatile("syscall" : "=a"(result) : "a"(158L), "D"(what), "S"(value) : "rcx", "r11", "memory");
#endif
    (void)what; (void)value;
    return result;
}

// Whether the system would give the process the 8 KB of tiles (ARCH_GET_XCOMP_SUPP has XFEATURE_XTILEDATA), and the asking for
// them (ARCH_REQ_XCOMP_PERM), without which no thread may use them.
static bool kpd__has_tiles(void) {
    uint64_t features = 0;
    return !kpd__arch_prctl(0x1021, (uintptr_t)&features) && features >> 18 & 1;
}
static bool kpd__ask_for_tiles(void) { return !kpd__arch_prctl(0x1023, 18); }

static bool kpd__all(unsigned word, unsigned bits) { return (word & bits) == bits; }

// Whether the processor has the level and the system saves its registers (XCR0).
static bool kpd__x86_has(kpd_simd level) {
    unsigned a, b, c, d, low, high, more = 0, unused[3];
    bool avx512;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !kpd__all(c, 1u << 12 | 1u << 27 | 1u << 28)) return false;   // FMA, OSXSAVE, AVX
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    (void)high;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return false;
    if (a >= 1) __get_cpuid_count(7, 1, &more, &unused[0], &unused[1], &unused[2]);
    if (!kpd__all(low, 0x06) || !(b & 1u << 5)) return false;                                            // AVX2
    avx512 = kpd__all(low, 0xE6) && kpd__all(b, 1u << 16 | 1u << 30);                                    // F, BW
    switch (level) {
    case KPD_SIMD_AVX2: return true;
    case KPD_SIMD_AVXVNNI: return (more & 1u << 4) != 0;
    case KPD_SIMD_AVX512: return avx512;
    case KPD_SIMD_AVX512VNNI: return avx512 && c & 1u << 11;
    case KPD_SIMD_AVX512BF16: return avx512 && c & 1u << 11 && more & 1u << 5;
    case KPD_SIMD_AMX:
        return avx512 && more & 1u << 5 && kpd__all(low, 3u << 17) && kpd__all(d, 1u << 22 | 3u << 24) && kpd__has_tiles();
    default: return false;
    }
}

#endif

KPDDEF bool kpd_simd_available(kpd_simd level) {
    if (level == KPD_SIMD_AUTO) return true;
    if (!kpd__ops_of(level)) return false;
#ifdef KPD__X86
    if (level != KPD_SIMD_SCALAR) return kpd__x86_has(level);
#endif
#ifdef KPD__ARM_DOT
    if (level == KPD_SIMD_NEONDOT) return (getauxval(AT_HWCAP) & 1u << 20) != 0;   // ASIMDDP
#endif
#ifdef KPD__ARM_I8MM
    if (level == KPD_SIMD_NEONI8MM)             // I8MM, BF16; a tree's codes are scored by ASIMDDP there too
        return (getauxval(AT_HWCAP) & 1u << 20) && (getauxval(AT_HWCAP2) & 3u << 13) == 3u << 13;
#endif
    return true;
}

// The best of the levels before `end`.
static kpd_simd kpd__best_before(kpd_simd end) {
    for (int l = (int)end - 1; l > KPD_SIMD_SCALAR; l--) {
#if defined(KPD__X86) && !defined(KPD__EMULATED)
        if (l == KPD_SIMD_AVX512BF16 && kpd__intel()) continue;
#endif
        if (kpd_simd_available((kpd_simd)l)) return (kpd_simd)l;
    }
    return KPD_SIMD_SCALAR;
}

// Whether the level may be used from here on: only now is the process asked for what it needs.
static bool kpd__usable(kpd_simd level) {
#ifdef KPD__X86
    if (level == KPD_SIMD_AMX && kpd_simd_available(level)) return kpd__ask_for_tiles();
#endif
    return kpd_simd_available(level);
}

static kpd_simd kpd__best_level(void) {
    kpd_simd best = kpd__best_before(KPD_SIMD_COUNT);
    return kpd__usable(best) ? best : kpd__best_before(KPD_SIMD_AMX);
}

// A sum over each kind of sum that the level computes. The same number for all levels, or the level must not be used.
#define KPD__SELF_TEST UINT64_C(0x242AFDC66A3F2410)
static uint64_t kpd__self_test(const kpd__ops *ops) {
    float w[32 * 24], x[5 * 24], y[5 * 32], z[7 * 96], scratch[16 * (7 + 2 * 16)], bias[32], ones[24];
    kpd__matrix m;
    kpd__norm n;
    uint32_t state = 1;
    uint64_t sum = 0;
    for (size_t i = 0; i < 32 * 24; i++)
        w[i] = (float)(int32_t)((state = state * 1664525u + 1013904223u) >> 8) * 1.1920929e-7f - 1.0f;
    for (size_t i = 0; i < 5 * 24; i++) x[i] = w[(i * 7) % 768] * 3.0f;
    for (size_t i = 0; i < 7 * 96; i++) z[i] = w[(i * 5) % 768];
    for (size_t i = 0; i < 32; i++) bias[i] = w[i];
    for (size_t i = 0; i < 24; i++) ones[i] = 1.0f + w[i];
    memset(&m, 0, sizeof m);
    m.panels = w; m.bias = bias; m.n = 32; m.k = 24;
    for (int f = KPD_GELU; f <= KPD_IDENTITY; f++) {
        m.activation = f;
        ops->gemm(&m, x, 24, 5, y, 32);
        sum = kpd__rotate(sum, 1) ^ kpd__hash64(y, sizeof y);
    }
    n.gamma = ones; n.beta = bias; n.eps = 1e-12f;
    ops->add_norm(&n, y, 5, 24, x);
    sum = kpd__rotate(sum, 1) ^ kpd__hash64(x, sizeof x);
    ops->attention(z, 7, 0, 7, 32, 4, scratch, w);
    sum = kpd__rotate(sum, 1) ^ kpd__hash64(w, 7 * 32 * sizeof *w);
    y[0] = ops->dot(z, z + 7, 5 * 96 + 5);
    ops->scan(KPD_L2, x, 3, 24, z, 1, y + 1);
    ops->scan(KPD_DOT, x, 2, 24, z, 1, y + 49);
    return kpd__rotate(sum, 1) ^ kpd__hash64(y, 81 * sizeof *y);
}

// The level asked for, or the best; ARGUMENT when the machine lacks it, UNSUPPORTED when its self-test fails.
static kpd_status kpd__choose_level(kpd_simd level, const kpd__ops **out, kpd_error *e) {
    const kpd__ops *ops;
    if (level != KPD_SIMD_AUTO && !kpd__usable(level))
        return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "SIMD level %s is not available on this machine or in this build",
                         kpd_simd_name(level));
    ops = kpd__ops_of(level == KPD_SIMD_AUTO ? kpd__best_level() : level);
    if (kpd__self_test(ops) != KPD__SELF_TEST)
        return kpd__fail(
            e, KPD_ERR_UNSUPPORTED, -1,
            "self-test of level %s failed: this build rearranges or fuses float arithmetic; compile without -ffast-math, its "
            "parts, and -ffp-contract=fast",
            kpd_simd_name(ops->level));
    *out = ops;
    return KPD_OK;
}

// >>unicode  What a code point is and what it becomes, as BERT's normaliser sees it. Relies on nothing. Promises what Hugging
// Face `tokenizers` does with every code point, and that any bytes can be decoded.

// What a code point does to the word before it. Accent stripping takes the marks from KPD__MARK_STARTER on and keeps those from
// KPD__KEPT on. Canonical ordering moves marks from KPD__MARK on: those that are kept stand in the order of their combining
// classes, and the others say where theirs stands among these (see kpd__mark_order).
enum { KPD__WORD, KPD__DROP, KPD__SPACE, KPD__PUNCT, KPD__CJK, KPD__MARK_STARTER, KPD__MARK, KPD__KEPT = KPD__MARK + 13 };

typedef struct kpd__lower_run { uint32_t first, last; int32_t delta; uint32_t step; } kpd__lower_run;   // c -> c + delta
typedef struct kpd__nfd_run { uint32_t first; uint16_t count, at; } kpd__nfd_run;                       // values from `at` on

// kpd__classes: first code point << 5 | class, up to the next entry. kpd__nfd_values: the canonical decomposition without
// its marks; 0 = itself, from 0xD800 on an index into kpd__nfd_long, which holds what is more than one 16-bit value.
#define KPD__LEVEL 0
#include KPD_SELF
#undef KPD__LEVEL
#define KPD__LENGTH(array) (sizeof(array) / sizeof(array)[0])

static uint32_t kpd__class_of(uint32_t c) {
    size_t low = 0, high = KPD__LENGTH(kpd__classes);      // the entry wanted is the last one that begins at or before c
    while (high - low > 1) {
        size_t middle = (low + high) / 2;
        if (kpd__classes[middle] >> 5 <= c) low = middle;
        else high = middle;
    }
    return kpd__classes[low] & 31;
}

// One character. The only one that becomes two is U+0130 (capital I with dot), which the caller treats.
static uint32_t kpd__lower(uint32_t c) {
    size_t low = 0, high = KPD__LENGTH(kpd__lower_runs);
    const kpd__lower_run *r;
    while (high - low > 1) {
        size_t middle = (low + high) / 2;
        if (kpd__lower_runs[middle].first <= c) low = middle;
        else high = middle;
    }
    r = &kpd__lower_runs[low];
    if (c < r->first || c > r->last || (c - r->first) % r->step) return c;
    return (uint32_t)((int32_t)c + r->delta);
}

// Hangul syllables are numbered by their letters: 19 leading, 21 vowels, 27 trailing or none [Unicode, section 3.12].
static int kpd__nfd_hangul(uint32_t c, uint32_t out[3]) {
    uint32_t s = c - 0xAC00;
    out[0] = 0x1100 + s / 588;
    out[1] = 0x1161 + s % 588 / 28;
    out[2] = 0x11A7 + s % 28;
    return s % 28 ? 3 : 2;
}

// The full canonical decomposition of a character that is no mark, without marks. Returns its length, 1..3.
static int kpd__nfd(uint32_t c, uint32_t out[3]) {
    size_t low = 0, high = KPD__LENGTH(kpd__nfd_runs);
    const kpd__nfd_run *r;
    uint32_t value, i;
    out[0] = c;
    if (c >= 0xAC00 && c < 0xAC00 + 11172) return kpd__nfd_hangul(c, out);
    while (high - low > 1) {
        size_t middle = (low + high) / 2;
        if (kpd__nfd_runs[middle].first <= c) low = middle;
        else high = middle;
    }
    r = &kpd__nfd_runs[low];
    if (c < r->first || c - r->first >= r->count) return 1;
    value = kpd__nfd_values[r->at + (c - r->first)];
    if (value == 0) return 1;
    if (value < 0xD800 || value >= 0xE000) { out[0] = value; return 1; }
    for (i = 0; i < 3 && kpd__nfd_long[value - 0xD800][i]; i++) out[i] = kpd__nfd_long[value - 0xD800][i];
    return (int)i;
}

#define KPD__INVALID 0xFFFFFFFFu

// The next code point, or KPD__INVALID and one byte further. Of an invalid sequence the rest are continuation bytes, which
// are invalid on their own: all that differs from one U+FFFD per sequence is their number, and they are dropped anyway.
static uint32_t kpd__utf8_next(const uint8_t **at, const uint8_t *end) {
    static const uint32_t least[4] = {0, 0x80, 0x800, 0x10000};
    const uint8_t *p = *at;
    uint32_t c = *p;
    int more = c < 0x80 ? 0 : c < 0xC2 ? -1 : c < 0xE0 ? 1 : c < 0xF0 ? 2 : c < 0xF5 ? 3 : -1;
    *at = p + 1;
    if (more <= 0) return more ? KPD__INVALID : c;
    if (end - p <= more) return KPD__INVALID;
    c &= 0x3Fu >> more;
    for (int i = 1; i <= more; i++) {
        if ((p[i] & 0xC0) != 0x80) return KPD__INVALID;
        c = c << 6 | (p[i] & 0x3Fu);
    }
    if (c < least[more] || c > 0x10FFFF || (c >= 0xD800 && c < 0xE000)) return KPD__INVALID;
    *at = p + more + 1;
    return c;
}

static size_t kpd__utf8_put(uint32_t c, uint8_t out[4]) {
    if (c < 0x80) {
        out[0] = (uint8_t)c;
        return 1;
    }
    if (c < 0x800) {
        out[0] = (uint8_t)(0xC0 | c >> 6);
        out[1] = (uint8_t)(0x80 | (c & 0x3F));
        return 2;
    }
    if (c < 0x10000) {
        out[0] = (uint8_t)(0xE0 | c >> 12);
        out[1] = (uint8_t)(0x80 | (c >> 6 & 0x3F));
        out[2] = (uint8_t)(0x80 | (c & 0x3F));
        return 3;
    }
    out[0] = (uint8_t)(0xF0 | c >> 18);
    out[1] = (uint8_t)(0x80 | (c >> 12 & 0x3F));
    out[2] = (uint8_t)(0x80 | (c >> 6 & 0x3F));
    out[3] = (uint8_t)(0x80 | (c & 0x3F));
    return 4;
}

// Marks of greater order stand behind those of less. 0 = it does not move.
static uint32_t kpd__mark_order(uint32_t kind) {
    return kind < KPD__MARK ? 0 : kind < KPD__KEPT ? kind - KPD__MARK + 1 : 2 * (kind - KPD__KEPT) + 2;
}
#define KPD__ORDERS 14

// A character after normalisation: class << 21 | code point, or KPD__MANY | the code point if it becomes several.
#define KPD__MANY 0x80000000u

typedef struct kpd__folding { bool lower, strip, split_cjk; } kpd__folding;

static uint32_t kpd__fold(const kpd__folding *f, uint32_t c) {
    uint32_t kind, parts[3];
    if (c >= 0x4E00 && c < 0xA000) return (uint32_t)(f->split_cjk ? KPD__CJK : KPD__WORD) << 21 | c;    // without a search
    if (f->strip && c >= 0xAC00 && c < 0xAC00 + 11172) return KPD__MANY | c;
    kind = kpd__class_of(c);
    if (kind == KPD__DROP || kind == KPD__SPACE) return kind << 21;
    if (!f->strip && kind >= KPD__MARK_STARTER) kind = KPD__WORD;
    if (f->strip && kind < KPD__MARK_STARTER) {
        if (kpd__nfd(c, parts) > 1) return KPD__MANY | c;
        if (parts[0] != c) kind = kpd__class_of(c = parts[0]);
    }
    if (kind == KPD__CJK && !f->split_cjk) kind = KPD__WORD;
    if (f->lower && c == 0x130) return KPD__MANY | c;
    return kind << 21 | (f->lower ? kpd__lower(c) : c);
}

// What a KPD__MANY character becomes: 2 or 3 characters, not folded yet.
static int kpd__fold_many(const kpd__folding *f, uint32_t c, uint32_t out[3]) {
    if (f->strip) return kpd__nfd(c, out);
    out[0] = 'i'; out[1] = 0x307;                   // U+0130 in lower case
    return 2;
}

// >>tokenizer  Bytes to token ids: BERT WordPiece [BERT]. Relies on >>unicode, >>memory and >>status. Promises the ids of
// Hugging Face `tokenizers` for any bytes, linear time, and no allocation but the one that kpd_tokenizer_create makes.
//
// A text is cut at the special tokens written in it; between them each character is dropped, ends the word, is a word, or
// joins the word. There are two ways through: a word of ASCII letters and digits that ends at an ASCII space or sign is taken
// from two 8-byte loads, without looking at its characters one by one; anything else is folded character by character into
// a buffer, which is of fixed size since a word of over 100 characters is [UNK].
//
// A word's tokens are the longest beginning that is in the vocabulary, again and again. Each length is a hash that is made of
// those of the whole 8-byte blocks before, a bit in a filter, and rarely a look into the table. So a word of c characters
// costs at most c times min(c, the longest token) of these, and a text at most 100 a character; with bert-base-uncased, 18.

#define KPD__WORD_CHARS 100
#define KPD__WORD_BYTES (4 * KPD__WORD_CHARS)
#define KPD__PAD 16                     // bytes behind a word that may be read
#define KPD__FOLDED 0x3400              // characters whose folding a tokenizer keeps: alphabets, signs, kana

typedef struct kpd__line { uint32_t at, size; } kpd__line;              // of the vocabulary
typedef struct kpd__special { kpd_text text; int32_t id; } kpd__special;

// A token without its ## if it has one. tag: id + 1 (0 = the slot is empty), KPD__INNER if it had, and the size in 8 bits.
typedef struct kpd__slot { uint64_t first; uint32_t at, tag; } kpd__slot;   // first: 8 bytes, behind the end zeros

struct kpd_tokenizer {
    kpd_tokenizer_desc desc;            // pointers into this allocation, or to the borrowed vocabulary
    size_t bytes;                       // of this allocation
    kpd__folding folding;
    int32_t n_tokens, unk, cls, sep;
    kpd__line *lines;                   // [n_tokens]
    kpd__slot *slots;                   // [mask + 1] hash table, a third to two thirds full
    uint8_t *filter;                    // [(mask + 1) / 2], a bit for each of 4 (mask + 1) hashes: 0 = no token has it
    uint64_t key;                       // of the hash
    size_t mask, longest;               // longest token in bytes, without ##
    int32_t shift;                      // of a hash, to get a slot
    kpd__special special[5]; int32_t n_special;
    bool starts_special[256];           // first bytes of special tokens
    bool same_start;                    // there is one such byte
    int32_t sign[128];                  // ASCII: the token that it is alone, or one of the two below
    bool ends_word[256];                // ASCII spaces and signs
    uint32_t folded[KPD__FOLDED];
};

// VOCABULARY. The hash of a token is keyed by the whole vocabulary, so that none is slow by chance. A key that whoever writes
// the vocabulary can compute, and choose, keeps out nobody: kpd__fill_vocab counts steps, and refuses what takes too many.

#define KPD__SLOT_ID 0x7FFFFFu          // KPD_MAX_VOCAB fits
#define KPD__INNER 0x800000u
#define KPD__NO_SIGN (-1)              // no token, a letter, or dropped
#define KPD__SPACE_SIGN (-2)
#define KPD__STEPS 64                   // a token, to place all: about 1 in a table two thirds full
#define KPD__LONGEST_RUN 512            // of full slots: about 140 among 4 million tokens

// The first n <= 8 bytes of a block, then zeros.
static uint64_t kpd__beginning(uint64_t block, size_t n) { return n ? block & UINT64_MAX >> (64 - 8 * n) : 0; }

// As many of the n bytes at p as make a block, without reading others.
static uint64_t kpd__short_block(const char *p, size_t n) {
    uint64_t block = 0;
    if (n) memcpy(&block, p, kpd__min(n, 8));
    return block;
}

static uint64_t kpd__hash_begin(const kpd_tokenizer *t, bool inner) { return inner ? t->key : 0; }
static uint64_t kpd__hash_block(const kpd_tokenizer *t, uint64_t h, uint64_t block) {
    h = (h ^ block) * t->key;
    return h ^ h >> 32;
}
static uint64_t kpd__hash_last(const kpd_tokenizer *t, uint64_t h, uint64_t block) {
    return kpd__hash_block(t, h, block) * KPD__P1;
}

static uint64_t kpd__hash_token(const kpd_tokenizer *t, bool inner, const char *s, size_t n) {
    uint64_t h = kpd__hash_begin(t, inner);
    for (; n > 8; s += 8, n -= 8) h = kpd__hash_block(t, h, kpd__short_block(s, 8));
    return kpd__hash_last(t, h, kpd__short_block(s, n));
}

static size_t kpd__filter_bit(const kpd_tokenizer *t, uint64_t hash) { return (size_t)(hash >> (t->shift - 2)); }

// False for most of what is no token, at the cost of a look into a table of 32 KB for 30,000 tokens.
static bool kpd__maybe_token(const kpd_tokenizer *t, uint64_t hash) {
    size_t bit = kpd__filter_bit(t, hash);
    return t->filter[bit / 8] >> bit % 8 & 1;
}

static uint32_t kpd__slot_tag(bool inner, size_t n) { return (uint32_t)kpd__min(n, 255) << 24 | (inner ? KPD__INNER : 0); }

// Whether the token of this slot is these n bytes, of which `first` are the first.
static bool kpd__slot_is(const kpd_tokenizer *t, const kpd__slot *slot, uint32_t tag, uint64_t first, const char *s, size_t n) {
    const char *token = t->desc.vocab + slot->at;
    if (slot->first != first || (slot->tag ^ tag) > KPD__SLOT_ID) return false;
    if (n <= 8) return true;
    if (n >= 255 && t->lines[(slot->tag & KPD__SLOT_ID) - 1].size != n + (tag & KPD__INNER ? 2 : 0)) return false;
    if (kpd__short_block(token + n - 8, 8) != kpd__short_block(s + n - 8, 8)) return false;
    return n <= 16 || !memcmp(token + 8, s + 8, n - 16);
}

// The slot of a token, or the empty one where it would stand.
static kpd__slot *kpd__slot_of(const kpd_tokenizer *t, uint64_t hash, bool inner, uint64_t first, const char *s, size_t n) {
    uint32_t tag = kpd__slot_tag(inner, n);
    size_t i = (size_t)(hash >> t->shift);
    while ((t->slots[i].tag & KPD__SLOT_ID) && !kpd__slot_is(t, &t->slots[i], tag, first, s, n)) i = (i + 1) & t->mask;
    return &t->slots[i];
}

static int32_t kpd__slot_id(const kpd__slot *slot) { return (int32_t)(slot->tag & KPD__SLOT_ID) - 1; }

// Bytes of the white space (Unicode's White_Space) that s[0..n) ends with, a character's; 0 = none.
static size_t kpd__space_at_end(const char *s, size_t n) {
    const uint8_t *p = (const uint8_t *)s + n;
    if (n >= 1 && (p[-1] == ' ' || (p[-1] >= 9 && p[-1] <= 13))) return 1;
    if (n >= 2 && p[-2] == 0xC2 && (p[-1] == 0x85 || p[-1] == 0xA0)) return 2;                             // NEL, NBSP
    if (n < 3) return 0;
    if (p[-3] == 0xE1 && p[-2] == 0x9A && p[-1] == 0x80) return 3;                                         // U+1680
    if (p[-3] == 0xE2 && p[-2] == 0x80 && (p[-1] <= 0x8A || p[-1] == 0xA8 || p[-1] == 0xA9 || p[-1] == 0xAF)) return 3;
    if (p[-3] == 0xE2 && p[-2] == 0x81 && p[-1] == 0x9F) return 3;                                         // U+205F
    return p[-3] == 0xE3 && p[-2] == 0x80 && p[-1] == 0x80 ? 3 : 0;                                        // U+3000
}

// The next line from *at on, without its end and the white space before that, as Hugging Face `tokenizers` reads vocab.txt;
// false at the end of the text.
static bool kpd__next_line(const char *text, size_t size, size_t *at, kpd__line *line) {
    const char *newline;
    if (*at >= size) return false;
    newline = (const char *)memchr(text + *at, '\n', size - *at);
    line->at = (uint32_t)*at;
    line->size = (uint32_t)((newline ? (size_t)(newline - text) : size) - *at);
    *at += (size_t)line->size + 1;
    for (size_t n; (n = kpd__space_at_end(text + line->at, line->size)) != 0;) line->size -= (uint32_t)n;
    return true;
}

static bool kpd__is_inner(const char *s, size_t n) { return n >= 2 && s[0] == '#' && s[1] == '#'; }

static kpd_status kpd__hostile_vocab(kpd_error *e) {
    return kpd__fail(e, KPD_ERR_FORMAT, -1, "tokenizer: the vocabulary's tokens collide in its table, as if they were made to");
}

// A word that is no token is looked for to the end of its run.
static kpd_status kpd__runs_check(const kpd_tokenizer *t, kpd_error *e) {
    size_t run = 0;
    for (size_t i = 0; i <= t->mask; i++) {
        run = t->slots[i].tag & KPD__SLOT_ID ? run + 1 : 0;
        if (run > KPD__LONGEST_RUN) return kpd__hostile_vocab(e);
    }
    return KPD_OK;
}

static kpd_status kpd__fill_vocab(kpd_tokenizer *t, kpd_error *e) {
    const char *vocab = t->desc.vocab;
    size_t at = 0, steps = 0;
    t->key = kpd__hash64(vocab, t->desc.vocab_size) | 1;
    for (uint32_t id = 0; id < (uint32_t)t->n_tokens; id++) {
        kpd__line *line = &t->lines[id];
        kpd__slot *slot;
        const char *s;
        uint64_t hash, first;
        size_t n, bit;
        bool inner;
        kpd__next_line(vocab, t->desc.vocab_size, &at, line);
        inner = kpd__is_inner(vocab + line->at, line->size);
        s = vocab + line->at + (inner ? 2 : 0);
        n = line->size - (inner ? 2 : 0);
        hash = kpd__hash_token(t, inner, s, n);
        first = kpd__short_block(s, n);
        slot = kpd__slot_of(t, hash, inner, first, s, n);
        steps += ((size_t)(slot - t->slots) - (size_t)(hash >> t->shift)) & t->mask;
        if (steps > KPD__STEPS * (size_t)t->n_tokens + 4096) return kpd__hostile_vocab(e);
        slot->first = first;
        slot->at = (uint32_t)(s - vocab);
        slot->tag = kpd__slot_tag(inner, n) | (id + 1);
        bit = kpd__filter_bit(t, hash);
        t->filter[bit / 8] |= (uint8_t)(1u << bit % 8);
        t->longest = kpd__max(t->longest, n);
    }
    return kpd__runs_check(t, e);
}

KPDDEF const kpd_tokenizer_desc *kpd_tokenizer_get_desc(const kpd_tokenizer *t) { return &t->desc; }

KPDDEF int32_t kpd_tokenizer_size(const kpd_tokenizer *t) { return t->n_tokens; }

KPDDEF bool kpd_token_text(const kpd_tokenizer *t, int32_t id, kpd_text *out) {
    bool there = id >= 0 && id < t->n_tokens;
    out->data = there ? t->desc.vocab + t->lines[id].at : NULL;
    out->size = there ? t->lines[id].size : 0;
    return there;
}

KPDDEF int32_t kpd_token_id(const kpd_tokenizer *t, kpd_text token) {
    bool inner = kpd__is_inner(token.data, token.size);
    const char *s = inner ? token.data + 2 : token.data;
    size_t n = inner ? token.size - 2 : token.size;
    return kpd__slot_id(kpd__slot_of(t, kpd__hash_token(t, inner, s, n), inner, kpd__short_block(s, n), s, n));
}

// CREATION

static const char *kpd__special_default(int i) {
    static const char *const names[5] = {"[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"};
    return names[i];
}

// The five strings of a desc, in the order of kpd__special_default.
static const char **kpd__special_field(kpd_tokenizer_desc *d, int i) {
    switch (i) {
    case 0: return &d->unk;
    case 1: return &d->cls;
    case 2: return &d->sep;
    case 3: return &d->pad;
    default: return &d->mask;
    }
}

static kpd_status kpd__tokenizer_check(const kpd_tokenizer_desc *d, size_t *n_tokens, kpd_error *e) {
    kpd__line line;
    size_t at = 0;
    if (d && kpd__desc_check("tokenizer", d->abi, d->reserved, e)) return KPD_ERR_ARGUMENT;
    if (d && (size_t)d->kind >= KPD_TOKENIZER_KIND_COUNT)
        return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "tokenizer: kind is %d, expected %d", (int)d->kind, KPD_WORDPIECE);
    if (!d || !d->vocab || !d->vocab_size) return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "tokenizer: there is no vocabulary");
    if (!kpd__allocator_ok(&d->allocator))
        return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "tokenizer: the allocator has one function, expected both or none");
    if (d->strip_accents < -1 || d->strip_accents > 1)
        return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "tokenizer: strip_accents is %d, expected -1, 0 or 1", (int)d->strip_accents);
    if (d->vocab_size >= UINT32_MAX)
        return kpd__fail(e, KPD_ERR_LIMIT, -1, "tokenizer: the vocabulary has %llu bytes, expected under 4 GB",
                         (unsigned long long)d->vocab_size);
    for (*n_tokens = 0; kpd__next_line(d->vocab, d->vocab_size, &at, &line); ++*n_tokens)
        if (*n_tokens == KPD_MAX_VOCAB)
            return kpd__fail(e, KPD_ERR_LIMIT, -1, "tokenizer: the vocabulary has over %d lines", KPD_MAX_VOCAB);
    return KPD_OK;
}

// Sizes the allocation when the arena has no base (returns NULL), lays it out and copies what d points at when it has one.
static kpd_tokenizer *kpd__tokenizer_layout(kpd_tokenizer_desc d, bool borrow_vocab, size_t n_tokens, kpd__arena *a) {
    kpd_tokenizer *t = (kpd_tokenizer *)kpd__take(a, 1, sizeof *t);
    kpd__line *lines = (kpd__line *)kpd__take(a, n_tokens, sizeof *lines);
    kpd__slot *slots;
    uint8_t *filter;
    size_t n_slots = 16;
    int32_t shift = 60;
    for (; n_slots / 3 * 2 < n_tokens; n_slots *= 2) shift--;
    slots = (kpd__slot *)kpd__take(a, n_slots, sizeof *slots);
    filter = (uint8_t *)kpd__take(a, n_slots / 2, 1);
    if (!borrow_vocab) {
        char *copy = (char *)kpd__take(a, d.vocab_size, 1);
        if (copy) d.vocab = (const char *)memcpy(copy, d.vocab, d.vocab_size);
    }
    for (int i = 0; i < 5; i++) {
        const char **field = kpd__special_field(&d, i), *from = *field ? *field : kpd__special_default(i);
        size_t size = strlen(from) + 1;
        char *copy = (char *)kpd__take(a, size, 1);
        if (copy) *field = (const char *)memcpy(copy, from, size);
    }
    if (!t) return NULL;
    t->desc = d;
    t->n_tokens = (int32_t)n_tokens;
    t->lines = lines;
    t->slots = slots;
    t->filter = filter;
    t->mask = n_slots - 1;
    t->shift = shift;
    return t;
}

static void kpd__fill_folded(kpd_tokenizer *t) {
    t->folding.lower = !t->desc.cased;
    t->folding.strip = t->desc.strip_accents ? t->desc.strip_accents > 0 : !t->desc.cased;
    t->folding.split_cjk = !t->desc.keep_cjk_joined;
    for (uint32_t c = 0; c < KPD__FOLDED; c++) t->folded[c] = kpd__fold(&t->folding, c);
    for (uint32_t c = 0; c < 128; c++) {
        uint32_t kind = t->folded[c] >> 21;
        char sign = (char)c;
        kpd_text text;
        text.data = &sign; text.size = 1;
        t->ends_word[c] = kind == KPD__SPACE || kind == KPD__PUNCT;
        t->sign[c] = kind == KPD__PUNCT ? kpd_token_id(t, text) : kind == KPD__SPACE ? KPD__SPACE_SIGN : KPD__NO_SIGN;
    }
}

// Finds the special tokens' ids. pad and mask may be absent: then they are no special tokens.
static kpd_status kpd__fill_special(kpd_tokenizer *t, kpd_error *e) {
    int32_t ids[5];
    for (int i = 0; i < 5; i++) {
        kpd__special *s = &t->special[t->n_special];
        s->text.data = *kpd__special_field(&t->desc, i);
        s->text.size = strlen(s->text.data);
        ids[i] = s->id = s->text.size ? kpd_token_id(t, s->text) : -1;
        if (s->id >= 0) {
            t->starts_special[(uint8_t)s->text.data[0]] = true;
            t->n_special++;
        } else if (i < 3) {
            return kpd__fail(e, KPD_ERR_NOT_FOUND, -1, "tokenizer: the special token \"%.*s\" is not in the vocabulary",
                             KPD__SHOWN(s->text.data, 60));
        }
    }
    t->unk = ids[0]; t->cls = ids[1]; t->sep = ids[2];
    t->same_start = true;
    for (int i = 1; i < t->n_special; i++)
        t->same_start = t->same_start && t->special[i].text.data[0] == t->special[0].text.data[0];
    return KPD_OK;
}

KPDDEF void kpd_tokenizer_destroy(kpd_tokenizer *t) {
    kpd_allocator a;
    if (!t) return;
    a = t->desc.allocator;
    kpd__free(&a, t, t->bytes);
}

static kpd_status kpd__tokenizer_make(const kpd_tokenizer_desc *d, bool borrow_vocab, kpd_tokenizer **out, kpd_error *e) {
    kpd__arena arena = {NULL, 0, false};
    kpd_tokenizer *t;
    size_t n_tokens, bytes;
    kpd_status s = kpd__tokenizer_check(d, &n_tokens, e);
    if (s) return s;
    kpd__tokenizer_layout(*d, borrow_vocab, n_tokens, &arena);
    bytes = arena.used;
    if (arena.overflow) return kpd__fail(e, KPD_ERR_LIMIT, -1, "tokenizer: too large for this machine's addresses");
    arena.base = (char *)kpd__alloc(&d->allocator, bytes);
    if (!arena.base) return kpd__no_memory(e, bytes);
    arena.used = 0;
    t = kpd__tokenizer_layout(*d, borrow_vocab, n_tokens, &arena);
    t->bytes = bytes;
    s = kpd__fill_vocab(t, e);
    kpd__fill_folded(t);
    if (!s) s = kpd__fill_special(t, e);
    if (s) kpd_tokenizer_destroy(t);
    else *out = t;
    return s;
}

KPDDEF kpd_status kpd_tokenizer_create(const kpd_tokenizer_desc *d, kpd_tokenizer **out, kpd_error *e) {
    kpd_tokenizer_desc none;
    if (!d) d = (const kpd_tokenizer_desc *)memset(&none, 0, sizeof none);
    return kpd__end(kpd__tokenizer_make(d, false, out, e), e);
}

// WORDS

typedef struct kpd__origin { size_t begin, end; } kpd__origin;  // bytes of the part

typedef struct kpd__word {
    uint8_t text[KPD__WORD_BYTES + KPD__PAD];   // UTF-8
    uint8_t rank[KPD__WORD_CHARS];      // of the marks from `settled` on
    kpd__origin origin[KPD__WORD_CHARS + 1];    // of each character; the last one is of what a longer word ends with
    size_t n, size;                     // characters, bytes
    size_t settled;                     // a mark never moves before this character
    bool moved;                         // there are kept marks behind it
    bool too_long;
} kpd__word;

// Gets a word in UTF-8.
typedef void kpd__word_t(void *user, const uint8_t *text, size_t size);

typedef struct kpd__scan {              // one segment on its way to ids
    const kpd_tokenizer *t;
    int32_t *ids;                       // [room]; what does not fit is counted only
    kpd_span *spans;                    // [room] or NULL
    size_t room, count;
    size_t limit;                       // may stop once count is over this
    kpd__word_t *take; void *taker;     // when set, gets the words that would be [UNK] and have no more than 100 characters
    kpd_text part; int32_t part_number; // what is being read
    const uint8_t *from; size_t at;     // byte `at` of the part is read from here: from the part itself or from a copy
    kpd__origin here;                   // the character being added
    size_t starter;                     // where the last character stands that canonical ordering does not move
    kpd__word word;
} kpd__scan;

static size_t kpd__place(const kpd__scan *s, const uint8_t *p) { return s->at + (size_t)(p - s->from); }

static void kpd__put(kpd__scan *s, int32_t id, size_t begin, size_t end) {
    if (s->count < s->room) {
        s->ids[s->count] = id;
        if (s->spans) {
            kpd_span *span = &s->spans[s->count];
            span->part = s->part_number;
            span->begin = span->part < 0 ? 0 : begin;
            span->end = span->part < 0 ? 0 : end;
        }
    }
    s->count++;
}

static bool kpd__continues(uint8_t c) { return (c & 0xC0) == 0x80; }

// The longest token that the n bytes at p begin with; returns its size, or 0 if there is none. p[n] is no continuation, and
// up to p[n + 7] may be read.
static size_t kpd__longest_token(const kpd_tokenizer *t, const uint8_t *p, size_t n, bool inner, int32_t *id) {
    uint64_t before[KPD__WORD_BYTES / 8 + 1];  // hash of the blocks before each block
    n = kpd__min(n, t->longest);
    before[0] = kpd__hash_begin(t, inner);
    for (size_t i = 0; 8 * i + 8 < n; i++) before[i + 1] = kpd__hash_block(t, before[i], kpd__read64(p + 8 * i));
    for (; n; n--) {
        size_t block = (n - 1) / 8;
        uint64_t last = kpd__beginning(kpd__read64(p + 8 * block), n - 8 * block), hash;
        if (kpd__continues(p[n])) continue;
        hash = kpd__hash_last(t, before[block], last);
        if (!kpd__maybe_token(t, hash)) continue;
        *id = kpd__slot_id(kpd__slot_of(t, hash, inner, block ? kpd__read64(p) : last, (const char *)p, n));
        if (*id >= 0) break;
    }
    return n;
}

static size_t kpd__count_characters(const uint8_t *p, size_t n) {
    size_t count = 0;
    for (size_t i = 0; i < n; i++) count += !kpd__continues(p[i]);
    return count;
}

// The ids of a word: the longest token again and again; [UNK] for all of it if that fails once. Its first byte stands at `at`,
// and the others behind it unless there are origins.
static void kpd__put_word(kpd__scan *s, const uint8_t *text, size_t size, size_t at, const kpd__origin *origin) {
    size_t before = s->count, from = 0, first = 0, last, n;
    int32_t id = 0;
    for (; from < size; from += n) {
        n = kpd__longest_token(s->t, text + from, size - from, from > 0, &id);
        if (!n) break;
        if (origin) {
            last = first + kpd__count_characters(text + from, n) - 1;
            kpd__put(s, id, origin[first].begin, origin[last].end);
            first = last + 1;
        } else {
            kpd__put(s, id, at + from, at + from + n);
        }
    }
    if (from == size) return;
    s->count = before;
    if (s->take) s->take(s->taker, text, size);
    else if (origin) kpd__put(s, s->t->unk, origin[0].begin, origin[kpd__count_characters(text, size) - 1].end);
    else kpd__put(s, s->t->unk, at, at + size);
}

// CHARACTERS  The slow way: each is folded into the word.

static uint32_t kpd__folded(const kpd_tokenizer *t, uint32_t c) {
    return c < KPD__FOLDED ? t->folded[c] : kpd__fold(&t->folding, c);
}

// The characters, folded, that a folded one stands for: 1 to 3.
static int kpd__parts(const kpd_tokenizer *t, uint32_t folded, uint32_t parts[3]) {
    int n;
    parts[0] = folded;
    if (!(folded & KPD__MANY)) return 1;
    n = kpd__fold_many(&t->folding, folded & 0x1FFFFF, parts);
    for (int i = 0; i < n; i++) parts[i] = kpd__folded(t, parts[i]);
    return n;
}

// The next character of the part before `end` that is not dropped, its parts, and where it stands. Returns 0 if there is none.
static int kpd__next_parts(const kpd__scan *s, size_t *at, size_t end, uint32_t parts[3], kpd__origin *origin) {
    const uint8_t *text = (const uint8_t *)s->part.data, *p = text + *at;
    while (p < text + end) {
        uint32_t c, folded;
        origin->begin = (size_t)(p - text);
        c = kpd__utf8_next(&p, text + end);
        origin->end = *at = (size_t)(p - text);
        if (c == KPD__INVALID) continue;
        folded = kpd__folded(s->t, c);
        if (folded >> 21 != KPD__DROP) return kpd__parts(s->t, folded, parts);
    }
    return 0;
}

// Gives the kept marks since the last starter their origins, the next starter being at `end`. Where canonical ordering has
// been, the reference takes what is the i-th character now for what was the i-th before, and that counts the marks which it
// strips later. So this goes over the characters three times: to count each order, to find the places of the kept marks, and
// to see what stood there. A mark that is part of its starter shares the place before.
static void kpd__settle(kpd__scan *s, size_t end) {
    kpd__word *w = &s->word;
    size_t place[KPD__ORDERS + 1] = {0}, slot[KPD__ORDERS + 1] = {0}, index[KPD__WORD_CHARS] = {0};
    size_t first = SIZE_MAX, last = 0, at, k = w->settled;
    kpd__origin origin = {0, 0};
    uint32_t parts[3], order;
    int n;
    for (at = s->starter; kpd__next_parts(s, &at, end, parts, &origin);) place[kpd__mark_order(parts[0] >> 21) + 1]++;
    for (size_t i = k; i < w->n; i++) slot[kpd__mark_order(w->rank[i]) + 1]++;
    slot[0] = k;
    for (order = 1; order <= KPD__ORDERS; order++) {
        place[order] += place[order - 1];
        slot[order] += slot[order - 1];
    }
    for (at = s->starter; (n = kpd__next_parts(s, &at, end, parts, &origin)) > 0;)
        for (int i = 0; i < n; i++) {
            size_t here;
            order = kpd__mark_order(parts[i] >> 21);
            here = i ? place[order] - 1 : place[order]++;
            if (parts[i] >> 21 < KPD__KEPT) continue;
            first = kpd__min(first, here);
            last = kpd__max(last, here);
            if (slot[order] < KPD__WORD_CHARS) index[slot[order]++] = here;
        }
    at = s->starter;
    for (size_t i = 0; kpd__next_parts(s, &at, end, parts, &origin); i++) {
        if (w->too_long && i == first && !w->settled) w->origin[0] = origin;
        if (w->too_long && i == last) w->origin[KPD__WORD_CHARS] = origin;
        for (; !w->too_long && k < w->n && index[k] == i; k++) w->origin[k] = origin;
    }
    w->moved = false;
}

static void kpd__word_clear(kpd__word *w) {
    w->n = w->size = w->settled = 0;
    w->moved = w->too_long = false;
}

static void kpd__word_end(kpd__scan *s, size_t at) {
    kpd__word *w = &s->word;
    if (!w->n) return;
    if (w->moved) kpd__settle(s, at);
    w->text[w->size] = 0;
    if (!w->too_long) kpd__put_word(s, w->text, w->size, 0, w->origin);
    else if (!s->take) kpd__put(s, s->t->unk, w->origin[0].begin, w->origin[KPD__WORD_CHARS].end);
    kpd__word_clear(w);
}

// Puts a kept mark behind those of its word that have no greater combining class (canonical ordering).
static void kpd__word_insert(kpd__word *w, uint32_t c, uint8_t rank) {
    uint8_t code[4];
    size_t i = w->n, at = w->size, size = kpd__utf8_put(c, code);
    for (; i > w->settled && w->rank[i - 1] > rank; i--) {
        w->rank[i] = w->rank[i - 1];
        while (kpd__continues(w->text[--at])) continue;
    }
    memmove(w->text + at + size, w->text + at, w->size - at);
    memcpy(w->text + at, code, size);
    w->rank[i] = rank;
    w->size += size;
    w->n++;
}

static void kpd__word_add(kpd__scan *s, uint32_t folded) {
    kpd__word *w = &s->word;
    uint32_t kind = folded >> 21, c = folded & 0x1FFFFF;
    if (kind >= KPD__KEPT) {
        w->moved = s->spans != NULL;
    } else {
        if (w->moved) kpd__settle(s, s->here.begin);
        s->starter = s->here.begin;
    }
    w->origin[w->n] = s->here;
    if (w->n == KPD__WORD_CHARS) { w->too_long = true; return; }
    if (kind >= KPD__KEPT) { kpd__word_insert(w, c, (uint8_t)kind); return; }
    w->size += kpd__utf8_put(c, w->text + w->size);
    w->settled = ++w->n;
}

static void kpd__character(kpd__scan *s, uint32_t folded) {
    uint32_t kind = folded >> 21, parts[3];
    if (kind == KPD__DROP || (kind >= KPD__MARK && kind < KPD__KEPT)) return;
    if (kind == KPD__SPACE || kind == KPD__PUNCT || kind == KPD__CJK) {
        kpd__word_end(s, s->here.begin);
        if (kind != KPD__SPACE) kpd__word_add(s, folded);
        kpd__word_end(s, s->here.end);
        s->starter = s->here.begin;
    } else if (kind == KPD__MARK_STARTER) {
        if (s->word.moved) kpd__settle(s, s->here.begin);
        s->starter = s->here.begin;
        s->word.settled = s->word.n;
    } else {
        int n = kpd__parts(s->t, folded, parts);
        for (int i = 0; i < n; i++) kpd__word_add(s, parts[i]);
    }
}

// Characters from p on until there is no word begun, or to `stop`.
static const uint8_t *kpd__characters(kpd__scan *s, const uint8_t *p, const uint8_t *stop) {
    do {
        uint32_t c;
        s->here.begin = kpd__place(s, p);
        c = kpd__utf8_next(&p, p + 4);
        s->here.end = kpd__place(s, p);
        if (c != KPD__INVALID) kpd__character(s, kpd__folded(s->t, c));
    } while (p < stop && s->word.n);
    return p;
}

// LETTERS AND DIGITS  The fast way, eight bytes in one 64-bit number.

#define KPD__EACH_BYTE UINT64_C(0x0101010101010101)

// Bit 7 of each byte: whether its low 7 bits are at least c. No byte borrows from the next, since each has its bit 7 set.
static uint64_t kpd__at_least(uint64_t x, uint8_t c) { return (x | 0x80 * KPD__EACH_BYTE) - c * KPD__EACH_BYTE; }

// Bit 7 of each byte: whether it is none of 0-9 A-Z a-z.
static uint64_t kpd__no_letters(uint64_t x) {
    uint64_t lower = x | 0x20 * KPD__EACH_BYTE, letter = kpd__at_least(lower, 'a') & ~kpd__at_least(lower, 'z' + 1),
             digit = kpd__at_least(x, '0') & ~kpd__at_least(x, '9' + 1);
    return ~((letter | digit) & ~x) & 0x80 * KPD__EACH_BYTE;
}

// The place of the lowest set bit, in bytes; 8 = there is none.
static size_t kpd__first_byte(uint64_t bits) {
#if defined(__GNUC__) || defined(__clang__)
    return bits ? (size_t)__builtin_ctzll(bits) / 8 : 8;
#else
    size_t n = 0;
    for (; n < 8 && !(bits >> 8 * n & 0x80); n++) continue;
    return n;
#endif
}

// Words and signs that begin before `stop`. 16 bytes may be read from each of them.
static const uint8_t *kpd__words(kpd__scan *s, const uint8_t *p, const uint8_t *stop) {
    const kpd_tokenizer *t = s->t;
    uint64_t fold = t->folding.lower ? 0x20 * KPD__EACH_BYTE : 0;
    uint8_t text[16 + KPD__PAD] = {0};
    if (s->word.n && p < stop) p = kpd__characters(s, p, stop);
    while (p < stop && s->count <= s->limit) {
        uint64_t low = kpd__read64(p), high = kpd__read64(p + 8);
        size_t n = kpd__first_byte(kpd__no_letters(low)), at = kpd__place(s, p);
        if (n == 8) n += kpd__first_byte(kpd__no_letters(high));
        if (n == 0 && *p < 0x80 && t->sign[*p] != KPD__NO_SIGN) {
            if (t->sign[*p] != KPD__SPACE_SIGN) kpd__put(s, t->sign[*p], at, at + 1);
            s->starter = at;
            p++;
        } else if (n - 1 < 15 && t->ends_word[p[n]]) {
            low = kpd__beginning(low | fold, kpd__min(n, 8));
            high = n > 8 ? kpd__beginning(high | fold, n - 8) : 0;
            memcpy(text, &low, 8);
            memcpy(text + 8, &high, 8);
            kpd__put_word(s, text, n, at, NULL);
            n += p[n] == ' ';
            s->starter = at + n - 1;
            p += n;
        } else {
            p = kpd__characters(s, p, stop);
        }
    }
    return p;
}

// The bytes [begin, end) of the part, which has no special token there. The last are read from a copy with spaces behind.
static void kpd__plain(kpd__scan *s, size_t begin, size_t end) {
    uint8_t tail[32];
    s->starter = s->at = begin;
    s->from = (const uint8_t *)s->part.data + begin;
    if (end - begin >= 16) s->from = kpd__words(s, s->from, (const uint8_t *)s->part.data + end - 15);
    s->at = (size_t)(s->from - (const uint8_t *)s->part.data);
    if (end - s->at < 16) {
        memset(tail, ' ', sizeof tail);
        memcpy(tail, s->from, end - s->at);
        s->from = tail;
        kpd__words(s, tail, tail + (end - s->at));
    }
    kpd__word_end(s, end);
}

// The longest special token that stands at p, or NULL.
static const kpd__special *kpd__special_at(const kpd_tokenizer *t, const uint8_t *p, const uint8_t *end) {
    const kpd__special *best = NULL;
    for (const kpd__special *x = t->special; x < t->special + t->n_special; x++) {
        bool here = x->text.size <= (size_t)(end - p) && !memcmp(p, x->text.data, x->text.size);
        if (here && (!best || x->text.size > best->text.size)) best = x;
    }
    return best;
}

// The next byte that a special token may begin with, or the end.
static const uint8_t *kpd__maybe_special(const kpd_tokenizer *t, const uint8_t *p, const uint8_t *end) {
    if (t->same_start) {
        p = (const uint8_t *)memchr(p, t->special[0].text.data[0], (size_t)(end - p));
        return p ? p : end;
    }
    while (p < end && !t->starts_special[*p]) p++;
    return p;
}

static void kpd__scan_part(kpd__scan *s, kpd_text part, int32_t number) {
    const uint8_t *text = (const uint8_t *)part.data, *end = text + part.size, *p = text;
    size_t begin = 0;
    s->part = part;
    s->part_number = number;
    while ((p = kpd__maybe_special(s->t, p, end)) < end && s->count <= s->limit) {
        const kpd__special *x = kpd__special_at(s->t, p, end);
        if (!x) { p++; continue; }
        kpd__plain(s, begin, (size_t)(p - text));
        kpd__put(s, x->id, (size_t)(p - text), (size_t)(p - text) + x->text.size);
        p += x->text.size;
        begin = (size_t)(p - text);
    }
    kpd__plain(s, begin, (size_t)(p - text));
}

// TEXTS

typedef struct kpd__piece { kpd_text text; int32_t segment, part; } kpd__piece; // segment 0 or 1; part of the input or -1

// Writes the ids of one segment from out->ids[at] on, as far as there is capacity. Returns their number; having passed the
// limit it need not count on.
static size_t kpd__segment(const kpd_tokenizer *t, const kpd__piece *pieces, size_t n, int32_t segment, const kpd_tokens *out,
                           size_t at, size_t limit) {
    kpd__scan s;
    size_t capacity = (size_t)out->capacity;
    s.t = t;
    s.room = at < capacity ? kpd__min(capacity - at, limit) : 0;
    s.ids = s.room ? out->ids + at : NULL;
    s.spans = s.room && out->spans ? out->spans + at : NULL;
    s.count = 0;
    s.limit = limit;
    s.take = NULL;
    s.taker = NULL;
    kpd__word_clear(&s.word);
    for (size_t i = 0; i < n; i++)
        if (pieces[i].segment == segment && pieces[i].text.size) kpd__scan_part(&s, pieces[i].text, pieces[i].part);
    return s.count;
}

// Truncation "longest_first" of two segments to `budget` tokens: the longer one is cut down to the shorter one's length,
// then both alike; an odd token goes to the one that was longer, or to the second.
static void kpd__longest_first(size_t budget, size_t *a, size_t *b) {
    size_t *less = *a > *b ? b : a, *more = less == a ? b : a;
    if (*less <= budget / 2) {
        *more = budget - *less;
    } else {
        *less = budget / 2;
        *more = budget - budget / 2;
    }
}

// Puts [CLS] and [SEP] around a + b tokens which already stand in their places, and the token types.
static void kpd__frame(const kpd_tokenizer *t, size_t a, size_t b, bool pair, bool no_special, kpd_tokens *out) {
    static const kpd_span none = {0, 0, -1};
    size_t edge = no_special ? 0 : 1, second = edge + a + edge, count = pair ? second + b + edge : second;
    if (!no_special) {
        out->ids[0] = t->cls;
        out->ids[second - 1] = t->sep;
        out->ids[count - 1] = t->sep;
        if (out->spans) out->spans[0] = out->spans[second - 1] = out->spans[count - 1] = none;
    }
    if (out->types)
        for (size_t i = 0; i < count; i++) out->types[i] = i < second ? 0 : 1;
    out->count = (int32_t)count;
}

static kpd_status kpd__encode_check(const kpd__piece *pieces, size_t n, int32_t max_tokens, size_t added, const kpd_tokens *out,
                                    kpd_error *e) {
    if (out->capacity < 0 || (out->capacity && !out->ids))
        return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "tokenize: the capacity is %d and ids is %s", (int)out->capacity,
                         out->ids ? "set" : "NULL");
    if (max_tokens < 0 || (max_tokens && (size_t)max_tokens < added))
        return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "tokenize: max_tokens is %d, expected 0 or at least the %d special tokens",
                         (int)max_tokens, (int)added);
    for (size_t i = 0; i < n; i++)
        if (!pieces[i].text.data && pieces[i].text.size)
            return kpd__fail(e, KPD_ERR_INPUT, -1, "tokenize: piece %d is NULL, but has a size", (int)i);
    return KPD_OK;
}

// The pieces of a segment stand one after the other as if joined by spaces. There are two segments if any piece says so. A
// pair is tokenised as it comes, and the second one once more if the split that truncation wants turns out different.
static kpd_status kpd__encode(const kpd_tokenizer *t, const kpd__piece *pieces, size_t n, int32_t max_tokens, bool no_special,
                              kpd_tokens *out, kpd_error *e) {
    size_t edge = no_special ? 0 : 1, a, b = 0, added, budget;
    bool pair = false;
    kpd_status s;
    for (size_t i = 0; i < n; i++) pair = pair || pieces[i].segment == 1;
    added = (pair ? 3 : 2) * edge;
    s = kpd__encode_check(pieces, n, max_tokens, added, out, e);
    if (s) return s;
    out->count = 0;
    out->truncated = false;
    budget = max_tokens ? (size_t)max_tokens - added : SIZE_MAX;
    if (pair) {
        a = kpd__segment(t, pieces, n, 0, out, edge, SIZE_MAX);
        b = kpd__segment(t, pieces, n, 1, out, edge + a + edge, SIZE_MAX);
    } else {
        a = kpd__segment(t, pieces, n, 0, out, edge, kpd__min(budget, (size_t)out->capacity));
    }
    if (a > budget || b > budget - a) {
        if (pair) kpd__longest_first(budget, &a, &b);
        else a = budget;
        if (pair) kpd__segment(t, pieces, n, 1, out, edge + a + edge, b);
        out->truncated = true;
    }
    if (a > (size_t)out->capacity || b > (size_t)out->capacity || a + b + added > (size_t)out->capacity) {
        out->truncated = false;
        return kpd__fail(e, KPD_ERR_LIMIT, -1, "tokenize: there is room for %d tokens, the text has more", (int)out->capacity);
    }
    kpd__frame(t, a, b, pair, no_special, out);
    return KPD_OK;
}

KPDDEF kpd_status kpd_tokenize(const kpd_tokenizer *t, const kpd_input *in, int32_t max_tokens, bool no_special,
                               kpd_tokens *out, kpd_error *e) {
    kpd__piece pieces[5];
    size_t n = 0;
    if (in->n_parts < 1 || in->n_parts > 3)
        return kpd__fail(e, KPD_ERR_INPUT, -1, "tokenize: the input has %d parts, expected 1 to 3", (int)in->n_parts);
    for (int32_t i = 0; i < in->n_parts; i++) {
        if (i && in->n_parts == 3) {
            pieces[n].text.data = t->desc.sep;
            pieces[n].text.size = strlen(t->desc.sep);
            pieces[n].part = -1;
            pieces[n++].segment = 0;
        }
        pieces[n].part = i;
        pieces[n].text = in->part[i];
        pieces[n++].segment = in->n_parts == 2 ? i : 0;
    }
    return kpd__end(kpd__encode(t, pieces, n, max_tokens, no_special, out, e), e);
}

// >>format
//
// A file is a header, a table of sections, and the sections. All numbers are little-endian. Offsets are from the start.
//
//     header, 64 bytes                               section entry, 128 bytes, from byte 64 on
//      0  u8[8]  89 4B 50 44 0D 0A 1A 0A               0  char[64] name, zero-padded, at least one zero
//      8  u16    major version = 2                    64  u32      type (below)
//     10  u16    minor version                        68  u32      flags: 1 = required, 2 = summed at open
//     12  u32    kind: 1 model, 2 index,              72  u64[3]   shape: logical sizes, unused ones are 1
//                3 checkpoint                         96  u64      offset, a multiple of 64
//     16  u32    0x01020304                          104  u64      size in bytes
//     20  u32    required features: 0                112  u64      XXH64 of the payload
//     24  u64    size of the whole file              120  u64      zero
//     32  u32    number of sections, at most 65536
//     36  u32    zero                                Sections follow the table and each other in the table's order,
//     40  u64    XXH64 of the table                  each at the next multiple of 64, zero-filled between. Of equal
//     48  u64    zero                                names the first counts. A reader skips sections it does not know,
//     56  u64    XXH64 of bytes 0 to 55              unless they are flagged required.
//
// The sections below are written as required; config, templates, special and vocab also as summed. Readers demand neither.
// XXH64 is Collet's 64-bit xxHash with seed 0. A higher minor version adds sections and flags of them that may be ignored, and
// gives a meaning to what is zero in config: a reader refuses a number or bit there that it does not know. Another major
// version or an unknown feature bit is refused.
//
//     type                 payload
//     1 u8, 2 i32, 3 i64, 4 f32, 5 bf16     row-major
//     8  f32 panels  [N, K]   [N/16][K][16]        N padded to 16 with zeros
//     9  bf16 panels [N, K]   [N/16][K/2][16][2]   N padded to 16, K to 32
//     10 int8 panels [N, K]   [N/16][K/4][16][4]   N padded to 16, K to 64; value = int8 * scale[n]
//
// Panels are how kernels read weights: 16 output columns side by side, so a mapped model runs as it lies. 1 KB of a bf16 or
// int8 panel (16 rows of 64 bytes) is one AMX B tile at stride 64; a row is one operand of VDPBF16PS or VPDPBUSD; AVX2 and
// NEON widen the same bytes. A matrix that joins several (query, key, value) pads each to 16 columns by itself; its shape is
// {3, N, K}, K at least 2.
//
// int8: weights are in -127..127 and stand for w * scale[n]. Beside `m.weight` stand `m.scale` f32 and `m.colsum` i32 (the
// plain sum over k), both padded to 16 with zeros as a bias is, and optionally `m.inscale` f32, K padded to 64, one for all
// matrices that are joined. A row x of the input is rounded to whole numbers u: with t = x * inscale, levels L, all in f32,
//     step = range / L, u = t * (L / range) + z, once to nearest even, cut to 0..255 (or 0..65535), where
//     as a rule       range = the largest |t|,           L = 127,   z = 128
//     GELU's output   range = most - least, the largest t, at least 0, and the least, at most 0;
//                                                        L = 255,   z = -least * (L / range) to nearest even
//     16-bit inputs   range = the largest |t|,           L = 32767, z = 32768
// and range below 2^-100 counts as 0: step = L / range = 0. Then y = fma(float(sum over k of (u - z) w), step * scale, bias);
// the sum is exact. With u8, sum (u - z) w = sum u w - z colsum, which is what VPDPBUSD, TDPBUSD and PMADDWD compute. bf16 is
// rounded to nearest even and summed in f32. GELU before a product of bf16 or int8 is a shorter polynomial, off by up to 2e-4.
// Attention is in whole numbers too where query, key and value come from 8-bit inputs; see >>attention.
// Input padding must be zero where a weight is bf16, since 0 * NaN is NaN.
//
// A model (kind 1) has these sections; [..] = shape:
//     config          i32  [64]: 0 kind (0 bi-encoder, 1 cross-encoder), 1 separate towers, 2 layers, 3 H, 4 A, 5 F, 6 V,
//                     7 positions, 8 token types, 9 labels, 10 activation, 11 pooling, 12 bits of layer norm epsilon (f32),
//                     13 tokens per text, 14 bits: 0 no final normalisation, 1..2 similarity (0 cosine, 1 dot, 2 l2), 8..30
//                     columns that vectors are cut to (0 = all); 15 number of modules, 16..27 four modules of
//                     {kind, width, activation | no_bias << 8}, 28 tokenizer: cased | keep_cjk_joined << 1 |
//                     (strip_accents + 1) << 2, 29 weight type (1 f32, 2 bf16, 3 int8),
//                     30 arithmetic of int8, bits: 1 the feed-forward layer's inner activations are rounded as GELU's output, 2
//                     the inputs of query, key and value have 16 bits, 31 architecture (0 BERT), 32 kind of tokenizer (0
//                     WordPiece), 33 and 34 fingerprint of the model that this one was converted from (u64, 0 = none); the
//                     others zero
//     templates       u8   the item's, the keyphrase's and the pair's input template, each ended by a zero byte; see
//                     kpd_model_desc
//     special         u8   the five special tokens unk, cls, sep, pad, mask, each ended by a zero byte
//     vocab           u8   vocab.txt: a token a line, line i = id i; Unicode's White_Space at the end of a line is left out
//     per encoder, names as in Hugging Face's BERT, behind "keyphrase." for the second of separate towers:
//     embeddings.word_embeddings.weight [V, H], .position_embeddings.weight [P, H], .token_type_embeddings.weight [types, H]
//     (f32, or bf16 where the weight type is bf16 or int8), .LayerNorm.weight and .bias [H]; per layer i panels of the weight
//     type, encoder.layer.i.attention.self.qkv.weight {3, H, H} (query, key, value), .qkv.bias f32 [3][H padded to 16];
//     .attention.output.dense, .intermediate.dense, .output.dense .weight and .bias (padded to 16), .attention.output.LayerNorm
//     and .output.LayerNorm .weight and .bias [H]
//     and once, always as f32 panels, of a cross-encoder: pooler.dense and classifier .weight, .bias (padded to 16); of a
//     bi-encoder, for both towers: modules.j.linear.weight, .bias (padded to 16) for Dense, modules.j.norm.weight and .bias for
//     LayerNorm (epsilon 1e-5); and, not required, the head of masked-language modelling, f32, row-major, all of it or nothing:
//     mlm.transform.weight [H, H] and .bias [H], mlm.norm.weight and .bias [H], mlm.bias [V]. A vector's shape is
//     {length, 1, 1}, with the padding where there is one.
//
// An index (kind 2) has:
//     config          i32  [16]: 0 dim, 1 metric (0 cosine, 1 dot, 2 l2), 2 storage (1 f32, 3 int8, of a tree also 4 int16,
//                     5 int4), 3 kind (0 flat, 1 tree), 4 and 5 fingerprint of the model (u64, 0 = unknown), 6 partition;
//                     of a tree 7 count, 8 bits of the recall of default (f32); the others zero
//     ids             i64  [count]: the id of each slot
//     table           i32  [capacity, a power of two over count; may be 0 when count is]: slot of an id, -1 = empty; linear
//                     probing from (id * 0x9E3779B97F4A7C15 mod 2^64) >> (64 - log2 capacity), from 0 if the capacity is 1
// a flat one then
//     vectors         f32 panels [count, dim]: 16 vectors side by side; unit length under cosine
// or, of int8, with each 16 vectors a panel,
//     rows            f32  [count, dim]: the same, one after the other
//     codes           u8   [panels, 16 * dim padded to 64]: i8 [dim / 4][16][4], v / step to the nearest even of each number
//                     v, 0 beyond the vectors and their dimensions; step = the panel's largest |v| / 127
//     notes           u8   [panels, 128]: 0 i32[16] the sum of each vector's codes; 64 f32 step, 68 f32 how far a vector lies
//                     from its codes at most, 72 f32 the longest and 76 f32 the shortest vector; then 48 zeros
// and a tree, whose ids and table count its slots, 16 a block, in which ids of empty places mean nothing,
//     lists           u8   [lists / 16, node]: panels of the means of 16 lists, the last one filled up with zeros
//     groups          u8   [lists / 256, node]: panels of the means of 16 panels of lists, or missing. Not required
//     blocks          u8   [lists, node]: a list's panel: the means of its at most 16 blocks
//     codes           u8   [blocks, dim / 8 * 64]: the vectors of a block in 4 bits
//     owner           i32  [blocks]: list * 16 + child of the block
//     rows            what is kept of each slot's vector: f32 [slots, dim], int16 u8 [slots, 2 dim]; int8 u8 [slots,
//                     dim / 8 * 4], which are the low nibbles of each block, laid out as its codes; int4 has no such section
//     halves          f32  [slots], only under l2: |v|^2 / 2
//     tuned           f32  [at most 8, 5], or missing: what a k and a recall take, as k, recall, gamma (0..1), breadth
//                     (.25..2), candidates (.5..8); see kpd_search_desc. Summed, not required
//     dial            f32  [8, 2], or missing: gamma (above 0, to 1) and candidates that a recall of 0, .5, .8, .9, .95, .99,
//                     .999 and 1 takes where nothing is tuned, none less than the one before. Summed, not required
//     arrived         i32  [1], or missing: vectors that were added or replaced since dial was measured. Summed, not required
// and either, where they are kept,
//     partition       i32  [count, of a tree slots], or missing: that of each one, where not all are of config's
//     text            i64  [count, of a tree slots]: where each one's text begins in texts << 24 | its bytes; 0 in empty places
//     texts           u8   [bytes]: the texts, in any order; bytes of none may be between them
//
// Such divisions are rounded up. 64 bytes of codes are 8 dimensions of 16 vectors: byte 4 i + j has dimension j of
// vector i in its low four bits, dimension 4 + j in its high ones. A number v becomes u = v / step to the nearest even, + 128,
// 1 to 255; a block has one step, its largest |v| / 127. The code is u >> 4, taken as (16 code - 120.5) step; int8 keeps
// (u - 128) step with the low nibble u & 15; int16 keeps w step 127/32767. A node is such codes of 16 means, each with its own
// step, and then
//      0  f32[16] scale: the step              192  f32[16] step of the child block's codes
//     64  f32[16] radius: root mean square     256  u32[16] number of the child block
//                 distance of the members      320  u16[16] its places that hold a vector, as bits
//    128  f32[16] |mean|^2 / 2                 352  u32     vectors since the list was cut into blocks, then 28 zeros
// of which a panel of lists or groups has the first three, else zeros. A child that owner does not name is none.

// >>file  The container of models and indexes: mapping or reading, checking, atomic saving. Relies on the operating system's
// files. Promises that after kpd__file_check every section lies inside the file, and that a save replaces a file whole or
// not at all.

enum { KPD__U8 = 1, KPD__I32, KPD__I64, KPD__F32, KPD__BF16, KPD__F32_PANELS = 8, KPD__BF16_PANELS, KPD__INT8_PANELS };
enum { KPD__REQUIRED = 1, KPD__SUMMED = 2,
       KPD__OPTIONAL = 1 << 16, KPD__IGNORABLE = 1 << 17 };    // not of the file: may be absent; written without KPD__REQUIRED

#define KPD__FORMAT 2                   // major version
#define KPD__MAX_SECTIONS 65536
static const uint8_t kpd__magic[8] = {0x89, 'K', 'P', 'D', 0x0D, 0x0A, 0x1A, 0x0A};

typedef struct kpd__header {
    uint8_t magic[8];
    uint16_t major, minor;
    uint32_t kind, order, features;
    uint64_t size;
    uint32_t n_sections, zero;
    uint64_t table_sum, zero2, sum;
} kpd__header;

typedef struct kpd__section {
    char name[64];
    uint32_t type, flags;
    uint64_t shape[3], offset, size, sum, zero;
} kpd__section;

typedef char kpd__layout_check[sizeof(kpd__header) == 64 && sizeof(kpd__section) == 128 ? 1 : -1];

// NAMES  of n structs that lie `stride` bytes apart and begin with one. They are put in order once, since a file may name
// 65,536 sections alike but for their ends, and a model asks for thousands.
typedef struct kpd__names { const char *first; size_t stride, n; uint32_t *order; } kpd__names;

static const char *kpd__name_at(const kpd__names *x, size_t i) { return x->first + x->order[i] * x->stride; }

// By name, and then by place.
static bool kpd__name_before(const void *names, uint32_t i, uint32_t j) {
    const kpd__names *x = (const kpd__names *)names;
    int by_name = strcmp(x->first + i * x->stride, x->first + j * x->stride);
    return by_name < 0 || (!by_name && i < j);
}

static void kpd__names_sort(const kpd__names *x) {
    for (size_t i = 0; i < x->n; i++) x->order[i] = (uint32_t)i;
    kpd__sort(x->order, x->n, kpd__name_before, x);
}

// Where in the order the first of these names stands, or would.
static size_t kpd__names_find(const kpd__names *x, const char *name) {
    size_t from = 0, to = x->n;
    while (from < to) {
        size_t middle = from + (to - from) / 2;
        if (strcmp(kpd__name_at(x, middle), name) < 0) from = middle + 1;
        else to = middle;
    }
    return from;
}

typedef struct kpd__file {
    const uint8_t *data; size_t size;   // aligned to 64
    void *block; size_t block_size;     // what to free or unmap; NULL = borrowed
    bool mapped;
    bool summed;                        // the table has the sections' sums: it is a file's, not that of an image made here
    uint32_t n_required_found;
    kpd__names sections;                // in order, for kpd__file_find
    kpd_allocator allocator;
} kpd__file;

static const kpd__header *kpd__file_header(const kpd__file *f) { return (const kpd__header *)(const void *)f->data; }
static const kpd__section *kpd__file_table(const kpd__file *f) { return (const kpd__section *)(const void *)(f->data + 64); }

static void kpd__file_close(kpd__file *f) {
#if defined(KPD__POSIX) && !defined(KPD_NO_MMAP)
    if (f->mapped) munmap(f->block, f->block_size);
    else
#endif
        kpd__free(&f->allocator, f->block, f->block_size);
    kpd__free(&f->allocator, f->sections.order, f->sections.n * sizeof *f->sections.order);
    f->block = NULL;
    f->sections.order = NULL; f->sections.n = 0;
}

// A block of `size` zero bytes, aligned, writable through the result.
static uint8_t *kpd__file_create(kpd__file *f, size_t size, const kpd_allocator *a) {
    memset(f, 0, sizeof *f);
    if (a) f->allocator = *a;
    if (!kpd__add_ok(size, 64, &f->block_size)) return NULL;
    f->block = kpd__alloc(a, f->block_size);
    if (!f->block) return NULL;
    f->data = (const uint8_t *)kpd__align64(f->block);
    f->size = size;
    return (uint8_t *)kpd__align64(f->block);
}

// What messages call a file: the end of its path, shown in at most 100 bytes, so that there is room for what is wrong with it.
static const char *kpd__file_label(const char *path) {
    size_t n = path ? strlen(path) : 0, from = n > 100 ? n - 100 : 0;
    for (int i = 0; i < 3 && from > 0 && ((unsigned char)path[from] & 0xC0) == 0x80; i++) from++;   // not within a character
    while (from < n && (size_t)kpd__shown(path + from, n - from, 100) < n - from) {
        size_t length = kpd__legible(path + from, n - from);
        from += length ? length : 1;
    }
    return path ? path + from : "data";
}

// What strerror says, which other threads may overwrite, and which need not be UTF-8.
static const char *kpd__error_name(int error) {
    switch (error) {
    case ENOENT: return "No such file or directory";
    case EACCES: case EPERM: return "Permission denied";
    case EISDIR: return "Is a directory";
    case ENOTDIR: return "Not a directory";
    case ENAMETOOLONG: return "File name too long";
    case ENOSPC: return "No space left on device";
    case EROFS: return "Read-only file system";
    case EIO: return "Input/output error";
    case EFBIG: return "File too large";
    case EMFILE: case ENFILE: return "Too many open files";
    case ENOMEM: return "Cannot allocate memory";
    case EILSEQ: return "The path is not UTF-8";
    default: return NULL;
    }
}

#define KPD__MAX_PATH 4096

#ifndef KPD__POSIX
// The files of libc by paths in UTF-8, and of any size; errno says why not.
#ifdef KPD__WINDOWS
static bool kpd__utf16(const char *path, wchar_t *out) {
    if (MultiByteToWideChar(65001, 8, path, -1, out, KPD__MAX_PATH + 16)) return true;     // CP_UTF8, and nothing else
    errno = EILSEQ;
    return false;
}
static FILE *kpd__fopen(const char *path, const wchar_t *mode) {
    wchar_t wide[KPD__MAX_PATH + 16];
    return kpd__utf16(path, wide) ? _wfopen(wide, mode) : NULL;
}
#define KPD__FOPEN(path, mode) kpd__fopen(path, L##mode)
static int64_t kpd__tell_end(FILE *f) { return _fseeki64(f, 0, SEEK_END) ? -1 : _ftelli64(f); }
static bool kpd__flush(FILE *f) { return !fflush(f) && !_commit(_fileno(f)); }
static void kpd__remove(const char *path) {
    wchar_t wide[KPD__MAX_PATH + 16];
    if (kpd__utf16(path, wide)) _wremove(wide);
}
static bool kpd__rename(const char *from, const char *to) {
    wchar_t source[KPD__MAX_PATH + 16], target[KPD__MAX_PATH + 16];
    if (!kpd__utf16(from, source) || !kpd__utf16(to, target)) return false;
    if (MoveFileExW(source, target, 1 | 8)) return true;    // replaces what is there, and is on the disk when it returns
    errno = EACCES;
    return false;
}
#else
#define KPD__FOPEN(path, mode) fopen(path, mode)
static int64_t kpd__tell_end(FILE *f) { return fseek(f, 0, SEEK_END) ? -1 : ftell(f); }
static bool kpd__flush(FILE *f) { return !fflush(f); }
static void kpd__remove(const char *path) { remove(path); }
static bool kpd__rename(const char *from, const char *to) {
    remove(to);                         // rename need not replace here
    return !rename(from, to);
}
#endif
#else
static void kpd__remove(const char *path) { remove(path); }
static bool kpd__rename(const char *from, const char *to) { return !rename(from, to); }
#endif

static kpd_status kpd__io(kpd_error *e, const char *what, const char *path) {
    int error = errno;
    const char *name = kpd__error_name(error);
    if (name) return kpd__fail(e, KPD_ERR_IO, -1, "%s: %s: %s", kpd__file_label(path), what, name);
    return kpd__fail(e, KPD_ERR_IO, -1, "%s: %s: error %d", kpd__file_label(path), what, error);
}

#ifdef KPD__POSIX
static kpd_status kpd__file_read_all(int fd, const char *path, size_t size, kpd__file *f, const kpd_allocator *a,
                                     kpd_error *e) {
    uint8_t *to = kpd__file_create(f, size, a);
    if (!to) return kpd__no_memory(e, size);
    for (size_t at = 0; at < size;) {
        ssize_t got = read(fd, to + at, kpd__min(size - at, (size_t)1 << 30));
        if (got < 0 && errno == EINTR) continue;
        if (got > 0) { at += (size_t)got; continue; }
        kpd__file_close(f);
        if (got < 0) return kpd__io(e, "cannot be read", path);
        return kpd__fail(e, KPD_ERR_IO, (int64_t)at, "%s: ended at byte %llu of %llu while being read", kpd__file_label(path),
                         (unsigned long long)at, (unsigned long long)size);
    }
    return KPD_OK;
}

// A file of at least `least` bytes. An empty one is not mapped.
static kpd_status kpd__file_open_path(const char *path, bool copy, size_t least, kpd__file *f, const kpd_allocator *a,
                                      kpd_error *e) {
    struct stat st;
    kpd_status s = KPD_OK;
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);   // a FIFO is refused below, not waited for
    if (fd < 0) return kpd__io(e, "cannot be opened", path);
    if (fstat(fd, &st)) s = kpd__io(e, "cannot be examined", path);
    else if (!S_ISREG(st.st_mode)) s = kpd__fail(e, KPD_ERR_IO, -1, "%s: is not a regular file", kpd__file_label(path));
    else if ((uint64_t)st.st_size < least)
        s = kpd__fail(e, KPD_ERR_FORMAT, 0, "%s: has %lld bytes, expected at least %llu", kpd__file_label(path),
                      (long long)st.st_size, (unsigned long long)least);
    else if ((uint64_t)st.st_size > SIZE_MAX - 64)
        s = kpd__fail(e, KPD_ERR_LIMIT, -1, "%s: %lld bytes do not fit this machine's memory", kpd__file_label(path),
                      (long long)st.st_size);
#ifndef KPD_NO_MMAP
    else if (!copy && st.st_size) {
        void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
        if (p == MAP_FAILED) s = kpd__io(e, "cannot be mapped", path);
        else {
            f->block = p; f->block_size = f->size = (size_t)st.st_size; f->data = (const uint8_t *)p; f->mapped = true;
            if (a) f->allocator = *a;
        }
    }
#endif
    else s = kpd__file_read_all(fd, path, (size_t)st.st_size, f, a, e);
    (void)copy;
    close(fd);
    return s;
}
#else
static kpd_status kpd__file_open_path(const char *path, bool copy, size_t least, kpd__file *f, const kpd_allocator *a,
                                      kpd_error *e) {
    FILE *in = KPD__FOPEN(path, "rb");
    int64_t size;
    uint8_t *to;
    bool ok;
    (void)copy;
    if (!in) return kpd__io(e, "cannot be opened", path);
    size = kpd__tell_end(in);
    if (size < 0 || (uint64_t)size < least || (uint64_t)size > SIZE_MAX - 64 || fseek(in, 0, SEEK_SET)) {
        fclose(in);
        return kpd__fail(e, KPD_ERR_FORMAT, 0, "%s: has %lld bytes, expected at least %llu", kpd__file_label(path),
                         (long long)size, (unsigned long long)least);
    }
    to = kpd__file_create(f, (size_t)size, a);
    ok = to && fread(to, 1, (size_t)size, in) == (size_t)size;
    fclose(in);
    if (!to) return kpd__no_memory(e, (size_t)size);
    if (!ok) kpd__file_close(f);
    return ok ? KPD_OK : kpd__io(e, "cannot be read", path);
}
#endif

// Opens what the desc says: borrowed bytes, a mapping, or a copy.
static kpd_status kpd__file_open(const char *path, const kpd_open_desc *d, kpd__file *f, kpd_error *e) {
    memset(f, 0, sizeof *f);
    if (d && kpd__desc_check("open", d->abi, d->reserved, e)) return KPD_ERR_ARGUMENT;
    if (d && !kpd__allocator_ok(&d->allocator))
        return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "allocator: has one function, expected both or none");
    if (!d || !d->data) {
        if (!path) return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "open: neither a path nor data was given");
        return kpd__file_open_path(path, d && d->copy, sizeof(kpd__header), f, d ? &d->allocator : NULL, e);
    }
    if (d->size < 64)
        return kpd__fail(e, KPD_ERR_FORMAT, 0, "data has %llu bytes, expected at least the 64 of a header",
                         (unsigned long long)d->size);
    if (d->copy) {
        uint8_t *to = kpd__file_create(f, d->size, &d->allocator);
        if (!to) return kpd__no_memory(e, d->size);
        memcpy(to, d->data, d->size);
        return KPD_OK;
    }
    if ((uintptr_t)d->data % 64)
        return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "open: data is not aligned to 64 bytes, which only a copy need not be");
    f->data = (const uint8_t *)d->data; f->size = d->size; f->allocator = d->allocator;
    return KPD_OK;
}

// Whether a header is one, of this version, and of what.
static kpd_status kpd__header_known(const kpd__file *f, const char *path, kpd_error *e) {
    const kpd__header *h = kpd__file_header(f);
    if (memcmp(h->magic, kpd__magic, 8))
        return kpd__fail(e, KPD_ERR_FORMAT, 0, "%s: is not a kpd file (it begins %02X %02X %02X %02X, expected 89 4B 50 44)",
                         path, (unsigned)h->magic[0], (unsigned)h->magic[1], (unsigned)h->magic[2], (unsigned)h->magic[3]);
    if (h->sum != kpd__hash64(h, 56)) return kpd__fail(e, KPD_ERR_FORMAT, 56, "%s: the header's checksum is wrong", path);
    if (h->major != KPD__FORMAT)
        return kpd__fail(e, KPD_ERR_VERSION, 8, "%s: has format version %u, expected %d%s", path, (unsigned)h->major,
                         KPD__FORMAT, h->major < KPD__FORMAT ? ": make it anew" : "");
    if (!h->kind || h->kind >= KPD_FILE_KIND_COUNT)
        return kpd__fail(e, KPD_ERR_FORMAT, 12, "%s: is of kind %u, expected 1 to %d", path, (unsigned)h->kind,
                         KPD_FILE_KIND_COUNT - 1);
    return KPD_OK;
}

static kpd_status kpd__header_check(const kpd__file *f, kpd_file_kind kind, const char *path, kpd_error *e) {
    const kpd__header *h = kpd__file_header(f);
    kpd_status s = kpd__header_known(f, path, e);
    if (s) return s;
    if (h->order != 0x01020304) return kpd__fail(e, KPD_ERR_FORMAT, 16, "%s: is not little-endian", path);
    if (h->features)
        return kpd__fail(e, KPD_ERR_UNSUPPORTED, 20, "%s: needs unknown features %08X", path, (unsigned)h->features);
    if (h->kind != (uint32_t)kind)
        return kpd__fail(e, KPD_ERR_FORMAT, 12, "%s: is of kind %s, expected %s", path,
                         kpd_file_kind_name((kpd_file_kind)h->kind), kpd_file_kind_name(kind));
    if (h->size != f->size)
        return kpd__fail(e, KPD_ERR_FORMAT, 24, "%s: has %llu bytes, its header says %llu", path, (unsigned long long)f->size,
                         (unsigned long long)h->size);
    if (h->n_sections > KPD__MAX_SECTIONS || h->n_sections > (f->size - 64) / 128)
        return kpd__fail(e, KPD_ERR_FORMAT, 32, "%s: says it has %u sections, more than fit", path, (unsigned)h->n_sections);
    return KPD_OK;
}

KPDDEF kpd_status kpd_file_kind_of(const char *path, kpd_file_kind *out, kpd_error *e) {
    kpd__file f;
    kpd_status s = kpd__file_open(path, NULL, &f, e);
    if (s) return s;
    s = kpd__header_known(&f, path, e);
    if (!s) *out = (kpd_file_kind)kpd__file_header(&f)->kind;
    kpd__file_close(&f);
    return kpd__end(s, e);
}

// Every section inside the file, in order, aligned, with a terminated name; small ones with the right sum.
static kpd_status kpd__table_check(const kpd__file *f, const char *path, kpd_error *e) {
    const kpd__header *h = kpd__file_header(f);
    const kpd__section *s = kpd__file_table(f);
    uint64_t end = 64 + (uint64_t)h->n_sections * 128;
    if (h->table_sum != kpd__hash64(s, (size_t)h->n_sections * 128))
        return kpd__fail(e, KPD_ERR_FORMAT, 40, "%s: the section table's checksum is wrong", path);
    for (uint32_t i = 0; i < h->n_sections; i++, s++) {
        int64_t where = 64 + (int64_t)i * 128;
        if (s->name[63]) return kpd__fail(e, KPD_ERR_FORMAT, where, "%s: section %u has a name without end", path, (unsigned)i);
        if (s->offset % 64 || s->offset < end || s->offset > f->size || s->size > f->size - s->offset)
            return kpd__fail(e, KPD_ERR_FORMAT, where + 96,
                             "%s: section %.*s (offset %llu, size %llu) is not aligned, ordered and inside the file's %llu "
                             "bytes",
                             path, KPD__SHOWN(s->name, 60), (unsigned long long)s->offset, (unsigned long long)s->size,
                             (unsigned long long)f->size);
        if (s->flags & KPD__SUMMED && s->sum != kpd__hash64(f->data + s->offset, (size_t)s->size))
            return kpd__fail(e, KPD_ERR_FORMAT, (int64_t)s->offset, "%s: section %.*s: the checksum is wrong", path,
                             KPD__SHOWN(s->name, 60));
        end = s->offset + s->size;
    }
    return KPD_OK;
}

static size_t kpd__not_finite(const float *v, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (!kpd__finite(v[i])) return i;
    return n;
}

// The first value of a payload of weights that no weight can have, or a number past the end; *unit = bytes of a value.
static size_t kpd__bad_value(uint32_t type, const uint8_t *p, size_t size, size_t *unit) {
    size_t i = 0;
    *unit = type == KPD__INT8_PANELS ? 1 : type == KPD__BF16 || type == KPD__BF16_PANELS ? 2 : 4;
    if (type == KPD__F32 || type == KPD__F32_PANELS) return kpd__not_finite((const float *)(const void *)p, size / 4);
    if (*unit == 1) while (i < size && p[i] != 0x80) i++;
    else if (*unit == 2) while (i < size / 2 && (((const uint16_t *)(const void *)p)[i] & 0x7F80) != 0x7F80) i++;
    else return size;
    return i;
}

// A section's payload has the sum that stands in its entry, if one does, and no value that no weight can have. *sum = its sum.
static kpd_status kpd__payload_check(const kpd__section *s, const void *data, bool summed, uint64_t *sum, const char *path,
                                     kpd_error *e) {
    size_t unit, bad;
    *sum = kpd__hash64(data, (size_t)s->size);
    if (summed && s->sum != *sum)
        return kpd__fail(e, KPD_ERR_FORMAT, (int64_t)s->offset, "%s: section %.*s: the checksum is wrong", path,
                         KPD__SHOWN(s->name, 60));
    bad = kpd__bad_value(s->type, (const uint8_t *)data, (size_t)s->size, &unit);
    if (bad < s->size / unit)
        return kpd__fail(e, KPD_ERR_FORMAT, (int64_t)(s->offset + bad * unit), "%s: section %.*s: value %llu is not %s", path,
                         KPD__SHOWN(s->name, 60), (unsigned long long)bad, unit == 1 ? "in -127..127" : "finite");
    return KPD_OK;
}

// Every byte: all sums, zeros between the sections, all weights possible.
static kpd_status kpd__file_verify(const kpd__file *f, const char *path, kpd_error *e) {
    const kpd__section *s = kpd__file_table(f);
    uint32_t n = kpd__file_header(f)->n_sections;
    size_t at = 64 + (size_t)n * 128;
    for (uint32_t i = 0; i <= n; i++) {
        size_t next = i < n ? (size_t)s[i].offset : f->size;
        uint64_t sum;
        kpd_status status;
        for (; at < next; at++)
            if (f->data[at])
                return kpd__fail(e, KPD_ERR_FORMAT, (int64_t)at, "%s: byte %llu between sections is not zero", path,
                                 (unsigned long long)at);
        if (i == n) break;
        status = kpd__payload_check(&s[i], f->data + next, f->summed, &sum, path, e);
        if (status) return status;
        at = next + (size_t)s[i].size;
    }
    return KPD_OK;
}

// Before the first kpd__file_find.
static kpd_status kpd__file_order(kpd__file *f, kpd_error *e) {
    size_t n = kpd__file_header(f)->n_sections;
    if (!n) return KPD_OK;
    f->sections.order = (uint32_t *)kpd__alloc(&f->allocator, n * sizeof *f->sections.order);
    if (!f->sections.order) return kpd__no_memory(e, n * sizeof *f->sections.order);
    f->sections.first = kpd__file_table(f)->name; f->sections.stride = sizeof(kpd__section); f->sections.n = n;
    kpd__names_sort(&f->sections);
    return KPD_OK;
}

static kpd_status kpd__file_check(kpd__file *f, kpd_file_kind kind, bool verify, const char *path, kpd_error *e) {
    kpd_status s = kpd__header_check(f, kind, path, e);
    if (!s) s = kpd__table_check(f, path, e);
    f->summed = true;
    if (!s && verify) s = kpd__file_verify(f, path, e);
    if (!s) s = kpd__file_order(f, e);
    return s;
}

// The first section of that name, or NULL. Whoever reads a file asks once for each name it knows; what is required and was
// never asked for is then what kpd__file_unknown refuses. That it counts all of a name lets the first count.
static const kpd__section *kpd__file_find(kpd__file *f, const char *name) {
    size_t at = kpd__names_find(&f->sections, name), first = at;
    for (; at < f->sections.n && !strcmp(kpd__name_at(&f->sections, at), name); at++)
        f->n_required_found += kpd__file_table(f)[f->sections.order[at]].flags & KPD__REQUIRED;
    return at > first ? &kpd__file_table(f)[f->sections.order[first]] : NULL;
}

static kpd_status kpd__file_unknown(const kpd__file *f, const char *path, kpd_error *e) {
    uint32_t required = 0;
    for (uint32_t i = 0; i < kpd__file_header(f)->n_sections; i++) required += kpd__file_table(f)[i].flags & KPD__REQUIRED;
    if (required == f->n_required_found) return KPD_OK;
    return kpd__fail(e, KPD_ERR_UNSUPPORTED, 64, "%s: has %u required sections that this version does not know", path,
                     (unsigned)(required - f->n_required_found));
}

// Bytes of a payload by type and shape; false when that overflows.
static bool kpd__payload_size(uint32_t type, const uint64_t shape[3], size_t *size) {
    size_t n, k = 1,
              unit = type == KPD__U8 || type == KPD__INT8_PANELS     ? 1
                     : type == KPD__I64                              ? 8
                     : type == KPD__BF16 || type == KPD__BF16_PANELS ? 2
                                                                     : 4;
    size_t k_unit = type == KPD__BF16_PANELS ? 32 : type == KPD__INT8_PANELS ? 64 : 1;
    bool joined = shape[2] > 1, panels = type >= KPD__F32_PANELS;
    if ((shape[0] | shape[1] | shape[2]) >> 48) return false;
    n = (size_t)(panels && joined ? shape[1] : shape[0]);
    k = (size_t)(panels && joined ? shape[2] : shape[1]);
    if (panels) { n = kpd__round_up(n, 16); k = kpd__round_up(k, k_unit); }
    if (!kpd__mul_ok(n, k, size) || !kpd__mul_ok(*size, unit, size)) return false;
    if (panels && joined) return kpd__mul_ok(*size, (size_t)shape[0], size);
    return kpd__mul_ok(*size, panels ? 1 : (size_t)shape[2], size);
}

static void kpd__section_set(kpd__section *s, const char *name, uint32_t type, uint32_t flags, uint64_t rows, uint64_t cols,
                             size_t size) {
    memset(s, 0, sizeof *s);
    memcpy(s->name, name, kpd__min(strlen(name), sizeof s->name - 1));
    s->type = type; s->flags = flags;
    s->shape[0] = rows; s->shape[1] = cols; s->shape[2] = 1;
    s->size = size;
}

// Offsets of the sections; returns the size of the file.
static uint64_t kpd__parts_place(kpd__section *s, size_t n) {
    uint64_t at = 64 + (uint64_t)n * 128;
    for (size_t i = 0; i < n; i++) {
        at = (at + 63) / 64 * 64;
        s[i].offset = at;
        at += s[i].size;
    }
    return at;
}

static void kpd__header_make(kpd__header *h, uint32_t kind, const kpd__section *table, size_t n, uint64_t size) {
    memset(h, 0, sizeof *h);
    memcpy(h->magic, kpd__magic, 8);
    h->major = KPD__FORMAT; h->kind = kind; h->order = 0x01020304;
    h->size = size;
    h->n_sections = (uint32_t)n;
    h->table_sum = kpd__hash64(table, n * 128);
    h->sum = kpd__hash64(h, 56);
}

// What is written, where to: a file beside the target, renamed over it when whole.
typedef struct kpd__sink { const char *path; kpd_write_t *write; void *user; } kpd__sink;    // a path, or the host's
typedef struct kpd__writer { int fd; FILE *out; const kpd__sink *host; bool failed; } kpd__writer;

static void kpd__write(kpd__writer *w, const void *data, size_t size) {
    const uint8_t *p = (const uint8_t *)data;
    if (w->host) {
        w->failed = w->failed || (size && !w->host->write(w->host->user, data, size));
        return;
    }
#ifdef KPD__POSIX
    while (size && !w->failed) {
        ssize_t put = write(w->fd, p, kpd__min(size, (size_t)1 << 30));
        if (put < 0 && errno == EINTR) continue;
        if (put <= 0) { w->failed = true; break; }
        p += put;
        size -= (size_t)put;
    }
#else
    if (size && fwrite(p, 1, size, w->out) != size) w->failed = true;
#endif
}

// What a save to `path` replaces: not a link, but what it leads to. False where that is too long, or leads nowhere.
static bool kpd__target(const char *path, char out[KPD__MAX_PATH]) {
    size_t n = path ? strlen(path) : 0;
    if (!n || n >= KPD__MAX_PATH) return false;
    memcpy(out, path, n + 1);
#ifdef KPD__READLINK
    for (int i = 0; i < 40; i++) {
        char link[KPD__MAX_PATH];
        const char *slash = strrchr(out, '/');
        ssize_t size = readlink(out, link, sizeof link - 1);
        size_t folder = slash && link[0] != '/' ? (size_t)(slash + 1 - out) : 0;
        if (size < 0) return true;      // no link; whether it is there at all is seen later
        if (folder + (size_t)size >= KPD__MAX_PATH) return false;
        memcpy(out + folder, link, (size_t)size);
        out[folder + (size_t)size] = 0;
    }
    return false;
#else
    return true;
#endif
}

// A new file beside the target, of the same permissions: never one that is there already, which may be another writer's.
static kpd_status kpd__writer_open(kpd__writer *w, const char *target, char temporary[KPD__MAX_PATH + 16], kpd_error *e) {
    memset(w, 0, sizeof *w);
#ifdef KPD__POSIX
    struct stat old;
    bool there = !stat(target, &old);
    if (there && !S_ISREG(old.st_mode))
        return kpd__fail(e, KPD_ERR_IO, -1, "%s: is not a regular file, and is not replaced", kpd__file_label(target));
    for (int i = 0; i < 10000; i++) {
        snprintf(temporary, KPD__MAX_PATH + 16, "%s.%d.tmp", target, i);
        w->fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, there ? old.st_mode & 0777 : 0666);
        if (w->fd >= 0 || errno != EEXIST) break;
    }
    if (w->fd < 0) return kpd__io(e, "cannot be created", temporary);
    if (there && chmod(temporary, old.st_mode & 0777)) w->failed = true;   // what the process's mask took away
#else
    snprintf(temporary, KPD__MAX_PATH + 16, "%s.tmp", target);
    w->out = KPD__FOPEN(temporary, "wb");
    if (!w->out) return kpd__io(e, "cannot be created", temporary);
#endif
    return KPD_OK;
}

static void kpd__writer_close(kpd__writer *w) {
#ifdef KPD__POSIX
    if (fsync(w->fd)) w->failed = true;   // on the disk before it takes the old file's place
    if (close(w->fd)) w->failed = true;
#else
    if (!kpd__flush(w->out)) w->failed = true;
    if (fclose(w->out)) w->failed = true;
#endif
}

static void kpd__write_parts(kpd__writer *w, const kpd__header *h, const kpd__section *table, const void *const *data,
                             size_t n) {
    static const uint8_t zeros[64] = {0};
    uint64_t at = 64 + (uint64_t)n * 128;
    kpd__write(w, h, 64);
    kpd__write(w, table, n * 128);
    for (size_t i = 0; i < n; i++) {
        kpd__write(w, zeros, (size_t)(table[i].offset - at));
        kpd__write(w, data[i], (size_t)table[i].size);
        at = table[i].offset + table[i].size;
    }
}

// Writes the file and puts it in the target's place.
static kpd_status kpd__file_replace(const char *target, const kpd__header *h, const kpd__section *table,
                                    const void *const *data, size_t n, kpd_error *e) {
    char temporary[KPD__MAX_PATH + 16];
    kpd__writer w;
    kpd_status s = kpd__writer_open(&w, target, temporary, e);
    if (s) return s;
    kpd__write_parts(&w, h, table, data, n);
    kpd__writer_close(&w);
    if (w.failed) {
        kpd__io(e, "cannot be written", temporary);
        kpd__remove(temporary);
        return KPD_ERR_IO;
    }
    if (kpd__rename(temporary, target)) return KPD_OK;
    kpd__io(e, "cannot be replaced", target);
    kpd__remove(temporary);
    return KPD_ERR_IO;
}

static kpd_status kpd__file_send(const kpd__sink *to, const kpd__header *h, const kpd__section *table, const void *const *data,
                                 size_t n, kpd_error *e) {
    kpd__writer w;
    memset(&w, 0, sizeof w);
    w.host = to;
    kpd__write_parts(&w, h, table, data, n);
    return w.failed ? kpd__fail(e, KPD_ERR_IO, -1, "write: the host's callback took no more") : KPD_OK;
}

// Writes a whole file: the n sections of table, payloads data[i]. Fills offsets and sums into the table; a sum that is there
// already, not zero, is a file's, and must be the payload's: what is corrupt would else get a sum that says it is not.
static kpd_status kpd__file_save(const kpd__sink *to, uint32_t kind, kpd__section *table, const void *const *data, size_t n,
                                 kpd_error *e) {
    char target[KPD__MAX_PATH];
    kpd__header h;
    uint64_t size;
    if (!to->write && !kpd__target(to->path, target))
        return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "save: the path is missing, too long, or a link that leads to itself");
    for (size_t i = 0; i < n; i++) {
        uint64_t sum;
        kpd_status s = kpd__payload_check(&table[i], data[i], table[i].sum != 0, &sum, "save", e);
        if (s) return s;
        table[i].sum = sum;
    }
    size = kpd__parts_place(table, n);
    kpd__header_make(&h, kind, table, n, size);
    return to->write ? kpd__file_send(to, &h, table, data, n, e) : kpd__file_replace(target, &h, table, data, n, e);
}

// >>model  Architecture, templates and weights over one file image. A created model *is* an image with zero weights, so that
// creating, opening and saving share one layout: kpd__plan_model lists the sections once, to count, to lay out and to bind.
// Relies on the file and the tokenizer. Promises that every pointer of an opened model lies inside its file.

#define KPD__MAX_PIECES 32

typedef struct kpd__template {          // literal text and placeholders, in order
    kpd__piece piece[KPD__MAX_PIECES];
    size_t n;
    int32_t n_parts, n_segments;
    uint32_t names;                     // bit i = part i is named
} kpd__template;

typedef struct kpd__layer { kpd__matrix qkv, out, up, down; kpd__norm norm1, norm2; } kpd__layer;
typedef struct kpd__encoder { kpd__embedding embedding; kpd__layer *layers; } kpd__encoder;
typedef struct kpd__tensor {   // one of f32, half and bytes; the last with scale, colsum and perhaps inscale
    char name[64];
    int32_t rows, cols;
    bool panels;
    const float *f32, *scale, *inscale;
    const uint16_t *half;
    const int8_t *bytes;
    const int32_t *colsum;
} kpd__tensor;

struct kpd_model {
    kpd_allocator allocator;
    size_t size;                        // of this allocation
    kpd__file file;
    bool writable;
    kpd_model_desc desc;
    kpd_tokenizer *tokenizer;
    kpd__template template_[3];         // item, keyphrase, pair
    kpd__encoder tower[2];              // the same twice unless separate
    kpd__matrix pooler, classifier, dense[4];
    kpd__norm norm[4];
    kpd__tensor *tensors;
    size_t n_tensors;
    kpd__names names;                   // of the tensors, in order
};

// The placeholder that begins at *p: its part, and *p behind it; -1 = none of these.
static int32_t kpd__placeholder(const char **p, int32_t role) {
    static const char *const names[3][3] = {{"{title}", "{category}", ""},
                                            {"{keyphrase}", "", ""},
                                            {"{keyphrase}", "{category}", "{title}"}};
    for (int32_t i = 0; i < 3; i++) {
        size_t n = strlen(names[role][i]);
        if (!n || strncmp(*p, names[role][i], n)) continue;
        *p += n;
        return i;
    }
    return -1;
}

// The special token whose placeholder begins at *p, in the order of kpd__special_default, and *p behind it; -1 = none.
static int kpd__role_placeholder(const char **p) {
    static const char *const names[5] = {"{unk}", "{cls}", "{sep}", "{pad}", "{mask}"};
    for (int i = 0; i < 5; i++) {
        size_t n = strlen(names[i]);
        if (strncmp(*p, names[i], n)) continue;
        *p += n;
        return i;
    }
    return -1;
}

static bool kpd__is_special(const kpd_tokenizer *t, kpd_text text) {
    for (int i = 0; i < t->n_special; i++)
        if (t->special[i].text.size == text.size && !memcmp(t->special[i].text.data, text.data, text.size)) return true;
    return false;
}

// Of the five usual spellings, one in text[0..n) that is plain text to this vocabulary; NULL = none.
static const char *kpd__misspelled(const kpd_tokenizer *t, const char *text, size_t n) {
    for (int i = 0; i < 5; i++) {
        kpd_text name;
        name.data = kpd__special_default(i); name.size = strlen(name.data);
        if (kpd__is_special(t, name)) continue;
        for (size_t at = 0; at + name.size <= n; at++)
            if (!memcmp(text + at, name.data, name.size)) return name.data;
    }
    return NULL;
}

// The text of a piece that is no part of the input: a special token (its number `token`), or literal text, which is there.
static kpd_status kpd__template_text(const kpd_tokenizer *t, int token, const char *template_, kpd_text *text, kpd_error *e) {
    kpd_tokenizer_desc d = t->desc;
    const char *wrong = token < 0 ? kpd__misspelled(t, text->data, text->size) : NULL;
    if (wrong)
        return kpd__fail(e, KPD_ERR_ARGUMENT, text->data - template_,
                         "template \"%.*s\": %s is no special token of this vocabulary; write {sep}, {cls}, {unk}, {mask} "
                         "or {pad}",
                         KPD__SHOWN(template_, 60), wrong);
    if (token < 0) return KPD_OK;
    text->data = *kpd__special_field(&d, token);
    text->size = strlen(text->data);
    if (kpd__is_special(t, *text)) return KPD_OK;
    return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "template \"%.*s\": names a special token that this vocabulary lacks, \"%.*s\"",
                     KPD__SHOWN(template_, 60), KPD__SHOWN(text->data, 60));
}

// Between pieces stands white space or |, so that no word runs over a border and pieces can be tokenized one by one.
static bool kpd__template_border(const char *text, const char *at) {
    return at == text || !*at || strchr(" |", at[-1]) || strchr(" |", *at);
}

static kpd_status kpd__template_parse(kpd__template *t, const kpd_tokenizer *tokenizer, const char *text, int32_t role,
                                      kpd_error *e) {
    static const char *const roles[3] = {"item", "keyphrase", "pair"};
    const char *p = text;
    memset(t, 0, sizeof *t);
    t->n_segments = 1;
    while (*p) {
        const char *begin = p;
        int32_t part;
        int token;
        kpd_status s;
        if (*p == '|' && t->n_segments == 1) { t->n_segments = 2; p++; continue; }
        part = *p == '{' ? kpd__placeholder(&p, role) : -1;
        token = part < 0 && *p == '{' ? kpd__role_placeholder(&p) : -1;
        if (part < 0 && token < 0) while (*p && *p != '{' && *p != '|') p++;
        if (p == begin || t->n == KPD__MAX_PIECES || !kpd__template_border(text, begin) || !kpd__template_border(text, p))
            return kpd__fail(e, KPD_ERR_ARGUMENT, begin - text,
                             "%s template \"%.*s\": byte %d is not a placeholder of this role between spaces, one |, or text "
                             "of at most %d pieces",
                             roles[role], KPD__SHOWN(text, 60), (int)(begin - text), KPD__MAX_PIECES);
        t->piece[t->n].text.data = begin;
        t->piece[t->n].text.size = (size_t)(p - begin);
        t->piece[t->n].segment = t->n_segments - 1;
        s = part < 0 ? kpd__template_text(tokenizer, token, text, &t->piece[t->n].text, e) : KPD_OK;
        if (s) return s;
        if (part >= 0) t->names |= 1u << part;
        if (part >= t->n_parts) t->n_parts = part + 1;
        t->piece[t->n++].part = part;
    }
    if (t->n_parts) return KPD_OK;
    return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "%s template \"%.*s\": has no placeholder", roles[role], KPD__SHOWN(text, 60));
}

// Whether a part has a token. An ASCII letter at its beginning always makes one, if only the unknown token.
static bool kpd__part_there(const kpd_tokenizer *t, const kpd_input *in, int32_t part) {
    kpd__piece piece;
    kpd_tokens none;
    if (part >= in->n_parts || !in->part[part].size) return false;
    piece.text = in->part[part]; piece.segment = 0; piece.part = part;
    if ((piece.text.data[0] | 32) >= 'a' && (piece.text.data[0] | 32) <= 'z') return true;
    memset(&none, 0, sizeof none);
    return kpd__segment(t, &piece, 1, 0, &none, 0, 0) > 0;
}

// Whether the template's segment has a placeholder, and a part for one.
static bool kpd__segment_there(const kpd__template *t, uint32_t there, int32_t segment) {
    bool names = false;
    for (size_t i = 0; i < t->n; i++) {
        if (t->piece[i].segment != segment || t->piece[i].part < 0) continue;
        if (there >> t->piece[i].part & 1) return true;
        names = true;
    }
    return !names;
}

// Whether behind piece i its segment names another part.
static bool kpd__placeholder_follows(const kpd__template *t, size_t i) {
    int32_t segment = t->piece[i].segment;
    while (++i < t->n && t->piece[i].segment == segment)
        if (t->piece[i].part >= 0) return true;
    return false;
}

// The pieces of one input, of which the parts in `there` have tokens. Text waits until it is known what it joins: in front of
// a segment's first placeholder, nothing; between two, both; behind the last, that one.
static size_t kpd__template_fill(const kpd__template *t, const kpd_input *in, uint32_t there, kpd__piece *out) {
    size_t n = 0, placeholders = 0;
    bool before = false, last = false;      // of the segment: a part, and that of the last placeholder
    const kpd__piece *text = NULL;          // that waits, from here to the next placeholder
    for (size_t i = 0; i < t->n; i++) {
        const kpd__piece *x = &t->piece[i];
        if (i && x->segment != x[-1].segment) { placeholders = 0; before = last = false; text = NULL; }
        if (x->segment && !kpd__segment_there(t, there, x->segment)) break;
        if (x->part < 0) {
            if (!placeholders || (last && !kpd__placeholder_follows(t, i))) out[n++] = *x;
            else if (!text) text = x;
            continue;
        }
        placeholders++;
        last = (there >> x->part & 1) != 0;
        for (; last && before && text && text < x; text++) out[n++] = *text;
        text = NULL;
        if (!last) continue;
        out[n] = *x;
        out[n++].text = in->part[x->part];
        before = true;
    }
    return n;
}

// role: 0 item, 1 keyphrase, 2 pair.
static int32_t kpd__role(const kpd_model *m, kpd_tower tower) {
    return m->desc.kind == KPD_CROSS_ENCODER ? 2 : tower == KPD_KEYPHRASE ? 1 : 0;
}

KPDDEF void kpd_model_input(const kpd_model *m, kpd_tower tower, const kpd_row *row, kpd_input *out) {
    int32_t role = kpd__role(m, tower);
    const kpd__template *t = &m->template_[role];
    kpd_text part[3][3];                    // as kpd__placeholder names them
    memset(part, 0, sizeof part);
    memset(out, 0, sizeof *out);
    part[0][0] = row->title; part[0][1] = row->category;
    part[1][0] = row->keyphrase;
    part[2][0] = row->keyphrase; part[2][1] = row->category; part[2][2] = row->title;
    for (int i = 0; i < 3; i++)             // no further part has a name
        if (t->names >> i & 1) out->part[i] = part[role][i];
    out->n_parts = t->n_parts;
}

static kpd_status kpd__model_encode(const kpd_model *m, int32_t role, const kpd_input *in, bool no_special, kpd_tokens *out,
                                    int64_t where, kpd_error *e) {
    const kpd__template *t = &m->template_[role];
    kpd__piece pieces[KPD__MAX_PIECES];
    size_t n;
    uint32_t there = 0;
    if (in->n_parts < 1 || in->n_parts > t->n_parts)
        return kpd__fail(e, KPD_ERR_INPUT, where, "input %lld has %d parts, expected 1 to %d", (long long)where,
                         (int)in->n_parts, (int)t->n_parts);
    for (int32_t i = 0; i < in->n_parts; i++)
        if (!in->part[i].data && in->part[i].size)
            return kpd__fail(e, KPD_ERR_INPUT, where, "input %lld: part %d has a size but no data", (long long)where,
                             (int)i);
    for (int32_t i = 0; i < t->n_parts; i++)
        if (t->names >> i & 1 && kpd__part_there(m->tokenizer, in, i)) there |= 1u << i;
    n = kpd__template_fill(t, in, there, pieces);
    return kpd__encode(m->tokenizer, pieces, n, m->desc.max_tokens, no_special, out, e);
}

KPDDEF kpd_status kpd_model_tokenize(const kpd_model *m, kpd_tower tower, const kpd_input *in, bool no_special, kpd_tokens *out,
                                     kpd_error *e) {
    return kpd__end(kpd__model_encode(m, kpd__role(m, tower), in, no_special, out, 0, e), e);
}

static kpd_status kpd__range(kpd_error *e, const char *what, int64_t v, int64_t low, int64_t high) {
    if (v >= low && v <= high) return KPD_OK;
    return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "%s is %lld, expected %lld to %lld", what, (long long)v, (long long)low,
                     (long long)high);
}

static void kpd__default(int32_t *v, int32_t value) { if (!*v) *v = value; }

static void kpd__model_defaults(kpd_model_desc *d) {
    if (!d->dtype) d->dtype = KPD_F32;
    if (d->width > 0 && d->width <= KPD_MAX_WIDTH) kpd__default(&d->ffn_width, 4 * d->width);
    kpd__default(&d->vocab_size, kpd_tokenizer_size(d->tokenizer));
    kpd__default(&d->n_positions, 512);
    kpd__default(&d->max_tokens, d->n_positions);
    kpd__default(&d->n_types, 2);
    kpd__default(&d->n_labels, 1);
    if (d->layer_norm_eps == 0) d->layer_norm_eps = 1e-12f;
    if (!d->template_item) d->template_item = "{title} {sep} {category}";
    if (!d->template_keyphrase) d->template_keyphrase = "{keyphrase}";
    if (!d->template_pair) d->template_pair = "{keyphrase} {sep} {category} {sep} {title}";
}

// Numbers that are to be enums, not yet converted: a file's may be anything, which C++ lets no enum hold.
static kpd_status kpd__enums_check(int kind, int architecture, int activation, int pooling, int dtype, kpd_error *e) {
    if (kpd__range(e, "model: kind", kind, 0, KPD_CROSS_ENCODER) ||
        kpd__range(e, "model: architecture", architecture, 0, KPD_ARCHITECTURE_COUNT - 1) ||
        kpd__range(e, "model: activation", activation, 0, KPD_TANH) ||
        kpd__range(e, "model: pooling", pooling, 0, KPD_POOL_LAST) || kpd__range(e, "model: dtype", dtype, KPD_F32, KPD_INT8))
        return KPD_ERR_ARGUMENT;
    return KPD_OK;
}

static kpd_status kpd__module_check(int kind, int32_t width, int activation, kpd_error *e) {
    if (kpd__range(e, "model: modules[].kind", kind, KPD_MODULE_DENSE, KPD_MODULE_LAYER_NORM) ||
        kpd__range(e, "model: modules[].width", width, 1, KPD_MAX_WIDTH) ||
        kpd__range(e, "model: modules[].activation", activation, 0, KPD_IDENTITY))
        return KPD_ERR_ARGUMENT;
    return KPD_OK;
}

static kpd_status kpd__modules_check(const kpd_model_desc *d, kpd_error *e) {
    int32_t width = d->width;
    for (int32_t i = 0; i < d->n_modules; i++) {
        const kpd_module *m = &d->modules[i];
        if (kpd__module_check((int)m->kind, m->width, (int)m->activation, e)) return KPD_ERR_ARGUMENT;
        if (m->kind == KPD_MODULE_LAYER_NORM && m->width != width)
            return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "model: modules[%d] is a layer norm of width %d behind a width of %d",
                             (int)i, (int)m->width, (int)width);
        width = m->width;
    }
    return KPD_OK;
}

// D: columns before any cut.
static int32_t kpd__full_dim(const kpd_model_desc *d) { return d->n_modules ? d->modules[d->n_modules - 1].width : d->width; }

// d with its defaults filled in.
static kpd_status kpd__model_check(const kpd_model_desc *d, kpd_error *e) {
    if (kpd__enums_check((int)d->kind, (int)d->architecture, (int)d->activation, (int)d->pooling, (int)d->dtype, e) ||
        kpd__range(e, "model: n_layers", d->n_layers, 1, KPD_MAX_LAYERS) ||
        kpd__range(e, "model: width", d->width, 2, KPD_MAX_WIDTH) || kpd__range(e, "model: n_heads", d->n_heads, 1, d->width) ||
        kpd__range(e, "model: width modulo n_heads", d->width % d->n_heads, 0, 0) ||
        kpd__range(e, "model: ffn_width", d->ffn_width, 1, KPD_MAX_WIDTH) ||
        kpd__range(e, "model: n_positions", d->n_positions, 4, KPD_MAX_POSITIONS) ||
        kpd__range(e, "model: max_tokens", d->max_tokens, 4, d->n_positions) ||
        kpd__range(e, "model: n_types", d->n_types, 1, 16) ||
        kpd__range(e, "model: n_labels", d->n_labels, 1, KPD_MAX_LABELS) ||
        kpd__range(e, "model: n_modules", d->n_modules, 0, 4) ||
        kpd__range(e, "model: vocab_size", d->vocab_size, kpd_tokenizer_size(d->tokenizer), KPD_MAX_VOCAB))
        return KPD_ERR_ARGUMENT;
    if (!(d->layer_norm_eps > 0 && d->layer_norm_eps < 1))
        return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "model: layer_norm_eps is %g, expected over 0 and under 1",
                         (double)d->layer_norm_eps);
    if (d->kind == KPD_CROSS_ENCODER && (d->separate_towers || d->n_modules || d->mlm_head))
        return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "model: a cross-encoder has neither separate towers, modules nor mlm_head");
    if (kpd__range(e, "model: arithmetic", d->arithmetic, 0, d->dtype == KPD_INT8 ? KPD_OFFSET_HIDDEN | KPD_WIDE_QKV : 0))
        return KPD_ERR_ARGUMENT;
    if (kpd__modules_check(d, e)) return KPD_ERR_ARGUMENT;
    if (d->kind == KPD_CROSS_ENCODER && (d->truncate_dim || d->similarity))
        return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "model: a cross-encoder has neither truncate_dim nor similarity");
    if (kpd__range(e, "model: truncate_dim", d->truncate_dim, 0, kpd__full_dim(d)) ||
        kpd__range(e, "model: similarity", (int)d->similarity, 0, KPD_METRIC_COUNT - 1))
        return KPD_ERR_ARGUMENT;
    return KPD_OK;
}

// The config section: see >>format.
enum { KPD__CONFIG = 64 };

static void kpd__config_write(const kpd_model_desc *d, int32_t *c) {
    const kpd_tokenizer_desc *t = &d->tokenizer->desc;
    c[0] = (int32_t)d->kind;
    c[1] = d->separate_towers;
    c[2] = d->n_layers;
    c[3] = d->width;
    c[4] = d->n_heads;
    c[5] = d->ffn_width;
    c[6] = d->vocab_size;
    c[7] = d->n_positions; c[8] = d->n_types; c[9] = d->n_labels; c[10] = (int32_t)d->activation; c[11] = (int32_t)d->pooling;
    memcpy(&c[12], &d->layer_norm_eps, 4);
    c[13] = d->max_tokens; c[15] = d->n_modules;
    c[14] = (d->no_normalize ? 1 : 0) | (int32_t)d->similarity << 1 | d->truncate_dim << 8;
    for (int32_t i = 0; i < d->n_modules; i++) {
        c[16 + 3 * i] = (int32_t)d->modules[i].kind;
        c[17 + 3 * i] = d->modules[i].width;
        c[18 + 3 * i] = (int32_t)d->modules[i].activation | (d->modules[i].no_bias ? 256 : 0);
    }
    c[28] = (t->cased ? 1 : 0) | (t->keep_cjk_joined ? 2 : 0) | (t->strip_accents + 1) << 2;
    c[29] = (int32_t)d->dtype;
    c[30] = d->arithmetic;
    c[31] = (int32_t)d->architecture; c[32] = (int32_t)t->kind;
    memcpy(&c[33], &d->converted_from, 8);
}

// n slots, of which this version knows the bits `known`. What else is set means something to a later one.
static kpd_status kpd__slots_check(const int32_t *c, const uint32_t *known, size_t n_known, size_t n, int64_t where,
                                   const char *path, kpd_error *e) {
    for (size_t i = 0; i < n; i++)
        if ((uint32_t)c[i] & ~(i < n_known ? known[i] : 0))
            return kpd__fail(e, KPD_ERR_UNSUPPORTED, where + 4 * (int64_t)i,
                             "%s: config: number %llu is %d, in which this version does not know a bit", path,
                             (unsigned long long)i, (int)c[i]);
    return KPD_OK;
}

// The bits of each slot that have a meaning, where the model has n_modules.
static void kpd__config_known(int32_t n_modules, uint32_t known[KPD__CONFIG]) {
    for (int32_t i = 0; i < KPD__CONFIG; i++)
        known[i] = i < 16 || (i < 28 && (i - 16) / 3 < n_modules) || i == 29 || i == 33 || i == 34 ? UINT32_MAX : 0;
    known[1] = 1;
    known[14] = 0x7FFFFF07;
    for (int32_t i = 18; i < 28; i += 3) known[i] &= 0x1FF;
    known[28] = 0xF; known[30] = KPD_OFFSET_HIDDEN | KPD_WIDE_QKV;
}

static kpd_status kpd__config_read(const int32_t *c, kpd_model_desc *d, kpd_tokenizer_desc *t, kpd_error *e) {
    if (kpd__enums_check(c[0], c[31], c[10], c[11], c[29], e) || kpd__range(e, "model: n_modules", c[15], 0, 4) ||
        kpd__range(e, "model: strip_accents", c[28] >> 2 & 3, 0, 2) ||
        kpd__range(e, "model: similarity", c[14] >> 1 & 3, 0, KPD_METRIC_COUNT - 1))
        return KPD_ERR_ARGUMENT;
    d->architecture = (kpd_architecture)c[31]; t->kind = (kpd_tokenizer_kind)c[32];
    memcpy(&d->converted_from, &c[33], 8);
    d->kind = (kpd_kind)c[0];
    d->separate_towers = c[1] != 0;
    d->n_layers = c[2];
    d->width = c[3];
    d->n_heads = c[4];
    d->ffn_width = c[5];
    d->vocab_size = c[6]; d->n_positions = c[7]; d->n_types = c[8]; d->n_labels = c[9];
    d->activation = (kpd_activation)c[10]; d->pooling = (kpd_pooling)c[11];
    memcpy(&d->layer_norm_eps, &c[12], 4);
    d->max_tokens = c[13]; d->no_normalize = (c[14] & 1) != 0; d->n_modules = c[15];
    for (int32_t i = 0; i < d->n_modules; i++) {
        if (kpd__module_check(c[16 + 3 * i], c[17 + 3 * i], c[18 + 3 * i] & 255, e)) return KPD_ERR_ARGUMENT;
        d->modules[i].kind = (kpd_module_kind)c[16 + 3 * i];
        d->modules[i].width = c[17 + 3 * i];
        d->modules[i].activation = (kpd_activation)(c[18 + 3 * i] & 255);
        d->modules[i].no_bias = (c[18 + 3 * i] & 256) != 0;
    }
    t->cased = c[28] & 1; t->keep_cjk_joined = (c[28] & 2) != 0; t->strip_accents = (c[28] >> 2 & 3) - 1;
    d->similarity = (kpd_metric)(c[14] >> 1 & 3);
    d->truncate_dim = c[14] >> 8;
    d->dtype = (kpd_dtype)c[29];
    d->arithmetic = c[30];
    return KPD_OK;
}

// One walk over the sections of a model. table NULL counts; table set lays out; file set finds, checks and binds.
typedef struct kpd__plan {
    kpd__section *table;
    kpd__file *file; kpd_model *model;
    const char *path; kpd_error *e; kpd_status status;
    size_t n_sections, n_tensors;
} kpd__plan;

// The payload of the next section, when binding; NULL otherwise or on failure. rows, cols, depth = shape.
static const void *kpd__plan_section(kpd__plan *p, const char *name, uint32_t type, uint32_t flags, size_t rows, size_t cols,
                                     size_t depth) {
    const kpd__section *s;
    kpd__section want;
    size_t size;
    p->n_sections++;
    if (p->status || (!p->table && !p->file)) return NULL;
    kpd__section_set(&want, name, type, flags & KPD__IGNORABLE ? 0 : KPD__REQUIRED, rows, cols, 0);
    want.shape[2] = depth;
    if (!kpd__payload_size(type, want.shape, &size)) {
        p->status = kpd__fail(p->e, KPD_ERR_LIMIT, -1, "%s: section %s is too large", p->path, name);
        return NULL;
    }
    want.size = size;
    if (p->table) { p->table[p->n_sections - 1] = want; return NULL; }
    s = kpd__file_find(p->file, name);
    if (!s && flags & KPD__OPTIONAL) return NULL;
    if (!s) p->status = kpd__fail(p->e, KPD_ERR_FORMAT, 64, "%s: has no section %s", p->path, name);
    else if (s->type != type || memcmp(s->shape, want.shape, sizeof want.shape) || s->size != size)
        p->status = kpd__fail(
            p->e, KPD_ERR_FORMAT, (const char *)s - (const char *)p->file->data,
            "%s: section %s has type %u, shape %llu x %llu x %llu and %llu bytes, expected %u, %llu x %llu x %llu and %llu",
            p->path, name, (unsigned)s->type, (unsigned long long)s->shape[0], (unsigned long long)s->shape[1],
            (unsigned long long)s->shape[2], (unsigned long long)s->size, (unsigned)type, (unsigned long long)rows,
            (unsigned long long)cols, (unsigned long long)depth, (unsigned long long)size);
    return p->status ? NULL : p->file->data + s->offset;
}

static kpd__tensor kpd__tensor_f32(const float *data, bool panels) {
    kpd__tensor t;
    memset(&t, 0, sizeof t);
    t.f32 = data; t.panels = panels;
    return t;
}

// like: where and how its values lie.
static void kpd__plan_tensor(kpd__plan *p, const char *name, size_t rows, size_t cols, kpd__tensor like) {
    if (p->model && !p->status) {
        kpd__tensor *t = &p->model->tensors[p->n_tensors];
        *t = like;
        memcpy(t->name, name, strlen(name) + 1);
        t->rows = (int32_t)rows; t->cols = (int32_t)cols;
    }
    p->n_tensors++;
}

typedef struct kpd__name { char text[64]; } kpd__name;

// a, b and c in a row; the longest name of a model, "keyphrase.encoder.layer.255.attention.output.LayerNorm.weight", fits.
static kpd__name kpd__name_join(const char *a, const char *b, const char *c) {
    const char *part[3];
    kpd__name n;
    size_t at = 0;
    part[0] = a; part[1] = b; part[2] = c;
    for (int i = 0; i < 3; i++)
        for (const char *p = part[i]; *p && at + 1 < sizeof n.text; p++) n.text[at++] = *p;
    n.text[at] = 0;
    return n;
}

// A row-major table [rows, cols].
static void kpd__plan_rows(kpd__plan *p, kpd__table *table, kpd_dtype type, const char *prefix, const char *name, size_t rows,
                           size_t cols) {
    kpd__name full = kpd__name_join(prefix, name, "");
    const void *data = kpd__plan_section(p, full.text, type == KPD_F32 ? KPD__F32 : KPD__BF16, 0, rows, cols, 1);
    kpd__tensor t = kpd__tensor_f32(NULL, false);
    if (type == KPD_F32) t.f32 = table->f32 = (const float *)data;
    else t.half = table->half = (const uint16_t *)data;
    kpd__plan_tensor(p, full.text, rows, cols, t);
}

static void kpd__plan_vector(kpd__plan *p, const float **slot, const char *prefix, const char *name, size_t n) {
    kpd__name full = kpd__name_join(prefix, name, "");
    *slot = (const float *)kpd__plan_section(p, full.text, KPD__F32, 0, n, 1, 1);
    kpd__plan_tensor(p, full.text, 1, n, kpd__tensor_f32(*slot, false));
}

static void kpd__plan_norm(kpd__plan *p, kpd__norm *n, const char *prefix, const char *name, size_t width, float eps) {
    kpd__name weight = kpd__name_join(name, ".weight", ""), bias = kpd__name_join(name, ".bias", "");
    kpd__plan_vector(p, &n->gamma, prefix, weight.text, width);
    kpd__plan_vector(p, &n->beta, prefix, bias.text, width);
    n->eps = eps;
}

// The weights of a matrix of `parts` parts [n, k] that stand side by side, each padded to 16 rows, in the type asked for.
static void kpd__plan_weights(kpd__plan *p, kpd__matrix *m, kpd_dtype type, const char *name, size_t parts, size_t n,
                              size_t k) {
    static const uint32_t types[3] = {KPD__F32_PANELS, KPD__BF16_PANELS, KPD__INT8_PANELS};
    size_t padded = parts * kpd__round_up(n, 16);
    kpd__name full = kpd__name_join(name, ".weight", "");
    const void *data = parts == 1 ? kpd__plan_section(p, full.text, types[type - KPD_F32], 0, n, k, 1)
                                  : kpd__plan_section(p, full.text, types[type - KPD_F32], 0, parts, n, k);
    m->n = parts == 1 ? n : padded; m->k = k;
    if (type == KPD_F32) m->panels = (const float *)data;
    if (type == KPD_BF16) m->half = (const uint16_t *)data;
    if (type != KPD_INT8) return;
    m->bytes = (const int8_t *)data;
    full = kpd__name_join(name, ".scale", "");
    m->scale = (const float *)kpd__plan_section(p, full.text, KPD__F32, 0, padded, 1, 1);
    full = kpd__name_join(name, ".colsum", "");
    m->colsum = (const int32_t *)kpd__plan_section(p, full.text, KPD__I32, 0, padded, 1, 1);
    full = kpd__name_join(name, ".inscale", "");
    m->inscale = (const float *)kpd__plan_section(p, full.text, KPD__F32, KPD__OPTIONAL, kpd__round_up(k, 64), 1, 1);
}

// Rows from `row` on, a multiple of 16, of a matrix, as a tensor.
static kpd__tensor kpd__tensor_of(const kpd__matrix *m, size_t row) {
    const kpd__matrix part = kpd__columns(m, row, m->n - row);
    kpd__tensor t = kpd__tensor_f32(part.panels, true);
    t.half = part.half; t.bytes = part.bytes; t.scale = part.scale; t.colsum = part.colsum; t.inscale = part.inscale;
    return t;
}

static void kpd__plan_matrix(kpd__plan *p, kpd__matrix *m, kpd_dtype type, const char *prefix, const char *name, size_t n,
                             size_t k, bool bias, int f) {
    kpd__name base = kpd__name_join(prefix, name, ""), full = kpd__name_join(base.text, ".weight", "");
    kpd__plan_weights(p, m, type, base.text, 1, n, k);
    kpd__plan_tensor(p, full.text, n, k, kpd__tensor_of(m, 0));
    m->activation = f;
    if (!bias) return;
    full = kpd__name_join(base.text, ".bias", "");
    m->bias = (const float *)kpd__plan_section(p, full.text, KPD__F32, 0, kpd__round_up(n, 16), 1, 1);
    kpd__plan_tensor(p, full.text, 1, n, kpd__tensor_f32(m->bias, false));
}

// Query, key and value: one section of weights, one of biases, six tensors.
static void kpd__plan_qkv(kpd__plan *p, kpd__matrix *m, kpd_dtype type, const char *prefix, size_t width) {
    static const char *const names[3] = {"query", "key", "value"};
    size_t padded = kpd__round_up(width, 16);
    kpd__name self = kpd__name_join(prefix, "attention.self.", ""), full = kpd__name_join(self.text, "qkv", "");
    kpd__plan_weights(p, m, type, full.text, 3, width, width);
    full = kpd__name_join(self.text, "qkv.bias", "");
    m->bias = (const float *)kpd__plan_section(p, full.text, KPD__F32, 0, 3, padded, 1);
    for (size_t i = 0; i < 3; i++) {
        full = kpd__name_join(self.text, names[i], ".weight");
        kpd__plan_tensor(p, full.text, width, width, kpd__tensor_of(m, i * padded));
        full = kpd__name_join(self.text, names[i], ".bias");
        kpd__plan_tensor(p, full.text, 1, width, kpd__tensor_f32(m->bias ? m->bias + i * padded : NULL, false));
    }
    m->activation = KPD_IDENTITY;
}

static void kpd__plan_layer(kpd__plan *p, kpd__layer *l, const kpd_model_desc *d, const char *prefix) {
    size_t h = (size_t)d->width, f = (size_t)d->ffn_width;
    kpd__plan_qkv(p, &l->qkv, d->dtype, prefix, h);
    kpd__plan_matrix(p, &l->out, d->dtype, prefix, "attention.output.dense", h, h, true, KPD_IDENTITY);
    kpd__plan_norm(p, &l->norm1, prefix, "attention.output.LayerNorm", h, d->layer_norm_eps);
    kpd__plan_matrix(p, &l->up, d->dtype, prefix, "intermediate.dense", f, h, true,
                     d->dtype != KPD_F32 && d->activation == KPD_GELU ? KPD__SHORT_GELU : (int)d->activation);
    kpd__plan_matrix(p, &l->down, d->dtype, prefix, "output.dense", h, f, true, KPD_IDENTITY);
    if (d->arithmetic & KPD_WIDE_QKV) l->qkv.rounding = KPD__SIGNED_16;
    if (d->arithmetic & KPD_OFFSET_HIDDEN) l->down.rounding = KPD__OFFSET;
    kpd__plan_norm(p, &l->norm2, prefix, "output.LayerNorm", h, d->layer_norm_eps);
}

static void kpd__plan_encoder(kpd__plan *p, kpd__encoder *x, const kpd_model_desc *d, const char *prefix) {
    size_t h = (size_t)d->width;
    kpd__layer unused;
    kpd__name layer;
    char number[16];
    memset(&unused, 0, sizeof unused);
    kpd__plan_rows(p, &x->embedding.word, d->dtype, prefix, "embeddings.word_embeddings.weight", (size_t)d->vocab_size, h);
    kpd__plan_rows(p, &x->embedding.position, d->dtype, prefix, "embeddings.position_embeddings.weight", (size_t)d->n_positions,
                   h);
    kpd__plan_rows(p, &x->embedding.type, d->dtype, prefix, "embeddings.token_type_embeddings.weight", (size_t)d->n_types, h);
    kpd__plan_norm(p, &x->embedding.norm, prefix, "embeddings.LayerNorm", h, d->layer_norm_eps);
    x->embedding.width = h;
    for (int32_t i = 0; i < d->n_layers; i++) {
        snprintf(number, sizeof number, "%d.", (int)i);
        layer = kpd__name_join(prefix, "encoder.layer.", number);
        kpd__plan_layer(p, x->layers ? &x->layers[i] : &unused, d, layer.text);
    }
}

static void kpd__plan_modules(kpd__plan *p, kpd__matrix *dense, kpd__norm *norm, const kpd_model_desc *d) {
    size_t width = (size_t)d->width;
    char full[32];
    for (int32_t i = 0; i < d->n_modules; i++) {
        const kpd_module *m = &d->modules[i];
        snprintf(full, sizeof full, "modules.%d.", (int)i);
        if (m->kind == KPD_MODULE_DENSE)
            kpd__plan_matrix(p, &dense[i], KPD_F32, full, "linear", (size_t)m->width, width, !m->no_bias, (int)m->activation);
        else kpd__plan_norm(p, &norm[i], full, "norm", width, 1e-5f);
        width = (size_t)m->width;
    }
}

// A tensor that nothing here computes with, row-major: a vector where it has one row.
static void kpd__plan_kept(kpd__plan *p, const char *name, size_t rows, size_t cols) {
    const void *data = rows == 1 ? kpd__plan_section(p, name, KPD__F32, KPD__IGNORABLE, cols, 1, 1)
                                 : kpd__plan_section(p, name, KPD__F32, KPD__IGNORABLE, rows, cols, 1);
    kpd__plan_tensor(p, name, rows, cols, kpd__tensor_f32((const float *)data, false));
}

static void kpd__plan_mlm_head(kpd__plan *p, const kpd_model_desc *d) {
    size_t h = (size_t)d->width;
    kpd__plan_kept(p, "mlm.transform.weight", h, h);
    kpd__plan_kept(p, "mlm.transform.bias", 1, h);
    kpd__plan_kept(p, "mlm.norm.weight", 1, h);
    kpd__plan_kept(p, "mlm.norm.bias", 1, h);
    kpd__plan_kept(p, "mlm.bias", 1, (size_t)d->vocab_size);
}

// All sections of a model behind config, templates, special and vocab.
static void kpd__plan_model(kpd__plan *p, kpd_model *m, const kpd_model_desc *d) {
    kpd__plan_encoder(p, &m->tower[0], d, "");
    if (d->separate_towers) kpd__plan_encoder(p, &m->tower[1], d, "keyphrase.");
    else m->tower[1] = m->tower[0];
    if (d->mlm_head) kpd__plan_mlm_head(p, d);
    if (d->kind == KPD_BI_ENCODER) { kpd__plan_modules(p, m->dense, m->norm, d); return; }
    kpd__plan_matrix(p, &m->pooler, KPD_F32, "", "pooler.dense", (size_t)d->width, (size_t)d->width, true, KPD_TANH);
    kpd__plan_matrix(p, &m->classifier, KPD_F32, "", "classifier", (size_t)d->n_labels, (size_t)d->width, true, KPD_IDENTITY);
}

KPDDEF void kpd_model_destroy(kpd_model *m) {
    kpd_allocator a;
    if (!m) return;
    a = m->allocator;
    kpd_tokenizer_destroy(m->tokenizer);
    kpd__file_close(&m->file);
    kpd__free(&a, m, m->size);
}

// n zero-terminated strings that fill a section exactly.
static bool kpd__strings(const kpd__file *f, const kpd__section *s, const char **out, size_t n) {
    const char *p = s ? (const char *)f->data + s->offset : NULL, *end = s ? p + s->size : NULL;
    for (size_t i = 0; i < n; i++) {
        const char *zero = p == end ? NULL : (const char *)memchr(p, 0, (size_t)(end - p));
        if (!zero) return false;
        out[i] = p;
        p = zero + 1;
    }
    return p == end;
}

// Reads config, templates and special tokens, and makes the tokenizer over the file's vocabulary.
static kpd_status kpd__model_read(kpd_model *m, const char *path, kpd_error *e) {
    kpd_tokenizer_desc t;
    kpd_status s;
    const char *templates[3], *special[5];
    const kpd__section *config = kpd__file_find(&m->file, "config"),
                       *texts = kpd__file_find(&m->file, "templates");
    const kpd__section *tokens = kpd__file_find(&m->file, "special"), *vocab = kpd__file_find(&m->file, "vocab");
    const int32_t *c;
    uint32_t known[KPD__CONFIG];
    memset(&t, 0, sizeof t);
    if (!config || config->type != KPD__I32 || config->size < KPD__CONFIG * 4)
        return kpd__fail(e, KPD_ERR_FORMAT, 64, "%s: has no config of %d numbers", path, KPD__CONFIG);
    c = (const int32_t *)(const void *)(m->file.data + config->offset);
    kpd__config_known(c[15], known);
    s = kpd__slots_check(c, known, KPD__CONFIG, (size_t)config->size / 4, (int64_t)config->offset, path, e);
    if (s) return s;
    if (!kpd__strings(&m->file, texts, templates, 3))
        return kpd__fail(e, KPD_ERR_FORMAT, 64, "%s: section templates is not three strings", path);
    if (!kpd__strings(&m->file, tokens, special, 5))
        return kpd__fail(e, KPD_ERR_FORMAT, 64, "%s: section special is not five strings", path);
    if (!vocab) return kpd__fail(e, KPD_ERR_FORMAT, 64, "%s: has no section vocab", path);
    s = kpd__config_read(c, &m->desc, &t, e);
    if (s) return s;
    m->desc.mlm_head = m->desc.kind == KPD_BI_ENCODER && m->desc.dtype == KPD_F32 &&
                       kpd__file_find(&m->file, "mlm.transform.weight");
    m->desc.template_item = templates[0]; m->desc.template_keyphrase = templates[1]; m->desc.template_pair = templates[2];
    t.unk = special[0]; t.cls = special[1]; t.sep = special[2]; t.pad = special[3]; t.mask = special[4];
    t.vocab = (const char *)m->file.data + vocab->offset; t.vocab_size = (size_t)vocab->size;
    t.allocator = m->allocator;
    s = kpd__tokenizer_make(&t, true, &m->tokenizer, e);
    m->desc.tokenizer = m->tokenizer;
    return s;
}

static kpd_status kpd__model_templates(kpd_model *m, kpd_error *e) {
    const char *text[3];
    text[0] = m->desc.template_item; text[1] = m->desc.template_keyphrase; text[2] = m->desc.template_pair;
    for (int32_t i = 0; i < 3; i++) {
        kpd_status s = kpd__template_parse(&m->template_[i], m->tokenizer, text[i], i, e);
        if (s) return s;
        if (m->template_[i].n_segments > m->desc.n_types)
            return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "template \"%.*s\": has two segments, the model one token type",
                             KPD__SHOWN(text[i], 60));
    }
    return KPD_OK;
}

// Moves the model into an allocation with room for its layers and tensors behind it, and binds the sections.
static kpd_status kpd__model_bind(kpd_model **model, const char *path, kpd_error *e) {
    kpd_model *m = *model, scratch, *grown;
    kpd__plan p;
    size_t n_towers = m->desc.separate_towers ? 2 : 1, layers = n_towers * (size_t)m->desc.n_layers * sizeof(kpd__layer), size;
    memset(&p, 0, sizeof p);
    memset(&scratch, 0, sizeof scratch);
    kpd__plan_model(&p, &scratch, &m->desc);
    size = kpd__round_up(sizeof *m, 16) + kpd__round_up(layers, 16) + p.n_tensors * (sizeof(kpd__tensor) + sizeof(uint32_t));
    grown = (kpd_model *)kpd__alloc(&m->allocator, size);
    if (!grown) return kpd__no_memory(e, size);
    *grown = *m;
    grown->size = size;
    kpd__free(&m->allocator, m, m->size);
    *model = m = grown;
    m->tower[0].layers = (kpd__layer *)(void *)((char *)m + kpd__round_up(sizeof *m, 16));
    m->tower[1].layers = m->tower[0].layers + (m->desc.separate_towers ? m->desc.n_layers : 0);
    m->tensors = (kpd__tensor *)(void *)((char *)m + kpd__round_up(sizeof *m, 16) + kpd__round_up(layers, 16));
    m->n_tensors = p.n_tensors;
    memset(&p, 0, sizeof p);
    p.file = &m->file; p.model = m; p.path = path; p.e = e;
    kpd__plan_model(&p, m, &m->desc);
    if (p.status) return p.status;
    m->names.first = m->tensors->name; m->names.stride = sizeof *m->tensors; m->names.n = m->n_tensors;
    m->names.order = (uint32_t *)(void *)(m->tensors + m->n_tensors);
    kpd__names_sort(&m->names);
    return kpd__file_unknown(&m->file, path, e);
}

// Makes the model of a checked file, which it owns from here on, also on failure. Without weights it can do nothing but make
// inputs and tokens.
static kpd_status kpd__model_assemble(const kpd__file *f, bool weights, const char *path, kpd_model **out, kpd_error *e) {
    kpd_error own;
    kpd_status s;
    kpd_model *m = (kpd_model *)kpd__alloc(&f->allocator, sizeof *m);
    if (!e) e = &own;
    if (!m) {
        kpd__file file = *f;
        kpd__file_close(&file);
        return kpd__no_memory(e, sizeof *m);
    }
    m->allocator = f->allocator;
    m->size = sizeof *m;
    m->file = *f;
    s = kpd__model_read(m, path, e);
    m->desc.allocator = m->allocator;
    if (!s) s = kpd__model_check(&m->desc, e);
    if (!s) s = kpd__model_templates(m, e);
    if (!s && weights) s = kpd__model_bind(&m, path, e);
    if (s) { kpd_model_destroy(m); return s; }
    *out = m;
    return KPD_OK;
}

// What was wrong with an argument is here wrong with a file, which the message must name.
static kpd_status kpd__file_blame(kpd_status s, const char *path, kpd_error *e) {
    kpd_error name;
    if (!s || s == KPD_ERR_MEMORY) return s;
    if (s == KPD_ERR_ARGUMENT || s == KPD_ERR_INPUT || s == KPD_ERR_NOT_FOUND) e->status = s = KPD_ERR_FORMAT;
    kpd__fail(&name, s, -1, "%s: ", path);
    if (!strncmp(e->message, name.message, strlen(name.message))) return s;
    return kpd__fail(e, s, e->where, "%s%s", name.message, e->message);
}

static kpd_status kpd__model_open(const char *path, const kpd_open_desc *d, kpd_model **out, kpd_error *e) {
    kpd__file f;
    const char *name = kpd__file_label(path);
    kpd_error own;
    kpd_status s;
    if (!e) e = &own;
    s = kpd__file_open(path, d, &f, e);
    if (s) return s;
    s = kpd__file_check(&f, KPD_FILE_MODEL, d && (d->verify || d->copy), name, e);
    if (s) { kpd__file_close(&f); return s; }
    return kpd__file_blame(kpd__model_assemble(&f, true, name, out, e), name, e);
}
KPD__GUARDED(3, kpd_model_open, kpd__model_open, const char *, path, const kpd_open_desc *, d, kpd_model **, out)

// The four sections before the weights; with data, their payloads go into the image.
static void kpd__model_head(kpd__section *s, const kpd_model_desc *d, uint8_t *image) {
    const kpd_tokenizer_desc *t = &d->tokenizer->desc;
    const char *text[8];
    size_t sizes[2] = {0, 0};
    text[0] = d->template_item; text[1] = d->template_keyphrase; text[2] = d->template_pair;
    text[3] = t->unk; text[4] = t->cls; text[5] = t->sep; text[6] = t->pad; text[7] = t->mask;
    for (int i = 0; i < 8; i++) {
        size_t n = strlen(text[i]) + 1;
        if (image) memcpy(image + s[i < 3 ? 1 : 2].offset + sizes[i >= 3], text[i], n);
        sizes[i >= 3] += n;
    }
    if (image) {
        kpd__config_write(d, (int32_t *)(void *)(image + s[0].offset));
        memcpy(image + s[3].offset, t->vocab, t->vocab_size);
        return;
    }
    kpd__section_set(&s[0], "config", KPD__I32, KPD__REQUIRED | KPD__SUMMED, KPD__CONFIG, 1, KPD__CONFIG * 4);
    kpd__section_set(&s[1], "templates", KPD__U8, KPD__REQUIRED | KPD__SUMMED, sizes[0], 1, sizes[0]);
    kpd__section_set(&s[2], "special", KPD__U8, KPD__REQUIRED | KPD__SUMMED, sizes[1], 1, sizes[1]);
    kpd__section_set(&s[3], "vocab", KPD__U8, KPD__REQUIRED | KPD__SUMMED, t->vocab_size, 1, t->vocab_size);
}

// The image of a model with zero weights; with n = 4 sections, of one without any.
static kpd_status kpd__model_image(const kpd_model_desc *d, kpd__section *table, size_t n, const kpd_allocator *a, kpd__file *f,
                                   kpd_error *e) {
    kpd__plan p;
    kpd_model scratch;
    uint64_t size;
    uint8_t *image;
    kpd_status s;
    memset(&p, 0, sizeof p);
    memset(&scratch, 0, sizeof scratch);
    p.table = table + 4; p.path = "model"; p.e = e;
    kpd__model_head(table, d, NULL);
    if (n > 4) kpd__plan_model(&p, &scratch, d);
    if (p.status) return p.status;
    size = kpd__parts_place(table, n);
    if (size > SIZE_MAX / 2) return kpd__fail(e, KPD_ERR_LIMIT, -1, "model: its weights do not fit this machine's memory");
    image = kpd__file_create(f, (size_t)size, a);
    if (!image) return kpd__no_memory(e, (size_t)size);
    kpd__header_make((kpd__header *)(void *)image, KPD_FILE_MODEL, table, n, size);
    memcpy(image + 64, table, n * 128);
    kpd__model_head(table, d, image);
    s = kpd__file_order(f, e);
    if (s) kpd__file_close(f);
    return s;
}

// A model with zero weights of any type.
static kpd_status kpd__model_make(const kpd_model_desc *desc, kpd_model **out, kpd_error *e) {
    kpd_model_desc d = *desc;
    const kpd_allocator *a = &d.allocator;
    kpd__plan p;
    kpd_model scratch;
    kpd__section *table;
    kpd__file f;
    kpd_status s;
    if (!kpd__allocator_ok(a)) return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "allocator: has one function, expected both or none");
    kpd__model_defaults(&d);
    s = kpd__model_check(&d, e);
    if (s) return s;
    memset(&p, 0, sizeof p);
    memset(&scratch, 0, sizeof scratch);
    kpd__plan_model(&p, &scratch, &d);
    table = (kpd__section *)kpd__alloc(a, (p.n_sections + 4) * sizeof *table);
    if (!table) return kpd__no_memory(e, (p.n_sections + 4) * sizeof *table);
    s = kpd__model_image(&d, table, p.n_sections + 4, a, &f, e);
    kpd__free(a, table, (p.n_sections + 4) * sizeof *table);
    if (!s) s = kpd__model_assemble(&f, true, "model", out, e);
    return s;
}

static kpd_status kpd__model_create(const kpd_model_desc *d, kpd_model **out, kpd_error *e) {
    kpd_model_desc own;
    kpd_status s;
    if (d && kpd__desc_check("model", d->abi, d->reserved, e)) return KPD_ERR_ARGUMENT;
    if (!d || !d->tokenizer) return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "model: desc.tokenizer is missing");
    if (d->dtype > KPD_F32)
        return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "model: dtype is %d, expected f32; kpd_model_convert makes the others",
                         (int)d->dtype);
    own = *d;
    own.converted_from = 0;
    s = kpd__model_make(&own, out, e);
    if (!s) (*out)->writable = true;
    return s;
}
KPD__GUARDED(2, kpd_model_create, kpd__model_create, const kpd_model_desc *, d, kpd_model **, out)

static kpd_status kpd__model_put(const kpd_model *m, const kpd__sink *to, kpd_error *e) {
    size_t n = kpd__file_header(&m->file)->n_sections, size = n * (sizeof(kpd__section) + sizeof(void *));
    kpd__section *table = (kpd__section *)kpd__alloc(&m->allocator, size);
    const void **data;
    kpd_status s;
    if (!table) return kpd__no_memory(e, size);
    memcpy(table, kpd__file_table(&m->file), n * sizeof *table);
    data = (const void **)(void *)(table + n);
    for (size_t i = 0; i < n; i++) data[i] = m->file.data + table[i].offset;
    s = kpd__file_save(to, KPD_FILE_MODEL, table, data, n, e);
    kpd__free(&m->allocator, table, size);
    return s;
}

KPDDEF kpd_status kpd_model_save(const kpd_model *m, const char *path, kpd_error *e) {
    kpd__sink to = {path, NULL, NULL};
    return kpd__end(kpd__model_put(m, &to, e), e);
}

static kpd_status kpd__model_write(const kpd_model *m, kpd_write_t *write, void *user, kpd_error *e) {
    kpd__sink to = {NULL, write, user};
    return write ? kpd__model_put(m, &to, e) : kpd__fail(e, KPD_ERR_ARGUMENT, -1, "write: the callback is missing");
}
KPD__GUARDED(3, kpd_model_write, kpd__model_write, const kpd_model *, m, kpd_write_t *, write, void *, user)

KPDDEF kpd_status kpd_model_verify(const kpd_model *m, kpd_error *e) {
    return kpd__end(kpd__file_verify(&m->file, "model", e), e);
}

KPDDEF const kpd_model_desc *kpd_model_get_desc(const kpd_model *m) { return &m->desc; }
KPDDEF const kpd_tokenizer *kpd_model_tokenizer(const kpd_model *m) { return m->tokenizer; }
KPDDEF size_t kpd_model_size(const kpd_model *m) { return m->file.size; }

// See kpd_model_fingerprint; 0 where weights have no sums and are not to be read for it.
static uint64_t kpd__fingerprint(const kpd_model *m, kpd_tower tower, bool read) {
    const kpd__section *s = kpd__file_table(&m->file), *end = s + kpd__file_header(&m->file)->n_sections;
    struct { uint64_t so_far; char name[64]; uint64_t type, shape[3], sum; } x;
    memset(&x, 0, sizeof x);
    for (; s < end && !m->desc.converted_from; s++) {
        if (!(s->flags & KPD__REQUIRED)) continue;
        if (!s->sum && !read) return 0;
        memcpy(x.name, s->name, sizeof x.name);
        memcpy(x.shape, s->shape, sizeof x.shape);
        x.type = s->type; x.sum = s->sum ? s->sum : kpd__hash64(m->file.data + s->offset, (size_t)s->size);
        x.so_far = kpd__hash64(&x, sizeof x);
    }
    if (m->desc.converted_from) x.so_far = m->desc.converted_from;
    return x.so_far + (m->desc.separate_towers && tower == KPD_KEYPHRASE);
}

KPDDEF uint64_t kpd_model_fingerprint(const kpd_model *m, kpd_tower tower) { return kpd__fingerprint(m, tower, true); }

KPDDEF int32_t kpd_model_dim(const kpd_model *m) {
    if (m->desc.kind == KPD_CROSS_ENCODER) return m->desc.n_labels;
    return m->desc.truncate_dim ? m->desc.truncate_dim : kpd__full_dim(&m->desc);
}

KPDDEF bool kpd_model_tensor(const kpd_model *m, int32_t i, kpd_tensor *out) {
    if (i < 0 || (size_t)i >= m->n_tensors) return false;
    out->name = m->tensors[i].name; out->rows = m->tensors[i].rows; out->cols = m->tensors[i].cols;
    return true;
}

static const kpd__tensor *kpd__tensor_find(const kpd_model *m, const char *name, kpd_error *e) {
    size_t at = kpd__names_find(&m->names, name);
    if (at < m->n_tensors && !strcmp(kpd__name_at(&m->names, at), name)) return &m->tensors[m->names.order[at]];
    kpd__fail(e, KPD_ERR_NOT_FOUND, -1, "model: has no tensor \"%.*s\"", KPD__SHOWN(name, 100));
    return NULL;
}

// Where element (row, col) of a tensor lies. Panels of bf16 hold 2 columns side by side, of int8 4.
static size_t kpd__tensor_at(const kpd__tensor *t, size_t row, size_t col) {
    size_t side = t->half ? 2 : t->bytes ? 4 : 1, cols = kpd__round_up((size_t)t->cols, t->half ? 32 : t->bytes ? 64 : 1);
    if (!t->panels) return row * (size_t)t->cols + col;
    return row / 16 * 16 * cols + (col / side * 16 + row % 16) * side + col % side;
}

static float kpd__tensor_value(const kpd__tensor *t, size_t row, size_t col) {
    size_t at = kpd__tensor_at(t, row, col);
    if (t->f32) return t->f32[at];
    if (t->half) return kpd__from_bits((uint32_t)t->half[at] << 16);
    return (float)t->bytes[at] * t->scale[row] * (t->inscale ? t->inscale[col] : 1);
}

static kpd_status kpd__model_get(const kpd_model *m, const char *name, float *out, kpd_error *e) {
    const kpd__tensor *t = kpd__tensor_find(m, name, e);
    if (!t) return KPD_ERR_NOT_FOUND;
    for (size_t r = 0; r < (size_t)t->rows; r++)
        for (size_t c = 0; c < (size_t)t->cols; c++, out++) {
            *out = kpd__tensor_value(t, r, c);
            if (!kpd__finite(*out))
                return kpd__fail(e, KPD_ERR_FORMAT, -1, "tensor %s: value %llu is not finite", t->name,
                                 (unsigned long long)(r * (size_t)t->cols + c));
        }
    return KPD_OK;
}
KPD__GUARDED(3, kpd_model_get, kpd__model_get, const kpd_model *, m, const char *, name, float *, out)

// Into the image, which only its maker may write to.
static void *kpd__image_at(kpd_model *m, const void *at) {
    return (char *)m->file.block + ((const char *)at - (const char *)m->file.block);
}

KPDDEF kpd_status kpd_model_set(kpd_model *m, const char *name, const float *in, kpd_error *e) {
    const kpd__tensor *t = kpd__tensor_find(m, name, e);
    float *to;
    size_t n, bad;
    if (!t) return KPD_ERR_NOT_FOUND;
    if (!m->writable) return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "model: was opened, not created: its weights cannot be set");
    n = (size_t)t->rows * (size_t)t->cols;
    bad = kpd__not_finite(in, n);
    if (bad < n)
        return kpd__fail(e, KPD_ERR_INPUT, (int64_t)bad, "tensor %s: value %llu is not finite", name,
                         (unsigned long long)bad);
    if (m->desc.converted_from) {                       // it is another model from here on
        m->desc.converted_from = 0;
        kpd__config_write(&m->desc, (int32_t *)kpd__image_at(m, m->file.data + kpd__file_find(&m->file, "config")->offset));
    }
    to = (float *)kpd__image_at(m, t->f32);
    for (size_t r = 0; r < (size_t)t->rows; r++)
        for (size_t c = 0; c < (size_t)t->cols; c++) to[kpd__tensor_at(t, r, c)] = *in++;
    return kpd__end(KPD_OK, e);
}

// >>session  One arena, laid out once: by a first walk that counts and a second that hands out. Relies on the levels.
// Promises that a call which passes kpd__session_fits finds its scratch large enough.

#define KPD__BLOCK 128          // tokens that one task encodes at a time, or one longer text
#define KPD__CHUNK 42 // rows that go through the feed-forward layer at a time, 7 x 6 and 3 x 14: their F columns stay in L2
#define KPD__TOGETHER 64        // tokens from which on idle tasks share a text: less is done before they wake
#define KPD__QUERIES 48         // queries that share one walk over the index, a multiple of 16
#define KPD__VECTORS 256        // vectors scored before their best are kept
#define KPD__SIEVED 32          // vectors whose codes are multiplied at a time, two panels
#define KPD__ITEMS 16           // items that recommend embeds and searches together

// KPD__CHUNK of a level. AMX multiplies so fast that weights should come from behind L2 once a block, and its L2 has room.
static size_t kpd__chunk(const kpd__ops *ops) { return ops->operand == KPD__TILES ? KPD__BLOCK : KPD__CHUNK; }

// The largest inputs of the four matrices of each layer, for kpd_model_convert.
typedef struct kpd__observed { float *most; size_t stride, layer; } kpd__observed;  // [layers][4][stride]

typedef struct kpd__watch {
    kpd_clock_t *clock; void *user;     // or NULL
    double last;                        // when it was last read
    double seconds[KPD_STAGE_COUNT + 1];        // the last: of no stage
} kpd__watch;

// Keeps the `keep` best of what is added, by score, then number.
typedef struct kpd__top { uint64_t *keys; size_t n, keep, room; float least; } kpd__top;

#define KPD__TOP_SLACK 512      // keys that are added before the best are picked again
#define KPD__NODES 4096         // lists, or groups of 16 lists, that are scored together
#define KPD__PANELS (KPD__NODES / 16)
#define KPD__NEAR_GROUPS 64     // groups whose lists the first phase knows
#define KPD__RESCORED 64        // candidates that are scored from their rows together

// Times as many of the first phase's, and of candidates, as is the rule.
#define KPD__BREADTH_LEAST    0.25f
#define KPD__BREADTH_MOST     2.0f
#define KPD__CANDIDATES_LEAST 0.5f
#define KPD__CANDIDATES_MOST  8.0f

// How many lists and blocks the first phase takes for k hits, and how many candidates are scored from their rows: at least k.
// A threshold lets up to an eighth more through.
static size_t kpd__near_lists(size_t k, float breadth) { return (size_t)((float)(32 + k / 6) * sqrtf(breadth)); }
static size_t kpd__near_blocks(size_t k, float breadth) { return (size_t)((float)(64 + k * 2 / 3) * breadth); }
static size_t kpd__best_rows(size_t k, float candidates) { return (size_t)((float)(2 * k + 24) * candidates); }
static size_t kpd__few_more(size_t n) { return n + n / 8; }

typedef struct kpd__branch {    // of a search in a tree
    int8_t *q;                  // [dim + 8]
    float *order, *bound;       // [KPD__NODES] of lists
    float *group_order, *group_bound;   // [KPD__NODES] of groups of lists
    uint32_t *panels; size_t n_panels;  // [KPD__PANELS]: those whose lists, or groups, are scored, ascending
    uint32_t *walked; size_t n_walked;  // [near_room]: groups that the first phase took
    size_t near_room, open_room;
    uint32_t *near, *lists; size_t n_near;  // [2 near_room], [near_room]: lists of the first phase by number; some lists
    float *near_order;          // [2 near_room, padded]
    float *child_order, *child_bound;   // [near_room][16]: of blocks of lists
    uint32_t *open; float *step; uint16_t *live; size_t n_open;     // [open_room]: blocks that wait to be scored
    float *scores; uint32_t *found;     // [open_room][16], [open_room + 1]: see kpd__ops.codes
    int32_t *above, *reach, *group_reach;       // [the most of these, and 16], [KPD__NODES + 16] twice
    kpd__top rows;              // candidates
    int64_t work;               // see kpd_index_tune
    float *panel, *decoded;     // [KPD__RESCORED / 16][dim][16], [16][dim]
    kpd_hit *hits; int32_t n_hits;      // the task's best
} kpd__branch;

typedef struct kpd__sifted { uint32_t slot; float upper; } kpd__sifted;

typedef struct kpd__sieve {     // of a search among int8 codes
    float wanted[KPD__QUERIES]; // the score that a query needs, in its steps
    uint32_t which[KPD__QUERIES + 1];
    int32_t *sums;              // [KPD__SIEVED / 16][KPD__QUERIES][16]
    void *widened;
    kpd_hit *lower; int32_t n_lower[KPD__QUERIES];      // [KPD__QUERIES, max_k]: heaps of slots by what they have at least
    kpd__sifted *kept; size_t room, n_kept[KPD__QUERIES];       // [KPD__QUERIES, room]: what may be among the best
} kpd__sieve;

typedef struct kpd__sieved {    // the queries of such a search
    kpd__workspace room;        // in bytes
    int32_t zero;               // the byte of 0
    float length[KPD__QUERIES], error[KPD__QUERIES], each[KPD__QUERIES];        // |q|, of rounding, in steps; 1 / step
} kpd__sieved;

typedef struct kpd__scratch {   // of one task
    kpd__observed *observed;        // or NULL
    kpd__watch watch;
    float *x, *y, *context;     // [block, H]: token vectors, a product, attention's output (see kpd__context)
    float *qkv;                 // [block, 3 (H padded)]
    float *hidden;              // [chunk, F], or of halves: in qkv's room, which is free by then, and still in L2
    float *attention;           // of kpd__attention_scratch
    void *product;              // of bf16 and int8 products
    float *pooled[2];           // [the widest of H and the modules]
    float *scores;              // [KPD__QUERIES, KPD__VECTORS]
    int32_t *above;             // [KPD__VECTORS + 16]
    kpd_hit *best;              // [KPD__QUERIES, max_k]: heaps, the worst on top
    int32_t n_best[KPD__QUERIES];
    kpd__sieve sieve;
    kpd__branch branch;
} kpd__scratch;

// What a session is made for: the largest of each over its models.
typedef struct kpd__sizes {
    const kpd__ops *ops;
    size_t width, padded, ffn, block, chunk, attention, product, pooled, tokens, k, dim;
} kpd__sizes;

typedef struct kpd__candidates {    // of recommend
    float *vectors;                 // [KPD__ITEMS, dim]
    kpd_hit *hits;                  // [KPD__ITEMS, k]
    int32_t counts[KPD__ITEMS];
    uint64_t *keys;                 // [k]
    kpd_text *phrases;              // [kpd__pairs]: those of the items in hand, one behind the other, as are
    kpd_input *pairs;               // what the assistant reads of each, with its item, and
    float *relevance;
    int32_t *tokens[2];             // [tokens of a text]
    int32_t *pieces; uint32_t *words;   // [tokens of a text]: before its words are sorted; where they begin
} kpd__candidates;

struct kpd_session {
    kpd_allocator allocator;
    kpd_parallel parallel;
    kpd_progress progress;
    const kpd__ops *ops;
    kpd__sizes sizes;
    void *block; size_t block_size;
    int64_t n_tokens;
    int32_t n_tasks;
    kpd__scratch *scratch;              // [n_tasks]
    int32_t *ids, *types;               // [tokens]
    size_t *first;                      // [texts + 1]: first token of each text
    size_t *blocks;                     // [texts + 1]: first text of each block
    float *hidden;                      // of the first task while tasks share a text, and read its qkv longer than itself
    float *query;                       // [KPD__QUERIES, dim]: normalised
    kpd__sieved sieved;
    kpd__candidates candidates;
};

static void kpd__sizes_add(kpd__sizes *z, const kpd_model *m) {
    const kpd_model_desc *d = &m->desc;
    size_t h = (size_t)d->width, pooled = h;
    for (int32_t i = 0; i < d->n_modules; i++) pooled = kpd__max(pooled, (size_t)d->modules[i].width);
    z->width = kpd__max(z->width, h);
    z->padded = kpd__round_up(z->width, 16);
    z->ffn = kpd__max(z->ffn, (size_t)d->ffn_width);
    z->block = kpd__max(z->block, kpd__max(KPD__BLOCK, (size_t)d->max_tokens));
    z->tokens = kpd__max(z->tokens, (size_t)d->max_tokens);
    z->attention = kpd__max(z->attention, (d->dtype == KPD_BF16   ? kpd__half_attention_scratch
                                           : d->dtype == KPD_INT8 ? kpd__int8_attention_scratch
                                                                  : kpd__attention_scratch)(
                                              (size_t)d->max_tokens, h, (size_t)d->n_heads));
    if (d->dtype != KPD_F32)
        z->product = kpd__max(z->product, kpd__product_scratch(z->ops->operand, kpd__max(h, (size_t)d->ffn_width)));
    z->pooled = kpd__max(z->pooled, pooled);
}

static size_t kpd__hidden_floats(const kpd__sizes *z) { return kpd__round_up(z->chunk, 16) * kpd__round_up(z->ffn, 16); }

// Floats of qkv's room for each token of a block, with hidden in the same place. A session may have no model, and no block.
static size_t kpd__qkv_floats(const kpd__sizes *z) {
    return z->block ? kpd__max(3 * z->padded, (kpd__hidden_floats(z) + z->block - 1) / z->block) : 0;
}

static void kpd__branch_lay(kpd__branch *b, size_t dim, size_t k, kpd__arena *a) {
    size_t most;
    b->near_room = kpd__few_more(kpd__max(kpd__near_lists(k, KPD__BREADTH_MOST), KPD__NEAR_GROUPS));
    b->open_room = kpd__max(512, kpd__few_more(kpd__near_blocks(k, KPD__BREADTH_MOST)));
    most = kpd__max(kpd__max(KPD__NODES, 16 * b->near_room), 16 * b->open_room);
    b->q = (int8_t *)kpd__take(a, dim + 8, 1);
    b->order = (float *)kpd__take(a, KPD__NODES, sizeof(float));
    b->bound = (float *)kpd__take(a, KPD__NODES, sizeof(float));
    b->group_order = (float *)kpd__take(a, KPD__NODES, sizeof(float));
    b->group_bound = (float *)kpd__take(a, KPD__NODES, sizeof(float));
    b->panels = (uint32_t *)kpd__take(a, KPD__PANELS, sizeof(uint32_t));
    b->walked = (uint32_t *)kpd__take(a, b->near_room, sizeof(uint32_t));
    b->near = (uint32_t *)kpd__take(a, 2 * b->near_room, sizeof(uint32_t));
    b->near_order = (float *)kpd__take(a, kpd__round_up(2 * b->near_room, 16), sizeof(float));
    b->lists = (uint32_t *)kpd__take(a, b->near_room, sizeof(uint32_t));
    b->child_order = (float *)kpd__take(a, b->near_room, 16 * sizeof(float));
    b->child_bound = (float *)kpd__take(a, b->near_room, 16 * sizeof(float));
    b->open = (uint32_t *)kpd__take(a, b->open_room, sizeof(uint32_t));
    b->step = (float *)kpd__take(a, b->open_room, sizeof(float));
    b->live = (uint16_t *)kpd__take(a, b->open_room, sizeof(uint16_t));
    b->scores = (float *)kpd__take(a, b->open_room, 16 * sizeof(float));
    b->found = (uint32_t *)kpd__take(a, b->open_room + 1, sizeof(uint32_t));
    b->above = (int32_t *)kpd__take(a, most + 16, sizeof(int32_t));
    b->reach = (int32_t *)kpd__take(a, KPD__NODES + 16, sizeof(int32_t));
    b->group_reach = (int32_t *)kpd__take(a, KPD__NODES + 16, sizeof(int32_t));
    b->rows.keys = (uint64_t *)kpd__take(a, kpd__best_rows(k, KPD__CANDIDATES_MOST) + KPD__TOP_SLACK, 8);
    b->panel = (float *)kpd__take(a, dim, KPD__RESCORED * sizeof(float));
    b->decoded = (float *)kpd__take(a, dim, 16 * sizeof(float));
}

static void kpd__scratch_lay(kpd__scratch *s, const kpd__sizes *z, kpd__arena *a) {
    s->x = (float *)kpd__take(a, z->block, z->width * sizeof(float));
    s->y = (float *)kpd__take(a, z->block, z->width * sizeof(float));
    s->context = (float *)kpd__take(a, z->block, z->width * sizeof(float));
    s->qkv = s->hidden = (float *)kpd__take(a, z->block, kpd__qkv_floats(z) * sizeof(float));
    s->attention = (float *)kpd__take(a, z->attention, sizeof(float));
    s->product = kpd__take(a, z->product, 1);
    s->pooled[0] = (float *)kpd__take(a, z->pooled, sizeof(float));
    s->pooled[1] = (float *)kpd__take(a, z->pooled, sizeof(float));
    if (!z->dim) return;
    s->scores = (float *)kpd__take(a, KPD__QUERIES * KPD__VECTORS, sizeof(float));
    s->above = (int32_t *)kpd__take(a, KPD__VECTORS + 16, sizeof(int32_t));
    kpd__branch_lay(&s->branch, z->dim, z->k, a);
    s->sieve.sums = (int32_t *)kpd__take(a, KPD__QUERIES * KPD__SIEVED, sizeof(int32_t));
    s->sieve.widened = kpd__take(a, KPD__WIDENED, 1);
    s->sieve.room = 4 * z->k + 512;
    s->sieve.kept = (kpd__sifted *)kpd__take(a, KPD__QUERIES * s->sieve.room, sizeof(kpd__sifted));
    s->sieve.lower = (kpd_hit *)kpd__take(a, KPD__QUERIES * z->k, sizeof(kpd_hit));
    s->best = (kpd_hit *)kpd__take(a, KPD__QUERIES * z->k, sizeof(kpd_hit));
}

// The assistant is asked for the candidates of as many items at a time as this holds, or of one.
static size_t kpd__pairs(const kpd__sizes *z) { return kpd__max(z->k, 1024); }

static void kpd__candidates_lay(kpd__candidates *c, const kpd__sizes *z, kpd__arena *a) {
    c->vectors = (float *)kpd__take(a, KPD__ITEMS * z->dim, sizeof(float));
    c->hits = (kpd_hit *)kpd__take(a, z->k, KPD__ITEMS * sizeof(kpd_hit));
    c->keys = (uint64_t *)kpd__take(a, z->k, sizeof(uint64_t));
    c->phrases = (kpd_text *)kpd__take(a, kpd__pairs(z), sizeof(kpd_text));
    c->pairs = (kpd_input *)kpd__take(a, kpd__pairs(z), sizeof(kpd_input));
    c->relevance = (float *)kpd__take(a, kpd__pairs(z), sizeof(float));
    c->tokens[0] = (int32_t *)kpd__take(a, z->tokens, sizeof(int32_t));
    c->tokens[1] = (int32_t *)kpd__take(a, z->tokens, sizeof(int32_t));
    c->pieces = (int32_t *)kpd__take(a, z->tokens, sizeof(int32_t));
    c->words = (uint32_t *)kpd__take(a, z->tokens, sizeof(uint32_t));
}

static void kpd__session_lay(kpd_session *s, kpd__arena *a) {
    const kpd__sizes *z = &s->sizes;
    kpd__scratch unused;
    s->scratch = (kpd__scratch *)kpd__take(a, (size_t)s->n_tasks, sizeof(kpd__scratch));
    for (int32_t i = 0; i < s->n_tasks; i++) kpd__scratch_lay(s->scratch ? &s->scratch[i] : &unused, z, a);
    s->hidden = s->n_tasks > 1 ? (float *)kpd__take(a, kpd__hidden_floats(z), sizeof(float)) : NULL;
    s->ids = (int32_t *)kpd__take(a, z->tokens, sizeof(int32_t));
    s->types = (int32_t *)kpd__take(a, z->tokens, sizeof(int32_t));
    s->first = (size_t *)kpd__take(a, z->tokens + 1, sizeof(size_t));
    s->blocks = (size_t *)kpd__take(a, z->tokens + 1, sizeof(size_t));
    if (!z->dim) return;
    s->query = (float *)kpd__take(a, KPD__QUERIES, z->dim * sizeof(float));
    s->sieved.room.rows = (uint8_t *)kpd__take(a, kpd__round_up(KPD__QUERIES, 16), 2 * kpd__round_up(z->dim, 64));
    s->sieved.room.step = (float *)kpd__take(a, KPD__QUERIES, sizeof(float));
    s->sieved.room.zero = (int32_t *)kpd__take(a, KPD__QUERIES, sizeof(int32_t));
    kpd__candidates_lay(&s->candidates, z, a);
}

static kpd_status kpd__session_check(const kpd_session_desc *d, kpd_error *e) {
    if (kpd__desc_check("session", d->abi, d->reserved, e)) return KPD_ERR_ARGUMENT;
    if (!kpd__allocator_ok(&d->allocator))
        return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "allocator: has one function, expected both or none");
    if (d->max_tokens < 0)
        return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "session: max_tokens is %d, expected 0 or more", (int)d->max_tokens);
    if (d->max_k < 0 || d->max_k > KPD_MAX_K)
        return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "session: max_k is %d, expected 0 to %d", (int)d->max_k, KPD_MAX_K);
    if (d->max_dim < 0 || d->max_dim > KPD_MAX_WIDTH)
        return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "session: max_dim is %d, expected 0 to %d", (int)d->max_dim, KPD_MAX_WIDTH);
    if (d->student && d->student->desc.kind != KPD_BI_ENCODER)
        return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "session: the student is a cross-encoder");
    if (d->assistant && d->assistant->desc.kind != KPD_CROSS_ENCODER)
        return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "session: the assistant is a bi-encoder");
    return kpd__parallel_check(&d->parallel, e);
}

KPDDEF void kpd_session_destroy(kpd_session *s) {
    kpd_allocator a;
    if (!s) return;
    a = s->allocator;
    kpd__free(&a, s->block, s->block_size);
}

static kpd_status kpd__session_create(const kpd_session_desc *d, kpd_session **out, kpd_error *e) {
    kpd_session_desc none;
    kpd_session plan, *s;
    kpd__arena a;
    kpd_status status;
    if (!d) d = (const kpd_session_desc *)memset(&none, 0, sizeof none);
    status = kpd__session_check(d, e);
    if (status) return status;
    memset(&plan, 0, sizeof plan);
    memset(&a, 0, sizeof a);
    status = kpd__choose_level(d->simd, &plan.ops, e);
    if (status) return status;
    plan.sizes.ops = plan.ops;
    plan.sizes.chunk = kpd__chunk(plan.ops);
    plan.allocator = d->allocator;
    plan.parallel = d->parallel;
    plan.progress = d->progress;
    plan.n_tasks = kpd__n_tasks(&d->parallel);
    if (d->student) kpd__sizes_add(&plan.sizes, d->student);
    if (d->assistant) kpd__sizes_add(&plan.sizes, d->assistant);
    plan.sizes.tokens = kpd__max(plan.sizes.tokens, d->max_tokens ? (size_t)d->max_tokens : 4096);
    plan.sizes.k = d->max_k ? (size_t)d->max_k : 1024;
    plan.sizes.dim = d->max_dim ? (size_t)d->max_dim : d->student ? (size_t)kpd__full_dim(&d->student->desc) : 0;
    kpd__take(&a, 1, sizeof *s);
    kpd__session_lay(&plan, &a);
    status = kpd__arena_block(&a, &d->allocator, "session: its scratch memory", &plan.block, &plan.block_size, e);
    if (status) return status;
    s = (kpd_session *)kpd__take(&a, 1, sizeof *s);
    *s = plan;
    kpd__session_lay(s, &a);
    for (int32_t i = 0; i < s->n_tasks; i++) {
        s->scratch[i].watch.clock = d->clock; s->scratch[i].watch.user = d->clock_user;
    }
    *out = s;
    return KPD_OK;
}
KPD__GUARDED(2, kpd_session_create, kpd__session_create, const kpd_session_desc *, d, kpd_session **, out)

KPDDEF kpd_simd kpd_session_simd(const kpd_session *s) { return s->ops->level; }
KPDDEF size_t kpd_session_size(const kpd_session *s) { return s->block_size; }
KPDDEF int64_t kpd_session_tokens(const kpd_session *s) { return s->n_tokens; }

KPDDEF double kpd_session_seconds(const kpd_session *s, kpd_stage stage) {
    double sum = 0;
    if ((unsigned)stage >= (unsigned)KPD_STAGE_COUNT) return 0;
    for (int32_t i = 0; i < s->n_tasks; i++) sum += s->scratch[i].watch.seconds[stage];
    return sum;
}

// A stage of the task ends here and the next begins. What ends with KPD_STAGE_COUNT was none: a task's time between calls.
static void kpd__lap(kpd__watch *w, kpd_stage stage) {
    double at;
    if (!w->clock) return;
    at = w->clock(w->user);
    w->seconds[stage] += at - w->last;
    w->last = at;
}

static kpd_status kpd__session_fits(const kpd_session *s, const kpd_model *m, kpd_error *e) {
    kpd__sizes z = s->sizes;
    kpd__sizes_add(&z, m);
    if (z.width == s->sizes.width && z.ffn == s->sizes.ffn && z.block == s->sizes.block && z.attention == s->sizes.attention &&
        z.product == s->sizes.product && z.pooled == s->sizes.pooled && z.tokens == s->sizes.tokens)
        return KPD_OK;
    return kpd__fail(
        e, KPD_ERR_LIMIT, -1,
        "the model (width %d, feed-forward %d, %d tokens a text) is larger, or of another weight type, than those the "
        "session was made for",
        (int)m->desc.width, (int)m->desc.ffn_width, (int)m->desc.max_tokens);
}

// >>encoder  The transformer over packed batches: texts lie end to end, and nothing is padded. A slice of texts is
// tokenized, cut into blocks of whole texts, and the blocks are shared out among the tasks. Relies on the kernels. Promises
// that a text's vectors do not depend on its neighbours: every row of every product is its own chain.

// Notes the largest of each column of x [rows, k], the input of matrix `which` of the layer: infinity, if one is not finite.
static void kpd__observe(kpd__observed *seen, size_t which, const float *x, size_t rows, size_t k) {
    float *most = seen->most + (seen->layer * 4 + which) * seen->stride;
    for (size_t r = 0; r < rows; r++, x += k)
        for (size_t i = 0; i < k; i++) most[i] = kpd__wider(most[i], x[i] - x[i] == 0 ? x[i] : INFINITY);
}

// Texts [begin, end) in a layer. Tasks may share their rows: `all` holds x, y, context and qkv of all, and each task has
// scratch of its own for the rest; a call without tasks hands in the same twice.
typedef struct kpd__rows {
    const kpd__ops *ops;
    const kpd__layer *layer;
    size_t width, heads, begin, end;
    const size_t *first;                // first token of each text
    kpd__scratch *all;
} kpd__rows;

// x = norm(x + y) of some rows. Whether they are also rounded as `reader`, a matrix or NULL, takes them, and lie in the
// workspace of its product, until another product uses it.
static bool kpd__norm_rows(const kpd__rows *r, const kpd__norm *norm, const kpd__matrix *reader, const float *y, size_t rows,
                           float *x, kpd__scratch *own) {
    const kpd__ops *ops = r->ops;
    bool rounded = false;
    if (reader && ops->norm_round && kpd__norm_rounds(reader)) {
        kpd__arena a = {(char *)own->product, 0, false};
        const kpd__workspace room = kpd__workspace_lay(ops->operand, reader, &a);
        rounded = rows <= room.n_rows;
        if (rounded) ops->norm_round(norm, reader, y, rows, x, &room);
    }
    if (!rounded) ops->add_norm(norm, y, rows, r->width, x);
    kpd__lap(&own->watch, KPD_STAGE_NORMS);
    return rounded;
}

// Feed-forward and its norm of n rows, a piece at a time. x may be rounded, and `reader` be given, where n is at most
// kpd__chunk.
static kpd__strip kpd__feed_forward(const kpd__rows *r, kpd__strip x, size_t n, float *y, const kpd__matrix *reader,
                                    kpd__scratch *own) {
    const kpd__layer *l = r->layer;
    size_t h = r->width, f = l->up.n, step = kpd__even_rows(n, kpd__chunk(r->ops));
    bool halves = l->up.half && r->ops->half_dots && l->up.activation == KPD__SHORT_GELU;
    kpd__strip hidden = halves ? kpd__halves(own->hidden) : kpd__floats(own->hidden, f), after = x;
    for (size_t rows; n; n -= rows, y += rows * h) {
        rows = kpd__min(step, n);
        kpd__product(r->ops, &l->up, x, rows, hidden, own->product);
        kpd__lap(&own->watch, KPD_STAGE_UP);
        if (own->observed) {
            kpd__observe(own->observed, 2, x.floats, rows, h);
            kpd__observe(own->observed, 3, own->hidden, rows, f);
        }
        kpd__product(r->ops, &l->down, hidden, rows, kpd__floats(y, h), own->product);
        kpd__lap(&own->watch, KPD_STAGE_DOWN);
        after.rounded = kpd__norm_rows(r, &l->norm2, reader, y, rows, x.floats, own);
        kpd__strip_skip(&x, rows, h);
    }
    return after;
}

// Where attention's output lies: with y, where the product that reads it rounds its rows before it writes.
static float *kpd__context(const kpd__rows *r) {
    return kpd__rounds(r->ops, &r->layer->out) ? r->all->y : r->all->context;
}

// Query, key and value of rows [from, to), which are x.
static void kpd__layer_begin(const kpd__rows *r, kpd__strip x, size_t from, size_t to, kpd__scratch *own) {
    size_t ld = r->layer->qkv.n;
    kpd__product(r->ops, &r->layer->qkv, x, to - from, kpd__floats(r->all->qkv + from * ld, ld), own->product);
    kpd__lap(&own->watch, KPD_STAGE_QKV);
    if (own->observed) kpd__observe(own->observed, 0, x.floats, to - from, r->width);
}

// Attention of queries [q, end) of text i.
static void kpd__text_attention(const kpd__rows *r, size_t i, size_t q, size_t end, kpd__scratch *own) {
    size_t h = r->width, at = r->first[i] - r->first[r->begin], n = r->first[i + 1] - r->first[i];
    kpd__attend(r->ops, &r->layer->qkv, r->all->qkv + at * r->layer->qkv.n, n, q, end, h, r->heads, own->attention,
                kpd__context(r) + at * h);
}

// What follows attention and knows no neighbours, for rows [from, to). Returns them; rounded for `reader`, unless that is NULL,
// where it saves time.
static kpd__strip kpd__layer_rest(const kpd__rows *r, const kpd__matrix *reader, size_t from, size_t to, kpd__scratch *own) {
    size_t h = r->width;
    float *context = kpd__context(r) + from * h, *y = r->all->y + from * h;
    kpd__strip x = kpd__floats(r->all->x + from * h, h);
    const bool whole = to - from <= kpd__chunk(r->ops);
    kpd__lap(&own->watch, KPD_STAGE_ATTENTION);
    if (own->observed) kpd__observe(own->observed, 1, context, to - from, h);
    kpd__product(r->ops, &r->layer->out, kpd__floats(context, h), to - from, kpd__floats(y, h), own->product);
    kpd__lap(&own->watch, KPD_STAGE_OUTPUT);
    x.rounded = kpd__norm_rows(r, &r->layer->norm1, whole ? &r->layer->up : NULL, y, to - from, x.floats, own);
    return kpd__feed_forward(r, x, to - from, y, whole ? reader : NULL, own);
}

// The rest of the layer for rows [from, to): attention of their queries to all keys, and so on.
static kpd__strip kpd__layer_end(const kpd__rows *r, const kpd__matrix *reader, size_t from, size_t to, kpd__scratch *own) {
    size_t start = r->first[r->begin];
    for (size_t i = r->begin; i < r->end; i++) {
        size_t at = r->first[i] - start, next = r->first[i + 1] - start, q = kpd__max(at, from), end = kpd__min(next, to);
        if (q < end) kpd__text_attention(r, i, q - at, end - at, own);
    }
    return kpd__layer_rest(r, reader, from, to, own);
}

// A head that reads one row of a text: nothing else of the last layer's output is worth computing.
static bool kpd__reads_one(const kpd_model_desc *d) {
    return d->kind == KPD_CROSS_ENCODER || d->pooling == KPD_POOL_CLS || d->pooling == KPD_POOL_LAST;
}

// Where that row of text i lies among those of all texts.
static size_t kpd__read_row(const kpd__rows *r, const kpd_model_desc *d, size_t i) {
    bool last = d->kind == KPD_BI_ENCODER && d->pooling == KPD_POOL_LAST;
    return (last ? r->first[i + 1] - 1 : r->first[i]) - r->first[r->begin];
}

// Keys and values of all rows, queries of those that such a head reads; y and context are free here.
static void kpd__last_layer_begin(const kpd__rows *r, kpd__strip x, const kpd_model_desc *d, kpd__scratch *own) {
    const kpd__matrix *w = &r->layer->qkv;
    size_t h = r->width, padded = kpd__round_up(h, 16), rows = r->first[r->end] - r->first[r->begin], texts = r->end - r->begin;
    const kpd__matrix query = kpd__columns(w, 0, h), others = kpd__columns(w, padded, w->n - padded);
    float *qkv = r->all->qkv, *some = r->all->y, *queries = r->all->context;
    kpd__product(r->ops, &others, x, rows, kpd__floats(qkv + padded, w->n), own->product);
    for (size_t i = 0; i < texts; i++)
        memcpy(some + i * h, x.floats + kpd__read_row(r, d, r->begin + i) * h, h * sizeof(float));
    kpd__product(r->ops, &query, kpd__floats(some, h), texts, kpd__floats(queries, h), own->product);
    for (size_t i = 0; i < texts; i++)
        memcpy(qkv + kpd__read_row(r, d, r->begin + i) * w->n, queries + i * h, h * sizeof(float));
    kpd__lap(&own->watch, KPD_STAGE_QKV);
}

// The rest of the last layer for such a head: x then holds a row a text. They move forward, so none is lost.
static void kpd__last_layer_end(const kpd__rows *r, const kpd_model_desc *d, kpd__scratch *own) {
    size_t h = r->width;
    float *context = kpd__context(r);
    for (size_t i = r->begin; i < r->end; i++) {
        size_t row = kpd__read_row(r, d, i), q = row - (r->first[i] - r->first[r->begin]), to = i - r->begin;
        kpd__text_attention(r, i, q, q + 1, own);
        memmove(context + to * h, context + row * h, h * sizeof(float));
        memmove(r->all->x + to * h, r->all->x + row * h, h * sizeof(float));
    }
    kpd__layer_rest(r, NULL, 0, r->end - r->begin, own);
}

// Input vectors of texts [begin, end) into s->x [T, H]; first[i] is the first token of text i.
static kpd__rows kpd__embed_texts(const kpd__ops *ops, const kpd__encoder *m, const kpd_model_desc *d, const int32_t *ids,
                                  const int32_t *types, const size_t *first, size_t begin, size_t end, kpd__scratch *s) {
    kpd__rows r;
    r.ops = ops; r.layer = m->layers; r.width = (size_t)d->width; r.heads = (size_t)d->n_heads;
    r.begin = begin; r.end = end; r.first = first; r.all = s;
    for (size_t i = begin; i < end; i++)
        ops->embed(&m->embedding, ids + first[i], types + first[i], first[i + 1] - first[i],
                   s->x + (first[i] - first[begin]) * r.width);
    kpd__lap(&s->watch, KPD_STAGE_EMBEDDING);
    return r;
}

// Token vectors of texts [begin, end) into s->x, or, for a head that reads one, only that of each text.
static void kpd__encode_block(const kpd__ops *ops, const kpd__encoder *m, const kpd_model_desc *d, const int32_t *ids,
                              const int32_t *types, const size_t *first, size_t begin, size_t end, kpd__scratch *s) {
    kpd__rows r = kpd__embed_texts(ops, m, d, ids, types, first, begin, end, s);
    kpd__strip x = kpd__floats(s->x, r.width);
    for (int32_t j = 0; j < d->n_layers; j++, r.layer++) {
        if (s->observed) s->observed->layer = (size_t)j;
        if (j + 1 < d->n_layers || s->observed || !kpd__reads_one(d)) {
            kpd__layer_begin(&r, x, 0, first[end] - first[begin], s);
            x = kpd__layer_end(&r, j + 1 < d->n_layers ? &r.layer[1].qkv : NULL, 0, first[end] - first[begin], s);
        } else {
            kpd__last_layer_begin(&r, x, d, s);
            kpd__last_layer_end(&r, d, s);
        }
    }
}

// A call that turns texts into rows of numbers: what its tasks share. finish makes one row of out from a text's tokens.
typedef struct kpd__call {
    kpd_session *s;
    const kpd_model *m;
    int32_t role;
    size_t n_blocks, dim, base;         // base: added to an input's number in messages
    float *out;                         // the row of the slice's first text
    const kpd_progress *progress;       // NULL within another call
    void (*finish)(const struct kpd__call *c, kpd__scratch *s, const float *x, size_t n_tokens, float *out);
} kpd__call;

// The rows of out of texts [begin, end), whose token vectors are in scratch->x.
static void kpd__finish_texts(const kpd__call *c, kpd__scratch *scratch, size_t begin, size_t end) {
    const size_t *first = c->s->first, width = (size_t)c->m->desc.width;
    bool one = kpd__reads_one(&c->m->desc);
    for (size_t i = begin; i < end; i++)
        c->finish(c, scratch, scratch->x + (one ? i - begin : first[i] - first[begin]) * width,
                  one ? 1 : first[i + 1] - first[i], c->out + i * c->dim);
    kpd__lap(&scratch->watch, KPD_STAGE_HEAD);
}

static void kpd__call_task(void *arg, int32_t task) {
    const kpd__call *c = (const kpd__call *)arg;
    const kpd_session *s = c->s;
    kpd__scratch *scratch = &s->scratch[task];
    kpd__lap(&scratch->watch, KPD_STAGE_COUNT);
    for (size_t b = (size_t)task; b < c->n_blocks; b += (size_t)s->n_tasks) {
        size_t begin = s->blocks[b], end = s->blocks[b + 1];
        kpd__encode_block(s->ops, &c->m->tower[c->role == 1], &c->m->desc, s->ids, s->types, s->first, begin, end, scratch);
        kpd__finish_texts(c, scratch, begin, end);
    }
}

// A text's rows shared out among all tasks, a layer's two halves one after the other.
typedef struct kpd__shared { kpd_session *s; kpd__rows rows; } kpd__shared;

static void kpd__share(void *arg, int32_t task, void half(const kpd__rows *, size_t, size_t, kpd__scratch *)) {
    kpd__shared *share = (kpd__shared *)arg;
    size_t n = share->rows.first[share->rows.end] - share->rows.first[share->rows.begin], tasks = (size_t)share->s->n_tasks;
    size_t step = kpd__round_up((n + tasks - 1) / tasks, 16), from = kpd__min((size_t)task * step, n);
    size_t to = kpd__min(from + step, n);
    kpd__lap(&share->s->scratch[task].watch, KPD_STAGE_COUNT);
    if (from < to) half(&share->rows, from, to, &share->s->scratch[task]);
}

static void kpd__share_begin(const kpd__rows *r, size_t from, size_t to, kpd__scratch *own) {
    kpd__layer_begin(r, kpd__floats(r->all->x + from * r->width, r->width), from, to, own);
}
static void kpd__share_end(const kpd__rows *r, size_t from, size_t to, kpd__scratch *own) {
    kpd__layer_end(r, NULL, from, to, own);
}
static void kpd__begin_task(void *arg, int32_t task) { kpd__share(arg, task, kpd__share_begin); }
static void kpd__end_task(void *arg, int32_t task) { kpd__share(arg, task, kpd__share_end); }

// What kpd__call_task does with block b, by all tasks together.
static void kpd__call_together(const kpd__call *c, size_t b) {
    kpd_session *s = c->s;
    kpd__shared share;
    const kpd_model_desc *d = &c->m->desc;
    size_t begin = s->blocks[b], end = s->blocks[b + 1];
    kpd__lap(&s->scratch->watch, KPD_STAGE_COUNT);
    share.s = s;
    s->scratch->hidden = s->hidden;
    share.rows = kpd__embed_texts(s->ops, &c->m->tower[c->role == 1], d, s->ids, s->types, s->first, begin, end, s->scratch);
    for (int32_t j = 0; j < d->n_layers; j++, share.rows.layer++) {
        kpd__run(&s->parallel, s->n_tasks, kpd__begin_task, &share);
        if (j + 1 < d->n_layers || !kpd__reads_one(d)) kpd__run(&s->parallel, s->n_tasks, kpd__end_task, &share);
    }
    s->scratch->hidden = s->scratch->qkv;
    kpd__lap(&s->scratch->watch, KPD_STAGE_COUNT);
    if (kpd__reads_one(d)) { share.rows.layer--; kpd__last_layer_end(&share.rows, d, s->scratch); }
    kpd__finish_texts(c, s->scratch, begin, end);
}

// Tokenizes inputs from in[at] on until the session is full; returns the number of texts, 0 after an error.
static size_t kpd__slice(kpd__call *c, const kpd_input *in, size_t at, size_t n, kpd_error *e) {
    kpd_session *s = c->s;
    size_t i = 0, used = 0, most = (size_t)c->m->desc.max_tokens;
    s->first[0] = 0;
    for (; at + i < n && used + most <= s->sizes.tokens; i++) {
        kpd_tokens t;
        memset(&t, 0, sizeof t);
        t.ids = s->ids + used; t.types = s->types + used; t.capacity = (int32_t)most;
        if (kpd__model_encode(c->m, c->role, &in[at + i], false, &t, (int64_t)(c->base + at + i), e)) return 0;
        used += (size_t)t.count;
        s->first[i + 1] = used;
    }
    s->n_tokens += (int64_t)used;
    return i;
}

// Cuts a slice into blocks of at most KPD__BLOCK tokens, or one text; into smaller ones where a task would go without.
static void kpd__cut(kpd__call *c, size_t n_texts) {
    kpd_session *s = c->s;
    size_t begin = 0, most = kpd__min(KPD__BLOCK, kpd__max(KPD__CHUNK, s->first[n_texts] / (size_t)s->n_tasks));
    c->n_blocks = 0;
    s->blocks[0] = 0;
    for (size_t i = 1; i <= n_texts; i++)
        if (i == n_texts || s->first[i + 1] - s->first[begin] > most) s->blocks[++c->n_blocks] = begin = i;
}

static kpd_status kpd__call_run(kpd__call *c, const kpd_input *in, size_t n, kpd_error *e) {
    kpd_error own;
    kpd_status status = kpd__session_fits(c->s, c->m, e);
    kpd__watch *watch = &c->s->scratch[0].watch;
    kpd__progress progress = {c->progress, 0, n};
    float *out = c->out;
    if (status) return status;
    if (!e) e = &own;
    for (size_t at = 0; at < n;) {
        size_t count;
        kpd__lap(watch, KPD_STAGE_COUNT);
        count = kpd__slice(c, in, at, n, e);
        kpd__lap(watch, KPD_STAGE_TOKENIZE);
        if (!count) { memset(out, 0, n * c->dim * sizeof *out); return e->status; }
        kpd__cut(c, count);
        c->out = out + at * c->dim;
        if (c->n_blocks < (size_t)c->s->n_tasks && c->s->first[count] >= KPD__TOGETHER * c->n_blocks)
            for (size_t b = 0; b < c->n_blocks; b++) kpd__call_together(c, b);
        else kpd__run(&c->s->parallel, (int32_t)kpd__min((size_t)c->s->n_tasks, c->n_blocks), kpd__call_task, c);
        at += count;
        status = kpd__progress_add(&progress, count, e);
        if (status) { memset(out, 0, n * c->dim * sizeof *out); return status; }
    }
    return KPD_OK;
}

// >>assistant  The cross-encoder's head: W tanh(P x_0 + p) + b [BERT].

static void kpd__score_finish(const kpd__call *c, kpd__scratch *s, const float *x, size_t n_tokens, float *out) {
    size_t h = (size_t)c->m->desc.width;
    (void)n_tokens;
    c->s->ops->gemm(&c->m->pooler, x, h, 1, s->pooled[0], h);
    c->s->ops->gemm(&c->m->classifier, s->pooled[0], h, 1, out, c->dim);
}

static kpd_status kpd__score_pairs(kpd_session *s, const kpd_model *m, const kpd_input *in, size_t n, float *out,
                                   const kpd_progress *progress, kpd_error *e) {
    kpd__call c;
    if (m->desc.kind != KPD_CROSS_ENCODER)
        return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "score: the model is a bi-encoder, expected a cross-encoder");
    memset(&c, 0, sizeof c);
    c.s = s; c.m = m; c.role = 2; c.dim = (size_t)m->desc.n_labels; c.out = out; c.finish = kpd__score_finish;
    c.progress = progress;
    return kpd__call_run(&c, in, n, e);
}

static kpd_status kpd__score(kpd_session *s, const kpd_model *m, const kpd_input *in, size_t n, float *out, kpd_error *e) {
    return kpd__score_pairs(s, m, in, n, out, &s->progress, e);
}
KPD__GUARDED(5, kpd_score, kpd__score, kpd_session *, s, const kpd_model *, m, const kpd_input *, in, size_t, n, float *, out)

// *x = (1 + tanh(*x / 2)) / 2, by the scalar level's tanh.
static kpd_status kpd__sigmoid(void *x) {
    float panel[16] = {1}, half = 0.5f * *(float *)x, y[16];
    kpd__matrix one;
    memset(&one, 0, sizeof one);
    one.panels = panel; one.n = 1; one.k = 1; one.activation = KPD_TANH;
    kpd__scalar_ops.gemm(&one, &half, 1, 1, y, 1);
    *(float *)x = 0.5f + 0.5f * y[0];
    return KPD_OK;
}

KPDDEF float kpd_sigmoid(float logit) {
    kpd__guarded(kpd__sigmoid, &logit);
    return logit;
}

// >>student  The bi-encoder's head: pooling, modules, Matryoshka cut, unit length [SBERT, MRL].

static void kpd__embed_finish(const kpd__call *c, kpd__scratch *s, const float *x, size_t n_tokens, float *out) {
    const kpd_model_desc *d = &c->m->desc;
    const kpd__ops *ops = c->s->ops;
    size_t width = (size_t)d->width;
    float *a = s->pooled[0], *b = s->pooled[1], *t;
    ops->pool(d->pooling, x, n_tokens, width, a);
    for (int32_t i = 0; i < d->n_modules; i++) {
        if (d->modules[i].kind != KPD_MODULE_DENSE) { ops->add_norm(&c->m->norm[i], NULL, 1, width, a); continue; }
        ops->gemm(&c->m->dense[i], a, width, 1, b, (size_t)d->modules[i].width);
        width = (size_t)d->modules[i].width;
        t = a; a = b; b = t;
    }
    if (d->no_normalize) memcpy(out, a, c->dim * sizeof *out);
    else if (c->dim != (size_t)d->truncate_dim) ops->normalize(a, c->dim, out);
    else {
        ops->normalize(a, width, b);
        memcpy(out, b, c->dim * sizeof *out);
    }
}

static kpd_status kpd__embed_from(kpd_session *s, const kpd_model *m, kpd_tower tower, const kpd_input *in, size_t n,
                                  int32_t dim, float *out, size_t base, const kpd_progress *progress, kpd_error *e) {
    kpd__call c;
    if (m->desc.kind != KPD_BI_ENCODER)
        return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "embed: the model is a cross-encoder, expected a bi-encoder");
    if (kpd__range(e, "embed: tower", (int)tower, KPD_ITEM, KPD_KEYPHRASE)) return KPD_ERR_ARGUMENT;
    if (dim < 0 || dim > kpd__full_dim(&m->desc))
        return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "embed: dim is %d, expected 0 to the model's %d", (int)dim,
                         (int)kpd__full_dim(&m->desc));
    memset(&c, 0, sizeof c);
    c.s = s; c.m = m; c.role = kpd__role(m, tower); c.dim = (size_t)(dim ? dim : kpd_model_dim(m)); c.base = base;
    c.out = out; c.finish = kpd__embed_finish; c.progress = progress;
    return kpd__call_run(&c, in, n, e);
}

static kpd_status kpd__embed(kpd_session *s, const kpd_model *m, kpd_tower tower, const kpd_input *in, size_t n, int32_t dim,
                              float *out, kpd_error *e) {
    return kpd__embed_from(s, m, tower, in, n, dim, out, 0, &s->progress, e);
}
KPD__GUARDED(7, kpd_embed, kpd__embed, kpd_session *, s, const kpd_model *, m, kpd_tower, tower, const kpd_input *, in,
             size_t, n, int32_t, dim, float *, out)

typedef struct kpd__pair { const float *a, *b; size_t dim; float cosine; } kpd__pair;

static kpd_status kpd__cosine(void *arg) {
    kpd__pair *p = (kpd__pair *)arg;
    float (*dot)(const float *, const float *, size_t) = kpd__scalar_ops.dot;
    float aa = dot(p->a, p->a, p->dim), bb = dot(p->b, p->b, p->dim), c = dot(p->a, p->b, p->dim);
    float length = sqrtf(aa) * sqrtf(bb);
    c = length > 0 && length <= FLT_MAX ? c / length : 0;
    p->cosine = c > 1 ? 1 : c < -1 ? -1 : c;
    return KPD_OK;
}

KPDDEF float kpd_cosine(const float *a, const float *b, int32_t dim) {
    kpd__pair p;
    p.a = a; p.b = b; p.dim = (size_t)dim;
    kpd__guarded(kpd__cosine, &p);
    return p.cosine;
}

// >>convert  Models of other weight types. Relies on the encoder, which shows how large the inputs of each matrix get. Promises
// the same model on every machine, since the encoder does at a level that widens bf16.

// Values that keep their place: f32 as they are, or rounded to bf16.
static kpd_status kpd__convert_plain(kpd_model *to, const kpd__tensor *t, const float *w, kpd_error *e) {
    float *f32 = t->f32 ? (float *)kpd__image_at(to, t->f32) : NULL;
    uint16_t *half = t->half ? (uint16_t *)kpd__image_at(to, t->half) : NULL;
    for (size_t r = 0; r < (size_t)t->rows; r++)
        for (size_t c = 0; c < (size_t)t->cols; c++, w++) {
            size_t at = kpd__tensor_at(t, r, c);
            if (f32) { f32[at] = *w; continue; }
            half[at] = kpd__bf16(*w);
            if ((half[at] & 0x7F80) == 0x7F80)
                return kpd__fail(e, KPD_ERR_LIMIT, -1, "tensor %s: %g is too large for bf16", t->name, (double)*w);
        }
    return KPD_OK;
}

// The largest weight of each input, over the matrices that share it, gathered where the input's scales will stand.
static void kpd__convert_widest(kpd_model *to, const kpd__tensor *t, const float *w) {
    float *most = (float *)kpd__image_at(to, t->inscale);
    for (size_t i = 0; i < (size_t)t->rows * (size_t)t->cols; i++)
        most[i % (size_t)t->cols] = kpd__wider(most[i % (size_t)t->cols], w[i]);
}

// inscale = (w^3 / x^5)^(1/8) of the largest weight and the largest input; 1 where one of them never occurs.
static void kpd__convert_balance(kpd_model *to, const kpd__matrix *m, const float *seen) {
    float *inscale = (float *)kpd__image_at(to, m->inscale);
    for (size_t k = 0; k < kpd__round_up(m->k, 64); k++) {
        float x = k < m->k ? sqrtf(sqrtf(sqrtf(seen[k]))) : 0, w = sqrtf(sqrtf(sqrtf(inscale[k])));
        inscale[k] = x > 0 && w > 0 ? w * w * w / (x * x * x * x * x) : 1;
    }
}

// Rows of a matrix to int8: w / inscale is about q * scale; and the sums of q.
static kpd_status kpd__convert_round(kpd_model *to, const kpd__tensor *t, const float *w, kpd_error *e) {
    const float magic = KPD__MAGIC;
    int8_t *q = (int8_t *)kpd__image_at(to, t->bytes);
    float *scale = (float *)kpd__image_at(to, t->scale);
    int32_t *colsum = (int32_t *)kpd__image_at(to, t->colsum);
    for (size_t r = 0; r < (size_t)t->rows; r++, w += t->cols) {
        float most = 0, by;
        for (int32_t c = 0; c < t->cols; c++) most = kpd__wider(most, w[c] / t->inscale[c]);
        if (!(most < INFINITY))
            return kpd__fail(e, KPD_ERR_LIMIT, -1, "tensor %s: row %llu is too large for int8", t->name, (unsigned long long)r);
        by = most < KPD__NOTHING ? 0 : 127 / most;
        scale[r] = most < KPD__NOTHING ? 0 : most / 127;
        for (size_t c = 0; c < (size_t)t->cols; c++) {
            float v = w[c] / t->inscale[c] * by + magic - magic;
            q[kpd__tensor_at(t, r, c)] = (int8_t)v;
            colsum[r] += (int32_t)v;
        }
    }
    return KPD_OK;
}

enum { KPD__RANDOM_TEXTS = 64 };

// A text of up to 24 random tokens between the marks of a text.
static void kpd__convert_random(const kpd_model *m, kpd_session *s, uint64_t *state) {
    size_t n = kpd__min(26, (size_t)m->desc.max_tokens);
    for (size_t i = 0; i < n; i++) {
        *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        s->ids[i] = (int32_t)((*state >> 33) % (uint64_t)m->desc.vocab_size);
        s->types[i] = 0;
    }
    s->ids[0] = m->tokenizer->cls; s->ids[n - 1] = m->tokenizer->sep;
    s->first[0] = 0; s->first[1] = n;
}

// The next texts of the desc, or random ones, one by one, as the session's tokens: how many; 0 at the end or on failure.
static size_t kpd__convert_next(kpd__call *c, const kpd_convert_desc *d, size_t at, uint64_t *state, kpd_error *e) {
    if (d->n_texts) return at < d->n_texts ? kpd__slice(c, d->texts, at, d->n_texts, e) : 0;
    if (at == KPD__RANDOM_TEXTS) return 0;
    kpd__convert_random(c->m, c->s, state);
    return 1;
}

// The largest inputs of every matrix of every tower, seen[towers][layers][4][stride].
static kpd_status kpd__convert_observe(const kpd_model *m, const kpd_convert_desc *d, kpd_session *s, kpd__observed seen,
                                   kpd__progress *progress, kpd_error *e) {
    kpd_error first;
    uint64_t state = 1;
    kpd__call c;
    memset(&c, 0, sizeof c);
    memset(&first, 0, sizeof first);
    c.s = s; c.m = m; c.role = kpd__role(m, d->tower);
    s->scratch->observed = &seen;
    for (int tower = 0; tower < (m->desc.separate_towers ? 2 : 1); tower++) {
        for (size_t at = 0, n; !first.status && (n = kpd__convert_next(&c, d, at, &state, &first)) > 0; at += n) {
            for (size_t i = 0; i < n; i++)
                kpd__encode_block(s->ops, &m->tower[tower], &m->desc, s->ids, s->types, s->first, i, i + 1, s->scratch);
            kpd__progress_add(progress, n, &first);
        }
        seen.most += (size_t)m->desc.n_layers * 4 * seen.stride;
    }
    if (first.status && e) *e = first;
    return first.status;
}

// Every tensor from the one model to the other: what to do with int8 weights is `widest`, or to round them.
static kpd_status kpd__convert_tensors(const kpd_model *from, kpd_model *to, float *w, bool widest, kpd__progress *progress,
                                       kpd_error *e) {
    kpd_status s = KPD_OK;
    for (size_t i = 0; i < to->n_tensors && !s; i++) {
        const kpd__tensor *t = &to->tensors[i];
        s = kpd__progress_add(progress, 1, e);
        if (s || (widest && !t->bytes)) continue;
        s = kpd__model_get(from, t->name, w, e);
        if (s) break;
        if (widest) kpd__convert_widest(to, t, w);
        else if (t->bytes) s = kpd__convert_round(to, t, w, e);
        else s = kpd__convert_plain(to, t, w, e);
    }
    return s;
}

// The fastest level that does not round the inputs of bf16 products.
static kpd_simd kpd__widening_level(void) {
    for (int l = KPD_SIMD_COUNT - 1; l > KPD_SIMD_SCALAR; l--)
        if (kpd_simd_available((kpd_simd)l) && !kpd__ops_of((kpd_simd)l)->half_dots) return (kpd_simd)l;
    return KPD_SIMD_SCALAR;
}

static kpd_status kpd__convert_int8(const kpd_model *from, const kpd_convert_desc *d, kpd_model *to, float *w,
                                    kpd__progress *progress, kpd_error *e) {
    kpd_session_desc sd;
    kpd_session *session;
    kpd__observed seen;
    size_t n_layers = (size_t)from->desc.n_layers * (from->desc.separate_towers ? 2 : 1), n_seen, size;
    kpd_status s = kpd__convert_tensors(from, to, w, true, progress, e);
    if (s) return s;
    memset(&sd, 0, sizeof sd);
    sd.allocator = d->allocator;
    sd.simd = kpd__widening_level();
    if (from->desc.kind == KPD_CROSS_ENCODER) sd.assistant = from;
    else sd.student = from;
    s = kpd__session_create(&sd, &session, e);
    if (s) return s;
    memset(&seen, 0, sizeof seen);
    seen.stride = kpd__max((size_t)from->desc.width, (size_t)from->desc.ffn_width);
    n_seen = n_layers * 4 * seen.stride;
    size = n_seen * sizeof *seen.most;
    seen.most = (float *)kpd__alloc(&d->allocator, size);
    s = seen.most ? kpd__convert_observe(from, d, session, seen, progress, e) : kpd__no_memory(e, size);
    if (!s && kpd__not_finite(seen.most, n_seen) < n_seen)
        s = kpd__fail(e, KPD_ERR_LIMIT, -1, "an input of a layer's matrix is not finite: the model's weights are too large");
    for (size_t i = 0; i < n_layers && !s; i++) {   // the towers' layers lie one after another
        const kpd__layer *l = &to->tower[0].layers[i];
        const float *most = seen.most + i * 4 * seen.stride;
        kpd__convert_balance(to, &l->qkv, most);
        kpd__convert_balance(to, &l->out, most + seen.stride);
        kpd__convert_balance(to, &l->up, most + 2 * seen.stride);
        kpd__convert_balance(to, &l->down, most + 3 * seen.stride);
    }
    kpd__free(&d->allocator, seen.most, size);
    kpd_session_destroy(session);
    return s;
}

static kpd_status kpd__model_convert(const kpd_model *m, const kpd_convert_desc *d, kpd_model **out, kpd_error *e) {
    kpd_convert_desc none;
    kpd_model_desc desc = m->desc;
    kpd_model *to = NULL;
    kpd__progress progress;
    size_t size = 0;
    float *w;
    kpd_status s;
    if (!d) d = (const kpd_convert_desc *)memset(&none, 0, sizeof none);
    if (kpd__desc_check("convert", d->abi, d->reserved, e)) return KPD_ERR_ARGUMENT;
    s = kpd_model_verify(m, e);
    if (s) return s;
    desc.allocator = d->allocator;
    desc.dtype = d->dtype ? d->dtype : KPD_F32;
    desc.mlm_head = desc.mlm_head && desc.dtype == KPD_F32;
    desc.converted_from = kpd_model_fingerprint(m, KPD_ITEM);
    desc.arithmetic = desc.dtype == KPD_INT8 ? KPD_OFFSET_HIDDEN | (d->wide_qkv ? KPD_WIDE_QKV : 0) : 0;
    for (size_t i = 0; i < m->n_tensors; i++)
        size = kpd__max(size, (size_t)m->tensors[i].rows * (size_t)m->tensors[i].cols * sizeof *w);
    s = kpd__model_make(&desc, &to, e);
    if (s) return s;
    progress.host = &d->progress; progress.done = 0; progress.of = to->n_tensors;
    if (desc.dtype == KPD_INT8)
        progress.of += to->n_tensors +
                       (d->n_texts ? d->n_texts : (size_t)KPD__RANDOM_TEXTS) * (m->desc.separate_towers ? 2 : 1);
    w = (float *)kpd__alloc(&d->allocator, size);
    if (!w) s = kpd__no_memory(e, size);
    else if (desc.dtype == KPD_INT8) s = kpd__convert_int8(m, d, to, w, &progress, e);
    if (!s) s = kpd__convert_tensors(m, to, w, false, &progress, e);
    kpd__free(&d->allocator, w, size);
    if (s) { kpd_model_destroy(to); return s; }
    to->writable = to->desc.dtype == KPD_F32;
    *out = to;
    return KPD_OK;
}
KPD__GUARDED(3, kpd_model_convert, kpd__model_convert, const kpd_model *, m, const kpd_convert_desc *, d, kpd_model **, out)

// >>index_store  Vectors in panels, their ids, and a hash table from id to slot. Slots are dense: removing moves the last
// vector into the hole. Promises that every operation is all or nothing, and that what a mapped file says is never followed
// outside it.

// How far a search in a tree goes: gamma, and the first phase and the candidates in times as many as is the rule.
typedef struct kpd__effort { float gamma, breadth, candidates; } kpd__effort;
typedef struct kpd__tuned { float k, recall; kpd__effort effort; } kpd__tuned;

#define KPD__CODED 16           // dimensions from which on codes tell vectors apart well enough to choose among them

// What a recall takes, of those that an index may keep; between them gamma goes straight. kpd__dial_titles: gamma on real
// titles of 64 dimensions, k 10.
typedef struct kpd__dial { float gamma, candidates; } kpd__dial;
enum { KPD__DIAL = 8, KPD__DIAL_FROM = 3, KPD__DIAL_TO = 6 };   // from, to: those that an index measures
enum { KPD__OWN_QUERIES = 128, KPD__OWN_K = 11 };               // by so many of its vectors
static const float kpd__dial_recall[KPD__DIAL] = {0, 0.5f, 0.8f, 0.9f, 0.95f, 0.99f, 0.999f, 1};
static const float kpd__dial_titles[KPD__DIAL] = {0.2f, 0.28f, 0.36f, 0.43f, 0.49f, 0.61f, 0.75f, 1};

static bool kpd__breadth_ok(float breadth, float candidates) {
    return breadth >= KPD__BREADTH_LEAST && breadth <= KPD__BREADTH_MOST &&
           candidates >= KPD__CANDIDATES_LEAST && candidates <= KPD__CANDIDATES_MOST;
}

// Of a tree; slots are places of blocks.
typedef struct kpd__nodes {
    size_t n_lists, n_blocks, room_lists, room_blocks;
    const uint8_t *lists, *blocks;      // panels: means of 16 lists; of the 16 blocks of a list. See kpd__node
    const uint8_t *groups;              // panels: means of 16 panels of lists; NULL in files that have none
    const uint8_t *codes;               // [n_blocks][dim / 8][16][4]
    const void *rows;                   // by slot, NULL for int4
    const float *halves;                // by slot, under l2: half the square of a vector
    const int32_t *owner;               // [n_blocks]: list * 16 + child
    void *memory; size_t memory_size;   // of all these, ids and table, unless read_only
    kpd__tuned tuned[8]; size_t n_tuned;
    kpd__dial dial[KPD__DIAL];          // of each kpd__dial_recall; all 0 where nothing was measured
    int32_t arrived;                    // vectors since then
} kpd__nodes;

// Texts of ids. A slot without a vector has none, and none is an empty one.
typedef struct kpd__texts {
    const uint64_t *at;                 // by slot, NULL until there is one: where it begins << 24 | its size
    const char *bytes;                  // one after the other, with gaps where texts were removed or replaced
    size_t used, live, room;            // bytes up to the end of the last, of texts, that fit
} kpd__texts;

// What is kept of a vector beside its numbers, and moves with it.
typedef struct kpd__label { int64_t id; uint64_t text; int32_t partition; } kpd__label;

// What is known of a panel of a flat index's int8 codes: of each vector the sum of its codes; the step of all, how far a vector
// lies from its codes at most, and the longest and the shortest vector.
typedef struct kpd__note { int32_t sums[16]; float step, error, longest, shortest; uint32_t zero[12]; } kpd__note;

struct kpd_index {
    kpd_allocator allocator;
    kpd__file file;                     // when opened
    bool read_only;
    kpd_index_kind kind;
    int32_t dim, partition;
    kpd_metric metric;
    kpd_dtype storage;
    uint64_t fingerprint;
    float recall;
    kpd__nodes t;
    const kpd__ops *ops;
    size_t count, capacity, table_size; // vectors in use and of room for (a multiple of 16); a power of two
    const int64_t *ids;                 // [capacity]; owned unless read_only
    const int32_t *table;               // [table_size]
    const float *vectors;               // panels [capacity, dim]; beside codes rows
    const int8_t *codes;                // of a flat index of int8: [capacity / 16][dim padded to 64 / 4][16][4]
    const kpd__note *notes;             // and [capacity / 16]
    kpd__texts texts;
    const int32_t *parts;               // by slot: its partition; NULL where all are of `partition`
};

static size_t kpd__panel_bytes(size_t count, int32_t dim) { return kpd__round_up(count, 16) * (size_t)dim * sizeof(float); }

static int kpd__log2(size_t n) {
    int bits = 0;
    while (n >>= 1) bits++;
    return bits;
}

static size_t kpd__table_start(int64_t id, size_t table_size) {
    if (table_size < 2) return 0;       // a shift by 64 is undefined
    return (size_t)(((uint64_t)id * UINT64_C(0x9E3779B97F4A7C15)) >> (64 - kpd__log2(table_size)));
}

static size_t kpd__n_slots(const kpd_index *x) { return x->kind == KPD_TREE ? x->t.n_blocks * 16 : x->count; }
static size_t kpd__slot_room(const kpd_index *x) { return x->kind == KPD_TREE ? x->t.room_blocks * 16 : x->capacity; }

// The place of an id in the table, or the first empty place; table_size when a corrupt table has neither.
static size_t kpd__table_find(const kpd_index *x, int64_t id) {
    size_t at = kpd__table_start(id, x->table_size);
    for (size_t i = 0; i < x->table_size; i++, at = (at + 1) & (x->table_size - 1)) {
        int32_t slot = x->table[at];
        if (slot < 0 || ((size_t)slot < kpd__n_slots(x) && x->ids[slot] == id)) return at;
    }
    return x->table_size;
}

static int32_t kpd__index_slot(const kpd_index *x, int64_t id) {
    size_t at = x->table_size ? kpd__table_find(x, id) : 0;
    return at < x->table_size ? x->table[at] : -1;
}

// That of an id that has to be there; 0 on failure.
static kpd_status kpd__id_slot(const kpd_index *x, int64_t id, size_t *slot, kpd_error *e) {
    int32_t found = kpd__index_slot(x, id);
    *slot = found < 0 ? 0 : (size_t)found;
    if (found < 0) return kpd__fail(e, KPD_ERR_NOT_FOUND, -1, "index: has no id %lld", (long long)id);
    return KPD_OK;
}

static bool kpd__is_coded(const kpd_index *x) { return x->kind == KPD_FLAT && x->storage == KPD_INT8; }

static size_t kpd__vector_at(const kpd_index *x, size_t slot, size_t d) {
    return kpd__is_coded(x) ? slot * (size_t)x->dim + d : (slot / 16 * (size_t)x->dim + d) * 16 + slot % 16;
}

static void *kpd__own(const void *p) { return (void *)(uintptr_t)p; }   // of an index that is not read-only
static int64_t *kpd__own_ids(const kpd_index *x) { return (int64_t *)kpd__own(x->ids); }
static int32_t *kpd__own_table(const kpd_index *x) { return (int32_t *)kpd__own(x->table); }
static float *kpd__own_vectors(const kpd_index *x) { return (float *)kpd__own(x->vectors); }
static uint64_t *kpd__own_text(const kpd_index *x) { return (uint64_t *)kpd__own(x->texts.at); }

static kpd__label kpd__label_of(const kpd_index *x, int64_t id) {
    kpd__label l;
    l.id = id; l.text = 0; l.partition = x->partition;
    return l;
}

static kpd__label kpd__label_get(const kpd_index *x, size_t slot) {
    kpd__label l = kpd__label_of(x, x->ids[slot]);
    if (x->texts.at) l.text = x->texts.at[slot];
    if (x->parts) l.partition = x->parts[slot];
    return l;
}

static void kpd__label_put(kpd_index *x, size_t slot, kpd__label l) {
    kpd__own_ids(x)[slot] = l.id;
    if (x->texts.at) kpd__own_text(x)[slot] = l.text;
    if (x->parts) ((int32_t *)kpd__own(x->parts))[slot] = l.partition;
}

static size_t kpd__text_size(uint64_t at) { return (size_t)(at & 0xFFFFFF); }

// Whether a text lies where the index has texts, as in a mapped file it may not.
static bool kpd__text_inside(const kpd_index *x, uint64_t at) { return (at >> 24) + kpd__text_size(at) <= x->texts.used; }

static kpd_text kpd__text_of(const kpd_index *x, uint64_t at) {
    kpd_text t;
    t.size = kpd__text_size(at);
    t.data = t.size ? x->texts.bytes + (at >> 24) : "";
    return t;
}

static void kpd__text_drop(kpd_index *x, size_t slot) {
    if (!x->texts.at) return;
    x->texts.live -= kpd__text_size(x->texts.at[slot]);
    kpd__own_text(x)[slot] = 0;
}

// An array by slot as x has it, `from`, with y's room: to *to, NULL where it has none. False without memory.
static bool kpd__slots_lay(const kpd_index *x, const void *from, size_t size, const kpd_index *y, void **to) {
    *to = from ? kpd__alloc(&x->allocator, kpd__slot_room(y) * size) : NULL;
    if (*to) memcpy(*to, from, kpd__n_slots(x) * size);
    return !from == !*to;
}

// Gives y, whose other arrays it has, the texts and partitions of x. False without memory.
static bool kpd__labels_lay(const kpd_index *x, kpd_index *y) {
    void *at, *parts;
    bool ok = kpd__slots_lay(x, x->texts.at, sizeof *x->texts.at, y, &at);
    if (!kpd__slots_lay(x, x->parts, sizeof *x->parts, y, &parts)) ok = false;
    y->texts.at = (const uint64_t *)at; y->parts = (const int32_t *)parts;
    return ok;
}

static void kpd__labels_free(kpd_index *x) {
    kpd__free(&x->allocator, kpd__own_text(x), kpd__slot_room(x) * sizeof *x->texts.at);
    kpd__free(&x->allocator, kpd__own(x->parts), kpd__slot_room(x) * sizeof *x->parts);
}

static size_t kpd__coded_depth(const kpd_index *x) { return kpd__round_up((size_t)x->dim, 64); }
// Bytes of the codes and of the notes of so many vectors.
static size_t kpd__coded_bytes(const kpd_index *x, size_t count) {
    return kpd__is_coded(x) ? kpd__round_up(count, 16) * kpd__coded_depth(x) : 0;
}
static size_t kpd__notes_bytes(const kpd_index *x, size_t count) {
    return kpd__is_coded(x) ? kpd__round_up(count, 16) / 16 * sizeof(kpd__note) : 0;
}

static void kpd__store_free(kpd_index *x) {
    kpd__labels_free(x);
    kpd__free(&x->allocator, kpd__own(x->codes), kpd__coded_bytes(x, x->capacity));
    kpd__free(&x->allocator, kpd__own(x->notes), kpd__notes_bytes(x, x->capacity));
    kpd__free(&x->allocator, kpd__own_ids(x), x->capacity * sizeof(int64_t));
    kpd__free(&x->allocator, kpd__own_table(x), x->table_size * sizeof(int32_t));
    kpd__free(&x->allocator, kpd__own_vectors(x), kpd__panel_bytes(x->capacity, x->dim));
}

// Fills the table from the ids, which are all different.
static void kpd__table_build(kpd_index *x) {
    int32_t *table = kpd__own_table(x);
    for (size_t i = 0; i < x->table_size; i++) table[i] = -1;
    for (size_t i = 0; i < x->count; i++) table[kpd__table_find(x, x->ids[i])] = (int32_t)i;
}

// Takes an entry out of the table and closes the gap, so that probing needs no tombstones.
static void kpd__table_remove(kpd_index *x, size_t hole) {
    int32_t *table = kpd__own_table(x);
    size_t mask = x->table_size - 1, at = hole;
    for (;;) {
        table[hole] = -1;
        for (;;) {
            size_t home;
            at = (at + 1) & mask;
            if (table[at] < 0) return;
            home = kpd__table_start(x->ids[table[at]], x->table_size);
            if (((at - home) & mask) >= ((at - hole) & mask)) break;   // its probe passes the hole
        }
        table[hole] = table[at];
        hole = at;
    }
}

// Room for `count` vectors, in arrays of its own. On failure nothing has changed.
static kpd_status kpd__store_grow(kpd_index *x, size_t count, kpd_error *e) {
    kpd_index y = *x;
    size_t bytes, twice = x->read_only ? 0 : kpd__min(2 * x->capacity, (size_t)INT32_MAX - 64);
    if (count <= x->capacity && x->table_size && !x->read_only) return KPD_OK;
    if (count > (size_t)INT32_MAX - 64 || !kpd__mul_ok(count + 16, kpd__coded_depth(x) * 9 + 72, &bytes))
        return kpd__fail(e, KPD_ERR_LIMIT, -1, "index: %llu vectors are over the limit", (unsigned long long)count);
    y.capacity = kpd__round_up(kpd__max(kpd__max(count, 16), twice), 16);
    for (y.table_size = 32; y.table_size < y.capacity * 3 / 2; y.table_size *= 2) {}
    y.ids = (int64_t *)kpd__alloc(&x->allocator, y.capacity * sizeof(int64_t));
    y.table = (int32_t *)kpd__alloc(&x->allocator, y.table_size * sizeof(int32_t));
    y.vectors = (float *)kpd__alloc(&x->allocator, kpd__panel_bytes(y.capacity, y.dim));
    y.codes = kpd__is_coded(x) ? (int8_t *)kpd__alloc(&x->allocator, kpd__coded_bytes(x, y.capacity)) : NULL;
    y.notes = kpd__is_coded(x) ? (kpd__note *)kpd__alloc(&x->allocator, kpd__notes_bytes(x, y.capacity)) : NULL;
    if (!kpd__labels_lay(x, &y) || !y.ids || !y.table || !y.vectors ||
        (kpd__is_coded(x) && (!y.codes || !y.notes))) {
        kpd__store_free(&y);
        return kpd__no_memory(e, kpd__panel_bytes(y.capacity, y.dim));
    }
    if (x->count) {
        memcpy(kpd__own_ids(&y), x->ids, x->count * sizeof(int64_t));
        memcpy(kpd__own_vectors(&y), x->vectors, kpd__is_coded(x) ? x->count * (size_t)x->dim * sizeof(float)
                                                                  : kpd__panel_bytes(x->count, x->dim));
        if (y.codes) memcpy(kpd__own(y.codes), x->codes, kpd__coded_bytes(x, x->count));
        if (y.notes) memcpy(kpd__own(y.notes), x->notes, kpd__notes_bytes(x, x->count));
    }
    kpd__table_build(&y);
    if (!x->read_only) kpd__store_free(x);
    *x = y;
    return KPD_OK;
}

static void kpd__tree_free(kpd_index *x) {
    kpd__labels_free(x);
    kpd__free(&x->allocator, x->t.memory, x->t.memory_size);
}

// All arrays of an index that is not read-only.
static void kpd__index_free(kpd_index *x) {
    (x->kind == KPD_TREE ? kpd__tree_free : kpd__store_free)(x);
    kpd__free(&x->allocator, kpd__own(x->texts.bytes), x->texts.room);
}

KPDDEF void kpd_index_destroy(kpd_index *x) {
    kpd_allocator a;
    if (!x) return;
    a = x->allocator;
    if (!x->read_only) kpd__index_free(x);
    kpd__file_close(&x->file);
    kpd__free(&a, x, sizeof *x);
}

// metric, storage and kind are not enums yet: see kpd__enums_check.
static kpd_status kpd__index_check(int32_t dim, int metric, int storage, int kind, kpd_error *e) {
    if (kpd__range(e, "index: dim", dim, 1, KPD_MAX_WIDTH) || kpd__range(e, "index: metric", metric, 0, KPD_L2) ||
        kpd__range(e, "index: kind", kind, 0, KPD_TREE))
        return KPD_ERR_ARGUMENT;
    if (storage == KPD_F32 || storage == KPD_INT8 || (kind == KPD_TREE && (storage == KPD_INT16 || storage == KPD_INT4)))
        return KPD_OK;
    return kpd__fail(e, KPD_ERR_UNSUPPORTED, -1, "index: storage type %d, this version has 1 (f32)%s only", storage,
                     kind == KPD_TREE ? ", 3 (int8), 4 (int16) and 5 (int4)" : " and 3 (int8)");
}

static kpd_status kpd__recall_check(const char *what, float recall, kpd_error *e) {
    if (recall >= 0 && recall <= 1) return KPD_OK;
    return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "%s: recall is %g, expected above 0 to 1, or 0 for the default", what,
                     (double)recall);
}

static kpd_status kpd__index_make(const kpd_index_desc *d, kpd_index **out, kpd_error *e) {
    kpd_index_desc none;
    kpd_index *x;
    const kpd__ops *ops;
    kpd_status s;
    if (!d) d = (const kpd_index_desc *)memset(&none, 0, sizeof none);
    if (kpd__desc_check("index", d->abi, d->reserved, e)) return KPD_ERR_ARGUMENT;
    if (!kpd__allocator_ok(&d->allocator))
        return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "allocator: has one function, expected both or none");
    s = kpd__index_check(d->dim, (int)d->metric, d->storage ? (int)d->storage : KPD_F32, (int)d->kind, e);
    if (!s) s = kpd__recall_check("index", d->recall, e);
    if (s) return s;
    s = kpd__choose_level(d->simd ? d->simd : kpd__best_before(KPD_SIMD_AMX), &ops, e);   // it has no use for tiles
    if (s) return s;
    x = (kpd_index *)kpd__alloc(&d->allocator, sizeof *x);
    if (!x) return kpd__no_memory(e, sizeof *x);
    x->allocator = d->allocator; x->dim = d->dim; x->metric = d->metric; x->ops = ops;
    x->kind = d->kind; x->storage = d->storage ? d->storage : KPD_F32;
    x->fingerprint = d->fingerprint; x->partition = d->partition;
    x->recall = d->recall > 0 ? d->recall : 0.95f;
    *out = x;
    return KPD_OK;
}

// Of the arrays that are its own.
static size_t kpd__index_bytes(const kpd_index *x) {
    size_t a_slot = (x->texts.at ? sizeof *x->texts.at : 0) + (x->parts ? sizeof *x->parts : 0);
    size_t texts = x->texts.room + kpd__slot_room(x) * a_slot;
    if (x->kind == KPD_TREE) return x->t.memory_size + texts;
    return x->capacity * sizeof(int64_t) + x->table_size * sizeof(int32_t) + kpd__panel_bytes(x->capacity, x->dim) + texts +
           kpd__coded_bytes(x, x->capacity) + kpd__notes_bytes(x, x->capacity);
}

KPDDEF int64_t kpd_index_count(const kpd_index *x) { return (int64_t)x->count; }

KPDDEF void kpd_index_get_info(const kpd_index *x, kpd_index_info *i) {
    memset(i, 0, sizeof *i);
    i->count = (int64_t)x->count;
    i->slots = (int64_t)kpd__n_slots(x);
    i->bytes = (int64_t)(sizeof *x + (x->read_only ? x->file.size : kpd__index_bytes(x)));
    i->text_bytes = (int64_t)x->texts.used;
    i->dim = x->dim; i->metric = x->metric; i->storage = x->storage; i->read_only = x->read_only;
    i->kind = x->kind; i->lists = (int32_t)x->t.n_lists; i->blocks = (int32_t)x->t.n_blocks;
    i->tuned = (int32_t)x->t.n_tuned;
    i->recall = x->recall; i->fingerprint = x->fingerprint; i->partition = x->partition;
}

static kpd_status kpd__writable(const kpd_index *x, kpd_error *e) {
    if (!x->read_only) return KPD_OK;
    return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "index: is mapped or borrowed, hence read-only; open it with copy to change it");
}

// Of a vector in a tree under dot and l2: so that no sum of squares overflows, of however many vectors.
#define KPD__LONGEST 1e15f

static bool kpd__short_enough(const kpd_index *x, const float *v) {
    return x->kind == KPD_FLAT || x->metric == KPD_COSINE || x->ops->dot(v, v, (size_t)x->dim) <= KPD__LONGEST * KPD__LONGEST;
}

// Squares that overflow or vanish count as no length, since the unit vector would not be finite or not of length 1.
static kpd_status kpd__vectors_check(const kpd_index *x, const float *v, size_t n, const char *what, kpd_error *e) {
    size_t dim = (size_t)x->dim;
    for (size_t i = 0; i < n; i++) {
        size_t bad = kpd__not_finite(v + i * dim, dim);
        float square;
        if (bad < dim)
            return kpd__fail(e, KPD_ERR_INPUT, (int64_t)i, "%s %llu: value %llu is not finite", what, (unsigned long long)i,
                             (unsigned long long)bad);
        if (!kpd__short_enough(x, v + i * dim))
            return kpd__fail(e, KPD_ERR_INPUT, (int64_t)i, "%s %llu: is longer than %g, too long for a tree", what,
                             (unsigned long long)i, (double)KPD__LONGEST);
        if (x->metric != KPD_COSINE) continue;
        square = x->ops->dot(v + i * dim, v + i * dim, dim);
        if (!kpd__finite(square) || square < 1e-24f)
            return kpd__fail(e, KPD_ERR_INPUT, (int64_t)i, "%s %llu: has no direction (length %g), which cosine needs", what,
                             (unsigned long long)i, (double)sqrtf(square));
    }
    return KPD_OK;
}

// What an index divides v by before it stores it.
static float kpd__stored_length(const kpd_index *x, const float *v) {
    return x->metric == KPD_COSINE ? sqrtf(x->ops->dot(v, v, (size_t)x->dim)) : 1;
}

static void kpd__unit_row(const kpd_index *x, const float *v, float *out) {
    float length = kpd__stored_length(x, v);
    for (size_t d = 0; d < (size_t)x->dim; d++) out[d] = v[d] / length;
}

// LABELS  Texts and partitions.

static kpd_status kpd__has_id(const kpd_index *x, int64_t id, const char *what, size_t i, kpd_error *e) {
    if (kpd__index_slot(x, id) >= 0) return KPD_OK;
    return kpd__fail(e, KPD_ERR_NOT_FOUND, (int64_t)i, "%s %llu: the index has no id %lld", what, (unsigned long long)i,
                     (long long)id);
}

static kpd_status kpd__texts_check(const kpd_index *x, const int64_t *ids, const kpd_text *texts, size_t n, size_t *bytes,
                                   kpd_error *e) {
    *bytes = 0;
    for (size_t i = 0; i < n; i++) {
        if (kpd__has_id(x, ids[i], "text", i, e)) return KPD_ERR_NOT_FOUND;
        if (texts[i].size && !texts[i].data)
            return kpd__fail(e, KPD_ERR_INPUT, (int64_t)i, "text %llu: is NULL, but has a size", (unsigned long long)i);
        if (texts[i].size > KPD_MAX_TEXT || !kpd__add_ok(*bytes, texts[i].size, bytes))
            return kpd__fail(e, KPD_ERR_LIMIT, (int64_t)i, "text %llu: has %llu bytes, at most %d", (unsigned long long)i,
                             (unsigned long long)texts[i].size, KPD_MAX_TEXT);
    }
    return KPD_OK;
}

// Room for so many more bytes: the texts move together, where they do not fit. On failure nothing has changed.
static kpd_status kpd__texts_room(kpd_index *x, size_t more, kpd__texts *old, kpd_error *e) {
    kpd__texts *t = &x->texts;
    uint64_t *at = kpd__own_text(x);
    size_t used = 0, room;
    char *to;
    if (more <= t->room - t->used) return KPD_OK;
    if (!kpd__add_ok(t->live + t->live / 2, more, &room) || (uint64_t)room >> 40)
        return kpd__fail(e, KPD_ERR_LIMIT, -1, "index: %llu more bytes of texts are over the limit", (unsigned long long)more);
    to = (char *)kpd__alloc(&x->allocator, room);
    if (!to) return kpd__no_memory(e, room);
    for (size_t i = 0, n = kpd__n_slots(x); i < n; i++) {
        size_t size = kpd__text_size(at[i]);
        if (!size) continue;
        memcpy(to + used, t->bytes + (at[i] >> 24), size);
        at[i] = (uint64_t)used << 24 | size;
        used += size;
    }
    *old = *t;
    t->bytes = to; t->used = used; t->room = room;
    return KPD_OK;
}

static void kpd__text_put(kpd_index *x, size_t slot, kpd_text text) {
    kpd__texts *t = &x->texts;
    kpd__text_drop(x, slot);
    if (!text.size) return;
    memcpy((char *)kpd__own(t->bytes) + t->used, text.data, text.size);
    kpd__own_text(x)[slot] = (uint64_t)t->used << 24 | text.size;
    t->used += text.size;
    t->live += text.size;
}

KPDDEF kpd_status kpd_index_set_text(kpd_index *x, const int64_t *ids, const kpd_text *texts, size_t n, kpd_error *e) {
    size_t bytes, slots = kpd__slot_room(x);
    bool first = !x->texts.at;
    kpd__texts old;
    kpd_status s = kpd__writable(x, e);
    if (!s) s = kpd__texts_check(x, ids, texts, n, &bytes, e);
    if (s || (first && !bytes)) return kpd__end(s, e);
    if (first) x->texts.at = (const uint64_t *)kpd__alloc(&x->allocator, slots * sizeof(uint64_t));
    if (!x->texts.at) return kpd__no_memory(e, slots * sizeof(uint64_t));
    memset(&old, 0, sizeof old);
    s = kpd__texts_room(x, bytes, &old, e);
    if (s && first) { kpd__free(&x->allocator, kpd__own_text(x), slots * sizeof(uint64_t)); x->texts.at = NULL; }
    for (size_t i = 0; !s && i < n; i++) kpd__text_put(x, (size_t)kpd__index_slot(x, ids[i]), texts[i]);
    kpd__free(&x->allocator, kpd__own(old.bytes), old.room);        // in which a given text may lie
    return kpd__end(s, e);
}

KPDDEF kpd_status kpd_index_set_partition(kpd_index *x, const int64_t *ids, const int32_t *partitions, size_t n, kpd_error *e) {
    size_t bytes = kpd__slot_room(x) * sizeof *x->parts;
    kpd_status s = kpd__writable(x, e);
    int32_t *parts = (int32_t *)kpd__own(x->parts);
    for (size_t i = 0; !s && i < n; i++) s = kpd__has_id(x, ids[i], "partition", i, e);
    if (s || !n) return kpd__end(s, e);
    if (!parts) {
        parts = (int32_t *)kpd__alloc(&x->allocator, bytes);
        if (!parts) return kpd__no_memory(e, bytes);
        for (size_t i = 0; i < kpd__slot_room(x); i++) parts[i] = x->partition;
        x->parts = parts;
    }
    for (size_t i = 0; i < n; i++) parts[kpd__index_slot(x, ids[i])] = partitions[i];
    return kpd__end(KPD_OK, e);
}

KPDDEF kpd_status kpd_index_partition(const kpd_index *x, int64_t id, int32_t *out, kpd_error *e) {
    size_t slot;
    if (kpd__id_slot(x, id, &slot, e)) return KPD_ERR_NOT_FOUND;
    *out = x->parts ? x->parts[slot] : x->partition;
    return kpd__end(KPD_OK, e);
}

KPDDEF kpd_status kpd_index_text(const kpd_index *x, int64_t id, kpd_text *out, kpd_error *e) {
    size_t slot;
    uint64_t at;
    if (kpd__id_slot(x, id, &slot, e)) return KPD_ERR_NOT_FOUND;
    at = x->texts.at ? x->texts.at[slot] : 0;
    if (!kpd__text_inside(x, at))
        return kpd__fail(e, KPD_ERR_FORMAT, -1, "index: the text of id %lld (offset %llu, size %llu) is not inside the texts' "
                         "%llu bytes", (long long)id, (unsigned long long)(at >> 24), (unsigned long long)kpd__text_size(at),
                         (unsigned long long)x->texts.used);
    *out = kpd__text_of(x, at);
    return kpd__end(KPD_OK, e);
}

// >>kmeans  Lloyd's k-means, under cosine with centroids of unit length, and the cutting of lists into blocks. Promises the
// same centroids for any number of threads: a centroid's sum runs over its vectors in order.

#define KPD__ASSIGNED 240       // vectors that a task assigns at a time, 5 x KPD__QUERIES
#define KPD__CENTROIDS 256      // centroids that they are compared with at a time

// A key that orders by score, and of equal ones puts the smaller number above.
static uint64_t kpd__key(float score, uint32_t number) {
    uint32_t u = kpd__to_bits(score);
    u ^= u >> 31 ? 0xFFFFFFFFu : 0x80000000u;
    return (uint64_t)u << 32 | (uint32_t)~number;
}
static uint32_t kpd__key_number(uint64_t key) { return (uint32_t)~key; }
static float kpd__key_score(uint64_t key) {
    uint32_t u = (uint32_t)(key >> 32);
    return kpd__from_bits(u ^ (u >> 31 ? 0x80000000u : 0xFFFFFFFFu));
}

static uint64_t kpd__middle(uint64_t a, uint64_t b, uint64_t c) {
    uint64_t high = a > b ? a : b, low = a > b ? b : a;
    return c > high ? high : c < low ? low : c;
}

// Puts the `first` largest of n keys before the others; which these are does not depend on how.
static void kpd__select(uint64_t *keys, size_t n, size_t first) {
    ptrdiff_t l = 0, r = (ptrdiff_t)n - 1, want = (ptrdiff_t)first - 1;
    while (l < r) {
        uint64_t x = kpd__middle(keys[l], keys[r], keys[l + (r - l) / 2]);
        ptrdiff_t i = l, j = r;
        while (i <= j) {
            while (keys[i] > x) i++;
            while (keys[j] < x) j--;
            if (i <= j) { uint64_t t = keys[i]; keys[i++] = keys[j]; keys[j--] = t; }
        }
        if (want <= j) r = j;
        else if (want >= i) l = i;
        else break;
    }
}

static uint64_t kpd__least_key(const uint64_t *keys, size_t n) {
    uint64_t least = UINT64_MAX;
    for (size_t i = 0; i < n; i++) least = keys[i] < least ? keys[i] : least;
    return least;
}

static uint64_t kpd__shuffle(uint64_t *state) { return kpd__mix(*state += UINT64_C(0x9E3779B97F4A7C15)); }

typedef struct kpd__cluster {
    const kpd__ops *ops;
    kpd_metric metric;
    const kpd_parallel *parallel;
    int32_t n_tasks;
    size_t dim, n, k;                   // vectors, of unit length under cosine; centroids
    const float *v;                     // [n, dim]
    uint32_t *sample; size_t n_sample;  // rows that the centroids are made of; n_sample = n: all
    bool by_bytes;                      // vectors are compared with the centroids in six and eight bits, else in f32
    uint8_t *bytes; float *step;        // [n, dim padded to 64], [n]: of the vectors, see kpd__narrow_row
    int8_t *codes; float *code_step;    // of the centroids: [k padded to 32, depth], panels as of a flat index; [panels]
    int32_t *code_sums;                 // [k padded to 32]
    size_t from, to;                    // of the sample, which are being assigned
    float *panels, *half;               // [k padded to 16, dim], [k padded]: centroids, and half their squares but under cosine
    uint32_t *nearest; float *score;    // [n], of each of the sample, or of all
    uint32_t *members; size_t *start;   // [n], [k + 1]: the sample by centroid
    uint64_t *keys;                     // [n]
    float *work; size_t work_floats;    // of each task
    kpd__progress progress;
} kpd__cluster;

static size_t kpd__cluster_work(size_t dim) {   // in floats; of bytes it takes less: [48, depth], best, at, sums of 2 panels
    return KPD__QUERIES * (kpd__round_up(dim, 64) + KPD__CENTROIDS) + 4 * dim;
}
static size_t kpd__cluster_depth(const kpd__cluster *c) { return kpd__round_up(c->dim, 64); }

static void kpd__cluster_lay(kpd__cluster *c, kpd__arena *a) {
    size_t k16 = kpd__round_up(c->k, 16);
    c->sample = (uint32_t *)kpd__take(a, c->n, sizeof(uint32_t));
    c->nearest = (uint32_t *)kpd__take(a, c->n, sizeof(uint32_t));
    c->members = (uint32_t *)kpd__take(a, c->n, sizeof(uint32_t));
    c->score = (float *)kpd__take(a, c->n, sizeof(float));
    c->start = (size_t *)kpd__take(a, c->k + 1, sizeof(size_t));
    c->keys = (uint64_t *)kpd__take(a, c->n, sizeof(uint64_t));
    c->panels = (float *)kpd__take(a, k16, c->dim * sizeof(float));
    c->half = (float *)kpd__take(a, k16, sizeof(float));
    c->work_floats = kpd__cluster_work(c->dim);
    c->work = (float *)kpd__take(a, c->work_floats, (size_t)c->n_tasks * sizeof(float));
    if (!c->by_bytes) return;
    c->bytes = (uint8_t *)kpd__take(a, c->n, kpd__cluster_depth(c));
    c->step = (float *)kpd__take(a, c->n, sizeof(float));
    c->codes = (int8_t *)kpd__take(a, kpd__round_up(c->k, 32), kpd__cluster_depth(c));
    c->code_step = (float *)kpd__take(a, k16 / 16, sizeof(float));
    c->code_sums = (int32_t *)kpd__take(a, kpd__round_up(c->k, 32), sizeof(int32_t));
}

static const float *kpd__cluster_row(const kpd__cluster *c, size_t i) { return c->v + (size_t)c->sample[i] * c->dim; }

// The nearest of the centroids for rows [first, first + n) of the sample, at most KPD__QUERIES.
static void kpd__assign_some(const kpd__cluster *c, size_t first, size_t n, float *work) {
    float *rows = work, *scores = work + KPD__QUERIES * c->dim;
    for (size_t i = 0; i < n; i++) {
        memcpy(rows + i * c->dim, kpd__cluster_row(c, first + i), c->dim * sizeof *rows);
        c->score[first + i] = -INFINITY;
        c->nearest[first + i] = 0;
    }
    for (size_t from = 0; from < c->k; from += KPD__CENTROIDS) {
        size_t m = kpd__min(KPD__CENTROIDS, c->k - from), ld = kpd__round_up(m, 16);
        c->ops->scan(KPD_DOT, rows, n, c->dim, c->panels + from * c->dim, ld / 16, scores);
        for (size_t i = 0; i < n; i++) {
            size_t j = c->ops->greatest(scores + i * ld, c->half + from, m, &c->score[first + i]);
            if (j < m) c->nearest[first + i] = (uint32_t)(from + j);
        }
    }
}

static void kpd__bytes_task(void *arg, int32_t task) {
    const kpd__cluster *c = (const kpd__cluster *)arg;
    for (size_t i = (size_t)task; i < c->n; i += (size_t)c->n_tasks)
        c->step[i] = kpd__narrow_row(c->v + i * c->dim, c->dim, c->bytes + i * kpd__cluster_depth(c));
}

// The centroids in bytes. Those that pad the last panel are near to nothing.
static void kpd__codes_task(void *arg, int32_t task) {
    const kpd__cluster *c = (const kpd__cluster *)arg;
    const size_t depth = kpd__cluster_depth(c);
    for (size_t p = (size_t)task; p * 16 < c->k; p += (size_t)c->n_tasks) {
        const float *v = c->panels + p * 16 * c->dim, step = kpd__widest(v, 16 * c->dim) / 127;
        c->code_step[p] = step;
        for (size_t i = 0; i < 16; i++) {
            int32_t sum = p * 16 + i < c->k ? 0 : INT32_MAX / 64;
            for (size_t d = 0; d < c->dim; d++) {
                int8_t code = (int8_t)kpd__to_step(v[d * 16 + i], step, 127);
                c->codes[p * 16 * depth + d / 4 * 64 + i * 4 + d % 4] = code;
                sum += code;
            }
            c->code_sums[p * 16 + i] = sum;
        }
    }
}

// As kpd__assign_some, by bytes: six bits of a number are enough to tell which centroid is near; lists made by them are
// searched with as much work as lists made in f32. Of equal scores the first centroid counts, as there.
static void kpd__assign_bytes(const kpd__cluster *c, size_t first, size_t n, float *work) {
    const size_t depth = kpd__cluster_depth(c), panels = (c->k + 15) / 16;
    float *best = work, *at = best + KPD__QUERIES * 16;
    int32_t *sums = (int32_t *)(void *)(at + KPD__QUERIES * 16);
    uint8_t *rows = (uint8_t *)(void *)(sums + KPD__DOT_PANELS * KPD__QUERIES * 16);
    for (size_t i = 0; i < n; i++) kpd__narrow_put(c->ops, c->bytes + c->sample[first + i] * depth, depth, rows, i);
    for (size_t i = 0; i < n * 16; i++) { best[i] = -INFINITY; at[i] = 0; }
    for (size_t p = 0; p < panels; p += KPD__DOT_PANELS) {
        const size_t m = kpd__min(KPD__DOT_PANELS, panels - p);
        kpd__narrow_dots(c->ops)(rows, n, depth, c->codes + p * 16 * depth, m, NULL, sums);
        for (size_t j = 0; j < m; j++)
            c->ops->nearest(sums + j * kpd__round_up(n, 16) * 16, c->code_sums + (p + j) * 16, n, c->code_step[p + j],
                            (float)(p + j), best, at);
    }
    for (size_t i = 0; i < n; i++) {
        uint64_t key = 0;
        for (size_t j = 0; j < 16; j++) {
            uint64_t other = kpd__key(best[i * 16 + j], (uint32_t)at[i * 16 + j] * 16 + (uint32_t)j);
            key = other > key ? other : key;
        }
        c->nearest[first + i] = kpd__key_number(key);
        c->score[first + i] = kpd__key_score(key) * c->step[c->sample[first + i]];
    }
}

static void kpd__assign_task(void *arg, int32_t task) {
    const kpd__cluster *c = (const kpd__cluster *)arg;
    float *work = c->work + (size_t)task * c->work_floats;
    if (c->by_bytes) kpd__tiles(c->ops, true);
    for (size_t at = c->from + (size_t)task * KPD__ASSIGNED; at < c->to; at += (size_t)c->n_tasks * KPD__ASSIGNED)
        for (size_t i = at; i < kpd__min(at + KPD__ASSIGNED, c->to); i += KPD__QUERIES)
            (c->by_bytes ? kpd__assign_bytes : kpd__assign_some)(
                c, i, kpd__min(KPD__QUERIES, kpd__min(at + KPD__ASSIGNED, c->to) - i), work);
    if (c->by_bytes) kpd__tiles(c->ops, false);
}

// The nearest of the centroids for the whole sample, in pieces after each of which the host is asked.
static kpd_status kpd__assign(kpd__cluster *c, kpd_error *e) {
    kpd_status s = KPD_OK;
    if (c->by_bytes) kpd__run(c->parallel, c->n_tasks, kpd__codes_task, c);
    for (c->from = 0; !s && c->from < c->n_sample; c->from = c->to) {
        c->to = kpd__min(c->n_sample, c->from + kpd__max(c->n_sample / 16, 65536));
        kpd__run(c->parallel, c->n_tasks, kpd__assign_task, c);
        s = kpd__progress_add(&c->progress, c->to - c->from, e);
    }
    return s;
}

// The sample by centroid, each centroid's in order.
static void kpd__cluster_sort(kpd__cluster *c) {
    memset(c->start, 0, (c->k + 1) * sizeof *c->start);
    for (size_t i = 0; i < c->n_sample; i++) c->start[c->nearest[i] + 1]++;
    for (size_t j = 0; j < c->k; j++) c->start[j + 1] += c->start[j];
    for (size_t i = 0; i < c->n_sample; i++) c->members[c->start[c->nearest[i]]++] = (uint32_t)i;
    for (size_t j = c->k; j > 0; j--) c->start[j] = c->start[j - 1];
    c->start[0] = 0;
}

// Centroids without vectors take the ones that lie farthest from theirs, of those that are not alone.
static void kpd__cluster_mend(kpd__cluster *c) {
    size_t empty = 0, at = 0;
    for (size_t j = 0; j < c->k; j++) empty += c->start[j] == c->start[j + 1];
    if (!empty || c->n_sample < c->k) return;
    for (size_t i = 0; i < c->n_sample; i++) {
        const float *v = kpd__cluster_row(c, i);
        float square = c->metric == KPD_COSINE ? 0 : c->ops->dot(v, v, c->dim);
        size_t j = c->nearest[i];
        c->keys[i] = c->members[c->start[j]] == i ? 0 : kpd__key(0.5f * square - c->score[i], (uint32_t)i);   // one must stay
    }
    kpd__select(c->keys, c->n_sample, empty);
    for (size_t j = 0; j < c->k; j++)
        if (c->start[j] == c->start[j + 1]) {
            if (c->keys[at]) c->nearest[kpd__key_number(c->keys[at])] = (uint32_t)j;
            at++;
        }
    kpd__cluster_sort(c);
}

static void kpd__centroid_put(const kpd__cluster *c, size_t j, const float *v) {
    for (size_t d = 0; d < c->dim; d++) c->panels[(j / 16 * c->dim + d) * 16 + j % 16] = v[d];
    c->half[j] = c->metric == KPD_COSINE ? 0 : 0.5f * c->ops->dot(v, v, c->dim);
}

static void kpd__centroid_task(void *arg, int32_t task) {
    const kpd__cluster *c = (const kpd__cluster *)arg;
    float *mean = c->work + (size_t)task * c->work_floats;
    for (size_t j = (size_t)task; j < c->k; j += (size_t)c->n_tasks) {
        size_t n = c->start[j + 1] - c->start[j];
        float share = n ? 1.0f / (float)n : 0;
        if (!n) continue;               // fewer different vectors than centroids: it stays
        memset(mean, 0, c->dim * sizeof *mean);
        for (size_t i = c->start[j]; i < c->start[j + 1]; i++)
            c->ops->add_share(mean, kpd__cluster_row(c, c->members[i]), c->dim, share);
        if (c->metric == KPD_COSINE) c->ops->normalize(mean, c->dim, mean);
        kpd__centroid_put(c, j, mean);
    }
}

// Makes the centroids: some rounds over a sample, drawn by `seed`; then assigns all vectors and sorts them. Of the host's
// progress `more` are left for the caller.
static kpd_status kpd__cluster_run(kpd__cluster *c, size_t sample, int32_t rounds, uint64_t seed, size_t more, kpd_error *e) {
    kpd_status s = KPD_OK;
    for (size_t i = 0; i < c->n; i++) c->sample[i] = (uint32_t)i;
    c->n_sample = kpd__min(c->n, sample);
    for (size_t i = 0; i < c->n_sample; i++) {
        size_t j = i + (size_t)(kpd__shuffle(&seed) % (c->n - i));
        uint32_t t = c->sample[i];
        c->sample[i] = c->sample[j];
        c->sample[j] = t;
    }
    for (size_t j = 0; j < c->k; j++) kpd__centroid_put(c, j, kpd__cluster_row(c, j % c->n_sample));
    c->progress.done = 0;
    c->progress.of = (size_t)rounds * c->n_sample + c->n + more;
    if (c->by_bytes) kpd__run(c->parallel, c->n_tasks, kpd__bytes_task, c);
    for (int32_t r = 0; r < rounds; r++) {
        s = kpd__assign(c, e);
        if (s) return s;
        kpd__cluster_sort(c);
        kpd__cluster_mend(c);
        kpd__run(c->parallel, c->n_tasks, kpd__centroid_task, c);
    }
    for (size_t i = 0; i < c->n; i++) c->sample[i] = (uint32_t)i;
    c->n_sample = c->n;
    s = kpd__assign(c, e);
    if (!s) kpd__cluster_sort(c);
    return s;
}

// What cuts a list into blocks: rows of v by number, keys [a list's length], work [4 dim].
typedef struct kpd__cutter {
    const kpd__ops *ops;
    const float *v;
    size_t dim;
    uint64_t *keys;
    float *work;
} kpd__cutter;

// How many of m vectors go to the left: whole blocks, about half; above 256, whole lists of 256.
static size_t kpd__cut_left(size_t m) {
    size_t lists = (m + 255) / 256;
    return m > 256 ? (m * (lists / 2) / lists + 8) / 16 * 16 : (m + 15) / 16 / 2 * 16;
}

static uint32_t kpd__farthest(const kpd__cutter *c, const uint32_t *rows, size_t m, const float *from, float *part) {
    uint32_t far = rows[0];
    float most = -1;
    for (size_t i = 0; i < m; i++) {
        const float *v = c->v + (size_t)rows[i] * c->dim;
        float square;
        for (size_t d = 0; d < c->dim; d++) part[d] = v[d] - from[d];
        square = c->ops->dot(part, part, c->dim);
        if (square > most) { most = square; far = rows[i]; }
    }
    return far;
}

static void kpd__rows_mean(const kpd__cutter *c, const uint32_t *rows, size_t m, float *mean) {
    float share = 1.0f / (float)m;
    memset(mean, 0, c->dim * sizeof *mean);
    for (size_t i = 0; i < m; i++) c->ops->add_share(mean, c->v + (size_t)rows[i] * c->dim, c->dim, share);
}

// Balanced 2-means: the `left` rows that reach farthest from b's side to a's come first.
static void kpd__cut_once(const kpd__cutter *c, uint32_t *rows, size_t m, size_t left) {
    float *a = c->work, *b = a + c->dim, *way = b + c->dim;
    kpd__rows_mean(c, rows, m, b);
    memcpy(a, c->v + (size_t)kpd__farthest(c, rows, m, b, way) * c->dim, c->dim * sizeof *a);
    memcpy(b, c->v + (size_t)kpd__farthest(c, rows, m, a, way) * c->dim, c->dim * sizeof *b);
    for (int round = 0; round < 6; round++) {
        for (size_t d = 0; d < c->dim; d++) way[d] = a[d] - b[d];
        for (size_t i = 0; i < m; i++) {
            const float *v = c->v + (size_t)rows[i] * c->dim;
            c->keys[i] = kpd__key(c->ops->dot(v, way, c->dim), rows[i]);
        }
        kpd__select(c->keys, m, left);
        for (size_t i = 0; i < m; i++) rows[i] = kpd__key_number(c->keys[i]);
        kpd__rows_mean(c, rows, left, a);
        kpd__rows_mean(c, rows + left, m - left, b);
    }
}

// Orders rows so that near ones share a block of 16, and blocks a list.
static void kpd__cut_blocks(const kpd__cutter *c, uint32_t *rows, size_t m) {
    size_t left = kpd__cut_left(m);
    if (m <= 16) return;
    kpd__cut_once(c, rows, m, left);
    kpd__cut_blocks(c, rows, left);
    kpd__cut_blocks(c, rows + left, m - left);
}

// The lengths of the lists that kpd__cut_blocks makes of m vectors: to out, or NULL; how many.
static size_t kpd__cut_lists(size_t m, uint32_t *out) {
    size_t left = kpd__cut_left(m), n;
    if (m <= 256) {
        if (out) *out = (uint32_t)m;
        return m > 0;
    }
    n = kpd__cut_lists(left, out);
    return n + kpd__cut_lists(m - left, out ? out + n : NULL);
}

// >>tree_store  The nodes, codes and rows of a tree (see >>format), in one block of memory or in a mapped file. A list's
// vectors fill blocks of 16 that may lie anywhere; slot = block * 16 + place. Promises that a number read from a file is not
// followed before it was compared with what there is.

static size_t kpd__groups(const kpd_index *x) { return ((size_t)x->dim + 7) / 8; }
static size_t kpd__code_bytes(const kpd_index *x) { return kpd__groups(x) * 64; }
static size_t kpd__node_bytes(const kpd_index *x) { return kpd__code_bytes(x) + sizeof(kpd__node); }
static size_t kpd__row_bytes(const kpd_index *x) {   // of what is kept of a vector beside its codes
    return x->storage == KPD_F32     ? (size_t)x->dim * 4
           : x->storage == KPD_INT16 ? (size_t)x->dim * 2
           : x->storage == KPD_INT8  ? kpd__groups(x) * 4
                                     : 0;
}

static kpd__node *kpd__panel_node(const kpd_index *x, const uint8_t *panels, size_t i) {
    return (kpd__node *)kpd__own(panels + i * kpd__node_bytes(x) + kpd__code_bytes(x));
}
// Of a list: its blocks.
static kpd__node *kpd__list_node(const kpd_index *x, size_t list) { return kpd__panel_node(x, x->t.blocks, list); }

// The step of a block's codes, 0 if its owner does not know it.
static float kpd__block_step(const kpd_index *x, size_t block) {
    size_t owner = (uint32_t)x->t.owner[block], list = owner / 16;
    const kpd__node *node;
    if (list >= x->t.n_lists) return 0;
    node = kpd__list_node(x, list);
    return node->child[owner % 16] == block ? node->step[owner % 16] : 0;
}

static size_t kpd__nibble_at(size_t place, size_t d) { return d / 8 * 64 + place * 4 + d % 4; }
static void kpd__nibble_put(uint8_t *codes, size_t place, size_t d, unsigned value) {
    uint8_t *at = codes + kpd__nibble_at(place, d);
    int shift = (int)(d % 8 / 4 * 4);
    *at = (uint8_t)((*at & (0xF0u >> shift)) | value << shift);
}

#define KPD__WORDS_OF_STEP (32767.0f / 127.0f)   // 16-bit rows: this many of their steps are one of the codes

// What the four bytes of a group say of a vector, by their nibbles: 8 numbers; low or NULL as >>format says. All but the last
// product is exact.
static void kpd__nibbles_get(const uint8_t *codes, const uint8_t *low, float step, float *out) {
    for (size_t j = 0; j < 4; j++) {
        float less = -120.5f, more = -120.5f;
        if (low) { less = (float)(low[j] & 15) - 128; more = (float)(low[j] >> 4) - 128; }
        out[j] = ((float)((codes[j] & 15) << 4) + less) * step;
        out[4 + j] = ((float)(codes[j] & 240) + more) * step;
    }
}

// The vector of a slot, as it is kept.
static void kpd__row_get(const kpd_index *x, size_t slot, float *out) {
    size_t dim = (size_t)x->dim, block = slot / 16, at = block * kpd__code_bytes(x) + slot % 16 * 4, d = 0;
    const uint8_t *low = x->storage == KPD_INT8 ? (const uint8_t *)x->t.rows : NULL;
    float step, rest[8];
    if (x->storage == KPD_F32) {
        memcpy(out, (const float *)x->t.rows + slot * dim, dim * sizeof *out);
        return;
    }
    step = kpd__block_step(x, block);
    if (x->storage == KPD_INT16) {
        const int16_t *words = (const int16_t *)x->t.rows + slot * dim;
        for (; d < dim; d++) out[d] = (float)words[d] * (step / KPD__WORDS_OF_STEP);
        return;
    }
    for (; d + 8 <= dim; d += 8, at += 64) kpd__nibbles_get(x->t.codes + at, low ? low + at : NULL, step, out + d);
    if (d == dim) return;
    kpd__nibbles_get(x->t.codes + at, low ? low + at : NULL, step, rest);
    memcpy(out + d, rest, (dim - d) * sizeof *out);
}

static void kpd__row_put(kpd_index *x, size_t slot, const float *v, float step) {
    size_t dim = (size_t)x->dim, block = slot / 16, place = slot % 16, at = block * kpd__code_bytes(x);
    uint8_t *codes = (uint8_t *)kpd__own(x->t.codes) + at, *low = (uint8_t *)kpd__own(x->t.rows);
    if (x->storage == KPD_F32) memcpy((float *)(void *)low + slot * dim, v, dim * sizeof *v);
    for (size_t d = 0; d < dim; d++) {
        unsigned u = (unsigned)(kpd__to_step(v[d], step, 127) + 128);
        kpd__nibble_put(codes, place, d, u >> 4);
        if (x->storage == KPD_INT8) kpd__nibble_put(low + at, place, d, u & 15u);
        if (x->storage == KPD_INT16)
            ((int16_t *)(void *)low)[slot * dim + d] = (int16_t)kpd__to_step(v[d], step / KPD__WORDS_OF_STEP, 32767);
    }
}

// Child `place` of a panel: its mean, and the square of how far its members lie from that.
static void kpd__node_put(const kpd_index *x, uint8_t *panels, size_t panel, size_t place, const float *mean, float square) {
    size_t dim = (size_t)x->dim;
    uint8_t *codes = panels + panel * kpd__node_bytes(x);
    kpd__node *node = kpd__panel_node(x, panels, panel);
    node->scale[place] = kpd__widest(mean, dim) / 127;
    node->radius[place] = sqrtf(square);
    node->half[place] = 0.5f * x->ops->dot(mean, mean, dim);     // which finding the nearest mean needs under any metric
    for (size_t d = 0; d < dim; d++)
        kpd__nibble_put(codes, place, d, (unsigned)(kpd__to_step(mean[d], node->scale[place], 127) + 128) >> 4);
}

// Child `place` of a panel: the mean of n rows of v, and how far these lie from it (root mean square). work: [2 dim].
static void kpd__mean_put(const kpd_index *x, uint8_t *panels, size_t panel, size_t place, const float *v, size_t n,
                          float *work) {
    size_t dim = (size_t)x->dim;
    float *mean = work, *part = work + dim, square = 0, share = 1.0f / (float)n;
    memset(mean, 0, dim * sizeof *mean);
    for (size_t i = 0; i < n; i++)
        for (size_t d = 0; d < dim; d++) mean[d] += v[i * dim + d] * share;
    for (size_t i = 0; i < n; i++) {
        for (size_t d = 0; d < dim; d++) part[d] = v[i * dim + d] - mean[d];
        square += x->ops->dot(part, part, dim) * share;
    }
    kpd__node_put(x, panels, panel, place, mean, square);
}

static size_t kpd__live_of(const kpd_index *x, size_t list) {
    const kpd__node *node = kpd__list_node(x, list);
    size_t live = 0;
    for (size_t i = 0; i < 16; i++) live += kpd__count_bits(node->live[i]);
    return live;
}

// The mean of list `list` of a panel, as its codes have it.
static void kpd__mean_get(const kpd_index *x, size_t list, float *out) {
    const uint8_t *codes = x->t.lists + list / 16 * kpd__node_bytes(x) + list % 16 * 4;
    float scale = kpd__panel_node(x, x->t.lists, list / 16)->scale[list % 16];
    for (size_t d = 0; d < (size_t)x->dim; d++)
        out[d] = ((float)((codes[d / 8 * 64 + d % 4] >> d % 8 / 4 * 4 & 15) << 4) - 120.5f) * scale;
}

// The group of a panel of lists, of these lists' means and radii: with w their shares of its vectors, the mean is sum w m, the
// square of its radius sum w (r^2 + |m|^2) - |sum w m|^2. work: [2 dim].
static void kpd__group_put(kpd_index *x, size_t group, float *work) {
    size_t dim = (size_t)x->dim, n = kpd__min(16, x->t.n_lists - group * 16), live[16], all = 0;
    const kpd__node *lists = kpd__panel_node(x, x->t.lists, group);
    float *mean = work, *list = work + dim, square = 0;
    for (size_t i = 0; i < n; i++) all += live[i] = kpd__live_of(x, group * 16 + i);
    memset(mean, 0, dim * sizeof *mean);
    for (size_t i = 0; i < n && all; i++) {
        float share = (float)live[i] / (float)all;
        kpd__mean_get(x, group * 16 + i, list);
        x->ops->add_share(mean, list, dim, share);
        square += share * (lists->radius[i] * lists->radius[i] + x->ops->dot(list, list, dim));
    }
    square -= x->ops->dot(mean, mean, dim);
    kpd__node_put(x, (uint8_t *)kpd__own(x->t.groups), group / 16, group % 16, mean, square > 0 ? square : 0);
}

static size_t kpd__n_groups(const kpd_index *x) { return (x->t.n_lists + 15) / 16; }

#define KPD__GROUPED 2048        // lists from which on they are found by groups
static bool kpd__is_grouped(const kpd_index *x) { return x->t.groups && x->t.n_lists > KPD__GROUPED; }

// Half the square of a slot's vector as it is kept, which l2 takes off.
static void kpd__half_put(kpd_index *x, size_t slot, float *work) {
    if (x->metric != KPD_L2) return;
    kpd__row_get(x, slot, work);
    ((float *)kpd__own(x->t.halves))[slot] = 0.5f * x->ops->dot(work, work, (size_t)x->dim);
}

// Makes block `block`, child `place` of a list, of n vectors, 1 to 16.
static void kpd__block_put(kpd_index *x, size_t list, size_t place, size_t block, const float *v, const kpd__label *labels,
                           size_t n, float *work) {
    size_t dim = (size_t)x->dim;
    kpd__node *node = kpd__list_node(x, list);
    node->step[place] = kpd__widest(v, n * dim) / 127;
    node->child[place] = (uint32_t)block;
    node->live[place] = (uint16_t)(0xFFFFu >> (16 - n));
    ((int32_t *)kpd__own(x->t.owner))[block] = (int32_t)(list * 16 + place);
    for (size_t i = 0; i < n; i++) {
        kpd__row_put(x, block * 16 + i, v + i * dim, node->step[place]);
        kpd__label_put(x, block * 16 + i, labels[i]);
        kpd__half_put(x, block * 16 + i, work);
    }
    kpd__mean_put(x, (uint8_t *)kpd__own(x->t.blocks), list, place, v, n, work);
}

// Makes a list of n vectors, 1 to 256, in blocks use[0], use[1], ...
static void kpd__list_put(kpd_index *x, size_t list, const uint32_t *use, const float *v, const kpd__label *labels, size_t n,
                          float *work) {
    memset(kpd__own(x->t.blocks + list * kpd__node_bytes(x)), 0, kpd__node_bytes(x));
    for (size_t i = 0; i < n; i += 16)
        kpd__block_put(x, list, i / 16, use[i / 16], v + i * (size_t)x->dim, labels + i, kpd__min(16, n - i), work);
    kpd__mean_put(x, (uint8_t *)kpd__own(x->t.lists), list / 16, list % 16, v, n, work);
}

// The arrays of a tree with room for t.room_lists and t.room_blocks.
static void kpd__tree_lay(kpd_index *x, kpd__arena *a) {
    kpd__nodes *t = &x->t;
    t->lists = (uint8_t *)kpd__take(a, (t->room_lists + 15) / 16, kpd__node_bytes(x));
    t->groups = (uint8_t *)kpd__take(a, (t->room_lists + 255) / 256, kpd__node_bytes(x));
    t->blocks = (uint8_t *)kpd__take(a, t->room_lists, kpd__node_bytes(x));
    t->codes = (uint8_t *)kpd__take(a, t->room_blocks, kpd__code_bytes(x));
    t->rows = kpd__take(a, t->room_blocks, 16 * kpd__row_bytes(x));
    t->halves = x->metric == KPD_L2 ? (float *)kpd__take(a, t->room_blocks, 16 * sizeof(float)) : NULL;
    t->owner = (int32_t *)kpd__take(a, t->room_blocks, sizeof(int32_t));
    x->ids = (int64_t *)kpd__take(a, t->room_blocks, 16 * sizeof(int64_t));
    x->table = (int32_t *)kpd__take(a, x->table_size, sizeof(int32_t));
}

// Gives x, which has no arrays, room for so many lists and blocks.
static kpd_status kpd__tree_room(kpd_index *x, size_t lists, size_t blocks, kpd_error *e) {
    kpd__arena a;
    kpd_status s;
    memset(&a, 0, sizeof a);
    if (blocks > (size_t)(INT32_MAX - 64) / 16 || lists > (size_t)(INT32_MAX - 64) / 16)
        return kpd__fail(e, KPD_ERR_LIMIT, -1, "index: %llu blocks of 16 vectors are over the limit",
                         (unsigned long long)blocks);
    x->t.room_lists = lists; x->t.room_blocks = blocks;
    for (x->table_size = 32; x->table_size < blocks * 24; x->table_size *= 2) {}
    kpd__tree_lay(x, &a);
    s = kpd__arena_block(&a, &x->allocator, "index", &x->t.memory, &x->t.memory_size, e);
    if (!s) kpd__tree_lay(x, &a);
    return s;
}

// Fills the table from what lives in the lists, whose ids are all different; counts it.
static void kpd__tree_table(kpd_index *x) {
    int32_t *table = (int32_t *)kpd__own(x->table);
    x->count = 0;
    for (size_t i = 0; i < x->table_size; i++) table[i] = -1;
    for (size_t i = 0; i < x->t.n_lists * 16; i++) {
        const kpd__node *node = kpd__list_node(x, i / 16);
        for (size_t p = 0; p < 16; p++) {
            int32_t slot = (int32_t)(node->child[i % 16] * 16 + p);
            if (!(node->live[i % 16] >> p & 1)) continue;
            table[kpd__table_find(x, x->ids[slot])] = slot;
            x->count++;
        }
    }
}

// >>tree  Making and changing a tree. Promises that every operation is all or nothing, and the same tree for any number of
// threads.

// What an index is made of: n vectors of the host's, or those of indexes.
typedef struct kpd__given {
    const int64_t *ids;                 // [n]
    const float *v;                     // [n, dim] or NULL
    const kpd_index *const *from; const uint64_t *where;        // then [n]: number of the index << 32 | slot
    size_t n;
} kpd__given;

typedef struct kpd__builder {
    kpd_index *x;
    kpd__cluster c;
    const int64_t *ids;                 // [rows given]
    uint32_t *given;                    // [c.n]: which of them each row of c.v is
    uint32_t *size; size_t *first;      // [lists], [lists]: vectors of each list, and where its rows begin in c.members
    uint32_t *block;                    // [lists]: its first block
    uint32_t *order; float *means;      // [lists], [lists, dim]: near ones next to each other
    float *rows; kpd__label *labels;    // of each task: [256, dim], [256]
} kpd__builder;

// The rows that stay: of equal ids the last. Returns how many.
static size_t kpd__last_of_ids(const kpd_index *like, const int64_t *ids, size_t n, int32_t *table, size_t table_size,
                               uint32_t *given) {
    kpd_index y = *like;
    size_t kept = 0;
    y.ids = ids; y.table = table; y.table_size = table_size; y.count = n; y.kind = KPD_FLAT;
    for (size_t i = 0; i < table_size; i++) table[i] = -1;
    for (size_t i = 0; i < n; i++) table[kpd__table_find(&y, ids[i])] = (int32_t)i;
    for (size_t i = 0; i < n; i++)
        if (table[kpd__table_find(&y, ids[i])] == (int32_t)i) given[kept++] = (uint32_t)i;
    return kept;
}

static void kpd__cut_task(void *arg, int32_t task) {
    const kpd__builder *b = (const kpd__builder *)arg;
    for (size_t j = (size_t)task; j < b->c.k; j += (size_t)b->c.n_tasks) {
        kpd__cutter c;
        c.ops = b->c.ops; c.v = b->c.v; c.dim = b->c.dim;
        c.keys = b->c.keys + b->c.start[j];
        c.work = b->c.work + (size_t)task * b->c.work_floats;
        kpd__cut_blocks(&c, b->c.members + b->c.start[j], b->c.start[j + 1] - b->c.start[j]);
    }
}

static void kpd__put_task(void *arg, int32_t task) {
    const kpd__builder *b = (const kpd__builder *)arg;
    size_t dim = b->c.dim;
    float *rows = b->rows + (size_t)task * 256 * dim, *work = b->c.work + (size_t)task * b->c.work_floats;
    kpd__label *labels = b->labels + (size_t)task * 256;
    for (size_t l = (size_t)task; l < b->x->t.n_lists; l += (size_t)b->c.n_tasks) {
        uint32_t use[16], from = b->order[l];
        for (size_t i = 0; i < b->size[from]; i++) {
            uint32_t row = b->c.members[b->first[from] + i];
            memcpy(rows + i * dim, b->c.v + row * dim, dim * sizeof *rows);
            labels[i] = kpd__label_of(b->x, b->ids[b->given[row]]);
        }
        for (uint32_t i = 0; i < 16; i++) use[i] = b->block[l] + i;
        kpd__list_put(b->x, l, use, rows, labels, b->size[from], work);
    }
}

static void kpd__group_task(void *arg, int32_t task) {
    const kpd__builder *b = (const kpd__builder *)arg;
    for (size_t g = (size_t)task; g < kpd__n_groups(b->x); g += (size_t)b->c.n_tasks)
        kpd__group_put(b->x, g, b->c.work + (size_t)task * b->c.work_floats);
}

// Lists and their blocks, of the centroids' cut vectors; into arrays for at most c.n / 8 + c.k lists.
static size_t kpd__lists_count(kpd__builder *b) {
    size_t n_lists = 0;
    for (size_t j = 0; j < b->c.k; j++) {
        size_t at = b->c.start[j], m = kpd__cut_lists(b->c.start[j + 1] - at, b->size + n_lists);
        for (size_t i = 0; i < m; i++, at += b->size[n_lists++]) b->first[n_lists] = at;
    }
    return n_lists;
}

static void kpd__means_task(void *arg, int32_t task) {
    const kpd__builder *b = (const kpd__builder *)arg;
    kpd__cutter c;
    c.ops = b->c.ops; c.v = b->c.v; c.dim = b->c.dim;
    for (size_t l = (size_t)task; l < b->x->t.n_lists; l += (size_t)b->c.n_tasks)
        kpd__rows_mean(&c, b->c.members + b->first[l], b->size[l], b->means + l * c.dim);
}

// Orders the lists so that near ones share a panel, and panels a panel of groups; returns how many blocks they have.
static size_t kpd__lists_order(kpd__builder *b) {
    size_t n_blocks = 0, n_lists = b->x->t.n_lists;
    kpd__cutter c;
    kpd__run(b->c.parallel, b->c.n_tasks, kpd__means_task, b);
    c.ops = b->c.ops; c.v = b->means; c.dim = b->c.dim; c.keys = b->c.keys; c.work = b->c.work;
    for (size_t i = 0; i < n_lists; i++) b->order[i] = (uint32_t)i;
    kpd__cut_blocks(&c, b->order, n_lists);
    for (size_t i = 0; i < n_lists; i++) {
        b->block[i] = (uint32_t)n_blocks;
        n_blocks += (b->size[b->order[i]] + 15) / 16;
    }
    return n_blocks;
}

static size_t kpd__most_lists(const kpd__builder *b) { return b->c.n / 64 + b->c.k + 1; }   // cut ones have 128 at least

// Two walks: memory of the build, then of what the index keeps.
static void kpd__builder_lay(kpd__builder *b, size_t n, size_t table_size, int32_t **table, float **v, kpd__arena *a) {
    size_t most, tasks = (size_t)b->c.n_tasks;
    b->given = (uint32_t *)kpd__take(a, n, sizeof(uint32_t));
    *table = (int32_t *)kpd__take(a, table_size, sizeof(int32_t));
    *v = (float *)kpd__take(a, n, b->c.dim * sizeof(float));
    b->c.n = n;
    most = kpd__most_lists(b);
    kpd__cluster_lay(&b->c, a);
    b->size = (uint32_t *)kpd__take(a, most, sizeof(uint32_t));
    b->block = (uint32_t *)kpd__take(a, most, sizeof(uint32_t));
    b->order = (uint32_t *)kpd__take(a, most, sizeof(uint32_t));
    b->means = (float *)kpd__take(a, most, b->c.dim * sizeof(float));
    b->first = (size_t *)kpd__take(a, most, sizeof(size_t));
    b->rows = (float *)kpd__take(a, tasks * 256, b->c.dim * sizeof(float));
    b->labels = (kpd__label *)kpd__take(a, tasks * 256, sizeof(kpd__label));
}

// One for 160 vectors: of titles searches take as much work with one for 130 to 230, of tight clusters less with more.
// Comparing all vectors with these takes n^2 steps: from 4096 lists on their number goes with the root of n, and longer lists
// are cut into shorter ones all the same.
static size_t kpd__default_lists(size_t n) {
    size_t lists = n / 160;
    if (lists > 4096) lists = (size_t)sqrtf(4096.0f * (float)lists);
    return n < 4096 ? kpd__max(lists, 1) : kpd__round_up(lists, 16);
}

// The vector of a slot, as it is kept.
static void kpd__slot_get(const kpd_index *x, size_t slot, float *out) {
    if (x->kind == KPD_TREE) kpd__row_get(x, slot, out);
    else
        for (size_t d = 0; d < (size_t)x->dim; d++) out[d] = x->vectors[kpd__vector_at(x, slot, d)];
}

// Vector i of what is given, of the length that an index keeps.
static void kpd__given_get(const kpd_index *x, const kpd__given *g, size_t i, float *out) {
    if (g->v) kpd__unit_row(x, g->v + i * (size_t)x->dim, out);
    else kpd__slot_get(g->from[g->where[i] >> 32], (uint32_t)g->where[i], out);
}

static bool kpd__is_measured(const kpd_index *x, size_t n) { return x->dim >= KPD__CODED && n >= KPD__OWN_QUERIES; }

// Of the progress as many vectors as there are remain for measuring.
static kpd_status kpd__tree_build(kpd_index *x, const kpd_parallel *p, kpd__progress *progress, int32_t lists,
                                  const kpd__given *g, kpd_error *e) {
    size_t n = g->n;
    kpd__builder b;
    kpd__arena a;
    kpd_status s;
    void *memory;
    int32_t *table;
    float *unit;
    size_t size, table_size = 32, n_blocks;
    memset(&b, 0, sizeof b); memset(&a, 0, sizeof a);
    while (table_size < n + n / 2) table_size *= 2;
    b.x = x; b.ids = g->ids;
    b.c.ops = x->ops; b.c.metric = x->metric; b.c.parallel = p; b.c.n_tasks = kpd__n_tasks(p); b.c.dim = (size_t)x->dim;
    b.c.k = kpd__max(kpd__min(lists ? (size_t)lists : kpd__default_lists(n), n), 1);
    b.c.by_bytes = x->metric == KPD_COSINE && x->dim >= KPD__CODED;
    kpd__builder_lay(&b, n, table_size, &table, &unit, &a);
    s = kpd__arena_block(&a, &x->allocator, "index build", &memory, &size, e);
    if (s) return s;
    kpd__builder_lay(&b, n, table_size, &table, &unit, &a);
    b.c.v = unit;
    b.c.n = kpd__last_of_ids(x, g->ids, n, table, table_size, b.given);
    b.c.k = kpd__min(b.c.k, kpd__max(b.c.n, 1));
    for (size_t i = 0; i < b.c.n; i++) kpd__given_get(x, g, b.given[i], unit + i * b.c.dim);
    b.c.progress.host = progress->host;
    if (b.c.n) s = kpd__cluster_run(&b.c, 64 * b.c.k, 8, 1, b.c.n * (kpd__is_measured(x, b.c.n) ? 2 : 1), e);
    if (b.c.n && !s) kpd__run(p, b.c.n_tasks, kpd__cut_task, &b);
    if (b.c.n && !s) s = kpd__progress_add(&b.c.progress, b.c.n, e);
    *progress = b.c.progress;
    if (s) {
        kpd__free(&x->allocator, memory, size);
        return s;
    }
    x->t.n_lists = kpd__lists_count(&b);
    n_blocks = kpd__lists_order(&b);
    s = kpd__tree_room(x, kpd__max(x->t.n_lists + 16, x->t.room_lists),
                       kpd__max(n_blocks + n_blocks / 16 + 16, x->t.room_blocks), e);
    x->t.n_blocks = s ? 0 : n_blocks;
    if (!s) {
        kpd__run(p, b.c.n_tasks, kpd__put_task, &b);
        kpd__run(p, b.c.n_tasks, kpd__group_task, &b);
        kpd__tree_table(x);
    }
    kpd__free(&x->allocator, memory, size);
    return s;
}

// A query in bytes, to q [dim padded to 8]; order and bound are left 0.
static void kpd__probe_make(kpd__probe *p, const kpd_index *x, const float *v, int8_t *q) {
    size_t dim = (size_t)x->dim;
    int32_t sum = 0;
    memset(p, 0, sizeof *p);
    p->groups = kpd__groups(x);
    p->step = kpd__widest(v, dim) / 127;
    memset(q, 0, p->groups * 8);
    for (size_t d = 0; d < dim; d++) sum += q[d] = (int8_t)kpd__to_step(v[d], p->step, 127);
    p->q = q;
    p->offset = -120.5f * (float)sum;
    p->l2 = x->metric == KPD_L2;
    p->square = x->ops->dot(v, v, dim);
}

// Whether a slot holds a vector.
static bool kpd__lives(const kpd_index *x, size_t slot) {
    size_t owner = (uint32_t)x->t.owner[slot / 16];
    const kpd__node *node;
    if (owner / 16 >= x->t.n_lists) return false;
    node = kpd__list_node(x, owner / 16);
    return node->child[owner % 16] == slot / 16 && node->live[owner % 16] >> slot % 16 & 1;
}

// What a change of a tree works in.
typedef struct kpd__bench {
    void *memory; size_t size;
    float *rows, *sorted, *unit, *work;         // [256, dim] twice, [dim], [4 dim]
    kpd__label *labels, *sorted_labels;         // [256]
    uint32_t *which; uint64_t *keys;            // [256]
    float *order, *bound;                       // [KPD__NODES]
    int32_t *above; uint32_t *panels;           // [KPD__NODES + 16], [KPD__PANELS]
    int8_t *q;
} kpd__bench;

static void kpd__bench_lay(kpd__bench *w, size_t dim, kpd__arena *a) {
    w->rows = (float *)kpd__take(a, 256, dim * sizeof(float));
    w->sorted = (float *)kpd__take(a, 256, dim * sizeof(float));
    w->unit = (float *)kpd__take(a, dim, sizeof(float));
    w->work = (float *)kpd__take(a, dim, 4 * sizeof(float));
    w->labels = (kpd__label *)kpd__take(a, 256, sizeof(kpd__label));
    w->sorted_labels = (kpd__label *)kpd__take(a, 256, sizeof(kpd__label));
    w->which = (uint32_t *)kpd__take(a, 256, sizeof(uint32_t));
    w->keys = (uint64_t *)kpd__take(a, 256, sizeof(uint64_t));
    w->order = (float *)kpd__take(a, KPD__NODES, sizeof(float));
    w->bound = (float *)kpd__take(a, KPD__NODES, sizeof(float));
    w->above = (int32_t *)kpd__take(a, KPD__NODES + 16, sizeof(int32_t));
    w->panels = (uint32_t *)kpd__take(a, KPD__PANELS, sizeof(uint32_t));
    w->q = (int8_t *)kpd__take(a, dim + 8, 1);
}

static kpd_status kpd__bench_open(kpd__bench *w, const kpd_index *x, kpd_error *e) {
    kpd__arena a;
    kpd_status s;
    memset(&a, 0, sizeof a);
    kpd__bench_lay(w, (size_t)x->dim, &a);
    s = kpd__arena_block(&a, &x->allocator, "index", &w->memory, &w->size, e);
    if (!s) kpd__bench_lay(w, (size_t)x->dim, &a);
    return s;
}

static void kpd__tree_copy(kpd_index *to, const kpd_index *x) {
    const kpd__nodes *t = &x->t;
    memcpy(kpd__own(to->t.lists), t->lists, (t->n_lists + 15) / 16 * kpd__node_bytes(x));
    memcpy(kpd__own(to->t.blocks), t->blocks, t->n_lists * kpd__node_bytes(x));
    memcpy(kpd__own(to->t.codes), t->codes, t->n_blocks * kpd__code_bytes(x));
    if (kpd__row_bytes(x)) memcpy(kpd__own(to->t.rows), t->rows, t->n_blocks * 16 * kpd__row_bytes(x));
    if (t->groups) memcpy(kpd__own(to->t.groups), t->groups, (kpd__n_groups(x) + 15) / 16 * kpd__node_bytes(x));
    else to->t.groups = NULL;           // of a file without; it stays so until the tree is made anew
    if (t->halves) memcpy(kpd__own(to->t.halves), t->halves, t->n_blocks * 16 * sizeof(float));
    memcpy(kpd__own(to->t.owner), t->owner, t->n_blocks * sizeof(int32_t));
    memcpy(kpd__own(to->ids), x->ids, t->n_blocks * 16 * sizeof(int64_t));
    to->t.n_lists = t->n_lists; to->t.n_blocks = t->n_blocks;
}

// Makes x its own copy with room for so many lists and blocks. On failure nothing has changed.
static kpd_status kpd__tree_move(kpd_index *x, size_t lists, size_t blocks, kpd_error *e) {
    kpd_index y = *x;
    kpd_status s = kpd__tree_room(&y, lists, blocks, e);
    if (s) return s;
    if (!kpd__labels_lay(x, &y)) {
        kpd__tree_free(&y);
        return kpd__no_memory(e, kpd__slot_room(&y) * sizeof *x->texts.at);
    }
    kpd__tree_copy(&y, x);
    kpd__tree_table(&y);
    if (!x->read_only) kpd__tree_free(x);
    *x = y;
    return KPD_OK;
}

// Room for n more vectors, wherever they go: a block that is begun takes 16, and a list that is full is cut in two.
static kpd_status kpd__tree_grow(kpd_index *x, size_t n, kpd_error *e) {
    kpd__nodes *t = &x->t;
    size_t touched = kpd__min(n, t->n_lists), lists = t->n_lists + touched + n / 112 + 1;
    size_t blocks = t->n_blocks + n / 16 + 2 * touched + n / 64 + 16;
    if (n > (size_t)INT32_MAX - 64 || t->n_blocks + n / 16 > (size_t)(INT32_MAX - 64) / 16)
        return kpd__fail(e, KPD_ERR_LIMIT, -1, "index: %llu more vectors are over the limit", (unsigned long long)n);
    if (lists <= t->room_lists && blocks <= t->room_blocks) return KPD_OK;
    return kpd__tree_move(x, kpd__max(lists, t->room_lists + t->room_lists / 2),
                          kpd__max(blocks, t->room_blocks + t->room_blocks / 2), e);
}

// Room for n more vectors that come in calls of few: each call wants some for every list.
static kpd_status kpd__tree_reserve(kpd_index *x, size_t n, kpd_error *e) {
    size_t lists = 2 * (x->t.n_lists + n / 112 + 1), blocks = x->t.n_blocks + n / 16 + n / 64 + 2 * lists + 16;
    if (lists <= x->t.room_lists && blocks <= x->t.room_blocks) return KPD_OK;
    return kpd__tree_move(x, kpd__max(lists, x->t.room_lists), kpd__max(blocks, x->t.room_blocks), e);
}

// Whether child `place` of a list is a block of its own, which may be empty.
static bool kpd__has_block(const kpd_index *x, size_t list, size_t place) {
    uint32_t block = kpd__list_node(x, list)->child[place];
    return block < x->t.n_blocks && x->t.owner[block] == (int32_t)(list * 16 + place);
}

// The vectors of a list to w->rows and w->labels, its blocks to use; returns how many vectors.
static size_t kpd__list_gather(const kpd_index *x, size_t list, kpd__bench *w, uint32_t use[16], size_t *n_use) {
    const kpd__node *node = kpd__list_node(x, list);
    size_t n = 0;
    *n_use = 0;
    for (size_t i = 0; i < 16; i++) {
        if (kpd__has_block(x, list, i)) use[(*n_use)++] = node->child[i];
        for (size_t p = 0; p < 16; p++) {
            size_t slot = (size_t)node->child[i] * 16 + p;
            if (!(node->live[i] >> p & 1)) continue;
            kpd__row_get(x, slot, w->rows + n * (size_t)x->dim);
            w->labels[n++] = kpd__label_get(x, slot);
        }
    }
    return n;
}

// Where slots of a list lie, to the table.
static void kpd__list_link(kpd_index *x, size_t list) {
    const kpd__node *node = kpd__list_node(x, list);
    for (size_t i = 0; i < 256; i++) {
        size_t slot = (size_t)node->child[i / 16] * 16 + i % 16;
        if (node->live[i / 16] >> i % 16 & 1) ((int32_t *)kpd__own(x->table))[kpd__table_find(x, x->ids[slot])] = (int32_t)slot;
    }
}

// A list of n vectors in w->sorted from `first` on, with n_use blocks, of which it may leave some empty.
static void kpd__list_remake(kpd_index *x, size_t list, kpd__bench *w, size_t first, size_t n, const uint32_t *use,
                             size_t n_use) {
    kpd__node *node = kpd__list_node(x, list);
    if (n) kpd__list_put(x, list, use, w->sorted + first * (size_t)x->dim, w->sorted_labels + first, n, w->work);
    for (size_t i = (n + 15) / 16; i < n_use; i++) {
        node->child[i] = use[i];
        node->live[i] = 0;
        ((int32_t *)kpd__own(x->t.owner))[use[i]] = (int32_t)(list * 16 + i);
    }
    kpd__list_link(x, list);
}

// Cuts a list into blocks anew; in_two: into two lists.
static void kpd__list_cut(kpd_index *x, size_t list, kpd__bench *w, bool in_two) {
    uint32_t use[16];
    size_t n_use, n = kpd__list_gather(x, list, w, use, &n_use), dim = (size_t)x->dim, left = in_two ? kpd__cut_left(n) : n;
    kpd__cutter c;
    c.ops = x->ops; c.v = w->rows; c.dim = dim; c.keys = w->keys; c.work = w->work;
    for (size_t i = 0; i < n; i++) w->which[i] = (uint32_t)i;
    kpd__cut_blocks(&c, w->which, n);
    for (size_t i = 0; i < n; i++) {
        memcpy(w->sorted + i * dim, w->rows + w->which[i] * dim, dim * sizeof(float));
        w->sorted_labels[i] = w->labels[w->which[i]];
        kpd__table_remove(x, kpd__table_find(x, w->sorted_labels[i].id));
    }
    for (size_t i = 0; x->texts.at && i < n_use; i++) memset(kpd__own_text(x) + use[i] * 16, 0, 16 * sizeof(uint64_t));
    kpd__list_remake(x, list, w, 0, left, use, in_two ? left / 16 : n_use);
    if (in_two) kpd__list_remake(x, x->t.n_lists++, w, left, n - left, use + left / 16, n_use - left / 16);
    if (x->t.groups) kpd__group_put(x, list / 16, w->work);
    if (in_two && x->t.groups) kpd__group_put(x, (x->t.n_lists - 1) / 16, w->work);
}

// Scores n panels of lists, w->panels; the nearest list to *best, if nearer than *most.
static void kpd__list_among(const kpd_index *x, kpd__bench *w, kpd__probe *p, size_t n, float *most, size_t *best) {
    p->all = true;
    x->ops->nodes(p, x->t.lists, w->panels, n, w->order, w->bound);
    p->all = false;
    for (size_t i = 0; i < n * 16; i++) {
        size_t list = (size_t)w->panels[i / 16] * 16 + i % 16;
        if (list < x->t.n_lists && w->order[i] > *most) { *most = w->order[i]; *best = list; }
    }
}

// The numbers of the best of n scores, a multiple of 16: `keep` or a few more, to out; how many. -INFINITY is nobody's.
static size_t kpd__best_above(const kpd__ops *ops, const float *scores, size_t n, size_t keep, int32_t *out) {
    float least = ops->least_of(scores, n, keep, kpd__few_more(keep));
    if (!(least >= -FLT_MAX)) least = -FLT_MAX;
    return kpd__min(ops->above(scores, n, least, out), kpd__few_more(keep));
}

// The best of groups [from, from + n), at most KPD__NODES: to w->panels; how many.
static size_t kpd__panels_for(const kpd_index *x, kpd__bench *w, const kpd__probe *p, size_t from, size_t n) {
    const size_t n16 = kpd__round_up(n, 16);
    size_t found;
    x->ops->nodes(p, x->t.groups + from / 16 * kpd__node_bytes(x), NULL, n16 / 16, w->order, w->bound);
    for (size_t i = n; i < n16; i++) w->order[i] = -INFINITY;
    found = kpd__best_above(x->ops, w->order, n16, KPD__NEAR_GROUPS, w->above);
    for (size_t i = 0; i < found; i++) w->panels[i] = (uint32_t)from + (uint32_t)w->above[i];
    return found;
}

// The list nearest to w->unit, by groups that of the near ones; the probe is left ready for its blocks.
static size_t kpd__list_for(const kpd_index *x, kpd__bench *w, kpd__probe *p) {
    bool grouped = kpd__is_grouped(x);
    size_t best = 0, step = grouped ? KPD__NODES : KPD__PANELS;
    float most = -INFINITY;
    kpd__probe_make(p, x, w->unit, w->q);
    p->order = p->bound = 0;
    p->l2 = true;                       // the nearest, whatever the metric
    for (size_t from = 0, all = kpd__n_groups(x); from < all; from += step) {
        size_t n = kpd__min(step, all - from);
        for (size_t i = 0; !grouped && i < n; i++) w->panels[i] = (uint32_t)(from + i);
        kpd__list_among(x, w, p, grouped ? kpd__panels_for(x, w, p, from, n) : n, &most, &best);
    }
    return best;
}

// The nearer of two lists, by the probe that kpd__list_for has made.
static size_t kpd__list_nearer(const kpd_index *x, kpd__bench *w, const kpd__probe *p, size_t a, size_t b) {
    kpd__probe to_lists = *p;
    uint32_t panels[2];
    to_lists.all = true;
    panels[0] = (uint32_t)(a / 16); panels[1] = (uint32_t)(b / 16);
    x->ops->nodes(&to_lists, x->t.lists, panels, 2, w->order, w->bound);
    return w->order[16 + b % 16] > w->order[a % 16] ? b : a;
}

// The child of a list that takes one more: the nearest with a free place, else an empty one, else one that has no block yet;
// 16 = the list is full.
static size_t kpd__place_for(const kpd_index *x, size_t list, const kpd__probe *p, kpd__bench *w) {
    const kpd__node *node = kpd__list_node(x, list);
    uint32_t number = (uint32_t)list;
    size_t best = 16, empty = 16, none = 16;
    x->ops->nodes(p, x->t.blocks, &number, 1, w->order, w->bound);
    for (size_t i = 16; i-- > 0;) {
        if (!kpd__has_block(x, list, i)) none = i;
        else if (!node->live[i]) empty = i;
        else if (node->live[i] != 0xFFFF && (best == 16 || w->order[i] >= w->order[best])) best = i;
    }
    return best < 16 ? best : empty < 16 ? empty : none;
}

static void kpd__block_begin(kpd_index *x, size_t list, size_t child) {
    if (kpd__has_block(x, list, child)) return;
    kpd__list_node(x, list)->child[child] = (uint32_t)x->t.n_blocks;
    ((int32_t *)kpd__own(x->t.owner))[x->t.n_blocks++] = (int32_t)(list * 16 + child);
}

// Puts w->unit into a free place of a block, whose other vectors are stored anew if it is wider than they.
static void kpd__block_join(kpd_index *x, size_t list, size_t child, kpd__label label, kpd__bench *w) {
    kpd__node *node = kpd__list_node(x, list);
    size_t dim = (size_t)x->dim, free_place = 0, block = node->child[child], n = 0, places[16];
    float step = kpd__widest(w->unit, dim) / 127;
    bool wider = !node->live[child] || step > node->step[child];
    while (node->live[child] >> free_place & 1) free_place++;
    for (size_t p = 0; p < 16; p++)
        if (node->live[child] >> p & 1) { kpd__row_get(x, block * 16 + p, w->rows + n * dim); places[n++] = p; }
    memcpy(w->rows + n * dim, w->unit, dim * sizeof(float));
    places[n++] = free_place;
    if (wider) node->step[child] = step;
    for (size_t i = wider ? 0 : n - 1; i < n; i++) {
        kpd__row_put(x, block * 16 + places[i], w->rows + i * dim, node->step[child]);
        kpd__half_put(x, block * 16 + places[i], w->work);
    }
    node->live[child] = (uint16_t)(node->live[child] | 1u << free_place);
    kpd__label_put(x, block * 16 + free_place, label);
    kpd__mean_put(x, (uint8_t *)kpd__own(x->t.blocks), list, child, w->rows, n, w->work);
    ((int32_t *)kpd__own(x->table))[kpd__table_find(x, label.id)] = (int32_t)(block * 16 + free_place);
    x->count++;
}

// Takes out a vector; its text stays, as the label that is returned.
static kpd__label kpd__tree_remove_at(kpd_index *x, size_t at) {
    size_t slot = (size_t)x->table[at], owner = (size_t)x->t.owner[slot / 16];
    kpd__node *node = kpd__list_node(x, owner / 16);
    kpd__label l = kpd__label_get(x, slot);
    kpd__table_remove(x, at);
    node->live[owner % 16] = (uint16_t)(node->live[owner % 16] & ~(1u << slot % 16));
    if (x->texts.at) kpd__own_text(x)[slot] = 0;
    x->count--;
    return l;
}

// The mean of a list, whose vectors have changed, and of its group; and its blocks, when a quarter of them is new.
static void kpd__list_changed(kpd_index *x, size_t list, kpd__bench *w) {
    kpd__node *node = kpd__list_node(x, list);
    uint32_t use[16];
    size_t n_use, n;
    if (++node->added > 16 && node->added > kpd__live_of(x, list) / 4) { kpd__list_cut(x, list, w, false); return; }
    n = kpd__list_gather(x, list, w, use, &n_use);
    kpd__mean_put(x, (uint8_t *)kpd__own(x->t.lists), list / 16, list % 16, w->rows, n, w->work);
    if (x->t.groups) kpd__group_put(x, list / 16, w->work);
}

// Adds a vector, or replaces it; n_new: how many new ones are still to come, this one among them, for which there is room.
// Returns whether this was one.
static bool kpd__tree_add(kpd_index *x, int64_t id, const float *v, size_t n_new, kpd__bench *w) {
    size_t at = kpd__table_find(x, id), list, child;
    size_t old = x->table[at] < 0 ? SIZE_MAX : (size_t)x->t.owner[x->table[at] / 16];
    kpd__label label = x->table[at] < 0 ? kpd__label_of(x, id) : kpd__tree_remove_at(x, at);
    kpd__probe p;
    kpd__unit_row(x, v, w->unit);
    list = kpd__list_for(x, w, &p);
    child = kpd__place_for(x, list, &p, w);
    if (old != SIZE_MAX && (child == 16 || !kpd__has_block(x, list, child)) && kpd__tree_grow(x, n_new + 1, NULL)) {
        list = old / 16; child = old % 16;      // without memory it stays
    }
    if (child == 16) {
        kpd__list_cut(x, list, w, true);
        list = kpd__list_nearer(x, w, &p, list, x->t.n_lists - 1);
        child = kpd__place_for(x, list, &p, w);
    }
    kpd__block_begin(x, list, child);
    kpd__block_join(x, list, child, label, w);
    kpd__list_changed(x, list, w);
    return old == SIZE_MAX;
}

// A tree of nothing is built anew.
static kpd_status kpd__tree_begin(kpd_index *x, const int64_t *ids, const float *v, size_t n, kpd_error *e) {
    kpd_index y = *x;
    kpd__given g = {ids, v, NULL, NULL, n};
    kpd__progress nobody = {NULL, 0, 0};
    kpd_status s;
    memset(&y.texts, 0, sizeof y.texts);
    y.parts = NULL;
    s = kpd__tree_build(&y, NULL, &nobody, 0, &g, e);
    if (s) return s;
    kpd__index_free(x);
    *x = y;
    return KPD_OK;
}

static kpd_status kpd__tree_upsert(kpd_index *x, const int64_t *ids, const float *v, size_t n, kpd_error *e) {
    kpd__bench w;
    kpd_status s;
    size_t n_new = 0;
    if (!x->count) return kpd__tree_begin(x, ids, v, n, e);
    s = kpd__bench_open(&w, x, e);
    if (s) return s;
    for (size_t i = 0; i < n; i++) n_new += kpd__index_slot(x, ids[i]) < 0;
    if (n_new) s = kpd__tree_grow(x, n_new, e);
    for (size_t i = 0; !s && i < n; i++) n_new -= kpd__tree_add(x, ids[i], v + i * (size_t)x->dim, n_new, &w);
    kpd__free(&x->allocator, w.memory, w.size);
    return s;
}

// Sections of a tree behind the config; returns how many.
static size_t kpd__tree_sections(const kpd_index *x, kpd__section *s, const void **data) {
    const kpd__nodes *t = &x->t;
    size_t n = 0, slots = t->n_blocks * 16, panels = (t->n_lists + 15) / 16;
#define KPD__SECTION(name, type, rows, cols, unit, from)                                                                       \
    kpd__section_set(&s[n], name, type, KPD__REQUIRED, rows, cols, (size_t)(rows) * (cols) * (unit));                          \
    data[n++] = from;
    KPD__SECTION("ids", KPD__I64, slots, 1, 8, x->ids)
    KPD__SECTION("table", KPD__I32, x->table_size, 1, 4, x->table)
    KPD__SECTION("lists", KPD__U8, panels, kpd__node_bytes(x), 1, t->lists)
    if (t->groups) {
        KPD__SECTION("groups", KPD__U8, (panels + 15) / 16, kpd__node_bytes(x), 1, t->groups)
        s[n - 1].flags = 0;             // a search can do without
    }
    KPD__SECTION("blocks", KPD__U8, t->n_lists, kpd__node_bytes(x), 1, t->blocks)
    KPD__SECTION("codes", KPD__U8, t->n_blocks, kpd__code_bytes(x), 1, t->codes)
    KPD__SECTION("owner", KPD__I32, t->n_blocks, 1, 4, t->owner)
    if (x->storage == KPD_F32) { KPD__SECTION("rows", KPD__F32, slots, (size_t)x->dim, 4, t->rows) }
    else if (kpd__row_bytes(x)) { KPD__SECTION("rows", KPD__U8, slots, kpd__row_bytes(x), 1, t->rows) }
    if (x->metric == KPD_L2) { KPD__SECTION("halves", KPD__F32, slots, 1, 4, t->halves) }
    if (t->n_tuned) {
        KPD__SECTION("tuned", KPD__F32, t->n_tuned, 5, 4, t->tuned)
        s[n - 1].flags = KPD__SUMMED;
    }
    if (t->dial[0].gamma > 0) {
        KPD__SECTION("dial", KPD__F32, KPD__DIAL, 2, 4, t->dial)
        s[n - 1].flags = KPD__SUMMED;
    }
    if (t->arrived) {
        KPD__SECTION("arrived", KPD__I32, 1, 1, 4, &t->arrived)
        s[n - 1].flags = KPD__SUMMED;
    }
#undef KPD__SECTION
    return n;
}

// A panel of vectors in int8, to codes [dim padded to 64 / 4][16][4] and a note. Lengths and errors are rounded up.
static void kpd__panel_code(const kpd_index *x, size_t panel, int8_t *codes, kpd__note *note) {
    const size_t dim = (size_t)x->dim;
    const float *v = x->vectors + panel * dim * 16;
    const float up = 1 + 1e-4f;
    const size_t rows = kpd__min(16, x->count - panel * 16);
    memset(note, 0, sizeof *note);
    memset(codes, 0, kpd__coded_depth(x) * 16);
    note->step = kpd__widest(v, rows * dim) / 127;
    note->shortest = INFINITY;
    for (size_t i = 0; i < rows; i++) {
        float error = 0, square = 0;
        for (size_t d = 0; d < dim; d++) {
            float number = v[i * dim + d], part;
            int code = kpd__to_step(number, note->step, 127);
            codes[d / 4 * 64 + i * 4 + d % 4] = (int8_t)code;
            note->sums[i] += code;
            part = number - (float)code * note->step;
            error += part * part;
            square += number * number;
        }
        error = sqrtf(error) * up;
        square = sqrtf(square);
        note->error = error > note->error ? error : note->error;
        note->longest = square * up > note->longest ? square * up : note->longest;
        note->shortest = square / up < note->shortest ? square / up : note->shortest;
    }
}

// Codes panels [from, to) again.
static void kpd__recode(kpd_index *x, size_t from, size_t to) {
    if (!kpd__is_coded(x)) return;
    for (size_t p = from; p < to; p++)
        kpd__panel_code(x, p, (int8_t *)kpd__own(x->codes) + p * kpd__coded_depth(x) * 16, (kpd__note *)kpd__own(x->notes) + p);
}

static void kpd__upsert_one(kpd_index *x, int64_t id, const float *v) {
    size_t at = kpd__table_find(x, id), slot = x->table[at] < 0 ? x->count++ : (size_t)x->table[at];
    float *to = kpd__own_vectors(x), length = kpd__stored_length(x, v);
    if (x->table[at] < 0) kpd__label_put(x, slot, kpd__label_of(x, id));
    kpd__own_table(x)[at] = (int32_t)slot;
    for (size_t d = 0; d < (size_t)x->dim; d++) to[kpd__vector_at(x, slot, d)] = v[d] / length;
    if (slot + 1 < x->count) kpd__recode(x, slot / 16, slot / 16 + 1);      // the last ones' follow together
}

static kpd_status kpd__flat_upsert(kpd_index *x, const int64_t *ids, const float *v, size_t n, kpd_error *e) {
    size_t dim = (size_t)x->dim, n_new = 0, total = 0, before = x->count;
    kpd_status s;
    for (size_t i = 0; i < n; i++) n_new += kpd__index_slot(x, ids[i]) < 0;     // only these need room
    if (!kpd__add_ok(x->count, n_new, &total)) return kpd__fail(e, KPD_ERR_LIMIT, -1, "index: too many vectors");
    s = kpd__store_grow(x, total, e);
    for (size_t i = 0; !s && i < n; i++) kpd__upsert_one(x, ids[i], v + i * dim);
    if (!s && before) before--;                                 // the last one may have been replaced
    if (!s) kpd__recode(x, before / 16, (x->count + 15) / 16);
    return s;
}

// Panels whose codes are to be made anew, which a step below 0 marks: the first of them, and how many there were.
typedef struct kpd__stale { size_t panel[64], n; } kpd__stale;

static void kpd__stale_add(kpd_index *x, kpd__stale *s, size_t panel) {
    if (!kpd__is_coded(x) || x->notes[panel].step < 0) return;
    ((kpd__note *)kpd__own(x->notes))[panel].step = -1;
    if (s->n < 64) s->panel[s->n] = panel;
    s->n++;
}

static void kpd__stale_recode(kpd_index *x, const kpd__stale *s) {
    size_t panels = (x->count + 15) / 16;
    for (size_t i = 0; i < (s->n <= 64 ? s->n : panels); i++) {
        size_t p = s->n <= 64 ? s->panel[i] : i;
        if (p < panels && x->notes[p].step < 0) kpd__recode(x, p, p + 1);
    }
}

// Takes out a vector of a flat index, and moves the last one to its place.
static void kpd__remove_at(kpd_index *x, size_t at, kpd__stale *stale) {
    size_t slot = (size_t)x->table[at], last = x->count - 1;
    float *v = kpd__own_vectors(x);
    kpd__table_remove(x, at);
    if (slot != last) kpd__own_table(x)[kpd__table_find(x, x->ids[last])] = (int32_t)slot;
    kpd__label_put(x, slot, kpd__label_get(x, last));
    kpd__label_put(x, last, kpd__label_of(x, 0));
    for (size_t d = 0; d < (size_t)x->dim; d++) {
        v[kpd__vector_at(x, slot, d)] = v[kpd__vector_at(x, last, d)];
        v[kpd__vector_at(x, last, d)] = 0;
    }
    x->count = last;
    kpd__stale_add(x, stale, slot / 16);
    kpd__stale_add(x, stale, last / 16);
}

static kpd_status kpd__index_remove(kpd_index *x, const int64_t *ids, size_t n, size_t *removed, kpd_error *e) {
    size_t before = x->count;
    kpd__stale stale;
    kpd_status s = kpd__writable(x, e);
    stale.n = 0;
    if (s) return s;
    for (size_t i = 0; i < n && x->count; i++) {
        int32_t slot = kpd__index_slot(x, ids[i]);
        if (slot < 0) continue;
        kpd__text_drop(x, (size_t)slot);
        if (x->kind == KPD_TREE) kpd__tree_remove_at(x, kpd__table_find(x, ids[i]));
        else kpd__remove_at(x, kpd__table_find(x, ids[i]), &stale);
    }
    kpd__stale_recode(x, &stale);
    if (removed) *removed = before - x->count;
    return KPD_OK;
}
KPD__GUARDED(4, kpd_index_remove, kpd__index_remove, kpd_index *, x, const int64_t *, ids, size_t, n, size_t *, removed)

KPDDEF kpd_status kpd_index_get(const kpd_index *x, int64_t id, float *out, kpd_error *e) {
    size_t slot;
    if (kpd__id_slot(x, id, &slot, e)) return KPD_ERR_NOT_FOUND;
    kpd__slot_get(x, slot, out);
    return kpd__end(KPD_OK, e);
}

KPDDEF bool kpd_index_contains(const kpd_index *x, int64_t id) { return kpd__index_slot(x, id) >= 0; }

KPDDEF bool kpd_index_id(const kpd_index *x, int64_t slot, int64_t *id) {
    if (slot < 0 || (uint64_t)slot >= kpd__n_slots(x)) return false;
    if (x->kind == KPD_TREE && !kpd__lives(x, (size_t)slot)) return false;
    *id = x->ids[slot];
    return true;
}

KPDDEF kpd_status kpd_index_reserve(kpd_index *x, size_t n, kpd_error *e) {
    kpd_status s = kpd__writable(x, e);
    if (!s && n > x->count) s = x->kind == KPD_TREE ? kpd__tree_reserve(x, n - x->count, e) : kpd__store_grow(x, n, e);
    return kpd__end(s, e);
}

static size_t kpd__flat_sections(const kpd_index *x, kpd__section *s, const void **data) {
    kpd__section_set(&s[0], "ids", KPD__I64, KPD__REQUIRED, x->count, 1, x->count * sizeof(int64_t));
    kpd__section_set(&s[1], "table", KPD__I32, KPD__REQUIRED, x->table_size, 1, x->table_size * sizeof(int32_t));
    data[0] = x->ids; data[1] = x->table; data[2] = x->vectors;
    if (!kpd__is_coded(x)) {
        kpd__section_set(&s[2], "vectors", KPD__F32_PANELS, KPD__REQUIRED, x->count, (uint64_t)x->dim,
                         kpd__panel_bytes(x->count, x->dim));
        return 3;
    }
    kpd__section_set(&s[2], "rows", KPD__F32, KPD__REQUIRED, x->count, (uint64_t)x->dim,
                     x->count * (size_t)x->dim * sizeof(float));
    kpd__section_set(&s[3], "codes", KPD__U8, KPD__REQUIRED, (x->count + 15) / 16, 16 * kpd__coded_depth(x),
                     kpd__coded_bytes(x, x->count));
    kpd__section_set(&s[4], "notes", KPD__U8, KPD__REQUIRED, (x->count + 15) / 16, sizeof(kpd__note),
                     kpd__notes_bytes(x, x->count));
    data[3] = x->codes; data[4] = x->notes;
    return 5;
}

static size_t kpd__label_sections(const kpd_index *x, kpd__section *s, const void **data) {
    size_t slots = kpd__n_slots(x), n = 0;
    if (x->parts) {
        kpd__section_set(&s[n], "partition", KPD__I32, KPD__REQUIRED, slots, 1, slots * sizeof *x->parts);
        data[n++] = x->parts;
    }
    if (!x->texts.at) return n;
    kpd__section_set(&s[n], "text", KPD__I64, KPD__REQUIRED, slots, 1, slots * sizeof *x->texts.at);
    data[n++] = x->texts.at;
    kpd__section_set(&s[n], "texts", KPD__U8, KPD__REQUIRED, x->texts.used, 1, x->texts.used);
    data[n++] = x->texts.bytes;
    return n;
}

static void kpd__index_config(const kpd_index *x, int32_t config[16]) {
    uint32_t recall = kpd__to_bits(x->recall);
    config[0] = x->dim; config[1] = (int32_t)x->metric; config[2] = (int32_t)x->storage; config[3] = (int32_t)x->kind;
    memcpy(&config[4], &x->fingerprint, 8);
    config[6] = x->partition;
    if (x->kind != KPD_TREE) return;
    config[7] = (int32_t)x->count;
    memcpy(&config[8], &recall, 4);
}

// The sums that the file of a mapped index says its sections have, which are saved again as they lie there.
static void kpd__index_sums(const kpd_index *x, kpd__section *s, size_t n) {
    for (size_t i = 0; x->read_only && i < n; i++) {
        size_t at = kpd__names_find(&x->file.sections, s[i].name);
        if (at < x->file.sections.n) s[i].sum = kpd__file_table(&x->file)[x->file.sections.order[at]].sum;
    }
}

enum { KPD__INDEX_SECTIONS = 16 };      // at most: config, ids, table; 10 of a tree; partition, text, texts

static kpd_status kpd__index_put(const kpd_index *x, const kpd__sink *to, kpd_error *e) {
    kpd__section s[KPD__INDEX_SECTIONS];
    const void *data[KPD__INDEX_SECTIONS];
    int32_t config[16] = {0};
    size_t n = 1;
    kpd__index_config(x, config);
    kpd__section_set(&s[0], "config", KPD__I32, KPD__REQUIRED | KPD__SUMMED, 16, 1, sizeof config);
    data[0] = config;
    n += (x->kind == KPD_TREE ? kpd__tree_sections : kpd__flat_sections)(x, s + 1, data + 1);
    n += kpd__label_sections(x, s + n, data + n);
    kpd__index_sums(x, s + 1, n - 1);
    return kpd__file_save(to, KPD_FILE_INDEX, s, data, n, e);
}

KPDDEF kpd_status kpd_index_save(const kpd_index *x, const char *path, kpd_error *e) {
    kpd__sink to = {path, NULL, NULL};
    return kpd__end(kpd__index_put(x, &to, e), e);
}

static kpd_status kpd__index_write(const kpd_index *x, kpd_write_t *write, void *user, kpd_error *e) {
    kpd__sink to = {NULL, write, user};
    return write ? kpd__index_put(x, &to, e) : kpd__fail(e, KPD_ERR_ARGUMENT, -1, "write: the callback is missing");
}
KPD__GUARDED(3, kpd_index_write, kpd__index_write, const kpd_index *, x, kpd_write_t *, write, void *, user)

// The payload of a section [rows, cols], which a file names `name`, or has not; *rows = SIZE_MAX takes what there is.
static const void *kpd__section_payload(const kpd__file *f, const kpd__section *s, const char *name, uint32_t type,
                                        size_t *rows, size_t cols, const char *path, kpd_error *e) {
    size_t size = 0;
    if (s && *rows == SIZE_MAX && s->shape[0] < SIZE_MAX) *rows = (size_t)s->shape[0];
    if (s && s->type == type && s->shape[0] == *rows && s->shape[1] == cols && s->shape[2] == 1 &&
        kpd__payload_size(type, s->shape, &size) && size == s->size)
        return f->data + s->offset;
    kpd__fail(e, KPD_ERR_FORMAT, s ? (const char *)s - (const char *)f->data : 64,
              "%s: section %s is missing, or not of the type, shape and size expected", path, name);
    return NULL;
}

static const void *kpd__index_section(kpd__file *f, const char *name, uint32_t type, size_t *rows, size_t cols,
                                      const char *path, kpd_error *e) {
    return kpd__section_payload(f, kpd__file_find(f, name), name, type, rows, cols, path, e);
}

static kpd_status kpd__coded_bind(kpd_index *x, const char *path, kpd_error *e) {
    size_t panels = (x->count + 15) / 16;
    if (!kpd__is_coded(x)) return KPD_OK;
    x->codes = (const int8_t *)kpd__index_section(&x->file, "codes", KPD__U8, &panels, 16 * kpd__coded_depth(x), path, e);
    if (!x->codes) return KPD_ERR_FORMAT;
    x->notes = (const kpd__note *)kpd__index_section(&x->file, "notes", KPD__U8, &panels, sizeof(kpd__note), path, e);
    return x->notes ? KPD_OK : KPD_ERR_FORMAT;
}

// Binds x to the sections of its file.
static kpd_status kpd__index_bind(kpd_index *x, const char *path, kpd_error *e) {
    x->count = x->table_size = SIZE_MAX;
    x->ids = (const int64_t *)kpd__index_section(&x->file, "ids", KPD__I64, &x->count, 1, path, e);
    if (!x->ids) return KPD_ERR_FORMAT;
    x->table = (const int32_t *)kpd__index_section(&x->file, "table", KPD__I32, &x->table_size, 1, path, e);
    if (!x->table) return KPD_ERR_FORMAT;
    x->vectors = (const float *)kpd__index_section(&x->file, kpd__is_coded(x) ? "rows" : "vectors",
                                                   kpd__is_coded(x) ? KPD__F32 : KPD__F32_PANELS, &x->count, (size_t)x->dim,
                                                   path, e);
    if (!x->vectors) return KPD_ERR_FORMAT;
    x->capacity = kpd__round_up(x->count, 16);
    if (x->count > INT32_MAX - 64 || x->table_size & (x->table_size - 1) || (x->count && x->table_size <= x->count))
        return kpd__fail(e, KPD_ERR_FORMAT, 64, "%s: a table of %llu places does not fit %llu ids", path,
                         (unsigned long long)x->table_size, (unsigned long long)x->count);
    return kpd__coded_bind(x, path, e);
}

// Binds x, which is bound else, to the partitions and texts of its file, if it has any.
static kpd_status kpd__labels_bind(kpd_index *x, const char *path, kpd_error *e) {
    kpd__texts *t = &x->texts;
    const kpd__section *parts = kpd__file_find(&x->file, "partition");
    const kpd__section *at = kpd__file_find(&x->file, "text"), *bytes = kpd__file_find(&x->file, "texts");
    size_t slots = kpd__n_slots(x);
    if (parts) x->parts = (const int32_t *)kpd__section_payload(&x->file, parts, "partition", KPD__I32, &slots, 1, path, e);
    if (parts && !x->parts) return KPD_ERR_FORMAT;
    if (!at && !bytes) return KPD_OK;
    t->at = (const uint64_t *)kpd__section_payload(&x->file, at, "text", KPD__I64, &slots, 1, path, e);
    t->used = SIZE_MAX;
    if (t->at) t->bytes = (const char *)kpd__section_payload(&x->file, bytes, "texts", KPD__U8, &t->used, 1, path, e);
    t->room = t->used;
    return t->bytes ? KPD_OK : KPD_ERR_FORMAT;
}

// Every text lies within the texts, and together they are not longer.
static kpd_status kpd__texts_verify(kpd_index *x, const char *path, kpd_error *e) {
    kpd__texts *t = &x->texts;
    size_t n = t->at ? kpd__n_slots(x) : 0;
    t->live = 0;
    for (size_t i = 0; i < n; i++) {
        size_t size = kpd__text_size(t->at[i]);
        if (!kpd__text_inside(x, t->at[i]) || size > t->used - t->live)
            return kpd__fail(e, KPD_ERR_FORMAT, -1,
                             "%s: the text of slot %llu (offset %llu, size %llu) is not inside the texts' %llu bytes, or with "
                             "those before it longer than these", path, (unsigned long long)i,
                             (unsigned long long)(t->at[i] >> 24), (unsigned long long)size, (unsigned long long)t->used);
        t->live += size;
    }
    return KPD_OK;
}

// Whether the table leads to the id of a slot. An honest table needs about two steps an id; one made so that all ids collide
// would take count^2, and is refused.
static kpd_status kpd__table_leads(const kpd_index *x, size_t slot, size_t *steps, const char *path, kpd_error *e) {
    size_t mask = x->table_size - 1, at = kpd__table_start(x->ids[slot], x->table_size);
    while (x->table[at] != -1 && x->table[at] != (int32_t)slot && (*steps)++ < 64 * x->count + 4096) at = (at + 1) & mask;
    if (x->table[at] == (int32_t)slot && kpd__index_slot(x, x->ids[slot]) == (int32_t)slot) return KPD_OK;
    return kpd__fail(e, KPD_ERR_FORMAT, -1, "%s: the table does not lead to id %lld of slot %llu, or not in a few steps", path,
                     (long long)x->ids[slot], (unsigned long long)slot);
}

// The codes are those of the vectors.
static kpd_status kpd__coded_verify(const kpd_index *x, const char *path, kpd_error *e) {
    size_t bytes = 16 * kpd__coded_depth(x), n = kpd__is_coded(x) ? (x->count + 15) / 16 : 0, p = 0;
    int8_t *codes = n ? (int8_t *)kpd__alloc(&x->allocator, bytes) : NULL;
    kpd__note note;
    if (n && !codes) return kpd__no_memory(e, bytes);
    for (; p < n; p++) {
        kpd__panel_code(x, p, codes, &note);
        if (memcmp(codes, x->codes + p * bytes, bytes) || memcmp(&note, x->notes + p, sizeof note)) break;
    }
    kpd__free(&x->allocator, codes, bytes);
    if (p == n) return KPD_OK;
    return kpd__fail(e, KPD_ERR_FORMAT, -1, "%s: the codes of vectors %llu to %llu are not theirs", path,
                     (unsigned long long)p * 16, (unsigned long long)p * 16 + 15);
}

// Every id is found where it is, and nothing else is in the table.
static kpd_status kpd__index_verify(const kpd_index *x, const char *path, kpd_error *e) {
    size_t used = 0, steps = 0;
    kpd_status s = KPD_OK;
    for (size_t i = 0; i < x->table_size; i++) used += x->table[i] != -1;
    if (used != x->count)
        return kpd__fail(e, KPD_ERR_FORMAT, -1, "%s: the table has %llu entries for %llu ids", path, (unsigned long long)used,
                         (unsigned long long)x->count);
    for (size_t i = 0; !s && i < x->count; i++) s = kpd__table_leads(x, i, &steps, path, e);
    return s ? s : kpd__coded_verify(x, path, e);
}

static kpd_status kpd__tree_bind_tuned(kpd_index *x, const char *path, kpd_error *e) {
    size_t n = SIZE_MAX;
    const void *from;
    if (!kpd__file_find(&x->file, "tuned")) return KPD_OK;
    from = kpd__index_section(&x->file, "tuned", KPD__F32, &n, 5, path, e);
    if (!from) return KPD_ERR_FORMAT;
    if (n > 8) return kpd__fail(e, KPD_ERR_FORMAT, 64, "%s: tuned for %llu recalls, at most 8", path, (unsigned long long)n);
    memcpy(x->t.tuned, from, n * sizeof *x->t.tuned);
    for (size_t i = 0; i < n; i++) {
        const kpd__tuned *t = &x->t.tuned[i];
        const kpd__effort *f = &t->effort;
        if (!(t->k >= 1 && t->k <= KPD_MAX_K && t->recall > 0 && t->recall < 1 && f->gamma > 0 && f->gamma <= 1) ||
            !kpd__breadth_ok(f->breadth, f->candidates))
            return kpd__fail(e, KPD_ERR_FORMAT, 64, "%s: tuned: gamma %g, breadth %g, candidates %g for k %g and recall %g",
                             path, (double)f->gamma, (double)f->breadth, (double)f->candidates, (double)t->k,
                             (double)t->recall);
    }
    x->t.n_tuned = n;
    return KPD_OK;
}

static kpd_status kpd__tree_bind_dial(kpd_index *x, const char *path, kpd_error *e) {
    size_t n = KPD__DIAL;
    const void *from;
    if (!kpd__file_find(&x->file, "dial")) return KPD_OK;
    from = kpd__index_section(&x->file, "dial", KPD__F32, &n, 2, path, e);
    if (!from) return KPD_ERR_FORMAT;
    memcpy(x->t.dial, from, sizeof x->t.dial);
    for (size_t i = 0; i < KPD__DIAL; i++) {
        const kpd__dial d = x->t.dial[i];
        if (!(d.gamma > 0 && d.gamma <= 1) || !kpd__breadth_ok(1, d.candidates) ||
            (i && (d.gamma < x->t.dial[i - 1].gamma || d.candidates < x->t.dial[i - 1].candidates)))
            return kpd__fail(e, KPD_ERR_FORMAT, 64, "%s: dial: gamma %g, candidates %g for recall %g", path, (double)d.gamma,
                             (double)d.candidates, (double)kpd__dial_recall[i]);
    }
    return KPD_OK;
}

static kpd_status kpd__tree_bind_arrived(kpd_index *x, const char *path, kpd_error *e) {
    size_t n = 1;
    const void *from;
    if (!kpd__file_find(&x->file, "arrived")) return KPD_OK;
    from = kpd__index_section(&x->file, "arrived", KPD__I32, &n, 1, path, e);
    if (!from) return KPD_ERR_FORMAT;
    memcpy(&x->t.arrived, from, sizeof x->t.arrived);
    if (x->t.arrived >= 0) return KPD_OK;
    return kpd__fail(e, KPD_ERR_FORMAT, 64, "%s: arrived: %d vectors", path, (int)x->t.arrived);
}

// Binds x, whose dim, metric, storage and count are known, to the sections of a tree.
static kpd_status kpd__tree_bind(kpd_index *x, const char *path, kpd_error *e) {
    kpd__nodes *t = &x->t;
    kpd__file *f = &x->file;
    size_t slots, panels;
    t->n_lists = t->n_blocks = x->table_size = SIZE_MAX;
    t->blocks = (const uint8_t *)kpd__index_section(f, "blocks", KPD__U8, &t->n_lists, kpd__node_bytes(x), path, e);
    if (!t->blocks) return KPD_ERR_FORMAT;
    t->codes = (const uint8_t *)kpd__index_section(f, "codes", KPD__U8, &t->n_blocks, kpd__code_bytes(x), path, e);
    if (!t->codes) return KPD_ERR_FORMAT;
    slots = t->n_blocks * 16; panels = t->n_lists / 16 + (t->n_lists % 16 != 0);
    x->table = (const int32_t *)kpd__index_section(f, "table", KPD__I32, &x->table_size, 1, path, e);
    if (!x->table) return KPD_ERR_FORMAT;
    if (slots / 16 != t->n_blocks || t->n_blocks > (INT32_MAX - 64) / 16 || t->n_lists > (INT32_MAX - 64) / 16 ||
        x->count > slots || x->table_size & (x->table_size - 1) || x->table_size <= x->count)
        return kpd__fail(e, KPD_ERR_FORMAT, 64, "%s: %llu vectors do not fit %llu lists, %llu blocks and a table of %llu",
                         path, (unsigned long long)x->count, (unsigned long long)t->n_lists, (unsigned long long)t->n_blocks,
                         (unsigned long long)x->table_size);
    x->ids = (const int64_t *)kpd__index_section(f, "ids", KPD__I64, &slots, 1, path, e);
    if (!x->ids) return KPD_ERR_FORMAT;
    t->lists = (const uint8_t *)kpd__index_section(f, "lists", KPD__U8, &panels, kpd__node_bytes(x), path, e);
    if (!t->lists) return KPD_ERR_FORMAT;
    if (kpd__file_find(f, "groups")) {
        size_t groups = (panels + 15) / 16;
        t->groups = (const uint8_t *)kpd__index_section(f, "groups", KPD__U8, &groups, kpd__node_bytes(x), path, e);
        if (!t->groups) return KPD_ERR_FORMAT;
    }
    t->owner = (const int32_t *)kpd__index_section(f, "owner", KPD__I32, &t->n_blocks, 1, path, e);
    if (!t->owner) return KPD_ERR_FORMAT;
    if (x->storage != KPD_INT4) {
        bool f32 = x->storage == KPD_F32;
        t->rows = kpd__index_section(f, "rows", f32 ? KPD__F32 : KPD__U8, &slots, kpd__row_bytes(x) / (f32 ? 4 : 1), path, e);
        if (!t->rows) return KPD_ERR_FORMAT;
    }
    if (x->metric == KPD_L2) {
        t->halves = (const float *)kpd__index_section(f, "halves", KPD__F32, &slots, 1, path, e);
        if (!t->halves) return KPD_ERR_FORMAT;
    }
    if (kpd__tree_bind_tuned(x, path, e) || kpd__tree_bind_dial(x, path, e)) return KPD_ERR_FORMAT;
    return kpd__tree_bind_arrived(x, path, e);
}

static bool kpd__sound(const float *v, size_t n) {   // finite and not negative
    for (size_t i = 0; i < n; i++)
        if (!(v[i] >= 0) || !kpd__finite(v[i])) return false;
    return true;
}

// Every number that a node says is one that a build could have written.
static kpd_status kpd__panel_verify(const kpd_index *x, const uint8_t *panels, size_t i, const char *what, const char *path,
                                    kpd_error *e) {
    const kpd__node *node = kpd__panel_node(x, panels, i);
    if (kpd__sound(node->scale, 16) && kpd__sound(node->radius, 16) && kpd__sound(node->half, 16) && kpd__sound(node->step, 16))
        return KPD_OK;
    return kpd__fail(e, KPD_ERR_FORMAT, -1, "%s: %s %llu has a scale, radius, half or step that is negative or not finite",
                     path, what, (unsigned long long)i);
}

static kpd_status kpd__tree_verify(const kpd_index *x, const char *path, kpd_error *e) {
    size_t used = 0, live = 0, steps = 0;
    kpd_status s = KPD_OK;
    for (size_t i = 0; !s && i < (x->t.n_lists + 15) / 16; i++)
        s = kpd__panel_verify(x, x->t.lists, i, "panel of lists", path, e);
    for (size_t i = 0; !s && x->t.groups && i < (kpd__n_groups(x) + 15) / 16; i++)
        s = kpd__panel_verify(x, x->t.groups, i, "panel of groups", path, e);
    for (size_t i = 0; !s && i < x->t.n_lists; i++) s = kpd__panel_verify(x, x->t.blocks, i, "list", path, e);
    for (size_t b = 0; !s && b < x->t.n_blocks; b++) {
        size_t owner = (uint32_t)x->t.owner[b];
        if (owner / 16 >= x->t.n_lists || kpd__list_node(x, owner / 16)->child[owner % 16] != b)
            s = kpd__fail(e, KPD_ERR_FORMAT, -1, "%s: block %llu is owned by %d, which does not have it", path,
                          (unsigned long long)b, (int)x->t.owner[b]);
    }
    for (size_t i = 0; !s && i < x->t.n_lists * 16; i++) {
        const kpd__node *node = kpd__list_node(x, i / 16);
        if (node->live[i % 16] && !kpd__has_block(x, i / 16, i % 16))
            s = kpd__fail(e, KPD_ERR_FORMAT, -1, "%s: list %llu has vectors in block %u, which is not its own", path,
                          (unsigned long long)(i / 16), (unsigned)node->child[i % 16]);
        for (size_t p = 0; !s && p < 16; p++) {
            if (!(node->live[i % 16] >> p & 1)) continue;
            live++;
            s = kpd__table_leads(x, (size_t)node->child[i % 16] * 16 + p, &steps, path, e);
        }
    }
    for (size_t i = 0; !s && i < x->table_size; i++) used += x->table[i] != -1;
    if (!s && (live != x->count || used != live))
        s = kpd__fail(e, KPD_ERR_FORMAT, -1, "%s: %llu vectors live, the config says %llu, the table %llu", path,
                      (unsigned long long)live, (unsigned long long)x->count, (unsigned long long)used);
    return s;
}

// Makes a bound, verified index its own: arrays that can grow instead of the file's.
static kpd_status kpd__index_own(kpd_index *x, kpd_error *e) {
    size_t used = x->texts.used;
    char *bytes = used ? (char *)kpd__alloc(&x->allocator, used) : NULL;
    kpd_status s = used && !bytes ? kpd__no_memory(e, used) : KPD_OK;
    if (!s && x->kind == KPD_TREE) s = kpd__tree_move(x, x->t.n_lists + 16, x->t.n_blocks + 16, e);
    else if (!s) s = kpd__store_grow(x, x->count, e);
    if (s) {
        kpd__free(&x->allocator, bytes, used);
        return s;
    }
    if (used) memcpy(bytes, x->texts.bytes, used);
    x->texts.bytes = bytes;
    kpd__file_close(&x->file);
    x->read_only = false;
    return KPD_OK;
}

static kpd_status kpd__index_assemble(kpd__file *f, const kpd_open_desc *d, const char *path, kpd_index **out, kpd_error *e) {
    static const uint32_t known[9] = {UINT32_MAX, UINT32_MAX, UINT32_MAX, 1,         UINT32_MAX,
                                      UINT32_MAX, UINT32_MAX, INT32_MAX,  UINT32_MAX};
    kpd_index_desc desc;
    const kpd__section *s = kpd__file_find(f, "config");
    const int32_t *c;
    kpd_status status;
    memset(&desc, 0, sizeof desc);
    if (!s || s->type != KPD__I32 || s->size < 64)
        return kpd__fail(e, KPD_ERR_FORMAT, 64, "%s: has no config of 16 numbers", path);
    c = (const int32_t *)(const void *)(f->data + s->offset);
    status = kpd__slots_check(c, known, c[3] == KPD_TREE ? 9 : 7, (size_t)s->size / 4, (int64_t)s->offset, path, e);
    if (!status) status = kpd__index_check(c[0], c[1], c[2], c[3], e);
    if (status) return status;
    desc.dim = c[0]; desc.metric = (kpd_metric)c[1]; desc.storage = (kpd_dtype)c[2]; desc.kind = (kpd_index_kind)c[3];
    memcpy(&desc.fingerprint, &c[4], 8);
    desc.partition = c[6];
    memcpy(&desc.recall, &c[8], 4);
    desc.allocator = f->allocator;
    status = kpd__index_make(&desc, out, e);
    if (status) return status;
    (*out)->file = *f;
    (*out)->read_only = true;
    if (desc.kind == KPD_TREE) (*out)->count = (size_t)c[7];
    status = (desc.kind == KPD_TREE ? kpd__tree_bind : kpd__index_bind)(*out, path, e);
    if (!status) status = kpd__labels_bind(*out, path, e);
    if (!status) status = kpd__file_unknown(&(*out)->file, path, e);
    if (!status && d && (d->verify || d->copy)) {
        status = (desc.kind == KPD_TREE ? kpd__tree_verify : kpd__index_verify)(*out, path, e);
        if (!status) status = kpd__texts_verify(*out, path, e);
    }
    if (!status && d && d->copy) status = kpd__index_own(*out, e);
    if (!status) return KPD_OK;
    memset(&(*out)->file, 0, sizeof (*out)->file);   // the caller closes it
    kpd_index_destroy(*out);
    return status;
}

static kpd_status kpd__index_open(const char *path, const kpd_open_desc *d, kpd_index **out, kpd_error *e) {
    kpd__file f;
    const char *name = kpd__file_label(path);
    kpd_index *x = NULL;
    kpd_error own;
    kpd_status s;
    if (!e) e = &own;
    s = kpd__file_open(path, d, &f, e);
    if (s) return s;
    s = kpd__file_check(&f, KPD_FILE_INDEX, d && (d->verify || d->copy), name, e);
    if (!s) s = kpd__index_assemble(&f, d, name, &x, e);
    if (s) { kpd__file_close(&f); x = NULL; }
    if (!s) *out = x;
    return kpd__file_blame(s, name, e);
}
KPD__GUARDED(3, kpd_index_open, kpd__index_open, const char *, path, const kpd_open_desc *, d, kpd_index **, out)

// >>index_flat  Exact search. Tasks share out the vectors; each keeps, per query, a heap of the k best it saw, the worst on
// top. Of int8 codes it keeps what the bounds of both roundings' errors allow, and scores that by the vectors. Promises
// the total order (score descending, id ascending), so the result does not depend on how the work was cut.

static bool kpd__worse(kpd_hit a, kpd_hit b) { return a.score < b.score || (a.score == b.score && a.id > b.id); }

// Puts h where the heap of n hits with the worst on top wants it, starting from a free place at the top.
static void kpd__heap_down(kpd_hit *heap, size_t n, kpd_hit h) {
    size_t at = 0, child;
    for (; (child = 2 * at + 1) < n; at = child) {
        if (child + 1 < n && kpd__worse(heap[child + 1], heap[child])) child++;
        if (!kpd__worse(heap[child], h)) break;
        heap[at] = heap[child];
    }
    heap[at] = h;
}

// Keeps h if it is among the k best so far.
static void kpd__heap_keep(kpd_hit *heap, int32_t *n, int32_t k, kpd_hit h) {
    size_t at;
    if (*n == k) {
        if (kpd__worse(heap[0], h)) kpd__heap_down(heap, (size_t)k, h);
        return;
    }
    for (at = (size_t)(*n)++; at && kpd__worse(h, heap[(at - 1) / 2]); at = (at - 1) / 2) heap[at] = heap[(at - 1) / 2];
    heap[at] = h;
}

// Best first.
static void kpd__heap_sort(kpd_hit *heap, int32_t n) {
    for (; n > 1; n--) {
        kpd_hit worst = heap[0];
        kpd__heap_down(heap, (size_t)n - 1, heap[n - 1]);
        heap[n - 1] = worst;
    }
}

// How what passes is walked through where it is little enough to be compared with one by one.
typedef enum kpd__few { KPD__NOT_FEW, KPD__FEW_IDS, KPD__FEW_BITS, KPD__FEW_PARTS } kpd__few;

typedef struct kpd__search {
    kpd_session *s;
    const kpd_index *x;
    const kpd_search_desc *d;
    const float *q;                     // [n_queries, dim], of the right length
    size_t n_queries;
    int32_t k;
    kpd_hit *out; int32_t *counts;      // of a tree: rows of these queries
    bool filtered;
    kpd__few few;                       // what little passes, to be walked through
} kpd__search;

// How many of n ascending numbers are below one.
static size_t kpd__ids_below(const int64_t *ids, size_t n, int64_t id) {
    size_t from = 0;
    for (size_t to = n; from < to;) {
        size_t middle = from + (to - from) / 2;
        if (ids[middle] < id) from = middle + 1;
        else to = middle;
    }
    return from;
}

static size_t kpd__parts_below(const int32_t *parts, size_t n, int32_t part) {
    size_t from = 0;
    for (size_t to = n; from < to;) {
        size_t middle = from + (to - from) / 2;
        if (parts[middle] < part) from = middle + 1;
        else to = middle;
    }
    return from;
}

static bool kpd__part_passes(const kpd__search *c, size_t slot) {
    const kpd_search_desc *d = c->d;
    int32_t part = c->x->parts ? c->x->parts[slot] : c->x->partition;
    size_t at = kpd__parts_below(d->partitions, d->n_partitions, part);
    return at < d->n_partitions && d->partitions[at] == part;
}

// Whether the vector of a slot may be returned.
static bool kpd__passes(const kpd__search *c, size_t slot) {
    const kpd_search_desc *d = c->d;
    int64_t id = c->x->ids[slot];
    if (!c->filtered) return true;
    if (d->only_partitions && !kpd__part_passes(c, slot)) return false;
    if (d->only_bits) {
        uint64_t i = (uint64_t)id - (uint64_t)d->first_bit;
        if (id < d->first_bit || i >= d->n_bits || !(d->bits[i / 64] >> i % 64 & 1)) return false;
    }
    if (d->only_ids) {
        size_t at = kpd__ids_below(d->ids, d->n_ids, id);
        if (at == d->n_ids || d->ids[at] != id) return false;
    }
    return !d->filter || d->filter(d->filter_user, id);
}

static void kpd__search_keep(const kpd__search *c, kpd__scratch *s, size_t query, const float *scores, size_t first, size_t n) {
    kpd_hit *heap = s->best + query * (size_t)c->k;
    float least = c->d->threshold ? c->d->min_score : -INFINITY;
    size_t found;
    if (s->n_best[query] == c->k && heap[0].score > least) least = heap[0].score;
    found = c->s->ops->above(scores, n, least, s->above);
    for (size_t i = 0; i < found; i++) {
        kpd_hit h;
        h.id = c->x->ids[first + (size_t)s->above[i]];
        h.score = scores[s->above[i]];
        if (s->n_best[query] == c->k && !kpd__worse(heap[0], h)) continue;
        if (kpd__passes(c, first + (size_t)s->above[i])) kpd__heap_keep(heap, &s->n_best[query], c->k, h);
    }
}

static void kpd__search_task(void *arg, int32_t task) {
    const kpd__search *c = (const kpd__search *)arg;
    const kpd_index *x = c->x;
    kpd__scratch *s = &c->s->scratch[task];
    size_t n_chunks = (x->count + KPD__VECTORS - 1) / KPD__VECTORS;
    memset(s->n_best, 0, sizeof s->n_best);
    for (size_t i = (size_t)task; i < n_chunks; i += (size_t)c->s->n_tasks) {
        size_t first = i * KPD__VECTORS, n = kpd__min(KPD__VECTORS, x->count - first), panels = (n + 15) / 16;
        c->s->ops->scan(x->metric, c->q, c->n_queries, (size_t)x->dim, x->vectors + first * (size_t)x->dim, panels, s->scores);
        for (size_t j = 0; j < c->n_queries; j++) kpd__search_keep(c, s, j, s->scores + j * panels * 16, first, n);
    }
}

// Squares of numbers below this lose too much to underflow for a bound: then all is looked at.
#define KPD__SMALL_STEP 1e-15f

// Queries in six bits, of which a level makes products faster than of eight; the more that may be meant, vectors tell apart.
static void kpd__sieve_narrow(const kpd__search *c) {
    kpd__workspace *room = &c->s->sieved.room;
    size_t dim = (size_t)c->x->dim;
    for (size_t i = 0; i < c->n_queries; i++)
        room->step[i] = kpd__narrow_row(c->q + i * dim, dim, room->rows + i * kpd__coded_depth(c->x));
}

static void kpd__sieve_bytes(const kpd__search *c) {
    kpd__workspace *room = &c->s->sieved.room;
    const kpd__ops *ops = c->s->ops;
    kpd__matrix w;
    memset(&w, 0, sizeof w);
    w.bytes = c->x->codes; w.k = (size_t)c->x->dim; w.rounding = KPD__SIGNED;
    room->n_rows = KPD__QUERIES; room->plane = 0;
    room->row_bytes = kpd__coded_depth(c->x) * (ops->operand == KPD__WORDS ? 2 : 1);
    ops->round_rows(&w, ops->operand, c->q, w.k, c->n_queries, room);
}

// The queries in bytes, and how far from these they lie.
static void kpd__sieve_queries(const kpd__search *c) {
    kpd__sieved *t = &c->s->sieved;
    size_t dim = (size_t)c->x->dim;
    const bool narrow = c->s->ops->narrow_dots != NULL;
    const float most = narrow ? KPD__NARROW_MOST : 127;
    t->zero = narrow ? KPD__NARROW_ZERO : 128;
    (narrow ? kpd__sieve_narrow : kpd__sieve_bytes)(c);
    for (size_t i = 0; i < c->n_queries; i++) {
        const float *q = c->q + i * dim;
        float step = t->room.step[i], error = 0, square = 0;
        for (size_t d = 0; d < dim; d++) {
            float part = q[d] - (float)kpd__to_step(q[d], step, most) * step;
            error += part * part;
            square += q[d] * q[d];
        }
        t->each[i] = 1 / step;                  // infinite of a query without length: then all is looked at
        t->length[i] = sqrtf(square) * 1.0001f / step;
        t->error[i] = step >= KPD__SMALL_STEP ? sqrtf(error) * 1.0001f / step + 1e-3f : INFINITY;
    }
}

#define KPD__CHAIN 1.2e-7f       // times dim, |q| and |x|: twice as far as a chain of f32 may lie from their product

// The score that query i needs by now, in its steps and a little less; of l2 what q.x needs before |x|^2 / 2 joins.
static void kpd__sieve_want(const kpd__search *c, kpd__scratch *s, size_t i) {
    const kpd__sieved *t = &c->s->sieved;
    const kpd_hit *heap = s->best + i * (size_t)c->k, *lower = s->sieve.lower + i * (size_t)c->k;
    float least = c->d->threshold ? c->d->min_score : -INFINITY, wanted, known = 0;     // known: the k-th, in real numbers
    if (s->n_best[i] == c->k && heap[0].score > least) least = heap[0].score;
    if (c->x->metric == KPD_L2) {
        float length = t->length[i] / t->each[i], square = length * length;
        least = 0.5f * (least + square * (0.9997f - 8 * KPD__CHAIN * (float)c->x->dim));
        known = 2 * KPD__CHAIN * (float)c->x->dim * t->length[i] * length;      // what |q|^2 adds to the chains' error
    }
    wanted = (least - 1e-5f * fabsf(least)) * t->each[i];
    known = s->sieve.n_lower[i] == c->k ? lower[0].score - known : -INFINITY;
    s->sieve.wanted[i] = known > wanted ? known : wanted;
}

// What the sums of a panel's codes must reach: q.x <= q'.x' + |q| |x - x'| + |q - q'| |x'|, where q' and x' are rounded.
static void kpd__sieve_needs(const kpd__search *c, const kpd__scratch *s, const kpd__note *note, kpd__needs *to) {
    const kpd__sieved *t = &c->s->sieved;
    float off = KPD__CHAIN * (float)c->x->dim, shortest = note->shortest, longest = note->longest;
    to->wanted = s->sieve.wanted; to->each = t->each; to->length = t->length; to->error = t->error; to->zero = t->zero;
    to->shift = c->x->metric == KPD_L2 ? 0.49999f * shortest * shortest - 4 * off * longest * longest : 0;
    to->near = note->step >= KPD__SMALL_STEP ? note->error + off * longest : INFINITY;
    to->far = longest + note->error;
    to->scale = 1 / note->step;
}

// Scores what query i kept by its vectors, 16 at a time; what lies below what it needs by now is left out.
static void kpd__sieve_settle(const kpd__search *c, kpd__scratch *s, size_t i) {
    const kpd_index *x = c->x;
    kpd__sifted *kept = s->sieve.kept + i * s->sieve.room;
    size_t dim = (size_t)x->dim, n = 0;
    float scores[16], least = c->d->threshold ? c->d->min_score : -INFINITY;
    kpd__sieve_want(c, s, i);
    for (size_t j = 0; j < s->sieve.n_kept[i]; j++) {
        if (kept[j].upper < s->sieve.wanted[i]) continue;
        kept[n++] = kept[j];
        kpd__prefetch(x->vectors + kept[j].slot * dim, dim * sizeof(float));
    }
    for (size_t j = 0; j < n; j += 16) {
        const float *rows[16];
        for (size_t r = 0; r < 16; r++) rows[r] = x->vectors + kept[j + r < n ? j + r : j].slot * dim;
        c->s->ops->pack(rows, dim, s->branch.panel);
        c->s->ops->scan(x->metric, c->q + i * dim, 1, dim, s->branch.panel, 1, scores);
        for (size_t r = 0; r < kpd__min(16, n - j); r++) {
            kpd_hit h;
            h.id = x->ids[kept[j + r].slot]; h.score = scores[r];
            if (h.score >= least) kpd__heap_keep(s->best + i * (size_t)c->k, &s->n_best[i], c->k, h);
        }
    }
    s->sieve.n_kept[i] = 0;
    kpd__sieve_want(c, s, i);
}

// Keeps the vectors of a panel that mask names for a query: by what their scores are at most and at least, in its steps.
static void kpd__sieve_keep(const kpd__search *c, kpd__scratch *s, const kpd__needs *needs, size_t panel, size_t query,
                            uint32_t mask, const int32_t *sums) {
    kpd__sieve *v = &s->sieve;
    const kpd__note *note = &c->x->notes[panel];
    const bool l2 = c->x->metric == KPD_L2;
    float far = needs->near * needs->length[query] + needs->far * needs->error[query], each = needs->each[query];
    float square = note->longest * note->longest, half = square * (0.50001f + 4 * KPD__CHAIN * (float)c->x->dim);
    float high = far - (l2 ? needs->shift * each : 0), low = far + (l2 ? half * each : 0);
    for (; mask; mask &= mask - 1) {
        size_t lane = (size_t)kpd__lowest_bit(mask), slot = panel * 16 + lane;
        int32_t sum = (int32_t)((uint32_t)sums[lane] - (uint32_t)needs->zero * (uint32_t)note->sums[lane]);
        float about = (float)sum * note->step, off = 1e-5f * fabsf(about) + 4 * note->step;
        kpd_hit h;
        if (slot >= c->x->count) break;
        if (!kpd__passes(c, slot)) continue;
        v->kept[query * v->room + v->n_kept[query]].slot = (uint32_t)slot;
        v->kept[query * v->room + v->n_kept[query]++].upper = about + off + high;
        h.id = (int64_t)slot; h.score = about - off - low;
        if (h.score > -FLT_MAX) kpd__heap_keep(v->lower + query * (size_t)c->k, &v->n_lower[query], c->k, h);
        if (v->n_kept[query] == v->room) kpd__sieve_settle(c, s, query);
    }
    kpd__sieve_want(c, s, query);
}

static void kpd__sieve_panel(const kpd__search *c, kpd__scratch *s, size_t panel, const int32_t *sums) {
    kpd__sieve *v = &s->sieve;
    const kpd__note *note = &c->x->notes[panel];
    kpd__needs needs;
    size_t found;
    kpd__sieve_needs(c, s, note, &needs);
    found = c->s->ops->reach(&needs, sums, note->sums, c->n_queries, v->which);
    for (size_t i = 0; i < found; i++) {
        size_t query = v->which[i] >> 16;
        kpd__sieve_keep(c, s, &needs, panel, query, v->which[i] & 0xFFFF, sums + query * 16);
    }
}

static void kpd__sieve_task(void *arg, int32_t task) {
    const kpd__search *c = (const kpd__search *)arg;
    const kpd_index *x = c->x;
    const kpd__ops *ops = c->s->ops;
    kpd__scratch *s = &c->s->scratch[task];
    kpd__dots *dots = kpd__narrow_dots(ops);
    size_t depth = kpd__coded_depth(x), panels = (x->count + 15) / 16, next = kpd__round_up(c->n_queries, 16) * 16;
    size_t step = KPD__VECTORS / 16, walk = KPD__SIEVED / 16;
    memset(s->n_best, 0, sizeof s->n_best);
    memset(s->sieve.n_lower, 0, sizeof s->sieve.n_lower);
    memset(s->sieve.n_kept, 0, sizeof s->sieve.n_kept);
    for (size_t i = 0; i < c->n_queries; i++) kpd__sieve_want(c, s, i);
    kpd__tiles(ops, true);
    for (size_t from = (size_t)task * step; from < panels; from += (size_t)c->s->n_tasks * step)
        for (size_t p = from; p < kpd__min(from + step, panels); p += walk) {
            size_t n = kpd__min(walk, panels - p);
            dots(c->s->sieved.room.rows, c->n_queries, depth, x->codes + p * 16 * depth, n, s->sieve.widened, s->sieve.sums);
            for (size_t i = 0; i < n; i++) kpd__sieve_panel(c, s, p + i, s->sieve.sums + i * next);
        }
    kpd__tiles(ops, false);
    for (size_t i = 0; i < c->n_queries; i++) kpd__sieve_settle(c, s, i);
}

// Joins the tasks' heaps into the rows of out.
static void kpd__search_join(const kpd__search *c, size_t row, kpd_hit *out, int32_t *counts) {
    for (size_t q = 0; q < c->n_queries; q++) {
        kpd__scratch *to = &c->s->scratch[0];
        kpd_hit *heap = to->best + q * (size_t)c->k;
        for (int32_t t = 1; t < c->s->n_tasks; t++) {
            const kpd__scratch *from = &c->s->scratch[t];
            for (int32_t i = 0; i < from->n_best[q]; i++)
                kpd__heap_keep(heap, &to->n_best[q], c->k, from->best[q * (size_t)c->k + (size_t)i]);
        }
        kpd__heap_sort(heap, to->n_best[q]);
        memcpy(out + (row + q) * (size_t)c->k, heap, (size_t)to->n_best[q] * sizeof *out);
        counts[row + q] = to->n_best[q];
    }
}

static kpd_status kpd__ascends(size_t bad, size_t n, const char *what, kpd_error *e) {
    if (bad >= n) return KPD_OK;
    return kpd__fail(e, KPD_ERR_ARGUMENT, (int64_t)bad, "search: %s do not ascend, or are NULL, at number %llu of %llu", what,
                     (unsigned long long)bad, (unsigned long long)n);
}

static kpd_status kpd__filter_check(const kpd_search_desc *d, kpd_error *e) {
    size_t ids = d->only_ids && d->ids ? 1 : 0, parts = d->only_partitions && d->partitions ? 1 : 0;
    while (ids && ids < d->n_ids && d->ids[ids] >= d->ids[ids - 1]) ids++;
    while (parts && parts < d->n_partitions && d->partitions[parts] >= d->partitions[parts - 1]) parts++;
    if (d->only_ids && kpd__ascends(ids, d->n_ids, "ids", e)) return KPD_ERR_ARGUMENT;
    if (d->only_partitions && kpd__ascends(parts, d->n_partitions, "partitions", e)) return KPD_ERR_ARGUMENT;
    if (!d->only_bits || d->bits || !d->n_bits) return KPD_OK;
    return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "search: bits are NULL, but n_bits is %llu", (unsigned long long)d->n_bits);
}

static float kpd__or_one(float v) { return v >= 0 && v <= 0 ? 1 : v; }

static kpd_status kpd__breadth_check(const kpd_search_desc *d, kpd_error *e) {
    bool none = d->breadth >= 0 && d->breadth <= 0 && d->candidates >= 0 && d->candidates <= 0;
    if (none || (d->gamma > 0 && kpd__breadth_ok(kpd__or_one(d->breadth), kpd__or_one(d->candidates)))) return KPD_OK;
    return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "search: breadth %g, candidates %g with gamma %g; expected .25 to 2 and .5 to "
                     "8, or 0, and a gamma", (double)d->breadth, (double)d->candidates, (double)d->gamma);
}

static kpd_status kpd__search_check(const kpd_session *s, const kpd_index *x, const kpd_search_desc *d, kpd_error *e) {
    if (kpd__desc_check("search", d->abi, d->reserved, e)) return KPD_ERR_ARGUMENT;
    if (d->k < 0) return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "search: k is %d, expected 1 or more, or 0 for 10", (int)d->k);
    if ((size_t)d->k > s->sizes.k || !s->sizes.dim)
        return kpd__fail(e, KPD_ERR_LIMIT, -1, "search: k is %d, the session was made for %d hits of %d dimensions", (int)d->k,
                         (int)s->sizes.k, (int)s->sizes.dim);
    if ((size_t)x->dim > s->sizes.dim)
        return kpd__fail(e, KPD_ERR_LIMIT, -1, "search: the index has dim %d, the session was made for %d", (int)x->dim,
                         (int)s->sizes.dim);
    if (d->threshold && !(d->min_score >= -INFINITY))
        return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "search: min_score is not a number");
    if (!(d->gamma >= 0 && d->gamma < INFINITY))
        return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "search: gamma is %g, expected above 0, or 0 to follow recall",
                         (double)d->gamma);
    if (kpd__filter_check(d, e) || kpd__breadth_check(d, e)) return KPD_ERR_ARGUMENT;
    return kpd__recall_check("search", d->recall, e);
}

// >>index_tree  Search of a tree. Phase one takes the best blocks of the best lists and with them the k-th score s; phase two
// opens every node whose score + gamma * radius reaches s. Both sets are defined without an order, so threads and batches give
// the same bits. The best candidates by code are scored again from their rows by the chain that flat indexes use.

static void kpd__top_begin(kpd__top *t, size_t keep) {
    t->n = 0; t->keep = keep; t->room = keep + KPD__TOP_SLACK; t->least = -INFINITY;
}

static void kpd__top_cut(kpd__top *t) {
    if (t->n <= t->keep) return;
    kpd__select(t->keys, t->n, t->keep);
    t->n = t->keep;
    t->least = kpd__key_score(kpd__least_key(t->keys, t->n));
}

static void kpd__top_add(kpd__top *t, float score, uint32_t number) {
    t->keys[t->n++] = kpd__key(score, number);
    if (t->n == t->room) kpd__top_cut(t);
}


#define KPD__GROUP_SLACK 0.3f   // what gamma is more for groups than for blocks; for lists a fifth of it

// Nodes over the blocks: lists, or groups of 16 lists.
typedef struct kpd__level { const uint8_t *panels; size_t n; float gamma, *order, *bound; } kpd__level;

// The state of one query on its way down.
typedef struct kpd__descent {
    const kpd__search *c;
    const kpd_index *x;
    const kpd__ops *ops;
    kpd__branch *to;
    kpd__probe probe;
    const float *q;
    float group_bound, list_bound, block_bound; // gamma of groups, lists, blocks; times the query's length but under l2
    bool grouped;
} kpd__descent;

// Adds those of a block's vectors in mask that may be among the best; which: the number of the block among the open ones.
static void kpd__open_keep(kpd__descent *t, size_t which, uint32_t mask) {
    kpd__branch *b = t->to;
    for (mask &= b->live[which]; mask; mask &= mask - 1) {
        size_t place = (size_t)kpd__lowest_bit(mask);
        uint32_t slot = b->open[which] * 16 + (uint32_t)place;
        float score = b->scores[which * 16 + place];
        if (score >= b->rows.least && kpd__passes(t->c, slot)) kpd__top_add(&b->rows, score, slot);
    }
}

// Scores the open blocks, and keeps what reaches `least`.
static void kpd__open_score(kpd__descent *t, float least) {
    kpd__branch *b = t->to;
    size_t n;
    b->work += (int64_t)b->n_open;
    n = t->ops->codes(&t->probe, t->x->t.codes, b->open, b->step, t->x->t.halves, b->n_open, least, b->scores, b->found);
    for (size_t i = 0; i < n; i++) kpd__open_keep(t, b->found[i] >> 16, b->found[i] & 0xFFFF);
}

// Opens the n children b->above of lists[0..], 16 each: they wait to be scored, as many as there is room for.
static void kpd__open(kpd__descent *t, const uint32_t *lists, size_t n) {
    kpd__branch *b = t->to;
    for (size_t i = 0; i < n; i++) {
        size_t at = (size_t)b->above[i], place = at % 16;
        const kpd__node *node = kpd__list_node(t->x, lists[at / 16]);
        if (node->child[place] >= t->x->t.n_blocks) continue;   // of a broken file
        b->open[b->n_open] = node->child[place];
        b->step[b->n_open] = node->step[place];
        b->live[b->n_open++] = node->live[place];
    }
}

static kpd__level kpd__lists_level(const kpd__descent *t) {
    kpd__level l = {t->x->t.lists, t->x->t.n_lists, t->list_bound, t->to->order, t->to->bound};
    return l;
}
static kpd__level kpd__groups_level(const kpd__descent *t) {
    kpd__level l = {t->x->t.groups, kpd__n_groups(t->x), t->group_bound, t->to->group_order, t->to->group_bound};
    return l;
}

// Scores the nodes of b->panels.
static void kpd__level_score(kpd__descent *t, const kpd__level *l) {
    kpd__branch *b = t->to;
    size_t n = b->n_panels;
    t->probe.bound = l->gamma;
    t->probe.all = true;
    b->work += 2 * (int64_t)n;
    t->ops->nodes(&t->probe, l->panels, b->panels, n, l->order, l->bound);
    t->probe.all = false;
    if (!n || b->panels[n - 1] != (l->n - 1) / 16) return;
    for (size_t i = (n - 1) * 16 + (l->n - 1) % 16 + 1; i < n * 16; i++) l->order[i] = l->bound[i] = -INFINITY;
}

// The same for panels from a number on, at most KPD__PANELS. Returns how many.
static size_t kpd__level_score_from(kpd__descent *t, const kpd__level *l, size_t from) {
    kpd__branch *b = t->to;
    b->n_panels = kpd__min(KPD__PANELS, (l->n + 15) / 16 - from);
    for (size_t i = 0; i < b->n_panels; i++) b->panels[i] = (uint32_t)(from + i);
    kpd__level_score(t, l);
    return b->n_panels;
}

// Of b->near[0..b->n_near) the best by their order stay.
static void kpd__near_cut(kpd__descent *t, size_t keep) {
    kpd__branch *b = t->to;
    size_t n = kpd__round_up(b->n_near, 16);
    for (size_t i = b->n_near; i < n; i++) b->near_order[i] = -INFINITY;
    b->n_near = kpd__best_above(t->ops, b->near_order, n, keep, b->above);
    for (size_t i = 0; i < b->n_near; i++) {
        b->near[i] = b->near[b->above[i]];
        b->near_order[i] = b->near_order[b->above[i]];
    }
}

// Adds the best of the nodes that were just scored to b->near.
static void kpd__near_take(kpd__descent *t, const kpd__level *l, size_t keep) {
    kpd__branch *b = t->to;
    size_t found = kpd__best_above(t->ops, l->order, b->n_panels * 16, keep, b->above);
    for (size_t i = 0; i < found; i++, b->n_near++) {
        size_t at = (size_t)b->above[i];
        b->near[b->n_near] = b->panels[at / 16] * 16 + (uint32_t)at % 16;
        b->near_order[b->n_near] = l->order[at];
    }
    if (b->n_near > kpd__few_more(keep)) kpd__near_cut(t, keep);
}

// The best of all nodes of a level by their order, ascending; `keep` or a few more.
static void kpd__level_near(kpd__descent *t, const kpd__level *l, size_t keep) {
    t->to->n_near = t->to->n_panels = 0;
    for (size_t from = 0, n = (l->n + 15) / 16; from < n; from += KPD__PANELS) {
        kpd__level_score_from(t, l, from);
        kpd__near_take(t, l, keep);
    }
}

// The best lists: of all, or of the best groups.
static void kpd__near(kpd__descent *t, size_t keep) {
    kpd__branch *b = t->to;
    kpd__level lists = kpd__lists_level(t), groups = kpd__groups_level(t);
    if (!t->grouped) { kpd__level_near(t, &lists, keep); return; }
    kpd__level_near(t, &groups, KPD__NEAR_GROUPS);
    memcpy(b->walked, b->near, b->n_near * sizeof *b->near);
    memcpy(b->panels, b->near, b->n_near * sizeof *b->near);
    b->n_walked = b->n_panels = b->n_near;
    b->n_near = 0;
    kpd__level_score(t, &lists);
    kpd__near_take(t, &lists, keep);
}

// The best blocks of the near lists; child_bound then says what is left of these.
static void kpd__phase_one(kpd__descent *t, size_t keep) {
    kpd__branch *b = t->to;
    size_t n = b->n_near * 16, found;
    float least;
    t->probe.bound = t->block_bound;
    t->ops->nodes(&t->probe, t->x->t.blocks, b->near, b->n_near, b->child_order, b->child_bound);
    found = kpd__best_above(t->ops, b->child_order, n, keep, b->above);
    for (size_t i = 0; i < found; i++) b->child_bound[b->above[i]] = -INFINITY;
    kpd__open(t, b->near, found);
    b->work += 2 * (int64_t)b->n_near + (int64_t)b->n_open;
    kpd__open_score(t, INFINITY);
    for (size_t i = 0; i < b->n_open; i++)
        for (unsigned p = 0; b->live[i] != 0xFFFF && p < 16; p++)
            if (!(b->live[i] >> p & 1)) b->scores[i * 16 + p] = -INFINITY;
    n = b->rows.keep;
    least = t->c->filtered ? -FLT_MAX : t->ops->least_of(b->scores, b->n_open * 16, n, n + n / 4);
    found = t->ops->above(b->scores, b->n_open * 16, least, b->above);
    for (size_t i = 0; i < found; i++) kpd__open_keep(t, (size_t)b->above[i] / 16, 1u << b->above[i] % 16);
    b->n_open = 0;
    kpd__top_cut(&b->rows);
}

// Opens what reaches s of the blocks of some lists, whose bounds are in child_bound.
static void kpd__blocks_reach(kpd__descent *t, const uint32_t *lists, size_t n, float s) {
    kpd__branch *b = t->to;
    for (size_t i = 0, m; i < n; i += m) {
        size_t found;
        m = kpd__min(n - i, b->open_room / 16);
        found = t->ops->above(b->child_bound + i * 16, m * 16, s, b->above);
        if (b->n_open + found > b->open_room) {
            kpd__open_score(t, b->rows.least);
            b->n_open = 0;
        }
        kpd__open(t, lists + i, found);
    }
}

// Leaves out the nodes that the first phase took, `taken` ascending, of those that were just scored.
static void kpd__level_skip(kpd__descent *t, const kpd__level *l, const uint32_t *taken, size_t n) {
    const kpd__branch *b = t->to;
    for (size_t i = 0, at = 0; i < n; i++) {
        while (at < b->n_panels && b->panels[at] < taken[i] / 16) at++;
        if (at < b->n_panels && b->panels[at] == taken[i] / 16) l->bound[at * 16 + taken[i] % 16] = -INFINITY;
    }
}

// Opens what reaches s of the lists that were just scored.
static void kpd__lists_reach(kpd__descent *t, const kpd__level *lists, float s) {
    kpd__branch *b = t->to;
    size_t found;
    kpd__level_skip(t, lists, b->near, b->n_near);
    found = t->ops->above(b->bound, b->n_panels * 16, s, b->reach);
    t->probe.bound = t->block_bound;
    for (size_t i = 0, m; i < found; i += m) {
        m = kpd__min(found - i, b->near_room);
        for (size_t j = 0; j < m; j++)
            b->lists[j] = b->panels[b->reach[i + j] / 16] * 16 + (uint32_t)b->reach[i + j] % 16;
        b->work += 2 * (int64_t)m;
        t->ops->nodes(&t->probe, t->x->t.blocks, b->lists, m, b->child_order, b->child_bound);
        kpd__blocks_reach(t, b->lists, m, s);
    }
}

// Opens what reaches s of the groups but for the walked ones.
static void kpd__groups_reach(kpd__descent *t, const kpd__level *lists, float s) {
    kpd__branch *b = t->to;
    const kpd__level groups = kpd__groups_level(t);
    for (size_t from = 0, n = (groups.n + 15) / 16; from < n; from += KPD__PANELS) {
        size_t scored = kpd__level_score_from(t, &groups, from), found;
        kpd__level_skip(t, &groups, b->walked, b->n_walked);
        found = t->ops->above(b->group_bound, scored * 16, s, b->group_reach);
        for (size_t i = 0; i < found; i += b->n_panels) {
            b->n_panels = kpd__min(found - i, KPD__PANELS);
            for (size_t j = 0; j < b->n_panels; j++)
                b->panels[j] = (uint32_t)(from * 16) + (uint32_t)b->group_reach[i + j];
            kpd__level_score(t, lists);
            kpd__lists_reach(t, lists, s);
        }
    }
}

// The scores of the lists that phase one saw last are there.
static void kpd__phase_two(kpd__descent *t, float s) {
    const kpd__level lists = kpd__lists_level(t);
    size_t n = (lists.n + 15) / 16;
    kpd__blocks_reach(t, t->to->near, t->to->n_near, s);
    kpd__lists_reach(t, &lists, s);
    if (t->grouped) kpd__groups_reach(t, &lists, s);
    for (size_t from = 0; !t->grouped && from + KPD__PANELS < n; from += KPD__PANELS) {
        kpd__level_score_from(t, &lists, from);
        kpd__lists_reach(t, &lists, s);
    }
    kpd__open_score(t, t->to->rows.least);
    kpd__top_cut(&t->to->rows);
}

// The vector of a slot where it lies, or decoded into `room`.
static const float *kpd__row_at(const kpd_index *x, size_t slot, float *room) {
    if (x->kind == KPD_TREE && x->storage == KPD_F32) return (const float *)x->t.rows + slot * (size_t)x->dim;
    kpd__slot_get(x, slot, room);
    return room;
}

// Scores the vectors of up to KPD__RESCORED slots from what is kept of them.
static void kpd__rows_score(kpd__descent *t, const uint32_t *slots, size_t n, float *scores) {
    size_t dim = (size_t)t->x->dim;
    for (size_t i = 0; i < n; i += 16) {
        const float *rows[16];
        for (size_t j = 0; j < 16; j++)
            rows[j] = i + j < n ? kpd__row_at(t->x, slots[i + j], t->to->decoded + j * dim) : rows[0];
        t->ops->pack(rows, dim, t->to->panel + i * dim);
    }
    t->ops->scan(t->x->metric, t->q, 1, dim, t->to->panel, (n + 15) / 16, scores);
}

// Keeps those of some slots' vectors that are among the k best.
static void kpd__rows_keep(kpd__descent *t, const uint32_t *slots, size_t n) {
    const kpd_search_desc *d = t->c->d;
    kpd__branch *b = t->to;
    float scores[KPD__RESCORED], least = d->threshold ? d->min_score : -INFINITY;
    kpd__rows_score(t, slots, n, scores);
    for (size_t i = 0; i < n; i++) {
        kpd_hit h;
        h.id = t->x->ids[slots[i]]; h.score = scores[i];
        if (h.score >= least) kpd__heap_keep(b->hits, &b->n_hits, t->c->k, h);
    }
}

static void kpd__candidates_keep(kpd__descent *t) {
    kpd__branch *b = t->to;
    size_t bytes = kpd__row_bytes(t->x);
    bool by_slot = t->x->storage == KPD_F32 || t->x->storage == KPD_INT16;     // where each has a row of its own
    b->work += 3 * (int64_t)b->rows.n;
    for (size_t i = 0; i < b->rows.n && by_slot; i++)
        kpd__prefetch((const char *)t->x->t.rows + kpd__key_number(b->rows.keys[i]) * bytes, bytes);
    for (size_t i = 0; i < b->rows.n; i += KPD__RESCORED) {
        size_t n = kpd__min(KPD__RESCORED, b->rows.n - i);
        uint32_t slots[KPD__RESCORED];
        for (size_t j = 0; j < n; j++) slots[j] = kpd__key_number(b->rows.keys[i + j]);
        kpd__rows_keep(t, slots, n);
    }
}

// The next of the few slots that pass, after *at of what is walked through; false at the end.
static bool kpd__few_next(const kpd__search *c, size_t *at, uint32_t *slot) {
    const kpd_search_desc *d = c->d;
    size_t n = c->few == KPD__FEW_IDS ? d->n_ids : c->few == KPD__FEW_BITS ? d->n_bits : kpd__n_slots(c->x);
    while (*at < n) {
        size_t i = (*at)++;
        int32_t found = (int32_t)i;
        if (c->few == KPD__FEW_BITS && !(d->bits[i / 64] >> i % 64)) { *at = (i / 64 + 1) * 64; continue; }
        if (c->few == KPD__FEW_BITS && !(d->bits[i / 64] >> i % 64 & 1)) continue;
        if (c->few == KPD__FEW_IDS && i && d->ids[i] == d->ids[i - 1]) continue;
        if (c->few == KPD__FEW_PARTS && !kpd__part_passes(c, i)) continue;
        if (c->few == KPD__FEW_IDS) found = kpd__index_slot(c->x, d->ids[i]);
        if (c->few == KPD__FEW_BITS) found = kpd__index_slot(c->x, (int64_t)((uint64_t)d->first_bit + i));
        if (found < 0 || (c->x->kind == KPD_TREE && !kpd__lives(c->x, (size_t)found))) continue;
        if (!kpd__passes(c, (size_t)found)) continue;
        *slot = (uint32_t)found;
        return true;
    }
    return false;
}

static void kpd__few_all(kpd__descent *t) {
    uint32_t slots[KPD__RESCORED];
    size_t at = 0, n;
    do {
        for (n = 0; n < KPD__RESCORED && kpd__few_next(t->c, &at, &slots[n]);) n++;
        if (n) kpd__rows_keep(t, slots, n);
    } while (n == KPD__RESCORED);
}

// Whether at most `few` of n bits are set.
static bool kpd__bits_few(const uint64_t *bits, size_t n, size_t few) {
    size_t set = 0;
    for (size_t i = 0; i < (n + 63) / 64 && set <= few; i++) set += (size_t)__builtin_popcountll(bits[i]);
    return set <= few;
}

// About how many of the slots are of the partitions, by some of them.
static size_t kpd__parts_share(const kpd__search *c) {
    size_t n = kpd__n_slots(c->x), step = n / 1024 + 1, found = 0;
    for (size_t i = 0; i < n; i += step) found += kpd__part_passes(c, i);
    return found * step;
}

// Whether what passes is so little, by ids, bits or partitions, that searching for the best of it is dearer than comparing all.
static kpd__few kpd__few_of(const kpd__search *c) {
    const kpd_search_desc *d = c->d;
    size_t few = kpd__max(c->x->count / 50, 64);
    if (d->only_ids && d->n_ids <= few) return KPD__FEW_IDS;
    if (d->only_bits && kpd__bits_few(d->bits, d->n_bits, few)) return KPD__FEW_BITS;
    if (d->only_partitions && kpd__parts_share(c) <= few) return KPD__FEW_PARTS;
    return KPD__NOT_FEW;
}

// What the i-th recall takes of titles. Members of fewer dimensions reach farther to any side.
static kpd__dial kpd__dial_least(const kpd_index *x, size_t i) {
    const float wider = x->dim < 64 ? sqrtf(64.0f / (float)x->dim) : 1;
    kpd__dial d = {kpd__lesser(1, wider * kpd__dial_titles[i]), 1};
    return d;
}

static kpd__dial kpd__dial_of(const kpd_index *x, size_t i) {
    return x->t.dial[i].gamma > 0 ? x->t.dial[i] : kpd__dial_least(x, i);
}

static kpd__effort kpd__effort_untuned(const kpd_index *x, float recall) {
    const float *at = kpd__dial_recall;
    kpd__effort f;
    kpd__dial low, high;
    size_t i = 1;
    while (i + 1 < KPD__DIAL && recall > at[i]) i++;
    low = kpd__dial_of(x, i - 1); high = kpd__dial_of(x, i);
    f.gamma = low.gamma + (recall - at[i - 1]) / (at[i] - at[i - 1]) * (high.gamma - low.gamma);
    f.breadth = 1; f.candidates = high.candidates;
    return f;
}

// What was tuned for the largest k up to this one, else for the least; of its recalls the least that suffices. Where none does,
// no less than they take.
static kpd__effort kpd__effort_for(const kpd_index *x, int32_t k, float recall) {
    const kpd__tuned *t = x->t.tuned, *found = NULL;
    size_t n = x->t.n_tuned, near = 0;
    kpd__effort most = kpd__effort_untuned(x, recall);
    for (size_t i = 1; i < n; i++) {
        bool fits = t[i].k <= (float)k, fitted = t[near].k <= (float)k;
        if (fits != fitted ? fits : fits ? t[i].k > t[near].k : t[i].k < t[near].k) near = i;
    }
    for (size_t i = 0; i < n; i++) {
        if (t[i].k < t[near].k || t[i].k > t[near].k) continue;
        if (t[i].recall >= recall && (!found || t[i].recall < found->recall)) found = &t[i];
        if (t[i].effort.gamma > most.gamma) most.gamma = t[i].effort.gamma;
        if (t[i].effort.breadth > most.breadth) most.breadth = t[i].effort.breadth;
        if (t[i].effort.candidates > most.candidates) most.candidates = t[i].effort.candidates;
    }
    return found ? found->effort : most;
}

static kpd__effort kpd__effort_of(const kpd__search *c) {
    const kpd_search_desc *d = c->d;
    kpd__effort f;
    if (!(d->gamma > 0)) return kpd__effort_for(c->x, c->k, d->recall > 0 ? d->recall : c->x->recall);
    f.gamma = d->gamma; f.breadth = kpd__or_one(d->breadth); f.candidates = kpd__or_one(d->candidates);
    return f;
}

// The k-th best score by codes so far, or min_score as codes would have it; -FLT_MAX: all may be found.
static float kpd__reach(kpd__descent *t) {
    const kpd_search_desc *d = t->c->d;
    kpd__top *rows = &t->to->rows;
    size_t k = (size_t)t->c->k;
    float s = -FLT_MAX, least = d->min_score;
    if (rows->n >= k) {
        kpd__select(rows->keys, rows->n, k);
        s = kpd__key_score(kpd__least_key(rows->keys, k));
    }
    if (t->probe.l2) least = 0.5f * (least + t->probe.square);
    return d->threshold && least > s ? least : s;
}

static void kpd__tree_query(const kpd__search *c, kpd__branch *to, size_t query) {
    const size_t k = (size_t)c->k;
    const kpd__effort f = kpd__effort_of(c);
    float length;
    kpd__descent t;
    memset(&t, 0, sizeof t);
    t.c = c; t.x = c->x; t.ops = c->s->ops; t.to = to; t.q = c->q + query * (size_t)c->x->dim;
    to->n_hits = 0; to->n_open = 0;
    if (c->few) { kpd__few_all(&t); return; }
    kpd__probe_make(&t.probe, t.x, t.q, to->q);
    length = t.probe.l2 ? 1 : sqrtf(t.probe.square);    // under l2 the distance to the node takes its place
    t.probe.order = 0.4f * length;
    t.block_bound = f.gamma * length;
    t.list_bound = (f.gamma + KPD__GROUP_SLACK / 5) * length;
    t.group_bound = (f.gamma + KPD__GROUP_SLACK) * length;
    t.grouped = kpd__is_grouped(t.x);
    kpd__top_begin(&to->rows, kpd__best_rows(k, f.candidates));
    kpd__near(&t, kpd__near_lists(k, f.breadth));
    kpd__phase_one(&t, kpd__near_blocks(k, f.breadth));
    kpd__phase_two(&t, kpd__reach(&t));
    kpd__candidates_keep(&t);
}

// Whether all vectors are looked at.
static bool kpd__is_exact(const kpd__search *c) {
    float recall = c->d->recall > 0 ? c->d->recall : c->x->recall;
    return !c->few && (c->x->kind == KPD_FLAT || c->x->dim < KPD__CODED || (!(c->d->gamma > 0) && recall >= 1));
}

// The vectors of a block for all queries.
static void kpd__block_keep(const kpd__search *c, kpd__scratch *s, size_t block, unsigned live) {
    const kpd_index *x = c->x;
    const float *rows[16];
    size_t dim = (size_t)x->dim;
    for (size_t i = 0; i < 16; i++) rows[i] = kpd__row_at(x, block * 16 + i, s->branch.decoded + i * dim);
    c->s->ops->pack(rows, dim, s->branch.panel);
    c->s->ops->scan(x->metric, c->q, c->n_queries, dim, s->branch.panel, 1, s->scores);
    for (size_t q = 0; q < c->n_queries; q++) {
        for (size_t i = 0; live != 0xFFFF && i < 16; i++)
            if (!(live >> i & 1)) s->scores[q * 16 + i] = NAN;          // reaches nothing
        kpd__search_keep(c, s, q, s->scores + q * 16, block * 16, 16);
    }
}

// All vectors; tasks share out the lists.
static void kpd__tree_all_task(void *arg, int32_t task) {
    const kpd__search *c = (const kpd__search *)arg;
    const kpd_index *x = c->x;
    kpd__scratch *s = &c->s->scratch[task];
    const size_t bytes = 16 * kpd__row_bytes(x);
    memset(s->n_best, 0, sizeof s->n_best);
    for (size_t list = (size_t)task; list < x->t.n_lists; list += (size_t)c->s->n_tasks) {
        const kpd__node *node = kpd__list_node(x, list);
        for (size_t i = 0; i < 16; i++) {
            size_t block = node->child[i];
            if (!node->live[i] || block >= x->t.n_blocks) continue;
            if (bytes && block + 1 < x->t.n_blocks)         // the next, mostly
                kpd__prefetch((const char *)x->t.rows + (block + 1) * bytes, bytes);
            kpd__block_keep(c, s, block, node->live[i]);
        }
    }
}

// One query a task.
static void kpd__tree_task(void *arg, int32_t task) {
    const kpd__search *c = (const kpd__search *)arg;
    kpd__branch *to = &c->s->scratch[task].branch;
    to->hits = c->s->scratch[task].best;
    for (size_t i = (size_t)task; i < c->n_queries; i += (size_t)c->s->n_tasks) {
        kpd__tree_query(c, to, i);
        kpd__heap_sort(to->hits, to->n_hits);
        memcpy(c->out + i * (size_t)c->k, to->hits, (size_t)to->n_hits * sizeof *to->hits);
        c->counts[i] = to->n_hits;
    }
}

static kpd_status kpd__index_search(kpd_session *s, const kpd_index *x, const float *q, size_t n, const kpd_search_desc *desc,
                                    kpd_hit *out, int32_t *counts, kpd_error *e) {
    kpd_search_desc d;
    kpd__search c;
    kpd_status status;
    size_t dim = (size_t)x->dim;
    memset(&d, 0, sizeof d);
    if (desc) d = *desc;
    if (!d.k) d.k = 10;
    status = kpd__search_check(s, x, &d, e);
    if (status) return status;
    status = kpd__vectors_check(x, q, n, "query", e);
    c.s = s; c.x = x; c.d = &d; c.q = s->query;
    c.k = d.k;
    c.filtered = d.filter || d.only_ids || d.only_bits || d.only_partitions;
    c.few = kpd__few_of(&c);
    for (size_t row = 0; !status && row < n; row += c.n_queries) {
        c.n_queries = kpd__min(KPD__QUERIES, n - row);
        for (size_t i = 0; i < c.n_queries; i++) {
            const float *v = q + (row + i) * dim;
            if (x->metric == KPD_COSINE) s->ops->normalize(v, dim, s->query + i * dim);
            else memcpy(s->query + i * dim, v, dim * sizeof *v);
        }
        c.out = out + row * (size_t)c.k; c.counts = counts + row;
        if (kpd__is_coded(x) && !c.few) kpd__sieve_queries(&c);
        kpd__run(&s->parallel, s->n_tasks, !kpd__is_exact(&c) ? kpd__tree_task
                                           : x->kind == KPD_TREE ? kpd__tree_all_task
                                           : kpd__is_coded(x) ? kpd__sieve_task : kpd__search_task, &c);
        if (kpd__is_exact(&c)) kpd__search_join(&c, row, out, counts);
    }
    return status;
}
KPD__GUARDED(7, kpd_index_search, kpd__index_search, kpd_session *, s, const kpd_index *, x, const float *, q, size_t, n,
             const kpd_search_desc *, desc, kpd_hit *, out, int32_t *, counts)

// >>tune  What a recall takes: gamma by halves, for each breadth and number of candidates; and k-means for itself.

typedef struct kpd__tune {
    kpd_session *s;
    const kpd_index *x;
    const float *q;
    size_t n;
    kpd_search_desc d;
    kpd_hit *want, *hits;               // [n, k]
    int32_t *want_counts, *counts;      // [n]
    kpd__progress progress;             // in searches of a query, with steps that were not needed
} kpd__tune;

// The searches that each breadth and number of candidates takes at most, of 1 + 3 + 6; comparing with all counts as many.
enum { KPD__TUNE_STEPS = 8, KPD__TUNE_PARTS = 10 };

static void kpd__tune_lay(kpd__tune *t, kpd__arena *a) {
    size_t n = 0;
    if (!kpd__mul_ok(t->n, (size_t)t->d.k, &n)) a->overflow = true;
    t->want = (kpd_hit *)kpd__take(a, n, sizeof(kpd_hit));
    t->hits = (kpd_hit *)kpd__take(a, n, sizeof(kpd_hit));
    t->want_counts = (int32_t *)kpd__take(a, t->n, sizeof(int32_t));
    t->counts = (int32_t *)kpd__take(a, t->n, sizeof(int32_t));
}

// What was found of the true best; of equal scores any will do.
static float kpd__tune_recall(const kpd__tune *t) {
    size_t found = 0, all = 0, k = (size_t)t->d.k;
    for (size_t i = 0; i < t->n; i++) {
        if (!t->want_counts[i]) continue;
        all += (size_t)t->want_counts[i];
        for (int32_t j = 0; j < t->counts[i]; j++)
            found += t->hits[i * k + (size_t)j].score >= t->want[i * k + (size_t)t->want_counts[i] - 1].score;
    }
    return all ? (float)found / (float)all : 1;
}

// The recall and the work of a gamma, with t's breadth and candidates.
static kpd_status kpd__tune_measure(kpd__tune *t, float gamma, kpd_tuning *out, kpd_error *e) {
    kpd_status s;
    t->d.gamma = gamma;
    out->gamma = gamma; out->breadth = t->d.breadth; out->candidates = t->d.candidates;
    out->work = 0;
    for (int32_t i = 0; i < t->s->n_tasks; i++) t->s->scratch[i].branch.work = 0;
    s = kpd__index_search(t->s, t->x, t->q, t->n, &t->d, t->hits, t->counts, e);
    for (int32_t i = 0; i < t->s->n_tasks; i++) out->work += t->s->scratch[i].branch.work;
    if (s) return s;
    out->recall = kpd__tune_recall(t);
    return kpd__progress_add(&t->progress, t->n, e);
}

// The least gamma that suffices, else 1.
static kpd_status kpd__tune_gamma(kpd__tune *t, float recall, kpd_tuning *best, kpd_error *e) {
    float low = 0, high = 1;
    size_t end = t->progress.done + KPD__TUNE_STEPS * t->n;
    kpd_status s = KPD_OK;
    while (!s && high - low > 0.01f) {
        kpd_tuning middle;
        s = kpd__tune_measure(t, 0.5f * (low + high), &middle, e);
        if (s) break;
        if (middle.recall < recall) { low = middle.gamma; continue; }
        high = middle.gamma;
        *best = middle;
    }
    if (!s && high >= 1) s = kpd__tune_measure(t, 1, best, e);
    return s ? s : kpd__progress_to(&t->progress, end, e);
}

static bool kpd__tune_better(const kpd_tuning *a, const kpd_tuning *b, float recall) {
    float found[2];
    found[0] = kpd__lesser(a->recall, recall); found[1] = kpd__lesser(b->recall, recall);
    return found[0] > found[1] || (found[0] >= found[1] && a->work < b->work);
}

static kpd_status kpd__tune_try(kpd__tune *t, float breadth, float candidates, float recall, kpd_tuning *best, kpd_error *e) {
    kpd_tuning found;
    kpd_status s;
    memset(&found, 0, sizeof found);
    t->d.breadth = breadth; t->d.candidates = candidates;
    s = kpd__tune_gamma(t, recall, &found, e);
    found.plain = best->plain;
    if (!s && kpd__tune_better(&found, best, recall)) *best = found;
    return s;
}

// The true best of all queries. What is searched for then is by gamma.
static kpd_status kpd__tune_exact(kpd__tune *t, kpd_error *e) {
    kpd_status s = KPD_OK;
    t->d.recall = 1;
    for (size_t i = 0, n; !s && i < t->n; i += n) {
        n = kpd__min(t->n - i, 4 * KPD__QUERIES);
        s = kpd__index_search(t->s, t->x, t->q + i * (size_t)t->x->dim, n, &t->d, t->want + i * (size_t)t->d.k,
                              t->want_counts + i, e);
        if (!s) s = kpd__progress_add(&t->progress, KPD__TUNE_PARTS * KPD__TUNE_STEPS * n, e);
    }
    t->d.recall = 0; t->d.breadth = t->d.candidates = 1;
    return s;
}

// First with breadth and candidates as a rule, so that what is chosen is never worse than that; then the best breadth, then the
// best candidates with that one.
static kpd_status kpd__tune_run(kpd__tune *t, float recall, kpd_tuning *best, kpd_error *e) {
    static const float breadth[] = {KPD__BREADTH_LEAST, 0.5f, KPD__BREADTH_MOST};
    static const float candidates[] = {KPD__CANDIDATES_LEAST, 0.75f, 1.5f};
    kpd_status s;
    t->progress.of = 2 * KPD__TUNE_PARTS * KPD__TUNE_STEPS * t->n;
    s = kpd__tune_exact(t, e);
    if (!s) s = kpd__tune_gamma(t, recall, best, e);
    best->plain = best->work;
    for (int i = 0; !s && i < 3; i++) s = kpd__tune_try(t, breadth[i], 1, recall, best, e);
    for (int i = 0; !s && i < 3; i++) s = kpd__tune_try(t, best->breadth, candidates[i], recall, best, e);
    for (float c = 2; !s && best->recall < recall && c <= KPD__CANDIDATES_MOST; c *= 2)
        s = kpd__tune_try(t, best->breadth, c, recall, best, e);
    return s ? s : kpd__progress_to(&t->progress, t->progress.of, e);
}

static void kpd__tune_keep(kpd_index *x, int32_t k, float recall, const kpd_tuning *best) {
    kpd__nodes *t = &x->t;
    size_t i = 0;
    while (i < t->n_tuned && (t->tuned[i].k < (float)k || t->tuned[i].k > (float)k || t->tuned[i].recall < recall ||
                              t->tuned[i].recall > recall)) i++;
    if (i == 8) memmove(t->tuned, t->tuned + 1, (--i) * sizeof *t->tuned);   // the oldest goes
    t->tuned[i].k = (float)k; t->tuned[i].recall = recall;
    t->tuned[i].effort.gamma = best->gamma;
    t->tuned[i].effort.breadth = best->breadth; t->tuned[i].effort.candidates = best->candidates;
    if (i == t->n_tuned) t->n_tuned++;
}

static kpd_status kpd__index_tune(kpd_session *s, kpd_index *x, const float *q, size_t n, int32_t k, float recall,
                                  kpd_tuning *out, kpd_error *e) {
    kpd__tune t;
    kpd__arena a;
    kpd_tuning best;
    kpd_status status;
    void *memory;
    size_t size;
    memset(&t, 0, sizeof t); memset(&a, 0, sizeof a); memset(&best, 0, sizeof best);
    if (x->kind != KPD_TREE) return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "tune: a flat index finds all, and has no gamma");
    if (!n || !(recall > 0 && recall < 1))
        return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "tune: %llu queries, recall %g; expected some, and above 0 and below 1",
                         (unsigned long long)n, (double)recall);
    t.s = s; t.x = x; t.q = q; t.n = n; t.d.k = k ? k : 10; t.progress.host = &s->progress;
    status = kpd__search_check(s, x, &t.d, e);
    if (!status) status = kpd__vectors_check(x, q, n, "query", e);
    if (status) return status;
    kpd__tune_lay(&t, &a);
    status = kpd__arena_block(&a, &x->allocator, "tune", &memory, &size, e);
    if (status) return status;
    kpd__tune_lay(&t, &a);
    status = kpd__tune_run(&t, recall, &best, e);
    kpd__free(&x->allocator, memory, size);
    if (status) return status;
    if (!x->read_only) kpd__tune_keep(x, t.d.k, recall, &best);
    if (out) *out = best;
    return KPD_OK;
}
KPD__GUARDED(7, kpd_index_tune, kpd__index_tune, kpd_session *, s, kpd_index *, x, const float *, q, size_t, n, int32_t, k,
             float, recall, kpd_tuning *, out)

static kpd_status kpd__kmeans_check(const kpd_kmeans_desc *d, const float *v, size_t n, int32_t dim, kpd_index *like,
                                    kpd_error *e) {
    kpd_status s;
    memset(like, 0, sizeof *like);
    if (kpd__desc_check("kmeans", d->abi, d->reserved, e)) return KPD_ERR_ARGUMENT;
    if (!kpd__allocator_ok(&d->allocator))
        return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "allocator: has one function, expected both or none");
    if (kpd__range(e, "kmeans: dim", dim, 1, KPD_MAX_WIDTH) || kpd__range(e, "kmeans: metric", (int)d->metric, 0, KPD_L2) ||
        kpd__range(e, "kmeans: rounds", d->rounds, 0, INT32_MAX) || kpd__range(e, "kmeans: samples", d->samples, 0, INT32_MAX))
        return KPD_ERR_ARGUMENT;
    if (d->k < 1 || (size_t)d->k > n || n > (size_t)INT32_MAX - 64)
        return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "kmeans: %d centroids of %llu vectors, expected 1 to as many as these",
                         (int)d->k, (unsigned long long)n);
    s = kpd__parallel_check(&d->parallel, e);
    if (!s) s = kpd__choose_level(d->simd ? d->simd : kpd__best_before(KPD_SIMD_AMX), &like->ops, e);
    if (s) return s;
    like->dim = dim; like->metric = d->metric;
    return kpd__vectors_check(like, v, n, "vector", e);
}

static void kpd__kmeans_lay(kpd__cluster *c, float **unit, kpd__arena *a) {
    kpd__cluster_lay(c, a);
    *unit = c->metric == KPD_COSINE ? (float *)kpd__take(a, c->n, c->dim * sizeof(float)) : NULL;
}

static kpd_status kpd__kmeans(const kpd_kmeans_desc *d, const float *v, size_t n, int32_t dim, float *out, int32_t *nearest,
                              kpd_error *e) {
    kpd_index like;
    kpd__cluster c;
    kpd__arena a;
    kpd_status s;
    kpd_kmeans_desc none;
    void *memory;
    float *unit;
    size_t size;
    memset(&c, 0, sizeof c); memset(&a, 0, sizeof a);
    if (!d) d = (const kpd_kmeans_desc *)memset(&none, 0, sizeof none);
    s = kpd__kmeans_check(d, v, n, dim, &like, e);
    if (s) return s;
    c.ops = like.ops; c.metric = d->metric; c.parallel = &d->parallel; c.n_tasks = kpd__n_tasks(&d->parallel);
    c.dim = (size_t)dim; c.n = n; c.k = (size_t)d->k;
    kpd__kmeans_lay(&c, &unit, &a);
    s = kpd__arena_block(&a, &d->allocator, "kmeans", &memory, &size, e);
    if (s) return s;
    kpd__kmeans_lay(&c, &unit, &a);
    for (size_t i = 0; unit && i < n; i++) kpd__unit_row(&like, v + i * c.dim, unit + i * c.dim);
    c.v = unit ? unit : v;
    c.progress.host = &d->progress;
    s = kpd__cluster_run(&c, (size_t)(d->samples ? d->samples : 64) * c.k, d->rounds ? d->rounds : 10, d->seed, 0, e);
    for (size_t j = 0; !s && j < c.k; j++)
        for (size_t i = 0; i < c.dim; i++) out[j * c.dim + i] = c.panels[(j / 16 * c.dim + i) * 16 + j % 16];
    for (size_t i = 0; nearest && !s && i < n; i++) nearest[i] = (int32_t)c.nearest[i];
    kpd__free(&d->allocator, memory, size);
    return s;
}
KPD__GUARDED(6, kpd_kmeans, kpd__kmeans, const kpd_kmeans_desc *, d, const float *, v, size_t, n, int32_t, dim, float *, out,
             int32_t *, nearest)

// >>index_make  Indexes of many vectors, of the host's or of other indexes. Promises that a tree is the same for any number of
// threads, and that it knows what recalls take in it.

// Some of a tree's vectors, evenly from all, to q [n, dim].
static void kpd__own_queries(const kpd_index *x, size_t n, float *q) {
    size_t taken = 0, seen = 0;
    for (size_t slot = 0; taken < n && slot < kpd__n_slots(x); slot++) {
        if (!kpd__lives(x, slot) || (uint64_t)seen++ * n / x->count < taken) continue;
        kpd__slot_get(x, slot, q + taken++ * (size_t)x->dim);
    }
}

static kpd_status kpd__dial_try(kpd__tune *t, const kpd__dial *d, float *recall, kpd_error *e) {
    kpd_tuning found;
    kpd_status s;
    t->d.candidates = d->candidates;
    s = kpd__tune_measure(t, d->gamma, &found, e);
    if (!s) *recall = found.recall;
    return s;
}

// As many candidates as a gamma of 1 takes for a recall: twice as many while that helps. Without rows they have no other
// scores.
static kpd_status kpd__dial_candidates(kpd__tune *t, float wanted, kpd__dial *d, float *recall, kpd_error *e) {
    kpd__dial more = *d;
    float found = 0;
    kpd_status s;
    more.gamma = 1;
    s = kpd__dial_try(t, &more, recall, e);
    while (!s && *recall < wanted && 2 * more.candidates <= KPD__CANDIDATES_MOST && t->x->storage != KPD_INT4) {
        more.candidates *= 2;
        s = kpd__dial_try(t, &more, &found, e);
        if (s || found < *recall + 0.002f) break;
        d->candidates = more.candidates;
        *recall = found;
    }
    return s;
}

// The least candidates, then the least gamma to .01, from *d on, with which a tree's own vectors find `recall` of their 10
// nearest others, or nearly what they can. Each finds itself, and its neighbours better than a query would that is not in the
// tree: a fifth less may be missing.
static kpd_status kpd__dial_find(kpd__tune *t, float recall, kpd__dial *d, kpd_error *e) {
    const float k = KPD__OWN_K;
    float wanted = (1 + (k - 1) * (1 - 0.8f * (1 - recall))) / k, low = d->gamma, found = 0;
    kpd_status s = kpd__dial_try(t, d, &found, e);
    if (s || found >= wanted) return s;
    s = kpd__dial_candidates(t, wanted, d, &found, e);
    wanted = kpd__lesser(wanted, found - 0.002f);
    d->gamma = 1;
    while (!s && d->gamma - low > 0.01f) {
        kpd__dial middle = *d;
        middle.gamma = 0.5f * (low + d->gamma);
        s = kpd__dial_try(t, &middle, &found, e);
        if (found >= wanted) *d = middle; else low = middle.gamma;
    }
    return s;
}

// Where the tree's own vectors need more than titles do, its dial goes as far: beyond what was measured by as much more.
static kpd_status kpd__dial_set(kpd_index *x, kpd__tune *t, kpd__progress *progress, kpd_error *e) {
    kpd__dial dial[KPD__DIAL], *first = dial + KPD__DIAL_FROM, *last = dial + KPD__DIAL_TO - 1;
    const size_t part = x->count / (1 + KPD__DIAL_TO - KPD__DIAL_FROM);
    float below, beyond;
    kpd_status s = kpd__tune_exact(t, e);
    if (!s) s = kpd__progress_add(progress, part, e);
    for (size_t i = 0; i < KPD__DIAL; i++) dial[i] = kpd__dial_least(x, i);
    below = -first->gamma; beyond = -last->gamma;
    for (kpd__dial *d = first; !s && d <= last; d++) {
        if (d > first && d->gamma < d[-1].gamma) d->gamma = d[-1].gamma;
        if (d > first) d->candidates = d[-1].candidates;
        s = kpd__dial_find(t, kpd__dial_recall[d - dial], d, e);
        if (!s) s = kpd__progress_to(progress, d < last ? progress->done + part : progress->of, e);
    }
    if (s) return s;
    below += first->gamma; beyond += last->gamma;
    for (kpd__dial *d = dial; d < first; d++) { d->gamma += below; d->candidates = first->candidates; }
    for (kpd__dial *d = last + 1; d < dial + KPD__DIAL; d++) {
        d->gamma = kpd__lesser(1, d->gamma + beyond);
        d->candidates = last->candidates;
    }
    memcpy(x->t.dial, dial, sizeof dial);
    return KPD_OK;
}

// Searches a tree for some of its own vectors, to see what a recall takes. Numbers so large that their codes are not finite
// are no queries: such a tree goes without.
static kpd_status kpd__tree_measure(kpd_index *x, const kpd_parallel *p, kpd__progress *progress, kpd_error *e) {
    kpd_session_desc d;
    kpd_session *session;
    kpd__tune t;
    kpd_status s;
    void *memory;
    float *q;
    size_t size;
    kpd__arena a;
    if (!kpd__is_measured(x, x->count)) return KPD_OK;
    memset(&d, 0, sizeof d); memset(&t, 0, sizeof t); memset(&a, 0, sizeof a);
    d.max_dim = x->dim; d.max_k = KPD__OWN_K; d.simd = x->ops->level; d.allocator = x->allocator; d.max_tokens = 1;
    if (p) d.parallel = *p;
    s = kpd__session_create(&d, &session, e);
    if (s) return s;
    t.s = session; t.x = x; t.n = KPD__OWN_QUERIES; t.d.k = KPD__OWN_K;
    kpd__tune_lay(&t, &a);
    kpd__take(&a, t.n, (size_t)x->dim * sizeof *q);
    s = kpd__arena_block(&a, &x->allocator, "index: own queries", &memory, &size, e);
    if (!s) {
        kpd__tune_lay(&t, &a);
        t.q = q = (float *)kpd__take(&a, t.n, (size_t)x->dim * sizeof *q);
        kpd__own_queries(x, t.n, q);
        s = kpd__vectors_check(x, q, t.n, "own query", NULL) ? kpd__progress_to(progress, progress->of, e)
                                                             : kpd__dial_set(x, &t, progress, e);
        kpd__free(&x->allocator, memory, size);
    }
    kpd_session_destroy(session);
    if (!s) x->t.arrived = 0;
    return s;
}

// After n more were upserted. Where it fails the tree has what it had, and the next upsert tries again.
static void kpd__tree_measure_again(kpd_index *x, size_t n) {
    kpd__progress nobody = {NULL, 0, 0};
    x->t.arrived = (int32_t)kpd__min((size_t)x->t.arrived + n, INT32_MAX);
    if ((size_t)x->t.arrived >= x->count / 2) (void)kpd__tree_measure(x, NULL, &nobody, NULL);
}

static kpd_status kpd__index_upsert(kpd_index *x, const int64_t *ids, const float *v, size_t n, kpd_error *e) {
    kpd_status s = kpd__writable(x, e);
    if (!s) s = kpd__vectors_check(x, v, n, "vector", e);
    if (s || !n) return s;
    if (x->kind == KPD_FLAT) return kpd__flat_upsert(x, ids, v, n, e);
    s = kpd__tree_upsert(x, ids, v, n, e);
    if (!s) kpd__tree_measure_again(x, n);
    return s;
}
KPD__GUARDED(4, kpd_index_upsert, kpd__index_upsert, kpd_index *, x, const int64_t *, ids, const float *, v, size_t, n)

// A tree of what is given, which knows what recalls take.
static kpd_status kpd__tree_make(kpd_index *x, const kpd_parallel *p, const kpd_progress *host, int32_t lists,
                                 const kpd__given *g, kpd_error *e) {
    kpd__progress progress = {host, 0, 0};
    kpd_status s = kpd__tree_build(x, p, &progress, lists, g, e);
    return s ? s : kpd__tree_measure(x, p, &progress, e);
}

static kpd_status kpd__index_build(const kpd_index_desc *d, const kpd_parallel *p, const int64_t *ids, const float *v, size_t n,
                                   kpd_index **out, kpd_error *e) {
    kpd__given g = {ids, v, NULL, NULL, n};
    kpd_index *x = NULL;
    kpd__progress progress = {d ? &d->progress : NULL, 0, n};
    kpd_status s;
    if (d && d->lists < 0) return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "index: lists is %d, expected 0 or more", (int)d->lists);
    if (n > (size_t)INT32_MAX - 64)
        return kpd__fail(e, KPD_ERR_LIMIT, -1, "index: %llu vectors are over the limit", (unsigned long long)n);
    s = kpd__parallel_check(p, e);
    if (s) return s;
    s = kpd__index_make(d, &x, e);
    if (s) return s;
    if (x->kind == KPD_FLAT) s = kpd__index_upsert(x, ids, v, n, e);
    else s = kpd__vectors_check(x, v, n, "vector", e);
    if (!s && x->kind == KPD_FLAT && n) s = kpd__progress_add(&progress, n, e);
    if (!s && x->kind == KPD_TREE) s = kpd__tree_make(x, p, &d->progress, d->lists, &g, e);
    if (s) kpd_index_destroy(x);
    else *out = x;
    return s;
}
KPD__GUARDED(6, kpd_index_build, kpd__index_build, const kpd_index_desc *, d, const kpd_parallel *, p, const int64_t *, ids,
             const float *, v, size_t, n, kpd_index **, out)

static kpd_status kpd__index_create(const kpd_index_desc *d, kpd_index **out, kpd_error *e) {
    if (d && d->lists)
        return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "index: lists is %d, but only kpd_index_build has vectors to make lists of",
                         (int)d->lists);
    return kpd__index_build(d, NULL, NULL, NULL, 0, out, e);
}
KPD__GUARDED(2, kpd_index_create, kpd__index_create, const kpd_index_desc *, d, kpd_index **, out)

static kpd_status kpd__merge_check(const kpd_index *x, const kpd_index *y, size_t i, kpd_error *e) {
    if (y->dim != x->dim)
        return kpd__fail(e, KPD_ERR_ARGUMENT, (int64_t)i, "merge: index %llu has dim %d, expected %d", (unsigned long long)i,
                         (int)y->dim, (int)x->dim);
    if (y->metric != x->metric)
        return kpd__fail(e, KPD_ERR_ARGUMENT, (int64_t)i, "merge: index %llu has metric %s, expected %s", (unsigned long long)i,
                         kpd_metric_name(y->metric), kpd_metric_name(x->metric));
    if (!x->fingerprint || !y->fingerprint || x->fingerprint == y->fingerprint) return KPD_OK;
    return kpd__fail(e, KPD_ERR_ARGUMENT, (int64_t)i, "merge: index %llu has vectors of model %016llx, expected %016llx",
                     (unsigned long long)i, (unsigned long long)y->fingerprint, (unsigned long long)x->fingerprint);
}

// The vectors of n_from indexes by id, of equal ids the last.
typedef struct kpd__merger {
    const kpd_index **from; size_t n_from;      // [n_from]
    int64_t *all_ids, *ids; uint64_t *all_where, *where;        // [n]: as they lie, and in order
    uint32_t *order;                    // [n]
    size_t n;
} kpd__merger;

static void kpd__merger_lay(kpd__merger *m, kpd__arena *a) {
    m->from = (const kpd_index **)kpd__take(a, m->n_from, sizeof *m->from);
    m->all_ids = (int64_t *)kpd__take(a, m->n, sizeof(int64_t));
    m->ids = (int64_t *)kpd__take(a, m->n, sizeof(int64_t));
    m->all_where = (uint64_t *)kpd__take(a, m->n, sizeof(uint64_t));
    m->where = (uint64_t *)kpd__take(a, m->n, sizeof(uint64_t));
    m->order = (uint32_t *)kpd__take(a, m->n, sizeof(uint32_t));
}

static bool kpd__merged_before(const void *merger, uint32_t i, uint32_t j) {
    const int64_t *ids = ((const kpd__merger *)merger)->all_ids;
    return ids[i] < ids[j] || (ids[i] == ids[j] && i < j);
}

// Lists what lives in each; a file that lies may hold less than it says.
static void kpd__merger_fill(kpd__merger *m) {
    size_t n = 0, kept = 0;
    for (size_t i = 0; i < m->n_from; i++)
        for (size_t slot = 0, slots = kpd__n_slots(m->from[i]); slot < slots && n < m->n; slot++) {
            if (!kpd_index_id(m->from[i], (int64_t)slot, &m->all_ids[n])) continue;
            m->all_where[n++] = (uint64_t)i << 32 | slot;
        }
    for (size_t i = 0; i < n; i++) m->order[i] = (uint32_t)i;
    kpd__sort(m->order, n, kpd__merged_before, m);
    for (size_t i = 0; i < n; i++) {
        int64_t id = m->all_ids[m->order[i]];
        if (i + 1 < n && m->all_ids[m->order[i + 1]] == id) continue;
        m->ids[kept] = id;
        m->where[kept++] = m->all_where[m->order[i]];
    }
    m->n = kept;
}

static const kpd_index *kpd__merged_from(const kpd__merger *m, size_t i, size_t *slot) {
    *slot = (uint32_t)m->where[i];
    return m->from[m->where[i] >> 32];
}

// What is to be merged can be; how many bytes its texts have, and whether a vector is of another partition than y's.
static kpd_status kpd__merger_check(const kpd__merger *m, const kpd_index *y, float *row, size_t *bytes, bool *parts,
                                    kpd_error *e) {
    *bytes = 0; *parts = false;
    for (size_t i = 0, slot; i < m->n; i++) {
        const kpd_index *x = kpd__merged_from(m, i, &slot);
        kpd__label l = kpd__label_get(x, slot);
        size_t size = kpd__text_size(l.text);
        bool unknown = x->kind == KPD_FLAT && y->kind == KPD_TREE;      // whether it may be in a tree
        if (x->read_only || unknown) kpd__slot_get(x, slot, row);
        if (x->read_only && kpd__not_finite(row, (size_t)x->dim) < (size_t)x->dim)
            return kpd__fail(e, KPD_ERR_FORMAT, -1, "merge: the vector of id %lld is not finite", (long long)l.id);
        if (unknown && !kpd__short_enough(y, row))
            return kpd__fail(e, KPD_ERR_INPUT, -1, "merge: the vector of id %lld is longer than %g, too long for a tree",
                             (long long)l.id, (double)KPD__LONGEST);
        if (!kpd__text_inside(x, l.text) || !kpd__add_ok(*bytes, size, bytes))
            return kpd__fail(e, KPD_ERR_FORMAT, -1, "merge: the text of id %lld is not inside its index's texts",
                             (long long)l.id);
        *parts |= l.partition != y->partition;
    }
    if (!((uint64_t)*bytes >> 40)) return KPD_OK;
    return kpd__fail(e, KPD_ERR_LIMIT, -1, "merge: texts of %llu bytes are over the limit", (unsigned long long)*bytes);
}

// Gives y, which holds the merged vectors, their texts and partitions.
static kpd_status kpd__merge_labels(const kpd__merger *m, kpd_index *y, size_t bytes, bool parts, kpd_error *e) {
    size_t room = kpd__slot_room(y);
    if (bytes) {
        y->texts.at = (const uint64_t *)kpd__alloc(&y->allocator, room * sizeof(uint64_t));
        y->texts.bytes = (const char *)kpd__alloc(&y->allocator, bytes);
        if (y->texts.bytes) y->texts.room = bytes;
    }
    if (parts) y->parts = (const int32_t *)kpd__alloc(&y->allocator, room * sizeof(int32_t));
    if ((bytes && (!y->texts.at || !y->texts.bytes)) || (parts && !y->parts)) return kpd__no_memory(e, room * 12 + bytes);
    for (size_t i = 0; i < m->n && (bytes || parts); i++) {
        size_t slot, to = (size_t)kpd__index_slot(y, m->ids[i]);
        const kpd_index *x = kpd__merged_from(m, i, &slot);
        kpd__label l = kpd__label_get(x, slot);
        kpd_text t = kpd__text_of(x, l.text);
        l.text = 0;
        kpd__label_put(y, to, l);
        if (t.size) kpd__text_put(y, to, t);
    }
    return KPD_OK;
}

static kpd_status kpd__flat_build(kpd_index *y, const kpd_progress *host, const kpd__given *g, float *row, kpd_error *e) {
    kpd__progress progress = {host, 0, g->n};
    kpd_status s = kpd__store_grow(y, g->n, e);
    for (size_t i = 0; !s && i < g->n; i++) {
        const kpd_index *from = g->from[g->where[i] >> 32];
        kpd__given_get(y, g, i, row);
        if (y->metric == KPD_COSINE && from->kind == KPD_TREE && from->storage != KPD_F32) kpd__unit_row(y, row, row);
        for (size_t d = 0; d < (size_t)y->dim; d++) kpd__own_vectors(y)[kpd__vector_at(y, i, d)] = row[d];
        kpd__own_ids(y)[i] = g->ids[i];
    }
    if (s) return s;
    y->count = g->n;
    kpd__table_build(y);
    kpd__recode(y, 0, (y->count + 15) / 16);
    return g->n ? kpd__progress_add(&progress, g->n, e) : KPD_OK;
}

// Makes y, which is like x but without arrays, of what m lists.
static kpd_status kpd__merge_build(const kpd__merger *m, kpd_index *y, const kpd_parallel *p, const kpd_progress *progress,
                                   float *row, kpd_error *e) {
    kpd__given g;
    size_t bytes;
    bool parts;
    kpd_status s = kpd__merger_check(m, y, row, &bytes, &parts, e);
    memset(&g, 0, sizeof g);
    g.ids = m->ids; g.from = m->from; g.where = m->where; g.n = m->n;
    if (!s) s = y->kind == KPD_TREE ? kpd__tree_make(y, p, progress, 0, &g, e) : kpd__flat_build(y, progress, &g, row, e);
    return s ? s : kpd__merge_labels(m, y, bytes, parts, e);
}

static kpd_status kpd__merge_into(kpd_index *x, kpd__merger *m, const kpd_index *const *others, const kpd_parallel *p,
                                  const kpd_progress *progress, kpd_error *e) {
    kpd__arena a;
    kpd_index y = *x;
    kpd_status s;
    void *memory;
    float *row;
    size_t size;
    memset(&a, 0, sizeof a);
    kpd__merger_lay(m, &a);
    kpd__take(&a, (size_t)x->dim, sizeof *row);
    s = kpd__arena_block(&a, &x->allocator, "merge", &memory, &size, e);
    if (s) return s;
    kpd__merger_lay(m, &a);
    row = (float *)kpd__take(&a, (size_t)x->dim, sizeof *row);
    for (size_t i = 0; i < m->n_from; i++) m->from[i] = i ? others[i - 1] : x;
    kpd__merger_fill(m);
    memset(&y.t, 0, sizeof y.t);
    memcpy(y.t.tuned, x->t.tuned, sizeof y.t.tuned);
    y.t.n_tuned = x->t.n_tuned;
    memset(&y.texts, 0, sizeof y.texts);
    y.ids = NULL; y.table = NULL; y.vectors = NULL; y.codes = NULL; y.notes = NULL; y.parts = NULL;
    y.count = y.capacity = y.table_size = 0;
    s = kpd__merge_build(m, &y, p, progress, row, e);
    kpd__free(&x->allocator, memory, size);
    kpd__index_free(s ? &y : x);
    if (!s) *x = y;
    return s;
}

static kpd_status kpd__index_merge(kpd_index *x, const kpd_index *const *others, size_t n, const kpd_parallel *p,
                                   const kpd_progress *progress, kpd_error *e) {
    kpd__merger m;
    kpd_status s = kpd__writable(x, e);
    memset(&m, 0, sizeof m);
    m.n_from = n + 1; m.n = x->count;
    if (!s) s = kpd__parallel_check(p, e);
    for (size_t i = 0; !s && i < n; i++) {
        s = kpd__merge_check(x, others[i], i, e);
        if (!s && (!kpd__add_ok(m.n, others[i]->count, &m.n) || m.n > (size_t)INT32_MAX - 64))
            s = kpd__fail(e, KPD_ERR_LIMIT, (int64_t)i, "merge: %llu vectors are over the limit", (unsigned long long)m.n);
    }
    return s ? s : kpd__merge_into(x, &m, others, p, progress, e);
}
KPD__GUARDED(5, kpd_index_merge, kpd__index_merge, kpd_index *, x, const kpd_index *const *, others, size_t, n,
             const kpd_parallel *, p, const kpd_progress *, progress)

static kpd_status kpd__index_compact(kpd_index *x, const kpd_parallel *p, const kpd_progress *progress, kpd_error *e) {
    return kpd__index_merge(x, NULL, 0, p, progress, e);
}
KPD__GUARDED(3, kpd_index_compact, kpd__index_compact, kpd_index *, x, const kpd_parallel *, p, const kpd_progress *, progress)

// >>recommend  embed -> search -> drop duplicates -> assistant filter -> rank. Relies on all above; holds no state.

// A text's tokens as words: a first piece with its ##pieces behind it.
typedef struct kpd__phrase { const kpd_tokenizer *t; const int32_t *ids; int32_t n_ids; } kpd__phrase;

static bool kpd__begins_word(const kpd_tokenizer *t, int32_t id) {
    kpd_text text;
    kpd_token_text(t, id, &text);
    return !kpd__is_inner(text.data, text.size);
}

static int32_t kpd__phrase_word_end(const kpd__phrase *w, int32_t at) {
    do at++;
    while (at < w->n_ids && !kpd__begins_word(w->t, w->ids[at]));
    return at;
}

// Any order that puts equal words together: the pieces' ids, one after the other. Words are named by where they begin.
static bool kpd__word_before(const void *phrase, uint32_t x, uint32_t y) {
    const kpd__phrase *w = (const kpd__phrase *)phrase;
    int32_t a = (int32_t)x, b = (int32_t)y, a_end = kpd__phrase_word_end(w, a), b_end = kpd__phrase_word_end(w, b);
    while (a < a_end && b < b_end && w->ids[a] == w->ids[b]) a++, b++;
    return b < b_end && (a == a_end || w->ids[a] < w->ids[b]);
}

// The words of n_ids tokens in order, into out, with room for their beginnings.
static void kpd__sort_words(const kpd_tokenizer *t, const int32_t *ids, int32_t n_ids, uint32_t *begin, int32_t *out) {
    kpd__phrase w;
    size_t n = 0;
    w.t = t; w.ids = ids; w.n_ids = n_ids;
    for (int32_t at = 0; at < n_ids; at = kpd__phrase_word_end(&w, at)) begin[n++] = (uint32_t)at;
    kpd__sort(begin, n, kpd__word_before, &w);
    for (size_t i = 0; i < n; i++)
        for (int32_t at = (int32_t)begin[i], end = kpd__phrase_word_end(&w, at); at < end; at++) *out++ = ids[at];
}

// The tokens that tell whether two keyphrases are the same, into buffer b.
static kpd_status kpd__phrase_tokens(kpd_session *s, const kpd_recommend_desc *d, kpd_text phrase, int b, kpd_tokens *t,
                                     kpd_error *e) {
    kpd__candidates *c = &s->candidates;
    kpd_input in;
    kpd_status status;
    memset(&in, 0, sizeof in);
    memset(t, 0, sizeof *t);
    in.part[0] = phrase; in.n_parts = 1;
    t->ids = d->same_words_are_duplicates ? c->pieces : c->tokens[b]; t->capacity = (int32_t)s->sizes.tokens;
    status = kpd__model_encode(d->student, 1, &in, true, t, 0, e);
    if (status || !d->same_words_are_duplicates) return status;
    kpd__sort_words(d->student->tokenizer, t->ids, t->count, c->words, c->tokens[b]);
    t->ids = c->tokens[b];
    return KPD_OK;
}

// Whether a phrase is equal to one of those kept before: first by hash, then by the tokens themselves.
static kpd_status kpd__is_duplicate(kpd_session *s, const kpd_recommend_desc *d, const kpd_text *phrases, size_t kept,
                                    kpd_text phrase, bool *duplicate, kpd_error *e) {
    kpd__candidates *c = &s->candidates;
    kpd_tokens a, b;
    kpd_status status = kpd__phrase_tokens(s, d, phrase, 0, &a, e);
    *duplicate = false;
    if (status) return status;
    c->keys[kept] = kpd__hash64(a.ids, (size_t)a.count * sizeof *a.ids);
    for (size_t i = 0; i < kept && !*duplicate; i++) {
        if (c->keys[i] != c->keys[kept]) continue;
        status = kpd__phrase_tokens(s, d, phrases[i], 1, &b, e);
        if (status) return status;
        *duplicate = a.count == b.count && !memcmp(a.ids, b.ids, (size_t)a.count * sizeof *a.ids);
    }
    return KPD_OK;
}

// Compacts an item's hits to those whose phrase exists and is new; phrases[i] is that of hits[i].
static kpd_status kpd__drop_duplicates(kpd_session *s, const kpd_recommend_desc *d, kpd_hit *hits, int32_t *n,
                                       kpd_text *phrases, kpd_error *e) {
    size_t kept = 0;
    for (int32_t i = 0; i < *n; i++) {
        kpd_text phrase = {"", 0};
        bool duplicate;
        kpd_status status;
        if (!d->lookup(d->lookup_user, hits[i].id, &phrase)) continue;
        status = kpd__is_duplicate(s, d, phrases, kept, phrase, &duplicate, e);
        if (status) return status;
        if (duplicate) continue;
        phrases[kept] = phrase;
        hits[kept++] = hits[i];
    }
    *n = (int32_t)kept;
    return KPD_OK;
}

static bool kpd__ranks_below(const kpd_recommendation *a, const kpd_recommendation *b) {
    if (a->relevance < b->relevance || a->relevance > b->relevance) return a->relevance < b->relevance;
    if (a->similarity < b->similarity || a->similarity > b->similarity) return a->similarity < b->similarity;
    return a->id > b->id;
}

static void kpd__rank(kpd_recommendation *r, int32_t n) {
    for (int32_t i = 1; i < n; i++) {
        kpd_recommendation v = r[i];
        int32_t j = i;
        for (; j > 0 && kpd__ranks_below(&r[j - 1], &v); j--) r[j] = r[j - 1];
        r[j] = v;
    }
}

// The m items of a group, from number `first` of the call on; those in hand are [from, to) of it.
typedef struct kpd__group { size_t first, m, from, to; kpd_row rows[KPD__ITEMS]; } kpd__group;

// The assistant's probability of each phrase in hand: in one call, whose pairs fill batches and tasks.
static kpd_status kpd__ask(kpd_session *s, const kpd_model *assistant, const kpd__group *g, kpd_error *e) {
    kpd__candidates *c = &s->candidates;
    size_t n = 0, item = g->from;
    kpd_status status;
    for (size_t i = g->from; i < g->to; i++)
        for (int32_t k = 0; k < c->counts[i]; k++, n++) {
            kpd_row row = g->rows[i];
            row.keyphrase = c->phrases[n];
            kpd_model_input(assistant, KPD_ITEM, &row, &c->pairs[n]);
        }
    status = kpd__score_pairs(s, assistant, c->pairs, n, c->relevance, NULL, e);
    for (size_t i = 0; i < n && !status; i++) kpd__sigmoid(&c->relevance[i]);
    if (status && e->where >= 0) {      // of a pair
        while (item + 1 < g->to && e->where >= c->counts[item]) e->where -= c->counts[item++];
        e->where = (int64_t)(g->first + item);
    }
    return status;
}

// The host's relevance of each of an item's n hits.
static kpd_status kpd__ask_host(kpd_session *s, const kpd_recommend_desc *d, size_t item, const kpd_hit *hits, int32_t n,
                                float *relevance, kpd_error *e) {
    int64_t *ids = (int64_t *)(void *)s->candidates.keys;   // which have told duplicates by now
    for (int32_t i = 0; i < n; i++) ids[i] = hits[i].id;
    if (n && !d->relevance(d->relevance_user, (int64_t)item, ids, n, relevance))
        return kpd__fail(e, KPD_ERR_CANCELLED, (int64_t)item, "recommend: stopped by the host's relevance at item %lld",
                         (long long)item);
    for (int32_t i = 0; i < n; i++)
        if (!(relevance[i] >= 0 && relevance[i] <= 1))
            return kpd__fail(e, KPD_ERR_ARGUMENT, (int64_t)item,
                             "recommend: the host's relevance of id %lld to item %lld is %g, expected 0 to 1",
                             (long long)hits[i].id, (long long)item, (double)relevance[i]);
    return KPD_OK;
}

// Those of an item's n hits that are relevant enough, in their order.
static int32_t kpd__keep(const kpd_recommend_desc *d, const kpd_hit *hits, const float *relevance, int32_t n,
                         kpd_recommendation *out) {
    bool filter = d->assistant || d->relevance;
    int32_t kept = 0;
    for (int32_t i = 0; i < n; i++) {
        kpd_recommendation r;
        r.id = hits[i].id; r.similarity = hits[i].score;
        r.relevance = filter ? relevance[i] : NAN;
        if (!filter || r.relevance >= d->min_relevance) out[kept++] = r;
    }
    if (filter && d->rank_by_relevance) kpd__rank(out, kept);
    return kept;
}

// Whether a model can tell how well a keyphrase fits an item.
static kpd_status kpd__assistant_check(const kpd_model *m, const char *what, kpd_error *e) {
    if (m->desc.kind != KPD_CROSS_ENCODER || m->desc.n_labels != 1)
        return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "%s: the assistant is not a cross-encoder of one label", what);
    if ((m->template_[2].names & 5) == 5) return KPD_OK;
    return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "%s: the assistant's template \"%.*s\" has no %s", what,
                     KPD__SHOWN(m->desc.template_pair, 60), m->template_[2].names & 1 ? "{title}" : "{keyphrase}");
}

// Item i of a call as a row; its tokens are looked at when it is embedded.
static kpd_status kpd__item_row(const kpd_input *item, size_t i, kpd_row *row, kpd_error *e) {
    memset(row, 0, sizeof *row);
    if (item->n_parts < 1 || item->n_parts > 2)
        return kpd__fail(e, KPD_ERR_INPUT, (int64_t)i, "recommend: item %llu has %d parts, expected 1 or 2",
                         (unsigned long long)i, (int)item->n_parts);
    row->title = item->part[0];
    if (item->n_parts > 1) row->category = item->part[1];
    return KPD_OK;
}

static kpd_status kpd__recommend_check(const kpd_session *s, const kpd_recommend_desc *d, const kpd_search_desc *search,
                                       kpd_error *e) {
    uint64_t made = 0;
    if (kpd__desc_check("recommend", d->abi, d->reserved, e)) return KPD_ERR_ARGUMENT;
    if (!d->student || !d->index || !d->lookup)
        return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "recommend: student, index and lookup are required");
    if (d->assistant && d->relevance)
        return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "recommend: there are an assistant and a relevance, expected one of them");
    if (d->index->fingerprint) made = kpd__fingerprint(d->student, KPD_KEYPHRASE, false);
    if (d->assistant && kpd__assistant_check(d->assistant, "recommend", e)) return KPD_ERR_ARGUMENT;
    if (made && made != d->index->fingerprint)
        return kpd__fail(e, KPD_ERR_ARGUMENT, -1,
                         "recommend: the index has vectors of model %016llx, the student's keyphrases are of %016llx",
                         (unsigned long long)d->index->fingerprint, (unsigned long long)made);
    if (d->index->dim > kpd__full_dim(&d->student->desc))
        return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "recommend: the index has dim %d, the student only %d", (int)d->index->dim,
                         (int)kpd__full_dim(&d->student->desc));
    if (!(d->min_relevance >= 0 && d->min_relevance <= 1))
        return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "recommend: min_relevance is %g, expected 0 to 1", (double)d->min_relevance);
    if (!d->assistant && !d->relevance && (d->min_relevance > 0 || d->rank_by_relevance))
        return kpd__fail(e, KPD_ERR_ARGUMENT, -1, "recommend: %s without an assistant or a relevance",
                         d->rank_by_relevance ? "rank_by_relevance" : "min_relevance");
    if (kpd__session_fits(s, d->student, e) || (d->assistant && kpd__session_fits(s, d->assistant, e))) return KPD_ERR_LIMIT;
    return kpd__search_check(s, d->index, search, e);
}

// The hits of a group's items, c->counts [g->m] of each at c->hits [g->m, k].
static kpd_status kpd__find(kpd_session *s, const kpd_recommend_desc *d, const kpd_search_desc *search, const kpd_input *items,
                            kpd__group *g, kpd_error *e) {
    kpd__candidates *c = &s->candidates;
    kpd_input in[KPD__ITEMS];
    kpd_status status;
    for (size_t i = 0; i < g->m; i++) {
        status = kpd__item_row(&items[i], g->first + i, &g->rows[i], e);
        if (status) return status;
        kpd_model_input(d->student, KPD_ITEM, &g->rows[i], &in[i]);
    }
    status = kpd__embed_from(s, d->student, KPD_ITEM, in, g->m, d->index->dim, c->vectors, g->first, NULL, e);
    if (status || !kpd__index_search(s, d->index, c->vectors, g->m, search, c->hits, c->counts, e)) return status;
    return kpd__fail(e, e->status, (int64_t)g->first + e->where, "recommend: item %lld: its vector is not finite or zero",
                     (long long)((int64_t)g->first + e->where));
}

// Of the items in hand; out [g->m, k], counts [g->m].
static kpd_status kpd__recommend_these(kpd_session *s, const kpd_recommend_desc *d, size_t k, const kpd__group *g,
                                       kpd_recommendation *out, int32_t *counts, kpd_error *e) {
    kpd__candidates *c = &s->candidates;
    size_t n = 0;
    kpd_status status = KPD_OK;
    for (size_t i = g->from; !status && i < g->to; i++) {
        status = kpd__drop_duplicates(s, d, c->hits + i * k, &c->counts[i], c->phrases + n, e);
        if (status) e->where = (int64_t)(g->first + i);     // not the candidate's
        n += (size_t)c->counts[i];
    }
    if (!status && d->assistant) status = kpd__ask(s, d->assistant, g, e);
    n = 0;
    for (size_t i = g->from; !status && i < g->to; i++) {
        const kpd_hit *hits = c->hits + i * k;
        float *relevance = c->relevance + n;
        if (d->relevance) status = kpd__ask_host(s, d, g->first + i, hits, c->counts[i], relevance, e);
        if (!status) counts[i] = kpd__keep(d, hits, relevance, c->counts[i], out + i * k);
        n += (size_t)c->counts[i];
    }
    return status;
}

static kpd_status kpd__recommend_group(kpd_session *s, const kpd_recommend_desc *d, const kpd_search_desc *search,
                                       const kpd_input *items, kpd__group *g, kpd_recommendation *out, int32_t *counts,
                                       kpd_error *e) {
    size_t k = (size_t)search->k, each = kpd__max(1, kpd__pairs(&s->sizes) / k);
    kpd_status status = kpd__find(s, d, search, items, g, e);
    for (g->from = 0; !status && g->from < g->m; g->from = g->to) {
        g->to = kpd__min(g->m, g->from + each);
        status = kpd__recommend_these(s, d, k, g, out, counts, e);
    }
    return status;
}

static kpd_status kpd__recommend(kpd_session *s, const kpd_recommend_desc *d, const kpd_input *items, size_t n,
                                 kpd_recommendation *out, int32_t *counts, kpd_error *e) {
    kpd__group g;
    kpd_recommend_desc none;
    kpd_error own;
    kpd_status status;
    kpd_search_desc search;
    kpd__progress progress = {&s->progress, 0, n};
    size_t k;
    if (!d) d = (const kpd_recommend_desc *)memset(&none, 0, sizeof none);
    search = d->search;
    if (!search.k) search.k = 10;
    if (!e) e = &own;
    status = kpd__recommend_check(s, d, &search, e);
    k = (size_t)search.k;
    for (g.first = 0; !status && g.first < n; g.first += g.m) {
        g.m = kpd__min(KPD__ITEMS, n - g.first);
        status = kpd__recommend_group(s, d, &search, items + g.first, &g, out + g.first * k, counts + g.first, e);
        if (!status) status = kpd__progress_add(&progress, g.m, e);
    }
    if (status) memset(counts, 0, n * sizeof *counts);
    return status;
}
KPD__GUARDED(6, kpd_recommend, kpd__recommend, kpd_session *, s, const kpd_recommend_desc *, d, const kpd_input *, items,
             size_t, n, kpd_recommendation *, out, int32_t *, counts)

#undef KPD__IMPLEMENTING
#if defined(__clang__)
#pragma STDC FP_CONTRACT DEFAULT
#elif defined(__GNUC__)
#pragma GCC pop_options
#endif
#endif // part A
#endif // !KPD__LEVEL

// ------------------------------------------------------------------------------------------------------------------
// IMPLEMENTATION, part B: read once per level.
#if defined(KPD__LEVEL) && KPD__LEVEL > 0

// >>kernels  First the level's primitives, then what is built from them alone.
// kpd__v is 16 floats. load_n and store_n touch the first n lanes (0 to 16) only, load_n fills with zeros; root is the square
// root; zip_low takes lanes of the first halves of a and b in turn, zip_high of the second; pick_lt(a, b, x, y) is a < b ? x :
// y; max(a, b) is a > b ? a : b, min(a, b) a < b ? a : b, so a NaN in b stays; pow2(p, t) multiplies p by 2^n, where t = 1.5
// 2^23 + n; sum folds the lanes by halves 8, 4, 2, 1, hmax likewise; mask_ge has bit i set when a_i >= b_i. load_half widens
// 16 bf16; half_even and half_odd the first and second of 16 pairs. store_bytes writes bits shift to shift + 7 of each lane,
// store_words (of a level that has it) the same as KPD__WORDS; times has the bits of f c_i, corrected is float(s_i - bits of
// c_i), both modulo 2^32; most_bits is the largest of s_i and m's bits as whole numbers, plus_bits the sum of bits modulo 2^32;
// where takes lane i of a where words[i] is not 0, else of b; store_numbers writes the numbers of a mask's bits, from `from` on
// and spoils up to 16 places; whole is float(s_i), wide float(256 high_i + low_i - 32768 c_i), rounded once; quads has the
// lowest bytes of the bits of a, b, c, d in each lane.
// With KPD__NAMES only the names are read: KPD__NAME(dot) is the level's dot, kpd__add is short for KPD__NAME(add).

#undef KPD__NAME
#undef KPD__INLINE
#undef KPD__ROWS
#undef KPD__EACH_HEIGHT
#if KPD__LEVEL == 1
#define KPD__NAME(name) kpd__scalar_##name
#elif KPD__LEVEL == 2
#define KPD__NAME(name) kpd__avx2_##name
#elif KPD__LEVEL == 3
#define KPD__NAME(name) kpd__avx512_##name
#else
#define KPD__NAME(name) kpd__neon_##name
#endif
#if KPD__LEVEL == 1   // arrays are slow to compile when all is inlined; this level is for truth, not speed
#define KPD__INLINE static inline KPD__UNUSED
#else
#define KPD__INLINE KPD__ALWAYS_INLINE
#endif

#define kpd__v        KPD__NAME(v)
#define kpd__load     KPD__NAME(load)
#define kpd__load_n   KPD__NAME(load_n)
#define kpd__store    KPD__NAME(store)
#define kpd__store_n  KPD__NAME(store_n)
#define kpd__set      KPD__NAME(set)
#define kpd__add      KPD__NAME(add)
#define kpd__sub      KPD__NAME(sub)
#define kpd__mul      KPD__NAME(mul)
#define kpd__div      KPD__NAME(div)
#define kpd__root     KPD__NAME(root)
#define kpd__fmadd    KPD__NAME(fmadd)
#define kpd__vmax     KPD__NAME(vmax)
#define kpd__vmin     KPD__NAME(vmin)
#define kpd__pick_lt  KPD__NAME(pick_lt)
#define kpd__pow2     KPD__NAME(pow2)
#define kpd__mask_ge  KPD__NAME(mask_ge)
#define kpd__join     KPD__NAME(join)
#define kpd__sum      KPD__NAME(sum)
#define kpd__hmax     KPD__NAME(hmax)
#define kpd__tree      KPD__NAME(tree)
#define kpd__tree_zero KPD__NAME(tree_zero)
#define kpd__tree_sum  KPD__NAME(tree_sum)
#define kpd__part_n    KPD__NAME(part_n)
#define kpd__exp       KPD__NAME(exp)
#define kpd__phi       KPD__NAME(phi)
#define kpd__tanh      KPD__NAME(tanh)
#define kpd__activate  KPD__NAME(activate)
#define kpd__mean      KPD__NAME(mean)
#define kpd__inverse_deviation KPD__NAME(inverse_deviation)
#define kpd__micro     KPD__NAME(micro)
#define kpd__finish    KPD__NAME(finish)
#define kpd__gemm_panel KPD__NAME(gemm_panel)
#define kpd__micro_half KPD__NAME(micro_half)
#define kpd__outer     KPD__NAME(outer)
#define kpd__zip_low   KPD__NAME(zip_low)
#define kpd__zip_high  KPD__NAME(zip_high)
#define kpd__load_half KPD__NAME(load_half)
#define kpd__half_even KPD__NAME(half_even)
#define kpd__half_odd  KPD__NAME(half_odd)
#define kpd__store_words KPD__NAME(store_words)
#define kpd__store_bytes KPD__NAME(store_bytes)
#define kpd__times     KPD__NAME(times)
#define kpd__corrected KPD__NAME(corrected)
#define kpd__whole     KPD__NAME(whole)
#define kpd__where     KPD__NAME(where)
#define kpd__store_numbers KPD__NAME(store_numbers)
#define kpd__most_bits KPD__NAME(most_bits)
#define kpd__plus_bits KPD__NAME(plus_bits)
#define kpd__wide      KPD__NAME(wide)
#define kpd__quads     KPD__NAME(quads)
#define kpd__table_row KPD__NAME(table_row)
#define kpd__finish_by KPD__NAME(finish_by)
#define kpd__bias      KPD__NAME(bias)

#if KPD__LEVEL == 1
#define KPD__ROWS 4
#elif KPD__LEVEL == 3
#define KPD__ROWS 14   // of 32 AVX-512 registers: more chains than the latency of two multiply-adds a cycle needs
#else
#define KPD__ROWS 6    // 12 of 16 AVX2 registers, 24 of 32 NEON registers
#endif
#if KPD__ROWS == 4   // X of every height that a tile can have
#define KPD__EACH_HEIGHT KPD__HEIGHTS_4
#elif KPD__ROWS == 6
#define KPD__EACH_HEIGHT KPD__HEIGHTS_6
#else
#define KPD__EACH_HEIGHT KPD__HEIGHTS_14
#endif
#define KPD__HALF_ROWS (KPD__LEVEL == 2 ? 5 : KPD__ROWS)   // widening takes registers too

// Applies term(i, lanes) to i = 0, 16, 32, ... of a row of n: 64 at a time to the four partials, then the rest.
#define KPD__TREE(t, n, FULL, PART)                                                                                    \
    do {                                                                                                               \
        size_t i_ = 0;                                                                                                 \
        for (; i_ + 64 <= (n); i_ += 64) {                                                                             \
            FULL((t).p0, i_); FULL((t).p1, i_ + 16); FULL((t).p2, i_ + 32); FULL((t).p3, i_ + 48);                     \
        }                                                                                                              \
        if (i_ < (n)) PART((t).p0, i_, kpd__part_n(i_, n));                                                            \
        if (i_ + 16 < (n)) PART((t).p1, i_ + 16, kpd__part_n(i_ + 16, n));                                             \
        if (i_ + 32 < (n)) PART((t).p2, i_ + 32, kpd__part_n(i_ + 32, n));                                             \
        if (i_ + 48 < (n)) PART((t).p3, i_ + 48, kpd__part_n(i_ + 48, n));                                             \
    } while (0)

#ifndef KPD__NAMES

#if KPD__LEVEL == 1   // float[16]: the specification

typedef struct kpd__v { float x[16]; } kpd__v;
#define KPD__LANES(expression) kpd__v r; for (int i = 0; i < 16; i++) r.x[i] = (expression); return r

KPD__INLINE kpd__v kpd__load(const float *p) { KPD__LANES(p[i]); }
KPD__INLINE kpd__v kpd__load_n(const float *p, size_t n) { KPD__LANES((size_t)i < n ? p[i] : 0); }
KPD__INLINE void kpd__store(float *p, kpd__v a) { memcpy(p, a.x, sizeof a.x); }
KPD__INLINE void kpd__store_n(float *p, size_t n, kpd__v a) { memcpy(p, a.x, n * sizeof *p); }
KPD__INLINE kpd__v kpd__set(float f) { KPD__LANES(f); }
KPD__INLINE kpd__v kpd__add(kpd__v a, kpd__v b) { KPD__LANES(a.x[i] + b.x[i]); }
KPD__INLINE kpd__v kpd__sub(kpd__v a, kpd__v b) { KPD__LANES(a.x[i] - b.x[i]); }
KPD__INLINE kpd__v kpd__mul(kpd__v a, kpd__v b) { KPD__LANES(a.x[i] * b.x[i]); }
KPD__INLINE kpd__v kpd__div(kpd__v a, kpd__v b) { KPD__LANES(a.x[i] / b.x[i]); }
KPD__INLINE kpd__v kpd__root(kpd__v a) { KPD__LANES(sqrtf(a.x[i])); }
KPD__INLINE kpd__v kpd__fmadd(kpd__v a, kpd__v b, kpd__v c) { KPD__LANES(kpd__fma(a.x[i], b.x[i], c.x[i])); }
KPD__INLINE kpd__v kpd__vmax(kpd__v a, kpd__v b) { KPD__LANES(a.x[i] > b.x[i] ? a.x[i] : b.x[i]); }
KPD__INLINE kpd__v kpd__vmin(kpd__v a, kpd__v b) { KPD__LANES(a.x[i] < b.x[i] ? a.x[i] : b.x[i]); }
KPD__INLINE kpd__v kpd__pick_lt(kpd__v a, kpd__v b, kpd__v x, kpd__v y) { KPD__LANES(a.x[i] < b.x[i] ? x.x[i] : y.x[i]); }
KPD__INLINE kpd__v kpd__pow2(kpd__v p, kpd__v t) {
    KPD__LANES(kpd__from_bits(kpd__to_bits(p.x[i]) + (kpd__to_bits(t.x[i]) << 23)));
}
KPD__INLINE uint32_t kpd__mask_ge(kpd__v a, kpd__v b) {
    uint32_t m = 0;
    for (int i = 0; i < 16; i++) m |= (uint32_t)(a.x[i] >= b.x[i]) << i;
    return m;
}
KPD__INLINE kpd__v kpd__where(const uint16_t *words, kpd__v a, kpd__v b) { KPD__LANES(words[i] ? a.x[i] : b.x[i]); }
KPD__INLINE kpd__v kpd__load_half(const uint16_t *p) { KPD__LANES(kpd__from_bits((uint32_t)p[i] << 16)); }
KPD__INLINE kpd__v kpd__half_even(const uint16_t *p) { KPD__LANES(kpd__from_bits((uint32_t)p[2 * i] << 16)); }
KPD__INLINE kpd__v kpd__half_odd(const uint16_t *p) { KPD__LANES(kpd__from_bits((uint32_t)p[2 * i + 1] << 16)); }
KPD__INLINE kpd__v kpd__times(const int32_t *c, int32_t f) { KPD__LANES(kpd__from_bits((uint32_t)c[i] * (uint32_t)f)); }
KPD__INLINE kpd__v kpd__corrected(const int32_t *s, kpd__v c) {
    KPD__LANES((float)(int32_t)((uint32_t)s[i] - kpd__to_bits(c.x[i])));
}
KPD__INLINE kpd__v kpd__whole(const int32_t *s) { KPD__LANES((float)s[i]); }
KPD__INLINE kpd__v kpd__most_bits(const int32_t *s, kpd__v m) {
    KPD__LANES(s[i] > (int32_t)kpd__to_bits(m.x[i]) ? kpd__from_bits((uint32_t)s[i]) : m.x[i]);
}
KPD__INLINE kpd__v kpd__plus_bits(kpd__v a, kpd__v b) {
    KPD__LANES(kpd__from_bits(kpd__to_bits(a.x[i]) + kpd__to_bits(b.x[i])));
}
KPD__INLINE kpd__v kpd__wide(const int32_t *low, const int32_t *high, const int32_t *c) {
    KPD__LANES((float)((int64_t)high[i] * 256 + low[i] - (int64_t)c[i] * 32768));
}
KPD__INLINE kpd__v kpd__quads(kpd__v a, kpd__v b, kpd__v c, kpd__v d) {
    KPD__LANES(kpd__from_bits((kpd__to_bits(a.x[i]) & 255) | (kpd__to_bits(b.x[i]) & 255) << 8 |
                              (kpd__to_bits(c.x[i]) & 255) << 16 | kpd__to_bits(d.x[i]) << 24));
}
KPD__INLINE void kpd__store_bytes(uint8_t *p, kpd__v a, int shift) {
    for (int i = 0; i < 16; i++) p[i] = (uint8_t)(kpd__to_bits(a.x[i]) >> shift);
}
KPD__INLINE kpd__v kpd__zip_low(kpd__v a, kpd__v b) { KPD__LANES(i % 2 ? b.x[i / 2] : a.x[i / 2]); }
KPD__INLINE kpd__v kpd__zip_high(kpd__v a, kpd__v b) { KPD__LANES(i % 2 ? b.x[8 + i / 2] : a.x[8 + i / 2]); }
#undef KPD__LANES
KPD__INLINE float kpd__sum(kpd__v a) {
    for (int half = 8; half; half /= 2)
        for (int i = 0; i < half; i++) a.x[i] = a.x[i] + a.x[i + half];
    return a.x[0];
}
KPD__INLINE float kpd__hmax(kpd__v a) {
    for (int half = 8; half; half /= 2)
        for (int i = 0; i < half; i++) a.x[i] = a.x[i] > a.x[i + half] ? a.x[i] : a.x[i + half];
    return a.x[0];
}

#elif KPD__LEVEL == 2   // two AVX2 registers

typedef struct kpd__v { __m256 lo, hi; } kpd__v;
KPD__INLINE kpd__v kpd__join(__m256 lo, __m256 hi) { kpd__v r; r.lo = lo; r.hi = hi; return r; }
#define KPD__BOTH(op) kpd__join(_mm256_##op##_ps(a.lo, b.lo), _mm256_##op##_ps(a.hi, b.hi))

// A mask of the first n lanes of 8.
KPD__INLINE __m256i KPD__NAME(first)(size_t n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n < 8 ? (int)n : 8), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
KPD__INLINE kpd__v kpd__load(const float *p) { return kpd__join(_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)); }
KPD__INLINE kpd__v kpd__load_n(const float *p, size_t n) {
    if (n == 16) return kpd__load(p);
    if (n <= 8) return kpd__join(_mm256_maskload_ps(p, KPD__NAME(first)(n)), _mm256_setzero_ps());
    return kpd__join(_mm256_loadu_ps(p), _mm256_maskload_ps(p + 8, KPD__NAME(first)(n - 8)));
}
KPD__INLINE void kpd__store(float *p, kpd__v a) { _mm256_storeu_ps(p, a.lo); _mm256_storeu_ps(p + 8, a.hi); }
KPD__INLINE void kpd__store_n(float *p, size_t n, kpd__v a) {
    if (n == 16) { kpd__store(p, a); return; }
    _mm256_maskstore_ps(p, KPD__NAME(first)(n), a.lo);
    if (n > 8) _mm256_maskstore_ps(p + 8, KPD__NAME(first)(n - 8), a.hi);
}
KPD__INLINE kpd__v kpd__set(float f) { return kpd__join(_mm256_set1_ps(f), _mm256_set1_ps(f)); }
KPD__INLINE kpd__v kpd__add(kpd__v a, kpd__v b) { return KPD__BOTH(add); }
KPD__INLINE kpd__v kpd__sub(kpd__v a, kpd__v b) { return KPD__BOTH(sub); }
KPD__INLINE kpd__v kpd__mul(kpd__v a, kpd__v b) { return KPD__BOTH(mul); }
KPD__INLINE kpd__v kpd__div(kpd__v a, kpd__v b) { return KPD__BOTH(div); }
KPD__INLINE kpd__v kpd__vmax(kpd__v a, kpd__v b) { return KPD__BOTH(max); }
KPD__INLINE kpd__v kpd__vmin(kpd__v a, kpd__v b) { return KPD__BOTH(min); }
#undef KPD__BOTH
KPD__INLINE kpd__v kpd__root(kpd__v a) { return kpd__join(_mm256_sqrt_ps(a.lo), _mm256_sqrt_ps(a.hi)); }
KPD__INLINE kpd__v kpd__fmadd(kpd__v a, kpd__v b, kpd__v c) {
    return kpd__join(_mm256_fmadd_ps(a.lo, b.lo, c.lo), _mm256_fmadd_ps(a.hi, b.hi, c.hi));
}
KPD__INLINE kpd__v kpd__pick_lt(kpd__v a, kpd__v b, kpd__v x, kpd__v y) {
    return kpd__join(_mm256_blendv_ps(y.lo, x.lo, _mm256_cmp_ps(a.lo, b.lo, _CMP_LT_OQ)),
                     _mm256_blendv_ps(y.hi, x.hi, _mm256_cmp_ps(a.hi, b.hi, _CMP_LT_OQ)));
}
KPD__INLINE kpd__v KPD__NAME(zip8)(__m256 a, __m256 b) {
    __m256 x = _mm256_unpacklo_ps(a, b), y = _mm256_unpackhi_ps(a, b);
    return kpd__join(_mm256_permute2f128_ps(x, y, 0x20), _mm256_permute2f128_ps(x, y, 0x31));
}
KPD__INLINE kpd__v kpd__zip_low(kpd__v a, kpd__v b) { return KPD__NAME(zip8)(a.lo, b.lo); }
KPD__INLINE kpd__v kpd__zip_high(kpd__v a, kpd__v b) { return KPD__NAME(zip8)(a.hi, b.hi); }
KPD__INLINE __m256 KPD__NAME(pow2_8)(__m256 p, __m256 t) {
    return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(p), _mm256_slli_epi32(_mm256_castps_si256(t), 23)));
}
KPD__INLINE kpd__v kpd__pow2(kpd__v p, kpd__v t) {
    return kpd__join(KPD__NAME(pow2_8)(p.lo, t.lo), KPD__NAME(pow2_8)(p.hi, t.hi));
}
KPD__INLINE uint32_t kpd__mask_ge(kpd__v a, kpd__v b) {
    return (uint32_t)_mm256_movemask_ps(_mm256_cmp_ps(a.lo, b.lo, _CMP_GE_OQ)) |
           (uint32_t)_mm256_movemask_ps(_mm256_cmp_ps(a.hi, b.hi, _CMP_GE_OQ)) << 8;
}
KPD__INLINE __m256i KPD__NAME(bits8)(const void *p) { return _mm256_loadu_si256((const __m256i *)p); }
KPD__INLINE __m256 KPD__NAME(none8)(__m128i words) {
    return _mm256_castsi256_ps(_mm256_cmpeq_epi32(_mm256_cvtepu16_epi32(words), _mm256_setzero_si256()));
}
KPD__INLINE kpd__v kpd__where(const uint16_t *words, kpd__v a, kpd__v b) {
    __m256i w = KPD__NAME(bits8)(words);
    return kpd__join(_mm256_blendv_ps(a.lo, b.lo, KPD__NAME(none8)(_mm256_castsi256_si128(w))),
                     _mm256_blendv_ps(a.hi, b.hi, KPD__NAME(none8)(_mm256_extracti128_si256(w, 1))));
}
KPD__INLINE kpd__v kpd__load_half(const uint16_t *p) {
    __m256i x = KPD__NAME(bits8)(p);
    return kpd__join(_mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm256_castsi256_si128(x)), 16)),
                     _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm256_extracti128_si256(x, 1)), 16)));
}
KPD__INLINE kpd__v kpd__half_even(const uint16_t *p) {
    return kpd__join(_mm256_castsi256_ps(_mm256_slli_epi32(KPD__NAME(bits8)(p), 16)),
                     _mm256_castsi256_ps(_mm256_slli_epi32(KPD__NAME(bits8)(p + 16), 16)));
}
KPD__INLINE kpd__v kpd__half_odd(const uint16_t *p) {
    const __m256i high = _mm256_set1_epi32(-65536);
    return kpd__join(_mm256_castsi256_ps(_mm256_and_si256(KPD__NAME(bits8)(p), high)),
                     _mm256_castsi256_ps(_mm256_and_si256(KPD__NAME(bits8)(p + 16), high)));
}
KPD__INLINE kpd__v kpd__times(const int32_t *c, int32_t f) {
    __m256i by = _mm256_set1_epi32(f);
    return kpd__join(_mm256_castsi256_ps(_mm256_mullo_epi32(KPD__NAME(bits8)(c), by)),
                     _mm256_castsi256_ps(_mm256_mullo_epi32(KPD__NAME(bits8)(c + 8), by)));
}
KPD__INLINE kpd__v kpd__corrected(const int32_t *s, kpd__v c) {
    return kpd__join(_mm256_cvtepi32_ps(_mm256_sub_epi32(KPD__NAME(bits8)(s), _mm256_castps_si256(c.lo))),
                     _mm256_cvtepi32_ps(_mm256_sub_epi32(KPD__NAME(bits8)(s + 8), _mm256_castps_si256(c.hi))));
}
KPD__INLINE __m256 KPD__NAME(most8)(const int32_t *s, __m256 m) {
    return _mm256_castsi256_ps(_mm256_max_epi32(KPD__NAME(bits8)(s), _mm256_castps_si256(m)));
}
KPD__INLINE kpd__v kpd__most_bits(const int32_t *s, kpd__v m) {
    return kpd__join(KPD__NAME(most8)(s, m.lo), KPD__NAME(most8)(s + 8, m.hi));
}
KPD__INLINE __m256 KPD__NAME(plus8)(__m256 a, __m256 b) {
    return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(a), _mm256_castps_si256(b)));
}
KPD__INLINE kpd__v kpd__plus_bits(kpd__v a, kpd__v b) {
    return kpd__join(KPD__NAME(plus8)(a.lo, b.lo), KPD__NAME(plus8)(a.hi, b.hi));
}
KPD__INLINE kpd__v kpd__whole(const int32_t *s) {
    return kpd__join(_mm256_cvtepi32_ps(KPD__NAME(bits8)(s)), _mm256_cvtepi32_ps(KPD__NAME(bits8)(s + 8)));
}
KPD__INLINE __m256d KPD__NAME(double4)(const int32_t *s) {
    return _mm256_cvtepi32_pd(_mm_loadu_si128((const __m128i *)(const void *)s));
}
KPD__INLINE __m128 KPD__NAME(wide4)(const int32_t *low, const int32_t *high, const int32_t *c) {
    __m256d s = _mm256_fmadd_pd(KPD__NAME(double4)(high), _mm256_set1_pd(256), KPD__NAME(double4)(low));
    return _mm256_cvtpd_ps(_mm256_fmadd_pd(KPD__NAME(double4)(c), _mm256_set1_pd(-32768), s));
}
KPD__INLINE __m256 KPD__NAME(wide8)(const int32_t *low, const int32_t *high, const int32_t *c) {
    return _mm256_insertf128_ps(_mm256_castps128_ps256(KPD__NAME(wide4)(low, high, c)),
                                KPD__NAME(wide4)(low + 4, high + 4, c + 4), 1);
}
KPD__INLINE kpd__v kpd__wide(const int32_t *low, const int32_t *high, const int32_t *c) {
    return kpd__join(KPD__NAME(wide8)(low, high, c), KPD__NAME(wide8)(low + 8, high + 8, c + 8));
}
KPD__INLINE __m256 KPD__NAME(quads8)(__m256 a, __m256 b, __m256 c, __m256 d) {
    __m256i w = _mm256_castps_si256(a), x = _mm256_slli_epi32(_mm256_castps_si256(b), 8),
            y = _mm256_castps_si256(c), z = _mm256_slli_epi32(_mm256_castps_si256(d), 8);
    const __m256i low = _mm256_set1_epi16(255);
    w = _mm256_blendv_epi8(x, w, low);
    y = _mm256_blendv_epi8(z, y, low);
    return _mm256_castsi256_ps(_mm256_blend_epi16(w, _mm256_slli_epi32(y, 16), 0xAA));
}
KPD__INLINE kpd__v kpd__quads(kpd__v a, kpd__v b, kpd__v c, kpd__v d) {
    return kpd__join(KPD__NAME(quads8)(a.lo, b.lo, c.lo, d.lo), KPD__NAME(quads8)(a.hi, b.hi, c.hi, d.hi));
}
// Bits shift to shift + 7 of each lane as 16 bits, in order.
KPD__INLINE __m256i KPD__NAME(words)(kpd__v a, int shift) {
    const __m256i low = _mm256_set1_epi32(255);
    const __m128i by = _mm_cvtsi32_si128(shift);
    __m256i x = _mm256_and_si256(_mm256_srl_epi32(_mm256_castps_si256(a.lo), by), low),
            y = _mm256_and_si256(_mm256_srl_epi32(_mm256_castps_si256(a.hi), by), low);
    return _mm256_permute4x64_epi64(_mm256_packus_epi32(x, y), 0xD8);
}
KPD__INLINE void kpd__store_bytes(uint8_t *p, kpd__v a, int shift) {
    __m256i w = KPD__NAME(words)(a, shift);
    _mm_storeu_si128((__m128i *)(void *)p, _mm_packus_epi16(_mm256_castsi256_si128(w), _mm256_extracti128_si256(w, 1)));
}
KPD__INLINE void kpd__store_words(uint16_t *p, kpd__v a, int shift) {
    __m256i w = KPD__NAME(words)(a, shift);
    _mm256_storeu_si256((__m256i *)(void *)p, _mm256_shufflehi_epi16(_mm256_shufflelo_epi16(w, 0xD8), 0xD8));
}
KPD__INLINE float KPD__NAME(sum8)(__m256 s) {
    __m128 q = _mm_add_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1));
    q = _mm_add_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(_mm_add_ss(q, _mm_shuffle_ps(q, q, 1)));
}
KPD__INLINE float kpd__sum(kpd__v a) { return KPD__NAME(sum8)(_mm256_add_ps(a.lo, a.hi)); }
KPD__INLINE float kpd__hmax(kpd__v a) {
    __m256 s = _mm256_max_ps(a.lo, a.hi);
    __m128 q = _mm_max_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1));
    q = _mm_max_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(_mm_max_ss(q, _mm_shuffle_ps(q, q, 1)));
}

#elif KPD__LEVEL == 3   // one AVX-512 register

typedef __m512 kpd__v;
KPD__INLINE __mmask16 KPD__NAME(first)(size_t n) { return (__mmask16)((1u << n) - 1); }
KPD__INLINE kpd__v kpd__load(const float *p) { return _mm512_loadu_ps(p); }
KPD__INLINE kpd__v kpd__load_n(const float *p, size_t n) { return _mm512_maskz_loadu_ps(KPD__NAME(first)(n), p); }
KPD__INLINE void kpd__store(float *p, kpd__v a) { _mm512_storeu_ps(p, a); }
KPD__INLINE void kpd__store_n(float *p, size_t n, kpd__v a) { _mm512_mask_storeu_ps(p, KPD__NAME(first)(n), a); }
KPD__INLINE kpd__v kpd__set(float f) { return _mm512_set1_ps(f); }
KPD__INLINE kpd__v kpd__add(kpd__v a, kpd__v b) { return _mm512_add_ps(a, b); }
KPD__INLINE kpd__v kpd__sub(kpd__v a, kpd__v b) { return _mm512_sub_ps(a, b); }
KPD__INLINE kpd__v kpd__mul(kpd__v a, kpd__v b) { return _mm512_mul_ps(a, b); }
KPD__INLINE kpd__v kpd__div(kpd__v a, kpd__v b) { return _mm512_div_ps(a, b); }
KPD__INLINE kpd__v kpd__root(kpd__v a) { return _mm512_maskz_sqrt_ps(0xFFFF, a); }
KPD__INLINE kpd__v kpd__fmadd(kpd__v a, kpd__v b, kpd__v c) { return _mm512_fmadd_ps(a, b, c); }
KPD__INLINE kpd__v kpd__vmax(kpd__v a, kpd__v b) { return _mm512_maskz_max_ps(0xFFFF, a, b); }   // gcc 12 warns of plain max
KPD__INLINE kpd__v kpd__vmin(kpd__v a, kpd__v b) { return _mm512_maskz_min_ps(0xFFFF, a, b); }
KPD__INLINE kpd__v kpd__pick_lt(kpd__v a, kpd__v b, kpd__v x, kpd__v y) {
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), y, x);
}
KPD__INLINE kpd__v kpd__pow2(kpd__v p, kpd__v t) {
    return _mm512_castsi512_ps(
        _mm512_add_epi32(_mm512_castps_si512(p), _mm512_maskz_slli_epi32(0xFFFF, _mm512_castps_si512(t), 23)));
}
KPD__INLINE kpd__v kpd__zip_low(kpd__v a, kpd__v b) {
    return _mm512_permutex2var_ps(a, _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23), b);
}
KPD__INLINE kpd__v kpd__zip_high(kpd__v a, kpd__v b) {
    return _mm512_permutex2var_ps(a, _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31), b);
}
KPD__INLINE uint32_t kpd__mask_ge(kpd__v a, kpd__v b) { return (uint32_t)_mm512_cmp_ps_mask(a, b, _CMP_GE_OQ); }
KPD__INLINE kpd__v kpd__where(const uint16_t *words, kpd__v a, kpd__v b) {
    __m512i w = _mm512_maskz_cvtepu16_epi32(0xFFFF, _mm256_loadu_si256((const __m256i *)(const void *)words));
    return _mm512_mask_blend_ps(_mm512_test_epi32_mask(w, w), b, a);
}
KPD__INLINE size_t kpd__store_numbers(int32_t *to, uint32_t mask, int32_t from) {
    const __m512i lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    __m512i numbers = _mm512_add_epi32(lanes, _mm512_set1_epi32(from));
    _mm512_storeu_si512(to, _mm512_maskz_compress_epi32((__mmask16)mask, numbers));
    return (size_t)__builtin_popcount(mask);
}
KPD__INLINE kpd__v kpd__load_half(const uint16_t *p) {
    __m512i x = _mm512_maskz_cvtepu16_epi32(0xFFFF, _mm256_loadu_si256((const __m256i *)(const void *)p));
    return _mm512_castsi512_ps(_mm512_maskz_slli_epi32(0xFFFF, x, 16));
}
KPD__INLINE kpd__v kpd__half_even(const uint16_t *p) {
    return _mm512_castsi512_ps(_mm512_maskz_slli_epi32(0xFFFF, _mm512_loadu_si512(p), 16));
}
KPD__INLINE kpd__v kpd__half_odd(const uint16_t *p) {
    return _mm512_castsi512_ps(_mm512_and_si512(_mm512_loadu_si512(p), _mm512_set1_epi32(-65536)));
}
KPD__INLINE kpd__v kpd__times(const int32_t *c, int32_t f) {
    return _mm512_castsi512_ps(_mm512_mullo_epi32(_mm512_loadu_si512(c), _mm512_set1_epi32(f)));
}
KPD__INLINE kpd__v kpd__corrected(const int32_t *s, kpd__v c) {
    return _mm512_maskz_cvtepi32_ps(0xFFFF, _mm512_sub_epi32(_mm512_loadu_si512(s), _mm512_castps_si512(c)));
}
KPD__INLINE kpd__v kpd__whole(const int32_t *s) { return _mm512_maskz_cvtepi32_ps(0xFFFF, _mm512_loadu_si512(s)); }
KPD__INLINE kpd__v kpd__most_bits(const int32_t *s, kpd__v m) {
    return _mm512_castsi512_ps(_mm512_maskz_max_epi32(0xFFFF, _mm512_loadu_si512(s), _mm512_castps_si512(m)));
}
KPD__INLINE kpd__v kpd__plus_bits(kpd__v a, kpd__v b) {
    return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(a), _mm512_castps_si512(b)));
}
KPD__INLINE __m512d KPD__NAME(double8)(const int32_t *s) {
    return _mm512_maskz_cvtepi32_pd(0xFF, _mm256_loadu_si256((const __m256i *)(const void *)s));
}
KPD__INLINE __m256 KPD__NAME(wide8)(const int32_t *low, const int32_t *high, const int32_t *c) {
    __m512d s = _mm512_fmadd_pd(KPD__NAME(double8)(high), _mm512_set1_pd(256), KPD__NAME(double8)(low));
    return _mm512_maskz_cvtpd_ps(0xFF, _mm512_fmadd_pd(KPD__NAME(double8)(c), _mm512_set1_pd(-32768), s));
}
KPD__INLINE kpd__v kpd__wide(const int32_t *low, const int32_t *high, const int32_t *c) {
    __m512d first = _mm512_castpd256_pd512(_mm256_castps_pd(KPD__NAME(wide8)(low, high, c)));
    __m256d second = _mm256_castps_pd(KPD__NAME(wide8)(low + 8, high + 8, c + 8));
    return _mm512_castpd_ps(_mm512_maskz_insertf64x4(0xFF, first, second, 1));
}
// Bits of a where the mask is 1, elsewhere those of b, moved up; a shift is a constant of its instruction.
#define KPD__JOIN(a, b, bits, mask)                                                                                            \
    _mm512_ternarylogic_epi32(_mm512_set1_epi32(mask), a, _mm512_maskz_slli_epi32(0xFFFF, b, bits), 0xCA)
KPD__INLINE kpd__v kpd__quads(kpd__v a, kpd__v b, kpd__v c, kpd__v d) {
    __m512i low = KPD__JOIN(_mm512_castps_si512(a), _mm512_castps_si512(b), 8, 255);
    __m512i high = KPD__JOIN(_mm512_castps_si512(c), _mm512_castps_si512(d), 8, 255);
    return _mm512_castsi512_ps(KPD__JOIN(low, high, 16, 65535));
}
#undef KPD__JOIN
KPD__INLINE __m512i KPD__NAME(shifted)(kpd__v a, int shift) {
    __m512i x = _mm512_castps_si512(a);
    return shift ? _mm512_maskz_srl_epi32(0xFFFF, x, _mm_cvtsi32_si128(shift)) : x;
}
KPD__INLINE void kpd__store_bytes(uint8_t *p, kpd__v a, int shift) {
    _mm_storeu_si128((__m128i *)(void *)p, _mm512_maskz_cvtepi32_epi8(0xFFFF, KPD__NAME(shifted)(a, shift)));
}
KPD__INLINE void kpd__store_words(uint16_t *p, kpd__v a, int shift) {
    __m512i x = _mm512_and_si512(KPD__NAME(shifted)(a, shift), _mm512_set1_epi32(255));
    __m256i w = _mm512_maskz_cvtepi32_epi16(0xFFFF, x);
    _mm256_storeu_si256((__m256i *)(void *)p, _mm256_shufflehi_epi16(_mm256_shufflelo_epi16(w, 0xD8), 0xD8));
}
#define KPD__HALF(a, i) _mm256_castpd_ps(_mm512_maskz_extractf64x4_pd(0xF, _mm512_castps_pd(a), i))
KPD__INLINE float kpd__sum(kpd__v a) {
    __m256 s = _mm256_add_ps(KPD__HALF(a, 0), KPD__HALF(a, 1));
    __m128 q = _mm_add_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1));
    q = _mm_add_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(_mm_add_ss(q, _mm_shuffle_ps(q, q, 1)));
}
KPD__INLINE float kpd__hmax(kpd__v a) {
    __m256 s = _mm256_max_ps(KPD__HALF(a, 0), KPD__HALF(a, 1));
    __m128 q = _mm_max_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1));
    q = _mm_max_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(_mm_max_ss(q, _mm_shuffle_ps(q, q, 1)));
}
#undef KPD__HALF

#else   // four NEON registers

typedef struct kpd__v { float32x4_t a, b, c, d; } kpd__v;
KPD__INLINE kpd__v kpd__join(float32x4_t a, float32x4_t b, float32x4_t c, float32x4_t d) {
    kpd__v r;
    r.a = a; r.b = b; r.c = c; r.d = d;
    return r;
}
#define KPD__FOUR(op) kpd__join(op(x.a, y.a), op(x.b, y.b), op(x.c, y.c), op(x.d, y.d))

KPD__INLINE kpd__v kpd__load(const float *p) {
    return kpd__join(vld1q_f32(p), vld1q_f32(p + 4), vld1q_f32(p + 8), vld1q_f32(p + 12));
}
KPD__INLINE kpd__v kpd__load_n(const float *p, size_t n) {
    float t[16] = {0};
    if (n == 16) return kpd__load(p);
    memcpy(t, p, n * sizeof *t);
    return kpd__load(t);
}
KPD__INLINE void kpd__store(float *p, kpd__v x) {
    vst1q_f32(p, x.a);
    vst1q_f32(p + 4, x.b);
    vst1q_f32(p + 8, x.c);
    vst1q_f32(p + 12, x.d);
}
KPD__INLINE void kpd__store_n(float *p, size_t n, kpd__v x) {
    float t[16];
    if (n == 16) { kpd__store(p, x); return; }
    kpd__store(t, x);
    memcpy(p, t, n * sizeof *t);
}
KPD__INLINE kpd__v kpd__set(float f) { float32x4_t x = vdupq_n_f32(f); return kpd__join(x, x, x, x); }
KPD__INLINE kpd__v kpd__add(kpd__v x, kpd__v y) { return KPD__FOUR(vaddq_f32); }
KPD__INLINE kpd__v kpd__sub(kpd__v x, kpd__v y) { return KPD__FOUR(vsubq_f32); }
KPD__INLINE kpd__v kpd__mul(kpd__v x, kpd__v y) { return KPD__FOUR(vmulq_f32); }
KPD__INLINE kpd__v kpd__div(kpd__v x, kpd__v y) { return KPD__FOUR(vdivq_f32); }
KPD__INLINE kpd__v kpd__root(kpd__v x) {
    return kpd__join(vsqrtq_f32(x.a), vsqrtq_f32(x.b), vsqrtq_f32(x.c), vsqrtq_f32(x.d));
}
KPD__INLINE kpd__v kpd__fmadd(kpd__v x, kpd__v y, kpd__v z) {
    return kpd__join(vfmaq_f32(z.a, x.a, y.a), vfmaq_f32(z.b, x.b, y.b), vfmaq_f32(z.c, x.c, y.c), vfmaq_f32(z.d, x.d, y.d));
}
KPD__INLINE float32x4_t KPD__NAME(max4)(float32x4_t x, float32x4_t y) { return vbslq_f32(vcgtq_f32(x, y), x, y); }
KPD__INLINE float32x4_t KPD__NAME(min4)(float32x4_t x, float32x4_t y) { return vbslq_f32(vcltq_f32(x, y), x, y); }
KPD__INLINE kpd__v kpd__vmax(kpd__v x, kpd__v y) { return KPD__FOUR(KPD__NAME(max4)); }
KPD__INLINE kpd__v kpd__vmin(kpd__v x, kpd__v y) { return KPD__FOUR(KPD__NAME(min4)); }
#undef KPD__FOUR
KPD__INLINE kpd__v kpd__pick_lt(kpd__v l, kpd__v r, kpd__v x, kpd__v y) {
    return kpd__join(vbslq_f32(vcltq_f32(l.a, r.a), x.a, y.a), vbslq_f32(vcltq_f32(l.b, r.b), x.b, y.b),
                     vbslq_f32(vcltq_f32(l.c, r.c), x.c, y.c), vbslq_f32(vcltq_f32(l.d, r.d), x.d, y.d));
}
KPD__INLINE kpd__v kpd__zip_low(kpd__v x, kpd__v y) {
    return kpd__join(vzip1q_f32(x.a, y.a), vzip2q_f32(x.a, y.a), vzip1q_f32(x.b, y.b), vzip2q_f32(x.b, y.b));
}
KPD__INLINE kpd__v kpd__zip_high(kpd__v x, kpd__v y) {
    return kpd__join(vzip1q_f32(x.c, y.c), vzip2q_f32(x.c, y.c), vzip1q_f32(x.d, y.d), vzip2q_f32(x.d, y.d));
}
KPD__INLINE float32x4_t KPD__NAME(pow2_4)(float32x4_t p, float32x4_t t) {
    return vreinterpretq_f32_s32(vaddq_s32(vreinterpretq_s32_f32(p), vshlq_n_s32(vreinterpretq_s32_f32(t), 23)));
}
KPD__INLINE kpd__v kpd__pow2(kpd__v p, kpd__v t) {
    return kpd__join(KPD__NAME(pow2_4)(p.a, t.a), KPD__NAME(pow2_4)(p.b, t.b), KPD__NAME(pow2_4)(p.c, t.c),
                     KPD__NAME(pow2_4)(p.d, t.d));
}
KPD__INLINE uint32_t kpd__mask_ge(kpd__v x, kpd__v y) {
    float s[16], t[16];
    uint32_t m = 0;
    kpd__store(s, x);
    kpd__store(t, y);
    for (int i = 0; i < 16; i++) m |= (uint32_t)(s[i] >= t[i]) << i;
    return m;
}
KPD__INLINE float32x4_t KPD__NAME(where4)(uint16x4_t words, float32x4_t a, float32x4_t b) {
    uint32x4_t w = vmovl_u16(words);
    return vbslq_f32(vtstq_u32(w, w), a, b);
}
KPD__INLINE kpd__v kpd__where(const uint16_t *words, kpd__v x, kpd__v y) {
    return kpd__join(KPD__NAME(where4)(vld1_u16(words), x.a, y.a), KPD__NAME(where4)(vld1_u16(words + 4), x.b, y.b),
                     KPD__NAME(where4)(vld1_u16(words + 8), x.c, y.c), KPD__NAME(where4)(vld1_u16(words + 12), x.d, y.d));
}
KPD__INLINE kpd__v KPD__NAME(bits16)(uint32x4_t a, uint32x4_t b, uint32x4_t c, uint32x4_t d) {
    return kpd__join(vreinterpretq_f32_u32(a), vreinterpretq_f32_u32(b), vreinterpretq_f32_u32(c), vreinterpretq_f32_u32(d));
}
KPD__INLINE kpd__v kpd__load_half(const uint16_t *p) {
    uint16x8_t x = vld1q_u16(p), y = vld1q_u16(p + 8);
    return KPD__NAME(bits16)(vshll_n_u16(vget_low_u16(x), 16), vshll_n_u16(vget_high_u16(x), 16),
                             vshll_n_u16(vget_low_u16(y), 16), vshll_n_u16(vget_high_u16(y), 16));
}
KPD__INLINE uint32x4_t KPD__NAME(pairs)(const uint16_t *p) { return vreinterpretq_u32_u16(vld1q_u16(p)); }
KPD__INLINE kpd__v kpd__half_even(const uint16_t *p) {
    return KPD__NAME(bits16)(vshlq_n_u32(KPD__NAME(pairs)(p), 16), vshlq_n_u32(KPD__NAME(pairs)(p + 8), 16),
                             vshlq_n_u32(KPD__NAME(pairs)(p + 16), 16), vshlq_n_u32(KPD__NAME(pairs)(p + 24), 16));
}
KPD__INLINE kpd__v kpd__half_odd(const uint16_t *p) {
    const uint32x4_t high = vdupq_n_u32(0xFFFF0000u);
    return KPD__NAME(bits16)(vandq_u32(KPD__NAME(pairs)(p), high), vandq_u32(KPD__NAME(pairs)(p + 8), high),
                             vandq_u32(KPD__NAME(pairs)(p + 16), high), vandq_u32(KPD__NAME(pairs)(p + 24), high));
}
KPD__INLINE float32x4_t KPD__NAME(times4)(const int32_t *c, int32_t f) {
    return vreinterpretq_f32_s32(vmulq_n_s32(vld1q_s32(c), f));
}
KPD__INLINE kpd__v kpd__times(const int32_t *c, int32_t f) {
    return kpd__join(KPD__NAME(times4)(c, f), KPD__NAME(times4)(c + 4, f), KPD__NAME(times4)(c + 8, f),
                     KPD__NAME(times4)(c + 12, f));
}
KPD__INLINE float32x4_t KPD__NAME(corrected4)(const int32_t *s, float32x4_t c) {
    return vcvtq_f32_s32(vsubq_s32(vld1q_s32(s), vreinterpretq_s32_f32(c)));
}
KPD__INLINE kpd__v kpd__corrected(const int32_t *s, kpd__v x) {
    return kpd__join(KPD__NAME(corrected4)(s, x.a), KPD__NAME(corrected4)(s + 4, x.b), KPD__NAME(corrected4)(s + 8, x.c),
                     KPD__NAME(corrected4)(s + 12, x.d));
}
KPD__INLINE kpd__v kpd__whole(const int32_t *s) {
    return kpd__join(vcvtq_f32_s32(vld1q_s32(s)), vcvtq_f32_s32(vld1q_s32(s + 4)), vcvtq_f32_s32(vld1q_s32(s + 8)),
                     vcvtq_f32_s32(vld1q_s32(s + 12)));
}
KPD__INLINE float32x4_t KPD__NAME(most4)(const int32_t *s, float32x4_t m) {
    return vreinterpretq_f32_s32(vmaxq_s32(vld1q_s32(s), vreinterpretq_s32_f32(m)));
}
KPD__INLINE kpd__v kpd__most_bits(const int32_t *s, kpd__v m) {
    return kpd__join(KPD__NAME(most4)(s, m.a), KPD__NAME(most4)(s + 4, m.b), KPD__NAME(most4)(s + 8, m.c),
                     KPD__NAME(most4)(s + 12, m.d));
}
KPD__INLINE float32x4_t KPD__NAME(plus4)(float32x4_t x, float32x4_t y) {
    return vreinterpretq_f32_s32(vaddq_s32(vreinterpretq_s32_f32(x), vreinterpretq_s32_f32(y)));
}
KPD__INLINE kpd__v kpd__plus_bits(kpd__v x, kpd__v y) {
    return kpd__join(KPD__NAME(plus4)(x.a, y.a), KPD__NAME(plus4)(x.b, y.b), KPD__NAME(plus4)(x.c, y.c),
                     KPD__NAME(plus4)(x.d, y.d));
}
KPD__INLINE float32x2_t KPD__NAME(wide2)(int32x2_t low, int32x2_t high, int32x2_t c) {
    int64x2_t s = vaddw_s32(vmull_s32(high, vdup_n_s32(256)), low);
    return vcvt_f32_f64(vcvtq_f64_s64(vmlsl_s32(s, c, vdup_n_s32(32768))));
}
KPD__INLINE float32x4_t KPD__NAME(wide4)(const int32_t *low, const int32_t *high, const int32_t *c) {
    return vcombine_f32(KPD__NAME(wide2)(vld1_s32(low), vld1_s32(high), vld1_s32(c)),
                        KPD__NAME(wide2)(vld1_s32(low + 2), vld1_s32(high + 2), vld1_s32(c + 2)));
}
KPD__INLINE kpd__v kpd__wide(const int32_t *low, const int32_t *high, const int32_t *c) {
    return kpd__join(KPD__NAME(wide4)(low, high, c), KPD__NAME(wide4)(low + 4, high + 4, c + 4),
                     KPD__NAME(wide4)(low + 8, high + 8, c + 8), KPD__NAME(wide4)(low + 12, high + 12, c + 12));
}
KPD__INLINE float32x4_t KPD__NAME(quads4)(float32x4_t a, float32x4_t b, float32x4_t c, float32x4_t d) {
    uint32x4_t x = vsliq_n_u32(vreinterpretq_u32_f32(a), vreinterpretq_u32_f32(b), 8);
    x = vsliq_n_u32(x, vreinterpretq_u32_f32(c), 16);
    return vreinterpretq_f32_u32(vsliq_n_u32(x, vreinterpretq_u32_f32(d), 24));
}
KPD__INLINE kpd__v kpd__quads(kpd__v x, kpd__v y, kpd__v z, kpd__v w) {
    return kpd__join(KPD__NAME(quads4)(x.a, y.a, z.a, w.a), KPD__NAME(quads4)(x.b, y.b, z.b, w.b),
                     KPD__NAME(quads4)(x.c, y.c, z.c, w.c), KPD__NAME(quads4)(x.d, y.d, z.d, w.d));
}
KPD__INLINE void kpd__store_bytes(uint8_t *p, kpd__v x, int shift) {
    float t[16];
    kpd__store(t, x);
    for (int i = 0; i < 16; i++) p[i] = (uint8_t)(kpd__to_bits(t[i]) >> shift);
}
KPD__INLINE float kpd__sum(kpd__v x) {   // lanes i and i + 8, then + 4, + 2, + 1
    float32x4_t q = vaddq_f32(vaddq_f32(x.a, x.c), vaddq_f32(x.b, x.d));
    float32x2_t h = vadd_f32(vget_low_f32(q), vget_high_f32(q));
    return vget_lane_f32(h, 0) + vget_lane_f32(h, 1);
}
KPD__INLINE float kpd__hmax(kpd__v x) {
    float t[4], m, n;
    vst1q_f32(t, KPD__NAME(max4)(KPD__NAME(max4)(x.a, x.c), KPD__NAME(max4)(x.b, x.d)));
    m = t[0] > t[2] ? t[0] : t[2];
    n = t[1] > t[3] ? t[1] : t[3];
    return m > n ? m : n;
}
#endif

// The tree: 64 partial sums in four vectors, then (0+1)+(2+3), then the lanes.
typedef struct KPD__NAME(tree) { kpd__v p0, p1, p2, p3; } KPD__NAME(tree);
KPD__INLINE kpd__tree kpd__tree_zero(void) {
    kpd__tree t;
    t.p0 = t.p1 = t.p2 = t.p3 = kpd__set(0);
    return t;
}
KPD__INLINE float kpd__tree_sum(kpd__tree t) { return kpd__sum(kpd__add(kpd__add(t.p0, t.p1), kpd__add(t.p2, t.p3))); }

// Lanes of the vector that begins at i in a row of n: 0 to 16.
KPD__INLINE size_t kpd__part_n(size_t i, size_t n) { return i >= n ? 0 : n - i < 16 ? n - i : 16; }

// exp(x) within 1 ulp or so: x = n ln2 + r, then 2^n (1 + r (1 + r q(r))). Clamped to [-87.3, 88.3]: no denormal, no overflow.
KPD__INLINE kpd__v kpd__exp(kpd__v x) {
    const kpd__v magic = kpd__set(KPD__MAGIC), one = kpd__set(1.0f), hi = kpd__set(88.3f);
    kpd__v t, n, r, p;
    x = kpd__vmax(kpd__set(-87.3f), x);
    x = kpd__vmin(hi, x);
    t = kpd__fmadd(x, kpd__set(KPD__LOG2_E), magic);
    n = kpd__sub(t, magic);
    r = kpd__fmadd(n, kpd__set(-0.693359375f), x);            // ln2 in two parts, the first exact in a few bits
    r = kpd__fmadd(n, kpd__set(2.12194440e-4f), r);
    p = kpd__set(kpd__exp_c[4]);
    KPD__UNROLL
    for (int i = 3; i >= 0; i--) p = kpd__fmadd(p, r, kpd__set(kpd__exp_c[i]));
    p = kpd__fmadd(kpd__fmadd(p, r, one), r, one);
    return kpd__pow2(p, t);
}

// Phi, the normal distribution function, by one polynomial of t; exactly symmetric about 1/2, constant beyond +-limit. Of the
// short one, for what is rounded next, t is x^2 as it stands.
KPD__INLINE kpd__v KPD__NAME(within)(kpd__v x, float limit) {
    return kpd__vmin(kpd__set(limit), kpd__vmax(kpd__set(-limit), x));
}
KPD__INLINE kpd__v KPD__NAME(phi_by)(kpd__v x, kpd__v t, const float *coefficients, int degree) {
    kpd__v p = kpd__set(coefficients[degree]);
    KPD__UNROLL
    for (int i = degree - 1; i >= 0; i--) p = kpd__fmadd(p, t, kpd__set(coefficients[i]));
    return kpd__fmadd(x, p, kpd__set(0.5f));
}
KPD__INLINE kpd__v kpd__phi(kpd__v x) {
    x = KPD__NAME(within)(x, 5.4f);
    return KPD__NAME(phi_by)(x, kpd__fmadd(kpd__mul(x, x), kpd__set(2 / (5.4f * 5.4f)), kpd__set(-1.0f)), kpd__phi_c, 15);
}
KPD__INLINE kpd__v KPD__NAME(short_phi)(kpd__v x) {
    x = KPD__NAME(within)(x, 4.0f);
    return KPD__NAME(phi_by)(x, kpd__mul(x, x), kpd__short_phi_c, 6);
}

// tanh: a polynomial where |x| < .625, else 1 - 2 / (exp(2|x|) + 1) with the sign of x.
KPD__INLINE kpd__v kpd__tanh(kpd__v x) {
    const kpd__v zero = kpd__set(0), one = kpd__set(1.0f);
    kpd__v minus = kpd__sub(zero, x), a = kpd__vmax(minus, x), u = kpd__mul(x, x), s, big;
    s = kpd__set(kpd__tanh_c[4]);
    KPD__UNROLL
    for (int i = 3; i >= 0; i--) s = kpd__fmadd(s, u, kpd__set(kpd__tanh_c[i]));
    s = kpd__fmadd(kpd__mul(x, u), s, x);
    big = kpd__sub(one, kpd__div(kpd__set(2.0f), kpd__add(kpd__exp(kpd__add(a, a)), one)));
    big = kpd__pick_lt(x, zero, kpd__sub(zero, big), big);
    return kpd__pick_lt(a, kpd__set(0.625f), s, big);
}

KPD__INLINE kpd__v kpd__activate(int f, kpd__v x) {
    kpd__v half, y;
    switch (f) {
    case KPD_GELU: return kpd__mul(x, kpd__phi(x));
    case KPD__SHORT_GELU: return kpd__mul(x, KPD__NAME(short_phi)(x));
    case KPD_GELU_TANH:
        half = kpd__mul(kpd__set(0.5f), x);
        y = kpd__mul(kpd__set(0.797884561f), kpd__fmadd(kpd__mul(kpd__set(0.044715f), x), kpd__mul(x, x), x));
        return kpd__fmadd(half, kpd__tanh(y), half);
    case KPD_RELU: return kpd__vmax(x, kpd__set(0));
    case KPD_TANH: return kpd__tanh(x);
    default: return x;
    }
}

// Mean of a row, then 1 / sqrt(var + eps), both from trees.
KPD__INLINE float kpd__mean(const float *x, size_t width) {
    kpd__tree sum = kpd__tree_zero();
#define KPD__FULL(acc, i) acc = kpd__add(acc, kpd__load(x + (i)))
#define KPD__PART(acc, i, n) acc = kpd__add(acc, kpd__load_n(x + (i), n))
    KPD__TREE(sum, width, KPD__FULL, KPD__PART);
#undef KPD__FULL
#undef KPD__PART
    return kpd__tree_sum(sum) / (float)width;
}
KPD__INLINE float kpd__inverse_deviation(const float *x, size_t width, float mu, float eps) {
    const kpd__v mean = kpd__set(mu);
    kpd__tree square = kpd__tree_zero();
#define KPD__FULL(acc, i) do { kpd__v d_ = kpd__sub(kpd__load(x + (i)), mean); acc = kpd__fmadd(d_, d_, acc); } while (0)
#define KPD__PART(acc, i, n) do { float tail_[16]; kpd__v d_; kpd__store(tail_, kpd__sub(kpd__load_n(x + (i), n), mean));    \
        d_ = kpd__load_n(tail_, n); acc = kpd__fmadd(d_, d_, acc); } while (0)
    KPD__TREE(square, width, KPD__FULL, KPD__PART);
#undef KPD__FULL
#undef KPD__PART
    return 1.0f / sqrtf(kpd__tree_sum(square) / (float)width + eps);
}

// x += y; returns the mean of x.
KPD__INLINE float KPD__NAME(add_row)(const float *y, size_t width, float *x) {
    kpd__tree sum = kpd__tree_zero();
#define KPD__PART(acc, i, n)                                                                                                   \
    do {                                                                                                                       \
        kpd__v s_ = kpd__add(kpd__load_n(x + (i), n), kpd__load_n(y + (i), n));                                                \
        acc = kpd__add(acc, s_);                                                                                               \
        kpd__store_n(x + (i), n, s_);                                                                                          \
    } while (0)
#define KPD__FULL(acc, i) KPD__PART(acc, i, 16)
    KPD__TREE(sum, width, KPD__FULL, KPD__PART);
#undef KPD__FULL
#undef KPD__PART
    return kpd__tree_sum(sum) / (float)width;
}

// (x - mean) scale gamma + beta of columns [i, i + n) of rows.
KPD__INLINE void KPD__NAME(norm_part)(const kpd__norm *p, const float *mean, const float *scale, size_t rows, size_t width,
                                      size_t i, size_t n, float *x) {
    const kpd__v gamma = kpd__load_n(p->gamma + i, n), beta = kpd__load_n(p->beta + i, n);
    for (size_t r = 0; r < rows; r++, x += width) {
        kpd__v z = kpd__mul(kpd__sub(kpd__load_n(x + i, n), kpd__set(mean[r])), kpd__set(scale[r]));
        kpd__store_n(x + i, n, kpd__fmadd(z, gamma, beta));
    }
}

// x += y, unless y is NULL; then each row's mean and inverse deviation.
KPD__INLINE void KPD__NAME(row_moments)(const kpd__norm *p, const float *y, size_t n, size_t width, float *x, float *mean,
                                        float *scale) {
    for (size_t r = 0; r < n; r++)
        mean[r] = y ? KPD__NAME(add_row)(y + r * width, width, x + r * width) : kpd__mean(x + r * width, width);
    for (size_t r = 0; r < n; r++) scale[r] = kpd__inverse_deviation(x + r * width, width, mean[r], p->eps);
}

// Layer norm of rows of x + y, or of x where y is NULL, into x. Some rows take each step before the next: alone, a row would
// wait for its sums.
static void KPD__NAME(add_norm)(const kpd__norm *p, const float *y, size_t rows, size_t width, float *x) {
    for (size_t at = 0, n; at < rows; at += n, x += n * width) {
        float mean[KPD__NORM_ROWS], scale[KPD__NORM_ROWS];
        size_t i = 0;
        n = kpd__min(KPD__NORM_ROWS, rows - at);
        KPD__NAME(row_moments)(p, y ? y + at * width : NULL, n, width, x, mean, scale);
        if (n == KPD__NORM_ROWS)
            for (; i + 16 <= width; i += 16) KPD__NAME(norm_part)(p, mean, scale, KPD__NORM_ROWS, width, i, 16, x);
        for (; i < width; i += 16) KPD__NAME(norm_part)(p, mean, scale, n, width, i, kpd__part_n(i, width), x);
    }
}

// n (1 to 16) values of a table's row from element `at` on.
KPD__INLINE kpd__v kpd__table_row(const kpd__table *t, size_t at, size_t n) {
    uint16_t last[16] = {0};
    if (t->f32) return kpd__load_n(t->f32 + at, n);
    if (n == 16) return kpd__load_half(t->half + at);
    memcpy(last, t->half + at, n * sizeof *last);
    return kpd__load_half(last);
}

// Rows of words lie anywhere in memory: one is asked for while the one before is at work.
KPD__INLINE void KPD__NAME(prefetch_row)(const kpd__table *t, size_t at, size_t n) {
    size_t size = t->f32 ? sizeof *t->f32 : sizeof *t->half;
    const char *row = (const char *)(t->f32 ? (const void *)(t->f32 + at) : (const void *)(t->half + at));
    for (size_t byte = 0; byte < n * size; byte += 64) KPD__PREFETCH(row, byte);
}

// x[t] = norm(word[ids[t]] + type[types[t]] + position[t]), in this order of addition.
static void KPD__NAME(embed)(const kpd__embedding *e, const int32_t *ids, const int32_t *types, size_t n_tokens, float *x) {
    const size_t h = e->width;
    for (size_t t = 0; t < n_tokens; t++) {
        size_t w = (size_t)ids[t] * h, y = (size_t)types[t] * h, p = t * h;
        if (t + 1 < n_tokens) KPD__NAME(prefetch_row)(&e->word, (size_t)ids[t + 1] * h, h);
        for (size_t i = 0; i < h; i += 16) {
            size_t n = kpd__part_n(i, h);
            kpd__v sum = kpd__add(kpd__table_row(&e->word, w + i, n), kpd__table_row(&e->type, y + i, n));
            kpd__store_n(x + p + i, n, kpd__add(sum, kpd__table_row(&e->position, p + i, n)));
        }
    }
    KPD__NAME(add_norm)(&e->norm, NULL, n_tokens, h, x);
}

static float KPD__NAME(dot)(const float *x, const float *y, size_t n) {
    kpd__tree t = kpd__tree_zero();
#define KPD__FULL(acc, i) acc = kpd__fmadd(kpd__load(x + (i)), kpd__load(y + (i)), acc)
#define KPD__PART(acc, i, m) acc = kpd__fmadd(kpd__load_n(x + (i), m), kpd__load_n(y + (i), m), acc)
    KPD__TREE(t, n, KPD__FULL, KPD__PART);
#undef KPD__FULL
#undef KPD__PART
    return kpd__tree_sum(t);
}

static void KPD__NAME(normalize)(const float *x, size_t n, float *out) {
    float length = sqrtf(KPD__NAME(dot)(x, x, n));
    kpd__v d = kpd__set(length > 1e-12f ? length : 1e-12f);
    for (size_t i = 0; i < n; i += 16)
        kpd__store_n(out + i, kpd__part_n(i, n), kpd__div(kpd__load_n(x + i, kpd__part_n(i, n)), d));
}

// Per column a chain over the tokens; see kpd_pooling for the formulas. x: [T, H].
static void KPD__NAME(pool)(kpd_pooling kind, const float *x, size_t n_tokens, size_t width, float *out) {
    size_t first = kind == KPD_POOL_LAST ? n_tokens - 1 : 0, end = kind == KPD_POOL_CLS ? 1 : n_tokens;
    float count = (float)n_tokens, divisor = kind == KPD_POOL_MEAN ? count : kind == KPD_POOL_SQRT_LEN ? sqrtf(count) : 1;
    if (kind == KPD_POOL_WEIGHTED) divisor = (float)((uint64_t)n_tokens * (n_tokens + 1) / 2);
    for (size_t i = 0; i < width; i += 16) {
        size_t n = kpd__part_n(i, width);
        kpd__v acc = kpd__load_n(x + first * width + i, n);
        for (size_t t = first + 1; t < end; t++) {
            kpd__v row = kpd__load_n(x + t * width + i, n);
            if (kind == KPD_POOL_MAX) acc = kpd__vmax(acc, row);
            else acc = kpd__fmadd(kpd__set(kind == KPD_POOL_WEIGHTED ? (float)(t + 1) : 1), row, acc);
        }
        kpd__store_n(out + i, n, kpd__div(acc, kpd__set(divisor)));
    }
}

// >>gemm  Chains. A micro-kernel holds a tile of R rows by 16 columns in registers and walks k once; the same one serves
// weights in panels, attention and index scans. Every result is one chain whatever R is, so tails need no care.

// tile[r][0..15] = sum over k of f(a[r][k], b[k][0..15]); rows of a are lda apart, rows of b ldb.
#define KPD__ACC(r) kpd__v c##r = kpd__set(0);
#define KPD__STORE(r) kpd__store(tile + r * 16, c##r);
#define KPD__NEXT(r) KPD__THREE_STEP(r, 1)
#define KPD__DOT_STEP(r) c##r = kpd__fmadd(kpd__set(*KPD__THREE_AT(r)), w, c##r);
#define KPD__L2_STEP(r) { kpd__v d = kpd__sub(kpd__set(*KPD__THREE_AT(r)), w); c##r = kpd__fmadd(d, d, c##r); }
#define KPD__MICRO(name, R, STEP)                                                                                      \
    static void KPD__NAME(name##R)(const float *a, size_t lda, const float *b, size_t ldb, size_t n_k, float *tile) {  \
        const float *three[(R + 2) / 3];                                                                               \
        const size_t next = n_k * ldb * sizeof *b;                                                                     \
        KPD__ROW_LIST_##R(KPD__ACC)                                                                                    \
        KPD__ROW_LIST_##R(KPD__THREE)                                                                                  \
        for (size_t k = 0; k < n_k; k++, b += ldb) {                                                                   \
            kpd__v w = kpd__load(b);                                                                                   \
            KPD__PREFETCH(b, next);                                                                                    \
            KPD__ROW_LIST_##R(STEP)                                                                                    \
            KPD__ROW_LIST_##R(KPD__NEXT)                                                                               \
        }                                                                                                              \
        KPD__ROW_LIST_##R(KPD__STORE)                                                                                  \
    }
#define KPD__MICRO_DOT(R) KPD__MICRO(dot, R, KPD__DOT_STEP)
KPD__EACH_HEIGHT(KPD__MICRO_DOT)
KPD__MICRO(l2_, 1, KPD__L2_STEP) KPD__MICRO(l2_, 4, KPD__L2_STEP)

// The same with b in bf16, [n_k/2][16][2]: widened, so that it is the chain of f32.
#define KPD__MICRO_HALF(R)                                                                                             \
    static void KPD__NAME(half##R)(const float *a, size_t lda, const uint16_t *b, size_t n_k, float *tile) {           \
        const float *three[(R + 2) / 3];                                                                               \
        KPD__ROW_LIST_##R(KPD__ACC)                                                                                    \
        KPD__ROW_LIST_##R(KPD__THREE)                                                                                  \
        for (size_t k = 0; k < n_k; k += 2, b += 32) {                                                                 \
            kpd__v w = kpd__half_even(b);                                                                              \
            KPD__ROW_LIST_##R(KPD__DOT_STEP)                                                                           \
            if (k + 1 == n_k) break;                                                                                   \
            KPD__ROW_LIST_##R(KPD__NEXT)                                                                               \
            w = kpd__half_odd(b);                                                                                      \
            KPD__ROW_LIST_##R(KPD__DOT_STEP)                                                                           \
            KPD__ROW_LIST_##R(KPD__NEXT)                                                                               \
        }                                                                                                              \
        KPD__ROW_LIST_##R(KPD__STORE)                                                                                  \
    }
KPD__EACH_HEIGHT(KPD__MICRO_HALF)
#undef KPD__MICRO
#undef KPD__MICRO_DOT
#undef KPD__MICRO_HALF
#undef KPD__ACC
#undef KPD__STORE
#undef KPD__L2_STEP

#if KPD__LEVEL == 3
// The same with two panels [n_k][16] one behind the other: each number of a serves two sums, so that loads are half as many as
// multiply-adds. out = the sums + bias, rows ldo apart, of the second panel `next` behind. ahead: bytes from b to the panels
// that come next, or 0.
// The empty assembly keeps the compiler from reading each number of a twice, once for each multiply-add.
#ifdef KPD__EMULATED
#define KPD__HIDE_VECTOR(v)
#else
#define KPD__HIDE_VECTOR(v) __asm__("" : "+v"(v))
#endif
#define KPD__PAIR_ACC(r) kpd__v c##r = kpd__set(0), d##r = c##r;
#define KPD__PAIR_OUT(r) __asm__ volatile("prefetchw %0\n\tprefetchw %1" : : "m"(out[r * ldo]), "m"(out[r * ldo + next]));
#define KPD__BOTH_STEP(r, number) {                                                                                    \
        kpd__v x = kpd__set(number);                                                                                   \
        KPD__HIDE_VECTOR(x);                                                                                           \
        c##r = kpd__fmadd(x, w, c##r);                                                                                 \
        d##r = kpd__fmadd(x, v, d##r);                                                                                 \
    }
#define KPD__PAIR_STEP(r) KPD__BOTH_STEP(r, *KPD__THREE_AT(r))
#define KPD__PAIR_STORE(r)                                                                                             \
    kpd__store(out + r * ldo, kpd__add(c##r, bias[0]));                                                                \
    kpd__store(out + r * ldo + next, kpd__add(d##r, bias[1]));
#define KPD__PAIR(R)                                                                                                   \
    static void KPD__NAME(pair##R)(const float *a, size_t lda, const float *b, size_t n_k, size_t ahead,               \
                                   const kpd__v bias[2], float *out, size_t ldo, size_t next) {                        \
        const float *three[(R + 2) / 3], *other = b + 16 * n_k;                                                        \
        KPD__ROW_LIST_##R(KPD__PAIR_ACC)                                                                               \
        KPD__ROW_LIST_##R(KPD__THREE)                                                                                  \
        KPD__ROW_LIST_##R(KPD__PAIR_OUT)                                                                               \
        for (size_t k = 0; k < n_k; k++, b += 16, other += 16) {                                                       \
            kpd__v w = kpd__load(b), v = kpd__load(other);                                                             \
            if (ahead) { KPD__PREFETCH(b, ahead); KPD__PREFETCH(other, ahead); }                                       \
            KPD__ROW_LIST_##R(KPD__PAIR_STEP)                                                                          \
            KPD__ROW_LIST_##R(KPD__NEXT)                                                                               \
        }                                                                                                              \
        KPD__ROW_LIST_##R(KPD__PAIR_STORE)                                                                             \
    }
KPD__EACH_HEIGHT(KPD__PAIR)
#undef KPD__PAIR
#undef KPD__PAIR_ACC
#undef KPD__PAIR_OUT
#undef KPD__PAIR_STEP
#undef KPD__PAIR_STORE
#endif
#undef KPD__DOT_STEP
#undef KPD__NEXT

// tile = rows of a (1 to KPD__ROWS of them) times one panel.
#define KPD__ENTRY(R) KPD__NAME(dot##R),
KPD__INLINE void kpd__micro(size_t rows, const float *a, size_t lda, const float *b, size_t ldb, size_t n_k, float *tile) {
    static void (*const micro[])(const float *a, size_t lda, const float *b, size_t ldb, size_t n_k,
                                 float *tile) = {KPD__EACH_HEIGHT(KPD__ENTRY)};
    micro[rows - 1](a, lda, b, ldb, n_k, tile);
}
#undef KPD__ENTRY

#define KPD__ENTRY(R) KPD__NAME(half##R),
KPD__INLINE void kpd__micro_half(size_t rows, const float *a, size_t lda, const uint16_t *b, size_t n_k, float *tile) {
    static void (*const micro[])(const float *a, size_t lda, const uint16_t *b, size_t n_k,
                                 float *tile) = {KPD__EACH_HEIGHT(KPD__ENTRY)};
    micro[rows - 1](a, lda, b, n_k, tile);
}
#undef KPD__ENTRY

// The micro-kernel of sums over rows: c[r][0..15] += sum over t of a[t][r] b[t][0..15], each element one chain that goes on
// from what c holds. Rows of a are lda apart, of b ldb, of c ldc.
#define KPD__OUTER_ACC(r) kpd__v c##r = kpd__load(c + r * ldc);
#define KPD__OUTER_STEP(r) c##r = kpd__fmadd(kpd__set(a[r]), w, c##r);
#define KPD__OUTER_STORE(r) kpd__store(c + r * ldc, c##r);
#define KPD__OUTER(R)                                                                                                          \
    static void KPD__NAME(outer##R)(const float *a, size_t lda, const float *b, size_t ldb, size_t n, float *c, size_t ldc) {  \
        KPD__ROW_LIST_##R(KPD__OUTER_ACC)                                                                                      \
        for (size_t t = 0; t < n; t++, a += lda, b += ldb) { kpd__v w = kpd__load(b); KPD__ROW_LIST_##R(KPD__OUTER_STEP) }     \
        KPD__ROW_LIST_##R(KPD__OUTER_STORE)                                                                                    \
    }
KPD__EACH_HEIGHT(KPD__OUTER)
#undef KPD__OUTER
#undef KPD__OUTER_ACC
#undef KPD__OUTER_STEP
#undef KPD__OUTER_STORE

#define KPD__ENTRY(R) KPD__NAME(outer##R),
KPD__INLINE void kpd__outer(size_t rows, const float *a, size_t lda, const float *b, size_t ldb, size_t n, float *c,
                            size_t ldc) {
    static void (*const outer[])(const float *a, size_t lda, const float *b, size_t ldb, size_t n, float *c,
                                 size_t ldc) = {KPD__EACH_HEIGHT(KPD__ENTRY)};
    outer[rows - 1](a, lda, b, ldb, n, c, ldc);
}
#undef KPD__ENTRY

#if KPD__LEVEL == 3
// The same with two panels b and other, each [n][16], for columns 0 to 31 of c.
#define KPD__OUTER_ACC(r) kpd__v c##r = kpd__load(c + r * ldc), d##r = kpd__load(c + r * ldc + 16);
#define KPD__OUTER_STEP(r) KPD__BOTH_STEP(r, a[r])
#define KPD__OUTER_STORE(r) kpd__store(c + r * ldc, c##r); kpd__store(c + r * ldc + 16, d##r);
#define KPD__OUTER(R)                                                                                                  \
    static void KPD__NAME(outer_pair##R)(const float *a, size_t lda, const float *b, const float *other, size_t n,     \
                                         float *c, size_t ldc) {                                                       \
        KPD__ROW_LIST_##R(KPD__OUTER_ACC)                                                                              \
        for (size_t t = 0; t < n; t++, a += lda, b += 16, other += 16) {                                               \
            kpd__v w = kpd__load(b), v = kpd__load(other);                                                             \
            KPD__ROW_LIST_##R(KPD__OUTER_STEP)                                                                         \
        }                                                                                                              \
        KPD__ROW_LIST_##R(KPD__OUTER_STORE)                                                                            \
    }
KPD__EACH_HEIGHT(KPD__OUTER)
#undef KPD__OUTER
#undef KPD__OUTER_ACC
#undef KPD__OUTER_STEP
#undef KPD__OUTER_STORE
#undef KPD__BOTH_STEP
#undef KPD__HIDE_VECTOR

#define KPD__ENTRY(R) KPD__NAME(outer_pair##R),
KPD__INLINE void KPD__NAME(outer_pair)(size_t rows, const float *a, size_t lda, const float *b, const float *other, size_t n,
                                       float *c, size_t ldc) {
    static void (*const outer[])(const float *a, size_t lda, const float *b, const float *other, size_t n, float *c,
                                 size_t ldc) = {KPD__EACH_HEIGHT(KPD__ENTRY)};
    outer[rows - 1](a, lda, b, other, n, c, ldc);
}
#undef KPD__ENTRY
#endif

// y = f(tile + bias), the first n columns.
KPD__INLINE void kpd__finish(const float *tile, size_t rows, size_t n, kpd__v bias, int f, float *y, size_t ldy) {
    for (size_t r = 0; r < rows; r++) {
        kpd__v v = kpd__activate(f, kpd__add(kpd__load(tile + r * 16), bias));
        if (n == 16) kpd__store(y + r * ldy, v);
        else kpd__store_n(y + r * ldy, n, v);
    }
}

// The same with an activation that is not a constant: the switch goes outside the loops.
static void kpd__finish_by(const float *tile, size_t rows, size_t n, kpd__v bias, int f, float *y, size_t ldy) {
    switch (f) {
    case KPD_GELU: kpd__finish(tile, rows, n, bias, KPD_GELU, y, ldy); break;
    case KPD__SHORT_GELU: kpd__finish(tile, rows, n, bias, KPD__SHORT_GELU, y, ldy); break;
    case KPD_GELU_TANH: kpd__finish(tile, rows, n, bias, KPD_GELU_TANH, y, ldy); break;
    case KPD_RELU: kpd__finish(tile, rows, n, bias, KPD_RELU, y, ldy); break;
    case KPD_TANH: kpd__finish(tile, rows, n, bias, KPD_TANH, y, ldy); break;
    default: kpd__finish(tile, rows, n, bias, KPD_IDENTITY, y, ldy);
    }
}

KPD__INLINE kpd__v kpd__bias(const kpd__matrix *w, size_t col) { return w->bias ? kpd__load(w->bias + col) : kpd__set(0); }

// Asks for the lines that results of some rows and panels go to, before the products: else stores wait for them.
KPD__INLINE void KPD__NAME(prefetch_results)(const float *y, size_t ldy, size_t rows, size_t n_panels) {
    for (size_t r = 0; r < rows; r++)
        for (size_t p = 0; p < n_panels; p++) KPD__PREFETCH(y + r * ldy, p * 64);
}

// One panel of columns for a block of rows.
KPD__INLINE void kpd__gemm_panel(const kpd__matrix *w, size_t col, const float *x, size_t ldx, size_t rows, float *y,
                                 size_t ldy) {
    float tile[KPD__ROWS * 16];
    kpd__v bias = kpd__bias(w, col);
    for (size_t r = 0, step = kpd__even_rows(rows, w->half ? KPD__HALF_ROWS : KPD__ROWS); r < rows; r += step) {
        size_t m = rows - r < step ? rows - r : step;
        KPD__NAME(prefetch_results)(y + r * ldy + col, ldy, m, 1);
        if (w->half) kpd__micro_half(m, x + r * ldx, ldx, w->half + col * kpd__round_up(w->k, 32), w->k, tile);
        else kpd__micro(m, x + r * ldx, ldx, w->panels + col * w->k, 16, w->k, tile);
        kpd__finish_by(tile, m, kpd__part_n(col, w->n), bias, w->activation, y + r * ldy + col, ldy);
    }
}

// y = f(x W^T + bias). Rows go in blocks whose x stays in half of a small L2, so that each panel is read from L1.
static void KPD__NAME(gemm)(const kpd__matrix *w, const float *x, size_t ldx, size_t rows, float *y, size_t ldy) {
    const size_t block = kpd__even_rows(rows, kpd__max(192 * 1024 / sizeof(float) / w->k, KPD__ROWS));
    for (size_t r = 0; r < rows; r += block) {
        size_t m = rows - r < block ? rows - r : block;
        for (size_t col = 0; col < w->n; col += 16) kpd__gemm_panel(w, col, x + r * ldx, ldx, m, y + r * ldy, ldy);
    }
}

#if KPD__LEVEL == 3
// Rows of x [rows, k] times the panels of columns [col, col + 32), all of them whole.
static void KPD__NAME(gemm_pair)(const kpd__matrix *w, size_t col, const float *x, size_t ldx, size_t rows, float *y,
                                 size_t ldy) {
#define KPD__ENTRY(R) KPD__NAME(pair##R),
    static void (*const pair[])(const float *a, size_t lda, const float *b, size_t n_k, size_t ahead, const kpd__v bias[2],
                                float *out, size_t ldo, size_t next) = {KPD__EACH_HEIGHT(KPD__ENTRY)};
#undef KPD__ENTRY
    const kpd__v bias[2] = {kpd__bias(w, col), kpd__bias(w, col + 16)}, added = kpd__set(-0.0f);   // x + -0 is x
    const bool direct = w->activation == KPD_IDENTITY;
    float tile[2][KPD__ROWS * 16];
    for (size_t r = 0, step = kpd__even_rows(rows, KPD__ROWS), m; r < rows; r += m, y += m * ldy) {
        const size_t ahead = r ? 0 : w->k * 32 * sizeof *w->panels;   // once: the next pair comes into L2 with the first rows
        m = kpd__min(step, rows - r);
        pair[m - 1](x + r * ldx, ldx, w->panels + col * w->k, w->k, ahead, bias, direct ? y : tile[0], direct ? ldy : 16,
                    direct ? 16 : KPD__ROWS * 16);
        if (direct) continue;
        kpd__finish_by(tile[0], m, 16, added, w->activation, y, ldy);
        kpd__finish_by(tile[1], m, 16, added, w->activation, y + 16, ldy);
    }
}

// gemm by pairs of panels, for processors of two multiply-adds a cycle, which 14 by 1 sums cannot feed. The same bits: each sum
// is still one chain. Blocks of rows may be as tall as half of an L2 of 2 MB.
static void KPD__NAME(gemm_pairs)(const kpd__matrix *w, const float *x, size_t ldx, size_t rows, float *y, size_t ldy) {
    const size_t block = kpd__even_rows(rows, kpd__max(1024 * 1024 / sizeof(float) / w->k, KPD__ROWS)), whole = w->n / 32 * 32;
    if (w->half) { KPD__NAME(gemm)(w, x, ldx, rows, y, ldy); return; }
    for (size_t r = 0, m; r < rows; r += m) {
        m = kpd__min(block, rows - r);
        for (size_t col = 0; col < whole; col += 32)
            KPD__NAME(gemm_pair)(w, col, x + r * ldx, ldx, m, y + r * ldy + col, ldy);
        for (size_t col = whole; col < w->n; col += 16) kpd__gemm_panel(w, col, x + r * ldx, ldx, m, y + r * ldy, ldy);
    }
}
#endif

// >>quantised  Products of int8 weights, and of bf16 where a level has an instruction for them, see >>format. int8 rounds each
// row of x to u8, sums whole numbers, and scales the sums: the same bits on every level.

// Where a row of groups begins, and how far apart its groups are.
KPD__INLINE uint8_t *KPD__NAME(operand_row)(kpd__operand operand, void *rows, size_t r, size_t row_bytes, size_t *step) {
    *step = operand == KPD__TILES ? 1024 : operand == KPD__WORDS ? 128 : 64;
    if (operand == KPD__TILES) return (uint8_t *)rows + r / 16 * 16 * row_bytes + r % 16 * 64;
    return (uint8_t *)rows + r * row_bytes;
}

KPD__INLINE void KPD__NAME(store_operand)(kpd__operand operand, uint8_t *to, kpd__v u, int shift) {
#if KPD__LEVEL == 2 || KPD__LEVEL == 3
    if (operand == KPD__WORDS) { kpd__store_words((uint16_t *)(void *)to, u, shift); return; }
#endif
    (void)operand;
    kpd__store_bytes(to, u, shift);
}

// x * inscale of 16 columns from the i-th, zeros behind the k-th. whole: the k-th is not among them, a constant.
KPD__INLINE kpd__v KPD__NAME(scaled)(const float *inscale, size_t k, const float *x, size_t i, bool whole) {
    kpd__v t = whole ? kpd__load(x + i) : kpd__load_n(x + i, kpd__part_n(i, k));
    return inscale ? kpd__mul(t, kpd__load(inscale + i)) : t;
}

// The largest and least of four parts of a row, and of 0; 64 columns more of it.
typedef struct KPD__NAME(limits) { kpd__v most[4], least[4]; } KPD__NAME(limits);
KPD__INLINE void KPD__NAME(limits_of)(KPD__NAME(limits) *l, const float *inscale, size_t k, const float *x, size_t i,
                                      bool whole) {
    KPD__UNROLL
    for (size_t j = 0; j < 4; j++) {
        kpd__v t = KPD__NAME(scaled)(inscale, k, x, i + 16 * j, whole);
        l->most[j] = kpd__vmax(t, l->most[j]);
        l->least[j] = kpd__vmin(t, l->least[j]);
    }
}

// How one row of x becomes u: its step and zero, and *by, what it is multiplied by.
KPD__INLINE void KPD__NAME(range)(const kpd__matrix *w, const float *x, float *scale, int32_t *zero, float *by) {
    const float *inscale = w->inscale, levels = w->rounding == KPD__SIGNED ? 127 : w->rounding == KPD__OFFSET ? 255 : 32767;
    const size_t k = w->k;
    KPD__NAME(limits) l;
    float up, down, range;
    size_t i = 0;
    for (size_t j = 0; j < 4; j++) l.most[j] = l.least[j] = kpd__set(0);
    if (inscale) for (; i + 64 <= k; i += 64) KPD__NAME(limits_of)(&l, inscale, k, x, i, true);
    else for (; i + 64 <= k; i += 64) KPD__NAME(limits_of)(&l, NULL, k, x, i, true);
    if (i < k) KPD__NAME(limits_of)(&l, inscale, k, x, i, false);
    up = kpd__hmax(kpd__vmax(kpd__vmax(l.most[0], l.most[1]), kpd__vmax(l.most[2], l.most[3])));
    down = kpd__hmax(kpd__sub(kpd__set(0), kpd__vmin(kpd__vmin(l.least[0], l.least[1]), kpd__vmin(l.least[2], l.least[3]))));
    range = w->rounding == KPD__OFFSET ? up + down : up > down ? up : down;
    *by = range < KPD__NOTHING ? 0 : levels / range;
    *scale = range < KPD__NOTHING ? 0 : range / levels;
    *zero = w->rounding == KPD__SIGNED ? 128 : w->rounding == KPD__SIGNED_16 ? 32768
          : (int32_t)kpd__to_bits(down * *by + KPD__MAGIC) & 0xFFFF;
}

// 64 columns of x as u: times f, plus offset, cut at most. A NaN becomes 0; what is cut else is zero's rounding.
KPD__INLINE void KPD__NAME(round_group)(const float *inscale, size_t k, const float *x, size_t i, bool whole, kpd__v f,
                                        kpd__v offset, kpd__v most, kpd__operand operand, uint8_t *low, uint8_t *high) {
    const size_t unit = operand == KPD__WORDS ? 2 : 1;
    KPD__UNROLL
    for (size_t j = 0; j < 64; j += 16) {
        kpd__v t = KPD__NAME(scaled)(inscale, k, x, i + j, whole);
        t = kpd__vmin(kpd__vmax(kpd__fmadd(t, f, offset), kpd__set(KPD__MAGIC)), most);
        KPD__NAME(store_operand)(operand, low + j * unit, t, 0);
        if (high) KPD__NAME(store_operand)(operand, high + j * unit, t, 8);
    }
}

// One row of x as u, its groups a step apart. low: the u8, or the low bytes of 16 bits; high: the high ones, or NULL.
KPD__INLINE void KPD__NAME(round_row)(const kpd__matrix *w, kpd__operand operand, const float *x, float by, int32_t zero,
                                      uint8_t *low, uint8_t *high, size_t step) {
    const kpd__v f = kpd__set(by), offset = kpd__set(KPD__MAGIC + (float)zero),
                 most = kpd__set(KPD__MAGIC + (w->rounding == KPD__SIGNED_16 ? 65535 : 255));
    const float *inscale = w->inscale;
    const size_t k = w->k;
    size_t i = 0;
    if (high)
        for (; i + 64 <= k; i += 64, low += step, high += step)
            KPD__NAME(round_group)(inscale, k, x, i, true, f, offset, most, operand, low, high);
    else if (inscale)
        for (; i + 64 <= k; i += 64, low += step)
            KPD__NAME(round_group)(inscale, k, x, i, true, f, offset, most, operand, low, NULL);
    else
        for (; i + 64 <= k; i += 64, low += step)
            KPD__NAME(round_group)(NULL, k, x, i, true, f, offset, most, operand, low, NULL);
    if (i < k) KPD__NAME(round_group)(inscale, k, x, i, false, f, offset, most, operand, low, high);
}

// y = f(float(sum (u - zero) w) * (step * scale[n]) + bias), of panel p: the product of the scales is rounded, the rest is one
// fused step. kind and f are constants. Rows of KPD__SIGNED all have one zero.
KPD__INLINE void KPD__NAME(rescale_by)(kpd__rounding kind, int f, const kpd__block *b, size_t p, float *y, size_t ldy) {
    const size_t col = b->col + 16 * p, at = kpd__sums_at(b, p);
    const int32_t *colsum = b->w->colsum + col, *low = b->sums + at, *high = b->high + at, *zero = b->zero + b->row;
    const float *step = b->step + b->row;
    const kpd__v bias = kpd__bias(b->w, col), by = kpd__load(b->w->scale + col), one = kpd__times(colsum, zero[0]);
    for (size_t r = 0; r < b->rows; r++) {
        kpd__v sum = kind == KPD__SIGNED_16 ? kpd__wide(low + r * 16, high + r * 16, colsum)
                   : kpd__corrected(low + r * 16, kind == KPD__SIGNED ? one : kpd__times(colsum, zero[r]));
        kpd__store(y + r * ldy, kpd__activate(f, kpd__fmadd(sum, kpd__mul(kpd__set(step[r]), by), bias)));
    }
}

// What is no whole panel, or has another activation, takes its end in the place of the sums.
static void KPD__NAME(rescale)(const kpd__block *b, size_t p) {
    const kpd__matrix *w = b->w;
    const size_t col = b->col + 16 * p, n = kpd__part_n(col, w->n);
    const bool gelu = w->activation == KPD__SHORT_GELU && w->rounding == KPD__SIGNED;
    const bool done = n == 16 && (gelu || w->activation == KPD_IDENTITY);
    float *sums = (float *)(void *)b->sums + kpd__sums_at(b, p), *results = b->y.floats + b->row * b->y.ld + col;
    float *y = done ? results : sums;
    const size_t ld = done ? b->y.ld : 16;
    if (done && gelu) KPD__NAME(rescale_by)(KPD__SIGNED, KPD__SHORT_GELU, b, p, y, ld);
    else if (w->rounding == KPD__SIGNED) KPD__NAME(rescale_by)(KPD__SIGNED, KPD_IDENTITY, b, p, y, ld);
    else if (w->rounding == KPD__OFFSET) KPD__NAME(rescale_by)(KPD__OFFSET, KPD_IDENTITY, b, p, y, ld);
    else KPD__NAME(rescale_by)(KPD__SIGNED_16, KPD_IDENTITY, b, p, y, ld);
    if (!done) kpd__finish_by(sums, b->rows, n, kpd__set(0), w->activation, results, b->y.ld);
}

#if KPD__LEVEL == 3 || (KPD__LEVEL == 4 && defined(KPD__ARM_I8MM))
#define KPD__ROUNDS_TO_HALF   // some processors of this level have an instruction for products of bf16
#endif

// store_halves rounds the lanes of a, then of b, to bf16, to nearest even, and a NaN stays one; store_pairs does it to lanes of
// a and b in turn.
#if KPD__LEVEL == 3
#ifndef KPD__EMULATED   // written out, since the intrinsic wants a function of another target; subnormal numbers become 0
KPD__INLINE __m512i KPD__NAME(halves)(kpd__v a, kpd__v b) {
    __m512i r;
    __asm__("vcvtne2ps2bf16 %1, %2, %0" : "=v"(r) : "v"(a), "v"(b));
    return r;
}
#endif
KPD__INLINE void KPD__NAME(store_halves)(uint16_t *p, kpd__v a, kpd__v b) { _mm512_storeu_si512(p, KPD__NAME(halves)(a, b)); }
KPD__INLINE void KPD__NAME(store_pairs)(uint16_t *p, kpd__v a, kpd__v b) {
    static const uint16_t in_turn[32] = {0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
                                         8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
    _mm512_storeu_si512(p, _mm512_permutexvar_epi16(_mm512_loadu_si512(in_turn), KPD__NAME(halves)(a, b)));
}
#elif defined(KPD__ROUNDS_TO_HALF)
// Four rounded. A NaN is made quiet, since all it has may lie in the half that is cut.
KPD__INLINE uint16x4_t KPD__NAME(rounded_half)(float32x4_t a) {
    uint32x4_t x = vreinterpretq_u32_f32(a), odd = vandq_u32(vshrq_n_u32(x, 16), vdupq_n_u32(1));
    uint32x4_t near = vaddq_u32(x, vaddq_u32(odd, vdupq_n_u32(0x7FFF))), quiet = vorrq_u32(x, vdupq_n_u32(0x400000));
    return vshrn_n_u32(vbslq_u32(vceqq_f32(a, a), near, quiet), 16);
}
KPD__INLINE uint16x8_t KPD__NAME(rounded_halves)(float32x4_t a, float32x4_t b) {
    return vcombine_u16(KPD__NAME(rounded_half)(a), KPD__NAME(rounded_half)(b));
}
KPD__INLINE void KPD__NAME(store_halves)(uint16_t *p, kpd__v x, kpd__v y) {
    vst1q_u16(p, KPD__NAME(rounded_halves)(x.a, x.b));
    vst1q_u16(p + 8, KPD__NAME(rounded_halves)(x.c, x.d));
    vst1q_u16(p + 16, KPD__NAME(rounded_halves)(y.a, y.b));
    vst1q_u16(p + 24, KPD__NAME(rounded_halves)(y.c, y.d));
}
KPD__INLINE void KPD__NAME(store_pairs)(uint16_t *p, kpd__v x, kpd__v y) {
    uint16x8x2_t low, high;
    low.val[0] = KPD__NAME(rounded_halves)(x.a, x.b); low.val[1] = KPD__NAME(rounded_halves)(y.a, y.b);
    high.val[0] = KPD__NAME(rounded_halves)(x.c, x.d); high.val[1] = KPD__NAME(rounded_halves)(y.c, y.d);
    vst2q_u16(p, low);
    vst2q_u16(p + 16, high);
}
#endif

#ifdef KPD__ROUNDS_TO_HALF
// 32 columns of x in bf16, zeros behind the n-th.
KPD__INLINE void KPD__NAME(half_group)(const float *x, size_t n, uint8_t *to) {
    KPD__NAME(store_halves)((uint16_t *)(void *)to, kpd__load_n(x, n < 16 ? n : 16),
                            n > 16 ? kpd__load_n(x + 16, n - 16) : kpd__set(0));
}

// Rows of x [rows, k] in bf16, as a product reads them, k padded to 32.
KPD__INLINE void KPD__NAME(half_rows)(kpd__operand operand, const float *x, size_t ldx, size_t rows, size_t k, void *to) {
    size_t padded = kpd__round_up(k, 32), step;
    for (size_t r = 0; r < rows; r++) {
        uint8_t *row = KPD__NAME(operand_row)(operand, to, r, padded * 2, &step);
        size_t i = 0;
        for (; i + 32 <= k; i += 32, row += step) KPD__NAME(half_group)(x + r * ldx + i, 32, row);
        if (i < k) KPD__NAME(half_group)(x + r * ldx + i, k - i, row);
    }
}
#endif

// Rows of x as u, and their steps and zeros.
static void KPD__NAME(int8_rows)(const kpd__matrix *w, kpd__operand operand, const float *x, size_t ldx, size_t rows,
                                 const kpd__workspace *to) {
    for (size_t r = 0; r < rows; r++, x += ldx) {
        size_t next;
        uint8_t *row = KPD__NAME(operand_row)(operand, to->rows, r, to->row_bytes, &next);
        float by;
        KPD__NAME(range)(w, x, &to->step[r], &to->zero[r], &by);
        KPD__NAME(round_row)(w, operand, x, by, to->zero[r], row, to->plane ? row + to->plane : NULL, next);
    }
}

static void KPD__NAME(round_rows)(const kpd__matrix *w, kpd__operand operand, const float *x, size_t ldx, size_t rows,
                                  const kpd__workspace *to) {
#ifdef KPD__ROUNDS_TO_HALF
    if (w->half) { KPD__NAME(half_rows)(operand, x, ldx, rows, w->k, to->rows); return; }
#endif
    KPD__NAME(int8_rows)(w, operand, x, ldx, rows, to);
}

#ifdef KPD__ROUNDS_TO_HALF
// bf16 sums through GELU to bf16, a pair of panels being a group of 64 bytes. Columns past the last are 0.
static void KPD__NAME(finish_halves)(const kpd__block *b) {
    const size_t row_bytes = kpd__round_up(b->w->n, 32) * 2;
    for (size_t p = 0; p < b->n_panels; p += 2) {
        const size_t col = b->col + 16 * p;
        const bool two = p + 1 < b->n_panels;
        const float *sums = (const float *)(const void *)b->sums + kpd__sums_at(b, p);
        const float *others = two ? sums + kpd__sums_at(b, 1) : sums;
        const kpd__v bias = kpd__bias(b->w, col), other = two ? kpd__bias(b->w, col + 16) : bias, zero = kpd__set(0);
        for (size_t r = 0, step; r < b->rows; r++) {
            uint8_t *row = KPD__NAME(operand_row)(b->operand, b->y.halves, b->row + r, row_bytes, &step);
            kpd__v first = kpd__activate(KPD__SHORT_GELU, kpd__add(kpd__load(sums + r * 16), bias));
            kpd__v second = kpd__activate(KPD__SHORT_GELU, kpd__add(kpd__load(others + r * 16), other));
            KPD__NAME(store_halves)((uint16_t *)(void *)(row + col / 32 * step), first, two ? second : zero);
        }
    }
}
#endif

// f32 sums of panel p.
static void KPD__NAME(finish_panel)(const kpd__block *b, size_t p) {
    const size_t col = b->col + 16 * p;
    const float *sums = (const float *)(const void *)b->sums + kpd__sums_at(b, p);
    kpd__finish_by(sums, b->rows, kpd__part_n(col, b->w->n), kpd__bias(b->w, col), b->w->activation,
                   b->y.floats + b->row * b->y.ld + col, b->y.ld);
}

// Sums of a block become results.
static void KPD__NAME(finish_block)(const kpd__block *b) {
#ifdef KPD__ROUNDS_TO_HALF
    if (b->y.halves) { KPD__NAME(finish_halves)(b); return; }
#endif
    for (size_t p = 0; p < b->n_panels; p++)
        if (b->w->bytes) KPD__NAME(rescale)(b, p);
        else KPD__NAME(finish_panel)(b, p);
}

// Up to m->n_rows rounded rows times the panels of columns [from, w->n), some panels and rows at a time.
static void KPD__NAME(walk)(const kpd__ops *ops, const kpd__matrix *w, size_t from, const kpd__workspace *m, size_t rows,
                            kpd__strip y) {
    const size_t depth = kpd__depth(w), group = kpd__round_up(kpd__even_rows(rows, KPD__DOT_ROWS), 16);
    kpd__dots *dots = w->bytes ? ops->int8_dots : ops->half_dots;
    kpd__block b;
    memset(&b, 0, sizeof b);
    b.w = w; b.operand = ops->operand; b.sums = m->sums[0]; b.high = m->sums[1]; b.step = m->step; b.zero = m->zero;
    b.y = y;
    for (b.col = from; b.col < w->n; b.col += 16 * b.n_panels) {
        const char *panels = (w->bytes ? (const char *)w->bytes : (const char *)w->half) + b.col * depth;
        b.n_panels = kpd__min(KPD__DOT_PANELS, (w->n - b.col + 15) / 16);
        for (b.row = 0; b.row < rows; b.row += b.rows) {
            const uint8_t *a = m->rows + b.row * m->row_bytes;
            b.rows = kpd__min(group, rows - b.row);
            if (y.floats) KPD__NAME(prefetch_results)(y.floats + b.row * y.ld + b.col, y.ld, b.rows, b.n_panels);
            dots(a, b.rows, depth, panels, b.n_panels, m->widened, b.sums);
            if (m->plane) dots(a + m->plane, b.rows, depth, panels, b.n_panels, m->widened, b.high);
            KPD__NAME(finish_block)(&b);
        }
    }
}

// Products whose inputs are rounded to the weights' type: of int8, and of bf16 by the level's instruction. Rows are rounded as
// many at a time as the room holds, a multiple of 16.
static void KPD__NAME(rounded_gemm)(const kpd__ops *ops, const kpd__matrix *w, kpd__strip x, size_t rows, kpd__strip y,
                                    void *scratch) {
    kpd__arena a = {(char *)scratch, 0, false};
    kpd__workspace m = kpd__workspace_lay(ops->operand, w, &a);
    for (size_t n; rows; rows -= n) {
        n = kpd__min(m.n_rows, rows);
        if (x.halves) m.rows = x.halves;
        else if (!x.rounded) ops->round_rows(w, ops->operand, x.floats, x.ld, n, &m);
        ops->walk(ops, w, 0, &m, n, y);
        if (n == rows) break;
        kpd__strip_skip(&x, n, w->k);
        kpd__strip_skip(&y, n, w->n);
    }
}

// sums = a W^T, see kpd__dots.
#if KPD__LEVEL == 2 || KPD__LEVEL == 3   // by products of 16 bits, two at a time: pmaddwd never saturates here

#if KPD__LEVEL == 2
typedef struct KPD__NAME(i) { __m256i lo, hi; } KPD__NAME(i);
KPD__INLINE KPD__NAME(i) KPD__NAME(iload)(const void *p) {
    KPD__NAME(i) r;
    r.lo = KPD__NAME(bits8)(p); r.hi = KPD__NAME(bits8)((const char *)p + 32);
    return r;
}
KPD__INLINE void KPD__NAME(istore)(void *p, KPD__NAME(i) a) {
    _mm256_storeu_si256((__m256i *)p, a.lo);
    _mm256_storeu_si256((__m256i *)p + 1, a.hi);
}
KPD__INLINE KPD__NAME(i) KPD__NAME(madd)(KPD__NAME(i) c, KPD__NAME(i) w, uint32_t pair) {
    __m256i a = _mm256_set1_epi32((int)pair);
    c.lo = _mm256_add_epi32(c.lo, _mm256_madd_epi16(w.lo, a));
    c.hi = _mm256_add_epi32(c.hi, _mm256_madd_epi16(w.hi, a));
    return c;
}
// c += 8 bytes of a row times two quads of bytes of each column.
KPD__INLINE __m256i KPD__NAME(narrow8)(__m256i c, __m256i w, __m256i v, __m256i a, __m256i b) {
    const __m256i four = _mm256_add_epi16(_mm256_maddubs_epi16(a, w), _mm256_maddubs_epi16(b, v));
    return _mm256_add_epi32(c, _mm256_madd_epi16(four, _mm256_set1_epi16(1)));
}
KPD__INLINE KPD__NAME(i) KPD__NAME(narrow)(KPD__NAME(i) c, KPD__NAME(i) w, KPD__NAME(i) v, const uint8_t *row) {
    int32_t quad[2];
    __m256i a, b;
    memcpy(quad, row, 8);
    a = _mm256_set1_epi32(quad[0]); b = _mm256_set1_epi32(quad[1]);
    c.lo = KPD__NAME(narrow8)(c.lo, w.lo, v.lo, a, b);
    c.hi = KPD__NAME(narrow8)(c.hi, w.hi, v.hi, a, b);
    return c;
}
// Bytes 0 and 2 of each quad as 16 bits, then 1 and 3.
KPD__INLINE KPD__NAME(i) KPD__NAME(even)(KPD__NAME(i) w) {
    w.lo = _mm256_srai_epi16(_mm256_slli_epi16(w.lo, 8), 8); w.hi = _mm256_srai_epi16(_mm256_slli_epi16(w.hi, 8), 8);
    return w;
}
KPD__INLINE KPD__NAME(i) KPD__NAME(odd)(KPD__NAME(i) w) {
    w.lo = _mm256_srai_epi16(w.lo, 8); w.hi = _mm256_srai_epi16(w.hi, 8);
    return w;
}
#else
typedef __m512i KPD__NAME(i);
KPD__INLINE KPD__NAME(i) KPD__NAME(iload)(const void *p) { return _mm512_loadu_si512(p); }
KPD__INLINE void KPD__NAME(istore)(void *p, KPD__NAME(i) a) { _mm512_storeu_si512(p, a); }
KPD__INLINE KPD__NAME(i) KPD__NAME(madd)(KPD__NAME(i) c, KPD__NAME(i) w, uint32_t pair) {
    return _mm512_add_epi32(c, _mm512_madd_epi16(w, _mm512_set1_epi32((int)pair)));
}
KPD__INLINE KPD__NAME(i) KPD__NAME(narrow)(KPD__NAME(i) c, KPD__NAME(i) w, KPD__NAME(i) v, const uint8_t *row) {
    int32_t quad[2];
    __m512i four;
    memcpy(quad, row, 8);
    four = _mm512_add_epi16(_mm512_maddubs_epi16(_mm512_set1_epi32(quad[0]), w),
                            _mm512_maddubs_epi16(_mm512_set1_epi32(quad[1]), v));
    return _mm512_add_epi32(c, _mm512_madd_epi16(four, _mm512_set1_epi16(1)));
}
KPD__INLINE KPD__NAME(i) KPD__NAME(even)(KPD__NAME(i) w) { return _mm512_srai_epi16(_mm512_slli_epi16(w, 8), 8); }
KPD__INLINE KPD__NAME(i) KPD__NAME(odd)(KPD__NAME(i) w) { return _mm512_srai_epi16(w, 8); }
#endif

// k bytes a column, a multiple of 4, to [k/2][16][2] of 16 bits.
KPD__INLINE void KPD__NAME(widen_bytes)(const int8_t *panel, size_t k, int16_t *out) {
    for (size_t i = 0; i < k; i += 4, panel += 64, out += 64) {
        KPD__NAME(i) w = KPD__NAME(iload)(panel);
        KPD__PREFETCH(panel, k * 16);
        KPD__NAME(istore)(out, KPD__NAME(even)(w));
        KPD__NAME(istore)(out + 32, KPD__NAME(odd)(w));
    }
}

#define KPD__SUM(r) KPD__NAME(i) c##r = KPD__NAME(iload)(sums + r * 16);
#define KPD__SUM_STORE(r) KPD__NAME(istore)(sums + r * 16, c##r);
#define KPD__SUM_NEXT(r) KPD__THREE_STEP(r, 2)
#define KPD__MADD_STEP(r) { uint32_t pair; memcpy(&pair, KPD__THREE_AT(r), 4); c##r = KPD__NAME(madd)(c##r, w, pair); }
#define KPD__MADDS(R)                                                                                                          \
    static void KPD__NAME(madds##R)(const uint16_t *a, size_t lda, const int16_t *b, size_t n_k, int32_t *sums) {              \
        const uint16_t *three[(R + 2) / 3];                                                                                    \
        KPD__ROW_LIST_##R(KPD__SUM)                                                                                            \
        KPD__ROW_LIST_##R(KPD__THREE)                                                                                          \
        for (size_t k = 0; k < n_k; k += 2, b += 32) {                                                                         \
            KPD__NAME(i) w = KPD__NAME(iload)(b);                                                                              \
            KPD__ROW_LIST_##R(KPD__MADD_STEP)                                                                                  \
            KPD__ROW_LIST_##R(KPD__SUM_NEXT)                                                                                   \
        }                                                                                                                      \
        KPD__ROW_LIST_##R(KPD__SUM_STORE)                                                                                      \
    }
KPD__EACH_HEIGHT(KPD__MADDS)

#define KPD__ENTRY(R) KPD__NAME(madds##R),
static void KPD__NAME(int8_dots)(const void *operand, size_t rows, size_t k, const void *all, size_t n_panels,
                                 void *widened, void *out) {
    const int8_t *panels = (const int8_t *)all;
    int32_t *sums = (int32_t *)out;
    static void (*const madds[])(const uint16_t *a, size_t lda, const int16_t *b, size_t n_k,
                                 int32_t *sums) = {KPD__EACH_HEIGHT(KPD__ENTRY)};
    size_t rows16 = kpd__round_up(rows, 16);
    memset(sums, 0, n_panels * rows16 * 16 * sizeof *sums);
    for (size_t p = 0; p < n_panels; p++, panels += 16 * k, sums += rows16 * 16)
        for (size_t at = 0; at < k; at += 512) {
            size_t n = kpd__min(512, k - at);
            KPD__NAME(widen_bytes)(panels + at * 16, n, (int16_t *)widened);
            for (size_t r = 0, step = kpd__even_rows(rows, KPD__ROWS); r < rows; r += step)
                madds[kpd__min(step, rows - r) - 1]((const uint16_t *)operand + r * k + at, k,
                                                    (const int16_t *)widened, n, sums + r * 16);
        }
}
#undef KPD__SUM
#undef KPD__MADD_STEP
#undef KPD__SUM_NEXT
#undef KPD__MADDS
#undef KPD__ENTRY

// Rows below 64, by pmaddubsw: four products of at most 63 and 127 fit 16 bits. So 8 numbers of a row a step, two quads.
#define KPD__NARROW_BEGIN(r) const uint8_t *a##r = a + r * k; KPD__NAME(i) c##r = KPD__NAME(iload)(none);
#define KPD__NARROW_STEP(r) c##r = KPD__NAME(narrow)(c##r, w, v, a##r + at);
#define KPD__NARROW(R)                                                                                                         \
    static void KPD__NAME(narrow##R)(const uint8_t *a, size_t k, const int8_t *b, int32_t *sums) {                             \
        static const int32_t none[16] = {0};                                                                                   \
        KPD__ROW_LIST_##R(KPD__NARROW_BEGIN)                                                                                   \
        for (size_t at = 0; at < k; at += 8, b += 128) {                                                                       \
            KPD__NAME(i) w = KPD__NAME(iload)(b), v = KPD__NAME(iload)(b + 64);                                                \
            KPD__ROW_LIST_##R(KPD__NARROW_STEP)                                                                                \
        }                                                                                                                      \
        KPD__ROW_LIST_##R(KPD__SUM_STORE)                                                                                      \
    }
KPD__NARROW(1) KPD__NARROW(2) KPD__NARROW(3) KPD__NARROW(4)

static void KPD__NAME(narrow_dots)(const void *operand, size_t rows, size_t k, const void *all, size_t n_panels,
                                   void *widened, void *out) {
    static void (*const narrow[])(const uint8_t *a, size_t k, const int8_t *b, int32_t *sums) = {
        KPD__NAME(narrow1), KPD__NAME(narrow2), KPD__NAME(narrow3), KPD__NAME(narrow4)};
    const int8_t *panels = (const int8_t *)all;
    int32_t *sums = (int32_t *)out;
    (void)widened;
    for (size_t p = 0; p < n_panels; p++, panels += 16 * k, sums += kpd__round_up(rows, 16) * 16)
        for (size_t r = 0, step = kpd__even_rows(rows, 4); r < rows; r += step)
            narrow[kpd__min(step, rows - r) - 1]((const uint8_t *)operand + r * k, k, panels, sums + r * 16);
}
#undef KPD__SUM_STORE
#undef KPD__NARROW_BEGIN
#undef KPD__NARROW_STEP
#undef KPD__NARROW

#elif KPD__LEVEL == 1

static void KPD__NAME(int8_dots)(const void *operand, size_t rows, size_t k, const void *all, size_t n_panels,
                                 void *widened, void *out) {
    const int8_t *panels = (const int8_t *)all;
    int32_t *sums = (int32_t *)out;
    const uint8_t *a = (const uint8_t *)operand;
    size_t rows16 = kpd__round_up(rows, 16);
    (void)widened;
    memset(sums, 0, n_panels * rows16 * 16 * sizeof *sums);
    for (size_t p = 0; p < n_panels; p++, panels += 16 * k, sums += rows16 * 16)
        for (size_t r = 0; r < rows; r++)
            for (size_t i = 0; i < k; i++)
                for (size_t n = 0; n < 16; n++)
                    sums[r * 16 + n] += (int32_t)a[r * k + i] * panels[(i / 4 * 16 + n) * 4 + i % 4];
}

#else   // NEON: four columns of 16 products at a time

static void KPD__NAME(int8_dots)(const void *operand, size_t rows, size_t k, const void *all, size_t n_panels,
                                 void *widened, void *out) {
    const int8_t *panels = (const int8_t *)all;
    int32_t *sums = (int32_t *)out;
    const uint8_t *a = (const uint8_t *)operand;
    size_t rows16 = kpd__round_up(rows, 16);
    (void)widened;
    for (size_t p = 0; p < n_panels; p++, panels += 16 * k, sums += rows16 * 16)
        for (size_t r = 0; r < rows; r++) {
            int32x4_t c0 = vdupq_n_s32(0), c1 = c0, c2 = c0, c3 = c0;
            for (size_t i = 0; i < k; i += 4) {
                int8x16x4_t w = vld4q_s8(panels + i * 16);   // val[j]: k = i + j of all 16 columns
                for (size_t j = 0; j < 4; j++) {
                    int16x8_t lo = vmovl_s8(vget_low_s8(w.val[j])), hi = vmovl_s8(vget_high_s8(w.val[j]));
                    int16_t u = (int16_t)a[r * k + i + j];
                    c0 = vmlal_n_s16(c0, vget_low_s16(lo), u); c1 = vmlal_n_s16(c1, vget_high_s16(lo), u);
                    c2 = vmlal_n_s16(c2, vget_low_s16(hi), u); c3 = vmlal_n_s16(c3, vget_high_s16(hi), u);
                }
            }
            vst1q_s32(sums + r * 16, c0); vst1q_s32(sums + r * 16 + 4, c1);
            vst1q_s32(sums + r * 16 + 8, c2); vst1q_s32(sums + r * 16 + 12, c3);
        }
}
#endif

// >>attention  Softmax of queries and keys, and the sum of values by it, of one text: in f32, and by the products above.

// out[c][r] = in[r][c]: a block of at most 16 x 16. `lanes` of each row of out are written, as many as rows or 16: those behind
// the rows are 0, so that what is computed on lanes that nobody reads takes no longer than the rest. (What lay there before may
// be subnormal, on which an instruction takes a hundred times as long.) Four times halves are zipped, as cards are shuffled.
#define KPD__TURN_LOAD(r) kpd__v x##r = r < rows ? kpd__load_n(in + r * ldi, columns) : kpd__set(0);
#define KPD__TURN_ROUND(x, y)                                                                                                  \
    kpd__v y##0 = kpd__zip_low(x##0, x##8), y##1 = kpd__zip_high(x##0, x##8), y##2 = kpd__zip_low(x##1, x##9),                 \
           y##3 = kpd__zip_high(x##1, x##9), y##4 = kpd__zip_low(x##2, x##10), y##5 = kpd__zip_high(x##2, x##10),              \
           y##6 = kpd__zip_low(x##3, x##11), y##7 = kpd__zip_high(x##3, x##11), y##8 = kpd__zip_low(x##4, x##12),              \
           y##9 = kpd__zip_high(x##4, x##12), y##10 = kpd__zip_low(x##5, x##13), y##11 = kpd__zip_high(x##5, x##13),           \
           y##12 = kpd__zip_low(x##6, x##14), y##13 = kpd__zip_high(x##6, x##14), y##14 = kpd__zip_low(x##7, x##15),           \
           y##15 = kpd__zip_high(x##7, x##15);
#define KPD__TURN_STORE(r) if (r < columns) kpd__store_n(out + r * ldo, lanes, v##r);
static void KPD__NAME(transpose)(const float *in, size_t ldi, size_t rows, size_t columns, float *out, size_t ldo,
                                 size_t lanes) {
    KPD__ROW_LIST_16(KPD__TURN_LOAD)
    KPD__TURN_ROUND(x, y)
    KPD__TURN_ROUND(y, z)
    KPD__TURN_ROUND(z, u)
    KPD__TURN_ROUND(u, v)
    KPD__ROW_LIST_16(KPD__TURN_STORE)
}

// 16 rows of n, which may lie anywhere, to panel [n][16].
#define KPD__PACK_LOAD(r) kpd__v x##r = kpd__load_n(rows[r] + at, m);
#define KPD__PACK_STORE(r) if (r < m) kpd__store(panel + (at + r) * 16, v##r);
static void KPD__NAME(pack)(const float *const *rows, size_t n, float *panel) {
    for (size_t at = 0; at < n; at += 16) {
        const size_t m = kpd__part_n(at, n);
        KPD__ROW_LIST_16(KPD__PACK_LOAD)
        KPD__TURN_ROUND(x, y)
        KPD__TURN_ROUND(y, z)
        KPD__TURN_ROUND(z, u)
        KPD__TURN_ROUND(u, v)
        KPD__ROW_LIST_16(KPD__PACK_STORE)
    }
}
#undef KPD__PACK_LOAD
#undef KPD__PACK_STORE
#undef KPD__TURN_LOAD
#undef KPD__TURN_ROUND
#undef KPD__TURN_STORE

// The tree over rows s[0..n) of 16 lanes, lane by lane; what a row would add behind the last is zero.
KPD__INLINE kpd__v KPD__NAME(tree_rows)(const float *s, size_t n) {
    kpd__v lane[16];
    for (size_t i = 0; i < 16; i++) {
        kpd__v part[4];
        for (size_t k = 0; k < 4; k++) {
            part[k] = kpd__set(0);
            for (size_t j = k * 16 + i; j < n; j += 64) part[k] = kpd__add(part[k], kpd__load(s + j * 16));
        }
        lane[i] = kpd__add(kpd__add(part[0], part[1]), kpd__add(part[2], part[3]));
    }
    for (size_t half = 8; half; half /= 2)
        for (size_t i = 0; i < half; i++) lane[i] = kpd__add(lane[i], lane[i + half]);
    return lane[0];
}

// The largest of each of 16 columns of n scores.
KPD__INLINE kpd__v KPD__NAME(largest)(const float *s, size_t n) {
    kpd__v top = kpd__load(s);
    for (size_t i = 16; i < n * 16; i += 16) top = kpd__vmax(top, kpd__load(s + i));
    return top;
}

// Softmax numerators of 16 columns of n scores in place, scaled (by what is above 0) first. Returns 1 / sums.
KPD__INLINE kpd__v KPD__NAME(softmax)(float *s, size_t n, float scale) {
    const kpd__v f = kpd__set(scale), top = kpd__mul(KPD__NAME(largest)(s, n), f);   // also the largest once scaled
    for (size_t i = 0; i < n * 16; i += 16) kpd__store(s + i, kpd__exp(kpd__sub(kpd__mul(kpd__load(s + i), f), top)));
    return kpd__div(kpd__set(1), KPD__NAME(tree_rows)(s, n));
}

// 2^y to 8e-5, y from -100 to 0, for weights that are rounded next; below it is that of -100.
KPD__INLINE kpd__v KPD__NAME(short_exp2)(kpd__v y) {
    const kpd__v magic = kpd__set(KPD__MAGIC);
    kpd__v t, r, p = kpd__set(kpd__short_exp2_c[3]);
    y = kpd__vmax(y, kpd__set(-100));
    t = kpd__add(y, magic);
    r = kpd__sub(y, kpd__sub(t, magic));
    KPD__UNROLL
    for (int i = 2; i >= 0; i--) p = kpd__fmadd(p, r, kpd__set(kpd__short_exp2_c[i]));
    return kpd__pow2(p, t);
}

// out [queries, depth] = values [depth][16], a lane a query, times the lanes of inverse.
KPD__INLINE void KPD__NAME(give_values)(float *values, size_t depth, kpd__v inverse, size_t queries, float *out, size_t ldo) {
    for (size_t d = 0; d < depth; d++) kpd__store(values + d * 16, kpd__mul(kpd__load(values + d * 16), inverse));
    for (size_t d = 0, n; d < depth; d += 16) {
        n = kpd__part_n(d, depth);
        KPD__NAME(transpose)(values + d * 16, 16, n, queries, out + d, ldo, n);
    }
}

// One head, up to 16 queries, each a lane: scores are chains over d, softmax's sums trees over the keys, values chains over the
// keys; 1 / sum last. Lanes without a query are zero throughout, and nobody reads them.
static void KPD__NAME(attend)(const float *q, size_t ld, size_t queries, const float *k, const float *v, size_t n, size_t depth,
                              float *scratch, float *out, size_t ldo) {
    size_t deep = kpd__round_up(depth, 16), step = kpd__even_rows(n, KPD__ROWS);
    float *columns = scratch, *values = columns + deep * 16, *scores = values + deep * 16;
    kpd__v inverse;
    for (size_t d = 0; d < depth; d += 16)
        KPD__NAME(transpose)(q + d, ld, queries, kpd__part_n(d, depth), columns + d * 16, 16, 16);
    for (size_t j = 0; j < n; j += step)
        kpd__micro(kpd__min(step, n - j), k + j * ld, ld, columns, 16, depth, scores + j * 16);
    inverse = KPD__NAME(softmax)(scores, n, 1.0f / sqrtf((float)depth));
    memset(values, 0, deep * 16 * sizeof *values);
    step = kpd__even_rows(depth, KPD__ROWS);
    for (size_t d = 0; d < depth; d += step)
        kpd__outer(kpd__min(step, depth - d), v + d, ld, scores, 16, n, values + d * 16, 16);
    KPD__NAME(give_values)(values, depth, inverse, queries, out, ldo);
}

// softmax(q k^T / sqrt(depth)) v for every head of one text of n tokens, of queries [begin, end). qkv: [T][3][H padded to 16];
// out: [T, H].
static void KPD__NAME(attention)(const float *qkv, size_t n, size_t begin, size_t end, size_t width, size_t heads,
                                 float *scratch, float *out) {
    size_t padded = kpd__round_up(width, 16), ld = 3 * padded, depth = width / heads;
    for (size_t h = 0; h < heads; h++) {
        const float *q = qkv + h * depth, *k = q + padded, *v = k + padded;
        for (size_t r = begin; r < end; r += 16)
            KPD__NAME(attend)(q + r * ld, ld, kpd__part_n(r, end), k, v, n, depth, scratch, out + r * width + h * depth, width);
    }
}

#ifdef KPD__ROUNDS_TO_HALF
// v of one head [n, depth], keys side by side, as rows of a product. What scores will be has room for it until then.
KPD__INLINE void KPD__NAME(half_values)(const kpd__half_head *h, const float *v, size_t ld) {
    for (size_t d = 0; d < h->depth; d += 16) {
        size_t m = kpd__part_n(d, h->depth);
        for (size_t j = 0; j < h->n; j += 16)
            KPD__NAME(transpose)(v + j * ld + d, ld, kpd__part_n(j, h->n), m, h->scores + j, h->n16, kpd__part_n(j, h->n));
        KPD__NAME(half_rows)(h->operand, h->scores, h->n16, m, h->n, h->values + d * h->n32);
    }
}

// Up to 16 queries as a panel.
KPD__INLINE void KPD__NAME(half_queries)(const kpd__half_head *h, const float *q, size_t ld, size_t queries, uint16_t *panel) {
    size_t words = h->d32 / 2;
    KPD__NAME(half_rows)(KPD__BYTES, q, ld, queries, h->depth, h->room);
    for (size_t c = 0; c < words; c += 16)
        KPD__NAME(transpose)((const float *)(const void *)h->room + c, words, queries, 16, (float *)(void *)panel + c * 16, 16,
                             16);
}

// Softmax numerators of 16 columns of n scores, times scale, in bf16 as a panel: [n32/2][16][2], zeros behind the n-th. Returns
// 1 / sums, of what was not rounded yet: two chains, of the even and the odd keys.
KPD__INLINE kpd__v KPD__NAME(half_softmax)(const float *s, size_t n, float scale, uint16_t *out) {
    const kpd__v zero = kpd__set(0), f = kpd__set(KPD__LOG2_E * scale);
    const kpd__v top = KPD__NAME(largest)(s, n);
    kpd__v even = zero, odd = zero;
    for (size_t j = 0; j < kpd__round_up(n, 32); j += 2, s += 32, out += 32) {
        kpd__v a = zero, b = zero;
        if (j < n) a = KPD__NAME(short_exp2)(kpd__mul(kpd__sub(kpd__load(s), top), f));
        if (j + 1 < n) b = KPD__NAME(short_exp2)(kpd__mul(kpd__sub(kpd__load(s + 16), top), f));
        even = kpd__add(even, a);
        odd = kpd__add(odd, b);
        KPD__NAME(store_pairs)(out, a, b);
    }
    return kpd__div(kpd__set(1), kpd__add(even, odd));
}

// Attention by products of bf16: their rows are the keys, then the columns of v; a panel is 16 queries, then their weights.
static void KPD__NAME(half_attention)(const kpd__ops *ops, const float *qkv, size_t n, size_t begin, size_t end, size_t width,
                                      size_t heads, float *scratch, float *out) {
    size_t padded = kpd__round_up(width, 16), ld = 3 * padded, depth = width / heads;
    kpd__arena a = {(char *)scratch, 0, false};
    const kpd__half_head h = kpd__half_head_lay(ops->operand, n, depth, &a);
    for (size_t i = 0; i < heads; i++) {
        const float *q = qkv + i * depth, *k = q + padded, *v = k + padded;
        KPD__NAME(half_rows)(h.operand, k, ld, n, depth, h.keys);
        KPD__NAME(half_values)(&h, v, ld);
        for (size_t r = begin; r < end; r += KPD__WALK) {
            size_t queries = kpd__min(KPD__WALK, end - r), panels = (queries + 15) / 16;
            kpd__v inverse[2];
            for (size_t p = 0; p < panels; p++)
                KPD__NAME(half_queries)(&h, q + (r + p * 16) * ld, ld, kpd__part_n(p * 16, queries),
                                        h.queries + p * 16 * h.d32);
            ops->half_dots(h.keys, n, 2 * h.d32, h.queries, panels, NULL, h.scores);
            for (size_t p = 0; p < panels; p++)
                inverse[p] = KPD__NAME(half_softmax)(h.scores + p * h.n16 * 16, n, 1.0f / sqrtf((float)depth),
                                                     h.weights + p * 16 * h.n32);
            ops->half_dots(h.values, depth, 2 * h.n32, h.weights, panels, NULL, h.sums);
            for (size_t p = 0; p < panels; p++)
                KPD__NAME(give_values)(h.sums + p * h.d16 * 16, depth, inverse[p], kpd__part_n(p * 16, queries),
                                       out + (r + p * 16) * width + i * depth, width);
        }
    }
}
#endif

// Attention in whole numbers. A softmax does not see what is added to all scores of a query, and its weights sum to 1: so keys
// and values are rounded to u8 between the least and the largest of each column, and neither product needs to know the least.
//     k = key_least + key_step u, v = value_least + value_step u, both 0..255; the query times key_step is rounded as
//     KPD__SIGNED, to s8; the weights e^(score - the largest) to 255ths; then value_least + value_step (sum w u / sum w).

typedef struct KPD__NAME(spread) { kpd__v least, step, by; } KPD__NAME(spread);

// Of each of up to 16 columns of x [n].
KPD__INLINE KPD__NAME(spread) KPD__NAME(spread_of)(const float *x, size_t ld, size_t n, size_t columns) {
    const kpd__v zero = kpd__set(0), nothing = kpd__set(KPD__NOTHING), levels = kpd__set(255);
    KPD__NAME(spread) s;
    kpd__v most = kpd__load_n(x, columns), range;
    s.least = most;
    for (size_t j = 1; j < n; j++) {
        kpd__v v = kpd__load_n(x + j * ld, columns);
        most = kpd__vmax(most, v);
        s.least = kpd__vmin(v, s.least);
    }
    range = kpd__sub(most, s.least);
    s.by = kpd__pick_lt(range, nothing, zero, kpd__div(levels, range));
    s.step = kpd__pick_lt(range, nothing, zero, kpd__div(range, levels));
    return s;
}

// In the lowest byte u, or u + offset.
KPD__INLINE kpd__v KPD__NAME(level_of)(const KPD__NAME(spread) *s, kpd__v x, float offset) {
    return kpd__fmadd(kpd__sub(x, s->least), s->by, kpd__set(KPD__MAGIC + offset));
}

static void KPD__NAME(int8_keys)(const kpd__int8_head *h, const float *k, size_t ld) {
    const size_t row_bytes = h->d_row * h->unit, next = h->operand == KPD__TILES ? 64 : row_bytes;
    for (size_t d = 0; d < h->depth; d += 16) {
        size_t m = kpd__part_n(d, h->depth), step;
        KPD__NAME(spread) s = KPD__NAME(spread_of)(k + d, ld, h->n, m);
        kpd__store(h->key_step + d, s.step);
        for (size_t j = 0; j < h->n; j += 16) {
            uint8_t *to = KPD__NAME(operand_row)(h->operand, h->keys, j, row_bytes, &step);
            to += d / 64 * step + d % 64 * h->unit;
            for (size_t i = j; i < h->n && i < j + 16; i++, to += next)
                KPD__NAME(store_operand)(h->operand, to, KPD__NAME(level_of)(&s, kpd__load_n(k + i * ld + d, m), 0), 0);
        }
    }
}

// As a panel less 128; keys past the last are 0.
static void KPD__NAME(int8_values)(const kpd__int8_head *h, const float *v, size_t ld) {
    for (size_t d = 0; d < h->depth; d += 16) {
        size_t m = kpd__part_n(d, h->depth);
        KPD__NAME(spread) s = KPD__NAME(spread_of)(v + d, ld, h->n, m);
        int8_t *panel = h->values + d * h->n_row;
        kpd__store(h->value_least + d, s.least);
        kpd__store(h->value_step + d, s.step);
        for (size_t j = 0; j < h->n_row; j += 4, panel += 64) {
            kpd__v u[4];
            KPD__UNROLL
            for (size_t i = 0; i < 4; i++)
                u[i] = j + i < h->n ? KPD__NAME(level_of)(&s, kpd__load_n(v + (j + i) * ld + d, m), -128) : kpd__set(0);
            kpd__store((float *)(void *)panel, kpd__quads(u[0], u[1], u[2], u[3]));
        }
    }
}

// Up to 16 queries as a panel. Returns what a score of each is to be multiplied by, to be a power of 2 in softmax.
static kpd__v KPD__NAME(int8_queries)(const kpd__int8_head *h, const float *q, size_t ld, size_t queries, int8_t *panel) {
    const kpd__v zero = kpd__set(0);
    kpd__v most = zero, least = zero, by;
    for (size_t d = 0; d < h->depth; d += 16)
        KPD__NAME(transpose)(q + d, ld, queries, kpd__part_n(d, h->depth), h->columns + d * 16, 16, 16);
    for (size_t d = 0; d < h->depth; d++) {
        kpd__v x = kpd__mul(kpd__load(h->columns + d * 16), kpd__set(h->key_step[d]));
        kpd__store(h->columns + d * 16, x);
        most = kpd__vmax(x, most);
        least = kpd__vmin(x, least);
    }
    most = kpd__vmax(kpd__sub(zero, least), most);
    by = kpd__pick_lt(most, kpd__set(KPD__NOTHING), zero, kpd__div(kpd__set(127), most));
    for (size_t d = 0; d < h->d_row; d += 4, panel += 64) {
        kpd__v x[4];
        KPD__UNROLL
        for (size_t i = 0; i < 4; i++)
            x[i] = d + i < h->depth ? kpd__fmadd(kpd__load(h->columns + (d + i) * 16), by, kpd__set(KPD__MAGIC)) : zero;
        kpd__store((float *)(void *)panel, kpd__quads(x[0], x[1], x[2], x[3]));
    }
    return kpd__mul(most, kpd__set(KPD__LOG2_E / 127 / sqrtf((float)h->depth)));
}

// 2^y in 255ths, in the lowest byte.
KPD__INLINE kpd__v KPD__NAME(weight)(kpd__v y) {
    return kpd__fmadd(KPD__NAME(short_exp2)(y), kpd__set(255), kpd__set(KPD__MAGIC));
}

// Weights of 16 columns of n (at most 4) scores, 2^((score - top) f); of what is behind them 0. Adds their bits to sum.
KPD__INLINE void KPD__NAME(four_weights)(const int32_t *s, size_t n, kpd__v top, kpd__v f, kpd__v *sum, kpd__v w[4]) {
    KPD__UNROLL
    for (size_t i = 0; i < 4; i++) {
        w[i] = i < n ? KPD__NAME(weight)(kpd__mul(kpd__corrected(s + i * 16, top), f)) : kpd__set(KPD__MAGIC);
        *sum = kpd__plus_bits(*sum, w[i]);
    }
}

// Four weights as bytes of a lane, or of two lanes as KPD__WORDS; returns where the next lie.
KPD__INLINE float *KPD__NAME(store_weights)(kpd__operand operand, const kpd__v w[4], float *to) {
    const kpd__v zero = kpd__set(0);
    if (operand != KPD__WORDS) { kpd__store(to, kpd__quads(w[0], w[1], w[2], w[3])); return to + 16; }
    kpd__store(to, kpd__quads(w[0], zero, w[2], zero));
    kpd__store(to + 16, kpd__quads(w[1], zero, w[3], zero));
    return to + 32;
}

// Softmax of 16 columns of scores s [n][16], times f, as weights in place of them. Returns 1 / their sums: whole numbers, to
// which each weight also brings the bits of KPD__MAGIC, so these are taken off first.
KPD__INLINE kpd__v KPD__NAME(int8_softmax)(const kpd__int8_head *h, int32_t *s, kpd__v f) {
    float *to = (float *)(void *)s;
    kpd__v top = kpd__load(to), sum = kpd__set(kpd__from_bits((uint32_t)h->n_row * (0u - KPD__MAGIC_BITS))), w[4];
    int32_t sums[16];
    size_t j = 0;
    for (size_t i = 1; i < h->n; i++) top = kpd__most_bits(s + i * 16, top);
    for (; j + 4 <= h->n; j += 4) {
        KPD__NAME(four_weights)(s + j * 16, 4, top, f, &sum, w);
        to = KPD__NAME(store_weights)(h->operand, w, to);
    }
    for (; j < h->n_row; j += 4) {
        KPD__NAME(four_weights)(s + j * 16, h->n > j ? h->n - j : 0, top, f, &sum, w);
        to = KPD__NAME(store_weights)(h->operand, w, to);
    }
    kpd__store((float *)(void *)sums, sum);
    return kpd__div(kpd__set(1), kpd__whole(sums));
}

// Weights of up to 16 queries, in lanes, as rows of a product.
KPD__INLINE void KPD__NAME(int8_weights)(const kpd__int8_head *h, const int32_t *lanes, size_t queries, uint8_t *rows) {
    size_t n = h->n_row * h->unit / 4;
    bool tiles = h->operand == KPD__TILES;
    for (size_t c = 0; c < n; c += 16)
        KPD__NAME(transpose)((const float *)(const void *)lanes + c * 16, 16, kpd__part_n(c, n), queries,
                        (float *)(void *)(rows + c * (tiles ? 64 : 4)), tiles ? 16 : n, kpd__part_n(c, n));
}

// out [queries, depth] from the sums of up to KPD__WALK queries over their weights.
static void KPD__NAME(int8_give)(const kpd__ops *ops, const kpd__int8_head *h, size_t queries, float *out, size_t ldo) {
    size_t next = kpd__round_up(queries, 16) * 16;
    for (size_t d = 0; d < h->depth; d += 16 * KPD__DOT_PANELS) {
        size_t panels = kpd__min(KPD__DOT_PANELS, (h->depth - d + 15) / 16);
        ops->int8_dots(h->weights, queries, h->n_row, h->values + d * h->n_row, panels, h->widened, h->sums);
        for (size_t p = 0, at = d; p < panels; p++, at += 16) {
            const kpd__v least = kpd__load(h->value_least + at), step = kpd__load(h->value_step + at), middle = kpd__set(128);
            for (size_t r = 0; r < queries; r++) {
                kpd__v mean = kpd__fmadd(kpd__whole(h->sums + p * next + r * 16), kpd__set(h->inverse[r]), middle);
                kpd__store_n(out + r * ldo + at, kpd__part_n(at, h->depth), kpd__fmadd(step, mean, least));
            }
        }
    }
}

static void KPD__NAME(int8_attention)(const kpd__ops *ops, const float *qkv, size_t n, size_t begin, size_t end, size_t width,
                                      size_t heads, float *scratch, float *out) {
    size_t padded = kpd__round_up(width, 16), ld = 3 * padded, depth = width / heads;
    kpd__arena a = {(char *)scratch, 0, false};
    const kpd__int8_head h = kpd__int8_head_lay(ops->operand, n, depth, &a);
    for (size_t i = 0; i < heads; i++) {
        const float *q = qkv + i * depth, *k = q + padded, *v = k + padded;
        KPD__NAME(int8_keys)(&h, k, ld);
        KPD__NAME(int8_values)(&h, v, ld);
        for (size_t r = begin; r < end; r += KPD__WALK) {
            size_t queries = kpd__min(KPD__WALK, end - r), panels = (queries + 15) / 16;
            kpd__v f[2];
            for (size_t p = 0; p < panels; p++)
                f[p] = KPD__NAME(int8_queries)(&h, q + (r + p * 16) * ld, ld, kpd__part_n(p * 16, queries),
                                               h.queries + p * 16 * h.d_row);
            ops->int8_dots(h.keys, n, h.d_row, h.queries, panels, h.widened, h.scores);
            for (size_t p = 0; p < panels; p++) {
                int32_t *scores = h.scores + p * h.n16 * 16;
                kpd__store(h.inverse + p * 16, KPD__NAME(int8_softmax)(&h, scores, f[p]));
                KPD__NAME(int8_weights)(&h, scores, kpd__part_n(p * 16, queries),
                                        h.weights + p * 16 * h.n_row * h.unit);
            }
            KPD__NAME(int8_give)(ops, &h, queries, out + r * width + i * depth, width);
        }
    }
}

// >>scans  What an index asks of many vectors: scores of f32 rows and of codes, which are high enough, the best of some.

// scores[query][16 n_panels]: cosine and dot are q.v, l2 is -sum (q-v)^2; chains over dim. q: [n_queries, dim].
static void KPD__NAME(scan)(kpd_metric m, const float *q, size_t n_queries, size_t dim, const float *panels, size_t n_panels,
                            float *scores) {
    float tile[KPD__ROWS * 16];
    size_t step = m == KPD_L2 ? 4 : KPD__ROWS, ld = n_panels * 16;
    for (size_t p = 0; p < n_panels; p++, panels += dim * 16)
        for (size_t i = 0; i < n_queries; i += step) {
            size_t rows = n_queries - i < step ? n_queries - i : step;
            const float *a = q + i * dim;
            if (m != KPD_L2) kpd__micro(rows, a, dim, panels, 16, dim, tile);
            else if (rows == 4) KPD__NAME(l2_4)(a, dim, panels, 16, dim, tile);
            else for (size_t r = 0; r < rows; r++) KPD__NAME(l2_1)(a + r * dim, dim, panels, 16, dim, tile + r * 16);
            for (size_t r = 0; r < rows; r++) {
                kpd__v v = kpd__load(tile + r * 16);
                kpd__store(scores + (i + r) * ld + p * 16, m == KPD_L2 ? kpd__sub(kpd__set(0), v) : v);
            }
        }
}

#if KPD__LEVEL != 3
KPD__INLINE size_t kpd__store_numbers(int32_t *to, uint32_t mask, int32_t from) {
    size_t n = 0;
    for (; mask; mask &= mask - 1) to[n++] = from + kpd__lowest_bit(mask);
    return n;
}
#endif

static size_t KPD__NAME(above)(const float *scores, size_t n, float least, int32_t *where) {
    size_t count = 0, whole = n / 16 * 16;
    kpd__v limit = kpd__set(least);
    for (size_t i = 0; i < whole; i += 16)
        count += kpd__store_numbers(where + count, kpd__mask_ge(kpd__load(scores + i), limit), (int32_t)i);
    if (whole == n) return count;
    return count + kpd__store_numbers(where + count, kpd__mask_ge(kpd__load_n(scores + whole, n - whole), limit) &
                                      (0xFFFFu >> (16 - (n - whole))), (int32_t)whole);
}

// The first i of n, at most 2^24, with the greatest scores[i] - less[i], and that to *score, if it is more than what is there;
// n if it is not.
static size_t KPD__NAME(greatest)(const float *scores, const float *less, size_t n, float *score) {
    kpd__v most = kpd__set(*score), at = kpd__set((float)n), number;
    float value[16], place[16];
    size_t best = n;
    for (size_t j = 0; j < 16; j++) place[j] = (float)j;
    number = kpd__load(place);
    for (size_t i = 0; i < n; i += 16, number = kpd__add(number, kpd__set(16))) {
        size_t m = kpd__part_n(i, n);
        kpd__v s = kpd__sub(kpd__load_n(scores + i, m), kpd__load_n(less + i, m));
        if (m < 16) s = kpd__pick_lt(number, kpd__set((float)n), s, kpd__set(-INFINITY));
        at = kpd__pick_lt(most, s, number, at);
        most = kpd__pick_lt(most, s, s, most);
    }
    kpd__store(value, most);
    kpd__store(place, at);
    for (size_t j = 0; j < 16; j++)
        if ((size_t)place[j] < n && (value[j] > *score || (value[j] >= *score && best < n && (size_t)place[j] < best))) {
            *score = value[j];
            best = (size_t)place[j];
        }
    return best;
}

// Of each row, lane by lane, the best score so far and the number that it came with: those of a panel, numbered `number`, are
// (sums[row][i] - KPD__NARROW_ZERO codes[i]) step.
static void KPD__NAME(nearest)(const int32_t *sums, const int32_t *codes, size_t rows, float step, float number, float *best,
                               float *at) {
    const kpd__v less = kpd__times(codes, KPD__NARROW_ZERO), by = kpd__set(step), here = kpd__set(number);
    for (size_t r = 0; r < rows * 16; r += 16) {
        const kpd__v s = kpd__mul(kpd__corrected(sums + r, less), by), most = kpd__load(best + r);
        kpd__store(at + r, kpd__pick_lt(most, s, here, kpd__load(at + r)));
        kpd__store(best + r, kpd__pick_lt(most, s, s, most));
    }
}

static void KPD__NAME(add_share)(float *to, const float *v, size_t n, float share) {
    for (size_t i = 0; i < n; i += 16) {
        size_t m = kpd__part_n(i, n);
        kpd__store_n(to + i, m, kpd__add(kpd__load_n(to + i, m), kpd__mul(kpd__load_n(v + i, m), kpd__set(share))));
    }
}

// The rows with a number sums[row][i] - zero codes[i] that reaches what the row needs: to which, with room for one more, row
// << 16 | a bit of each such i; how many. Where what is needed is not a number, all are taken.
static size_t KPD__NAME(reach)(const kpd__needs *p, const int32_t *sums, const int32_t *codes, size_t rows, uint32_t *which) {
    const kpd__v less = kpd__times(codes, p->zero), none = kpd__set(-FLT_MAX);
    size_t n = 0;
    for (size_t i = 0; i < rows; i += 16) {
        float least[16];
        size_t m = rows - i < 16 ? rows - i : 16;
        kpd__v t = kpd__fmadd(kpd__set(p->shift), kpd__load(p->each + i), kpd__load(p->wanted + i));
        t = kpd__fmadd(kpd__set(-p->near), kpd__load(p->length + i), t);
        t = kpd__fmadd(kpd__set(-p->far), kpd__load(p->error + i), t);
        t = kpd__fmadd(t, kpd__set(p->scale), kpd__set(-4));
        kpd__store(least, kpd__pick_lt(none, t, t, kpd__set(-INFINITY)));
        for (size_t r = 0; r < m; r++) {
            uint32_t mask = kpd__mask_ge(kpd__corrected(sums + (i + r) * 16, less), kpd__set(least[r]));
            which[n] = (uint32_t)(i + r) << 16 | mask;
            n += mask != 0;
        }
    }
    return n;
}

// How many of n scores, a multiple of 16, reach `least`.
KPD__INLINE size_t KPD__NAME(n_above)(const float *scores, size_t n, float least) {
    const kpd__v limit = kpd__set(least);
    size_t count = 0;
    for (size_t i = 0; i < n; i += 16) count += kpd__count_bits(kpd__mask_ge(kpd__load(scores + i), limit));
    return count;
}

// A score that at least `least` and at most `most` of n, a multiple of 16, reach; where many are equal, as few more as can be;
// -FLT_MAX if there are not so many. -INFINITY counts as none. Found by halves, from the middle between the mean and the top:
// what is counted is whole, so the same bits everywhere.
static float KPD__NAME(least_of)(const float *scores, size_t n, size_t least, size_t most) {
    const kpd__v none = kpd__set(-FLT_MAX), zero = kpd__set(0);
    kpd__v best = kpd__set(-INFINITY), sum = zero, live = zero;
    float low = -INFINITY, high, top, step, at;
    for (size_t i = 0; i < n; i += 16) {
        kpd__v s = kpd__load(scores + i);
        best = kpd__vmax(best, s);
        sum = kpd__add(sum, kpd__pick_lt(s, none, zero, s));
        live = kpd__add(live, kpd__pick_lt(s, none, zero, kpd__set(1)));
    }
    high = top = kpd__hmax(best);
    step = 0.5f * (high - kpd__sum(sum) / kpd__sum(live));
    at = high - step;
    if (n <= least || !(step >= 0)) return -FLT_MAX;    // nothing lives, or sums overflow
    for (int round = 0; round < 128; round++) {
        size_t count = KPD__NAME(n_above)(scores, n, at);
        if (count >= least && count <= most) return at;
        if (count >= least) low = at;
        else {
            high = at;
            if (!(low >= -FLT_MAX)) {
                if (!(at >= -FLT_MAX)) return -FLT_MAX;
                at -= step *= 2;
                continue;
            }
        }
        at = 0.5f * low + 0.5f * high;
        if (!(at > low && at < high)) break;
    }
    return high == top && KPD__NAME(n_above)(scores, n, top) >= least ? top : low;  // the top itself was not tried yet
}

// 4-bit panels: lane i is the sum over d of nibble d of vector i times q[d]. 64 bytes are 8 dimensions of 16 vectors, 4 bytes
// of each: the low nibbles are the first four, the high ones the others. Eight products of a nibble and a byte fit 16 bits.
#if KPD__LEVEL == 2
KPD__INLINE __m256i KPD__NAME(nibbles8)(const uint8_t *codes, size_t groups, const int8_t *q) {
    const __m256i low = _mm256_set1_epi8(15), ones = _mm256_set1_epi16(1);
    __m256i sum = _mm256_setzero_si256();
    for (size_t g = 0; g < groups;) {
        __m256i a = _mm256_setzero_si256(), b = a;
        for (size_t end = g + 8 < groups ? g + 8 : groups; g < end; g++) {
            __m256i w = KPD__NAME(bits8)(codes + g * 64);
            int32_t four[2];
            memcpy(four, q + g * 8, sizeof four);
            a = _mm256_add_epi16(a, _mm256_maddubs_epi16(_mm256_and_si256(w, low), _mm256_set1_epi32(four[0])));
            b = _mm256_add_epi16(b, _mm256_maddubs_epi16(_mm256_and_si256(_mm256_srli_epi16(w, 4), low),
                                                         _mm256_set1_epi32(four[1])));
        }
        sum = _mm256_add_epi32(sum, _mm256_add_epi32(_mm256_madd_epi16(a, ones), _mm256_madd_epi16(b, ones)));
    }
    return sum;
}
KPD__INLINE kpd__v KPD__NAME(nibbles)(const uint8_t *codes, size_t groups, const int8_t *q) {
    return kpd__join(_mm256_cvtepi32_ps(KPD__NAME(nibbles8)(codes, groups, q)),
                     _mm256_cvtepi32_ps(KPD__NAME(nibbles8)(codes + 32, groups, q)));
}
#elif KPD__LEVEL == 3
KPD__INLINE kpd__v KPD__NAME(nibbles)(const uint8_t *codes, size_t groups, const int8_t *q) {
    const __m512i low = _mm512_set1_epi8(15), ones = _mm512_set1_epi16(1);
    __m512i sum = _mm512_setzero_si512();
    for (size_t g = 0; g < groups;) {
        __m512i a = _mm512_setzero_si512(), b = a;
        for (size_t end = g + 8 < groups ? g + 8 : groups; g < end; g++) {
            __m512i w = _mm512_loadu_si512(codes + g * 64);
            int32_t four[2];
            memcpy(four, q + g * 8, sizeof four);
            a = _mm512_add_epi16(a, _mm512_maddubs_epi16(_mm512_and_si512(w, low), _mm512_set1_epi32(four[0])));
            b = _mm512_add_epi16(b, _mm512_maddubs_epi16(_mm512_and_si512(_mm512_srli_epi16(w, 4), low),
                                                         _mm512_set1_epi32(four[1])));
        }
        sum = _mm512_add_epi32(sum, _mm512_add_epi32(_mm512_madd_epi16(a, ones), _mm512_madd_epi16(b, ones)));
    }
    return _mm512_maskz_cvtepi32_ps(0xFFFF, sum);
}
#elif KPD__LEVEL == 4
KPD__INLINE int8x16_t KPD__NAME(quad)(const int8_t *q) {        // four numbers, four times
    int32_t four;
    memcpy(&four, q, sizeof four);
    return vreinterpretq_s8_s32(vdupq_n_s32(four));
}
KPD__INLINE kpd__v KPD__NAME(nibbles)(const uint8_t *codes, size_t groups, const int8_t *q) {
    int32x4_t sum[8];                           // of two vectors, of each the sums of two pairs
    for (size_t i = 0; i < 8; i++) sum[i] = vdupq_n_s32(0);
    for (size_t g = 0; g < groups;) {
        int16x8_t few[8];                       // 16 products of at most 15 and 127 fit
        for (size_t i = 0; i < 8; i++) few[i] = vdupq_n_s16(0);
        for (size_t end = g + 8 < groups ? g + 8 : groups; g < end; g++) {
            const int8x8_t a = vget_low_s8(KPD__NAME(quad)(q + g * 8)), b = vget_low_s8(KPD__NAME(quad)(q + g * 8 + 4));
            for (size_t i = 0; i < 8; i++) {
                const uint8x8_t w = vld1_u8(codes + g * 64 + i * 8);
                few[i] = vmlal_s8(few[i], vreinterpret_s8_u8(vand_u8(w, vdup_n_u8(15))), a);
                few[i] = vmlal_s8(few[i], vreinterpret_s8_u8(vshr_n_u8(w, 4)), b);
            }
        }
        for (size_t i = 0; i < 8; i++) sum[i] = vpadalq_s16(sum[i], few[i]);
    }
    return kpd__join(vcvtq_f32_s32(vpaddq_s32(sum[0], sum[1])), vcvtq_f32_s32(vpaddq_s32(sum[2], sum[3])),
                     vcvtq_f32_s32(vpaddq_s32(sum[4], sum[5])), vcvtq_f32_s32(vpaddq_s32(sum[6], sum[7])));
}
#else
KPD__INLINE kpd__v KPD__NAME(nibbles)(const uint8_t *codes, size_t groups, const int8_t *q) {
    int32_t sum[16] = {0};
    for (size_t g = 0; g < groups; g++, q += 8)
        for (size_t i = 0; i < 16; i++, codes += 4)
            for (size_t j = 0; j < 4; j++) sum[i] += (codes[j] & 15) * q[j] + (codes[j] >> 4) * q[4 + j];
    return kpd__whole(sum);
}
#endif
KPD__TREE_KERNELS(KPD__NAME(nodes), KPD__NAME(nodes_of), KPD__NAME(codes), KPD__NAME(codes_of), KPD__NAME(nibbles))

#if KPD__LEVEL == 2 || KPD__LEVEL == 3
#define KPD__OPERAND KPD__WORDS
#define KPD__NARROW_DOTS KPD__NAME(narrow_dots)
#else
#define KPD__OPERAND KPD__BYTES
#define KPD__NARROW_DOTS NULL
#endif
static const kpd__ops KPD__NAME(ops) =
    KPD__OPS((kpd_simd)KPD__LEVEL, KPD__OPERAND, NULL, KPD__NAME(int8_dots), KPD__NARROW_DOTS, KPD__NAME(int8_attention), NULL,
             NULL, gemm, KPD__NAME(round_rows), NULL, KPD__NAME(walk), KPD__NAME, KPD__NAME);
#undef KPD__OPERAND
#undef KPD__NARROW_DOTS
#undef KPD__ROUNDS_TO_HALF

#endif // !KPD__NAMES
#endif // KPD__LEVEL

// ------------------------------------------------------------------------------------------------------------------
// IMPLEMENTATION, part C: the tables of >>unicode.
#if defined(KPD__LEVEL) && KPD__LEVEL == 0
// generated by tools/unicode.py: begin
// As in tokenizers 0.23.3: categories of Unicode 8.0, NFD of Unicode 9.0, lower case of Unicode 17.0.
static const uint32_t kpd__classes[1069] = {
    1,290,353,418,449,1026,1059,1536,1859,2080,2915,3104,3939,4065,5122,5155,5184,5347,5376,5475,5504,5537,5568,5827,5888,5987,
    6016,6115,6144,24593,25266,25292,25426,25451,25484,25642,25708,25834,25900,26246,26412,26545,26802,26833,26860,26961,27052,
    27109,27153,27244,27377,27410,27436,27505,27538,27761,28160,28611,28640,28899,28928,36977,37120,43843,44032,45347,45408,
    45612,45649,45772,45809,45900,45969,46156,46353,46412,46449,46508,46544,46577,46602,47043,47082,47107,47146,47203,47249,
    47276,47299,47338,47360,48739,48800,49153,49344,49443,49504,49539,49600,49681,49930,50019,50049,50080,50115,50176,51562,
    51825,51884,51953,52108,52145,52204,52224,52547,52672,52746,52768,55939,55968,56017,56225,56256,56305,56428,56465,56480,
    56561,56608,56652,56689,56748,56768,57347,57792,57825,57856,57898,57920,58897,58924,58961,59020,59057,59116,59217,59244,
    59313,59340,59377,59468,59505,59532,59569,59596,59633,59660,59697,59744,62661,63008,64881,65100,65137,65152,65251,65344,
    66257,66368,66417,66688,66737,66816,66865,67008,67075,67552,68396,68480,68547,68576,72344,72768,72812,72849,72908,72945,
    73004,73041,73132,73226,73329,73420,73457,73516,73585,73733,73824,75589,75616,75655,75680,75813,76064,76201,76224,76337,
    76364,76401,76453,76544,76869,76931,76992,77315,77344,77861,77888,79751,79776,79909,80032,80297,80320,80965,81024,81957,
    82016,83847,83872,84005,84064,84197,84256,84325,84393,84416,84517,84544,85509,85568,85669,85696,86053,86112,87943,87968,
    88101,88256,88293,88352,88489,88512,89157,89216,89603,89632,90149,90176,92039,92064,92133,92160,92197,92320,92585,92608,
    92869,92896,93253,93312,94277,94304,96261,96288,96681,96704,98309,98336,100293,100384,100549,100640,100677,100777,100800,
    101034,101088,101445,101504,102437,102464,104327,104352,104421,104448,104645,104672,104837,104873,104896,105541,105600,
    106533,106560,108581,108704,108969,108992,109637,109696,112969,112992,113221,113312,113349,113376,114307,114336,116261,
    116288,116357,116490,116553,116576,116965,117002,117125,117219,117248,117571,117632,120357,120384,120453,120586,120640,
    120677,120736,121098,121221,121280,123011,123488,123523,123552,123660,123712,124588,124608,124652,124672,124715,124739,
    124864,126506,126661,126794,126917,126944,126986,127057,127113,127139,127185,127232,127397,127744,127781,128928,129228,
    129248,129539,129696,129827,129888,132517,132640,132677,132839,132864,132905,132960,133029,133088,133443,133632,133893,
    133952,134085,134176,134693,134816,135237,135264,135333,135392,135596,135616,136101,136128,139107,139136,158641,158723,
    159008,163843,163872,183715,183776,184322,184352,185187,185248,187747,187840,188997,189065,189088,190021,190089,190115,
    190176,191045,191104,192069,192128,194181,194240,194277,194496,194757,194784,194853,195145,195173,195203,195296,195331,
    195424,195505,195520,196611,196965,197057,197088,202032,202048,205829,205920,206053,206112,206405,206432,206636,206673,
    206700,206720,206979,207040,213745,213772,213792,213861,213888,213955,214016,215749,215776,215813,216032,216073,216096,
    216133,216160,216229,216480,216677,216753,216992,217068,217088,218115,218336,218371,218560,218641,218796,218993,219052,
    219072,221189,221312,222855,222880,222917,223072,223109,223136,223301,223328,223380,223392,224067,224288,224625,224652,
    224689,224896,225285,225344,226373,226496,226565,226644,226665,226693,226752,228551,228576,228613,228672,228773,228800,
    228837,228948,228992,229251,229376,230789,231040,231109,231143,231168,231267,231424,233411,233472,235523,235776,236049,
    236131,236166,236204,236369,236428,236561,236576,236614,236832,236972,236992,237201,237216,237329,237376,243729,243788,
    243825,244044,244081,244146,244170,244204,244234,244273,245440,245624,245650,245676,245713,245740,245760,262146,262497,
    262659,263426,263489,263650,263683,264320,264355,264768,264803,265186,265217,265376,265409,265728,266147,266208,266659,
    266720,268817,268870,268945,269062,269169,269216,269361,269376,269478,269553,269580,269617,269638,269708,269841,269856,
    286979,287104,288035,288096,322819,323264,325795,325856,326851,327168,340067,340768,342787,342912,343939,344000,368113,
    368192,368419,368544,368579,368640,372227,372256,372713,372736,375825,376835,378336,378371,378976,393218,393251,393344,
    393475,393792,393859,394240,394572,394608,394642,394668,394710,394755,394784,395171,395200,398120,398176,398339,398368,
    401251,401280,425988,636928,638980,1310720,1351619,1351680,1360291,1360384,1363441,1363456,1363555,1363601,1363907,1363936,
    1364945,1364992,1367569,1367619,1367808,1376325,1376352,1376457,1376480,1376613,1376640,1377445,1377504,1379971,1380096,
    1382537,1382560,1382851,1382912,1383441,1384000,1384195,1384288,1384323,1384352,1385669,1385836,1385923,1385984,1386725,
    1387072,1387124,1387136,1387491,1387520,1388549,1388640,1390183,1390208,1390277,1390400,1390469,1390496,1390612,1390627,
    1391040,1391555,1391616,1391781,1391808,1393957,1394144,1394213,1394272,1394341,1394400,1394789,1394816,1395077,1395104,
    1395587,1395712,1396613,1396640,1398289,1398304,1398353,1398412,1398432,1398513,1398560,1398737,1398784,1398833,1398848,
    1399747,1399808,1400197,1400256,1400323,1400384,1400521,1400544,1408165,1408192,1408261,1408288,1408355,1408384,1408425,
    1408448,1835009,2039812,2056192,2057162,2057184,2074563,2074624,2080773,2081283,2081600,2081809,2082028,2082257,2082307,
    2083424,2083459,2083904,2083939,2083968,2084099,2084128,2084163,2084224,2088929,2088960,2088995,2089088,2089123,2089312,
    2089347,2089472,2089795,2089856,2089955,2090016,2090851,2090944,2090979,2091008,2091875,2091904,2091939,2091968,2092003,
    2092224,2096929,2097024,2097057,2097088,2105347,2105440,2113452,2113472,2120716,2120736,2125521,2125664,2126819,2126848,
    2128387,2128416,2141667,2141696,2165475,2165504,2171875,2171904,2172899,2172928,2179109,2179200,2179237,2179296,2179461,
    2179500,2179525,2179569,2179584,2180881,2180902,2180940,2180960,2181097,2181120,2181635,2181920,2183139,2183168,2186417,
    2186444,2186464,2186755,2186976,2189091,2189312,2192163,2192288,2228261,2228288,2230021,2230473,2230499,2230720,2232297,
    2232325,2232384,2233957,2234080,2234153,2234183,2234211,2234273,2234307,2234432,2236433,2236512,2237669,2237824,2237861,
    2238057,2238112,2238467,2238592,2240103,2240131,2240192,2240517,2240576,2242245,2242528,2242580,2242592,2242723,2242887,
    2242917,2242979,2243008,2243427,2243456,2243491,2243584,2246117,2246208,2246277,2246324,2246343,2246373,2246403,2246592,
    2250019,2250048,2251749,2251776,2251877,2252071,2252105,2252128,2252805,2252864,2254727,2254752,2254853,2254880,2255284,
    2255296,2256081,2256288,2256401,2256544,2263124,2263136,2263251,2263264,2266725,2266912,2266949,2266976,2267109,2267168,
    2267209,2267239,2267264,2267331,2267360,2274885,2275008,2275205,2275264,2275305,2275335,2275363,2276096,2276229,2276288,
    2279013,2279264,2279333,2279360,2279401,2279429,2279459,2279552,2282853,2282880,2282917,2282944,2283013,2283220,2283239,
    2283264,2286501,2286592,2286661,2286784,2286821,2286953,2286976,2287491,2287584,2328564,2328576,2395651,2395808,2969027,
    2969088,2973190,2973347,2973376,2975249,2975459,2975616,2975875,2975904,3011045,3011168,3642277,3642310,3642339,3642369,
    3642496,3812533,3812582,3812672,3812791,3812821,3812961,3813228,3813472,3813553,3813708,3813760,3814737,3814848,3819601,
    3819680,3883013,3884768,3884901,3886496,3886757,3886784,3887237,3887264,3887331,3887488,3887973,3888128,3888165,3888640,
    3932184,3932384,3932440,3932960,3933048,3933248,3933304,3933344,3933400,3933536,4004364,4004576,4008088,4008275,4008288,
    4194308,5561344,5562372,5702656,5710852,5887488,6225924,6243328,29360161,29360192,29361153,29364224,29368325,29376000,
    31457281,33554368,33554433,35651520};
static const kpd__lower_run kpd__lower_runs[185] = {
    {65,90,32,1},{192,214,32,1},{216,222,32,1},{256,302,1,2},{306,310,1,2},{313,327,1,2},{330,374,1,2},{376,376,-121,1},
    {377,381,1,2},{385,385,210,1},{386,388,1,2},{390,390,206,1},{391,391,1,1},{393,394,205,1},{395,395,1,1},{398,398,79,1},
    {399,399,202,1},{400,400,203,1},{401,401,1,1},{403,403,205,1},{404,404,207,1},{406,406,211,1},{407,407,209,1},{408,408,1,1},
    {412,412,211,1},{413,413,213,1},{415,415,214,1},{416,420,1,2},{422,422,218,1},{423,423,1,1},{425,425,218,1},{428,428,1,1},
    {430,430,218,1},{431,431,1,1},{433,434,217,1},{435,437,1,2},{439,439,219,1},{440,440,1,1},{444,444,1,1},{452,452,2,1},
    {453,453,1,1},{455,455,2,1},{456,456,1,1},{458,458,2,1},{459,475,1,2},{478,494,1,2},{497,497,2,1},{498,500,1,2},
    {502,502,-97,1},{503,503,-56,1},{504,542,1,2},{544,544,-130,1},{546,562,1,2},{570,570,10795,1},{571,571,1,1},
    {573,573,-163,1},{574,574,10792,1},{577,577,1,1},{579,579,-195,1},{580,580,69,1},{581,581,71,1},{582,590,1,2},{880,882,1,2},
    {886,886,1,1},{895,895,116,1},{902,902,38,1},{904,906,37,1},{908,908,64,1},{910,911,63,1},{913,929,32,1},{931,939,32,1},
    {975,975,8,1},{984,1006,1,2},{1012,1012,-60,1},{1015,1015,1,1},{1017,1017,-7,1},{1018,1018,1,1},{1021,1023,-130,1},
    {1024,1039,80,1},{1040,1071,32,1},{1120,1152,1,2},{1162,1214,1,2},{1216,1216,15,1},{1217,1229,1,2},{1232,1326,1,2},
    {1329,1366,48,1},{4256,4293,7264,1},{4295,4295,7264,1},{4301,4301,7264,1},{5024,5103,38864,1},{5104,5109,8,1},
    {7305,7305,1,1},{7312,7354,-3008,1},{7357,7359,-3008,1},{7680,7828,1,2},{7838,7838,-7615,1},{7840,7934,1,2},
    {7944,7951,-8,1},{7960,7965,-8,1},{7976,7983,-8,1},{7992,7999,-8,1},{8008,8013,-8,1},{8025,8031,-8,2},{8040,8047,-8,1},
    {8072,8079,-8,1},{8088,8095,-8,1},{8104,8111,-8,1},{8120,8121,-8,1},{8122,8123,-74,1},{8124,8124,-9,1},{8136,8139,-86,1},
    {8140,8140,-9,1},{8152,8153,-8,1},{8154,8155,-100,1},{8168,8169,-8,1},{8170,8171,-112,1},{8172,8172,-7,1},
    {8184,8185,-128,1},{8186,8187,-126,1},{8188,8188,-9,1},{8486,8486,-7517,1},{8490,8490,-8383,1},{8491,8491,-8262,1},
    {8498,8498,28,1},{8544,8559,16,1},{8579,8579,1,1},{9398,9423,26,1},{11264,11311,48,1},{11360,11360,1,1},
    {11362,11362,-10743,1},{11363,11363,-3814,1},{11364,11364,-10727,1},{11367,11371,1,2},{11373,11373,-10780,1},
    {11374,11374,-10749,1},{11375,11375,-10783,1},{11376,11376,-10782,1},{11378,11378,1,1},{11381,11381,1,1},
    {11390,11391,-10815,1},{11392,11490,1,2},{11499,11501,1,2},{11506,11506,1,1},{42560,42604,1,2},{42624,42650,1,2},
    {42786,42798,1,2},{42802,42862,1,2},{42873,42875,1,2},{42877,42877,-35332,1},{42878,42886,1,2},{42891,42891,1,1},
    {42893,42893,-42280,1},{42896,42898,1,2},{42902,42920,1,2},{42922,42922,-42308,1},{42923,42923,-42319,1},
    {42924,42924,-42315,1},{42925,42925,-42305,1},{42926,42926,-42308,1},{42928,42928,-42258,1},{42929,42929,-42282,1},
    {42930,42930,-42261,1},{42931,42931,928,1},{42932,42946,1,2},{42948,42948,-48,1},{42949,42949,-42307,1},
    {42950,42950,-35384,1},{42951,42953,1,2},{42955,42955,-42343,1},{42956,42970,1,2},{42972,42972,-42561,1},{42997,42997,1,1},
    {65313,65338,32,1},{66560,66599,40,1},{66736,66771,40,1},{66928,66938,39,1},{66940,66954,39,1},{66956,66962,39,1},
    {66964,66965,39,1},{68736,68786,64,1},{68944,68965,32,1},{71840,71871,32,1},{93760,93791,32,1},{93856,93880,27,1},
    {125184,125217,34,1}};
static const kpd__nfd_run kpd__nfd_runs[67] = {
    {192,191,0},{416,2,191},{431,2,193},{461,103,195},{884,1,298},{894,19,299},{938,7,318},{970,11,325},{1024,15,336},
    {1049,1,351},{1081,1,352},{1104,15,353},{1142,2,368},{1217,2,370},{1232,42,372},{1570,5,414},{1728,3,419},{1747,1,422},
    {2345,12,423},{2392,8,435},{2507,2,443},{2524,4,445},{2611,4,449},{2649,6,453},{2888,5,459},{2908,2,464},{2964,1,466},
    {3018,3,467},{3264,12,470},{3402,3,482},{3546,5,485},{3907,1,490},{3917,16,491},{3945,1,507},{4134,1,508},{6918,13,509},
    {6971,9,522},{7680,514,531},{8486,6,1045},{8602,2,1051},{8622,1,1053},{8653,3,1054},{8708,9,1057},{8740,3,1066},
    {8769,9,1069},{8800,3,1078},{8813,29,1081},{8876,4,1110},{8928,14,1114},{9001,2,1128},{10972,1,1130},{12364,50,1131},
    {12436,1,1181},{12446,1,1182},{12460,50,1183},{12532,11,1233},{63744,474,1244},{64285,3,1718},{64298,37,1721},
    {69786,3,1758},{69803,1,1761},{70475,2,1762},{70843,4,1764},{71098,2,1768},{119134,7,1770},{119227,6,1777},
    {194560,542,1783}};
static const uint16_t kpd__nfd_values[2325] = {
    65,65,65,65,65,65,0,67,69,69,69,69,73,73,73,73,0,78,79,79,79,79,79,0,0,85,85,85,85,89,0,0,97,97,97,97,97,97,0,99,101,101,
    101,101,105,105,105,105,0,110,111,111,111,111,111,0,0,117,117,117,117,121,0,121,65,97,65,97,65,97,67,99,67,99,67,99,67,99,
    68,100,0,0,69,101,69,101,69,101,69,101,69,101,71,103,71,103,71,103,71,103,72,104,0,0,73,105,73,105,73,105,73,105,73,0,0,0,
    74,106,75,107,0,76,108,76,108,76,108,0,0,0,0,78,110,78,110,78,110,0,0,0,79,111,79,111,79,111,0,0,82,114,82,114,82,114,83,
    115,83,115,83,115,83,115,84,116,84,116,0,0,85,117,85,117,85,117,85,117,85,117,85,117,87,119,89,121,89,90,122,90,122,90,122,
    79,111,85,117,65,97,73,105,79,111,85,117,85,117,85,117,85,117,85,117,0,65,97,65,97,198,230,0,0,71,103,75,107,79,111,79,111,
    439,658,106,0,0,0,71,103,0,0,78,110,65,97,198,230,216,248,65,97,65,97,69,101,69,101,73,105,73,105,79,111,79,111,82,114,82,
    114,85,117,85,117,83,115,84,116,0,0,72,104,0,0,0,0,0,0,65,97,69,101,79,111,79,111,79,111,79,111,89,121,697,59,0,0,0,0,0,0,
    168,913,183,917,919,921,0,927,0,933,937,953,921,933,945,949,951,953,965,953,965,959,965,969,0,0,0,0,978,978,1045,1045,0,
    1043,0,0,0,1030,0,0,0,0,1050,1048,1059,1048,1080,1077,1077,0,1075,0,0,0,1110,0,0,0,0,1082,1080,1091,1140,1141,1046,1078,
    1040,1072,1040,1072,0,0,1045,1077,0,0,1240,1241,1046,1078,1047,1079,0,0,1048,1080,1048,1080,1054,1086,0,0,1256,1257,1069,
    1101,1059,1091,1059,1091,1059,1091,1063,1095,0,0,1067,1099,1575,1575,1608,1575,1610,1749,0,1729,1746,2344,0,0,0,0,0,0,0,
    2352,0,0,2355,2325,2326,2327,2332,2337,2338,2347,2351,55296,55297,2465,2466,0,2479,2610,0,0,2616,2582,2583,2588,0,0,2603,
    2887,0,0,55298,55299,2849,2850,55300,55301,55302,55303,3285,0,0,0,0,0,0,3285,3286,0,3266,55304,55305,55306,55307,3545,0,
    55308,55308,55309,3906,3916,0,0,0,0,3921,0,0,0,0,3926,0,0,0,0,3931,3904,4133,55310,0,55311,0,55312,0,55313,0,55314,0,0,0,
    55315,6965,0,6965,0,0,55316,55317,0,6965,65,97,66,98,66,98,66,98,67,99,68,100,68,100,68,100,68,100,68,100,69,101,69,101,69,
    101,69,101,69,101,70,102,71,103,72,104,72,104,72,104,72,104,72,104,73,105,73,105,75,107,75,107,75,107,76,108,76,108,76,108,
    76,108,77,109,77,109,77,109,78,110,78,110,78,110,78,110,79,111,79,111,79,111,79,111,80,112,80,112,82,114,82,114,82,114,82,
    114,83,115,83,115,83,115,83,115,83,115,84,116,84,116,84,116,84,116,85,117,85,117,85,117,85,117,85,117,86,118,86,118,87,119,
    87,119,87,119,87,119,87,119,88,120,88,120,89,121,90,122,90,122,90,122,104,116,119,121,0,383,0,0,0,0,65,97,65,97,65,97,65,97,
    65,97,65,97,65,97,65,97,65,97,65,97,65,97,65,97,69,101,69,101,69,101,69,101,69,101,69,101,69,101,69,101,73,105,73,105,79,
    111,79,111,79,111,79,111,79,111,79,111,79,111,79,111,79,111,79,111,79,111,79,111,85,117,85,117,85,117,85,117,85,117,85,117,
    85,117,89,121,89,121,89,121,89,121,0,0,0,0,0,0,945,945,945,945,945,945,945,945,913,913,913,913,913,913,913,913,949,949,949,
    949,949,949,0,0,917,917,917,917,917,917,0,0,951,951,951,951,951,951,951,951,919,919,919,919,919,919,919,919,953,953,953,953,
    953,953,953,953,921,921,921,921,921,921,921,921,959,959,959,959,959,959,0,0,927,927,927,927,927,927,0,0,965,965,965,965,965,
    965,965,965,0,933,0,933,0,933,0,933,969,969,969,969,969,969,969,969,937,937,937,937,937,937,937,937,945,945,949,949,951,951,
    953,953,959,959,965,965,969,969,0,0,945,945,945,945,945,945,945,945,913,913,913,913,913,913,913,913,951,951,951,951,951,951,
    951,951,919,919,919,919,919,919,919,919,969,969,969,969,969,969,969,969,937,937,937,937,937,937,937,937,945,945,945,945,945,
    0,945,945,913,913,913,913,913,0,953,0,0,168,951,951,951,0,951,951,917,917,919,919,919,8127,8127,8127,953,953,953,953,0,0,
    953,953,921,921,921,921,0,8190,8190,8190,965,965,965,965,961,961,965,965,933,933,933,933,929,168,168,96,0,0,969,969,969,0,
    969,969,927,927,937,937,937,180,0,0,8194,8195,937,0,0,0,75,65,8592,8594,8596,8656,8660,8658,8707,0,0,0,0,8712,0,0,8715,8739,
    0,8741,8764,0,0,8771,0,0,8773,0,8776,61,0,8801,8781,60,62,8804,8805,0,0,8818,8819,0,0,8822,8823,0,0,0,0,0,0,8826,8827,0,0,
    8834,8835,0,0,8838,8839,8866,8872,8873,8875,8828,8829,8849,8850,0,0,0,0,0,0,8882,8883,8884,8885,12296,12297,10973,12363,0,
    12365,0,12367,0,12369,0,12371,0,12373,0,12375,0,12377,0,12379,0,12381,0,12383,0,12385,0,0,12388,0,12390,0,12392,0,0,0,0,0,0,
    12399,12399,0,12402,12402,0,12405,12405,0,12408,12408,0,12411,12411,12358,12445,12459,0,12461,0,12463,0,12465,0,12467,0,
    12469,0,12471,0,12473,0,12475,0,12477,0,12479,0,12481,0,0,12484,0,12486,0,12488,0,0,0,0,0,0,12495,12495,0,12498,12498,0,
    12501,12501,0,12504,12504,0,12507,12507,12454,0,0,12527,12528,12529,12530,0,0,0,12541,35912,26356,36554,36040,28369,20018,
    21477,40860,40860,22865,37329,21895,22856,25078,30313,32645,34367,34746,35064,37007,27138,27931,28889,29662,33853,37226,
    39409,20098,21365,27396,29211,34349,40478,23888,28651,34253,35172,25289,33240,34847,24266,26391,28010,29436,37070,20358,
    20919,21214,25796,27347,29200,30439,32769,34310,34396,36335,38706,39791,40442,30860,31103,32160,33737,37636,40575,35542,
    22751,24324,31840,32894,29282,30922,36034,38647,22744,23650,27155,28122,28431,32047,32311,38475,21202,32907,20956,20940,
    31260,32190,33777,38517,35712,25295,27138,35582,20025,23527,24594,29575,30064,21271,30971,20415,24489,19981,27852,25976,
    32034,21443,22622,30465,33865,35498,27578,36784,27784,25342,33509,25504,30053,20142,20841,20937,26753,31975,33391,35538,
    37327,21237,21570,22899,24300,26053,28670,31018,38317,39530,40599,40654,21147,26310,27511,36706,24180,24976,25088,25754,
    28451,29001,29833,31178,32244,32879,36646,34030,36899,37706,21015,21155,21693,28872,35010,35498,24265,24565,25467,27566,
    31806,29557,20196,22265,23527,23994,24604,29618,29801,32666,32838,37428,38646,38728,38936,20363,31150,37300,38584,24801,
    20102,20698,23534,23615,26009,27138,29134,30274,34044,36988,40845,26248,38446,21129,26491,26611,27969,28316,29705,30041,
    30827,32016,39006,20845,25134,38520,20523,23833,28138,36650,24459,24900,26647,29575,38534,21033,21519,23653,26131,26446,
    26792,27877,29702,30178,32633,35023,35041,37324,38626,21311,28346,21533,29136,29848,34298,38563,40023,40607,26519,28107,
    33256,31435,31520,31890,29376,28825,35672,20160,33590,21050,20999,24230,25299,31958,23429,27934,26292,36667,34892,38477,
    35211,24275,20800,21952,0,0,22618,0,26228,0,0,20958,29482,30410,31036,31070,31077,31119,38742,31934,32701,0,34322,0,35576,0,
    0,36920,37117,0,0,0,39151,39164,39208,40372,37086,38583,20398,20711,20813,21193,21220,21329,21917,22022,22120,22592,22696,
    23652,23662,24724,24936,24974,25074,25935,26082,26257,26757,28023,28186,28450,29038,29227,29730,30865,31038,31049,31048,
    31056,31062,31069,31117,31118,31296,31361,31680,32244,32265,32321,32626,32773,33261,33401,33401,33879,35088,35222,35585,
    35641,36051,36104,36790,36920,38627,38911,38971,24693,55318,33304,0,0,20006,20917,20840,20352,20805,20864,21191,21242,21917,
    21845,21913,21986,22618,22707,22852,22868,23138,23336,24274,24281,24425,24493,24792,24910,24840,24974,24928,25074,25140,
    25540,25628,25682,25942,26228,26391,26395,26454,27513,27578,27969,28379,28363,28450,28702,29038,30631,29237,29359,29482,
    29809,29958,30011,30237,30239,30410,30427,30452,30538,30528,30924,31409,31680,31867,32091,32244,32574,32773,33618,33775,
    34681,35137,35206,35222,35519,35576,35531,35585,35582,35565,35641,35722,36104,36664,36978,37273,37494,38524,38627,38742,
    38875,38911,38923,38971,39698,40860,55319,55320,55321,15261,16408,16441,55322,55323,55324,40771,40846,1497,0,1522,1513,1513,
    1513,1513,1488,1488,1488,1489,1490,1491,1492,1493,1494,0,1496,1497,1498,1499,1500,0,1502,0,1504,1505,0,1507,1508,0,1510,
    1511,1512,1513,1514,1493,1489,1499,1508,55325,0,55326,55327,55328,55329,55330,55331,0,55332,55333,55334,55335,55336,55337,
    55338,55339,55340,55341,55342,55343,55344,55345,55346,55347,20029,20024,20033,55348,20320,20398,20411,20482,20602,20633,
    20711,20687,13470,55349,20813,20820,20836,20855,55350,13497,20839,20877,55351,20887,20900,20172,20908,20917,55352,20981,
    20995,13535,21051,21062,21106,21111,13589,21191,21193,21220,21242,21253,21254,21271,21321,21329,21338,21363,21373,21375,
    21375,21375,55353,28784,21450,21471,55354,21483,21489,21510,21662,21560,21576,21608,21666,21750,21776,21843,21859,21892,
    21892,21913,21931,21939,21954,22294,22022,22295,22097,22132,20999,22766,22478,22516,22541,22411,22578,22577,22700,55355,
    22770,22775,22790,22810,22818,22882,55356,55357,23020,23067,23079,23000,23142,14062,14076,23304,23358,23358,55358,23491,
    23512,23527,23539,55359,23551,23558,24403,23586,14209,23648,23662,23744,23693,55360,23875,55361,23918,23915,23932,24033,
    24034,14383,24061,24104,24125,24169,14434,55362,14460,24240,24243,24246,24266,55363,24318,55364,55364,33281,24354,24354,
    14535,55365,55366,24418,24427,14563,24474,24525,24535,24569,24705,14650,14620,24724,55367,24775,24904,24908,24910,24908,
    24954,24974,25010,24996,25007,25054,25074,25078,25104,25115,25181,25265,25300,25424,55368,25405,25340,25448,25475,25572,
    55369,25634,25541,25513,14894,25705,25726,25757,25719,14956,25935,25964,55370,26083,26360,26185,15129,26257,15112,15076,
    20882,20885,26368,26268,32941,17369,26391,26395,26401,26462,26451,55371,15177,26618,26501,26706,26757,55372,26766,26655,
    26900,15261,26946,27043,27114,27304,55373,27355,15384,27425,55374,27476,15438,27506,27551,27578,27579,55375,55376,55377,
    27726,55378,27839,27853,27751,27926,27966,28023,27969,28009,28024,28037,55379,27956,28207,28270,15667,28363,28359,55380,
    28153,28526,55381,55382,28614,28729,28702,28699,15766,28746,28797,28791,28845,55383,28997,55384,29084,55385,29224,29237,
    29264,55386,29312,29333,55387,55388,29562,29579,16044,29605,16056,16056,29767,29788,29809,29829,29898,16155,29988,55389,
    30014,55390,30064,55391,30224,55392,55393,55394,16380,16392,30452,55395,55396,55397,55398,30494,30495,30495,30538,16441,
    30603,16454,16534,55399,30798,30860,30924,16611,55400,31062,55401,55402,31119,31211,16687,31296,31306,31311,55403,55404,
    55404,31470,16898,55405,31686,31689,16935,55406,31954,17056,31976,31971,32000,55407,32099,17153,32199,32258,32325,17204,
    55408,55409,17241,55410,32634,55411,32661,32762,32773,55412,55413,32864,55414,32880,55415,17365,32946,33027,17419,33086,
    23221,55416,55417,55418,55419,33281,33284,36766,17515,33425,33419,33437,21171,33457,33459,33469,33510,55420,33509,33565,
    33635,33709,33571,33725,33767,33879,33619,33738,33740,33756,55421,55422,55423,17707,34033,34035,34070,55424,34148,55425,
    17757,17761,55426,55427,17771,34384,34396,34407,34409,34473,34440,34574,34530,34681,34600,34667,34694,17879,34785,34817,
    17913,34912,34915,55428,35031,35038,17973,35066,13499,55429,55430,18110,18119,35488,35565,35722,35925,55431,36011,36033,
    36123,36215,55432,55433,36299,36284,36336,55434,36564,36664,55435,55436,37012,37105,37137,55437,37147,37432,37591,37592,
    37500,37881,37909,55438,38283,18837,38327,55439,18918,38595,23986,38691,55440,55441,19054,19062,38880,55442,19122,55443,
    38923,38923,38953,55444,39138,19251,39209,39335,39362,39422,19406,55445,39698,40000,40189,19662,19693,40295,55446,19704,
    55447,55448,55449,40635,19798,40697,40702,40709,40719,40726,40763,55450};
static const uint32_t kpd__nfd_long[155][3] = {
    {2503,2494,0},{2503,2519,0},{2887,2878,0},{2887,2903,0},{2962,3031,0},{3014,3006,0},{3015,3006,0},{3014,3031,0},
    {3266,3285,0},{3398,3390,0},{3399,3390,0},{3398,3415,0},{3545,3535,0},{3545,3551,0},{6917,6965,0},{6919,6965,0},
    {6921,6965,0},{6923,6965,0},{6925,6965,0},{6929,6965,0},{6974,6965,0},{6975,6965,0},{148206,0,0},{141386,0,0},{141380,0,0},
    {144341,0,0},{152137,0,0},{154832,0,0},{163539,0,0},{69785,0,0},{69787,0,0},{69797,0,0},{70471,70462,0},{70471,70487,0},
    {70841,0,0},{70841,70832,0},{70841,70845,0},{71096,71087,0},{71097,71087,0},{119127,119141,0},{119128,119141,0},
    {119128,119141,119150},{119128,119141,119151},{119128,119141,119152},{119128,119141,119153},{119128,119141,119154},
    {119225,119141,0},{119226,119141,0},{119225,119141,119150},{119226,119141,119150},{119225,119141,119151},
    {119226,119141,119151},{131362,0,0},{132666,0,0},{132380,0,0},{132427,0,0},{168415,0,0},{133676,0,0},{133987,0,0},
    {136420,0,0},{136872,0,0},{136938,0,0},{137672,0,0},{138008,0,0},{138724,0,0},{138726,0,0},{139651,0,0},{172946,0,0},
    {140081,0,0},{144056,0,0},{156122,0,0},{141012,0,0},{142092,0,0},{142321,0,0},{143370,0,0},{144323,0,0},{144493,0,0},
    {145059,0,0},{145575,0,0},{146061,0,0},{138507,0,0},{146170,0,0},{146620,0,0},{146718,0,0},{147153,0,0},{147294,0,0},
    {147342,0,0},{132389,0,0},{148067,0,0},{148395,0,0},{149000,0,0},{149301,0,0},{149524,0,0},{150582,0,0},{150674,0,0},
    {139679,0,0},{151457,0,0},{151480,0,0},{151620,0,0},{151795,0,0},{151794,0,0},{151833,0,0},{151859,0,0},{152605,0,0},
    {153126,0,0},{153242,0,0},{153285,0,0},{153980,0,0},{154279,0,0},{154539,0,0},{154752,0,0},{155526,0,0},{156200,0,0},
    {156231,0,0},{156377,0,0},{156478,0,0},{156890,0,0},{156963,0,0},{157096,0,0},{144223,0,0},{157607,0,0},{157621,0,0},
    {144275,0,0},{144284,0,0},{158524,0,0},{158774,0,0},{159083,0,0},{158933,0,0},{160714,0,0},{159532,0,0},{159665,0,0},
    {159954,0,0},{161383,0,0},{161966,0,0},{162150,0,0},{162984,0,0},{163631,0,0},{133124,0,0},{133342,0,0},{165330,0,0},
    {165357,0,0},{165678,0,0},{166906,0,0},{167287,0,0},{168261,0,0},{168474,0,0},{168970,0,0},{169110,0,0},{169398,0,0},
    {170800,0,0},{172238,0,0},{172293,0,0},{172558,0,0},{172689,0,0},{173568,0,0}};
// generated by tools/unicode.py: end
#endif // KPD__LEVEL == 0

// ------------------------------------------------------------------------------------------------------------------
// HISTORY
//     0.1  tokenizer, model file, bi-encoder and cross-encoder in f32, bf16 and int8, flat and tree index, recommend. ABI 6;
//          files of version 2: config of 64 numbers, special tokens by role in templates, fingerprints, kinds of index
//
// LICENCE  MIT or public domain, at your choice: the texts are in the file LICENSE that comes with this header. In short,
// alternative A: Copyright (c) 2026 the kpd authors; permission is granted, free of charge, to use, copy, modify, merge,
// publish, distribute, sublicense and sell copies, provided that this notice stays in them. Alternative B: this is free and
// unencumbered software released into the public domain (www.unlicense.org). Either way the software is provided "as is",
// without warranty of any kind, and its authors are not liable for any claim or damage that arises from it.
