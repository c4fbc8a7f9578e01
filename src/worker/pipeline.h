/* SPDX-License-Identifier: MIT */
/*
 * One recording, one transcript: decode, detect speech, plan, run the chunks, merge. The part of the work that
 * is the same for a job and for `steno transcribe`; what differs (where plans and chunks are kept, who watches)
 * is behind struct pipeline_hooks.
 *
 * Memory is bounded: PCM is spooled to disk, and only the chunks in work (at most slots + 1) are in memory. The
 * transcript itself grows with what is said.
 */
#ifndef WORKER_PIPELINE_H
#define WORKER_PIPELINE_H

#include "audio/audio.h"
#include "audio/decode.h"
#include "base/err.h"
#include "base/stop.h"
#include "engine/engine.h"
#include "transcript/transcript.h"

struct slots; /* worker/slots.h */

/* Where a failure happened; the words stand in error rows. */
#define PIPELINE_STAGES(X)                                    \
    X(CHECK, "check")   /* can the engine do this at all? */  \
    X(FETCH, "fetch")   /* the recording, from storage */     \
    X(DECODE, "decode") /* to PCM, with one repair attempt */ \
    X(PLAN, "plan")     /* speech detection, chunks */        \
    X(ENGINE, "engine") /* transcribing chunks */             \
    X(MERGE, "merge")   /* into one transcript */             \
    X(STORE, "store")   /* saving plan, checkpoints, the result */

enum pipeline_stage {
#define X(name, word) STAGE_##name,
    PIPELINE_STAGES(X)
#undef X
        STAGE_COUNT
};
const char *pipeline_stage_name(enum pipeline_stage s);

struct plan_chunk {
    struct span span;
    const struct span *speech; /* detected speech in it: ascending, apart, inside `span` */
    size_t n_speech;
};

/* The plan: what checkpoints are valid for. All that could change a chunk's text is in it. */
struct plan {
    const char *input_sha256;
    const char *engine, *model;           /* as resolved */
    const char *instead_of;               /* the model that was asked for and does not fit; NULL: `model` is it */
    const char *language, *task, *prompt; /* as requested; may be NULL */
    const char *options;                  /* all else that was asked for, as one text; may be NULL */
    const char *heard;                    /* the language that was detected for all of it; NULL: none was */
    double heard_probability;
    int64_t total_samples;           /* 0 when the engine needs no PCM: then one chunk without length */
    bool damaged;                    /* the decoder complained; goes into the result as a warning */
    const struct plan_chunk *chunks; /* ascending, apart */
    size_t n_chunks;
};

/* A finished chunk: borrowed during the callback. */
struct done_chunk {
    size_t idx;
    struct span span;
    const struct segments *segments;
    const char *state;
    int64_t engine_ms;
};

struct progress {
    enum pipeline_stage stage;
    int64_t done_ms, total_ms; /* of the audio; total 0 while unknown */
    size_t chunks_done, chunks_total;
};

/*
 * Callbacks; each may be NULL. They run on the thread that called pipeline_run, except engine_call. A negative
 * return ends the run with that error, and the report says STAGE_STORE.
 */
struct pipeline_hooks {
    void *arg;
    /* An earlier plan, as saved; NULL: none. Borrowed while the run lasts. */
    const struct plan *(*load_plan)(void *arg);
    /* A new plan; every finished chunk of an older one is void. */
    int (*save_plan)(void *arg, const struct plan *p, struct err *err);
    /*
     * The earlier plan still holds: a finished chunk of it (1: *ret and *ret_state filled from arena a, 0: not
     * finished). Each index is asked for once, in ascending order; what is finished is not transcribed again.
     */
    int (*load_chunk)(void *arg, size_t idx, struct span span, struct arena *a, struct segments *ret,
                      const char **ret_state, struct err *err);
    /* In the order of completion. */
    int (*save_chunk)(void *arg, const struct done_chunk *c, const struct progress *p, struct err *err);
    /* Chunks in ascending order, as soon as all before them are done; also those that were loaded. */
    int (*text)(void *arg, const struct done_chunk *c, struct err *err);
    /* The run has come to this stage. */
    void (*stage)(void *arg, enum pipeline_stage s);
    /* Not too often: whoever shows it may call on every one. */
    void (*progress)(void *arg, const struct progress *p);
    /* The model is in memory; `loaded`: for this run. */
    void (*model_ready)(void *arg, const char *model, int64_t ms, bool loaded);
    /* There is no memory for it: a smaller one is tried; `instead` NULL: the run ends with *why. */
    void (*model_too_large)(void *arg, const char *model, const char *instead, const struct err *why);
    /* The engine is about to be called for this chunk. Runs on a slot thread. */
    void (*engine_call)(void *arg, size_t idx);
};

struct pipeline_opts {
    struct engine *engine;
    struct slots *slots; /* shares engine slots between jobs; chunks of one job run side by side */
    struct engine_request request;
    bool language_per_chunk;  /* else one language for the whole recording is detected when none is given */
    const char *options;      /* what `request` and the line above hold beyond the plan's own fields, as one text */
    const char *warning;      /* about the request, for the result; NULL: none */
    bool smaller_ok;          /* a model that does not fit into memory may be replaced by a smaller one, but */
    bool keep_model;          /* not by this attempt when chunks of the saved plan are done: a later one finds room */
    bool has_chunks;          /* some are */
    const char *audio_path;   /* a regular file */
    const char *input_sha256; /* of it; "" when nothing is kept */
    const char *temp_folder;  /* private */
    int64_t min_free_bytes;   /* of its disk: with less a recording is decoded no further; 0: not looked at */
    struct decode_opts decode;
    const struct cancel *cancel; /* stops everything, within a second: CANCELLED */
    /* Set: start no new chunk, let running ones end and be saved, then CANCELLED unless all are done. May be NULL. */
    const struct cancel *drain;
    struct pipeline_hooks hooks;
};

struct pipeline_report {
    enum pipeline_stage stage;    /* where it ended */
    char detail[4096];            /* for the error row: what the decoder printed, or which chunk failed and what the
                                     engine said; "" */
    int64_t decode_ms, engine_ms; /* engine_ms: summed over chunks, of this run only */
    size_t chunks_loaded;         /* from checkpoints */
    bool no_room;                 /* it failed because the temp folder's disk is full */
};

/* `ret` is initialised by the caller and filled on success. On failure `report` says where. */
int pipeline_run(const struct pipeline_opts *o, struct transcript *ret, struct pipeline_report *report, struct err *err)
    MUST_CHECK;

#endif
