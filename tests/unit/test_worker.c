/* SPDX-License-Identifier: MIT */
/*
 * A whole worker on real back ends in a temporary folder: SQLite, the folder storage, the local broker, PocketSphinx
 * and the null engine. Nothing is timed: the tests wait for rows to say what they shall, however long that takes.
 */
#include "worker/worker.h"

#include "base/clock.h"
#include "base/id.h"
#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/thread.h"
#include "db/migrate.h"
#include "speech.h"
#include "transcript/format.h"
#include "worker/board.h"
#include "worker/job_internal.h"
#include "worker/job_run.h"
#include "worker/keeper.h"
#include "worker/persist.h"
#include "worker/places.h"
#include "worker/sweeper.h"

#include <dirent.h>
#include <inttypes.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cmocka.h>

enum { PATIENCE_MS = 120000, LOOK_MS = 20 };

/* Made once: a clip of one chunk and a recording of many. */
static char *media, *short_clip, *long_clip;

struct rig {
    char folder[64];
    struct db *db;
    struct store *store;
    struct storage *storage;
    struct broker *broker;
    char *temp, *db_url;
    struct engine_opts engine;
    struct worker_opts opts;
    struct cancel stop;
    pthread_t thread;
    bool running;
    int rc; /* of worker_run */
    struct arena arena;
    struct err err;
};

#define OK(call)                                     \
    do {                                             \
        struct err *e_ = &r->err;                    \
        if ((call) < 0) {                            \
            print_error("%s: %s\n", #call, e_->msg); \
            fail();                                  \
        }                                            \
    } while (0)

static struct rig *rig_new_busy(int64_t busy_ms)
{
    struct rig *r = xcalloc(1, sizeof *r);
    snprintf(r->folder, sizeof r->folder, "/tmp/steno-test-worker-XXXXXX");
    assert_non_null(mkdtemp(r->folder));
    r->db_url = xasprintf("sqlite:%s/steno.db", r->folder);
    CLEANUP(free_p) char *objects = xasprintf("file:%s/objects", r->folder);
    CLEANUP(free_p) char *sockets = xasprintf("local:%s/broker", r->folder);
    r->temp = xasprintf("%s/tmp", r->folder);
    r->arena = (struct arena)ARENA_INIT;
    int applied = 0;
    const struct db_opts db_opts = {.url = r->db_url, .readers = 4, .busy_ms = busy_ms};
    const struct store_opts store_opts = {.max_attempts = 3, .alone_patience_ms = 100, .max_deaths = 3};
    const struct broker_opts broker_opts = {.url = sockets, .tokens = true};
    OK(db_open(&db_opts, &r->db, &r->err));
    OK(migrate_up(r->db, &applied, &r->err));
    OK(store_new(r->db, &store_opts, &r->store, &r->err));
    OK(storage_open(objects, &r->storage, &r->err));
    OK(broker_open(&broker_opts, &r->broker, &r->err));
    r->engine = (struct engine_opts){.name = "pocketsphinx", .slots = 2, .chunk_time_ms = 600000};
    r->opts = (struct worker_opts){.store = r->store,
                                   .storage = r->storage,
                                   .broker = r->broker,
                                   .engine = &r->engine,
                                   .temp_folder = r->temp,
                                   .concurrency = 3,
                                   .lease_ms = 3000,
                                   .poll_ms = 50,
                                   .sweep_ms = 100,
                                   .drain_ms = PATIENCE_MS,
                                   .upload_max_age_ms = 3600000,
                                   .retention = {-1, -1, -1},
                                   .retry = {.max_attempts = 3, .base_ms = 10, .cap_ms = 50},
                                   .decode = {.time_ms = PATIENCE_MS},
                                   .stop = &r->stop};
    return r;
}

static struct rig *rig_new(void)
{
    return rig_new_busy(10000);
}

static void *worker_thread(void *arg)
{
    struct rig *r = arg;
    struct err err = ERR_INIT;
    r->rc = worker_run(&r->opts, &err);
    return NULL;
}

static void start(struct rig *r)
{
    atomic_store(&r->stop.flag, false);
    OK(thread_start(&r->thread, "worker", worker_thread, r, &r->err));
    r->running = true;
}

static int stop(struct rig *r)
{
    cancel_set(&r->stop);
    broker_interrupt(r->broker);
    pthread_join(r->thread, NULL);
    r->running = false;
    return r->rc;
}

static void rig_free(struct rig *r)
{
    if (r->running)
        assert_int_equal(stop(r), 0);
    arena_clear(&r->arena);
    broker_close(r->broker);
    storage_close(r->storage);
    store_free(r->store);
    db_close(r->db);
    OK(io_remove_tree(r->folder, &r->err));
    free(r->temp);
    free(r->db_url);
    free(r);
}

/* What the api does with an upload. */
static void submit(struct rig *r, const char *engine, const char *clip, const char *language, char ret_id[ID_SIZE])
{
    id_new(ret_id);
    CLEANUP(free_p) char *key = xasprintf("uploads/%s/clip.wav", ret_id), *data = NULL;
    size_t n = 0;
    OK(io_read_file(clip, 100 << 20, &data, &n, &r->err));
    OK(storage_put_bytes(r->storage, key, data, n, &r->err));
    const struct job_new job = {.id = ret_id,
                                .queue = QUEUE_NORMAL,
                                .engine = engine,
                                .language = language,
                                .filename = "clip.wav",
                                .audio_key = key,
                                .audio_sha256 = clip,
                                .audio_bytes = (int64_t)n};
    OK(store_submit(r->store, &job, &r->err));
}

static struct job look(struct rig *r, const char *id)
{
    struct job job;
    arena_clear(&r->arena);
    OK(store_get(r->store, id, &r->arena, &job, &r->err));
    return job;
}

static bool is_completed(const struct job *j)
{
    return j->state == JOB_COMPLETED;
}
static bool is_failed(const struct job *j)
{
    return j->state == JOB_FAILED;
}
static bool was_retried(const struct job *j)
{
    return j->attempt >= 1 && j->state == JOB_PENDING;
}
static bool has_progress(const struct job *j)
{
    return j->chunks_done >= 1;
}

static struct job wait_for(struct rig *r, const char *id, bool (*is)(const struct job *))
{
    int64_t until = clock_mono_ms() + PATIENCE_MS;
    for (;;) {
        struct job j = look(r, id);
        if (is(&j))
            return j;
        if (clock_mono_ms() > until)
            fail_msg("job %s stays %s: %s", id, job_state_name(j.state), j.error_message ? j.error_message : "-");
        clock_sleep_ms(LOOK_MS);
    }
}

struct sql_call {
    const char *text;
    int64_t value;
};

static int on_value(const struct db_row *row, void *arg, struct err *err)
{
    (void)err;
    ((struct sql_call *)arg)->value = db_col_int(row, 0);
    return 1;
}

static int sql_fn(struct db_tx *tx, void *arg, struct err *err)
{
    struct sql_call *c = arg;
    c->value = -1;
    return db_query(tx, c->text, DB_NO_ARGS, on_value, c, err);
}

/* One statement (a literal) and the first integer it gives. */
static int64_t sql(struct rig *r, const char *text)
{
    struct sql_call c = {.text = text};
    OK(db_write(r->db, DB_RELAXED, sql_fn, &c, &r->err));
    return c.value;
}

static bool object_exists(struct rig *r, const char *key)
{
    struct object_info info;
    return storage_stat(r->storage, key, &info, &r->err) == 0;
}

static struct job_result result_of(struct rig *r, const char *id)
{
    struct job_result result;
    OK(store_get_result(r->store, id, &r->arena, &result, &r->err));
    return result;
}

/* The stored transcript is whole and is the one that the row describes. */
static void assert_result_is_sound(struct rig *r, const char *id)
{
    struct job j = look(r, id);
    struct job_result result = result_of(r, id);
    assert_int_equal(result.fence, j.fence);
    CLEANUP(free_p) char *json = NULL;
    size_t n = 0;
    OK(storage_get_bytes(r->storage, result.result_key, 100 << 20, &json, &n, &r->err));
    struct transcript t;
    transcript_init(&t);
    OK(transcript_from_json(json, n, &t, &r->err));
    OK(transcript_check(&t, &r->err));
    assert_string_equal(transcript_text(&t), result.text);
    assert_int_equal(t.duration_ms, result.duration_ms);
    transcript_clear(&t);
}

static int count_left_in_temp(struct rig *r)
{
    int n = 0;
    DIR *d = opendir(r->temp);
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d));)
        n += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
    closedir(d);
    return n;
}

