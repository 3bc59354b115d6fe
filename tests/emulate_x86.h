// Plain C in the place of the AVX-512, VNNI, BF16 and AMX instructions that kpd.h uses, after the operation sections of
// Intel's manual, so that any x86-64 with AVX2 can test what is written for them. Include before kpd.h, with KPD__EMULATED
// defined and -mavx2 -mfma. What would fault aborts.
#ifndef EMULATE_X86_H
#define EMULATE_X86_H
#include <immintrin.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef union emu512 { float f[16]; double d[8]; int32_t i[16]; uint32_t u[16]; int16_t h[32]; uint16_t w[32]; } emu512;
#define EMU static inline __attribute__((unused))
#define EMU_16(target, expression) do { for (int i = 0; i < 16; i++) r.target[i] = (expression); } while (0)

#define __m512 emu512
#define __m512i emu512
#define __m512d emu512
#define __m512bh emu512
#define KPD__BH(v) (v)

#define _mm512_loadu_ps emu_load
#define _mm512_loadu_si512 emu_load
#define _mm512_storeu_ps emu_store
#define _mm512_storeu_si512 emu_store
#define _mm512_castps_pd emu_same
#define _mm512_castps_si512 emu_same
#define _mm512_castsi512_ps emu_same
EMU emu512 emu_load(const void *p) { emu512 r; memcpy(&r, p, 64); return r; }
EMU void emu_store(void *p, emu512 a) { memcpy(p, &a, 64); }
EMU emu512 emu_same(emu512 a) { return a; }

#define _mm512_maskz_loadu_ps emu_load_n
#define _mm512_mask_storeu_ps emu_store_n
EMU emu512 emu_load_n(__mmask16 m, const float *p) { emu512 r; EMU_16(f, m >> i & 1 ? p[i] : 0); return r; }
EMU void emu_store_n(float *p, __mmask16 m, emu512 a) {
    for (int i = 0; i < 16; i++) if (m >> i & 1) p[i] = a.f[i];
}

#define _mm512_set1_ps emu_set
#define _mm512_setzero_ps() emu_set(0)
#define _mm512_set1_epi32 emu_set_i
#define _mm512_setzero_si512() emu_set_i(0)
EMU emu512 emu_set(float f) { emu512 r; EMU_16(f, f); return r; }
EMU emu512 emu_set_i(int32_t v) { emu512 r; EMU_16(i, v); return r; }

#define _mm512_add_ps emu_add
#define _mm512_sub_ps emu_sub
#define _mm512_mul_ps emu_mul
#define _mm512_div_ps emu_div
#define _mm512_fmadd_ps emu_fmadd
#define _mm512_maskz_sqrt_ps(m, a) emu_sqrt(a)
#define _mm512_maskz_max_ps(m, a, b) emu_max(a, b)
#define _mm512_maskz_min_ps(m, a, b) emu_min(a, b)
EMU emu512 emu_add(emu512 a, emu512 b) { emu512 r; EMU_16(f, a.f[i] + b.f[i]); return r; }
EMU emu512 emu_sub(emu512 a, emu512 b) { emu512 r; EMU_16(f, a.f[i] - b.f[i]); return r; }
EMU emu512 emu_mul(emu512 a, emu512 b) { emu512 r; EMU_16(f, a.f[i] * b.f[i]); return r; }
EMU emu512 emu_div(emu512 a, emu512 b) { emu512 r; EMU_16(f, a.f[i] / b.f[i]); return r; }
EMU emu512 emu_fmadd(emu512 a, emu512 b, emu512 c) { emu512 r; EMU_16(f, fmaf(a.f[i], b.f[i], c.f[i])); return r; }
EMU emu512 emu_sqrt(emu512 a) { emu512 r; EMU_16(f, sqrtf(a.f[i])); return r; }
EMU emu512 emu_max(emu512 a, emu512 b) { emu512 r; EMU_16(f, a.f[i] > b.f[i] ? a.f[i] : b.f[i]); return r; }
EMU emu512 emu_min(emu512 a, emu512 b) { emu512 r; EMU_16(f, a.f[i] < b.f[i] ? a.f[i] : b.f[i]); return r; }

