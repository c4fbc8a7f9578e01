/* SPDX-License-Identifier: MIT */
/*
 * Live updates of a job, over a WebSocket or as server-sent events: a snapshot, then what happens, then the end and a
 * clean close. What is said is made from the job's row at that moment; how it is said is a live_format, one for each
 * dialect.
 *
 * A message's number is `seq` of the job at that point: whoever comes back with `since` set to the last number it saw
 * misses nothing but what is old by then. A reader that is slow gets what stands when it is ready: it loses states
 * and progress in between, never a chunk or the end. Nothing is queued for it.
 */
#ifndef API_LIVE_H
#define API_LIVE_H

#include "api/request.h"
#include "job/job.h"
#include "transcript/transcript.h"

/* What was said in a chunk: as the transcript will have it, joined by single blanks. */
struct live_chunk {
    int64_t idx, start_ms, end_ms; /* its place in the job */
    const char *text;              /* of its segments, joined; "" when nothing was said */
    const struct segment *segments;
    size_t n_segments;
};

/* What a message is made from. Borrowed during the call. */
struct live_view {
    const struct job *job; /* the whole row as it stands (without its plan) */
    int64_t seq;           /* the number of this message */
    int64_t position;      /* jobs before it in the queue; -1: it does not wait, or too many to count */
    bool paused;           /* it waits in a queue that is paused */
    const char *stage;     /* of the worker's pipeline, when one was heard of: "decode", "engine" ...; else NULL */
    const struct job_result *result; /* of a completed job, with its text: for `snapshot` and `end`; else NULL */
    const struct live_chunk *chunk;  /* for `chunk`; else NULL */
    int64_t *memo;                   /* the format's own, kept from message to message of a connection; 0 at first */
};

/*
 * Appends the text of one message to an empty buffer: UTF-8, mostly a JSON object. Nothing appended: nothing sent.
 * Among server-sent events an empty line in it begins another event.
 */
typedef void (*live_fn)(const struct live_view *v, struct buf *b);

/* Why a connection ends before its job does. */
enum live_early_end {
    LIVE_JOB_REMOVED, /* nothing is known of it any more */
    LIVE_SERVER_STOPS,
};

/* How messages are worded. Hooks that are NULL send nothing. Any thread; nothing but `memo` is kept between calls. */
struct live_format {
    const char *name;
    live_fn snapshot; /* the first message, always: the job as it stands */
    live_fn state;    /* another state or attempt, not a last one */
    live_fn position; /* another place in the queue, or that was paused or resumed */
    live_fn chunk;    /* the text of a finished chunk: all of them, in the order of the recording */
    live_fn progress; /* another number of chunks is done, or `stage` is another */
    live_fn end;      /* the last message: the job has ended */
    /* Instead of `end`, only as server-sent events: WebSockets have close codes for it. Else as live_fn. */
    void (*early_end)(enum live_early_end why, const char *job_id, struct buf *b);
    bool plain; /* as server-sent events: neither ids nor a retry hint, only data */
};

enum live_transport { LIVE_WEBSOCKET, LIVE_SSE };

enum { LIVE_FROM_NOW = -1 };

struct live_opts {
    const char *job_id;
    enum live_transport transport;
    const struct live_format *format;
    int64_t since; /* chunks with a higher number are told again; 0: all of them; LIVE_FROM_NOW: only new ones */
    /*
     * The client left before the end, or the server stops: runs on the pool of those that wait for storage. May be
     * NULL.
     */
    void (*left)(struct api *api, const char *job_id);
};

/*
 * For handlers to return, of any route: the connection is the hub's from here on, and libmicrohttpd forgets it. When
 * there are too many, or the request is no WebSocket handshake, it is refused instead.
 *
 * LIVE_SSE answers 200 at once, with the headers that rq->answer has; LIVE_WEBSOCKET 101. A WebSocket to a job that
 * is not there is closed with 4404; before LIVE_SSE the handler looks for itself.
 */
int live_start(struct request *rq, const struct live_opts *o, struct err *err) MUST_CHECK;

/* The two usual handlers, with `since` from the query and from Last-Event-ID; server-sent events about a job that is
 * not there are refused as job_not_found. */
int live_route_websocket(struct request *rq, const char *job_id, const struct live_format *f, struct err *err)
    MUST_CHECK;
int live_route_events(struct request *rq, const char *job_id, const struct live_format *f, struct err *err) MUST_CHECK;

extern const struct live_format live_native;

#endif
