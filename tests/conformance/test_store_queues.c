/* SPDX-License-Identifier: MIT */
/* Queues: which a worker claims from and in which order, pauses, the place for short jobs; and what is kept how long.
 */
#include "store_helpers.h"

static struct store *open_store(struct fixture *f, const char *queues, int64_t small_bytes)
{
    struct err e = ERR_INIT;
    struct store *s = NULL;
    struct store_opts o = {.max_attempts = 5, .max_deaths = 3, .alone_patience_ms = 1000, .small_bytes = small_bytes};
    OK(job_queues_parse(queues, &o.queues, &e));
    OK(store_new(f->db, &o, &s, &e));
    return s;
}

/* The queue of the job that is claimed next; QUEUE_COUNT: none. */
static enum job_queue claimed_from(struct fixture *f, struct store *s)
{
    struct err e = ERR_INIT;
    struct claimed c = {.arena = &f->arena};
    struct claim_opts o = {.holder = "w", .lease_ms = 30000, .idle = true};
    return OK(store_claim(s, &o, &c, 1, &e)) ? c.job.queue : QUEUE_COUNT;
}

static void test_a_worker_takes_its_queues_in_its_order(void **state)
{
    static const struct {
        const char *queues;
        enum job_queue want[4];
    } rows[] = {
        {"high, normal, retry", {QUEUE_HIGH, QUEUE_NORMAL, QUEUE_RETRY, QUEUE_COUNT}},
        {"retry,high , normal", {QUEUE_RETRY, QUEUE_HIGH, QUEUE_NORMAL, QUEUE_COUNT}},
        {"normal,high", {QUEUE_NORMAL, QUEUE_HIGH, QUEUE_COUNT, QUEUE_COUNT}},
        {"retry", {QUEUE_RETRY, QUEUE_COUNT, QUEUE_COUNT, QUEUE_COUNT}},
    };
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct store *s = open_store(f, rows[i].queues, 0);
        for (int q = 0; q < QUEUE_COUNT; q++)
            submit(f, (enum job_queue)q);
        for (size_t k = 0; k < 4; k++)
            assert_int_equal(claimed_from(f, s), rows[i].want[k]);
        store_free(s);
        OK(fixture_exec(f->db, "DELETE FROM jobs", &e));
    }
}

/* As long as others are due they wait, but not longer than a minute. */
static void test_what_is_tried_again_does_not_wait_for_ever(void **state)
{
    static const struct {
        const char *queues;
        bool pause;
        enum job_queue young, overdue; /* what is claimed */
    } rows[] = {
        {"high,normal,retry", false, QUEUE_HIGH, QUEUE_RETRY},
        {"normal,retry", false, QUEUE_NORMAL, QUEUE_RETRY},
        {"high,normal,retry", true, QUEUE_HIGH, QUEUE_HIGH},
        {"high,normal", false, QUEUE_HIGH, QUEUE_HIGH},
    };
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    pass(1800000000000); /* numbers as large as real ones */
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct store *s = open_store(f, rows[i].queues, 0);
        int64_t seq;
        submit(f, QUEUE_NORMAL);
        struct claim c = claim(f, "w");
        OK(store_retry_later(f->store, &c, &a_failure, 1000, &seq, &e));
        for (int k = 0; k < 4; k++)
            submit(f, k % 2 ? QUEUE_HIGH : QUEUE_NORMAL);
        if (rows[i].pause)
            OK(store_pause_queue(f->store, QUEUE_RETRY, &e));
        pass(60999);
        assert_int_equal(claimed_from(f, s), rows[i].young);
        pass(1);
        assert_int_equal(claimed_from(f, s), rows[i].overdue);
        if (rows[i].pause)
            OK(store_resume_queue(f->store, QUEUE_RETRY, &e));
        store_free(s);
        OK(fixture_exec(f->db, "DELETE FROM jobs", &e));
    }
}

