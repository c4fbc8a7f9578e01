/* SPDX-License-Identifier: MIT */
/*
 * The pipeline with an engine made for the test, which answers each chunk with its number, and hooks that keep plan and
 * checkpoints in memory. Decoding, speech detection and planning are the real ones.
 */
#include "worker/pipeline.h"

#include "base/clock.h"
#include "base/io.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/thread.h"
#include "engine/engine_ops.h"
#include "speech.h"
#include "transcript/format.h"
#include "worker/intake.h"
#include "worker/plan_json.h"
#include "worker/slots.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { MAX_CHUNKS = 64, SLOTS = 3, BLOCK_GIVE_UP_MS = 60000 };

/* ---- the engine ---- */

struct fake {
    struct engine engine;
    pthread_mutex_t mu;
    int n_calls, running, most_running, n_starts; /* guarded by mu, as the two below */
    int64_t starts[MAX_CHUNKS];                   /* first samples, in the order of first calls */
    char previous[MAX_CHUNKS][64];
    /* What shall go wrong, and where. */
    int fail_call; /* the n-th call fails, from 1 */
    int fail_code;
    bool block; /* every call waits for its cancel */
    bool suspect, wordless, refuse;
    struct cancel *set_on_first_call;
    bool hole;                      /* the segment ends 1.5 s before its chunk */
    const char *hears[MAX_CHUNKS];  /* the answers, in the order of calls; NULL: nothing to hear */
    int n_questions, fail_question; /* guarded by mu */
    char languages[MAX_CHUNKS][8];  /* that calls were given, by order of calls */
};

static struct fake *self(struct engine *e)
{
    return CONTAINER_OF(e, struct fake, engine);
}

static const char *fake_model(const struct engine *e, const struct engine_request *r)
{
    (void)e;
    return r->model ? r->model : "counting";
}

static int fake_check(struct engine *e, const struct engine_request *r, struct err *err)
{
    (void)r;
    return self(e)->refuse ? err_set(err, ERR_UNSUPPORTED, "the fake refuses") : 0;
}

static int answer(struct fake *f, int64_t start, const struct engine_chunk *c, struct arena *a,
                  struct engine_answer *ret)
{
    char *text = arena_printf(a, "from %lld", (long long)start);
    struct segment *s = arena_alloc(a, sizeof *s);
    assert_non_null(text);
    assert_non_null(s);
    *s = (struct segment){.start_ms = samples_to_ms(c->span.start),
                          .end_ms = samples_to_ms(c->span.end) - (f->hole ? 1500 : 0),
                          .text = text,
                          .suspect = f->suspect ? "the fake doubts it" : NULL};
    ret->segments = (struct segments){.v = s, .n = f->wordless ? 0 : 1, .language = "en"};
    ret->state = arena_printf(a, "after %lld", (long long)start);
    return 0;
}

static int fake_run(struct engine *e, const struct engine_request *r, const struct engine_chunk *c,
                    const struct cancel *cancel, struct arena *a, struct engine_answer *ret, struct err *err)
{
    struct fake *f = self(e);
    pthread_mutex_lock(&f->mu);
    int call = ++f->n_calls;
    f->running++;
    f->most_running = MAX(f->most_running, f->running);
    if (f->n_starts < MAX_CHUNKS) {
        snprintf(f->previous[f->n_starts], sizeof f->previous[0], "%s", c->state ? c->state : "-");
        snprintf(f->languages[f->n_starts], sizeof f->languages[0], "%s", r->language ? r->language : "-");
        f->starts[f->n_starts++] = c->span.start;
    }
    bool fails = call == f->fail_call, block = f->block && !fails;
    pthread_mutex_unlock(&f->mu);
    if (call == 1 && f->set_on_first_call)
        cancel_set(f->set_on_first_call);
    for (int64_t began = clock_mono_ms(); block && !cancel_is_set(cancel);) {
        clock_sleep_ms(1);
        if (clock_mono_ms() - began > BLOCK_GIVE_UP_MS)
            break;
    }
    int rc = fails                            ? err_set(err, f->fail_code, "the fake fails")
             : block && cancel_is_set(cancel) ? err_set(err, ERR_CANCELLED, "cancelled")
                                              : answer(f, c->span.start, c, a, ret);
    pthread_mutex_lock(&f->mu);
    f->running--;
    pthread_mutex_unlock(&f->mu);
    return rc;
}

static int fake_detect(struct engine *e, const struct engine_request *r, const struct engine_chunk *c,
                       const struct cancel *cancel, struct engine_language *ret, struct err *err)
{
    (void)cancel;
    struct fake *f = self(e);
    assert_null(r->language);
    assert_true(c->pcm && c->n_speech > 0);
    pthread_mutex_lock(&f->mu);
    int n = f->n_questions++;
    bool fails = f->fail_question == n + 1;
    pthread_mutex_unlock(&f->mu);
    if (fails)
        return err_set(err, ERR_TIMEOUT, "the fake is deaf");
    if (n >= MAX_CHUNKS || !f->hears[n])
        return 0;
    *ret = (struct engine_language){f->hears[n], str_eq(f->hears[n], "en") ? 0.6 : 0.5};
    return 1;
}

