/* SPDX-License-Identifier: MIT */
/* What the sweeper needs: expired leases, forgotten wake-ups, leftovers, and the rows of workers. */
#include "job/store_internal.h"

#include "base/id.h"
#include "base/str.h"

#include <stdio.h>
#include <string.h>

enum { WORKERS_MAX = 1000 };

/* ---- expired leases ---- */

struct expired {
    const char *id, *holder;
    int64_t fence, deaths;
    bool checkpointed;
};

struct expire_call {
    const struct store *s;
    struct arena *arena;
    int max;
    struct expired *expired;
    size_t n_expired;
    struct swept *swept;
    size_t n;
};

static int on_expired(const struct db_row *row, void *arg, struct err *err)
{
    struct expire_call *c = arg;
    struct row_reader r = {.row = row, .arena = c->arena};
    struct expired x = {0};
    x.id = row_text(&r);
    x.holder = row_text(&r);
    x.fence = row_int(&r);
    x.deaths = row_int(&r);
    x.checkpointed = row_int(&r) != 0;
    c->expired[c->n_expired++] = x;
    return row_check(&r, err);
}

/* Takes one job back, unless its worker renewed the lease in between. The poison guard of store.h is here. */
static int expire_one(struct db_tx *tx, struct expire_call *c, const struct expired *x, struct err *err)
{
    const struct store_opts *o = &c->s->opts;
    int64_t now = db_now(tx), found[2];
    int64_t deaths = x->checkpointed ? 0 : x->deaths + 1;
    bool dead = deaths >= o->max_deaths;
    int64_t run_after = deaths >= 2 ? now + o->death_pause_ms : now;
    char message[160];
    if (dead)
        snprintf(message, sizeof message, "%lld workers died on this job without saving any progress",
                 (long long)deaths);
    else
        snprintf(message, sizeof message, "the worker stopped renewing its lease");
    const struct job_failure f = {
        .error_class = err_name(ERR_CRASHED), .message = message, .stage = "lease", .worker = x->holder};
    struct db_val id = db_text(x->id), fence = db_int(x->fence), at = db_int(now);
#define EXPIRED " WHERE id = $1 AND " IS_PROCESSING "AND fence = $2 AND lease_until < $3 "
    int rc;
    if (dead)
        rc = store_ints(
            tx,
            "UPDATE jobs SET state = 'failed', finished_at = $3, updated_at = $3, lease_until = NULL, "
            "deaths = $4, error_class = $5, error_message = $6, seq = seq + 1" EXPIRED "RETURNING seq, attempt",
            DB_ARGS(id, fence, at, db_int(deaths), db_text(f.error_class), db_text(f.message)), found, 2, err);
    else
        rc = store_ints(tx,
                        "UPDATE jobs SET state = 'pending', run_after = $5, updated_at = $3, announced_at = NULL, "
                        "lease_until = NULL, attempt = attempt - 1, deaths = $4, seq = seq + 1" EXPIRED
                        "RETURNING seq, attempt",
                        DB_ARGS(id, fence, at, db_int(deaths), db_int(run_after)), found, 2, err);
    if (rc <= 0)
        return rc;
    c->swept[c->n++] = (struct swept){x->id, found[0], dead};
    return store_add_error(tx, x->id, &f, dead ? found[1] : found[1] + 1, dead, err);
}

static int find_expired_fn(struct db_tx *tx, void *arg, struct err *err)
{
    struct expire_call *c = arg;
    c->n_expired = 0;
    return db_query(tx,
                    "SELECT id, lease_holder, fence, deaths, checkpointed FROM jobs "
                    "WHERE state = 'processing' AND lease_until < $1 ORDER BY lease_until LIMIT $2",
                    DB_ARGS(db_int(db_now(tx)), db_int(c->max)), on_expired, c, err);
}

static int expire_fn(struct db_tx *tx, void *arg, struct err *err)
{
    struct expire_call *c = arg;
    c->n = 0;
    int rc = find_expired_fn(tx, c, err);
    for (size_t i = 0; i < c->n_expired && rc >= 0; i++)
        rc = expire_one(tx, c, &c->expired[i], err);
    return rc;
}

int store_expire_leases(struct store *s, int max, struct arena *a, struct swept **ret, size_t *ret_n, struct err *err)
{
    struct expire_call c = {.s = s, .arena = a, .max = max};
    int rc = store_limit_check(max, err);
    if (rc < 0)
        return rc;
    c.expired = arena_alloc(a, (size_t)max * sizeof *c.expired);
    c.swept = arena_alloc(a, (size_t)max * sizeof *c.swept);
    if (!c.expired || !c.swept)
        return err_set(err, ERR_NOMEM, "out of memory for expired leases");
    /* Mostly there is none: looking first spares the writer's lock. */
    rc = db_read(s->db, find_expired_fn, &c, err);
    if (rc >= 0 && c.n_expired)
        rc = db_write(s->db, DB_DURABLE, expire_fn, &c, err);
    if (rc < 0)
        return rc;
    *ret = c.swept;
    *ret_n = c.n;
    return 0;
}

