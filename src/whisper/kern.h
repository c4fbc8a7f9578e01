/* SPDX-License-Identifier: MIT */
/*
 * Our own vector loops: everything between the products. kern_impl.c is compiled once for each x86-64 level; the best
 * that this processor can run is chosen from this table. Nothing allocates; pointers need no alignment; all are pure.
 */
#ifndef WHISPER_KERN_H
#define WHISPER_KERN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint16_t bf16;

/* Attention state of a decoder, one head: keys as [64][stride] (a column per position), values as [position][64]. */
enum { HEAD_DIM = 64 };

struct kern {
    const char *name; /* "x86-64-v4" */
    void (*to_bf16)(const float *x, size_t n, bf16 *ret);
    void (*from_bf16)(const bf16 *x, size_t n, float *ret);
    /* (x - mean) / sqrt(variance + 1e-5) * gain + bias over n values; either result may be NULL. */
    void (*layer_norm)(const float *x, const float *gain, const float *bias, size_t n, float *ret, bf16 *ret_bf16);
    /* exp(x - max) / sum over n values; the result as float (may be x itself) or bf16, the other NULL. */
    void (*softmax)(const float *x, size_t n, float *ret, bf16 *ret_bf16);
    /* log(sum(exp(x))) */
    float (*log_sum_exp)(const float *x, size_t n);
    /* x / scale rounded to -127..127; returns the scale. */
    float (*quantise_row)(const float *x, int64_t n, int8_t *ret);
    /* y = post(sums * row_scale * scales + bias); gelu, or add to y. */
    void (*dequantise)(const int32_t *sums, int64_t n, float row_scale, const float *scales, const float *bias,
                       bool gelu, bool add, float *y);
    /* scores[t] = sum_c q[c] * keys[c * stride + t], t in [0, n). */
    void (*scores_f32)(const float *q, const float *keys, size_t stride, size_t n, float *scores);
    void (*scores_bf16)(const float *q, const bf16 *keys, size_t stride, size_t n, float *scores);
    /* ret[c] = sum_t p[t] * values[t * 64 + c]. */
    void (*mix_f32)(const float *p, const float *values, size_t n, float *ret);
    void (*mix_bf16)(const float *p, const bf16 *values, size_t n, float *ret);
};

const struct kern *kern_best(void);
/* All that this processor can run, worst first, for tests that hold them against each other; NULL past the end. */
const struct kern *kern_at(size_t i);

#endif
