/* SPDX-License-Identifier: MIT */
/*
 * What only the SQLite driver promises: when it syncs, and what it says when the disk fails.
 *
 * Syncs are counted, slowed down and failed by functions of this program that stand before those of libc; writes are
 * failed through SQLite's own table of system calls.
 */
#include "fixture.h"

#include "base/clock.h"
#include "base/io.h"
#include "base/str.h"
#include "base/thread.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static atomic_int log_syncs, file_syncs; /* of the write-ahead log, of the database file */
static atomic_int sync_ms;               /* a sync takes that much longer */
static atomic_int fail_log_syncs;        /* this many fail */
static atomic_int write_errno;           /* writes fail with it */

int fdatasync(int fd)
{
    char link[64], path[256];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    path[n > 0 ? n : 0] = '\0';
    if (atomic_load(&sync_ms))
        clock_sleep_ms(atomic_load(&sync_ms));
    if (str_ends(path, "-wal")) {
        atomic_fetch_add(&log_syncs, 1);
        if (atomic_load(&fail_log_syncs) > 0) {
            atomic_fetch_sub(&fail_log_syncs, 1);
            errno = EIO;
            return -1;
        }
    } else if (str_ends(path, ".db")) {
        atomic_fetch_add(&file_syncs, 1);
    }
    return (int)syscall(SYS_fdatasync, fd);
}

int fsync(int fd)
{
    return fdatasync(fd);
}

typedef ssize_t (*pwrite_fn)(int, const void *, size_t, off_t);
static pwrite_fn real_pwrite;

static ssize_t failing_pwrite(int fd, const void *p, size_t n, off_t at)
{
    int sys = atomic_load(&write_errno);
    if (!sys)
        return real_pwrite(fd, p, n, at);
    errno = sys;
    return -1;
}

static int setup_group(void **state)
{
    sqlite3_vfs *v = sqlite3_vfs_find(NULL);
    real_pwrite = (pwrite_fn)v->xGetSystemCall(v, "pwrite64");
    if (!real_pwrite || v->xSetSystemCall(v, "pwrite64", (sqlite3_syscall_ptr)failing_pwrite) != SQLITE_OK)
        return -1;
    return fixture_setup_group(state);
}

/* These suites need a file of their own. */
static int setup(void **state)
{
    struct err e = ERR_INIT;
    atomic_store(&sync_ms, 0);
    atomic_store(&fail_log_syncs, 0);
    atomic_store(&write_errno, 0);
    if (fixture_setup(state) < 0)
        return -1;
    struct fixture *f = *state;
    return fixture_exec(f->db, "CREATE TABLE t (id BIGINT PRIMARY KEY, s TEXT)", &e) < 0 ? -1 : 0;
}

static const char *db_path(const struct fixture *f)
{
    return f->url + strlen("sqlite:");
}

static int insert_fn(struct db_tx *tx, void *arg, struct err *err)
{
    (void)arg;
    return db_exec(tx, "INSERT INTO t (id) SELECT count(*) FROM t", DB_NO_ARGS, err) < 0 ? err->code : 0;
}

static int insert(struct db *db, enum db_durability how, struct err *err)
{
    return db_write(db, how, insert_fn, NULL, err);
}

/* ---- durability ---- */

static int syncs_of(struct db *db, enum db_durability how)
{
    struct err e = ERR_INIT;
    int before = atomic_load(&log_syncs);
    OK(insert(db, how, &e));
    return atomic_load(&log_syncs) - before;
}

static void test_durable_commits_sync_and_relaxed_ones_do_not(void **state)
{
    struct fixture *f = *state;
    syncs_of(f->db, DB_DURABLE); /* the first commit to a new log also syncs its header */
    for (int i = 0; i < 10; i++) {
        assert_int_equal(syncs_of(f->db, DB_RELAXED), 0);
        assert_int_equal(syncs_of(f->db, DB_RELAXED), 0);
        assert_int_equal(syncs_of(f->db, DB_DURABLE), 1);
        assert_int_equal(syncs_of(f->db, DB_DURABLE), 1);
    }
}

