/* SPDX-License-Identifier: MIT */
/* What only a database behind a network can do: lose connections, hang, hold tables of strangers. */
#include "cutter.h"
#include "store_helpers.h"

#include "base/clock.h"
#include "base/thread.h"
#include "pg/pg.h"

#include <arpa/inet.h>
#include <libpq-fe.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CALLS_WHILE_AWAY = 200, CALLERS = 31 };

/* ---- helpers ---- */

/* As an administrator would: not through the driver. */
static void psql(struct fixture *f, const char *sql)
{
    PGconn *c = PQconnectdb(f->url);
    PGresult *r = PQexec(c, sql);
    ExecStatusType status = PQresultStatus(r);
    if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK)
        print_error("%s: %s\n", sql, PQerrorMessage(c));
    PQclear(r);
    PQfinish(c);
    assert_true(status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK);
}

static void read_text(struct fixture *f, const char *sql, char *ret, size_t size)
{
    PGconn *c = PQconnectdb(f->url);
    PGresult *r = PQexec(c, sql);
    snprintf(ret, size, "%s", PQntuples(r) ? PQgetvalue(r, 0, 0) : "(no row)");
    PQclear(r);
    PQfinish(c);
}

static const char cut_everybody[] = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                                    "WHERE datname = current_database() AND pid <> pg_backend_pid()";

static struct cutter *make_cutter(struct fixture *f, char *ret_url, size_t size)
{
    char *said = NULL, host[256] = "127.0.0.1", port[16] = "5432";
    PQconninfoOption *o = PQconninfoParse(f->url, &said);
    assert_non_null(o);
    for (PQconninfoOption *x = o; x->keyword; x++) {
        if (strcmp(x->keyword, "host") == 0 && x->val)
            snprintf(host, sizeof host, "%s", x->val);
        if (strcmp(x->keyword, "port") == 0 && x->val)
            snprintf(port, sizeof port, "%s", x->val);
    }
    PQconninfoFree(o);
    struct cutter *c = cutter_new(host, port);
    assert_non_null(c);
    snprintf(ret_url, size, "%s&hostaddr=127.0.0.1&port=%d&sslmode=disable&gssencmode=disable", f->url, cutter_port(c));
    return c;
}

static int on_text(const struct db_row *row, void *arg, struct err *err)
{
    (void)err;
    snprintf(arg, 64, "%s", db_col_text(row, 0));
    return 1;
}

/* ---- whose tables ---- */

