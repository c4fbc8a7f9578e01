/* SPDX-License-Identifier: MIT */
/*
 * PCM here is always 16 kHz, mono, signed 16 bit, native endian. Places and lengths are counted in samples from
 * the start of the recording; seconds appear only where people read them.
 */
#ifndef AUDIO_AUDIO_H
#define AUDIO_AUDIO_H

#include <stdint.h>

enum { AUDIO_RATE = 16000 };

/* [start, end) in samples. */
struct span {
    int64_t start, end;
};

static inline int64_t samples_to_ms(int64_t samples)
{
    return samples * 1000 / AUDIO_RATE;
}
static inline double samples_to_s(int64_t samples)
{
    return (double)samples / AUDIO_RATE;
}

#endif
