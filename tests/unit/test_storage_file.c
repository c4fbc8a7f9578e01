/* SPDX-License-Identifier: MIT */
/* What only the local folder does: modes, links, full disks, leftovers. The rest is in tests/conformance. */
#include "base/buf.h"
#include "base/clock.h"
#include "base/io.h"
#include "base/mem.h"
#include "storage/storage.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "checks.h"

struct fix {
    char top[64]; /* private; the store is top/deep/objects */
    struct storage *s;
};

/* What the store syncs and renames, in order, by the end of each path: the linker puts these in the calls' place. */
static struct buf trace = BUF_INIT(4096);
static int fail_sync; /* the how manieth sync fails; 0: none */

int __real_fsync(int fd);
int __wrap_fsync(int fd);
int __real_renameat(int from_dir, const char *from, int to_dir, const char *to);
int __wrap_renameat(int from_dir, const char *from, int to_dir, const char *to);

int __wrap_fsync(int fd)
{
    char link[64], path[512];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    path[n > 0 ? n : 0] = '\0';
    const char *name = strrchr(path, '/');
    buf_addf(&trace, "%s ", !name ? "?" : strstr(path, "/.tmp/") ? "temp" : name + 1);
    if (fail_sync && --fail_sync == 0) {
        errno = EIO;
        return -1;
    }
    return __real_fsync(fd);
}

int __wrap_renameat(int from_dir, const char *from, int to_dir, const char *to)
{
    buf_adds(&trace, "rename ");
    return __real_renameat(from_dir, from, to_dir, to);
}

/* "<top>/<name>"; valid until the eighth call after it. */
static const char *in(const struct fix *f, const char *name)
{
    static char ring[8][512];
    static unsigned at;
    char *p = ring[at++ % 8];
    snprintf(p, 512, "%s/%s", f->top, name);
    return p;
}

static mode_t mode_of(const struct fix *f, const char *name)
{
    struct stat st;
    assert_int_equal(lstat(in(f, name), &st), 0);
    return st.st_mode & 07777;
}

static bool there(const struct fix *f, const char *name)
{
    struct stat st;
    return lstat(in(f, name), &st) == 0;
}

static int entries(const char *path)
{
    DIR *d = opendir(path);
    assert_non_null(d);
    int n = 0;
    while (readdir(d))
        n++;
    closedir(d);
    return n - 2;
}

static void make_file(const char *path, const char *text)
{
    CLEANUP(close_fd) int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
}

static int count(const char *key, const struct object_info *info, void *arg, struct err *err)
{
    (void)key;
    (void)info;
    (void)err;
    ++*(int *)arg;
    return 0;
}

static int set_up(void **state)
{
    static struct fix f;
    f = (struct fix){.top = "/tmp/steno-test-XXXXXX"};
    if (!mkdtemp(f.top))
        return -1;
    char url[128];
    snprintf(url, sizeof url, "file:%s/deep/objects", f.top);
    struct err err = ERR_INIT;
    *state = &f;
    return storage_open(url, &f.s, &err);
}

static int tear_down(void **state)
{
    struct fix *f = *state;
    struct err err = ERR_INIT;
    storage_close(f->s);
    return io_remove_tree(f->top, &err);
}

static void test_layout_and_modes(void **state)
{
    struct fix *f = *state;
    ok(storage_put_bytes(f->s, "uploads/1/a.mp3", "x", 1, e));
    assert_int_equal(mode_of(f, "deep"), 0700);
    assert_int_equal(mode_of(f, "deep/objects"), 0700);
    assert_int_equal(mode_of(f, "deep/objects/.tmp"), 0700);
    assert_int_equal(mode_of(f, "deep/objects/uploads"), 0700);
    assert_int_equal(mode_of(f, "deep/objects/uploads/1"), 0700);
    assert_int_equal(mode_of(f, "deep/objects/uploads/1/a.mp3"), 0400);
    assert_int_equal(entries(in(f, "deep/objects/.tmp")), 0);
    int64_t ms, free_bytes = -1;
    ok(storage_ping(f->s, &ms, &free_bytes, e));
    assert_true(free_bytes > 0);
    assert_int_equal(entries(in(f, "deep/objects/.tmp")), 0);
}

