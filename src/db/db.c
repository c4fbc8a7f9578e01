/* SPDX-License-Identifier: MIT */
/*
 * The wrappers over the back ends: choosing one by URL, and the rules that hold on each.
 *
 * PostgreSQL refuses every statement after a failed one until the transaction ends, SQLite would go on. Code that
 * works on one must work on both, so the stricter rule is held here: `failed` is sticky.
 */
#include "db/db.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/str.h"
#include "db/db_ops.h"

#include <string.h>

static const struct log_ctx lc = {.component = "db"};

static const struct known_db {
    const char *scheme;
    const struct db_ops *ops;
} known_dbs[] = {
    {"sqlite", &db_sqlite_ops},
    {"postgresql", &db_postgres_ops},
    {"postgres", &db_postgres_ops},
};

/* Stands for a missing row callback, so that back ends need no case for it. */
static int ignore_row(const struct db_row *row, void *arg, struct err *err)
{
    (void)row;
    (void)arg;
    (void)err;
    return 0;
}

/* Marks the time in which a row callback runs. */
struct row_call {
    struct db_tx *tx;
    db_row_fn fn;
    void *arg;
};

static int call_row(const struct db_row *row, void *arg, struct err *err)
{
    struct row_call *c = arg;
    c->tx->in_row = true;
    int rc = c->fn(row, c->arg, err);
    c->tx->in_row = false;
    return rc;
}

/* PostgreSQL refuses other text: what a foreign program printed must be cleaned before it comes here. */
static int check_args(const char *sql, const struct db_val *args, size_t n_args, struct err *err)
{
    for (size_t i = 0; i < n_args; i++)
        if (args[i].type == DB_TEXT && !utf8_valid(args[i].s, strlen(args[i].s)))
            return err_set(err, ERR_INTERNAL, "value %zu is not UTF-8: %.80s", i + 1, sql);
    return 0;
}

static int check_stmt(struct db_tx *tx, const char *sql, const struct db_val *args, size_t n_args, struct err *err)
{
    if (tx->failed)
        return err_set(err, ERR_INTERNAL, "an earlier statement of this transaction failed");
    if (tx->in_row)
        return err_set(err, ERR_INTERNAL, "a row callback must not run statements: %.80s", sql);
    int rc = check_args(sql, args, n_args, err);
    if (rc < 0)
        return rc;
    rc = FAULT_POINT(sql_statement, err);
    if (rc < 0)
        tx->failed = true;
    return rc;
}

/* What a write says that gave rc, or was not done. */
static int answer_of(int rc, enum fault_effect fault, struct err *err)
{
    if (rc < 0 || fault == FAULT_NONE)
        return rc;
    rc = FAULT_STRIKE(db_write, err);
    if (fault == FAULT_LOST)
        return err_set(err, ERR_UNCERTAIN, "it is not known whether the change was kept: %.400s", err->msg);
    return rc;
}

static int run(struct db_tx *tx, const char *sql, const struct db_val *args, size_t n_args, db_row_fn row,
               void *row_arg, int64_t *ret_changed, struct err *err)
{
    int rc = check_stmt(tx, sql, args, n_args, err);
    if (rc < 0)
        return rc;
    struct row_call c = {tx, row ? row : ignore_row, row_arg};
    rc = tx->db->ops->query(tx, sql, args, n_args, call_row, &c, ret_changed, err);
    if (rc < 0)
        tx->failed = true;
    return rc;
}

int db_call(struct db_tx *tx, db_tx_fn fn, void *arg, struct err *err)
{
    tx->failed = tx->in_row = false;
    tx->now = 0;
    int rc = fn(tx, arg, err);
    if (rc >= 0 && tx->failed)
        return err_set(err, ERR_INTERNAL, "a statement failed and its transaction went on");
    return rc;
}

int db_open(const struct db_opts *opts, struct db **ret, struct err *err)
{
    const char *colon = opts->url ? strchr(opts->url, ':') : NULL;
    /* The URL itself may hold a password: only the scheme is repeated. */
    if (!colon)
        return err_set(err, ERR_INVALID,
                       "the database setting needs a form like sqlite:/path/to/steno.db or "
                       "postgresql://user:password@host/database");
    size_t n = (size_t)(colon - opts->url);
    for (size_t i = 0; i < ARRAY_LEN(known_dbs); i++) {
        const struct known_db *k = &known_dbs[i];
        if (strlen(k->scheme) != n || memcmp(k->scheme, opts->url, n) != 0)
            continue;
        if (opts->readers < 1 || opts->readers > 64)
            return err_set(err, ERR_INVALID, "the number of database readers must be 1 to 64, not %u", opts->readers);
        struct db *db = NULL;
        int rc = k->ops->open(opts, colon + 1, &db, err);
        if (rc < 0)
            return rc;
        db->ops = k->ops;
        db->clock = opts->clock;
        db->clock_arg = opts->clock_arg;
        *ret = db;
        return 0;
    }
    return err_set(err, ERR_INVALID,
                   "database '%.*s:' is unknown: use a form like sqlite:/path/to/steno.db or "
                   "postgresql://user:password@host/database",
                   n > 40 ? 40 : (int)n, opts->url);
}

void db_close(struct db *db)
{
    if (db)
        db->ops->close(db);
}

int db_read(struct db *db, db_tx_fn fn, void *arg, struct err *err)
{
    int rc = FAULT_POINT(db_read, err);
    return rc < 0 ? rc : db->ops->read(db, fn, arg, err);
}

