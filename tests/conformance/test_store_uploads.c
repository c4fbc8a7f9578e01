/* SPDX-License-Identifier: MIT */
/* Objects that clients put into storage by themselves, and reads for lists with texts and for estimates. */
#include "store_helpers.h"

#include <stdio.h>

static struct job_upload an_upload(char id[ID_SIZE], char key[80])
{
    id_new(id);
    snprintf(key, 80, "uploads/%.36s/a.mp3", id);
    return (struct job_upload){
        .id = id, .key = key, .filename = "a.mp3", .content_type = "audio/mpeg", .size = 5, .expires_at = 2000000};
}

/* The submission of an upload as the api makes it. */
static struct job_new job_of(const struct job_upload *u)
{
    struct job_new n = a_job(u->id);
    n.audio_key = u->key;
    n.audio_sha256 = "etag:\"1\"";
    n.audio_bytes = 7;
    n.uploaded = true;
    return n;
}

static void test_an_upload_is_kept_and_used_once(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    char id[ID_SIZE], key[80];
    struct job_upload u = an_upload(id, key), got;
    OK(store_add_upload(f->store, &u, &e));
    OK(store_get_upload(f->store, id, &f->arena, &got, &e));
    assert_string_equal(got.id, id);
    assert_string_equal(got.key, key);
    assert_string_equal(got.filename, "a.mp3");
    assert_string_equal(got.content_type, "audio/mpeg");
    assert_int_equal(got.size, 5);
    assert_int_equal(got.created_at, 1000000);
    assert_int_equal(got.expires_at, 2000000);
    assert_int_equal(got.used_at, 0);
    assert_null(got.etag);

    OK(store_upload_comes(f->store, id, "ee", &e));
    OK(store_upload_comes(f->store, id, "ee", &e));
    FAILS(ERR_CONFLICT, "another recording", store_upload_comes(f->store, id, "ff", &e));
    OK(store_get_upload(f->store, id, &f->arena, &got, &e));
    assert_string_equal(got.etag, "ee");
    assert_int_equal(got.size, 5);

    const struct job_new n = job_of(&u);
    pass(10);
    OK(store_submit(f->store, &n, &e));
    OK(store_get_upload(f->store, id, &f->arena, &got, &e));
    assert_int_equal(got.used_at, 1000010);
    assert_int_equal(got.size, 7);
    assert_string_equal(got.etag, "etag:\"1\"");
    FAILS(ERR_CONFLICT, "has become a job", store_upload_comes(f->store, id, "ee", &e));

    int64_t seq;
    OK(store_cancel(f->store, id, &seq, &e));
    OK(store_purge(f->store, id, &e));
    FAILS(ERR_NOT_FOUND, "no upload", store_get_upload(f->store, id, &f->arena, &got, &e));
}

static void test_a_refused_submission_uses_nothing(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    char id[ID_SIZE], key[80];
    struct job_upload u = an_upload(id, key), got;
    OK(store_add_upload(f->store, &u, &e));
    submit(f, QUEUE_NORMAL);
    struct job_new n = job_of(&u);
    n.max_queue = 1;
    FAILS(ERR_BUSY, "queue is full", store_submit(f->store, &n, &e));
    OK(store_get_upload(f->store, id, &f->arena, &got, &e));
    assert_int_equal(got.used_at, 0);
}

static void test_unknown_and_doubled(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    char id[ID_SIZE], key[80], other[ID_SIZE];
    struct job_upload u = an_upload(id, key), got;
    id_new(other);
    FAILS(ERR_NOT_FOUND, "no upload", store_get_upload(f->store, id, &f->arena, &got, &e));
    FAILS(ERR_NOT_FOUND, "no upload", store_get_upload(f->store, "../x", &f->arena, &got, &e));
    FAILS(ERR_NOT_FOUND, "no upload", store_upload_comes(f->store, id, "ff", &e));
    u.size = -1;
    u.content_type = NULL;
    OK(store_add_upload(f->store, &u, &e));
    OK(store_get_upload(f->store, id, &f->arena, &got, &e));
    assert_int_equal(got.size, -1);
    assert_null(got.content_type);
    FAILS(ERR_CONFLICT, "", store_add_upload(f->store, &u, &e));
    u.id = other;
    FAILS(ERR_CONFLICT, "", store_add_upload(f->store, &u, &e));
}

