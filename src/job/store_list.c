/* SPDX-License-Identifier: MIT */
/* Lists, counts and places in the queue: reads only. */
#include "job/store_internal.h"

int store_list(struct store *s, const struct job_filter *f, struct arena *a, struct job_page *ret, struct err *err)
{
    int64_t created_at = 0;
    const char *id = NULL;
    struct job_rows rows;
    int rc = store_limit_check(f->limit, err);
    if (rc >= 0)
        rc = store_cursor_parse(f->cursor, &created_at, &id, err);
    if (rc >= 0)
        rc = job_rows_init(&rows, a, f->limit, err);
    if (rc < 0)
        return rc;
    /* One row more tells whether there is a next page. */
    const struct db_val args[] = {db_int(created_at), db_text(id), db_int(f->limit + 1),
                                  db_text(job_state_name(f->state))};
    struct db_stmt stmt = {
        .sql = f->any_state ? "SELECT " JOB_COLUMNS_LISTED " FROM jobs WHERE (created_at, id) < ($1, $2) "
                              "ORDER BY created_at DESC, id DESC LIMIT $3"
                            : "SELECT " JOB_COLUMNS_LISTED
                              " FROM jobs WHERE state = $4 AND (created_at, id) < ($1, $2) "
                              "ORDER BY created_at DESC, id DESC LIMIT $3",
        .args = args,
        .n_args = ARRAY_LEN(args) - f->any_state,
        .row = job_rows_add,
        .row_arg = &rows,
    };
    rc = db_read_stmt(s->db, &stmt, err);
    if (rc < 0)
        return rc;
    const char *next = NULL;
    if (rows.more) {
        const struct job *last = &rows.jobs[rows.n - 1];
        next = store_cursor(a, last->created_at, last->id);
        if (!next)
            return err_set(err, ERR_NOMEM, "out of memory for a list of jobs");
    }
    *ret = (struct job_page){rows.jobs, rows.n, next};
    return 0;
}

struct counts_call {
    struct store_counts counts;
    int64_t now;
};

static int on_state_count(const struct db_row *row, void *arg, struct err *err)
{
    (void)err;
    struct counts_call *c = arg;
    enum job_state state;
    if (job_state_parse(db_col_text(row, 0), &state))
        c->counts.by_state[state] = db_col_int(row, 1);
    return 0;
}

static int on_ready_count(const struct db_row *row, void *arg, struct err *err)
{
    (void)err;
    struct counts_call *c = arg;
    int64_t rank = db_col_int(row, 0), due_since = db_col_int(row, 2);
    if (rank >= 0 && rank < QUEUE_COUNT)
        c->counts.ready[rank] = db_col_int(row, 1);
    c->counts.oldest_pending_ms = MAX(c->counts.oldest_pending_ms, c->now - due_since);
    return 0;
}

static int counts_fn(struct db_tx *tx, void *arg, struct err *err)
{
    struct counts_call *c = arg;
    *c = (struct counts_call){.now = db_now(tx)};
    int rc = db_query(tx, "SELECT state, count(*) FROM jobs GROUP BY state", DB_NO_ARGS, on_state_count, c, err);
    if (rc >= 0)
        rc = db_query(tx,
                      "SELECT queue_rank, count(*), min(run_after) FROM jobs "
                      "WHERE state = 'pending' AND run_after <= $1 GROUP BY queue_rank",
                      DB_ARGS(db_int(c->now)), on_ready_count, c, err);
    if (rc < 0)
        return rc;
    c->counts.delayed = c->counts.by_state[JOB_PENDING];
    for (int q = 0; q < QUEUE_COUNT; q++)
        c->counts.delayed -= c->counts.ready[q];
    return 0;
}

int store_counts(struct store *s, struct store_counts *ret, struct err *err)
{
    struct counts_call c;
    int rc = db_read(s->db, counts_fn, &c, err);
    if (rc < 0)
        return rc;
    *ret = c.counts;
    return 0;
}

struct position_call {
    const struct store *s;
    const char *id;
    int64_t position;
};

/* Follows the order of the claim statement in store.c. */
static int position_fn(struct db_tx *tx, void *arg, struct err *err)
{
    struct position_call *c = arg;
    int64_t now = db_now(tx), job[3], ahead = 0, beside = 0;
    c->position = -1;
    int rc = store_ints(tx, "SELECT queue_rank, created_at, run_after FROM jobs WHERE id = $1 AND state = 'pending'",
                        DB_ARGS(db_text(c->id)), job, 3, err);
    if (rc < 0)
        return rc;
    if (rc == 0) {
        enum job_state state;
        rc = store_state(tx, c->id, &state, err);
        return rc ? MIN(rc, 0) : store_no_job(c->id, err);
    }
    if (job[2] > now) { /* not due itself: whatever is due goes first */
        rc = store_ints(tx, "SELECT count(*) FROM jobs WHERE state = 'pending' AND run_after <= $1",
                        DB_ARGS(db_int(now)), &ahead, 1, err);
    } else {
        rc = store_ints(tx, "SELECT count(*) FROM jobs WHERE state = 'pending' AND queue_rank < $1 AND run_after <= $2",
                        DB_ARGS(db_int(job[0]), db_int(now)), &ahead, 1, err);
        const char *same_queue =
            c->s->opts.order == JOB_LIFO
                ? "SELECT count(*) FROM jobs WHERE state = 'pending' AND queue_rank = $1 AND run_after <= $2 "
                  "AND (created_at, id) > ($3, $4)"
                : "SELECT count(*) FROM jobs WHERE state = 'pending' AND queue_rank = $1 AND run_after <= $2 "
                  "AND (created_at, id) < ($3, $4)";
        if (rc >= 0)
            rc = store_ints(tx, same_queue, DB_ARGS(db_int(job[0]), db_int(now), db_int(job[1]), db_text(c->id)),
                            &beside, 1, err);
    }
    if (rc < 0)
        return rc;
    c->position = ahead + beside;
    return 0;
}

int store_position(struct store *s, const char *id, int64_t *ret, struct err *err)
{
    struct position_call c = {.s = s, .id = id};
    int rc = db_read(s->db, position_fn, &c, err);
    if (rc < 0)
        return rc;
    *ret = c.position;
    return 0;
}
