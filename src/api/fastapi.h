/* SPDX-License-Identifier: MIT */
/*
 * What the dialects of services written with FastAPI have in common: how it words refusals, and that the name of a
 * recording decides whether it is taken.
 */
#ifndef API_FASTAPI_H
#define API_FASTAPI_H

#include "api/dialect.h"
#include "api/job_core.h"

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

/*
 * Cancels the job of rq->params[0]. 1: it is cancelled, and *ret shows it; 0: rq is answered, because the job had ended
 * otherwise; NOT_FOUND.
 */
int fastapi_cancel(struct request *rq, struct shown_job *ret, struct err *err) MUST_CHECK;

#endif
