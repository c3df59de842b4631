// Attention of draft-tree rows over an engine's CPU KV cache, read in place.
//
// The engines' CPU kernels take no mask. Here one pass with an online softmax covers the verified
// prefix (visible to every row) and the tree's own slots (visible by mask), so nothing is gathered
// and no partial results are merged. Elements in bfloat16 are multiplied two at a time where the
// processor can (AVX-512 BF16), as floats elsewhere. Two layouts of the cache:
//   Blocks  vLLM's "vec": a block holds, per KV head, K as [head_dim][block_size] and then V as
//           [block_size][head_dim]; the table names blocks.
//   Slots   SGLang's pool: K and V as [slots][kv_heads][head_dim] each; the table names slots.
//
// Plain C interface, no torch headers: it compiles in about two seconds.
#include <algorithm>
#include <type_traits>
#include <vector>

#ifdef __AVX512BF16__
#include <immintrin.h>
#endif

#include "vectors.h"

constexpr int ROWS = 4;  // lines at a time, and twice as many where there are, and registers

struct Problem {
    const void *query;       // [rows, heads, head_dim], row stride below
    void *out;               // the same shape
    const void *keys;        // one layer's KV cache (Blocks), or its keys (Slots)
    const void *values;      // its values (Slots only)
    const int32_t *table;    // [*, table_stride] blocks or slots of each request
    const int64_t *table_row;  // [batch] each request's row of the table
    const int64_t *first_row;  // [batch + 1] first query row of each request
    const int64_t *prefix;   // [batch] verified tokens, visible to all rows
    const int64_t *tail;     // [batch] tree slots after the prefix, visible by mask
    const uint8_t *mask;     // [batch, mask_width, mask_width], row sees column
    int64_t batch, heads, kv_heads, head_dim, block_size;  // Slots: block_size is a tile of ours
    int64_t query_stride, out_stride, table_stride, mask_width;
    int64_t cache_stride, head_stride;  // between blocks or slots, between KV heads
    const void *new_keys, *new_values;  // of the query rows, [rows, kv_heads, head_dim]; null: none
    const int64_t *slots;               // [rows] where they belong, negative where nowhere
    int64_t new_keys_stride, new_values_stride;
    float scale;
};

// Products of R rows: out[r][c] = factor * sum_i a[r][i] * b[i][c], added to what is there if `add`.
// Queries times keys, and weights times values.
struct Floats {
    using Part = float;

    template <int R, typename B>
    static void multiply(const float *a, int64_t a_stride, const B *b, int64_t b_stride, float *out,
                         int64_t out_stride, int64_t count, int64_t columns, float factor,
                         bool add) {
        int64_t c = 0;
        for (; c + 2 * LANES <= columns; c += 2 * LANES)
            part<R, 2>(a, a_stride, b + c, b_stride, out + c, out_stride, count, factor, add);
        for (; c < columns; c += LANES)
            part<R, 1>(a, a_stride, b + c, b_stride, out + c, out_stride, count, factor, add);
    }

    template <int R, int V, typename B>
    static void part(const float *a, int64_t a_stride, const B *b, int64_t b_stride, float *out,
                     int64_t out_stride, int64_t count, float factor, bool add) {
        vec sum[R][V] = {};
        for (int64_t i = 0; i < count; ++i)
            for (int v = 0; v < V; ++v) {
                const vec x = load_lanes(b + i * b_stride + v * LANES);
                for (int r = 0; r < R; ++r) sum[r][v] += a[r * a_stride + i] * x;
            }
        for (int r = 0; r < R; ++r)
            for (int v = 0; v < V; ++v) {
                vec *to = (vec *)(out + r * out_stride + v * LANES);
                *to = sum[r][v] * factor + (add ? *to : vec{});
            }
    }
};

#ifdef __AVX512BF16__
// The same of bfloat16, columns in 32s: two rows of b at a time, their elements side by side. Where
// b's rows are odd, the last is paired with zeros.
struct Halves {
    using Part = uint16_t;

