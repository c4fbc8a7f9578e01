/* SPDX-License-Identifier: MIT */
/*
 * When a worker's process shall be replaced by a fresh one: after so many jobs, above a limit of memory, or because a
 * job hangs that was told to stop. The keeper looks, the claiming thread acts.
 *
 * Memory counts once a job has ended and the process is some time old (worker_opts): a limit that is too small for one
 * job must not become a loop. Above the limit before the first job, the limit is dropped with a warning.
 */
#ifndef WORKER_RECYCLE_H
#define WORKER_RECYCLE_H

#include "base/buf.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct worker;

enum recycle_why {
    RECYCLE_NO,
    RECYCLE_JOBS,
    RECYCLE_MEMORY,
    RECYCLE_STUCK, /* comes after, and before, the others */
};

struct recycle {
    int64_t born_ms;           /* monotonic */
    atomic_int why;            /* enum recycle_why */
    atomic_llong memory_bytes; /* that this process holds, as of the last look */
    bool memory_off;           /* the limit is dropped; the keeper's */
};

static inline enum recycle_why recycle_why(const struct recycle *r)
{
    return (enum recycle_why)atomic_load(&r->why);
}

/* The keeper's look. Ends the wait of the claiming thread when something is due. */
void recycle_look(struct worker *w);
/* How many more jobs this process may claim, at most n; 0: it has had its share, and that is noted. */
size_t recycle_left(struct worker *w, size_t n);
/* Appends members of a JSON object, each with a comma before it. */
void recycle_describe(const struct worker *w, struct buf *b);

#endif
