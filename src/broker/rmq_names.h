/* SPDX-License-Identifier: MIT */
/*
 * What steno has in RabbitMQ: a durable queue for each kind of token and one for dead letters, and a fanout exchange
 * for events. Whoever connects makes what is missing. What is there already with other properties (a queue with
 * priorities, a quorum queue), or may not be made by this user, is used as it is.
 *
 * Tokens go to the default exchange or, when a name is set, to a direct exchange the queues are bound to; the routing
 * key is the queue's name in either case.
 */
#ifndef BROKER_RMQ_NAMES_H
#define BROKER_RMQ_NAMES_H

#include "broker/broker_ops.h"
#include "broker/rmq_conn.h"

#include <stdatomic.h>

/* Queues of tokens come first in enum broker_name, then the one of dead letters, then the events' exchange. */
#define RMQ_TOKEN_QUEUES ((int)BROKER_DEAD)
#define RMQ_QUEUES       ((int)BROKER_EVENTS)

enum { RMQ_NAME_MAX = 255 };

struct rmq_names {
    struct broker_names n;
    char *exchange;   /* "": the default one */
    atomic_uint told; /* a bit for each thing that is used as it is: that is said once */
};

/* INVALID: a name is not fit. */
int rmq_names_init(struct rmq_names *n, const struct broker_opts *o, struct err *err) MUST_CHECK;
void rmq_names_clear(struct rmq_names *n);
/* Makes all of it. `channel` is open, and is open again afterwards. */
int rmq_names_declare(struct rmq_names *n, struct rmq_conn *c, amqp_channel_t channel, struct err *err) MUST_CHECK;

#endif
