/* SPDX-License-Identifier: MIT */
#include "worker/heartbeat.h"

#include "base/str.h"

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
    buf_addf(b, ",\"out_of_room\":%s", atomic_load(&w->out_of_room) ? "true" : "false");
    recycle_describe(w, b);
    counters_describe(&w->counts, b);
    buf_addc(b, '}');
}