static void test_a_paused_queue_waits(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    struct store_counts k;
    struct job j;
    int64_t position;
    struct ids first = submit(f, QUEUE_NORMAL);
    pass(1);
    struct claim running = claim(f, "w");
    struct ids high = submit(f, QUEUE_HIGH), normal = submit(f, QUEUE_NORMAL), retry = submit(f, QUEUE_RETRY);
    assert_int_equal(OK(store_pause_queue(f->store, QUEUE_NORMAL, &e)), 1);
    pass(10);
    assert_int_equal(OK(store_pause_queue(f->store, QUEUE_NORMAL, &e)), 0);
    OK(store_counts(f->store, false, &k, &e));
    assert_int_equal(k.paused_at[QUEUE_NORMAL], 1000001); /* the first time counts */
    assert_int_equal(k.paused_at[QUEUE_HIGH] + k.paused_at[QUEUE_RETRY], 0);
    assert_int_equal(k.ready[QUEUE_NORMAL], 1);
    submit(f, QUEUE_NORMAL); /* accepted all the same */

    /* Those behind it do not wait for it; it knows its place in its own queue. */
    OK(position_of(f->store, retry.id, &position, &e));
    assert_int_equal(position, 1);
    OK(position_of(f->store, normal.id, &position, &e));
    assert_int_equal(position, 1);
    struct store_place place;
    OK(store_look(f->store, normal.id, 100, &f->arena, &j, &place, &e));
    assert_true(place.paused);
    OK(store_look(f->store, retry.id, 100, &f->arena, &j, &place, &e));
    assert_false(place.paused);
    struct job_stand stands[3];
    OK(store_stands(f->store, (const char *const[]){normal.id, retry.id, first.id}, 3, stands, &e));
    assert_true(stands[0].found && stands[0].paused);
    assert_true(stands[1].found && !stands[1].paused);
    assert_true(stands[2].found && !stands[2].paused); /* in work: it does not wait */
    struct job_id next[STORE_QUEUE_MAX];
    size_t n;
    OK(store_queue(f->store, next, &n, &e));
    assert_int_equal(n, 2);
    assert_string_equal(next[0].id, high.id);
    assert_string_equal(next[1].id, retry.id);

    assert_string_equal(claim(f, "w").id, high.id);
    assert_string_equal(claim(f, "w").id, retry.id);
    assert_int_equal(try_claim(f, "w", true, &j), 0);
    /* What was in work goes on to its end. */
    int64_t seq;
    OK(store_complete(f->store, &running, &a_result, &seq, &e));
    assert_int_equal(get(f, first.id).state, JOB_COMPLETED);

    assert_int_equal(OK(store_resume_queue(f->store, QUEUE_NORMAL, &e)), 1);
    assert_int_equal(OK(store_resume_queue(f->store, QUEUE_NORMAL, &e)), 0);
    assert_string_equal(claim(f, "w").id, normal.id);
    OK(store_counts(f->store, false, &k, &e));
    assert_int_equal(k.paused_at[QUEUE_NORMAL], 0);
}

static void submit_bytes(struct store *s, int64_t bytes, char ret_id[ID_SIZE])
{
    struct err e = ERR_INIT;
    id_new(ret_id);
    struct job_new j = a_job(ret_id);
    j.audio_bytes = bytes;
    OK(store_submit(s, &j, &e));
    pass(1);
}

