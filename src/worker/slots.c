/* SPDX-License-Identifier: MIT */
/*
 * Lanes with waiting tasks stand in a ring. A thread takes the first lane, takes one task from it, and puts the lane
 * at the ring's end if it has more: a lane with one task waits at most for one task of each other lane, however
 * many those have posted. Lanes that had no turn yet have a ring of their own, and the threads take from the two by
 * turns: a clip does not wait for its turn behind all long recordings, and clips, each of which is a new lane, leave
 * every other task to the recordings, however many clips there are. One mutex guards everything; tasks run without it.
 */
#include "worker/slots.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/thread.h"

#include <stdlib.h>

/* A queue of tasks, linked through slot_task.next. */
struct tasks {
    struct slot_task *first, *last;
};

struct lane {
    struct slots *slots;
    pthread_cond_t finished;    /* a task came to `done` */
    struct tasks waiting, done; /* guarded by slots->mu, as all below */
    struct lane *next;          /* in its ring */
    struct log_scope scope;     /* of the thread that opened it: its tasks speak for the same job */
    bool in_ring, had_turn;
};

/* Lanes, linked through lane.next. */
struct ring {
    struct lane *first, *last;
};

struct slots {
    pthread_mutex_t mu;
    pthread_cond_t work;
    struct ring fresh, old; /* lanes with waiting tasks, by had_turn; guarded by mu, as the next two */
    bool old_next;          /* whose turn it is when both have some */
    bool stopping;
    unsigned busy;      /* threads that run a task; guarded by mu */
    unsigned n_threads; /* fixed after slots_new */
    pthread_t threads[];
};

static void tasks_add(struct tasks *q, struct slot_task *t)
{
    t->next = NULL;
    if (q->last)
        q->last->next = t;
    else
        q->first = t;
    q->last = t;
}

static struct slot_task *tasks_take(struct tasks *q)
{
    struct slot_task *t = q->first;
    if (!t)
        return NULL;
    q->first = t->next;
    if (!q->first)
        q->last = NULL;
    t->next = NULL;
    return t;
}

static struct ring *ring_of(struct slots *s, const struct lane *l)
{
    return l->had_turn ? &s->old : &s->fresh;
}

static void ring_add_locked(struct slots *s, struct lane *l)
{
    struct ring *r = ring_of(s, l);
    l->next = NULL;
    l->in_ring = true;
    if (r->last)
        r->last->next = l;
    else
        r->first = l;
    r->last = l;
}

/* NULL: no lane waits. */
static struct lane *ring_take_locked(struct slots *s)
{
    struct ring *r = s->fresh.first ? &s->fresh : &s->old;
    if (s->fresh.first && s->old.first) {
        r = s->old_next ? &s->old : &s->fresh;
        s->old_next = !s->old_next;
    }
    struct lane *l = r->first;
    if (!l)
        return NULL;
    r->first = l->next;
    if (!r->first)
        r->last = NULL;
    l->next = NULL;
    l->in_ring = false;
    return l;
}

static void *slot_main(void *arg)
{
    struct slots *s = arg;
    pthread_mutex_lock(&s->mu);
    for (;;) {
        struct lane *l;
        while (!(l = ring_take_locked(s)) && !s->stopping)
            cond_wait_ms(&s->work, &s->mu, -1);
        if (!l)
            break;
        struct slot_task *t = tasks_take(&l->waiting);
        l->had_turn = true;
        if (!t)
            continue; /* all of it was withdrawn */
        if (l->waiting.first)
            ring_add_locked(s, l);
        s->busy++;
        pthread_mutex_unlock(&s->mu);
        struct log_scope before = log_scope_swap(l->scope);
        t->run(t);
        log_scope_swap(before);
        pthread_mutex_lock(&s->mu);
        s->busy--;
        tasks_add(&l->done, t);
        pthread_cond_signal(&l->finished);
    }
    pthread_mutex_unlock(&s->mu);
    return NULL;
}

int slots_new(unsigned threads, struct slots **ret, struct err *err)
{
    struct slots *s = xcalloc(1, sizeof *s + threads * sizeof s->threads[0]);
    pthread_mutex_init(&s->mu, NULL);
    cond_init(&s->work);
    for (unsigned i = 0; i < threads; i++) {
        int rc = thread_start(&s->threads[i], "slot", slot_main, s, err);
        if (rc < 0) {
            slots_free(s);
            return rc;
        }
        s->n_threads++;
    }
    *ret = s;
    return 0;
}

void slots_free(struct slots *s)
{
    if (!s)
        return;
    pthread_mutex_lock(&s->mu);
    s->stopping = true;
    pthread_cond_broadcast(&s->work);
    pthread_mutex_unlock(&s->mu);
    for (unsigned i = 0; i < s->n_threads; i++)
        pthread_join(s->threads[i], NULL);
    pthread_cond_destroy(&s->work);
    pthread_mutex_destroy(&s->mu);
    free(s);
}

unsigned slots_count(const struct slots *s)
{
    return s->n_threads;
}

unsigned slots_busy(struct slots *s)
{
    pthread_mutex_lock(&s->mu);
    unsigned n = s->busy;
    pthread_mutex_unlock(&s->mu);
    return n;
}

struct lane *lane_open(struct slots *s)
{
    struct lane *l = xcalloc(1, sizeof *l);
    l->slots = s;
    l->scope = log_scope_now();
    cond_init(&l->finished);
    return l;
}

void lane_post(struct lane *l, struct slot_task *t)
{
    struct slots *s = l->slots;
    pthread_mutex_lock(&s->mu);
    tasks_add(&l->waiting, t);
    if (!l->in_ring)
        ring_add_locked(s, l);
    pthread_cond_signal(&s->work);
    pthread_mutex_unlock(&s->mu);
}

struct slot_task *lane_next(struct lane *l, int64_t timeout_ms)
{
    int64_t until = clock_mono_ms() + timeout_ms;
    pthread_mutex_lock(&l->slots->mu);
    struct slot_task *t;
    while (!(t = tasks_take(&l->done))) {
        int64_t left = until - clock_mono_ms();
        if (left <= 0)
            break;
        cond_wait_ms(&l->finished, &l->slots->mu, left);
    }
    pthread_mutex_unlock(&l->slots->mu);
    return t;
}

struct slot_task *lane_withdraw(struct lane *l)
{
    pthread_mutex_lock(&l->slots->mu);
    struct slot_task *t = tasks_take(&l->waiting);
    pthread_mutex_unlock(&l->slots->mu);
    return t;
}

void lane_close(struct lane *l)
{
    struct slots *s = l->slots;
    pthread_mutex_lock(&s->mu);
    /* An emptied lane may still stand in the ring. */
    struct ring *r = ring_of(s, l);
    struct lane **at = &r->first, *before = NULL;
    while (l->in_ring && *at != l) {
        before = *at;
        at = &(*at)->next;
    }
    if (l->in_ring) {
        *at = l->next;
        if (r->last == l)
            r->last = before;
    }
    pthread_mutex_unlock(&s->mu);
    pthread_cond_destroy(&l->finished);
    free(l);
}
