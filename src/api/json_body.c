/* SPDX-License-Identifier: MIT */
#include "api/json_body.h"

#include "base/str.h"

#include <jansson.h>
#include <string.h>

int json_body_read(struct request *rq, enum problem *ret_problem, struct err *err)
{
    json_error_t e;
    *ret_problem = PROBLEM_malformed_json;
    if (!buf_ok(&rq->body)) {
        *ret_problem = PROBLEM_overloaded;
        return err_set(err, ERR_NOMEM, "no memory for this request");
    }
    rq->json = json_loadb(buf_str(&rq->body), rq->body.len, JSON_REJECT_DUPLICATES, &e);
    if (!rq->json)
        return err_set(err, ERR_INVALID, "the body is not JSON: %s (line %d, column %d)", e.text, e.line, e.column);
    if (!json_is_object(rq->json))
        return err_set(err, ERR_INVALID, "the body must be a JSON object");
    buf_clear(&rq->body);
    *ret_problem = PROBLEM_COUNT;
    return 0;
}

void json_body_clear(struct request *rq)
{
    json_decref(rq->json);
    rq->json = NULL;
    buf_clear(&rq->body);
}

/* 1: *ret; 0: not given. */
static int find(struct request *rq, const char *name, bool must, json_t **ret, enum problem *ret_problem,
                struct err *err)
{
    json_t *v = json_object_get(rq->json, name);
    *ret = v;
    if (v && !json_is_null(v))
        return 1;
    if (!must)
        return 0;
    rq->wrong_field = name;
    *ret_problem = PROBLEM_missing_field;
    return err_set(err, ERR_INVALID, "'%s' is missing", name);
}

static int bad(struct request *rq, const char *name, enum problem *ret_problem)
{
    rq->wrong_field = name;
    *ret_problem = PROBLEM_bad_field;
    return ERR_INVALID;
}

int json_body_text(struct request *rq, const char *name, bool must, size_t max, const char **ret,
                   enum problem *ret_problem, struct err *err)
{
    json_t *v;
    *ret = NULL;
    int rc = find(rq, name, must, &v, ret_problem, err);
    if (rc <= 0)
        return rc;
    const char *text = json_string_value(v);
    if (!text) {
        err_set(err, ERR_INVALID, "'%s' must be a text", name);
        return bad(rq, name, ret_problem);
    }
    if (json_string_length(v) > max) { /* NULs in it are refused by the parser */
        err_set(err, ERR_INVALID, "'%s' is over %zu bytes", name, max);
        return bad(rq, name, ret_problem);
    }
    *ret = text;
    return 0;
}

int json_body_int(struct request *rq, const char *name, bool must, int64_t *ret, enum problem *ret_problem,
                  struct err *err)
{
    json_t *v;
    *ret = -1;
    int rc = find(rq, name, must, &v, ret_problem, err);
    if (rc <= 0)
        return rc;
    int64_t n = json_is_integer(v) ? (int64_t)json_integer_value(v) : -1;
    if (json_is_string(v) && !str_to_i64(json_string_value(v), &n))
        n = -1;
    if (n < 0) {
        err_set(err, ERR_INVALID, "'%s' must be a whole number that is not negative", name);
        return bad(rq, name, ret_problem);
    }
    *ret = n;
    return 0;
}
