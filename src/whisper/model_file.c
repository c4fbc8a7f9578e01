/* SPDX-License-Identifier: MIT */
/*
 * What both formats share: the list of tensors that the dimensions call for, the check of each found one against it,
 * and turning any stored type into floats.
 *
 * Block formats are ggml's: 32 values share a scale (and a minimum); low four bits in pairs of value i and i + 16, a
 * fifth bit in a word.
 */
#include "whisper/model_file_internal.h"

#include "base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { N_BINS = 201, BLOCK = 32 };

static const struct {
    int bytes, values;
} type_sizes[] = {
#define X(name, word, bytes, values) {bytes, values},
    TENSOR_TYPES(X)
#undef X
};

/* ---- the list ---- */

struct list {
    struct model_file *f;
    size_t cap;
    bool no_memory;
};

static void expect(struct list *l, const char *prefix, const char *name, int64_t a, int64_t b, int64_t c)
{
    struct model_file *f = l->f;
    if (f->n_tensors == l->cap) {
        size_t cap = l->cap ? l->cap * 2 : 256;
        struct tensor *t = realloc(f->tensors, cap * sizeof *t);
        if (!t) {
            l->no_memory = true;
            return;
        }
        f->tensors = t;
        l->cap = cap;
    }
    struct tensor *t = &f->tensors[f->n_tensors++];
    *t = (struct tensor){.view = {.n_dims = c ? 3 : b ? 2 : 1, .dims = {a, b, c}}};
    snprintf(t->name, sizeof t->name, "%s%s", prefix, name);
}

static void expect_norm(struct list *l, const char *block, const char *name, int64_t d)
{
    char prefix[TENSOR_NAME_MAX];
    snprintf(prefix, sizeof prefix, "%s%s", block, name);
    expect(l, prefix, ".weight", d, 0, 0);
    expect(l, prefix, ".bias", d, 0, 0);
}

static void expect_attention(struct list *l, const char *block, const char *name, int64_t d)
{
    static const char *const parts[] = {".query", ".key", ".value", ".out"};
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        char prefix[TENSOR_NAME_MAX];
        snprintf(prefix, sizeof prefix, "%s%s%s", block, name, parts[i]);
        expect(l, prefix, ".weight", d, d, 0);
        if (i != 1) /* Whisper's keys have no bias */
            expect(l, prefix, ".bias", d, 0, 0);
    }
}

static void expect_block(struct list *l, const char *side, int i, bool cross, int64_t d)
{
    char block[32];
    snprintf(block, sizeof block, "%s.blocks.%d.", side, i);
    expect_norm(l, block, "attn_ln", d);
    expect_attention(l, block, "attn", d);
    if (cross) {
        expect_norm(l, block, "cross_attn_ln", d);
        expect_attention(l, block, "cross_attn", d);
    }
    expect_norm(l, block, "mlp_ln", d);
    expect(l, block, "mlp.0.weight", 4 * d, d, 0);
    expect(l, block, "mlp.0.bias", 4 * d, 0, 0);
    expect(l, block, "mlp.2.weight", d, 4 * d, 0);
    expect(l, block, "mlp.2.bias", d, 0, 0);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct tensor *)a)->name, ((const struct tensor *)b)->name);
}

static int check_dims(const struct whisper_dims *d, struct err *err)
{
    if (d->n_vocab < 51864 || d->n_vocab > 51866)
        return err_set(err, ERR_UNSUPPORTED, "its vocabulary has %d tokens; Whisper's have 51864, 51865 or 51866",
                       d->n_vocab);
    if (d->n_mels != 80 && d->n_mels != 128)
        return err_set(err, ERR_UNSUPPORTED, "it wants %d mel bands; Whisper has 80 or 128", d->n_mels);
    if (d->audio_ctx != 1500 || d->text_ctx != 448)
        return err_set(err, ERR_UNSUPPORTED, "its contexts are %d and %d; Whisper's are 1500 and 448", d->audio_ctx,
                       d->text_ctx);
    if (d->audio_state != d->text_state || d->audio_state < 64 || d->audio_state > MAX_STATE || d->audio_state % 64 ||
        d->audio_heads != d->audio_state / 64 || d->text_heads != d->text_state / 64)
        return err_set(err, ERR_CORRUPT,
                       "states of %d and %d with %d and %d heads are not a Whisper (64 values a head)", d->audio_state,
                       d->text_state, d->audio_heads, d->text_heads);
    if (d->audio_layers < 1 || d->audio_layers > MAX_LAYERS || d->text_layers < 1 || d->text_layers > MAX_LAYERS)
        return err_set(err, ERR_CORRUPT, "%d encoder and %d decoder layers are not a Whisper", d->audio_layers,
                       d->text_layers);
    return 0;
}

