/* SPDX-License-Identifier: MIT */
/*
 * Children are this very program in one of its child roles below (path NULL), or /bin/sh. Nothing waits for time
 * to pass: a child that must still run waits for a pipe that nobody closes.
 */
#include "base/proc.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/io.h"
#include "base/mem.h"
#include "base/str.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { LONG_MS = 120000 }; /* only reached when something is broken */

/* Child role: prints the numbers of its open descriptors. */
static int role_list_fds(void)
{
    DIR *d = opendir("/proc/self/fd");
    if (!d)
        return 1;
    for (struct dirent *e; (e = readdir(d));)
        if (e->d_name[0] != '.' && strtol(e->d_name, NULL, 10) != dirfd(d))
            printf("%s\n", e->d_name);
    return closedir(d) || fflush(stdout) ? 1 : 0;
}

/* Child role: prints its environment as it is, doubled names too (a shell would hide them). */
static int role_env(void)
{
    for (char **e = environ; *e; e++)
        if (str_starts(*e, "STENO_T_"))
            printf("%s\n", *e);
    return fflush(stdout) ? 1 : 0;
}

/* Child role: which signals are ignored or blocked? */
static int role_signals(void)
{
    sigset_t blocked;
    sigprocmask(SIG_SETMASK, NULL, &blocked);
    for (int sig = 1; sig < 32; sig++) {
        struct sigaction sa;
        if (sigaction(sig, NULL, &sa) < 0)
            continue;
        if (sa.sa_handler == SIG_IGN)
            printf("ignored %d\n", sig);
        if (sigismember(&blocked, sig) == 1)
            printf("blocked %d\n", sig);
    }
    return fflush(stdout) ? 1 : 0;
}

/* Child role: who is it? Is 0, 1, 2 the null device? */
static int role_std(void)
{
    for (int fd = 0; fd < 3; fd++) {
        struct stat st;
        char name[32];
        snprintf(name, sizeof name, "STD%d", fd);
        const char *want = getenv(name);
        bool null = fstat(fd, &st) == 0 && S_ISCHR(st.st_mode) && st.st_rdev == 0x103;
        if (!want || null != (want[0] == 'n'))
            return 10 + fd;
    }
    return 0;
}

static int ended(struct proc *p)
{
    struct err e = ERR_INIT;
    int status = -1, rc = proc_wait(p, LONG_MS, &status, &e);
    if (rc != 1)
        fail_msg("still running or lost: %s", e.msg);
    return status;
}

/* Runs a child to its end with its standard output in `out`; the exit status as from waitpid. */
static int run(struct proc_opts o, struct buf *out)
{
    struct err e = ERR_INIT;
    int r, w;
    assert_int_equal(proc_pipe(&r, &w, &e), 0);
    struct proc_fd fds[16] = {{1, w}};
    for (size_t i = 0; i < o.n_fds; i++)
        fds[i + 1] = o.fds[i];
    o.fds = fds;
    o.n_fds++;
    struct proc *p = NULL;
    if (proc_spawn(&o, &p, &e) < 0)
        fail_msg("%s", e.msg);
    close(w);
    for (char piece[4096];;) {
        ssize_t n = io_read_full(r, piece, sizeof piece, &e);
        assert_true(n >= 0);
        if (!n)
            break;
        buf_add(out, piece, (size_t)n);
    }
    close(r);
    int status = ended(p);
    proc_free(p);
    assert_true(buf_ok(out));
    return status;
}

static const char *const *sh(const char *script)
{
    static const char *argv[4] = {"sh", "-c"};
    argv[2] = script;
    return argv;
}

/* A child that ends when the other end of its standard input is closed, or by a signal. */
static struct proc *waiting_child(int *ret_end, bool own_group, const char *script)
{
    struct err e = ERR_INIT;
    int r;
    assert_int_equal(proc_pipe(&r, ret_end, &e), 0);
    struct proc *p = NULL;
    struct proc_opts o = {
        .path = "/bin/sh", .argv = sh(script), .fds = &(struct proc_fd){0, r}, .n_fds = 1, .own_group = own_group};
    assert_int_equal(proc_spawn(&o, &p, &e), 0);
    close(r);
    return p;
}

