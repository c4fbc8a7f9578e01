/* SPDX-License-Identifier: MIT */
/*
 * What every broker back end must do. broker_kind.h says on which. Queue and channel names are new for each test.
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

#include "broker_kind.h"
#include "checks.h"

enum { LONG_MS = 60000, QUIET_MS = 200 };

static const struct broker_kind *kind;

static char folder[64], url[256], prefix[40];
static char queue_high[64], queue_normal[64], queue_retry[64], queue_dead[64], channel[64];

static const struct token token = {
    .queue = "normal", .job_id = "j1", .audio_key = "uploads/j1/a.mp3", .language = "en"};

static const char *const *take; /* of the next one that is opened */

static struct broker *open_broker(bool tokens, bool events)
{
    struct err err = ERR_INIT;
    struct broker *b = NULL;
    struct broker_opts o = {.url = url,
                            .tokens = tokens,
                            .events = events,
                            .take = take,
                            .queue_high = queue_high,
                            .queue_normal = queue_normal,
                            .queue_retry = queue_retry,
                            .queue_dead = queue_dead,
                            .channel = channel};
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
    int rc = broker_wait(arg, -1, &err);
    if (rc != 0)
        print_error("the wait gives %d: %s\n", rc, err.msg);
    return rc == 0 ? NULL : arg;
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
        broker_taken(b, token.queue);
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

/* ---- brokers that keep tokens ---- */

static const char *const queues[] = {"high", "normal", "retry"};

static int64_t depth_of(struct broker *b, const char *queue)
{
    int64_t n = -2;
    ok(broker_depth(b, queue, &n, e));
    return n;
}

/* What was posted by another connection counts soon, not at once. */
static void wait_depth(struct broker *b, const char *queue, int64_t want)
{
    int64_t until = clock_mono_ms() + LONG_MS;
    while (depth_of(b, queue) != want && clock_mono_ms() < until)
        clock_sleep_ms(5);
    assert_int_equal(depth_of(b, queue), want);
}

static void send_to(struct broker *b, const char *queue)
{
    struct token t = token;
    t.queue = queue;
    ok(broker_send_token(b, &t, e));
}

static void test_depth_and_trim(void **state)
{
    (void)state;
    struct broker *b = open_broker(false, false);
    assert_non_null(b);
    for (size_t q = 0; q < ARRAY_LEN(queues); q++)
        for (size_t i = 0; i <= q; i++)
            send_to(b, queues[q]);
    for (size_t q = 0; q < ARRAY_LEN(queues); q++)
        wait_depth(b, queues[q], kind->keeps_tokens ? (int64_t)q + 1 : -1);
    ok(broker_trim(b, "retry", 1, 2, e));
    ok(broker_trim(b, "normal", 3, 5, e));
    ok(broker_trim(b, "high", 1, 0, e));
    if (kind->keeps_tokens) {
        wait_depth(b, "retry", 2);
        wait_depth(b, "normal", 2);
        wait_depth(b, "high", 0);
        int64_t n;
        fails(INVALID, broker_depth(b, "dlq", &n, e));
        fails(INVALID, broker_trim(b, "no such", 1, 0, e));
    }
    broker_close(b);
}

/* Between the count and the trim others send, and others trim. */
static void test_trim_leaves_what_came_since_the_count(void **state)
{
    (void)state;
    struct broker *b = open_broker(false, false);
    assert_non_null(b);
    if (!kind->keeps_tokens) {
        ok(broker_trim(b, "normal", 1, 0, e));
        broker_close(b);
        return;
    }
    for (int i = 0; i < 3; i++) /* counted: three, of which three are too many */
        send_to(b, "normal");
    send_to(b, "normal");
    send_to(b, "normal");
    wait_depth(b, "normal", 5);
    ok(broker_trim(b, "normal", 3, 0, e));
    wait_depth(b, "normal", 2);
    for (int i = 0; i < 4; i++) /* counted: six, of which two are too many, by two sweepers */
        send_to(b, "normal");
    wait_depth(b, "normal", 6);
    for (int i = 0; i < 2; i++) {
        ok(broker_trim(b, "normal", 2, 4, e));
        wait_depth(b, "normal", 4);
    }
    broker_close(b);
}

static void test_a_claim_uses_up_one_token(void **state)
{
    (void)state;
    struct broker *b = open_broker(true, false);
    assert_non_null(b);
    for (int i = 0; i < 4; i++)
        send_to(b, "normal");
    gives(1, broker_wait(b, LONG_MS, e));
    broker_taken(b, "normal"); /* the one that the wait took */
    if (kind->keeps_tokens)
        wait_depth(b, "normal", 3);
    broker_taken(b, "normal"); /* claims without a wait */
    broker_taken(b, "normal");
    broker_taken(b, "high"); /* found by looking, before its token came */
    if (kind->keeps_tokens) {
        wait_depth(b, "normal", 1);
        wait_depth(b, "high", 0);
    }
    broker_close(b);
}

static void test_a_token_of_another_queue_goes_back(void **state)
{
    (void)state;
    struct broker *b = open_broker(true, false);
    assert_non_null(b);
    send_to(b, "retry");
    gives(1, broker_wait(b, LONG_MS, e));
    send_to(b, "high");
    broker_taken(b, "high"); /* the store chose a job that came in between */
    if (kind->keeps_tokens) {
        wait_depth(b, "high", 0);
        wait_depth(b, "retry", 1);
    }
    broker_close(b);
}

static void test_closing_gives_the_token_back(void **state)
{
    (void)state;
    struct broker *b = open_broker(true, false), *other = open_broker(false, false);
    assert_true(b && other);
    send_to(b, "normal");
    gives(1, broker_wait(b, LONG_MS, e));
    broker_close(b);
    if (kind->keeps_tokens)
        wait_depth(other, "normal", 1);
    broker_close(other);
}

/* A worker that does not wait takes nothing away from those that do. */
static void test_no_token_for_who_does_not_wait(void **state)
{
    (void)state;
    struct broker *busy = open_broker(true, false), *idle = open_broker(true, false);
    assert_true(busy && idle);
    for (int i = 0; i < 20; i++) {
        gives(0, broker_wait(busy, i % 3, e));
        send_to(busy, "normal");
        gives(1, broker_wait(idle, LONG_MS, e));
        if (kind->keeps_tokens)
            wait_depth(idle, "normal", 0);
        else
            gives(1, broker_wait(busy, LONG_MS, e)); /* there a token wakes all */
    }
    broker_close(busy);
    broker_close(idle);
}

/* A worker that has no use for a queue leaves its tokens to those that have. */
static void test_a_worker_takes_the_tokens_of_its_queues(void **state)
{
    (void)state;
    static const char *const some[] = {"normal", "high", NULL};
    take = some;
    struct broker *picky = open_broker(true, false);
    take = NULL;
    struct broker *any = open_broker(true, false);
    assert_true(picky && any);
    send_to(any, "retry");
    if (kind->keeps_tokens)
        gives(0, broker_wait(picky, QUIET_MS, e));
    else
        gives(1, broker_wait(picky, LONG_MS, e)); /* there a token wakes all */
    gives(1, broker_wait(any, LONG_MS, e));
    broker_taken(any, "retry");
    for (int i = 0; some[i]; i++) {
        send_to(any, some[i]);
        gives(1, broker_wait(picky, LONG_MS, e));
        broker_taken(picky, some[i]);
        if (kind->keeps_tokens)
            wait_depth(any, some[i], 0);
    }
    broker_close(picky);
    broker_close(any);
    static const char *const wrong[] = {"normal", "low", NULL};
    if (kind->keeps_tokens) {
        take = wrong;
        struct broker *b = NULL;
        struct broker_opts o = {.url = url, .tokens = true, .take = take};
        fails(INVALID, broker_open(&o, &b, e));
        take = NULL;
    }
}

static void test_names(void **state)
{
    (void)state;
    static const char *const bad[] = {"", "a\nb", "\xff", "same"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct broker *b = NULL;
        struct broker_opts o = {.url = url, .queue_high = bad[i], .channel = "same"};
        if (kind->env)
            fails(INVALID, broker_open(&o, &b, e));
        else
            ok(broker_open(&o, &b, e)); /* has no names */
        broker_close(b);
    }
}

static int set_up(void **state)
{
    static unsigned n;
    (void)state;
    snprintf(prefix, sizeof prefix, "test%d-%u", (int)getpid(), ++n);
    snprintf(queue_high, sizeof queue_high, "%s.high", prefix);
    snprintf(queue_normal, sizeof queue_normal, "%s.normal", prefix);
    snprintf(queue_retry, sizeof queue_retry, "%s.retry", prefix);
    snprintf(queue_dead, sizeof queue_dead, "%s.dlq", prefix);
    snprintf(channel, sizeof channel, "%s.events", prefix);
    return 0;
}

/* What a test left in the queues. */
static int tear_down(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    int rc = 0;
    struct broker *b = open_broker(false, false);
    for (size_t q = 0; b && rc >= 0 && q < ARRAY_LEN(queues); q++)
        rc = broker_trim(b, queues[q], INT64_MAX, 0, &err);
    broker_close(b);
    return b && rc >= 0 ? 0 : -1;
}

static int set_up_all(void **state)
{
    (void)state;
    if (!broker_kind_set_up(kind, folder, url))
        return -1;
    return 0;
}

static int tear_down_all(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    return io_remove_tree(folder, &err);
}

int main(int argc, char **argv)
{
    if (broker_kind_skip(argc, argv, &kind))
        return 0;
#define fresh(t) cmocka_unit_test_setup_teardown(t, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        fresh(test_a_token_wakes_a_worker),
        fresh(test_tokens_before_the_wait_count),
        fresh(test_time_outs),
        fresh(test_every_subscriber_gets_every_event),
        fresh(test_a_stuck_subscriber_harms_nobody),
        fresh(test_interrupt),
        fresh(test_the_stop_flag_ends_a_wait),
        fresh(test_10000_events_from_4_threads),
        fresh(test_what_cannot_be_sent),
        fresh(test_the_rest),
        fresh(test_depth_and_trim),
        fresh(test_trim_leaves_what_came_since_the_count),
        fresh(test_a_claim_uses_up_one_token),
        fresh(test_a_token_of_another_queue_goes_back),
        fresh(test_closing_gives_the_token_back),
        fresh(test_no_token_for_who_does_not_wait),
        fresh(test_a_worker_takes_the_tokens_of_its_queues),
        fresh(test_names),
    };
    return cmocka_run_group_tests(tests, set_up_all, tear_down_all);
}
