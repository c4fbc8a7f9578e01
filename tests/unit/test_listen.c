/* SPDX-License-Identifier: MIT */
#include "base/listen.h"

#include "base/io.h"
#include "base/macros.h"
#include "base/mem.h"
#include "base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[64];

static int setup(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/steno-listen-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    return io_remove_tree(folder, &err);
}

static int open_all(const char *addresses, struct listener *l, size_t *n, struct err *err)
{
    return listen_open(addresses, l, 4, n, err);
}

static void test_bad_addresses(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        ",",
        "8000",
        "localhost",
        "127.0.0.1:",
        ":8000",
        "127.0.0.1:65536",
        "127.0.0.1:-1",
        "127.0.0.1:80a",
        "::1:8000",
        "[]:8000",
        "unix:",
        "unix:relative/path",
        "300.1.1.1:0",
        "127.0.0.1:0,oops",
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct listener l[4];
        size_t n = 0;
        struct err err = ERR_INIT;
        int rc = open_all(bad[i], l, &n, &err);
        if (rc != ERR_INVALID || !*err.msg)
            fail_msg("'%s': %d %s", bad[i], rc, err.msg);
    }
    struct listener l[4];
    size_t n = 0;
    struct err err = ERR_INIT;
    assert_int_equal(open_all("127.0.0.1:0 127.0.0.1:0 127.0.0.1:0 127.0.0.1:0 127.0.0.1:0", l, &n, &err), ERR_INVALID);
    assert_non_null(strstr(err.msg, "more than 4"));
}

static void test_port_zero_is_named_and_taken(void **state)
{
    (void)state;
    struct listener l[4], again[4];
    size_t n = 0, n_again = 0;
    struct err err = ERR_INIT;
    assert_int_equal(open_all("127.0.0.1:0, 127.0.0.1:0", l, &n, &err), 0);
    assert_int_equal(n, 2);
    assert_true(str_starts(l[0].name, "127.0.0.1:"));
    assert_string_not_equal(l[0].name, "127.0.0.1:0");
    assert_string_not_equal(l[0].name, l[1].name);
    assert_int_equal(open_all(l[0].name, again, &n_again, &err), ERR_UNAVAILABLE);
    assert_non_null(strstr(err.msg, l[0].name));
    char name[LISTEN_NAME_SIZE];
    memcpy(name, l[0].name, sizeof name);
    listen_close(&l[0]);
    listen_close(&l[1]);
    assert_int_equal(open_all(name, again, &n_again, &err), 0);
    listen_close(&again[0]);
}

static void test_unix_sockets(void **state)
{
    (void)state;
    struct listener l[4], again[4];
    size_t n = 0, n_again = 0;
    struct err err = ERR_INIT;
    CLEANUP(free_p) char *address = xasprintf("unix:%s/s", folder);
    const char *path = address + strlen("unix:");
    struct stat st;
    assert_int_equal(open_all(address, l, &n, &err), 0);
    assert_string_equal(l[0].name, address);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0660);
    assert_int_equal(open_all(address, again, &n_again, &err), ERR_UNAVAILABLE);

    /* Killed: the file stays, nobody answers. */
    close_fd(&l[0].fd);
    assert_int_equal(open_all(address, again, &n_again, &err), 0);
    listen_close(&again[0]);
    assert_int_equal(stat(path, &st), -1);

    CLEANUP(close_fd) int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(open_all(address, l, &n, &err), ERR_INVALID);
    assert_int_equal(stat(path, &st), 0);
    CLEANUP(free_p) char *far = xasprintf("unix:%s/no/folder", folder);
    assert_int_equal(open_all(far, l, &n, &err), ERR_UNAVAILABLE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bad_addresses),
        cmocka_unit_test(test_port_zero_is_named_and_taken),
        cmocka_unit_test(test_unix_sockets),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
