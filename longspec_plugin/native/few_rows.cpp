// Products of some rows with a large weight, bfloat16: out[m][n] = sum_k x[m][k] w[n][k] + bias[n].
//
// Verification is this: the rows of some trees, and all weights of the target. Reading the weights
// takes as long as multiplying a dozen rows by them, and here both happen at once: a piece of the
// weights that lies in L1 is multiplied by all rows while the piece after it is on its way. What is
// computed for a row does not depend on the rows beside it, to the last bit.
//
// Weights are packed, [panels][ceil(K / 2)][PANEL][2]: vdpbf16ps multiplies pairs along k. Torch's
// stable interface: no other headers of torch, so it compiles in about two seconds.
#ifndef __AVX512BF16__
#error "needs AVX-512 BF16"
#endif
#include <immintrin.h>
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <utility>
#include <vector>

using torch::stable::Tensor;

constexpr int LANES = 16, PANEL = 2 * LANES;  // columns of a panel: two vectors of floats
constexpr int TILE = 14;                      // rows whose sums fit into registers: 28 of 32
constexpr int TILES = 4;                      // of a block of rows, for which weights are read once
constexpr int64_t PAIRS = 64;                 // of k in a piece of a panel: 8 KiB
constexpr int64_t LINE = 64;

struct Piece {
    const uint16_t *weights;  // [pairs][PANEL][2]
    int64_t pairs;
    const char *next;  // what is fetched meanwhile: `stride` bytes a pair, in whole lines
    int64_t stride;
};

// sums[m][PANEL] += x[m][..] times a piece, for M rows
template <int M>
static void multiply(const uint16_t *x, int64_t width, const Piece &piece, float *sums) {
    __m512 left[M], right[M];
#pragma GCC unroll 16
    for (int m = 0; m < M; ++m) {
        left[m] = _mm512_loadu_ps(sums + m * PANEL);
        right[m] = _mm512_loadu_ps(sums + m * PANEL + LANES);
    }
    for (int64_t k = 0; k < piece.pairs; ++k) {
        auto w0 = (__m512bh)_mm512_loadu_si512(piece.weights + k * 2 * PANEL);
        auto w1 = (__m512bh)_mm512_loadu_si512(piece.weights + k * 2 * PANEL + PANEL);
        _mm_prefetch(piece.next + k * piece.stride, _MM_HINT_T0);
        _mm_prefetch(piece.next + k * piece.stride + LINE, _MM_HINT_T0);
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
        _mm512_storeu_ps(sums + m * PANEL + LANES, right[m]);
    }
}

using Multiply = void (*)(const uint16_t *, int64_t, const Piece &, float *);
template <int... M>
static Multiply for_rows(int rows, std::integer_sequence<int, M...>) {
    static constexpr Multiply all[] = {multiply<M + 1>...};
    return all[rows - 1];
}

struct Product {
    const uint16_t *x, *weights, *bias;  // bias may be null
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

// Rounded to nearest even; columns that only fill the panel are left out
static void store(const Product &p, int64_t column, int64_t first, int64_t rows, const float *sums) {
    const int64_t real = std::min<int64_t>(PANEL, p.columns - column);
    const __mmask32 kept = real == PANEL ? ~0u : (1u << real) - 1;
    __m512 b0 = _mm512_setzero_ps(), b1 = b0;
    if (p.bias) {
        const __m512i bits = _mm512_maskz_loadu_epi16(kept, p.bias + column);
        b0 = _mm512_cvtpbh_ps((__m256bh)_mm512_castsi512_si256(bits));
        b1 = _mm512_cvtpbh_ps((__m256bh)_mm512_extracti64x4_epi64(bits, 1));
    }
    for (int64_t m = 0; m < rows; ++m) {
        const __m512 left = _mm512_add_ps(_mm512_loadu_ps(sums + m * PANEL), b0);
        const __m512 right = _mm512_add_ps(_mm512_loadu_ps(sums + m * PANEL + LANES), b1);
        _mm512_mask_storeu_epi16(p.out + (first + m) * p.columns + column, kept,
                                 (__m512i)_mm512_cvtne2ps_pbh(right, left));
    }
}

static void multiply_panels(const Product &p, int64_t begin, int64_t end) {
    const int64_t blocks = (p.rows + TILES * TILE - 1) / (TILES * TILE);
    std::vector<float> sums(TILES * TILE * PANEL);
    for (int64_t block = 0, first = 0; block < blocks; ++block) {
        const int64_t rows = (p.rows - first + blocks - block - 1) / (blocks - block);
        for (int64_t panel = begin; panel < end; ++panel) {
            sum(p, p.weights + panel * PANEL * p.width, first, rows, sums.data());
            store(p, panel * PANEL, first, rows, sums.data());
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
    const Product product{(const uint16_t *)rows.const_data_ptr(),
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
