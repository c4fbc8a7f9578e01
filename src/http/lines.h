/* SPDX-License-Identifier: MIT */
/*
 * Lines to HTTP servers: a line is a libcurl easy handle, for one request at a time, in a multi handle of its own,
 * because a multi handle can be left at any moment: that is how a cancel is obeyed while a server thinks, and how an
 * answer can be pulled. Lines wait with their open connection for the next request.
 *
 *     l = http_line_take(lines);         options on l->easy, http_line_field for each header
 *     http_line_begin(l, url);           then http_line_step until it is true, or until there is enough
 *     http_line_give(lines, l, sound);
 *
 * Any thread may take and give; a line belongs to one thread at a time. Nothing here blocks.
 */
#ifndef HTTP_LINES_H
#define HTTP_LINES_H

#include "base/err.h"

#include <curl/curl.h>
#include <stdbool.h>

struct http_line {
    CURL *easy;
    CURLM *multi;
    struct curl_slist *fields;
    char trouble[CURL_ERROR_SIZE]; /* libcurl's own words on what went wrong, "": none */
    struct http_line *next;
};

struct http_lines;

/* `ca_file`: PEM; NULL or "": the system's. INVALID: it cannot be read. */
int http_lines_new(const char *ca_file, struct http_lines **ret, struct err *err) MUST_CHECK;
void http_lines_free(struct http_lines *h); /* NULL is fine; none may be taken */

/* Ready for options. NULL: no memory. */
struct http_line *http_line_take(struct http_lines *h);
/* `sound` false: nobody knows in what state the connection is, it is closed. Breaks off what is left of a request. */
void http_line_give(struct http_lines *h, struct http_line *l, bool sound);

/* The next two: false when there is no memory. */
bool http_line_field(struct http_line *l, const char *text); /* "Name: value" */
bool http_line_begin(struct http_line *l, const char *url);
/* Lets the request go on as far as it goes without waiting. True: it is over, *ret is how. */
bool http_line_step(struct http_line *l, CURLcode *ret);
/* What a failure means that is none of the server's words: `ca_option` names the setting of the file above. */
int http_line_failure(const struct http_line *l, CURLcode code, const char *ca_option, struct err *err);

#endif
