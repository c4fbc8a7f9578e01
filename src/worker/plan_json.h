/* SPDX-License-Identifier: MIT */
/* The plan as it stands in jobs.plan, and back. */
#ifndef WORKER_PLAN_JSON_H
#define WORKER_PLAN_JSON_H

#include "base/buf.h"
#include "worker/pipeline.h"

enum { PLAN_MAX_CHUNKS = 1000000 };

/* Appends to `ret`; TOO_LARGE when its maximum is too small. */
int plan_to_json(const struct plan *p, struct buf *ret, struct err *err) MUST_CHECK;
/*
 * Strings and chunks live in `a`. CORRUPT for anything that plan_to_json does not write: chunks that overlap or leave
 * the recording, wrong types, unknown version.
 */
int plan_from_json(const char *json, size_t n, struct arena *a, struct plan *ret, struct err *err) MUST_CHECK;

/* Are checkpoints of `a` valid for `b`? Everything but the chunks, the language that was
 * heard, what the decoder said of the input, and why it is this model. */
bool plan_same_header(const struct plan *a, const struct plan *b);

#endif
