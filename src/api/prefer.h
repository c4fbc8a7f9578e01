/* SPDX-License-Identifier: MIT */
/* The Prefer header (RFC 7240): how long a client would wait for the end of a job. */
#ifndef API_PREFER_H
#define API_PREFER_H

#include "api/answer.h"

#include <stdbool.h>
#include <stdint.h>

struct prefer {
    bool waits, async; /* said so */
    int64_t wait_s;    /* already cut to what the server allows */
};

/* What is not understood is not there, as the RFC demands. `header` may be NULL. */
struct prefer prefer_read(const char *header, int64_t max_ms);
/* Says in the answer what was followed. */
void prefer_answer(struct answer *a, const struct prefer *p);

#endif
