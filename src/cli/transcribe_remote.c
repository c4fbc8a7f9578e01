/* SPDX-License-Identifier: MIT */
/*
 * All recordings are sent before the first is waited for, so that the server works on several at a time; their texts
 * are printed in the order of the command line. What is asked for goes with the jobs when it stands on the command
 * line; all else is as the server's settings say. The jobs stay on the server, except that Ctrl-C cancels those that
 * have not ended, whose texts nobody waits for any more.
 */
#include "cli/transcribe_remote.h"

#include "base/mem.h"
#include "base/stop.h"
#include "base/str.h"
#include "cli/flags.h"
#include "cli/input.h"
#include "cli/media.h"
#include "cli/output.h"
#include "cli/remote.h"
#include "job/options.h"
#include "worker/temp.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Fields of a submission; which are settings here and which are flags of the command. */
static const struct field {
    const char *name, *flag; /* NULL: a setting of the same name */
} fields[] = {{"engine", NULL},
              {"model", NULL},
              {"language", NULL},
              {"task", "task"},
              {"prompt", "prompt"},
#define X(kind, name, flag, arg, min, max, choices, help) {#name, NULL},
              JOB_OPTIONS_WITH_SETTING(X)
#undef X
#define X(kind, name, flag, arg, min, max, choices, help) {#name, flag},
                  JOB_OPTIONS_OF_ONE_JOB(X)
#undef X
};

/* Settings that matter here although they are none of the job. */
static const char *const ours[] = {"server", "data", "listen", "temp", "log_level", "log_format"};

struct session {
    struct app *app;
    struct transcript_form form;
    const char *to;
    bool several, folder;
    struct client_field fields[ARRAY_LEN(fields)];
    struct temp *temp;
    struct outputs outputs;
};

bool transcribe_remote_asked(const struct app *app)
{
    return app_setting_given(app, "server") != NULL;
}

static bool has_effect(const char *setting, size_t n)
{
    for (size_t i = 0; i < ARRAY_LEN(ours); i++)
        if (strlen(ours[i]) == n && strncmp(ours[i], setting, n) == 0)
            return true;
    for (size_t i = 0; i < ARRAY_LEN(fields); i++)
        if (!fields[i].flag && strlen(fields[i].name) == n && strncmp(fields[i].name, setting, n) == 0)
            return true;
    return false;
}

static int take_fields(struct session *s, struct err *err)
{
    char *const *given = s->app->flags->conf;
    for (size_t i = 0; i < s->app->flags->n_conf; i++) {
        size_t n = strcspn(given[i], "=");
        if (!has_effect(given[i], n))
            return err_set(err, ERR_INVALID, "the setting '%.*s' has no effect with --server: the server's own counts",
                           (int)n, given[i]);
    }
    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        const char *value =
            fields[i].flag ? app_flag(s->app, fields[i].flag) : app_setting_given(s->app, fields[i].name);
        s->fields[i] = (struct client_field){fields[i].name, value && *value ? value : NULL};
    }
    return 0;
}

/* *ret_id: caller frees. */
static int send_one(struct session *s, const char *file, char **ret_id, struct err *err)
{
    CLEANUP(free_p) char *out = output_path(s->to, s->folder, file, format_info(s->form.format)->ending);
    CLEANUP(free_p) char *path = NULL;
    bool ours_to_remove = false;
    json_t *json = NULL;
    struct job_view v;
    int rc = outputs_claim(&s->outputs, out, file, err);
    if (rc >= 0)
        rc = input_find(file, temp_path(s->temp), NULL, &path, &ours_to_remove, err);
    if (rc >= 0) {
        const char *slash = strrchr(file, '/');
        const struct remote_file f = {.file = path,
                                      .name = strcmp(file, "-") == 0 ? "stdin"
                                              : ours_to_remove       ? (slash ? slash + 1 : file)
                                                                     : NULL,
                                      .fields = s->fields,
                                      .n_fields = ARRAY_LEN(s->fields)};
        rc = remote_submit(s->app->client, &f, &json, &v, err);
    }
    if (rc >= 0)
        *ret_id = xstrdup(v.id);
    json_decref(json);
    if (ours_to_remove)
        unlink(path);
    return rc < 0 ? err_wrap(err, "'%s'", file) : 0;
}

