/* SPDX-License-Identifier: MIT */
#include "base/clock.h"

#include "base/fault.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static int64_t read_clock(clockid_t id)
{
    struct timespec t;
    clock_gettime(id, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

int64_t clock_wall_ms(void)
{
    return read_clock(CLOCK_REALTIME) + FAULT_JUMP_MS(clock);
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

static void digits(char *at, int n, int v)
{
    for (int i = n; i-- > 0; v /= 10)
        at[i] = (char)('0' + v % 10);
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
    int year = tm.tm_year + 1900;
    if (year > 9999 || year < 0) {
        size_t n = strftime(ret, TIME_ISO_SIZE, "%Y-%m-%dT%H:%M:%S", &tm);
        snprintf(ret + n, TIME_ISO_SIZE - n, ".%03dZ", (int)ms);
        return;
    }
    /* By hand: a list of jobs holds hundreds of these. */
    memcpy(ret, "0000-00-00T00:00:00.000Z", 25);
    digits(ret, 4, year);
    digits(ret + 5, 2, tm.tm_mon + 1);
    digits(ret + 8, 2, tm.tm_mday);
    digits(ret + 11, 2, tm.tm_hour);
    digits(ret + 14, 2, tm.tm_min);
    digits(ret + 17, 2, tm.tm_sec);
    digits(ret + 20, 3, (int)ms);
}
