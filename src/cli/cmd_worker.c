/* SPDX-License-Identifier: MIT */
/* steno worker: runs jobs until it is told to stop; a process that has had its share is replaced by a fresh one. */
#include "worker/worker.h"

#include "base/stop.h"
#include "base/str.h"
#include "cli/app.h"
#include "cli/media.h"
#include "cli/replace.h"

#include <unistd.h>

enum {
    MEMORY_MIN_AGE_MS = 60 * 1000, /* loading models again costs: not more often than this */
    RECYCLE_MS = 10 * 60 * 1000,   /* one long job must not keep the other places empty for longer */
};

/* Threads hang that use what is open: it stays open until the process is another one. */
static _Noreturn void leave_threads_behind(struct app *app, bool left)
{
    struct err err = ERR_INIT;
    int rc = stop_requested() ? ERR_CANCELLED : replace_process(app->argv, &err);
    if (rc == ERR_CANCELLED)
        _exit(left ? STATUS_UNAVAILABLE : STATUS_OK);
    app_complain(app->cmd, &err);
    _exit(STATUS_FAILED);
}

enum { SETTINGS_MAX = 32 << 10 }; /* of those that are told */

/* All workers on a database share the limits of requests to remote engines. */
static int take_request(void *arg, const char *name, int64_t per_minute, int64_t *ret_wait_ms, struct err *err)
{
    return store_take_request(arg, name, per_minute, ret_wait_ms, err);
}

int cmd_worker(struct app *app, int argc, char **argv, struct err *err)
{
    (void)argc;
    (void)argv;
    const struct conf *c = app->conf;
    struct engine_opts engine = media_engine(c);
    engine.rate = (struct engine_rate){.take = take_request, .arg = app->store};
    CLEANUP(arena_clear) struct arena arena = ARENA_INIT;
    struct job_options options;
    struct model_names names;
    struct retry_policy retry;
    int rc = media_options(c, &arena, &options, err);
    if (rc == 0)
        rc = app_retry_policy(c, &retry, err);
    if (rc == 0)
        rc = media_model_names(c, &arena, &names, err);
    CLEANUP(buf_clear) struct buf settings = BUF_INIT(SETTINGS_MAX);
    conf_tell(c, &settings);
    if (rc == 0)
        rc = buf_check(&settings, "the settings", err);
    if (rc < 0)
        return rc;
    struct worker_opts o = {
        .store = app->store,
        .storage = app->storage,
        .broker = app->broker,
        .engine = &engine,
        .models = &names,
        .warm_up = c->model_warm_up,
        .language = media_language(c),
        .options = &options,
        .temp_folder = c->temp,
        .concurrency = (unsigned)c->worker_concurrency,
        .concurrency_min = (unsigned)c->worker_concurrency_min,
        .short_place = c->short_job_size > 0,
        .lease_ms = c->lease,
        .poll_ms = c->poll_interval,
        .sweep_ms = c->sweep_interval,
        .drain_ms = c->drain_timeout,
        .upload_max_age_ms = c->upload_time_limit,
        .metrics_listen = c->metrics_listen,
        .settings = buf_str(&settings),
        .limits = {.soft_ms = c->job_time_limit,
                   .hard_ms = c->job_hard_time_limit,
                   .factor = c->job_time_factor,
                   .fails = str_eq(c->job_time_policy, "fail")},
        .min_free_bytes = c->min_free_disk,
        .max_jobs = c->worker_max_jobs,
        .max_memory_bytes = c->worker_max_memory,
        .memory_min_age_ms = MEMORY_MIN_AGE_MS,
        .recycle_ms = RECYCLE_MS,
        .replaced = replace_count(),
        .retry = retry,
        .decode = media_decode(c),
    };
    app_queues(c, &o.queues);
    app_retention(c, &o.retention);
    rc = worker_run(&o, err);
    if (rc == WORKER_STUCK || rc == WORKER_STUCK_LEFT)
        leave_threads_behind(app, rc == WORKER_STUCK_LEFT);
    app->again = rc == WORKER_AGAIN;
    return rc < 0 ? rc : STATUS_OK;
}
