/* SPDX-License-Identifier: MIT */
/* What a route answers: the words of its row's `answers`, and the refusals that any route may send. */
#include "api/openapi.h"
#include "api/openapi_internal.h"

#include "api/dialect.h"
#include "api/problem.h"
#include "base/macros.h"
#include "transcript/format.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { STATUSES_MAX = 32 };

/* One word of `answers`. */
struct answer_doc {
    unsigned status;
    char schema[OPENAPI_NAME_SIZE], type[OPENAPI_NAME_SIZE]; /* "": none */
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
    jw_raw(w, OPENAPI_JSON,
           "{\"schema\":{\"oneOf\":[{\"$ref\":\"#/components/schemas/Text\"},"
           "{\"$ref\":\"#/components/schemas/Transcript\"}]}}");
    for (size_t f = 0; f < FORMAT_COUNT; f++) {
        char type[OPENAPI_NAME_SIZE];
        const char *media = format_info((enum format)f)->media_type;
        snprintf(type, sizeof type, "%.*s", (int)strcspn(media, ";"), media);
        if (strcmp(type, OPENAPI_JSON) != 0)
            openapi_write_content(w, type, "String");
    }
}

/* What a status means: for a refusal the titles of the problems that have it. */
static void write_description(struct jsonw *w, unsigned status)
{
    static const struct {
        unsigned status;
        const char *text;
    } known[] = {
        {101, "The WebSocket is open; `x-message` is what each message from the server is."},
        {200, "Here it is."},
        {201, "Made."},
        {202, "Accepted."},
        {204, "Done; no body."},
        {206, "The part that was asked for."},
        {304, "What the client has is still right; no body."},
        {307, "It is given out elsewhere, for a while."},
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

/* Headers, the statuses that have them (0: all), and which routes: those with the flag, or for submissions. */
static const struct header_doc {
    const char *name;
    unsigned statuses[5], flag;
    bool keyed;
    const char *json; /* NULL: described by another row of this name */
} headers[] = {
#define HEADER(help, type) "{\"description\":\"" help "\",\"schema\":{\"type\":\"" type "\"}}"
    {"X-Request-Id", {0}, 0, false, HEADER("The request's name in the server's log.", "string")},
    {"Location", {200, 201}, 0, true, HEADER("Where to look.", "string")},
    {"Location", {202, 307}, 0, false, NULL},
    {"Retry-After",
     {200, 202, 304, 409, 503},
     0,
     false,
     HEADER("After how many seconds it makes sense to ask again.", "integer")},
    {"ETag", {200, 206, 304}, ROUTE_TAGGED, false, HEADER("Names this state of it; see If-None-Match.", "string")},
    {"Accept-Ranges", {200, 206}, ROUTE_RANGES, false, HEADER("`bytes`: parts can be asked for.", "string")},
    {"Content-Range", {206, 416}, ROUTE_RANGES, false, HEADER("Which part it is, and of how many bytes.", "string")},
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
    if ((h->flag && !(r->flags & h->flag)) || (h->keyed && !route_is_keyed(r)))
        return false;
    for (size_t i = 0; i < ARRAY_LEN(h->statuses) && h->statuses[0]; i++)
        if (h->statuses[i] == status)
            return true;
    return !h->statuses[0];
}

static void open_response(struct jsonw *w, const struct route *r, unsigned status)
{
    char text[16], ref[OPENAPI_NAME_SIZE];
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
    openapi_write_content(w, d->error_type ? d->error_type : OPENAPI_JSON, d->error_schema ? d->error_schema : "");
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
        if (status == 101) {
            openapi_write_content(w, "x-message", a.schema);
            continue;
        }
        if (!open)
            jw_open(w, "content", '{');
        open = true;
        if (strcmp(a.schema, "*") == 0)
            write_formats(w);
        else
            openapi_write_content(w, *a.type ? a.type : OPENAPI_JSON, a.schema);
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

void openapi_write_responses(struct jsonw *w, const struct route *r)
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

void openapi_write_headers(struct jsonw *w)
{
    jw_open(w, "headers", '{');
    for (size_t i = 0; i < ARRAY_LEN(headers); i++)
        if (headers[i].json)
            jw_raw(w, headers[i].name, headers[i].json);
    jw_close(w, '}');
}
