/* SPDX-License-Identifier: MIT */
/*
 * The batch: windows of any callers run through one struct compute together.
 *
 * A window is handed in by batch_open (it is encoded and keeps an audio slot until batch_close) and can then be decoded
 * several times: once to hear the language, then a try for each temperature. Every call blocks its caller until the
 * compute thread is done with it; calls of different threads share each decoder step.
 */
#ifndef WHISPER_BATCH_H
#define WHISPER_BATCH_H

#include "whisper/compute.h"
#include "whisper/model.h"
#include "whisper/search.h"

struct batch;
struct batch_window;

int batch_new(struct whisper_model *m, const struct whisper_batcher_opts *o, struct batch **ret, struct err *err)
    MUST_CHECK;
unsigned batch_most(const struct batch *b); /* windows in one step */
void batch_free(struct batch *b);           /* no window may be open; NULL is fine */
int64_t batch_memory(const struct whisper_model *m, const struct whisper_batcher_opts *o);

/* Encodes up to 30 s of PCM; waits while all audio slots are taken. */
int batch_open(struct batch *b, const float *pcm, size_t n, const struct cancel *cancel, struct batch_window **ret,
               struct err *err) MUST_CHECK;
void batch_close(struct batch_window *w); /* NULL is fine */

/* Probabilities of the languages, ret [n_languages]; multilingual models only. */
int batch_languages(struct batch_window *w, const struct cancel *cancel, float *ret, struct err *err) MUST_CHECK;

struct batch_try {
    const int *prompt; /* everything up to and with the last special token before the text */
    size_t n_prompt;
    size_t sot_index; /* where start-of-transcript stands in it: there the silence is measured */
    const struct rules *rules;
    struct search *search; /* fresh; holds the outcome afterwards */
};
/* One try. *ret_no_speech: probability of "no speech" at start-of-transcript, before any filter. */
int batch_decode(struct batch_window *w, const struct batch_try *t, const struct cancel *cancel, float *ret_no_speech,
                 struct err *err) MUST_CHECK;

/* compute_align for this window: see there. */
int batch_align(struct batch_window *w, const int *tokens, size_t n, const struct head *heads, size_t n_heads,
                float *ret_scores, float *ret_token_prob, const struct cancel *cancel, struct err *err) MUST_CHECK;

#endif
