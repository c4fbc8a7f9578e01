/* SPDX-License-Identifier: MIT */
/* Spoken recordings for tests, made with flite and sox. */
#ifndef TESTS_UNIT_SPEECH_H
#define TESTS_UNIT_SPEECH_H

#include "base/err.h"

#include <stddef.h>

/*
 * Writes `folder`/`name`: the sentences, with a second of silence before each and after the last. The ending of the
 * name says the format (sox). Other files are left beside it.
 */
int speech_make(const char *folder, const char *name, const char *const *sentences, size_t n, struct err *err)
    MUST_CHECK;
/* Silence of that length, as 16 kHz wav. */
int speech_silence(const char *path, const char *seconds, struct err *err) MUST_CHECK;

#endif
