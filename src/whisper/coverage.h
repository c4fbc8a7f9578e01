/* SPDX-License-Identifier: MIT */
/*
 * Does all speech that the caller heard have text? The speech is the caller's (whisper_input); where it told none,
 * nothing is known and nothing is claimed.
 */
#ifndef WHISPER_COVERAGE_H
#define WHISPER_COVERAGE_H

#include "whisper/whisper.h"

enum {
    COVERAGE_END = WHISPER_RATE,      /* speech this long behind the last text is text left out */
    COVERAGE_HOLE = 3 * WHISPER_RATE, /* so is this between texts: shorter pauses are part of what counts as speech */
};

/* Where the last speech that reaches beyond `from` ends, at most `limit`; `from` when there is none. */
int64_t coverage_speech_end(const struct whisper_input *in, int64_t from, int64_t limit);
/* Is any of [start, end) speech? True when the caller told nothing. */
bool coverage_any(const struct whisper_input *in, int64_t start, int64_t end);

/*
 * Calls fn for each stretch of speech without text, ascending: inside `mute` (stretches given up, with their reason,
 * ascending) and for a span without any text from COVERAGE_END on, else from COVERAGE_HOLE on; the reason of those that
 * are not in `mute` is "no text". Stops at fn's first failure.
 */
typedef int (*coverage_fn)(void *arg, const struct whisper_gap *gap, struct err *err);
int coverage_gaps(const struct whisper_input *in, const struct whisper_segment *segments, size_t n,
                  const struct whisper_gap *mute, size_t n_mute, coverage_fn fn, void *arg, struct err *err) MUST_CHECK;

#endif
