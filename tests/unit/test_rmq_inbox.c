/* SPDX-License-Identifier: MIT */
/* What becomes of tokens and events between RabbitMQ's thread and the callers; no server is needed for it. */
#include "base/clock.h"
#include "base/macros.h"
#include "broker/rmq_inbox.h"

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { LONG_MS = 60000 };

static struct rmq_inbox *box;

static int wait_ms(int64_t ms)
{
    struct err err = ERR_INIT;
    int rc = rmq_inbox_wait(box, ms, &err);
    if (rc < 0)
        fail_msg("%s", err.msg);
    return rc;
}

static bool has_work(void)
{
    struct pollfd p = {.fd = rmq_inbox_fd(box), .events = POLLIN};
    return poll(&p, 1, 0) == 1;
}

static void test_used_up(void **state)
{
    (void)state;
    struct rmq_chores todo;
    assert_int_equal(wait_ms(0), 0);
    assert_true(rmq_inbox_token(box, BROKER_NORMAL, 5));
    assert_false(rmq_inbox_token(box, BROKER_NORMAL, 6)); /* one at a time */
    assert_true(rmq_inbox_token(box, BROKER_HIGH, 7));
    assert_false(rmq_inbox_token(box, BROKER_DEAD, 8));
    assert_int_equal(wait_ms(LONG_MS), 1); /* both are one wake-up */
    rmq_inbox_taken(box, BROKER_NORMAL);
    assert_true(has_work());
    rmq_inbox_chores(box, &todo);
    assert_false(has_work());
    /* Not before consuming ends: the server would send the next one, which nobody waits for. */
    uint64_t acked = todo.ack[BROKER_NORMAL];
    assert_true(!todo.somebody_waits && (!acked || todo.give_back));
    rmq_inbox_last_chores(box, &todo);
    assert_int_equal(acked + todo.ack[BROKER_NORMAL], 5);
    assert_int_equal(todo.ack[BROKER_HIGH], 0); /* goes back, nobody asked for its job */
    assert_true(todo.give_back && !todo.any_drop);
}

static void test_stale(void **state)
{
    (void)state;
    struct rmq_chores todo;
    assert_true(rmq_inbox_token(box, BROKER_RETRY, 5));
    assert_int_equal(wait_ms(LONG_MS), 1);
    assert_int_equal(wait_ms(0), 0); /* waits again: there was nothing for it */
    rmq_inbox_last_chores(box, &todo);
    assert_int_equal(todo.ack[BROKER_RETRY], 5);
    assert_true(rmq_inbox_token(box, BROKER_RETRY, 6)); /* room for the next one */
}

static void test_claimed_without_a_token(void **state)
{
    (void)state;
    struct rmq_chores todo;
    assert_true(rmq_inbox_token(box, BROKER_HIGH, 9));
    rmq_inbox_taken(box, BROKER_NORMAL);
    rmq_inbox_taken(box, BROKER_NORMAL);
    rmq_inbox_taken(box, BROKER_HIGH); /* came before anybody waited for it */
    rmq_inbox_taken(box, BROKER_DEAD);
    rmq_inbox_chores(box, &todo);
    assert_int_equal(todo.drop[BROKER_NORMAL], 2);
    assert_int_equal(todo.drop[BROKER_HIGH], 0);
    assert_int_equal(todo.ack[BROKER_HIGH], 9);
    assert_true(todo.any_drop && todo.give_back);
    rmq_inbox_chores(box, &todo);
    assert_true(!todo.any_drop && !todo.drop[BROKER_NORMAL] && !todo.ack[BROKER_HIGH]);
}

static void test_given_back_when_nobody_comes(void **state)
{
    (void)state;
    struct rmq_chores todo;
    rmq_inbox_chores(box, &todo);
    assert_true(!todo.give_back && todo.expect_ms == INT64_MAX); /* nothing is here */
    assert_true(rmq_inbox_token(box, BROKER_NORMAL, 5));
    int64_t start = clock_mono_ms();
    do {
        rmq_inbox_chores(box, &todo);
        assert_true(todo.expect_ms >= 0 && todo.expect_ms <= LONG_MS);
        clock_sleep_ms(MIN(todo.expect_ms, 20));
    } while (!todo.give_back && clock_mono_ms() - start < LONG_MS);
    assert_true(todo.give_back);
    assert_int_equal(todo.ack[BROKER_NORMAL], 0);
    rmq_inbox_tokens_lost(box);
    assert_int_equal(wait_ms(0), 0);
    rmq_inbox_chores(box, &todo);
    assert_false(todo.give_back);
}

static void test_interrupt(void **state)
{
    (void)state;
    struct event e;
    rmq_inbox_interrupt(box);
    assert_int_equal(wait_ms(-1), 0);
    assert_int_equal(rmq_inbox_next_event(box, -1, &e), 0);
    assert_int_equal(wait_ms(10), 0);
    assert_true(rmq_inbox_token(box, BROKER_NORMAL, 5));
    assert_int_equal(wait_ms(-1), 1);
}

static void add_event(int seq, size_t size)
{
    static char text[4096];
    int n = snprintf(text, sizeof text, "{\"job_id\":\"j\",\"seq\":%d,\"type\":\"state\",\"data\":{}}", seq);
    assert_true(n > 0 && (size_t)n < size && size < sizeof text);
    memset(text + n - 2, ' ', size - (size_t)n);
    memcpy(text + size - 2, "}}", 2);
    rmq_inbox_event(box, text, size);
}

static void test_events(void **state)
{
    (void)state;
    struct event e;
    assert_int_equal(rmq_inbox_next_event(box, 0, &e), 0);
    add_event(1, 100);
    rmq_inbox_event(box, "no event", 8);
    rmq_inbox_event(box, "", 0);
    add_event(2, 100);
    assert_int_equal(rmq_inbox_next_event(box, LONG_MS, &e), 1);
    assert_int_equal(e.seq, 1);
    assert_int_equal(rmq_inbox_next_event(box, LONG_MS, &e), 1);
    assert_int_equal(e.seq, 2);
    assert_int_equal(rmq_inbox_next_event(box, 0, &e), 0);
}

static void test_old_events_give_way(void **state)
{
    (void)state;
    enum { EVENTS = 3000 };
    struct event e;
    for (int i = 1; i <= EVENTS; i++)
        add_event(i, 1024);
    int n = 0;
    int64_t first = 0;
    for (; rmq_inbox_next_event(box, 0, &e) == 1; n++) {
        first = first ? first : e.seq;
        assert_int_equal(e.seq, first + n);
    }
    assert_int_equal(e.seq, EVENTS);
    assert_true(n >= 1000 && n <= 1024); /* a megabyte */
}

static int set_up(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    return rmq_inbox_new(&box, &err);
}

static int tear_down(void **state)
{
    (void)state;
    rmq_inbox_free(box);
    return 0;
}

int main(void)
{
#define fresh(t) cmocka_unit_test_setup_teardown(t, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        fresh(test_used_up),
        fresh(test_stale),
        fresh(test_claimed_without_a_token),
        fresh(test_given_back_when_nobody_comes),
        fresh(test_interrupt),
        fresh(test_events),
        fresh(test_old_events_give_way),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