static void test_tables_of_strangers_are_not_touched(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    int n;
    char text[64];
    psql(f, "DROP SCHEMA IF EXISTS steno CASCADE; CREATE TABLE public.jobs (mine TEXT); "
            "CREATE TABLE public.chunks (mine TEXT); INSERT INTO public.jobs VALUES ('stays')");
    struct db *db = NULL;
    struct store *s = NULL;
    OK(fixture_open_db(f, 2, 5000, &db, &e));
    OK(migrate_up(db, &n, &e));
    assert_true(n > 0);
    OK(fixture_open_store(db, JOB_FIFO, &s, &e));
    char id[ID_SIZE];
    id_new(id);
    struct job_new job = a_job(id);
    OK(store_submit(s, &job, &e));
    read_text(f, "SELECT string_agg(mine, ',') FROM public.jobs", text, sizeof text);
    assert_string_equal(text, "stays");
    read_text(f, "SELECT count(*) FROM steno.jobs", text, sizeof text);
    assert_string_equal(text, "1");
    read_text(f, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'", text, sizeof text);
    assert_string_equal(text, "2");
    store_free(s);
    db_close(db);
    psql(f, "DROP TABLE public.jobs, public.chunks");
}

static void test_a_user_who_may_not_make_the_schema_is_told(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    struct db *db = NULL;
    char sql[300], url[1200], name[64];
    snprintf(name, sizeof name, "steno_test_role_%d", (int)getpid());
    snprintf(sql, sizeof sql, "DROP SCHEMA IF EXISTS steno CASCADE; CREATE ROLE %s LOGIN PASSWORD 'geheim'", name);
    psql(f, sql);
    snprintf(url, sizeof url, "%s&user=%s&password=geheim", f->url, name);
    struct db_opts o = {.url = url, .readers = 1, .pool = 1, .busy_ms = 1000};
    FAILS(ERR_UNAVAILABLE, "CREATE SCHEMA steno AUTHORIZATION", db_open(&o, &db, &e));
    snprintf(sql, sizeof sql, "CREATE SCHEMA steno AUTHORIZATION %s", name);
    psql(f, sql);
    OK(db_open(&o, &db, &e));
    int n;
    OK(migrate_up(db, &n, &e));
    db_close(db);
    snprintf(url, sizeof url, "%s&user=%s&password=falsch", f->url, name);
    FAILS(ERR_UNAVAILABLE, "password", db_open(&o, &db, &e));
    assert_null(strstr(e.msg, "falsch"));
    snprintf(sql, sizeof sql, "DROP SCHEMA steno CASCADE; DROP ROLE %s", name);
    psql(f, sql);
}

/* ---- lost connections ---- */

static void test_calls_survive_a_restart_between_them(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    int64_t seq;
    for (int round = 0; round < 5; round++) {
        struct ids id = submit(f, QUEUE_NORMAL);
        psql(f, cut_everybody);
        assert_int_equal(get(f, id.id).state, JOB_PENDING);
        psql(f, cut_everybody);
        assert_int_equal(OK(store_cancel(f->store, id.id, &seq, &e)), 1);
        psql(f, cut_everybody);
        submit(f, QUEUE_NORMAL);
    }
    assert_int_equal(fixture_int(f->db, "SELECT count(*) FROM jobs"), 10);
}

static void test_a_server_that_is_away_and_comes_back(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    char url[1200];
    struct cutter *c = make_cutter(f, url, sizeof url);
    struct db *db = NULL;
    int64_t ms;
    OK(db_open(&(struct db_opts){.url = url, .readers = 1, .pool = 4, .busy_ms = 1000}, &db, &e));
    OK(db_ping(db, &ms, &e));
    cutter_refuse(c, true);
    while (db_ping(db, &ms, &e) >= 0) /* the cut takes a moment */
        clock_sleep_ms(10);
    for (int i = 0; i < CALLS_WHILE_AWAY; i++, clock_sleep_ms(10))
        FAILS(ERR_UNAVAILABLE, "", db_ping(db, &ms, &e));
    /* Most were told what the last try was told. */
    assert_in_range(cutter_refused(c), 2, CALLS_WHILE_AWAY / 2);
    cutter_refuse(c, false);
    int rc = -1;
    for (int64_t end = clock_mono_ms() + 20000; rc < 0 && clock_mono_ms() < end; clock_sleep_ms(10))
        rc = db_ping(db, &ms, &e);
    OK(rc);
    db_close(db);
    cutter_free(c);
}

static int sleep_fn(struct db_tx *tx, void *arg, struct err *err)
{
    int *calls = arg;
    ++*calls;
    return db_query(tx, "SELECT 1", DB_NO_ARGS, NULL, NULL, err);
}

static void test_a_hanging_server_is_given_up(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    struct pg_link *l = NULL;
    struct pg_result *r = NULL;
    OK(pg_open(&(struct pg_opts){.url = f->url, .name = "test", .answer_ms = 100}, &l, &e));
    OK(pg_send(l, "SELECT pg_sleep(30)", NULL, 0, &e));
    OK(pg_sync(l, &e));
    FAILS(ERR_UNAVAILABLE, "no answer in time", pg_next(l, &r, &e));
    assert_true(pg_lost(l));
    FAILS(ERR_UNAVAILABLE, "lost", pg_do(l, "SELECT 1", &e));
    pg_close(l);
    int calls = 0;
    OK(db_read(f->db, sleep_fn, &calls, &e));
    assert_int_equal(calls, 1);
}

/* Lets one client in, and says no more. */
static void *let_in(void *arg)
{
    static const char in[] = {'R', 0, 0, 0, 8, 0, 0, 0, 0, 'Z', 0, 0, 0, 5, 'I'};
    char bytes[4096];
    int fd = accept(*(int *)arg, NULL, NULL);
    if (fd >= 0 && recv(fd, bytes, sizeof bytes, 0) > 0 && send(fd, in, sizeof in, MSG_NOSIGNAL) == sizeof in)
        while (recv(fd, bytes, sizeof bytes, 0) > 0)
            ;
    if (fd >= 0)
        close(fd);
    return NULL;
}

static void test_a_set_up_that_is_not_answered_is_given_up(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    struct pg_link *l = NULL;
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof a;
    pthread_t thread;
    char url[200];
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0 && bind(fd, (struct sockaddr *)&a, size) == 0 && listen(fd, 1) == 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &size), 0);
    snprintf(url, sizeof url, "postgresql://x@127.0.0.1:%d/x?sslmode=disable&gssencmode=disable", ntohs(a.sin_port));
    OK(thread_start(&thread, "test", let_in, &fd, &e));
    struct pg_opts o = {.url = url, .name = "test", .setup = "SELECT 1; SELECT 2", .answer_ms = 200};
    FAILS(ERR_UNAVAILABLE, "no answer in time", pg_open(&o, &l, &e));
    assert_null(l);
    pthread_join(thread, NULL);
    close(fd);
}

