/* SPDX-License-Identifier: MIT */
/* The job store, call by call: src/job/store.h. The clock stands still unless a test moves it. */
#include "fixture.h"

#include "base/id.h"

/* ---- helpers ---- */

struct ids {
    char id[ID_SIZE];
    int64_t created_at;
};

/* The order of lists and, in a FIFO queue, of claims: ids made in one millisecond are in no order of their own. */
static int by_age(const void *a, const void *b)
{
    const struct ids *x = a, *y = b;
    if (x->created_at != y->created_at)
        return x->created_at < y->created_at ? -1 : 1;
    return strcmp(x->id, y->id);
}

static struct job_new a_job(const char *id)
{
    return (struct job_new){.id = id,
                            .queue = QUEUE_NORMAL,
                            .filename = "talk.mp3",
                            .audio_key = "uploads/x/talk.mp3",
                            .audio_sha256 = "ab12",
                            .audio_bytes = 1234};
}

static struct ids submit(struct fixture *f, enum job_queue queue)
{
    struct err e = ERR_INIT;
    struct ids id = {.created_at = fixture_clock()};
    id_new(id.id);
    struct job_new j = a_job(id.id);
    j.queue = queue;
    OK(store_submit(f->store, &j, &e));
    return id;
}

static void pass(int64_t ms)
{
    fixture_set_clock(fixture_clock() + ms);
}

static int try_claim(struct fixture *f, const char *holder, bool idle, struct job *ret)
{
    struct err e = ERR_INIT;
    return (int)OK(store_claim(f->store, &(struct claim_opts){.holder = holder, .lease_ms = 30000, .idle = idle},
                               &f->arena, ret, &e));
}

/* Claims what must be there. */
static struct claim claim(struct fixture *f, const char *holder)
{
    struct job j;
    assert_int_equal(try_claim(f, holder, true, &j), 1);
    return (struct claim){j.id, holder, j.fence};
}

static struct job get(struct fixture *f, const char *id)
{
    struct err e = ERR_INIT;
    struct job j;
    OK(store_get(f->store, id, &f->arena, &j, &e));
    return j;
}

static struct claim planned(struct fixture *f, const char *holder, int chunks)
{
    struct err e = ERR_INIT;
    struct claim c = claim(f, holder);
    int64_t seq;
    OK(store_save_plan(f->store, &c, "{\"plan\":1}", chunks, 60000, &seq, &e));
    return c;
}

static int save_chunk(struct fixture *f, const struct claim *c, int64_t idx, int64_t *ret_seq, struct err *e)
{
    struct job_chunk k = {.idx = idx, .start_sample = idx * 100, .end_sample = idx * 100 + 99, .result = "[]"};
    return store_save_chunk(f->store, c, &k, (idx + 1) * 1000, ret_seq, e);
}

static const struct job_result a_result = {.result_key = "results/x/1/transcription.json",
                                           .text = "hello",
                                           .engine = "null",
                                           .model = "none",
                                           .confidence = -1};
static const struct job_failure a_failure = {
    .error_class = "timeout", .message = "too slow", .stage = "decode", .detail = "stderr", .worker = "w1"};

static struct ids completed(struct fixture *f)
{
    struct err e = ERR_INIT;
    int64_t seq;
    struct ids id = submit(f, QUEUE_HIGH);
    struct claim c = claim(f, "w");
    assert_string_equal(c.id, id.id);
    OK(store_complete(f->store, &c, &a_result, &seq, &e));
    return id;
}

