/* SPDX-License-Identifier: MIT */
/* The models that a worker loads when it starts, on a thread of its own: jobs are claimed meanwhile. */
#ifndef WORKER_WARM_UP_H
#define WORKER_WARM_UP_H

#include "base/stop.h"
#include "worker/state.h"

struct warm_up {
    struct worker *w;
    struct cancel cancel;
    pthread_t thread;
    bool started;
};

/* Zero it before. What cannot be loaded is logged. */
void warm_up_start(struct warm_up *u, struct worker *w);
void warm_up_end(struct warm_up *u); /* stops it */

#endif
