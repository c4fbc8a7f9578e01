/* SPDX-License-Identifier: MIT */
/*
 * Group commit by leader and followers.
 *
 * A caller queues its function. If nobody leads, it becomes the leader: it takes the head of the queue (its own
 * call is the first), runs every function in its own savepoint of one transaction, commits once and wakes the
 * owners. Whoever queued meanwhile waits, and the first of them leads the next group. So while one commit waits
 * for the disk the next group gathers, and the cost of an fsync is shared by all who need one.
 *
 * A function that fails is rolled back to its savepoint and fails alone. When the commit itself fails, or SQLite
 * gives the whole transaction up, every call of the group gets that error: nothing of the group was kept.
 *
 * Durability is a property of the commit: PRAGMA synchronous is switched between transactions. FULL syncs the log
 * at the commit (and with it all earlier commits), NORMAL leaves that to the next checkpoint or FULL commit.
 *
 * A failed fsync is special: the kernel may have dropped the pages, and a later fsync would not say so. The commit
 * is UNCERTAIN (the log may hold it after a crash), and before the next group the whole log is copied into the
 * database file and synced, which writes every page again.
 */
#include "db/sqlite_group.h"

#include "base/mem.h"
#include "base/thread.h"

#include <stdlib.h>

enum { GROUP_MAX = 64 }; /* calls in one commit: bounds how long the first of them waits */

/* Lives on the stack of its caller until done. */
struct call {
    db_tx_fn fn;
    void *arg;
    enum db_durability how;
    struct err *err;
    int rc;
    bool done, lead; /* guarded by mu, as next */
    struct call *next;
    pthread_cond_t wake;
};

struct sqlite_group {
    struct db *db;
    struct sqlite_conn *conn; /* the leader's */
    bool full_sync;           /* the leader's, as doubtful: what PRAGMA synchronous is set to */
    bool doubtful;            /* an fsync failed: see above */
    pthread_mutex_t mu;
    struct call *first, **last; /* guarded by mu */
    bool led;                   /* guarded by mu: somebody leads */
};

/* Every call that has not failed by itself gets this error. */
static void fail_all(struct call *group, const struct err *e)
{
    for (struct call *c = group; c; c = c->next) {
        if (c->rc < 0)
            continue;
        *c->err = *e;
        c->rc = e->code;
    }
}

static int set_sync(struct sqlite_group *g, bool full, struct err *err)
{
    if (g->full_sync == full)
        return 0;
    int rc = sqlite3_exec(sqlite_conn_handle(g->conn), full ? "PRAGMA synchronous=FULL" : "PRAGMA synchronous=NORMAL",
                          NULL, NULL, NULL);
    if (rc != SQLITE_OK)
        return sqlite_conn_fail(g->conn, rc, NULL, err);
    g->full_sync = full;
    return 0;
}

