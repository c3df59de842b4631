// Products of some rows with a large weight: out[m][n] = sum_k x[m][k] w[n][k] + bias[n].
//
// Verification is this: the rows of some trees, and all weights of the target. Reading the weights
// takes as long as multiplying a dozen rows by them, and here both happen at once: a piece of the
// weights that lies in L1 is multiplied by all rows while the piece after it is on its way. What is
// computed for a row does not depend on the rows beside it, to the last bit.
//
// Weights are packed: [STREAMS][panels][K / 2 / STREAMS][PANEL][2] in bfloat16, pairs along k side by
// side, and [STREAMS][panels][K / STREAMS][PANEL] in floats. So steps along k lie by turns in parts far
// from each other: some processors read several places at a time faster than one. Torch's stable
// interface: no other headers of torch, so it compiles in about two seconds.
#if defined(__AVX512BF16__)
#include "few_rows_avx512.h"
#elif defined(__AVX2__) && defined(__FMA__)
#include "few_rows_avx2.h"
#else
#error "needs AVX-512 BF16 or AVX2"
#endif
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <algorithm>
#include <optional>
#include <utility>

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

constexpr int64_t STEPS = 64;  // of k in a piece of a panel: 8 KiB

template <class T>
using Multiply = void (*)(const Element<T> *, int64_t, const Piece<T> &, float *);
template <class T, int... M>
static Multiply<T> for_rows(int rows, std::integer_sequence<int, M...>) {
    static constexpr Multiply<T> all[] = {multiply<M + 1>...};
    return all[rows - 1];
}

template <class T>
struct Product {
    const T *x, *weights, *bias;  // bias may be null
    T *out;
    int64_t rows, width, columns;  // M, K, N
    int64_t apart;                 // of the weights' parts
};

// The sums of a block of rows, as arranged, and a panel
template <class T>
static void sum(const Product<T> &p, const Element<T> *x, const T *panel, int64_t rows, float *sums) {
    std::fill_n(sums, rows * PANEL, 0.0f);
    const int64_t all = p.width / PER<T>, tiles = (rows + TILE - 1) / TILE;
    for (int64_t k = 0; k < all; k += STEPS) {
        const int64_t steps = std::min(STEPS, all - k);
        const int64_t bytes = steps / STREAMS * 2 * LINE;  // of a part, of which each tile fetches some
        int64_t next = bytes;
        each_tile(rows, TILE, [&](int64_t row, int count) {
            const Piece<T> piece{panel + k / STREAMS * PER<T> * PANEL, p.apart, steps, next,
                                 2 * LINE / tiles};
            for_rows<T>(count, std::make_integer_sequence<int, TILE>{})(
                x + place<T>(row, count, k, p.width), p.width, piece, sums + row * PANEL);
            next += bytes / tiles;
        });
    }
}

template <class T>
static void multiply_panels(const Product<T> &p, int64_t begin, int64_t end) {
    const int64_t blocks = (p.rows + TILES * TILE - 1) / (TILES * TILE);
    std::vector<float> sums(TILES * TILE * PANEL);
    std::vector<Element<T>> room;
    for (int64_t block = 0, first = 0; block < blocks; ++block) {
        const int64_t rows = (p.rows - first + blocks - block - 1) / (blocks - block);
        const Element<T> *x = arranged(p.x + first * p.width, p.width, rows, room);
        for (int64_t panel = begin; panel < end; ++panel) {
            sum(p, x, p.weights + panel * PANEL * p.width / STREAMS, rows, sums.data());
            const int64_t column = panel * PANEL, real = std::min<int64_t>(PANEL, p.columns - column);
            for (int64_t m = 0; m < rows; ++m)
                store_row(sums.data() + m * PANEL, p.bias ? p.bias + column : nullptr,
                          p.out + (first + m) * p.columns + column, real);
        }
        first += rows;
    }
}

template <class T>
static void take(Tensor &out, const Tensor &x, const Tensor &packed, std::optional<Tensor> &bias) {
    const int64_t width = x.size(-1), columns = out.size(-1), count = width ? x.numel() / width : 0;
    const ScalarType type = packed.scalar_type();
    STD_TORCH_CHECK(out.scalar_type() == type && x.scalar_type() == type &&
                        (!bias || bias->scalar_type() == type),
                    "few_rows: all have to be bfloat16 or all float32");
    STD_TORCH_CHECK(out.is_contiguous() && out.numel() == count * columns &&
                        packed.is_contiguous() && packed.size(0) == STREAMS &&
                        packed.size(1) == (columns + PANEL - 1) / PANEL &&
                        width == PER<T> * STREAMS * packed.size(2) &&
                        (!bias || bias->numel() == columns),
                    "few_rows: sizes do not fit each other");
    if constexpr (TAKEN<T>) {
        const Tensor rows = torch::stable::contiguous(x);
        const Product<T> product{(const T *)rows.const_data_ptr(), (const T *)packed.const_data_ptr(),
                                 bias ? (const T *)bias->const_data_ptr() : nullptr,
                                 (T *)out.mutable_data_ptr(), count, width, columns,
                                 packed.numel() / STREAMS};
        torch::stable::parallel_for(0, packed.size(1), 1, [&](int64_t begin, int64_t end) {
            multiply_panels(product, begin, end);
        });
    } else {
        STD_TORCH_CHECK(false, "few_rows: only bfloat16 on this processor");
    }
}

// x [.., K], packed weights, bias [N]; out [.., N]; all of one type
static void few_rows(Tensor out, Tensor x, Tensor packed, std::optional<Tensor> bias) {
    const bool half = packed.scalar_type() == ScalarType::BFloat16;
    STD_TORCH_CHECK(half || packed.scalar_type() == ScalarType::Float,
                    "few_rows: weights have to be bfloat16 or float32");
    half ? take<uint16_t>(out, x, packed, bias) : take<float>(out, x, packed, bias);
}

STABLE_TORCH_LIBRARY_FRAGMENT(longspec, m) {
    m.def("few_rows(Tensor(a!) out, Tensor x, Tensor packed, Tensor? bias) -> ()");
}
STABLE_TORCH_LIBRARY_IMPL(longspec, CPU, m) { m.impl("few_rows", TORCH_BOX(&few_rows)); }
