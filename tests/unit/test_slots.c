/* SPDX-License-Identifier: MIT */
#include "worker/slots.h"

#include "base/macros.h"
#include "base/mem.h"
#include "base/thread.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

enum { LONG_WAIT_MS = 60000 };

/* Where tasks write down that they ran, in the order they did. */
struct journal {
    atomic_int n;
    int who[4096];
};

struct note {
    struct slot_task task;
    struct journal *journal;
    int who;
};

static void write_down(struct slot_task *t)
{
    struct note *n = CONTAINER_OF(t, struct note, task);
    n->journal->who[atomic_fetch_add(&n->journal->n, 1)] = n->who;
}

/* A task that keeps its thread until somebody opens it. */
struct gate {
    struct slot_task task;
    pthread_mutex_t mu;
    pthread_cond_t changed;
    bool entered, open;
};

static void hold(struct slot_task *t)
{
    struct gate *g = CONTAINER_OF(t, struct gate, task);
    pthread_mutex_lock(&g->mu);
    g->entered = true;
    pthread_cond_broadcast(&g->changed);
    while (!g->open)
        pthread_cond_wait(&g->changed, &g->mu);
    pthread_mutex_unlock(&g->mu);
}

static void gate_init(struct gate *g)
{
    *g = (struct gate){.task = {.run = hold}};
    pthread_mutex_init(&g->mu, NULL);
    cond_init(&g->changed);
}

static void gate_wait_entered(struct gate *g)
{
    pthread_mutex_lock(&g->mu);
    while (!g->entered)
        pthread_cond_wait(&g->changed, &g->mu);
    pthread_mutex_unlock(&g->mu);
}

static void gate_open(struct gate *g)
{
    pthread_mutex_lock(&g->mu);
    g->open = true;
    pthread_cond_broadcast(&g->changed);
    pthread_mutex_unlock(&g->mu);
}

static struct slots *make(unsigned threads)
{
    struct err err = ERR_INIT;
    struct slots *s = NULL;
    assert_int_equal(slots_new(threads, &s, &err), 0);
    assert_int_equal(slots_count(s), threads);
    return s;
}

static void drain(struct lane *l, int n)
{
    for (int i = 0; i < n; i++)
        assert_non_null(lane_next(l, LONG_WAIT_MS));
}

static void test_short_lane_does_not_wait_for_long_one(void **state)
{
    (void)state;
    enum { MANY = 1000, LONG = 1, SHORT = 2 };
    struct slots *s = make(1);
    struct lane *long_lane = lane_open(s), *short_lane = lane_open(s);
    struct gate gate;
    struct journal journal = {0};
    struct note *many = xcalloc(MANY, sizeof *many), few[3];

    gate_init(&gate);
    lane_post(long_lane, &gate.task);
    gate_wait_entered(&gate);
    for (int i = 0; i < MANY; i++) {
        many[i] = (struct note){{.run = write_down}, &journal, LONG};
        lane_post(long_lane, &many[i].task);
    }
    for (size_t i = 0; i < ARRAY_LEN(few); i++) {
        few[i] = (struct note){{.run = write_down}, &journal, SHORT};
        lane_post(short_lane, &few[i].task);
    }
    gate_open(&gate);
    drain(short_lane, ARRAY_LEN(few));
    drain(long_lane, MANY + 1);

    /* The one without a turn yet, then in turn, although all of the long lane was there first. */
    static const int expect[] = {SHORT, LONG, SHORT, LONG, SHORT, LONG, LONG, LONG};
    for (size_t i = 0; i < ARRAY_LEN(expect); i++)
        assert_int_equal(journal.who[i], expect[i]);
    assert_int_equal(atomic_load(&journal.n), MANY + 3);
    lane_close(long_lane);
    lane_close(short_lane);
    slots_free(s);
    free(many);
}

/* New lanes, in the order in which they came, and those that had a turn alternate; then all take turns. */
static void test_new_lanes_and_old_ones_alternate(void **state)
{
    (void)state;
    enum { OLD = 4, NEW = 3, EACH = 3 };
    struct slots *s = make(1);
    struct lane *lanes[OLD + NEW], *first = lane_open(s);
    struct gate gate;
    struct journal journal = {0};
    struct note notes[OLD + NEW][EACH];
    for (int i = 0; i < OLD + NEW; i++) {
        lanes[i] = lane_open(s);
        for (int k = 0; k < EACH; k++)
            notes[i][k] = (struct note){{.run = write_down}, &journal, i};
    }
    for (int i = 0; i < OLD; i++) {
        lane_post(lanes[i], &notes[i][0].task);
        drain(lanes[i], 1);
    }
    gate_init(&gate);
    lane_post(first, &gate.task);
    gate_wait_entered(&gate);
    for (int i = 0; i < OLD + NEW; i++)
        for (int k = i < OLD; k < EACH; k++)
            lane_post(lanes[i], &notes[i][k].task);
    gate_open(&gate);
    drain(first, 1);
    for (int i = 0; i < OLD + NEW; i++)
        drain(lanes[i], i < OLD ? EACH - 1 : EACH);
    static const int expect[] = {4, 0, 5, 1, 6, 2, 3, 4, 0, 5, 1, 6, 2, 3, 4, 5, 6};
    for (size_t i = 0; i < ARRAY_LEN(expect); i++)
        assert_int_equal(journal.who[OLD + i], expect[i]);
    for (int i = 0; i < OLD + NEW; i++)
        lane_close(lanes[i]);
    lane_close(first);
    slots_free(s);
}

