/* SPDX-License-Identifier: MIT */
/* What every database driver must do: src/db/db.h, sentence by sentence. */
#include "fixture.h"

#include "base/clock.h"
#include "base/thread.h"

#include <stdatomic.h>

static const char create_t[] = "CREATE TABLE t (id BIGINT PRIMARY KEY, n BIGINT NOT NULL, r DOUBLE PRECISION, s TEXT)";

/* Runs a list of steps given as code in one transaction function; most tests need no more. */
struct fn_arg {
    struct fixture *f;
    int64_t n;
    char text[64];
    bool flag;
};

static int do_write(struct fixture *f, db_tx_fn fn, void *arg, struct err *e)
{
    return db_write(f->db, DB_RELAXED, fn, arg, e);
}

/* ---- values ---- */

static const int64_t ints[] = {0, 1, -1, INT64_MAX, INT64_MIN, (int64_t)1 << 53};
static const double reals[] = {0.0, -0.5, 1e300, 0.1};
static const char *const texts[] = {"", "plain", "quote ' \" \\ $1 ; --", "Größe → 日本語 🎧", "line\nbreak\ttab"};

static int insert_values(struct db_tx *tx, void *arg, struct err *err)
{
    (void)arg;
    const char *sql = "INSERT INTO t (id, n, r, s) VALUES ($1, $2, $3, $4)";
    int64_t id = 0;
    for (size_t i = 0; i < ARRAY_LEN(ints); i++)
        if (db_exec(tx, sql, DB_ARGS(db_int(id++), db_int(ints[i]), db_null(), db_text(NULL)), err) != 1)
            return err->code;
    for (size_t i = 0; i < ARRAY_LEN(reals); i++)
        if (db_exec(tx, sql, DB_ARGS(db_int(id++), db_int(7), db_real(reals[i]), db_null()), err) != 1)
            return err->code;
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        if (db_exec(tx, sql, DB_ARGS(db_int(id++), db_int(7), db_null(), db_text(texts[i])), err) != 1)
            return err->code;
    return 0;
}

static int check_value(const struct db_row *row, void *arg, struct err *err)
{
    size_t *i = arg;
    size_t at = (*i)++;
    bool good = db_col_int(row, 0) == (int64_t)at;
    if (at < ARRAY_LEN(ints)) {
        good = good && db_col_int(row, 1) == ints[at] && db_col_is_null(row, 2) && db_col_is_null(row, 3) &&
               db_col_text(row, 3) == NULL && db_col_real(row, 2) == 0 && !db_col_is_null(row, 1);
        good = good && db_col_text(row, 1) == NULL; /* a number is no text */
        good = good && (at > 2 || db_col_real(row, 1) == (double)ints[at]);
        return good ? 0 : err_set(err, ERR_INTERNAL, "integer %zu came back wrong", at);
    }
    at -= ARRAY_LEN(ints);
    if (at < ARRAY_LEN(reals)) {
        good = good && db_col_real(row, 2) == reals[at] && !db_col_is_null(row, 2);
        return good ? 0 : err_set(err, ERR_INTERNAL, "real %zu came back wrong", at);
    }
    at -= ARRAY_LEN(reals);
    good = good && db_col_text(row, 3) && strcmp(db_col_text(row, 3), texts[at]) == 0;
    good = good && db_col_int(row, 3) == 0 && db_col_real(row, 3) == 0; /* a text is no number */
    return good ? 0 : err_set(err, ERR_INTERNAL, "text %zu came back wrong", at);
}

static int select_values(struct db_tx *tx, void *arg, struct err *err)
{
    *(size_t *)arg = 0;
    return db_query(tx, "SELECT id, n, r, s FROM t ORDER BY id", DB_NO_ARGS, check_value, arg, err);
}

static void test_values_come_back_as_they_went(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    size_t n = 0;
    OK(fixture_exec(f->db, create_t, &e));
    OK(do_write(f, insert_values, NULL, &e));
    OK(db_read(f->db, select_values, &n, &e));
    assert_int_equal(n, ARRAY_LEN(ints) + ARRAY_LEN(reals) + ARRAY_LEN(texts));
}

