/* SPDX-License-Identifier: MIT */
/*
 * The claim loop. A free place (places.h) and no suspect on the board: claim; nothing due: wait for a wake-up, for a
 * job to end (its thread interrupts the wait), or for poll_ms. Claims go on until nothing is due, so a lost wake-up
 * costs at most poll_ms. With all places taken it looks every LOOK_MS for a short job, for which one more is kept.
 *
 * The end: no more claims; the drain flag keeps jobs from starting chunks; when drain_ms are over or a second stop is
 * asked for, whatever still runs is stopped and handed back. The keeper goes on renewing until the last job is off
 * the board.
 *
 * A worker that has had its share (recycle.h) lets its jobs end first, for recycle_ms. The program then starts itself
 * again by exec: the same process to its supervisor, and nothing of the old one is left in it. That is also the way
 * out when a job hangs in a call that nobody can interrupt: a thread cannot be ended from outside, a process can. The
 * other jobs are drained, the one that hangs is settled here in its thread's place, and all that this thread may still
 * touch (which is why struct worker is on the heap) stays as it is until the exec. Should the thread come back before
 * that, the fence keeps it from writing.
 */
#include "worker/worker.h"

#include "audio/sandbox.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/io.h"
#include "base/thread.h"
#include "worker/job_run.h"
#include "worker/keeper.h"
#include "worker/metrics.h"
#include "worker/places.h"
#include "worker/sweeper.h"
#include "worker/warm_up.h"

#include <stdlib.h>

enum {
    LOOK_MS = 200,
    STOP_MS = 10000, /* a job that was told to stop and has not by then hangs; a second is the rule */
    LEAVE_MS = 2000, /* for keeper and sweeper, when something hangs that they may need too */
};

#define UNRETURNED "%lld jobs could not be handed back; they go on when their leases run out"

static bool stopping(const struct worker *w)
{
    return stop_requested() > 0 || cancel_is_set(w->o->stop);
}

static bool claims_end(const struct worker *w)
{
    return stopping(w) || recycle_why(&w->recycle) != RECYCLE_NO;
}

static void pause_claims(const struct worker *w, int64_t ms)
{
    for (; ms > 0 && !claims_end(w); ms -= LOOK_MS)
        clock_sleep_ms(MIN(ms, LOOK_MS));
}

struct task {
    struct worker *w;
    struct run *r;
};

static void on_job_thread(void *arg)
{
    struct task t = *(struct task *)arg;
    free(arg);
    job_run(t.w, t.r);
    if (!board_remove(t.w->board, t.r))
        return; /* it hung for so long that somebody else has ended it, and is about to replace the process */
    run_free(t.r);
    broker_interrupt(t.w->o->broker);
}

/* A claimed job gets its thread. */
static int begin_job(struct worker *w, struct run *r, struct pool *jobs, struct err *err)
{
    broker_taken(w->o->broker, job_queue_name(r->job.queue));
    /* Both ends are of the database's clock; the claim dated the row. */
    counters_spread(&w->counts, SPREAD_queue_wait, MAX(r->job.updated_at - r->job.run_after, 0));
    counters_add(&w->counts, COUNT_claimed, 1);
    atomic_store(&r->duration_ms, r->job.duration_ms); /* an earlier attempt may have found out */
    r->claim = (struct claim){.id = r->job.id, .holder = w->id, .fence = r->job.fence};
    struct task *t = xcalloc(1, sizeof *t);
    *t = (struct task){w, r};
    board_add(w->board, r);
    struct err fault = ERR_INIT;
    if (FAULT_POINT(job_claimed, &fault) < 0)
        log_warn(&w->log, "%s", fault.msg);
    if (!pool_try_run(jobs, on_job_thread, t)) {
        /* Cannot be: the pool's queue holds as many as the board. */
        if (board_remove(w->board, r))
            run_free(r);
        free(t);
        return err_set(err, ERR_INTERNAL, "no job thread took a claimed job");
    }
    return 0;
}

