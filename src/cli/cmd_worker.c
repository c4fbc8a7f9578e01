/* SPDX-License-Identifier: MIT */
/* steno worker: runs jobs until it is told to stop. */
#include "worker/worker.h"

#include "cli/app.h"
#include "cli/media.h"

enum { SETTINGS_MAX = 32 << 10 }; /* of those that are told */

int cmd_worker(struct app *app, int argc, char **argv, struct err *err)
{
    (void)argc;
    (void)argv;
    const struct conf *c = app->conf;
    struct engine_opts engine = media_engine(c);
    CLEANUP(arena_clear) struct arena arena = ARENA_INIT;
    struct job_options options;
    struct model_names names;
    int rc = media_options(c, &arena, &options, err);
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
        .language = media_language(c),
        .options = &options,
        .temp_folder = c->temp,
        .concurrency = (unsigned)c->worker_concurrency,
        .lease_ms = c->lease,
        .poll_ms = c->poll_interval,
        .sweep_ms = c->sweep_interval,
        .drain_ms = c->drain_timeout,
        .upload_max_age_ms = c->upload_time_limit,
        .keep_audio_ms = c->keep_audio,
        .job_time_ms = c->job_time_limit,
        .metrics_listen = c->metrics_listen,
        .settings = buf_str(&settings),
        .retry = {.max_attempts = (int)c->max_attempts, .base_ms = c->retry_base, .cap_ms = c->retry_cap},
        .decode = media_decode(c),
    };
    return worker_run(&o, err);
}
