/* SPDX-License-Identifier: MIT */
/* The model: file, tokenizer and packed network under one reference count. */
#include "whisper/model.h"

#include "base/clock.h"
#include "base/str.h"

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
        rc = net_open(m->file, o->precision, o->cache_folder, &m->net, err);
    if (rc < 0) {
        whisper_model_unref(m);
        return rc;
    }
    m->name = name_of(path);
    const struct whisper_dims *d = model_file_dims(m->file);
    /* Turbo: the large encoder with four decoder layers, which were never taught to translate. */
    bool turbo = d->audio_layers == 32 && d->text_layers <= 4;
    m->info = (struct whisper_info){.name = m->name,
                                    .dims = *d,
                                    .multilingual = m->tokenizer->n_languages > 0,
                                    .can_translate = m->tokenizer->n_languages > 0 && !turbo,
                                    .precision = net_precision(m->net),
                                    .file_type = model_file_type(m->file),
                                    .parameters = model_file_parameters(m->file),
                                    .file_bytes = model_file_bytes(m->file),
                                    .packed_bytes = net_bytes(m->net),
                                    .from_cache = net_from_cache(m->net),
                                    .load_ms = clock_mono_ms() - began};
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
