/* SPDX-License-Identifier: MIT */
/*
 * What every storage back end must do; store_open.h says which one. All keys start with a prefix of this run, so that a
 * store that holds other things can be used.
 */
#include "store_open.h"

#include "base/clock.h"
#include "base/id.h"
#include "base/io.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/thread.h"
#include "storage/storage.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "checks.h"

#define SHA_EMPTY "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define SHA_ABC   "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
/* Of 64 times the megabyte with byte i = (7i + 13(i >> 8) + 31(i >> 16)) mod 256, by Python's hashlib. */
#define SHA_LARGE "101c1ab408d34c09a43b919f4911226003e5f79b0ce296fce71513a25b9416cc"

static struct storage *store;
static char folder[64]; /* a private one, for fetched files */
static char run[ID_SIZE];

/* "<run>/name"; valid until the eighth call after it. */
static const char *key(const char *name)
{
    static char ring[8][512];
    static unsigned at;
    char *k = ring[at++ % 8];
    snprintf(k, 512, "%s/%s", run, name);
    return k;
}

static void put(const char *k, const char *text)
{
    ok(storage_put_bytes(store, k, text, strlen(text), e));
}

static void assert_holds(const char *k, const char *text)
{
    char *got = NULL;
    size_t n = 0;
    ok(storage_get_bytes(store, k, 1 << 20, &got, &n, e));
    assert_string_equal(got, text);
    assert_int_equal(n, strlen(text));
    free(got);
}

static void assert_missing(const char *k)
{
    struct object_info info;
    struct storage_get *g = NULL;
    fails(NOT_FOUND, storage_stat(store, k, &info, e));
    fails(NOT_FOUND, storage_get_begin(store, k, 0, &g, NULL, e));
    assert_null(g);
}

static void test_round_trip(void **state)
{
    (void)state;
    struct storage_put *p = NULL;
    struct object_info info, seen;
    int64_t before = clock_wall_ms();
    ok(storage_put_begin(store, key("a/abc"), &p, e));
    ok(storage_put_write(p, "a", 1, e));
    ok(storage_put_write(p, "", 0, e));
    assert_missing(key("a/abc"));
    ok(storage_put_write(p, "bc", 2, e));
    ok(storage_put_commit(p, &info, e));
    assert_int_equal(info.size, 3);
    assert_string_equal(info.sha256, SHA_ABC);
    assert_holds(key("a/abc"), "abc");
    ok(storage_stat(store, key("a/abc"), &seen, e));
    assert_int_equal(seen.size, 3);
    assert_string_equal(seen.sha256, "");
    /* The store's clock may be another machine's: minutes apart would be wrong, a second is not. */
    assert_true(seen.modified_ms > before - 60000 && seen.modified_ms < clock_wall_ms() + 60000);

    ok(storage_put_begin(store, key("a/empty"), &p, e));
    ok(storage_put_commit(p, &info, e));
    assert_int_equal(info.size, 0);
    assert_string_equal(info.sha256, SHA_EMPTY);
    assert_holds(key("a/empty"), "");
}

static void test_overwrite_keeps_readers_whole(void **state)
{
    (void)state;
    char old[5000], buf[5001] = "";
    memset(old, 'o', sizeof old);
    struct storage_get *g = NULL;
    struct err err = ERR_INIT;
    for (int with_delete = 0; with_delete < 2; with_delete++) {
        ok(storage_put_bytes(store, key("over"), old, sizeof old, e));
        ok(storage_get_begin(store, key("over"), 0, &g, NULL, e));
        ssize_t have = storage_get_read(g, buf, 10, &err);
        assert_true(have > 0);
        if (with_delete)
            ok(storage_delete(store, key("over"), e));
        else
            put(key("over"), "new");
        for (ssize_t k; (k = storage_get_read(g, buf + have, sizeof buf - (size_t)have, &err)) > 0;)
            have += k;
        storage_get_end(g);
        assert_int_equal(have, sizeof old);
        assert_memory_equal(buf, old, sizeof old);
        if (with_delete)
            assert_missing(key("over"));
        else
            assert_holds(key("over"), "new");
    }
}

