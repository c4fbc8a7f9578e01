/* SPDX-License-Identifier: MIT */
/* What clients ask for: submit, look, cancel, purge, retry. */
#include "job/store_internal.h"

#include "base/id.h"

/* The insert of an earlier try may have been kept although its answer was lost. */
static int check_same(struct store *s, const struct job_new *j, struct err *err)
{
    int64_t n = 0;
    int rc = store_read_ints(s, "SELECT count(*) FROM jobs WHERE id = $1 AND audio_key = $2 AND audio_sha256 = $3",
                             DB_ARGS(db_text(j->id), db_text(j->audio_key), db_text(j->audio_sha256)), &n, 1, err);
    if (rc < 0)
        return rc;
    return n ? 0 : err_set(err, ERR_CONFLICT, "a job with the id %s exists already", j->id);
}

static int check_there(struct store *s, const struct job_new *j, struct err *err)
{
    int64_t n = 0;
    int rc = store_read_ints(s, "SELECT count(*) FROM jobs WHERE id = $1", DB_ARGS(db_text(j->id)), &n, 1, err);
    if (rc < 0)
        return rc;
    return n ? check_same(s, j, err)
             : err_set(err, ERR_BUSY, "the queue is full: %lld jobs are waiting", (long long)j->max_queue);
}

#define INSERT_JOB                                                                                                     \
    "INSERT INTO jobs (id, state, queue, queue_rank, created_at, updated_at, run_after, engine, model, language, "     \
    "task, prompt, description, options, filename, content_type, audio_key, audio_sha256, audio_bytes, max_attempts, " \
    "announced_at, request_id, small) "
#define JOB_VALUES \
    "$1, 'pending', $2, $3, $4, $4, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20"
/* A SELECT does not take its types from the table, as VALUES does. */
#define JOB_SELECTED                                                                                                 \
    "CAST($1 AS TEXT), 'pending', CAST($2 AS TEXT), CAST($3 AS BIGINT), CAST($4 AS BIGINT), CAST($4 AS BIGINT), "    \
    "CAST($4 AS BIGINT), CAST($5 AS TEXT), CAST($6 AS TEXT), CAST($7 AS TEXT), CAST($8 AS TEXT), CAST($9 AS TEXT), " \
    "CAST($10 AS TEXT), CAST($11 AS TEXT), CAST($12 AS TEXT), CAST($13 AS TEXT), CAST($14 AS TEXT), "                \
    "CAST($15 AS TEXT), CAST($16 AS BIGINT), CAST($17 AS BIGINT), CAST($18 AS BIGINT), CAST($19 AS TEXT), "          \
    "CAST($20 AS BIGINT)"

int64_t store_now(struct store *s)
{
    return db_clock(s->db);
}

/*
 * One statement, so that submits of many clients can share a round trip and a commit. With a limit it looks at no more
 * rows than the limit; on PostgreSQL submits that run at the same time do not see each other, and a few too many may
 * get in.
 */
