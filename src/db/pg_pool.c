/* SPDX-License-Identifier: MIT */
#include "db/pg_pool.h"

#include "base/clock.h"
#include "base/id.h"
#include "base/mem.h"
#include "base/thread.h"

#include <stdlib.h>

/* Short: a server that is back should be found soon, and one try costs it little. */
enum { FIRST_PAUSE_MS = 50, LAST_PAUSE_MS = 1000 };

struct pg_pool {
    struct pg_opts link;
    char *url, *name, *setup; /* behind `link` */
    unsigned size;
    int64_t wait_ms;
    struct pg_clock *clock;
    pthread_mutex_t mu;
    pthread_cond_t freed;
    struct pg_link **idle; /* guarded by mu, as all below; the one used last is taken first */
    unsigned n_idle, n_open, n_waiting;
    int64_t next_try, pause_ms; /* no connecting before; 0: the last one succeeded */
    struct err away;            /* what the last try was told */
};

struct pg_pool *pg_pool_new(const struct pg_pool_opts *o)
{
    struct pg_pool *p = xcalloc(1, sizeof *p);
    p->link = o->link;
    p->link.url = p->url = xstrdup(o->link.url);
    p->link.name = p->name = xstrdup(o->link.name);
    p->link.setup = p->setup = xstrdup(o->link.setup);
    p->size = o->size;
    p->wait_ms = o->wait_ms;
    p->clock = o->clock;
    p->idle = xcalloc(o->size, sizeof(struct pg_link *));
    pthread_mutex_init(&p->mu, NULL);
    cond_init(&p->freed);
    return p;
}

void pg_pool_free(struct pg_pool *p)
{
    if (!p)
        return;
    for (unsigned i = 0; i < p->n_idle; i++)
        pg_close(p->idle[i]);
    pthread_cond_destroy(&p->freed);
    pthread_mutex_destroy(&p->mu);
    free(p->idle);
    free(p->url);
    free(p->name);
    free(p->setup);
    free(p);
}

/* The place of a connection that is no more. */
static void drop_locked(struct pg_pool *p)
{
    p->n_open--;
    pthread_cond_signal(&p->freed);
}

/* Opens one in a place that is counted already. */
static int connect_new(struct pg_pool *p, struct pg_link **ret, struct err *err)
{
    int rc = pg_open(&p->link, ret, err);
    pthread_mutex_lock(&p->mu);
    if (rc < 0) {
        p->pause_ms = CLAMP(p->pause_ms * 2, (int64_t)FIRST_PAUSE_MS, (int64_t)LAST_PAUSE_MS);
        /* Many processes lost the server at the same moment: they need not come back at the same one. */
        p->next_try = clock_mono_ms() + p->pause_ms / 2 + random_below(p->pause_ms / 2 + 1);
        p->away = *err;
        drop_locked(p);
    } else {
        p->pause_ms = p->next_try = 0;
    }
    pthread_mutex_unlock(&p->mu);
    return rc;
}

static int take(struct pg_pool *p, struct pg_link **ret, struct err *err)
{
    int64_t end = clock_mono_ms() + p->wait_ms;
    pthread_mutex_lock(&p->mu);
    for (;;) {
        int64_t now = clock_mono_ms();
        if (p->n_idle) {
            struct pg_link *l = p->idle[--p->n_idle];
            pthread_mutex_unlock(&p->mu);
            if (pg_alive(l)) {
                *ret = l;
                return 0;
            }
            pg_close(l);
            pthread_mutex_lock(&p->mu);
            drop_locked(p);
            continue;
        }
        if (p->next_try > now) {
            *err = p->away;
            pthread_mutex_unlock(&p->mu);
            return err->code;
        }
        if (p->n_open < p->size) {
            p->n_open++;
            if (p->next_try) /* the server was away: the others wait for what this try finds */
                p->next_try = now + LAST_PAUSE_MS;
            pthread_mutex_unlock(&p->mu);
            return connect_new(p, ret, err);
        }
        if (now >= end) {
            pthread_mutex_unlock(&p->mu);
            return err_set(err, ERR_BUSY, "all %u connections to the database were busy for %lld ms (database_pool)",
                           p->size, (long long)p->wait_ms);
        }
        p->n_waiting++;
        cond_wait_ms(&p->freed, &p->mu, end - now);
        p->n_waiting--;
    }
}

int pg_pool_take(struct pg_pool *p, struct pg_link **ret, struct err *err)
{
    for (;;) {
        struct pg_link *l = NULL;
        int rc = take(p, &l, err);
        if (rc < 0)
            return rc;
        rc = pg_clock_keep(p->clock, l, err);
        if (rc >= 0) {
            *ret = l;
            return 0;
        }
        bool again = pg_lost(l) && !pg_silent(l);
        pg_pool_give(p, l);
        if (!again)
            return rc;
    }
}

void pg_pool_give(struct pg_pool *p, struct pg_link *l)
{
    bool close = pg_lost(l) || pg_stale(l), silent = pg_silent(l);
    if (close)
        pg_close(l);
    pthread_mutex_lock(&p->mu);
    if (close) {
        drop_locked(p);
        while (silent && p->n_idle) { /* each of them would let a call wait as long as this one */
            pg_close(p->idle[--p->n_idle]);
            drop_locked(p);
        }
    } else {
        p->idle[p->n_idle++] = l;
        pthread_cond_signal(&p->freed);
    }
    pthread_mutex_unlock(&p->mu);
}

void pg_pool_figures(struct pg_pool *p, struct db_pool *ret)
{
    pthread_mutex_lock(&p->mu);
    *ret = (struct db_pool){.max = p->size, .open = p->n_open, .busy = p->n_open - p->n_idle, .waiting = p->n_waiting};
    pthread_mutex_unlock(&p->mu);
}
