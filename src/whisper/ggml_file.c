/* SPDX-License-Identifier: MIT */
/*
 * whisper.cpp's ggml .bin: magic, 11 dimensions, mel filters, vocabulary, then tensors one after another, each with its
 * own small header (dimensions, name length, type; dimensions innermost first) and unaligned data. All little-endian.
 *
 * A cursor that never passes the end of the mapping reads it; every count is bounded before it is used.
 */
#include "whisper/model_file_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { GGML_MAGIC = 0x67676d6c, TOKEN_MAX = 1024 /* bytes; the longest real one has 128 */ };

/* ggml's type numbers; -1: one this program does not read. */
static const int type_of[] = {TENSOR_F32, TENSOR_F16,  TENSOR_Q4_0, TENSOR_Q4_1, -1,
                              -1,         TENSOR_Q5_0, TENSOR_Q5_1, TENSOR_Q8_0};

struct cursor {
    const unsigned char *at, *end;
    bool failed; /* something was asked for beyond the end; sticky */
};

static const unsigned char *take(struct cursor *c, size_t n)
{
    if (c->failed || (size_t)(c->end - c->at) < n) {
        c->failed = true;
        return NULL;
    }
    const unsigned char *p = c->at;
    c->at += n;
    return p;
}

static int32_t take_i32(struct cursor *c)
{
    const unsigned char *p = take(c, 4);
    int32_t v = 0;
    if (p)
        memcpy(&v, p, 4);
    return v;
}

static int read_filters(struct model_file *f, struct cursor *c, struct err *err)
{
    int n_mels = take_i32(c), n_bins = take_i32(c);
    if (c->failed || n_mels != f->dims.n_mels || n_bins != 201)
        return err_set(err, ERR_CORRUPT, "mel filters are %d x %d, not %d x 201", n_mels, n_bins, f->dims.n_mels);
    size_t n = (size_t)n_mels * 201;
    const unsigned char *p = take(c, n * sizeof(float));
    f->mel_filters = malloc(n * sizeof(float));
    if (!f->mel_filters)
        return err_set(err, ERR_NOMEM, "no memory for mel filters");
    if (!p)
        return err_set(err, ERR_CORRUPT, "it ends inside the mel filters");
    memcpy(f->mel_filters, p, n * sizeof(float));
    if (!floats_finite(f->mel_filters, (int64_t)n))
        return err_set(err, ERR_CORRUPT, "its mel filters hold a value that is no number");
    return 0;
}

static int read_vocabulary(struct model_file *f, struct cursor *c, struct err *err)
{
    int32_t n = take_i32(c);
    if (c->failed || n < 1 || n > f->dims.n_vocab)
        return err_set(err, ERR_CORRUPT, "it has %d tokens for a vocabulary of %d", n, f->dims.n_vocab);
    f->tokens = calloc((size_t)n, sizeof *f->tokens);
    f->token_lens = calloc((size_t)n, sizeof *f->token_lens);
    if (!f->tokens || !f->token_lens)
        return err_set(err, ERR_NOMEM, "no memory for the vocabulary");
    for (int32_t i = 0; i < n && !c->failed; i++) {
        uint32_t len = (uint32_t)take_i32(c);
        const unsigned char *p = take(c, len);
        if (p && len > TOKEN_MAX)
            return err_set(err, ERR_CORRUPT, "token %d has %u bytes", i, len);
        f->tokens[i] = (const char *)p;
        f->token_lens[i] = len;
    }
    f->n_tokens = (size_t)n;
    return c->failed ? err_set(err, ERR_CORRUPT, "it ends inside the vocabulary") : 0;
}

static int read_tensor(struct model_file *f, struct cursor *c, enum tensor_type *ret_matrix_type, struct err *err)
{
    int32_t n_dims = take_i32(c), name_len = take_i32(c), type = take_i32(c), dims[3] = {1, 1, 1};
    if (c->failed || n_dims < 1 || n_dims > 3 || name_len < 1 || name_len >= TENSOR_NAME_MAX)
        return err_set(err, ERR_CORRUPT, "a tensor's header is damaged");
    for (int i = 0; i < n_dims; i++)
        dims[i] = take_i32(c);
    char name[TENSOR_NAME_MAX] = "";
    const unsigned char *p = take(c, (size_t)name_len);
    if (!p)
        return err_set(err, ERR_CORRUPT, "it ends inside a tensor's header");
    memcpy(name, p, (size_t)name_len);
    if (type < 0 || (size_t)type >= ARRAY_LEN(type_of) || type_of[type] < 0)
        return err_set(err, ERR_UNSUPPORTED, "tensor '%.60s' has ggml type %d, which is not read here", name, type);
    struct tensor_view v = {.type = (enum tensor_type)type_of[type], .n_dims = n_dims, .data = c->at};
    for (int i = 0; i < n_dims; i++)
        v.dims[i] = dims[n_dims - 1 - i];
    int rc = model_file_place(f, name, &v, (size_t)(c->end - c->at), err);
    if (rc < 0)
        return rc;
    take(c, (size_t)tensor_bytes(v.type, v.n_dims, v.dims)); /* fits: place has checked */
    if (strcmp(name, "decoder.token_embedding.weight") == 0)
        *ret_matrix_type = v.type;
    return 0;
}

int ggml_read_bytes(struct model_file *f, struct mapping m, struct err *err)
{
    struct cursor c = {.at = m.data, .end = m.data + m.size};
    if (take_i32(&c) != GGML_MAGIC || c.failed)
        return err_set(err, ERR_CORRUPT, "it is no ggml model: it does not begin with 'lmgg'");
    int32_t h[11];
    for (size_t i = 0; i < ARRAY_LEN(h); i++)
        h[i] = take_i32(&c);
    if (c.failed)
        return err_set(err, ERR_CORRUPT, "it ends inside its header");
    struct whisper_dims dims = {
        .n_vocab = h[0],
        .audio_ctx = h[1],
        .audio_state = h[2],
        .audio_heads = h[3],
        .audio_layers = h[4],
        .text_ctx = h[5],
        .text_state = h[6],
        .text_heads = h[7],
        .text_layers = h[8],
        .n_mels = h[9],
    };
    int rc = model_file_expect(f, &dims, err);
    if (rc == 0)
        rc = read_filters(f, &c, err);
    if (rc == 0)
        rc = read_vocabulary(f, &c, err);
    enum tensor_type type = TENSOR_F32;
    while (rc == 0 && c.at < c.end)
        rc = read_tensor(f, &c, &type, err);
    if (rc == 0) {
        static const char *const words[] = {
#define X(name, word, bytes, values) word,
            TENSOR_TYPES(X)
#undef X
        };
        snprintf(f->type, sizeof f->type, "ggml %s", words[type]);
    }
    return rc;
}

int ggml_read(struct model_file *f, const char *path, struct err *err)
{
    struct mapping m;
    int rc = model_file_map(f, path, &m, err);
    return rc < 0 ? rc : ggml_read_bytes(f, m, err);
}
