// What the kernels of few_rows.cpp share. Each tells, for its processors,
//   Element    what x is read as, and elements(), which makes that of it
//   TILE       rows that multiply<M>() takes at most, and TILES, how many of these are a block
//   multiply   sums[m][PANEL] += x[m][..] times a piece, for M rows
//   store_row  the first `real` sums of a row and its bias (or null), rounded to nearest even
#pragma once
#include <immintrin.h>

#include <cstdint>
#include <cstring>
#include <vector>

constexpr int PANEL = 32;  // columns whose weights lie together
constexpr int64_t LINE = 64;

struct Piece {
    const uint16_t *weights;  // [pairs][PANEL][2]
    int64_t pairs;
    const char *next;  // what is fetched meanwhile: `stride` bytes a pair, in whole lines
    int64_t stride;

    void fetch(int64_t pair) const {
        _mm_prefetch(next + pair * stride, _MM_HINT_T0);
        _mm_prefetch(next + pair * stride + LINE, _MM_HINT_T0);
    }
};