static void test_abort_leaves_nothing(void **state)
{
    (void)state;
    struct storage_put *p = NULL;
    put(key("kept"), "before");
    ok(storage_put_begin(store, key("kept"), &p, e));
    ok(storage_put_write(p, "never", 5, e));
    storage_put_abort(p);
    assert_holds(key("kept"), "before");
    ok(storage_put_begin(store, key("gone/x"), &p, e));
    storage_put_abort(p);
    assert_missing(key("gone/x"));
    storage_put_abort(NULL);
    int removed = -1;
    ok(storage_sweep(store, clock_wall_ms() + 3600000, &removed, e));
    assert_int_equal(removed, 0);
}

static void test_ranged_reads(void **state)
{
    (void)state;
    put(key("range"), "0123456789");
    static const struct {
        int64_t offset;
        const char *want; /* NULL: INVALID */
    } rows[] = {{0, "0123456789"}, {1, "123456789"}, {9, "9"}, {10, ""}, {11, NULL}, {-1, NULL}, {INT64_MAX, NULL}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct storage_get *g = NULL;
        struct object_info info;
        if (!rows[i].want) {
            fails(INVALID, storage_get_begin(store, key("range"), rows[i].offset, &g, &info, e));
            continue;
        }
        ok(storage_get_begin(store, key("range"), rows[i].offset, &g, &info, e));
        assert_int_equal(info.size, 10);
        char buf[32] = "";
        size_t have = 0;
        struct err err = ERR_INIT;
        for (ssize_t k; (k = storage_get_read(g, buf + have, 3, &err)) != 0; have += (size_t)k)
            assert_true(k > 0 && k <= 3);
        storage_get_end(g);
        buf[have] = '\0';
        assert_string_equal(buf, rows[i].want);
    }
}

static void test_missing_and_deleted(void **state)
{
    (void)state;
    char *text = NULL;
    size_t n = 0;
    assert_missing(key("no/such/thing"));
    fails(NOT_FOUND, storage_get_bytes(store, key("no"), 10, &text, &n, e));
    ok(storage_delete(store, key("no/such/thing"), e));
    put(key("d/1"), "x");
    put(key("d/2"), "y");
    assert_missing(key("d")); /* a folder is no object */
    assert_missing(key("d/1/2"));
    ok(storage_delete(store, key("d"), e));
    ok(storage_delete(store, key("d/1"), e));
    ok(storage_delete(store, key("d/1"), e));
    assert_missing(key("d/1"));
    assert_holds(key("d/2"), "y");
    ok(storage_delete(store, key("d/2"), e));
    put(key("d/1"), "again");
    assert_holds(key("d/1"), "again");
}

/* Who hands an object on has one way to it: the object itself, or a URL. */
static void test_handing_on(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    struct object_info info = {0};
    char *url = NULL, text[16] = "";
    put(key("on"), "handed on");
    int fd = storage_get_fd(store, key("on"), &info, &err);
    int rc = storage_presign(store, STORAGE_PRESIGN_GET, key("on"), "audio/wav", 60, &url, NULL, &err);
    free(url);
    if (rc >= 0) {
        assert_int_equal(fd, ERR_UNSUPPORTED);
        return;
    }
    assert_int_equal(rc, ERR_UNSUPPORTED);
    assert_true(fd >= 0);
    assert_int_equal(info.size, 9);
    ok(storage_delete(store, key("on"), e));
    assert_int_equal(pread(fd, text, sizeof text, 7), 2);
    assert_string_equal(text, "on");
    close(fd);
    fails(NOT_FOUND, storage_get_fd(store, key("on"), &info, e));
    fails(INVALID, storage_get_fd(store, "../on", &info, e));
}

static void test_get_bytes_has_a_limit(void **state)
{
    (void)state;
    char *text = NULL;
    put(key("ten"), "0123456789");
    fails(TOO_LARGE, storage_get_bytes(store, key("ten"), 9, &text, NULL, e));
    assert_null(text);
    ok(storage_get_bytes(store, key("ten"), 10, &text, NULL, e));
    assert_string_equal(text, "0123456789");
    free(text);
}

struct seen {
    int count, stop_at, answer;
    bool delete;
    char keys[16][600];
};

static int see(const char *k, const struct object_info *info, void *arg, struct err *err)
{
    struct seen *s = arg;
    if (s->count < (int)ARRAY_LEN(s->keys))
        snprintf(s->keys[s->count], sizeof *s->keys, "%s", k);
    s->count++;
    if (info->size < 0 || info->modified_ms < 1)
        return err_set(err, ERR_INTERNAL, "'%s' has no size or time", k);
    if (s->delete &&storage_delete(store, k, err) < 0)
        return err->code;
    if (s->stop_at && s->count == s->stop_at)
        return s->answer < 0 ? err_set(err, s->answer, "enough") : s->answer;
    return 0;
}

