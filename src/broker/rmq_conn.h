/* SPDX-License-Identifier: MIT */
/*
 * One connection to RabbitMQ: connecting, logging in, frames, and sentences for what goes wrong. librabbitmq's
 * connections are not thread-safe, so each belongs to one thread; only rmq_conn_abort may come from another.
 *
 * All failures are UNAVAILABLE: whatever the reason, the broker is of no use now and may be later.
 */
#ifndef BROKER_RMQ_CONN_H
#define BROKER_RMQ_CONN_H

#include "base/err.h"
#include "broker/link.h"

#include <amqp.h>
#include <amqp_framing.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

enum {
    RMQ_CONNECT_MS = 3000, /* for TCP and TLS, and as long again for the login */
    RMQ_RPC_MS = 5000,     /* an answer that takes longer ends the connection */
    RMQ_TICK_MS = 500,     /* how often rmq_conn_next must be called for the heartbeat's sake, at least */
};

/* Where to go, from amqp://user:password@host:port/vhost?cacertfile=PATH&heartbeat=SECONDS. */
struct rmq_address {
    struct link_addr url;
    bool tls;
    char *ca;        /* file with the certificates to trust; NULL: the system's */
    int heartbeat_s; /* a server that is silent for twice as long is gone, and so are we for it */
};

/* INVALID. ret is to be cleared after success only. */
int rmq_address_parse(const char *url, struct rmq_address *ret, struct err *err) MUST_CHECK;
void rmq_address_clear(struct rmq_address *a);

struct rmq_conn {
    amqp_connection_state_t c; /* NULL: closed */
    int heartbeat_s;
    pthread_mutex_t mu; /* guards fd */
    int fd;             /* for rmq_conn_abort and for polling; -1: closed */
};

void rmq_conn_init(struct rmq_conn *c);
void rmq_conn_clear(struct rmq_conn *c);

/* Connects and logs in; `name` is what the server's tools show. Blocks at most twice RMQ_CONNECT_MS. */
int rmq_conn_open(struct rmq_conn *c, const struct rmq_address *a, const char *name, struct err *err) MUST_CHECK;
/* `polite`: tells the server first; for a connection that works. Closed already is fine. */
void rmq_conn_close(struct rmq_conn *c, bool polite);
/* Any thread: ends whatever the owner is blocked in. The connection is of no use after it. */
void rmq_conn_abort(struct rmq_conn *c);

int rmq_conn_channel(struct rmq_conn *c, amqp_channel_t channel, struct err *err) MUST_CHECK;

/*
 * The next frame, without waiting. 1: *ret is set, valid until rmq_conn_drained; 0: none is there; < 0: the connection
 * is lost, or the server closed it. Sends the heartbeat when it is due.
 */
int rmq_conn_next(struct rmq_conn *c, amqp_frame_t *ret, struct err *err) MUST_CHECK;
/* All frames were looked at: their memory is free. */
void rmq_conn_drained(struct rmq_conn *c);
/* The server closed a channel: confirms that, so that its number may be used again, and says why. Returns UNAVAILABLE;
 * *ret_code is AMQP's reply code. */
int rmq_conn_channel_closed(struct rmq_conn *c, const amqp_frame_t *f, int *ret_code, struct err *err);

/*
 * What a call of librabbitmq came to. 0, or UNAVAILABLE with "<what>: <why>"; *ret_code is AMQP's reply code when the
 * server closed the channel for it (which is confirmed then: open it again to go on), else 0.
 */
int rmq_conn_reply(struct rmq_conn *c, amqp_channel_t channel, amqp_rpc_reply_t r, const char *what, int *ret_code,
                   struct err *err) MUST_CHECK;
/* The same for calls that return a status. */
int rmq_conn_status(int status, const char *what, struct err *err) MUST_CHECK;

#endif