    template <int R>
    static void multiply(const uint16_t *a, int64_t a_stride, const uint16_t *b, int64_t b_stride,
                         float *out, int64_t out_stride, int64_t count, int64_t columns,
                         float factor, bool add) {
        alignas(64) uint16_t order[2][32];
        for (int i = 0; i < 32; ++i)
            for (int half : {0, 1}) order[half][i] = i / 2 + 16 * half + i % 2 * 32;
        const __m512i left = _mm512_load_si512(order[0]), right = _mm512_load_si512(order[1]);
        for (int64_t c = 0; c < columns; c += 32) {
            __m512 sum[R][2];
            for (int r = 0; r < R; ++r) sum[r][0] = sum[r][1] = _mm512_setzero_ps();
            for (int64_t i = 0; i < count; i += 2) {
                const uint16_t *row = b + i * b_stride + c;
                const bool paired = i + 1 < count;
                const __m512i one = _mm512_loadu_si512(row);
                const __m512i two = paired ? _mm512_loadu_si512(row + b_stride) : __m512i{};
                const auto x = (__m512bh)_mm512_permutex2var_epi16(one, left, two);
                const auto y = (__m512bh)_mm512_permutex2var_epi16(one, right, two);
                for (int r = 0; r < R; ++r) {
                    int32_t pair;
                    std::memcpy(&pair, a + r * a_stride + i, 4);
                    const auto both = (__m512bh)_mm512_set1_epi32(pair);
                    sum[r][0] = _mm512_dpbf16_ps(sum[r][0], both, x);
                    sum[r][1] = _mm512_dpbf16_ps(sum[r][1], both, y);
                }
            }
            for (int r = 0; r < R; ++r)
                for (int v : {0, 1}) {
                    float *to = out + r * out_stride + c + v * LANES;
                    const __m512 old = add ? _mm512_loadu_ps(to) : _mm512_setzero_ps();
                    const __m512 scaled = _mm512_mul_ps(sum[r][v], _mm512_set1_ps(factor));
                    _mm512_storeu_ps(to, _mm512_add_ps(scaled, old));
                }
        }
    }
};
#endif

// All lines, a whole number of ROWS
template <typename Math, typename B>
static void product(const typename Math::Part *a, int64_t a_stride, const B *b, int64_t b_stride,
                    float *out, int64_t out_stride, int64_t count, int64_t columns, int64_t lines,
                    float factor, bool add) {
    int64_t line = 0;
    for (; MANY && line + 2 * ROWS <= lines; line += 2 * ROWS)
        Math::template multiply<2 * ROWS>(a + line * a_stride, a_stride, b, b_stride,
                                          out + line * out_stride, out_stride, count, columns,
                                          factor, add);
    for (; line < lines; line += ROWS)
        Math::template multiply<ROWS>(a + line * a_stride, a_stride, b, b_stride,
                                      out + line * out_stride, out_stride, count, columns, factor,
                                      add);
}

template <typename From, typename To>
static void convert(const From *from, To *to, int64_t count) {
    if constexpr (std::is_same_v<From, To>)
        std::memcpy(to, from, count * sizeof(To));
    else if constexpr (std::is_same_v<To, float>)
        widen(from, to, count);
    else
        narrow(from, to, count);
}

// One block's scores become weights; running maximum, sum and output are rescaled.
static void soften(float *scores, float *out, float &top, float &sum, int64_t dim, int64_t width) {
    vec tops = vec{} + MASKED;
    for (int64_t t = 0; t < width; t += LANES) {
        const vec s = *(vec *)(scores + t);
        tops = s > tops ? s : tops;
    }
    float new_top = std::max(top, max_lanes(tops));
    if (new_top <= MASKED) {
        std::fill(scores, scores + width, 0.0f);
        return;
    }
    vec total = {};
    for (int64_t t = 0; t < width; t += LANES) {
        vec s = *(vec *)(scores + t);
        vec w = exp_negative(s - new_top);
        w = s <= MASKED ? vec{} : w;
        *(vec *)(scores + t) = w;
        total += w;
    }
    vec shift = vec{} + (top - new_top);
    float decay = top <= MASKED ? 0.0f : exp_negative(shift)[0];
    sum = sum * decay + sum_lanes(total);
    top = new_top;
    if (decay != 1.0f)
        for (int64_t d = 0; d < dim; d += LANES) *(vec *)(out + d) *= decay;
}

// Each layout brings `tokens` tokens from `start` on to keys[d][t] and values[t][d]. Those of `Blocks`,
// which lie so, are read where they are if that needs no widening, or is for few lines.
struct Blocks {
    static constexpr bool direct = true;

    template <typename T>
    static const T *at(const Problem &p, const int32_t *table, int64_t kv_head, int64_t start) {
        return (const T *)p.keys + kv_head * p.head_stride + table[start / p.block_size] * p.cache_stride;
    }