static void test_exit_status(void **state)
{
    (void)state;
    static const struct {
        const char *script, *text;
        int status;
    } rows[] = {
        {"exit 0", "exit status 0", 0},
        {"exit 3", "exit status 3", 3 << 8},
        {"exit 255", "exit status 255", 255 << 8},
        {"kill -9 $$", "killed by signal 9 (Killed)", 9},
        {"kill -TERM $$", "killed by signal 15 (Terminated)", 15},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        CLEANUP(buf_clear) struct buf out = BUF_INIT(100);
        int status = run((struct proc_opts){.path = "/bin/sh", .argv = sh(rows[i].script)}, &out);
        assert_int_equal(status, rows[i].status);
        char text[64];
        proc_describe(status, text, sizeof text);
        assert_string_equal(text, rows[i].text);
    }
    char text[64];
    proc_describe(SIGRTMIN + 3, text, sizeof text); /* has no description */
    assert_non_null(strstr(text, "killed by signal "));
}

static void test_missing_program(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    struct proc *p = NULL;
    struct proc_opts o = {.path = "/nowhere/program", .argv = sh("exit 0")};
    assert_int_equal(proc_spawn(&o, &p, &e), ERR_NOT_FOUND);
    assert_null(p);
    assert_string_equal(e.msg, "cannot start '/nowhere/program': No such file or directory");
    o.path = "steno-test-there-is-no-such-program"; /* looked up in PATH */
    assert_int_equal(proc_spawn(&o, &p, &e), ERR_NOT_FOUND);
    o.path = "/etc/passwd";
    assert_int_equal(proc_spawn(&o, &p, &e), ERR_INVALID);
    assert_int_equal(e.sys, EACCES);
    o.path = "sh";
    assert_int_equal(proc_spawn(&o, &p, &e), 0);
    assert_int_equal(ended(p), 0);
    proc_free(p);
}

static void test_arguments(void **state)
{
    (void)state;
    const char *argv[80] = {"sh", "-c", "printf '%s|' \"$@\"", "x", "two words", "", "$HOME"};
    CLEANUP(buf_clear) struct buf out = BUF_INIT(1000);
    assert_int_equal(run((struct proc_opts){.path = "/bin/sh", .argv = argv}, &out), 0);
    assert_string_equal(buf_str(&out), "two words||$HOME|");
    for (size_t i = 4; i < 79; i++)
        argv[i] = "many";
    struct err e = ERR_INIT;
    struct proc *p = NULL;
    assert_true(proc_spawn(&(struct proc_opts){.path = "/bin/sh", .argv = argv}, &p, &e) < 0);
    assert_int_equal(e.sys, E2BIG);
}

static void test_environment(void **state)
{
    (void)state;
    assert_int_equal(setenv("STENO_T_KEPT", "kept", 1), 0);
    assert_int_equal(setenv("STENO_T_OVER", "old", 1), 0);
    assert_int_equal(setenv("STENO_T_OVER_NOT", "other", 1), 0);
    const char *const set[] = {"STENO_T_OVER=new", "STENO_T_MADE=a=b", "STENO_T_EMPTY=", NULL};
    CLEANUP(buf_clear) struct buf out = BUF_INIT(1000);
    const char *const argv[] = {"self", "--env", NULL};
    assert_int_equal(run((struct proc_opts){.argv = argv, .setenv = set}, &out), 0);
    assert_string_equal(buf_str(&out), "STENO_T_KEPT=kept\nSTENO_T_OVER_NOT=other\n"
                                       "STENO_T_OVER=new\nSTENO_T_MADE=a=b\nSTENO_T_EMPTY=\n");
    assert_string_equal(getenv("STENO_T_OVER"), "old"); /* ours is as it was */
    unsetenv("STENO_T_KEPT");
    unsetenv("STENO_T_OVER");
    unsetenv("STENO_T_OVER_NOT");
}

