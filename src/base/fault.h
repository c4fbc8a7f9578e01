/* SPDX-License-Identifier: MIT */
/*
 * Fault hooks: named points where a test can kill, stop, delay or fail this program.
 *
 * They exist only in builds with -Dfaults=true; elsewhere FAULT_POINT(x) is the constant 0. The environment
 * variable STENO_FAULT holds "point=action[,point=action...]", or "@FILE": that stands in FILE, which is read each
 * time, so that faults begin and end while the program runs (replace it by rename). The actions:
 *
 *   kill      SIGKILL to this process        stop      SIGSTOP to this process
 *   fail      the point returns an error     sleep:MS  waits that long
 *   lost      it is done, but said to have failed: what writes, commits, deletes or sends. db_write: it is committed,
 *             and the answer is that nobody knows (UNCERTAIN)
 *   cut       storage_write: done by half, then it fails
 *   jump:MS   clock, db_clock: what they tell is off by so much
 *
 * "@N" behind an action fires it only when this process passes the point for the N-th time, "/N" each N-th time.
 * "storage", "broker" and "db" stand for all points that begin so, and count their passes together. A point that is
 * about something (storage_*: a key) can be narrowed: "storage_fetch(poison.wav)=kill" fires only where that is part
 * of it.
 *
 * Each fires once per run of the test, not per process: STENO_FAULT_DIR names a folder where a fired fault
 * leaves a file "<point>", made with O_EXCL, and a fault whose file stands does not fire again. Without the folder it
 * fires every time.
 */
#ifndef BASE_FAULT_H
#define BASE_FAULT_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

/* The points of a job's life, in the order it passes them. Tests walk this list (`steno __faults` prints it). */
#define FAULT_POINTS(X)                                                                                  \
    X(upload_stored)     /* api: the object is in storage, the row is not there yet */                   \
    X(job_inserted)      /* api: the row is committed, the client has no answer yet */                   \
    X(job_announced)     /* api: the wake-up was sent, announced_at is not set yet */                    \
    X(job_claimed)       /* worker: the claim is committed, nothing done yet */                          \
    X(audio_fetched)     /* worker: the recording is in the temp folder */                               \
    X(audio_decoded)     /* worker: the PCM spool is complete */                                         \
    X(plan_saved)        /* worker: the plan is committed */                                             \
    X(chunk_transcribed) /* worker: the engine answered, the checkpoint is not saved */                  \
    X(chunk_saved)       /* worker: the checkpoint is committed */                                       \
    X(job_merged)        /* worker: all chunks are merged, nothing written */                            \
    X(result_stored)     /* worker: the result object is in storage, the row does not point to it yet */ \
    X(job_completed)     /* worker: `completed` is committed, the event is not sent */                   \
    X(job_failing)       /* worker: about to record a failure */                                         \
    X(job_failed)        /* worker: the failure is committed, the dead letter is not sent */             \
    X(lease_renewing)    /* worker: about to renew its leases */                                         \
    X(sweep_started)     /* worker: about to sweep */

/* Operations of back ends: each fails before it reaches the back end. And what a job's life need not pass. */
#define FAULT_OPERATIONS(X)                                                                       \
    X(object_unwanted) /* retention: the rows have given objects up, which are not deleted yet */ \
    X(broker_token)                                                                               \
    X(broker_event)                                                                               \
    X(broker_dead_letter)                                                                         \
    X(broker_wait)                                                                                \
    X(broker_next_event)                                                                          \
    X(broker_depth)                                                                               \
    X(broker_trim)                                                                                \
    X(broker_ping)                                                                                \
    X(db_read)                                                                                    \
    X(db_write)                                                                                   \
    X(db_ping)                                                                                    \
    X(sql_statement) /* of a transaction; a batch that PostgreSQL gets at once has none */        \
    X(storage_put)                                                                                \
    X(storage_write)                                                                              \
    X(storage_commit)                                                                             \
    X(storage_get)                                                                                \
    X(storage_read)                                                                               \
    X(storage_fetch)                                                                              \
    X(storage_stat)                                                                               \
    X(storage_delete)                                                                             \
    X(storage_list)                                                                               \
    X(storage_sweep)                                                                              \
    X(storage_ping)

/* What jumps. */
#define FAULT_CLOCKS(X)                          \
    X(clock)    /* of this process: wall time */ \
    X(db_clock) /* of the database, as this process reads it */

enum fault_point {
#define X(name) FAULT_##name,
    FAULT_POINTS(X) FAULT_OPERATIONS(X) FAULT_CLOCKS(X)
#undef X
        FAULT_COUNT
};
/* How many of them are of a job's life; they come first. */
enum {
#define X(name) FAULT_NUMBER_##name,
    FAULT_POINTS(X)
#undef X
        FAULT_POINT_COUNT
};

const char *fault_name(enum fault_point p);

enum fault_effect { FAULT_NONE, FAULT_FAIL, FAULT_LOST, FAULT_CUT };
/* Whether the operation that it strikes is done, whatever is said of it. */
static inline bool fault_is_done(enum fault_effect e)
{
    return e == FAULT_NONE || e == FAULT_LOST;
}

#ifdef STENO_FAULTS
/* Does what kills, stops and waits; the rest is the caller's to do. `about`: NULL when the point is about nothing. */
enum fault_effect fault_look(enum fault_point p, const char *about);
/* ERR_UNAVAILABLE, with "injected fault at <point>" in err. */
int fault_strike(enum fault_point p, struct err *err);
/* 0, or fault_strike for whatever else than FAULT_NONE. */
int fault_hit(enum fault_point p, const char *about, struct err *err) MUST_CHECK;
/* By how much a clock is off. */
int64_t fault_jump_ms(enum fault_point p);
/* Tests: counts passes from 0 again; whether a fault struck since the last call. */
bool fault_reset(void);
#define FAULT_LOOK(name, about)          fault_look(FAULT_##name, about)
#define FAULT_STRIKE(name, err)          fault_strike(FAULT_##name, err)
#define FAULT_POINT_AT(name, about, err) fault_hit(FAULT_##name, about, err)
#define FAULT_JUMP_MS(name)              fault_jump_ms(FAULT_##name)
#else
#define FAULT_LOOK(name, about)          ((void)(about), FAULT_NONE)
#define FAULT_STRIKE(name, err)          ((void)(err), 0)
#define FAULT_POINT_AT(name, about, err) ((void)(about), (void)(err), 0)
#define FAULT_JUMP_MS(name)              0
#endif
#define FAULT_POINT(name, err) FAULT_POINT_AT(name, NULL, err)

#endif
