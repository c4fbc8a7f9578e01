/* SPDX-License-Identifier: MIT */
#include "worker/temp.h"

#include "base/io.h"
#include "base/mem.h"

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
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static int setup(void **state)
{
    char folder[] = "/tmp/steno-test-temp-XXXXXX";
    *state = mkdtemp(folder) ? strdup(folder) : NULL;
    return *state ? 0 : -1;
}

static int teardown(void **state)
{
    struct err err = ERR_INIT;
    int rc = io_remove_tree(*state, &err);
    free(*state);
    return rc;
}

static bool exists(const char *path)
{
    struct stat st;
    return lstat(path, &st) == 0;
}

static void touch(const char *folder, const char *name)
{
    CLEANUP(free_p) char *path = xasprintf("%s/%s", folder, name);
    int fd = open(path, O_CREAT | O_WRONLY, 0600);
    assert_true(fd >= 0);
    close(fd);
}

static void test_private_and_removed(void **state)
{
    struct err err = ERR_INIT;
    struct temp *t = NULL;
    CLEANUP(free_p) char *parent = xasprintf("%s/not/there/yet", (char *)*state);
    assert_int_equal(temp_open(parent, &t, &err), 0);
    struct stat st;
    assert_int_equal(stat(temp_path(t), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    touch(temp_path(t), "audio");
    CLEANUP(free_p) char *path = xstrdup(temp_path(t));
    temp_close(t);
    assert_false(exists(path));
    temp_close(NULL);
}

static void test_sweep_leaves_the_living_alone(void **state)
{
    struct err err = ERR_INIT;
    struct temp *a = NULL, *b = NULL;
    int removed = -1;
    assert_int_equal(temp_open(*state, &a, &err), 0);
    assert_int_equal(temp_open(*state, &b, &err), 0);
    assert_string_not_equal(temp_path(a), temp_path(b));
    /* Things that are not ours, however much they look like it. */
    touch(*state, ".steno-abcdef");
    CLEANUP(free_p) char *foreign = xasprintf("%s/.steno-ghijkl", (char *)*state);
    assert_int_equal(mkdir(foreign, 0700), 0);
    touch(foreign, "theses.txt");
    assert_int_equal(temp_sweep(*state, &removed, &err), 0);
    assert_int_equal(removed, 0);
    assert_true(exists(temp_path(a)) && exists(temp_path(b)) && exists(foreign));
    /* A maker that was killed before it had a lock. */
    CLEANUP(free_p) char *empty = xasprintf("%s/.steno-mnopqr", (char *)*state);
    assert_int_equal(mkdir(empty, 0700), 0);
    assert_int_equal(temp_sweep(*state, &removed, &err), 0);
    assert_int_equal(removed, 1);
    assert_false(exists(empty));
    temp_close(a);
    temp_close(b);
}

/* A process that dies with SIGKILL, as the kernel leaves it. */
static void test_sweep_removes_what_the_dead_left(void **state)
{
    struct err err = ERR_INIT;
    int fds[2], removed = -1;
    assert_int_equal(pipe(fds), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct temp *t = NULL;
        if (temp_open(*state, &t, &err) < 0)
            _exit(1);
        touch(temp_path(t), "audio");
        if (write(fds[1], temp_path(t), strlen(temp_path(t)) + 1) < 0)
            _exit(1);
        for (;;)
            pause();
    }
    close(fds[1]);
    char path[4096] = "";
    assert_true(read(fds[0], path, sizeof path - 1) > 0);
    close(fds[0]);
    assert_int_equal(temp_sweep(*state, &removed, &err), 0);
    assert_int_equal(removed, 0);
    assert_true(exists(path));
    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    assert_int_equal(temp_sweep(*state, &removed, &err), 0);
    assert_int_equal(removed, 1);
    assert_false(exists(path));
}

static void test_errors(void **state)
{
    struct err err = ERR_INIT;
    struct temp *t = NULL;
    int removed = -1;
    CLEANUP(free_p) char *file = xasprintf("%s/file", (char *)*state), *gone = xasprintf("%s/gone", (char *)*state);
    touch(*state, "file");
    assert_true(temp_open(file, &t, &err) < 0);
    assert_null(t);
    assert_int_equal(temp_sweep(gone, &removed, &err), 0);
    assert_int_equal(removed, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_private_and_removed, setup, teardown),
        cmocka_unit_test_setup_teardown(test_sweep_leaves_the_living_alone, setup, teardown),
        cmocka_unit_test_setup_teardown(test_sweep_removes_what_the_dead_left, setup, teardown),
        cmocka_unit_test_setup_teardown(test_errors, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
