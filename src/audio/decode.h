/* SPDX-License-Identifier: MIT */
/*
 * Hostile media to PCM: ffmpeg in a child that may read its input, its libraries, and nothing else.
 *
 * The child is this program's hidden subcommand `__decode` (decode_child_main): it closes everything, sets limits,
 * Landlock and seccomp (audio/sandbox.h), then execs ffmpeg, which reads a seekable file and writes PCM to a
 * pipe. The parent streams, keeps the last of stderr, and judges the end by exit status, sample count and
 * stderr together: ffmpeg ends with 0 on inputs it could not read.
 *
 * Threads: one decode belongs to one thread. decode_read blocks at most 200 ms at a time between looks at
 * `cancel` and the process stop flag is not looked at: the caller's cancel covers it.
 */
#ifndef AUDIO_DECODE_H
#define AUDIO_DECODE_H

#include "audio/audio.h"
#include "base/err.h"
#include "base/stop.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

enum sandbox_mode {
    SANDBOX_AUTO,    /* as much as the kernel has; a warning for what it has not */
    SANDBOX_REQUIRE, /* refuse to decode without all of it */
    SANDBOX_OFF,
};

struct decode_opts {
    const char *ffmpeg; /* path or name; NULL: "ffmpeg" from PATH */
    enum sandbox_mode sandbox;
    int64_t memory_bytes; /* address space of the child; 0: 1.5 GiB (below 750 MB ffmpeg hangs) */
    int64_t time_ms;      /* wall clock for the whole decode; 0: no limit, as below */
    int64_t stall_ms;     /* ... and for the next sample: a child that gives none is killed */
    int64_t max_samples;  /* longest recording, whatever its header says */
    const struct cancel *cancel;
    bool repair; /* tolerant second attempt: ignore errors, re-sync, regenerate time stamps */
};

struct decode;

/*
 * Starts the child on a regular file. `path` is opened here: the child never sees a name chosen by a client. The child
 * dies with the thread that called this. Errors: NOT_FOUND, INVALID (no regular file), CORRUPT (an empty one), NOMEM.
 */
int decode_open(const char *path, const struct decode_opts *opts, struct decode **ret, struct err *err) MUST_CHECK;
/*
 * Up to n samples; 0 at the end, when the verdict below is known. Errors: CORRUPT (damaged, or not media), UNSUPPORTED
 * (no audio stream in it, or a format that is not allowed), TOO_LARGE (longer than it may be), TIMEOUT, CANCELLED,
 * NOMEM, CRASHED, UNAVAILABLE (no ffmpeg; sandbox required and missing). After an error only decode_close makes sense;
 * the same error comes again.
 */
ssize_t decode_read(struct decode *d, int16_t *pcm, size_t n, struct err *err) MUST_CHECK;
/*
 * After the 0 of decode_read: some audio came but ffmpeg complained (truncated file, broken frames). A repair attempt
 * is worth it; if that changes nothing the audio there is, is used and the result says so.
 */
bool decode_damaged(const struct decode *d);
/* What ffmpeg printed last (at most 4 KiB, cleaned), once decode_read gave 0 or an error; borrowed until decode_close.
 */
const char *decode_stderr(const struct decode *d);
/* Kills what still runs. NULL is fine. */
void decode_close(struct decode *d);

/*
 * The child's main. A program that decodes must hand over here when its argv[1] is "__decode", before anything else in
 * its main: decode_open starts this very program (/proc/self/exe) as the child. Returns an exit status only when it
 * could not exec.
 */
int decode_child_main(int argc, char **argv);

#endif
