// Matrix products of bytes: weights of 8 bits with a scale an output, inputs with a scale a row.
//
// Weights lie as [out / 16][in / 4][16][4], so that one instruction takes four inputs to 16 outputs.
// They are unsigned, 128 too large, as the instruction (AVX-512 VNNI) takes unsigned times signed;
// 128 times the inputs' sum is taken off again. On AVX2 four instructions take four inputs to four
// outputs each, as words.
#pragma once
#include <algorithm>
#include <cmath>
#include <vector>

#include "vectors.h"

constexpr int OUTPUTS = 16;  // that lie together
#if defined(__AVX2__) && !defined(__AVX512F__)
#define WORDS
using Input = int16_t;
#else
using Input = int8_t;
#endif

// Rows of inputs as bytes
struct Bytes {
    const int64_t rows, in;
    std::vector<Input> values;   // [rows, in]
    std::vector<float> scales;   // [rows]
    std::vector<int32_t> sums;   // [rows], of the bytes

    Bytes(const float *from, int64_t rows, int64_t in)
        : rows(rows), in(in), values(rows * in), scales(rows), sums(rows) {
        typedef Input inputs __attribute__((vector_size(LANES * sizeof(Input)), aligned(1)));
        for (int64_t r = 0; r < rows; ++r) {
            const float *row = from + r * in;
            vec greatest = vec{} + 1e-20f;
            for (int64_t i = 0; i < in; i += LANES) {
                const vec x = load_lanes(row + i), size = x < 0.0f ? -x : x;
                greatest = size > greatest ? size : greatest;
            }
            const float most = max_lanes(greatest), to_bytes = 127.0f / most;
            veci sum = {};
            for (int64_t i = 0; i < in; i += LANES) {
                const vec x = load_lanes(row + i) * to_bytes;
                const veci whole = __builtin_convertvector(x + (x < 0.0f ? vec{} - 0.5f : vec{} + 0.5f), veci);
                *(inputs *)(values.data() + r * in + i) = __builtin_convertvector(whole, inputs);
                sum += whole;
            }
            scales[r] = most / 127.0f, sums[r] = 0;
            for (int lane = 0; lane < LANES; ++lane) sums[r] += sum[lane];
        }
    }
};

#if defined(__AVX512VNNI__) || defined(WORDS)
#include <immintrin.h>
constexpr int INT8 = 1;

// to[o] and the outputs after it: what the sums of a row's products are in floats
static inline void put(veci sum, const Bytes &input, int64_t row, const float *scale,
                       const float *bias, int64_t o, float *to, bool add) {
    sum -= 128 * input.sums[row];
    vec value = __builtin_convertvector(sum, vec) * input.scales[row];
    value *= load_lanes(scale + o);
    if (bias) value += load_lanes(bias + o);
    *(vec *)(to + o) = add ? load_lanes(to + o) + value : value;
}

#ifdef __AVX512VNNI__
constexpr int SOME = 8;  // rows whose sums fit into registers

// Outputs 16 g to 16 g + 15 of `ROWS` rows from `first` on
template <int ROWS>
static inline void some_rows(const uint8_t *weight, const float *scale, const float *bias, int64_t g,
                             int64_t out, const Bytes &input, int64_t first, float *to, bool add) {
    __m512i even[ROWS], odd[ROWS];
    for (int r = 0; r < ROWS; ++r) even[r] = odd[r] = _mm512_setzero_si512();
    const uint8_t *w = weight + g * LANES * input.in;
    const int8_t *x = input.values.data() + first * input.in;
    const auto four = [&](int r, int64_t i) {
        int32_t bytes;
        std::memcpy(&bytes, x + r * input.in + i, 4);
        return _mm512_set1_epi32(bytes);
    };
    for (int64_t i = 0; i < input.in; i += 8) {  // two chains of sums, as each has to wait for itself
        const __m512i a = _mm512_loadu_si512(w + i * LANES);
        const __m512i b = _mm512_loadu_si512(w + (i + 4) * LANES);
        for (int r = 0; r < ROWS; ++r) {
            even[r] = _mm512_dpbusd_epi32(even[r], a, four(r, i));
            odd[r] = _mm512_dpbusd_epi32(odd[r], b, four(r, i + 4));
        }
    }
    for (int r = 0; r < ROWS; ++r) {
        veci sum;
        const __m512i both = _mm512_add_epi32(even[r], odd[r]);
        std::memcpy(&sum, &both, sizeof sum);
        put(sum, input, first + r, scale, bias, g * LANES, to + (first + r) * out, add);
    }
}

