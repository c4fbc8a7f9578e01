/* SPDX-License-Identifier: MIT */
/*
 * Fetches the recording into a folder of its own, runs the pipeline with hooks that keep plan and chunks in the
 * database (job_hooks.c), puts the transcript into storage under the claim's fence, and completes the row. Every
 * failure comes to job_settle.c; after LOST nothing is written any more.
 */
#include "worker/job_run.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/io.h"
#include "transcript/format.h"
#include "worker/ask.h"
#include "worker/job_internal.h"
#include "worker/persist.h"
#include "worker/plan_json.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { CHECKPOINTS_MAX = 1 << 30 }; /* of all chunks of a job, as JSON */

static bool needs_sound(const struct job_ctx *c)
{
    return engine_info(c->engine)->caps & ENGINE_NEEDS_PCM;
}

static const char *language_of(const struct job_ctx *c)
{
    const char *asked = c->r->job.language;
    return asked && *asked ? asked : c->w->o->language;
}

static struct engine_request request(const struct job_ctx *c)
{
    const struct job *j = &c->r->job;
    return (struct engine_request){.model = c->model, .language = language_of(c), .task = j->task, .prompt = j->prompt};
}

static void enter(struct job_ctx *c, enum pipeline_stage s)
{
    c->report.stage = s;
    atomic_store(&c->r->stage, (int)s);
}

static int prepare(struct job_ctx *c, struct err *err)
{
    enter(c, STAGE_CHECK);
    const struct job *j = &c->r->job;
    const struct model_wish wish = {.name = j->model, .language = language_of(c), .task = j->task};
    int rc = engines_choose(c->w->engines, j->engine, &wish, &c->r->arena, &c->engine, &c->model, &c->warning, err);
    if (rc < 0)
        return rc == ERR_NOT_FOUND ? err->code = ERR_INVALID : rc; /* for good */
    struct plan *plan = arena_alloc(&c->r->arena, sizeof *plan);
    const char *json = j->plan;
    struct err bad = ERR_INIT;
    if (!plan)
        return err_set(err, ERR_NOMEM, "out of memory for a plan");
    if (json && plan_from_json(json, strlen(json), &c->r->arena, plan, &bad) == 0)
        c->plan = plan;
    else if (json)
        log_warn(&c->log, "making a new plan: %s", bad.msg);
    return 0;
}

/* For the recording and, as far as an earlier attempt has found out how long it is, for its PCM. */
static int find_room(struct job_ctx *c, struct err *err)
{
    const struct worker_opts *o = c->w->o;
    const struct job *j = &c->r->job;
    if (!o->min_free_bytes)
        return 0;
    int64_t pcm = j->duration_ms / 1000 * AUDIO_RATE * (int64_t)sizeof(int16_t);
    int rc = io_room(o->temp_folder, j->audio_bytes + pcm, o->min_free_bytes, err);
    if (rc == 0)
        return 0;
    c->report.no_room = rc != ERR_TOO_LARGE;
    if (rc == ERR_TOO_LARGE)
        c->report.stage = STAGE_DECODE; /* this will not pass by itself, nor when others end: it counts as an attempt */
    return err->code = ERR_UNAVAILABLE;
}

static int fetch(struct job_ctx *c, struct err *err)
{
    enter(c, STAGE_FETCH);
    if (!needs_sound(c))
        return 0;
    int rc = find_room(c, err);
    if (rc < 0)
        return rc;
    c->folder = xasprintf("%s/%s-%" PRId64, temp_path(c->w->temp), c->r->claim.id, c->r->claim.fence);
    if (io_mkdir_p(c->folder, err) < 0) {
        err_wrap(err, "making a temporary folder");
        return err->code = ERR_UNAVAILABLE; /* whatever it is, it is this machine's and not the job's fault */
    }
    c->audio = xasprintf("%s/audio", c->folder);
    rc = storage_fetch_checked(c->w->o->storage, c->r->job.audio_key, c->r->job.audio_sha256, c->audio, err);
    if (rc == ERR_NOT_FOUND)
        return err_set(err, rc, "the recording is no longer in storage");
    if (rc < 0)
        return err_wrap(err, "fetching the recording");
    return FAULT_POINT(audio_fetched, err);
}

/* If memory is short once more, there is no other. */
static bool is_last_attempt(const struct job_ctx *c)
{
    return c->r->job.attempt >= job_retry_rule(c, ERR_NOMEM).max_attempts;
}

