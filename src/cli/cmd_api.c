/* SPDX-License-Identifier: MIT */
/* steno api: serves HTTP until it is told to stop. */
#include "api/api.h"

#include "base/buf.h"
#include "base/stop.h"
#include "base/str.h"
#include "cli/app.h"
#include "cli/media.h"
#include "cli/role.h"
#include "engine/engine.h"
#include "worker/ask.h"
#include "worker/engines.h"

#include <poll.h>
#include <string.h>
#include <sys/resource.h>

enum {
    DRAIN_MAX_MS = 15000, /* within what the supervisor grants */
    ADDRESSES_MAX = 64,
};

/* Each connection needs a descriptor, and the usual soft limit of 1024 is for programs that use select. */
static void raise_descriptor_limit(void)
{
    struct rlimit r;
    if (getrlimit(RLIMIT_NOFILE, &r) == 0 && r.rlim_cur < r.rlim_max) {
        r.rlim_cur = r.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &r);
    }
}

static void wait_for_stop(void)
{
    struct pollfd p = {.fd = stop_fd(), .events = POLLIN};
    while (!stop_requested())
        (void)poll(&p, 1, -1);
}

static int run(const struct conf *c, const struct api *api, struct err *err)
{
    const char *addresses[ADDRESSES_MAX + 1] = {NULL}, *direct[ADDRESSES_MAX + 1] = {NULL};
    for (size_t i = 0; i < ADDRESSES_MAX && (addresses[i] = api_address(api, i)); i++)
        ;
    for (size_t i = 0; i < ADDRESSES_MAX && (direct[i] = api_direct_address(api, i)); i++)
        ;
    int rc = role_ready(c, addresses, direct, err);
    if (rc < 0)
        return rc;
    wait_for_stop();
    role_gone(c, addresses);
    return 0;
}

/* What it takes to tell at once that a job cannot be done. */
struct checker {
    struct engines *engines;
    const char *language; /* for jobs that name none */
    struct job_options settings;
};

static int check_job(void *arg, const struct job_new *job, struct err *err)
{
    struct checker *c = arg;
    CLEANUP(arena_clear) struct arena a = ARENA_INIT;
    struct job_options asked;
    const char *language = job->language ? job->language : c->language;
    const struct model_wish wish = {.name = job->model, .language = language, .task = job->task};
    struct pipeline_opts o = {.request = {.language = language, .task = job->task, .prompt = job->prompt}};
    int rc = engines_choose(c->engines, job->engine, &wish, &a, &o.engine, &o.request.model, &o.warning, err);
    if (rc == 0)
        rc = job_options_from_json(job->options, &a, &asked, err);
    if (rc == 0)
        rc = ask_options(&o, &asked, &c->settings, &a, err);
    return rc < 0 ? rc : engine_check(o.engine, &o.request, err);
}

int cmd_api(struct app *app, int argc, char **argv, struct err *err)
{
    (void)argc;
    (void)argv;
    const struct conf *c = app->conf;
    CLEANUP(buf_clear) struct buf names = BUF_INIT(4096);
    for (const struct engine_info *const *e = engine_list(); *e; e++)
        buf_addf(&names, "%s%s", names.len ? "," : "", (*e)->name);
    struct api_opts o = {
        .store = app->store,
        .storage = app->storage,
        .broker = app->broker,
        .listen = c->listen,
        .direct_listen = c->direct_listen,
        .metrics_listen = c->api_metrics_listen,
        .direct_max_bytes = c->direct_max_size,
        .direct_max = (int)c->direct_concurrency,
        .direct_ms = c->direct_time_limit,
        .http_threads = (unsigned)c->http_threads,
        .work_threads = (unsigned)c->work_threads,
        .storage_threads = (unsigned)c->storage_threads,
        .max_upload_bytes = c->max_upload_size,
        .max_queue = c->max_queue_size,
        .wait_max_ms = c->wait_limit,
        .key_keep_ms = c->idempotency_lifetime,
        .key_lease_ms = c->lease,
        .cors_origins = c->cors_origins,
        .upload_url_ms = c->upload_url_time,
        .public_url = c->public_url,
        .live_max = (unsigned)c->live_connections,
        .live_ping_ms = c->live_ping,
        .idle_ms = c->idle_timeout,
        .upload_ms = c->upload_time_limit,
        .sync_ms = c->sync_time_limit,
        .engine_names = buf_str(&names),
        .version = STENO_VERSION,
        .data_folder = c->data,
        .temp_folder = c->temp,
        .storage_folder = str_starts(c->storage, "file:") ? c->storage + strlen("file:") : NULL,
        .min_free_bytes = c->min_free_disk,
    };
    CLEANUP(arena_clear) struct arena arena = ARENA_INIT;
    struct engine_opts engine = media_engine(c);
    struct checker checker = {.language = media_language(c)};
    struct model_names models;
    int rc = media_options(c, &arena, &checker.settings, err);
    if (rc == 0)
        rc = media_model_names(c, &arena, &models, err);
    if (rc < 0)
        return rc;
    o.models = &models;
    engines_new(&engine, &models, true, &checker.engines);
    /* The worker beside us has the same engines and models; of others elsewhere nothing is known here. */
    if (role_supervised()) {
        o.check = check_job;
        o.check_arg = &checker;
    }
    raise_descriptor_limit();
    struct api *api = NULL;
    rc = api_open(&o, &api, err);
    if (rc == 0)
        rc = run(c, api, err);
    api_close(api, MIN(c->drain_timeout, (int64_t)DRAIN_MAX_MS));
    engines_free(checker.engines);
    return rc;
}
