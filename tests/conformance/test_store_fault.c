/* SPDX-License-Identifier: MIT */
/*
 * Each operation of the database fails in turn, in small lives of a job: before it is done, one statement of it, or
 * after it was done, so that only its answer is lost. What was said to have failed left the job as it was; what nobody
 * was sure of may be repeated, and gives what store.h says; and the job ends as it would have ended anyway.
 */
#include "store_helpers.h"

#include "base/buf.h"
#include "base/fault.h"
#include "base/macros.h"

enum { START = 1000000, LEASE_MS = 30000, STEPS_MAX = 16 };

static const char worker[] = "w1";

/* One run through the steps of a life. */
struct life {
    struct fixture *f;
    char id[ID_SIZE];
    struct claim claim;
    int64_t seq;
};

/* ---- the steps ---- */

static const struct job_key key = {
    .scope = "client", .name = "key", .holder = "request", .lease_ms = LEASE_MS, .keep_ms = 600000};

static int do_submit(struct life *l, struct err *err)
{
    struct job_new j = a_job(l->id);
    j.max_queue = 10;
    return store_submit(l->f->store, &j, err);
}

static int do_key_claim(struct life *l, struct err *err)
{
    struct kept_answer kept;
    int64_t wait_ms;
    int rc = store_key_claim(l->f->store, &key, &l->f->arena, &kept, &wait_ms, err);
    return MIN(rc, 0);
}

static int do_submit_with_key(struct life *l, struct err *err)
{
    struct job_new j = a_job(l->id);
    j.key = &key;
    j.fingerprint = "f";
    return store_submit(l->f->store, &j, err);
}

static int do_key_answer(struct life *l, struct err *err)
{
    const struct kept_answer answer = {.status = 202, .content_type = "text/plain", .body = "accepted"};
    return store_key_answer(l->f->store, &key, &answer, err);
}

static int do_announced(struct life *l, struct err *err)
{
    return store_mark_announced(l->f->store, l->id, err);
}

static int do_claim(struct life *l, struct err *err)
{
    struct claimed claimed = {.arena = &l->f->arena};
    const struct claim_opts o = {.holder = worker, .lease_ms = LEASE_MS, .idle = true};
    int rc = store_claim(l->f->store, &o, &claimed, 1, err);
    if (rc < 0)
        return rc;
    assert_int_equal(rc, 1);
    assert_string_equal(claimed.job.id, l->id);
    l->claim = (struct claim){l->id, worker, claimed.job.fence};
    return 0;
}

static int do_plan(struct life *l, struct err *err)
{
    return store_save_plan(l->f->store, &l->claim, "{\"plan\":1}", 2, 60000, &l->seq, err);
}

static int do_chunk_0(struct life *l, struct err *err)
{
    return save_chunk(l->f, &l->claim, 0, &l->seq, err);
}

static int do_chunk_1(struct life *l, struct err *err)
{
    return save_chunk(l->f, &l->claim, 1, &l->seq, err);
}

static int do_renew(struct life *l, struct err *err)
{
    struct held held[4];
    size_t n = 0;
    int rc = store_renew(l->f->store, worker, 2 * LEASE_MS, held, ARRAY_LEN(held), &n, err);
    if (rc >= 0)
        assert_true(n == 1 && strcmp(held[0].id, l->id) == 0 && held[0].fence == l->claim.fence);
    return rc;
}

/* All that a client or a worker may look at. */
static int do_look(struct life *l, struct err *err)
{
    struct store *s = l->f->store;
    struct job job;
    struct job_view view;
    struct store_place place;
    struct store_counts counts;
    struct job_page page;
    struct job_chunk *chunks;
    size_t n;
    int rc = store_get(s, l->id, &l->f->arena, &job, err);
    if (rc >= 0)
        rc = store_view(s, l->id, true, &l->f->arena, &view, err);
    if (rc >= 0)
        rc = store_look(s, l->id, 10, &l->f->arena, &job, &place, err);
    if (rc >= 0)
        rc = store_counts(s, true, &counts, err);
    if (rc >= 0)
        rc = store_list(s, &(struct job_filter){.any_state = true, .limit = 10}, &l->f->arena, &page, err);
    if (rc >= 0)
        rc = store_load_chunks(s, l->id, &l->f->arena, &chunks, &n, err);
    return rc;
}

static int do_complete(struct life *l, struct err *err)
{
    return store_complete(l->f->store, &l->claim, &a_result, &l->seq, err);
}

static int do_complete_whole(struct life *l, struct err *err)
{
    const struct job_chunk chunk = {.end_sample = 99, .result = "[]"};
    return store_complete_whole(l->f->store, &l->claim, "{\"plan\":1}", &chunk, &a_result, &l->seq, err);
}