static int on_text(const struct db_row *row, void *arg, struct err *err)
{
    (void)err;
    struct fn_arg *a = arg;
    snprintf(a->text, sizeof a->text, "%s%s", db_col_text(row, 0), db_col_text(row, 1));
    a->n++;
    return 0;
}

static int swapped(struct db_tx *tx, void *arg, struct err *err)
{
    /* The second parameter stands first, and one stands twice. */
    return db_query(tx, "SELECT CAST($2 AS TEXT), CAST($1 AS TEXT) || CAST($2 AS TEXT)",
                    DB_ARGS(db_text("a"), db_text("b")), on_text, arg, err);
}

static void test_parameters_go_by_their_number(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    struct fn_arg a = {0};
    OK(db_read(f->db, swapped, &a, &e));
    assert_string_equal(a.text, "bab");
}

/* ---- statements that are wrong ---- */

struct bad {
    const char *sql;
    int n_args;
    bool read;
    const char *words;
};

static int run_bad(struct db_tx *tx, void *arg, struct err *err)
{
    const struct bad *b = arg;
    struct db_val args[3] = {db_int(1), db_int(2), db_int(3)};
    return db_query(tx, b->sql, args, (size_t)b->n_args, NULL, NULL, err);
}

static void test_wrong_statements_are_our_bug(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    OK(fixture_exec(f->db, create_t, &e));
    const struct bad bad[] = {
        {"SELEKT 1", 0, true, "SELEKT 1"},
        {"SELECT * FROM nowhere", 0, true, "nowhere"},
        {"SELECT 1; SELECT 2", 0, true, "one statement"},
        {"  -- nothing", 0, true, "one statement"},
        {"SELECT $1", 0, true, "0 values for 1"},
        {"SELECT $1", 2, true, "2 values for 1"},
        {"SELECT $2", 1, true, "$1 is not used"},
        {"INSERT INTO t (id, n) VALUES (1, 1)", 0, true, "db_read"},
        {"DELETE FROM t", 0, true, "db_read"},
        {"INSERT INTO t (id, n) VALUES (1, NULL)", 0, false, fixture_postgres() ? "\"n\"" : "t.n"},
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct bad b = bad[i];
        FAILS(ERR_INTERNAL, b.words, b.read ? db_read(f->db, run_bad, &b, &e) : do_write(f, run_bad, &b, &e));
    }
    assert_int_equal(fixture_int(f->db, "SELECT count(*) FROM t"), 0);
}

static int insert_text(struct db_tx *tx, void *arg, struct err *err)
{
    return (int)db_exec(tx, "INSERT INTO t (id, n, s) VALUES (1, 1, $1)", DB_ARGS(db_text(arg)), err);
}

static void test_text_that_is_not_utf8_is_refused(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    char latin1[] = "Gr\xf6\xdf"
                    "e";
    OK(fixture_exec(f->db, create_t, &e));
    FAILS(ERR_INTERNAL, "UTF-8", do_write(f, insert_text, latin1, &e));
}

static void test_constraints_are_conflicts(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    OK(fixture_exec(f->db, create_t, &e));
    OK(fixture_exec(f->db, "CREATE TABLE t_child (t BIGINT REFERENCES t (id) ON DELETE CASCADE)", &e));
    OK(fixture_exec(f->db, "INSERT INTO t (id, n) VALUES (1, 1)", &e));
    FAILS(ERR_CONFLICT, "", fixture_exec(f->db, "INSERT INTO t (id, n) VALUES (1, 2)", &e));
    FAILS(ERR_CONFLICT, "", fixture_exec(f->db, "INSERT INTO t_child (t) VALUES (2)", &e));
    OK(fixture_exec(f->db, "INSERT INTO t_child (t) VALUES (1)", &e));
    assert_int_equal(OK(fixture_exec(f->db, "DELETE FROM t", &e)), 1);
    assert_int_equal(fixture_int(f->db, "SELECT count(*) FROM t_child"), 0);
}

/* ---- rows ---- */

static int stop_at_three(const struct db_row *row, void *arg, struct err *err)
{
    (void)row;
    (void)err;
    return ++((struct fn_arg *)arg)->n == 3 ? 1 : 0;
}

