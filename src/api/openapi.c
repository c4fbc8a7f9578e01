/* SPDX-License-Identifier: MIT */
/*
 * One pass over the route table writes the paths, the other tables give the schemas. Nothing is kept: the document is
 * small, and asked for seldom.
 */
#include "api/openapi.h"

#include "api/dialect.h"
#include "api/form.h"
#include "api/jsonw.h"
#include "api/problem.h"
#include "api/routes.h"
#include "base/macros.h"
#include "base/str.h"
#include "job/job.h"
#include "job/options.h"
#include "transcript/format.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_MAX_BYTES = 128, STATUSES_MAX = 32 };

#define JSON_TYPE "application/json"

const char *openapi_find(const struct openapi_part *parts, const char *name)
{
    while (parts->name && strcmp(parts->name, name) != 0)
        parts++;
    return parts->json;
}

/* ---- schemas from tables ---- */

static void write_words(struct jsonw *w, const char *words, char separator)
{
    const char all[] = {separator, '\0'};
    char word[NAME_MAX_BYTES];
    jw_open(w, "enum", '[');
    for (const char *p = words; *p;) {
        size_t n = strcspn(p, all);
        snprintf(word, sizeof word, "%.*s", (int)n, p);
        jw_str(w, NULL, word);
        p += n;
        p += *p == separator;
    }
    jw_close(w, ']');
}

enum option_kind { BOOL, INT, NUMBERS, CHOICE, TEXT };

static const struct option_doc {
    enum option_kind kind;
    const char *name;
    int64_t min, max;
    const char *choices, *help;
} options[] = {
#define X(kind, name, flag, arg, min, max, choices, help) {kind, #name, min, max, choices, help},
    JOB_OPTIONS(X)
#undef X
};

/* `answer`: as it stands in a job, where several numbers are an array; else as a form field. */
static void write_option(struct jsonw *w, const struct option_doc *o, bool answer)
{
    switch (o->kind) {
    case BOOL:
        jw_str(w, "type", "boolean");
        break;
    case INT:
        jw_str(w, "type", "integer");
        jw_int(w, "minimum", o->min);
        jw_int(w, "maximum", o->max);
        break;
    case NUMBERS:
        jw_raw(w, "type", answer ? "[\"number\",\"array\"]" : "\"string\"");
        if (answer)
            jw_raw(w, "items", "{\"type\":\"number\"}");
        break;
    case CHOICE:
        jw_str(w, "type", "string");
        write_words(w, o->choices, '|');
        break;
    case TEXT:
        jw_str(w, "type", "string");
        jw_int(w, "maxLength", o->max);
        break;
    }
    jw_str(w, "description", o->help);
}

static void write_options_schema(struct jsonw *w)
{
    jw_open(w, "JobOptions", '{');
    jw_str(w, "type", "object");
    jw_open(w, "properties", '{');
    for (size_t i = 0; i < ARRAY_LEN(options); i++) {
        jw_open(w, options[i].name, '{');
        write_option(w, &options[i], true);
        jw_close(w, '}');
    }
    jw_close(w, '}');
    jw_bool(w, "additionalProperties", false);
    jw_close(w, '}');
}

static const char *problem_word(size_t i)
{
    return problem_info((enum problem)i)->code;
}

static const char *state_word(size_t i)
{
    return job_state_name((enum job_state)i);
}

static const char *queue_word(size_t i)
{
    return job_queue_name((enum job_queue)i);
}

static const char *format_word(size_t i)
{
    return format_info((enum format)i)->name;
}

