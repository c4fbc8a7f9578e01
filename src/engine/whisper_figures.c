/* SPDX-License-Identifier: MIT */
/* The pool's figures as members of a JSON object; whisper_models.h says what they mean. */
#include "engine/whisper_models_internal.h"

#include "base/clock.h"
#include "base/str.h"

#include <inttypes.h>

static long long to_mb(int64_t bytes)
{
    return (long long)((bytes + (1 << 20) - 1) >> 20);
}

static void describe_model(const struct loaded *l, struct buf *b)
{
    char loaded_at[TIME_ISO_SIZE], last_used[TIME_ISO_SIZE];
    time_iso(l->loaded_at, loaded_at);
    time_iso(l->users ? clock_wall_ms() : l->used_at, last_used);
    buf_adds(b, "{\"name\":");
    str_add_json(b, l->name);
    buf_addf(b,
             ",\"loaded_at\":\"%s\",\"last_used\":\"%s\",\"use_count\":%" PRIu64
             ",\"in_use\":%u,\"memory_mb\":%lld,\"load_ms\":%" PRId64 ",\"windows\":%u}",
             loaded_at, last_used, l->use_count, l->users, to_mb(l->bytes), l->load_ms, l->windows);
}

static void describe_counts_locked(const struct models *m, struct buf *b)
{
    uint64_t all = m->hits + m->misses, waiting = 0;
    for (const struct waiter *w = m->line; w; w = w->next)
        waiting++;
    const struct {
        const char *name;
        uint64_t value;
    } counts[] = {
        {"hits", m->hits},
        {"misses", m->misses},
        {"evictions", m->evictions},
        {"unloads", m->unloads},
        {"oom_fallbacks", m->oom_fallbacks},
        {"timeouts", m->timeouts},
        {"waiting", waiting},
        {"load_ms_last", (uint64_t)m->load_ms_last},
        {"load_ms_total", (uint64_t)m->load_ms_total},
        {"pool_size", m->o.kept},
        {"max_size", m->o.max},
    };
    buf_adds(b, "\"hit_rate\":");
    if (all)
        buf_addf(b, "%.4f", (double)m->hits / (double)all);
    else
        buf_adds(b, "null");
    for (size_t i = 0; i < ARRAY_LEN(counts); i++)
        buf_addf(b, ",\"%s\":%" PRIu64, counts[i].name, counts[i].value);
    buf_adds(b, ",\"memory_budget_mb\":");
    if (m->o.memory_bytes)
        buf_addf(b, "%lld", (long long)(m->o.memory_bytes >> 20));
    else
        buf_adds(b, "null");
}

void models_describe(struct models *m, struct buf *b)
{
    size_t n = 0;
    int64_t bytes = 0;
    CLEANUP(buf_clear) struct buf names = BUF_INIT(b->max);
    pthread_mutex_lock(&m->mu);
    describe_counts_locked(m, b);
    buf_adds(b, ",\"models\":[");
    for (size_t i = 0; i < m->o.max; i++) {
        const struct loaded *l = &m->places[i];
        if (!l->name || l->loading)
            continue;
        if (n++) {
            buf_addc(b, ',');
            buf_addc(&names, ',');
        }
        str_add_json(&names, l->name);
        describe_model(l, b);
        bytes += l->bytes;
    }
    buf_addf(b, "],\"loaded\":[%s],\"size\":%zu,\"memory_mb\":%lld", buf_str(&names), n, to_mb(bytes));
    pthread_mutex_unlock(&m->mu);
}
