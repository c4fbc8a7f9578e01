/* SPDX-License-Identifier: MIT */
/*
 * Planning: one walk (plan) names every buffer and its size; it is done once to add the sizes up and once to hand out
 * places in one allocation.
 */
#include "whisper/compute_internal.h"

#include <omp.h>
#include <stdlib.h>
#include <string.h>

enum { ALIGN = 64 };

struct planner {
    unsigned char *base; /* NULL: only adding up */
    size_t at;
};

static void *place(struct planner *p, size_t n, size_t size)
{
    size_t at = p->at;
    p->at += (n * size + ALIGN - 1) & ~(size_t)(ALIGN - 1);
    return p->base ? p->base + at : NULL;
}

static void plan_kv(struct planner *p, struct kv *kv, size_t heads, size_t length, size_t size)
{
    void *keys = place(p, heads * HEAD_DIM * length, size), *values = place(p, heads * HEAD_DIM * length, size);
    if (p->base)
        *kv = (struct kv){.keys = keys, .values = values};
}

static void plan(struct compute *c, struct planner *p)
{
    const struct whisper_dims *dims = &c->net->dims;
    /* `rows` rounded up as decoder.c does; typed buffers are sized for floats, which convolutions may need in any
     * precision. */
    size_t d = (size_t)c->d, rows = ((size_t)c->opts.max_rows + 15) / 16 * 16, f = sizeof(float);
    size_t columns = MAX((size_t)2 * AUDIO_CTX * 3 * (size_t)dims->n_mels, (size_t)AUDIO_CTX * 3 * d);
    c->columns = place(p, columns, f);
    c->conv1 = place(p, (size_t)2 * AUDIO_CTX * d, f);
    c->x = place(p, AUDIO_CTX * d, f);
    c->y = place(p, AUDIO_CTX * d, f);
    c->qkv = place(p, AUDIO_CTX * 3 * d, f);
    c->qkv_att = c->bf16_att && !c->bf16_in ? place(p, AUDIO_CTX * 3 * d, sizeof(bf16)) : c->qkv;
    c->hidden = place(p, AUDIO_CTX * 4 * d, f);
    c->rx = place(p, rows * d, f);
    c->rq = place(p, rows * 3 * d, f);
    c->ratt = place(p, rows * d, f);
    c->ry = place(p, rows * d, f);
    c->rhidden = place(p, rows * 4 * d, f);
    c->logits = place(p, rows * (size_t)dims->n_vocab, f);
    c->scores = place(p, (size_t)omp_get_max_threads() * AUDIO_ROOM, f);
    size_t layers = (size_t)dims->text_layers;
    c->cross = place(p, c->opts.audio_slots * layers, sizeof *c->cross);
    c->self = place(p, c->opts.text_slots * layers, sizeof *c->self);
    for (size_t i = 0; i < c->opts.audio_slots * layers; i++)
        plan_kv(p, p->base ? &c->cross[i] : NULL, (size_t)c->heads, AUDIO_ROOM, att_bytes(c));
    for (size_t i = 0; i < c->opts.text_slots * layers; i++)
        plan_kv(p, p->base ? &c->self[i] : NULL, (size_t)c->heads, TEXT_ROOM, att_bytes(c));
}

static void init(struct compute *c, const struct net *n, const struct compute_opts *o)
{
    *c = (struct compute){
        .net = n, .kern = kern_best(), .opts = *o, .d = n->dims.audio_state, .heads = n->dims.audio_heads};
    c->bf16_in = n->precision == WHISPER_BF16;
    c->bf16_att = c->bf16_in || (n->precision == WHISPER_INT8 && dnn_fast(WHISPER_BF16));
}

int64_t compute_memory(const struct net *n, const struct compute_opts *o)
{
    struct compute c;
    init(&c, n, o);
    struct planner p = {0};
    plan(&c, &p);
    return (int64_t)p.at;
}

int compute_new(const struct net *n, const struct compute_opts *o, struct compute **ret, struct err *err)
{
    struct compute *c = xcalloc(1, sizeof *c);
    init(c, n, o);
    int rc = dnn_new(o->threads, &c->dnn, err);
    if (rc < 0) {
        compute_free(c);
        return rc;
    }
    struct planner p = {0};
    plan(c, &p);
    c->memory = aligned_alloc(ALIGN, p.at);
    c->memory_bytes = p.at;
    if (!c->memory) {
        compute_free(c);
        return err_set(err, ERR_NOMEM, "no memory for %zu MB of caches and scratch", p.at >> 20);
    }
    /* Rows that only fill up a step must hold numbers: a stray NaN costs time on every product. */
    memset(c->memory, 0, p.at);
    p = (struct planner){.base = c->memory};
    plan(c, &p);
    rc = attention_new(c, &c->attention, err);
    if (rc < 0) {
        compute_free(c);
        return rc;
    }
    *ret = c;
    return 0;
}

void compute_free(struct compute *c)
{
    if (!c)
        return;
    attention_clear(&c->attention);
    dnn_free(c->dnn);
    free(c->memory);
    free(c);
}
