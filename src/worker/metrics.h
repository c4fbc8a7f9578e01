/* SPDX-License-Identifier: MIT */
/*
 * A worker's page for Prometheus: its counters (worker/counters.h), what every role tells (metrics/role.h), and the
 * figures below. Those of queues are the api's, which has them from the database.
 */
#ifndef WORKER_METRICS_H
#define WORKER_METRICS_H

#include "worker/state.h"

/* name, type, help */
#define WORKER_METRICS(X)                                                                  \
    X(steno_worker_jobs_running, "gauge", "Jobs in work")                                  \
    X(steno_worker_concurrency, "gauge", "How many jobs it takes at the same time")        \
    X(steno_worker_slots, "gauge", "How many chunks the engine works on at the same time") \
    X(steno_worker_slots_busy, "gauge", "How many it works on now")                        \
    X(steno_worker_draining, "gauge", "1 while the worker stops: it takes no more jobs")   \
    X(steno_worker_database_up, "gauge", "1 while leases can be renewed; else expiry of leases is on hold")

/*
 * Of the models in memory, from what the engine tells of its pool in the heartbeat:
 *
 *   X(member, kind, metric, type, help)
 *
 *   member   its name there; one that is missing is left out
 *   kind     COUNT: as it is; MS: milliseconds, told in seconds; MIB: told in bytes
 */
#define WORKER_POOL_METRICS(X)                                                                                    \
    X(hits, COUNT, "steno_model_pool_hits_total", "counter", "Times a model was in memory when it was asked for") \
    X(misses, COUNT, "steno_model_pool_misses_total", "counter", "Times it had to be loaded")                     \
    X(evictions, COUNT, "steno_model_pool_evictions_total", "counter", "Models that made room for others")        \
    X(unloads, COUNT, "steno_model_pool_unloads_total", "counter", "Models that went because nobody used them")   \
    X(oom_fallbacks, COUNT, "steno_model_pool_oom_fallbacks_total", "counter",                                    \
      "Jobs that got a smaller model because memory was short")                                                   \
    X(timeouts, COUNT, "steno_model_pool_timeouts_total", "counter", "Times somebody waited for a model in vain") \
    X(load_ms_total, MS, "steno_model_pool_load_seconds_total", "counter", "Time spent on loading models")        \
    X(waiting, COUNT, "steno_model_pool_waiting", "gauge", "How many wait for a model now")                       \
    X(size, COUNT, "steno_model_pool_models", "gauge", "Models in memory")                                        \
    X(max_size, COUNT, "steno_model_pool_models_max", "gauge", "Most models there may be in memory")              \
    X(memory_mb, MIB, "steno_model_pool_memory_bytes", "gauge", "Memory that they take together")

/* Appends the page. Any thread. */
void worker_metrics_write(struct worker *w, struct buf *b);

#endif
