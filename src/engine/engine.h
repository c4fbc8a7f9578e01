/* SPDX-License-Identifier: MIT */
/*
 * Engines: PCM of one chunk in, segments out. Back ends behind one ops table (engine_ops.h).
 *
 * An open engine serves engine_slots calls of engine_run at a time, from any threads; each call blocks until its
 * chunk is done, and comes back within a second of its cancel, also from engines that cannot be interrupted
 * (those run in child processes, which are killed).
 *
 * A chunk without words gives no segments. A segment without text that has a `suspect` marks speech that got none.
 * Errors of engine_run: INVALID / UNSUPPORTED (this request can never work: language, task, model), CANCELLED, NOMEM,
 * BUSY (no room for the model in time; remote engine: too many requests), TIMEOUT, CRASHED (the child died),
 * UNAVAILABLE (remote engine, missing program), TOO_LARGE (for the remote engine), CORRUPT (damaged model).
 */
#ifndef ENGINE_ENGINE_H
#define ENGINE_ENGINE_H

#include "audio/audio.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/stop.h"
#include "transcript/transcript.h"

#include <stdbool.h>
#include <stddef.h>

/*
 * Any program that opens engines must answer for their children: an engine child is this very program, started as
 * `PROGRAM __engine NAME ...`. So its main begins with
 *
 *     if (argc > 1 && strcmp(argv[1], "__engine") == 0)
 *         return engine_child_main(argc, argv);
 *
 * before it starts threads or opens anything; that holds for test programs too.
 */
enum engine_caps {
    ENGINE_NEEDS_PCM = 1 << 0,  /* else the recording is not even decoded (null) */
    ENGINE_FOLLOWS = 1 << 1,    /* can do a `sequential` request: chunks in order, each with the state before it */
    ENGINE_INTERRUPTS = 1 << 2, /* stops inside a call by itself; others are killed */
    ENGINE_DETECTS = 1 << 3,    /* hears which language is spoken: engine_detect */
};

/* What an engine says of itself. Static. */
struct engine_info {
    const char *name; /* "pocketsphinx" */
    const char *help; /* one line for people */
    unsigned caps;
    const char *quality; /* "draft", "standard", "test": goes into every transcript */
    /* Chunk lengths it works best with, and can take; 0 for engines without ENGINE_NEEDS_PCM. */
    int64_t target_samples, max_samples;
    unsigned slots; /* how many chunks at a time are best; 0: one for each processor */
};

struct engine;

/* For engines that are a server elsewhere. Texts NULL or "": the engine's own, or none. */
struct engine_server {
    const char *url, *key;
    const char *model;  /* the default one when engine_opts.model names none */
    int64_t per_minute; /* most requests, tries included; 0: no limit */
};

/*
 * Their limits of requests, where they are shared with other processes: kept by who opens the engine. take: one request
 * more of the engine `name`. *ret_wait_ms 0: now; else it does not count, and is to be asked for again in so many
 * milliseconds. Any thread; blocks not for long. When it is NULL or fails, the engine counts for itself.
 */
struct engine_rate {
    int (*take)(void *arg, const char *name, int64_t per_minute, int64_t *ret_wait_ms, struct err *err);
    void *arg;
};

struct engine_opts {
    const char *name;        /* "auto": the best that is there */
    const char *model;       /* default model; NULL: the engine's own; an engine that has not that one does not open */
    const char *model_path;  /* folder with models; NULL: the engine's own place */
    const char *data_folder; /* models and packed weights may lie in folders of it; NULL: nowhere */
    unsigned slots;          /* concurrent calls; 0: as many as the engine likes */
    int64_t
        chunk_time_ms; /* longest one call may take once it has a slot; 0: no limit. Not for engines that interrupt */
    /* For engines that run a network here. */
    const char *precision; /* NULL: the fastest this processor has */
    unsigned threads;      /* 0: one for each processor */
    int beam_size;         /* for requests that name none; 0: the engine's own */
    /* For engines that keep models loaded. */
    int64_t memory_bytes;             /* most that its models may take; 0: what the machine has left */
    unsigned models_kept, models_max; /* without use; at most; 0: 2 and 4 */
    int64_t model_wait_ms;            /* how long a call waits for room for its model; 0: for ever */
    int64_t model_idle_ms;            /* a model without use goes after this time; 0: never */
    /* For engines that are a server elsewhere. */
    struct engine_server gemini, openai;
    const char *ca_file; /* certificates to trust (PEM); NULL or "": the system's */
    int64_t request_ms;  /* longest one request may take; 0: the engine's own */
    struct engine_rate rate;
};

enum { ENGINE_TEMPERATURES_MAX = 8 };

