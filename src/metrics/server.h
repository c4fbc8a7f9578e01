/* SPDX-License-Identifier: MIT */
/*
 * A small HTTP server for a process that has no other: `GET /metrics` and nothing else. One thread for each address
 * makes the page and sends it; a few connections at a time, which are closed when nothing moves on them.
 */
#ifndef METRICS_SERVER_H
#define METRICS_SERVER_H

#include "base/buf.h"
#include "base/err.h"

struct metrics_server;

/* Appends the page. Called from the server's threads. */
typedef void (*metrics_page_fn)(void *arg, struct buf *page);

/* addresses: as for base/listen.h. INVALID: bad address; UNAVAILABLE: in use. */
int metrics_server_open(const char *addresses, metrics_page_fn page, void *arg, struct metrics_server **ret,
                        struct err *err) MUST_CHECK;
/* "127.0.0.1:34567" or "unix:/path", the i-th address really bound; NULL past the last. */
const char *metrics_server_address(const struct metrics_server *s, size_t i);
/* Ends connections and threads. NULL is fine. */
void metrics_server_close(struct metrics_server *s);

#endif
