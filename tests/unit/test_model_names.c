/* SPDX-License-Identifier: MIT */
#include "job/model_names.h"

#include "base/str.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { MAX_HERE = 8 };

static struct model_here model(const char *name, double millions, bool multilingual, bool can_translate)
{
    return (struct model_here){.name = name,
                               .parameters = (int64_t)(millions * 1e6),
                               .multilingual = multilingual,
                               .can_translate = can_translate};
}

/* "a b.en c" as models: those with ".en" know English only; those with "turbo" do not translate. */
static size_t models(const char *names, struct arena *a, struct model_here *ret)
{
    size_t n = 0;
    for (const char *p = names; *p;) {
        size_t len = strcspn(p, " ");
        const char *name = arena_dup(a, p, len);
        assert_non_null(name);
        assert_true(n < MAX_HERE);
        bool english = strstr(name, ".en") != NULL;
        ret[n++] = model(name, 0, !english, !english && !strstr(name, "turbo"));
        p += len;
        p += strspn(p, " ");
    }
    return n;
}

static void test_choices(void **state)
{
    (void)state;
    static const struct {
        const char *aliases, *here, *name, *language, *task;
        const char *want; /* NULL: the default */
        bool warned;
    } rows[] = {
        /* Nothing is asked for. */
        {"", "tiny base", NULL, NULL, NULL, NULL, false},
        {"", "tiny base", "", NULL, NULL, NULL, false},
        {"", "tiny base", "auto", NULL, NULL, NULL, false},
        {"", "tiny base", "AUTO", NULL, NULL, NULL, false},
        /* As written, and with what people put around a name. */
        {"", "tiny base", "base", NULL, NULL, "base", false},
        {"", "tiny base", "Base", NULL, NULL, "base", false},
        {"", "tiny base base.en", "base.en", NULL, NULL, "base.en", false},
        {"", "tiny small", "Systran/faster-whisper-small", NULL, NULL, "small", false},
        {"", "tiny large-v3", "openai/whisper-large-v3", NULL, NULL, "large-v3", false},
        {"", "tiny large-v3-turbo", "deepdml/faster-whisper-large-v3-turbo-ct2", NULL, NULL, "large-v3-turbo", false},
        {"", "tiny distil-large-v3", "Systran/faster-distil-whisper-large-v3", NULL, NULL, "distil-large-v3", false},
        {"", "tiny distil-large-v3", "distil-whisper/distil-large-v3", NULL, NULL, "distil-large-v3", false},
        {"", "tiny base.en", "ggml-base.en.bin", NULL, NULL, "base.en", false},
        {"", "tiny whisper-small-vi", "me/whisper-small-vi", NULL, NULL, "whisper-small-vi", false},
        {"", "tiny whisper-small-vi", "small-vi", NULL, NULL, "whisper-small-vi", false},
        {"", "my.model", "my.model", NULL, NULL, "my.model", false},
        /* Built-in aliases, unless something is installed by that name. */
        {"", "tiny base", "whisper-1", NULL, NULL, NULL, false},
        {"", "tiny base", "gpt-4o-transcribe", NULL, NULL, NULL, false},
        {"", "tiny base", "openai/gpt-4o-mini-transcribe-2025-12-15", NULL, NULL, NULL, false},
        {"", "tiny base", "gpt-4o-transcribe-diarize", NULL, NULL, NULL, false},
        {"", "tiny large-v2 large-v3", "large", NULL, NULL, "large-v3", false},
        {"", "tiny large", "large", NULL, NULL, "large", false},
        {"", "tiny large-v3-turbo", "turbo", NULL, NULL, "large-v3-turbo", false},
        /* The setting's come before all. */
        {"whisper-1=base", "tiny base", "whisper-1", NULL, NULL, "base", false},
        {"whisper-1 = base , tiny=base", "tiny base", "tiny", NULL, NULL, "base", false},
        {"base=base", "tiny base", "base", NULL, NULL, "base", false},
        {"large=auto", "tiny large-v3", "large", NULL, NULL, NULL, false},
        {"mine=yours,yours=tiny", "tiny base", "mine", NULL, NULL, "tiny", false},
        {"a=b,b=a", "tiny base", "a", NULL, NULL, NULL, true}, /* a circle leads nowhere */
        {"mine=medium", "tiny small", "mine", NULL, NULL, "small", true},
        /* The nearest in size. */
        {"", "tiny base", "medium", NULL, NULL, "base", true},
        {"", "base tiny", "large-v3", NULL, NULL, "base", true},
        {"", "medium large-v3", "base", NULL, NULL, "medium", true},
        {"", "tiny small medium", "large", NULL, NULL, "medium", true},
        {"", "tiny small", "large-v2", NULL, NULL, "small", true},
        {"", "base large-v3-turbo", "medium", NULL, NULL, "large-v3-turbo", true},
        {"", "base large-v3-turbo-q5_0", "turbo", NULL, NULL, "large-v3-turbo-q5_0", true},
        {"", "tiny base-q5_1", "base", NULL, NULL, "base-q5_1", true},
        {"", "tiny small", "Systran/faster-whisper-medium", NULL, NULL, "small", true},
        /* Of those that can do it. */
        {"", "base.en large-v3", "base", NULL, NULL, "large-v3", true},
        {"", "base.en large-v3", "base", "de", NULL, "large-v3", true},
        {"", "base.en large-v3", "base", "en", NULL, "base.en", true},
        {"", "base.en large-v3", "base", "en-GB", NULL, "base.en", true},
        {"", "base.en large-v3", "small.en", NULL, NULL, "base.en", true},
        {"", "tiny.en base.en", "base", NULL, NULL, "base.en", true}, /* none can: the engine says why */
        {"", "tiny large-v3-turbo", "medium", "de", "transcribe", "large-v3-turbo", true},
        {"", "tiny large-v3-turbo", "medium", "de", "translate", "tiny", true},
        /* No size is known. */
        {"", "tiny base", "nova-2", NULL, NULL, NULL, true},
        {"", "tiny base", "basement", NULL, NULL, NULL, true},
        {"", "", "base", NULL, NULL, NULL, true},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        CLEANUP(arena_clear) struct arena a = ARENA_INIT;
        struct model_here here[MAX_HERE];
        struct model_names names;
        struct err err = ERR_INIT;
        const struct model_wish wish = {rows[i].name, rows[i].language, rows[i].task};
        const char *got = "none", *warning = "none";
        assert_int_equal(model_names_read(rows[i].aliases, "nearest", &a, &names, &err), 0);
        size_t n = models(rows[i].here, &a, here);
        assert_int_equal(model_names_choose(&names, &wish, here, n, &a, &got, &warning, &err), 0);
        if (!str_eq(got, rows[i].want) || (warning != NULL) != rows[i].warned)
            fail_msg("%zu: '%s' of '%s' gave '%s', '%s'", i, rows[i].name ? rows[i].name : "-", rows[i].here,
                     got ? got : "-", warning ? warning : "-");
        if (warning)
            assert_non_null(strstr(warning, rows[i].name));
    }
}

