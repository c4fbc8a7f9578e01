/* SPDX-License-Identifier: MIT */
/* The cache of packed weights: taken when it fits to the byte, made anew when not, and never in the way. */
#include "whisper/compute.h"
#include "whisper/net_internal.h"
#include "whisper_fixture.h"

#include "base/io.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/thread.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
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

/* ---- verify ---- */

static int verify(const struct world *w, struct whisper_verified *ret, struct err *err)
{
    *ret = (struct whisper_verified){.good = 0};
    return whisper_verify(w->model, w->cache, NULL, ret, err);
}

static void expect_verified(const struct world *w, unsigned good, unsigned stale, unsigned damaged)
{
    struct err err = ERR_INIT;
    struct whisper_verified v;
    if (verify(w, &v, &err) < 0)
        fail_msg("%s", err.msg);
    if (v.good != good || v.stale != stale || v.damaged != damaged)
        fail_msg("%u good, %u stale, %u damaged", v.good, v.stale, v.damaged);
    assert_int_equal(strlen(v.sha256), 64);
    assert_int_equal(count_cache(w), good);
}

static void test_verify_looks_into_the_cache(void **state)
{
    const struct world *w = *state;
    struct err err = ERR_INIT;
    struct whisper_verified v;
    struct stat st, model;
    expect_verified(w, 0, 0, 0);
    assert_false(open_cached(w, WHISPER_F32));
    assert_false(open_cached(w, WHISPER_INT8));
    expect_verified(w, 2, 0, 0);
    /* A byte where no load looks. */
    assert_false(open_cached(w, WHISPER_BF16));
    char *paths[CACHED_MAX];
    size_t n = list_cache(w, paths);
    assert_int_equal(n, 3);
    assert_int_equal(stat(paths[0], &st), 0);
    put_at(paths[0], 4096 + 5000, "x", 1);
    for (size_t i = 0; i < n; i++)
        free(paths[i]);
    expect_verified(w, 2, 0, 1);
    /* The model is another one by its time: what was packed from the earlier goes. */
    assert_int_equal(stat(w->model, &model), 0);
    set_mtime(w->model, 1000);
    expect_verified(w, 0, 2, 0);
    /* One bit of the model flips, and neither size nor time tells. */
    assert_false(open_cached(w, WHISPER_F32));
    unsigned char byte;
    CLEANUP(close_fd) int fd = open(w->model, O_RDWR | O_CLOEXEC);
    const off_t at = model.st_size - 1000;
    assert_int_equal(pread(fd, &byte, 1, at), 1);
    byte ^= 1;
    assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    set_mtime(w->model, 1000);
    assert_true(open_cached(w, WHISPER_F32)); /* a load cannot see it */
    assert_int_equal(verify(w, &v, &err), ERR_CORRUPT);
    assert_non_null(strstr(err.msg, "when it was packed"));
    assert_int_equal(count_cache(w), 1);
    byte ^= 1;
    assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    set_mtime(w->model, 1000);
    expect_verified(w, 1, 0, 0);
    /* Without a cache only the model is looked at. */
    assert_int_equal(whisper_verify(w->model, NULL, NULL, &v, &err), 0);
    assert_int_equal(v.good, 0);
    struct cancel stop = {0};
    cancel_set(&stop);
    assert_int_equal(whisper_verify(w->model, w->cache, &stop, &v, &err), ERR_CANCELLED);
}

