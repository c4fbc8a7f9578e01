/* SPDX-License-Identifier: MIT */
/*
 * A small HTTP/1.1 server for tests, on a free port of 127.0.0.1. Each connection has a thread; a handler gets each
 * whole request and writes what it likes, also half an answer or none. One handler runs at a time.
 */
#ifndef TESTS_WEB_SERVER_H
#define TESTS_WEB_SERVER_H

#include "base/buf.h"

#include <stdbool.h>
#include <stddef.h>

struct web_request {
    const char *method, *target; /* "GET", "/a/b?c=d" */
    const char *head;            /* the lines of the headers */
    const char *body;
    size_t body_len;
    unsigned number; /* of the request, from 0 on */
    int fd;
};

/* False: the connection is closed. */
typedef bool (*web_fn)(const struct web_request *q, void *arg);

struct web_server;
int web_server_start(web_fn fn, void *arg, struct web_server **ret, struct err *err) MUST_CHECK;
void web_server_stop(struct web_server *s); /* joins all its threads */
int web_server_port(const struct web_server *s);
/* No handler runs between the two: for whoever looks at or changes what a handler uses. */
void web_server_hold(struct web_server *s);
void web_server_release(struct web_server *s);

/* Is "Name: value" among the headers? Value NULL: any. */
bool web_has(const struct web_request *q, const char *name, const char *value);
/* The value of a header; "" when it is not there. */
void web_header(const struct web_request *q, const char *name, char *ret, size_t size);
/* An answer with Content-Length; `fields` are whole lines with "\r\n". */
bool web_answer(const struct web_request *q, int status, const char *fields, const void *body, size_t n);
/* As web_answer, but only the first `sent` bytes of the body; then close. */
bool web_answer_cut(const struct web_request *q, int status, const char *fields, const void *body, size_t n,
                    size_t sent);

#endif
