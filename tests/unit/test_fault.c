/* SPDX-License-Identifier: MIT */
/* Deadly actions are tried on a child: this program again, with the fault in its environment. */
#include "base/fault.h"

#include "base/clock.h"
#include "base/io.h"
#include "base/mem.h"
#include "base/proc.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static void test_names(void **state)
{
    (void)state;
    assert_string_equal(fault_name(FAULT_upload_stored), "upload_stored");
    assert_string_equal(fault_name(FAULT_sweep_started), "sweep_started");
    assert_string_equal(fault_name(FAULT_broker_token), "broker_token");
    assert_string_equal(fault_name(FAULT_COUNT), "?");
    for (int i = 0; i < FAULT_COUNT; i++)
        for (int k = 0; k < i; k++)
            assert_string_not_equal(fault_name((enum fault_point)i), fault_name((enum fault_point)k));
}

/* Child role: passes two points; exit status 40 + how many of them failed. */
static int pass_points(void)
{
    struct err e = ERR_INIT;
    int failed = 0;
    failed += FAULT_POINT(chunk_saved, &e)
    < 0;
    failed += FAULT_POINT(job_merged, &e)
    < 0;
    return 40 + failed;
}

#ifdef STENO_FAULTS

enum { LONG_MS = 120000 }; /* only reached when something is broken */

static struct proc *start(const char *fault, const char *dir)
{
    struct err e = ERR_INIT;
    CLEANUP(free_p) char *a = xasprintf("STENO_FAULT=%s", fault), *b = xasprintf("STENO_FAULT_DIR=%s", dir);
    const char *const argv[] = {"self", "--points", NULL}, *const env[] = {a, b, NULL};
    struct proc *p = NULL;
    assert_int_equal(proc_spawn(&(struct proc_opts){.argv = argv, .setenv = env}, &p, &e), 0);
    return p;
}

static int run(const char *fault, const char *dir)
{
    struct err e = ERR_INIT;
    struct proc *p = start(fault, dir);
    int status = -1;
    assert_int_equal(proc_wait(p, LONG_MS, &status, &e), 1);
    proc_free(p);
    return status;
}

struct folder {
    char dir[64];
};

static int setup(void **state)
{
    struct folder *f = xcalloc(1, sizeof *f);
    const char *tmp = getenv("TMPDIR");
    snprintf(f->dir, sizeof f->dir, "%.40s/steno-fault-XXXXXX", tmp ? tmp : "/tmp");
    *state = f;
    return mkdtemp(f->dir) ? 0 : -1;
}

static int teardown(void **state)
{
    struct folder *f = *state;
    struct err e = ERR_INIT;
    int rc = io_remove_tree(f->dir, &e);
    free(f);
    return rc;
}

static bool fired(const struct folder *f, const char *point)
{
    CLEANUP(free_p) char *path = xasprintf("%s/%s", f->dir, point);
    return access(path, F_OK) == 0;
}

static void test_fail_fires_once_for_all_processes(void **state)
{
    struct folder *f = *state;
    assert_int_equal(WEXITSTATUS(run("", f->dir)), 40);
    assert_int_equal(WEXITSTATUS(run("job_claimed=fail", f->dir)), 40); /* not passed here */
    assert_false(fired(f, "job_claimed"));
    assert_int_equal(WEXITSTATUS(run("chunk_saved=fail", f->dir)), 41);
    assert_true(fired(f, "chunk_saved"));
    assert_int_equal(WEXITSTATUS(run("chunk_saved=fail", f->dir)), 40); /* another process: it has fired */
    assert_int_equal(WEXITSTATUS(run("job_claimed=fail,chunk_saved=fail,job_merged=fail", f->dir)), 41);
    assert_true(fired(f, "job_merged"));
}

