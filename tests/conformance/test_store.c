/* SPDX-License-Identifier: MIT */
/* The job store as clients and the sweeper see it: src/job/store.h. The clock stands still unless a test moves it. */
#include "store_helpers.h"

/* ---- submit and get ---- */

static void test_submit_keeps_every_field(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    char id[ID_SIZE];
    id_new(id);
    struct job_new n = {.id = id,
                        .queue = QUEUE_HIGH,
                        .engine = "whisper",
                        .model = "small",
                        .language = "de",
                        .task = "translate",
                        .prompt = "Müller",
                        .description = "a 'talk'",
                        .options = "{\"a\":1}",
                        .filename = "../../Größe.mp3",
                        .content_type = "audio/mpeg",
                        .audio_key = "uploads/k/a.mp3",
                        .audio_sha256 = "ff00",
                        .audio_bytes = (int64_t)5 << 32};
    OK(store_submit(f->store, &n, &e));
    struct job j = get(f, id);
    assert_string_equal(j.id, id);
    assert_int_equal(j.state, JOB_PENDING);
    assert_int_equal(j.queue, QUEUE_HIGH);
    assert_string_equal(j.engine, n.engine);
    assert_string_equal(j.model, n.model);
    assert_string_equal(j.language, n.language);
    assert_string_equal(j.task, n.task);
    assert_string_equal(j.prompt, n.prompt);
    assert_string_equal(j.description, n.description);
    assert_string_equal(j.options, n.options);
    assert_string_equal(j.filename, n.filename);
    assert_string_equal(j.content_type, n.content_type);
    assert_string_equal(j.audio_key, n.audio_key);
    assert_string_equal(j.audio_sha256, n.audio_sha256);
    assert_int_equal(j.audio_bytes, n.audio_bytes);
    assert_int_equal(j.created_at, 1000000);
    assert_int_equal(j.updated_at, 1000000);
    assert_int_equal(j.run_after, 1000000);
    assert_int_equal(j.max_attempts, 5);
    assert_int_equal(j.seq, 1);
    assert_int_equal(j.attempt, 0);
    assert_int_equal(j.fence, 0);
    assert_int_equal(j.started_at + j.finished_at + j.announced_at + j.lease_until + j.audio_gone_at, 0);
    assert_null(j.lease_holder);
    assert_null(j.plan);
    assert_null(j.error_class);
}

static void test_submit_defaults_and_bad_ids(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    struct ids id = submit(f, QUEUE_NORMAL);
    struct job j = get(f, id.id);
    assert_string_equal(j.task, "transcribe");
    assert_null(j.language);
    struct job_new n = a_job("../etc/passwd");
    FAILS(ERR_INVALID, "UUID", store_submit(f->store, &n, &e));
    n.id = NULL;
    FAILS(ERR_INVALID, "UUID", store_submit(f->store, &n, &e));
    FAILS(ERR_NOT_FOUND, "there is no job 'x'", store_get(f->store, "x", &f->arena, &j, &e));
}

static void test_submit_again_is_the_same_submission(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    struct ids id = submit(f, QUEUE_NORMAL);
    struct job_new n = a_job(id.id);
    n.max_queue = 1; /* the queue holds this very job */
    OK(store_submit(f->store, &n, &e));
    assert_int_equal(fixture_int(f->db, "SELECT count(*) FROM jobs"), 1);
    static const char *const others[] = {"aa", "zz"};
    for (size_t i = 0; i < ARRAY_LEN(others); i++) {
        n = a_job(id.id);
        n.audio_sha256 = others[i];
        FAILS(ERR_CONFLICT, "exists already", store_submit(f->store, &n, &e));
        n = a_job(id.id);
        n.audio_key = others[i];
        FAILS(ERR_CONFLICT, "exists already", store_submit(f->store, &n, &e));
    }
    /* Also once the job has gone on. */
    int64_t seq;
    OK(store_cancel(f->store, id.id, &seq, &e));
    n = a_job(id.id);
    OK(store_submit(f->store, &n, &e));
    assert_int_equal(get(f, id.id).state, JOB_CANCELLED);
}

