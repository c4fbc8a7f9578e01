/* SPDX-License-Identifier: MIT */
/*
 * Remote engines: what is sent, how answers and refusals are read, and how tries follow each other, against a server in
 * this process. The whole way with real servers is in tests/e2e/test_remote.py.
 */
#include "base/clock.h"
#include "base/rate.h"
#include "base/str.h"
#include "base/thread.h"
#include "engine/engine.h"
#include "engine/gemini_json.h"
#include "engine/openai_json.h"
#include "engine/place.h"
#include "engine/remote_refusal.h"
#include "engine/remote_sound.h"
#include "web_server.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define KEY "AIzaSecretOfMine"

enum { S = AUDIO_RATE, AT = 100 * AUDIO_RATE };

static int16_t silence[30 * AUDIO_RATE];

/* A chunk of 10 s, 100 s into the recording, with speech from 1 to 4 s and from 6 to 9 s. */
static const struct span speech[] = {{AT + S, AT + 4 * S}, {AT + 6 * S, AT + 9 * S}};
static const struct engine_chunk chunk = {
    .pcm = silence, .span = {AT, AT + 10 * S}, .speech = speech, .n_speech = ARRAY_LEN(speech)};

/* "start-end text|start-end text" in milliseconds of the chunk, words in brackets behind. */
static void describe(const struct segments *s, struct buf *b)
{
    enum { ORIGIN_MS = 100000 };
    buf_reset(b);
    for (size_t i = 0; i < s->n; i++) {
        const struct segment *g = &s->v[i];
        buf_addf(b, "%s%lld-%lld %s", i ? "|" : "", (long long)g->start_ms - ORIGIN_MS,
                 (long long)g->end_ms - ORIGIN_MS, g->text);
        for (size_t k = 0; k < g->n_words; k++)
            buf_addf(b, " [%lld-%lld %s]", (long long)g->words[k].start_ms - ORIGIN_MS,
                     (long long)g->words[k].end_ms - ORIGIN_MS, g->words[k].text);
    }
}

/* ---- placing ---- */

static void test_text_is_put_where_speech_is(void **state)
{
    (void)state;
    static const struct {
        const char *text, *want;
    } rows[] = {
        {"", ""},
        {" \n\t ", ""},
        {"One sentence that is all there is", "1000-9000 One sentence that is all there is"},
        /* Two of the same length: the pause is between them. */
        {"Twenty characters ok. Twenty characters ko.",
         "1000-4000 Twenty characters ok.|6000-9000 Twenty characters ko."},
        {"Twenty characters ok.\nTwenty characters ko.",
         "1000-4000 Twenty characters ok.|6000-9000 Twenty characters ko."},
        /* Abbreviations, figures and small letters end nothing. */
        {"Dr. No met 3.5 people, e.g. two of them. ok", "1000-9000 Dr. No met 3.5 people, e.g. two of them. ok"},
        {"He said \"I will not go there.\" So what?", "1000-7736 He said \"I will not go there.\"|7736-9000 So what?"},
        {"\u3053\u308c\u306f\u65e5\u672c\u8a9e\u3067\u3059\u3002\u3053\u308c\u3082\u65e5\u672c\u8a9e\u3067\u3059\u3002",
         "1000-4000 \u3053\u308c\u306f\u65e5\u672c\u8a9e\u3067\u3059\u3002|6000-9000 "
         "\u3053\u308c\u3082\u65e5\u672c\u8a9e\u3067\u3059\u3002"},
    };
    CLEANUP(buf_clear) struct buf b = BUF_INIT(4096);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        CLEANUP(arena_clear) struct arena a = ARENA_INIT;
        struct err err = ERR_INIT;
        struct segments s = {.n = 0};
        assert_int_equal(place_text(rows[i].text, &chunk, &a, &s, &err), 0);
        describe(&s, &b);
        if (strcmp(buf_str(&b), rows[i].want) != 0)
            fail_msg("row %zu: '%s', want '%s'", i, buf_str(&b), rows[i].want);
    }
    /* Nothing known of speech: all of the chunk. */
    CLEANUP(arena_clear) struct arena a = ARENA_INIT;
    struct err err = ERR_INIT;
    struct segments s;
    struct engine_chunk bare = chunk;
    bare.n_speech = 0;
    assert_int_equal(place_text("word", &bare, &a, &s, &err), 0);
    describe(&s, &b);
    assert_string_equal(buf_str(&b), "0-10000 word");
}

