/* SPDX-License-Identifier: MIT */
/*
 * Lanes with waiting tasks stand in a ring. A thread takes the first lane, takes one task from it, and puts the lane
 * at the ring's end if it has more: a lane with one task waits at most for one task of each other lane, however
 * many those have posted. A lane that had no turn yet is the one that got least, so it comes first: a clip waits for
 * one slot to become free, not for its turn behind long recordings. One mutex guards everything; tasks run without it.
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
    struct lane *next;          /* in the ring */
    struct log_scope scope;     /* of the thread that opened it: its tasks speak for the same job */
    bool in_ring, had_turn;
};

struct slots {
    pthread_mutex_t mu;
    pthread_cond_t work;
    struct lane *first, *last; /* the ring: lanes with waiting tasks; guarded by mu, as `stopping` */
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

static void ring_add_locked(struct slots *s, struct lane *l)
{
    l->next = NULL;
    l->in_ring = true;
    if (s->last)
        s->last->next = l;
    else
        s->first = l;
    s->last = l;
}

/* A lane that never had a turn goes before those that had one, behind others like it. */
static void ring_add_new_locked(struct slots *s, struct lane *l)
{
    struct lane **at = &s->first;
    while (*at && !(*at)->had_turn)
        at = &(*at)->next;
    l->next = *at;
    l->in_ring = true;
    *at = l;
    if (!l->next)
        s->last = l;
}

static struct lane *ring_take_locked(struct slots *s)
{
    struct lane *l = s->first;
    s->first = l->next;
    if (!s->first)
        s->last = NULL;
    l->next = NULL;
    l->in_ring = false;
    return l;
}

static void *slot_main(void *arg)
{
    struct slots *s = arg;
    pthread_mutex_lock(&s->mu);
    for (;;) {
        while (!s->first && !s->stopping)
            cond_wait_ms(&s->work, &s->mu, -1);
        if (!s->first)
            break;
        struct lane *l = ring_take_locked(s);
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
    if (!l->in_ring && l->had_turn)
        ring_add_locked(s, l);
    else if (!l->in_ring)
        ring_add_new_locked(s, l);
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
    struct lane **at = &s->first, *before = NULL;
    while (l->in_ring && *at != l) {
        before = *at;
        at = &(*at)->next;
    }
    if (l->in_ring) {
        *at = l->next;
        if (s->last == l)
            s->last = before;
    }
    pthread_mutex_unlock(&s->mu);
    pthread_cond_destroy(&l->finished);
    free(l);
}
