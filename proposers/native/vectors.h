// What the CPU kernels share: vectors of floats, and elements that are stored as T.
//
// GCC's and Clang's vector extensions, as wide as the processor's registers: the same source serves
// AVX-512, AVX2, NEON and SSE. Wider ones compile too, and go through memory at every step: on AVX2
// tree attention took 25 to 33 times as long with 16 floats a vector (14 rows, 300 tokens).
#pragma once
#include <cstdint>
#include <cstring>

#if defined(__AVX512F__)
constexpr int LANES = 16;
#elif defined(__AVX__)
constexpr int LANES = 8;
#else
constexpr int LANES = 4;
#endif
constexpr bool MANY = LANES != 8;  // registers: 32 with AVX-512 and NEON, 16 with AVX2
typedef float vec __attribute__((vector_size(4 * LANES), aligned(4)));
typedef int32_t veci __attribute__((vector_size(4 * LANES), aligned(4)));
constexpr float MASKED = -1e30f;

static inline float load(const float *p) { return *p; }
static inline float load(const uint16_t *p) {
    uint32_t bits = uint32_t(*p) << 16;
    float value;
    std::memcpy(&value, &bits, 4);
    return value;
}
static inline void store(float *p, float value) { *p = value; }
static inline void store(uint16_t *p, float value) {  // round to nearest even, as torch does
    uint32_t bits;
    std::memcpy(&bits, &value, 4);
    *p = uint16_t((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

// LANES elements as floats
static inline vec load_lanes(const float *p) { return *(const vec *)p; }
static inline vec load_lanes(const uint16_t *p) {
    typedef uint16_t half __attribute__((vector_size(2 * LANES), aligned(2)));
    typedef uint32_t word __attribute__((vector_size(4 * LANES), aligned(4)));
    word bits = __builtin_convertvector(*(const half *)p, word) << 16;
    vec value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

template <typename T>
static inline void widen(const T *from, float *to, int64_t count) {
    for (int64_t i = 0; i < count; ++i) to[i] = load(from + i);
}
template <typename T>
static inline void narrow(const float *from, T *to, int64_t count) {
    for (int64_t i = 0; i < count; ++i) store(to + i, from[i]);
}

static inline float sum_lanes(vec v) {
    for (int half = LANES / 2; half; half /= 2)
        for (int i = 0; i < half; ++i) v[i] += v[i + half];
    return v[0];
}

static inline float max_lanes(vec v) {
    for (int half = LANES / 2; half; half /= 2)
        for (int i = 0; i < half; ++i) v[i] = v[i] > v[i + half] ? v[i] : v[i + half];
    return v[0];
}

// lane i of the answer: the sum of the lanes of v[i]; v is used up
static inline vec sum_each(vec *v) {
    // Sums of half the lanes are left of each, two to a vector; and so on.
#if defined(__has_builtin) && __has_builtin(__builtin_shufflevector) && defined(__AVX__)
#define HALVES(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#ifdef __AVX512F__
    for (int i = 0; i < 8; ++i)
        v[i] = HALVES(v[i], v[i + 8], 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23) +
               HALVES(v[i], v[i + 8], 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31);
    for (int i = 0; i < 4; ++i)
        v[i] = HALVES(v[i], v[i + 4], 0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27) +
               HALVES(v[i], v[i + 4], 4, 5, 6, 7, 20, 21, 22, 23, 12, 13, 14, 15, 28, 29, 30, 31);
    for (int i = 0; i < 2; ++i)
        v[i] = HALVES(v[i], v[i + 2], 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29) +
               HALVES(v[i], v[i + 2], 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31);
    return HALVES(v[0], v[1], 0, 16, 2, 18, 4, 20, 6, 22, 8, 24, 10, 26, 12, 28, 14, 30) +
           HALVES(v[0], v[1], 1, 17, 3, 19, 5, 21, 7, 23, 9, 25, 11, 27, 13, 29, 15, 31);
#else
    for (int i = 0; i < 4; ++i)
        v[i] = HALVES(v[i], v[i + 4], 0, 1, 2, 3, 8, 9, 10, 11) +
               HALVES(v[i], v[i + 4], 4, 5, 6, 7, 12, 13, 14, 15);
    for (int i = 0; i < 2; ++i)
        v[i] = HALVES(v[i], v[i + 2], 0, 1, 8, 9, 4, 5, 12, 13) +
               HALVES(v[i], v[i + 2], 2, 3, 10, 11, 6, 7, 14, 15);
    return HALVES(v[0], v[1], 0, 8, 2, 10, 4, 12, 6, 14) +
           HALVES(v[0], v[1], 1, 9, 3, 11, 5, 13, 7, 15);
#endif
#undef HALVES
#else
    vec sums;
    for (int i = 0; i < LANES; ++i) sums[i] = sum_lanes(v[i]);
    return sums;
#endif
}

// exp(x) for x <= 0, relative error about 2e-7 (Cody-Waite reduction, degree-6 polynomial)
static inline vec exp_negative(vec x) {
    x = x < -87.0f ? vec{} - 87.0f : x;
    vec t = x * 1.44269504f;
    veci n = __builtin_convertvector(t - 0.5f, veci);
    vec nf = __builtin_convertvector(n, vec);
    vec r = x - nf * 0.693359375f + nf * 2.12194440e-4f;
    vec p = vec{} + 1.0f / 720;
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    veci bits = (n + 127) << 23;
    vec power;
    std::memcpy(&power, &bits, sizeof power);
    return p * power;
}
