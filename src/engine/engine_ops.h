/* SPDX-License-Identifier: MIT */
/* What an engine provides. Reached only through engine.c, which checks requests, times calls and logs at debug. */
#ifndef ENGINE_ENGINE_OPS_H
#define ENGINE_ENGINE_OPS_H

#include "engine/engine.h"

/* Engines embed this as their first member. */
struct engine {
    const struct engine_ops *ops;
};

struct engine_ops {
    struct engine_info info;
    /* Can it be used here, and how well? 0: no (`err` says why); higher is chosen by "auto". */
    int (*available)(const struct engine_opts *opts, struct err *err);
    int (*open)(const struct engine_opts *opts, struct engine **ret, struct err *err);
    void (*close)(struct engine *e);
    const char *(*model)(const struct engine *e, const struct engine_request *r);
    int (*check)(struct engine *e, const struct engine_request *r, struct err *err);
    int (*run)(struct engine *e, const struct engine_request *r, const struct engine_chunk *c,
               const struct cancel *cancel, struct arena *a, struct engine_answer *ret, struct err *err);
    int (*child_main)(int argc, char **argv); /* NULL: has no children */
};

extern const struct engine_ops engine_pocketsphinx_ops, engine_null_ops;

#endif
