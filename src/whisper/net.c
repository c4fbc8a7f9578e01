/* SPDX-License-Identifier: MIT */
/*
 * One walk over the network (visit) names every part in a fixed order: a matrix made of tensors put one under another,
 * or a plain vector. The walk is done twice: once to lay the parts out in one block and once to bind the pointers. In
 * between the block is either mapped from the cache or filled from the model file.
 */
#include "whisper/net_internal.h"

#include "base/str.h"
#include "whisper/cache.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { ALIGN = 64, MAX_STACK = 3 };

/* What a matrix is stacked from, by tensor prefix, top to bottom. */
struct part {
    const char *prefix;
    float scale;
    bool bias;
};

/* A walk: finds out how big the block is, fills it, or binds pointers into it. */
struct walk {
    enum { MEASURE, FILL, BIND } mode;
    const struct model_file *file;
    struct net *net;
    struct dnn *dnn;
    const struct cancel *cancel; /* of FILL */
    size_t at;                   /* offset in the block */
    struct err *err;
    int rc;
};

static void *reserve(struct walk *w, size_t bytes)
{
    size_t at = w->at;
    w->at += (bytes + ALIGN - 1) & ~(size_t)(ALIGN - 1);
    return w->mode == MEASURE ? NULL : w->net->block + at;
}

/* Rows [0, n) of a tensor as floats; one that is no number would spoil every text without a word. */
static void read_rows(struct walk *w, const char *name, int64_t n, float *ret)
{
    const struct tensor_view *t = model_file_tensor(w->file, name);
    int64_t values = n;
    for (int i = 1; i < t->n_dims; i++)
        values *= t->dims[i];
    tensor_rows_f32(t, 0, n, ret);
    if (!floats_finite(ret, values))
        w->rc = err_set(w->err, ERR_CORRUPT, "tensor '%s' holds a value that is no number", name);
}

/* [rows][columns] of the stacked tensors as floats, scaled; a 3-tap convolution with its taps moved outermost. */
static int gather(struct walk *w, const struct part *parts, size_t n_parts, int64_t n, int64_t k, float **ret)
{
    float *all = malloc((size_t)(n * k) * sizeof *all), *out = all;
    if (!all)
        return err_set(w->err, ERR_NOMEM, "no memory to pack a matrix of %lld x %lld", (long long)n, (long long)k);
    for (size_t i = 0; i < n_parts; i++) {
        char name[96];
        snprintf(name, sizeof name, "%s.weight", parts[i].prefix);
        const struct tensor_view *t = model_file_tensor(w->file, name);
        read_rows(w, name, t->dims[0], out);
        for (int64_t j = 0; j < t->dims[0] * k; j++)
            out[j] *= parts[i].scale;
        if (t->n_dims == 3) {
            float *row = malloc((size_t)k * sizeof *row);
            if (!row) {
                free(all);
                return err_set(w->err, ERR_NOMEM, "no memory to pack a convolution");
            }
            for (int64_t j = 0; j < t->dims[0]; j++) {
                memcpy(row, out + j * k, (size_t)k * sizeof *row);
                for (int64_t c = 0; c < t->dims[1]; c++)
                    for (int64_t tap = 0; tap < 3; tap++)
                        out[j * k + tap * t->dims[1] + c] = row[c * 3 + tap];
            }
            free(row);
        }
        out += t->dims[0] * k;
    }
    *ret = all;
    return 0;
}

static void fill_bias(struct walk *w, const struct part *parts, size_t n_parts, int64_t n, float *ret)
{
    for (size_t i = 0; i < n_parts; i++) {
        int64_t rows = n / (int64_t)n_parts;
        memset(ret + (int64_t)i * rows, 0, (size_t)rows * sizeof *ret);
        if (!parts[i].bias)
            continue;
        char name[96];
        snprintf(name, sizeof name, "%s.bias", parts[i].prefix);
        read_rows(w, name, rows, ret + (int64_t)i * rows);
        for (int64_t j = 0; j < rows; j++)
            ret[(int64_t)i * rows + j] *= parts[i].scale;
    }
}

static void matrix(struct walk *w, struct linear *l, enum whisper_precision p, const struct part *parts, size_t n_parts,
                   int64_t n, int64_t k)
{
    if (w->rc < 0)
        return;
    if (w->mode == MEASURE)
        w->rc = dnn_layout(w->dnn, p, k, n, &l->w.layout, w->err);
    if (w->rc < 0)
        return;
    bool bias = parts[0].bias || parts[n_parts - 1].bias;
    void *packed = reserve(w, (size_t)l->w.layout.bytes);
    float *scales = p == WHISPER_INT8 ? reserve(w, (size_t)n * sizeof(float)) : NULL;
    float *biases = bias ? reserve(w, (size_t)n * sizeof(float)) : NULL;
    if (w->mode == FILL) {
        float *values = NULL;
        int rc = cancel_is_set(w->cancel) ? err_set(w->err, ERR_CANCELLED, "stopped while a model was packed") : 0;
        if (rc == 0)
            rc = gather(w, parts, n_parts, n, k, &values);
        if (rc == 0 && w->rc == 0)
            rc = dnn_pack(w->dnn, &l->w.layout, values, packed, scales, w->err);
        free(values);
        w->rc = w->rc < 0 ? w->rc : rc;
        if (bias && w->rc == 0)
            fill_bias(w, parts, n_parts, n, biases);
    }
    if (w->mode == BIND) {
        l->w.packed = packed;
        l->w.scales = scales;
        l->bias = biases;
    }
}

