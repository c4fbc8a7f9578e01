/* SPDX-License-Identifier: MIT */
/*
 * The api's figures for Prometheus, one table; metrics/role.h has those that every role tells. Counters are atomics
 * that every thread bumps; gauges are asked for when the page is made.
 *
 * The figures of jobs and workers are those of the database: every api tells the same.
 */
#ifndef API_METRICS_H
#define API_METRICS_H

#include "api/problem.h"
#include "base/buf.h"
#include "job/store.h"
#include "metrics/histogram.h"
#include "metrics/role.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* name, type, help */
#define METRICS(X)                                                                                             \
    X(steno_up, "gauge", "1 when the job store answers; without it the figures of jobs are missing")           \
    X(steno_http_requests_total, "counter", "Requests that were answered, by route and status")                \
    X(steno_http_requests_in_flight, "gauge", "Requests under way")                                            \
    X(steno_http_request_duration_seconds, "histogram", "Time between the start of a request and its end")     \
    X(steno_http_aborted_total, "counter", "Requests whose connection ended before the answer was sent")       \
    X(steno_upload_bytes_total, "counter", "Bytes of request bodies that were received")                       \
    X(steno_uploads_in_flight, "gauge", "Uploads under way")                                                   \
    X(steno_live_connections, "gauge", "Connections that follow a job")                                        \
    X(steno_jobs, "gauge", "Jobs by state")                                                                    \
    X(steno_jobs_ready, "gauge", "Jobs that wait and are due, by queue")                                       \
    X(steno_jobs_delayed, "gauge", "Jobs that wait for a later try, by queue")                                 \
    X(steno_jobs_oldest_wait_seconds, "gauge", "How long the longest-waiting job that is due waits, by queue") \
    X(steno_workers, "gauge", "Workers by state; silent ones gave no sign of life lately")                     \
    X(steno_broker_up, "gauge", "1 when the broker answers; without it workers look for jobs")                 \
    X(steno_broker_depth, "gauge", "Wake-ups in the queues of a broker that keeps them")

enum metric_id {
#define X(name, type, help) METRIC_##name,
    METRICS(X)
#undef X
        METRIC_COUNT
};

/* Statuses that are counted by themselves; all others count as 0. */
#define METRIC_STATUSES(X) \
    X(101)                 \
    X(200)                 \
    X(201)                 \
    X(202)                 \
    X(204)                 \
    X(206)                 \
    X(304)                 \
    X(307)                 \
    X(400)                 \
    X(403) X(404) X(405) X(406) X(408) X(409) X(410) X(413) X(415) X(416) X(422) X(426) X(500) X(501) X(503) X(504) X(0)

enum {
#define X(status) METRIC_STATUS_##status,
    METRIC_STATUSES(X)
#undef X
        METRIC_STATUS_COUNT,
    METRIC_ROUTES_MAX = 128, /* the routes of routes.c, then one for paths that are none */
};

struct metrics {
    atomic_llong requests[METRIC_ROUTES_MAX][METRIC_STATUS_COUNT];
    struct histogram durations[METRIC_ROUTES_MAX];
    atomic_llong aborted, upload_bytes;
};

/* `route`: its place in the table of routes; anything beyond counts as no route. */
void metrics_request(struct metrics *m, size_t route, unsigned status, int64_t ms);

/* What workers' rows say of their state; any other word counts as running. */
#define METRIC_WORKER_STATES(X) \
    X(RUNNING, "running")       \
    X(DRAINING, "draining")     \
    X(SILENT, "silent")

enum metric_worker_state {
#define X(name, word) WORKERS_##name,
    METRIC_WORKER_STATES(X)
#undef X
        WORKER_STATE_COUNT
};

struct metrics_gauges {
    const struct role_figures *role;
    int64_t in_flight, uploads, live;
    const struct store_counts *counts; /* NULL: the store does not answer */
    int64_t workers[WORKER_STATE_COUNT];
    bool broker_up;
    const int64_t *depth; /* per queue; -1: unknown, or the broker keeps no tokens */
};
/* The page in the text format of Prometheus. */
void metrics_write(struct buf *b, struct metrics *m, const struct metrics_gauges *g);

#endif
