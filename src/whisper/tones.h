/* SPDX-License-Identifier: MIT */
/*
 * Is a sound nothing but tones: hum, beeps, held chords, a plain melody, telephone keys? A model that never heard such
 * sounds makes words of them, and is sure of it: no gate holds that, so the sound itself is looked at.
 *
 * A voice never keeps its pitch: its partials move by more than 2 Hz from one frame to the next, and much of it has no
 * pitch at all. Only a sound whose loud frames are unwavering tones for the most part, also in each half second
 * (changes of notes break them), is held for tones. A voice in it, be it over music as loud, is more than that.
 */
#ifndef WHISPER_TONES_H
#define WHISPER_TONES_H

#include <stdbool.h>
#include <stddef.h>

/* `pcm`: 16 kHz. Speech is seen for what it is in a second or so of it; 30 s of tones take some 20 ms. */
bool tones_only(const float *pcm, size_t n);

#endif
