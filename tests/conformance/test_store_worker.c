/* SPDX-License-Identifier: MIT */
/* The job store as workers see it: claims, checkpoints, ends, fencing and the poison guard of src/job/store.h. */
#include "store_helpers.h"

/* ---- claim ---- */

static void test_a_claim_sets_lease_fence_and_attempt(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    struct ids id = submit(f, QUEUE_NORMAL);
    struct job j;
    pass(10);
    assert_int_equal(try_claim(f, "w1", false, &j), 1);
    assert_string_equal(j.id, id.id);
    assert_int_equal(j.state, JOB_PROCESSING);
    assert_int_equal(j.attempt, 1);
    assert_int_equal(j.fence, 1);
    assert_int_equal(j.seq, 2);
    assert_string_equal(j.lease_holder, "w1");
    assert_int_equal(j.lease_until, 1000010 + 30000);
    assert_int_equal(j.started_at, 1000010);
    assert_int_equal(j.updated_at, 1000010);
    struct claim c = {j.id, "w1", j.fence};
    int64_t seq = 0;
    OK(store_retry_later(f->store, &c, &a_failure, 0, &seq, &e));
    assert_int_equal(seq, 3);
    pass(10);
    assert_int_equal(try_claim(f, "w2", false, &j), 1);
    assert_int_equal(j.attempt, 2);
    assert_int_equal(j.fence, 2);
    assert_int_equal(j.started_at, 1000010); /* the first claim's */
    assert_string_equal(j.lease_holder, "w2");
}

static void test_renewing_and_losing(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    struct held held[8];
    size_t n = 99;
    int64_t seq;
    submit(f, QUEUE_NORMAL);
    submit(f, QUEUE_NORMAL);
    submit(f, QUEUE_NORMAL);
    struct claim a = claim(f, "w1"), b = claim(f, "w1"), other = claim(f, "w2");
    pass(20000);
    OK(store_renew(f->store, "w1", 30000, held, ARRAY_LEN(held), &n, &e));
    assert_int_equal(n, 2);
    assert_int_equal(get(f, a.id).lease_until, fixture_clock() + 30000);
    assert_int_equal(get(f, b.id).lease_until, fixture_clock() + 30000);
    assert_int_equal(get(f, other.id).lease_until, fixture_clock() + 10000); /* not its own */
    assert_int_equal(get(f, a.id).seq, 2);                                   /* nobody needs an event for that */
    OK(store_cancel(f->store, a.id, &seq, &e));
    OK(store_held(f->store, "w1", held, ARRAY_LEN(held), &n, &e));
    assert_int_equal(n, 1);
    assert_string_equal(held[0].id, b.id);
    assert_int_equal(held[0].fence, b.fence);
    OK(store_renew(f->store, "w1", 30000, held, ARRAY_LEN(held), &n, &e));
    assert_int_equal(n, 1);
    OK(store_renew(f->store, "nobody", 30000, held, ARRAY_LEN(held), &n, &e));
    assert_int_equal(n, 0);
    OK(store_held(f->store, "w2", held, 0, &n, &e)); /* room is respected */
    assert_int_equal(n, 0);
}

static void test_several_at_once(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    struct ids ids[5];
    struct claimed claimed[CLAIM_MAX];
    const struct claim_opts o = {.holder = "w", .lease_ms = 30000};
    for (int i = 0; i < 5; i++) {
        ids[i] = submit(f, i == 4 ? QUEUE_HIGH : QUEUE_NORMAL);
        pass(1);
    }
    for (int i = 0; i < CLAIM_MAX; i++)
        claimed[i].arena = &f->arena;
    assert_int_equal(OK(store_claim(f->store, &o, claimed, 2, &e)), 2);
    assert_string_equal(claimed[0].job.id, ids[4].id); /* in the order of single claims */
    assert_string_equal(claimed[1].job.id, ids[0].id);
    assert_int_equal(claimed[1].job.fence, 1);
    assert_int_equal(OK(store_claim(f->store, &o, claimed, CLAIM_MAX, &e)), 3); /* as many as there are */
    for (int i = 0; i < 3; i++)
        assert_string_equal(claimed[i].job.id, ids[i + 1].id);
    assert_int_equal(OK(store_claim(f->store, &o, claimed, CLAIM_MAX, &e)), 0);
    FAILS(ERR_INTERNAL, "17 jobs", store_claim(f->store, &o, claimed, CLAIM_MAX + 1, &e));
    FAILS(ERR_INTERNAL, "0 jobs", store_claim(f->store, &o, claimed, 0, &e));
}

