/* SPDX-License-Identifier: MIT */
/* Threads other than the first only count and store: an assertion there would jump between stacks. */
#include "base/thread.h"

#include "base/clock.h"
#include "base/macros.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

/* A gate: tasks that wait behind it until the test opens it. */
struct gate {
    pthread_mutex_t mu;
    pthread_cond_t changed;
    bool open;   /* guarded by mu, as below */
    int waiting; /* tasks that have come to the gate */
    int passed;
};

static void gate_init(struct gate *g)
{
    *g = (struct gate){.open = false};
    pthread_mutex_init(&g->mu, NULL);
    cond_init(&g->changed);
}

static void gate_clear(struct gate *g)
{
    pthread_cond_destroy(&g->changed);
    pthread_mutex_destroy(&g->mu);
}

static void wait_at_gate(void *arg)
{
    struct gate *g = arg;
    pthread_mutex_lock(&g->mu);
    g->waiting++;
    pthread_cond_broadcast(&g->changed);
    while (!g->open)
        cond_wait_ms(&g->changed, &g->mu, -1);
    g->passed++;
    pthread_mutex_unlock(&g->mu);
}

static void await_waiting(struct gate *g, int n)
{
    pthread_mutex_lock(&g->mu);
    while (g->waiting < n)
        cond_wait_ms(&g->changed, &g->mu, -1);
    pthread_mutex_unlock(&g->mu);
}

static void open_gate(struct gate *g)
{
    pthread_mutex_lock(&g->mu);
    g->open = true;
    pthread_cond_broadcast(&g->changed);
    pthread_mutex_unlock(&g->mu);
}

struct seen {
    bool blocked_term, blocked_segv;
};

static void *look_around(void *arg)
{
    struct seen *s = arg;
    sigset_t set;
    pthread_sigmask(SIG_SETMASK, NULL, &set);
    s->blocked_term = sigismember(&set, SIGTERM) == 1 && sigismember(&set, SIGINT) == 1;
    s->blocked_segv = sigismember(&set, SIGSEGV) == 1;
    return arg;
}

static void *stay(void *arg)
{
    wait_at_gate(arg);
    return NULL;
}

static void test_a_thread(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    struct seen s = {false, true};
    sigset_t before, after;
    pthread_sigmask(SIG_SETMASK, NULL, &before);
    pthread_t t;
    assert_int_equal(thread_start(&t, "looker", look_around, &s, &e), 0);
    void *ret = NULL;
    assert_int_equal(pthread_join(t, &ret), 0);
    assert_ptr_equal(ret, &s);
    assert_true(s.blocked_term);
    assert_false(s.blocked_segv); /* else a sanitizer could not report it */
    pthread_sigmask(SIG_SETMASK, NULL, &after);
    assert_int_equal(sigismember(&after, SIGTERM), sigismember(&before, SIGTERM)); /* ours is as before */
}

static void test_names_are_cut(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    struct gate g;
    gate_init(&g);
    pthread_t t;
    assert_int_equal(thread_start(&t, "a-name-of-20-letters", stay, &g, &e), 0);
    char name[32] = "";
    assert_int_equal(pthread_getname_np(t, name, sizeof name), 0);
    assert_string_equal(name, "a-name-of-20-le");
    open_gate(&g);
    pthread_join(t, NULL);
    gate_clear(&g);
}

static void test_waiting_with_a_limit(void **state)
{
    (void)state;
    pthread_mutex_t mu = PTHREAD_MUTEX_INITIALIZER;
    pthread_cond_t c;
    cond_init(&c);
    pthread_mutex_lock(&mu);
    int64_t t = clock_mono_ms();
    while (cond_wait_ms(&c, &mu, 30)) /* true would be a spurious wake-up */
        t = clock_mono_ms();
    assert_true(clock_mono_ms() - t >= 29);
    /* At once, but it may be woken for no reason. */
    while (cond_wait_ms(&c, &mu, 0))
        ;
    pthread_mutex_unlock(&mu);
    pthread_cond_destroy(&c);
}

static void test_queue_is_bounded(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    struct pool *p = NULL;
    struct gate g;
    gate_init(&g);
    assert_int_equal(pool_new("test", 2, 3, &p, &e), 0);
    assert_true(pool_try_run(p, wait_at_gate, &g));
    assert_true(pool_try_run(p, wait_at_gate, &g));
    await_waiting(&g, 2); /* both threads are busy now */
    assert_int_equal(pool_queued(p), 0);
    for (size_t i = 0; i < 3; i++) {
        assert_true(pool_try_run(p, wait_at_gate, &g));
        assert_int_equal(pool_queued(p), i + 1);
    }
    assert_false(pool_try_run(p, wait_at_gate, &g));
    assert_int_equal(pool_queued(p), 3);
    open_gate(&g);
    pool_free(p); /* runs what is queued */
    assert_int_equal(g.passed, 5);
    gate_clear(&g);
}

