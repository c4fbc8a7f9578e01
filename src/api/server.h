/* SPDX-License-Identifier: MIT */
/* The server's own state: made by api.c, read by every handler. */
#ifndef API_SERVER_H
#define API_SERVER_H

#include "api/api.h"
#include "api/health.h"
#include "api/http.h"
#include "api/metrics.h"
#include "api/signed_upload.h"
#include "base/listen.h"
#include "base/thread.h"

#include <stdatomic.h>

struct MHD_Daemon;
struct hub;
struct metrics_server;

enum { LISTEN_MAX = 16 };

struct api {
    struct api_opts o; /* after api_open nothing in it changes */
    char *listen, *direct_listen, *metrics_listen, *engine_names, *version, *cors_origins, *data_folder, *temp_folder,
        *storage_folder, *public_url; /* what its texts point to */
    unsigned char sign_key[SIGN_KEY_SIZE];
    int64_t started_at; /* wall clock */
    struct metrics metrics;
    struct metrics_server *metrics_server; /* NULL: none */
    struct health *health;
    struct hub *hub;
    struct pool *work;    /* handlers */
    struct pool *storing; /* uploads and ROUTE_STORAGE handlers: storage that hangs holds up nothing else */
    struct pool *probe;   /* ROUTE_PROBE handlers */
    int work_max;         /* handlers under way or waiting; 503 beyond */
    unsigned connections_max;
    int uploads_max; /* uploads under way; 503 beyond */
    atomic_int working, storage_working, probing, uploads;
    atomic_llong room_bytes, room_looked_ms; /* room.c's */
    atomic_int active;                       /* requests under way */
    atomic_int live;                         /* live connections; 503 beyond o.live_max */
    atomic_int tasks;                        /* see http.h */
    atomic_bool draining;                    /* connections are closed after their next answer */
    atomic_bool stopping;                    /* no task begins any more */
    struct listener listeners[LISTEN_MAX];
    struct MHD_Daemon *daemons[LISTEN_MAX];
    size_t n_listeners;
    size_t n_main;             /* of them; the others are the direct service's */
    struct http_door doors[2]; /* for those, and these */
    atomic_int direct;         /* requests that the direct service has in work */
};

#endif
