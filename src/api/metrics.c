/* SPDX-License-Identifier: MIT */
#include "api/metrics.h"

#include "api/routes.h"
#include "base/macros.h"

#include <stdio.h>

static const unsigned statuses[] = {
#define X(status) status,
    METRIC_STATUSES(X)
#undef X
};

static const struct metric infos[] = {
#define X(name, type, help) {#name, type, help},
    METRICS(X)
#undef X
};

#define INFO(name) (&infos[METRIC_##name])

static size_t status_slot(unsigned status)
{
    size_t i = 0;
    while (i < ARRAY_LEN(statuses) - 1 && statuses[i] != status)
        i++;
    return i;
}

void metrics_request(struct metrics *m, size_t route, unsigned status, int64_t ms)
{
    size_t r = MIN(MIN(route, route_count()), (size_t)METRIC_ROUTES_MAX - 1);
    atomic_fetch_add_explicit(&m->requests[r][status_slot(status)], 1, memory_order_relaxed);
    histogram_add(&m->durations[r], &histogram_answers, ms);
}

/* The labels `method` and `route`; the direct service's routes look like others of the main one. */
struct route_name {
    const char *method;
    char route[128];
};

static struct route_name name_of(size_t route)
{
    bool known = route < route_count();
    struct route_name n = {.method = known ? api_routes[route].method : ""};
    snprintf(n.route, sizeof n.route, "%s%s", known && (api_routes[route].flags & ROUTE_DIRECT) ? "direct:" : "",
             known ? api_routes[route].pattern : "none");
    return n;
}

static void write_requests(struct buf *b, struct metrics *m)
{
    metric_head(b, INFO(steno_http_requests_total));
    for (size_t r = 0; r <= route_count(); r++)
        for (size_t s = 0; s < ARRAY_LEN(statuses); s++) {
            int64_t count = atomic_load_explicit(&m->requests[r][s], memory_order_relaxed);
            if (!count)
                continue;
            struct route_name n = name_of(r);
            char status[16];
            snprintf(status, sizeof status, "%u", statuses[s]);
            metric_int(b, INFO(steno_http_requests_total),
                       METRIC_LABELS({"method", n.method}, {"route", n.route}, {"status", status}), count);
        }
    metric_head(b, INFO(steno_http_request_duration_seconds));
    for (size_t r = 0; r <= route_count(); r++) {
        struct route_name n = name_of(r);
        if (histogram_count(&m->durations[r]))
            histogram_write(b, INFO(steno_http_request_duration_seconds),
                            METRIC_LABELS({"method", n.method}, {"route", n.route}), &m->durations[r],
                            &histogram_answers);
    }
}

static void write_queues(struct buf *b, const struct metric *m, const int64_t v[QUEUE_COUNT], bool milli)
{
    metric_head(b, m);
    for (enum job_queue q = 0; q < QUEUE_COUNT; q++) {
        const struct metric_label *queue = METRIC_LABELS({"queue", job_queue_name(q)});
        if (milli)
            metric_milli(b, m, queue, v[q]);
        else
            metric_int(b, m, queue, v[q]);
    }
}

static void write_jobs(struct buf *b, const struct metrics_gauges *g)
{
    metric_head(b, INFO(steno_jobs));
    for (enum job_state s = 0; s < JOB_STATE_COUNT; s++)
        metric_int(b, INFO(steno_jobs), METRIC_LABELS({"state", job_state_name(s)}), g->counts->by_state[s]);
    write_queues(b, INFO(steno_jobs_ready), g->counts->ready, false);
    write_queues(b, INFO(steno_jobs_delayed), g->counts->delayed_in, false);
    write_queues(b, INFO(steno_jobs_oldest_wait_seconds), g->counts->oldest_in, true);
    static const char *const states[] = {
#define X(name, word) word,
        METRIC_WORKER_STATES(X)
#undef X
    };
    metric_head(b, INFO(steno_workers));
    for (size_t i = 0; i < WORKER_STATE_COUNT; i++)
        metric_int(b, INFO(steno_workers), METRIC_LABELS({"state", states[i]}), g->workers[i]);
}

void metrics_write(struct buf *b, struct metrics *m, const struct metrics_gauges *g)
{
    role_metrics_write(b, g->role);
    metric_only(b, INFO(steno_up), g->counts != NULL);
    write_requests(b, m);
    metric_only(b, INFO(steno_http_requests_in_flight), g->in_flight);
    metric_only(b, INFO(steno_http_aborted_total), atomic_load(&m->aborted));
    metric_only(b, INFO(steno_upload_bytes_total), atomic_load(&m->upload_bytes));
    metric_only(b, INFO(steno_uploads_in_flight), g->uploads);
    metric_only(b, INFO(steno_live_connections), g->live);
    if (g->counts)
        write_jobs(b, g);
    metric_only(b, INFO(steno_broker_up), g->broker_up);
    if (g->depth[0] >= 0)
        write_queues(b, INFO(steno_broker_depth), g->depth, false);
}