static void test_those_that_nobody_used_are_forgotten(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    char ids[3][ID_SIZE], keys[3][80];
    struct job_upload u[3], got;
    bool wanted;
    for (int i = 0; i < 3; i++) {
        u[i] = an_upload(ids[i], keys[i]);
        u[i].expires_at = i == 0 ? 500 : 900; /* the first two are old */
        u[i].expires_at += i == 2 ? 1000 : 0;
        OK(store_add_upload(f->store, &u[i], &e));
    }
    const struct job_new n = job_of(&u[1]);
    OK(store_submit(f->store, &n, &e));
    OK(store_drop_uploads(f->store, 1000, &e));
    FAILS(ERR_NOT_FOUND, "no upload", store_get_upload(f->store, ids[0], &f->arena, &got, &e));
    OK(store_get_upload(f->store, ids[1], &f->arena, &got, &e)); /* a job has it */
    OK(store_get_upload(f->store, ids[2], &f->arena, &got, &e)); /* good for some more time */
    OK(store_key_wanted(f->store, keys[0], &wanted, &e));
    assert_false(wanted);
    OK(store_key_wanted(f->store, keys[1], &wanted, &e));
    assert_true(wanted);
    OK(store_key_wanted(f->store, keys[2], &wanted, &e));
    assert_true(wanted);
}

static void test_results_of_a_page(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    struct ids done[2];
    done[0] = completed(f);
    pass(1);
    struct ids lost = failed(f);
    pass(1);
    done[1] = completed(f);
    pass(1);
    struct job_page page;
    struct job_result results[4];
    OK(store_page_results(f->store, &(struct job_page){.n = 0}, &f->arena, results, &e));
    OK(store_list(f->store, &(struct job_filter){.any_state = true, .limit = 4}, &f->arena, &page, &e));
    assert_int_equal(page.n, 3);
    OK(store_page_results(f->store, &page, &f->arena, results, &e));
    assert_string_equal(page.jobs[0].id, done[1].id);
    assert_string_equal(results[0].text, a_result.text);
    assert_string_equal(page.jobs[1].id, lost.id);
    assert_null(results[1].text);
    assert_string_equal(page.jobs[2].id, done[0].id);
    assert_string_equal(results[2].text, a_result.text);
    assert_int_equal(results[2].processing_ms, a_result.processing_ms);
    /* A page of the failed ones spans completed ones, too. */
    OK(store_list(f->store, &(struct job_filter){.state = JOB_FAILED, .limit = 4}, &f->arena, &page, &e));
    assert_int_equal(page.n, 1);
    OK(store_page_results(f->store, &page, &f->arena, results, &e));
    assert_null(results[0].text);
}

static void test_a_list_from_a_place_on(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    struct ids ids[5];
    for (int i = 0; i < 5; i++) {
        ids[4 - i] = submit(f, QUEUE_NORMAL);
        pass(1);
    }
    struct job_page page;
    struct job_filter filter = {.any_state = true, .limit = 2, .offset = 1};
    OK(store_list(f->store, &filter, &f->arena, &page, &e));
    assert_int_equal(page.n, 2);
    assert_string_equal(page.jobs[0].id, ids[1].id);
    assert_string_equal(page.jobs[1].id, ids[2].id);
    filter = (struct job_filter){.state = JOB_PENDING, .limit = 2, .offset = 4};
    OK(store_list(f->store, &filter, &f->arena, &page, &e));
    assert_int_equal(page.n, 1);
    assert_string_equal(page.jobs[0].id, ids[4].id);
    assert_null(page.next);
    filter.offset = 5;
    OK(store_list(f->store, &filter, &f->arena, &page, &e));
    assert_int_equal(page.n, 0);
}

static void test_pace(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    struct store_pace pace = {-1, -1};
    OK(store_pace(f->store, &pace, &e));
    assert_int_equal(pace.mean_ms, 0);
    assert_int_equal(pace.processing, 0);
    for (int i = 1; i <= 2; i++) {
        int64_t seq;
        struct job_result r = a_result;
        r.processing_ms = 40 * i;
        submit(f, QUEUE_HIGH);
        const struct claim c = claim(f, "w");
        OK(store_complete(f->store, &c, &r, &seq, &e));
    }
    submit(f, QUEUE_HIGH);
    claim(f, "w");
    OK(store_pace(f->store, &pace, &e));
    assert_int_equal(pace.mean_ms, 60);
    assert_int_equal(pace.processing, 1);
}

#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup_store, fixture_teardown)

int main(void)
{
    if (fixture_skip())
        return 0;
    const struct CMUnitTest tests[] = {
        T(test_an_upload_is_kept_and_used_once),
        T(test_a_refused_submission_uses_nothing),
        T(test_unknown_and_doubled),
        T(test_those_that_nobody_used_are_forgotten),
        T(test_results_of_a_page),
        T(test_a_list_from_a_place_on),
        T(test_pace),
    };
    return cmocka_run_group_tests(tests, fixture_setup_group, fixture_teardown_group);
}
