/* SPDX-License-Identifier: MIT */
/*
 * One step of the decoder over rows of any windows and beams: weights are read once for all rows. Row counts are
 * rounded up to a few sizes, so that few primitives are made; the rows added are computed and ignored.
 *
 * Attention is our own: tasks are (head, group of rows with the same audio slot), because a group reads the window's
 * keys and values from memory once and then from the cache.
 */
#include "whisper/compute_internal.h"

#include <omp.h>
#include <string.h>

/* 1 to 16 rows cost about the same; beyond, steps of 16. */
static int64_t round_rows(int64_t n)
{
    static const int64_t small[] = {1, 2, 4, 8, 16};
    for (size_t i = 0; i < ARRAY_LEN(small); i++)
        if (n <= small[i])
            return small[i];
    return (n + 15) / 16 * 16;
}

static void norm_rows(struct compute *c, const struct norm *n, size_t rows)
{
    for (size_t i = 0; i < rows; i++) {
        void *to = typed_row(c, c->ry, (int64_t)i, c->d);
        c->kern->layer_norm(c->rx + i * (size_t)c->d, n->gain, n->bias, (size_t)c->d, c->bf16_in ? NULL : to,
                            c->bf16_in ? to : NULL);
    }
}

/* The attention's float result as the typed input of a product. */
static void type_rows(struct compute *c, size_t rows)
{
    if (c->bf16_in)
        c->kern->to_bf16(c->ratt, rows * (size_t)c->d, c->ry);
    else
        memcpy(c->ry, c->ratt, rows * (size_t)c->d * sizeof(float));
}

/* Keys and values of a row into its text slot. */
static void store_self(struct compute *c, const struct step_row *row, const float *qkv, int layer)
{
    const struct kv *kv = self_kv(c, row->text_slot, layer);
    const float *k = qkv + c->d, *v = qkv + 2 * c->d;
    for (int h = 0; h < c->heads; h++) {
        size_t head = (size_t)h * TEXT_ROOM * HEAD_DIM, t = (size_t)row->position;
        const float *from_k = k + h * HEAD_DIM, *from_v = v + h * HEAD_DIM;
        if (c->bf16_att) {
            bf16 narrow[HEAD_DIM], *keys = (bf16 *)kv->keys + head;
            c->kern->to_bf16(from_k, HEAD_DIM, narrow);
            for (size_t i = 0; i < HEAD_DIM; i++)
                keys[kern_key_bf16(i, t)] = narrow[i];
            c->kern->to_bf16(from_v, HEAD_DIM, (bf16 *)kv->values + head + t * HEAD_DIM);
        } else {
            float *keys = (float *)kv->keys + head;
            for (size_t i = 0; i < HEAD_DIM; i++)
                keys[kern_key_f32(i, t)] = from_k[i];
            memcpy((float *)kv->values + head + t * HEAD_DIM, from_v, HEAD_DIM * sizeof(float));
        }
    }
}

static void score(const struct compute *c, const float *q, const struct kv *kv, size_t head, size_t n, float *scores)
{
    if (c->bf16_att)
        c->kern->scores_bf16(q, (const bf16 *)kv->keys + head, n, scores);
    else
        c->kern->scores_f32(q, (const float *)kv->keys + head, n, scores);
}

/* One row: q over `n` positions of the head that begins at value `head` of kv. */
static void attend(const struct compute *c, const float *q, const struct kv *kv, size_t head, size_t n, float *scores,
                   float *ret)
{
    score(c, q, kv, head, n, scores);
    c->kern->softmax(scores, n, scores);
    if (c->bf16_att)
        c->kern->mix_bf16(scores, (const bf16 *)kv->values + head, n, ret);
    else
        c->kern->mix_f32(scores, (const float *)kv->values + head, n, ret);
}

static void self_attention(struct compute *c, const struct step_row *rows, size_t n, int layer)
{
    for (size_t i = 0; i < n; i++)
        store_self(c, &rows[i], c->rq + i * 3 * (size_t)c->d, layer);
#pragma omp parallel for collapse(2) schedule(static)
    for (size_t i = 0; i < n; i++)
        for (int h = 0; h < c->heads; h++) {
            float *scores = c->scores + omp_get_thread_num() * AUDIO_ROOM;
            attend(c, c->rq + i * 3 * (size_t)c->d + h * HEAD_DIM, self_kv(c, rows[i].text_slot, layer),
                   (size_t)h * TEXT_ROOM * HEAD_DIM, (size_t)rows[i].position + 1, scores,
                   c->ratt + i * (size_t)c->d + h * HEAD_DIM);
        }
}