struct inserter {
    struct db *db;
    int n, bad;
};

static void *insert_many(void *arg)
{
    struct inserter *w = arg;
    struct err e = ERR_INIT;
    for (int i = 0; i < w->n; i++)
        w->bad += insert(w->db, DB_DURABLE, &e) != 0;
    return NULL;
}

static void test_threads_share_syncs(void **state)
{
    struct fixture *f = *state;
    enum { N = 8, EACH = 25 };
    struct inserter w[N];
    for (int i = 0; i < N; i++)
        w[i] = (struct inserter){f->db, EACH, 0};
    /* While one waits for the disk, the seven others have all the time they need to queue up. */
    atomic_store(&sync_ms, 20);
    int before = atomic_load(&log_syncs);
    fixture_threads(N, insert_many, w, sizeof w[0]);
    int syncs = atomic_load(&log_syncs) - before;
    for (int i = 0; i < N; i++)
        assert_int_equal(w[i].bad, 0);
    assert_int_equal(fixture_int(f->db, "SELECT count(*) FROM t"), N * EACH);
    assert_in_range(syncs, EACH, N * EACH / 3);
}

struct failing {
    struct db *db;
    int fail, rc;
    struct err e;
};

static int insert_or_fail(struct db_tx *tx, void *arg, struct err *err)
{
    struct failing *c = arg;
    int rc = insert_fn(tx, NULL, err);
    return rc >= 0 && c->fail ? err_set(err, ERR_CANCELLED, "not this one") : rc;
}

static void *write_one(void *arg)
{
    struct failing *c = arg;
    c->rc = db_write(c->db, DB_DURABLE, insert_or_fail, c, &c->e);
    return NULL;
}

static void test_one_of_a_group_fails_alone(void **state)
{
    struct fixture *f = *state;
    enum { N = 9 };
    struct failing c[N];
    for (int i = 0; i < N; i++)
        c[i] = (struct failing){.db = f->db, .fail = i % 3 == 1};
    atomic_store(&sync_ms, 200);
    int before = atomic_load(&log_syncs);
    fixture_threads(N, write_one, c, sizeof c[0]);
    assert_in_range(atomic_load(&log_syncs) - before, 1, N - 4); /* they did go together */
    for (int i = 0; i < N; i++)
        assert_int_equal(c[i].rc, c[i].fail ? ERR_CANCELLED : 0);
    assert_int_equal(fixture_int(f->db, "SELECT count(*) FROM t"), N - N / 3);
}

/* ---- a disk that fails ---- */

static void test_a_failed_sync_is_uncertain(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    OK(insert(f->db, DB_RELAXED, &e));
    atomic_store(&fail_log_syncs, 1);
    FAILS(ERR_UNCERTAIN, "not known whether", insert(f->db, DB_DURABLE, &e));
    /* The kernel may have dropped pages of the log: before the next commit all of it goes into the file. */
    int before = atomic_load(&file_syncs);
    OK(insert(f->db, DB_RELAXED, &e));
    assert_true(atomic_load(&file_syncs) > before);
    before = atomic_load(&file_syncs);
    OK(insert(f->db, DB_RELAXED, &e));
    assert_int_equal(atomic_load(&file_syncs), before);
    assert_in_range(fixture_int(f->db, "SELECT count(*) FROM t"), 3, 4);
    assert_int_equal(fixture_int(f->db, "SELECT count(*) FROM pragma_integrity_check WHERE integrity_check = 'ok'"), 1);
}

