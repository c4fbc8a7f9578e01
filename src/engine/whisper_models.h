/* SPDX-License-Identifier: MIT */
/*
 * Inside src/engine: the Whisper models that are loaded, a few at most, each with the batch that all chunks with that
 * model run in. A model is loaded when it is first asked for; one that nobody uses makes room for another.
 *
 * Threads: any.
 */
#ifndef ENGINE_WHISPER_MODELS_H
#define ENGINE_WHISPER_MODELS_H

#include "base/buf.h"
#include "whisper/whisper.h"

enum { MODELS_MAX = 4 };

struct models;
struct loaded; /* a model in use */

struct models_opts {
    const char *folder, *cache; /* NULL: none */
    enum whisper_precision precision;
    unsigned windows;     /* in a batch; fewer when memory is short */
    unsigned rows;        /* in a step, with all windows */
    unsigned threads;     /* 0: what OpenMP says */
    int64_t memory_bytes; /* for all models together; 0: what the machine has left */
};

/* Copies what it needs of `o`. */
void models_new(const struct models_opts *o, struct models **ret);
void models_free(struct models *m); /* nobody may use one; NULL is fine */

/*
 * The model of this name, for use until models_release. When as many as there may be are in use, or memory is short
 * while others are in use, the caller waits in line, cancel holds there. INVALID (no such model), NOMEM (it does not
 * fit even alone), CANCELLED, and what opening says.
 */
int models_acquire(struct models *m, const char *name, const struct cancel *cancel, struct loaded **ret,
                   struct err *err) MUST_CHECK;
void models_release(struct models *m, struct loaded *l);
/* Appends members of a JSON object: what is loaded, and how often it was there already. */
void models_describe(struct models *m, struct buf *b);
size_t models_waiting(struct models *m);                /* callers in line */
bool models_loaded(struct models *m, const char *name); /* is it in memory now? */
struct whisper_batcher *loaded_batcher(const struct loaded *l);

/* What the model is, loaded or not; its texts live in `a`. Never waits for a model. INVALID: no such model. */
int models_inspect(struct models *m, const char *name, struct arena *a, struct whisper_info *ret, struct err *err)
    MUST_CHECK;

#endif