int store_submit(struct store *s, const struct job_new *job, struct err *err)
{
    const struct job_new *j = job;
    if (!j->id || !id_valid(j->id))
        return err_set(err, ERR_INVALID, "a job id must be a UUID in lower case");
    int64_t now = j->created_at ? j->created_at : db_clock(s->db);
    const struct db_val args[] = {
        db_text(j->id),
        db_text(job_queue_name(j->queue)),
        db_int(j->queue),
        db_int(now),
        db_text(j->engine),
        db_text(j->model),
        db_text(j->language),
        db_text(j->task ? j->task : "transcribe"),
        db_text(j->prompt),
        db_text(j->description),
        db_text(j->options),
        db_text(j->filename),
        db_text(j->content_type),
        db_text(j->audio_key),
        db_text(j->audio_sha256),
        db_int(j->audio_bytes),
        db_int(s->opts.max_attempts),
        j->announced ? db_int(now) : db_null(),
        db_text(j->request_id),
        db_int(j->audio_bytes <= s->opts.small_bytes),
        db_int(j->max_queue - 1),
    };
    bool limited = j->max_queue > 0;
    struct db_stmt stmts[2] = {{
        .sql = limited ? INSERT_JOB "SELECT " JOB_SELECTED " WHERE NOT EXISTS (SELECT 1 FROM jobs WHERE "
                                    "state = 'pending' LIMIT 1 OFFSET $21) ON CONFLICT (id) DO NOTHING"
                       : INSERT_JOB "VALUES (" JOB_VALUES ") ON CONFLICT (id) DO NOTHING",
        .args = args,
        .n_args = ARRAY_LEN(args) - !limited,
    }};
    stmts[1] = (struct db_stmt){
        .sql = "UPDATE uploads SET used_at = $2, job_id = $1, size = $3, etag = $4 WHERE id = $1 AND used_at IS NULL "
               "AND EXISTS (SELECT 1 FROM jobs WHERE id = $1)",
        .args = (const struct db_val[]){db_text(j->id), db_int(now), db_int(j->audio_bytes), db_text(j->audio_sha256)},
        .n_args = 4,
    };
    size_t n = j->uploaded ? 2 : 1;
    if (j->key)
        return store_submit_with_key(s, j, stmts, n, err);
    int rc = db_write_stmts(s->db, DB_DURABLE, stmts, n, err);
    if (rc < 0)
        return rc;
    return stmts[0].changed ? 0 : check_there(s, j, err);
}

struct id_call {
    const char *id;
    int64_t seq;
};

int store_mark_announced(struct store *s, const char *id, struct err *err)
{
    struct db_stmt stmt = {.sql = "UPDATE jobs SET announced_at = $2 WHERE id = $1 AND state = 'pending'",
                           .args = (const struct db_val[]){db_text(id), db_int(db_clock(s->db))},
                           .n_args = 2};
    return db_write_stmts(s->db, DB_RELAXED, &stmt, 1, err);
}

int store_not_announced(struct store *s, const char *id, struct err *err)
{
    struct db_stmt stmt = {.sql = "UPDATE jobs SET announced_at = NULL WHERE id = $1 AND state = 'pending'",
                           .args = (const struct db_val[]){db_text(id)},
                           .n_args = 1};
    return db_write_stmts(s->db, DB_RELAXED, &stmt, 1, err);
}

struct get_call {
    const char *id;
    struct arena *arena;
    struct job job;
    struct job_result result;
    bool found;
};

static int on_job(const struct db_row *row, void *arg, struct err *err)
{
    struct get_call *c = arg;
    c->found = true;
    return row_job(row, 0, c->arena, &c->job, err);
}

int store_get(struct store *s, const char *id, struct arena *a, struct job *ret, struct err *err)
{
    struct get_call c = {.id = id, .arena = a};
    struct db_stmt stmt = {.sql = "SELECT " JOB_COLUMNS " FROM jobs WHERE id = $1",
                           .args = (const struct db_val[]){db_text(id)},
                           .n_args = 1,
                           .row = on_job,
                           .row_arg = &c};
    int rc = db_read_stmt(s->db, &stmt, err);
    if (rc < 0)
        return rc;
    if (!c.found)
        return store_no_job(id, err);
    *ret = c.job;
    return 0;
}

static int on_result(const struct db_row *row, void *arg, struct err *err)
{
    struct get_call *c = arg;
    c->found = true;
    return row_result(row, 0, c->arena, &c->result, err);
}

static int result_fn(struct db_tx *tx, void *arg, struct err *err)
{
    struct get_call *c = arg;
    c->found = false;
    int rc = db_query(tx, "SELECT " RESULT_COLUMNS " FROM results WHERE job_id = $1", DB_ARGS(db_text(c->id)),
                      on_result, c, err);
    if (rc < 0 || c->found)
        return rc;
    enum job_state state;
    rc = store_state(tx, c->id, &state, err);
    if (rc < 0)
        return rc;
    if (rc == 0)
        return store_no_job(c->id, err);
    return err_set(err, ERR_CONFLICT, "job %s is %s: it has no transcript%s", c->id, job_state_name(state),
                   job_state_terminal(state) ? "" : " yet");
}

int store_get_result(struct store *s, const char *id, struct arena *a, struct job_result *ret, struct err *err)
{
    struct get_call c = {.id = id, .arena = a};
    int rc = db_read(s->db, result_fn, &c, err);
    if (rc < 0)
        return rc;
    *ret = c.result;
    return 0;
}

