/* SPDX-License-Identifier: MIT */
/*
 * The job's thread walks the plan: an index with a checkpoint is loaded, another is posted to the job's lane, at most
 * slots + 1 at a time (the one more, so that a slot never waits for this thread), or one at a time in a
 * sequential request, where each needs what the chunk before left. What comes back is saved in the order of completion
 * and merged in the order of the plan; PCM is in memory only while its chunk is with the engine.
 *
 * The first error ends the posting. When it may pass, chunks with the engine are let through and saved, so that
 * the next attempt starts after them; otherwise they are stopped.
 */
#include "worker/chunks.h"

#include "base/clock.h"
#include "base/fault.h"
#include "worker/gaps.h"
#include "worker/slots.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LOOK_MS = 100, CHUNK_ARENA_MAX = 32 << 20 };

struct work;

struct stage {
    const struct pipeline_opts *o;
    struct engine_request request; /* with the language that was heard */
    const struct plan *plan;
    const struct pcm *pcm;
    bool resume, in_order;
    struct transcript *t;
    struct pipeline_report *report;
    struct lane *lane;
    struct cancel stop; /* of this run; also o->cancel */

    /* Only the job's thread uses what follows. */
    struct work **ready; /* per chunk: finished, not merged yet */
    size_t next_start, next_merge, in_flight, max_in_flight;
    char *last_state; /* what the last merged chunk left */
    size_t n_done;
    int64_t done_samples, chunk_samples;
    int rc;
    struct err err; /* behind rc */
};

/* One chunk, from its start until it is merged. */
struct work {
    struct slot_task task;
    struct stage *st;
    size_t idx;
    const char *previous; /* borrowed from the stage, which changes it only when nothing is in flight */
    struct arena arena;
    struct engine_answer answer;
    int64_t engine_ms;
    bool skipped; /* came to its slot when no chunk was to be started any more */
    int rc;
    struct err err;
};

static struct work *work_new(struct stage *st, size_t idx)
{
    struct work *w = xcalloc(1, sizeof *w);
    w->st = st;
    w->idx = idx;
    w->arena = (struct arena)ARENA_INIT;
    w->arena.max = CHUNK_ARENA_MAX;
    return w;
}

static void work_free(struct work *w)
{
    if (!w)
        return;
    arena_clear(&w->arena);
    free(w);
}

static void fail(struct stage *st, int rc, const struct err *err, enum pipeline_stage where)
{
    if (st->rc == 0) {
        st->rc = rc;
        st->err = *err;
        st->report->stage = where;
    }
    if (where != STAGE_ENGINE || !err_retryable(rc))
        cancel_set(&st->stop);
}

/* No chunk shall be started any more. Any thread. */
static bool stopping(const struct stage *st)
{
    return cancel_is_set(&st->stop) || cancel_is_set(st->o->drain);
}

/* ---- on a slot thread ---- */

static int run_engine(struct work *w, const int16_t *pcm, struct err *err)
{
    struct stage *st = w->st;
    const struct pipeline_opts *o = st->o;
    const struct plan_chunk *p = &st->plan->chunks[w->idx];
    struct engine_chunk c = {
        .pcm = pcm, .span = p->span, .speech = p->speech, .n_speech = p->n_speech, .state = w->previous};
    if (o->hooks.engine_call)
        o->hooks.engine_call(o->hooks.arg, w->idx);
    int64_t began = clock_mono_ms();
    int rc = engine_run(o->engine, &st->request, &c, &st->stop, &w->arena, &w->answer, err);
    w->engine_ms = clock_mono_ms() - began;
    return rc;
}

static int run_chunk(struct work *w, struct err *err)
{
    struct stage *st = w->st;
    if (!st->pcm)
        return run_engine(w, NULL, err);
    struct span s = st->plan->chunks[w->idx].span;
    CLEANUP(free_p) int16_t *pcm = malloc((size_t)(s.end - s.start) * sizeof *pcm);
    if (!pcm)
        return err_set(err, ERR_NOMEM, "out of memory for the sound of a chunk");
    int rc = pcm_read(st->pcm, s, pcm, err);
    return rc < 0 ? rc : run_engine(w, pcm, err);
}

