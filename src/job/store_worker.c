/* SPDX-License-Identifier: MIT */
/*
 * What workers do while they have a job: claim, renew, save checkpoints. Every write names its claim.
 *
 * All of it is relaxed: a power cut takes the workers with it, and what it may undo (a claim, a lease, a checkpoint)
 * only sends the job back a little.
 */
#include "job/store_internal.h"

#include "base/id.h"
#include "base/str.h"

#include <stdio.h>

#define OTHER_PLAN "(plan IS NULL OR plan <> $4)"

#define X(kind, name) COLUMN_##name,
enum { JOB_FIELDS(X) };
#undef X

struct claim_call {
    struct arena *arena;
    struct job job;
    bool found;
    /* What it takes to give it back, when memory for the rest is out. */
    char id[ID_SIZE];
    int64_t fence;
};

static int on_claimed(const struct db_row *row, void *arg, struct err *err)
{
    struct claim_call *c = arg;
    c->found = true;
    const char *id = db_col_text(row, COLUMN_id);
    snprintf(c->id, sizeof c->id, "%s", id ? id : "");
    c->fence = db_col_int(row, COLUMN_fence);
    return row_job(row, 0, c->arena, &c->job, err);
}

/* The claims may stand although their rows could not be handed out. What fails here was rolled back, or store_renew
 * shows it. */
static void give_back(struct store *s, const char *holder, const struct claim_call *calls, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct err ignored = ERR_INIT;
        int64_t seq;
        int rc = calls[i].found
                     ? store_hand_back(s, &(struct claim){calls[i].id, holder, calls[i].fence}, 0, &seq, &ignored)
                     : 0;
        (void)rc;
    }
}

int store_claim(struct store *s, const struct claim_opts *o, struct claimed *ret, size_t n, struct err *err)
{
    struct claim_call calls[CLAIM_MAX];
    struct db_stmt stmts[CLAIM_MAX];
    if (n < 1 || n > CLAIM_MAX)
        return err_set(err, ERR_INTERNAL, "%zu jobs to be claimed at once", n);
    int64_t now = db_clock(s->db);
    /* A job that a worker died on, due since then at the latest: anybody may take it. An idle worker need not wait. */
    int64_t patience_end = o->idle ? now : now - s->opts.alone_patience_ms;
    const struct db_val args[] = {db_text(o->holder), db_int(now + o->lease_ms), db_int(now), db_int(patience_end)};
    for (size_t i = 0; i < n; i++) {
        calls[i] = (struct claim_call){.arena = ret[i].arena};
        stmts[i] = (struct db_stmt){.sql = s->claim_sql[o->small],
                                    .args = args,
                                    .n_args = ARRAY_LEN(args),
                                    .row = on_claimed,
                                    .row_arg = &calls[i]};
    }
    int rc = db_write_stmts(s->db, DB_RELAXED, stmts, n, err);
    if (rc < 0) {
        give_back(s, o->holder, calls, n);
        return rc;
    }
    int got = 0;
    for (size_t i = 0; i < n; i++) {
        ret[i].job = calls[i].job;
        got += calls[i].found;
    }
    return got;
}

struct held_rows {
    struct held *held; /* the caller's array */
    size_t n, max;
};

static int on_held(const struct db_row *row, void *arg, struct err *err)
{
    (void)err;
    struct held_rows *r = arg;
    if (r->n == r->max)
        return 1;
    const char *id = db_col_text(row, 0);
    snprintf(r->held[r->n].id, sizeof r->held[r->n].id, "%s", id ? id : "");
    r->held[r->n].fence = db_col_int(row, 1);
    r->n++;
    return 0;
}

