/* SPDX-License-Identifier: MIT */
/* Which language a recording is in: the engine is asked about several of its chunks, and the majority counts. */
#ifndef WORKER_HEAR_H
#define WORKER_HEAR_H

#include "audio/pcm.h"
#include "worker/pipeline.h"

/*
 * Sets `heard` and its probability (the mean over the chunks asked, 0 where another language was heard). They stay
 * unset when there is nothing to decide: a language is given, or each chunk shall have its own, or the engine or its
 * model cannot tell, or there is only one chunk, in which the engine hears it by itself. CANCELLED also on drain.
 */
int hear_language(const struct pipeline_opts *o, const struct pcm *pcm, struct plan *p, struct err *err) MUST_CHECK;

#endif
