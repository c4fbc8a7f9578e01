/* SPDX-License-Identifier: MIT */
/* Handing recordings to a server and getting their transcripts: what `submit` and `transcribe --server` share. */
#ifndef CLI_REMOTE_H
#define CLI_REMOTE_H

#include "cli/app.h"
#include "cli/client.h"
#include "cli/job_view.h"
#include "cli/transcript_get.h"

struct remote_file {
    const char *file; /* what is sent */
    const char *name; /* what the server is told it is called; NULL: as `file` */
    const struct client_field *fields;
    size_t n_fields;
};
/* Sends it with a progress bar. *ret (caller decrefs) is the job and holds the texts of *view. */
int remote_submit(struct client *c, const struct remote_file *f, json_t **ret, struct job_view *view, struct err *err)
    MUST_CHECK;

struct remote_result {
    const char *id, *file; /* of the job, and what the user calls it */
    const struct transcript_form *form;
    const char *to; /* --output, as in output_open */
    bool folder;
    bool headline; /* name the file on standard output */
    bool live;     /* print plain text as it is finished */
};
/*
 * Waits for the job's end and writes its transcript. STATUS_JOB: the job has none, which was said. Errors: as of
 * follow_job, and of the transcript.
 */
int remote_finish(struct app *app, const struct remote_result *r, struct err *err) MUST_CHECK;

#endif