/* Scores of this row for the heads that compute_align watches. */
static void watch(const struct compute *c, int layer, int head, size_t row, const float *q, const struct kv *kv,
                  float *scores)
{
    const struct align_watch *w = c->watch;
    for (size_t i = 0; i < w->n_heads; i++) {
        if (w->heads[i].layer != layer || w->heads[i].head != head)
            continue;
        score(c, q, kv, (size_t)head * AUDIO_ROOM * HEAD_DIM, AUDIO_CTX, scores);
        memcpy(w->scores + (i * w->n_tokens + w->first + row) * AUDIO_CTX, scores, AUDIO_CTX * sizeof *scores);
    }
}

static void cross_attention(struct compute *c, const struct step_row *rows, size_t n, int layer)
{
    /* Groups: runs of rows with the same audio slot. */
    size_t n_groups = 0;
    for (size_t i = 0; i < n; i++)
        n_groups += i == 0 || rows[i].audio_slot != rows[i - 1].audio_slot;
#pragma omp parallel for collapse(2) schedule(static)
    for (size_t g = 0; g < n_groups; g++)
        for (int h = 0; h < c->heads; h++) {
            size_t first = 0, seen = 0;
            while (first < n && seen < g + 1)
                seen += first == 0 || rows[first].audio_slot != rows[first - 1].audio_slot ? 1 : 0, first++;
            first--;
            float *scores = c->scores + omp_get_thread_num() * AUDIO_ROOM;
            const struct kv *kv = cross_kv(c, rows[first].audio_slot, layer);
            for (size_t i = first; i < n && rows[i].audio_slot == rows[first].audio_slot; i++) {
                const float *q = c->rq + i * (size_t)c->d + h * HEAD_DIM;
                if (c->watch)
                    watch(c, layer, h, i, q, kv, scores);
                attend(c, q, kv, (size_t)h * AUDIO_ROOM * HEAD_DIM, AUDIO_CTX, scores,
                       c->ratt + i * (size_t)c->d + h * HEAD_DIM);
            }
        }
}

static int run_layer(struct compute *c, const struct decoder_layer *l, int layer, const struct step_row *rows, size_t n,
                     struct err *err)
{
    const int64_t m = round_rows((int64_t)n);
    norm_rows(c, &l->attn_ln, n);
    int rc = dnn_linear(c->dnn, m, c->ry, &l->qkv.w, l->qkv.bias, DNN_NONE, false, c->rq, err);
    if (rc < 0)
        return rc;
    self_attention(c, rows, n, layer);
    type_rows(c, n);
    rc = dnn_linear(c->dnn, m, c->ry, &l->out.w, l->out.bias, DNN_ADD, false, c->rx, err);
    if (rc < 0)
        return rc;
    norm_rows(c, &l->cross_ln, n);
    rc = dnn_linear(c->dnn, m, c->ry, &l->cross_q.w, l->cross_q.bias, DNN_NONE, false, c->rq, err);
    if (rc < 0)
        return rc;
    cross_attention(c, rows, n, layer);
    type_rows(c, n);
    rc = dnn_linear(c->dnn, m, c->ry, &l->cross_out.w, l->cross_out.bias, DNN_ADD, false, c->rx, err);
    if (rc < 0)
        return rc;
    norm_rows(c, &l->mlp_ln, n);
    rc = dnn_linear(c->dnn, m, c->ry, &l->mlp_up.w, l->mlp_up.bias, DNN_GELU, c->bf16_in, c->rhidden, err);
    if (rc == 0)
        rc = dnn_linear(c->dnn, m, c->rhidden, &l->mlp_down.w, l->mlp_down.bias, DNN_ADD, false, c->rx, err);
    return rc;
}

