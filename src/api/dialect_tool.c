/* SPDX-License-Identifier: MIT */
/*
 * The dialect of a transcription tool under /api/v1/transcribe, which documents its submission alone: 200 with a job_id
 * and state words in capitals. Looking and cancelling go by the same path.
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

int tool_submit(struct request *rq, struct err *err)
{
    CLEANUP(buf_clear) struct buf b = BUF_INIT(ANSWER_MAX);
    struct jsonw w = {&b, false};
    jw_open(&w, NULL, '{');
    jw_str(&w, "job_id", rq->job->id);
    /* What a submission always was there, also when a worker has the job already. */
    jw_str(&w, "status", fastapi_state(JOB_PENDING));
    jw_str(&w, "filename", rq->job->filename);
    jw_time(&w, "created_at", rq->job->created_at);
    jw_str(&w, "message", "Job submitted for transcription");
    jw_close(&w, '}');
    return request_json(rq, 200, &b, err);
}

int tool_get(struct request *rq, struct err *err)
{
    struct shown_job v;
    int rc = shown_job_get(rq, rq->params[0], SHOW_TEXT, &v, err);
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
    jw_int(&w, "chunks_completed", v.job.chunks_done);
    jw_int(&w, "chunks_total", v.job.chunks_total);
    jw_str(&w, "filename", v.job.filename);
    jw_str(&w, "language", shown_job_language(&v));
    jw_str(&w, "model", shown_job_model(&v));
    jw_time(&w, "created_at", v.job.created_at);
    jw_time(&w, "started_at", v.job.started_at);
    jw_time(&w, "updated_at", v.job.updated_at);
    jw_time(&w, "completed_at", v.job.finished_at);
    jw_str(&w, "text", v.result ? v.result->text : NULL);
    jw_str(&w, "result_path", v.result ? v.result->result_key : NULL);
    jw_str(&w, "error_message", v.job.error_message);
    jw_close(&w, '}');
    return request_json(rq, 200, &b, err);
}

int tool_cancel(struct request *rq, struct err *err)
{
    struct shown_job v;
    int rc = fastapi_cancel(rq, &v, err);
    if (rc == ERR_NOT_FOUND)
        return not_found(rq);
    if (rc <= 0)
        return rc;
    CLEANUP(buf_clear) struct buf b = BUF_INIT(ANSWER_MAX);
    struct jsonw w = {&b, false};
    jw_open(&w, NULL, '{');
    jw_str(&w, "job_id", v.job.id);
    jw_str(&w, "status", fastapi_state(v.job.state));
    jw_str(&w, "message", "Job cancelled");
    jw_close(&w, '}');
    return request_json(rq, 200, &b, err);
}

const struct dialect dialect_tool = {
    .name = "tool",
    .refuse = fastapi_refuse,
    .error_schema = "FastApiError",
    .ignores_unknown = true,
    .name_decides = true,
    .check_name = fastapi_check_name,
};
