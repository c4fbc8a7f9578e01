/* SPDX-License-Identifier: MIT */
/*
 * Whisper's forward pass as the paper and OpenAI's model.py have it, in doubles and in the plainest way: what the
 * library's numbers are held against. It shares no code with the library, not even the reader of model files.
 */
#ifndef TESTS_WHISPER_REFERENCE_H
#define TESTS_WHISPER_REFERENCE_H

#include <stddef.h>

struct reference;

/* A ggml file with f32 tensors; NULL when it is none. `data` must outlive it. */
struct reference *reference_new(const unsigned char *data, size_t size);
void reference_free(struct reference *r);

/* The log-mel spectrogram of up to 30 s of sound, ret [bands][3000]. */
void reference_mel(const struct reference *r, const float *pcm, size_t n, double *ret);
/* The encoder's output after its last norm, ret [1500][state]; steps that follow attend to it. */
void reference_encode(struct reference *r, const float *mel, double *ret);
/*
 * Runs tokens[0..n) from the start; ret_logits [vocabulary] of the last one. ret_scores, unless NULL: what each head of
 * each layer thinks of each frame at the last token, scaled, before the soft-max, [layers][heads][1500].
 */
void reference_step(struct reference *r, const int *tokens, size_t n, double *ret_logits, double *ret_scores);

#endif
