/* SPDX-License-Identifier: MIT */
/* Fetching a transcript from a server, for `result` and `submit --wait`. */
#ifndef CLI_TRANSCRIPT_GET_H
#define CLI_TRANSCRIPT_GET_H

#include "cli/app.h"
#include "cli/client.h"
#include "transcript/format.h"

/* What it shall look like. */
struct transcript_form {
    enum format format;
    struct subtitle_opts subtitles;
};

/* As the command's flags say; txt when there is no --format. */
int transcript_form(const struct app *app, struct transcript_form *ret, struct err *err) MUST_CHECK;
/* The transcript of a completed job as it comes. */
int transcript_stream(struct client *c, const char *id, const struct transcript_form *form, client_sink sink, void *arg,
                      struct err *err) MUST_CHECK;
/* Writes the transcript of a completed job; `to`, `folder` and `input` as in output_open. */
int transcript_get(struct client *c, const char *id, const struct transcript_form *form, const char *to, bool folder,
                   const char *input, struct err *err) MUST_CHECK;

#endif
