/* SPDX-License-Identifier: MIT */
/*
 * Following a job of a server to its end, with a progress bar on a terminal.
 *
 * What happens to the job is told by the server's live events (docs/live.md), so nothing is asked while they flow. When
 * a stream breaks (the server was restarted), the job is looked at once, and the next stream goes on after the last
 * event. A server that has no events, or something on the way that holds them back, is asked again and again
 * instead. A server that is away for a while is waited for.
 */
#ifndef CLI_FOLLOW_H
#define CLI_FOLLOW_H

#include "cli/client.h"
#include "cli/job_view.h"

struct follow_opts {
    int64_t timeout_ms; /* 0: as long as it takes */
    /*
     * Gets every chunk's message of the stream: from the first on, in the order of the recording, each once, unless the
     * job begins anew. The bar is not on the screen during the call. Below 0 it ends the following. May be NULL.
     */
    int (*chunk)(void *arg, const json_t *message, struct err *err);
    void *arg;
};

/*
 * *ret (caller decrefs) is the job that has ended and holds the texts of *view. Errors: TIMEOUT, CANCELLED (Ctrl-C; the
 * job goes on), those of the client and of `chunk`.
 */
int follow_job(struct client *c, const char *id, const struct follow_opts *o, json_t **ret, struct job_view *view,
               struct err *err) MUST_CHECK;

#endif
