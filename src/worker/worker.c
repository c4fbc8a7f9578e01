/* SPDX-License-Identifier: MIT */
/*
 * The claim loop. A free place on the board and no suspect on it: claim; nothing due: wait for a wake-up, for a job to
 * end (its thread interrupts the wait), or for poll_ms. Claims go on until nothing is due, so a lost wake-up costs at
 * most poll_ms.
 *
 * The end: no more claims; the drain flag keeps jobs from starting chunks; when drain_ms are over or a second stop is
 * asked for, whatever still runs is stopped and handed back. The keeper goes on renewing until the last job is off
 * the board.
 */
#include "worker/worker.h"

#include "audio/sandbox.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/thread.h"
#include "worker/job_run.h"
#include "worker/keeper.h"
#include "worker/metrics.h"
#include "worker/sweeper.h"

#include <stdlib.h>

enum { LOOK_MS = 200 };

static bool stopping(const struct worker *w)
{
    return stop_requested() > 0 || cancel_is_set(w->o->stop);
}

static void pause_claims(const struct worker *w, int64_t ms)
{
    for (; ms > 0 && !stopping(w); ms -= LOOK_MS)
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
    board_remove(t.w->board, t.r);
    run_free(t.r);
    broker_interrupt(t.w->o->broker);
}

/* A claimed job gets its thread. */
static int begin_job(struct worker *w, struct run *r, struct pool *jobs, struct err *err)
{
    broker_taken(w->o->broker, job_queue_name(r->job.queue));
    /* Both ends are of the database's clock; the claim dated the row. */
    counters_spread(&w->counts, SPREAD_queue_wait, MAX(r->job.updated_at - r->job.run_after, 0));
    r->claim = (struct claim){.id = r->job.id, .holder = w->id, .fence = r->job.fence};
    struct task *t = xcalloc(1, sizeof *t);
    *t = (struct task){w, r};
    board_add(w->board, r);
    struct err fault = ERR_INIT;
    if (FAULT_POINT(job_claimed, &fault) < 0)
        log_warn(&w->log, "%s", fault.msg);
    if (!pool_try_run(jobs, on_job_thread, t)) {
        /* Cannot be: the pool's queue holds as many as the board. */
        board_remove(w->board, r);
        free(t);
        run_free(r);
        return err_set(err, ERR_INTERNAL, "no job thread took a claimed job");
    }
    return 0;
}

/* Claims at most n jobs in one round trip; returns how many, 0: nothing is due. */
static int claim_jobs(struct worker *w, bool idle, size_t n, struct pool *jobs, struct err *err)
{
    struct claim_opts o = {.holder = w->id, .lease_ms = w->o->lease_ms, .idle = idle};
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
static size_t claims_wanted(const struct worker *w, size_t running, size_t last)
{
    size_t free_places = w->o->concurrency - running;
    return running == 0 ? 1 : MIN(MIN(MAX(2 * last, 1), free_places), (size_t)CLAIM_MAX);
}

static void claim_loop(struct worker *w, struct pool *jobs)
{
    struct outage outage = {0};
    size_t last = 0; /* how many jobs the last claim brought */
    while (!stopping(w)) {
        size_t running = board_count(w->board);
        if (running >= w->o->concurrency || board_has_suspect(w->board)) {
            board_wait(w->board, running, LOOK_MS);
            continue;
        }
        struct err err = ERR_INIT;
        int rc = claim_jobs(w, running == 0, claims_wanted(w, running, last), jobs, &err);
        last = rc > 0 ? (size_t)rc : 0;
        if (rc < 0) {
            pause_claims(w, outage_hit(&outage, &w->log, "looking for work", &err));
            continue;
        }
        outage_over(&outage, &w->log, "looking for work");
        if (rc == 0 && broker_wait(w->o->broker, w->o->poll_ms, &err) < 0)
            pause_claims(w, w->o->poll_ms); /* without the broker there is still looking */
    }
}

static void drain(struct worker *w)
{
    size_t n = board_count(w->board);
    int64_t until = clock_mono_ms() + w->o->drain_ms;
    if (n)
        log_info(&w->log, "stopping: %zu jobs may finish their running chunks for %.0f s", n,
                 (double)w->o->drain_ms / 1000);
    cancel_set(&w->drain);
    while ((n = board_count(w->board)) > 0 && clock_mono_ms() < until && stop_requested() < 2)
        board_wait(w->board, n, LOOK_MS);
    board_stop_all(w->board, RUN_HALTED);
    while ((n = board_count(w->board)) > 0)
        board_wait(w->board, n, LOOK_MS);
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

/* An engine that is ready before the first job, and a line that says which it is. */
static void warm_up(struct worker *w)
{
    static const struct engine_request any = {.task = "transcribe"};
    struct engine *e = NULL;
    struct err err = ERR_INIT;
    warn_of_sandbox(w);
    if (engines_get(w->engines, NULL, &e, &err) < 0)
        log_error(&w->log, "no engine: %s (jobs will be tried and fail until this is mended)", err.msg);
    else
        log_info(&w->log, "worker %s: engine %s, model %s, %u slots, %u jobs at a time", w->id, engine_info(e)->name,
                 engine_model(e, &any), slots_count(w->slots), w->o->concurrency);
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

/* With everything open: threads, the loop, the drain. */
static int run(struct worker *w, struct pool *jobs, struct err *err)
{
    pthread_t keeper, sweeper;
    int rc = thread_start(&keeper, "keeper", keeper_main, w, err);
    if (rc < 0)
        return rc;
    rc = thread_start(&sweeper, "sweeper", sweeper_main, w, err);
    if (rc == 0) {
        warm_up(w);
        claim_loop(w, jobs);
        drain(w);
    }
    leave(w);
    pthread_join(keeper, NULL);
    if (rc == 0)
        pthread_join(sweeper, NULL);
    return rc;
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

int worker_run(const struct worker_opts *o, struct err *err)
{
    struct worker w = {.o = o, .started_at = clock_wall_ms(), .log = {.component = "worker"}};
    struct pool *jobs = NULL;
    id_new(w.id);
    pthread_mutex_init(&w.mu, NULL);
    cond_init(&w.ended);
    board_new(&w.board);
    engines_new(o->engine, o->models, false, &w.engines);
    int rc = temp_open(o->temp_folder, &w.temp, err);
    if (rc == 0)
        rc = slots_new(slots_wanted(&w), &w.slots, err);
    if (rc == 0)
        rc = pool_new("job", o->concurrency, o->concurrency, &jobs, err);
    engines_look(w.engines); /* for the first heartbeat */
    if (rc == 0)
        rc = serve_metrics(&w, err);
    if (rc == 0)
        rc = run(&w, jobs, err);

    metrics_server_close(w.metrics);
    pool_free(jobs);
    slots_free(w.slots);
    engines_free(w.engines);
    temp_close(w.temp);
    board_free(w.board);
    pthread_cond_destroy(&w.ended);
    pthread_mutex_destroy(&w.mu);
    struct err gone = ERR_INIT;
    if (store_worker_gone(o->store, w.id, &gone) < 0)
        log_debug(&w.log, "the worker's row stays until it is swept: %s", gone.msg);
    int64_t left = counters_get(&w.counts, COUNT_unreturned);
    if (rc == 0 && left > 0)
        return err_set(err, ERR_UNAVAILABLE, "%lld jobs could not be handed back; they go on when their leases run out",
                       (long long)left);
    return rc;
}