static void test_a_full_queue_is_busy(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    char id[ID_SIZE];
    submit(f, QUEUE_NORMAL);
    submit(f, QUEUE_HIGH);
    id_new(id);
    struct job_new n = a_job(id);
    n.max_queue = 2;
    FAILS(ERR_BUSY, "queue is full", store_submit(f->store, &n, &e));
    assert_int_equal(fixture_int(f->db, "SELECT count(*) FROM jobs"), 2);
    claim(f, "w"); /* what is in work does not count */
    OK(store_submit(f->store, &n, &e));
    id_new(id);
    FAILS(ERR_BUSY, "2 jobs are waiting", store_submit(f->store, &n, &e));
    n.max_queue = 0;
    OK(store_submit(f->store, &n, &e));
}

/* ---- order ---- */

static void test_queues_first_then_age(void **state)
{
    struct fixture *f = *state;
    struct ids retry = submit(f, QUEUE_RETRY);
    struct ids normal[3] = {submit(f, QUEUE_NORMAL), submit(f, QUEUE_NORMAL)}; /* same millisecond: ids decide */
    qsort(normal, 2, sizeof normal[0], by_age);
    pass(1);
    normal[2] = submit(f, QUEUE_NORMAL);
    pass(1);
    struct ids high = submit(f, QUEUE_HIGH);
    const char *fifo[] = {high.id, normal[0].id, normal[1].id, normal[2].id, retry.id};
    for (size_t i = 0; i < ARRAY_LEN(fifo); i++) {
        struct err e = ERR_INIT;
        int64_t position = -2;
        OK(position_of(f->store, fifo[i], &position, &e));
        assert_int_equal(position, 0);
        if (i + 1 < ARRAY_LEN(fifo)) {
            OK(position_of(f->store, retry.id, &position, &e));
            assert_int_equal(position, ARRAY_LEN(fifo) - 1 - i);
        }
        assert_string_equal(claim(f, "w").id, fifo[i]);
        OK(position_of(f->store, fifo[i], &position, &e));
        assert_int_equal(position, -1);
    }
    struct job j;
    assert_int_equal(try_claim(f, "w", true, &j), 0);
}

static void test_lifo_takes_the_newest_of_a_queue(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    store_free(f->store);
    OK(fixture_open_store(f->db, JOB_LIFO, &f->store, &e));
    struct ids high = submit(f, QUEUE_HIGH);
    pass(1);
    struct ids normal[3] = {submit(f, QUEUE_NORMAL)};
    pass(1);
    normal[1] = submit(f, QUEUE_NORMAL);
    normal[2] = submit(f, QUEUE_NORMAL);
    qsort(normal, 3, sizeof normal[0], by_age);
    const char *lifo[] = {high.id, normal[2].id, normal[1].id, normal[0].id};
    for (size_t i = 0; i < ARRAY_LEN(lifo); i++) {
        for (size_t k = i; k < ARRAY_LEN(lifo); k++) {
            int64_t position = -2;
            OK(position_of(f->store, lifo[k], &position, &e));
            assert_int_equal(position, k - i);
        }
        assert_string_equal(claim(f, "w").id, lifo[i]);
    }
}

static void test_what_is_not_due_waits(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    struct job j;
    int64_t seq, position;
    struct ids first = submit(f, QUEUE_NORMAL);
    struct claim c = claim(f, "w");
    OK(store_hand_back(f->store, &c, 5000, &seq, &e));
    pass(1);
    struct ids second = submit(f, QUEUE_NORMAL);
    OK(position_of(f->store, first.id, &position, &e));
    assert_int_equal(position, 1); /* older, but not due: the other goes first */
    OK(position_of(f->store, second.id, &position, &e));
    assert_int_equal(position, 0);
    assert_string_equal(claim(f, "w").id, second.id);
    assert_int_equal(try_claim(f, "w", true, &j), 0);
    pass(4998);
    assert_int_equal(try_claim(f, "w", true, &j), 0);
    pass(1);
    assert_string_equal(claim(f, "w").id, first.id);
    FAILS(ERR_NOT_FOUND, "no job", position_of(f->store, "x", &position, &e));
}

