/* SPDX-License-Identifier: MIT */
/* The OpenAPI document, and the pages that show it. */
#include "api/docs_pages.h"

#include "api/etag.h"
#include "api/openapi.h"
#include "api/request.h"
#include "api/server.h"

#include <string.h>

/* Inline styles and pictures in the page are the libraries' own; search in ReDoc runs in a worker made of a blob. */
static const char policy[] =
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; worker-src blob:; child-src blob:; font-src data:; base-uri 'none'";

static const char swagger_page[] =
    "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>steno: the API</title>\n"
    "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
    "<link rel=\"stylesheet\" href=\"/docs/swagger-ui.css\">\n</head>\n<body>\n<div id=\"page\"></div>\n"
    "<script src=\"/docs/swagger-ui-bundle.js\"></script>\n<script src=\"/docs/swagger-ui-start.js\"></script>\n"
    "</body>\n</html>\n";

static const char redoc_page[] =
    "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>steno: the API</title>\n"
    "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<style>body { margin: 0 }</style>\n"
    "</head>\n<body>\n<div id=\"page\"></div>\n"
    "<script src=\"/docs/redoc.standalone.js\"></script>\n<script src=\"/docs/redoc-start.js\"></script>\n"
    "</body>\n</html>\n";

/* What starts them stands in files of its own, so that the pages need no inline scripts. */
static const struct docs_file start_files[] = {
#define FILE_ROW(name, text)                                                \
    {                                                                       \
        name, "text/javascript; charset=utf-8", "1", text, sizeof(text) - 1 \
    }
    FILE_ROW("swagger-ui-start.js",
             "SwaggerUIBundle({url: '/openapi.json', dom_id: '#page', deepLinking: true, validatorUrl: null});\n"),
    FILE_ROW("redoc-start.js", "Redoc.init('/openapi.json', {}, document.getElementById('page'));\n"),
#undef FILE_ROW
};

int route_openapi(struct request *rq, struct err *err)
{
    CLEANUP(buf_clear) struct buf b = BUF_INIT(OPENAPI_MAX);
    openapi_write(&b, rq->api->o.version, rq->direct);
    int rc = answer_give(&rq->answer, &b, err);
    rq->answer.status = 200;
    rq->answer.content_type = "application/json";
    return rc;
}

static int not_built_in(struct request *rq)
{
    return request_problem(rq, PROBLEM_no_such_route,
                           "this program was built without the page: see /openapi.json, or build it with -Dapi_docs "
                           "(docs/development.md)");
}

static int answer_page(struct request *rq, const char *html, struct err *err)
{
    if (!docs_files[0].name)
        return not_built_in(rq);
    int rc = answer_write(&rq->answer, html, strlen(html), err);
    rq->answer.status = 200;
    rq->answer.content_type = "text/html; charset=utf-8";
    answer_header(&rq->answer, "Content-Security-Policy", "%s", policy);
    return rc;
}

int route_docs(struct request *rq, struct err *err)
{
    return answer_page(rq, swagger_page, err);
}

int route_redoc(struct request *rq, struct err *err)
{
    return answer_page(rq, redoc_page, err);
}

int route_docs_file(struct request *rq, struct err *err)
{
    (void)err;
    const struct docs_file *f = docs_files;
    if (!f->name)
        return not_built_in(rq);
    while (f->name && strcmp(f->name, rq->params[0]) != 0)
        f++;
    for (size_t i = 0; i < ARRAY_LEN(start_files) && !f->name; i++)
        if (strcmp(start_files[i].name, rq->params[0]) == 0)
            f = &start_files[i];
    if (!f->name)
        return request_problem(rq, PROBLEM_no_such_route, NULL);
    rq->answer.content_type = f->media_type;
    if (etag_answer(rq, "%s", f->tag))
        return 0;
    rq->answer.status = 200;
    answer_constant(&rq->answer, f->data, f->size);
    return 0;
}
