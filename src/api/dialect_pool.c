/* SPDX-License-Identifier: MIT */
/*
 * The dialect of a service with a pool of models: /transcribe/ and /jobs/. Its submission is also that of the queue
 * service (dialect_queue.c), whose clients look for task_id.
 */
#include "api/dialect.h"
#include "api/fastapi.h"
#include "api/server.h"
#include "base/str.h"

enum { ANSWER_MAX = 64 << 20, LIST_DEFAULT = 50, LIST_MAX = 1000, OFFSET_MAX = 1000000 };

/* What lists and single jobs both show. */
static void write_job(struct jsonw *w, const struct shown_job *v)
{
    const struct job *j = &v->job;
    jw_str(w, "job_id", j->id);
    jw_str(w, "status", job_state_name(j->state));
    jw_real(w, "progress", job_percent(j));
    jw_str(w, "filename", j->filename);
    jw_str(w, "model_size", shown_job_model(v));
    jw_str(w, "language", shown_job_language(v));
    jw_time(w, "created_at", j->created_at);
    jw_time(w, "started_at", j->started_at);
    jw_time(w, "updated_at", j->updated_at);
    jw_time(w, "completed_at", j->finished_at);
    jw_str(w, "error_message", j->error_message);
}

static void write_submitted(struct jsonw *w, const struct shown_job *v)
{
    const struct job *j = &v->job;
    jw_str(w, "job_id", j->id);
    jw_str(w, "task_id", j->id);
    jw_str(w, "status", job_state_name(j->state));
    jw_str(w, "message", "Transcription job submitted");
    jw_str(w, "filename", j->filename);
    jw_str(w, "model_size", j->model);
    jw_str(w, "language", j->language);
    jw_time(w, "created_at", j->created_at);
}

int pool_submit(struct request *rq, struct err *err)
{
    return fastapi_accepted(rq, 202, write_submitted, err);
}

static void write_result(struct jsonw *w, const struct job_result *r)
{
    jw_open(w, "result", '{');
    jw_str(w, "transcription_text", r->text);
    jw_str(w, "language", r->language);
    jw_seconds(w, "duration", r->duration_ms);
    jw_int(w, "word_count", r->word_count);
    if (r->confidence >= 0)
        jw_real(w, "confidence", r->confidence);
    else
        jw_null(w, "confidence");
    jw_str(w, "model_size", r->model);
    jw_seconds(w, "processing_time", r->processing_ms);
    jw_close(w, '}');
}

static void write_whole_job(struct jsonw *w, const struct shown_job *v)
{
    write_job(w, v);
    if (v->result) {
        jw_str(w, "text", v->result->text);
        write_result(w, v->result);
    } else {
        jw_null(w, "text");
        jw_null(w, "result");
    }
}

int pool_get(struct request *rq, struct err *err)
{
    return fastapi_show(rq, SHOW_TEXT, write_whole_job, err);
}

static void write_metadata(struct jsonw *w, const struct shown_job *v)
{
    jw_str(w, "job_id", v->job.id);
    jw_str(w, "filename", v->job.filename);
    jw_str(w, "status", job_state_name(v->job.state));
    jw_time(w, "created_at", v->job.created_at);
    jw_str(w, "model_size", shown_job_model(v));
}

int pool_metadata(struct request *rq, struct err *err)
{
    return fastapi_show(rq, 0, write_metadata, err);
}

static void write_cancelled(struct jsonw *w, const struct shown_job *v)
{
    jw_str(w, "job_id", v->job.id);
    jw_str(w, "status", job_state_name(v->job.state));
    jw_str(w, "message", "Job cancelled");
}

int pool_cancel(struct request *rq, struct err *err)
{
    return fastapi_cancel(rq, write_cancelled, err);
}

/* As query_int, and says which parameter is wrong. */
static int number(struct request *rq, const char *name, int64_t min, int64_t max, int64_t def, int64_t *ret,
                  struct err *err)
{
    int rc = query_int(&rq->query, name, min, max, def, ret, err);
    if (rc < 0)
        rq->wrong_field = name;
    return rc;
}

