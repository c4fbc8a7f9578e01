/* SPDX-License-Identifier: MIT */
/* Fetching a transcript from a server, for `result` and `submit --wait`. */
#ifndef CLI_TRANSCRIPT_GET_H
#define CLI_TRANSCRIPT_GET_H

#include "cli/app.h"
#include "cli/client.h"
#include "transcript/format.h"

/* The command's --format; txt when it was not given. */
int transcript_format(const struct app *app, enum format *ret, struct err *err) MUST_CHECK;
/* Writes the transcript of a completed job; `to`, `folder` and `input` as in output_open. */
int transcript_get(struct client *c, const char *id, enum format format, const char *to, bool folder, const char *input,
                   struct err *err) MUST_CHECK;

#endif
