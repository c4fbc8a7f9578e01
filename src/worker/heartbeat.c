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
    counters_describe(&w->counts, b);
    buf_addc(b, '}');
}
