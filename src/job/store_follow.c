/* SPDX-License-Identifier: MIT */
/* What those ask who watch jobs: often, about many, and mostly nothing has changed. Reads only. */
#include "job/store_internal.h"

#include <stdio.h>
#include <string.h>

struct stands_call {
    const char *const *ids;
    size_t n;
    struct job_stand *stands;
};

static int on_stand(const struct db_row *row, void *arg, struct err *err)
{
    const struct stands_call *c = arg;
    const char *id = db_col_text(row, 0);
    struct job_stand x = {.found = true, .seq = db_col_int(row, 2), .paused = db_col_int(row, 3) != 0};
    if (!id || !job_state_parse(db_col_text(row, 1), &x.state))
        return err_set(err, ERR_CORRUPT, "job %s has a state this program does not know", id ? id : "?");
    for (size_t i = 0; i < c->n; i++)
        if (strcmp(c->ids[i], id) == 0)
            c->stands[i] = x;
    return 0;
}

#define IDS_1  "$1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14,$15,$16,"
#define IDS_17 "$17,$18,$19,$20,$21,$22,$23,$24,$25,$26,$27,$28,$29,$30,$31,$32"
#define STANDS                                                                                           \
    "SELECT id, state, seq, CASE WHEN state = 'pending' AND queue IN (SELECT queue FROM paused_queues) " \
    "THEN 1 ELSE 0 END FROM jobs WHERE id IN (" IDS_1 IDS_17 ")"

int store_stands(struct store *s, const char *const *ids, size_t n, struct job_stand *ret, struct err *err)
{
    struct job_stand stands[STORE_STANDS_MAX] = {{0}};
    struct stands_call c = {.ids = ids, .n = n, .stands = stands};
    struct db_val args[STORE_STANDS_MAX];
    if (!n || n > STORE_STANDS_MAX)
        return n ? err_set(err, ERR_INTERNAL, "%zu jobs asked for at once", n) : 0;
    /* One text, however many are asked for: it is prepared once. */
    for (size_t i = 0; i < STORE_STANDS_MAX; i++)
        args[i] = db_text(ids[MIN(i, n - 1)]);
    struct db_stmt stmt = {.sql = STANDS, .args = args, .n_args = STORE_STANDS_MAX, .row = on_stand, .row_arg = &c};
    int rc = db_read_stmt(s->db, &stmt, err);
    if (rc < 0)
        return rc;
    memcpy(ret, stands, n * sizeof *ret);
    return 0;
}

/* ---- one job ---- */

struct follow_call {
    const char *id;
    struct follow_opts o;
    struct arena *arena;
    struct follow f;
    bool found;
    int64_t first;                          /* the chunk that is told next */
    int64_t numbers[FOLLOW_CHUNKS_MAX + 1]; /* of all from there on, whether they can be told or not */
    size_t n_numbers;
};

static int on_followed(const struct db_row *row, void *arg, struct err *err)
{
    struct follow_call *c = arg;
    c->found = true;
    return row_job(row, 0, c->arena, &c->f.job, err);
}

/* Ends at the first chunk that is missing. */
static int on_idx(const struct db_row *row, void *arg, struct err *err)
{
    struct follow_call *c = arg;
    (void)err;
    if (db_col_int(row, 0) != c->first)
        return 1;
    c->first++;
    return 0;
}

static int on_number(const struct db_row *row, void *arg, struct err *err)
{
    struct follow_call *c = arg;
    (void)err;
    if (c->n_numbers == ARRAY_LEN(c->numbers))
        return 1;
    c->numbers[c->n_numbers++] = db_col_int(row, 0);
    return 0;
}

static int on_chunk(const struct db_row *row, void *arg, struct err *err)
{
    struct follow_call *c = arg;
    struct row_reader r = {.row = row, .arena = c->arena};
    struct follow *f = &c->f;
    struct job_chunk x = {.idx = row_int(&r)};
    if (x.idx != c->first + (int64_t)f->n_chunks)
        return 1;
    if ((int)f->n_chunks == c->o.max_chunks) {
        f->more = true;
        return 1;
    }
    x.start_sample = row_int(&r);
    x.end_sample = row_int(&r);
    x.result = row_text(&r);
    f->chunks[f->n_chunks++] = x;
    return row_check(&r, err);
}

static int find_first(struct db_tx *tx, struct follow_call *c, struct err *err)
{
    if (c->o.from_now)
        return db_query(tx, "SELECT idx FROM chunks WHERE job_id = $1 ORDER BY idx", DB_ARGS(db_text(c->id)), on_idx, c,
                        err);
    return store_ints(tx, "SELECT count(*) FROM chunks WHERE job_id = $1 AND seq <= $2",
                      DB_ARGS(db_text(c->id), db_int(c->o.after)), &c->first, 1, err);
}

