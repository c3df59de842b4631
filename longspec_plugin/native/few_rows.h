// What the kernels of few_rows.cpp share. Weights are T, uint16_t for bfloat16 or float, and a step
// along k takes 4 bytes of each column: two weights or one, PER<T>. A kernel tells, for its processors,
//   TAKEN<T>   whether it takes such weights
//   Element<T> what x is read as, and elements(), which makes that of it
//   TILE       rows that multiply<M>() takes at most, and TILES, how many of these are a block
//   multiply   sums[m][PANEL] += x[m][..] times a piece, for M rows
//   store_row  the first `real` sums of a row and its bias (or null), rounded to nearest even
#pragma once
#include <immintrin.h>

#include <cstdint>
#include <cstring>
#include <type_traits>
#include <vector>

constexpr int PANEL = 32;  // columns whose weights lie together
constexpr int64_t LINE = 64;
template <class T>
constexpr int PER = 4 / int(sizeof(T));

template <class T>
struct Piece {
    const T *weights;  // [steps][PANEL][PER]
    int64_t steps;
    const char *next;  // what is fetched meanwhile: `stride` bytes a step, in whole lines
    int64_t stride;

    void fetch(int64_t step, int line) const {  // line 0 and line 1, at each step
        _mm_prefetch(next + step * stride + line * LINE, _MM_HINT_T0);
    }
};
