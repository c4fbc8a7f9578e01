/* SPDX-License-Identifier: MIT */
/*
 * Where the tokens of one window are cut into segments, and how far the window is done with: OpenAI's rules for
 * timestamps.
 *
 *   two stamps together       a segment ends at the first, the next one begins at the second
 *   one stamp at the very end nothing was said behind it: the window is done
 *   text behind the last pair cut off by the window's end: the next window begins there
 *   no pair, or no stamp      one segment, and the window is done
 */
#ifndef WHISPER_SEGMENTS_H
#define WHISPER_SEGMENTS_H

#include "whisper/search.h"

/* Tokens [first, first + n) of the window, and when they were said: samples from its start, 0 <= start <= end. */
struct cut {
    size_t first, n;
    int64_t start, end;
};

struct cuts {
    struct cut v[SEARCH_MAX_TOKENS];
    size_t n;
    int64_t carried; /* the window is done up to here */
    bool open;       /* it is so by a pair of stamps: what is behind is to be said again */
    int64_t resumes; /* where by its own stamp the text behind begins, >= carried */
};

/*
 * `length`: samples of sound in the window; no cut reaches beyond. Of text that would lie behind the end altogether
 * only the window's first is kept (its stamps are wrong), the rest was said of the padding. n <= SEARCH_MAX_TOKENS.
 */
void segments_cut(const int *tokens, size_t n, int first_timestamp, int64_t length, struct cuts *ret);

#endif
