/* SPDX-License-Identifier: MIT */
/*
 * Commands of many threads over one connection to Redis.
 *
 * Callers append commands to a batch; one thread writes the batch whole, reads its answers, and takes the batch that
 * grew meanwhile. So a command costs a caller no round trip unless it asks for the answer, and a busy server is
 * written to in large pieces. The thread also keeps the connection: it reconnects, and pings when nothing else goes.
 *
 * Every wait ends: with the connection gone, commands under way fail and new ones are refused at once.
 */
#ifndef BROKER_REDIS_PIPE_H
#define BROKER_REDIS_PIPE_H

#include "broker/redis_conn.h"

struct redis_pipe;

/* Waits for the first try to connect, two seconds at most; away is no failure. Uses `bits` (two) of the link. */
int redis_pipe_open(const struct redis_addr *a, struct link *l, const unsigned bits[2], struct redis_pipe **ret,
                    struct err *err) MUST_CHECK;
/* Sends what was posted. NULL is fine. */
void redis_pipe_close(struct redis_pipe *p);
/* Is there a connection? */
bool redis_pipe_is_up(struct redis_pipe *p);

struct redis_args {
    size_t n;
    const char *arg[6];
    size_t len[6]; /* 0: strlen */
};

/* Sends without waiting; only while the batch is full, for LINK_PATIENCE_MS at most. UNAVAILABLE. */
int redis_pipe_post(struct redis_pipe *p, const struct redis_args *args, struct err *err) MUST_CHECK;
/* Sends and waits for the answer: *ret (may be NULL) is the integer it holds, else 0. UNAVAILABLE. */
int redis_pipe_call(struct redis_pipe *p, const struct redis_args *args, int64_t *ret, struct err *err) MUST_CHECK;
/* As redis_pipe_call, for a command that stores something: while the server refuses these (out of memory, a read-only
 * replica), the link counts as away; one that passes ends that. */
int redis_pipe_store(struct redis_pipe *p, const struct redis_args *args, struct err *err) MUST_CHECK;

#endif