int store_renew(struct store *s, const char *holder, int64_t lease_ms, struct held *ret, size_t max_held, size_t *ret_n,
                struct err *err)
{
    struct held_rows r = {.held = ret, .max = max_held};
    struct db_stmt stmt = {.sql = "UPDATE jobs SET lease_until = $2 WHERE lease_holder = $1 AND state = 'processing' "
                                  "RETURNING id, fence",
                           .args = (const struct db_val[]){db_text(holder), db_int(db_clock(s->db) + lease_ms)},
                           .n_args = 2,
                           .row = on_held,
                           .row_arg = &r};
    int rc = db_write_stmts(s->db, DB_RELAXED, &stmt, 1, err);
    if (rc < 0)
        return rc;
    *ret_n = r.n;
    return 0;
}

int store_held(struct store *s, const char *holder, struct held *ret, size_t max_held, size_t *ret_n, struct err *err)
{
    struct held_rows r = {.held = ret, .max = max_held};
    struct db_stmt stmt = {.sql =
                               "SELECT id, fence FROM jobs WHERE lease_holder = $1 AND state = 'processing' LIMIT $2",
                           .args = (const struct db_val[]){db_text(holder), db_int((int64_t)max_held)},
                           .n_args = 2,
                           .row = on_held,
                           .row_arg = &r};
    int rc = db_read_stmt(s->db, &stmt, err);
    if (rc < 0)
        return rc;
    *ret_n = r.n;
    return 0;
}

/*
 * Statements that decide for themselves whether they may write, here and for chunks, so that those of many jobs can
 * share a round trip and a commit.
 *
 * Only the first plan of a job counts as progress: a job that kills its worker after planning would otherwise plan
 * and die for ever.
 */
int store_save_plan(struct store *s, const struct claim *c, const char *plan_json, int64_t chunks_total,
                    int64_t duration_ms, int64_t *ret_seq, struct err *err)
{
    struct db_val plan = db_text(plan_json);
    struct store_int_row r = {.n = 1};
    struct db_stmt stmts[] = {
        {.sql = "UPDATE jobs SET seq = seq + 1, updated_at = $4" FENCED "RETURNING seq",
         .args = (const struct db_val[]){FENCED_ARGS(c), db_int(db_clock(s->db))},
         .n_args = 4,
         .row = store_on_ints,
         .row_arg = &r},
        {.sql = "DELETE FROM chunks WHERE job_id = (SELECT id FROM jobs" FENCED "AND " OTHER_PLAN ")",
         .args = (const struct db_val[]){FENCED_ARGS(c), plan},
         .n_args = 4},
        {.sql =
             "UPDATE jobs SET chunks_total = $5, duration_ms = $6, chunks_done = 0, progress_ms = 0, "
             "deaths = CASE WHEN plan IS NULL THEN 0 ELSE deaths END, "
             "checkpointed = CASE WHEN plan IS NULL THEN 1 ELSE checkpointed END, plan = $4" FENCED "AND " OTHER_PLAN,
         .args = (const struct db_val[]){FENCED_ARGS(c), plan, db_int(chunks_total), db_int(duration_ms)},
         .n_args = 6},
    };
    int rc = db_write_stmts(s->db, DB_RELAXED, stmts, ARRAY_LEN(stmts), err);
    if (rc < 0)
        return rc;
    if (!r.found)
        return store_lost(c, err);
    *ret_seq = r.v[0];
    return 0;
}

/*
 * The plan that the caller had saved is gone, or another one stands there: a database server that crashed has lost its
 * last moments, which relaxed writes may.
 */
static int why_not_saved(struct store *s, const struct claim *c, const struct job_chunk *k, struct err *err)
{
    int64_t total = 0;
    int rc = store_read_ints(s, "SELECT chunks_total FROM jobs" FENCED, (const struct db_val[]){FENCED_ARGS(c)}, 3,
                             &total, 1, err);
    if (rc < 0)
        return rc;
    if (rc == 0 || k->idx < total)
        return store_lost(c, err);
    return err_set(err, ERR_LOST, "chunk %lld is not in the plan that the database has of job %s, with %lld",
                   (long long)k->idx, c->id, (long long)total);
}