/* All or none: the second has no room, so the first goes back too. */
static void test_of_several_none_is_kept_when_one_cannot_be_handed_out(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    struct ids ids[2] = {submit(f, QUEUE_NORMAL), submit(f, QUEUE_NORMAL)};
    struct arena small = ARENA_INIT;
    struct claimed claimed[2] = {{.arena = &f->arena}, {.arena = &small}};
    small.max = 100;
    FAILS(ERR_NOMEM, "out of memory",
          store_claim(f->store, &(struct claim_opts){.holder = "w", .lease_ms = 30000}, claimed, 2, &e));
    arena_clear(&small);
    for (int i = 0; i < 2; i++)
        assert_int_equal(get(f, ids[i].id).state, JOB_PENDING);
}

static void test_a_claim_that_cannot_be_handed_out_is_not_kept(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    struct ids id = submit(f, QUEUE_NORMAL);
    struct arena small = ARENA_INIT;
    struct claimed claimed = {.arena = &small, .job = {.fence = -7}};
    struct job j;
    struct claim_opts o = {.holder = "w", .lease_ms = 30000};
    small.max = 100;
    FAILS(ERR_NOMEM, "out of memory", store_claim(f->store, &o, &claimed, 1, &e));
    assert_int_equal(claimed.job.fence, -7);
    FAILS(ERR_NOMEM, "out of memory", store_get(f->store, id.id, &small, &j, &e));
    arena_clear(&small);
    j = get(f, id.id);
    assert_int_equal(j.state, JOB_PENDING);
    assert_int_equal(j.attempt, 0);
    assert_string_equal(claim(f, "w").id, id.id);
}

/* ---- plan and chunks ---- */

static void test_checkpoints(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    struct job_chunk *chunks = NULL;
    size_t n = 99;
    int64_t seq = 0;
    submit(f, QUEUE_NORMAL);
    struct claim c = planned(f, "w", 3);
    struct job j = get(f, c.id);
    assert_string_equal(j.plan, "{\"plan\":1}");
    assert_int_equal(j.chunks_total, 3);
    assert_int_equal(j.duration_ms, 60000);
    assert_int_equal(j.seq, 3);
    OK(store_load_chunks(f->store, c.id, &f->arena, &chunks, &n, &e));
    assert_int_equal(n, 0);

    struct job_chunk k = {.idx = 2,
                          .start_sample = 320000,
                          .end_sample = 480000,
                          .engine_ms = 77,
                          .result = "[{\"t\":\"x\"}]",
                          .engine_state = "prev"};
    pass(5);
    OK(store_save_chunk(f->store, &c, &k, 20000, &seq, &e));
    assert_int_equal(seq, 4);
    OK(save_chunk(f, &c, 0, &seq, &e));
    assert_int_equal(seq, 5);
    j = get(f, c.id);
    assert_int_equal(j.chunks_done, 2);
    assert_int_equal(j.progress_ms, 1000);
    OK(store_load_chunks(f->store, c.id, &f->arena, &chunks, &n, &e));
    assert_int_equal(n, 2);
    assert_int_equal(chunks[0].idx, 0);
    assert_null(chunks[0].engine_state);
    assert_int_equal(chunks[1].idx, 2);
    assert_int_equal(chunks[1].start_sample, 320000);
    assert_int_equal(chunks[1].end_sample, 480000);
    assert_int_equal(chunks[1].engine_ms, 77);
    assert_int_equal(chunks[1].finished_at, 1000005);
    assert_string_equal(chunks[1].result, k.result);
    assert_string_equal(chunks[1].engine_state, "prev");

    FAILS(ERR_CONFLICT, "", save_chunk(f, &c, 0, &seq, &e));
    FAILS(ERR_LOST, "not in the plan", save_chunk(f, &c, 3, &seq, &e));
    FAILS(ERR_INTERNAL, "not in the plan", save_chunk(f, &c, -1, &seq, &e));
    j = get(f, c.id);
    assert_int_equal(j.chunks_done, 2);
    assert_int_equal(j.seq, 5);
}

