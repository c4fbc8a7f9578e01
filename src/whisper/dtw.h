/* SPDX-License-Identifier: MIT */
/* Attention scores of a text over time to the moment each of its tokens begins. Pure numbers: tested on their own. */
#ifndef WHISPER_DTW_H
#define WHISPER_DTW_H

#include "base/err.h"

#include <stddef.h>

/*
 * In place, scores [heads][tokens][stride] (frames <= stride count): soft-max over frames, standardised over tokens,
 * median of 7 over frames; then the mean over heads into ret [tokens][frames].
 */
int dtw_matrix(float *scores, size_t heads, size_t tokens, size_t stride, size_t frames, float *ret, struct err *err)
    MUST_CHECK;

/* The cheapest monotonic path through -matrix [tokens][frames]; ret_start[i]: first frame of token i. */
int dtw_path(const float *matrix, size_t tokens, size_t frames, int *ret_start, struct err *err) MUST_CHECK;

#endif