static void wait_until(struct rig *r, bool (*is)(struct rig *r))
{
    int64_t until = clock_mono_ms() + PATIENCE_MS;
    while (!is(r)) {
        assert_true(clock_mono_ms() < until);
        clock_sleep_ms(LOOK_MS);
    }
}

static bool says_what_it_holds(struct rig *r)
{
    return sql(r, "SELECT count(*) FROM workers WHERE info LIKE '%\"memory_bytes\":%' "
                  "AND info NOT LIKE '%\"memory_bytes\":0%'") == 1;
}

/* Resident memory of this process. */
static int64_t held_now(void)
{
    char text[128] = "";
    long long pages = 0, resident = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    assert_non_null(f);
    assert_non_null(fgets(text, sizeof text, f));
    fclose(f);
    assert_int_equal(sscanf(text, "%lld %lld", &pages, &resident), 2);
    return resident * sysconf(_SC_PAGESIZE);
}

/* ---- tests ---- */

static void test_jobs_complete(void **state)
{
    (void)state;
    struct rig *r = rig_new();
    char spoken[ID_SIZE], load[ID_SIZE], late[ID_SIZE];
    submit(r, NULL, short_clip, NULL, spoken);
    submit(r, "null", short_clip, NULL, load);
    start(r);
    struct job j = wait_for(r, spoken, is_completed);
    assert_int_equal(j.attempt, 1);
    assert_int_equal(j.fence, 1);
    assert_int_equal(j.chunks_done, j.chunks_total);
    assert_true(j.chunks_total >= 1);
    struct job_result result = result_of(r, spoken);
    assert_string_equal(result.engine, "pocketsphinx");
    assert_non_null(strstr(result.text, "brown fox"));
    assert_true(result.speech_ms > 1000 && result.covered_ms == result.speech_ms);
    assert_result_is_sound(r, spoken);
    wait_for(r, load, is_completed);
    assert_string_equal(result_of(r, load).engine, "null");
    assert_result_is_sound(r, load);
    /* One that comes while the worker waits. */
    submit(r, "null", short_clip, NULL, late);
    wait_for(r, late, is_completed);
    assert_int_equal(sql(r, "SELECT count(*) FROM workers"), 1);
    assert_int_equal(stop(r), 0);
    assert_int_equal(sql(r, "SELECT count(*) FROM workers"), 0);
    assert_int_equal(count_left_in_temp(r), 0);
    rig_free(r);
}

static void test_wrong_requests_fail_for_good(void **state)
{
    (void)state;
    static const struct {
        const char *engine, *language, *error_class;
        bool gone;
    } wrong[] = {
        {"nosuchengine", NULL, "unsupported", false},
        {"pocketsphinx", "de", "unsupported", false},
        {NULL, NULL, "not_found", true},
    };
    struct rig *r = rig_new();
    start(r);
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        char id[ID_SIZE];
        if (wrong[i].gone)
            assert_int_equal(stop(r), 0);
        submit(r, wrong[i].engine, short_clip, wrong[i].language, id);
        if (wrong[i].gone) {
            OK(storage_delete(r->storage, look(r, id).audio_key, &r->err));
            start(r);
        }
        struct job j = wait_for(r, id, is_failed);
        assert_string_equal(j.error_class, wrong[i].error_class);
        assert_true(j.error_message && j.error_message[0]);
        assert_int_equal(j.attempt, 1);
    }
    assert_int_equal(sql(r, "SELECT count(*) FROM error_logs WHERE dead = 1"), ARRAY_LEN(wrong));
    rig_free(r);
}

/* The model turns up between two attempts. */
static void test_a_failure_that_passes_is_tried_again(void **state)
{
    (void)state;
    struct rig *r = rig_new();
    CLEANUP(free_p) char *models = xasprintf("%s/models", r->folder);
    r->engine.model_path = models;
    r->opts.retry = (struct retry_policy){.max_attempts = 1000, .base_ms = 50, .cap_ms = 50};
    char id[ID_SIZE];
    submit(r, NULL, short_clip, NULL, id);
    sql(r, "UPDATE jobs SET max_attempts = 1000");
    start(r);
    struct job j = wait_for(r, id, was_retried);
    assert_string_equal(j.error_class, "unavailable");
    assert_int_equal(j.queue, QUEUE_RETRY);
    assert_int_equal(symlink(POCKETSPHINX_MODEL_DIR, models), 0);
    j = wait_for(r, id, is_completed);
    assert_true(j.attempt >= 2);
    assert_true(sql(r, "SELECT count(*) FROM error_logs WHERE dead = 0") >= 1);
    assert_int_equal(sql(r, "SELECT count(*) FROM error_logs WHERE dead = 1"), 0);
    rig_free(r);
}

static void test_attempts_end_in_a_dead_letter(void **state)
{
    (void)state;
    struct rig *r = rig_new();
    r->engine.model_path = "/nowhere";
    char id[ID_SIZE];
    submit(r, NULL, short_clip, NULL, id);
    start(r);
    struct job j = wait_for(r, id, is_failed);
    assert_int_equal(j.attempt, 3);
    assert_string_equal(j.error_class, "unavailable");
    assert_int_equal(sql(r, "SELECT count(*) FROM error_logs WHERE dead = 0"), 2);
    assert_int_equal(sql(r, "SELECT count(*) FROM error_logs WHERE dead = 1"), 1);
    rig_free(r);
}

static bool has_left_one(struct rig *r)
{
    return sql(r, "SELECT count(*) FROM workers WHERE info LIKE '%\"unreturned\":1%'") == 1;
}

/* Its job went on when the lease had run out: the stop, much later, is a good one (rig_free looks). */
static void test_what_was_left_long_ago_does_not_spoil_the_end(void **state)
{
    (void)state;
    struct rig *r = rig_new();
    char id[ID_SIZE];
    submit(r, "nosuchengine", short_clip, NULL, id);
    sql(r, "CREATE TRIGGER away BEFORE INSERT ON error_logs BEGIN SELECT RAISE(ABORT, 'not now'); END");
    start(r);
    wait_until(r, has_left_one);
    sql(r, "DROP TRIGGER away");
    wait_for(r, id, is_failed);
    rig_free(r);
}

static void test_cancel_stops_the_work(void **state)
{
    (void)state;
    struct rig *r = rig_new();
    r->engine.slots = 1;
    char id[ID_SIZE], next[ID_SIZE];
    submit(r, NULL, long_clip, NULL, id);
    start(r);
    struct job j = wait_for(r, id, has_progress);
    assert_true(j.chunks_done < j.chunks_total);
    int64_t seq = 0;
    assert_int_equal(store_cancel(r->store, id, &seq, &r->err), 1);
    int64_t done = look(r, id).chunks_done;
    /* The slot is free for another one, which would else wait for the whole of the first. */
    submit(r, NULL, short_clip, NULL, next);
    wait_for(r, next, is_completed);
    j = look(r, id);
    assert_int_equal(j.state, JOB_CANCELLED);
    assert_int_equal(j.chunks_done, done);
    assert_int_equal(sql(r, "SELECT count(*) FROM results"), 1);
    assert_int_equal(sql(r, "SELECT count(*) FROM error_logs"), 0);
    rig_free(r);
}

static void test_a_lost_lease_writes_nothing(void **state)
{
    (void)state;
    struct rig *r = rig_new();
    r->engine.slots = 1;
    r->opts.sweep_ms = 3600000; /* it would take the job back from the stranger */
    char id[ID_SIZE], next[ID_SIZE];
    submit(r, NULL, long_clip, NULL, id);
    start(r);
    wait_for(r, id, has_progress);
    sql(r, "UPDATE jobs SET fence = fence + 1, lease_holder = 'stranger', lease_until = lease_until + 3600000");
    int64_t done = look(r, id).chunks_done, seq = look(r, id).seq;
    submit(r, NULL, short_clip, NULL, next);
    wait_for(r, next, is_completed);
    assert_int_equal(stop(r), 0);
    struct job j = look(r, id);
    assert_int_equal(j.state, JOB_PROCESSING);
    assert_string_equal(j.lease_holder, "stranger");
    assert_int_equal(j.chunks_done, done);
    assert_int_equal(j.seq, seq);
    rig_free(r);
}

