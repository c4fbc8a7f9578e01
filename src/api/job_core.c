/* SPDX-License-Identifier: MIT */
#include "api/job_core.h"

#include "api/server.h"
#include "base/id.h"

#include <stdio.h>

int shown_job_get(struct request *rq, const char *id, unsigned what, struct shown_job *ret, struct err *err)
{
    struct store *store = rq->api->o.store;
    struct job_view v = {.has_result = false};
    *ret = (struct shown_job){.position = -1};
    int rc = id_valid(id) ? store_view(store, id, what & SHOW_TEXT, &rq->arena, &v, err)
                          : err_set(err, ERR_NOT_FOUND, "'%.64s' is no job id", id);
    if (rc < 0)
        return rc;
    ret->job = v.job;
    if (v.job.state == JOB_PENDING && (what & SHOW_POSITION)) {
        struct store_place place = {.position = -1};
        rc = store_look(store, id, INT32_MAX, &rq->arena, &ret->job, &place, err);
        ret->position = place.position;
        ret->paused = place.paused;
    }
    if (rc < 0 || ret->job.state != JOB_COMPLETED)
        return rc;
    struct job_result *result = arena_alloc(&rq->arena, sizeof *result);
    if (!result)
        return err_set(err, ERR_NOMEM, "no memory for this request");
    *result = v.result;
    /* Without a result in the view it was completed between the two questions. */
    if (!v.has_result)
        rc = store_get_result(store, id, &rq->arena, result, err);
    if (rc >= 0 && !result->removed_at)
        ret->result = result;
    return rc;
}

/* Whoever misses it finds out by itself: a worker within half a second. */
static void tell_state(struct api *api, const struct log_ctx *lc, const char *id, int64_t seq, enum job_state state)
{
    struct event e = {.seq = seq, .type = "state"};
    struct err err = ERR_INIT;
    snprintf(e.job_id, sizeof e.job_id, "%s", id);
    snprintf(e.json, sizeof e.json, "{\"state\":\"%s\"}", job_state_name(state));
    if (broker_send_event(api->o.broker, &e, &err) < 0)
        log_warn(lc, "job %s: event not sent: %s", id, err.msg);
}

int job_cancel_in(struct api *api, const struct log_ctx *lc, const char *id, struct err *err)
{
    int64_t seq = 0;
    if (!id_valid(id))
        return err_set(err, ERR_NOT_FOUND, "'%.64s' is no job id", id);
    int rc = store_cancel(api->o.store, id, &seq, err);
    if (rc > 0) {
        struct log_ctx of_job = *lc;
        of_job.job_id = id;
        tell_state(api, lc, id, seq, JOB_CANCELLED);
        log_info(&of_job, "cancelled");
    }
    return rc;
}

int job_cancel(struct request *rq, const char *id, struct err *err)
{
    return job_cancel_in(rq->api, &rq->log, id, err);
}

void job_abandon(struct request *rq)
{
    struct err err = ERR_INIT;
    if (rq->idempotency)
        return;
    int rc = job_cancel(rq, rq->job->id, &err);
    if (rc < 0 && rc != ERR_NOT_FOUND)
        log_warn(&rq->log, "job %s goes on although nobody waits for it: %s", rq->job->id, err.msg);
}

int job_send_token(struct api *api, const struct job *j, struct err *err)
{
    const struct token t = {.queue = job_queue_name(j->queue),
                            .job_id = j->id,
                            .audio_key = j->audio_key,
                            .language = j->language,
                            .model = j->model};
    return broker_send_token(api->o.broker, &t, err);
}

int job_retry(struct request *rq, const char *id, struct err *err)
{
    int64_t seq = 0;
    struct job j;
    struct err away = ERR_INIT;
    if (!id_valid(id))
        return err_set(err, ERR_NOT_FOUND, "'%.64s' is no job id", id);
    int rc = store_retry_failed(rq->api->o.store, id, &seq, err);
    if (rc < 0)
        return rc;
    struct log_ctx lc = rq->log;
    lc.job_id = id;
    log_info(&lc, "is tried again");
    /* Sent or not, the job waits, and is found. */
    rc = store_get(rq->api->o.store, id, &rq->arena, &j, &away);
    if (rc >= 0)
        rc = job_send_token(rq->api, &j, &away);
    if (rc >= 0)
        rc = store_mark_announced(rq->api->o.store, id, &away);
    if (rc < 0)
        log_warn(&lc, "not announced, workers find it when they look next: %s", away.msg);
    tell_state(rq->api, &lc, id, seq, JOB_PENDING);
    return 0;
}

double job_percent(const struct job *j)
{
    if (j->state == JOB_COMPLETED)
        return 100;
    return j->chunks_total > 0 ? MIN(100.0 * (double)j->chunks_done / (double)j->chunks_total, 99.0) : 0;
}

const char *shown_job_model(const struct shown_job *v)
{
    return v->result ? v->result->model : v->job.model;
}

const char *shown_job_language(const struct shown_job *v)
{
    return v->result && v->result->language ? v->result->language : v->job.language;
}
