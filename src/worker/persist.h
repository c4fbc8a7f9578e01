/* SPDX-License-Identifier: MIT */
/*
 * The fenced writes of a running job, held up against short outages of the database: a write that fails for the
 * database's sake is tried again for as long as the lease could matter, and one whose answer was lost is looked up.
 */
#ifndef WORKER_PERSIST_H
#define WORKER_PERSIST_H

#include "worker/state.h"

/* One of the store's calls on a claim, with its further arguments behind `arg`. */
typedef int (*fenced_fn)(struct store *s, const struct claim *c, const void *arg, int64_t *ret_seq, struct err *err);

/*
 * `after`: the state that the row has after the write. 0, LOST (write nothing more), the class of an outage that
 * outlasted our patience, or what the store said.
 */
int persist(struct worker *w, struct run *r, enum job_state after, fenced_fn fn, const void *arg, int64_t *ret_seq,
            struct err *err) MUST_CHECK;

#endif
