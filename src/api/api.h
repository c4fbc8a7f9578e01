/* SPDX-License-Identifier: MIT */
/*
 * The HTTP server: routes, uploads, answers. Knows jobs, storage and events; never engines or audio.
 *
 * libmicrohttpd's epoll threads only parse and send. A request is suspended, its handler runs on a pool where it
 * may block on database and storage, and is resumed with the answer; an upload's body goes through a bounded
 * buffer to a pool task that writes it to storage, and reading from the client stops while that buffer is full.
 */
#ifndef API_API_H
#define API_API_H

#include "base/err.h"
#include "broker/broker.h"
#include "job/model_names.h"
#include "job/store.h"
#include "storage/storage.h"

struct api;

struct api_opts {
    /* Borrowed until api_close, as is `models`. */
    struct store *store;
    struct storage *storage;
    struct broker *broker;     /* with events, which nobody else takes from it */
    const char *listen;        /* "127.0.0.1:8000,unix:/run/steno.sock": comma separated; port 0: any free one */
    const char *direct_listen; /* the same for the direct service; NULL or "": none. `listen` may be "none" then */
    int64_t direct_max_bytes;  /* there: largest recording */
    int direct_max;            /* ... transcriptions at the same time; 503 beyond */
    int64_t direct_ms;         /* ... longest wait for a text */
    unsigned http_threads;     /* parse and send */
    unsigned work_threads;     /* handlers */
    unsigned storage_threads;  /* uploads, and handlers that wait for storage */
    int64_t max_upload_bytes;  /* 413 beyond */
    int64_t upload_url_ms;     /* how long a URL for an upload past the api is good */
    const char *public_url;    /* of this server, for clients; "": what they call it themselves */
    int64_t max_queue;         /* pending jobs; 503 beyond; 0: no limit */
    int64_t wait_max_ms;       /* longest wait for a job that a client may ask for; 0: none */
    int64_t key_keep_ms;       /* how long the key of a submission is known */
    int64_t key_lease_ms;      /* after a request died, until its key is free */
    const char *cors_origins;  /* see cors.h; NULL or "": none */
    unsigned live_max;         /* live connections; 503 beyond; what the limit of open files allows, at most */
    int64_t live_ping_ms;      /* how often one is tried */
    int64_t idle_ms;           /* connection without traffic */
    int64_t upload_ms;         /* longest upload */
    int64_t sync_ms;           /* longest wait of a request that is answered when its job has ended; 0: no limit */
    const char *engine_names;  /* comma separated: what a job may ask for in `engine` */
    const char *version;
    /* As `listen`: where the figures are, which `listen` has at /metrics too; NULL or "": only there. */
    const char *metrics_listen;
    const struct model_names *models; /* what names of models mean; NULL: no setting is made */
    /*
     * Could a worker ever do this job? INVALID, UNSUPPORTED and NOT_FOUND (no such model) refuse it, with their
     * sentence; other failures are left to the worker. Any thread. NULL: nobody can say here.
     */
    int (*check)(void *arg, const struct job_new *job, struct err *err);
    void *check_arg;
    const char *data_folder, *temp_folder; /* see room.h; health looks at them, too */
    const char *storage_folder;            /* the same; NULL: storage is no folder */
    int64_t min_free_bytes;                /* with less room in one of them uploads are refused, 503; 0: never */
};

/* Binds and starts serving. INVALID: bad address; UNAVAILABLE: address in use. */
int api_open(const struct api_opts *o, struct api **ret, struct err *err) MUST_CHECK;
/* "127.0.0.1:34567" or "unix:/path", the i-th address really bound; NULL past the last. */
const char *api_address(const struct api *a, size_t i);
/* The same of the direct service. */
const char *api_direct_address(const struct api *a, size_t i);
/* Stops accepting, waits for running requests up to drain_ms, frees. NULL is fine. */
void api_close(struct api *a, int64_t drain_ms);

#endif
