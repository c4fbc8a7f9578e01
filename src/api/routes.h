/* SPDX-License-Identifier: MIT */
/*
 * The routes, one table: dispatch, OPTIONS and Allow, metrics labels and the documents come from its rows.
 *
 * To add one: write its handler, declare it at the end here, add a row in routes.c, and describe what it answers
 * (openapi.h). HEAD is answered by the GET row. A
 * slash at the end of a path makes no difference.
 */
#ifndef API_ROUTES_H
#define API_ROUTES_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>

struct dialect;
struct request;

/*
 * Answers rq->answer, on a pool thread; may block on database and storage. A negative return is an error that the
 * caller turns into a problem (problem_of_error), 0 says that the answer stands, ROUTE_WAITS that it is made later.
 */
typedef int (*route_fn)(struct request *rq, struct err *err);

enum {
    ROUTE_WAITS = 1, /* from request_wait (wait.h) */
    ROUTE_TAKEN = 2, /* from live_start (live.h) */
};

enum route_body {
    BODY_NONE,   /* a small one is ignored */
    BODY_UPLOAD, /* a form with a recording: taken and submitted by upload.c; the handler answers for rq->job */
    BODY_OBJECT, /* a recording by itself, for a URL of ours (signed_upload.h): stored when the handler is called */
    BODY_JSON,   /* a JSON object of at most BODY_JSON_MAX bytes, whatever its media type says: rq->json */
};

enum route_flags {
    ROUTE_PROBE = 1 << 0,   /* runs on the probe pool, which stays free when storage or database hang */
    ROUTE_STORAGE = 1 << 1, /* asks storage: runs where uploads do, so that all else stays free when storage hangs */
    ROUTE_RAW = 1 << 2,     /* BODY_UPLOAD: the body may be the recording itself, the form's fields in the query */
    ROUTE_TAGGED = 1 << 3,  /* answers carry an entity tag, and If-None-Match is looked at (etag.h) */
    ROUTE_KEYED = 1 << 4,   /* BODY_JSON: a submission all the same, which may have an Idempotency-Key */
    ROUTE_JSON = 1 << 5,    /* BODY_UPLOAD: the body may be a JSON object that names an upload (signed_upload.h) */
    ROUTE_DIRECT = 1 << 6,  /* of the direct service, at its own listeners and nowhere else */
    ROUTE_PREFERS = 1 << 7, /* Prefer is looked at (prefer.h) */
    ROUTE_RANGES = 1 << 8,  /* Range is looked at (range.h) */
};

struct route {
    const char *method;
    const char *pattern; /* "/v1/jobs/{id}": {} matches one non-empty segment */
    const struct dialect *dialect;
    route_fn run;
    enum route_body body;
    unsigned flags;
    const char *query; /* the parameters it takes, blank-separated */
    const char *help;
    const char *answers; /* what it takes and answers, for the document: openapi.h */
};

enum { ROUTE_PARAMS_MAX = 4, ROUTE_ALLOW_SIZE = 64, BODY_JSON_MAX = 256 << 10 };

extern const struct route api_routes[]; /* ends with a row without method */
size_t route_count(void);
/* Its place in the table. */
size_t route_index(const struct route *r);

/* Does an Idempotency-Key mean anything there? */
bool route_is_keyed(const struct route *r);

struct route_match {
    const struct route *route;            /* NULL: see `allow` */
    const struct dialect *dialect;        /* of the path, whatever the method; NULL when no row has it */
    const char *params[ROUTE_PARAMS_MAX]; /* where each {} begins in path ... */
    size_t param_lens[ROUTE_PARAMS_MAX];  /* ... and how long it is */
    size_t n_params;
    char allow[ROUTE_ALLOW_SIZE]; /* "GET, HEAD, OPTIONS"; "" when no row has this path */
};
/* `path` is decoded and has no query. `direct`: among the routes of the direct service, else among all others. */
void route_find(const char *method, const char *path, bool direct, struct route_match *ret);

int route_root(struct request *rq, struct err *err);
int route_openapi(struct request *rq, struct err *err);
int route_docs(struct request *rq, struct err *err);
int route_docs_file(struct request *rq, struct err *err);
int route_redoc(struct request *rq, struct err *err);
int route_submit(struct request *rq, struct err *err);
int route_list_jobs(struct request *rq, struct err *err);
int route_get_job(struct request *rq, struct err *err);
int route_delete_job(struct request *rq, struct err *err);
int route_transcript(struct request *rq, struct err *err);
int route_audio(struct request *rq, struct err *err);
int route_job_websocket(struct request *rq, struct err *err);
int route_job_events(struct request *rq, struct err *err);
int route_queues(struct request *rq, struct err *err);
int route_pause_queue(struct request *rq, struct err *err);
int route_resume_queue(struct request *rq, struct err *err);
int route_workers(struct request *rq, struct err *err);
int route_errors(struct request *rq, struct err *err);
int route_get_error(struct request *rq, struct err *err);
int route_retry_error(struct request *rq, struct err *err);
int route_resolve_error(struct request *rq, struct err *err);
int route_retry_job(struct request *rq, struct err *err);
int route_openai_audio(struct request *rq, struct err *err);
int route_models(struct request *rq, struct err *err);
int route_model(struct request *rq, struct err *err);
int route_health(struct request *rq, struct err *err);
int route_admin_health(struct request *rq, struct err *err);
int route_metrics(struct request *rq, struct err *err);

/* signed_upload.c */
int route_new_upload(struct request *rq, struct err *err);
int route_put_upload(struct request *rq, struct err *err);
/* dialect_tool.c */
int tool_submit(struct request *rq, struct err *err);
int tool_get(struct request *rq, struct err *err);
int tool_cancel(struct request *rq, struct err *err);
/* dialect_pool.c */
int pool_submit(struct request *rq, struct err *err);
int pool_get(struct request *rq, struct err *err);
int pool_metadata(struct request *rq, struct err *err);
int pool_cancel(struct request *rq, struct err *err);
int pool_list(struct request *rq, struct err *err);
int pool_errors(struct request *rq, struct err *err);
/* dialect_stt.c */
int stt_upload(struct request *rq, struct err *err);
int stt_status(struct request *rq, struct err *err);
int stt_result(struct request *rq, struct err *err);
/* dialect_queue.c */
int queue_task(struct request *rq, struct err *err);
int queue_cancel(struct request *rq, struct err *err);
int queue_websocket(struct request *rq, struct err *err);
int queue_status(struct request *rq, struct err *err);
/* dialect_direct.c */
int direct_transcribe(struct request *rq, struct err *err);
int direct_health(struct request *rq, struct err *err);
int direct_config(struct request *rq, struct err *err);
/* dialect_audio_text.c */
int audio_text_url(struct request *rq, struct err *err);
int audio_text_url_by_query(struct request *rq, struct err *err);
int audio_text_submit(struct request *rq, struct err *err);
int audio_text_status(struct request *rq, struct err *err);
int audio_text_websocket(struct request *rq, struct err *err);
int audio_text_list(struct request *rq, struct err *err);
int audio_text_health(struct request *rq, struct err *err);

#endif
