/* SPDX-License-Identifier: MIT */
/*
 * RabbitMQ. Two connections at most, each owned by a thread, because librabbitmq's may not be shared: one sends
 * (rmq_publish.h), one receives (rmq_receive.h) and is only there in processes that want tokens or events. They are
 * apart also because the server stops reading from a connection that publishes when it is short of memory or disk:
 * heartbeats and acknowledgements of the other one go on.
 */
#include "broker/broker_ops.h"

#include "base/clock.h"
#include "base/mem.h"
#include "broker/rmq_inbox.h"
#include "broker/rmq_publish.h"
#include "broker/rmq_receive.h"

#include <stdlib.h>

#define DEAD_LETTER_MS "2592000000" /* 30 days: nobody may be there to take them, and a full disk stops the server */

struct amqp_broker {
    struct broker base;
    struct rmq_address address;
    struct rmq_names names;
    struct link link;
    struct rmq_inbox *inbox;
    struct rmq_receiver *receiver; /* NULL: wants neither tokens nor events */
    struct rmq_publisher *publisher;
};

static struct amqp_broker *of(struct broker *b)
{
    return CONTAINER_OF(b, struct amqp_broker, base);
}

static void amqp_broker_close(struct broker *base)
{
    struct amqp_broker *b = of(base);
    rmq_receiver_free(b->receiver);
    rmq_publisher_free(b->publisher);
    rmq_inbox_free(b->inbox);
    link_clear(&b->link);
    rmq_names_clear(&b->names);
    rmq_address_clear(&b->address);
    free(b);
}

static int start(struct amqp_broker *b, const struct broker_opts *o, struct err *err)
{
    struct rmq_receiver_opts r = {
        .link = &b->link, .address = &b->address, .names = &b->names, .tokens = o->tokens, .events = o->events};
    r.n_from = broker_take_parse(o, r.from, err);
    int rc = r.n_from < 0 ? r.n_from : rmq_inbox_new(&b->inbox, err);
    if (rc == 0)
        rc = rmq_publisher_new(&b->link, &b->address, &b->names, &b->publisher, err);
    r.inbox = b->inbox;
    if (rc == 0 && (o->tokens || o->events))
        rc = rmq_receiver_new(&r, &b->receiver, err);
    if (rc < 0)
        return rc;
    int64_t until = clock_mono_ms() + RMQ_CONNECT_MS;
    rmq_publisher_settle(b->publisher, until);
    if (b->receiver)
        rmq_receiver_settle(b->receiver, until);
    return 0;
}

static int amqp_broker_open(const struct broker_opts *o, const char *rest, struct broker **ret, struct err *err)
{
    (void)rest;
    struct amqp_broker *b = xcalloc(1, sizeof *b);
    int rc = rmq_address_parse(o->url, &b->address, err);
    if (rc < 0) {
        free(b);
        return rc;
    }
    rc = rmq_names_init(&b->names, o, err);
    if (rc < 0) {
        rmq_address_clear(&b->address);
        free(b);
        return rc;
    }
    link_init(&b->link, b->address.url.label);
    rc = start(b, o, err);
    if (rc < 0) {
        amqp_broker_close(&b->base);
        return rc;
    }
    *ret = &b->base;
    return 0;
}

static int amqp_send_token(struct broker *base, const char *queue, const char *body, size_t len, struct err *err)
{
    struct amqp_broker *b = of(base);
    enum broker_name q;
    int rc = broker_queue_parse(queue, &q, err);
    if (rc < 0)
        return rc;
    struct rmq_message m = {
        .exchange = b->names.exchange, .key = b->names.n.name[q], .body = body, .len = len, .lasting = true};
    return rmq_publisher_send(b->publisher, &m, err);
}

static int amqp_send_event(struct broker *base, const char *msg, size_t len, struct err *err)
{
    struct amqp_broker *b = of(base);
    struct rmq_message m = {.exchange = b->names.n.name[BROKER_EVENTS], .key = "", .body = msg, .len = len};
    return rmq_publisher_send(b->publisher, &m, err);
}

static int amqp_send_dead_letter(struct broker *base, const char *body, size_t len, struct err *err)
{
    struct amqp_broker *b = of(base);
    struct rmq_message m = {.exchange = b->names.exchange,
                            .key = b->names.n.name[BROKER_DEAD],
                            .body = body,
                            .len = len,
                            .lasting = true,
                            .expires_ms = DEAD_LETTER_MS};
    return rmq_publisher_send(b->publisher, &m, err);
}

static int amqp_wait(struct broker *base, int64_t timeout_ms, struct err *err)
{
    return rmq_inbox_wait(of(base)->inbox, timeout_ms, err);
}

static void amqp_taken(struct broker *base, const char *queue)
{
    struct amqp_broker *b = of(base);
    enum broker_name q;
    struct err ignored = ERR_INIT;
    if (b->receiver && broker_queue_parse(queue, &q, &ignored) >= 0)
        rmq_inbox_taken(b->inbox, q);
}

static void amqp_interrupt(struct broker *base)
{
    rmq_inbox_interrupt(of(base)->inbox);
}

static int amqp_next_event(struct broker *base, int64_t timeout_ms, struct event *ret, struct err *err)
{
    (void)err;
    return rmq_inbox_next_event(of(base)->inbox, timeout_ms, ret);
}

static int amqp_depth(struct broker *base, const char *queue, int64_t *ret, struct err *err)
{
    struct amqp_broker *b = of(base);
    enum broker_name q;
    int rc = broker_queue_parse(queue, &q, err);
    return rc < 0 ? rc : rmq_publisher_depth(b->publisher, b->names.n.name[q], ret, err);
}

static int amqp_trim(struct broker *base, const char *queue, int64_t surplus, int64_t keep, struct err *err)
{
    struct amqp_broker *b = of(base);
    enum broker_name q;
    int rc = broker_queue_parse(queue, &q, err);
    return rc < 0 ? rc : rmq_publisher_trim(b->publisher, b->names.n.name[q], surplus, keep, err);
}

static int amqp_ping(struct broker *base, struct err *err)
{
    struct amqp_broker *b = of(base);
    int64_t depth;
    int rc = link_check(&b->link, err);
    return rc < 0 ? rc : rmq_publisher_depth(b->publisher, b->names.n.name[BROKER_NORMAL], &depth, err);
}

const struct broker_ops broker_amqp_ops = {
    .scheme = "amqp",
    .open = amqp_broker_open,
    .close = amqp_broker_close,
    .send_token = amqp_send_token,
    .send_event = amqp_send_event,
    .send_dead_letter = amqp_send_dead_letter,
    .wait = amqp_wait,
    .taken = amqp_taken,
    .interrupt = amqp_interrupt,
    .next_event = amqp_next_event,
    .depth = amqp_depth,
    .trim = amqp_trim,
    .ping = amqp_ping,
};
