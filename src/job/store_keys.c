/* SPDX-License-Identifier: MIT */
/*
 * Keys of submissions. A key without a job belongs to its holder until the lease ends; whoever takes it over changes
 * the holder, and the statements of the one before change no row any more.
 */
#include "job/store_internal.h"

#define OF_HOLDER " WHERE scope = $1 AND name = $2 AND holder = $3 "

struct claim_call {
    const struct job_key *key;
    struct arena *arena;
    struct kept_answer kept;
    int64_t lease_until;
    int64_t wait_ms;
    bool found;
};

static int on_key(const struct db_row *row, void *arg, struct err *err)
{
    struct claim_call *c = arg;
    struct row_reader r = {.row = row, .arena = c->arena};
    struct kept_answer k = {0};
    c->lease_until = row_int(&r);
    k.fingerprint = row_text(&r);
    k.job_id = row_text(&r);
    k.status = row_int(&r);
    k.content_type = row_text(&r);
    k.headers = row_text(&r);
    k.body = row_text(&r);
    c->kept = k;
    c->found = true;
    return row_check(&r, err);
}

static int claim_fn(struct db_tx *tx, void *arg, struct err *err)
{
    struct claim_call *c = arg;
    const struct job_key *k = c->key;
    int64_t now = db_now(tx);
    c->found = false;
    int64_t n = db_exec(tx,
                        "INSERT INTO submission_keys (scope, name, holder, lease_until, expires_at) "
                        "VALUES ($1, $2, $3, $4, $5) ON CONFLICT (scope, name) DO UPDATE SET holder = $3, "
                        "lease_until = $4, expires_at = $5, fingerprint = NULL, job_id = NULL, status = NULL, "
                        "content_type = NULL, headers = NULL, body = NULL "
                        "WHERE submission_keys.expires_at <= $6 "
                        "OR (submission_keys.job_id IS NULL AND submission_keys.lease_until <= $6)",
                        DB_ARGS(db_text(k->scope), db_text(k->name), db_text(k->holder), db_int(now + k->lease_ms),
                                db_int(now + k->keep_ms), db_int(now)),
                        err);
    if (n != 0)
        return n < 0 ? err->code : 1;
    int rc = db_query(tx,
                      "SELECT lease_until, fingerprint, job_id, status, content_type, headers, body "
                      "FROM submission_keys WHERE scope = $1 AND name = $2",
                      DB_ARGS(db_text(k->scope), db_text(k->name)), on_key, c, err);
    if (rc < 0 || (c->found && c->kept.job_id))
        return rc < 0 ? rc : 0;
    c->wait_ms = c->found && c->lease_until > now ? c->lease_until - now : 0;
    return err_set(err, ERR_BUSY, "a request with this key is under way");
}

int store_key_claim(struct store *s, const struct job_key *key, struct arena *a, struct kept_answer *ret,
                    int64_t *ret_wait_ms, struct err *err)
{
    struct claim_call c = {.key = key, .arena = a};
    int rc = db_write(s->db, DB_RELAXED, claim_fn, &c, err);
    if (rc == 0)
        *ret = c.kept;
    if (rc == ERR_BUSY)
        *ret_wait_ms = c.wait_ms;
    return rc;
}

static int lost(const struct job_key *key, struct err *err)
{
    return err_set(err, ERR_LOST, "another request with the key '%.64s' came first", key->name);
}

int store_key_renew(struct store *s, const struct job_key *key, struct err *err)
{
    struct db_stmt stmt = {
        .sql = "UPDATE submission_keys SET lease_until = $4" OF_HOLDER "AND job_id IS NULL",
        .args = (const struct db_val[]){db_text(key->scope), db_text(key->name), db_text(key->holder),
                                        db_int(db_clock(s->db) + key->lease_ms)},
        .n_args = 4,
    };
    int rc = db_write_stmts(s->db, DB_RELAXED, &stmt, 1, err);
    return rc < 0 ? rc : stmt.changed ? 0 : lost(key, err);
}

