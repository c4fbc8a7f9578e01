/* SPDX-License-Identifier: MIT */
/* Deadlines against a plain search for the smallest. */
#include "api/timers.h"

#include "base/id.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { TIMERS = 300, STEPS = 20000 };

static int64_t smallest(const struct timer *v, const bool *set)
{
    int64_t min = INT64_MAX;
    for (size_t i = 0; i < TIMERS; i++)
        if (set[i] && v[i].at_ms < min)
            min = v[i].at_ms;
    return min;
}

static void test_the_first_is_the_earliest(void **state)
{
    (void)state;
    struct timers t = {0};
    struct timer v[TIMERS] = {{0}};
    bool set[TIMERS] = {false};
    struct err e = ERR_INIT;
    for (int step = 0; step < STEPS; step++) {
        size_t i = (size_t)random_below(TIMERS);
        if (random_below(3)) {
            assert_int_equal(timer_set(&t, &v[i], random_below(1000), &e), 0);
            set[i] = true;
        } else {
            timer_unset(&t, &v[i]);
            set[i] = false;
        }
        const struct timer *first = timers_first(&t);
        int64_t want = smallest(v, set);
        if (!first)
            assert_true(want == INT64_MAX);
        else
            assert_true(first->at_ms == want && set[first - v]);
    }
    timers_clear(&t);
}

static void test_taken_in_order(void **state)
{
    (void)state;
    struct timers t = {0};
    struct timer v[TIMERS] = {{0}};
    struct err e = ERR_INIT;
    assert_null(timers_first(&t));
    for (size_t i = 0; i < TIMERS; i++)
        assert_int_equal(timer_set(&t, &v[i], (int64_t)(i * 7919 % TIMERS), &e), 0);
    for (int64_t want = 0; want < TIMERS; want++) {
        struct timer *first = timers_first(&t);
        assert_non_null(first);
        assert_int_equal(first->at_ms, want);
        timer_unset(&t, first);
        timer_unset(&t, first); /* twice is fine */
    }
    assert_null(timers_first(&t));
    timers_clear(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_first_is_the_earliest),
        cmocka_unit_test(test_taken_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
