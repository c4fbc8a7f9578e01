/* SPDX-License-Identifier: MIT */
/* A tokenizer whose vocabulary a test writes down: some tokens at their ids, the bytes, placeholders for the rest. */
#ifndef TESTS_TOY_VOCABULARY_H
#define TESTS_TOY_VOCABULARY_H

#include "whisper/tokenizer.h"

struct toy_token {
    int id;
    const char *text;
};

/* Ids below 256 are single bytes in GPT-2's order; the others "<uID>" unless they are in `tokens`. Caller frees. */
struct tokenizer *toy_tokenizer(int n_vocab, const struct toy_token *tokens, size_t n);
/* The id of a single byte. */
int toy_byte(unsigned char b);

#endif
