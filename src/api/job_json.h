/* SPDX-License-Identifier: MIT */
/* A job as the API shows it. */
#ifndef API_JOB_JSON_H
#define API_JOB_JSON_H

#include "api/jsonw.h"
#include "job/job.h"

enum {
    JOB_JSON_MAX = 1 << 20, /* one job: its texts are bounded by FORM_FIELDS */
    /* How soon it makes sense to ask again. */
    JOB_RETRY_PENDING_S = 2,
    JOB_RETRY_PROCESSING_S = 1,
};

/* Beside the row; zeroed: nothing is known. */
struct job_extra {
    int64_t position;                /* jobs before it, -1: not known or not waiting */
    bool paused;                     /* its queue is */
    const struct job_result *result; /* of a completed job, NULL: not looked up */
};

/* `key` as in jw_open. */
void job_json_write(struct jsonw *w, const char *key, const struct job *j, const struct job_extra *extra);
/* Its member `progress`. */
void job_json_progress(struct jsonw *w, const struct job *j);
/* Can a repeated request see another answer without anybody acting? Then Retry-After is one of the above, else 0. */
int job_retry_after(const struct job *j);

#endif