static void test_an_expired_lease_is_taken_over(void **state)
{
    (void)state;
    struct rig *r = rig_new();
    char id[ID_SIZE];
    submit(r, NULL, short_clip, NULL, id);
    const struct claim_opts dead = {.holder = "dead worker", .lease_ms = 1, .idle = true};
    struct claimed claimed = {.arena = &r->arena};
    assert_int_equal(store_claim(r->store, &dead, &claimed, 1, &r->err), 1);
    start(r);
    struct job j = wait_for(r, id, is_completed);
    assert_int_equal(j.fence, 2);
    assert_int_equal(j.attempt, 1); /* a death uses up none */
    assert_result_is_sound(r, id);
    rig_free(r);
}

static int hold_lock(struct db_tx *tx, void *arg, struct err *err)
{
    (void)tx;
    (void)err;
    clock_sleep_ms(*(const int64_t *)arg);
    return 0;
}

/* Nothing can be written for that long. */
static void outage(struct rig *r, int64_t ms)
{
    struct db *other = NULL;
    const struct db_opts opts = {.url = r->db_url, .readers = 1, .busy_ms = PATIENCE_MS};
    OK(db_open(&opts, &other, &r->err));
    OK(db_write(other, DB_RELAXED, hold_lock, &ms, &r->err));
    db_close(other);
}

/* For longer than a lease nothing can be written; nobody takes the job over, and no attempt is used up. */
static void test_an_outage_of_the_database_loses_nothing(void **state)
{
    (void)state;
    struct rig *r = rig_new_busy(100);
    r->engine.slots = 1;
    r->opts.lease_ms = 2000;
    char id[ID_SIZE];
    submit(r, NULL, long_clip, NULL, id);
    start(r);
    wait_for(r, id, has_progress);
    outage(r, 2 * r->opts.lease_ms + 500);
    struct job j = wait_for(r, id, is_completed);
    assert_int_equal(j.fence, 1);
    assert_int_equal(j.attempt, 1);
    assert_int_equal(sql(r, "SELECT count(*) FROM error_logs"), 0);
    assert_result_is_sound(r, id);
    rig_free(r);
}

static struct run *claim_run(struct rig *r)
{
    struct run *run = run_new();
    const struct claim_opts claim = {.holder = "me", .lease_ms = 60000, .idle = true};
    struct claimed claimed = {.arena = &run->arena};
    assert_int_equal(store_claim(r->store, &claim, &claimed, 1, &r->err), 1);
    run->job = claimed.job;
    run->claim = (struct claim){.id = run->job.id, .holder = "me", .fence = run->job.fence};
    return run;
}

/* The parts of a worker that keeper and sweeper need. */
static void worker_init(struct worker *w, struct rig *r)
{
    *w = (struct worker){.o = &r->opts, .id = "me", .log = {.component = "test"}};
    pthread_mutex_init(&w->mu, NULL);
    cond_init(&w->ended);
    board_new(&w->board);
    engines_new(&r->engine, NULL, false, &w->engines);
    OK(slots_new(1, &w->slots, &r->err));
}

static void worker_clear(struct worker *w)
{
    slots_free(w->slots);
    engines_free(w->engines);
    board_free(w->board);
}

static bool only_one_is_held(struct rig *r)
{
    return sql(r, "SELECT count(*) FROM jobs WHERE state = 'processing'") == 1;
}

static void end_keeper(struct worker *w, pthread_t keeper)
{
    pthread_mutex_lock(&w->mu);
    w->ending = true;
    pthread_cond_broadcast(&w->ended);
    pthread_mutex_unlock(&w->mu);
    pthread_join(keeper, NULL);
}

/* More strays than the keeper lists at once: what runs is not taken for lost, and all of them are handed back. */
static void test_many_strays(void **state)
{
    (void)state;
    enum { STRAYS = 200 };
    struct rig *r = rig_new();
    struct worker w;
    pthread_t keeper;
    char id[ID_SIZE];
    worker_init(&w, r);
    r->opts.lease_ms = 1000;
    for (int i = 0; i < STRAYS; i++)
        submit(r, "null", short_clip, NULL, id);
    sql(r, "UPDATE jobs SET state = 'processing', lease_holder = 'me', fence = 1, attempt = 1, "
           "lease_until = run_after + 3600000 WHERE state = 'pending'");
    submit(r, "null", short_clip, NULL, id);
    struct run *run = claim_run(r);
    board_add(w.board, run);
    OK(thread_start(&keeper, "keeper", keeper_main, &w, &r->err));
    wait_until(r, only_one_is_held);
    end_keeper(&w, keeper);
    assert_int_equal(run_stopped(run), RUN_GOES_ON);
    assert_int_equal(look(r, run->claim.id).state, JOB_PROCESSING);
    board_remove(w.board, run);
    run_free(run);
    worker_clear(&w);
    rig_free(r);
}

/* During an outage and for a lease length after it, other workers' leases are not held against them. */
static void test_no_lease_expires_in_an_outage(void **state)
{
    (void)state;
    struct rig *r = rig_new_busy(50);
    struct worker w;
    pthread_t keeper;
    char id[ID_SIZE];
    worker_init(&w, r);
    r->opts.lease_ms = 1000;
    submit(r, "null", short_clip, NULL, id);
    const struct claim_opts dead = {.holder = "dead worker", .lease_ms = 1, .idle = true};
    struct claimed claimed = {.arena = &r->arena};
    assert_int_equal(store_claim(r->store, &dead, &claimed, 1, &r->err), 1);
    clock_sleep_ms(20);

    OK(thread_start(&keeper, "keeper", keeper_main, &w, &r->err));
    outage(r, 2500);
    /* The keeper looks again within a second, and then sets the end of the time of grace. */
    int64_t until = clock_mono_ms() + PATIENCE_MS, grace;
    while ((grace = atomic_load(&w.no_expiry_until)) == INT64_MAX && clock_mono_ms() < until)
        clock_sleep_ms(LOOK_MS);
    assert_true(grace > 0 && grace < INT64_MAX);
    end_keeper(&w, keeper);

    atomic_store(&w.no_expiry_until, clock_mono_ms() + PATIENCE_MS);
    OK(sweep(&w, false, &r->err));
    assert_int_equal(look(r, id).state, JOB_PROCESSING);
    atomic_store(&w.no_expiry_until, clock_mono_ms());
    OK(sweep(&w, false, &r->err));
    assert_int_equal(look(r, id).state, JOB_PENDING);
    worker_clear(&w);
    rig_free(r);
}

static void test_drain_hands_back_and_another_goes_on(void **state)
{
    (void)state;
    struct rig *r = rig_new();
    r->engine.slots = 1;
    char id[ID_SIZE];
    submit(r, NULL, long_clip, NULL, id);
    start(r);
    wait_for(r, id, has_progress);
    assert_int_equal(stop(r), 0);
    struct job j = look(r, id);
    assert_int_equal(j.state, JOB_PENDING);
    assert_int_equal(j.attempt, 0);
    assert_null(j.error_message);
    assert_true(j.chunks_done >= 1 && j.chunks_done < j.chunks_total);
    assert_int_equal(count_left_in_temp(r), 0);
    int64_t done = j.chunks_done;

    start(r);
    j = wait_for(r, id, is_completed);
    assert_int_equal(j.attempt, 1);
    assert_int_equal(j.fence, 2);
    assert_int_equal(sql(r, "SELECT count(*) FROM chunks WHERE fence = 1"), done);
    assert_int_equal(sql(r, "SELECT count(*) FROM chunks WHERE fence = 2"), j.chunks_total - done);
    assert_result_is_sound(r, id);
    rig_free(r);
}

static void test_drain_limit_cuts_running_chunks_off(void **state)
{
    (void)state;
    struct rig *r = rig_new();
    r->engine.slots = 1;
    r->opts.drain_ms = 0;
    char id[ID_SIZE];
    submit(r, NULL, long_clip, NULL, id);
    start(r);
    wait_for(r, id, has_progress);
    assert_int_equal(stop(r), 0);
    struct job j = look(r, id);
    assert_int_equal(j.state, JOB_PENDING);
    assert_int_equal(j.attempt, 0);
    rig_free(r);
}

/* An attempt at a job of two chunks that reaches its time limit when `chunks_done` have a checkpoint; 0: none is new.
 */
