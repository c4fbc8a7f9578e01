/* SPDX-License-Identifier: MIT */
/* Waiting for a descriptor, with what ends the wait: what broker_wait and broker_next_event are made of. */
#ifndef BROKER_WAITER_H
#define BROKER_WAITER_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

struct waiter {
    int wake; /* eventfd: set by another thread, taken by the one that waits */
};

enum waiter_end { WAITER_TIME, WAITER_READABLE, WAITER_WOKEN, WAITER_STOPPED };

int waiter_open(struct waiter *w, struct err *err) MUST_CHECK;
void waiter_close(struct waiter *w);
/* Ends the waiter_wait under way, or the next one. Any thread. */
void waiter_wake(struct waiter *w);
/* `fd`: or -1. `heed_stop`: the process stop flag ends the wait too, before all else. An enum waiter_end, or
 * UNAVAILABLE. */
int waiter_wait(struct waiter *w, int fd, bool heed_stop, int64_t until_ms, struct err *err) MUST_CHECK;
/* From a time-out (negative: for ever) to a time of clock_mono_ms. */
int64_t waiter_deadline(int64_t timeout_ms);

#endif
