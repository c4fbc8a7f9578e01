/* SPDX-License-Identifier: MIT */
/* How a claim ends: completed, failed, or back to the queue. Each is one fenced transaction. */
#include "job/store_internal.h"

struct complete_call {
    const struct claim *claim;
    const struct job_result *result;
    int64_t seq;
};

static int complete_fn(struct db_tx *tx, void *arg, struct err *err)
{
    struct complete_call *c = arg;
    const struct job_result *r = c->result;
    int64_t now = db_now(tx), found[3];
    int rc = store_ints(tx,
                        "UPDATE jobs SET state = 'completed', finished_at = $4, updated_at = $4, lease_until = NULL, "
                        "deaths = 0, duration_ms = $5, progress_ms = $5, error_class = NULL, error_message = NULL, "
                        "seq = seq + 1" FENCED "RETURNING seq, chunks_done, chunks_total",
                        DB_ARGS(FENCED_ARGS(c->claim), db_int(now), db_int(r->duration_ms)), found, 3, err);
    if (rc < 0)
        return rc;
    if (rc == 0)
        return store_lost(c->claim, err);
    if (found[1] != found[2])
        return err_set(err, ERR_INTERNAL, "job %s cannot be completed with %lld of %lld chunks", c->claim->id,
                       (long long)found[1], (long long)found[2]);
    c->seq = found[0];
    int64_t n = db_exec(
        tx,
        "INSERT INTO results (job_id, fence, result_key, text, language, engine, model, duration_ms, speech_ms, "
        "covered_ms, word_count, confidence, processing_ms, created_at, language_probability, warning) "
        "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)",
        DB_ARGS(db_text(c->claim->id), db_int(c->claim->fence), db_text(r->result_key), db_text(r->text),
                db_text(r->language), db_text(r->engine), db_text(r->model), db_int(r->duration_ms),
                db_int(r->speech_ms), db_int(r->covered_ms), db_int(r->word_count),
                r->confidence < 0 ? db_null() : db_real(r->confidence), db_int(r->processing_ms), db_int(now),
                r->language_probability <= 0 ? db_null() : db_real(r->language_probability), db_text(r->warning)),
        err);
    return n < 0 ? err->code : 0;
}

int store_complete(struct store *s, const struct claim *c, const struct job_result *r, int64_t *ret_seq,
                   struct err *err)
{
    struct complete_call call = {.claim = c, .result = r};
    int rc = db_write(s->db, DB_DURABLE, complete_fn, &call, err);
    if (rc < 0)
        return rc;
    *ret_seq = call.seq;
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
