/* SPDX-License-Identifier: MIT */
/*
 * A connection: set-up, statements, and what SQLite's result codes mean to us.
 *
 * The cache holds the statements used last, found by their text. It is a plain array: the whole program has some
 * dozens of statements, and comparing their hashes costs less than one page read.
 */
#include "db/sqlite_conn.h"

#include "base/clock.h"
#include "base/id.h"
#include "base/mem.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    CACHE_SIZE = 128,
    SQL_SHOWN = 120,         /* bytes of a statement in an error sentence */
    WAL_LIMIT = 64 << 20,    /* bytes the log keeps on disk after a checkpoint */
    CHECKPOINT_PAGES = 1000, /* of 4 KiB: the log is copied into the file when it is longer */
};

struct cached {
    uint64_t hash;
    uint64_t used; /* tick of the last use */
    sqlite3_stmt *stmt;
};

struct sqlite_conn {
    sqlite3 *h;
    const char *path;
    int64_t busy_ms, busy_since;
    bool writer;
    struct cached cache[CACHE_SIZE];
    size_t n_cached;
    uint64_t tick;
};

struct sqlite_row {
    struct db_row row;
    sqlite3_stmt *stmt;
};

/* `row` stands first in the struct. */
static sqlite3_stmt *row_stmt(const struct db_row *row)
{
    return ((const struct sqlite_row *)(const void *)row)->stmt;
}

/*
 * SQLite's own time-out sleeps up to 100 ms between looks, far longer than our transactions take; short sleeps of
 * random length give several processes an even chance.
 */
static int wait_for_lock(void *arg, int n)
{
    struct sqlite_conn *c = arg;
    int64_t now = clock_mono_ms();
    if (n == 0)
        c->busy_since = now;
    if (now - c->busy_since >= c->busy_ms)
        return 0;
    clock_sleep_ms(1 + random_below(n < 10 ? n + 1 : 10));
    return 1;
}

static uint64_t hash_text(const char *s)
{
    uint64_t h = 14695981039346656037u;
    for (; *s; s++)
        h = (h ^ (unsigned char)*s) * 1099511628211u;
    return h;
}

static int prepare(struct sqlite_conn *c, const char *sql, sqlite3_stmt **ret, struct err *err)
{
    uint64_t hash = hash_text(sql);
    struct cached *oldest = NULL;
    c->tick++;
    for (size_t i = 0; i < c->n_cached; i++) {
        struct cached *s = &c->cache[i];
        if (s->hash == hash && strcmp(sqlite3_sql(s->stmt), sql) == 0) {
            s->used = c->tick;
            *ret = s->stmt;
            return 0;
        }
        if (!oldest || s->used < oldest->used)
            oldest = s;
    }
    sqlite3_stmt *stmt = NULL;
    const char *rest = NULL;
    int rc = sqlite3_prepare_v3(c->h, sql, -1, SQLITE_PREPARE_PERSISTENT, &stmt, &rest);
    if (rc != SQLITE_OK)
        return sqlite_conn_fail(c, rc, sql, err);
    const char *bad = NULL;
    if (!stmt || rest[strspn(rest, " \t\r\n;")])
        bad = "not exactly one statement";
    else if (!c->writer && !sqlite3_stmt_readonly(stmt))
        bad = "a statement that writes inside db_read";
    if (bad) {
        sqlite3_finalize(stmt);
        return err_set(err, ERR_INTERNAL, "%s: %.*s", bad, SQL_SHOWN, sql);
    }
    struct cached *slot = oldest;
    if (c->n_cached < CACHE_SIZE)
        slot = &c->cache[c->n_cached++];
    else
        sqlite3_finalize(slot->stmt);
    *slot = (struct cached){hash, c->tick, stmt};
    *ret = stmt;
    return 0;
}

/* SQLite numbers parameters by their first appearance, PostgreSQL by the number behind the '$'. */
static int bind(struct sqlite_conn *c, sqlite3_stmt *stmt, const char *sql, const struct db_val *args, size_t n_args,
                struct err *err)
{
    if ((size_t)sqlite3_bind_parameter_count(stmt) != n_args)
        return err_set(err, ERR_INTERNAL, "%zu values for %d parameters: %.*s", n_args,
                       sqlite3_bind_parameter_count(stmt), SQL_SHOWN, sql);
    for (size_t i = 0; i < n_args; i++) {
        char name[24];
        snprintf(name, sizeof name, "$%zu", i + 1);
        int at = sqlite3_bind_parameter_index(stmt, name);
        if (!at)
            return err_set(err, ERR_INTERNAL, "parameter %s is not used: %.*s", name, SQL_SHOWN, sql);
        const struct db_val *v = &args[i];
        int rc = SQLITE_OK;
        switch (v->type) {
        case DB_NULL:
            rc = sqlite3_bind_null(stmt, at);
            break;
        case DB_INT:
            rc = sqlite3_bind_int64(stmt, at, v->i);
            break;
        case DB_REAL:
            rc = sqlite3_bind_double(stmt, at, v->r);
            break;
        case DB_TEXT:
            rc = sqlite3_bind_text64(stmt, at, v->s, strlen(v->s), SQLITE_STATIC, SQLITE_UTF8);
            break;
        }
        if (rc != SQLITE_OK)
            return sqlite_conn_fail(c, rc, sql, err);
    }
    return 0;
}