static void time_out(struct rig *r, struct worker *w, const char *new_plan, size_t chunks_done)
{
    enum { SECOND = 16000 };
    static const struct plan_chunk chunks[] = {{.span = {0, SECOND}}, {.span = {SECOND, 2 * SECOND}}};
    const struct plan two = {.input_sha256 = "x",
                             .engine = "null",
                             .model = new_plan,
                             .task = "transcribe",
                             .total_samples = 2 * SECOND,
                             .chunks = chunks,
                             .n_chunks = ARRAY_LEN(chunks)};
    struct run *run = claim_run(r);
    board_add(w->board, run);
    struct job_ctx c = {.w = w, .r = run, .log = {.component = "test"}, .report = {.stage = STAGE_ENGINE}};
    const struct pipeline_hooks hooks = job_hooks(&c);
    if (new_plan)
        OK(hooks.save_plan(hooks.arg, &two, &r->err));
    const struct segments none = {0};
    const size_t idx = chunks_done - 1;
    const struct done_chunk done = {
        .idx = idx, .span = chunks_done ? chunks[idx].span : (struct span){0, 0}, .segments = &none};
    if (chunks_done)
        OK(hooks.save_chunk(hooks.arg, &done, &(struct progress){.chunks_done = chunks_done, .chunks_total = 2},
                            &r->err));
    struct held held = {.fence = run->claim.fence};
    snprintf(held.id, sizeof held.id, "%s", run->claim.id);
    assert_true(board_stop(w->board, &held, RUN_TIMED_OUT));
    struct err why = ERR_INIT;
    err_set(&why, ERR_CANCELLED, "stopped");
    job_settle(&c, &why);
    board_remove(w->board, run);
    run_free(run);
}

/* It counts only in an attempt that got no chunk further: a plan alone, or a chunk done anew, is no progress. */
static void test_job_time_limit_counts_without_progress(void **state)
{
    (void)state;
    struct rig *r = rig_new();
    struct worker w;
    char id[ID_SIZE];
    worker_init(&w, r);
    r->opts.limits.soft_ms = 1;
    r->opts.retry = (struct retry_policy){.max_attempts = 3};
    submit(r, "null", short_clip, NULL, id);
    static const struct {
        const char *new_plan; /* for this model */
        size_t chunks_done;
        int attempts; /* used up after it */
        int64_t rows; /* chunks with a checkpoint */
    } steps[] = {
        {"a", 1, 0, 1},  /* a chunk more */
        {NULL, 2, 0, 2}, /* and another */
        {"b", 1, 1, 1},  /* all was lost, and less is done than before */
        {NULL, 2, 1, 2}, /* it gets on again */
        {"c", 0, 2, 0},  /* only a plan */
        {NULL, 0, 3, 0}, /* nothing at all; it was the last */
    };
    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        time_out(r, &w, steps[i].new_plan, steps[i].chunks_done);
        struct job j = look(r, id);
        assert_int_equal(j.attempt, steps[i].attempts);
        assert_int_equal(sql(r, "SELECT count(*) FROM chunks"), steps[i].rows);
        assert_int_equal(sql(r, "SELECT count(*) FROM error_logs"), steps[i].attempts);
        assert_int_equal(j.state, steps[i].attempts == 3 ? JOB_FAILED : JOB_PENDING);
    }
    struct job j = look(r, id);
    assert_string_equal(j.error_class, "timeout");
    assert_non_null(strstr(j.error_message, "job_time_limit"));
    worker_clear(&w);
    rig_free(r);
}

static void test_the_time_limit_may_end_a_job(void **state)
{
    (void)state;
    struct rig *r = rig_new();
    r->opts.limits = (struct job_limits){.soft_ms = 1, .fails = true};
    char id[ID_SIZE];
    submit(r, NULL, long_clip, NULL, id);
    start(r);
    struct job j = wait_for(r, id, is_failed);
    assert_string_equal(j.error_class, "timeout");
    assert_int_equal(j.attempt, 1);
    assert_int_equal(sql(r, "SELECT count(*) FROM error_logs WHERE dead = 1"), 1);
    rig_free(r);
}

/* A run that began so long ago. */
static struct run *old_run(struct board *b, const char *id, int64_t age_ms)
{
    struct run *run = run_new();
    run->claim = (struct claim){.id = id, .holder = "me", .fence = 1};
    run->began_ms -= age_ms;
    board_add(b, run);
    return run;
}

static void test_limits_by_the_length_of_the_recording(void **state)
{
    (void)state;
    enum { HOUR = 3600000 };
    struct board *b;
    board_new(&b);
    struct run *young = old_run(b, "young", HOUR / 2), *old = old_run(b, "old", HOUR + 1000),
               *longer = old_run(b, "longer", HOUR + 1000);
    atomic_store(&longer->duration_ms, HOUR);
    board_stop_overdue(b, &(struct job_limits){.factor = 2});
    assert_int_equal(run_stopped(old), RUN_GOES_ON);
    const struct job_limits l = {.soft_ms = HOUR, .factor = 2};
    board_stop_overdue(b, &l);
    assert_int_equal(run_stopped(young), RUN_GOES_ON);
    assert_int_equal(run_stopped(old), RUN_TIMED_OUT);
    assert_int_equal(run_stopped(longer), RUN_GOES_ON);
    longer->began_ms -= HOUR;
    board_stop_overdue(b, &l);
    assert_int_equal(run_stopped(longer), RUN_TIMED_OUT);
    struct run *all[] = {young, old, longer};
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        assert_true(board_remove(b, all[i]));
        run_free(all[i]);
    }
    board_free(b);
}

static void test_what_was_told_to_stop_and_goes_on_hangs(void **state)
{
    (void)state;
    enum { PATIENCE = 60000 };
    struct board *b;
    board_new(&b);
    struct run *goes_on = old_run(b, "goes on", 0), *told = old_run(b, "told", 0), *hangs = old_run(b, "hangs", 0),
               *writes = old_run(b, "writes", 0);
    const struct held ids[] = {{"told", 1}, {"hangs", 1}, {"writes", 1}};
    assert_int_equal(board_hopeful(b, 0, 0), 4);
    for (size_t i = 0; i < ARRAY_LEN(ids); i++)
        assert_true(board_stop(b, &ids[i], RUN_LOST));
    atomic_store(&writes->writing, true);
    writes->stopped_ms -= PATIENCE;
    assert_int_equal(board_hopeful(b, PATIENCE, 0), 3);
    assert_false(board_has_stuck(b, PATIENCE)); /* it waits for the database */
    hangs->stopped_ms -= PATIENCE;
    assert_true(board_has_stuck(b, PATIENCE));
    assert_int_equal(board_hopeful(b, PATIENCE, 0), 2);
    /* Being told again gives it no more time. */
    board_stop_all(b, RUN_HALTED);
    assert_true(board_has_stuck(b, PATIENCE));
    assert_int_equal(run_stopped(hangs), RUN_LOST);
    assert_int_equal(run_stopped(goes_on), RUN_HALTED);
    assert_int_equal(board_hopeful(b, PATIENCE, 0), 1);
    assert_int_equal(board_hopeful(b, 0, PATIENCE), 1);

    assert_true(board_remove(b, goes_on));
    assert_true(board_remove(b, told));
    struct run *left[2] = {board_abandon(b), board_abandon(b)};
    assert_true((left[0] == hangs && left[1] == writes) || (left[0] == writes && left[1] == hangs));
    assert_null(board_abandon(b));
    assert_int_equal(board_count(b), 0);
    assert_false(board_remove(b, hangs)); /* what its thread is told when it comes back */
    struct run *all[] = {goes_on, told, hangs, writes};
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        run_free(all[i]);
    board_free(b);
}

/* Until the worker ends by itself. */
static int wait_for_end(struct rig *r)
{
    pthread_join(r->thread, NULL);
    r->running = false;
    return r->rc;
}

/* What is in work ends in peace, and no more is taken. */
static void test_a_worker_that_has_had_its_share_of_jobs(void **state)
{
    (void)state;
    enum { JOBS = 5, SHARE = 3 };
    struct rig *r = rig_new();
    r->opts.max_jobs = SHARE;
    r->opts.recycle_ms = PATIENCE_MS;
    char id[JOBS][ID_SIZE];
    for (int i = 0; i < JOBS; i++)
        submit(r, i < 2 ? NULL : "null", i < 2 ? long_clip : short_clip, NULL, id[i]);
    start(r);
    assert_int_equal(wait_for_end(r), WORKER_AGAIN);
    assert_int_equal(sql(r, "SELECT count(*) FROM jobs WHERE state = 'completed'"), SHARE);
    assert_int_equal(sql(r, "SELECT count(*) FROM jobs WHERE state = 'pending' AND fence = 0"), JOBS - SHARE);
    assert_int_equal(sql(r, "SELECT count(*) FROM workers"), 0);
    assert_int_equal(count_left_in_temp(r), 0);
    start(r);
    for (int i = 0; i < JOBS; i++) {
        struct job j = wait_for(r, id[i], is_completed);
        assert_int_equal(j.fence, 1); /* none was handed back */
        assert_int_equal(j.attempt, 1);
        assert_result_is_sound(r, id[i]);
    }
    rig_free(r);
}

