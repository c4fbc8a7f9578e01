/* SPDX-License-Identifier: MIT */
/* The cache of packed weights: taken when it fits to the byte, made anew when not, and never in the way. */
#include "whisper/compute.h"
#include "whisper/net.h"
#include "whisper_fixture.h"

#include "base/io.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/thread.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

enum { CACHED_MAX = 16 };

struct world {
    char folder[PATH_MAX];
    char *model, *cache; /* in it */
};

static void copy_file(const char *from, const char *to)
{
    struct err err = ERR_INIT;
    CLEANUP(free_p) char *data = NULL;
    size_t n;
    assert_int_equal(io_read_file(from, 64 << 20, &data, &n, &err), 0);
    unlink(to);
    CLEANUP(close_fd) int fd = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(io_write_all(fd, data, n, &err), 0);
}

static int set_up(void **state)
{
    struct world *w = xcalloc(1, sizeof *w);
    snprintf(w->folder, sizeof w->folder, "%s/steno-cache-XXXXXX", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
    *state = w;
    if (!mkdtemp(w->folder))
        return -1;
    w->model = xasprintf("%s/model.bin", w->folder);
    w->cache = xasprintf("%s/cache", w->folder);
    CLEANUP(free_p) char *fixture = fixture_path("fixture.bin");
    copy_file(fixture, w->model);
    return 0;
}

static int tear_down(void **state)
{
    struct world *w = *state;
    struct err err = ERR_INIT;
    int rc = io_remove_tree(w->folder, &err);
    free(w->model);
    free(w->cache);
    free(w);
    return rc;
}

static struct net *open_net(const char *model, const char *cache, enum whisper_precision p)
{
    struct err err = ERR_INIT;
    struct model_file *f = NULL;
    struct net *n = NULL;
    if (model_file_open(model, &f, &err) < 0 || net_open(f, p, cache, &n, &err) < 0)
        fail_msg("%s", err.msg);
    model_file_close(f); /* a net stands alone */
    return n;
}

/* Opens, and says whether it came from the cache. */
static bool open_cached(const struct world *w, enum whisper_precision p)
{
    struct net *n = open_net(w->model, w->cache, p);
    bool cached = net_from_cache(n);
    net_close(n);
    return cached;
}

/* Paths of what lies in the cache; caller frees each. */
static size_t list_cache(const struct world *w, char *ret[CACHED_MAX])
{
    size_t n = 0;
    DIR *dir = opendir(w->cache);
    for (const struct dirent *e; dir && (e = readdir(dir));)
        if (e->d_name[0] != '.' && n < CACHED_MAX)
            ret[n++] = xasprintf("%s/%s", w->cache, e->d_name);
    if (dir)
        closedir(dir);
    return n;
}

static size_t count_cache(const struct world *w)
{
    char *paths[CACHED_MAX];
    size_t n = list_cache(w, paths);
    for (size_t i = 0; i < n; i++)
        free(paths[i]);
    return n;
}

static char *only_file(const struct world *w)
{
    char *paths[CACHED_MAX];
    assert_int_equal(list_cache(w, paths), 1);
    return paths[0];
}

/* Logits after the start token, over a window with a little sound in it. */
static float *logits_of(const struct net *n)
{
    struct err err = ERR_INIT;
    struct compute *c = NULL;
    const struct compute_opts o = {.threads = 1, .audio_slots = 1, .text_slots = 1, .max_rows = 1};
    const struct whisper_dims *d = net_dims(n);
    float *mel = xcalloc((size_t)d->n_mels * 3000, sizeof *mel), *ret = xcalloc((size_t)d->n_vocab, sizeof *ret);
    for (int i = 0; i < d->n_mels * 3000; i++)
        mel[i] = (float)(i % 17) / 17 - 0.5f;
    if (compute_new(n, &o, &c, &err) < 0 || compute_encode(c, 0, mel, NULL, NULL, &err) < 0)
        fail_msg("%s", err.msg);
    struct step_row row = {.token = 50257, .want_logits = true};
    if (compute_step(c, &row, 1, &err) < 0)
        fail_msg("%s", err.msg);
    memcpy(ret, row.logits, (size_t)d->n_vocab * sizeof *ret);
    compute_free(c);
    free(mel);
    return ret;
}

static void test_second_open_is_the_same(void **state)
{
    const struct world *w = *state;
    static const enum whisper_precision all[] = {WHISPER_F32, WHISPER_BF16, WHISPER_INT8};
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        struct net *none = open_net(w->model, NULL, all[i]), *first = open_net(w->model, w->cache, all[i]),
                   *second = open_net(w->model, w->cache, all[i]);
        assert_false(net_from_cache(none) || net_from_cache(first));
        assert_true(net_from_cache(second));
        assert_int_equal(net_bytes(none), net_bytes(second));
        float *a = logits_of(none), *b = logits_of(first), *c = logits_of(second);
        assert_memory_equal(a, b, 51864 * sizeof *a);
        assert_memory_equal(a, c, 51864 * sizeof *a);
        free(a);
        free(b);
        free(c);
        net_close(none);
        net_close(first);
        net_close(second);
        assert_int_equal(count_cache(w), i + 1); /* each precision has its own */
    }
}

static void set_mtime(const char *path, time_t t)
{
    const struct timespec times[2] = {{.tv_sec = t}, {.tv_sec = t}};
    assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
}

