/* SPDX-License-Identifier: MIT */
/* Between the files that write the OpenAPI document (openapi.h). Each appends a part of it. */
#ifndef API_OPENAPI_INTERNAL_H
#define API_OPENAPI_INTERNAL_H

#include "api/jsonw.h"
#include "api/routes.h"

#include <stdbool.h>

enum { OPENAPI_NAME_SIZE = 128 };

#define OPENAPI_JSON "application/json"

/* The member `schemas` of the components. */
void openapi_write_schemas(struct jsonw *w);
/* A member `schema` that points to one of them. */
void openapi_write_ref(struct jsonw *w, const char *schema);
/* A media type of a body; `schema` "": nothing is said about it. */
void openapi_write_content(struct jsonw *w, const char *type, const char *schema);
/* The members of a parameter that is an option of subtitles; false: it is none. */
bool openapi_write_subtitle_option(struct jsonw *w, const char *name);
/* A field of forms (enum form_field): the members of its schema, and its name. */
void openapi_write_field(struct jsonw *w, size_t field);
const char *openapi_field_name(size_t field);

/* The members `parameters` and `requestBody` of a route. */
void openapi_write_parameters(struct jsonw *w, const struct route *r);
void openapi_write_body(struct jsonw *w, const struct route *r);

/* The member `responses` of a route, and `headers` of the components, to which responses point. */
void openapi_write_responses(struct jsonw *w, const struct route *r);
void openapi_write_headers(struct jsonw *w);

#endif
