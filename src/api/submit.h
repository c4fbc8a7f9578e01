/* SPDX-License-Identifier: MIT */
/* From a stored recording to an accepted job. */
#ifndef API_SUBMIT_H
#define API_SUBMIT_H

#include "api/form.h"
#include "api/request.h"
#include "storage/storage.h"

struct submission {
    const char *id, *key, *filename, *content_type; /* content_type may be NULL */
    const struct form *form;
    struct storage_put *put;          /* all written; submit commits or aborts it. NULL: */
    const struct object_info *stored; /* an object that a client put there itself; it stays whatever happens */
    const char *sum;                  /* of that: for jobs.audio_sha256 */
};

/*
 * Makes the object durable, then the row, then tells the workers; sets rq->job. A submission that is a repetition
 * (idempotency.h) makes no job: then it is the first one's, and the answer may stand already. On failure nothing is
 * left behind and *ret_problem may say what kind it is. Blocks.
 */
int submit(struct request *rq, const struct submission *s, enum problem *ret_problem, struct err *err) MUST_CHECK;

/* May the body be sent? Refused when the queue is full or the Idempotency-Key is in use. */
int submit_admit(struct request *rq, enum problem *ret_problem, struct err *err) MUST_CHECK;

#endif
