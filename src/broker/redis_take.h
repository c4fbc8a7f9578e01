/* SPDX-License-Identifier: MIT */
/*
 * The tokens' side of Redis: a worker takes them from the lists.
 *
 * Hand-over without a loss. BLPOP takes a token away before its job is claimed; who dies in between takes it along.
 * That loses no job, because the token is no job: the row in the database is, every worker looks there by itself
 * each poll_interval, and the sweeper compares each list with the number of jobs that wait and sends what
 * is missing. So there is no second list of tokens "in work" that somebody would have to clean up after the dead.
 *
 * As many tokens as waiting jobs. A worker that has a backlog claims without waiting; redis_take_used then takes one
 * token from the list for each claim. A token at hand whose job turns out to be of another queue goes back
 * to its list; one for which no job is found is stale, and is gone.
 */
#ifndef BROKER_REDIS_TAKE_H
#define BROKER_REDIS_TAKE_H

#include "broker/broker_ops.h"
#include "broker/redis_pipe.h"
#include "broker/waiter.h"

struct redis_take {
    const struct redis_addr *addr;
    const struct broker_names *names;
    struct redis_pipe *pipe;
    struct waiter waiter;
    struct line line;
    bool listen;
    enum broker_name from[BROKER_QUEUES]; /* whose tokens it takes */
    int n_from;
    redisContext *c;        /* NULL: only waits */
    char id[24];            /* the connection's at the server */
    bool asked;             /* a BLPOP is under way */
    int64_t answer_by;      /* monotonic: later the connection is dead */
    enum broker_name queue; /* of the token at hand */
    char *hand;             /* its body; NULL: none */
    size_t hand_len;
};

/* The pointers stay valid until redis_take_close. `listen` false: takes nothing, only waits. Tries to connect once. */
int redis_take_open(struct redis_take *t, bool listen, struct err *err) MUST_CHECK;
/* Gives back what is at hand. */
void redis_take_close(struct redis_take *t);
int redis_take_wait(struct redis_take *t, int64_t timeout_ms, struct err *err) MUST_CHECK;
void redis_take_used(struct redis_take *t, enum broker_name queue);

#endif
