/* SPDX-License-Identifier: MIT */
#include "api/timers.h"

#include <stdlib.h>

enum { FIRST_CAP = 64 };

void timers_clear(struct timers *t)
{
    free(t->heap);
    *t = (struct timers){0};
}

static void put(struct timers *t, size_t place, struct timer *x)
{
    t->heap[place] = x;
    x->place = place;
}

/* Moves x, for which `place` is free, to where it belongs. */
static void settle(struct timers *t, size_t place, struct timer *x)
{
    for (; place > 1 && t->heap[place / 2]->at_ms > x->at_ms; place /= 2)
        put(t, place, t->heap[place / 2]);
    for (size_t child; (child = 2 * place) <= t->n; place = child) {
        if (child < t->n && t->heap[child + 1]->at_ms < t->heap[child]->at_ms)
            child++;
        if (t->heap[child]->at_ms >= x->at_ms)
            break;
        put(t, place, t->heap[child]);
    }
    put(t, place, x);
}

int timer_set(struct timers *t, struct timer *x, int64_t at_ms, struct err *err)
{
    if (!x->place && t->n + 2 > t->cap) {
        size_t cap = t->cap ? t->cap * 2 : FIRST_CAP;
        struct timer **more = realloc(t->heap, cap * sizeof(struct timer *));
        if (!more)
            return err_set(err, ERR_NOMEM, "no memory for another deadline");
        t->heap = more;
        t->cap = cap;
    }
    size_t place = x->place ? x->place : ++t->n;
    x->at_ms = at_ms;
    settle(t, place, x);
    return 0;
}

void timer_unset(struct timers *t, struct timer *x)
{
    if (!x->place)
        return;
    size_t place = x->place;
    struct timer *last = t->heap[t->n--];
    x->place = 0;
    if (last != x)
        settle(t, place, last);
}

struct timer *timers_first(const struct timers *t)
{
    return t->n ? t->heap[1] : NULL;
}
