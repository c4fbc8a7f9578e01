/* SPDX-License-Identifier: MIT */
/* How services with FastAPI word refusals, and which names of recordings they take. */
#include "api/dialect_queue.h"
#include "api/fastapi.h"
#include "base/str.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void test_wordings(void **state)
{
    (void)state;
    static const struct {
        enum problem problem;
        const char *field, *body;
        unsigned status;
    } cases[] = {
        {PROBLEM_job_not_found, NULL, "{\"detail\":\"why\"}", 404},
        {PROBLEM_file_too_large, "file", "{\"detail\":\"why\"}", 413},
        {PROBLEM_not_audio, "file", "{\"detail\":\"why\"}", 400},
        {PROBLEM_model_not_found, "model", "{\"detail\":\"why\"}", 422},
        {PROBLEM_empty_file, "file", "{\"detail\":\"why\"}", 400},
        {PROBLEM_queue_full, NULL, "{\"detail\":\"why\"}", 503},
        {PROBLEM_no_such_route, NULL, "{\"detail\":\"Not Found\"}", 404},
        {PROBLEM_method_not_allowed, NULL, "{\"detail\":\"Method Not Allowed\"}", 405},
        {PROBLEM_missing_file, NULL,
         "{\"detail\":[{\"loc\":[\"body\",\"file\"],\"msg\":\"Field required\",\"type\":\"missing\"}]}", 422},
        {PROBLEM_not_multipart, NULL,
         "{\"detail\":[{\"loc\":[\"body\",\"file\"],\"msg\":\"Field required\",\"type\":\"missing\"}]}", 422},
        {PROBLEM_missing_field, "url",
         "{\"detail\":[{\"loc\":[\"body\",\"url\"],\"msg\":\"Field required\",\"type\":\"missing\"}]}", 422},
        {PROBLEM_bad_field, "model",
         "{\"detail\":[{\"loc\":[\"body\",\"model\"],\"msg\":\"why\",\"type\":\"value_error\"}]}", 422},
        {PROBLEM_bad_query, "limit",
         "{\"detail\":[{\"loc\":[\"query\",\"limit\"],\"msg\":\"why\",\"type\":\"value_error\"}]}", 422},
        {PROBLEM_bad_query, NULL, "{\"detail\":[{\"loc\":[\"query\"],\"msg\":\"why\",\"type\":\"value_error\"}]}", 422},
        {PROBLEM_malformed_json, NULL, "{\"detail\":[{\"loc\":[\"body\"],\"msg\":\"why\",\"type\":\"json_invalid\"}]}",
         422},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CLEANUP(buf_clear) struct buf b = BUF_INIT(4096);
        struct refusal r = {.problem = cases[i].problem,
                            .status = problem_info(cases[i].problem)->status,
                            .detail = "why",
                            .field = cases[i].field};
        assert_string_equal(fastapi_refuse(&r, &b), "application/json");
        assert_string_equal(buf_str(&b), cases[i].body);
        assert_int_equal(r.status, cases[i].status);
    }
}

static void test_names(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        bool any, four; /* taken */
    } cases[] = {
        {"a.mp3", true, true},       {"a.MP3", true, true},
        {"a.b.wav", true, true},     {".mp4", true, true},
        {"a.flac", true, false},     {"a.ogg", true, false},
        {"a.webm", true, false},     {"audio", true, false},
        {"a.txt", false, false},     {"a.", true, false},
        {"talk v1.2", true, false},  {"2026.11.22", true, false},
        {"a.b c", true, false},      {"a.7z", false, false},
        {"a.mp", false, false},      {"a.mp33", false, false},
        {"a.mp3 ", true, false},     {"a. mp3", true, false},
        {"a.mp3.exe", false, false}, {"a.averyveryverylongending", false, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct err err = ERR_INIT;
        enum problem p = PROBLEM_COUNT;
        bool taken = fastapi_check_name(cases[i].name, &p, &err) == 0;
        if (taken != cases[i].any)
            fail_msg("'%s' among all", cases[i].name);
        assert_int_equal(p, taken ? PROBLEM_COUNT : PROBLEM_not_audio);
        taken = fastapi_check_ending(cases[i].name, ".mp3 .wav .m4a .mp4", &p, &err) == 0;
        if (taken != cases[i].four)
            fail_msg("'%s' among four", cases[i].name);
    }
}

static void test_states(void **state)
{
    (void)state;
    assert_string_equal(fastapi_state(JOB_PENDING), "PENDING");
    assert_string_equal(fastapi_state(JOB_PROCESSING), "PROCESSING");
    assert_string_equal(fastapi_state(JOB_COMPLETED), "COMPLETED");
    assert_string_equal(fastapi_state(JOB_FAILED), "FAILED");
    assert_string_equal(fastapi_state(JOB_CANCELLED), "CANCELLED");
    assert_string_equal(queue_state(JOB_PENDING), "queued");
    assert_string_equal(queue_state(JOB_CANCELLED), "cancelled");
}

static void test_messages_of_the_queue(void **state)
{
    (void)state;
    static const struct {
        struct job job;
        int64_t position;
        bool paused;
        const char *message;
    } cases[] = {
        {{.state = JOB_PENDING}, 0, false, "Waiting in queue, position 1"},
        {{.state = JOB_PENDING}, -1, false, "Waiting in queue"},
        {{.state = JOB_PENDING}, 0, true, "The queue is paused"},
        {{.state = JOB_PROCESSING}, -1, false, "Preparing the audio"},
        {{.state = JOB_PROCESSING, .chunks_total = 3, .chunks_done = 1}, -1, false, "Transcribing: 1 of 3 chunks done"},
        {{.state = JOB_COMPLETED, .chunks_total = 3, .chunks_done = 3}, -1, false, "Transcription completed"},
        {{.state = JOB_FAILED, .error_message = "broken"}, -1, false, "broken"},
        {{.state = JOB_FAILED}, -1, false, "Transcription failed"},
        {{.state = JOB_CANCELLED}, -1, false, "Task cancelled"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char message[64];
        queue_message(&cases[i].job, cases[i].position, cases[i].paused, message, sizeof message);
        assert_string_equal(message, cases[i].message);
    }
}

static void test_percent(void **state)
{
    (void)state;
    assert_true(job_percent(&(struct job){.state = JOB_PENDING}) == 0);
    assert_true(job_percent(&(struct job){.state = JOB_PROCESSING, .chunks_total = 4, .chunks_done = 1}) == 25);
    assert_true(job_percent(&(struct job){.state = JOB_PROCESSING, .chunks_total = 4, .chunks_done = 4}) == 99);
    assert_true(job_percent(&(struct job){.state = JOB_COMPLETED}) == 100);
    assert_true(job_percent(&(struct job){.state = JOB_FAILED, .chunks_total = 2, .chunks_done = 1}) == 50);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wordings), cmocka_unit_test(test_names),
        cmocka_unit_test(test_states),   cmocka_unit_test(test_messages_of_the_queue),
        cmocka_unit_test(test_percent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