static void test_doubt_stays_until_the_disk_works(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    OK(insert(f->db, DB_RELAXED, &e));
    atomic_store(&fail_log_syncs, 3);
    FAILS(ERR_UNCERTAIN, "not known whether", insert(f->db, DB_DURABLE, &e));
    FAILS(ERR_UNAVAILABLE, "error", insert(f->db, DB_RELAXED, &e)); /* nothing was begun: this one is certain */
    FAILS(ERR_UNAVAILABLE, "error", insert(f->db, DB_DURABLE, &e));
    OK(insert(f->db, DB_DURABLE, &e));
    assert_in_range(fixture_int(f->db, "SELECT count(*) FROM t"), 2, 3);
}

static void test_a_full_disk_is_clean(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    static const int full[] = {ENOSPC, EDQUOT, EFBIG};
    OK(insert(f->db, DB_DURABLE, &e));
    for (size_t i = 0; i < ARRAY_LEN(full); i++) {
        atomic_store(&write_errno, full[i]);
        FAILS(ERR_UNAVAILABLE, "disk is full", insert(f->db, DB_DURABLE, &e));
        FAILS(ERR_UNAVAILABLE, "disk is full", insert(f->db, DB_RELAXED, &e));
        atomic_store(&write_errno, 0);
        assert_int_equal(fixture_int(f->db, "SELECT count(*) FROM t"), (int64_t)i + 1);
        OK(insert(f->db, DB_DURABLE, &e));
    }
}

static void *insert_one(void *arg)
{
    struct failing *c = arg;
    c->rc = insert(c->db, DB_DURABLE, &c->e);
    return NULL;
}

static void test_a_full_disk_fails_the_whole_group(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    enum { N = 8 };
    struct failing c[N];
    for (int i = 0; i < N; i++)
        c[i] = (struct failing){.db = f->db};
    atomic_store(&write_errno, ENOSPC);
    fixture_threads(N, insert_one, c, sizeof c[0]);
    atomic_store(&write_errno, 0);
    for (int i = 0; i < N; i++) {
        assert_int_equal(c[i].rc, ERR_UNAVAILABLE);
        assert_non_null(strstr(c[i].e.msg, "disk is full"));
    }
    assert_int_equal(fixture_int(f->db, "SELECT count(*) FROM t"), 0);
    OK(insert(f->db, DB_DURABLE, &e));
}

/* More than the page cache holds, so that it is written before the commit, and SQLite gives the transaction up. */
static int insert_much(struct db_tx *tx, void *arg, struct err *err)
{
    (void)arg;
    return db_exec(tx,
                   "INSERT INTO t (id, s) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n "
                   "WHERE i < 20000) SELECT i, hex(randomblob(400)) FROM n",
                   DB_NO_ARGS, err) < 0
               ? err->code
               : 0;
}

static void test_a_disk_that_fills_within_a_transaction(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    atomic_store(&write_errno, ENOSPC);
    FAILS(ERR_UNAVAILABLE, "disk is full", db_write(f->db, DB_DURABLE, insert_much, NULL, &e));
    atomic_store(&write_errno, 0);
    assert_int_equal(fixture_int(f->db, "SELECT count(*) FROM t"), 0);
    OK(insert(f->db, DB_DURABLE, &e));
}

static int write_beyond_limit(struct fixture *f, int i)
{
    struct err e = ERR_INIT;
    struct db *db = NULL;
    (void)i;
    CHILD_OK(fixture_open_db(f, 1, 1000, &db, &e));
    /* As a quota would: the kernel refuses to let a file grow. */
    sigaction(SIGXFSZ, &(struct sigaction){.sa_handler = SIG_IGN}, NULL);
    setrlimit(RLIMIT_FSIZE, &(struct rlimit){1 << 20, RLIM_INFINITY});
    int rc = db_write(db, DB_DURABLE, insert_much, NULL, &e);
    bool good = rc == ERR_UNAVAILABLE && strstr(e.msg, "disk is full");
    if (!good)
        fprintf(stderr, "got %d: %s\n", rc, e.msg);
    good = good && insert(db, DB_DURABLE, &e) == 0;
    db_close(db);
    return good ? 0 : 1;
}