static void test_short_jobs_can_be_asked_for(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    struct store *s = open_store(f, "high,normal,retry", 1000), *none = open_store(f, "high,normal,retry", 0);
    char long1[ID_SIZE], exact[ID_SIZE], more[ID_SIZE], old[ID_SIZE];
    submit_bytes(s, 1001, long1);
    submit_bytes(none, 1, old); /* by a server without short jobs */
    submit_bytes(s, 1000, exact);
    submit_bytes(s, 10, more);
    struct claimed c[2] = {{.arena = &f->arena}, {.arena = &f->arena}};
    struct claim_opts o = {.holder = "w", .lease_ms = 30000, .small = true};
    assert_int_equal(OK(store_claim(s, &o, c, 1, &e)), 1);
    assert_string_equal(c[0].job.id, exact);
    assert_int_equal(c[0].job.small, 1);
    OK(store_pause_queue(s, QUEUE_NORMAL, &e));
    assert_int_equal(OK(store_claim(s, &o, c, 2, &e)), 0);
    OK(store_resume_queue(s, QUEUE_NORMAL, &e));
    assert_int_equal(OK(store_claim(s, &o, c, 2, &e)), 1);
    assert_string_equal(c[0].job.id ? c[0].job.id : c[1].job.id, more);
    assert_int_equal(OK(store_claim(s, &o, c, 1, &e)), 0);
    o.small = false;
    assert_int_equal(OK(store_claim(s, &o, c, 1, &e)), 1);
    assert_string_equal(c[0].job.id, long1);
    assert_int_equal(c[0].job.small, 0);
    assert_int_equal(OK(store_claim(s, &o, c, 1, &e)), 1);
    assert_string_equal(c[0].job.id, old);
    store_free(s);
    store_free(none);
}

/* ---- keeping ---- */

static int64_t rows(struct fixture *f, const char *table)
{
    CLEANUP(free_p) char *sql = xasprintf("SELECT count(*) FROM %s", table);
    return fixture_int(f->db, sql);
}

/* Completed, with a chunk. */
static struct ids transcribed(struct fixture *f)
{
    struct err e = ERR_INIT;
    int64_t seq;
    struct ids id = submit(f, QUEUE_HIGH);
    struct claim c = planned(f, "w", 1);
    OK(save_chunk(f, &c, 0, &seq, &e));
    CLEANUP(free_p) char *key = xasprintf("results/%s/1/transcription.json", id.id);
    struct job_result r = a_result;
    r.result_key = key;
    OK(store_complete(f->store, &c, &r, &seq, &e));
    return id;
}

static void test_transcripts_are_given_up(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    struct given_up *v;
    struct job_view view;
    size_t n;
    bool wanted;
    struct ids a = transcribed(f);
    pass(10);
    struct ids b = transcribed(f), busy = submit(f, QUEUE_NORMAL);
    planned(f, "w2", 3);
    struct store_counts unused;
    OK(store_counts(f->store, false, &unused, &e));
    OK(store_drop_results(f->store, 1000000, 10, &f->arena, &v, &n, &e));
    assert_int_equal(n, 0);
    CLEANUP(free_p) char *key = xasprintf("results/%s/1/transcription.json", a.id);
    OK(store_key_wanted(f->store, key, &wanted, &e));
    assert_true(wanted);
    OK(store_drop_results(f->store, 1000001, 10, &f->arena, &v, &n, &e));
    assert_int_equal(n, 1);
    assert_string_equal(v[0].job_id, a.id);
    assert_string_equal(v[0].result_key, key);
    assert_null(v[0].audio_key);
    OK(store_key_wanted(f->store, key, &wanted, &e));
    assert_false(wanted); /* killed now, the sweeper finds it */
    OK(store_drop_results(f->store, 1000001, 10, &f->arena, &v, &n, &e));
    assert_int_equal(n, 0);
    /* The words are nowhere; that there was a result is known, and all else of it. */
    OK(store_view(f->store, a.id, true, &f->arena, &view, &e));
    assert_true(view.has_result);
    assert_null(view.result.text);
    assert_int_equal(view.result.removed_at, 1000010);
    assert_string_equal(view.result.engine, "null");
    assert_int_equal(view.job.state, JOB_COMPLETED);
    assert_int_equal(rows(f, "chunks"), 1);
    OK(store_view(f->store, b.id, true, &f->arena, &view, &e));
    assert_string_equal(view.result.text, "hello");
    assert_int_equal(view.result.removed_at, 0);
    /* Never what is not done. */
    OK(store_drop_results(f->store, INT64_MAX, 10, &f->arena, &v, &n, &e));
    assert_int_equal(n, 1);
    assert_int_equal(get(f, busy.id).state, JOB_PROCESSING);
    assert_int_equal(get(f, busy.id).chunks_total, 3);
}