static void on_slot(struct slot_task *t)
{
    struct work *w = CONTAINER_OF(t, struct work, task);
    w->skipped = stopping(w->st);
    if (!w->skipped)
        w->rc = run_chunk(w, &w->err);
}

/* ---- on the job's thread ---- */

static struct done_chunk done_chunk(const struct work *w)
{
    return (struct done_chunk){.idx = w->idx,
                               .span = w->st->plan->chunks[w->idx].span,
                               .segments = &w->answer.segments,
                               .state = w->answer.state,
                               .engine_ms = w->engine_ms};
}

static struct progress progress_of(const struct stage *st)
{
    int64_t total = samples_to_ms(st->plan->total_samples);
    bool all = st->n_done == st->plan->n_chunks;
    double part = st->chunk_samples ? (double)st->done_samples / (double)st->chunk_samples : 0;
    return (struct progress){.stage = STAGE_ENGINE,
                             .done_ms = all ? total : (int64_t)((double)total * part),
                             .total_ms = total,
                             .chunks_done = st->n_done,
                             .chunks_total = st->plan->n_chunks};
}

static void tell_progress(const struct stage *st)
{
    struct progress p = progress_of(st);
    if (st->o->hooks.progress)
        st->o->hooks.progress(st->o->hooks.arg, &p);
}

static int merge_one(struct stage *st, const struct work *w, struct err *err)
{
    const struct plan_chunk *c = &st->plan->chunks[w->idx];
    int rc = transcript_add(st->t, samples_to_ms(c->span.start), samples_to_ms(c->span.end), &w->answer.segments, err);
    if (rc == 0)
        rc = gaps_add(st->t, c, &w->answer.segments, err);
    if (rc < 0)
        return rc;
    if (st->in_order) {
        free(st->last_state);
        st->last_state = w->answer.state ? strdup(w->answer.state) : NULL;
        if (w->answer.state && !st->last_state)
            return err_set(err, ERR_NOMEM, "out of memory for the state of the engine");
    }
    return 0;
}

/* Merges what has no unfinished chunk before it. */
static void merge_ready(struct stage *st)
{
    while (st->next_merge < st->plan->n_chunks && st->ready[st->next_merge] && st->rc == 0) {
        struct work *w = st->ready[st->next_merge];
        struct done_chunk c = done_chunk(w);
        struct err err = ERR_INIT;
        int rc = merge_one(st, w, &err);
        if (rc < 0) {
            fail(st, rc, &err, STAGE_MERGE);
            return;
        }
        rc = st->o->hooks.text ? st->o->hooks.text(st->o->hooks.arg, &c, &err) : 0;
        if (rc < 0)
            fail(st, rc, &err, STAGE_STORE);
        work_free(w);
        st->ready[st->next_merge++] = NULL;
    }
}

static void count_done(struct stage *st, const struct work *w)
{
    const struct span *s = &st->plan->chunks[w->idx].span;
    st->n_done++;
    st->done_samples += s->end - s->start;
}

static int save(struct stage *st, const struct work *w, struct err *err)
{
    struct done_chunk c = done_chunk(w);
    struct progress p = progress_of(st);
    if (!st->o->hooks.save_chunk)
        return 0;
    int rc = st->o->hooks.save_chunk(st->o->hooks.arg, &c, &p, err);
    return rc < 0 ? rc : FAULT_POINT(chunk_saved, err);
}

/* For the error row, of the failure that counts: which chunk it was, and what the engine printed. */
static void describe_failure(const struct stage *st, const struct work *w, int rc)
{
    const struct plan_chunk *c = &st->plan->chunks[w->idx];
    struct pipeline_report *r = st->report;
    if (st->rc < 0 || rc == ERR_CANCELLED)
        return;
    int n = snprintf(r->detail, sizeof r->detail, "chunk %zu of %zu, from %.1f s to %.1f s", w->idx + 1,
                     st->plan->n_chunks, samples_to_s(c->span.start), samples_to_s(c->span.end));
    if (w->answer.said)
        snprintf(r->detail + n, sizeof r->detail - (size_t)n, "\n%s", w->answer.said);
}