static int fail_at_three(const struct db_row *row, void *arg, struct err *err)
{
    (void)row;
    return ++((struct fn_arg *)arg)->n == 3 ? err_set(err, ERR_CANCELLED, "enough") : 0;
}

static const char five_rows[] = "SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3 UNION ALL SELECT 4 UNION ALL SELECT 5";

static int query_stop(struct db_tx *tx, void *arg, struct err *err)
{
    ((struct fn_arg *)arg)->n = 0;
    int rc = db_query(tx, five_rows, DB_NO_ARGS, stop_at_three, arg, err);
    if (rc < 0)
        return rc;
    ((struct fn_arg *)arg)->n = 0; /* the statement can be used again at once */
    return db_query(tx, five_rows, DB_NO_ARGS, stop_at_three, arg, err);
}

static int query_fail(struct db_tx *tx, void *arg, struct err *err)
{
    ((struct fn_arg *)arg)->n = 0;
    return db_query(tx, five_rows, DB_NO_ARGS, fail_at_three, arg, err);
}

static struct db_tx *nested_tx;

static int query_again(const struct db_row *row, void *arg, struct err *err)
{
    (void)row;
    return db_query(nested_tx, five_rows, DB_NO_ARGS, stop_at_three, arg, err);
}

static int query_nested(struct db_tx *tx, void *arg, struct err *err)
{
    nested_tx = tx;
    return db_query(tx, five_rows, DB_NO_ARGS, query_again, arg, err);
}

static void test_a_row_callback_ends_its_query(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    struct fn_arg a = {0};
    OK(db_read(f->db, query_stop, &a, &e));
    assert_int_equal(a.n, 3);
    FAILS(ERR_CANCELLED, "enough", db_read(f->db, query_fail, &a, &e));
    assert_int_equal(a.n, 3);
    FAILS(ERR_INTERNAL, "row callback", db_read(f->db, query_nested, &a, &e));
}

/* ---- the statement cache ---- */

static int many_texts(struct db_tx *tx, void *arg, struct err *err)
{
    struct fn_arg *a = arg;
    a->flag = true;
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 300; i++) {
            char sql[64];
            snprintf(sql, sizeof sql, "SELECT CAST('%d' AS TEXT), CAST('x' AS TEXT)", i);
            int rc = db_query(tx, sql, DB_NO_ARGS, on_text, arg, err);
            if (rc < 0)
                return rc;
            char want[16];
            snprintf(want, sizeof want, "%dx", i);
            a->flag = a->flag && strcmp(a->text, want) == 0;
        }
    }
    return 0;
}

static void test_more_texts_than_the_cache_holds(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    struct fn_arg a = {0};
    OK(db_read(f->db, many_texts, &a, &e));
    assert_true(a.flag);
    assert_int_equal(a.n, 900);
}

static void test_cached_statements_see_a_changed_schema(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    OK(fixture_exec(f->db, "CREATE TABLE t (id BIGINT)", &e));
    OK(fixture_exec(f->db, "INSERT INTO t (id) VALUES (5)", &e));
    assert_int_equal(fixture_int(f->db, "SELECT max(id) FROM t"), 5);
    OK(fixture_exec(f->db, "DROP TABLE t", &e));
    OK(fixture_exec(f->db, "CREATE TABLE t (other BIGINT, id BIGINT)", &e));
    OK(fixture_exec(f->db, "INSERT INTO t (id) VALUES (6)", &e));
    assert_int_equal(fixture_int(f->db, "SELECT max(id) FROM t"), 6);
}

/* ---- transactions ---- */

static int insert_and_fail(struct db_tx *tx, void *arg, struct err *err)
{
    (void)arg;
    if (db_exec(tx, "INSERT INTO t (id, n) VALUES (1, 1)", DB_NO_ARGS, err) < 0)
        return err->code;
    return err_set(err, ERR_CANCELLED, "changed my mind");
}

