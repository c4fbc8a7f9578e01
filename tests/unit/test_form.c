/* SPDX-License-Identifier: MIT */
/* The fields of a submission: native names, those of a dialect, lists. */
#include "api/dialect.h"
#include "base/str.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static const struct dialect_field fields[] = {
    {"model_size", FORM_model, false},
    {"keywords", FORM_prompt, true},
    {"stream", FORM_COUNT, false},
    {"include", FORM_COUNT, true},
    {0},
};
static const struct dialect dialect = {.name = "test", .fields = fields};

/* PROBLEM_COUNT: taken. */
static enum problem set(struct form *f, struct arena *a, const char *name, const char *value)
{
    struct form_slot slot;
    enum problem p = PROBLEM_COUNT;
    struct err err = ERR_INIT;
    if (!form_find(f, name, &slot))
        return PROBLEM_unknown_field;
    return form_set(f, &slot, value, strlen(value), a, &p, &err) < 0 ? p : PROBLEM_COUNT;
}

static void test_names(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        bool native, ours;
    } cases[] = {
        {"model", true, true},        {"language", true, true},     {"temperature", true, true},
        {"model_size", false, true},  {"stream", false, true},      {"stream[]", false, false},
        {"include", false, true},     {"include[]", false, true},   {"include[0]", false, true},
        {"include[12]", false, true}, {"include[a]", false, false}, {"include[", false, false},
        {"include[]x", false, false}, {"keywords[1]", false, true}, {"model[]", false, false},
        {"", false, false},           {"Model", false, false},      {"[]", false, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct form native = {.dialect = &dialect_native}, other = {.dialect = &dialect};
        struct form_slot slot;
        if (form_find(&native, cases[i].name, &slot) != cases[i].native)
            fail_msg("native '%s'", cases[i].name);
        if (form_find(&other, cases[i].name, &slot) != cases[i].ours)
            fail_msg("'%s'", cases[i].name);
    }
}

static void test_values(void **state)
{
    (void)state;
    CLEANUP(arena_clear) struct arena a = ARENA_INIT;
    struct form f = {.dialect = &dialect, .engine_names = "null"};
    assert_int_equal(set(&f, &a, "model_size", "base"), PROBLEM_COUNT);
    assert_string_equal(f.values[FORM_model], "base");
    assert_int_equal(set(&f, &a, "model", "small"), PROBLEM_duplicate_field);

    assert_null(form_extra(&f, "stream"));
    assert_int_equal(set(&f, &a, "stream", "true"), PROBLEM_COUNT);
    assert_string_equal(form_extra(&f, "stream"), "true");
    assert_int_equal(set(&f, &a, "stream", "true"), PROBLEM_duplicate_field);
    assert_null(form_extra(&f, "model_size")); /* it sets something */
    assert_null(form_extra(&f, "nothing"));

    assert_int_equal(set(&f, &a, "include[]", "a"), PROBLEM_COUNT);
    assert_int_equal(set(&f, &a, "include", "b"), PROBLEM_COUNT);
    assert_int_equal(set(&f, &a, "include[2]", "c"), PROBLEM_COUNT);
    assert_string_equal(form_extra(&f, "include"), "a,b,c");
    assert_int_equal(set(&f, &a, "keywords[]", "Kiel"), PROBLEM_COUNT);
    assert_int_equal(set(&f, &a, "keywords[]", "Jena"), PROBLEM_COUNT);
    assert_string_equal(f.values[FORM_prompt], "Kiel,Jena");
    assert_int_equal(set(&f, &a, "prompt", "again"), PROBLEM_duplicate_field);
}

static void test_a_list_is_bounded(void **state)
{
    (void)state;
    CLEANUP(arena_clear) struct arena a = ARENA_INIT;
    struct form f = {.dialect = &dialect, .engine_names = "null"};
    char half[FORM_VALUE_MAX / 2 + 1];
    memset(half, 'x', sizeof half - 1);
    half[sizeof half - 1] = '\0';
    assert_int_equal(set(&f, &a, "include[]", half), PROBLEM_COUNT);
    assert_int_equal(set(&f, &a, "include[]", half), PROBLEM_bad_field);
}

