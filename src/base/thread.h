/* SPDX-License-Identifier: MIT */
/*
 * Threads, and a pool that runs small tasks from a bounded queue.
 *
 * No callback runs under a lock. Every thread started here is joined by the matching free.
 */
#ifndef BASE_THREAD_H
#define BASE_THREAD_H

#include "base/err.h"

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* pthread_create with a name for debuggers (cut to 15 characters), signals blocked in the new thread. */
int thread_start(pthread_t *ret, const char *name, void *(*fn)(void *), void *arg, struct err *err) MUST_CHECK;

/* Condition variable on the monotonic clock, so that setting the wall clock disturbs no wait. */
void cond_init(pthread_cond_t *c);
/* Waits at most ms (negative: for ever); false on time-out. `mu` is held. */
bool cond_wait_ms(pthread_cond_t *c, pthread_mutex_t *mu, int64_t ms);

/* A pool of threads with a bounded queue of tasks. */
struct pool;
typedef void (*pool_fn)(void *arg);

/* `threads` threads, at least one; at most `max_queued` tasks wait. */
int pool_new(const char *name, unsigned threads, size_t max_queued, struct pool **ret, struct err *err) MUST_CHECK;
/* Hands fn(arg) to the pool; false when the queue is full or the pool is stopping (arg stays the caller's). Never
 * blocks. */
bool pool_try_run(struct pool *p, pool_fn fn, void *arg) MUST_CHECK;
/* Tasks waiting now. */
size_t pool_queued(struct pool *p);
/* Runs what is queued, then joins. NULL is fine. */
void pool_free(struct pool *p);

#endif
