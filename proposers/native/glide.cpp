// Forwards of a GLIDE draft for a handful of rows on a CPU.
//
// A draft step is a few rows through one layer: reading the weights takes tens of microseconds a
// matrix, and dispatching operators takes as long again. Here everything before the attention to
// the target's cache is one call, and everything after it another; each is one parallel region.
// Weights are T as stored (float, or bfloat16 as uint16_t), all arithmetic is in float; or they are
// bytes (int8.h), half as much to read as bfloat16 and a fourth of the arithmetic.
//
// Plain C interface, no torch headers: it compiles in about two seconds.
#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "int8.h"
#include "vectors.h"

struct Linear {
    const void *weight;  // T [out, in]; with a scale bytes, see int8.h
    const float *scale;  // [out], or null
    const float *bias;   // [out], or null
    int64_t out, in;     // `in` is a multiple of LANES; with a scale `out` is as well
};

struct Block {
    const float *self_norm, *cross_norm, *mlp_norm;  // [hidden]
    Linear q, k, v, o, cross_q, cross_o, gate_up, down;
};

struct Draft {
    Block blocks[2];
    Linear hidden_proj;     // out 0: the layer's input is the embedding alone
    Linear head;            // the final norm's weight is folded in
    const void *embedding;  // T [vocabulary, hidden]
    int64_t num_layers, hidden, heads, kv_heads, head_dim, final_norm;
    float eps, temperature;
};

// One forward of the rows of `batch` requests, `width` each.
struct Step {
    const int64_t *tokens;   // [rows]
    const void *states;      // T [batch, hidden]: the target's last hidden states, or null
    const float *cos, *sin;  // [batch, head_dim], one depth and so one position a request
    void *keys, *values;     // the windows' rings: T [slots, layers * kv_heads, entries, head_dim]
    const int64_t *slots;    // [batch]
    const int64_t *entries;  // [rows] ring entries for the rows' own keys; null: they are there
    const uint8_t *mask;     // [batch, width, seen]: which ring entry each row sees
    void *query;             // T [rows, heads, head_dim]: what `before` leaves to attend with
    const void *attended;    // the same shape: what came of it
    float *logits;           // [rows, head.out], over temperature
    float *log_sums;         // [rows] log-sum-exp of each row of logits
    float *work;             // see Work
    int64_t batch, width, seen, slot_stride, head_stride;
};

// Floats that a step needs; `x` and `h` live from the first call of a step to its last.
struct Work {
    float *x, *h, *normed, *both, *heads, *keys, *values, *inner, *gated;

    Work(const Draft &d, const Step &s) {
        const int64_t rows = s.batch * s.width, kv = d.kv_heads * d.head_dim;
        float *at = s.work;
        const auto take = [&](int64_t size) { return std::exchange(at, at + rows * size); };
        x = take(d.hidden), h = take(d.hidden), normed = take(d.hidden), both = take(2 * d.hidden);
        heads = take(d.heads * d.head_dim), keys = take(kv), values = take(kv);
        inner = take(d.blocks[0].gate_up.out), gated = take(d.blocks[0].down.in);
    }
};

// sums[o][r] = dot of weight row o with input row r
template <typename T, int OUT, int ROWS>
static inline void dots(const T *weight, const float *input, int64_t in, float *to, int64_t stride,
                        const float *bias, bool add) {
    vec sum[OUT][ROWS] = {};
    for (int64_t i = 0; i < in; i += LANES)
        for (int o = 0; o < OUT; ++o) {
            const vec w = load_lanes(weight + o * in + i);
            for (int r = 0; r < ROWS; ++r) sum[o][r] += w * load_lanes(input + r * in + i);
        }
    for (int r = 0; r < ROWS; ++r)
        for (int o = 0; o < OUT; ++o) {
            const float value = sum_lanes(sum[o][r]) + (bias ? bias[o] : 0.0f);
            to[r * stride + o] = add ? to[r * stride + o] + value : value;
        }
}

template <typename T, int OUT>
static void some_outputs(const Linear &l, int64_t o, const float *from, float *to, int64_t rows,
                         bool add) {
    const T *weight = (const T *)l.weight + o * l.in;
    const float *bias = l.bias ? l.bias + o : nullptr;
    int64_t r = 0;
    for (; MANY && r + 4 <= rows; r += 4)
        dots<T, OUT, 4>(weight, from + r * l.in, l.in, to + r * l.out + o, l.out, bias, add);
    for (; r + 2 <= rows; r += 2)
        dots<T, OUT, 2>(weight, from + r * l.in, l.in, to + r * l.out + o, l.out, bias, add);
    if (r < rows)
        dots<T, OUT, 1>(weight, from + r * l.in, l.in, to + r * l.out + o, l.out, bias, add);
}

