/* SPDX-License-Identifier: MIT */
/*
 * What becomes of a job that did not get through: later, for good, back to the queue, or dropped without a word when it
 * is no longer ours. When the row cannot be written either, the end of the lease does the same, later.
 */
#include "worker/job_internal.h"

#include "base/fault.h"
#include "worker/job_run.h"
#include "worker/persist.h"

enum { ROOM_PAUSE_MS = 30000 };

struct failure_args {
    struct job_failure failure;
    int64_t delay_ms;
    int max_attempts; /* at failures of this class */
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
    log_warn(&c->log, "retry: attempt %d of %d failed at %s (%s), next in %.1f s: %s", c->r->job.attempt,
             a->max_attempts, a->failure.stage, a->failure.error_class, (double)a->delay_ms / 1000, why->msg);
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

static double time_limit_s(const struct job_ctx *c)
{
    return (double)limits_soft_ms(&c->w->o->limits, atomic_load(&c->r->duration_ms)) / 1000;
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
                    time_limit_s(c));
        break;
    case RUN_HALTED:
        if (why->code == ERR_CANCELLED)
            err_set(why, ERR_CANCELLED, "the worker stops");
        break;
    }
}

/* The job's own number of attempts goes before the worker's. */
static struct retry_policy policy_of(const struct job_ctx *c)
{
    struct retry_policy policy = c->w->o->retry;
    if (c->r->job.max_attempts > 0)
        policy.max_attempts = c->r->job.max_attempts;
    return policy;
}

/* As retry_decide, with what only this worker knows. */
static enum retry_verdict decide(const struct job_ctx *c, const struct retry_policy *policy, const struct err *why,
                                 int64_t *ret_delay_ms)
{
    enum pipeline_stage stage = c->report.stage;
    if (run_stopped(c->r) == RUN_TIMED_OUT && why->code == ERR_TIMEOUT) {
        if (c->w->o->limits.fails) {
            *ret_delay_ms = 0;
            return RETRY_FAIL;
        }
        if (c->got_on) {
            *ret_delay_ms = 0; /* it is long and not in trouble; each such attempt leaves less to do */
            return RETRY_BACK;
        }
        stage = STAGE_ENGINE; /* the time limit is the job's, wherever it struck: it counts */
    }
    if (c->report.no_room && board_count(c->w->board) > 1) {
        *ret_delay_ms = ROOM_PAUSE_MS; /* other jobs took it, and will give it back */
        return RETRY_BACK;
    }
    return retry_decide(why->code, stage, c->r->job.attempt, policy, ret_delay_ms);
}

struct retry_rule job_retry_rule(const struct job_ctx *c, int err_code)
{
    const struct retry_policy policy = policy_of(c);
    return retry_rule_of(&policy, err_code);
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
    a.max_attempts = job_retry_rule(c, why->code).max_attempts;
    const struct retry_policy policy = policy_of(c);
    err = (struct err)ERR_INIT;
    switch (decide(c, &policy, why, &a.delay_ms)) {
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

void job_settle_stuck(struct worker *w, struct run *r)
{
    struct job_ctx c = {.w = w, .r = r, .log = {.component = "worker", .job_id = r->claim.id}, .seq = r->job.seq};
    struct err why = ERR_INIT;
    int stage = atomic_load(&r->stage);
    c.report.stage = stage == RUN_NOT_BEGUN ? STAGE_CHECK : (enum pipeline_stage)stage;
    if (run_stopped(r) == RUN_TIMED_OUT)
        err_set(&why, ERR_TIMEOUT,
                "not done within %.0f s (job_time_limit), and hanging so that it could not be stopped "
                "(job_hard_time_limit): its worker was replaced; what is done is kept",
                time_limit_s(&c));
    else
        err_set(&why, ERR_CANCELLED, "it hangs, and was left behind");
    log_error(&c.log, "hangs at %s: told to stop, it has not; this process must be replaced",
              pipeline_stage_name(c.report.stage));
    job_settle(&c, &why);
}
