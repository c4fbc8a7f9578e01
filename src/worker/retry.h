/* SPDX-License-Identifier: MIT */
/* What becomes of a failed attempt: a pure function of the error class, the attempt and the policy. */
#ifndef WORKER_RETRY_H
#define WORKER_RETRY_H

#include "worker/worker.h"

enum retry_verdict {
    RETRY_LATER, /* back to the queue after a delay */
    RETRY_FAIL,  /* dead letter */
    RETRY_BACK,  /* hand back without using the attempt up: our database, storage or stop is the reason */
    RETRY_DROP,  /* the job is no longer ours or was cancelled: write nothing */
};

enum retry_verdict retry_decide(int err_code, int attempt, const struct retry_policy *p, int64_t *ret_delay_ms);

#endif
