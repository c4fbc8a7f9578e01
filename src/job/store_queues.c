/* SPDX-License-Identifier: MIT */
/*
 * Queues that are paused. The claim statement (store.c) looks at the table by itself, so a pause holds from the moment
 * it is committed, for workers of every machine.
 */
#include "job/store_internal.h"

struct queue_call {
    enum job_queue queue;
};

static int pause_fn(struct db_tx *tx, void *arg, struct err *err)
{
    const struct queue_call *c = arg;
    int64_t n =
        db_exec(tx, "INSERT INTO paused_queues (queue, paused_at) VALUES ($1, $2) ON CONFLICT (queue) DO NOTHING",
                DB_ARGS(db_text(job_queue_name(c->queue)), db_int(db_now(tx))), err);
    return n < 0 ? err->code : n > 0;
}

int store_pause_queue(struct store *s, enum job_queue queue, struct err *err)
{
    return db_write(s->db, DB_DURABLE, pause_fn, &(struct queue_call){queue}, err);
}

static int resume_fn(struct db_tx *tx, void *arg, struct err *err)
{
    const struct queue_call *c = arg;
    int64_t n =
        db_exec(tx, "DELETE FROM paused_queues WHERE queue = $1", DB_ARGS(db_text(job_queue_name(c->queue))), err);
    return n < 0 ? err->code : n > 0;
}

int store_resume_queue(struct store *s, enum job_queue queue, struct err *err)
{
    return db_write(s->db, DB_DURABLE, resume_fn, &(struct queue_call){queue}, err);
}
