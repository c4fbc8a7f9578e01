/* SPDX-License-Identifier: MIT */
/*
 * Stopping.
 *
 * The process stop flag is set by SIGTERM and SIGINT (stop_install) and polled by every loop; stop_fd is
 * readable from then on, for those who wait in poll. A `struct cancel` is the same for one piece of work:
 * set by anyone, any thread, polled by the thread that works.
 */
#ifndef BASE_STOP_H
#define BASE_STOP_H

#include <stdatomic.h>
#include <stdbool.h>

/* Installs the handlers for SIGTERM and SIGINT and ignores SIGPIPE. Call first in main, before any thread. */
void stop_install(void);
/*
 * Before this program replaces itself by exec: SIGTERM, SIGINT and SIGHUP wait from here on. stop_install in the new
 * image, or stop_release in this one, lets the first two through; SIGHUP is for who waits for it.
 */
void stop_hold(void);
void stop_release(void);
/* 0, or how many times a stop was asked for (a second Ctrl-C means: now). */
int stop_requested(void);
/* Asks this process to stop, as the signal would. */
void stop_request(void);
/* Readable once a stop was asked for; for poll only, never read from it. */
int stop_fd(void);

struct cancel {
    atomic_bool flag;
    const struct cancel *also; /* a wider one that cancels this too, or NULL */
};

static inline void cancel_set(struct cancel *c)
{
    atomic_store(&c->flag, true);
}

/* NULL is never cancelled. */
static inline bool cancel_is_set(const struct cancel *c)
{
    for (; c; c = c->also)
        if (atomic_load_explicit(&c->flag, memory_order_relaxed))
            return true;
    return false;
}

#endif