int pool_list(struct request *rq, struct err *err)
{
    const char *status = query_get(&rq->query, "status");
    struct job_filter f = {.any_state = !status, .cursor = query_get(&rq->query, "cursor")};
    int64_t limit = 0;
    int rc = 0;
    if (status && !job_state_parse(status, &f.state)) {
        rq->wrong_field = "status";
        rc = err_set(err, ERR_INVALID, "status must be pending, processing, completed, failed or cancelled");
    }
    if (rc >= 0)
        rc = number(rq, "limit", 1, LIST_MAX, LIST_DEFAULT, &limit, err);
    if (rc >= 0)
        rc = number(rq, query_get(&rq->query, "skip") ? "skip" : "offset", 0, OFFSET_MAX, 0, &f.offset, err);
    f.limit = (int)limit;
    struct job_page page;
    if (rc >= 0)
        rc = store_list(rq->api->o.store, &f, &rq->arena, &page, err);
    if (rc == ERR_INVALID)
        return request_error(rq, PROBLEM_bad_query, err);
    if (rc < 0)
        return rc;
    CLEANUP(buf_clear) struct buf b = BUF_INIT(ANSWER_MAX);
    struct jsonw w = {&b, false};
    jw_open(&w, NULL, '{');
    jw_open(&w, "jobs", '[');
    for (size_t i = 0; i < page.n; i++) {
        const struct shown_job v = {.job = page.jobs[i], .position = -1};
        jw_open(&w, NULL, '{');
        write_job(&w, &v);
        jw_close(&w, '}');
    }
    jw_close(&w, ']');
    jw_int(&w, "count", (int64_t)page.n);
    jw_int(&w, "limit", limit);
    jw_int(&w, "offset", f.offset);
    jw_str(&w, "next_cursor", page.next);
    jw_close(&w, '}');
    return request_json(rq, 200, &b, err);
}

int pool_errors(struct request *rq, struct err *err)
{
    struct error_filter f = {.cursor = query_get(&rq->query, "cursor")};
    int64_t limit = 0;
    int rc = number(rq, "limit", 1, LIST_MAX, LIST_DEFAULT, &limit, err);
    if (rc >= 0) {
        rc = query_bool(&rq->query, "all", &f.all, err);
        rq->wrong_field = rc < 0 ? "all" : NULL;
    }
    f.limit = (int)limit;
    struct error_page page;
    if (rc >= 0)
        rc = store_list_errors(rq->api->o.store, &f, &rq->arena, &page, err);
    if (rc == ERR_INVALID)
        return request_error(rq, PROBLEM_bad_query, err);
    if (rc < 0)
        return rc;
    CLEANUP(buf_clear) struct buf b = BUF_INIT(ANSWER_MAX);
    struct jsonw w = {&b, false};
    jw_open(&w, NULL, '{');
    jw_open(&w, "errors", '[');
    for (size_t i = 0; i < page.n; i++) {
        const struct job_error *e = &page.errors[i];
        jw_open(&w, NULL, '{');
        jw_str(&w, "id", e->id);
        jw_str(&w, "job_id", e->job_id);
        jw_str(&w, "filename", e->filename);
        jw_str(&w, "error_type", e->error_class);
        jw_str(&w, "error_message", e->message);
        jw_int(&w, "retry_count", e->attempt > 0 ? e->attempt - 1 : 0);
        jw_bool(&w, "resolved", e->resolved);
        jw_str(&w, "stack_trace", e->detail);
        jw_str(&w, "stage", e->stage);
        jw_str(&w, "worker", e->worker);
        jw_time(&w, "created_at", e->created_at);
        jw_close(&w, '}');
    }
    jw_close(&w, ']');
    jw_int(&w, "count", (int64_t)page.n);
    jw_str(&w, "next_cursor", page.next);
    jw_close(&w, '}');
    return request_json(rq, 200, &b, err);
}

/* Its queues are ours but for "low", which has none of its own. */
static int complete(struct form *f, struct arena *a, enum problem *ret_problem, struct err *err)
{
    (void)a;
    const char *priority = form_extra(f, "priority");
    if (!priority || str_ieq(priority, "normal") || str_ieq(priority, "low"))
        return 0;
    if (str_ieq(priority, "high")) {
        f->values[FORM_queue] = "high";
        return 0;
    }
    f->wrong = "priority";
    *ret_problem = PROBLEM_bad_field;
    return err_set(err, ERR_INVALID, "priority must be high, normal or low");
}

static const struct dialect_field fields[] = {
    {"model_size", FORM_model, false},
    {"priority", FORM_COUNT, false},
    {0},
};

const struct dialect dialect_pool = {
    .name = "pool",
    .refuse = fastapi_refuse,
    .error_schema = "FastApiError",
    .fields = fields,
    .ignores_unknown = true,
    .name_decides = true,
    .check_name = fastapi_check_name,
    .complete = complete,
};
