/* SPDX-License-Identifier: MIT */
/*
 * The PostgreSQL back end: a pool of connections, one transaction per call.
 *
 * Everything lives in the schema `steno`, the only one on the search path: tables of the same names elsewhere in the
 * database are never touched.
 *
 * A transaction that was a victim of a deadlock or a serialisation conflict is run again, and so is one whose
 * connection was lost before its COMMIT went out, but not one whose server fell silent: it would wait as long again.
 * After the COMMIT the answer decides; when it is lost, nobody but the database knows: UNCERTAIN.
 *
 * Time limits hold everywhere: the server's on statements, locks and idle transactions (a process that is stopped in
 * the middle must not hold its locks for ever), ours on every answer, for a server that is stopped itself.
 */
#include "db/db_ops.h"

#include "base/clock.h"
#include "base/id.h"
#include "base/mem.h"
#include "db/pg_lane.h"
#include "db/pg_pool.h"
#include "db/pg_tx.h"

#include <stdlib.h>

enum {
    TRIES = 10,
    STATEMENT_MS = 30000,
    IDLE_TX_MS = 10000,
    ANSWER_MS = STATEMENT_MS + 5000, /* the server's own limit should come first: it says why */
    SCHEMA_ANSWER_MS = 24 * 3600 * 1000,
    /* Round trips at a time. One for relaxed writes: two that lock rows of the same jobs in another order would wait
     * for each other. */
    READ_LEADERS = 4,
    DURABLE_LEADERS = 3,
    RELAXED_LEADERS = 1,
};

struct postgres_db {
    struct db db;
    struct pg_pool *pool;
    struct pg_clock clock;
    int64_t answer_ms;
    struct pg_lane *reads, *durable, *relaxed;
};

static struct postgres_db *of(struct db *db)
{
    return CONTAINER_OF(db, struct postgres_db, db);
}

static void postgres_close(struct db *db)
{
    struct postgres_db *d = of(db);
    pg_lane_free(d->reads);
    pg_lane_free(d->durable);
    pg_lane_free(d->relaxed);
    pg_pool_free(d->pool);
    free(d);
}

static int is_there(struct pg_link *l, const char *sql, bool *ret_there, struct err *err)
{
    struct pg_result *r = NULL;
    int rc = pg_send(l, sql, NULL, 0, err);
    if (rc >= 0)
        rc = pg_sync(l, err);
    if (rc >= 0)
        rc = pg_next(l, &r, err);
    if (rc >= 0)
        rc = pg_end(l, err);
    if (rc >= 0)
        *ret_there = pg_rows(r) == 1 && pg_type(r, 0, 0) != PG_NULL;
    pg_free(r);
    return rc;
}

static const char find_schema[] = "SELECT CAST(to_regnamespace('steno') AS TEXT)";

/* Looks first: a user who may not create schemas can be given one. */
static int make_schema(struct pg_link *l, struct err *err)
{
    bool there = false;
    int rc = is_there(l, find_schema, &there, err);
    if (rc < 0 || there)
        return rc;
    struct err make = ERR_INIT;
    rc = pg_do(l, "CREATE SCHEMA IF NOT EXISTS steno", &make);
    if (rc >= 0)
        return 0;
    /* Another process was quicker, which PostgreSQL takes for a broken unique index. */
    rc = pg_lost(l) ? make.code : is_there(l, find_schema, &there, err);
    if (rc >= 0 && there)
        return 0;
    return err_set(err, make.code == ERR_CONFLICT ? ERR_UNAVAILABLE : make.code,
                   "cannot create the schema 'steno' (or let an administrator do it: CREATE SCHEMA steno AUTHORIZATION "
                   "user): %.300s",
                   make.msg);
}

static int postgres_open(const struct db_opts *opts, const char *rest, struct db **ret, struct err *err)
{
    (void)rest;
    if (opts->pool < 1 || opts->pool > 1000)
        return err_set(err, ERR_INVALID, "the number of database connections must be 1 to 1000, not %u", opts->pool);
    int rc = pg_check_url(opts->url, err);
    if (rc < 0)
        return rc;
    /*
     * enable_seqscan: tables of jobs grow faster than their statistics; no statement here is meant to read a whole
     * table, so a plan made while it was empty must not do it later. jit: none of them lasts long enough to gain by it.
     */
    CLEANUP(free_p)
    char *setup =
        xasprintf("SET search_path = steno; SET statement_timeout = %d; SET lock_timeout = %lld; "
                  "SET idle_in_transaction_session_timeout = %d; SET client_min_messages = warning; SET jit = off; "
                  "SET enable_seqscan = off; SET standard_conforming_strings = on",
                  STATEMENT_MS, (long long)CLAMP(opts->busy_ms, 1, (int64_t)STATEMENT_MS - 1000), IDLE_TX_MS);
    struct postgres_db *d = xcalloc(1, sizeof *d);
    d->answer_ms = opts->answer_ms ? opts->answer_ms : ANSWER_MS;
    d->pool = pg_pool_new(&(struct pg_pool_opts){
        .link = {.url = opts->url, .name = "steno", .setup = setup, .answer_ms = d->answer_ms},
        .size = opts->pool,
        .wait_ms = opts->busy_ms,
        .clock = &d->clock,
    });
    d->reads = pg_lane_new(&(struct pg_lane_opts){.pool = d->pool, .read = true, .leaders = READ_LEADERS});
    d->durable = pg_lane_new(&(struct pg_lane_opts){.pool = d->pool, .how = DB_DURABLE, .leaders = DURABLE_LEADERS});
    d->relaxed = pg_lane_new(&(struct pg_lane_opts){.pool = d->pool, .how = DB_RELAXED, .leaders = RELAXED_LEADERS});
    struct pg_link *l = NULL;
    rc = pg_pool_take(d->pool, &l, err);
    if (rc >= 0) {
        rc = make_schema(l, err);
        pg_pool_give(d->pool, l);
    }
    if (rc < 0) {
        postgres_close(&d->db);
        return rc;
    }
    *ret = &d->db;
    return 0;
}