static void test_another_plan_drops_checkpoints_the_same_keeps_them(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    int64_t seq = 0;
    submit(f, QUEUE_NORMAL);
    struct claim c = planned(f, "w", 2);
    OK(save_chunk(f, &c, 0, &seq, &e));
    OK(store_save_plan(f->store, &c, "{\"plan\":1}", 2, 60000, &seq, &e));
    struct job j = get(f, c.id);
    assert_int_equal(j.chunks_done, 1);
    assert_int_equal(j.progress_ms, 1000);
    OK(store_save_plan(f->store, &c, "{\"plan\":2}", 5, 61000, &seq, &e));
    j = get(f, c.id);
    assert_int_equal(j.seq, seq);
    assert_int_equal(j.chunks_done, 0);
    assert_int_equal(j.progress_ms, 0);
    assert_int_equal(j.chunks_total, 5);
    assert_int_equal(j.duration_ms, 61000);
    assert_string_equal(j.plan, "{\"plan\":2}");
    assert_int_equal(fixture_int(f->db, "SELECT count(*) FROM chunks"), 0);
    OK(save_chunk(f, &c, 0, &seq, &e));
}

static void test_checkpoints_outlive_the_claim(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    struct job_chunk *chunks = NULL;
    size_t n = 0;
    int64_t seq = 0;
    submit(f, QUEUE_NORMAL);
    struct claim c = planned(f, "w1", 2);
    OK(save_chunk(f, &c, 0, &seq, &e));
    OK(store_hand_back(f->store, &c, 0, &seq, &e));
    c = claim(f, "w2");
    OK(store_load_chunks(f->store, c.id, &f->arena, &chunks, &n, &e));
    assert_int_equal(n, 1);
    OK(save_chunk(f, &c, 1, &seq, &e));
    OK(store_complete(f->store, &c, &a_result, &seq, &e));
}

/* ---- ends ---- */

static void test_complete_writes_the_result(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    struct job_result r;
    int64_t seq = 0;
    struct ids id = submit(f, QUEUE_NORMAL);
    FAILS(ERR_CONFLICT, "is pending: it has no transcript yet", store_get_result(f->store, id.id, &f->arena, &r, &e));
    struct claim c = planned(f, "w", 1);
    struct job_result w = {.result_key = "results/k/1/t.json",
                           .text = "hello\nworld",
                           .language = "en",
                           .engine = "null",
                           .model = "none",
                           .duration_ms = 60123,
                           .speech_ms = 50000,
                           .covered_ms = 49000,
                           .word_count = 2,
                           .processing_ms = 777,
                           .confidence = 0.25,
                           .language_probability = 0.75,
                           .warning = "it is cold"};
    FAILS(ERR_LOST, "0 of 1 chunks", store_complete(f->store, &c, &w, &seq, &e));
    assert_int_equal(get(f, id.id).state, JOB_PROCESSING);
    FAILS(ERR_CONFLICT, "is processing: it has no transcript yet",
          store_get_result(f->store, id.id, &f->arena, &r, &e));
    OK(save_chunk(f, &c, 0, &seq, &e));
    pass(7);
    OK(store_complete(f->store, &c, &w, &seq, &e));
    struct job j = get(f, id.id);
    assert_int_equal(j.state, JOB_COMPLETED);
    assert_int_equal(j.seq, seq);
    assert_int_equal(j.finished_at, 1000007);
    assert_int_equal(j.duration_ms, 60123);
    assert_int_equal(j.progress_ms, 60123);
    assert_int_equal(j.lease_until, 0);
    assert_string_equal(j.lease_holder, "w"); /* who did it */
    OK(store_get_result(f->store, id.id, &f->arena, &r, &e));
    assert_int_equal(r.fence, 1);
    assert_string_equal(r.result_key, w.result_key);
    assert_string_equal(r.text, w.text);
    assert_string_equal(r.language, "en");
    assert_string_equal(r.engine, "null");
    assert_string_equal(r.model, "none");
    assert_int_equal(r.duration_ms, 60123);
    assert_int_equal(r.speech_ms, 50000);
    assert_int_equal(r.covered_ms, 49000);
    assert_int_equal(r.word_count, 2);
    assert_int_equal(r.processing_ms, 777);
    assert_int_equal(r.created_at, 1000007);
    assert_true(r.confidence == 0.25);
    assert_true(r.language_probability == 0.75);
    assert_string_equal(r.warning, "it is cold");
    struct ids other = completed(f);
    OK(store_get_result(f->store, other.id, &f->arena, &r, &e));
    assert_true(r.confidence == -1);
    assert_true(r.language_probability == 0);
    assert_null(r.warning);
    assert_null(r.language);
    FAILS(ERR_NOT_FOUND, "no job", store_get_result(f->store, "x", &f->arena, &r, &e));
    other = failed(f);
    FAILS(ERR_CONFLICT, "is failed: it has no transcript", store_get_result(f->store, other.id, &f->arena, &r, &e));
}

