/* SPDX-License-Identifier: MIT */
/*
 * Limits of requests to remote engines: rate_take of base/rate.h as one statement, so that no two workers take the same
 * token. The database's clock counts.
 */
#include "job/store_internal.h"

#include "base/rate.h"

struct take_call {
    const char *name;
    struct rate rate;
    int64_t now, next_at;
};

static int on_next(const struct db_row *row, void *arg, struct err *err)
{
    struct take_call *c = arg;
    (void)err;
    c->next_at = db_col_int(row, 0);
    return 0;
}

static int take_fn(struct db_tx *tx, void *arg, struct err *err)
{
    struct take_call *c = arg;
    c->now = db_now(tx);
    int64_t full = c->now - c->rate.saved_ms; /* the state of a full bucket */
    return db_query(
        tx,
        "INSERT INTO request_rates (name, next_at) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET "
        "next_at = CASE WHEN request_rates.next_at > $3 THEN request_rates.next_at ELSE $3 END + $4 "
        "RETURNING next_at",
        DB_ARGS(db_text(c->name), db_int(full + c->rate.interval_ms), db_int(full), db_int(c->rate.interval_ms)),
        on_next, c, err);
}

int store_take_request(struct store *s, const char *name, int64_t per_minute, int64_t *ret_wait_ms, struct err *err)
{
    struct take_call c = {.name = name, .rate = rate_of(per_minute)};
    int rc = db_write(s->db, DB_RELAXED, take_fn, &c, err);
    if (rc < 0)
        return rc;
    *ret_wait_ms = MAX(c.next_at - c.rate.interval_ms - c.now, 0);
    return 0;
}
