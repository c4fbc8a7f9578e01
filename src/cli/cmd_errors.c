/* SPDX-License-Identifier: MIT */
/* steno errors list, show, retry, resolve: on the database, so that they work with the server away too. */
#include "base/clock.h"
#include "base/id.h"
#include "base/str.h"
#include "broker/broker.h"
#include "cli/app.h"
#include "job/store.h"

#include <stdio.h>
#include <string.h>

enum { MAX_TEXT = 16 << 20, DEFAULT_LIMIT = 20, MAX_LIMIT = 1000 };

static void add_time(struct buf *b, const char *name, int64_t ms)
{
    char when[TIME_ISO_SIZE];
    time_iso(ms, when);
    buf_addf(b, ",\"%s\":\"%s\"", name, when);
}

static void add_text(struct buf *b, const char *name, const char *value)
{
    buf_addf(b, ",\"%s\":", name);
    if (value)
        str_add_json(b, value);
    else
        buf_adds(b, "null");
}

static void add_json(struct buf *b, const struct job_error *e)
{
    buf_adds(b, "{\"id\":");
    str_add_json(b, e->id);
    add_text(b, "job_id", e->job_id);
    add_text(b, "filename", e->filename);
    add_text(b, "error_class", e->error_class);
    add_text(b, "message", e->message);
    add_text(b, "stage", e->stage);
    add_text(b, "detail", e->detail);
    add_text(b, "worker", e->worker);
    buf_addf(b, ",\"attempt\":%d,\"dead\":%s,\"resolved\":%s", e->attempt, e->dead ? "true" : "false",
             e->resolved ? "true" : "false");
    add_time(b, "created_at", e->created_at);
    if (e->resolved)
        add_time(b, "resolved_at", e->resolved_at);
    buf_addc(b, '}');
}

static const char *kind(const struct job_error *e)
{
    return e->resolved ? "resolved" : e->dead ? "dead" : "retried";
}

int cmd_errors_list(struct app *app, int argc, char **argv, struct err *err)
{
    (void)argc;
    (void)argv;
    CLEANUP(arena_clear) struct arena a = ARENA_INIT;
    CLEANUP(buf_clear) struct buf b = BUF_INIT(MAX_TEXT);
    struct error_filter f = {
        .all = app_has(app, "all"), .job_id = app_flag(app, "job"), .cursor = app_flag(app, "cursor")};
    int64_t limit = 0;
    int rc = app_flag_int(app, "limit", 1, MAX_LIMIT, DEFAULT_LIMIT, &limit, err);
    if (rc < 0)
        return rc;
    f.limit = (int)limit;
    struct error_page page;
    rc = store_list_errors(app->store, &f, &a, &page, err);
    if (rc < 0)
        return rc;
    bool json = app_has(app, "json");
    if (json)
        buf_adds(&b, "{\"errors\":[");
    for (size_t i = 0; i < page.n; i++) {
        const struct job_error *e = &page.errors[i];
        if (json) {
            buf_adds(&b, i ? "," : "");
            add_json(&b, e);
            continue;
        }
        char when[TIME_ISO_SIZE];
        time_iso(e->created_at, when);
        buf_addf(&b, "%s  %s  %-8s  job %s  ", e->id, when, kind(e), e->job_id);
        str_add_printable(&b, e->filename ? e->filename : "");
        buf_addf(&b, "\n    %s at %s: ", e->error_class, e->stage);
        str_add_printable(&b, e->message);
        buf_addc(&b, '\n');
    }
    if (json) {
        buf_addc(&b, ']');
        add_text(&b, "next", page.next);
        buf_adds(&b, "}\n");
    } else if (page.next) {
        buf_addf(&b, "More: --cursor %s\n", page.next);
    } else if (!page.n) {
        buf_adds(&b, "No errors.\n");
    }
    return app_print(&b, err);
}

static void add_line(struct buf *b, const char *name, const char *value)
{
    if (!value || !*value)
        return;
    buf_addf(b, "%-10s", name);
    str_add_printable(b, value);
    buf_addc(b, '\n');
}