/* Processes read the database's clock a little differently: a worker that is woken for a job must get it. */
static void test_a_new_job_is_due_before_its_time(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    int64_t seq;
    struct job j;
    struct ids id = submit(f, QUEUE_NORMAL);
    pass(-40);
    struct claim c = claim(f, "w");
    assert_string_equal(c.id, id.id);
    OK(store_hand_back(f->store, &c, 10, &seq, &e));
    pass(9);
    assert_int_equal(try_claim(f, "w", true, &j), 0); /* not so a wait that was asked for */
    pass(1);
    assert_string_equal(claim(f, "w").id, id.id);
}

static void test_a_look_is_bounded(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    struct job j;
    struct ids id = {0};
    for (int i = 0; i < 4; i++) {
        id = submit(f, QUEUE_NORMAL);
        pass(1);
    }
    static const struct {
        int64_t max, want;
    } rows[] = {{1000, 3}, {3, 3}, {2, -1}, {0, -1}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct store_place place = {.position = -2};
        OK(store_look(f->store, id.id, rows[i].max, &f->arena, &j, &place, &e));
        assert_int_equal(place.position, rows[i].want);
        assert_false(place.paused);
        assert_string_equal(j.id, id.id);
        assert_string_equal(j.filename, "talk.mp3");
    }
}

/* ---- cancel, purge, retry ---- */

static void test_cancel(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    int64_t seq = 0;
    struct ids waiting = submit(f, QUEUE_NORMAL);
    assert_int_equal(OK(store_cancel(f->store, waiting.id, &seq, &e)), 1);
    assert_int_equal(seq, 2);
    seq = -7;
    assert_int_equal(OK(store_cancel(f->store, waiting.id, &seq, &e)), 0);
    assert_int_equal(seq, -7);
    struct job j = get(f, waiting.id);
    assert_int_equal(j.state, JOB_CANCELLED);
    assert_int_equal(j.finished_at, 1000000);
    assert_int_equal(try_claim(f, "w", true, &j), 0);
    submit(f, QUEUE_NORMAL);
    struct claim c = claim(f, "w");
    assert_int_equal(OK(store_cancel(f->store, c.id, &seq, &e)), 1);
    FAILS(ERR_LOST, "no longer held", store_complete(f->store, &c, &a_result, &seq, &e));
    assert_int_equal(get(f, c.id).state, JOB_CANCELLED);
    struct ids done = completed(f), broken = failed(f);
    assert_int_equal(OK(store_cancel(f->store, done.id, &seq, &e)), 0);
    assert_int_equal(OK(store_cancel(f->store, broken.id, &seq, &e)), 0);
    assert_int_equal(get(f, done.id).state, JOB_COMPLETED);
    FAILS(ERR_NOT_FOUND, "no job", store_cancel(f->store, "x", &seq, &e));
}

static void test_purge_takes_everything_of_an_ended_job(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    int64_t seq;
    submit(f, QUEUE_NORMAL);
    struct claim c = planned(f, "w", 2);
    OK(save_chunk(f, &c, 0, &seq, &e));
    OK(store_retry_later(f->store, &c, &a_failure, 0, &seq, &e));
    FAILS(ERR_CONFLICT, "is pending", store_purge(f->store, c.id, &e));
    c = claim(f, "w");
    FAILS(ERR_CONFLICT, "is processing", store_purge(f->store, c.id, &e));
    OK(save_chunk(f, &c, 1, &seq, &e));
    OK(store_complete(f->store, &c, &a_result, &seq, &e));
    OK(store_purge(f->store, c.id, &e));
    assert_int_equal(fixture_int(f->db, "SELECT (SELECT count(*) FROM jobs) + (SELECT count(*) FROM chunks) + "
                                        "(SELECT count(*) FROM results) + (SELECT count(*) FROM error_logs)"),
                     0);
    FAILS(ERR_NOT_FOUND, "no job", store_purge(f->store, c.id, &e));
    struct ids gone = submit(f, QUEUE_NORMAL);
    OK(store_cancel(f->store, gone.id, &seq, &e));
    OK(store_purge(f->store, gone.id, &e));
}

