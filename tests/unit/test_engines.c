/* SPDX-License-Identifier: MIT */
/* The engines of a worker while one of them takes its time to open: engine_open is this program's own. */
#include "worker/engines.h"

#include "base/stop.h"
#include "base/thread.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct {
    pthread_mutex_t mu;
    pthread_cond_t changed;
    bool block, blocked;
    int opened;
} door = {.mu = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

int __real_engine_open(const struct engine_opts *o, struct engine **ret, struct err *err);
int __wrap_engine_open(const struct engine_opts *o, struct engine **ret, struct err *err);

int __wrap_engine_open(const struct engine_opts *o, struct engine **ret, struct err *err)
{
    pthread_mutex_lock(&door.mu);
    door.opened++;
    door.blocked = true;
    pthread_cond_broadcast(&door.changed);
    while (door.block)
        pthread_cond_wait(&door.changed, &door.mu);
    pthread_mutex_unlock(&door.mu);
    return __real_engine_open(o, ret, err);
}

struct getter {
    struct engines *engines;
    const char *name;
    struct engine *engine;
    int rc;
};

static void *get(void *arg)
{
    struct getter *g = arg;
    struct err err = ERR_INIT;
    g->rc = engines_get(g->engines, g->name, &g->engine, &err);
    return NULL;
}

static void wait_until_blocked(void)
{
    pthread_mutex_lock(&door.mu);
    while (!door.blocked)
        pthread_cond_wait(&door.changed, &door.mu);
    pthread_mutex_unlock(&door.mu);
}

static void describe(struct engines *e, struct buf *b)
{
    engines_describe(e, b);
    engines_describe_models(e, b);
    engines_describe_pool(e, b);
}

/* Who describes them (the keeper, between two renewals) does not wait; who wants the same engine does, and gets it. */
static void test_a_slow_opening_holds_up_no_description(void **state)
{
    const char *name = *state;
    const struct engine_opts opts = {.name = "null"};
    struct engines *e = NULL;
    struct err err = ERR_INIT;
    pthread_t threads[2];
    engines_new(&opts, NULL, true, &e);
    struct getter getters[2] = {{.engines = e, .name = name}, {.engines = e, .name = name}};
    door.block = true;
    door.blocked = false;
    door.opened = 0;
    for (int i = 0; i < 2; i++)
        assert_int_equal(thread_start(&threads[i], "getter", get, &getters[i], &err), 0);
    wait_until_blocked();
    CLEANUP(buf_clear) struct buf during = BUF_INIT(1000);
    CLEANUP(buf_clear) struct buf after = BUF_INIT(1000);
    describe(e, &during);
    assert_string_equal(buf_str(&during), "{}[]{}");

    pthread_mutex_lock(&door.mu);
    door.block = false;
    pthread_cond_broadcast(&door.changed);
    pthread_mutex_unlock(&door.mu);
    for (int i = 0; i < 2; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(getters[i].rc, 0);
    }
    assert_ptr_equal(getters[0].engine, getters[1].engine);
    assert_int_equal(door.opened, 1);
    engines_describe(e, &after);
    assert_non_null(strstr(buf_str(&after), "\"null\":"));
    engines_free(e);
}

int main(void)
{
    static char null[] = "null";
    const struct CMUnitTest tests[] = {
        {"test_a_slow_opening_of_the_default", test_a_slow_opening_holds_up_no_description, NULL, NULL, NULL},
        {"test_a_slow_opening_of_a_named_one", test_a_slow_opening_holds_up_no_description, NULL, NULL, null},
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
