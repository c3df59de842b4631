// Products of some rows with a large weight, bfloat16: out[m][n] = sum_k x[m][k] w[n][k] + bias[n].
//
// Verification is this: the rows of some trees, and all weights of the target. Reading the weights
// takes as long as multiplying a dozen rows by them, and here both happen at once: a piece of the
// weights that lies in L1 is multiplied by all rows while the piece after it is on its way. What is
// computed for a row does not depend on the rows beside it, to the last bit.
//
// Weights are packed, [panels][ceil(K / 2)][PANEL][2], pairs along k side by side. Torch's stable
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

using torch::stable::Tensor;

constexpr int64_t PAIRS = 64;  // of k in a piece of a panel: 8 KiB

using Multiply = void (*)(const Element *, int64_t, const Piece &, float *);
template <int... M>
static Multiply for_rows(int rows, std::integer_sequence<int, M...>) {
    static constexpr Multiply all[] = {multiply<M + 1>...};
    return all[rows - 1];
}

struct Product {
    const Element *x;
    const uint16_t *weights, *bias;  // bias may be null
    uint16_t *out;
    int64_t rows, width, columns;  // M, K, N
};

// The sums of a block of rows and a panel
static void sum(const Product &p, const uint16_t *panel, int64_t first, int64_t rows, float *sums) {
    std::fill_n(sums, rows * PANEL, 0.0f);
    const int64_t tiles = (rows + TILE - 1) / TILE, all = p.width / 2;
    for (int64_t k = 0; k < all; k += PAIRS) {
        const int64_t pairs = std::min(PAIRS, all - k);
        const uint16_t *weights = panel + k * 2 * PANEL;
        const char *next = (const char *)weights + PAIRS * 2 * LINE;
        for (int64_t tile = 0, row = 0; tile < tiles; ++tile) {
            const int count = int((rows - row + tiles - tile - 1) / (tiles - tile));
            const Piece piece{weights, pairs, next + tile * pairs * 2 * LINE / tiles,
                              2 * LINE / tiles};
            for_rows(count, std::make_integer_sequence<int, TILE>{})(
                p.x + (first + row) * p.width + 2 * k, p.width, piece, sums + row * PANEL);
            row += count;
        }
    }
}

static void multiply_panels(const Product &p, int64_t begin, int64_t end) {
    const int64_t blocks = (p.rows + TILES * TILE - 1) / (TILES * TILE);
    std::vector<float> sums(TILES * TILE * PANEL);
    for (int64_t block = 0, first = 0; block < blocks; ++block) {
        const int64_t rows = (p.rows - first + blocks - block - 1) / (blocks - block);
        for (int64_t panel = begin; panel < end; ++panel) {
            sum(p, p.weights + panel * PANEL * p.width, first, rows, sums.data());
            const int64_t column = panel * PANEL, real = std::min<int64_t>(PANEL, p.columns - column);
            for (int64_t m = 0; m < rows; ++m)
                store_row(sums.data() + m * PANEL, p.bias ? p.bias + column : nullptr,
                          p.out + (first + m) * p.columns + column, real);
        }
        first += rows;
    }
}

static bool half(const Tensor &t) {
    return t.scalar_type() == torch::headeronly::ScalarType::BFloat16;
}

// x [.., K], packed weights, bias [N]; out [.., N]
static void few_rows(Tensor out, Tensor x, Tensor packed, std::optional<Tensor> bias) {
    const int64_t width = x.size(-1), columns = out.size(-1), count = width ? x.numel() / width : 0;
    STD_TORCH_CHECK(half(out) && half(x) && half(packed) && (!bias || half(*bias)),
                    "few_rows: not bfloat16");
    STD_TORCH_CHECK(out.is_contiguous() && out.numel() == count * columns &&
                        packed.is_contiguous() && width == 2 * packed.size(1) &&
                        packed.size(0) == (columns + PANEL - 1) / PANEL &&
                        (!bias || bias->numel() == columns),
                    "few_rows: sizes do not fit each other");
    const Tensor rows = torch::stable::contiguous(x);
    std::vector<Element> room;
    const Product product{elements((const uint16_t *)rows.const_data_ptr(), rows.numel(), room),
                          (const uint16_t *)packed.const_data_ptr(),
                          bias ? (const uint16_t *)bias->const_data_ptr() : nullptr,
                          (uint16_t *)out.mutable_data_ptr(), count, width, columns};
    torch::stable::parallel_for(0, packed.size(0), 1, [&](int64_t begin, int64_t end) {
        multiply_panels(product, begin, end);
    });
}

STABLE_TORCH_LIBRARY_FRAGMENT(longspec, m) {
    m.def("few_rows(Tensor(a!) out, Tensor x, Tensor packed, Tensor? bias) -> ()");
}
STABLE_TORCH_LIBRARY_IMPL(longspec, CPU, m) { m.impl("few_rows", TORCH_BOX(&few_rows)); }
