/* SPDX-License-Identifier: MIT */
#include "base/buf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void test_numbers(void **state)
{
    (void)state;
    static const struct {
        int64_t v;
        const char *text;
    } rows[] = {{0, "0"},
                {7, "7"},
                {-10, "-10"},
                {1795325460123, "1795325460123"},
                {INT64_MAX, "9223372036854775807"},
                {INT64_MIN, "-9223372036854775808"}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        CLEANUP(buf_clear) struct buf b = BUF_INIT(20);
        buf_addi(&b, rows[i].v);
        assert_string_equal(buf_str(&b), rows[i].text);
    }
}

static void test_appends(void **state)
{
    (void)state;
    struct buf b = BUF_INIT(100);
    assert_string_equal(buf_str(&b), "");
    buf_adds(&b, "one");
    buf_addc(&b, ' ');
    buf_addf(&b, "%d-%s", 2, "two");
    assert_true(buf_ok(&b));
    assert_string_equal(buf_str(&b), "one 2-two");
    buf_consume(&b, 4);
    assert_string_equal(buf_str(&b), "2-two");
    buf_clear(&b);
    assert_int_equal(b.max, 100);
}

static void test_the_maximum_is_sticky(void **state)
{
    (void)state;
    struct buf b = BUF_INIT(8);
    buf_adds(&b, "12345678");
    assert_true(buf_ok(&b));
    buf_addc(&b, '9');
    assert_false(buf_ok(&b));
    buf_adds(&b, "");
    assert_false(buf_ok(&b));
    struct err e = ERR_INIT;
    assert_int_equal(buf_check(&b, "the line", &e), ERR_TOO_LARGE);
    assert_string_equal(e.msg, "the line is over 8 bytes");
    assert_null(buf_take(&b));
    assert_true(buf_ok(&b));
    buf_addf(&b, "%s", "123456789");
    assert_false(buf_ok(&b));
    buf_reset(&b);
    assert_true(buf_ok(&b));
    buf_clear(&b);
}

static void test_take_hands_memory_out(void **state)
{
    (void)state;
    struct buf b = BUF_INIT(1000);
    char *empty = buf_take(&b);
    assert_string_equal(empty, "");
    free(empty);
    for (int i = 0; i < 300; i++)
        buf_addc(&b, 'a');
    char *s = buf_take(&b);
    assert_int_equal(strlen(s), 300);
    assert_int_equal(b.len, 0);
    free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_appends),
        cmocka_unit_test(test_the_maximum_is_sticky),
        cmocka_unit_test(test_take_hands_memory_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
