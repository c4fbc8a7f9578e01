/* SPDX-License-Identifier: MIT */
/*
 * One SQLite connection with its statement cache: private to the SQLite driver.
 *
 * Used by one thread at a time; whoever hands it on does so under a mutex.
 */
#ifndef DB_SQLITE_CONN_H
#define DB_SQLITE_CONN_H

#include "db/db_ops.h"

#include <sqlite3.h>

struct sqlite_conn;

/* A transaction on one connection. */
struct sqlite_tx {
    struct db_tx tx;
    struct sqlite_conn *conn;
};

struct sqlite_conn_opts {
    const char *path;
    int64_t busy_ms;
    bool writer; /* else statements that write are refused */
};

/* Opens the file, which must exist, and sets it up (WAL, foreign keys ...). Borrows `path`. */
int sqlite_conn_open(const struct sqlite_conn_opts *o, struct sqlite_conn **ret, struct err *err) MUST_CHECK;
void sqlite_conn_close(struct sqlite_conn *c); /* NULL is fine */
sqlite3 *sqlite_conn_handle(struct sqlite_conn *c);

/* One statement from the cache, as db_ops.query. `row` may be NULL. */
int sqlite_conn_run(struct sqlite_conn *c, const char *sql, const struct db_val *args, size_t n_args, db_row_fn row,
                    void *row_arg, int64_t *ret_changed, struct err *err) MUST_CHECK;
/* As above, without arguments and rows. */
int sqlite_conn_do(struct sqlite_conn *c, const char *sql, struct err *err) MUST_CHECK;
/* Sets class and sentence for the result code of the connection's last call; `sql` may be NULL. */
int sqlite_conn_fail(struct sqlite_conn *c, int rc, const char *sql, struct err *err);
/* After sqlite_conn_fail: was the reason a disk without room? Then nothing was written. */
bool sqlite_conn_disk_full(struct sqlite_conn *c, int rc);

/* The db_ops.col_ functions. */
int64_t sqlite_col_int(const struct db_row *row, int col);
double sqlite_col_real(const struct db_row *row, int col);
const char *sqlite_col_text(const struct db_row *row, int col);
bool sqlite_col_is_null(const struct db_row *row, int col);

#endif
