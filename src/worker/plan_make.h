/* SPDX-License-Identifier: MIT */
/* Speech detection over the spooled PCM, and the chunk plan that follows from it. */
#ifndef WORKER_PLAN_MAKE_H
#define WORKER_PLAN_MAKE_H

#include "audio/pcm.h"
#include "worker/pipeline.h"

/* Sets chunks and n_chunks of *p; they live in `a`. CANCELLED, NOMEM, and what vad.h and plan.h say. */
int plan_make(const struct pcm *pcm, const struct engine_info *info, const struct cancel *cancel, struct arena *a,
              struct plan *p, struct err *err) MUST_CHECK;

#endif