    template <typename T, typename Part>
    static void load_tile(const Problem &p, const int32_t *table, int64_t kv_head, int64_t start,
                          int64_t tokens, Part *keys, Part *values) {
        const int64_t dim = p.head_dim, width = p.block_size;
        const T *block = at<T>(p, table, kv_head, start);
        const int64_t whole = std::min(width, (tokens + 2 * LANES - 1) / (2 * LANES) * 2 * LANES);
        for (int64_t d = 0; d < dim; ++d) convert(block + d * width, keys + d * width, whole);
        convert(block + dim * width, values, tokens * dim);
    }
};

struct Slots {
    static constexpr bool direct = false;

    template <typename T>
    static const T *at(const Problem &, const int32_t *, int64_t, int64_t) {
        return nullptr;
    }

    template <typename T, typename Part>
    static void load_tile(const Problem &p, const int32_t *table, int64_t kv_head, int64_t start,
                          int64_t tokens, Part *keys, Part *values) {
        const int64_t dim = p.head_dim, width = p.block_size;
        for (int64_t t = 0; t < tokens; ++t) {
            const int64_t at = table[start + t] * p.cache_stride + kv_head * p.head_stride;
            convert((const T *)p.values + at, values + t * dim, dim);
            const T *key = (const T *)p.keys + at;
            for (int64_t d = 0; d < dim; ++d) convert(key + d, keys + d * width + t, 1);
        }
    }
};

template <typename T, typename Layout, typename Math>
static void attend(const Problem &p, int64_t request, int64_t kv_head) {
    using Part = typename Math::Part;
    const int64_t dim = p.head_dim, width = p.block_size, group = p.heads / p.kv_heads;
    const int64_t row0 = p.first_row[request], rows = p.first_row[request + 1] - row0;
    const int64_t lines = rows * group, padded = (lines + ROWS - 1) / ROWS * ROWS;
    const int64_t prefix = p.prefix[request], total = prefix + p.tail[request];
    const uint8_t *mask = p.mask + request * p.mask_width * p.mask_width;
    const int32_t *table = p.table + p.table_row[request] * p.table_stride;
    thread_local std::vector<float> buffer;
    thread_local std::vector<Part> parts;
    buffer.assign(padded * (dim + width + 2), 0.0f);
    float *out = buffer.data(), *scores = out + padded * dim;
    float *top = scores + padded * width, *sum = top + padded;
    const int64_t small = padded * (dim + width);
    if (int64_t(parts.size()) < small + 2 * dim * width) parts.resize(small + 2 * dim * width);
    Part *query = parts.data(), *weights = query + padded * dim;
    Part *keys = weights + padded * width, *values = keys + dim * width;
    std::fill(query, weights, Part{});
    std::fill(top, top + padded, MASKED);
    for (int64_t line = 0; line < lines; ++line)  // line = row * group + head in group
        convert((const T *)p.query + (row0 + line / group) * p.query_stride +
                    (kv_head * group + line % group) * dim,
                query + line * dim, dim);
    for (int64_t start = 0; start < total; start += width) {
        const int64_t tokens = std::min(width, total - start);
        const int64_t whole = std::min(width, (tokens + 2 * LANES - 1) / (2 * LANES) * 2 * LANES);
        const bool there = Layout::direct && (std::is_same_v<T, Part> || padded <= 2 * ROWS) &&
                           width % (2 * LANES) == 0;
        const T *block = there ? Layout::template at<T>(p, table, kv_head, start) : nullptr;
        if (!there) Layout::template load_tile<T>(p, table, kv_head, start, tokens, keys, values);
        if (there)
            product<Math>(query, dim, block, width, scores, width, dim, whole, padded, p.scale,
                          false);
        else
            product<Math>(query, dim, keys, width, scores, width, dim, whole, padded, p.scale,
                          false);
        for (int64_t line = 0; line < lines; ++line) {
            float *row_scores = scores + line * width;
            std::fill(row_scores + tokens, row_scores + whole, MASKED);
            for (int64_t t = std::max<int64_t>(prefix - start, 0); t < tokens; ++t)
                if (!mask[line / group * p.mask_width + start + t - prefix]) row_scores[t] = MASKED;
            soften(row_scores, out + line * dim, top[line], sum[line], dim, whole);
            convert(row_scores, weights + line * width, whole);
        }
        if (there)
            product<Math>(weights, width, block + dim * width, dim, out, dim, tokens, dim, padded,
                          1.0f, true);
        else
            product<Math>(weights, width, values, dim, out, dim, tokens, dim, padded, 1.0f, true);
    }
    for (int64_t line = 0; line < lines; ++line) {
        T *to = (T *)p.out + (row0 + line / group) * p.out_stride +
                (kv_head * group + line % group) * dim;
        const float norm = sum[line] > 0.0f ? 1.0f / sum[line] : 0.0f;
        for (int64_t d = 0; d < dim; ++d) store(to + d, out[line * dim + d] * norm);
    }
}

