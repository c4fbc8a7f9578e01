/* SPDX-License-Identifier: MIT */
/*
 * The sweeper thread: puts right what dead processes and lost messages left. Every step is safe beside any number
 * of other sweepers: rows change by conditional updates, and deleting what is gone is success.
 */
#ifndef WORKER_SWEEPER_H
#define WORKER_SWEEPER_H

#include "worker/state.h"

/* One sweep; `deep` also looks through storage and temp folders. Goes on with the next step after a failure, and
 * returns the first one. */
int sweep(struct worker *w, bool deep, struct err *err) MUST_CHECK;

/* `arg`: the struct worker. Returns when worker_pause says so. */
void *sweeper_main(void *arg);

#endif
