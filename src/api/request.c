/* SPDX-License-Identifier: MIT */
#include "api/request.h"

#include "api/dialect.h"
#include "api/json_body.h"
#include "api/server.h"
#include "api/upload.h"
#include "api/wait.h"
#include "base/clock.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct request *request_new(struct api *api, struct MHD_Connection *conn, const char *uri, bool direct)
{
    struct request *rq = calloc(1, sizeof *rq);
    char *copy = strdup(uri);
    if (!rq || !copy) {
        free(rq);
        free(copy);
        return NULL;
    }
    rq->api = api;
    rq->conn = conn;
    rq->uri = copy;
    rq->path = "?";
    rq->method = "?";
    rq->dialect = direct ? &dialect_direct : &dialect_native;
    rq->direct = direct;
    rq->arena = (struct arena)ARENA_INIT;
    rq->started_ms = clock_mono_ms();
    rq->log = (struct log_ctx){.component = "api", .request_id = rq->id};
    answer_init(&rq->answer);
    buf_init(&rq->body, BODY_JSON_MAX);
    atomic_init(&rq->refs, 1);
    return rq;
}

struct log_scope request_scope(const struct request *rq)
{
    return log_scope_of(rq->log.job_id, rq->id);
}

int64_t request_max_upload(const struct request *rq)
{
    const struct api_opts *o = &rq->api->o;
    return rq->direct ? MIN(o->max_upload_bytes, o->direct_max_bytes) : o->max_upload_bytes;
}

void request_ref(struct request *rq)
{
    atomic_fetch_add(&rq->refs, 1);
}

void request_unref(struct request *rq)
{
    if (atomic_fetch_sub(&rq->refs, 1) > 1)
        return;
    upload_free(rq->upload);
    wait_free(rq->wait);
    answer_clear(&rq->answer);
    json_body_clear(rq);
    arena_clear(&rq->arena);
    free(rq->uri);
    free(rq);
}

int request_problem(struct request *rq, enum problem p, const char *fmt, ...)
{
    char detail[sizeof(((struct err *)0)->msg)] = "";
    if (fmt) {
        va_list ap;
        va_start(ap, fmt);
        int n = vsnprintf(detail, sizeof detail, fmt, ap);
        va_end(ap);
        if (n < 0)
            detail[0] = '\0';
    }
    const struct problem_info *info = problem_info(p);
    struct refusal r = {
        .problem = p,
        .status = info->status,
        .detail = *detail ? detail : info->advice,
        .field = rq->wrong_field,
        .path = rq->path,
        .request_id = rq->id,
    };
    answer_refusal(&rq->answer, rq->dialect, &r);
    return 0;
}

int request_error(struct request *rq, enum problem p, const struct err *err)
{
    if (p == PROBLEM_COUNT)
        p = problem_of_error(err->code);
    if (problem_info(p)->status >= 500)
        log_warn(&rq->log, "%s %s: %s", rq->method, rq->path, err->msg);
    return request_problem(rq, p, "%s", err->msg);
}

int request_json(struct request *rq, unsigned status, struct buf *body, struct err *err)
{
    buf_addc(body, '\n');
    int rc = answer_give(&rq->answer, body, err);
    if (rc < 0)
        return rc;
    rq->answer.status = status;
    rq->answer.content_type = "application/json; charset=utf-8";
    return 0;
}
