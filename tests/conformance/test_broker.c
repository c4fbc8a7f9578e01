/* SPDX-License-Identifier: MIT */
/*
 * What every broker back end must do. STENO_TEST_BROKER names the broker (a URL), a fresh local folder is the default.
 *
 * Listeners in other processes are forked children that say "ready" through a pipe and report by their exit status;
 * cmocka's assertions work in the main thread of the parent only. Nothing here measures how fast something is: waits
 * that should end early have a long time-out and fail by its end.
 */
#include "base/clock.h"
#include "base/id.h"
#include "base/io.h"
#include "base/mem.h"
#include "base/stop.h"
#include "base/thread.h"
#include "broker/broker.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { LONG_MS = 60000, QUIET_MS = 200 };

static char folder[64], url[128];

#define ok(expr)                               \
    do {                                       \
        struct err e_ = ERR_INIT, *e = &e_;    \
        int rc_ = (expr);                      \
        if (rc_ < 0)                           \
            fail_msg("%s: %s", #expr, e->msg); \
    } while (0)

#define fails(class, expr)                                             \
    do {                                                               \
        struct err e_ = ERR_INIT, *e = &e_;                            \
        int rc_ = (expr);                                              \
        if (rc_ != ERR_##class || e->code != rc_ || !e->msg[0])        \
            fail_msg("%s: %s (\"%s\")", #expr, err_name(rc_), e->msg); \
    } while (0)

#define gives(value, expr)                                                  \
    do {                                                                    \
        struct err e_ = ERR_INIT, *e = &e_;                                 \
        int rc_ = (expr);                                                   \
        if (rc_ != (value))                                                 \
            fail_msg("%s gives %d, not %d: %s", #expr, rc_, value, e->msg); \
    } while (0)

static const struct token token = {
    .queue = "normal", .job_id = "j1", .audio_key = "uploads/j1/a.mp3", .language = "en"};

static struct broker *open_broker(bool tokens, bool events)
{
    struct err err = ERR_INIT;
    struct broker *b = NULL;
    struct broker_opts o = {.url = url, .tokens = tokens, .events = events};
    if (broker_open(&o, &b, &err) < 0)
        print_error("%s\n", err.msg);
    return b;
}

static struct event make_event(const char *job, int64_t seq, const char *json)
{
    struct event e = {.seq = seq, .type = "progress"};
    snprintf(e.job_id, sizeof e.job_id, "%s", job);
    snprintf(e.json, sizeof e.json, "%s", json);
    return e;
}

/* A listener in another process. */
struct child {
    pid_t pid;
    int ready; /* reads one byte when it listens */
};

/* fn(b) runs in the child; what it returns is the exit status, 0 for good. */
static struct child start_child(bool tokens, bool events, int (*fn)(struct broker *b))
{
    int fds[2];
    struct child c = {.pid = -1};
    assert_int_equal(pipe(fds), 0);
    c.pid = fork();
    assert_true(c.pid >= 0);
    if (c.pid == 0) {
        alarm(120); /* a child left behind by a failed check ends */
        struct broker *b = open_broker(tokens, events);
        if (!b || write(fds[1], "r", 1) != 1)
            _exit(100);
        int status = fn(b);
        broker_close(b);
        _exit(status);
    }
    close(fds[1]);
    c.ready = fds[0];
    char byte;
    assert_int_equal(read(c.ready, &byte, 1), 1);
    return c;
}

static void end_child(struct child *c)
{
    int status = -1;
    assert_int_equal(waitpid(c->pid, &status, 0), c->pid);
    close(c->ready);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        fail_msg("the child ended with status 0x%x", (unsigned)status);
}

static int child_waits_for_token(struct broker *b)
{
    struct err err = ERR_INIT;
    return broker_wait(b, LONG_MS, &err) == 1 ? 0 : 1;
}

static void test_a_token_wakes_a_worker(void **state)
{
    (void)state;
    struct child c = start_child(true, false, child_waits_for_token);
    struct broker *b = open_broker(false, false);
    assert_non_null(b);
    ok(broker_send_token(b, &token, e));
    end_child(&c);
    broker_close(b);
}

static void test_tokens_before_the_wait_count(void **state)
{
    (void)state;
    struct broker *b = open_broker(true, false);
    assert_non_null(b);
    enum { SENT = 5 };
    for (int i = 0; i < SENT; i++)
        ok(broker_send_token(b, &token, e));
    /* How many of them come together is the broker's affair; at least one wake-up, at most one each. */
    gives(1, broker_wait(b, LONG_MS, e));
    int more = 0;
    struct err err = ERR_INIT;
    while (broker_wait(b, QUIET_MS, &err) == 1)
        more++;
    assert_true(more < SENT);
    gives(0, broker_wait(b, 0, e));
    ok(broker_send_token(b, &token, e));
    gives(1, broker_wait(b, LONG_MS, e));
    broker_close(b);
}

static void test_time_outs(void **state)
{
    (void)state;
    static const struct {
        bool tokens, events;
    } rows[] = {{true, true}, {false, false}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct broker *b = open_broker(rows[i].tokens, rows[i].events);
        assert_non_null(b);
        struct event got;
        int64_t start = clock_mono_ms();
        gives(0, broker_wait(b, 60, e));
        assert_true(clock_mono_ms() - start >= 59);
        start = clock_mono_ms();
        gives(0, broker_next_event(b, 60, &got, e));
        assert_true(clock_mono_ms() - start >= 59);
        gives(0, broker_wait(b, 0, e));
        gives(0, broker_next_event(b, 0, &got, e));
        broker_close(b);
    }
}

enum { FAN_EVENTS = 20 };

static void fan_event(int i, struct event *ret)
{
    static const char *const texts[] = {"{}", "{\"text\":\"grün 録音 🎙️ \\n\\t\\u0000\"}", "{ \"a\" : [1,2] }"};
    *ret = make_event("019a8f3e-7c1d-7b42-9d2a-5e0c6f1a2b3c", i * 1000000007LL, texts[i % 3]);
    if (i == FAN_EVENTS - 1) { /* as large as one may be */
        memset(ret->json, 'x', sizeof ret->json);
        memcpy(ret->json, "{\"k\":\"", 6);
        memcpy(ret->json + sizeof ret->json - 3, "\"}", 3);
        memset(ret->type, 't', sizeof ret->type - 1);
        ret->seq = INT64_MIN;
    }
}

static int child_gets_fan_events(struct broker *b)
{
    for (int i = 0; i < FAN_EVENTS; i++) {
        struct err err = ERR_INIT;
        struct event want, got;
        fan_event(i, &want);
        if (broker_next_event(b, LONG_MS, &got, &err) != 1)
            return 1;
        if (got.seq != want.seq || strcmp(got.job_id, want.job_id) != 0 || strcmp(got.type, want.type) != 0 ||
            strcmp(got.json, want.json) != 0)
            return 2;
    }
    return 0;
}

static void test_every_subscriber_gets_every_event(void **state)
{
    (void)state;
    struct child c[3];
    for (size_t i = 0; i < ARRAY_LEN(c); i++)
        c[i] = start_child(i == 0, true, child_gets_fan_events);
    struct broker *b = open_broker(true, true);
    assert_non_null(b);
    for (int i = 0; i < FAN_EVENTS; i++) {
        struct event ev;
        fan_event(i, &ev);
        ok(broker_send_event(b, &ev, e));
    }
    for (size_t i = 0; i < ARRAY_LEN(c); i++)
        end_child(&c[i]);
    assert_int_equal(child_gets_fan_events(b), 0); /* the sender is a subscriber too */
    gives(0, broker_wait(b, QUIET_MS, e));         /* and events are no tokens */
    broker_close(b);
}

static int child_sleeps(struct broker *b)
{
    (void)b;
    while (pause() < 0)
        ;
    return 1;
}

static atomic_bool marker_seen;

static void *read_until_marker(void *arg)
{
    struct err err = ERR_INIT;
    struct event got;
    while (broker_next_event(arg, LONG_MS, &got, &err) == 1)
        if (strcmp(got.type, "marker") == 0) {
            atomic_store(&marker_seen, true);
            return NULL;
        }
    return arg;
}

/* Subscribers that do not read must hold up neither the sender nor the others. */
static void test_a_stuck_subscriber_harms_nobody(void **state)
{
    (void)state;
    struct child stuck = start_child(true, true, child_sleeps);
    struct broker *b = open_broker(false, true);
    assert_non_null(b);
    pthread_t reader;
    ok(thread_start(&reader, "reader", read_until_marker, b, e));
    struct event ev = make_event("j1", 1, "{}");
    memset(ev.json + 1, ' ', 900);
    ev.json[901] = '}';
    for (int i = 0; i < 5000; i++) { /* 4.5 MB */
        ok(broker_send_event(b, &ev, e));
        ok(broker_send_token(b, &token, e));
    }
    snprintf(ev.type, sizeof ev.type, "marker");
    /* Each of them may be lost while the reader is behind. */
    for (int64_t until = clock_mono_ms() + LONG_MS; !atomic_load(&marker_seen) && clock_mono_ms() < until;) {
        ok(broker_send_event(b, &ev, e));
        clock_sleep_ms(20);
    }
    void *bad = b;
    pthread_join(reader, &bad);
    assert_null(bad);
    kill(stuck.pid, SIGKILL);
    waitpid(stuck.pid, NULL, 0);
    close(stuck.ready);
    broker_close(b);
}

static void *wait_for_ever(void *arg)
{
    struct err err = ERR_INIT;
    return broker_wait(arg, -1, &err) == 0 ? NULL : arg;
}

static void *next_for_ever(void *arg)
{
    struct err err = ERR_INIT;
    struct event got;
    return broker_next_event(arg, -1, &got, &err) == 0 ? NULL : arg;
}

static void test_interrupt(void **state)
{
    (void)state;
    for (int before = 0; before < 2; before++) {
        struct broker *b = open_broker(true, true);
        assert_non_null(b);
        pthread_t t[2];
        void *bad[2] = {b, b};
        if (before)
            broker_interrupt(b);
        ok(thread_start(&t[0], "wait", wait_for_ever, b, e));
        ok(thread_start(&t[1], "next", next_for_ever, b, e));
        if (!before) {
            clock_sleep_ms(50); /* most likely they wait by now; right in either case */
            broker_interrupt(b);
        }
        pthread_join(t[0], &bad[0]);
        pthread_join(t[1], &bad[1]);
        assert_null(bad[0]);
        assert_null(bad[1]);
        /* It was used up: the next ones wait again, and tokens and events come through. */
        struct event ev = make_event("j1", 1, "{}");
        ok(broker_send_token(b, &token, e));
        ok(broker_send_event(b, &ev, e));
        gives(1, broker_wait(b, LONG_MS, e));
        gives(1, broker_next_event(b, LONG_MS, &ev, e));
        broker_close(b);
    }
}

static int child_stops(struct broker *b)
{
    struct err err = ERR_INIT;
    struct event got;
    if (broker_wait(b, -1, &err) != 0 || !stop_requested())
        return 1;
    if (broker_wait(b, -1, &err) != 0) /* from now on always */
        return 2;
    struct event ev = make_event("j1", 7, "{}");
    if (broker_send_event(b, &ev, &err) < 0 || broker_next_event(b, LONG_MS, &got, &err) != 1 || got.seq != 7)
        return 3; /* who drains still gets events */
    return broker_next_event(b, 10, &got, &err) == 0 ? 0 : 4;
}

static int child_installs_and_stops(struct broker *b)
{
    stop_install();
    kill(getppid(), SIGUSR1);
    return child_stops(b);
}

static volatile sig_atomic_t installed;

static void on_installed(int sig)
{
    (void)sig;
    installed = 1;
}

static void test_the_stop_flag_ends_a_wait(void **state)
{
    (void)state;
    signal(SIGUSR1, on_installed);
    struct child c = start_child(true, true, child_installs_and_stops);
    while (!installed)
        clock_sleep_ms(5);
    clock_sleep_ms(50); /* most likely it waits by now; right in either case */
    kill(c.pid, SIGTERM);
    end_child(&c);
    signal(SIGUSR1, SIG_DFL);
}

enum { SENDERS = 4, EACH = 2500 };
static struct broker *shared;
static atomic_int send_failures;

static void *send_many(void *arg)
{
    char id[16];
    snprintf(id, sizeof id, "t%d", *(int *)arg);
    for (int i = 0; i < EACH; i++) {
        struct event ev = make_event(id, i, "{}");
        struct err err = ERR_INIT;
        if (broker_send_event(shared, &ev, &err) < 0)
            atomic_fetch_add(&send_failures, 1);
    }
    return NULL;
}

static void test_10000_events_from_4_threads(void **state)
{
    (void)state;
    static int ids[SENDERS];
    int64_t next[SENDERS] = {0};
    pthread_t t[SENDERS];
    shared = open_broker(false, true);
    assert_non_null(shared);
    for (int i = 0; i < SENDERS; i++) {
        ids[i] = i;
        ok(thread_start(&t[i], "sender", send_many, &ids[i], e));
    }
    for (int i = 0; i < SENDERS * EACH; i++) {
        struct event got;
        gives(1, broker_next_event(shared, LONG_MS, &got, e));
        int from = got.job_id[1] - '0';
        assert_true(got.job_id[0] == 't' && from >= 0 && from < SENDERS);
        assert_int_equal(got.seq, next[from]++); /* in order, none lost, none twice */
    }
    for (int i = 0; i < SENDERS; i++)
        pthread_join(t[i], NULL);
    assert_int_equal(atomic_load(&send_failures), 0);
    broker_close(shared);
}

static void test_what_cannot_be_sent(void **state)
{
    (void)state;
    struct broker *b = open_broker(true, true);
    assert_non_null(b);
    static char huge[8192];
    memset(huge, 'x', sizeof huge - 1);
    fails(INVALID, broker_send_token(b, &(struct token){.queue = "high", .job_id = "j"}, e));
    fails(INVALID, broker_send_token(b, &(struct token){.queue = "high", .audio_key = "k"}, e));
    fails(INVALID, broker_send_token(b, &(struct token){.job_id = "j", .audio_key = "k"}, e));
    fails(TOO_LARGE,
          broker_send_token(b, &(struct token){.queue = "high", .job_id = "j", .audio_key = "k", .model = huge}, e));
    fails(TOO_LARGE, broker_send_dead_letter(b, "j", "corrupt", huge, e));

    struct event bad = make_event("", 1, "{}");
    fails(INVALID, broker_send_event(b, &bad, e));
    bad = make_event("a\tb", 1, "{}");
    fails(INVALID, broker_send_event(b, &bad, e));
    bad = make_event("j", 1, "");
    fails(INVALID, broker_send_event(b, &bad, e));
    bad = make_event("j", 1, "[]");
    fails(INVALID, broker_send_event(b, &bad, e));
    bad = make_event("j", 1, "{}");
    memset(bad.type, 'x', sizeof bad.type);
    fails(TOO_LARGE, broker_send_event(b, &bad, e));

    gives(0, broker_wait(b, QUIET_MS, e));
    gives(0, broker_next_event(b, QUIET_MS, &bad, e));
    broker_close(b);
}

static void test_the_rest(void **state)
{
    (void)state;
    struct broker *b = open_broker(true, true);
    assert_non_null(b);
    int64_t ms = -1, depth = -2;
    ok(broker_ping(b, &ms, e));
    assert_true(ms >= 0);
    ok(broker_depth(b, "normal", &depth, e));
    assert_true(depth >= -1);
    ok(broker_send_dead_letter(b, "j1", "corrupt", "the file is no \"audio\"\n", e));
    /* Closing with messages waiting; who comes later does not get a closed listener's events. */
    struct event ev = make_event("j1", 1, "{}");
    ok(broker_send_event(b, &ev, e));
    broker_close(b);
    broker_close(NULL);
    b = open_broker(false, true);
    assert_non_null(b);
    gives(0, broker_next_event(b, QUIET_MS, &ev, e));
    broker_close(b);
}

static int set_up(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/steno-test-XXXXXX");
    if (!mkdtemp(folder))
        return -1;
    const char *given = getenv("STENO_TEST_BROKER");
    if (given)
        snprintf(url, sizeof url, "%s", given);
    else
        snprintf(url, sizeof url, "local:%s/broker", folder);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    return io_remove_tree(folder, &err);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_token_wakes_a_worker),
        cmocka_unit_test(test_tokens_before_the_wait_count),
        cmocka_unit_test(test_time_outs),
        cmocka_unit_test(test_every_subscriber_gets_every_event),
        cmocka_unit_test(test_a_stuck_subscriber_harms_nobody),
        cmocka_unit_test(test_interrupt),
        cmocka_unit_test(test_the_stop_flag_ends_a_wait),
        cmocka_unit_test(test_10000_events_from_4_threads),
        cmocka_unit_test(test_what_cannot_be_sent),
        cmocka_unit_test(test_the_rest),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
