/* SPDX-License-Identifier: MIT */
/* The form of OpenAI's routes: what each field comes to, and what is refused in whose name. */
#include "api/openai.h"

#include "api/dialect.h"
#include "base/str.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { FIELDS_MAX = 6 };

struct pair {
    const char *name, *value;
};

/* Takes a form as an upload does. 0, or INVALID with the field that is wrong. */
static int take(const struct dialect *d, const struct pair *fields, struct arena *a, struct form *f,
                const char **ret_wrong, enum problem *ret_problem)
{
    struct err err = ERR_INIT;
    *f = (struct form){.dialect = d, .engine_names = "null"};
    *ret_problem = PROBLEM_COUNT;
    for (size_t i = 0; i < FIELDS_MAX && fields[i].name; i++) {
        struct form_slot slot;
        if (!form_find(f, fields[i].name, &slot)) {
            assert_true(d->ignores_unknown);
            continue;
        }
        *ret_wrong = slot.name;
        if (d->cannot(slot.name))
            return ERR_INVALID;
        int rc = form_set(f, &slot, fields[i].value, strlen(fields[i].value), a, ret_problem, &err);
        if (rc < 0)
            return rc;
    }
    *ret_wrong = NULL;
    int rc = d->complete(f, a, ret_problem, &err);
    *ret_wrong = f->wrong;
    if (rc < 0)
        assert_true(strlen(err.msg) > 10);
    return rc;
}

#define MODEL                \
    {                        \
        "model", "whisper-1" \
    }

