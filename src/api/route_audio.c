/* SPDX-License-Identifier: MIT */
/*
 * GET /v1/jobs/{id}/audio: the recording, as it was handed over.
 *
 * A store that has URLs of its own gives it out itself: the client is sent there. Of a local folder the kernel gets the
 * descriptor, as with long answers (answer.h): the thread of the handler is free before the first byte goes out,
 * however slowly the client reads, and the HTTP thread sends what the socket takes.
 */
#include "api/etag.h"
#include "api/http.h"
#include "api/media_type.h"
#include "api/range.h"
#include "api/request.h"
#include "api/server.h"
#include "base/clock.h"
#include "base/id.h"
#include "base/str.h"

#include <stdlib.h>

/* A player keeps the URL it was sent to and jumps in it: it lasts as long as the recording, and some time to stop. */
enum { URL_S = 3600, URL_MAX_S = 7 * 24 * 3600 };

static int send_there(struct request *rq, const struct job *j, const char *type, struct err *err)
{
    CLEANUP(free_p) char *url = NULL;
    bool head = str_eq(rq->method, "HEAD");
    int64_t lifetime_s = MIN(URL_S + j->duration_ms / 1000, (int64_t)URL_MAX_S);
    int rc = storage_presign(rq->api->o.storage, head ? STORAGE_PRESIGN_HEAD : STORAGE_PRESIGN_GET, j->audio_key, type,
                             lifetime_s, &url, NULL, err);
    if (rc < 0)
        return rc;
    rq->answer.status = 307;
    answer_header(&rq->answer, "Location", "%s", url);
    return 0;
}

/* The bytes that the client wants: with HEAD, and when it has a part of another recording than this, all of it. */
static enum range wanted(const struct request *rq, const char *tag, int64_t size, int64_t *ret_first,
                         int64_t *ret_count)
{
    const char *only_if = http_header(rq, "If-Range");
    if (!str_eq(rq->method, "GET") || (only_if && !str_eq(only_if, tag)))
        return RANGE_WHOLE;
    return range_read(http_header(rq, "Range"), size, ret_first, ret_count);
}

static int send_file(struct request *rq, const struct job *j, const char *type, struct err *err)
{
    struct object_info info;
    int64_t first = 0, count = 0;
    /* A recording never changes: the job's id names it. */
    const char *tag = arena_printf(&rq->arena, "\"%s\"", j->id);
    if (!tag)
        return err_set(err, ERR_NOMEM, "no memory for this request");
    if (etag_answer(rq, "%s", j->id))
        return 0;
    int fd = storage_get_fd(rq->api->o.storage, j->audio_key, &info, err);
    if (fd < 0)
        return fd;
    enum range r = wanted(rq, tag, info.size, &first, &count);
    if (r == RANGE_WHOLE)
        count = info.size;
    answer_file(&rq->answer, fd, first, count);
    if (r == RANGE_NOWHERE) {
        request_problem(rq, PROBLEM_bad_range, "the recording has %lld bytes", (long long)info.size);
        answer_header(&rq->answer, "Content-Range", "bytes */%lld", (long long)info.size);
        return 0;
    }
    rq->answer.status = r == RANGE_PART ? 206 : 200;
    rq->answer.content_type = type;
    answer_header(&rq->answer, "Accept-Ranges", "bytes");
    if (r == RANGE_PART)
        answer_header(&rq->answer, "Content-Range", "bytes %lld-%lld/%lld", (long long)first,
                      (long long)(first + count - 1), (long long)info.size);
    return 0;
}

static int answer_audio(struct request *rq, const struct job *j, struct err *err)
{
    const char *type = media_type(j->content_type, j->filename);
    if (j->audio_gone_at) {
        char when[TIME_ISO_SIZE];
        time_iso(j->audio_gone_at, when);
        return request_problem(rq, PROBLEM_recording_removed, "the recording was kept long enough and removed at %s",
                               when);
    }
    int rc = send_there(rq, j, type, err);
    if (rc == ERR_UNSUPPORTED)
        rc = send_file(rq, j, type, err);
    if (rc == ERR_NOT_FOUND)
        return request_error(rq, PROBLEM_recording_lost, err);
    if (rc < 0)
        return request_error(rq, rc == ERR_UNAVAILABLE ? PROBLEM_storage_unavailable : PROBLEM_COUNT, err);
    return 0;
}

int route_audio(struct request *rq, struct err *err)
{
    const char *id = rq->params[0];
    struct job j;
    int rc = id_valid(id) ? store_get(rq->api->o.store, id, &rq->arena, &j, err) : ERR_NOT_FOUND;
    if (rc == ERR_NOT_FOUND)
        return request_problem(rq, PROBLEM_job_not_found, "there is no job '%.64s'", id);
    return rc < 0 ? rc : answer_audio(rq, &j, err);
}
