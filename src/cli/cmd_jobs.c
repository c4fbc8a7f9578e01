/* SPDX-License-Identifier: MIT */
/* steno status, wait, result, jobs, cancel: thin clients of the HTTP API. */
#include "base/str.h"
#include "cli/app.h"
#include "cli/follow.h"
#include "cli/job_view.h"
#include "cli/output.h"
#include "cli/transcript_get.h"
#include "job/job.h"

#include <stdlib.h>

enum { MAX_TEXT = 16 << 20, DEFAULT_LIMIT = 20, MAX_LIMIT = 1000 };

static int print_json(const json_t *json, struct err *err)
{
    CLEANUP(buf_clear) struct buf b = BUF_INIT(64 << 20);
    CLEANUP(free_p) char *text = json_dumps(json, JSON_INDENT(2));
    if (!text)
        return err_set(err, ERR_NOMEM, "no memory for the answer");
    buf_adds(&b, text);
    buf_addc(&b, '\n');
    return app_print(&b, err);
}

static int status(struct app *app, const char *id, struct err *err)
{
    json_t *json = NULL;
    struct job_view v;
    int rc = job_view_get(app->client, id, &json, &v, err);
    if (rc < 0)
        return rc;
    if (app_has(app, "json")) {
        rc = print_json(json, err);
    } else {
        CLEANUP(buf_clear) struct buf b = BUF_INIT(MAX_TEXT);
        job_view_add(&b, &v);
        rc = app_print(&b, err);
    }
    json_decref(json);
    return rc;
}

int cmd_status(struct app *app, int argc, char **argv, struct err *err)
{
    return app_each(app, argc, argv, status, err);
}

static int wait_for(struct app *app, const char *id, struct err *err)
{
    int64_t timeout_ms = 0;
    const char *timeout = app_flag(app, "timeout");
    if (timeout && !str_to_duration_ms(timeout, 1000, &timeout_ms))
        return err_set(err, ERR_INVALID, "--timeout takes a time such as 10m, not '%s'", timeout);
    json_t *json = NULL;
    struct job_view v;
    int rc = follow_job(app->client, id, &(struct follow_opts){.timeout_ms = timeout_ms}, &json, &v, err);
    if (rc < 0)
        return rc;
    bool completed = v.completed;
    if (app_has(app, "json")) {
        rc = print_json(json, err);
    } else if (!app_has(app, "quiet")) {
        CLEANUP(buf_clear) struct buf b = BUF_INIT(MAX_TEXT);
        buf_addf(&b, "%s %s", v.id, v.status);
        if (v.error_message) {
            buf_adds(&b, ": ");
            str_add_printable(&b, v.error_message);
        }
        buf_addc(&b, '\n');
        rc = app_print(&b, err);
    }
    json_decref(json);
    return rc < 0 ? rc : completed ? STATUS_OK : STATUS_JOB;
}

int cmd_wait(struct app *app, int argc, char **argv, struct err *err)
{
    return app_each(app, argc, argv, wait_for, err);
}

int cmd_result(struct app *app, int argc, char **argv, struct err *err)
{
    (void)argc;
    struct transcript_form form;
    int rc = transcript_form(app, &form, err);
    if (rc < 0)
        return rc;
    return transcript_get(app->client, argv[0], &form, app_flag(app, "output"), false, argv[0], err);
}

int cmd_jobs(struct app *app, int argc, char **argv, struct err *err)
{
    (void)argc;
    (void)argv;
    const char *state = app_flag(app, "status");
    enum job_state parsed;
    int64_t limit = 0;
    if (state && !job_state_parse(state, &parsed))
        return err_set(err, ERR_INVALID, "--status is pending, processing, completed, failed or cancelled, not '%s'",
                       state);
    int rc = app_flag_int(app, "limit", 1, MAX_LIMIT, DEFAULT_LIMIT, &limit, err);
    if (rc < 0)
        return rc;
    CLEANUP(buf_clear) struct buf path = BUF_INIT(8192), b = BUF_INIT(MAX_TEXT);
    buf_addf(&path, "/v1/jobs?limit=%lld", (long long)limit);
    client_add_query(&path, "status", state);
    client_add_query(&path, "cursor", app_flag(app, "cursor"));
    rc = buf_check(&path, "the request", err);
    json_t *json = NULL;
    if (rc >= 0)
        rc = client_call(app->client, "GET", buf_str(&path), &json, err);
    if (rc < 0)
        return rc;
    if (app_has(app, "json")) {
        rc = print_json(json, err);
        json_decref(json);
        return rc;
    }
    const json_t *jobs = json_object_get(json, "jobs");
    const char *next = json_string_value(json_object_get(json, "next_cursor"));
    if (json_array_size(jobs))
        job_view_add_row(&b, NULL);
    else
        buf_adds(&b, "No jobs.\n");
    for (size_t i = 0; i < json_array_size(jobs) && rc >= 0; i++) {
        struct job_view v;
        rc = job_view_read(json_array_get(jobs, i), &v, err);
        if (rc >= 0)
            job_view_add_row(&b, &v);
    }
    if (next)
        buf_addf(&b, "More: --cursor %s\n", next);
    if (rc >= 0)
        rc = app_print(&b, err);
    json_decref(json);
    return rc;
}

static int cancel(struct app *app, const char *id, struct err *err)
{
    CLEANUP(buf_clear) struct buf path = BUF_INIT(4096), b = BUF_INIT(4096);
    bool purge = app_has(app, "purge");
    buf_adds(&path, "/v1/jobs/");
    client_add_escaped(&path, id);
    buf_adds(&path, purge ? "?purge=true" : "");
    int rc = buf_check(&path, "the id", err);
    json_t *json = NULL;
    if (rc >= 0)
        rc = client_call(app->client, "DELETE", buf_str(&path), &json, err);
    if (rc < 0)
        return rc;
    /* A job that had ended before stays what it was. */
    const char *state = json_string_value(json_object_get(json, "status"));
    buf_addf(&b, "%s %s\n", id, purge ? "removed" : state ? state : "cancelled");
    rc = app_print(&b, err);
    json_decref(json);
    return rc;
}

int cmd_cancel(struct app *app, int argc, char **argv, struct err *err)
{
    return app_each(app, argc, argv, cancel, err);
}