static void test_a_set_up_is_done_or_fails(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    struct pg_link *l = NULL;
    struct pg_result *r = NULL;
    struct pg_opts o = {.url = f->url, .name = "test", .answer_ms = 60000};
    o.setup = "SET jit = off; SET lock_timeout = 123; SELECT 1";
    OK(pg_open(&o, &l, &e));
    OK(pg_send(l, "SHOW lock_timeout", NULL, 0, &e));
    OK(pg_sync(l, &e));
    OK(pg_next(l, &r, &e));
    OK(pg_end(l, &e));
    assert_string_equal(pg_text(r, 0, 0), "123ms");
    pg_free(r);
    pg_close(l);
    l = NULL;
    o.setup = "SET jit = off; SET no_such_setting = 1; SELECT 1";
    FAILS(ERR_INTERNAL, "no_such_setting", pg_open(&o, &l, &e));
    assert_null(l);
}

struct held_read {
    struct db *db;
    pthread_barrier_t *all;
    int rc;
    struct err e;
};

static int wait_fn(struct db_tx *tx, void *arg, struct err *err)
{
    struct held_read *h = arg;
    int rc = db_query(tx, "SELECT 1", DB_NO_ARGS, NULL, NULL, err);
    pthread_barrier_wait(h->all);
    return rc;
}

static void *read_held(void *arg)
{
    struct held_read *h = arg;
    h->rc = db_read(h->db, wait_fn, h, &h->e);
    return NULL;
}

/* Three reads at a time leave three connections. */
static void make_idle(struct db *db)
{
    pthread_barrier_t all;
    struct db_pool pool;
    pthread_barrier_init(&all, NULL, 3);
    struct held_read h[3] = {{db, &all, -1, ERR_INIT}, {db, &all, -1, ERR_INIT}, {db, &all, -1, ERR_INIT}};
    fixture_threads(3, read_held, h, sizeof h[0]);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(h[i].rc, 0);
    pthread_barrier_destroy(&all);
    db_pool_figures(db, &pool);
    assert_int_equal(pool.open, 3);
    assert_int_equal(pool.busy, 0);
}

static int read_in_function(struct db *db, int *calls, struct err *err)
{
    return db_read(db, sleep_fn, calls, err);
}

static int read_statement(struct db *db, int *calls, struct err *err)
{
    (void)calls;
    return db_read_stmt(db, &(struct db_stmt){.sql = "SELECT 1"}, err);
}

static int ping_when_the_clock_is_due(struct db *db, int *calls, struct err *err)
{
    int64_t ms;
    (void)calls;
    clock_sleep_ms(5500);
    return db_ping(db, &ms, err);
}

/* Each of the idle connections looks alive: a call that tried them all would wait for each of them. */
static void test_a_call_waits_once_for_a_hanging_server(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    char url[1200];
    static int (*const reads[])(struct db *, int *, struct err *) = {read_in_function, read_statement,
                                                                     ping_when_the_clock_is_due};
    struct cutter *c = make_cutter(f, url, sizeof url);
    struct db *db = NULL;
    OK(db_open(&(struct db_opts){.url = url, .readers = 1, .pool = 4, .busy_ms = 1000, .answer_ms = 2000}, &db, &e));
    for (size_t i = 0; i < ARRAY_LEN(reads); i++) {
        struct db_pool pool;
        int calls = 0;
        make_idle(db);
        cutter_stall(c, true);
        FAILS(ERR_UNAVAILABLE, "no answer in time", reads[i](db, &calls, &e));
        assert_in_range(calls, 0, 1); /* 0: the clock's round trip came first */
        db_pool_figures(db, &pool);
        assert_int_equal(pool.open, 0);
        cutter_stall(c, false);
    }
    db_close(db);
    cutter_free(c);
}

/* ---- the connection is cut at every message of every call ---- */

struct op {
    const char *name;
    /* Makes what the call needs, with the fixture's own connections. */
    void (*prepare)(struct fixture *f, struct ids *id, struct claim *c);
    int (*call)(struct store *s, const struct ids *id, const struct claim *c, struct err *err);
    /* 1: the change was made exactly once, 0: not at all; anything else is wrong. */
    int (*kept)(struct fixture *f, const struct ids *id);
    int again; /* what a second call answers when the first was kept */
};

static void nothing_yet(struct fixture *f, struct ids *id, struct claim *c)
{
    (void)f;
    (void)c;
    id_new(id->id);
}

