/* SPDX-License-Identifier: MIT */
/* The store itself and what its files share. */
#include "job/store_internal.h"

#include "base/buf.h"
#include "base/id.h"
#include "base/str.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CLAIM_SQL_MAX = 8192, LIST_MAX = 1000, RETRY_PATIENCE_MS = 60000 };

/* The next job of a queue: `due` says which are. */
static void add_next(struct buf *b, enum job_queue q, bool small, const char *due, const char *by,
                     const char *skip_locked)
{
    buf_addf(b,
             "(SELECT id FROM jobs WHERE state = 'pending' AND queue_rank = %d %s"
             "AND NOT EXISTS (SELECT 1 FROM paused_queues WHERE queue = '%s') "
             "AND %s AND (deaths = 0 OR run_after <= $4) ORDER BY %s LIMIT 1%s), ",
             (int)q, small ? "AND small = 1 " : "", job_queue_name(q), due, by, skip_locked);
}

static bool serves(const struct store_opts *o, enum job_queue q)
{
    for (size_t i = 0; i < o->queues.n; i++)
        if (o->queues.v[i] == q)
            return true;
    return false;
}

/*
 * One UPDATE takes the next job. The order is queue, then age, then id. Each queue is asked by its own subquery, so
 * that each is one walk along an index for FIFO and LIFO alike (jobs_pending, or jobs_small when only short jobs are
 * wanted); COALESCE stops at the first that has something. $4 is where the patience of the poison guard ends (see
 * store_claim). Whether a queue is paused does not depend on the job, so a database looks once per queue, in a table
 * that is mostly empty.
 *
 * A new job is due whatever the clock says: each process has its own idea of the database's, some milliseconds apart,
 * and a worker that was woken for a job must not find it in the future and go back to sleep.
 *
 * Before all of them come jobs in `retry` that have been due for a minute. They had their turn once: a backlog of a day
 * must not make a day's wait of an outage of seconds.
 */
static char *make_claim_sql(const struct store_opts *o, bool small, const char *skip_locked)
{
    const char *by = o->order == JOB_LIFO ? "created_at DESC, id DESC" : "created_at, id";
    CLEANUP(buf_clear) struct buf b = BUF_INIT(CLAIM_SQL_MAX);
    buf_adds(&b, "UPDATE jobs SET state = 'processing', attempt = attempt + 1, fence = fence + 1, checkpointed = 0, "
                 "lease_holder = $1, lease_until = $2, started_at = COALESCE(started_at, $3), updated_at = $3, "
                 "seq = seq + 1 WHERE state = 'pending' AND id = COALESCE(");
    char overdue[40];
    snprintf(overdue, sizeof overdue, "run_after + %d <= $3", RETRY_PATIENCE_MS);
    if (serves(o, QUEUE_RETRY))
        add_next(&b, QUEUE_RETRY, small, overdue, by, skip_locked);
    for (size_t i = 0; i < o->queues.n; i++)
        add_next(&b, o->queues.v[i], small, "(run_after <= $3 OR run_after = created_at)", by, skip_locked);
    buf_adds(&b, "NULL) RETURNING " JOB_COLUMNS); /* SQLite's COALESCE takes two at least */
    return buf_take(&b);
}

int store_on_ints(const struct db_row *row, void *store_int_row, struct err *err)
{
    (void)err;
    struct store_int_row *r = store_int_row;
    for (size_t i = 0; i < r->n; i++)
        r->v[i] = db_col_int(row, (int)i);
    r->found = true;
    return 1;
}

int store_ints(struct db_tx *tx, const char *sql, const struct db_val *args, size_t n_args, int64_t *ret, size_t n,
               struct err *err)
{
    struct store_int_row r = {.n = n};
    int rc = db_query(tx, sql, args, n_args, store_on_ints, &r, err);
    if (rc < 0 || !r.found)
        return rc;
    memcpy(ret, r.v, n * sizeof *ret);
    return 1;
}

int store_read_ints(struct store *s, const char *sql, const struct db_val *args, size_t n_args, int64_t *ret, size_t n,
                    struct err *err)
{
    struct store_int_row r = {.n = n};
    struct db_stmt stmt = {.sql = sql, .args = args, .n_args = n_args, .row = store_on_ints, .row_arg = &r};
    int rc = db_read_stmt(s->db, &stmt, err);
    if (rc < 0 || !r.found)
        return rc;
    memcpy(ret, r.v, n * sizeof *ret);
    return 1;
}

