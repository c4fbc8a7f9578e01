/* SPDX-License-Identifier: MIT */
/* The wire between an engine and its child: well-behaved children, and all the others. This program is both ends. */
#include "engine/child.h"

#include "base/clock.h"
#include "base/io.h"
#include "base/mem.h"
#include "base/proc.h"
#include "base/str.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { LONG_MS = 60000 };

/* ---- the child's end ---- */

static void reply_raw(uint32_t magic, int32_t status, uint64_t size, const char *body)
{
    struct child_reply head = {magic, status, size};
    struct err e = ERR_INIT;
    if (io_write_all(CHILD_FD, &head, sizeof head, &e) < 0 || io_write_all(CHILD_FD, body, strlen(body), &e) < 0)
        _exit(9);
}

static void fill_stderr(size_t n)
{
    for (size_t i = 0; i < n; i++)
        fputc('x', stderr);
    fputs("\nlast words\n", stderr);
    fflush(stderr);
}

/* A child that does one ask after the other: answers with their size, place and sum. */
static int well_behaved(void)
{
    struct err e = ERR_INIT;
    struct child_side side;
    if (child_side_open(&side, &e) < 0)
        return 1;
    child_side_reply(&side, 0, "", 0);
    int rc;
    struct child_ask ask;
    while ((rc = child_side_next(&side, &ask, &e)) > 0) {
        long long sum = 0;
        for (uint64_t i = 0; i < ask.n_samples; i++)
            sum += side.pcm[i];
        char text[100];
        int n = snprintf(text, sizeof text, "%lld samples at %lld: %lld, pid %d, BLAS %s", (long long)ask.n_samples,
                         (long long)ask.start, sum, (int)getpid(), getenv("OPENBLAS_NUM_THREADS"));
        child_side_reply(&side, 0, text, (size_t)n);
    }
    if (rc < 0)
        child_side_reply(&side, rc, e.msg, strlen(e.msg));
    child_side_close(&side);
    return 0;
}

static int busy_for_ever(void)
{
    struct err e = ERR_INIT;
    struct child_side side;
    struct child_ask ask;
    if (child_side_open(&side, &e) < 0)
        return 1;
    child_side_reply(&side, 0, "", 0);
    if (child_side_next(&side, &ask, &e) != 1) {
        child_side_close(&side);
        return 0;
    }
    for (;;)
        pause();
}

static int child_main(const char *mode)
{
    if (str_eq(mode, "good"))
        return well_behaved();
    if (str_eq(mode, "busy"))
        return busy_for_ever();
    if (str_eq(mode, "silent"))
        pause();
    if (str_eq(mode, "exits")) {
        fputs("cannot do \x01 this\n", stderr);
        return 3;
    }
    if (str_eq(mode, "aborts"))
        abort();
    if (str_eq(mode, "chatty-exits")) {
        fill_stderr(300000);
        return 4;
    }
    if (str_eq(mode, "refuses"))
        reply_raw(CHILD_MAGIC, ERR_UNAVAILABLE, 8, "no model");
    if (str_eq(mode, "magic"))
        reply_raw(1, 0, 0, "");
    if (str_eq(mode, "huge"))
        reply_raw(CHILD_MAGIC, 0, UINT64_MAX, "");
    if (str_eq(mode, "positive"))
        reply_raw(CHILD_MAGIC, 7, 0, "");
    if (str_eq(mode, "half-hello")) {
        reply_raw(CHILD_MAGIC, 0, 100, "half");
        return 0;
    }
    if (str_eq(mode, "closes")) {
        close(CHILD_FD);
        pause();
    }
    if (str_eq(mode, "chatty")) {
        fill_stderr(300000);
        return well_behaved();
    }
    /* The rest say hello and fail at the first question. */
    reply_raw(CHILD_MAGIC, 0, 0, "");
    char c;
    if (read(CHILD_FD, &c, 1) != 1)
        return 1;
    if (str_eq(mode, "dies-later"))
        return 5;
    if (str_eq(mode, "half"))
        reply_raw(CHILD_MAGIC, 0, 100, "half");
    if (str_eq(mode, "early"))
        reply_raw(CHILD_MAGIC, ERR_NOMEM, 9, "no memory");
    if (str_eq(mode, "early"))
        pause();
    return 0;
}

