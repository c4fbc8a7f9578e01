/* SPDX-License-Identifier: MIT */
/*
 * One HTTP request on its way through the server.
 *
 * It is owned in turn by the HTTP thread of its connection and, while the connection is suspended, by one pool
 * thread; only what stands under `mu` is touched by both at once. Two references at most: the connection's, until
 * libmicrohttpd says that the request is over, and the running task's. The last one frees it.
 */
#ifndef API_REQUEST_H
#define API_REQUEST_H

#include "api/answer.h"
#include "api/prefer.h"
#include "api/query.h"
#include "api/routes.h"
#include "base/log.h"
#include "base/mem.h"

#include <pthread.h>
#include <stdatomic.h>

struct api;
struct dialect;
struct form;
struct idempotency;
struct job;
struct job_upload;
struct json_t;
struct upload;
struct wait;
struct MHD_Connection;

enum { REQUEST_ID_SIZE = 65 };

/* What the next call of the HTTP thread finds. */
enum request_phase {
    PHASE_HEADERS,  /* nothing looked at yet */
    PHASE_ADMIT,    /* a task decides whether an upload may begin (suspended) */
    PHASE_BODY,     /* the body is coming in */
    PHASE_WORK,     /* a task makes the answer (suspended) */
    PHASE_TAKEN,    /* the socket is somebody else's */
    PHASE_ANSWERED, /* the answer stands and waits to be queued */
    PHASE_LINGER,   /* the answer went out early; the rest of the body is read and thrown away */
};

struct request {
    struct api *api;
    struct MHD_Connection *conn;
    char *uri;                              /* as sent */
    const char *path;                       /* without query, decoded; "?" until looked at */
    const char *method;                     /* in the arena */
    const struct route *route;              /* NULL: none */
    const struct dialect *dialect;          /* that refusals are worded in; never NULL */
    const char *wrong_field;                /* what a refusal is about; see dialect.h */
    const struct form *form;                /* BODY_UPLOAD: what was sent beside the recording ... */
    const struct job *job;                  /* ... and the job it became, as its row stands */
    const struct job_upload *signed_upload; /* BODY_OBJECT: what its URL is for */
    const char *params[ROUTE_PARAMS_MAX];
    struct query query;
    const char *accept, *if_none_match, *origin, *idempotency_key, *host; /* headers, or NULL */
    struct prefer prefer;
    struct idempotency *idempotency; /* when the client sent a key; in the arena */
    char id[REQUEST_ID_SIZE];
    struct log_ctx log;
    struct arena arena;
    struct answer answer;
    enum request_phase phase;
    int64_t started_ms;      /* monotonic */
    bool has_body;           /* one is announced and not read yet */
    int64_t body_bytes;      /* BODY_UPLOAD, BODY_OBJECT: how long it will be; negative: not known */
    size_t body_left;        /* BODY_NONE: how much of one is put up with */
    bool takes_json;         /* BODY_JSON, or another with a JSON object: */
    struct buf body;         /* as it came ... */
    struct json_t *json;     /* ... and read (json_body.h) */
    int64_t linger_until_ms; /* monotonic */
    unsigned sent_status;    /* 0: no answer went out (see upload_gone for early ones) */
    struct upload *upload;   /* BODY_UPLOAD */
    struct wait *wait;       /* what a handler waits for (wait.h) */
    atomic_int refs;
    bool counted;        /* among the requests under way */
    bool direct;         /* came in at the direct service */
    bool direct_counted; /* among those that it has in work */
};

/* NULL when memory is out. Made with one reference. */
struct request *request_new(struct api *api, struct MHD_Connection *conn, const char *uri, bool direct);
/* For the time a thread works on it: what it logs names the request, and the job when it is about one. */
struct log_scope request_scope(const struct request *rq);
/* The largest recording that may come in here. */
int64_t request_max_upload(const struct request *rq);
void request_ref(struct request *rq);
void request_unref(struct request *rq);

/* Answers with a problem; the sentence is for people. Returns 0, so that handlers can return it. */
int request_problem(struct request *rq, enum problem p, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* The same for an error; `p` PROBLEM_COUNT: what its class comes to. Logs what is not the client's fault. */
int request_error(struct request *rq, enum problem p, const struct err *err);
/* Puts body (JSON) and status into the answer; body is empty after it. */
int request_json(struct request *rq, unsigned status, struct buf *body, struct err *err) MUST_CHECK;

#endif
