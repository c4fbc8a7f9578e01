/* SPDX-License-Identifier: MIT */
/*
 * Fetches the recording into a folder of its own, runs the pipeline with hooks that keep plan and chunks in the
 * database, puts the transcript into storage under the claim's fence, and completes the row. Every failure comes to
 * settle(), which asks the retry policy and writes its verdict; after LOST nothing is written any more.
 */
#include "worker/job_run.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/io.h"
#include "base/str.h"
#include "transcript/format.h"
#include "worker/persist.h"
#include "worker/pipeline.h"
#include "worker/plan_json.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum {
    PLAN_JSON_MAX = 64 << 20,
    CHUNK_JSON_MAX = 64 << 20,
    CHECKPOINTS_MAX = 1 << 30, /* of all chunks of a job, as JSON */
    EVENT_TEXT_MAX = 500,
    PROGRESS_EVERY_MS = 500,
};

struct ctx {
    struct worker *w;
    struct run *r;
    struct log_ctx log;
    struct engine *engine;
    char *folder, *audio;    /* private; audio is NULL when the engine needs none */
    const struct plan *plan; /* an earlier attempt's, in the run's arena */
    struct arena saved_arena;
    struct job_chunk *saved; /* checkpoints of that plan, by index */
    size_t n_saved, next_saved;
    bool saved_loaded;
    int64_t seq, told_ms; /* newest event number; when progress was last told */
    struct transcript transcript;
    struct pipeline_report report;
    char result_key[128];
};

/* ---- events ---- */

static void state_event(struct ctx *c, enum job_state state, const struct err *why)
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

static void add_progress(struct buf *b, const struct progress *p)
{
    buf_addf(b, "\"stage\":\"%s\",\"done_ms\":%" PRId64 ",\"total_ms\":%" PRId64, pipeline_stage_name(p->stage),
             p->done_ms, p->total_ms);
    buf_addf(b, ",\"chunks_done\":%zu,\"chunks_total\":%zu", p->chunks_done, p->chunks_total);
}

