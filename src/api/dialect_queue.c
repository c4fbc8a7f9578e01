/* SPDX-License-Identifier: MIT */
/*
 * The dialect of a queue service, whose jobs are tasks that are queued first. Tasks are submitted by POST /transcribe/
 * (dialect_pool.c).
 */
#include "api/dialect_queue.h"

#include "api/fastapi.h"
#include "api/health.h"
#include "api/live.h"
#include "api/server.h"
#include "base/clock.h"

#include <stdio.h>

enum { ANSWER_MAX = 64 << 20, MESSAGE_MAX = 256 };

const char *queue_state(enum job_state s)
{
    return s == JOB_PENDING ? "queued" : job_state_name(s);
}

void queue_message(const struct job *j, int64_t position, bool paused, char *ret, size_t size)
{
    switch (j->state) {
    case JOB_PENDING:
        if (paused)
            snprintf(ret, size, "The queue is paused");
        else if (position >= 0)
            snprintf(ret, size, "Waiting in queue, position %lld", (long long)position + 1);
        else
            snprintf(ret, size, "Waiting in queue");
        return;
    case JOB_PROCESSING:
        if (j->chunks_total > 0)
            snprintf(ret, size, "Transcribing: %lld of %lld chunks done", (long long)j->chunks_done,
                     (long long)j->chunks_total);
        else
            snprintf(ret, size, "Preparing the audio");
        return;
    case JOB_COMPLETED:
        snprintf(ret, size, "Transcription completed");
        return;
    case JOB_FAILED:
        snprintf(ret, size, "%s", j->error_message ? j->error_message : "Transcription failed");
        return;
    case JOB_CANCELLED:
        snprintf(ret, size, "Task cancelled");
        return;
    case JOB_STATE_COUNT:
        break;
    }
    snprintf(ret, size, "?");
}

/* Seconds until it is done, of all jobs done lately, those before it sharing the hands at work now; -1: nobody knows.
 */
static int64_t estimate_ms(const struct shown_job *v, const struct store_pace *pace, int64_t now_ms)
{
    const struct job *j = &v->job;
    if (j->state == JOB_PENDING && pace->mean_ms > 0 && v->position >= 0 && !v->paused)
        return pace->mean_ms + pace->mean_ms * v->position / MAX(pace->processing, 1);
    if (j->state != JOB_PROCESSING)
        return -1;
    int64_t spent = MAX(now_ms - j->started_at, 0);
    if (j->chunks_done > 0)
        return spent * (j->chunks_total - j->chunks_done) / j->chunks_done;
    return pace->mean_ms > 0 ? MAX(pace->mean_ms - spent, 0) : -1;
}

static void write_result(struct jsonw *w, const struct job_result *r)
{
    jw_open(w, "result", '{');
    jw_str(w, "text", r->text);
    jw_str(w, "language", r->language);
    jw_seconds(w, "duration", r->duration_ms);
    jw_seconds(w, "processing_time", r->processing_ms);
    jw_str(w, "model", r->model);
    jw_close(w, '}');
}

int queue_task(struct request *rq, struct err *err)
{
    struct shown_job v;
    struct store_pace pace = {0};
    int rc = shown_job_get(rq, rq->params[0], SHOW_POSITION | SHOW_TEXT, &v, err);
    if (rc >= 0 && !job_state_terminal(v.job.state))
        rc = store_pace(rq->api->o.store, &pace, err);
    if (rc == ERR_NOT_FOUND)
        return fastapi_not_found(rq);
    if (rc < 0)
        return rc;
    char message[MESSAGE_MAX];
    queue_message(&v.job, v.position, v.paused, message, sizeof message);
    int64_t left_ms = estimate_ms(&v, &pace, clock_wall_ms());
    CLEANUP(buf_clear) struct buf b = BUF_INIT(ANSWER_MAX);
    struct jsonw w = {&b, false};
    jw_open(&w, NULL, '{');
    jw_str(&w, "task_id", v.job.id);
    jw_str(&w, "status", queue_state(v.job.state));
    jw_real(&w, "progress", job_percent(&v.job));
    jw_str(&w, "message", message);
    jw_str(&w, "filename", v.job.filename);
    if (v.position >= 0)
        jw_int(&w, "queue_position", v.position + 1);
    else
        jw_null(&w, "queue_position");
    if (left_ms >= 0)
        jw_seconds(&w, "estimated_time", left_ms);
    else
        jw_null(&w, "estimated_time");
    jw_time(&w, "created_at", v.job.created_at);
    jw_time(&w, "started_at", v.job.started_at);
    jw_time(&w, "completed_at", v.job.finished_at);
    if (v.result)
        write_result(&w, v.result);
    else
        jw_null(&w, "result");
    jw_str(&w, "error", v.job.error_message);
    jw_close(&w, '}');
    return request_json(rq, 200, &b, err);
}

