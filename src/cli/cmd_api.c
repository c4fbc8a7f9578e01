/* SPDX-License-Identifier: MIT */
/* steno api: serves HTTP until it is told to stop. */
#include "api/api.h"

#include "base/buf.h"
#include "base/stop.h"
#include "cli/app.h"
#include "cli/role.h"
#include "engine/engine.h"

#include <poll.h>
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
    const char *addresses[ADDRESSES_MAX + 1] = {NULL};
    for (size_t i = 0; i < ADDRESSES_MAX && (addresses[i] = api_address(api, i)); i++)
        ;
    int rc = role_ready(c, addresses, err);
    if (rc < 0)
        return rc;
    wait_for_stop();
    role_gone(c, addresses);
    return 0;
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
        .http_threads = (unsigned)c->http_threads,
        .work_threads = (unsigned)c->work_threads,
        .storage_threads = (unsigned)c->storage_threads,
        .max_upload_bytes = c->max_upload_size,
        .max_queue = c->max_queue_size,
        .idle_ms = c->idle_timeout,
        .upload_ms = c->upload_time_limit,
        .engine_names = buf_str(&names),
        .version = STENO_VERSION,
    };
    raise_descriptor_limit();
    struct api *api = NULL;
    int rc = api_open(&o, &api, err);
    if (rc < 0)
        return rc;
    rc = run(c, api, err);
    api_close(api, MIN(c->drain_timeout, (int64_t)DRAIN_MAX_MS));
    return rc;
}
