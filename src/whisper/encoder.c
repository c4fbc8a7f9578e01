/* SPDX-License-Identifier: MIT */
/*
 * One window through the encoder: two convolutions as products over gathered columns, the layers, the last norm, and
 * the cross-attention keys and values of every decoder layer, laid out for decoder.c.
 *
 * The running sum x stays in floats; each product adds into it. Products take typed inputs (bfloat16 or float), which
 * the norms before them write directly.
 */
#include "whisper/compute_internal.h"

#include <string.h>

static void put(const struct compute *c, bool narrow, const float *from, int64_t n, void *to)
{
    if (narrow)
        c->kern->to_bf16(from, (size_t)n, to);
    else
        memcpy(to, from, (size_t)n * sizeof *from);
}

/* Row f: frames f - 1, f, f + 1 of the mel spectrogram, zeros beyond its ends. */
static void gather_mel(struct compute *c, const float *mel, int n_mels, bool narrow)
{
    int64_t width = 3 * n_mels;
    size_t size = narrow ? sizeof(bf16) : sizeof(float);
#pragma omp parallel for
    for (int f = 0; f < 2 * AUDIO_CTX; f++) {
        float row[3 * 256];
        for (int tap = 0; tap < 3; tap++) {
            int at = f - 1 + tap;
            for (int m = 0; m < n_mels; m++)
                row[tap * n_mels + m] = at < 0 || at >= 2 * AUDIO_CTX ? 0.0f : mel[m * 2 * AUDIO_CTX + at];
        }
        put(c, narrow, row, width, (unsigned char *)c->columns + (size_t)(f * width) * size);
    }
}

/* Row f: frames 2f - 1, 2f, 2f + 1 of the first convolution's output. */
static void gather_conv(struct compute *c, size_t size)
{
    size_t frame = (size_t)c->d * size;
#pragma omp parallel for
    for (int f = 0; f < AUDIO_CTX; f++)
        for (int tap = 0; tap < 3; tap++) {
            int at = 2 * f - 1 + tap;
            unsigned char *to = (unsigned char *)c->columns + ((size_t)f * 3 + (size_t)tap) * frame;
            if (at < 0)
                memset(to, 0, frame);
            else
                memcpy(to, (unsigned char *)c->conv1 + (size_t)at * frame, frame);
        }
}

static int convolve(struct compute *c, const float *mel, struct err *err)
{
    const struct net *n = c->net;
    bool narrow = n->conv1.w.layout.precision == WHISPER_BF16;
    gather_mel(c, mel, n->dims.n_mels, narrow);
    int rc = dnn_linear(c->dnn, 2 * AUDIO_CTX, c->columns, &n->conv1.w, n->conv1.bias, DNN_GELU, narrow, c->conv1, err);
    if (rc < 0)
        return rc;
    gather_conv(c, narrow ? sizeof(bf16) : sizeof(float));
    rc = dnn_linear(c->dnn, AUDIO_CTX, c->columns, &n->conv2.w, n->conv2.bias, DNN_GELU, false, c->x, err);
    if (rc < 0)
        return rc;
#pragma omp parallel for
    for (int64_t i = 0; i < (int64_t)AUDIO_CTX * c->d; i++)
        c->x[i] += n->encoder_pos[i];
    return 0;
}

static void norm_rows(struct compute *c, const struct norm *n)
{
#pragma omp parallel for
    for (int64_t i = 0; i < AUDIO_CTX; i++) {
        void *to = typed_row(c, c->y, i, c->d);
        c->kern->layer_norm(c->x + i * c->d, n->gain, n->bias, (size_t)c->d, c->bf16_in ? NULL : to,
                            c->bf16_in ? to : NULL);
    }
}

static int run_layer(struct compute *c, const struct encoder_layer *l, struct err *err)
{
    const int64_t m = AUDIO_CTX;
    norm_rows(c, &l->attn_ln);
    int rc = dnn_linear(c->dnn, m, c->y, &l->qkv.w, l->qkv.bias, DNN_NONE, c->bf16_in, c->qkv, err);
    if (rc < 0)
        return rc;
    if (c->qkv_att != c->qkv) {
#pragma omp parallel for
        for (int64_t i = 0; i < m; i++)
            c->kern->to_bf16((float *)c->qkv + i * 3 * c->d, (size_t)3 * (size_t)c->d,
                             (bf16 *)c->qkv_att + i * 3 * c->d);
    }
    rc = attention_run(c, err);
    if (rc == 0)
        rc = dnn_linear(c->dnn, m, c->y, &l->out.w, l->out.bias, DNN_ADD, false, c->x, err);
    if (rc < 0)
        return rc;
    norm_rows(c, &l->mlp_ln);
    rc = dnn_linear(c->dnn, m, c->y, &l->mlp_up.w, l->mlp_up.bias, DNN_GELU, c->bf16_in, c->hidden, err);
    if (rc == 0)
        rc = dnn_linear(c->dnn, m, c->hidden, &l->mlp_down.w, l->mlp_down.bias, DNN_ADD, false, c->x, err);
    return rc;
}

