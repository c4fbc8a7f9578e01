/* SPDX-License-Identifier: MIT */
#include "broker/broker_msg.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void test_tokens_are_json(void **state)
{
    (void)state;
    struct buf b = BUF_INIT(BROKER_MSG_MAX);
    struct err e = ERR_INIT;
    struct token t = {.queue = "high", .job_id = "j1", .audio_key = "uploads/j1/a\"b.mp3", .language = "en"};
    assert_int_equal(broker_token_encode(&t, &b, &e), 0);
    assert_string_equal(buf_str(&b), "{\"job_id\":\"j1\",\"queue\":\"high\",\"minio_path\":\"uploads/j1/a\\\"b.mp3\","
                                     "\"language\":\"en\",\"model\":null}");
    buf_reset(&b);
    t.model = "line\nend";
    assert_int_equal(broker_token_encode(&t, &b, &e), 0);
    assert_null(strchr(buf_str(&b), '\n'));
    buf_clear(&b);
}

static void test_dead_letters_are_json(void **state)
{
    (void)state;
    struct buf b = BUF_INIT(BROKER_MSG_MAX);
    struct err e = ERR_INIT;
    assert_int_equal(broker_dead_letter_encode("j1", "corrupt", "no\naudio", &b, &e), 0);
    assert_string_equal(buf_str(&b), "{\"job_id\":\"j1\",\"error\":\"corrupt\",\"message\":\"no\\naudio\"}");
    buf_reset(&b);
    assert_int_equal(broker_dead_letter_encode("j1", NULL, "x", &b, &e), ERR_INVALID);
    buf_clear(&b);
}

static void test_events_round_trip(void **state)
{
    (void)state;
    static const struct {
        const char *job, *type, *json, *arrives; /* arrives NULL: the same */
        int64_t seq;
    } rows[] = {
        {"j", "s", "{}", NULL, 0},
        {"019a8f3e-7c1d-7b42-9d2a-5e0c6f1a2b3c", "progress", "{\"done\":1,\"text\":\"grün 🎙️\"}", NULL, 42},
        {"j", "s", "{\"a\":\t1}", NULL, INT64_MAX},
        {"j k", "s", "{\n  \"a\": 1\r\n}", "{   \"a\": 1  }", INT64_MIN},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct buf b = BUF_INIT(BROKER_MSG_MAX);
        struct err err = ERR_INIT;
        struct event e = {.seq = rows[i].seq}, got;
        snprintf(e.job_id, sizeof e.job_id, "%s", rows[i].job);
        snprintf(e.type, sizeof e.type, "%s", rows[i].type);
        snprintf(e.json, sizeof e.json, "%s", rows[i].json);
        assert_int_equal(broker_event_encode(&e, &b, &err), 0);
        assert_null(memchr(b.data, '\n', b.len));
        assert_true(broker_event_decode(b.data, b.len, &got));
        assert_string_equal(got.job_id, rows[i].job);
        assert_string_equal(got.type, rows[i].type);
        assert_string_equal(got.json, rows[i].arrives ? rows[i].arrives : rows[i].json);
        assert_int_equal(got.seq, rows[i].seq);
        buf_clear(&b);
    }
}

static void test_the_largest_event_fits(void **state)
{
    (void)state;
    struct buf b = BUF_INIT(BROKER_MSG_MAX);
    struct err err = ERR_INIT;
    struct event e = {.seq = INT64_MIN}, got;
    memset(e.job_id, 'j', sizeof e.job_id - 1);
    memset(e.type, 't', sizeof e.type - 1);
    memset(e.json, ' ', sizeof e.json - 1);
    e.json[0] = '{';
    e.json[sizeof e.json - 2] = '}';
    assert_int_equal(broker_event_encode(&e, &b, &err), 0);
    assert_true(broker_event_decode(b.data, b.len, &got));
    assert_memory_equal(&got, &e, sizeof e);
    buf_clear(&b);
}

#define EVENT(id, seq, type, data) "{\"job_id\":\"" id "\",\"seq\":" seq ",\"type\":\"" type "\",\"data\":" data "}"
#define FORTY                      "0123456789012345678901234567890123456789"
#define BAD(s)                     s, sizeof(s) - 1, false
#define GOOD(s)                    s, sizeof(s) - 1, true

