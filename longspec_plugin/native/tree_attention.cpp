// Attention of draft-tree rows over an engine's CPU KV cache, read in place.
//
// The engines' CPU kernels take no mask. Here one pass with an online softmax covers the verified
// prefix (visible to every row) and the tree's own slots (visible by mask), so nothing is gathered
// and no partial results are merged. Two layouts of the cache:
//   Blocks  vLLM's "vec": a block holds, per KV head, K as [head_dim][block_size] and then V as
//           [block_size][head_dim]; the table names blocks.
//   Slots   SGLang's pool: K and V as [slots][kv_heads][head_dim] each; the table names slots.
//
// Plain C interface, no torch headers: it compiles in about two seconds.
#include <algorithm>
#include <vector>

#include "vectors.h"

constexpr int ROWS = 4;  // lines at a time, and twice as many where there are

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

// scores[r][t] = sum_d query[r][d] * keys[d][t] for R rows; t in whole vectors
template <int R, typename T>
static void dot(const float *query, const T *keys, float *scores, int64_t dim, int64_t width,
                int64_t tokens) {
    for (int64_t t = 0; t < tokens; t += 2 * LANES) {
        vec a[R], b[R];
        for (int r = 0; r < R; ++r) a[r] = b[r] = vec{};
        for (int64_t d = 0; d < dim; ++d) {
            vec k0 = load16(keys + d * width + t);
            vec k1 = load16(keys + d * width + t + LANES);
            for (int r = 0; r < R; ++r) {
                a[r] += query[r * dim + d] * k0;
                b[r] += query[r * dim + d] * k1;
            }
        }
        for (int r = 0; r < R; ++r) {
            *(vec *)(scores + r * width + t) = a[r];
            *(vec *)(scores + r * width + t + LANES) = b[r];
        }
    }
}

// out[r][d] += sum_t weights[r][t] * values[t][d] for R rows
template <int R, typename T>
static void accumulate(const float *weights, const T *values, float *out, int64_t dim,
                       int64_t width, int64_t tokens) {
    for (int64_t d = 0; d < dim; d += LANES) {
        vec sum[R];
        for (int r = 0; r < R; ++r) sum[r] = *(const vec *)(out + r * dim + d);
        for (int64_t t = 0; t < tokens; ++t) {
            vec v = load16(values + t * dim + d);
            for (int r = 0; r < R; ++r) sum[r] += weights[r * width + t] * v;
        }
        for (int r = 0; r < R; ++r) *(vec *)(out + r * dim + d) = sum[r];
    }
}

// Both for all lines, a whole number of ROWS
template <typename T>
static void dots(const float *query, const T *keys, float *scores, int64_t dim, int64_t width,
                 int64_t tokens, int64_t lines) {
    int64_t line = 0;
    for (; line + 2 * ROWS <= lines; line += 2 * ROWS)
        dot<2 * ROWS>(query + line * dim, keys, scores + line * width, dim, width, tokens);
    if (line < lines) dot<ROWS>(query + line * dim, keys, scores + line * width, dim, width, tokens);
}

