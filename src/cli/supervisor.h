/* SPDX-License-Identifier: MIT */
/*
 * Starts roles of this program as child processes, restarts one that dies, drains them at a stop.
 *
 * A child that ends is started again: the first time after 0.1 s, then after 1 s, doubling to 30 s, and from the start
 * once it has lived for a minute. There is no way back from exit status 2 (wrong configuration), nor from a role that
 * never became ready in START_TRIES tries: then all is stopped. A restart that fails for want of processes, memory or
 * descriptors is tried again in the same rhythm; a first start that does so ends all.
 *
 * At a stop (the process stop flag) the children are drained one after the other, in the order given: the api goes on
 * answering while the worker finishes. A second stop, or a drain that takes too long, kills them.
 */
#ifndef CLI_SUPERVISOR_H
#define CLI_SUPERVISOR_H

#include "base/err.h"

#include <stddef.h>
#include <stdint.h>

enum { SUPERVISOR_EXTRA_MAX = 2 };

struct role {
    const char *name;                                     /* the command */
    int64_t drain_ms;                                     /* from SIGTERM to SIGKILL */
    int (*ready)(char *text, void *arg, struct err *err); /* what it said through role_ready, once per start; NULL: the
                                                         role does not say */
    /* At most SUPERVISOR_EXTRA_MAX further flags for the next start, NULL-terminated; NULL: none. The hook may be NULL
     */
    const char *const *(*extra_flags)(void *arg);
};

struct supervisor_opts {
    const struct role *roles; /* in the order they are drained */
    size_t n_roles;
    char **flags;              /* for each role, NULL-terminated: what `steno serve` was called with */
    void (*hangup)(void *arg); /* SIGHUP came; it is passed on to the children beside that */
    void *arg;
};

/* Runs until a stop. 0: all ended well; else an exit status. Call from the main thread (see role_start). */
int supervisor_run(const struct supervisor_opts *o, struct err *err) MUST_CHECK;

#endif
