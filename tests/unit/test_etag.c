/* SPDX-License-Identifier: MIT */
/* Entity tags: which lists name which tag. */
#include "api/etag.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

static void test_lists(void **state)
{
    (void)state;
    static const struct {
        const char *list, *tag;
        bool named;
    } cases[] = {
        {NULL, "\"1\"", false},
        {"", "\"1\"", false},
        {"\"1\"", "\"1\"", true},
        {"\"1\"", NULL, false},
        {"*", "\"1\"", true},
        {"*", NULL, true},
        {" * ", NULL, true},
        {"*, \"1\"", "\"1\"", false},
        {"\"*\"", "\"1\"", false},
        {"\"11\"", "\"1\"", false},
        {"\"1\"", "\"11\"", false},
        {"\"0\", \"1\"", "\"1\"", true},
        {"\"0\",\"1\"", "\"1\"", true},
        {",, \"0\" ,\t\"1\" ,", "\"1\"", true},
        {"W/\"1\"", "\"1\"", true},
        {"\"1\"", "W/\"1\"", true},
        {"w/\"1\"", "\"1\"", false},
        {"\"a,\"1\"", "\"1\"", false},
        {"\"a,b\", \"1\"", "\"1\"", true},
        {"\"a,b\"", "\"a,b\"", true},
        {"\"a\" \"1\"", "\"1\"", false},
        {"1", "\"1\"", false},
        {"\"1", "\"1\"", false},
        {"x, \"1\"", "\"1\"", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        if (etag_listed(cases[i].list, cases[i].tag) != cases[i].named)
            fail_msg("'%s' and %s", cases[i].list ? cases[i].list : "nothing", cases[i].tag ? cases[i].tag : "no tag");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_lists)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