template <typename T>
static void mix(const float *weights, const T *values, float *out, int64_t dim, int64_t width,
                int64_t tokens, int64_t lines) {
    int64_t line = 0;
    for (; line + 2 * ROWS <= lines; line += 2 * ROWS)
        accumulate<2 * ROWS>(weights + line * width, values, out + line * dim, dim, width, tokens);
    if (line < lines)
        accumulate<ROWS>(weights + line * width, values, out + line * dim, dim, width, tokens);
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

// Each layout brings `tokens` tokens from `start` on to keys[d][t] and values[t][d], as floats. For
// few lines those of `Blocks`, which lie so, are read where they are.
struct Blocks {
    static constexpr bool direct = true;

    template <typename T>
    static const T *at(const Problem &p, const int32_t *table, int64_t kv_head, int64_t start) {
        return (const T *)p.keys + kv_head * p.head_stride + table[start / p.block_size] * p.cache_stride;
    }

    template <typename T>
    static void load_tile(const Problem &p, const int32_t *table, int64_t kv_head, int64_t start,
                          int64_t tokens, float *keys, float *values) {
        const int64_t dim = p.head_dim, width = p.block_size;
        const T *block = at<T>(p, table, kv_head, start);
        const int64_t whole = std::min(width, (tokens + 2 * LANES - 1) / (2 * LANES) * 2 * LANES);
        for (int64_t d = 0; d < dim; ++d) widen(block + d * width, keys + d * width, whole);
        widen(block + dim * width, values, tokens * dim);
    }
};

struct Slots {
    static constexpr bool direct = false;

    template <typename T>
    static const T *at(const Problem &, const int32_t *, int64_t, int64_t) {
        return nullptr;
    }

    template <typename T>
    static void load_tile(const Problem &p, const int32_t *table, int64_t kv_head, int64_t start,
                          int64_t tokens, float *keys, float *values) {
        const int64_t dim = p.head_dim, width = p.block_size;
        for (int64_t t = 0; t < tokens; ++t) {
            const int64_t at = table[start + t] * p.cache_stride + kv_head * p.head_stride;
            widen((const T *)p.values + at, values + t * dim, dim);
            const T *key = (const T *)p.keys + at;
            for (int64_t d = 0; d < dim; ++d) keys[d * width + t] = load(key + d);
        }
    }
};

template <typename T, typename Layout>
static void attend(const Problem &p, int64_t request, int64_t kv_head) {
    const int64_t dim = p.head_dim, width = p.block_size, group = p.heads / p.kv_heads;
    const int64_t row0 = p.first_row[request], rows = p.first_row[request + 1] - row0;
    const int64_t lines = rows * group, padded = (lines + ROWS - 1) / ROWS * ROWS;
    const int64_t prefix = p.prefix[request], total = prefix + p.tail[request];
    const uint8_t *mask = p.mask + request * p.mask_width * p.mask_width;
    const int32_t *table = p.table + p.table_row[request] * p.table_stride;
    thread_local std::vector<float> buffer;
    const int64_t small = padded * (2 * dim + width + 2);
    if (int64_t(buffer.size()) < small + 2 * dim * width) buffer.resize(small + 2 * dim * width);
    std::fill(buffer.begin(), buffer.begin() + small, 0.0f);
    float *query = buffer.data(), *out = query + padded * dim, *scores = out + padded * dim;
    float *top = scores + padded * width, *sum = top + padded;
    float *keys = sum + padded, *values = keys + dim * width;
    std::fill(top, top + padded, MASKED);
    for (int64_t line = 0; line < lines; ++line) {  // line = row * group + head in group
        const T *from = (const T *)p.query + (row0 + line / group) * p.query_stride +
                        (kv_head * group + line % group) * dim;
        for (int64_t d = 0; d < dim; ++d) query[line * dim + d] = load(from + d) * p.scale;
    }
    for (int64_t start = 0; start < total; start += width) {
        const int64_t tokens = std::min(width, total - start);
        const int64_t whole = std::min(width, (tokens + 2 * LANES - 1) / (2 * LANES) * 2 * LANES);
        const bool few = Layout::direct && padded <= 2 * ROWS && width % (2 * LANES) == 0;
        const T *block = few ? Layout::template at<T>(p, table, kv_head, start) : nullptr;
        if (few) {
            dots(query, block, scores, dim, width, whole, padded);
        } else {
            Layout::template load_tile<T>(p, table, kv_head, start, tokens, keys, values);
            dots(query, keys, scores, dim, width, whole, padded);
        }
        for (int64_t line = 0; line < lines; ++line) {
            float *row_scores = scores + line * width;
            std::fill(row_scores + tokens, row_scores + whole, MASKED);
            for (int64_t t = std::max<int64_t>(prefix - start, 0); t < tokens; ++t)
                if (!mask[line / group * p.mask_width + start + t - prefix]) row_scores[t] = MASKED;
            soften(row_scores, out + line * dim, top[line], sum[line], dim, whole);
        }
        if (few)
            mix(scores, block + dim * width, out, dim, width, tokens, padded);
        else
            mix(scores, values, out, dim, width, tokens, padded);
    }
    for (int64_t line = 0; line < lines; ++line) {
        T *to = (T *)p.out + (row0 + line / group) * p.out_stride +
                (kv_head * group + line % group) * dim;
        const float norm = sum[line] > 0.0f ? 1.0f / sum[line] : 0.0f;
        for (int64_t d = 0; d < dim; ++d) store(to + d, out[line * dim + d] * norm);
    }
}

template <typename T, typename Layout>
static void attend_all(const Problem &p, int threads) {
#pragma omp parallel for collapse(2) schedule(dynamic) num_threads(threads) if (threads > 1)
    for (int64_t request = 0; request < p.batch; ++request)
        for (int64_t kv_head = 0; kv_head < p.kv_heads; ++kv_head)
            attend<T, Layout>(p, request, kv_head);
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
