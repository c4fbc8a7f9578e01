/* SPDX-License-Identifier: MIT */
/* The routes about jobs: look at one, list them, cancel and purge. */
#include "api/etag.h"
#include "api/job_core.h"
#include "api/job_json.h"
#include "api/request.h"
#include "api/server.h"
#include "api/submit.h"
#include "api/wait.h"
#include "base/id.h"
#include "base/str.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LIST_DEFAULT = 50, LIST_MAX = 1000, LIST_JSON_MAX = 64 << 20 };

/* Not looked for. */
static const struct store_place nowhere = {.position = -1};

static int no_such_job(struct request *rq, const char *id)
{
    return request_problem(rq, PROBLEM_job_not_found, "there is no job '%.64s'", id);
}

static int answer_job(struct request *rq, unsigned status, const struct job_view *v, const struct store_place *place,
                      struct err *err)
{
    CLEANUP(buf_clear) struct buf b = BUF_INIT(JOB_JSON_MAX);
    struct jsonw w = {&b, false};
    job_json_write(&w, NULL, &v->job,
                   &(struct job_extra){.position = place->position,
                                       .paused = place->paused,
                                       .result = v->has_result ? &v->result : NULL});
    return request_json(rq, status, &b, err);
}

/* `v`: the job as it stands now. */
static int answer_submission(struct request *rq, const struct job_view *v, struct err *err)
{
    bool over = rq->prefer.waits && job_state_terminal(v->job.state);
    int rc = answer_job(rq, over ? 200 : 202, v, &nowhere, err);
    if (rc < 0)
        return rc;
    answer_header(&rq->answer, "Location", "/v1/jobs/%s", v->job.id);
    if (!over)
        answer_header(&rq->answer, "Retry-After", "%d", JOB_RETRY_PENDING_S);
    prefer_answer(&rq->answer, &rq->prefer);
    return 0;
}

/* The client waited for the end of its job: whether it came or not, the job goes on. */
static int after_wait(struct request *rq, enum wait_end end, struct err *err)
{
    (void)end;
    struct job_view v = {.has_result = false};
    int rc = store_view(rq->api->o.store, rq->job->id, false, &rq->arena, &v, err);
    return rc < 0 ? rc : answer_submission(rq, &v, err); /* NOT_FOUND: purged */
}

int route_submit(struct request *rq, struct err *err)
{
    if (rq->prefer.wait_s > 0)
        return request_wait(rq, rq->job->id, rq->prefer.wait_s * 1000, after_wait, err);
    return answer_submission(rq, &(struct job_view){.job = *rq->job}, err);
}

static int answer_lookup(struct request *rq, struct err *err)
{
    struct store *store = rq->api->o.store;
    const char *id = rq->params[0];
    struct job_view v = {.has_result = false};
    const struct job *j = &v.job;
    struct store_place place = nowhere;
    int rc = id_valid(id) ? store_view(store, id, false, &rq->arena, &v, err) : ERR_NOT_FOUND;
    if (rc >= 0 && j->state == JOB_PENDING)
        rc = store_look(store, id, INT32_MAX, &rq->arena, &v.job, &place, err);
    if (rc == ERR_NOT_FOUND)
        return no_such_job(rq, id);
    if (rc < 0)
        return rc;
    /* A position changes without an event of this job: no tag then. */
    bool known = j->state == JOB_PENDING
                     ? etag_listed(rq->if_none_match, NULL)
                     : etag_answer(rq, "%lld%s", (long long)j->seq, v.result.removed_at ? "-removed" : "");
    if (known)
        rq->answer.status = 304;
    else
        rc = answer_job(rq, 200, &v, &place, err);
    if (job_retry_after(j))
        answer_header(&rq->answer, "Retry-After", "%d", job_retry_after(j));
    return rc;
}

static int lookup_after_wait(struct request *rq, enum wait_end end, struct err *err)
{
    (void)end;
    int rc = answer_lookup(rq, err);
    if (rc == 0 && rq->answer.status < 400)
        prefer_answer(&rq->answer, &rq->prefer);
    return rc;
}

int route_get_job(struct request *rq, struct err *err)
{
    if (rq->prefer.wait_s > 0 && id_valid(rq->params[0]))
        return request_wait(rq, rq->params[0], rq->prefer.wait_s * 1000, lookup_after_wait, err);
    return answer_lookup(rq, err);
}