static void write_schemas(struct jsonw *w)
{
    static const struct {
        const char *name;
        size_t n;
        const char *(*word)(size_t i);
    } lists[] = {
        {"ProblemCode", PROBLEM_COUNT, problem_word},
        {"JobState", JOB_STATE_COUNT, state_word},
        {"JobQueue", QUEUE_COUNT, queue_word},
        {"FormatName", FORMAT_COUNT, format_word},
    };
    jw_open(w, "schemas", '{');
    for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
        jw_open(w, lists[i].name, '{');
        jw_str(w, "type", "string");
        jw_open(w, "enum", '[');
        for (size_t k = 0; k < lists[i].n; k++)
            jw_str(w, NULL, lists[i].word(k));
        jw_close(w, ']');
        jw_close(w, '}');
    }
    write_options_schema(w);
    for (const struct openapi_part *p = openapi_schemas; p->name; p++)
        jw_raw(w, p->name, p->json);
    jw_close(w, '}');
}

static void write_ref(struct jsonw *w, const char *schema)
{
    char ref[NAME_MAX_BYTES + 32];
    snprintf(ref, sizeof ref, "#/components/schemas/%s", schema);
    jw_open(w, "schema", '{');
    jw_str(w, "$ref", ref);
    jw_close(w, '}');
}

/* ---- parameters ---- */

static const struct {
    enum option_kind kind;
    const char *name;
    int min, max;
    const char *help;
} subtitles[] = {
#define X(kind, name, flag, arg, min, max, help) {kind, #name, min, max, help},
    SUBTITLE_OPTIONS(X)
#undef X
};

/* The members of a parameter that is an option of subtitles; false: it is none. */
static bool write_subtitle_option(struct jsonw *w, const char *name)
{
    size_t i = 0;
    while (i < ARRAY_LEN(subtitles) && strcmp(subtitles[i].name, name) != 0)
        i++;
    if (i == ARRAY_LEN(subtitles))
        return false;
    jw_str(w, "description", subtitles[i].help);
    jw_open(w, "schema", '{');
    jw_str(w, "type", subtitles[i].kind == BOOL ? "boolean" : "integer");
    if (subtitles[i].kind == INT) {
        jw_int(w, "minimum", subtitles[i].min);
        jw_int(w, "maximum", subtitles[i].max);
    }
    jw_close(w, '}');
    return true;
}

static void write_parameter(struct jsonw *w, const struct route *r, const char *name, const char *in)
{
    char own[2 * NAME_MAX_BYTES];
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
    } else if (!write_subtitle_option(w, name)) {
        jw_raw(w, "schema", "{\"type\":\"string\"}");
    }
    jw_close(w, '}');
}

static const struct {
    const char *name;
    size_t max;
    const char *help;
} own_fields[] = {
#define X(name, max, check, help) {#name, max, help},
    FORM_FIELDS(X)
#undef X
};

/* The members of a field's schema. */
static void write_field(struct jsonw *w, size_t field)
{
    if (field >= FORM_OWN_COUNT) {
        write_option(w, &options[field - FORM_OWN_COUNT], false);
        return;
    }
    jw_str(w, "type", "string");
    jw_int(w, "maxLength", (int64_t)own_fields[field].max);
    jw_str(w, "description", own_fields[field].help);
}

static const char *field_name(size_t field)
{
    return field < FORM_OWN_COUNT ? own_fields[field].name : options[field - FORM_OWN_COUNT].name;
}

static void write_raw_parameters(struct jsonw *w, const struct route *r)
{
    write_parameter(w, r, "filename", "query");
    for (size_t i = 0; i < FORM_COUNT; i++) {
        jw_open(w, NULL, '{');
        jw_str(w, "name", field_name(i));
        jw_str(w, "in", "query");
        jw_str(w, "description", "With a raw body: the form field of this name.");
        jw_open(w, "schema", '{');
        write_field(w, i);
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
};

static void write_parameters(struct jsonw *w, const struct route *r)
{
    char name[NAME_MAX_BYTES];
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
    if (r->body == BODY_UPLOAD)
        write_parameter(w, r, "Idempotency-Key", "header");
    for (size_t i = 0; i < ARRAY_LEN(request_headers); i++)
        if (r->flags & request_headers[i].flag)
            write_parameter(w, r, request_headers[i].name, "header");
    jw_close(w, ']');
}

/* ---- bodies ---- */

static void write_dialect_field(struct jsonw *w, const struct dialect *d, const struct dialect_field *f)
{
    char name[NAME_MAX_BYTES];
    snprintf(name, sizeof name, "%s %s", d->name, f->name);
    const char *json = openapi_find(openapi_fields, name);
    if (json) {
        jw_raw(w, f->name, json);
        return;
    }
    jw_open(w, f->name, '{');
    if (f->field < FORM_COUNT)
        write_field(w, f->field);
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
        if (taken(d, field_name(i)))
            continue;
        jw_open(w, field_name(i), '{');
        write_field(w, i);
        jw_close(w, '}');
    }
    jw_close(w, '}');
    jw_raw(w, "required", "[\"file\"]");
    jw_bool(w, "additionalProperties", d->ignores_unknown);
    jw_close(w, '}');
}

