/* SPDX-License-Identifier: MIT */
#include "cli/job_view.h"

#include "base/str.h"
#include "job/job.h"

static const char *text(const json_t *json, const char *name)
{
    return json_string_value(json_object_get(json, name));
}

static int64_t number(const json_t *json, const char *name, int64_t none)
{
    const json_t *v = json_object_get(json, name);
    return json_is_number(v) ? (int64_t)json_number_value(v) : none;
}

static int64_t milliseconds(const json_t *json, const char *name)
{
    return (int64_t)(json_number_value(json_object_get(json, name)) * 1000 + 0.5);
}

int job_view_read(const json_t *json, struct job_view *ret, struct err *err)
{
    const json_t *error = json_object_get(json, "error"), *progress = json_object_get(json, "progress");
    const json_t *result = json_object_get(json, "result"), *coverage = json_object_get(result, "coverage");
    struct job_view v = {
        .id = text(json, "id"),
        .status = text(json, "status"),
        .queue = text(json, "queue"),
        .filename = text(json, "filename"),
        .engine = text(json, "engine"),
        .model = text(json, "model"),
        .language = text(json, "language"),
        .created_at = text(json, "created_at"),
        .started_at = text(json, "started_at"),
        .finished_at = text(json, "finished_at"),
        .error_code = text(error, "code"),
        .error_message = text(error, "message"),
        .heard = text(result, "language"),
        .warning = text(result, "warning"),
        .speech_ms = milliseconds(coverage, "speech"),
        .covered_ms = milliseconds(coverage, "covered"),
        .duration_ms = number(progress, "total_ms", 0),
        .progress_ms = number(progress, "done_ms", 0),
        .position = number(json, "position", -1),
        .attempt = number(json, "attempt", 0),
    };
    enum job_state state;
    if (!v.id || !v.status || !job_state_parse(v.status, &state))
        return err_set(err, ERR_UNAVAILABLE, "the server's answer is not about a job: is that a steno server?");
    v.ended = job_state_terminal(state);
    v.completed = state == JOB_COMPLETED;
    *ret = v;
    return 0;
}

int job_view_get(struct client *c, const char *id, json_t **ret, struct job_view *view, struct err *err)
{
    CLEANUP(buf_clear) struct buf path = BUF_INIT(4096);
    buf_adds(&path, "/v1/jobs/");
    client_add_escaped(&path, id);
    int rc = buf_check(&path, "the id", err);
    json_t *json = NULL;
    if (rc >= 0)
        rc = client_call(c, "GET", buf_str(&path), &json, err);
    if (rc >= 0)
        rc = job_view_read(json, view, err);
    if (rc < 0) {
        json_decref(json);
        return rc;
    }
    *ret = json;
    return 0;
}

static void add_line(struct buf *b, const char *name, const char *value)
{
    if (!value || !*value)
        return;
    buf_addf(b, "%-10s", name);
    str_add_printable(b, value);
    buf_addc(b, '\n');
}

void job_view_add(struct buf *b, const struct job_view *v)
{
    add_line(b, "job", v->id);
    add_line(b, "status", v->status);
    add_line(b, "file", v->filename);
    add_line(b, "queue", v->queue);
    if (v->position >= 0)
        buf_addf(b, "%-10s%lld before it\n", "position", (long long)v->position);
    add_line(b, "engine", v->engine);
    add_line(b, "model", v->model);
    add_line(b, "language", v->heard ? v->heard : v->language);
    if (v->duration_ms > 0) {
        buf_addf(b, "%-10s", "audio");
        str_add_duration(b, (double)v->progress_ms / 1000);
        buf_adds(b, " of ");
        str_add_duration(b, (double)v->duration_ms / 1000);
        buf_adds(b, " done\n");
    }
    if (v->speech_ms > 0) {
        buf_addf(b, "%-10s", "speech");
        str_add_duration(b, (double)v->speech_ms / 1000);
        buf_adds(b, ", of it transcribed ");
        str_add_duration(b, (double)v->covered_ms / 1000);
        buf_addc(b, '\n');
    }
    add_line(b, "warning", v->warning);
    add_line(b, "created", v->created_at);
    add_line(b, "started", v->started_at);
    add_line(b, "finished", v->finished_at);
    if (v->attempt > 1)
        buf_addf(b, "%-10s%lld\n", "attempt", (long long)v->attempt);
    add_line(b, "error", v->error_code);
    add_line(b, "", v->error_message);
}

void job_view_add_row(struct buf *b, const struct job_view *v)
{
    if (!v) {
        buf_addf(b, "%-36s  %-10s  %-24s  %9s  %s\n", "ID", "STATUS", "CREATED", "LENGTH", "FILE");
        return;
    }
    CLEANUP(buf_clear) struct buf length = BUF_INIT(64);
    if (v->duration_ms > 0)
        str_add_duration(&length, (double)v->duration_ms / 1000);
    buf_addf(b, "%-36s  %-10s  %-24s  %9s  ", v->id, v->status, v->created_at ? v->created_at : "", buf_str(&length));
    str_add_printable(b, v->filename ? v->filename : "");
    buf_addc(b, '\n');
}
