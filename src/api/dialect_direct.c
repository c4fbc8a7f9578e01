/* SPDX-License-Identifier: MIT */
/*
 * The direct service: a listener of its own, where a submission is answered with the text. Behind it is the same
 * pipeline, so a crash loses no more than the connection; what is different is that somebody waits. So its jobs go to
 * the front, recordings are small, few at a time, and a client that leaves takes its job along.
 */
#include "api/dialect.h"
#include "api/fastapi.h"
#include "api/health.h"
#include "api/job_core.h"
#include "api/jsonw.h"
#include "api/server.h"
#include "api/wait.h"
#include "base/str.h"
#include "base/words.h"
#include "storage/storage.h"
#include "transcript/format.h"

#include <string.h>

enum { ANSWER_MAX = 64 << 20, TRANSCRIPT_MAX = 64 << 20 };

static int answer_failure(struct request *rq, const struct job *j)
{
    int code = j->error_class ? err_from_name(j->error_class) : ERR_INTERNAL;
    bool theirs = code == ERR_CORRUPT || code == ERR_UNSUPPORTED || code == ERR_INVALID || code == ERR_TOO_LARGE;
    return request_problem(rq, theirs ? PROBLEM_impossible_request : PROBLEM_internal, "%s",
                           j->error_message ? j->error_message : "the transcription failed");
}

/* The segments, out of the stored transcript. */
static int write_segments(struct request *rq, const struct job_result *r, struct jsonw *w, struct err *err)
{
    CLEANUP(free_p) char *json = NULL;
    size_t n = 0;
    struct transcript t;
    int rc = storage_get_bytes(rq->api->o.storage, r->result_key, TRANSCRIPT_MAX, &json, &n, err);
    if (rc < 0)
        return rc;
    transcript_init(&t);
    rc = transcript_from_json(json, n, &t, err);
    jw_open(w, "segments", '[');
    for (size_t i = 0; rc >= 0 && i < t.n_segments; i++) {
        const struct segment *s = &t.segments[i];
        jw_open(w, NULL, '{');
        jw_int(w, "id", (int64_t)i);
        jw_seconds(w, "start", s->start_ms);
        jw_seconds(w, "end", s->end_ms);
        jw_str(w, "text", s->text);
        jw_close(w, '}');
    }
    jw_close(w, ']');
    transcript_clear(&t);
    return rc;
}

static int answer_text(struct request *rq, const struct shown_job *v, struct err *err)
{
    const struct job_result *r = v->result;
    if (rq->accept && str_starts(rq->accept, "text/plain")) {
        int rc = answer_write(&rq->answer, r->text, strlen(r->text), err);
        if (rc >= 0)
            rc = answer_write(&rq->answer, "\n", 1, err);
        rq->answer.status = 200;
        rq->answer.content_type = "text/plain; charset=utf-8";
        return rc;
    }
    CLEANUP(buf_clear) struct buf b = BUF_INIT(ANSWER_MAX);
    struct jsonw w = {&b, false};
    jw_open(&w, NULL, '{');
    jw_str(&w, "text", r->text);
    jw_str(&w, "language", r->language);
    jw_seconds(&w, "duration", r->duration_ms);
    jw_seconds(&w, "processing_time", r->processing_ms);
    jw_str(&w, "model", r->model);
    jw_str(&w, "filename", v->job.filename);
    jw_str(&w, "task_id", v->job.id);
    int rc = write_segments(rq, r, &w, err);
    if (rc < 0)
        return rc;
    jw_close(&w, '}');
    return request_json(rq, 200, &b, err);
}

