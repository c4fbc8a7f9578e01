/* SPDX-License-Identifier: MIT */
/* Lists of words in one text. */
#include "base/words.h"

#include "base/buf.h"
#include "base/macros.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void test_words_one_after_another(void **state)
{
    (void)state;
    static const struct {
        const char *list, *seps, *want;
    } rows[] = {
        {NULL, ",", ""},
        {"", ",", ""},
        {",,", ",", ""},
        {"a", ",", "[a]"},
        {"a,b", ",", "[a][b]"},
        {",a,,b,", ",", "[a][b]"},
        {" a , b ", ", ", "[a][b]"},
        {" a , b ", ",", "[ a ][ b ]"},
        {"a b", ",", "[a b]"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        CLEANUP(buf_clear) struct buf b = BUF_INIT(100);
        const char *p = rows[i].list, *one;
        size_t n;
        while (words_next(&p, rows[i].seps, &one, &n))
            buf_addf(&b, "[%.*s]", (int)n, one);
        assert_string_equal(buf_str(&b), rows[i].want);
        assert_false(words_next(&p, rows[i].seps, &one, &n));
    }
}

static void test_what_is_in_a_list(void **state)
{
    (void)state;
    static const struct {
        const char *list, *word;
        bool is, ieq;
    } rows[] = {
        {"json, text", "json", true, true},
        {"json, text", "text", true, true},
        {"json, text", "tex", false, false},
        {"json, text", "texts", false, false},
        {"json, text", "TEXT", false, true},
        {"json, text", "", false, false},
        {"", "a", false, false},
        {NULL, "a", false, false},
        {"json, text", ",", false, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        assert_int_equal(words_have(rows[i].list, ", ", rows[i].word), rows[i].is);
        assert_int_equal(words_have_ieq(rows[i].list, ", ", rows[i].word), rows[i].ieq);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_words_one_after_another),
        cmocka_unit_test(test_what_is_in_a_list),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