/* Ended without a transcript, with a chunk of two. */
static struct ids broken_off(struct fixture *f, bool fails)
{
    struct err e = ERR_INIT;
    int64_t seq;
    struct ids id = submit(f, QUEUE_HIGH);
    struct claim c = planned(f, "w", 2);
    OK(save_chunk(f, &c, 0, &seq, &e));
    if (fails)
        OK(store_fail(f->store, &c, &a_failure, &seq, &e));
    else
        assert_int_equal(OK(store_cancel(f->store, id.id, &seq, &e)), 1);
    return id;
}

static void test_words_of_jobs_without_a_transcript_are_given_up(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    struct given_up *v;
    size_t n;
    int64_t seq;
    broken_off(f, false);
    struct ids again = broken_off(f, true);
    transcribed(f);
    pass(10);
    struct ids young[] = {broken_off(f, false), broken_off(f, true)}, done = transcribed(f);
    struct ids busy = submit(f, QUEUE_HIGH);
    struct claim c = planned(f, "w2", 2);
    OK(save_chunk(f, &c, 0, &seq, &e));
    assert_int_equal(rows(f, "chunks"), 7);
    OK(store_drop_checkpoints(f->store, 1000000, 10, &f->arena, &v, &n, &e));
    assert_int_equal(n, 0);
    OK(store_drop_checkpoints(f->store, 1000001, 1, &f->arena, &v, &n, &e)); /* a batch */
    assert_int_equal(n, 1);
    OK(store_drop_checkpoints(f->store, 1000001, 10, &f->arena, &v, &n, &e));
    assert_int_equal(n, 1);
    OK(store_drop_checkpoints(f->store, 1000001, 10, &f->arena, &v, &n, &e));
    assert_int_equal(n, 0);
    assert_int_equal(rows(f, "chunks"), 5);
    assert_null(get(f, again.id).plan);

    /* With its recording a job loses its last chance to be tried again: nothing is kept for that. */
    OK(store_give_up_audio(f->store, done.id, &e));
    assert_int_equal(rows(f, "chunks"), 5);
    for (size_t i = 0; i < ARRAY_LEN(young); i++) {
        assert_non_null(get(f, young[i].id).plan);
        OK(store_give_up_audio(f->store, young[i].id, &e));
        assert_int_equal(rows(f, "chunks"), 4 - (int)i);
        assert_null(get(f, young[i].id).plan);
    }

    /* Who is tried again without its checkpoints begins anew. */
    OK(store_retry_failed(f->store, again.id, &seq, &e));
    c = planned(f, "w", 2);
    assert_string_equal(c.id, again.id);
    assert_int_equal(get(f, again.id).chunks_done, 0);
    for (int i = 0; i < 2; i++)
        OK(save_chunk(f, &c, i, &seq, &e));
    OK(store_complete(f->store, &c, &a_result, &seq, &e));
    /* Never what is not done. */
    OK(store_drop_checkpoints(f->store, INT64_MAX, 10, &f->arena, &v, &n, &e));
    assert_int_equal(n, 0);
    assert_int_equal(get(f, busy.id).chunks_done, 1);
}

