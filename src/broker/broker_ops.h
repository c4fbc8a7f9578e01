/* SPDX-License-Identifier: MIT */
/*
 * What a broker back end provides. Reached only through broker.c, which checks and encodes what is sent and logs at
 * debug. Contracts are those of broker.h: sending from any thread and without waiting long, `wait` and `next_event`
 * by one thread each, `interrupt` from any thread at any time between open and close.
 */
#ifndef BROKER_BROKER_OPS_H
#define BROKER_BROKER_OPS_H

#include "broker/broker.h"

/* Back ends embed this as their first member. */
struct broker {
    const struct broker_ops *ops;
};

struct broker_ops {
    const char *scheme; /* "local" */
    /* `rest` is what follows "scheme:" in opts->url. opts is borrowed during the call. */
    int (*open)(const struct broker_opts *opts, const char *rest, struct broker **ret, struct err *err);
    void (*close)(struct broker *b);
    /* `body`: a line of JSON (broker_msg.h). `queue` is in it too. Nobody listening is success. */
    int (*send_token)(struct broker *b, const char *queue, const char *body, size_t len, struct err *err);
    /* `msg`: as broker_event_decode takes it. */
    int (*send_event)(struct broker *b, const char *msg, size_t len, struct err *err);
    /* NULL: this broker keeps none. `body`: a line of JSON. */
    int (*send_dead_letter)(struct broker *b, const char *body, size_t len, struct err *err);
    int (*wait)(struct broker *b, int64_t timeout_ms, struct err *err);
    /* NULL: this broker keeps no tokens. */
    void (*taken)(struct broker *b, const char *queue);
    void (*interrupt)(struct broker *b);
    /* Drops what does not decode. */
    int (*next_event)(struct broker *b, int64_t timeout_ms, struct event *ret, struct err *err);
    /* NULL: this broker keeps no tokens. */
    int (*depth)(struct broker *b, const char *queue, int64_t *ret, struct err *err);
    int (*trim)(struct broker *b, const char *queue, int64_t surplus, int64_t keep, struct err *err);
    int (*ping)(struct broker *b, struct err *err);
};

/* The queue words, and what they are called at a remote broker. */
enum broker_name { BROKER_HIGH, BROKER_NORMAL, BROKER_RETRY, BROKER_DEAD, BROKER_EVENTS, BROKER_NAMES };
struct broker_names {
    char *name[BROKER_NAMES];
};
/* Copies the names of opts, or the usual ones. INVALID: one is empty, has control characters, or stands twice. */
int broker_names_init(struct broker_names *n, const struct broker_opts *opts, struct err *err) MUST_CHECK;
void broker_names_clear(struct broker_names *n);
/* The queues that opts->take names; returns how many. INVALID for an unknown one. */
enum { BROKER_QUEUES = BROKER_DEAD };
int broker_take_parse(const struct broker_opts *opts, enum broker_name ret[BROKER_QUEUES], struct err *err) MUST_CHECK;
/* "high", "normal" or "retry"; INVALID for another word. */
int broker_queue_parse(const char *queue, enum broker_name *ret, struct err *err) MUST_CHECK;

extern const struct broker_ops broker_local_ops, broker_redis_ops, broker_amqp_ops, broker_postgres_ops;

#endif
