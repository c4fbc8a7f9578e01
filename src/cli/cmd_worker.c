/* SPDX-License-Identifier: MIT */
/* steno worker: runs jobs until it is told to stop. */
#include "worker/worker.h"

#include "cli/app.h"
#include "cli/media.h"

int cmd_worker(struct app *app, int argc, char **argv, struct err *err)
{
    (void)argc;
    (void)argv;
    const struct conf *c = app->conf;
    struct engine_opts engine = media_engine(c);
    CLEANUP(arena_clear) struct arena arena = ARENA_INIT;
    struct job_options options;
    struct model_names names;
    struct retry_policy retry;
    int rc = media_options(c, &arena, &options, err);
    if (rc == 0)
        rc = app_retry_policy(c, &retry, err);
    if (rc == 0)
        rc = media_model_names(c, &arena, &names, err);
    if (rc < 0)
        return rc;
    struct worker_opts o = {
        .store = app->store,
        .storage = app->storage,
        .broker = app->broker,
        .engine = &engine,
        .models = &names,
        .language = media_language(c),
        .options = &options,
        .temp_folder = c->temp,
        .concurrency = (unsigned)c->worker_concurrency,
        .short_place = c->short_job_size > 0,
        .lease_ms = c->lease,
        .poll_ms = c->poll_interval,
        .sweep_ms = c->sweep_interval,
        .drain_ms = c->drain_timeout,
        .upload_max_age_ms = c->upload_time_limit,
        .job_time_ms = c->job_time_limit,
        .retry = retry,
        .decode = media_decode(c),
    };
    app_queues(c, &o.queues);
    app_retention(c, &o.retention);
    return worker_run(&o, err);
}
