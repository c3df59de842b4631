// Test-only: the instructions of AVX-512, BF16 and VNNI that our kernels use, in plain C++, so that a
// processor without them runs what is compiled for them. In front of a source (-include).
#pragma once
#include <immintrin.h>

#include <cstdint>
#include <cstring>
#define __AVX512F__ 1
#define __AVX512BF16__ 1
#define __AVX512VNNI__ 1

namespace plain {
typedef float floats __attribute__((vector_size(64)));
typedef uint16_t halves __attribute__((vector_size(64)));
typedef int32_t words __attribute__((vector_size(64)));
typedef int8_t bytes __attribute__((vector_size(64)));
typedef uint8_t unsigned_bytes __attribute__((vector_size(64)));

// The same bits as another type; of a longer one the first
template <class To, class From>
static inline To as(const From &from) {
    To to;
    std::memcpy(&to, &from, sizeof to);
    return to;
}
template <class To>
static inline To load(const void *from) {
    return as<To>(*(const char(*)[sizeof(To)])from);
}
static inline void store(void *to, floats value) { std::memcpy(to, &value, sizeof value); }
static inline floats fill(float value) { return floats{} + value; }
static inline __m512i fill(int32_t value) { return as<__m512i>(words{} + value); }

static inline float widen(uint16_t half) { return as<float>(uint32_t(half) << 16); }
static inline uint16_t narrow(float value) {  // to nearest even
    const auto bits = as<uint32_t>(value);
    return uint16_t((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

template <class Halves>
static inline floats widen_all(const Halves &half) {
    uint16_t from[16];
    std::memcpy(from, &half, sizeof from);
    floats to;
    for (int i = 0; i < 16; ++i) to[i] = widen(from[i]);
    return to;
}
static inline __m512bh narrow_all(floats high, floats low) {
    halves to;
    for (int i = 0; i < 16; ++i) to[i] = narrow(low[i]), to[i + 16] = narrow(high[i]);
    return as<__m512bh>(to);
}
static inline __m256i half_of(__m512i value, int which) {
    return load<__m256i>((const char *)&value + which * sizeof(__m256i));
}

// sum[i] + two products of halves each
template <class Halves>
static inline floats dot_halves(floats sum, const Halves &a, const Halves &b) {
    const auto x = as<halves>(a), y = as<halves>(b);
    for (int i = 0; i < 16; ++i)
        for (int j : {2 * i + 1, 2 * i}) sum[i] += widen(x[j]) * widen(y[j]);
    return sum;
}
// sum[i] + four products of an unsigned byte and a signed one
static inline __m512i dot_bytes(__m512i sum, __m512i a, __m512i b) {
    auto to = as<words>(sum);
    const auto x = as<unsigned_bytes>(a);
    const auto y = as<bytes>(b);
    for (int i = 0; i < 64; ++i) to[i / 4] += x[i] * y[i];
    return as<__m512i>(to);
}
// Places of `order` in the first vector, and behind it in the second
static inline __m512i pick(__m512i first, __m512i order, __m512i second) {
    const auto a = as<halves>(first), b = as<halves>(second), at = as<halves>(order);
    halves to;
    for (int i = 0; i < 32; ++i) to[i] = (at[i] & 32 ? b : a)[at[i] & 31];
    return as<__m512i>(to);
}
// What is not kept is neither read nor written
static inline __m512i load_kept(uint32_t kept, const void *from) {
    halves to = {};
    for (int i = 0; i < 32; ++i)
        if (kept >> i & 1) to[i] = ((const uint16_t *)from)[i];
    return as<__m512i>(to);
}
static inline void store_kept(void *to, uint32_t kept, __m512i value) {
    const auto from = as<halves>(value);
    for (int i = 0; i < 32; ++i)
        if (kept >> i & 1) ((uint16_t *)to)[i] = from[i];
}
}  // namespace plain

#define _mm512_loadu_ps plain::load<__m512>
#define _mm512_storeu_ps plain::store
#define _mm512_setzero_ps() plain::fill(0.0f)
#define _mm512_set1_ps(value) plain::fill(float(value))
#define _mm512_add_ps(a, b) ((a) + (b))
#define _mm512_mul_ps(a, b) ((a) * (b))
#define _mm512_load_si512 plain::load<__m512i>
#define _mm512_loadu_si512 plain::load<__m512i>
#define _mm512_setzero_si512() plain::fill(int32_t(0))
#define _mm512_set1_epi32(value) plain::fill(int32_t(value))
#define _mm512_add_epi32(a, b) plain::as<__m512i>(plain::as<plain::words>(a) + plain::as<plain::words>(b))
#define _mm512_dpbf16_ps plain::dot_halves
#define _mm512_dpbusd_epi32 plain::dot_bytes
#define _mm512_permutex2var_epi16 plain::pick
#define _mm512_maskz_loadu_epi16 plain::load_kept
#define _mm512_mask_storeu_epi16 plain::store_kept
#define _mm512_cvtpbh_ps plain::widen_all
#define _mm512_cvtne2ps_pbh plain::narrow_all
#define _mm512_castsi512_si256(value) plain::half_of(value, 0)
#define _mm512_extracti64x4_epi64 plain::half_of
