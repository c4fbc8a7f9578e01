/* SPDX-License-Identifier: MIT */
#include "cli/follow.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/stop.h"
#include "base/str.h"
#include "cli/bar.h"
#include "cli/sse.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    PAUSE_MIN_MS = 150,
    PAUSE_MAX_MS = 1000,
    AWAY_MS = 60000, /* so long a server may be away while we wait: a restart, an update */
    MUTE_MAX = 3,    /* after so many streams without an event none is tried any more */
};

struct follower {
    struct client *c;
    const char *id;
    const struct follow_opts *o;
    int64_t start_ms, heard_ms; /* by the monotonic clock */
    struct bar bar;
    char *label; /* of the bar, once the file's name is known */
    struct sse sse;
    int mute;            /* streams in a row that told nothing although the server was there */
    bool told;           /* this stream told something */
    bool told_to;        /* `chunk` failed: that is no fault of the stream */
    struct job_view now; /* its figures are the latest; its texts are gone */
    bool waits;          /* it is pending */
    json_t *ended;       /* the job at its end, and what it says */
    struct job_view view;
};

static void draw(struct follower *f)
{
    char state[64] = "transcribing ...";
    if (f->waits && f->now.position > 0)
        snprintf(state, sizeof state, "waiting: %lld before it ...", (long long)f->now.position);
    else if (f->waits)
        snprintf(state, sizeof state, "waiting ...");
    bar_update(&f->bar, f->now.progress_ms, f->now.duration_ms, state);
}

/* The job as a whole, by an event or by a look. `last`: nothing is told after that. */
static int take_job(struct follower *f, json_t *job, bool last, struct err *err)
{
    struct job_view v;
    int rc = job_view_read(job, &v, err);
    if (rc < 0)
        return rc;
    if (!f->label && v.filename)
        f->bar.label = f->label = xstrdup(v.filename);
    f->now = v;
    f->waits = str_eq(v.status, "pending");
    if (v.ended && last) {
        f->ended = json_incref(job);
        f->view = v;
    }
    return 0;
}

/* ---- by events ---- */

static int take_message(struct follower *f, json_t *m, struct err *err)
{
    const char *type = json_string_value(json_object_get(m, "type"));
    json_t *job = json_object_get(m, "job");
    if (!type)
        return err_set(err, ERR_UNAVAILABLE, "the server's event has no type: is that a steno server?");
    if (job)
        return take_job(f, job, str_eq(type, "end"), err);
    if (str_eq(type, "position")) {
        f->now.position = (int64_t)json_number_value(json_object_get(m, "position"));
    } else if (str_eq(type, "progress")) {
        const json_t *p = json_object_get(m, "progress");
        f->now.progress_ms = (int64_t)json_number_value(json_object_get(p, "done_ms"));
        f->now.duration_ms = (int64_t)json_number_value(json_object_get(p, "total_ms"));
    } else if (str_eq(type, "chunk") && f->o->chunk) {
        bar_clear(&f->bar);
        int rc = f->o->chunk(f->o->arg, m, err);
        f->told_to = rc < 0;
        return rc;
    }
    return 0;
}

static int on_event(void *arg, const char *data, size_t n, struct err *err)
{
    struct follower *f = arg;
    json_t *m = json_loadb(data, n, 0, NULL);
    if (!m)
        return err_set(err, ERR_UNAVAILABLE, "the server's event is not JSON: is that a steno server?");
    int rc = take_message(f, m, err);
    json_decref(m);
    if (rc < 0)
        return rc;
    f->told = true;
    f->mute = 0;
    if (f->ended)
        return err_set(err, ERR_CANCELLED, "the job has ended"); /* nothing comes after that */
    draw(f);
    return 0;
}

static int on_bytes(const void *p, size_t n, void *arg, struct err *err)
{
    struct follower *f = arg;
    return sse_feed(&f->sse, p, n, err);
}

/* What is left of the time-out; 0: there is none. */
static int64_t time_left(const struct follower *f)
{
    return f->o->timeout_ms ? MAX(f->start_ms + f->o->timeout_ms - clock_mono_ms(), 1) : 0;
}