static int do_retry_later(struct life *l, struct err *err)
{
    return store_retry_later(l->f->store, &l->claim, &a_failure, 0, &l->seq, err);
}

static int do_hand_back(struct life *l, struct err *err)
{
    return store_hand_back(l->f->store, &l->claim, 0, &l->seq, err);
}

static int do_fail(struct life *l, struct err *err)
{
    return store_fail(l->f->store, &l->claim, &a_failure, &l->seq, err);
}

static int do_retry_failed(struct life *l, struct err *err)
{
    return store_retry_failed(l->f->store, l->id, &l->seq, err);
}

static int do_cancel(struct life *l, struct err *err)
{
    int rc = store_cancel(l->f->store, l->id, &l->seq, err);
    return MIN(rc, 0);
}

static int do_purge(struct life *l, struct err *err)
{
    return store_purge(l->f->store, l->id, err);
}

/* The worker is silent for as long as its lease. */
static int do_expire(struct life *l, struct err *err)
{
    struct swept *swept;
    size_t n;
    fixture_set_clock(START + LEASE_MS + 1);
    return store_expire_leases(l->f->store, 10, &l->f->arena, &swept, &n, err);
}

/* What a worker does after a claim of which it does not know: it hands back what the database says it holds. */
static void settle_claim(struct life *l)
{
    struct err e = ERR_INIT;
    struct held held[4];
    size_t n = 0;
    struct job j = get(l->f, l->id);
    OK(store_renew(l->f->store, worker, LEASE_MS, held, ARRAY_LEN(held), &n, &e));
    assert_int_equal(n, j.state == JOB_PROCESSING);
    if (n) {
        assert_string_equal(held[0].id, l->id);
        assert_int_equal(held[0].fence, j.fence);
        OK(store_hand_back(l->f->store, &(struct claim){l->id, worker, held[0].fence}, 0, &l->seq, &e));
    }
}

/* ---- the lives ---- */

struct step {
    const char *name;
    int (*fn)(struct life *l, struct err *err);
    int again;                      /* what it gives when it is repeated after it was done; 0: success */
    bool reads;                     /* it writes nothing */
    void (*settle)(struct life *l); /* comes before repeating what nobody was sure of; or NULL */
};

static const struct step submit_it = {"submit", do_submit, 0, false, NULL},
                         key_claim = {"claim of a key", do_key_claim, ERR_BUSY, false, NULL},
                         submit_with_key = {"submit with a key", do_submit_with_key, 0, false, NULL},
                         key_answer = {"answer of a key", do_key_answer, 0, false, NULL},
                         announced = {"announced", do_announced, 0, false, NULL},
                         claim_it = {"claim", do_claim, 0, false, settle_claim},
                         save_plan = {"plan", do_plan, 0, false, NULL},
                         chunk_0 = {"chunk 0", do_chunk_0, ERR_CONFLICT, false, NULL},
                         chunk_1 = {"chunk 1", do_chunk_1, ERR_CONFLICT, false, NULL},
                         renew = {"renew", do_renew, 0, false, NULL}, look = {"look", do_look, 0, true, NULL},
                         complete = {"complete", do_complete, ERR_LOST, false, NULL},
                         complete_whole = {"complete whole", do_complete_whole, ERR_LOST, false, NULL},
                         retry_later = {"retry later", do_retry_later, ERR_LOST, false, NULL},
                         hand_back = {"hand back", do_hand_back, ERR_LOST, false, NULL},
                         fail_it = {"fail", do_fail, ERR_LOST, false, NULL},
                         retry_failed = {"retry failed", do_retry_failed, ERR_CONFLICT, false, NULL},
                         cancel_it = {"cancel", do_cancel, 0, false, NULL},
                         purge_it = {"purge", do_purge, ERR_NOT_FOUND, false, NULL},
                         expire = {"expire", do_expire, 0, false, NULL};

#define CHUNKS "[0 0-99 []][1 100-199 []]"

