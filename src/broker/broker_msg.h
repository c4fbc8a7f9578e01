/* SPDX-License-Identifier: MIT */
/*
 * Messages as text, the same for every back end: one line, no line end in it, at most BROKER_MSG_MAX bytes.
 *
 *   token        {"job_id":"…","queue":"high","minio_path":"uploads/…","language":"en","model":null}
 *   dead letter  {"job_id":"…","error":"corrupt","message":"…"}
 *   event        {"job_id":"…","seq":7,"type":"state","data":{…}}
 *
 * All are JSON, for whoever watches. Nothing here reads tokens and dead letters back. Events are read by every
 * subscriber, so they are cheap to take apart: members stand in this order, without blanks between them, and `data` is
 * passed on as it is. A receiver drops what looks different.
 */
#ifndef BROKER_BROKER_MSG_H
#define BROKER_BROKER_MSG_H

#include "base/buf.h"
#include "broker/broker.h"

/* With its line end it fits a write to a pipe that is never torn apart (PIPE_BUF), and a NOTIFY of PostgreSQL. */
enum { BROKER_MSG_MAX = 4095 };

/* `b` is empty, with the maximum BROKER_MSG_MAX. TOO_LARGE, INVALID (a missing field, control characters). */
int broker_token_encode(const struct token *t, struct buf *b, struct err *err) MUST_CHECK;
int broker_dead_letter_encode(const char *job_id, const char *error_class, const char *message, struct buf *b,
                              struct err *err) MUST_CHECK;
int broker_event_encode(const struct event *e, struct buf *b, struct err *err) MUST_CHECK;
/* Takes any n bytes. False: not a message of ours, *ret untouched. */
bool broker_event_decode(const char *msg, size_t n, struct event *ret) MUST_CHECK;

#endif
