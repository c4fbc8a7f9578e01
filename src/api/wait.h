/* SPDX-License-Identifier: MIT */
/*
 * Waiting for the end of a job without a thread: the request stays suspended, the hub (hub.h) watches the job and the
 * client, and the rest of the handler runs on a pool when one of them comes to an end.
 *
 *     static int answer(struct request *rq, enum wait_end end, struct err *err) { ... }
 *     int route_x(struct request *rq, struct err *err) { return request_wait(rq, rq->job->id, 10000, answer, err); }
 */
#ifndef API_WAIT_H
#define API_WAIT_H

#include "api/request.h"

#include <stdint.h>

enum wait_end {
    WAIT_JOB_ENDED,   /* it is in a terminal state, or was purged: look at the row */
    WAIT_TIMED_OUT,   /* answer what there is */
    WAIT_CLIENT_LEFT, /* nobody reads the answer; cancel what was done only for it. A client that closed its sending
                         side counts as gone */
    WAIT_SERVER_STOPS /* answer what there is, now */
};

/* The rest of a handler: answers, or waits again. As a route_fn in all else. */
typedef int (*wait_fn)(struct request *rq, enum wait_end end, struct err *err);

/*
 * For handlers to return: `return request_wait(...)`. After it the handler touches the request no more; `then` runs
 * once, on the pool of those that wait for storage. Negative: no memory. A job that has ended already, or is not there,
 * is no special case: then runs at once.
 */
int request_wait(struct request *rq, const char *job_id, int64_t timeout_ms, wait_fn then, struct err *err) MUST_CHECK;

/* For who called the handler, once it returned ROUTE_WAITS and nothing of the request is touched any more. */
void wait_begin(struct request *rq);
/* NULL is fine. */
void wait_free(struct wait *w);

#endif
