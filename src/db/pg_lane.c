/* SPDX-License-Identifier: MIT */
#include "db/pg_lane.h"

#include "base/clock.h"
#include "base/id.h"
#include "base/mem.h"
#include "base/thread.h"
#include "db/pg_tx.h"

#include <stdlib.h>

enum {
    GROUP_MAX = 64, /* calls in one round trip: bounds how long the first of them waits */
    TRIES = 10,
};

enum outcome {
    WAITING,
    DONE,
    ALONE, /* to be run again by its own caller */
};

/* Lives on the stack of its caller until it has an outcome. */
struct call {
    struct db_stmt *stmts;
    size_t n;
    struct pg_result *results[DB_STMTS_MAX];
    int rc;
    struct err *err;
    enum outcome outcome; /* guarded by mu, as group and next */
    struct call *group;   /* this caller is a leader, of these */
    struct call *next;
    pthread_cond_t wake;
};

struct pg_lane {
    struct pg_lane_opts o;
    pthread_mutex_t mu;
    struct call *first, **last; /* guarded by mu */
    unsigned leading;           /* guarded by mu */
};

struct pg_lane *pg_lane_new(const struct pg_lane_opts *o)
{
    struct pg_lane *lane = xcalloc(1, sizeof *lane);
    lane->o = *o;
    lane->last = &lane->first;
    pthread_mutex_init(&lane->mu, NULL);
    return lane;
}

void pg_lane_free(struct pg_lane *lane)
{
    if (!lane)
        return;
    pthread_mutex_destroy(&lane->mu);
    free(lane);
}

static void drop_results(struct call *c)
{
    for (size_t i = 0; i < c->n; i++) {
        pg_free(c->results[i]);
        c->results[i] = NULL;
    }
}

static int send_group(struct pg_lane *lane, struct pg_link *l, struct call *group, struct err *err)
{
    int rc = lane->o.read ? 0 : pg_send_durability(l, lane->o.how, err);
    for (struct call *c = group; c && rc >= 0; c = c->next)
        for (size_t i = 0; i < c->n && rc >= 0; i++)
            rc = pg_send_stmt(l, c->stmts[i].sql, c->stmts[i].args, c->stmts[i].n_args, err);
    return rc;
}

/* *ret_refused: the server has said that it did not do a statement, and so none. */
static int read_group(struct pg_link *l, struct call *group, bool *ret_refused, struct err *err)
{
    int rc = 0;
    for (struct call *c = group; c && rc >= 0; c = c->next)
        for (size_t i = 0; i < c->n && rc >= 0; i++)
            rc = pg_next(l, &c->results[i], err);
    *ret_refused = rc < 0 && pg_refused(l);
    struct err end = ERR_INIT;
    if (!pg_lost(l) && pg_end(l, &end) < 0 && rc >= 0) {
        *err = end;
        rc = end.code;
    }
    return rc;
}

/*
 * One round trip for the whole group. *ret_again: nothing of it was kept, and running each call again may help: it
 * failed for a reason that may be another call's, or the connection was lost before the server could commit. After a
 * silence it would not.
 */
static int run_group(struct pg_lane *lane, struct call *group, bool *ret_again, struct err *err)
{
    struct pg_link *l = NULL;
    *ret_again = false;
    int rc = pg_pool_take(lane->o.pool, &l, err);
    if (rc < 0)
        return rc;
    bool lost = false, synced = false, refused = false;
    rc = send_group(lane, l, group, err);
    if (rc >= 0) {
        synced = true;
        rc = pg_sync(l, err);
        if (rc >= 0)
            rc = read_group(l, group, &refused, err);
        lost = pg_lost(l);
    } else {
        lost = pg_lost(l);
        pg_abandon(l); /* what was queued before the one that could not be must not be kept */
    }
    if (rc < 0) {
        for (struct call *c = group; c; c = c->next)
            drop_results(c);
        *ret_again = lost || pg_remedy(l) == PG_REPEAT || pg_stale(l) || group->next;
        if (pg_silent(l))
            *ret_again = false;
        if (lost && synced && !refused && !lane->o.read) {
            *ret_again = false;
            rc = err_set(err, ERR_UNCERTAIN, "it is not known whether the change was kept: %.400s", err->msg);
        }
    } else if (!lane->o.read) {
        pg_set_note(l, lane->o.how == DB_DURABLE ? PG_SYNC_ON : PG_SYNC_OFF);
    }
    pg_pool_give(lane->o.pool, l);
    return rc;
}

/* A group of one, as often as it takes. */
static int run_alone(struct pg_lane *lane, struct call *c)
{
    bool again = true;
    int rc = 0;
    c->next = NULL;
    for (int i = 0; again && i < TRIES; i++) {
        if (i > 0)
            clock_sleep_ms(random_below(10 * i + 1));
        rc = run_group(lane, c, &again, c->err);
    }
    return rc;
}

/* The head of the queue, at most GROUP_MAX calls. */
static struct call *take_group_locked(struct pg_lane *lane)
{
    struct call *group = lane->first, *end = group;
    for (int n = 1; n < GROUP_MAX && end->next; n++)
        end = end->next;
    lane->first = end->next;
    if (!lane->first)
        lane->last = &lane->first;
    end->next = NULL;
    return group;
}

static void lead(struct pg_lane *lane, struct call *me, struct call *group)
{
    struct err e = ERR_INIT;
    bool again;
    int rc = run_group(lane, group, &again, &e);
    pthread_mutex_lock(&lane->mu);
    /* The owners need the mutex to leave: their calls stand until it is released. */
    for (struct call *c = group, *next; c; c = next) {
        next = c->next;
        c->rc = rc;
        if (rc < 0)
            *c->err = e;
        c->outcome = again ? ALONE : DONE;
        if (c != me)
            pthread_cond_signal(&c->wake);
    }
    if (lane->first) {
        struct call *heir = lane->first;
        heir->group = take_group_locked(lane);
        pthread_cond_signal(&heir->wake);
    } else {
        lane->leading--;
    }
    pthread_mutex_unlock(&lane->mu);
}

int pg_lane_run(struct pg_lane *lane, struct db_stmt *stmts, size_t n, struct err *err)
{
    if (n < 1 || n > DB_STMTS_MAX)
        return err_set(err, ERR_INTERNAL, "%zu statements in one call", n);
    struct call me = {.stmts = stmts, .n = n, .err = err};
    cond_init(&me.wake);
    pthread_mutex_lock(&lane->mu);
    if (lane->leading < lane->o.leaders) {
        lane->leading++;
        me.group = &me;
    } else {
        *lane->last = &me; /* it has left the queue again when this function returns */
        /* cppcheck-suppress autoVariables */
        lane->last = &me.next;
    }
    while (me.outcome == WAITING && !me.group)
        cond_wait_ms(&me.wake, &lane->mu, -1);
    pthread_mutex_unlock(&lane->mu);
    if (me.group)
        lead(lane, &me, me.group);
    pthread_cond_destroy(&me.wake);
    int rc = me.outcome == ALONE ? run_alone(lane, &me) : me.rc;
    for (size_t i = 0; i < n && rc >= 0; i++) {
        stmts[i].changed = pg_changed(me.results[i]);
        rc = pg_each_row(me.results[i], stmts[i].row, stmts[i].row_arg, err);
    }
    drop_results(&me);
    return rc;
}
