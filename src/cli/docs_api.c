/* SPDX-License-Identifier: MIT */
/* The reference of the HTTP API, from the tables it is made of. */
#include "cli/docs.h"

#include "api/dialect.h"
#include "api/form.h"
#include "api/problem.h"
#include "api/routes.h"
#include "job/options.h"
#include "transcript/format.h"

#include <string.h>

/* Words with blanks between them, each in backticks. */
static void add_words(struct buf *b, const char *words)
{
    for (const char *p = words; *p;) {
        size_t n = strcspn(p, " ");
        buf_addf(b, "%s`%.*s`", p == words ? "" : " ", (int)n, p);
        p += n;
        p += strspn(p, " ");
    }
}

static void add_routes(struct buf *b)
{
    const struct dialect *d = NULL;
    buf_adds(b, "## Routes\n\nHEAD is answered where GET is, OPTIONS everywhere; a slash at the end of a path makes no "
                "difference.\n");
    for (const struct route *r = api_routes; r->method; r++) {
        if (r->dialect != d)
            buf_addf(b, "\n| %s | | parameters |\n|---|---|---|\n", r->dialect->name);
        d = r->dialect;
        buf_addf(b, "| `%s %s` | %s | ", r->method, r->pattern, r->help);
        add_words(b, r->query);
        buf_adds(b, " |\n");
    }
}

static void add_fields(struct buf *b)
{
    buf_adds(
        b,
        "\n## Fields of a submission\n\nWhat `POST /v1/jobs` takes beside the recording: in the form, or in the query "
        "when the body is the recording itself. An unknown field is refused.\n\n| field | |\n|---|---|\n");
#define X(name, max, check, text) buf_adds(b, "| `" #name "` | " text " |\n");
    FORM_FIELDS(X)
#undef X
#define X(kind, name, flag, arg, min, max, choices, text) buf_adds(b, "| `" #name "` | " text " |\n");
    JOB_OPTIONS(X)
#undef X
}

static void add_formats(struct buf *b)
{
    buf_adds(b, "\n## Formats of a transcript\n\n| `format` | media type | |\n|---|---|---|\n");
    for (size_t f = 0; f < FORMAT_COUNT; f++) {
        const struct format_info *i = format_info((enum format)f);
        buf_addf(b, "| `%s` | `%s` | %s |\n", i->name, i->media_type, i->help);
    }
    buf_adds(b, "\n| layout of subtitles | |\n|---|---|\n");
#define X(kind, name, flag, arg, min, max, text) buf_adds(b, "| `" #name "` | " text " |\n");
    SUBTITLE_OPTIONS(X)
#undef X
}

static void add_problems(struct buf *b)
{
    buf_adds(b, "\n## Problems\n\n| `code` | status | | what to do |\n|---|---|---|---|\n");
    for (enum problem p = 0; p < PROBLEM_COUNT; p++) {
        const struct problem_info *i = problem_info(p);
        buf_addf(b, "| `%s` | %u | %s | %s |\n", i->code, i->status, i->title, i->advice);
    }
}

void docs_api(struct buf *b)
{
    buf_adds(b, "# The HTTP API: reference\n\nMade from the program's tables by `make docs`. "
                "[api-guide.md](api-guide.md) explains how to "
                "use it; `steno openapi` and `GET /openapi.json` give all of it, with every schema, as an OpenAPI 3.1 "
                "document; the routes of the direct service have one of their own (`steno openapi --direct`).\n\n");
    add_routes(b);
    add_fields(b);
    add_formats(b);
    add_problems(b);
}