static void write_content(struct jsonw *w, const char *type, const char *schema)
{
    jw_open(w, type, '{');
    if (*schema)
        write_ref(w, schema);
    jw_close(w, '}');
}

static void write_body(struct jsonw *w, const struct route *r)
{
    char schema[NAME_MAX_BYTES] = "";
    if (*r->answers == '<')
        snprintf(schema, sizeof schema, "%.*s", (int)strcspn(r->answers + 1, " "), r->answers + 1);
    if (r->body != BODY_UPLOAD && r->body != BODY_OBJECT && !*schema)
        return;
    jw_open(w, "requestBody", '{');
    jw_bool(w, "required", true);
    jw_open(w, "content", '{');
    if (*schema) {
        jw_open(w, JSON_TYPE, '{');
        write_ref(w, schema);
        jw_close(w, '}');
    } else if (r->body == BODY_OBJECT) {
        jw_raw(w, "*/*", "{}");
    } else {
        jw_open(w, "multipart/form-data", '{');
        write_form(w, r->dialect);
        jw_close(w, '}');
    }
    if (r->flags & ROUTE_JSON)
        write_content(w, JSON_TYPE, "JobOfUpload");
    static const char *const raw[] = {"audio/*", "video/*", "application/octet-stream"};
    for (size_t i = 0; i < ARRAY_LEN(raw) && (r->flags & ROUTE_RAW); i++)
        jw_raw(w, raw[i], "{}");
    jw_close(w, '}');
    jw_close(w, '}');
}

/* ---- answers ---- */

/* One word of `answers`. */
struct answer_doc {
    unsigned status;
    char schema[NAME_MAX_BYTES], type[NAME_MAX_BYTES]; /* "": none */
};

static const char *next_answer(const char *p, struct answer_doc *ret)
{
    p += strspn(p, " ");
    while (*p == '<') {
        p += strcspn(p, " ");
        p += strspn(p, " ");
    }
    if (!*p)
        return NULL;
    struct answer_doc a = {0};
    a.status = (unsigned)strtoul(p, NULL, 10);
    size_t n = strcspn(p, " "), at = strcspn(p, ":@ ");
    if (p[at] == ':') {
        size_t len = strcspn(p + at + 1, "@ ");
        snprintf(a.schema, sizeof a.schema, "%.*s", (int)len, p + at + 1);
        at += 1 + len;
    }
    if (p[at] == '@')
        snprintf(a.type, sizeof a.type, "%.*s", (int)(n - at - 1), p + at + 1);
    *ret = a;
    return p + n;
}

static void write_formats(struct jsonw *w)
{
    jw_raw(w, JSON_TYPE,
           "{\"schema\":{\"oneOf\":[{\"$ref\":\"#/components/schemas/Text\"},"
           "{\"$ref\":\"#/components/schemas/Transcript\"}]}}");
    for (size_t f = 0; f < FORMAT_COUNT; f++) {
        char type[NAME_MAX_BYTES];
        const char *media = format_info((enum format)f)->media_type;
        snprintf(type, sizeof type, "%.*s", (int)strcspn(media, ";"), media);
        if (strcmp(type, JSON_TYPE) != 0)
            write_content(w, type, "String");
    }
}

