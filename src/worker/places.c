/* SPDX-License-Identifier: MIT */
#include "worker/places.h"

#include "base/macros.h"

#include <stdbool.h>

void places_init(struct places *p, unsigned min, unsigned max, int64_t now_ms)
{
    min = min && min < max ? min : max;
    *p = (struct places){.min = min, .max = max, .now = min, .tried_ms = now_ms};
}

size_t places_free(const struct places *p, size_t running, int64_t now_ms)
{
    if (running < p->now)
        return p->now - running;
    return running < p->max && now_ms - p->tried_ms >= PLACES_GROW_MS;
}

void places_claimed(struct places *p, size_t running, size_t got, int64_t now_ms)
{
    bool full = running >= p->now;
    if (full) {
        /* It was one beyond those there are. When it brought nothing, it is tried again later. */
        p->now = (unsigned)(running + got);
        p->tried_ms = now_ms;
    } else if (got || p->now == p->min) {
        p->tried_ms = now_ms;
    } else if (now_ms - p->tried_ms >= PLACES_SHRINK_MS) {
        p->now--;
        p->tried_ms = now_ms;
    }
}