static void test_jobs_are_forgotten_with_all_that_is_theirs(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    struct given_up *v;
    struct job j;
    size_t n;
    int64_t seq;
    struct ids a = transcribed(f), b = failed(f);
    OK(store_give_up_audio(f->store, b.id, &e));
    char up[ID_SIZE];
    id_new(up);
    OK(store_add_upload(
        f->store, &(struct job_upload){.id = up, .key = "uploads/u/a", .filename = "a", .expires_at = 5000000}, &e));
    struct job_key key = {.scope = "s", .name = "k", .holder = "h", .lease_ms = 1000, .keep_ms = 1 << 30};
    struct kept_answer kept;
    int64_t wait;
    assert_int_equal(OK(store_key_claim(f->store, &key, &f->arena, &kept, &wait, &e)), 1);
    struct job_new with = a_job(up);
    with.key = &key;
    with.fingerprint = "p";
    with.uploaded = true;
    OK(store_submit(f->store, &with, &e));
    assert_int_equal(OK(store_cancel(f->store, up, &seq, &e)), 1);
    pass(100);
    struct ids young = transcribed(f), busy = submit(f, QUEUE_NORMAL), again = failed(f);
    planned(f, "w2", 1);
    OK(store_retry_failed(f->store, again.id, &seq, &e));

    struct old_counts k;
    OK(store_count_old(f->store, &(struct old_times){.jobs = 1000001}, &k, &e));
    assert_int_equal(k.jobs, 3);
    assert_int_equal(k.audio + k.results, 0);
    OK(store_count_old(f->store, &(struct old_times){.audio = 2000000, .results = 2000000, .jobs = 1000001}, &k, &e));
    assert_int_equal(k.audio, 1); /* of the young one; the others go with their jobs */
    assert_int_equal(k.results, 1);

    OK(store_drop_jobs(f->store, 1000001, 2, &f->arena, &v, &n, &e)); /* a batch */
    assert_int_equal(n, 2);
    size_t with_audio = 0, with_result = 0;
    for (size_t i = 0; i < n; i++) {
        with_audio += v[i].audio_key != NULL;
        with_result += v[i].result_key != NULL;
    }
    OK(store_drop_jobs(f->store, 1000001, 2, &f->arena, &v, &n, &e));
    assert_int_equal(n, 1);
    assert_int_equal(with_audio + (v[0].audio_key != NULL), 2); /* not of the one that was given up before */
    assert_int_equal(with_result + (v[0].result_key != NULL), 1);
    OK(store_drop_jobs(f->store, 1000001, 2, &f->arena, &v, &n, &e));
    assert_int_equal(n, 0);

    FAILS(ERR_NOT_FOUND, "no job", store_get(f->store, a.id, &f->arena, &j, &e));
    FAILS(ERR_NOT_FOUND, "no job", store_get(f->store, b.id, &f->arena, &j, &e));
    assert_int_equal(rows(f, "results"), 1);
    assert_int_equal(rows(f, "error_logs"), 1); /* of the one that is tried again */
    assert_int_equal(rows(f, "submission_keys"), 0);
    assert_int_equal(rows(f, "uploads"), 0);
    /* Whatever the time: what waits or runs stays. */
    OK(store_drop_jobs(f->store, INT64_MAX, 10, &f->arena, &v, &n, &e));
    assert_int_equal(n, 1);
    assert_string_equal(v[0].job_id, young.id);
    assert_int_equal(get(f, busy.id).state, JOB_PROCESSING);
    assert_int_equal(get(f, again.id).state, JOB_PENDING);
}

#define with_store(t) cmocka_unit_test_setup_teardown(t, fixture_setup_store, fixture_teardown)

int main(void)
{
    if (fixture_skip())
        return 0;
    const struct CMUnitTest tests[] = {
        with_store(test_a_worker_takes_its_queues_in_its_order),
        with_store(test_what_is_tried_again_does_not_wait_for_ever),
        with_store(test_a_paused_queue_waits),
        with_store(test_short_jobs_can_be_asked_for),
        with_store(test_transcripts_are_given_up),
        with_store(test_words_of_jobs_without_a_transcript_are_given_up),
        with_store(test_jobs_are_forgotten_with_all_that_is_theirs),
    };
    return cmocka_run_group_tests(tests, fixture_setup_group, fixture_teardown_group);
}
