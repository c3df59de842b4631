// AVX-512 BF16: vdpbf16ps multiplies pairs along k.
#pragma once
#include "few_rows.h"

template <class T>
constexpr bool TAKEN = std::is_same_v<T, uint16_t>;
template <class T>
using Element = T;        // of x, as it is read
constexpr int STREAMS = 1;
constexpr int TILE = 14;  // rows whose sums fit into registers: 28 of 32
constexpr int TILES = 4;  // of a block of rows, for which weights are read once

static inline const uint16_t *arranged(const uint16_t *x, int64_t, int64_t, std::vector<uint16_t> &) {
    return x;
}
template <class T>
static inline int64_t place(int64_t row, int, int64_t k, int64_t width) {
    return row * width + 2 * k;
}

template <int M>
static void multiply(const uint16_t *x, int64_t width, const Piece<uint16_t> &piece, float *sums) {
    __m512 left[M], right[M];
#pragma GCC unroll 16
    for (int m = 0; m < M; ++m) {
        left[m] = _mm512_loadu_ps(sums + m * PANEL);
        right[m] = _mm512_loadu_ps(sums + m * PANEL + 16);
    }
    const char *next = (const char *)piece.weights + piece.next;
    for (int64_t k = 0; k < piece.steps; ++k) {
        auto w0 = (__m512bh)_mm512_loadu_si512(piece.weights + k * 2 * PANEL);
        auto w1 = (__m512bh)_mm512_loadu_si512(piece.weights + k * 2 * PANEL + PANEL);
        _mm_prefetch(next + k * piece.stride, _MM_HINT_T0);
        _mm_prefetch(next + k * piece.stride + LINE, _MM_HINT_T0);
#pragma GCC unroll 16
        for (int m = 0; m < M; ++m) {
            int32_t pair;
            std::memcpy(&pair, x + m * width + 2 * k, sizeof pair);
            auto both = (__m512bh)_mm512_set1_epi32(pair);
            left[m] = _mm512_dpbf16_ps(left[m], both, w0);
            right[m] = _mm512_dpbf16_ps(right[m], both, w1);
        }
    }
#pragma GCC unroll 16
    for (int m = 0; m < M; ++m) {
        _mm512_storeu_ps(sums + m * PANEL, left[m]);
        _mm512_storeu_ps(sums + m * PANEL + 16, right[m]);
    }
}

static inline void store_row(const float *sums, const uint16_t *bias, uint16_t *out, int64_t real) {
    const __mmask32 kept = real == PANEL ? ~0u : (1u << real) - 1;
    __m512 left = _mm512_loadu_ps(sums), right = _mm512_loadu_ps(sums + 16);
    if (bias) {
        const __m512i bits = _mm512_maskz_loadu_epi16(kept, bias);
        left += _mm512_cvtpbh_ps((__m256bh)_mm512_castsi512_si256(bits));
        right += _mm512_cvtpbh_ps((__m256bh)_mm512_extracti64x4_epi64(bits, 1));
    }
    _mm512_mask_storeu_epi16(out, kept, (__m512i)_mm512_cvtne2ps_pbh(right, left));
}