/* One stream, as long as it lasts. Whatever ends it, the job has to be looked at then. Below 0: `chunk` failed. */
static int stream(struct follower *f, struct err *err)
{
    CLEANUP(buf_clear) struct buf path = BUF_INIT(4096);
    struct err why = ERR_INIT;
    buf_adds(&path, "/v1/jobs/");
    client_add_escaped(&path, f->id);
    buf_adds(&path, "/events");
    sse_restart(&f->sse);
    if (f->o->chunk && !*sse_last_id(&f->sse))
        buf_adds(&path, "?since=0");
    int rc = buf_check(&path, "the id", err);
    if (rc < 0)
        return rc;
    f->told = false;
    const struct client_events e = {.path = buf_str(&path),
                                    .last_id = sse_last_id(&f->sse),
                                    .timeout_ms = time_left(f),
                                    .sink = on_bytes,
                                    .arg = f};
    rc = client_events(f->c, &e, &why);
    if (rc < 0 && f->told_to) {
        *err = why;
        return rc;
    }
    if (f->told)
        f->heard_ms = clock_mono_ms();
    else if (rc == 0)
        f->mute++;
    /* Not to be reached is another matter than to be there and have no events that we can take. */
    if (rc == ERR_TOO_LARGE || (rc < 0 && rc != ERR_UNAVAILABLE && !f->told))
        f->mute = MUTE_MAX;
    return 0;
}

/* ---- by looking ---- */

static int look(struct follower *f, struct err *err)
{
    json_t *job = NULL;
    struct job_view v;
    int rc = job_view_get(f->c, f->id, &job, &v, err);
    if (rc < 0)
        return rc;
    rc = take_job(f, job, true, err);
    json_decref(job);
    f->heard_ms = clock_mono_ms();
    return rc;
}

/* 1: it may be tried again. */
static int after_a_look(struct follower *f, int rc, struct err *err)
{
    int64_t now = clock_mono_ms();
    if (rc >= 0)
        draw(f);
    else if (rc != ERR_CANCELLED && (!err_retryable(rc) || now - f->heard_ms > AWAY_MS))
        return rc;
    else
        bar_update(&f->bar, 0, 0, "the server is away, trying again ...");
    if (stop_requested())
        return err_set(err, ERR_CANCELLED, "interrupted; job %s goes on", f->id);
    if (f->o->timeout_ms && now - f->start_ms >= f->o->timeout_ms)
        return err_set(err, ERR_TIMEOUT, "job %s has not ended yet", f->id);
    return 1;
}

static int follow(struct follower *f, struct err *err)
{
    int64_t pause = PAUSE_MIN_MS;
    for (;;) {
        int rc = f->mute < MUTE_MAX ? stream(f, err) : 0;
        if (rc < 0 || f->ended)
            return f->ended ? 0 : rc;
        if (f->told)
            pause = PAUSE_MIN_MS;
        rc = after_a_look(f, stop_requested() ? 0 : look(f, err), err);
        if (rc < 0 || f->ended)
            return f->ended ? 0 : rc;
        int64_t wait = time_left(f);
        (void)poll(&(struct pollfd){.fd = stop_fd(), .events = POLLIN}, 1, (int)(wait ? MIN(pause, wait) : pause));
        pause = MIN(pause + pause / 4, PAUSE_MAX_MS);
    }
}

int follow_job(struct client *c, const char *id, const struct follow_opts *o, json_t **ret, struct job_view *view,
               struct err *err)
{
    int64_t now = clock_mono_ms();
    struct follower f = {.c = c, .id = id, .o = o, .start_ms = now, .heard_ms = now};
    bar_init(&f.bar, id, BAR_AUDIO_MS);
    f.bar.eager = true;
    sse_init(&f.sse, on_event, &f);
    int rc = follow(&f, err);
    bar_clear(&f.bar);
    if (rc >= 0) {
        *ret = f.ended;
        *view = f.view;
    } else {
        json_decref(f.ended);
    }
    sse_clear(&f.sse);
    free(f.label);
    return rc;
}
