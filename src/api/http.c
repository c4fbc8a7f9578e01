/* SPDX-License-Identifier: MIT */
/*
 * libmicrohttpd calls on_request several times per request: with the headers, for each piece of the body, at the end of
 * the body, and again after each resume. rq->phase says where it is:
 *
 *   HEADERS ──▶ (ADMIT, suspended) ──▶ BODY ──▶ WORK, suspended ──▶ ANSWERED ──▶ response queued
 *      └── refused, body under way ──▶ LINGER ◀──┘
 *
 * A response can only be queued before or after the body; in between http_send_early is the way.
 *
 * http_begin.c does the first of these steps, http_answer.c the last.
 */
#include "api/http.h"

#include "api/http_internal.h"
#include "api/idempotency.h"
#include "api/json_body.h"
#include "api/server.h"
#include "api/submit.h"
#include "api/upload.h"
#include "api/wait.h"
#include "base/clock.h"
#include "base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    CONNECTION_MEMORY = 64 << 10, /* holds the request line and all headers; half of it is a piece of a body */
    CONNECTIONS_MAX = 4096,
    SPARE_FDS = 128, /* database, storage, broker, temporary files */
};

/* ---- tasks ---- */

void http_suspend(struct request *rq)
{
    MHD_suspend_connection(rq->conn);
}

void http_resume(struct request *rq)
{
    MHD_resume_connection(rq->conn);
}

void http_task_force(struct request *rq)
{
    atomic_fetch_add(&rq->api->tasks, 1);
    request_ref(rq);
}

bool http_task_begin(struct request *rq)
{
    /* First counted, then looked: api_close sets `stopping` first and then looks at the count. */
    http_task_force(rq);
    if (!atomic_load(&rq->api->stopping))
        return true;
    http_task_end(rq);
    return false;
}

void http_task_end(struct request *rq)
{
    struct api *api = rq->api;
    request_unref(rq);
    atomic_fetch_sub(&api->tasks, 1);
}

int http_socket(const struct request *rq)
{
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(rq->conn, MHD_CONNECTION_INFO_CONNECTION_FD);
    return info ? info->connect_fd : -1;
}

/*
 * While a connection is suspended libmicrohttpd has it in no epoll and looks at it from no thread, so the descriptor
 * can be made another's. It cannot just be closed afterwards: libmicrohttpd shuts a socket down before it closes it,
 * and that would reach every descriptor of the same socket. (Its own upgrade would do for WebSockets, but not for
 * answers without an end.)
 */
int http_take_socket(struct request *rq, struct err *err)
{
    int theirs = http_socket(rq), nowhere[2];
    CLEANUP(close_fd) int ours = fcntl(theirs, F_DUPFD_CLOEXEC, 0);
    if (ours < 0 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, nowhere) < 0)
        return err_sys(err, errno, "cannot take over a connection");
    int rc = dup3(nowhere[0], theirs, O_CLOEXEC) < 0 ? err_sys(err, errno, "cannot take over a connection") : 0;
    close_fd(&nowhere[0]);
    close_fd(&nowhere[1]);
    if (rc < 0)
        return rc;
    rc = ours;
    ours = -1;
    return rc;
}

const char *http_header(const struct request *rq, const char *name)
{
    return MHD_lookup_connection_value(rq->conn, MHD_HEADER_KIND, name);
}

void http_handled(struct request *rq, int rc, const struct err *err)
{
    if (rc == ROUTE_TAKEN) {
        rq->sent_status = rq->answer.status;
        rq->phase = PHASE_TAKEN;
        http_resume(rq);
        http_task_end(rq);
        return;
    }
    if (rc == ROUTE_WAITS) {
        wait_begin(rq);
        return;
    }
    if (rc < 0)
        request_error(rq, PROBLEM_COUNT, err);
    else if (!rq->answer.status)
        request_problem(rq, PROBLEM_internal, NULL);
    idempotency_answered(rq);
    rq->phase = PHASE_ANSWERED;
    http_resume(rq);
    http_task_end(rq);
}

void http_run(struct request *rq, void (*fn)(void *), void *arg)
{
    /* The queue has room for every request there may be; should it not, slow is better than never. */
    if (!pool_try_run(rq->api->work, fn, arg))
        fn(arg);
}

void http_run_storing(struct request *rq, void (*fn)(void *), void *arg)
{
    if (!pool_try_run(rq->api->storing, fn, arg))
        fn(arg);
}