/* One that takes too long is handed back after the chunk it is at. */
static void test_a_long_job_is_not_waited_for(void **state)
{
    (void)state;
    struct rig *r = rig_new();
    r->engine.slots = 1;
    r->opts.concurrency = 1;
    r->opts.max_jobs = 1;
    r->opts.recycle_ms = 0;
    char id[ID_SIZE];
    submit(r, NULL, long_clip, NULL, id);
    start(r);
    assert_int_equal(wait_for_end(r), WORKER_AGAIN);
    struct job j = look(r, id);
    assert_int_equal(j.state, JOB_PENDING);
    assert_int_equal(j.attempt, 0);
    r->opts.recycle_ms = PATIENCE_MS;
    start(r);
    assert_int_equal(wait_for_end(r), WORKER_AGAIN);
    j = look(r, id);
    assert_int_equal(j.state, JOB_COMPLETED);
    assert_int_equal(j.fence, 2);
    assert_result_is_sound(r, id);
    rig_free(r);
}

static void test_a_worker_that_holds_too_much_memory(void **state)
{
    (void)state;
    enum { BALLAST = 512 << 20 };
    struct rig *r = rig_new();
    r->opts.recycle_ms = PATIENCE_MS;
    r->opts.max_memory_bytes = 1 << 20;
    char id[ID_SIZE], next[ID_SIZE];
    /* A limit that was exceeded before there was any job is none: a worker that ends at once helps nobody. */
    start(r);
    wait_until(r, says_what_it_holds);
    for (int i = 0; i < 3; i++) {
        submit(r, "null", short_clip, NULL, id);
        wait_for(r, id, is_completed);
    }
    assert_int_equal(stop(r), WORKER_ENDED);

    /* A fresh worker grows above it. */
    r->opts.max_memory_bytes = held_now() + BALLAST / 2;
    start(r);
    char *ballast = malloc(BALLAST);
    assert_non_null(ballast);
    submit(r, "null", short_clip, NULL, id);
    wait_for(r, id, is_completed);
    memset(ballast, 1, BALLAST);
    assert_int_equal(wait_for_end(r), WORKER_AGAIN);
    assert_int_equal(ballast[BALLAST - 1], 1);

    /* Still above, but young: it works for a while. */
    r->opts.max_memory_bytes = held_now() - BALLAST / 4;
    r->opts.memory_min_age_ms = 3600000;
    r->opts.max_jobs = 2;
    submit(r, "null", short_clip, NULL, next);
    start(r);
    wait_for(r, next, is_completed);
    submit(r, "null", short_clip, NULL, next);
    assert_int_equal(wait_for_end(r), WORKER_AGAIN);
    assert_int_equal(look(r, next).state, JOB_COMPLETED);
    free(ballast);
    rig_free(r);
}

/* With all places taken nothing more is claimed: what waits can go to any other worker. */
static void test_nothing_is_claimed_ahead(void **state)
{
    (void)state;
    struct rig *r = rig_new();
    r->engine.slots = 1;
    r->opts.concurrency = 1;
    char id[ID_SIZE];
    submit(r, NULL, long_clip, NULL, id);
    start(r);
    wait_for(r, id, has_progress);
    for (int i = 0; i < 4; i++) {
        char more[ID_SIZE];
        submit(r, "null", short_clip, NULL, more);
    }
    for (struct job j = look(r, id); j.state == JOB_PROCESSING; j = look(r, id)) {
        /* In one statement: the job may end between two. */
        assert_int_not_equal(sql(r, "SELECT CASE WHEN (SELECT count(*) FROM jobs WHERE state = 'processing') > 1 "
                                    "THEN 1 ELSE 0 END"),
                             1);
        clock_sleep_ms(LOOK_MS);
    }
    assert_int_equal(sql(r, "SELECT max(fence) FROM jobs"), 1);
    rig_free(r);
}

static bool is_out_of_room(struct rig *r)
{
    return sql(r, "SELECT count(*) FROM workers WHERE info LIKE '%\"out_of_room\":true%'") == 1;
}

static void test_without_room_no_job_is_begun(void **state)
{
    (void)state;
    struct rig *r = rig_new();
    r->opts.min_free_bytes = INT64_MAX / 2;
    char id[ID_SIZE];
    submit(r, "null", short_clip, NULL, id);
    start(r);
    wait_until(r, is_out_of_room);
    assert_int_equal(look(r, id).fence, 0);
    assert_int_equal(stop(r), 0);
    r->opts.min_free_bytes = 1;
    start(r);
    wait_for(r, id, is_completed);
    rig_free(r);
}

static bool was_handed_back_twice(const struct job *j)
{
    return j->fence >= 3;
}

/* A job whose length is known from an earlier attempt. */
static void test_room_for_a_long_recording(void **state)
{
    (void)state;
    struct rig *r = rig_new();
    r->opts.min_free_bytes = 1;
    char id[ID_SIZE];
    struct statvfs v;
    assert_int_equal(statvfs(r->folder, &v), 0);
    int64_t unit = (int64_t)v.f_frsize, free_bytes = (int64_t)v.f_bavail * unit, total = (int64_t)v.f_blocks * unit;
    /* More than is free, less than there is: it may pass. 32 bytes a millisecond. */
    CLEANUP(free_p)
    char *busy = xasprintf("UPDATE jobs SET duration_ms = %lld", (long long)(free_bytes / 2 + total / 2) / 32);
    submit(r, NULL, short_clip, NULL, id);
    sql(r, busy);
    start(r);
    struct job j = wait_for(r, id, was_handed_back_twice);
    assert_int_equal(stop(r), 0);
    j = look(r, id);
    assert_int_equal(j.state, JOB_PENDING);
    assert_int_equal(j.attempt, 0);
    assert_int_equal(sql(r, "SELECT count(*) FROM error_logs"), 0);
    /* More than the whole disk: that will not pass, and ends the job. */
    CLEANUP(free_p) char *never = xasprintf("UPDATE jobs SET duration_ms = %lld", (long long)(2 * total) / 32);
    sql(r, never);
    start(r);
    j = wait_for(r, id, is_failed);
    assert_int_equal(j.attempt, 3);
    assert_string_equal(j.error_class, "unavailable");
    assert_non_null(strstr(j.error_message, "are needed"));
    rig_free(r);
}

static void test_jobs_share_the_slots(void **state)
{
    (void)state;
    struct rig *r = rig_new();
    r->engine.slots = 1;
    r->opts.drain_ms = 0;
    char whale[ID_SIZE], fish[ID_SIZE];
    submit(r, NULL, long_clip, NULL, whale);
    start(r);
    wait_for(r, whale, has_progress);
    submit(r, NULL, short_clip, NULL, fish);
    wait_for(r, fish, is_completed);
    assert_int_equal(look(r, whale).state, JOB_PROCESSING);
    assert_int_equal(stop(r), 0);
    rig_free(r);
}

static bool is_not_processing(const struct job *j)
{
    return j->state != JOB_PROCESSING;
}

/* As if the answer to a claim had been lost: the row says it is ours, and nobody here knows. */
static void test_a_claim_without_an_answer_is_handed_back(void **state)
{
    (void)state;
    struct rig *r = rig_new();
    r->opts.concurrency = 1;
    r->opts.lease_ms = 1000;
    r->opts.drain_ms = 0;
    r->engine.slots = 1;
    char busy[ID_SIZE], lost[ID_SIZE];
    submit(r, NULL, long_clip, NULL, busy);
    start(r);
    wait_for(r, busy, has_progress);
    submit(r, "null", short_clip, NULL, lost);
    sql(r, "UPDATE jobs SET state = 'processing', lease_holder = (SELECT id FROM workers), fence = 1, attempt = 1, "
           "lease_until = run_after + 3600000 WHERE engine = 'null'");
    struct job j = wait_for(r, lost, is_not_processing);
    assert_int_equal(j.deaths, 0);
    assert_int_equal(sql(r, "SELECT count(*) FROM error_logs"), 0);
    rig_free(r);
}

/* Also by a worker that has nothing else to look after. */
static void test_an_idle_worker_hands_back_too(void **state)
{
    (void)state;
    struct rig *r = rig_new();
    r->opts.lease_ms = 1000;
    char lost[ID_SIZE];
    start(r);
    submit(r, "null", short_clip, NULL, lost);
    wait_for(r, lost, is_completed);
    sql(r, "UPDATE jobs SET state = 'processing', lease_holder = (SELECT id FROM workers), fence = fence + 1, "
           "lease_until = run_after + 3600000, finished_at = NULL");
    struct job j = wait_for(r, lost, is_not_processing);
    assert_int_equal(j.deaths, 0);
    rig_free(r);
}