static void pending_job(struct fixture *f, struct ids *id, struct claim *c)
{
    (void)c;
    *id = submit(f, QUEUE_HIGH);
}

static void planned_job(struct fixture *f, struct ids *id, struct claim *c)
{
    *id = submit(f, QUEUE_HIGH);
    *c = planned(f, "w", 1);
    assert_string_equal(c->id, id->id);
}

static void done_job(struct fixture *f, struct ids *id, struct claim *c)
{
    struct err e = ERR_INIT;
    int64_t seq;
    planned_job(f, id, c);
    OK(save_chunk(f, c, 0, &seq, &e));
}

static int call_submit(struct store *s, const struct ids *id, const struct claim *c, struct err *err)
{
    (void)c;
    struct job_new j = a_job(id->id);
    return store_submit(s, &j, err);
}

static int call_get(struct store *s, const struct ids *id, const struct claim *c, struct err *err)
{
    (void)c;
    struct arena a = ARENA_INIT;
    struct job j;
    int rc = store_get(s, id->id, &a, &j, err);
    arena_clear(&a);
    return rc;
}

static int call_counts(struct store *s, const struct ids *id, const struct claim *c, struct err *err)
{
    (void)id;
    (void)c;
    struct store_counts counts;
    return store_counts(s, true, &counts, err);
}

static int call_cancel(struct store *s, const struct ids *id, const struct claim *c, struct err *err)
{
    (void)c;
    int64_t seq;
    return store_cancel(s, id->id, &seq, err);
}

static int call_claim(struct store *s, const struct ids *id, const struct claim *c, struct err *err)
{
    (void)id;
    (void)c;
    struct arena a = ARENA_INIT;
    struct claimed claimed = {.arena = &a};
    int rc = store_claim(s, &(struct claim_opts){.holder = "w", .lease_ms = 30000}, &claimed, 1, err);
    arena_clear(&a);
    return rc;
}

static int call_plan(struct store *s, const struct ids *id, const struct claim *c, struct err *err)
{
    (void)id;
    int64_t seq;
    return store_save_plan(s, c, "{\"other\":1}", 2, 1000, &seq, err);
}

static int call_chunk(struct store *s, const struct ids *id, const struct claim *c, struct err *err)
{
    (void)id;
    int64_t seq;
    return store_save_chunk(s, c, &(struct job_chunk){.result = "[]", .end_sample = 16000}, 1000, &seq, err);
}

static int call_complete(struct store *s, const struct ids *id, const struct claim *c, struct err *err)
{
    (void)id;
    int64_t seq;
    return store_complete(s, c, &a_result, &seq, err);
}

static int call_fail(struct store *s, const struct ids *id, const struct claim *c, struct err *err)
{
    (void)id;
    int64_t seq;
    return store_fail(s, c, &a_failure, &seq, err);
}

static int call_retry_later(struct store *s, const struct ids *id, const struct claim *c, struct err *err)
{
    (void)id;
    int64_t seq;
    return store_retry_later(s, c, &a_failure, 1000, &seq, err);
}

/* `from` ends before the id. */
static int count_of(struct fixture *f, const char *from, const struct ids *id)
{
    char text[400];
    snprintf(text, sizeof text, "SELECT count(*) FROM %s = '%s'", from, id->id);
    return (int)fixture_int(f->db, text);
}

static int row_there(struct fixture *f, const struct ids *id)
{
    return count_of(f, "jobs WHERE id", id);
}

static int nothing_changed(struct fixture *f, const struct ids *id)
{
    (void)f;
    (void)id;
    return 1;
}

static int is_cancelled(struct fixture *f, const struct ids *id)
{
    return get(f, id->id).state == JOB_CANCELLED;
}

static int is_claimed(struct fixture *f, const struct ids *id)
{
    struct job j = get(f, id->id);
    return j.state == JOB_PROCESSING ? (int)j.fence : 0;
}

static int is_planned(struct fixture *f, const struct ids *id)
{
    struct job j = get(f, id->id);
    return j.chunks_total == 2 && strcmp(j.plan, "{\"other\":1}") == 0;
}

static int chunk_there(struct fixture *f, const struct ids *id)
{
    int n = count_of(f, "chunks WHERE job_id", id);
    return get(f, id->id).chunks_done == n ? n : -1;
}

static int is_completed(struct fixture *f, const struct ids *id)
{
    int n = count_of(f, "results WHERE job_id", id);
    return (get(f, id->id).state == JOB_COMPLETED) == (n == 1) ? n : -1;
}

static int is_failed(struct fixture *f, const struct ids *id)
{
    int n = count_of(f, "error_logs WHERE dead = 1 AND job_id", id);
    return (get(f, id->id).state == JOB_FAILED) == (n == 1) ? n : -1;
}