/* ---- the parent's end ---- */

static struct buf *said; /* of the calls that follow; or NULL */

static int start(const char *mode, int64_t limit_ms, struct child **ret, int *status, struct err *e)
{
    struct child_limits limits = {.until_ms = clock_mono_ms() + limit_ms, .said = said};
    return child_start((const char *const[]){"fake", mode, NULL}, &limits, ret, status, e);
}

static struct child *must_start(const char *mode)
{
    struct child *c = NULL;
    struct err e = ERR_INIT;
    int status;
    if (start(mode, LONG_MS, &c, &status, &e) < 0)
        fail_msg("%s: %s", mode, e.msg);
    return c;
}

static int call(struct child *c, size_t n, int64_t limit_ms, struct buf *ret, struct err *e)
{
    int16_t *pcm = xcalloc(n + 1, sizeof *pcm);
    for (size_t i = 0; i < n; i++)
        pcm[i] = 2;
    struct child_limits limits = {.until_ms = clock_mono_ms() + limit_ms, .said = said};
    int rc = child_call(c, 77, pcm, n, &limits, ret, e);
    free(pcm);
    return rc;
}

static void test_questions_and_answers(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    struct child *c = must_start("good");
    char pid[32] = "";
    static const size_t sizes[] = {0, 1, 100, CHILD_MAX_SAMPLES, 3};
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        struct buf b = BUF_INIT(1000);
        assert_int_equal(call(c, sizes[i], LONG_MS, &b, &e), 0);
        char want[100];
        snprintf(want, sizeof want, "%zu samples at 77: %zu, pid ", sizes[i], 2 * sizes[i]);
        assert_true(str_starts(buf_str(&b), want));
        assert_true(str_ends(buf_str(&b), ", BLAS 1"));
        if (i == 0)
            snprintf(pid, sizeof pid, "%s", strstr(buf_str(&b), "pid "));
        assert_string_equal(strstr(buf_str(&b), "pid "), pid); /* one child for all */
        assert_true(child_usable(c));
        buf_clear(&b);
    }
    child_stop(c);
    child_free(c);
}

/* All that a child says before it ends is there for who looks for the reason, with its lines. */
static void test_what_a_child_said(void **state)
{
    (void)state;
    static const struct {
        const char *mode, *first, *last;
    } rows[] = {
        {"exits", "cannot do \x01 this", "this"},
        {"chatty-exits", "x", "\nlast words\n"},
        {"refuses", "", ""},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct err e = ERR_INIT;
        struct child *c = NULL;
        int status;
        struct buf b = BUF_INIT(20000);
        said = &b;
        assert_true(start(rows[i].mode, LONG_MS, &c, &status, &e) < 0);
        said = NULL;
        if (!str_starts(buf_str(&b), rows[i].first) || !strstr(buf_str(&b), rows[i].last))
            fail_msg("%s said: '%s'", rows[i].mode, buf_str(&b));
        assert_true(b.len <= 3000);
        if (i == 1)
            assert_true(b.len > 300); /* more than the sentence has */
        buf_clear(&b);
    }
}

