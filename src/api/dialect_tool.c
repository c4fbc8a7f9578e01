/* SPDX-License-Identifier: MIT */
/*
 * The dialect of a transcription tool under /api/v1/transcribe, which documents its submission alone: 200 with a job_id
 * and state words in capitals. Looking and cancelling go by the same path.
 */
#include "api/dialect.h"
#include "api/fastapi.h"

static void write_submitted(struct jsonw *w, const struct shown_job *v)
{
    jw_str(w, "job_id", v->job.id);
    jw_str(w, "status", fastapi_state(v->job.state));
    jw_str(w, "filename", v->job.filename);
    jw_time(w, "created_at", v->job.created_at);
    jw_str(w, "message", "Job submitted for transcription");
}

int tool_submit(struct request *rq, struct err *err)
{
    return fastapi_accepted(rq, 200, write_submitted, err);
}

static void write_job(struct jsonw *w, const struct shown_job *v)
{
    jw_str(w, "job_id", v->job.id);
    jw_str(w, "status", fastapi_state(v->job.state));
    jw_real(w, "progress", job_percent(&v->job));
    jw_int(w, "chunks_completed", v->job.chunks_done);
    jw_int(w, "chunks_total", v->job.chunks_total);
    jw_str(w, "filename", v->job.filename);
    jw_str(w, "language", shown_job_language(v));
    jw_str(w, "model", shown_job_model(v));
    jw_time(w, "created_at", v->job.created_at);
    jw_time(w, "started_at", v->job.started_at);
    jw_time(w, "updated_at", v->job.updated_at);
    jw_time(w, "completed_at", v->job.finished_at);
    jw_str(w, "text", v->result ? v->result->text : NULL);
    jw_str(w, "result_path", v->result ? v->result->result_key : NULL);
    jw_str(w, "error_message", v->job.error_message);
}

int tool_get(struct request *rq, struct err *err)
{
    return fastapi_show(rq, SHOW_TEXT, write_job, err);
}

static void write_cancelled(struct jsonw *w, const struct shown_job *v)
{
    jw_str(w, "job_id", v->job.id);
    jw_str(w, "status", fastapi_state(v->job.state));
    jw_str(w, "message", "Job cancelled");
}

int tool_cancel(struct request *rq, struct err *err)
{
    return fastapi_cancel(rq, write_cancelled, err);
}

const struct dialect dialect_tool = {
    .name = "tool",
    .refuse = fastapi_refuse,
    .error_schema = "FastApiError",
    .ignores_unknown = true,
    .name_decides = true,
    .check_name = fastapi_check_name,
};
