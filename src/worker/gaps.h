/* SPDX-License-Identifier: MIT */
/* What of a chunk's speech has no text, or a doubtful one: the honest part of a transcript. */
#ifndef WORKER_GAPS_H
#define WORKER_GAPS_H

#include "worker/pipeline.h"

/* Adds the gaps of one chunk, chunks in ascending order. */
int gaps_add(struct transcript *t, const struct plan_chunk *c, const struct segments *s, struct err *err) MUST_CHECK;
/* Speech and covered speech of the whole plan; call it when all gaps are there. */
int gaps_cover(struct transcript *t, const struct plan *p, struct err *err) MUST_CHECK;

#endif
