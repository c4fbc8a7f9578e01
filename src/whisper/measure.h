/* SPDX-License-Identifier: MIT */
/*
 * How long the parts of the network take here: for `steno bench`. The figures are medians, in milliseconds, of the
 * parts run alone on an idle team; no sound and no text is needed.
 */
#ifndef WHISPER_MEASURE_H
#define WHISPER_MEASURE_H

#include "whisper/whisper.h"

/* Windows that are decoded at once, each a different one with one sequence. */
enum { WHISPER_MEASURE_SIZES = 5 };
extern const unsigned whisper_measure_windows[WHISPER_MEASURE_SIZES]; /* 1 2 4 8 16 */

struct whisper_measure {
    int threads;      /* of the team */
    double mel_ms;    /* spectrogram of 30 s */
    double encode_ms; /* encoder and cross-attention keys and values of 30 s, without the spectrogram */
    double step_ms[WHISPER_MEASURE_SIZES]; /* one token for each window, 64 tokens into the text; 0: not measured, no
                                              memory for so many windows */
    double beam_ms;                        /* one token for each of 5 beams of one window */
    double prompt_ms;                      /* a prompt of 224 tokens */
    double encode_gflops;                  /* multiplications and additions that encode_ms stands for, in billions */
};

/*
 * `threads`: as in struct whisper_batcher_opts. `repeats`: how often each part is run. Takes no more than `max_bytes`
 * of memory for caches and scratch: larger batches are left out. CANCELLED, NOMEM, INTERNAL.
 */
int whisper_measure(struct whisper_model *m, unsigned threads, unsigned repeats, int64_t max_bytes,
                    const struct cancel *cancel, struct whisper_measure *ret, struct err *err) MUST_CHECK;

#endif