/* A fenced write whose answer is lost, with or without having gone through. */
struct shaky {
    struct rig *r;
    int calls;
    bool goes_through, then_taken;
    int code; /* of the first call */
};

static int shaky_hand_back(struct store *s, const struct claim *c, const void *arg, int64_t *ret_seq, struct err *err)
{
    struct shaky *k = *(struct shaky *const *)arg;
    bool first = k->calls++ == 0;
    int rc = first && !k->goes_through ? 0 : store_hand_back(s, c, 0, ret_seq, err);
    if (!first || rc < 0)
        return rc;
    if (k->then_taken)
        sql(k->r, "UPDATE jobs SET fence = fence + 1, lease_holder = 'stranger'");
    return err_set(err, k->code, "the answer is lost");
}

static void test_a_lost_answer_is_looked_up(void **state)
{
    (void)state;
    static const struct {
        int code;
        bool goes_through, then_taken;
        int expect, calls;
        enum job_state after;
    } cases[] = {
        {ERR_UNCERTAIN, true, false, 0, 1, JOB_PENDING},           /* it had gone through: not done twice */
        {ERR_UNCERTAIN, false, false, 0, 2, JOB_PENDING},          /* it had not: done again */
        {ERR_UNCERTAIN, false, true, ERR_LOST, 1, JOB_PROCESSING}, /* no longer ours: left alone */
        {ERR_BUSY, false, false, 0, 2, JOB_PENDING},
        {ERR_UNAVAILABLE, false, false, 0, 2, JOB_PENDING},
        {ERR_CONFLICT, false, false, ERR_CONFLICT, 1, JOB_PROCESSING}, /* no outage: not tried again */
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct rig *r = rig_new();
        char id[ID_SIZE];
        submit(r, "null", short_clip, NULL, id);
        struct worker w = {.o = &r->opts};
        struct run *run = run_new();
        const struct claim_opts claim = {.holder = "me", .lease_ms = 60000, .idle = true};
        struct claimed claimed = {.arena = &run->arena};
        assert_int_equal(store_claim(r->store, &claim, &claimed, 1, &r->err), 1);
        run->job = claimed.job;
        run->claim = (struct claim){.id = run->job.id, .holder = "me", .fence = run->job.fence};
        struct shaky k = {r, 0, cases[i].goes_through, cases[i].then_taken, cases[i].code}, *arg = &k;
        int64_t seq = 0;
        assert_int_equal(persist(&w, run, JOB_PENDING, shaky_hand_back, &arg, &seq, &r->err), cases[i].expect);
        assert_int_equal(k.calls, cases[i].calls);
        struct job j = look(r, id);
        assert_int_equal(j.state, cases[i].after);
        if (cases[i].expect == 0)
            assert_int_equal(seq, j.seq);
        run_free(run);
        rig_free(r);
    }
}

static int shaky_checkpoint(struct store *s, const struct claim *c, const void *arg, int64_t *ret_seq, struct err *err)
{
    int *calls = *(int *const *)arg;
    const struct job_chunk chunk = {.end_sample = 1, .result = "[]"};
    int64_t lost = 0;
    int rc = store_save_chunk(s, c, &chunk, 0, *calls ? ret_seq : &lost, err);
    return (*calls)++ == 0 && rc == 0 ? err_set(err, ERR_UNCERTAIN, "the answer is lost") : rc;
}

/* The second try finds the checkpoint there; its event has the number of the first. */
static void test_a_checkpoint_without_an_answer_keeps_its_number(void **state)
{
    (void)state;
    struct rig *r = rig_new();
    char id[ID_SIZE];
    submit(r, "null", short_clip, NULL, id);
    struct worker w = {.o = &r->opts};
    struct run *run = claim_run(r);
    int64_t seq = 0;
    OK(store_save_plan(r->store, &run->claim, "{}", 2, 1000, &seq, &r->err));
    int64_t of_plan = seq;
    int calls = 0, *arg = &calls;
    OK(persist(&w, run, JOB_PROCESSING, shaky_checkpoint, &arg, &seq, &r->err));
    assert_int_equal(calls, 2);
    assert_true(seq > of_plan);
    assert_int_equal(seq, look(r, id).seq);
    run_free(run);
    rig_free(r);
}

/* A full disk beside other jobs uses up no attempt: they will give their room back. Alone it does. */
static void test_who_fills_the_disk(void **state)
{
    (void)state;
    for (int others = 0; others < 2; others++) {
        struct rig *r = rig_new();
        struct worker w;
        char id[ID_SIZE];
        worker_init(&w, r);
        submit(r, "null", short_clip, NULL, id);
        struct run *run = claim_run(r), *other = run_new();
        other->claim = (struct claim){.id = "other", .holder = "me", .fence = 1};
        board_add(w.board, run);
        if (others)
            board_add(w.board, other);
        struct job_ctx c = {.w = &w, .r = run, .log = {.component = "test"}};
        c.report = (struct pipeline_report){.stage = STAGE_DECODE, .no_room = true};
        struct err why = ERR_INIT;
        err_set(&why, ERR_UNAVAILABLE, "no room");
        job_settle(&c, &why);
        struct job j = look(r, id);
        assert_int_equal(j.state, JOB_PENDING);
        assert_int_equal(j.attempt, others ? 0 : 1);
        assert_int_equal(sql(r, "SELECT count(*) FROM error_logs"), others ? 0 : 1);
        if (others)
            board_remove(w.board, other);
        board_remove(w.board, run);
        run_free(run);
        run_free(other);
        worker_clear(&w);
        rig_free(r);
    }
}

/* More than the whole disk: that other jobs run is no reason to hand it back for ever. */
static void test_what_never_fits_the_disk_counts_beside_others(void **state)
{
    (void)state;
    struct rig *r = rig_new();
    struct worker w;
    char id[ID_SIZE];
    worker_init(&w, r);
    OK(temp_open(r->temp, &w.temp, &r->err));
    r->opts.min_free_bytes = 1;
    submit(r, NULL, short_clip, NULL, id);
    struct run *run = claim_run(r), *other = run_new();
    run->job.duration_ms = INT64_MAX / 64; /* 32 bytes each */
    other->claim = (struct claim){.id = "other", .holder = "me", .fence = 1};
    board_add(w.board, run);
    board_add(w.board, other);
    job_run(&w, run);
    struct job j = look(r, id);
    assert_int_equal(j.attempt, 1);
    assert_non_null(strstr(j.error_message, "are needed"));
    board_remove(w.board, other);
    board_remove(w.board, run);
    run_free(run);
    run_free(other);
    temp_close(w.temp);
    worker_clear(&w);
    rig_free(r);
}

/* Which attempt is the last at a class: its own rule, else the job's number, else the worker's. */
static void test_attempts_of_a_class(void **state)
{
    (void)state;
    static const struct {
        const char *rules;
        int of_job, expect;
    } cases[] = {{"", 0, 3}, {"", 7, 7}, {"out_of_memory: 2", 0, 2}, {"out_of_memory: 2", 7, 2}, {"timeout: 2", 7, 7}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct worker_opts o = {.retry = {.max_attempts = 3, .base_ms = 10, .cap_ms = 50}};
        struct err err = ERR_INIT;
        assert_int_equal(retry_policy_parse(cases[i].rules, &o.retry, &err), 0);
        struct worker w = {.o = &o};
        struct run *run = run_new();
        run->job.max_attempts = cases[i].of_job;
        const struct job_ctx c = {.w = &w, .r = run};
        assert_int_equal(job_retry_rule(&c, ERR_NOMEM).max_attempts, cases[i].expect);
        run_free(run);
    }
}

/* The same claim can be given out twice when the database server has crashed between. */
static void test_a_job_that_is_claimed_again_ends_its_older_run(void **state)
{
    (void)state;
    struct board *b;
    board_new(&b);
    struct run *old = run_new(), *other = run_new(), *again = run_new();
    old->claim = again->claim = (struct claim){.id = "j1", .holder = "me", .fence = 1};
    other->claim = (struct claim){.id = "j2", .holder = "me", .fence = 1};
    board_add(b, old);
    board_add(b, other);
    board_add(b, again);
    assert_int_equal(run_stopped(old), RUN_LOST);
    assert_true(cancel_is_set(&old->cancel));
    assert_int_equal(run_stopped(other), RUN_GOES_ON);
    assert_int_equal(run_stopped(again), RUN_GOES_ON);
    board_remove(b, old);
    board_remove(b, other);
    board_remove(b, again);
    run_free(old);
    run_free(other);
    run_free(again);
    board_free(b);
}

