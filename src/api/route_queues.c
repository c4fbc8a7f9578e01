/* SPDX-License-Identifier: MIT */
/* The routes about who works and what waits: queues and workers. */
#include "api/health.h"
#include "api/jsonw.h"
#include "api/request.h"
#include "api/server.h"
#include "base/id.h"

#include <stdlib.h>
#include <string.h>

enum { LIST_DEFAULT = 50, LIST_MAX = 1000, LIST_JSON_MAX = 64 << 20 };

int route_queues(struct request *rq, struct err *err)
{
    struct store_counts c;
    int64_t latency_ms = 0, depth[QUEUE_COUNT];
    struct err away = ERR_INIT;
    int rc = store_counts(rq->api->o.store, &c, err);
    if (rc < 0)
        return rc;
    bool up = health_broker(rq->api->o.broker, &latency_ms, depth, &away) >= 0;
    CLEANUP(buf_clear) struct buf b = BUF_INIT(LIST_JSON_MAX);
    struct jsonw w = {&b, false};
    jw_open(&w, NULL, '{');
    jw_open(&w, "queues", '[');
    for (int q = 0; q < QUEUE_COUNT; q++) {
        jw_open(&w, NULL, '{');
        jw_str(&w, "name", job_queue_name((enum job_queue)q));
        jw_int(&w, "ready", c.ready[q]);
        jw_int(&w, "delayed", c.delayed_in[q]);
        jw_seconds(&w, "oldest", c.oldest_in[q]);
        if (depth[q] < 0)
            jw_null(&w, "broker_depth");
        else
            jw_int(&w, "broker_depth", depth[q]);
        jw_close(&w, '}');
    }
    jw_close(&w, ']');
    jw_int(&w, "processing", c.by_state[JOB_PROCESSING]);
    jw_str(&w, "broker_error", up ? NULL : away.msg);
    jw_close(&w, '}');
    return request_json(rq, 200, &b, err);
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