/* However many lanes with one task come: those of the long one get every other turn. */
static void test_clips_without_end_do_not_starve_a_long_lane(void **state)
{
    (void)state;
    enum { LONG = 5, CLIPS = 50, CLIP = -1 };
    struct slots *s = make(1);
    struct lane *long_lane = lane_open(s), *clips[CLIPS];
    struct gate gate;
    struct journal journal = {0};
    struct note of_long[LONG], of_clips[CLIPS];
    gate_init(&gate);
    lane_post(long_lane, &gate.task);
    gate_wait_entered(&gate);
    for (int i = 0; i < CLIPS; i++) {
        clips[i] = lane_open(s);
        of_clips[i] = (struct note){{.run = write_down}, &journal, CLIP};
        lane_post(clips[i], &of_clips[i].task);
    }
    for (int i = 0; i < LONG; i++) {
        of_long[i] = (struct note){{.run = write_down}, &journal, i};
        lane_post(long_lane, &of_long[i].task);
    }
    gate_open(&gate);
    drain(long_lane, LONG + 1);
    for (int i = 0; i < CLIPS; i++)
        drain(clips[i], 1);
    for (int i = 0; i < 2 * LONG; i++)
        assert_int_equal(journal.who[i], i % 2 ? i / 2 : CLIP);
    assert_int_equal(atomic_load(&journal.n), LONG + CLIPS);
    for (int i = 0; i < CLIPS; i++)
        lane_close(clips[i]);
    lane_close(long_lane);
    slots_free(s);
}

static void test_tasks_of_a_lane_start_in_order(void **state)
{
    (void)state;
    struct slots *s = make(1);
    struct lane *l = lane_open(s);
    struct journal journal = {0};
    struct note notes[50];
    for (int i = 0; i < 50; i++) {
        notes[i] = (struct note){{.run = write_down}, &journal, i};
        lane_post(l, &notes[i].task);
    }
    drain(l, 50);
    for (int i = 0; i < 50; i++)
        assert_int_equal(journal.who[i], i);
    lane_close(l);
    slots_free(s);
}

static void test_withdraw_takes_back_what_has_not_started(void **state)
{
    (void)state;
    struct slots *s = make(1);
    struct lane *l = lane_open(s), *other = lane_open(s);
    struct gate gate;
    struct journal journal = {0};
    struct note a = {{.run = write_down}, &journal, 1}, b = {{.run = write_down}, &journal, 2},
                c = {{.run = write_down}, &journal, 3};
    gate_init(&gate);
    lane_post(l, &gate.task);
    gate_wait_entered(&gate);
    lane_post(l, &a.task);
    lane_post(l, &b.task);
    lane_post(other, &c.task);
    assert_ptr_equal(lane_withdraw(l), &a.task);
    assert_ptr_equal(lane_withdraw(l), &b.task);
    assert_null(lane_withdraw(l));
    assert_null(lane_next(l, 0)); /* the gate is still in work */
    gate_open(&gate);
    assert_ptr_equal(lane_next(l, LONG_WAIT_MS), &gate.task);
    /* The emptied lane stands in the ring; closing it must not lose the one behind it. */
    lane_close(l);
    assert_ptr_equal(lane_next(other, LONG_WAIT_MS), &c.task);
    lane_close(other);
    assert_int_equal(atomic_load(&journal.n), 1);
    slots_free(s);
}

static void test_next_times_out(void **state)
{
    (void)state;
    struct slots *s = make(1);
    struct lane *l = lane_open(s);
    assert_null(lane_next(l, 20));
    lane_close(l);
    slots_free(s);
}

/* Many jobs over few threads: everything comes back to its own lane, once. */
enum { CROWD_LANES = 6, CROWD_TASKS = 300 };

struct crowd {
    struct slots *slots;
    struct journal *journal;
    int lane;
    int returned;
};

static void *crowd_main(void *arg)
{
    struct crowd *c = arg;
    struct lane *l = lane_open(c->slots);
    struct note notes[4];
    int posted = 0, in_flight = 0;
    for (; posted < 4; posted++, in_flight++) {
        notes[posted] = (struct note){{.run = write_down}, c->journal, c->lane};
        lane_post(l, &notes[posted].task);
    }
    while (in_flight > 0) {
        struct slot_task *t = lane_next(l, LONG_WAIT_MS);
        if (!t)
            break;
        c->returned += CONTAINER_OF(t, struct note, task)->who == c->lane;
        in_flight--;
        if (posted < CROWD_TASKS) {
            lane_post(l, t);
            posted++;
            in_flight++;
        }
    }
    lane_close(l);
    return NULL;
}

static void test_many_lanes_on_few_threads(void **state)
{
    (void)state;
    struct slots *s = make(3);
    struct journal *journal = xcalloc(1, sizeof *journal);
    struct crowd crowd[CROWD_LANES];
    pthread_t threads[CROWD_LANES];
    struct err err = ERR_INIT;
    for (int i = 0; i < CROWD_LANES; i++) {
        crowd[i] = (struct crowd){s, journal, i, 0};
        assert_int_equal(thread_start(&threads[i], "crowd", crowd_main, &crowd[i], &err), 0);
    }
    for (int i = 0; i < CROWD_LANES; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(crowd[i].returned, CROWD_TASKS);
    }
    assert_int_equal(atomic_load(&journal->n), CROWD_LANES * CROWD_TASKS);
    slots_free(s);
    free(journal);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_short_lane_does_not_wait_for_long_one),
        cmocka_unit_test(test_new_lanes_and_old_ones_alternate),
        cmocka_unit_test(test_clips_without_end_do_not_starve_a_long_lane),
        cmocka_unit_test(test_tasks_of_a_lane_start_in_order),
        cmocka_unit_test(test_withdraw_takes_back_what_has_not_started),
        cmocka_unit_test(test_next_times_out),
        cmocka_unit_test(test_many_lanes_on_few_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