/* Zero everywhere is the engine's own way. An engine does without what it has no use for (a prompt, a beam). */
struct engine_request {
    const char *model;    /* NULL: the default */
    const char *language; /* ISO 639-1, NULL: detect (or the engine's only one) */
    const char *task;     /* "transcribe" or "translate" */
    const char *prompt;   /* before the first words of each chunk; of the recording in a sequential request */
    const char *hotwords; /* before the words of every chunk */
    bool word_timestamps; /* find times of words */
    bool sequential;      /* chunks in order, each told the text before it: UNSUPPORTED without ENGINE_FOLLOWS */
    int beam_size;
    float temperatures[ENGINE_TEMPERATURES_MAX]; /* tried in turn */
    size_t n_temperatures;
    uint64_t seed;
};

struct engine_chunk {
    const int16_t *pcm;        /* NULL for engines without ENGINE_NEEDS_PCM */
    struct span span;          /* where it lies in the recording */
    const struct span *speech; /* detected speech in it, ascending, in samples of the recording; may be unknown: 0 */
    size_t n_speech;
    const char *state; /* in a sequential request: what the chunk before left; NULL at the start */
};

struct engine_answer {
    struct segments segments; /* times count from the start of the recording */
    const char *state;        /* in a sequential request: for the next chunk, never NULL; else NULL */
    const char *said;         /* of a call that failed: what the engine's process or server said, or NULL */
};

struct engine_language {
    const char *code; /* static */
    double probability;
};

/*
 * `opts` and its strings need live only for the call. Checks that the engine's files are there, starts nothing yet.
 * UNSUPPORTED (no such engine, or it has no key), INVALID (a model it has not), UNAVAILABLE (its files are missing;
 * with "auto": no engine is there at all).
 */
int engine_open(const struct engine_opts *opts, struct engine **ret, struct err *err) MUST_CHECK;
void engine_close(struct engine *e); /* no call may be under way; NULL is fine */
const struct engine_info *engine_info(const struct engine *e);
/* Appends members of a JSON object about the models it keeps loaded (engine/whisper_models.h). false: it keeps none. */
bool engine_describe(struct engine *e, struct buf *b);
unsigned engine_slots(const struct engine *e);
/* The model a request would use, as it is named in results. Borrowed from e or the request. */
const char *engine_model(const struct engine *e, const struct engine_request *r);
/* Can this request ever work? Asked before decoding, so that a wrong language fails at once. */
int engine_check(struct engine *e, const struct engine_request *r, struct err *err) MUST_CHECK;
/*
 * Transcribes one chunk; the answer lives in `a`. On failure only ret->said is set. With more callers than slots the
 * later ones wait (cancel holds there too). A crash or a time-out costs only that call: the next one starts a new
 * child.
 */
int engine_run(struct engine *e, const struct engine_request *r, const struct engine_chunk *c,
               const struct cancel *cancel, struct arena *a, struct engine_answer *ret, struct err *err) MUST_CHECK;

/*
 * Brings what a request needs into memory, so that it is known whether there is room before anything is begun. 1: it
 * was loaded for this call; 0: it was there, or there is nothing to load. NOMEM: it does not fit, also when nothing
 * else is loaded. Blocks, is cancelled and fails as engine_run.
 */
int engine_load(struct engine *e, const struct engine_request *r, const struct cancel *cancel, struct err *err)
    MUST_CHECK;
/* For the figures: after NOMEM the caller goes on with a smaller model. */
void engine_fell_back(struct engine *e);

/*
 * Which language is spoken in a chunk? 1: *ret; 0: there is nothing to hear (the engine cannot, or the model knows only
 * one). Blocks, is cancelled and fails as engine_run.
 */
int engine_detect(struct engine *e, const struct engine_request *r, const struct engine_chunk *c,
                  const struct cancel *cancel, struct engine_language *ret, struct err *err) MUST_CHECK;

/* A model that an engine has. */
struct engine_model {
    const char *name;
    int64_t bytes, parameters; /* 0: not known */
    int64_t changed_s;         /* when its file was changed last, since 1970; 0: not known */
    bool multilingual, can_translate, loaded;
};

/*
 * The models there are, by name, in `a`; files that are no models are left out. UNSUPPORTED: only the engine's server
 * knows which it has.
 */
int engine_models(struct engine *e, struct arena *a, struct engine_model **ret, size_t *ret_n, struct err *err)
    MUST_CHECK;

/* Every engine there is, NULL-terminated, "auto" not among them. */
const struct engine_info *const *engine_list(void);
/* Main of an engine child (see above): argv[2] names the engine. Returns the exit status. */
int engine_child_main(int argc, char **argv);

#endif
