/* SPDX-License-Identifier: MIT */
/* One switch over the error classes, so that the compiler asks about a new one. */
#include "worker/retry.h"

#include "base/id.h"

int64_t retry_ceiling_ms(int attempt, const struct retry_policy *p)
{
    int64_t ms = p->base_ms;
    for (int i = 1; i < attempt && ms < p->cap_ms; i++)
        ms = ms > p->cap_ms / 2 ? p->cap_ms : ms * 2;
    return MIN(ms, p->cap_ms);
}

/* The parts that are ours and not the job's: recording and rows. The engine's and the decoder's are the job's. */
static bool is_outage(enum pipeline_stage stage)
{
    return stage == STAGE_FETCH || stage == STAGE_STORE;
}

enum retry_verdict retry_decide(int err_code, enum pipeline_stage stage, int attempt, const struct retry_policy *p,
                                int64_t *ret_delay_ms)
{
    *ret_delay_ms = 0;
    switch ((enum err_code)err_code) {
    case ERR_LOST:
        return RETRY_DROP;
    case ERR_CANCELLED:
        return RETRY_BACK;
    case ERR_NOMEM:
    case ERR_BUSY:
    case ERR_TIMEOUT:
    case ERR_UNAVAILABLE:
    case ERR_UNCERTAIN:
    case ERR_CRASHED:
        if (is_outage(stage)) {
            /* Not at once: the outage would be met again, and again. */
            *ret_delay_ms = p->base_ms / 2 + random_below(p->base_ms / 2 + 1);
            return RETRY_BACK;
        }
        if (attempt >= p->max_attempts)
            return RETRY_FAIL;
        *ret_delay_ms = random_below(retry_ceiling_ms(attempt, p) + 1);
        return RETRY_LATER;
    case ERR_OK:
    case ERR_INVALID:
    case ERR_NOT_FOUND:
    case ERR_CONFLICT:
    case ERR_TOO_LARGE:
    case ERR_CORRUPT:
    case ERR_UNSUPPORTED:
    case ERR_INTERNAL:
        break;
    }
    return RETRY_FAIL;
}