static void test_what_is_committed_is_synced(void **state)
{
    struct fix *f = *state;
    buf_reset(&trace);
    ok(storage_put_bytes(f->s, "uploads/1/x", "x", 1, e));
    assert_string_equal(buf_str(&trace), "temp objects uploads rename 1 ");
    /* Folders that stand already too: who made them may not have come to syncing them. */
    buf_reset(&trace);
    ok(storage_put_bytes(f->s, "uploads/1/y", "x", 1, e));
    assert_string_equal(buf_str(&trace), "temp objects uploads rename 1 ");
    buf_reset(&trace);
    ok(storage_put_bytes(f->s, "top", "x", 1, e));
    assert_string_equal(buf_str(&trace), "temp rename objects ");
}

static void test_without_sync_nothing_waits_for_the_disk(void **state)
{
    struct fix *f = *state;
    char url[128];
    snprintf(url, sizeof url, "file:%s/deep/objects", f->top);
    struct storage *s = NULL;
    struct object_info info;
    ok(storage_open_with(&(struct storage_opts){.url = url, .no_sync = true}, &s, e));
    buf_reset(&trace);
    ok(storage_put_bytes(s, "uploads/1/x", "x", 1, e));
    assert_string_equal(buf_str(&trace), "rename ");
    ok(storage_stat(f->s, "uploads/1/x", &info, e));
    storage_close(s);
}

static void test_a_failed_sync_is_no_success(void **state)
{
    struct fix *f = *state;
    struct object_info info;
    for (int i = 1; i <= 3; i++) { /* the file, and the folders before the rename */
        fail_sync = i;
        fails(UNAVAILABLE, storage_put_bytes(f->s, "uploads/1/x", "x", 1, e));
        assert_int_equal(fail_sync, 0);
        fails(NOT_FOUND, storage_stat(f->s, "uploads/1/x", &info, e));
        assert_int_equal(entries(in(f, "deep/objects")), 1); /* .tmp */
        assert_int_equal(entries(in(f, "deep/objects/.tmp")), 0);
    }
    fail_sync = 4; /* the folder after it: there, but maybe not after a power cut */
    fails(UNCERTAIN, storage_put_bytes(f->s, "uploads/1/x", "x", 1, e));
    assert_int_equal(fail_sync, 0);
    assert_int_equal(entries(in(f, "deep/objects/.tmp")), 0);
    ok(storage_put_bytes(f->s, "uploads/1/x", "x", 1, e));
    ok(storage_stat(f->s, "uploads/1/x", &info, e));
}

static void test_empty_folders_go(void **state)
{
    struct fix *f = *state;
    ok(storage_put_bytes(f->s, "a/b/c/1", "x", 1, e));
    ok(storage_put_bytes(f->s, "a/2", "x", 1, e));
    ok(storage_delete(f->s, "a/b/c/1", e));
    assert_false(there(f, "deep/objects/a/b"));
    assert_true(there(f, "deep/objects/a/2"));
    ok(storage_delete(f->s, "a/2", e));
    assert_int_equal(entries(in(f, "deep/objects")), 1); /* .tmp */
    /* Folders that a crash left empty go with the next delete below them. */
    assert_int_equal(mkdir(in(f, "deep/objects/a"), 0700), 0);
    assert_int_equal(mkdir(in(f, "deep/objects/a/b"), 0700), 0);
    ok(storage_delete(f->s, "a/b/none", e));
    assert_false(there(f, "deep/objects/a"));
}