static struct ids failed(struct fixture *f)
{
    struct err e = ERR_INIT;
    int64_t seq;
    struct ids id = submit(f, QUEUE_HIGH);
    struct claim c = claim(f, "w");
    assert_string_equal(c.id, id.id);
    OK(store_fail(f->store, &c, &a_failure, &seq, &e));
    return id;
}

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
    n.audio_sha256 = "other";
    FAILS(ERR_CONFLICT, "exists already", store_submit(f->store, &n, &e));
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
        OK(store_position(f->store, fifo[i], &position, &e));
        assert_int_equal(position, 0);
        if (i + 1 < ARRAY_LEN(fifo)) {
            OK(store_position(f->store, retry.id, &position, &e));
            assert_int_equal(position, ARRAY_LEN(fifo) - 1 - i);
        }
        assert_string_equal(claim(f, "w").id, fifo[i]);
        OK(store_position(f->store, fifo[i], &position, &e));
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
            OK(store_position(f->store, lifo[k], &position, &e));
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
    OK(store_position(f->store, first.id, &position, &e));
    assert_int_equal(position, 1); /* older, but not due: the other goes first */
    OK(store_position(f->store, second.id, &position, &e));
    assert_int_equal(position, 0);
    assert_string_equal(claim(f, "w").id, second.id);
    assert_int_equal(try_claim(f, "w", true, &j), 0);
    pass(4998);
    assert_int_equal(try_claim(f, "w", true, &j), 0);
    pass(1);
    assert_string_equal(claim(f, "w").id, first.id);
    FAILS(ERR_NOT_FOUND, "no job", store_position(f->store, "x", &position, &e));
}

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
    FAILS(ERR_INTERNAL, "not in the plan", save_chunk(f, &c, 3, &seq, &e));
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
                           .confidence = 0.25};
    FAILS(ERR_INTERNAL, "0 of 1 chunks", store_complete(f->store, &c, &w, &seq, &e));
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
    struct ids other = completed(f);
    OK(store_get_result(f->store, other.id, &f->arena, &r, &e));
    assert_true(r.confidence == -1);
    assert_null(r.language);
    FAILS(ERR_NOT_FOUND, "no job", store_get_result(f->store, "x", &f->arena, &r, &e));
    other = failed(f);
    FAILS(ERR_CONFLICT, "is failed: it has no transcript", store_get_result(f->store, other.id, &f->arena, &r, &e));
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
    struct claim wrong_holder = {second.id, "w2", second.fence}, future = {second.id, "w1", second.fence + 1};
    check_lost(f, &wrong_holder);
    check_lost(f, &future);
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

    /* A chunk also clears deaths that were counted before. */
    id = submit(f, QUEUE_NORMAL);
    claim(f, "w");
    expire_one(f);
    assert_int_equal(get(f, id.id).deaths, 1);
    c = planned(f, "w", 3);
    assert_int_equal(get(f, id.id).deaths, 0); /* and so does the first plan */
    expire_one(f);
    claim(f, "w");
    expire_one(f);
    assert_int_equal(get(f, id.id).deaths, 1);
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
    pass(5000);
    OK(store_unannounced(f->store, 10, &f->arena, &jobs, &n, &e));
    assert_int_equal(n, 2);
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
    OK(store_ended_before(f->store, 1000020, 10, &f->arena, &jobs, &n, &e));
    assert_int_equal(n, 2);
    assert_string_equal(jobs[0].id, a.id);
    assert_string_equal(jobs[1].id, b.id);
    OK(store_ended_before(f->store, 2000000, 1, &f->arena, &jobs, &n, &e));
    assert_int_equal(n, 1);
    OK(store_ended_before(f->store, -5, 10, &f->arena, &jobs, &n, &e));
    assert_int_equal(n, 0);

    OK(store_give_up_audio(f->store, a.id, &e));
    OK(store_give_up_audio(f->store, a.id, &e));
    assert_int_equal(get(f, a.id).audio_gone_at, 1000020);
    OK(store_audio_before(f->store, 2000000, 10, &f->arena, &jobs, &n, &e));
    assert_int_equal(n, 2);
    assert_string_equal(jobs[0].id, b.id);
    assert_string_equal(jobs[1].id, c.id);
    OK(store_ended_before(f->store, 2000000, 10, &f->arena, &jobs, &n, &e));
    assert_int_equal(n, 3);
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
    assert_int_equal(rows[0].pid, 42);
    assert_string_equal(rows[1].id, "w2");
    assert_string_equal(rows[1].host, "h");
    assert_string_equal(rows[1].version, "1");
    assert_string_equal(rows[1].state, "draining");
    assert_string_equal(rows[1].info, "{\"a\":1}");
    assert_int_equal(rows[1].running, 3);
    assert_int_equal(rows[1].started_at, 6);
    assert_int_equal(rows[1].heartbeat_at, 1001000);
    OK(store_drop_workers(f->store, 1000500, &e));
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
    OK(store_counts(f->store, &k, &e));
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
    OK(store_counts(f->store, &k, &e));
    assert_int_equal(k.by_state[JOB_PENDING], 4);
    assert_int_equal(k.by_state[JOB_PROCESSING], 1);
    assert_int_equal(k.by_state[JOB_COMPLETED], 1);
    assert_int_equal(k.by_state[JOB_FAILED], 1);
    assert_int_equal(k.by_state[JOB_CANCELLED], 1);
    assert_int_equal(k.ready[QUEUE_HIGH], 0);
    assert_int_equal(k.ready[QUEUE_NORMAL], 2);
    assert_int_equal(k.ready[QUEUE_RETRY], 1);
    assert_int_equal(k.delayed, 1);
    assert_int_equal(k.oldest_pending_ms, 1500);
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
    const struct CMUnitTest tests[] = {
        T(test_submit_keeps_every_field),
        T(test_submit_defaults_and_bad_ids),
        T(test_submit_again_is_the_same_submission),
        T(test_a_full_queue_is_busy),
        T(test_queues_first_then_age),
        T(test_lifo_takes_the_newest_of_a_queue),
        T(test_what_is_not_due_waits),
        T(test_a_claim_sets_lease_fence_and_attempt),
        T(test_renewing_and_losing),
        T(test_checkpoints),
        T(test_another_plan_drops_checkpoints_the_same_keeps_them),
        T(test_checkpoints_outlive_the_claim),
        T(test_complete_writes_the_result),
        T(test_a_retry_goes_to_the_retry_queue_with_an_error_row),
        T(test_handing_back_costs_nothing),
        T(test_failing_is_a_dead_letter),
        T(test_foreign_texts_are_cleaned_and_cut),
        T(test_cancel),
        T(test_purge_takes_everything_of_an_ended_job),
        T(test_retrying_a_failed_job),
        T(test_a_stale_claim_writes_nothing),
        T(test_ends_leave_no_claim),
        T(test_three_deaths_without_progress_dead_letter),
        T(test_progress_clears_deaths),
        T(test_planning_again_is_no_progress),
        T(test_a_renewed_lease_is_not_swept),
        T(test_unannounced_jobs_are_found_when_due),
        T(test_which_objects_are_wanted),
        T(test_retention),
        T(test_workers),
        T(test_counts),
        T(test_lists_are_stable_under_inserts),
        T(test_lists_leave_the_plan_out),
        T(test_bad_cursors_and_limits),
        T(test_errors_by_job_and_page),
        T(test_new_refuses_nonsense),
    };
    return cmocka_run_group_tests(tests, fixture_setup_group, fixture_teardown_group);
}
