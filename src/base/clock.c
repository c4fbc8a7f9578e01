/* SPDX-License-Identifier: MIT */
#include "base/clock.h"

#include <errno.h>
#include <stdio.h>
#include <time.h>

static int64_t read_clock(clockid_t id)
{
    struct timespec t;
    clock_gettime(id, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

int64_t clock_wall_ms(void)
{
    return read_clock(CLOCK_REALTIME);
}

int64_t clock_mono_ms(void)
{
    return read_clock(CLOCK_MONOTONIC);
}

void clock_sleep_ms(int64_t ms)
{
    struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = (ms % 1000) * 1000000};
    while (nanosleep(&t, &t) < 0 && errno == EINTR)
        ;
}

void time_iso(int64_t wall_ms, char ret[TIME_ISO_SIZE])
{
    int64_t ms = wall_ms % 1000;
    time_t s = (time_t)(wall_ms / 1000);
    if (ms < 0) {
        ms += 1000;
        s--;
    }
    struct tm tm;
    if (!gmtime_r(&s, &tm)) {
        ret[0] = '\0';
        return;
    }
    size_t n = strftime(ret, TIME_ISO_SIZE, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(ret + n, TIME_ISO_SIZE - n, ".%03dZ", (int)ms);
}