static void test_a_short_job_is_completed_in_one(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    struct job_result r;
    struct job_chunk k = {.start_sample = 5, .end_sample = 99, .result = "[1]", .engine_state = "s", .engine_ms = 7};
    struct job_chunk *chunks = NULL;
    struct follow told;
    size_t n = 0;
    int64_t seq = 0;
    struct ids id = submit(f, QUEUE_NORMAL);
    struct claim c = claim(f, "w"), stale = c;
    stale.fence--;
    FAILS(ERR_LOST, "no longer held", store_complete_whole(f->store, &stale, "{}", &k, &a_result, &seq, &e));
    FAILS(ERR_CONFLICT, "no transcript yet", store_get_result(f->store, id.id, &f->arena, &r, &e));
    pass(3);
    OK(store_complete_whole(f->store, &c, "{\"plan\":1}", &k, &a_result, &seq, &e));
    struct job j = get(f, id.id);
    assert_int_equal(j.state, JOB_COMPLETED);
    assert_int_equal(j.seq, seq);
    assert_int_equal(j.finished_at, 1000003);
    assert_int_equal(j.chunks_total, 1);
    assert_int_equal(j.chunks_done, 1);
    assert_int_equal(j.lease_until, 0);
    assert_string_equal(j.plan, "{\"plan\":1}");
    OK(store_get_result(f->store, id.id, &f->arena, &r, &e));
    assert_string_equal(r.text, a_result.text);
    OK(store_load_chunks(f->store, id.id, &f->arena, &chunks, &n, &e));
    assert_int_equal(n, 1);
    assert_int_equal(chunks[0].idx, 0);
    assert_int_equal(chunks[0].start_sample, 5);
    assert_int_equal(chunks[0].end_sample, 99);
    assert_int_equal(chunks[0].engine_ms, 7);
    assert_int_equal(chunks[0].finished_at, 1000003);
    assert_string_equal(chunks[0].result, "[1]");
    assert_string_equal(chunks[0].engine_state, "s");
    OK(store_follow(f->store, id.id, &(struct follow_opts){.after = 1, .max_chunks = 8}, &f->arena, &told, &e));
    assert_int_equal(told.n_chunks, 1);
    assert_int_equal(told.numbers[0], seq - 1);
    assert_true(told.has_result);
    FAILS(ERR_LOST, "no longer held", store_complete_whole(f->store, &c, "{}", &k, &a_result, &seq, &e));

    id = submit(f, QUEUE_NORMAL); /* in which nobody speaks */
    c = claim(f, "w");
    OK(store_complete_whole(f->store, &c, "{}", NULL, &a_result, &seq, &e));
    j = get(f, id.id);
    assert_int_equal(j.state, JOB_COMPLETED);
    assert_int_equal(j.seq, seq);
    assert_int_equal(j.chunks_total, 0);
    OK(store_load_chunks(f->store, id.id, &f->arena, &chunks, &n, &e));
    assert_int_equal(n, 0);

    id = submit(f, QUEUE_NORMAL); /* whose plan stands: checkpoints may, too */
    c = planned(f, "w", 1);
    FAILS(ERR_LOST, "", store_complete_whole(f->store, &c, "{}", &k, &a_result, &seq, &e));
    assert_int_equal(get(f, id.id).state, JOB_PROCESSING);
}

static void test_a_retry_goes_to_the_retry_queue_with_an_error_row(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    struct error_page page;
    int64_t seq = 0;
    struct ids id = submit(f, QUEUE_HIGH);
    OK(store_mark_announced(f->store, id.id, &e));
    assert_int_equal(get(f, id.id).announced_at, 1000000);
    assert_int_equal(get(f, id.id).seq, 1);
    struct claim c = claim(f, "w");
    OK(store_mark_announced(f->store, id.id, &e)); /* too late, and harmless */
    OK(store_retry_later(f->store, &c, &a_failure, 9000, &seq, &e));
    struct job j = get(f, id.id);
    assert_int_equal(j.state, JOB_PENDING);
    assert_int_equal(j.queue, QUEUE_RETRY);
    assert_int_equal(j.run_after, 1009000);
    assert_int_equal(j.announced_at, 0);
    assert_int_equal(j.attempt, 1); /* used up */
    assert_int_equal(j.lease_until, 0);
    assert_string_equal(j.error_class, "timeout");
    assert_string_equal(j.error_message, "too slow");
    OK(store_list_errors(f->store, &(struct error_filter){.limit = 10}, &f->arena, &page, &e));
    assert_int_equal(page.n, 0); /* no dead letter */
    OK(store_list_errors(f->store, &(struct error_filter){.all = true, .limit = 10}, &f->arena, &page, &e));
    assert_int_equal(page.n, 1);
    assert_int_equal(page.errors[0].attempt, 1);
    assert_false(page.errors[0].dead);
    pass(9000);
    c = claim(f, "w");
    OK(store_complete(f->store, &c, &a_result, &seq, &e));
    assert_null(get(f, id.id).error_message); /* it went well in the end */
}

