/* SPDX-License-Identifier: MIT */
/*
 * The dialect of a service whose clients put recordings into storage themselves, by a presigned URL, and then start a
 * job on them: /api/v1/audio and /api/v1/job.
 */
#include "api/dialect.h"
#include "api/dialect_queue.h"
#include "api/fastapi.h"
#include "api/health.h"
#include "api/json_body.h"
#include "api/live.h"
#include "api/server.h"
#include "api/signed_upload.h"

#include <string.h>

enum {
    ANSWER_MAX = 64 << 20,
    LIST_DEFAULT = 50,
    LIST_MAX = 200,
    OFFSET_MAX = 1000000,
    LIST_ARENA_MAX = 256 << 20,
    TYPE_MAX = 255,
    URL_MAX = 8192,
    MESSAGE_MAX = 256
};

static void write_job(struct jsonw *w, const struct shown_job *v)
{
    const struct job *j = &v->job;
    jw_str(w, "id", j->id);
    jw_str(w, "filename", j->filename);
    jw_str(w, "status", job_state_name(j->state));
    jw_time(w, "creation_date", j->created_at);
    jw_time(w, "update_date", j->updated_at);
    jw_str(w, "result_text", v->result ? v->result->text : NULL);
    if (v->result)
        jw_int(w, "processing_time_seconds", (v->result->processing_ms + 500) / 1000);
    else
        jw_null(w, "processing_time_seconds");
    jw_str(w, "error_message", j->error_message);
    jw_str(w, "language", shown_job_language(v));
    jw_str(w, "whisper_model", shown_job_model(v));
    jw_str(w, "description", j->description);
}

/* ---- uploads ---- */

static int answer_url(struct request *rq, const char *filename, const char *type, int64_t size, struct err *err)
{
    struct upload_url u;
    enum problem p = PROBLEM_COUNT;
    filename = form_filename(filename, &rq->arena);
    int rc = fastapi_check_name(filename, &p, err);
    if (rc >= 0)
        rc = upload_url_new(rq, filename, type, size, &u, &p, err);
    if (rc < 0)
        return request_error(rq, p, err);
    CLEANUP(buf_clear) struct buf b = BUF_INIT(ANSWER_MAX);
    struct jsonw w = {&b, false};
    jw_open(&w, NULL, '{');
    jw_str(&w, "url", u.url);
    jw_str(&w, "key", u.key);
    jw_time(&w, "expires_at", u.expires_at);
    jw_close(&w, '}');
    return request_json(rq, 200, &b, err);
}

int audio_text_url(struct request *rq, struct err *err)
{
    const char *filename = NULL, *type = NULL;
    int64_t size = -1;
    enum problem p = PROBLEM_COUNT;
    int rc = json_body_text(rq, "filename", true, FILENAME_MAX_BYTES, &filename, &p, err);
    if (rc >= 0)
        rc = json_body_text(rq, "content_type", false, TYPE_MAX, &type, &p, err);
    if (rc >= 0)
        rc = json_body_int(rq, "file_size", false, &size, &p, err);
    return rc < 0 ? request_error(rq, p, err) : answer_url(rq, filename, type, size, err);
}

int audio_text_url_by_query(struct request *rq, struct err *err)
{
    const char *filename = query_get(&rq->query, "filename"), *type = query_get(&rq->query, "content_type");
    int64_t size;
    rq->wrong_field = "filename";
    if (!filename)
        return request_problem(rq, PROBLEM_bad_query, "Field required");
    rq->wrong_field = "file_size";
    if (query_int(&rq->query, "file_size", 0, INT64_MAX, -1, &size, err) < 0)
        return request_error(rq, PROBLEM_bad_query, err);
    rq->wrong_field = NULL;
    return answer_url(rq, filename, type, size, err);
}

/* ---- jobs ---- */

static int take_field(struct request *rq, struct form *f, const char *name, const char *ours, enum problem *ret_problem,
                      struct err *err)
{
    struct form_slot slot;
    const char *value;
    int rc = json_body_text(rq, name, false, FORM_VALUE_MAX, &value, ret_problem, err);
    if (rc < 0 || !value || !form_find(f, ours, &slot))
        return rc;
    rc = form_set(f, &slot, value, strlen(value), &rq->arena, ret_problem, err);
    if (rc < 0)
        rq->wrong_field = name;
    return rc;
}