static int is_retried(struct fixture *f, const struct ids *id)
{
    int n = count_of(f, "error_logs WHERE dead = 0 AND job_id", id);
    return (get(f, id->id).state == JOB_PENDING) == (n == 1) ? n : -1;
}

static const struct op ops[] = {
    {"submit", nothing_yet, call_submit, row_there, 0},
    {"get", pending_job, call_get, nothing_changed, 0},
    {"counts", pending_job, call_counts, nothing_changed, 0},
    {"cancel", pending_job, call_cancel, is_cancelled, 0},
    {"claim", pending_job, call_claim, is_claimed, 0},
    {"save_plan", planned_job, call_plan, is_planned, 0},
    {"save_chunk", planned_job, call_chunk, chunk_there, ERR_CONFLICT},
    {"complete", done_job, call_complete, is_completed, ERR_LOST},
    {"fail", planned_job, call_fail, is_failed, ERR_LOST},
    {"retry_later", planned_job, call_retry_later, is_retried, ERR_LOST},
};

struct cut_counts {
    int uncertain_kept, uncertain_not_kept, survived;
};

/* False: the call was over before the n-th message. */
static bool cut_once(struct fixture *f, const struct op *op, int n, bool after, struct cut_counts *counts)
{
    struct err e = ERR_INIT;
    char url[1200];
    struct ids id;
    struct claim c = {0};
    fixture_set_clock(fixture_clock() + 1000000);
    op->prepare(f, &id, &c);
    struct cutter *cutter = make_cutter(f, url, sizeof url);
    struct fixture through = {.url = url};
    struct db *db = NULL;
    struct store *s = NULL;
    OK(fixture_open_db(&through, 2, 5000, &db, &e));
    OK(fixture_open_store(db, JOB_FIFO, &s, &e));
    cutter_arm(cutter, n, after);
    int rc = op->call(s, &id, &c, &e);
    bool fired = cutter_fired(cutter);
    cutter_arm(cutter, 0, false);
    int kept = op->kept(f, &id);
    if (rc >= 0 ? kept != 1 : rc == ERR_UNCERTAIN ? kept != 0 && kept != 1 : kept != 0) {
        print_error("%s, cut %s message %d: %s, but kept %d times\n", op->name,
                    after ? "after the answer to" : "before", n, rc < 0 ? e.msg : "success", kept);
        fail();
    }
    if (rc < 0 && !fired) {
        print_error("%s: %s\n", op->name, e.msg);
        fail();
    }
    counts->uncertain_kept += rc == ERR_UNCERTAIN && kept;
    counts->uncertain_not_kept += rc == ERR_UNCERTAIN && !kept;
    counts->survived += rc >= 0 && fired;
    if (rc < 0) { /* the connection heals, and the call may be repeated */
        rc = op->call(s, &id, &c, &e);
        assert_true(rc >= 0 || rc == (kept ? op->again : 0));
        assert_int_equal(op->kept(f, &id), 1);
    }
    int64_t seq; /* nothing may stay for later claims */
    OK(store_cancel(f->store, id.id, &seq, &e));
    store_free(s);
    db_close(db);
    cutter_free(cutter);
    return fired;
}

static void test_a_connection_cut_at_every_message(void **state)
{
    struct fixture *f = *state;
    struct cut_counts counts = {0};
    for (size_t i = 0; i < ARRAY_LEN(ops); i++)
        for (int after = 0; after < 2; after++) {
            int n = 1;
            while (cut_once(f, &ops[i], n, after, &counts))
                n++;
            assert_in_range(n, 2, 20);
        }
    assert_true(counts.uncertain_kept >= 6); /* of every kind of write, whose answer alone was lost */
    assert_true(counts.uncertain_not_kept >= 6);
    assert_true(counts.survived >= 8); /* reads, and writes that were cut before their commit */
}

/* ---- one round trip for many ---- */

/* Seen from another database: looking leaves no trace. */
static int64_t look_at_database(const char *what, const char *view, const char *name)
{
    char sql[300], text[64];
    struct fixture other = {.url = getenv("STENO_TEST_POSTGRES_URL")};
    snprintf(sql, sizeof sql, "SELECT %s FROM %s WHERE datname = '%s'", what, view, name);
    read_text(&other, sql, text, sizeof text);
    return strtoll(text, NULL, 10);
}

/* All up to now: whoever has gone has told its figures. */
static int64_t commits(const char *name)
{
    while (look_at_database("count(*)", "pg_stat_activity", name))
        clock_sleep_ms(10);
    return look_at_database("xact_commit", "pg_stat_database", name);
}