static int go_on_after_failure(struct db_tx *tx, void *arg, struct err *err)
{
    struct fn_arg *a = arg;
    struct err ignored = ERR_INIT;
    if (db_exec(tx, "INSERT INTO t (id, n) VALUES (2, 2)", DB_NO_ARGS, err) < 0)
        return err->code;
    int64_t rc = db_exec(tx, "INSERT INTO t (id, n) VALUES (2, 2)", DB_NO_ARGS, &ignored);
    a->n = rc;
    a->flag = db_exec(tx, "INSERT INTO t (id, n) VALUES (3, 3)", DB_NO_ARGS, &ignored) == ERR_INTERNAL;
    return 0;
}

static int return_seven(struct db_tx *tx, void *arg, struct err *err)
{
    (void)arg;
    return db_exec(tx, "INSERT INTO t (id, n) VALUES (9, 9)", DB_NO_ARGS, err) < 0 ? err->code : 7;
}

static void test_a_failing_function_leaves_nothing(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    struct fn_arg a = {0};
    OK(fixture_exec(f->db, create_t, &e));
    FAILS(ERR_CANCELLED, "changed my mind", do_write(f, insert_and_fail, NULL, &e));
    assert_int_equal(fixture_int(f->db, "SELECT count(*) FROM t"), 0);
    FAILS(ERR_INTERNAL, "went on", do_write(f, go_on_after_failure, &a, &e));
    assert_int_equal(a.n, ERR_CONFLICT);
    assert_true(a.flag);
    assert_int_equal(fixture_int(f->db, "SELECT count(*) FROM t"), 0);
    assert_int_equal(OK(do_write(f, return_seven, NULL, &e)), 7);
    assert_int_equal(fixture_int(f->db, "SELECT count(*) FROM t"), 1);
}

static int change_all(struct db_tx *tx, void *arg, struct err *err)
{
    struct fn_arg *a = arg;
    a->n = db_exec(tx, "UPDATE t SET n = n + 1 WHERE id >= $1", DB_ARGS(db_int(3)), err);
    return a->n < 0 ? err->code : 0;
}

static void test_exec_counts_changed_rows(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    struct fn_arg a = {0};
    OK(fixture_exec(f->db, create_t, &e));
    assert_int_equal(OK(fixture_exec(f->db, "INSERT INTO t (id, n) VALUES (1, 0), (2, 0), (3, 0), (4, 0)", &e)), 4);
    OK(do_write(f, change_all, &a, &e));
    assert_int_equal(a.n, 2);
    assert_int_equal(OK(fixture_exec(f->db, "DELETE FROM t WHERE id = 99", &e)), 0);
    assert_int_equal(OK(fixture_exec(f->db, "INSERT INTO t (id, n) VALUES (1, 0) ON CONFLICT (id) DO NOTHING", &e)), 0);
}

static int clock_twice(struct db_tx *tx, void *arg, struct err *err)
{
    (void)err;
    struct fn_arg *a = arg;
    a->n = db_now(tx);
    clock_sleep_ms(15);
    a->flag = db_now(tx) == a->n;
    return 0;
}

static void test_the_clock_stands_within_a_function(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    struct fn_arg a = {0};
    int64_t before = clock_wall_ms();
    OK(do_write(f, clock_twice, &a, &e));
    assert_true(a.flag);
    /* The database's machine may be another one: an hour is enough to tell seconds from milliseconds. */
    assert_in_range(a.n - before + 3600000, 0, 7200000);
    OK(db_read(f->db, clock_twice, &a, &e));
    assert_true(a.flag);
    fixture_set_clock(123456);
    OK(db_read(f->db, clock_twice, &a, &e));
    assert_int_equal(a.n, 123456);
}

/* ---- several at once ---- */

/* A meeting of a transaction function with the test. */
struct gate {
    pthread_mutex_t mu;
    pthread_cond_t moved;
    bool inside, open; /* guarded by mu */
};

static void gate_init(struct gate *g)
{
    pthread_mutex_init(&g->mu, NULL);
    cond_init(&g->moved);
    g->inside = g->open = false;
}

/* In the function: reports that it is inside, and waits for gate_open. */
static void gate_pass(struct gate *g)
{
    pthread_mutex_lock(&g->mu);
    g->inside = true;
    pthread_cond_broadcast(&g->moved);
    while (!g->open)
        cond_wait_ms(&g->moved, &g->mu, -1);
    pthread_mutex_unlock(&g->mu);
}

