/* SPDX-License-Identifier: MIT */
/*
 * Is everything well? One thread per part asks it, so that a part that hangs delays neither the answer nor the others.
 */
#ifndef API_HEALTH_H
#define API_HEALTH_H

#include "api/jsonw.h"
#include "base/buf.h"
#include "base/err.h"
#include "broker/broker.h"
#include "job/store.h"
#include "storage/storage.h"

#include <stdbool.h>
#include <stdint.h>

/*
 * name, what asks it (health.c), how old an answer may be in ms (the storage writes a file to find out), and whether
 * GET /health shows it: what an api needs to do its work. GET /admin/health shows all.
 */
#define HEALTH_PARTS(X)                  \
    X(database, ask_database, 500, true) \
    X(storage, ask_storage, 2000, true)  \
    X(broker, ask_broker, 500, true)     \
    X(queue, ask_queue, 2000, true)      \
    X(disk, ask_disk, 2000, true)        \
    X(workers, ask_workers, 1000, false)

enum health_part {
#define X(name, ask, fresh_ms, always) HEALTH_##name,
    HEALTH_PARTS(X)
#undef X
        HEALTH_PART_COUNT
};

/* A worker silent for longer counts as gone; it speaks at least every five seconds. */
enum { HEALTH_WORKER_SILENT_MS = 20000 };

struct health_opts {
    /* Borrowed until health_free. */
    struct store *store;
    struct storage *storage;
    struct broker *broker;
    const char *data_folder, *temp_folder;
    int64_t room_bytes;     /* disk: with less free than this a recording may find no room */
    int64_t min_free_bytes; /* ... and with less than this none is accepted */
};

struct health_report {
    const char *name;
    bool ok;
    bool always; /* see HEALTH_PARTS */
    int64_t latency_ms;
    struct buf details;    /* members of a JSON object; "" when there are none */
    struct buf model_pool; /* of the part `workers`: members of another, about the models they keep loaded */
    char error[256];       /* when not ok */
};

struct health;

/* What a worker says of itself, as an object. */
void health_write_worker(struct jsonw *w, const struct worker_row *row);

/* The member `paused_queues`: the names of those that are paused. */
void health_write_paused(struct jsonw *w, const struct store_counts *c);

/* Asks now: is the broker well, and how long are its queues (all -1 when it is not, or keeps no tokens)? */
int health_broker(struct broker *b, int64_t *ret_latency_ms, int64_t ret_depth[QUEUE_COUNT], struct err *err)
    MUST_CHECK;

int health_new(const struct health_opts *o, struct health **ret, struct err *err) MUST_CHECK;
/* Waits for a question under way. NULL is fine. */
void health_free(struct health *h);
/*
 * Blocks at most two seconds: a part that has not answered by then is not ok. Without `all` only the parts that GET
 * /health shows are asked; the others stay empty, with a NULL name. Caller clears the reports. Any thread.
 */
void health_ask(struct health *h, bool all, struct health_report ret[HEALTH_PART_COUNT]);
/* Are the parts that GET /health shows all well? Blocks as health_ask. */
bool health_ok(struct health *h);
void health_clear(struct health_report reports[HEALTH_PART_COUNT]);

#endif