// to[rows, out] = (to +) from[rows, in] weight.T + bias; all threads share the outputs
template <typename T>
static void linear(const Linear &l, const float *from, float *to, int64_t rows, bool add = false) {
    if (l.scale) {
        const Bytes input(from, rows, l.in);
#pragma omp for schedule(static)
        for (int64_t g = 0; g < l.out / OUTPUTS; ++g)
            sixteen_outputs((const uint8_t *)l.weight, l.scale, l.bias, g, l.out, input, to, add);
        return;
    }
    const int64_t groups = l.out / 4;
#pragma omp for schedule(static)
    for (int64_t g = 0; g < groups; ++g) some_outputs<T, 4>(l, 4 * g, from, to, rows, add);
#pragma omp for schedule(static)
    for (int64_t o = 4 * groups; o < l.out; ++o) some_outputs<T, 1>(l, o, from, to, rows, add);
}

// RMS norm of one row; without a weight the plain one
static void norm(const float *from, const float *weight, float *to, int64_t size, float eps) {
    vec squares = {};
    for (int64_t i = 0; i < size; i += LANES) squares += load_lanes(from + i) * load_lanes(from + i);
    const float scale = 1.0f / std::sqrt(sum_lanes(squares) / size + eps);
    for (int64_t i = 0; i < size; i += LANES) {
        const vec value = load_lanes(from + i) * scale;
        *(vec *)(to + i) = weight ? value * load_lanes(weight + i) : value;
    }
}

static void norms(const float *from, const float *weight, float *to, int64_t rows, const Draft &d) {
#pragma omp for schedule(static)
    for (int64_t r = 0; r < rows; ++r)
        norm(from + r * d.hidden, weight, to + r * d.hidden, d.hidden, d.eps);
}

// RoPE in the half-rotation form, in place, all heads of one row
static void rotate(float *heads, int64_t count, int64_t dim, const float *cos, const float *sin) {
    for (int64_t head = 0; head < count; ++head, heads += dim)
        for (int64_t i = 0, half = dim / 2; i < half; ++i) {
            const float left = heads[i], right = heads[i + half];
            heads[i] = left * cos[i] - right * sin[i];
            heads[i + half] = right * cos[i + half] + left * sin[i + half];
        }
}

// x: embeddings; h: the layer's input, x + W [RMS(x); RMS(state)]
template <typename T>
static void embed(const Draft &d, const Step &s, const Work &w, int64_t rows) {
    const int64_t size = d.hidden;
    const bool fused = d.hidden_proj.out && s.states;
#pragma omp for schedule(static)
    for (int64_t r = 0; r < rows; ++r) {
        float *x = w.x + r * size, *both = w.both + r * 2 * size;
        widen((const T *)d.embedding + s.tokens[r] * size, x, size);
        std::copy(x, x + size, w.h + r * size);
        if (!fused) continue;
        widen((const T *)s.states + r / s.width * size, both + size, size);
        norm(x, nullptr, both, size, d.eps);
        norm(both + size, nullptr, both + size, size, d.eps);
    }
    if (fused) linear<T>(d.hidden_proj, w.both, w.h, rows, true);
}

// The rows' own keys and values, from plain embeddings, into their ring
template <typename T>
static void remember(const Draft &d, const Step &s, const Work &w, int block, int64_t rows) {
    const Block &b = d.blocks[block];
    const int64_t kv = d.kv_heads * d.head_dim;
    norms(w.x, b.self_norm, w.normed, rows, d);
    linear<T>(b.k, w.normed, w.keys, rows);
    linear<T>(b.v, w.normed, w.values, rows);
#pragma omp for schedule(static)
    for (int64_t r = 0; r < rows; ++r) {
        const int64_t request = r / s.width, entry = s.entries[r];
        const float *cos = s.cos + request * d.head_dim, *sin = s.sin + request * d.head_dim;
        rotate(w.keys + r * kv, d.kv_heads, d.head_dim, cos, sin);
        for (int64_t head = 0; head < d.kv_heads; ++head) {
            const int64_t at = s.slots[request] * s.slot_stride + entry * d.head_dim +
                               (block * d.kv_heads + head) * s.head_stride;
            const int64_t from = r * kv + head * d.head_dim;
            narrow(w.keys + from, (T *)s.keys + at, d.head_dim);
            narrow(w.values + from, (T *)s.values + at, d.head_dim);
        }
    }
}

