/* SPDX-License-Identifier: MIT */
/* Many deadlines, of which the next one is wanted: a binary heap. Not thread-safe. */
#ifndef API_TIMERS_H
#define API_TIMERS_H

#include "base/err.h"

#include <stddef.h>
#include <stdint.h>

/* One deadline, part of what it is for. Zeroed: not set. */
struct timer {
    int64_t at_ms; /* monotonic */
    size_t place;  /* in the heap, from 1; 0: not in it */
};

struct timers {
    struct timer **heap; /* from 1 */
    size_t n, cap;
};

void timers_clear(struct timers *t);
/* Sets, or moves. NOMEM only when it was not set. */
int timer_set(struct timers *t, struct timer *x, int64_t at_ms, struct err *err) MUST_CHECK;
/* Fine when it is not set. */
void timer_unset(struct timers *t, struct timer *x);
/* The earliest; NULL when there is none. */
struct timer *timers_first(const struct timers *t);

#endif
