/* SPDX-License-Identifier: MIT */
/*
 * A limit of so many requests a minute, as a token bucket that is one number.
 *
 * Tokens come at even distances; a tenth of a minute's (at least one) may be saved up. No minute sees more than
 * per_minute requests. The state is a time: when the bucket holds one token (again), at its pace. Whoever keeps it (a
 * process here, a database row in src/job/store_rate.c) makes a taking atomic.
 */
#ifndef BASE_RATE_H
#define BASE_RATE_H

#include <stdint.h>

enum { RATE_MAX = 10000 }; /* a minute: finer than milliseconds makes no sense */

struct rate {
    int64_t interval_ms; /* between two tokens */
    int64_t saved_ms;    /* what may be saved up, as time */
};

/* `per_minute` is clamped to 1..RATE_MAX. */
struct rate rate_of(int64_t per_minute);
/*
 * 0: a token was taken, use it now. Else none is there before so many milliseconds have gone by: nothing was taken, ask
 * again then. So who gives up waiting owes nothing. `*next_ms` is the state, 0 at first; clocks are the caller's.
 */
int64_t rate_take(const struct rate *r, int64_t *next_ms, int64_t now_ms);

#endif
