/* SPDX-License-Identifier: MIT */
/*
 * What workers do while they have a job: claim, renew, save checkpoints. Every write names its claim.
 *
 * All of it is relaxed: a power cut takes the workers with it, and what it may undo (a claim, a lease, a checkpoint)
 * only sends the job back a little.
 */
#include "job/store_internal.h"

#include "base/str.h"

#include <stdio.h>

struct claim_call {
    const struct store *s;
    const struct claim_opts *opts;
    struct arena *arena;
    struct job job;
    bool found;
};

static int on_claimed(const struct db_row *row, void *arg, struct err *err)
{
    struct claim_call *c = arg;
    c->found = true;
    return row_job(row, c->arena, &c->job, err);
}

static int claim_fn(struct db_tx *tx, void *arg, struct err *err)
{
    struct claim_call *c = arg;
    c->found = false;
    int64_t now = db_now(tx);
    /* A job that a worker died on, due since then at the latest: anybody may take it. An idle worker need not wait. */
    int64_t patience_end = c->opts->idle ? now : now - c->s->opts.alone_patience_ms;
    int rc =
        db_query(tx, c->s->claim_sql,
                 DB_ARGS(db_text(c->opts->holder), db_int(now + c->opts->lease_ms), db_int(now), db_int(patience_end)),
                 on_claimed, c, err);
    return rc < 0 ? rc : c->found;
}

int store_claim(struct store *s, const struct claim_opts *o, struct arena *a, struct job *ret, struct err *err)
{
    struct claim_call c = {.s = s, .opts = o, .arena = a};
    int rc = db_write(s->db, DB_RELAXED, claim_fn, &c, err);
    if (rc == 1)
        *ret = c.job;
    return rc;
}

struct held_call {
    const char *holder;
    int64_t lease_ms;
    struct held *held; /* the caller's array */
    size_t n, max;
};

static int on_held(const struct db_row *row, void *arg, struct err *err)
{
    (void)err;
    struct held_call *c = arg;
    const char *id = db_col_text(row, 0);
    snprintf(c->held[c->n].id, sizeof c->held[c->n].id, "%s", id ? id : "");
    c->held[c->n].fence = db_col_int(row, 1);
    c->n++;
    return 0;
}

static int held_fn(struct db_tx *tx, void *arg, struct err *err)
{
    struct held_call *c = arg;
    c->n = 0;
    return db_query(tx, "SELECT id, fence FROM jobs WHERE lease_holder = $1 AND state = 'processing' LIMIT $2",
                    DB_ARGS(db_text(c->holder), db_int((int64_t)c->max)), on_held, c, err);
}

static int renew_fn(struct db_tx *tx, void *arg, struct err *err)
{
    struct held_call *c = arg;
    int64_t n = db_exec(tx, "UPDATE jobs SET lease_until = $2 WHERE lease_holder = $1 AND state = 'processing'",
                        DB_ARGS(db_text(c->holder), db_int(db_now(tx) + c->lease_ms)), err);
    return n < 0 ? err->code : held_fn(tx, c, err);
}

int store_renew(struct store *s, const char *holder, int64_t lease_ms, struct held *ret, size_t max_held, size_t *ret_n,
                struct err *err)
{
    struct held_call c = {.holder = holder, .lease_ms = lease_ms, .held = ret, .max = max_held};
    int rc = db_write(s->db, DB_RELAXED, renew_fn, &c, err);
    if (rc < 0)
        return rc;
    *ret_n = c.n;
    return 0;
}

int store_held(struct store *s, const char *holder, struct held *ret, size_t max_held, size_t *ret_n, struct err *err)
{
    struct held_call c = {.holder = holder, .held = ret, .max = max_held};
    int rc = db_read(s->db, held_fn, &c, err);
    if (rc < 0)
        return rc;
    *ret_n = c.n;
    return 0;
}

struct plan_call {
    const struct claim *claim;
    const char *plan;
    int64_t chunks_total, duration_ms;
    bool same;
    int64_t seq;
};

static int on_plan(const struct db_row *row, void *arg, struct err *err)
{
    (void)err;
    struct plan_call *c = arg;
    c->seq = db_col_int(row, 0);
    c->same = str_eq(db_col_text(row, 1), c->plan);
    return 1;
}

