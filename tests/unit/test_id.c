/* SPDX-License-Identifier: MIT */
#include "base/id.h"

#include "base/clock.h"
#include "base/macros.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static int by_text(const void *a, const void *b)
{
    return memcmp(a, b, ID_SIZE);
}

static void test_ids_are_version_7_and_differ(void **state)
{
    (void)state;
    static char ids[2000][ID_SIZE];
    int64_t before = clock_wall_ms();
    for (size_t i = 0; i < ARRAY_LEN(ids); i++)
        id_new(ids[i]);
    int64_t after = clock_wall_ms();
    for (size_t i = 0; i < ARRAY_LEN(ids); i++) {
        assert_true(id_valid(ids[i]));
        assert_int_equal(ids[i][14], '7');
        assert_non_null(strchr("89ab", ids[i][19]));
        /* The first 48 bits are the time, so text order is time order. */
        char hex[13];
        snprintf(hex, sizeof hex, "%.8s%.4s", ids[i], ids[i] + 9);
        int64_t ms = strtoll(hex, NULL, 16);
        assert_true(ms >= before && ms <= after);
    }
    qsort(ids, ARRAY_LEN(ids), ID_SIZE, by_text);
    for (size_t i = 1; i < ARRAY_LEN(ids); i++)
        assert_string_not_equal(ids[i], ids[i - 1]);
}

static void test_later_ids_sort_later(void **state)
{
    (void)state;
    char a[ID_SIZE], b[ID_SIZE];
    id_new(a);
    int64_t t = clock_wall_ms();
    while (clock_wall_ms() <= t)
        clock_sleep_ms(1);
    id_new(b);
    assert_true(strcmp(a, b) < 0);
}

static void test_what_is_an_id(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool ok;
    } rows[] = {
        {"019a8f3e-7c1d-7b42-9d2a-5e0c6f1a2b3c", true},
        {"00000000-0000-0000-0000-000000000000", true}, /* any version */
        {"019A8F3E-7c1d-7b42-9d2a-5e0c6f1a2b3c", false},
        {"019a8f3e-7c1d-7b42-9d2a-5e0c6f1a2b3", false},
        {"019a8f3e-7c1d-7b42-9d2a-5e0c6f1a2b3cd", false},
        {"019a8f3e07c1d-7b42-9d2a-5e0c6f1a2b3c", false},
        {"019a8f3e-7c1d-7b42-9d2a-5e0c6f1a2b3g", false},
        {"{19a8f3e-7c1d-7b42-9d2a-5e0c6f1a2b3}", false},
        {"../../../etc/passwd-aaaaaaaaaaaaaaaa", false},
        {"019a8f3e", false},
        {"", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        /* An exact copy, so that a sanitizer sees any look past the end. */
        char *copy = strdup(rows[i].text);
        assert_non_null(copy);
        if (id_valid(copy) != rows[i].ok)
            fail_msg("'%s'", copy);
        free(copy);
    }
}

static void test_random(void **state)
{
    (void)state;
    /* Every bit of a long stretch is seen both ways: the chance of a false alarm is 2^-200 or so. */
    unsigned char all_or[1000] = {0}, all_and[1000], p[1000];
    memset(all_and, 0xFF, sizeof all_and);
    for (int round = 0; round < 220; round++) {
        random_bytes(p, sizeof p);
        for (size_t i = 0; i < sizeof p; i++) {
            all_or[i] |= p[i];
            all_and[i] &= p[i];
        }
    }
    for (size_t i = 0; i < sizeof p; i++) {
        assert_int_equal(all_or[i], 0xFF);
        assert_int_equal(all_and[i], 0);
    }
    random_bytes(p, 0);

    int64_t counts[10] = {0};
    for (int i = 0; i < 20000; i++) {
        int64_t v = random_below(10);
        assert_in_range(v, 0, 9);
        counts[v]++;
    }
    for (size_t i = 0; i < ARRAY_LEN(counts); i++) /* 2000 expected, deviation 42: this is 16 of them */
        assert_in_range(counts[i], 1300, 2700);
    assert_int_equal(random_below(1), 0);
    assert_int_equal(random_below(0), 0);
    assert_int_equal(random_below(-5), 0);
    for (int i = 0; i < 1000; i++)
        assert_true(random_below(INT64_MAX) >= 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ids_are_version_7_and_differ),
        cmocka_unit_test(test_later_ids_sort_later),
        cmocka_unit_test(test_what_is_an_id),
        cmocka_unit_test(test_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
