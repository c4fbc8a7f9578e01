/* SPDX-License-Identifier: MIT */
/*
 * How many jobs a worker has in work: none while nothing waits, up to `min` at once, and from there to `max` one more
 * each PLACES_GROW_MS as long as jobs wait. So where several workers look at one queue, each takes its share before any
 * takes more, and a burst of small jobs does not fill one machine's temp folder with recordings. With less to do the
 * number goes back by one each PLACES_SHRINK_MS.
 *
 * A job is claimed only for a free place: nothing is fetched ahead of its turn.
 *
 * Belongs to the claiming thread; times are monotonic.
 */
#ifndef WORKER_PLACES_H
#define WORKER_PLACES_H

#include <stddef.h>
#include <stdint.h>

enum { PLACES_GROW_MS = 1000, PLACES_SHRINK_MS = 30000 };

struct places {
    unsigned min, max, now;
    int64_t tried_ms; /* the last time that the number was, or might have been, changed */
};

/* min 0 or above max: max, and the number is always that. */
void places_init(struct places *p, unsigned min, unsigned max, int64_t now_ms);
/* How many jobs may be claimed beside `running` ones: 0 while all places are taken. */
size_t places_free(const struct places *p, size_t running, int64_t now_ms);
/* A claim for some of those brought `got` jobs. */
void places_claimed(struct places *p, size_t running, size_t got, int64_t now_ms);

#endif
