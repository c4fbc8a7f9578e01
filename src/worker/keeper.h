/* SPDX-License-Identifier: MIT */
/* The keeper thread: renews leases, notices lost ones and cancels, enforces the job time limit, sends the heartbeat. */
#ifndef WORKER_KEEPER_H
#define WORKER_KEEPER_H

#include "worker/state.h"

/* `arg`: the struct worker. Returns when worker_pause says so. */
void *keeper_main(void *arg);

#endif