/* A model of a name that tells no size counts with its own parameters. */
static void test_other_names_count_by_parameters(void **state)
{
    (void)state;
    CLEANUP(arena_clear) struct arena a = ARENA_INIT;
    const struct model_here here[] = {model("kotoba", 756, true, true), model("mini", 30, true, true)};
    const struct {
        const char *name, *want;
    } rows[] = {{"medium", "kotoba"}, {"base", "mini"}, {"large", "kotoba"}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const struct model_wish wish = {.name = rows[i].name};
        const char *got = NULL, *warning = NULL;
        struct err err = ERR_INIT;
        assert_int_equal(model_names_choose(NULL, &wish, here, ARRAY_LEN(here), &a, &got, &warning, &err), 0);
        assert_string_equal(got, rows[i].want);
        assert_non_null(strstr(warning, got));
    }
}

/* "whisper-1" is the default model, unless that one cannot do it. */
static void test_an_alias_of_the_default(void **state)
{
    (void)state;
    static const struct {
        const char *here, *name, *language, *task, *missing; /* the first one here is the default */
        const char *want;                                    /* NULL: the default */
    } rows[] = {
        {"base.en small medium", "whisper-1", NULL, NULL, "nearest", NULL},
        {"base.en small medium", "whisper-1", "en", "transcribe", "nearest", NULL},
        {"base.en small medium", "whisper-1", "de", NULL, "nearest", "small"},
        {"base.en small medium", "whisper-1", NULL, "translate", "nearest", "small"},
        {"base.en small medium", "whisper-1", "de", NULL, "error", NULL},
        {"base.en small medium", "auto", "de", NULL, "nearest", NULL}, /* nobody asked for any */
        {"base.en small medium", NULL, "de", NULL, "nearest", NULL},
        {"base.en small medium", "base.en", "de", NULL, "nearest", "base.en"}, /* that one and no other */
        {"large-v3-turbo tiny medium", "whisper-1", "de", "transcribe", "nearest", NULL},
        {"large-v3-turbo tiny medium", "whisper-1", "de", "translate", "nearest", "medium"},
        {"base.en tiny.en", "whisper-1", "de", NULL, "nearest", NULL}, /* none can: the engine says why */
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        CLEANUP(arena_clear) struct arena a = ARENA_INIT;
        struct model_here here[MAX_HERE];
        struct model_names names;
        struct err err = ERR_INIT;
        const struct model_wish wish = {rows[i].name, rows[i].language, rows[i].task};
        const char *got = "none", *warning = "none";
        assert_int_equal(model_names_read("", rows[i].missing, &a, &names, &err), 0);
        size_t n = models(rows[i].here, &a, here);
        here[0].standard = true;
        assert_int_equal(model_names_choose(&names, &wish, here, n, &a, &got, &warning, &err), 0);
        bool other = rows[i].want && !str_eq(rows[i].want, rows[i].name);
        if (!str_eq(got, rows[i].want) || (warning != NULL) != other)
            fail_msg("%zu: '%s' of '%s' gave '%s', '%s'", i, rows[i].name ? rows[i].name : "-", rows[i].here,
                     got ? got : "-", warning ? warning : "-");
    }
}