static int finish_one(struct session *s, const char *file, const char *id, struct err *err)
{
    const struct remote_result r = {.id = id,
                                    .file = file,
                                    .form = &s->form,
                                    .to = s->to,
                                    .folder = s->folder,
                                    .headline = s->several && !s->to,
                                    .live = s->form.format == FORMAT_TXT && (!s->to || strcmp(s->to, "-") == 0)};
    int rc = remote_finish(s->app, &r, err);
    return rc < 0 ? err_wrap(err, "'%s'", file) : rc;
}

/* Nobody waits for these any more. */
static void cancel_jobs(struct session *s, int n, char **ids)
{
    client_last_words(s->app->client);
    for (int i = 0; i < n; i++) {
        CLEANUP(buf_clear) struct buf path = BUF_INIT(4096);
        struct err err = ERR_INIT;
        if (!ids[i])
            continue;
        buf_adds(&path, "/v1/jobs/");
        client_add_escaped(&path, ids[i]);
        int rc = buf_check(&path, "the id", &err);
        if (rc >= 0)
            rc = client_call(s->app->client, "DELETE", buf_str(&path), NULL, &err);
        if (rc < 0) {
            err_wrap(&err, "job %s was not cancelled", ids[i]);
            app_complain(s->app->cmd, &err);
            return; /* the others have no better chance */
        }
    }
}

/* Reports a failure; what it makes of the exit status so far. */
static int outcome(const struct session *s, int status, int rc, const struct err *err)
{
    if (rc < 0 && !stop_requested())
        app_complain(s->app->cmd, err);
    if (stop_requested())
        return STATUS_INTERRUPTED;
    if (status != STATUS_OK || rc == STATUS_OK)
        return status;
    return rc < 0 && exit_status_of(rc) == STATUS_UNAVAILABLE ? STATUS_UNAVAILABLE : STATUS_FAILED;
}

static int all(struct session *s, int argc, char **argv)
{
    char **ids = xcalloc((size_t)argc, sizeof *ids);
    int status = STATUS_OK;
    for (int i = 0; i < argc && status != STATUS_INTERRUPTED; i++) {
        struct err err = ERR_INIT;
        status = outcome(s, status, send_one(s, argv[i], &ids[i], &err), &err);
    }
    for (int i = 0; i < argc && status != STATUS_INTERRUPTED; i++) {
        struct err err = ERR_INIT;
        if (!ids[i])
            continue;
        status = outcome(s, status, finish_one(s, argv[i], ids[i], &err), &err);
        if (status == STATUS_INTERRUPTED)
            break;
        free(ids[i]);
        ids[i] = NULL;
    }
    if (status == STATUS_INTERRUPTED)
        cancel_jobs(s, argc, ids);
    for (int i = 0; i < argc; i++)
        free(ids[i]);
    free(ids);
    return status;
}

int transcribe_remote(struct app *app, int argc, char **argv, struct err *err)
{
    struct session s = {.app = app, .to = app_flag(app, "output"), .several = argc > 1};
    s.folder = output_is_folder(s.to, s.several);
    outputs_init(&s.outputs, (size_t)argc);
    int removed = 0, rc = transcript_form(app, &s.form, err);
    if (rc >= 0)
        rc = take_fields(&s, err);
    if (rc >= 0)
        rc = app_open_client(app, err);
    if (rc >= 0)
        rc = temp_sweep(media_scratch(app->conf), &removed, err);
    if (rc >= 0)
        rc = temp_open(media_scratch(app->conf), &s.temp, err);
    if (rc >= 0)
        rc = all(&s, argc, argv);
    temp_close(s.temp);
    outputs_clear(&s.outputs);
    return rc;
}
