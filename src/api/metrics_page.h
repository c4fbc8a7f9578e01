/* SPDX-License-Identifier: MIT */
/*
 * The api's page for Prometheus: api/metrics.h filled with what the server counts and what the database says. It is
 * given out at GET /metrics on `listen`, and, with no client nearby, on addresses of its own.
 */
#ifndef API_METRICS_PAGE_H
#define API_METRICS_PAGE_H

#include "base/buf.h"
#include "base/err.h"
#include "base/log.h"

struct api;

/* Appends the page; without the database, what there is. Any thread; waits for the database and the broker. */
void metrics_page(struct api *api, const struct log_ctx *log, struct buf *page);

/* Serves it at api_opts.metrics_listen, if there are any. INVALID, UNAVAILABLE: as from listen_open. */
int metrics_page_serve(struct api *api, const struct log_ctx *log, struct err *err) MUST_CHECK;

#endif