struct numbered {
    int *next; /* only ever used by the pool's one thread */
    int got;
};

static void take_number(void *arg)
{
    struct numbered *n = arg;
    n->got = (*n->next)++;
}

static void test_one_thread_keeps_the_order(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    struct pool *p = NULL;
    struct gate g;
    gate_init(&g);
    int next = 0;
    struct numbered tasks[64];
    assert_int_equal(pool_new("test", 1, 65, &p, &e), 0);
    assert_true(pool_try_run(p, wait_at_gate, &g));
    for (size_t i = 0; i < 64; i++) {
        tasks[i] = (struct numbered){.next = &next, .got = -1};
        assert_true(pool_try_run(p, take_number, &tasks[i]));
    }
    open_gate(&g);
    pool_free(p);
    for (int i = 0; i < 64; i++)
        assert_int_equal(tasks[i].got, i);
    gate_clear(&g);
}

/* Many threads hand tasks in while others run them; the ring goes round many times. */
enum { FEEDERS = 4, EACH = 5000 };

struct feeder {
    struct pool *pool;
    atomic_int *ran;
    int taken, refused;
};

static void count(void *arg)
{
    atomic_int *ran = arg;
    atomic_fetch_add(ran, 1);
}

static void *feed(void *arg)
{
    struct feeder *f = arg;
    while (f->taken < EACH) {
        if (pool_try_run(f->pool, count, f->ran))
            f->taken++;
        else
            f->refused++;
    }
    return NULL;
}

static void test_every_task_runs_once(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    struct pool *p = NULL;
    atomic_int ran = 0;
    assert_int_equal(pool_new("test", 3, 7, &p, &e), 0);
    struct feeder f[FEEDERS];
    pthread_t t[FEEDERS];
    for (int i = 0; i < FEEDERS; i++) {
        f[i] = (struct feeder){.pool = p, .ran = &ran};
        assert_int_equal(thread_start(&t[i], "feeder", feed, &f[i], &e), 0);
    }
    for (int i = 0; i < FEEDERS; i++)
        pthread_join(t[i], NULL);
    pool_free(p);
    assert_int_equal(atomic_load(&ran), FEEDERS * EACH);
}

/* A task hands in another one; while the pool stops it is refused and stays the caller's. */
struct chain {
    struct pool *pool;
    struct gate *gate;
    atomic_int ran;
    int taken;
};

static void hand_in_another(void *arg)
{
    struct chain *c = arg;
    wait_at_gate(c->gate);
    /* Refused with room in the queue: the pool is stopping. One that never refuses keeps this task for ever. */
    for (;;) {
        if (pool_try_run(c->pool, count, &c->ran))
            c->taken++;
        else if (!pool_queued(c->pool))
            return;
    }
}

static void *free_pool(void *arg)
{
    pool_free(arg);
    return NULL;
}

static void test_stopping(void **state)
{
    (void)state;
    pool_free(NULL);
    struct err e = ERR_INIT;
    struct pool *p = NULL;
    struct gate g;
    gate_init(&g);
    assert_int_equal(pool_new("test", 2, 1000, &p, &e), 0);
    struct chain c = {.pool = p, .gate = &g, .ran = 0};
    assert_true(pool_try_run(p, hand_in_another, &c));
    await_waiting(&g, 1);
    pthread_t t;
    assert_int_equal(thread_start(&t, "free", free_pool, p, &e), 0);
    open_gate(&g);
    pthread_join(t, NULL);                          /* the task ended, so it was refused in the end */
    assert_int_equal(atomic_load(&c.ran), c.taken); /* what was taken did run */
    gate_clear(&g);
}

static void test_no_threads_means_one(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    struct pool *p = NULL;
    atomic_int ran = 0;
    assert_int_equal(pool_new("test", 0, 0, &p, &e), 0);
    assert_true(pool_try_run(p, count, &ran));
    pool_free(p);
    assert_int_equal(atomic_load(&ran), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_thread),
        cmocka_unit_test(test_names_are_cut),
        cmocka_unit_test(test_waiting_with_a_limit),
        cmocka_unit_test(test_queue_is_bounded),
        cmocka_unit_test(test_one_thread_keeps_the_order),
        cmocka_unit_test(test_every_task_runs_once),
        cmocka_unit_test(test_stopping),
        cmocka_unit_test(test_no_threads_means_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
