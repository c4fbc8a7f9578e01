/* SPDX-License-Identifier: MIT */
/*
 * Child processes by posix_spawn (never a bare fork: this program has threads).
 *
 * A child gets exactly the descriptors listed, everything else is closed; it starts with default signal
 * handling. The owner must call proc_wait or proc_free, which kills and reaps.
 */
#ifndef BASE_PROC_H
#define BASE_PROC_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct proc_fd {
    int child;  /* the number in the child */
    int parent; /* ours; stays open here */
};

struct proc_opts {
    const char *path;          /* program; NULL: this very program (/proc/self/exe) */
    const char *const *argv;   /* NULL-terminated, argv[0] included */
    const char *const *setenv; /* "NAME=value" list, NULL-terminated, put over our environment; NULL: none */
    const struct proc_fd *fds; /* a missing 0, 1 or 2 is /dev/null (2: our own stderr when `keep_stderr`) */
    size_t n_fds;
    bool keep_stderr;
    bool hold_hangup; /* starts with SIGHUP blocked, so that one that comes before the child waits for it is not lost */
    bool own_group; /* own process group: a Ctrl-C at the terminal does not reach it, proc_kill reaches its children */
};

struct proc; /* one child, one owner thread at a time */

int proc_spawn(const struct proc_opts *opts, struct proc **ret, struct err *err) MUST_CHECK;
pid_t proc_pid(const struct proc *p);
/* Readable (poll) once the child has ended. Borrowed until proc_free. */
int proc_fd(const struct proc *p);
/* Sends a signal (to the group with own_group); no effect on a child already reaped. */
void proc_kill(struct proc *p, int sig);
/*
 * Waits up to timeout_ms (negative: for ever). 1: ended, *ret_status is as from waitpid; 0: still running; < 0: error.
 * After 1, later calls return 1 with the same status.
 */
int proc_wait(struct proc *p, int64_t timeout_ms, int *ret_status, struct err *err) MUST_CHECK;
/* SIGKILL if still running, reap, free. NULL is fine. */
void proc_free(struct proc *p);
/* "exit status 3" or "killed by signal 11 (Segmentation fault)". */
void proc_describe(int status, char *ret, size_t size);

/* A pipe with close-on-exec on both ends. */
int proc_pipe(int *ret_read, int *ret_write, struct err *err) MUST_CHECK;

#endif