int store_key_release(struct store *s, const struct job_key *key, struct err *err)
{
    struct db_stmt stmt = {
        .sql = "DELETE FROM submission_keys" OF_HOLDER "AND job_id IS NULL",
        .args = (const struct db_val[]){db_text(key->scope), db_text(key->name), db_text(key->holder)},
        .n_args = 3,
    };
    return db_write_stmts(s->db, DB_RELAXED, &stmt, 1, err);
}

int store_key_answer(struct store *s, const struct job_key *key, const struct kept_answer *answer, struct err *err)
{
    struct db_stmt stmt = {
        .sql = "UPDATE submission_keys SET status = $4, content_type = $5, headers = $6, body = $7" OF_HOLDER
               "AND job_id IS NOT NULL",
        .args = (const struct db_val[]){db_text(key->scope), db_text(key->name), db_text(key->holder),
                                        db_int(answer->status), db_text(answer->content_type), db_text(answer->headers),
                                        db_text(answer->body)},
        .n_args = 7,
    };
    return db_write_stmts(s->db, DB_RELAXED, &stmt, 1, err);
}

int store_drop_keys(struct store *s, struct err *err)
{
    struct db_stmt stmt = {
        .sql = "DELETE FROM submission_keys WHERE expires_at <= $1",
        .args = (const struct db_val[]){db_int(db_clock(s->db))},
        .n_args = 1,
    };
    return db_write_stmts(s->db, DB_RELAXED, &stmt, 1, err);
}

/* ---- binding a key to its job ---- */

struct bind_call {
    const struct job_new *job;
    const struct db_stmt *stmts;
    size_t n;
};

/* Is it bound to this job already, by a first try whose answer was lost? */
static int bound_before(struct db_tx *tx, const struct job_new *j, struct err *err)
{
    int64_t n = 0;
    int rc = store_ints(tx, "SELECT count(*) FROM submission_keys" OF_HOLDER "AND job_id = $4",
                        DB_ARGS(db_text(j->key->scope), db_text(j->key->name), db_text(j->key->holder), db_text(j->id)),
                        &n, 1, err);
    return rc < 0 ? rc : n ? 0 : lost(j->key, err);
}

/* The job was not inserted. */
static int no_room(struct db_tx *tx, const struct job_new *j, struct err *err)
{
    int64_t n = 0;
    int rc = store_ints(tx, "SELECT count(*) FROM jobs WHERE id = $1", DB_ARGS(db_text(j->id)), &n, 1, err);
    if (rc < 0)
        return rc;
    if (n)
        return err_set(err, ERR_CONFLICT, "a job with the id %s exists already", j->id);
    return err_set(err, ERR_BUSY, "the queue is full: %lld jobs are waiting", (long long)j->max_queue);
}

static int bind_fn(struct db_tx *tx, void *arg, struct err *err)
{
    const struct bind_call *c = arg;
    const struct job_new *j = c->job;
    const struct db_val scope = db_text(j->key->scope), name = db_text(j->key->name), holder = db_text(j->key->holder);
    /* First the key, which locks its row: nobody can take it over from here on. */
    int64_t changed = db_exec(tx, "UPDATE submission_keys SET fingerprint = $4" OF_HOLDER "AND job_id IS NULL",
                              DB_ARGS(scope, name, holder, db_text(j->fingerprint)), err);
    if (changed == 0)
        return bound_before(tx, j, err);
    for (size_t i = 0; i < c->n && changed >= 0; i++) {
        changed = db_exec(tx, c->stmts[i].sql, c->stmts[i].args, c->stmts[i].n_args, err);
        if (i == 0 && changed == 0)
            return no_room(tx, j, err);
    }
    if (changed >= 0)
        changed = db_exec(tx, "UPDATE submission_keys SET job_id = $4" OF_HOLDER,
                          DB_ARGS(scope, name, holder, db_text(j->id)), err);
    return changed < 0 ? err->code : 0;
}

int store_submit_with_key(struct store *s, const struct job_new *job, const struct db_stmt *stmts, size_t n,
                          struct err *err)
{
    return db_write(s->db, DB_DURABLE, bind_fn, &(struct bind_call){job, stmts, n}, err);
}
