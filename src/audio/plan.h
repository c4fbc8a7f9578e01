/* SPDX-License-Identifier: MIT */
/*
 * The chunk plan: which sample ranges go to the engine, decided once per job from the speech spans.
 *
 * Neighbouring speech is joined up to about `target`, never beyond `max`; the cut is made at the longest pause near
 * the target, and inside unbroken speech at the quietest place. Long silence belongs to no chunk: a pause of 2 s ends
 * one always. Every sample of every span is in exactly one chunk; chunks ascend, do not overlap, and begin and end in
 * speech.
 */
#ifndef AUDIO_PLAN_H
#define AUDIO_PLAN_H

#include "audio/audio.h"
#include "base/err.h"

#include <stddef.h>

struct pcm;

struct plan_opts {
    int64_t target_samples;  /* aim for this length */
    int64_t max_samples;     /* never longer; > 0 */
    int64_t min_gap_samples; /* pauses shorter than this do not end a chunk unless the maximum forces it */
};

/*
 * Allocates *ret (caller frees with free). No spans: no chunks. `pcm` is read only where a span longer than
 * max_samples must be cut inside; it may be NULL, then such cuts fall at the maximum.
 */
int plan_chunks(const struct span *speech, size_t n, const struct plan_opts *opts, const struct pcm *pcm,
                struct span **ret, size_t *ret_n, struct err *err) MUST_CHECK;

#endif
