/* SPDX-License-Identifier: MIT */
#include "base/io.h"

#include "base/mem.h"
#include "base/str.h"
#include "base/thread.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

struct place {
    char dir[64];
    struct err err;
};

static int setup(void **state)
{
    struct place *p = xcalloc(1, sizeof *p);
    const char *tmp = getenv("TMPDIR");
    snprintf(p->dir, sizeof p->dir, "%.40s/steno-io-XXXXXX", tmp ? tmp : "/tmp");
    *state = p;
    return mkdtemp(p->dir) ? 0 : -1;
}

static int teardown(void **state)
{
    struct place *p = *state;
    int rc = io_remove_tree(p->dir, &p->err);
    int gone = access(p->dir, F_OK) < 0 && errno == ENOENT;
    free(p);
    return rc == 0 && gone ? 0 : -1;
}

/* "<dir>/<name>"; one of a few that live until the test ends. */
static const char *in(const struct place *p, const char *name)
{
    static char paths[8][256];
    static unsigned next;
    char *s = paths[next++ % ARRAY_LEN(paths)];
    snprintf(s, sizeof paths[0], "%s/%s", p->dir, name);
    return s;
}

static void put(const struct place *p, const char *name, const char *text)
{
    FILE *f = fopen(in(p, name), "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static void test_read_file(void **state)
{
    struct place *p = *state;
    char *text = NULL;
    size_t n = 99;
    put(p, "a", "hello");
    assert_int_equal(io_read_file(in(p, "a"), 5, &text, &n, &p->err), 0);
    assert_string_equal(text, "hello");
    assert_int_equal(n, 5);
    free(text);

    put(p, "empty", "");
    text = NULL;
    assert_int_equal(io_read_file(in(p, "empty"), 5, &text, NULL, &p->err), 0);
    assert_string_equal(text, "");
    free(text);

    /* One byte too many, and far too many at once. */
    text = NULL;
    assert_int_equal(io_read_file(in(p, "a"), 4, &text, &n, &p->err), ERR_TOO_LARGE);
    char *big = xcalloc(1, 100001);
    memset(big, 'x', 100000);
    put(p, "big", big);
    assert_int_equal(io_read_file(in(p, "big"), 4, &text, &n, &p->err), ERR_TOO_LARGE);
    assert_int_equal(io_read_file(in(p, "big"), 99999, &text, &n, &p->err), ERR_TOO_LARGE);
    /* Nor is an endless file read any further. */
    assert_int_equal(io_read_file("/dev/zero", 100000, &text, &n, &p->err), ERR_TOO_LARGE);
    assert_null(text);
    assert_int_equal(io_read_file(in(p, "big"), 100000, &text, &n, &p->err), 0);
    assert_int_equal(n, 100000);
    assert_string_equal(text, big);
    free(text);
    free(big);

    assert_int_equal(io_read_file(in(p, "none"), 4, &text, &n, &p->err), ERR_NOT_FOUND);
    assert_non_null(strstr(p->err.msg, "/none'"));
    assert_int_equal(io_read_file(p->dir, 4, &text, &n, &p->err), ERR_INVALID);
    assert_int_equal(p->err.sys, EISDIR);
    assert_non_null(strstr(p->err.msg, p->dir));
}

struct writer {
    int fd;
    const char *data;
    size_t n;
    int rc;
};

static void *write_slowly(void *arg)
{
    struct writer *w = arg;
    struct err e = ERR_INIT;
    w->rc = io_write_all(w->fd, w->data, w->n, &e);
    close(w->fd);
    return NULL;
}

/* More than a pipe holds, so that both sides see short reads and writes. */
static void test_whole_reads_and_writes(void **state)
{
    struct place *p = *state;
    enum { N = 300000 };
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    char *sent = xcalloc(1, N), *got = xcalloc(1, N + 10);
    for (size_t i = 0; i < N; i++)
        sent[i] = (char)(i * 31 >> 3);
    struct writer w = {.fd = fds[1], .data = sent, .n = N, .rc = 1};
    pthread_t t;
    assert_int_equal(thread_start(&t, "writer", write_slowly, &w, &p->err), 0);
    assert_int_equal(io_read_full(fds[0], got, 100000, &p->err), 100000);
    assert_int_equal(io_read_full(fds[0], got + 100000, N, &p->err), N - 100000);
    assert_int_equal(io_read_full(fds[0], got + N, 1, &p->err), 0);
    pthread_join(t, NULL);
    assert_int_equal(w.rc, 0);
    assert_memory_equal(sent, got, N);
    free(sent);
    free(got);
    assert_true(io_read_full(-1, &w, 1, &p->err) < 0);
    assert_int_equal(p->err.sys, EBADF);
    assert_true(io_write_all(fds[0], "x", 1, &p->err) < 0);
    assert_int_equal(io_write_all(-1, "", 0, &p->err), 0); /* nothing to do */
    close(fds[0]);
}

static void test_full_disk(void **state)
{
    struct place *p = *state;
    CLEANUP(close_fd) int fd = open("/dev/full", O_WRONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(io_write_all(fd, "x", 1, &p->err), ERR_UNAVAILABLE);
    assert_int_equal(p->err.sys, ENOSPC);
}

static void test_mkdir_p(void **state)
{
    struct place *p = *state;
    struct stat st;
    assert_int_equal(io_mkdir_p(in(p, "x/y/z"), &p->err), 0);
    assert_int_equal(stat(in(p, "x/y/z"), &st), 0);
    assert_true(S_ISDIR(st.st_mode));
    assert_int_equal(st.st_mode & 0777, 0700);
    assert_int_equal(io_mkdir_p(in(p, "x/y/z"), &p->err), 0); /* again */
    assert_int_equal(io_mkdir_p(in(p, "x//y///w/"), &p->err), 0);
    assert_int_equal(stat(in(p, "x/y/w"), &st), 0);
    assert_int_equal(io_mkdir_p("/", &p->err), 0);
    assert_int_equal(io_mkdir_p(".", &p->err), 0);
    assert_int_equal(io_mkdir_p("", &p->err), ERR_INVALID);

    put(p, "file", "");
    assert_int_equal(io_mkdir_p(in(p, "file"), &p->err), ERR_INVALID);
    assert_non_null(strstr(p->err.msg, "is not a folder"));
    assert_true(io_mkdir_p(in(p, "file/below"), &p->err) < 0);
    assert_int_equal(p->err.sys, ENOTDIR);
    /* A link to a folder is as good as one; a dangling one is not. */
    assert_int_equal(symlink(in(p, "x"), in(p, "link")), 0);
    assert_int_equal(io_mkdir_p(in(p, "link/more"), &p->err), 0);
    assert_int_equal(stat(in(p, "x/more"), &st), 0);
    assert_int_equal(symlink("nowhere", in(p, "dangling")), 0);
    assert_int_equal(io_mkdir_p(in(p, "dangling"), &p->err), ERR_INVALID);
}

static void test_relative_mkdir_p(void **state)
{
    struct place *p = *state;
    CLEANUP(free_p) char *here = getcwd(NULL, 0);
    assert_non_null(here);
    assert_int_equal(chdir(p->dir), 0);
    int rc = io_mkdir_p("rel/ative", &p->err);
    assert_int_equal(chdir(here), 0);
    assert_int_equal(rc, 0);
    assert_int_equal(access(in(p, "rel/ative"), F_OK), 0);
}

static void test_remove_tree(void **state)
{
    struct place *p = *state;
    assert_int_equal(io_mkdir_p(in(p, "keep"), &p->err), 0);
    put(p, "keep/precious", "text");
    assert_int_equal(io_mkdir_p(in(p, "gone/a/b/c"), &p->err), 0);
    put(p, "gone/.hidden", "");
    put(p, "gone/a/b/file", "");
    /* Links to a folder, to a file, up and nowhere: removed themselves, never followed. */
    assert_int_equal(symlink(in(p, "keep"), in(p, "gone/a/link")), 0);
    assert_int_equal(symlink(in(p, "keep/precious"), in(p, "gone/file-link")), 0);
    assert_int_equal(symlink("../..", in(p, "gone/a/up")), 0);
    assert_int_equal(symlink("nowhere", in(p, "gone/dangling")), 0);
    assert_int_equal(mkfifo(in(p, "gone/fifo"), 0600), 0);
    assert_int_equal(io_remove_tree(in(p, "gone"), &p->err), 0);
    assert_int_equal(access(in(p, "gone"), F_OK), -1);
    assert_int_equal(access(in(p, "keep/precious"), F_OK), 0);

    assert_int_equal(io_remove_tree(in(p, "gone"), &p->err), 0); /* missing: fine */
    assert_int_equal(io_remove_tree(in(p, "gone/below"), &p->err), 0);
    assert_int_equal(symlink(in(p, "keep"), in(p, "top-link")), 0);
    assert_int_equal(io_remove_tree(in(p, "top-link"), &p->err), 0);
    assert_int_equal(access(in(p, "keep/precious"), F_OK), 0);
    assert_int_equal(io_remove_tree(in(p, "keep/precious"), &p->err), 0); /* a file is a small tree */
    assert_int_equal(access(in(p, "keep/precious"), F_OK), -1);
    assert_int_equal(io_remove_tree(in(p, "keep/"), &p->err), 0);
    assert_int_equal(access(in(p, "keep"), F_OK), -1);
}

/* Files of /proc cannot be removed: that is said, not that they are no folders. */
static void test_what_cannot_be_removed(void **state)
{
    struct place *p = *state;
    assert_int_equal(io_remove_tree("/proc/self/status", &p->err), ERR_INVALID);
    assert_true(p->err.sys == EPERM || p->err.sys == EACCES);
    assert_non_null(strstr(p->err.msg, "cannot remove '/proc/self/status'"));
}

static void test_remove_many(void **state)
{
    struct place *p = *state;
    assert_int_equal(io_mkdir_p(in(p, "many"), &p->err), 0);
    for (int i = 0; i < 3000; i++) {
        char name[32];
        snprintf(name, sizeof name, "many/%04d", i);
        put(p, name, "");
    }
    assert_int_equal(io_remove_tree(in(p, "many"), &p->err), 0);
    assert_int_equal(access(in(p, "many"), F_OK), -1);
}

static void test_sync_and_free_space(void **state)
{
    struct place *p = *state;
    assert_int_equal(io_sync_dir(p->dir, &p->err), 0);
    assert_int_equal(io_sync_dir(in(p, "none"), &p->err), ERR_NOT_FOUND);
    put(p, "file", "");
    assert_true(io_sync_dir(in(p, "file"), &p->err) < 0); /* not a folder */
    int64_t free_bytes = -1;
    assert_int_equal(io_free_bytes(p->dir, &free_bytes, &p->err), 0);
    assert_true(free_bytes > 0);
    assert_int_equal(io_free_bytes(in(p, "none"), &free_bytes, &p->err), ERR_NOT_FOUND);
}

static void test_room(void **state)
{
    struct place *p = *state;
    const int64_t tera = (int64_t)1 << 40;
    assert_int_equal(io_room(p->dir, 0, 0, &p->err), 0);
    assert_int_equal(io_room(p->dir, 1, 0, &p->err), 0);
    /* Too little now, which may pass: so much is to stay free. */
    assert_int_equal(io_room(p->dir, 0, 4096 * tera, &p->err), ERR_BUSY);
    assert_non_null(strstr(p->err.msg, "min_free_disk"));
    /* More than the disk has. */
    assert_int_equal(io_room(p->dir, 4096 * tera, 0, &p->err), ERR_TOO_LARGE);
    assert_non_null(strstr(p->err.msg, "are needed"));
    assert_int_equal(io_room(in(p, "none"), 0, 0, &p->err), ERR_NOT_FOUND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_read_file, setup, teardown),
        cmocka_unit_test_setup_teardown(test_whole_reads_and_writes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_full_disk, setup, teardown),
        cmocka_unit_test_setup_teardown(test_mkdir_p, setup, teardown),
        cmocka_unit_test_setup_teardown(test_relative_mkdir_p, setup, teardown),
        cmocka_unit_test_setup_teardown(test_remove_tree, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_cannot_be_removed, setup, teardown),
        cmocka_unit_test_setup_teardown(test_remove_many, setup, teardown),
        cmocka_unit_test_setup_teardown(test_sync_and_free_space, setup, teardown),
        cmocka_unit_test_setup_teardown(test_room, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
