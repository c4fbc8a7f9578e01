/* SPDX-License-Identifier: MIT */
/* The sweeper keeps the broker's queues as long as the jobs that wait, on a store and a broker that only counts. */
#include "fixture.h"

#include "base/id.h"
#include "base/macros.h"
#include "broker/broker_ops.h"
#include "worker/tokens.h"

struct counting {
    struct broker base;
    int64_t depth[QUEUE_COUNT], sent, trims;
    bool away;
    char last_job[64];
    size_t rivals; /* so many of them have not begun yet: each sweeps when the one before it sends its first token */
};

static struct counting broker;
static struct worker_opts opts;
static struct worker w, rivals[3];

static enum job_queue queue_of(const char *word)
{
    enum job_queue q = QUEUE_COUNT;
    assert_true(job_queue_parse(word, &q));
    return q;
}

static int fake_token(struct broker *b, const char *queue, const char *body, size_t len, struct err *err)
{
    (void)b;
    if (broker.away)
        return err_set(err, ERR_UNAVAILABLE, "away");
    int rc = broker.rivals ? tokens_sweep(&rivals[--broker.rivals], err) : 0;
    if (rc < 0)
        return rc;
    broker.depth[queue_of(queue)]++;
    broker.sent++;
    snprintf(broker.last_job, sizeof broker.last_job, "%.*s", (int)MIN(len, 60), body);
    return 0;
}

static int fake_depth(struct broker *b, const char *queue, int64_t *ret, struct err *err)
{
    (void)b;
    if (broker.away)
        return err_set(err, ERR_UNAVAILABLE, "away");
    *ret = broker.depth[queue_of(queue)];
    return 0;
}

static int fake_trim(struct broker *b, const char *queue, int64_t surplus, int64_t keep, struct err *err)
{
    (void)b;
    (void)err;
    enum job_queue q = queue_of(queue);
    assert_int_equal(broker.depth[q] - surplus, keep); /* nothing comes in between here */
    broker.depth[q] -= surplus;
    broker.trims++;
    return 0;
}

static const struct broker_ops keeps_tokens = {.send_token = fake_token, .depth = fake_depth, .trim = fake_trim};
static const struct broker_ops keeps_none = {.send_token = fake_token};

static void start(struct fixture *f, const struct broker_ops *ops)
{
    broker = (struct counting){.base.ops = ops};
    opts = (struct worker_opts){.store = f->store, .broker = &broker.base};
    w = (struct worker){.o = &opts};
    for (size_t i = 0; i < ARRAY_LEN(rivals); i++)
        rivals[i] = w;
}

static void submit(struct fixture *f, enum job_queue q, int n, bool announced)
{
    struct err e = ERR_INIT;
    for (int i = 0; i < n; i++) {
        char id[ID_SIZE];
        id_new(id);
        struct job_new job = {.id = id, .queue = q, .filename = "a", .audio_key = "k", .audio_sha256 = "s"};
        OK(store_submit(f->store, &job, &e));
        if (announced)
            OK(store_mark_announced(f->store, id, &e));
    }
}

static void sweep_once(void)
{
    struct err e = ERR_INIT;
    OK(tokens_sweep(&w, &e));
}

static int64_t unannounced(struct fixture *f)
{
    return fixture_int(f->db, "SELECT count(*) FROM jobs WHERE announced_at IS NULL");
}

static void test_what_was_not_announced(void **state)
{
    struct fixture *f = *state;
    start(f, &keeps_tokens);
    submit(f, QUEUE_NORMAL, 3, false);
    submit(f, QUEUE_HIGH, 2, false);
    broker.depth[QUEUE_NORMAL] = 2; /* two of them were sent, only the note is missing */
    sweep_once();
    assert_int_equal(broker.depth[QUEUE_NORMAL], 3);
    assert_int_equal(broker.depth[QUEUE_HIGH], 2);
    assert_int_equal(broker.sent, 3);
    assert_int_equal(unannounced(f), 0);
    sweep_once();
    sweep_once();
    assert_int_equal(broker.sent, 3);
    assert_int_equal(broker.trims, 0);
}

static void test_a_broker_that_keeps_none(void **state)
{
    struct fixture *f = *state;
    start(f, &keeps_none);
    submit(f, QUEUE_NORMAL, 3, false);
    submit(f, QUEUE_NORMAL, 3, true);
    for (int i = 0; i < 3; i++)
        sweep_once();
    assert_int_equal(broker.sent, 3);
    assert_int_equal(unannounced(f), 0);
}

/* A difference that only one sweep sees is a job or a token on its way. */
static void test_lost_tokens_are_sent_again(void **state)
{
    struct fixture *f = *state;
    start(f, &keeps_tokens);
    submit(f, QUEUE_NORMAL, 5, true);
    submit(f, QUEUE_RETRY, 1, true);
    broker.depth[QUEUE_RETRY] = 1;
    sweep_once();
    assert_int_equal(broker.sent, 0);
    broker.depth[QUEUE_NORMAL] = 2; /* two were on their way */
    sweep_once();
    assert_int_equal(broker.sent, 3);
    assert_int_equal(broker.depth[QUEUE_NORMAL], 5);
    assert_non_null(strstr(broker.last_job, "\"job_id\""));
    sweep_once();
    sweep_once();
    assert_int_equal(broker.sent, 3);
    assert_int_equal(broker.depth[QUEUE_RETRY], 1);
}