static void test_changed_models_leave_nothing_behind(void **state)
{
    const struct world *w = *state;
    assert_false(open_cached(w, WHISPER_F32));
    CLEANUP(free_p) char *old = only_file(w);
    set_mtime(w->model, 1000);
    assert_false(open_cached(w, WHISPER_F32));
    CLEANUP(free_p) char *now = only_file(w);
    assert_string_not_equal(old, now);
    assert_true(open_cached(w, WHISPER_F32));
    /* Another model beside it: both stay. */
    CLEANUP(free_p) char *other = xasprintf("%s/other.bin", w->folder);
    copy_file(w->model, other);
    net_close(open_net(other, w->cache, WHISPER_F32));
    assert_int_equal(count_cache(w), 2);
    assert_true(open_cached(w, WHISPER_F32));
    /* It goes away: so does its packed form, once something new is packed. */
    unlink(other);
    assert_true(open_cached(w, WHISPER_F32));
    assert_int_equal(count_cache(w), 2);
    assert_false(open_cached(w, WHISPER_INT8));
    assert_int_equal(count_cache(w), 2);
    assert_true(open_cached(w, WHISPER_F32));
}

static void put_at(const char *path, off_t at, const void *p, size_t n)
{
    CLEANUP(close_fd) int fd = open(path, O_WRONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, p, n, at), n);
}

static void test_damage(void **state)
{
    const struct world *w = *state;
    assert_false(open_cached(w, WHISPER_F32));
    CLEANUP(free_p) char *path = only_file(w);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    static const char zeros[65536];
    for (int kind = 0; kind < 6; kind++) {
        switch (kind) {
        case 0: /* cut short */
            assert_int_equal(truncate(path, st.st_size - 1), 0);
            break;
        case 1: /* cut and filled up again, as a file system may after a crash */
            assert_int_equal(truncate(path, st.st_size / 2), 0);
            assert_int_equal(truncate(path, st.st_size), 0);
            break;
        case 2: /* one letter of the header */
            put_at(path, 30, "x", 1);
            break;
        case 3: /* the end of the block */
            put_at(path, st.st_size - 8, "damaged!", 8);
            break;
        case 4: /* a stranger's file of the same size */
            for (off_t at = 0; at < 1 << 20; at += (off_t)sizeof zeros)
                put_at(path, at, zeros, sizeof zeros);
            break;
        case 5: /* empty */
            assert_int_equal(truncate(path, 0), 0);
            break;
        default:
            fail();
        }
        assert_false(open_cached(w, WHISPER_F32)); /* not believed */
        assert_true(open_cached(w, WHISPER_F32));  /* and written anew */
        assert_int_equal(count_cache(w), 1);
    }
    /* A link is not followed. */
    CLEANUP(free_p) char *elsewhere = xasprintf("%s/elsewhere", w->folder);
    assert_int_equal(rename(path, elsewhere), 0);
    assert_int_equal(symlink(elsewhere, path), 0);
    assert_false(open_cached(w, WHISPER_F32));
    assert_true(open_cached(w, WHISPER_F32));
}

static void test_folders_that_take_nothing(void **state)
{
    struct world *w = *state;
    /* A file where the folder should be: for root, too, nothing can be written there. */
    CLEANUP(close_fd) int fd = open(w->cache, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_false(open_cached(w, WHISPER_F32));
    assert_false(open_cached(w, WHISPER_F32));
    struct net *n = open_net(w->model, "/proc/no/such/folder", WHISPER_F32);
    assert_false(net_from_cache(n));
    float *logits = logits_of(n);
    free(logits);
    net_close(n);
}

static void test_leftovers_of_the_dead(void **state)
{
    const struct world *w = *state;
    assert_false(open_cached(w, WHISPER_F32));
    CLEANUP(free_p) char *path = only_file(w);
    CLEANUP(free_p) char *old = xasprintf("%s.0123", path), *fresh = xasprintf("%s.4567", path);
    copy_file(w->model, old);
    copy_file(w->model, fresh);
    set_mtime(old, time(NULL) - 7200);
    assert_false(open_cached(w, WHISPER_INT8));
    assert_int_equal(access(old, F_OK), -1);
    assert_int_equal(access(fresh, F_OK), 0); /* somebody may be writing it */
}

static void *open_in_thread(void *arg)
{
    const struct world *w = arg;
    struct net *n = open_net(w->model, w->cache, WHISPER_F32);
    float *logits = logits_of(n);
    net_close(n);
    return logits;
}

/* Several that find nothing and write at the same time: each gets a right one, and one file stays. */
static void test_at_once(void **state)
{
    struct world *w = *state;
    pthread_t threads[4];
    float *logits[4];
    struct err err = ERR_INIT;
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        assert_int_equal(thread_start(&threads[i], "opener", open_in_thread, w, &err), 0);
    for (size_t i = 0; i < ARRAY_LEN(threads); i++) {
        void *ret;
        assert_int_equal(pthread_join(threads[i], &ret), 0);
        logits[i] = ret;
        assert_memory_equal(logits[0], logits[i], 51864 * sizeof(float));
    }
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        free(logits[i]);
    assert_int_equal(count_cache(w), 1);
    assert_true(open_cached(w, WHISPER_F32));
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_second_open_is_the_same),
        TEST(test_changed_models_leave_nothing_behind),
        TEST(test_damage),
        TEST(test_folders_that_take_nothing),
        TEST(test_leftovers_of_the_dead),
        TEST(test_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