static void test_standard_descriptors(void **state)
{
    (void)state;
    const char *const argv[] = {"self", "--std", NULL};
    struct err e = ERR_INIT;
    int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    static const struct {
        int child; /* -1: none */
        bool keep;
        const char *env[4];
    } rows[] = {
        {-1, false, {"STD0=null", "STD1=null", "STD2=null"}}, {0, false, {"STD0=file", "STD1=null", "STD2=null"}},
        {1, false, {"STD0=null", "STD1=file", "STD2=null"}},  {2, false, {"STD0=null", "STD1=null", "STD2=file"}},
        {2, true, {"STD0=null", "STD1=null", "STD2=file"}},   {-1, true, {"STD0=null", "STD1=null", "STD2=kept"}},
    };
    /* Our own stderr may be the null device itself: put a file there for the moment. */
    int saved = dup(2);
    assert_true(saved >= 0);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct proc_fd map = {rows[i].child, fd};
        struct proc *p = NULL;
        struct proc_opts o = {
            .argv = argv, .setenv = rows[i].env, .fds = &map, .n_fds = rows[i].child >= 0, .keep_stderr = rows[i].keep};
        dup2(fd, 2);
        int rc = proc_spawn(&o, &p, &e);
        dup2(saved, 2);
        assert_int_equal(rc, 0);
        int status = ended(p);
        proc_free(p);
        if (status != 0)
            fail_msg("row %zu: exit status %d", i, WEXITSTATUS(status));
    }
    close(saved);
    close(fd);
}

/* A pipe's inode tells which one it is; every mapping collides with another in some way. */
static void test_descriptors_swap_places(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    int fds[4];
    for (int i = 0; i < 4; i++) {
        int w;
        assert_int_equal(proc_pipe(&fds[i], &w, &e), 0);
        close(w);
    }
    int a = fds[0], b = fds[1], c = fds[2], d = fds[3];
    /* From the next free numbers on, where careless copies would lie, in reverse. */
    int f = dup(0);
    assert_true(f >= 0);
    close(f);
    const struct {
        struct proc_fd map[4];
        size_t n;
    } rows[] = {
#define REVERSED(f) {{{(f) + 3, a}, {(f) + 2, b}, {(f) + 1, c}, {(f), d}}, 4}
        REVERSED(f),
        REVERSED(f + 1),
        REVERSED(f + 2),
        REVERSED(f + 3),
        REVERSED(f + 4),
#undef REVERSED
        {{{b, a}, {a, b}}, 2},                 /* swap */
        {{{b, a}, {c, b}, {d, c}, {a, d}}, 4}, /* circle */
        {{{a, a}}, 1},                         /* its own number: must survive exec all the same */
        {{{b, a}, {c, a}}, 2},                 /* one at two places */
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        CLEANUP(buf_clear) struct buf script = BUF_INIT(4000), out = BUF_INIT(100), want = BUF_INIT(100);
        for (size_t k = 0; k < rows[i].n; k++) {
            struct stat st;
            assert_int_equal(fstat(rows[i].map[k].parent, &st), 0);
            buf_addf(&want, "pipe:[%llu]\n", (unsigned long long)st.st_ino);
            buf_addf(&script, "readlink /proc/$$/fd/%d;", rows[i].map[k].child);
        }
        struct proc_opts o = {.path = "/bin/sh", .argv = sh(buf_str(&script)), .fds = rows[i].map, .n_fds = rows[i].n};
        assert_int_equal(run(o, &out), 0);
        assert_string_equal(buf_str(&out), buf_str(&want));
    }
    for (int i = 0; i < 4; i++)
        assert_int_equal(close(fds[i]), 0); /* ours stayed open */
}

static void test_nothing_else_is_inherited(void **state)
{
    (void)state;
    /* Not close-on-exec, as a library may leave one; below, between and above the listed numbers. */
    int leaks[12], n = 0;
    for (; n < 12; n++) {
        leaks[n] = open("/dev/null", O_RDONLY);
        assert_true(leaks[n] >= 0);
    }
    CLEANUP(close_fd) int far = fcntl(leaks[0], F_DUPFD, 300);
    assert_true(far >= 300);
    const char *const argv[] = {"self", "--list-fds", NULL};
    struct proc_fd map[] = {{9, leaks[0]}, {5, leaks[1]}};
    CLEANUP(buf_clear) struct buf out = BUF_INIT(1000);
    assert_int_equal(run((struct proc_opts){.argv = argv, .fds = map, .n_fds = 2}, &out), 0);
    assert_string_equal(buf_str(&out), "0\n1\n2\n5\n9\n");
    while (n)
        close(leaks[--n]);
}