static void test_retrying_a_failed_job(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    struct error_page page;
    int64_t seq = 0;
    struct ids id = submit(f, QUEUE_HIGH);
    struct claim c = planned(f, "w", 2);
    OK(save_chunk(f, &c, 0, &seq, &e));
    OK(store_fail(f->store, &c, &a_failure, &seq, &e));
    pass(50);
    OK(store_retry_failed(f->store, id.id, &seq, &e));
    struct job j = get(f, id.id);
    assert_int_equal(j.seq, seq);
    assert_int_equal(j.state, JOB_PENDING);
    assert_int_equal(j.queue, QUEUE_RETRY);
    assert_int_equal(j.attempt, 0);
    assert_int_equal(j.finished_at, 0);
    assert_int_equal(j.run_after, 1000050);
    assert_int_equal(j.chunks_done, 1); /* it goes on where it was */
    assert_null(j.error_class);
    OK(store_list_errors(f->store, &(struct error_filter){.limit = 10}, &f->arena, &page, &e));
    assert_int_equal(page.n, 0);
    OK(store_list_errors(f->store, &(struct error_filter){.all = true, .limit = 10}, &f->arena, &page, &e));
    assert_true(page.errors[0].resolved);
    assert_int_equal(page.errors[0].resolved_at, 1000050);
    assert_int_equal(claim(f, "w").fence, 2); /* goes on */
    FAILS(ERR_CONFLICT, "is processing", store_retry_failed(f->store, id.id, &seq, &e));
    struct ids done = completed(f);
    FAILS(ERR_CONFLICT, "is completed", store_retry_failed(f->store, done.id, &seq, &e));
    FAILS(ERR_NOT_FOUND, "no job", store_retry_failed(f->store, "x", &seq, &e));
}

/* ---- sweeping ---- */

static void test_unannounced_jobs_are_found_when_due(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    struct job *jobs;
    size_t n;
    int64_t seq;
    struct ids a = submit(f, QUEUE_NORMAL);
    pass(1);
    struct ids b = submit(f, QUEUE_HIGH);
    pass(1);
    struct ids told = submit(f, QUEUE_HIGH);
    OK(store_mark_announced(f->store, told.id, &e));
    OK(store_mark_announced(f->store, "x", &e));
    OK(store_unannounced(f->store, 10, &f->arena, &jobs, &n, &e));
    assert_int_equal(n, 2);
    assert_string_equal(jobs[0].id, a.id);
    assert_string_equal(jobs[1].id, b.id);
    OK(store_unannounced(f->store, 1, &f->arena, &jobs, &n, &e));
    assert_int_equal(n, 1);
    struct claim c = claim(f, "w");
    OK(store_hand_back(f->store, &c, 5000, &seq, &e));
    OK(store_unannounced(f->store, 10, &f->arena, &jobs, &n, &e));
    assert_int_equal(n, 1); /* not before it is due */
    assert_int_equal(store_due(f->store, QUEUE_HIGH, 10, &f->arena, &jobs, &n, &e), 0);
    assert_int_equal(n, 1);
    pass(5000);
    OK(store_unannounced(f->store, 10, &f->arena, &jobs, &n, &e));
    assert_int_equal(n, 2);
    /* Announced or not. */
    OK(store_due(f->store, QUEUE_HIGH, 10, &f->arena, &jobs, &n, &e));
    assert_int_equal(n, 2);
    assert_string_equal(jobs[0].id, b.id);
    assert_string_equal(jobs[1].id, told.id);
    OK(store_due(f->store, QUEUE_HIGH, 1, &f->arena, &jobs, &n, &e));
    assert_int_equal(n, 1);
    OK(store_due(f->store, QUEUE_NORMAL, 10, &f->arena, &jobs, &n, &e));
    assert_int_equal(n, 1);
    assert_string_equal(jobs[0].id, a.id);
    OK(store_due(f->store, QUEUE_RETRY, 10, &f->arena, &jobs, &n, &e));
    assert_int_equal(n, 0);
}

