/* SPDX-License-Identifier: MIT */
#include "worker/heartbeat.h"

#include "base/clock.h"
#include "base/str.h"
#include "worker/pipeline.h"

#include <stdlib.h>

static void add_job(struct buf *b, const struct run_stand *s, int64_t now)
{
    char when[TIME_ISO_SIZE];
    time_iso(now - s->running_ms, when);
    buf_addf(b, "{\"job_id\":\"%s\",\"claimed_at\":\"%s\",\"attempt\":%d,\"stage\":\"%s\"", s->id, when, s->attempt,
             s->stage == RUN_NOT_BEGUN ? "claimed" : pipeline_stage_name((enum pipeline_stage)s->stage));
    buf_addf(b, ",\"done_ms\":%lld,\"total_ms\":%lld}", (long long)s->done_ms, (long long)s->total_ms);
}

/* Of the jobs on the board those that a thread has begun, or those that wait for one. */
static void add_jobs(struct buf *b, const char *name, const struct run_stand *v, size_t n, bool begun)
{
    const char *comma = "";
    int64_t now = clock_wall_ms();
    buf_addf(b, ",\"%s\":[", name);
    for (size_t i = 0; i < n; i++) {
        if ((v[i].stage != RUN_NOT_BEGUN) != begun)
            continue;
        buf_adds(b, comma);
        add_job(b, &v[i], now);
        comma = ",";
    }
    buf_addc(b, ']');
}

static void add_board(const struct worker *w, struct buf *b)
{
    unsigned places = worker_places(w->o);
    struct run_stand *v = xcalloc(places, sizeof *v);
    size_t n = board_stands(w->board, v, places);
    add_jobs(b, "active", v, n, true);
    add_jobs(b, "reserved", v, n, false);
    free(v);
}

/* The queues it takes jobs from, in that order. */
static void add_queues(const struct worker *w, struct buf *b)
{
    buf_adds(b, ",\"queues\":[");
    for (size_t i = 0; i < w->o->queues.n; i++)
        buf_addf(b, "%s\"%s\"", i ? "," : "", job_queue_name(w->o->queues.v[i]));
    buf_addc(b, ']');
}

static void add_addresses(const struct worker *w, struct buf *b)
{
    const char *address;
    buf_adds(b, ",\"metrics\":[");
    for (size_t i = 0; w->metrics && (address = metrics_server_address(w->metrics, i)); i++) {
        buf_adds(b, i ? "," : "");
        str_add_json(b, address);
    }
    buf_addc(b, ']');
}

void heartbeat_describe(const struct worker *w, struct buf *b)
{
    buf_adds(b, "{\"engines\":");
    engines_describe(w->engines, b);
    buf_adds(b, ",\"models\":");
    engines_describe_models(w->engines, b);
    buf_adds(b, ",\"model_pool\":");
    engines_describe_pool(w->engines, b);
    buf_adds(b, ",\"default_engine\":");
    str_add_json(b, w->o->engine->name ? w->o->engine->name : "auto");
    buf_addf(b, ",\"slots\":%u,\"concurrency\":%u", slots_count(w->slots), w->o->concurrency);
    buf_addf(b, ",\"concurrency_min\":%u,\"concurrency_now\":%u",
             w->o->concurrency_min ? w->o->concurrency_min : w->o->concurrency, atomic_load(&w->places_now));
    buf_addf(b, ",\"short_place\":%s", w->o->short_place ? "true" : "false");
    buf_addf(b, ",\"out_of_room\":%s", atomic_load(&w->out_of_room) ? "true" : "false");
    recycle_describe(w, b);
    counters_describe(&w->counts, b);
    add_board(w, b);
    add_queues(w, b);
    add_addresses(w, b);
    buf_addf(b, ",\"settings\":%s", w->o->settings ? w->o->settings : "{}");
    buf_addc(b, '}');
}