static void on_progress(void *arg, const struct progress *p)
{
    struct ctx *c = arg;
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

static void chunk_event(struct ctx *c, const struct done_chunk *d, const struct progress *p)
{
    CLEANUP(buf_clear) struct buf text = BUF_INIT(EVENT_TEXT_MAX), b = BUF_INIT(EVENT_JSON_MAX);
    for (size_t i = 0; i < d->segments->n && buf_ok(&text); i++)
        buf_addf(&text, "%s%s", i ? " " : "", d->segments->v[i].text ? d->segments->v[i].text : "");
    buf_addf(&b, "{\"idx\":%zu,\"start_ms\":%" PRId64 ",\"end_ms\":%" PRId64 ",", d->idx, samples_to_ms(d->span.start),
             samples_to_ms(d->span.end));
    add_progress(&b, p);
    buf_adds(&b, ",\"text\":");
    /* A long text stays in the database: null says so. */
    if (buf_ok(&text))
        str_add_json(&b, buf_str(&text));
    else
        buf_adds(&b, "null");
    buf_addc(&b, '}');
    if (buf_ok(&b))
        worker_event(c->w, c->r->claim.id, c->seq, "chunk", buf_str(&b));
}

/* ---- hooks: plan and checkpoints ---- */

static const struct plan *on_load_plan(void *arg)
{
    struct ctx *c = arg;
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
    struct ctx *c = arg;
    CLEANUP(buf_clear) struct buf json = BUF_INIT(PLAN_JSON_MAX);
    int rc = plan_to_json(p, &json, err);
    if (rc < 0)
        return rc;
    struct plan_args a = {buf_str(&json), (int64_t)p->n_chunks, samples_to_ms(p->total_samples)};
    rc = persist(c->w, c->r, JOB_PROCESSING, write_plan, &a, &c->seq, err);
    if (rc < 0)
        return rc;
    atomic_store(&c->r->saved, true);
    log_debug(&c->log, "plan saved: %zu chunks, fence %" PRId64, p->n_chunks, c->r->claim.fence);
    return 0;
}

static int load_checkpoints(struct ctx *c, struct err *err)
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
    struct ctx *c = arg;
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

static int on_save_chunk(void *arg, const struct done_chunk *d, const struct progress *p, struct err *err)
{
    struct ctx *c = arg;
    CLEANUP(buf_clear) struct buf json = BUF_INIT(CHUNK_JSON_MAX);
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
    rc = persist(c->w, c->r, JOB_PROCESSING, write_chunk, &a, &c->seq, err);
    if (rc < 0)
        return rc;
    atomic_store(&c->r->saved, true);
    log_debug(&c->log, "checkpoint %zu saved, fence %" PRId64, d->idx, c->r->claim.fence);
    chunk_event(c, d, p);
    return 0;
}

/* Runs on a slot thread: reads only what is fixed while the pipeline runs. */
static void on_engine_call(void *arg, size_t idx)
{
    const struct ctx *c = arg;
    log_debug(&c->log, "engine call for chunk %zu, fence %" PRId64, idx, c->r->claim.fence);
}

/* ---- the way to a completed row ---- */

static bool needs_sound(const struct ctx *c)
{
    return engine_info(c->engine)->caps & ENGINE_NEEDS_PCM;
}

static struct engine_request request(const struct ctx *c)
{
    const struct job *j = &c->r->job;
    const char *language = j->language && *j->language ? j->language : c->w->o->language;
    return (struct engine_request){.model = j->model, .language = language, .task = j->task, .prompt = j->prompt};
}

static int prepare(struct ctx *c, struct err *err)
{
    c->report.stage = STAGE_CHECK;
    int rc = engines_get(c->w->engines, c->r->job.engine, &c->engine, err);
    if (rc < 0)
        return rc;
    struct plan *plan = arena_alloc(&c->r->arena, sizeof *plan);
    const char *json = c->r->job.plan;
    struct err bad = ERR_INIT;
    if (!plan)
        return err_set(err, ERR_NOMEM, "out of memory for a plan");
    if (json && plan_from_json(json, strlen(json), &c->r->arena, plan, &bad) == 0)
        c->plan = plan;
    else if (json)
        log_warn(&c->log, "making a new plan: %s", bad.msg);
    return 0;
}

static int fetch(struct ctx *c, struct err *err)
{
    c->report.stage = STAGE_FETCH;
    c->folder = xasprintf("%s/%s-%" PRId64, temp_path(c->w->temp), c->r->claim.id, c->r->claim.fence);
    if (io_mkdir_p(c->folder, err) < 0) {
        err_wrap(err, "making a temporary folder");
        return err->code = ERR_UNAVAILABLE; /* whatever it is, it is this machine's and not the job's fault */
    }
    if (!needs_sound(c))
        return 0;
    c->audio = xasprintf("%s/audio", c->folder);
    int rc = storage_fetch(c->w->o->storage, c->r->job.audio_key, c->audio, err);
    if (rc == ERR_NOT_FOUND)
        return err_set(err, rc, "the recording is no longer in storage");
    if (rc < 0)
        return err_wrap(err, "fetching the recording");
    return FAULT_POINT(audio_fetched, err);
}

static int transcribe(struct ctx *c, struct err *err)
{
    struct pipeline_opts o = {.engine = c->engine,
                              .slots = c->w->slots,
                              .request = request(c),
                              .audio_path = c->audio,
                              .input_sha256 = c->r->job.audio_sha256,
                              .temp_folder = c->folder,
                              .decode = c->w->o->decode,
                              .cancel = &c->r->cancel,
                              .drain = &c->w->drain,
                              .hooks = {.arg = c,
                                        .load_plan = on_load_plan,
                                        .save_plan = on_save_plan,
                                        .load_chunk = on_load_chunk,
                                        .save_chunk = on_save_chunk,
                                        .progress = on_progress,
                                        .engine_call = on_engine_call}};
    return pipeline_run(&o, &c->transcript, &c->report, err);
}

static int to_storage(const void *data, size_t n, void *arg, struct err *err)
{
    return storage_put_write(arg, data, n, err);
}

static int store_result(struct ctx *c, struct err *err)
{
    c->report.stage = STAGE_STORE;
    snprintf(c->result_key, sizeof c->result_key, "results/%s/%" PRId64 "/transcription.json", c->r->claim.id,
             c->r->claim.fence);
    struct storage_put *put = NULL;
    int rc = storage_put_begin(c->w->o->storage, c->result_key, &put, err);
    if (rc < 0)
        return err_wrap(err, "storing the transcript");
    rc = format_write(&c->transcript, FORMAT_VERBOSE_JSON, to_storage, put, err);
    if (rc < 0) {
        storage_put_abort(put);
        return err_wrap(err, "storing the transcript");
    }
    rc = storage_put_commit(put, NULL, err);
    return rc < 0 ? err_wrap(err, "storing the transcript") : FAULT_POINT(result_stored, err);
}

static int write_completed(struct store *s, const struct claim *claim, const void *arg, int64_t *ret_seq,
                           struct err *err)
{
    return store_complete(s, claim, arg, ret_seq, err);
}

static int complete(struct ctx *c, struct err *err)
{
    struct transcript *t = &c->transcript;
    const char *text = transcript_text(t);
    if (!text)
        return err_set(err, ERR_NOMEM, "out of memory for the text");
    struct job_result result = {.fence = c->r->claim.fence,
                                .result_key = c->result_key,
                                .text = text,
                                .language = t->language,
                                .engine = t->engine,
                                .model = t->model,
                                .duration_ms = t->duration_ms,
                                .speech_ms = t->speech_ms,
                                .covered_ms = t->covered_ms,
                                .word_count = transcript_word_count(t),
                                .processing_ms = clock_mono_ms() - c->r->began_ms,
                                .confidence = transcript_confidence(t)};
    return persist(c->w, c->r, JOB_COMPLETED, write_completed, &result, &c->seq, err);
}

static int do_job(struct ctx *c, struct err *err)
{
    int rc = prepare(c, err);
    if (rc == 0)
        rc = fetch(c, err);
    if (rc == 0)
        rc = transcribe(c, err);
    if (rc == 0)
        rc = store_result(c, err);
    if (rc == 0)
        rc = complete(c, err);
    return rc;
}

static void celebrate(struct ctx *c)
{
    struct err err = ERR_INIT;
    if (FAULT_POINT(job_completed, &err) < 0)
        log_warn(&c->log, "%s", err.msg);
    state_event(c, JOB_COMPLETED, NULL);
    int64_t took = clock_mono_ms() - c->r->began_ms, audio = c->transcript.duration_ms;
    atomic_fetch_add(&c->w->counts.completed, 1);
    atomic_fetch_add(&c->w->counts.audio_ms, audio);
    log_info(&c->log,
             "completed: %.1f s of audio, %.1f s of speech, %" PRId64 " words in %.1f s (%.1f times real time), %zu "
             "chunks from checkpoints",
             (double)audio / 1000, (double)c->transcript.speech_ms / 1000, transcript_word_count(&c->transcript),
             (double)took / 1000, took ? (double)audio / (double)took : 0.0, c->report.chunks_loaded);
}

/* ---- failures ---- */

struct failure_args {
    struct job_failure failure;
    int64_t delay_ms;
};

static int write_retry(struct store *s, const struct claim *claim, const void *arg, int64_t *ret_seq, struct err *err)
{
    const struct failure_args *a = arg;
    return store_retry_later(s, claim, &a->failure, a->delay_ms, ret_seq, err);
}

static int write_failed(struct store *s, const struct claim *claim, const void *arg, int64_t *ret_seq, struct err *err)
{
    const struct failure_args *a = arg;
    return store_fail(s, claim, &a->failure, ret_seq, err);
}

static int write_back(struct store *s, const struct claim *claim, const void *arg, int64_t *ret_seq, struct err *err)
{
    const struct failure_args *a = arg;
    return store_hand_back(s, claim, a->delay_ms, ret_seq, err);
}

static void retry_later(struct ctx *c, const struct failure_args *a, const struct err *why, struct err *err)
{
    if (persist(c->w, c->r, JOB_PENDING, write_retry, a, &c->seq, err) < 0)
        return;
    state_event(c, JOB_PENDING, why);
    atomic_fetch_add(&c->w->counts.retried, 1);
    log_warn(&c->log, "attempt %d failed at %s (%s), next in %.1f s: %s", c->r->job.attempt, a->failure.stage,
             a->failure.error_class, (double)a->delay_ms / 1000, why->msg);
}

static void give_up(struct ctx *c, const struct failure_args *a, const struct err *why, struct err *err)
{
    if (persist(c->w, c->r, JOB_FAILED, write_failed, a, &c->seq, err) < 0)
        return;
    struct err send = ERR_INIT;
    int rc = FAULT_POINT(job_failed, &send);
    state_event(c, JOB_FAILED, why);
    if (rc == 0)
        rc = broker_send_dead_letter(c->w->o->broker, c->r->claim.id, a->failure.error_class, why->msg, &send);
    if (rc < 0)
        log_debug(&c->log, "the dead letter was not sent: %s", send.msg);
    atomic_fetch_add(&c->w->counts.failed, 1);
    log_warn(&c->log, "failed for good at %s in attempt %d (%s): %s", a->failure.stage, c->r->job.attempt,
             a->failure.error_class, why->msg);
}

/* Others may take it at once: tell them. */
static void announce(struct ctx *c)
{
    const struct job *j = &c->r->job;
    struct token t = {.queue = job_queue_name(j->queue),
                      .job_id = j->id,
                      .audio_key = j->audio_key,
                      .language = j->language,
                      .model = j->model};
    struct err err = ERR_INIT;
    if (broker_send_token(c->w->o->broker, &t, &err) < 0 || store_mark_announced(c->w->o->store, j->id, &err) < 0)
        log_debug(&c->log, "not announced again: %s", err.msg);
}

static void hand_back(struct ctx *c, const struct failure_args *a, const struct err *why, struct err *err)
{
    if (persist(c->w, c->r, JOB_PENDING, write_back, a, &c->seq, err) < 0)
        return;
    state_event(c, JOB_PENDING, NULL);
    atomic_fetch_add(&c->w->counts.handed_back, 1);
    if (a->delay_ms == 0)
        announce(c);
    log_warn(&c->log, "handed back at %s: %s", a->failure.stage, why->msg);
}

/* What the row will say about it. */
static void name_reason(const struct ctx *c, struct err *why)
{
    switch (run_stopped(c->r)) {
    case RUN_GOES_ON:
        break;
    case RUN_LOST:
        err_set(why, ERR_LOST, "the job was cancelled or belongs to another worker now");
        break;
    case RUN_TIMED_OUT:
        if (why->code == ERR_CANCELLED)
            err_set(why, ERR_TIMEOUT,
                    "not done within %.0f s, the time limit of one attempt (job_time_limit); what is done is kept",
                    (double)c->w->o->job_time_ms / 1000);
        break;
    case RUN_HALTED:
        if (why->code == ERR_CANCELLED)
            err_set(why, ERR_CANCELLED, "the worker stops");
        break;
    }
}

static void settle(struct ctx *c, struct err *why)
{
    name_reason(c, why);
    struct err err = ERR_INIT;
    if (why->code != ERR_LOST && FAULT_POINT(job_failing, &err) < 0)
        log_warn(&c->log, "%s", err.msg);
    enum pipeline_stage stage = c->report.stage;
    struct failure_args a = {.failure = {.error_class = err_name(why->code),
                                         .message = why->msg,
                                         .stage = pipeline_stage_name(stage),
                                         .detail = c->report.detail[0] ? c->report.detail : NULL,
                                         .worker = c->w->id}};
    struct retry_policy policy = c->w->o->retry;
    if (c->r->job.max_attempts > 0)
        policy.max_attempts = c->r->job.max_attempts;
    /* The time limit is the job's, wherever it struck: it counts. */
    bool overdue = run_stopped(c->r) == RUN_TIMED_OUT && why->code == ERR_TIMEOUT;
    err = (struct err)ERR_INIT;
    switch (retry_decide(why->code, overdue ? STAGE_ENGINE : stage, c->r->job.attempt, &policy, &a.delay_ms)) {
    case RETRY_LATER:
        retry_later(c, &a, why, &err);
        break;
    case RETRY_FAIL:
        give_up(c, &a, why, &err);
        break;
    case RETRY_BACK:
        hand_back(c, &a, why, &err);
        break;
    case RETRY_DROP:
        err = *why;
        break;
    }
    if (err.code == ERR_LOST || err.code == ERR_NOT_FOUND) {
        atomic_fetch_add(&c->w->counts.lost, 1);
        log_info(&c->log, "dropped at %s: %s", a.failure.stage, err.msg);
    } else if (err.code) {
        atomic_fetch_add(&c->w->counts.unreturned, 1);
        log_error(&c->log, "left to the end of its lease, its row could not be written: %s (after: %s)", err.msg,
                  why->msg);
    }
}

void job_run(struct worker *w, struct run *r)
{
    struct ctx c = {.w = w,
                    .r = r,
                    .log = {.component = "worker", .job_id = r->claim.id},
                    .saved_arena = ARENA_INIT,
                    .seq = r->job.seq};
    c.saved_arena.max = CHECKPOINTS_MAX;
    transcript_init(&c.transcript);
    log_info(&c.log, "claimed: attempt %d of %d, fence %" PRId64 ", %" PRId64 " bytes, engine '%s'", r->job.attempt,
             r->job.max_attempts, r->claim.fence, r->job.audio_bytes, r->job.engine ? r->job.engine : "default");
    state_event(&c, JOB_PROCESSING, NULL);

    struct err err = ERR_INIT;
    if (do_job(&c, &err) == 0)
        celebrate(&c);
    else
        settle(&c, &err);

    if (c.folder && io_remove_tree(c.folder, &err) < 0)
        log_warn(&c.log, "temporary files are left: %s", err.msg);
    free_p(&c.folder);
    free_p(&c.audio);
    transcript_clear(&c.transcript);
    arena_clear(&c.saved_arena);
}
