/* SPDX-License-Identifier: MIT */
/*
 * steno health: is the service well? Asks the api, which probes every part; an api that does not answer is itself the
 * answer. What a part tells of itself is shown as it comes, so that a new one needs nothing here; workers get lines.
 */
#include "base/mem.h"
#include "base/str.h"
#include "cli/app.h"
#include "cli/client.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_TEXT = 16 << 20 };

static const char *text(const json_t *json, const char *name)
{
    const char *v = json_string_value(json_object_get(json, name));
    return v ? v : "";
}

static int64_t number(const json_t *json, const char *name)
{
    return (int64_t)json_number_value(json_object_get(json, name));
}

/* "free_bytes" with 13169623040 is "free 12560 MB", others are "name number". */
static void add_number(struct buf *b, const char *name, const json_t *v)
{
    size_t n = strlen(name), unit = strlen("_bytes");
    if (n > unit && strcmp(name + n - unit, "_bytes") == 0)
        buf_addf(b, "%.*s %lld MB", (int)(n - unit), name, (long long)json_number_value(v) >> 20);
    else
        buf_addf(b, "%s %lld", name, (long long)json_number_value(v));
}

/* "connections: max 16, open 3; free 12560 MB": the numbers of an object, and of the objects in it. */
static void add_figures(struct buf *b, json_t *part, bool inner)
{
    const char *name, *between = "";
    json_t *v;
    json_object_foreach (part, name, v) {
        if (!json_is_number(v) && (inner || !json_is_object(v)))
            continue;
        if (!inner && strcmp(name, "latency_ms") == 0)
            continue;
        buf_adds(b, between);
        between = inner ? ", " : "; ";
        if (json_is_number(v)) {
            add_number(b, name, v);
            continue;
        }
        str_add_printable(b, name);
        buf_adds(b, ": ");
        add_figures(b, v, true);
    }
}

static void add_worker(struct buf *b, const json_t *w)
{
    const json_t *info = json_object_get(w, "info");
    buf_adds(b, "  worker    ");
    str_add_printable(b, text(w, "host"));
    buf_addf(b, " pid %lld  ", (long long)number(w, "pid"));
    str_add_printable(b, text(w, "state"));
    buf_addf(b, ", %lld of %lld jobs, %lld slots", (long long)number(w, "running"),
             (long long)number(info, "concurrency"), (long long)number(info, "slots"));
    const char *name;
    json_t *model;
    json_object_foreach (json_object_get(info, "engines"), name, model) {
        buf_adds(b, ", ");
        str_add_printable(b, name);
        if (json_is_string(model)) {
            buf_addc(b, ' ');
            str_add_printable(b, json_string_value(model));
        }
    }
    buf_adds(b, ", version ");
    str_add_printable(b, text(w, "version"));
    buf_adds(b, ", since ");
    str_add_printable(b, text(w, "started_at"));
    buf_addc(b, '\n');
}

static void add_part(struct buf *b, const char *name, json_t *part)
{
    bool ok = json_is_true(json_object_get(part, "ok"));
    buf_adds(b, "  ");
    str_add_printable(b, name);
    for (size_t n = strlen(name); n < 10; n++)
        buf_addc(b, ' ');
    buf_adds(b, ok ? "ok  " : "DOWN");
    if (json_object_get(part, "latency_ms"))
        buf_addf(b, "  %4lld ms  ", (long long)number(part, "latency_ms"));
    add_figures(b, part, false);
    size_t i;
    json_t *w, *paused = json_object_get(part, "paused_queues");
    json_array_foreach (paused, i, w) {
        buf_adds(b, i ? ", " : "; paused: ");
        str_add_printable(b, json_is_string(w) ? json_string_value(w) : "?");
    }
    if (!ok) {
        buf_adds(b, "\n            ");
        str_add_printable(b, text(part, "error"));
    }
    buf_addc(b, '\n');
    json_array_foreach (json_object_get(part, "workers"), i, w) {
        add_worker(b, w);
    }
}

static void add_report(struct buf *b, const struct app *app, const json_t *health)
{
    str_add_printable(b, text(health, "status"));
    buf_adds(b, "  ");
    str_add_printable(b, client_base(app->client));
    if (*text(health, "version")) {
        buf_adds(b, " version ");
        str_add_printable(b, text(health, "version"));
    }
    buf_addc(b, '\n');
    const char *name;
    json_t *part;
    json_object_foreach (json_object_get(health, "parts"), name, part) {
        add_part(b, name, part);
    }
}

/* In the shape of the server's answer. */
static json_t *nobody_there(const struct err *why)
{
    return json_pack("{s:s, s:{s:{s:b, s:s}}}", "status", "down", "parts", "api", "ok", 0, "error", why->msg);
}

int cmd_health(struct app *app, int argc, char **argv, struct err *err)
{
    (void)argc;
    (void)argv;
    CLEANUP(buf_clear) struct buf b = BUF_INIT(MAX_TEXT);
    struct err away = ERR_INIT;
    json_t *health = NULL;
    int rc = client_call(app->client, "GET", "/admin/health", &health, &away);
    if (rc == ERR_CANCELLED || rc == ERR_INVALID) {
        *err = away;
        return rc;
    }
    if (rc >= 0 && !json_is_object(json_object_get(health, "parts"))) {
        rc = err_set(&away, ERR_UNAVAILABLE, "its answer is not about health: is that a steno server?");
        json_decref(health);
        health = NULL;
    }
    if (rc < 0)
        health = nobody_there(&away);
    if (!health)
        return err_set(err, ERR_NOMEM, "no memory for the answer");
    bool ok = strcmp(text(health, "status"), "ok") == 0;
    if (app_has(app, "json")) {
        CLEANUP(free_p) char *json = json_dumps(health, JSON_INDENT(2));
        buf_adds(&b, json ? json : "{}");
        buf_addc(&b, '\n');
    } else {
        add_report(&b, app, health);
    }
    json_decref(health);
    rc = app_print(&b, err);
    return rc < 0 ? rc : ok ? STATUS_OK : STATUS_FAILED;
}
