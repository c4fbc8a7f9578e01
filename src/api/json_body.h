/* SPDX-License-Identifier: MIT */
/* The JSON object a client sent as the body of a BODY_JSON request, member by member. */
#ifndef API_JSON_BODY_H
#define API_JSON_BODY_H

#include "api/request.h"

/* rq->json from rq->body: an object, else INVALID with *ret_problem set. */
int json_body_read(struct request *rq, enum problem *ret_problem, struct err *err) MUST_CHECK;
void json_body_clear(struct request *rq);

/*
 * Members; null counts as not given. *ret is borrowed from the request, NULL or -1 when the member is not given.
 * On failure rq->wrong_field is the name and *ret_problem what kind it is.
 */
int json_body_text(struct request *rq, const char *name, bool must, size_t max, const char **ret,
                   enum problem *ret_problem, struct err *err) MUST_CHECK;
/* A whole number that is not negative, also as text in digits. */
int json_body_int(struct request *rq, const char *name, bool must, int64_t *ret, enum problem *ret_problem,
                  struct err *err) MUST_CHECK;

#endif
