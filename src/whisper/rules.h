/* SPDX-License-Identifier: MIT */
/*
 * What a decoder may say next: OpenAI's logit filters, applied to one row of logits in place (refused: -infinity).
 *
 *   blank        the first token is neither a blank nor the end of text
 *   suppressed   non-speech symbols and the special tokens that are no output
 *   timestamps   they come in pairs, never go back, a segment has a length, the first one is at most
 * max_initial_timestamp, and when they are together more likely than the best text token, it is a timestamp
 */
#ifndef WHISPER_RULES_H
#define WHISPER_RULES_H

#include "whisper/kern.h"
#include "whisper/tokenizer.h"

struct rules {
    const struct tokenizer *t;
    const struct kern *kern;
    bool suppress_blank, timestamps;
    const int *suppressed; /* borrowed */
    size_t n_suppressed;
    int blank;                 /* the token " ", -1 when the vocabulary has none */
    int max_initial_timestamp; /* in steps of 20 ms; negative: no limit */
};

/* One step of the timestamp clock, in samples. */
enum { TIMESTAMP_STEP = 320, TIMESTAMP_COUNT = 1501 };

/* `said`: what this sequence has said so far in this window, without the prompt. */
void rules_apply(const struct rules *r, const int *said, size_t n, float *logits);

#endif
