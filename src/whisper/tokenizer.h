/* SPDX-License-Identifier: MIT */
/*
 * Tokens: ids of the special ones, bytes of the ordinary ones, and text to ids for prompts.
 *
 * Special ids follow from the vocabulary size (51864 English only, 51865, 51866 with Cantonese): everything behind
 * end-of-text moves. Ordinary tokens are byte strings; a character may span several, so text is joined as
 * bytes before it is looked at as UTF-8.
 */
#ifndef WHISPER_TOKENIZER_H
#define WHISPER_TOKENIZER_H

#include "base/buf.h"
#include "whisper/model_file.h"

struct tokenizer {
    int n_vocab, n_languages; /* languages: 0 for English only */
    int eot, sot, first_language, translate, transcribe, sot_lm, sot_prev, no_speech, no_timestamps, first_timestamp;
    struct tokenizer_private *priv;
};

/* Sets the ids that follow from the size of the vocabulary, nothing else. */
void tokenizer_special_ids(struct tokenizer *t, int n_vocab);
/* Copies what it needs; independent of the file afterwards. */
int tokenizer_new(const struct model_file *f, struct tokenizer **ret, struct err *err) MUST_CHECK;
void tokenizer_free(struct tokenizer *t); /* NULL is fine */

/* Bytes of an ordinary token; NULL for a special one. Borrowed. */
const char *tokenizer_bytes(const struct tokenizer *t, int id, size_t *ret_len);
/* Appends the bytes of all ordinary tokens in ids. */
void tokenizer_decode(const struct tokenizer *t, const int *ids, size_t n, struct buf *ret);
/* GPT-2 byte pair encoding with its word splitting; at most max ids, more is TOO_LARGE. Returns how many. */
int tokenizer_encode(const struct tokenizer *t, const char *text, int *ret, size_t max, struct err *err) MUST_CHECK;
/* Id of a language's token, -1 when this model has none. */
int tokenizer_language_id(const struct tokenizer *t, const char *code);
/* The reference's list of non-speech symbols, ascending. Borrowed. */
const int *tokenizer_non_speech(const struct tokenizer *t, size_t *ret_n);

#endif
