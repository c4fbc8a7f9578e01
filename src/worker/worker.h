/* SPDX-License-Identifier: MIT */
/*
 * The worker process: claims jobs, runs them, renews leases, sweeps. See docs/architecture.md, "The life of a job".
 *
 * Threads: the caller's thread claims and hands jobs to `concurrency` job threads (one more with `short_place`); slot
 * threads run the chunks of all jobs; one keeper thread renews leases, sends the heartbeat and looks for cancels twice
 * a second; one sweeper thread; one that loads models at the start (`warm_up`), one for the page of metrics.
 */
#ifndef WORKER_WORKER_H
#define WORKER_WORKER_H

#include "audio/decode.h"
#include "base/err.h"
#include "base/stop.h"
#include "broker/broker.h"
#include "engine/engine.h"
#include "job/model_names.h"
#include "job/options.h"
#include "job/store.h"
#include "storage/storage.h"
#include "worker/limits.h"
#include "worker/retention.h"
#include "worker/retry.h"

struct worker_opts {
    /* Borrowed; the command that opened them closes them after worker_run. */
    struct store *store;
    struct storage *storage;
    struct broker *broker;
    const struct engine_opts *engine;  /* which engine and how; opened by the worker, jobs may ask for another */
    const struct model_names *models;  /* what names of models mean; NULL: no setting is made */
    const char *warm_up;               /* models to load at the start, "auto": the default one; NULL or "none": none */
    const char *language;              /* for jobs that name none; NULL: the engine's choice */
    const struct job_options *options; /* for what a job leaves open; may be NULL */
    const char *temp_folder;           /* a private folder per run is made below it */
    struct job_queues queues;          /* what the store claims from; shown by the heartbeat */
    unsigned concurrency;              /* most jobs in work */
    unsigned concurrency_min;          /* see places.h; 0: `concurrency` */
    bool short_place;                  /* beside them one more, if it is a short one */
    int64_t lease_ms;
    int64_t poll_ms; /* looks for work this often without a wake-up */
    int64_t sweep_ms;
    int64_t drain_ms;          /* at SIGTERM: time for running chunks to finish before they are handed back */
    int64_t upload_max_age_ms; /* longest allowed upload: younger orphans are left alone */
    struct retention retention;
    const char *metrics_listen; /* addresses of a page of metrics; NULL or "": none */
    const char *settings;       /* those in force that may be told, a JSON object; NULL: none */
    struct job_limits limits;   /* of one attempt at a job */
    int64_t min_free_bytes;     /* with less room in temp_folder no job is begun; 0: not looked at */
    int64_t max_jobs;           /* see recycle.h; 0: no limit, as below */
    int64_t max_memory_bytes;   /* ... */
    int64_t memory_min_age_ms;  /* the process is replaced no sooner for its memory */
    int64_t recycle_ms;         /* how long its jobs may go on before they are handed back; then as drain_ms */
    unsigned replaced;          /* how often this process has replaced itself: for the heartbeat */
    struct retry_policy retry;
    struct decode_opts decode;
    const struct cancel *stop; /* set: as a first SIGTERM. For who runs a worker inside a program; may be NULL */
};

/* How a run of the worker ended. */
enum worker_end {
    WORKER_ENDED,
    WORKER_AGAIN,      /* it has had its share of jobs or memory: start this process again. All is closed */
    WORKER_STUCK,      /* as WORKER_AGAIN, but threads of it hang: nothing that it was given may be closed, only exec or
                          _exit may follow */
    WORKER_STUCK_LEFT, /* as WORKER_STUCK, and some jobs could not be handed back: their leases will run out */
};

/*
 * Runs until the process stop flag (or o->stop) is set, then drains; a second SIGTERM cuts the drain short. All jobs
 * ended or were handed back, one of enum worker_end says how; or UNAVAILABLE: some could not be handed back; their
 * leases will run out.
 */
int worker_run(const struct worker_opts *o, struct err *err) MUST_CHECK;

#endif