static void test_list_by_prefix(void **state)
{
    (void)state;
    static const char *const names[] = {"l/a/1", "l/a/2", "l/ab/1", "l/b/c/d/e", "l/z"};
    static const struct {
        const char *prefix;
        const char *want[6];
    } rows[] = {
        {"l/", {"l/a/1", "l/a/2", "l/ab/1", "l/b/c/d/e", "l/z"}},
        {"l", {"l/a/1", "l/a/2", "l/ab/1", "l/b/c/d/e", "l/z"}},
        {"l/a", {"l/a/1", "l/a/2", "l/ab/1"}},
        {"l/a/", {"l/a/1", "l/a/2"}},
        {"l/a/2", {"l/a/2"}},
        {"l/a/22", {NULL}},
        {"l/b/c", {"l/b/c/d/e"}},
        {"l/b/c/d/e", {"l/b/c/d/e"}},
        {"l/b/c/d/e/", {NULL}},
        {"l/no/where/", {NULL}},
        {"l/z/", {NULL}},
    };
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        put(key(names[i]), "x");
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct seen s = {0};
        ok(storage_list(store, key(rows[i].prefix), see, &s, e));
        int want = 0;
        for (; rows[i].want[want]; want++) {
            int found = 0;
            for (int k = 0; k < s.count; k++)
                found += strcmp(s.keys[k], key(rows[i].want[want])) == 0;
            if (found != 1)
                fail_msg("prefix '%s' lists '%s' %d times", rows[i].prefix, rows[i].want[want], found);
        }
        if (s.count != want)
            fail_msg("prefix '%s' lists %d objects, not %d", rows[i].prefix, s.count, want);
    }
    struct seen all = {0};
    ok(storage_list(store, "", see, &all, e));
    assert_true(all.count >= (int)ARRAY_LEN(names));

    struct err err = ERR_INIT;
    struct seen early = {.stop_at = 2, .answer = 7};
    assert_int_equal(storage_list(store, key("l/"), see, &early, &err), 7);
    assert_int_equal(early.count, 2);
    struct seen bad = {.stop_at = 1, .answer = ERR_LOST};
    fails(LOST, storage_list(store, key("l/"), see, &bad, e));

    struct seen deleting = {.delete = true};
    ok(storage_list(store, key("l/"), see, &deleting, e));
    assert_int_equal(deleting.count, ARRAY_LEN(names));
    struct seen none = {0};
    ok(storage_list(store, key("l/"), see, &none, e));
    assert_int_equal(none.count, 0);
}

static int count_one(const char *k, const struct object_info *info, void *arg, struct err *err)
{
    (void)k;
    (void)info;
    (void)err;
    ++*(int *)arg;
    return 0;
}

/* More than remote stores list in one answer. */
static void test_list_of_many(void **state)
{
    (void)state;
    enum { MANY = 1100 };
    char k[600];
    for (int i = 0; i < MANY; i++) {
        snprintf(k, sizeof k, "%s/many/%d/x", run, i);
        put(k, "x");
    }
    int n = 0;
    ok(storage_list(store, key("many/"), count_one, &n, e));
    assert_int_equal(n, MANY);
}

static void test_any_legal_name(void **state)
{
    (void)state;
    static const char *const names[] = {
        "n/a b", "n/a+b",  "n/a%20b",     "n/100%",     "n/a?b=c&d",  "n/#1",
        "n/~x",  "n/a:b",  "n/(1)'\"",    "n/grün.mp3", "n/録音.wav", "n/🎙️.ogg",
        "n/-rf", "n/a..b", "n/trailing.", "n/<x>|*",    "n/[a]{b}",   "n/a;b,c=d@e!$",
    };
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        put(key(names[i]), names[i]);
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        assert_holds(key(names[i]), names[i]);
        struct seen s = {0};
        ok(storage_list(store, key(names[i]), see, &s, e));
        assert_int_equal(s.count, 1);
        assert_string_equal(s.keys[0], key(names[i]));
        ok(storage_delete(store, key(names[i]), e));
        assert_missing(key(names[i]));
    }
}

