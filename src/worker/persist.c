/* SPDX-License-Identifier: MIT */
#include "worker/persist.h"

#include "base/clock.h"

#include <string.h>

enum { FIRST_PAUSE_MS = 100, LAST_PAUSE_MS = 2000, SLICE_MS = 100, HALTED_PATIENCE_MS = 5000, LEASES = 4 };

static bool is_outage(int rc)
{
    return rc == ERR_UNAVAILABLE || rc == ERR_BUSY || rc == ERR_UNCERTAIN;
}

static bool patient(const struct worker *w, const struct run *r, int64_t began)
{
    int64_t waited = clock_mono_ms() - began;
    switch (run_stopped(r)) {
    case RUN_LOST:
        return false;
    case RUN_HALTED:
        return waited < HALTED_PATIENCE_MS;
    case RUN_GOES_ON:
    case RUN_TIMED_OUT:
        break;
    }
    return waited < LEASES * w->o->lease_ms;
}

/* Waits, but not on when it is no longer worth it. */
static void rest(const struct worker *w, const struct run *r, int64_t began, int64_t ms)
{
    for (; ms > 0 && patient(w, r, began); ms -= SLICE_MS)
        clock_sleep_ms(MIN(ms, SLICE_MS));
}

/* 1: the row shows that the write went through, 0: it did not, and the job is still ours. */
static int look_up(struct worker *w, const struct run *r, enum job_state after, int64_t *ret_seq, struct err *err)
{
    struct arena a = ARENA_INIT;
    struct job job;
    int rc = store_get(w->o->store, r->claim.id, &a, &job, err);
    if (rc == ERR_NOT_FOUND)
        rc = err_set(err, ERR_LOST, "the job was removed");
    else if (rc == 0 && job.fence != r->claim.fence)
        rc = err_set(err, ERR_LOST, "the job belongs to another worker now");
    else if (rc == 0 && after != JOB_PROCESSING && job.state == after)
        rc = 1;
    else if (rc == 0 && job.state != JOB_PROCESSING)
        rc = err_set(err, ERR_LOST, "the job is %s now", job_state_name(job.state));
    if (rc >= 0) /* also for 0: a checkpoint that went through shows in no state, and its number is this one */
        *ret_seq = job.seq;
    arena_clear(&a);
    return rc;
}

static int write_row(struct worker *w, struct run *r, enum job_state after, fenced_fn fn, const void *arg,
                     int64_t *ret_seq, struct err *err)
{
    int64_t began = clock_mono_ms(), pause = FIRST_PAUSE_MS;
    bool uncertain = false;
    for (;;) {
        if (run_stopped(r) == RUN_LOST)
            return err_set(err, ERR_LOST, "the lease was lost");
        int rc = uncertain ? look_up(w, r, after, ret_seq, err) : 0;
        if (rc == 0) {
            rc = fn(w->o->store, &r->claim, arg, ret_seq, err);
            /* The answer of an earlier try was lost, and it had gone through. */
            if (rc == ERR_CONFLICT && uncertain && after == JOB_PROCESSING)
                rc = 0;
            else if (rc == ERR_CONFLICT && after == JOB_PROCESSING) /* see store.h about databases that crash */
                rc = err_set(err, ERR_LOST, "this was saved already, by another run of the job");
            uncertain = uncertain || rc == ERR_UNCERTAIN;
        }
        if (rc >= 0)
            return 0;
        if (!is_outage(rc) || !patient(w, r, began))
            return rc;
        rest(w, r, began, pause);
        pause = MIN(pause * 2, LAST_PAUSE_MS);
    }
}

int persist(struct worker *w, struct run *r, enum job_state after, fenced_fn fn, const void *arg, int64_t *ret_seq,
            struct err *err)
{
    atomic_store(&r->writing, true);
    int rc = write_row(w, r, after, fn, arg, ret_seq, err);
    atomic_store(&r->writing, false);
    return rc;
}
