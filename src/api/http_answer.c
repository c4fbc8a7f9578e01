/* SPDX-License-Identifier: MIT */
/*
 * How an answer goes out: by libmicrohttpd, before or after the body; or past it, straight to the socket, while the
 * body is still coming in.
 */
#include "api/http.h"
#include "api/http_internal.h"

#include "api/cors.h"
#include "api/server.h"
#include "base/clock.h"
#include "base/str.h"

#include <microhttpd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

enum { LINGER_MS = 20000 };

static void common_headers(struct request *rq)
{
    struct answer *a = &rq->answer;
    answer_header(a, "X-Request-Id", "%s", rq->id);
    /* What has a tag may be kept by the client, who asks whether it is still right before using it. */
    answer_header(a, "Cache-Control", "%s", answer_has_header(a, "ETag") ? "private, no-cache" : "no-store");
    answer_header(a, "X-Content-Type-Options", "nosniff");
    cors_answer(a, rq->api->o.cors_origins, rq->origin);
    if (a->content_type)
        answer_header(a, "Content-Type", "%s", a->content_type);
}

/* What is part of the program is not freed. */
static void keep(void *constant)
{
    (void)constant;
}

enum MHD_Result http_queue(struct request *rq)
{
    struct answer *a = &rq->answer;
    common_headers(rq);
    if (atomic_load(&rq->api->draining))
        answer_header(a, "Connection", "close");
    struct MHD_Response *r;
    if (a->fd >= 0) {
        r = MHD_create_response_from_fd_at_offset64((uint64_t)a->fd_bytes, a->fd, (uint64_t)a->fd_offset);
        if (r)
            a->fd = -1;
    } else if (a->constant) {
        const union {
            const void *ours;
            void *given; /* libmicrohttpd does not write there */
        } data = {.ours = a->constant};
        r = MHD_create_response_from_buffer_with_free_callback(a->constant_bytes, data.given, keep);
    } else {
        size_t n = a->body.len;
        char *body = buf_take(&a->body);
        r = body ? MHD_create_response_from_buffer(n, body, MHD_RESPMEM_MUST_FREE) : NULL;
        if (!r)
            free(body);
    }
    if (!r)
        return MHD_NO;
    enum MHD_Result ok = MHD_YES;
    for (size_t i = 0; i < a->n_headers && ok == MHD_YES; i++)
        ok = MHD_add_response_header(r, a->headers[i].name, a->headers[i].value);
    if (ok == MHD_YES)
        ok = MHD_queue_response(rq->conn, a->status, r);
    MHD_destroy_response(r);
    rq->sent_status = a->status;
    return ok;
}

static void add_head(struct request *rq, struct buf *b)
{
    struct answer *a = &rq->answer;
    char date[64];
    struct tm tm;
    time_t now = time(NULL);
    strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&now, &tm));
    common_headers(rq);
    buf_addf(b, "HTTP/1.1 %u %s\r\nDate: %s\r\n", a->status, MHD_get_reason_phrase_for(a->status), date);
    for (size_t i = 0; i < a->n_headers; i++)
        buf_addf(b, "%s: %s\r\n", a->headers[i].name, a->headers[i].value);
}

void http_head(struct request *rq, struct buf *b)
{
    add_head(rq, b);
    buf_adds(b, "\r\n");
}

void http_send_early(struct request *rq)
{
    struct answer *a = &rq->answer;
    CLEANUP(buf_clear) struct buf b = BUF_INIT(65536);
    add_head(rq, &b);
    buf_addf(&b, "Connection: close\r\nContent-Length: %zu\r\n\r\n", a->body.len);
    if (strcmp(rq->method, "HEAD") != 0)
        buf_add(&b, buf_str(&a->body), a->body.len);
    int fd = http_socket(rq);
    if (fd < 0 || !buf_ok(&b))
        return;
    /* Nothing else was sent on this connection since the request began: so little always fits into the socket, and
     * where it does not the client loses an error message. */
    ssize_t sent = send(fd, b.data, b.len, MSG_NOSIGNAL | MSG_DONTWAIT);
    (void)sent;
    shutdown(fd, SHUT_WR);
}

enum MHD_Result http_linger(struct request *rq)
{
    rq->phase = PHASE_LINGER;
    rq->linger_until_ms = clock_mono_ms() + LINGER_MS;
    rq->sent_status = rq->answer.status;
    return MHD_YES;
}

/* The answer stands before the body was read. */
enum MHD_Result http_refuse(struct request *rq)
{
    const char *expect = MHD_lookup_connection_value(rq->conn, MHD_HEADER_KIND, MHD_HTTP_HEADER_EXPECT);
    rq->phase = PHASE_ANSWERED;
    if (!rq->has_body)
        return MHD_YES; /* queued in the call that follows at once; queued here it would end the connection */
    /* A client that waits for "100 Continue" sends no body after another answer. */
    if (expect && str_ieq(expect, "100-continue"))
        return http_queue(rq);
    http_send_early(rq);
    return http_linger(rq);
}

enum MHD_Result http_problem(struct request *rq, enum problem p, const char *detail)
{
    request_problem(rq, p, detail ? "%s" : NULL, detail);
    return http_refuse(rq);
}
