/* SPDX-License-Identifier: MIT */
/*
 * The worker process: claims jobs, runs them, renews leases, sweeps. See docs/architecture.md, "The life of a job".
 *
 * Threads: the caller's thread claims and hands jobs to `concurrency` job threads; slot threads run the chunks of all
 * jobs; one keeper thread renews leases, sends the heartbeat and looks for cancels twice a second; one sweeper thread.
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
#include "worker/retry.h"

struct worker_opts {
    /* Borrowed; the command that opened them closes them after worker_run. */
    struct store *store;
    struct storage *storage;
    struct broker *broker;
    const struct engine_opts *engine;  /* which engine and how; opened by the worker, jobs may ask for another */
    const struct model_names *models;  /* what names of models mean; NULL: no setting is made */
    const char *language;              /* for jobs that name none; NULL: the engine's choice */
    const struct job_options *options; /* for what a job leaves open; may be NULL */
    const char *temp_folder;           /* a private folder per run is made below it */
    unsigned concurrency;              /* jobs in work */
    int64_t lease_ms;
    int64_t poll_ms; /* looks for work this often without a wake-up */
    int64_t sweep_ms;
    int64_t drain_ms;           /* at SIGTERM: time for running chunks to finish before they are handed back */
    int64_t upload_max_age_ms;  /* longest allowed upload: younger orphans are left alone */
    int64_t keep_audio_ms;      /* after the end of a job; negative: for ever */
    int64_t job_time_ms;        /* one attempt at a job; 0: no limit */
    const char *metrics_listen; /* addresses of a page of metrics; NULL or "": none */
    const char *settings;       /* those in force that may be told, a JSON object; NULL: none */
    struct retry_policy retry;
    struct decode_opts decode;
    const struct cancel *stop; /* set: as a first SIGTERM. For who runs a worker inside a program; may be NULL */
};

/*
 * Runs until the process stop flag (or o->stop) is set, then drains; a second SIGTERM cuts the drain short. 0: all jobs
 * ended or were handed back. UNAVAILABLE: some could not be handed back; their leases will run out.
 */
int worker_run(const struct worker_opts *o, struct err *err) MUST_CHECK;

#endif
