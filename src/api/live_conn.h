/* SPDX-License-Identifier: MIT */
/*
 * A live connection: a socket that the hub owns. It holds one script at most, and asks for the next when that is sent:
 * so a slow reader costs what its script takes, and is told what stands when it is ready.
 */
#ifndef API_LIVE_CONN_H
#define API_LIVE_CONN_H

#include "api/hub_internal.h"
#include "api/live_script.h"
#include "api/ws.h"

enum {
    LIVE_STUCK_MS = 60000,    /* nothing could be sent for that long: the peer is gone */
    LIVE_GOODBYE_MS = 5000,   /* for the peer's close frame */
    LIVE_DRAIN_MS = 1000,     /* for all that, when the server stops */
    LIVE_CONTROL_MAX = 16384, /* pongs and a close frame */
};

struct conn {
    struct sub sub;
    struct post post;
    struct api *api;
    const struct live_format *format;
    enum live_transport transport;
    void (*left)(struct api *api, const char *job_id);
    struct place place;
    struct live_load *load; /* waits for it */
    TAILQ_ENTRY(conn) join; /* of its connections */
    struct script *out;     /* being sent ... */
    size_t sent;            /* ... so much of it */
    struct buf control;     /* sent between scripts */
    struct ws_in *in;
    int64_t stuck_since_ms; /* 0: what is sent goes out */
    unsigned watched;       /* epoll events */
    bool control_cut;       /* the first frame of `control` may have gone out by half */
    bool more;              /* there is more to tell than the channel knows of */
    bool told_all;          /* the last message went out */
    bool closing;           /* no script is asked for any more */
    bool goodbye;           /* nothing is sent any more; the peer's end of the connection is waited for */
    bool awaits_pong;
    bool draining;
    char job_id[ID_SIZE];
};

/* `head`: sent first. NULL: no memory; else the socket is the connection's. */
struct conn *conn_new(struct api *api, int fd, const struct live_opts *o, const void *head, size_t n);
/* Hands it to the hub. Any thread. */
void conn_start(struct conn *c);

#endif