static void test_children_that_do_not_start(void **state)
{
    (void)state;
    static const struct {
        const char *mode;
        int want, exit, signal; /* exit: -1 when the parent had to kill it */
        const char *says;
    } rows[] = {
        {"exits", ERR_CRASHED, 3, 0, "exit status 3); it said last: cannot do \\x01 this"},
        {"aborts", ERR_CRASHED, -1, SIGABRT, "killed by signal 6"},
        {"chatty-exits", ERR_CRASHED, 4, 0, "xxxx\\nlast words"},
        {"refuses", ERR_UNAVAILABLE, -1, 0, "no model"},
        {"magic", ERR_CRASHED, -1, 0, "nonsense"},
        {"huge", ERR_CRASHED, -1, 0, "nonsense"},
        {"positive", ERR_CRASHED, -1, 0, "nonsense"},
        {"half-hello", ERR_CRASHED, 0, 0, "exit status 0"},
        {"closes", ERR_CRASHED, -1, 0, "stopped answering"},
        {"silent", ERR_TIMEOUT, -1, 0, "took longer"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct err e = ERR_INIT;
        struct child *c = NULL;
        int status = 0;
        int rc = start(rows[i].mode, str_eq(rows[i].mode, "silent") ? 300 : LONG_MS, &c, &status, &e);
        if (rc != rows[i].want || !strstr(e.msg, rows[i].says))
            fail_msg("%s: %s, %s", rows[i].mode, err_name(rc), e.msg);
        assert_null(c);
        assert_true(strlen(e.msg) < 500);
        if (rows[i].exit >= 0)
            assert_true(WIFEXITED(status) && WEXITSTATUS(status) == rows[i].exit);
        else if (rows[i].signal)
            assert_true(WIFSIGNALED(status) && WTERMSIG(status) == rows[i].signal);
        else
            assert_int_equal(status, -1);
    }
}

static void test_a_chatty_child_blocks_nothing(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    struct child *c = must_start("chatty");
    struct buf b = BUF_INIT(1000);
    assert_int_equal(call(c, 5, LONG_MS, &b, &e), 0);
    buf_clear(&b);
    child_free(c);
}

static void test_children_that_fail_later(void **state)
{
    (void)state;
    static const struct {
        const char *mode;
        int want;
        const char *says;
    } rows[] = {
        {"dies-later", ERR_CRASHED, "exit status 5"},
        {"half", ERR_CRASHED, "exit status 0"},
        {"early", ERR_NOMEM, "no memory"},
        {"busy", ERR_TIMEOUT, "took longer"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct err e = ERR_INIT;
        struct child *c = must_start(rows[i].mode);
        assert_true(child_usable(c));
        struct buf b = BUF_INIT(1000);
        /* The question is longer than the socket holds: what is not read must not block us. */
        int rc = call(c, CHILD_MAX_SAMPLES, str_eq(rows[i].mode, "busy") ? 300 : LONG_MS, &b, &e);
        if (rc != rows[i].want || !strstr(e.msg, rows[i].says))
            fail_msg("%s: %s, %s", rows[i].mode, err_name(rc), e.msg);
        assert_int_equal(b.len, 0);
        assert_false(child_usable(c));
        buf_clear(&b);
        child_free(c);
    }
}

static void test_cancel_before_and_during(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    struct cancel cancel = {.flag = true};
    struct child_limits limits = {.cancel = &cancel, .until_ms = INT64_MAX};
    struct child *c = NULL;
    int status;
    assert_int_equal(child_start((const char *const[]){"fake", "good", NULL}, &limits, &c, &status, &e), ERR_CANCELLED);
    c = must_start("busy");
    struct buf b = BUF_INIT(1000);
    const int16_t pcm[4] = {0};
    assert_int_equal(child_call(c, 0, pcm, 4, &limits, &b, &e), ERR_CANCELLED);
    assert_false(child_usable(c));
    child_free(c);
}

/* A child started by hand, to see how it ends. */
struct bare {
    struct proc *proc;
    int sock;
};

static struct bare start_bare(const char *mode)
{
    struct err e = ERR_INIT;
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    struct bare b = {.sock = pair[0]};
    const char *const argv[] = {"test", "__engine", "fake", mode, NULL};
    const struct proc_fd fd = {CHILD_FD, pair[1]};
    assert_int_equal(
        proc_spawn(&(struct proc_opts){.argv = argv, .fds = &fd, .n_fds = 1, .keep_stderr = true}, &b.proc, &e), 0);
    close(pair[1]);
    struct child_reply hello;
    assert_int_equal(io_read_full(b.sock, &hello, sizeof hello, &e), sizeof hello);
    assert_int_equal(hello.status, 0);
    return b;
}

static int end_of(struct bare *b)
{
    struct err e = ERR_INIT;
    int status = -1;
    assert_int_equal(proc_wait(b->proc, LONG_MS, &status, &e), 1);
    proc_free(b->proc);
    return status;
}

static void ask_bare(const struct bare *b, uint32_t magic, uint64_t n_samples, size_t n_sent)
{
    struct err e = ERR_INIT;
    struct child_ask ask = {magic, CHILD_VERSION, 0, n_samples};
    int16_t pcm[100] = {0};
    assert_true(n_sent <= ARRAY_LEN(pcm));
    assert_int_equal(io_write_all(b->sock, &ask, sizeof ask, &e), 0);
    assert_int_equal(io_write_all(b->sock, pcm, n_sent * sizeof *pcm, &e), 0);
}

static void test_a_child_ends_with_its_parent(void **state)
{
    (void)state;
    /* Idle; in the middle of a question; at work. */
    struct bare b = start_bare("good");
    close(b.sock);
    assert_int_equal(end_of(&b), 0);

    b = start_bare("good");
    ask_bare(&b, CHILD_MAGIC, 100, 50);
    close(b.sock);
    assert_int_equal(end_of(&b), 0);

    b = start_bare("busy");
    ask_bare(&b, CHILD_MAGIC, 100, 100);
    close(b.sock);
    int status = end_of(&b);
    assert_true(status == 0 || (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)); /* 0: it had not begun */
}

static void test_a_child_answers_nonsense_with_an_error(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct bare b = start_bare("good");
        /* No sound behind it: closing on unread bytes would take the answer back. */
        ask_bare(&b, i ? CHILD_MAGIC : 1, i ? CHILD_MAX_SAMPLES + 1 : 4, 0);
        struct child_reply reply;
        struct err e = ERR_INIT;
        assert_int_equal(io_read_full(b.sock, &reply, sizeof reply, &e), sizeof reply);
        assert_int_equal(reply.status, ERR_INTERNAL);
        assert_int_equal(end_of(&b), 0);
        close(b.sock);
    }
}

static void test_signals_to_all_do_not_end_a_child(void **state)
{
    (void)state;
    struct bare b = start_bare("good");
    proc_kill(b.proc, SIGTERM);
    proc_kill(b.proc, SIGINT);
    proc_kill(b.proc, SIGHUP);
    ask_bare(&b, CHILD_MAGIC, 10, 10);
    struct child_reply reply;
    struct err e = ERR_INIT;
    assert_int_equal(io_read_full(b.sock, &reply, sizeof reply, &e), sizeof reply);
    assert_int_equal(reply.status, 0);
    close(b.sock);
    assert_int_equal(end_of(&b), 0);
}

int main(int argc, char **argv)
{
    if (argc == 4 && str_eq(argv[1], "__engine") && str_eq(argv[2], "fake"))
        return child_main(argv[3]);
    /* As the program does (stop_install): writing to a child that has just died is an error, not the end. */
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_questions_and_answers),
        cmocka_unit_test(test_what_a_child_said),
        cmocka_unit_test(test_children_that_do_not_start),
        cmocka_unit_test(test_a_chatty_child_blocks_nothing),
        cmocka_unit_test(test_children_that_fail_later),
        cmocka_unit_test(test_cancel_before_and_during),
        cmocka_unit_test(test_a_child_ends_with_its_parent),
        cmocka_unit_test(test_a_child_answers_nonsense_with_an_error),
        cmocka_unit_test(test_signals_to_all_do_not_end_a_child),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
