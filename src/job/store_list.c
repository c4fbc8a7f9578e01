/* SPDX-License-Identifier: MIT */
/* Lists, counts and places in the queue: reads only. */
#include "job/store_internal.h"

#include "base/str.h"

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
    const struct db_val args[] = {db_int(created_at), db_text(id), db_int(f->limit + 1), db_int(f->offset),
                                  db_text(job_state_name(f->state))};
    struct db_stmt stmt = {
        .sql = f->any_state ? "SELECT " JOB_COLUMNS_LISTED " FROM jobs WHERE (created_at, id) < ($1, $2) "
                              "ORDER BY created_at DESC, id DESC LIMIT $3 OFFSET $4"
                            : "SELECT " JOB_COLUMNS_LISTED
                              " FROM jobs WHERE state = $5 AND (created_at, id) < ($1, $2) "
                              "ORDER BY created_at DESC, id DESC LIMIT $3 OFFSET $4",
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

struct results_call {
    const struct job_page *page;
    struct arena *arena;
    struct job_result *results;
};

static int on_page_result(const struct db_row *row, void *arg, struct err *err)
{
    struct results_call *c = arg;
    const char *id = db_col_text(row, 0);
    size_t i = 0;
    while (i < c->page->n && !str_eq(c->page->jobs[i].id, id))
        i++;
    if (i == c->page->n)
        return 0; /* a job of another state than the page lists */
    return row_result(row, 1, c->arena, &c->results[i], err);
}

int store_page_results(struct store *s, const struct job_page *page, struct arena *a, struct job_result *ret,
                       struct err *err)
{
    for (size_t i = 0; i < page->n; i++)
        ret[i] = (struct job_result){.text = NULL};
    if (!page->n)
        return 0;
    struct results_call c = {.page = page, .arena = a, .results = ret};
    const struct job *newest = &page->jobs[0], *oldest = &page->jobs[page->n - 1];
    struct db_stmt stmt = {
        .sql = "SELECT job_id, " RESULT_COLUMNS " FROM results WHERE job_id IN (SELECT id FROM jobs WHERE "
               "(created_at, id) <= ($1, $2) AND (created_at, id) >= ($3, $4))",
        .args = (const struct db_val[]){db_int(newest->created_at), db_text(newest->id), db_int(oldest->created_at),
                                        db_text(oldest->id)},
        .n_args = 4,
        .row = on_page_result,
        .row_arg = &c,
    };
    return db_read_stmt(s->db, &stmt, err);
}

int store_pace(struct store *s, struct store_pace *ret, struct err *err)
{
    int64_t n[2] = {0};
    int rc = store_read_ints(s,
                             "SELECT coalesce(CAST(avg(r.processing_ms) AS BIGINT), 0), "
                             "(SELECT count(*) FROM jobs WHERE state = 'processing') "
                             "FROM (SELECT id FROM jobs WHERE finished_at IS NOT NULL "
                             "ORDER BY finished_at DESC, id DESC LIMIT 20) j JOIN results r ON r.job_id = j.id",
                             DB_NO_ARGS, n, 2, err);
    if (rc < 0)
        return rc;
    *ret = (struct store_pace){.mean_ms = n[0], .processing = n[1]};
    return 0;
}

struct counts_call {
    struct store_counts counts;
    int64_t now;
    bool ended;
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
    int64_t rank = db_col_int(row, 0), ready = db_col_int(row, 1);
    if (rank < 0 || rank >= QUEUE_COUNT)
        return 0;
    c->counts.ready[rank] = ready;
    c->counts.delayed_in[rank] = db_col_int(row, 2) - ready;
    c->counts.delayed += c->counts.delayed_in[rank];
    c->counts.oldest_in[rank] = ready ? c->now - db_col_int(row, 3) : 0;
    c->counts.oldest_pending_ms = MAX(c->counts.oldest_pending_ms, c->counts.oldest_in[rank]);
    return 0;
}

static int on_paused(const struct db_row *row, void *arg, struct err *err)
{
    (void)err;
    struct counts_call *c = arg;
    enum job_queue q;
    if (job_queue_parse(db_col_text(row, 0), &q))
        c->counts.paused_at[q] = db_col_int(row, 1);
    return 0;
}

static int counts_fn(struct db_tx *tx, void *arg, struct err *err)
{
    struct counts_call *c = arg;
    *c = (struct counts_call){.now = db_now(tx), .ended = c->ended};
    const char *sql = c->ended
                          ? "SELECT state, count(*) FROM jobs GROUP BY state"
                          : "SELECT state, count(*) FROM jobs WHERE state IN ('pending', 'processing') GROUP BY state";
    int rc = db_query(tx, sql, DB_NO_ARGS, on_state_count, c, err);
    if (rc >= 0)
        rc = db_query(tx,
                      "SELECT queue_rank, count(CASE WHEN run_after <= $1 THEN 1 END), count(*), min(run_after) "
                      "FROM jobs WHERE state = 'pending' GROUP BY queue_rank",
                      DB_ARGS(db_int(c->now)), on_ready_count, c, err);
    if (rc >= 0)
        rc = db_query(tx, "SELECT queue, paused_at FROM paused_queues", DB_NO_ARGS, on_paused, c, err);
    return MIN(rc, 0);
}

int store_counts(struct store *s, bool ended, struct store_counts *ret, struct err *err)
{
    struct counts_call c = {.ended = ended};
    int rc = db_read(s->db, counts_fn, &c, err);
    if (rc < 0)
        return rc;
    *ret = c.counts;
    return 0;
}

struct look_call {
    struct arena *arena;
    struct job job;
    struct store_place place;
    bool found;
};

static int on_look(const struct db_row *row, void *arg, struct err *err)
{
    struct look_call *c = arg;
    c->found = true;
    c->place = (struct store_place){.position = db_col_int(row, 0), .paused = db_col_int(row, 1) != 0};
    return row_job(row, 2, c->arena, &c->job, err);
}

/*
 * Follows the order of the claim statement in store.c. $2 is now, $3 where counting ends. Of other queues only those
 * count that are served.
 */
/* clang-format off */
#define COUNT_PENDING(which) \
    "(SELECT count(*) FROM (SELECT 1 FROM jobs q WHERE q.state = 'pending' AND q.run_after <= $2 " which " LIMIT $3) x)"
#define SERVED "AND (q.queue_rank = j.queue_rank OR q.queue NOT IN (SELECT queue FROM paused_queues)) "
#define LOOK(ahead)                                                                                           \
    "SELECT CASE WHEN j.state <> 'pending' THEN -1 "                                                          \
    "WHEN j.run_after > $2 THEN " COUNT_PENDING(SERVED) " "                                                   \
    "ELSE " COUNT_PENDING("AND q.queue_rank < j.queue_rank " SERVED) " + "                                    \
    COUNT_PENDING("AND q.queue_rank = j.queue_rank AND (q.created_at, q.id) " ahead " (j.created_at, j.id)")  \
    " END, CASE WHEN EXISTS (SELECT 1 FROM paused_queues p WHERE p.queue = j.queue) THEN 1 ELSE 0 END, "      \
    JOB_COLUMNS " FROM jobs j WHERE id = $1"
/* clang-format on */

int store_look(struct store *s, const char *id, int64_t max_position, struct arena *a, struct job *ret,
               struct store_place *ret_place, struct err *err)
{
    struct look_call c = {.arena = a};
    struct db_stmt stmt = {
        .sql = s->opts.order == JOB_LIFO ? LOOK(">") : LOOK("<"),
        .args = (const struct db_val[]){db_text(id), db_int(db_clock(s->db)), db_int(max_position + 1)},
        .n_args = 3,
        .row = on_look,
        .row_arg = &c,
    };
    int rc = db_read_stmt(s->db, &stmt, err);
    if (rc < 0)
        return rc;
    if (!c.found)
        return store_no_job(id, err);
    *ret = c.job;
    *ret_place = c.place;
    if (c.place.position > max_position)
        ret_place->position = -1;
    return 0;
}