static void gate_await(struct gate *g)
{
    pthread_mutex_lock(&g->mu);
    while (!g->inside)
        cond_wait_ms(&g->moved, &g->mu, -1);
    pthread_mutex_unlock(&g->mu);
}

static void gate_open(struct gate *g)
{
    pthread_mutex_lock(&g->mu);
    g->open = true;
    pthread_cond_broadcast(&g->moved);
    pthread_mutex_unlock(&g->mu);
}

struct held_tx {
    struct db *db;
    struct gate gate;
    bool write;
    int rc;
    int64_t first, second; /* what a read saw before and behind the gate */
    struct err e;
};

static int on_count(const struct db_row *row, void *arg, struct err *err)
{
    (void)err;
    *(int64_t *)arg = db_col_int(row, 0);
    return 1;
}

static int held_fn(struct db_tx *tx, void *arg, struct err *err)
{
    struct held_tx *h = arg;
    int rc = db_query(tx, "SELECT count(*) FROM t", DB_NO_ARGS, on_count, &h->first, err);
    if (rc >= 0 && h->write)
        rc = db_exec(tx, "UPDATE t SET n = n + 1 WHERE id = 0", DB_NO_ARGS, err) < 0 ? err->code : 0;
    gate_pass(&h->gate);
    return rc < 0 ? rc : db_query(tx, "SELECT count(*) FROM t", DB_NO_ARGS, on_count, &h->second, err);
}

static void *hold_tx(void *arg)
{
    struct held_tx *h = arg;
    h->rc = h->write ? db_write(h->db, DB_RELAXED, held_fn, h, &h->e) : db_read(h->db, held_fn, h, &h->e);
    return NULL;
}

static void test_readers_see_one_state_and_then_the_next(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    OK(fixture_exec(f->db, create_t, &e));
    struct held_tx h = {.db = f->db};
    gate_init(&h.gate);
    pthread_t t;
    OK(thread_start(&t, "reader", hold_tx, &h, &e));
    gate_await(&h.gate);
    /* The writer does not wait for the reader, and other readers see what it wrote. */
    OK(fixture_exec(f->db, "INSERT INTO t (id, n) VALUES (1, 1)", &e));
    assert_int_equal(fixture_int(f->db, "SELECT count(*) FROM t"), 1);
    gate_open(&h.gate);
    pthread_join(t, NULL);
    assert_int_equal(h.rc, 0);
    assert_int_equal(h.first, 0);
    assert_int_equal(h.second, 0);
}

static void test_readers_wait_for_a_free_one(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    OK(fixture_exec(f->db, create_t, &e));
    struct db *db = NULL;
    OK(fixture_open_db(f, 1, 50, &db, &e));
    struct held_tx h = {.db = db};
    gate_init(&h.gate);
    pthread_t t;
    OK(thread_start(&t, "reader", hold_tx, &h, &e));
    gate_await(&h.gate);
    int64_t ms = 0;
    struct db_pool p = {0};
    db_pool_figures(db, &p);
    assert_int_equal(p.max, 1);
    assert_int_equal(p.busy, 1);
    FAILS(ERR_BUSY, "busy for", db_ping(db, &ms, &e));
    gate_open(&h.gate);
    pthread_join(t, NULL);
    OK(db_ping(db, &ms, &e));
    db_pool_figures(db, &p);
    assert_int_equal(p.open, 1);
    assert_int_equal(p.busy, 0);
    assert_int_equal(p.waiting, 0);
    db_close(db);
}

static void test_a_writer_elsewhere_is_waited_for(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    OK(fixture_exec(f->db, create_t, &e));
    OK(fixture_exec(f->db, "INSERT INTO t (id, n) VALUES (0, 0)", &e));
    struct db *impatient = NULL;
    OK(fixture_open_db(f, 1, 50, &impatient, &e));
    struct held_tx h = {.db = f->db, .write = true};
    gate_init(&h.gate);
    pthread_t t;
    OK(thread_start(&t, "writer", hold_tx, &h, &e));
    gate_await(&h.gate);
    FAILS(ERR_BUSY, "lock", fixture_exec(impatient, "UPDATE t SET n = n + 10 WHERE id = 0", &e));
    gate_open(&h.gate);
    pthread_join(t, NULL);
    OK(h.rc);
    OK(fixture_exec(impatient, "UPDATE t SET n = n + 10 WHERE id = 0", &e));
    db_close(impatient);
    assert_int_equal(fixture_int(f->db, "SELECT n FROM t"), 11);
}

