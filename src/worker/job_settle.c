/* SPDX-License-Identifier: MIT */
/*
 * What becomes of a job that did not get through: later, for good, back to the queue, or dropped without a word when it
 * is no longer ours. When the row cannot be written either, the end of the lease does the same, later.
 */
#include "worker/job_internal.h"

#include "base/fault.h"
#include "worker/persist.h"

struct failure_args {
    struct job_failure failure;
    int64_t delay_ms;
};

static int write_retry(struct store *s, const struct claim *claim, const void *arg, int64_t *ret_seq, struct err *err)
{
    const struct failure_args *a = arg;
    return store_retry_later(s, claim, &a->failure, a->delay_ms, ret_seq, err);
}

static int write_failed(struct store *s, const struct claim *claim, const void *arg, int64_t *ret_seq, struct err *err)
{
    const struct failure_args *a = arg;
    return store_fail(s, claim, &a->failure, ret_seq, err);
}

static int write_back(struct store *s, const struct claim *claim, const void *arg, int64_t *ret_seq, struct err *err)
{
    const struct failure_args *a = arg;
    return store_hand_back(s, claim, a->delay_ms, ret_seq, err);
}

static void retry_later(struct job_ctx *c, const struct failure_args *a, const struct err *why, struct err *err)
{
    if (persist(c->w, c->r, JOB_PENDING, write_retry, a, &c->seq, err) < 0)
        return;
    job_state_event(c, JOB_PENDING, why);
    counters_add_class(&c->w->counts, COUNT_retried, why->code);
    log_warn(&c->log, "attempt %d failed at %s (%s), next in %.1f s: %s", c->r->job.attempt, a->failure.stage,
             a->failure.error_class, (double)a->delay_ms / 1000, why->msg);
}

static void give_up(struct job_ctx *c, const struct failure_args *a, const struct err *why, struct err *err)
{
    if (persist(c->w, c->r, JOB_FAILED, write_failed, a, &c->seq, err) < 0)
        return;
    struct err send = ERR_INIT;
    int rc = FAULT_POINT(job_failed, &send);
    job_state_event(c, JOB_FAILED, why);
    if (rc == 0)
        rc = broker_send_dead_letter(c->w->o->broker, c->r->claim.id, a->failure.error_class, why->msg, &send);
    if (rc < 0)
        log_debug(&c->log, "the dead letter was not sent: %s", send.msg);
    counters_add_class(&c->w->counts, COUNT_failed, why->code);
    log_warn(&c->log, "failed for good at %s in attempt %d (%s): %s", a->failure.stage, c->r->job.attempt,
             a->failure.error_class, why->msg);
}

/* Others may take it at once: tell them. */
static void announce(struct job_ctx *c)
{
    const struct job *j = &c->r->job;
    struct token t = {.queue = job_queue_name(j->queue),
                      .job_id = j->id,
                      .audio_key = j->audio_key,
                      .language = j->language,
                      .model = j->model};
    struct err err = ERR_INIT;
    if (broker_send_token(c->w->o->broker, &t, &err) < 0 || store_mark_announced(c->w->o->store, j->id, &err) < 0)
        log_debug(&c->log, "not announced again: %s", err.msg);
}

static void hand_back(struct job_ctx *c, const struct failure_args *a, const struct err *why, struct err *err)
{
    if (persist(c->w, c->r, JOB_PENDING, write_back, a, &c->seq, err) < 0)
        return;
    job_state_event(c, JOB_PENDING, NULL);
    counters_add(&c->w->counts, COUNT_handed_back, 1);
    if (a->delay_ms == 0)
        announce(c);
    log_warn(&c->log, "handed back at %s: %s", a->failure.stage, why->msg);
}

/* What the row will say about it. */
static void name_reason(const struct job_ctx *c, struct err *why)
{
    switch (run_stopped(c->r)) {
    case RUN_GOES_ON:
        break;
    case RUN_LOST:
        err_set(why, ERR_LOST, "the job was cancelled or belongs to another worker now");
        break;
    case RUN_TIMED_OUT:
        if (why->code == ERR_CANCELLED)
            err_set(why, ERR_TIMEOUT,
                    "not done within %.0f s, the time limit of one attempt (job_time_limit); what is done is kept",
                    (double)c->w->o->job_time_ms / 1000);
        break;
    case RUN_HALTED:
        if (why->code == ERR_CANCELLED)
            err_set(why, ERR_CANCELLED, "the worker stops");
        break;
    }
}

void job_settle(struct job_ctx *c, struct err *why)
{
    name_reason(c, why);
    struct err err = ERR_INIT;
    if (why->code != ERR_LOST && FAULT_POINT(job_failing, &err) < 0)
        log_warn(&c->log, "%s", err.msg);
    enum pipeline_stage stage = c->report.stage;
    struct failure_args a = {.failure = {.error_class = err_name(why->code),
                                         .message = why->msg,
                                         .stage = pipeline_stage_name(stage),
                                         .detail = c->report.detail[0] ? c->report.detail : NULL,
                                         .worker = c->w->id}};
    struct retry_policy policy = c->w->o->retry;
    if (c->r->job.max_attempts > 0)
        policy.max_attempts = c->r->job.max_attempts;
    /* The time limit is the job's, wherever it struck: it counts. */
    bool overdue = run_stopped(c->r) == RUN_TIMED_OUT && why->code == ERR_TIMEOUT;
    err = (struct err)ERR_INIT;
    switch (retry_decide(why->code, overdue ? STAGE_ENGINE : stage, c->r->job.attempt, &policy, &a.delay_ms)) {
    case RETRY_LATER:
        retry_later(c, &a, why, &err);
        break;
    case RETRY_FAIL:
        give_up(c, &a, why, &err);
        break;
    case RETRY_BACK:
        hand_back(c, &a, why, &err);
        break;
    case RETRY_DROP:
        err = *why;
        break;
    }
    if (err.code == ERR_LOST || err.code == ERR_NOT_FOUND) {
        counters_add(&c->w->counts, COUNT_lost, 1);
        log_info(&c->log, "dropped at %s: %s", a.failure.stage, err.msg);
    } else if (err.code) {
        counters_add(&c->w->counts, COUNT_unreturned, 1);
        log_error(&c->log, "left to the end of its lease, its row could not be written: %s (after: %s)", err.msg,
                  why->msg);
    }
}