int model_file_expect(struct model_file *f, const struct whisper_dims *dims, struct err *err)
{
    int rc = check_dims(dims, err);
    if (rc < 0)
        return rc;
    f->dims = *dims;
    struct list l = {.f = f};
    int64_t d = dims->audio_state;
    expect(&l, "", "encoder.positional_embedding", dims->audio_ctx, d, 0);
    expect(&l, "", "encoder.conv1.weight", d, dims->n_mels, 3);
    expect(&l, "", "encoder.conv1.bias", d, 0, 0);
    expect(&l, "", "encoder.conv2.weight", d, d, 3);
    expect(&l, "", "encoder.conv2.bias", d, 0, 0);
    for (int i = 0; i < dims->audio_layers; i++)
        expect_block(&l, "encoder", i, false, d);
    expect_norm(&l, "", "encoder.ln_post", d);
    expect(&l, "", "decoder.positional_embedding", dims->text_ctx, d, 0);
    expect(&l, "", "decoder.token_embedding.weight", dims->n_vocab, d, 0);
    for (int i = 0; i < dims->text_layers; i++)
        expect_block(&l, "decoder", i, true, d);
    expect_norm(&l, "", "decoder.ln", d);
    if (l.no_memory)
        return err_set(err, ERR_NOMEM, "no memory for the list of tensors");
    qsort(f->tensors, f->n_tensors, sizeof *f->tensors, by_name);
    return 0;
}

static struct tensor *find(const struct model_file *f, const char *name)
{
    struct tensor key = {.view = {.n_dims = 0}};
    size_t n = strlen(name);
    if (n >= sizeof key.name)
        return NULL;
    memcpy(key.name, name, n + 1);
    return bsearch(&key, f->tensors, f->n_tensors, sizeof key, by_name);
}

int64_t tensor_bytes(enum tensor_type type, int n_dims, const int64_t dims[3])
{
    int64_t n = 1;
    for (int i = 0; i < n_dims; i++) {
        if (dims[i] < 1 || dims[i] > INT32_MAX || n > INT64_MAX / 64 / dims[i])
            return -1;
        n *= dims[i];
    }
    int values = type_sizes[type].values;
    if (dims[n_dims - 1] % values)
        return -1;
    return n / values * type_sizes[type].bytes;
}

/* The same numbers in the same order, whether a bias is stored as [d] or [d][1]. */
static bool same_shape(const struct tensor_view *want, const struct tensor_view *got)
{
    int n = got->n_dims;
    while (n > want->n_dims && got->dims[n - 1] == 1)
        n--;
    if (n != want->n_dims)
        return false;
    for (int i = 0; i < n; i++)
        if (want->dims[i] != got->dims[i])
            return false;
    return true;
}

int model_file_place(struct model_file *f, const char *name, const struct tensor_view *found, size_t room,
                     struct err *err)
{
    struct tensor *t = find(f, name);
    if (!t)
        return err_set(err, ERR_CORRUPT, "it has a tensor '%.60s' that is none of Whisper's", name);
    if (t->view.data)
        return err_set(err, ERR_CORRUPT, "it has tensor '%s' twice", name);
    if (!same_shape(&t->view, found))
        return err_set(err, ERR_CORRUPT, "tensor '%s' has another shape than the dimensions call for", name);
    int64_t bytes = tensor_bytes(found->type, found->n_dims, found->dims);
    if (bytes < 0)
        return err_set(err, ERR_CORRUPT, "tensor '%s' has a shape that does not suit its type", name);
    if ((uint64_t)bytes > room)
        return err_set(err, ERR_CORRUPT, "it ends inside tensor '%s': the file is cut short", name);
    t->view.type = found->type;
    t->view.data = found->data;
    return 0;
}

