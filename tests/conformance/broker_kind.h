/* SPDX-License-Identifier: MIT */
/*
 * Which broker a broker suite runs on: the one that its argument names; "local", in a fresh folder, without any. The
 * others need a server that an environment variable names; without it the suite is skipped.
 */
#ifndef TESTS_BROKER_KIND_H
#define TESTS_BROKER_KIND_H

#include <stdbool.h>

struct broker_kind {
    const char *name, *env; /* env: names the server; NULL: none is needed */
    bool keeps_tokens;      /* and dead letters, in queues */
};

/* True: all is skipped, and one line of TAP says so. Call it first in main. A name that nobody knows ends the program.
 */
bool broker_kind_skip(int argc, char **argv, const struct broker_kind **ret);
/* Makes a private folder, which the caller removes, and the broker's URL. Signals are as in the program. */
bool broker_kind_set_up(const struct broker_kind *kind, char folder[64], char url[256]);

#endif
