/* SPDX-License-Identifier: MIT */
/*
 * POST /v1/audio/transcriptions and /v1/audio/translations: a usual job on the queue of urgent ones, whose end the
 * request waits for.
 *
 * Only this client knows of the job: when it leaves, or the server stops, the job is cancelled, since the client would
 * send it again; not when it has an Idempotency-Key, by which the client would come back to it. When the time is over
 * the job goes on, and the answer says where to find it. Answers that a second try would not change say so
 * (x-should-retry), because OpenAI's clients repeat what failed with 409 and 5xx.
 */
#include "api/job_core.h"
#include "api/openai.h"
#include "api/request.h"
#include "api/server.h"
#include "api/wait.h"
#include "base/str.h"
#include "storage/storage.h"
#include "transcript/format.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { TRANSCRIPT_MAX = 256 << 20, CLIENT_LEFT = 499 /* nobody reads it; for the figures */ };

static const char *asked_id(const struct request *rq)
{
    return rq->job->id;
}

/* The refusal stands in the answer. */
static int no_retry(struct request *rq)
{
    answer_header(&rq->answer, "X-Should-Retry", "false");
    answer_header(&rq->answer, "X-Job-Id", "%s", asked_id(rq));
    return 0;
}

/* ---- jobs that ended without a transcript ---- */

static int answer_failed(struct request *rq, const struct job *j)
{
    bool retry;
    enum problem p = openai_problem(j, &retry);
    rq->wrong_field = p == PROBLEM_bad_recording ? "file" : NULL;
    request_problem(rq, p, "%s (job %s)", openai_reason(j), j->id);
    if (!retry)
        return no_retry(rq);
    answer_header(&rq->answer, "X-Job-Id", "%s", j->id);
    return 0;
}

static int answer_late(struct request *rq, const struct job *j)
{
    request_problem(rq, PROBLEM_job_late,
                    "the transcription was not done within %" PRId64
                    " s; it goes on as job %s: ask for it at /v1/jobs/%s",
                    rq->api->o.sync_ms / 1000, j->id, j->id);
    return no_retry(rq);
}

/* ---- the transcript ---- */

static int read_transcript(struct request *rq, const char *key, struct transcript *ret, struct err *err)
{
    CLEANUP(free_p) char *json = NULL;
    size_t n = 0;
    int rc = storage_get_bytes(rq->api->o.storage, key, TRANSCRIPT_MAX, &json, &n, err);
    return rc < 0 ? rc : transcript_from_json(json, n, ret, err);
}

static int answer_transcript(struct request *rq, const struct shown_job *v, struct err *err)
{
    const struct openai_want want = openai_want(rq->form);
    struct transcript t;
    transcript_init(&t);
    int rc = read_transcript(rq, v->result->result_key, &t, err);
    if (rc == 0)
        rc = openai_write(&rq->answer, &t, &want, v->job.language, err);
    transcript_clear(&t);
    if (rc == ERR_NOT_FOUND)
        return request_error(rq, PROBLEM_result_lost, err);
    if (rc < 0)
        return request_error(rq, rc == ERR_UNAVAILABLE ? PROBLEM_storage_unavailable : PROBLEM_COUNT, err);
    rq->answer.status = 200;
    answer_header(&rq->answer, "X-Job-Id", "%s", v->job.id);
    return 0;
}

/* ---- the end ---- */

static int answer_ended(struct request *rq, struct err *err)
{
    struct shown_job v;
    int rc = shown_job_get(rq, asked_id(rq), 0, &v, err);
    if (rc == ERR_NOT_FOUND) {
        request_problem(rq, PROBLEM_job_cancelled, OPENAI_REMOVED, asked_id(rq));
        return no_retry(rq);
    }
    if (rc < 0)
        return rc;
    switch (v.job.state) {
    case JOB_COMPLETED:
        return answer_transcript(rq, &v, err);
    case JOB_FAILED:
    case JOB_CANCELLED:
        return answer_failed(rq, &v.job);
    case JOB_PENDING:
    case JOB_PROCESSING:
    case JOB_STATE_COUNT:
        break;
    }
    return answer_late(rq, &v.job);
}

static int at_end(struct request *rq, enum wait_end end, struct err *err)
{
    switch (end) {
    case WAIT_JOB_ENDED:
    case WAIT_TIMED_OUT:
        break;
    case WAIT_CLIENT_LEFT:
        job_abandon(rq);
        rq->answer.status = CLIENT_LEFT;
        return 0;
    case WAIT_SERVER_STOPS:
        job_abandon(rq);
        return request_problem(rq, PROBLEM_shutting_down, OPENAI_STOPS);
    }
    return answer_ended(rq, err);
}

/* The client of a stream has gone, or the server stops. */
static void on_left(struct api *api, const char *job_id)
{
    const struct log_ctx lc = {.component = "api", .job_id = job_id};
    struct err err = ERR_INIT;
    if (job_cancel_in(api, &lc, job_id, &err) < 0 && err.code != ERR_NOT_FOUND)
        log_warn(&lc, "the job goes on although nobody waits for it: %s", err.msg);
}

int route_openai_audio(struct request *rq, struct err *err)
{
    const struct openai_want want = openai_want(rq->form);
    if (want.stream) {
        const struct live_opts o = {
            .job_id = asked_id(rq),
            .transport = LIVE_SSE,
            .format = openai_stream(&want),
            .left = rq->idempotency ? NULL : on_left, /* as job_abandon */
        };
        answer_header(&rq->answer, "X-Job-Id", "%s", asked_id(rq));
        return live_start(rq, &o, err);
    }
    return request_wait(rq, asked_id(rq), rq->api->o.sync_ms ? rq->api->o.sync_ms : INT32_MAX, at_end, err);
}