/* What a status means: for a refusal the titles of the problems that have it. */
static void write_description(struct jsonw *w, unsigned status)
{
    static const struct {
        unsigned status;
        const char *text;
    } known[] = {
        {101, "The WebSocket is open."},
        {200, "Here it is."},
        {201, "Made."},
        {202, "Accepted."},
        {204, "Done; no body."},
        {304, "What the client has is still right; no body."},
    };
    CLEANUP(buf_clear) struct buf b = BUF_INIT(4096);
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        if (known[i].status == status)
            buf_adds(&b, known[i].text);
    for (enum problem p = 0; p < PROBLEM_COUNT; p++)
        if (problem_info(p)->status == status)
            buf_addf(&b, "%s%s (`%s`)", b.len ? ", " : "", problem_info(p)->title, problem_info(p)->code);
    jw_str(w, "description", b.len ? buf_str(&b) : "Refused.");
}

/* Headers, the statuses that have them (0: all), and which routes: those with the flag, or with uploads. */
static const struct header_doc {
    const char *name;
    unsigned statuses[5], flag;
    bool upload;
    const char *json;
} headers[] = {
#define HEADER(help, type) "{\"description\":\"" help "\",\"schema\":{\"type\":\"" type "\"}}"
    {"X-Request-Id", {0}, 0, false, HEADER("The request's name in the server's log.", "string")},
    {"Location", {200, 201}, 0, true, HEADER("Where to look.", "string")},
    {"Location", {202}, 0, false, HEADER("Where to look.", "string")},
    {"Retry-After",
     {200, 202, 304, 409, 503},
     0,
     false,
     HEADER("After how many seconds it makes sense to ask again.", "integer")},
    {"ETag", {200, 304}, ROUTE_TAGGED, false, HEADER("Names this state of it; see If-None-Match.", "string")},
    {"Preference-Applied", {200, 202, 304}, ROUTE_PREFERS, false, HEADER("What of Prefer was followed.", "string")},
    {"Idempotency-Replayed",
     {200, 202},
     0,
     true,
     HEADER("`true`: this is the answer to an earlier request with the same Idempotency-Key.", "string")},
    {"X-Should-Retry",
     {400, 409, 422, 500, 504},
     0,
     true,
     HEADER("`false`: the same request will be refused again.", "string")},
#undef HEADER
};

static bool has_header(const struct header_doc *h, const struct route *r, unsigned status)
{
    if ((h->flag && !(r->flags & h->flag)) || (h->upload && r->body != BODY_UPLOAD))
        return false;
    for (size_t i = 0; i < ARRAY_LEN(h->statuses) && h->statuses[0]; i++)
        if (h->statuses[i] == status)
            return true;
    return !h->statuses[0];
}

static void open_response(struct jsonw *w, const struct route *r, unsigned status)
{
    char text[16], ref[NAME_MAX_BYTES];
    snprintf(text, sizeof text, "%u", status);
    jw_open(w, text, '{');
    write_description(w, status);
    jw_open(w, "headers", '{');
    for (size_t i = 0; i < ARRAY_LEN(headers); i++) {
        if (!has_header(&headers[i], r, status))
            continue;
        snprintf(ref, sizeof ref, "{\"$ref\":\"#/components/headers/%s\"}", headers[i].name);
        jw_raw(w, headers[i].name, ref);
    }
    jw_close(w, '}');
}

static void write_refusal(struct jsonw *w, const struct route *r, unsigned status)
{
    const struct dialect *d = r->dialect;
    open_response(w, r, status);
    jw_open(w, "content", '{');
    write_content(w, d->error_type ? d->error_type : JSON_TYPE, d->error_schema ? d->error_schema : "");
    jw_close(w, '}');
    jw_close(w, '}');
}

/* All content of one status, which may stand in several words. */
static void write_answer(struct jsonw *w, const struct route *r, unsigned status)
{
    struct answer_doc a;
    bool open = false;
    open_response(w, r, status);
    for (const char *p = r->answers; (p = next_answer(p, &a));) {
        if (a.status != status || (!*a.schema && !*a.type))
            continue;
        if (!open)
            jw_open(w, "content", '{');
        open = true;
        if (strcmp(a.schema, "*") == 0)
            write_formats(w);
        else
            write_content(w, *a.type ? a.type : JSON_TYPE, a.schema);
    }
    if (open)
        jw_close(w, '}');
    jw_close(w, '}');
}

