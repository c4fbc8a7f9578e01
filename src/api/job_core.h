/* SPDX-License-Identifier: MIT */
/* What routes of every dialect do with a job: look at it, with its result and its place in the queue, and cancel it. */
#ifndef API_JOB_CORE_H
#define API_JOB_CORE_H

#include "api/request.h"
#include "job/store.h"

/* A job and what belongs to it; texts live in the request's arena. */
struct shown_job {
    struct job job;
    int64_t position;                /* jobs before it; -1: not known or not waiting */
    bool paused;                     /* it waits in a queue that is paused; found with `position` */
    const struct job_result *result; /* of a completed job whose transcript was not removed, else NULL */
};

/* What costs a question of its own. */
enum {
    SHOW_POSITION = 1 << 0, /* `position` */
    SHOW_TEXT = 1 << 1,     /* the text of `result`, else NULL */
};
/* NOT_FOUND also for what is no id at all. */
int shown_job_get(struct request *rq, const char *id, unsigned what, struct shown_job *ret, struct err *err) MUST_CHECK;
/* pending or processing -> cancelled, and tells the worker. 1: now; 0: it had ended before; NOT_FOUND. */
int job_cancel(struct request *rq, const char *id, struct err *err) MUST_CHECK;
/*
 * failed -> pending, with a fresh set of attempts, and tells workers and watchers. NOT_FOUND; CONFLICT: it has not
 * failed, or its recording is gone.
 */
int job_retry(struct request *rq, const char *id, struct err *err) MUST_CHECK;
/*
 * Nobody waits for rq->job any more: cancels it. Not when it has an Idempotency-Key: the same request may come again,
 * or wait beside this one.
 */
void job_abandon(struct request *rq);
/* The wake-up for a job that waits. */
int job_send_token(struct api *api, const struct job *j, struct err *err) MUST_CHECK;
/* job_cancel without a request. */
int job_cancel_in(struct api *api, const struct log_ctx *lc, const char *id, struct err *err) MUST_CHECK;
/* How much is done, 0 to 100: of the chunks; 100 only for a completed job. */
double job_percent(const struct job *j);
/* The model: that was really used, else the one that was asked for; may be NULL. */
const char *shown_job_model(const struct shown_job *v);
/* The same for the language. */
const char *shown_job_language(const struct shown_job *v);

#endif