static int cancel_fn(struct db_tx *tx, void *arg, struct err *err)
{
    struct id_call *c = arg;
    int rc = store_ints(tx,
                        "UPDATE jobs SET state = 'cancelled', finished_at = $2, updated_at = $2, lease_until = NULL, "
                        "seq = seq + 1 WHERE id = $1 AND state IN ('pending', 'processing') RETURNING seq",
                        DB_ARGS(db_text(c->id), db_int(db_now(tx))), &c->seq, 1, err);
    if (rc != 0)
        return rc;
    enum job_state state;
    rc = store_state(tx, c->id, &state, err);
    if (rc < 0)
        return rc;
    return rc ? 0 : store_no_job(c->id, err);
}

int store_cancel(struct store *s, const char *id, int64_t *ret_seq, struct err *err)
{
    struct id_call c = {.id = id};
    int rc = db_write(s->db, DB_DURABLE, cancel_fn, &c, err);
    if (rc == 1)
        *ret_seq = c.seq;
    return rc;
}

/* NOT_FOUND, or CONFLICT because the job is in another state than the call needs. */
static int wrong_state(struct db_tx *tx, const char *id, const char *needs, struct err *err)
{
    enum job_state state;
    int rc = store_state(tx, id, &state, err);
    if (rc < 0)
        return rc;
    if (rc == 0)
        return store_no_job(id, err);
    return err_set(err, ERR_CONFLICT, "job %s is %s: %s", id, job_state_name(state), needs);
}

static int purge_fn(struct db_tx *tx, void *arg, struct err *err)
{
    const struct id_call *c = arg;
    /* Chunks, result and errors go with it. */
    int64_t n = db_exec(tx, "DELETE FROM jobs WHERE id = $1 AND state IN ('completed', 'failed', 'cancelled')",
                        DB_ARGS(db_text(c->id)), err);
    if (n < 0)
        return err->code;
    if (n == 0)
        return wrong_state(tx, c->id, "only an ended job can be purged, cancel it first", err);
    return db_exec(tx, "DELETE FROM uploads WHERE job_id = $1", DB_ARGS(db_text(c->id)), err) < 0 ? err->code : 0;
}

int store_purge(struct store *s, const char *id, struct err *err)
{
    return db_write(s->db, DB_DURABLE, purge_fn, &(struct id_call){.id = id}, err);
}

static int retry_fn(struct db_tx *tx, void *arg, struct err *err)
{
    struct id_call *c = arg;
    int64_t now = db_now(tx), found[2];
    int rc = store_ints(tx,
                        "UPDATE jobs SET state = 'pending', queue = $2, queue_rank = $3, run_after = $4, "
                        "updated_at = $4, finished_at = NULL, announced_at = NULL, attempt = 0, deaths = 0, "
                        "checkpointed = 0, error_class = NULL, error_message = NULL, seq = seq + 1 "
                        "WHERE id = $1 AND state = 'failed' RETURNING seq, audio_gone_at",
                        DB_ARGS(db_text(c->id), db_text(job_queue_name(QUEUE_RETRY)), db_int(QUEUE_RETRY), db_int(now)),
                        found, 2, err);
    if (rc < 0)
        return rc;
    if (rc == 0)
        return wrong_state(tx, c->id, "only a failed job can be retried", err);
    if (found[1])
        return err_set(err, ERR_CONFLICT, "the recording of job %s was deleted: submit it again", c->id);
    c->seq = found[0];
    return db_exec(tx,
                   "UPDATE error_logs SET resolved = 1, resolved_at = $2 "
                   "WHERE job_id = $1 AND dead = 1 AND resolved = 0",
                   DB_ARGS(db_text(c->id), db_int(now)), err) < 0
               ? err->code
               : 0;
}

int store_retry_failed(struct store *s, const char *id, int64_t *ret_seq, struct err *err)
{
    struct id_call c = {.id = id};
    int rc = db_write(s->db, DB_DURABLE, retry_fn, &c, err);
    if (rc < 0)
        return rc;
    *ret_seq = c.seq;
    return 0;
}
