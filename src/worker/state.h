/* SPDX-License-Identifier: MIT */
/* Inside src/worker: what the threads of one worker share. Fixed after the start, but for what says otherwise. */
#ifndef WORKER_STATE_H
#define WORKER_STATE_H

#include "base/id.h"
#include "base/log.h"
#include "metrics/server.h"
#include "worker/board.h"
#include "worker/counters.h"
#include "worker/engines.h"
#include "worker/recycle.h"
#include "worker/slots.h"
#include "worker/temp.h"
#include "worker/worker.h"

#include <pthread.h>

struct worker {
    const struct worker_opts *o;
    char id[ID_SIZE]; /* the lease holder; new at every start */
    int64_t started_at;
    struct log_ctx log;
    struct temp *temp;
    struct slots *slots;
    struct engines *engines;
    struct board *board;
    struct metrics_server *metrics; /* NULL: none */
    struct cancel drain;            /* no new chunk is started */
    struct recycle recycle;
    atomic_uint places_now;  /* see places.h */
    atomic_bool out_of_room; /* min_free_bytes are not there */
    struct counters counts;
    int64_t unreturned_before; /* COUNT_unreturned when the stop began */
    atomic_llong
        no_expiry_until; /* monotonic: in an outage of the database, and a while after, the sweeper expires no lease */
    int64_t missing_tokens[QUEUE_COUNT]; /* at the last sweep; of the sweeper's thread */

    pthread_mutex_t mu;
    pthread_cond_t ended;
    bool ending; /* keeper and sweeper leave; guarded by mu */
};

/* Most jobs in work: the ordinary ones, and the short one that a place is kept for. */
static inline unsigned worker_places(const struct worker_opts *o)
{
    return o->concurrency + o->short_place;
}

/* For lines about a job by another thread than its own. */
static inline struct log_ctx worker_log_of(const struct worker *w, const char *job_id)
{
    return (struct log_ctx){.component = w->log.component, .job_id = job_id};
}

/* For keeper and sweeper: waits; false when they shall leave. */
bool worker_pause(struct worker *w, int64_t ms);

/* Best effort: who misses an event looks at the row. */
void worker_event(struct worker *w, const char *job_id, int64_t seq, const char *type, const char *json);

/* One outage, one line: the first failure is logged, and the end of it. */
struct outage {
    int64_t since; /* monotonic; 0: all is well */
    int64_t pause_ms;
};
enum { OUTAGE_PAUSE_MIN_MS = 1000, OUTAGE_PAUSE_MAX_MS = 5000 };
/* Returns how long to wait before the next try. */
int64_t outage_hit(struct outage *o, const struct log_ctx *lc, const char *what, const struct err *err);
/* All is well (again). True when there was an outage. */
bool outage_over(struct outage *o, const struct log_ctx *lc, const char *what);

#endif
