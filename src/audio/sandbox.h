/* SPDX-License-Identifier: MIT */
/*
 * What a process may still do after sandbox_enter: read the paths given, write to descriptors already open, and
 * compute.
 *
 * Landlock for files, seccomp for system calls (no sockets, no ptrace, no mounts, no new namespaces), no new
 * privileges, rlimits for memory, files and core dumps. Called in a single-threaded child right before exec (libseccomp
 * allocates: never between fork and exec of a threaded process).
 */
#ifndef AUDIO_SANDBOX_H
#define AUDIO_SANDBOX_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

struct sandbox {
    const char *const *read_paths; /* NULL-terminated: files and folders that stay readable (and executable) */
    int64_t memory_bytes;          /* RLIMIT_AS */
    int64_t cpu_seconds;           /* RLIMIT_CPU, 0: none */
};

struct sandbox_support {
    int landlock_abi; /* 0: none */
    bool seccomp;
};

/* What this kernel can do. */
void sandbox_probe(struct sandbox_support *ret);
/* `require`: fail rather than go on with less than all of it. */
int sandbox_enter(const struct sandbox *s, bool require, struct err *err) MUST_CHECK;

#endif