static void test_handing_back_costs_nothing(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    int64_t seq = 0;
    struct ids id = submit(f, QUEUE_HIGH);
    for (int i = 0; i < 10; i++) {
        struct claim c = claim(f, "w");
        OK(store_hand_back(f->store, &c, 0, &seq, &e));
    }
    struct job j = get(f, id.id);
    assert_int_equal(j.state, JOB_PENDING);
    assert_int_equal(j.queue, QUEUE_HIGH);
    assert_int_equal(j.attempt, 0);
    assert_int_equal(j.deaths, 0);
    assert_int_equal(j.fence, 10);
    assert_int_equal(j.seq, 21);
    assert_int_equal(fixture_int(f->db, "SELECT count(*) FROM error_logs"), 0);
}

static void test_failing_is_a_dead_letter(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    struct error_page page;
    struct job_error one;
    struct ids id = failed(f);
    struct job j = get(f, id.id);
    assert_int_equal(j.state, JOB_FAILED);
    assert_int_equal(j.finished_at, 1000000);
    assert_string_equal(j.error_class, "timeout");
    OK(store_list_errors(f->store, &(struct error_filter){.limit = 10}, &f->arena, &page, &e));
    assert_int_equal(page.n, 1);
    OK(store_get_error(f->store, page.errors[0].id, &f->arena, &one, &e));
    assert_string_equal(one.job_id, id.id);
    assert_string_equal(one.filename, "talk.mp3");
    assert_string_equal(one.error_class, "timeout");
    assert_string_equal(one.message, "too slow");
    assert_string_equal(one.stage, "decode");
    assert_string_equal(one.detail, "stderr");
    assert_string_equal(one.worker, "w1");
    assert_int_equal(one.attempt, 1);
    assert_true(one.dead);
    assert_false(one.resolved);
    assert_int_equal(one.created_at, 1000000);
    pass(3);
    OK(store_resolve_error(f->store, one.id, &e));
    pass(3);
    OK(store_resolve_error(f->store, one.id, &e));
    OK(store_get_error(f->store, one.id, &f->arena, &one, &e));
    assert_true(one.resolved);
    assert_int_equal(one.resolved_at, 1000003); /* the first time counts */
    OK(store_list_errors(f->store, &(struct error_filter){.limit = 10}, &f->arena, &page, &e));
    assert_int_equal(page.n, 0);
    FAILS(ERR_NOT_FOUND, "no error", store_get_error(f->store, "x", &f->arena, &one, &e));
    FAILS(ERR_NOT_FOUND, "no error", store_resolve_error(f->store, "x", &e));
}

static void test_foreign_texts_are_cleaned_and_cut(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    struct error_page page;
    int64_t seq;
    size_t size = 1 << 20;
    char *big = malloc(size);
    assert_non_null(big);
    memset(big, '\xff', size - 1);
    big[size - 1] = '\0';
    submit(f, QUEUE_NORMAL);
    struct claim c = claim(f, "w");
    OK(store_fail(f->store, &c, &(struct job_failure){.message = "bad \xe4", .detail = big}, &seq, &e));
    free(big);
    OK(store_list_errors(f->store, &(struct error_filter){.limit = 10}, &f->arena, &page, &e));
    assert_string_equal(page.errors[0].message, "bad \xef\xbf\xbd");
    assert_string_equal(page.errors[0].error_class, "internal");
    assert_string_equal(page.errors[0].stage, "");
    assert_in_range(strlen(page.errors[0].detail), 1, 32768);
    assert_null(page.errors[0].worker);
}

/* ---- fencing ---- */

