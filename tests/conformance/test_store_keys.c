/* SPDX-License-Identifier: MIT */
/* Submissions that may be repeated: the keys of src/job/store.h. The clock stands still unless a test moves it. */
#include "store_helpers.h"

enum { LEASE_MS = 3000, KEEP_MS = 60000 };

static struct job_key a_key(const char *holder)
{
    return (struct job_key){
        .scope = "/v1/jobs", .name = "order 7", .holder = holder, .lease_ms = LEASE_MS, .keep_ms = KEEP_MS};
}

static int try_key(struct fixture *f, const struct job_key *k, struct kept_answer *ret, int64_t *ret_wait_ms)
{
    struct err e = ERR_INIT;
    *ret = (struct kept_answer){0};
    *ret_wait_ms = -1;
    int rc = store_key_claim(f->store, k, &f->arena, ret, ret_wait_ms, &e);
    if (rc < 0 && rc != ERR_BUSY)
        fail_msg("%s", e.msg);
    return rc;
}

static int claim_key(struct fixture *f, const struct job_key *k)
{
    struct kept_answer kept;
    int64_t wait_ms;
    return try_key(f, k, &kept, &wait_ms);
}

static struct ids submit_with(struct fixture *f, const struct job_key *k)
{
    struct err e = ERR_INIT;
    struct ids id;
    id_new(id.id);
    struct job_new n = a_job(id.id);
    n.key = k;
    n.fingerprint = "print";
    OK(store_submit(f->store, &n, &e));
    return id;
}

static void test_one_request_at_a_time_has_the_key(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    struct job_key one = a_key("one"), two = a_key("two"), elsewhere = a_key("two");
    struct kept_answer kept;
    int64_t wait_ms;
    elsewhere.scope = "/v1/other";
    assert_int_equal(claim_key(f, &one), 1);
    assert_int_equal(try_key(f, &two, &kept, &wait_ms), ERR_BUSY);
    assert_int_equal(wait_ms, LEASE_MS);
    assert_int_equal(claim_key(f, &elsewhere), 1);
    pass(1000);
    assert_int_equal(try_key(f, &two, &kept, &wait_ms), ERR_BUSY);
    assert_int_equal(wait_ms, LEASE_MS - 1000);
    OK(store_key_renew(f->store, &one, &e));
    pass(LEASE_MS - 1);
    assert_int_equal(claim_key(f, &two), ERR_BUSY);
    /* Giving it up frees it at once; another's claim is not touched by that. */
    OK(store_key_release(f->store, &two, &e));
    assert_int_equal(claim_key(f, &two), ERR_BUSY);
    OK(store_key_release(f->store, &one, &e));
    assert_int_equal(claim_key(f, &two), 1);
}

static void test_a_lease_that_ran_out_frees_the_key(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    struct job_key one = a_key("one"), two = a_key("two");
    char id[ID_SIZE];
    assert_int_equal(claim_key(f, &one), 1);
    pass(LEASE_MS);
    /* Time alone loses nothing. */
    OK(store_key_renew(f->store, &one, &e));
    pass(LEASE_MS);
    assert_int_equal(claim_key(f, &two), 1);
    FAILS(ERR_LOST, "came first", store_key_renew(f->store, &one, &e));
    id_new(id);
    struct job_new n = a_job(id);
    n.key = &one;
    FAILS(ERR_LOST, "came first", store_submit(f->store, &n, &e));
    assert_int_equal(fixture_int(f->db, "SELECT count(*) FROM jobs"), 0);
    submit_with(f, &two);
    assert_int_equal(fixture_int(f->db, "SELECT count(*) FROM jobs"), 1);
}

static void test_a_job_keeps_the_key_and_its_answer(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    struct job_key one = a_key("one"), two = a_key("two");
    struct kept_answer kept;
    int64_t wait_ms;
    assert_int_equal(claim_key(f, &one), 1);
    struct ids id = submit_with(f, &one);
    pass(10 * LEASE_MS);
    assert_int_equal(try_key(f, &two, &kept, &wait_ms), 0);
    assert_string_equal(kept.job_id, id.id);
    assert_string_equal(kept.fingerprint, "print");
    assert_int_equal(kept.status, 0);
    assert_null(kept.body);
    const struct kept_answer answer = {.status = 202, .content_type = "text/x", .headers = "A: b\n", .body = "Größe"};
    OK(store_key_answer(f->store, &two, &answer, &e)); /* not the one that submitted */
    assert_int_equal(try_key(f, &two, &kept, &wait_ms), 0);
    assert_int_equal(kept.status, 0);
    OK(store_key_answer(f->store, &one, &answer, &e));
    OK(store_key_release(f->store, &one, &e)); /* gives up nothing that has a job */
    assert_int_equal(try_key(f, &two, &kept, &wait_ms), 0);
    assert_string_equal(kept.job_id, id.id);
    assert_int_equal(kept.status, 202);
    assert_string_equal(kept.content_type, "text/x");
    assert_string_equal(kept.headers, "A: b\n");
    assert_string_equal(kept.body, "Größe");
}