int cmd_errors_show(struct app *app, int argc, char **argv, struct err *err)
{
    (void)argc;
    CLEANUP(arena_clear) struct arena a = ARENA_INIT;
    CLEANUP(buf_clear) struct buf b = BUF_INIT(MAX_TEXT);
    struct job_error e;
    int rc = store_get_error(app->store, argv[0], &a, &e, err);
    if (rc < 0)
        return rc;
    if (app_has(app, "json")) {
        add_json(&b, &e);
        buf_addc(&b, '\n');
        return app_print(&b, err);
    }
    char when[TIME_ISO_SIZE], attempt[16];
    time_iso(e.created_at, when);
    snprintf(attempt, sizeof attempt, "%d", e.attempt);
    add_line(&b, "error", e.id);
    add_line(&b, "job", e.job_id);
    add_line(&b, "file", e.filename);
    add_line(&b, "state", kind(&e));
    add_line(&b, "when", when);
    add_line(&b, "class", e.error_class);
    add_line(&b, "stage", e.stage);
    add_line(&b, "attempt", attempt);
    add_line(&b, "worker", e.worker);
    add_line(&b, "message", e.message);
    if (e.detail && *e.detail) {
        buf_adds(&b, "detail\n");
        /* What a program printed: its lines stay lines. */
        for (const char *p = e.detail; *p;) {
            size_t n = strcspn(p, "\n");
            CLEANUP(buf_clear) struct buf line = BUF_INIT(MAX_TEXT);
            buf_add(&line, p, n);
            buf_adds(&b, "    ");
            str_add_printable(&b, buf_str(&line));
            buf_addc(&b, '\n');
            p += n + (p[n] == '\n');
        }
    }
    return app_print(&b, err);
}

/* The job is due again: tells workers and watchers. They find it without, only later. */
static void announce(struct app *app, const char *job_id, int64_t seq)
{
    CLEANUP(arena_clear) struct arena a = ARENA_INIT;
    struct err err = ERR_INIT;
    struct job job;
    if (store_get(app->store, job_id, &a, &job, &err) < 0)
        return;
    struct event event = {.seq = seq, .type = "state", .json = "{\"state\":\"pending\"}"};
    snprintf(event.job_id, sizeof event.job_id, "%s", job_id);
    struct token token = {job_queue_name(job.queue), job.id, job.audio_key, job.language, job.model};
    if (broker_send_token(app->broker, &token, &err) < 0 || store_mark_announced(app->store, job_id, &err) < 0 ||
        broker_send_event(app->broker, &event, &err) < 0)
        log_debug(&app->log, "not announced: %s", err.msg);
}

static int retry(struct app *app, const char *id, struct err *err)
{
    CLEANUP(arena_clear) struct arena a = ARENA_INIT;
    struct job_error e;
    struct err not_an_error = ERR_INIT;
    int rc = store_get_error(app->store, id, &a, &e, &not_an_error);
    const char *job_id = rc >= 0 ? e.job_id : id;
    int64_t seq = 0;
    rc = store_retry_failed(app->store, job_id, &seq, err);
    if (rc < 0)
        return err_wrap(err, "'%s'", id);
    announce(app, job_id, seq);
    CLEANUP(buf_clear) struct buf b = BUF_INIT(4096);
    buf_addf(&b, "%s is pending again\n", job_id);
    return app_print(&b, err);
}

static int resolve(struct app *app, const char *id, struct err *err)
{
    int rc = store_resolve_error(app->store, id, err);
    if (rc < 0)
        return err_wrap(err, "'%s'", id);
    CLEANUP(buf_clear) struct buf b = BUF_INIT(4096);
    buf_addf(&b, "%s is resolved\n", id);
    return app_print(&b, err);
}

int cmd_errors_retry(struct app *app, int argc, char **argv, struct err *err)
{
    return app_each(app, argc, argv, retry, err);
}

int cmd_errors_resolve(struct app *app, int argc, char **argv, struct err *err)
{
    return app_each(app, argc, argv, resolve, err);
}