static void test_links_lead_nowhere(void **state)
{
    struct fix *f = *state;
    assert_int_equal(mkdir(in(f, "outside"), 0700), 0);
    make_file(in(f, "outside/secret"), "secret");
    assert_int_equal(symlink(in(f, "outside"), in(f, "deep/objects/folder")), 0);
    assert_int_equal(symlink(in(f, "outside/secret"), in(f, "deep/objects/file")), 0);
    assert_int_equal(symlink("..", in(f, "deep/objects/up")), 0);

    static const char *const keys[] = {"folder/secret", "file", "up/objects/file", "file/x", "folder"};
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        struct storage_get *g = NULL;
        struct object_info info;
        fails(NOT_FOUND, storage_get_begin(f->s, keys[i], 0, &g, NULL, e));
        fails(NOT_FOUND, storage_stat(f->s, keys[i], &info, e));
        fails(NOT_FOUND, storage_fetch(f->s, keys[i], in(f, "copy"), e));
    }
    int n = 0;
    ok(storage_list(f->s, "", count, &n, e));
    ok(storage_list(f->s, "folder/", count, &n, e));
    ok(storage_list(f->s, "up/objects/", count, &n, e));
    assert_int_equal(n, 0);

    fails(CONFLICT, storage_put_bytes(f->s, "folder/new", "x", 1, e));
    fails(CONFLICT, storage_put_bytes(f->s, "folder/sub/new", "x", 1, e));
    fails(CONFLICT, storage_put_bytes(f->s, "up/new", "x", 1, e));
    ok(storage_delete(f->s, "folder/secret", e));
    assert_int_equal(entries(in(f, "outside")), 1);
    assert_int_equal(entries(in(f, "deep")), 1);
    assert_int_equal(entries(in(f, "deep/objects/.tmp")), 0);

    /* A put or delete of the link's own name is about the link, not about what it points to. */
    ok(storage_put_bytes(f->s, "file", "mine", 4, e));
    ok(storage_delete(f->s, "up", e));
    assert_false(there(f, "deep/objects/up"));
    char *text = NULL;
    ok(io_read_file(in(f, "outside/secret"), 100, &text, NULL, e));
    assert_string_equal(text, "secret");
    free(text);
    ok(storage_get_bytes(f->s, "file", 100, &text, NULL, e));
    assert_string_equal(text, "mine");
    free(text);
}

static void test_a_linked_temp_folder_is_refused(void **state)
{
    struct fix *f = *state;
    char url[128];
    struct storage *s = NULL;
    assert_int_equal(mkdir(in(f, "other"), 0700), 0);
    assert_int_equal(symlink(f->top, in(f, "other/.tmp")), 0);
    snprintf(url, sizeof url, "file:%s/other", f->top);
    struct err err = ERR_INIT;
    assert_true(storage_open(url, &s, &err) < 0);
    assert_null(s);
}

static void test_strangers_are_no_objects(void **state)
{
    struct fix *f = *state;
    char big[300] = "deep/objects/";
    memset(big + 13, 'n', 250);
    make_file(in(f, "deep/objects/.DS_Store"), "x");
    make_file(in(f, "deep/objects/new\nline"), "x");
    make_file(in(f, "deep/objects/bad\xff"), "x");
    make_file(in(f, big), "x");
    assert_int_equal(mkfifo(in(f, "deep/objects/pipe"), 0600), 0);
    struct storage_get *g = NULL;
    fails(NOT_FOUND, storage_get_begin(f->s, "pipe", 0, &g, NULL, e)); /* and does not wait for a writer */
    fails(NOT_FOUND, storage_fetch(f->s, "pipe", in(f, "copy"), e));
    int n = 0;
    ok(storage_list(f->s, "", count, &n, e));
    assert_int_equal(n, 1);
    /* Deeper than any key: a walk that followed it down would run out of descriptors. */
    char deep[400];
    snprintf(deep, sizeof deep, "%s/deep/objects", f->top);
    for (int i = 0; i < 100; i++) {
        strncat(deep, "/d", sizeof deep - strlen(deep) - 1);
        assert_int_equal(mkdir(deep, 0700), 0);
    }
    strncat(deep, "/x", sizeof deep - strlen(deep) - 1);
    make_file(deep, "x");
    n = 0;
    struct rlimit old, few;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
    few = (struct rlimit){.rlim_cur = 64, .rlim_max = old.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    struct err err = ERR_INIT;
    int rc = storage_list(f->s, "", count, &n, &err);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
    assert_int_equal(rc, 0);
    assert_int_equal(n, 1);
}

static void test_an_object_is_no_folder(void **state)
{
    struct fix *f = *state;
    ok(storage_put_bytes(f->s, "a/b", "x", 1, e));
    fails(CONFLICT, storage_put_bytes(f->s, "a/b/c", "x", 1, e));
    fails(CONFLICT, storage_put_bytes(f->s, "a/b/c/d", "x", 1, e));
    fails(CONFLICT, storage_put_bytes(f->s, "a", "x", 1, e));
    assert_int_equal(entries(in(f, "deep/objects/a")), 1);
    assert_int_equal(entries(in(f, "deep/objects/.tmp")), 0);
    ok(storage_delete(f->s, "a/b/c", e)); /* not there */
    ok(storage_delete(f->s, "a", e));
    struct object_info info;
    ok(storage_stat(f->s, "a/b", &info, e));
}

static void test_sweep_tells_dead_from_living(void **state)
{
    struct fix *f = *state;
    struct storage_put *p = NULL;
    int64_t now = clock_wall_ms();
    struct timespec old[2] = {{.tv_sec = now / 1000 - 7200}, {.tv_sec = now / 1000 - 7200}};
    ok(storage_put_begin(f->s, "living", &p, e));
    ok(storage_put_write(p, "x", 1, e));
    make_file(in(f, "deep/objects/.tmp/dead-old"), "x");
    make_file(in(f, "deep/objects/.tmp/dead-young"), "x");
    assert_int_equal(mkdir(in(f, "deep/objects/.tmp/folder"), 0700), 0);
    /* Everything looks two hours old but the young one. */
    DIR *d = opendir(in(f, "deep/objects/.tmp"));
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d));)
        if (e->d_name[0] != '.' && strcmp(e->d_name, "dead-young") != 0)
            assert_int_equal(utimensat(dirfd(d), e->d_name, old, 0), 0);
    closedir(d);
    int removed = -1;
    ok(storage_sweep(f->s, now - 3600000, &removed, e));
    assert_int_equal(removed, 1);
    assert_false(there(f, "deep/objects/.tmp/dead-old"));
    assert_true(there(f, "deep/objects/.tmp/dead-young"));
    struct object_info info;
    ok(storage_put_commit(p, &info, e));
    ok(storage_stat(f->s, "living", &info, e));
    assert_true(info.modified_ms >= now - 1000); /* of the commit, not of the last byte */
}

