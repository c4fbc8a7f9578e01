/* SPDX-License-Identifier: MIT */
/* The job store under many threads and processes: nothing is claimed twice, nothing ends twice. */
#include "fixture.h"

#include "base/clock.h"
#include "base/id.h"
#include "base/str.h"

#include <stdatomic.h>
#include <sys/mman.h>

enum { JOBS = 500, PROCESSES = 4, THREADS = 8 };

/* Shared by all processes of a test: what happened to each job, by its number. */
struct tally {
    atomic_int claimed[JOBS], completed[JOBS], cancelled[JOBS], failed[JOBS];
    atomic_int bad;
};
static struct tally *tally;

static int setup(void **state)
{
    tally = mmap(NULL, sizeof *tally, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return tally == MAP_FAILED ? -1 : fixture_setup_store(state);
}

static int teardown(void **state)
{
    munmap(tally, sizeof *tally);
    return fixture_teardown(state);
}

static void submit_all(struct store *s, char (*ids)[ID_SIZE])
{
    struct err e = ERR_INIT;
    for (int i = 0; i < JOBS; i++) {
        char number[12];
        snprintf(number, sizeof number, "%d", i);
        id_new(ids[i]);
        struct job_new j = {.id = ids[i],
                            .queue = (enum job_queue)(i % QUEUE_COUNT),
                            .description = number,
                            .filename = "a",
                            .audio_key = "k",
                            .audio_sha256 = "s"};
        OK(store_submit(s, &j, &e));
    }
}

static int number_of(const struct job *j)
{
    int64_t n = -1;
    return str_to_i64(j->description, &n) && n >= 0 && n < JOBS ? (int)n : -1;
}

struct runner {
    struct store *s;
    char holder[32];
    char (*ids)[ID_SIZE];
};

/* Any failure but "not yours any more" counts as bad. */
static bool good_or_lost(int rc, const struct err *e, const char *what)
{
    if (rc >= 0 || rc == ERR_LOST)
        return rc >= 0;
    fprintf(stderr, "%s: %s\n", what, e->msg);
    atomic_fetch_add(&tally->bad, 1);
    return false;
}

static int run_threads(struct fixture *f, int process, void *(*fn)(void *), char (*ids)[ID_SIZE])
{
    struct err e = ERR_INIT;
    struct db *db = NULL;
    struct store *s = NULL;
    CHILD_OK(fixture_open_db(f, 4, 60000, &db, &e));
    CHILD_OK(store_new(db, &(struct store_opts){.max_attempts = 5, .max_deaths = 1000000}, &s, &e));
    struct runner r[THREADS];
    for (int i = 0; i < THREADS; i++) {
        r[i] = (struct runner){.s = s, .ids = ids};
        snprintf(r[i].holder, sizeof r[i].holder, "p%d-t%d", process, i);
    }
    fixture_threads(THREADS, fn, r, sizeof r[0]);
    store_free(s);
    db_close(db);
    return 0;
}

/* ---- every job is claimed once ---- */

/* Up to CLAIM_MAX at a time. Returns how many, 0: none is due; negative: it went wrong. */
static int claim_some(struct runner *r)
{
    CLEANUP(arena_clear) struct arena a = ARENA_INIT;
    struct err e = ERR_INIT;
    struct claimed claimed[CLAIM_MAX];
    size_t want = 1 + (size_t)random_below(CLAIM_MAX);
    for (size_t i = 0; i < want; i++)
        claimed[i].arena = &a;
    int rc = store_claim(r->s, &(struct claim_opts){.holder = r->holder, .lease_ms = 600000}, claimed, want, &e);
    if (!good_or_lost(rc, &e, "claim"))
        return -1;
    for (size_t i = 0; i < want; i++) {
        const struct job *j = &claimed[i].job;
        if (!j->id)
            continue;
        int n = number_of(j);
        if (n < 0 || j->fence != 1 || strcmp(j->lease_holder, r->holder) != 0)
            atomic_fetch_add(&tally->bad, 1);
        else
            atomic_fetch_add(&tally->claimed[n], 1);
    }
    return rc;
}

static void *claim_all(void *arg)
{
    while (claim_some(arg) > 0)
        ;
    return NULL;
}

static int claim_in_process(struct fixture *f, int p)
{
    return run_threads(f, p, claim_all, NULL);
}

static void test_each_job_is_claimed_once(void **state)
{
    struct fixture *f = *state;
    static char ids[JOBS][ID_SIZE];
    submit_all(f->store, ids);
    fixture_fork(f, PROCESSES, claim_in_process);
    assert_int_equal(atomic_load(&tally->bad), 0);
    for (int i = 0; i < JOBS; i++)
        assert_int_equal(atomic_load(&tally->claimed[i]), 1);
    assert_int_equal(fixture_int(f->db, "SELECT count(*) FROM jobs WHERE state = 'processing' AND fence = 1"), JOBS);
}

/* Claims beside the submits; what a claim took and did not hand out would be claimed by nobody. */
static void *submit_or_claim(void *arg)
{
    enum { PATIENCE_MS = 60000 };
    struct runner *r = arg;
    if (strcmp(r->holder, "p0-t0") == 0) {
        submit_all(r->s, r->ids);
        return NULL;
    }
    int64_t until = clock_mono_ms() + PATIENCE_MS;
    for (int claimed = 0; claimed < JOBS && clock_mono_ms() < until;) {
        if (claim_some(r) < 0)
            break;
        claimed = 0;
        for (int i = 0; i < JOBS; i++)
            claimed += atomic_load(&tally->claimed[i]);
    }
    return NULL;
}

static int submit_or_claim_in_process(struct fixture *f, int p)
{
    static char ids[JOBS][ID_SIZE];
    return run_threads(f, p, submit_or_claim, ids);
}

static void test_claims_beside_submits(void **state)
{
    struct fixture *f = *state;
    fixture_fork(f, PROCESSES, submit_or_claim_in_process);
    assert_int_equal(atomic_load(&tally->bad), 0);
    for (int i = 0; i < JOBS; i++)
        assert_int_equal(atomic_load(&tally->claimed[i]), 1);
}

/* ---- every job ends once ---- */

static const struct job_result result = {
    .result_key = "k", .text = "t", .engine = "null", .model = "none", .confidence = -1};

/* Works on one claim: most of the time to its end. */
static void work(struct runner *r, const struct job *j)
{
    struct err e = ERR_INIT;
    struct claim c = {j->id, r->holder, j->fence};
    int64_t seq;
    int n = number_of(j);
    if (n < 0) {
        atomic_fetch_add(&tally->bad, 1);
        return;
    }
    struct job_chunk k = {.idx = j->chunks_done, .result = "[]"};
    if (!good_or_lost(store_save_plan(r->s, &c, "{}", 2, 1, &seq, &e), &e, "plan"))
        return;
    /* Nobody else can save under this claim: an index that is taken would be somebody's stale write. */
    for (; k.idx < 2; k.idx++)
        if (!good_or_lost(store_save_chunk(r->s, &c, &k, 1, &seq, &e), &e, "chunk"))
            return;
    switch (random_below(8)) {
    case 0: /* dies */
        return;
    case 1:
        (void)good_or_lost(store_hand_back(r->s, &c, 0, &seq, &e), &e, "hand back");
        return;
    case 2:
        (void)good_or_lost(store_retry_later(r->s, &c, &(struct job_failure){.error_class = "timeout"}, 0, &seq, &e),
                           &e, "retry");
        return;
    case 3:
        if (good_or_lost(store_fail(r->s, &c, &(struct job_failure){.error_class = "corrupt"}, &seq, &e), &e, "fail"))
            atomic_fetch_add(&tally->failed[n], 1);
        return;
    }
    if (good_or_lost(store_complete(r->s, &c, &result, &seq, &e), &e, "complete"))
        atomic_fetch_add(&tally->completed[n], 1);
}

/* Leases are so short that they run out under living workers too. */
static void *live(void *arg)
{
    struct runner *r = arg;
    struct err e = ERR_INIT;
    for (;;) {
        struct arena a = ARENA_INIT;
        struct store_counts k;
        struct swept *swept;
        size_t n;
        struct claimed claimed = {.arena = &a};
        bool go_on = good_or_lost(store_counts(r->s, true, &k, &e), &e, "counts") &&
                     good_or_lost(store_expire_leases(r->s, 5, &a, &swept, &n, &e), &e, "expire") &&
                     k.by_state[JOB_PENDING] + k.by_state[JOB_PROCESSING] > 0;
        if (go_on && random_below(10) == 0) {
            int64_t victim = random_below(JOBS), seq;
            int rc = store_cancel(r->s, r->ids[victim], &seq, &e);
            if (good_or_lost(rc, &e, "cancel") && rc == 1)
                atomic_fetch_add(&tally->cancelled[victim], 1);
        }
        struct claim_opts o = {.holder = r->holder, .lease_ms = random_below(4) ? 1000 : 0, .idle = true};
        int rc = go_on ? store_claim(r->s, &o, &claimed, 1, &e) : 0;
        if (go_on && good_or_lost(rc, &e, "claim") && rc == 1)
            work(r, &claimed.job);
        arena_clear(&a);
        if (!go_on)
            return NULL;
    }
}

static char (*live_ids)[ID_SIZE];

static int live_in_process(struct fixture *f, int p)
{
    return run_threads(f, p, live, live_ids);
}

static void test_each_job_ends_once(void **state)
{
    struct fixture *f = *state;
    static char ids[JOBS][ID_SIZE];
    fixture_set_clock(0); /* the real one: leases run out */
    submit_all(f->store, ids);
    live_ids = ids;
    fixture_fork(f, PROCESSES, live_in_process);
    assert_int_equal(atomic_load(&tally->bad), 0);
    for (int i = 0; i < JOBS; i++) {
        struct err e = ERR_INIT;
        struct job j;
        int completed = atomic_load(&tally->completed[i]), failed = atomic_load(&tally->failed[i]);
        int cancelled = atomic_load(&tally->cancelled[i]);
        assert_int_equal(completed + failed + cancelled, 1);
        OK(store_get(f->store, ids[i], &f->arena, &j, &e));
        assert_int_equal(j.state, completed ? JOB_COMPLETED : failed ? JOB_FAILED : JOB_CANCELLED);
    }
    assert_int_equal(fixture_int(f->db,
                                 "SELECT count(*) FROM jobs j WHERE state = 'completed' AND NOT EXISTS (SELECT 1 FROM "
                                 "results r WHERE r.job_id = j.id AND r.fence = j.fence)"),
                     0);
    assert_int_equal(fixture_int(f->db, "SELECT count(*) FROM results r JOIN jobs j ON j.id = r.job_id WHERE j.state "
                                        "<> 'completed'"),
                     0);
    assert_int_equal(fixture_int(f->db, "SELECT count(*) FROM jobs j WHERE state = 'failed' AND (SELECT count(*) FROM "
                                        "error_logs x WHERE x.job_id = j.id AND x.dead = 1) <> 1"),
                     0);
    assert_int_equal(fixture_int(f->db, "SELECT count(*) FROM jobs j WHERE chunks_done <> (SELECT count(*) FROM chunks "
                                        "c WHERE c.job_id = j.id)"),
                     0);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    if (fixture_skip())
        return 0;
    const struct CMUnitTest tests[] = {
        T(test_each_job_is_claimed_once),
        T(test_claims_beside_submits),
        T(test_each_job_ends_once),
    };
    return cmocka_run_group_tests(tests, fixture_setup_group, fixture_teardown_group);
}