static void vector(struct walk *w, const float **slot, const char *name, int64_t rows, int64_t row)
{
    if (w->rc < 0)
        return;
    float *p = reserve(w, (size_t)(rows * row) * sizeof *p);
    if (w->mode == FILL)
        read_rows(w, name, rows, p);
    if (w->mode == BIND)
        *slot = p;
}

static void norm(struct walk *w, struct norm *n, const char *prefix, int64_t d)
{
    char name[96];
    snprintf(name, sizeof name, "%s.weight", prefix);
    vector(w, &n->gain, name, d, 1);
    snprintf(name, sizeof name, "%s.bias", prefix);
    vector(w, &n->bias, name, d, 1);
}

/* A linear of 1 to 3 tensors: `names` below `block`, ended by NULL; a name with '*' has no bias, one with '/' is scaled
 * by 1/8. */
static void linear(struct walk *w, struct linear *l, const char *block, const char *const names[MAX_STACK + 1],
                   int64_t n, int64_t k)
{
    char prefix[MAX_STACK][64];
    struct part parts[MAX_STACK];
    size_t count = 0;
    for (; names[count]; count++) {
        const char *name = names[count] + strspn(names[count], "*/");
        size_t marks = (size_t)(name - names[count]);
        snprintf(prefix[count], sizeof prefix[count], "%s%s", block, name);
        parts[count] = (struct part){.prefix = prefix[count],
                                     .scale = memchr(names[count], '/', marks) ? 0.125f : 1.0f,
                                     .bias = !memchr(names[count], '*', marks)};
    }
    matrix(w, l, w->net->precision, parts, count, n, k);
}

#define NAMES(...)                     \
    (const char *const[MAX_STACK + 1]) \
    {                                  \
        __VA_ARGS__                    \
    }

static void visit_encoder_layer(struct walk *w, int i, int64_t d)
{
    struct encoder_layer *e = &w->net->encoder[i];
    char block[32], name[64];
    snprintf(block, sizeof block, "encoder.blocks.%d.", i);
    snprintf(name, sizeof name, "%sattn_ln", block);
    norm(w, &e->attn_ln, name, d);
    linear(w, &e->qkv, block, NAMES("/attn.query", "*attn.key", "attn.value"), 3 * d, d);
    linear(w, &e->out, block, NAMES("attn.out"), d, d);
    snprintf(name, sizeof name, "%smlp_ln", block);
    norm(w, &e->mlp_ln, name, d);
    linear(w, &e->mlp_up, block, NAMES("mlp.0"), 4 * d, d);
    linear(w, &e->mlp_down, block, NAMES("mlp.2"), d, 4 * d);
}

static void visit_decoder_layer(struct walk *w, int i, int64_t d)
{
    struct decoder_layer *l = &w->net->decoder[i];
    char block[32], name[64];
    snprintf(block, sizeof block, "decoder.blocks.%d.", i);
    snprintf(name, sizeof name, "%sattn_ln", block);
    norm(w, &l->attn_ln, name, d);
    linear(w, &l->qkv, block, NAMES("/attn.query", "*attn.key", "attn.value"), 3 * d, d);
    linear(w, &l->out, block, NAMES("attn.out"), d, d);
    snprintf(name, sizeof name, "%scross_attn_ln", block);
    norm(w, &l->cross_ln, name, d);
    linear(w, &l->cross_q, block, NAMES("/cross_attn.query"), d, d);
    linear(w, &l->cross_kv, block, NAMES("*cross_attn.key", "cross_attn.value"), 2 * d, d);
    linear(w, &l->cross_out, block, NAMES("cross_attn.out"), d, d);
    snprintf(name, sizeof name, "%smlp_ln", block);
    norm(w, &l->mlp_ln, name, d);
    linear(w, &l->mlp_up, block, NAMES("mlp.0"), 4 * d, d);
    linear(w, &l->mlp_down, block, NAMES("mlp.2"), d, 4 * d);
}