static const struct engine_ops fake_ops = {
    .info = {.name = "fake",
             .caps = ENGINE_NEEDS_PCM | ENGINE_INTERRUPTS,
             .quality = "test",
             .target_samples = 2 * AUDIO_RATE,
             .max_samples = 4 * AUDIO_RATE},
    .model = fake_model,
    .check = fake_check,
    .run = fake_run,
};
static const struct engine_ops fake_able_ops = {
    .info = {.name = "fake of many talents",
             .caps = ENGINE_NEEDS_PCM | ENGINE_FOLLOWS | ENGINE_DETECTS,
             .quality = "test",
             .target_samples = 2 * AUDIO_RATE,
             .max_samples = 4 * AUDIO_RATE},
    .model = fake_model,
    .check = fake_check,
    .run = fake_run,
    .detect = fake_detect,
};

static void fake_init(struct fake *f, const struct engine_ops *ops)
{
    *f = (struct fake){.engine = {.ops = ops}};
    pthread_mutex_init(&f->mu, NULL);
}

/* ---- hooks that keep everything in memory ---- */

struct memo {
    struct arena arena;
    struct plan plan;
    bool has_plan, offer_plan;
    int plans_saved, chunks_saved, chunks_loaded, texts, progresses;
    char *json[MAX_CHUNKS], *state[MAX_CHUNKS];
    size_t last_text;
    bool texts_in_order;
    int64_t last_done_ms;
    bool progress_grows;
    /* What shall go wrong. */
    int fail_save_chunk, fail_save_plan, fail_text; /* classes */
    int fail_after;                                 /* that many chunks were saved */
    struct cancel *set_on_save_plan, *set_on_save_chunk;
};

static void memo_init(struct memo *m)
{
    *m = (struct memo){.arena = ARENA_INIT, .texts_in_order = true, .progress_grows = true};
}

static void memo_clear(struct memo *m)
{
    for (int i = 0; i < MAX_CHUNKS; i++) {
        free(m->json[i]);
        free(m->state[i]);
    }
    arena_clear(&m->arena);
    memo_init(m);
}

static const struct plan *memo_load_plan(void *arg)
{
    struct memo *m = arg;
    return m->offer_plan && m->has_plan ? &m->plan : NULL;
}

/* Through JSON, as a row would keep it. */
static int memo_save_plan(void *arg, const struct plan *p, struct err *err)
{
    struct memo *m = arg;
    CLEANUP(buf_clear) struct buf b = BUF_INIT(1 << 20);
    m->plans_saved++;
    if (m->fail_save_plan)
        return err_set(err, m->fail_save_plan, "the plan cannot be saved");
    assert_int_equal(plan_to_json(p, &b, err), 0);
    assert_int_equal(plan_from_json(b.data, b.len, &m->arena, &m->plan, err), 0);
    m->has_plan = true;
    for (int i = 0; i < MAX_CHUNKS; i++) {
        free_p(&m->json[i]);
        free_p(&m->state[i]);
        m->json[i] = m->state[i] = NULL;
    }
    if (m->set_on_save_plan)
        cancel_set(m->set_on_save_plan);
    return 0;
}

static int memo_load_chunk(void *arg, size_t idx, struct span span, struct arena *a, struct segments *ret,
                           const char **ret_state, struct err *err)
{
    struct memo *m = arg;
    assert_true(idx < m->plan.n_chunks);
    assert_int_equal(span.start, m->plan.chunks[idx].span.start);
    if (!m->json[idx])
        return 0;
    assert_int_equal(segments_from_json(m->json[idx], strlen(m->json[idx]), a, ret, err), 0);
    *ret_state = arena_strdup(a, m->state[idx]);
    m->chunks_loaded++;
    return 1;
}

static int memo_save_chunk(void *arg, const struct done_chunk *c, const struct progress *p, struct err *err)
{
    struct memo *m = arg;
    CLEANUP(buf_clear) struct buf b = BUF_INIT(1 << 20);
    if (m->fail_save_chunk && m->chunks_saved >= m->fail_after)
        return err_set(err, m->fail_save_chunk, "the chunk cannot be saved");
    assert_true(c->idx < MAX_CHUNKS);
    assert_null(m->json[c->idx]); /* never twice */
    assert_int_equal(segments_to_json(c->segments, &b, err), 0);
    m->json[c->idx] = buf_take(&b);
    m->state[c->idx] = xstrdup(c->state);
    m->chunks_saved++;
    assert_int_equal(p->chunks_done, m->chunks_saved + m->chunks_loaded);
    if (m->set_on_save_chunk)
        cancel_set(m->set_on_save_chunk);
    return 0;
}