/* Which statuses there are, in order, each once. */
struct statuses {
    unsigned v[STATUSES_MAX];
    size_t n;
};

static void add_status(struct statuses *s, unsigned status)
{
    size_t i = 0;
    while (i < s->n && s->v[i] < status)
        i++;
    if ((i < s->n && s->v[i] == status) || s->n == STATUSES_MAX)
        return;
    memmove(&s->v[i + 1], &s->v[i], (s->n - i) * sizeof s->v[0]);
    s->v[i] = status;
    s->n++;
}

static void add_refusals(struct statuses *s, const struct route *r)
{
    static const unsigned any[] = {400, 413, 500, 501, 503}, upload[] = {408, 409, 415, 422};
    for (size_t i = 0; i < ARRAY_LEN(any); i++)
        add_status(s, any[i]);
    for (size_t i = 0; i < ARRAY_LEN(upload) && r->body == BODY_UPLOAD; i++)
        add_status(s, upload[i]);
    if (strchr(r->pattern, '{'))
        add_status(s, 404);
}

static void write_responses(struct jsonw *w, const struct route *r)
{
    struct statuses all = {.n = 0};
    struct answer_doc a;
    for (const char *p = r->answers; (p = next_answer(p, &a));)
        add_status(&all, a.status);
    add_refusals(&all, r);
    jw_open(w, "responses", '{');
    for (size_t i = 0; i < all.n; i++)
        if (all.v[i] >= 400)
            write_refusal(w, r, all.v[i]);
        else
            write_answer(w, r, all.v[i]);
    jw_close(w, '}');
}

/* ---- paths ---- */

/* "get_v1_jobs_id" */
static void write_operation_id(struct jsonw *w, const struct route *r)
{
    CLEANUP(buf_clear) struct buf b = BUF_INIT(NAME_MAX_BYTES);
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
    write_parameters(w, r);
    write_body(w, r);
    write_responses(w, r);
    jw_close(w, '}');
}

static bool first_of_pattern(const struct route *r)
{
    for (const struct route *o = api_routes; o < r; o++)
        if (strcmp(o->pattern, r->pattern) == 0)
            return false;
    return true;
}

static void write_paths(struct jsonw *w)
{
    jw_open(w, "paths", '{');
    for (const struct route *r = api_routes; r->method; r++) {
        if ((r->flags & ROUTE_DIRECT) || !first_of_pattern(r))
            continue;
        jw_open(w, r->pattern, '{');
        for (const struct route *o = r; o->method; o++)
            if (!(o->flags & ROUTE_DIRECT) && strcmp(o->pattern, r->pattern) == 0)
                write_operation(w, o);
        jw_close(w, '}');
    }
    jw_close(w, '}');
}

void openapi_write(struct buf *b, const char *version)
{
    struct jsonw w = {b, false};
    jw_open(&w, NULL, '{');
    jw_str(&w, "openapi", "3.1.0");
    jw_open(&w, "info", '{');
    jw_str(&w, "title", "steno");
    jw_str(&w, "version", version);
    jw_str(&w, "description", "Speech to text: hand over a recording, watch the work, fetch the transcript.");
    jw_raw(&w, "license", "{\"name\":\"MIT\",\"identifier\":\"MIT\"}");
    jw_close(&w, '}');
    write_paths(&w);
    jw_open(&w, "components", '{');
    write_schemas(&w);
    jw_open(&w, "headers", '{');
    for (size_t i = 0; i < ARRAY_LEN(headers); i++)
        jw_raw(&w, headers[i].name, headers[i].json);
    jw_close(&w, '}');
    jw_close(&w, '}');
    jw_close(&w, '}');
    buf_addc(b, '\n');
}
