/* SPDX-License-Identifier: MIT */
#include "base/err.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void test_set_returns_class(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    assert_int_equal(err_set(&e, ERR_CORRUPT, "frame %d is broken", 7), ERR_CORRUPT);
    assert_int_equal(e.code, ERR_CORRUPT);
    assert_string_equal(e.msg, "frame 7 is broken");
}

static void test_wrap_puts_context_first(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    err_set(&e, ERR_NOT_FOUND, "no such key");
    assert_int_equal(err_wrap(&e, "job %s", "j1"), ERR_NOT_FOUND);
    assert_string_equal(e.msg, "job j1: no such key");
}

static void test_sentences_are_cut_not_overflown(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    char big[2000];
    memset(big, 'x', sizeof big - 1);
    big[sizeof big - 1] = '\0';
    err_set(&e, ERR_INVALID, "%s", big);
    assert_int_equal(strlen(e.msg), sizeof e.msg - 1);
    err_wrap(&e, "%s", big);
    assert_int_equal(strlen(e.msg), sizeof e.msg - 1);
}

static void test_errno_decides_the_class(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    assert_int_equal(err_sys(&e, ENOENT, "opening"), ERR_NOT_FOUND);
    assert_int_equal(e.sys, ENOENT);
    assert_string_equal(e.msg, "opening: No such file or directory");
    assert_int_equal(err_sys(&e, ENOSPC, "writing"), ERR_UNAVAILABLE);
    assert_int_equal(err_sys(&e, EMFILE, "opening"), ERR_NOMEM);
}

static void test_names_round_trip(void **state)
{
    (void)state;
#define X(name, value, word, retry)                    \
    assert_string_equal(err_name(ERR_##name), word);   \
    assert_int_equal(err_from_name(word), ERR_##name); \
    assert_int_equal(err_retryable(ERR_##name), retry);
    ERR_CLASSES(X)
#undef X
    assert_string_equal(err_name(0), "ok");
    assert_int_equal(err_from_name("never heard of it"), ERR_INTERNAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_set_returns_class),
        cmocka_unit_test(test_wrap_puts_context_first),
        cmocka_unit_test(test_sentences_are_cut_not_overflown),
        cmocka_unit_test(test_errno_decides_the_class),
        cmocka_unit_test(test_names_round_trip),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