/* ---- sound ---- */

static void test_wav(void **state)
{
    (void)state;
    static const int16_t pcm[] = {1, -2, 0x1234, INT16_MIN, INT16_MAX};
    for (size_t n = 0; n <= ARRAY_LEN(pcm); n++) {
        const struct engine_chunk c = {.pcm = pcm, .span = {7, 7 + (int64_t)n}};
        CLEANUP(buf_clear) struct buf plain = BUF_INIT(4096), coded = BUF_INIT(4096), back = BUF_INIT(4096);
        sound_add_wav(&plain, &c);
        sound_add_wav_base64(&coded, &c);
        assert_int_equal(plain.len, sound_wav_size(&c));
        assert_int_equal(coded.len, (plain.len + 2) / 3 * 4);
        assert_memory_equal(plain.data, "RIFF", 4);
        assert_memory_equal(plain.data + 44, pcm, 2 * n);
        assert_int_equal((unsigned char)plain.data[40], 2 * n);
        static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        for (size_t i = 0; i < coded.len; i += 4) {
            unsigned v = 0, pad = 0;
            for (size_t k = 0; k < 4; k++) {
                const char *d = strchr(digits, coded.data[i + k]);
                pad += coded.data[i + k] == '=';
                v = v << 6 | (d ? (unsigned)(d - digits) : 0);
            }
            const unsigned char bytes[] = {(unsigned char)(v >> 16), (unsigned char)(v >> 8), (unsigned char)v};
            buf_add(&back, bytes, 3 - pad);
        }
        assert_int_equal(back.len, plain.len);
        assert_memory_equal(back.data, plain.data, plain.len);
    }
}

/* ---- Gemini ---- */

static void test_gemini_request(void **state)
{
    (void)state;
    const struct engine_request r = {.task = "translate",
                                     .language = "de-AT",
                                     .prompt = "quote \" and \x01",
                                     .hotwords = "Schr\u00f6dinger",
                                     .temperatures = {0.25f},
                                     .n_temperatures = 1,
                                     .seed = 7};
    CLEANUP(buf_clear) struct buf b = BUF_INIT(4 << 20);
    gemini_add_request(&b, &r, &chunk);
    assert_true(buf_ok(&b));
    json_error_t e;
    json_t *o = json_loadb(b.data, b.len, JSON_REJECT_DUPLICATES, &e);
    assert_non_null(o);
    const json_t *parts = json_object_get(json_array_get(json_object_get(o, "contents"), 0), "parts");
    const char *text = json_string_value(json_object_get(json_array_get(parts, 0), "text"));
    assert_true(strstr(text, "english") == NULL && strstr(text, "german") && strstr(text, "Schr\u00f6dinger"));
    assert_non_null(strstr(text, "quote \" and \x01"));
    const json_t *config = json_object_get(o, "generationConfig");
    assert_true(json_real_value(json_object_get(config, "temperature")) == 0.25);
    assert_int_equal(json_integer_value(json_object_get(config, "seed")), 7);
    json_decref(o);
}

#define CANDIDATE(parts, reason) "{\"candidates\":[{\"content\":{\"parts\":[" parts "]}" reason "}]}"
#define STOP                     ",\"finishReason\":\"STOP\""
#define PART(json)               "{\"text\":\"" json "\"}"

