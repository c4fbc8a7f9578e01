/* SPDX-License-Identifier: MIT */
/*
 * Statements of many callers in one round trip and one commit: private to the PostgreSQL driver.
 *
 * Leaders and followers, as in sqlite_group.c: a caller who finds a free leader's place goes at once, alone. While all
 * places are taken callers queue, and whoever ends a round trip hands its place with all that queued to the first of
 * them. So a lone call waits for nobody, and under load a message carries dozens.
 *
 * All calls of one round trip are one transaction. When one of them fails, none was kept, and each is run again by its
 * own caller, alone.
 */
#ifndef DB_PG_LANE_H
#define DB_PG_LANE_H

#include "db/pg_pool.h"

struct pg_lane;

struct pg_lane_opts {
    struct pg_pool *pool; /* borrowed */
    bool read;
    enum db_durability how; /* unless read */
    unsigned leaders;       /* round trips at a time */
};

struct pg_lane *pg_lane_new(const struct pg_lane_opts *o) MUST_CHECK;
void pg_lane_free(struct pg_lane *lane); /* NULL is fine; no call is under way */
/* As db_write_stmts. */
int pg_lane_run(struct pg_lane *lane, struct db_stmt *stmts, size_t n, struct err *err) MUST_CHECK;

#endif