/* The last norm and the logits of the rows that want them, which move together to the front. */
static int finish(struct compute *c, struct step_row *rows, size_t n, struct err *err)
{
    const struct norm *ln = &c->net->decoder_ln;
    size_t wanted = 0;
    for (size_t i = 0; i < n; i++) {
        if (!rows[i].want_logits)
            continue;
        void *to = typed_row(c, c->ry, (int64_t)wanted, c->d);
        c->kern->layer_norm(c->rx + i * (size_t)c->d, ln->gain, ln->bias, (size_t)c->d, c->bf16_in ? NULL : to,
                            c->bf16_in ? to : NULL);
        rows[i].logits = c->logits + wanted * (size_t)c->net->dims.n_vocab;
        wanted++;
    }
    if (!wanted)
        return 0;
    return dnn_linear(c->dnn, round_rows((int64_t)wanted), c->ry, &c->net->logits.w, NULL, DNN_NONE, false, c->logits,
                      err);
}

int compute_step(struct compute *c, struct step_row *rows, size_t n, struct err *err)
{
    const struct net *net = c->net;
    if (n == 0 || n > c->opts.max_rows)
        return err_set(err, ERR_INTERNAL, "a step of %zu rows, planned for %u", n, c->opts.max_rows);
    for (size_t i = 0; i < n; i++) {
        const struct step_row *r = &rows[i];
        if (r->token < 0 || r->token >= net->dims.n_vocab || r->position < 0 || r->position >= TEXT_CTX ||
            r->text_slot >= c->opts.text_slots || r->audio_slot >= c->opts.audio_slots)
            return err_set(err, ERR_INTERNAL, "a row with token %d at position %d is out of range", r->token,
                           r->position);
        const float *e = net->embedding + (int64_t)r->token * c->d, *p = net->decoder_pos + (int64_t)r->position * c->d;
        float *x = c->rx + i * (size_t)c->d;
        for (int k = 0; k < c->d; k++)
            x[k] = e[k] + p[k];
    }
    int rc = 0;
    for (int i = 0; i < net->dims.text_layers && rc == 0; i++)
        rc = run_layer(c, &net->decoder[i], i, rows, n, err);
    return rc < 0 ? rc : finish(c, rows, n, err);
}

void compute_copy_text(struct compute *c, unsigned to, unsigned from, int n)
{
    const size_t size = att_bytes(c);
    for (int layer = 0; layer < c->net->dims.text_layers; layer++) {
        const struct kv *a = self_kv(c, from, layer), *b = self_kv(c, to, layer);
        for (int h = 0; h < c->heads; h++) {
            size_t at = (size_t)h * TEXT_ROOM * HEAD_DIM * size;
            memcpy((unsigned char *)b->keys + at, (const unsigned char *)a->keys + at,
                   kern_key_room((size_t)n) * HEAD_DIM * size);
            memcpy((unsigned char *)b->values + at, (const unsigned char *)a->values + at, (size_t)n * HEAD_DIM * size);
        }
    }
}

int compute_align(struct compute *c, unsigned audio_slot, unsigned text_slot, const int *tokens, size_t n,
                  const struct head *heads, size_t n_heads, int n_text, float *ret_scores, float *ret_token_prob,
                  struct err *err)
{
    struct align_watch w = {.heads = heads, .n_heads = n_heads, .n_tokens = n, .scores = ret_scores};
    enum { PIECE = 16 };
    struct step_row rows[PIECE];
    int rc = 0;
    ret_token_prob[0] = 0;
    c->watch = &w;
    for (size_t at = 0; at < n && rc == 0; at += PIECE) {
        size_t len = MIN((size_t)PIECE, MIN(n - at, (size_t)c->opts.max_rows));
        for (size_t i = 0; i < len; i++)
            rows[i] = (struct step_row){.audio_slot = audio_slot,
                                        .text_slot = text_slot,
                                        .position = (int)(at + i),
                                        .token = tokens[at + i],
                                        .want_logits = at + i + 1 < n};
        w.first = at;
        rc = c->opts.go_on && !c->opts.go_on(c->opts.go_on_arg) ? err_set(err, ERR_CANCELLED, "cancelled")
                                                                : compute_step(c, rows, len, err);
        for (size_t i = 0; i < len && rc == 0; i++) {
            if (!rows[i].want_logits)
                continue;
            int next = tokens[at + i + 1];
            if (next < n_text)
                c->kern->softmax(rows[i].logits, (size_t)n_text, rows[i].logits);
            ret_token_prob[at + i + 1] = next < n_text ? rows[i].logits[next] : 0;
        }
    }
    c->watch = NULL;
    return rc;
}
