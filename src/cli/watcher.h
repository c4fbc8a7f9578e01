/* SPDX-License-Identifier: MIT */
/* Ctrl-C and SIGTERM as the cancel flag that long work looks at. */
#ifndef CLI_WATCHER_H
#define CLI_WATCHER_H

#include "base/err.h"
#include "base/stop.h"

#include <pthread.h>

struct watcher {
    struct cancel *cancel;
    int done_fd; /* readable: the work is over; -1: not started */
    pthread_t thread;
};

#define WATCHER_INIT  \
    {                 \
        .done_fd = -1 \
    }

/* Starts a thread that sets `cancel` once the process is asked to stop. */
int watcher_start(struct watcher *w, struct cancel *cancel, struct err *err) MUST_CHECK;
void watcher_stop(struct watcher *w); /* one that was never started is fine */

#endif
