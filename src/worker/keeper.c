/* SPDX-License-Identifier: MIT */
/*
 * Every LOOK_MS the board is compared with what the database says we hold; every third of a lease that look is the
 * renewal itself. The board is listed before the database is asked: a job claimed in between is in the answer but not
 * in the list, and is left alone.
 *
 * What the database says we hold and the board has not is a claim or a hand-back whose answer was lost. Renewing it for
 * ever would keep the job from everybody, so once it has been seen at two renewals it is handed back.
 *
 * A failing database loses no lease here: only a row that shows another holder does. But the leases of all workers may
 * have run out meanwhile, so during an outage and for one lease length after it the sweeper expires none: everybody
 * gets the time to come back.
 */
#include "worker/keeper.h"

#include "base/clock.h"
#include "base/fault.h"
#include "worker/heartbeat.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A job that came or went is told sooner, but not each of many. */
enum { LOOK_MS = 500, HEARTBEAT_MS = 5000, HEARTBEAT_MIN_MS = 1000, STRAYS_MAX = 4 * CLAIM_MAX };

struct keeper {
    struct worker *w;
    struct held *board, *held; /* the worker's places; STRAYS_MAX more */
    size_t max_board, max_held;
    struct held strays[STRAYS_MAX]; /* seen at the last renewal */
    size_t n_strays;
    int64_t next_renewal, next_heartbeat, last_heartbeat; /* monotonic */
    size_t told;                                          /* board_changes at the last heartbeat */
    struct outage outage;
    char host[256];
};

static bool holds(const struct held *held, size_t n, const struct held *one)
{
    for (size_t i = 0; i < n; i++)
        if (held[i].fence == one->fence && strcmp(held[i].id, one->id) == 0)
            return true;
    return false;
}

static void hand_back(struct worker *w, const struct held *stray)
{
    struct claim c = {.id = stray->id, .holder = w->id, .fence = stray->fence};
    struct err err = ERR_INIT;
    int64_t seq = 0;
    int rc = store_hand_back(w->o->store, &c, 0, &seq, &err);
    if (rc == 0)
        worker_event(w, stray->id, seq, "state", "{\"state\":\"pending\"}");
    struct log_ctx lc = worker_log_of(w, stray->id);
    log_warn(&lc, "the job was ours without our knowing: %s", rc == 0 ? "handed back" : err.msg);
}

/* After a renewal; `running` runs are listed in k->board, `n` claims in k->held. */
static void look_for_strays(struct keeper *k, size_t running, size_t n)
{
    struct held now[STRAYS_MAX] = {0};
    size_t n_now = 0;
    for (size_t i = 0; i < n && n_now < STRAYS_MAX; i++) {
        if (holds(k->board, running, &k->held[i]))
            continue;
        if (holds(k->strays, k->n_strays, &k->held[i]))
            hand_back(k->w, &k->held[i]);
        else
            now[n_now++] = k->held[i];
    }
    memcpy(k->strays, now, n_now * sizeof now[0]);
    k->n_strays = n_now;
}

static int renew(struct keeper *k, size_t running, size_t *ret_n, struct err *err)
{
    const struct worker_opts *o = k->w->o;
    int64_t now = clock_mono_ms();
    int rc = FAULT_POINT(lease_renewing, err);
    if (rc == 0)
        rc = store_renew(o->store, k->w->id, o->lease_ms, k->held, k->max_held, ret_n, err);
    if (rc < 0)
        return rc;
    k->next_renewal = now + o->lease_ms / 3;
    look_for_strays(k, running, *ret_n);
    return 0;
}

static int look(struct keeper *k, struct err *err)
{
    size_t running = board_list(k->w->board, k->board, k->max_board), n = 0;
    bool due = clock_mono_ms() >= k->next_renewal;
    if (running == 0 && !due)
        return 0; /* nothing could be lost; but there may be strays */
    int rc = !due ? store_held(k->w->o->store, k->w->id, k->held, k->max_held, &n, err) : renew(k, running, &n, err);
    /* A full answer may have left out what we look for. */
    for (size_t i = 0; rc == 0 && n < k->max_held && i < running; i++)
        if (!holds(k->held, n, &k->board[i]) && board_stop(k->w->board, &k->board[i], RUN_LOST)) {
            struct log_ctx lc = worker_log_of(k->w, k->board[i].id);
            log_debug(&lc, "the job is no longer ours, stopping it");
        }
    return rc;
}

static int beat(struct keeper *k, struct err *err)
{
    struct worker *w = k->w;
    int64_t now = clock_mono_ms();
    size_t changes = board_changes(w->board);
    if (now < k->next_heartbeat && (changes == k->told || now < k->last_heartbeat + HEARTBEAT_MIN_MS))
        return 0;
    CLEANUP(buf_clear) struct buf info = BUF_INIT(HEARTBEAT_INFO_MAX);
    heartbeat_describe(w, &info);
    struct worker_row row = {.id = w->id,
                             .host = k->host,
                             .version = STENO_VERSION,
                             .state = cancel_is_set(&w->drain) || recycle_why(&w->recycle) ? "draining" : "running",
                             .info = buf_str(&info),
                             .pid = getpid(),
                             .started_at = w->started_at,
                             .running = (int64_t)board_count(w->board)};
    int rc = store_heartbeat(w->o->store, &row, err);
    if (rc < 0)
        return rc;
    k->next_heartbeat = now + MIN(HEARTBEAT_MS, w->o->lease_ms / 3); /* an idle worker notices outages by it */
    k->last_heartbeat = now;
    k->told = changes;
    return 0;
}

void *keeper_main(void *arg)
{
    struct worker *w = arg;
    size_t places = worker_places(w->o);
    struct keeper k = {.w = w, .max_board = places, .max_held = places + STRAYS_MAX};
    k.board = xcalloc(k.max_board, sizeof *k.board);
    k.held = xcalloc(k.max_held, sizeof *k.held);
    if (gethostname(k.host, sizeof k.host - 1) < 0)
        k.host[0] = '\0';
    int64_t pause = 0;
    while (worker_pause(w, pause)) {
        board_stop_overdue(w->board, &w->o->limits);
        recycle_look(w);
        struct err err = ERR_INIT;
        int rc = look(&k, &err);
        if (rc == 0)
            rc = beat(&k, &err);
        pause = LOOK_MS;
        if (rc < 0) {
            outage_hit(&k.outage, &w->log, "renewing leases", &err);
            atomic_store(&w->no_expiry_until, INT64_MAX);
        } else if (outage_over(&k.outage, &w->log, "renewing leases")) {
            atomic_store(&w->no_expiry_until, clock_mono_ms() + w->o->lease_ms);
        }
    }
    free(k.board);
    free(k.held);
    return NULL;
}
