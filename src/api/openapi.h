/* SPDX-License-Identifier: MIT */
/*
 * The OpenAPI 3.1 document, built from the tables that the program runs on: routes (routes.c), form fields (form.h and
 * the dialects' own), options of a job, formats, problems, states. What no table says, the shapes of JSON and what
 * parameters mean, stands in the files of src/api/openapi/, which the build puts into the program.
 *
 * How a route gets into the document. Its row in routes.c says what it takes and answers, in `answers`: words with
 * blanks between them.
 *
 *   "202:Job"                      status 202 with JSON of the schema `Job`
 *   "200:Status 204"               or 204 without a body
 *   "200:*"                        a transcript in any of our formats
 *   "200@text/csv"                 a body of another type than JSON; "200:String@text/plain" with a schema, which
 *                                  of text/event-stream is that of each event's data
 *   "<PresignRequest 200:Presign"  a BODY_JSON route: the body it takes
 *   "409"                          a refusal with that status, beside those that any route may send
 *   "101:Update"                   a WebSocket opens; each message is JSON of the schema `Update` (x-message)
 *
 * Refusals have the dialect's `error_schema`. What any route may send is known here: 400, 413, 500, 501, 503; 404 with
 * a {} in the pattern; 408, 409, 415 and 422 with an upload. A dialect that words them with other statuses lists those.
 *
 * Then write the schemas it names, in a file of src/api/openapi/ (one for each dialect; list it in meson.build):
 *
 *   {"schemas":    {"Status": {"type": "object", ...}},           JSON Schema; "$ref": "#/components/schemas/Job"
 *    "parameters": {"limit": {"schema": {...}, "description"}},   by the names in `query`, and of {} in patterns;
 *                                                                 "/jobs limit" is that of one path
 *    "fields":     {"openai stream": {...}}}                      the schemas of a dialect's extra form fields
 *
 * Write "additionalProperties": false and "required", for tests/e2e hold every answer against the document: one whose
 * status, media type or body it does not describe fails the test. The build refuses a $ref to a schema that is nowhere;
 * test_openapi.py refuses parameters that are not described and schemas that nothing names.
 */
#ifndef API_OPENAPI_H
#define API_OPENAPI_H

#include "base/buf.h"

#include <stdbool.h>

/* Texts from src/api/openapi/: made by the build, sorted by nothing, ended by a row without a name. */
struct openapi_part {
    const char *name, *json;
};
extern const struct openapi_part openapi_schemas[], openapi_parameters[], openapi_fields[];

enum { OPENAPI_MAX = 4 << 20 };

/* The JSON of a part; NULL when there is none of that name. */
const char *openapi_find(const struct openapi_part *parts, const char *name);
/* Appends the document: of the direct service's routes, or of all others. Both have all schemas. */
void openapi_write(struct buf *b, const char *version, bool direct);

#endif