#define _mm512_cmp_ps_mask(a, b, how) emu_compare(a, b, how)
#define _mm512_mask_blend_ps emu_blend
#define _mm512_test_epi32_mask emu_test_i
#define _mm512_maskz_compress_epi32 emu_compress_i
EMU __mmask16 emu_compare(emu512 a, emu512 b, int how) {
    unsigned m = 0;
    for (int i = 0; i < 16; i++) {
        float x = a.f[i], y = b.f[i];
        if (how != _CMP_LT_OQ && how != _CMP_GE_OQ) abort();
        m |= (unsigned)(how == _CMP_LT_OQ ? x < y : x >= y) << i;
    }
    return (__mmask16)m;
}
EMU __mmask16 emu_test_i(emu512 a, emu512 b) {
    unsigned m = 0;
    for (int i = 0; i < 16; i++) m |= (unsigned)((a.u[i] & b.u[i]) != 0) << i;
    return (__mmask16)m;
}
EMU emu512 emu_compress_i(__mmask16 m, emu512 a) {
    emu512 r = emu_set_i(0);
    for (int i = 0, n = 0; i < 16; i++) if (m >> i & 1) r.i[n++] = a.i[i];
    return r;
}
EMU emu512 emu_blend(__mmask16 m, emu512 a, emu512 b) { emu512 r; EMU_16(f, m >> i & 1 ? b.f[i] : a.f[i]); return r; }

#undef _mm512_setr_epi32
#define _mm512_setr_epi32 emu_setr
#define _mm512_permutex2var_ps emu_permute
EMU emu512 emu_setr(int a, int b, int c, int d, int e, int f, int g, int h, int i, int j, int k, int l, int m, int n, int o,
                    int p) {
    emu512 r = {.i = {a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p}};
    return r;
}
EMU emu512 emu_permute(emu512 a, emu512 at, emu512 b) {
    emu512 r;
    EMU_16(f, at.i[i] & 16 ? b.f[at.i[i] & 15] : a.f[at.i[i] & 15]);
    return r;
}

