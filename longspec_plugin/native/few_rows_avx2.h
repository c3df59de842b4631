// AVX2: a pair of bfloat16 is two floats, one shifted into place and one masked; floats are as they are.
#pragma once
#include "few_rows.h"
#include "vectors.h"

template <class T>
constexpr bool TAKEN = true;
template <class T>
using Element = float;     // of x, as it is read: broadcast as it stands
constexpr int TILE = 5;    // rows whose sums of half a panel fit into registers: 10 of 16
constexpr int TILES = 12;  // of a block of rows, for which weights are read once

static inline const float *elements(const uint16_t *x, int64_t count, std::vector<float> &wide) {
    wide.resize(count);
    widen(x, wide.data(), count);
    return wide.data();
}
static inline const float *elements(const float *x, int64_t, std::vector<float> &) { return x; }

// A step of 8 columns: the weights of each k of it
static inline void load_step(const uint16_t *at, __m256 *first, __m256 *second) {
    const __m256i pairs = _mm256_loadu_si256((const __m256i *)at);
    *first = _mm256_castsi256_ps(_mm256_slli_epi32(pairs, 16));
    *second = _mm256_castsi256_ps(_mm256_and_si256(pairs, _mm256_set1_epi32(int(0xffff0000u))));
}
static inline void load_step(const float *at, __m256 *first, __m256 *) {
    *first = _mm256_loadu_ps(at);
}

// Few rows have registers for a whole panel, and need its sums: each has to wait for itself.
template <int M, class T>
static void multiply(const float *x, int64_t width, const Piece<T> &piece, float *sums) {
    constexpr int V = M * PER<T> <= 2 ? 4 : 2;  // vectors of a row at a time
    for (int begin = 0; begin < PANEL; begin += 8 * V) {
        __m256 sum[M][V];
        for (int m = 0; m < M; ++m)
            for (int v = 0; v < V; ++v) sum[m][v] = _mm256_loadu_ps(sums + m * PANEL + begin + 8 * v);
        const Piece<T> local = piece;  // in registers: what is below might write to the other
        for (int64_t k = 0; k < local.steps; ++k) {
            const T *at = local.weights + PER<T> * (k * PANEL + begin);
            for (int v = 0; v < V; v += 2) local.fetch(k, (begin + 8 * v) / 16);
            __m256 weights[2][V];
            for (int v = 0; v < V; ++v)
                load_step(at + 8 * PER<T> * v, &weights[0][v], &weights[1][v]);
            for (int p = 0; p < PER<T>; ++p)  // kept in registers: GCC would read them anew for each row
                for (int v = 0; v < V; ++v) asm("" : "+x"(weights[p][v]));
#pragma GCC unroll 2
            for (int p = 0; p < PER<T>; ++p)
#pragma GCC unroll 8
                for (int m = 0; m < M; ++m) {
                    const __m256 one = _mm256_broadcast_ss(x + m * width + PER<T> * k + p);
                    for (int v = 0; v < V; ++v)
                        sum[m][v] = _mm256_fmadd_ps(one, weights[p][v], sum[m][v]);
                }
        }
        for (int m = 0; m < M; ++m)
            for (int v = 0; v < V; ++v) _mm256_storeu_ps(sums + m * PANEL + begin + 8 * v, sum[m][v]);
    }
}

template <class T>
static inline void store_row(const float *sums, const T *bias, T *out, int64_t real) {
    for (int64_t c = 0; c < real; ++c) store(out + c, sums[c] + (bias ? load(bias + c) : 0.0f));
}
