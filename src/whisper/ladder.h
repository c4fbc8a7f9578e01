/* SPDX-License-Identifier: MIT */
/*
 * The temperature ladder: a window is tried at one temperature after another until its text passes the gates.
 *
 *   repetition       the text compresses too well
 *   loop             it ends in the same tokens over and over
 *   low probability  the mean log-probability of its tokens is too low
 *
 * When the model holds the window for silence and its text is unlikely too, it is silence and no further try is made.
 * When all tries fail, the likeliest stays that does not repeat itself; of a loop, its first round.
 */
#ifndef WHISPER_LADDER_H
#define WHISPER_LADDER_H

#include "whisper/search.h"
#include "whisper/whisper.h"

/* The text of one window. */
struct decoded {
    int tokens[SEARCH_MAX_TOKENS];
    size_t n;
    float avg_logprob, compression_ratio, no_speech_prob, temperature;
    const char *failed; /* the gate it failed, NULL: passed */
    bool silent;        /* no speech, by the model's own word */
};

/* Decodes the window at this temperature: fills the tokens and all figures but `temperature`. */
typedef int (*ladder_try_fn)(void *arg, float temperature, struct decoded *ret, struct err *err);

/* CORRUPT: the model computes NaN. */
int ladder_climb(const struct whisper_params *p, int first_timestamp, ladder_try_fn try, void *arg, struct decoded *ret,
                 struct err *err) MUST_CHECK;

#endif