static void test_missing_is_an_error(void **state)
{
    (void)state;
    CLEANUP(arena_clear) struct arena a = ARENA_INIT;
    struct model_here here[MAX_HERE];
    struct model_names names;
    struct err err = ERR_INIT;
    assert_int_equal(model_names_read("mine=base", "error", &a, &names, &err), 0);
    size_t n = models("tiny base", &a, here);
    const struct {
        const char *name, *want; /* NULL: refused */
    } rows[] = {{"base", "base"}, {"mine", "base"}, {"whisper-base", "base"}, {"medium", NULL}, {"large", NULL}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const struct model_wish wish = {.name = rows[i].name};
        const char *got = NULL, *warning = "none";
        int rc = model_names_choose(&names, &wish, here, n, &a, &got, &warning, &err);
        assert_int_equal(rc, rows[i].want ? 0 : ERR_NOT_FOUND);
        if (!str_eq(got, rows[i].want))
            fail_msg("'%s' gave '%s'", rows[i].name, got ? got : "-");
        if (rows[i].want)
            assert_null(warning);
        else
            assert_non_null(strstr(err.msg, "use tiny, base"));
    }
}

static void test_the_setting(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int n; /* negative: refused */
    } rows[] = {
        {"", 0},       {" , ", 0},       {"a=b", 1},     {"a=b,", 1},   {"a=b,c=d", 2}, {" a = b , c=auto ", 2},
        {"a", -1},     {"=b", -1},       {"a=", -1},     {"a=b=c", -1}, {"a=../x", -1}, {"a b=c", -1},
        {"a=b,c", -1}, {"a=/etc/x", -1}, {"x/y=z/w", 1},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        CLEANUP(arena_clear) struct arena a = ARENA_INIT;
        struct model_names names = {.n_aliases = 0};
        struct err err = ERR_INIT;
        int rc = model_names_read(rows[i].text, "nearest", &a, &names, &err);
        if (rc != (rows[i].n < 0 ? ERR_INVALID : 0) || (rc == 0 && names.n_aliases != (size_t)rows[i].n))
            fail_msg("'%s': %d, %zu", rows[i].text, rc, names.n_aliases);
        if (rc < 0)
            assert_non_null(strstr(err.msg, "model_aliases"));
    }
}

