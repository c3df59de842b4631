// AVX2: a pair of bfloat16 is two floats, one shifted into place and one masked; floats are as they are.
#pragma once
#include "few_rows.h"
#include "vectors.h"

template <class T>
constexpr bool TAKEN = true;
template <class T>
using Element = float;      // of x, as it is read: broadcast as it stands
constexpr int STREAMS = 4;  // one is read at 15 GB/s, four at 23 (an EPYC of the third generation)
constexpr int TILE = 5;     // rows whose sums of half a panel fit into registers: 10 of 16
constexpr int TILES = 12;   // of a block of rows, for which weights are read once

// Of a tile [K][its rows]: one address is enough, where rows far apart need one each.
template <class T>
static const float *arranged(const T *x, int64_t width, int64_t rows, std::vector<float> &room) {
    room.resize(rows * width);
    each_tile(rows, TILE, [&](int64_t row, int count) {
        float *to = room.data() + row * width;
        for (int64_t k = 0; k < width; ++k)
            for (int m = 0; m < count; ++m) *to++ = load(x + (row + m) * width + k);
    });
    return room.data();
}
template <class T>
static inline int64_t place(int64_t row, int count, int64_t k, int64_t width) {
    return row * width + PER<T> * k * count;
}

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
static void multiply(const float *x, int64_t, const Piece<T> &piece, float *sums) {
    constexpr int V = M * PER<T> <= 2 ? 4 : 2;  // vectors of a row at a time
    for (int begin = 0; begin < PANEL; begin += 8 * V) {
        __m256 sum[M][V];
        for (int m = 0; m < M; ++m)
            for (int v = 0; v < V; ++v) sum[m][v] = _mm256_loadu_ps(sums + m * PANEL + begin + 8 * v);
        const int64_t steps = piece.steps, apart = piece.apart * sizeof(T), stride = piece.stride;
        const char *now = (const char *)piece.weights + 4 * begin, *next = now + piece.next;
        for (int64_t k = 0; k < steps; k += STREAMS, now += 2 * LINE, next += stride) {
#pragma GCC unroll 4
            for (int part = 0; part < STREAMS; ++part) {
                const T *at = (const T *)(now + part * apart);
                for (int v = 0; v < V; v += 2)
                    _mm_prefetch(next + part * apart + v / 2 * LINE, _MM_HINT_T0);
                __m256 weights[2][V];
                for (int v = 0; v < V; ++v)
                    load_step(at + 8 * PER<T> * v, &weights[0][v], &weights[1][v]);
                for (int p = 0; p < PER<T>; ++p)  // in registers: GCC would read them anew for each row
                    for (int v = 0; v < V; ++v) asm("" : "+x"(weights[p][v]));
#pragma GCC unroll 2
                for (int p = 0; p < PER<T>; ++p)
#pragma GCC unroll 8
                    for (int m = 0; m < M; ++m) {
                        const int64_t step = PER<T> * (k + part) + p;
                        const __m256 one = _mm256_broadcast_ss(x + step * M + m);
                        for (int v = 0; v < V; ++v)
                            sum[m][v] = _mm256_fmadd_ps(one, weights[p][v], sum[m][v]);
                    }
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