/* Claims at most n jobs in one round trip; returns how many, 0: nothing is due. */
static int claim_jobs(struct worker *w, bool idle, bool small, size_t n, struct pool *jobs, struct err *err)
{
    struct claim_opts o = {.holder = w->id, .lease_ms = w->o->lease_ms, .idle = idle, .small = small};
    struct run *runs[CLAIM_MAX];
    struct claimed claimed[CLAIM_MAX];
    for (size_t i = 0; i < n; i++) {
        runs[i] = run_new();
        claimed[i].arena = &runs[i]->arena;
    }
    int got = store_claim(w->o->store, &o, claimed, n, err), rc = got;
    for (size_t i = 0; i < n; i++) {
        if (got <= 0 || !claimed[i].job.id) {
            run_free(runs[i]);
            continue;
        }
        runs[i]->job = claimed[i].job;
        int bad = begin_job(w, runs[i], jobs, err);
        rc = bad < 0 ? bad : rc;
    }
    return rc;
}

/*
 * How many to claim next. One at a time while there is little to do; twice as many as came last time while they come,
 * so that a round trip under load brings several. An idle worker claims one: it may be a suspect, which runs alone.
 */
static size_t claims_wanted(size_t free_places, size_t running, size_t last)
{
    return running == 0 ? MIN(free_places, 1) : MIN(MIN(MAX(2 * last, 1), free_places), (size_t)CLAIM_MAX);
}

/* Is there room for recordings? Jobs wait for it in the queue, where another machine may take them. */
static bool has_room(struct worker *w, struct outage *shortage)
{
    static const char what[] = "finding room for recordings";
    struct err err = ERR_INIT;
    bool has = !w->o->min_free_bytes || io_room(w->o->temp_folder, 0, w->o->min_free_bytes, &err) == 0;
    atomic_store(&w->out_of_room, !has);
    if (has)
        outage_over(shortage, &w->log, what);
    else
        pause_claims(w, outage_hit(shortage, &w->log, what, &err));
    return has;
}

/* A short job sits in the place that is kept for one while that is free, and takes an ordinary one otherwise. */
struct taken {
    size_t all, ordinary;
    bool kept;
};

static struct taken count_taken(const struct worker *w)
{
    struct taken t;
    size_t n_short = board_count_short(w->board, &t.all);
    t.kept = w->o->short_place && n_short > 0;
    t.ordinary = t.all - t.kept;
    return t;
}

static void claim_loop(struct worker *w, struct pool *jobs, struct places *places)
{
    struct outage outage = {0}, shortage = {0};
    size_t last = 0; /* how many jobs the last claim brought */
    while (!claims_end(w) && recycle_left(w, 1)) {
        atomic_store(&w->places_now, places->now);
        struct taken taken = count_taken(w);
        size_t n = places_free(places, taken.ordinary, clock_mono_ms());
        bool small = n == 0;
        if (small)
            n = w->o->short_place && !taken.kept;
        if (n == 0 || board_has_suspect(w->board)) {
            board_wait(w->board, taken.all, LOOK_MS);
            continue;
        }
        n = recycle_left(w, claims_wanted(n, taken.all, last));
        if (n == 0 || !has_room(w, &shortage))
            continue;
        struct err err = ERR_INIT;
        int rc = claim_jobs(w, taken.all == 0, small, n, jobs, &err);
        last = rc > 0 ? (size_t)rc : 0;
        if (rc < 0) {
            pause_claims(w, outage_hit(&outage, &w->log, "looking for work", &err));
            continue;
        }
        outage_over(&outage, &w->log, "looking for work");
        if (!small)
            places_claimed(places, taken.ordinary, last, clock_mono_ms());
        /* Most wake-ups are not for short jobs: they are for workers that have room. So it looks by itself. */
        if (rc == 0 && small)
            board_wait(w->board, taken.all, LOOK_MS);
        else if (rc == 0 && taken.ordinary < places->now && broker_wait(w->o->broker, w->o->poll_ms, &err) < 0)
            pause_claims(w, w->o->poll_ms); /* without the broker there is still looking */
    }
}

