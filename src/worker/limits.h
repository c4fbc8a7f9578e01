/* SPDX-License-Identifier: MIT */
/*
 * How long one attempt at a job may take. At the soft limit the job is told to stop, and becomes a failed attempt; what
 * has not stopped `patience` after it was told to, whatever for, hangs, and its process must be replaced.
 */
#ifndef WORKER_LIMITS_H
#define WORKER_LIMITS_H

#include <stdbool.h>
#include <stdint.h>

struct job_limits {
    int64_t soft_ms; /* 0: none */
    int64_t hard_ms; /* 0: LIMITS_PATIENCE_MS after the soft one; before it: it counts as the soft one, too */
    int64_t factor;  /* both are at least this many times as long as the recording, once that is known; 0: off */
    bool fails;      /* the soft limit ends the job; else it uses up an attempt */
};

enum { LIMITS_PATIENCE_MS = 5 * 60 * 1000, LIMITS_PATIENCE_MIN_MS = 1000 };

/* For a recording of this length (0: not known yet); 0: there is no limit. */
int64_t limits_soft_ms(const struct job_limits *l, int64_t duration_ms);
/* How long a job may take to stop; at least LIMITS_PATIENCE_MIN_MS. */
int64_t limits_patience_ms(const struct job_limits *l);

#endif
