/* SPDX-License-Identifier: MIT */
/* One claimed job, from its claim to a row that is no longer ours. */
#ifndef WORKER_JOB_RUN_H
#define WORKER_JOB_RUN_H

#include "worker/state.h"

/* Runs on a job thread. Never fails: what goes wrong is written into the row, or left to the end of the lease. */
void job_run(struct worker *w, struct run *r);

/* In the place of the job's thread, which hangs: writes what becomes of the job. `r` was abandoned by the board. */
void job_settle_stuck(struct worker *w, struct run *r);

#endif