enum { WRITERS = 8, PROCESSES = 3, ROUNDS = 60 };

struct adder {
    struct db *db;
    int id;
    int64_t done; /* that returned success */
    int bad;
};

struct add {
    int id, round;
};

/* Locks, reads, computes and writes: lost updates would show. Every fifth changes its mind after writing. */
static int add_fn(struct db_tx *tx, void *arg, struct err *err)
{
    struct add *a = arg;
    int64_t n = -1;
    if (db_exec(tx, "UPDATE t SET n = n WHERE id = 0", DB_NO_ARGS, err) < 0)
        return err->code;
    int rc = db_query(tx, "SELECT n FROM t WHERE id = 0", DB_NO_ARGS, on_count, &n, err);
    if (rc < 0)
        return rc;
    if (db_exec(tx, "UPDATE t SET n = $1 WHERE id = 0", DB_ARGS(db_int(n + 1)), err) < 0 ||
        db_exec(tx, "INSERT INTO t_many (who, round) VALUES ($1, $2)", DB_ARGS(db_int(a->id), db_int(a->round)), err) <
            0)
        return err->code;
    return a->round % 5 == 4 ? err_set(err, ERR_CANCELLED, "not this one") : 0;
}

static void *add_many(void *arg)
{
    struct adder *a = arg;
    struct err e = ERR_INIT;
    for (int i = 0; i < ROUNDS; i++) {
        struct add add = {a->id, i};
        int rc = db_write(a->db, i % 2 ? DB_RELAXED : DB_DURABLE, add_fn, &add, &e);
        a->done += rc == 0;
        if (rc != (i % 5 == 4 ? ERR_CANCELLED : 0)) {
            fprintf(stderr, "writer %d round %d: %s\n", a->id, i, e.msg);
            a->bad++;
        }
    }
    return NULL;
}

static int add_in_process(struct fixture *f, int p)
{
    struct err e = ERR_INIT;
    struct db *db = NULL;
    CHILD_OK(fixture_open_db(f, 2, 30000, &db, &e));
    struct adder a[WRITERS] = {0};
    for (int i = 0; i < WRITERS; i++) {
        a[i].db = db;
        a[i].id = p * WRITERS + i;
    }
    fixture_threads(WRITERS, add_many, a, sizeof a[0]);
    db_close(db);
    int bad = 0;
    for (int i = 0; i < WRITERS; i++)
        bad += a[i].bad + (a[i].done != ROUNDS - ROUNDS / 5);
    return bad;
}

static void test_many_writers_lose_nothing(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    OK(fixture_exec(f->db, create_t, &e));
    OK(fixture_exec(f->db, "CREATE TABLE t_many (who BIGINT, round BIGINT, PRIMARY KEY (who, round))", &e));
    OK(fixture_exec(f->db, "INSERT INTO t (id, n) VALUES (0, 0)", &e));
    fixture_fork(f, PROCESSES, add_in_process);
    int64_t kept = PROCESSES * WRITERS * (ROUNDS - ROUNDS / 5);
    assert_int_equal(fixture_int(f->db, "SELECT n FROM t WHERE id = 0"), kept);
    assert_int_equal(fixture_int(f->db, "SELECT count(*) FROM t_many"), kept);
    assert_int_equal(fixture_int(f->db, "SELECT count(*) FROM t_many WHERE round % 5 = 4"), 0);
}

/* ---- statements known beforehand ---- */

struct stmt_writer {
    struct db *db;
    int id, bad;
};

enum { STMT_ROUNDS = 40 };

