/* SPDX-License-Identifier: MIT */
/*
 * The language of a recording, by what its windows sound like: the first window that is sure decides; when none is, the
 * language that most windows lean to, and of two the likelier. One window alone may be music, or a foreign name.
 */
#ifndef WHISPER_VOTE_H
#define WHISPER_VOTE_H

#include <stdbool.h>

enum { VOTE_LANGUAGES = 100 };

struct vote {
    float sums[VOTE_LANGUAGES]; /* of probabilities */
    int wins[VOTE_LANGUAGES];
    int windows;
    int sure; /* the language of a window that was sure; only when probability > 0 */
    float probability;
};

/* probs [n] of one window, n <= VOTE_LANGUAGES. True: it is sure, no other need be heard. */
bool vote_add(struct vote *v, const float *probs, int n);
/* The language's number; its probability: of the sure window, else the mean over all windows. */
int vote_result(const struct vote *v, float *ret_probability);

#endif
