/* SPDX-License-Identifier: MIT */
/* Where a transcript goes: standard output, or a file that appears whole or not at all. */
#ifndef CLI_OUTPUT_H
#define CLI_OUTPUT_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>

struct output {
    int fd;
    char *path, *temp; /* NULL: standard output */
    size_t bytes;
};

/*
 * `to`: NULL or "-" is standard output. With `folder` it is one (made when missing), and the file in it is named after
 * `input` with the given ending: "talk.mp3" gives "talk.srt".
 */
int output_open(struct output *o, const char *to, bool folder, const char *input, const char *ending, struct err *err)
    MUST_CHECK;
/* The path that output_open would write to; caller frees. NULL: standard output. */
char *output_path(const char *to, bool folder, const char *input, const char *ending) MUST_CHECK;
/* Fits client_stream and format_write; `arg` is the struct output. */
int output_write(const void *data, size_t n, void *arg, struct err *err) MUST_CHECK;
/* Lets the file appear. */
int output_commit(struct output *o, struct err *err) MUST_CHECK;
/* After output_open, whatever happened; removes what was not committed. */
void output_clear(struct output *o);

/* Is --output a folder: with several recordings always. */
bool output_is_folder(const char *to, bool several);

/* The files that one command writes, so that none is written twice. */
struct outputs {
    char **paths;
    size_t n;
};
void outputs_init(struct outputs *all, size_t most);
/* Neither a recording nor the transcript of another one may be lost by writing this one: INVALID. NULL: standard
 * output.
 */
int outputs_claim(struct outputs *all, const char *path, const char *input, struct err *err) MUST_CHECK;
void outputs_clear(struct outputs *all);

#endif
