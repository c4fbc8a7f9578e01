/* SPDX-License-Identifier: MIT */
#include "base/rate.h"

#include "base/macros.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { MINUTE_MS = 60000, LONG_MS = 10 * MINUTE_MS, MANY = 2048 };

static void test_how_many_at_once(void **state)
{
    (void)state;
    static const struct {
        int64_t per_minute, at_once, then_ms;
    } rows[] = {{1, 1, 60000}, {2, 1, 60000}, {10, 1, 6667}, {60, 6, 1112}, {600, 60, 112}, {-5, 1, 60000}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct rate r = rate_of(rows[i].per_minute);
        int64_t next = 0, now = 1000000;
        for (int64_t k = 0; k < rows[i].at_once; k++)
            assert_int_equal(rate_take(&r, &next, now), 0);
        for (int k = 0; k < 3; k++) /* who finds none owes none */
            assert_int_equal(rate_take(&r, &next, now), rows[i].then_ms);
        assert_int_equal(rate_take(&r, &next, now + rows[i].then_ms), 0);
        assert_int_equal(rate_take(&r, &next, now + rows[i].then_ms), rows[i].then_ms);
    }
}

/* Whoever takes whatever there is, all the time: no minute sees more than allowed, and nearly as much is used. */
static void test_no_minute_sees_more(void **state)
{
    (void)state;
    static const int64_t rates[] = {2, 3, 9, 10, 15, 19, 20, 59, 60, 100, 150};
    static int64_t at[MANY];
    for (size_t i = 0; i < ARRAY_LEN(rates); i++) {
        struct rate r = rate_of(rates[i]);
        int64_t next = 0, now = 5000000;
        size_t n = 0;
        while (n < MANY) {
            int64_t wait = rate_take(&r, &next, now);
            now += wait;
            if (now > 5000000 + LONG_MS)
                break;
            if (wait == 0)
                at[n++] = now;
        }
        for (size_t k = 0; k + (size_t)rates[i] < n; k++)
            assert_true(at[k + (size_t)rates[i]] - at[k] >= MINUTE_MS);
        assert_true((int64_t)n * MINUTE_MS >= LONG_MS * (rates[i] - rates[i] / 10 - 1));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_how_many_at_once),
        cmocka_unit_test(test_no_minute_sees_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
