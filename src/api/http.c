/* SPDX-License-Identifier: MIT */
/*
 * libmicrohttpd calls on_request several times per request: with the headers, for each piece of the body, at the end of
 * the body, and again after each resume. rq->phase says where it is:
 *
 *   HEADERS ──▶ (ADMIT, suspended) ──▶ BODY ──▶ WORK, suspended ──▶ ANSWERED ──▶ response queued
 *      └── refused, body under way ──▶ LINGER ◀──┘
 *
 * A response can only be queued before or after the body; in between http_send_early is the way.
 */
#include "api/http.h"

#include "api/cors.h"
#include "api/idempotency.h"
#include "api/json_body.h"
#include "api/percent.h"
#include "api/room.h"
#include "api/server.h"
#include "api/signed_upload.h"
#include "api/submit.h"
#include "api/upload.h"
#include "api/wait.h"
#include "base/clock.h"
#include "base/id.h"
#include "base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    CONNECTION_MEMORY = 64 << 10, /* holds the request line and all headers; half of it is a piece of a body */
    IGNORED_BODY_MAX = 64 << 10,  /* of requests that should have none */
    LINGER_MS = 20000,
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

/* ---- answers ---- */

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

static enum MHD_Result queue_answer(struct request *rq)
{
    struct answer *a = &rq->answer;
    common_headers(rq);
    if (atomic_load(&rq->api->draining))
        answer_header(a, "Connection", "close");
    struct MHD_Response *r;
    if (a->fd >= 0) {
        r = MHD_create_response_from_fd64((uint64_t)a->fd_bytes, a->fd);
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

static enum MHD_Result linger(struct request *rq)
{
    rq->phase = PHASE_LINGER;
    rq->linger_until_ms = clock_mono_ms() + LINGER_MS;
    rq->sent_status = rq->answer.status;
    return MHD_YES;
}

/* The answer stands before the body was read. */
static enum MHD_Result refuse(struct request *rq)
{
    const char *expect = MHD_lookup_connection_value(rq->conn, MHD_HEADER_KIND, MHD_HTTP_HEADER_EXPECT);
    rq->phase = PHASE_ANSWERED;
    if (!rq->has_body)
        return MHD_YES; /* queued in the call that follows at once; queued here it would end the connection */
    /* A client that waits for "100 Continue" sends no body after another answer. */
    if (expect && str_ieq(expect, "100-continue"))
        return queue_answer(rq);
    http_send_early(rq);
    return linger(rq);
}

static enum MHD_Result problem(struct request *rq, enum problem p, const char *detail)
{
    request_problem(rq, p, detail ? "%s" : NULL, detail);
    return refuse(rq);
}

/* ---- the headers ---- */

/* What the server itself wants to know of the headers; values are libmicrohttpd's and live as long as the request. */
struct head {
    struct arena *arena;
    unsigned n_host, n_length, n_encoding;
    const char *host, *length, *encoding, *type, *disposition, *request_id, *accept, *if_none_match, *origin, *key,
        *prefer;
    bool malformed;
};

static bool is_token(const char *s, size_t n)
{
    static const char chars[] = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    for (size_t i = 0; i < n; i++)
        if (!memchr(chars, s[i], sizeof chars - 1))
            return false;
    return n > 0;
}

static enum MHD_Result read_header(void *cls, enum MHD_ValueKind kind, const char *name, size_t name_len,
                                   const char *value, size_t value_len)
{
    struct head *h = cls;
    (void)kind;
    (void)value_len;
    /* libmicrohttpd lets these pass; others on the way may read them in another way. */
    if (!is_token(name, name_len))
        h->malformed = true;
    const struct {
        const char *name, **slot;
        unsigned *count;
        bool list; /* may be split over several lines */
    } known[] = {
        {MHD_HTTP_HEADER_HOST, &h->host, &h->n_host, false},
        {MHD_HTTP_HEADER_CONTENT_LENGTH, &h->length, &h->n_length, false},
        {MHD_HTTP_HEADER_TRANSFER_ENCODING, &h->encoding, &h->n_encoding, false},
        {MHD_HTTP_HEADER_CONTENT_TYPE, &h->type, NULL, false},
        {MHD_HTTP_HEADER_CONTENT_DISPOSITION, &h->disposition, NULL, false},
        {MHD_HTTP_HEADER_ACCEPT, &h->accept, NULL, true},
        {MHD_HTTP_HEADER_IF_NONE_MATCH, &h->if_none_match, NULL, true},
        {"X-Request-Id", &h->request_id, NULL, false},
        {MHD_HTTP_HEADER_ORIGIN, &h->origin, NULL, false},
        {"Idempotency-Key", &h->key, NULL, false},
        {"Prefer", &h->prefer, NULL, true},
    };
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        if (str_ieq(name, known[i].name)) {
            bool again = known[i].list && *known[i].slot;
            *known[i].slot = again   ? arena_printf(h->arena, "%s, %s", *known[i].slot, value ? value : "")
                             : value ? value
                                     : "";
            if (known[i].count)
                ++*known[i].count;
        }
    return MHD_YES;
}

/*
 * NULL: all is well, and *ret is the length of the body, -1 for a chunked one. Else what is wrong: among it all that
 * could be understood in two ways, and so be used to hide one request in another from a proxy.
 */
static const char *check_head(const struct head *h, const char *version, int64_t *ret, enum problem *ret_problem)
{
    int64_t n = 0;
    *ret_problem = PROBLEM_bad_request;
    if (h->malformed)
        return "a header has a malformed name";
    if (h->n_host != 1 && (h->n_host || strcmp(version, MHD_HTTP_VERSION_1_0) != 0))
        return "there must be one Host header";
    if (h->n_encoding && h->n_length)
        return "Content-Length and Transfer-Encoding must not stand together";
    if (h->n_length > 1)
        return "more than one Content-Length header";
    if (h->n_length && (!str_to_i64(h->length, &n) || n < 0))
        return "malformed Content-Length header";
    if (h->n_encoding > 1 || (h->n_encoding && !str_ieq(h->encoding, "chunked"))) {
        *ret_problem = PROBLEM_bad_transfer_encoding;
        return "the only transfer encoding understood is 'chunked'";
    }
    *ret = h->n_encoding ? -1 : n;
    return NULL;
}

static void set_request_id(struct request *rq, const char *given)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    size_t n = given ? strspn(given, allowed) : 0;
    if (n && n < REQUEST_ID_SIZE && !given[n])
        memcpy(rq->id, given, n + 1);
    else
        id_new(rq->id);
}

/* Path, query and route. PROBLEM_COUNT: all is well. */
static enum problem find_route(struct request *rq, const char *method, const struct head *head, char *ret_allow,
                               struct err *err)
{
    size_t n = strcspn(rq->uri, "?");
    const char *path = percent_decode(rq->uri, n, false, &rq->arena);
    struct route_match m;
    *ret_allow = '\0';
    rq->method = arena_strdup(&rq->arena, method);
    if (!rq->method || !path || *path != '/' || !utf8_valid(path, strlen(path)))
        return PROBLEM_no_such_route;
    rq->path = path;
    route_find(method, path, rq->direct, &m);
    memcpy(ret_allow, m.allow, sizeof m.allow);
    if (!m.route)
        return *m.allow ? PROBLEM_method_not_allowed : PROBLEM_no_such_route;
    rq->route = m.route;
    for (size_t i = 0; i < m.n_params; i++)
        rq->params[i] = arena_dup(&rq->arena, m.params[i], m.param_lens[i]);
    int rc = query_parse(rq->uri[n] ? rq->uri + n + 1 : NULL, &rq->arena, &rq->query, err);
    bool fields = (m.route->flags & ROUTE_RAW) && body_is_raw(head->type); /* upload.c knows them */
    if (rc >= 0 && !fields && !m.route->dialect->ignores_unknown)
        rc = query_allow(&rq->query, m.route->query, err);
    return rc < 0 ? PROBLEM_bad_query : PROBLEM_COUNT;
}

/* ---- submissions ---- */

static void admit_task(void *arg)
{
    struct request *rq = arg;
    struct err err = ERR_INIT;
    enum problem p = PROBLEM_COUNT;
    int rc = rq->route->body == BODY_OBJECT ? upload_url_admit(rq, &p, &err) : submit_admit(rq, &p, &err);
    if (rc < 0)
        request_error(rq, p, &err);
    http_resume(rq);
    http_task_end(rq);
}

static enum MHD_Result begin_upload(struct request *rq, const struct body_head *head, int64_t length)
{
    struct api *api = rq->api;
    char detail[128];
    struct err err = ERR_INIT;
    enum problem p;
    if (atomic_load(&api->uploads) >= api->uploads_max)
        return problem(rq, PROBLEM_overloaded, "too many uploads at the same time; try again later");
    if (rq->direct) {
        rq->direct_counted = true;
        if (atomic_fetch_add(&api->direct, 1) >= api->o.direct_max)
            return problem(rq, PROBLEM_overloaded, "too many transcriptions at the same time; try again later");
    }
    if (upload_new(rq, head, &p, &err) < 0)
        return problem(rq, p, err.msg);
    if (!length)
        return problem(rq, PROBLEM_missing_file, "the request has no body");
    if (length > request_max_upload(rq) + UPLOAD_OVERHEAD_BYTES) {
        snprintf(detail, sizeof detail, "the recording is over %lld bytes", (long long)request_max_upload(rq));
        return problem(rq, PROBLEM_file_too_large, detail);
    }
    rq->phase = PHASE_BODY;
    rq->body_bytes = length;
    if (!api->o.max_queue && !rq->idempotency_key && rq->route->body != BODY_OBJECT && room_is_known(api, length))
        return MHD_YES;
    if (!http_task_begin(rq))
        return problem(rq, PROBLEM_shutting_down, NULL);
    rq->phase = PHASE_ADMIT;
    http_suspend(rq);
    http_run(rq, admit_task, rq);
    return MHD_YES;
}

static bool is_json(const char *type)
{
    static const char json[] = "application/json";
    size_t n = sizeof json - 1;
    return type && strncasecmp(type, json, n) == 0 && (!type[n] || strchr("; \t", type[n]));
}

static enum MHD_Result begin(struct request *rq, const char *method, const char *version)
{
    char allow[ROUTE_ALLOW_SIZE];
    struct err err = ERR_INIT;
    int64_t length = 0;
    enum problem p;
    struct head head = {.arena = &rq->arena};
    MHD_get_connection_values_n(rq->conn, MHD_HEADER_KIND, read_header, &head);
    set_request_id(rq, head.request_id);
    rq->accept = arena_strdup(&rq->arena, head.accept);
    rq->if_none_match = arena_strdup(&rq->arena, head.if_none_match);
    rq->origin = arena_strdup(&rq->arena, head.origin);
    rq->idempotency_key = arena_strdup(&rq->arena, head.key);
    rq->prefer = prefer_read(head.prefer, rq->api->o.wait_max_ms);
    atomic_fetch_add(&rq->api->active, 1);
    rq->counted = true;
    enum problem route_problem = find_route(rq, method, &head, allow, &err);
    const char *wrong = check_head(&head, version, &length, &p);
    if (wrong) {
        rq->has_body = true; /* who knows: the connection ends here */
        return problem(rq, p, wrong);
    }
    rq->has_body = length != 0;
    if (route_problem == PROBLEM_method_not_allowed && strcmp(method, "OPTIONS") == 0) {
        rq->answer.status = MHD_HTTP_NO_CONTENT;
        answer_header(&rq->answer, "Allow", "%s", allow);
        cors_preflight(&rq->answer, rq->api->o.cors_origins, rq->origin, allow);
        return refuse(rq);
    }
    if (route_problem != PROBLEM_COUNT) {
        request_problem(rq, route_problem, *err.msg ? "%s" : NULL, err.msg);
        if (route_problem == PROBLEM_method_not_allowed)
            answer_header(&rq->answer, "Allow", "%s", allow);
        return refuse(rq);
    }
    rq->host = arena_strdup(&rq->arena, head.host);
    rq->takes_json = rq->route->body == BODY_JSON || ((rq->route->flags & ROUTE_JSON) && is_json(head.type));
    if (rq->route->body == BODY_OBJECT || (rq->route->body == BODY_UPLOAD && !rq->takes_json))
        return begin_upload(rq, &(struct body_head){head.type, head.disposition}, length);
    int64_t most = rq->takes_json ? BODY_JSON_MAX : IGNORED_BODY_MAX;
    if (length > most)
        return problem(rq, PROBLEM_body_too_large, NULL);
    rq->body_left = (size_t)most;
    rq->phase = PHASE_BODY;
    return MHD_YES;
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
        return at_end ? MHD_NO : linger(rq);
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
    int rc = rq->takes_json ? json_body_read(rq, &p, &err) : 0;
    if (rc >= 0 && rq->route->body == BODY_UPLOAD)
        rc = idempotency_begin(rq, &p, &err);
    if (rc >= 0 && rq->route->body == BODY_UPLOAD)
        rc = upload_submit_json(rq, &p, &err);
    if (rc < 0) {
        idempotency_release(rq);
        rc = request_error(rq, p, &err);
    } else if (!rq->answer.status) { /* else answered as before */
        rc = rq->route->run(rq, &err);
    }
    atomic_fetch_sub(lane_of(rq).count, 1);
    http_handled(rq, rc, &err);
}

static enum MHD_Result dispatch(struct request *rq)
{
    struct api *api = rq->api;
    struct lane lane = lane_of(rq);
    bool room = atomic_fetch_add(lane.count, 1) < api->work_max;
    if (!room || !http_task_begin(rq)) {
        atomic_fetch_sub(lane.count, 1);
        request_problem(rq, room ? PROBLEM_shutting_down : PROBLEM_overloaded, NULL);
        return queue_answer(rq);
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
        return problem(rq, PROBLEM_body_too_large, NULL);
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
    struct request *rq = request_new(door->api, conn, uri);
    if (rq)
        rq->direct = door->direct;
    return rq;
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
        return begin(rq, method, version);
    case PHASE_ADMIT:
        rq->phase = PHASE_BODY;
        return rq->answer.status ? refuse(rq) : MHD_YES;
    case PHASE_BODY:
        return body(rq, data, n);
    case PHASE_WORK:
        return MHD_YES;
    case PHASE_ANSWERED:
        return queue_answer(rq);
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
