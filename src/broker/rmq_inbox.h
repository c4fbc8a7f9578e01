/* SPDX-License-Identifier: MIT */
/*
 * Where the thread that receives from RabbitMQ meets the callers of broker_wait and broker_next_event. It knows nothing
 * of connections: tokens are numbers (delivery tags), events are texts.
 *
 * A token is kept by the server until it is acknowledged, and that happens when the job store was asked: as used up
 * (broker_taken) or as stale (the caller waits again). One that nobody comes for goes back to the queue.
 */
#ifndef BROKER_RMQ_INBOX_H
#define BROKER_RMQ_INBOX_H

#include "broker/rmq_names.h"

struct rmq_inbox;

/* What the receiving thread is to do. */
struct rmq_chores {
    bool somebody_waits;
    uint64_t ack[RMQ_TOKEN_QUEUES];  /* delivery tags; 0: none */
    unsigned drop[RMQ_TOKEN_QUEUES]; /* tokens to remove from the queue, after giving back */
    bool any_drop;
    bool give_back;    /* stop consuming, after the acknowledgements: nobody waits for a token */
    int64_t expect_ms; /* no later than then it may be time to give back */
};

int rmq_inbox_new(struct rmq_inbox **ret, struct err *err) MUST_CHECK;
void rmq_inbox_free(struct rmq_inbox *b);

/* ---- the callers of the broker: see broker.h ---- */

int rmq_inbox_wait(struct rmq_inbox *b, int64_t timeout_ms, struct err *err) MUST_CHECK;
void rmq_inbox_taken(struct rmq_inbox *b, enum broker_name queue);
void rmq_inbox_interrupt(struct rmq_inbox *b);
int rmq_inbox_next_event(struct rmq_inbox *b, int64_t timeout_ms, struct event *ret) MUST_CHECK;

/* ---- the receiving thread ---- */

/* Readable when there may be chores; for poll. rmq_inbox_chores makes it unreadable. */
int rmq_inbox_fd(const struct rmq_inbox *b);
/* Makes it readable, from any thread. */
void rmq_inbox_wake(struct rmq_inbox *b);
void rmq_inbox_chores(struct rmq_inbox *b, struct rmq_chores *ret);
/* The last time. */
void rmq_inbox_last_chores(struct rmq_inbox *b, struct rmq_chores *ret);
/* A token came; at most one per queue is here at a time. False: there is one already. */
bool rmq_inbox_token(struct rmq_inbox *b, enum broker_name queue, uint64_t tag) MUST_CHECK;
/* The tokens here are the server's again: their channel is closed. */
void rmq_inbox_tokens_lost(struct rmq_inbox *b);
/* Copies it. When nobody reads, old events give way to new ones. */
void rmq_inbox_event(struct rmq_inbox *b, const char *msg, size_t n);

#endif
