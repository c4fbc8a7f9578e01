/* SPDX-License-Identifier: MIT */
#include "cli/commands.h"

#include "base/macros.h"
#include "base/str.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void arg_ranges(void **state)
{
    static const struct {
        const char *args;
        int min, max;
    } rows[] = {
        {"", 0, 0},
        {"ID", 1, 1},
        {"ID...", 1, -1},
        {"[ID]", 0, 1},
        {"[ID...]", 0, -1},
        {"FILE [FILE2]", 1, 2},
        {"FROM TO", 2, 2},
        {"[COMMAND] [SUBCOMMAND]", 0, 2},
        {"OUT FILE...", 2, -1},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        int min = -7, max = -7;
        cmd_arg_range(rows[i].args, &min, &max);
        assert_int_equal(min, rows[i].min);
        assert_int_equal(max, rows[i].max);
    }
}

static const char *find(const char *first, const char *second, int *ret_words)
{
    char a[32], b[32], *argv[] = {a, b, NULL};
    snprintf(a, sizeof a, "%s", first);
    snprintf(b, sizeof b, "%s", second ? second : "");
    const struct cmd *c = cmd_find(second ? 2 : 1, argv, ret_words);
    return c ? c->name : NULL;
}

static void finds_one_and_two_words(void **state)
{
    (void)state;
    int words = 0;
    assert_string_equal(find("submit", "list", &words), "submit");
    assert_int_equal(words, 1);
    assert_string_equal(find("errors", "list", &words), "errors list");
    assert_int_equal(words, 2);
    assert_null(find("errors", "li", &words));
    assert_null(find("error", "list", &words));
    assert_null(find("errors", NULL, &words));
    assert_null(find("", NULL, &words));
    assert_null(cmd_find(0, NULL, &words));
    assert_true(cmd_is_group("errors"));
    assert_false(cmd_is_group("error"));
    assert_false(cmd_is_group("submit"));
    assert_false(cmd_is_group(""));
}

static void suggests_what_is_near(void **state)
{
    (void)state;
    assert_string_equal(cmd_nearest("sumbit"), "submit");
    assert_string_equal(cmd_nearest("satus"), "status");
    assert_string_equal(cmd_nearest("transcribes"), "transcribe");
    assert_null(cmd_nearest("xyzzy"));
    assert_null(cmd_nearest("ab"));     /* two letters away from everything */
    assert_null(cmd_nearest("__mann")); /* hidden ones are not suggested */
    char longest[200];
    memset(longest, 's', sizeof longest);
    longest[sizeof longest - 1] = '\0';
    assert_null(cmd_nearest(longest));
}

/* What everything derived from the table relies on. */
static void table_is_sound(void **state)
{
    (void)state;
    for (const struct cmd *c = commands; c->name; c++) {
        assert_non_null(c->run);
        assert_non_null(c->args);
        assert_true(*c->help >= 'a' && *c->help <= 'z');
        assert_false(str_ends(c->help, "."));
        /* Everything that is opened is opened by what the configuration says. */
        if (c->needs & ~(unsigned)(NEED_CONF | CMD_HIDDEN | CMD_RAW))
            assert_true(c->needs & NEED_CONF);
        for (const struct cmd *d = commands; d < c; d++)
            assert_string_not_equal(c->name, d->name);
        for (const struct cmd_flag *f = c->flags; f && f->name; f++) {
            assert_true(*f->help);
            assert_true(f->letter != 'h');
            assert_string_not_equal(f->name, "help");
            for (const struct cmd_flag *g = c->flags; g < f; g++) {
                assert_string_not_equal(f->name, g->name);
                assert_true(!f->letter || f->letter != g->letter);
            }
        }
    }
}

static void groups_stand_together(void **state)
{
    (void)state;
    for (const struct cmd *c = commands; c->name; c++) {
        size_t word = strcspn(c->name, " ");
        bool left = false;
        for (const struct cmd *d = c + 1; c->name[word] && d->name; d++) {
            bool same = strncmp(c->name, d->name, word + 1) == 0;
            assert_false(same && left);
            left = left || !same;
        }
    }
}

static void every_error_class_has_an_exit_status(void **state)
{
    (void)state;
    assert_int_equal(exit_status_of(ERR_INVALID), STATUS_USAGE);
    assert_int_equal(exit_status_of(ERR_NOT_FOUND), STATUS_USAGE);
    assert_int_equal(exit_status_of(ERR_UNAVAILABLE), STATUS_UNAVAILABLE);
    assert_int_equal(exit_status_of(ERR_CANCELLED), STATUS_INTERRUPTED);
#define X(name, value, word, retry)                              \
    assert_int_not_equal(exit_status_of(ERR_##name), STATUS_OK); \
    assert_true(exit_status_of(ERR_##name) < 256);
    ERR_CLASSES(X)
#undef X
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(arg_ranges),
        cmocka_unit_test(finds_one_and_two_words),
        cmocka_unit_test(suggests_what_is_near),
        cmocka_unit_test(table_is_sound),
        cmocka_unit_test(groups_stand_together),
        cmocka_unit_test(every_error_class_has_an_exit_status),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
