/* SPDX-License-Identifier: MIT */
/*
 * What is given up after a time. Rows go first, and the caller deletes the objects after it: a kill in between leaves
 * objects that nobody points to, which the sweeper removes, never a row that points nowhere.
 *
 * Who gives something up gets it once: of two that do so at the same time each is told what its own statement changed.
 */
#include "job/store_internal.h"

struct drop_call {
    int64_t before_ms;
    int max;
    struct arena *arena;
    struct given_up *v;
    size_t n;
};

static int drop_init(struct drop_call *c, struct err *err)
{
    int rc = store_limit_check(c->max, err);
    if (rc < 0)
        return rc;
    c->v = arena_alloc(c->arena, (size_t)c->max * sizeof *c->v);
    return c->v ? 0 : err_set(err, ERR_NOMEM, "out of memory for a list of jobs");
}

static int on_given_up(const struct db_row *row, void *arg, struct err *err)
{
    struct drop_call *c = arg;
    struct row_reader r = {.row = row, .arena = c->arena};
    struct given_up g = {0};
    g.job_id = row_text(&r);
    g.audio_key = row_text(&r);
    g.result_key = row_text(&r);
    if (c->n < (size_t)c->max)
        c->v[c->n++] = g;
    return row_check(&r, err);
}

/* Mostly there is nothing: looking first spares the writer's lock. */
static int drop(struct store *s, db_tx_fn fn, const char *any_sql, struct drop_call *c, struct given_up **ret,
                size_t *ret_n, struct err *err)
{
    int64_t any = 0;
    int rc = drop_init(c, err);
    if (rc >= 0)
        rc = store_read_ints(s, any_sql, DB_ARGS(db_int(c->before_ms)), &any, 1, err);
    if (rc > 0)
        rc = db_write(s->db, DB_DURABLE, fn, c, err);
    if (rc < 0)
        return rc;
    *ret = c->v;
    *ret_n = c->n;
    return 0;
}

static int drop_chunks(struct db_tx *tx, const struct drop_call *c, struct err *err)
{
    for (size_t i = 0; i < c->n; i++)
        if (db_exec(tx, "DELETE FROM chunks WHERE job_id = $1", DB_ARGS(db_text(c->v[i].job_id)), err) < 0)
            return err->code;
    return 0;
}

/* ---- transcripts ---- */

#define OLD_RESULTS "FROM results WHERE removed_at IS NULL AND created_at < $1 "

static int results_fn(struct db_tx *tx, void *arg, struct err *err)
{
    struct drop_call *c = arg;
    c->n = 0;
    int rc = db_query(tx,
                      "UPDATE results SET removed_at = $2, text = '' WHERE removed_at IS NULL AND job_id IN "
                      "(SELECT job_id " OLD_RESULTS "ORDER BY created_at, job_id LIMIT $3) "
                      "RETURNING job_id, NULL, result_key",
                      DB_ARGS(db_int(c->before_ms), db_int(db_now(tx)), db_int(c->max)), on_given_up, c, err);
    return rc < 0 ? rc : drop_chunks(tx, c, err); /* the same words */
}

int store_drop_results(struct store *s, int64_t before_ms, int max, struct arena *a, struct given_up **ret,
                       size_t *ret_n, struct err *err)
{
    struct drop_call c = {.before_ms = MAX(before_ms, 0), .max = max, .arena = a};
    return drop(s, results_fn, "SELECT 1 " OLD_RESULTS "LIMIT 1", &c, ret, ret_n, err);
}

/* ---- checkpoints of what came to no transcript ---- */

/* No job has checkpoints without a plan. */
#define OLD_CHECKPOINTS "FROM jobs WHERE finished_at < $1 AND plan IS NOT NULL AND state <> 'completed' "

static int checkpoints_fn(struct db_tx *tx, void *arg, struct err *err)
{
    struct drop_call *c = arg;
    c->n = 0;
    /* The plan first: a job that is tried again meanwhile has either both or neither. */
    int rc =
        db_query(tx,
                 "UPDATE jobs SET plan = NULL WHERE finished_at < $1 AND plan IS NOT NULL AND state <> 'completed' "
                 "AND id IN (SELECT id " OLD_CHECKPOINTS "ORDER BY finished_at, id LIMIT $2) "
                 "RETURNING id, NULL, NULL",
                 DB_ARGS(db_int(c->before_ms), db_int(c->max)), on_given_up, c, err);
    return rc < 0 ? rc : drop_chunks(tx, c, err);
}

int store_drop_checkpoints(struct store *s, int64_t before_ms, int max, struct arena *a, struct given_up **ret,
                           size_t *ret_n, struct err *err)
{
    struct drop_call c = {.before_ms = MAX(before_ms, 0), .max = max, .arena = a};
    return drop(s, checkpoints_fn, "SELECT 1 " OLD_CHECKPOINTS "LIMIT 1", &c, ret, ret_n, err);
}

/* ---- jobs ---- */

#define OLD_JOBS "FROM jobs WHERE finished_at < $1 "

static int jobs_fn(struct db_tx *tx, void *arg, struct err *err)
{
    struct drop_call *c = arg;
    c->n = 0;
    int rc = db_query(tx,
                      "SELECT id, CASE WHEN audio_gone_at IS NULL THEN audio_key END, "
                      "(SELECT result_key FROM results WHERE job_id = jobs.id AND removed_at IS NULL) " OLD_JOBS
                      "ORDER BY finished_at, id LIMIT $2",
                      DB_ARGS(db_int(c->before_ms), db_int(c->max)), on_given_up, c, err);
    if (rc < 0)
        return rc;
    size_t found = c->n;
    c->n = 0;
    for (size_t i = 0; i < found; i++) {
        struct db_val id = db_text(c->v[i].job_id);
        /* Chunks, result, errors and keys go with it. Not when it was retried or removed meanwhile. */
        int64_t n = db_exec(tx,
                            "DELETE FROM jobs WHERE id = $1 AND finished_at < $2 "
                            "AND state IN ('completed', 'failed', 'cancelled')",
                            DB_ARGS(id, db_int(c->before_ms)), err);
        if (n > 0 && db_exec(tx, "DELETE FROM uploads WHERE job_id = $1", DB_ARGS(id), err) < 0)
            n = -1;
        if (n < 0)
            return err->code;
        if (n > 0)
            c->v[c->n++] = c->v[i];
    }
    return 0;
}

int store_drop_jobs(struct store *s, int64_t before_ms, int max, struct arena *a, struct given_up **ret, size_t *ret_n,
                    struct err *err)
{
    struct drop_call c = {.before_ms = MAX(before_ms, 0), .max = max, .arena = a};
    return drop(s, jobs_fn, "SELECT 1 " OLD_JOBS "LIMIT 1", &c, ret, ret_n, err);
}

/* ---- */

int store_count_old(struct store *s, const struct old_times *before, struct old_counts *ret, struct err *err)
{
    int64_t n[3] = {0};
    int rc = store_read_ints(
        s,
        "SELECT (SELECT count(*) FROM jobs WHERE finished_at < $1 AND finished_at >= $3 AND audio_gone_at IS NULL), "
        "(SELECT count(*) FROM results WHERE removed_at IS NULL AND created_at < $2 AND created_at >= $3), "
        "(SELECT count(*) FROM jobs WHERE finished_at < $3)",
        DB_ARGS(db_int(MAX(before->audio, 0)), db_int(MAX(before->results, 0)), db_int(MAX(before->jobs, 0))), n, 3,
        err);
    if (rc < 0)
        return rc;
    *ret = (struct old_counts){.audio = n[0], .results = n[1], .jobs = n[2]};
    return 0;
}
