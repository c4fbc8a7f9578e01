/* SPDX-License-Identifier: MIT */
/*
 * What is sent to PostgreSQL's NOTIFY, from any thread: private to the PostgreSQL broker.
 *
 * A thread of its own owns the connection. It sends all that has gathered as one transaction, so that many senders
 * share a round trip; and it alone probes a server that is away, so that nobody who sends is held up.
 */
#ifndef BROKER_NOTIFY_OUT_H
#define BROKER_NOTIFY_OUT_H

#include "broker/link.h"

#include <stddef.h>

struct notify_out;

/* Connects, which may take a second; a server that is away is no failure. Borrows all it is given. */
int notify_out_open(const char *url, struct link *link, unsigned bit, struct notify_out **ret, struct err *err)
    MUST_CHECK;
void notify_out_close(struct notify_out *o); /* NULL is fine; sends what is posted */
bool notify_out_is_up(struct notify_out *o);
/* Returns when the server has it. UNAVAILABLE: it has not, or nobody knows. */
int notify_out_send(struct notify_out *o, const char *channel, const char *text, struct err *err) MUST_CHECK;
/* Returns at once, or when a long queue has become shorter, within a second; a loss shows on the link. UNAVAILABLE: the
 * server is away. BUSY: too much waits to be sent. */
int notify_out_post(struct notify_out *o, const char *channel, const char *text, struct err *err) MUST_CHECK;
/* One round trip. */
int notify_out_ping(struct notify_out *o, struct err *err) MUST_CHECK;

#endif