static void test_bad_keys_reach_nothing(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "/",
                                      "/etc/passwd",
                                      "a/",
                                      "a//b",
                                      "..",
                                      "../x",
                                      "a/../b",
                                      "a/..",
                                      ".",
                                      "a/./b",
                                      ".tmp/x",
                                      ".hidden",
                                      "a/.b",
                                      "a\\b",
                                      "a\nb",
                                      "a\x7f"
                                      "b",
                                      "a\xc2\x85"
                                      "b",
                                      "\xff",
                                      "a\xc3",
                                      "\xed\xa0\x80"};
    char path[128];
    snprintf(path, sizeof path, "%s/never", folder);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct storage_put *p = NULL;
        struct storage_get *g = NULL;
        struct object_info info;
        char *text = NULL;
        fails(INVALID, storage_put_begin(store, bad[i], &p, e));
        fails(INVALID, storage_put_bytes(store, bad[i], "x", 1, e));
        fails(INVALID, storage_get_begin(store, bad[i], 0, &g, NULL, e));
        fails(INVALID, storage_get_bytes(store, bad[i], 10, &text, NULL, e));
        fails(INVALID, storage_fetch(store, bad[i], path, e));
        fails(INVALID, storage_stat(store, bad[i], &info, e));
        fails(INVALID, storage_delete(store, bad[i], e));
    }
    static const char *const bad_prefixes[] = {"/", "../", "a//", "a/../", ".tmp/", "a\nb", "\xff"};
    for (size_t i = 0; i < ARRAY_LEN(bad_prefixes); i++)
        fails(INVALID, storage_list(store, bad_prefixes[i], see, NULL, e));
}

static void fill_large(unsigned char *mb)
{
    for (size_t i = 0; i < 1 << 20; i++)
        mb[i] = (unsigned char)(i * 7 + (i >> 8) * 13 + (i >> 16) * 31);
}

static long peak_kb(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return u.ru_maxrss;
}

static void test_large_objects_stream(void **state)
{
    (void)state;
    unsigned char *mb = malloc(1 << 20), *back = malloc(1 << 20);
    assert_non_null(mb);
    assert_non_null(back);
    memset(back, 1, 1 << 20);
    fill_large(mb);
    long before = peak_kb();
    struct storage_put *p = NULL;
    struct object_info info;
    ok(storage_put_begin(store, key("large"), &p, e));
    for (int i = 0; i < 64; i++)
        ok(storage_put_write(p, mb, 1 << 20, e));
    ok(storage_put_commit(p, &info, e));
    assert_int_equal(info.size, (int64_t)64 << 20);
    assert_string_equal(info.sha256, SHA_LARGE);

    struct storage_get *g = NULL;
    ok(storage_get_begin(store, key("large"), 0, &g, &info, e));
    assert_int_equal(info.size, (int64_t)64 << 20);
    for (int i = 0; i < 64; i++) {
        struct err err = ERR_INIT;
        for (size_t have = 0; have < 1 << 20;) {
            ssize_t k = storage_get_read(g, back + have, (1 << 20) - have, &err);
            assert_true(k > 0);
            have += (size_t)k;
        }
        assert_memory_equal(back, mb, 1 << 20);
    }
    struct err err = ERR_INIT;
    assert_int_equal(storage_get_read(g, back, 1, &err), 0);
    storage_get_end(g);
    ok(storage_delete(store, key("large"), e));
    free(mb);
    free(back);
    if (peak_kb() - before > 32 << 10)
        fail_msg("64 MB took %ld KB more memory", peak_kb() - before);
}

static void test_fetch_is_a_private_copy(void **state)
{
    (void)state;
    char path[128], *text = NULL;
    put(key("f/x.mp3"), "sound");
    snprintf(path, sizeof path, "%s/fetched", folder);
    ok(storage_fetch(store, key("f/x.mp3"), path, e));
    fails(CONFLICT, storage_fetch(store, key("f/x.mp3"), path, e));
    put(key("f/x.mp3"), "other");
    ok(storage_delete(store, key("f/x.mp3"), e));
    ok(io_read_file(path, 100, &text, NULL, e));
    assert_string_equal(text, "sound");
    free(text);
    assert_int_equal(unlink(path), 0);

    fails(NOT_FOUND, storage_fetch(store, key("f/x.mp3"), path, e));
    assert_int_equal(access(path, F_OK), -1);
    put(key("f/x.mp3"), "sound");
    snprintf(path, sizeof path, "%s/no/folder", folder);
    fails(UNAVAILABLE, storage_fetch(store, key("f/x.mp3"), path, e));
    assert_holds(key("f/x.mp3"), "sound");
}

