/* SPDX-License-Identifier: MIT */
/* Inside the pool of Whisper models: what whisper_models.c, whisper_reaper.c and whisper_figures.c share. */
#ifndef ENGINE_WHISPER_MODELS_INTERNAL_H
#define ENGINE_WHISPER_MODELS_INTERNAL_H

#include "engine/whisper_models.h"

#include <pthread.h>

struct loaded {
    char *name;   /* as asked for; NULL: a free place */
    bool loading; /* model and batcher are the loader's own, who holds no lock */
    struct whisper_model *model;
    struct whisper_batcher *batcher;
    unsigned windows; /* of the batch */
    int64_t bytes;    /* of its batch and its weights */
    unsigned users;
    int64_t used_ms; /* monotonic */
    int64_t loaded_at, used_at, load_ms;
    uint64_t use_count;
};

/* On the stack of a caller that finds no room. */
struct waiter {
    struct waiter *next;
    bool in_line;
    bool looked; /* found no room when idle_count was: */
    uint64_t seen;
};

struct models {
    struct models_opts o;
    char *folder, *cache;
    pthread_mutex_t mu; /* guards all below */
    pthread_cond_t changed;
    struct loaded *places; /* o.max */
    bool loading;
    struct waiter *line;
    uint64_t idle_count; /* how often a model became idle, or went */
    bool going;          /* the reaper gives one's memory back now */
    uint64_t hits, misses, evictions, unloads, oom_fallbacks, timeouts;
    int64_t load_ms_last, load_ms_total;
    pthread_t reaper;
    pthread_cond_t reaper_wake;
    bool reaper_runs, ending;
};

/* ---- whisper_models.c ---- */

/* The idle model unused for longest; NULL: none. */
struct loaded *models_idle_locked(struct models *m);
/* Frees what is in a place and empties it. Nobody may use it. */
void loaded_unload(struct loaded *l);

/* ---- whisper_reaper.c ---- */

/* For who has loaded a model. */
void models_loaded_one_locked(struct models *m);
void models_end_reaper(struct models *m);

#endif
