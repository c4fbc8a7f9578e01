/* SPDX-License-Identifier: MIT */
/*
 * Limits of requests to remote engines: rate_take of base/rate.h as one statement, so that no two workers take the same
 * token. The database's clock counts; a state further ahead of it than a taking can bring it was written before the
 * clock was set back, and means nothing.
 */
#include "job/store_internal.h"

#include "base/rate.h"

enum { CLOCK_SLACK_MS = 10000 }; /* by so much processes may differ in what they take for the database's clock */

struct take_call {
    const char *name;
    struct rate rate;
    int64_t now, latest; /* a state beyond `latest` is of another time */
    int64_t wait_ms;
};

#define NEXT_AT "SELECT next_at FROM request_rates WHERE name = $1"

static int64_t wait_of(const struct take_call *c, int64_t next_at)
{
    return next_at > c->latest ? 0 : MAX(next_at - c->now, 0);
}

static int take_fn(struct db_tx *tx, void *arg, struct err *err)
{
    struct take_call *c = arg;
    int64_t full = c->now - c->rate.saved_ms, next_at = 0; /* full: the state of a full bucket */
    int rc = store_ints(
        tx,
        "INSERT INTO request_rates (name, next_at) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET next_at = "
        "CASE WHEN request_rates.next_at > $6 THEN $5 WHEN request_rates.next_at > $3 THEN request_rates.next_at "
        "ELSE $3 END + $4 WHERE request_rates.next_at <= $5 OR request_rates.next_at > $6 RETURNING next_at",
        DB_ARGS(db_text(c->name), db_int(full + c->rate.interval_ms), db_int(full), db_int(c->rate.interval_ms),
                db_int(c->now), db_int(c->latest)),
        &next_at, 1, err);
    c->wait_ms = 0;
    if (rc != 0)
        return MIN(rc, 0);
    rc = store_ints(tx, NEXT_AT, DB_ARGS(db_text(c->name)), &next_at, 1, err);
    c->wait_ms = MAX(wait_of(c, next_at), 1); /* somebody was faster */
    return MIN(rc, 0);
}

int store_take_request(struct store *s, const char *name, int64_t per_minute, int64_t *ret_wait_ms, struct err *err)
{
    struct take_call c = {.name = name, .rate = rate_of(per_minute), .now = db_clock(s->db)};
    c.latest = c.now + c.rate.interval_ms + CLOCK_SLACK_MS;
    /* Those who wait ask again and again: looking first spares the writer's lock. */
    int64_t next_at = 0;
    int rc = store_read_ints(s, NEXT_AT, DB_ARGS(db_text(name)), &next_at, 1, err);
    c.wait_ms = wait_of(&c, next_at);
    if (rc >= 0 && c.wait_ms == 0)
        rc = db_write(s->db, DB_RELAXED, take_fn, &c, err);
    if (rc < 0)
        return rc;
    *ret_wait_ms = c.wait_ms;
    return 0;
}
