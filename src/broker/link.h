/* SPDX-License-Identifier: MIT */
/*
 * What remote brokers share: the address in a URL, and whether the server is there.
 *
 * A broker talks over several connections ("lines": one that sends, one that takes tokens, one that gets events). Each
 * line has its own rhythm of reconnecting; together they make one outage: the first line that fails logs it, the last
 * one that is back logs its end. It is logged here, at `warn`, because nobody else sees it all: a caller sees one
 * failed hint, and there are many of them.
 */
#ifndef BROKER_LINK_H
#define BROKER_LINK_H

#include "base/err.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

/* ---- address ---- */

/*
 * scheme://user:password@host:port/path?name=value&name=value, each part percent-decoded. "scheme:///path" and
 * "scheme://user:password@/path" have no host. A NULL part does not stand in the URL.
 */
struct link_addr {
    char *scheme, *user, *password, *host, *path; /* path: what is behind the '/', "" when nothing is */
    char *query;                                  /* not decoded */
    int port;                                     /* 0: none */
    char label[200];                              /* "scheme://host:port/path" for sentences: without secrets */
};

/* INVALID; the sentence repeats nothing that could be secret. ret is to be cleared after success only. */
int link_addr_parse(const char *url, struct link_addr *ret, struct err *err) MUST_CHECK;
void link_addr_clear(struct link_addr *a);
/* The decoded value of an option behind '?'; caller frees. 1: *ret is set, 0: not there (*ret NULL), INVALID. */
int link_addr_option(const struct link_addr *a, const char *name, char **ret, struct err *err) MUST_CHECK;
/* INVALID when an option is none of `names` (ended by NULL). */
int link_addr_check_options(const struct link_addr *a, const char *const *names, struct err *err) MUST_CHECK;

/* ---- up or away ---- */

enum { LINK_PATIENCE_MS = 1000 }; /* for a connect, for an answer */

/* One server, for all its lines. Any thread. */
struct link {
    char *label;
    pthread_mutex_t mu;
    unsigned away;  /* guarded by mu: a bit per line */
    int64_t since;  /* guarded by mu: monotonic, of the outage */
    struct err why; /* guarded by mu: of the line that failed first */
};

void link_init(struct link *l, const char *label);
void link_clear(struct link *l);
/* UNAVAILABLE, with the reason, while any line is away. */
int link_check(struct link *l, struct err *err) MUST_CHECK;

/* One connection. Of one thread, which calls the functions below. */
struct line {
    struct link *link;
    unsigned bit;     /* 1 << n, its own within the link */
    int64_t retry_at; /* monotonic */
    int64_t pause_ms;
};

void line_init(struct line *n, struct link *l, unsigned bit);
/* It works. */
void line_up(struct line *n);
/* It does not: `why` is what failed. The next try is due after a pause that doubles, up to a few seconds, with jitter.
 */
void line_down(struct line *n, const struct err *why);
/* How long until the next try is due; 0: now. */
int64_t line_due_ms(const struct line *n);

#endif
