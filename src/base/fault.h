/* SPDX-License-Identifier: MIT */
/*
 * Fault hooks: named points where a test can kill, stop, delay or fail this program.
 *
 * They exist only in builds with -Dfaults=true; elsewhere FAULT_POINT(x) is the constant 0. The environment
 * variable STENO_FAULT holds "point=action[,point=action...]" with the actions
 *
 *   kill      SIGKILL to this process        stop      SIGSTOP to this process
 *   fail      the point returns an error     sleep:MS  waits that long
 *
 * "@N" behind an action fires it only when this process passes the point for the N-th time.
 *
 * Each fires once per run of the test, not per process: STENO_FAULT_DIR names a folder where a fired fault
 * leaves a file "<point>", made with O_EXCL, and a fault whose file stands does not fire again. Without the folder it
 * fires every time.
 */
#ifndef BASE_FAULT_H
#define BASE_FAULT_H

#include "base/err.h"

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
    X(db_ping)

enum fault_point {
#define X(name) FAULT_##name,
    FAULT_POINTS(X) FAULT_OPERATIONS(X)
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

#ifdef STENO_FAULTS
/* 0, or ERR_UNAVAILABLE with "injected fault at <point>" in err when the action is `fail`. */
int fault_hit(enum fault_point p, struct err *err) MUST_CHECK;
#define FAULT_POINT(name, err) fault_hit(FAULT_##name, err)
#else
#define FAULT_POINT(name, err) ((void)(err), 0)
#endif

#endif