// Within each 128 bits, units of a and b in turn, from the first or the second half.
#define _mm512_maskz_unpacklo_epi32(m, a, b) emu_unpack(a, b, 1, 0)
#define _mm512_maskz_unpackhi_epi32(m, a, b) emu_unpack(a, b, 1, 2)
#define _mm512_maskz_unpacklo_epi64(m, a, b) emu_unpack(a, b, 2, 0)
#define _mm512_maskz_unpackhi_epi64(m, a, b) emu_unpack(a, b, 2, 2)
#define _mm512_maskz_shuffle_i32x4(m, a, b, how) emu_quarters(a, b, how)
#define _mm512_maskz_shuffle_epi8(m, a, at) emu_bytes(a, at)
EMU emu512 emu_unpack(emu512 a, emu512 b, int unit, int from) {
    emu512 r;
    for (int i = 0; i < 16; i++) {
        int at = i / 4 * 4 + from + i % 4 / (2 * unit) * unit + i % unit;
        r.u[i] = i % 4 / unit % 2 ? b.u[at] : a.u[at];
    }
    return r;
}
EMU emu512 emu_quarters(emu512 a, emu512 b, int how) {
    emu512 r;
    EMU_16(u, (i < 8 ? a : b).u[(how >> i / 4 * 2 & 3) * 4 + i % 4]);
    return r;
}
#define _mm512_permutex2var_epi16 emu_permute2_words
#define _mm512_packus_epi16 emu_packus
#define _mm512_maskz_permutexvar_epi64(m, at, a) emu_permute_doubles(at, a)
EMU emu512 emu_permute2_words(emu512 a, emu512 at, emu512 b) {
    emu512 r;
    for (int i = 0; i < 32; i++) r.w[i] = (at.w[i] & 32 ? b : a).w[at.w[i] & 31];
    return r;
}
EMU emu512 emu_packus(emu512 a, emu512 b) {     // to u8, cut at 0 and 255, within each 128 bits
    uint8_t z[64];
    for (int i = 0; i < 64; i++) {
        int v = (i % 16 < 8 ? a : b).h[i / 16 * 8 + i % 8];
        z[i] = (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
    }
    return emu_load(z);
}
EMU emu512 emu_permute_doubles(emu512 at, emu512 a) {
    emu512 r;
    for (int i = 0; i < 8; i++) r.d[i] = a.d[at.u[2 * i] & 7];
    return r;
}
EMU emu512 emu_bytes(emu512 a, emu512 at) {
    uint8_t x[64], y[64], z[64];
    memcpy(x, &a, 64);
    memcpy(y, &at, 64);
    for (int i = 0; i < 64; i++) z[i] = y[i] & 0x80 ? 0 : x[i / 16 * 16 + y[i] % 16];
    return emu_load(z);
}

#define _mm512_maskz_extractf64x4_pd(m, a, half) emu_half(a, half)
EMU __m256d emu_half(emu512 a, int half) { __m256d r; memcpy(&r, a.d + 4 * half, 32); return r; }

#define _mm512_castpd256_pd512(a) emu_low(a)
#define _mm512_maskz_insertf64x4(m, a, b, half) emu_insert(a, b, half)
#define _mm512_castpd_ps emu_same
#define _mm512_maskz_cvtepi32_pd(m, a) emu_doubles(a)
#define _mm512_maskz_cvtpd_ps(m, a) emu_singles(a)
#define _mm512_fmadd_pd emu_fma_d
#define _mm512_set1_pd emu_set_d
#define EMU_8(expression) for (int i = 0; i < 8; i++) r.d[i] = (expression); return r
EMU emu512 emu_insert(emu512 a, __m256d b, int half) { memcpy(a.d + 4 * half, &b, sizeof b); return a; }
EMU emu512 emu_low(__m256d a) { emu512 r; memset(&r, 0, sizeof r); return emu_insert(r, a, 0); }
EMU emu512 emu_doubles(__m256i a) { emu512 r; int32_t x[8]; memcpy(x, &a, sizeof x); EMU_8(x[i]); }
EMU __m256 emu_singles(emu512 a) {
    float x[8];
    for (int i = 0; i < 8; i++) x[i] = (float)a.d[i];
    return _mm256_loadu_ps(x);
}
EMU emu512 emu_fma_d(emu512 a, emu512 b, emu512 c) { emu512 r; EMU_8(fma(a.d[i], b.d[i], c.d[i])); }
EMU emu512 emu_set_d(double d) { emu512 r; EMU_8(d); }
#undef EMU_8

#define _mm512_add_epi32 emu_add_i
#define _mm512_sub_epi32 emu_sub_i
#define _mm512_maskz_max_epi32(m, a, b) emu_max_i(a, b)
#define _mm512_mullo_epi32 emu_mul_i
#define _mm512_ternarylogic_epi32 emu_ternary
EMU emu512 emu_ternary(emu512 a, emu512 b, emu512 c, int table) {   // bit by bit, from the table's place a b c
    emu512 r;
    memset(&r, 0, sizeof r);
    for (int i = 0; i < 512; i++) {
        uint32_t at = (a.u[i / 32] >> i % 32 & 1) << 2 | (b.u[i / 32] >> i % 32 & 1) << 1 | (c.u[i / 32] >> i % 32 & 1);
        r.u[i / 32] |= ((unsigned)table >> at & 1) << i % 32;
    }
    return r;
}

#define _mm512_and_si512 emu_and
#define _mm512_maskz_slli_epi32(m, a, n) emu_left(a, n)
#define _mm512_maskz_srl_epi32(m, a, n) emu_right(a, _mm_cvtsi128_si32(n))
EMU emu512 emu_add_i(emu512 a, emu512 b) { emu512 r; EMU_16(u, a.u[i] + b.u[i]); return r; }
EMU emu512 emu_sub_i(emu512 a, emu512 b) { emu512 r; EMU_16(u, a.u[i] - b.u[i]); return r; }
EMU emu512 emu_max_i(emu512 a, emu512 b) { emu512 r; EMU_16(i, a.i[i] > b.i[i] ? a.i[i] : b.i[i]); return r; }
EMU emu512 emu_mul_i(emu512 a, emu512 b) { emu512 r; EMU_16(u, a.u[i] * b.u[i]); return r; }
EMU emu512 emu_and(emu512 a, emu512 b) { emu512 r; EMU_16(u, a.u[i] & b.u[i]); return r; }
EMU emu512 emu_left(emu512 a, int n) { emu512 r; EMU_16(u, a.u[i] << n); return r; }
EMU emu512 emu_right(emu512 a, int n) { emu512 r; EMU_16(u, a.u[i] >> n); return r; }

#define _mm512_set1_epi8(v) emu_set_i((v) * 0x01010101)         // of what no carry leaves, 0 to 127
#define _mm512_set1_epi16(v) emu_set_i((v) * 0x00010001)        // likewise
#define _mm512_add_epi16 emu_add16
#define _mm512_srli_epi16 emu_right_u16
#define _mm512_maddubs_epi16 emu_maddubs
EMU emu512 emu_add16(emu512 a, emu512 b) {
    emu512 r;
    for (int i = 0; i < 32; i++) r.w[i] = (uint16_t)(a.w[i] + b.w[i]);
    return r;
}
EMU emu512 emu_right_u16(emu512 a, int n) { emu512 r; for (int i = 0; i < 32; i++) r.w[i] = (uint16_t)(a.w[i] >> n); return r; }
// VPMADDUBSW: two products of u8 and s8 make an s16, saturated.
EMU emu512 emu_maddubs(emu512 a, emu512 b) {
    emu512 r;
    for (int i = 0; i < 32; i++) {
        int v = (a.w[i] & 255) * (int8_t)(b.w[i] & 255) + (a.w[i] >> 8) * (int8_t)(b.w[i] >> 8);
        r.h[i] = (int16_t)(v < INT16_MIN ? INT16_MIN : v > INT16_MAX ? INT16_MAX : v);
    }
    return r;
}

#define _mm512_slli_epi16 emu_left16
#define _mm512_srai_epi16 emu_right16
#define _mm512_madd_epi16 emu_madd
EMU emu512 emu_left16(emu512 a, int n) { emu512 r; for (int i = 0; i < 32; i++) r.w[i] = (uint16_t)(a.w[i] << n); return r; }
EMU emu512 emu_right16(emu512 a, int n) { emu512 r; for (int i = 0; i < 32; i++) r.h[i] = (int16_t)(a.h[i] >> n); return r; }
EMU emu512 emu_madd(emu512 a, emu512 b) {
    emu512 r;
    EMU_16(u, (uint32_t)(a.h[2 * i] * b.h[2 * i]) + (uint32_t)(a.h[2 * i + 1] * b.h[2 * i + 1]));
    return r;
}

#define _mm512_maskz_cvtepu16_epi32(m, a) emu_widen(a)
#define _mm512_maskz_cvtepi32_ps(m, a) emu_to_float(a)
#define _mm512_maskz_cvtepi32_epi16(m, a) emu_to_16(a)
#define _mm512_maskz_cvtepi32_epi8(m, a) emu_to_8(a)
EMU emu512 emu_widen(__m256i a) { emu512 r; uint16_t w[16]; memcpy(w, &a, 32); EMU_16(u, w[i]); return r; }
EMU emu512 emu_to_float(emu512 a) { emu512 r; EMU_16(f, (float)a.i[i]); return r; }
EMU __m256i emu_to_16(emu512 a) {
    uint16_t w[16];
    __m256i r;
    for (int i = 0; i < 16; i++) w[i] = (uint16_t)a.u[i];
    memcpy(&r, w, 32);
    return r;
}
EMU __m128i emu_to_8(emu512 a) {
    uint8_t b[16];
    __m128i r;
    for (int i = 0; i < 16; i++) b[i] = (uint8_t)a.u[i];
    memcpy(&r, b, 16);
    return r;
}

// VPDPBUSD: four products of u8 and s8 join each sum, without saturation.
EMU uint32_t emu_busd(uint32_t sum, uint32_t u, uint32_t s) {
    for (int j = 0; j < 4; j++) sum += (uint32_t)((int)(uint8_t)(u >> 8 * j) * (int)(int8_t)(s >> 8 * j));
    return sum;
}
#define _mm512_dpbusd_epi32 emu_dpbusd
#define _mm256_dpbusd_avx_epi32 emu_dpbusd256
EMU emu512 emu_dpbusd(emu512 c, emu512 a, emu512 b) { emu512 r; EMU_16(u, emu_busd(c.u[i], a.u[i], b.u[i])); return r; }
EMU __m256i emu_dpbusd256(__m256i c, __m256i a, __m256i b) {
    uint32_t x[8], y[8], z[8];
    memcpy(x, &c, 32); memcpy(y, &a, 32); memcpy(z, &b, 32);
    for (int i = 0; i < 8; i++) x[i] = emu_busd(x[i], y[i], z[i]);
    memcpy(&c, x, 32);
    return c;
}

// bf16 products: inputs and results that are denormal count as 0, whatever the rounding control says.
EMU float emu_flush(float f) {
    uint32_t u;
    memcpy(&u, &f, 4);
    if (!(u & 0x7F800000u)) u &= 0x80000000u;
    memcpy(&f, &u, 4);
    return f;
}
EMU float emu_bf16(uint16_t h) {
    uint32_t u = (uint32_t)h << 16;
    float f;
    memcpy(&f, &u, 4);
    return emu_flush(f);
}
EMU float emu_bf16_fma(uint16_t a, uint16_t b, float c) { return emu_flush(fmaf(emu_bf16(a), emu_bf16(b), emu_flush(c))); }
EMU uint16_t emu_to_half(uint32_t u) {     // VCVTNE2PS2BF16: NaNs made quiet, subnormal numbers 0, else to nearest even
    if ((u & 0x7FFFFFFF) > 0x7F800000) return (uint16_t)(u >> 16 | 0x40);
    if (!(u & 0x7F800000)) return (uint16_t)(u >> 16 & 0x8000);
    return (uint16_t)((u + 0x7FFF + (u >> 16 & 1)) >> 16);
}
#define kpd__avx512_halves emu_halves
EMU emu512 emu_halves(emu512 low, emu512 high) {
    emu512 r;
    for (int i = 0; i < 16; i++) { r.w[i] = emu_to_half(low.u[i]); r.w[16 + i] = emu_to_half(high.u[i]); }
    return r;
}
#define _mm512_permutexvar_epi16 emu_permute_words
EMU emu512 emu_permute_words(emu512 at, emu512 a) {
    emu512 r;
    for (int i = 0; i < 32; i++) r.w[i] = a.w[at.w[i] & 31];
    return r;
}

#define _mm512_dpbf16_ps emu_dpbf16     // the odd product first
EMU emu512 emu_dpbf16(emu512 c, emu512 a, emu512 b) {
    emu512 r;
    EMU_16(f, emu_bf16_fma(a.w[2 * i], b.w[2 * i], emu_bf16_fma(a.w[2 * i + 1], b.w[2 * i + 1], c.f[i])));
    return r;
}

// AMX, palette 1: 8 tiles of up to 16 rows of 64 bytes, a set for each thread.
static __thread struct { int rows, bytes; uint8_t at[16][64]; } emu_tile[8];
#define EMU_REQUIRE(condition)                                                                                         \
    do { if (!(condition)) { fprintf(stderr, "emulated AMX faults: %s\n", #condition); abort(); } } while (0)
#undef _tile_zero       // some compilers have these as macros already
#undef _tile_loadd
#undef _tile_stream_loadd
#undef _tile_stored
#undef _tile_dpbusd
#undef _tile_dpbf16ps
#define _tile_loadconfig emu_tile_config
#define _tile_release() emu_tile_release()
#define _tile_zero emu_tile_zero
#define _tile_loadd(t, p, stride) emu_tile_load(t, p, (size_t)(stride))
#define _tile_stream_loadd _tile_loadd
#define _tile_stored(t, p, stride) emu_tile_store(t, p, (size_t)(stride))
#define _tile_dpbusd emu_tile_int8
#define _tile_dpbf16ps emu_tile_half
EMU void emu_tile_config(const void *config) {
    const uint8_t *c = (const uint8_t *)config;
    EMU_REQUIRE(c[0] == 1 && c[1] == 0);
    for (int i = 2; i < 16; i++) EMU_REQUIRE(!c[i]);
    for (int i = 0; i < 16; i++) {
        int bytes = c[16 + 2 * i] | c[17 + 2 * i] << 8, rows = c[48 + i];
        EMU_REQUIRE(i < 8 ? bytes <= 64 && rows <= 16 && !bytes == !rows : !bytes && !rows);
        if (i < 8) { emu_tile[i].rows = rows; emu_tile[i].bytes = bytes; memset(emu_tile[i].at, 0, 1024); }
    }
}
EMU void emu_tile_release(void) { memset(emu_tile, 0, sizeof emu_tile); }
EMU void emu_tile_zero(int t) { EMU_REQUIRE(emu_tile[t].rows); memset(emu_tile[t].at, 0, 1024); }
EMU void emu_tile_load(int t, const void *p, size_t stride) {
    EMU_REQUIRE(emu_tile[t].rows);
    for (int r = 0; r < emu_tile[t].rows; r++) memcpy(emu_tile[t].at[r], (const char *)p + (size_t)r * stride, 64);
}
EMU void emu_tile_store(int t, void *p, size_t stride) {
    EMU_REQUIRE(emu_tile[t].rows);
    for (int r = 0; r < emu_tile[t].rows; r++) memcpy((char *)p + (size_t)r * stride, emu_tile[t].at[r], 64);
}
EMU void emu_tile_check(int d, int a, int b) {
    EMU_REQUIRE(d != a && d != b && a != b);
    EMU_REQUIRE(emu_tile[d].rows == emu_tile[a].rows && emu_tile[a].bytes / 4 == emu_tile[b].rows);
    EMU_REQUIRE(emu_tile[d].bytes == emu_tile[b].bytes && emu_tile[d].rows);
}
EMU void emu_tile_int8(int d, int a, int b) {   // TDPBUSD
    emu_tile_check(d, a, b);
    for (int m = 0; m < emu_tile[d].rows; m++)
        for (int k = 0; k < emu_tile[a].bytes / 4; k++)
            for (int n = 0; n < emu_tile[d].bytes / 4; n++) {
                uint32_t c, x, y;
                memcpy(&c, &emu_tile[d].at[m][4 * n], 4);
                memcpy(&x, &emu_tile[a].at[m][4 * k], 4);
                memcpy(&y, &emu_tile[b].at[k][4 * n], 4);
                c = emu_busd(c, x, y);
                memcpy(&emu_tile[d].at[m][4 * n], &c, 4);
            }
}
EMU void emu_tile_half(int d, int a, int b) {   // TDPBF16PS: even and odd sums of the tile, then both to what was there
    emu_tile_check(d, a, b);
    for (int m = 0; m < emu_tile[d].rows; m++)
        for (int n = 0; n < emu_tile[d].bytes / 4; n++) {
            float sum[2] = {0, 0}, c;
            for (int k = 0; k < emu_tile[a].bytes / 4; k++)
                for (int j = 0; j < 2; j++) {
                    uint16_t x, y;
                    memcpy(&x, &emu_tile[a].at[m][4 * k + 2 * j], 2);
                    memcpy(&y, &emu_tile[b].at[k][4 * n + 2 * j], 2);
                    sum[j] = emu_bf16_fma(x, y, sum[j]);
                }
            memcpy(&c, &emu_tile[d].at[m][4 * n], 4);
            c = emu_flush(emu_flush(c) + emu_flush(sum[0] + sum[1]));
            memcpy(&emu_tile[d].at[m][4 * n], &c, 4);
        }
}
#endif