static void test_stale_tokens_are_dropped(void **state)
{
    struct fixture *f = *state;
    start(f, &keeps_tokens);
    submit(f, QUEUE_NORMAL, 2, true);
    broker.depth[QUEUE_NORMAL] = 10;
    broker.depth[QUEUE_HIGH] = 4;
    sweep_once();
    assert_int_equal(broker.trims, 0);
    broker.depth[QUEUE_NORMAL] = 7;
    sweep_once();
    assert_int_equal(broker.depth[QUEUE_NORMAL], 2);
    assert_int_equal(broker.depth[QUEUE_HIGH], 0);
    broker.depth[QUEUE_NORMAL] = 1; /* the other way round now: believed by the second sweep */
    sweep_once();
    assert_int_equal(broker.sent, 0);
    sweep_once();
    assert_int_equal(broker.depth[QUEUE_NORMAL], 2);
}

/* A queue that grows while it is looked at: what both sweeps saw is dropped, no more. */
static void test_the_smaller_difference_counts(void **state)
{
    struct fixture *f = *state;
    start(f, &keeps_tokens);
    broker.depth[QUEUE_NORMAL] = 3;
    sweep_once();
    broker.depth[QUEUE_NORMAL] = 8;
    sweep_once();
    assert_int_equal(broker.depth[QUEUE_NORMAL], 5);
}

/* Tokens would only wake workers for nothing. */
static void test_a_paused_queue_lacks_none(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    start(f, &keeps_tokens);
    submit(f, QUEUE_NORMAL, 5, true);
    submit(f, QUEUE_NORMAL, 2, false);
    submit(f, QUEUE_HIGH, 1, true);
    broker.depth[QUEUE_NORMAL] = 1;
    OK(store_pause_queue(f->store, QUEUE_NORMAL, &e));
    for (int i = 0; i < 3; i++)
        sweep_once();
    assert_int_equal(broker.depth[QUEUE_NORMAL], 1);
    assert_int_equal(broker.depth[QUEUE_HIGH], 1);
    assert_int_equal(unannounced(f), 0);
    OK(store_resume_queue(f->store, QUEUE_NORMAL, &e));
    for (int i = 0; i < 2; i++)
        sweep_once();
    assert_int_equal(broker.depth[QUEUE_NORMAL], 7);
}

static void test_no_flood(void **state)
{
    struct fixture *f = *state;
    start(f, &keeps_tokens);
    submit(f, QUEUE_NORMAL, 300, false);
    sweep_once();
    assert_int_equal(broker.sent, 200);
    sweep_once();
    assert_int_equal(broker.sent, 300);
    for (int i = 0; i < 4; i++)
        sweep_once();
    assert_int_equal(broker.sent, 300);
}

/* All of them saw the same queue and the same jobs before one sent anything. */
static void sweep_together(void)
{
    broker.rivals = ARRAY_LEN(rivals);
    sweep_once();
    assert_int_equal(broker.rivals, 0);
}

static void sweep_in_turn(int rounds)
{
    struct err e = ERR_INIT;
    for (int i = 0; i < rounds; i++) {
        sweep_once();
        for (size_t k = 0; k < ARRAY_LEN(rivals); k++)
            OK(tokens_sweep(&rivals[k], &e));
    }
}

static void test_several_sweepers(void **state)
{
    struct fixture *f = *state;
    enum { JOBS = 300, BATCH = 200, SWEEPERS = 1 + ARRAY_LEN(rivals) };
    start(f, &keeps_tokens);
    submit(f, QUEUE_NORMAL, JOBS, false);
    sweep_together();
    assert_int_equal(broker.depth[QUEUE_NORMAL], SWEEPERS * BATCH); /* each the same ones */
    sweep_in_turn(2);
    assert_int_equal(broker.depth[QUEUE_NORMAL], JOBS);
    assert_int_equal(unannounced(f), 0);

    broker.depth[QUEUE_NORMAL] = 0; /* the broker came back empty */
    sweep_in_turn(1);
    sweep_together();
    assert_int_equal(broker.depth[QUEUE_NORMAL], SWEEPERS * BATCH);
    sweep_in_turn(2);
    assert_int_equal(broker.depth[QUEUE_NORMAL], JOBS);

    int64_t sent = broker.sent, trims = broker.trims;
    sweep_in_turn(2);
    assert_int_equal(broker.sent, sent);
    assert_int_equal(broker.trims, trims);
}

static void test_an_outage(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    start(f, &keeps_tokens);
    submit(f, QUEUE_NORMAL, 3, false);
    submit(f, QUEUE_NORMAL, 2, true);
    broker.away = true;
    FAILS(ERR_UNAVAILABLE, "away", tokens_sweep(&w, &e));
    FAILS(ERR_UNAVAILABLE, "away", tokens_sweep(&w, &e));
    assert_int_equal(unannounced(f), 3);
    broker.away = false; /* and it came back empty */
    for (int i = 0; i < 3; i++)
        sweep_once();
    assert_int_equal(broker.depth[QUEUE_NORMAL], 5);
    assert_int_equal(unannounced(f), 0);
}

int main(void)
{
#define with_store(t) cmocka_unit_test_setup_teardown(t, fixture_setup_store, fixture_teardown)
    const struct CMUnitTest tests[] = {
        with_store(test_what_was_not_announced),
        with_store(test_a_broker_that_keeps_none),
        with_store(test_lost_tokens_are_sent_again),
        with_store(test_stale_tokens_are_dropped),
        with_store(test_the_smaller_difference_counts),
        with_store(test_a_paused_queue_lacks_none),
        with_store(test_no_flood),
        with_store(test_several_sweepers),
        with_store(test_an_outage),
    };
    return cmocka_run_group_tests(tests, fixture_setup_group, fixture_teardown_group);
}