static void test_gemini_answers(void **state)
{
    (void)state;
    static const struct {
        const char *body;
        int want;
        const char *says, *language;
    } rows[] = {
        {CANDIDATE(PART("{\\\"language\\\":\\\"de\\\",\\\"text\\\":\\\" Guten Tag \\\"}"), STOP), 0,
         "1000-9000 Guten Tag ", "de"},
        {CANDIDATE(PART("{\\\"text\\\":\\\"\\\"}"), STOP), 0, "", NULL},
        {CANDIDATE("{\"thought\":true,\"text\":\"hm\"}," PART("{\\\"te") "," PART("xt\\\":\\\"ok\\\"}"), STOP), 0,
         "1000-9000 ok", NULL},
        {CANDIDATE("{\"functionCall\":{}}," PART("{\\\"text\\\":\\\"ok\\\",\\\"language\\\":\\\"xx\\\"}"), STOP), 0,
         "1000-9000 ok", NULL},
        {CANDIDATE(PART("plain"), STOP), ERR_UNAVAILABLE, "makes no sense", NULL},
        {CANDIDATE(PART("{\\\"txt\\\":1}"), STOP), ERR_UNAVAILABLE, "no \"text\"", NULL},
        {CANDIDATE(PART("{\\\"text\\\":7}"), STOP), ERR_UNAVAILABLE, "no \"text\"", NULL},
        {CANDIDATE("", STOP), ERR_UNAVAILABLE, "makes no sense", NULL},
        {CANDIDATE(PART("{\\\"text\\\":\\\"ok\\\"}"), ""), ERR_UNAVAILABLE, "finishReason missing", NULL},
        {CANDIDATE(PART("{\\\"text\\\":\\\"ok\\\"}"), ",\"finishReason\":7"), ERR_UNAVAILABLE, "missing", NULL},
        {CANDIDATE(PART("{\\\"text\\\":\\\"ok\\\"}"), ",\"finishReason\":\"MAX_TOKENS\""), ERR_UNAVAILABLE,
         "MAX_TOKENS", NULL},
        {CANDIDATE("", ",\"finishReason\":\"RECITATION\""), ERR_UNAVAILABLE, "RECITATION", NULL},
        {CANDIDATE("", ",\"finishReason\":\"OTHER\""), ERR_UNAVAILABLE, "OTHER", NULL},
        {CANDIDATE("", ",\"finishReason\":\"FROM_THE_FUTURE\""), ERR_UNAVAILABLE, "FROM_THE_FUTURE", NULL},
        {CANDIDATE("", ",\"finishReason\":\"SAFETY\""), ERR_UNSUPPORTED, "SAFETY", NULL},
        {CANDIDATE("", ",\"finishReason\":\"SPII\",\"finishMessage\":\"a name\""), ERR_UNSUPPORTED, "SPII, a name",
         NULL},
        {CANDIDATE("", ",\"finishReason\":\"LANGUAGE\""), ERR_UNSUPPORTED, "LANGUAGE", NULL},
        {"{\"promptFeedback\":{\"blockReason\":\"OTHER\"}}", ERR_UNSUPPORTED, "blockReason OTHER", NULL},
        {"{\"candidates\":[]}", ERR_UNAVAILABLE, "no candidate", NULL},
        {"{}", ERR_UNAVAILABLE, "no candidate", NULL},
        {"[]", ERR_UNAVAILABLE, "no JSON object", NULL},
        {"", ERR_UNAVAILABLE, "no JSON object", NULL},
        {"<html>", ERR_UNAVAILABLE, "no JSON object", NULL},
    };
    CLEANUP(buf_clear) struct buf b = BUF_INIT(4096);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        CLEANUP(arena_clear) struct arena a = ARENA_INIT;
        struct err err = ERR_INIT;
        struct segments s = {.n = 0};
        int rc = gemini_read_answer(rows[i].body, strlen(rows[i].body), &chunk, &a, &s, &err);
        describe(&s, &b);
        bool as_told = rc < 0 ? strstr(err.msg, rows[i].says) != NULL : strncmp(buf_str(&b), rows[i].says, b.len) == 0;
        if (rc != rows[i].want || !as_told || !str_eq(s.language, rows[i].language))
            fail_msg("row %zu: %s, '%s' '%s'", i, err_name(rc), err.msg, buf_str(&b));
    }
}

/* ---- OpenAI ---- */

