/* SPDX-License-Identifier: MIT */
/* First the row gives something up, then the object goes: a kill in between leaves an orphan, no broken job. */
#include "worker/retention.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/stop.h"

enum { BATCH = 200 };

struct work {
    struct store *store;
    struct storage *storage;
    int64_t before_ms;
    struct arena arena; /* of the batch */
    int64_t done;
};

static int delete_object(const struct work *w, const char *key, struct err *err)
{
    return key ? storage_delete(w->storage, key, err) : 0;
}

/* Each gives up one batch and returns how much there was of it. */

static int drop_audio(struct work *w, struct err *err)
{
    struct job *jobs = NULL;
    size_t n = 0;
    int rc = store_audio_before(w->store, w->before_ms, BATCH, &w->arena, &jobs, &n, err);
    for (size_t i = 0; rc == 0 && i < n; i++) {
        rc = store_give_up_audio(w->store, jobs[i].id, err);
        if (rc == 0)
            rc = FAULT_POINT(object_unwanted, err);
        if (rc == 0)
            rc = delete_object(w, jobs[i].audio_key, err);
        w->done += rc == 0;
        if (rc == ERR_CONFLICT || rc == ERR_NOT_FOUND)
            rc = 0; /* tried again or removed meanwhile */
    }
    return rc < 0 ? rc : (int)n;
}

static int delete_objects(struct work *w, const struct given_up *v, size_t n, struct err *err)
{
    int rc = n ? FAULT_POINT(object_unwanted, err) : 0;
    w->done += (int64_t)n;
    for (size_t i = 0; rc == 0 && i < n; i++) {
        rc = delete_object(w, v[i].audio_key, err);
        if (rc == 0)
            rc = delete_object(w, v[i].result_key, err);
    }
    return rc < 0 ? rc : (int)n;
}

static int drop_results(struct work *w, struct err *err)
{
    struct given_up *v = NULL;
    size_t n = 0;
    int rc = store_drop_results(w->store, w->before_ms, BATCH, &w->arena, &v, &n, err);
    return rc < 0 ? rc : delete_objects(w, v, n, err);
}

static int drop_checkpoints(struct work *w, struct err *err)
{
    struct given_up *v = NULL;
    size_t n = 0;
    int rc = store_drop_checkpoints(w->store, w->before_ms, BATCH, &w->arena, &v, &n, err);
    return rc < 0 ? rc : (int)n;
}

static int drop_jobs(struct work *w, struct err *err)
{
    struct given_up *v = NULL;
    size_t n = 0;
    int rc = store_drop_jobs(w->store, w->before_ms, BATCH, &w->arena, &v, &n, err);
    return rc < 0 ? rc : delete_objects(w, v, n, err);
}

/* Before this an ended job's part is too old. 0: none is. */
static int64_t limit_of(struct store *s, int64_t keep_ms)
{
    return keep_ms < 0 ? 0 : store_now(s) - keep_ms;
}

int retention_run(const struct retention *r, struct store *store, struct storage *storage, int64_t until_ms,
                  struct retention_counts *ret, struct err *err)
{
    int64_t uncounted = 0;
    const struct {
        int (*batch)(struct work *w, struct err *err);
        int64_t keep_ms, *count;
    } steps[] = {/* whole jobs first: nothing of them has to be given up twice */
                 {drop_jobs, r->jobs_ms, &ret->jobs},
                 {drop_results, r->results_ms, &ret->results},
                 {drop_checkpoints, r->results_ms, &uncounted},
                 {drop_audio, r->audio_ms, &ret->audio}};
    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        struct work w = {.store = store, .storage = storage, .before_ms = limit_of(store, steps[i].keep_ms)};
        int n = BATCH;
        while (n == BATCH && w.before_ms > 0 && clock_mono_ms() < until_ms && stop_requested() == 0) {
            w.arena = (struct arena)ARENA_INIT;
            n = steps[i].batch(&w, err);
            arena_clear(&w.arena);
        }
        *steps[i].count += w.done;
        if (n < 0)
            return n;
    }
    return 0;
}

int retention_count(const struct retention *r, struct store *store, struct retention_counts *ret, struct err *err)
{
    struct old_times before = {.audio = limit_of(store, r->audio_ms),
                               .results = limit_of(store, r->results_ms),
                               .jobs = limit_of(store, r->jobs_ms)};
    struct old_counts n;
    int rc = store_count_old(store, &before, &n, err);
    if (rc < 0)
        return rc;
    *ret = (struct retention_counts){.audio = n.audio, .results = n.results, .jobs = n.jobs};
    return 0;
}