/* Threads count what went wrong and keep the first sentence: cmocka's assertions work on the main thread only. */
static atomic_int wrong;
static char first_wrong[600];

static void note(const char *what, const struct err *err)
{
    if (atomic_fetch_add(&wrong, 1) == 0)
        snprintf(first_wrong, sizeof first_wrong, "%s: %.500s", what, err ? err->msg : "");
}

static void run_threads(int n, void *(*fn)(void *))
{
    enum { MAX_THREADS = 64 };
    static int ids[MAX_THREADS];
    pthread_t t[MAX_THREADS];
    atomic_store(&wrong, 0);
    for (int i = 0; i < n; i++) {
        ids[i] = i;
        ok(thread_start(&t[i], "test", fn, &ids[i], e));
    }
    for (int i = 0; i < n; i++)
        pthread_join(t[i], NULL);
    if (atomic_load(&wrong))
        fail_msg("%d failures, the first: %s", atomic_load(&wrong), first_wrong);
}

/* An object that can be checked: `size` times the same letter, and the size follows from the letter. */
static size_t size_of_letter(int letter)
{
    return (size_t)(letter - 'a' + 1) * 4999;
}

static int put_letter(const char *k, int letter, struct err *err)
{
    struct storage_put *p = NULL;
    int rc = storage_put_begin(store, k, &p, err);
    char piece[3000];
    memset(piece, letter, sizeof piece);
    for (size_t left = size_of_letter(letter), n; rc >= 0 && left; left -= n) {
        n = MIN(left, sizeof piece);
        rc = storage_put_write(p, piece, n, err);
    }
    if (rc < 0) {
        storage_put_abort(p);
        return rc;
    }
    return storage_put_commit(p, NULL, err);
}

static void check_letter(const char *k)
{
    struct err err = ERR_INIT;
    char *text = NULL;
    size_t n = 0;
    int rc = storage_get_bytes(store, k, 1 << 20, &text, &n, &err);
    if (rc == ERR_NOT_FOUND)
        return;
    if (rc < 0) {
        note("get", &err);
        return;
    }
    if (text[0] < 'a' || text[0] > 'z' || n != size_of_letter(text[0]) || strspn(text, (char[]){text[0], 0}) != n)
        note("a mixed object", NULL);
    free(text);
}

static void *write_one_key(void *arg)
{
    int id = *(int *)arg;
    char k[600];
    snprintf(k, sizeof k, "%s/shared/one", run);
    for (int i = 0; i < 20; i++) {
        struct err err = ERR_INIT;
        if (id < 6 && put_letter(k, 'a' + id, &err) < 0)
            note("put", &err);
        if (id >= 6)
            check_letter(k);
    }
    return NULL;
}

static void test_writers_of_one_key(void **state)
{
    (void)state;
    run_threads(8, write_one_key);
    char *text = NULL;
    ok(storage_get_bytes(store, key("shared/one"), 1 << 20, &text, NULL, e));
    free(text);
    ok(storage_delete(store, key("shared/one"), e));
}

static void *do_anything(void *arg)
{
    unsigned x = (unsigned)*(int *)arg * 2654435761u + 12345;
    char k[600];
    for (int i = 0; i < 25; i++) {
        struct err err = ERR_INIT;
        struct object_info info;
        struct storage_put *p = NULL;
        int n = 0, rc = 0;
        x = x * 1664525 + 1013904223;
        snprintf(k, sizeof k, "%s/mixed/%u/x", run, (x >> 8) % 12);
        switch ((x >> 24) % 7) {
        case 0:
        case 1:
            rc = put_letter(k, 'a' + (int)((x >> 16) % 26), &err);
            break;
        case 2:
            rc = storage_delete(store, k, &err);
            break;
        case 3:
            rc = storage_stat(store, k, &info, &err);
            break;
        case 4:
            snprintf(k, sizeof k, "%s/mixed/", run);
            rc = storage_list(store, k, count_one, &n, &err);
            break;
        case 5:
            rc = storage_put_begin(store, k, &p, &err);
            storage_put_abort(p);
            break;
        default:
            check_letter(k);
        }
        if (rc < 0 && rc != ERR_NOT_FOUND)
            note("operation", &err);
    }
    return NULL;
}

static void test_64_threads(void **state)
{
    (void)state;
    run_threads(64, do_anything);
    struct seen s = {.delete = true};
    ok(storage_list(store, key("mixed/"), see, &s, e));
    int removed = -1;
    ok(storage_sweep(store, clock_wall_ms() + 3600000, &removed, e));
    assert_int_equal(removed, 0);
}