/* ---- the body ---- */

static enum MHD_Result upload_body(struct request *rq, const char *data, size_t *n)
{
    bool at_end = !*n;
    switch (at_end ? upload_end(rq->upload) : upload_feed(rq->upload, data, n)) {
    case UPLOAD_GOES_ON:
        return MHD_YES;
    case UPLOAD_ANSWERED:
        *n = 0;
        return at_end ? MHD_NO : http_linger(rq);
    case UPLOAD_CUT:
        break;
    }
    return MHD_NO;
}

/* Where a route's handlers run, and how many of them are under way or wait. */
struct lane {
    struct pool *pool;
    atomic_int *count;
};

static struct lane lane_of(const struct request *rq)
{
    struct api *a = rq->api;
    if (rq->route->flags & ROUTE_PROBE)
        return (struct lane){a->probe, &a->probing};
    if ((rq->route->flags & ROUTE_STORAGE) || rq->takes_json)
        return (struct lane){a->storing, &a->storage_working};
    return (struct lane){a->work, &a->working};
}

static void work_task(void *arg)
{
    struct request *rq = arg;
    struct err err = ERR_INIT;
    enum problem p = PROBLEM_COUNT;
    struct log_scope before = log_scope_swap(request_scope(rq));
    int rc = rq->takes_json ? json_body_read(rq, &p, &err) : 0;
    if (rc >= 0 && route_is_keyed(rq->route))
        rc = idempotency_begin(rq, &p, &err);
    if (rc >= 0 && rq->route->body == BODY_UPLOAD)
        rc = upload_submit_json(rq, &p, &err);
    if (rc < 0)
        rc = request_error(rq, p, &err);
    else if (!rq->answer.status) /* else answered as before */
        rc = rq->route->run(rq, &err);
    idempotency_release(rq); /* when no job came of it */
    atomic_fetch_sub(lane_of(rq).count, 1);
    http_handled(rq, rc, &err);
    log_scope_swap(before);
}

static enum MHD_Result dispatch(struct request *rq)
{
    struct api *api = rq->api;
    struct lane lane = lane_of(rq);
    bool room = atomic_fetch_add(lane.count, 1) < api->work_max;
    if (!room || !http_task_begin(rq)) {
        atomic_fetch_sub(lane.count, 1);
        request_problem(rq, room ? PROBLEM_shutting_down : PROBLEM_overloaded, NULL);
        return http_queue(rq);
    }
    rq->phase = PHASE_WORK;
    http_suspend(rq);
    if (!pool_try_run(lane.pool, work_task, rq))
        work_task(rq);
    return MHD_YES;
}

static enum MHD_Result body(struct request *rq, const char *data, size_t *n)
{
    if (rq->upload)
        return upload_body(rq, data, n);
    if (!*n)
        return dispatch(rq);
    if (*n > rq->body_left) {
        *n = 0;
        return http_problem(rq, PROBLEM_body_too_large, NULL);
    }
    rq->body_left -= *n;
    if (rq->takes_json)
        buf_add(&rq->body, data, *n);
    *n = 0;
    return MHD_YES;
}

/* ---- what libmicrohttpd calls ---- */

static void *on_uri(void *cls, const char *uri, struct MHD_Connection *conn)
{
    const struct http_door *door = cls;
    return request_new(door->api, conn, uri, door->direct);
}

static enum MHD_Result on_request(void *cls, struct MHD_Connection *conn, const char *url, const char *method,
                                  const char *version, const char *data, size_t *n, void **con_cls)
{
    (void)cls;
    (void)conn;
    (void)url;
    struct request *rq = *con_cls;
    if (!rq)
        return MHD_NO;
    switch (rq->phase) {
    case PHASE_HEADERS:
        return http_begin(rq, method, version);
    case PHASE_ADMIT:
        rq->phase = PHASE_BODY;
        return rq->answer.status ? http_refuse(rq) : MHD_YES;
    case PHASE_BODY:
        return body(rq, data, n);
    case PHASE_WORK:
        return MHD_YES;
    case PHASE_ANSWERED:
        return http_queue(rq);
    case PHASE_TAKEN:
        return MHD_NO;
    case PHASE_LINGER:
        if (!*n || clock_mono_ms() > rq->linger_until_ms)
            return MHD_NO;
        *n = 0;
        return MHD_YES;
    }
    return MHD_NO;
}