static void test_a_repeated_submit_finds_its_own_job(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    struct job_key one = a_key("one");
    char other[ID_SIZE];
    assert_int_equal(claim_key(f, &one), 1);
    struct ids id = submit_with(f, &one);
    struct job_new n = a_job(id.id);
    n.key = &one;
    OK(store_submit(f->store, &n, &e)); /* its answer had been lost */
    id_new(other);
    n = a_job(other);
    n.key = &one;
    FAILS(ERR_LOST, "came first", store_submit(f->store, &n, &e));
    assert_int_equal(fixture_int(f->db, "SELECT count(*) FROM jobs"), 1);
}

static void test_a_full_queue_binds_nothing(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    struct job_key one = a_key("one");
    char id[ID_SIZE];
    submit(f, QUEUE_NORMAL);
    assert_int_equal(claim_key(f, &one), 1);
    id_new(id);
    struct job_new n = a_job(id);
    n.key = &one;
    n.max_queue = 1;
    FAILS(ERR_BUSY, "queue is full", store_submit(f->store, &n, &e));
    assert_int_equal(fixture_int(f->db, "SELECT count(*) FROM submission_keys WHERE job_id IS NOT NULL"), 0);
    n.max_queue = 2;
    OK(store_submit(f->store, &n, &e));
}

static void test_an_id_that_is_taken_binds_nothing(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    struct job_key one = a_key("one");
    struct ids id = submit(f, QUEUE_NORMAL);
    assert_int_equal(claim_key(f, &one), 1);
    struct job_new n = a_job(id.id);
    n.key = &one;
    FAILS(ERR_CONFLICT, "exists already", store_submit(f->store, &n, &e));
    assert_int_equal(fixture_int(f->db, "SELECT count(*) FROM submission_keys WHERE job_id IS NOT NULL"), 0);
}

static void test_keys_are_forgotten(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    struct job_key one = a_key("one"), two = a_key("two");
    int64_t seq;
    /* With their job ... */
    assert_int_equal(claim_key(f, &one), 1);
    struct ids id = submit_with(f, &one);
    OK(store_cancel(f->store, id.id, &seq, &e));
    OK(store_purge(f->store, id.id, &e));
    assert_int_equal(fixture_int(f->db, "SELECT count(*) FROM submission_keys"), 0);
    /* ... and when their time is over: by the sweeper, and where it has not been yet. */
    assert_int_equal(claim_key(f, &one), 1);
    submit_with(f, &one);
    pass(KEEP_MS - 1);
    OK(store_drop_keys(f->store, &e));
    assert_int_equal(claim_key(f, &two), 0);
    pass(1);
    assert_int_equal(claim_key(f, &two), 1);
    submit_with(f, &two);
    pass(KEEP_MS);
    OK(store_drop_keys(f->store, &e));
    assert_int_equal(fixture_int(f->db, "SELECT count(*) FROM submission_keys"), 0);
    assert_int_equal(fixture_int(f->db, "SELECT count(*) FROM jobs"), 2);
}

struct racer {
    struct fixture *f;
    char holder[8];
    int rc;
};

static void *race(void *arg)
{
    struct racer *r = arg;
    struct arena a = ARENA_INIT;
    struct job_key k = a_key(r->holder);
    struct kept_answer kept;
    struct err e = ERR_INIT;
    int64_t wait_ms;
    r->rc = store_key_claim(r->f->store, &k, &a, &kept, &wait_ms, &e);
    arena_clear(&a);
    return NULL;
}

static void test_of_many_at_once_one_gets_the_key(void **state)
{
    enum { RACERS = 8 };
    struct racer r[RACERS];
    for (int i = 0; i < RACERS; i++) {
        r[i] = (struct racer){.f = *state};
        snprintf(r[i].holder, sizeof r[i].holder, "%d", i);
    }
    fixture_threads(RACERS, race, r, sizeof r[0]);
    int claimed = 0;
    for (int i = 0; i < RACERS; i++) {
        claimed += r[i].rc == 1;
        assert_true(r[i].rc == 1 || r[i].rc == ERR_BUSY);
    }
    assert_int_equal(claimed, 1);
}

#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup_store, fixture_teardown)

int main(void)
{
    if (fixture_skip())
        return 0;
    const struct CMUnitTest tests[] = {
        T(test_one_request_at_a_time_has_the_key),
        T(test_a_lease_that_ran_out_frees_the_key),
        T(test_a_job_keeps_the_key_and_its_answer),
        T(test_a_repeated_submit_finds_its_own_job),
        T(test_a_full_queue_binds_nothing),
        T(test_an_id_that_is_taken_binds_nothing),
        T(test_keys_are_forgotten),
        T(test_of_many_at_once_one_gets_the_key),
    };
    return cmocka_run_group_tests(tests, fixture_setup_group, fixture_teardown_group);
}
