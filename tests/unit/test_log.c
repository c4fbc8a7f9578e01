/* SPDX-License-Identifier: MIT */
#include "base/log.h"

#include "base/io.h"
#include "base/mem.h"
#include "base/proc.h"
#include "base/str.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static int saved_stderr, read_end;

/* Standard error goes into a pipe; a line is far smaller than what that holds. */
static void capture(void)
{
    struct err e = ERR_INIT;
    int w;
    assert_int_equal(proc_pipe(&read_end, &w, &e), 0);
    saved_stderr = dup(STDERR_FILENO);
    assert_true(saved_stderr >= 0);
    assert_true(dup2(w, STDERR_FILENO) >= 0);
    close(w);
}

/* What was written since; caller frees. */
static char *captured(void)
{
    struct err e = ERR_INIT;
    assert_true(dup2(saved_stderr, STDERR_FILENO) >= 0);
    close(saved_stderr);
    char *text = xcalloc(1, 65536);
    assert_true(io_read_full(read_end, text, 65535, &e) >= 0);
    close(read_end);
    return text;
}

static const struct log_ctx who = {.component = "worker", .job_id = "j1"};

static void test_text(void **state)
{
    (void)state;
    log_setup(LOG_INFO, false);
    capture();
    log_warn(&who, "%s is %d", "it", 5);
    log_info(NULL, "no context");
    log_debug(&who, "not shown");
    char *out = captured(), *second = strchr(out, '\n') + 1;
    assert_int_equal(out[10], 'T'); /* 2026-11-22T05:31:00.123Z */
    assert_int_equal(out[23], 'Z');
    assert_true(str_starts(out + 24, " warn  worker: it is 5 job_id=j1\n"));
    assert_string_equal(second + 24, " info  steno: no context\n");
    free(out);
}

static void test_json(void **state)
{
    (void)state;
    log_setup(LOG_DEBUG, true);
    capture();
    const struct log_ctx lc = {.component = "api", .request_id = "r\"1", .job_id = ""};
    log_debug(&lc, "say \"hi\"\n");
    char *out = captured();
    assert_true(str_starts(out, "{\"time\":\"2"));
    assert_string_equal(out + strlen("{\"time\":\"2026-11-22T05:31:00.123Z"),
                        "\",\"level\":\"debug\",\"component\":\"api\",\"message\":\"say \\\"hi\\\"\\n\","
                        "\"request_id\":\"r\\\"1\"}\n");
    free(out);
    log_setup(LOG_INFO, false);
}

static void test_nobody_forges_a_line(void **state)
{
    (void)state;
    log_setup(LOG_INFO, false);
    capture();
    const struct log_ctx lc = {.component = "api", .request_id = "x\n2026 error api: forged"};
    log_info(&lc, "name 'a\nb\x1B[2J\xC2\x9Bm'");
    char *out = captured();
    assert_non_null(strstr(out, "name 'a\\nb\\x1b[2J\\u009bm' request_id=x\\n2026 error api: forged\n"));
    assert_ptr_equal(strchr(out, '\n'), out + strlen(out) - 1); /* one line */
    free(out);
}

/* However long and ugly: one whole line comes out. */
static void test_long_messages_are_cut_not_lost(void **state)
{
    (void)state;
    char *big = xcalloc(1, 20001), *id = xasprintf("x%0200d", 0);
    for (size_t i = 1; i < 201; i += 2)
        memcpy(id + i, "\xC3\xBC", 2);
    for (size_t i = 0; i < 20000; i += 2)
        memcpy(big + i, "\xC3\xBC", 2);
    for (int json = 0; json < 2; json++) {
        for (int ugly = 0; ugly < 2; ugly++) {
            if (ugly)
                memset(big, 1, 20000); /* six bytes each in JSON */
            log_setup(LOG_INFO, json);
            capture();
            /* The cut of one id falls between characters, that of the other into one. */
            const struct log_ctx lc = {.component = "api", .job_id = big, .request_id = id};
            log_info(&lc, "%s", big);
            char *out = captured();
            size_t n = strlen(out);
            assert_true(n > 4096);
            assert_int_equal(out[n - 1], '\n');
            assert_true(utf8_valid(out, n)); /* cut between characters */
            assert_null(strstr(out, "\xEF\xBF\xBD"));
            if (json)
                assert_int_equal(out[n - 2], '}');
            free(out);
        }
        for (size_t i = 0; i < 20000; i += 2)
            memcpy(big + i, "\xC3\xBC", 2);
    }
    free(big);
    free(id);
    log_setup(LOG_INFO, false);
}

static void test_levels(void **state)
{
    (void)state;
    static const char *const words[] = {"error", "warn", "info", "debug"};
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        enum log_level l;
        assert_true(log_level_parse(words[i], &l));
        assert_int_equal(l, i);
        log_setup(l, false);
        for (size_t k = 0; k < ARRAY_LEN(words); k++)
            assert_int_equal(log_on((enum log_level)k), k <= i);
    }
    enum log_level l = LOG_WARN;
    assert_false(log_level_parse("Info", &l));
    assert_false(log_level_parse("", &l));
    assert_int_equal(l, LOG_WARN);
    log_setup(LOG_INFO, false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text),
        cmocka_unit_test(test_json),
        cmocka_unit_test(test_nobody_forges_a_line),
        cmocka_unit_test(test_long_messages_are_cut_not_lost),
        cmocka_unit_test(test_levels),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
