/* SPDX-License-Identifier: MIT */
/* What the three halves of decoding share: the child's command line, its exit statuses, and the verdict. */
#ifndef AUDIO_DECODE_INTERNAL_H
#define AUDIO_DECODE_INTERNAL_H

#include "audio/decode.h"

#include <stdint.h>

/* argv of the child behind `__decode`, all of them numbers but the last. */
enum decode_arg {
    ARG_PARENT = 2, /* pid of the parent: gone already means do not start */
    ARG_SANDBOX,    /* enum sandbox_mode */
    ARG_MEMORY,     /* bytes */
    ARG_REPAIR,     /* 0 or 1 */
    ARG_FFMPEG,     /* path or name */
    ARG_COUNT,
};

/* Exit statuses of the child before it became ffmpeg, which itself ends with 0, 1, 69, 123 or 255. */
enum {
    CHILD_NO_SANDBOX = 120,
    CHILD_NO_FFMPEG = 121,
    CHILD_CANNOT_RUN = 122,
};

enum { INPUT_FD = 3, MAX_STDERR = 4096, MAX_STDERR_LINE = 512 };

/* ffmpeg's standard error, read as it comes: nothing is kept but the facts, the best sentence and the tail. */
struct verdict {
    bool errors;                     /* a line at level error or worse */
    bool warned;                     /* a warning that means damage */
    bool streamed_wav;               /* a wav of unknown length: its end always looks torn */
    const struct verdict_rule *rule; /* the first line that told the reason by itself */
    char sentence[256];              /* the last error line, without file and decoder names */
    bool sentence_is_specific;
    char line[MAX_STDERR_LINE]; /* the line being collected; what is over is dropped */
    size_t line_len;
    char tail[MAX_STDERR]; /* raw */
    size_t tail_len;
};

/* How the child ended. */
struct decode_end {
    int status; /* as from waitpid */
    int64_t samples;
    bool wav_hollow; /* a wav whose header promises sound of which not one byte follows */
};

void verdict_feed(struct verdict *v, const char *p, size_t n);
/* Call once, after the last feed. 0 (usable; *ret_damaged says how) or an error as decode_read. */
int verdict_judge(struct verdict *v, const struct decode_end *end, bool *ret_damaged, struct err *err) MUST_CHECK;
/* The tail as clean text, at most `size` with the NUL. */
void verdict_tail(const struct verdict *v, char *ret, size_t size);

#endif