int route_list_jobs(struct request *rq, struct err *err)
{
    const char *status = query_get(&rq->query, "status");
    struct job_filter f = {.any_state = !status, .cursor = query_get(&rq->query, "cursor")};
    int64_t limit;
    if (status && !job_state_parse(status, &f.state))
        return request_problem(rq, PROBLEM_bad_query,
                               "status must be pending, processing, completed, failed or cancelled");
    if (query_int(&rq->query, "limit", 1, LIST_MAX, LIST_DEFAULT, &limit, err) < 0)
        return request_error(rq, PROBLEM_bad_query, err);
    f.limit = (int)limit;
    struct job_page page;
    int rc = store_list(rq->api->o.store, &f, &rq->arena, &page, err);
    if (rc == ERR_INVALID)
        return request_error(rq, PROBLEM_bad_query, err);
    if (rc < 0)
        return rc;
    CLEANUP(buf_clear) struct buf b = BUF_INIT(LIST_JSON_MAX);
    struct jsonw w = {&b, false};
    jw_open(&w, NULL, '{');
    jw_open(&w, "jobs", '[');
    for (size_t i = 0; i < page.n; i++)
        job_json_write(&w, NULL, &page.jobs[i], &(struct job_extra){.position = -1});
    jw_close(&w, ']');
    jw_str(&w, "next_cursor", page.next);
    jw_close(&w, '}');
    return request_json(rq, 200, &b, err);
}

struct keys {
    char **v;
    size_t n;
};

static int add_key(const char *key, const struct object_info *info, void *arg, struct err *err)
{
    (void)info;
    struct keys *k = arg;
    char **more = realloc(k->v, (k->n + 1) * sizeof *more), *copy = strdup(key);
    if (more)
        k->v = more;
    if (!more || !copy) {
        free(copy);
        return err_set(err, ERR_NOMEM, "no memory for a list of objects");
    }
    k->v[k->n++] = copy;
    return 0;
}

/* Collected first: deleting while a folder is being read is not for every store. */
static void delete_prefix(struct request *rq, const char *prefix)
{
    struct storage *st = rq->api->o.storage;
    struct keys keys = {NULL, 0};
    struct err err = ERR_INIT;
    int rc = storage_list(st, prefix, add_key, &keys, &err);
    for (size_t i = 0; i < keys.n; i++) {
        if (rc >= 0)
            rc = storage_delete(st, keys.v[i], &err);
        free(keys.v[i]);
    }
    free(keys.v);
    if (rc < 0)
        log_warn(&rq->log, "objects under '%s' are left for the sweeper: %s", prefix, err.msg);
}

/*
 * Rows first, objects after: a crash in between leaves objects nobody points to, which the sweeper removes; the other
 * way round it would leave a job without its recording. A worker that still runs the job loses its claim with the row.
 */
static int purge(struct request *rq, const char *id, struct err *err)
{
    struct store *store = rq->api->o.store;
    int rc = ERR_CONFLICT;
    /* Between cancel and purge a failed job may have been retried: once more, then it is a conflict to report. */
    for (int i = 0; i < 2 && rc == ERR_CONFLICT; i++) {
        rc = job_cancel(rq, id, err);
        if (rc >= 0)
            rc = store_purge(store, id, err);
    }
    if (rc < 0)
        return rc;
    char prefix[128];
    snprintf(prefix, sizeof prefix, "uploads/%s/", id);
    delete_prefix(rq, prefix);
    snprintf(prefix, sizeof prefix, "results/%s/", id);
    delete_prefix(rq, prefix);
    struct log_ctx lc = rq->log;
    lc.job_id = id;
    log_info(&lc, "purged");
    rq->answer.status = 204;
    return 0;
}

int route_delete_job(struct request *rq, struct err *err)
{
    const char *id = rq->params[0];
    bool and_purge;
    if (query_bool(&rq->query, "purge", &and_purge, err) < 0)
        return request_error(rq, PROBLEM_bad_query, err);
    if (!id_valid(id))
        return no_such_job(rq, id);
    struct job_view v;
    int rc = and_purge ? purge(rq, id, err) : job_cancel(rq, id, err);
    if (rc >= 0 && !and_purge)
        rc = store_view(rq->api->o.store, id, false, &rq->arena, &v, err);
    if (rc == ERR_NOT_FOUND)
        return no_such_job(rq, id);
    if (rc < 0 || and_purge)
        return rc;
    return answer_job(rq, 200, &v, &nowhere, err);
}
