/* SPDX-License-Identifier: MIT */
/*
 * HTTP to a steno server, by libcurl, over TCP or a Unix socket. One request at a time; one thread.
 *
 * An answer that is a problem (RFC 9457) becomes an error of its `code` with its `detail` as the sentence. A stop of
 * the process (Ctrl-C) ends a request within a second as CANCELLED.
 *
 * Errors: UNAVAILABLE (no server there), TIMEOUT, CANCELLED, TOO_LARGE (an answer over the limit), and what the server
 * says.
 */
#ifndef CLI_CLIENT_H
#define CLI_CLIENT_H

#include "base/buf.h"
#include "base/err.h"

#include <jansson.h>
#include <stdint.h>

struct client;

/* base: "http://host:port", "https://..." or "unix:/path". Makes no connection. */
int client_open(const char *base, struct client **ret, struct err *err) MUST_CHECK;
void client_close(struct client *c); /* NULL is fine */
const char *client_base(const struct client *c);

/* GET, DELETE ...; `path` begins with '/'. *ret (caller decrefs) may be NULL; {} for an empty answer. */
int client_call(struct client *c, const char *method, const char *path, json_t **ret, struct err *err) MUST_CHECK;

/* GET, the body as it comes. */
typedef int (*client_sink)(const void *data, size_t n, void *arg, struct err *err);
int client_stream(struct client *c, const char *path, client_sink sink, void *arg, struct err *err) MUST_CHECK;

/*
 * GET of server-sent events, the body as it comes, until the server ends it. UNSUPPORTED: it answers something else.
 * TIMEOUT: the time is over, or the server said nothing at all for so long that it is gone.
 */
struct client_events {
    const char *path;
    const char *last_id; /* to go on after; "": from the beginning of what there is */
    int64_t timeout_ms;  /* 0: as long as it takes */
    client_sink sink;
    void *arg;
};
int client_events(struct client *c, const struct client_events *e, struct err *err) MUST_CHECK;

/* After a stop: what is asked of the server from here on is still done. The next stop ends it. */
void client_last_words(struct client *c);

struct client_field {
    const char *name, *value; /* a NULL value is left out */
};
struct client_upload {
    const char *path, *file; /* `file` is streamed from disk */
    const char *name;        /* what the server is told it is called; NULL: the last part of `file` */
    const struct client_field *fields;
    size_t n_fields;
    void (*progress)(int64_t sent, int64_t total, void *arg); /* bytes; or NULL */
    void *arg;
};
/* POST multipart/form-data, the file as field `file`. */
int client_upload(struct client *c, const struct client_upload *u, json_t **ret, struct err *err) MUST_CHECK;

/* Appends one part of a path or query, percent-encoded. */
void client_add_escaped(struct buf *path, const char *text);
/* Appends a query parameter ("?" or "&" as needed), percent-encoded; nothing for a NULL value. */
void client_add_query(struct buf *path, const char *name, const char *value);

#endif