static void test_form_fields(void **state)
{
    (void)state;
    static const struct {
        const char *name, *value;
        const char *kept;    /* NULL: as if not given */
        const char *problem; /* the code; NULL: taken */
    } cases[] = {
        {"model", "base.en", "base.en", NULL},
        {"model", "openai/whisper-1", "openai/whisper-1", NULL},
        {"model", "", NULL, NULL},
        {"model", "../x", NULL, "bad_field"},
        {"model", "a b", NULL, "bad_field"},
        {"language", "en", "en", NULL},
        {"language", "EN", "en", NULL},
        {"language", "pt-BR", "pt-BR", NULL},
        {"language", "yue", "yue", NULL},
        {"language", "auto", NULL, NULL},
        {"language", "english", NULL, "bad_field"},
        {"language", "e", NULL, "bad_field"},
        {"language", "en-", NULL, "bad_field"},
        {"language", "en_US", NULL, "bad_field"},
        {"language", "en-US;drop", NULL, "bad_field"},
        {"task", "translate", "translate", NULL},
        {"task", "Transcribe", NULL, "bad_field"},
        {"queue", "high", "high", NULL},
        {"queue", "retry", NULL, "bad_field"},
        {"queue", "urgent", NULL, "bad_field"},
        {"priority", "normal", "normal", NULL},
        {"priority", "1", NULL, "bad_field"},
        {"engine", "null", "null", NULL},
        {"engine", "auto", NULL, NULL},
        {"engine", "nul", NULL, "bad_field"},
        {"engine", "null,", NULL, "bad_field"},
        {"engine", "whisper", NULL, "bad_field"},
        {"prompt", "Steno, Thorsten; \n\xE2\x82\xAC", "Steno, Thorsten; \n\xE2\x82\xAC", NULL},
        {"prompt", "\xFF", NULL, "bad_field"},
        {"description", "x", "x", NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct arena a = ARENA_INIT;
        struct form f = {.dialect = &dialect_native, .engine_names = "pocketsphinx,null"};
        struct err err = ERR_INIT;
        enum problem p = PROBLEM_COUNT;
        struct form_slot slot;
        assert_true(form_find(&f, cases[i].name, &slot));
        enum form_field field = slot.field;
        int rc = form_set(&f, &slot, cases[i].value, strlen(cases[i].value), &a, &p, &err);
        if ((rc < 0) != (cases[i].problem != NULL) || !str_eq(f.values[field], cases[i].kept))
            fail_msg("%s=%s: %d '%s' %s", cases[i].name, cases[i].value, rc, f.values[field] ? f.values[field] : "-",
                     err.msg);
        if (rc < 0)
            assert_string_equal(problem_info(p)->code, cases[i].problem);
        else {
            assert_int_equal(form_set(&f, &slot, "x", 1, &a, &p, &err), ERR_INVALID);
            assert_int_equal(p, PROBLEM_duplicate_field);
        }
        arena_clear(&a);
    }
}

static int set_native(struct form *f, const char *name, const char *value, size_t n, struct arena *a, struct err *err)
{
    struct form_slot slot;
    enum problem p;
    assert_true(form_find(f, name, &slot));
    *err = (struct err)ERR_INIT;
    return form_set(f, &slot, value, n, a, &p, err);
}

/* The sentence calls it by its name and has nothing before that. */
static void test_a_wrong_option(void **state)
{
    (void)state;
    static const char begin[] = "'temperature' must be a number from 0 to 1";
    CLEANUP(arena_clear) struct arena a = ARENA_INIT;
    struct form f = {.dialect = &dialect_native, .engine_names = "null"};
    struct err err;
    assert_int_equal(set_native(&f, "temperature", "2", 1, &a, &err), ERR_INVALID);
    assert_memory_equal(err.msg, begin, sizeof begin - 1);
}

static void test_form_limits(void **state)
{
    (void)state;
    CLEANUP(arena_clear) struct arena a = ARENA_INIT;
    struct form f = {.dialect = &dialect_native, .engine_names = "null"};
    struct err err;
    char text[FORM_VALUE_MAX + 1];
    memset(text, 'a', sizeof text);
    assert_int_equal(set_native(&f, "prompt", text, FORM_VALUE_MAX, &a, &err), 0);
    assert_int_equal(set_native(&f, "description", text, FORM_VALUE_MAX + 1, &a, &err), ERR_INVALID);
    assert_non_null(strstr(err.msg, "over 4096 bytes"));
    assert_int_equal(set_native(&f, "model", "a\0b", 3, &a, &err), ERR_INVALID);
    assert_non_null(strstr(err.msg, "NUL"));
    assert_int_equal(set_native(&f, "queue", "high", 4, &a, &err), 0);
    assert_int_equal(set_native(&f, "priority", "normal", 6, &a, &err), ERR_INVALID);
    assert_non_null(strstr(err.msg, "must not differ"));
}

static void test_file_names_are_data(void **state)
{
    (void)state;
    struct arena a = ARENA_INIT;
    assert_string_equal(form_filename("../../a\\b.wav", &a), "../../a\\b.wav");
    assert_string_equal(form_filename("a\x01\r\n\x7F"
                                      "b",
                                      &a),
                        "ab");
    assert_string_equal(form_filename("\xFF.wav", &a), "\xEF\xBF\xBD.wav");
    assert_string_equal(form_filename("", &a), "audio");
    assert_string_equal(form_filename("\x01", &a), "audio");
    assert_string_equal(form_filename(NULL, &a), "audio");
    char text[1000] = "";
    for (int i = 0; i < 300; i++)
        memcpy(text + 3 * i, "\xE2\x82\xAC", 4);
    const char *cut = form_filename(text, &a);
    assert_int_equal(strlen(cut), FILENAME_MAX_BYTES);
    assert_true(utf8_valid(cut, strlen(cut)));
    text[0] = 'a'; /* so that the limit falls into a character */
    cut = form_filename(text + 0, &a);
    assert_true(strlen(cut) <= FILENAME_MAX_BYTES);
    assert_true(utf8_valid(cut, strlen(cut)));
    arena_clear(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_a_list_is_bounded),
        cmocka_unit_test(test_form_fields),
        cmocka_unit_test(test_a_wrong_option),
        cmocka_unit_test(test_form_limits),
        cmocka_unit_test(test_file_names_are_data),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
