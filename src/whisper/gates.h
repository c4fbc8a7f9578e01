/* SPDX-License-Identifier: MIT */
/* What tells text that was heard from text that was made up: figures of one decoded window, and loops. */
#ifndef WHISPER_GATES_H
#define WHISPER_GATES_H

#include <stdbool.h>
#include <stddef.h>

/* Bytes of the text over bytes of it compressed by zlib: above 2.4 it repeats itself. 0 for an empty text. */
float gates_compression_ratio(const char *text, size_t n);

enum { GATES_LOOP = 16, GATES_LOOP_SURE = 64 };

/*
 * Does the text end in a loop: the same 1 to 32 tokens at least four times in a row, `least` tokens or more in all?
 * Stamps between them (from first_timestamp on) do not count, else a loop of segments would be none. Spoken lists of
 * equal words ("no no no no") are shorter than GATES_LOOP; GATES_LOOP_SURE is longer than anybody goes on. Returns
 * the length of what precedes the loop and its first round with the stamp behind it; 0 for no loop. Looks at the last
 * 224 tokens.
 */
size_t gates_loop(const int *tokens, size_t n, int first_timestamp, size_t least);

#endif
