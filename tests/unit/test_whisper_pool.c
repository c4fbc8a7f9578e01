/* SPDX-License-Identifier: MIT */
/* Loaded models: shared, put out when nobody uses them, waited for in line when there is no room. */
#include "engine/whisper_models.h"

#include "base/clock.h"
#include "base/io.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/thread.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { NAMES = 7, MODELS_MAX = 4, GIVE_UP_MS = 60000 };

static char *folder;
static const char *const names[NAMES] = {"a", "b", "c", "d", "e", "f", "g"};

static struct models *new_models(int64_t memory_bytes)
{
    struct models *m;
    const struct models_opts o = {.folder = folder,
                                  .precision = WHISPER_F32,
                                  .windows = 2,
                                  .rows = 16,
                                  .threads = 1,
                                  .memory_bytes = memory_bytes,
                                  .kept = MODELS_MAX,
                                  .max = MODELS_MAX};
    models_new(&o, &m);
    return m;
}

static struct loaded *must_acquire(struct models *m, const char *name)
{
    struct err err = ERR_INIT;
    struct loaded *l = NULL;
    if (models_acquire(m, name, NULL, &l, &err) < 0)
        fail_msg("%s: %s", name, err.msg);
    return l;
}

/* A thread that wants a model. */
struct wish {
    struct models *m;
    const char *name;
    struct cancel cancel;
    struct loaded *got;
    atomic_int rc; /* 1 while it waits */
    struct err err;
    pthread_t thread;
};

static void *wish_main(void *arg)
{
    struct wish *w = arg;
    int rc = models_acquire(w->m, w->name, &w->cancel, &w->got, &w->err);
    atomic_store(&w->rc, MIN(rc, 0));
    return NULL;
}

static void wish_start(struct wish *w, struct models *m, const char *name)
{
    *w = (struct wish){.m = m, .name = name};
    atomic_store(&w->rc, 1);
    assert_int_equal(thread_start(&w->thread, "wish", wish_main, w, &w->err), 0);
}

static void wait_for_line(struct models *m, size_t n)
{
    int64_t began = clock_mono_ms();
    while (models_waiting(m) < n) {
        assert_true(clock_mono_ms() - began < GIVE_UP_MS);
        clock_sleep_ms(1);
    }
}

static int wish_end(struct wish *w)
{
    pthread_join(w->thread, NULL);
    return atomic_load(&w->rc);
}

static void test_users_share_a_model(void **state)
{
    (void)state;
    struct models *m = new_models(0);
    struct loaded *first = must_acquire(m, "a"), *second = must_acquire(m, "a");
    assert_ptr_equal(first, second);
    assert_ptr_equal(loaded_batcher(first), loaded_batcher(second));
    models_release(m, second);
    models_release(m, first);
    assert_ptr_equal(must_acquire(m, "a"), first); /* still there */
    models_release(m, first);
    models_free(m);
}

static void test_idle_models_make_room(void **state)
{
    (void)state;
    struct models *m = new_models(0);
    for (int round = 0; round < 2; round++)
        for (size_t i = 0; i < NAMES; i++)
            models_release(m, must_acquire(m, names[i]));
    models_free(m);
}

static void test_without_room_a_caller_waits(void **state)
{
    (void)state;
    struct models *m = new_models(0);
    struct loaded *used[MODELS_MAX];
    struct wish other, newcomer;
    for (size_t i = 0; i < MODELS_MAX; i++)
        used[i] = must_acquire(m, names[i]);
    wish_start(&other, m, "e");
    wait_for_line(m, 1);
    /* "a" is loaded, but whoever came first must get its turn at last. */
    wish_start(&newcomer, m, "a");
    wait_for_line(m, 2);
    models_release(m, used[1]);
    assert_int_equal(wish_end(&other), 0);
    assert_int_equal(wish_end(&newcomer), 0);
    assert_ptr_equal(newcomer.got, used[0]);
    models_release(m, other.got);
    models_release(m, newcomer.got);
    for (size_t i = 0; i < MODELS_MAX; i++)
        if (i != 1)
            models_release(m, used[i]);
    models_free(m);
}

