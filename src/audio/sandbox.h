/* SPDX-License-Identifier: MIT */
/*
 * What a process may still do after sandbox_enter: read the files named, write to descriptors already open, and
 * compute.
 *
 * Landlock for files (and, where the kernel knows it, TCP, abstract sockets and signals), seccomp for system calls (no
 * sockets, no new processes, no ptrace, no mounts, no opening for writing), no new privileges, no capabilities
 * but reading, rlimits. Each layer stands alone: either one already keeps the process from files and network.
 *
 * Called in a single-threaded child right before exec (libseccomp allocates: never between fork and exec of a
 * threaded process). All of it holds across exec.
 */
#ifndef AUDIO_SANDBOX_H
#define AUDIO_SANDBOX_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

struct sandbox {
    const char *const *read_paths; /* NULL-terminated: files and folders that stay readable; missing ones are skipped */
    const char *const *exec_paths; /* NULL-terminated: files that stay readable and may be executed; NULL: none */
    int read_fd;                   /* a file that may be opened again (through /proc/self/fd); -1: none */
    int64_t memory_bytes;          /* RLIMIT_AS, 0: none */
    int64_t cpu_seconds;           /* RLIMIT_CPU, 0: none */
};

struct sandbox_support {
    int landlock_abi; /* 0: none */
    bool seccomp;
};

/* What this kernel can do. */
void sandbox_probe(struct sandbox_support *ret);
/* What a decoder would be free to do for want of it, as a sentence for people; NULL: nothing is missing. */
const char *sandbox_missing(const struct sandbox_support *s);
/* `require`: fail (UNAVAILABLE) rather than go on with less than files and system calls both closed. */
int sandbox_enter(const struct sandbox *s, bool require, struct err *err) MUST_CHECK;
/* The limits and no new privileges alone; sandbox_enter does this too. */
int sandbox_limit(const struct sandbox *s, struct err *err) MUST_CHECK;

#endif