int store_save_chunk(struct store *s, const struct claim *c, const struct job_chunk *k, int64_t progress_ms,
                     int64_t *ret_seq, struct err *err)
{
    struct db_val now = db_int(db_clock(s->db));
    struct store_int_row r = {.n = 1};
    struct db_stmt stmts[] = {
        {.sql = "UPDATE jobs SET chunks_done = chunks_done + 1, progress_ms = $4, updated_at = $5, deaths = 0, "
                "checkpointed = 1, seq = seq + 1" FENCED "AND chunks_total > $6 RETURNING seq",
         .args = (const struct db_val[]){FENCED_ARGS(c), db_int(progress_ms), now, db_int(k->idx)},
         .n_args = 6,
         .row = store_on_ints,
         .row_arg = &r},
        {.sql = "INSERT INTO chunks (job_id, idx, start_sample, end_sample, fence, result, engine_state, engine_ms, "
                "finished_at, seq) SELECT id, CAST($4 AS BIGINT), CAST($5 AS BIGINT), CAST($6 AS BIGINT), fence, "
                "CAST($7 AS TEXT), CAST($8 AS TEXT), CAST($9 AS BIGINT), CAST($10 AS BIGINT), seq FROM jobs" FENCED
                "AND chunks_total > $4",
         .args = (const struct db_val[]){FENCED_ARGS(c), db_int(k->idx), db_int(k->start_sample), db_int(k->end_sample),
                                         db_text(k->result), db_text(k->engine_state), db_int(k->engine_ms), now},
         .n_args = 10},
    };
    if (k->idx < 0)
        return err_set(err, ERR_INTERNAL, "chunk %lld is not in the plan of job %s", (long long)k->idx, c->id);
    int rc = db_write_stmts(s->db, DB_RELAXED, stmts, ARRAY_LEN(stmts), err);
    if (rc < 0)
        return rc;
    if (!r.found)
        return why_not_saved(s, c, k, err);
    *ret_seq = r.v[0];
    return 0;
}

struct chunks_call {
    const char *id;
    struct arena *arena;
    struct job_chunk *chunks;
    size_t n, cap;
};

static int on_chunk(const struct db_row *row, void *arg, struct err *err)
{
    struct chunks_call *c = arg;
    struct row_reader r = {.row = row, .arena = c->arena};
    if (c->n == c->cap)
        return err_set(err, ERR_INTERNAL, "the chunks of job %s changed while they were read", c->id);
    struct job_chunk x = {0};
    x.idx = row_int(&r);
    x.start_sample = row_int(&r);
    x.end_sample = row_int(&r);
    x.engine_ms = row_int(&r);
    x.finished_at = row_int(&r);
    x.result = row_text(&r);
    x.engine_state = row_text(&r);
    c->chunks[c->n++] = x;
    return row_check(&r, err);
}

static int chunks_fn(struct db_tx *tx, void *arg, struct err *err)
{
    struct chunks_call *c = arg;
    int64_t count = 0;
    c->n = 0;
    int rc = store_ints(tx, "SELECT count(*) FROM chunks WHERE job_id = $1", DB_ARGS(db_text(c->id)), &count, 1, err);
    if (rc < 0)
        return rc;
    c->cap = (size_t)count;
    c->chunks = arena_alloc(c->arena, (c->cap + 1) * sizeof *c->chunks);
    if (!c->chunks)
        return err_set(err, ERR_NOMEM, "out of memory for the chunks of job %s", c->id);
    return db_query(tx,
                    "SELECT idx, start_sample, end_sample, engine_ms, finished_at, result, engine_state FROM chunks "
                    "WHERE job_id = $1 ORDER BY idx LIMIT $2",
                    DB_ARGS(db_text(c->id), db_int(count)), on_chunk, c, err);
}

int store_load_chunks(struct store *s, const char *id, struct arena *a, struct job_chunk **ret, size_t *ret_n,
                      struct err *err)
{
    struct chunks_call c = {.id = id, .arena = a};
    int rc = db_read(s->db, chunks_fn, &c, err);
    if (rc < 0)
        return rc;
    *ret = c.chunks;
    *ret_n = c.n;
    return 0;
}