/* How jobs live, and what is there of them in the end (see_it). */
static const struct way {
    const struct step *steps[STEPS_MAX]; /* ended by NULL */
    const char *end;
} ways[] = {
    {{&submit_it, &announced, &claim_it, &save_plan, &chunk_0, &renew, &chunk_1, &look, &complete},
     "completed normal, attempt 1, 2 of 2 chunks " CHUNKS ", 1 results, 0 errors, 0 dead"},
    {{&key_claim, &submit_with_key, &key_answer, &claim_it, &complete_whole},
     "completed normal, attempt 1, 1 of 1 chunks [0 0-99 []], 1 results, 0 errors, 0 dead, key 202"},
    {{&submit_it, &claim_it, &save_plan, &chunk_0, &retry_later, &claim_it, &save_plan, &chunk_1, &complete},
     "completed retry, attempt 2, 2 of 2 chunks " CHUNKS ", 1 results, 1 errors, 0 dead"},
    {{&submit_it, &claim_it, &save_plan, &chunk_1, &expire, &claim_it, &chunk_0, &hand_back, &claim_it, &complete},
     "completed normal, attempt 1, 2 of 2 chunks " CHUNKS ", 1 results, 1 errors, 0 dead"},
    {{&submit_it, &claim_it, &save_plan, &chunk_0, &fail_it, &retry_failed, &claim_it, &chunk_1, &fail_it},
     "failed retry, attempt 1, 2 of 2 chunks " CHUNKS ", 0 results, 2 errors, 1 dead"},
    {{&submit_it, &claim_it, &save_plan, &chunk_0, &cancel_it},
     "cancelled normal, attempt 1, 1 of 2 chunks [0 0-99 []], 0 results, 0 errors, 0 dead"},
    {{&submit_it, &claim_it, &save_plan, &chunk_0, &cancel_it, &purge_it}, "nothing, 0 results, 0 errors, 0 dead"},
};

/* ---- the walk ---- */

struct seen {
    char text[300];
    int64_t fence, seq; /* may be higher after a claim that came to nothing */
};

static void add_job(struct fixture *f, const struct job *j, struct buf *b)
{
    struct err e = ERR_INIT;
    struct job_chunk *chunks;
    size_t n;
    buf_addf(b, "%s %s, attempt %d, %lld of %lld chunks ", job_state_name(j->state), job_queue_name(j->queue),
             j->attempt, (long long)j->chunks_done, (long long)j->chunks_total);
    OK(store_load_chunks(f->store, j->id, &f->arena, &chunks, &n, &e));
    for (size_t i = 0; i < n; i++)
        buf_addf(b, "[%lld %lld-%lld %s]", (long long)chunks[i].idx, (long long)chunks[i].start_sample,
                 (long long)chunks[i].end_sample, chunks[i].result);
    if (j->state == JOB_PENDING)
        buf_adds(b, j->announced_at ? " announced" : " not announced");
    if (j->lease_until)
        buf_addf(b, " until %lld", (long long)j->lease_until);
}

static struct seen see_it(struct life *l)
{
    struct err e = ERR_INIT;
    struct fixture *f = l->f;
    struct seen ret = {0};
    struct job j;
    CLEANUP(buf_clear) struct buf b = BUF_INIT(sizeof ret.text);
    int rc = store_get(f->store, l->id, &f->arena, &j, &e);
    if (rc >= 0) {
        add_job(f, &j, &b);
        ret.fence = j.fence;
        ret.seq = j.seq;
    } else {
        assert_int_equal(rc, ERR_NOT_FOUND);
        assert_int_equal(fixture_int(f->db, "SELECT count(*) FROM chunks"), 0);
        buf_adds(&b, "nothing");
    }
    buf_addf(&b, ", %lld results, %lld errors, %lld dead",
             (long long)fixture_int(f->db, "SELECT count(*) FROM results"),
             (long long)fixture_int(f->db, "SELECT count(*) FROM error_logs"),
             (long long)fixture_int(f->db, "SELECT count(*) FROM error_logs WHERE dead = 1 AND resolved = 0"));
    if (fixture_int(f->db, "SELECT count(*) FROM submission_keys"))
        buf_addf(&b, ", key %lld",
                 (long long)fixture_int(f->db, "SELECT MAX(COALESCE(status, CASE WHEN job_id IS NULL "
                                               "THEN 0 ELSE 1 END)) FROM submission_keys"));
    assert_true(buf_ok(&b));
    snprintf(ret.text, sizeof ret.text, "%s", buf_str(&b));
    return ret;
}

static void begin(struct fixture *f, struct life *ret)
{
    struct err e = ERR_INIT;
    OK(fixture_exec(f->db, "DELETE FROM jobs", &e));
    OK(fixture_exec(f->db, "DELETE FROM submission_keys", &e));
    arena_clear(&f->arena);
    fixture_set_clock(START);
    *ret = (struct life){.f = f};
    id_new(ret->id);
}

static void go(struct life *l, const struct step *const *from, const struct step *const *to)
{
    struct err e = ERR_INIT;
    for (; from < to; from++)
        OK((*from)->fn(l, &e));
}

/* Of two parts, the second strikes the pass behind that of the first; or NULL. */
struct plan {
    const char *first, *second;
};