/* A block of positions of one head, from rows of the joint result [1500][2d], into the slot's layout (kern.h). */
static void scatter_block(const struct compute *c, const struct kv *kv, size_t head, size_t first)
{
    const size_t d = (size_t)c->d, last = MIN(first + KEY_BLOCK, (size_t)AUDIO_CTX);
    const size_t to = head * AUDIO_ROOM * HEAD_DIM;
    for (size_t t = first; t < last; t++) {
        size_t from = t * 2 * d + head * HEAD_DIM;
        if (!c->bf16_att) {
            const float *k = (const float *)c->qkv + from, *v = k + d;
            float *keys = (float *)kv->keys + to, *values = (float *)kv->values + to + t * HEAD_DIM;
            for (size_t i = 0; i < HEAD_DIM; i++)
                keys[kern_key_f32(i, t)] = k[i];
            memcpy(values, v, HEAD_DIM * sizeof *v);
            continue;
        }
        bf16 pair[2 * HEAD_DIM], *keys = (bf16 *)kv->keys + to;
        if (c->bf16_in) {
            memcpy(pair, (const bf16 *)c->qkv + from, HEAD_DIM * sizeof *pair);
            memcpy(pair + HEAD_DIM, (const bf16 *)c->qkv + from + d, HEAD_DIM * sizeof *pair);
        } else {
            c->kern->to_bf16((const float *)c->qkv + from, HEAD_DIM, pair);
            c->kern->to_bf16((const float *)c->qkv + from + d, HEAD_DIM, pair + HEAD_DIM);
        }
        for (size_t i = 0; i < HEAD_DIM; i++)
            keys[kern_key_bf16(i, t)] = pair[i];
        memcpy((bf16 *)kv->values + to + t * HEAD_DIM, pair + HEAD_DIM, HEAD_DIM * sizeof *pair);
    }
}

static void scatter_cross(struct compute *c, const struct kv *kv)
{
#pragma omp parallel for collapse(2)
    for (size_t h = 0; h < (size_t)c->heads; h++)
        for (size_t first = 0; first < AUDIO_CTX; first += KEY_BLOCK)
            scatter_block(c, kv, h, first);
}

static int look_up(struct compute *c, const struct cancel *cancel, struct err *err)
{
    bool go_on = !c->opts.go_on || c->opts.go_on(c->opts.go_on_arg);
    return go_on && !cancel_is_set(cancel) ? 0 : err_set(err, ERR_CANCELLED, "cancelled");
}

int compute_encode(struct compute *c, unsigned audio_slot, const float *mel, const struct cancel *cancel,
                   float *ret_states, struct err *err)
{
    const struct net *n = c->net;
    int rc = convolve(c, mel, err);
    for (int i = 0; i < n->dims.audio_layers && rc == 0; i++) {
        rc = look_up(c, cancel, err);
        if (rc == 0)
            rc = run_layer(c, &n->encoder[i], err);
    }
    if (rc < 0)
        return rc;
    norm_rows(c, &n->encoder_ln);
    if (ret_states)
        for (int64_t i = 0; i < AUDIO_CTX; i++)
            c->kern->layer_norm(c->x + i * c->d, n->encoder_ln.gain, n->encoder_ln.bias, (size_t)c->d,
                                ret_states + i * c->d, NULL);
    for (int i = 0; i < n->dims.text_layers && rc == 0; i++) {
        const struct linear *l = &n->decoder[i].cross_kv;
        rc = look_up(c, cancel, err);
        if (rc == 0)
            rc = dnn_linear(c->dnn, AUDIO_CTX, c->y, &l->w, l->bias, DNN_NONE, c->bf16_in, c->qkv, err);
        if (rc == 0)
            scatter_cross(c, cross_kv(c, audio_slot, i));
    }
    return rc;
}
