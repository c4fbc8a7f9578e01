/* SPDX-License-Identifier: MIT */
#include "api/problem.h"

#include "base/err.h"

const struct problem_info *problem_info(enum problem p)
{
    static const struct problem_info infos[] = {
#define X(code, status, title, advice) {#code, title, advice, status},
        PROBLEMS(X)
#undef X
    };
    return &infos[p < PROBLEM_COUNT ? p : PROBLEM_internal];
}

enum problem problem_of_error(int err_code)
{
    switch ((enum err_code)err_code) {
    case ERR_INVALID:
    case ERR_UNSUPPORTED:
        return PROBLEM_bad_request;
    case ERR_NOT_FOUND:
        return PROBLEM_job_not_found;
    case ERR_CONFLICT:
    case ERR_LOST:
    case ERR_CANCELLED:
        return PROBLEM_conflict;
    case ERR_NOMEM:
    case ERR_BUSY:
        return PROBLEM_overloaded;
    case ERR_TIMEOUT:
    case ERR_UNAVAILABLE:
    case ERR_UNCERTAIN:
        return PROBLEM_unavailable;
    case ERR_OK:
    case ERR_TOO_LARGE:
    case ERR_CORRUPT:
    case ERR_CRASHED:
    case ERR_INTERNAL:
        break;
    }
    return PROBLEM_internal;
}
