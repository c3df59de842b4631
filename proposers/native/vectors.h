// What the CPU kernels share: vectors of 16 floats, and elements that are stored as T.
//
// GCC's and Clang's vector extensions, so the same source serves AVX-512, AVX2 and NEON.
#pragma once
#include <cstdint>
#include <cstring>

typedef float vec __attribute__((vector_size(64), aligned(4)));
typedef int32_t veci __attribute__((vector_size(64), aligned(4)));
constexpr int LANES = 16;
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

// 16 elements as floats
static inline vec load16(const float *p) { return *(const vec *)p; }
static inline vec load16(const uint16_t *p) {
    typedef uint16_t half __attribute__((vector_size(32), aligned(2)));
    typedef uint32_t word __attribute__((vector_size(64), aligned(4)));
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
