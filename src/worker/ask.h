/* SPDX-License-Identifier: MIT */
/* From what a job asks for, and the settings for what it leaves open, to what the pipeline takes. */
#ifndef WORKER_ASK_H
#define WORKER_ASK_H

#include "job/options.h"
#include "worker/pipeline.h"

/*
 * Fills the parts of `o` that options decide; o->engine is set already. Texts live in `a`, or are borrowed from the
 * options. A decode mode that only the settings ask for is passed over for an engine that does not have it.
 */
int ask_options(struct pipeline_opts *o, const struct job_options *asked, const struct job_options *settings,
                struct arena *a, struct err *err) MUST_CHECK;

#endif