/* Two statements each; in every fourth round the second breaks a rule, so that neither may be kept. */
static void *write_stmts(void *arg)
{
    struct stmt_writer *w = arg;
    for (int i = 0; i < STMT_ROUNDS; i++) {
        struct err e = ERR_INIT;
        int64_t n = -1;
        bool breaks = i % 4 == 3;
        struct db_stmt s[] = {
            {.sql = "INSERT INTO t_many (who, round) VALUES ($1, $2)",
             .args = (struct db_val[]){db_int(w->id), db_int(i)},
             .n_args = 2},
            {.sql = "INSERT INTO t (id, n) VALUES ($1, $2)",
             .args = (struct db_val[]){db_int(breaks ? 0 : 1 + w->id * STMT_ROUNDS + i), db_int(i)},
             .n_args = 2},
        };
        struct db_stmt look = {.sql = "SELECT round FROM t_many WHERE who = $1 AND round = $2",
                               .args = s[0].args,
                               .n_args = 2,
                               .row = on_count,
                               .row_arg = &n};
        int rc = db_write_stmts(w->db, i % 2 ? DB_RELAXED : DB_DURABLE, s, 2, &e);
        bool good = breaks ? rc == ERR_CONFLICT : rc == 0 && s[0].changed == 1 && s[1].changed == 1;
        good = good && db_read_stmt(w->db, &look, &e) == 0 && n == (breaks ? -1 : i);
        if (!good)
            fprintf(stderr, "writer %d round %d: %d %s\n", w->id, i, rc, e.msg);
        w->bad += !good;
    }
    return NULL;
}

static void test_known_statements_of_many_threads_share_no_fate(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    OK(fixture_exec(f->db, create_t, &e));
    OK(fixture_exec(f->db, "CREATE TABLE t_many (who BIGINT, round BIGINT, PRIMARY KEY (who, round))", &e));
    OK(fixture_exec(f->db, "INSERT INTO t (id, n) VALUES (0, 0)", &e));
    struct stmt_writer w[24] = {{0}};
    for (int i = 0; i < 24; i++)
        w[i] = (struct stmt_writer){.db = f->db, .id = i};
    fixture_threads(24, write_stmts, w, sizeof w[0]);
    for (int i = 0; i < 24; i++)
        assert_int_equal(w[i].bad, 0);
    assert_int_equal(fixture_int(f->db, "SELECT count(*) FROM t_many"), 24 * STMT_ROUNDS * 3 / 4);
    assert_int_equal(fixture_int(f->db, "SELECT count(*) FROM t"), 24 * STMT_ROUNDS * 3 / 4 + 1);
}

static void test_known_statements_that_are_wrong(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    OK(fixture_exec(f->db, create_t, &e));
    struct db_stmt s[] = {{.sql = "INSERT INTO t (id, n) VALUES (1, 1)"}, {.sql = "SELEKT 1"}, {.sql = "SELECT $1"}};
    FAILS(ERR_INTERNAL, "SELEKT", db_write_stmts(f->db, DB_DURABLE, s, 2, &e));
    s[1].sql = "SELECT 1";
    FAILS(ERR_INTERNAL, "0 values for 1", db_write_stmts(f->db, DB_DURABLE, s, 3, &e));
    s[1] = (struct db_stmt){.sql = "SELECT CAST($1 AS TEXT)", .args = (struct db_val[]){db_text("\xff")}, .n_args = 1};
    FAILS(ERR_INTERNAL, "UTF-8", db_write_stmts(f->db, DB_DURABLE, s, 2, &e));
    FAILS(ERR_INTERNAL, "not a SELECT", db_read_stmt(f->db, &s[0], &e));
    assert_int_equal(fixture_int(f->db, "SELECT count(*) FROM t"), 0);
    OK(db_write_stmts(f->db, DB_DURABLE, s, 1, &e));
    assert_int_equal(fixture_int(f->db, "SELECT count(*) FROM t"), 1);
}

static int later_fn(struct db_tx *tx, void *arg, struct err *err)
{
    const int64_t *second = arg;
    const char *sql = "INSERT INTO t (id, n) VALUES ($1, $2)";
    if (db_exec_later(tx, sql, DB_ARGS(db_int(1), db_int(1)), err) < 0 ||
        db_exec_later(tx, sql, DB_ARGS(db_int(*second), db_int(1)), err) < 0)
        return err->code;
    return 7;
}