static void test_a_submit_may_say_that_it_is_announced(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    struct job *jobs;
    size_t n;
    char id[ID_SIZE];
    id_new(id);
    struct job_new new = a_job(id);
    for (int limited = 0; limited < 2; limited++) { /* the two forms of the statement */
        id_new(id);
        new.announced = true;
        new.max_queue = limited ? 10 : 0;
        OK(store_submit(f->store, &new, &e));
        assert_int_equal(get(f, id).announced_at, fixture_clock());
        OK(store_unannounced(f->store, 10, &f->arena, &jobs, &n, &e));
        assert_int_equal(n, 0);
        OK(store_not_announced(f->store, id, &e));
        OK(store_unannounced(f->store, 10, &f->arena, &jobs, &n, &e));
        assert_int_equal(n, 1);
        assert_string_equal(jobs[0].id, id);
        assert_string_equal(claim(f, "w").id, id);
        OK(store_not_announced(f->store, id, &e)); /* too late, and harmless */
    }
}

static bool wanted(struct fixture *f, const char *fmt, const char *id)
{
    struct err e = ERR_INIT;
    bool ret = false;
    char *key = xasprintf("%s", fmt);
    char *at = strstr(key, "ID");
    char *full = at ? xasprintf("%.*s%s%s", (int)(at - key), key, id, at + 2) : xstrdup(key);
    OK(store_key_wanted(f->store, full, &ret, &e));
    free(full);
    free(key);
    return ret;
}

static void test_which_objects_are_wanted(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    int64_t seq;
    char id[ID_SIZE], key[80], nobody[ID_SIZE];
    id_new(id);
    id_new(nobody);
    struct job_new n = a_job(id);
    snprintf(key, sizeof key, "uploads/%s/a b.mp3", id);
    n.audio_key = key;
    OK(store_submit(f->store, &n, &e));
    assert_true(wanted(f, "uploads/ID/a b.mp3", id));
    assert_false(wanted(f, "uploads/ID/other.mp3", id));
    assert_false(wanted(f, "uploads/ID/a b.mp3", nobody));
    /* Not in a form of ours: not ours to delete. */
    assert_true(wanted(f, "uploads/readme.txt", id));
    assert_true(wanted(f, "uploads/not-an-id/a.mp3", id));
    assert_true(wanted(f, "results/ID/x/transcription.json", id));
    assert_true(wanted(f, "results/ID", id));
    assert_true(wanted(f, "backup/ID/1", id));
    assert_false(wanted(f, "results/ID/1/transcription.json", id));
    struct claim c = claim(f, "w");
    assert_true(wanted(f, "results/ID/1/transcription.json", id)); /* about to be pointed to */
    assert_false(wanted(f, "results/ID/2/transcription.json", id));
    OK(store_hand_back(f->store, &c, 0, &seq, &e));
    assert_false(wanted(f, "results/ID/1/transcription.json", id));
    c = claim(f, "w");
    snprintf(key, sizeof key, "results/%s/2/transcription.json", id);
    struct job_result r = a_result;
    r.result_key = key;
    OK(store_complete(f->store, &c, &r, &seq, &e));
    assert_true(wanted(f, "results/ID/2/transcription.json", id));
    assert_false(wanted(f, "results/ID/1/transcription.json", id));
    assert_true(wanted(f, "uploads/ID/a b.mp3", id));
    OK(store_give_up_audio(f->store, id, &e));
    assert_false(wanted(f, "uploads/ID/a b.mp3", id));
    OK(store_purge(f->store, id, &e));
    assert_false(wanted(f, "results/ID/2/transcription.json", id));
}

static void test_retention(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    struct job *jobs;
    size_t n;
    int64_t seq;
    struct ids a = completed(f);
    pass(10);
    struct ids b = failed(f);
    pass(10);
    struct ids c = completed(f);
    struct ids d = submit(f, QUEUE_NORMAL);
    OK(store_audio_before(f->store, 1000020, 10, &f->arena, &jobs, &n, &e));
    assert_int_equal(n, 2);
    assert_string_equal(jobs[0].id, a.id);
    assert_string_equal(jobs[1].id, b.id);
    OK(store_audio_before(f->store, 2000000, 1, &f->arena, &jobs, &n, &e));
    assert_int_equal(n, 1);
    OK(store_audio_before(f->store, -5, 10, &f->arena, &jobs, &n, &e));
    assert_int_equal(n, 0);
    OK(store_give_up_audio(f->store, a.id, &e));
    OK(store_give_up_audio(f->store, a.id, &e));
    assert_int_equal(get(f, a.id).audio_gone_at, 1000020);
    OK(store_audio_before(f->store, 2000000, 10, &f->arena, &jobs, &n, &e));
    assert_int_equal(n, 2);
    assert_string_equal(jobs[0].id, b.id);
    assert_string_equal(jobs[1].id, c.id);
    FAILS(ERR_CONFLICT, "needs its recording", store_give_up_audio(f->store, d.id, &e));
    FAILS(ERR_NOT_FOUND, "no job", store_give_up_audio(f->store, "x", &e));
    OK(store_give_up_audio(f->store, b.id, &e));
    FAILS(ERR_CONFLICT, "recording of job", store_retry_failed(f->store, b.id, &seq, &e));
    assert_int_equal(get(f, b.id).state, JOB_FAILED);
}