static void test_openai_answers(void **state)
{
    (void)state;
    static const struct {
        const char *body, *want, *language;
    } rows[] = {
        {"{\"text\":\"hello\"}", "1000-9000 hello", NULL},
        {"{\"text\":\"\"}", "", NULL},
        {"{\"text\":\"\",\"language\":\"english\",\"segments\":[]}", "", NULL},
        {"{\"text\":\" \\b \",\"words\":[{\"word\":\"a\",\"start\":1,\"end\":2}]}", "", NULL},
        {"{\"language\":\"german\",\"segments\":[{\"start\":0.5,\"end\":2.25,\"text\":\" a "
         "\"},{\"start\":2.25,\"end\":4,"
         "\"text\":\"b\"}]}",
         "500-2250 a|2250-4000 b", "de"},
        /* Times that go back, leave the chunk, or are none. */
        {"{\"segments\":[{\"start\":-3,\"end\":99,\"text\":\"a\"},{\"start\":1,\"end\":2,\"text\":\"b\"}]}",
         "0-10000 a|10000-10000 b", NULL},
        {"{\"segments\":[{\"start\":3,\"end\":2,\"text\":\"a\"},{\"start\":\"x\",\"text\":\"b\"},{\"start\":1e300,"
         "\"end\":"
         "-1e300,\"text\":\"c\"}]}",
         "3000-3000 a|3000-3000 b|10000-10000 c", NULL},
        {"{\"segments\":[{\"start\":1,\"end\":2,\"text\":\"\"},{\"start\":2,\"end\":3},7,{\"start\":3,\"end\":4,"
         "\"text\":"
         "\"d\"}]}",
         "3000-4000 d", NULL},
        /* Words beside the segments, and inside. */
        {"{\"text\":\"a b c\",\"segments\":[{\"start\":0,\"end\":2,\"text\":\"a "
         "b\"},{\"start\":2,\"end\":4,\"text\":\"c\"}],"
         "\"words\":[{\"word\":\"a\",\"start\":0,\"end\":1},{\"word\":\" "
         "b\",\"start\":1.2,\"end\":2.5},{\"word\":\"c\","
         "\"start\":2.5,\"end\":9}]}",
         "0-2000 a b [0-1000 a] [1200-2000 b]|2000-4000 c [2500-4000 c]", NULL},
        {"{\"segments\":[{\"start\":0,\"end\":2,\"text\":\"a b\",\"words\":[{\"text\":\"a\",\"start\":1,\"end\":0.5},{"
         "\"word\":\"b\"},{\"word\":\"\"}]}]}",
         "0-2000 a b [1000-1000 a] [1000-1000 b]", NULL},
        {"{\"text\":\"a "
         "b.\",\"words\":[{\"word\":\"a\",\"start\":1,\"end\":2},{\"word\":\"b\",\"start\":3,\"end\":4}]}",
         "1000-4000 a b. [1000-2000 a] [3000-4000 b]", NULL},
    };
    CLEANUP(buf_clear) struct buf b = BUF_INIT(4096);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        CLEANUP(arena_clear) struct arena a = ARENA_INIT;
        struct err err = ERR_INIT;
        struct segments s = {.n = 0};
        int rc = openai_read_answer(rows[i].body, strlen(rows[i].body), &chunk, &a, &s, &err);
        describe(&s, &b);
        if (rc < 0 || strcmp(buf_str(&b), rows[i].want) != 0 || !str_eq(s.language, rows[i].language))
            fail_msg("row %zu: %s '%s', want '%s'", i, err.msg, buf_str(&b), rows[i].want);
    }
    static const char *const nonsense[] = {"", "<html>", "7", "[]", "{}", "{\"text\":7}", "{\"segments\":{}}", "\xff"};
    for (size_t i = 0; i < ARRAY_LEN(nonsense); i++) {
        CLEANUP(arena_clear) struct arena a = ARENA_INIT;
        struct err err = ERR_INIT;
        struct segments s;
        assert_int_equal(openai_read_answer(nonsense[i], strlen(nonsense[i]), &chunk, &a, &s, &err), ERR_UNAVAILABLE);
    }
}

/* ---- refusals ---- */

