/* SPDX-License-Identifier: MIT */
#include "metrics/histogram.h"

const struct histogram_scale histogram_answers = {12, {5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 60000}};
const struct histogram_scale histogram_work = {
    14, {50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000, 60000, 300000, 900000, 3600000, 14400000}};
const struct histogram_scale histogram_ratio = {12, {1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000}};

void histogram_add(struct histogram *h, const struct histogram_scale *scale, int64_t value)
{
    size_t i = 0;
    while (i < scale->n && value > scale->bounds[i])
        i++;
    atomic_fetch_add_explicit(&h->counts[i], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&h->sum, value, memory_order_relaxed);
}

int64_t histogram_count(const struct histogram *h)
{
    int64_t n = 0;
    for (size_t i = 0; i <= HISTOGRAM_MAX; i++)
        n += atomic_load_explicit(&h->counts[i], memory_order_relaxed);
    return n;
}

int64_t histogram_sum(const struct histogram *h)
{
    return atomic_load_explicit(&h->sum, memory_order_relaxed);
}

static void write_int(struct buf *b, const struct metric *m, const char *suffix, const struct metric_label *labels,
                      const char *le, int64_t v)
{
    metric_begin(b, m, suffix, labels, le);
    buf_addi(b, v);
    buf_addc(b, '\n');
}

void histogram_write(struct buf *b, const struct metric *m, const struct metric_label *labels,
                     const struct histogram *h, const struct histogram_scale *scale)
{
    int64_t n = 0;
    for (size_t i = 0; i < scale->n; i++) {
        CLEANUP(buf_clear) struct buf le = BUF_INIT(32);
        metric_add_milli(&le, scale->bounds[i]);
        n += atomic_load_explicit(&h->counts[i], memory_order_relaxed);
        write_int(b, m, "_bucket", labels, buf_str(&le), n);
    }
    n += atomic_load_explicit(&h->counts[scale->n], memory_order_relaxed);
    write_int(b, m, "_bucket", labels, "+Inf", n);
    metric_begin(b, m, "_sum", labels, NULL);
    metric_add_milli(b, histogram_sum(h));
    buf_addc(b, '\n');
    write_int(b, m, "_count", labels, NULL, n);
}
