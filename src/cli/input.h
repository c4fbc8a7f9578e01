/* SPDX-License-Identifier: MIT */
/* Where a recording comes from: a file, a pipe, or standard input. */
#ifndef CLI_INPUT_H
#define CLI_INPUT_H

#include "base/err.h"
#include "base/stop.h"

#include <stdbool.h>

/*
 * *ret: a regular file with the recording, to be freed. `file` "-" is standard input; that, and what else cannot be
 * sought in, is kept in `folder` first: *ret_temp says so, and the file is the caller's to remove. Errors: those of
 * the file; INVALID (a folder, a terminal), CANCELLED (also by a stop of the process).
 */
int input_find(const char *file, const char *folder, const struct cancel *cancel, char **ret, bool *ret_temp,
               struct err *err) MUST_CHECK;

#endif
