/* SPDX-License-Identifier: MIT */
/* How the queue service words the state of a task: in answers and in live messages. */
#ifndef API_DIALECT_QUEUE_H
#define API_DIALECT_QUEUE_H

#include "api/job_core.h"

/* "queued" for pending; the other words are ours. */
const char *queue_state(enum job_state s);
/* A sentence for people. `position`: jobs before it, -1: not known; `paused`: its queue is. */
void queue_message(const struct job *j, int64_t position, bool paused, char *ret, size_t size);

#endif