/* Every write of a worker, for one that has lost its claim. */
static void check_lost(struct fixture *f, const struct claim *stale)
{
    struct err e = ERR_INIT;
    int64_t seq = -7;
    struct job before = get(f, stale->id);
    int64_t rows = fixture_int(f->db, "SELECT (SELECT count(*) FROM chunks) + (SELECT count(*) FROM results) + "
                                      "(SELECT count(*) FROM error_logs)");
    FAILS(ERR_LOST, "no longer held", store_save_plan(f->store, stale, "{\"stale\":1}", 9, 9, &seq, &e));
    FAILS(ERR_LOST, "no longer held", save_chunk(f, stale, 1, &seq, &e));
    FAILS(ERR_LOST, "no longer held", store_complete(f->store, stale, &a_result, &seq, &e));
    FAILS(ERR_LOST, "no longer held", store_retry_later(f->store, stale, &a_failure, 0, &seq, &e));
    FAILS(ERR_LOST, "no longer held", store_fail(f->store, stale, &a_failure, &seq, &e));
    FAILS(ERR_LOST, "no longer held", store_hand_back(f->store, stale, 0, &seq, &e));
    assert_int_equal(seq, -7);
    struct job after = get(f, stale->id);
    assert_int_equal(after.seq, before.seq);
    assert_int_equal(after.state, before.state);
    assert_int_equal(after.updated_at, before.updated_at);
    assert_int_equal(after.chunks_done, before.chunks_done);
    assert_int_equal(rows, fixture_int(f->db, "SELECT (SELECT count(*) FROM chunks) + (SELECT count(*) FROM results) + "
                                              "(SELECT count(*) FROM error_logs)"));
}

static void test_a_stale_claim_writes_nothing(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    struct swept *swept;
    size_t n;
    int64_t seq;
    submit(f, QUEUE_NORMAL);
    struct claim first = planned(f, "w1", 3);
    OK(save_chunk(f, &first, 0, &seq, &e));
    pass(100000); /* time alone loses nothing */
    OK(save_chunk(f, &first, 2, &seq, &e));
    OK(store_expire_leases(f->store, 10, &f->arena, &swept, &n, &e));
    assert_int_equal(n, 1);
    check_lost(f, &first); /* pending */
    struct claim second = claim(f, "w1");
    check_lost(f, &first); /* held again by the same worker under the next fence */
    const struct claim wrong[] = {
        {second.id, "w0", second.fence},
        {second.id, "w2", second.fence},
        {second.id, "", second.fence},
        {second.id, "w1", second.fence + 1},
    };
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
        check_lost(f, &wrong[i]);
    OK(save_chunk(f, &second, 1, &seq, &e));
    OK(store_complete(f->store, &second, &a_result, &seq, &e));
    check_lost(f, &second); /* completed: also its own claim is over */
    check_lost(f, &first);
    struct claim nobody = {"00000000-0000-7000-8000-000000000000", "w1", 1};
    FAILS(ERR_LOST, "no longer held", store_hand_back(f->store, &nobody, 0, &seq, &e));
}

static void test_ends_leave_no_claim(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    int64_t seq;
    submit(f, QUEUE_NORMAL);
    struct claim c = planned(f, "w", 3);
    OK(store_hand_back(f->store, &c, 0, &seq, &e));
    check_lost(f, &c);
    c = claim(f, "w");
    OK(store_retry_later(f->store, &c, &a_failure, 0, &seq, &e));
    check_lost(f, &c);
    c = claim(f, "w");
    OK(store_fail(f->store, &c, &a_failure, &seq, &e));
    check_lost(f, &c);
    OK(store_retry_failed(f->store, c.id, &seq, &e));
    check_lost(f, &c);
    c = claim(f, "w");
    OK(store_cancel(f->store, c.id, &seq, &e));
    check_lost(f, &c);
}

/* ---- a clock that was wrong ---- */

