/* SPDX-License-Identifier: MIT */
/* The sound of a chunk as remote servers take it: a WAV file, 16 kHz mono, 16 bit; 30 s are 960 KB. */
#ifndef ENGINE_REMOTE_SOUND_H
#define ENGINE_REMOTE_SOUND_H

#include "base/buf.h"
#include "engine/engine.h"

/* Appends the file. */
void sound_add_wav(struct buf *b, const struct engine_chunk *c);
/* The same in base64, a third larger. */
void sound_add_wav_base64(struct buf *b, const struct engine_chunk *c);
/* How large the file is; in base64, 4 bytes for each 3 begun. */
size_t sound_wav_size(const struct engine_chunk *c);

#endif
