/* SPDX-License-Identifier: MIT */
/* What an engine provides. Reached only through engine.c, which checks requests, times calls and logs at debug. */
#ifndef ENGINE_ENGINE_OPS_H
#define ENGINE_ENGINE_OPS_H

#include "engine/engine.h"

/* Engines embed this as their first member. */
struct engine {
    const struct engine_ops *ops;
    unsigned slots; /* set by engine_open */
};

struct engine_ops {
    struct engine_info info;
    /* For "auto": can it be used here, and how well? 0: no (`err` says why); the highest is chosen. */
    int (*available)(const struct engine_opts *opts, struct err *err);
    /* Any thread. Must not keep pointers into opts. opts->slots is at least 1. */
    int (*open)(const struct engine_opts *opts, struct engine **ret, struct err *err);
    void (*close)(struct engine *e);
    const char *(*model)(const struct engine *e, const struct engine_request *r);
    /* Task and language are there (engine.c puts defaults); only what this engine minds. Any thread, never blocks. */
    int (*check)(struct engine *e, const struct engine_request *r, struct err *err);
    /* Checked before: request, PCM present if needed, length within the maximum. Any thread; blocks. */
    int (*run)(struct engine *e, const struct engine_request *r, const struct engine_chunk *c,
               const struct cancel *cancel, struct arena *a, struct engine_answer *ret, struct err *err);
    /* As engine_detect; with ENGINE_DETECTS only. */
    int (*detect)(struct engine *e, const struct engine_request *r, const struct engine_chunk *c,
                  const struct cancel *cancel, struct engine_language *ret, struct err *err);
    /* As engine_load; NULL: there is nothing to load. */
    int (*load)(struct engine *e, const struct engine_request *r, const struct cancel *cancel, struct err *err);
    void (*fell_back)(struct engine *e); /* with `load` */
    /* As engine_models; NULL: UNSUPPORTED. Any thread. */
    int (*models)(struct engine *e, struct arena *a, struct engine_model **ret, size_t *ret_n, struct err *err);
    void (*describe)(struct engine *e, struct buf *b); /* as engine_describe; NULL: it keeps no models */
    int (*child_main)(int argc, char **argv);          /* NULL: has no children */
};

extern const struct engine_ops engine_pocketsphinx_ops, engine_whisper_ops, engine_null_ops, engine_gemini_ops,
    engine_openai_ops;

#endif
