/* SPDX-License-Identifier: MIT */
/* The number of jobs in work, played through with a clock of the test's. */
#include "worker/places.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { START = 5000 };

static void test_a_fixed_number(void **state)
{
    (void)state;
    static const unsigned mins[] = {0, 4, 9};
    for (size_t i = 0; i < sizeof mins / sizeof mins[0]; i++) {
        struct places p;
        places_init(&p, mins[i], 4, START);
        assert_int_equal(p.now, 4);
        assert_int_equal(places_free(&p, 0, START), 4);
        assert_int_equal(places_free(&p, 3, START), 1);
        places_claimed(&p, 3, 1, START);
        /* Full is full, however long jobs wait; and idle as long as it may be, it stays ready for four. */
        assert_int_equal(places_free(&p, 4, START + 100 * PLACES_GROW_MS), 0);
        places_claimed(&p, 0, 0, START + 100 * PLACES_SHRINK_MS);
        assert_int_equal(places_free(&p, 0, START + 100 * PLACES_SHRINK_MS), 4);
    }
}

static void test_it_grows_while_jobs_wait(void **state)
{
    (void)state;
    struct places p;
    int64_t now = START;
    places_init(&p, 2, 4, now);
    assert_int_equal(places_free(&p, 0, now), 2);
    places_claimed(&p, 0, 2, now);
    for (unsigned n = 2; n < 4; n++) {
        assert_int_equal(places_free(&p, n, now + PLACES_GROW_MS - 1), 0); /* other workers first */
        now += PLACES_GROW_MS;
        assert_int_equal(places_free(&p, n, now), 1);
        places_claimed(&p, n, 1, now);
        assert_int_equal(p.now, n + 1);
    }
    assert_int_equal(places_free(&p, 4, now + 10 * PLACES_GROW_MS), 0);
}

static void test_it_does_not_grow_when_nothing_waits(void **state)
{
    (void)state;
    struct places p;
    int64_t now = START;
    places_init(&p, 1, 4, now);
    places_claimed(&p, 0, 1, now);
    for (int i = 0; i < 5; i++) {
        now += PLACES_GROW_MS;
        assert_int_equal(places_free(&p, 1, now), 1);
        places_claimed(&p, 1, 0, now);
        assert_int_equal(p.now, 1);
        assert_int_equal(places_free(&p, 1, now), 0); /* until the next look */
    }
}

static void test_it_shrinks_with_less_to_do(void **state)
{
    (void)state;
    struct places p;
    int64_t now = START;
    places_init(&p, 1, 3, now);
    for (unsigned n = 0; n < 3; n++, now += PLACES_GROW_MS)
        places_claimed(&p, n, 1, now);
    assert_int_equal(p.now, 3);
    /* One ended; another came soon after: there is much to do still. */
    places_claimed(&p, 2, 0, now);
    now += PLACES_SHRINK_MS / 2;
    places_claimed(&p, 2, 1, now);
    assert_int_equal(p.now, 3);
    now += PLACES_SHRINK_MS - 1;
    places_claimed(&p, 1, 0, now);
    assert_int_equal(p.now, 3);
    for (unsigned left = 2; left >= 1; left--) {
        now += PLACES_SHRINK_MS;
        places_claimed(&p, 0, 0, now);
        assert_int_equal(p.now, left);
    }
    now += PLACES_SHRINK_MS;
    places_claimed(&p, 0, 0, now);
    assert_int_equal(p.now, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_fixed_number),
        cmocka_unit_test(test_it_grows_while_jobs_wait),
        cmocka_unit_test(test_it_does_not_grow_when_nothing_waits),
        cmocka_unit_test(test_it_shrinks_with_less_to_do),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
