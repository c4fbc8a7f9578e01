/* SPDX-License-Identifier: MIT */
/* The models that live workers keep loaded, put together from what their heartbeats say (engine/whisper_models.h). */
#ifndef API_MODEL_POOL_H
#define API_MODEL_POOL_H

#include "api/jsonw.h"
#include "base/buf.h"

#include <jansson.h>

struct model_pool {
    int64_t hits, misses, evictions, unloads, oom_fallbacks, timeouts, waiting, load_ms_total, size, max_size;
    int64_t memory_mb, memory_budget_mb;
    bool unlimited;    /* a worker has no budget */
    size_t n_workers;  /* with a pool */
    json_t *names;     /* an object: each name stands once */
    struct buf models; /* JSON objects, with commas between them */
};

void model_pool_init(struct model_pool *p, size_t max_json);
void model_pool_clear(struct model_pool *p);
/* Adds what a worker says; words that are not as they should be are left out: the row may be of another version. */
void model_pool_add(struct model_pool *p, const char *worker_id, const json_t *info);
/* Writes the members of the object. */
void model_pool_write(const struct model_pool *p, struct jsonw *w);

#endif
