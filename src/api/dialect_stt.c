/* SPDX-License-Identifier: MIT */
/*
 * The dialect of /api/stt: upload, status, result. Vietnamese and the model "medium" are what it takes for granted, and
 * four endings are what it takes.
 */
#include "api/dialect.h"
#include "api/fastapi.h"

static void write_submitted(struct jsonw *w, const struct shown_job *v)
{
    jw_str(w, "job_id", v->job.id);
    jw_str(w, "status", fastapi_state(v->job.state));
    jw_str(w, "message", "File uploaded successfully. Processing started.");
}

int stt_upload(struct request *rq, struct err *err)
{
    return fastapi_accepted(rq, 200, write_submitted, err);
}

static void write_status(struct jsonw *w, const struct shown_job *v)
{
    jw_str(w, "job_id", v->job.id);
    jw_str(w, "status", fastapi_state(v->job.state));
    jw_real(w, "progress", job_percent(&v->job));
    jw_time(w, "created_at", v->job.created_at);
    jw_str(w, "error_message", v->job.error_message);
}

int stt_status(struct request *rq, struct err *err)
{
    return fastapi_show(rq, 0, write_status, err);
}

static void write_result(struct jsonw *w, const struct shown_job *v)
{
    jw_str(w, "job_id", v->job.id);
    jw_str(w, "status", fastapi_state(v->job.state));
    jw_str(w, "text", v->result->text);
    jw_str(w, "minio_result_path", v->result->result_key);
    jw_time(w, "completed_at", v->job.finished_at);
    jw_str(w, "language", shown_job_language(v));
    jw_str(w, "model", shown_job_model(v));
}

int stt_result(struct request *rq, struct err *err)
{
    struct shown_job v;
    int rc = shown_job_get(rq, rq->params[0], SHOW_TEXT, &v, err);
    if (rc == ERR_NOT_FOUND)
        return fastapi_not_found(rq);
    if (rc < 0)
        return rc;
    if (!v.result && v.job.state == JOB_COMPLETED)
        return request_problem(rq, PROBLEM_result_removed, "The result was removed");
    if (!v.result)
        return request_problem(rq, PROBLEM_bad_request, "Job not completed. Status: %s", fastapi_state(v.job.state));
    return fastapi_answer(rq, &v, write_result, err);
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
