/* SPDX-License-Identifier: MIT */
/* steno queue list, pause, resume: on the server, which also wakes the workers. */
#include "base/str.h"
#include "cli/app.h"
#include "cli/client.h"

#include <jansson.h>
#include <stdlib.h>

enum { MAX_TEXT = 1 << 20 };

static const char *text(const json_t *json, const char *name)
{
    const char *v = json_string_value(json_object_get(json, name));
    return v ? v : "";
}

static int64_t number(const json_t *json, const char *name)
{
    return (int64_t)json_number_value(json_object_get(json, name));
}

static void add_row(struct buf *b, const json_t *queue)
{
    double oldest = json_number_value(json_object_get(queue, "oldest"));
    str_add_printable(b, text(queue, "name"));
    buf_addf(b, "  %s  ready %lld, delayed %lld", json_is_true(json_object_get(queue, "paused")) ? "paused" : "served",
             (long long)number(queue, "ready"), (long long)number(queue, "delayed"));
    if (oldest > 0) {
        buf_adds(b, ", oldest waits ");
        str_add_duration(b, oldest);
    }
    if (*text(queue, "paused_at")) {
        buf_adds(b, ", paused since ");
        str_add_printable(b, text(queue, "paused_at"));
    }
    buf_addc(b, '\n');
}

static int add_json(struct buf *b, const json_t *json, struct err *err)
{
    CLEANUP(free_p) char *whole = json_dumps(json, JSON_INDENT(2));
    if (!whole)
        return err_set(err, ERR_NOMEM, "no memory for the answer");
    buf_adds(b, whole);
    buf_addc(b, '\n');
    return 0;
}

int cmd_queue_list(struct app *app, int argc, char **argv, struct err *err)
{
    (void)argc;
    (void)argv;
    CLEANUP(buf_clear) struct buf b = BUF_INIT(MAX_TEXT);
    json_t *json = NULL, *queue;
    int rc = client_call(app->client, "GET", "/v1/queues", &json, err);
    if (rc < 0)
        return rc;
    size_t i;
    if (app_has(app, "json"))
        rc = add_json(&b, json, err);
    else
        json_array_foreach (json_object_get(json, "queues"), i, queue) {
            add_row(&b, queue);
        }
    json_decref(json);
    return rc < 0 ? rc : app_print(&b, err);
}

static int set_paused(struct app *app, const char *queue, const char *verb, struct err *err)
{
    CLEANUP(buf_clear) struct buf path = BUF_INIT(4096), b = BUF_INIT(4096);
    buf_adds(&path, "/v1/queues/");
    client_add_escaped(&path, queue);
    buf_addf(&path, "/%s", verb);
    json_t *json = NULL;
    int rc = buf_check(&path, "the name", err);
    if (rc >= 0)
        rc = client_call(app->client, "POST", buf_str(&path), &json, err);
    if (rc < 0)
        return rc;
    add_row(&b, json);
    json_decref(json);
    return app_print(&b, err);
}

static int pause_queue(struct app *app, const char *queue, struct err *err)
{
    return set_paused(app, queue, "pause", err);
}

static int resume_queue(struct app *app, const char *queue, struct err *err)
{
    return set_paused(app, queue, "resume", err);
}

int cmd_queue_pause(struct app *app, int argc, char **argv, struct err *err)
{
    return app_each(app, argc, argv, pause_queue, err);
}

int cmd_queue_resume(struct app *app, int argc, char **argv, struct err *err)
{
    return app_each(app, argc, argv, resume_queue, err);
}
