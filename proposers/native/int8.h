// Matrix products of bytes: weights of 8 bits with a scale an output, inputs with a scale a row.
//
// Weights lie as [out / 16][in / 4][16][4], so that one instruction takes four inputs to 16 outputs.
// They are unsigned, 128 too large, as the instruction (AVX-512 VNNI) takes unsigned times signed;
// 128 times the inputs' sum is taken off again.
#pragma once
#include <algorithm>
#include <cmath>
#include <vector>

#include "vectors.h"

constexpr int OUTPUTS = 16;  // that lie together

// Rows of inputs as bytes
struct Bytes {
    const int64_t rows, in;
    std::vector<int8_t> values;  // [rows, in]
    std::vector<float> scales;   // [rows]
    std::vector<int32_t> sums;   // [rows], of the bytes

    Bytes(const float *from, int64_t rows, int64_t in)
        : rows(rows), in(in), values(rows * in), scales(rows), sums(rows) {
        typedef int8_t bytes __attribute__((vector_size(LANES), aligned(1)));
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
                *(bytes *)(values.data() + r * in + i) = __builtin_convertvector(whole, bytes);
                sum += whole;
            }
            scales[r] = most / 127.0f, sums[r] = 0;
            for (int lane = 0; lane < LANES; ++lane) sums[r] += sum[lane];
        }
    }
};

#ifdef __AVX512VNNI__
#include <immintrin.h>
constexpr int INT8 = 1;

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
        sum -= 128 * input.sums[first + r];
        vec value = __builtin_convertvector(sum, vec) * input.scales[first + r];
        value *= load_lanes(scale + g * LANES);
        if (bias) value += load_lanes(bias + g * LANES);
        float *at = to + (first + r) * out + g * LANES;
        *(vec *)at = add ? load_lanes(at) + value : value;
    }
}

static void sixteen_outputs(const uint8_t *weight, const float *scale, const float *bias, int64_t g,
                            int64_t out, const Bytes &input, float *to, bool add) {
    int64_t r = 0;
    for (; r + 8 <= input.rows; r += 8)
        some_rows<8>(weight, scale, bias, g, out, input, r, to, add);
    for (; r + 4 <= input.rows; r += 4)
        some_rows<4>(weight, scale, bias, g, out, input, r, to, add);
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
