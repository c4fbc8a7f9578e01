/* SPDX-License-Identifier: MIT */
/*
 * Every statement of the store must find its rows by an index, and claims must come in index order: a long queue and a
 * long history may not make them slow. SQLite explains its plans; the statements are caught where they are prepared.
 */
#include "store_helpers.h"

#include "base/id.h"

#include "pg/pg.h"

#include <dlfcn.h>
#include <libpq-fe.h>
#include <sqlite3.h>

enum { TEXTS_MAX = 200, HISTORY = 20000 };

static char *texts[TEXTS_MAX]; /* every statement there was, once */
static int n_texts;
static bool catching;

static void catch_text(const char *sql)
{
    bool known = !catching;
    for (int i = 0; i < n_texts && !known; i++)
        known = strcmp(texts[i], sql) == 0;
    if (!known && n_texts < TEXTS_MAX)
        texts[n_texts++] = xstrdup(sql);
}

typedef int (*prepare_fn)(sqlite3 *, const char *, int, unsigned, sqlite3_stmt **, const char **);

/* Stands before SQLite's own. One thread only. */
int sqlite3_prepare_v3(sqlite3 *h, const char *sql, int n, unsigned flags, sqlite3_stmt **ret, const char **ret_rest)
{
    static prepare_fn real;
    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "sqlite3_prepare_v3");
    catch_text(sql);
    return real(h, sql, n, flags, ret, ret_rest);
}

typedef int (*pq_prepare_fn)(PGconn *, const char *, const char *, int, const Oid *);

/* Stands before libpq's own. */
int PQsendPrepare(PGconn *c, const char *name, const char *sql, int n, const Oid *types)
{
    static pq_prepare_fn real;
    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "PQsendPrepare");
    catch_text(sql);
    return real(c, name, sql, n, types);
}

/* For retention. */
static void job_ended(struct store *s)
{
    struct err e = ERR_INIT;
    char id[ID_SIZE];
    int64_t seq;
    id_new(id);
    struct job_new job = {.id = id, .queue = QUEUE_NORMAL, .filename = "a", .audio_key = "k", .audio_sha256 = "s"};
    OK(store_submit(s, &job, &e));
    OK(store_cancel(s, id, &seq, &e));
}

