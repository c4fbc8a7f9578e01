/* SPDX-License-Identifier: MIT */
#include "api/routes.h"

#include "api/dialect.h"
#include "base/macros.h"
#include "base/str.h"

#include <stdio.h>
#include <string.h>

const struct route api_routes[] = {
    {"GET", "/", &dialect_native, route_root, BODY_NONE, 0, "", "what this server is, with links", "200:Root"},
    {"POST", "/v1/jobs", &dialect_native, route_submit, BODY_UPLOAD, ROUTE_RAW | ROUTE_PREFERS, "",
     "submit a recording", "202:Job 200:Job 404"},
    {"GET", "/v1/jobs", &dialect_native, route_list_jobs, BODY_NONE, 0, "status limit cursor",
     "list jobs, the newest first", "200:JobList"},
    {"GET", "/v1/jobs/{id}", &dialect_native, route_get_job, BODY_NONE, ROUTE_TAGGED | ROUTE_PREFERS, "",
     "state and progress of a job", "200:Job 304"},
    {"DELETE", "/v1/jobs/{id}", &dialect_native, route_delete_job, BODY_NONE, 0, "purge",
     "cancel a job; with purge=true also remove all that is kept of it", "200:Job 204 409"},
    {"GET", "/v1/jobs/{id}/transcript", &dialect_native, route_transcript, BODY_NONE, ROUTE_STORAGE | ROUTE_TAGGED,
     "format max_line_width max_line_count max_words_per_line highlight_words",
     "the transcript, in the format that `format` or the Accept header names", "200:* 304 406 409"},
    {"GET", "/v1/jobs/{id}/events", &dialect_native, route_job_events, BODY_NONE, 0, "since",
     "live updates as server-sent events", "200@text/event-stream 204"},
    {"GET", "/v1/jobs/{id}/ws", &dialect_native, route_job_websocket, BODY_NONE, 0, "since",
     "live updates over a WebSocket", "101 426"},
    {"GET", "/v1/errors", &dialect_native, route_errors, BODY_NONE, 0, "all job_id limit cursor",
     "jobs that failed for good and were not seen to; with all=true every failure", "200:FailureList"},
    {"GET", "/v1/queues", &dialect_native, route_queues, BODY_NONE, ROUTE_PROBE, "",
     "how many jobs wait in each queue, and for how long", "200:QueueList"},
    {"GET", "/v1/workers", &dialect_native, route_workers, BODY_NONE, 0, "limit cursor",
     "the workers, by their heartbeats, and what they run", "200:WorkerList"},
    {"GET", "/health", &dialect_native, route_health, BODY_NONE, ROUTE_PROBE, "",
     "is everything well; always 200 while serving", "200:Health"},
    {"GET", "/admin/health", &dialect_native, route_admin_health, BODY_NONE, ROUTE_PROBE, "",
     "as /health, with disk space, the workers and what they run", "200:Health"},
    {"GET", "/metrics", &dialect_native, route_metrics, BODY_NONE, 0, "", "figures for Prometheus",
     "200:String@text/plain"},
    {"GET", "/openapi.json", &dialect_native, route_openapi, BODY_NONE, 0, "", "this API as an OpenAPI document",
     "200:OpenAPI"},
    {"GET", "/docs", &dialect_native, route_docs, BODY_NONE, 0, "", "this API as pages of Swagger UI",
     "200:String@text/html 404"},
    {"GET", "/redoc", &dialect_native, route_redoc, BODY_NONE, 0, "", "this API as a page of ReDoc",
     "200:String@text/html 404"},
    {"GET", "/docs/{file}", &dialect_native, route_docs_file, BODY_NONE, ROUTE_TAGGED, "",
     "what those pages are made of", "200:String@text/javascript 200:String@text/css 200:String@text/plain 304"},
    {0},
};

size_t route_count(void)
{
    return ARRAY_LEN(api_routes) - 1;
}

size_t route_index(const struct route *r)
{
    return (size_t)(r - api_routes);
}

/* Fills the params of *m; its route stays. */
static bool match(const char *pattern, const char *path, struct route_match *m)
{
    m->n_params = 0;
    while (*pattern && *path) {
        if (*pattern == '{') {
            size_t n = strcspn(path, "/");
            if (!n || m->n_params == ROUTE_PARAMS_MAX)
                return false;
            m->params[m->n_params] = path;
            m->param_lens[m->n_params++] = n;
            path += n;
            pattern = strchr(pattern, '}') + 1;
        } else if (*pattern++ != *path++) {
            return false;
        }
    }
    return !*pattern && !path[*path == '/'];
}

static void allow(struct route_match *m, const char *method)
{
    size_t n = strlen(m->allow);
    snprintf(m->allow + n, sizeof m->allow - n, "%s%s", n ? ", " : "", method);
}

void route_find(const char *method, const char *path, struct route_match *ret)
{
    struct route_match m = {.route = NULL}, try;
    bool head = strcmp(method, "HEAD") == 0;
    for (const struct route *r = api_routes; r->method; r++) {
        try = (struct route_match){.route = r};
        if (!match(r->pattern, path, &try))
            continue;
        allow(&m, r->method);
        if (strcmp(r->method, "GET") == 0)
            allow(&m, "HEAD");
        if (strcmp(r->method, head ? "GET" : method) != 0)
            continue;
        memcpy(try.allow, m.allow, sizeof m.allow);
        m = try;
    }
    if (*m.allow)
        allow(&m, "OPTIONS");
    *ret = m;
}
