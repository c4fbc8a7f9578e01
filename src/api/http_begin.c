/* SPDX-License-Identifier: MIT */
/*
 * What the headers of a request say: whether they can be understood in one way only, which route it is for, and
 * what becomes of its body. Everything that can be refused before the body comes is refused here.
 */
#include "api/http.h"
#include "api/http_internal.h"

#include "api/cors.h"
#include "api/percent.h"
#include "api/room.h"
#include "api/server.h"
#include "api/signed_upload.h"
#include "api/submit.h"
#include "api/upload.h"
#include "base/id.h"
#include "base/str.h"

#include <microhttpd.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

enum { IGNORED_BODY_MAX = 64 << 10 }; /* of requests that should have none */

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
    if (m.dialect)
        rq->dialect = m.dialect;
    if (!m.route)
        return *m.allow ? PROBLEM_method_not_allowed : PROBLEM_no_such_route;
    rq->route = m.route;
    for (size_t i = 0; i < m.n_params; i++)
        rq->params[i] = arena_dup(&rq->arena, m.params[i], m.param_lens[i]);
    /* Every route with an id of ours in its path is about a job, or about what becomes one. */
    if (m.n_params && rq->params[0] && id_valid(rq->params[0]))
        rq->log.job_id = rq->params[0];
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
    struct log_scope before = log_scope_swap(request_scope(rq));
    int rc = rq->route->body == BODY_OBJECT ? upload_url_admit(rq, &p, &err) : submit_admit(rq, &p, &err);
    if (rc < 0)
        request_error(rq, p, &err);
    http_resume(rq);
    http_task_end(rq);
    log_scope_swap(before);
}

static enum MHD_Result begin_upload(struct request *rq, const struct body_head *head, int64_t length)
{
    struct api *api = rq->api;
    char detail[128];
    struct err err = ERR_INIT;
    enum problem p;
    if (atomic_load(&api->uploads) >= api->uploads_max)
        return http_problem(rq, PROBLEM_overloaded, "too many uploads at the same time; try again later");
    if (rq->direct) {
        rq->direct_counted = true;
        if (atomic_fetch_add(&api->direct, 1) >= api->o.direct_max)
            return http_problem(rq, PROBLEM_overloaded, "too many transcriptions at the same time; try again later");
    }
    if (upload_new(rq, head, &p, &err) < 0)
        return http_problem(rq, p, err.msg);
    if (!length)
        return http_problem(rq, PROBLEM_missing_file, "the request has no body");
    if (length > request_max_upload(rq) + UPLOAD_OVERHEAD_BYTES) {
        snprintf(detail, sizeof detail, "the recording is over %lld bytes", (long long)request_max_upload(rq));
        return http_problem(rq, PROBLEM_file_too_large, detail);
    }
    rq->phase = PHASE_BODY;
    rq->body_bytes = length;
    if (!api->o.max_queue && !rq->idempotency_key && rq->route->body != BODY_OBJECT && room_is_known(api, length))
        return MHD_YES;
    if (!http_task_begin(rq))
        return http_problem(rq, PROBLEM_shutting_down, NULL);
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

enum MHD_Result http_begin(struct request *rq, const char *method, const char *version)
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
        return http_problem(rq, p, wrong);
    }
    rq->has_body = length != 0;
    if (route_problem == PROBLEM_method_not_allowed && strcmp(method, "OPTIONS") == 0) {
        rq->answer.status = MHD_HTTP_NO_CONTENT;
        answer_header(&rq->answer, "Allow", "%s", allow);
        cors_preflight(&rq->answer, rq->api->o.cors_origins, rq->origin, allow);
        return http_refuse(rq);
    }
    if (route_problem != PROBLEM_COUNT) {
        request_problem(rq, route_problem, *err.msg ? "%s" : NULL, err.msg);
        if (route_problem == PROBLEM_method_not_allowed)
            answer_header(&rq->answer, "Allow", "%s", allow);
        return http_refuse(rq);
    }
    rq->host = arena_strdup(&rq->arena, head.host);
    rq->takes_json = rq->route->body == BODY_JSON || ((rq->route->flags & ROUTE_JSON) && is_json(head.type));
    if (rq->route->body == BODY_OBJECT || (rq->route->body == BODY_UPLOAD && !rq->takes_json))
        return begin_upload(rq, &(struct body_head){head.type, head.disposition}, length);
    int64_t most = rq->takes_json ? BODY_JSON_MAX : IGNORED_BODY_MAX;
    if (length > most)
        return http_problem(rq, PROBLEM_body_too_large, NULL);
    rq->body_left = (size_t)most;
    rq->phase = PHASE_BODY;
    return MHD_YES;
}
