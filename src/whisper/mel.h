/* SPDX-License-Identifier: MIT */
/*
 * Log-mel spectrogram, equal to OpenAI's: 400-sample Hann window, hop 160, reflected edges, power spectrum, Slaney
 * filters, log10, clamped to 8 below the maximum of the window, (x + 4) / 4.
 */
#ifndef WHISPER_MEL_H
#define WHISPER_MEL_H

#include "base/err.h"

#include <stddef.h>

enum { MEL_FRAMES = 3000, MEL_BINS = 201, MEL_HOP = 160 };

/*
 * One window: up to 480,000 samples, padded with zeros to 30 s. ret: [n_mels][3000]. `filters`: [n_mels][201].
 * The clamp's maximum is that of this window (as when the reference is given this audio alone).
 */
void mel_window(const float *pcm, size_t n, const float *filters, int n_mels, float *ret);

#endif
