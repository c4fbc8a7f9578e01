/* SPDX-License-Identifier: MIT */
/* See rmq_names.h. A refused declaration closes the channel: it is opened again, and the thing is asked for passively,
 * which succeeds if it is there, whatever its properties. */
#include "broker/rmq_names.h"

#include "base/log.h"
#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { EXCHANGE = BROKER_NAMES }; /* a number for it beside those of enum broker_name */

static const struct log_ctx lc = {.component = "broker"};

int rmq_names_init(struct rmq_names *n, const struct broker_opts *o, struct err *err)
{
    *n = (struct rmq_names){.exchange = NULL};
    int rc = broker_names_init(&n->n, o, err);
    if (rc < 0)
        return rc;
    n->exchange = xstrdup(o->exchange ? o->exchange : "");
    if (strlen(n->exchange) <= RMQ_NAME_MAX && strcmp(n->exchange, n->n.name[BROKER_EVENTS]) != 0)
        return 0;
    rmq_names_clear(n);
    return err_set(err, ERR_INVALID,
                   "the exchange for tokens has a name of at most %d bytes, and not that of the exchange for events",
                   RMQ_NAME_MAX);
}

void rmq_names_clear(struct rmq_names *n)
{
    broker_names_clear(&n->n);
    free(n->exchange);
    n->exchange = NULL;
}

static const char *name_of(const struct rmq_names *n, int thing)
{
    return thing == EXCHANGE ? n->exchange : n->n.name[thing];
}

static int declare(const struct rmq_names *n, struct rmq_conn *c, amqp_channel_t ch, int thing, bool passive,
                   int *ret_code, struct err *err)
{
    const char *name = name_of(n, thing);
    char what[RMQ_NAME_MAX + 32];
    snprintf(what, sizeof what, "making the %s '%s'", thing < RMQ_QUEUES ? "queue" : "exchange", name);
    if (thing < RMQ_QUEUES)
        amqp_queue_declare(c->c, ch, amqp_cstring_bytes(name), passive, 1, 0, 0, amqp_empty_table);
    else
        amqp_exchange_declare(c->c, ch, amqp_cstring_bytes(name),
                              amqp_cstring_bytes(thing == EXCHANGE ? "direct" : "fanout"), passive, 1, 0, 0,
                              amqp_empty_table);
    return rmq_conn_reply(c, ch, amqp_get_rpc_reply(c->c), what, ret_code, err);
}

static int ensure(struct rmq_names *n, struct rmq_conn *c, amqp_channel_t ch, int thing, struct err *err)
{
    int code;
    int rc = declare(n, c, ch, thing, false, &code, err);
    if (code != AMQP_PRECONDITION_FAILED && code != AMQP_ACCESS_REFUSED)
        return rc;
    struct err first = *err;
    rc = rmq_conn_channel(c, ch, err);
    if (rc == 0)
        rc = declare(n, c, ch, thing, true, &code, err);
    if (rc == 0 && !(atomic_fetch_or(&n->told, 1U << thing) & 1U << thing))
        log_info(&lc, "'%s' is used as it is: %s", name_of(n, thing), first.msg);
    return rc;
}

static int bind(struct rmq_names *n, struct rmq_conn *c, amqp_channel_t ch, int queue, struct err *err)
{
    amqp_bytes_t name = amqp_cstring_bytes(name_of(n, queue));
    char what[RMQ_NAME_MAX + 32];
    int code;
    snprintf(what, sizeof what, "binding the queue '%s'", name_of(n, queue));
    amqp_queue_bind(c->c, ch, name, amqp_cstring_bytes(n->exchange), name, amqp_empty_table);
    int rc = rmq_conn_reply(c, ch, amqp_get_rpc_reply(c->c), what, &code, err);
    /* Whoever made the exchange may have bound it; a token that reaches no queue is noticed. */
    return code == AMQP_ACCESS_REFUSED ? rmq_conn_channel(c, ch, err) : rc;
}

int rmq_names_declare(struct rmq_names *n, struct rmq_conn *c, amqp_channel_t ch, struct err *err)
{
    int rc = ensure(n, c, ch, BROKER_EVENTS, err);
    if (rc >= 0 && *n->exchange)
        rc = ensure(n, c, ch, EXCHANGE, err);
    for (int i = 0; rc >= 0 && i < RMQ_QUEUES; i++) {
        rc = ensure(n, c, ch, i, err);
        if (rc >= 0 && *n->exchange)
            rc = bind(n, c, ch, i, err);
    }
    return rc;
}