static void test_all_aliases_are_listed(void **state)
{
    (void)state;
    CLEANUP(arena_clear) struct arena a = ARENA_INIT;
    struct model_names names;
    struct model_alias alias = {NULL, NULL};
    struct err err = ERR_INIT;
    assert_int_equal(model_names_read("mine=base", "nearest", &a, &names, &err), 0);
    assert_true(model_names_alias(&names, 0, &alias));
    assert_string_equal(alias.name, "mine");
    assert_string_equal(alias.target, "base");
    bool openai = false;
    size_t n = 1;
    for (; model_names_alias(&names, n, &alias); n++)
        openai = openai || strcmp(alias.name, "whisper-1") == 0;
    assert_true(openai);
    assert_true(model_names_alias(NULL, n - 2, &alias) && !model_names_alias(NULL, n - 1, &alias));
}

static void test_the_next_smaller(void **state)
{
    (void)state;
    const struct model_here here[] = {
        model("base", 72.6, true, true),  model("base.en", 72.59, false, false), model("large", 1543, true, true),
        model("turbo", 809, true, false), model("small.en", 241, false, false),  model("unknown", 0, true, true),
        model("tiny", 37.2, true, true),  model("tiny.en", 37.1, false, false),
    };
    static const struct {
        const char *name, *language, *task, *want;
    } rows[] = {
        /* In an unknown language one for many languages stays that. */
        {"large", NULL, NULL, "turbo"},
        {"turbo", NULL, "transcribe", "base"},
        {"turbo", "en", "transcribe", "small.en"},
        {"turbo", "de", "transcribe", "base"},
        /* What cannot translate is no help there. */
        {"large", NULL, "translate", "base"},
        {"large", "de", "translate", "base"},
        /* Of two as large the one of its own kind; when that is none, any. */
        {"small.en", NULL, NULL, "base.en"},
        {"small.en", "en", NULL, "base.en"},
        {"base", NULL, NULL, "tiny"},
        {"base.en", "en", NULL, "tiny.en"},
        {"tiny", "en", NULL, "tiny.en"},
        {"tiny", NULL, NULL, NULL},
        {"tiny.en", NULL, NULL, NULL},
        /* Whose size nobody knows, and who is not here. */
        {"unknown", NULL, NULL, NULL},
        {"medium", NULL, NULL, NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const struct model_wish w = {.name = "ignored", .language = rows[i].language, .task = rows[i].task};
        const char *got = model_names_smaller(rows[i].name, &w, here, ARRAY_LEN(here));
        if (!str_eq(got, rows[i].want))
            fail_msg("row %zu: %s instead of %s", i, got ? got : "none", rows[i].want ? rows[i].want : "none");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_next_smaller),
        cmocka_unit_test(test_choices),
        cmocka_unit_test(test_other_names_count_by_parameters),
        cmocka_unit_test(test_an_alias_of_the_default),
        cmocka_unit_test(test_missing_is_an_error),
        cmocka_unit_test(test_the_setting),
        cmocka_unit_test(test_all_aliases_are_listed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
