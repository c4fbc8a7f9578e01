/* SPDX-License-Identifier: MIT */
#include "worker/metrics.h"

#include "metrics/page.h"
#include "metrics/role.h"

#include <jansson.h>
#include <limits.h>

enum { POOL_JSON_MAX = 64 << 10 };

enum metric_id {
#define X(name, type, help) METRIC_##name,
    WORKER_METRICS(X)
#undef X
};

static const struct metric infos[] = {
#define X(name, type, help) {#name, type, help},
    WORKER_METRICS(X)
#undef X
};

#define INFO(name) (&infos[METRIC_##name])

enum kind { COUNT, MS, MIB };

static const struct {
    const char *member;
    enum kind kind;
    struct metric metric;
} pool_infos[] = {
#define X(member, kind, name, type, help) {#member, kind, {name, type, help}},
    WORKER_POOL_METRICS(X)
#undef X
};

static void write_role(const struct worker *w, struct buf *b)
{
    struct db_pool pool;
    struct role_count errors[STORAGE_OPERATION_COUNT];
    store_pool(w->o->store, &pool);
    for (size_t i = 0; i < ARRAY_LEN(errors); i++)
        errors[i] = (struct role_count){storage_operation_name(i), storage_failures(w->o->storage, i)};
    role_metrics_write(b, &(struct role_figures){.role = "worker",
                                                 .version = STENO_VERSION,
                                                 .started_at = w->started_at,
                                                 .database_max = pool.max,
                                                 .database_open = pool.open,
                                                 .database_busy = pool.busy,
                                                 .database_waiting = pool.waiting,
                                                 .storage_errors = errors,
                                                 .n_storage_errors = ARRAY_LEN(errors)});
}

static void write_pool(struct worker *w, struct buf *b)
{
    CLEANUP(buf_clear) struct buf text = BUF_INIT(POOL_JSON_MAX);
    engines_describe_pool(w->engines, &text);
    json_t *pool = buf_ok(&text) ? json_loadb(text.data, text.len, 0, NULL) : NULL;
    for (size_t i = 0; i < ARRAY_LEN(pool_infos); i++) {
        const json_t *v = json_object_get(pool, pool_infos[i].member);
        if (!json_is_number(v))
            continue;
        int64_t n = (int64_t)json_number_value(v);
        switch (pool_infos[i].kind) {
        case COUNT:
            metric_only(b, &pool_infos[i].metric, n);
            break;
        case MS:
            metric_only_milli(b, &pool_infos[i].metric, n);
            break;
        case MIB:
            metric_only(b, &pool_infos[i].metric, n << 20);
            break;
        }
    }
    json_decref(pool);
}

void worker_metrics_write(struct worker *w, struct buf *b)
{
    write_role(w, b);
    counters_write(&w->counts, b);
    metric_only(b, INFO(steno_worker_jobs_running), (int64_t)board_count(w->board));
    metric_only(b, INFO(steno_worker_concurrency), w->o->concurrency);
    metric_only(b, INFO(steno_worker_slots), slots_count(w->slots));
    metric_only(b, INFO(steno_worker_slots_busy), slots_busy(w->slots));
    metric_only(b, INFO(steno_worker_draining), cancel_is_set(&w->drain));
    metric_only(b, INFO(steno_worker_database_up), atomic_load(&w->no_expiry_until) != INT64_MAX);
    write_pool(w, b);
}
