/* SPDX-License-Identifier: MIT */
#include "base/clock.h"

#include "base/macros.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

static void test_iso(void **state)
{
    (void)state;
    static const struct {
        int64_t ms;
        const char *text;
    } rows[] = {
        {0, "1970-01-01T00:00:00.000Z"},
        {1, "1970-01-01T00:00:00.001Z"},
        {-1, "1969-12-31T23:59:59.999Z"},
        {-1000, "1969-12-31T23:59:59.000Z"},
        {951782400000, "2000-02-29T00:00:00.000Z"},
        {1795325460123, "2026-11-22T05:31:00.123Z"},
        {253402300799999, "9999-12-31T23:59:59.999Z"},
        {INT64_MAX, "292278994-08-17T07:12:55.807Z"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char text[TIME_ISO_SIZE];
        time_iso(rows[i].ms, text);
        assert_string_equal(text, rows[i].text);
    }
}

static void test_clocks(void **state)
{
    (void)state;
    int64_t last = clock_mono_ms();
    for (int i = 0; i < 100000; i++) {
        int64_t now = clock_mono_ms();
        assert_true(now >= last);
        last = now;
    }
    /* Against the C library's clock, read before and after. */
    time_t before = time(NULL);
    int64_t wall = clock_wall_ms();
    time_t after = time(NULL);
    assert_true(wall / 1000 >= before - 1 && wall / 1000 <= after + 1);
}

static void test_sleep(void **state)
{
    (void)state;
    int64_t t = clock_mono_ms();
    clock_sleep_ms(30);
    assert_true(clock_mono_ms() - t >= 29); /* both ends are cut to milliseconds */
    clock_sleep_ms(0);
    clock_sleep_ms(-5); /* no wait, no hang */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_iso),
        cmocka_unit_test(test_clocks),
        cmocka_unit_test(test_sleep),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
