/* SPDX-License-Identifier: MIT */
/* The state behind compute.h, shared by encoder.c, attention.c, decoder.c and compute.c. */
#ifndef WHISPER_COMPUTE_INTERNAL_H
#define WHISPER_COMPUTE_INTERNAL_H

#include "whisper/compute.h"
#include "whisper/net_internal.h"

/*
 * Attention of the encoder works on blocks of rows that keep a block of scores in a core's second-level cache:
 * 1500 = 25 x 60.
 */
enum { AUDIO_CTX = 1500, TEXT_CTX = 448, BLOCK_ROWS = 60, BLOCKS = AUDIO_CTX / BLOCK_ROWS };
/* The same with the rest of the last block of keys. */
enum { AUDIO_ROOM = 1536, TEXT_ROOM = 448 };
_Static_assert(AUDIO_ROOM % KEY_BLOCK == 0 && AUDIO_ROOM - AUDIO_CTX < KEY_BLOCK && TEXT_ROOM % KEY_BLOCK == 0,
               "whole blocks of keys");

/* A cache of keys and values (kern.h) for one slot and layer, a head after another, floats or bfloat16. */
struct kv {
    void *keys, *values;
};

struct attention {
    struct dnn_small *scores, *mix;
    void *keys, *values; /* packed, one after another for each head */
    size_t key_bytes, value_bytes;
    float *block;     /* [threads][60][1500] scores */
    void *block_bf16; /* exp of these, bf16 only; else it is put in their place */
    float *mixed;     /* [threads][60][64] */
};

/* Watches the cross-attention while compute_align runs. */
struct align_watch {
    const struct head *heads;
    size_t n_heads, n_tokens, first; /* first: token index of row 0 of this step */
    float *scores;                   /* [n_heads][n_tokens][1500] */
};

struct compute {
    const struct net *net;
    const struct kern *kern;
    struct dnn *dnn;
    struct compute_opts opts;
    int d, heads;
    bool bf16_in;          /* inputs of the products with weights are bfloat16 */
    bool bf16_att;         /* so are keys, values and the encoder's attention */
    unsigned char *memory; /* everything below points in here */
    size_t memory_bytes;

    /* encoder; "typed": bfloat16 when bf16_in, else float */
    void *columns; /* typed, im2col of a convolution: [3000][3 * mels] or [1500][3d] */
    void *conv1;   /* typed [3000][d] */
    float *x;      /* [1500][d] */
    void *y;       /* typed [1500][d] */
    void *qkv;     /* [1500][3d], bfloat16 when bf16_in, else float */
    void *qkv_att; /* the same as the attention wants it; qkv itself where that is the same */
    void *hidden;  /* typed [1500][4d] */
    struct attention attention;

    /* decoder, one line a row */
    float *rx, *rq, *ratt; /* [rows][d], [rows][3d], [rows][d] */
    void *ry, *rhidden;    /* typed */
    float *logits;         /* [rows][n_vocab] */
    float *scores;         /* [threads][AUDIO_ROOM] */
    struct kv *cross;      /* [audio_slots][layers] */
    struct kv *self;       /* [text_slots][layers] */
    const struct align_watch *watch;
};

static inline size_t att_bytes(const struct compute *c)
{
    return c->bf16_att ? sizeof(bf16) : sizeof(float);
}
static inline size_t typed_bytes(const struct compute *c)
{
    return c->bf16_in ? sizeof(bf16) : sizeof(float);
}
/* Row `i` of a typed matrix with `width` columns. */
static inline void *typed_row(const struct compute *c, void *p, int64_t i, int64_t width)
{
    return (unsigned char *)p + (size_t)(i * width) * typed_bytes(c);
}
static inline struct kv *cross_kv(const struct compute *c, unsigned slot, int layer)
{
    return &c->cross[(int)slot * c->net->dims.text_layers + layer];
}
static inline struct kv *self_kv(const struct compute *c, unsigned slot, int layer)
{
    return &c->self[(int)slot * c->net->dims.text_layers + layer];
}

int attention_new(struct compute *c, struct attention *ret, struct err *err) MUST_CHECK;
void attention_clear(struct attention *a);
/* y = softmax(q k^T) v over 1500 rows, from c->qkv_att into c->y (typed). */
int attention_run(struct compute *c, struct err *err) MUST_CHECK;

#endif
