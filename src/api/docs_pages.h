/* SPDX-License-Identifier: MIT */
/*
 * The pages /docs (Swagger UI) and /redoc (ReDoc), which show the OpenAPI document. What they are made of is put into
 * the program by the build, when it was given (-Dapi_docs); without it the pages say so. They load nothing from
 * elsewhere, and a browser is told to refuse it.
 */
#ifndef API_DOCS_PAGES_H
#define API_DOCS_PAGES_H

#include <stddef.h>

/* Made by the build (tools/embed_api_docs.py), ended by a row without a name. */
struct docs_file {
    const char *name, *media_type;
    const char *tag; /* of its content */
    const char *data;
    size_t size;
};
extern const struct docs_file docs_files[];

#endif
