/* SPDX-License-Identifier: MIT */
#include "store_helpers.h"

int by_age(const void *a, const void *b)
{
    const struct ids *x = a, *y = b;
    if (x->created_at != y->created_at)
        return x->created_at < y->created_at ? -1 : 1;
    return strcmp(x->id, y->id);
}

struct job_new a_job(const char *id)
{
    return (struct job_new){.id = id,
                            .queue = QUEUE_NORMAL,
                            .filename = "talk.mp3",
                            .audio_key = "uploads/x/talk.mp3",
                            .audio_sha256 = "ab12",
                            .audio_bytes = 1234};
}

struct ids submit(struct fixture *f, enum job_queue queue)
{
    struct err e = ERR_INIT;
    struct ids id = {.created_at = fixture_clock()};
    id_new(id.id);
    struct job_new j = a_job(id.id);
    j.queue = queue;
    OK(store_submit(f->store, &j, &e));
    return id;
}

void pass(int64_t ms)
{
    fixture_set_clock(fixture_clock() + ms);
}

int try_claim(struct fixture *f, const char *holder, bool idle, struct job *ret)
{
    struct err e = ERR_INIT;
    struct claimed claimed = {.arena = &f->arena};
    int n = (int)OK(store_claim(f->store, &(struct claim_opts){.holder = holder, .lease_ms = 30000, .idle = idle},
                                &claimed, 1, &e));
    if (n)
        *ret = claimed.job;
    return n;
}

struct claim claim(struct fixture *f, const char *holder)
{
    struct job j;
    assert_int_equal(try_claim(f, holder, true, &j), 1);
    return (struct claim){j.id, holder, j.fence};
}

struct job get(struct fixture *f, const char *id)
{
    struct err e = ERR_INIT;
    struct job j;
    OK(store_get(f->store, id, &f->arena, &j, &e));
    return j;
}

int position_of(struct store *s, const char *id, int64_t *ret, struct err *e)
{
    CLEANUP(arena_clear) struct arena a = ARENA_INIT;
    struct job j;
    struct store_place place;
    int rc = store_look(s, id, INT32_MAX, &a, &j, &place, e);
    if (rc >= 0)
        *ret = place.position;
    return rc;
}

struct claim planned(struct fixture *f, const char *holder, int chunks)
{
    struct err e = ERR_INIT;
    struct claim c = claim(f, holder);
    int64_t seq;
    OK(store_save_plan(f->store, &c, "{\"plan\":1}", chunks, 60000, &seq, &e));
    return c;
}

int save_chunk(struct fixture *f, const struct claim *c, int64_t idx, int64_t *ret_seq, struct err *e)
{
    struct job_chunk k = {.idx = idx, .start_sample = idx * 100, .end_sample = idx * 100 + 99, .result = "[]"};
    return store_save_chunk(f->store, c, &k, (idx + 1) * 1000, ret_seq, e);
}

const struct job_result a_result = {.result_key = "results/x/1/transcription.json",
                                    .text = "hello",
                                    .engine = "null",
                                    .model = "none",
                                    .confidence = -1};
const struct job_failure a_failure = {
    .error_class = "timeout", .message = "too slow", .stage = "decode", .detail = "stderr", .worker = "w1"};

struct ids completed(struct fixture *f)
{
    struct err e = ERR_INIT;
    int64_t seq;
    struct ids id = submit(f, QUEUE_HIGH);
    struct claim c = claim(f, "w");
    assert_string_equal(c.id, id.id);
    OK(store_complete(f->store, &c, &a_result, &seq, &e));
    return id;
}

struct ids failed(struct fixture *f)
{
    struct err e = ERR_INIT;
    int64_t seq;
    struct ids id = submit(f, QUEUE_HIGH);
    struct claim c = claim(f, "w");
    assert_string_equal(c.id, id.id);
    OK(store_fail(f->store, &c, &a_failure, &seq, &e));
    return id;
}