/* ---- times a wrong clock left ---- */

enum {
    CLOCK_SLACK_MS = 10000, /* by so much clocks may differ */
    LONG_LEASES = 4         /* so many times what is asked for is no lease */
};

struct mend_call {
    int64_t lease_ms, max, found;
};

/* A job that waits was written when its wait began, by the same clock: that tells a wrong one from a long wait. */
#define HELD_UP   "(SELECT id FROM jobs WHERE state = 'pending' AND run_after > $1 AND updated_at > $2 LIMIT $3)"
#define HELD_LONG "(SELECT id FROM jobs WHERE state = 'processing' AND lease_until > $1 LIMIT $2)"

static int find_wrong_fn(struct db_tx *tx, void *arg, struct err *err)
{
    struct mend_call *c = arg;
    int64_t now = db_now(tx), n[2] = {0};
    struct db_val max = db_int(c->max);
    int rc = store_ints(tx, "SELECT count(*) FROM " HELD_UP " AS h",
                        DB_ARGS(db_int(now), db_int(now + CLOCK_SLACK_MS), max), &n[0], 1, err);
    if (rc >= 0)
        rc = store_ints(tx, "SELECT count(*) FROM " HELD_LONG " AS h",
                        DB_ARGS(db_int(now + LONG_LEASES * c->lease_ms), max), &n[1], 1, err);
    c->found = n[0] + n[1];
    return rc;
}

static int mend_fn(struct db_tx *tx, void *arg, struct err *err)
{
    struct mend_call *c = arg;
    int64_t now = db_now(tx);
    struct db_val max = db_int(c->max);
    int64_t n =
        db_exec(tx,
                "UPDATE jobs SET run_after = $1 + (run_after - updated_at), updated_at = $1, announced_at = NULL "
                "WHERE state = 'pending' AND id IN " HELD_UP,
                DB_ARGS(db_int(now), db_int(now + CLOCK_SLACK_MS), max), err);
    if (n < 0)
        return err->code;
    c->found = n;
    n = db_exec(tx, "UPDATE jobs SET lease_until = $3 WHERE state = 'processing' AND id IN " HELD_LONG,
                DB_ARGS(db_int(now + LONG_LEASES * c->lease_ms), max, db_int(now + c->lease_ms)), err);
    c->found += MAX(n, 0);
    return n < 0 ? err->code : 0;
}

int store_mend_times(struct store *s, int64_t lease_ms, int max, int *ret_n, struct err *err)
{
    struct mend_call c = {.lease_ms = lease_ms, .max = max};
    int rc = store_limit_check(max, err);
    if (rc >= 0)
        rc = db_read(s->db, find_wrong_fn, &c, err);
    if (rc >= 0 && c.found)
        rc = db_write(s->db, DB_RELAXED, mend_fn, &c, err);
    if (rc < 0)
        return rc;
    *ret_n = (int)c.found;
    return 0;
}

/* ---- lists of jobs to see to ---- */

struct jobs_call {
    const char *sql; /* $1: a time, $2: how many, $3: a rank if it asks for one */
    struct arena *arena;
    int64_t time; /* negative: now */
    int64_t rank; /* negative: none */
    int max;
    struct job_rows rows;
};

static int jobs_fn(struct db_tx *tx, void *arg, struct err *err)
{
    struct jobs_call *c = arg;
    int rc = job_rows_init(&c->rows, c->arena, c->max, err);
    if (rc < 0)
        return rc;
    struct db_val time = db_int(c->time < 0 ? db_now(tx) : c->time), max = db_int(c->max);
    if (c->rank < 0)
        return db_query(tx, c->sql, DB_ARGS(time, max), job_rows_add, &c->rows, err);
    return db_query(tx, c->sql, DB_ARGS(time, max, db_int(c->rank)), job_rows_add, &c->rows, err);
}

static int call_list(struct store *s, struct jobs_call *c, struct job **ret, size_t *ret_n, struct err *err)
{
    int rc = store_limit_check(c->max, err);
    if (rc >= 0)
        rc = db_read(s->db, jobs_fn, c, err);
    if (rc < 0)
        return rc;
    *ret = c->rows.jobs;
    *ret_n = c->rows.n;
    return 0;
}

