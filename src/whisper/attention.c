/* SPDX-License-Identifier: MIT */
/*
 * The encoder's self-attention: 1500 x 1500 scores a head, never held as a whole.
 *
 * First the keys and values of every head are packed for the products. Then each thread takes (head, block of 60 rows):
 * scores of the block, their exponentials, product with the values, division by the exponentials' sum. A block of
 * scores is 360 KB and stays in the core's own cache; the soft-max is our own vector loop, because oneDNN's costs more
 * than both products.
 */
#include "whisper/compute_internal.h"

#include <omp.h>
#include <stdlib.h>

static void *aligned(size_t bytes)
{
    return aligned_alloc(64, (bytes + 63) & ~(size_t)63);
}

int attention_new(struct compute *c, struct attention *ret, struct err *err)
{
    unsigned threads = (unsigned)omp_get_max_threads();
    int64_t d = c->d;
    struct dnn_small_opts scores = {.bf16 = c->bf16_att,
                                    .m = BLOCK_ROWS,
                                    .k = HEAD_DIM,
                                    .n = AUDIO_CTX,
                                    .x_stride = 3 * d,
                                    .y_stride = AUDIO_CTX,
                                    .b_stride_k = 1,
                                    .b_stride_n = 3 * d,
                                    .threads = threads};
    struct dnn_small_opts mix = {.bf16 = c->bf16_att,
                                 .m = BLOCK_ROWS,
                                 .k = AUDIO_CTX,
                                 .n = HEAD_DIM,
                                 .x_stride = AUDIO_CTX,
                                 .y_stride = HEAD_DIM,
                                 .b_stride_k = 3 * d,
                                 .b_stride_n = 1,
                                 .threads = threads};
    int rc = dnn_small_new(c->dnn, &scores, &ret->scores, err);
    if (rc == 0)
        rc = dnn_small_new(c->dnn, &mix, &ret->mix, err);
    if (rc < 0)
        return rc;
    ret->key_bytes = (dnn_small_packed_bytes(ret->scores) + 63) & ~(size_t)63;
    ret->value_bytes = (dnn_small_packed_bytes(ret->mix) + 63) & ~(size_t)63;
    ret->keys = aligned(ret->key_bytes * (size_t)c->heads);
    ret->values = aligned(ret->value_bytes * (size_t)c->heads);
    ret->block = aligned(threads * BLOCK_ROWS * AUDIO_CTX * sizeof(float));
    ret->block_bf16 = c->bf16_att ? aligned(threads * BLOCK_ROWS * AUDIO_CTX * sizeof(bf16)) : NULL;
    ret->mixed = aligned(threads * BLOCK_ROWS * HEAD_DIM * sizeof(float));
    if (!ret->mixed || !ret->keys || !ret->values || !ret->block || (c->bf16_att && !ret->block_bf16))
        return err_set(err, ERR_NOMEM, "no memory for attention");
    return 0;
}

void attention_clear(struct attention *a)
{
    dnn_small_free(a->scores);
    dnn_small_free(a->mix);
    free(a->keys);
    free(a->values);
    free(a->block);
    free(a->block_bf16);
    free(a->mixed);
    *a = (struct attention){0};
}

/* A row of the block: exp in place or as bfloat16; returns one over its sum. */
static float weigh(const struct compute *c, float *line, bf16 *narrow)
{
    return 1.0f / (narrow ? c->kern->exp_row_bf16(line, AUDIO_CTX, narrow) : c->kern->exp_row(line, AUDIO_CTX, line));
}

static void scale_row(const struct compute *c, const float *mixed, float scale, void *to)
{
    float *wide = to;
    if (c->bf16_in)
        c->kern->scale_to_bf16(mixed, HEAD_DIM, scale, to);
    else
        for (size_t i = 0; i < HEAD_DIM; i++)
            wide[i] = mixed[i] * scale;
}

/* BLOCK_ROWS rows of one head. */
static bool run_block(struct compute *c, unsigned me, size_t head, size_t row)
{
    struct attention *a = &c->attention;
    const size_t size = att_bytes(c), d = (size_t)c->d, scores = (size_t)BLOCK_ROWS * AUDIO_CTX;
    const unsigned char *qkv = c->qkv_att, *keys = a->keys, *values = a->values;
    float *block = a->block + me * scores, *mixed = a->mixed + (size_t)me * BLOCK_ROWS * HEAD_DIM;
    bf16 *narrow = a->block_bf16 ? (bf16 *)a->block_bf16 + me * scores : NULL;
    float scale[BLOCK_ROWS];
    bool ok =
        dnn_small_run(a->scores, me, qkv + (row * 3 * d + head * HEAD_DIM) * size, keys + head * a->key_bytes, block);
    for (size_t r = 0; r < BLOCK_ROWS; r++)
        scale[r] = weigh(c, block + r * AUDIO_CTX, narrow ? narrow + r * AUDIO_CTX : NULL);
    ok = ok && dnn_small_run(a->mix, me, narrow ? (const void *)narrow : (const void *)block,
                             values + head * a->value_bytes, mixed);
    for (size_t r = 0; r < BLOCK_ROWS; r++) {
        unsigned char *to = typed_row(c, c->y, (int64_t)(row + r), c->d);
        scale_row(c, mixed + r * HEAD_DIM, scale[r], to + head * HEAD_DIM * typed_bytes(c));
    }
    return ok;
}

int attention_run(struct compute *c, struct err *err)
{
    struct attention *a = &c->attention;
    const unsigned char *qkv = c->qkv_att;
    const size_t size = att_bytes(c), d = (size_t)c->d;
    unsigned char *keys = a->keys, *values = a->values;
    int failed = 0;
#pragma omp parallel reduction(| : failed)
    {
        unsigned me = (unsigned)omp_get_thread_num();
#pragma omp for schedule(static)
        for (int i = 0; i < 2 * c->heads; i++) {
            size_t head = (size_t)i / 2;
            bool ok =
                i % 2
                    ? dnn_small_pack(a->mix, me, qkv + (2 * d + head * HEAD_DIM) * size, values + head * a->value_bytes)
                    : dnn_small_pack(a->scores, me, qkv + (d + head * HEAD_DIM) * size, keys + head * a->key_bytes);
            failed |= !ok;
        }
#pragma omp for schedule(dynamic)
        for (int i = 0; i < c->heads * BLOCKS; i++)
            failed |= !run_block(c, me, (size_t)(i / BLOCKS), (size_t)(i % BLOCKS) * BLOCK_ROWS);
    }
    return failed ? err_set(err, ERR_INTERNAL, "oneDNN: attention failed") : 0;
}
