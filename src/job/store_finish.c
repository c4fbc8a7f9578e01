/* SPDX-License-Identifier: MIT */
/* How a claim ends: completed, failed, or back to the queue. Each is one fenced transaction. */
#include "job/store_internal.h"

#include <string.h>

static int why_not_completed(struct store *s, const struct claim *c, struct err *err)
{
    int64_t chunks[2];
    int rc = store_read_ints(s, "SELECT chunks_done, chunks_total FROM jobs" FENCED,
                             (const struct db_val[]){FENCED_ARGS(c)}, 3, chunks, 2, err);
    if (rc < 0)
        return rc;
    if (rc == 0)
        return store_lost(c, err);
    /* As a lost plan: see store_worker.c. */
    return err_set(err, ERR_LOST, "job %s cannot be completed with %lld of %lld chunks", c->id, (long long)chunks[0],
                   (long long)chunks[1]);
}

/* After the row is completed, so that it can be read from there. It may stand already, when the answer to an earlier
 * try was lost. */
#define COMPLETED " FROM jobs WHERE id = $1 AND state || '' = 'completed' AND lease_holder = $2 AND fence = $3 "

static const char add_result[] =
    "INSERT INTO results (job_id, fence, result_key, text, language, engine, model, duration_ms, speech_ms, "
    "covered_ms, word_count, confidence, processing_ms, created_at, language_probability, warning) SELECT id, fence, "
    "CAST($4 AS TEXT), CAST($5 AS TEXT), CAST($6 AS TEXT), CAST($7 AS TEXT), CAST($8 AS TEXT), CAST($9 AS BIGINT), "
    "CAST($10 AS BIGINT), CAST($11 AS BIGINT), CAST($12 AS BIGINT), CAST($13 AS DOUBLE PRECISION), "
    "CAST($14 AS BIGINT), CAST($15 AS BIGINT), CAST($16 AS DOUBLE PRECISION), CAST($17 AS TEXT)" COMPLETED
    "ON CONFLICT (job_id) DO NOTHING";

enum { RESULT_ARGS = 17 };

static void result_args(const struct claim *c, const struct job_result *r, struct db_val now,
                        struct db_val ret[RESULT_ARGS])
{
    const struct db_val v[RESULT_ARGS] = {FENCED_ARGS(c),
                                          db_text(r->result_key),
                                          db_text(r->text),
                                          db_text(r->language),
                                          db_text(r->engine),
                                          db_text(r->model),
                                          db_int(r->duration_ms),
                                          db_int(r->speech_ms),
                                          db_int(r->covered_ms),
                                          db_int(r->word_count),
                                          r->confidence < 0 ? db_null() : db_real(r->confidence),
                                          db_int(r->processing_ms),
                                          now,
                                          r->language_probability <= 0 ? db_null() : db_real(r->language_probability),
                                          db_text(r->warning)};
    memcpy(ret, v, sizeof v);
}

/* Statements that decide for themselves whether they may write: see store_worker.c. */
int store_complete(struct store *s, const struct claim *c, const struct job_result *r, int64_t *ret_seq,
                   struct err *err)
{
    struct db_val now = db_int(db_clock(s->db)), result[RESULT_ARGS];
    struct store_int_row seq = {.n = 1};
    result_args(c, r, now, result);
    struct db_stmt stmts[] = {
        {.sql = "UPDATE jobs SET state = 'completed', finished_at = $4, updated_at = $4, lease_until = NULL, "
                "deaths = 0, duration_ms = $5, progress_ms = $5, error_class = NULL, error_message = NULL, "
                "seq = seq + 1" FENCED "AND chunks_done = chunks_total RETURNING seq",
         .args = (const struct db_val[]){FENCED_ARGS(c), now, db_int(r->duration_ms)},
         .n_args = 5,
         .row = store_on_ints,
         .row_arg = &seq},
        {.sql = add_result, .args = result, .n_args = RESULT_ARGS},
    };
    int rc = db_write_stmts(s->db, DB_DURABLE, stmts, ARRAY_LEN(stmts), err);
    if (rc < 0)
        return rc;
    if (!seq.found)
        return why_not_completed(s, c, err);
    *ret_seq = seq.v[0];
    return 0;
}