static void test_refusals(void **state)
{
    (void)state;
    static const struct {
        struct pair fields[FIELDS_MAX];
        const char *wrong; /* NULL: taken */
    } rows[] = {
        {{MODEL}, NULL},
        {{{"model", "Systran/faster-whisper-small"}}, NULL},
        {{{"language", "en"}}, "model"},
        {{{"model", ""}}, "model"},
        {{{"model", "not a name"}}, "model"},
        {{MODEL, {"language", "en"}}, NULL},
        {{MODEL, {"language", ""}}, NULL},
        {{MODEL, {"language", "xx"}}, "language"},
        {{MODEL, {"language", "english"}}, "language"},
        {{MODEL, {"languages[]", "de"}}, NULL},
        {{MODEL, {"languages", "de"}, {"language", "de"}}, NULL},
        {{MODEL, {"languages[]", "de"}, {"language", "en"}}, "languages"},
        {{MODEL, {"languages[]", "de"}, {"languages[]", "en"}}, "languages"},
        {{MODEL, {"languages[]", "de-AT-x"}}, "languages"},
        {{MODEL, {"languages[]", "xx"}}, "languages"},
        {{MODEL, {"response_format", "srt"}}, NULL},
        {{MODEL, {"response_format", ""}}, NULL},
        {{MODEL, {"response_format", "diarized_json"}}, "response_format"},
        {{MODEL, {"response_format", "JSON"}}, "response_format"},
        {{MODEL, {"response_format", "json"}, {"response_format", "srt"}}, "response_format"},
        {{MODEL, {"response_format", "verbose_json"}, {"timestamp_granularities[]", "word"}}, NULL},
        {{MODEL, {"response_format", "verbose_json"}, {"timestamp_granularities[0]", "word"}}, NULL},
        {{MODEL, {"response_format", "verbose_json"}, {"timestamp_granularities", "segment"}}, NULL},
        {{MODEL, {"response_format", "verbose_json"}, {"timestamp_granularities[]", "words"}},
         "timestamp_granularities"},
        {{MODEL, {"response_format", "json"}, {"timestamp_granularities[]", "word"}}, "timestamp_granularities"},
        {{MODEL, {"timestamp_granularities[]", "segment"}}, "timestamp_granularities"},
        {{MODEL, {"include[]", "logprobs"}}, NULL},
        {{MODEL, {"include", "logprobs"}, {"response_format", "json"}}, NULL},
        {{MODEL, {"include", "tokens"}}, "include"},
        {{MODEL, {"include", "logprobs"}, {"response_format", "verbose_json"}}, "include"},
        {{MODEL, {"stream", "true"}}, NULL},
        {{MODEL, {"stream", "False"}}, NULL},
        {{MODEL, {"stream", "1"}, {"response_format", "verbose_json"}}, NULL},
        {{MODEL, {"stream", "yes please"}}, "stream"},
        {{MODEL, {"stream", "true"}, {"response_format", "vtt"}}, "stream"},
        {{MODEL, {"stream", "false"}, {"response_format", "vtt"}}, NULL},
        {{MODEL, {"temperature", "0"}}, NULL},
        {{MODEL, {"temperature", "0.0"}}, NULL},
        {{MODEL, {"temperature", "1"}}, NULL},
        {{MODEL, {"temperature", "1.1"}}, "temperature"},
        {{MODEL, {"temperature", "0,0.2"}}, "temperature"},
        {{MODEL, {"temperature", "hot"}}, "temperature"},
        {{MODEL, {"keywords[]", "Kiel"}, {"keywords[]", "Jena"}}, NULL},
        {{MODEL, {"known_speaker_names[]", "Ada"}}, "known_speaker_names"},
        {{MODEL, {"known_speaker_references[0]", "data:audio/wav;base64,AA"}}, "known_speaker_references"},
        {{MODEL, {"chunking_strategy", "auto"}}, NULL},
        {{MODEL, {"chunking_strategy", "\"auto\""}}, NULL},
        {{MODEL, {"chunking_strategy", "{\"type\": \"server_vad\"}"}}, NULL},
        {{MODEL, {"chunking_strategy", "{\"type\": \"server_vad\", \"threshold\": 0.5, \"prefix_padding_ms\": 300}"}},
         NULL},
        {{MODEL, {"chunking_strategy[type]", "server_vad"}, {"chunking_strategy[silence_duration_ms]", "200"}}, NULL},
        {{MODEL, {"chunking_strategy", "none"}}, "chunking_strategy"},
        {{MODEL, {"chunking_strategy", "null"}}, "chunking_strategy"},
        {{MODEL, {"chunking_strategy", "{\"type\": \"auto\"}"}}, "chunking_strategy"},
        {{MODEL, {"chunking_strategy", "{\"type\": \"server_vad\""}}, "chunking_strategy"},
        {{MODEL, {"chunking_strategy", "{\"threshold\": 0.5}"}}, "chunking_strategy"},
        {{MODEL, {"chunking_strategy", "{\"type\": \"server_vad\", \"threshold\": 0.9}"}}, "chunking_strategy"},
        {{MODEL, {"chunking_strategy", "{\"type\": \"server_vad\", \"threshold\": \"0.5\"}"}}, "chunking_strategy"},
        {{MODEL, {"chunking_strategy", "{\"type\": \"server_vad\", \"other\": 1}"}}, "chunking_strategy"},
        {{MODEL, {"chunking_strategy[type]", "auto"}}, "chunking_strategy"},
        {{MODEL, {"chunking_strategy[threshold]", "0.5"}}, "chunking_strategy"},
        {{MODEL, {"chunking_strategy[type]", "server_vad"}, {"chunking_strategy[threshold]", "x"}},
         "chunking_strategy"},
        {{MODEL, {"chunking_strategy[type]", "server_vad"}, {"chunking_strategy[prefix_padding_ms]", "0"}},
         "chunking_strategy"},
        {{MODEL, {"user", "nobody"}, {"vad_filter", "true"}}, NULL}, /* not ours, and not OpenAI's */
        {{MODEL, {"beam_size", "1"}, {"queue", "normal"}}, NULL},
        {{MODEL, {"beam_size", "0"}}, "beam_size"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        CLEANUP(arena_clear) struct arena a = ARENA_INIT;
        struct form f;
        const char *wrong = NULL;
        enum problem p;
        int rc = take(&dialect_openai, rows[i].fields, &a, &f, &wrong, &p);
        if ((rc < 0) != (rows[i].wrong != NULL) || (rc < 0 && !str_eq(wrong, rows[i].wrong)))
            fail_msg("row %zu, %s=%s: %d in '%s'", i, rows[i].fields[1].name ? rows[i].fields[1].name : "-",
                     rows[i].fields[1].value ? rows[i].fields[1].value : "-", rc, wrong ? wrong : "-");
    }
}

static void test_what_is_wanted(void **state)
{
    (void)state;
    static const struct {
        struct pair fields[FIELDS_MAX];
        struct openai_want want;
    } rows[] = {
        {{MODEL}, {OPENAI_JSON, false, true, false, false}},
        {{MODEL, {"response_format", "text"}}, {OPENAI_TEXT, false, true, false, false}},
        {{MODEL, {"response_format", "verbose_json"}}, {OPENAI_VERBOSE_JSON, false, true, false, false}},
        {{MODEL, {"response_format", "verbose_json"}, {"timestamp_granularities", "word"}},
         {OPENAI_VERBOSE_JSON, true, false, false, false}},
        {{MODEL, {"response_format", "verbose_json"}, {"timestamp_granularities[]", "segment"}},
         {OPENAI_VERBOSE_JSON, false, true, false, false}},
        {{MODEL,
          {"response_format", "verbose_json"},
          {"timestamp_granularities[1]", "word"},
          {"timestamp_granularities[0]", "segment"}},
         {OPENAI_VERBOSE_JSON, true, true, false, false}},
        {{MODEL, {"include[]", "logprobs"}, {"stream", "TRUE"}}, {OPENAI_JSON, false, true, true, true}},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        CLEANUP(arena_clear) struct arena a = ARENA_INIT;
        struct form f;
        const char *wrong;
        enum problem p;
        assert_int_equal(take(&dialect_openai, rows[i].fields, &a, &f, &wrong, &p), 0);
        const struct openai_want got = openai_want(&f), *want = &rows[i].want;
        if (got.format != want->format || got.words != want->words || got.segments != want->segments ||
            got.logprobs != want->logprobs || got.stream != want->stream)
            fail_msg("row %zu", i);
        assert_true(job_option_is(&f.options, JOB_OPTION_word_timestamps, "true") == (got.words || got.logprobs));
    }
}

static void test_what_follows_for_the_job(void **state)
{
    (void)state;
    CLEANUP(arena_clear) struct arena a = ARENA_INIT;
    struct form f;
    const char *wrong;
    enum problem p;
    const struct pair plain[FIELDS_MAX] = {MODEL, {"temperature", "0"}, {"keywords", "Kiel"}, {"keywords[]", "Jena"}};
    assert_int_equal(take(&dialect_openai, plain, &a, &f, &wrong, &p), 0);
    assert_string_equal(f.values[FORM_queue], "high");
    assert_null(f.values[FORM_task]);
    assert_null(f.options.values[JOB_OPTION_temperature]); /* rises by itself */
    assert_string_equal(f.options.values[JOB_OPTION_hotwords], "Kiel,Jena");

    const struct pair other[FIELDS_MAX] = {MODEL, {"temperature", "0.4"}, {"priority", "normal"}, {"languages", "de"}};
    assert_int_equal(take(&dialect_openai, other, &a, &f, &wrong, &p), 0);
    assert_null(f.values[FORM_queue]);
    assert_string_equal(f.options.values[JOB_OPTION_temperature], "0.4");
    assert_string_equal(f.values[FORM_language], "de");

    const struct pair none[FIELDS_MAX] = {{"task", "translate"}};
    assert_int_equal(take(&dialect_openai, none, &a, &f, &wrong, &p), ERR_INVALID);
    assert_int_equal(p, PROBLEM_missing_field);
}

static void test_translations(void **state)
{
    (void)state;
    CLEANUP(arena_clear) struct arena a = ARENA_INIT;
    struct form f;
    const char *wrong;
    enum problem p;
    const struct pair plain[FIELDS_MAX] = {MODEL, {"prompt", "names"}};
    assert_int_equal(take(&dialect_openai_translation, plain, &a, &f, &wrong, &p), 0);
    assert_string_equal(f.values[FORM_task], "translate");
    const struct pair same[FIELDS_MAX] = {MODEL, {"task", "translate"}};
    assert_int_equal(take(&dialect_openai_translation, same, &a, &f, &wrong, &p), 0);
    const struct pair other[FIELDS_MAX] = {MODEL, {"task", "transcribe"}};
    assert_int_equal(take(&dialect_openai_translation, other, &a, &f, &wrong, &p), ERR_INVALID);
    assert_string_equal(wrong, "task");
}

/* Statuses that OpenAI's clients have classes for. */
static void test_errors(void **state)
{
    (void)state;
    static const struct {
        enum problem problem;
        unsigned status;
        const char *param, *type;
    } rows[] = {
        {PROBLEM_bad_field, 400, NULL, "invalid_request_error"},
        {PROBLEM_not_audio, 400, NULL, "invalid_request_error"},
        {PROBLEM_bad_recording, 400, NULL, "invalid_request_error"},
        {PROBLEM_impossible_request, 400, NULL, "invalid_request_error"},
        {PROBLEM_model_not_found, 404, "model", "invalid_request_error"},
        {PROBLEM_file_too_large, 413, NULL, "invalid_request_error"},
        {PROBLEM_internal, 500, NULL, "server_error"},
        {PROBLEM_unavailable, 503, NULL, "server_error"},
        {PROBLEM_job_late, 504, NULL, "server_error"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        CLEANUP(buf_clear) struct buf b = BUF_INIT(4096);
        const struct problem_info *info = problem_info(rows[i].problem);
        struct refusal r = {.problem = rows[i].problem, .status = info->status, .detail = "a \"sentence\""};
        assert_string_equal(dialect_openai.refuse(&r, &b), "application/json");
        assert_int_equal(r.status, rows[i].status);
        char want[512], param[32] = "null";
        if (rows[i].param)
            snprintf(param, sizeof param, "\"%s\"", rows[i].param);
        snprintf(want, sizeof want,
                 "{\"error\":{\"message\":\"a \\\"sentence\\\"\",\"type\":\"%s\",\"param\":%s,\"code\":\"%s\"}}\n",
                 rows[i].type, param, info->code);
        assert_string_equal(buf_str(&b), want);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_what_is_wanted),
        cmocka_unit_test(test_what_follows_for_the_job),
        cmocka_unit_test(test_translations),
        cmocka_unit_test(test_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