#ifdef STENO_FAULTS
static bool all_at_once(struct rig *r)
{
    return sql(r, "SELECT count(*) FROM jobs WHERE state = 'processing'") == 3;
}

static bool has_three_places(struct rig *r)
{
    return sql(r, "SELECT count(*) FROM workers WHERE info LIKE '%\"concurrency\":3,\"concurrency_min\":1,"
                  "\"concurrency_now\":3,%'") == 1;
}

/* One at once, and another each second while jobs wait. Each is held back so that all can be in work together. */
static void test_jobs_in_work_follow_the_queue(void **state)
{
    (void)state;
    struct rig *r = rig_new();
    char id[4][ID_SIZE];
    r->opts.concurrency_min = 1;
    for (size_t i = 0; i < ARRAY_LEN(id); i++)
        submit(r, "null", short_clip, NULL, id[i]);
    assert_int_equal(setenv("STENO_FAULT", "job_merged=sleep:15000", 1), 0);
    start(r);
    wait_until(r, all_at_once);
    wait_until(r, has_three_places);
    assert_true(sql(r, "SELECT max(started_at) - min(started_at) FROM jobs WHERE state = 'processing'") >
                2 * PLACES_GROW_MS - 200);
    for (size_t i = 0; i < ARRAY_LEN(id); i++)
        wait_for(r, id[i], is_completed);
    assert_int_equal(stop(r), 0);
    unsetenv("STENO_FAULT");
    rig_free(r);
}

/* The broker only hints: with any of its operations failing, once or always, every job ends as it would anyway. */
static void test_a_broker_that_fails(void **state)
{
    (void)state;
    static const char *const operations[] = {"broker_token", "broker_event", "broker_dead_letter",
                                             "broker_wait",  "broker_depth", "broker_trim"};
    CLEANUP(buf_clear) struct buf all = BUF_INIT(1000);
    for (size_t i = 0; i < ARRAY_LEN(operations); i++)
        buf_addf(&all, "%s%s=fail", i ? "," : "", operations[i]);
    for (size_t i = 0; i <= 2 * ARRAY_LEN(operations); i++) {
        CLEANUP(free_p) char *one = xasprintf("%s=fail@%zu", operations[i / 2 % ARRAY_LEN(operations)], i % 2 + 1);
        struct rig *r = rig_new();
        char good[ID_SIZE], bad[ID_SIZE];
        assert_int_equal(setenv("STENO_FAULT", i < 2 * ARRAY_LEN(operations) ? one : buf_str(&all), 1), 0);
        submit(r, "null", short_clip, NULL, good);
        submit(r, "nosuchengine", short_clip, NULL, bad);
        start(r);
        wait_for(r, good, is_completed);
        wait_for(r, bad, is_failed);
        assert_int_equal(stop(r), 0);
        unsetenv("STENO_FAULT");
        rig_free(r);
    }
}

/* Any one look or change that fails is made again, or its job is, and so is a change whose answer was lost; none ends
 * twice, none uses up an attempt. */
static void test_a_database_that_fails_once(void **state)
{
    (void)state;
    static const struct {
        const char *operation;
        int times;
    } faults[] = {{"db_write=fail", 10}, {"db_write=lost", 10}, {"db_read=fail", 5}};
    for (size_t i = 0; i < ARRAY_LEN(faults); i++)
        for (int n = 1; n <= faults[i].times; n++) {
            CLEANUP(free_p) char *one = xasprintf("%s@%d", faults[i].operation, n);
            struct rig *r = rig_new();
            char good[ID_SIZE];
            submit(r, "null", short_clip, NULL, good);
            assert_int_equal(setenv("STENO_FAULT", one, 1), 0);
            start(r);
            wait_for(r, good, is_completed);
            assert_int_equal(stop(r), 0);
            unsetenv("STENO_FAULT");
            assert_int_equal(sql(r, "SELECT count(*) FROM results"), 1);
            assert_int_equal(sql(r, "SELECT count(*) FROM error_logs"), 0);
            rig_free(r);
        }
}
#endif

static bool is_announced(struct rig *r)
{
    return sql(r, "SELECT count(*) FROM jobs WHERE state = 'pending' AND announced_at IS NOT NULL") == 1;
}

/* Whoever submitted it died before the wake-up, and no place is free to claim it. */
static void test_unannounced_jobs_are_announced(void **state)
{
    (void)state;
    struct rig *r = rig_new();
    r->opts.concurrency = 1;
    r->opts.drain_ms = 0;
    char busy[ID_SIZE], waits[ID_SIZE];
    submit(r, NULL, long_clip, NULL, busy);
    start(r);
    wait_for(r, busy, has_progress);
    submit(r, "null", short_clip, NULL, waits);
    wait_until(r, is_announced);
    rig_free(r);
}

static const char *const orphans[] = {
    "uploads/019a8f3e-7c1d-7b42-9d2a-5e0c6f1a2b3c/nobody.wav",
    "results/019a8f3e-7c1d-7b42-9d2a-5e0c6f1a2b3c/4/transcription.json",
};

static bool no_orphans(struct rig *r)
{
    for (size_t i = 0; i < ARRAY_LEN(orphans); i++)
        if (object_exists(r, orphans[i]))
            return false;
    return true;
}

static void test_the_sweeper_puts_things_right(void **state)
{
    (void)state;
    struct rig *r = rig_new();
    char id[ID_SIZE], waits[ID_SIZE];
    for (size_t i = 0; i < ARRAY_LEN(orphans); i++)
        OK(storage_put_bytes(r->storage, orphans[i], "x", 1, &r->err));
    OK(storage_put_bytes(r->storage, "uploads/readme.txt", "x", 1, &r->err)); /* not ours */

    /* Young orphans stay. */
    submit(r, "null", short_clip, NULL, id);
    start(r);
    wait_for(r, id, is_completed);
    assert_int_equal(stop(r), 0);
    assert_false(no_orphans(r));

    /* Old ones go; what rows point to stays, also the recording of a job that waits. */
    submit(r, "null", short_clip, NULL, waits);
    sql(r, "UPDATE jobs SET run_after = run_after + 3600000 WHERE state = 'pending'");
    sql(r, "INSERT INTO workers (id, host, pid, version, state, started_at, heartbeat_at, running, info) "
           "VALUES ('silent', 'h', 1, 'v', 'running', 1, 1, 0, '{}')");
    r->opts.upload_max_age_ms = -60000;
    start(r);
    wait_until(r, no_orphans);
    assert_int_equal(stop(r), 0);
    assert_true(object_exists(r, "uploads/readme.txt"));
    assert_true(object_exists(r, look(r, waits).audio_key));
    assert_true(object_exists(r, look(r, id).audio_key));
    assert_true(object_exists(r, result_of(r, id).result_key));
    assert_int_equal(sql(r, "SELECT count(*) FROM workers"), 0);
    rig_free(r);
}

static void put_orphans(struct rig *r)
{
    r->opts.upload_max_age_ms = -60000;
    for (size_t i = 0; i < ARRAY_LEN(orphans); i++)
        OK(storage_put_bytes(r->storage, orphans[i], "x", 1, &r->err));
}

/* Looking through a large store takes minutes, which nobody waits for. */
static void test_a_worker_that_leaves_walks_no_further(void **state)
{
    (void)state;
    struct rig *r = rig_new();
    struct worker w;
    worker_init(&w, r);
    put_orphans(r);
    w.ending = true;
    OK(sweep(&w, true, &r->err));
    for (size_t i = 0; i < ARRAY_LEN(orphans); i++)
        assert_true(object_exists(r, orphans[i]));
    w.ending = false;
    OK(sweep(&w, true, &r->err));
    assert_true(no_orphans(r));
    worker_clear(&w);
    rig_free(r);
}

#ifdef STENO_FAULTS
/* A lease that runs out while a walk is under way is seen in it. */
static void test_leases_expire_during_a_walk(void **state)
{
    (void)state;
    struct rig *r = rig_new();
    struct worker w;
    char id[ID_SIZE];
    worker_init(&w, r);
    put_orphans(r);
    r->opts.sweep_ms = 1;
    submit(r, "null", short_clip, NULL, id);
    const struct claim_opts dead = {.holder = "dead worker", .lease_ms = 1, .idle = true};
    struct claimed claimed = {.arena = &r->arena};
    assert_int_equal(store_claim(r->store, &dead, &claimed, 1, &r->err), 1);
    /* Not when the sweep begins; when the first orphan is gone. */
    assert_int_equal(setenv("STENO_FAULT", "storage_delete=sleep:1500", 1), 0);
    atomic_store(&w.no_expiry_until, clock_mono_ms() + 1000);
    OK(sweep(&w, true, &r->err));
    unsetenv("STENO_FAULT");
    assert_int_equal(look(r, id).state, JOB_PENDING);
    assert_true(no_orphans(r));
    worker_clear(&w);
    rig_free(r);
}
#endif