template <typename T, typename Layout, typename Math>
static void attend_as(const Problem &p, int threads) {
#pragma omp parallel for collapse(2) schedule(dynamic) num_threads(threads) if (threads > 1)
    for (int64_t request = 0; request < p.batch; ++request)
        for (int64_t kv_head = 0; kv_head < p.kv_heads; ++kv_head)
            attend<T, Layout, Math>(p, request, kv_head);
}

template <typename T, typename Layout>
static void attend_all(const Problem &p, int threads) {
#ifdef __AVX512BF16__
    if constexpr (std::is_same_v<T, uint16_t>)
        if (p.head_dim % 32 == 0 && p.block_size % 32 == 0)
            return attend_as<T, Layout, Halves>(p, threads);
#endif
    attend_as<T, Layout, Floats>(p, threads);
}

template <typename T>
static void write_blocks(const Problem &p) {
    const int64_t dim = p.head_dim, width = p.block_size, count = p.first_row[p.batch];
    for (int64_t row = 0; row < count; ++row) {
        if (p.slots[row] < 0) continue;
        const int64_t block = p.slots[row] / width, t = p.slots[row] % width;
        for (int64_t head = 0; head < p.kv_heads; ++head) {
            const T *key = (const T *)p.new_keys + row * p.new_keys_stride + head * dim;
            const T *value = (const T *)p.new_values + row * p.new_values_stride + head * dim;
            T *to = (T *)p.keys + block * p.cache_stride + head * p.head_stride;
            for (int64_t d = 0; d < dim; ++d) to[d * width + t] = key[d];
            std::memcpy(to + dim * width + t * dim, value, dim * sizeof(T));
        }
    }
}

extern "C" void attend_blocks_float32(const Problem *p, int threads) {
    if (p->new_keys) write_blocks<float>(*p);
    attend_all<float, Blocks>(*p, threads);
}
extern "C" void attend_blocks_bfloat16(const Problem *p, int threads) {
    if (p->new_keys) write_blocks<uint16_t>(*p);
    attend_all<uint16_t, Blocks>(*p, threads);
}
extern "C" void attend_slots_float32(const Problem *p, int threads) {
    attend_all<float, Slots>(*p, threads);
}
extern "C" void attend_slots_bfloat16(const Problem *p, int threads) {
    attend_all<uint16_t, Slots>(*p, threads);
}

template <typename T>
static void move(T *const *layers, int64_t layer_count, const int64_t *from, const int64_t *to,
                 int64_t count, const Problem &p) {
    const int64_t dim = p.head_dim, width = p.block_size;
    for (int64_t layer = 0; layer < layer_count; ++layer)
        for (int64_t i = 0; i < count; ++i)
            for (int64_t head = 0; head < p.kv_heads; ++head) {
                T *source = layers[layer] + from[i] / width * p.cache_stride +
                            head * p.head_stride;
                T *target = layers[layer] + to[i] / width * p.cache_stride +
                            head * p.head_stride;
                const int64_t s = from[i] % width, t = to[i] % width;
                for (int64_t d = 0; d < dim; ++d) target[d * width + t] = source[d * width + s];
                std::memmove(target + dim * width + t * dim, source + dim * width + s * dim,
                             dim * sizeof(T));
            }
}

// Move token KV between slots in all layers, in the order given (a path's slots ascend, and a
// destination is never a later source).
extern "C" void move_blocks_float32(float *const *layers, int64_t layer_count, const int64_t *from,
                                const int64_t *to, int64_t count, const Problem *p) {
    move(layers, layer_count, from, to, count, *p);
}
extern "C" void move_blocks_bfloat16(uint16_t *const *layers, int64_t layer_count, const int64_t *from,
                                 const int64_t *to, int64_t count, const Problem *p) {
    move(layers, layer_count, from, to, count, *p);
}

// The same for the slots of contiguous [slots][row_bytes] buffers, whatever their element type.
extern "C" void move_slots(char *const *buffers, int64_t buffer_count, const int64_t *from,
                           const int64_t *to, int64_t count, int64_t row_bytes) {
    for (int64_t buffer = 0; buffer < buffer_count; ++buffer)
        for (int64_t i = 0; i < count; ++i)
            std::memcpy(buffers[buffer] + to[i] * row_bytes, buffers[buffer] + from[i] * row_bytes,
                        row_bytes);
}
