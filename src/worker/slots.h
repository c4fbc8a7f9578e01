/* SPDX-License-Identifier: MIT */
/*
 * Engine slots, shared fairly: a fixed number of threads runs chunks, one from each waiting job in turn, so that a
 * 3-second clip does not wait for a 3-hour file.
 *
 * A job opens a lane, posts tasks to it and waits for completions on its own thread. Ownership of a task moves to the
 * slots at lane_post and back at lane_next or lane_withdraw. A lane belongs to one thread.
 */
#ifndef WORKER_SLOTS_H
#define WORKER_SLOTS_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct slots;
struct lane;

/* Embedded in the caller's task struct. `run` is called on a slot thread, without locks. */
struct slot_task {
    void (*run)(struct slot_task *t);
    struct slot_task *next; /* private */
};

/* threads >= 1. */
int slots_new(unsigned threads, struct slots **ret, struct err *err) MUST_CHECK;
void slots_free(struct slots *s); /* no lane may be open; NULL is fine */
unsigned slots_count(const struct slots *s);
unsigned slots_busy(struct slots *s); /* how many run a task now */

struct lane *lane_open(struct slots *s);
/* Never blocks; the poster bounds how many it posts. */
void lane_post(struct lane *l, struct slot_task *t);
/* Waits for a finished task of this lane, at most timeout_ms; NULL on time-out. */
struct slot_task *lane_next(struct lane *l, int64_t timeout_ms);
/* Takes back a task that has not started; NULL when there is none. */
struct slot_task *lane_withdraw(struct lane *l);
/* Every posted task must have come back. */
void lane_close(struct lane *l);

#endif
