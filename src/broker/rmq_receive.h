/* SPDX-License-Identifier: MIT */
/*
 * Receives from RabbitMQ: a thread with a connection of its own that fills an inbox, answers heartbeats however busy
 * the process is, and connects again (and subscribes again) whenever the connection or a channel is lost.
 */
#ifndef BROKER_RMQ_RECEIVE_H
#define BROKER_RMQ_RECEIVE_H

#include "broker/rmq_inbox.h"

struct rmq_receiver;

struct rmq_receiver_opts {
    struct link *link;
    const struct rmq_address *address;
    struct rmq_names *names;
    struct rmq_inbox *inbox;
    bool tokens, events;                  /* at least one */
    enum broker_name from[BROKER_QUEUES]; /* with `tokens`: of these queues */
    int n_from;
};

/* Starts the thread. Borrows what is in `o`. */
int rmq_receiver_new(const struct rmq_receiver_opts *o, struct rmq_receiver **ret, struct err *err) MUST_CHECK;
/* Waits until it is subscribed to events, its first try failed, or for the time of clock_mono_ms. */
void rmq_receiver_settle(struct rmq_receiver *r, int64_t until);
/* NULL is fine. */
void rmq_receiver_free(struct rmq_receiver *r);

#endif
