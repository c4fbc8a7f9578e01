/* SPDX-License-Identifier: MIT */
#include "metrics/server.h"

#include "base/listen.h"
#include "base/mem.h"
#include "base/str.h"
#include "metrics/page.h"

#include <microhttpd.h>
#include <stdlib.h>
#include <string.h>

enum { ADDRESSES_MAX = 8, CONNECTIONS_MAX = 16, IDLE_S = 10, PAGE_MAX = 4 << 20, REQUEST_MEMORY = 16 << 10 };

struct metrics_server {
    metrics_page_fn page;
    void *arg;
    struct listener listeners[ADDRESSES_MAX];
    struct MHD_Daemon *daemons[ADDRESSES_MAX];
    size_t n;
};

static enum MHD_Result send_text(struct MHD_Connection *conn, unsigned status, const char *type, struct buf *text)
{
    size_t n = text->len;
    char *body = buf_take(text);
    struct MHD_Response *r = body ? MHD_create_response_from_buffer(n, body, MHD_RESPMEM_MUST_FREE) : NULL;
    if (!r) {
        free(body);
        return MHD_NO;
    }
    MHD_add_response_header(r, MHD_HTTP_HEADER_CONTENT_TYPE, type);
    if (status == MHD_HTTP_METHOD_NOT_ALLOWED)
        MHD_add_response_header(r, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
    enum MHD_Result rc = MHD_queue_response(conn, status, r);
    MHD_destroy_response(r);
    return rc;
}

static enum MHD_Result send_note(struct MHD_Connection *conn, unsigned status, const char *note)
{
    CLEANUP(buf_clear) struct buf text = BUF_INIT(256);
    buf_adds(&text, note);
    return send_text(conn, status, "text/plain; charset=utf-8", &text);
}

static enum MHD_Result on_request(void *cls, struct MHD_Connection *conn, const char *url, const char *method,
                                  const char *version, const char *data, size_t *n, void **con_cls)
{
    struct metrics_server *s = cls;
    (void)version;
    (void)data;
    /* The answer is given at the end of the request: not at the headers, and not within a body, which nobody needs. */
    if (!*con_cls || *n) {
        *con_cls = s;
        *n = 0;
        return MHD_YES;
    }
    if (!str_eq(method, "GET") && !str_eq(method, "HEAD"))
        return send_note(conn, MHD_HTTP_METHOD_NOT_ALLOWED, "GET /metrics is all there is here\n");
    if (!str_eq(url, "/metrics"))
        return send_note(conn, MHD_HTTP_NOT_FOUND, "GET /metrics is all there is here\n");
    CLEANUP(buf_clear) struct buf page = BUF_INIT(PAGE_MAX);
    s->page(s->arg, &page);
    if (!buf_ok(&page))
        return send_note(conn, MHD_HTTP_INTERNAL_SERVER_ERROR, "no memory for the page\n");
    return send_text(conn, MHD_HTTP_OK, METRICS_CONTENT_TYPE, &page);
}

static int start(struct metrics_server *s, size_t i, struct err *err)
{
    s->daemons[i] = MHD_start_daemon(MHD_USE_EPOLL_INTERNAL_THREAD | MHD_USE_ITC, 0, NULL, NULL, on_request, s,
                                     MHD_OPTION_LISTEN_SOCKET, s->listeners[i].fd, MHD_OPTION_CONNECTION_LIMIT,
                                     (unsigned)CONNECTIONS_MAX, MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)IDLE_S,
                                     MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)REQUEST_MEMORY, MHD_OPTION_END);
    if (!s->daemons[i])
        return err_set(err, ERR_UNAVAILABLE, "cannot start a server for metrics: threads or descriptors ran out");
    return 0;
}

int metrics_server_open(const char *addresses, metrics_page_fn page, void *arg, struct metrics_server **ret,
                        struct err *err)
{
    struct metrics_server *s = xcalloc(1, sizeof *s);
    s->page = page;
    s->arg = arg;
    int rc = listen_open(addresses, s->listeners, ADDRESSES_MAX, &s->n, err);
    for (size_t i = 0; i < s->n && rc >= 0; i++)
        rc = start(s, i, err);
    if (rc < 0) {
        metrics_server_close(s);
        return rc;
    }
    *ret = s;
    return 0;
}

const char *metrics_server_address(const struct metrics_server *s, size_t i)
{
    return i < s->n ? s->listeners[i].name : NULL;
}

void metrics_server_close(struct metrics_server *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < s->n; i++) {
        if (s->daemons[i]) {
            MHD_quiesce_daemon(s->daemons[i]); /* the socket stays the listener's */
            MHD_stop_daemon(s->daemons[i]);
        }
        listen_close(&s->listeners[i]);
    }
    free(s);
}
