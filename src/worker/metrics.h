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
 * Of the models in memory, from what the engine tells of its pool in the heartbeat: member there, its kind, metric,
 * type and help. Members that are missing are left out.
 */
#define WORKER_POOL_METRICS(X)                                                                                    \
    X(hits, COUNT, "steno_model_pool_hits_total", "counter", "Times a model was in memory when it was asked for") \
    X(misses, COUNT, "steno_model_pool_misses_total", "counter", "Times it had to be loaded")                     \
    X(evictions, COUNT, "steno_model_pool_evictions_total", "counter", "Models that made room for others")        \
    X(oom_fallbacks, COUNT, "steno_model_pool_oom_fallbacks_total", "counter",                                    \
      "Times a smaller model was taken because memory was short")                                                 \
    X(load_ms, MS, "steno_model_pool_load_seconds_total", "counter", "Time spent loading models")                 \
    X(size, COUNT, "steno_model_pool_models", "gauge", "Models in memory")                                        \
    X(max_size, COUNT, "steno_model_pool_models_max", "gauge", "Most models there may be in memory")              \
    X(memory_bytes, COUNT, "steno_model_pool_memory_bytes", "gauge", "What they take together")

/* Appends the page. Any thread. */
void worker_metrics_write(struct worker *w, struct buf *b);

#endif