static void test_impossible_descriptors(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    struct proc *p = NULL;
    struct proc_fd map[17] = {{3, 0}};
    struct proc_opts o = {.path = "/bin/sh", .argv = sh("exit 0"), .fds = map, .n_fds = 1};
    map[0].child = -1;
    assert_int_equal(proc_spawn(&o, &p, &e), ERR_INTERNAL);
    map[0].child = 64;
    assert_int_equal(proc_spawn(&o, &p, &e), ERR_INTERNAL);
    map[0] = (struct proc_fd){3, 999};
    assert_true(proc_spawn(&o, &p, &e) < 0);
    assert_int_equal(e.sys, EBADF);
    o.n_fds = 17;
    assert_int_equal(proc_spawn(&o, &p, &e), ERR_INTERNAL);
    assert_null(p);
}

static void test_signals_are_as_at_the_start(void **state)
{
    (void)state;
    sigset_t all, old;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &old);
    void (*pipe_was)(int) = signal(SIGPIPE, SIG_IGN), (*hup_was)(int) = signal(SIGHUP, SIG_IGN);
    const char *const argv[] = {"self", "--signals", NULL};
    CLEANUP(buf_clear) struct buf out = BUF_INIT(1000);
    int status = run((struct proc_opts){.argv = argv}, &out);
    signal(SIGPIPE, pipe_was);
    signal(SIGHUP, hup_was);
    sigprocmask(SIG_SETMASK, &old, NULL);
    assert_int_equal(status, 0);
    assert_string_equal(buf_str(&out), "");
}

static void test_hangup_can_be_held(void **state)
{
    (void)state;
    const char *const argv[] = {"self", "--signals", NULL};
    CLEANUP(buf_clear) struct buf out = BUF_INIT(1000);
    assert_int_equal(run((struct proc_opts){.argv = argv, .hold_hangup = true}, &out), 0);
    char want[32];
    snprintf(want, sizeof want, "blocked %d\n", SIGHUP);
    assert_string_equal(buf_str(&out), want);
}

static void test_standard_input(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    int r, w;
    assert_int_equal(proc_pipe(&r, &w, &e), 0);
    assert_int_equal(io_write_all(w, "some\ninput\n", 11, &e), 0);
    close(w);
    CLEANUP(buf_clear) struct buf out = BUF_INIT(100);
    struct proc_opts o = {.path = "/bin/sh", .argv = sh("cat"), .fds = &(struct proc_fd){0, r}, .n_fds = 1};
    assert_int_equal(run(o, &out), 0);
    close(r);
    assert_string_equal(buf_str(&out), "some\ninput\n");
    /* None given: the end at once, never our own. */
    buf_reset(&out);
    assert_int_equal(run((struct proc_opts){.path = "/bin/sh", .argv = sh("cat; echo end")}, &out), 0);
    assert_string_equal(buf_str(&out), "end\n");
}

static void test_waiting(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    int end, status = -1;
    struct proc *p = waiting_child(&end, false, "read x; exit 7");
    assert_true(proc_pid(p) > 0);
    assert_int_equal(proc_wait(p, 0, &status, &e), 0);
    int64_t t = clock_mono_ms();
    assert_int_equal(proc_wait(p, 30, &status, &e), 0);
    assert_true(clock_mono_ms() - t >= 29);
    assert_int_equal(status, -1); /* untouched */
    struct pollfd pfd = {.fd = proc_fd(p), .events = POLLIN};
    assert_int_equal(poll(&pfd, 1, 0), 0);
    close(end);
    assert_int_equal(poll(&pfd, 1, LONG_MS), 1);
    assert_int_equal(proc_wait(p, 0, &status, &e), 1);
    assert_int_equal(WEXITSTATUS(status), 7);
    status = -1;
    assert_int_equal(proc_wait(p, -1, &status, &e), 1); /* again: the same */
    assert_int_equal(WEXITSTATUS(status), 7);
    proc_kill(p, SIGKILL); /* nobody is there to be hit */
    proc_free(p);
    proc_free(NULL);

    p = waiting_child(&end, false, "exit 4");
    assert_int_equal(proc_wait(p, INT64_MAX, &status, &e), 1);
    assert_int_equal(WEXITSTATUS(status), 4);
    proc_free(p);
    close(end);
}