static void test_a_file_that_may_not_grow(void **state)
{
    struct fixture *f = *state;
    fixture_fork(f, 1, write_beyond_limit);
    assert_int_equal(fixture_int(f->db, "SELECT count(*) FROM t"), 1);
}

static void drop_root(void)
{
    if (geteuid() == 0 && (setgid(65534) || setuid(65534)))
        _exit(2);
}

static int open_unwritable_file(struct fixture *f, int i)
{
    struct err e = ERR_INIT;
    struct db *db = NULL;
    (void)i;
    chmod(db_path(f), 0444);
    drop_root();
    int rc = fixture_open_db(f, 1, 1000, &db, &e);
    bool good = rc == ERR_UNAVAILABLE && strstr(e.msg, "check owner and mode");
    if (!good)
        fprintf(stderr, "got %d: %s\n", rc, e.msg);
    return good ? 0 : 1;
}

static int open_in_unwritable_folder(struct fixture *f, int i)
{
    struct err e = ERR_INIT;
    struct db *db = NULL;
    (void)i;
    chmod(f->folder, 0555);
    drop_root();
    struct db_opts o = {.url = xasprintf("sqlite:%s/new.db", f->folder), .readers = 1, .busy_ms = 100};
    int rc = db_open(&o, &db, &e);
    bool good = rc == ERR_UNAVAILABLE && strstr(e.msg, "Permission denied");
    if (!good)
        fprintf(stderr, "got %d: %s\n", rc, e.msg);
    return good ? 0 : 1;
}

static void test_what_may_not_be_written(void **state)
{
    struct fixture *f = *state;
    chmod(f->folder, 0755);
    fixture_fork(f, 1, open_unwritable_file);
    chmod(db_path(f), 0600);
    fixture_fork(f, 1, open_in_unwritable_folder);
    chmod(f->folder, 0700);
}

static void test_a_missing_folder_and_a_relative_path(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    struct db *db = NULL;
    FAILS(ERR_UNAVAILABLE, "No such file",
          db_open(&(struct db_opts){.url = "sqlite:/nowhere/at/all.db", .readers = 1}, &db, &e));
    FAILS(ERR_INVALID, "absolute path", db_open(&(struct db_opts){.url = "sqlite:steno.db", .readers = 1}, &db, &e));
    FAILS(ERR_UNAVAILABLE, "unable to open", db_open(&(struct db_opts){.url = "sqlite:/tmp", .readers = 1}, &db, &e));
}

/* ---- a damaged file ---- */

static void overwrite(const char *path, off_t at, size_t n)
{
    char junk[4096];
    memset(junk, 'x', sizeof junk);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    for (size_t done = 0; done < n; done += sizeof junk)
        assert_int_equal(pwrite(fd, junk, sizeof junk, at + (off_t)done), sizeof junk);
    close(fd);
}

static void test_a_file_that_is_no_database(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    struct db *db = NULL;
    char path[128], url[160];
    snprintf(path, sizeof path, "%s/junk.db", f->folder);
    snprintf(url, sizeof url, "sqlite:%s", path);
    overwrite(path, 0, 8192);
    FAILS(ERR_CORRUPT, "damaged", db_open(&(struct db_opts){.url = url, .readers = 1}, &db, &e));
    assert_non_null(strstr(e.msg, path));
}

static int count_fn(struct db_tx *tx, void *arg, struct err *err)
{
    (void)arg;
    return db_query(tx, "SELECT sum(length(s)) FROM t", DB_NO_ARGS, NULL, NULL, err);
}