/* One try. *ret_again: nothing was kept, and another try may do better. */
static int run_once(struct postgres_db *d, struct pg_tx *t, db_tx_fn fn, void *arg, bool *ret_again, struct err *err)
{
    *ret_again = false;
    int rc = pg_pool_take(d->pool, &t->link, err);
    if (rc < 0)
        return rc;
    int value = rc = db_call(&t->tx, fn, arg, err);
    if (rc >= 0)
        rc = pg_tx_commit(t, err);
    if (rc < 0) {
        bool lost = pg_lost(t->link), repeat = t->tx.failed || t->committing;
        *ret_again = lost ? !t->committing && !pg_silent(t->link)
                          : repeat && (pg_remedy(t->link) == PG_REPEAT || pg_stale(t->link));
        pg_tx_rollback(t);
    }
    /* Its wish for patience was for this transaction. */
    pg_set_answer_ms(t->link, d->answer_ms);
    pg_pool_give(d->pool, t->link);
    return rc < 0 ? rc : value;
}

static int run_tx(struct db *db, const struct pg_tx *form, db_tx_fn fn, void *arg, struct err *err)
{
    bool again = true;
    int rc = 0;
    for (int i = 0; again && i < TRIES; i++) {
        if (i > 0)
            clock_sleep_ms(random_below(10 * i + 1));
        struct pg_tx t = *form;
        rc = run_once(of(db), &t, fn, arg, &again, err);
    }
    return rc;
}

static int postgres_read(struct db *db, db_tx_fn fn, void *arg, struct err *err)
{
    return run_tx(db, &(struct pg_tx){.tx = {.db = db}, .read = true}, fn, arg, err);
}

static int postgres_write(struct db *db, enum db_durability how, db_tx_fn fn, void *arg, struct err *err)
{
    return run_tx(db, &(struct pg_tx){.tx = {.db = db}, .how = how}, fn, arg, err);
}

static int64_t postgres_now(struct db *db)
{
    return pg_clock_now(&of(db)->clock);
}

static int postgres_query(struct db_tx *tx, const char *sql, const struct db_val *args, size_t n_args, db_row_fn row,
                          void *row_arg, int64_t *ret_changed, struct err *err)
{
    return pg_tx_query(CONTAINER_OF(tx, struct pg_tx, tx), sql, args, n_args, row, row_arg, ret_changed, err);
}

static int postgres_later(struct db_tx *tx, const char *sql, const struct db_val *args, size_t n_args, struct err *err)
{
    return pg_tx_later(CONTAINER_OF(tx, struct pg_tx, tx), sql, args, n_args, err);
}

static int postgres_write_stmts(struct db *db, enum db_durability how, struct db_stmt *stmts, size_t n, struct err *err)
{
    return pg_lane_run(how == DB_DURABLE ? of(db)->durable : of(db)->relaxed, stmts, n, err);
}

static int postgres_read_stmt(struct db *db, struct db_stmt *stmt, struct err *err)
{
    return pg_lane_run(of(db)->reads, stmt, 1, err);
}

/* Any number that no other program is likely to lock in this database. */
static const char lock_schema[] = "SELECT pg_advisory_xact_lock(7738150293485)";

static int postgres_lock_schema(struct db_tx *tx, struct err *err)
{
    struct pg_tx *t = CONTAINER_OF(tx, struct pg_tx, tx);
    int rc = db_exec_later(tx, "SET LOCAL statement_timeout = 0", DB_NO_ARGS, err);
    if (rc >= 0)
        rc = db_query(tx, lock_schema, DB_NO_ARGS, NULL, NULL, err);
    pg_set_answer_ms(t->link, SCHEMA_ANSWER_MS);
    return rc;
}

static void postgres_figures(struct db *db, struct db_pool *ret)
{
    pg_pool_figures(of(db)->pool, ret);
}

static int postgres_ping(struct db *db, struct err *err)
{
    struct postgres_db *d = of(db);
    struct pg_link *l = NULL;
    int rc = pg_pool_take(d->pool, &l, err);
    if (rc < 0)
        return rc;
    bool there = false;
    rc = is_there(l, find_schema, &there, err);
    pg_pool_give(d->pool, l);
    if (rc >= 0 && !there)
        return err_set(err, ERR_UNAVAILABLE, "the schema 'steno' is no longer in the database");
    return rc;
}

const struct db_ops db_postgres_ops = {
    .scheme = "postgresql",
    .dialect =
        {
            .name = "postgresql",
            .skip_locked = " FOR UPDATE SKIP LOCKED",
            .find_table = "SELECT 1 FROM pg_tables WHERE schemaname = 'steno' AND tablename = $1",
        },
    .open = postgres_open,
    .close = postgres_close,
    .read = postgres_read,
    .write = postgres_write,
    .now = postgres_now,
    .query = postgres_query,
    .later = postgres_later,
    .write_stmts = postgres_write_stmts,
    .read_stmt = postgres_read_stmt,
    .lock_schema = postgres_lock_schema,
    .col_int = pg_col_int,
    .col_real = pg_col_real,
    .col_text = pg_col_text,
    .col_is_null = pg_col_is_null,
    .figures = postgres_figures,
    .ping = postgres_ping,
};
