/* SPDX-License-Identifier: MIT */
/* The sweeper's share in wake-ups: those that were not sent, and queues that hold too many or too few. */
#ifndef WORKER_TOKENS_H
#define WORKER_TOKENS_H

#include "worker/state.h"

/* By the sweeper's thread. */
int tokens_sweep(struct worker *w, struct err *err) MUST_CHECK;

#endif
