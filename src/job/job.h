/* SPDX-License-Identifier: MIT */
/*
 * What a job is: states, queues, and the rows as C structs.
 *
 *   pending ──claim──▶ processing ──▶ completed | failed | cancelled
 *      ▲                   │
 *      └──retry, hand-back,┘            failed ──explicit retry──▶ pending
 *         lease expired
 *   pending ──▶ cancelled
 *
 * job_state_table in job.c lists the legal steps; every UPDATE of a state names the state it expects (and, for
 * a worker, holder and fence), so an illegal step changes no row.
 */
#ifndef JOB_JOB_H
#define JOB_JOB_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define JOB_STATES(X)           \
    X(PENDING, "pending")       \
    X(PROCESSING, "processing") \
    X(COMPLETED, "completed")   \
    X(FAILED, "failed")         \
    X(CANCELLED, "cancelled")

enum job_state {
#define X(name, word) JOB_##name,
    JOB_STATES(X)
#undef X
        JOB_STATE_COUNT
};

const char *job_state_name(enum job_state s);
bool job_state_parse(const char *word, enum job_state *ret);
bool job_state_terminal(enum job_state s);
/* Is the step legal? */
bool job_step_ok(enum job_state from, enum job_state to);

/* In the order they are served. The broker's queue names are settings; these words are the API's and the rows'. */
#define JOB_QUEUES(X)   \
    X(HIGH, "high")     \
    X(NORMAL, "normal") \
    X(RETRY, "retry")

enum job_queue {
#define X(name, word) QUEUE_##name,
    JOB_QUEUES(X)
#undef X
        QUEUE_COUNT
};

const char *job_queue_name(enum job_queue q);
bool job_queue_parse(const char *word, enum job_queue *ret);

enum job_order { JOB_FIFO, JOB_LIFO };

/* Some of the queues, each once, in an order. */
struct job_queues {
    enum job_queue v[QUEUE_COUNT];
    size_t n;
};
/* From "high, normal". INVALID: an unknown word, one that stands twice, none at all. */
int job_queues_parse(const char *list, struct job_queues *ret, struct err *err) MUST_CHECK;

/* A row of `jobs`. Strings live in the arena it was read into; NULL where the row has NULL. Times in ms, 0 for NULL. */
struct job {
    const char *id;
    enum job_state state;
    enum job_queue queue;
    int64_t created_at, updated_at, started_at, finished_at, run_after, announced_at;
    const char *engine, *model, *language, *task, *prompt, *description, *options;
    const char *filename, *content_type, *audio_key, *audio_sha256;
    int64_t audio_bytes;
    int64_t audio_gone_at; /* the recording was given up by retention; 0: it is there */
    int small;             /* 1: a short job, by the size of its recording */
    int attempt, max_attempts, deaths;
    int64_t fence;
    const char *lease_holder; /* the worker that holds the job, or held it last */
    int64_t lease_until;      /* 0: nobody holds it */
    int64_t seq;
    const char *plan; /* NULL also in lists, where it would be most of the memory */
    int64_t chunks_total, chunks_done, duration_ms, progress_ms;
    const char *error_class, *error_message;
    const char *request_id; /* of the submission, for logs */
};

/* A row of `chunks`. */
struct job_chunk {
    int64_t idx, start_sample, end_sample, engine_ms, finished_at;
    const char *result;       /* JSON, see transcript/segment_json.h */
    const char *engine_state; /* or NULL */
};

/* A row of `results`. */
struct job_result {
    int64_t fence; /* this and created_at are set by the store */
    const char *result_key, *text, *language, *engine, *model, *warning;
    int64_t duration_ms, speech_ms, covered_ms, word_count, processing_ms, created_at;
    double confidence;           /* negative: the engine gives none */
    double language_probability; /* 0: not known */
    int64_t removed_at;          /* the transcript was given up by retention: text is NULL then; 0: it is there */
};

/* A row of `uploads`: an object that a client puts into storage by itself, by a signed URL. Its id becomes the job's.
 */
struct job_upload {
    const char *id, *key, *filename, *content_type;
    int64_t size;     /* announced, and once it is used that of the object; negative: unknown */
    const char *etag; /* the SHA-256 or ETag of the object as it is known; NULL: not yet */
    int64_t created_at, expires_at, used_at;
};

/* A row of `error_logs`, with the job's file name beside it. */
struct job_error {
    const char *id, *job_id, *filename, *error_class, *message, *stage, *detail, *worker;
    int attempt;
    bool dead, resolved;
    int64_t created_at, resolved_at;
};

#endif