// scores[t], t < seen padded to LANES, of one query; returns the greatest
template <typename T>
static float score(const float *query, const T *keys, const uint8_t *mask, float *scores,
                   int64_t seen, int64_t dim) {
    float top = MASKED;
    for (int64_t first = 0; first < seen; first += LANES) {
        const int64_t count = std::min<int64_t>(LANES, seen - first);
        vec sums = vec{} + MASKED;
        if (std::any_of(mask + first, mask + first + count, [](uint8_t seen) { return seen; })) {
            vec parts[LANES] = {};
            for (int64_t t = 0; t < count; ++t)
                for (int64_t i = 0; i < dim; i += LANES)
                    parts[t] += load_lanes(query + i) * load_lanes(keys + (first + t) * dim + i);
            sums = sum_each(parts);
            for (int64_t t = 0; t < LANES; ++t) {
                if (t >= count || !mask[first + t]) sums[t] = MASKED;
                top = std::max(top, sums[t]);
            }
        }
        *(vec *)(scores + first) = sums;
    }
    return top;
}

// to[dim] = the sum of values[t, dim] by their weights; `PARTS` vectors at a time
template <typename T, int PARTS>
static void mix(const float *weights, const T *values, float *to, int64_t seen, int64_t dim) {
    vec sum[PARTS] = {};
    for (int64_t t = 0; t < seen; ++t)
        if (const float weight = weights[t])
            for (int part = 0; part < PARTS; ++part)
                sum[part] += weight * load_lanes(values + t * dim + part * LANES);
    for (int part = 0; part < PARTS; ++part) *(vec *)(to + part * LANES) = sum[part];
}

// Self-attention of one head of one row over its ring, in place of its query
template <typename T>
static void attend(const Draft &d, const Step &s, int block, int64_t row, int64_t head,
                   float *query) {
    const int64_t dim = d.head_dim, kv_head = head / (d.heads / d.kv_heads);
    const int64_t padded = (s.seen + LANES - 1) / LANES * LANES;
    const int64_t at = s.slots[row / s.width] * s.slot_stride +
                       (block * d.kv_heads + kv_head) * s.head_stride;
    const T *keys = (const T *)s.keys + at, *values = (const T *)s.values + at;
    thread_local std::vector<float> scores;
    scores.resize(padded);
    const float scale = 1.0f / std::sqrt(float(dim));
    for (int64_t i = 0; i < dim; ++i) query[i] *= scale;
    const float top = score(query, keys, s.mask + row * s.seen, scores.data(), s.seen, dim);
    vec total = {};
    for (int64_t t = 0; t < padded; t += LANES) {
        vec weight = exp_negative(load_lanes(scores.data() + t) - top);
        weight = load_lanes(scores.data() + t) <= MASKED ? vec{} : weight;
        *(vec *)(scores.data() + t) = weight;
        total += weight;
    }
    const float share = 1.0f / sum_lanes(total);
    int64_t i = 0;
    for (; i + 4 * LANES <= dim; i += 4 * LANES)
        mix<T, 4>(scores.data(), values + i, query + i, s.seen, dim);
    for (; i < dim; i += LANES) mix<T, 1>(scores.data(), values + i, query + i, s.seen, dim);
    for (i = 0; i < dim; ++i) query[i] *= share;
}

template <typename T>
static void before(const Draft &d, const Step &s, int block) {
    const Work w(d, s);
    const Block &b = d.blocks[block];
    const int64_t rows = s.batch * s.width, size = d.heads * d.head_dim;
    if (block == 0) embed<T>(d, s, w, rows);
    if (s.entries) remember<T>(d, s, w, block, rows);
    norms(w.h, b.self_norm, w.normed, rows, d);
    linear<T>(b.q, w.normed, w.heads, rows);
#pragma omp for collapse(2) schedule(static)
    for (int64_t r = 0; r < rows; ++r)
        for (int64_t head = 0; head < d.heads; ++head) {
            const int64_t request = r / s.width * d.head_dim;
            float *query = w.heads + r * size + head * d.head_dim;
            rotate(query, 1, d.head_dim, s.cos + request, s.sin + request);
            attend<T>(d, s, block, r, head, query);
        }
    linear<T>(b.o, w.heads, w.h, rows, true);
    norms(w.h, b.cross_norm, w.normed, rows, d);
    linear<T>(b.cross_q, w.normed, w.heads, rows);
#pragma omp for schedule(static)
    for (int64_t r = 0; r < rows; ++r) {
        const int64_t request = r / s.width * d.head_dim;
        rotate(w.heads + r * size, d.heads, d.head_dim, s.cos + request, s.sin + request);
        narrow(w.heads + r * size, (T *)s.query + r * size, size);
    }
}