int audio_text_submit(struct request *rq, struct err *err)
{
    const char *filename = NULL, *url = NULL;
    enum problem p = PROBLEM_COUNT;
    struct form *f = arena_alloc(&rq->arena, sizeof *f);
    if (!f)
        return err_set(err, ERR_NOMEM, "no memory for this request");
    f->dialect = &dialect_audio_text;
    f->engine_names = rq->api->o.engine_names;
    int rc = json_body_text(rq, "filename", true, FILENAME_MAX_BYTES, &filename, &p, err);
    if (rc >= 0)
        rc = json_body_text(rq, "url", true, URL_MAX, &url, &p, err);
    if (rc >= 0)
        rc = take_field(rq, f, "mode", "model", &p, err);
    if (rc >= 0)
        rc = take_field(rq, f, "language", "language", &p, err);
    if (rc >= 0)
        rc = take_field(rq, f, "description", "description", &p, err);
    if (rc >= 0) {
        filename = form_filename(filename, &rq->arena);
        rc = fastapi_check_name(filename, &p, err);
    }
    if (rc >= 0)
        rc = upload_submit(rq, url, filename, f, &p, err);
    if (rc < 0)
        return request_error(rq, p, err);
    if (rq->answer.status) /* as before */
        return 0;
    return fastapi_accepted(rq, 200, write_job, err);
}

int audio_text_status(struct request *rq, struct err *err)
{
    return fastapi_show(rq, SHOW_TEXT, write_job, err);
}

/* A bare list, the newest first, with the texts: one read of jobs and one of results. */
int audio_text_list(struct request *rq, struct err *err)
{
    int64_t limit = 0;
    struct job_filter f = {.any_state = true};
    struct job_page page;
    rq->wrong_field = "limit";
    int rc = query_int(&rq->query, "limit", 1, LIST_MAX, LIST_DEFAULT, &limit, err);
    if (rc >= 0) {
        rq->wrong_field = "offset";
        rc = query_int(&rq->query, "offset", 0, OFFSET_MAX, 0, &f.offset, err);
    }
    if (rc < 0)
        return request_error(rq, PROBLEM_bad_query, err);
    f.limit = (int)limit;
    rq->arena.max = LIST_ARENA_MAX;
    rc = store_list(rq->api->o.store, &f, &rq->arena, &page, err);
    if (rc < 0)
        return rc;
    struct job_result *results = arena_alloc(&rq->arena, (page.n + 1) * sizeof *results);
    if (!results)
        return err_set(err, ERR_NOMEM, "no memory for this request");
    rc = store_page_results(rq->api->o.store, &page, &rq->arena, results, err);
    if (rc < 0)
        return rc;
    CLEANUP(buf_clear) struct buf b = BUF_INIT(LIST_ARENA_MAX);
    struct jsonw w = {&b, false};
    jw_open(&w, NULL, '[');
    for (size_t i = 0; i < page.n; i++) {
        const struct shown_job v = {
            .job = page.jobs[i], .position = -1, .result = results[i].text ? &results[i] : NULL};
        jw_open(&w, NULL, '{');
        write_job(&w, &v);
        jw_close(&w, '}');
    }
    jw_close(&w, ']');
    return request_json(rq, 200, &b, err);
}

/* ---- live ---- */

static void update(const struct live_view *v, struct buf *b)
{
    char message[MESSAGE_MAX];
    struct jsonw w = {b, false};
    queue_message(v->job, v->position, v->paused, message, sizeof message);
    jw_open(&w, NULL, '{');
    jw_str(&w, "job_id", v->job->id);
    jw_str(&w, "type", "job_update");
    jw_int(&w, "seq", v->seq);
    jw_str(&w, "status", job_state_name(v->job->state));
    jw_real(&w, "progress", job_percent(v->job));
    jw_str(&w, "message", message);
    if (job_state_terminal(v->job->state)) {
        const struct shown_job shown = {.job = *v->job, .position = -1, .result = v->result};
        jw_str(&w, "result_text", v->result ? v->result->text : NULL);
        jw_str(&w, "error_message", v->job->error_message);
        jw_open(&w, "result", '{');
        write_job(&w, &shown);
        jw_close(&w, '}');
    }
    jw_close(&w, '}');
}

static const struct live_format live = {
    .name = "audio_text",
    .snapshot = update,
    .state = update,
    .position = update,
    .progress = update,
    .end = update,
};

int audio_text_websocket(struct request *rq, struct err *err)
{
    return live_route_websocket(rq, rq->params[0], &live, err);
}

int audio_text_health(struct request *rq, struct err *err)
{
    CLEANUP(buf_clear) struct buf b = BUF_INIT(ANSWER_MAX);
    struct jsonw w = {&b, false};
    jw_open(&w, NULL, '{');
    jw_str(&w, "status", health_ok(rq->api->health) ? "ok" : "degraded");
    jw_str(&w, "version", rq->api->o.version);
    jw_close(&w, '}');
    return request_json(rq, 200, &b, err);
}

const struct dialect dialect_audio_text = {
    .name = "audio_text",
    .refuse = fastapi_refuse,
    .error_schema = "FastApiError",
    .ignores_unknown = true,
    .name_decides = true,
    .check_name = fastapi_check_name,
};
