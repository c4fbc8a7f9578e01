/* SPDX-License-Identifier: MIT */
/*
 * SQL, over SQLite and PostgreSQL: the only folder that sees sqlite3.h; PostgreSQL is reached through src/pg.
 *
 * All work happens in a transaction function, `int fn(struct db_tx *, void *arg, struct err *)`, run by db_read
 * or db_write. That shape is what lets one interface serve both databases well:
 *
 *   SQLite      one writer connection per process. Threads that call db_write while another commits are taken
 *               together into the next commit (group commit): each function runs in its own savepoint, one
 *               fsync serves all. Readers are a pool of connections on the WAL and never wait for the writer.
 *   PostgreSQL  one pooled connection per call, its own transaction, SKIP LOCKED where the SQL says so. Work that needs
 * no decisions between its statements (db_read_stmt, db_write_stmts) of many threads goes out together, as one message
 * and one commit.
 *
 * Rules for a transaction function:
 *   - it may run on another caller's thread, and may run again from the start (after a deadlock): write only to memory
 *     behind `arg`, and start by clearing it;
 *   - it blocks on nothing but the database and calls neither db_read nor db_write;
 *   - a negative return rolls it back and is handed to the caller with its `err`; any other return commits and is
 *     handed to the caller too;
 *   - in db_write, what a SELECT has shown may be changed by others before the function writes, unless an UPDATE of its
 *     own locked that row before: let the condition of the statement that writes decide;
 *   - once a statement has failed nothing more can be done: all further ones fail, and so does the transaction.
 *
 * SQL is written once, in the part both databases share: parameters are $1..$n, times are BIGINT milliseconds
 * bound from db_now, texts are UTF-8 without NUL, truth values are BIGINT 0 and 1. What differs comes from
 * db_dialect().
 *
 * Errors: INVALID (bad URL), UNSUPPORTED (a database this build lacks), UNAVAILABLE (cannot open, disk full, connection
 * lost before commit), UNCERTAIN (the commit's answer was lost: look before repeating), BUSY (locked longer than the
 * busy time-out), CONFLICT (unique or foreign key), CORRUPT (damaged file), INTERNAL (our SQL is wrong).
 *
 * Threads: a struct db may be used by any thread; a struct db_tx only inside its function.
 */
#ifndef DB_DB_H
#define DB_DB_H

#include "base/err.h"
#include "base/mem.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct db;
struct db_tx;

struct db_opts {
    const char *url;   /* "sqlite:/absolute/path.db", "postgresql://user:password@host:port/database?option=value" */
    unsigned readers;  /* SQLite: concurrent readers, 1..64 */
    unsigned pool;     /* PostgreSQL: connections, 1..1000 */
    int64_t busy_ms;   /* how long to wait for another process's lock, or for a free reader or connection */
    int64_t answer_ms; /* Tests: PostgreSQL's longest wait for an answer; 0: the usual one */
    /* Tests: the clock behind db_now, milliseconds since 1970; NULL: the database's own. Called by any thread. */
    int64_t (*clock)(void *arg);
    void *clock_arg;
};

/* Opens and makes a first connection; on PostgreSQL also the schema `steno`, when it is missing. Does not migrate: see
 * db/migrate.h. */
int db_open(const struct db_opts *opts, struct db **ret, struct err *err) MUST_CHECK;
void db_close(struct db *db); /* NULL is fine; no call may be under way */

typedef int (*db_tx_fn)(struct db_tx *tx, void *arg, struct err *err);

enum db_durability {
    DB_DURABLE, /* survives a power cut once db_write returns: accepting and ending a job */
    DB_RELAXED, /* survives kill -9; a power cut may lose the last moments: leases, progress, checkpoints */
};

/* All statements of one read see the same state of the database. Statements that write are refused (INTERNAL). */
int db_read(struct db *db, db_tx_fn fn, void *arg, struct err *err) MUST_CHECK;
int db_write(struct db *db, enum db_durability how, db_tx_fn fn, void *arg, struct err *err) MUST_CHECK;

/* The database's clock in this transaction, milliseconds since 1970: what leases and run_after are compared with. */
int64_t db_now(struct db_tx *tx);

enum db_type { DB_NULL, DB_INT, DB_REAL, DB_TEXT };

struct db_val {
    enum db_type type;
    int64_t i;
    double r;
    const char *s; /* borrowed until the call returns */
};

