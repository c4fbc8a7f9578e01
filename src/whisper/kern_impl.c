/* SPDX-License-Identifier: MIT */
/*
 * The loops of kern.h in plain C that compilers turn into vectors: no branches in the inner loops, reductions marked.
 * Compiled with KERN_LEVEL naming the table and -march for it. Accuracy: exp and erf are good to 2e-7 relative, so
 * the f32 engine stays within 1e-5 of exact arithmetic.
 */
#include "whisper/kern.h"

#include <math.h>
#include <string.h>

#define PASTE_(a, b) a##b
#define PASTE(a, b)  PASTE_(a, b)
#define TEXT_(a)     #a
#define TEXT(a)      TEXT_(a)

static inline float bits_to_float(uint32_t u)
{
    union {
        uint32_t u;
        float f;
    } v = {.u = u};
    return v.f;
}

static inline uint32_t float_to_bits(float f)
{
    union {
        float f;
        uint32_t u;
    } v = {.f = f};
    return v.u;
}

/* Round to nearest, ties to even; not-a-number stays one. */
static inline bf16 round_bf16(float f)
{
    uint32_t u = float_to_bits(f);
    uint32_t rounded = u + 0x7FFF + ((u >> 16) & 1);
    return (bf16)((f == f ? rounded : u | 0x00400000) >> 16);
}

static inline float wide(bf16 b)
{
    return bits_to_float((uint32_t)b << 16);
}

/* exp for x <= 0 and a little above; below -87 it gives about 1e-38. Range reduction by ln 2, polynomial of degree 6.
 */
static inline float fast_exp(float x)
{
    x = x < -87.0f ? -87.0f : x > 88.0f ? 88.0f : x;
    const float magic = 12582912.0f; /* 1.5 * 2^23: adding it rounds to an integer */
    float n = (x * 1.44269504f + magic) - magic;
    float r = (x - n * 0.693359375f) - n * -2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    return p * bits_to_float((uint32_t)((int32_t)n + 127) << 23);
}

/* exp for x <= 0, good to 8e-5 relative: 2^n times a polynomial of degree 3 on [-1/2, 1/2]; below -80 it is about
 * 1e-35. */
static inline float rough_exp(float x)
{
    const float magic = 12582912.0f;
    float y = x < -80.0f ? -80.0f * 1.44269504f : x * 1.44269504f;
    float shifted = y + magic, r = y - (shifted - magic);
    float p = ((5.5171821e-2f * r + 2.4261119e-1f) * r + 6.9326096e-1f) * r + 9.9992807e-1f;
    /* The low bits of `shifted` are the integer n: add it to the exponent. */
    return bits_to_float(float_to_bits(p) + (float_to_bits(shifted) << 23));
}

/* x * Phi(x) with erf by Abramowitz and Stegun 7.1.26 (1.5e-7 absolute). */
static inline float gelu(float x)
{
    float z = fabsf(x) * 0.70710678f;
    float t = 1.0f / (1.0f + 0.3275911f * z);
    float poly = ((((1.061405429f * t - 1.453152027f) * t + 1.421413741f) * t - 0.284496736f) * t + 0.254829592f) * t;
    float erf_abs = 1.0f - poly * fast_exp(-z * z);
    float erf_x = x < 0 ? -erf_abs : erf_abs;
    return 0.5f * x * (1.0f + erf_x);
}

static void to_bf16(const float *x, size_t n, bf16 *ret)
{
    for (size_t i = 0; i < n; i++)
        ret[i] = round_bf16(x[i]);
}

static void from_bf16(const bf16 *x, size_t n, float *ret)
{
    for (size_t i = 0; i < n; i++)
        ret[i] = wide(x[i]);
}

static void layer_norm(const float *x, const float *gain, const float *bias, size_t n, float *ret, bf16 *ret_bf16)
{
    float sum = 0, square = 0;
#pragma omp simd reduction(+ : sum)
    for (size_t i = 0; i < n; i++)
        sum += x[i];
    float mean = sum / (float)n;
#pragma omp simd reduction(+ : square)
    for (size_t i = 0; i < n; i++)
        square += (x[i] - mean) * (x[i] - mean);
    float scale = 1.0f / sqrtf(square / (float)n + 1e-5f);
    if (ret)
        for (size_t i = 0; i < n; i++)
            ret[i] = (x[i] - mean) * scale * gain[i] + bias[i];
    if (ret_bf16)
        for (size_t i = 0; i < n; i++)
            ret_bf16[i] = round_bf16((x[i] - mean) * scale * gain[i] + bias[i]);
}

static float max_of(const float *x, size_t n)
{
    float m = -INFINITY;
#pragma omp simd reduction(max : m)
    for (size_t i = 0; i < n; i++)
        m = x[i] > m ? x[i] : m;
    return m;
}

static float exp_row(const float *x, size_t n, float *ret)
{
    float m = max_of(x, n), sum = 0;
#pragma omp simd reduction(+ : sum)
    for (size_t i = 0; i < n; i++) {
        float e = fast_exp(x[i] - m);
        ret[i] = e;
        sum += e;
    }
    return sum;
}