static int memo_text(void *arg, const struct done_chunk *c, struct err *err)
{
    struct memo *m = arg;
    if (m->fail_text)
        return err_set(err, m->fail_text, "nobody reads the text");
    m->texts_in_order = m->texts_in_order && c->idx == (size_t)m->texts;
    m->texts++;
    return 0;
}

static void memo_progress(void *arg, const struct progress *p)
{
    struct memo *m = arg;
    m->progresses++;
    if (p->stage != STAGE_ENGINE)
        return;
    m->progress_grows = m->progress_grows && p->done_ms >= m->last_done_ms && p->done_ms <= p->total_ms;
    m->last_done_ms = p->done_ms;
}

/* ---- one run ---- */

struct rig {
    struct fake fake;
    struct memo memo;
    struct slots *slots;
    struct cancel cancel, drain;
    struct pipeline_opts opts;
    struct transcript t;
    struct pipeline_report report;
    struct err err;
};

static char *folder, *speech, *silence, *text_file, *truncated;

static struct rig *rig_new(const struct engine_ops *ops, const char *path)
{
    struct rig *r = xcalloc(1, sizeof *r);
    struct err err = ERR_INIT;
    fake_init(&r->fake, ops);
    memo_init(&r->memo);
    assert_int_equal(slots_new(SLOTS, &r->slots, &err), 0);
    r->opts = (struct pipeline_opts){.engine = &r->fake.engine,
                                     .slots = r->slots,
                                     .request = {.task = "transcribe"},
                                     .audio_path = path,
                                     .input_sha256 = "abc",
                                     .temp_folder = folder,
                                     .decode = {.time_ms = 60000},
                                     .cancel = &r->cancel,
                                     .drain = &r->drain,
                                     .hooks = {.arg = &r->memo,
                                               .load_plan = memo_load_plan,
                                               .save_plan = memo_save_plan,
                                               .load_chunk = memo_load_chunk,
                                               .save_chunk = memo_save_chunk,
                                               .text = memo_text,
                                               .progress = memo_progress}};
    transcript_init(&r->t);
    return r;
}

static int rig_run(struct rig *r)
{
    transcript_clear(&r->t);
    transcript_init(&r->t);
    r->err = (struct err)ERR_INIT;
    return pipeline_run(&r->opts, &r->t, &r->report, &r->err);
}

/* A second attempt, by another worker: counters anew, checkpoints kept. */
static void rig_again(struct rig *r)
{
    const struct engine_ops *ops = r->fake.engine.ops;
    fake_init(&r->fake, ops);
    r->memo.offer_plan = true;
    r->memo.plans_saved = r->memo.chunks_saved = r->memo.chunks_loaded = r->memo.texts = 0;
    r->memo.last_done_ms = 0;
    r->memo.fail_save_chunk = r->memo.fail_save_plan = 0;
    r->memo.set_on_save_plan = r->memo.set_on_save_chunk = NULL;
    atomic_store(&r->cancel.flag, false);
    atomic_store(&r->drain.flag, false);
}

static void rig_free(struct rig *r)
{
    memo_clear(&r->memo);
    transcript_clear(&r->t);
    slots_free(r->slots);
    free(r);
}

static int chunks_of(const struct rig *r)
{
    return (int)r->memo.plan.n_chunks;
}

static void assert_whole(struct rig *r)
{
    struct err err = ERR_INIT;
    assert_int_equal(transcript_check(&r->t, &err), 0);
    assert_int_equal(r->t.n_segments, chunks_of(r));
    for (int i = 0; i < chunks_of(r); i++) {
        char expect[64];
        snprintf(expect, sizeof expect, "from %lld", (long long)r->memo.plan.chunks[i].span.start);
        assert_string_equal(r->t.segments[i].text, expect);
    }
    assert_true(r->memo.texts_in_order);
    assert_int_equal(r->memo.texts, chunks_of(r));
    assert_true(r->memo.progress_grows);
    assert_int_equal(r->memo.last_done_ms, r->t.duration_ms);
}

/* ---- tests ---- */

static void test_speech_becomes_a_transcript(void **state)
{
    (void)state;
    struct rig *r = rig_new(&fake_ops, speech);
    assert_int_equal(rig_run(r), 0);
    assert_true(chunks_of(r) >= 5);
    assert_whole(r);
    assert_int_equal(r->memo.plans_saved, 1);
    assert_int_equal(r->memo.chunks_saved, chunks_of(r));
    assert_int_equal(r->fake.n_calls, chunks_of(r));
    assert_true(r->fake.most_running <= SLOTS);
    assert_string_equal(r->t.engine, "fake");
    assert_string_equal(r->t.model, "counting");
    assert_string_equal(r->t.quality, "test");
    assert_string_equal(r->t.task, "transcribe");
    assert_string_equal(r->t.language, "en");
    assert_null(r->t.warning);
    assert_true(r->t.speech_ms > 5000 && r->t.speech_ms < r->t.duration_ms);
    assert_int_equal(r->t.covered_ms, r->t.speech_ms);
    assert_int_equal(r->t.n_gaps, 0);
    rig_free(r);
}

