/* SPDX-License-Identifier: MIT */
/* GET /v1/jobs/{id}/transcript: what the worker stored, in the format the client wants. */
#include "api/etag.h"
#include "api/request.h"
#include "api/server.h"
#include "base/clock.h"
#include "base/id.h"
#include "transcript/format.h"

#include <stdlib.h>

enum { TRANSCRIPT_MAX = 256 << 20 };

static int sink(const void *data, size_t n, void *arg, struct err *err)
{
    struct request *rq = arg;
    return answer_write(&rq->answer, data, n, err);
}

/* 1 and *ret; 0: rq is answered with what is wrong. */
static int choose_format(struct request *rq, enum format *ret)
{
    const char *name = query_get(&rq->query, "format");
    if (name ? format_parse(name, ret) : format_from_accept(rq->accept, ret))
        return 1;
    CLEANUP(buf_clear) struct buf names = BUF_INIT(512);
    for (enum format f = 0; f < FORMAT_COUNT; f++)
        buf_addf(&names, "%s%s", f ? ", " : "", name ? format_info(f)->name : format_info(f)->media_type);
    return request_problem(rq, name ? PROBLEM_bad_query : PROBLEM_not_acceptable, "%s must be one of: %s",
                           name ? "format" : "the Accept header", buf_str(&names));
}

/* 1 and *ret; 0: rq is answered with what is wrong. */
static int choose_layout(struct request *rq, enum format f, struct subtitle_opts *ret, struct err *err)
{
    const char *name, *value;
    for (size_t i = 0; (name = subtitle_option_name(i)); i++) {
        if (!(value = query_get(&rq->query, name)))
            continue;
        if (!format_is_subtitles(f))
            return request_problem(rq, PROBLEM_bad_query, "%s is for the formats srt and vtt, not for %s", name,
                                   format_info(f)->name);
        if (subtitle_set(ret, name, value, err) < 0)
            return request_error(rq, PROBLEM_bad_query, err);
    }
    return 1;
}

static int not_there(struct request *rq, const struct job *j)
{
    switch (j->state) {
    case JOB_PENDING:
    case JOB_PROCESSING:
        request_problem(rq, PROBLEM_job_not_finished, "the job is %s; ask again later", job_state_name(j->state));
        answer_header(&rq->answer, "Retry-After", "1");
        return 0;
    case JOB_FAILED:
        return request_problem(rq, PROBLEM_job_failed, "the job failed (%s): %s", j->error_class ? j->error_class : "?",
                               j->error_message ? j->error_message : "?");
    case JOB_CANCELLED:
        return request_problem(rq, PROBLEM_job_cancelled, "the job was cancelled");
    case JOB_COMPLETED:
    case JOB_STATE_COUNT:
        break;
    }
    return request_problem(rq, PROBLEM_result_lost, "the job has no transcript");
}

static int write_transcript(struct request *rq, const char *json, size_t n, enum format f,
                            const struct subtitle_opts *layout, struct err *err)
{
    if (f == FORMAT_VERBOSE_JSON) /* the form it is kept in */
        return answer_write(&rq->answer, json, n, err);
    struct transcript t;
    transcript_init(&t);
    int rc = transcript_from_json(json, n, &t, err);
    if (rc >= 0)
        rc = format_write_laid_out(&t, f, layout, sink, rq, err);
    transcript_clear(&t);
    return rc;
}

static int answer_transcript(struct request *rq, const char *id, enum format f, const struct subtitle_opts *layout,
                             struct err *err)
{
    struct job_result result;
    int rc = store_get_result(rq->api->o.store, id, &rq->arena, &result, err);
    if (rc < 0)
        return rc;
    if (result.removed_at) {
        char when[TIME_ISO_SIZE];
        time_iso(result.removed_at, when);
        return request_problem(rq, PROBLEM_result_removed, "the transcript was kept long enough and removed at %s",
                               when);
    }
    answer_header(&rq->answer, "Vary", "Accept");
    /* The fence names the run that made the transcript. */
    if (etag_answer(rq, "%lld-%s-%d-%d-%d-%d", (long long)result.fence, format_info(f)->name, layout->max_line_width,
                    layout->max_line_count, layout->max_words_per_line, layout->highlight_words))
        return 0;
    CLEANUP(free_p) char *json = NULL;
    size_t n = 0;
    rc = storage_get_bytes(rq->api->o.storage, result.result_key, TRANSCRIPT_MAX, &json, &n, err);
    if (rc >= 0)
        rc = write_transcript(rq, json, n, f, layout, err);
    if (rc == ERR_NOT_FOUND)
        return request_error(rq, PROBLEM_result_lost, err);
    if (rc < 0)
        return request_error(rq, rc == ERR_UNAVAILABLE ? PROBLEM_storage_unavailable : PROBLEM_COUNT, err);
    rq->answer.status = 200;
    rq->answer.content_type = format_info(f)->media_type;
    return 0;
}

int route_transcript(struct request *rq, struct err *err)
{
    const char *id = rq->params[0];
    enum format f;
    struct subtitle_opts layout = {0};
    if (!choose_format(rq, &f) || !choose_layout(rq, f, &layout, err))
        return 0;
    struct job j;
    int rc = id_valid(id) ? store_get(rq->api->o.store, id, &rq->arena, &j, err) : ERR_NOT_FOUND;
    if (rc >= 0 && j.state != JOB_COMPLETED)
        return not_there(rq, &j);
    if (rc >= 0)
        rc = answer_transcript(rq, id, f, &layout, err);
    if (rc == ERR_NOT_FOUND)
        return request_problem(rq, PROBLEM_job_not_found, "there is no job '%.64s'", id);
    return rc;
}