static int list_jobs(struct store *s, const char *sql, int64_t time, int max, struct arena *a, struct job **ret,
                     size_t *ret_n, struct err *err)
{
    struct jobs_call c = {.sql = sql, .arena = a, .time = time, .rank = -1, .max = max};
    return call_list(s, &c, ret, ret_n, err);
}

int store_unannounced(struct store *s, int max, struct arena *a, struct job **ret, size_t *ret_n, struct err *err)
{
    return list_jobs(s,
                     "SELECT " JOB_COLUMNS_LISTED " FROM jobs WHERE state = 'pending' AND announced_at IS NULL "
                     "AND run_after <= $1 ORDER BY run_after, id LIMIT $2",
                     -1, max, a, ret, ret_n, err);
}

int store_due(struct store *s, enum job_queue queue, int max, struct arena *a, struct job **ret, size_t *ret_n,
              struct err *err)
{
    struct jobs_call c = {.sql = "SELECT " JOB_COLUMNS_LISTED " FROM jobs WHERE state = 'pending' AND queue_rank = $3 "
                                 "AND run_after <= $1 ORDER BY created_at, id LIMIT $2",
                          .arena = a,
                          .time = -1,
                          .rank = (int64_t)queue,
                          .max = max};
    return call_list(s, &c, ret, ret_n, err);
}

int store_audio_before(struct store *s, int64_t before_ms, int max, struct arena *a, struct job **ret, size_t *ret_n,
                       struct err *err)
{
    return list_jobs(s,
                     "SELECT " JOB_COLUMNS_LISTED " FROM jobs WHERE finished_at < $1 AND audio_gone_at IS NULL "
                     "ORDER BY finished_at, id LIMIT $2",
                     MAX(before_ms, 0), max, a, ret, ret_n, err);
}

struct id_call {
    const char *id;
};

static int give_up_fn(struct db_tx *tx, void *arg, struct err *err)
{
    const struct id_call *c = arg;
    int64_t n = db_exec(tx,
                        "UPDATE jobs SET audio_gone_at = COALESCE(audio_gone_at, $2), "
                        "plan = CASE WHEN state = 'completed' THEN plan END "
                        "WHERE id = $1 AND state IN ('completed', 'failed', 'cancelled')",
                        DB_ARGS(db_text(c->id), db_int(db_now(tx))), err);
    if (n > 0)
        n = db_exec(tx,
                    "DELETE FROM chunks WHERE job_id = (SELECT id FROM jobs WHERE id = $1 AND state <> 'completed')",
                    DB_ARGS(db_text(c->id)), err) < 0
                ? -1
                : 1;
    if (n != 0)
        return n < 0 ? err->code : 0;
    enum job_state state;
    int rc = store_state(tx, c->id, &state, err);
    if (rc < 0)
        return rc;
    if (rc == 0)
        return store_no_job(c->id, err);
    return err_set(err, ERR_CONFLICT, "job %s is %s: it needs its recording", c->id, job_state_name(state));
}

int store_give_up_audio(struct store *s, const char *id, struct err *err)
{
    return db_write(s->db, DB_DURABLE, give_up_fn, &(struct id_call){id}, err);
}

/* ---- objects without a row ---- */

struct key_call {
    const char *key;
    char id[ID_SIZE];
    bool upload;
    int64_t fence; /* of a result */
    bool wanted;
};

/* "uploads/{id}/..." or "results/{id}/{fence}/...": false for any other key. */
static bool parse_key(const char *key, struct key_call *c)
{
    c->upload = str_starts(key, "uploads/");
    if (!c->upload && !str_starts(key, "results/"))
        return false;
    const char *id = key + strlen("uploads/"); /* as long as "results/" */
    const char *end = strchr(id, '/');
    if (!end || end - id != ID_SIZE - 1)
        return false;
    memcpy(c->id, id, ID_SIZE - 1);
    c->id[ID_SIZE - 1] = '\0';
    if (!id_valid(c->id))
        return false;
    if (c->upload)
        return true;
    char fence[24];
    const char *fence_end = strchr(end + 1, '/');
    if (!fence_end || fence_end - end - 1 >= (ptrdiff_t)sizeof fence)
        return false;
    memcpy(fence, end + 1, (size_t)(fence_end - end - 1));
    fence[fence_end - end - 1] = '\0';
    return str_to_i64(fence, &c->fence);
}

