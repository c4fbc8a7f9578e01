/* SPDX-License-Identifier: MIT */
/*
 * One connection to PostgreSQL, always in libpq's pipeline mode: the only folder that sees libpq-fe.h.
 *
 * Statements are queued, sent together and answered in order; one network round trip is
 *
 *     pg_send(l, sql, ...);  pg_send(l, sql, ...);  pg_sync(l);
 *     pg_next(l, &result);   pg_next(l, &result);   pg_end(l);
 *
 * After a statement that failed the server skips the rest up to the pg_sync. Outside BEGIN and COMMIT what stands
 * between two syncs is one transaction, which is committed at the sync: only pg_end says that it was.
 *
 * Statements are prepared once per connection and text, on their first use and in the same round trip.
 *
 * Nothing waits for ever: connecting, and each answer, has a limit of time. A connection on which a limit ran out or
 * the network failed is lost (pg_lost): nothing more can be done with it than pg_close.
 *
 * Errors, from SQLSTATE: UNAVAILABLE (cannot connect, lost, overloaded, disk full, read-only standby), BUSY (lock
 * time-out), CONFLICT (unique or foreign key; also deadlock and serialisation, see pg_remedy), TOO_LARGE, CORRUPT,
 * INTERNAL (our SQL is wrong). Sentences hold neither passwords nor values.
 *
 * Threads: one at a time per connection.
 */
#ifndef PG_PG_H
#define PG_PG_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pg_link;
struct pg_result; /* libpq's */

struct pg_opts {
    const char *url;  /* postgresql://..., with any option of libpq */
    const char *name; /* shown in pg_stat_activity */
    /* Statements without parameters, run after connecting, that take no time (at most five seconds); NULL: none. */
    const char *setup;
    int64_t answer_ms; /* longest wait for an answer */
};

/* INVALID with a sentence that does not repeat the URL. */
int pg_check_url(const char *url, struct err *err) MUST_CHECK;
int pg_open(const struct pg_opts *opts, struct pg_link **ret, struct err *err) MUST_CHECK;
void pg_close(struct pg_link *l); /* NULL is fine */

bool pg_lost(const struct pg_link *l);
/*
 * It was lost after a long silence: an answer did not come in time, or the network gave up what was sent. Other
 * connections to this server will be no better, although they look alive.
 */
bool pg_silent(const struct pg_link *l);
/* What it has prepared no longer fits the tables: close it when its transaction has ended. */
bool pg_stale(const struct pg_link *l);
/* False when the server has hung up on an idle connection: asks the kernel, not the server. */
bool pg_alive(struct pg_link *l);
/* Makes it lost: what was queued without a sync, or stands in a transaction, is undone when it is closed. */
void pg_abandon(struct pg_link *l);
/*
 * The last failure, of pg_next, was the server's answer to that statement, be it as its last word: the statement was
 * not done, and without BEGIN nothing of its round trip was.
 */
bool pg_refused(const struct pg_link *l);

/* What the last failure asks for. */
enum pg_remedy {
    PG_NO_REMEDY,
    PG_REPEAT,       /* a deadlock or a serialisation failure: the same transaction may succeed when run again */
    PG_RECONNECT,    /* what is prepared on this connection is no longer good (it is stale now) */
    PG_NEEDS_WRITER, /* the server, or this transaction, takes no writes */
};
enum pg_remedy pg_remedy(const struct pg_link *l);

/* How long an answer may take from now on. */
void pg_set_answer_ms(struct pg_link *l, int64_t ms);
/* Whatever its owner wants to remember beside it: 0 at first. */
int pg_note(const struct pg_link *l);
void pg_set_note(struct pg_link *l, int note);

/* Queues one statement; values are texts in UTF-8 or NULL, borrowed during the call. */
int pg_send(struct pg_link *l, const char *sql, const char *const *values, size_t n, struct err *err) MUST_CHECK;
/* As pg_send for a statement whose answer nobody wants to see; its failure shows in those behind it, if at all. */
int pg_send_quiet(struct pg_link *l, const char *sql, struct err *err) MUST_CHECK;
/* Ends the round trip; sends all that is queued. */
int pg_sync(struct pg_link *l, struct err *err) MUST_CHECK;
/* The answer to the next pg_send, to be freed with pg_free. */
int pg_next(struct pg_link *l, struct pg_result **ret, struct err *err) MUST_CHECK;
/* Reads all that is still under way, up to the answer to the last pg_sync. Fails when something in that round trip
 * which pg_next has not told of failed, or when the transaction that ends with it could not be committed. Round trips
 * before it that were not ended are skipped. */
int pg_end(struct pg_link *l, struct err *err) MUST_CHECK;
/* One quiet statement, sent and answered. */
int pg_do(struct pg_link *l, const char *sql, struct err *err) MUST_CHECK;

enum pg_type { PG_NULL, PG_INT, PG_REAL, PG_TEXT };

void pg_free(struct pg_result *r); /* NULL is fine */
size_t pg_rows(const struct pg_result *r);
size_t pg_cols(const struct pg_result *r);
int64_t pg_changed(const struct pg_result *r); /* rows, 0 for a SELECT */
/* "COMMIT" or "ROLLBACK": what became of a transaction. */
const char *pg_tag(const struct pg_result *r);
enum pg_type pg_type(const struct pg_result *r, size_t row, size_t col);
const char *pg_text(const struct pg_result *r, size_t row, size_t col);

/*
 * LISTEN's other end, between round trips: reads what has come and takes the next notification. 1: *ret_payload stands
 * until the next call; 0: none is there. pg_fd becomes readable when more may have come.
 */
int pg_notice(struct pg_link *l, const char **ret_payload, struct err *err) MUST_CHECK;
int pg_fd(const struct pg_link *l);

#endif
