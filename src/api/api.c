/* SPDX-License-Identifier: MIT */
/*
 * Opening and closing. Stopping has an order, because libmicrohttpd must not be stopped while a connection is
 * suspended, and a suspended connection is resumed by a task: no new connections; waiting requests are answered and
 * running ones get their time; no new tasks; the tasks end; only then the connections are closed, and last the pools,
 * which may still remove what cut uploads left in storage.
 */
#include "api/api.h"

#include "api/cors.h"
#include "api/http.h"
#include "api/hub.h"
#include "api/metrics_page.h"
#include "api/server.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "metrics/server.h"

#include <stdlib.h>

enum {
    WORK_PER_THREAD = 32, /* handlers that may wait, for each thread: about what a second or two can answer */
    PROBE_THREADS = 2,
    PROBE_WAITING = 64,
    LOOK_MS = 5,
    LIVE_MS = 5000, /* more than the hub gives live connections to come to their end */
};

static const struct log_ctx lc = {.component = "api"};

static void free_all(struct api *a)
{
    for (size_t i = 0; i < a->n_listeners; i++)
        listen_close(&a->listeners[i]);
    metrics_server_close(a->metrics_server);
    hub_free(a->hub);
    pool_free(a->probe);
    pool_free(a->storing);
    pool_free(a->work);
    health_free(a->health);
    free(a->listen);
    free(a->direct_listen);
    free(a->metrics_listen);
    free(a->engine_names);
    free(a->cors_origins);
    free(a->version);
    free(a->data_folder);
    free(a->temp_folder);
    free(a->storage_folder);
    free(a->public_url);
    free(a);
}

static struct api *new_api(const struct api_opts *o)
{
    struct api *a = xcalloc(1, sizeof *a);
    a->o = *o;
    a->started_at = clock_wall_ms();
    a->o.listen = a->listen = xstrdup(o->listen);
    a->o.direct_listen = a->direct_listen = xstrdup(o->direct_listen ? o->direct_listen : "");
    a->o.metrics_listen = a->metrics_listen = xstrdup(o->metrics_listen ? o->metrics_listen : "");
    a->o.engine_names = a->engine_names = xstrdup(o->engine_names);
    a->o.cors_origins = a->cors_origins = xstrdup(o->cors_origins);
    a->o.version = a->version = xstrdup(o->version);
    a->o.data_folder = a->data_folder = xstrdup(o->data_folder);
    a->o.temp_folder = a->temp_folder = xstrdup(o->temp_folder);
    a->o.storage_folder = a->storage_folder = o->storage_folder ? xstrdup(o->storage_folder) : NULL;
    a->o.public_url = a->public_url = xstrdup(o->public_url ? o->public_url : "");
    unsigned threads = MAX(o->work_threads, 1);
    a->work_max = (int)threads * WORK_PER_THREAD;
    a->connections_max = http_connections_max(&a->o.live_max);
    a->uploads_max = (int)a->connections_max;
    if (a->o.live_max < o->live_max)
        log_info(&lc,
                 "the limit of open files allows %u live connections, not %u (live_connections): raise it, for "
                 "example with ulimit -n or LimitNOFILE=",
                 a->o.live_max, o->live_max);
    return a;
}

static int listen_all(struct api *a, struct err *err)
{
    size_t more = 0;
    a->doors[0] = (struct http_door){.api = a};
    a->doors[1] = (struct http_door){.api = a, .direct = true};
    if (!str_ieq(a->o.listen, "none")) {
        int rc = listen_open(a->o.listen, a->listeners, LISTEN_MAX, &a->n_main, err);
        if (rc < 0)
            return rc;
    }
    a->n_listeners = a->n_main;
    if (*a->o.direct_listen) {
        int rc = listen_open(a->o.direct_listen, a->listeners + a->n_main, LISTEN_MAX - a->n_main, &more, err);
        if (rc < 0)
            return err_wrap(err, "direct service");
    }
    a->n_listeners += more;
    return a->n_listeners ? 0 : err_set(err, ERR_INVALID, "'listen' is none, and 'direct_listen' is empty");
}

static int start(struct api *a, struct err *err)
{
    /* Every handler and every upload has at most one task in the queue: nothing is ever refused for lack of room. */
    unsigned connections = a->connections_max;
    size_t room = (size_t)a->work_max + 3 * (size_t)a->uploads_max; /* a wait that ends has one, too */
    const struct health_opts health = {
        .store = a->o.store,
        .storage = a->o.storage,
        .broker = a->o.broker,
        .data_folder = a->o.data_folder,
        .temp_folder = a->o.temp_folder,
        .room_bytes = a->o.max_upload_bytes,
        .min_free_bytes = a->o.min_free_bytes,
    };
    int rc = sign_key_open(a->o.data_folder, a->sign_key, err);
    if (rc >= 0)
        rc = pool_new("api-work", MAX(a->o.work_threads, 1), room, &a->work, err);
    if (rc >= 0)
        rc = pool_new("api-storing", MAX(a->o.storage_threads, 1), room, &a->storing, err);
    if (rc >= 0)
        rc = pool_new("api-probe", PROBE_THREADS, (size_t)a->work_max + PROBE_WAITING, &a->probe, err);
    if (rc >= 0)
        rc = health_new(&health, &a->health, err);
    if (rc >= 0)
        rc = hub_new(&(struct hub_opts){.store = a->o.store, .broker = a->o.broker}, &a->hub, err);
    if (rc >= 0)
        rc = listen_all(a, err);
    for (size_t i = 0; i < a->n_listeners && rc >= 0; i++)
        rc = http_start(&a->doors[i >= a->n_main], a->listeners[i].fd, MAX(connections / (unsigned)a->n_listeners, 4),
                        &a->daemons[i], err);
    return rc < 0 ? rc : metrics_page_serve(a, &lc, err);
}

int api_open(const struct api_opts *o, struct api **ret, struct err *err)
{
    int bad = cors_check(o->cors_origins ? o->cors_origins : "", err);
    if (bad < 0)
        return bad;
    struct api *a = new_api(o);
    int rc = start(a, err);
    if (rc < 0) {
        api_close(a, 0);
        return rc;
    }
    *ret = a;
    return 0;
}

const char *api_address(const struct api *a, size_t i)
{
    return i < a->n_main ? a->listeners[i].name : NULL;
}

const char *api_direct_address(const struct api *a, size_t i)
{
    return i < a->n_listeners - a->n_main ? a->listeners[a->n_main + i].name : NULL;
}

static void wait_for_zero(const atomic_int *n, int64_t timeout_ms)
{
    int64_t start_ms = clock_mono_ms();
    while (atomic_load(n) > 0 && (timeout_ms < 0 || clock_mono_ms() - start_ms < timeout_ms))
        clock_sleep_ms(LOOK_MS);
}

void api_close(struct api *a, int64_t drain_ms)
{
    if (!a)
        return;
    atomic_store(&a->draining, true);
    for (size_t i = 0; i < a->n_listeners; i++)
        if (a->daemons[i])
            http_quiesce(a->daemons[i]);
    if (a->hub)
        hub_drain(a->hub);
    wait_for_zero(&a->active, drain_ms);
    wait_for_zero(&a->live, LIVE_MS);
    atomic_store(&a->stopping, true);
    wait_for_zero(&a->tasks, -1);
    for (size_t i = 0; i < a->n_listeners; i++)
        if (a->daemons[i])
            http_stop(a->daemons[i]);
    free_all(a);
}
