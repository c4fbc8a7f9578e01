/* SPDX-License-Identifier: MIT */
/*
 * Writing a page in the text format of Prometheus (version 0.0.4). A family is its head and then its samples, one
 * after the other; a family's name, type and help stand in a table of whoever owns the figures.
 *
 * Units are base units (seconds, bytes); times come in milliseconds and ratios in thousandths, and are written as
 * decimals, so that no figure passes through floating point.
 */
#ifndef METRICS_PAGE_H
#define METRICS_PAGE_H

#include "base/buf.h"

#include <stdint.h>

#define METRICS_CONTENT_TYPE "text/plain; version=0.0.4; charset=utf-8"

struct metric {
    const char *name;
    const char *type; /* "counter", "gauge" or "histogram" */
    const char *help;
};

/* A list of them ends with a NULL name. */
struct metric_label {
    const char *name, *value;
};

/* METRIC_LABELS({"queue", name}): for the calls below. */
#define METRIC_LABELS(...) ((const struct metric_label[]){__VA_ARGS__, {NULL, NULL}})

void metric_head(struct buf *b, const struct metric *m);
/* `labels` may be NULL: none. */
void metric_int(struct buf *b, const struct metric *m, const struct metric_label *labels, int64_t v);
/* A value in thousandths: 1500 is written 1.5. */
void metric_milli(struct buf *b, const struct metric *m, const struct metric_label *labels, int64_t v);
/* A family of one sample without labels. */
void metric_only(struct buf *b, const struct metric *m, int64_t v);
void metric_only_milli(struct buf *b, const struct metric *m, int64_t v);

/* The pieces, for histograms: name and suffix, labels, and a number in thousandths. */
void metric_begin(struct buf *b, const struct metric *m, const char *suffix, const struct metric_label *labels,
                  const char *le);
void metric_add_milli(struct buf *b, int64_t v);

#endif