static void test_a_cancel_ends_the_wait(void **state)
{
    (void)state;
    struct models *m = new_models(0);
    struct loaded *used[MODELS_MAX];
    struct wish first, second;
    for (size_t i = 0; i < MODELS_MAX; i++)
        used[i] = must_acquire(m, names[i]);
    wish_start(&first, m, "e");
    wait_for_line(m, 1);
    wish_start(&second, m, "f");
    wait_for_line(m, 2);
    cancel_set(&first.cancel);
    int64_t began = clock_mono_ms();
    assert_int_equal(wish_end(&first), ERR_CANCELLED);
    assert_true(clock_mono_ms() - began < GIVE_UP_MS);
    models_release(m, used[0]); /* the other one is not kept by it */
    assert_int_equal(wish_end(&second), 0);
    models_release(m, second.got);
    for (size_t i = 1; i < MODELS_MAX; i++)
        models_release(m, used[i]);
    models_free(m);
}

/* The bytes that one model with its batch takes, from the sentence that says they are missing. */
static int64_t need_of_one(void)
{
    struct models *m = new_models(1 << 20);
    struct err err = ERR_INIT;
    struct loaded *l = NULL;
    assert_int_equal(models_acquire(m, "a", NULL, &l, &err), ERR_NOMEM);
    assert_non_null(strstr(err.msg, "raise model_memory"));
    int64_t mb = strtoll(strstr(err.msg, "needs ") + strlen("needs "), NULL, 10);
    assert_true(mb > 0);
    models_free(m);
    return (mb + 1) << 20;
}

static void test_short_memory(void **state)
{
    (void)state;
    int64_t one = need_of_one();
    /* Room for one of the smallest batches: an idle one goes for the next, one in use is waited for. */
    struct models *m = new_models(one);
    models_release(m, must_acquire(m, "a"));
    struct loaded *b = must_acquire(m, "b");
    struct wish c;
    wish_start(&c, m, "c");
    wait_for_line(m, 1);
    models_release(m, b);
    assert_int_equal(wish_end(&c), 0);
    models_release(m, c.got);
    models_free(m);
}

static void test_inspect(void **state)
{
    (void)state;
    struct models *m = new_models(0);
    for (int i = 0; i < 2; i++) {
        struct arena a = ARENA_INIT;
        struct whisper_info info;
        struct err err = ERR_INIT;
        assert_int_equal(models_inspect(m, "a", &a, &info, &err), 0);
        assert_string_equal(info.name, "a");
        assert_false(info.multilingual);
        assert_int_equal(models_inspect(m, "none", &a, &info, &err), ERR_INVALID);
        arena_clear(&a);
        models_release(m, must_acquire(m, "a")); /* the second time it is loaded */
    }
    struct err err = ERR_INIT;
    struct loaded *l;
    assert_int_equal(models_acquire(m, "none", NULL, &l, &err), ERR_INVALID);
    models_free(m);
}

static int setup(void **state)
{
    (void)state;
    char template[] = "/tmp/steno-test-pool-XXXXXX";
    const char *fixture = getenv("STENO_FIXTURE");
    if (!fixture || !mkdtemp(template))
        return -1;
    folder = xstrdup(template);
    CLEANUP(free_p) char *model = xasprintf("%s/fixture.bin", fixture);
    for (size_t i = 0; i < NAMES; i++) {
        CLEANUP(free_p) char *link = xasprintf("%s/ggml-%s.bin", folder, names[i]);
        if (symlink(model, link) < 0)
            return -1;
    }
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    int rc = io_remove_tree(folder, &err);
    free(folder);
    return rc;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_users_share_a_model),
        cmocka_unit_test(test_idle_models_make_room),
        cmocka_unit_test(test_without_room_a_caller_waits),
        cmocka_unit_test(test_a_cancel_ends_the_wait),
        cmocka_unit_test(test_short_memory),
        cmocka_unit_test(test_inspect),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