int db_write(struct db *db, enum db_durability how, db_tx_fn fn, void *arg, struct err *err)
{
    int64_t start = clock_mono_ms();
    enum fault_effect fault = FAULT_LOOK(db_write, NULL);
    int rc = answer_of(fault_is_done(fault) ? db->ops->write(db, how, fn, arg, err) : 0, fault, err);
    int64_t took = clock_mono_ms() - start;
    if (took >= 1000)
        log_debug(&lc, "a write took %lld ms", (long long)took);
    return rc;
}

int64_t db_now(struct db_tx *tx)
{
    if (!tx->now)
        tx->now = db_clock(tx->db);
    return tx->now;
}

int64_t db_clock(struct db *db)
{
    return (db->clock ? db->clock(db->clock_arg) : db->ops->now(db)) + FAULT_JUMP_MS(db_clock);
}

int64_t db_col_int(const struct db_row *row, int col)
{
    return row->ops->col_int(row, col);
}

double db_col_real(const struct db_row *row, int col)
{
    return row->ops->col_real(row, col);
}

const char *db_col_text(const struct db_row *row, int col)
{
    return row->ops->col_text(row, col);
}

bool db_col_is_null(const struct db_row *row, int col)
{
    return row->ops->col_is_null(row, col);
}

int db_query(struct db_tx *tx, const char *sql, const struct db_val *args, size_t n_args, db_row_fn row, void *row_arg,
             struct err *err)
{
    int64_t changed = 0;
    return run(tx, sql, args, n_args, row, row_arg, &changed, err);
}

int64_t db_exec(struct db_tx *tx, const char *sql, const struct db_val *args, size_t n_args, struct err *err)
{
    int64_t changed = 0;
    int rc = run(tx, sql, args, n_args, NULL, NULL, &changed, err);
    return rc < 0 ? rc : changed;
}

int db_exec_later(struct db_tx *tx, const char *sql, const struct db_val *args, size_t n_args, struct err *err)
{
    if (!tx->db->ops->later) {
        int64_t changed = 0;
        return run(tx, sql, args, n_args, NULL, NULL, &changed, err);
    }
    int rc = check_stmt(tx, sql, args, n_args, err);
    if (rc < 0)
        return rc;
    rc = tx->db->ops->later(tx, sql, args, n_args, err);
    if (rc < 0)
        tx->failed = true;
    return rc;
}

struct stmts_call {
    struct db_stmt *stmts;
    size_t n;
};

static int stmts_fn(struct db_tx *tx, void *arg, struct err *err)
{
    struct stmts_call *c = arg;
    int rc = 0;
    for (size_t i = 0; i < c->n && rc >= 0; i++) {
        struct db_stmt *s = &c->stmts[i];
        rc = run(tx, s->sql, s->args, s->n_args, s->row, s->row_arg, &s->changed, err);
    }
    return rc;
}

static int check_stmts(struct db_stmt *stmts, size_t n, struct err *err)
{
    for (size_t i = 0; i < n; i++) {
        int rc = check_args(stmts[i].sql, stmts[i].args, stmts[i].n_args, err);
        if (rc < 0)
            return rc;
        if (!stmts[i].row)
            stmts[i].row = ignore_row;
    }
    return 0;
}

int db_write_stmts(struct db *db, enum db_durability how, struct db_stmt *stmts, size_t n, struct err *err)
{
    int rc = check_stmts(stmts, n, err);
    if (rc < 0)
        return rc;
    enum fault_effect fault = FAULT_LOOK(db_write, NULL);
    if (fault_is_done(fault) && db->ops->write_stmts)
        rc = db->ops->write_stmts(db, how, stmts, n, err);
    else if (fault_is_done(fault))
        rc = db->ops->write(db, how, stmts_fn, &(struct stmts_call){stmts, n}, err);
    return answer_of(rc, fault, err);
}

int db_read_stmt(struct db *db, struct db_stmt *stmt, struct err *err)
{
    if (!str_starts(stmt->sql, "SELECT "))
        return err_set(err, ERR_INTERNAL, "not a SELECT inside db_read_stmt: %.80s", stmt->sql);
    int rc = check_stmts(stmt, 1, err);
    if (rc >= 0)
        rc = FAULT_POINT(db_read, err);
    if (rc < 0)
        return rc;
    if (db->ops->read_stmt)
        return db->ops->read_stmt(db, stmt, err);
    return db->ops->read(db, stmts_fn, &(struct stmts_call){stmt, 1}, err);
}

int db_lock_schema(struct db_tx *tx, struct err *err)
{
    return tx->db->ops->lock_schema ? tx->db->ops->lock_schema(tx, err) : 0;
}

void db_pool_figures(struct db *db, struct db_pool *ret)
{
    db->ops->figures(db, ret);
}

const struct db_dialect *db_dialect(const struct db *db)
{
    return &db->ops->dialect;
}

const struct db_dialect *db_tx_dialect(const struct db_tx *tx)
{
    return db_dialect(tx->db);
}

int db_ping(struct db *db, int64_t *ret_ms, struct err *err)
{
    int64_t start = clock_mono_ms();
    int rc = FAULT_POINT(db_ping, err);
    if (rc >= 0)
        rc = db->ops->ping(db, err);
    if (rc >= 0)
        *ret_ms = clock_mono_ms() - start;
    return rc;
}
