/* SPDX-License-Identifier: MIT */
/*
 * What a live connection is to be told next, from what it was told last: read from the database and worded in one go,
 * as the bytes that go out. Connections that were told the same share one script. Blocks; any thread.
 */
#ifndef API_LIVE_SCRIPT_H
#define API_LIVE_SCRIPT_H

#include "api/live.h"
#include "job/store.h"

enum { LIVE_STAGE_SIZE = 16, SCRIPT_MAX = 64 << 20, SCRIPT_CHUNKS_BYTES = 32 << 10, LIVE_POSITION_MAX = 1000 };

/* What a connection was told. Zeroed, with `seq`: nothing yet. */
struct place {
    bool started;
    bool from_now;    /* not started: without the chunks that are there already */
    int64_t seq;      /* the number of the last message */
    int64_t row_seq;  /* jobs.seq of the row that was read last */
    int64_t position; /* -1: none */
    int64_t memo;     /* live_view.memo */
    enum job_state state;
    bool paused; /* as in live_view */
    int attempt;
    int64_t chunks_done;
    char stage[LIVE_STAGE_SIZE];
};
bool place_same(const struct place *a, const struct place *b);

struct script_ask {
    const char *job_id;
    const struct live_format *format;
    enum live_transport transport;
    struct place place;
    int64_t position; /* as far as the hub knows; -1: not */
    bool known;       /* the hub knows the row, and then whether ... */
    bool paused;      /* ... it waits in a queue that is paused */
    char stage[LIVE_STAGE_SIZE];
};

/* Bytes to send. Made by one thread, then used by one other. */
struct script {
    int refs;
    struct place place; /* when all of it was told */
    bool more;          /* there is more to tell already */
    bool last;          /* nothing comes after it: the end was told, or why there will be none */
    size_t len;
    char bytes[];
};

/* NOMEM, and what the store says. A job that is not there makes a script, too. */
int script_make(struct store *s, const struct script_ask *a, struct script **ret, struct err *err) MUST_CHECK;
/* One that only sends these bytes; NULL: no memory. */
struct script *script_of_bytes(const void *p, size_t n, const struct place *place);
/* The last one of a connection that ends before its job does; NULL: no memory. */
struct script *script_early_end(const struct script_ask *a, enum live_early_end why);
struct script *script_ref(struct script *s);
void script_unref(struct script *s); /* NULL is fine */

#endif