struct caller {
    struct db *db;
    PGconn *holder; /* of one of them, which calls nothing: it lets go of the row when all others wait for it */
    _Atomic int *ready;
    int rc;
    struct err e;
};

static void *call_for_a_row(void *arg)
{
    struct caller *c = arg;
    struct db_stmt s = {.sql = "UPDATE t SET n = n + 1 WHERE id = 1"};
    if (c->holder) {
        while (*c->ready < CALLERS)
            clock_sleep_ms(1);
        clock_sleep_ms(300);
        PQclear(PQexec(c->holder, "COMMIT"));
        c->rc = 0;
    } else {
        ++*c->ready;
        c->rc = db_write_stmts(c->db, DB_RELAXED, &s, 1, &c->e);
    }
    return NULL;
}

static void test_calls_of_many_threads_share_a_commit(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    char name[64];
    OK(fixture_exec(f->db, "CREATE TABLE t (id BIGINT PRIMARY KEY, n BIGINT NOT NULL)", &e));
    OK(fixture_exec(f->db, "INSERT INTO t VALUES (1, 0)", &e));
    read_text(f, "SELECT current_database()", name, sizeof name);
    db_close(TAKE(f->db));
    int64_t before = commits(name);
    OK(fixture_open_db(f, 4, 20000, &f->db, &e));
    PGconn *holder = PQconnectdb(f->url);
    PQclear(PQexec(holder, "BEGIN"));
    PQclear(PQexec(holder, "SELECT * FROM steno.t FOR UPDATE"));
    _Atomic int ready = 0;
    struct caller c[CALLERS + 1];
    for (size_t i = 0; i <= CALLERS; i++)
        c[i] = (struct caller){f->db, i ? NULL : holder, &ready, -1, ERR_INIT};
    fixture_threads(CALLERS + 1, call_for_a_row, c, sizeof c[0]);
    for (size_t i = 0; i <= CALLERS; i++)
        assert_int_equal(c[i].rc, 0);
    PQfinish(holder);
    assert_int_equal(fixture_int(f->db, "SELECT n FROM t"), CALLERS);
    db_close(TAKE(f->db));
    assert_in_range(commits(name) - before, 2, CALLERS / 2); /* with those of opening */
}

static int on_two_texts(const struct db_row *row, void *arg, struct err *err)
{
    (void)err;
    snprintf(arg, 64, "%s %s", db_col_text(row, 0), db_col_text(row, 1));
    return 0;
}

static void test_a_statement_is_prepared_once(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    struct db *db = NULL;
    char text[64] = "";
    OK(fixture_open_db(f, 1, 5000, &db, &e)); /* all on one connection */
    struct db_stmt s = {.sql = "SELECT 'prepared' WHERE $1 > 0", .args = &db_int(1), .n_args = 1};
    for (int i = 0; i < 3; i++)
        OK(db_read_stmt(db, &s, &e));
    struct db_stmt look = {.sql = "SELECT CAST(count(*) AS TEXT), CAST(sum(generic_plans + custom_plans) AS TEXT) "
                                  "FROM pg_prepared_statements WHERE statement LIKE 'SELECT ''prepared''%'",
                           .row = on_two_texts,
                           .row_arg = text};
    OK(db_read_stmt(db, &look, &e));
    assert_string_equal(text, "1 3");
    db_close(db);
}

/* ---- conflicts ---- */

static void test_a_claim_passes_by_a_row_that_is_held(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    char sql[200];
    struct ids first = submit(f, QUEUE_NORMAL);
    fixture_set_clock(fixture_clock() + 1000);
    struct ids second = submit(f, QUEUE_NORMAL);
    PGconn *holder = PQconnectdb(f->url);
    PQclear(PQexec(holder, "BEGIN"));
    snprintf(sql, sizeof sql, "SELECT * FROM steno.jobs WHERE id = '%s' FOR UPDATE", first.id);
    PGresult *r = PQexec(holder, sql);
    assert_int_equal(PQntuples(r), 1);
    PQclear(r);
    struct claimed claimed = {.arena = &f->arena};
    /* Waiting for the row would end with BUSY. */
    assert_int_equal(OK(store_claim(f->store, &(struct claim_opts){.holder = "w", .lease_ms = 30000}, &claimed, 1, &e)),
                     1);
    assert_string_equal(claimed.job.id, second.id);
    PQclear(PQexec(holder, "ROLLBACK"));
    PQfinish(holder);
    assert_int_equal(OK(store_claim(f->store, &(struct claim_opts){.holder = "w", .lease_ms = 30000}, &claimed, 1, &e)),
                     1);
    assert_string_equal(claimed.job.id, first.id);
}