static void on_completed(void *cls, struct MHD_Connection *conn, void **con_cls, enum MHD_RequestTerminationCode toe)
{
    (void)conn;
    struct api *api = cls;
    struct request *rq = *con_cls;
    if (!rq)
        return;
    *con_cls = NULL;
    unsigned early = rq->upload ? upload_gone(rq->upload) : 0, status = rq->sent_status ? rq->sent_status : early;
    int64_t ms = clock_mono_ms() - rq->started_ms;
    if (rq->counted)
        atomic_fetch_sub(&api->active, 1);
    if (rq->direct_counted)
        atomic_fetch_sub(&api->direct, 1);
    if (status) {
        metrics_request(&api->metrics, rq->route ? route_index(rq->route) : route_count(), status, ms);
        log_debug(&rq->log, "%s %s %u in %lld ms", rq->method, rq->path, status, (long long)ms);
    }
    if (!status ||
        (toe != MHD_REQUEST_TERMINATED_COMPLETED_OK && rq->phase != PHASE_LINGER && rq->phase != PHASE_TAKEN && !early))
        atomic_fetch_add_explicit(&api->metrics.aborted, 1, memory_order_relaxed);
    request_unref(rq);
}

/* Paths and queries are decoded by us, strictly. */
static size_t no_unescape(void *cls, struct MHD_Connection *conn, char *s)
{
    (void)cls;
    (void)conn;
    return strlen(s);
}

static void on_log(void *cls, const char *fmt, va_list ap) PRINTF_LIKE(2, 0);
static void on_log(void *cls, const char *fmt, va_list ap)
{
    static const struct log_ctx lc = {.component = "http"};
    (void)cls;
    if (!log_on(LOG_DEBUG))
        return;
    char text[256];
    if (vsnprintf(text, sizeof text, fmt, ap) > 0) {
        text[strcspn(text, "\n")] = '\0';
        log_debug(&lc, "%s", text);
    }
}

unsigned http_connections_max(unsigned *live)
{
    struct rlimit r;
    unsigned wanted = *live;
    if (getrlimit(RLIMIT_NOFILE, &r) < 0 || r.rlim_cur == RLIM_INFINITY)
        return CONNECTIONS_MAX;
    /* A quarter is kept for live connections. Of the others, an upload needs a second descriptor for its object. */
    int64_t files = CLAMP((int64_t)r.rlim_cur - SPARE_FDS, 0, INT32_MAX), kept = MIN((int64_t)wanted, files / 4);
    int64_t n = CLAMP((files - kept) / 2, 16, CONNECTIONS_MAX);
    *live = (unsigned)CLAMP(files - 2 * n, 0, (int64_t)wanted);
    return (unsigned)n;
}

int http_start(struct http_door *door, int fd, unsigned connections, struct MHD_Daemon **ret, struct err *err)
{
    struct api *api = door->api;
    unsigned threads = MAX(api->o.http_threads, 1);
    struct MHD_OptionItem pool[] = {
        {threads > 1 ? MHD_OPTION_THREAD_POOL_SIZE : MHD_OPTION_END, (intptr_t)threads, NULL},
        {MHD_OPTION_END, 0, NULL},
    };
    struct MHD_Daemon *d = MHD_start_daemon(
        MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ITC | MHD_USE_ERROR_LOG, 0, NULL, NULL,
        on_request, api, MHD_OPTION_EXTERNAL_LOGGER, on_log, NULL, MHD_OPTION_LISTEN_SOCKET, fd,
        MHD_OPTION_URI_LOG_CALLBACK, on_uri, door, MHD_OPTION_NOTIFY_COMPLETED, on_completed, api,
        MHD_OPTION_UNESCAPE_CALLBACK, no_unescape, NULL, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_MEMORY,
        MHD_OPTION_CONNECTION_LIMIT, connections, MHD_OPTION_CONNECTION_TIMEOUT,
        (unsigned)((api->o.idle_ms + 999) / 1000), MHD_OPTION_ARRAY, pool, MHD_OPTION_END);
    if (!d)
        return err_set(err, ERR_UNAVAILABLE, "cannot start the HTTP server: threads or descriptors ran out");
    *ret = d;
    return 0;
}

void http_quiesce(struct MHD_Daemon *d)
{
    /* The listening socket comes back and stays open: connections already in its queue are reset when it closes. */
    MHD_quiesce_daemon(d);
}

void http_stop(struct MHD_Daemon *d)
{
    MHD_stop_daemon(d);
}
