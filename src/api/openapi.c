/* SPDX-License-Identifier: MIT */
/*
 * One pass over the route table writes the paths, the other tables give the schemas. Nothing is kept: the document is
 * small, and asked for seldom.
 */
#include "api/openapi.h"

#include "api/dialect.h"
#include "api/openapi_internal.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

const char *openapi_find(const struct openapi_part *parts, const char *name)
{
    while (parts->name && strcmp(parts->name, name) != 0)
        parts++;
    return parts->json;
}

/* "get_v1_jobs_id" */
static void write_operation_id(struct jsonw *w, const struct route *r)
{
    CLEANUP(buf_clear) struct buf b = BUF_INIT(OPENAPI_NAME_SIZE);
    for (const char *p = r->method; *p; p++)
        buf_addc(&b, (char)tolower((unsigned char)*p));
    for (const char *p = r->pattern; *p; p++)
        if (isalnum((unsigned char)*p))
            buf_addc(&b, *p);
        else if (isalnum((unsigned char)p[1]) || p[1] == '{')
            buf_addc(&b, '_');
    jw_str(w, "operationId", buf_str(&b));
}

static void write_operation(struct jsonw *w, const struct route *r)
{
    char method[16];
    snprintf(method, sizeof method, "%s", r->method);
    for (char *p = method; *p; p++)
        *p = (char)tolower((unsigned char)*p);
    jw_open(w, method, '{');
    jw_open(w, "tags", '[');
    jw_str(w, NULL, r->dialect->name);
    jw_close(w, ']');
    jw_str(w, "summary", r->help);
    write_operation_id(w, r);
    openapi_write_parameters(w, r);
    openapi_write_body(w, r);
    openapi_write_responses(w, r);
    jw_close(w, '}');
}

/* Of the same path at the same listeners. */
static bool beside(const struct route *a, const struct route *b)
{
    return (a->flags & ROUTE_DIRECT) == (b->flags & ROUTE_DIRECT) && strcmp(a->pattern, b->pattern) == 0;
}

static bool first_of_path(const struct route *r)
{
    for (const struct route *o = api_routes; o < r; o++)
        if (beside(o, r))
            return false;
    return true;
}

static void write_paths(struct jsonw *w, bool direct)
{
    jw_open(w, "paths", '{');
    for (const struct route *r = api_routes; r->method; r++) {
        if (direct != !!(r->flags & ROUTE_DIRECT) || !first_of_path(r))
            continue;
        jw_open(w, r->pattern, '{');
        for (const struct route *o = r; o->method; o++)
            if (beside(o, r))
                write_operation(w, o);
        jw_close(w, '}');
    }
    jw_close(w, '}');
}

void openapi_write(struct buf *b, const char *version, bool direct)
{
    struct jsonw w = {b, false};
    jw_open(&w, NULL, '{');
    jw_str(&w, "openapi", "3.1.0");
    jw_open(&w, "info", '{');
    jw_str(&w, "title", direct ? "steno: the direct service" : "steno");
    jw_str(&w, "version", version);
    jw_str(&w, "description",
           direct ? "Speech to text: hand over a recording, and be answered with its text."
                  : "Speech to text: hand over a recording, watch the work, fetch the transcript.");
    jw_raw(&w, "license", "{\"name\":\"MIT\",\"identifier\":\"MIT\"}");
    jw_close(&w, '}');
    write_paths(&w, direct);
    jw_open(&w, "components", '{');
    openapi_write_schemas(&w);
    openapi_write_headers(&w);
    jw_close(&w, '}');
    jw_close(&w, '}');
    buf_addc(b, '\n');
}