#else
constexpr int SOME = 3;

template <int ROWS>
static inline void some_rows(const uint8_t *weight, const float *scale, const float *bias, int64_t g,
                             int64_t out, const Bytes &input, int64_t first, float *to, bool add) {
    __m256i sums[ROWS][4];  // of four outputs each: two sums of every other pair of inputs
    for (int r = 0; r < ROWS; ++r)
        for (int c = 0; c < 4; ++c) sums[r][c] = _mm256_setzero_si256();
    const uint8_t *w = weight + g * OUTPUTS * input.in;
    const int16_t *x = input.values.data() + first * input.in;
    for (int64_t i = 0; i < input.in; i += 4) {
        __m256i four[ROWS];
        for (int r = 0; r < ROWS; ++r) {
            int64_t words;
            std::memcpy(&words, x + r * input.in + i, 8);
            four[r] = _mm256_set1_epi64x(words);
        }
        for (int c = 0; c < 4; ++c) {
            const auto bytes = _mm_loadu_si128((const __m128i *)(w + i * OUTPUTS) + c);
            const __m256i wide = _mm256_cvtepu8_epi16(bytes);
            for (int r = 0; r < ROWS; ++r)
                sums[r][c] = _mm256_add_epi32(sums[r][c], _mm256_madd_epi16(wide, four[r]));
        }
    }
    for (int r = 0; r < ROWS; ++r)
        for (int half = 0; half < 2; ++half) {
            const __m256i pairs = _mm256_hadd_epi32(sums[r][2 * half], sums[r][2 * half + 1]);
            const __m256i ordered = _mm256_permute4x64_epi64(pairs, 0xd8);
            veci sum;
            std::memcpy(&sum, &ordered, sizeof sum);
            put(sum, input, first + r, scale, bias, g * OUTPUTS + half * LANES,
                to + (first + r) * out, add);
        }
}
#endif

static void sixteen_outputs(const uint8_t *weight, const float *scale, const float *bias, int64_t g,
                            int64_t out, const Bytes &input, float *to, bool add) {
    int64_t r = 0;
    for (; r + SOME <= input.rows && (SOME > 4 || r + 4 != input.rows); r += SOME)
        some_rows<SOME>(weight, scale, bias, g, out, input, r, to, add);
    for (constexpr int few = SOME > 4 ? 4 : 2; r + few <= input.rows; r += few)
        some_rows<few>(weight, scale, bias, g, out, input, r, to, add);
    for (; r < input.rows; ++r) some_rows<1>(weight, scale, bias, g, out, input, r, to, add);
}
#else
constexpr int INT8 = 0;

static void sixteen_outputs(const uint8_t *weight, const float *scale, const float *bias, int64_t g,
                            int64_t out, const Bytes &input, float *to, bool add) {
    for (int64_t r = 0; r < input.rows; ++r)
        for (int64_t lane = 0; lane < OUTPUTS; ++lane) {
            int32_t sum = -128 * input.sums[r];
            for (int64_t i = 0; i < input.in; ++i)
                sum += weight[g * OUTPUTS * input.in + (i / 4 * OUTPUTS + lane) * 4 + i % 4] *
                       input.values[r * input.in + i];
            const int64_t o = g * OUTPUTS + lane;
            const float value = sum * input.scales[r] * scale[o] + (bias ? bias[o] : 0.0f);
            float *at = to + r * out + o;
            *at = add ? *at + value : value;
        }
}
#endif
