/* SPDX-License-Identifier: MIT */
/* The events' side of Redis: a subscription to the channel, made again whenever the connection was lost. */
#ifndef BROKER_REDIS_SUB_H
#define BROKER_REDIS_SUB_H

#include "broker/broker_ops.h"
#include "broker/redis_pipe.h"
#include "broker/waiter.h"

struct redis_sub {
    const struct redis_addr *addr;
    const char *channel;
    struct redis_pipe *pipe;
    struct waiter waiter;
    struct line line;
    bool listen;
    redisContext *c;  /* NULL: only waits */
    int64_t ping_at;  /* monotonic: nothing was heard for a while, time to ask */
    int64_t heard_by; /* later the connection is dead; 0: not asked */
};

/* As redis_take_open and redis_take_close. When it returns and the server is there, events sent from now on arrive. */
int redis_sub_open(struct redis_sub *s, bool listen, struct err *err) MUST_CHECK;
void redis_sub_close(struct redis_sub *s);
int redis_sub_next(struct redis_sub *s, int64_t timeout_ms, struct event *ret, struct err *err) MUST_CHECK;

#endif
