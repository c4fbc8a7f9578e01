/* SPDX-License-Identifier: MIT */
/* The routes about who works and what waits: queues and workers. */
#include "api/health.h"
#include "api/job_core.h"
#include "api/jsonw.h"
#include "api/request.h"
#include "api/server.h"
#include "base/id.h"

#include <stdlib.h>
#include <string.h>

enum { LIST_DEFAULT = 50, LIST_MAX = 1000, LIST_JSON_MAX = 64 << 20, WAKE_MAX = 16 };

/* What there is to say of a queue comes from the job store and from the broker, which may be away. */
struct figures {
    struct store_counts counts;
    int64_t depth[QUEUE_COUNT]; /* -1: not known */
};

static void write_queue(struct jsonw *w, enum job_queue q, const struct figures *f)
{
    jw_open(w, NULL, '{');
    jw_str(w, "name", job_queue_name(q));
    jw_int(w, "ready", f->counts.ready[q]);
    jw_int(w, "delayed", f->counts.delayed_in[q]);
    jw_seconds(w, "oldest", f->counts.oldest_in[q]);
    jw_bool(w, "paused", f->counts.paused_at[q] != 0);
    jw_time(w, "paused_at", f->counts.paused_at[q]);
    if (f->depth[q] < 0)
        jw_null(w, "broker_depth");
    else
        jw_int(w, "broker_depth", f->depth[q]);
    jw_close(w, '}');
}

int route_queues(struct request *rq, struct err *err)
{
    struct figures f;
    int64_t latency_ms = 0;
    struct err away = ERR_INIT;
    int rc = store_counts(rq->api->o.store, false, &f.counts, err);
    if (rc < 0)
        return rc;
    bool up = health_broker(rq->api->o.broker, &latency_ms, f.depth, &away) >= 0;
    CLEANUP(buf_clear) struct buf b = BUF_INIT(LIST_JSON_MAX);
    struct jsonw w = {&b, false};
    jw_open(&w, NULL, '{');
    jw_open(&w, "queues", '[');
    for (int q = 0; q < QUEUE_COUNT; q++)
        write_queue(&w, (enum job_queue)q, &f);
    jw_close(&w, ']');
    jw_int(&w, "processing", f.counts.by_state[JOB_PROCESSING]);
    jw_str(&w, "broker_error", up ? NULL : away.msg);
    jw_close(&w, '}');
    return request_json(rq, 200, &b, err);
}

/* Of what waited a few jobs at once wake the workers; what they find after those wakes nobody else, nor need it. */
static void wake_workers(struct request *rq, enum job_queue queue)
{
    struct job *jobs = NULL;
    size_t n = 0;
    struct err err = ERR_INIT;
    int rc = store_due(rq->api->o.store, queue, WAKE_MAX, &rq->arena, &jobs, &n, &err);
    for (size_t i = 0; rc >= 0 && i < n; i++)
        rc = job_send_token(rq->api, &jobs[i], &err);
    if (rc < 0)
        log_warn(&rq->log, "queue '%s': workers find its jobs when they look next: %s", job_queue_name(queue), err.msg);
}

static int set_paused(struct request *rq, bool paused, struct err *err)
{
    enum job_queue q;
    struct store *store = rq->api->o.store;
    if (!job_queue_parse(rq->params[0], &q))
        return request_problem(rq, PROBLEM_queue_not_found, "there is no queue '%.64s', only high, normal and retry",
                               rq->params[0]);
    int rc = paused ? store_pause_queue(store, q, err) : store_resume_queue(store, q, err);
    if (rc > 0)
        log_info(&rq->log, "queue '%s' is %s", job_queue_name(q), paused ? "paused" : "served again");
    if (rc > 0 && !paused)
        wake_workers(rq, q);
    struct figures f;
    int64_t latency_ms = 0;
    struct err away = ERR_INIT;
    if (rc >= 0)
        rc = store_counts(store, false, &f.counts, err);
    if (rc < 0)
        return rc;
    if (health_broker(rq->api->o.broker, &latency_ms, f.depth, &away) < 0)
        log_debug(&rq->log, "the broker says nothing: %s", away.msg);
    CLEANUP(buf_clear) struct buf b = BUF_INIT(LIST_JSON_MAX);
    struct jsonw w = {&b, false};
    write_queue(&w, q, &f);
    return request_json(rq, 200, &b, err);
}

int route_pause_queue(struct request *rq, struct err *err)
{
    return set_paused(rq, true, err);
}

int route_resume_queue(struct request *rq, struct err *err)
{
    return set_paused(rq, false, err);
}

static int by_id(const void *a, const void *b)
{
    return strcmp(((const struct worker_row *)a)->id, ((const struct worker_row *)b)->id);
}

/* Pages go by id, which is stable while workers come (they stand at the end) and go. */
int route_workers(struct request *rq, struct err *err)
{
    const char *cursor = query_get(&rq->query, "cursor");
    struct worker_row *rows = NULL;
    size_t n = 0, first = 0;
    int64_t limit = 0;
    int rc = query_int(&rq->query, "limit", 1, LIST_MAX, LIST_DEFAULT, &limit, err);
    if (rc >= 0 && cursor && !id_valid(cursor))
        rc = err_set(err, ERR_INVALID,
                     "the cursor is not one this server gave out: use the one from the last page, or none");
    if (rc < 0)
        return request_error(rq, PROBLEM_bad_query, err);
    rc = store_list_workers(rq->api->o.store, &rq->arena, &rows, &n, err);
    if (rc < 0)
        return rc;
    qsort(rows, n, sizeof *rows, by_id);
    while (cursor && first < n && strcmp(rows[first].id, cursor) <= 0)
        first++;
    size_t end = MIN(n, first + (size_t)limit);
    CLEANUP(buf_clear) struct buf b = BUF_INIT(LIST_JSON_MAX);
    struct jsonw w = {&b, false};
    jw_open(&w, NULL, '{');
    jw_open(&w, "workers", '[');
    for (size_t i = first; i < end; i++)
        health_write_worker(&w, &rows[i]);
    jw_close(&w, ']');
    jw_str(&w, "next_cursor", end < n ? rows[end - 1].id : NULL);
    jw_close(&w, '}');
    return request_json(rq, 200, &b, err);
}
