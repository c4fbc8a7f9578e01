/* SPDX-License-Identifier: MIT */
#include "api/metrics.h"

#include "api/routes.h"
#include "base/macros.h"

static const unsigned statuses[] = {
#define X(status) status,
    METRIC_STATUSES(X)
#undef X
};

static const struct {
    const char *name, *type, *help;
} infos[] = {
#define X(name, type, help) {#name, type, help},
    METRICS(X)
#undef X
};

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
    atomic_fetch_add_explicit(&m->request_ms[r], ms, memory_order_relaxed);
}

void metrics_add_label(struct buf *b, const char *value)
{
    for (; *value; value++) {
        if (*value == '\\' || *value == '"')
            buf_addc(b, '\\');
        if (*value == '\n')
            buf_adds(b, "\\n");
        else
            buf_addc(b, *value);
    }
}

static void head(struct buf *b, enum metric m)
{
    buf_addf(b, "# HELP %s %s\n# TYPE %s %s\n", infos[m].name, infos[m].help, infos[m].name, infos[m].type);
}

/* name{label="value" */
static void begin(struct buf *b, enum metric m, const char *label, const char *value)
{
    buf_addf(b, "%s{%s=\"", infos[m].name, label);
    metrics_add_label(b, value);
    buf_addc(b, '"');
}

static void plain(struct buf *b, enum metric m, int64_t v)
{
    head(b, m);
    buf_addf(b, "%s %lld\n", infos[m].name, (long long)v);
}

static void add_ms(struct buf *b, int64_t ms)
{
    buf_addf(b, " %lld.%03lld\n", (long long)(ms / 1000), (long long)(ms % 1000));
}

static void begin_route(struct buf *b, enum metric m, size_t route)
{
    bool known = route < route_count();
    begin(b, m, "method", known ? api_routes[route].method : "");
    buf_adds(b, ",route=\"");
    buf_adds(b, known && (api_routes[route].flags & ROUTE_DIRECT) ? "direct:" : "");
    metrics_add_label(b, known ? api_routes[route].pattern : "none");
    buf_addc(b, '"');
}

static void write_requests(struct buf *b, struct metrics *m)
{
    head(b, METRIC_steno_http_requests_total);
    for (size_t r = 0; r <= route_count(); r++)
        for (size_t s = 0; s < ARRAY_LEN(statuses); s++) {
            long long n = atomic_load_explicit(&m->requests[r][s], memory_order_relaxed);
            if (!n)
                continue;
            begin_route(b, METRIC_steno_http_requests_total, r);
            buf_addf(b, ",status=\"%u\"} %lld\n", statuses[s], n);
        }
    head(b, METRIC_steno_http_request_seconds_total);
    for (size_t r = 0; r <= route_count(); r++) {
        begin_route(b, METRIC_steno_http_request_seconds_total, r);
        buf_addc(b, '}');
        add_ms(b, atomic_load_explicit(&m->request_ms[r], memory_order_relaxed));
    }
}

static void write_jobs(struct buf *b, const struct store_counts *c)
{
    head(b, METRIC_steno_jobs);
    for (enum job_state s = 0; s < JOB_STATE_COUNT; s++) {
        begin(b, METRIC_steno_jobs, "state", job_state_name(s));
        buf_addf(b, "} %lld\n", (long long)c->by_state[s]);
    }
    head(b, METRIC_steno_jobs_ready);
    for (enum job_queue q = 0; q < QUEUE_COUNT; q++) {
        begin(b, METRIC_steno_jobs_ready, "queue", job_queue_name(q));
        buf_addf(b, "} %lld\n", (long long)c->ready[q]);
    }
    plain(b, METRIC_steno_jobs_delayed, c->delayed);
    head(b, METRIC_steno_jobs_oldest_pending_seconds);
    buf_adds(b, infos[METRIC_steno_jobs_oldest_pending_seconds].name);
    add_ms(b, c->oldest_pending_ms);
}

static void write_depth(struct buf *b, const int64_t *depth)
{
    head(b, METRIC_steno_broker_depth);
    for (enum job_queue q = 0; q < QUEUE_COUNT; q++) {
        begin(b, METRIC_steno_broker_depth, "queue", job_queue_name(q));
        buf_addf(b, "} %lld\n", (long long)depth[q]);
    }
}

void metrics_write(struct buf *b, struct metrics *m, const struct metrics_gauges *g)
{
    head(b, METRIC_steno_build_info);
    begin(b, METRIC_steno_build_info, "version", g->version);
    buf_adds(b, "} 1\n");
    plain(b, METRIC_steno_up, g->counts != NULL);
    write_requests(b, m);
    plain(b, METRIC_steno_http_requests_in_flight, g->in_flight);
    plain(b, METRIC_steno_http_aborted_total, atomic_load(&m->aborted));
    plain(b, METRIC_steno_upload_bytes_total, atomic_load(&m->upload_bytes));
    plain(b, METRIC_steno_uploads_in_flight, g->uploads);
    plain(b, METRIC_steno_live_connections, g->live);
    if (g->counts)
        write_jobs(b, g->counts);
    plain(b, METRIC_steno_broker_up, g->broker_up);
    if (g->depth[0] >= 0)
        write_depth(b, g->depth);
}