/* The step with the k-th pass struck, and what must follow. False: it was over before that. */
static bool strike(struct life *l, const struct step *s, const struct plan *p, int k, const struct seen *before,
                   const struct seen *after)
{
    struct err e = ERR_INIT;
    char spec[80];
    snprintf(spec, sizeof spec, "%s@%d", p->first, k);
    if (p->second)
        snprintf(spec + strlen(spec), sizeof spec - strlen(spec), ",%s@%d", p->second, k + 1);
    fault_reset();
    assert_int_equal(setenv("STENO_FAULT", spec, 1), 0);
    int rc = s->fn(l, &e);
    unsetenv("STENO_FAULT");
    bool struck = fault_reset(), lost = strstr(p->first, "lost") != NULL;
    if (rc != (!struck ? 0 : lost ? ERR_UNCERTAIN : ERR_UNAVAILABLE))
        fail_msg("%s, %s: %s (%s)", s->name, spec, err_name(rc), rc < 0 ? e.msg : "success");
    struct seen now = see_it(l);
    bool kept = !struck || lost;
    if (!kept && (now.fence != before->fence || now.seq != before->seq))
        fail_msg("%s, %s: it failed, and the row was changed", s->name, spec);
    bool settled = lost && s->settle && !p->second; /* the store itself has begun to */
    if (!settled && strcmp(now.text, kept ? after->text : before->text) != 0)
        fail_msg("%s, %s: %s, and there is: %s", s->name, spec, kept ? "kept" : "not kept", now.text);
    if (!struck)
        return false;
    if (lost && s->settle)
        s->settle(l);
    rc = s->fn(l, &e);
    if (rc != (lost && !s->settle ? s->again : 0))
        fail_msg("%s, %s: when it is repeated: %s (%s)", s->name, spec, err_name(rc), rc < 0 ? e.msg : "success");
    now = see_it(l);
    if (strcmp(now.text, after->text) != 0)
        fail_msg("%s, %s: after it was repeated there is: %s", s->name, spec, now.text);
    return true;
}

/* Every pass of every step until the step is over before the fault strikes. How often it struck. */
static int walk(struct fixture *f, const struct way *way, const struct plan *p)
{
    struct seen at[STEPS_MAX + 1]; /* before each step, and in the end */
    struct life l;
    size_t n = 0;
    int strikes = 0;
    begin(f, &l);
    for (; way->steps[n]; n++) {
        at[n] = see_it(&l);
        go(&l, &way->steps[n], &way->steps[n + 1]);
    }
    at[n] = see_it(&l);
    assert_string_equal(at[n].text, way->end);
    for (size_t i = 0; i < n; i++) {
        int k = 0;
        for (bool struck = true; struck; strikes += struck) {
            begin(f, &l);
            go(&l, way->steps, &way->steps[i]);
            struck = strike(&l, way->steps[i], p, ++k, &at[i], &at[i + 1]);
            go(&l, &way->steps[i + 1], &way->steps[n]);
            assert_string_equal(see_it(&l).text, way->end);
        }
        bool can =
            strncmp(p->first, "db=", 3) == 0 || (strncmp(p->first, "db_write=", 9) == 0 && !way->steps[i]->reads);
        if (can && k < 2)
            fail_msg("%s: %s never struck", way->steps[i]->name, p->first);
    }
    return strikes;
}

static int walk_all(struct fixture *f, const struct plan *p)
{
    int strikes = 0;
    for (size_t i = 0; i < ARRAY_LEN(ways); i++)
        strikes += walk(f, &ways[i], p);
    return strikes;
}

static void test_not_done(void **state)
{
    assert_true(walk_all(*state, &(struct plan){"db=fail", NULL}) >= 50);
}

static void test_a_statement_fails(void **state)
{
    int least = fixture_postgres() ? 20 : 100; /* see fault.h */
    assert_true(walk_all(*state, &(struct plan){"sql_statement=fail", NULL}) >= least);
}

static void test_answer_lost(void **state)
{
    assert_true(walk_all(*state, &(struct plan){"db_write=lost", NULL}) >= 50);
}

/* What would put a lost answer right at once fails too. */
static void test_answer_lost_and_no_more(void **state)
{
    assert_true(walk_all(*state, &(struct plan){"db_write=lost", "db_write=fail"}) >= 50);
}

int main(void)
{
    if (fixture_skip())
        return 0;
#define with_store(t) cmocka_unit_test_setup_teardown(t, fixture_setup_store, fixture_teardown)
    const struct CMUnitTest tests[] = {
        with_store(test_not_done),
        with_store(test_a_statement_fails),
        with_store(test_answer_lost),
        with_store(test_answer_lost_and_no_more),
    };
    return cmocka_run_group_tests(tests, fixture_setup_group, fixture_teardown_group);
}
