/* SPDX-License-Identifier: MIT */
/*
 * Sends to RabbitMQ, for any number of threads: a thread of its own owns the connection, publishes what the callers
 * hand over, and wakes each when the server has confirmed its message. Many callers at once share their confirms.
 *
 * No call takes much longer than LINK_PATIENCE_MS. While the server is away, has blocked its publishers (it is short
 * of memory or disk) or stopped confirming, calls fail at once with UNAVAILABLE and the reason. A message whose
 * confirm did not come may have arrived all the same.
 */
#ifndef BROKER_RMQ_PUBLISH_H
#define BROKER_RMQ_PUBLISH_H

#include "broker/rmq_names.h"

enum { RMQ_TRIM_MAX = 1000 };

struct rmq_publisher;

struct rmq_message {
    const char *exchange, *key;
    const char *body; /* at most BROKER_MSG_MAX bytes */
    size_t len;
    bool lasting;           /* survives a restart of the server, and must reach a queue */
    const char *expires_ms; /* decimal; NULL: never */
};

/* Starts the thread. Borrows the three. */
int rmq_publisher_new(struct link *link, const struct rmq_address *a, struct rmq_names *n, struct rmq_publisher **ret,
                      struct err *err) MUST_CHECK;
/* Waits until the first try to connect is over, however it ended, or for the time of clock_mono_ms. */
void rmq_publisher_settle(struct rmq_publisher *p, int64_t until);
/* No call is under way any more. NULL is fine. */
void rmq_publisher_free(struct rmq_publisher *p);

int rmq_publisher_send(struct rmq_publisher *p, const struct rmq_message *m, struct err *err) MUST_CHECK;
/* Messages ready in a queue. Also what shows that the connection works. */
int rmq_publisher_depth(struct rmq_publisher *p, const char *queue, int64_t *ret, struct err *err) MUST_CHECK;
/*
 * Removes the `surplus` oldest messages, but leaves `keep`; RMQ_TRIM_MAX in one call. Only when more than these and all
 * there are shall go, the queue is purged: what is sent in the moment after the count goes with them.
 */
int rmq_publisher_trim(struct rmq_publisher *p, const char *queue, int64_t surplus, int64_t keep, struct err *err)
    MUST_CHECK;

#endif
