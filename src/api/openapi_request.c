/* SPDX-License-Identifier: MIT */
/* What a route takes: parameters in its path, query and headers, and its body. */
#include "api/openapi.h"
#include "api/openapi_internal.h"

#include "api/dialect.h"
#include "api/form.h"
#include "base/macros.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- parameters ---- */

static void write_parameter(struct jsonw *w, const struct route *r, const char *name, const char *in)
{
    char own[2 * OPENAPI_NAME_SIZE];
    snprintf(own, sizeof own, "%s %s", r->pattern, name);
    const char *json = openapi_find(openapi_parameters, own);
    if (!json)
        json = openapi_find(openapi_parameters, name);
    jw_open(w, NULL, '{');
    jw_str(w, "name", name);
    jw_str(w, "in", in);
    if (strcmp(in, "path") == 0)
        jw_bool(w, "required", true);
    if (json) {
        /* Members of the object, without its braces. */
        char *members = strndup(json + 1, strlen(json) - 2);
        if (members)
            jw_members(w, members);
        free(members);
    } else if (!openapi_write_subtitle_option(w, name)) {
        jw_raw(w, "schema", "{\"type\":\"string\"}");
    }
    jw_close(w, '}');
}

static void write_raw_parameters(struct jsonw *w, const struct route *r)
{
    write_parameter(w, r, "filename", "query");
    for (size_t i = 0; i < FORM_COUNT; i++) {
        jw_open(w, NULL, '{');
        jw_str(w, "name", openapi_field_name(i));
        jw_str(w, "in", "query");
        jw_str(w, "description", "With a raw body: the form field of this name.");
        jw_open(w, "schema", '{');
        openapi_write_field(w, i);
        jw_close(w, '}');
        jw_close(w, '}');
    }
}

/* Request headers that come with a flag of the route. */
static const struct {
    const char *name;
    unsigned flag;
} request_headers[] = {
    {"If-None-Match", ROUTE_TAGGED},
    {"Prefer", ROUTE_PREFERS},
    {"Range", ROUTE_RANGES},
    {"If-Range", ROUTE_RANGES},
};

void openapi_write_parameters(struct jsonw *w, const struct route *r)
{
    char name[OPENAPI_NAME_SIZE];
    jw_open(w, "parameters", '[');
    for (const char *p = r->pattern; (p = strchr(p, '{')); p++) {
        snprintf(name, sizeof name, "%.*s", (int)strcspn(p + 1, "}"), p + 1);
        write_parameter(w, r, name, "path");
    }
    for (const char *p = r->query; *p;) {
        size_t n = strcspn(p, " ");
        snprintf(name, sizeof name, "%.*s", (int)n, p);
        write_parameter(w, r, name, "query");
        p += n;
        p += strspn(p, " ");
    }
    if (r->flags & ROUTE_RAW)
        write_raw_parameters(w, r);
    if (route_is_keyed(r))
        write_parameter(w, r, "Idempotency-Key", "header");
    for (size_t i = 0; i < ARRAY_LEN(request_headers); i++)
        if (r->flags & request_headers[i].flag)
            write_parameter(w, r, request_headers[i].name, "header");
    jw_close(w, ']');
}

/* ---- bodies ---- */

static void write_dialect_field(struct jsonw *w, const struct dialect *d, const struct dialect_field *f)
{
    char name[OPENAPI_NAME_SIZE];
    snprintf(name, sizeof name, "%s %s", d->name, f->name);
    const char *json = openapi_find(openapi_fields, name);
    if (json) {
        jw_raw(w, f->name, json);
        return;
    }
    jw_open(w, f->name, '{');
    if (f->field < FORM_COUNT)
        openapi_write_field(w, f->field);
    else
        jw_str(w, "type", "string");
    jw_close(w, '}');
}

/* Does the dialect call something else by this name? */
static bool taken(const struct dialect *d, const char *name)
{
    for (const struct dialect_field *f = d->fields; f && f->name; f++)
        if (strcmp(f->name, name) == 0)
            return true;
    return false;
}

static void write_form(struct jsonw *w, const struct dialect *d)
{
    jw_open(w, "schema", '{');
    jw_str(w, "type", "object");
    jw_open(w, "properties", '{');
    jw_raw(w, "file",
           "{\"type\":\"string\",\"contentMediaType\":\"application/octet-stream\",\"description\":\"the recording\"}");
    for (const struct dialect_field *f = d->fields; f && f->name; f++)
        write_dialect_field(w, d, f);
    for (size_t i = 0; i < FORM_COUNT; i++) {
        if (taken(d, openapi_field_name(i)))
            continue;
        jw_open(w, openapi_field_name(i), '{');
        openapi_write_field(w, i);
        jw_close(w, '}');
    }
    jw_close(w, '}');
    jw_raw(w, "required", "[\"file\"]");
    jw_bool(w, "additionalProperties", d->ignores_unknown);
    jw_close(w, '}');
}

void openapi_write_body(struct jsonw *w, const struct route *r)
{
    char schema[OPENAPI_NAME_SIZE] = "";
    if (*r->answers == '<')
        snprintf(schema, sizeof schema, "%.*s", (int)strcspn(r->answers + 1, " "), r->answers + 1);
    if (r->body != BODY_UPLOAD && r->body != BODY_OBJECT && !*schema)
        return;
    jw_open(w, "requestBody", '{');
    jw_bool(w, "required", true);
    jw_open(w, "content", '{');
    if (*schema) {
        jw_open(w, OPENAPI_JSON, '{');
        openapi_write_ref(w, schema);
        jw_close(w, '}');
    } else if (r->body == BODY_OBJECT) {
        jw_raw(w, "*/*", "{}");
    } else {
        jw_open(w, "multipart/form-data", '{');
        write_form(w, r->dialect);
        jw_close(w, '}');
    }
    if (r->flags & ROUTE_JSON)
        openapi_write_content(w, OPENAPI_JSON, "JobOfUpload");
    static const char *const raw[] = {"audio/*", "video/*", "application/octet-stream"};
    for (size_t i = 0; i < ARRAY_LEN(raw) && (r->flags & ROUTE_RAW); i++)
        jw_raw(w, raw[i], "{}");
    jw_close(w, '}');
    jw_close(w, '}');
}
