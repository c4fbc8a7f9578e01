/* SPDX-License-Identifier: MIT */
#include "base/languages.h"

#include "base/macros.h"
#include "base/str.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void test_names(void **state)
{
    (void)state;
    static const struct {
        const char *code, *name;
    } rows[] = {
        {"en", "english"},    {"EN", "english"},   {"en-GB", "english"}, {"pt_BR", "portuguese"},
        {"yue", "cantonese"}, {"haw", "hawaiian"}, {"vi", "vietnamese"}, {"xx", NULL},
        {"e", NULL},          {"", NULL},          {"-", NULL},          {"english", NULL},
        {"eng", NULL},        {"en1", NULL},       {"abcdefghij", NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (!str_eq(language_name(rows[i].code), rows[i].name))
            fail_msg("'%s'", rows[i].code);
}

static void test_codes(void **state)
{
    (void)state;
    static const struct {
        const char *text, *code;
    } rows[] = {
        {"en", "en"},    {"EN-gb", "en"},      {"English", "en"}, {"german", "de"}, {"haitian creole", "ht"},
        {"yue", "yue"},  {"Klingon", NULL},    {"", NULL},        {"eng", NULL},    {"english ", NULL},
        {"pt_BR", "pt"}, {"cantonese", "yue"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (!str_eq(language_code(rows[i].text), rows[i].code))
            fail_msg("'%s'", rows[i].text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_names), cmocka_unit_test(test_codes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