static void test_a_full_disk_is_told_apart(void **state)
{
    (void)state;
    struct rig *r = rig_new(&fake_ops, speech);
    r->opts.min_free_bytes = 1;
    assert_int_equal(rig_run(r), 0);
    assert_false(r->report.no_room);
    rig_again(r);
    r->opts.min_free_bytes = INT64_MAX / 2;
    assert_int_equal(rig_run(r), ERR_UNAVAILABLE);
    assert_int_equal(r->report.stage, STAGE_DECODE);
    assert_true(r->report.no_room);
    assert_non_null(strstr(r->err.msg, "min_free_disk"));
    rig_free(r);
}

static void test_a_recording_that_is_too_long(void **state)
{
    (void)state;
    struct rig *r = rig_new(&fake_ops, speech);
    r->opts.decode.max_samples = AUDIO_RATE;
    assert_int_equal(rig_run(r), ERR_TOO_LARGE);
    assert_int_equal(r->report.stage, STAGE_DECODE);
    rig_free(r);
}

static void test_finished_chunks_are_not_run_again(void **state)
{
    (void)state;
    struct rig *r = rig_new(&fake_ops, speech);
    r->fake.fail_call = 4;
    r->fake.fail_code = ERR_TIMEOUT;
    assert_int_equal(rig_run(r), ERR_TIMEOUT);
    assert_int_equal(r->report.stage, STAGE_ENGINE);
    int saved = r->memo.chunks_saved;
    /* Those that were with the engine when one failed are saved too. */
    assert_int_equal(saved, r->fake.n_calls - 1);
    assert_true(saved >= 3 && saved < chunks_of(r));
    bool had[MAX_CHUNKS];
    for (int i = 0; i < MAX_CHUNKS; i++)
        had[i] = r->memo.json[i];

    rig_again(r);
    assert_int_equal(rig_run(r), 0);
    assert_int_equal(r->memo.plans_saved, 0); /* the plan is the saved one */
    assert_int_equal(r->memo.chunks_loaded, saved);
    assert_int_equal(r->report.chunks_loaded, saved);
    assert_int_equal(r->memo.chunks_saved, chunks_of(r) - saved);
    assert_int_equal(r->fake.n_calls, chunks_of(r) - saved);
    for (int i = 0; i < r->fake.n_starts; i++)
        for (int k = 0; k < chunks_of(r); k++)
            if (r->memo.plan.chunks[k].span.start == r->fake.starts[i])
                assert_false(had[k]);
    assert_whole(r);

    /* With all of them saved nothing is left to run. */
    rig_again(r);
    assert_int_equal(rig_run(r), 0);
    assert_int_equal(r->fake.n_calls, 0);
    assert_whole(r);
    rig_free(r);
}

static void test_another_request_makes_another_plan(void **state)
{
    (void)state;
    static const struct {
        const char *sha, *language, *prompt, *model, *options;
    } changed[] = {
        {"other", NULL, NULL, NULL, NULL},         {"abc", "en", NULL, NULL, NULL},
        {"abc", NULL, "names", NULL, NULL},        {"abc", NULL, NULL, "big", NULL},
        {"abc", NULL, NULL, NULL, "{\"seed\":1}"},
    };
    for (size_t i = 0; i < ARRAY_LEN(changed); i++) {
        struct rig *r = rig_new(&fake_ops, speech);
        assert_int_equal(rig_run(r), 0);
        rig_again(r);
        r->opts.input_sha256 = changed[i].sha;
        r->opts.request.language = changed[i].language;
        r->opts.request.prompt = changed[i].prompt;
        r->opts.request.model = changed[i].model;
        r->opts.options = changed[i].options;
        assert_int_equal(rig_run(r), 0);
        assert_int_equal(r->memo.plans_saved, 1);
        assert_int_equal(r->memo.chunks_loaded, 0);
        assert_int_equal(r->fake.n_calls, chunks_of(r));
        assert_whole(r);
        rig_free(r);
    }
}

static void test_a_plan_of_another_length_is_void(void **state)
{
    (void)state;
    struct rig *r = rig_new(&fake_ops, speech);
    assert_int_equal(rig_run(r), 0);
    rig_again(r);
    r->memo.plan.total_samples++;
    assert_int_equal(rig_run(r), 0);
    assert_int_equal(r->memo.plans_saved, 1);
    assert_int_equal(r->fake.n_calls, chunks_of(r));
    rig_free(r);
}

static void test_chunks_too_long_for_the_engine_make_a_new_plan(void **state)
{
    (void)state;
    struct rig *r = rig_new(&fake_ops, speech);
    assert_int_equal(rig_run(r), 0);
    rig_again(r);
    struct plan_chunk whole = {{0, r->memo.plan.total_samples}, NULL, 0};
    r->memo.plan.chunks = &whole;
    r->memo.plan.n_chunks = 1;
    assert_int_equal(rig_run(r), 0);
    assert_int_equal(r->memo.plans_saved, 1);
    assert_true(chunks_of(r) > 1);
    rig_free(r);
}