static void test_a_lost_temp_file_is_an_error(void **state)
{
    struct fix *f = *state;
    struct storage_put *p = NULL;
    ok(storage_put_begin(f->s, "a/b/x", &p, e));
    DIR *d = opendir(in(f, "deep/objects/.tmp"));
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d));)
        if (e->d_name[0] != '.')
            assert_int_equal(unlinkat(dirfd(d), e->d_name, 0), 0);
    closedir(d);
    fails(UNAVAILABLE, storage_put_commit(p, NULL, e));
    assert_false(there(f, "deep/objects/a"));
    /* Neither does a store whose folder is gone take objects that nobody would find. */
    ok(io_remove_tree(in(f, "deep/objects"), e));
    int64_t ms, free_bytes;
    fails(UNAVAILABLE, storage_put_bytes(f->s, "x", "x", 1, e));
    fails(UNAVAILABLE, storage_ping(f->s, &ms, &free_bytes, e));
}

/* Runs in a child; its exit status names the check that failed. */
static int use_full_store(const char *folder, const char *sentence)
{
    char url[128];
    static const char block[1 << 16];
    struct err err = ERR_INIT;
    struct storage *s = NULL;
    struct storage_put *p = NULL;
    snprintf(url, sizeof url, "file:%s", folder);
    if (storage_open(url, &s, &err) < 0 || storage_put_bytes(s, "before", "kept", 4, &err) < 0 ||
        storage_put_bytes(s, "spare", block, sizeof block, &err) < 0)
        return 10;
    if (storage_put_begin(s, "big/file", &p, &err) < 0)
        return 11;
    int rc = 0;
    for (int i = 0; i < 64 && rc >= 0; i++) /* 4 MB into 1 */
        rc = storage_put_write(p, block, sizeof block, &err);
    if (rc != ERR_UNAVAILABLE || !strstr(err.msg, sentence) || !strstr(err.msg, folder))
        return 12;
    /* That there is room again is no reason to go on behind a hole. */
    if (storage_delete(s, "spare", &err) < 0 || storage_put_write(p, "x", 1, &err) != ERR_UNAVAILABLE)
        return 13;
    if (storage_put_commit(p, NULL, &err) != ERR_UNAVAILABLE)
        return 14;
    struct object_info info;
    int removed = -1;
    if (storage_stat(s, "big/file", &info, &err) != ERR_NOT_FOUND)
        return 15;
    if (storage_sweep(s, clock_wall_ms() + 3600000, &removed, &err) < 0 || removed != 0)
        return 16;
    /* The aborted write gave its room back. */
    if (storage_put_bytes(s, "after", block, sizeof block, &err) < 0)
        return 17;
    char *text = NULL;
    if (storage_get_bytes(s, "before", 10, &text, NULL, &err) < 0 || strcmp(text, "kept") != 0)
        return 18;
    free(text);
    storage_close(s);
    return 0;
}