static int visit(struct walk *w)
{
    struct net *n = w->net;
    const struct whisper_dims *dims = &n->dims;
    int64_t d = dims->audio_state;
    /* Convolutions are a few products a window: not worth the error of bytes. */
    enum whisper_precision conv =
        n->precision == WHISPER_INT8 ? (dnn_fast(WHISPER_BF16) ? WHISPER_BF16 : WHISPER_F32) : n->precision;
    w->at = 0;
    matrix(w, &n->conv1, conv, &(struct part){"encoder.conv1", 1, true}, 1, d, 3 * dims->n_mels);
    matrix(w, &n->conv2, conv, &(struct part){"encoder.conv2", 1, true}, 1, d, 3 * d);
    vector(w, &n->encoder_pos, "encoder.positional_embedding", dims->audio_ctx, d);
    for (int i = 0; i < dims->audio_layers && w->rc == 0; i++)
        visit_encoder_layer(w, i, d);
    norm(w, &n->encoder_ln, "encoder.ln_post", d);
    vector(w, &n->decoder_pos, "decoder.positional_embedding", dims->text_ctx, d);
    for (int i = 0; i < dims->text_layers && w->rc == 0; i++)
        visit_decoder_layer(w, i, d);
    norm(w, &n->decoder_ln, "decoder.ln", d);
    matrix(w, &n->logits, n->precision, &(struct part){"decoder.token_embedding", 1, false}, 1, dims->n_vocab, d);
    vector(w, &n->embedding, "decoder.token_embedding.weight", dims->n_vocab, d);
    return w->rc;
}

/* Makes the block, and puts it into the cache when there is one. */
static int fill(struct walk *w, const struct cache_entry *cache)
{
    struct net *n = w->net;
    n->block = mmap(NULL, n->block_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (n->block == MAP_FAILED) {
        n->block = NULL;
        return err_set(w->err, ERR_NOMEM, "no memory for %zu MB of packed weights", n->block_bytes >> 20);
    }
    int rc = visit(w);
    if (rc < 0 || !cache->path)
        return rc;
    cache_write(cache, n->block, w->file);
    /* From now on share the pages of the file with other processes. */
    unsigned char *shared = cache_map(cache);
    if (shared) {
        munmap(n->block, n->block_bytes);
        n->block = shared;
        n->mapped = true;
    }
    return 0;
}

int net_plan(const struct model_file *f, enum whisper_precision precision, struct net **ret, struct err *err)
{
    struct net *n = xcalloc(1, sizeof *n);
    n->dims = *model_file_dims(f);
    n->precision = precision == WHISPER_AUTO ? whisper_precision_best() : precision;
    n->encoder = xcalloc((size_t)n->dims.audio_layers, sizeof *n->encoder);
    n->decoder = xcalloc((size_t)n->dims.text_layers, sizeof *n->decoder);
    struct dnn *dnn = NULL;
    int rc = dnn_new(0, &dnn, err);
    struct walk w = {.mode = MEASURE, .file = f, .net = n, .dnn = dnn, .err = err};
    if (rc == 0)
        rc = visit(&w);
    n->block_bytes = w.at;
    dnn_free(dnn);
    if (rc < 0) {
        net_close(n);
        return rc;
    }
    *ret = n;
    return 0;
}

int net_load(struct net *n, const struct model_file *f, const char *cache_folder, const struct cancel *cancel,
             struct err *err)
{
    CLEANUP(cache_clear) struct cache_entry cache;
    cache_init(&cache, f, n->precision, n->block_bytes, cache_folder);
    n->block = cache_map(&cache);
    n->mapped = n->from_cache = n->block;
    if (!n->block) {
        struct dnn *dnn = NULL;
        int rc = dnn_new(0, &dnn, err);
        struct walk w = {.mode = FILL, .file = f, .net = n, .dnn = dnn, .cancel = cancel, .err = err};
        if (rc == 0)
            rc = fill(&w, &cache);
        dnn_free(dnn);
        if (rc < 0)
            return rc;
    }
    struct walk w = {.mode = BIND, .net = n, .err = err};
    return visit(&w);
}

int net_open(const struct model_file *f, enum whisper_precision precision, const char *cache_folder, struct net **ret,
             struct err *err)
{
    struct net *n = NULL;
    int rc = net_plan(f, precision, &n, err);
    if (rc == 0)
        rc = net_load(n, f, cache_folder, NULL, err);
    if (rc < 0) {
        net_close(n);
        return rc;
    }
    *ret = n;
    return 0;
}

void net_close(struct net *n)
{
    if (!n)
        return;
    if (n->block && n->mapped)
        cache_unmap(n->block, n->block_bytes);
    else if (n->block)
        munmap(n->block, n->block_bytes);
    free(n->encoder);
    free(n->decoder);
    free(n);
}

const struct whisper_dims *net_dims(const struct net *n)
{
    return &n->dims;
}

enum whisper_precision net_precision(const struct net *n)
{
    return n->precision;
}

int64_t net_bytes(const struct net *n)
{
    return (int64_t)n->block_bytes;
}

bool net_from_cache(const struct net *n)
{
    return n->from_cache;
}
