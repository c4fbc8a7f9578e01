/* SPDX-License-Identifier: MIT */
#include "api/metrics_page.h"

#include "api/health.h"
#include "api/metrics.h"
#include "api/server.h"
#include "base/mem.h"
#include "base/str.h"
#include "metrics/server.h"

static enum metric_worker_state worker_state(const struct worker_row *row)
{
    if (row->silent_ms > HEALTH_WORKER_SILENT_MS)
        return WORKERS_SILENT;
    return str_eq(row->state, "draining") ? WORKERS_DRAINING : WORKERS_RUNNING;
}

void metrics_page(struct api *api, const struct log_ctx *log, struct buf *page)
{
    CLEANUP(arena_clear) struct arena arena = ARENA_INIT;
    struct store_counts counts;
    struct err away = ERR_INIT;
    struct worker_row *workers = NULL;
    size_t n = 0;
    bool up = store_counts(api->o.store, true, &counts, &away) >= 0 &&
              store_list_workers(api->o.store, &arena, &workers, &n, &away) >= 0;
    if (!up)
        log_warn(log, "no figures of jobs: %s", away.msg);
    int64_t latency_ms = 0, depth[QUEUE_COUNT];
    struct err broker = ERR_INIT;
    struct db_pool pool;
    store_pool(api->o.store, &pool);
    struct role_count errors[STORAGE_OPERATION_COUNT];
    for (size_t i = 0; i < ARRAY_LEN(errors); i++)
        errors[i] = (struct role_count){storage_operation_name(i), storage_failures(api->o.storage, i)};
    const struct role_figures role = {
        .role = "api",
        .version = api->o.version,
        .started_at = api->started_at,
        .database_max = pool.max,
        .database_open = pool.open,
        .database_busy = pool.busy,
        .database_waiting = pool.waiting,
        .storage_errors = errors,
        .n_storage_errors = ARRAY_LEN(errors),
    };
    struct metrics_gauges g = {
        .role = &role,
        .in_flight = atomic_load(&api->active),
        .uploads = atomic_load(&api->uploads),
        .live = atomic_load(&api->live),
        .counts = up ? &counts : NULL,
        .broker_up = health_broker(api->o.broker, &latency_ms, depth, &broker) >= 0,
        .depth = depth,
    };
    for (size_t i = 0; i < n; i++)
        g.workers[worker_state(&workers[i])]++;
    metrics_write(page, &api->metrics, &g);
}

static void write_page(void *arg, struct buf *page)
{
    static const struct log_ctx lc = {.component = "api"};
    metrics_page(arg, &lc, page);
}

int metrics_page_serve(struct api *api, const struct log_ctx *log, struct err *err)
{
    if (!*api->o.metrics_listen)
        return 0;
    int rc = metrics_server_open(api->o.metrics_listen, write_page, api, &api->metrics_server, err);
    if (rc < 0)
        return err_wrap(err, "api_metrics_listen");
    for (size_t i = 0; metrics_server_address(api->metrics_server, i); i++)
        log_info(log, "metrics at %s", metrics_server_address(api->metrics_server, i));
    return 0;
}
