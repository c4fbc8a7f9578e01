/* SPDX-License-Identifier: MIT */
/*
 * Idempotency-Key: a submission that a client may send again, after an answer that got lost, without making a second
 * job (job/store.h has the keys).
 *
 *   begin      before the body is read: claims the key, or finds what came of it
 *   renew      while the body comes in
 *   compare    when all of it is known: the same submission as before is answered as before
 *   answered   the answer stands: it is kept
 *   release    nothing came of it: the key is free at once
 *
 * The key belongs to the dialect and its route. All but `pending` may block on the database; one thread at a time.
 */
#ifndef API_IDEMPOTENCY_H
#define API_IDEMPOTENCY_H

#include "api/form.h"
#include "api/request.h"
#include "base/id.h"
#include "job/store.h"

enum { IDEMPOTENCY_KEY_MAX = 255, IDEMPOTENCY_BODY_MAX = 64 << 10, FINGERPRINT_SIZE = 65 };

struct idempotency {
    struct job_key key;
    char holder[ID_SIZE];
    char fingerprint[FINGERPRINT_SIZE]; /* set by compare */
    bool claimed;                       /* ours, and without a job so far */
    bool bound;                         /* our submission made the job */
    struct kept_answer kept;            /* job_id NULL: the key was not used before */
    int64_t renewed_ms;                 /* monotonic */
};

/* Sets rq->idempotency when the request has a key. INVALID: a bad one; CONFLICT: its twin is under way. */
int idempotency_begin(struct request *rq, enum problem *ret_problem, struct err *err) MUST_CHECK;
/* CONFLICT: a twin took over. Does nothing most of the time: call it as often as you like. */
int idempotency_renew(struct request *rq, enum problem *ret_problem, struct err *err) MUST_CHECK;
/*
 * 0: make the job, with the key and fingerprint of rq->idempotency; 1: it was made before, and rq->job is set; the
 * answer stands, too, unless rq->answer.status is 0: then the handler makes it again. INVALID: the key was used for
 * something else.
 */
int idempotency_compare(struct request *rq, const struct form *f, const char *options, const char *sha256,
                        enum problem *ret_problem, struct err *err) MUST_CHECK;
void idempotency_answered(struct request *rq);
void idempotency_release(struct request *rq);
/* Is there something to release? */
bool idempotency_pending(const struct request *rq);

#endif
