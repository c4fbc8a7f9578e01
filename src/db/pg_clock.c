/* SPDX-License-Identifier: MIT */
#include "db/pg_clock.h"

#include "base/clock.h"
#include "base/str.h"

#include <time.h>

enum {
    KEEP_MS = 5000,
    SLOW_MS = 200, /* a measurement that took longer says little */
};

/* Also runs while the machine sleeps, as the server's does. */
static int64_t boot_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_BOOTTIME, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

int pg_clock_keep(struct pg_clock *c, struct pg_link *l, struct err *err)
{
    int64_t sent = boot_ms(), last = atomic_load(&c->measured), server = 0;
    if (last && sent - last < KEEP_MS)
        return 0;
    /* One thread is enough. */
    if (last && !atomic_compare_exchange_strong(&c->measured, &last, sent))
        return 0;
    struct pg_result *r = NULL;
    int rc = pg_send(l, "SELECT CAST(floor(extract(epoch FROM clock_timestamp()) * 1000) AS BIGINT)", NULL, 0, err);
    if (rc >= 0)
        rc = pg_sync(l, err);
    if (rc >= 0)
        rc = pg_next(l, &r, err);
    int64_t got = boot_ms();
    if (rc >= 0)
        rc = pg_end(l, err);
    if (rc >= 0 && !str_to_i64(pg_text(r, 0, 0), &server))
        rc = err_set(err, ERR_INTERNAL, "PostgreSQL's clock is no number");
    pg_free(r);
    if (rc >= 0 && (!last || got - sent <= SLOW_MS)) {
        atomic_store(&c->offset, server - (sent + got) / 2);
        atomic_store(&c->measured, got);
    }
    return rc;
}

int64_t pg_clock_now(struct pg_clock *c)
{
    return boot_ms() + atomic_load(&c->offset);
}
