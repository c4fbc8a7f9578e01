/* SPDX-License-Identifier: MIT */
/* What a worker tells of itself: the column `info` of its row, an object that `GET /v1/workers` shows. */
#ifndef WORKER_HEARTBEAT_H
#define WORKER_HEARTBEAT_H

#include "worker/state.h"

/* Room for all of it: 256 jobs in work, and the parts that may be long have limits of their own. */
enum { HEARTBEAT_INFO_MAX = 192 << 10 };

/* Appends the object. Waits for nothing but short locks. */
void heartbeat_describe(const struct worker *w, struct buf *b);

#endif
