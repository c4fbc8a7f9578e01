/* SPDX-License-Identifier: MIT */
/* The PostgreSQL broker while its server cuts connections, hangs, and comes back. */
#include "cutter.h"

#include "base/clock.h"
#include "base/macros.h"
#include "base/stop.h"
#include "broker/broker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <libpq-fe.h>

enum { LONG_MS = 60000 };

static const struct token token = {.queue = "normal", .job_id = "j1", .audio_key = "k"};
static char url[1024], channel[64], application[64];

static struct broker *open_at(const char *where, struct err *err)
{
    struct broker *b = NULL;
    const struct broker_opts o = {.url = where, .tokens = true, .events = true, .channel = channel};
    return broker_open(&o, &b, err) < 0 ? NULL : b;
}

/* Ends the connections of this program's brokers; returns how many there were. */
static int cut_all(void)
{
    char sql[200];
    snprintf(sql, sizeof sql, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = '%s'",
             application);
    PGconn *c = PQconnectdb(getenv("STENO_TEST_POSTGRES_URL"));
    PGresult *r = PQexec(c, sql);
    int n = PQntuples(r);
    PQclear(r);
    PQfinish(c);
    return n;
}

/* Until the hint is taken: in an outage that is no failure. */
static void send_event(struct broker *b, int64_t seq)
{
    struct event ev = {.job_id = "j1", .type = "state", .json = "{}", .seq = seq};
    struct err err = ERR_INIT;
    int64_t until = clock_mono_ms() + LONG_MS;
    while (broker_send_event(b, &ev, &err) < 0 && clock_mono_ms() < until)
        clock_sleep_ms(10);
}

static void wait_up(struct broker *b)
{
    struct err err = ERR_INIT;
    int64_t ms, until = clock_mono_ms() + LONG_MS;
    while (broker_ping(b, &ms, &err) < 0 && clock_mono_ms() < until)
        clock_sleep_ms(10);
}

/* A message sent while a connection was being made anew may be lost: that is the contract. So again until it comes. */
static bool event_comes(struct broker *from, struct broker *to, int64_t seq)
{
    struct err err = ERR_INIT;
    struct event got = {0};
    int64_t until = clock_mono_ms() + LONG_MS;
    while (clock_mono_ms() < until) {
        send_event(from, seq);
        while (broker_next_event(to, 200, &got, &err) == 1)
            if (got.seq == seq)
                return true;
    }
    return false;
}

static bool token_comes(struct broker *from, struct broker *to)
{
    struct err err = ERR_INIT;
    int64_t until = clock_mono_ms() + LONG_MS;
    while (clock_mono_ms() < until) {
        if (broker_send_token(from, &token, &err) < 0) {
            clock_sleep_ms(10);
            continue;
        }
        if (broker_wait(to, 200, &err) == 1)
            return true;
    }
    return false;
}

static void test_a_broker_that_was_cut_off_listens_again(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    struct broker *a = open_at(url, &err), *b = open_at(url, &err);
    assert_true(a && b);
    for (int round = 1; round <= 3; round++) {
        assert_true(event_comes(a, b, round * 10));
        assert_true(token_comes(a, b));
        /* The two that `a` listens with come back when somebody waits for them, which nobody does. */
        assert_int_equal(cut_all(), round == 1 ? 6 : 4);
        assert_true(event_comes(a, b, round * 10 + 1));
        assert_true(token_comes(a, b));
        wait_up(b); /* all three of its connections are back */
    }
    broker_close(a);
    broker_close(b);
}

static void test_work_that_came_in_an_outage_is_looked_for(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    struct broker *a = open_at(url, &err), *b = open_at(url, &err);
    assert_true(a && b);
    assert_int_equal(broker_wait(b, 50, &err), 0);
    assert_int_equal(cut_all(), 6);
    assert_int_equal(broker_wait(b, LONG_MS, &err), 1); /* nobody knows what it has missed */
    broker_close(a);
    broker_close(b);
}