/* Not-a-number comes out as some number here, but the sum keeps it. */
static float exp_row_bf16(const float *x, size_t n, bf16 *ret)
{
    float m = max_of(x, n), sum = 0;
#pragma omp simd reduction(+ : sum)
    for (size_t i = 0; i < n; i++) {
        float e = rough_exp(x[i] - m);
        uint32_t u = float_to_bits(e);
        ret[i] = (bf16)((u + 0x7FFF + ((u >> 16) & 1)) >> 16);
        sum += e;
    }
    return sum;
}

static void softmax(const float *x, size_t n, float *ret)
{
    float scale = 1.0f / exp_row(x, n, ret);
    for (size_t i = 0; i < n; i++)
        ret[i] *= scale;
}

static void scale_to_bf16(const float *x, size_t n, float scale, bf16 *ret)
{
    for (size_t i = 0; i < n; i++)
        ret[i] = round_bf16(x[i] * scale);
}

static float log_sum_exp(const float *x, size_t n)
{
    float m = max_of(x, n), sum = 0;
    if (m == -INFINITY)
        return m;
#pragma omp simd reduction(+ : sum)
    for (size_t i = 0; i < n; i++)
        sum += fast_exp(x[i] - m);
    return m + logf(sum);
}

static float quantise_row(const float *x, int64_t n, int8_t *ret)
{
    float most = 0;
#pragma omp simd reduction(max : most)
    for (int64_t i = 0; i < n; i++) {
        float a = fabsf(x[i]);
        most = a > most ? a : most;
    }
    float scale = most > 1e-30f ? most / 127.0f : 1e-30f, inverse = 1.0f / scale;
    const float magic = 12582912.0f;
    for (int64_t i = 0; i < n; i++)
        ret[i] = (int8_t)(int32_t)((x[i] * inverse + magic) - magic);
    return scale;
}

static void dequantise(const int32_t *sums, int64_t n, float row_scale, const float *scales, const float *bias,
                       bool use_gelu, bool add, float *y)
{
    if (use_gelu)
        for (int64_t i = 0; i < n; i++)
            y[i] = gelu((float)sums[i] * row_scale * scales[i] + (bias ? bias[i] : 0.0f));
    else if (add)
        for (int64_t i = 0; i < n; i++)
            y[i] += (float)sums[i] * row_scale * scales[i] + (bias ? bias[i] : 0.0f);
    else
        for (int64_t i = 0; i < n; i++)
            y[i] = (float)sums[i] * row_scale * scales[i] + (bias ? bias[i] : 0.0f);
}

static void scores_f32(const float *q, const float *keys, size_t n, float *scores)
{
    for (size_t at = 0; at < n; at += KEY_BLOCK) {
        const float *block = keys + at * HEAD_DIM;
        float sum[KEY_BLOCK] = {0};
        for (size_t c = 0; c < HEAD_DIM; c++)
            for (size_t t = 0; t < KEY_BLOCK; t++)
                sum[t] += q[c] * block[c * KEY_BLOCK + t];
        memcpy(scores + at, sum, sizeof sum);
    }
}

/* A pair of dimensions is one 32-bit word: its halves widen to floats by a shift and a mask. */
static void scores_bf16(const float *q, const bf16 *keys, size_t n, float *scores)
{
    for (size_t at = 0; at < n; at += KEY_BLOCK) {
        uint32_t pairs[KEY_BLOCK];
        float even[KEY_BLOCK] = {0}, odd[KEY_BLOCK] = {0};
        for (size_t c = 0; c < HEAD_DIM; c += 2) {
            memcpy(pairs, keys + at * HEAD_DIM + c * KEY_BLOCK, sizeof pairs);
            for (size_t t = 0; t < KEY_BLOCK; t++) {
                even[t] += q[c] * bits_to_float(pairs[t] << 16);
                odd[t] += q[c + 1] * bits_to_float(pairs[t] & 0xFFFF0000u);
            }
        }
        for (size_t t = 0; t < KEY_BLOCK; t++)
            scores[at + t] = even[t] + odd[t];
    }
}

#define DEFINE_MIX(name, type, load)                                           \
    static void name(const float *p, const type *values, size_t n, float *ret) \
    {                                                                          \
        float sum[HEAD_DIM] = {0};                                             \
        for (size_t t = 0; t < n; t++) {                                       \
            const type *row = values + t * HEAD_DIM;                           \
            float w = p[t];                                                    \
            for (size_t c = 0; c < HEAD_DIM; c++)                              \
                sum[c] += w * load(row[c]);                                    \
        }                                                                      \
        memcpy(ret, sum, sizeof sum);                                          \
    }

#define SAME(x) (x)
DEFINE_MIX(mix_f32, float, SAME)
DEFINE_MIX(mix_bf16, bf16, wide)

extern const struct kern PASTE(kern_, KERN_LEVEL);
const struct kern PASTE(kern_, KERN_LEVEL) = {
    .name = "x86-64-" TEXT(KERN_LEVEL),
    .to_bf16 = to_bf16,
    .from_bf16 = from_bf16,
    .layer_norm = layer_norm,
    .softmax = softmax,
    .exp_row = exp_row,
    .exp_row_bf16 = exp_row_bf16,
    .scale_to_bf16 = scale_to_bf16,
    .log_sum_exp = log_sum_exp,
    .quantise_row = quantise_row,
    .dequantise = dequantise,
    .scores_f32 = scores_f32,
    .scores_bf16 = scores_bf16,
    .mix_f32 = mix_f32,
    .mix_bf16 = mix_bf16,
};
