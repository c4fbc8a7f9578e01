/* SPDX-License-Identifier: MIT */
/* docs/metrics.md, from the tables that the pages are made of. */
#include "api/metrics.h"
#include "base/macros.h"
#include "cli/docs.h"
#include "metrics/page.h"
#include "metrics/role.h"
#include "worker/counters.h"
#include "worker/metrics.h"

static const struct metric every_role[] = {
#define X(name, type, help) {#name, type, help},
    ROLE_METRICS(X)
#undef X
};

static const struct metric of_api[] = {
#define X(name, type, help) {#name, type, help},
    METRICS(X)
#undef X
};

static const struct metric of_worker[] = {
#define X(name, kind, metric, help) {metric, "counter", help},
    WORKER_COUNTERS(X)
#undef X
#define X(name, scale, metric, help) {metric, "histogram", help},
        WORKER_HISTOGRAMS(X)
#undef X
#define X(name, type, help) {#name, type, help},
            WORKER_METRICS(X)
#undef X
};

static const struct metric of_pool[] = {
#define X(member, kind, name, type, help) {name, type, help},
    WORKER_POOL_METRICS(X)
#undef X
};

static void add_section(struct buf *b, const char *title, const char *text, const struct metric *v, size_t n)
{
    buf_addf(b, "\n## %s\n\n%s\n\n| metric | type | what |\n|---|---|---|\n", title, text);
    for (size_t i = 0; i < n; i++)
        buf_addf(b, "| `%s` | %s | %s |\n", v[i].name, v[i].type, v[i].help);
}

void docs_metrics(struct buf *b)
{
    buf_adds(
        b, "# Metrics\n"
           "\n"
           "What `GET /metrics` gives out, in the text format of Prometheus: of an api on `listen` and on "
           "`api_metrics_listen`, of a\n"
           "worker on `metrics_listen`. Made from the program's tables by `make docs`. Times are in seconds, sizes in "
           "bytes. No label holds what a\n"
           "client makes up, so the number of series does not grow with use. How to use them: "
           "[operations.md](operations.md#metrics).\n");
    add_section(b, "Every role", "Those of the process are called as Prometheus's own client libraries call them.",
                every_role, ARRAY_LEN(every_role));
    add_section(b, "An api",
                "Those of jobs, queues and workers come from the database, and every api says the same: take the "
                "`max` of several, not the\nsum. They are missing while the database is away, and `steno_broker_depth` "
                "is there only with a broker that keeps wake-ups.",
                of_api, ARRAY_LEN(of_api));
    add_section(b, "A worker", "Counted since its start.", of_worker, ARRAY_LEN(of_worker));
    add_section(b, "A worker's models in memory", "Only with an engine that keeps models (Whisper).", of_pool,
                ARRAY_LEN(of_pool));
}