static void test_the_sentence(void **state)
{
    struct folder *f = *state;
    struct err e = ERR_INIT;
    assert_int_equal(setenv("STENO_FAULT", "job_claimed=fail", 1), 0);
    assert_int_equal(setenv("STENO_FAULT_DIR", f->dir, 1), 0);
    assert_int_equal(FAULT_POINT(chunk_saved, &e), 0);
    assert_int_equal(FAULT_POINT(job_claimed, &e), ERR_UNAVAILABLE);
    assert_string_equal(e.msg, "injected fault at job_claimed");
    assert_int_equal(FAULT_POINT(job_claimed, &e), 0);
    unsetenv("STENO_FAULT_DIR"); /* without a memory: every time */
    assert_int_equal(FAULT_POINT(job_claimed, &e), ERR_UNAVAILABLE);
    assert_int_equal(FAULT_POINT(job_claimed, &e), ERR_UNAVAILABLE);
    unsetenv("STENO_FAULT");
    assert_int_equal(FAULT_POINT(job_claimed, &e), 0);
}

static void test_the_nth_pass(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    assert_int_equal(setenv("STENO_FAULT", "broker_token=fail@3,job_merged=sleep:0@1", 1), 0);
    for (int pass = 1; pass <= 5; pass++)
        assert_int_equal(FAULT_POINT(broker_token, &e), pass == 3 ? ERR_UNAVAILABLE : 0);
    unsetenv("STENO_FAULT");
}

static void test_each_nth_pass_of_a_group(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    fault_reset();
    assert_int_equal(setenv("STENO_FAULT", "broker=fail/2", 1), 0);
    for (int pass = 1; pass <= 6; pass++) {
        int rc = pass % 3 ? FAULT_POINT(broker_token, &e) : FAULT_POINT(broker_ping, &e);
        assert_int_equal(rc, pass % 2 ? 0 : ERR_UNAVAILABLE);
        assert_int_equal(FAULT_POINT(db_read, &e), 0);
    }
    assert_true(fault_reset());
    assert_false(fault_reset());
    assert_int_equal(setenv("STENO_FAULT", "db=fail@2", 1), 0);
    assert_int_equal(FAULT_POINT(db_read, &e), 0);
    assert_int_equal(FAULT_POINT(sql_statement, &e), 0); /* a part of what a transaction counts for */
    assert_int_equal(FAULT_POINT(db_write, &e), ERR_UNAVAILABLE);
    unsetenv("STENO_FAULT");
}

static void test_what_it_is_about(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    assert_int_equal(setenv("STENO_FAULT", "storage_get(poison)=fail,storage_write=lost,storage_commit=cut", 1), 0);
    assert_int_equal(FAULT_POINT_AT(storage_get, "uploads/1/good.wav", &e), 0);
    assert_int_equal(FAULT_POINT_AT(storage_get, NULL, &e), 0);
    assert_int_equal(FAULT_POINT_AT(storage_get, "uploads/1/poison.wav", &e), ERR_UNAVAILABLE);
    assert_int_equal(FAULT_LOOK(storage_write, NULL), FAULT_LOST);
    assert_int_equal(FAULT_LOOK(storage_commit, NULL), FAULT_CUT);
    unsetenv("STENO_FAULT");
}

