/* SPDX-License-Identifier: MIT */
/* The small real model of tests/fixture, and reading what lies beside it. All of it fails the test when something is
 * missing. */
#ifndef TESTS_WHISPER_FIXTURE_H
#define TESTS_WHISPER_FIXTURE_H

#include "whisper/whisper.h"

#include <jansson.h>

/* "<fixture>/name"; caller frees. */
char *fixture_path(const char *name);
/* The recording wav/NAME.wav as floats; caller frees. */
float *fixture_wav(const char *name, size_t *ret_n);
/* A file of raw 32-bit values; caller frees. */
void *fixture_values(const char *name, size_t *ret_n);
json_t *fixture_json(const char *name);
struct whisper_model *fixture_model(enum whisper_precision p);

/* Word errors (insertions, deletions, substitutions) of `got` against `want`, case and punctuation apart. */
size_t word_errors(const char *want, const char *got);

#endif
