/* SPDX-License-Identifier: MIT */
/*
 * The hub: one thread with an epoll of its own that owns everything that follows jobs: waiting requests and live
 * connections.
 *
 * Events from the broker, of any process on any machine, are hints that a job's row has changed; the rows are the
 * truth and are read again by a few reader threads. Every LOOK_MS the rows of all followed jobs that have not ended are
 * looked at anyway, in batches, so that lost events are caught up.
 *
 * Threads: what is given to the hub belongs to its thread from then on. The hub's thread never blocks on the database.
 */
#ifndef API_HUB_H
#define API_HUB_H

#include "base/err.h"
#include "broker/broker.h"
#include "job/store.h"

struct hub;

struct hub_opts {
    struct store *store; /* borrowed until hub_free, as is the broker */
    struct broker *broker;
};

int hub_new(const struct hub_opts *o, struct hub **ret, struct err *err) MUST_CHECK;
/* Ends every wait and every live connection, after what they have still to be told; those that come later end at once.
 * Returns at once. */
void hub_drain(struct hub *h);
/* Ends the threads. Nothing may wait any more. NULL is fine. */
void hub_free(struct hub *h);

#endif