/* Before a process is replaced that does well: its jobs go on to their end, within reason. */
static void let_jobs_end(struct worker *w)
{
    size_t n;
    int64_t until = clock_mono_ms() + w->o->recycle_ms;
    log_info(&w->log, "this process will be replaced: it took %lld jobs and holds %lld MB; %zu jobs run",
             (long long)counters_get(&w->counts, COUNT_claimed),
             (long long)(atomic_load(&w->recycle.memory_bytes) >> 20), board_count(w->board));
    while ((n = board_count(w->board)) > 0 && clock_mono_ms() < until && !stopping(w) &&
           recycle_why(&w->recycle) != RECYCLE_STUCK)
        board_wait(w->board, n, LOOK_MS);
}

/* Returns how many jobs are left: those that hang. */
static size_t drain(struct worker *w)
{
    size_t n = board_count(w->board);
    int64_t until = clock_mono_ms() + w->o->drain_ms, patience_ms = MIN(limits_patience_ms(&w->o->limits), STOP_MS);
    if (n)
        log_info(&w->log, "stopping: %zu jobs may finish their running chunks for %.0f s", n,
                 (double)w->o->drain_ms / 1000);
    cancel_set(&w->drain);
    while ((n = board_count(w->board)) > 0 && board_hopeful(w->board, patience_ms, STOP_MS) &&
           clock_mono_ms() < until && stop_requested() < 2)
        board_wait(w->board, n, LOOK_MS);
    board_stop_all(w->board, RUN_HALTED);
    while ((n = board_count(w->board)) > 0 && board_hopeful(w->board, patience_ms, STOP_MS))
        board_wait(w->board, n, LOOK_MS);
    return n;
}

/* Once at start: with `require` every decode would say it by itself. */
static void warn_of_sandbox(const struct worker *w)
{
    if (w->o->decode.sandbox != SANDBOX_AUTO)
        return;
    struct sandbox_support has;
    sandbox_probe(&has);
    const char *missing = sandbox_missing(&has);
    if (missing)
        log_warn(&w->log, "%s", missing);
}

/* An engine that is ready before the first job, and a line that says which it is. True: there is one. */
static bool greet(struct worker *w)
{
    static const struct engine_request any = {.task = "transcribe"};
    struct engine *e = NULL;
    struct err err = ERR_INIT;
    warn_of_sandbox(w);
    if (engines_get(w->engines, NULL, &e, &err) < 0) {
        log_error(&w->log, "no engine: %s (jobs will be tried and fail until this is mended)", err.msg);
        return false;
    }
    log_info(&w->log, "worker %s: engine %s, model %s, %u slots, %u jobs at a time", w->id, engine_info(e)->name,
             engine_model(e, &any), slots_count(w->slots), w->o->concurrency);
    return true;
}

static void write_page(void *arg, struct buf *page)
{
    worker_metrics_write(arg, page);
}

static int serve_metrics(struct worker *w, struct err *err)
{
    if (!w->o->metrics_listen || !*w->o->metrics_listen)
        return 0;
    int rc = metrics_server_open(w->o->metrics_listen, write_page, w, &w->metrics, err);
    if (rc < 0)
        return err_wrap(err, "metrics_listen");
    for (size_t i = 0; metrics_server_address(w->metrics, i); i++)
        log_info(&w->log, "metrics at %s", metrics_server_address(w->metrics, i));
    return 0;
}

static void leave(struct worker *w)
{
    pthread_mutex_lock(&w->mu);
    w->ending = true;
    pthread_cond_broadcast(&w->ended);
    pthread_mutex_unlock(&w->mu);
}

/* Waits for a thread that may hang. */
static void join_within(pthread_t t, int64_t ms)
{
    int64_t until = clock_mono_ms() + ms;
    struct timespec at = {.tv_sec = until / 1000, .tv_nsec = until % 1000 * 1000000};
    if (pthread_clockjoin_np(t, NULL, CLOCK_MONOTONIC, &at) != 0) {
        /* It ends with the process. */
    }
}

