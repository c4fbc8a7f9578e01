/* SPDX-License-Identifier: MIT */
/* Live updates in our own words: each message is a JSON object with `type` and `seq`. */
#include "api/job_json.h"
#include "api/live.h"

static struct jsonw begin(const struct live_view *v, struct buf *b, const char *type)
{
    struct jsonw w = {b, false};
    jw_open(&w, NULL, '{');
    jw_str(&w, "type", type);
    jw_int(&w, "seq", v->seq);
    return w;
}

static void whole_job(const struct live_view *v, struct buf *b, const char *type)
{
    struct jsonw w = begin(v, b, type);
    jw_str(&w, "status", job_state_name(v->job->state));
    job_json_write(&w, "job", v->job,
                   &(struct job_extra){.position = v->position, .paused = v->paused, .result = v->result});
    jw_close(&w, '}');
}

static void snapshot(const struct live_view *v, struct buf *b)
{
    whole_job(v, b, "snapshot");
}

static void end(const struct live_view *v, struct buf *b)
{
    whole_job(v, b, "end");
}

static void state(const struct live_view *v, struct buf *b)
{
    whole_job(v, b, "state");
}

static void position(const struct live_view *v, struct buf *b)
{
    struct jsonw w = begin(v, b, "position");
    if (v->position >= 0)
        jw_int(&w, "position", v->position);
    if (v->paused)
        jw_bool(&w, "queue_paused", true);
    jw_close(&w, '}');
}

static void progress(const struct live_view *v, struct buf *b)
{
    struct jsonw w = begin(v, b, "progress");
    jw_str(&w, "stage", v->stage);
    job_json_progress(&w, v->job);
    jw_close(&w, '}');
}

static void chunk(const struct live_view *v, struct buf *b)
{
    const struct live_chunk *c = v->chunk;
    struct jsonw w = begin(v, b, "chunk");
    jw_int(&w, "index", c->idx);
    jw_seconds(&w, "start", c->start_ms);
    jw_seconds(&w, "end", c->end_ms);
    jw_str(&w, "text", c->text);
    jw_open(&w, "segments", '[');
    for (size_t i = 0; i < c->n_segments; i++) {
        jw_open(&w, NULL, '{');
        jw_seconds(&w, "start", c->segments[i].start_ms);
        jw_seconds(&w, "end", c->segments[i].end_ms);
        jw_str(&w, "text", c->segments[i].text);
        jw_close(&w, '}');
    }
    jw_close(&w, ']');
    jw_close(&w, '}');
}

const struct live_format live_native = {
    .name = "native",
    .snapshot = snapshot,
    .state = state,
    .position = position,
    .chunk = chunk,
    .progress = progress,
    .end = end,
};

int route_job_websocket(struct request *rq, struct err *err)
{
    return live_route_websocket(rq, rq->params[0], &live_native, err);
}

int route_job_events(struct request *rq, struct err *err)
{
    return live_route_events(rq, rq->params[0], &live_native, err);
}
