/* SPDX-License-Identifier: MIT */
/*
 * What the pipeline asks of a job: its plan and checkpoints as rows, fenced; and events for whoever watches. Events are
 * sent after the row is committed and carry its number.
 */
#include "worker/job_internal.h"

#include "base/clock.h"
#include "base/str.h"
#include "transcript/format.h"
#include "worker/persist.h"
#include "worker/plan_json.h"

#include <inttypes.h>
#include <string.h>

enum {
    PLAN_JSON_MAX = 64 << 20,
    CHUNK_JSON_MAX = 64 << 20,
    EVENT_TEXT_MAX = 500,
    PROGRESS_EVERY_MS = 500,
    WAIT_TOLD_MS = 1000
};

/* ---- events ---- */

static void add_progress(struct buf *b, const struct progress *p)
{
    buf_addf(b, "\"stage\":\"%s\",\"done_ms\":%" PRId64 ",\"total_ms\":%" PRId64, pipeline_stage_name(p->stage),
             p->done_ms, p->total_ms);
    buf_addf(b, ",\"chunks_done\":%zu,\"chunks_total\":%zu", p->chunks_done, p->chunks_total);
}

static void on_stage(void *arg, enum pipeline_stage s)
{
    const struct job_ctx *c = arg;
    atomic_store(&c->r->stage, (int)s);
}

static void note_progress(struct run *r, const struct progress *p)
{
    atomic_store(&r->done_ms, p->done_ms);
    atomic_store(&r->total_ms, p->total_ms);
}

static void on_progress(void *arg, const struct progress *p)
{
    struct job_ctx *c = arg;
    note_progress(c->r, p);
    int64_t now = clock_mono_ms();
    if (now - c->told_ms < PROGRESS_EVERY_MS)
        return;
    c->told_ms = now;
    CLEANUP(buf_clear) struct buf b = BUF_INIT(EVENT_JSON_MAX);
    buf_addc(&b, '{');
    add_progress(&b, p);
    buf_addc(&b, '}');
    worker_event(c->w, c->r->claim.id, c->seq, "progress", buf_str(&b));
}

static void write_chunk_event(struct buf *b, const struct done_chunk *d, const struct progress *p)
{
    CLEANUP(buf_clear) struct buf text = BUF_INIT(EVENT_TEXT_MAX);
    for (size_t i = 0; i < d->segments->n && buf_ok(&text); i++)
        buf_addf(&text, "%s%s", i ? " " : "", d->segments->v[i].text ? d->segments->v[i].text : "");
    buf_addf(b, "{\"idx\":%zu,\"start_ms\":%" PRId64 ",\"end_ms\":%" PRId64 ",", d->idx, samples_to_ms(d->span.start),
             samples_to_ms(d->span.end));
    add_progress(b, p);
    buf_adds(b, ",\"text\":");
    /* A long text stays in the database: null says so. */
    if (buf_ok(&text))
        str_add_json(b, buf_str(&text));
    else
        buf_adds(b, "null");
    buf_addc(b, '}');
}

/* ---- hooks: plan and checkpoints ---- */

static const struct plan *on_load_plan(void *arg)
{
    struct job_ctx *c = arg;
    return c->plan;
}

struct plan_args {
    const char *json;
    int64_t chunks, duration_ms;
};

static int write_plan(struct store *s, const struct claim *claim, const void *arg, int64_t *ret_seq, struct err *err)
{
    const struct plan_args *a = arg;
    return store_save_plan(s, claim, a->json, a->chunks, a->duration_ms, ret_seq, err);
}