static void test_kill(void **state)
{
    (void)state;
    int end;
    struct proc *p = waiting_child(&end, false, "read x");
    proc_kill(p, SIGTERM);
    assert_int_equal(ended(p), SIGTERM);
    proc_free(p);
    close(end);
}

/* Free kills and reaps: the pid is no child of ours afterwards. */
static void test_free_kills(void **state)
{
    (void)state;
    int end;
    struct proc *p = waiting_child(&end, false, "read x");
    pid_t pid = proc_pid(p);
    proc_free(p);
    assert_int_equal(waitpid(pid, NULL, WNOHANG), -1);
    assert_int_equal(errno, ECHILD);
    close(end);
}

/*
 * The grandchild holds the write end of a pipe: end of file tells that it is dead too. First it says that it runs, so
 * that the kill cannot come before it.
 */
static void test_kill_reaches_the_group(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    for (int by_free = 0; by_free < 2; by_free++) {
        int r, w, in_r, in_w;
        assert_int_equal(proc_pipe(&r, &w, &e), 0);
        assert_int_equal(proc_pipe(&in_r, &in_w, &e), 0);
        struct proc_fd map[] = {{3, in_r}, {1, w}}; /* not 0: a shell takes that from its background jobs */
        struct proc *p = NULL;
        struct proc_opts o = {.path = "/bin/sh",
                              .argv = sh("sh -c 'echo up; read x' <&3 & wait"),
                              .fds = map,
                              .n_fds = 2,
                              .own_group = true};
        assert_int_equal(proc_spawn(&o, &p, &e), 0);
        close(w);
        close(in_r);
        assert_int_equal(getpgid(proc_pid(p)), proc_pid(p));
        char text[8] = "";
        assert_int_equal(io_read_full(r, text, 3, &e), 3);
        assert_string_equal(text, "up\n");
        if (!by_free) {
            proc_kill(p, SIGKILL);
            assert_int_equal(ended(p), SIGKILL);
        }
        proc_free(p);
        struct pollfd pfd = {.fd = r, .events = POLLIN};
        assert_int_equal(poll(&pfd, 1, LONG_MS), 1);
        assert_int_equal(io_read_full(r, text, 1, &e), 0); /* end of file */
        close(r);
        close(in_w);
    }
    int end;
    struct proc *p = waiting_child(&end, false, "read x");
    assert_int_equal(getpgid(proc_pid(p)), getpgid(0));
    proc_free(p);
    close(end);
}

static void test_no_descriptors_are_lost(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    CLEANUP(close_fd) int before = open("/dev/null", O_RDONLY | O_CLOEXEC);
    for (int i = 0; i < 20; i++) {
        struct proc *p = NULL;
        struct proc_fd map = {3, before};
        struct proc_opts o = {.path = i % 2 ? "/nowhere/x" : "/bin/sh", .argv = sh("exit 0"), .fds = &map, .n_fds = 1};
        if (proc_spawn(&o, &p, &e) == 0)
            proc_free(p);
    }
    CLEANUP(close_fd) int after = open("/dev/null", O_RDONLY | O_CLOEXEC);
    assert_int_equal(after, before + 1);
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--list-fds") == 0)
        return role_list_fds();
    if (argc == 2 && strcmp(argv[1], "--env") == 0)
        return role_env();
    if (argc == 2 && strcmp(argv[1], "--signals") == 0)
        return role_signals();
    if (argc == 2 && strcmp(argv[1], "--std") == 0)
        return role_std();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exit_status),
        cmocka_unit_test(test_missing_program),
        cmocka_unit_test(test_arguments),
        cmocka_unit_test(test_environment),
        cmocka_unit_test(test_standard_descriptors),
        cmocka_unit_test(test_descriptors_swap_places),
        cmocka_unit_test(test_nothing_else_is_inherited),
        cmocka_unit_test(test_impossible_descriptors),
        cmocka_unit_test(test_signals_are_as_at_the_start),
        cmocka_unit_test(test_hangup_can_be_held),
        cmocka_unit_test(test_standard_input),
        cmocka_unit_test(test_waiting),
        cmocka_unit_test(test_kill),
        cmocka_unit_test(test_free_kills),
        cmocka_unit_test(test_kill_reaches_the_group),
        cmocka_unit_test(test_no_descriptors_are_lost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