/* With everything open: threads, the loop, the drain. */
static int run(struct worker *w, struct pool *jobs, struct err *err)
{
    pthread_t keeper, sweeper;
    struct places places;
    size_t hang = 0;
    places_init(&places, w->o->concurrency_min, w->o->concurrency, clock_mono_ms());
    atomic_store(&w->places_now, places.now);
    int rc = thread_start(&keeper, "keeper", keeper_main, w, err);
    if (rc < 0)
        return rc;
    rc = thread_start(&sweeper, "sweeper", sweeper_main, w, err);
    if (rc == 0) {
        struct warm_up models = {.started = false};
        if (greet(w))
            warm_up_start(&models, w);
        claim_loop(w, jobs, &places);
        warm_up_end(&models);
        if (!stopping(w))
            let_jobs_end(w);
        w->unreturned_before = counters_get(&w->counts, COUNT_unreturned);
        hang = drain(w);
    }
    struct run *r;
    while (hang && (r = board_abandon(w->board)))
        job_settle_stuck(w, r);
    leave(w);
    if (hang) {
        join_within(keeper, LEAVE_MS);
        join_within(sweeper, LEAVE_MS);
        return WORKER_STUCK;
    }
    pthread_join(keeper, NULL);
    if (rc < 0)
        return rc;
    pthread_join(sweeper, NULL);
    return stopping(w) ? WORKER_ENDED : WORKER_AGAIN;
}

/* As many as the default engine serves; without one a few, for engines that jobs name. */
static unsigned slots_wanted(struct worker *w)
{
    enum { FEW = 4 };
    struct engine *e = NULL;
    struct err err = ERR_INIT;
    if (w->o->engine->slots)
        return w->o->engine->slots;
    return engines_get(w->engines, NULL, &e, &err) < 0 ? FEW : engine_slots(e);
}

static void forget(struct worker *w)
{
    struct err gone = ERR_INIT;
    if (store_worker_gone(w->o->store, w->id, &gone) < 0)
        log_debug(&w->log, "the worker's row stays until it is swept: %s", gone.msg);
}

int worker_run(const struct worker_opts *o, struct err *err)
{
    struct worker *w = xcalloc(1, sizeof *w);
    struct pool *jobs = NULL;
    w->o = o;
    w->started_at = clock_wall_ms();
    w->recycle.born_ms = clock_mono_ms();
    w->log.component = "worker";
    id_new(w->id);
    pthread_mutex_init(&w->mu, NULL);
    cond_init(&w->ended);
    board_new(&w->board);
    engines_new(o->engine, o->models, false, &w->engines);
    int rc = temp_open(o->temp_folder, &w->temp, err);
    if (rc == 0)
        rc = slots_new(slots_wanted(w), &w->slots, err);
    if (rc == 0)
        rc = pool_new("job", worker_places(o), worker_places(o), &jobs, err);
    engines_look(w->engines); /* for the first heartbeat */
    if (rc == 0)
        rc = serve_metrics(w, err);
    if (rc == 0)
        rc = run(w, jobs, err);
    long long left = counters_get(&w->counts, COUNT_unreturned) - w->unreturned_before;
    if (rc == WORKER_STUCK) {
        forget(w);
        if (left > 0)
            log_error(&w->log, UNRETURNED, left);
        return left > 0 ? WORKER_STUCK_LEFT : WORKER_STUCK;
    }

    metrics_server_close(w->metrics);
    pool_free(jobs);
    slots_free(w->slots);
    engines_free(w->engines);
    temp_close(w->temp);
    board_free(w->board);
    pthread_cond_destroy(&w->ended);
    pthread_mutex_destroy(&w->mu);
    forget(w);
    free(w);
    if (rc == WORKER_ENDED && left > 0)
        return err_set(err, ERR_UNAVAILABLE, UNRETURNED, left);
    return rc;
}
