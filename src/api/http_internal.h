/* SPDX-License-Identifier: MIT */
/* Between the files of the bridge (http.h). All of it is called by the HTTP thread that has the request. */
#ifndef API_HTTP_INTERNAL_H
#define API_HTTP_INTERNAL_H

#include "api/problem.h"
#include "api/request.h"

#include <microhttpd.h>

/* The first call about a request: its headers are there. */
enum MHD_Result http_begin(struct request *rq, const char *method, const char *version);

/* Hands rq->answer to libmicrohttpd. */
enum MHD_Result http_queue(struct request *rq);
/* The answer is out, or stands: reads and throws away what still comes of the body. */
enum MHD_Result http_linger(struct request *rq);
/* The answer stands before the body was read: sends it in the way that the client can still read. */
enum MHD_Result http_refuse(struct request *rq);
/* The same with a problem for an answer; `detail` may be NULL. */
enum MHD_Result http_problem(struct request *rq, enum problem p, const char *detail);

#endif
