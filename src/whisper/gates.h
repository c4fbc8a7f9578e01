/* SPDX-License-Identifier: MIT */
/* What tells text that was heard from text that was made up: figures of one decoded window, and loops. */
#ifndef WHISPER_GATES_H
#define WHISPER_GATES_H

#include <stdbool.h>
#include <stddef.h>

/* Bytes of the text over bytes of it compressed by zlib: above 2.4 it repeats itself. 0 for an empty text. */
float gates_compression_ratio(const char *text, size_t n);

/*
 * Do the tokens end in a loop: the same 1 to 32 tokens at least four times in a row, 16 tokens or more in all? Spoken
 * lists of equal words ("no no no no") are shorter. Returns the length of the loop's first round with what precedes it,
 * 0 for no loop.
 */
size_t gates_loop(const int *tokens, size_t n);

#endif
