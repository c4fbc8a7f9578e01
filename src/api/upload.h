/* SPDX-License-Identifier: MIT */
/*
 * The body of a submission on its way into storage.
 *
 * The HTTP thread copies what it reads into a ring; a pool task takes it out, takes it apart (body.h) and
 * writes the recording to storage. When the ring is full the connection is suspended until there is room, so
 * memory is bounded and the client is slowed down to what storage takes. The task runs only while there is something in
 * the ring: a slow client costs no thread.
 *
 * The answer is made by the task: either early (refused, while the body is still coming in) or after the end.
 */
#ifndef API_UPLOAD_H
#define API_UPLOAD_H

#include "api/body.h"
#include "api/request.h"

enum { UPLOAD_RING_BYTES = 256 << 10, UPLOAD_OVERHEAD_BYTES = 1 << 20 };

struct upload;

enum upload_state {
    UPLOAD_GOES_ON,  /* taken; or the connection is suspended until there is room, or (upload_end) the answer */
    UPLOAD_ANSWERED, /* refused, and the answer went out: throw away what still comes */
    UPLOAD_CUT,      /* the server stops: close the connection */
};

/* Makes rq->upload, on the HTTP thread. On failure *ret_problem says which kind it is. */
int upload_new(struct request *rq, const struct body_head *head, enum problem *ret_problem, struct err *err) MUST_CHECK;
/* NULL is fine. No task may be under way. */
void upload_free(struct upload *u);

/* ---- the HTTP thread ---- */

/* Takes from data; *n becomes what is left over (then the connection is suspended). */
enum upload_state upload_feed(struct upload *u, const char *data, size_t *n);
/* The body is over. GOES_ON: the connection is suspended until rq->phase is PHASE_ANSWERED. */
enum upload_state upload_end(struct upload *u);
/*
 * The request is over, however it ended: what was stored of an unfinished upload is removed. Returns the status that
 * was sent early, 0 when none was.
 */
unsigned upload_gone(struct upload *u);

#endif