static int find_chunks(struct db_tx *tx, struct follow_call *c, struct err *err)
{
    struct follow *f = &c->f;
    int rc = find_first(tx, c, err);
    if (rc >= 0)
        rc = db_query(tx, "SELECT seq FROM chunks WHERE job_id = $1 ORDER BY seq LIMIT $2 OFFSET $3",
                      DB_ARGS(db_text(c->id), db_int((int64_t)ARRAY_LEN(c->numbers)), db_int(c->first)), on_number, c,
                      err);
    if (rc >= 0 && !c->o.from_now)
        rc = db_query(tx,
                      "SELECT idx, start_sample, end_sample, result FROM chunks WHERE job_id = $1 AND idx >= $2 "
                      "ORDER BY idx LIMIT $3",
                      DB_ARGS(db_text(c->id), db_int(c->first), db_int(c->o.max_chunks + 1)), on_chunk, c, err);
    if (rc < 0)
        return rc;
    /* Each chunk has a number; fewer numbers than chunks come of an `after` that was never told. */
    f->n_chunks = MIN(f->n_chunks, c->n_numbers);
    memcpy(f->numbers, c->numbers, f->n_chunks * sizeof *f->numbers);
    if (c->n_numbers)
        f->number = c->numbers[0] - 1;
    if (c->n_numbers > f->n_chunks)
        f->last_number = c->numbers[f->n_chunks] - 1;
    return 0;
}

static int on_follow_result(const struct db_row *row, void *arg, struct err *err)
{
    struct follow_call *c = arg;
    c->f.has_result = true;
    return row_result(row, 0, c->arena, &c->f.result, err);
}

static int follow_fn(struct db_tx *tx, void *arg, struct err *err)
{
    struct follow_call *c = arg;
    *c = (struct follow_call){.id = c->id, .o = c->o, .arena = c->arena};
    int rc = db_query(tx, "SELECT " JOB_COLUMNS_LISTED " FROM jobs WHERE id = $1", DB_ARGS(db_text(c->id)), on_followed,
                      c, err);
    if (rc < 0)
        return rc;
    if (!c->found)
        return store_no_job(c->id, err);
    c->f.number = c->f.last_number = c->f.job.seq;
    if (c->o.max_chunks && c->f.job.chunks_done)
        rc = find_chunks(tx, c, err);
    if (rc < 0 || c->f.more || c->f.job.state != JOB_COMPLETED)
        return rc;
    return db_query(tx, "SELECT " RESULT_COLUMNS " FROM results WHERE job_id = $1", DB_ARGS(db_text(c->id)),
                    on_follow_result, c, err);
}

int store_follow(struct store *s, const char *id, const struct follow_opts *o, struct arena *a, struct follow *ret,
                 struct err *err)
{
    struct follow_call c = {.id = id, .o = *o, .arena = a};
    if (o->max_chunks < 0 || o->max_chunks > FOLLOW_CHUNKS_MAX)
        return err_set(err, ERR_INTERNAL, "%d chunks asked for at once", o->max_chunks);
    int rc = db_read(s->db, follow_fn, &c, err);
    if (rc < 0)
        return rc;
    *ret = c.f;
    return 0;
}

/* ---- the queue ---- */

struct queue_call {
    struct job_id *ids;
    size_t n;
};

static int on_queued(const struct db_row *row, void *arg, struct err *err)
{
    struct queue_call *c = arg;
    (void)err;
    const char *id = db_col_text(row, 0);
    if (c->n == STORE_QUEUE_MAX)
        return 1;
    snprintf(c->ids[c->n++].id, ID_SIZE, "%s", id ? id : "");
    return 0;
}

/* Follows the order of the claim statement in store.c. */
#define QUEUE(direction)                                                                                              \
    "SELECT id FROM jobs WHERE state = 'pending' AND run_after <= $1 "                                                \
    "AND queue NOT IN (SELECT queue FROM paused_queues) ORDER BY queue_rank, created_at " direction ", id " direction \
    " LIMIT $2"

int store_queue(struct store *s, struct job_id ret[STORE_QUEUE_MAX], size_t *ret_n, struct err *err)
{
    struct queue_call c = {.ids = ret};
    struct db_stmt stmt = {.sql = s->opts.order == JOB_LIFO ? QUEUE("DESC") : QUEUE("ASC"),
                           .args = (const struct db_val[]){db_int(db_clock(s->db)), db_int(STORE_QUEUE_MAX)},
                           .n_args = 2,
                           .row = on_queued,
                           .row_arg = &c};
    int rc = db_read_stmt(s->db, &stmt, err);
    if (rc < 0)
        return rc;
    *ret_n = c.n;
    return 0;
}
