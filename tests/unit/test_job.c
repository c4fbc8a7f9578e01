/* SPDX-License-Identifier: MIT */
#include "job/job.h"

#include "base/macros.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

/* Written out apart from the table it checks: every pair that is not here is illegal. */
static const struct {
    enum job_state from, to;
} legal[] = {
    {JOB_PENDING, JOB_PROCESSING},   {JOB_PENDING, JOB_CANCELLED}, {JOB_PROCESSING, JOB_PENDING},
    {JOB_PROCESSING, JOB_COMPLETED}, {JOB_PROCESSING, JOB_FAILED}, {JOB_PROCESSING, JOB_CANCELLED},
    {JOB_FAILED, JOB_PENDING},
};

static void test_every_step(void **state)
{
    (void)state;
    for (int from = 0; from < JOB_STATE_COUNT; from++) {
        for (int to = 0; to < JOB_STATE_COUNT; to++) {
            bool want = false;
            for (size_t i = 0; i < ARRAY_LEN(legal); i++)
                want = want || ((int)legal[i].from == from && (int)legal[i].to == to);
            assert_int_equal(job_step_ok((enum job_state)from, (enum job_state)to), want);
        }
    }
}

static void test_terminal_states(void **state)
{
    (void)state;
    assert_false(job_state_terminal(JOB_PENDING));
    assert_false(job_state_terminal(JOB_PROCESSING));
    assert_true(job_state_terminal(JOB_COMPLETED));
    assert_true(job_state_terminal(JOB_FAILED));
    assert_true(job_state_terminal(JOB_CANCELLED));
}

static void test_words_round_trip(void **state)
{
    (void)state;
    for (int i = 0; i < JOB_STATE_COUNT; i++) {
        enum job_state s = JOB_STATE_COUNT;
        assert_true(job_state_parse(job_state_name((enum job_state)i), &s));
        assert_int_equal(s, i);
    }
    for (int i = 0; i < QUEUE_COUNT; i++) {
        enum job_queue q = QUEUE_COUNT;
        assert_true(job_queue_parse(job_queue_name((enum job_queue)i), &q));
        assert_int_equal(q, i);
    }
    /* They stand in rows and in the API: changing one is a migration. */
    assert_string_equal(job_state_name(JOB_PENDING), "pending");
    assert_string_equal(job_state_name(JOB_PROCESSING), "processing");
    assert_string_equal(job_state_name(JOB_COMPLETED), "completed");
    assert_string_equal(job_state_name(JOB_FAILED), "failed");
    assert_string_equal(job_state_name(JOB_CANCELLED), "cancelled");
    assert_string_equal(job_queue_name(QUEUE_HIGH), "high");
    assert_string_equal(job_queue_name(QUEUE_NORMAL), "normal");
    assert_string_equal(job_queue_name(QUEUE_RETRY), "retry");
}

static void test_other_words_are_refused(void **state)
{
    (void)state;
    static const char *const words[] = {NULL, "", "Pending", "pending ", "queued", "HIGH", "low"};
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        enum job_state s = JOB_STATE_COUNT;
        enum job_queue q = QUEUE_COUNT;
        assert_false(job_state_parse(words[i], &s));
        assert_false(job_queue_parse(words[i], &q));
        assert_int_equal(s, JOB_STATE_COUNT);
        assert_int_equal(q, QUEUE_COUNT);
    }
}

static void test_lists_of_queues(void **state)
{
    (void)state;
    static const struct {
        const char *list;
        size_t n;
        enum job_queue v[QUEUE_COUNT];
    } good[] = {
        {"high", 1, {QUEUE_HIGH}},
        {"retry,normal", 2, {QUEUE_RETRY, QUEUE_NORMAL}},
        {" normal , high,  retry ", 3, {QUEUE_NORMAL, QUEUE_HIGH, QUEUE_RETRY}},
        {"high,", 1, {QUEUE_HIGH}},
    };
    static const struct {
        const char *list, *says;
    } bad[] = {
        {"", "no queue is named"},
        {"high,low", "there is no queue 'low', only high, normal and retry"},
        {"high,,retry", "there is no queue ''"},
        {"high, retry,high", "the queue 'high' stands twice"},
        {"normal high", "there is no queue 'normal high'"},
        {"normalnormalnormalnormal", "there is no queue 'normalnormalnormalnormal'"},
    };
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        struct err err = ERR_INIT;
        struct job_queues q = {.n = 0};
        assert_int_equal(job_queues_parse(good[i].list, &q, &err), 0);
        assert_int_equal(q.n, good[i].n);
        for (size_t k = 0; k < q.n; k++)
            assert_int_equal(q.v[k], good[i].v[k]);
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct err err = ERR_INIT;
        struct job_queues q = {.n = 7};
        assert_int_equal(job_queues_parse(bad[i].list, &q, &err), ERR_INVALID);
        assert_non_null(strstr(err.msg, bad[i].says));
        assert_int_equal(q.n, 7);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_step),       cmocka_unit_test(test_terminal_states),
        cmocka_unit_test(test_words_round_trip), cmocka_unit_test(test_other_words_are_refused),
        cmocka_unit_test(test_lists_of_queues),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
