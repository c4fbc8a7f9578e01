/* SPDX-License-Identifier: MIT */
/*
 * How a figure is spread: counts of how often it was at most this much. Values are in thousandths of the unit
 * (milliseconds for seconds).
 *
 * Threads: any; all zero is an empty histogram. A page written meanwhile is consistent in itself: its total is the sum
 * of the counts it shows.
 */
#ifndef METRICS_HISTOGRAM_H
#define METRICS_HISTOGRAM_H

#include "metrics/page.h"

#include <stdatomic.h>
#include <stddef.h>

enum { HISTOGRAM_MAX = 14 };

struct histogram_scale {
    size_t n;
    int64_t bounds[HISTOGRAM_MAX]; /* ascending; what is beyond the last counts too */
};

/* From milliseconds, for answers; up to hours, for work; of work to audio. */
extern const struct histogram_scale histogram_answers, histogram_work, histogram_ratio;

struct histogram {
    atomic_llong counts[HISTOGRAM_MAX + 1]; /* not added up */
    atomic_llong sum;
};

void histogram_add(struct histogram *h, const struct histogram_scale *scale, int64_t value);
/* How many values, and what they add up to. */
int64_t histogram_count(const struct histogram *h);
int64_t histogram_sum(const struct histogram *h);
/* The samples of a family, without its head. */
void histogram_write(struct buf *b, const struct metric *m, const struct metric_label *labels,
                     const struct histogram *h, const struct histogram_scale *scale);

#endif