static void test_workers(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    struct worker_row *rows;
    size_t n;
    struct worker_row w = {.id = "w1",
                           .host = "h",
                           .version = "1",
                           .state = "running",
                           .info = "{}",
                           .pid = 42,
                           .started_at = 5,
                           .running = 1};
    OK(store_heartbeat(f->store, &w, &e));
    w.id = "w2";
    w.started_at = 6;
    OK(store_heartbeat(f->store, &w, &e));
    pass(1000);
    w.state = "draining";
    w.running = 3;
    w.info = "{\"a\":1}";
    OK(store_heartbeat(f->store, &w, &e));
    OK(store_list_workers(f->store, &f->arena, &rows, &n, &e));
    assert_int_equal(n, 2);
    assert_string_equal(rows[0].id, "w1");
    assert_int_equal(rows[0].heartbeat_at, 1000000);
    assert_int_equal(rows[0].silent_ms, 1000);
    assert_int_equal(rows[1].silent_ms, 0);
    assert_int_equal(rows[0].pid, 42);
    assert_string_equal(rows[1].id, "w2");
    assert_string_equal(rows[1].host, "h");
    assert_string_equal(rows[1].version, "1");
    assert_string_equal(rows[1].state, "draining");
    assert_string_equal(rows[1].info, "{\"a\":1}");
    assert_int_equal(rows[1].running, 3);
    assert_int_equal(rows[1].started_at, 6);
    assert_int_equal(rows[1].heartbeat_at, 1001000);
    OK(store_drop_workers(f->store, 500, &e));
    OK(store_list_workers(f->store, &f->arena, &rows, &n, &e));
    assert_int_equal(n, 1);
    OK(store_worker_gone(f->store, "w2", &e));
    OK(store_worker_gone(f->store, "w2", &e));
    OK(store_list_workers(f->store, &f->arena, &rows, &n, &e));
    assert_int_equal(n, 0);
}

/* ---- lists ---- */

static void test_counts(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    struct store_counts k;
    int64_t seq;
    OK(store_counts(f->store, true, &k, &e));
    assert_int_equal(k.by_state[JOB_PENDING] + k.delayed + k.oldest_pending_ms + k.ready[QUEUE_HIGH], 0);
    completed(f);
    failed(f);
    struct ids gone = submit(f, QUEUE_NORMAL);
    OK(store_cancel(f->store, gone.id, &seq, &e));
    submit(f, QUEUE_HIGH);
    struct claim c = claim(f, "w");
    OK(store_hand_back(f->store, &c, 60000, &seq, &e));
    submit(f, QUEUE_HIGH);
    claim(f, "w");
    pass(500);
    submit(f, QUEUE_NORMAL);
    pass(500);
    submit(f, QUEUE_NORMAL);
    submit(f, QUEUE_RETRY);
    pass(1000);
    OK(store_counts(f->store, true, &k, &e));
    assert_int_equal(k.by_state[JOB_PENDING], 4);
    assert_int_equal(k.by_state[JOB_PROCESSING], 1);
    assert_int_equal(k.by_state[JOB_COMPLETED], 1);
    assert_int_equal(k.by_state[JOB_FAILED], 1);
    assert_int_equal(k.by_state[JOB_CANCELLED], 1);
    assert_int_equal(k.ready[QUEUE_HIGH], 0);
    assert_int_equal(k.ready[QUEUE_NORMAL], 2);
    assert_int_equal(k.ready[QUEUE_RETRY], 1);
    assert_int_equal(k.delayed, 1);
    assert_int_equal(k.delayed_in[QUEUE_HIGH], 1);
    assert_int_equal(k.delayed_in[QUEUE_NORMAL] + k.delayed_in[QUEUE_RETRY], 0);
    assert_int_equal(k.oldest_pending_ms, 1500);
    assert_int_equal(k.oldest_in[QUEUE_HIGH], 0);
    assert_int_equal(k.oldest_in[QUEUE_NORMAL], 1500);
    assert_int_equal(k.oldest_in[QUEUE_RETRY], 1000);
    OK(store_counts(f->store, false, &k, &e));
    assert_int_equal(k.by_state[JOB_PENDING], 4);
    assert_int_equal(k.by_state[JOB_PROCESSING], 1);
    assert_int_equal(k.by_state[JOB_COMPLETED] + k.by_state[JOB_FAILED] + k.by_state[JOB_CANCELLED], 0);
}

