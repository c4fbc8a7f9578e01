/* SPDX-License-Identifier: MIT */
/*
 * The encoder's self-attention: 1500 x 1500 scores a head, never held as a whole.
 *
 * First the keys and values of every head are packed for the products. Then each thread takes (head, block of 60 rows):
 * scores of the block, soft-max, product with the values. A block of scores is 360 KB and stays in the core's own
 * cache; the soft-max is our own vector loop, because oneDNN's costs more than both products.
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
                                 .y_bf16 = c->bf16_in,
                                 .m = BLOCK_ROWS,
                                 .k = AUDIO_CTX,
                                 .n = HEAD_DIM,
                                 .x_stride = AUDIO_CTX,
                                 .y_stride = d,
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
    if (!ret->keys || !ret->values || !ret->block || (c->bf16_att && !ret->block_bf16))
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
    *a = (struct attention){0};
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
        float *block = a->block + me * (size_t)(BLOCK_ROWS * AUDIO_CTX);
        bf16 *narrow = a->block_bf16 ? (bf16 *)a->block_bf16 + me * (size_t)(BLOCK_ROWS * AUDIO_CTX) : NULL;
#pragma omp for schedule(dynamic)
        for (int i = 0; i < c->heads * BLOCKS; i++) {
            size_t head = (size_t)(i / BLOCKS), row = (size_t)(i % BLOCKS) * BLOCK_ROWS;
            bool ok = dnn_small_run(a->scores, me, qkv + (row * 3 * d + head * HEAD_DIM) * size,
                                    keys + head * a->key_bytes, block);
            for (size_t r = 0; r < BLOCK_ROWS; r++) {
                float *line = block + r * AUDIO_CTX;
                if (narrow)
                    c->kern->softmax(line, AUDIO_CTX, NULL, narrow + r * AUDIO_CTX);
                else
                    c->kern->softmax(line, AUDIO_CTX, line, NULL);
            }
            unsigned char *y = typed_row(c, c->y, (int64_t)row, c->d);
            ok = ok && dnn_small_run(a->mix, me, narrow ? (const void *)narrow : (const void *)block,
                                     values + head * a->value_bytes, y + head * HEAD_DIM * typed_bytes(c));
            failed |= !ok;
        }
    }
    return failed ? err_set(err, ERR_INTERNAL, "oneDNN: attention failed") : 0;
}
