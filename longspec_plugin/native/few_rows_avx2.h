// AVX2: a pair of bfloat16 is two floats, one shifted into place and one masked.
#pragma once
#include "few_rows.h"
#include "vectors.h"

using Element = float;       // of x, as it is read: broadcast as it stands
constexpr int TILE = 5;      // rows whose sums of half a panel fit into registers: 10 of 16
constexpr int TILES = 12;    // of a block of rows, for which weights are read once

static inline const float *elements(const uint16_t *x, int64_t count, std::vector<float> &wide) {
    wide.resize(count);
    widen(x, wide.data(), count);
    return wide.data();
}

// Few rows have registers for a whole panel, and need its sums: each has to wait for itself.
template <int M>
static void multiply(const float *x, int64_t width, const Piece &piece, float *sums) {
    constexpr int V = M <= 3 ? 4 : 2;  // vectors of a row at a time
    const __m256i high = _mm256_set1_epi32(int(0xffff0000u));
    for (int begin = 0; begin < PANEL; begin += 8 * V) {
        __m256 sum[M][V];
        for (int m = 0; m < M; ++m)
            for (int v = 0; v < V; ++v) sum[m][v] = _mm256_loadu_ps(sums + m * PANEL + begin + 8 * v);
        for (int64_t k = 0; k < piece.pairs; ++k) {
            auto at = (const __m256i *)(piece.weights + 2 * (k * PANEL + begin));
            if (begin + 8 * V == PANEL) piece.fetch(k);
            __m256 even[V], odd[V];
            for (int v = 0; v < V; ++v) {
                const __m256i pairs = _mm256_loadu_si256(at + v);
                even[v] = _mm256_castsi256_ps(_mm256_slli_epi32(pairs, 16));
                odd[v] = _mm256_castsi256_ps(_mm256_and_si256(pairs, high));
            }
#pragma GCC unroll 8
            for (int m = 0; m < M; ++m) {
                const __m256 first = _mm256_broadcast_ss(x + m * width + 2 * k);
                const __m256 second = _mm256_broadcast_ss(x + m * width + 2 * k + 1);
                for (int v = 0; v < V; ++v) sum[m][v] = _mm256_fmadd_ps(first, even[v], sum[m][v]);
                for (int v = 0; v < V; ++v) sum[m][v] = _mm256_fmadd_ps(second, odd[v], sum[m][v]);
            }
        }
        for (int m = 0; m < M; ++m)
            for (int v = 0; v < V; ++v) _mm256_storeu_ps(sums + m * PANEL + begin + 8 * v, sum[m][v]);
    }
}

static inline void store_row(const float *sums, const uint16_t *bias, uint16_t *out, int64_t real) {
    for (int64_t c = 0; c < real; ++c) store(out + c, sums[c] + (bias ? load(bias + c) : 0.0f));
}
