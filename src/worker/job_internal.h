/* SPDX-License-Identifier: MIT */
/* Inside src/worker: one job in work, shared by the parts of job_run.c. Belongs to the job's thread. */
#ifndef WORKER_JOB_INTERNAL_H
#define WORKER_JOB_INTERNAL_H

#include "transcript/transcript.h"
#include "worker/pipeline.h"
#include "worker/state.h"

/*
 * Plan and checkpoint of a job with at most one chunk: they would save at most that chunk's work, so they are held back
 * and written with its result, in one transaction instead of three.
 */
struct held_back {
    const char *plan; /* JSON; NULL: nothing is held back. All of it is in the run's arena */
    struct job_chunk chunk;
    bool has_chunk;
    const char *event; /* of the chunk */
};

struct job_ctx {
    struct worker *w;
    struct run *r;
    struct log_ctx log;
    struct engine *engine;
    const char *model, *warning; /* that the job's wish comes to; NULL: the engine's default; nothing to warn of */
    char *folder, *audio;        /* private; audio is NULL when the engine needs none */
    const struct plan *plan;     /* an earlier attempt's, in the run's arena */
    struct arena saved_arena;
    struct job_chunk *saved; /* checkpoints of that plan, by index */
    size_t n_saved, next_saved;
    bool saved_loaded;
    bool got_on; /* more chunks have a checkpoint than when the job was claimed */
    struct held_back held;
    int64_t seq, told_ms; /* newest event number; when progress was last told */
    struct transcript transcript;
    struct pipeline_report report;
    char result_key[128];
};

/* ---- job_hooks.c ---- */

/* The pipeline's hooks, which keep plan and checkpoints in the database and send events. */
struct pipeline_hooks job_hooks(struct job_ctx *c);
/* Completes the job with what was held back, and tells everybody of its chunk. */
int job_complete_held(struct job_ctx *c, const struct job_result *r, struct err *err) MUST_CHECK;
/* Tells everybody of the job's new state; `why` is NULL when nothing went wrong. */
void job_state_event(struct job_ctx *c, enum job_state state, const struct err *why);

/* ---- job_settle.c ---- */

/* What holds for the job when it fails with this class. */
struct retry_rule job_retry_rule(const struct job_ctx *c, int err_code);

/* The job failed with *why at c->report.stage: asks the retry policy, and writes its verdict. */
void job_settle(struct job_ctx *c, struct err *why);

#endif
