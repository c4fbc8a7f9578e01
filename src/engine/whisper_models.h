/* SPDX-License-Identifier: MIT */
/*
 * Inside src/engine: the pool of Whisper models, each with the batch that all chunks with that model run in.
 *
 * A model is loaded when it is first asked for and stays for the next that asks. At most `max` are loaded at once: one
 * that nobody uses makes room for another, the least recently used first; so it is when memory is short. A thread
 * unloads models that nobody has used for long, and the memory goes back to the system.
 *
 * What models_describe says (heartbeats carry it as `model_pool`):
 *
 *   hits, misses            acquired while loaded; loaded for it. One for each chunk, and one before each job's first
 *   hit_rate                hits of both together; null before the first
 *   evictions, unloads      put out to make room; put out because nobody used it
 *   oom_fallbacks           jobs that got a smaller model because theirs did not fit
 *   timeouts                callers that waited in vain
 *   waiting                 callers in line now
 *   load_ms_last, _total    how long loading took; _total is of all `misses`
 *   size, pool_size, max_size   models loaded now, kept without use, loaded at most
 *   memory_mb               of what is loaded, in MiB
 *   memory_budget_mb        the setting model_memory; null: what the machine has left
 *   loaded                  their names
 *   models                  [{"name", "loaded_at" and "last_used" (as "2026-11-22T05:31:00.123Z"), "use_count",
 *                           "in_use" (callers now), "memory_mb", "load_ms", "windows" (chunks at a time)}, ...]
 *
 * Threads: any.
 */
#ifndef ENGINE_WHISPER_MODELS_H
#define ENGINE_WHISPER_MODELS_H

#include "base/buf.h"
#include "whisper/whisper.h"

struct models;
struct loaded; /* a model in use */

struct models_opts {
    const char *folder, *cache; /* NULL: none */
    enum whisper_precision precision;
    unsigned windows;     /* in a batch; fewer when memory is short */
    unsigned rows;        /* in a step, with all windows */
    unsigned threads;     /* 0: what OpenMP says */
    int64_t memory_bytes; /* for all models together; 0: what the machine has left */
    unsigned kept, max;   /* models that stay without use, and that are loaded at most; at least 1 */
    int64_t wait_ms;      /* how long a caller waits for room; 0: for ever */
    int64_t idle_ms;      /* a model without use goes after this time; 0: never */
    int64_t spare_ms;     /* and one beyond `kept` after this */
};

/* Copies what it needs of `o`. */
void models_new(const struct models_opts *o, struct models **ret);
void models_free(struct models *m); /* nobody may use one; NULL is fine */

/*
 * The model of this name, for use until models_release. 1: it was loaded for this call; 0: it was there. When as many
 * as there may be are in use, or memory is short while others are in use, the caller waits in line, cancel holds there.
 * INVALID (no such model), NOMEM (it does not fit even alone), BUSY (waited too long), CANCELLED, and what opening
 * says.
 */
int models_acquire(struct models *m, const char *name, const struct cancel *cancel, struct loaded **ret,
                   struct err *err) MUST_CHECK;
void models_release(struct models *m, struct loaded *l);
/* A caller that could not have its model was given a smaller one. */
void models_fell_back(struct models *m);
/* Appends members of a JSON object: the figures above. */
void models_describe(struct models *m, struct buf *b);
size_t models_waiting(struct models *m);                /* callers in line */
bool models_loaded(struct models *m, const char *name); /* is it in memory now? */
struct whisper_batcher *loaded_batcher(const struct loaded *l);

/* What the model is, loaded or not; its texts live in `a`. Never waits for a model. INVALID: no such model. */
int models_inspect(struct models *m, const char *name, struct arena *a, struct whisper_info *ret, struct err *err)
    MUST_CHECK;

#endif
