/* SPDX-License-Identifier: MIT */
/*
 * The SQLite back end: one file, one writer connection (sqlite_group.c), a pool of readers.
 *
 * Readers are opened when they are first needed and kept. Each read is a deferred transaction, so that all its
 * statements see one state; on the write-ahead log it neither waits for the writer nor holds it up.
 */
#include "db/db_ops.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/thread.h"
#include "db/sqlite_conn.h"
#include "db/sqlite_group.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

struct sqlite_db {
    struct db db;
    char *path;
    int64_t busy_ms;
    struct sqlite_group *writer;

    pthread_mutex_t mu;
    pthread_cond_t freed;
    struct sqlite_conn **idle; /* guarded by mu, as the counts; room for max_readers */
    unsigned n_idle, n_open, n_waiting;
    unsigned max_readers;
};

/*
 * SQLite would create the file readable for all; its log and index files take the mode of this one. Only a file made
 * here is opened and closed here: closing any descriptor drops this process's locks on the file.
 */
static int make_file(const char *path, struct err *err)
{
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd >= 0) {
        close(fd);
        return 0;
    }
    if (errno == EEXIST)
        return 0;
    err_sys(err, errno, "cannot create database '%s'", path);
    return err->code = ERR_UNAVAILABLE;
}

static int take_reader(struct sqlite_db *d, struct sqlite_conn **ret, struct err *err)
{
    int64_t end = clock_mono_ms() + d->busy_ms;
    struct sqlite_conn *c = NULL;
    pthread_mutex_lock(&d->mu);
    while (!d->n_idle && d->n_open == d->max_readers) {
        int64_t left = end - clock_mono_ms();
        if (left <= 0) {
            pthread_mutex_unlock(&d->mu);
            return err_set(err, ERR_BUSY, "all %u database readers were busy for %lld ms", d->max_readers,
                           (long long)d->busy_ms);
        }
        d->n_waiting++;
        cond_wait_ms(&d->freed, &d->mu, left);
        d->n_waiting--;
    }
    if (d->n_idle)
        c = d->idle[--d->n_idle];
    else
        d->n_open++;
    pthread_mutex_unlock(&d->mu);
    if (!c) {
        int rc = sqlite_conn_open(&(struct sqlite_conn_opts){.path = d->path, .busy_ms = d->busy_ms}, &c, err);
        if (rc < 0) {
            pthread_mutex_lock(&d->mu);
            d->n_open--;
            pthread_cond_signal(&d->freed);
            pthread_mutex_unlock(&d->mu);
            return rc;
        }
    }
    *ret = c;
    return 0;
}

static void give_reader(struct sqlite_db *d, struct sqlite_conn *c)
{
    pthread_mutex_lock(&d->mu);
    d->idle[d->n_idle++] = c;
    pthread_cond_signal(&d->freed);
    pthread_mutex_unlock(&d->mu);
}

static void sqlite_close(struct db *db)
{
    struct sqlite_db *d = CONTAINER_OF(db, struct sqlite_db, db);
    for (unsigned i = 0; i < d->n_idle; i++)
        sqlite_conn_close(d->idle[i]);
    sqlite_group_free(d->writer); /* last: it copies the log into the file */
    pthread_cond_destroy(&d->freed);
    pthread_mutex_destroy(&d->mu);
    free(d->idle);
    free(d->path);
    free(d);
}

static int sqlite_open(const struct db_opts *opts, const char *rest, struct db **ret, struct err *err)
{
    if (rest[0] != '/')
        return err_set(err, ERR_INVALID, "database 'sqlite:%s' needs an absolute path, like sqlite:/var/lib/steno.db",
                       rest);
    int rc = make_file(rest, err);
    if (rc < 0)
        return rc;
    struct sqlite_db *d = xcalloc(1, sizeof *d);
    d->path = xstrdup(rest);
    d->busy_ms = opts->busy_ms;
    d->max_readers = opts->readers;
    d->idle = xcalloc(opts->readers, sizeof(struct sqlite_conn *));
    pthread_mutex_init(&d->mu, NULL);
    cond_init(&d->freed);
    struct sqlite_conn *c = NULL;
    rc = sqlite_conn_open(&(struct sqlite_conn_opts){.path = d->path, .busy_ms = d->busy_ms, .writer = true}, &c, err);
    if (rc < 0) {
        sqlite_close(&d->db);
        return rc;
    }
    d->writer = sqlite_group_new(&d->db, c);
    *ret = &d->db;
    return 0;
}

static int sqlite_read(struct db *db, db_tx_fn fn, void *arg, struct err *err)
{
    struct sqlite_db *d = CONTAINER_OF(db, struct sqlite_db, db);
    struct sqlite_tx t = {.tx = {.db = db}};
    int rc = take_reader(d, &t.conn, err);
    if (rc < 0)
        return rc;
    rc = sqlite_conn_do(t.conn, "BEGIN", err);
    if (rc >= 0) {
        rc = db_call(&t.tx, fn, arg, err);
        /* Nothing was written, so that ending it cannot fail in a way that matters; an error has ended it already. */
        if (!sqlite3_get_autocommit(sqlite_conn_handle(t.conn)))
            sqlite3_exec(sqlite_conn_handle(t.conn), "ROLLBACK", NULL, NULL, NULL);
    }
    give_reader(d, t.conn);
    return rc;
}

static int sqlite_write(struct db *db, enum db_durability how, db_tx_fn fn, void *arg, struct err *err)
{
    return sqlite_group_write(CONTAINER_OF(db, struct sqlite_db, db)->writer, how, fn, arg, err);
}

/* All processes on one file share one machine, and so its clock. */
static int64_t sqlite_now(struct db *db)
{
    (void)db;
    return clock_wall_ms();
}

static int sqlite_query(struct db_tx *tx, const char *sql, const struct db_val *args, size_t n_args, db_row_fn row,
                        void *row_arg, int64_t *ret_changed, struct err *err)
{
    struct sqlite_conn *c = CONTAINER_OF(tx, struct sqlite_tx, tx)->conn;
    return sqlite_conn_run(c, sql, args, n_args, row, row_arg, ret_changed, err);
}

static void sqlite_figures(struct db *db, struct db_pool *ret)
{
    struct sqlite_db *d = CONTAINER_OF(db, struct sqlite_db, db);
    pthread_mutex_lock(&d->mu);
    *ret = (struct db_pool){
        .max = d->max_readers, .open = d->n_open, .busy = d->n_open - d->n_idle, .waiting = d->n_waiting};
    pthread_mutex_unlock(&d->mu);
}

static int ping_fn(struct db_tx *tx, void *arg, struct err *err)
{
    (void)arg;
    return db_query(tx, "SELECT count(*) FROM sqlite_master", DB_NO_ARGS, NULL, NULL, err);
}

static int sqlite_ping(struct db *db, struct err *err)
{
    return sqlite_read(db, ping_fn, NULL, err);
}

const struct db_ops db_sqlite_ops = {
    .scheme = "sqlite",
    .dialect =
        {
            .name = "sqlite",
            .skip_locked = "",
            .find_table = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = $1",
        },
    .open = sqlite_open,
    .close = sqlite_close,
    .read = sqlite_read,
    .write = sqlite_write,
    .now = sqlite_now,
    .query = sqlite_query,
    .col_int = sqlite_col_int,
    .col_real = sqlite_col_real,
    .col_text = sqlite_col_text,
    .col_is_null = sqlite_col_is_null,
    .figures = sqlite_figures,
    .ping = sqlite_ping,
};