static int transcribe(struct job_ctx *c, struct err *err)
{
    struct pipeline_opts o = {.engine = c->engine,
                              .slots = c->w->slots,
                              .request = request(c),
                              .warning = c->warning,
                              .smaller_ok = !c->w->o->models || !c->w->o->models->missing_is_error,
                              .keep_model = !is_last_attempt(c),
                              .has_chunks = c->r->job.chunks_done > 0,
                              .audio_path = c->audio,
                              .input_sha256 = c->r->job.audio_sha256,
                              .temp_folder = c->folder,
                              .min_free_bytes = c->w->o->min_free_bytes,
                              .decode = c->w->o->decode,
                              .cancel = &c->r->cancel,
                              .drain = &c->w->drain,
                              .hooks = job_hooks(c)};
    struct job_options asked;
    c->report.stage = STAGE_CHECK;
    int rc = job_options_from_json(c->r->job.options, &c->r->arena, &asked, err);
    if (rc == 0)
        rc = ask_options(&o, &asked, c->w->o->options, &c->r->arena, err);
    return rc < 0 ? rc : pipeline_run(&o, &c->transcript, &c->report, err);
}

static int to_storage(const void *data, size_t n, void *arg, struct err *err)
{
    return storage_put_write(arg, data, n, err);
}

static int store_result(struct job_ctx *c, struct err *err)
{
    enter(c, STAGE_STORE);
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

static int complete(struct job_ctx *c, struct err *err)
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
                                .confidence = transcript_confidence(t),
                                .language_probability = t->language_probability,
                                .warning = t->warning};
    if (c->held.plan)
        return job_complete_held(c, &result, err);
    return persist(c->w, c->r, JOB_COMPLETED, write_completed, &result, &c->seq, err);
}

static int do_job(struct job_ctx *c, struct err *err)
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

static void celebrate(struct job_ctx *c)
{
    struct err err = ERR_INIT;
    if (FAULT_POINT(job_completed, &err) < 0)
        log_warn(&c->log, "%s", err.msg);
    job_state_event(c, JOB_COMPLETED, NULL);
    int64_t took = clock_mono_ms() - c->r->began_ms, audio = c->transcript.duration_ms;
    counters_add(&c->w->counts, COUNT_completed, 1);
    counters_add(&c->w->counts, COUNT_audio_ms, audio);
    counters_spread(&c->w->counts, SPREAD_run_time, took);
    if (audio > 0)
        counters_spread(&c->w->counts, SPREAD_real_time_factor, took * 1000 / audio);
    log_info(&c->log,
             "completed: %.1f s of audio, %.1f s of speech, %" PRId64 " words in %.1f s (%.1f times real time), %zu "
             "chunks from checkpoints",
             (double)audio / 1000, (double)c->transcript.speech_ms / 1000, transcript_word_count(&c->transcript),
             (double)took / 1000, took ? (double)audio / (double)took : 0.0, c->report.chunks_loaded);
}

/*
 * The transcript goes to storage before its row is written: a job that was purged in between must leave nothing behind.
 * Whether the row was written after all, its answer lost, is for the database to say; what it cannot say now, the
 * sweeper asks again.
 */
static void drop_unwanted_result(struct job_ctx *c)
{
    struct err err = ERR_INIT;
    bool wanted = true;
    int rc = store_key_wanted(c->w->o->store, c->result_key, &wanted, &err);
    if (rc == 0 && !wanted)
        rc = storage_delete(c->w->o->storage, c->result_key, &err);
    if (rc < 0)
        log_debug(&c->log, "'%s' is left for the sweeper: %s", c->result_key, err.msg);
}

void job_run(struct worker *w, struct run *r)
{
    struct job_ctx c = {.w = w,
                        .r = r,
                        .log = {.component = "worker", .job_id = r->claim.id, .request_id = r->job.request_id},
                        .saved_arena = ARENA_INIT,
                        .seq = r->job.seq};
    struct log_scope before = log_scope_swap(log_scope_of(c.log.job_id, c.log.request_id));
    c.saved_arena.max = CHECKPOINTS_MAX;
    transcript_init(&c.transcript);
    log_info(&c.log, "claimed: attempt %d of %d, fence %" PRId64 ", %" PRId64 " bytes, engine '%s'", r->job.attempt,
             r->job.max_attempts, r->claim.fence, r->job.audio_bytes, r->job.engine ? r->job.engine : "default");
    job_state_event(&c, JOB_PROCESSING, NULL);

    struct err err = ERR_INIT;
    if (do_job(&c, &err) == 0) {
        celebrate(&c);
    } else {
        job_settle(&c, &err);
        if (c.result_key[0])
            drop_unwanted_result(&c);
    }

    if (c.folder && io_remove_tree(c.folder, &err) < 0)
        log_warn(&c.log, "temporary files are left: %s", err.msg);
    free_p(&c.folder);
    free_p(&c.audio);
    transcript_clear(&c.transcript);
    arena_clear(&c.saved_arena);
    log_scope_swap(before);
}