static bool mount_small_disk(const char *folder)
{
    /* In a mount namespace of this process, so that nothing stays behind. */
    return unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
           mount("none", folder, "tmpfs", 0, "size=1m") == 0;
}

static int child_status(pid_t child)
{
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void test_full_disk(void **state)
{
    struct fix *f = *state;
    assert_int_equal(mkdir(in(f, "small"), 0700), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        if (mount_small_disk(in(f, "small")))
            _exit(use_full_store(in(f, "small"), "disk full"));
        _exit(99);
    }
    int status = child_status(child);
    if (status != 99) {
        print_message("# ran on a tmpfs of 1 MB\n");
        assert_int_equal(status, 0);
        return;
    }
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        signal(SIGXFSZ, SIG_IGN);
        struct rlimit one_mb = {1 << 20, 1 << 20};
        if (setrlimit(RLIMIT_FSIZE, &one_mb) < 0)
            _exit(98);
        _exit(use_full_store(in(f, "small"), "limit on file sizes"));
    }
    print_message("# may not mount here: ran with a limit on file sizes instead\n");
    assert_int_equal(child_status(child), 0);
}

static void test_fetch_links_where_it_can(void **state)
{
    struct fix *f = *state;
    struct stat a, b;
    ok(storage_put_bytes(f->s, "x", "sound", 5, e));
    ok(storage_fetch(f->s, "x", in(f, "copy"), e));
    assert_int_equal(stat(in(f, "deep/objects/x"), &a), 0);
    assert_int_equal(stat(in(f, "copy"), &b), 0);
    assert_int_equal(a.st_ino, b.st_ino);
    /* Overwriting makes a new file: the linked one is never touched. */
    ok(storage_put_bytes(f->s, "x", "other", 5, e));
    char *text = NULL;
    ok(io_read_file(in(f, "copy"), 100, &text, NULL, e));
    assert_string_equal(text, "sound");
    free(text);
}

static void test_fetch_copies_to_another_disk(void **state)
{
    struct fix *f = *state;
    char other[] = "/dev/shm/steno-test-XXXXXX", path[64], *text = NULL;
    struct stat a, b;
    if (!mkdtemp(other)) {
        print_message("# no second file system here\n");
        skip();
    }
    assert_int_equal(stat(other, &a), 0);
    assert_int_equal(stat(f->top, &b), 0);
    size_t n = 300000, got = 0;
    char *big = malloc(n);
    assert_non_null(big);
    for (size_t i = 0; i < n; i++)
        big[i] = (char)(i * 31 + i / 251);
    snprintf(path, sizeof path, "%s/copy", other);
    ok(storage_put_bytes(f->s, "x", big, n, e));
    ok(storage_fetch(f->s, "x", path, e));
    fails(CONFLICT, storage_fetch(f->s, "x", path, e));
    ok(io_read_file(path, n, &text, &got, e));
    assert_int_equal(got, n);
    assert_memory_equal(text, big, n);
    free(text);
    free(big);
    ok(io_remove_tree(other, e));
    if (a.st_dev == b.st_dev) {
        print_message("# no second file system here\n");
        skip();
    }
}

int main(void)
{
#define with_store(t) cmocka_unit_test_setup_teardown(t, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        with_store(test_layout_and_modes),
        with_store(test_what_is_committed_is_synced),
        with_store(test_without_sync_nothing_waits_for_the_disk),
        with_store(test_a_failed_sync_is_no_success),
        with_store(test_empty_folders_go),
        with_store(test_links_lead_nowhere),
        with_store(test_a_linked_temp_folder_is_refused),
        with_store(test_strangers_are_no_objects),
        with_store(test_an_object_is_no_folder),
        with_store(test_sweep_tells_dead_from_living),
        with_store(test_a_lost_temp_file_is_an_error),
        with_store(test_full_disk),
        with_store(test_fetch_links_where_it_can),
        with_store(test_fetch_copies_to_another_disk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