/* Another process that opens the same file for the first time holds locks which SQLite reports without waiting. */
static int set_wal(struct sqlite_conn *c, struct err *err)
{
    int64_t end = clock_mono_ms() + c->busy_ms;
    for (;;) {
        sqlite3_stmt *st = NULL;
        int rc = sqlite3_prepare_v2(c->h, "PRAGMA journal_mode=WAL", -1, &st, NULL);
        if (rc == SQLITE_OK)
            rc = sqlite3_step(st);
        bool is_wal = rc == SQLITE_ROW && strcmp((const char *)sqlite3_column_text(st, 0), "wal") == 0;
        bool again = (rc & 0xff) == SQLITE_BUSY && clock_mono_ms() < end;
        int code = 0;
        if (rc != SQLITE_ROW && !again)
            code = sqlite_conn_fail(c, rc, NULL, err);
        else if (!again && !is_wal)
            code = err_set(err, ERR_UNAVAILABLE,
                           "database '%s': its file system cannot hold a write-ahead log: use a local disk", c->path);
        sqlite3_finalize(st);
        if (!again)
            return code;
        clock_sleep_ms(1 + random_below(10));
    }
}

static int set_up(struct sqlite_conn *c, struct err *err)
{
    sqlite3_extended_result_codes(c->h, 1);
    sqlite3_busy_handler(c->h, wait_for_lock, c);
    if (sqlite3_db_readonly(c->h, "main") == 1)
        return sqlite_conn_fail(c, SQLITE_READONLY, NULL, err);
    int rc = set_wal(c, err);
    if (rc < 0)
        return rc;
    char sql[256];
    snprintf(sql, sizeof sql,
             "PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON; PRAGMA trusted_schema=OFF; PRAGMA temp_store=MEMORY;"
             "PRAGMA wal_autocheckpoint=%d; PRAGMA journal_size_limit=%d; PRAGMA query_only=%s",
             CHECKPOINT_PAGES, WAL_LIMIT, c->writer ? "OFF" : "ON");
    rc = sqlite3_exec(c->h, sql, NULL, NULL, NULL);
    return rc == SQLITE_OK ? 0 : sqlite_conn_fail(c, rc, NULL, err);
}