static void test_sequential_chunks_get_the_state_before(void **state)
{
    (void)state;
    struct rig *r = rig_new(&fake_able_ops, speech);
    r->opts.request.sequential = true;
    r->opts.request.language = "en";
    r->fake.fail_call = 3;
    r->fake.fail_code = ERR_CRASHED;
    assert_int_equal(rig_run(r), ERR_CRASHED);
    assert_int_equal(r->memo.chunks_saved, 2);
    rig_again(r);
    assert_int_equal(rig_run(r), 0);
    assert_int_equal(r->fake.most_running, 1);
    assert_int_equal(r->fake.n_calls, chunks_of(r) - 2);
    for (int i = 0; i < r->fake.n_starts; i++) {
        char expect[64];
        assert_int_equal(r->fake.starts[i], r->memo.plan.chunks[i + 2].span.start);
        snprintf(expect, sizeof expect, "after %lld", (long long)r->memo.plan.chunks[i + 1].span.start);
        assert_string_equal(r->fake.previous[i], expect);
    }
    assert_whole(r);
    rig_free(r);
}

static void test_silence_calls_no_engine(void **state)
{
    (void)state;
    struct rig *r = rig_new(&fake_ops, silence);
    assert_int_equal(rig_run(r), 0);
    assert_int_equal(r->fake.n_calls, 0);
    assert_int_equal(r->t.n_segments, 0);
    assert_int_equal(r->t.speech_ms, 0);
    assert_int_equal(r->t.covered_ms, 0);
    assert_int_equal(r->t.duration_ms, 5000);
    assert_int_equal(r->memo.plans_saved, 1);
    assert_null(r->t.language);
    rig_free(r);
}

static void test_an_engine_without_pcm_reads_no_recording(void **state)
{
    (void)state;
    struct rig *r = rig_new(&fake_ops, NULL);
    struct engine *null = NULL;
    const struct engine_opts opts = {.name = "null", .slots = 1};
    assert_int_equal(engine_open(&opts, &null, &r->err), 0);
    r->opts.engine = null;
    r->opts.audio_path = "/nowhere";
    assert_int_equal(rig_run(r), 0);
    assert_int_equal(chunks_of(r), 1);
    assert_int_equal(r->t.n_segments, 1);
    assert_string_equal(r->t.quality, "test");
    assert_int_equal(r->t.duration_ms, 0);
    engine_close(null);
    rig_free(r);
}

static void test_what_is_no_recording_fails_at_decode(void **state)
{
    (void)state;
    struct rig *r = rig_new(&fake_ops, text_file);
    assert_int_equal(rig_run(r), ERR_CORRUPT);
    assert_int_equal(r->report.stage, STAGE_DECODE);
    assert_true(r->report.detail[0]);
    assert_int_equal(r->fake.n_calls, 0);
    assert_int_equal(r->memo.plans_saved, 0);
    rig_free(r);
}

static void test_a_damaged_recording_carries_a_warning(void **state)
{
    (void)state;
    struct rig *r = rig_new(&fake_ops, truncated);
    assert_int_equal(rig_run(r), 0);
    assert_non_null(r->t.warning);
    assert_true(r->memo.plan.damaged);
    assert_true(r->t.n_segments > 0);
    rig_free(r);
}

/* The disk is full as soon as some of the recording is decoded. */
static void fill_disk(void *arg, const struct progress *p)
{
    (void)p;
    ((struct pipeline_opts *)arg)->min_free_bytes = INT64_MAX / 2;
}

/* A damaged recording is decoded twice: without room for the second time the first is good enough. */
static void test_no_room_for_a_repair(void **state)
{
    (void)state;
    char fake[4096];
    ssize_t n = readlink("/proc/self/exe", fake, sizeof fake - 32);
    assert_true(n > 0);
    fake[n] = '\0';
    snprintf(strrchr(fake, '/'), 32, "/fake_ffmpeg");
    CLEANUP(free_p) char *path = xasprintf("%s/trick", folder);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_true(fputs("slow", f) >= 0);
    assert_int_equal(fclose(f), 0);
    struct rig *r = rig_new(&fake_ops, path);
    r->opts.decode.ffmpeg = fake;
    r->opts.min_free_bytes = 1;
    r->opts.hooks = (struct pipeline_hooks){.arg = &r->opts, .progress = fill_disk};
    struct intake in;
    assert_int_equal(intake_decode(&r->opts, &in, &r->report, &r->err), 0);
    assert_true(r->opts.min_free_bytes > 1);
    assert_true(in.damaged);
    assert_int_equal(pcm_length(in.pcm), 2 * AUDIO_RATE);
    assert_false(r->report.no_room);
    pcm_free(in.pcm);
    rig_free(r);
}

