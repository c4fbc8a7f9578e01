/* SPDX-License-Identifier: MIT */
/* The engine stage: runs a plan's chunks through the slots, saves each, and merges them in order. */
#ifndef WORKER_CHUNKS_H
#define WORKER_CHUNKS_H

#include "audio/pcm.h"
#include "worker/pipeline.h"

/*
 * `pcm` is NULL for engines that need none. `resume`: the plan is the saved one, finished chunks are loaded. Adds
 * segments and gaps to `t`.
 */
int chunks_run(const struct pipeline_opts *o, const struct plan *p, const struct pcm *pcm, bool resume,
               struct transcript *t, struct pipeline_report *report, struct err *err) MUST_CHECK;

#endif
