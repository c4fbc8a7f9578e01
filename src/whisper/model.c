/* SPDX-License-Identifier: MIT */
/* The model: file, tokenizer and packed network under one reference count. */
#include "whisper/model.h"

#include "base/clock.h"
#include "base/str.h"
#include "whisper/batch.h"
#include "whisper/cache.h"

#include <stdlib.h>
#include <string.h>

const char *whisper_precision_name(enum whisper_precision p)
{
    switch (p) {
#define X(name, word, help) \
    case WHISPER_##name:    \
        return word;
        WHISPER_PRECISIONS(X)
#undef X
    }
    return "?";
}

bool whisper_precision_parse(const char *word, enum whisper_precision *ret)
{
#define X(name, w, help)       \
    if (str_ieq(word, w)) {    \
        *ret = WHISPER_##name; \
        return true;           \
    }
    WHISPER_PRECISIONS(X)
#undef X
    return false;
}

enum whisper_precision whisper_precision_best(void)
{
    return dnn_fast(WHISPER_BF16) ? WHISPER_BF16 : dnn_fast(WHISPER_INT8) ? WHISPER_INT8 : WHISPER_F32;
}

/* "/models/ggml-base.en.bin" is "base.en"; a folder's name is the model's. */
static char *name_of(const char *path)
{
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/')
        n--;
    size_t from = n;
    while (from && path[from - 1] != '/')
        from--;
    if (n - from > 5 && strncmp(path + from, "ggml-", 5) == 0)
        from += 5;
    if (n - from > 4 && strncmp(path + n - 4, ".bin", 4) == 0)
        n -= 4;
    return xasprintf("%.*s", (int)(n - from), path + from);
}

static bool can_translate(const struct whisper_dims *d)
{
    /* Turbo: the large encoder with four decoder layers, which were never taught to translate. */
    bool turbo = d->audio_layers == 32 && d->text_layers <= 4;
    return d->n_vocab > 51864 && !turbo;
}

static struct whisper_info describe(const struct model_file *f, const char *name)
{
    const struct whisper_dims *d = model_file_dims(f);
    return (struct whisper_info){.name = name,
                                 .dims = *d,
                                 .multilingual = d->n_vocab > 51864,
                                 .can_translate = can_translate(d),
                                 .file_type = model_file_type(f),
                                 .parameters = model_file_parameters(f),
                                 .file_bytes = model_file_bytes(f)};
}

int whisper_inspect(const char *path, struct arena *a, struct whisper_info *ret, struct err *err)
{
    struct model_file *f = NULL;
    int rc = model_file_open(path, &f, err);
    if (rc < 0)
        return rc;
    CLEANUP(free_p) char *name = name_of(path);
    struct whisper_info info = describe(f, arena_strdup(a, name));
    info.file_type = arena_strdup(a, model_file_type(f));
    model_file_close(f);
    if (!info.name || !info.file_type)
        return err_set(err, ERR_NOMEM, "no memory to describe a model");
    *ret = info;
    return 0;
}

/* `values` holds a row of the tensor, or all of it when it has one dimension. */
static int verify_tensor(const struct tensor_view *t, const char *name, float *values, int64_t len, struct err *err)
{
    bool flat = t->n_dims == 1;
    for (int64_t i = 0; i < (flat ? 1 : t->dims[0]); i++) {
        tensor_rows_f32(t, i, flat ? len : 1, values);
        if (!floats_finite(values, len))
            return err_set(err, ERR_CORRUPT, "tensor '%s' holds a value that is no number", name);
    }
    return 0;
}