// SwiGLU: from gates and values [rows, 2 size] to their product
static void gate(const float *both, float *to, int64_t size, int64_t rows) {
#pragma omp for collapse(2) schedule(static)
    for (int64_t r = 0; r < rows; ++r)
        for (int64_t i = 0; i < size; i += LANES) {
            const float *at = both + r * 2 * size + i;
            const vec g = load_lanes(at), low = exp_negative(g < 0.0f ? g : -g);  // e^-|g|
            const vec sigmoid = (g < 0.0f ? low : vec{} + 1.0f) / (1.0f + low);
            *(vec *)(to + r * size + i) = g * sigmoid * load_lanes(at + size);
        }
}

template <typename T>
static void after(const Draft &d, const Step &s, int block) {
    const Work w(d, s);
    const Block &b = d.blocks[block];
    const int64_t rows = s.batch * s.width, size = d.heads * d.head_dim;
#pragma omp for schedule(static)
    for (int64_t r = 0; r < rows; ++r)
        widen((const T *)s.attended + r * size, w.heads + r * size, size);
    linear<T>(b.cross_o, w.heads, w.h, rows, true);
    norms(w.h, b.mlp_norm, w.normed, rows, d);
    linear<T>(b.gate_up, w.normed, w.inner, rows);
    gate(w.inner, w.gated, b.down.in, rows);
    linear<T>(b.down, w.gated, w.h, rows, true);
}

// logits over temperature, and their log-sum-exp
template <typename T>
static void predict(const Draft &d, const Step &s) {
    const Work w(d, s);
    const int64_t rows = s.batch * s.width, size = d.head.out;
    if (d.final_norm) norms(w.h, nullptr, w.normed, rows, d);
    linear<T>(d.head, d.final_norm ? w.normed : w.h, s.logits, rows);
#pragma omp for schedule(static)
    for (int64_t r = 0; r < rows; ++r) {
        float *logits = s.logits + r * size, sum = 0.0f;
        if (d.temperature != 1.0f)
            for (int64_t i = 0; i < size; ++i) logits[i] /= d.temperature;
        vec total = {}, tops = vec{} - INFINITY;
        int64_t i = 0;
        for (; i + LANES <= size; i += LANES)
            tops = load_lanes(logits + i) > tops ? load_lanes(logits + i) : tops;
        float top = max_lanes(tops);
        for (; i < size; ++i) top = std::max(top, logits[i]);
        for (i = 0; i + LANES <= size; i += LANES) total += exp_negative(load_lanes(logits + i) - top);
        for (; i < size; ++i) sum += std::exp(logits[i] - top);
        s.log_sums[r] = top + std::log(sum + sum_lanes(total));
    }
}

template <typename T>
static void fill(const Draft &d, const Step &s) {
    const Work w(d, s);
    embed<T>(d, s, w, s.batch * s.width);
    for (int block = 0; block < d.num_layers; ++block)
        remember<T>(d, s, w, block, s.batch * s.width);
}

#define EXPORT(T, name)                                                                          \
    extern "C" void glide_before_##name(const Draft *d, const Step *s, int block, int threads) { \
        _Pragma("omp parallel num_threads(threads)") before<T>(*d, *s, block);                   \
    }                                                                                            \
    extern "C" void glide_after_##name(const Draft *d, const Step *s, int block, int threads) {  \
        _Pragma("omp parallel num_threads(threads)") {                                           \
            after<T>(*d, *s, block);                                                             \
            if (block + 1 == d->num_layers) predict<T>(*d, *s);                                  \
        }                                                                                        \
    }                                                                                            \
    extern "C" void glide_fill_##name(const Draft *d, const Step *s, int threads) {              \
        _Pragma("omp parallel num_threads(threads)") fill<T>(*d, *s);                            \
    }

EXPORT(float, float32)
EXPORT(uint16_t, bfloat16)

// Whether this machine multiplies bytes
extern "C" int glide_int8() { return INT8; }
