/* SPDX-License-Identifier: MIT */
/*
 * A recording's PCM spooled to a private temporary file, so that memory does not grow with its length: filled once
 * by a decode, then read in pieces by any thread (pread). 32,000 bytes a second of audio.
 */
#ifndef AUDIO_PCM_H
#define AUDIO_PCM_H

#include "audio/audio.h"
#include "base/err.h"

#include <stddef.h>

struct pcm;

/* An unlinked file in `folder`. */
int pcm_new(const char *folder, struct pcm **ret, struct err *err) MUST_CHECK;
/* One writer. UNAVAILABLE when the disk is full. */
int pcm_append(struct pcm *p, const int16_t *samples, size_t n, struct err *err) MUST_CHECK;
int64_t pcm_length(const struct pcm *p);
/* The samples of `s`, which must lie inside. Any thread, once appending is over. */
int pcm_read(const struct pcm *p, struct span s, int16_t *ret, struct err *err) MUST_CHECK;
void pcm_free(struct pcm *p); /* NULL is fine */

#endif