static int key_fn(struct db_tx *tx, void *arg, struct err *err)
{
    struct key_call *c = arg;
    int64_t n[2] = {0};
    int rc;
    if (c->upload) {
        rc = store_ints(tx,
                        "SELECT (SELECT count(*) FROM jobs WHERE id = $1 AND audio_key = $2 AND audio_gone_at IS NULL),"
                        "(SELECT count(*) FROM uploads WHERE object_key = $2 AND used_at IS NULL)",
                        DB_ARGS(db_text(c->id), db_text(c->key)), n, 2, err);
    } else {
        /* The object is written before its row: the claim that is about to complete keeps it. */
        rc = store_ints(
            tx,
            "SELECT (SELECT count(*) FROM results WHERE job_id = $1 AND result_key = $2 AND removed_at IS NULL),"
            "(SELECT count(*) FROM jobs WHERE id = $1 AND " IS_PROCESSING "AND fence = $3)",
            DB_ARGS(db_text(c->id), db_text(c->key), db_int(c->fence)), n, 2, err);
    }
    c->wanted = n[0] > 0 || n[1] > 0;
    return rc;
}

int store_key_wanted(struct store *s, const char *key, bool *ret, struct err *err)
{
    struct key_call c = {.key = key};
    if (!parse_key(key, &c)) { /* not ours: not ours to delete */
        *ret = true;
        return 0;
    }
    int rc = db_read(s->db, key_fn, &c, err);
    if (rc < 0)
        return rc;
    *ret = c.wanted;
    return 0;
}

/* ---- workers ---- */

static int heartbeat_fn(struct db_tx *tx, void *arg, struct err *err)
{
    const struct worker_row *w = arg;
    int64_t n = db_exec(
        tx,
        "INSERT INTO workers (id, host, pid, version, state, started_at, heartbeat_at, running, info) "
        "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (id) DO UPDATE SET state = excluded.state, "
        "heartbeat_at = excluded.heartbeat_at, running = excluded.running, info = excluded.info",
        DB_ARGS(db_text(w->id), db_text(w->host), db_int(w->pid), db_text(w->version), db_text(w->state),
                db_int(w->started_at), db_int(db_now(tx)), db_int(w->running), db_text(w->info ? w->info : "{}")),
        err);
    return n < 0 ? err->code : 0;
}

int store_heartbeat(struct store *s, const struct worker_row *w, struct err *err)
{
    struct worker_row copy = *w;
    return db_write(s->db, DB_RELAXED, heartbeat_fn, &copy, err);
}

static int gone_fn(struct db_tx *tx, void *arg, struct err *err)
{
    const struct id_call *c = arg;
    return db_exec(tx, "DELETE FROM workers WHERE id = $1", DB_ARGS(db_text(c->id)), err) < 0 ? err->code : 0;
}

int store_worker_gone(struct store *s, const char *id, struct err *err)
{
    return db_write(s->db, DB_RELAXED, gone_fn, &(struct id_call){id}, err);
}

static int drop_fn(struct db_tx *tx, void *arg, struct err *err)
{
    int64_t before = db_now(tx) - *(const int64_t *)arg;
    return db_exec(tx, "DELETE FROM workers WHERE heartbeat_at < $1", DB_ARGS(db_int(before)), err) < 0 ? err->code : 0;
}

int store_drop_workers(struct store *s, int64_t silent_ms, struct err *err)
{
    return db_write(s->db, DB_RELAXED, drop_fn, &silent_ms, err);
}

struct workers_call {
    struct arena *arena;
    struct worker_row *rows;
    size_t n;
    int64_t now;
};

static int on_worker(const struct db_row *row, void *arg, struct err *err)
{
    struct workers_call *c = arg;
    struct row_reader r = {.row = row, .arena = c->arena};
    struct worker_row x = {0};
    x.id = row_text(&r);
    x.host = row_text(&r);
    x.pid = row_int(&r);
    x.version = row_text(&r);
    x.state = row_text(&r);
    x.started_at = row_int(&r);
    x.heartbeat_at = row_int(&r);
    x.silent_ms = MAX(c->now - x.heartbeat_at, 0);
    x.running = row_int(&r);
    x.info = row_text(&r);
    c->rows[c->n++] = x;
    return row_check(&r, err);
}

static int workers_fn(struct db_tx *tx, void *arg, struct err *err)
{
    struct workers_call *c = arg;
    c->n = 0;
    c->now = db_now(tx);
    return db_query(tx,
                    "SELECT id, host, pid, version, state, started_at, heartbeat_at, running, info FROM workers "
                    "ORDER BY started_at, id LIMIT $1",
                    DB_ARGS(db_int(WORKERS_MAX)), on_worker, c, err);
}

int store_list_workers(struct store *s, struct arena *a, struct worker_row **ret, size_t *ret_n, struct err *err)
{
    struct workers_call c = {.arena = a, .rows = arena_alloc(a, WORKERS_MAX * sizeof(struct worker_row))};
    if (!c.rows)
        return err_set(err, ERR_NOMEM, "out of memory for a list of workers");
    int rc = db_read(s->db, workers_fn, &c, err);
    if (rc < 0)
        return rc;
    *ret = c.rows;
    *ret_n = c.n;
    return 0;
}