static int clear_doubt(struct sqlite_group *g, struct err *err)
{
    if (!g->doubtful)
        return 0;
    int rc = sqlite3_wal_checkpoint_v2(sqlite_conn_handle(g->conn), NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
    if (rc != SQLITE_OK)
        return sqlite_conn_fail(g->conn, rc, NULL, err);
    g->doubtful = false;
    return 0;
}

static int begin(struct sqlite_group *g, bool full, struct err *err)
{
    int rc = set_sync(g, full, err);
    if (rc >= 0)
        rc = clear_doubt(g, err);
    /* IMMEDIATE: a transaction that turns writer only later would fail instead of waiting for the other writer. */
    return rc < 0 ? rc : sqlite_conn_do(g->conn, "BEGIN IMMEDIATE", err);
}

static int commit(struct sqlite_group *g, struct err *err)
{
    int code = sqlite_conn_do(g->conn, "COMMIT", err);
    if (code >= 0)
        return 0;
    sqlite3 *h = sqlite_conn_handle(g->conn);
    int rc = sqlite3_extended_errcode(h);
    if ((rc & 0xff) == SQLITE_IOERR && !sqlite_conn_disk_full(g->conn, rc)) {
        err_set(err, ERR_UNCERTAIN, "it is not known whether the change was kept: %s", err->msg);
        g->doubtful = true;
    }
    return err->code;
}

/* What cannot be undone otherwise: also the savepoints. Rolling back cannot fail in a way that matters. */
static void roll_back(struct sqlite_group *g)
{
    if (!sqlite3_get_autocommit(sqlite_conn_handle(g->conn)))
        sqlite3_exec(sqlite_conn_handle(g->conn), "ROLLBACK", NULL, NULL, NULL);
}

/* Sets c->rc. A negative return means that the whole transaction is lost. */
static int run_one(struct sqlite_group *g, struct call *c, struct err *err)
{
    int rc = sqlite_conn_do(g->conn, "SAVEPOINT one", err);
    if (rc < 0)
        return rc;
    struct sqlite_tx t = {.tx = {.db = g->db}, .conn = g->conn};
    c->rc = db_call(&t.tx, c->fn, c->arg, c->err);
    if (sqlite3_get_autocommit(sqlite_conn_handle(g->conn))) {
        /* SQLite rolled everything back: disk full, out of memory, I/O error. */
        if (c->rc >= 0)
            return err_set(err, ERR_INTERNAL, "a transaction function ended its transaction");
        *err = *c->err;
        return c->rc;
    }
    if (c->rc < 0) {
        rc = sqlite_conn_do(g->conn, "ROLLBACK TO one", err);
        if (rc < 0)
            return rc;
    }
    return sqlite_conn_do(g->conn, "RELEASE one", err);
}

static void run_group(struct sqlite_group *g, struct call *group)
{
    bool full = false;
    for (struct call *c = group; c; c = c->next)
        full = full || c->how == DB_DURABLE;
    struct err e = ERR_INIT;
    int rc = begin(g, full, &e);
    for (struct call *c = group; c && rc >= 0; c = c->next)
        rc = run_one(g, c, &e);
    if (rc >= 0)
        rc = commit(g, &e);
    if (rc < 0) {
        roll_back(g);
        fail_all(group, &e);
    }
}

/* Takes the head of the queue, at most GROUP_MAX calls. */
static struct call *take_group_locked(struct sqlite_group *g)
{
    struct call *group = g->first, *end = group;
    for (int n = 1; n < GROUP_MAX && end->next; n++)
        end = end->next;
    g->first = end->next;
    if (!g->first)
        g->last = &g->first;
    end->next = NULL;
    return group;
}

struct sqlite_group *sqlite_group_new(struct db *db, struct sqlite_conn *c)
{
    struct sqlite_group *g = xcalloc(1, sizeof *g);
    g->db = db;
    g->conn = c;
    g->full_sync = true; /* as sqlite_conn_open leaves it */
    pthread_mutex_init(&g->mu, NULL);
    g->last = &g->first;
    return g;
}

void sqlite_group_free(struct sqlite_group *g)
{
    if (!g)
        return;
    sqlite_conn_close(g->conn);
    pthread_mutex_destroy(&g->mu);
    free(g);
}

int sqlite_group_write(struct sqlite_group *g, enum db_durability how, db_tx_fn fn, void *arg, struct err *err)
{
    struct call me = {.fn = fn, .arg = arg, .how = how, .err = err};
    cond_init(&me.wake);
    pthread_mutex_lock(&g->mu);
    *g->last = &me; /* it has left the queue again when this function returns */
    /* cppcheck-suppress autoVariables */
    g->last = &me.next;
    if (!g->led)
        g->led = me.lead = true;
    while (!me.done && !me.lead)
        cond_wait_ms(&me.wake, &g->mu, -1);
    if (me.lead) {
        struct call *group = take_group_locked(g);
        pthread_mutex_unlock(&g->mu);
        run_group(g, group);
        pthread_mutex_lock(&g->mu);
        /* The owners need the mutex to leave: their calls stand until it is released. */
        for (struct call *c = group; c; c = c->next) {
            c->done = true;
            if (c != &me)
                pthread_cond_signal(&c->wake);
        }
        g->led = g->first != NULL;
        if (g->led) {
            g->first->lead = true;
            pthread_cond_signal(&g->first->wake);
        }
    }
    pthread_mutex_unlock(&g->mu);
    pthread_cond_destroy(&me.wake);
    return me.rc;
}