/* ---- opening ---- */

int model_file_map(struct model_file *f, const char *path, struct mapping *ret, struct err *err)
{
    if (f->n_maps == ARRAY_LEN(f->maps))
        return err_set(err, ERR_UNSUPPORTED, "it is split into more than %zu files", ARRAY_LEN(f->maps));
    /* Not to wait for a writer when somebody names a pipe. */
    CLEANUP(close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0)
        return err_sys(err, errno, "cannot open model '%s'", path);
    if (!S_ISREG(st.st_mode) || st.st_size < 1)
        return err_set(err, ERR_CORRUPT, "it is no file with something in it");
    void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (p == MAP_FAILED)
        return err_sys(err, errno, "cannot map '%s'", path);
    *ret = f->maps[f->n_maps++] = (struct mapping){.data = p, .size = (size_t)st.st_size};
    f->bytes += st.st_size;
    f->mtime_ns = MAX(f->mtime_ns, (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec);
    return 0;
}

static int check_complete(const struct model_file *f, struct err *err)
{
    for (size_t i = 0; i < f->n_tensors; i++)
        if (!f->tensors[i].view.data)
            return err_set(err, ERR_CORRUPT, "tensor '%s' is missing: the file is cut short or no whole model",
                           f->tensors[i].name);
    return 0;
}

/* The ids below end-of-text are ordinary tokens; a text with holes would lose words silently. */
static int check_vocabulary(const struct model_file *f, struct err *err)
{
    size_t eot = f->dims.n_vocab == 51864 ? 50256 : 50257, n = 0;
    while (n < f->n_tokens && n < eot && f->tokens[n])
        n++;
    return n == eot ? 0 : err_set(err, ERR_CORRUPT, "its vocabulary has no token %zu: it is not a whole one", n);
}

/* What changes when a model does: sizes and times of its files, and FNV-1a over the bytes at their beginning. */
static void make_key(struct model_file *f)
{
    uint64_t h = 0xCBF29CE484222325u;
    for (size_t i = 0; i < f->n_maps; i++)
        for (size_t k = 0; k < MIN(f->maps[i].size, (size_t)65536); k++)
            h = (h ^ f->maps[i].data[k]) * 0x100000001B3u;
    snprintf(f->key, sizeof f->key, "%llx-%llx-%016llx", (unsigned long long)f->bytes, (unsigned long long)f->mtime_ns,
             (unsigned long long)h);
}

int model_file_open(const char *path, struct model_file **ret, struct err *err)
{
    struct stat st;
    if (stat(path, &st) < 0)
        return err_sys(err, errno, "cannot open model '%s'", path);
    struct model_file *f = xcalloc(1, sizeof *f);
    f->arena = (struct arena)ARENA_INIT;
    int rc = S_ISDIR(st.st_mode) ? hf_read(f, path, err) : ggml_read(f, path, err);
    if (rc == 0)
        rc = check_complete(f, err);
    if (rc == 0)
        rc = check_vocabulary(f, err);
    if (rc == 0 && !(f->path = realpath(path, NULL)))
        rc = err_sys(err, errno, "its folder cannot be read");
    if (rc < 0) {
        model_file_close(f);
        return err_wrap(err, "model '%s' cannot be used", path);
    }
    make_key(f);
    *ret = f;
    return 0;
}

void model_file_close(struct model_file *f)
{
    if (!f)
        return;
    for (size_t i = 0; i < f->n_maps; i++) {
        union {
            const unsigned char *data;
            void *p;
        } m = {.data = f->maps[i].data};
        munmap(m.p, f->maps[i].size);
    }
    free(f->tensors);
    free(f->mel_filters);
    free(f->tokens);
    free(f->token_lens);
    free(f->heads);
    free(f->path);
    arena_clear(&f->arena);
    free(f);
}

/* ---- looking ---- */

const struct whisper_dims *model_file_dims(const struct model_file *f)
{
    return &f->dims;
}

const struct tensor_view *model_file_tensor(const struct model_file *f, const char *name)
{
    const struct tensor *t = find(f, name);
    return t ? &t->view : NULL;
}

const float *model_file_mel_filters(const struct model_file *f)
{
    return f->mel_filters;
}

const char *model_file_token(const struct model_file *f, int id, size_t *ret_len)
{
    if (id < 0 || (size_t)id >= f->n_tokens)
        return NULL;
    *ret_len = f->token_lens[id];
    return f->tokens[id];
}

const struct head *model_file_alignment_heads(const struct model_file *f, size_t *ret_n)
{
    *ret_n = f->n_heads;
    return f->heads;
}

const char *model_file_type(const struct model_file *f)
{
    return f->type;
}

int64_t model_file_parameters(const struct model_file *f)
{
    int64_t sum = 0;
    for (size_t i = 0; i < f->n_tensors; i++) {
        int64_t n = 1;
        for (int k = 0; k < f->tensors[i].view.n_dims; k++)
            n *= f->tensors[i].view.dims[k];
        sum += n;
    }
    return sum;
}

int64_t model_file_bytes(const struct model_file *f)
{
    return f->bytes;
}

const char *model_file_path(const struct model_file *f)
{
    return f->path;
}

const struct tensor_view *model_file_tensor_at(const struct model_file *f, size_t i, const char **ret_name)
{
    if (i >= f->n_tensors)
        return NULL;
    *ret_name = f->tensors[i].name;
    return &f->tensors[i].view;
}

static void free_digest(EVP_MD_CTX **c)
{
    EVP_MD_CTX_free(*c);
}

static int hash(const struct mapping *maps, size_t n_maps, const struct cancel *cancel, char ret[SHA256_TEXT],
                struct err *err)
{
    enum { PIECE = 16 << 20 }; /* between two looks at cancel */
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    CLEANUP(free_digest) EVP_MD_CTX *c = EVP_MD_CTX_new();
    bool ok = c && EVP_DigestInit_ex(c, EVP_sha256(), NULL) == 1;
    for (size_t i = 0; i < n_maps; i++)
        for (size_t at = 0; ok && at < maps[i].size; at += PIECE) {
            if (cancel_is_set(cancel))
                return err_set(err, ERR_CANCELLED, "stopped");
            ok = EVP_DigestUpdate(c, maps[i].data + at, MIN((size_t)PIECE, maps[i].size - at)) == 1;
        }
    if (!ok || EVP_DigestFinal_ex(c, digest, &len) != 1 || 2 * len + 1 != SHA256_TEXT)
        return err_set(err, ERR_INTERNAL, "OpenSSL cannot hash");
    str_hex(digest, len, ret);
    return 0;
}

const char *model_file_key(const struct model_file *f)
{
    return f->key;
}

int sha256_text(const void *p, size_t n, const struct cancel *cancel, char ret[SHA256_TEXT], struct err *err)
{
    const struct mapping one = {.data = p, .size = n};
    return hash(&one, 1, cancel, ret, err);
}

int model_file_sha256(const struct model_file *f, const struct cancel *cancel, char ret[SHA256_TEXT], struct err *err)
{
    return hash(f->maps, f->n_maps, cancel, ret, err);
}

void mel_filters_slaney(int n_mels, float *ret)
{
    const double step = log(6.4) / 27, top = 15 + log(8.0) / step; /* linear to 1 kHz, logarithmic above; 8 kHz */
    double edges[MAX_MELS + 2] = {0};
    for (int i = 0; i < n_mels + 2; i++) {
        double m = top * i / (n_mels + 1);
        edges[i] = m >= 15 ? 1000 * exp(step * (m - 15)) : m * 200 / 3;
    }
    for (int i = 0; i < n_mels; i++)
        for (int k = 0; k < N_BINS; k++) {
            double hz = k * 16000.0 / 400;
            double up = (hz - edges[i]) / (edges[i + 1] - edges[i]),
                   down = (edges[i + 2] - hz) / (edges[i + 2] - edges[i + 1]);
            ret[i * N_BINS + k] = (float)(fmax(0, fmin(up, down)) * 2 / (edges[i + 2] - edges[i]));
        }
}

/* ---- to floats ---- */

bool floats_finite(const float *x, int64_t n)
{
    uint32_t bad = 0;
    for (int64_t i = 0; i < n; i++) { /* without a jump: this runs over every weight */
        uint32_t u;
        memcpy(&u, x + i, 4);
        bad |= (u & 0x7F800000) == 0x7F800000;
    }
    return !bad;
}

static float half(const unsigned char *p)
{
    uint16_t h;
    memcpy(&h, p, 2);
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, exponent = (h >> 10) & 31, mantissa = h & 1023;
    if (exponent == 0) {
        float small = (float)mantissa * 5.9604644775390625e-8f; /* 2^-24 */
        return sign ? -small : small;
    }
    union {
        uint32_t u;
        float f;
    } v = {.u = sign | (exponent == 31 ? 0x7F800000u : (exponent + 112) << 23) | mantissa << 13};
    return v.f;
}

static float brain(const unsigned char *p)
{
    uint16_t h;
    memcpy(&h, p, 2);
    union {
        uint32_t u;
        float f;
    } v = {.u = (uint32_t)h << 16};
    return v.f;
}

/* One block of 4 or 5 bit values: `high` has the fifth bits (0 for 4-bit types). */
static void unpack_nibbles(const unsigned char *q, uint32_t high, float scale, float offset, int zero, float *ret)
{
    for (int i = 0; i < BLOCK / 2; i++) {
        int lo = (q[i] & 15) | (int)((high >> i & 1) << 4), hi = q[i] >> 4 | (int)((high >> (i + 16) & 1) << 4);
        ret[i] = (float)(lo - zero) * scale + offset;
        ret[i + BLOCK / 2] = (float)(hi - zero) * scale + offset;
    }
}

static void unpack_block(enum tensor_type type, const unsigned char *p, float *ret)
{
    uint32_t high;
    switch (type) {
    case TENSOR_F32:
        memcpy(ret, p, 4);
        break;
    case TENSOR_F16:
        *ret = half(p);
        break;
    case TENSOR_BF16:
        *ret = brain(p);
        break;
    case TENSOR_Q4_0:
        unpack_nibbles(p + 2, 0, half(p), 0, 8, ret);
        break;
    case TENSOR_Q4_1:
        unpack_nibbles(p + 4, 0, half(p), half(p + 2), 0, ret);
        break;
    case TENSOR_Q5_0:
        memcpy(&high, p + 2, 4);
        unpack_nibbles(p + 6, high, half(p), 0, 16, ret);
        break;
    case TENSOR_Q5_1:
        memcpy(&high, p + 4, 4);
        unpack_nibbles(p + 8, high, half(p), half(p + 2), 0, ret);
        break;
    case TENSOR_Q8_0:
        for (int i = 0; i < BLOCK; i++)
            ret[i] = (float)(int8_t)p[2 + i] * half(p);
        break;
    case TENSOR_TYPE_COUNT:
        break;
    }
}

void tensor_rows_f32(const struct tensor_view *t, int64_t first, int64_t n, float *ret)
{
    int64_t row = 1;
    for (int i = 1; i < t->n_dims; i++)
        row *= t->dims[i];
    int bytes = type_sizes[t->type].bytes, values = type_sizes[t->type].values;
    const unsigned char *p = (const unsigned char *)t->data + first * row / values * bytes;
    if (t->type == TENSOR_F32) {
        memcpy(ret, p, (size_t)(n * row) * sizeof *ret);
        return;
    }
    for (int64_t i = 0; i < n * row / values; i++)
        unpack_block(t->type, p + i * bytes, ret + i * values);
}
