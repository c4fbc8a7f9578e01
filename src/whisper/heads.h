/* SPDX-License-Identifier: MIT */
/* The heads of cross-attention whose weights follow the speech: what word times are read from. */
#ifndef WHISPER_HEADS_H
#define WHISPER_HEADS_H

#include "whisper/model_file.h"

enum { HEADS_MAX = 64 };

/*
 * Those that the file names (n_named may be 0), else those that OpenAI published for a model of these dimensions, else
 * all of the upper half of the decoder, as many as there is room for. `name` ("large-v1") tells apart what dimensions
 * do not. Returns how many.
 */
size_t heads_choose(const struct whisper_dims *d, const char *name, const struct head *named, size_t n_named,
                    struct head ret[HEADS_MAX]);

#endif
