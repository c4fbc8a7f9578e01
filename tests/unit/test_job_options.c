/* SPDX-License-Identifier: MIT */
#include "job/options.h"

#include "base/str.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void test_values(void **state)
{
    (void)state;
    static const struct {
        enum job_option option;
        const char *value, *want; /* NULL: refused */
    } rows[] = {
        {JOB_OPTION_word_timestamps, "true", "true"},
        {JOB_OPTION_word_timestamps, "ON", "true"},
        {JOB_OPTION_word_timestamps, "0", "false"},
        {JOB_OPTION_word_timestamps, "maybe", NULL},
        {JOB_OPTION_decode_mode, "sequential", "sequential"},
        {JOB_OPTION_decode_mode, "sequentia", NULL},
        {JOB_OPTION_decode_mode, "batched|sequential", NULL},
        {JOB_OPTION_beam_size, "16", "16"},
        {JOB_OPTION_beam_size, "007", "7"},
        {JOB_OPTION_beam_size, "0", NULL},
        {JOB_OPTION_beam_size, "17", NULL},
        {JOB_OPTION_beam_size, "2.5", NULL},
        {JOB_OPTION_seed, "9007199254740991", "9007199254740991"},
        {JOB_OPTION_seed, "-1", NULL},
        {JOB_OPTION_temperature, "0", "0"},
        {JOB_OPTION_temperature, "0.20", "0.2"},
        {JOB_OPTION_temperature, "1e-1", "0.1"},
        {JOB_OPTION_temperature, "0, .25 ,1.0", "0,0.25,1"},
        {JOB_OPTION_temperature, "1.01", NULL},
        {JOB_OPTION_temperature, "-0.1", NULL},
        {JOB_OPTION_temperature, "nan", NULL},
        {JOB_OPTION_temperature, "0,", NULL},
        {JOB_OPTION_temperature, "0 1", "0,1"},
        {JOB_OPTION_temperature, "0,0,0,0,0,0,0,0,0", NULL},
        {JOB_OPTION_hotwords, "Zo\xc3\xab, \"Bo\"", "Zo\xc3\xab, \"Bo\""},
        {JOB_OPTION_hotwords, "\xff", NULL},
    };
    struct arena a = ARENA_INIT;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct job_options o = {{NULL}};
        struct err err = ERR_INIT;
        int rc = job_options_set(&o, rows[i].option, rows[i].value, &a, &err);
        if (!str_eq(o.values[rows[i].option], rows[i].want))
            fail_msg("'%s' gave '%s'", rows[i].value, o.values[rows[i].option] ? o.values[rows[i].option] : "nothing");
        assert_int_equal(rc, rows[i].want ? 0 : ERR_INVALID);
        if (!rows[i].want)
            assert_non_null(strstr(err.msg, job_option_name(rows[i].option)));
    }
    arena_clear(&a);
}

static void test_too_long_a_text(void **state)
{
    (void)state;
    struct arena a = ARENA_INIT;
    struct job_options o = {{NULL}};
    struct err err = ERR_INIT;
    char text[JOB_OPTION_TEXT_MAX + 2] = {0};
    memset(text, 'a', sizeof text - 2);
    assert_int_equal(job_options_set(&o, JOB_OPTION_hotwords, text, &a, &err), 0);
    text[sizeof text - 2] = 'a';
    assert_int_equal(job_options_set(&o, JOB_OPTION_hotwords, text, &a, &err), ERR_INVALID);
    assert_int_equal(job_options_set(&o, JOB_OPTION_hotwords, "", &a, &err), 0);
    assert_null(o.values[JOB_OPTION_hotwords]);
    arena_clear(&a);
}

/* One of each kind, as JSON and back; what is left open comes from the defaults. */
static void test_json(void **state)
{
    (void)state;
    static const char *const given[JOB_OPTION_COUNT] = {
        [JOB_OPTION_word_timestamps] = "yes", [JOB_OPTION_decode_mode] = "sequential", [JOB_OPTION_beam_size] = "3",
        [JOB_OPTION_hotwords] = "a \"b\"\n",  [JOB_OPTION_temperature] = "0,0.4",      [JOB_OPTION_seed] = "12",
    };
    struct arena a = ARENA_INIT;
    struct err err = ERR_INIT;
    struct job_options o = {{NULL}}, back;
    for (size_t i = 0; i < JOB_OPTION_COUNT; i++)
        if (given[i])
            assert_int_equal(job_options_set(&o, (enum job_option)i, given[i], &a, &err), 0);
    struct buf b = BUF_INIT(JOB_OPTIONS_JSON_MAX);
    job_options_to_json(&o, &b);
    assert_string_equal(buf_str(&b), "{\"word_timestamps\":true,\"decode_mode\":\"sequential\",\"beam_size\":3,"
                                     "\"hotwords\":\"a \\\"b\\\"\\n\",\"temperature\":[0,0.4],\"seed\":12}");
    assert_int_equal(job_options_from_json(buf_str(&b), &a, &back, &err), 0);
    for (size_t i = 0; i < JOB_OPTION_COUNT; i++)
        assert_true(str_eq(o.values[i], back.values[i]));
    assert_true(job_option_is(&back, JOB_OPTION_word_timestamps, "true"));
    assert_int_equal(job_option_int(&back, JOB_OPTION_beam_size, 5), 3);
    float t[JOB_OPTION_NUMBERS_MAX];
    assert_int_equal(job_option_numbers(&back, JOB_OPTION_temperature, t, ARRAY_LEN(t)), 2);
    assert_true(t[0] == 0 && t[1] == 0.4f);
    assert_int_equal(job_option_numbers(&back, JOB_OPTION_temperature, t, 1), 1);

    struct job_options some = {.values = {[JOB_OPTION_beam_size] = "1"}};
    job_options_default(&some, &back);
    assert_true(job_option_is(&some, JOB_OPTION_beam_size, "1"));
    assert_true(job_option_is(&some, JOB_OPTION_seed, "12"));
    buf_clear(&b);

    assert_int_equal(job_options_from_json(NULL, &a, &back, &err), 0);
    job_options_to_json(&back, &b);
    assert_string_equal(buf_str(&b), "{}");
    assert_int_equal(job_option_int(&back, JOB_OPTION_beam_size, 5), 5);
    assert_int_equal(job_option_numbers(&back, JOB_OPTION_temperature, t, 1), 0);
    assert_int_equal(job_options_from_json("{\"later\":[1],\"temperature\":0.5}", &a, &back, &err), 0);
    assert_true(job_option_is(&back, JOB_OPTION_temperature, "0.5"));
    buf_clear(&b);
    arena_clear(&a);
}

static void test_damaged_json(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "[",
        "[]",
        "{\"beam_size\":99}",
        "{\"beam_size\":\"3\"}",
        "{\"beam_size\":[3]}",
        "{\"beam_size\":null}",
        "{\"word_timestamps\":{}}",
        "{\"temperature\":[]}",
        "{\"temperature\":[[0]]}",
        "{\"decode_mode\":true}",
        "{\"beam_size\":1,\"beam_size\":2}",
    };
    struct arena a = ARENA_INIT;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct job_options o;
        struct err err = ERR_INIT;
        if (job_options_from_json(bad[i], &a, &o, &err) != ERR_CORRUPT)
            fail_msg("%s was taken", bad[i]);
    }
    arena_clear(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_too_long_a_text),
        cmocka_unit_test(test_json),
        cmocka_unit_test(test_damaged_json),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
