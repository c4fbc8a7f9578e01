/* SPDX-License-Identifier: MIT */
/* A job as those see it who poll: what is in a view, and many callers who share statements. */
#include "store_helpers.h"

#include <stdatomic.h>

static struct job_view view(struct fixture *f, const char *id, bool with_text)
{
    struct err e = ERR_INIT;
    struct job_view v;
    OK(store_view(f->store, id, with_text, &f->arena, &v, &e));
    return v;
}

static void test_a_view_is_the_job_without_its_plan(void **state)
{
    struct fixture *f = *state;
    struct ids id = submit(f, QUEUE_HIGH);
    (void)planned(f, "w", 3);
    struct job j = get(f, id.id);
    struct job_view v = view(f, id.id, false);
    assert_string_equal(v.job.id, id.id);
    assert_int_equal(v.job.state, JOB_PROCESSING);
    assert_int_equal(v.job.seq, j.seq);
    assert_int_equal(v.job.chunks_total, 3);
    assert_string_equal(v.job.audio_key, j.audio_key);
    assert_non_null(j.plan);
    assert_null(v.job.plan);
    assert_false(v.has_result);
}

static void test_a_view_has_the_result_without_its_text(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    struct ids id = completed(f);
    struct job_result r;
    OK(store_get_result(f->store, id.id, &f->arena, &r, &e));
    struct job_view v = view(f, id.id, false);
    assert_int_equal(v.job.state, JOB_COMPLETED);
    assert_true(v.has_result);
    assert_string_equal(v.result.result_key, r.result_key);
    assert_string_equal(v.result.engine, r.engine);
    assert_string_equal(v.result.model, r.model);
    assert_int_equal(v.result.fence, r.fence);
    assert_int_equal(v.result.word_count, r.word_count);
    assert_int_equal(v.result.created_at, r.created_at);
    assert_true(v.result.confidence == r.confidence);
    assert_non_null(r.text);
    assert_null(v.result.text);
    assert_string_equal(view(f, id.id, true).result.text, r.text);
}

static void test_no_such_job(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    struct job_view v;
    FAILS(ERR_NOT_FOUND, "there is no job", store_view(f->store, "nobody", false, &f->arena, &v, &e));
    FAILS(ERR_NOT_FOUND, "there is no job", store_view(f->store, "", true, &f->arena, &v, &e));
}

/* ---- many at once ---- */

enum { CALLERS = 24, ROUNDS = 60, SHOWN = 8 };

struct caller {
    struct fixture *f;
    struct ids *ids; /* SHOWN jobs; then one id that is none */
    unsigned number;
    atomic_int *bad;
};

/* One caller asks for what is not there, one has no memory: neither spoils the others' answers. */
static void *ask_often(void *arg)
{
    const struct caller *c = arg;
    for (unsigned i = 0; i < ROUNDS; i++) {
        struct arena a = ARENA_INIT;
        struct err e = ERR_INIT;
        struct job_view v = {.has_result = false};
        unsigned which = (c->number + i) % (SHOWN + 1);
        bool missing = which == SHOWN, poor = c->number == 0;
        a.max = poor ? 1 : a.max;
        int rc = store_view(c->f->store, missing ? "nobody" : c->ids[which].id, i % 3 == 0, &a, &v, &e);
        int expected = missing ? ERR_NOT_FOUND : poor ? ERR_NOMEM : 0;
        if (rc != expected || (rc == 0 && strcmp(v.job.id, c->ids[which].id) != 0) || (rc < 0 && !e.msg[0]))
            atomic_fetch_add(c->bad, 1);
        arena_clear(&a);
    }
    return NULL;
}

static void test_callers_share_statements_but_not_answers(void **state)
{
    struct fixture *f = *state;
    struct ids ids[SHOWN];
    struct caller callers[CALLERS];
    atomic_int bad = 0;
    for (int i = 0; i < SHOWN; i++)
        ids[i] = submit(f, QUEUE_NORMAL);
    for (unsigned i = 0; i < CALLERS; i++)
        callers[i] = (struct caller){f, ids, i, &bad};
    fixture_threads(CALLERS, ask_often, callers, sizeof callers[0]);
    assert_int_equal(atomic_load(&bad), 0);
}

static void test_a_database_that_is_gone_is_said_to_all(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    struct job_view v;
    struct ids id = submit(f, QUEUE_NORMAL);
    OK(fixture_exec(f->db, "ALTER TABLE results RENAME TO hidden", &e));
    assert_true(store_view(f->store, id.id, false, &f->arena, &v, &e) < 0);
    assert_true(e.msg[0] != '\0');
    e = (struct err)ERR_INIT;
    OK(fixture_exec(f->db, "ALTER TABLE hidden RENAME TO results", &e));
    assert_int_equal(view(f, id.id, false).job.state, JOB_PENDING);
}

#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup_store, fixture_teardown)

int main(void)
{
    if (fixture_skip())
        return 0;
    const struct CMUnitTest tests[] = {
        T(test_a_view_is_the_job_without_its_plan),
        T(test_a_view_has_the_result_without_its_text),
        T(test_no_such_job),
        T(test_callers_share_statements_but_not_answers),
        T(test_a_database_that_is_gone_is_said_to_all),
    };
    return cmocka_run_group_tests(tests, fixture_setup_group, fixture_teardown_group);
}