static void test_refusals(void **state)
{
    (void)state;
    static const struct {
        int status;
        const char *body;
        int want;
        bool bad_key, used_up;
        int64_t wait_ms;
        const char *message;
    } rows[] = {
        {429,
         "{\"error\":{\"message\":\"slow\",\"details\":[{\"@type\":\"type.googleapis.com/google.rpc.RetryInfo\","
         "\"retryDelay\":\"37.25s\"}]}}",
         ERR_BUSY, false, false, 37250, "slow"},
        {429, "[{\"error\":{\"message\":\"slow\",\"details\":[{\"@type\":\"x.RetryInfo\",\"retryDelay\":\"1e99s\"}]}}]",
         ERR_BUSY, false, false, 7 * 24 * 3600 * 1000LL, "slow"},
        {429, "{\"error\":{\"details\":[{\"@type\":\"x.RetryInfo\",\"retryDelay\":\"-3s\"},7,null]}}", ERR_BUSY, false,
         false, 0, "{\"error\":{\"details\":[{\"@type\":\"x.RetryInfo\",\"retryDelay\":\"-3s\"},7,null]}}"},
        {429, "{\"error\":{\"message\":\"m\",\"details\":[{\"violations\":[{\"quotaId\":\"ReqsPerDayPerProject\"}]}]}}",
         ERR_BUSY, false, true, 0, "m"},
        {429, "{\"error\":{\"message\":\"m\",\"code\":\"insufficient_quota\"}}", ERR_BUSY, false, true, 0, "m"},
        {400, "{\"error\":{\"message\":\"no\",\"details\":[{\"reason\":\"API_KEY_INVALID\"}]}}", ERR_INVALID, true,
         false, 0, "no"},
        {401, "", ERR_INVALID, true, false, 0, ""},
        {403, "{\"error\":\"of " KEY " and " KEY KEY "\"}", ERR_INVALID, true, false, 0, "of *** and ******"},
        {404, "{\"detail\":\"no such model\"}", ERR_INVALID, false, false, 0, "no such model"},
        {408, "{\"title\":\"late\"}", ERR_TIMEOUT, false, false, 0, "late"},
        {409, "{\"message\":\"again\"}", ERR_UNAVAILABLE, false, false, 0, "again"},
        {413, "big", ERR_TOO_LARGE, false, false, 0, "big"},
        {500, "a\nb\x01\xff", ERR_UNAVAILABLE, false, false, 0, NULL},
        {501, "{}", ERR_UNSUPPORTED, false, false, 0, "{}"},
        {307, "", ERR_INVALID, false, false, 0, ""},
        {204, "", ERR_UNAVAILABLE, false, false, 0, ""},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct remote_refusal r;
        remote_refusal_read(rows[i].status, rows[i].body, strlen(rows[i].body), KEY, &r);
        if (r.code != rows[i].want || r.bad_key != rows[i].bad_key || r.used_up != rows[i].used_up ||
            r.wait_ms != rows[i].wait_ms || (rows[i].message && strcmp(r.message, rows[i].message) != 0))
            fail_msg("row %zu: %s %d %d %lld '%s'", i, err_name(r.code), r.bad_key, r.used_up, (long long)r.wait_ms,
                     r.message);
        assert_true(utf8_valid(r.message, strlen(r.message)) && !strpbrk(r.message, "\n\x01"));
    }
}

/* Also where it would be cut in two. */
static void test_no_part_of_the_key_is_quoted(void **state)
{
    (void)state;
    char text[600], quoted[304];
    for (size_t at = 250; at < 320; at++) {
        memset(text, 'x', sizeof text);
        memcpy(text + at, KEY, strlen(KEY));
        remote_quote(text, sizeof text, KEY, quoted, sizeof quoted);
        assert_null(strstr(quoted, "AI"));
        assert_int_equal(strlen(quoted), sizeof quoted - 1);
    }
}

/* ---- tries ---- */

#define ANSWER "{\"text\":\"hello\"}"

struct fake {
    struct web_server *server;
    int fail_with; /* status of the first `failures` answers */
    unsigned failures, requests;
    const char *fields;
    bool hang;
    atomic_bool hanging, let_go;
};

static bool on_request(const struct web_request *q, void *arg)
{
    struct fake *f = arg;
    f->requests++;
    assert_true(web_has(q, "Authorization", "Bearer " KEY));
    assert_string_equal(q->target, "/v1/audio/transcriptions");
    if (f->hang) {
        atomic_store(&f->hanging, true);
        while (!atomic_load(&f->let_go))
            clock_sleep_ms(5);
        return false;
    }
    if (f->requests <= f->failures)
        return web_answer(q, f->fail_with, f->fields ? f->fields : "", "{}", 2);
    return web_answer(q, 200, "", ANSWER, strlen(ANSWER));
}

