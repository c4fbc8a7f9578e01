/* SPDX-License-Identifier: MIT */
/* Loaded models: shared, put out when nobody uses them, waited for in line when there is no room. */
#include "engine/whisper_models.h"

#include "base/clock.h"
#include "base/io.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/thread.h"

#include <jansson.h>
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

static struct models_opts usual(void)
{
    return (struct models_opts){.folder = folder,
                                .precision = WHISPER_F32,
                                .windows = 2,
                                .rows = 16,
                                .threads = 1,
                                .kept = MODELS_MAX,
                                .max = MODELS_MAX};
}

static struct models *make_models(const struct models_opts *o)
{
    struct models *m;
    models_new(o, &m);
    return m;
}

static struct models *new_models(int64_t memory_bytes)
{
    struct models_opts o = usual();
    o.memory_bytes = memory_bytes;
    return make_models(&o);
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

/* ---- who goes, and when ---- */

static json_t *figures(struct models *m)
{
    CLEANUP(buf_clear) struct buf b = BUF_INIT(65536);
    buf_addc(&b, '{');
    models_describe(m, &b);
    buf_addc(&b, '}');
    json_t *root = json_loads(buf_str(&b), JSON_REJECT_DUPLICATES, NULL);
    if (!root)
        fail_msg("no JSON: %s", buf_str(&b));
    return root;
}

static int64_t figure(struct models *m, const char *name)
{
    json_t *root = figures(m);
    const json_t *v = json_object_get(root, name);
    if (!json_is_integer(v))
        fail_msg("no figure '%s'", name);
    int64_t n = json_integer_value(v);
    json_decref(root);
    return n;
}

static void use(struct models *m, const char *name)
{
    models_release(m, must_acquire(m, name));
    clock_sleep_ms(2); /* so that no two were used at the same millisecond */
}

/* One letter for each model that is loaded, by name. */
static void assert_loaded(struct models *m, const char *want)
{
    char got[NAMES + 1] = "";
    size_t n = 0;
    for (size_t i = 0; i < NAMES; i++)
        if (models_loaded(m, names[i]))
            got[n++] = names[i][0];
    assert_string_equal(got, want);
}

static void wait_until_loaded(struct models *m, size_t n)
{
    int64_t began = clock_mono_ms();
    while ((size_t)figure(m, "size") != n) {
        assert_true(clock_mono_ms() - began < GIVE_UP_MS);
        clock_sleep_ms(1);
    }
}

static void test_the_least_recently_used_goes(void **state)
{
    (void)state;
    struct models_opts o = usual();
    o.max = o.kept = 2;
    struct models *m = make_models(&o);
    static const char order[] = "abacab";
    static const char *const loaded[] = {"a", "ab", "ab", "ac", "ac", "ab"};
    for (size_t i = 0; i < ARRAY_LEN(loaded); i++) {
        use(m, (char[]){order[i], 0});
        assert_loaded(m, loaded[i]);
    }
    assert_int_equal(figure(m, "hits"), 2);
    assert_int_equal(figure(m, "misses"), 4);
    assert_int_equal(figure(m, "evictions"), 2);
    assert_int_equal(figure(m, "unloads"), 0);
    models_free(m);
}

static void test_an_idle_model_goes(void **state)
{
    (void)state;
    struct models_opts o = usual();
    o.idle_ms = 20;
    struct models *m = make_models(&o);
    struct loaded *a = must_acquire(m, "a");
    use(m, "b");
    wait_until_loaded(m, 1);
    assert_loaded(m, "a"); /* it is in use */
    models_release(m, a);
    wait_until_loaded(m, 0);
    assert_int_equal(figure(m, "unloads"), 2);
    assert_int_equal(figure(m, "evictions"), 0);
    assert_int_equal(figure(m, "memory_mb"), 0);
    use(m, "a"); /* it can come back, and go again */
    wait_until_loaded(m, 0);
    assert_int_equal(figure(m, "misses"), 3);
    models_free(m);
}

static void test_only_so_many_stay(void **state)
{
    (void)state;
    struct models_opts o = usual();
    o.kept = 1;
    o.spare_ms = 20;
    struct models *m = make_models(&o);
    struct loaded *b = NULL;
    use(m, "a");
    b = must_acquire(m, "b");
    use(m, "c");
    models_release(m, b);
    wait_until_loaded(m, 1);
    assert_loaded(m, "b"); /* used last */
    assert_int_equal(figure(m, "unloads"), 2);
    models_free(m);
}

/* Memory that an idle model gives back lets the one go on that waits for it. */
static void test_an_unload_ends_a_wait(void **state)
{
    (void)state;
    struct models_opts o = usual();
    o.memory_bytes = need_of_one();
    o.idle_ms = 1;
    struct models *m = make_models(&o);
    struct loaded *a = must_acquire(m, "a");
    struct wish b;
    wish_start(&b, m, "b");
    wait_for_line(m, 1);
    assert_int_equal(figure(m, "waiting"), 1);
    models_release(m, a);
    assert_int_equal(wish_end(&b), 0);
    models_release(m, b.got);
    models_free(m);
}

static void test_nobody_waits_for_ever(void **state)
{
    (void)state;
    struct models_opts o = usual();
    o.max = o.kept = 1;
    o.wait_ms = 300;
    struct models *m = make_models(&o);
    struct loaded *a = must_acquire(m, "a"), *l = NULL;
    struct err err = ERR_INIT;
    assert_int_equal(models_acquire(m, "b", NULL, &l, &err), ERR_BUSY);
    assert_string_equal(err.msg,
                        "model 'b' found no room for 0.3 s (model_acquire_timeout): 1 others are in use, and no "
                        "more may be loaded (model_pool_max_size)");
    assert_int_equal(figure(m, "timeouts"), 1);
    assert_int_equal(models_waiting(m), 0);
    models_release(m, must_acquire(m, "a")); /* nobody stands in its way */
    models_release(m, a);
    use(m, "b");
    models_free(m);
}

static void test_figures(void **state)
{
    (void)state;
    struct models *m = new_models((int64_t)1 << 32);
    json_t *root = figures(m);
    assert_true(json_is_null(json_object_get(root, "hit_rate")));
    assert_int_equal(json_array_size(json_object_get(root, "models")), 0);
    json_decref(root);

    struct loaded *first = must_acquire(m, "a"), *second = must_acquire(m, "a");
    use(m, "a");
    use(m, "b");
    models_fell_back(m);
    root = figures(m);
    const json_t *a = json_array_get(json_object_get(root, "models"), 0);
    assert_string_equal(json_string_value(json_object_get(a, "name")), "a");
    const json_t *b = json_array_get(json_object_get(root, "models"), 1);
    const struct {
        const json_t *of;
        const char *name;
        int64_t value;
    } rows[] = {
        {root, "hits", 2},
        {root, "misses", 2},
        {root, "evictions", 0},
        {root, "oom_fallbacks", 1},
        {root, "timeouts", 0},
        {root, "waiting", 0},
        {root, "size", 2},
        {root, "pool_size", MODELS_MAX},
        {root, "max_size", MODELS_MAX},
        {root, "memory_budget_mb", 4096},
        {a, "use_count", 3},
        {a, "in_use", 2},
        {a, "windows", 2},
        {b, "use_count", 1},
        {b, "in_use", 0},
        {b, "windows", 2},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (json_integer_value(json_object_get(rows[i].of, rows[i].name)) != rows[i].value)
            fail_msg("row %zu: %s", i, rows[i].name);
    assert_true(json_real_value(json_object_get(root, "hit_rate")) == 0.5);
    int64_t mb = json_integer_value(json_object_get(a, "memory_mb"));
    assert_true(mb > 20 && mb < 1000);
    assert_in_range(json_integer_value(json_object_get(root, "memory_mb")), 2 * mb - 1, 2 * mb);
    assert_int_equal(json_integer_value(json_object_get(root, "load_ms_total")),
                     json_integer_value(json_object_get(a, "load_ms")) +
                         json_integer_value(json_object_get(b, "load_ms")));
    assert_int_equal(json_integer_value(json_object_get(root, "load_ms_last")),
                     json_integer_value(json_object_get(b, "load_ms")));
    char now[TIME_ISO_SIZE];
    time_iso(clock_wall_ms(), now);
    const char *loaded_at = json_string_value(json_object_get(b, "loaded_at"));
    const char *last_used = json_string_value(json_object_get(b, "last_used"));
    assert_true(loaded_at && last_used && strcmp(loaded_at, last_used) <= 0 && strcmp(last_used, now) <= 0);
    assert_int_equal(strlen(loaded_at), strlen(now));
    json_decref(root);
    models_release(m, second);
    models_release(m, first);
    models_free(m);
}

/* ---- opening ---- */

/* What there is no room for is refused before any memory is taken, and packing can be stopped. */
static void test_a_refusal_costs_nothing(void **state)
{
    (void)state;
    CLEANUP(free_p) char *path = xasprintf("%s/ggml-a.bin", folder), *cache = xasprintf("%s/cache", folder);
    const struct whisper_batcher_opts bo = {.threads = 1, .max_windows = 1, .max_rows = 16};
    struct cancel cancel = {.also = NULL};
    struct whisper_model_opts o = {
        .precision = WHISPER_F32, .cache_folder = cache, .batcher = &bo, .room_bytes = need_of_one() - (2 << 20)};
    struct whisper_model *model = NULL;
    struct err err = ERR_INIT;
    assert_int_equal(whisper_model_open(path, &o, &model, &err), ERR_NOMEM);
    assert_non_null(strstr(err.msg, "model 'a' needs "));
    assert_int_equal(access(cache, F_OK), -1);
    o.room_bytes = need_of_one();
    o.cancel = &cancel;
    cancel_set(&cancel);
    assert_int_equal(whisper_model_open(path, &o, &model, &err), ERR_CANCELLED);
    o.cancel = NULL;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(whisper_model_open(path, &o, &model, &err), 0);
        assert_int_equal(whisper_model_info(model)->from_cache, i); /* the cancelled one kept nothing */
        whisper_model_unref(model);
    }
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
        cmocka_unit_test(test_the_least_recently_used_goes),
        cmocka_unit_test(test_an_idle_model_goes),
        cmocka_unit_test(test_only_so_many_stay),
        cmocka_unit_test(test_an_unload_ends_a_wait),
        cmocka_unit_test(test_nobody_waits_for_ever),
        cmocka_unit_test(test_figures),
        cmocka_unit_test(test_a_refusal_costs_nothing),
        cmocka_unit_test(test_inspect),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