static void test_what_the_engine_refuses_is_not_decoded(void **state)
{
    (void)state;
    struct rig *r = rig_new(&fake_ops, text_file);
    r->fake.refuse = true;
    assert_int_equal(rig_run(r), ERR_UNSUPPORTED);
    assert_int_equal(r->report.stage, STAGE_CHECK);
    rig_free(r);
}

static void test_gaps_name_what_has_no_sure_text(void **state)
{
    (void)state;
    struct rig *r = rig_new(&fake_ops, speech);
    r->fake.suspect = true;
    assert_int_equal(rig_run(r), 0);
    assert_int_equal(r->t.n_gaps, chunks_of(r));
    assert_string_equal(r->t.gaps[0].why, "the fake doubts it");
    assert_int_equal(r->t.covered_ms, 0);
    rig_free(r);

    r = rig_new(&fake_ops, speech);
    r->fake.wordless = true;
    assert_int_equal(rig_run(r), 0);
    assert_int_equal(r->t.n_segments, 0);
    assert_int_equal(r->t.n_gaps, chunks_of(r));
    assert_int_equal(r->t.covered_ms, 0);
    assert_true(r->t.speech_ms > 5000);
    rig_free(r);
}

/* Speech behind the last segment of a chunk is a gap of its own, and not covered. */
static void test_holes_are_gaps(void **state)
{
    (void)state;
    struct rig *r = rig_new(&fake_ops, speech);
    r->fake.hole = true;
    assert_int_equal(rig_run(r), 0);
    assert_int_equal(r->t.n_gaps, chunks_of(r));
    assert_string_equal(r->t.gaps[0].why, "no words were recognised");
    assert_int_equal(r->t.gaps[0].end_ms - r->t.gaps[0].start_ms, 1500);
    assert_int_equal(r->t.speech_ms - r->t.covered_ms, 1500 * chunks_of(r));
    rig_free(r);
}

/* A language for all: asked for before the plan is saved, kept in it, and used by whoever goes on. */
static void test_the_majority_decides_the_language(void **state)
{
    (void)state;
    static const struct {
        const char *hears[5], *want;
        int millionths;
    } rows[] = {
        {{"de", "en", "de", "en", "de"}, "de", 300000},
        {{"de", "en", "de", "en", NULL}, "en", 240000}, /* of equals the surer */
        {{NULL, NULL, "fr", NULL, NULL}, "fr", 100000},
        {{NULL}, NULL, 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct rig *r = rig_new(&fake_able_ops, speech);
        memcpy(r->fake.hears, rows[i].hears, sizeof rows[i].hears);
        r->fake.fail_call = 3;
        r->fake.fail_code = ERR_TIMEOUT;
        assert_int_equal(rig_run(r), ERR_TIMEOUT);
        assert_int_equal(r->fake.n_questions, 5);
        assert_true(str_eq(r->memo.plan.heard, rows[i].want));
        rig_again(r);
        assert_int_equal(rig_run(r), 0);
        assert_int_equal(r->fake.n_questions, 0);
        assert_true(r->fake.n_starts > 0);
        for (int k = 0; k < r->fake.n_starts; k++)
            assert_string_equal(r->fake.languages[k], rows[i].want ? rows[i].want : "-");
        assert_int_equal((int)(r->t.language_probability * 1e6 + 0.5), rows[i].millionths);
        assert_whole(r);
        rig_free(r);
    }
}

static void test_when_no_language_is_asked_for(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        struct rig *r = rig_new(i == 2 ? &fake_ops : &fake_able_ops, speech);
        if (i == 0)
            r->opts.request.language = "en";
        r->opts.language_per_chunk = i == 1;
        assert_int_equal(rig_run(r), 0);
        assert_int_equal(r->fake.n_questions, 0);
        assert_null(r->memo.plan.heard);
        for (int k = 0; k < r->fake.n_starts; k++)
            assert_string_equal(r->fake.languages[k], i == 0 ? "en" : "-");
        rig_free(r);
    }
}

static void test_a_failed_question_ends_the_run(void **state)
{
    (void)state;
    struct rig *r = rig_new(&fake_able_ops, speech);
    r->fake.fail_question = 2;
    assert_int_equal(rig_run(r), ERR_TIMEOUT);
    assert_int_equal(r->report.stage, STAGE_ENGINE);
    assert_int_equal(r->memo.plans_saved, 0);
    assert_int_equal(r->fake.n_calls, 0);
    rig_free(r);
}

static void test_a_permanent_failure_stops_the_other_chunks(void **state)
{
    (void)state;
    struct rig *r = rig_new(&fake_ops, speech);
    r->fake.fail_call = 1;
    r->fake.fail_code = ERR_INVALID;
    r->fake.block = true; /* they would never end by themselves */
    assert_int_equal(rig_run(r), ERR_INVALID);
    assert_int_equal(r->report.stage, STAGE_ENGINE);
    assert_int_equal(r->memo.chunks_saved, 0);
    rig_free(r);
}