static void test_a_server_that_hangs_holds_nobody_up(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    char *said = NULL, host[256] = "127.0.0.1", port[16] = "5432", through[1200];
    PQconninfoOption *o = PQconninfoParse(url, &said);
    for (PQconninfoOption *x = o; x && x->keyword; x++) {
        if (strcmp(x->keyword, "host") == 0 && x->val)
            snprintf(host, sizeof host, "%s", x->val);
        if (strcmp(x->keyword, "port") == 0 && x->val)
            snprintf(port, sizeof port, "%s", x->val);
    }
    PQconninfoFree(o);
    struct cutter *c = cutter_new(host, port);
    assert_non_null(c);
    snprintf(through, sizeof through, "%s&hostaddr=127.0.0.1&port=%d&sslmode=disable&gssencmode=disable", url,
             cutter_port(c));
    struct broker *a = open_at(through, &err);
    assert_non_null(a);
    assert_true(token_comes(a, a));
    cutter_stall(c, true);
    int64_t ms, began = clock_mono_ms();
    assert_int_equal(broker_send_token(a, &token, &err), ERR_UNAVAILABLE);
    assert_int_equal(broker_ping(a, &ms, &err), ERR_UNAVAILABLE);
    for (int i = 0; i < 100; i++)
        assert_int_equal(broker_send_token(a, &token, &err), ERR_UNAVAILABLE);
    assert_true(clock_mono_ms() - began < LONG_MS / 2); /* one waits for the answer, the rest are told at once */
    cutter_stall(c, false);
    wait_up(a);
    assert_true(event_comes(a, a, 7));
    assert_true(token_comes(a, a));
    broker_close(a);
    cutter_free(c);
}

static void test_it_opens_without_its_server(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    struct broker *b = open_at("postgresql://u:geheim@127.0.0.1:1/d", &err);
    assert_non_null(b);
    int64_t ms;
    assert_int_equal(broker_send_token(b, &token, &err), ERR_UNAVAILABLE);
    assert_null(strstr(err.msg, "geheim"));
    assert_int_equal(broker_ping(b, &ms, &err), ERR_UNAVAILABLE);
    assert_int_equal(broker_wait(b, 50, &err), 0);
    struct event ev;
    assert_int_equal(broker_next_event(b, 50, &ev, &err), 0);
    broker_close(b);
}

static void test_names_that_are_too_long(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    struct broker *b = NULL;
    char name[100];
    memset(name, 'x', sizeof name);
    name[57] = '\0';
    struct broker_opts o = {.url = url, .channel = name};
    assert_int_equal(broker_open(&o, &b, &err), ERR_INVALID);
    assert_non_null(strstr(err.msg, "56 bytes"));
    name[56] = '\0';
    name[0] = '"'; /* a name, not a piece of SQL */
    o.tokens = o.events = true;
    assert_int_equal(broker_open(&o, &b, &err), 0);
    assert_true(event_comes(b, b, 1));
    assert_true(token_comes(b, b));
    broker_close(b);
}

int main(void)
{
    const char *given = getenv("STENO_TEST_POSTGRES_URL");
    if (!given) {
        printf("1..0 # SKIP no PostgreSQL server (STENO_TEST_POSTGRES_URL)\n");
        return 0;
    }
    snprintf(application, sizeof application, "steno-test-%d", (int)getpid());
    snprintf(channel, sizeof channel, "test%d.events", (int)getpid());
    snprintf(url, sizeof url, "%s%capplication_name=%s", given, strchr(given, '?') ? '&' : '?', application);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_broker_that_was_cut_off_listens_again),
        cmocka_unit_test(test_work_that_came_in_an_outage_is_looked_for),
        cmocka_unit_test(test_a_server_that_hangs_holds_nobody_up),
        cmocka_unit_test(test_it_opens_without_its_server),
        cmocka_unit_test(test_names_that_are_too_long),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
