/* SPDX-License-Identifier: MIT */
/* The dialect of /v1/jobs and of all that is the server's own: nothing is renamed, refusals are RFC 9457's. */
#include "api/dialect.h"
#include "api/jsonw.h"

#include <stdio.h>

static const char *refuse(struct refusal *r, struct buf *b)
{
    const struct problem_info *info = problem_info(r->problem);
    struct jsonw w = {b, false};
    char type[64];
    snprintf(type, sizeof type, "urn:steno:problem:%s", info->code);
    jw_open(&w, NULL, '{');
    jw_str(&w, "type", type);
    jw_str(&w, "title", info->title);
    jw_int(&w, "status", r->status);
    jw_str(&w, "detail", r->detail);
    jw_str(&w, "instance", r->path);
    jw_str(&w, "code", info->code);
    if (r->field)
        jw_str(&w, "field", r->field);
    jw_str(&w, "request_id", r->request_id);
    jw_close(&w, '}');
    buf_addc(b, '\n');
    return "application/problem+json; charset=utf-8";
}

const struct dialect dialect_native = {
    .name = "native", .refuse = refuse, .error_type = "application/problem+json", .error_schema = "Problem"};