static bool no_audio(struct rig *r)
{
    return sql(r, "SELECT count(*) FROM jobs WHERE state = 'completed' AND audio_gone_at IS NOT NULL") == 1;
}

static void test_recordings_go_when_their_time_has_come(void **state)
{
    (void)state;
    struct rig *r = rig_new();
    r->opts.retention.audio_ms = 0;
    char id[ID_SIZE], waits[ID_SIZE];
    submit(r, "null", short_clip, NULL, waits);
    sql(r, "UPDATE jobs SET run_after = run_after + 3600000");
    submit(r, "null", short_clip, NULL, id);
    start(r);
    wait_for(r, id, is_completed);
    wait_until(r, no_audio);
    assert_int_equal(stop(r), 0);
    assert_false(object_exists(r, look(r, id).audio_key));
    assert_true(object_exists(r, look(r, waits).audio_key));
    assert_int_equal(look(r, waits).state, JOB_PENDING);
    assert_result_is_sound(r, id);
    rig_free(r);
}

/* A job that a worker died on runs alone until it has saved something new. */
static void test_a_suspect_runs_alone(void **state)
{
    (void)state;
    struct rig *r = rig_new();
    r->engine.slots = 1;
    r->opts.drain_ms = 0;
    char suspect[ID_SIZE], other[ID_SIZE];
    submit(r, NULL, long_clip, NULL, suspect);
    start(r);
    wait_for(r, suspect, has_progress);
    assert_int_equal(stop(r), 0);
    int64_t done = look(r, suspect).chunks_done;
    sql(r, "UPDATE jobs SET deaths = 1");
    submit(r, "null", short_clip, NULL, other);
    start(r);
    wait_for(r, other, is_completed);
    struct job j = look(r, suspect);
    assert_true(j.chunks_done > done);
    assert_int_equal(j.deaths, 0);
    rig_free(r);
}

static void test_many_jobs_on_few_threads(void **state)
{
    (void)state;
    enum { MANY = 40 };
    struct rig *r = rig_new();
    char id[MANY][ID_SIZE];
    for (int i = 0; i < MANY; i++)
        submit(r, i % 20 ? "null" : NULL, short_clip, NULL, id[i]);
    sql(r, "UPDATE jobs SET deaths = 1 WHERE engine IS NULL");
    start(r);
    for (int i = 0; i < MANY; i++) {
        struct job j = wait_for(r, id[i], is_completed);
        assert_int_equal(j.fence, 1);
        assert_int_equal(j.deaths, 0);
    }
    assert_int_equal(sql(r, "SELECT count(*) FROM results"), MANY);
    rig_free(r);
}

static void test_a_damaged_plan_is_made_anew(void **state)
{
    (void)state;
    struct rig *r = rig_new();
    char id[ID_SIZE];
    submit(r, "null", short_clip, NULL, id);
    sql(r, "UPDATE jobs SET plan = '{\"version\":1,', chunks_total = 7");
    start(r);
    struct job j = wait_for(r, id, is_completed);
    assert_int_equal(j.chunks_total, 1);
    rig_free(r);
}

static int setup(void **state)
{
    (void)state;
    enum { TIMES = 2 };
    static const char *const once[] = {"The quick brown fox jumps over the lazy dog."};
    static const char *const text[] = {
        "Every session of the parliament began with a long speech about the weather and the harvest of the year.",
        "The engineers measured the temperature of the water in the river at seven places on the same day.",
        "Nobody in the small village could remember a winter with so much snow on the roofs and the roads.",
        "After the concert the musicians went to a restaurant near the station and talked until the morning.",
    };
    const char *many[TIMES * ARRAY_LEN(text)];
    for (size_t i = 0; i < ARRAY_LEN(many); i++)
        many[i] = text[i % ARRAY_LEN(text)];
    struct err err = ERR_INIT;
    char template[] = "/tmp/steno-test-media-XXXXXX";
    if (!mkdtemp(template))
        return -1;
    media = xstrdup(template);
    short_clip = xasprintf("%s/short.wav", media);
    long_clip = xasprintf("%s/long.wav", media);
    int rc = speech_make(media, "short.wav", once, 1, &err);
    if (rc == 0)
        rc = speech_make(media, "long.wav", many, ARRAY_LEN(many), &err);
    if (rc < 0)
        fprintf(stderr, "setup: %s\n", err.msg);
    return rc;
}

static int teardown(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    int rc = io_remove_tree(media, &err);
    free(media);
    free(short_clip);
    free(long_clip);
    return rc;
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "__decode") == 0)
        return decode_child_main(argc, argv);
    if (argc > 1 && strcmp(argv[1], "__engine") == 0)
        return engine_child_main(argc, argv);
    /* Not stop_install: a Ctrl-C shall end the test, not each of its workers. */
    signal(SIGPIPE, SIG_IGN);
    log_setup(getenv("STENO_TEST_VERBOSE") ? LOG_DEBUG : LOG_ERROR, false);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_jobs_complete),
        cmocka_unit_test(test_wrong_requests_fail_for_good),
        cmocka_unit_test(test_a_failure_that_passes_is_tried_again),
        cmocka_unit_test(test_attempts_end_in_a_dead_letter),
        cmocka_unit_test(test_what_was_left_long_ago_does_not_spoil_the_end),
        cmocka_unit_test(test_cancel_stops_the_work),
        cmocka_unit_test(test_a_lost_lease_writes_nothing),
        cmocka_unit_test(test_an_expired_lease_is_taken_over),
        cmocka_unit_test(test_an_outage_of_the_database_loses_nothing),
        cmocka_unit_test(test_a_job_that_is_claimed_again_ends_its_older_run),
        cmocka_unit_test(test_many_strays),
        cmocka_unit_test(test_no_lease_expires_in_an_outage),
        cmocka_unit_test(test_drain_hands_back_and_another_goes_on),
        cmocka_unit_test(test_drain_limit_cuts_running_chunks_off),
        cmocka_unit_test(test_job_time_limit_counts_without_progress),
        cmocka_unit_test(test_the_time_limit_may_end_a_job),
        cmocka_unit_test(test_limits_by_the_length_of_the_recording),
        cmocka_unit_test(test_what_was_told_to_stop_and_goes_on_hangs),
        cmocka_unit_test(test_a_worker_that_has_had_its_share_of_jobs),
        cmocka_unit_test(test_a_long_job_is_not_waited_for),
        cmocka_unit_test(test_a_worker_that_holds_too_much_memory),
        cmocka_unit_test(test_nothing_is_claimed_ahead),
        cmocka_unit_test(test_without_room_no_job_is_begun),
        cmocka_unit_test(test_room_for_a_long_recording),
        cmocka_unit_test(test_jobs_share_the_slots),
        cmocka_unit_test(test_a_claim_without_an_answer_is_handed_back),
        cmocka_unit_test(test_an_idle_worker_hands_back_too),
        cmocka_unit_test(test_a_lost_answer_is_looked_up),
        cmocka_unit_test(test_a_checkpoint_without_an_answer_keeps_its_number),
        cmocka_unit_test(test_who_fills_the_disk),
        cmocka_unit_test(test_what_never_fits_the_disk_counts_beside_others),
        cmocka_unit_test(test_attempts_of_a_class),
#ifdef STENO_FAULTS
        cmocka_unit_test(test_a_broker_that_fails),
        cmocka_unit_test(test_a_database_that_fails_once),
        cmocka_unit_test(test_jobs_in_work_follow_the_queue),
        cmocka_unit_test(test_leases_expire_during_a_walk),
#endif
        cmocka_unit_test(test_unannounced_jobs_are_announced),
        cmocka_unit_test(test_the_sweeper_puts_things_right),
        cmocka_unit_test(test_a_worker_that_leaves_walks_no_further),
        cmocka_unit_test(test_recordings_go_when_their_time_has_come),
        cmocka_unit_test(test_a_suspect_runs_alone),
        cmocka_unit_test(test_many_jobs_on_few_threads),
        cmocka_unit_test(test_a_damaged_plan_is_made_anew),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
