/* SPDX-License-Identifier: MIT */
/*
 * A waiting request keeps its task (http.h), so that the server does not stop over it; what it does not keep is a
 * thread or a place among the handlers. The hub watches its socket, which libmicrohttpd does not while it is suspended,
 * and lets go of it before the request is resumed: after that the socket may close at any time.
 */
#include "api/wait.h"

#include "api/http.h"
#include "api/hub_internal.h"
#include "api/server.h"
#include "base/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>

struct wait {
    struct sub sub; /* the hub's, from wait_begin until it ends */
    struct post post;
    struct request *rq;
    char job_id[ID_SIZE];
    int64_t until_ms;
    wait_fn then;
    enum wait_end end;
};

/* ---- the hub's thread ---- */

static void finish(struct wait *w, enum wait_end end)
{
    w->end = end;
    sub_end(&w->sub);
}

static void on_ready(struct sub *s, unsigned epoll_events)
{
    (void)epoll_events;
    finish(CONTAINER_OF(s, struct wait, sub), WAIT_CLIENT_LEFT);
}

static void on_moved(struct sub *s)
{
    const struct job_stand *st = &s->channel->stand;
    if (!st->found || job_state_terminal(st->state))
        finish(CONTAINER_OF(s, struct wait, sub), WAIT_JOB_ENDED);
}

static void on_late(struct sub *s)
{
    finish(CONTAINER_OF(s, struct wait, sub), WAIT_TIMED_OUT);
}

static void on_drain(struct sub *s)
{
    finish(CONTAINER_OF(s, struct wait, sub), WAIT_SERVER_STOPS);
}

static void then_task(void *arg)
{
    struct wait *w = arg;
    struct request *rq = w->rq;
    struct err err = ERR_INIT;
    struct log_scope before = log_scope_swap(request_scope(rq));
    wait_fn then = w->then;
    enum wait_end end = w->end;
    rq->wait = NULL;
    wait_free(w);
    http_handled(rq, then(rq, end, &err), &err);
    log_scope_swap(before);
}

static void on_free(struct sub *s)
{
    struct wait *w = CONTAINER_OF(s, struct wait, sub);
    http_run_storing(w->rq, then_task, w);
}

static const struct sub_ops ops = {
    .ready = on_ready, .moved = on_moved, .late = on_late, .drain = on_drain, .free = on_free};

static void on_begin(struct hub *h, struct post *p)
{
    struct wait *w = CONTAINER_OF(p, struct wait, post);
    struct err err = ERR_INIT;
    /* Neither input nor output is waited for: only the end of the connection. */
    if (sub_start(h, &w->sub, w->job_id, EPOLLRDHUP, w->until_ms, &err) >= 0)
        return;
    log_warn(&w->rq->log, "cannot wait for the job: %s", err.msg);
    w->end = WAIT_TIMED_OUT;
    on_free(&w->sub);
}

/* ---- pool threads ---- */

int request_wait(struct request *rq, const char *job_id, int64_t timeout_ms, wait_fn then, struct err *err)
{
    struct wait *w = calloc(1, sizeof *w);
    if (!w)
        return err_set(err, ERR_NOMEM, "no memory to wait for a job");
    w->rq = rq;
    w->then = then;
    w->until_ms = clock_mono_ms() + CLAMP(timeout_ms, 0, INT32_MAX);
    snprintf(w->job_id, sizeof w->job_id, "%s", job_id);
    wait_free(rq->wait);
    rq->wait = w;
    return ROUTE_WAITS;
}

void wait_begin(struct request *rq)
{
    struct wait *w = rq->wait;
    w->sub.ops = &ops;
    w->sub.fd = http_socket(rq);
    w->post.run = on_begin;
    hub_post(rq->api->hub, &w->post);
}

void wait_free(struct wait *w)
{
    free(w);
}
