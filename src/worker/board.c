/* SPDX-License-Identifier: MIT */
/* A list under one mutex: there are at most worker_places() runs. */
#include "worker/board.h"

#include "base/clock.h"
#include "base/thread.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A job's row with its plan. */
enum { RUN_ARENA_MAX = 256 << 20 };

struct board {
    pthread_mutex_t mu;
    pthread_cond_t changed;
    struct run *first; /* guarded by mu, as below */
    size_t n, changes;
};

struct run *run_new(void)
{
    struct run *r = xcalloc(1, sizeof *r);
    r->arena = (struct arena)ARENA_INIT;
    r->arena.max = RUN_ARENA_MAX;
    r->began_ms = clock_mono_ms();
    atomic_init(&r->stage, RUN_NOT_BEGUN);
    return r;
}

void run_free(struct run *r)
{
    if (!r)
        return;
    arena_clear(&r->arena);
    free(r);
}

/* With the board's lock. */
static void run_halt(struct run *r, enum run_stop why)
{
    int goes_on = RUN_GOES_ON;
    if (atomic_compare_exchange_strong(&r->stop, &goes_on, (int)why))
        r->stopped_ms = clock_mono_ms();
    cancel_set(&r->cancel);
}

void board_new(struct board **ret)
{
    struct board *b = xcalloc(1, sizeof *b);
    pthread_mutex_init(&b->mu, NULL);
    cond_init(&b->changed);
    *ret = b;
}

void board_free(struct board *b)
{
    if (!b)
        return;
    pthread_cond_destroy(&b->changed);
    pthread_mutex_destroy(&b->mu);
    free(b);
}

void board_add(struct board *b, struct run *r)
{
    pthread_mutex_lock(&b->mu);
    for (struct run *old = b->first; old; old = old->next)
        if (strcmp(old->claim.id, r->claim.id) == 0)
            run_halt(old, RUN_LOST);
    r->next = b->first;
    b->first = r;
    b->n++;
    b->changes++;
    pthread_mutex_unlock(&b->mu);
}

/* With the lock. */
static bool take_off_locked(struct board *b, const struct run *r)
{
    struct run **at = &b->first;
    while (*at && *at != r)
        at = &(*at)->next;
    if (!*at)
        return false;
    *at = r->next;
    b->n--;
    b->changes++;
    pthread_cond_broadcast(&b->changed);
    return true;
}

bool board_remove(struct board *b, struct run *r)
{
    pthread_mutex_lock(&b->mu);
    bool was_there = take_off_locked(b, r);
    pthread_mutex_unlock(&b->mu);
    return was_there;
}

size_t board_count(struct board *b)
{
    pthread_mutex_lock(&b->mu);
    size_t n = b->n;
    pthread_mutex_unlock(&b->mu);
    return n;
}

size_t board_count_short(struct board *b, size_t *ret_all)
{
    size_t n = 0;
    pthread_mutex_lock(&b->mu);
    for (const struct run *r = b->first; r; r = r->next)
        n += r->job.small;
    *ret_all = b->n;
    pthread_mutex_unlock(&b->mu);
    return n;
}

bool board_has_suspect(struct board *b)
{
    bool has = false;
    pthread_mutex_lock(&b->mu);
    for (const struct run *r = b->first; r; r = r->next)
        has = has || (r->job.deaths > 0 && !atomic_load(&r->saved));
    pthread_mutex_unlock(&b->mu);
    return has;
}

size_t board_list(struct board *b, struct held *ret, size_t max)
{
    size_t n = 0;
    pthread_mutex_lock(&b->mu);
    for (const struct run *r = b->first; r && n < max; r = r->next, n++) {
        snprintf(ret[n].id, sizeof ret[n].id, "%s", r->claim.id);
        ret[n].fence = r->claim.fence;
    }
    pthread_mutex_unlock(&b->mu);
    return n;
}

size_t board_stands(struct board *b, struct run_stand *ret, size_t max)
{
    int64_t now = clock_mono_ms();
    size_t n = 0;
    pthread_mutex_lock(&b->mu);
    for (const struct run *r = b->first; r && n < max; r = r->next, n++) {
        ret[n] = (struct run_stand){.stage = atomic_load(&r->stage),
                                    .attempt = r->job.attempt,
                                    .running_ms = now - r->began_ms,
                                    .done_ms = atomic_load(&r->done_ms),
                                    .total_ms = atomic_load(&r->total_ms)};
        snprintf(ret[n].id, sizeof ret[n].id, "%s", r->claim.id);
    }
    pthread_mutex_unlock(&b->mu);
    return n;
}

size_t board_changes(struct board *b)
{
    pthread_mutex_lock(&b->mu);
    size_t n = b->changes;
    pthread_mutex_unlock(&b->mu);
    return n;
}

void board_wait(struct board *b, size_t n, int64_t timeout_ms)
{
    pthread_mutex_lock(&b->mu);
    int64_t until = clock_mono_ms() + timeout_ms, left;
    while (b->n == n && (left = until - clock_mono_ms()) > 0)
        cond_wait_ms(&b->changed, &b->mu, left);
    pthread_mutex_unlock(&b->mu);
}

bool board_stop(struct board *b, const struct held *which, enum run_stop why)
{
    bool stopped = false;
    pthread_mutex_lock(&b->mu);
    for (struct run *r = b->first; r; r = r->next)
        if (strcmp(r->claim.id, which->id) == 0 && r->claim.fence == which->fence) {
            stopped = run_stopped(r) == RUN_GOES_ON;
            run_halt(r, why);
        }
    pthread_mutex_unlock(&b->mu);
    return stopped;
}

void board_stop_all(struct board *b, enum run_stop why)
{
    pthread_mutex_lock(&b->mu);
    for (struct run *r = b->first; r; r = r->next)
        run_halt(r, why);
    pthread_mutex_unlock(&b->mu);
}

void board_stop_overdue(struct board *b, const struct job_limits *l)
{
    int64_t now = clock_mono_ms();
    pthread_mutex_lock(&b->mu);
    for (struct run *r = b->first; r; r = r->next) {
        int64_t limit_ms = limits_soft_ms(l, atomic_load(&r->duration_ms));
        if (limit_ms && now - r->began_ms > limit_ms)
            run_halt(r, RUN_TIMED_OUT);
    }
    pthread_mutex_unlock(&b->mu);
}

static bool is_hopeful(const struct run *r, int64_t now, int64_t patience_ms)
{
    return run_stopped(r) == RUN_GOES_ON || now - r->stopped_ms < patience_ms;
}

size_t board_hopeful(struct board *b, int64_t patience_ms, int64_t halt_ms)
{
    size_t n = 0;
    int64_t now = clock_mono_ms();
    pthread_mutex_lock(&b->mu);
    for (const struct run *r = b->first; r; r = r->next)
        n += is_hopeful(r, now, run_stopped(r) == RUN_HALTED ? halt_ms : patience_ms);
    pthread_mutex_unlock(&b->mu);
    return n;
}

bool board_has_stuck(struct board *b, int64_t patience_ms)
{
    bool has = false;
    int64_t now = clock_mono_ms();
    pthread_mutex_lock(&b->mu);
    for (const struct run *r = b->first; r; r = r->next)
        has = has || (!is_hopeful(r, now, patience_ms) && !atomic_load(&r->writing));
    pthread_mutex_unlock(&b->mu);
    return has;
}

struct run *board_abandon(struct board *b)
{
    pthread_mutex_lock(&b->mu);
    struct run *r = b->first;
    if (r)
        take_off_locked(b, r);
    pthread_mutex_unlock(&b->mu);
    return r;
}
