/* SPDX-License-Identifier: MIT */
/*
 * A transaction on one connection, in as few round trips as its shape allows: private to the PostgreSQL driver.
 *
 * BEGIN goes out with the first statement; statements whose outcome nobody waits for (db_exec_later) with the next
 * one, or with COMMIT; the end of a transaction that wrote nothing is not waited for.
 */
#ifndef DB_PG_TX_H
#define DB_PG_TX_H

#include "db/db_ops.h"
#include "pg/pg.h"

struct pg_tx {
    struct db_tx tx;
    struct pg_link *link;
    bool read;
    enum db_durability how; /* unless read */
    bool begun;             /* BEGIN was queued */
    size_t later;           /* statements queued, not sent */
    bool committing;        /* COMMIT was sent: from here on its fate is the server's */
};

/* What synchronous_commit a connection has: its note. */
enum pg_sync_note { PG_SYNC_UNKNOWN, PG_SYNC_ON, PG_SYNC_OFF };
/* Queues what sets synchronous_commit, where it is not so. The caller sets the note when that has succeeded. */
int pg_send_durability(struct pg_link *l, enum db_durability how, struct err *err) MUST_CHECK;

/* Queues one statement. */
int pg_send_stmt(struct pg_link *l, const char *sql, const struct db_val *args, size_t n_args, struct err *err)
    MUST_CHECK;
/* Hands the rows to `row`, as db_ops.query. */
int pg_each_row(const struct pg_result *r, db_row_fn row, void *row_arg, struct err *err) MUST_CHECK;

/* As db_ops.query. */
int pg_tx_query(struct pg_tx *t, const char *sql, const struct db_val *args, size_t n_args, db_row_fn row,
                void *row_arg, int64_t *ret_changed, struct err *err) MUST_CHECK;
/* As db_ops.later. */
int pg_tx_later(struct pg_tx *t, const char *sql, const struct db_val *args, size_t n_args, struct err *err) MUST_CHECK;
/* UNCERTAIN: the answer was lost. After any other failure nothing was kept. */
int pg_tx_commit(struct pg_tx *t, struct err *err) MUST_CHECK;
void pg_tx_rollback(struct pg_tx *t);

/* The db_ops.col_ functions. */
int64_t pg_col_int(const struct db_row *row, int col);
double pg_col_real(const struct db_row *row, int col);
const char *pg_col_text(const struct db_row *row, int col);
bool pg_col_is_null(const struct db_row *row, int col);

#endif
