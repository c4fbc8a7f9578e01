/* SPDX-License-Identifier: MIT */
/*
 * What a database back end provides. Reached only through db.c, which holds the rules that are the same for all.
 *
 * A back end runs every transaction function through db_call, so that a function which ignored a failed statement
 * fails on every database as it would on PostgreSQL.
 */
#ifndef DB_DB_OPS_H
#define DB_DB_OPS_H

#include "db/db.h"

/* Back ends embed these as their first member. */
struct db {
    const struct db_ops *ops;
    int64_t (*clock)(void *arg); /* from db_opts, or NULL */
    void *clock_arg;
};
struct db_tx {
    struct db *db;
    bool failed; /* a statement failed: nothing more may run */
    bool in_row; /* a row callback is under way */
    int64_t now; /* 0: not asked for yet */
};
struct db_row {
    const struct db_ops *ops;
};

struct db_ops {
    const char *scheme; /* what stands before the first ':' of the URL */
    struct db_dialect dialect;

    /* `rest` is the URL behind "scheme:". */
    int (*open)(const struct db_opts *opts, const char *rest, struct db **ret, struct err *err);
    void (*close)(struct db *db); /* NULL is fine */
    /* Begin, db_call, commit or roll back; block as db.h says. Any thread. */
    int (*read)(struct db *db, db_tx_fn fn, void *arg, struct err *err);
    int (*write)(struct db *db, enum db_durability how, db_tx_fn fn, void *arg, struct err *err);
    /* The database's clock; asked once per transaction function. Does not block. */
    int64_t (*now)(struct db *db);
    /* Runs one statement to its end or to a non-zero return of `row` (not NULL); *ret_changed as db_exec. */
    int (*query)(struct db_tx *tx, const char *sql, const struct db_val *args, size_t n_args, db_row_fn row,
                 void *row_arg, int64_t *ret_changed, struct err *err);
    /* As db_exec_later, db_write_stmts, db_read_stmt, db_lock_schema; NULL: db.c makes them of the above. */
    int (*later)(struct db_tx *tx, const char *sql, const struct db_val *args, size_t n_args, struct err *err);
    int (*write_stmts)(struct db *db, enum db_durability how, struct db_stmt *stmts, size_t n, struct err *err);
    int (*read_stmt)(struct db *db, struct db_stmt *stmt, struct err *err);
    int (*lock_schema)(struct db_tx *tx, struct err *err);
    int64_t (*col_int)(const struct db_row *row, int col);
    double (*col_real)(const struct db_row *row, int col);
    const char *(*col_text)(const struct db_row *row, int col);
    bool (*col_is_null)(const struct db_row *row, int col);
    void (*figures)(struct db *db, struct db_pool *ret);
    /* One real round trip. */
    int (*ping)(struct db *db, struct err *err);
};

/* Runs fn in a transaction the back end has begun; its return value, or the failure it should have returned. */
int db_call(struct db_tx *tx, db_tx_fn fn, void *arg, struct err *err) MUST_CHECK;

extern const struct db_ops db_sqlite_ops;
extern const struct db_ops db_postgres_ops;

#endif
