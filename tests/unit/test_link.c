/* SPDX-License-Identifier: MIT */
#include "base/clock.h"
#include "base/macros.h"
#include "base/str.h"
#include "broker/link.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void test_addresses(void **state)
{
    (void)state;
    static const struct {
        const char *url, *user, *password, *host, *path, *label;
        int port;
    } rows[] = {
        {"redis://", NULL, NULL, NULL, NULL, "redis://", 0},
        {"redis://h", NULL, NULL, "h", NULL, "redis://h", 0},
        {"redis://h:1/", NULL, NULL, "h", "", "redis://h:1/", 1},
        {"redis://:secret@h:6379/0", NULL, "secret", "h", "0", "redis://h:6379/0", 6379},
        {"redis://u:secret@h/2?x=1", "u", "secret", "h", "2", "redis://h/2", 0},
        {"redis://u@h", "u", NULL, "h", NULL, "redis://h", 0},
        {"amqp://u:a%2Fb%40c%3A@h/%2F", "u", "a/b@c:", "h", "/", "amqp://h//", 0},
        {"amqp://u:secret@with-at@h/v", "u", "secret@with-at", "h", "v", "amqp://h/v", 0},
        {"redis://[::1]:7/1", NULL, NULL, "::1", "1", "redis://[::1]:7/1", 7},
        {"redis://[fe80::1]", NULL, NULL, "fe80::1", NULL, "redis://[fe80::1]", 0},
        {"unix:///run/r.sock?db=1", NULL, NULL, NULL, "run/r.sock", "unix:///run/r.sock", 0},
        {"redis+unix://:secret@/run/r.sock", NULL, "secret", NULL, "run/r.sock", "redis+unix:///run/r.sock", 0},
        {"redis://:@h", NULL, "", "h", NULL, "redis://h", 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct link_addr a;
        struct err e = ERR_INIT;
        if (link_addr_parse(rows[i].url, &a, &e) < 0)
            fail_msg("%s: %s", rows[i].url, e.msg);
        if (!str_eq(a.user, rows[i].user) || !str_eq(a.password, rows[i].password) || !str_eq(a.host, rows[i].host) ||
            !str_eq(a.path, rows[i].path) || a.port != rows[i].port || strcmp(a.label, rows[i].label) != 0)
            fail_msg("%s: '%s' '%s' '%s' '%s' %d '%s'", rows[i].url, a.user, a.password, a.host, a.path, a.port,
                     a.label);
        link_addr_clear(&a);
    }
}

static void test_bad_addresses(void **state)
{
    (void)state;
    static const char *const rows[] = {
        "",
        "redis",
        "redis:h",
        "redis:/secret",
        "redis://h:0",
        "redis://h:65536",
        "redis://h:",
        "redis://h:secret",
        "redis://:6379",
        "redis://[::1",
        "redis://[::1]6379",
        "redis://u:secret%2@h",
        "redis://u:secret%@h",
        "redis://u:secret%zz@h",
        "redis://u:secret%00@h",
        "redis://u:secret\n@h",
        "redis://u:sec/ret@h",
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct link_addr a;
        struct err e = ERR_INIT;
        int rc = link_addr_parse(rows[i], &a, &e);
        if (rc != ERR_INVALID || strstr(e.msg, "secret") || !strstr(e.msg, "%XX"))
            fail_msg("'%s': %d \"%s\"", rows[i], rc, e.msg);
    }
}

static void test_options(void **state)
{
    (void)state;
    static const char *const names[] = {"db", "cacert", NULL};
    static const char *const one[] = {"db", NULL};
    struct link_addr a;
    struct err e = ERR_INIT;
    char *text = NULL;
    assert_int_equal(link_addr_parse("unix:///s?&cacert=%2Fa%20b&db=3&flag", &a, &e), 0);
    assert_int_equal(link_addr_option(&a, "db", &text, &e), 1);
    assert_string_equal(text, "3");
    free(text);
    assert_int_equal(link_addr_option(&a, "cacert", &text, &e), 1);
    assert_string_equal(text, "/a b");
    free(text);
    assert_int_equal(link_addr_option(&a, "flag", &text, &e), 1);
    assert_string_equal(text, "");
    free(text);
    assert_int_equal(link_addr_option(&a, "d", &text, &e), 0);
    assert_null(text);
    assert_int_equal(link_addr_check_options(&a, names, &e), ERR_INVALID);
    assert_non_null(strstr(e.msg, "'flag'"));
    assert_int_equal(link_addr_check_options(&a, one, &e), ERR_INVALID);
    assert_non_null(strstr(e.msg, "they have: db"));
    link_addr_clear(&a);
    assert_int_equal(link_addr_parse("unix:///s?db=%x", &a, &e), 0);
    assert_int_equal(link_addr_option(&a, "db", &text, &e), ERR_INVALID);
    assert_int_equal(link_addr_check_options(&a, one, &e), 0);
    link_addr_clear(&a);
}

static void test_one_outage_of_two_lines(void **state)
{
    (void)state;
    struct link l;
    struct line send, take;
    struct err first = ERR_INIT, second = ERR_INIT, e = ERR_INIT;
    err_set(&first, ERR_UNAVAILABLE, "the first reason");
    err_set(&second, ERR_TIMEOUT, "the second");
    link_init(&l, "redis://h");
    line_init(&send, &l, 1);
    line_init(&take, &l, 2);
    assert_int_equal(link_check(&l, &e), 0);
    line_down(&take, &first);
    line_down(&send, &second);
    line_down(&take, &second);
    assert_int_equal(link_check(&l, &e), ERR_UNAVAILABLE);
    assert_string_equal(e.msg, "the first reason");
    line_up(&send);
    assert_int_equal(link_check(&l, &e), ERR_UNAVAILABLE);
    line_up(&take);
    line_up(&take);
    assert_int_equal(link_check(&l, &e), 0);
    link_clear(&l);
}

static void test_pauses_grow_and_are_bounded(void **state)
{
    (void)state;
    struct link l;
    struct line n;
    struct err why = ERR_INIT;
    err_set(&why, ERR_UNAVAILABLE, "gone");
    link_init(&l, "redis://h");
    line_init(&n, &l, 1);
    assert_int_equal(line_due_ms(&n), 0);
    int64_t most = 0;
    for (int i = 0; i < 100; i++) {
        line_down(&n, &why);
        assert_true(n.pause_ms >= most && n.pause_ms <= 5000);
        assert_true(line_due_ms(&n) <= n.pause_ms);
        most = n.pause_ms;
    }
    assert_true(most >= 1000);
    assert_true(line_due_ms(&n) > 0);
    line_up(&n);
    assert_int_equal(line_due_ms(&n), 0);
    line_down(&n, &why);
    assert_true(n.pause_ms < most);
    link_clear(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_bad_addresses),
        cmocka_unit_test(test_options),
        cmocka_unit_test(test_one_outage_of_two_lines),
        cmocka_unit_test(test_pauses_grow_and_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
