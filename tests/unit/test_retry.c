/* SPDX-License-Identifier: MIT */
#include "worker/retry.h"

#include "base/macros.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

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
    struct retry_rule usual = retry_rule_of(&policy, ERR_TIMEOUT);
    for (size_t i = 0; i < ARRAY_LEN(expect); i++)
        assert_int_equal(retry_ceiling_ms((int)i + 1, &usual), expect[i]);
    struct retry_rule wide = {.max_attempts = 1000, .base_ms = 5, .cap_ms = INT64_MAX};
    assert_int_equal(retry_ceiling_ms(1000, &wide), INT64_MAX); /* and no overflow on the way */
    struct retry_rule low = {.max_attempts = 5, .base_ms = 5000, .cap_ms = 100};
    assert_int_equal(retry_ceiling_ms(1, &low), 100);
}

/* Full jitter: everything from at once to the ceiling, spread evenly enough that a constant would not pass. */
static void test_delay_is_spread_over_the_whole_range(void **state)
{
    (void)state;
    enum { TRIES = 2000 };
    for (int attempt = 1; attempt < policy.max_attempts; attempt++) {
        struct retry_rule rule = retry_rule_of(&policy, ERR_TIMEOUT);
        int64_t ceiling = retry_ceiling_ms(attempt, &rule);
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

/* ---- rules of single classes ---- */

static struct retry_policy parsed(const char *text)
{
    struct err err = ERR_INIT;
    struct retry_policy p = policy;
    if (retry_policy_parse(text, &p, &err) < 0)
        fail_msg("%s", err.msg);
    return p;
}

static void test_rules_are_read(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int code;
        struct retry_rule want;
    } rows[] = {
        {"", ERR_TIMEOUT, {5, 1000, 6000, RETRY_JITTER_FULL}},
        {"  ", ERR_TIMEOUT, {5, 1000, 6000, RETRY_JITTER_FULL}},
        {"timeout: 2", ERR_TIMEOUT, {2, 1000, 6000, RETRY_JITTER_FULL}},
        {"timeout: 2", ERR_NOMEM, {5, 1000, 6000, RETRY_JITTER_FULL}},
        {"out_of_memory: 3 x 30s..10m", ERR_NOMEM, {3, 30000, 600000, RETRY_JITTER_FULL}},
        {"out_of_memory:3x 30..600 equal", ERR_NOMEM, {3, 30000, 600000, RETRY_JITTER_EQUAL}},
        {"unavailable: 50ms..2h none", ERR_UNAVAILABLE, {5, 50, 7200000, RETRY_JITTER_NONE}},
        {"crashed: equal", ERR_CRASHED, {5, 1000, 6000, RETRY_JITTER_EQUAL}},
        {" timeout : 2 ,busy: 100 x 10ms..7d full , ", ERR_BUSY, {100, 10, 604800000, RETRY_JITTER_FULL}},
        {" timeout : 2 ,busy: 100 x 10ms..7d full , ", ERR_TIMEOUT, {2, 1000, 6000, RETRY_JITTER_FULL}},
        {"uncertain: 1", ERR_UNCERTAIN, {1, 1000, 6000, RETRY_JITTER_FULL}},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct retry_policy p = parsed(rows[i].text);
        struct retry_rule r = retry_rule_of(&p, rows[i].code);
        assert_int_equal(r.max_attempts, rows[i].want.max_attempts);
        assert_int_equal(r.base_ms, rows[i].want.base_ms);
        assert_int_equal(r.cap_ms, rows[i].want.cap_ms);
        assert_int_equal(r.jitter, rows[i].want.jitter);
    }
}

static void test_rules_that_are_none_are_refused(void **state)
{
    (void)state;
#define CLASSES "out_of_memory, busy, timeout, unavailable, uncertain, crashed"
    static const struct {
        const char *text, *says;
    } rows[] = {
        {"timeout", "'timeout' names no class: write 'timeout: 3 x 30s..10m'"},
        {"3 x 2s..5m", "'3 x 2s..5m' names no class"},
        {"timeout:", "timeout has no rule: write 'timeout: 3 x 30s..10m'"},
        {"network: 3", "'network' is no class of errors; rules are for " CLASSES},
        {": 3", "'' is no class of errors"},
        {"corrupt: 3", "'corrupt' is never tried again, because it would fail again; rules are for " CLASSES},
        {"timeout: 2, timeout: 3", "timeout stands twice"},
        {"timeout: 0", "timeout: '0' is neither a number of attempts (1 to 100), nor waits"},
        {"timeout: 101", "timeout: '101' is neither"},
        {"timeout: x 3", "timeout: 'x' is neither"},
        {"timeout: 2 x 5m..2s", "timeout: '5m..2s' is neither"},
        {"timeout: 1ms..2s", "timeout: '1ms..2s' is neither"},
        {"timeout: 1s..8d", "timeout: '1s..8d' is neither"},
        {"timeout: 1s", "timeout: '1s' is neither"},
        {"timeout: ..", "timeout: '..' is neither"},
        {"timeout: often", "timeout: 'often' is neither"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct err err = ERR_INIT;
        struct retry_policy p = policy;
        assert_int_equal(retry_policy_parse(rows[i].text, &p, &err), ERR_INVALID);
        if (!strstr(err.msg, rows[i].says))
            fail_msg("'%s': %s", rows[i].text, err.msg);
    }
}

static void test_each_class_follows_its_rule(void **state)
{
    (void)state;
    struct retry_policy p = parsed("timeout: 2 x 10s..40s none, crashed: 10 x 1s..1s equal, busy: 3");
    int64_t delay;
    assert_int_equal(retry_decide(ERR_TIMEOUT, STAGE_ENGINE, 1, &p, &delay), RETRY_LATER);
    assert_int_equal(delay, 10000);
    assert_int_equal(retry_decide(ERR_TIMEOUT, STAGE_ENGINE, 2, &p, &delay), RETRY_FAIL);
    for (int i = 0; i < 200; i++) {
        assert_int_equal(retry_decide(ERR_CRASHED, STAGE_ENGINE, 9, &p, &delay), RETRY_LATER);
        assert_in_range(delay, 500, 1000);
    }
    assert_int_equal(retry_decide(ERR_CRASHED, STAGE_ENGINE, 10, &p, &delay), RETRY_FAIL);
    assert_int_equal(retry_decide(ERR_BUSY, STAGE_ENGINE, 2, &p, &delay), RETRY_LATER);
    assert_int_equal(retry_decide(ERR_BUSY, STAGE_ENGINE, 3, &p, &delay), RETRY_FAIL);
    assert_int_equal(retry_decide(ERR_NOMEM, STAGE_ENGINE, 4, &p, &delay), RETRY_LATER);
    /* A job with its own number of attempts: it counts where the class has none. */
    p.max_attempts = 1;
    assert_int_equal(retry_decide(ERR_NOMEM, STAGE_ENGINE, 1, &p, &delay), RETRY_FAIL);
    assert_int_equal(retry_decide(ERR_BUSY, STAGE_ENGINE, 2, &p, &delay), RETRY_LATER);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_class_has_its_verdict),
        cmocka_unit_test(test_the_last_attempt_fails),
        cmocka_unit_test(test_ceiling_doubles_up_to_the_cap),
        cmocka_unit_test(test_delay_is_spread_over_the_whole_range),
        cmocka_unit_test(test_rules_are_read),
        cmocka_unit_test(test_rules_that_are_none_are_refused),
        cmocka_unit_test(test_each_class_follows_its_rule),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