/* The key holds all that the packed bytes depend on. */
static void test_what_the_header_says(void **state)
{
    const struct world *w = *state;
    char version[DNN_VERSION_SIZE], want[600], got[4096];
    dnn_version(version);
    assert_false(open_cached(w, WHISPER_INT8));
    CLEANUP(free_p) char *path = only_file(w);
    struct err err = ERR_INIT;
    struct model_file *f = NULL;
    assert_int_equal(model_file_open(w->model, &f, &err), 0);
    struct whisper_verified v;
    assert_int_equal(verify(w, &v, &err), 0);
    CLEANUP(close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_int_equal(read(fd, got, sizeof got), sizeof got);
    snprintf(want, sizeof want, "steno packed weights\nmodel %s\nversion 3\nprecision int8\nonednn %s\ncpu %s\nbytes ",
             model_file_key(f), version, dnn_cpu());
    assert_memory_equal(got, want, strlen(want));
    assert_string_equal(got + 512, model_file_path(f));
    assert_string_equal(got + 4096 - 256, v.sha256);
    model_file_close(f);
}

/* ---- other processes ---- */

struct child {
    pid_t pid;
    int out, in; /* its standard output; a byte to `in` lets it end */
};

/* This program again, as a process that opens the model and says what it got; see main. */
static struct child start_child(const struct world *w, const char *limit)
{
    int out[2], in[2];
    struct child c;
    posix_spawn_file_actions_t files;
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    assert_int_equal(pipe2(in, O_CLOEXEC), 0);
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_adddup2(&files, in[0], STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&files, out[1], STDOUT_FILENO);
    char name[] = "test_whisper_cache", verb[] = "open", *model = xstrdup(w->model), *cache = xstrdup(w->cache),
         *most = xstrdup(limit);
    char *argv[] = {name, verb, model, cache, most, NULL};
    assert_int_equal(posix_spawn(&c.pid, "/proc/self/exe", &files, NULL, argv, environ), 0);
    posix_spawn_file_actions_destroy(&files);
    free(model);
    free(cache);
    free(most);
    close(out[1]);
    close(in[0]);
    c.out = out[0];
    c.in = in[1];
    return c;
}

/* Its line: "cached", "packed" or why not, and where its weights lie. Blocks until it has opened the model. */
static void hear_child(const struct child *c, char ret[512])
{
    size_t n = 0;
    while (n < 511 && read(c->out, ret + n, 1) == 1 && ret[n] != '\n')
        n++;
    ret[n] = '\0';
}

static void end_child(struct child *c)
{
    int status;
    close(c->in);
    assert_int_equal(waitpid(c->pid, &status, 0), c->pid);
    assert_int_equal(status, 0);
    close(c->out);
}

/* From /proc/self/smaps: what is mapped, how, from which file, and how much of it other processes have in use, too. */
static void describe_mapping(const void *p, char *ret, size_t size)
{
    FILE *maps = fopen("/proc/self/smaps", "re");
    char line[PATH_MAX], permissions[8], file[80];
    unsigned long from, to, kilobytes, shared = 0, private = 0;
    bool ours = false;
    snprintf(ret, size, "nowhere");
    while (maps && fgets(line, sizeof line, maps)) {
        if (sscanf(line, "%lx-%lx %7s %*s %79[^/]", &from, &to, permissions, file) == 4) {
            ours = (uintptr_t)p >= from && (uintptr_t)p < to;
            if (ours)
                snprintf(ret, size, "%s %.70s", permissions, file);
        }
        if (ours && sscanf(line, "Shared_Clean: %lu", &kilobytes) == 1)
            shared = kilobytes;
        if (ours && (sscanf(line, "Private_Clean: %lu", &kilobytes) == 1 ||
                     sscanf(line, "Private_Dirty: %lu", &kilobytes) == 1))
        private += kilobytes;
    }
    if (maps)
        fclose(maps);
    size_t n = strlen(ret);
    while (n && ret[n - 1] == ' ')
        n--;
    snprintf(ret + n, size - n, " shared %lu private %lu", shared, private);
}

static int child_main(char **argv)
{
    struct rlimit limit = {.rlim_cur = strtoul(argv[4], NULL, 10), .rlim_max = RLIM_INFINITY};
    struct err err = ERR_INIT;
    struct model_file *f = NULL;
    struct net *n = NULL;
    signal(SIGXFSZ, SIG_IGN); /* a file too long is an error of write then */
    if (limit.rlim_cur && setrlimit(RLIMIT_FSIZE, &limit) < 0)
        return 1;
    if (model_file_open(argv[2], &f, &err) < 0 || net_open(f, WHISPER_F32, argv[3], &n, &err) < 0) {
        printf("%s\n", err.msg);
        return 1;
    }
    unsigned sum = 0;
    for (size_t i = 0; i < n->block_bytes; i += 4096)
        sum += n->block[i];
    char mapping[256];
    describe_mapping(n->block, mapping, sizeof mapping);
    printf("%s %s (%u)\n", net_from_cache(n) ? "cached" : "packed", mapping, sum & 1);
    fflush(stdout);
    char end;
    if (read(STDIN_FILENO, &end, 1) < 0) /* until we are let go */
        return 1;
    net_close(n);
    model_file_close(f);
    return 0;
}

static void test_processes_share_the_pages(void **state)
{
    const struct world *w = *state;
    char first[512], second[512], file[2][80];
    unsigned long shared, private;
    struct child a = start_child(w, "0");
    hear_child(&a, first);
    struct child b = start_child(w, "0");
    hear_child(&b, second);
    end_child(&a);
    end_child(&b);
    assert_int_equal(sscanf(first, "packed r--s %*s %79[^s]", file[0]), 1);
    if (sscanf(second, "cached r--s %*s %79[^s]shared %lu private %lu", file[1], &shared, &private) != 3)
        fail_msg("'%s'", second);
    assert_string_equal(file[0], file[1]); /* device and inode */
    struct stat st;
    CLEANUP(free_p) char *path = only_file(w);
    assert_int_equal(stat(path, &st), 0);
    print_message("# of %ld KB: %lu shared, %lu private\n", (long)st.st_size / 1024, shared, private);
    assert_true(shared * 1024 > (unsigned long)st.st_size / 10 * 9); /* every page was touched by both */
    assert_true(private < shared / 10);
}

static void test_a_race_leaves_one_file(void **state)
{
    const struct world *w = *state;
    struct child c[3];
    char line[512];
    for (size_t i = 0; i < ARRAY_LEN(c); i++)
        c[i] = start_child(w, "0");
    for (size_t i = 0; i < ARRAY_LEN(c); i++) {
        hear_child(&c[i], line);
        if (!str_starts(line, "packed") && !str_starts(line, "cached"))
            fail_msg("'%s'", line);
    }
    for (size_t i = 0; i < ARRAY_LEN(c); i++)
        end_child(&c[i]);
    expect_verified(w, 1, 0, 0); /* whole, and nothing beside it */
    assert_true(open_cached(w, WHISPER_F32));
}

/* As on a full disk: writing fails in the middle. It costs the cache, nothing else, and leaves nothing behind. */
static void test_no_room_for_the_cache(void **state)
{
    const struct world *w = *state;
    char line[512];
    for (int i = 0; i < 2; i++) {
        struct child c = start_child(w, i ? "1000000" : "100");
        hear_child(&c, line);
        end_child(&c);
        if (!str_starts(line, "packed rw-p"))
            fail_msg("'%s'", line);
        assert_int_equal(count_cache(w), 0);
    }
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)

int main(int argc, char **argv)
{
    if (argc == 5 && strcmp(argv[1], "open") == 0)
        return child_main(argv);
    const struct CMUnitTest tests[] = {
        TEST(test_second_open_is_the_same),
        TEST(test_changed_models_leave_nothing_behind),
        TEST(test_damage),
        TEST(test_folders_that_take_nothing),
        TEST(test_leftovers_of_the_dead),
        TEST(test_at_once),
        TEST(test_verify_looks_into_the_cache),
        TEST(test_what_the_header_says),
        TEST(test_processes_share_the_pages),
        TEST(test_a_race_leaves_one_file),
        TEST(test_no_room_for_the_cache),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