static void write_text(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static void test_a_file_says_what_fails_now(void **state)
{
    struct folder *f = *state;
    struct err e = ERR_INIT;
    CLEANUP(free_p) char *path = xasprintf("%s/faults", f->dir), *spec = xasprintf("@%s", path);
    assert_int_equal(setenv("STENO_FAULT", spec, 1), 0);
    assert_int_equal(FAULT_POINT(db_ping, &e), 0);
    write_text(path, "db_ping=fail\n");
    assert_int_equal(FAULT_POINT(db_ping, &e), ERR_UNAVAILABLE);
    write_text(path, "\n");
    assert_int_equal(FAULT_POINT(db_ping, &e), 0);
    unsetenv("STENO_FAULT");
}

static void test_a_clock_that_jumps(void **state)
{
    (void)state;
    int64_t wall = clock_wall_ms(), mono = clock_mono_ms();
    assert_int_equal(setenv("STENO_FAULT", "clock=jump:7200000", 1), 0);
    assert_true(clock_wall_ms() - wall >= 7200000 && clock_mono_ms() - mono < 7200000);
    assert_int_equal(FAULT_JUMP_MS(db_clock), 0);
    assert_int_equal(setenv("STENO_FAULT", "clock=jump:-7200000,db_clock=jump:5", 1), 0);
    assert_true(clock_wall_ms() < wall);
    assert_int_equal(FAULT_JUMP_MS(db_clock), 5);
    unsetenv("STENO_FAULT");
}

static void test_kill(void **state)
{
    struct folder *f = *state;
    assert_int_equal(run("chunk_saved=kill", f->dir), SIGKILL);
    assert_int_equal(WEXITSTATUS(run("chunk_saved=kill", f->dir)), 40); /* restarted: it goes on */
}

static void test_stop(void **state)
{
    struct folder *f = *state;
    struct err e = ERR_INIT;
    struct proc *p = start("job_merged=stop", f->dir);
    int status = -1;
    assert_int_equal(waitpid(proc_pid(p), &status, WUNTRACED), proc_pid(p));
    assert_true(WIFSTOPPED(status));
    assert_int_equal(proc_wait(p, 0, &status, &e), 0); /* stopped is not ended */
    proc_kill(p, SIGCONT);
    assert_int_equal(proc_wait(p, LONG_MS, &status, &e), 1);
    assert_int_equal(WEXITSTATUS(status), 40);
    proc_free(p);
}

static void test_sleep(void **state)
{
    struct folder *f = *state;
    int64_t t = clock_mono_ms();
    assert_int_equal(WEXITSTATUS(run("chunk_saved=sleep:50", f->dir)), 40);
    assert_true(clock_mono_ms() - t >= 49);
}

static void test_mistakes_are_loud(void **state)
{
    struct folder *f = *state;
    CLEANUP(free_p) char *nowhere = xasprintf("%s/nowhere", f->dir);
    assert_int_equal(WTERMSIG(run("chunk_savd=fail", f->dir)), SIGABRT);
    assert_int_equal(WTERMSIG(run("chunk_saved=explode", f->dir)), SIGABRT);
    assert_int_equal(WTERMSIG(run("chunk_saved", f->dir)), SIGABRT);
    assert_int_equal(WTERMSIG(run("chunk_saved=fail@", f->dir)), SIGABRT);
    assert_int_equal(WTERMSIG(run("chunk_saved=fail@0", f->dir)), SIGABRT);
    assert_int_equal(WTERMSIG(run("job_merged=sleep:soon", f->dir)), SIGABRT);
    assert_int_equal(WTERMSIG(run("chunk_saved=sleep", f->dir)), SIGABRT);
    assert_int_equal(WTERMSIG(run("chunk_saved(x=fail", f->dir)), SIGABRT);
    assert_int_equal(WTERMSIG(run("chunk_saved=fail/0", f->dir)), SIGABRT);
    assert_int_equal(WTERMSIG(run("chunk_saved=fail", nowhere)), SIGABRT);
}

#else

static void test_without_hooks_nothing_happens(void **state)
{
    (void)state;
    assert_int_equal(setenv("STENO_FAULT", "chunk_saved=kill", 1), 0);
    assert_int_equal(pass_points(), 40);
}

#endif

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--points") == 0)
        return pass_points();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
#ifdef STENO_FAULTS
        cmocka_unit_test_setup_teardown(test_fail_fires_once_for_all_processes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_the_sentence, setup, teardown),
        cmocka_unit_test(test_the_nth_pass),
        cmocka_unit_test(test_each_nth_pass_of_a_group),
        cmocka_unit_test(test_what_it_is_about),
        cmocka_unit_test_setup_teardown(test_a_file_says_what_fails_now, setup, teardown),
        cmocka_unit_test(test_a_clock_that_jumps),
        cmocka_unit_test_setup_teardown(test_kill, setup, teardown),
        cmocka_unit_test_setup_teardown(test_stop, setup, teardown),
        cmocka_unit_test_setup_teardown(test_sleep, setup, teardown),
        cmocka_unit_test_setup_teardown(test_mistakes_are_loud, setup, teardown),
#else
        cmocka_unit_test(test_without_hooks_nothing_happens),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