/*
 * Only the first plan of a job counts as progress: a job that kills its worker after planning would otherwise plan
 * and die for ever.
 */
static int plan_fn(struct db_tx *tx, void *arg, struct err *err)
{
    struct plan_call *c = arg;
    c->seq = 0;
    c->same = false;
    int rc = db_query(tx, "UPDATE jobs SET seq = seq + 1, updated_at = $4" FENCED "RETURNING seq, plan",
                      DB_ARGS(FENCED_ARGS(c->claim), db_int(db_now(tx))), on_plan, c, err);
    if (rc < 0)
        return rc;
    if (!c->seq)
        return store_lost(c->claim, err);
    if (c->same)
        return 0;
    if (db_exec(tx, "DELETE FROM chunks WHERE job_id = $1", DB_ARGS(db_text(c->claim->id)), err) < 0)
        return err->code;
    int64_t n =
        db_exec(tx,
                "UPDATE jobs SET chunks_total = $2, duration_ms = $3, chunks_done = 0, progress_ms = 0, "
                "deaths = CASE WHEN plan IS NULL THEN 0 ELSE deaths END, "
                "checkpointed = CASE WHEN plan IS NULL THEN 1 ELSE checkpointed END, "
                "plan = $4 WHERE id = $1",
                DB_ARGS(db_text(c->claim->id), db_int(c->chunks_total), db_int(c->duration_ms), db_text(c->plan)), err);
    return n < 0 ? err->code : 0;
}

int store_save_plan(struct store *s, const struct claim *c, const char *plan_json, int64_t chunks_total,
                    int64_t duration_ms, int64_t *ret_seq, struct err *err)
{
    struct plan_call call = {.claim = c, .plan = plan_json, .chunks_total = chunks_total, .duration_ms = duration_ms};
    int rc = db_write(s->db, DB_RELAXED, plan_fn, &call, err);
    if (rc < 0)
        return rc;
    *ret_seq = call.seq;
    return 0;
}

struct chunk_call {
    const struct claim *claim;
    const struct job_chunk *chunk;
    int64_t progress_ms, seq;
};

static int chunk_fn(struct db_tx *tx, void *arg, struct err *err)
{
    struct chunk_call *c = arg;
    const struct job_chunk *k = c->chunk;
    int64_t now = db_now(tx), found[2];
    int rc = store_ints(tx,
                        "UPDATE jobs SET chunks_done = chunks_done + 1, progress_ms = $4, updated_at = $5, "
                        "deaths = 0, checkpointed = 1, seq = seq + 1" FENCED "RETURNING seq, chunks_total",
                        DB_ARGS(FENCED_ARGS(c->claim), db_int(c->progress_ms), db_int(now)), found, 2, err);
    if (rc < 0)
        return rc;
    if (rc == 0)
        return store_lost(c->claim, err);
    if (k->idx < 0 || k->idx >= found[1])
        return err_set(err, ERR_INTERNAL, "chunk %lld is not in the plan of job %s, which has %lld", (long long)k->idx,
                       c->claim->id, (long long)found[1]);
    c->seq = found[0];
    int64_t n = db_exec(tx,
                        "INSERT INTO chunks (job_id, idx, start_sample, end_sample, fence, result, engine_state, "
                        "engine_ms, finished_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
                        DB_ARGS(db_text(c->claim->id), db_int(k->idx), db_int(k->start_sample), db_int(k->end_sample),
                                db_int(c->claim->fence), db_text(k->result), db_text(k->engine_state),
                                db_int(k->engine_ms), db_int(now)),
                        err);
    return n < 0 ? err->code : 0;
}

int store_save_chunk(struct store *s, const struct claim *c, const struct job_chunk *chunk, int64_t progress_ms,
                     int64_t *ret_seq, struct err *err)
{
    struct chunk_call call = {.claim = c, .chunk = chunk, .progress_ms = progress_ms};
    int rc = db_write(s->db, DB_RELAXED, chunk_fn, &call, err);
    if (rc < 0)
        return rc;
    *ret_seq = call.seq;
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
