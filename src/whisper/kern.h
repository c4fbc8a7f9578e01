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

/*
 * Attention state of a decoder, one head: values as [position][64]; keys in blocks of 64 positions, each read from its
 * start to its end: [block][64 dims][64 positions] as floats, [block][32 pairs of dims][64 positions][2] as bfloat16.
 */
enum { HEAD_DIM = 64, KEY_BLOCK = 64 };

/* Where dimension `c` of position `t` lies among the keys of a head. */
static inline size_t kern_key_f32(size_t c, size_t t)
{
    return (t / KEY_BLOCK * HEAD_DIM + c) * KEY_BLOCK + t % KEY_BLOCK;
}
static inline size_t kern_key_bf16(size_t c, size_t t)
{
    return ((t / KEY_BLOCK * (HEAD_DIM / 2) + c / 2) * KEY_BLOCK + t % KEY_BLOCK) * 2 + c % 2;
}
/* Positions with the rest of the last block. */
static inline size_t kern_key_room(size_t n)
{
    return (n + KEY_BLOCK - 1) / KEY_BLOCK * KEY_BLOCK;
}

struct kern {
    const char *name; /* "x86-64-v4" */
    void (*to_bf16)(const float *x, size_t n, bf16 *ret);
    void (*from_bf16)(const bf16 *x, size_t n, float *ret);
    /* (x - mean) / sqrt(variance + 1e-5) * gain + bias over n values; either result may be NULL. */
    void (*layer_norm)(const float *x, const float *gain, const float *bias, size_t n, float *ret, bf16 *ret_bf16);
    /* exp(x - max) / sum over n values; ret may be x itself. */
    void (*softmax)(const float *x, size_t n, float *ret);
    /* exp(x - max), and returns its sum: who mixes with it divides the few results instead of the many weights. */
    float (*exp_row)(const float *x, size_t n, float *ret);
    /* The same as bfloat16, exact to half a unit of its last place. */
    float (*exp_row_bf16)(const float *x, size_t n, bf16 *ret);
    /* x * scale */
    void (*scale_to_bf16)(const float *x, size_t n, float scale, bf16 *ret);
    /* log(sum(exp(x))) */
    float (*log_sum_exp)(const float *x, size_t n);
    /* x / scale rounded to -127..127; returns the scale. */
    float (*quantise_row)(const float *x, int64_t n, int8_t *ret);
    /* y = post(sums * row_scale * scales + bias); gelu, or add to y. */
    void (*dequantise)(const int32_t *sums, int64_t n, float row_scale, const float *scales, const float *bias,
                       bool gelu, bool add, float *y);
    /* scores[t] = sum_c q[c] * key(c, t), t in [0, n); `scores` has room for kern_key_room(n). */
    void (*scores_f32)(const float *q, const float *keys, size_t n, float *scores);
    void (*scores_bf16)(const float *q, const bf16 *keys, size_t n, float *scores);
    /* ret[c] = sum_t p[t] * values[t * 64 + c]. */
    void (*mix_f32)(const float *p, const float *values, size_t n, float *ret);
    void (*mix_bf16)(const float *p, const bf16 *values, size_t n, float *ret);
};

const struct kern *kern_best(void);
/* All that this processor can run, worst first, for tests that hold them against each other; NULL past the end. */
const struct kern *kern_at(size_t i);

#endif
