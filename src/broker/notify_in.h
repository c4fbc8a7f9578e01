/* SPDX-License-Identifier: MIT */
/*
 * A connection that listens to one channel: private to the PostgreSQL broker.
 *
 * It only ever hears: that the server is gone shows by silence, so after a while without a message it is asked. A new
 * connection listens before it counts as one.
 */
#ifndef BROKER_NOTIFY_IN_H
#define BROKER_NOTIFY_IN_H

#include "broker/link.h"
#include "broker/notify_out.h"
#include "broker/waiter.h"
#include "pg/pg.h"

struct notify_in {
    const char *url, *listen; /* `listen`: the statement, or NULL: this process does not listen */
    struct notify_out *out;   /* finds out when the server is back */
    struct line line;
    struct waiter waiter;
    struct pg_link *l;
    bool was_connected;
    int64_t ask_at;
};

/* The caller has set url, listen, out, line. */
int notify_in_open(struct notify_in *n, struct err *err) MUST_CHECK;
void notify_in_close(struct notify_in *n);
/*
 * The next message. 1: *ret stands until the next call, or is NULL: messages may have been missed, because the
 * connection is a new one. 0: time-out, woken, or the stop flag (when it is heeded).
 */
int notify_in_next(struct notify_in *n, int64_t until_ms, bool heed_stop, const char **ret, struct err *err) MUST_CHECK;

#endif
