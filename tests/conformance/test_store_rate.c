/* SPDX-License-Identifier: MIT */
/* Limits of requests that workers share. */
#include "store_helpers.h"

enum { THREADS = 8, EACH = 5 };

static int64_t take(struct fixture *f, const char *name, int64_t per_minute)
{
    struct err e = ERR_INIT;
    int64_t wait = -1;
    OK(store_take_request(f->store, name, per_minute, &wait, &e));
    return wait;
}

static void test_tokens_come_back_with_time(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 6; i++)
        assert_int_equal(take(f, "a", 60), 0);
    for (int i = 0; i < 3; i++) /* who finds none owes none */
        assert_int_equal(take(f, "a", 60), 1112);
    assert_int_equal(take(f, "b", 60), 0); /* another one */
    pass(1000);
    assert_int_equal(take(f, "a", 60), 112);
    pass(112);
    assert_int_equal(take(f, "a", 60), 0);
    assert_int_equal(take(f, "a", 60), 1112);
    pass(60000);
    for (int i = 0; i < 6; i++)
        assert_int_equal(take(f, "a", 60), 0);
    assert_int_equal(take(f, "a", 60), 1112);
}

/* What was written while the clock was ahead holds nobody up. */
static void test_a_clock_that_is_set_back(void **state)
{
    struct fixture *f = *state;
    pass(1800000000000 + 7200000); /* numbers as large as real ones */
    assert_int_equal(take(f, "a", 2), 0);
    pass(-7200000);
    assert_int_equal(take(f, "a", 2), 0);
    assert_int_equal(take(f, "a", 2), 60000);
    pass(-1000); /* as clocks differ: that is no reason for one more */
    assert_int_equal(take(f, "a", 2), 61000);
    pass(61000);
    assert_int_equal(take(f, "a", 2), 0);
}

struct taker {
    struct fixture *f;
    int64_t waits[EACH];
    int rc;
};

static void *taker_main(void *arg)
{
    struct taker *t = arg;
    struct err e = ERR_INIT;
    for (int i = 0; i < EACH && t->rc == 0; i++)
        t->rc = store_take_request(t->f->store, "many", 100, &t->waits[i], &e);
    return NULL;
}

/* As many as there are, whoever takes them. */
static void test_no_token_is_taken_twice(void **state)
{
    struct fixture *f = *state;
    struct taker takers[THREADS] = {0};
    int taken = 0;
    for (size_t i = 0; i < THREADS; i++)
        takers[i].f = f;
    fixture_threads(THREADS, taker_main, takers, sizeof takers[0]);
    for (size_t i = 0; i < THREADS; i++) {
        assert_int_equal(takers[i].rc, 0);
        for (size_t k = 0; k < EACH; k++) {
            assert_true(takers[i].waits[k] == 0 || takers[i].waits[k] == 667);
            taken += takers[i].waits[k] == 0;
        }
    }
    assert_int_equal(taken, 10);
}

#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup_store, fixture_teardown)

int main(void)
{
    if (fixture_skip())
        return 0;
    const struct CMUnitTest tests[] = {
        T(test_tokens_come_back_with_time),
        T(test_a_clock_that_is_set_back),
        T(test_no_token_is_taken_twice),
    };
    return cmocka_run_group_tests(tests, fixture_setup_group, fixture_teardown_group);
}
