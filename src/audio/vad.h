/* SPDX-License-Identifier: MIT */
/*
 * Speech detection on a stream of PCM: what stands over an adaptive noise floor in many bands, with hysteresis.
 *
 * Silence, steady noise of any colour and level, hum, tones, chords held for a second or more and clicks give no spans.
 * Speech does, down to about 5 dB over noise, with 0.25 s put around each span; pauses shorter than about 0.75 s
 * end none. Deterministic: the same samples give the same spans, however they are cut into calls. Memory is
 * constant but for the spans. An hour takes about half a second of one core.
 *
 * It errs towards speech: a missed word is lost for good, a false span costs engine time. Music, bells, sparse
 * crackle and noise that swells may count as speech.
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
