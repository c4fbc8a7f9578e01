/* SPDX-License-Identifier: MIT */
/* Connections to a Redis server: the URL, the handshake, failures as sentences. Here and in redis_pipe.c hiredis is
 * seen. */
#ifndef BROKER_REDIS_CONN_H
#define BROKER_REDIS_CONN_H

#include "base/buf.h"
#include "base/err.h"
#include "broker/link.h"

#include <hiredis/hiredis.h>

struct redis_addr {
    struct link_addr url;
    char *socket; /* NULL: TCP */
    int port, db;
};

/*
 * redis://[user][:password]@host:port/db, or over a Unix socket unix:///path?db=N (also redis+unix:). INVALID;
 * UNSUPPORTED for rediss:. To be cleared after success only.
 */
int redis_addr_parse(const char *url, struct redis_addr *ret, struct err *err) MUST_CHECK;
void redis_addr_clear(struct redis_addr *a);

/*
 * Connects, logs in, selects the database and sees an answer: all within about LINK_PATIENCE_MS. The connection is a
 * blocking one whose reads and writes have that time-out. Caller: redisFree. UNAVAILABLE.
 */
int redis_open(const struct redis_addr *a, redisContext **ret, struct err *err) MUST_CHECK;
/* The failure of a connection. UNAVAILABLE. */
int redis_lost(const struct redis_addr *a, const redisContext *c, struct err *err);
/* 0, or UNAVAILABLE with what the server says when `r` is its refusal. */
int redis_check(const struct redis_addr *a, const redisReply *r, struct err *err) MUST_CHECK;

/* Appends a command as the protocol wants it. */
void redis_add(struct buf *b, size_t n, const char *const *args, const size_t *lens);

#endif
