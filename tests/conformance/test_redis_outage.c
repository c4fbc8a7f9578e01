/* SPDX-License-Identifier: MIT */
/*
 * Brokers whose server is killed, stopped, restarted, or refuses. Each test has a server of its own, started by
 * tests/services.sh (STENO_TEST_SERVICES). Time-outs are for a broken program; what has to be quick has a generous
 * limit.
 */
#include "base/clock.h"
#include "base/io.h"
#include "base/log.h"
#include "base/macros.h"
#include "base/mem.h"
#include "base/thread.h"
#include "broker/broker.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "checks.h"

enum { LONG_MS = 60000, QUICK_MS = 5000 };

static const struct token token = {.queue = "normal", .job_id = "j1", .audio_key = "uploads/j1/a.mp3"};
static const struct event event = {.job_id = "j1", .seq = 1, .type = "state", .json = "{}"};
static char folder[64], url[256];

/* ---- the server ---- */

/* Runs a shell command; its first line of output. */
static char *sh(const char *fmt, ...) PRINTF_LIKE(1, 2);
static char *sh(const char *fmt, ...)
{
    static char line[512];
    char command[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(command, sizeof command, fmt, ap);
    va_end(ap);
    line[0] = '\0';
    FILE *f = popen(command, "r"); /* NOLINT(cert-env33-c): the test's own text */
    assert_non_null(f);
    if (fgets(line, sizeof line, f))
        line[strcspn(line, "\n")] = '\0';
    char rest[512];
    while (fgets(rest, sizeof rest, f))
        ;
    if (pclose(f) != 0)
        fail_msg("'%s' failed: %s", command, line);
    return line;
}

static const char *script(void)
{
    return getenv("STENO_TEST_SERVICES");
}

static void server_up(void)
{
    const char *line = sh("SERVICES_CONF='--unixsocket %s/s.sock --unixsocketperm 777' %s up redis %s/server 2>&1",
                          folder, script(), folder);
    assert_true(strncmp(line, "REDIS_URL=", 10) == 0);
    snprintf(url, sizeof url, "%s", line + 10);
}

static void server_signal(const char *name)
{
    sh("%s signal redis %s/server %s 2>&1", script(), folder, name);
}

static const char *cli(const char *command)
{
    return sh("redis-cli --no-auth-warning -u %s %s 2>&1", url, command);
}

/* ---- brokers ---- */

static struct broker *open_at(const char *at)
{
    struct broker *b = NULL;
    struct broker_opts o = {.url = at, .tokens = true, .events = true};
    ok(broker_open(&o, &b, e));
    return b;
}

/* Soon after the server is back; an event that is sent before the subscription stands again is lost. */
static void everything_works(struct broker *b)
{
    struct err err = ERR_INIT;
    struct event got = {.seq = 0}, sent = event;
    int64_t ms, until = clock_mono_ms() + LONG_MS;
    for (bool came = false; !came; sent.seq++) {
        if (clock_mono_ms() > until)
            fail_msg("not back: %s", err.msg);
        if (broker_ping(b, &ms, &err) >= 0 && broker_send_event(b, &sent, &err) >= 0)
            came = broker_next_event(b, 200, &got, &err) == 1;
        else { /* the waits bring their connections back */
            gives(0, broker_next_event(b, 20, &got, e));
            gives(0, broker_wait(b, 20, e));
        }
    }
    assert_string_equal(got.job_id, event.job_id);
    while (broker_next_event(b, 20, &got, &err) == 1)
        ;
    ok(broker_send_token(b, &token, e));
    gives(1, broker_wait(b, LONG_MS, e));
    broker_taken(b, "normal");
    int64_t n = -2;
    ok(broker_depth(b, "normal", &n, e));
    assert_int_equal(n, 0);
}

/* All calls end soon. Until one of them has noticed, sending may seem to work. */
static void nothing_works(struct broker *b)
{
    struct err err = ERR_INIT;
    int64_t ms, n, start = clock_mono_ms();
    while (broker_ping(b, &ms, &err) >= 0)
        if (clock_mono_ms() - start > LONG_MS)
            fail_msg("the outage is not noticed");
    struct event got;
    start = clock_mono_ms();
    gives(ERR_UNAVAILABLE, broker_ping(b, &ms, e));
    gives(ERR_UNAVAILABLE, broker_send_token(b, &token, e));
    gives(ERR_UNAVAILABLE, broker_send_event(b, &event, e));
    gives(ERR_UNAVAILABLE, broker_send_dead_letter(b, "j1", "corrupt", "why", e));
    gives(ERR_UNAVAILABLE, broker_depth(b, "normal", &n, e));
    gives(ERR_UNAVAILABLE, broker_trim(b, "normal", 1, 0, e));
    broker_taken(b, "normal");
    gives(0, broker_wait(b, 20, e));
    gives(0, broker_next_event(b, 20, &got, e));
    assert_true(clock_mono_ms() - start < QUICK_MS);
    if (!strstr(err.msg, "redis:") || strstr(err.msg, "secret"))
        fail_msg("'%s'", err.msg);
}

static void test_opens_without_the_server(void **state)
{
    (void)state;
    server_up();
    server_signal("KILL");
    int64_t start = clock_mono_ms();
    struct broker *b = open_at(url);
    assert_true(clock_mono_ms() - start < QUICK_MS);
    nothing_works(b);
    broker_interrupt(b);
    gives(0, broker_wait(b, LONG_MS, e)); /* is ended in an outage too */
    server_up();
    everything_works(b);
    broker_close(b);
}

static void *wait_long(void *arg)
{
    struct err err = ERR_INIT;
    return broker_wait(arg, 2 * LONG_MS, &err) == 1 ? NULL : arg;
}

static void *next_long(void *arg)
{
    struct err err = ERR_INIT;
    struct event got;
    return broker_next_event(arg, 2 * LONG_MS, &got, &err) == 1 ? NULL : arg;
}

/* How often a word stands in the log. */
static int logged(const char *path, const char *word)
{
    CLEANUP(free_p) char *text = NULL;
    size_t n = 0;
    int count = 0;
    ok(io_read_file(path, 1 << 20, &text, &n, e));
    for (const char *at = text; (at = strstr(at, word)); at++)
        count++;
    return count;
}

/* The waits that were under way when the server died are the ones that get what comes after it is back. */
static void test_kill_and_restart(void **state)
{
    (void)state;
    char path[128];
    snprintf(path, sizeof path, "%s/log", folder);
    int log = open(path, O_CREAT | O_RDWR | O_APPEND, 0600), out = dup(STDERR_FILENO);
    assert_true(log >= 0 && out >= 0);
    server_up();
    struct broker *b = open_at(url), *sender = open_at(url);
    everything_works(b);
    pthread_t t[2];
    void *bad[2] = {b, b};
    ok(thread_start(&t[0], "wait", wait_long, b, e));
    ok(thread_start(&t[1], "next", next_long, b, e));
    dup2(log, STDERR_FILENO);
    server_signal("KILL");
    struct err err = ERR_INIT;
    int64_t ms, until = clock_mono_ms() + LONG_MS;
    for (int failures = 0; failures < 50 && clock_mono_ms() < until; clock_sleep_ms(5))
        failures += broker_send_token(sender, &token, &err) < 0;
    dup2(out, STDERR_FILENO);
    assert_int_equal(broker_ping(sender, &ms, &err), ERR_UNAVAILABLE);
    assert_int_equal(logged(path, "warn"), 2); /* two brokers, one outage */
    server_up();
    while (broker_ping(b, &ms, &err) < 0 || broker_send_token(sender, &token, &err) < 0 ||
           broker_send_event(sender, &event, &err) < 0) {
        assert_true(clock_mono_ms() < until);
        clock_sleep_ms(10);
    }
    pthread_join(t[0], &bad[0]);
    pthread_join(t[1], &bad[1]);
    assert_null(bad[0]);
    assert_null(bad[1]);
    broker_close(sender);
    broker_close(b);
    close(log);
    close(out);
}

/* What is in the queue when the server is restarted is there afterwards (this one keeps a log), and consumed again. */
static void test_tokens_outlive_a_restart(void **state)
{
    (void)state;
    server_up();
    struct broker *b = open_at(url);
    for (int i = 0; i < 3; i++)
        ok(broker_send_token(b, &token, e));
    sh("%s down redis %s/server 2>&1", script(), folder);
    nothing_works(b);
    server_up();
    for (int64_t left = 3; left > 0; left--) {
        gives(1, broker_wait(b, LONG_MS, e));
        broker_taken(b, "normal");
        int64_t n = -2;
        ok(broker_depth(b, "normal", &n, e));
        assert_int_equal(n, left - 1);
    }
    broker_close(b);
}

static void test_a_stopped_server(void **state)
{
    (void)state;
    server_up();
    struct broker *b = open_at(url);
    everything_works(b);
    server_signal("STOP");
    nothing_works(b);
    server_signal("CONT");
    everything_works(b);
    broker_close(b);
}

/* A server that stops while nobody sends: each of the three connections notices by itself. */
static void test_silence_is_noticed(void **state)
{
    (void)state;
    server_up();
    struct broker *b = open_at(url);
    pthread_t t[2];
    void *bad[2] = {b, b};
    ok(thread_start(&t[0], "wait", wait_long, b, e));
    ok(thread_start(&t[1], "next", next_long, b, e));
    server_signal("STOP");
    clock_sleep_ms(9000); /* longer than any of them is silent */
    server_signal("CONT");
    struct err err = ERR_INIT;
    int64_t ms, until = clock_mono_ms() + LONG_MS;
    while (broker_ping(b, &ms, &err) < 0 && clock_mono_ms() < until)
        clock_sleep_ms(10);
    ok(broker_send_token(b, &token, e));
    ok(broker_send_event(b, &event, e));
    pthread_join(t[0], &bad[0]);
    pthread_join(t[1], &bad[1]);
    assert_null(bad[0]);
    assert_null(bad[1]);
    broker_close(b);
}

static void test_connections_are_cut(void **state)
{
    (void)state;
    static const char *const kinds[] = {"normal", "pubsub"};
    server_up();
    struct broker *b = open_at(url);
    for (int i = 0; i < 6; i++) {
        char command[64];
        snprintf(command, sizeof command, "CLIENT KILL TYPE %s", kinds[i % 2]);
        cli(command);
        everything_works(b);
    }
    broker_close(b);
}

static void test_a_server_that_refuses(void **state)
{
    (void)state;
    server_up();
    struct broker *b = open_at(url);
    everything_works(b);
    cli("CONFIG SET maxmemory 1");
    struct err err = ERR_INIT;
    int64_t ms;
    assert_int_equal(broker_send_token(b, &token, &err), ERR_UNAVAILABLE);
    assert_non_null(strstr(err.msg, "OOM"));
    assert_int_equal(broker_ping(b, &ms, &err), ERR_UNAVAILABLE);
    assert_non_null(strstr(err.msg, "OOM"));
    ok(broker_send_event(b, &event, e)); /* stores nothing */
    struct event got;
    gives(1, broker_next_event(b, LONG_MS, &got, e));
    cli("CONFIG SET maxmemory 0");
    everything_works(b);
    broker_close(b);
}

static void test_logging_in(void **state)
{
    (void)state;
    server_up();
    cli("ACL SETUSER 'we@rd:user' on '>p%ss/wo rd' '~*' '&*' '+@all'");
    const char *host = strchr(url, '@') + 1; /* host:port/0 */
    int n = (int)strcspn(host, "/");
    const struct {
        const char *login, *why;
    } rows[] = {
        {":secret", NULL},       {"default:secret", NULL},       {"we%40rd%3Auser:p%25ss%2Fwo%20rd", NULL},
        {":wrong", "WRONGPASS"}, {"nobody:secret", "WRONGPASS"}, {"", "NOAUTH"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char at[400];
        struct err err = ERR_INIT;
        int64_t ms;
        snprintf(at, sizeof at, "redis://%s%s%.*s/3", rows[i].login, *rows[i].login ? "@" : "", n, host);
        struct broker *b = open_at(at);
        int rc = broker_ping(b, &ms, &err);
        if (rc != (rows[i].why ? ERR_UNAVAILABLE : 0) || (rows[i].why && !strstr(err.msg, rows[i].why)))
            fail_msg("%s: %d \"%s\"", rows[i].login, rc, err.msg);
        if (rc == 0)
            everything_works(b);
        broker_close(b);
    }
}

static void test_database_and_socket(void **state)
{
    (void)state;
    server_up();
    char at[400];
    snprintf(at, sizeof at, "unix://:secret@%s/s.sock?db=3", folder);
    struct broker *b = open_at(at);
    everything_works(b);
    ok(broker_send_token(b, &token, e));
    assert_string_equal(cli("-n 3 LLEN transcription.normal"), "1");
    assert_string_equal(cli("-n 0 LLEN transcription.normal"), "0");
    broker_close(b);
}

static void test_bad_urls(void **state)
{
    (void)state;
    static const struct {
        const char *url;
        int code;
        const char *why;
    } rows[] = {
        {"redis://h/x", ERR_INVALID, "number"},
        {"redis://h/-1", ERR_INVALID, "number"},
        {"redis://:secret@h:99999", ERR_INVALID, "port"},
        {"redis://h/0?ssl=1", ERR_INVALID, "'ssl'"},
        {"redis:h", ERR_INVALID, "scheme://"},
        {"unix://h/s", ERR_INVALID, "whole path"},
        {"unix://", ERR_INVALID, "whole path"},
        {"unix:///s?db=x", ERR_INVALID, "number"},
        {"redis+unix:///s?d=1", ERR_INVALID, "they have: db"},
        {"unix:///"
         "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012"
         "3456789",
         ERR_INVALID, "bytes"},
        {"rediss://:secret@h", ERR_UNSUPPORTED, "stunnel"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct err err = ERR_INIT;
        struct broker *b = NULL;
        struct broker_opts o = {.url = rows[i].url};
        int rc = broker_open(&o, &b, &err);
        if (rc != rows[i].code || b || !strstr(err.msg, rows[i].why) || strstr(err.msg, "secret"))
            fail_msg("'%s': %d \"%s\"", rows[i].url, rc, err.msg);
    }
}

/* The dead letters are there to be read, and bounded. */
static void test_dead_letters(void **state)
{
    (void)state;
    server_up();
    struct broker *b = open_at(url);
    ok(broker_send_dead_letter(b, "j1", "corrupt", "no audio", e));
    assert_string_equal(cli("LINDEX transcription.dlq 0"),
                        "{\"job_id\":\"j1\",\"error\":\"corrupt\",\"message\":\"no audio\"}");
    cli("EVAL \"for i=1,20000 do redis.call('RPUSH','transcription.dlq','x') end\" 0");
    ok(broker_send_dead_letter(b, "j2", "corrupt", "no audio", e));
    broker_close(b); /* sends what was posted */
    assert_string_equal(cli("LLEN transcription.dlq"), "10000");
}

static void test_tokens_can_be_read(void **state)
{
    (void)state;
    server_up();
    struct broker *b = open_at(url);
    ok(broker_send_token(b, &token, e));
    assert_string_equal(cli("LINDEX transcription.normal 0"),
                        "{\"job_id\":\"j1\",\"queue\":\"normal\",\"minio_path\":\"uploads/j1/a.mp3\",\"language\":null,"
                        "\"model\":null}");
    broker_close(b);
}

static int set_up(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/steno-test-XXXXXX");
    return mkdtemp(folder) && chmod(folder, 0777) == 0 ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    sh("%s kill redis %s/server 2>&1", script(), folder);
    return io_remove_tree(folder, &err);
}

int main(void)
{
#define fresh(t) cmocka_unit_test_setup_teardown(t, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        fresh(test_opens_without_the_server), fresh(test_kill_and_restart),   fresh(test_tokens_outlive_a_restart),
        fresh(test_a_stopped_server),         fresh(test_silence_is_noticed), fresh(test_connections_are_cut),
        fresh(test_a_server_that_refuses),    fresh(test_logging_in),         fresh(test_database_and_socket),
        cmocka_unit_test(test_bad_urls),      fresh(test_dead_letters),       fresh(test_tokens_can_be_read),
    };
    signal(SIGPIPE, SIG_IGN); /* as the program does */
    char command[600];
    snprintf(command, sizeof command, "%s installed redis", script() ? script() : "false");
    if (system(command) != 0) { /* NOLINT(cert-env33-c) */
        printf("1..1\nok 1 # SKIP no Redis server is installed\n");
        return 0;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
