/* SPDX-License-Identifier: MIT */
/*
 * The bridge to libmicrohttpd: from its callbacks to requests and back. Its files (http*.c) alone see microhttpd.h.
 *
 * Tasks: what runs on a pool for a request. http_task_begin is asked before a connection is suspended for a task:
 * once the server stops it says no, so that no connection is left suspended. Each begun task holds a reference to the
 * request and ends with http_task_end.
 */
#ifndef API_HTTP_H
#define API_HTTP_H

#include "api/request.h"

struct MHD_Daemon;

/* What comes in at a listening socket. Stands until http_stop. */
struct http_door {
    struct api *api;
    bool direct; /* the direct service */
};

/* Serves on a listening socket, which stays the caller's, with at most so many connections. */
int http_start(struct http_door *door, int fd, unsigned connections, struct MHD_Daemon **ret, struct err *err)
    MUST_CHECK;
/*
 * How many connections there may be on all sockets together, and how many of *live live ones: what the limit of open
 * files allows.
 */
unsigned http_connections_max(unsigned *live);
/* Accepts no further connection. */
void http_quiesce(struct MHD_Daemon *d);
/* Closes all connections; none may be suspended. */
void http_stop(struct MHD_Daemon *d);

/* A connection that is suspended reads and sends nothing; only the HTTP thread suspends, in its callback. */
void http_suspend(struct request *rq);
void http_resume(struct request *rq);
/*
 * Sends the answer while the body is still coming in, which libmicrohttpd cannot: straight to the socket, then no
 * more is sent. What still comes must be read and thrown away for a while, or the client would see a reset
 * connection instead of the answer.
 */
void http_send_early(struct request *rq);

bool http_task_begin(struct request *rq) MUST_CHECK;
/* Begins a task that resumes nothing: allowed at any time. */
void http_task_force(struct request *rq);
void http_task_end(struct request *rq);
/* What comes after a handler, by its return: the answer goes out and the task ends, or the request waits. Nothing of
 * the request may be touched after it. */
void http_handled(struct request *rq, int rc, const struct err *err);
/* The socket of a suspended request; it stays libmicrohttpd's. */
int http_socket(const struct request *rq);
/*
 * Takes it away: the descriptor is the caller's, and libmicrohttpd is left with one that leads nowhere. The handler
 * must return ROUTE_TAKEN after it; rq->answer.status counts as what was answered. NOMEM: descriptors ran out.
 */
int http_take_socket(struct request *rq, struct err *err) MUST_CHECK;
/* Appends the head of rq->answer, with all headers but a length. */
void http_head(struct request *rq, struct buf *b);
/* A header of a suspended request, the first of its name; NULL: it has none. Lives as long as the request. */
const char *http_header(const struct request *rq, const char *name);
/* Runs fn(arg) on the work pool. */
void http_run(struct request *rq, void (*fn)(void *), void *arg);
/* The same on the pool of those that wait for storage. */
void http_run_storing(struct request *rq, void (*fn)(void *), void *arg);

#endif