/* Calls whatever the store offers, in both orders. What the calls answer is tested elsewhere. */
static void call_everything(struct fixture *f, enum job_order order)
{
    struct err e = ERR_INIT;
    struct store *s = NULL;
    struct job j, *jobs;
    struct claimed claimed = {.arena = &f->arena};
    struct job_result r;
    struct job_view view;
    struct job_page page;
    struct job_chunk *chunks;
    struct error_page errors;
    struct job_error one;
    struct store_counts counts;
    struct worker_row *workers;
    struct swept *swept;
    struct given_up *given;
    struct old_counts old;
    struct held held[4];
    struct arena *a = &f->arena;
    size_t n;
    int64_t seq;
    bool wanted;
    OK(fixture_open_store(f->db, order, &s, &e));
    char id[ID_SIZE], key[80];
    for (int round = 0; round < 4; round++) {
        id_new(id);
        struct job_new job = {
            .id = id, .queue = QUEUE_NORMAL, .filename = "a", .audio_key = "k", .audio_sha256 = "s", .max_queue = 100};
        OK(store_submit(s, &job, &e));
        OK(store_submit(s, &job, &e));
        OK(position_of(s, id, &seq, &e));
        OK(store_view(s, id, false, a, &view, &e));
        OK(store_view(s, id, true, a, &view, &e));
        OK(store_counts(s, true, &counts, &e));
        OK(store_counts(s, false, &counts, &e));
        OK(store_mark_announced(s, id, &e));
        OK(store_not_announced(s, id, &e));
        OK(store_claim(s, &(struct claim_opts){.holder = "w", .lease_ms = 1000, .idle = true}, &claimed, 1, &e));
        struct claim c = {id, "w", claimed.job.fence};
        OK(position_of(s, id, &seq, &e));
        OK(store_renew(s, "w", 1000, held, 4, &n, &e));
        OK(store_held(s, "w", held, 4, &n, &e));
        OK(store_save_plan(s, &c, "{}", 1, 1, &seq, &e));
        OK(store_save_chunk(s, &c, &(struct job_chunk){.result = "[]"}, 1, &seq, &e));
        OK(store_load_chunks(s, id, a, &chunks, &n, &e));
        struct job_failure failure = {.message = "m"};
        if (round == 0) {
            OK(store_retry_later(s, &c, &failure, 5000, &seq, &e));
            OK(position_of(s, id, &seq, &e));
            OK(store_cancel(s, id, &seq, &e));
            OK(store_cancel(s, id, &seq, &e));
        } else if (round == 1) {
            OK(store_complete(s, &c, &(struct job_result){.result_key = "k", .text = "t", .engine = "e", .model = "m"},
                              &seq, &e));
            OK(store_get_result(s, id, a, &r, &e));
            OK(store_give_up_audio(s, id, &e));
        } else if (round == 2) {
            OK(store_hand_back(s, &c, 0, &seq, &e));
            OK(store_claim(s, &(struct claim_opts){.holder = "w", .lease_ms = 1000}, &claimed, 1, &e));
            c.fence = claimed.job.fence;
            OK(store_fail(s, &c, &failure, &seq, &e));
            OK(store_list_errors(s, &(struct error_filter){.limit = 5}, a, &errors, &e));
            OK(store_get_error(s, errors.errors[0].id, a, &one, &e));
            OK(store_resolve_error(s, errors.errors[0].id, &e));
            OK(store_retry_failed(s, id, &seq, &e));
            OK(store_cancel(s, id, &seq, &e));
        } else {
            for (int i = 0; i < 3; i++) {
                fixture_set_clock(fixture_clock() + 100000);
                OK(store_expire_leases(s, 5, a, &swept, &n, &e));
                fixture_set_clock(fixture_clock() + 100000);
                OK(store_claim(s, &(struct claim_opts){.holder = "w", .lease_ms = 1000, .idle = true}, &claimed, 1,
                               &e));
            }
            fixture_set_clock(fixture_clock() + 100000);
            OK(store_expire_leases(s, 5, a, &swept, &n, &e));
            fixture_set_clock(fixture_clock() + 100000);
            OK(store_claim(s, &(struct claim_opts){.holder = "w", .lease_ms = 1000, .idle = true}, &claimed, 1, &e));
            OK(store_get(s, id, a, &j, &e));
            assert_int_equal(j.state, JOB_FAILED);
        }
        for (int all = 0; all < 2; all++) {
            OK(store_list(s, &(struct job_filter){.any_state = all, .limit = 5}, a, &page, &e));
            OK(store_list_errors(s, &(struct error_filter){.all = all, .limit = 5}, a, &errors, &e));
            OK(store_list_errors(s, &(struct error_filter){.all = all, .job_id = id, .limit = 5}, a, &errors, &e));
        }
        OK(store_unannounced(s, 5, a, &jobs, &n, &e));
        OK(store_due(s, QUEUE_NORMAL, 5, a, &jobs, &n, &e));
        OK(store_audio_before(s, fixture_clock(), 5, a, &jobs, &n, &e));
        snprintf(key, sizeof key, "uploads/%s/x", id);
        OK(store_key_wanted(s, key, &wanted, &e));
        snprintf(key, sizeof key, "results/%s/1/x", id);
        OK(store_key_wanted(s, key, &wanted, &e));
        struct worker_row w = {.id = "w", .host = "h", .version = "1", .state = "running"};
        OK(store_heartbeat(s, &w, &e));
        OK(store_list_workers(s, a, &workers, &n, &e));
        OK(store_drop_workers(s, 0, &e));
        OK(store_pause_queue(s, QUEUE_RETRY, &e));
        OK(store_resume_queue(s, QUEUE_RETRY, &e));
        OK(store_claim(s, &(struct claim_opts){.holder = "w", .lease_ms = 1000, .small = true}, &claimed, 1, &e));
        OK(store_count_old(s, &(struct old_times){fixture_clock(), fixture_clock(), 0}, &old, &e));
        OK(store_drop_results(s, fixture_clock() + 1, 5, a, &given, &n, &e));
        OK(store_drop_checkpoints(s, fixture_clock() + 1, 5, a, &given, &n, &e));
        OK(store_worker_gone(s, "w", &e));
        OK(store_purge(s, id, &e));
    }
    job_ended(s);
    OK(store_drop_jobs(s, INT64_MAX, 5, a, &given, &n, &e));
    store_free(s);
}

/* Few rows by nature: one per worker, one per queue, or one per job in work. */
static bool is_small(const char *sql, const char *step)
{
    return strstr(step, "workers") || strstr(step, "paused_queues") ||
           (strstr(step, "TEMP B-TREE") && (strstr(sql, "FROM workers") || strstr(sql, "ORDER BY lease_until")));
}

