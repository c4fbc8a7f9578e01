/* SPDX-License-Identifier: MIT */
/*
 * Listening sockets from a setting: "127.0.0.1:8000, [::1]:8000, unix:/run/steno.sock". A host name gives a socket for
 * each of its addresses; "*" is any address.
 */
#ifndef BASE_LISTEN_H
#define BASE_LISTEN_H

#include "base/err.h"

#include <stddef.h>

enum { LISTEN_NAME_SIZE = 160 };

struct listener {
    int fd;
    char name[LISTEN_NAME_SIZE]; /* what it is really bound to: "127.0.0.1:34567" or "unix:/path" */
};

/* Opens all; on failure none stays open. INVALID: malformed address; UNAVAILABLE: in use or not ours. */
int listen_open(const char *addresses, struct listener *ret, size_t max, size_t *ret_n, struct err *err) MUST_CHECK;
/* Closes the socket unless its fd is negative, and removes the file of a Unix socket. */
void listen_close(struct listener *l);

#endif
