/* SPDX-License-Identifier: MIT */
/* The routes about failures: list them, look at one, mark it as seen to, try its job again. */
#include "api/job_core.h"
#include "api/job_json.h"
#include "api/jsonw.h"
#include "api/request.h"
#include "api/server.h"
#include "base/id.h"

enum { LIST_DEFAULT = 50, LIST_MAX = 1000, LIST_JSON_MAX = 64 << 20, ERROR_JSON_MAX = 1 << 20 };

static void write_error(struct jsonw *w, const struct job_error *e)
{
    jw_open(w, NULL, '{');
    jw_str(w, "id", e->id);
    jw_str(w, "job_id", e->job_id);
    jw_str(w, "filename", e->filename);
    jw_str(w, "code", e->error_class);
    jw_str(w, "message", e->message);
    jw_str(w, "stage", e->stage);
    jw_str(w, "detail", e->detail);
    jw_str(w, "worker", e->worker);
    jw_int(w, "attempt", e->attempt);
    jw_bool(w, "dead", e->dead);
    jw_bool(w, "resolved", e->resolved);
    jw_time(w, "created_at", e->created_at);
    jw_time(w, "resolved_at", e->resolved_at);
    jw_close(w, '}');
}

int route_errors(struct request *rq, struct err *err)
{
    struct error_filter f = {.job_id = query_get(&rq->query, "job_id"), .cursor = query_get(&rq->query, "cursor")};
    int64_t limit = 0;
    int rc = query_int(&rq->query, "limit", 1, LIST_MAX, LIST_DEFAULT, &limit, err);
    if (rc >= 0)
        rc = query_bool(&rq->query, "all", &f.all, err);
    if (rc >= 0 && f.job_id && !id_valid(f.job_id))
        rc = err_set(err, ERR_INVALID, "query parameter 'job_id' is not a job id");
    f.limit = (int)limit;
    struct error_page page;
    if (rc >= 0)
        rc = store_list_errors(rq->api->o.store, &f, &rq->arena, &page, err);
    if (rc == ERR_INVALID)
        return request_error(rq, PROBLEM_bad_query, err);
    if (rc < 0)
        return rc;
    CLEANUP(buf_clear) struct buf b = BUF_INIT(LIST_JSON_MAX);
    struct jsonw w = {&b, false};
    jw_open(&w, NULL, '{');
    jw_open(&w, "errors", '[');
    for (size_t i = 0; i < page.n; i++)
        write_error(&w, &page.errors[i]);
    jw_close(&w, ']');
    jw_str(&w, "next_cursor", page.next);
    jw_close(&w, '}');
    return request_json(rq, 200, &b, err);
}

/* 1: *ret; 0: rq is answered, there is none; else an error. */
static int get_error(struct request *rq, struct job_error *ret, struct err *err)
{
    int rc = store_get_error(rq->api->o.store, rq->params[0], &rq->arena, ret, err);
    if (rc == ERR_NOT_FOUND)
        return request_error(rq, PROBLEM_error_not_found, err);
    return rc < 0 ? rc : 1;
}

static int answer_error(struct request *rq, const struct job_error *e, struct err *err)
{
    CLEANUP(buf_clear) struct buf b = BUF_INIT(ERROR_JSON_MAX);
    struct jsonw w = {&b, false};
    write_error(&w, e);
    return request_json(rq, 200, &b, err);
}

int route_get_error(struct request *rq, struct err *err)
{
    struct job_error e;
    int rc = get_error(rq, &e, err);
    return rc <= 0 ? rc : answer_error(rq, &e, err);
}

int route_resolve_error(struct request *rq, struct err *err)
{
    struct job_error e;
    int rc = get_error(rq, &e, err);
    if (rc <= 0)
        return rc;
    rc = store_resolve_error(rq->api->o.store, e.id, err);
    if (rc >= 0)
        rc = get_error(rq, &e, err); /* as it stands now */
    return rc <= 0 ? rc : answer_error(rq, &e, err);
}

static int retry(struct request *rq, const char *job_id, struct err *err)
{
    struct job j;
    int rc = job_retry(rq, job_id, err);
    if (rc >= 0)
        rc = store_get(rq->api->o.store, job_id, &rq->arena, &j, err);
    if (rc < 0)
        return rc;
    CLEANUP(buf_clear) struct buf b = BUF_INIT(JOB_JSON_MAX);
    struct jsonw w = {&b, false};
    job_json_write(&w, NULL, &j, &(struct job_extra){.position = -1});
    answer_header(&rq->answer, "Location", "/v1/jobs/%s", j.id);
    answer_header(&rq->answer, "Retry-After", "%d", JOB_RETRY_PENDING_S);
    return request_json(rq, 202, &b, err);
}

int route_retry_error(struct request *rq, struct err *err)
{
    struct job_error e;
    int rc = get_error(rq, &e, err);
    return rc <= 0 ? rc : retry(rq, e.job_id, err);
}

int route_retry_job(struct request *rq, struct err *err)
{
    return retry(rq, rq->params[0], err);
}