static void test_malformed_events(void **state)
{
    (void)state;
    static const struct {
        const char *msg;
        size_t n;
        bool good;
    } rows[] = {
        {GOOD(EVENT("j", "1", "s", "{}"))},
        {GOOD(EVENT("j", "-1", "s", "{\t}"))},
        {GOOD(EVENT("j", "1", "s", "{\"data\":1,\"type\":\"x\",\"data\":{}}"))},
        {BAD("")},
        {BAD("{}")},
        {BAD("e1\tj\t1\ts\t{}")},
        {BAD("{\"job_id\":\"j\"")},
        {BAD("{\"job_id\":\"j\",\"seq\":1,\"type\":\"s\"}")},
        {BAD("{\"job_id\":\"j\",\"seq\":1,\"type\":\"s\",\"data\":")},
        {BAD("{\"job_id\":\"j\",\"seq\":1,\"type\":\"s\",\"data\":}")},
        {BAD("{\"job_id\":\"j\",\"seq\":1,\"type\":\"s\",\"data\":{}")},
        {BAD("{\"seq\":1,\"job_id\":\"j\",\"type\":\"s\",\"data\":{}}")},
        {BAD("{\"job_id\": \"j\",\"seq\":1,\"type\":\"s\",\"data\":{}}")},
        {BAD(EVENT("j", "1", "s", "{"))},
        {BAD(EVENT("j", "1", "s", "[]"))},
        {BAD(EVENT("j", "1", "s", "{}") "\n")},
        {BAD(EVENT("j", "1", "s", "{\n}"))},
        {BAD(EVENT("j", "1", "s", "{}") "\0")},
        {BAD(EVENT("j\0", "1", "s", "{}"))},
        {BAD(" " EVENT("j", "1", "s", "{}"))},
        {BAD(EVENT("", "1", "s", "{}"))},
        {BAD(EVENT("j", "", "s", "{}"))},
        {BAD(EVENT("j", "1", "", "{}"))},
        {BAD(EVENT("j", "x", "s", "{}"))},
        {BAD(EVENT("j", "1 ", "s", "{}"))},
        {BAD(EVENT("j", "1.5", "s", "{}"))},
        {BAD(EVENT("j", "9223372036854775808", "s", "{}"))},
        {BAD(EVENT("j", "00000000000000000000000000000000000001", "s", "{}"))},
        {BAD(EVENT(FORTY, "1", "s", "{}"))},
        {BAD(EVENT("j", "1", FORTY, "{}"))},
        {BAD(EVENT("j\x01", "1", "s", "{}"))},
        {BAD(EVENT("j\"", "1", "s", "{}"))},
        {BAD(EVENT("j\\", "1", "s", "{}"))},
        {BAD(EVENT("j\xff", "1", "s", "{}"))},
        {BAD(EVENT("j", "1", "s", "{\"\xff\"}"))},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct event got;
        char *exact = malloc(rows[i].n + 1); /* the sanitizer sees a read behind the end */
        assert_non_null(exact);
        memcpy(exact + 1, rows[i].msg, rows[i].n);
        if (broker_event_decode(exact + 1, rows[i].n, &got) != rows[i].good)
            fail_msg("row %zu: '%s'", i, rows[i].msg);
        free(exact);
    }
    static const char before[] = "{\"job_id\":\"j\",\"seq\":1,\"type\":\"s\",\"data\":";
    enum { BEFORE = sizeof before - 1 };
    static char big[BROKER_MSG_MAX + 2];
    memset(big, ' ', sizeof big);
    memcpy(big, before, BEFORE);
    big[BEFORE] = '{';
    struct event got;
    memcpy(big + BEFORE + EVENT_JSON_MAX - 1, "}}", 2);
    assert_false(broker_event_decode(big, BEFORE + EVENT_JSON_MAX + 1, &got)); /* one byte too many */
    memcpy(big + BEFORE + EVENT_JSON_MAX - 2, "}}", 2);
    assert_true(broker_event_decode(big, BEFORE + EVENT_JSON_MAX, &got));
    assert_false(broker_event_decode(big, sizeof big, &got));
}

static void test_noise(void **state)
{
    (void)state;
    unsigned x = 7;
    static const char good[] = EVENT("019a8f3e-7c1d", "123456", "progress", "{\"text\":\"grün 🎙️\"}");
    for (int i = 0; i < 200000; i++) {
        char msg[sizeof good];
        memcpy(msg, good, sizeof good);
        x = x * 1664525 + 1013904223;
        size_t n = i % 3 ? sizeof good - 1 : (x >> 8) % sizeof good;
        for (unsigned k = 0; k < (x >> 20) % 4; k++) {
            x = x * 1664525 + 1013904223;
            msg[(x >> 8) % (sizeof good - 1)] = (char)(x >> 24);
        }
        struct event got;
        if (!broker_event_decode(msg, n, &got))
            continue;
        /* What is let in can be sent on. */
        struct buf b = BUF_INIT(BROKER_MSG_MAX);
        struct err err = ERR_INIT;
        assert_int_equal(broker_event_encode(&got, &b, &err), 0);
        buf_clear(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tokens_are_json),   cmocka_unit_test(test_dead_letters_are_json),
        cmocka_unit_test(test_events_round_trip), cmocka_unit_test(test_the_largest_event_fits),
        cmocka_unit_test(test_malformed_events),  cmocka_unit_test(test_noise),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