/* Puts into a folder that deletes empty all the time must not notice. */
static void *fill_and_empty(void *arg)
{
    char k[600];
    snprintf(k, sizeof k, "%s/churn/deep/folder/%d", run, *(int *)arg);
    for (int i = 0; i < 60; i++) {
        struct err err = ERR_INIT;
        if (storage_put_bytes(store, k, "x", 1, &err) < 0)
            note("put", &err);
        struct object_info info;
        if (storage_stat(store, k, &info, &err) < 0)
            note("an object of my own is gone", &err);
        if (storage_delete(store, k, &err) < 0)
            note("delete", &err);
    }
    return NULL;
}

static void test_put_beside_delete(void **state)
{
    (void)state;
    run_threads(6, fill_and_empty);
    int n = 0;
    ok(storage_list(store, key("churn"), count_one, &n, e));
    assert_int_equal(n, 0);
}

static void test_a_crash_in_a_write_leaves_nothing_visible(void **state)
{
    (void)state;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct err err = ERR_INIT;
        struct storage *mine = NULL;
        struct storage_put *p = NULL;
        static const char block[1 << 16];
        if (store_open(folder, &mine, &err) < 0 || storage_put_begin(mine, key("crash/x"), &p, &err) < 0)
            _exit(1);
        for (int i = 0; i < 100; i++)
            if (storage_put_write(p, block, sizeof block, &err) < 0)
                _exit(2);
        raise(SIGKILL);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    assert_missing(key("crash/x"));
    int n = 0, removed = -1;
    ok(storage_list(store, key("crash"), count_one, &n, e));
    assert_int_equal(n, 0);
    ok(storage_sweep(store, clock_wall_ms() - 3600000, &removed, e));
    assert_int_equal(removed, 0);
    ok(storage_sweep(store, clock_wall_ms() + 3600000, &removed, e));
    assert_int_equal(removed, 1);
    ok(storage_sweep(store, clock_wall_ms() + 3600000, &removed, e));
    assert_int_equal(removed, 0);
    put(key("crash/x"), "whole");
    assert_holds(key("crash/x"), "whole");
}

static void test_ping(void **state)
{
    (void)state;
    int64_t ms = -1, free_bytes = -2;
    ok(storage_ping(store, &ms, &free_bytes, e));
    assert_true(ms >= 0);
    assert_true(free_bytes >= -1);
}

static int open_store(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/steno-test-XXXXXX");
    if (!mkdtemp(folder))
        return -1;
    id_new(run);
    struct err err = ERR_INIT;
    if (store_open(folder, &store, &err) < 0) {
        print_error("%s\n", err.msg);
        return -1;
    }
    return 0;
}

static int remove_one(const char *k, const struct object_info *info, void *arg, struct err *err)
{
    (void)info;
    (void)arg;
    return storage_delete(store, k, err);
}

static int close_store(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    int rc = storage_list(store, run, remove_one, NULL, &err);
    storage_close(store);
    storage_close(NULL);
    if (rc >= 0)
        rc = io_remove_tree(folder, &err);
    if (rc < 0)
        print_error("%s\n", err.msg);
    return rc;
}

int main(int argc, char **argv)
{
    if (store_skip(argc, argv, "storage"))
        return 0;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_overwrite_keeps_readers_whole),
        cmocka_unit_test(test_abort_leaves_nothing),
        cmocka_unit_test(test_ranged_reads),
        cmocka_unit_test(test_missing_and_deleted),
        cmocka_unit_test(test_handing_on),
        cmocka_unit_test(test_get_bytes_has_a_limit),
        cmocka_unit_test(test_list_by_prefix),
        cmocka_unit_test(test_list_of_many),
        cmocka_unit_test(test_any_legal_name),
        cmocka_unit_test(test_bad_keys_reach_nothing),
        cmocka_unit_test(test_large_objects_stream),
        cmocka_unit_test(test_fetch_is_a_private_copy),
        cmocka_unit_test(test_writers_of_one_key),
        cmocka_unit_test(test_64_threads),
        cmocka_unit_test(test_put_beside_delete),
        cmocka_unit_test(test_a_crash_in_a_write_leaves_nothing_visible),
        cmocka_unit_test(test_ping),
    };
    return cmocka_run_group_tests(tests, open_store, close_store);
}
