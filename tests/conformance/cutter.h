/* SPDX-License-Identifier: MIT */
/*
 * A relay in front of a server that breaks one connection at a chosen moment: the n-th time the client sends something,
 * either before it goes on, or when the server has answered it completely (the answer is what gets lost).
 *
 * It knows PostgreSQL's protocol just well enough to see that an answer is complete.
 */
#ifndef TESTS_CONFORMANCE_CUTTER_H
#define TESTS_CONFORMANCE_CUTTER_H

#include <stdbool.h>

struct cutter;

/* Relays connections to this server; NULL when it cannot. */
struct cutter *cutter_new(const char *host, const char *port);
void cutter_free(struct cutter *c);
/* On 127.0.0.1. */
int cutter_port(const struct cutter *c);
/* Cuts once, at the n-th message from now on (from 1); 0 disarms. */
void cutter_arm(struct cutter *c, int n, bool after_answer);
/* Has it cut since it was armed? */
bool cutter_fired(struct cutter *c);
/* Nothing passes, in neither direction, nor do connections end. */
void cutter_stall(struct cutter *c, bool stalled);
/* As a server that is away: connections end, and new ones are hung up on at once. */
void cutter_refuse(struct cutter *c, bool refusing);
/* How many it has hung up on. */
int cutter_refused(struct cutter *c);

#endif
