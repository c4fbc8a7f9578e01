/* SPDX-License-Identifier: MIT */
/*
 * Word times: the path of the text through the cross-attention (dynamic time warping), as OpenAI's timing.py does it,
 * with its rules for punctuation and for words that last too long.
 */
#ifndef WHISPER_WORDS_H
#define WHISPER_WORDS_H

#include "whisper/batch.h"
#include "whisper/whisper.h"

struct words_opts {
    const char *language; /* decides whether words are split at blanks or at characters */
    const int *sot;       /* start-of-transcript, language, task */
    size_t n_sot;
    int64_t offset; /* of the window in the PCM, samples */
    int64_t length; /* real audio in the window, samples */
};

/*
 * Gives words to segments[0..n), which all come from window w, and may tighten their start and end. Words live in `a`.
 * *last_speech: end of the last word of the text before, in samples; updated.
 */
int words_align(struct batch_window *w, const struct whisper_model *m, const struct words_opts *o,
                struct whisper_segment *segments, size_t n, int64_t *last_speech, const struct cancel *cancel,
                struct arena *a, struct err *err) MUST_CHECK;

#endif
