/* SPDX-License-Identifier: MIT */
/*
 * Server-sent events as they come in from the network, in pieces of any size (WHATWG HTML, section 9.2.6).
 *
 * What is kept is one line and one event; either may be as long as SSE_MAX.
 */
#ifndef CLI_SSE_H
#define CLI_SSE_H

#include "base/buf.h"

enum { SSE_MAX = 4 << 20, SSE_ID_MAX = 256 };

/* Gets the data of each event. What it returns below 0 ends sse_feed. */
typedef int (*sse_fn)(void *arg, const char *data, size_t n, struct err *err);

struct sse {
    sse_fn fn;
    void *arg;
    struct buf line, data;
    struct buf id;   /* of the last event that was whole */
    struct buf next; /* as the last line `id:` had it: of the event that is coming in */
    bool begun;      /* the byte order mark, if there was one, is behind */
    bool after_cr;   /* a line feed now belongs to the line before */
    bool has_data;   /* an event that has data, if only an empty line */
};

void sse_init(struct sse *s, sse_fn fn, void *arg);
/* Before another connection: forgets what is half there, but not the id. */
void sse_restart(struct sse *s);
void sse_clear(struct sse *s);
/* TOO_LARGE: a line or an event is over the limit. */
int sse_feed(struct sse *s, const void *p, size_t n, struct err *err) MUST_CHECK;
/* To send as Last-Event-ID; "": no event had one. Borrowed until the next sse_feed. */
const char *sse_last_id(const struct sse *s);

#endif