int store_complete_whole(struct store *s, const struct claim *c, const char *plan_json, const struct job_chunk *chunk,
                         const struct job_result *r, int64_t *ret_seq, struct err *err)
{
    struct db_val now = db_int(db_clock(s->db)), result[RESULT_ARGS];
    struct store_int_row seq = {.n = 1};
    result_args(c, r, now, result);
    struct db_stmt stmts[] = {
        {.sql = "UPDATE jobs SET state = 'completed', finished_at = $4, updated_at = $4, lease_until = NULL, "
                "deaths = 0, checkpointed = 1, duration_ms = $5, progress_ms = $5, plan = $6, chunks_total = $7, "
                "chunks_done = $7, error_class = NULL, error_message = NULL, seq = seq + 1 + $7" FENCED
                "AND plan IS NULL RETURNING seq",
         .args = (const struct db_val[]){FENCED_ARGS(c), now, db_int(r->duration_ms), db_text(plan_json),
                                         db_int(chunk ? 1 : 0)},
         .n_args = 7,
         .row = store_on_ints,
         .row_arg = &seq},
        {.sql = add_result, .args = result, .n_args = RESULT_ARGS},
        {.sql = "INSERT INTO chunks (job_id, idx, start_sample, end_sample, fence, result, engine_state, engine_ms, "
                "finished_at, seq) SELECT id, 0, CAST($4 AS BIGINT), CAST($5 AS BIGINT), fence, CAST($6 AS TEXT), "
                "CAST($7 AS TEXT), CAST($8 AS BIGINT), CAST($9 AS BIGINT), seq - 1" COMPLETED
                "ON CONFLICT (job_id, idx) DO NOTHING",
         .args = chunk ? (const struct db_val[]){FENCED_ARGS(c), db_int(chunk->start_sample), db_int(chunk->end_sample),
                                                 db_text(chunk->result), db_text(chunk->engine_state),
                                                 db_int(chunk->engine_ms), now}
                       : NULL,
         .n_args = 9},
    };
    int rc = db_write_stmts(s->db, DB_DURABLE, stmts, ARRAY_LEN(stmts) - !chunk, err);
    if (rc < 0)
        return rc;
    if (!seq.found)
        return store_lost(c, err);
    *ret_seq = seq.v[0];
    return 0;
}

struct failure_call {
    const struct claim *claim;
    struct job_failure failure; /* cleaned */
    int64_t delay_ms, seq;
};

static int retry_later_fn(struct db_tx *tx, void *arg, struct err *err)
{
    struct failure_call *c = arg;
    int64_t now = db_now(tx), found[2];
    int rc = store_ints(
        tx,
        "UPDATE jobs SET state = 'pending', queue = $4, queue_rank = $5, run_after = $6, updated_at = $7, "
        "announced_at = NULL, lease_until = NULL, error_class = $8, error_message = $9, seq = seq + 1" FENCED
        "RETURNING seq, attempt",
        DB_ARGS(FENCED_ARGS(c->claim), db_text(job_queue_name(QUEUE_RETRY)), db_int(QUEUE_RETRY),
                db_int(now + c->delay_ms), db_int(now), db_text(c->failure.error_class), db_text(c->failure.message)),
        found, 2, err);
    if (rc < 0)
        return rc;
    if (rc == 0)
        return store_lost(c->claim, err);
    c->seq = found[0];
    return store_add_error(tx, c->claim->id, &c->failure, found[1], false, err);
}

static int fail_fn(struct db_tx *tx, void *arg, struct err *err)
{
    struct failure_call *c = arg;
    int64_t now = db_now(tx), found[2];
    int rc = store_ints(
        tx,
        "UPDATE jobs SET state = 'failed', finished_at = $4, updated_at = $4, lease_until = NULL, error_class = $5, "
        "error_message = $6, seq = seq + 1" FENCED "RETURNING seq, attempt",
        DB_ARGS(FENCED_ARGS(c->claim), db_int(now), db_text(c->failure.error_class), db_text(c->failure.message)),
        found, 2, err);
    if (rc < 0)
        return rc;
    if (rc == 0)
        return store_lost(c->claim, err);
    c->seq = found[0];
    return store_add_error(tx, c->claim->id, &c->failure, found[1], true, err);
}

/* Runs one of the two above with the failure's texts cleaned. */
static int end_with_failure(struct store *s, enum db_durability how, db_tx_fn fn, const struct claim *c,
                            const struct job_failure *f, int64_t delay_ms, int64_t *ret_seq, struct err *err)
{
    CLEANUP(arena_clear) struct arena a = ARENA_INIT;
    struct failure_call call = {.claim = c, .delay_ms = delay_ms};
    int rc = store_clean_failure(&a, f, &call.failure, err);
    if (rc >= 0)
        rc = db_write(s->db, how, fn, &call, err);
    if (rc < 0)
        return rc;
    *ret_seq = call.seq;
    return 0;
}

int store_retry_later(struct store *s, const struct claim *c, const struct job_failure *f, int64_t delay_ms,
                      int64_t *ret_seq, struct err *err)
{
    return end_with_failure(s, DB_RELAXED, retry_later_fn, c, f, delay_ms, ret_seq, err);
}

int store_fail(struct store *s, const struct claim *c, const struct job_failure *f, int64_t *ret_seq, struct err *err)
{
    return end_with_failure(s, DB_DURABLE, fail_fn, c, f, 0, ret_seq, err);
}

static int hand_back_fn(struct db_tx *tx, void *arg, struct err *err)
{
    struct failure_call *c = arg;
    int64_t now = db_now(tx);
    int rc = store_ints(tx,
                        "UPDATE jobs SET state = 'pending', run_after = $4, updated_at = $5, announced_at = NULL, "
                        "lease_until = NULL, attempt = attempt - 1, seq = seq + 1" FENCED "RETURNING seq",
                        DB_ARGS(FENCED_ARGS(c->claim), db_int(now + c->delay_ms), db_int(now)), &c->seq, 1, err);
    return rc ? MIN(rc, 0) : store_lost(c->claim, err);
}

int store_hand_back(struct store *s, const struct claim *c, int64_t delay_ms, int64_t *ret_seq, struct err *err)
{
    struct failure_call call = {.claim = c, .delay_ms = delay_ms};
    int rc = db_write(s->db, DB_RELAXED, hand_back_fn, &call, err);
    if (rc < 0)
        return rc;
    *ret_seq = call.seq;
    return 0;
}