/* Pages through everything while jobs are added; each of the first `n` must come once, newest first. */
static void walk(struct fixture *f, const struct job_filter *filter, const struct ids *ids, int n)
{
    struct err e = ERR_INIT;
    struct job_filter q = *filter;
    struct job_page page;
    int seen = 0;
    do {
        OK(store_list(f->store, &q, &f->arena, &page, &e));
        assert_in_range(page.n, page.next ? q.limit : 1, q.limit);
        for (size_t i = 0; i < page.n; i++, seen++)
            assert_string_equal(page.jobs[i].id, ids[n - 1 - seen].id);
        submit(f, QUEUE_NORMAL);
        q.cursor = page.next;
    } while (page.next);
    assert_int_equal(seen, n);
}

static void test_lists_are_stable_under_inserts(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    enum { N = 23 };
    struct ids ids[N];
    for (int i = 0; i < N; i++) {
        ids[i] = submit(f, QUEUE_NORMAL);
        if (i % 3 == 0)
            pass(1);
    }
    pass(1);
    qsort(ids, N, sizeof ids[0], by_age);
    walk(f, &(struct job_filter){.any_state = true, .limit = 7}, ids, N);
    int64_t seq;
    for (int i = 0; i < N; i++)
        OK(store_cancel(f->store, ids[i].id, &seq, &e));
    walk(f, &(struct job_filter){.state = JOB_CANCELLED, .limit = 5}, ids, N);
    walk(f, &(struct job_filter){.state = JOB_CANCELLED, .limit = N}, ids, N); /* exactly one page */
    struct job_page page;
    OK(store_list(f->store, &(struct job_filter){.state = JOB_FAILED, .limit = 5}, &f->arena, &page, &e));
    assert_int_equal(page.n, 0);
    assert_null(page.next);
}

static void test_lists_leave_the_plan_out(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    struct job_page page;
    submit(f, QUEUE_NORMAL);
    planned(f, "w", 3);
    OK(store_list(f->store, &(struct job_filter){.any_state = true, .limit = 5}, &f->arena, &page, &e));
    assert_null(page.jobs[0].plan);
    assert_int_equal(page.jobs[0].chunks_total, 3);
}

static void test_bad_cursors_and_limits(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    struct job_page page = {.n = 77};
    struct error_page errors;
    static const char *const cursors[] = {
        "",
        "x",
        "12",
        "12-",
        "-1",
        "-01a201ea-e66e-7da5-8a4e-5b81a4d1b194",
        "12-x",
        "1x-01a201ea-e66e-7da5-8a4e-5b81a4d1b194",
        "99999999999999999999-01a201ea-e66e-7da5-8a4e-5b81a4d1b194",
        "12-01a201ea-e66e-7da5-8a4e-5b81a4d1b194'--",
    };
    for (size_t i = 0; i < ARRAY_LEN(cursors); i++) {
        struct job_filter q = {.any_state = true, .limit = 5, .cursor = cursors[i]};
        FAILS(ERR_INVALID, "cursor", store_list(f->store, &q, &f->arena, &page, &e));
        FAILS(ERR_INVALID, "cursor",
              store_list_errors(f->store, &(struct error_filter){.limit = 5, .cursor = cursors[i]}, &f->arena, &errors,
                                &e));
    }
    static const int limits[] = {0, -1, 1001};
    for (size_t i = 0; i < ARRAY_LEN(limits); i++) {
        struct job_filter q = {.any_state = true, .limit = limits[i]};
        FAILS(ERR_INVALID, "1 to 1000", store_list(f->store, &q, &f->arena, &page, &e));
    }
    assert_int_equal(page.n, 77);
}

