/* SPDX-License-Identifier: MIT */
/*
 * What becomes of a failed attempt: a pure function of where it failed, the class, the attempt and the policy.
 *
 *   permanent classes            RETRY_FAIL at once
 *   our own storage or database  RETRY_BACK: an outage is not the job's fault, so it uses up no attempt
 *   other transient classes      RETRY_LATER with exponential backoff and jitter, RETRY_FAIL after the last attempt
 *   CANCELLED (drain, stop)      RETRY_BACK without delay
 *   LOST                         RETRY_DROP
 */
#ifndef WORKER_RETRY_H
#define WORKER_RETRY_H

#include "worker/pipeline.h"

#include <stdint.h>

/* How the wait before an attempt is drawn, when it is to be c at most. */
#define RETRY_JITTERS(X)                                                          \
    X(FULL, "full")   /* anything from 0 to c: spreads best, and the usual one */ \
    X(EQUAL, "equal") /* from half of c to c */                                   \
    X(NONE, "none")   /* c */

enum retry_jitter {
#define X(name, word) RETRY_JITTER_##name,
    RETRY_JITTERS(X)
#undef X
};

struct retry_rule {
    int max_attempts;        /* 0: that of the job */
    int64_t base_ms, cap_ms; /* c = min(cap, base * 2^(attempt-1)) */
    enum retry_jitter jitter;
};

enum { RETRY_CLASSES = 16 };

struct retry_policy {
    /* Of classes without a rule of their own. */
    int max_attempts;
    int64_t base_ms, cap_ms;
    struct retry_rule rules[RETRY_CLASSES]; /* by class; cap_ms 0: it has none */
};

/*
 * Adds the rules of a text such as "timeout: 2, out_of_memory: 3 x 30s..10m, unavailable: 10 x 2s..5m equal": for each
 * class how many attempts, the shortest and the longest wait, and the jitter; what is left out is as the policy has it.
 * INVALID says what is wrong and what may stand there.
 */
int retry_policy_parse(const char *text, struct retry_policy *p, struct err *err) MUST_CHECK;
/* What holds for a class; max_attempts is never 0. */
struct retry_rule retry_rule_of(const struct retry_policy *p, int err_code);

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
int64_t retry_ceiling_ms(int attempt, const struct retry_rule *r);

#endif