#define db_int(v)  ((struct db_val){.type = DB_INT, .i = (v)})
#define db_real(v) ((struct db_val){.type = DB_REAL, .r = (v)})
/* NULL is bound as SQL NULL. */
#define db_text(v) db_text_val(v)
#define db_null()  ((struct db_val){.type = DB_NULL})
static inline struct db_val db_text_val(const char *s)
{
    return (struct db_val){.type = s ? DB_TEXT : DB_NULL, .s = s};
}

/*
 * One row of a result. Columns count from 0; wrong types give 0 or NULL (an integer read as real is fine). Texts live
 * until the callback returns.
 */
struct db_row;
int64_t db_col_int(const struct db_row *row, int col);
double db_col_real(const struct db_row *row, int col);
const char *db_col_text(const struct db_row *row, int col); /* NULL for SQL NULL */
bool db_col_is_null(const struct db_row *row, int col);

/*
 * Called for each row; a non-zero return stops the query: negative fails it, positive ends it early as success. Runs no
 * statements of its own.
 */
typedef int (*db_row_fn)(const struct db_row *row, void *arg, struct err *err);

/*
 * Runs one statement; `row` may be NULL. Every $n up to n_args must stand in the text. Statements are prepared once per
 * connection and text: pass a fixed set of texts, and everything that varies as a parameter.
 */
int db_query(struct db_tx *tx, const char *sql, const struct db_val *args, size_t n_args, db_row_fn row, void *row_arg,
             struct err *err) MUST_CHECK;
/* As db_query without rows; returns how many rows an INSERT, UPDATE or DELETE changed. */
int64_t db_exec(struct db_tx *tx, const char *sql, const struct db_val *args, size_t n_args, struct err *err)
    MUST_CHECK;

/* Usage: db_exec(tx, "UPDATE ...", DB_ARGS(db_text(id), db_int(7)), err) */
#define DB_ARGS(...) \
    (const struct db_val[]){__VA_ARGS__}, sizeof((const struct db_val[]){__VA_ARGS__}) / sizeof(struct db_val)
#define DB_NO_ARGS NULL, 0

/* What the SQL text must take from the driver. */
struct db_dialect {
    const char *name;        /* "sqlite" */
    const char *skip_locked; /* " FOR UPDATE SKIP LOCKED" or "" */
    const char *find_table;  /* one row when table $1 exists */
};
const struct db_dialect *db_dialect(const struct db *db);
const struct db_dialect *db_tx_dialect(const struct db_tx *tx);

/*
 * db_exec for a statement whose outcome the function need not know: it may be sent later, with the next statement or
 * the commit. When it fails the transaction fails, with its error.
 */
int db_exec_later(struct db_tx *tx, const char *sql, const struct db_val *args, size_t n_args, struct err *err)
    MUST_CHECK;

/* A statement known beforehand. */
struct db_stmt {
    const char *sql;
    const struct db_val *args;
    size_t n_args;
    db_row_fn row; /* or NULL */
    void *row_arg;
    int64_t changed; /* set: as db_exec returns it */
};

enum { DB_STMTS_MAX = 16 };

/*
 * A transaction of known statements: the same as db_write with a function that runs them in this order, and cheaper.
 * The row callbacks keep the rules of a transaction function; they may also be called after the commit: when one of
 * them fails, so does the call, but the change may have been kept.
 */
int db_write_stmts(struct db *db, enum db_durability how, struct db_stmt *stmts, size_t n, struct err *err) MUST_CHECK;
/* As db_read with a function that runs this one statement, a SELECT. */
int db_read_stmt(struct db *db, struct db_stmt *stmt, struct err *err) MUST_CHECK;
/* db_now for their arguments: the database's clock at this moment. */
int64_t db_clock(struct db *db);

/*
 * First statement of a transaction that changes the schema: no other process is in one, and it may take as long as it
 * needs. BUSY: another one is, for longer than busy_ms.
 */
int db_lock_schema(struct db_tx *tx, struct err *err) MUST_CHECK;

/* Connections now. */
struct db_pool {
    unsigned max, open, busy;
    unsigned waiting; /* callers that wait for one */
};
void db_pool_figures(struct db *db, struct db_pool *ret);

/* Cheap probe for health: reads from the database; *ret_ms how long it took. */
int db_ping(struct db *db, int64_t *ret_ms, struct err *err) MUST_CHECK;

#endif
