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

/* ---- streams ---- */

struct stream {
    const struct live_format *format;
    struct job job;
    struct job_result result;
    int64_t memo;
    struct buf all;
};

static void tell(struct stream *s, live_fn fn, const struct live_chunk *chunk)
{
    CLEANUP(buf_clear) struct buf b = BUF_INIT(65536);
    const struct live_view v = {.job = &s->job, .result = &s->result, .chunk = chunk, .memo = &s->memo};
    fn(&v, &b);
    buf_addf(&s->all, "%s|", buf_str(&b));
}

static void tell_chunk(struct stream *s, int64_t idx, const char *text)
{
    const struct word word = {.start_ms = 100, .end_ms = 200, .text = text, .probability = 1};
    const struct segment segment = {.start_ms = 100, .end_ms = 300, .text = text, .words = &word, .n_words = 1};
    const struct live_chunk c = {.idx = idx, .text = text, .segments = &segment, .n_segments = *text ? 1 : 0};
    tell(s, s->format->chunk, &c);
}

static struct stream stream(const char *text, const struct openai_want *want)
{
    return (struct stream){.format = openai_stream(want),
                           .job = {.id = "j1", .state = JOB_COMPLETED},
                           .result = {.text = text, .duration_ms = 1500, .model = "base"},
                           .all = BUF_INIT(65536)};
}

#define DELTA(text) "{\"type\":\"transcript.text.delta\",\"delta\":\"" text "\"}"
#define DONE(text)                                                                                                  \
    "{\"type\":\"transcript.text.done\",\"text\":\"" text "\",\"usage\":{\"type\":\"duration\",\"seconds\":1.500}," \
    "\"model\":\"base\"}\n\n[DONE]"

static void test_a_stream(void **state)
{
    (void)state;
    const struct openai_want want = {.format = OPENAI_JSON, .stream = true};
    struct stream s = stream("one two", &want);
    tell_chunk(&s, 0, "one");
    tell_chunk(&s, 1, "");
    tell_chunk(&s, 2, "two");
    tell(&s, s.format->end, NULL);
    assert_string_equal(buf_str(&s.all), DELTA("one") "||" DELTA(" two") "|" DONE("one two") "|");
    buf_clear(&s.all);
}

/* A stream that lost a chunk on the way is made whole at its end. */
static void test_the_end_sends_what_is_missing(void **state)
{
    (void)state;
    const struct openai_want want = {.format = OPENAI_TEXT, .stream = true};
    struct stream s = stream("one two three", &want);
    tell_chunk(&s, 0, "one");
    tell(&s, s.format->end, NULL);
    assert_string_equal(buf_str(&s.all), DELTA("one") "|" DELTA(" two three") "\n\n" DONE("one two three") "|");
    buf_clear(&s.all);
}

static void test_extras_of_a_stream(void **state)
{
    (void)state;
    struct openai_want want = {.format = OPENAI_VERBOSE_JSON, .stream = true, .segments = true};
    struct stream s = stream("one", &want);
    tell_chunk(&s, 4, "one");
    assert_string_equal(buf_str(&s.all),
                        DELTA("one") "\n\n{\"type\":\"transcript.text.segment\",\"id\":\"seg_4_0\",\"start\":0.100,"
                                     "\"end\":0.300,\"text\":\"one\"}|");
    buf_clear(&s.all);
    want.words = true;
    s = stream("one", &want);
    tell_chunk(&s, 0, "one");
    assert_non_null(strstr(buf_str(&s.all), "\"words\":[{\"word\":\"one\",\"start\":0.100,\"end\":0.200}]}|"));
    buf_clear(&s.all);
    want = (struct openai_want){.format = OPENAI_JSON, .stream = true, .logprobs = true};
    s = stream("one", &want);
    tell_chunk(&s, 0, "a");
    tell_chunk(&s, 1, "b");
    assert_string_equal(buf_str(&s.all),
                        "{\"type\":\"transcript.text.delta\",\"delta\":\"a\",\"logprobs\":[{\"token\":"
                        "\"a\",\"logprob\":0.000000,\"bytes\":[97]}]}|"
                        "{\"type\":\"transcript.text.delta\",\"delta\":\" b\",\"logprobs\":[{\"token\":"
                        "\" b\",\"logprob\":0.000000,\"bytes\":[32,98]}]}|");
    buf_clear(&s.all);
}

/* Another plan: its chunks would repeat what was sent. */
static void test_a_job_that_begins_anew(void **state)
{
    (void)state;
    const struct openai_want want = {.format = OPENAI_JSON, .stream = true};
    struct stream s = stream("uno due", &want);
    tell_chunk(&s, 0, "one");
    tell_chunk(&s, 0, "uno");
    tell_chunk(&s, 1, "due");
    tell(&s, s.format->end, NULL);
    assert_non_null(
        strstr(buf_str(&s.all), DELTA("one") "|||{\"error\":{\"message\":\"the transcription was begun anew"));
    assert_non_null(strstr(buf_str(&s.all), "/v1/jobs/j1/transcript"));
    buf_clear(&s.all);
}

static void test_a_job_that_fails(void **state)
{
    (void)state;
    static const struct {
        enum job_state state;
        const char *class, *type, *code;
        bool retry;
    } rows[] = {
        {JOB_FAILED, "corrupt", "invalid_request_error", "bad_recording", false},
        {JOB_FAILED, "invalid", "invalid_request_error", "impossible_request", false},
        {JOB_FAILED, "unavailable", "server_error", "unavailable", true},
        {JOB_FAILED, "timeout", "server_error", "job_late", false},
        {JOB_FAILED, "crashed", "server_error", "transcription_failed", false},
        {JOB_FAILED, NULL, "server_error", "transcription_failed", false},
        {JOB_CANCELLED, NULL, "invalid_request_error", "job_cancelled", false},
    };
    const struct openai_want want = {.format = OPENAI_JSON, .stream = true};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct stream s = stream(NULL, &want);
        char type[64], code[64];
        bool retry;
        s.job = (struct job){.id = "j1", .state = rows[i].state, .error_class = rows[i].class};
        assert_int_equal(openai_problem(&s.job, &retry) < PROBLEM_COUNT, true);
        assert_int_equal(retry, rows[i].retry);
        tell(&s, s.format->end, NULL);
        snprintf(type, sizeof type, "\"type\":\"%s\"", rows[i].type);
        snprintf(code, sizeof code, "\"code\":\"%s\"}}", rows[i].code);
        if (!strstr(buf_str(&s.all), type) || !strstr(buf_str(&s.all), code) || !strstr(buf_str(&s.all), "(job j1)"))
            fail_msg("%zu: %s", i, buf_str(&s.all));
        buf_clear(&s.all);
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
        cmocka_unit_test(test_a_stream),
        cmocka_unit_test(test_the_end_sends_what_is_missing),
        cmocka_unit_test(test_extras_of_a_stream),
        cmocka_unit_test(test_a_job_that_begins_anew),
        cmocka_unit_test(test_a_job_that_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
