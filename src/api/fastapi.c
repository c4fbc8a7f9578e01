/* SPDX-License-Identifier: MIT */
#include "api/fastapi.h"

#include "base/str.h"
#include "base/words.h"

#include <ctype.h>
#include <string.h>

enum { ANSWER_MAX = 64 << 20 };

/* Of all that ffmpeg takes, what people call a recording or a film. */
static const char media_endings[] =
    ".3g2 .3gp .3gpp .aac .ac3 .aif .aifc .aiff .amr .ape .asf .au .avi .awb .caf .dts .eac3 .f4a .f4v .flac .flv .gsm "
    ".m4a .m4b .m4r .m4v .mka .mkv .mov .mp2 .mp3 .mp4 .mpeg .mpg .mpga .mts .oga .ogg .ogm .ogv .opus .ra .rm .snd "
    ".spx "
    ".ts .tta .voc .w64 .wav .wave .weba .webm .wma .wmv .wv";

/* Where and why, as FastAPI says it; `type` NULL: a plain sentence. */
static const struct {
    enum problem problem;
    unsigned status;
    const char *where, *field, *type, *msg; /* field and msg NULL: the refusal's own */
} wordings[] = {
    {PROBLEM_missing_file, 422, "body", "file", "missing", "Field required"},
    {PROBLEM_not_multipart, 422, "body", "file", "missing", "Field required"},
    {PROBLEM_missing_field, 422, "body", NULL, "missing", "Field required"},
    {PROBLEM_bad_field, 422, "body", NULL, "value_error", NULL},
    {PROBLEM_duplicate_field, 422, "body", NULL, "value_error", NULL},
    {PROBLEM_unknown_field, 422, "body", NULL, "value_error", NULL},
    {PROBLEM_malformed_json, 422, "body", NULL, "json_invalid", NULL},
    {PROBLEM_bad_query, 422, "query", NULL, "value_error", NULL},
    {PROBLEM_not_audio, 400, NULL, NULL, NULL, NULL},
    {PROBLEM_no_such_route, 404, NULL, NULL, NULL, "Not Found"},
    {PROBLEM_method_not_allowed, 405, NULL, NULL, NULL, "Method Not Allowed"},
};

const char *fastapi_refuse(struct refusal *r, struct buf *b)
{
    struct jsonw w = {b, false};
    size_t i = 0;
    while (i < ARRAY_LEN(wordings) && wordings[i].problem != r->problem)
        i++;
    bool known = i < ARRAY_LEN(wordings);
    const char *sentence = known && wordings[i].msg ? wordings[i].msg : r->detail;
    if (known)
        r->status = wordings[i].status;
    jw_open(&w, NULL, '{');
    if (known && wordings[i].type) {
        const char *field = wordings[i].field ? wordings[i].field : r->field;
        jw_open(&w, "detail", '[');
        jw_open(&w, NULL, '{');
        jw_open(&w, "loc", '[');
        jw_str(&w, NULL, wordings[i].where);
        if (field)
            jw_str(&w, NULL, field);
        jw_close(&w, ']');
        jw_str(&w, "msg", sentence);
        jw_str(&w, "type", wordings[i].type);
        jw_close(&w, '}');
        jw_close(&w, ']');
    } else {
        jw_str(&w, "detail", sentence);
    }
    jw_close(&w, '}');
    return "application/json";
}

int fastapi_check_ending(const char *filename, const char *endings, enum problem *ret_problem, struct err *err)
{
    const char *dot = strrchr(filename, '.');
    if (dot && words_have_ieq(endings, " ", dot))
        return 0;
    *ret_problem = PROBLEM_not_audio;
    return err_set(err, ERR_UNSUPPORTED, "Unsupported file format");
}

/* "talk.mp3" and "notes.txt" have one; "talk", "talk v1.2" and "2026.11.22" have none. */
static bool has_any_ending(const char *filename)
{
    const char *dot = strrchr(filename, '.');
    bool letter = false;
    for (const char *p = dot ? dot + 1 : ""; *p; p++) {
        if (!isalnum((unsigned char)*p))
            return false;
        letter = letter || isalpha((unsigned char)*p);
    }
    return letter;
}

int fastapi_check_name(const char *filename, enum problem *ret_problem, struct err *err)
{
    return has_any_ending(filename) ? fastapi_check_ending(filename, media_endings, ret_problem, err) : 0;
}

const char *fastapi_state(enum job_state s)
{
    static const char *const words[JOB_STATE_COUNT] = {
        [JOB_PENDING] = "PENDING", [JOB_PROCESSING] = "PROCESSING", [JOB_COMPLETED] = "COMPLETED",
        [JOB_FAILED] = "FAILED",   [JOB_CANCELLED] = "CANCELLED",
    };
    return s < JOB_STATE_COUNT ? words[s] : "UNKNOWN";
}

static const char *job_word(const struct request *rq)
{
    const char *word = rq->route->dialect->job_word;
    return word ? word : "Job";
}

int fastapi_not_found(struct request *rq)
{
    return request_problem(rq, PROBLEM_job_not_found, "%s not found", job_word(rq));
}

static int answer(struct request *rq, unsigned status, const struct shown_job *v, shown_write_fn write, struct err *err)
{
    CLEANUP(buf_clear) struct buf b = BUF_INIT(ANSWER_MAX);
    struct jsonw w = {&b, false};
    jw_open(&w, NULL, '{');
    write(&w, v);
    jw_close(&w, '}');
    return request_json(rq, status, &b, err);
}

int fastapi_accepted(struct request *rq, unsigned status, shown_write_fn write, struct err *err)
{
    struct shown_job v = {.job = *rq->job, .position = -1};
    v.job.state = JOB_PENDING; /* also when the answer is a repeated one and a worker has the job already */
    return answer(rq, status, &v, write, err);
}

int fastapi_answer(struct request *rq, const struct shown_job *v, shown_write_fn write, struct err *err)
{
    return answer(rq, 200, v, write, err);
}

int fastapi_show(struct request *rq, unsigned what, shown_write_fn write, struct err *err)
{
    struct shown_job v;
    int rc = shown_job_get(rq, rq->params[0], what, &v, err);
    if (rc == ERR_NOT_FOUND)
        return fastapi_not_found(rq);
    return rc < 0 ? rc : answer(rq, 200, &v, write, err);
}

int fastapi_cancel(struct request *rq, shown_write_fn write, struct err *err)
{
    struct shown_job v;
    int rc = job_cancel(rq, rq->params[0], err);
    if (rc >= 0)
        rc = shown_job_get(rq, rq->params[0], 0, &v, err);
    if (rc == ERR_NOT_FOUND)
        return fastapi_not_found(rq);
    if (rc < 0)
        return rc;
    if (v.job.state == JOB_CANCELLED)
        return answer(rq, 200, &v, write, err);
    return request_problem(rq, PROBLEM_conflict, "%s cannot be cancelled: it is %s", job_word(rq),
                           job_state_name(v.job.state));
}