/* A chunk came back from its slot. */
static void finish(struct stage *st, struct work *w)
{
    st->in_flight--;
    if (w->skipped) {
        work_free(w);
        return;
    }
    st->report->engine_ms += w->engine_ms;
    int rc = w->rc;
    if (rc == 0)
        rc = FAULT_POINT(chunk_transcribed, &w->err);
    if (rc < 0) {
        describe_failure(st, w, rc);
        fail(st, rc, &w->err, STAGE_ENGINE);
        work_free(w);
        return;
    }
    count_done(st, w);
    rc = save(st, w, &w->err);
    if (rc < 0) {
        fail(st, rc, &w->err, STAGE_STORE);
        work_free(w);
        return;
    }
    st->ready[w->idx] = w;
    merge_ready(st);
    tell_progress(st);
}

/* 1: this chunk was finished in an earlier attempt and is ready now. */
static int load(struct stage *st, struct work *w, struct err *err)
{
    const struct pipeline_hooks *h = &st->o->hooks;
    if (!st->resume || !h->load_chunk)
        return 0;
    int rc = h->load_chunk(h->arg, w->idx, st->plan->chunks[w->idx].span, &w->arena, &w->answer.segments,
                           &w->answer.state, err);
    if (rc <= 0)
        return rc;
    count_done(st, w);
    st->report->chunks_loaded++;
    st->ready[w->idx] = w;
    merge_ready(st);
    tell_progress(st);
    return 1;
}

static void start_next(struct stage *st)
{
    struct work *w = work_new(st, st->next_start++);
    int rc = load(st, w, &w->err);
    if (rc < 0) {
        fail(st, rc, &w->err, STAGE_STORE);
        work_free(w);
    } else if (rc == 0) {
        w->previous = st->in_order ? st->last_state : NULL;
        w->task.run = on_slot;
        st->in_flight++;
        lane_post(st->lane, &w->task);
    }
}

static bool may_start(const struct stage *st)
{
    return st->rc == 0 && st->next_start < st->plan->n_chunks && st->in_flight < st->max_in_flight && !stopping(st);
}

static void withdraw_all(struct stage *st)
{
    struct slot_task *t;
    while ((t = lane_withdraw(st->lane))) {
        st->in_flight--;
        work_free(CONTAINER_OF(t, struct work, task));
    }
}

static void run_all(struct stage *st)
{
    for (;;) {
        while (may_start(st))
            start_next(st);
        /* Not only skipped when their turn comes: that may take as long as the chunks of other jobs do. */
        if (st->rc < 0 || stopping(st))
            withdraw_all(st);
        if (st->in_flight == 0)
            break;
        struct slot_task *t = lane_next(st->lane, LOOK_MS);
        if (t)
            finish(st, CONTAINER_OF(t, struct work, task));
    }
    if (st->rc == 0 && st->next_merge < st->plan->n_chunks) {
        struct err err = ERR_INIT;
        err_set(&err, ERR_CANCELLED, "stopped after %zu of %zu chunks", st->n_done, st->plan->n_chunks);
        fail(st, ERR_CANCELLED, &err, STAGE_ENGINE);
    }
}

int chunks_run(const struct pipeline_opts *o, const struct plan *p, const struct pcm *pcm, bool resume,
               struct transcript *t, struct pipeline_report *report, struct err *err)
{
    bool in_order = o->request.sequential;
    struct stage st = {.o = o,
                       .request = o->request,
                       .plan = p,
                       .pcm = pcm,
                       .resume = resume,
                       .in_order = in_order,
                       .t = t,
                       .report = report,
                       .stop = {.also = o->cancel},
                       .max_in_flight = in_order ? 1 : slots_count(o->slots) + 1};
    if (p->heard)
        st.request.language = p->heard;
    for (size_t i = 0; i < p->n_chunks; i++)
        st.chunk_samples += p->chunks[i].span.end - p->chunks[i].span.start;
    st.ready = calloc(p->n_chunks + 1, sizeof *st.ready); /* sized by the recording */
    if (!st.ready)
        return err_set(err, ERR_NOMEM, "out of memory for %zu chunks", p->n_chunks);
    st.lane = lane_open(o->slots);
    tell_progress(&st);
    run_all(&st);
    lane_close(st.lane);
    for (size_t i = 0; i < p->n_chunks; i++)
        work_free(st.ready[i]);
    free(st.ready);
    free(st.last_state);
    if (st.rc < 0)
        *err = st.err;
    return st.rc;
}
