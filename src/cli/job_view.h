/* SPDX-License-Identifier: MIT */
/* A job as the API shows it, for the client commands: reading it, printing it. */
#ifndef CLI_JOB_VIEW_H
#define CLI_JOB_VIEW_H

#include "base/buf.h"
#include "cli/client.h"

#include <stdbool.h>
#include <stdint.h>

/* Texts are borrowed from the JSON; NULL where it has none. */
struct job_view {
    const char *id, *status, *queue, *filename, *engine, *model, *language, *created_at, *started_at, *finished_at;
    const char *error_code, *error_message;
    const char *heard, *warning;      /* of the result: its language, what there is to say about it */
    int64_t speech_ms, covered_ms;    /* of the result; 0 while there is none */
    int64_t duration_ms, progress_ms; /* of the audio; duration 0 while unknown */
    int64_t position;                 /* jobs before it; -1 when it does not wait */
    int64_t attempt;
    bool ended, completed;
};

/* UNAVAILABLE when this is no job of a steno server. */
int job_view_read(const json_t *json, struct job_view *ret, struct err *err) MUST_CHECK;

/* GET /v1/jobs/{id}; *ret (caller decrefs) holds the texts of *view. */
int job_view_get(struct client *c, const char *id, json_t **ret, struct job_view *view, struct err *err) MUST_CHECK;

/* Several lines about one job. */
void job_view_add(struct buf *b, const struct job_view *v);
/* One line of a list; the head line for NULL. */
void job_view_add_row(struct buf *b, const struct job_view *v);

#endif
