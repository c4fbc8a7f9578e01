/* SPDX-License-Identifier: MIT */
/*
 * Is everything well? One thread per part asks it, so that a part that hangs delays neither the answer nor the others.
 */
#ifndef API_HEALTH_H
#define API_HEALTH_H

#include "base/err.h"
#include "broker/broker.h"
#include "job/store.h"
#include "storage/storage.h"

#include <stdbool.h>
#include <stdint.h>

/* name, what asks it (health.c), how old an answer may be in ms: the storage writes a file to find out */
#define HEALTH_PARTS(X)            \
    X(database, ask_database, 500) \
    X(storage, ask_storage, 2000)  \
    X(broker, ask_broker, 500)

enum health_part {
#define X(name, ask, fresh_ms) HEALTH_##name,
    HEALTH_PARTS(X)
#undef X
        HEALTH_PART_COUNT
};

struct health_report {
    const char *name;
    bool ok;
    int64_t latency_ms;
    struct db_pool pool;        /* database: connections; also when it is not ok */
    int64_t free_bytes;         /* storage; -1: unknown */
    int64_t depth[QUEUE_COUNT]; /* broker: tokens in each queue; -1: unknown, or it keeps none */
    char error[256];            /* when not ok */
};

struct health;

/* Asks now: is the broker well, and how long are its queues (all -1 when it is not, or keeps no tokens)? */
int health_broker(struct broker *b, int64_t *ret_latency_ms, int64_t ret_depth[QUEUE_COUNT], struct err *err)
    MUST_CHECK;

/* Borrows the three until health_free. */
int health_new(struct store *s, struct storage *st, struct broker *b, struct health **ret, struct err *err) MUST_CHECK;
/* Waits for a question under way. NULL is fine. */
void health_free(struct health *h);
/* Blocks at most two seconds: a part that has not answered by then is not ok. Any thread. */
void health_ask(struct health *h, struct health_report ret[HEALTH_PART_COUNT]);

#endif
