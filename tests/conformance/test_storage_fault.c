/* SPDX-License-Identifier: MIT */
/*
 * Each operation of a small life of objects fails in turn: before it is done, after it was done, a write by half.
 * Whoever was told "stored" finds it; whoever was told "failed" finds what was there before; nobody finds a half.
 * store_open.h says on which store.
 */
#include "store_open.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/io.h"
#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "checks.h"

enum { PIECE = 700000, PIECES = 9 }; /* more than one part of an S3 upload */

static char folder[64], piece[PIECE];

/* One life on a store that fails somewhere; what each step said. */
struct said {
    int put, stat, get, fetch, list, del;
    bool get_right;
};

static int put_new(struct storage *s, struct err *err)
{
    struct storage_put *p = NULL;
    int rc = storage_put_begin(s, "a/kept", &p, err);
    for (int i = 0; rc >= 0 && i < PIECES; i++)
        rc = storage_put_write(p, piece, sizeof piece, err);
    if (rc < 0) {
        storage_put_abort(p);
        return rc;
    }
    return storage_put_commit(p, NULL, err);
}

static int count_one(const char *key, const struct object_info *info, void *arg, struct err *err)
{
    (void)key;
    (void)info;
    (void)err;
    ++*(int *)arg;
    return 0;
}

static bool is_old(const char *text, size_t n)
{
    return n == 3 && memcmp(text, "old", 3) == 0;
}

static bool is_new(const char *text, size_t n)
{
    return n == (size_t)PIECE * PIECES && text[0] == 'n' && memcmp(text, text + 1, n - 1) == 0;
}

static void live(struct storage *s, const char *path, struct said *said)
{
    struct err err = ERR_INIT;
    struct object_info info;
    char *text = NULL;
    size_t n = 0;
    int seen = 0;
    said->put = put_new(s, &err);
    said->stat = storage_stat(s, "a/kept", &info, &err);
    said->get = storage_get_bytes(s, "a/kept", (size_t)PIECE * PIECES, &text, &n, &err);
    said->get_right = said->get < 0 || is_old(text, n) || is_new(text, n);
    free(text);
    said->fetch = storage_fetch(s, "a/kept", path, &err);
    said->list = storage_list(s, "a/", count_one, &seen, &err);
    said->del = storage_delete(s, "a/dropped", &err);
}

static void check(struct storage *s, const char *plan, const char *path, const struct said *said)
{
    char *text = NULL;
    size_t n = 0;
    struct object_info info;
    struct err err = ERR_INIT;
    ok(storage_get_bytes(s, "a/kept", (size_t)PIECE * PIECES, &text, &n, e));
    bool old = is_old(text, n), new = is_new(text, n);
    free(text);
    if (!old && !new)
        fail_msg("%s: half an object", plan);
    if (said->put >= 0 ? !new : said->put != ERR_UNCERTAIN && !old)
        fail_msg("%s: the write said %s, and the object is the %s one", plan, err_name(said->put), old ? "old" : "new");
    if (!said->get_right)
        fail_msg("%s: a reader got half an object", plan);
    if ((said->fetch >= 0) != (access(path, F_OK) == 0))
        fail_msg("%s: the fetch said %s", plan, err_name(said->fetch));
    unlink(path);
    int rc = storage_stat(s, "a/dropped", &info, &err);
    if (said->del >= 0 && rc != ERR_NOT_FOUND)
        fail_msg("%s: what was deleted is there", plan);
    int removed = 0;
    ok(storage_sweep(s, clock_wall_ms() + 3600000, &removed, e));
    ok(storage_sweep(s, clock_wall_ms() + 3600000, &removed, e));
    assert_int_equal(removed, 0);
}

/* Every plan "storage=fail@1", "storage=fail@2" ... until the life is over before the fault strikes. */
static void each(const char *plan_start)
{
    char path[100];
    snprintf(path, sizeof path, "%s/fetched", folder);
    bool struck = true;
    int n = 1;
    for (; struck; n++) {
        char plan[32];
        snprintf(plan, sizeof plan, "%s@%d", plan_start, n);
        struct storage *s = NULL;
        struct said said = {0};
        ok(store_open(folder, &s, e));
        ok(storage_put_bytes(s, "a/kept", "old", 3, e));
        ok(storage_put_bytes(s, "a/dropped", "x", 1, e));
        fault_reset();
        assert_int_equal(setenv("STENO_FAULT", plan, 1), 0);
        live(s, path, &said);
        unsetenv("STENO_FAULT");
        struck = fault_reset();
        check(s, plan, path, &said);
        bool failed = said.put < 0 || said.stat < 0 || said.get < 0 || said.fetch < 0 || said.list < 0 || said.del < 0;
        if (failed != struck)
            fail_msg("%s: struck %d, failed %d", plan, struck, failed);
        storage_close(s);
    }
    /* begin, writes, commit, and more behind them; reads come in pieces of any size. */
    assert_true(n > PIECES + (strcmp(plan_start, "storage_write=cut") == 0 ? 0 : 8));
}

static void test_not_done(void **state)
{
    (void)state;
    each("storage=fail");
}

static void test_answer_lost(void **state)
{
    (void)state;
    each("storage=lost");
}

static void test_write_cut(void **state)
{
    (void)state;
    each("storage_write=cut");
}

static void test_some_of_them(void **state)
{
    (void)state;
    struct storage *s = NULL;
    int failed = 0;
    ok(store_open(folder, &s, e));
    fault_reset();
    assert_int_equal(setenv("STENO_FAULT", "storage=fail/3", 1), 0);
    for (int i = 0; i < 9; i++) {
        struct err err = ERR_INIT;
        failed += storage_delete(s, "a/none", &err) < 0;
    }
    assert_int_equal(failed, 3);
    assert_int_equal(setenv("STENO_FAULT", "storage_delete(bad)=fail", 1), 0);
    struct err err = ERR_INIT;
    assert_int_equal(storage_delete(s, "a/bad one", &err), ERR_UNAVAILABLE);
    assert_non_null(strstr(err.msg, "injected fault at storage_delete"));
    ok(storage_delete(s, "a/none", e));
    unsetenv("STENO_FAULT");
    storage_close(s);
}

static int make_folder(void **state)
{
    (void)state;
    memset(piece, 'n', sizeof piece);
    snprintf(folder, sizeof folder, "/tmp/steno-test-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_one(const char *key, const struct object_info *info, void *arg, struct err *err)
{
    (void)info;
    return storage_delete(arg, key, err);
}

static int remove_folder(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    struct storage *s = NULL;
    int rc = store_open(folder, &s, &err);
    if (rc >= 0)
        rc = storage_list(s, "", remove_one, s, &err);
    storage_close(s);
    return rc < 0 ? rc : io_remove_tree(folder, &err);
}

int main(int argc, char **argv)
{
    if (store_skip(argc, argv, "storage faults"))
        return 0;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_not_done),
        cmocka_unit_test(test_answer_lost),
        cmocka_unit_test(test_write_cut),
        cmocka_unit_test(test_some_of_them),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
