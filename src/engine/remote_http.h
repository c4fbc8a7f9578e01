/* SPDX-License-Identifier: MIT */
/*
 * One POST to a remote server over libcurl: blocking, one try, with connections kept for the next. Any thread; a kept
 * connection serves one call at a time.
 *
 * Proxies are those of the environment (https_proxy, no_proxy). Redirects are not followed: a key must not wander.
 */
#ifndef ENGINE_REMOTE_HTTP_H
#define ENGINE_REMOTE_HTTP_H

#include "base/buf.h"
#include "base/stop.h"

#include <stddef.h>
#include <stdint.h>

struct remote_http_opts {
    const char *ca_file; /* PEM; NULL or "": the system's */
    int64_t limit_ms;    /* for a whole exchange, so also for a server that says nothing and one that dawdles */
};

struct remote_http;

struct remote_request {
    const char *url;
    const char *const *fields; /* "Name: value", NULL-terminated; may hold secrets */
    const void *body;          /* borrowed during the call */
    size_t size;
};

struct remote_answer {
    int status;
    int64_t retry_after_ms; /* as the header has it; 0: it says nothing */
    struct buf body;
};

enum { REMOTE_ANSWER_MAX = 1 << 20 }; /* some fifty times what 30 s of speech give */

/* INVALID: the file with certificates cannot be read. */
int remote_http_new(const struct remote_http_opts *o, struct remote_http **ret, struct err *err) MUST_CHECK;
void remote_http_free(struct remote_http *h); /* NULL is fine; no call may be under way */

/*
 * Any status is a success. `ret->body` is initialised by the caller with REMOTE_ANSWER_MAX. CANCELLED, within a quarter
 * of a second; TIMEOUT; UNAVAILABLE (no connection, broken off, a body beyond its maximum); NOMEM.
 */
int remote_http_post(struct remote_http *h, const struct remote_request *q, const struct cancel *cancel,
                     struct remote_answer *ret, struct err *err) MUST_CHECK;

#endif
