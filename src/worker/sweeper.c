/* SPDX-License-Identifier: MIT */
/*
 * Two rhythms: rows every sweep_ms, storage and temp folders (which cost a walk over all objects) every DEEP_EVERY
 * sweeps. Times are jittered, so that many workers do not sweep as one. Work on rows is bounded by BATCH per sweep; a
 * larger backlog takes more sweeps. The walk over all objects has no bound but the store's size: rows keep their rhythm
 * meanwhile, and it breaks off when the worker leaves.
 */
#include "worker/sweeper.h"

#include "base/clock.h"
#include "base/fault.h"
#include "worker/tokens.h"

enum {
    BATCH = 200,
    DEEP_EVERY = 10,
    FIRST_SWEEP_MS = 1000,   /* at most: after a restart there may be much to take over */
    RETENTION_MS = 5000,     /* the rest is for the next sweep */
    WORKER_SILENT_MS = 60000 /* many missed heartbeats */
};

/* ---- rows ---- */

static void tell_swept(struct worker *w, const struct swept *s)
{
    static const char *const why = "workers died on it, without progress";
    struct err err = ERR_INIT;
    counters_add(&w->counts, COUNT_expired, 1);
    counters_add(&w->counts, COUNT_poisoned, s->dead);
    struct log_ctx lc = worker_log_of(w, s->id);
    log_warn(&lc, "the lease of the job ran out: %s", s->dead ? "given up" : "pending again");
    worker_event(w, s->id, s->seq, "state", s->dead ? "{\"state\":\"failed\"}" : "{\"state\":\"pending\"}");
    if (s->dead && broker_send_dead_letter(w->o->broker, s->id, err_name(ERR_CRASHED), why, &err) < 0)
        log_debug(&lc, "the dead letter was not sent: %s", err.msg);
}

static int expire_leases(struct worker *w, struct err *err)
{
    if (clock_mono_ms() < atomic_load(&w->no_expiry_until))
        return 0;
    struct arena a = ARENA_INIT;
    struct swept *swept = NULL;
    size_t n = 0;
    int rc = store_expire_leases(w->o->store, BATCH, &a, &swept, &n, err);
    for (size_t i = 0; rc == 0 && i < n; i++)
        tell_swept(w, &swept[i]);
    arena_clear(&a);
    return rc;
}

static int mend_times(struct worker *w, struct err *err)
{
    int mended = 0;
    int rc = store_mend_times(w->o->store, w->o->lease_ms, BATCH, &mended, err);
    if (mended)
        log_warn(&w->log, "the clock was ahead and was set back: put the times of %d jobs right", mended);
    return rc;
}

static int drop_workers(struct worker *w, struct err *err)
{
    return store_drop_workers(w->o->store, WORKER_SILENT_MS, err);
}

static int drop_keys(struct worker *w, struct err *err)
{
    return store_drop_keys(w->o->store, err);
}

/* ---- storage ---- */

static int retain(struct worker *w, struct err *err)
{
    struct retention_counts n = {0};
    int rc = retention_run(&w->o->retention, w->o->store, w->o->storage, clock_mono_ms() + RETENTION_MS, &n, err);
    if (n.audio || n.results || n.jobs)
        log_info(&w->log, "removed what was kept long enough: %lld recordings, %lld transcripts, %lld whole jobs",
                 (long long)n.audio, (long long)n.results, (long long)n.jobs);
    return rc;
}

/* A grace of the longest upload: one that began before its URL expired may still be on its way, or not submitted yet.
 */
static int drop_uploads(struct worker *w, struct err *err)
{
    return store_drop_uploads(w->o->store, clock_wall_ms() - w->o->upload_max_age_ms, err);
}

enum { BROKEN_OFF = 1 };

struct walk {
    struct worker *w;
    int64_t before_ms;
    int64_t rows_at; /* monotonic: time for the rows again */
    int orphans;
};

/* What fails there is told by the next sweep of its own. */
static void sweep_rows(struct walk *k)
{
    struct err err = ERR_INIT;
    if (clock_mono_ms() < k->rows_at)
        return;
    if (sweep(k->w, false, &err) < 0)
        log_debug(&k->w->log, "sweeping rows beside the objects failed: %s", err.msg);
    k->rows_at = clock_mono_ms() + k->w->o->sweep_ms;
}

static int on_object(const char *key, const struct object_info *info, void *arg, struct err *err)
{
    struct walk *k = arg;
    if (!worker_pause(k->w, 0))
        return BROKEN_OFF;
    sweep_rows(k);
    /* Young ones may be uploads that have no row yet. */
    if (info->modified_ms >= k->before_ms)
        return 0;
    bool wanted = true;
    int rc = store_key_wanted(k->w->o->store, key, &wanted, err);
    if (rc < 0 || wanted)
        return rc;
    k->orphans++;
    return storage_delete(k->w->o->storage, key, err);
}

static int drop_orphans(struct worker *w, struct err *err)
{
    struct walk k = {
        .w = w, .before_ms = clock_wall_ms() - w->o->upload_max_age_ms, .rows_at = clock_mono_ms() + w->o->sweep_ms};
    int rc = storage_list(w->o->storage, "uploads/", on_object, &k, err);
    if (rc == 0)
        rc = storage_list(w->o->storage, "results/", on_object, &k, err);
    if (k.orphans)
        log_info(&w->log, "removed %d objects that belong to no job", k.orphans);
    return MIN(rc, 0);
}

static int drop_unfinished_writes(struct worker *w, struct err *err)
{
    int removed = 0;
    int rc = storage_sweep(w->o->storage, clock_wall_ms() - w->o->upload_max_age_ms, &removed, err);
    if (removed)
        log_info(&w->log, "removed %d unfinished writes from storage", removed);
    return rc;
}

static int drop_temp_folders(struct worker *w, struct err *err)
{
    int removed = 0;
    int rc = temp_sweep(w->o->temp_folder, &removed, err);
    if (removed)
        log_info(&w->log, "removed %d temporary folders of processes that died", removed);
    return rc;
}

/* ---- the sweep ---- */

static const struct step {
    int (*run)(struct worker *w, struct err *err);
    bool deep;
} steps[] = {
    {mend_times, true},        {expire_leases, false}, {tokens_sweep, false},
    {drop_workers, false},     {drop_keys, false},     {retain, false},
    {drop_uploads, true},      {drop_orphans, true},   {drop_unfinished_writes, true},
    {drop_temp_folders, true},
};

int sweep(struct worker *w, bool deep, struct err *err)
{
    int first = FAULT_POINT(sweep_started, err);
    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        struct err e = ERR_INIT;
        if (steps[i].deep && !deep)
            continue;
        int rc = steps[i].run(w, &e);
        if (rc < 0 && first == 0) {
            first = rc;
            *err = e;
        }
    }
    return first;
}

void *sweeper_main(void *arg)
{
    struct worker *w = arg;
    struct outage outage = {0};
    int64_t pause = random_below(MIN(w->o->sweep_ms, FIRST_SWEEP_MS) + 1);
    for (unsigned n = 0; worker_pause(w, pause); n++) {
        struct err err = ERR_INIT;
        pause = w->o->sweep_ms / 2 + random_below(w->o->sweep_ms + 1);
        if (sweep(w, n % DEEP_EVERY == 0, &err) < 0)
            pause = MAX(pause, outage_hit(&outage, &w->log, "sweeping", &err));
        else
            outage_over(&outage, &w->log, "sweeping");
        engines_look(w->engines); /* not by the keeper, whose leases must not wait for a folder */
    }
    return NULL;
}