struct crossing {
    struct db *db;
    int first, second, calls, rc;
    pthread_barrier_t *both;
    struct err e;
};

static int cross_fn(struct db_tx *tx, void *arg, struct err *err)
{
    struct crossing *c = arg;
    const char *sql = "UPDATE t SET n = n + 1 WHERE id = $1";
    if (db_exec(tx, sql, DB_ARGS(db_int(c->first)), err) < 0)
        return err->code;
    if (c->calls++ == 0) /* each holds one row when it asks for the other */
        pthread_barrier_wait(c->both);
    return db_exec(tx, sql, DB_ARGS(db_int(c->second)), err) < 0 ? err->code : 0;
}

static void *cross(void *arg)
{
    struct crossing *c = arg;
    c->rc = db_write(c->db, DB_RELAXED, cross_fn, c, &c->e);
    return NULL;
}

static void test_a_deadlock_is_run_again(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    OK(fixture_exec(f->db, "CREATE TABLE t (id BIGINT PRIMARY KEY, n BIGINT NOT NULL)", &e));
    OK(fixture_exec(f->db, "INSERT INTO t VALUES (1, 0), (2, 0)", &e));
    pthread_barrier_t both;
    pthread_barrier_init(&both, NULL, 2);
    struct crossing c[2] = {{f->db, 1, 2, 0, -1, &both, ERR_INIT}, {f->db, 2, 1, 0, -1, &both, ERR_INIT}};
    fixture_threads(2, cross, c, sizeof c[0]);
    assert_int_equal(c[0].rc, 0);
    assert_int_equal(c[1].rc, 0);
    assert_int_equal(c[0].calls + c[1].calls, 3);
    assert_int_equal(fixture_int(f->db, "SELECT sum(n) FROM t"), 4);
    pthread_barrier_destroy(&both);
}

static void test_a_commit_that_is_refused_keeps_nothing(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    OK(fixture_exec(f->db, "CREATE TABLE t (id BIGINT PRIMARY KEY, n BIGINT UNIQUE DEFERRABLE INITIALLY DEFERRED)",
                    &e));
    struct db_stmt s[] = {{.sql = "INSERT INTO t VALUES (1, 1)"}, {.sql = "INSERT INTO t VALUES (2, 1)"}};
    FAILS(ERR_CONFLICT, "", db_write_stmts(f->db, DB_DURABLE, s, 2, &e));
    assert_int_equal(fixture_int(f->db, "SELECT count(*) FROM t"), 0);
    OK(db_write_stmts(f->db, DB_DURABLE, s, 1, &e));
    FAILS(ERR_CONFLICT, "", fixture_exec(f->db, "INSERT INTO t VALUES (2, 1)", &e));
    assert_int_equal(fixture_int(f->db, "SELECT count(*) FROM t"), 1);
}

/* ---- settings ---- */

static int show_fn(struct db_tx *tx, void *arg, struct err *err)
{
    return db_query(tx, "SHOW synchronous_commit", DB_NO_ARGS, on_text, arg, err);
}

static int show_and_fail(struct db_tx *tx, void *arg, struct err *err)
{
    int rc = show_fn(tx, arg, err);
    return rc < 0 ? rc : err_set(err, ERR_CANCELLED, "not this one");
}

static void test_durable_commits_wait_for_the_disk(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    struct db *db = NULL;
    char text[64];
    OK(fixture_open_db(f, 1, 5000, &db, &e)); /* all on one connection */
    static const struct {
        enum db_durability how;
        bool fails;
    } steps[] = {{DB_DURABLE, false}, {DB_RELAXED, true}, {DB_DURABLE, false}, {DB_RELAXED, false},
                 {DB_RELAXED, false}, {DB_DURABLE, true}, {DB_RELAXED, false}, {DB_DURABLE, false}};
    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        const char *want = steps[i].how == DB_DURABLE ? "on" : "off";
        int rc = db_write(db, steps[i].how, steps[i].fails ? show_and_fail : show_fn, text, &e);
        assert_int_equal(rc, steps[i].fails ? ERR_CANCELLED : 0);
        assert_string_equal(text, want);
        struct db_stmt s = {.sql = "SHOW synchronous_commit", .row = on_text, .row_arg = text};
        enum db_durability other = steps[i].how == DB_DURABLE ? DB_RELAXED : DB_DURABLE;
        OK(db_write_stmts(db, i % 2 ? steps[i].how : other, &s, 1, &e));
        assert_string_equal(text, (i % 2 ? steps[i].how : other) == DB_DURABLE ? "on" : "off");
    }
    db_close(db);
}