static int on_save_plan(void *arg, const struct plan *p, struct err *err)
{
    struct job_ctx *c = arg;
    CLEANUP(buf_clear) struct buf json = BUF_INIT(PLAN_JSON_MAX);
    int rc = plan_to_json(p, &json, err);
    if (rc < 0)
        return rc;
    atomic_store(&c->r->duration_ms, samples_to_ms(p->total_samples));
    if (p->n_chunks <= 1 && !c->r->job.plan) {
        c->held.plan = arena_strdup(&c->r->arena, buf_str(&json));
        return c->held.plan ? 0 : err_set(err, ERR_NOMEM, "out of memory for a plan");
    }
    struct plan_args a = {buf_str(&json), (int64_t)p->n_chunks, samples_to_ms(p->total_samples)};
    rc = persist(c->w, c->r, JOB_PROCESSING, write_plan, &a, &c->seq, err);
    if (rc < 0)
        return rc;
    atomic_store(&c->r->saved, true);
    log_debug(&c->log, "plan saved: %zu chunks, fence %" PRId64, p->n_chunks, c->r->claim.fence);
    return 0;
}

static int load_checkpoints(struct job_ctx *c, struct err *err)
{
    if (c->saved_loaded)
        return 0;
    int rc = store_load_chunks(c->w->o->store, c->r->claim.id, &c->saved_arena, &c->saved, &c->n_saved, err);
    if (rc == 0)
        c->saved_loaded = true;
    return rc;
}

static int on_load_chunk(void *arg, size_t idx, struct span span, struct arena *a, struct segments *ret,
                         const char **ret_state, struct err *err)
{
    struct job_ctx *c = arg;
    int rc = load_checkpoints(c, err);
    if (rc < 0)
        return rc;
    if (c->next_saved == c->n_saved || c->saved[c->next_saved].idx != (int64_t)idx)
        return 0;
    const struct job_chunk *k = &c->saved[c->next_saved++];
    if (k->start_sample != span.start || k->end_sample != span.end)
        return err_set(err, ERR_INTERNAL, "checkpoint %zu does not fit its plan", idx);
    rc = segments_from_json(k->result, strlen(k->result), a, ret, err);
    if (rc < 0)
        return err_wrap(err, "checkpoint %zu", idx);
    *ret_state = arena_strdup(a, k->engine_state);
    if (k->engine_state && !*ret_state)
        return err_set(err, ERR_NOMEM, "out of memory for checkpoint %zu", idx);
    return 1;
}

struct chunk_args {
    struct job_chunk chunk;
    int64_t progress_ms;
};

static int write_chunk(struct store *s, const struct claim *claim, const void *arg, int64_t *ret_seq, struct err *err)
{
    const struct chunk_args *a = arg;
    return store_save_chunk(s, claim, &a->chunk, a->progress_ms, ret_seq, err);
}

static int hold_chunk(struct job_ctx *c, const struct job_chunk *chunk, const char *event, struct err *err)
{
    struct arena *a = &c->r->arena;
    struct held_back *h = &c->held;
    h->has_chunk = true;
    h->chunk = *chunk;
    h->chunk.result = arena_strdup(a, chunk->result);
    h->chunk.engine_state = arena_strdup(a, chunk->engine_state);
    h->event = arena_strdup(a, event);
    bool complete = h->chunk.result && h->event && !h->chunk.engine_state == !chunk->engine_state;
    return complete ? 0 : err_set(err, ERR_NOMEM, "out of memory for a chunk");
}

static int on_save_chunk(void *arg, const struct done_chunk *d, const struct progress *p, struct err *err)
{
    struct job_ctx *c = arg;
    CLEANUP(buf_clear) struct buf json = BUF_INIT(CHUNK_JSON_MAX), event = BUF_INIT(EVENT_JSON_MAX);
    int rc = segments_to_json(d->segments, &json, err);
    if (rc < 0)
        return rc;
    struct chunk_args a = {.chunk = {.idx = (int64_t)d->idx,
                                     .start_sample = d->span.start,
                                     .end_sample = d->span.end,
                                     .engine_ms = d->engine_ms,
                                     .result = buf_str(&json),
                                     .engine_state = d->state},
                           .progress_ms = p->done_ms};
    write_chunk_event(&event, d, p);
    if (c->held.plan)
        return hold_chunk(c, &a.chunk, buf_str(&event), err);
    rc = persist(c->w, c->r, JOB_PROCESSING, write_chunk, &a, &c->seq, err);
    if (rc < 0)
        return rc;
    atomic_store(&c->r->saved, true);
    c->got_on = c->got_on || (int64_t)p->chunks_done > c->r->job.chunks_done;
    counters_add(&c->w->counts, COUNT_chunks, 1);
    note_progress(c->r, p);
    log_debug(&c->log, "checkpoint %zu saved, fence %" PRId64, d->idx, c->r->claim.fence);
    worker_event(c->w, c->r->claim.id, c->seq, "chunk", buf_str(&event));
    return 0;
}

