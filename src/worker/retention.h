/* SPDX-License-Identifier: MIT */
/*
 * How long things are kept after a job ended: its recording, its transcript, the job itself with all that is left.
 * The sweeper of every worker sees to it, and `steno cleanup`.
 */
#ifndef WORKER_RETENTION_H
#define WORKER_RETENTION_H

#include "base/log.h"
#include "job/store.h"
#include "storage/storage.h"

/* Negative: for ever. */
struct retention {
    int64_t audio_ms, results_ms, jobs_ms;
};

/* What was given up; errors come with the jobs they belong to. */
struct retention_counts {
    int64_t audio, results, jobs;
};

/*
 * Gives up what is older, in batches, until nothing is left or until_ms (monotonic) has come or the process is asked to
 * stop. Any number of processes may do this at the same time, and may be killed in it: see store_retention.c. *ret is
 * added to, also on failure.
 */
int retention_run(const struct retention *r, struct store *store, struct storage *storage, int64_t until_ms,
                  struct retention_counts *ret, struct err *err) MUST_CHECK;
/* How much that would be now. */
int retention_count(const struct retention *r, struct store *store, struct retention_counts *ret, struct err *err)
    MUST_CHECK;

#endif
