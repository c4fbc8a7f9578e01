/* SPDX-License-Identifier: MIT */
/*
 * What engines that are servers elsewhere have in common: the tries of one chunk, how fast they may follow each other,
 * and what becomes of refusals.
 *
 * Trouble that may pass (no connection, broken off, too slow, 5xx, nonsense) is tried again a few times with growing
 * pauses. 429 is waited out as long as the server says, and then all calls of this engine wait; a quota that is used
 * up for the day is not. What lasts longer is the job's retry policy's. A cancel is looked at before every try, while
 * waiting, and during the exchange.
 */
#ifndef ENGINE_REMOTE_H
#define ENGINE_REMOTE_H

#include "engine/engine.h"
#include "engine/remote_http.h"

struct remote_opts {
    const char *name;        /* the engine's: in sentences, and of its limit of requests */
    const char *key_setting; /* in sentences: where the key comes from */
    const struct engine_server *server;
    const struct engine_opts *engine;
};

struct remote;

/* Keeps no pointer into `o`, except the strings `name` and `key_setting`, which are static. */
int remote_new(const struct remote_opts *o, struct remote **ret, struct err *err) MUST_CHECK;
void remote_free(struct remote *r); /* NULL is fine */

/*
 * Reads the body of an answer with status 200; a class that may pass (err_retryable) has the request tried again. The
 * sentence may quote the server.
 */
typedef int (*remote_read_fn)(const char *body, size_t n, void *arg, struct err *err);

/*
 * Posts until an answer could be read. Classes: as `read` has them; INVALID (the key or the request is refused),
 * TOO_LARGE, UNSUPPORTED, BUSY (429), TIMEOUT, UNAVAILABLE, CANCELLED, NOMEM. Sentences quote what the server said,
 * never the key.
 */
int remote_call(struct remote *r, const struct remote_request *q, remote_read_fn read, void *arg,
                const struct cancel *cancel, struct err *err) MUST_CHECK;

#endif