static int check_plan_sqlite(struct fixture *f, const char *sql)
{
    int bad = 0;
    char *explain = xasprintf("EXPLAIN QUERY PLAN %s", sql);
    sqlite3 *h = NULL;
    sqlite3_stmt *st = NULL;
    assert_int_equal(sqlite3_open_v2(f->url + strlen("sqlite:"), &h, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(h, explain, -1, &st, NULL), SQLITE_OK);
    while (sqlite3_step(st) == SQLITE_ROW) {
        const char *step = (const char *)sqlite3_column_text(st, 3);
        /* "x" is what all our subqueries in FROM are called: what they read has a step of its own. */
        bool scan =
            strncmp(step, "SCAN", 4) == 0 && strcmp(step, "SCAN CONSTANT ROW") != 0 && strcmp(step, "SCAN x") != 0;
        /* Walking an index in order and stopping, or counting on it, reads no table. */
        bool covered = strstr(step, "USING COVERING INDEX") != NULL;
        if (((scan && !covered) || strstr(step, "TEMP B-TREE")) && !is_small(sql, step)) {
            print_error("%s\n    in: %s\n", step, sql);
            bad++;
        }
    }
    sqlite3_finalize(st);
    sqlite3_close(h);
    free(explain);
    return bad;
}

/* The plan for any values, as the driver's connections come to use it. */
static int check_plan_postgres(struct fixture *f, const char *sql)
{
    struct err e = ERR_INIT;
    int highest = 0, bad = 0;
    for (const char *p = sql; (p = strchr(p, '$')); p++)
        highest = MAX(highest, (int)strtol(p + 1, NULL, 10));
    char nulls[256] = "";
    for (int i = 0; i < highest; i++)
        strncat(nulls, i ? ", NULL" : "(NULL", sizeof nulls - strlen(nulls) - 1);
    char *setup = xasprintf("SET search_path = steno; SET enable_seqscan = off; SET jit = off; SET plan_cache_mode = "
                            "force_generic_plan; PREPARE p AS %s",
                            sql);
    char *explain = xasprintf("EXPLAIN (COSTS OFF) EXECUTE p%s%s", nulls, highest ? ")" : "");
    struct pg_link *l = NULL;
    struct pg_result *r = NULL;
    OK(pg_open(&(struct pg_opts){.url = f->url, .name = "plans", .setup = setup, .answer_ms = 60000}, &l, &e));
    OK(pg_send(l, explain, NULL, 0, &e));
    OK(pg_sync(l, &e));
    OK(pg_next(l, &r, &e));
    OK(pg_end(l, &e));
    for (size_t i = 0; i < pg_rows(r); i++) {
        const char *step = pg_text(r, i, 0);
        if ((strstr(step, "Seq Scan") || strstr(step, "Sort ") || !strcmp(step, "Sort")) &&
            !strstr(sql, "FROM workers") && !strstr(step, "paused_queues") && !strstr(sql, "ORDER BY lease_until")) {
            print_error("%s\n    in: %s\n", step, sql);
            bad++;
        }
        if (bad || getenv("STENO_TEST_SHOW_SQL"))
            print_error("        %s\n", step);
    }
    pg_free(r);
    pg_close(l);
    free(setup);
    free(explain);
    return bad;
}

/* Plans follow from how much there is: a long history and a long queue. */
static void fill(struct fixture *f)
{
    struct err e = ERR_INIT;
    char sql[600];
    snprintf(sql, sizeof sql,
             "INSERT INTO jobs (id, state, queue, queue_rank, created_at, updated_at, run_after, finished_at, "
             "announced_at, task, filename, audio_key, audio_bytes, audio_sha256, max_attempts) "
             "SELECT CAST(i AS TEXT), CASE WHEN i %% 10 = 0 THEN 'pending' ELSE 'completed' END, 'normal', 1, i, i, i, "
             "CASE WHEN i %% 10 = 0 THEN NULL ELSE i END, i, 'transcribe', 'f', 'k', 1, 's', 5 "
             "FROM generate_series(1, %d) AS i",
             HISTORY);
    OK(fixture_exec(f->db, sql, &e));
    OK(fixture_exec(f->db, "ANALYZE jobs", &e));
}

static void test_no_statement_reads_a_whole_table(void **state)
{
    struct fixture *f = *state;
    catching = true;
    call_everything(f, JOB_FIFO);
    call_everything(f, JOB_LIFO);
    catching = false;
    assert_in_range(n_texts, 45, TEXTS_MAX - 1);
    if (fixture_postgres())
        fill(f);
    int bad = 0, claims = 0;
    for (int i = 0; i < n_texts; i++) {
        static const char *const verbs[] = {"SELECT", "INSERT", "UPDATE", "DELETE"};
        bool works = false;
        for (size_t v = 0; v < ARRAY_LEN(verbs); v++)
            works = works || strncmp(texts[i], verbs[v], strlen(verbs[v])) == 0;
        claims += strstr(texts[i], "lease_holder = $1, lease_until") != NULL;
        if (getenv("STENO_TEST_SHOW_SQL"))
            fprintf(stderr, "%s;\n", texts[i]);
        if (works)
            bad += fixture_postgres() ? check_plan_postgres(f, texts[i]) : check_plan_sqlite(f, texts[i]);
        free(texts[i]);
    }
    n_texts = 0;
    assert_int_equal(claims, 4); /* of any job and of short ones */
    assert_int_equal(bad, 0);
}

#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup_store, fixture_teardown)

int main(void)
{
    if (fixture_skip())
        return 0;
    const struct CMUnitTest tests[] = {
        T(test_no_statement_reads_a_whole_table),
    };
    return cmocka_run_group_tests(tests, fixture_setup_group, fixture_teardown_group);
}
