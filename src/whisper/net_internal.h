/* SPDX-License-Identifier: MIT */
/* The network's parts, as the compute files see them. All pointers go into one read-only block (net.c). */
#ifndef WHISPER_NET_INTERNAL_H
#define WHISPER_NET_INTERNAL_H

#include "whisper/dnn.h"
#include "whisper/net.h"

/* y = x W^T + bias */
struct linear {
    struct dnn_matrix w;
    const float *bias; /* [n] or NULL */
};

struct norm {
    const float *gain, *bias;
};

struct encoder_layer {
    struct norm attn_ln, mlp_ln;
    struct linear qkv; /* [3d][d]: query (scaled by 1/8), key, value */
    struct linear out, mlp_up, mlp_down;
};

struct decoder_layer {
    struct norm attn_ln, cross_ln, mlp_ln;
    struct linear qkv, out;
    struct linear cross_q;  /* scaled by 1/8 */
    struct linear cross_kv; /* [2d][d]: key, value; applied to the encoder's output */
    struct linear cross_out, mlp_up, mlp_down;
};

struct net {
    struct whisper_dims dims;
    enum whisper_precision precision;
    struct linear conv1, conv2;         /* [d][3 * channels], taps outermost: tap * channels + channel */
    const float *encoder_pos;           /* [1500][d] */
    const float *decoder_pos;           /* [448][d] */
    const float *embedding;             /* [n_vocab][d], for looking up; only rows in use become resident */
    struct linear logits;               /* the same matrix, packed */
    struct norm encoder_ln, decoder_ln; /* the last norms */
    struct encoder_layer *encoder;
    struct decoder_layer *decoder;
    unsigned char *block; /* mapped from the cache, or private memory */
    size_t block_bytes;
    bool mapped, from_cache;
};

#endif
