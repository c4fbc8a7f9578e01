/* SPDX-License-Identifier: MIT */
/*
 * What the dialects of services written with FastAPI have in common: how it words refusals, and that the name of a
 * recording decides whether it is taken.
 */
#ifndef API_FASTAPI_H
#define API_FASTAPI_H

#include "api/dialect.h"
#include "api/job_core.h"
#include "api/jsonw.h"

/*
 * For dialect.refuse: {"detail": "a sentence"}, or with 422 {"detail": [{"loc": ["body", "file"], "msg": ..., "type":
 * ...}]} where FastAPI itself would have found the request wrong.
 */
const char *fastapi_refuse(struct refusal *r, struct buf *body);

/*
 * For dialect.check_name: UNSUPPORTED, answered with 400 "Unsupported file format", for names whose ending is not one
 * of recordings. A name without an ending is taken.
 */
int fastapi_check_name(const char *filename, enum problem *ret_problem, struct err *err);
/* The same with only these blank-separated endings, such as ".mp3 .wav"; one there must be. */
int fastapi_check_ending(const char *filename, const char *endings, enum problem *ret_problem, struct err *err);

/* "PENDING", as services whose states are a Python enum say it. */
const char *fastapi_state(enum job_state s);

/* Writes the members of the object that shows a job. */
typedef void (*shown_write_fn)(struct jsonw *w, const struct shown_job *v);

/* For handlers to return. Answers with such an object: of the job that was just accepted, as it then always stood ...
 */
int fastapi_accepted(struct request *rq, unsigned status, shown_write_fn write, struct err *err) MUST_CHECK;
/* ... of this one ... */
int fastapi_answer(struct request *rq, const struct shown_job *v, shown_write_fn write, struct err *err) MUST_CHECK;
/* ... of rq->params[0], with what SHOW_* says ... */
int fastapi_show(struct request *rq, unsigned what, shown_write_fn write, struct err *err) MUST_CHECK;
/* ... or of that one after cancelling it; refused when it had ended otherwise. */
int fastapi_cancel(struct request *rq, shown_write_fn write, struct err *err) MUST_CHECK;
/* "Job not found", or as rq's dialect calls it. */
int fastapi_not_found(struct request *rq);

#endif