static void test_times_of_a_clock_that_was_ahead_are_put_right(void **state)
{
    enum { HOUR = 3600000, LEASE = 30000 };
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    int64_t seq;
    int n;
    struct ids waits = submit(f, QUEUE_NORMAL);
    struct claim c = claim(f, "w");
    OK(store_retry_later(f->store, &c, &a_failure, 3 * HOUR, &seq, &e));
    pass(2 * HOUR); /* ahead from here */
    struct ids held = submit(f, QUEUE_HIGH);
    pass(1);
    struct ids later = submit(f, QUEUE_HIGH);
    claim(f, "dead");
    c = claim(f, "w");
    OK(store_retry_later(f->store, &c, &a_failure, 5000, &seq, &e));
    pass(5000);
    OK(store_mark_announced(f->store, later.id, &e)); /* its wake-up is used up by now */
    pass(-2 * HOUR - 5001);

    OK(store_mend_times(f->store, LEASE, 10, &n, &e));
    assert_int_equal(n, 2);
    assert_int_equal(get(f, held.id).lease_until, fixture_clock() + LEASE);
    assert_int_equal(get(f, later.id).run_after, fixture_clock() + 5000);
    assert_int_equal(get(f, later.id).announced_at, 0);
    assert_int_equal(get(f, waits.id).run_after, fixture_clock() + 3 * HOUR); /* a long wait is none of this */
    OK(store_mend_times(f->store, LEASE, 10, &n, &e));
    assert_int_equal(n, 0);
    FAILS(ERR_INVALID, "1 to 1000", store_mend_times(f->store, LEASE, 0, &n, &e));
}

/* ---- the poison guard ---- */

/* The lease of whatever is in work runs out; one job must be swept. */
static struct swept expire_one(struct fixture *f)
{
    struct err e = ERR_INIT;
    struct swept *swept = NULL;
    size_t n = 0;
    pass(30000);
    OK(store_expire_leases(f->store, 10, &f->arena, &swept, &n, &e));
    assert_int_equal(n, 0); /* on the millisecond it still holds */
    pass(1);
    OK(store_expire_leases(f->store, 10, &f->arena, &swept, &n, &e));
    assert_int_equal(n, 1);
    return swept[0];
}

static void test_three_deaths_without_progress_dead_letter(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    struct job j;
    struct error_page page;
    struct ids id = submit(f, QUEUE_NORMAL);

    claim(f, "w1");
    struct swept s = expire_one(f);
    assert_string_equal(s.id, id.id);
    assert_false(s.dead);
    assert_int_equal(s.seq, 3);
    j = get(f, id.id);
    assert_int_equal(j.state, JOB_PENDING);
    assert_int_equal(j.deaths, 1);
    assert_int_equal(j.attempt, 0); /* given back */
    assert_int_equal(j.run_after, fixture_clock());
    assert_int_equal(j.announced_at, 0);

    /* After one death only an idle worker gets it, and others do not wait behind it. */
    assert_int_equal(try_claim(f, "busy", false, &j), 0);
    pass(1);
    struct ids next = submit(f, QUEUE_NORMAL);
    assert_int_equal(try_claim(f, "busy", false, &j), 1);
    assert_string_equal(j.id, next.id);
    struct claim other = {j.id, "busy", j.fence};
    int64_t seq;
    OK(store_complete(f->store, &other, &a_result, &seq, &e));
    assert_int_equal(try_claim(f, "w2", true, &j), 1);
    assert_string_equal(j.id, id.id);
    assert_int_equal(j.deaths, 1); /* by which the worker knows to run nothing beside it */

    /* After two it rests, and then again is for idle workers first. */
    expire_one(f);
    j = get(f, id.id);
    assert_int_equal(j.deaths, 2);
    assert_int_equal(j.run_after, fixture_clock() + 10000);
    assert_int_equal(try_claim(f, "w3", true, &j), 0);
    pass(9999);
    assert_int_equal(try_claim(f, "w3", true, &j), 0);
    pass(1);
    assert_int_equal(try_claim(f, "busy", false, &j), 0);
    pass(59999);
    assert_int_equal(try_claim(f, "busy", false, &j), 0);
    pass(1); /* the patience ends: it must not starve */
    assert_int_equal(try_claim(f, "busy", false, &j), 1);

    s = expire_one(f);
    assert_true(s.dead);
    j = get(f, id.id);
    assert_int_equal(j.state, JOB_FAILED);
    assert_int_equal(j.deaths, 3);
    assert_int_equal(j.seq, s.seq);
    assert_int_equal(j.finished_at, fixture_clock());
    assert_string_equal(j.error_class, "crashed");
    OK(store_list_errors(f->store, &(struct error_filter){.limit = 10}, &f->arena, &page, &e));
    assert_int_equal(page.n, 1);
    assert_string_equal(page.errors[0].worker, "busy");
    assert_non_null(strstr(page.errors[0].message, "3 workers died"));
    OK(store_list_errors(f->store, &(struct error_filter){.all = true, .limit = 10}, &f->arena, &page, &e));
    assert_int_equal(page.n, 3);

    OK(store_retry_failed(f->store, id.id, &seq, &e));
    assert_int_equal(get(f, id.id).deaths, 0);
}