static int later_and_look(struct db_tx *tx, void *arg, struct err *err)
{
    int64_t second = 2;
    int rc = later_fn(tx, &second, err);
    return rc < 0 ? rc : db_query(tx, "SELECT count(*) FROM t", DB_NO_ARGS, on_count, arg, err);
}

static void test_statements_may_be_sent_later(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    int64_t second = 1, seen = -1;
    OK(fixture_exec(f->db, create_t, &e));
    FAILS(ERR_CONFLICT, "", db_write(f->db, DB_DURABLE, later_fn, &second, &e));
    assert_int_equal(fixture_int(f->db, "SELECT count(*) FROM t"), 0);
    OK(db_write(f->db, DB_DURABLE, later_and_look, &seen, &e)); /* what follows sees them */
    assert_int_equal(seen, 2);
    OK(fixture_exec(f->db, "DELETE FROM t", &e));
    second = 2;
    assert_int_equal(db_write(f->db, DB_DURABLE, later_fn, &second, &e), 7);
    assert_int_equal(fixture_int(f->db, "SELECT count(*) FROM t"), 2);
}

/* ---- opening ---- */

static void test_urls(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    struct db *db = NULL;
    static const struct {
        const char *url;
        unsigned readers;
        int code;
        const char *words;
    } rows[] = {
        {NULL, 1, ERR_INVALID, "sqlite:/path"},
        {"", 1, ERR_INVALID, "sqlite:/path"},
        {"steno.db", 1, ERR_INVALID, "sqlite:/path"},
        {"mysql://user:geheim@host/db", 1, ERR_INVALID, "'mysql:' is unknown"},
        {"postgresql://user:geheim@host:x/db", 1, ERR_INVALID, "malformed"},
        {"postgresql://user:ge/heim@host/db", 1, ERR_INVALID, "malformed"},
        {"postgresql://user:geheim@host/db?colour=red", 1, ERR_INVALID, "malformed"},
        {"postgresql://user:geheim@127.0.0.1:1/db", 1, ERR_UNAVAILABLE, "cannot connect"},
        {"postgres://user:geheim@127.0.0.1:1/db", 1, ERR_UNAVAILABLE, "cannot connect"},
        {"sqlite:/nowhere/at/all.db", 0, ERR_INVALID, "readers"},
        {"sqlite:/nowhere/at/all.db", 65, ERR_INVALID, "readers"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        FAILS(rows[i].code, rows[i].words,
              db_open(&(struct db_opts){.url = rows[i].url, .readers = rows[i].readers, .pool = 1}, &db, &e));
        assert_null(strstr(e.msg, "geheim"));
        assert_null(db);
    }
    db_close(NULL);
}

static void test_ping_and_dialect(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    int64_t ms = -1;
    OK(db_ping(f->db, &ms, &e));
    assert_in_range(ms, 0, 60000);
    assert_non_null(db_dialect(f->db)->name);
    assert_non_null(db_dialect(f->db)->skip_locked);
}

#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
    if (fixture_skip())
        return 0;
    const struct CMUnitTest tests[] = {
        T(test_values_come_back_as_they_went),
        T(test_parameters_go_by_their_number),
        T(test_wrong_statements_are_our_bug),
        T(test_text_that_is_not_utf8_is_refused),
        T(test_constraints_are_conflicts),
        T(test_a_row_callback_ends_its_query),
        T(test_more_texts_than_the_cache_holds),
        T(test_cached_statements_see_a_changed_schema),
        T(test_a_failing_function_leaves_nothing),
        T(test_exec_counts_changed_rows),
        T(test_the_clock_stands_within_a_function),
        T(test_readers_see_one_state_and_then_the_next),
        T(test_readers_wait_for_a_free_one),
        T(test_a_writer_elsewhere_is_waited_for),
        T(test_many_writers_lose_nothing),
        T(test_known_statements_of_many_threads_share_no_fate),
        T(test_known_statements_that_are_wrong),
        T(test_statements_may_be_sent_later),
        T(test_urls),
        T(test_ping_and_dialect),
    };
    return cmocka_run_group_tests(tests, fixture_setup_group, fixture_teardown_group);
}
