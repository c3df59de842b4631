// What the kernels of few_rows.cpp share. Weights are T, uint16_t for bfloat16 or float, and a step
// along k takes 4 bytes of each column: two weights or one, PER<T>. A kernel tells, for its processors,
//   TAKEN<T>   whether it takes such weights
//   STREAMS    in how many parts, apart in memory, the steps along k lie by turns, see Piece
//   Element<T> what x is read as, arranged(), which makes that of a block's rows, and place(), where in it
//              a tile's step k begins
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

// A block's rows in tiles as even as can be: take(first row of a tile, how many).
template <class F>
static inline void each_tile(int64_t rows, int most, F take) {
    const int64_t tiles = (rows + most - 1) / most;
    for (int64_t tile = 0, row = 0; tile < tiles; ++tile) {
        const int count = int((rows - row + tiles - tile - 1) / (tiles - tile));
        take(row, count);
        row += count;
    }
}

// Some steps of a panel: step k is number k / STREAMS of part k % STREAMS.
template <class T>
struct Piece {
    const T *weights;  // of the first part: [steps / STREAMS][PANEL][PER]
    int64_t apart;     // of one part from the next, in weights
    int64_t steps;
    int64_t next, stride;  // fetched meanwhile, of each part: how far ahead, and how much a number; bytes
};
