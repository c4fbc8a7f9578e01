/* SPDX-License-Identifier: MIT */
/*
 * WebSocket, RFC 6455, the server's side: handshake, frames out, frames in. No sockets here: bytes in, bytes out.
 *
 * What comes in is taken apart by wslay, which knows masks, fragments, control frames in between, UTF-8 across frames
 * and what close code each breach of the protocol has. Its context takes 9 KB, so a connection has one only while a
 * frame or message is incomplete. Clients have nothing to say here: text and binary messages are checked and dropped.
 */
#ifndef API_WS_H
#define API_WS_H

#include "base/buf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { WS_ACCEPT_SIZE = 29, WS_MESSAGE_MAX = 64 << 10, WS_REASON_MAX = 123 };

/* Close codes. */
enum ws_close {
    WS_CLOSE_NORMAL = 1000,
    WS_CLOSE_GOING_AWAY = 1001, /* the server stops */
    WS_CLOSE_PROTOCOL = 1002,
    WS_CLOSE_NOT_UTF8 = 1007,
    WS_CLOSE_NO_JOB = 4404, /* ours: there is no such job */
};

/* The headers of a handshake, as sent; NULL where they are missing. */
struct ws_handshake {
    const char *upgrade, *connection, *version, *key;
};
enum ws_verdict {
    WS_FINE,
    WS_NO_UPGRADE,  /* no handshake at all, or none for a WebSocket */
    WS_BAD_VERSION, /* only 13 is spoken */
    WS_BAD_KEY,
};
/* WS_FINE: ret_accept is what Sec-WebSocket-Accept says. */
enum ws_verdict ws_accept(const struct ws_handshake *h, char ret_accept[WS_ACCEPT_SIZE]);

/* Appends a whole message in one frame. */
void ws_add_text(struct buf *b, const char *text, size_t n);
void ws_add_ping(struct buf *b);
/* `reason`: UTF-8, cut to WS_REASON_MAX bytes; NULL: none. */
void ws_add_close(struct buf *b, enum ws_close code, const char *reason);

/* What is kept of a client's incomplete frame or message. */
struct ws_in;
enum ws_state {
    WS_OPEN,
    WS_CLOSED, /* the client closed, or broke the protocol: the close frame in `reply` is the last thing to send */
    WS_FAILED, /* no memory: drop the connection */
};
/*
 * Takes n bytes from the client; *w is NULL at first and becomes NULL again whenever nothing is incomplete. Appends
 * pongs and at most one close frame to `reply`: a little more than n bytes at most.
 */
enum ws_state ws_feed(struct ws_in **w, const char *p, size_t n, struct buf *reply);
/* NULL is fine. */
void ws_in_free(struct ws_in *w);

#endif
