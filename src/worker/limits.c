/* SPDX-License-Identifier: MIT */
#include "worker/limits.h"

#include "base/macros.h"

int64_t limits_soft_ms(const struct job_limits *l, int64_t duration_ms)
{
    int64_t ms = l->soft_ms && l->hard_ms ? MIN(l->soft_ms, l->hard_ms) : MAX(l->soft_ms, l->hard_ms);
    if (!ms || !l->factor)
        return ms;
    int64_t scaled = duration_ms > INT64_MAX / l->factor ? INT64_MAX : duration_ms * l->factor;
    return MAX(ms, scaled);
}

int64_t limits_patience_ms(const struct job_limits *l)
{
    if (!l->hard_ms)
        return LIMITS_PATIENCE_MS;
    int64_t soft = limits_soft_ms(l, 0);
    return MAX(l->hard_ms - soft, LIMITS_PATIENCE_MIN_MS);
}