/* An engine that is this server. */
static struct engine *open_on(struct fake *f, struct engine_opts o)
{
    struct err err = ERR_INIT;
    struct engine *e = NULL;
    assert_int_equal(web_server_start(on_request, f, &f->server, &err), 0);
    CLEANUP(free_p) char *url = xasprintf("http://127.0.0.1:%d/v1/", web_server_port(f->server));
    o.name = "openai";
    o.openai.url = url;
    o.openai.key = KEY;
    if (engine_open(&o, &e, &err) < 0)
        fail_msg("%s", err.msg);
    return e;
}

static int run(struct engine *e, const struct cancel *cancel, struct err *err)
{
    static const struct engine_request r = {.task = "transcribe"};
    CLEANUP(arena_clear) struct arena a = ARENA_INIT;
    struct engine_answer answer = {.state = NULL};
    int rc = engine_run(e, &r, &chunk, cancel, &a, &answer, err);
    if (rc == 0)
        assert_string_equal(answer.segments.v[0].text, "hello");
    return rc;
}

static void test_tries(void **state)
{
    (void)state;
    static const struct {
        int status;
        unsigned failures;
        int want;
        unsigned requests;
    } rows[] = {
        {503, 0, 0, 1},           {503, 3, 0, 4},           {503, 9, ERR_UNAVAILABLE, 4},
        {404, 1, ERR_INVALID, 1}, {401, 1, ERR_INVALID, 1}, {413, 1, ERR_TOO_LARGE, 1},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct fake f = {.fail_with = rows[i].status, .failures = rows[i].failures};
        struct err err = ERR_INIT;
        struct engine *e = open_on(&f, (struct engine_opts){.slots = 1});
        assert_int_equal(run(e, NULL, &err), rows[i].want);
        engine_close(e);
        web_server_stop(f.server);
        assert_int_equal(f.requests, rows[i].requests);
    }
}

/* What it says to wait holds for the next chunk too. */
static void test_retry_after_holds_for_all(void **state)
{
    (void)state;
    struct fake f = {.fail_with = 429, .failures = 1, .fields = "Retry-After: 1\r\n"};
    struct err err = ERR_INIT;
    struct engine *e = open_on(&f, (struct engine_opts){.slots = 2});
    struct cancel now = {.flag = false};
    int64_t began = clock_mono_ms();
    assert_int_equal(run(e, NULL, &err), 0);
    assert_true(clock_mono_ms() - began >= 1000);
    assert_int_equal(f.requests, 2);
    /* Not to be waited for. */
    f.failures = 9;
    f.fields = "Retry-After: 86400\r\n";
    assert_int_equal(run(e, &now, &err), ERR_BUSY);
    assert_int_equal(f.requests, 3);
    assert_non_null(strstr(err.msg, "openai: 429"));
    engine_close(e);
    web_server_stop(f.server);
}

struct canceller {
    struct fake *f;
    struct cancel cancel;
    int64_t at;
};

static void *canceller_main(void *arg)
{
    struct canceller *c = arg;
    while (!atomic_load(&c->f->hanging))
        clock_sleep_ms(5);
    c->at = clock_mono_ms();
    cancel_set(&c->cancel);
    return NULL;
}

static void test_cancel_during_a_request(void **state)
{
    (void)state;
    struct fake f = {.hang = true};
    struct err err = ERR_INIT;
    struct engine *e = open_on(&f, (struct engine_opts){.slots = 1});
    struct canceller c = {.f = &f};
    pthread_t thread;
    assert_int_equal(thread_start(&thread, "canceller", canceller_main, &c, &err), 0);
    assert_int_equal(run(e, &c.cancel, &err), ERR_CANCELLED);
    int64_t ended = clock_mono_ms();
    pthread_join(thread, NULL);
    atomic_store(&f.let_go, true);
    engine_close(e);
    web_server_stop(f.server);
    assert_true(ended - c.at < 5000); /* the server would have kept it for ever */
}

struct shared {
    int calls, rc;
    int64_t wait_ms;
    bool seen;
};

