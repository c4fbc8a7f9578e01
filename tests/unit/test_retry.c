/* SPDX-License-Identifier: MIT */
#include "worker/retry.h"

#include "base/macros.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static const struct retry_policy policy = {.max_attempts = 5, .base_ms = 1000, .cap_ms = 6000};

/* Every class: what happens to a job whose engine, and whose storage, failed like that in the first attempt. */
static const struct {
    int code;
    enum retry_verdict engine, store;
} verdicts[] = {
    {ERR_NOMEM, RETRY_LATER, RETRY_BACK},       {ERR_INVALID, RETRY_FAIL, RETRY_FAIL},
    {ERR_NOT_FOUND, RETRY_FAIL, RETRY_FAIL},    {ERR_CONFLICT, RETRY_FAIL, RETRY_FAIL},
    {ERR_BUSY, RETRY_LATER, RETRY_BACK},        {ERR_TIMEOUT, RETRY_LATER, RETRY_BACK},
    {ERR_UNAVAILABLE, RETRY_LATER, RETRY_BACK}, {ERR_UNCERTAIN, RETRY_LATER, RETRY_BACK},
    {ERR_TOO_LARGE, RETRY_FAIL, RETRY_FAIL},    {ERR_CORRUPT, RETRY_FAIL, RETRY_FAIL},
    {ERR_UNSUPPORTED, RETRY_FAIL, RETRY_FAIL},  {ERR_CANCELLED, RETRY_BACK, RETRY_BACK},
    {ERR_LOST, RETRY_DROP, RETRY_DROP},         {ERR_CRASHED, RETRY_LATER, RETRY_BACK},
    {ERR_INTERNAL, RETRY_FAIL, RETRY_FAIL},
};

static void test_every_class_has_its_verdict(void **state)
{
    (void)state;
#define X(name, value, word, retry) (value),
    static const int classes[] = {ERR_CLASSES(X)};
#undef X
    assert_int_equal(ARRAY_LEN(verdicts), ARRAY_LEN(classes));
    for (size_t i = 0; i < ARRAY_LEN(verdicts); i++) {
        int64_t delay = -1;
        assert_int_equal(retry_decide(verdicts[i].code, STAGE_ENGINE, 1, &policy, &delay), verdicts[i].engine);
        assert_true(delay >= 0);
        assert_int_equal(retry_decide(verdicts[i].code, STAGE_STORE, 1, &policy, &delay), verdicts[i].store);
        assert_int_equal(retry_decide(verdicts[i].code, STAGE_FETCH, 1, &policy, &delay), verdicts[i].store);
    }
}

static void test_the_last_attempt_fails(void **state)
{
    (void)state;
    int64_t delay = -1;
    assert_int_equal(retry_decide(ERR_CRASHED, STAGE_ENGINE, 4, &policy, &delay), RETRY_LATER);
    assert_int_equal(retry_decide(ERR_CRASHED, STAGE_ENGINE, 5, &policy, &delay), RETRY_FAIL);
    assert_int_equal(delay, 0);
    assert_int_equal(retry_decide(ERR_UNAVAILABLE, STAGE_DECODE, 5, &policy, &delay), RETRY_FAIL);
    /* An outage uses up no attempt, so there is no last one. */
    assert_int_equal(retry_decide(ERR_UNAVAILABLE, STAGE_STORE, 5, &policy, &delay), RETRY_BACK);
    assert_true(delay >= policy.base_ms / 2 && delay <= policy.base_ms);
}

static void test_ceiling_doubles_up_to_the_cap(void **state)
{
    (void)state;
    static const int64_t expect[] = {1000, 2000, 4000, 6000, 6000};
    for (size_t i = 0; i < ARRAY_LEN(expect); i++)
        assert_int_equal(retry_ceiling_ms((int)i + 1, &policy), expect[i]);
    struct retry_policy wide = {.max_attempts = 1000, .base_ms = 5, .cap_ms = INT64_MAX};
    assert_int_equal(retry_ceiling_ms(1000, &wide), INT64_MAX); /* and no overflow on the way */
    struct retry_policy low = {.max_attempts = 5, .base_ms = 5000, .cap_ms = 100};
    assert_int_equal(retry_ceiling_ms(1, &low), 100);
}

/* Full jitter: everything from at once to the ceiling, spread evenly enough that a constant would not pass. */
static void test_delay_is_spread_over_the_whole_range(void **state)
{
    (void)state;
    enum { TRIES = 2000 };
    for (int attempt = 1; attempt < policy.max_attempts; attempt++) {
        int64_t ceiling = retry_ceiling_ms(attempt, &policy);
        int low = 0, high = 0;
        for (int i = 0; i < TRIES; i++) {
            int64_t delay = -1;
            assert_int_equal(retry_decide(ERR_TIMEOUT, STAGE_ENGINE, attempt, &policy, &delay), RETRY_LATER);
            assert_true(delay >= 0 && delay <= ceiling);
            low += delay < ceiling / 4;
            high += delay > ceiling - ceiling / 4;
        }
        /* About 500 of 2000 each; 300 is ten standard deviations away. */
        assert_true(low > 300 && high > 300);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_class_has_its_verdict),
        cmocka_unit_test(test_the_last_attempt_fails),
        cmocka_unit_test(test_ceiling_doubles_up_to_the_cap),
        cmocka_unit_test(test_delay_is_spread_over_the_whole_range),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
