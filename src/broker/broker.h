/* SPDX-License-Identifier: MIT */
/*
 * Wake-ups and events between processes. Only hints: the job row is the truth, so a lost, late or doubled message
 * is harmless; workers also look by themselves every few seconds.
 *
 *   token   "queue Q has work". Any worker may get it; it then asks the job store what to run. The body
 *           (job id, storage key, language, model) is there for whoever watches the queue.
 *   event   something happened to a job (new state, progress, a finished chunk): goes to every subscriber.
 *   dead letter   a job failed for good: published for whoever watches; nobody here consumes it.
 *
 * The local broker is a folder of named pipes, one per listening process and kind: senders write to each without
 * waiting; a full or dead listener misses the hint and catches up from the database. See broker_local.c. Remote brokers
 * keep tokens and dead letters in queues: see broker_redis.c and broker_amqp.c.
 *
 * Threads: publishing from any thread; one thread at a time in broker_wait, one in broker_next_event.
 * Errors: UNAVAILABLE (cannot reach the broker: the caller goes on without it), INVALID (URL, malformed token or
 * event), TOO_LARGE (over what a message may hold).
 */
#ifndef BROKER_BROKER_H
#define BROKER_BROKER_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct broker;

struct broker_opts {
    const char *url; /* "local:/absolute/folder", "redis://host", "unix:///path/of/redis.sock", "amqp://host" */
    bool tokens;     /* this process takes tokens (a worker) */
    bool events;     /* this process wants events (an api; a worker, for cancels) */
    /* With `tokens`: of which queues, by their words, ended by NULL; NULL or none: of all. Brokers that wake every
     * worker process (local, PostgreSQL) do so for all queues. */
    const char *const *take;
    /* What the queues "high", "normal" and "retry", the dead letters and the events are called at a remote broker.
     * NULL: "transcription.high", ..., "transcription.dlq", "job_updates". No two the same. */
    const char *queue_high, *queue_normal, *queue_retry, *queue_dead, *channel;
    /* RabbitMQ: the direct exchange that tokens and dead letters go through, by their queue's name as the routing key.
     * NULL or "": the server's default exchange. */
    const char *exchange;
};

struct token {
    const char *queue;                                 /* "high", "normal", "retry" */
    const char *job_id, *audio_key, *language, *model; /* language and model may be NULL */
};

enum { EVENT_JSON_MAX = 3500, EVENT_TYPE_MAX = 24, EVENT_ID_MAX = 40 };

/* What happened; small by contract: long texts stay in the database. */
struct event {
    char job_id[EVENT_ID_MAX]; /* this and `type`: 1 or more bytes; no quotes, backslashes, control characters */
    int64_t seq;               /* jobs.seq */
    char type[EVENT_TYPE_MAX]; /* "state" "progress" "chunk" */
    char json[EVENT_JSON_MAX]; /* an object, "{}" when there is nothing to add; line ends arrive as blanks */
};

/*
 * Makes the folder of a local broker (mode 0700) where needed. A remote server that is away is no failure: the broker
 * opens without it, after three seconds at most, and reconnects in the background, as it does whenever the server goes
 * away. INVALID: the URL or the names. UNSUPPORTED: a scheme this program knows but was not built with.
 */
int broker_open(const struct broker_opts *opts, struct broker **ret, struct err *err) MUST_CHECK;
void broker_close(struct broker *b); /* NULL is fine */

/* Never block for long (a second at most, with a remote broker). Events reach this process too, when it takes them. */
int broker_send_token(struct broker *b, const struct token *t, struct err *err) MUST_CHECK;
int broker_send_event(struct broker *b, const struct event *e, struct err *err) MUST_CHECK;
/* The local broker keeps none: the error_logs table is the dead-letter queue there. */
int broker_send_dead_letter(struct broker *b, const char *job_id, const char *error_class, const char *message,
                            struct err *err) MUST_CHECK;

/*
 * Waits for a token, the process stop flag, broker_interrupt or the time-out (negative: for ever). 1: there is work
 * (any number of tokens that came together may count as one), 0: time-out, interrupted, or the stop flag is set (then
 * always, at once). Without `tokens` in the options, or while a remote broker is away, it only waits.
 *
 * The caller asks the job store after each 1, calls broker_taken for each job it claims, and waits again only when
 * nothing is due: then the token was used up or stale.
 */
int broker_wait(struct broker *b, int64_t timeout_ms, struct err *err) MUST_CHECK;
/*
 * A job of this queue was claimed: one token of the queue is used up, the one that broker_wait took or, when the job
 * was found without a wait, one that still waits in the queue. So a queue holds as many tokens as jobs wait. Does not
 * block and does not fail: what goes wrong is put right by broker_trim. By the thread of broker_wait.
 */
void broker_taken(struct broker *b, const char *queue);
/* Makes the broker_wait and the broker_next_event under way return 0 now; when there is none, the next one does. Any
 * thread. */
void broker_interrupt(struct broker *b);

/*
 * Waits for an event. 1: *ret is set, 0: time-out or interrupted. Not ended by the stop flag: a process that drains
 * still wants its events. Events of one sending thread come in the order they were sent. Without `events` in the
 * options it only waits.
 */
int broker_next_event(struct broker *b, int64_t timeout_ms, struct event *ret, struct err *err) MUST_CHECK;

/* Tokens waiting in a queue; -1 where the broker keeps none (local). */
int broker_depth(struct broker *b, const char *queue, int64_t *ret, struct err *err) MUST_CHECK;
/*
 * Drops the `surplus` oldest tokens of a queue, stale ones, whose jobs ended otherwise. Tokens that came since they
 * were counted stay; with `keep` left it stops, so that nothing is dropped twice by several who counted the same.
 */
int broker_trim(struct broker *b, const char *queue, int64_t surplus, int64_t keep, struct err *err) MUST_CHECK;
/* For health: would messages pass? *ret_ms is how long that took. */
int broker_ping(struct broker *b, int64_t *ret_ms, struct err *err) MUST_CHECK;

#endif
