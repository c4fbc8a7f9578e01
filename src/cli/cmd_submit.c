/* SPDX-License-Identifier: MIT */
/*
 * steno submit: streams recordings to a server. All are uploaded before the first is waited for, so that the server
 * works on several at a time.
 */
#include "base/mem.h"
#include "base/str.h"
#include "cli/app.h"
#include "cli/bar.h"
#include "cli/job_view.h"
#include "cli/transcript_get.h"
#include "job/options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct submit {
    struct app *app;
    struct transcript_form form;
    bool wait, several;
};

static void draw(int64_t sent, int64_t total, void *arg)
{
    bar_update(arg, sent, total, NULL);
}

/* *ret_id: caller frees. */
static int upload(struct submit *s, const char *file, char **ret_id, struct err *err)
{
    static const struct {
        const char *field, *flag;
        bool is_switch;
    } names[] = {{"engine", "engine", false},
                 {"model", "model", false},
                 {"language", "language", false},
                 {"task", "task", false},
                 {"queue", "queue", false},
                 {"prompt", "prompt", false},
                 {"description", "description", false},
#define X(kind, name, flag, arg, min, max, choices, help) {#name, flag, !(arg)},
                 JOB_OPTIONS(X)
#undef X
    };
    struct client_field fields[ARRAY_LEN(names)];
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        const char *value = app_flag(s->app, names[i].flag);
        fields[i] = (struct client_field){names[i].field, value && names[i].is_switch ? "true" : value};
    }
    const char *slash = strrchr(file, '/');
    struct bar bar;
    bar_init(&bar, slash ? slash + 1 : file, BAR_BYTES);
    struct client_upload u = {.path = "/v1/jobs",
                              .file = file,
                              .fields = fields,
                              .n_fields = ARRAY_LEN(fields),
                              .progress = draw,
                              .arg = &bar};
    json_t *json = NULL;
    struct job_view v;
    int rc = client_upload(s->app->client, &u, &json, err);
    bar_clear(&bar);
    if (rc >= 0)
        rc = job_view_read(json, &v, err);
    if (rc >= 0) {
        CLEANUP(buf_clear) struct buf b = BUF_INIT(1 << 20);
        if (app_has(s->app, "json")) {
            CLEANUP(free_p) char *text = json_dumps(json, JSON_COMPACT);
            buf_addf(&b, "%s\n", text ? text : "");
        } else if (!s->wait) {
            buf_addf(&b, "%s\n", v.id);
        }
        *ret_id = xstrdup(v.id);
        rc = app_print(&b, err);
    }
    json_decref(json);
    return rc;
}

static int wait_and_print(struct submit *s, const char *file, const char *id, struct err *err)
{
    json_t *json = NULL;
    struct job_view v;
    int rc = job_view_wait(s->app->client, id, 0, &json, &v, err);
    if (rc < 0)
        return rc;
    if (!v.completed) {
        err_set(err, ERR_INTERNAL, "'%s': job %s %s%s%s", file, id, v.status, v.error_message ? ": " : "",
                v.error_message ? v.error_message : "");
        app_complain(s->app->cmd, err);
        json_decref(json);
        return STATUS_JOB;
    }
    if (v.warning) {
        struct err e = ERR_INIT;
        err_set(&e, ERR_CORRUPT, "'%s': %s", file, v.warning);
        app_complain(s->app->cmd, &e);
    }
    json_decref(json);
    const char *to = app_flag(s->app, "output");
    if (s->several && !to) {
        CLEANUP(buf_clear) struct buf b = BUF_INIT(8192);
        buf_adds(&b, "==> ");
        str_add_printable(&b, file);
        buf_adds(&b, " <==\n");
        rc = app_print(&b, err);
    }
    return rc < 0 ? rc : transcript_get(s->app->client, id, &s->form, to, s->several && to, file, err);
}

/* Reports a failure of one file at once; the exit status it gives. */
static int outcome(const struct submit *s, int rc, const char *file, struct err *err)
{
    if (rc >= 0)
        return rc;
    if (s->several)
        err_wrap(err, "'%s'", file);
    app_complain(s->app->cmd, err);
    return (int)exit_status_of(rc);
}

int cmd_submit(struct app *app, int argc, char **argv, struct err *err)
{
    struct submit s = {.app = app, .wait = app_has(app, "wait"), .several = argc > 1};
    int rc = transcript_form(app, &s.form, err), first = STATUS_OK;
    if (rc < 0)
        return rc;
    if (!s.wait && (app_has(app, "format") || app_has(app, "output")))
        return err_set(err, ERR_INVALID, "--format and --output need --wait; or use 'steno result ID' later");
    char **ids = xcalloc((size_t)argc, sizeof *ids);
    for (int i = 0; i < argc && first != STATUS_INTERRUPTED; i++) {
        rc = outcome(&s, upload(&s, argv[i], &ids[i], err), argv[i], err);
        first = first ? first : rc;
        if (rc == STATUS_INTERRUPTED)
            first = rc;
    }
    for (int i = 0; s.wait && i < argc && first != STATUS_INTERRUPTED; i++) {
        if (!ids[i])
            continue;
        rc = outcome(&s, wait_and_print(&s, argv[i], ids[i], err), argv[i], err);
        first = first ? first : rc;
        if (rc == STATUS_INTERRUPTED)
            first = rc;
    }
    for (int i = 0; i < argc; i++)
        free(ids[i]);
    free(ids);
    return first;
}