static int take(void *arg, const char *name, int64_t per_minute, int64_t *ret_wait_ms, struct err *err)
{
    struct shared *s = arg;
    s->calls++;
    s->seen = strcmp(name, "openai") == 0 && per_minute == 50;
    if (s->rc < 0)
        return err_set(err, s->rc, "the database is away");
    *ret_wait_ms = s->calls % 2 ? s->wait_ms : 0; /* then there is one */
    return 0;
}

/* Asked before every try; a shared limit that cannot be asked does not stop the work. */
static void test_the_limit_of_requests(void **state)
{
    (void)state;
    static const struct {
        struct shared shared;
        unsigned failures;
        int64_t per_minute, at_least_ms;
        int calls;
    } rows[] = {
        {{.wait_ms = 150}, 0, 50, 150, 2},
        {{.wait_ms = 150}, 1, 50, 300, 4},
        {{.rc = ERR_UNAVAILABLE}, 0, 50, 0, 1},
        {{.wait_ms = 1 << 30}, 0, 0, 0, 0}, /* off */
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct shared shared = rows[i].shared;
        struct fake f = {.fail_with = 503, .failures = rows[i].failures};
        struct err err = ERR_INIT;
        struct engine *e = open_on(&f, (struct engine_opts){.slots = 1,
                                                            .openai.per_minute = rows[i].per_minute,
                                                            .rate = {.take = take, .arg = &shared}});
        int64_t began = clock_mono_ms();
        assert_int_equal(run(e, NULL, &err), 0);
        assert_true(clock_mono_ms() - began >= rows[i].at_least_ms);
        assert_int_equal(shared.calls, rows[i].calls);
        assert_int_equal(shared.seen, rows[i].calls > 0);
        engine_close(e);
        web_server_stop(f.server);
    }
    /* Without one it counts for itself. */
    struct fake f = {.fail_with = 503};
    struct err err = ERR_INIT;
    struct engine *e =
        open_on(&f, (struct engine_opts){.slots = 1, .openai.per_minute = 190}); /* 19, then each 351 ms */
    int64_t began = clock_mono_ms();
    for (int i = 0; i < 20; i++)
        assert_int_equal(run(e, NULL, &err), 0);
    assert_true(clock_mono_ms() - began >= 351);
    engine_close(e);
    web_server_stop(f.server);
}

struct bucket {
    struct rate rate;
    int64_t next_ms, now_ms;
    struct cancel cancel;
};

/* Who has to wait is cancelled. */
static int take_or_cancel(void *arg, const char *name, int64_t per_minute, int64_t *ret_wait_ms, struct err *err)
{
    struct bucket *b = arg;
    (void)name, (void)per_minute, (void)err;
    *ret_wait_ms = rate_take(&b->rate, &b->next_ms, b->now_ms);
    if (*ret_wait_ms > 0)
        cancel_set(&b->cancel);
    return 0;
}

static void test_who_is_cancelled_while_it_waits_owes_nothing(void **state)
{
    (void)state;
    struct fake f = {.fail_with = 503};
    struct err err = ERR_INIT;
    struct bucket b = {.rate = rate_of(2), .now_ms = 1000000};
    struct engine *e = open_on(
        &f, (struct engine_opts){.slots = 1, .openai.per_minute = 2, .rate = {.take = take_or_cancel, .arg = &b}});
    assert_int_equal(run(e, &b.cancel, &err), 0);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(run(e, &b.cancel, &err), ERR_CANCELLED);
        atomic_store(&b.cancel.flag, false);
    }
    b.now_ms += b.rate.interval_ms;
    assert_int_equal(run(e, &b.cancel, &err), 0);
    engine_close(e);
    web_server_stop(f.server);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text_is_put_where_speech_is),
        cmocka_unit_test(test_wav),
        cmocka_unit_test(test_gemini_request),
        cmocka_unit_test(test_gemini_answers),
        cmocka_unit_test(test_openai_answers),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_no_part_of_the_key_is_quoted),
        cmocka_unit_test(test_tries),
        cmocka_unit_test(test_retry_after_holds_for_all),
        cmocka_unit_test(test_cancel_during_a_request),
        cmocka_unit_test(test_the_limit_of_requests),
        cmocka_unit_test(test_who_is_cancelled_while_it_waits_owes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