static void write_cancelled(struct jsonw *w, const struct shown_job *v)
{
    jw_str(w, "task_id", v->job.id);
    jw_str(w, "status", queue_state(v->job.state));
    jw_str(w, "message", "Task cancelled");
}

int queue_cancel(struct request *rq, struct err *err)
{
    return fastapi_cancel(rq, write_cancelled, err);
}

int queue_status(struct request *rq, struct err *err)
{
    struct store_counts c;
    struct store_pace pace;
    int rc = store_counts(rq->api->o.store, true, &c, err);
    if (rc >= 0)
        rc = store_pace(rq->api->o.store, &pace, err);
    if (rc < 0)
        return rc;
    CLEANUP(buf_clear) struct buf b = BUF_INIT(ANSWER_MAX);
    struct jsonw w = {&b, false};
    jw_open(&w, NULL, '{');
    jw_int(&w, "queue_size", c.by_state[JOB_PENDING]);
    if (rq->api->o.max_queue)
        jw_int(&w, "max_queue_size", rq->api->o.max_queue);
    else
        jw_null(&w, "max_queue_size");
    for (enum job_state s = 0; s < JOB_STATE_COUNT; s++)
        jw_int(&w, queue_state(s), c.by_state[s]);
    jw_seconds(&w, "oldest_wait", c.oldest_pending_ms);
    health_write_paused(&w, &c);
    if (pace.mean_ms)
        jw_seconds(&w, "average_processing_time", pace.mean_ms);
    else
        jw_null(&w, "average_processing_time");
    jw_close(&w, '}');
    return request_json(rq, 200, &b, err);
}

/* ---- live ---- */

/* Whoever watches reads `data` alone. */
static void update(const struct live_view *v, struct buf *b)
{
    char message[MESSAGE_MAX];
    struct jsonw w = {b, false};
    queue_message(v->job, v->position, v->paused, message, sizeof message);
    jw_open(&w, NULL, '{');
    jw_str(&w, "type", "task_update");
    jw_str(&w, "task_id", v->job->id);
    jw_int(&w, "seq", v->seq);
    jw_open(&w, "data", '{');
    jw_str(&w, "status", queue_state(v->job->state));
    jw_real(&w, "progress", job_percent(v->job));
    jw_str(&w, "message", message);
    if (v->position >= 0)
        jw_int(&w, "queue_position", v->position + 1);
    else
        jw_null(&w, "queue_position");
    if (v->result)
        write_result(&w, v->result);
    jw_str(&w, "error", v->job->error_message);
    jw_close(&w, '}');
    jw_close(&w, '}');
}

static const struct live_format live = {
    .name = "queue",
    .snapshot = update,
    .state = update,
    .position = update,
    .progress = update,
    .end = update,
};

int queue_websocket(struct request *rq, struct err *err)
{
    return live_route_websocket(rq, rq->params[0], &live, err);
}

const struct dialect dialect_queue = {
    .name = "queue",
    .refuse = fastapi_refuse,
    .job_word = "Task",
    .error_schema = "FastApiError",
    .ignores_unknown = true,
    .name_decides = true,
    .check_name = fastapi_check_name,
};
