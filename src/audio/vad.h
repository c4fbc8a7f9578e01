/* SPDX-License-Identifier: MIT */
/*
 * Speech detection on a stream of PCM: energy over an adaptive noise floor and the shape of the spectrum, with
 * hysteresis.
 *
 * Frames of 10 ms. A frame is speech-like when its energy stands enough over the noise floor, is not absolutely
 * silent, and its spectrum is not that of a hum, a pure tone or flat noise. Spans open after a few such frames
 * and close after a longer pause; both ends are padded. Deterministic: the same samples give the same spans,
 * however they are cut into calls. Memory is constant but for the spans.
 *
 * It errs towards speech: a missed word is lost for good, a false span costs engine time.
 */
#ifndef AUDIO_VAD_H
#define AUDIO_VAD_H

#include "audio/audio.h"
#include "base/err.h"

#include <stddef.h>

struct vad;

int vad_new(struct vad **ret, struct err *err) MUST_CHECK;
void vad_feed(struct vad *v, const int16_t *pcm, size_t n);
/* Ends the stream. The spans, ascending and apart; borrowed until vad_free. ERR_NOMEM, or TOO_LARGE for absurdly many.
 */
int vad_finish(struct vad *v, const struct span **ret, size_t *ret_n, struct err *err) MUST_CHECK;
void vad_free(struct vad *v); /* NULL is fine */

#endif