static void test_damage_in_the_middle(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    OK(db_write(f->db, DB_DURABLE, insert_much, NULL, &e));
    db_close(f->db);
    f->db = NULL;
    overwrite(db_path(f), 16 * 4096, 64 * 4096);
    OK(fixture_open_db(f, 1, 1000, &f->db, &e));
    FAILS(ERR_CORRUPT, "damaged", db_read(f->db, count_fn, NULL, &e));
    db_close(f->db);
    f->db = NULL;
    unlink(db_path(f)); /* of no use to the next test */
}

/* ---- files ---- */

static mode_t mode_of(const char *path)
{
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    return st.st_mode & 0777;
}

static void test_files_are_private(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    struct db *db = NULL;
    char path[128], url[160], other[160];
    snprintf(path, sizeof path, "%s/private.db", f->folder);
    snprintf(url, sizeof url, "sqlite:%s", path);
    mode_t old = umask(0);
    OK(db_open(&(struct db_opts){.url = url, .readers = 1}, &db, &e));
    umask(old);
    OK(fixture_exec(db, "CREATE TABLE t (id BIGINT)", &e));
    assert_int_equal(mode_of(path), 0600);
    snprintf(other, sizeof other, "%s-wal", path);
    assert_int_equal(mode_of(other), 0600);
    snprintf(other, sizeof other, "%s-shm", path);
    assert_int_equal(mode_of(other), 0600);
    db_close(db);
}

static void test_the_log_does_not_grow_for_ever(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    char log[160];
    struct stat st;
    snprintf(log, sizeof log, "%s-wal", db_path(f));
    for (int i = 0; i < 20000; i++) /* some 80 MB of pages */
        OK(insert(f->db, DB_RELAXED, &e));
    assert_int_equal(stat(log, &st), 0);
    assert_in_range(st.st_size, 1, 16 << 20);
}

/* ---- kill -9 ---- */

static int insert_until_killed(struct fixture *f, int fd)
{
    struct err e = ERR_INIT;
    struct db *db = NULL;
    CHILD_OK(fixture_open_db(f, 1, 5000, &db, &e));
    for (;;) {
        CHILD_OK(insert(db, DB_RELAXED, &e));
        if (write(fd, "x", 1) != 1)
            return 1;
    }
}

static void test_what_was_committed_survives_kill_9(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    for (int round = 0; round < 5; round++) {
        int64_t before = fixture_int(f->db, "SELECT count(*) FROM t");
        db_close(f->db);
        f->db = NULL;
        int fds[2];
        assert_int_equal(pipe(fds), 0);
        fflush(NULL);
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0)
            _exit(insert_until_killed(f, fds[1]));
        close(fds[1]);
        char c;
        int64_t told = 0;
        while (told < 200 && read(fds[0], &c, 1) == 1)
            told++;
        kill(pid, SIGKILL);
        while (read(fds[0], &c, 1) == 1)
            told++;
        close(fds[0]);
        waitpid(pid, NULL, 0);
        assert_true(told >= 200);
        OK(fixture_open_db(f, 8, 5000, &f->db, &e));
        /* One more may be committed and not told. */
        assert_in_range(fixture_int(f->db, "SELECT count(*) FROM t") - before, told, told + 1);
    }
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_durable_commits_sync_and_relaxed_ones_do_not),
        T(test_threads_share_syncs),
        T(test_one_of_a_group_fails_alone),
        T(test_a_failed_sync_is_uncertain),
        T(test_doubt_stays_until_the_disk_works),
        T(test_a_full_disk_is_clean),
        T(test_a_full_disk_fails_the_whole_group),
        T(test_a_disk_that_fills_within_a_transaction),
        T(test_a_file_that_may_not_grow),
        T(test_what_may_not_be_written),
        T(test_a_missing_folder_and_a_relative_path),
        T(test_a_file_that_is_no_database),
        T(test_damage_in_the_middle),
        T(test_files_are_private),
        T(test_the_log_does_not_grow_for_ever),
        T(test_what_was_committed_survives_kill_9),
    };
    return cmocka_run_group_tests(tests, setup_group, fixture_teardown_group);
}