struct state_row {
    enum job_state state;
    bool found, known;
};

static int on_state(const struct db_row *row, void *arg, struct err *err)
{
    (void)err;
    struct state_row *r = arg;
    r->found = true;
    r->known = job_state_parse(db_col_text(row, 0), &r->state);
    return 1;
}

int store_state(struct db_tx *tx, const char *id, enum job_state *ret, struct err *err)
{
    struct state_row r = {0};
    int rc = db_query(tx, "SELECT state FROM jobs WHERE id = $1", DB_ARGS(db_text(id)), on_state, &r, err);
    if (rc < 0 || !r.found)
        return rc;
    if (!r.known)
        return err_set(err, ERR_CORRUPT, "job %s has a state this program does not know", id);
    *ret = r.state;
    return 1;
}

int store_no_job(const char *id, struct err *err)
{
    return err_set(err, ERR_NOT_FOUND, "there is no job '%.64s'", id);
}

int store_lost(const struct claim *c, struct err *err)
{
    return err_set(err, ERR_LOST, "job %s is no longer held by worker %s under fence %lld", c->id, c->holder,
                   (long long)c->fence);
}

const char *store_clean(struct arena *a, const char *text, size_t max, bool *oom)
{
    if (!text)
        return NULL;
    size_t n = strlen(text);
    n = n > max ? utf8_floor(text, max) : n;
    /* Each malformed byte becomes three. */
    CLEANUP(buf_clear) struct buf b = BUF_INIT(3 * n + 1);
    utf8_add_clean(&b, text, n);
    const char *s = buf_ok(&b) ? arena_strdup(a, buf_str(&b)) : NULL;
    *oom = *oom || !s;
    return s;
}

const char *store_cursor(struct arena *a, int64_t created_at, const char *id)
{
    return arena_printf(a, "%lld-%s", (long long)created_at, id);
}

int store_cursor_parse(const char *cursor, int64_t *ret_created_at, const char **ret_id, struct err *err)
{
    if (!cursor) {
        *ret_created_at = INT64_MAX;
        *ret_id = "";
        return 0;
    }
    const char *dash = strchr(cursor, '-');
    char number[24];
    size_t n = dash ? (size_t)(dash - cursor) : 0;
    int64_t at = 0;
    if (n > 0 && n < sizeof number && id_valid(dash + 1)) {
        memcpy(number, cursor, n);
        number[n] = '\0';
        if (str_to_i64(number, &at) && at >= 0) {
            *ret_created_at = at;
            *ret_id = dash + 1;
            return 0;
        }
    }
    return err_set(err, ERR_INVALID,
                   "the cursor is not one this server gave out: use the one from the last page, or none");
}

int store_limit_check(int limit, struct err *err)
{
    if (limit < 1 || limit > LIST_MAX)
        return err_set(err, ERR_INVALID, "a list can hold 1 to %d entries, not %d", LIST_MAX, limit);
    return 0;
}

int store_new(struct db *db, const struct store_opts *opts, struct store **ret, struct err *err)
{
    if (opts->max_attempts < 1 || opts->max_deaths < 1 || opts->alone_patience_ms < 0 || opts->death_pause_ms < 0)
        return err_set(err, ERR_INVALID,
                       "the job store needs at least one attempt and one death, and no negative times");
    struct store *s = xcalloc(1, sizeof *s);
    s->db = db;
    for (int i = 0; i < 2; i++)
        s->views[i] = views_new(i);
    s->opts = *opts;
    for (int q = 0; !opts->queues.n && q < QUEUE_COUNT; q++)
        s->opts.queues.v[s->opts.queues.n++] = (enum job_queue)q;
    for (int small = 0; small < 2; small++) {
        s->claim_sql[small] = make_claim_sql(&s->opts, small, db_dialect(db)->skip_locked);
        if (!s->claim_sql[small]) {
            store_free(s);
            return err_set(err, ERR_NOMEM, "out of memory");
        }
    }
    *ret = s;
    return 0;
}

void store_free(struct store *s)
{
    if (!s)
        return;
    for (int i = 0; i < 2; i++) {
        views_free(s->views[i]);
        free(s->claim_sql[i]);
    }
    free(s);
}

int store_max_attempts(const struct store *s)
{
    return s->opts.max_attempts;
}

int store_ping(struct store *s, int64_t *ret_ms, struct err *err)
{
    return db_ping(s->db, ret_ms, err);
}

void store_pool(struct store *s, struct db_pool *ret)
{
    db_pool_figures(s->db, ret);
}
