/* SPDX-License-Identifier: MIT */
/*
 * steno submit: streams recordings to a server. All are uploaded before the first is waited for, so that the server
 * works on several at a time.
 */
#include "base/mem.h"
#include "cli/app.h"
#include "cli/remote.h"
#include "job/options.h"

#include <stdlib.h>

struct submit {
    struct app *app;
    struct transcript_form form;
    bool wait, several;
};

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
    const struct remote_file f = {.file = file, .fields = fields, .n_fields = ARRAY_LEN(fields)};
    json_t *json = NULL;
    struct job_view v;
    int rc = remote_submit(s->app->client, &f, &json, &v, err);
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
    const char *to = app_flag(s->app, "output");
    const struct remote_result r = {
        .id = id, .file = file, .form = &s->form, .to = to, .folder = s->several && to, .headline = s->several && !to};
    return remote_finish(s->app, &r, err);
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
