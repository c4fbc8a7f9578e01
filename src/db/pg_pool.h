/* SPDX-License-Identifier: MIT */
/*
 * The connections of a process to PostgreSQL: private to the PostgreSQL driver.
 *
 * Opened when they are needed, up to a limit, and kept. One that the server hung up on is found when it is taken and
 * replaced; when one fell silent, all that are idle are closed. While the server cannot be reached, one connection at a
 * time is tried, at growing intervals; whoever comes between is told at once what the last try was told.
 */
#ifndef DB_PG_POOL_H
#define DB_PG_POOL_H

#include "db/db.h"
#include "db/pg_clock.h"

struct pg_pool;

struct pg_pool_opts {
    struct pg_opts link; /* its texts are copied */
    unsigned size;
    int64_t wait_ms;        /* for a free connection */
    struct pg_clock *clock; /* borrowed; looked after whenever a connection is taken */
};

struct pg_pool *pg_pool_new(const struct pg_pool_opts *o) MUST_CHECK;
void pg_pool_free(struct pg_pool *p); /* NULL is fine; all connections were given back */
/* BUSY: none was free in time. UNAVAILABLE: the server is away. */
int pg_pool_take(struct pg_pool *p, struct pg_link **ret, struct err *err) MUST_CHECK;
/* No round trip is under way on it but quiet statements. A lost one is closed, after a silence with all idle ones. */
void pg_pool_give(struct pg_pool *p, struct pg_link *l);
void pg_pool_figures(struct pg_pool *p, struct db_pool *ret);

#endif
