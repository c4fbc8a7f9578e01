/* SPDX-License-Identifier: MIT */
/*
 * The dialect of /api/stt: upload, status, result. Vietnamese and the model "medium" are what it takes for granted, and
 * four endings are what it takes.
 */
#include "api/dialect.h"
#include "api/fastapi.h"
#include "api/job_core.h"
#include "api/jsonw.h"

enum { ANSWER_MAX = 64 << 20 };

static int not_found(struct request *rq)
{
    return request_problem(rq, PROBLEM_job_not_found, "Job not found");
}

int stt_upload(struct request *rq, struct err *err)
{
    CLEANUP(buf_clear) struct buf b = BUF_INIT(ANSWER_MAX);
    struct jsonw w = {&b, false};
    jw_open(&w, NULL, '{');
    jw_str(&w, "job_id", rq->job->id);
    jw_str(&w, "status", fastapi_state(JOB_PENDING));
    jw_str(&w, "message", "File uploaded successfully. Processing started.");
    jw_close(&w, '}');
    return request_json(rq, 200, &b, err);
}

int stt_status(struct request *rq, struct err *err)
{
    struct shown_job v;
    int rc = shown_job_get(rq, rq->params[0], 0, &v, err);
    if (rc == ERR_NOT_FOUND)
        return not_found(rq);
    if (rc < 0)
        return rc;
    CLEANUP(buf_clear) struct buf b = BUF_INIT(ANSWER_MAX);
    struct jsonw w = {&b, false};
    jw_open(&w, NULL, '{');
    jw_str(&w, "job_id", v.job.id);
    jw_str(&w, "status", fastapi_state(v.job.state));
    jw_real(&w, "progress", job_percent(&v.job));
    jw_time(&w, "created_at", v.job.created_at);
    jw_str(&w, "error_message", v.job.error_message);
    jw_close(&w, '}');
    return request_json(rq, 200, &b, err);
}

int stt_result(struct request *rq, struct err *err)
{
    struct shown_job v;
    int rc = shown_job_get(rq, rq->params[0], SHOW_TEXT, &v, err);
    if (rc == ERR_NOT_FOUND)
        return not_found(rq);
    if (rc < 0)
        return rc;
    if (!v.result)
        return request_problem(rq, PROBLEM_bad_request, "Job not completed. Status: %s", fastapi_state(v.job.state));
    CLEANUP(buf_clear) struct buf b = BUF_INIT(ANSWER_MAX);
    struct jsonw w = {&b, false};
    jw_open(&w, NULL, '{');
    jw_str(&w, "job_id", v.job.id);
    jw_str(&w, "status", fastapi_state(v.job.state));
    jw_str(&w, "text", v.result->text);
    jw_str(&w, "minio_result_path", v.result->result_key);
    jw_time(&w, "completed_at", v.job.finished_at);
    jw_str(&w, "language", shown_job_language(&v));
    jw_str(&w, "model", shown_job_model(&v));
    jw_close(&w, '}');
    return request_json(rq, 200, &b, err);
}

static int check_name(const char *filename, enum problem *ret_problem, struct err *err)
{
    return fastapi_check_ending(filename, ".mp3 .wav .m4a .mp4", ret_problem, err);
}

/* "auto" was said when the field was seen and is empty. */
static int complete(struct form *f, struct arena *a, enum problem *ret_problem, struct err *err)
{
    (void)a;
    (void)ret_problem;
    (void)err;
    if (!f->seen[FORM_language])
        f->values[FORM_language] = "vi";
    if (!f->values[FORM_model])
        f->values[FORM_model] = "medium";
    return 0;
}

const struct dialect dialect_stt = {
    .name = "stt",
    .refuse = fastapi_refuse,
    .error_schema = "FastApiError",
    .ignores_unknown = true,
    .name_decides = true,
    .check_name = check_name,
    .complete = complete,
};
