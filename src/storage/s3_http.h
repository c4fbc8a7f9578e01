/* SPDX-License-Identifier: MIT */
/*
 * HTTP/1.1 exchanges for the S3 back end: one try each, blocking, with connections kept for the next. Bodies go out of
 * memory or a file, answers are pulled. Any thread may use a struct s3_http; a call belongs to one at a time.
 *
 * Errors: UNAVAILABLE (no connection, broken off; with EKEYREJECTED in err->sys: its certificate is not trusted),
 * TIMEOUT (the server was silent too long), NOMEM.
 */
#ifndef STORAGE_S3_HTTP_H
#define STORAGE_S3_HTTP_H

#include "storage/s3_sign.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct s3_http_opts {
    const char *ca_file; /* PEM; NULL or "": the system's */
    int64_t connect_ms;  /* for name, connection and TLS */
    int64_t silence_ms;  /* longest time nothing may move */
    bool direct;         /* past any proxy of the environment */
};

struct s3_http;
struct s3_http_call;

struct s3_http_body {
    const void *data; /* NULL: from fd */
    int fd;           /* read by position, from 0 on */
    int64_t size;
};

struct s3_http_request {
    const char *method, *url;
    const struct s3_field *fields; /* headers as they go out */
    size_t n_fields;
    struct s3_http_body body; /* of PUT and POST: borrowed until the call begins to answer */
    int64_t limit_ms;         /* for the whole exchange; 0: only silence counts */
};

/* A header of the final answer; name in lower case, borrowed. */
typedef void (*s3_http_field_fn)(const char *name, const char *value, void *arg);

int s3_http_new(const struct s3_http_opts *o, struct s3_http **ret, struct err *err) MUST_CHECK;
void s3_http_free(struct s3_http *h); /* NULL is fine; no call may be open */

/*
 * Sends and waits for status and headers. *ret_lost: the server may have got the whole request without an answer to it,
 * which is also possible when a second sending of it, on a new connection, has one.
 */
int s3_http_begin(struct s3_http *h, const struct s3_http_request *q, s3_http_field_fn fn, void *arg, int *ret_status,
                  bool *ret_lost, struct s3_http_call **ret, struct err *err) MUST_CHECK;
/* Bytes of the answer's body: at least one, 0 at its end. Time between two calls does not count as silence. */
ssize_t s3_http_read(struct s3_http_call *c, void *data, size_t n, struct err *err) MUST_CHECK;
/* Breaks off what is left of the answer. NULL is fine. */
void s3_http_end(struct s3_http_call *c);

#endif
