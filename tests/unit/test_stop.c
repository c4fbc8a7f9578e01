/* SPDX-License-Identifier: MIT */
/* The stop flag is the process's and is never taken back: one test tells its whole story. */
#include "base/stop.h"

#include "base/err.h"
#include "base/macros.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

static int readable(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    return poll(&p, 1, 0);
}

static void test_the_flag(void **state)
{
    (void)state;
    stop_install();
    assert_int_equal(stop_requested(), 0);
    assert_true(stop_fd() >= 0);
    assert_int_equal(readable(stop_fd()), 0);
    assert_int_equal(raise(SIGTERM), 0);
    assert_int_equal(stop_requested(), 1);
    assert_int_equal(readable(stop_fd()), 1);
    assert_int_equal(raise(SIGINT), 0);
    assert_int_equal(stop_requested(), 2);
    errno = 4711;
    stop_request();
    assert_int_equal(errno, 4711);
    assert_int_equal(stop_requested(), 3);
    /* More than the pipe behind it holds: nothing blocks, nothing is lost. */
    for (int i = 0; i < 100000; i++)
        stop_request();
    assert_int_equal(stop_requested(), 100003);
    assert_int_equal(readable(stop_fd()), 1);
}

static void test_held_back_is_not_lost(void **state)
{
    (void)state;
    stop_hold();
    int before = stop_requested();
    assert_int_equal(raise(SIGTERM), 0);
    assert_int_equal(raise(SIGHUP), 0); /* would end this program */
    assert_int_equal(stop_requested(), before);
    stop_release();
    assert_int_equal(stop_requested(), before + 1);
    sigset_t waiting;
    sigpending(&waiting);
    assert_true(sigismember(&waiting, SIGHUP));
    int sig = 0;
    sigset_t hup;
    sigemptyset(&hup);
    sigaddset(&hup, SIGHUP);
    assert_int_equal(sigwait(&hup, &sig), 0);
    assert_int_equal(sig, SIGHUP);
}

static void test_a_broken_pipe_is_an_error_not_a_death(void **state)
{
    (void)state;
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    close(fds[0]);
    int before = stop_requested();
    assert_int_equal(write(fds[1], "x", 1), -1);
    assert_int_equal(errno, EPIPE);
    assert_int_equal(stop_requested(), before);
    close(fds[1]);
}

static void test_cancel(void **state)
{
    (void)state;
    struct cancel all = {.also = NULL}, job = {.also = &all}, chunk = {.also = &job}, other = {.also = &all};
    assert_false(cancel_is_set(NULL));
    assert_false(cancel_is_set(&chunk));
    cancel_set(&job);
    assert_true(cancel_is_set(&chunk)); /* the wider one reaches it */
    assert_true(cancel_is_set(&job));
    assert_false(cancel_is_set(&other)); /* not its neighbour */
    assert_false(cancel_is_set(&all));   /* and not what is above */
    cancel_set(&all);
    assert_true(cancel_is_set(&other));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_flag),
        cmocka_unit_test(test_held_back_is_not_lost),
        cmocka_unit_test(test_a_broken_pipe_is_an_error_not_a_death),
        cmocka_unit_test(test_cancel),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