/* ---- hooks: the model ---- */

/* Operators look for these words. */
static void on_model_ready(void *arg, const char *model, int64_t ms, bool loaded)
{
    const struct job_ctx *c = arg;
    bool worth_a_line = loaded || ms >= WAIT_TOLD_MS;
    log_write(worth_a_line ? LOG_INFO : LOG_DEBUG, &c->log, "Model acquired in %.2fs: '%s' was %s", (double)ms / 1000,
              model, loaded ? "loaded" : "there");
}

static void on_model_too_large(void *arg, const char *model, const char *instead, const struct err *why)
{
    const struct job_ctx *c = arg;
    if (instead)
        log_warn(&c->log, "OOM loading '%s', trying '%s' instead: %s", model, instead, why->msg);
    else
        log_warn(&c->log, "OOM loading '%s': %s", model, why->msg);
}

struct whole_args {
    const struct held_back *held;
    const struct job_result *result;
};

static int write_whole(struct store *s, const struct claim *claim, const void *arg, int64_t *ret_seq, struct err *err)
{
    const struct whole_args *a = arg;
    const struct job_chunk *chunk = a->held->has_chunk ? &a->held->chunk : NULL;
    return store_complete_whole(s, claim, a->held->plan, chunk, a->result, ret_seq, err);
}

int job_complete_held(struct job_ctx *c, const struct job_result *r, struct err *err)
{
    struct whole_args a = {&c->held, r};
    int rc = persist(c->w, c->r, JOB_COMPLETED, write_whole, &a, &c->seq, err);
    if (rc < 0 || !c->held.has_chunk)
        return rc;
    counters_add(&c->w->counts, COUNT_chunks, 1);
    log_debug(&c->log, "plan and its one chunk saved with the result, fence %" PRId64, c->r->claim.fence);
    worker_event(c->w, c->r->claim.id, c->seq - 1, "chunk", c->held.event);
    return 0;
}

/* Runs on a slot thread: reads only what is fixed while the pipeline runs. */
static void on_engine_call(void *arg, size_t idx)
{
    const struct job_ctx *c = arg;
    log_debug(&c->log, "engine call for chunk %zu, fence %" PRId64, idx, c->r->claim.fence);
}

/* ---- */

struct pipeline_hooks job_hooks(struct job_ctx *c)
{
    return (struct pipeline_hooks){.arg = c,
                                   .load_plan = on_load_plan,
                                   .save_plan = on_save_plan,
                                   .load_chunk = on_load_chunk,
                                   .save_chunk = on_save_chunk,
                                   .stage = on_stage,
                                   .progress = on_progress,
                                   .model_ready = on_model_ready,
                                   .model_too_large = on_model_too_large,
                                   .engine_call = on_engine_call};
}

void job_state_event(struct job_ctx *c, enum job_state state, const struct err *why)
{
    CLEANUP(buf_clear) struct buf b = BUF_INIT(EVENT_JSON_MAX);
    buf_addf(&b, "{\"state\":\"%s\"", job_state_name(state));
    if (why) {
        buf_addf(&b, ",\"error_class\":\"%s\",\"error_message\":", err_name(why->code));
        str_add_json(&b, why->msg);
    }
    buf_adds(&b, "}");
    if (!buf_ok(&b)) {
        buf_reset(&b);
        buf_addf(&b, "{\"state\":\"%s\"}", job_state_name(state));
    }
    worker_event(c->w, c->r->claim.id, c->seq, "state", buf_str(&b));
}