static int nap_fn(struct db_tx *tx, void *arg, struct err *err)
{
    int rc = db_exec(tx, "SET LOCAL statement_timeout = 50", DB_NO_ARGS, err) < 0 ? err->code : 0;
    return rc < 0 ? rc : db_query(tx, "SELECT CAST(pg_sleep(20) AS TEXT)", DB_NO_ARGS, on_text, arg, err);
}

/* The server ends a transaction that nobody goes on with: what it held is free for others. */
static int linger_fn(struct db_tx *tx, void *arg, struct err *err)
{
    if (db_exec(tx, "SET LOCAL idle_in_transaction_session_timeout = 50", DB_NO_ARGS, err) < 0 ||
        db_exec(tx, "INSERT INTO t VALUES (2)", DB_NO_ARGS, err) < 0)
        return err->code;
    if ((*(int *)arg)++ == 0)
        clock_sleep_ms(1000);
    return db_exec(tx, "INSERT INTO t VALUES (3)", DB_NO_ARGS, err) < 0 ? err->code : 0;
}

static void test_the_server_ends_what_takes_too_long(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    struct db *db = NULL;
    char text[64];
    int calls = 0;
    static const struct {
        const char *setting, *value;
    } limits[] = {{"SHOW statement_timeout", "30s"},
                  {"SHOW lock_timeout", "300ms"},
                  {"SHOW idle_in_transaction_session_timeout", "10s"}};
    OK(fixture_exec(f->db, "CREATE TABLE t (id BIGINT PRIMARY KEY)", &e));
    OK(fixture_open_db(f, 1, 300, &db, &e));
    for (size_t i = 0; i < ARRAY_LEN(limits); i++) {
        struct db_stmt show = {.sql = limits[i].setting, .row = on_text, .row_arg = text};
        OK(db_write_stmts(db, DB_RELAXED, &show, 1, &e));
        assert_string_equal(text, limits[i].value);
    }
    FAILS(ERR_UNAVAILABLE, "took too long", db_write(db, DB_RELAXED, nap_fn, text, &e));

    PGconn *other = PQconnectdb(f->url);
    PQclear(PQexec(other, "BEGIN"));
    PQclear(PQexec(other, "INSERT INTO steno.t VALUES (1)"));
    FAILS(ERR_BUSY, "", fixture_exec(db, "INSERT INTO t VALUES (1)", &e));
    PQfinish(other);
    OK(fixture_exec(db, "INSERT INTO t VALUES (1)", &e));

    int rc = db_write(db, DB_RELAXED, linger_fn, &calls, &e);
    assert_true(rc == 0 || rc == ERR_UNAVAILABLE);
    assert_int_equal(fixture_int(f->db, "SELECT count(*) FROM t"), rc == 0 ? 3 : 1);
    assert_true(calls == 2 || rc < 0); /* in a second transaction, or not at all */
    db_close(db);
}

static void test_the_clock_is_the_servers(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    struct db *db = NULL;
    OK(db_open(&(struct db_opts){.url = f->url, .readers = 1, .pool = 1, .busy_ms = 1000}, &db, &e));
    int64_t before = db_clock(db);
    int64_t there = fixture_int(db, "SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)");
    int64_t after = db_clock(db);
    assert_in_range(there, before - 1000, after + 1000);
    db_close(db);
}

#define T(name)      cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
#define STORED(name) cmocka_unit_test_setup_teardown(name, fixture_setup_store, fixture_teardown)

int main(void)
{
    if (fixture_skip())
        return 0;
    const struct CMUnitTest tests[] = {
        T(test_tables_of_strangers_are_not_touched),
        T(test_a_user_who_may_not_make_the_schema_is_told),
        STORED(test_calls_survive_a_restart_between_them),
        T(test_a_server_that_is_away_and_comes_back),
        T(test_a_hanging_server_is_given_up),
        T(test_a_set_up_that_is_not_answered_is_given_up),
        T(test_a_set_up_is_done_or_fails),
        T(test_a_call_waits_once_for_a_hanging_server),
        STORED(test_a_connection_cut_at_every_message),
        T(test_calls_of_many_threads_share_a_commit),
        T(test_a_statement_is_prepared_once),
        STORED(test_a_claim_passes_by_a_row_that_is_held),
        T(test_a_deadlock_is_run_again),
        T(test_a_commit_that_is_refused_keeps_nothing),
        T(test_durable_commits_wait_for_the_disk),
        T(test_the_server_ends_what_takes_too_long),
        T(test_the_clock_is_the_servers),
    };
    return cmocka_run_group_tests(tests, fixture_setup_group, fixture_teardown_group);
}
