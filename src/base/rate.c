/* SPDX-License-Identifier: MIT */
#include "base/rate.h"

#include "base/macros.h"

enum { MINUTE_MS = 60000 };

struct rate rate_of(int64_t per_minute)
{
    per_minute = CLAMP(per_minute, 1, RATE_MAX);
    int64_t saved = MAX(per_minute / 10, 1); /* tokens, the one that is taken at once included */
    int64_t pace = MAX(per_minute - saved, 1);
    struct rate r = {.interval_ms = (MINUTE_MS + pace - 1) / pace};
    r.saved_ms = (saved - 1) * r.interval_ms;
    return r;
}

int64_t rate_take(const struct rate *r, int64_t *next_ms, int64_t now_ms)
{
    if (*next_ms > now_ms)
        return *next_ms - now_ms;
    *next_ms = MAX(*next_ms, now_ms - r->saved_ms) + r->interval_ms;
    return 0;
}