static int answer_ended(struct request *rq, struct err *err)
{
    struct shown_job v;
    int rc = shown_job_get(rq, rq->job->id, SHOW_TEXT, &v, err);
    if (rc < 0)
        return rc;
    switch (v.job.state) {
    case JOB_COMPLETED:
        if (!v.result)
            return request_problem(rq, PROBLEM_result_removed, "nothing is kept here, and the text is gone already");
        return answer_text(rq, &v, err);
    case JOB_FAILED:
        return answer_failure(rq, &v.job);
    case JOB_CANCELLED:
        return request_problem(rq, PROBLEM_job_cancelled, "the transcription was cancelled");
    case JOB_PENDING:
    case JOB_PROCESSING:
    case JOB_STATE_COUNT:
        break;
    }
    return request_problem(rq, PROBLEM_internal, NULL);
}

static int waited(struct request *rq, enum wait_end end, struct err *err)
{
    switch (end) {
    case WAIT_JOB_ENDED:
        return answer_ended(rq, err);
    case WAIT_TIMED_OUT:
        job_abandon(rq);
        return request_problem(rq, PROBLEM_takes_too_long, "the transcription took longer than %lld s",
                               (long long)(rq->api->o.direct_ms / 1000));
    case WAIT_SERVER_STOPS:
        job_abandon(rq);
        return request_problem(rq, PROBLEM_shutting_down, "the server stops: send the recording again");
    case WAIT_CLIENT_LEFT:
        break;
    }
    job_abandon(rq);
    return request_problem(rq, PROBLEM_job_cancelled, "the client left");
}

int direct_transcribe(struct request *rq, struct err *err)
{
    return request_wait(rq, rq->job->id, rq->api->o.direct_ms, waited, err);
}

int direct_health(struct request *rq, struct err *err)
{
    CLEANUP(buf_clear) struct buf b = BUF_INIT(ANSWER_MAX);
    struct jsonw w = {&b, false};
    jw_open(&w, NULL, '{');
    jw_str(&w, "status", health_ok(rq->api->health) ? "ok" : "degraded");
    jw_str(&w, "service", "direct");
    jw_str(&w, "version", rq->api->o.version);
    jw_int(&w, "active_requests", atomic_load(&rq->api->direct));
    jw_int(&w, "max_concurrent_requests", rq->api->o.direct_max);
    jw_close(&w, '}');
    return request_json(rq, 200, &b, err);
}

int direct_config(struct request *rq, struct err *err)
{
    const struct api_opts *o = &rq->api->o;
    CLEANUP(buf_clear) struct buf b = BUF_INIT(ANSWER_MAX);
    struct jsonw w = {&b, false};
    jw_open(&w, NULL, '{');
    jw_str(&w, "service", "direct");
    jw_str(&w, "version", o->version);
    jw_int(&w, "max_file_size", request_max_upload(rq));
    jw_real(&w, "max_file_size_mb", (double)request_max_upload(rq) / (1 << 20));
    jw_int(&w, "max_concurrent_requests", o->direct_max);
    jw_seconds(&w, "timeout", o->direct_ms);
    jw_open(&w, "engines", '[');
    const char *names = o->engine_names, *one;
    size_t n;
    while (words_next(&names, ",", &one, &n)) {
        const char *name = arena_dup(&rq->arena, one, n);
        if (name)
            jw_str(&w, NULL, name);
    }
    jw_close(&w, ']');
    jw_close(&w, '}');
    return request_json(rq, 200, &b, err);
}

/* Somebody waits for it. */
static int complete(struct form *f, struct arena *a, enum problem *ret_problem, struct err *err)
{
    (void)a;
    (void)ret_problem;
    (void)err;
    if (!f->values[FORM_queue] && !f->values[FORM_priority])
        f->values[FORM_queue] = "high";
    return 0;
}

static const struct dialect_field fields[] = {{"model_size", FORM_model, false}, {0}};

const struct dialect dialect_direct = {
    .name = "direct",
    .refuse = fastapi_refuse,
    .error_schema = "FastApiError",
    .fields = fields,
    .ignores_unknown = true,
    .name_decides = true,
    .accept_decides = true,
    .check_name = fastapi_check_name,
    .complete = complete,
};