static void test_progress_clears_deaths(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    int64_t seq;
    struct ids id = submit(f, QUEUE_NORMAL);
    /* Each worker dies, but each has saved a chunk: this goes on for as long as it takes. */
    for (int i = 0; i < 10; i++) {
        struct claim c = i ? claim(f, "w") : planned(f, "w", 10);
        OK(save_chunk(f, &c, i, &seq, &e));
        expire_one(f);
        assert_int_equal(get(f, id.id).deaths, 0);
    }
    struct claim c = claim(f, "w");
    OK(store_complete(f->store, &c, &a_result, &seq, &e));

    /* What is saved also clears deaths that were counted before: the first plan, and a chunk. */
    id = submit(f, QUEUE_NORMAL);
    claim(f, "w");
    expire_one(f);
    assert_int_equal(get(f, id.id).deaths, 1);
    c = planned(f, "w", 3);
    assert_int_equal(get(f, id.id).deaths, 0);
    expire_one(f);
    claim(f, "w");
    expire_one(f);
    assert_int_equal(get(f, id.id).deaths, 1);
    c = claim(f, "w");
    OK(save_chunk(f, &c, 0, &seq, &e));
    assert_int_equal(get(f, id.id).deaths, 0);
}

static void test_planning_again_is_no_progress(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    int64_t seq;
    struct ids id = submit(f, QUEUE_NORMAL);
    planned(f, "w", 3);
    expire_one(f);
    for (int i = 0; i < 3; i++) {
        pass(10000);
        struct claim c = claim(f, "w");
        OK(store_save_plan(f->store, &c, i % 2 ? "{\"plan\":1}" : "{\"plan\":2}", 3, 60000, &seq, &e));
        expire_one(f);
    }
    assert_int_equal(get(f, id.id).state, JOB_FAILED);
}

static void test_a_renewed_lease_is_not_swept(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    struct held held[2];
    struct swept *swept;
    size_t n;
    submit(f, QUEUE_NORMAL);
    submit(f, QUEUE_NORMAL);
    submit(f, QUEUE_NORMAL);
    claim(f, "alive");
    struct claim dead1 = claim(f, "dead"), dead2 = claim(f, "dead");
    pass(20000);
    OK(store_renew(f->store, "alive", 30000, held, 2, &n, &e));
    pass(20000);
    OK(store_expire_leases(f->store, 1, &f->arena, &swept, &n, &e)); /* no more than asked for */
    assert_int_equal(n, 1);
    OK(store_expire_leases(f->store, 10, &f->arena, &swept, &n, &e));
    assert_int_equal(n, 1);
    assert_int_equal(get(f, dead1.id).state, JOB_PENDING);
    assert_int_equal(get(f, dead2.id).state, JOB_PENDING);
    OK(store_held(f->store, "alive", held, 2, &n, &e));
    assert_int_equal(n, 1);
    FAILS(ERR_INVALID, "1 to 1000", store_expire_leases(f->store, 0, &f->arena, &swept, &n, &e));
}

#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup_store, fixture_teardown)

int main(void)
{
    if (fixture_skip())
        return 0;
    const struct CMUnitTest tests[] = {
        T(test_a_claim_sets_lease_fence_and_attempt),
        T(test_renewing_and_losing),
        T(test_several_at_once),
        T(test_of_several_none_is_kept_when_one_cannot_be_handed_out),
        T(test_a_claim_that_cannot_be_handed_out_is_not_kept),
        T(test_checkpoints),
        T(test_another_plan_drops_checkpoints_the_same_keeps_them),
        T(test_checkpoints_outlive_the_claim),
        T(test_complete_writes_the_result),
        T(test_a_short_job_is_completed_in_one),
        T(test_a_retry_goes_to_the_retry_queue_with_an_error_row),
        T(test_handing_back_costs_nothing),
        T(test_failing_is_a_dead_letter),
        T(test_foreign_texts_are_cleaned_and_cut),
        T(test_a_stale_claim_writes_nothing),
        T(test_ends_leave_no_claim),
        T(test_three_deaths_without_progress_dead_letter),
        T(test_progress_clears_deaths),
        T(test_planning_again_is_no_progress),
        T(test_times_of_a_clock_that_was_ahead_are_put_right),
        T(test_a_renewed_lease_is_not_swept),
    };
    return cmocka_run_group_tests(tests, fixture_setup_group, fixture_teardown_group);
}
