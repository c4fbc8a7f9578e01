/* SPDX-License-Identifier: MIT */
/*
 * What becomes of a failed attempt: a pure function of where it failed, the class, the attempt and the policy.
 *
 *   permanent classes            RETRY_FAIL at once
 *   our own storage or database  RETRY_BACK: an outage is not the job's fault, so it uses up no attempt
 *   other transient classes      RETRY_LATER with exponential backoff and full jitter, RETRY_FAIL after the last
 * attempt CANCELLED (drain, stop)      RETRY_BACK without delay LOST                         RETRY_DROP
 */
#ifndef WORKER_RETRY_H
#define WORKER_RETRY_H

#include "worker/pipeline.h"

#include <stdint.h>

struct retry_policy {
    int max_attempts;
    int64_t base_ms, cap_ms; /* full jitter: uniform in [0, min(cap, base * 2^(attempt-1))] */
};

enum retry_verdict {
    RETRY_LATER, /* back to the queue after a delay */
    RETRY_FAIL,  /* dead letter */
    RETRY_BACK,  /* hand back without using the attempt up */
    RETRY_DROP,  /* the job is no longer ours: write nothing */
};

/* `attempt` counts from 1. *ret_delay_ms is set for every verdict (0 where none applies). */
enum retry_verdict retry_decide(int err_code, enum pipeline_stage stage, int attempt, const struct retry_policy *p,
                                int64_t *ret_delay_ms);

/* The most retry_decide waits before the attempt after this one. */
int64_t retry_ceiling_ms(int attempt, const struct retry_policy *p);

#endif
