/* SPDX-License-Identifier: MIT */
/*
 * Each operation of a broker fails in turn, in a small life of one: before it is done, or, where it sends, after it.
 * What was said to be sent arrives, what failed before it was sent does not, and a failure harms nothing that comes
 * after it. broker_kind.h says on which broker.
 */
#include "base/clock.h"
#include "base/fault.h"
#include "base/io.h"
#include "base/macros.h"
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

#include "broker_kind.h"
#include "checks.h"

enum { LONG_MS = 60000, QUIET_MS = 100 };

static const struct broker_kind *kind;

static char folder[64], url[256], names[5][64];

/* Of another broker, whose queue "high" is where the first one's dead letters go, so that they can be counted. */
static struct broker *open_broker(bool first)
{
    struct broker *b = NULL;
    struct broker_opts o = {.url = url,
                            .tokens = first,
                            .events = first,
                            .queue_high = names[first ? 0 : 3],
                            .queue_normal = names[1],
                            .queue_retry = names[2],
                            .queue_dead = names[first ? 3 : 0],
                            .channel = names[4]};
    ok(broker_open(&o, &b, e));
    return b;
}

static int64_t depth_of(struct broker *b, const char *queue)
{
    int64_t n = -2;
    ok(broker_depth(b, queue, &n, e));
    return n;
}

/* What another connection does counts soon, not at once. */
static void wait_depth(const char *plan, struct broker *b, const char *queue, int64_t want)
{
    int64_t until = clock_mono_ms() + LONG_MS, n;
    while ((n = depth_of(b, queue)) != want && clock_mono_ms() < until)
        clock_sleep_ms(5);
    if (n != want)
        fail_msg("%s: %lld messages in queue '%s', not %lld", plan, (long long)n, queue, (long long)want);
}

static int send_token(struct broker *b, const char *queue, struct err *err)
{
    return broker_send_token(b, &(struct token){.queue = queue, .job_id = "j1", .audio_key = "uploads/j1/a.mp3"}, err);
}

static int send_event(struct broker *b, int64_t seq, struct err *err)
{
    return broker_send_event(b, &(struct event){.job_id = "j1", .type = "state", .json = "{}", .seq = seq}, err);
}

/* What each operation said. */
enum { HIGH, NORMAL_1, NORMAL_2, EVENT_1, EVENT_2, LETTER_1, LETTER_2, PING, DEPTH, TRIM, WAIT, NEXT, OPERATIONS };

static void live(struct broker *b, int said[OPERATIONS], int64_t *ret_seq)
{
    struct err err = ERR_INIT;
    struct event got;
    int64_t n;
    said[HIGH] = send_token(b, "high", &err);
    said[NORMAL_1] = send_token(b, "normal", &err);
    said[NORMAL_2] = send_token(b, "normal", &err);
    said[EVENT_1] = send_event(b, 1, &err);
    said[EVENT_2] = send_event(b, 2, &err);
    said[LETTER_1] = broker_send_dead_letter(b, "j1", "corrupt", "the file is no audio", &err);
    said[LETTER_2] = broker_send_dead_letter(b, "j2", "corrupt", "the file is no audio", &err);
    said[PING] = broker_ping(b, &n, &err);
    said[DEPTH] = broker_depth(b, "normal", &n, &err);
    said[TRIM] = broker_trim(b, "high", 1, 0, &err);
    said[WAIT] = broker_wait(b, LONG_MS, &err);
    if (said[WAIT] == 1)
        broker_taken(b, "normal");
    said[NEXT] = broker_next_event(b, LONG_MS, &got, &err);
    *ret_seq = said[NEXT] == 1 ? got.seq : 0;
}

/* Fails unless event `seq` comes next; 0: none does. */
static void next_is(const char *plan, struct broker *b, int64_t seq)
{
    struct err err = ERR_INIT;
    struct event got = {0};
    int rc = broker_next_event(b, seq ? LONG_MS : QUIET_MS, &got, &err);
    if (rc != (seq != 0) || got.seq != seq)
        fail_msg("%s: %d, event %lld, not %lld", plan, rc, (long long)got.seq, (long long)seq);
}

static void check(const char *plan, struct broker *b, struct broker *other, const int said[OPERATIONS], bool sent,
                  int64_t seq)
{
    /* Who was told that it failed does not know that it was sent. */
    bool there[OPERATIONS];
    for (int i = 0; i < OPERATIONS; i++)
        there[i] = said[i] >= 0 || (sent && i <= LETTER_2);
    if (kind->keeps_tokens) {
        wait_depth(plan, b, "high", there[HIGH] && !there[TRIM]);
        wait_depth(plan, b, "normal", there[NORMAL_1] + there[NORMAL_2] - there[WAIT]);
        wait_depth(plan, other, "high", there[LETTER_1] + there[LETTER_2]);
    } else if (said[WAIT] < 0) {
        gives(1, broker_wait(b, LONG_MS, e));
    }
    if (seq && seq != (there[EVENT_1] ? 1 : 2))
        fail_msg("%s: event %lld came first", plan, (long long)seq);
    for (int64_t i = 1; i <= 2; i++)
        if (there[i == 1 ? EVENT_1 : EVENT_2] && i > seq)
            next_is(plan, b, i);
    next_is(plan, b, 0);
    ok(broker_trim(b, "high", INT64_MAX, 0, e));
    ok(broker_trim(b, "normal", INT64_MAX, 0, e));
    ok(broker_trim(other, "high", INT64_MAX, 0, e));
}

/* Every plan "broker=fail@1", "broker=fail@2" ... until the life is over before the fault strikes: after `most`. */
static void each(const char *plan_start, int most)
{
    bool struck = true;
    int n = 0;
    while (struck) {
        char plan[40];
        int said[OPERATIONS], failed = 0;
        int64_t seq = 0;
        struct broker *b = open_broker(true), *other = open_broker(false);
        snprintf(plan, sizeof plan, "%s@%d", plan_start, ++n);
        fault_reset();
        assert_int_equal(setenv("STENO_FAULT", plan, 1), 0);
        live(b, said, &seq);
        unsetenv("STENO_FAULT");
        struck = fault_reset();
        for (int i = 0; i < OPERATIONS; i++) {
            failed += said[i] < 0;
            if (said[i] < (i == WAIT || i == NEXT) && said[i] != ERR_UNAVAILABLE)
                fail_msg("%s: operation %d gives %s", plan, i, err_name(said[i]));
        }
        if (failed != struck)
            fail_msg("%s: struck %d, failed %d", plan, struck, failed);
        check(plan, b, other, said, strstr(plan, "lost") != NULL, seq);
        broker_close(other);
        broker_close(b);
    }
    assert_int_equal(n, most + 1);
}

static void test_not_done(void **state)
{
    (void)state;
    each("broker=fail", OPERATIONS);
}

static void test_answer_lost(void **state)
{
    (void)state;
    each("broker_token=lost", 3);
    each("broker_event=lost", 2);
    each("broker_dead_letter=lost", 2);
}

static int set_up(void **state)
{
    (void)state;
    static const char *const words[] = {"high", "normal", "retry", "dlq", "events"};
    if (!broker_kind_set_up(kind, folder, url))
        return -1;
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        snprintf(names[i], sizeof names[i], "test%d-fault.%s", (int)getpid(), words[i]);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    return io_remove_tree(folder, &err);
}

int main(int argc, char **argv)
{
    if (broker_kind_skip(argc, argv, &kind))
        return 0;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_not_done),
        cmocka_unit_test(test_answer_lost),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