int sqlite_conn_open(const struct sqlite_conn_opts *o, struct sqlite_conn **ret, struct err *err)
{
    struct sqlite_conn *c = xcalloc(1, sizeof *c);
    c->path = o->path;
    c->busy_ms = o->busy_ms;
    c->writer = o->writer;
    /* NOMUTEX: one thread at a time by design. */
    int rc = sqlite3_open_v2(o->path, &c->h, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
    int code = rc == SQLITE_OK ? set_up(c, err) : sqlite_conn_fail(c, rc, NULL, err);
    if (code < 0) {
        sqlite_conn_close(c);
        return code;
    }
    *ret = c;
    return 0;
}

void sqlite_conn_close(struct sqlite_conn *c)
{
    if (!c)
        return;
    for (size_t i = 0; i < c->n_cached; i++)
        sqlite3_finalize(c->cache[i].stmt);
    sqlite3_close(c->h);
    free(c);
}

sqlite3 *sqlite_conn_handle(struct sqlite_conn *c)
{
    return c->h;
}

int sqlite_conn_run(struct sqlite_conn *c, const char *sql, const struct db_val *args, size_t n_args, db_row_fn row,
                    void *row_arg, int64_t *ret_changed, struct err *err)
{
    sqlite3_stmt *stmt = NULL;
    int code = prepare(c, sql, &stmt, err);
    if (code < 0)
        return code;
    code = bind(c, stmt, sql, args, n_args, err);
    struct sqlite_row r = {{&db_sqlite_ops}, stmt};
    bool done = code < 0;
    while (!done) {
        int rc = sqlite3_step(stmt);
        if (rc == SQLITE_ROW) {
            int stop = row ? row(&r.row, row_arg, err) : 0;
            done = stop != 0;
            code = stop < 0 ? stop : 0;
        } else {
            done = true;
            if (rc != SQLITE_DONE)
                code = sqlite_conn_fail(c, rc, sql, err);
        }
    }
    int64_t changed = code < 0 || sqlite3_stmt_readonly(stmt) ? 0 : sqlite3_changes64(c->h);
    sqlite3_reset(stmt);
    sqlite3_clear_bindings(stmt);
    if (code < 0)
        return code;
    *ret_changed = changed;
    return 0;
}

int sqlite_conn_do(struct sqlite_conn *c, const char *sql, struct err *err)
{
    int64_t changed;
    return sqlite_conn_run(c, sql, DB_NO_ARGS, NULL, NULL, &changed, err);
}

/* SQLite notes the errno behind most failures, but not behind those of a commit: there the log's file knows it. */
static int errno_behind(struct sqlite_conn *c, int rc)
{
    sqlite3_file *log = NULL;
    int sys = 0;
    if ((rc == SQLITE_IOERR_WRITE || rc == SQLITE_IOERR_FSYNC) &&
        sqlite3_file_control(c->h, "main", SQLITE_FCNTL_JOURNAL_POINTER, &log) == SQLITE_OK && log && log->pMethods)
        log->pMethods->xFileControl(log, SQLITE_FCNTL_LAST_ERRNO, &sys);
    return sys ? sys : sqlite3_system_errno(c->h);
}

bool sqlite_conn_disk_full(struct sqlite_conn *c, int rc)
{
    int sys = errno_behind(c, rc);
    return (rc & 0xff) == SQLITE_FULL ||
           ((rc & 0xff) == SQLITE_IOERR && (sys == ENOSPC || sys == EDQUOT || sys == EFBIG));
}

int sqlite_conn_fail(struct sqlite_conn *c, int rc, const char *sql, struct err *err)
{
    if (!c->h) /* sqlite3_open_v2 found no memory even for the handle */
        return err_set(err, ERR_NOMEM, "database '%s': out of memory", c->path);
    int sys = errno_behind(c, rc);
    if (sqlite_conn_disk_full(c, rc))
        return err_set(err, ERR_UNAVAILABLE, "database '%s': the disk is full: free some space on it", c->path);
    switch (rc & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_PROTOCOL:
        return err_set(err, ERR_BUSY, "database '%s' was locked by another process for %lld ms", c->path,
                       (long long)c->busy_ms);
    case SQLITE_CONSTRAINT:
        if (rc == SQLITE_CONSTRAINT_PRIMARYKEY || rc == SQLITE_CONSTRAINT_UNIQUE || rc == SQLITE_CONSTRAINT_ROWID ||
            rc == SQLITE_CONSTRAINT_FOREIGNKEY)
            return err_set(err, ERR_CONFLICT, "database: %s", sqlite3_errmsg(c->h));
        break;
    case SQLITE_READONLY:
    case SQLITE_PERM:
        return err_set(err, ERR_UNAVAILABLE,
                       "database '%s' cannot be written: check owner and mode of the file and its folder", c->path);
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return err_set(err, ERR_CORRUPT,
                       "database '%s' is damaged (%s): stop the program and restore a backup, or try 'sqlite3 FILE "
                       ".recover'",
                       c->path, sqlite3_errmsg(c->h));
    case SQLITE_NOMEM:
        return err_set(err, ERR_NOMEM, "database '%s': out of memory", c->path);
    case SQLITE_TOOBIG:
        return err_set(err, ERR_TOO_LARGE, "database '%s': a value is too large", c->path);
    case SQLITE_CANTOPEN:
    case SQLITE_IOERR:
        err_sys(err, sys ? sys : EIO, "database '%s': %s", c->path, sqlite3_errmsg(c->h));
        return err->code = ERR_UNAVAILABLE;
    }
    return err_set(err, ERR_INTERNAL, "database: %s: %.*s", sqlite3_errmsg(c->h), SQL_SHOWN, sql ? sql : "");
}

int64_t sqlite_col_int(const struct db_row *row, int col)
{
    sqlite3_stmt *st = row_stmt(row);
    return sqlite3_column_type(st, col) == SQLITE_INTEGER ? sqlite3_column_int64(st, col) : 0;
}

double sqlite_col_real(const struct db_row *row, int col)
{
    sqlite3_stmt *st = row_stmt(row);
    int type = sqlite3_column_type(st, col);
    return type == SQLITE_FLOAT || type == SQLITE_INTEGER ? sqlite3_column_double(st, col) : 0;
}

const char *sqlite_col_text(const struct db_row *row, int col)
{
    sqlite3_stmt *st = row_stmt(row);
    return sqlite3_column_type(st, col) == SQLITE_TEXT ? (const char *)sqlite3_column_text(st, col) : NULL;
}

bool sqlite_col_is_null(const struct db_row *row, int col)
{
    sqlite3_stmt *st = row_stmt(row);
    return sqlite3_column_type(st, col) == SQLITE_NULL;
}
