/* SPDX-License-Identifier: MIT */
#include "cli/flags.h"

#include "base/macros.h"
#include "base/str.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const struct cmd_flag flags[] = {
    {"format", 'f', "FORMAT", "form"},
    {"wait", 'w', NULL, "wait"},
    {"lease", 0, "X", "a name that an option of the configuration has too"},
    {0},
};
static const struct cmd with_conf = {"try", "[FILE...]", "try", NEED_CONF, flags, NULL, NULL};
static const struct cmd without = {"bare", "FILE", "try", 0, flags, NULL, NULL};

enum { MAX_ARGS = 8 };

/* Splits a line at blanks and parses it. */
struct line {
    char text[256], *argv[MAX_ARGS + 1];
    int argc;
    struct flags *f;
    struct err err;
    int rc;
};

static void parse(struct line *l, const struct cmd *cmd, const char *text)
{
    *l = (struct line){.argc = 0};
    snprintf(l->text, sizeof l->text, "%s", text);
    char *save = NULL;
    for (char *word = strtok_r(l->text, " ", &save); word && l->argc < MAX_ARGS; word = strtok_r(NULL, " ", &save))
        l->argv[l->argc++] = word;
    l->rc = flags_parse(cmd, l->argc, l->argv, &l->f, &l->err);
}

static void good_lines(void **state)
{
    (void)state;
    static const struct {
        const char *text, *format, *wait, *lease, *conf, *config, *args;
        bool help;
    } rows[] = {
        {"", NULL, NULL, NULL, "", NULL, "", false},
        {"a b", NULL, NULL, NULL, "", NULL, "a b ", false},
        {"--format srt a", "srt", NULL, NULL, "", NULL, "a ", false},
        {"a --format=srt", "srt", NULL, NULL, "", NULL, "a ", false},
        {"-f srt", "srt", NULL, NULL, "", NULL, "", false},
        {"-fsrt", "srt", NULL, NULL, "", NULL, "", false},
        {"--format=", "", NULL, NULL, "", NULL, "", false},
        {"--format a --format b", "b", NULL, NULL, "", NULL, "", false},
        {"--wait -", NULL, "", NULL, "", NULL, "- ", false},
        {"-w -- --wait", NULL, "", NULL, "", NULL, "--wait ", false},
        {"--log-level debug", NULL, NULL, NULL, "log_level=debug ", NULL, "", false},
        {"--log_level=debug --data x", NULL, NULL, NULL, "log_level=debug data=x ", NULL, "", false},
        {"--lease 5s", NULL, NULL, "5s", "", NULL, "", false}, /* the command's own wins */
        {"--config c.ini", NULL, NULL, NULL, "", "c.ini", "", false},
        {"--help", NULL, NULL, NULL, "", NULL, "", true},
        {"a -h", NULL, NULL, NULL, "", NULL, "a ", true},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct line l;
        parse(&l, &with_conf, rows[i].text);
        assert_int_equal(l.rc, 0);
        assert_true(str_eq(flags_get(l.f, "format"), rows[i].format));
        assert_true(str_eq(flags_get(l.f, "wait"), rows[i].wait));
        assert_true(str_eq(flags_get(l.f, "lease"), rows[i].lease));
        assert_true(str_eq(l.f->config, rows[i].config));
        assert_int_equal(l.f->help, rows[i].help);
        CLEANUP(buf_clear) struct buf conf = BUF_INIT(1024), args = BUF_INIT(1024);
        for (char **c = l.f->conf; *c; c++)
            buf_addf(&conf, "%s ", *c);
        for (int k = 0; k < l.f->argc; k++)
            buf_addf(&args, "%s ", l.f->argv[k]);
        assert_string_equal(buf_str(&conf), rows[i].conf);
        assert_string_equal(buf_str(&args), rows[i].args);
        flags_free(l.f);
    }
}

static void bad_lines(void **state)
{
    (void)state;
    static const struct {
        const struct cmd *cmd;
        const char *text, *said;
    } rows[] = {
        {&with_conf, "--nope", "unknown flag '--nope': see 'steno try --help'"},
        {&with_conf, "--log-levle=debug", "did you mean --log-level?"},
        {&with_conf, "-x", "unknown flag '-x'"},
        {&with_conf, "--format", "--format needs a value"},
        {&with_conf, "-f", "--format needs a value: FORMAT"},
        {&with_conf, "--wait=1", "--wait takes no value"},
        {&with_conf, "--data", "--data needs a value"},
        {&with_conf, "--config", "--config needs a value"},
        {&without, "a --data=x", "unknown flag '--data=x'"},
        {&without, "a --config=x", "unknown flag '--config=x'"},
        {&without, "", "too few arguments: steno bare FILE"},
        {&without, "a b", "unexpected argument 'b': steno bare FILE"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct line l;
        parse(&l, rows[i].cmd, rows[i].text);
        assert_int_equal(l.rc, ERR_INVALID);
        if (!strstr(l.err.msg, rows[i].said))
            fail_msg("'%s' gave '%s'", rows[i].text, l.err.msg);
        flags_free(l.f);
    }
}

/* --help is answered whatever else is missing. */
static void help_needs_no_arguments(void **state)
{
    (void)state;
    struct line l;
    parse(&l, &without, "--help");
    assert_int_equal(l.rc, 0);
    assert_true(l.f->help);
    flags_free(l.f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_lines),
        cmocka_unit_test(bad_lines),
        cmocka_unit_test(help_needs_no_arguments),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
