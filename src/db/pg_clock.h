/* SPDX-License-Identifier: MIT */
/*
 * The server's clock without asking it each time: private to the PostgreSQL driver.
 *
 * It is measured as a distance from this machine's monotonic clock, again every few seconds. That is as exact as half a
 * round trip, and it follows when the server's clock is set. Times that must be exact to the millisecond are not
 * compared across processes anywhere.
 *
 * Threads: any.
 */
#ifndef DB_PG_CLOCK_H
#define DB_PG_CLOCK_H

#include "pg/pg.h"

#include <stdatomic.h>

struct pg_clock {
    _Atomic int64_t offset;   /* server's wall clock minus our monotonic one */
    _Atomic int64_t measured; /* monotonic; 0: never */
};

/* Measures when it is time to, by one round trip on an idle connection. Failing is fine but for the first time. */
int pg_clock_keep(struct pg_clock *c, struct pg_link *l, struct err *err) MUST_CHECK;
int64_t pg_clock_now(struct pg_clock *c);

#endif