static int verify_tensors(const struct model_file *f, const struct cancel *cancel, struct err *err)
{
    const char *name;
    const struct tensor_view *t;
    int rc = 0;
    for (size_t i = 0; rc == 0 && (t = model_file_tensor_at(f, i, &name)); i++) {
        int64_t len = t->n_dims == 1 ? t->dims[0] : 1;
        for (int k = 1; k < t->n_dims; k++)
            len *= t->dims[k];
        float *row = malloc((size_t)len * sizeof *row);
        if (cancel_is_set(cancel))
            rc = err_set(err, ERR_CANCELLED, "stopped");
        else
            rc = row ? verify_tensor(t, name, row, len, err) : err_set(err, ERR_NOMEM, "no memory for a row");
        free(row);
    }
    return rc;
}

int whisper_verify(const char *path, const char *cache_folder, const struct cancel *cancel,
                   struct whisper_verified *ret, struct err *err)
{
    struct model_file *f = NULL;
    struct whisper_verified v = {.good = 0};
    int rc = model_file_open(path, &f, err);
    if (rc < 0)
        return rc;
    rc = verify_tensors(f, cancel, err);
    if (rc == 0)
        rc = model_file_sha256(f, cancel, v.sha256, err);
    if (rc == 0 && cache_folder)
        rc = cache_verify(cache_folder, f, v.sha256, cancel, &v, err);
    model_file_close(f);
    if (rc < 0)
        return err_wrap(err, "model '%s'", path);
    *ret = v;
    return 0;
}

const char *whisper_cpu(void)
{
    return dnn_cpu();
}

static int check_room(const struct whisper_model *m, const char *path, const struct whisper_model_opts *o,
                      struct err *err)
{
    int64_t need = net_bytes(m->net) + batch_memory(m, o->batcher);
    CLEANUP(free_p) char *name = name_of(path);
    return need <= o->room_bytes
               ? 0
               : err_set(err, ERR_NOMEM, "model '%s' needs %lld MB of memory, and %lld MB are left", name,
                         (long long)((need - 1) >> 20) + 1, (long long)(MAX(o->room_bytes, (int64_t)0) >> 20));
}

int whisper_model_open(const char *path, const struct whisper_model_opts *o, struct whisper_model **ret,
                       struct err *err)
{
    int64_t began = clock_mono_ms();
    struct whisper_model *m = xcalloc(1, sizeof *m);
    atomic_init(&m->refs, 1);
    int rc = model_file_open(path, &m->file, err);
    if (rc == 0)
        rc = tokenizer_new(m->file, &m->tokenizer, err);
    if (rc == 0)
        rc = net_plan(m->file, o->precision, &m->net, err);
    if (rc == 0 && o->batcher)
        rc = check_room(m, path, o, err);
    if (rc == 0)
        rc = net_load(m->net, m->file, o->cache_folder, o->cancel, err);
    if (rc < 0) {
        whisper_model_unref(m);
        return rc;
    }
    m->name = name_of(path);
    m->info = describe(m->file, m->name);
    m->info.precision = net_precision(m->net);
    m->info.packed_bytes = net_bytes(m->net);
    m->info.from_cache = net_from_cache(m->net);
    m->info.load_ms = clock_mono_ms() - began;
    *ret = m;
    return 0;
}

struct whisper_model *whisper_model_ref(struct whisper_model *m)
{
    atomic_fetch_add(&m->refs, 1);
    return m;
}

void whisper_model_unref(struct whisper_model *m)
{
    if (!m || atomic_fetch_sub(&m->refs, 1) > 1)
        return;
    net_close(m->net);
    tokenizer_free(m->tokenizer);
    model_file_close(m->file);
    free(m->name);
    free(m);
}

const struct whisper_info *whisper_model_info(const struct whisper_model *m)
{
    return &m->info;
}

const char *whisper_model_language(const struct whisper_model *m, const char *code_or_name)
{
    const struct tokenizer *t = m->tokenizer;
    int known = t->n_languages ? t->n_languages : 1; /* an English-only model knows the first */
    for (int i = 0; i < known; i++) {
        const char *code = whisper_language_code(i);
        if (str_ieq(code_or_name, code) || str_ieq(code_or_name, whisper_language_name(code)))
            return code;
    }
    return NULL;
}
