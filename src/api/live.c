/* SPDX-License-Identifier: MIT */
/*
 * How a request becomes a live connection: its socket is taken away from libmicrohttpd, which would keep 64 KB for it
 * and count it among its connections, and is given to the hub with the head of the answer as the first bytes to send.
 */
#include "api/live.h"

#include "api/cors.h"
#include "api/http.h"
#include "api/live_conn.h"
#include "api/server.h"
#include "base/str.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>

/* ---- refusals ---- */

static int refuse_handshake(struct request *rq, enum ws_verdict v)
{
    switch (v) {
    case WS_NO_UPGRADE:
        request_problem(rq, PROBLEM_upgrade_required, "this route speaks WebSocket: send a handshake (RFC 6455)");
        break;
    case WS_BAD_VERSION:
        request_problem(rq, PROBLEM_upgrade_required, "the only version of WebSocket that is spoken here is 13");
        break;
    case WS_BAD_KEY:
        return request_problem(rq, PROBLEM_bad_request, "Sec-WebSocket-Key must be 16 bytes in base64");
    case WS_FINE:
        return 0;
    }
    answer_header(&rq->answer, "Upgrade", "websocket");
    answer_header(&rq->answer, "Sec-WebSocket-Version", "13");
    return 0;
}

/* 1: answered with a refusal. */
static int shake_hands(struct request *rq)
{
    char accept[WS_ACCEPT_SIZE];
    const struct ws_handshake h = {
        .upgrade = http_header(rq, "Upgrade"),
        .connection = http_header(rq, "Connection"),
        .version = http_header(rq, "Sec-WebSocket-Version"),
        .key = http_header(rq, "Sec-WebSocket-Key"),
    };
    enum ws_verdict v = strcmp(rq->method, "GET") == 0 ? ws_accept(&h, accept) : WS_NO_UPGRADE;
    if (v != WS_FINE) {
        refuse_handshake(rq, v);
        return 1;
    }
    rq->answer.status = 101;
    answer_header(&rq->answer, "Upgrade", "websocket");
    answer_header(&rq->answer, "Connection", "Upgrade");
    answer_header(&rq->answer, "Sec-WebSocket-Accept", "%s", accept);
    return 0;
}

static void begin_events(struct request *rq)
{
    rq->answer.status = 200;
    rq->answer.content_type = "text/event-stream";
    answer_header(&rq->answer, "Connection", "close"); /* that is where the body ends */
    answer_header(&rq->answer, "X-Accel-Buffering", "no");
}

/* ---- taking over ---- */

/* Small messages go out at once, and a peer that vanished is noticed although nothing is sent to it for long. */
static void tune(int fd)
{
    const int on = 1, off = 0, stuck_ms = LIVE_STUCK_MS;
    /* Not on Unix sockets, and no loss where it fails. */
    (void)setsockopt(fd, IPPROTO_TCP, TCP_CORK, &off, sizeof off);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &stuck_ms, sizeof stuck_ms);
}

static int take_over(struct request *rq, const struct live_opts *o, struct err *err)
{
    CLEANUP(buf_clear) struct buf head = BUF_INIT(65536);
    http_head(rq, &head);
    int rc = buf_check(&head, "the head of the answer", err);
    if (rc < 0)
        return rc;
    int fd = http_take_socket(rq, err);
    if (fd < 0)
        return fd;
    tune(fd);
    struct conn *c = conn_new(rq->api, fd, o, head.data, head.len);
    if (!c) {
        close_fd(&fd);
        atomic_fetch_sub(&rq->api->live, 1);
    } else {
        conn_start(c);
    }
    return ROUTE_TAKEN; /* whatever came of it, the socket is gone */
}

int live_start(struct request *rq, const struct live_opts *o, struct err *err)
{
    struct api *api = rq->api;
    if (o->transport == LIVE_WEBSOCKET && !cors_websocket(api->o.cors_origins, rq->origin, rq->host))
        return request_problem(rq, PROBLEM_foreign_origin,
                               "pages of '%.100s' may not follow jobs here, which is '%.100s'; a proxy in between must "
                               "pass the Host header on",
                               rq->origin, rq->host ? rq->host : "");
    if (o->transport == LIVE_WEBSOCKET && shake_hands(rq))
        return 0;
    if (o->transport == LIVE_SSE)
        begin_events(rq);
    if (o->transport == LIVE_SSE && strcmp(rq->method, "HEAD") == 0)
        return 0;
    if (atomic_fetch_add(&api->live, 1) >= (int)api->o.live_max) {
        atomic_fetch_sub(&api->live, 1);
        return request_problem(rq, PROBLEM_overloaded, "%u live connections are open, which is as many as may be",
                               api->o.live_max);
    }
    int rc = take_over(rq, o, err);
    if (rc < 0)
        atomic_fetch_sub(&api->live, 1);
    return rc;
}

/* ---- the usual handlers ---- */

/* From the header that browsers send when they come back, to the address they were given at first; else from the query.
 */
static int read_since(struct request *rq, int64_t *ret, struct err *err)
{
    const char *last = http_header(rq, "Last-Event-ID");
    int64_t v;
    *ret = LIVE_FROM_NOW;
    if (query_get(&rq->query, "since")) {
        int rc = query_int(&rq->query, "since", 0, INT64_MAX, 0, ret, err);
        if (rc < 0)
            return rc;
    }
    if (last && str_to_i64(last, &v) && v >= 0)
        *ret = v;
    return 0;
}

int live_route_websocket(struct request *rq, const char *job_id, const struct live_format *f, struct err *err)
{
    struct live_opts o = {.job_id = job_id, .transport = LIVE_WEBSOCKET, .format = f};
    if (read_since(rq, &o.since, err) < 0)
        return request_error(rq, PROBLEM_bad_query, err);
    return live_start(rq, &o, err);
}

int live_route_events(struct request *rq, const char *job_id, const struct live_format *f, struct err *err)
{
    struct live_opts o = {.job_id = job_id, .transport = LIVE_SSE, .format = f};
    struct job_stand stand = {0};
    if (read_since(rq, &o.since, err) < 0)
        return request_error(rq, PROBLEM_bad_query, err);
    int rc = id_valid(job_id) ? store_stands(rq->api->o.store, &job_id, 1, &stand, err) : 0;
    if (rc < 0)
        return rc;
    if (!stand.found)
        return request_problem(rq, PROBLEM_job_not_found, "there is no job '%.64s'", job_id);
    /* A browser that has seen the end comes back all the same, unless it is told that there is nothing more. */
    if (http_header(rq, "Last-Event-ID") && job_state_terminal(stand.state) && o.since >= stand.seq) {
        rq->answer.status = 204;
        return 0;
    }
    return live_start(rq, &o, err);
}
