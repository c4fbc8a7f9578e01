/* SPDX-License-Identifier: MIT */
/*
 * How subtitles are laid out: one table, from which query parameters, flags and documents come. All zero: every segment
 * is one cue of one line.
 */
#ifndef TRANSCRIPT_SUBTITLES_H
#define TRANSCRIPT_SUBTITLES_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* KIND, name, flag, argument of the flag, least, most, help */
#define SUBTITLE_OPTIONS(X)                                                                                     \
    X(INT, max_line_width, "max-line-width", "N", 4, 1000,                                                      \
      "in srt and vtt, lines of at most N columns; characters of Chinese, Japanese and Korean take two")        \
    X(INT, max_line_count, "max-line-count", "N", 1, 100, "in srt and vtt, at most N lines at a time")          \
    X(INT, max_words_per_line, "max-words-per-line", "N", 1, 1000, "in srt and vtt, at most N words in a line") \
    X(BOOL, highlight_words, "highlight-words", NULL, 0, 1,                                                     \
      "in srt and vtt, underline each word while it is spoken; the transcript must have word times "            \
      "(`word_timestamps`)")

struct subtitle_opts {
#define X(kind, name, flag, arg, min, max, help) int name; /* 0: no limit, no */
    SUBTITLE_OPTIONS(X)
#undef X
};

/* Names of the options, in the order of the table; NULL past the last. */
const char *subtitle_option_name(size_t i);
/* Takes a value as a client wrote it. INVALID says what is allowed; NOT_FOUND: no such option. */
int subtitle_set(struct subtitle_opts *o, const char *name, const char *value, struct err *err) MUST_CHECK;
/* Is anything asked for? */
bool subtitle_any(const struct subtitle_opts *o);

#endif