static void test_a_failing_hook_ends_the_run(void **state)
{
    (void)state;
    struct rig *r = rig_new(&fake_ops, speech);
    r->memo.fail_save_plan = ERR_UNAVAILABLE;
    assert_int_equal(rig_run(r), ERR_UNAVAILABLE);
    assert_int_equal(r->report.stage, STAGE_STORE);
    assert_int_equal(r->fake.n_calls, 0); /* no engine call before the plan is committed */
    rig_free(r);

    r = rig_new(&fake_ops, speech);
    r->memo.fail_save_chunk = ERR_LOST;
    r->memo.fail_after = 2;
    assert_int_equal(rig_run(r), ERR_LOST);
    assert_int_equal(r->report.stage, STAGE_STORE);
    assert_int_equal(r->memo.chunks_saved, 2);
    rig_free(r);

    r = rig_new(&fake_ops, speech);
    r->memo.fail_text = ERR_UNAVAILABLE;
    assert_int_equal(rig_run(r), ERR_UNAVAILABLE);
    assert_int_equal(r->report.stage, STAGE_STORE);
    rig_free(r);
}

static void test_cancel_at_every_stage(void **state)
{
    (void)state;
    /* Before the start. */
    struct rig *r = rig_new(&fake_ops, speech);
    cancel_set(&r->cancel);
    assert_int_equal(rig_run(r), ERR_CANCELLED);
    assert_int_equal(r->report.stage, STAGE_CHECK);
    rig_free(r);

    /* With the plan just saved: no engine call. */
    r = rig_new(&fake_ops, speech);
    r->memo.set_on_save_plan = &r->cancel;
    assert_int_equal(rig_run(r), ERR_CANCELLED);
    assert_int_equal(r->report.stage, STAGE_ENGINE);
    assert_int_equal(r->fake.n_calls, 0);
    rig_free(r);

    /* Inside the engine, which would go on for a minute. */
    r = rig_new(&fake_ops, speech);
    r->fake.block = true;
    r->fake.set_on_first_call = &r->cancel;
    int64_t began = clock_mono_ms();
    assert_int_equal(rig_run(r), ERR_CANCELLED);
    assert_true(clock_mono_ms() - began < BLOCK_GIVE_UP_MS / 2);
    assert_int_equal(r->memo.chunks_saved, 0);
    rig_free(r);

    /* After a checkpoint, which stays. */
    r = rig_new(&fake_ops, speech);
    r->memo.set_on_save_chunk = &r->cancel;
    assert_int_equal(rig_run(r), ERR_CANCELLED);
    assert_true(r->memo.chunks_saved >= 1 && r->memo.chunks_saved < chunks_of(r));
    rig_again(r);
    assert_int_equal(rig_run(r), 0);
    assert_whole(r);
    rig_free(r);
}

static void test_drain_lets_running_chunks_end(void **state)
{
    (void)state;
    struct rig *r = rig_new(&fake_ops, speech);
    r->fake.set_on_first_call = &r->drain;
    assert_int_equal(rig_run(r), ERR_CANCELLED);
    /* What was with the engine is saved; nothing else was started. */
    assert_true(r->fake.n_calls >= 1 && r->fake.n_calls <= SLOTS + 1);
    assert_int_equal(r->memo.chunks_saved, r->fake.n_calls);
    rig_again(r);
    assert_int_equal(rig_run(r), 0);
    assert_whole(r);
    rig_free(r);

    /* The slot does not go on with what is posted already. */
    r = rig_new(&fake_ops, speech);
    slots_free(r->slots);
    assert_int_equal(slots_new(1, &r->slots, &r->err), 0);
    r->opts.slots = r->slots;
    r->fake.set_on_first_call = &r->drain;
    assert_int_equal(rig_run(r), ERR_CANCELLED);
    assert_int_equal(r->fake.n_calls, 1);
    assert_int_equal(r->memo.chunks_saved, 1);
    rig_free(r);

    /* Before the first chunk there is nothing to wait for. */
    r = rig_new(&fake_ops, speech);
    cancel_set(&r->drain);
    assert_int_equal(rig_run(r), ERR_CANCELLED);
    assert_int_equal(r->report.stage, STAGE_DECODE);
    rig_free(r);
}

struct gate {
    struct slot_task task;
    atomic_bool open;
};

static void wait_at_gate(struct slot_task *t)
{
    struct gate *g = CONTAINER_OF(t, struct gate, task);
    while (!atomic_load(&g->open))
        clock_sleep_ms(1);
}

static void *cancel_soon(void *arg)
{
    clock_sleep_ms(500); /* so that chunks are posted by then; when they are not, the test proves less */
    cancel_set(arg);
    return NULL;
}