static void test_errors_by_job_and_page(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    struct error_page page;
    enum { N = 7 };
    struct ids ids[N];
    for (int i = 0; i < N; i++) {
        ids[i] = failed(f);
        pass(1);
    }
    struct error_filter q = {.limit = 3};
    int seen = 0;
    do {
        OK(store_list_errors(f->store, &q, &f->arena, &page, &e));
        for (size_t i = 0; i < page.n; i++, seen++)
            assert_string_equal(page.errors[i].job_id, ids[N - 1 - seen].id);
        q.cursor = page.next;
    } while (page.next);
    assert_int_equal(seen, N);
    for (int all = 0; all < 2; all++) {
        q = (struct error_filter){.all = all, .job_id = ids[4].id, .limit = 3};
        OK(store_list_errors(f->store, &q, &f->arena, &page, &e));
        assert_int_equal(page.n, 1);
        assert_string_equal(page.errors[0].job_id, ids[4].id);
    }
}

static void test_states_of_another_program_are_not_guessed_at(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    struct job j;
    int64_t n;
    struct ids id = submit(f, QUEUE_NORMAL);
    OK(fixture_exec(f->db, "UPDATE jobs SET state = 'frozen'", &e));
    FAILS(ERR_CORRUPT, "does not know", store_get(f->store, id.id, &f->arena, &j, &e));
    FAILS(ERR_CORRUPT, "does not know", store_cancel(f->store, id.id, &n, &e));
    FAILS(ERR_CORRUPT, "does not know", store_purge(f->store, id.id, &e));
    FAILS(ERR_CORRUPT, "does not know", position_of(f->store, id.id, &n, &e));
    OK(fixture_exec(f->db, "UPDATE jobs SET state = 'pending', queue = 'slow'", &e));
    FAILS(ERR_CORRUPT, "does not know", store_get(f->store, id.id, &f->arena, &j, &e));
}

static void test_new_refuses_nonsense(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    struct store *s = NULL;
    FAILS(ERR_INVALID, "at least one", store_new(f->db, &(struct store_opts){.max_deaths = 3}, &s, &e));
    FAILS(ERR_INVALID, "at least one", store_new(f->db, &(struct store_opts){.max_attempts = 3}, &s, &e));
    assert_null(s);
    int64_t ms = -1;
    OK(store_ping(f->store, &ms, &e));
    assert_true(ms >= 0);
}

#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup_store, fixture_teardown)

int main(void)
{
    if (fixture_skip())
        return 0;
    const struct CMUnitTest tests[] = {
        T(test_submit_keeps_every_field),
        T(test_submit_defaults_and_bad_ids),
        T(test_submit_again_is_the_same_submission),
        T(test_a_full_queue_is_busy),
        T(test_queues_first_then_age),
        T(test_lifo_takes_the_newest_of_a_queue),
        T(test_what_is_not_due_waits),
        T(test_a_new_job_is_due_before_its_time),
        T(test_a_look_is_bounded),
        T(test_cancel),
        T(test_purge_takes_everything_of_an_ended_job),
        T(test_retrying_a_failed_job),
        T(test_unannounced_jobs_are_found_when_due),
        T(test_a_submit_may_say_that_it_is_announced),
        T(test_which_objects_are_wanted),
        T(test_retention),
        T(test_workers),
        T(test_counts),
        T(test_lists_are_stable_under_inserts),
        T(test_lists_leave_the_plan_out),
        T(test_bad_cursors_and_limits),
        T(test_errors_by_job_and_page),
        T(test_states_of_another_program_are_not_guessed_at),
        T(test_new_refuses_nonsense),
    };
    return cmocka_run_group_tests(tests, fixture_setup_group, fixture_teardown_group);
}
