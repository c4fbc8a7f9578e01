/* SPDX-License-Identifier: MIT */
#include "worker/recycle.h"

#include "base/clock.h"
#include "base/str.h"
#include "worker/state.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

/* Resident memory, mapped files included; 0: the system does not say. */
static int64_t resident_bytes(void)
{
    char text[128], *save = NULL;
    int64_t pages = 0;
    CLEANUP(close_fd) int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (n <= 0)
        return 0;
    text[n] = '\0';
    strtok_r(text, " ", &save); /* the size of the address space */
    const char *resident = strtok_r(NULL, " ", &save);
    return resident && str_to_i64(resident, &pages) ? pages * (int64_t)sysconf(_SC_PAGESIZE) : 0;
}

static void begin(struct worker *w, enum recycle_why why)
{
    int no = RECYCLE_NO;
    if (why == RECYCLE_STUCK ? atomic_exchange(&w->recycle.why, why) != RECYCLE_STUCK
                             : atomic_compare_exchange_strong(&w->recycle.why, &no, (int)why))
        broker_interrupt(w->o->broker);
}

static bool memory_is_over(struct worker *w)
{
    const struct worker_opts *o = w->o;
    struct recycle *r = &w->recycle;
    int64_t bytes = resident_bytes();
    atomic_store(&r->memory_bytes, bytes);
    if (!o->max_memory_bytes || bytes <= o->max_memory_bytes || r->memory_off)
        return false;
    if (counters_get(&w->counts, COUNT_claimed) == 0) {
        r->memory_off = true;
        log_warn(&w->log,
                 "this process holds %lld MB before its first job, more than worker_max_memory (%lld MB), which "
                 "is without effect now: raise it",
                 (long long)(bytes >> 20), (long long)(o->max_memory_bytes >> 20));
        return false;
    }
    bool ended = counters_get(&w->counts, COUNT_claimed) > (int64_t)board_count(w->board);
    return ended && clock_mono_ms() - r->born_ms >= o->memory_min_age_ms;
}

void recycle_look(struct worker *w)
{
    if (board_has_stuck(w->board, limits_patience_ms(&w->o->limits)))
        begin(w, RECYCLE_STUCK);
    else if (memory_is_over(w))
        begin(w, RECYCLE_MEMORY);
}

size_t recycle_left(struct worker *w, size_t n)
{
    int64_t max = w->o->max_jobs;
    if (!max)
        return n;
    int64_t left = max - counters_get(&w->counts, COUNT_claimed);
    if (left <= 0) {
        begin(w, RECYCLE_JOBS);
        return 0;
    }
    return MIN(n, (size_t)left);
}

static void add_limit(struct buf *b, const char *name, int64_t value)
{
    if (value)
        buf_addf(b, ",\"%s\":%lld", name, (long long)value);
    else
        buf_addf(b, ",\"%s\":null", name);
}

void recycle_describe(const struct worker *w, struct buf *b)
{
    add_limit(b, "max_jobs", w->o->max_jobs);
    buf_addf(b, ",\"memory_bytes\":%lld", (long long)atomic_load(&w->recycle.memory_bytes));
    add_limit(b, "max_memory_bytes", w->o->max_memory_bytes);
    buf_addf(b, ",\"replaced\":%u", w->o->replaced);
}
