/* SPDX-License-Identifier: MIT */
#include "worker/counters.h"

#include "base/macros.h"

enum kind { COUNT, MS, CLASS };

static const struct {
    const char *name;
    enum kind kind;
    struct metric metric;
} infos[] = {
#define X(name, kind, metric, help) {#name, kind, {metric, "counter", help}},
    WORKER_COUNTERS(X)
#undef X
};

static const struct {
    const char *name;
    const struct histogram_scale *scale;
    struct metric metric;
} spreads[] = {
#define X(name, scale, metric, help) {#name, &(scale), {metric, "histogram", help}},
    WORKER_HISTOGRAMS(X)
#undef X
};

void counters_add(struct counters *c, enum counter which, int64_t n)
{
    atomic_fetch_add_explicit(&c->n[which], n, memory_order_relaxed);
}

void counters_add_class(struct counters *c, enum counter which, int err_code)
{
    size_t i = (size_t)-err_code - 1;
    counters_add(c, which, 1);
    if (i < ERR_CLASS_COUNT)
        atomic_fetch_add_explicit(&c->by_class[which][i], 1, memory_order_relaxed);
}

int64_t counters_get(const struct counters *c, enum counter which)
{
    return atomic_load_explicit(&c->n[which], memory_order_relaxed);
}

void counters_spread(struct counters *c, enum spread which, int64_t value)
{
    histogram_add(&c->spreads[which], spreads[which].scale, value);
}

static void describe_classes(const struct counters *c, enum counter which, struct buf *b)
{
    const char *comma = "";
    buf_addf(b, ",\"%s_by\":{", infos[which].name);
    for (int i = 0; i < ERR_CLASS_COUNT; i++) {
        long long n = atomic_load_explicit(&c->by_class[which][i], memory_order_relaxed);
        if (!n)
            continue;
        buf_addf(b, "%s\"%s\":%lld", comma, err_name(-i - 1), n);
        comma = ",";
    }
    buf_addc(b, '}');
}

void counters_describe(const struct counters *c, struct buf *b)
{
    for (enum counter i = 0; i < COUNTER_COUNT; i++) {
        buf_addf(b, ",\"%s\":%lld", infos[i].name, (long long)counters_get(c, i));
        if (infos[i].kind == CLASS)
            describe_classes(c, i, b);
    }
    for (enum spread i = 0; i < SPREAD_COUNT; i++) {
        buf_addf(b, ",\"%s\":{\"count\":%lld,\"sum\":", spreads[i].name, (long long)histogram_count(&c->spreads[i]));
        metric_add_milli(b, histogram_sum(&c->spreads[i]));
        buf_addc(b, '}');
    }
}

static void write_classes(const struct counters *c, enum counter which, struct buf *b)
{
    const struct metric *m = &infos[which].metric;
    for (int i = 0; i < ERR_CLASS_COUNT; i++)
        metric_int(b, m, METRIC_LABELS({"class", err_name(-i - 1)}),
                   atomic_load_explicit(&c->by_class[which][i], memory_order_relaxed));
}

void counters_write(const struct counters *c, struct buf *b)
{
    for (enum counter i = 0; i < COUNTER_COUNT; i++) {
        const struct metric *m = &infos[i].metric;
        metric_head(b, m);
        switch (infos[i].kind) {
        case COUNT:
            metric_int(b, m, NULL, counters_get(c, i));
            break;
        case MS:
            metric_milli(b, m, NULL, counters_get(c, i));
            break;
        case CLASS:
            write_classes(c, i, b);
            break;
        }
    }
    for (enum spread i = 0; i < SPREAD_COUNT; i++) {
        metric_head(b, &spreads[i].metric);
        histogram_write(b, &spreads[i].metric, NULL, &c->spreads[i], spreads[i].scale);
    }
}