/* All slots are taken by another job: a cancel does not wait for them. */
static void test_cancel_waits_for_no_other_job(void **state)
{
    (void)state;
    struct rig *r = rig_new(&fake_ops, speech);
    struct lane *other = lane_open(r->slots);
    struct gate gates[SLOTS];
    for (int i = 0; i < SLOTS; i++) {
        gates[i] = (struct gate){.task = {.run = wait_at_gate}};
        lane_post(other, &gates[i].task);
    }
    pthread_t t;
    assert_int_equal(thread_start(&t, "cancel", cancel_soon, &r->cancel, &r->err), 0);
    assert_int_equal(rig_run(r), ERR_CANCELLED); /* would never come back */
    pthread_join(t, NULL);
    assert_int_equal(r->fake.n_calls, 0);
    for (int i = 0; i < SLOTS; i++)
        atomic_store(&gates[i].open, true);
    for (int i = 0; i < SLOTS; i++)
        assert_non_null(lane_next(other, BLOCK_GIVE_UP_MS));
    lane_close(other);
    rig_free(r);
}

static void test_without_hooks(void **state)
{
    (void)state;
    struct rig *r = rig_new(&fake_ops, speech);
    r->opts.hooks = (struct pipeline_hooks){0};
    r->opts.drain = NULL;
    r->opts.cancel = NULL;
    assert_int_equal(rig_run(r), 0);
    assert_true(r->t.n_segments >= 5);
    rig_free(r);
}

static int setup(void **state)
{
    (void)state;
    static const char *const sentences[] = {
        "The first sentence is short.",    "The second one is a little longer than that.",
        "Then comes the third of them.",   "Four is the number of this sentence.",
        "Here is another one, the fifth.", "And this is the end of it all.",
    };
    struct err err = ERR_INIT;
    char template[] = "/tmp/steno-test-pipeline-XXXXXX";
    if (!mkdtemp(template))
        return -1;
    folder = xstrdup(template);
    speech = xasprintf("%s/speech.wav", folder);
    silence = xasprintf("%s/silence.wav", folder);
    text_file = xasprintf("%s/text.mp3", folder);
    truncated = xasprintf("%s/truncated.flac", folder);
    int rc = speech_make(folder, "speech.wav", sentences, ARRAY_LEN(sentences), &err);
    if (rc == 0)
        rc = speech_make(folder, "whole.flac", sentences, ARRAY_LEN(sentences), &err);
    if (rc == 0)
        rc = speech_silence(silence, "5", &err);
    CLEANUP(free_p) char *whole = xasprintf("%s/whole.flac", folder), *content = NULL;
    size_t n = 0;
    FILE *f = NULL;
    if (rc == 0)
        rc = io_read_file(whole, 10 << 20, &content, &n, &err);
    if (rc == 0 && (!(f = fopen(truncated, "wb")) || fwrite(content, 1, n / 2, f) != n / 2 || fclose(f)))
        rc = -1;
    if (rc == 0 && (!(f = fopen(text_file, "wb")) || fputs("this is no recording at all\n", f) < 0 || fclose(f)))
        rc = -1;
    if (rc < 0)
        fprintf(stderr, "setup: %s\n", err.msg);
    return rc;
}

static int teardown(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    int rc = io_remove_tree(folder, &err);
    free(folder);
    free(speech);
    free(silence);
    free(text_file);
    free(truncated);
    return rc;
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "__decode") == 0)
        return decode_child_main(argc, argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_speech_becomes_a_transcript),
        cmocka_unit_test(test_a_full_disk_is_told_apart),
        cmocka_unit_test(test_a_recording_that_is_too_long),
        cmocka_unit_test(test_finished_chunks_are_not_run_again),
        cmocka_unit_test(test_another_request_makes_another_plan),
        cmocka_unit_test(test_a_plan_of_another_length_is_void),
        cmocka_unit_test(test_chunks_too_long_for_the_engine_make_a_new_plan),
        cmocka_unit_test(test_sequential_chunks_get_the_state_before),
        cmocka_unit_test(test_silence_calls_no_engine),
        cmocka_unit_test(test_an_engine_without_pcm_reads_no_recording),
        cmocka_unit_test(test_what_is_no_recording_fails_at_decode),
        cmocka_unit_test(test_a_damaged_recording_carries_a_warning),
        cmocka_unit_test(test_no_room_for_a_repair),
        cmocka_unit_test(test_what_the_engine_refuses_is_not_decoded),
        cmocka_unit_test(test_gaps_name_what_has_no_sure_text),
        cmocka_unit_test(test_holes_are_gaps),
        cmocka_unit_test(test_the_majority_decides_the_language),
        cmocka_unit_test(test_when_no_language_is_asked_for),
        cmocka_unit_test(test_a_failed_question_ends_the_run),
        cmocka_unit_test(test_a_permanent_failure_stops_the_other_chunks),
        cmocka_unit_test(test_a_failing_hook_ends_the_run),
        cmocka_unit_test(test_cancel_at_every_stage),
        cmocka_unit_test(test_drain_lets_running_chunks_end),
        cmocka_unit_test(test_cancel_waits_for_no_other_job),
        cmocka_unit_test(test_without_hooks),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
