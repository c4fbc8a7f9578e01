/* SPDX-License-Identifier: MIT */
/*
 * What a worker counts since its start: one table, from which its heartbeat (members of the row's `info`) and its page
 * of metrics follow. To count something new, add a row and call counters_add where it happens.
 *
 * Threads: any.
 */
#ifndef WORKER_COUNTERS_H
#define WORKER_COUNTERS_H

#include "base/buf.h"
#include "base/err.h"
#include "metrics/histogram.h"

#include <stdatomic.h>
#include <stdint.h>

/*
 *   X(name, kind, metric, help)
 *
 *   name    member of the heartbeat
 *   kind    COUNT: a number; MS: milliseconds, seconds in the metric; CLASS: a number per error class, in the heartbeat
 *           the sum, and as NAME_by an object with those classes that occurred
 */
#define WORKER_COUNTERS(X)                                                                                           \
    X(claimed, COUNT, "steno_worker_jobs_claimed_total", "Jobs it took")                                             \
    X(completed, COUNT, "steno_worker_jobs_completed_total", "Jobs this worker completed")                           \
    X(failed, CLASS, "steno_worker_jobs_failed_total", "Jobs it failed for good, by class of error")                 \
    X(retried, CLASS, "steno_worker_jobs_retried_total", "Attempts that failed and are repeated, by class of error") \
    X(handed_back, COUNT, "steno_worker_jobs_handed_back_total", "Jobs given back without using up an attempt")      \
    X(lost, COUNT, "steno_worker_leases_lost_total", "Jobs dropped because they were cancelled or another's")        \
    X(unreturned, COUNT, "steno_worker_jobs_unreturned_total", "Jobs whose row could not be written at their end")   \
    X(expired, COUNT, "steno_worker_leases_expired_total",                                                           \
      "Leases of workers that died or hung, which this one took back")                                               \
    X(poisoned, COUNT, "steno_worker_jobs_poisoned_total", "Those of them that were given up: workers died of them") \
    X(chunks, COUNT, "steno_worker_chunks_total", "Chunks it transcribed")                                           \
    X(audio_ms, MS, "steno_worker_audio_seconds_total", "Audio of the jobs it completed")

/*
 * How figures are spread.
 *
 *   X(name, scale, metric, help)
 *
 *   name    member of the heartbeat: {"count": N, "sum": total}
 *   scale   its buckets (metrics/histogram.h)
 */
#define WORKER_HISTOGRAMS(X)                                                                                  \
    X(queue_wait, histogram_work, "steno_worker_queue_wait_seconds",                                          \
      "How long jobs had been due when this worker claimed them")                                             \
    X(run_time, histogram_work, "steno_worker_run_seconds", "Time from the claim of a job to its completion") \
    X(real_time_factor, histogram_ratio, "steno_worker_real_time_factor",                                     \
      "That time as a part of the recording's length: 0.1 is ten times as fast as speech")

enum counter {
#define X(name, kind, metric, help) COUNT_##name,
    WORKER_COUNTERS(X)
#undef X
        COUNTER_COUNT
};

enum spread {
#define X(name, scale, metric, help) SPREAD_##name,
    WORKER_HISTOGRAMS(X)
#undef X
        SPREAD_COUNT
};

struct counters {
    atomic_llong n[COUNTER_COUNT];
    atomic_llong by_class[COUNTER_COUNT][ERR_CLASS_COUNT]; /* of those of kind CLASS */
    struct histogram spreads[SPREAD_COUNT];
};

void counters_add(struct counters *c, enum counter which, int64_t n);
/* For those of kind CLASS: one more of this error class. */
void counters_add_class(struct counters *c, enum counter which, int err_code);
/* `value` in milliseconds, or in thousandths of what has no unit. */
void counters_spread(struct counters *c, enum spread which, int64_t value);
int64_t counters_get(const struct counters *c, enum counter which);
/* Appends members of a JSON object, each with a comma before it. */
void counters_describe(const struct counters *c, struct buf *b);
/* Appends their families to a page of metrics. */
void counters_write(const struct counters *c, struct buf *b);

#endif
